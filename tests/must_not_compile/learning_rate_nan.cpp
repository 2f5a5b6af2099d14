// SPDX-License-Identifier: MIT
// A learning rate that is no number.
// expect: a hyperparameter is not finite or out of its range
#include <ferrite/ferrite.hpp>

#include <limits>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr fe::Training recipe{.optimizer = fe::Sgd{std::numeric_limits<float>::quiet_NaN()}};
#else
inline constexpr fe::Training recipe{.optimizer = fe::Sgd{1.0f}};
#endif
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
