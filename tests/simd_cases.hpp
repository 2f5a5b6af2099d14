// SPDX-License-Identifier: MIT
// Every operation of the vector vocabulary and every elementary function, run over plain arrays. A template
// on the vector type, so that the files simd_<isa>.cpp build it with their flags and simd_test.cpp
// compares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ferrite/simd/math.hpp>

enum class Operation {
    add,
    subtract,
    multiply,
    divide,
    negate,
    fused,
    square_root,
    absolute,
    copy_sign,
    minimum,
    maximum,
    less,
    less_equal,
    greater,
    greater_equal,
    equal,
    mask_and,
    mask_or,
    mask_not,
    first,
    broadcast_zero,
    round,
    convert,
    int_add,
    int_subtract,
    int_and,
    int_or,
    int_xor,
    int_equal,
    int_greater,
    left_0,
    left_5,
    left_31,
    logical_1,
    logical_23,
    logical_31,
    arithmetic_1,
    arithmetic_23,
    arithmetic_31,
    int_broadcast,
    count
};

enum class Function { exp, log, tanh, sigmoid, rsqrt, sin, cos, count };

enum class Reduction { sum, squares, products, maximum, exp_sum, lanes_sum, lanes_maximum, count };

/// The cases of one vector type; `n` is a multiple of 16 except in `reduce`.
struct SimdCases {
    const char* name;
    std::size_t width;
    /// out[i] = the bits of operation(a[i], b[i], c[i]); masks select between 1 and 0.
    void (*apply)(Operation, const float* a, const float* b, const float* c, float* out, std::size_t n);
    void (*evaluate)(Function, const float* x, float* out, std::size_t n);
    /// Over x[0..n) and y[0..n); the last two over x[0..width) alone.
    float (*reduce)(Reduction, const float* x, const float* y, std::size_t n);
    /// out[0..width) = load_partial(from, n), to[0..n) = the same by store_partial.
    void (*partial)(const float* from, std::size_t n, float* out, float* to);
    /// out[0..width) = load_bytes_partial(from, n), n <= width, as floats.
    void (*bytes)(const std::uint8_t* from, std::size_t n, float* out);
};

SimdCases simd_cases_avx2();
SimdCases simd_cases_avx512();
SimdCases simd_cases_neon();
SimdCases simd_cases_neon64();
SimdCases simd_cases_helium();

template <class V>
struct SimdCasesOf {
    using Int = typename V::Int;

    static V as_number(typename V::Mask mask) { return select(mask, V::broadcast(1.0f), V::zero()); }

    static V operation(Operation which, V a, V b, V c) {
        switch (which) {
            case Operation::add:
                return a + b;
            case Operation::subtract:
                return a - b;
            case Operation::multiply:
                return a * b;
            case Operation::divide:
                return a / b;
            case Operation::negate:
                return -a;
            case Operation::fused:
                return fma(a, b, c);
            case Operation::square_root:
                return sqrt(a);
            case Operation::absolute:
                return abs(a);
            case Operation::copy_sign:
                return copysign(a, b);
            case Operation::minimum:
                return min(a, b);
            case Operation::maximum:
                return max(a, b);
            case Operation::less:
                return as_number(a < b);
            case Operation::less_equal:
                return as_number(a <= b);
            case Operation::greater:
                return as_number(a > b);
            case Operation::greater_equal:
                return as_number(a >= b);
            case Operation::equal:
                return as_number(a == b);
            case Operation::mask_and:
                return as_number((a < b) & (b < c));
            case Operation::mask_or:
                return as_number((a < b) | (b < c));
            case Operation::mask_not:
                return as_number(!(a < b));
            case Operation::first:
                return select(V::first(V::width / 2), a, b);
            case Operation::broadcast_zero:
                return V::zero();
            case Operation::round:
                return from_bits(round_to_int(a));
            case Operation::convert:
                return to_float(bits(a));
            case Operation::int_add:
                return from_bits(bits(a) + bits(b));
            case Operation::int_subtract:
                return from_bits(bits(a) - bits(b));
            case Operation::int_and:
                return from_bits(bits(a) & bits(b));
            case Operation::int_or:
                return from_bits(bits(a) | bits(b));
            case Operation::int_xor:
                return from_bits(bits(a) ^ bits(b));
            case Operation::int_equal:
                return as_number(bits(a) == bits(b));
            case Operation::int_greater:
                return as_number(bits(a) > bits(b));
            case Operation::left_0:
                return from_bits(shift_left<0>(bits(a)));
            case Operation::left_5:
                return from_bits(shift_left<5>(bits(a)));
            case Operation::left_31:
                return from_bits(shift_left<31>(bits(a)));
            case Operation::logical_1:
                return from_bits(shift_right_logical<1>(bits(a)));
            case Operation::logical_23:
                return from_bits(shift_right_logical<23>(bits(a)));
            case Operation::logical_31:
                return from_bits(shift_right_logical<31>(bits(a)));
            case Operation::arithmetic_1:
                return from_bits(shift_right_arithmetic<1>(bits(a)));
            case Operation::arithmetic_23:
                return from_bits(shift_right_arithmetic<23>(bits(a)));
            case Operation::arithmetic_31:
                return from_bits(shift_right_arithmetic<31>(bits(a)));
            case Operation::int_broadcast:
                return from_bits(Int::broadcast(-123456789));
            case Operation::count:
                break;
        }
        return a;
    }

    static void apply(Operation which, const float* a, const float* b, const float* c, float* out,
                      std::size_t n) {
        for (std::size_t i = 0; i < n; i += V::width) {
            operation(which, V::load(a + i), V::load(b + i), V::load(c + i)).store(out + i);
        }
    }

    static void evaluate(Function which, const float* x, float* out, std::size_t n) {
        namespace simd = ferrite::simd;
        for (std::size_t i = 0; i < n; i += V::width) {
            V value = V::load(x + i);
            switch (which) {
                case Function::exp:
                    value = simd::exp(value);
                    break;
                case Function::log:
                    value = simd::log(value);
                    break;
                case Function::tanh:
                    value = simd::tanh(value);
                    break;
                case Function::sigmoid:
                    value = simd::sigmoid(value);
                    break;
                case Function::rsqrt:
                    value = simd::rsqrt(value);
                    break;
                case Function::sin:
                    value = simd::sin_cos_2pi(value).sin;
                    break;
                case Function::cos:
                    value = simd::sin_cos_2pi(value).cos;
                    break;
                case Function::count:
                    break;
            }
            value.store(out + i);
        }
    }

    static float reduce(Reduction which, const float* x, const float* y, std::size_t n) {
        using Lanes = ferrite::simd::Lanes16<V>;
        Lanes lanes = Lanes::broadcast(which == Reduction::maximum ? -__builtin_inff() : 0.0f);
        switch (which) {
            case Reduction::sum:
                lanes.add(x, n);
                break;
            case Reduction::squares:
                lanes.add_squares(x, n);
                break;
            case Reduction::products:
                lanes.add_products(x, y, n);
                break;
            case Reduction::maximum:
                lanes.max_of(x, n);
                return reduce_max(lanes);
            case Reduction::exp_sum:
                lanes.fold(n, [x](V sum, std::size_t i, std::size_t count) FERRITE_INLINE_LAMBDA {
                    return sum + ferrite::simd::exp(V::load_partial(x + i, count) - V::broadcast(1.0f));
                });
                break;
            case Reduction::lanes_sum:
                return reduce_add(V::load(x));
            case Reduction::lanes_maximum:
                return reduce_max(V::load(x));
            case Reduction::count:
                break;
        }
        return reduce_add(lanes);
    }

    static void partial(const float* from, std::size_t n, float* out, float* to) {
        const V value = V::load_partial(from, n);
        value.store(out);
        value.store_partial(to, n);
    }

    static void bytes(const std::uint8_t* from, std::size_t n, float* out) {
        to_float(n == V::width ? Int::load_bytes(from) : Int::load_bytes_partial(from, n)).store(out);
    }

    static SimdCases cases(const char* name) { return {name, V::width, apply, evaluate, reduce, partial, bytes}; }
};
