// SPDX-License-Identifier: MIT
// What start-up promises to main(), and the porting contract. The exit code is the number of the first broken promise.
#include <platform.hpp>

#include <array>

namespace {

namespace platform = ferrite::platform;

volatile std::uint32_t initialized = 0x12345678;
volatile std::uint32_t zero;
FERRITE_ARENA std::array<volatile std::byte, 1000> arena;

struct Constructed {
    std::uint32_t value;
    Constructed() : value(initialized + 1) {}
    ~Constructed() { value = 0; }
};
Constructed constructed;

[[gnu::noinline]] float use_stack(std::uint32_t bytes) {
    std::array<volatile float, 256> memory;
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i) * 0.5f;
    return memory[bytes % memory.size()];
}

}  // namespace

int main() {
    if (initialized != 0x12345678) return 1;
    if (zero != 0) return 2;
    for (const auto& byte : arena)
        if (byte != std::byte{0}) return 3;
    if (constructed.value != 0x12345679) return 4;

    const std::size_t before = platform::stack_used();
    const std::uint32_t start = platform::ticks();
    if (before == 0 || before > 1024) return 5;
    if (use_stack(10) != 5.0f) return 6;
    const std::size_t after = platform::stack_used();
    if (after < 1024 || after > before + 1200 || after > platform::stack_size()) return 7;
    if (platform::ticks() == start) return 8;
    if (platform::ticks_per_second() < 1'000'000) return 9;

    platform::write("a line that is longer than the buffer of sixty-four bytes in which it is handed on: ok\n");
    platform::exit(0);
}
