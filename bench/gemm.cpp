// SPDX-License-Identifier: MIT
// Matrix products: alone, the three of a dense layer, and a weight gradient that goes into its optimizer;
// against the peers.
#include <cmath>
#include <cstring>

#include "bench.hpp"
#include "cases.hpp"
#include "peers.hpp"

namespace ferrite::bench {

namespace {

/// Enough to meet every tile and edge without taking longer than the measurement.
constexpr std::size_t checked_elements = 2000;

/// Whether c(i, j) = chain of std::fma in ascending k from bias(j), for elements spread over the whole of c.
bool is_right(const ProductCase& p, const ProductOperands& arrays) {
    const std::size_t m = p.m(), n = p.n(), k = p.k();
    const std::size_t step = std::max<std::size_t>(1, arrays.c.size() / checked_elements) | 1;
    for (std::size_t at = 0; at < arrays.c.size(); at += step) {
        const std::size_t i = at / n, j = at % n;
        float expected = p.has_bias() ? arrays.bias[j] : 0.0f;
        for (std::size_t q = 0; q < k; ++q)
            expected = std::fma(arrays.a[p.transposes_a() ? q * m + i : i * k + q],
                                arrays.b[p.transposes_b() ? j * k + q : q * n + j], expected);
        if (std::memcmp(&expected, &arrays.c[at], sizeof expected) != 0) return false;
    }
    return true;
}

/// Peers round in another order: 1e-6 a term is more than that costs and less than a term is worth. They add
/// no bias.
bool close(const Floats& found, const Floats& own, const Floats& bias, std::size_t k) {
    const float tolerance = 1e-6f * static_cast<float>(k) + 1e-5f;
    for (std::size_t i = 0; i < own.size(); ++i) {
        const float b = bias.empty() ? 0.0f : bias[i % bias.size()];
        if (!(std::abs(found[i] + b - own[i]) <= tolerance)) return false;
    }
    return true;
}

void product(benchmark::State& state, const ProductCase& p) {
    ProductOperands arrays(p);
    const auto run = [&] {
        p.run(arrays.a.data(), arrays.b.data(), arrays.bias.data(), arrays.c.data(), arrays.scratch.data());
    };
    run();
    if (!is_right(p, arrays)) return fail(state, "the product differs from the scalar chain");

    Floats c(arrays.c.size());
    const PeerProduct theirs{p.transposes_a(), p.transposes_b(), p.m(),   p.n(), p.k(),
                             arrays.a.data(),  arrays.b.data(),  c.data()};
    std::vector<Lane> lanes;
    for (const Peer& peer : peers()) {
        if (!peer.here) continue;
        const auto call = peer.bind(theirs);
        if (!call) continue;
        std::fill(c.begin(), c.end(), std::nanf(""));
        call();
        if (!close(c, arrays.c, arrays.bias, theirs.k))
            return fail(state, peer.name + " computes another product");
        lanes.push_back(lane(peer.name, call));
    }
    if (p.batch > 1) {
        compare_with_peak(state, 2 * p.multiply_adds(), p.target, run, lanes);
        return;
    }
    // Every weight is used once: reading W is the limit.
    float sum = 0;
    const Result r = compare_with_bandwidth(
        state, std::size_t{p.inputs} * p.outputs, 4, p.target, run, "reading W",
        [&] {
            read({arrays.b.data(), arrays.b.size(), &sum});
            benchmark::DoNotOptimize(sum);
        },
        lanes);
    state.counters["GFLOP/s"] = 2e-9 * p.multiply_adds() / r.own.seconds;
}

void update(benchmark::State& state, const UpdateCase& c) {
    DenseUpdateOperands own(c, 0.01f), scalar(c, 0.01f);
    if (!same_as_scalar(
            kernels::dense_backward, own.arguments, scalar.arguments,
            {&own.w, &own.b, &own.w_states[0], &own.w_states[1], &own.b_states[0], &own.b_states[1]},
            {&scalar.w, &scalar.b, &scalar.w_states[0], &scalar.w_states[1], &scalar.b_states[0],
             &scalar.b_states[1]}))
        return fail(state, "the parameters differ from those of the scalar kernel");
    if (c.batch > 1) {
        compare_with_peak(state, 2.0 * c.batch * c.inputs * c.outputs, 0,
                          [&] { kernels::dense_backward(own.arguments); });
        return;
    }
    // With one sample, the streams that every optimizer has to read and write are more than the arithmetic.
    const std::size_t size = own.w.size(), streams = 1 + c.optimizer.state_slots;
    std::vector<Floats> moved(streams, Floats(limit_elements(size)));
    compare_with_bandwidth(
        state, size, 8.0 * static_cast<double>(streams), 0, [&] { kernels::dense_backward(own.arguments); },
        "reading and writing W and its states",
        [&] {
            for (Floats& m : moved)
                move({.operand = {m.data(), m.data(), nullptr, nullptr},
                      .stride = {},
                      .rows = 1,
                      .columns = m.size(),
                      .constants = nullptr});
        });
}

}  // namespace

void add_gemm() {
    for (const ProductCase& p : product_cases()) add(p.name(), [p](benchmark::State& s) { product(s, p); });
    for (const UpdateCase& c : update_cases()) add(c.name(), [c](benchmark::State& s) { update(s, c); });
}

}  // namespace ferrite::bench
