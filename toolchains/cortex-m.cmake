# SPDX-License-Identifier: MIT
# Common part of the toolchain files for Cortex-M without an operating system: GCC and newlib-nano. A file sets what
# differs, then includes this one:
#   core       the CPU, as -mcpu and the board files name it
#   fpu        flags that name its floating point unit
#   board      the board of images unless FERRITE_BOARD names another
#   isas       the instruction sets of the kernels; nothing means scalar
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR ${core})
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
set(CMAKE_CXX_FLAGS_INIT "-mcpu=${core} -mthumb ${fpu} -ffp-contract=off -Wno-psabi --specs=nano.specs")
# Images are linked with -nodefaultlibs, so that they hold nothing of libstdc++.
set(CMAKE_CXX_STANDARD_LIBRARIES_INIT "-Wl,--start-group -lm -lc -lgcc -Wl,--end-group")
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # a program needs a board
# Headers of the machine that builds are not those of the device; a package is where CMAKE_PREFIX_PATH says.
set(CMAKE_FIND_ROOT_PATH /usr/lib/arm-none-eabi)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
if(NOT isas)
    set(isas scalar)
endif()
set(FERRITE_ISAS ${isas} CACHE STRING "Instruction sets to build")
set(FERRITE_BOARD ${board} CACHE STRING "A board of platform/boards")
