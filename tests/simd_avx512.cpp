// SPDX-License-Identifier: MIT
// The cases of the Avx512 vector. Nothing else may be included here: this file is compiled for that
// instruction set.
#include "simd_cases.hpp"

SimdCases simd_cases_avx512() { return SimdCasesOf<ferrite::simd::Vector<ferrite::Avx512>>::cases("Avx512"); }
