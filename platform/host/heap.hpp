// SPDX-License-Identifier: MIT
// Counts heap allocations: a program that calls heap_allocations() gets this file's malloc family.
#pragma once

#include <cstdint>
#include <optional>

namespace ferrite::host {

/// Calls so far, in this process, by anybody, of malloc, calloc, realloc, the aligned ones and all that is
/// built on them (operator new, stdio, ...). Nothing under a sanitizer and with a C library other than glibc.
[[nodiscard]] std::optional<std::uint64_t> heap_allocations() noexcept;

/// Those of the calling thread.
[[nodiscard]] std::optional<std::uint64_t> thread_heap_allocations() noexcept;

}  // namespace ferrite::host
