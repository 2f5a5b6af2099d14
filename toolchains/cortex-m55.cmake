# SPDX-License-Identifier: MIT
# Cortex-M55 with Helium for integers and floats. Helium flushes subnormal numbers, so no loop may come to it unasked: with
# g++ at -O3 scalar kernels would lose the bits that all other processors have.
set(core cortex-m55)
set(fpu "-mfloat-abi=hard -fno-tree-vectorize")
set(board mps3-an547)
include(${CMAKE_CURRENT_LIST_DIR}/cortex-m.cmake)
