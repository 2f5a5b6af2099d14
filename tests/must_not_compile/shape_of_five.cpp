// SPDX-License-Identifier: MIT
// A Shape of rank five.
// expect: <= 4
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
constexpr fe::Shape shape{1, 2, 3, 4, 5};
#else
constexpr fe::Shape shape{1, 2, 3, 4};
#endif
static_assert(shape.elements() > 0);
