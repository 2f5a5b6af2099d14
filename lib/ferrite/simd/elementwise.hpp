// SPDX-License-Identifier: MIT
// The bodies of everything that is not a matrix product: activations, optimizers, softmax, losses, sums. The contract
// is in kernels.hpp and optimizer.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/simd/math.hpp>
#include <ferrite/simd/update.hpp>
#include <ferrite/simd/vector.hpp>

namespace ferrite::simd {

/// body(p, i, count) for every run of at most `width` elements: those from p[o] + i on of each operand o; count is the
/// constant width but for the end of a row. Without gaps between them, all rows are one.
template <class Isa, int operands, class Body>
FERRITE_INLINE void each(const Map& map, Body body) {
    constexpr std::size_t width = Vector<Isa>::width;
    std::size_t rows = map.rows, columns = map.columns;
    bool gaps = false;
    for (int o = 0; o < operands; ++o) gaps = gaps || map.stride[o] != columns;
    if (!gaps) {
        columns *= rows;
        rows = 1;
    }
    for (std::size_t row = 0; row < rows; ++row) {
        float* p[operands];
        for (int o = 0; o < operands; ++o) p[o] = map.operand[o] + row * map.stride[o];
        std::size_t i = 0;
        for (; i + 4 * width <= columns; i += 4 * width)
            for (std::size_t v = 0; v < 4; ++v) body(p, i + v * width, width);
        for (; i + width <= columns; i += width) body(p, i, width);
        if (i < columns) body(p, i, columns - i);
    }
}

/// y = f(x)
template <class Isa, class F>
FERRITE_INLINE void forward_map(const Map& map, F f) {
    using V = Vector<Isa>;
    each<Isa, 2>(map, [f](float** p, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        f(V::load_partial(p[1] + i, n)).store_partial(p[0] + i, n);
    });
}

/// dx = f(dy, kept)
template <class Isa, class F>
FERRITE_INLINE void backward_map(const Map& map, F f) {
    using V = Vector<Isa>;
    each<Isa, 3>(map, [f](float** p, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        f(V::load_partial(p[1] + i, n), V::load_partial(p[2] + i, n)).store_partial(p[0] + i, n);
    });
}

/// p, states = Rule(constants, p, g, states).
template <class Isa, class Rule>
FERRITE_INLINE void update_map(const Map& map) {
    using V = Vector<Isa>;
    const UpdateVectors<Isa> k(map.constants);
    each<Isa, 2 + Rule::states>(map, [k](float** at, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        V p = V::load_partial(at[0] + i, n), s = V::zero(), t = V::zero();
        const V g = k.clipped(V::load_partial(at[1] + i, n));
        if constexpr (Rule::states > 0) s = V::load_partial(at[2] + i, n);
        if constexpr (Rule::states > 1) t = V::load_partial(at[3] + i, n);
        Rule::apply(k, p, g, s, t);
        p.store_partial(at[0] + i, n);
        if constexpr (Rule::states > 0) s.store_partial(at[2] + i, n);
        if constexpr (Rule::states > 1) t.store_partial(at[3] + i, n);
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
        const V flat = s * (one - s);
        const V inner = V::broadcast(1.5957691216057308f) * fma(V::broadcast(0.134145f), x * x, one);
        // Where s has reached 0 or 1, x^2 may be infinite.
        return dy * fma(x * flat, select(flat <= V::zero(), V::zero(), inner), s);
    });
}

template <class Isa>
void Kernels<Isa>::sgd(const Map& map) {
    simd::update_map<Isa, simd::SgdRule>(map);
}
template <class Isa>
void Kernels<Isa>::momentum(const Map& map) {
    simd::update_map<Isa, simd::MomentumRule>(map);
}
template <class Isa>
void Kernels<Isa>::nesterov(const Map& map) {
    simd::update_map<Isa, simd::NesterovRule>(map);
}
template <class Isa>
void Kernels<Isa>::adagrad(const Map& map) {
    simd::update_map<Isa, simd::AdaGradRule>(map);
}
template <class Isa>
void Kernels<Isa>::rmsprop(const Map& map) {
    simd::update_map<Isa, simd::RmsPropRule>(map);
}
template <class Isa>
void Kernels<Isa>::adam(const Map& map) {
    simd::update_map<Isa, simd::AdamRule>(map);
}
template <class Isa>
void Kernels<Isa>::adamw(const Map& map) {
    simd::update_map<Isa, simd::AdamWRule>(map);
}

template <class Isa>
void Kernels<Isa>::scale(const Map& map) {
    using V = simd::Vector<Isa>;
    const V factor = V::broadcast(map.constants[0]);
    simd::forward_map<Isa>(map, [factor](V x) FERRITE_INLINE_LAMBDA { return factor * x; });
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

template <class Isa>
void Kernels<Isa>::dropout(const DropoutArguments& d) {
    using V = simd::Vector<Isa>;
    constexpr std::size_t block = 16;
    const V scale = V::broadcast(d.scale);
    for (std::size_t i = 0; i < d.size; i += block) {
        // All of a block, also behind the end: a loop of fixed length, which compilers make vectors of.
        float kept[block];
        for (std::size_t k = 0; k < block; ++k) kept[k] = (d.random.bits(d.first + i + k) >> 40) > d.threshold ? 1.0f : 0.0f;
        for (std::size_t k = 0; k < block && i + k < d.size; k += V::width) {
            const std::size_t n = d.size - i - k < V::width ? d.size - i - k : V::width;
            const V y = scale * V::load_partial(d.x + i + k, n);
            select(V::load(kept + k) <= V::zero(), V::zero(), y).store_partial(d.y + i + k, n);
        }
    }
}

namespace simd {

/// body<vectors>(j, n) for blocks of columns from j on: 4 whole vectors, for chains that run side by side, 1 whole vector,
/// or one of n columns; n is the constant width but for that last one.
template <class Isa, class Body>
FERRITE_INLINE void column_blocks(std::size_t columns, Body body) {
    constexpr std::size_t width = Vector<Isa>::width;
    std::size_t j = 0;
    for (; j + 4 * width <= columns; j += 4 * width) body.template operator()<4>(j, width);
    for (; j + width <= columns; j += width) body.template operator()<1>(j, width);
    if (j < columns) body.template operator()<1>(j, columns - j);
}

/// dgamma and dbeta of a normalization; the statistics are those of columns or of rows.
template <class Isa, bool of_rows>
FERRITE_INLINE void scale_and_shift_gradients(const Normalization& a) {
    using V = Vector<Isa>;
    column_blocks<Isa>(a.columns, [&]<int vectors>(std::size_t j, std::size_t n) FERRITE_INLINE_LAMBDA {
        V dgamma[vectors], dbeta[vectors], mean[vectors], inverse[vectors];
        for (std::size_t v = 0; v < vectors; ++v) {
            dgamma[v] = dbeta[v] = V::zero();
            if (of_rows) continue;
            mean[v] = V::load_partial(a.mean + j + v * V::width, n);
            inverse[v] = V::load_partial(a.inverse + j + v * V::width, n);
        }
        for (std::size_t r = 0; r < a.rows; ++r) {
            for (std::size_t v = 0; v < vectors; ++v) {
                const std::size_t at = r * a.columns + j + v * V::width;
                if (of_rows) {
                    mean[v] = V::broadcast(a.mean[r]);
                    inverse[v] = V::broadcast(a.inverse[r]);
                }
                const V dy = V::load_partial(a.dy + at, n);
                dgamma[v] = fma(dy, (V::load_partial(a.x + at, n) - mean[v]) * inverse[v], dgamma[v]);
                dbeta[v] = dbeta[v] + dy;
            }
        }
        for (std::size_t v = 0; v < vectors; ++v) {
            dgamma[v].store_partial(a.dgamma + j + v * V::width, n);
            dbeta[v].store_partial(a.dbeta + j + v * V::width, n);
        }
    });
}

}  // namespace simd

template <class Isa>
void Kernels<Isa>::batch_norm(const Normalization& a) {
    using V = simd::Vector<Isa>;
    const V one = V::broadcast(1.0f), count = V::broadcast(static_cast<float>(a.rows)), epsilon = V::broadcast(a.epsilon);
    const V momentum = V::broadcast(a.momentum), rest = one - momentum;
    simd::column_blocks<Isa>(a.columns, [&]<int vectors>(std::size_t j, std::size_t n) FERRITE_INLINE_LAMBDA {
        const float* const x = a.x + j;
        V mean[vectors], variance[vectors], inverse[vectors], gamma[vectors], beta[vectors];
        for (int v = 0; v < vectors; ++v) mean[v] = variance[v] = V::zero();
        for (std::size_t r = 0; r < a.rows; ++r)
            for (std::size_t v = 0; v < vectors; ++v)
                mean[v] = mean[v] + V::load_partial(x + r * a.columns + v * V::width, n);
        for (int v = 0; v < vectors; ++v) mean[v] = mean[v] / count;
        for (std::size_t r = 0; r < a.rows; ++r)
            for (std::size_t v = 0; v < vectors; ++v) {
                const V t = V::load_partial(x + r * a.columns + v * V::width, n) - mean[v];
                variance[v] = fma(t, t, variance[v]);
            }
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::size_t at = j + v * V::width;
            variance[v] = variance[v] / count;
            inverse[v] = one / sqrt(variance[v] + epsilon);
            mean[v].store_partial(a.mean + at, n);
            inverse[v].store_partial(a.inverse + at, n);
            gamma[v] = V::load_partial(a.gamma + at, n);
            beta[v] = V::load_partial(a.beta + at, n);
            if (a.rows == 1) continue;
            fma(momentum, V::load_partial(a.running_mean + at, n), rest * mean[v]).store_partial(a.running_mean + at, n);
            fma(momentum, V::load_partial(a.running_variance + at, n), rest * variance[v])
                .store_partial(a.running_variance + at, n);
        }
        for (std::size_t r = 0; r < a.rows; ++r)
            for (std::size_t v = 0; v < vectors; ++v) {
                const std::size_t at = r * a.columns + v * V::width;
                const V normalized = (V::load_partial(x + at, n) - mean[v]) * inverse[v];
                fma(gamma[v], normalized, beta[v]).store_partial(a.y + j + at, n);
            }
    });
}

template <class Isa>
void Kernels<Isa>::batch_norm_inference(const Normalization& a) {
    using V = simd::Vector<Isa>;
    const V one = V::broadcast(1.0f), epsilon = V::broadcast(a.epsilon);
    simd::column_blocks<Isa>(a.columns, [&]<int vectors>(std::size_t j, std::size_t n) FERRITE_INLINE_LAMBDA {
        V mean[vectors], factor[vectors], beta[vectors];
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::size_t at = j + v * V::width;
            factor[v] = V::load_partial(a.gamma + at, n) *
                        (one / sqrt(V::load_partial(a.running_variance + at, n) + epsilon));
            mean[v] = a.running_mean == nullptr ? V::zero() : V::load_partial(a.running_mean + at, n);
            beta[v] = a.beta == nullptr ? V::zero() : V::load_partial(a.beta + at, n);
        }
        for (std::size_t r = 0; r < a.rows; ++r)
            for (std::size_t v = 0; v < vectors; ++v) {
                const std::size_t at = r * a.columns + j + v * V::width;
                fma(V::load_partial(a.x + at, n) - mean[v], factor[v], beta[v]).store_partial(a.y + at, n);
            }
    });
}

template <class Isa>
void Kernels<Isa>::batch_norm_backward(const Normalization& a) {
    using V = simd::Vector<Isa>;
    simd::scale_and_shift_gradients<Isa, false>(a);
    if (a.y == nullptr) return;
    const V count = V::broadcast(static_cast<float>(a.rows));
    simd::column_blocks<Isa>(a.columns, [&]<int vectors>(std::size_t j, std::size_t n) FERRITE_INLINE_LAMBDA {
        V mean[vectors], inverse[vectors], factor[vectors], of_normalized[vectors], shift[vectors];
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::size_t at = j + v * V::width;
            mean[v] = V::load_partial(a.mean + at, n);
            inverse[v] = V::load_partial(a.inverse + at, n);
            factor[v] = V::load_partial(a.gamma + at, n) * inverse[v];
            of_normalized[v] = V::load_partial(a.dgamma + at, n) / count;
            shift[v] = V::load_partial(a.dbeta + at, n) / count;
        }
        for (std::size_t r = 0; r < a.rows; ++r)
            for (std::size_t v = 0; v < vectors; ++v) {
                const std::size_t at = r * a.columns + j + v * V::width;
                const V normalized = (V::load_partial(a.x + at, n) - mean[v]) * inverse[v];
                const V dx = factor[v] * fma(-normalized, of_normalized[v], V::load_partial(a.dy + at, n) - shift[v]);
                dx.store_partial(a.y + at, n);
            }
    });
}

template <class Isa>
void Kernels<Isa>::layer_norm(const Normalization& a) {
    using V = simd::Vector<Isa>;
    const V count = V::broadcast(static_cast<float>(a.columns));
    for (std::size_t r = 0; r < a.rows; ++r) {
        const float* const x = a.x + r * a.columns;
        float* const y = a.y + r * a.columns;
        auto sum = simd::Lanes16<V>::broadcast(0.0f);
        sum.add(x, a.columns);
        const V mean = V::broadcast(reduce_add(sum)) / count;
        auto squares = simd::Lanes16<V>::broadcast(0.0f);
        squares.fold(a.columns, [&](V lane, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
            const V t = V::load_partial(x + i, n) - mean;
            return fma(t, t, lane);
        });
        const V variance = V::broadcast(reduce_add(squares)) / count;
        const V inverse = V::broadcast(1.0f) / sqrt(variance + V::broadcast(a.epsilon));
        if (a.mean != nullptr) {
            mean.store_partial(a.mean + r, 1);
            inverse.store_partial(a.inverse + r, 1);
        }
        for (std::size_t i = 0; i < a.columns; i += V::width) {
            const std::size_t n = a.columns - i < V::width ? a.columns - i : V::width;
            const V normalized = (V::load_partial(x + i, n) - mean) * inverse;
            fma(V::load_partial(a.gamma + i, n), normalized, V::load_partial(a.beta + i, n)).store_partial(y + i, n);
        }
    }
}

template <class Isa>
void Kernels<Isa>::layer_norm_backward(const Normalization& a) {
    using V = simd::Vector<Isa>;
    if (a.dgamma != nullptr) simd::scale_and_shift_gradients<Isa, true>(a);
    if (a.y == nullptr) return;
    const V count = V::broadcast(static_cast<float>(a.columns));
    for (std::size_t r = 0; r < a.rows; ++r) {
        const float* const x = a.x + r * a.columns;
        const float* const dy = a.dy + r * a.columns;
        float* const dx = a.y + r * a.columns;
        const V mean = V::broadcast(a.mean[r]), inverse = V::broadcast(a.inverse[r]);
        auto sum = simd::Lanes16<V>::broadcast(0.0f);
        sum.add_products(dy, a.gamma, a.columns);
        auto products = simd::Lanes16<V>::broadcast(0.0f);
        products.fold(a.columns, [&](V lane, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
            const V g = V::load_partial(dy + i, n) * V::load_partial(a.gamma + i, n);
            return fma(g, (V::load_partial(x + i, n) - mean) * inverse, lane);
        });
        const V shift = V::broadcast(reduce_add(sum)) / count, of_normalized = V::broadcast(reduce_add(products)) / count;
        for (std::size_t i = 0; i < a.columns; i += V::width) {
            const std::size_t n = a.columns - i < V::width ? a.columns - i : V::width;
            const V g = V::load_partial(dy + i, n) * V::load_partial(a.gamma + i, n);
            const V normalized = (V::load_partial(x + i, n) - mean) * inverse;
            (inverse * fma(-normalized, of_normalized, g - shift)).store_partial(dx + i, n);
        }
    }
}

}  // namespace ferrite
