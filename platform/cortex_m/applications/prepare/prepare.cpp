// SPDX-License-Identifier: MIT
// prepare DIRECTORY FILE: reads a data set in the format of MNIST, trains the network of the applications on it and writes the
// C++ source with their samples and weights. The same data give the same bytes, on every machine.
#include "../application.hpp"
#include "host/dataset.hpp"

#include <cstdio>
#include <fstream>
#include <vector>

namespace {
using namespace application;
namespace host = ferrite::host;

constexpr std::uint32_t batch = 32;
constexpr fe::Training recipe{.optimizer = fe::Adam{}, .batch = batch};
constexpr fe::Training with_sgd{.optimizer = fe::Sgd{}, .batch = 1}, with_adam{.optimizer = fe::Adam{}, .batch = 1};
constexpr fe::Training squares{.loss = fe::MeanSquaredError{}};

/// Means of 2 x 2 pixels, half up.
std::vector<std::uint8_t> halved(const host::Images& images, std::uint32_t first, std::uint32_t count) {
    std::vector<std::uint8_t> out;
    out.reserve(std::size_t{count} * pixels);
    for (std::uint32_t i = first; i < first + count; ++i)
        for (std::uint32_t y = 0; y < side; ++y)
            for (std::uint32_t x = 0; x < side; ++x) {
                const std::uint8_t* p = &images.pixels[i * images.image_size() + 2 * y * images.width + 2 * x];
                const unsigned sum = 2u + p[0] + p[1] + p[images.width] + p[images.width + 1];
                out.push_back(static_cast<std::uint8_t>(sum / 4));
            }
    return out;
}

/// Trains on the images behind those that the device learns from.
void train(fe::TrainingSession& session, const host::Samples& samples) {
    constexpr std::uint32_t epochs = 5, most = 20'000;
    const std::uint32_t count = std::min(most, samples.images.count - train_count) / batch * batch;
    const std::vector<std::uint8_t> images = halved(samples.images, train_count, count);
    std::vector<float> inputs(std::size_t{batch} * pixels);
    fe::Label labels[batch];
    session.initialize(fe::Seed{7});
    for (std::uint32_t epoch = 0; epoch < epochs; ++epoch)
        for (std::uint32_t i = 0; i < count; i += batch) {
            fe::kernels::pixels({.x = &images[std::size_t{i} * pixels], .y = inputs.data(), .size = inputs.size()});
            for (std::uint32_t r = 0; r < batch; ++r) labels[r] = samples.labels[train_count + i + r];
            session.step(inputs, labels);
        }
}

/// The weights file of `model`, whose arrays are those of `session` from `first` on.
template <const auto& model>
std::vector<std::byte> weights_file(const fe::TrainingSession& session, std::size_t first) {
    static fe::Trainer<model, squares> part;
    part.initialize(fe::Seed{});
    for (std::size_t i = 0; i < part.session().parameter_count(); ++i)
        std::ranges::copy(session.parameter(first + i), part.session().parameter(i).begin());
    std::vector<std::byte> file(fe::weights_bytes(model, part.session().program()));
    if (!fe::save_weights(model, part.session(), file).ok()) throw std::runtime_error("the weights do not fit their file");
    return file;
}

/// What an inference program runs from.
template <class P>
std::vector<std::byte> region(const std::vector<std::byte>& file) {
    std::vector<std::byte> parameters(P::parameter_bytes);
    const auto weights = fe::open_weights(file);
    if (!weights.ok() || fe::load_weights(weights.value(), P::program.view(), parameters) != fe::Status::ok)
        throw std::runtime_error("the weights do not fit their program");
    return parameters;
}

std::vector<std::uint8_t> narrow(std::span<const std::uint16_t> labels) {
    return {labels.begin(), labels.end()};
}

/// What learn.cpp should arrive at.
template <const auto& one_at_a_time>
std::uint64_t learned(const std::vector<std::uint8_t>& images, const std::vector<std::uint8_t>& labels) {
    static fe::Trainer<net, one_at_a_time> learner;
    return learn(learner.session(), images.data(), labels.data(), [](float) {});
}

template <class T>
void write(std::ostream& out, const char* name, std::span<const T> bytes) {
    constexpr bool raw = std::is_same_v<T, std::byte>;
    out << "alignas(" << fe::buffer_alignment << ") const " << (raw ? "byte" : "std::uint8_t") << ' ' << name << "[]{";
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i % 32 == 0) out << '\n';
        const auto value = static_cast<unsigned>(bytes[i]);
        if (raw)
            out << "byte(" << value << "),";
        else
            out << value << ',';
    }
    out << "};\n";
}

void prepare(const char* directory, const char* path) {
    const host::Dataset data = host::load_dataset(directory);
    if (data.train.images.height != 2 * side || data.train.images.width != 2 * side)
        throw host::Error(directory, "images of another size", "28 x 28 pixels");
    if (data.train.images.count < train_count + batch || data.test.images.count < test_count)
        throw host::Error(directory, "too few images", "a data set of the size of MNIST");
    static fe::Trainer<net, recipe> learner;
    train(learner.session(), data.train);

    const std::vector<std::byte> classifier = region<Classifier>(weights_file<net>(learner.session(), 0));
    std::vector<std::byte> file = weights_file<head>(learner.session(), 2);
    if (file.size() != head_file_bytes) throw std::runtime_error("head_file_bytes should be " + std::to_string(file.size()));

    std::ofstream out(path);
    out << "#include \"application.hpp\"\nnamespace application {\nusing std::byte;\n";
    const std::vector<std::uint8_t> images = halved(data.train.images, 0, train_count);
    const std::vector<std::uint8_t> labels = narrow(std::span(data.train.labels).first(train_count));
    write<std::uint8_t>(out, "train_images", images);
    write<std::uint8_t>(out, "train_labels", labels);
    write<std::uint8_t>(out, "test_images", halved(data.test.images, 0, test_count));
    write<std::uint8_t>(out, "test_labels", narrow(std::span(data.test.labels).first(test_count)));
    write<std::byte>(out, "classifier_parameters", classifier);
    write<std::byte>(out, "features_parameters", region<Features>(weights_file<features>(learner.session(), 0)));
    write<std::byte>(out, "head_file", file);
    file[file.size() / 2] ^= std::byte{4};
    write<std::byte>(out, "damaged_head_file", file);
    out << "const std::uint64_t classifier_digest = " << fe::fnv1a(classifier) << "u;\n"
        << "const std::uint64_t learned_digest[]{" << learned<with_sgd>(images, labels) << "u, "
        << learned<with_adam>(images, labels) << "u};\n}\n";
    if (!out.flush()) throw host::Error(path, "no space for it", "a file that can be written");
}
}  // namespace

int main(int count, char** arguments) {
    if (count != 3) {
        std::fputs("usage: prepare DIRECTORY FILE\n", stderr);
        return 2;
    }
    try {
        prepare(arguments[1], arguments[2]);
        return 0;
    } catch (const std::exception& error) {
        std::remove(arguments[2]);
        std::fprintf(stderr, "prepare: %s\n", error.what());
        return 2;
    }
}
