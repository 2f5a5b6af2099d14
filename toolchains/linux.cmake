# SPDX-License-Identifier: MIT
# Common part of the toolchain files for Linux. A file sets what differs, then includes this one:
#   compiler   gcc or clang
#   cpu        flags that name the CPU for all code, or nothing
#   isas       the instruction sets of the kernels, or nothing for the default and a choice at start-up
# and to build for another processor:
#   triple     its name in Debian's packages of cross compilers
#   processor  CMAKE_SYSTEM_PROCESSOR
#   emulator   the program and the CPU that run its tests; QEMU's default CPUs have what real boards lack
# Contraction is off because a CPU flag may bring fma, and AArch64 has it anyway: no compiler may then form one that is not
# written.
if(compiler STREQUAL "gcc")
    set(CMAKE_CXX_COMPILER g++)
else()
    set(CMAKE_CXX_COMPILER clang++)
endif()
if(triple)
    set(CMAKE_SYSTEM_NAME Linux)
    set(CMAKE_SYSTEM_PROCESSOR ${processor})
    if(compiler STREQUAL "gcc")
        set(CMAKE_CXX_COMPILER ${triple}-g++)
    else()
        set(CMAKE_CXX_COMPILER_TARGET ${triple})
    endif()
    set(CMAKE_CROSSCOMPILING_EMULATOR ${emulator} -L /usr/${triple})
    # Headers alone, which are the same for all processors, may be those of the build machine.
    set(CMAKE_FIND_ROOT_PATH /usr/${triple})
    set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
    set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
    set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
    set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
endif()
if(cpu OR triple)
    set(CMAKE_CXX_FLAGS_INIT "${cpu} -ffp-contract=off")
endif()
if(isas)
    set(FERRITE_ISAS ${isas} CACHE STRING "Instruction sets to build")
endif()
