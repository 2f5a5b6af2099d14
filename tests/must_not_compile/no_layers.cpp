// SPDX-License-Identifier: MIT
// A Predictor without layers.
// expect: the model has no layers, or an input or a batch without elements
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{4});
#else
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Relu{});
#endif
inline constexpr fe::Inference recipe{};
static_assert(fe::Predictor<net, recipe>::arena_bytes > 0);
