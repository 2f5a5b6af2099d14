// SPDX-License-Identifier: MIT
// The loops, for the compiler to vectorize; by_hand_<isa>.cpp instantiates them.
#pragma once

#include "by_hand.hpp"

namespace ferrite::bench::by_hand {

template <class Isa>
void Kernels<Isa>::finish(const Finish& f) {
    for (std::size_t r = 0; r < f.rows; ++r) {
        float* __restrict__ const y = f.y + r * f.columns;
        const float* __restrict__ const bias = f.bias;
        if (f.rectify) {
            for (std::size_t c = 0; c < f.columns; ++c) {
                const float sum = y[c] + bias[c];
                y[c] = sum > 0 ? sum : 0;
            }
        } else {
            for (std::size_t c = 0; c < f.columns; ++c) y[c] += bias[c];
        }
    }
}

template <class Isa>
void Kernels<Isa>::loss(const Loss& l) {
    float total = 0;
    for (std::size_t r = 0; r < l.rows; ++r) {
        const float* const z = l.z + r * l.columns;
        float* const dz = l.dz + r * l.columns;
        float top = z[0], sum = 0;
        for (std::size_t c = 1; c < l.columns; ++c) top = z[c] > top ? z[c] : top;
        for (std::size_t c = 0; c < l.columns; ++c) sum += dz[c] = __builtin_expf(z[c] - top);
        const float scale = 1 / (sum * static_cast<float>(l.rows));
        for (std::size_t c = 0; c < l.columns; ++c) dz[c] *= scale;
        dz[l.labels[r]] -= 1 / static_cast<float>(l.rows);
        total += __builtin_logf(sum) - (z[l.labels[r]] - top);
    }
    *l.loss = total / static_cast<float>(l.rows);
}

template <class Isa>
void Kernels<Isa>::rectify(const Rectify& d) {
    float* __restrict__ const dx = d.dx;
    const float* __restrict__ const y = d.y;
    for (std::size_t i = 0; i < d.size; ++i) dx[i] = y[i] > 0 ? dx[i] : 0;
}

template <class Isa>
void Kernels<Isa>::column_sums(const ColumnSums& s) {
    float* __restrict__ const sums = s.sums;
    for (std::size_t c = 0; c < s.columns; ++c) sums[c] = 0;
    for (std::size_t r = 0; r < s.rows; ++r) {
        const float* __restrict__ const dy = s.dy + r * s.columns;
        for (std::size_t c = 0; c < s.columns; ++c) sums[c] += dy[c];
    }
}

template <class Isa>
void Kernels<Isa>::update(const Update& u) {
    float* __restrict__ const p = u.p;
    const float* __restrict__ const g = u.g;
    if (!u.m) {
        for (std::size_t i = 0; i < u.size; ++i) p[i] -= u.rate * g[i];
        return;
    }
    float* __restrict__ const m = u.m;
    float* __restrict__ const v = u.v;
    for (std::size_t i = 0; i < u.size; ++i) {
        m[i] = u.beta1 * m[i] + (1 - u.beta1) * g[i];
        v[i] = u.beta2 * v[i] + (1 - u.beta2) * (g[i] * g[i]);
        p[i] -= u.rate * m[i] / (__builtin_sqrtf(v[i]) + u.epsilon);
    }
}

}  // namespace ferrite::bench::by_hand
