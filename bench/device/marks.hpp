// SPDX-License-Identifier: MIT
// Two instructions that do nothing on any Arm processor and that no compiler makes: between them the plugin
// of the emulator counts.
#pragma once

#include <cstdint>

namespace ferrite::bench {

#if defined(__aarch64__)
inline void begin() noexcept { asm volatile("hint #126" ::: "memory"); }
inline void end() noexcept { asm volatile("hint #127" ::: "memory"); }
#elif defined(__arm__)
inline void begin() noexcept { asm volatile("dbg #14" ::: "memory"); }
inline void end() noexcept { asm volatile("dbg #15" ::: "memory"); }
#endif

// As they stand in memory, read as a little-endian word: AArch64, Thumb, ARM.
inline constexpr std::uint32_t begin_words[] = {0xD5032FDF, 0x80FEF3AF, 0xE320F0FE};
inline constexpr std::uint32_t end_words[] = {0xD5032FFF, 0x80FFF3AF, 0xE320F0FF};

}  // namespace ferrite::bench
