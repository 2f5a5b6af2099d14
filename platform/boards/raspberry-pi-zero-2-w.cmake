# SPDX-License-Identifier: MIT
# Raspberry Pi Zero 2 W with 64-bit Linux.
set(board_processor aarch64)
set(board_cpu cortex-a53)
set(board_memory 512M)
