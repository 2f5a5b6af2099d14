// SPDX-License-Identifier: MIT
// One training, the same bits on every processor: digits that are compiled in, BatchNorm, dropout, Adam.
#include <doctest/doctest.h>
#include <ferrite/ferrite.hpp>

#include <cstring>
#include <string>

#include "digits.hpp"

namespace fe = ferrite;

namespace {

inline constexpr auto net = fe::sequential(fe::Shape{784}, fe::Dense{.units = 30}, fe::BatchNorm{}, fe::Relu{},
                                           fe::Dropout{.rate = 0.2f}, fe::Dense{.units = 10});
inline constexpr fe::Training recipe{.optimizer = fe::Adam{.learning_rate = 1e-3f}, .batch = 10};
using Learner = fe::Trainer<net, recipe>;
Learner::Parameters parameters;
Learner::State state;
Learner::Workspace workspace;
float images[20][784];
fe::Label labels[20];

// ARMv7 and Helium take them as zeros, so equal bits there need data that meets none.
std::size_t subnormals(std::span<const std::byte> floats) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < floats.size(); i += sizeof(float)) {
        std::uint32_t bits;
        std::memcpy(&bits, floats.data() + i, sizeof bits);
        count += (bits & 0x7F800000u) == 0 && (bits & 0x007FFFFFu) != 0;
    }
    return count;
}

}  // namespace

TEST_CASE("200 steps on digits have one digest on every processor") {
    const std::string before = fe::name(fe::active_isa());
    for (std::size_t i = 0; i < fe::isa_count; ++i) {
        const auto isa = static_cast<fe::Isa>(i);
        INFO(std::string(fe::name(isa)));
        if (!fe::supported(isa)) {
            MESSAGE(std::string(fe::name(isa)) << " is not compared: this processor lacks it");
            continue;
        }
        REQUIRE(fe::select_isa(fe::name(isa)) == fe::Status::ok);
        for (std::size_t d = 0; d < 20; ++d) {
            std::uint8_t bytes[784];
            fe::test::bytes_of(fe::test::digits[d], bytes);
            fe::kernels::pixels({.x = bytes, .y = images[d], .size = 784});
            labels[d] = fe::test::digits[d].label;
        }
        fe::TrainingSession learner = Learner::bind(parameters, state, workspace);
        learner.initialize(fe::Seed{2026});
        float loss = 0;
        std::size_t met = 0;
        for (std::size_t step = 0; step < 200; ++step) {
            const std::size_t first = step % 2 * 10;
            loss = learner.step({images[first], 7840}, std::span<const fe::Label>(labels + first, 10));
            met += subnormals(parameters.bytes()) + subnormals(state.bytes()) + subnormals(workspace.bytes());
        }
        CHECK(met == 0);
        CHECK(loss < 0.3f);
        std::uint32_t correct = 0;
        for (const std::size_t first : {0u, 10u})
            correct += learner.evaluate({images[first], 7840}, std::span<const fe::Label>(labels + first, 10)).correct;
        CHECK(correct == 20);
        CHECK(fe::digest(learner) == 0x92A7C688B42B1911u);
    }
    REQUIRE(fe::select_isa(before.c_str()) == fe::Status::ok);
}
