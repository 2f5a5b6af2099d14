// SPDX-License-Identifier: MIT
// Clipping by the global norm, which no step knows while it updates at once.
// expect: clipping by the global norm needs stored gradients
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
inline constexpr fe::Training recipe{.clip_norm = 1, .update = fe::Update::immediate};
#else
inline constexpr fe::Training recipe{.clip_norm = 1};
#endif
inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
static_assert(fe::Trainer<net, recipe>::arena_bytes > 0);
