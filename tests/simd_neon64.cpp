// SPDX-License-Identifier: MIT
// The cases of the Neon64 vector. Nothing else may be included here: this file is compiled for that instruction
// set.
#include "simd_cases.hpp"

SimdCases simd_cases_neon64() { return SimdCasesOf<ferrite::simd::Vector<ferrite::Neon64>>::cases("Neon64"); }
