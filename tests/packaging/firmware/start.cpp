// SPDX-License-Identifier: MIT
// Start-up of the consumer's own: memory, static constructors, main(); text and exit code by semihosting.
#include "start.hpp"

#include <cstring>

int main();

extern "C" {
extern char stack_top[], data_begin[], data_end[], data_load[], bss_begin[], bss_end[];
extern void (*const init_begin[])();
extern void (*const init_end[])();
}

namespace {
void semihosting(int operation, const void* argument) {
    register int r0 asm("r0") = operation;
    register const void* r1 asm("r1") = argument;
    asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}
[[noreturn]] void stop(int code) {
    const int block[2] = {0x20026, code};
    semihosting(0x20, block);
    for (;;) {}
}
void fault() { stop(99); }

[[noreturn, gnu::used]] void start() {
    std::memcpy(data_begin, data_load, static_cast<std::size_t>(data_end - data_begin));
    std::memset(bss_begin, 0, static_cast<std::size_t>(bss_end - bss_begin));
    for (auto* constructor = init_begin; constructor != init_end; ++constructor) (*constructor)();
    stop(main());
}
}  // namespace

void print(const char* text) { semihosting(0x04, text); }

extern "C" [[noreturn]] void reset() {
    *reinterpret_cast<volatile unsigned*>(0xE000ED88) = *reinterpret_cast<volatile unsigned*>(0xE000ED88) | 0xF00000;  // CPACR: FPU
    asm volatile("dsb\n isb" ::: "memory");
    start();
}

union Vector {
    const void* address;
    void (*function)();
};
[[gnu::section(".vectors"), gnu::used]] const Vector vectors[16] = {
    {.address = stack_top}, {.function = &reset}, {.function = &fault}, {.function = &fault},
    {.function = &fault},   {.function = &fault}, {.function = &fault}, {.function = &fault}};
