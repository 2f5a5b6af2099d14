// SPDX-License-Identifier: MIT
// A firmware that learns exclusive-or on the device, then infers from what it learned. The parameters are in a section of its
// linker script. Exit code 1: it did not learn; 2, 3: it does not infer; 4: the processor has Helium, its kernels do not.
#include <ferrite/ferrite.hpp>

#include "start.hpp"

namespace fe = ferrite;

namespace {

constexpr auto net = fe::sequential(fe::Shape{2}, fe::Dense{.units = 8}, fe::Tanh{}, fe::Dense{.units = 2});
constexpr fe::Training recipe{.optimizer = fe::Adam{.learning_rate = 0.05f}, .batch = 4};
constexpr fe::Inference deployed{.link = fe::Link::softmax};

using Learner = fe::Trainer<net, recipe>;
static_assert(Learner::arena_bytes <= 1'100);
[[gnu::section(".bss.retained")]] Learner::Parameters parameters;
Learner::State state;
Learner::Workspace workspace;
fe::TrainingSession session = Learner::bind(parameters, state, workspace);
fe::Predictor<net, deployed> classifier;

void print_loss(const char* name, float loss) {
    print(name);
    char digits[] = "0.000000\n";
    auto millionths = static_cast<unsigned>((loss < 9 ? loss : 9) * 1e6f + 0.5f);
    for (std::size_t i = 8; i-- > 2; millionths /= 10) digits[i] = static_cast<char>('0' + millionths % 10);
    digits[0] = static_cast<char>('0' + millionths);
    print(digits);
}

}  // namespace

int main() {
    const float inputs[] = {0, 0, 0, 1, 1, 0, 1, 1};
    const fe::Label labels[] = {0, 1, 1, 0};
#if defined(ASKS_FOR_MEMORY)
    float* volatile memory = new float[8];
    print(memory != nullptr ? "there is a heap\n" : "");
#endif
    session.initialize(fe::Seed{1});
    const float first = session.step(inputs, labels);
    float last = first;
    for (int i = 1; i < 500; ++i) last = session.step(inputs, labels);
    print("Ferrite on ");
    print(fe::name(fe::active_isa()));
    print_loss(": first loss ", first);
    print_loss("last loss ", last);
    if (!(last < 0.05f * first)) return 1;
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
    if (fe::name(fe::active_isa())[0] != 'h') return 4;
#endif

    if (classifier.use(session.parameters()) != fe::Status::ok) return 2;
    for (std::size_t i = 0; i < 4; ++i)
        if (fe::argmax(classifier.predict(std::span(inputs).subspan(2 * i, 2))) != labels[i]) return 3;
    print("classified: ok\n");
    return 0;
}
