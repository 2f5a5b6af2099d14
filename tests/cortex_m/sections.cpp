// SPDX-License-Identifier: MIT
// A training whose parameters, optimizer state and workspace are in three sections, beside the same in one block, and an
// inference from parameters in flash. The exit code is the number of the first broken promise.
#include <ferrite/ferrite.hpp>
#include <platform.hpp>

namespace {

namespace fe = ferrite;

constexpr auto net = fe::sequential(fe::Shape{16}, fe::Dense{.units = 24}, fe::Tanh{}, fe::Dense{.units = 4});
constexpr fe::Training recipe{.optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 8};
using Learner = fe::Trainer<net, recipe>;

FERRITE_PARAMETERS Learner::Parameters parameters;
FERRITE_STATE Learner::State state;
FERRITE_ARENA Learner::Workspace workspace;
Learner whole;

constexpr auto line = fe::sequential(fe::Shape{2}, fe::Dense{.units = 1});
constexpr fe::Inference once{};
struct Region {
    float weights[16];  // two, and padding to the next multiple of 64 bytes
    float bias;
};
[[gnu::section(".rodata.deployed")]] alignas(fe::buffer_alignment) constexpr Region deployed{{2, -3}, 0.5f};
fe::Predictor<line, once> predictor;

/// Eight samples of noise; the class is the quarter whose sum is the largest.
struct Batch {
    float x[8 * 16];
    fe::Label labels[8];
    explicit Batch(std::uint64_t n) {
        const fe::Random random(fe::Seed{3}, n);
        for (std::size_t row = 0; row < 8; ++row) {
            float sums[4]{};
            for (std::size_t i = 0; i < 16; ++i) sums[i / 4] += x[row * 16 + i] = random.normal(row * 16 + i);
            labels[row] = static_cast<fe::Label>(fe::argmax(sums));
        }
    }
};

}  // namespace

int main() {
    for (const auto block : {parameters.bytes(), state.bytes(), workspace.bytes()})
        for (const std::byte byte : block)
            if (byte != std::byte{0}) return 1;
    fe::TrainingSession split = Learner::bind(parameters, state, workspace);
    split.initialize(fe::Seed{1});
    whole.initialize(fe::Seed{1});
    float first = 0, last = 0;
    for (std::uint64_t i = 0; i < 400; ++i) {
        const Batch batch(i);
        last = split.step(batch.x, batch.labels);
        if (whole.step(batch.x, batch.labels) != last) return 2;
        if (i == 0) first = last;
    }
    if (fe::digest(split) != fe::digest(whole.session())) return 3;
    if (!(last < 0.5f * first)) return 4;
    if (predictor.use(std::as_bytes(std::span(&deployed, 1))) != fe::Status::ok) return 5;
    const float x[]{5, 3};
    if (predictor.predict(x)[0] != 1.5f) return 6;
    ferrite::platform::write("the same bits in three sections: ok\n");
    return 0;
}
