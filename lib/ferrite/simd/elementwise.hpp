// SPDX-License-Identifier: MIT
// The bodies of everything that is not a matrix product: activations, optimizers, softmax, losses, sums. The contract
// is in kernels.hpp and optimizer.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/simd/math.hpp>
#include <ferrite/simd/vector.hpp>

namespace ferrite::simd {

/// body(p, count) for every run of at most `width` elements, with p[i] pointing into operand i < operands; count is
/// the constant width but for the end of a row.
template <class Isa, int operands, class Body>
FERRITE_INLINE void each(const Map& map, Body body) {
    constexpr std::size_t width = Vector<Isa>::width;
    for (std::size_t row = 0; row < map.rows; ++row) {
        float* p[operands];
        for (int i = 0; i < operands; ++i) p[i] = map.operand[i] + row * map.stride[i];
        std::size_t left = map.columns;
        for (; left >= width; left -= width) {
            body(p, width);
            for (int i = 0; i < operands; ++i) p[i] += width;
        }
        if (left != 0) body(p, left);
    }
}

/// y = f(x)
template <class Isa, class F>
FERRITE_INLINE void forward_map(const Map& map, F f) {
    using V = Vector<Isa>;
    each<Isa, 2>(map, [f](float** p, std::size_t n)
                          FERRITE_INLINE_LAMBDA { f(V::load_partial(p[1], n)).store_partial(p[0], n); });
}

/// dx = f(dy, kept)
template <class Isa, class F>
FERRITE_INLINE void backward_map(const Map& map, F f) {
    using V = Vector<Isa>;
    each<Isa, 3>(map, [f](float** p, std::size_t n) FERRITE_INLINE_LAMBDA {
        f(V::load_partial(p[1], n), V::load_partial(p[2], n)).store_partial(p[0], n);
    });
}

/// The constants of an update (UpdateConstants), one lane each repeated.
template <class Isa>
struct UpdateVectors {
    using V = Vector<Isa>;
    V scale, clip, weight_decay, rate, a, b, c, d;
    FERRITE_INLINE explicit UpdateVectors(const float* k)
        : scale(V::broadcast(k[0])), clip(V::broadcast(k[1])), weight_decay(V::broadcast(k[2])),
          rate(V::broadcast(k[3])), a(V::broadcast(k[4])), b(V::broadcast(k[5])), c(V::broadcast(k[6])),
          d(V::broadcast(k[7])) {}
    /// min and max answer their second operand for NaN, so NaN passes.
    FERRITE_INLINE V clipped(V g) const { return min(clip, max(-clip, scale * g)); }
    FERRITE_INLINE V decayed(V p, V g) const { return fma(weight_decay, p, g); }
    /// a = beta1, b = beta2, c = factor of v under the root, d = epsilon.
    FERRITE_INLINE V adam(V p, V g, V& m, V& v) const {
        const V one = V::broadcast(1.0f);
        m = fma(a, m, (one - a) * g);
        v = fma(b, v, (one - b) * (g * g));
        return p - (rate * m) / (sqrt(v * c) + d);
    }
};

/// p, states = f(constants, p, g, states): f changes its arguments in place; g has been scaled and clipped.
template <class Isa, int states, class F>
FERRITE_INLINE void update_map(const Map& map, F f) {
    using V = Vector<Isa>;
    const UpdateVectors<Isa> k(map.constants);
    each<Isa, 2 + states>(map, [k, f](float** at, std::size_t n) FERRITE_INLINE_LAMBDA {
        V p = V::load_partial(at[0], n);
        const V g = k.clipped(V::load_partial(at[1], n));
        if constexpr (states == 0) {
            f(k, p, g);
        } else if constexpr (states == 1) {
            V s = V::load_partial(at[2], n);
            f(k, p, g, s);
            s.store_partial(at[2], n);
        } else {
            V s = V::load_partial(at[2], n), t = V::load_partial(at[3], n);
            f(k, p, g, s, t);
            s.store_partial(at[2], n);
            t.store_partial(at[3], n);
        }
        p.store_partial(at[0], n);
    });
}

/// 2 sqrt(2 / pi) and 0.044715 of the tanh form of Gelu.
template <class V>
FERRITE_INLINE V gelu_gate(V x) {
    const V inner = fma(V::broadcast(0.044715f) * (x * x), x, x);
    return sigmoid(V::broadcast(1.5957691216057308f) * inner);
}

/// z, t -> the gradient before scaling; adds the element's loss to `lane`.
template <class Isa, class F>
FERRITE_INLINE void target_loss(const LossArguments& l, F f) {
    using V = Vector<Isa>;
    const float elements = static_cast<float>(l.rows * l.columns);
    const V scale = V::broadcast(1.0f / elements);
    float total = 0;
    for (std::size_t r = 0; r < l.rows; ++r) {
        const float* z = l.z + r * l.columns;
        const float* t = l.targets + r * l.columns;
        float* dz = l.dz + r * l.columns;
        auto sum = Lanes16<V>::broadcast(0.0f);
        sum.fold(l.columns, [&](V lane, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
            V loss = V::zero();
            const V gradient = f(V::load_partial(z + i, n), V::load_partial(t + i, n), loss);
            (gradient * scale).store_partial(dz + i, n);
            return lane + loss;
        });
        total += reduce_add(sum);
    }
    *l.loss = total / elements;
}

}  // namespace ferrite::simd

namespace ferrite {

template <class Isa>
void Kernels<Isa>::relu(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa>(map, [](V x) FERRITE_INLINE_LAMBDA { return max(V::zero(), x); });
}
template <class Isa>
void Kernels<Isa>::relu_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa>(map, [](V dy, V y) FERRITE_INLINE_LAMBDA { return select(y <= V::zero(), V::zero(), dy); });
}

template <class Isa>
void Kernels<Isa>::leaky_relu(const Map& map) {
    using V = simd::Vector<Isa>;
    const V slope = V::broadcast(map.constants[0]);
    simd::forward_map<Isa>(map, [slope](V x) FERRITE_INLINE_LAMBDA { return select(x <= V::zero(), slope * x, x); });
}
template <class Isa>
void Kernels<Isa>::leaky_relu_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    const V slope = V::broadcast(map.constants[0]);
    simd::backward_map<Isa>(
        map, [slope](V dy, V y) FERRITE_INLINE_LAMBDA { return select(y <= V::zero(), slope * dy, dy); });
}

template <class Isa>
void Kernels<Isa>::sigmoid(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa>(map, [](V x) FERRITE_INLINE_LAMBDA { return simd::sigmoid(x); });
}
template <class Isa>
void Kernels<Isa>::sigmoid_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa>(map,
                            [](V dy, V y) FERRITE_INLINE_LAMBDA { return dy * (y * (V::broadcast(1.0f) - y)); });
}

template <class Isa>
void Kernels<Isa>::tanh(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa>(map, [](V x) FERRITE_INLINE_LAMBDA { return simd::tanh(x); });
}
template <class Isa>
void Kernels<Isa>::tanh_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa>(map, [](V dy, V y) FERRITE_INLINE_LAMBDA { return dy * (V::broadcast(1.0f) - y * y); });
}

template <class Isa>
void Kernels<Isa>::gelu(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa>(map, [](V x) FERRITE_INLINE_LAMBDA { return x * simd::gelu_gate(x); });
}
template <class Isa>
void Kernels<Isa>::gelu_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa>(map, [](V dy, V x) FERRITE_INLINE_LAMBDA {
        const V one = V::broadcast(1.0f);
        const V s = simd::gelu_gate(x);
        const V inner = V::broadcast(1.5957691216057308f) * fma(V::broadcast(0.134145f), x * x, one);
        return dy * fma(x * (s * (one - s)), inner, s);
    });
}

template <class Isa>
void Kernels<Isa>::sgd(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 0>(map, [](const auto& k, V& p, V g) FERRITE_INLINE_LAMBDA {
        p = fma(-k.rate, k.decayed(p, g), p);
    });
}
template <class Isa>
void Kernels<Isa>::momentum(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 1>(map, [](const auto& k, V& p, V g, V& v) FERRITE_INLINE_LAMBDA {
        v = fma(k.a, v, -(k.rate * k.decayed(p, g)));
        p = p + v;
    });
}
template <class Isa>
void Kernels<Isa>::nesterov(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 1>(map, [](const auto& k, V& p, V g, V& v) FERRITE_INLINE_LAMBDA {
        const V s = k.rate * k.decayed(p, g);
        p = fma(-k.c, s, fma(k.b, v, p));
        v = fma(k.a, v, -s);
    });
}
template <class Isa>
void Kernels<Isa>::adagrad(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 1>(map, [](const auto& k, V& p, V g, V& h) FERRITE_INLINE_LAMBDA {
        g = k.decayed(p, g);
        h = fma(g, g, h);
        p = p - (k.rate * g) / (sqrt(h) + k.d);
    });
}
template <class Isa>
void Kernels<Isa>::rmsprop(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 1>(map, [](const auto& k, V& p, V g, V& h) FERRITE_INLINE_LAMBDA {
        g = k.decayed(p, g);
        h = fma(k.a, h, k.b * (g * g));
        p = p - (k.rate * g) / (sqrt(h) + k.d);
    });
}
template <class Isa>
void Kernels<Isa>::adam(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 2>(map, [](const auto& k, V& p, V g, V& m, V& v)
                                      FERRITE_INLINE_LAMBDA { p = k.adam(p, k.decayed(p, g), m, v); });
}
template <class Isa>
void Kernels<Isa>::adamw(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::update_map<Isa, 2>(map, [](const auto& k, V& p, V g, V& m, V& v)
                                      FERRITE_INLINE_LAMBDA { p = k.adam(fma(-k.weight_decay, p, p), g, m, v); });
}

template <class Isa>
void Kernels<Isa>::softmax(const SoftmaxArguments& s) {
    using V = simd::Vector<Isa>;
    for (std::size_t r = 0; r < s.rows; ++r) {
        const float* x = s.x + r * s.columns;
        float* y = s.y + r * s.columns;
        auto largest = simd::Lanes16<V>::broadcast(-__builtin_inff());
        largest.max_of(x, s.columns);
        const V top = V::broadcast(reduce_max(largest));
        auto sum = simd::Lanes16<V>::broadcast(0.0f);
        sum.fold(s.columns, [&](V lane, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
            const V e = simd::exp(V::load_partial(x + i, n) - top);
            e.store_partial(y + i, n);
            return lane + e;
        });
        const V total = V::broadcast(reduce_add(sum));
        for (std::size_t i = 0; i < s.columns; i += V::width) {
            const std::size_t n = s.columns - i < V::width ? s.columns - i : V::width;
            (V::load_partial(y + i, n) / total).store_partial(y + i, n);
        }
    }
}

template <class Isa>
void Kernels<Isa>::softmax_backward(const SoftmaxArguments& s) {
    using V = simd::Vector<Isa>;
    for (std::size_t r = 0; r < s.rows; ++r) {
        const float* p = s.x + r * s.columns;
        const float* dy = s.dy + r * s.columns;
        float* dx = s.y + r * s.columns;
        auto sum = simd::Lanes16<V>::broadcast(0.0f);
        sum.add_products(p, dy, s.columns);
        const V mean = V::broadcast(reduce_add(sum));
        for (std::size_t i = 0; i < s.columns; i += V::width) {
            const std::size_t n = s.columns - i < V::width ? s.columns - i : V::width;
            (V::load_partial(p + i, n) * (V::load_partial(dy + i, n) - mean)).store_partial(dx + i, n);
        }
    }
}

template <class Isa>
void Kernels<Isa>::softmax_cross_entropy(const LossArguments& l) {
    using V = simd::Vector<Isa>;
    using One = simd::Vector<Scalar>;
    const float rows = static_cast<float>(l.rows);
    const V scale = V::broadcast(1.0f / rows);
    float total = 0;
    for (std::size_t r = 0; r < l.rows; ++r) {
        const float* z = l.z + r * l.columns;
        float* dz = l.dz + r * l.columns;
        const std::size_t label = l.labels[r];
        auto largest = simd::Lanes16<V>::broadcast(-__builtin_inff());
        largest.max_of(z, l.columns);
        const float top = reduce_max(largest);
        const float at_label = label < l.columns ? z[label] : __builtin_nanf("");
        auto sum = simd::Lanes16<V>::broadcast(0.0f);
        sum.fold(l.columns, [&](V lane, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
            const V e = simd::exp(V::load_partial(z + i, n) - V::broadcast(top));
            e.store_partial(dz + i, n);
            return lane + e;
        });
        const float sum_of_row = reduce_add(sum);
        const V denominator = V::broadcast(sum_of_row);
        // (p - onehot) / rows: the label's own element is finished apart.
        for (std::size_t i = 0; i < l.columns; i += V::width) {
            const std::size_t n = l.columns - i < V::width ? l.columns - i : V::width;
            const V p = V::load_partial(dz + i, n) / denominator;
            if (label >= i && label < i + n) {
                float lanes[V::width];
                p.store(lanes);
                lanes[label - i] = lanes[label - i] - 1.0f;
                (V::load(lanes) * scale).store_partial(dz + i, n);
            } else {
                (p * scale).store_partial(dz + i, n);
            }
        }
        float logarithm[1];
        simd::log(One::broadcast(sum_of_row)).store(logarithm);
        total += logarithm[0] - (at_label - top);
    }
    *l.loss = total / rows;
}

template <class Isa>
void Kernels<Isa>::binary_cross_entropy(const LossArguments& l) {
    using V = simd::Vector<Isa>;
    simd::target_loss<Isa>(l, [](V z, V t, V& loss) FERRITE_INLINE_LAMBDA {
        const V one = V::broadcast(1.0f);
        loss = (max(V::zero(), z) - z * t) + simd::log(one + simd::exp(-abs(z)));
        return simd::sigmoid(z) - t;
    });
}

template <class Isa>
void Kernels<Isa>::mean_squared_error(const LossArguments& l) {
    using V = simd::Vector<Isa>;
    simd::target_loss<Isa>(l, [](V z, V t, V& loss) FERRITE_INLINE_LAMBDA {
        const V e = z - t;
        loss = e * e;
        return e + e;
    });
}

template <class Isa>
void Kernels<Isa>::huber(const LossArguments& l) {
    using V = simd::Vector<Isa>;
    const V delta = V::broadcast(l.constant);
    simd::target_loss<Isa>(l, [delta](V z, V t, V& loss) FERRITE_INLINE_LAMBDA {
        const V half = V::broadcast(0.5f);
        const V e = z - t;
        loss = select(abs(e) <= delta, half * (e * e), delta * (abs(e) - half * delta));
        return min(delta, max(-delta, e));
    });
}

template <class Isa>
void Kernels<Isa>::sum_of_squares(const SumOfSquares& s) {
    using V = simd::Vector<Isa>;
    auto lanes = simd::Lanes16<V>::broadcast(0.0f);
    lanes.add_squares(s.x, s.size);
    *s.result = reduce_add(lanes);
}

}  // namespace ferrite
