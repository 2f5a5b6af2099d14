// SPDX-License-Identifier: MIT
// A Trainer for batches of no samples.
// expect: the model has no layers, or an input or a batch without elements
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr fe::Training recipe{.batch = 0};
#else
inline constexpr fe::Training recipe{.batch = 1};
#endif
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
