// SPDX-License-Identifier: MIT
// The limits for Scalar: compiled with the flags of that instruction set.
#include "peak.hpp"

template struct ferrite::bench::Kernels<ferrite::Scalar>;
