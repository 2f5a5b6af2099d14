# SPDX-License-Identifier: MIT
# BeagleBone Black (AM3358) with Linux.
set(board_processor cortex-a8)
set(board_cpu cortex-a8)
set(board_memory 512M)
