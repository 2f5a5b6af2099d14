// SPDX-License-Identifier: MIT
// A Trainer of which nothing learns.
// expect: every layer is frozen or has no parameters
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3, .frozen = true});
#else
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
#endif
inline constexpr fe::Training recipe{};
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
