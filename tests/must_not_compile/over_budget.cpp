// SPDX-License-Identifier: MIT
// A budget of the user, which the compiler of C++ checks.
// expect: the network has grown beyond its memory
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 300});
#else
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
#endif
inline constexpr fe::Training recipe{};
static_assert(fe::Trainer<net, recipe>::arena_bytes <= 1000, "the network has grown beyond its memory");
