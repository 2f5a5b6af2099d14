// SPDX-License-Identifier: MIT
// SoftmaxCrossEntropy, which takes logits, behind a Softmax.
// expect: the loss or the link does not go with the last layer
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3}, fe::Softmax{});
#else
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
#endif
inline constexpr fe::Training recipe{};
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
