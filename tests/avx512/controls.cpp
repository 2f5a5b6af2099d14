// SPDX-License-Identifier: MIT
// A program that ends in the way that its argument asks for: run_test proves with it that the emulation
// notices.
#include <immintrin.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr std::size_t page = 4096;

/// The last floats of a page, after which nothing may be touched.
float* end_of_page() {
    auto* memory = static_cast<char*>(
        mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory + page, page, PROT_NONE);
    return reinterpret_cast<float*>(memory + page);
}

[[gnu::target("avx512f")]] float first_of_last_five(__mmask16 mask) {
    float values[16];
    _mm512_storeu_ps(values, _mm512_maskz_loadu_ps(mask, end_of_page() - 5));
    return values[0];
}

}  // namespace

int main(int count, char** arguments) {
    const std::string wanted = count > 1 ? arguments[1] : "";
    std::printf("%s\n", wanted.c_str());
    std::fflush(stdout);
    if (wanted == "succeed") {
        const char* variable = std::getenv("FERRITE_CONTROL");
        return variable != nullptr && std::strcmp(variable, "a b") == 0 && count == 3 ? 0 : 1;
    }
    if (wanted == "fail") return 3;
    if (wanted == "throw") throw 1;
    if (wanted == "undefined") __builtin_trap();
    if (wanted == "null") return *static_cast<volatile int*>(nullptr);
    if (wanted == "masked") return first_of_last_five(0x1f) == 0.0f ? 0 : 1;
    if (wanted == "outside") return first_of_last_five(0x3f) == 0.0f ? 0 : 1;
    if (wanted == "unmapped") {
        float* memory = end_of_page() - 1;
        munmap(reinterpret_cast<char*>(memory + 1) - page, page);
        *memory = 1.0f;
    }
    if (wanted == "endless") {
        for (volatile int i = 0;; i = i + 1) {
        }
    }
    return 1;
}
