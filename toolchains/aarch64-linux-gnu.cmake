# SPDX-License-Identifier: MIT
# AArch64 Linux, any: Raspberry Pi 3, 4, 5, Zero 2 W with a 64-bit system.
set(compiler gcc)
set(triple aarch64-linux-gnu)
set(processor aarch64)
set(isas neon64)
set(emulator qemu-aarch64 -cpu cortex-a53)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
