// SPDX-License-Identifier: MIT
// A learning rate below zero.
// expect: a hyperparameter is not finite or out of its range
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr fe::Training recipe{.optimizer = fe::Adam{.learning_rate = -0.001f}};
#else
inline constexpr fe::Training recipe{.optimizer = fe::Adam{.learning_rate = 0.001f}};
#endif
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
