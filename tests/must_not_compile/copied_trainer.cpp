// SPDX-License-Identifier: MIT
// A second Trainer on the memory of the first one.
// expect: deleted
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

inline constexpr auto net = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});
inline constexpr fe::Training recipe{};
fe::Trainer<net, recipe> learner;
#ifdef FERRITE_VIOLATION
fe::Trainer<net, recipe> second = learner;
#endif
