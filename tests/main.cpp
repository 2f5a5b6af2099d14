// SPDX-License-Identifier: MIT
// The test runner: doctest with the instruction set that FERRITE_ISA asks for.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <ferrite/kernels.hpp>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    if (const char* wanted = std::getenv("FERRITE_ISA"); wanted != nullptr) {
        if (const ferrite::Status status = ferrite::select_isa(wanted); status != ferrite::Status::ok) {
            std::fprintf(stderr, "FERRITE_ISA: found '%s', %s\n", wanted, ferrite::message(status));
            return 2;
        }
    }
    std::printf("kernels: %s\n", ferrite::name(ferrite::active_isa()));
    return doctest::Context(argc, argv).run();
}
