// SPDX-License-Identifier: MIT
// A consumer: trains exclusive-or with what the package gives it.
#include <ferrite/ferrite.hpp>

#include <cstdio>

namespace fe = ferrite;

inline constexpr auto net = fe::sequential(fe::Shape{2}, fe::Dense{.units = 8}, fe::Tanh{}, fe::Dense{.units = 2});
inline constexpr fe::Training recipe{
    .loss = fe::SoftmaxCrossEntropy{}, .optimizer = fe::Adam{.learning_rate = 0.05f}, .batch = 4};

static fe::Trainer<net, recipe> learner;

int main() {
    constexpr float inputs[] = {0, 0, 0, 1, 1, 0, 1, 1};
    constexpr fe::Label labels[] = {0, 1, 1, 0};
    learner.initialize(fe::Seed{1});
    float loss = 0;
    for (int i = 0; i < 500; ++i) loss = learner.step(inputs, labels);
    std::printf("Ferrite %d.%d.%d on %s: loss %g\n", FERRITE_VERSION_MAJOR, FERRITE_VERSION_MINOR,
                FERRITE_VERSION_PATCH, fe::name(fe::active_isa()), static_cast<double>(loss));
    return loss < 0.05f ? 0 : 1;
}
