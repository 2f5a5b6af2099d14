# SPDX-License-Identifier: MIT
# STM32F407 Discovery (STM32F407VG): the arena has the SRAM, all else the CCM, which only the CPU sees. Reset clock: HSI.
set(board_processor cortex-m4)
set(board_flash 0x08000000 1M)
set(board_ram 0x10000000 64K)
set(board_arena 0x20000000 128K)
set(board_counter_hz 16000000)
