// SPDX-License-Identifier: MIT
// A Trainer whose BatchNorm would see one value per feature.
// expect: batch normalization cannot train on one value per feature
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr fe::Training recipe{.batch = 1};
#else
inline constexpr fe::Training recipe{.batch = 2};
#endif
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3}, fe::BatchNorm{});
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
