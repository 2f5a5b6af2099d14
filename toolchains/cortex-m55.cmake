# SPDX-License-Identifier: MIT
# Cortex-M55 with Helium for integers and floats. Helium flushes subnormal numbers, so no loop but those of the kernels may
# come to it: with g++ at -O3 others would lose the bits that all processors have.
set(core cortex-m55)
set(fpu "-mfloat-abi=hard -fno-tree-vectorize")
set(isas helium)
set(board mps3-an547)
include(${CMAKE_CURRENT_LIST_DIR}/cortex-m.cmake)
