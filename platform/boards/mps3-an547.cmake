# SPDX-License-Identifier: MIT
# Arm MPS3 with the FPGA image AN547, as QEMU has it: vectors in the ITCM, code and data in its SRAMs, arenas in DDR4.
set(board_processor cortex-m55)
set(board_vectors 0x00000000 512K)
set(board_flash 0x01000000 2M)
set(board_ram 0x21000000 4M)
set(board_arena 0x60000000 2048M)
set(board_memories DTCM 0x20000000 512K)
set(board_counter 0x49302018)  # FPGAIO COUNTER
set(board_counter_hz 20000000)
set(board_qemu mps3-an547)
