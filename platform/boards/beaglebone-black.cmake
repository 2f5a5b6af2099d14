# SPDX-License-Identifier: MIT
# BeagleBone Black (AM3358) with Linux. Its NEON has no fused multiply-add.
set(board_processor "arm|armv7.*")
set(board_cpu cortex-a8)
set(board_memory 512M)
