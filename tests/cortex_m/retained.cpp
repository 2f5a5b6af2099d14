// SPDX-License-Identifier: MIT
// A training that a reset interrupts goes on where it was, if the parameters and the state are retained. Exit code 1: the
// bits are not those without a reset; 2: nothing was retained.
#include <ferrite/ferrite.hpp>
#include <platform.hpp>

extern "C" std::uint32_t __heap_start[];

namespace {

namespace fe = ferrite;

constexpr auto net = fe::sequential(fe::Shape{2}, fe::Dense{.units = 8}, fe::Tanh{}, fe::Dense{.units = 2});
constexpr fe::Training recipe{.optimizer = fe::Adam{.learning_rate = 0.02f}, .batch = 4};
using Learner = fe::Trainer<net, recipe>;

FERRITE_PARAMETERS Learner::Parameters parameters;
FERRITE_STATE Learner::State state;
FERRITE_ARENA Learner::Workspace workspace;
Learner whole;

struct Progress {
    std::uint64_t digest;  // of the parameters, so that what the memory holds when the power comes is no progress
    std::uint32_t iteration;
};
FERRITE_STATE Progress progress;

constexpr float inputs[]{0, 0, 0, 1, 1, 0, 1, 1};
constexpr fe::Label labels[]{0, 1, 1, 0};

void train(fe::TrainingSession& session, int steps) {
    for (int i = 0; i < steps; ++i) session.step(inputs, labels);
}

[[noreturn]] void reset() {
    asm volatile("dsb" ::: "memory");
    *reinterpret_cast<volatile std::uint32_t*>(0xE000ED0C) = 0x05FA0004;  // AIRCR.SYSRESETREQ
    for (;;) {}
}

}  // namespace

int main() {
    // Behind all sections, where nobody clears.
    volatile std::uint32_t& boots = __heap_start[0];
    constexpr std::uint32_t once = 0xB007ED01;
    fe::TrainingSession session = Learner::bind(parameters, state, workspace);
    const bool retained = progress.iteration != 0 && progress.digest == fe::fnv1a(session.parameters());
    if (!retained) {
        if (boots == once) return 2;
        boots = once;
        session.initialize(fe::Seed{9});
        train(session, 50);
        progress = {fe::fnv1a(session.parameters()), session.iteration()};
        ferrite::platform::write("reset after 50 steps\n");
        reset();
    }
    boots = 0;
    session.set_iteration(progress.iteration);
    train(session, 50);
    whole.initialize(fe::Seed{9});
    train(whole.session(), 100);
    if (fe::digest(session) != fe::digest(whole.session())) return 1;
    ferrite::platform::write("the same bits as without a reset: ok\n");
    return 0;
}
