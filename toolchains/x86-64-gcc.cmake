# SPDX-License-Identifier: MIT
# Any x86-64, kernels chosen at start-up.
set(compiler gcc)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
