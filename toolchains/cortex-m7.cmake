# SPDX-License-Identifier: MIT
# Cortex-M7 with its double-precision unit.
set(core cortex-m7)
set(fpu "-mfloat-abi=hard -mfpu=fpv5-d16")
set(board mps2-an500)
include(${CMAKE_CURRENT_LIST_DIR}/cortex-m.cmake)
