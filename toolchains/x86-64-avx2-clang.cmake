# SPDX-License-Identifier: MIT
# x86-64 with AVX2 and FMA (Haswell, Zen and later), one build of the kernels.
set(compiler clang)
set(cpu -march=x86-64-v3)
set(isas avx2)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
