// SPDX-License-Identifier: MIT
// Eigen with the flags of this instruction set.
#include "peer_eigen.hpp"
