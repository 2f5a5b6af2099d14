// SPDX-License-Identifier: MIT
// The kernels for Avx512: compiled with the flags of that instruction set.
#include <ferrite/simd/elementwise.hpp>
#include <ferrite/simd/gemm.hpp>

template struct ferrite::Kernels<ferrite::Avx512>;
