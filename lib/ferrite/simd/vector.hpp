// SPDX-License-Identifier: MIT
// The vector vocabulary: one set of names and exact meanings for every vector type that the kernel bodies are
// instantiated with, and the 16 virtual lanes of reductions.
#pragma once

#include <ferrite/random.hpp>

#include <cstddef>
#include <cstdint>

// An out-of-line copy of a helper would carry the instruction set of whichever file the linker took it from,
// so no helper may have one, in Debug builds either.
#define FERRITE_INLINE [[gnu::always_inline]] inline
// The same for a lambda, written behind its parameter list.
#define FERRITE_INLINE_LAMBDA __attribute__((always_inline))
// But for a template over a vector type, whose name says its instruction set, where several kernels share it and the build is
// for size.
#ifdef __OPTIMIZE_SIZE__
#define FERRITE_SHARED [[gnu::noinline]]
#else
#define FERRITE_SHARED FERRITE_INLINE
#endif

namespace ferrite {

struct Scalar;
struct Avx2;
struct Avx512;
struct Neon;
struct Neon64;
struct Helium;

}  // namespace ferrite

namespace ferrite::simd {

#ifdef __OPTIMIZE_SIZE__
inline constexpr bool built_for_size = true;
#else
inline constexpr bool built_for_size = false;
#endif

/// N lanes in plain C++: the kernels of a CPU without vectors (Scalar is its N = 1) and, in tests, the proof
/// that a kernel body gives the same bits for every width.
template <std::size_t N>
struct Portable {};

/// V = Vector<Isa>: `V::width` float lanes, with the lane masks V::Mask and the int32 lanes V::Int. All
/// memory operations are unaligned. Results are equal bit for bit on every Isa, except sign and payload of a
/// NaN that arithmetic produces (+ - * / fma sqrt to_float); operations on bits, min, max and select keep
/// those too.
///
///   V::load(p)  x.store(p)                  width floats
///   V::load_partial(p, n)                   reads exactly p[0..n), n <= width; the other lanes are +0
///   x.store_partial(p, n)                   writes exactly p[0..n)
///   V::broadcast(s)  V::zero()
///   a + b  a - b  a * b  a / b  sqrt(a)     IEEE, round to nearest even
///   fma(a, b, c)                            a * b + c, rounded once
///   fma_element<i>(a, b, c)                 a[i] * b + c, rounded once; Neon64 alone
///   -a  abs(a)  copysign(a, b)              on the sign bit alone
///   min(a, b)  max(a, b)                    a < b ? a : b and a > b ? a : b: the second operand if one is
///   NaN, or
///                                           if both are zeros
///   a < b  a <= b  a > b  a >= b  a == b    V::Mask, false if one is NaN
///   m & n  m | n  !m  V::first(n)           V::Mask; first(n): lanes 0..n-1, n <= width
///   select(m, a, b)                         m ? a : b
///   bits(a)  from_bits(i)                   V <-> V::Int, the same bits
///   to_float(i)                             nearest even
///   round_to_int(a)                         nearest even, for |a| < 2^31
///   reduce_add(a)  reduce_max(a)            float: a[i] op a[i + width/2], and so on down to one lane
///   V::random_24(counter)                   V::Int, lane i: Random::mix(counter + i * Random::golden) >> 40
///   transpose(rows)                         V rows[width]: lane j of rows[i] and lane i of rows[j] change places
///   V::load_transposed(p, n, rows)          rows[i], lane j = p[j * n + i]
///
/// and for I = V::Int: I::load_bytes(p), width bytes p as 0..255; I::load_bytes_partial(p, n), which reads exactly
/// p[0..n), n <= width, the other lanes are 0; wrapping: I::broadcast(s), i + j, i - j, i & j, i | j, i ^ j, i == j, i > j (to
/// V::Mask), shift_left<n>(i), shift_right_logical<n>(i), shift_right_arithmetic<n>(i) with 0 <= n < 32.
template <class Isa>
struct Vector;

template <class Isa>
inline constexpr std::size_t portable_width = 0;
template <>
inline constexpr std::size_t portable_width<Scalar> = 1;
template <std::size_t N>
inline constexpr std::size_t portable_width<Portable<N>> = N;

/// Helium has eight vector registers, loops that cost nothing, and operations that take a number for all lanes from a general
/// register, as Vector<Helium>::Factor; of a constant of an operation that is its type there, a vector elsewhere.
template <class Isa>
inline constexpr bool is_helium = false;
template <>
inline constexpr bool is_helium<Helium> = true;
template <class V>
struct ConstantOf {
    using Type = V;
};
template <>
struct ConstantOf<Vector<Helium>>;
template <class V>
using Constant = typename ConstantOf<V>::Type;

template <class Isa>
requires(portable_width<Isa> > 0) struct Vector<Isa> {
    static constexpr std::size_t width = portable_width<Isa>;

    struct Mask {
        bool lane[width];

        FERRITE_INLINE friend Mask operator&(Mask a, Mask b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] = a.lane[i] && b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Mask operator|(Mask a, Mask b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] = a.lane[i] || b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Mask operator!(Mask a) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] = !a.lane[i];
            return a;
        }
    };

    // Unsigned lanes, because signed overflow is undefined.
    struct Int {
        std::uint32_t lane[width];

        FERRITE_INLINE static Int broadcast(std::int32_t value) {
            Int result;
            for (std::size_t i = 0; i < width; ++i) result.lane[i] = static_cast<std::uint32_t>(value);
            return result;
        }
        FERRITE_INLINE static Int load_bytes(const std::uint8_t* p) { return load_bytes_partial(p, width); }
        FERRITE_INLINE static Int load_bytes_partial(const std::uint8_t* p, std::size_t n) {
            Int result;
            for (std::size_t i = 0; i < width; ++i) result.lane[i] = i < n ? p[i] : 0u;
            return result;
        }
        FERRITE_INLINE friend Int operator+(Int a, Int b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] += b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Int operator-(Int a, Int b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] -= b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Int operator&(Int a, Int b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] &= b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Int operator|(Int a, Int b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] |= b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Int operator^(Int a, Int b) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] ^= b.lane[i];
            return a;
        }
        FERRITE_INLINE friend Mask operator==(Int a, Int b) {
            Mask result;
            for (std::size_t i = 0; i < width; ++i) result.lane[i] = a.lane[i] == b.lane[i];
            return result;
        }
        FERRITE_INLINE friend Mask operator>(Int a, Int b) {
            Mask result;
            for (std::size_t i = 0; i < width; ++i) {
                result.lane[i] = static_cast<std::int32_t>(a.lane[i]) > static_cast<std::int32_t>(b.lane[i]);
            }
            return result;
        }
        template <int count>
        FERRITE_INLINE friend Int shift_left(Int a) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] <<= count;
            return a;
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_logical(Int a) {
            for (std::size_t i = 0; i < width; ++i) a.lane[i] >>= count;
            return a;
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_arithmetic(Int a) {
            for (std::size_t i = 0; i < width; ++i) {
                a.lane[i] = static_cast<std::uint32_t>(static_cast<std::int32_t>(a.lane[i]) >> count);
            }
            return a;
        }
    };

    float lane[width];

    FERRITE_INLINE static Vector load(const float* p) {
        Vector result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = p[i];
        return result;
    }
    FERRITE_INLINE static Vector load_partial(const float* p, std::size_t n) {
        Vector result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = i < n ? p[i] : 0.0f;
        return result;
    }
    FERRITE_INLINE static void load_transposed(const float* p, std::size_t stride, Vector (&rows)[width]) {
        for (std::size_t i = 0; i < width; ++i) rows[i] = load(p + i * stride);
        transpose(rows);
    }
    FERRITE_INLINE static Vector broadcast(float value) {
        Vector result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = value;
        return result;
    }
    FERRITE_INLINE static Vector zero() { return broadcast(0.0f); }
    FERRITE_INLINE static Mask first(std::size_t n) {
        Mask result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = i < n;
        return result;
    }
    FERRITE_INLINE void store(float* p) const {
        for (std::size_t i = 0; i < width; ++i) p[i] = lane[i];
    }
    FERRITE_INLINE void store_partial(float* p, std::size_t n) const {
        for (std::size_t i = 0; i < width; ++i) {
            if (i < n) p[i] = lane[i];
        }
    }

    FERRITE_INLINE friend Vector operator+(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] += b.lane[i];
        return a;
    }
    FERRITE_INLINE friend Vector operator-(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] -= b.lane[i];
        return a;
    }
    FERRITE_INLINE friend Vector operator*(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] *= b.lane[i];
        return a;
    }
    FERRITE_INLINE friend Vector operator/(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] /= b.lane[i];
        return a;
    }
    FERRITE_INLINE friend Vector operator-(Vector a) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = -a.lane[i];
        return a;
    }
    FERRITE_INLINE friend Vector fma(Vector a, Vector b, Vector c) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]);
        return a;
    }
    FERRITE_INLINE friend Vector sqrt(Vector a) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = __builtin_sqrtf(a.lane[i]);
        return a;
    }
    FERRITE_INLINE friend Vector abs(Vector a) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = __builtin_fabsf(a.lane[i]);
        return a;
    }
    FERRITE_INLINE friend Vector copysign(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = __builtin_copysignf(a.lane[i], b.lane[i]);
        return a;
    }
    FERRITE_INLINE friend Vector min(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
        return a;
    }
    FERRITE_INLINE friend Vector max(Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
        return a;
    }

    FERRITE_INLINE friend Mask operator<(Vector a, Vector b) {
        Mask result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = a.lane[i] < b.lane[i];
        return result;
    }
    FERRITE_INLINE friend Mask operator<=(Vector a, Vector b) {
        Mask result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = a.lane[i] <= b.lane[i];
        return result;
    }
    FERRITE_INLINE friend Mask operator>(Vector a, Vector b) { return b < a; }
    FERRITE_INLINE friend Mask operator>=(Vector a, Vector b) { return b <= a; }
    FERRITE_INLINE friend Mask operator==(Vector a, Vector b) {
        Mask result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = a.lane[i] == b.lane[i];
        return result;
    }
    FERRITE_INLINE friend Vector select(Mask m, Vector a, Vector b) {
        for (std::size_t i = 0; i < width; ++i) a.lane[i] = m.lane[i] ? a.lane[i] : b.lane[i];
        return a;
    }

    FERRITE_INLINE friend Int bits(Vector a) {
        Int result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = __builtin_bit_cast(std::uint32_t, a.lane[i]);
        return result;
    }
    FERRITE_INLINE friend Vector from_bits(Int a) {
        Vector result;
        for (std::size_t i = 0; i < width; ++i) result.lane[i] = __builtin_bit_cast(float, a.lane[i]);
        return result;
    }
    FERRITE_INLINE friend Vector to_float(Int a) {
        Vector result;
        for (std::size_t i = 0; i < width; ++i) {
            result.lane[i] = static_cast<float>(static_cast<std::int32_t>(a.lane[i]));
        }
        return result;
    }
    // Adding 2^23 leaves no fraction bits, so the addition itself rounds; from 2^23 on there are none anyway.
    // rintf would be a call on CPUs without such an instruction. Out of range answers as x86 does, since the
    // cast may not.
    FERRITE_INLINE friend Int round_to_int(Vector a) {
        Int result;
        for (std::size_t i = 0; i < width; ++i) {
            const float magnitude = __builtin_fabsf(a.lane[i]);
            const float rounded = magnitude < 0x1p23f ? (magnitude + 0x1p23f) - 0x1p23f : magnitude;
            const std::int32_t whole =
                rounded < 0x1p31f ? static_cast<std::int32_t>(__builtin_copysignf(rounded, a.lane[i]))
                                  : INT32_MIN;
            result.lane[i] = static_cast<std::uint32_t>(whole);
        }
        return result;
    }
    FERRITE_INLINE static Int random_24(std::uint64_t counter) {
        Int result;
        for (std::size_t i = 0; i < width; ++i)
            result.lane[i] = static_cast<std::uint32_t>(Random::mix(counter + i * Random::golden) >> 40);
        return result;
    }
    FERRITE_INLINE friend void transpose(Vector (&rows)[width]) {
        for (std::size_t i = 1; i < width; ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                const float kept = rows[i].lane[j];
                rows[i].lane[j] = rows[j].lane[i];
                rows[j].lane[i] = kept;
            }
        }
    }
    FERRITE_INLINE friend float reduce_add(Vector a) {
        for (std::size_t half = width / 2; half > 0; half /= 2) {
            for (std::size_t i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
        }
        return a.lane[0];
    }
    FERRITE_INLINE friend float reduce_max(Vector a) {
        for (std::size_t half = width / 2; half > 0; half /= 2) {
            for (std::size_t i = 0; i < half; ++i) {
                a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
            }
        }
        return a.lane[0];
    }
};

/// The 16 virtual lanes of a reduction over an array: element i belongs to lane i % 16, a lane takes its
/// elements in ascending order, and the lanes are combined as l[i] op l[i + 8], then + 4, + 2, + 1. So a sum
/// does not depend on V::width.
///
///     auto sum = Lanes16<V>::broadcast(0.0f);
///     sum.fold(n, [&](V lane, std::size_t i, std::size_t count) FERRITE_INLINE_LAMBDA {
///         return lane + exp(V::load_partial(x + i, count) - largest);
///     });
///     float total = reduce_add(sum);
template <class V>
struct Lanes16 {
    static constexpr std::size_t parts = 16 / V::width;
    static_assert(parts * V::width == 16);

    V part[parts];

    /// All lanes start from `identity`: 0 for a sum, -infinity for a maximum.
    FERRITE_INLINE static Lanes16 broadcast(float identity) {
        Lanes16 result;
        for (std::size_t p = 0; p < parts; ++p) result.part[p] = V::broadcast(identity);
        return result;
    }

    /// lanes = step(lanes, i, count) for the elements i .. i + count - 1, count <= V::width; what `step`
    /// answers in lanes from `count` on is ignored. In the long loop count is the constant V::width, so the
    /// partial memory operations in `step` become full ones.
    template <class Step>
    FERRITE_INLINE void fold(std::size_t n, Step step) {
        if constexpr (V::width == 1 && built_for_size) {  // one body of `step`
            for (std::size_t i = 0; i < n; ++i) part[i % 16] = step(part[i % 16], i, 1);
            return;
        }
        std::size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            for (std::size_t p = 0; p < parts; ++p) {
                part[p] = step(part[p], i + p * V::width, V::width);
            }
        }
        for (std::size_t p = 0; p < parts && i < n; ++p, i += V::width) {
            const std::size_t count = n - i < V::width ? n - i : V::width;
            part[p] = select(V::first(count), step(part[p], i, count), part[p]);
        }
    }

    /// lane += x[i]
    FERRITE_INLINE void add(const float* x, std::size_t n) {
        fold(n, [x](V lane, std::size_t i, std::size_t count)
                    FERRITE_INLINE_LAMBDA { return lane + V::load_partial(x + i, count); });
    }
    /// lane = fma(x[i], x[i], lane)
    FERRITE_INLINE void add_squares(const float* x, std::size_t n) {
        fold(n, [x](V lane, std::size_t i, std::size_t count) FERRITE_INLINE_LAMBDA {
            const V value = V::load_partial(x + i, count);
            return fma(value, value, lane);
        });
    }
    /// lane = fma(x[i], y[i], lane)
    FERRITE_INLINE void add_products(const float* x, const float* y, std::size_t n) {
        fold(n, [x, y](V lane, std::size_t i, std::size_t count) FERRITE_INLINE_LAMBDA {
            return fma(V::load_partial(x + i, count), V::load_partial(y + i, count), lane);
        });
    }
    /// lane = max(lane, x[i]): a NaN replaces the lane and the element after it replaces the NaN, so NaN is
    /// not reliably carried to the result.
    FERRITE_INLINE void max_of(const float* x, std::size_t n) {
        fold(n, [x](V lane, std::size_t i, std::size_t count)
                    FERRITE_INLINE_LAMBDA { return max(lane, V::load_partial(x + i, count)); });
    }

    FERRITE_INLINE friend float reduce_add(Lanes16 lanes) {
        for (std::size_t half = parts / 2; half > 0; half /= 2) {
            for (std::size_t p = 0; p < half; ++p) lanes.part[p] = lanes.part[p] + lanes.part[p + half];
        }
        return reduce_add(lanes.part[0]);
    }
    FERRITE_INLINE friend float reduce_max(Lanes16 lanes) {
        for (std::size_t half = parts / 2; half > 0; half /= 2) {
            for (std::size_t p = 0; p < half; ++p) lanes.part[p] = max(lanes.part[p], lanes.part[p + half]);
        }
        return reduce_max(lanes.part[0]);
    }
};

}  // namespace ferrite::simd

#if defined(__AVX2__) && defined(__FMA__)
#include <ferrite/simd/avx.hpp>
#endif
#if (defined(FERRITE_ISA_NEON64) && defined(__aarch64__)) || \
    (defined(FERRITE_ISA_NEON) && defined(__ARM_NEON) && defined(__ARM_FEATURE_FMA) && !defined(__aarch64__))
#include <ferrite/simd/neon.hpp>
#endif
#if defined(FERRITE_ISA_HELIUM) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) != 0
#include <ferrite/simd/helium.hpp>
#endif
