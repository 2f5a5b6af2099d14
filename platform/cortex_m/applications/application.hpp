// SPDX-License-Identifier: MIT
// What the applications share: the networks, the samples and weights that prepare/ makes at build time, and a line of text.
#pragma once

#include <ferrite/ferrite.hpp>
#include <platform.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace application {

namespace fe = ferrite;

// Grey images of 14 x 14: 2,400 of them and the weights fit in 512 KiB of flash.
inline constexpr std::uint32_t side = 14, pixels = side * side, hidden = 32, classes = 10;
inline constexpr std::uint32_t train_count = 2000, test_count = 400;

inline constexpr auto net =
    fe::sequential(fe::Shape{pixels}, fe::Dense{.units = hidden}, fe::Relu{}, fe::Dense{.units = classes});
// The same in two halves: what stays in flash, and what learns on the device.
inline constexpr auto features = fe::sequential(fe::Shape{pixels}, fe::Dense{.units = hidden}, fe::Relu{});
inline constexpr auto head = fe::sequential(fe::Shape{hidden}, fe::Dense{.units = classes});

inline constexpr fe::Inference one_sample{.batch = 1};
using Classifier = fe::Predictor<net, one_sample>;
using Features = fe::Predictor<features, one_sample>;

// Made by prepare/. Each array has a section of its own, so that an image holds those that it uses.
extern const std::uint8_t train_images[train_count * pixels], train_labels[train_count];
extern const std::uint8_t test_images[test_count * pixels], test_labels[test_count];
/// The parameter regions of the trained network and of its first half, used in place.
extern const std::byte classifier_parameters[Classifier::parameter_bytes];
extern const std::byte features_parameters[Features::parameter_bytes];
/// FNV-1a 64 of classifier_parameters.
extern const std::uint64_t classifier_digest;
/// The weights file of the second half, and the same with one bit changed.
inline constexpr std::size_t head_file_bytes = 1464;
extern const std::byte head_file[head_file_bytes], damaged_head_file[head_file_bytes];

/// FNV-1a 64 of the parameters that the building machine learned from the same images, with Sgd and with Adam.
extern const std::uint64_t learned_digest[2];

/// A line of text that is written when it goes out of scope. What is too long for it is cut.
class Line {
  public:
    Line() noexcept = default;
    Line(const Line&) = delete;
    Line& operator=(const Line&) = delete;
    ~Line() {
        text_[size_++] = '\n';
        fe::platform::write({text_, size_});
    }
    Line& operator<<(std::string_view text) noexcept {
        for (const char c : text)
            if (size_ + 1 < sizeof text_) text_[size_++] = c;
        return *this;
    }
    Line& operator<<(std::unsigned_integral auto number) noexcept { return decimal(static_cast<std::uint32_t>(number), 1); }
    /// With three decimals.
    Line& operator<<(float number) noexcept {
        if (number != number) return *this << "nan";
        if (number < 0) return *this << "-" << -number;
        if (number >= 4e6f) return *this << "> 4000000";
        const auto thousandths = static_cast<std::uint32_t>(number * 1000.0f + 0.5f);
        *this << thousandths / 1000 << ".";
        return decimal(thousandths % 1000, 3);
    }

  private:
    Line& decimal(std::uint32_t number, std::size_t digits) noexcept {
        char reversed[10];
        std::size_t count = 0;
        for (; number != 0 || count < digits; number /= 10) reversed[count++] = static_cast<char>('0' + number % 10);
        while (count != 0) *this << std::string_view(&reversed[--count], 1);
        return *this;
    }
    char text_[96];
    std::size_t size_ = 0;
};

/// Image `index` of `images`, as numbers in [0, 1].
inline std::span<const float> input(const std::uint8_t* images, std::uint32_t index) noexcept {
    static float image[pixels];
    fe::kernels::pixels({.x = images + index * pixels, .y = image, .size = pixels});
    return image;
}

inline constexpr std::uint32_t learn_epochs = 3;
/// Training from scratch: train_count samples one at a time, learn_epochs times. after(loss) hears of each. Answers the digest
/// of the parameters.
template <class After>
std::uint64_t learn(fe::TrainingSession& session, const std::uint8_t* images, const std::uint8_t* labels, After&& after) noexcept {
    session.initialize(fe::Seed{42});
    for (std::uint32_t epoch = 0; epoch < learn_epochs; ++epoch)
        for (std::uint32_t i = 0; i < train_count; ++i) {
            const fe::Label label = labels[i];
            after(session.step(input(images, i), std::span(&label, 1)));
        }
    return fe::fnv1a(session.parameters());
}

/// How many of the held-back images `predict`, which takes the index of one and answers the outputs, gives their class.
template <class Predict>
std::uint32_t count_correct(Predict&& predict) noexcept {
    std::uint32_t correct = 0;
    for (std::uint32_t i = 0; i < test_count; ++i)
        correct += fe::argmax(predict(i)) == test_labels[i] ? 1u : 0u;
    return correct;
}

/// Says whether `correct` reaches `least`: the result of an application.
inline bool judge(std::string_view what, std::uint32_t correct, std::uint32_t least) noexcept {
    Line() << what << ": " << correct << " of " << test_count << " held-back images right, at least " << least
           << " expected: " << (correct >= least ? "ok" : "FAILED");
    return correct >= least;
}

/// Ticks as a time for each of `count`. In the emulator an instruction takes 1 ns.
inline void report_time(std::string_view what, std::uint32_t ticks, std::uint32_t count) noexcept {
    const auto rate = static_cast<float>(fe::platform::ticks_per_second());
    Line() << what << ": " << static_cast<float>(ticks) / static_cast<float>(count) * (1e6f / rate) << " us";
}
/// `arena`: the constant of the compiler.
inline void report_memory(std::size_t arena) noexcept {
    Line() << "RAM: arena " << arena << " bytes, stack " << fe::platform::stack_used() << " of "
           << fe::platform::stack_size() << " bytes";
}

}  // namespace application
