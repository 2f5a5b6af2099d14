// SPDX-License-Identifier: MIT
// The cases of the Helium vector. Nothing else may be included here: this file is compiled for that instruction
// set.
#include "simd_cases.hpp"

SimdCases simd_cases_helium() { return SimdCasesOf<ferrite::simd::Vector<ferrite::Helium>>::cases("Helium"); }
