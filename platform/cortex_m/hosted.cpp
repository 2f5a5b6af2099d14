// SPDX-License-Identifier: MIT
// What newlib and libstdc++ want of a test image that may use the heap, files and exceptions: its heap is the memory of
// arenas, and the rest of it comes from newlib's semihosting library.
#include <platform.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>

extern "C" {
extern char __heap_start[], __heap_end[];

void* _sbrk(std::ptrdiff_t increment) {
    static char* end = __heap_start;
    // The 2 GB of an MPS3 board are more than a std::ptrdiff_t holds.
    const auto left = reinterpret_cast<std::uintptr_t>(__heap_end) - reinterpret_cast<std::uintptr_t>(end);
    if (increment > 0 && static_cast<std::uintptr_t>(increment) > left) {
        errno = ENOMEM;
        return reinterpret_cast<void*>(-1);
    }
    char* const begin = end;
    end += increment;
    return begin;
}
[[noreturn]] void _exit(int code) { ferrite::platform::exit(code); }
void _init() {}
void _fini() {}
// Asked for by std::random_device, which no test uses.
int getentropy(void*, std::size_t) { return -1; }
}
