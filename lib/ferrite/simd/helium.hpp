// SPDX-License-Identifier: MIT
// The vector of Helium (MVE), which xsimd does not know. Included by vector.hpp.
#pragma once

#include <ferrite/simd/vector.hpp>

#include <arm_mve.h>

namespace ferrite::simd {

// Eight registers of four lanes. Vectors take subnormal operands and results as zeros, which no switch changes. Division and
// square root are those of single floats, whose registers are the lanes of vectors; they know subnormal numbers.
template <>
struct Vector<Helium> {
    static constexpr std::size_t width = 4;

    // Of the intrinsics g++ 12 takes masks to a general register and back, so those of floats are instructions. Four bits a lane.
    struct Mask {
        mve_pred16_t value;

        FERRITE_INLINE friend Mask operator&(Mask a, Mask b) { return of(a.value & b.value); }
        FERRITE_INLINE friend Mask operator|(Mask a, Mask b) { return of(a.value | b.value); }
        FERRITE_INLINE friend Mask operator!(Mask a) { return of(~a.value); }

      private:
        FERRITE_INLINE static Mask of(int bits) {
            Mask result;
            asm("vmsr p0, %1" : "=Up"(result.value) : "r"(bits));
            return result;
        }
    };

    struct Int {
        int32x4_t value;

        FERRITE_INLINE static Int broadcast(std::int32_t value) { return {vdupq_n_s32(value)}; }
        FERRITE_INLINE static Int load_bytes(const std::uint8_t* p) { return {vreinterpretq_s32_u32(vldrbq_u32(p))}; }
        FERRITE_INLINE static Int load_bytes_partial(const std::uint8_t* p, std::size_t n) {
            if (whole(n)) return load_bytes(p);
            return {vreinterpretq_s32_u32(vldrbq_z_u32(p, first(n).value))};
        }
        FERRITE_INLINE friend Int operator+(Int a, Int b) { return {vaddq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator-(Int a, Int b) { return {vsubq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator&(Int a, Int b) { return {vandq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator|(Int a, Int b) { return {vorrq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Int operator^(Int a, Int b) { return {veorq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator==(Int a, Int b) { return {vcmpeqq_s32(a.value, b.value)}; }
        FERRITE_INLINE friend Mask operator>(Int a, Int b) { return {vcmpgtq_s32(a.value, b.value)}; }
        template <int count>
        FERRITE_INLINE friend Int shift_left(Int a) {
            return {vshlq_n_s32(a.value, count)};
        }
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
    };

    /// A number in a general register, from where instructions take it for all lanes.
    struct Factor {
        std::uint32_t bits;

        FERRITE_INLINE static Factor broadcast(float value) { return {__builtin_bit_cast(std::uint32_t, value)}; }
        FERRITE_INLINE static Factor zero() { return {0}; }
        FERRITE_INLINE operator Vector() const { return {vreinterpretq_f32_u32(vdupq_n_u32(bits))}; }
        FERRITE_INLINE friend Factor operator-(Factor a) { return {a.bits ^ 0x80000000u}; }
        FERRITE_INLINE friend Factor operator-(Factor a, Factor b) { return broadcast(a.number() - b.number()); }
        FERRITE_INLINE friend Vector operator*(Factor a, Vector b) { return {vmulq_n_f32(b.value, a.number())}; }
        FERRITE_INLINE friend Vector operator*(Vector a, Factor b) { return b * a; }
        FERRITE_INLINE friend Vector operator+(Vector a, Factor b) { return {vaddq_n_f32(a.value, b.number())}; }
        FERRITE_INLINE friend Vector operator-(Vector a, Factor b) { return {vsubq_n_f32(a.value, b.number())}; }
        FERRITE_INLINE friend Vector fma(Factor a, Vector b, Vector c) { return {vfmaq_n_f32(c.value, b.value, a.number())}; }
        FERRITE_INLINE friend Vector fma(Vector a, Factor b, Vector c) { return fma(b, a, c); }
        FERRITE_INLINE friend Vector fma(Vector a, Factor b, Factor c) { return fma(a, Vector(b), c); }
        FERRITE_INLINE friend Vector fma(Vector a, Vector b, Factor c) { return {vfmasq_n_f32(a.value, b.value, c.number())}; }

      private:
        FERRITE_INLINE float number() const { return __builtin_bit_cast(float, bits); }
    };

    float32x4_t value;

    FERRITE_INLINE static Vector load(const float* p) { return {vldrwq_f32(p)}; }
    FERRITE_INLINE static Vector load_partial(const float* p, std::size_t n) {
        if (whole(n)) return load(p);
        Vector result;
        asm("vpst\n\tvldrwt.32 %q0, %E1" : "=w"(result.value) : "Ux"(at(p)), "Up"(first(n).value));
        return result;
    }
    FERRITE_INLINE static void load_transposed(const float* p, std::size_t stride, Vector (&rows)[width]) {
        const uint32x4_t offsets = vmulq_n_u32(vidupq_n_u32(0, 4), static_cast<std::uint32_t>(stride));
        for (std::size_t i = 0; i < width; ++i) rows[i] = {vldrwq_gather_offset_f32(p + i, offsets)};
    }
    FERRITE_INLINE static Vector broadcast(float value) { return {vdupq_n_f32(value)}; }
    FERRITE_INLINE static Vector zero() { return broadcast(0.0f); }
    FERRITE_INLINE static Mask first(std::size_t n) {
        Mask result;
        asm("vctp.32 %1" : "=Up"(result.value) : "r"(n));
        return result;
    }
    FERRITE_INLINE void store(float* p) const { vstrwq_f32(p, value); }
    FERRITE_INLINE void store_partial(float* p, std::size_t n) const {
        if (whole(n)) return store(p);
        asm("vpst\n\tvstrwt.32 %q1, %E0" : "+Ux"(at(p)) : "w"(value), "Up"(first(n).value));
    }

    FERRITE_INLINE friend Vector operator+(Vector a, Vector b) { return {vaddq_f32(a.value, b.value)}; }
    FERRITE_INLINE friend Vector operator-(Vector a, Vector b) { return {vsubq_f32(a.value, b.value)}; }
    FERRITE_INLINE friend Vector operator*(Vector a, Vector b) { return {vmulq_f32(a.value, b.value)}; }
    FERRITE_INLINE friend Vector operator/(Vector a, Vector b) {
        register float32x4_t x asm("q0") = a.value;
        register const float32x4_t y asm("q1") = b.value;
        asm("vdiv.f32 s0, s0, s4\n\tvdiv.f32 s1, s1, s5\n\tvdiv.f32 s2, s2, s6\n\tvdiv.f32 s3, s3, s7" : "+w"(x) : "w"(y));
        return {x};
    }
    FERRITE_INLINE friend Vector sqrt(Vector a) {
        register float32x4_t x asm("q0") = a.value;
        asm("vsqrt.f32 s0, s0\n\tvsqrt.f32 s1, s1\n\tvsqrt.f32 s2, s2\n\tvsqrt.f32 s3, s3" : "+w"(x));
        return {x};
    }
    FERRITE_INLINE friend Vector operator-(Vector a) { return {vnegq_f32(a.value)}; }
    FERRITE_INLINE friend Vector fma(Vector a, Vector b, Vector c) { return {vfmaq_f32(c.value, a.value, b.value)}; }
    FERRITE_INLINE friend Vector abs(Vector a) { return {vabsq_f32(a.value)}; }
    // All bits of a but the highest are inserted into b.
    FERRITE_INLINE friend Vector copysign(Vector a, Vector b) {
        const uint32x4_t magnitude = vshlq_n_u32(vreinterpretq_u32_f32(a.value), 1);
        return {vreinterpretq_f32_u32(vsriq_n_u32(vreinterpretq_u32_f32(b.value), magnitude, 1))};
    }
    FERRITE_INLINE friend Vector min(Vector a, Vector b) { return select(a < b, a, b); }
    FERRITE_INLINE friend Vector max(Vector a, Vector b) { return select(a > b, a, b); }
    // The processor's own "lt" and "le" are true for NaN.
    FERRITE_INLINE friend Mask operator<(Vector a, Vector b) { return b > a; }
    FERRITE_INLINE friend Mask operator<=(Vector a, Vector b) { return b >= a; }
    FERRITE_INLINE friend Mask operator>(Vector a, Vector b) {
        Mask result;
        asm("vcmp.f32 gt, %q1, %q2" : "=Up"(result.value) : "w"(a.value), "w"(b.value));
        return result;
    }
    FERRITE_INLINE friend Mask operator>=(Vector a, Vector b) {
        Mask result;
        asm("vcmp.f32 ge, %q1, %q2" : "=Up"(result.value) : "w"(a.value), "w"(b.value));
        return result;
    }
    FERRITE_INLINE friend Mask operator==(Vector a, Vector b) {
        Mask result;
        asm("vcmp.f32 eq, %q1, %q2" : "=Up"(result.value) : "w"(a.value), "w"(b.value));
        return result;
    }
    FERRITE_INLINE friend Vector select(Mask m, Vector a, Vector b) {
        Vector result;
        asm("vpsel %q0, %q1, %q2" : "=w"(result.value) : "w"(a.value), "w"(b.value), "Up"(m.value));
        return result;
    }

    FERRITE_INLINE friend Int bits(Vector a) { return {vreinterpretq_s32_f32(a.value)}; }
    FERRITE_INLINE friend Vector from_bits(Int a) { return {vreinterpretq_f32_s32(a.value)}; }
    FERRITE_INLINE friend Vector to_float(Int a) { return {vcvtq_f32_s32(a.value)}; }
    FERRITE_INLINE friend Int round_to_int(Vector a) { return {vcvtnq_s32_f32(a.value)}; }
    FERRITE_INLINE static Int random_24(std::uint64_t counter) {
        std::uint32_t x[width];
        for (std::size_t i = 0; i < width; ++i)
            x[i] = static_cast<std::uint32_t>(Random::mix(counter + i * Random::golden) >> 40);
        return {vreinterpretq_s32_u32(vldrwq_u32(x))};
    }
    FERRITE_INLINE friend void transpose(Vector (&rows)[width]) {
        float x[width * width];
        const float32x4x4_t four = {{rows[0].value, rows[1].value, rows[2].value, rows[3].value}};
        vst4q_f32(x, four);
        for (std::size_t i = 0; i < width; ++i) rows[i] = load(x + i * width);
    }
    FERRITE_INLINE friend float reduce_add(Vector a) {
        float x[width];
        a.store(x);
        return (x[0] + x[2]) + (x[1] + x[3]);
    }
    FERRITE_INLINE friend float reduce_max(Vector a) {
        float x[width];
        a.store(x);
        for (std::size_t i = 0; i < 2; ++i) x[i] = x[i] > x[i + 2] ? x[i] : x[i + 2];
        return x[0] > x[1] ? x[0] : x[1];
    }

  private:
    using Memory = float[width];
    FERRITE_INLINE static Memory& at(float* p) { return *reinterpret_cast<Memory*>(p); }
    FERRITE_INLINE static const Memory& at(const float* p) { return *reinterpret_cast<const Memory*>(p); }
    /// Whether the compiler knows that nothing is masked.
    FERRITE_INLINE static bool whole(std::size_t n) { return __builtin_constant_p(n == width) && n == width; }
};

template <>
struct ConstantOf<Vector<Helium>> {
    using Type = Vector<Helium>::Factor;
};

// Of the products below: %[a] and %[b] are at the factors and at the row of B, and go on. A vector of B is loaded one
// multiplication ahead, as the processor does both at a time.
#define FERRITE_COLUMN(c, v) ".if %c[vectors] > " #v "\n\tvldrw.32 %q[c" #c "], [%[b], #16*" #v "]\n\t.endif\n\t"
#define FERRITE_MULTIPLY(s, c, v, r) ".if %c[vectors] > " #v "\n\tvfma.f32 %q[s" #s "], %q[c" #c "], %[f" #r "]\n\t.endif\n\t"
#define FERRITE_ROW(r)                                                                                                      \
    FERRITE_COLUMN(0, 0) FERRITE_COLUMN(1, 1) FERRITE_MULTIPLY(0, 0, 0, r) FERRITE_COLUMN(0, 2) FERRITE_MULTIPLY(1, 1, 1, r)  \
    FERRITE_COLUMN(1, 3) FERRITE_MULTIPLY(2, 0, 2, r) FERRITE_COLUMN(0, 4) FERRITE_MULTIPLY(3, 1, 3, r) FERRITE_COLUMN(1, 5)  \
    FERRITE_MULTIPLY(4, 0, 4, r) FERRITE_MULTIPLY(5, 1, 5, r) "add %[b], %[b_row]\n\t"
#define FERRITE_ONE_ROW "ldr %[f0], [%[a]]\n\tadd %[a], %[a_step]\n\t" FERRITE_ROW(0)
#define FERRITE_TWO_ROWS                                                                                                    \
    "ldr %[f0], [%[a]]\n\tldr %[f1], [%[a], %[row1]]\n\tadd %[a], %[a_step]\n\t" FERRITE_COLUMN(0, 0) FERRITE_COLUMN(1, 1)  \
    FERRITE_MULTIPLY(0, 0, 0, 0) FERRITE_MULTIPLY(3, 0, 0, 1) FERRITE_COLUMN(0, 2) FERRITE_MULTIPLY(1, 1, 1, 0)             \
    FERRITE_MULTIPLY(4, 1, 1, 1) FERRITE_MULTIPLY(2, 0, 2, 0) FERRITE_MULTIPLY(5, 0, 2, 1) "add %[b], %[b_row]\n\t"
#define FERRITE_THREE_ROWS                                                                                                  \
    "ldr %[f0], [%[a]]\n\tldr %[f1], [%[a], %[row1]]\n\tldr %[f2], [%[a], %[row2]]\n\tadd %[a], %[a_step]\n\t"             \
    FERRITE_COLUMN(0, 0) FERRITE_COLUMN(1, 1) FERRITE_MULTIPLY(0, 0, 0, 0) FERRITE_MULTIPLY(2, 0, 0, 1)                     \
    FERRITE_MULTIPLY(4, 0, 0, 2) FERRITE_MULTIPLY(1, 1, 1, 0) FERRITE_MULTIPLY(3, 1, 1, 1) FERRITE_MULTIPLY(5, 1, 1, 2)     \
    "add %[b], %[b_row]\n\t"
// The odd step, then pairs of steps in a loop without a branch.
#define FERRITE_CHAINS(one, two)                                                                                            \
    asm("lsrs lr, %[k], #1\n\tbcc 1f\n\t" one "1:\n\twls lr, lr, 3f\n\t2:\n\t" two "le lr, 2b\n\t3:"                       \
        : [s0] "+w"(s[0]), [s1] "+w"(s[1]), [s2] "+w"(s[2]), [s3] "+w"(s[3]), [s4] "+w"(s[4]), [s5] "+w"(s[5]),             \
          [a] "+&r"(a), [b] "+&r"(b), [c0] "=&w"(c[0]), [c1] "=&w"(c[1]), [f0] "=&r"(f[0]), [f1] "=&r"(f[1]),                 \
          [f2] "=&r"(f[2])                                                                                                  \
        : [a_step] "r"(a_step), [b_row] "r"(b_row), [row1] "r"(a_row), [row2] "r"(2 * a_row), [k] "r"(k),                   \
          [vectors] "i"(vectors)                                                                                            \
        : "lr", "cc", "memory")

/// sum(r, v) = chain over p < k of fma(a(r, p), b(p, v), .); answers for where a is then. Distances in bytes. The loop is written
/// out, as g++ 12 neither keeps six sums in the eight registers nor makes a low-overhead loop of it.
template <std::size_t rows, std::size_t vectors, class V>
FERRITE_INLINE const float* helium_chains(V (&sum)[rows * vectors], const float* a, std::ptrdiff_t a_row, std::ptrdiff_t a_step,
                                          const float* b, std::ptrdiff_t b_row, std::size_t k) {
    constexpr std::size_t distance = 6 / rows;
    float32x4_t s[6], c[2];
    std::uint32_t f[3];
    const auto used = [](std::size_t i) FERRITE_INLINE_LAMBDA { return i / distance < rows && i % distance < vectors; };
    const auto place = [](std::size_t i) FERRITE_INLINE_LAMBDA { return i / distance * vectors + i % distance; };
    for (std::size_t i = 0; i < 6; ++i) s[i] = used(i) ? sum[place(i)].value : vuninitializedq_f32();
    if constexpr (rows == 1) {
        if (a_step == sizeof(float))
            FERRITE_CHAINS("ldr %[f0], [%[a]], #4\n\t" FERRITE_ROW(0),
                           "ldrd %[f0], %[f1], [%[a]], #8\n\t" FERRITE_ROW(0) FERRITE_ROW(1));
        else
            FERRITE_CHAINS(FERRITE_ONE_ROW, FERRITE_ONE_ROW FERRITE_ONE_ROW);
    } else if constexpr (rows == 2) {
        FERRITE_CHAINS(FERRITE_TWO_ROWS, FERRITE_TWO_ROWS FERRITE_TWO_ROWS);
    } else {
        FERRITE_CHAINS(FERRITE_THREE_ROWS, FERRITE_THREE_ROWS FERRITE_THREE_ROWS);
    }
    for (std::size_t i = 0; i < 6; ++i)
        if (used(i)) sum[place(i)].value = s[i];
    return a;
}
#undef FERRITE_CHAINS
#undef FERRITE_THREE_ROWS
#undef FERRITE_TWO_ROWS
#undef FERRITE_ONE_ROW
#undef FERRITE_ROW

/// to(i) = chain over o of fma(dy(o), w(i, o), .) from 0 for i < rows <= 4 vectors. The vectors go down the columns of W: each
/// lane has an address, which is that of the last row where there is none of its own.
template <std::size_t vectors, class V>
[[gnu::noinline]] void helium_dots(const float* dy, const float* w, std::size_t rows, std::size_t outputs, float* to) {
    float32x4_t s[3] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)}, c[2];
    uint32x4_t at[3];
    const uint32x4_t lanes = vidupq_n_u32(0, 1);
    for (std::size_t v = 0; v < vectors; ++v) {
        const uint32x4_t row = vminq_u32(vaddq_n_u32(lanes, 4 * v), vdupq_n_u32(rows - 1));
        // Before the first one, as a load goes on first.
        at[v] = vaddq_n_u32(vmulq_n_u32(row, 4 * outputs), reinterpret_cast<std::uint32_t>(w) - 4);
    }
    for (std::size_t v = vectors; v < 3; ++v) at[v] = lanes;
    std::uint32_t f;
#define FERRITE_GATHER(c, v) ".if %c[vectors] > " #v "\n\tvldrw.u32 %q[c" #c "], [%q[b" #v "], #4]!\n\t.endif\n\t"
    asm("wls lr, %[k], 2f\n\t1:\n\tldr %[f0], [%[a]], #4\n\t" FERRITE_GATHER(0, 0) FERRITE_GATHER(1, 1)
            FERRITE_MULTIPLY(0, 0, 0, 0) FERRITE_GATHER(0, 2) FERRITE_MULTIPLY(1, 1, 1, 0) FERRITE_MULTIPLY(2, 0, 2, 0)
        "le lr, 1b\n\t2:"
        : [s0] "+w"(s[0]), [s1] "+w"(s[1]), [s2] "+w"(s[2]), [b0] "+w"(at[0]), [b1] "+w"(at[1]), [b2] "+w"(at[2]), [a] "+&r"(dy),
          [c0] "=&w"(c[0]), [c1] "=&w"(c[1]), [f0] "=&r"(f)
        : [k] "r"(outputs), [vectors] "i"(vectors)
        : "lr", "memory");
#undef FERRITE_GATHER
    for (std::size_t v = 0; v < vectors; ++v) vstrwq_f32(to + 4 * v, s[v]);
}
#undef FERRITE_MULTIPLY
#undef FERRITE_COLUMN

}  // namespace ferrite::simd
