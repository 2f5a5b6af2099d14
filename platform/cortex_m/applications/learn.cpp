// SPDX-License-Identifier: MIT
// Training from scratch on the device: the samples come one at a time, as bytes from flash. FERRITE_LEARN_WITH names the
// optimizer, so that an image holds the code of one.
#include "application.hpp"

namespace {
using namespace application;

constexpr fe::Training recipe{.loss = fe::SoftmaxCrossEntropy{}, .optimizer = fe::FERRITE_LEARN_WITH{}, .batch = 1};
using Learner = fe::Trainer<net, recipe>;
static_assert(Learner::arena_bytes <= 96 * 1024);
FERRITE_ARENA Learner learner;
}  // namespace

int main() {
    constexpr std::uint32_t epochs = 3, interval = 500;
    static_assert(train_count % interval == 0);
    learner.initialize(fe::Seed{42});
    const std::uint32_t start = fe::platform::ticks();
    for (std::uint32_t epoch = 0; epoch < epochs; ++epoch) {
        float sum = 0;
        for (std::uint32_t i = 0; i < train_count; ++i) {
            const fe::Label label = train_labels[i];
            sum += learner.step(input(train_images, i), std::span(&label, 1));
            if ((i + 1) % interval != 0) continue;
            Line() << learner.session().iteration() << " samples, loss " << sum / interval;
            sum = 0;
        }
    }
    report_time("a sample", fe::platform::ticks() - start, epochs * train_count);
    const std::uint32_t correct = count_correct([](std::uint32_t i) { return learner.predict(input(test_images, i)); });
    report_memory(Learner::arena_bytes);
    return judge(recipe.optimizer.name, correct, 280) ? 0 : 1;
}
