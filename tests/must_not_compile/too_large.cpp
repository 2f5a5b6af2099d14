// SPDX-License-Identifier: MIT
// An arena beyond 32-bit addresses.
// expect: a buffer or the arena passes 4 GiB
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{65536}, fe::Dense{.units = 65536});
#else
inline constexpr auto net = fe::sequential(fe::Shape{65536}, fe::Dense{.units = 3});
#endif
inline constexpr fe::Training recipe{};
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
