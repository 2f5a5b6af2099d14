// SPDX-License-Identifier: MIT
// The vector of NEON, on ARMv7 and AArch64. Included by vector.hpp.
#pragma once

#include <ferrite/simd/vector.hpp>

#include <arm_neon.h>

#include <xsimd/xsimd.hpp>

namespace ferrite::simd {

#if defined(__aarch64__)
using ArmNeon = Neon64;
using ArmArchitecture = xsimd::neon64;
#else
using ArmNeon = Neon;
using ArmArchitecture = xsimd::neon;
#endif

// As in avx.hpp; in addition xsimd's division and square root for AArch64 are estimates, and ARMv7 has neither: there they
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

}  // namespace ferrite::simd
