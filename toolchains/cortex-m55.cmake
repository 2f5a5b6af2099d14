# SPDX-License-Identifier: MIT
# Cortex-M55 with Helium for integers and floats.
set(core cortex-m55)
set(fpu -mfloat-abi=hard)
set(board mps3-an547)
include(${CMAKE_CURRENT_LIST_DIR}/cortex-m.cmake)
