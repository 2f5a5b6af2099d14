// SPDX-License-Identifier: MIT
// The bodies of the limits, over any vector type; peak_<isa>.cpp instantiates them.
#pragma once

#include <ferrite/simd/math.hpp>

#include "limits.hpp"

namespace ferrite::bench {

/// body(i) for i = 0, V::width, ... below `size`, a multiple of 4 V::width. A compiler that reads "copy" or
/// "add" into a loop would call its own idea of it, hence the barrier.
template <class V, class Body>
FERRITE_INLINE void unrolled(std::size_t size, Body body) {
    for (std::size_t i = 0; i < size; i += 4 * V::width) {
        for (std::size_t j = 0; j < 4; ++j) body(i + j * V::width);
        asm volatile("" ::: "memory");
    }
}

template <class Isa>
void Kernels<Isa>::multiply_add(const MultiplyAdd& arguments) {
    using V = simd::Vector<Isa>;
    constexpr int chains = 12;
    const V factor = V::broadcast(arguments.factor), addend = V::broadcast(arguments.addend);
    V sum[chains];
    for (int i = 0; i < chains; ++i) sum[i] = V::broadcast(static_cast<float>(i));
    for (std::size_t done = 0; done < arguments.flops; done += 2 * chains * V::width)
        for (int i = 0; i < chains; ++i) sum[i] = fma(sum[i], factor, addend);
    V total = V::zero();
    for (int i = 0; i < chains; ++i) total = total + sum[i];
    *arguments.result = reduce_add(total);
}

template <class Isa>
void Kernels<Isa>::read(const Read& arguments) {
    using V = simd::Vector<Isa>;
    constexpr std::size_t chains = 8;
    V sum[chains];
    for (std::size_t j = 0; j < chains; ++j) sum[j] = V::zero();
    for (std::size_t i = 0; i < arguments.size; i += chains * V::width)
        for (std::size_t j = 0; j < chains; ++j) sum[j] = sum[j] + V::load(arguments.x + i + j * V::width);
    V total = V::zero();
    for (std::size_t j = 0; j < chains; ++j) total = total + sum[j];
    *arguments.result = reduce_add(total);
}

template <class Isa>
void Kernels<Isa>::move(const Map& map) {
    using V = simd::Vector<Isa>;
    // As values: read from `map` behind every store they would cost as much as the moves.
    float* const y = map.operand[0];
    const float* const x = map.operand[1];
    unrolled<V>(map.columns, [=](std::size_t i) FERRITE_INLINE_LAMBDA { V::load(x + i).store(y + i); });
}

template <class Isa>
void Kernels<Isa>::move_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    float* const dx = map.operand[0];
    const float *const dy = map.operand[1], *const y = map.operand[2];
    unrolled<V>(map.columns,
                [=](std::size_t i) FERRITE_INLINE_LAMBDA { (V::load(dy + i) + V::load(y + i)).store(dx + i); });
}

template <class Isa>
void Kernels<Isa>::move_update(const Map& map) {
    using V = simd::Vector<Isa>;
    float *const p = map.operand[0], *const s = map.operand[2], *const t = map.operand[3];
    const float* const g = map.operand[1];
    const auto change = [](float* x, V by) FERRITE_INLINE_LAMBDA { (V::load(x) + by).store(x); };
    if (t) {
        unrolled<V>(map.columns, [&](std::size_t i) FERRITE_INLINE_LAMBDA {
            const V by = V::load(g + i);
            change(p + i, by);
            change(s + i, by);
            change(t + i, by);
        });
    } else if (s) {
        unrolled<V>(map.columns, [&](std::size_t i) FERRITE_INLINE_LAMBDA {
            const V by = V::load(g + i);
            change(p + i, by);
            change(s + i, by);
        });
    } else {
        unrolled<V>(map.columns, [&](std::size_t i) FERRITE_INLINE_LAMBDA { change(p + i, V::load(g + i)); });
    }
}

template <class Isa>
void Kernels<Isa>::exponential(const Map& map) {
    using V = simd::Vector<Isa>;
    float* const y = map.operand[0];
    const float* const x = map.operand[1];
    unrolled<V>(map.columns,
                [=](std::size_t i) FERRITE_INLINE_LAMBDA { simd::exp(V::load(x + i)).store(y + i); });
}

template <class Isa>
void Kernels<Isa>::logarithm(const Map& map) {
    using V = simd::Vector<Isa>;
    float* const y = map.operand[0];
    const float* const x = map.operand[1];
    unrolled<V>(map.columns,
                [=](std::size_t i) FERRITE_INLINE_LAMBDA { simd::log(V::load(x + i)).store(y + i); });
}

}  // namespace ferrite::bench
