// SPDX-License-Identifier: MIT
// The bodies of everything that is not a matrix product: activations, optimizers, softmax, losses, sums. The contract
// is in kernels.hpp and optimizer.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/simd/math.hpp>
#include <ferrite/simd/update.hpp>
#include <ferrite/simd/vector.hpp>

namespace ferrite::simd {

/// begin(row), then body(p, i, count) for every run of at most `width` elements: those from p[o] + i on of each operand o; count
/// is the constant width but for the end of a row. Without gaps between them, all rows are one.
template <class Isa, int operands, std::size_t unroll, class Body, class Begin>
FERRITE_INLINE void each(const Map& map, Body body, Begin begin) {
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
        begin(row);
        if constexpr (is_helium<Isa>) {
            for (std::size_t left = columns / width; left != 0; --left) {
                body(p, 0, width);
                for (int o = 0; o < operands; ++o) {
                    p[o] += width;
                    asm("" : "+r"(p[o]));  // g++ would add an index to each, where a load or store goes on by itself
                }
            }
            if (columns % width != 0) body(p, 0, columns % width);
            continue;
        }
        std::size_t i = 0;
        if constexpr (unroll > 1 && !(width == 1 && built_for_size))
            for (; i + unroll * width <= columns; i += unroll * width)
                for (std::size_t v = 0; v < unroll; ++v) body(p, i + v * width, width);
        for (; i + width <= columns; i += width) body(p, i, width);
        if (width > 1 && i < columns) body(p, i, columns - i);
    }
}

template <class Isa, int operands, std::size_t unroll, class Body>
FERRITE_INLINE void each(const Map& map, Body body) {
    each<Isa, operands, unroll>(map, body, [](std::size_t) FERRITE_INLINE_LAMBDA {});
}

/// y = f(x)
template <class Isa, std::size_t unroll, class F>
FERRITE_INLINE void forward_map(const Map& map, F f) {
    using V = Vector<Isa>;
    each<Isa, 2, unroll>(map, [f](float** p, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        f(V::load_partial(p[1] + i, n)).store_partial(p[0] + i, n);
    });
}

/// dx = f(dy, kept)
template <class Isa, std::size_t unroll, class F>
FERRITE_INLINE void backward_map(const Map& map, F f) {
    using V = Vector<Isa>;
    each<Isa, 3, unroll>(map, [f](float** p, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        f(V::load_partial(p[1] + i, n), V::load_partial(p[2] + i, n)).store_partial(p[0] + i, n);
    });
}

/// How the gradients of a map become those of the rule.
enum class Gradients { as_they_are, clipped, outer_product };
/// p, states = Rule(constants, p, g, states).
template <class Isa, class Rule, std::size_t unroll, Gradients gradients>
FERRITE_INLINE void update_map(const Map& map, const UpdateVectors<Isa>& k) {
    using V = Vector<Isa>;
    using Constant = typename UpdateVectors<Isa>::Constant;
    Constant factor = Constant::zero();
    each<Isa, 2 + Rule::states, unroll>(
        map,
        [&, k](float** at, std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
            V p = V::load_partial(at[0] + i, n), g = V::load_partial(at[1] + i, n), s = V::zero(), t = V::zero();
            if constexpr (gradients == Gradients::clipped) g = k.clipped(g);
            if constexpr (gradients == Gradients::outer_product) g = fma(factor, g, V::zero());
            if constexpr (Rule::states > 0) s = V::load_partial(at[2] + i, n);
            if constexpr (Rule::states > 1) t = V::load_partial(at[3] + i, n);
            Rule::apply(k, p, g, s, t);
            p.store_partial(at[0] + i, n);
            if constexpr (Rule::states > 0) s.store_partial(at[2] + i, n);
            if constexpr (Rule::states > 1) t.store_partial(at[3] + i, n);
        },
        [&](std::size_t row) FERRITE_INLINE_LAMBDA {
            if constexpr (gradients == Gradients::outer_product) factor = Constant::broadcast(map.factor[row]);
        });
}
/// What changes no gradient, NaN included, is left out: three of the 15 operations of Adam.
template <class Isa, class Rule, std::size_t unroll>
FERRITE_INLINE void update_map(const Map& map) {
    const UpdateVectors<Isa> k(map.constants);
    if (map.factor != nullptr)
        update_map<Isa, Rule, unroll, Gradients::outer_product>(map, k);
    else if (!(Vector<Isa>::width == 1 && built_for_size) && map.constants[0] == 1.0f && map.constants[1] == __builtin_inff())
        update_map<Isa, Rule, unroll, Gradients::as_they_are>(map, k);
    else
        update_map<Isa, Rule, 1, Gradients::clipped>(map, k);
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

/// y = exp(x - top); answers the sum. Two vectors side by side where vectors are long.
template <class V>
FERRITE_SHARED float exponentials(const float* x, float* y, std::size_t n, float top) {
    auto sum = Lanes16<V>::broadcast(0.0f);
    if constexpr (V::width >= 8) {
        const auto two = [&](std::size_t i, std::size_t first, std::size_t second) FERRITE_INLINE_LAMBDA {
            const std::size_t count[2] = {first, second};
            V e[2];
            for (std::size_t v = 0; v < 2; ++v) e[v] = V::load_partial(x + i + v * V::width, count[v]) - V::broadcast(top);
            exp(e);
            for (std::size_t v = 0; v < 2; ++v) {
                e[v].store_partial(y + i + v * V::width, count[v]);
                V& lane = sum.part[v % Lanes16<V>::parts];
                lane = select(V::first(count[v]), lane + e[v], lane);
            }
        };
        std::size_t i = 0;
        for (; i + 2 * V::width <= n; i += 2 * V::width) two(i, V::width, V::width);
        const std::size_t left = n - i;
        if (left > 0) two(i, left < V::width ? left : V::width, left < V::width ? 0 : left - V::width);
    } else {
        sum.fold(n, [x, y, top](V lane, std::size_t i, std::size_t count) FERRITE_INLINE_LAMBDA {
            const V e = exp(V::load_partial(x + i, count) - V::broadcast(top));
            e.store_partial(y + i, count);
            return lane + e;
        });
    }
    return reduce_add(sum);
}
template <class V>
FERRITE_SHARED float largest(const float* x, std::size_t n) {
    auto lanes = Lanes16<V>::broadcast(-__builtin_inff());
    lanes.max_of(x, n);
    return reduce_max(lanes);
}

/// p = exp(x - top) / sum in registers, for `rows` rows of at most 16 columns side by side: a single row leaves most of the
/// processor idle, as each of its steps waits for the one before.
template <class V, std::size_t rows>
struct NarrowSoftmax {
    static constexpr std::size_t parts = Lanes16<V>::parts;
    std::size_t columns;
    V p[rows * parts];
    float top[rows], sum[rows];

    FERRITE_INLINE NarrowSoftmax(const float* x, std::size_t columns_of_x) : columns(columns_of_x) {
        for (std::size_t r = 0; r < rows; ++r) {
            auto lanes = Lanes16<V>::broadcast(-__builtin_inff());
            for (std::size_t i = 0; i < parts; ++i) {
                const V value = V::load_partial(x + r * columns + i * V::width, count(i));
                p[r * parts + i] = value;
                lanes.part[i] = select(V::first(count(i)), value, lanes.part[i]);
            }
            top[r] = reduce_max(lanes);
        }
        for (std::size_t v = 0; v < rows * parts; ++v) p[v] = p[v] - V::broadcast(top[v / parts]);
        exp(p);
        for (std::size_t r = 0; r < rows; ++r) {
            auto lanes = Lanes16<V>::broadcast(0.0f);
            for (std::size_t i = 0; i < parts; ++i)
                lanes.part[i] = select(V::first(count(i)), p[r * parts + i], lanes.part[i]);
            sum[r] = reduce_add(lanes);
        }
        for (std::size_t v = 0; v < rows * parts; ++v) p[v] = p[v] / V::broadcast(sum[v / parts]);
    }
    /// Columns of part i, from column i V::width on.
    FERRITE_INLINE std::size_t count(std::size_t i) const {
        const std::size_t first = i * V::width;
        return columns <= first ? 0 : columns - first < V::width ? columns - first : V::width;
    }
    /// y = factor p; y may be x.
    FERRITE_INLINE void store(float* y, V factor) const {
        for (std::size_t v = 0; v < rows * parts; ++v)
            (p[v] * factor).store_partial(y + v / parts * columns + v % parts * V::width, count(v % parts));
    }
};

/// dz, the sum of exponentials and z(label) - max z for the first of `n` rows from row `first` on, two at a time. Answers for
/// how many. A function of its own, as its registers would slow down what is done for a single row.
template <class Isa>
[[gnu::noinline]] std::size_t narrow_cross_entropy(const LossArguments& l, std::size_t first, std::size_t n, float scale,
                                                   float* sum, float* margin) {
    using V = Vector<Isa>;
    const std::uint16_t* labels = l.labels + first;
    const float* z = l.z + first * l.columns;
    float* dz = l.dz + first * l.columns;
    const std::size_t columns = l.columns;
    std::size_t done = 0;
    for (; done + 2 <= n; done += 2) {
        const NarrowSoftmax<V, 2> s(z, columns);
        float p[32];
        for (std::size_t v = 0; v < 32 / V::width; ++v) s.p[v].store(p + v * V::width);
        for (std::size_t k = 0; k < 2; ++k) {
            const std::size_t label = labels[done + k];
            sum[done + k] = s.sum[k];
            margin[done + k] = (label < columns ? z[k * columns + label] : __builtin_nanf("")) - s.top[k];
        }
        s.store(dz, V::broadcast(scale));
        for (std::size_t k = 0; k < 2; ++k) {
            const std::size_t label = labels[done + k];
            if (label < columns) dz[k * columns + label] = (p[16 * k + label] - 1.0f) * scale;
        }
        z += 2 * columns;
        dz += 2 * columns;
    }
    return done;
}

}  // namespace ferrite::simd

namespace ferrite {

template <class Isa>
void Kernels<Isa>::relu(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa, 4>(map, [](V x) FERRITE_INLINE_LAMBDA { return max(V::zero(), x); });
}
template <class Isa>
void Kernels<Isa>::relu_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa, 4>(map, [](V dy, V y) FERRITE_INLINE_LAMBDA { return select(y <= V::zero(), V::zero(), dy); });
}

template <class Isa>
void Kernels<Isa>::leaky_relu(const Map& map) {
    using V = simd::Vector<Isa>;
    const V slope = V::broadcast(map.constants[0]);
    simd::forward_map<Isa, 4>(map, [slope](V x) FERRITE_INLINE_LAMBDA { return select(x <= V::zero(), slope * x, x); });
}
template <class Isa>
void Kernels<Isa>::leaky_relu_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    const V slope = V::broadcast(map.constants[0]);
    simd::backward_map<Isa, 4>(
        map, [slope](V dy, V y) FERRITE_INLINE_LAMBDA { return select(y <= V::zero(), slope * dy, dy); });
}

template <class Isa>
void Kernels<Isa>::sigmoid(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa, 1>(map, [](V x) FERRITE_INLINE_LAMBDA { return simd::sigmoid(x); });
}
template <class Isa>
void Kernels<Isa>::sigmoid_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa, 4>(map,
                            [](V dy, V y) FERRITE_INLINE_LAMBDA { return dy * (y * (V::broadcast(1.0f) - y)); });
}

template <class Isa>
void Kernels<Isa>::tanh(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa, 1>(map, [](V x) FERRITE_INLINE_LAMBDA { return simd::tanh(x); });
}
template <class Isa>
void Kernels<Isa>::tanh_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa, 4>(map, [](V dy, V y) FERRITE_INLINE_LAMBDA { return dy * (V::broadcast(1.0f) - y * y); });
}

template <class Isa>
void Kernels<Isa>::gelu(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::forward_map<Isa, 1>(map, [](V x) FERRITE_INLINE_LAMBDA { return x * simd::gelu_gate(x); });
}
template <class Isa>
void Kernels<Isa>::gelu_backward(const Map& map) {
    using V = simd::Vector<Isa>;
    simd::backward_map<Isa, 1>(map, [](V dy, V x) FERRITE_INLINE_LAMBDA {
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
    simd::update_map<Isa, simd::SgdRule, 4>(map);
}
template <class Isa>
void Kernels<Isa>::momentum(const Map& map) {
    simd::update_map<Isa, simd::MomentumRule, 4>(map);
}
template <class Isa>
void Kernels<Isa>::nesterov(const Map& map) {
    simd::update_map<Isa, simd::NesterovRule, 4>(map);
}
template <class Isa>
void Kernels<Isa>::adagrad(const Map& map) {
    simd::update_map<Isa, simd::AdaGradRule, 2>(map);
}
template <class Isa>
void Kernels<Isa>::rmsprop(const Map& map) {
    simd::update_map<Isa, simd::RmsPropRule, 2>(map);
}
template <class Isa>
void Kernels<Isa>::adam(const Map& map) {
    simd::update_map<Isa, simd::AdamRule, 2>(map);
}
template <class Isa>
void Kernels<Isa>::adamw(const Map& map) {
    simd::update_map<Isa, simd::AdamWRule, 2>(map);
}

template <class Isa>
void Kernels<Isa>::scale(const Map& map) {
    using V = simd::Vector<Isa>;
    const V factor = V::broadcast(map.constants[0]);
    simd::forward_map<Isa, 4>(map, [factor](V x) FERRITE_INLINE_LAMBDA { return factor * x; });
}

template <class Isa>
void Kernels<Isa>::softmax(const SoftmaxArguments& arguments) {
    using V = simd::Vector<Isa>;
    const SoftmaxArguments s = arguments;
    std::size_t r = 0;
    if constexpr (V::width >= 8) {
        const V one = V::broadcast(1.0f);
        for (; s.columns <= 16 && r + 2 <= s.rows; r += 2)
            simd::NarrowSoftmax<V, 2>(s.x + r * s.columns, s.columns).store(s.y + r * s.columns, one);
    }
    for (; r < s.rows; ++r) {
        const float* x = s.x + r * s.columns;
        float* y = s.y + r * s.columns;
        const V total = V::broadcast(simd::exponentials<V>(x, y, s.columns, simd::largest<V>(x, s.columns)));
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
void Kernels<Isa>::softmax_cross_entropy(const LossArguments& arguments) {
    using V = simd::Vector<Isa>;
    const LossArguments l = arguments;
    const float rows = static_cast<float>(l.rows), scale = 1.0f / rows;
    float total = 0;
    // The logarithms of as many rows as a vector holds are taken at once.
    for (std::size_t first = 0; first < l.rows; first += V::width) {
        const std::size_t n = l.rows - first < V::width ? l.rows - first : V::width;
        float sum[V::width], margin[V::width];
        V::broadcast(1.0f).store(sum);
        std::size_t done = 0;
        if constexpr (V::width >= 8)
            if (l.columns <= 16 && n > 1) done = simd::narrow_cross_entropy<Isa>(l, first, n, scale, sum, margin);
        for (; done < n; ++done) {
            const std::size_t label = l.labels[first + done];
            const float* z = l.z + (first + done) * l.columns;
            float* dz = l.dz + (first + done) * l.columns;
            const float top = simd::largest<V>(z, l.columns);
            margin[done] = (label < l.columns ? z[label] : __builtin_nanf("")) - top;
            sum[done] = simd::exponentials<V>(z, dz, l.columns, top);
            const float p = label < l.columns ? dz[label] / sum[done] : 0.0f;
            for (std::size_t i = 0; i < l.columns; i += V::width) {
                const std::size_t count = l.columns - i < V::width ? l.columns - i : V::width;
                (V::load_partial(dz + i, count) / V::broadcast(sum[done]) * V::broadcast(scale)).store_partial(dz + i, count);
            }
            if (label < l.columns) dz[label] = (p - 1.0f) * scale;
        }
        float logarithm[V::width];
        // A vector would wait for a float that was stored just now.
        simd::log(n == 1 ? V::broadcast(sum[0]) : V::load(sum)).store(logarithm);
        for (std::size_t k = 0; k < n; ++k) total += logarithm[k] - margin[k];
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
    const V scale = V::broadcast(d.scale);
    const auto threshold = V::Int::broadcast(static_cast<std::int32_t>(d.threshold));
    const std::size_t size = d.size;
    const float* const x = d.x;
    float* const y = d.y;
    std::uint64_t counter = d.random.counter(d.first);
    const auto keep = [&](std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        const V kept = scale * V::load_partial(x + i, n);
        select(V::random_24(counter) > threshold, kept, V::zero()).store_partial(y + i, n);
        counter += V::width * Random::golden;
    };
    std::size_t i = 0;
    for (; i + V::width <= size; i += V::width) keep(i, V::width);
    if (i < size) keep(i, size - i);
}

namespace simd {

/// Columns side by side: `vectors` vectors from column `first` on, of which the last one starts at column `last` and has
/// n elements, the constant width but for fewer columns than that. It may share columns with the one before it, which is
/// cheaper than a partial store; so a body loads all vectors of a row before it stores one.
template <class Isa, int vectors>
struct ColumnBlock {
    std::size_t first, last, n;
    FERRITE_INLINE std::size_t operator[](int v) const {
        return v + 1 == vectors ? last : first + static_cast<std::size_t>(v) * Vector<Isa>::width;
    }
    FERRITE_INLINE Vector<Isa> load(const float* x, int v) const { return Vector<Isa>::load_partial(x + (*this)[v], n); }
    FERRITE_INLINE void store(float* x, int v, Vector<Isa> value) const { value.store_partial(x + (*this)[v], n); }
};

template <class Isa, int vectors, class Body>
FERRITE_INLINE void column_block(std::size_t count, std::size_t first, std::size_t last, Body body) {
    if (count == vectors) return body(ColumnBlock<Isa, vectors>{first, last, Vector<Isa>::width});
    if constexpr (vectors > 1) column_block<Isa, vectors - 1>(count, first, last, body);
}

/// body(ColumnBlock) for all columns, in blocks of `most` vectors but for the end, where no block is left with one vector: that
/// one would share columns with another block.
template <class Isa, int most, class Body>
FERRITE_INLINE void column_blocks(std::size_t columns, Body body) {
    constexpr std::size_t width = Vector<Isa>::width;
    if (columns < width) {
        if (columns > 0) body(ColumnBlock<Isa, 1>{0, 0, columns});
        return;
    }
    std::size_t left = (columns + width - 1) / width, first = 0;
    while (left > 0) {
        const std::size_t count = left <= most ? left : left == most + 1 ? most - 1 : most, end = first + count * width;
        column_block<Isa, most>(count, first, (end < columns ? end : columns) - width, body);
        left -= count;
        first = end;
    }
}

}  // namespace simd

// Chains of additions (latency 3 or 4) over rows run side by side; 4 vectors are whole cache lines, and their sums and
// constants fit 16 registers. The rows of a block are still in the nearest cache when they are normalized.
template <class Isa>
void Kernels<Isa>::batch_norm(const Normalization& arguments) {
    const Normalization a = arguments;
    using V = simd::Vector<Isa>;
    const V one = V::broadcast(1.0f), count = V::broadcast(static_cast<float>(a.rows)), epsilon = V::broadcast(a.epsilon);
    const V momentum = V::broadcast(a.momentum), rest = one - momentum;
    simd::column_blocks<Isa, 4>(a.columns, [&]<int vectors>(simd::ColumnBlock<Isa, vectors> c) FERRITE_INLINE_LAMBDA {
        const std::size_t size = a.rows * a.row;
        V mean[vectors], variance[vectors];
        for (int v = 0; v < vectors; ++v) mean[v] = variance[v] = V::zero();
        for (std::size_t r = 0; r < size; r += a.row)
            for (int v = 0; v < vectors; ++v) mean[v] = mean[v] + c.load(a.x + r, v);
        for (int v = 0; v < vectors; ++v) mean[v] = mean[v] / count;
        for (std::size_t r = 0; r < size; r += a.row)
            for (int v = 0; v < vectors; ++v) {
                const V t = c.load(a.x + r, v) - mean[v];
                variance[v] = fma(t, t, variance[v]);
            }
        for (int v = 0; v < vectors; ++v) {
            variance[v] = variance[v] / count;
            c.store(a.mean, v, mean[v]);
            c.store(a.inverse, v, one / sqrt(variance[v] + epsilon));
        }
        if (a.rows > 1) {
            V running_mean[vectors], running_variance[vectors];
            for (int v = 0; v < vectors; ++v) {
                running_mean[v] = fma(momentum, c.load(a.running_mean, v), rest * mean[v]);
                running_variance[v] = fma(momentum, c.load(a.running_variance, v), rest * variance[v]);
            }
            for (int v = 0; v < vectors; ++v) {
                c.store(a.running_mean, v, running_mean[v]);
                c.store(a.running_variance, v, running_variance[v]);
            }
        }
        V inverse[vectors], gamma[vectors], beta[vectors], y[vectors];
        for (int v = 0; v < vectors; ++v) {
            inverse[v] = c.load(a.inverse, v);
            gamma[v] = c.load(a.gamma, v);
            beta[v] = c.load(a.beta, v);
        }
        for (std::size_t r = 0; r < size; r += a.row) {
            for (int v = 0; v < vectors; ++v) y[v] = fma(gamma[v], (c.load(a.x + r, v) - mean[v]) * inverse[v], beta[v]);
            for (int v = 0; v < vectors; ++v) c.store(a.y + r, v, y[v]);
        }
    });
}

template <class Isa>
void Kernels<Isa>::batch_norm_inference(const Normalization& arguments) {
    const Normalization a = arguments;
    using V = simd::Vector<Isa>;
    const V one = V::broadcast(1.0f), epsilon = V::broadcast(a.epsilon);
    simd::column_blocks<Isa, 4>(a.columns, [&]<int vectors>(simd::ColumnBlock<Isa, vectors> c) FERRITE_INLINE_LAMBDA {
        V mean[vectors], factor[vectors], beta[vectors], y[vectors];
        for (int v = 0; v < vectors; ++v) {
            factor[v] = c.load(a.gamma, v) * (one / sqrt(c.load(a.running_variance, v) + epsilon));
            mean[v] = a.running_mean == nullptr ? V::zero() : c.load(a.running_mean, v);
            beta[v] = a.beta == nullptr ? V::zero() : c.load(a.beta, v);
        }
        for (std::size_t r = 0; r < a.rows * a.row; r += a.row) {
            for (int v = 0; v < vectors; ++v) y[v] = fma(c.load(a.x + r, v) - mean[v], factor[v], beta[v]);
            for (int v = 0; v < vectors; ++v) c.store(a.y + r, v, y[v]);
        }
    });
}

template <class Isa>
void Kernels<Isa>::batch_norm_backward(const Normalization& arguments) {
    const Normalization a = arguments;
    using V = simd::Vector<Isa>;
    const V count = V::broadcast(static_cast<float>(a.rows));
    simd::column_blocks<Isa, 4>(a.columns, [&]<int vectors>(simd::ColumnBlock<Isa, vectors> c) FERRITE_INLINE_LAMBDA {
        const std::size_t size = a.rows * a.row;
        V mean[vectors], inverse[vectors], dgamma[vectors], dbeta[vectors];
        for (int v = 0; v < vectors; ++v) {
            mean[v] = c.load(a.mean, v);
            inverse[v] = c.load(a.inverse, v);
            dgamma[v] = dbeta[v] = V::zero();
        }
        for (std::size_t r = 0; r < size; r += a.row)
            for (int v = 0; v < vectors; ++v) {
                const V dy = c.load(a.dy + r, v);
                dgamma[v] = fma(dy, (c.load(a.x + r, v) - mean[v]) * inverse[v], dgamma[v]);
                dbeta[v] = dbeta[v] + dy;
            }
        V factor[vectors], dx[vectors];
        for (int v = 0; v < vectors; ++v) {
            c.store(a.dgamma, v, dgamma[v]);
            c.store(a.dbeta, v, dbeta[v]);
            factor[v] = c.load(a.gamma, v) * inverse[v];
            dgamma[v] = -(dgamma[v] / count);
            dbeta[v] = dbeta[v] / count;
        }
        if (a.y == nullptr) return;
        for (std::size_t r = 0; r < size; r += a.row) {
            for (int v = 0; v < vectors; ++v) {
                const V normalized = (c.load(a.x + r, v) - mean[v]) * inverse[v];
                dx[v] = factor[v] * fma(normalized, dgamma[v], c.load(a.dy + r, v) - dbeta[v]);
            }
            for (int v = 0; v < vectors; ++v) c.store(a.y + r, v, dx[v]);
        }
    });
}

template <class Isa>
void Kernels<Isa>::layer_norm(const Normalization& arguments) {
    const Normalization a = arguments;
    using V = simd::Vector<Isa>;
    const V count = V::broadcast(static_cast<float>(a.columns));
    for (std::size_t r = 0; r < a.rows; ++r) {
        const float* const x = a.x + r * a.row;
        float* const y = a.y + r * a.row;
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
void Kernels<Isa>::layer_norm_backward(const Normalization& arguments) {
    const Normalization a = arguments;
    using V = simd::Vector<Isa>;
    if (a.dgamma != nullptr)
        simd::column_blocks<Isa, 4>(a.columns, [&]<int vectors>(simd::ColumnBlock<Isa, vectors> c) FERRITE_INLINE_LAMBDA {
            V dgamma[vectors], dbeta[vectors];
            for (int v = 0; v < vectors; ++v) dgamma[v] = dbeta[v] = V::zero();
            for (std::size_t r = 0; r < a.rows; ++r) {
                const V mean = V::broadcast(a.mean[r]), inverse = V::broadcast(a.inverse[r]);
                for (int v = 0; v < vectors; ++v) {
                    const V dy = c.load(a.dy + r * a.row, v);
                    dgamma[v] = fma(dy, (c.load(a.x + r * a.row, v) - mean) * inverse, dgamma[v]);
                    dbeta[v] = dbeta[v] + dy;
                }
            }
            for (int v = 0; v < vectors; ++v) {
                c.store(a.dgamma, v, dgamma[v]);
                c.store(a.dbeta, v, dbeta[v]);
            }
        });
    if (a.y == nullptr) return;
    const V count = V::broadcast(static_cast<float>(a.columns));
    for (std::size_t r = 0; r < a.rows; ++r) {
        const float* const x = a.x + r * a.row;
        const float* const dy = a.dy + r * a.row;
        float* const dx = a.y + r * a.row;
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

// 1 / 255 = high + low to 48 bits, and no x / 255 is that close to the middle of two floats: one rounding decides, as
// that of the division would, which takes twice as long on Zen 3 (a table of 256 floats: six times).
template <class Isa>
void Kernels<Isa>::pixels(const Pixels& a) {
    using V = simd::Vector<Isa>;
    const V high = V::broadcast(0x1.010102p-8f), low = V::broadcast(-0x1.fdfdfep-33f);
    const auto convert = [=](std::size_t i, std::size_t n) FERRITE_INLINE_LAMBDA {
        const V x = to_float(V::Int::load_bytes_partial(a.x + i, n));
        fma(x, high, x * low).store_partial(a.y + i, n);
    };
    std::size_t i = 0;
    for (; i + V::width <= a.size; i += V::width) convert(i, V::width);
    if (i < a.size) convert(i, a.size - i);
}

}  // namespace ferrite
