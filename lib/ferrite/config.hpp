// SPDX-License-Identifier: MIT
// Version and the few switches of the whole library. Includes nothing.
#pragma once

#define FERRITE_VERSION_MAJOR 0
#define FERRITE_VERSION_MINOR 1
#define FERRITE_VERSION_PATCH 0

namespace ferrite {

/// Every buffer of an arena starts at a multiple of this many bytes: one cache line of the hosts. It is the same on
/// every target, so that the figure that a host plans is the figure of the device.
inline constexpr unsigned buffer_alignment = 64;

/// Called when a debug assertion fails, with the failed expression; must not return. The library's own definition
/// is weak and traps: define your own to log or to reset the board.
[[noreturn]] void assertion_failed(const char* expression) noexcept;

}  // namespace ferrite

#ifdef NDEBUG
#define FERRITE_ASSERT(condition) static_cast<void>(0)
#else
#define FERRITE_ASSERT(condition) \
    ((condition) ? static_cast<void>(0) : ::ferrite::assertion_failed(#condition))
#endif
