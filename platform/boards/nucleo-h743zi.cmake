# SPDX-License-Identifier: MIT
# Nucleo-H743ZI: the arena has the AXI SRAM, all else the DTCM. Reset clock: HSI.
set(board_processor cortex-m7)
set(board_flash 0x08000000 2M)
set(board_ram 0x20000000 128K)
set(board_arena 0x24000000 512K)
set(board_counter_hz 64000000)
