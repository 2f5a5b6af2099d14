# SPDX-License-Identifier: MIT
# Arm MPS2 with the FPGA image AN505, as QEMU has it; addresses of the secure state, in which it starts.
set(board_processor cortex-m33)
set(board_flash 0x10000000 4M)
set(board_ram 0x38000000 4M)
set(board_arena 0x80000000 16M)
set(board_counter 0x50302018)  # FPGAIO COUNTER
set(board_counter_hz 20000000)
set(board_qemu mps2-an505)
