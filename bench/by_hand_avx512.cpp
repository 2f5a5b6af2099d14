// SPDX-License-Identifier: MIT
// The loops for Avx512: compiled with the flags of that instruction set.
#include "by_hand_loops.hpp"

template struct ferrite::bench::by_hand::Kernels<ferrite::Avx512>;
