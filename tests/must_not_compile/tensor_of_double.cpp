// SPDX-License-Identifier: MIT
// A Tensor of anything but float.
// expect: constraint
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

#ifdef FERRITE_VIOLATION
using Element = double;
#else
using Element = float;
#endif
fe::BasicTensor<Element> tensor;
