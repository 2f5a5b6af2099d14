// SPDX-License-Identifier: MIT
// A hyperparameter of a layer: a slope that its declaration excludes.
// expect: a hyperparameter is not finite or out of its range
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3}, fe::LeakyRelu{.slope = 0});
#else
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3}, fe::LeakyRelu{.slope = 0.1f});
#endif
inline constexpr fe::Training recipe{};
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
