// SPDX-License-Identifier: MIT
// A program that only uses a trained network, as a device does. Nothing of training may be linked into it.
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

inline constexpr auto net = fe::sequential(fe::Shape{784}, fe::Dense{.units = 100}, fe::Relu{}, fe::Dense{.units = 10});
inline constexpr fe::Inference deployed{.batch = 1};

using Classifier = fe::Predictor<net, deployed>;
static_assert(Classifier::arena_bytes <= 2'048);

static Classifier classifier;
alignas(fe::buffer_alignment) static const std::byte weights[Classifier::parameter_bytes]{};
static float image[784];

int main() {
    if (classifier.use(weights) != fe::Status::ok) return 2;
    // Weights of zero make every class equal.
    return static_cast<int>(fe::argmax(classifier.predict(image)));
}
