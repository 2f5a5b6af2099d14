# SPDX-License-Identifier: MIT
# Raspberry Pi 4 with 64-bit Linux; the memory is that of the smallest one.
set(board_processor aarch64)
set(board_cpu cortex-a72)
set(board_memory 1G)
