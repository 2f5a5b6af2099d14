# SPDX-License-Identifier: MIT
# Nucleo-F767ZI: the arena has SRAM1 and SRAM2, all else the DTCM. Reset clock: HSI.
set(board_processor cortex-m7)
set(board_flash 0x08000000 2M)
set(board_ram 0x20000000 128K)
set(board_arena 0x20020000 384K)
set(board_counter_hz 16000000)
