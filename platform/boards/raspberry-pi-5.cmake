# SPDX-License-Identifier: MIT
# Raspberry Pi 5 with 64-bit Linux; the memory is what each one has at least.
set(board_processor aarch64)
set(board_cpu cortex-a76)
set(board_memory 1G)
