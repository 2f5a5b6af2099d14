# SPDX-License-Identifier: MIT
# ARMv7 Linux with hard floats, NEON and fused multiply-add (VFPv4): Cortex-A7, A15 and newer ones in 32 bits.
set(compiler gcc)
set(triple arm-linux-gnueabihf)
set(processor armv7l)
set(cpu "-march=armv7-a -mfpu=neon-vfpv4 -mfloat-abi=hard -Wno-psabi")
set(isas neon)
set(emulator qemu-arm -cpu cortex-a7)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
