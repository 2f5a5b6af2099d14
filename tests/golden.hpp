// SPDX-License-Identifier: MIT
// What the tests against golden values share: the files of golden/, the portable generator, and a session of
// a model that a test makes at run time.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ferrite/ferrite.hpp>
#include <fstream>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <numbers>
#include <span>
#include <string>
#include <vector>

namespace ferrite::test {

using Doubles = std::vector<double>;

inline std::string golden_path(const std::string& name) { return std::string(FERRITE_GOLDEN_DIR "/") + name; }

inline nlohmann::json golden(const std::string& name) {
    std::ifstream file(golden_path(name));
    REQUIRE_MESSAGE(file.good(), golden_path(name));
    return nlohmann::json::parse(file);
}

/// The largest |expected - found| / max(1, |expected|); NaN if one of them is.
template <class Expected, class Found>
double deviation(const Expected& expected, const Found& found) {
    REQUIRE(expected.size() == found.size());
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double e = static_cast<double>(expected[i]);
        const double d = std::abs(e - static_cast<double>(found[i])) / std::max(1.0, std::abs(e));
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

/// The portable generator of golden/README.md in double, written from its definition.
struct PortableGenerator {
    std::uint64_t seed;

    [[nodiscard]] std::uint64_t bits(std::uint64_t position) const {
        std::uint64_t z = seed + (position + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    [[nodiscard]] double uniform(std::uint64_t position) const {
        return static_cast<double>(bits(position) >> 11) * 0x1p-53;
    }
    [[nodiscard]] double normal(std::uint64_t position) const {
        const double radius = std::sqrt(-2 * std::log(1 - uniform(position & ~std::uint64_t{1})));
        const double angle = 2 * std::numbers::pi * uniform(position | 1);
        return radius * (position % 2 == 0 ? std::cos(angle) : std::sin(angle));
    }
};

/// Memory that starts at a multiple of buffer_alignment.
class Aligned {
  public:
    explicit Aligned(std::size_t bytes)
        : bytes_(bytes), memory_(new (std::align_val_t{buffer_alignment}) std::byte[bytes]) {}
    [[nodiscard]] std::span<std::byte> span() const { return {memory_.get(), bytes_}; }

  private:
    struct Free {
        void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{buffer_alignment}); }
    };
    std::size_t bytes_;
    std::unique_ptr<std::byte[], Free> memory_;
};

/// A model and a recipe that are made at run time, compiled and bound. Neither copied nor moved: the session
/// refers to the members.
class Learner {
  public:
    Learner(Shape input, std::vector<AnyLayer> layers, Training recipe)
        : input_(input),
          layers_(std::move(layers)),
          recipe_(recipe),
          tables_(table_bytes(layers_.size()) / 8 + 1) {
        const auto program = compile(model(), recipe_, std::as_writable_bytes(std::span(tables_)));
        status_ = program.status();
        if (!program.ok()) return;
        arena_ = std::make_unique<Aligned>(program.value().totals->arena_bytes);
        const auto bound = TrainingSession::bind(program.value(), recipe_, arena_->span());
        status_ = bound.status();
        if (!bound.ok()) return;
        session_ = bound.value();
        session_.initialize(Seed{1});
    }
    Learner(const Learner&) = delete;
    Learner& operator=(const Learner&) = delete;

    [[nodiscard]] DynamicModel model() const { return {input_, layers_}; }
    [[nodiscard]] const Training& recipe() const { return recipe_; }
    [[nodiscard]] Status status() const { return status_; }
    /// Only if status() is ok.
    [[nodiscard]] TrainingSession& session() {
        REQUIRE(status_ == Status::ok);
        return session_;
    }

  private:
    Shape input_;
    std::vector<AnyLayer> layers_;
    Training recipe_;
    std::vector<std::uint64_t> tables_;
    std::unique_ptr<Aligned> arena_;
    TrainingSession session_;
    Status status_ = Status::ok;
};

/// A loss whose gradient is what the caller passes as targets; the loss itself is 0. In front of it, one
/// Dense layer with one input of 1 and one sample makes W and b a list of parameters with gradients of the
/// test's own choice.
struct GivenGradient {
    static inline std::vector<float>* outputs = nullptr;  ///< gets what the network made of the inputs
    static void run(const Call& call) {
        if (outputs != nullptr)
            outputs->assign(call.operand[1], call.operand[1] + std::size_t{call.pass->rows} * call.step->size[0]);
        for (std::uint32_t i = 0; i < call.pass->rows * call.step->size[0]; ++i)
            call.operand[0][i] = call.pass->targets[i];
        call.operand[3][0] = 0;
    }
    constexpr operator Loss() const noexcept { return {.name = "given_gradient", .run = &run}; }
};

inline std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

}  // namespace ferrite::test
