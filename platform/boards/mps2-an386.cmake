# SPDX-License-Identifier: MIT
# Arm MPS2 with the FPGA image AN386, as QEMU has it.
set(board_processor cortex-m4)
set(board_flash 0x00000000 4M)
set(board_ram 0x20000000 4M)
set(board_arena 0x21000000 16M)
set(board_memories BLOCK_RAM 0x01000000 16K)  # of the FPGA
set(board_counter 0x40028018)  # FPGAIO COUNTER
set(board_counter_hz 25000000)
set(board_qemu mps2-an386)
