# SPDX-License-Identifier: MIT
# Raspberry Pi Pico 2 (RP2350, Cortex-M33 core): the boot ROM wants to see a block in the first 4 KB, here the smallest
# one of the data sheet's section 5.9.5, an executable for a secure Arm core.
set(board_processor cortex-m33)
set(board_flash 0x10000000 4M)
set(board_boot_block 0xffffded3 0x10210142 0x000001ff 0x00000000 0xab123579)
set(board_ram 0x20000000 520K)
