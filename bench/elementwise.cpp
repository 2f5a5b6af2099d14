// SPDX-License-Identifier: MIT
// What is neither a product nor an optimizer: activations over the hidden layer of a batch of 100, softmax
// and the cross entropy, against a pass that moves the same streams.
#include <cmath>

#include "bench.hpp"

namespace ferrite::bench {

namespace {

constexpr std::size_t rows = 100, columns = 100;

double wide(float x) { return static_cast<double>(x); }

/// Within 1e-5 of a double-precision result, relative to at least 1.
bool close(float value, double expected) {
    return std::abs(wide(value) - expected) <= 1e-5 * (1 + std::abs(expected));
}

struct Activation {
    const Kernel<Map>* forward;
    const Kernel<Map>* backward;
    double (*f)(double x);
    double (*derivative)(double x);
    bool keeps_input;  ///< the backward pass is a function of x, not of y
};

double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double gelu_inner(double x) { return 0.7978845608028654 * (x + 0.044715 * x * x * x); }

constexpr float slope = 0.125f;

const Activation activations[] = {
    {&kernels::relu, &kernels::relu_backward, [](double x) { return x > 0 ? x : 0; },
     [](double x) { return x > 0 ? 1.0 : 0.0; }, false},
    {&kernels::leaky_relu, &kernels::leaky_relu_backward,
     [](double x) { return x > 0 ? x : wide(slope) * x; }, [](double x) { return x > 0 ? 1 : wide(slope); },
     false},
    {&kernels::sigmoid, &kernels::sigmoid_backward, logistic,
     [](double x) { return logistic(x) * (1 - logistic(x)); }, false},
    {&kernels::tanh, &kernels::tanh_backward, [](double x) { return std::tanh(x); },
     [](double x) { return 1 - std::tanh(x) * std::tanh(x); }, false},
    {&kernels::gelu, &kernels::gelu_backward,
     [](double x) { return 0.5 * x * (1 + std::tanh(gelu_inner(x))); },
     [](double x) {
         const double t = std::tanh(gelu_inner(x));
         return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
     },
     true},
};

/// `limit` moves the streams of `run` over limit_elements(size) elements.
template <class Run, class Limit>
void time(benchmark::State& state, std::size_t size, std::size_t streams, const Run& run,
          const Limit& limit) {
    const Timing t = compare_with_bandwidth(state, size, 4.0 * static_cast<double>(streams), run, limit);
    state.counters["ns/element"] = 1e9 * t.seconds / static_cast<double>(size);
}

void activate(benchmark::State& state, const Activation& a, bool backward) {
    constexpr std::size_t size = rows * columns;
    Floats x = numbers(limit_elements(size), 1, -4, 4), dy = numbers(limit_elements(size), 2);
    Floats y(limit_elements(size)), dx(limit_elements(size));
    const float constants[8] = {slope};
    const Map forward_map{
        {y.data(), x.data(), nullptr, nullptr}, {columns, columns, 0, 0}, rows, columns, constants};
    (*a.forward)(forward_map);
    const Map backward_map{{dx.data(), dy.data(), a.keeps_input ? x.data() : y.data(), nullptr},
                           {columns, columns, columns, 0},
                           rows,
                           columns,
                           constants};
    (*a.backward)(backward_map);
    for (std::size_t i = 0; i < size; ++i)
        if (!close(y[i], a.f(wide(x[i]))) || !close(dx[i], wide(dy[i]) * a.derivative(wide(x[i]))))
            return fail(state, "an element differs from the formula in double precision");

    Floats to(limit_elements(size));
    const Map limit{{to.data(), dy.data(), x.data(), nullptr}, {}, 1, limit_elements(size), nullptr};
    if (backward)
        time(
            state, size, 3, [&] { (*a.backward)(backward_map); }, [&] { move_backward(limit); });
    else
        time(
            state, size, 2, [&] { (*a.forward)(forward_map); }, [&] { move(limit); });
}

/// The sum of exp(x - max x) over a row, and that maximum.
struct RowSum {
    double top, sum;
};
RowSum row_sum(const float* x, std::size_t n) {
    RowSum r{wide(*std::max_element(x, x + n)), 0};
    for (std::size_t i = 0; i < n; ++i) r.sum += std::exp(wide(x[i]) - r.top);
    return r;
}

void softmax(benchmark::State& state, std::size_t width) {
    const std::size_t size = rows * width;
    const Floats x = numbers(limit_elements(size), 1, -4, 4);
    Floats y(limit_elements(size));
    const SoftmaxArguments arguments{x.data(), nullptr, y.data(), rows, width};
    kernels::softmax(arguments);
    for (std::size_t i = 0; i < size; ++i) {
        const RowSum row = row_sum(x.data() + i / width * width, width);
        if (!close(y[i], std::exp(wide(x[i]) - row.top) / row.sum))
            return fail(state, "a probability differs from the formula in double precision");
    }
    Floats to(limit_elements(size));
    const Map limit{{to.data(), const_cast<float*>(x.data()), nullptr, nullptr}, {}, 1, to.size(), nullptr};
    time(
        state, size, 2, [&] { kernels::softmax(arguments); }, [&] { move(limit); });
}

void cross_entropy(benchmark::State& state, std::size_t width) {
    const std::size_t size = rows * width;
    const Floats z = numbers(limit_elements(size), 1, -4, 4);
    Floats dz(limit_elements(size));
    std::vector<std::uint16_t> labels(rows);
    for (std::size_t r = 0; r < rows; ++r) labels[r] = static_cast<std::uint16_t>(7 * r % width);
    float loss = 0;
    const LossArguments arguments{.z = z.data(),
                                  .labels = labels.data(),
                                  .targets = nullptr,
                                  .dz = dz.data(),
                                  .loss = &loss,
                                  .rows = rows,
                                  .columns = width,
                                  .constant = 0};
    kernels::softmax_cross_entropy(arguments);
    double expected = 0;
    bool right = true;
    for (std::size_t r = 0; r < rows; ++r) {
        const float* row = z.data() + r * width;
        const RowSum s = row_sum(row, width);
        expected += (std::log(s.sum) + s.top - wide(row[labels[r]])) / rows;
        for (std::size_t i = 0; i < width; ++i)
            right = right && close(dz[r * width + i] * static_cast<float>(rows),
                                   std::exp(wide(row[i]) - s.top) / s.sum - (i == labels[r] ? 1 : 0));
    }
    if (!right || !close(loss, expected))
        return fail(state, "the loss differs from the formula in double precision");
    Floats to(limit_elements(size));
    const Map limit{{to.data(), const_cast<float*>(z.data()), nullptr, nullptr}, {}, 1, to.size(), nullptr};
    time(
        state, size, 2, [&] { kernels::softmax_cross_entropy(arguments); }, [&] { move(limit); });
}

}  // namespace

void add_elementwise() {
    for (const Activation& a : activations) {
        add(text("elementwise/", a.forward->name), [&a](benchmark::State& s) { activate(s, a, false); });
        add(text("elementwise/", a.backward->name), [&a](benchmark::State& s) { activate(s, a, true); });
    }
    for (const std::size_t width : {10u, 1000u}) {
        const std::string shape = text("/", rows, "x", width);
        add("elementwise/softmax" + shape, [width](benchmark::State& s) { softmax(s, width); });
        add("elementwise/softmax_cross_entropy" + shape,
            [width](benchmark::State& s) { cross_entropy(s, width); });
    }
}

}  // namespace ferrite::bench
