// SPDX-License-Identifier: MIT
// The elementary functions against those of the C library, over arrays in the nearest cache.
#include <cmath>

#include "bench.hpp"

namespace ferrite::bench {

namespace {

constexpr std::size_t size = 1024;
static_assert(size == limit_elements(size));

struct Function {
    const Kernel<Map>* kernel;
    float (*of_the_c_library)(float x);
    double (*precise)(double x);
    float low, high;
};

const Function functions[] = {
    {&exponential, [](float x) { return std::exp(x); }, [](double x) { return std::exp(x); }, -20, 20},
    {&logarithm, [](float x) { return std::log(x); }, [](double x) { return std::log(x); }, 1e-3f, 1e3f},
    {&kernels::tanh, [](float x) { return std::tanh(x); }, [](double x) { return std::tanh(x); }, -5, 5},
    {&kernels::sigmoid, [](float x) { return 1 / (1 + std::exp(-x)); },
     [](double x) { return 1 / (1 + std::exp(-x)); }, -10, 10},
};

void compare(benchmark::State& state, const Function& f) {
    const Floats x = numbers(size, 1, f.low, f.high);
    Floats y(size), scalar_y(size), library(size);
    const Map map{
        {y.data(), const_cast<float*>(x.data()), nullptr, nullptr}, {size, size, 0, 0}, 1, size, nullptr};
    Map scalar = map;
    scalar.operand[0] = scalar_y.data();
    if (!same_as_scalar(*f.kernel, map, scalar, {&y}, {&scalar_y}))
        return fail(state, "the result differs from that of the scalar kernel");
    const auto c_library = [&] {
        for (std::size_t i = 0; i < size; ++i) library[i] = f.of_the_c_library(x[i]);
        benchmark::DoNotOptimize(library.data());
    };
    c_library();
    for (std::size_t i = 0; i < size; ++i) {
        const double expected = f.precise(static_cast<double>(x[i]));
        const double tolerance = 4e-7 * std::abs(expected) + 1e-30;
        if (!(std::abs(static_cast<double>(y[i]) - expected) <= tolerance) ||
            !(std::abs(static_cast<double>(library[i]) - expected) <= tolerance))
            return fail(state, "an element differs from the function in double precision");
    }
    const Result r = interleave(state, lane("own", [&] { (*f.kernel)(map); }), clock_limit(),
                                {lane("C library", c_library)});
    const double elements = size;
    state.SetLabel("clock");
    state.counters["cycles"] = 1 / r.own.best_share;
    state.counters["cycles_median"] = 1 / r.own.median;
    state.counters["spread"] = 50 * (r.own.high - r.own.low) / r.own.median;
    state.counters["ns/element"] = 1e9 * r.own.seconds / elements;
    state.counters["libc_ns/element"] = 1e9 * r.others[0].seconds / elements;
    state.counters["times_faster"] = r.own.median / r.others[0].median;
}

}  // namespace

void add_elementary() {
    for (const Function& f : functions)
        add(text("elementary/", f.kernel->name), [&f](benchmark::State& s) { compare(s, f); });
}

}  // namespace ferrite::bench
