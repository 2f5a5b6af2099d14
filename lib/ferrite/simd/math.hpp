// SPDX-License-Identifier: MIT
// Elementary functions over a vector type: short polynomials in a fixed order of + - * / fma and operations
// on bits, so that every V gives the same bits. Includes vector.hpp.
//
// The polynomials are minimax fits (weighted for relative error, coefficients rounded to float one by one and
// the rest refitted). The largest errors over all 2^32 floats against the double-precision library function; an
// ulp is that of the exact result, 2^-149 if that is subnormal; infinity and NaN come where they belong. The
// test "the error bounds are the largest errors over all floats" finds these numbers again (ctest -C exhaustive
// -L exhaustive), the one before it samples every exponent. Last column: ns a number in an array that is in the
// nearest cache, AVX2 at 3.2 GHz, and in brackets one call of the C library (glibc 2.36) a number.
//
//   function     largest error, ulp, and where   range                                          ns
//   exp          0.8914   -0x1.765026p+2         all; subnormal below -87.33655, 0 below -104   0.59 (3.7)
//   log          0.9230    0x1.69b14cp-1         all; NaN below 0, -infinity at +-0             0.99 (4.0)
//   tanh         1.4985    0x1.e7fc44p+1         all; x itself below 2e-4                       0.89 (16)
//   sigmoid      2.4020   -0x1.0a111ap+2         all; subnormal and 0 as exp                    0.81 (4.9)
//   rsqrt        1.4904    0x1.019566p-126       all; NaN below 0, +-infinity at +-0            0.34 (2.6)
//   sin_cos_2pi  0.9645    0x1.45f148p-128       |u| <= 2^19; exact at multiples of 1/4         0.55 (4.1, sin)
//
// On CPUs that flush subnormals (Helium, ARMv7 NEON) subnormal arguments count as 0 and subnormal results are 0.
#pragma once

#include <ferrite/simd/vector.hpp>

namespace ferrite::simd {

/// c0 + x * (c1 + x * (c2 + ...)), by fma from the highest coefficient down.
template <class V>
FERRITE_INLINE V polynomial(V, float c0) {
    return Constant<V>::broadcast(c0);
}
template <class V, class... Floats>
FERRITE_INLINE V polynomial(V x, float c0, Floats... higher) {
    return fma(polynomial(x, higher...), x, Constant<V>::broadcast(c0));
}

/// The same for n vectors side by side.
template <std::size_t n, class V>
FERRITE_INLINE void polynomial(const V (&)[n], V (&y)[n], float c0) {
    for (std::size_t i = 0; i < n; ++i) y[i] = Constant<V>::broadcast(c0);
}
template <std::size_t n, class V, class... Floats>
FERRITE_INLINE void polynomial(const V (&x)[n], V (&y)[n], float c0, Floats... higher) {
    polynomial(x, y, higher...);
    for (std::size_t i = 0; i < n; ++i) y[i] = fma(y[i], x[i], Constant<V>::broadcast(c0));
}

/// x + adding_rounds<V>() is x rounded to an integer k, nearest even, for |x| <= 2^21; k is also in the low
/// bits of the sum, above which the next 9 are 0, so that a shift by 23 leaves k in the exponent field.
template <class V>
FERRITE_INLINE Constant<V> adding_rounds() {
    return Constant<V>::broadcast(0x1.8p23f);
}

inline constexpr float ln2_high = 0x1.62e43p-1f;
inline constexpr float ln2_low = -0x1.05c61p-29f;  // ln 2 - ln2_high
inline constexpr float log2_e = 0x1.715476p0f;
inline constexpr std::int32_t bits_of_one = 0x3f800000;

/// y = (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; the error is 3.2e-9 of e^r.
template <std::size_t n, class V>
FERRITE_INLINE void exp_remainder(const V (&r)[n], V (&y)[n]) {
    polynomial(r, y, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558bp-5f, 0x1.12398ep-7f, 0x1.6a4d34p-10f);
}
template <class V>
FERRITE_INLINE V exp_remainder(V r) {
    const V values[1] = {r};
    V results[1];
    exp_remainder(values, results);
    return results[0];
}

/// e^x for n vectors, step by step side by side: each step waits for the one before it, some 55 cycles in all, and
/// the scheduler of a processor does not look far enough ahead to fill them with the vectors that come later.
template <class V, std::size_t n>
FERRITE_INLINE void exp(V (&x)[n]) {
    V rounded[n], r[n], power[n];
    const auto one = Constant<V>::broadcast(1.0f);
    // The limits keep k in range; their order lets a NaN through.
    for (std::size_t i = 0; i < n; ++i) x[i] = max(Constant<V>::broadcast(-104.0f), min(Constant<V>::broadcast(89.0f), x[i]));
    for (std::size_t i = 0; i < n; ++i) rounded[i] = fma(x[i], Constant<V>::broadcast(log2_e), adding_rounds<V>());
    for (std::size_t i = 0; i < n; ++i) {
        const V k = rounded[i] - adding_rounds<V>();
        r[i] = fma(k, Constant<V>::broadcast(-ln2_high), x[i]);  // exact
        r[i] = fma(k, Constant<V>::broadcast(-ln2_low), r[i]);
    }
    exp_remainder(r, power);
    for (std::size_t i = 0; i < n; ++i) power[i] = fma(r[i], power[i], one);
    for (std::size_t i = 0; i < n; ++i) power[i] = fma(r[i], power[i], one);
    // 2^k in two factors, as -150 <= k <= 128: the first product is exact, so a subnormal result is rounded
    // once.
    const auto one_bits = V::Int::broadcast(bits_of_one);
    for (std::size_t i = 0; i < n; ++i) {
        const auto exponent = bits(rounded[i]);
        const auto half = shift_right_logical<1>(exponent);
        x[i] = power[i] * from_bits(shift_left<23>(half) + one_bits) *
               from_bits(shift_left<23>(exponent - half) + one_bits);
    }
}

/// e^x, within 1 ulp. Overflows to infinity above 88.72283, subnormal below -87.33655, 0 below -103.97208.
template <class V>
FERRITE_INLINE V exp(V x) {
    V values[1] = {x};
    exp(values);
    return values[0];
}

/// ln x, within 1 ulp. -infinity for +-0, NaN below 0, infinity for infinity; subnormal arguments are exact.
template <class V>
FERRITE_INLINE V log(V x) {
    const V infinity = Constant<V>::broadcast(__builtin_inff());
    const auto subnormal = x < Constant<V>::broadcast(0x1p-126f);
    const V normal = select(subnormal, x * Constant<V>::broadcast(0x1p24f), x);
    // normal = 2^k * (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2).
    const auto exponent = shift_right_arithmetic<23>(bits(normal) - V::Int::broadcast(0x3f3504f3));
    const V f = from_bits(bits(normal) - shift_left<23>(exponent)) - Constant<V>::broadcast(1.0f);
    const V k = to_float(exponent) - select(subnormal, Constant<V>::broadcast(24.0f), V::zero());
    // ln(1 + f) = f - f^2 / 2 + f^3 p(f); the error is 5.9e-9 of it.
    const V square = f * f;
    const V p = polynomial(f, 0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a01cp-3f, -0x1.54728ap-3f, 0x1.22d93p-3f,
                           -0x1.0d8246p-3f, 0x1.055eaep-3f, -0x1.38c974p-4f);
    V low = square * fma(f, p, Constant<V>::broadcast(-0.5f));
    // k * 0x1.62e4p-1 is exact; what its sum with f loses goes to the low part.
    const V high = k * Constant<V>::broadcast(0x1.62e4p-1f);
    low = fma(k, Constant<V>::broadcast(0x1.7f7d1cp-20f), low);
    const V sum = high + f;
    const V result = sum + (low + (f - (sum - high)));
    const V special = select(x == V::zero(), -infinity, Constant<V>::broadcast(__builtin_nanf("")));
    return select(x > V::zero(), select(x < infinity, result, x), special);
}

/// tanh x, within 1.5 ulp. Odd, keeps the sign of 0, is x itself for |x| < 2e-4 and never exceeds 1 in
/// magnitude.
template <class V>
FERRITE_INLINE V tanh(V x) {
    // With y = 2 |x| and m = e^y - 1: tanh |x| = m / (m + 2), where m = 2^k (r + c) + (2^k - 1). From y = 20
    // on the quotient is 1. Below 0.28, where the three roundings would cost 2.7 ulp, |x| + |x|^3 p(x^2) is
    // better.
    const V magnitude = abs(x);
    const V y = min(Constant<V>::broadcast(20.0f), magnitude + magnitude);
    const V rounded = fma(y, Constant<V>::broadcast(log2_e), adding_rounds<V>());
    const V k = rounded - adding_rounds<V>();
    const V r = fma(k, Constant<V>::broadcast(-ln2_high), y);  // exact
    const V c = fma(r * r, exp_remainder(r), k * Constant<V>::broadcast(-ln2_low));
    const V scale = from_bits(shift_left<23>(bits(rounded)) + V::Int::broadcast(bits_of_one));
    const V m = fma(scale, c, fma(scale, r, scale - Constant<V>::broadcast(1.0f)));
    const V square = x * x;
    const V p = polynomial(square, -0x1.5554dcp-2f, 0x1.10c70ap-3f, -0x1.a044bcp-5f);
    const V small = fma(magnitude * square, p, magnitude);
    return copysign(select(magnitude < Constant<V>::broadcast(0.28f), small, m / (m + Constant<V>::broadcast(2.0f))), x);
}

/// 1 / (1 + e^-x), within 2.5 ulp. Down to 0 through the subnormal numbers for x < 0; never overflows.
template <class V>
FERRITE_INLINE V sigmoid(V x) {
    const auto one = Constant<V>::broadcast(1.0f);
    const V e = exp(-abs(x));
    return select(x < V::zero(), e, one) / (one + e);
}

/// 1 / sqrt(x) by IEEE square root and division, within 1.5 ulp: infinity with the sign of the zero for +-0,
/// NaN below 0, 0 for infinity.
template <class V>
FERRITE_INLINE V rsqrt(V x) {
    return Constant<V>::broadcast(1.0f) / sqrt(x);
}

template <class V>
struct SinCos {
    V sin;
    V cos;
};

/// The sine and cosine of 2 pi u for |u| <= 2^19, such as the uniform numbers in [0, 1) of Box and Muller:
/// each within 1 ulp, exact at multiples of 1/4.
template <class V>
FERRITE_INLINE SinCos<V> sin_cos_2pi(V u) {
    const V rounded = fma(u, Constant<V>::broadcast(4.0f), adding_rounds<V>());
    const V r = fma(rounded - adding_rounds<V>(), Constant<V>::broadcast(-0.25f), u);  // exact, |r| <= 1/8
    const V square = r * r;
    const V sin_tail = polynomial(square, -0x1.777a5cp-23f, -0x1.4abbbep5f, 0x1.465fbp6f, -0x1.2db7eap6f);
    const V sin = fma(r, Constant<V>::broadcast(0x1.921fb6p2f), r * sin_tail);
    const V cos = polynomial(square, 1.0f, -0x1.3bd3ccp4f, 0x1.03c1bp6f, -0x1.55b298p6f, 0x1.d4e314p5f);
    // Quarter turns: the odd ones swap the two, 2 and 3 negate the sine, 1 and 2 the cosine.
    using Int = typename V::Int;
    const Int one = Int::broadcast(1);
    const Int quarter = bits(rounded);
    const auto odd = (quarter & one) == one;
    const Int sin_sign = shift_left<31>(shift_right_logical<1>(quarter));
    const Int cos_sign = shift_left<31>(shift_right_logical<1>(quarter + one));
    return {from_bits(bits(select(odd, cos, sin)) ^ sin_sign),
            from_bits(bits(select(odd, sin, cos)) ^ cos_sign)};
}

}  // namespace ferrite::simd
