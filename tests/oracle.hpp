// SPDX-License-Identifier: MIT
// The kernels once more: plain scalar loops with std::fma, written from the formulas and orders of kernels.hpp,
// optimizer.hpp and loss.hpp and not from the bodies. exp, log, tanh and sigmoid are those of simd/math.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/optimizer.hpp>
#include <ferrite/simd/math.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace ferrite::oracle {

template <class F>
float of_scalar(float x, F f) {
    float result;
    f(simd::Vector<Scalar>::broadcast(x)).store(&result);
    return result;
}
inline float exp(float x) {
    return of_scalar(x, [](auto v) { return simd::exp(v); });
}
inline float log(float x) {
    return of_scalar(x, [](auto v) { return simd::log(v); });
}
inline float tanh(float x) {
    return of_scalar(x, [](auto v) { return simd::tanh(v); });
}
inline float sigmoid(float x) {
    return of_scalar(x, [](auto v) { return simd::sigmoid(v); });
}

inline float max(float a, float b) { return a > b ? a : b; }
inline float min(float a, float b) { return a < b ? a : b; }

/// lane = step(lane, i) over 16 virtual lanes, then the tree of `combine`.
template <class Step, class Combine>
float reduce(std::size_t n, float start, Step step, Combine combine) {
    float lane[16];
    for (float& l : lane) l = start;
    for (std::size_t i = 0; i < n; ++i) lane[i % 16] = step(lane[i % 16], i);
    for (std::size_t half : {8u, 4u, 2u, 1u})
        for (std::size_t i = 0; i < half; ++i) lane[i] = combine(lane[i], lane[i + half]);
    return lane[0];
}
template <class Step>
float sum(std::size_t n, Step step) {
    return reduce(n, 0.0f, step, [](float a, float b) { return a + b; });
}
inline float largest(const float* x, std::size_t n) {
    return reduce(n, -std::numeric_limits<float>::infinity(), [x](float lane, std::size_t i) { return max(lane, x[i]); },
                  max);
}

/// A map: changes v[0] and the `states` values from v[2] on; v holds the element of each operand.
struct MapFormula {
    int operands;
    int states;
    void (*element)(float* v, const float* constants);
};

inline void map(const Map& m, const MapFormula& f) {
    for (std::size_t r = 0; r < m.rows; ++r)
        for (std::size_t c = 0; c < m.columns; ++c) {
            float v[4]{};
            for (int i = 0; i < f.operands; ++i) v[i] = m.operand[i][r * m.stride[i] + c];
            f.element(v, m.constants);
            m.operand[0][r * m.stride[0] + c] = v[0];
            for (int i = 2; i < 2 + f.states; ++i) m.operand[i][r * m.stride[i] + c] = v[i];
        }
}

inline constexpr MapFormula scale_map{2, 0, [](float* v, const float* k) { v[0] = k[0] * v[1]; }};
inline constexpr MapFormula relu{2, 0, [](float* v, const float*) { v[0] = 0.0f > v[1] ? 0.0f : v[1]; }};
inline constexpr MapFormula relu_backward{3, 0, [](float* v, const float*) { v[0] = v[2] <= 0.0f ? 0.0f : v[1]; }};
inline constexpr MapFormula leaky_relu{2, 0, [](float* v, const float* k) { v[0] = v[1] <= 0.0f ? k[0] * v[1] : v[1]; }};
inline constexpr MapFormula leaky_relu_backward{
    3, 0, [](float* v, const float* k) { v[0] = v[2] <= 0.0f ? k[0] * v[1] : v[1]; }};
inline constexpr MapFormula sigmoid_map{2, 0, [](float* v, const float*) { v[0] = sigmoid(v[1]); }};
inline constexpr MapFormula sigmoid_backward{3, 0, [](float* v, const float*) {
                                                 const float rest = 1.0f - v[2];
                                                 const float slope = v[2] * rest;
                                                 v[0] = v[1] * slope;
                                             }};
inline constexpr MapFormula tanh_map{2, 0, [](float* v, const float*) { v[0] = tanh(v[1]); }};
inline constexpr MapFormula tanh_backward{3, 0, [](float* v, const float*) {
                                              const float square = v[2] * v[2];
                                              v[0] = v[1] * (1.0f - square);
                                          }};
inline constexpr float gelu_2c = 1.5957691216057308f;  // 2 sqrt(2 / pi)
inline float gelu_gate(float x) {
    const float square = x * x;
    return sigmoid(gelu_2c * std::fma(0.044715f * square, x, x));
}
inline constexpr MapFormula gelu{2, 0, [](float* v, const float*) { v[0] = v[1] * gelu_gate(v[1]); }};
inline constexpr MapFormula gelu_backward{3, 0, [](float* v, const float*) {
                                              const float x = v[2], s = gelu_gate(x);
                                              const float square = x * x;
                                              const float inner = gelu_2c * std::fma(0.134145f, square, 1.0f);
                                              const float slope = s * (1.0f - s);
                                              v[0] = v[1] * std::fma(x * slope, slope <= 0.0f ? 0.0f : inner, s);
                                          }};

/// Map::constants of an optimizer by the names of UpdateConstants.
inline UpdateConstants named(const float* k) {
    return {.gradient_scale = k[0], .clip = k[1], .weight_decay = k[2], .rate = k[3],
            .a = k[4], .b = k[5], .c = k[6], .d = k[7]};
}
/// g' of UpdateConstants.
inline float clipped(float g, const UpdateConstants& k) {
    const float scaled = k.gradient_scale * g;
    return min(k.clip, max(-k.clip, scaled));
}
/// g of UpdateConstants.
inline float gradient(const float* v, const UpdateConstants& k) {
    return std::fma(k.weight_decay, v[0], clipped(v[1], k));
}
inline void adam_step(float p, float g, float* v, const UpdateConstants& k) {
    v[2] = std::fma(k.a, v[2], (1.0f - k.a) * g);
    const float square = g * g;
    v[3] = std::fma(k.b, v[3], (1.0f - k.b) * square);
    const float step = k.rate * v[2];
    const float root = std::sqrt(v[3] * k.c);
    v[0] = p - step / (root + k.d);
}

inline constexpr MapFormula sgd{2, 0, [](float* v, const float* constants) {
                                    const UpdateConstants k = named(constants);
                                    v[0] = std::fma(-k.rate, gradient(v, k), v[0]);
                                }};
inline constexpr MapFormula momentum{3, 1, [](float* v, const float* constants) {
                                         const UpdateConstants k = named(constants);
                                         const float step = k.rate * gradient(v, k);
                                         v[2] = std::fma(k.a, v[2], -step);
                                         v[0] = v[0] + v[2];
                                     }};
inline constexpr MapFormula nesterov{3, 1, [](float* v, const float* constants) {
                                         const UpdateConstants k = named(constants);
                                         const float step = k.rate * gradient(v, k);
                                         v[0] = std::fma(-k.c, step, std::fma(k.b, v[2], v[0]));
                                         v[2] = std::fma(k.a, v[2], -step);
                                     }};
inline constexpr MapFormula adagrad{3, 1, [](float* v, const float* constants) {
                                        const UpdateConstants k = named(constants);
                                        const float g = gradient(v, k);
                                        v[2] = std::fma(g, g, v[2]);
                                        const float step = k.rate * g;
                                        v[0] = v[0] - step / (std::sqrt(v[2]) + k.d);
                                    }};
inline constexpr MapFormula rmsprop{3, 1, [](float* v, const float* constants) {
                                        const UpdateConstants k = named(constants);
                                        const float g = gradient(v, k);
                                        const float square = g * g;
                                        v[2] = std::fma(k.a, v[2], k.b * square);
                                        const float step = k.rate * g;
                                        v[0] = v[0] - step / (std::sqrt(v[2]) + k.d);
                                    }};
inline constexpr MapFormula adam{4, 2, [](float* v, const float* constants) {
                                     const UpdateConstants k = named(constants);
                                     adam_step(v[0], gradient(v, k), v, k);
                                 }};
inline constexpr MapFormula adamw{4, 2, [](float* v, const float* constants) {
                                      const UpdateConstants k = named(constants);
                                      const float decayed = std::fma(-k.weight_decay, v[0], v[0]);
                                      adam_step(decayed, clipped(v[1], k), v, k);
                                  }};

inline void gemm(const Gemm& g, const MapFormula* epilogue) {
    for (std::size_t i = 0; i < g.m; ++i)
        for (std::size_t j = 0; j < g.n; ++j) {
            float c = g.bias != nullptr ? g.bias[j] : 0.0f;
            for (std::size_t p = 0; p < g.k; ++p)
                c = std::fma(g.a[i * g.a_row + p * g.a_step], g.b[p * g.b_row + j], c);
            g.c[i * g.c_row + j] = c;
        }
    if (epilogue != nullptr) map({{g.c, g.c}, {g.c_row, g.c_row}, g.m, g.n, g.constants}, *epilogue);
}

/// All sums come first, from the memory as it is before the call; what is written follows.
inline void dense_backward(const DenseBackward& d, const MapFormula* derivative, const MapFormula* update) {
    const std::size_t B = d.batch, I = d.inputs, O = d.outputs;
    std::vector<float> dx(B * I), dw(I * O), db(O), aux;
    if (d.dx != nullptr) {
        for (std::size_t r = 0; r < B; ++r)
            for (std::size_t i = 0; i < I; ++i)
                for (std::size_t o = 0; o < O; ++o)
                    dx[r * I + i] = std::fma(d.dy[r * O + o], d.w[i * O + o], dx[r * I + i]);
        if (derivative != nullptr)
            for (std::size_t r = 0; r < B; ++r) aux.insert(aux.end(), d.aux + r * d.row, d.aux + r * d.row + I);
    }
    const bool weights = d.dw != nullptr || update != nullptr;
    if (weights) {
        for (std::size_t i = 0; i < I; ++i)
            for (std::size_t o = 0; o < O; ++o)
                for (std::size_t r = 0; r < B; ++r)
                    dw[i * O + o] = std::fma(d.x[r * d.row + i], d.dy[r * O + o], dw[i * O + o]);
    }
    for (std::size_t o = 0; o < O; ++o)
        for (std::size_t r = 0; r < B; ++r) db[o] = db[o] + d.dy[r * O + o];

    if (d.dx != nullptr) {
        if (derivative != nullptr)
            map({{dx.data(), dx.data(), aux.data()}, {I, I, I}, B, I, d.derivative_constants}, *derivative);
        for (std::size_t i = 0; i < B * I; ++i) d.dx[i / I * d.row + i % I] = dx[i];
    }
    if (update != nullptr) {
        map({{d.w, dw.data(), d.w_state[0], d.w_state[1]}, {O, O, O, O}, I, O, d.w_constants}, *update);
        if (d.b != nullptr)
            map({{d.b, db.data(), d.b_state[0], d.b_state[1]}, {O, O, O, O}, 1, O, d.b_constants}, *update);
    } else if (weights) {
        for (std::size_t i = 0; i < I * O; ++i) d.dw[i] = dw[i];
        if (d.b != nullptr)
            for (std::size_t o = 0; o < O; ++o) d.db[o] = db[o];
    }
}

inline void softmax(const SoftmaxArguments& s) {
    for (std::size_t r = 0; r < s.rows; ++r) {
        const float* x = s.x + r * s.columns;
        float* y = s.y + r * s.columns;
        const float top = largest(x, s.columns);
        for (std::size_t c = 0; c < s.columns; ++c) y[c] = exp(x[c] - top);
        const float total = sum(s.columns, [y](float lane, std::size_t c) { return lane + y[c]; });
        for (std::size_t c = 0; c < s.columns; ++c) y[c] = y[c] / total;
    }
}

inline void softmax_backward(const SoftmaxArguments& s) {
    for (std::size_t r = 0; r < s.rows; ++r) {
        const float* p = s.x + r * s.columns;
        const float* dy = s.dy + r * s.columns;
        const float mean = sum(s.columns, [=](float lane, std::size_t c) { return std::fma(p[c], dy[c], lane); });
        for (std::size_t c = 0; c < s.columns; ++c) s.y[r * s.columns + c] = p[c] * (dy[c] - mean);
    }
}

inline void softmax_cross_entropy(const LossArguments& l) {
    const float rows = static_cast<float>(l.rows);
    const float scale = 1.0f / rows;
    float total = 0;
    for (std::size_t r = 0; r < l.rows; ++r) {
        const float* z = l.z + r * l.columns;
        float* dz = l.dz + r * l.columns;
        const std::size_t label = l.labels[r];
        const float top = largest(z, l.columns);
        const float at_label = label < l.columns ? z[label] : std::numeric_limits<float>::quiet_NaN();
        for (std::size_t c = 0; c < l.columns; ++c) dz[c] = exp(z[c] - top);
        const float denominator = sum(l.columns, [dz](float lane, std::size_t c) { return lane + dz[c]; });
        for (std::size_t c = 0; c < l.columns; ++c) {
            const float p = dz[c] / denominator;
            dz[c] = (c == label ? p - 1.0f : p) * scale;
        }
        total = total + (log(denominator) - (at_label - top));
    }
    *l.loss = total / rows;
}

/// `element`: z, t -> its loss and the gradient before it is divided by the number of elements.
template <class Element>
void target_loss(const LossArguments& l, Element element) {
    const float elements = static_cast<float>(l.rows * l.columns);
    const float scale = 1.0f / elements;
    float total = 0;
    for (std::size_t r = 0; r < l.rows; ++r) {
        const float row = sum(l.columns, [&](float lane, std::size_t c) {
            const std::size_t i = r * l.columns + c;
            float loss;
            const float slope = element(l.z[i], l.targets[i], loss);
            l.dz[i] = slope * scale;
            return lane + loss;
        });
        total = total + row;
    }
    *l.loss = total / elements;
}

inline void binary_cross_entropy(const LossArguments& l) {
    target_loss(l, [](float z, float t, float& loss) {
        const float product = z * t;
        loss = (max(0.0f, z) - product) + log(1.0f + exp(-std::fabs(z)));
        return sigmoid(z) - t;
    });
}

inline void mean_squared_error(const LossArguments& l) {
    target_loss(l, [](float z, float t, float& loss) {
        const float e = z - t;
        loss = e * e;
        return 2.0f * e;
    });
}

inline void huber(const LossArguments& l) {
    const float delta = l.constant;
    target_loss(l, [delta](float z, float t, float& loss) {
        const float e = z - t;
        const float square = e * e;
        loss = std::fabs(e) <= delta ? 0.5f * square : delta * (std::fabs(e) - 0.5f * delta);
        return min(delta, max(-delta, e));
    });
}

inline void scale_and_shift_gradients(const Normalization& a, bool of_rows) {
    for (std::size_t c = 0; c < a.columns; ++c) {
        float dgamma = 0, dbeta = 0;
        for (std::size_t r = 0; r < a.rows; ++r) {
            const std::size_t i = r * a.row + c, s = of_rows ? r : c;
            dgamma = std::fma(a.dy[i], (a.x[i] - a.mean[s]) * a.inverse[s], dgamma);
            dbeta = dbeta + a.dy[i];
        }
        a.dgamma[c] = dgamma;
        a.dbeta[c] = dbeta;
    }
}

inline void batch_norm(const Normalization& a) {
    const float n = static_cast<float>(a.rows);
    for (std::size_t c = 0; c < a.columns; ++c) {
        float mean = 0, variance = 0;
        for (std::size_t r = 0; r < a.rows; ++r) mean = mean + a.x[r * a.row + c];
        mean = mean / n;
        for (std::size_t r = 0; r < a.rows; ++r) {
            const float t = a.x[r * a.row + c] - mean;
            variance = std::fma(t, t, variance);
        }
        variance = variance / n;
        a.mean[c] = mean;
        a.inverse[c] = 1.0f / std::sqrt(variance + a.epsilon);
        const float rest = 1.0f - a.momentum;
        if (a.rows > 1) {
            a.running_mean[c] = std::fma(a.momentum, a.running_mean[c], rest * mean);
            a.running_variance[c] = std::fma(a.momentum, a.running_variance[c], rest * variance);
        }
        for (std::size_t r = 0; r < a.rows; ++r) {
            const std::size_t i = r * a.row + c;
            a.y[i] = std::fma(a.gamma[c], (a.x[i] - mean) * a.inverse[c], a.beta[c]);
        }
    }
}

inline void batch_norm_inference(const Normalization& a) {
    for (std::size_t at = 0; at < a.rows * a.columns; ++at) {
        const std::size_t c = at % a.columns, i = at / a.columns * a.row + c;
        const float factor = a.gamma[c] * (1.0f / std::sqrt(a.running_variance[c] + a.epsilon));
        const float mean = a.running_mean == nullptr ? 0.0f : a.running_mean[c];
        a.y[i] = std::fma(a.x[i] - mean, factor, a.beta == nullptr ? 0.0f : a.beta[c]);
    }
}

inline void batch_norm_backward(const Normalization& a) {
    scale_and_shift_gradients(a, false);
    if (a.y == nullptr) return;
    const float n = static_cast<float>(a.rows);
    for (std::size_t at = 0; at < a.rows * a.columns; ++at) {
        const std::size_t c = at % a.columns, i = at / a.columns * a.row + c;
        const float normalized = (a.x[i] - a.mean[c]) * a.inverse[c];
        const float shifted = a.dy[i] - a.dbeta[c] / n;
        a.y[i] = (a.gamma[c] * a.inverse[c]) * std::fma(-normalized, a.dgamma[c] / n, shifted);
    }
}

inline void layer_norm(const Normalization& a) {
    const float n = static_cast<float>(a.columns);
    for (std::size_t r = 0; r < a.rows; ++r) {
        const float* x = a.x + r * a.row;
        const float mean = sum(a.columns, [x](float lane, std::size_t i) { return lane + x[i]; }) / n;
        const float variance = sum(a.columns, [x, mean](float lane, std::size_t i) {
            const float t = x[i] - mean;
            return std::fma(t, t, lane);
        }) / n;
        const float inverse = 1.0f / std::sqrt(variance + a.epsilon);
        if (a.mean != nullptr) a.mean[r] = mean, a.inverse[r] = inverse;
        for (std::size_t c = 0; c < a.columns; ++c)
            a.y[r * a.row + c] = std::fma(a.gamma[c], (x[c] - mean) * inverse, a.beta[c]);
    }
}

inline void layer_norm_backward(const Normalization& a) {
    if (a.dgamma != nullptr) scale_and_shift_gradients(a, true);
    if (a.y == nullptr) return;
    const float n = static_cast<float>(a.columns);
    for (std::size_t r = 0; r < a.rows; ++r) {
        const float *x = a.x + r * a.row, *dy = a.dy + r * a.row;
        const float mean = a.mean[r], inverse = a.inverse[r];
        const auto normalized = [=](std::size_t i) { return (x[i] - mean) * inverse; };
        const float shift = sum(a.columns, [&](float lane, std::size_t i) { return std::fma(dy[i], a.gamma[i], lane); }) / n;
        const float slope = sum(a.columns, [&](float lane, std::size_t i) {
            return std::fma(dy[i] * a.gamma[i], normalized(i), lane);
        }) / n;
        for (std::size_t c = 0; c < a.columns; ++c) {
            const float g = dy[c] * a.gamma[c];
            a.y[r * a.row + c] = inverse * std::fma(-normalized(c), slope, g - shift);
        }
    }
}

inline void dropout(const DropoutArguments& d) {
    for (std::size_t i = 0; i < d.size; ++i) {
        const float y = d.scale * d.x[i];
        d.y[i] = (d.random.bits(d.first + i) >> 40) > d.threshold ? y : 0.0f;
    }
}

inline void pixels(const Pixels& a) {
    for (std::size_t i = 0; i < a.size; ++i) a.y[i] = static_cast<float>(a.x[i]) / 255.0f;
}

inline void sum_of_squares(const SumOfSquares& s) {
    *s.result = sum(s.size, [&s](float lane, std::size_t i) { return std::fma(s.x[i], s.x[i], lane); });
}

}  // namespace ferrite::oracle
