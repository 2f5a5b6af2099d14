// SPDX-License-Identifier: MIT
// The cases of the Avx2 vector. Nothing else may be included here: this file is compiled for that instruction
// set.
#include "simd_cases.hpp"

SimdCases simd_cases_avx2() { return SimdCasesOf<ferrite::simd::Vector<ferrite::Avx2>>::cases("Avx2"); }
