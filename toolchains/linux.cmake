# SPDX-License-Identifier: MIT
# Common part of the toolchain files for Linux. A file sets what differs, then includes this one:
#   compiler   gcc or clang
#   cpu        flags that name the CPU for all code, or nothing
#   isas       the instruction sets of the kernels, or nothing for the default and a choice at start-up
# Contraction is off because a CPU flag may bring fma: no compiler may then form one that is not written.
if(compiler STREQUAL "gcc")
    set(CMAKE_CXX_COMPILER g++)
else()
    set(CMAKE_CXX_COMPILER clang++)
endif()
if(cpu)
    set(CMAKE_CXX_FLAGS_INIT "${cpu} -ffp-contract=off")
endif()
if(isas)
    set(FERRITE_ISAS ${isas} CACHE STRING "Instruction sets to build")
endif()
