# SPDX-License-Identifier: MIT
# cmake -D NM=nm -P symbols.cmake -- ARCHIVE [PATTERN...]
# cmake -D NM=nm -D ISA_OBJECTS=ON -P symbols.cmake -- OBJECT...
# Reads the symbols of a static library and fails on
#   - an undefined symbol that the library itself does not define, unless it is in the list below: no heap, exceptions,
#     RTTI, stdio, C++ run-time library or operating system;
#   - type information, and guards of function-local statics;
#   - a weak symbol of an ISA object whose name does not hold that ISA: the linker keeps one copy of a weak symbol for the
#     whole program, and could keep the one with instructions that the CPU lacks;
#   - a static initializer in an ISA object, which would run before the CPU is asked.
# With ISA_OBJECTS, it looks at object files and for the last two alone: for a program's own ISA sources.
# With PATTERNs, it fails if one of them matches none of the breaches: so the check itself is tested.
set(allowed fmaf sqrtf
    memcpy memmove memset memcmp bcmp strlen  # compilers form them on their own
    __cpu_model __cpu_indicator_init  # __builtin_cpu_supports, in libgcc and compiler-rt
    __aeabi_uidiv __aeabi_uidivmod __aeabi_idiv __aeabi_uldivmod __aeabi_llsl __aeabi_llsr __aeabi_lmul  # arithmetic of ARMv7
    _GLOBAL_OFFSET_TABLE_ __stack_chk_fail)
set(names_scalar Scalar)
set(names_avx2 "Avx2|4avx2")         # the second is xsimd's own tag, as in fma3<avx2>
set(names_avx512 "Avx512|8avx512bw")
set(names_neon "4Neon")
set(names_neon64 "6Neon64")
set(names_helium "6Helium")

set(arguments)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
    list(APPEND arguments "${CMAKE_ARGV${i}}")
endforeach()
list(FIND arguments -- position)
math(EXPR position "${position} + 1")
list(SUBLIST arguments ${position} -1 archive)
set(expected)
if(NOT ISA_OBJECTS)
    set(expected ${archive})
    list(POP_FRONT expected archive)
endif()

execute_process(COMMAND ${NM} -A ${archive} OUTPUT_VARIABLE output RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "${NM} cannot read ${archive}")
endif()
string(REGEX MATCHALL "[^\n]+" lines "${output}")

# A line is `[archive:]object:[address] type symbol`; types U, w and v are undefined, W, V and u weak.
set(defined)
set(wanted)
set(breaches)
set(report)
set(count 0)
foreach(line IN LISTS lines)
    if(NOT line MATCHES "([^:/]+):[0-9a-f ]+ ([A-Za-z]) ([^ ]+)$")
        message(FATAL_ERROR "Unexpected line of ${NM}: ${line}")
    endif()
    set(object ${CMAKE_MATCH_1})
    set(type ${CMAKE_MATCH_2})
    set(symbol ${CMAKE_MATCH_3})
    math(EXPR count "${count} + 1")
    if(type MATCHES "[Uwv]")
        list(APPEND wanted ${symbol})
        list(APPEND users_${symbol} ${object})
        continue()
    endif()
    list(APPEND defined ${symbol})
    if(symbol MATCHES "^(_ZTI|_ZTS|_ZGV)" AND NOT ISA_OBJECTS)
        list(APPEND breaches ${symbol})
        list(APPEND report "${object} defines ${symbol}: type information or the guard of a static")
    endif()
    if(object MATCHES "^([a-z0-9_]+_)?(scalar|avx2|avx512|neon|neon64|helium)\\.")
        set(names ${names_${CMAKE_MATCH_2}})
        if(symbol MATCHES "^_GLOBAL__")
            list(APPEND breaches ${symbol})
            list(APPEND report "${object} has a static initializer, ${symbol}")
        endif()
        if(type MATCHES "[WVu]" AND NOT symbol MATCHES "${names}")
            list(APPEND breaches ${symbol})
            list(APPEND report "${object} defines the weak symbol ${symbol}, whose name holds none of: ${names}")
        endif()
    endif()
endforeach()
if(count EQUAL 0)
    message(FATAL_ERROR "${archive} holds no symbols: this cannot be the library")
endif()
if(ISA_OBJECTS)
    set(wanted)
endif()
list(REMOVE_DUPLICATES wanted)
list(REMOVE_ITEM wanted ${defined} ${allowed} "")
foreach(symbol IN LISTS wanted)
    list(APPEND breaches ${symbol})
    list(REMOVE_DUPLICATES users_${symbol})
    list(APPEND report "${users_${symbol}} needs ${symbol}")
endforeach()
list(JOIN report "\n  " report)

if(expected)
    foreach(pattern IN LISTS expected)
        set(found ${breaches})
        list(FILTER found INCLUDE REGEX "^${pattern}$")
        if(NOT found)
            message(FATAL_ERROR "Not found to be a breach: ${pattern}\nFound:\n  ${report}")
        endif()
    endforeach()
elseif(breaches)
    message(FATAL_ERROR "Breaches in the symbols:\n  ${report}")
endif()
message(STATUS "${count} symbols read")
