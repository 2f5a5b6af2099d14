// SPDX-License-Identifier: MIT
// A network that was trained elsewhere meets images that stand on their heads. Its first half stays in flash and is used in
// place; the second half comes from a weights file and learns on, in an arena of its own.
#include "application.hpp"

namespace {
using namespace application;

constexpr fe::Training recipe{.loss = fe::SoftmaxCrossEntropy{}, .optimizer = fe::Sgd{.learning_rate = 0.02f}, .batch = 1};
using Head = fe::Trainer<head, recipe>;
FERRITE_ARENA Features eye;
FERRITE_ARENA Head learner;

std::span<const float> seen(const std::uint8_t* images, std::uint32_t index) {
    std::uint8_t turned[pixels];
    std::reverse_copy(images + index * pixels, images + (index + 1) * pixels, turned);
    return eye.predict(input(turned, 0));
}
std::uint32_t correct() {
    return count_correct([](std::uint32_t i) { return learner.predict(seen(test_images, i)); });
}
}  // namespace

int main() {
    const auto weights = fe::open_weights(head_file);
    if (eye.use(features_parameters) != fe::Status::ok || !weights.ok() ||
        fe::load_weights(weights.value(), learner.session()) != fe::Status::ok) {
        Line() << "the weights are not those of this network";
        return 2;
    }
    const std::uint32_t before = correct();
    Line() << "before: " << before << " of " << test_count << " held-back images right";
    constexpr std::uint32_t epochs = 2;
    const std::uint32_t start = fe::platform::ticks();
    for (std::uint32_t epoch = 0; epoch < epochs; ++epoch) {
        float sum = 0;
        for (std::uint32_t i = 0; i < train_count; ++i) {
            const fe::Label label = train_labels[i];
            sum += learner.step(seen(train_images, i), std::span(&label, 1));
        }
        Line() << (epoch + 1) * train_count << " samples, loss " << sum / train_count;
    }
    report_time("a sample", fe::platform::ticks() - start, epochs * train_count);
    const std::uint32_t after = correct();
    report_memory(Features::arena_bytes + Head::arena_bytes);
    return judge("adapted", after, before + 150) ? 0 : 1;
}
