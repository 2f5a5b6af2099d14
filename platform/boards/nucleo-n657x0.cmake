# SPDX-License-Identifier: MIT
# Nucleo-N657X0-Q has no flash inside: the boot ROM or a debugger puts the image into the upper half of AXISRAM2, where
# the code has half of that and the data the other; the arena has AXISRAM1. Addresses are those of the secure state.
set(board_processor cortex-m55)
set(board_flash 0x34180400 255K)
set(board_ram 0x341C0000 256K)
set(board_arena 0x34064000 624K)
