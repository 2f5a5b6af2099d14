// SPDX-License-Identifier: MIT
// Matrix products: cubes, and the three products of a dense layer at the sizes of small networks.
#include <cmath>
#include <cstring>
#include <span>

#include "bench.hpp"

namespace ferrite::bench {

namespace {

/// Enough to meet every tile and edge without taking longer than the measurement.
constexpr std::size_t checked_elements = 2000;

/// Whether c(i, j) = chain of std::fma over ascending p from start(j), for elements spread over the whole of
/// c.
template <class A, class B>
bool product_is_right(std::span<const float> c, std::size_t n, std::size_t k, const A& a, const B& b,
                      const float* start) {
    const std::size_t step = std::max<std::size_t>(1, c.size() / checked_elements) | 1;
    for (std::size_t at = 0; at < c.size(); at += step) {
        const std::size_t i = at / n, j = at % n;
        float expected = start ? start[j] : 0.0f;
        for (std::size_t p = 0; p < k; ++p) expected = std::fma(a(i, p), b(p, j), expected);
        if (std::memcmp(&expected, &c[at], sizeof expected) != 0) return false;
    }
    return true;
}

constexpr double floats(double count) { return 4 * count; }

void cube(benchmark::State& state, std::size_t n) {
    const Floats a = numbers(n * n, 1), b = numbers(n * n, 2);
    Floats c(n * n), scratch(gemm_scratch_floats);
    const std::uint32_t side = static_cast<std::uint32_t>(n);
    const auto run = [&] {
        const Status status =
            matmul({c.data(), {side, side}}, {a.data(), {side, side}}, {b.data(), {side, side}}, scratch);
        benchmark::DoNotOptimize(status);
    };
    run();
    if (!product_is_right(
            c, n, n, [&](std::size_t i, std::size_t p) { return a[i * n + p]; },
            [&](std::size_t p, std::size_t j) { return b[p * n + j]; }, nullptr))
        return fail(state, "the product differs from the scalar chain");
    const double side_d = static_cast<double>(n);
    compare_with_peak(state, 2 * side_d * side_d * side_d, run);
}

/// y = x W + b, as Dense calls it.
void forward(benchmark::State& state, std::size_t batch, std::size_t inputs, std::size_t outputs) {
    const Floats x = numbers(batch * inputs, 1), bias = numbers(outputs, 3);
    Floats w = numbers(inputs * outputs, 2);
    Floats y(batch * outputs), scratch(gemm_scratch_floats);
    const bool pack = batch >= 32 && outputs >= 128;
    const auto run = [&] {
        kernels::gemm({.a = x.data(),
                       .a_row = inputs,
                       .a_step = 1,
                       .b = w.data(),
                       .b_row = outputs,
                       .c = y.data(),
                       .c_row = outputs,
                       .m = batch,
                       .n = outputs,
                       .k = inputs,
                       .bias = bias.data(),
                       .epilogue = nullptr,
                       .constants = nullptr,
                       .scratch = pack ? scratch.data() : nullptr});
    };
    run();
    if (!product_is_right(
            y, outputs, inputs, [&](std::size_t i, std::size_t p) { return x[i * inputs + p]; },
            [&](std::size_t p, std::size_t j) { return w[p * outputs + j]; }, bias.data()))
        return fail(state, "the product differs from the scalar chain");
    const double flops =
        2 * static_cast<double>(batch) * static_cast<double>(inputs) * static_cast<double>(outputs);
    if (batch == 1) {
        // Every weight is used once: reading W is the limit.
        w.resize(limit_elements(w.size()));
        float sum = 0;
        const Timing t = compare_with_bandwidth(state, inputs * outputs, floats(1), run, [&] {
            read({w.data(), w.size(), &sum});
            benchmark::DoNotOptimize(sum);
        });
        state.counters["GFLOP/s"] = 1e-9 * flops / t.seconds;
        return;
    }
    compare_with_peak(state, flops, run);
}

/// One of the two products of the backward pass alone: dW = xT dy or dx = dy WT.
void backward(benchmark::State& state, std::size_t batch, std::size_t inputs, std::size_t outputs,
              bool weights) {
    const Floats x = numbers(batch * inputs, 1), dy = numbers(batch * outputs, 2);
    Floats w = numbers(inputs * outputs, 3), dw(weights ? inputs * outputs : 0);
    Floats dx(weights ? 0 : batch * inputs), scratch(dense_scratch_floats(outputs, batch));
    DenseBackward arguments{};
    arguments.x = x.data();
    arguments.dy = dy.data();
    arguments.w = w.data();
    arguments.batch = batch;
    arguments.inputs = inputs;
    arguments.outputs = outputs;
    arguments.row = inputs;
    arguments.dx = weights ? nullptr : dx.data();
    arguments.dw = weights ? dw.data() : nullptr;
    arguments.scratch = scratch.data();
    const auto run = [&] { kernels::dense_backward(arguments); };
    run();
    const bool right =
        weights ? product_is_right(
                      dw, outputs, batch, [&](std::size_t i, std::size_t r) { return x[r * inputs + i]; },
                      [&](std::size_t r, std::size_t o) { return dy[r * outputs + o]; }, nullptr)
                : product_is_right(
                      dx, inputs, outputs, [&](std::size_t r, std::size_t o) { return dy[r * outputs + o]; },
                      [&](std::size_t o, std::size_t i) { return w[i * outputs + o]; }, nullptr);
    if (!right) return fail(state, "the product differs from the scalar chain");
    compare_with_peak(
        state, 2 * static_cast<double>(batch) * static_cast<double>(inputs) * static_cast<double>(outputs),
        run);
}

}  // namespace

void add_gemm() {
    for (const std::size_t n : {64u, 128u, 256u, 512u, 1024u})
        add(text("sgemm/", n), [n](benchmark::State& state) { cube(state, n); });

    struct Shape3 {
        std::size_t batch, inputs, outputs;
        [[nodiscard]] std::string name() const { return text(batch, "x", inputs, "x", outputs); }
    };
    for (const Shape3 s : {Shape3{100, 784, 100}, Shape3{100, 100, 100}, Shape3{100, 100, 10},
                           Shape3{10, 784, 100}, Shape3{8, 512, 512}, Shape3{1, 784, 100}})
        add(text("gemm/forward/", s.name()),
            [s](benchmark::State& state) { forward(state, s.batch, s.inputs, s.outputs); });
    for (const Shape3 s :
         {Shape3{100, 784, 100}, Shape3{100, 100, 100}, Shape3{100, 100, 10}, Shape3{10, 784, 100}})
        add(text("gemm/dW/", s.name()),
            [s](benchmark::State& state) { backward(state, s.batch, s.inputs, s.outputs, true); });
    for (const Shape3 s : {Shape3{100, 100, 100}, Shape3{100, 100, 10}, Shape3{8, 512, 512}})
        add(text("gemm/dx/", s.name()),
            [s](benchmark::State& state) { backward(state, s.batch, s.inputs, s.outputs, false); });
}

}  // namespace ferrite::bench
