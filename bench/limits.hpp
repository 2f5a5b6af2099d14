// SPDX-License-Identifier: MIT
// The limits of the machine as kernels per instruction set. Includes no header with static initializers, as
// the ISA sources see this one.
#pragma once

#include <cstddef>
#include <ferrite/kernels.hpp>

namespace ferrite::bench {

/// 12 chains of sum = fma(sum, factor, addend) over whole vectors, `flops` floating-point operations in all:
/// a multiple of multiply_add_round. 12 exceed the 8 (two ports, four cycles latency) that are in flight on
/// today's processors.
struct MultiplyAdd {
    std::size_t flops;
    float factor, addend;
    float* result;
};
inline constexpr std::size_t multiply_add_round = 2 * 12 * 16;

/// The limits work on whole groups of vectors.
[[nodiscard]] constexpr std::size_t limit_elements(std::size_t elements) noexcept {
    return (elements + 127) / 128 * 128;
}

/// *result = sum of x[0..size), size = limit_elements(size): bound by reading.
struct Read {
    const float* x;
    std::size_t size;
    float* result;
};

/// The fastest code we know for moving the streams that a kernel moves, with next to no arithmetic. The maps
/// take the operands of the kernels that they are the limit of, in one row of limit_elements(columns).
template <class IsaTag>
struct Kernels {
    static void multiply_add(const MultiplyAdd&);
    static void read(const Read&);
    static void move(const Map&);           ///< y = x: the streams of an activation
    static void move_backward(const Map&);  ///< dx = dy + y: those of its backward pass
    static void move_update(
        const Map&);  ///< p = p + g, state = state + g: those of an optimizer with 0..2 states
    // Not limits: functions of simd/math.hpp that the library has only inside other kernels, y = f(x) over
    // one row of limit_elements(columns).
    static void exponential(const Map&);
    static void logarithm(const Map&);
};
extern template struct Kernels<Scalar>;
extern template struct Kernels<Avx2>;
extern template struct Kernels<Avx512>;

// FERRITE_ENTRIES finds the Kernels of this namespace.
inline constexpr Kernel<MultiplyAdd> multiply_add{"multiply_add", {FERRITE_ENTRIES(multiply_add)}};
inline constexpr Kernel<Read> read{"read", {FERRITE_ENTRIES(read)}};
inline constexpr Kernel<Map> move{"move", {FERRITE_ENTRIES(move)}};
inline constexpr Kernel<Map> move_backward{"move_backward", {FERRITE_ENTRIES(move_backward)}};
inline constexpr Kernel<Map> move_update{"move_update", {FERRITE_ENTRIES(move_update)}};
inline constexpr Kernel<Map> exponential{"exp", {FERRITE_ENTRIES(exponential)}};
inline constexpr Kernel<Map> logarithm{"log", {FERRITE_ENTRIES(logarithm)}};

}  // namespace ferrite::bench
