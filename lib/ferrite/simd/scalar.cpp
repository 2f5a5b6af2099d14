// SPDX-License-Identifier: MIT
// The kernels without vectors: for processors that have none, and the reference of all others.
#include <ferrite/simd/elementwise.hpp>
#include <ferrite/simd/gemm.hpp>

template struct ferrite::Kernels<ferrite::Scalar>;
