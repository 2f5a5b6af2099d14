// SPDX-License-Identifier: MIT
// A Trainer of a layer without outputs.
// expect: a layer cannot take the shape that comes to it
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 0});
#else
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
#endif
inline constexpr fe::Training recipe{};
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
