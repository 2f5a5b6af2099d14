// SPDX-License-Identifier: MIT
// The vector vocabulary: one set of names and exact meanings for every vector type that the kernel bodies are
// instantiated with, and the 16 virtual lanes of reductions.
#pragma once

#include <ferrite/random.hpp>

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__) && defined(__FMA__)
#define FERRITE_HAS_AVX2_VECTOR 1
#endif
#if defined(__AVX512F__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__)
#define FERRITE_HAS_AVX512_VECTOR 1
#endif
#if defined(FERRITE_HAS_AVX2_VECTOR) || defined(FERRITE_HAS_AVX512_VECTOR)
#include <immintrin.h>

#include <xsimd/xsimd.hpp>
#endif
#if (defined(FERRITE_ISA_NEON64) && defined(__aarch64__)) || \
    (defined(FERRITE_ISA_NEON) && defined(__ARM_NEON) && defined(__ARM_FEATURE_FMA) && !defined(__aarch64__))
#define FERRITE_HAS_NEON_VECTOR 1
#include <arm_neon.h>

#include <xsimd/xsimd.hpp>
#endif

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

#if defined(FERRITE_HAS_AVX2_VECTOR)

// xsimd does what is the same in all its versions: memory, + - * /. The other operations are intrinsics: its
// negation, comparisons of NaN, min, max and rounding have changed between versions, and its masks differ
// from 8 to 9.
template <>
struct Vector<Avx2> {
    using Batch = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;
    static constexpr std::size_t width = 8;
    static_assert(Batch::size == width);

    struct Mask {
        __m256 value;

        FERRITE_INLINE friend Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator!(Mask a) {
            return {_mm256_xor_ps(a.value, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
        }
    };

    struct Int {
        __m256i value;

        FERRITE_INLINE static Int broadcast(std::int32_t value) { return {_mm256_set1_epi32(value)}; }
        FERRITE_INLINE static Int load_bytes(const std::uint8_t* p) {
            return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
        }
        FERRITE_INLINE static Int load_bytes_partial(const std::uint8_t* p, std::size_t n) {
            if (n == width) return load_bytes(p);
            // AVX2 has no masked load of bytes: 1, 2 and 4 of them, from the end. g++ makes 2 KB of vectors of a loop.
            std::uint64_t bytes = 0;
            if (n & 1) bytes = p[n - 1];
            if (n & 2) {
                std::uint16_t two;
                __builtin_memcpy(&two, p + (n & 4), 2);
                bytes = bytes << 16 | two;
            }
            if (n & 4) {
                std::uint32_t four;
                __builtin_memcpy(&four, p, 4);
                bytes = bytes << 32 | four;
            }
            return {_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)))};
        }
        FERRITE_INLINE friend Int operator+(Int a, Int b) { return {_mm256_add_epi32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator-(Int a, Int b) { return {_mm256_sub_epi32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator&(Int a, Int b) { return {_mm256_and_si256(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator|(Int a, Int b) { return {_mm256_or_si256(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator^(Int a, Int b) { return {_mm256_xor_si256(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator==(Int a, Int b) {
            return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.value, b.value))};
        }
        FERRITE_INLINE friend Mask operator>(Int a, Int b) {
            return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.value, b.value))};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_left(Int a) {
            return {_mm256_slli_epi32(a.value, count)};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_logical(Int a) {
            return {_mm256_srli_epi32(a.value, count)};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_arithmetic(Int a) {
            return {_mm256_srai_epi32(a.value, count)};
        }
    };

    Batch value;

    FERRITE_INLINE static Vector load(const float* p) { return {Batch::load_unaligned(p)}; }
    // The branch disappears where n is a constant; vmaskmov costs several times a plain move, the store most
    // of all.
    FERRITE_INLINE static Vector load_partial(const float* p, std::size_t n) {
        if (n == width) return load(p);
        return {Batch(_mm256_maskload_ps(p, first_bits(n)))};
    }
    // Halves of rows meet while they are loaded, so that half the work is left for the one unit that crosses halves.
    FERRITE_INLINE static void load_transposed(const float* p, std::size_t stride, Vector (&rows)[width]) {
        const auto halves = [p, stride](std::size_t row, std::size_t column) FERRITE_INLINE_LAMBDA {
            const float* const at = p + row * stride + column;
            return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at)), _mm_loadu_ps(at + 4 * stride), 1);
        };
        for (std::size_t c = 0; c < 8; c += 4) {
            const __m256 a = halves(0, c), b = halves(1, c), x = halves(2, c), y = halves(3, c);
            const __m256 ab = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
            const __m256 xy = _mm256_unpacklo_ps(x, y), xy_high = _mm256_unpackhi_ps(x, y);
            rows[c] = {Batch(_mm256_shuffle_ps(ab, xy, 0x44))};
            rows[c + 1] = {Batch(_mm256_shuffle_ps(ab, xy, 0xEE))};
            rows[c + 2] = {Batch(_mm256_shuffle_ps(ab_high, xy_high, 0x44))};
            rows[c + 3] = {Batch(_mm256_shuffle_ps(ab_high, xy_high, 0xEE))};
        }
    }
    FERRITE_INLINE static Vector broadcast(float value) { return {Batch(_mm256_set1_ps(value))}; }
    FERRITE_INLINE static Vector zero() { return {Batch(_mm256_setzero_ps())}; }
    FERRITE_INLINE static Mask first(std::size_t n) { return {_mm256_castsi256_ps(first_bits(n))}; }
    FERRITE_INLINE void store(float* p) const { value.store_unaligned(p); }
    FERRITE_INLINE void store_partial(float* p, std::size_t n) const {
        if (n == width) return store(p);
        // In halves: AMD's processors before Zen 4 take 12 cycles and more for a masked store.
        __m128 part = _mm256_castps256_ps128(value.data);
        if ((n & 4) != 0) {
            _mm_storeu_ps(p, part);
            part = _mm256_extractf128_ps(value.data, 1);
            p += 4;
        }
        if ((n & 2) != 0) {
            _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
            part = _mm_movehl_ps(part, part);
            p += 2;
        }
        if ((n & 1) != 0) _mm_store_ss(p, part);
    }

    FERRITE_INLINE friend Vector operator+(Vector a, Vector b) { return {a.value + b.value}; }
    FERRITE_INLINE friend Vector operator-(Vector a, Vector b) { return {a.value - b.value}; }
    FERRITE_INLINE friend Vector operator*(Vector a, Vector b) { return {a.value * b.value}; }
    FERRITE_INLINE friend Vector operator/(Vector a, Vector b) { return {a.value / b.value}; }
    FERRITE_INLINE friend Vector operator-(Vector a) {
        return {Batch(_mm256_xor_ps(a.value.data, _mm256_set1_ps(-0.0f)))};
    }
    FERRITE_INLINE friend Vector fma(Vector a, Vector b, Vector c) {
        return {Batch(_mm256_fmadd_ps(a.value.data, b.value.data, c.value.data))};
    }
    FERRITE_INLINE friend Vector sqrt(Vector a) { return {Batch(_mm256_sqrt_ps(a.value.data))}; }
    FERRITE_INLINE friend Vector abs(Vector a) {
        return {Batch(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.value.data))};
    }
    FERRITE_INLINE friend Vector copysign(Vector a, Vector b) {
        const __m256 sign = _mm256_set1_ps(-0.0f);
        return {Batch(_mm256_or_ps(_mm256_andnot_ps(sign, a.value.data), _mm256_and_ps(sign, b.value.data)))};
    }
    FERRITE_INLINE friend Vector min(Vector a, Vector b) {
        return {Batch(_mm256_min_ps(a.value.data, b.value.data))};
    }
    FERRITE_INLINE friend Vector max(Vector a, Vector b) {
        return {Batch(_mm256_max_ps(a.value.data, b.value.data))};
    }

    FERRITE_INLINE friend Mask operator<(Vector a, Vector b) {
        return {_mm256_cmp_ps(a.value.data, b.value.data, _CMP_LT_OQ)};
    }
    FERRITE_INLINE friend Mask operator<=(Vector a, Vector b) {
        return {_mm256_cmp_ps(a.value.data, b.value.data, _CMP_LE_OQ)};
    }
    FERRITE_INLINE friend Mask operator>(Vector a, Vector b) {
        return {_mm256_cmp_ps(a.value.data, b.value.data, _CMP_GT_OQ)};
    }
    FERRITE_INLINE friend Mask operator>=(Vector a, Vector b) {
        return {_mm256_cmp_ps(a.value.data, b.value.data, _CMP_GE_OQ)};
    }
    FERRITE_INLINE friend Mask operator==(Vector a, Vector b) {
        return {_mm256_cmp_ps(a.value.data, b.value.data, _CMP_EQ_OQ)};
    }
    FERRITE_INLINE friend Vector select(Mask m, Vector a, Vector b) {
        return {Batch(_mm256_blendv_ps(b.value.data, a.value.data, m.value))};
    }

    FERRITE_INLINE friend Int bits(Vector a) { return {_mm256_castps_si256(a.value.data)}; }
    FERRITE_INLINE friend Vector from_bits(Int a) { return {Batch(_mm256_castsi256_ps(a.value))}; }
    FERRITE_INLINE friend Vector to_float(Int a) { return {Batch(_mm256_cvtepi32_ps(a.value))}; }
    FERRITE_INLINE friend Int round_to_int(Vector a) { return {_mm256_cvtps_epi32(a.value.data)}; }
    // Pairs of rows, then pairs of pairs within each half, then the halves.
    FERRITE_INLINE friend void transpose(Vector (&rows)[width]) {
        __m256 pair[width], four[width];
        for (int i = 0; i < 8; i += 2) {
            pair[i] = _mm256_unpacklo_ps(rows[i].value.data, rows[i + 1].value.data);
            pair[i + 1] = _mm256_unpackhi_ps(rows[i].value.data, rows[i + 1].value.data);
        }
        for (int i = 0; i < 8; i += 4) {
            for (int j = 0; j < 2; ++j) {
                four[i + 2 * j] = _mm256_shuffle_ps(pair[i + j], pair[i + j + 2], 0x44);
                four[i + 2 * j + 1] = _mm256_shuffle_ps(pair[i + j], pair[i + j + 2], 0xEE);
            }
        }
        for (int i = 0; i < 4; ++i) {
            rows[i] = {Batch(_mm256_permute2f128_ps(four[i], four[i + 4], 0x20))};
            rows[i + 4] = {Batch(_mm256_permute2f128_ps(four[i], four[i + 4], 0x31))};
        }
    }

    FERRITE_INLINE friend float reduce_add(Vector a) {
        const __m128 four =
            _mm_add_ps(_mm256_castps256_ps128(a.value.data), _mm256_extractf128_ps(a.value.data, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    FERRITE_INLINE friend float reduce_max(Vector a) {
        const __m128 four =
            _mm_max_ps(_mm256_castps256_ps128(a.value.data), _mm256_extractf128_ps(a.value.data, 1));
        const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    }

    // Numbers 0 1 4 5 and 2 3 6 7: a shuffle takes their high halves to their places. There the last exclusive or of
    // Random::mix changes bit 32 alone.
    FERRITE_INLINE static Int random_24(std::uint64_t counter) {
        const __m256i one = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(counter)),
                                             _mm256_set_epi64x(steps(5), steps(4), steps(1), 0));
        const __m256i other = _mm256_add_epi64(one, _mm256_set1_epi64x(steps(2)));
        const __m256 high =
            _mm256_shuffle_ps(_mm256_castsi256_ps(mixed_high(one)), _mm256_castsi256_ps(mixed_high(other)), 0xDD);
        return {_mm256_srli_epi32(_mm256_castps_si256(high), 8)};
    }

  private:
    static constexpr long long steps(std::uint64_t n) { return static_cast<long long>(n * Random::golden); }
    // z * factor modulo 2^64 from products of 32 bits. The low half is wrong unless the sum of the cross products is
    // cleared there.
    template <int which, bool cleared>
    FERRITE_INLINE static __m256i multiplied(__m256i z) {
        constexpr std::uint64_t factor = Random::factor[which], swapped = factor << 32 | factor >> 32;
        const __m256i low = _mm256_mul_epu32(z, _mm256_set1_epi64x(static_cast<long long>(factor)));
        const __m256i cross = _mm256_mullo_epi32(z, _mm256_set1_epi64x(static_cast<long long>(swapped)));
        const __m256i both = _mm256_add_epi32(cross, _mm256_slli_epi64(cross, 32));
        const __m256i upper = _mm256_set1_epi64x(static_cast<long long>(0xFFFFFFFF00000000u));
        return _mm256_add_epi32(low, cleared ? _mm256_and_si256(both, upper) : both);
    }
    FERRITE_INLINE static __m256i mixed_high(__m256i z) {
        z = multiplied<0, true>(_mm256_xor_si256(z, _mm256_srli_epi64(z, 30)));
        return multiplied<1, false>(_mm256_xor_si256(z, _mm256_srli_epi64(z, 27)));
    }
    FERRITE_INLINE static __m256i first_bits(std::size_t n) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones_then_zeros + (width - n)));
    }
    static constexpr std::int32_t ones_then_zeros[2 * width] = {-1, -1, -1, -1, -1, -1, -1, -1};
};

#endif

#if defined(FERRITE_HAS_AVX512_VECTOR)

// GCC 12 builds its own AVX-512 intrinsics on a deliberately uninitialised register and warns of it.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// As above; in addition xsimd's fma for AVX-512 is a multiplication and an addition before version 11.
template <>
struct Vector<Avx512> {
    using Batch = xsimd::batch<float, xsimd::avx512bw>;
    static constexpr std::size_t width = 16;
    static_assert(Batch::size == width);

    struct Mask {
        __mmask16 value;

        FERRITE_INLINE friend Mask operator&(Mask a, Mask b) { return {_kand_mask16(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator|(Mask a, Mask b) { return {_kor_mask16(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator!(Mask a) { return {_knot_mask16(a.value)}; }
    };

    struct Int {
        __m512i value;

        FERRITE_INLINE static Int broadcast(std::int32_t value) { return {_mm512_set1_epi32(value)}; }
        FERRITE_INLINE static Int load_bytes(const std::uint8_t* p) {
            return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
        }
        FERRITE_INLINE static Int load_bytes_partial(const std::uint8_t* p, std::size_t n) {
            if (n == width) return load_bytes(p);
            return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(n), p))};
        }
        FERRITE_INLINE friend Int operator+(Int a, Int b) { return {_mm512_add_epi32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator-(Int a, Int b) { return {_mm512_sub_epi32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator&(Int a, Int b) { return {_mm512_and_si512(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator|(Int a, Int b) { return {_mm512_or_si512(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator^(Int a, Int b) { return {_mm512_xor_si512(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator==(Int a, Int b) {
            return {_mm512_cmpeq_epi32_mask(a.value, b.value)};
        }
        FERRITE_INLINE friend Mask operator>(Int a, Int b) {
            return {_mm512_cmpgt_epi32_mask(a.value, b.value)};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_left(Int a) {
            return {_mm512_slli_epi32(a.value, count)};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_logical(Int a) {
            return {_mm512_srli_epi32(a.value, count)};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_arithmetic(Int a) {
            return {_mm512_srai_epi32(a.value, count)};
        }
    };

    Batch value;

    FERRITE_INLINE static Vector load(const float* p) { return {Batch::load_unaligned(p)}; }
    FERRITE_INLINE static Vector load_partial(const float* p, std::size_t n) {
        if (n == width) return load(p);
        return {Batch(_mm512_maskz_loadu_ps(first(n).value, p))};
    }
    FERRITE_INLINE static void load_transposed(const float* p, std::size_t stride, Vector (&rows)[width]) {
        for (std::size_t i = 0; i < width; ++i) rows[i] = load(p + i * stride);
        transpose(rows);
    }
    FERRITE_INLINE static Vector broadcast(float value) { return {Batch(_mm512_set1_ps(value))}; }
    FERRITE_INLINE static Vector zero() { return {Batch(_mm512_setzero_ps())}; }
    FERRITE_INLINE static Mask first(std::size_t n) { return {first_lanes(n)}; }
    FERRITE_INLINE void store(float* p) const { value.store_unaligned(p); }
    FERRITE_INLINE void store_partial(float* p, std::size_t n) const {
        if (n == width) return store(p);
        _mm512_mask_storeu_ps(p, first(n).value, value.data);
    }

    FERRITE_INLINE friend Vector operator+(Vector a, Vector b) { return {a.value + b.value}; }
    FERRITE_INLINE friend Vector operator-(Vector a, Vector b) { return {a.value - b.value}; }
    FERRITE_INLINE friend Vector operator*(Vector a, Vector b) { return {a.value * b.value}; }
    FERRITE_INLINE friend Vector operator/(Vector a, Vector b) { return {a.value / b.value}; }
    FERRITE_INLINE friend Vector operator-(Vector a) {
        return {Batch(_mm512_xor_ps(a.value.data, _mm512_set1_ps(-0.0f)))};
    }
    FERRITE_INLINE friend Vector fma(Vector a, Vector b, Vector c) {
        return {Batch(_mm512_fmadd_ps(a.value.data, b.value.data, c.value.data))};
    }
    FERRITE_INLINE friend Vector sqrt(Vector a) { return {Batch(_mm512_sqrt_ps(a.value.data))}; }
    FERRITE_INLINE friend Vector abs(Vector a) {
        return {Batch(_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.value.data))};
    }
    FERRITE_INLINE friend Vector copysign(Vector a, Vector b) {
        const __m512 sign = _mm512_set1_ps(-0.0f);
        return {Batch(_mm512_or_ps(_mm512_andnot_ps(sign, a.value.data), _mm512_and_ps(sign, b.value.data)))};
    }
    FERRITE_INLINE friend Vector min(Vector a, Vector b) {
        return {Batch(_mm512_min_ps(a.value.data, b.value.data))};
    }
    FERRITE_INLINE friend Vector max(Vector a, Vector b) {
        return {Batch(_mm512_max_ps(a.value.data, b.value.data))};
    }

    FERRITE_INLINE friend Mask operator<(Vector a, Vector b) {
        return {_mm512_cmp_ps_mask(a.value.data, b.value.data, _CMP_LT_OQ)};
    }
    FERRITE_INLINE friend Mask operator<=(Vector a, Vector b) {
        return {_mm512_cmp_ps_mask(a.value.data, b.value.data, _CMP_LE_OQ)};
    }
    FERRITE_INLINE friend Mask operator>(Vector a, Vector b) {
        return {_mm512_cmp_ps_mask(a.value.data, b.value.data, _CMP_GT_OQ)};
    }
    FERRITE_INLINE friend Mask operator>=(Vector a, Vector b) {
        return {_mm512_cmp_ps_mask(a.value.data, b.value.data, _CMP_GE_OQ)};
    }
    FERRITE_INLINE friend Mask operator==(Vector a, Vector b) {
        return {_mm512_cmp_ps_mask(a.value.data, b.value.data, _CMP_EQ_OQ)};
    }
    FERRITE_INLINE friend Vector select(Mask m, Vector a, Vector b) {
        return {Batch(_mm512_mask_blend_ps(m.value, b.value.data, a.value.data))};
    }

    FERRITE_INLINE friend Int bits(Vector a) { return {_mm512_castps_si512(a.value.data)}; }
    FERRITE_INLINE friend Vector from_bits(Int a) { return {Batch(_mm512_castsi512_ps(a.value))}; }
    FERRITE_INLINE friend Vector to_float(Int a) { return {Batch(_mm512_cvtepi32_ps(a.value))}; }
    FERRITE_INLINE friend Int round_to_int(Vector a) { return {_mm512_cvtps_epi32(a.value.data)}; }
    // The same places as with AVX2, in each quarter.
    FERRITE_INLINE static Int random_24(std::uint64_t counter) {
        const auto steps = [](std::uint64_t n)
                               FERRITE_INLINE_LAMBDA { return static_cast<long long>(n * Random::golden); };
        const __m512i one =
            _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(counter)),
                             _mm512_set_epi64(steps(13), steps(12), steps(9), steps(8), steps(5), steps(4), steps(1), 0));
        const __m512i other = _mm512_add_epi64(one, _mm512_set1_epi64(steps(2)));
        const auto mixed = [](__m512i z) FERRITE_INLINE_LAMBDA {
            const auto factor = [](int i)
                                    FERRITE_INLINE_LAMBDA { return static_cast<long long>(Random::factor[i]); };
            z = _mm512_mullo_epi64(_mm512_xor_si512(z, _mm512_srli_epi64(z, 30)), _mm512_set1_epi64(factor(0)));
            z = _mm512_mullo_epi64(_mm512_xor_si512(z, _mm512_srli_epi64(z, 27)), _mm512_set1_epi64(factor(1)));
            return _mm512_castsi512_ps(z);
        };
        const __m512 high = _mm512_shuffle_ps(mixed(one), mixed(other), 0xDD);
        return {_mm512_srli_epi32(_mm512_castps_si512(high), 8)};
    }
    // Pairs of rows, then pairs of pairs within each quarter, then the quarters as a 4 x 4 matrix.
    FERRITE_INLINE friend void transpose(Vector (&rows)[width]) {
        __m512 pair[width], four[width];
        for (int i = 0; i < 16; i += 2) {
            pair[i] = _mm512_unpacklo_ps(rows[i].value.data, rows[i + 1].value.data);
            pair[i + 1] = _mm512_unpackhi_ps(rows[i].value.data, rows[i + 1].value.data);
        }
        for (int i = 0; i < 16; i += 4) {
            for (int j = 0; j < 2; ++j) {
                four[i + 2 * j] = _mm512_shuffle_ps(pair[i + j], pair[i + j + 2], 0x44);
                four[i + 2 * j + 1] = _mm512_shuffle_ps(pair[i + j], pair[i + j + 2], 0xEE);
            }
        }
        for (int i = 0; i < 4; ++i) {
            const __m512 low = _mm512_shuffle_f32x4(four[i], four[i + 4], 0x88);
            const __m512 low_odd = _mm512_shuffle_f32x4(four[i], four[i + 4], 0xDD);
            const __m512 high = _mm512_shuffle_f32x4(four[i + 8], four[i + 12], 0x88);
            const __m512 high_odd = _mm512_shuffle_f32x4(four[i + 8], four[i + 12], 0xDD);
            rows[i] = {Batch(_mm512_shuffle_f32x4(low, high, 0x88))};
            rows[i + 4] = {Batch(_mm512_shuffle_f32x4(low_odd, high_odd, 0x88))};
            rows[i + 8] = {Batch(_mm512_shuffle_f32x4(low, high, 0xDD))};
            rows[i + 12] = {Batch(_mm512_shuffle_f32x4(low_odd, high_odd, 0xDD))};
        }
    }

    FERRITE_INLINE friend float reduce_add(Vector a) {
        const __m256 eight =
            _mm256_add_ps(_mm512_castps512_ps256(a.value.data), _mm512_extractf32x8_ps(a.value.data, 1));
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    FERRITE_INLINE friend float reduce_max(Vector a) {
        const __m256 eight =
            _mm256_max_ps(_mm512_castps512_ps256(a.value.data), _mm512_extractf32x8_ps(a.value.data, 1));
        const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    }

  private:
    FERRITE_INLINE static __mmask16 first_lanes(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
};

#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#endif

#if defined(FERRITE_HAS_NEON_VECTOR)

#if defined(__aarch64__)
using ArmNeon = Neon64;
using ArmArchitecture = xsimd::neon64;
#else
using ArmNeon = Neon;
using ArmArchitecture = xsimd::neon;
#endif

// As above; in addition xsimd's division and square root for AArch64 are estimates, and ARMv7 has neither: there they
// are done lane by lane. ARMv7 takes subnormal operands and results of vectors as zeros, which no switch changes.
template <>
struct Vector<ArmNeon> {
    using Batch = xsimd::batch<float, ArmArchitecture>;
    static constexpr std::size_t width = 4;
    static_assert(Batch::size == width);

    struct Mask {
        uint32x4_t value;

        FERRITE_INLINE friend Mask operator&(Mask a, Mask b) { return {vandq_u32(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator|(Mask a, Mask b) { return {vorrq_u32(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator!(Mask a) { return {vmvnq_u32(a.value)}; }
    };

    struct Int {
        int32x4_t value;

        FERRITE_INLINE static Int broadcast(std::int32_t value) { return {vdupq_n_s32(value)}; }
        FERRITE_INLINE static Int load_bytes(const std::uint8_t* p) {
            std::uint32_t four;
            __builtin_memcpy(&four, p, 4);
            return of_bytes(four);
        }
        FERRITE_INLINE static Int load_bytes_partial(const std::uint8_t* p, std::size_t n) {
            if (n == width) return load_bytes(p);
            std::uint32_t bytes = 0;
            for (std::size_t i = 0; i < n; ++i) bytes |= static_cast<std::uint32_t>(p[i]) << 8 * i;
            return of_bytes(bytes);
        }
        FERRITE_INLINE friend Int operator+(Int a, Int b) { return {vaddq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator-(Int a, Int b) { return {vsubq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator&(Int a, Int b) { return {vandq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator|(Int a, Int b) { return {vorrq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator^(Int a, Int b) { return {veorq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator==(Int a, Int b) { return {vceqq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator>(Int a, Int b) { return {vcgtq_s32(a.value, b.value)}; }
        template <int count>
        FERRITE_INLINE friend Int shift_left(Int a) {
            return {vshlq_n_s32(a.value, count)};
        }
        // These instructions shift by 1 to 32.
        template <int count>
        FERRITE_INLINE friend Int shift_right_logical(Int a) {
            if constexpr (count == 0)
                return a;
            else
                return {vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a.value), count))};
        }
        template <int count>
        FERRITE_INLINE friend Int shift_right_arithmetic(Int a) {
            if constexpr (count == 0)
                return a;
            else
                return {vshrq_n_s32(a.value, count)};
        }

      private:
        FERRITE_INLINE static Int of_bytes(std::uint32_t four) {
            const uint16x8_t halves = vmovl_u8(vcreate_u8(four));
            return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(halves)))};
        }
    };

    Batch value;

    FERRITE_INLINE static Vector load(const float* p) { return {Batch::load_unaligned(p)}; }
    FERRITE_INLINE static Vector load_partial(const float* p, std::size_t n) {
        if (n == width) return load(p);
        float32x2_t low = vdup_n_f32(0.0f), high = low;
        if ((n & 2) != 0) {
            low = vld1_f32(p);
            if ((n & 1) != 0) high = vld1_lane_f32(p + 2, high, 0);
        } else if (n != 0) {
            low = vld1_lane_f32(p, low, 0);
        }
        return {Batch(vcombine_f32(low, high))};
    }
    FERRITE_INLINE static void load_transposed(const float* p, std::size_t stride, Vector (&rows)[width]) {
        for (std::size_t i = 0; i < width; ++i) rows[i] = load(p + i * stride);
        transpose(rows);
    }
    FERRITE_INLINE static Vector broadcast(float value) { return {Batch(vdupq_n_f32(value))}; }
    FERRITE_INLINE static Vector zero() { return broadcast(0.0f); }
    FERRITE_INLINE static Mask first(std::size_t n) {
        constexpr std::uint32_t lanes[width] = {0, 1, 2, 3};
        return {vcltq_u32(vld1q_u32(lanes), vdupq_n_u32(static_cast<std::uint32_t>(n)))};
    }
    FERRITE_INLINE void store(float* p) const { value.store_unaligned(p); }
    FERRITE_INLINE void store_partial(float* p, std::size_t n) const {
        if (n == width) return store(p);
        float32x2_t part = vget_low_f32(value.data);
        if ((n & 2) != 0) {
            vst1_f32(p, part);
            part = vget_high_f32(value.data);
            p += 2;
        }
        if ((n & 1) != 0) vst1_lane_f32(p, part, 0);
    }

    FERRITE_INLINE friend Vector operator+(Vector a, Vector b) { return {a.value + b.value}; }
    FERRITE_INLINE friend Vector operator-(Vector a, Vector b) { return {a.value - b.value}; }
    FERRITE_INLINE friend Vector operator*(Vector a, Vector b) { return {a.value * b.value}; }
    FERRITE_INLINE friend Vector operator-(Vector a) { return {Batch(vnegq_f32(a.value.data))}; }
    FERRITE_INLINE friend Vector fma(Vector a, Vector b, Vector c) {
        return {Batch(vfmaq_f32(c.value.data, a.value.data, b.value.data))};
    }
    FERRITE_INLINE friend Vector abs(Vector a) { return {Batch(vabsq_f32(a.value.data))}; }
    FERRITE_INLINE friend Vector copysign(Vector a, Vector b) {
        return {Batch(vbslq_f32(vdupq_n_u32(0x80000000u), b.value.data, a.value.data))};
    }
    FERRITE_INLINE friend Vector min(Vector a, Vector b) { return select(a < b, a, b); }
    FERRITE_INLINE friend Vector max(Vector a, Vector b) { return select(a > b, a, b); }
    FERRITE_INLINE friend Mask operator<(Vector a, Vector b) { return b > a; }
    FERRITE_INLINE friend Mask operator<=(Vector a, Vector b) { return b >= a; }
    FERRITE_INLINE friend Vector select(Mask m, Vector a, Vector b) {
        return {Batch(vbslq_f32(m.value, a.value.data, b.value.data))};
    }

    FERRITE_INLINE friend Int bits(Vector a) { return {vreinterpretq_s32_f32(a.value.data)}; }
    FERRITE_INLINE friend Vector from_bits(Int a) { return {Batch(vreinterpretq_f32_s32(a.value))}; }
    FERRITE_INLINE friend Vector to_float(Int a) { return {Batch(vcvtq_f32_s32(a.value))}; }

#if defined(__aarch64__)
    FERRITE_INLINE friend Vector operator/(Vector a, Vector b) { return {Batch(vdivq_f32(a.value.data, b.value.data))}; }
    FERRITE_INLINE friend Vector sqrt(Vector a) { return {Batch(vsqrtq_f32(a.value.data))}; }
    // Volatile, products and the loads between them stay in the order written, in which a tile just fits the 32 registers. Of the
    // intrinsic g++ 12 makes copies of elements that several products share, and hoists loads until sums go through memory.
    template <int i>
    FERRITE_INLINE friend Vector fma_element(Vector a, Vector b, Vector c) {
        float32x4_t sum = c.value.data;
        __asm__ volatile("fmla %0.4s, %1.4s, %2.s[%3]" : "+w"(sum) : "w"(b.value.data), "w"(a.value.data), "i"(i));
        return {Batch(sum)};
    }
    FERRITE_INLINE friend Mask operator>(Vector a, Vector b) { return {vcgtq_f32(a.value.data, b.value.data)}; }
    FERRITE_INLINE friend Mask operator>=(Vector a, Vector b) { return {vcgeq_f32(a.value.data, b.value.data)}; }
    FERRITE_INLINE friend Mask operator==(Vector a, Vector b) { return {vceqq_f32(a.value.data, b.value.data)}; }
    FERRITE_INLINE friend Int round_to_int(Vector a) { return {vcvtnq_s32_f32(a.value.data)}; }
    FERRITE_INLINE friend void transpose(Vector (&rows)[width]) {
        const float32x4_t a = vzip1q_f32(rows[0].value.data, rows[2].value.data);
        const float32x4_t b = vzip1q_f32(rows[1].value.data, rows[3].value.data);
        const float32x4_t c = vzip2q_f32(rows[0].value.data, rows[2].value.data);
        const float32x4_t d = vzip2q_f32(rows[1].value.data, rows[3].value.data);
        rows[0] = {Batch(vzip1q_f32(a, b))};
        rows[1] = {Batch(vzip2q_f32(a, b))};
        rows[2] = {Batch(vzip1q_f32(c, d))};
        rows[3] = {Batch(vzip2q_f32(c, d))};
    }
#else
    FERRITE_INLINE friend Vector operator/(Vector a, Vector b) {
        float x[width], y[width];
        a.store(x);
        b.store(y);
        for (std::size_t i = 0; i < width; ++i) x[i] /= y[i];
        return load(x);
    }
    FERRITE_INLINE friend Vector sqrt(Vector a) {
        float x[width];
        a.store(x);
        for (std::size_t i = 0; i < width; ++i) x[i] = __builtin_sqrtf(x[i]);
        return load(x);
    }
    // Of the intrinsics g++ 12 makes comparisons of single floats, unless it may take a NaN for what it likes.
    FERRITE_INLINE friend Mask operator>(Vector a, Vector b) {
        uint32x4_t result;
        __asm__("vcgt.f32 %q0, %q1, %q2" : "=w"(result) : "w"(a.value.data), "w"(b.value.data));
        return {result};
    }
    FERRITE_INLINE friend Mask operator>=(Vector a, Vector b) {
        uint32x4_t result;
        __asm__("vcge.f32 %q0, %q1, %q2" : "=w"(result) : "w"(a.value.data), "w"(b.value.data));
        return {result};
    }
    FERRITE_INLINE friend Mask operator==(Vector a, Vector b) {
        uint32x4_t result;
        __asm__("vceq.f32 %q0, %q1, %q2" : "=w"(result) : "w"(a.value.data), "w"(b.value.data));
        return {result};
    }
    // The conversion cuts, so a sum rounds: from 2^23 on there is no fraction.
    FERRITE_INLINE friend Int round_to_int(Vector a) {
        const Vector magnitude = abs(a), whole = broadcast(0x1p23f);
        const Vector rounded = select(magnitude < whole, magnitude + whole - whole, magnitude);
        return {vcvtq_s32_f32(copysign(rounded, a).value.data)};
    }
    FERRITE_INLINE friend void transpose(Vector (&rows)[width]) {
        const float32x4x2_t a = vzipq_f32(rows[0].value.data, rows[2].value.data);
        const float32x4x2_t b = vzipq_f32(rows[1].value.data, rows[3].value.data);
        const float32x4x2_t c = vzipq_f32(a.val[0], b.val[0]), d = vzipq_f32(a.val[1], b.val[1]);
        rows[0] = {Batch(c.val[0])};
        rows[1] = {Batch(c.val[1])};
        rows[2] = {Batch(d.val[0])};
        rows[3] = {Batch(d.val[1])};
    }
#endif

    FERRITE_INLINE friend float reduce_add(Vector a) {
        const float32x2_t two = vadd_f32(vget_low_f32(a.value.data), vget_high_f32(a.value.data));
        return vget_lane_f32(vpadd_f32(two, two), 0);
    }
    FERRITE_INLINE friend float reduce_max(Vector a) {
        float x[width];
        max(a, {Batch(vextq_f32(a.value.data, a.value.data, 2))}).store(x);
        return x[0] > x[1] ? x[0] : x[1];
    }
    FERRITE_INLINE static Int random_24(std::uint64_t counter) {
        std::uint32_t x[width];
        for (std::size_t i = 0; i < width; ++i)
            x[i] = static_cast<std::uint32_t>(Random::mix(counter + i * Random::golden) >> 40);
        return {vreinterpretq_s32_u32(vld1q_u32(x))};
    }
};

#endif

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

#if defined(FERRITE_ISA_HELIUM) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) != 0
#include <ferrite/simd/helium.hpp>
#endif
