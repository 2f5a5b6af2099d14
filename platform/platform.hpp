// SPDX-License-Identifier: MIT
// The whole porting contract: what an application asks of the board, and nothing that the library asks for. A new
// processor family defines these functions, a new board of a family is one file in boards/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ferrite::platform {

/// Text for the console, at once and as it is. Where nobody listens it is lost.
void write(std::string_view text) noexcept;

/// Ends the program with `code`, which is what an emulator answers. Returning from main() does the same.
[[noreturn]] void exit(int code) noexcept;

/// A counter that wraps, in steps of 1 / ticks_per_second() seconds: only differences mean something.
[[nodiscard]] std::uint32_t ticks() noexcept;
/// 0 if it is not known, as on a board whose clock the application sets.
[[nodiscard]] std::uint32_t ticks_per_second() noexcept;

/// The most bytes of stack that were in use at any time, and how many there are.
[[nodiscard]] std::size_t stack_used() noexcept;
[[nodiscard]] std::size_t stack_size() noexcept;

}  // namespace ferrite::platform

/// Puts an object that starts as zeros, such as a Trainer, into the memory that the board has for arenas.
#define FERRITE_ARENA [[gnu::section(".bss.arena")]]
/// The same for Trainer::Parameters and Trainer::State, with FERRITE_ARENA for the Workspace; ferrite_firmware() says in which
/// memory each section is, and whether these two are kept over a reset.
#define FERRITE_PARAMETERS [[gnu::section(".bss.parameters")]]
#define FERRITE_STATE [[gnu::section(".bss.state")]]
