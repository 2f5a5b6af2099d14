# SPDX-License-Identifier: MIT
# Cortex-M4 with its single-precision unit.
set(core cortex-m4)
set(fpu "-mfloat-abi=hard -mfpu=fpv4-sp-d16")
set(board mps2-an386)
include(${CMAKE_CURRENT_LIST_DIR}/cortex-m.cmake)
