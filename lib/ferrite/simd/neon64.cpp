// SPDX-License-Identifier: MIT
// The kernels for Neon64: compiled with the flags of that instruction set.
#include <ferrite/simd/elementwise.hpp>
#include <ferrite/simd/gemm.hpp>

template struct ferrite::Kernels<ferrite::Neon64>;
