// SPDX-License-Identifier: MIT
// The malloc family, counted and passed on to glibc, which supports being replaced as a whole.
#include "heap.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#if defined(__has_feature)
#define FERRITE_HAS_FEATURE(feature) __has_feature(feature)
#else
#define FERRITE_HAS_FEATURE(feature) 0
#endif

// Sanitizers bring a malloc of their own.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !FERRITE_HAS_FEATURE(address_sanitizer) && !FERRITE_HAS_FEATURE(memory_sanitizer) &&     \
    !FERRITE_HAS_FEATURE(thread_sanitizer)

namespace {

std::atomic<std::uint64_t> allocations{0};
thread_local std::uint64_t thread_allocations = 0;

void count() noexcept {
    allocations.fetch_add(1, std::memory_order_relaxed);
    ++thread_allocations;
}

bool power_of_two(std::size_t x) noexcept { return x != 0 && (x & (x - 1)) == 0; }

}  // namespace

extern "C" {

void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void* __libc_valloc(std::size_t size);
void* __libc_pvalloc(std::size_t size);
void __libc_free(void* memory);

void* malloc(std::size_t size) noexcept {
    count();
    return __libc_malloc(size);
}
void* calloc(std::size_t items, std::size_t size) noexcept {
    count();
    return __libc_calloc(items, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
    count();
    return __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
    count();
    return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    count();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
    if (alignment % sizeof(void*) != 0 || !power_of_two(alignment)) return EINVAL;
    count();
    void* const result = __libc_memalign(alignment, size);
    if (result == nullptr) return ENOMEM;
    *memory = result;
    return 0;
}
void* valloc(std::size_t size) noexcept {
    count();
    return __libc_valloc(size);
}
void* pvalloc(std::size_t size) noexcept {
    count();
    return __libc_pvalloc(size);
}
void free(void* memory) noexcept { __libc_free(memory); }

}  // extern "C"

std::optional<std::uint64_t> ferrite::host::heap_allocations() noexcept {
    return allocations.load(std::memory_order_relaxed);
}
std::optional<std::uint64_t> ferrite::host::thread_heap_allocations() noexcept { return thread_allocations; }

#else

std::optional<std::uint64_t> ferrite::host::heap_allocations() noexcept { return std::nullopt; }
std::optional<std::uint64_t> ferrite::host::thread_heap_allocations() noexcept { return std::nullopt; }

#endif
