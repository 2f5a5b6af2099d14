// SPDX-License-Identifier: MIT
// The vectors of AVX2 and AVX-512. Included by vector.hpp.
#pragma once

#include <ferrite/simd/vector.hpp>

#include <immintrin.h>

#include <xsimd/xsimd.hpp>

namespace ferrite::simd {

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

#if defined(__AVX512F__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__)

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

}  // namespace ferrite::simd
