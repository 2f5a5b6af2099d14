# SPDX-License-Identifier: MIT
# x86-64 with AVX-512 F, CD, DQ, BW, VL (Skylake-SP, Zen 4 and later), one build of the kernels.
set(compiler clang)
set(cpu -march=x86-64-v4)
set(isas avx512)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
