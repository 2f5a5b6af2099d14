# SPDX-License-Identifier: MIT
# cmake -D NM=nm -D PROGRAM=file -D "KERNELS=gemm;relu" -P linked.cmake: the kernels in PROGRAM are these, and no
# training session is in it.
execute_process(COMMAND ${NM} -C ${PROGRAM} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "ferrite::Kernels<[A-Za-z0-9:]+>::[a-z0-9_]+" kernels "${symbols}")
list(TRANSFORM kernels REPLACE ".*::" "")
list(REMOVE_DUPLICATES kernels)
list(SORT kernels)
list(SORT KERNELS)
if(NOT kernels STREQUAL KERNELS)
    message(FATAL_ERROR "${PROGRAM} has the kernels ${kernels}; expected ${KERNELS}")
endif()
if(symbols MATCHES "TrainingSession[^\n]*")
    message(FATAL_ERROR "${PROGRAM} has ${CMAKE_MATCH_0}")
endif()
