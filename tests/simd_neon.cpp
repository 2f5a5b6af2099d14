// SPDX-License-Identifier: MIT
// The cases of the Neon vector. Nothing else may be included here: this file is compiled for that instruction
// set.
#include "simd_cases.hpp"

SimdCases simd_cases_neon() { return SimdCasesOf<ferrite::simd::Vector<ferrite::Neon>>::cases("Neon"); }
