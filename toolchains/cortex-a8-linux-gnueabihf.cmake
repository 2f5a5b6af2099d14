# SPDX-License-Identifier: MIT
# Cortex-A8 Linux with hard floats: its NEON has no fused multiply-add, so the kernels are those without vectors, and the C
# library's fmaf() rounds once. Right, and slow.
set(compiler gcc)
set(triple arm-linux-gnueabihf)
set(processor cortex-a8)
set(cpu "-mcpu=cortex-a8 -mfpu=neon -mfloat-abi=hard -Wno-psabi")
set(isas scalar)
set(emulator qemu-arm -cpu cortex-a8)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
