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
    constexpr std::uint32_t interval = 500;
    static_assert(train_count % interval == 0);
    const std::uint32_t start = fe::platform::ticks();
    const std::uint64_t digest = learn(learner.session(), train_images, train_labels, [sum = 0.0f](float loss) mutable {
        sum += loss;
        const std::uint32_t samples = learner.session().iteration();
        if (samples % interval != 0) return;
        Line() << samples << " samples, loss " << sum / interval;
        sum = 0;
    });
    report_time("a sample", fe::platform::ticks() - start, learn_epochs * train_count);
    // Also where vectors take subnormal numbers as zeros. With Sgd there are none. Adam's first moments become some, for pixels
    // dark for more than 800 samples, but what such a one adds is below 2^-126 learning_rate / epsilon = 1.2e-34, far below a parameter.
    const bool same = digest == learned_digest[recipe.optimizer.state_slots == 0 ? 0 : 1];
    Line() << (same ? "the same bits as the building machine learned: ok" : "other bits than the building machine learned: FAILED");
    const std::uint32_t correct = count_correct([](std::uint32_t i) { return learner.predict(input(test_images, i)); });
    report_memory(Learner::arena_bytes);
    return judge(recipe.optimizer.name, correct, 280) && same ? 0 : 1;
}
