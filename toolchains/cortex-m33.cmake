# SPDX-License-Identifier: MIT
# Cortex-M33 with its single-precision unit.
set(core cortex-m33)
set(fpu "-mfloat-abi=hard -mfpu=fpv5-sp-d16")
set(board mps2-an505)
include(${CMAKE_CURRENT_LIST_DIR}/cortex-m.cmake)
