// SPDX-License-Identifier: MIT
// The kernels for Helium: compiled with the flags of that instruction set.
#include <ferrite/simd/elementwise.hpp>
#include <ferrite/simd/gemm.hpp>

template struct ferrite::Kernels<ferrite::Helium>;
