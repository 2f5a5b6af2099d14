# SPDX-License-Identifier: MIT
# cmake -D NM=nm -D IMAGE=file -D "LINK=command without an output" -P one_byte_less.cmake: with a RAM of the bytes that
# IMAGE uses it links, with one byte less it does not, and the error says why.
execute_process(COMMAND ${NM} ${IMAGE} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
if(NOT symbols MATCHES "([0-9a-f]+) [A-Za-z] __ram_used")
    message(FATAL_ERROR "${IMAGE} has no __ram_used")
endif()
math(EXPR enough "0x${CMAKE_MATCH_1}")
math(EXPR less "${enough} - 1")
separate_arguments(LINK UNIX_COMMAND "${LINK}")
foreach(length ${enough} ${less})
    execute_process(COMMAND ${LINK} -Wl,--defsym=__ram_length=${length} -o ${IMAGE}.${length}
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
    message("${length} bytes of RAM: ${output}")
    file(REMOVE ${IMAGE}.${length})
    if(length EQUAL enough AND NOT code EQUAL 0)
        message(FATAL_ERROR "${length} bytes are what the image uses, but it does not link")
    endif()
    if(length EQUAL less AND (code EQUAL 0 OR NOT output MATCHES "RAM is too small"))
        message(FATAL_ERROR "${length} bytes are too few: an error with the words 'RAM is too small' was expected")
    endif()
endforeach()
