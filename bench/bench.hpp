// SPDX-License-Identifier: MIT
// What every benchmark uses: limits of the machine per instruction set, and timing that interleaves a case
// with the limit and the peers it is compared with.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ferrite/kernels.hpp>
#include <functional>
#include <initializer_list>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "limits.hpp"
#include "operands.hpp"

namespace ferrite::bench {

/// Seconds on the wall. The processor time of a thread would leave out what other processes take, but a
/// virtual machine that subtracts stolen time sometimes subtracts too much, and the best of many blocks would
/// be that error.
[[nodiscard]] double seconds() noexcept;

/// Calls of malloc, calloc, realloc and aligned_alloc (operator new calls them) in this process so far.
[[nodiscard]] std::uint64_t heap_allocations() noexcept;
/// Whether this build can count them: not under AddressSanitizer, which has its own.
[[nodiscard]] bool counts_heap_allocations() noexcept;

/// The parts in a row, as text.
template <class... Parts>
[[nodiscard]] std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

/// Says that a case computes something wrong: it is not timed and the process will exit with 1.
void fail(benchmark::State& state, const std::string& what);

/// The FMA peak as a limit: about a microsecond of work a call.
struct FmaPeak {
    static constexpr double flops = 256 * multiply_add_round;
    void operator()() const;
};

/// Shorter than a time slice, so that on a busy machine many blocks run undisturbed.
inline constexpr double block_seconds = 0.5e-3;

/// Seconds that the blocks of one lane take together; --case_time sets it.
[[nodiscard]] double lane_seconds() noexcept;

template <class Run>
[[nodiscard]] double seconds_per_call(std::size_t calls, Run& run) {
    const double start = seconds();
    for (std::size_t i = 0; i < calls; ++i) run();
    return (seconds() - start) / static_cast<double>(calls);
}

/// What is timed in turn with others.
struct Lane {
    std::string name;
    std::function<double(std::size_t calls)> time;  ///< seconds a call
};

template <class Run>
[[nodiscard]] Lane lane(std::string name, Run run) {
    return {std::move(name), [run](std::size_t calls) mutable { return seconds_per_call(calls, run); }};
}

/// A limit does a case's work in `scale` calls.
struct Limit {
    Lane lane;
    double scale;
    double* best_so_far =
        nullptr;  ///< seconds of a call, for a limit that is the same for all cases; null otherwise
};

/// The FMA peak for `flops` operations.
[[nodiscard]] Limit peak_limit(double flops);
/// A call of `run` moves limit_elements(elements) of what the case moves `elements` of.
template <class Run>
[[nodiscard]] Limit bandwidth_limit(std::string name, std::size_t elements, Run run) {
    return {lane(std::move(name), std::move(run)),
            static_cast<double>(elements) / static_cast<double>(limit_elements(elements)), nullptr};
}
/// One cycle of the processor.
[[nodiscard]] Limit clock_limit();

/// Of a lane: its best block, and the quartiles of ideal time over its time in blocks that were next to each
/// other, where the limit's block gives the ideal time.
struct Timing {
    double seconds = 0;
    double best_share = 0, low = 0, median = 0, high = 0;
};

struct Result {
    Timing own;
    double ideal_seconds =
        0;  ///< the limit's best block, scaled; of all cases so far where the limit is one for all
    double allocations = 0;  ///< a call
    std::vector<Timing> others;
};

/// Times blocks of `own`, the limit and the others in turn. The Time and CPU columns of the report are the
/// mean over all blocks of `own`.
[[nodiscard]] Result interleave(benchmark::State& state, const Lane& own, const Limit& limit,
                                const std::vector<Lane>& others);

/// The same, with counters: %limit (best block against best block), %median (of neighbouring blocks), spread
/// (half the distance of the quartiles of the latter, in percent of it), allocations a call; %limit and
/// %median of the others under their names. `target`: see cases.hpp.
Result compare_with_limit(benchmark::State& state, const Lane& own, const Limit& limit, double target,
                          const std::vector<Lane>& others = {});

/// A case that has no limit. Counters: cycles (best), cycles_median, spread, allocations.
Result count_cycles(benchmark::State& state, const Lane& own);

/// Times a case of `flops` floating-point operations against the FMA peak. Counter: GFLOP/s (best block).
template <class Run>
Result compare_with_peak(benchmark::State& state, double flops, double target, const Run& run,
                         const std::vector<Lane>& others = {}) {
    Result r = compare_with_limit(state, lane("own", run), peak_limit(flops), target, others);
    state.counters["GFLOP/s"] = 1e-9 * flops / r.own.seconds;
    return r;
}

/// Times a case that moves `elements` times `bytes` (read plus written, each stream once) against `limit`,
/// which moves limit_elements(elements) of the same. Counter: GB/s (best block).
template <class Run, class Move>
Result compare_with_bandwidth(benchmark::State& state, std::size_t elements, double bytes, double target,
                              const Run& run, const char* limit_name, const Move& limit,
                              const std::vector<Lane>& others = {}) {
    Result r = compare_with_limit(state, lane("own", run), bandwidth_limit(limit_name, elements, limit),
                                  target, others);
    state.counters["GB/s"] = 1e-9 * bytes * static_cast<double>(elements) / r.own.seconds;
    return r;
}

/// Runs `call` with the scalar kernels; with the only ones where the build has one set.
template <class Call>
void with_scalar_kernels(const Call& call) {
    const char* const active = name(active_isa());
    const bool chosen = select_isa("scalar") == Status::ok;
    call();
    if (chosen) (void)select_isa(active);
}

/// Whether the scalar kernel makes the same floats out of the same operands: `written` by kernel(arguments),
/// `reference` by the scalar kernel(expected), in the same order.
template <class Arguments>
[[nodiscard]] bool same_as_scalar(const Kernel<Arguments>& kernel, const Arguments& arguments,
                                  const Arguments& expected, std::initializer_list<const Floats*> written,
                                  std::initializer_list<const Floats*> reference) {
    kernel(arguments);
    with_scalar_kernels([&] { kernel(expected); });
    return std::equal(
        written.begin(), written.end(), reference.begin(), [](const Floats* a, const Floats* b) {
            return a->size() == b->size() &&
                   (a->empty() || std::memcmp(a->data(), b->data(), a->size() * sizeof(float)) == 0);
        });
}

/// Registers `function(state)` under `name`.
template <class Function>
void add(const std::string& name, Function function) {
    benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMicrosecond);
}

void add_peak();
void add_gemm();
void add_train();
void add_optimizers();
void add_elementwise();
void add_threads();
void add_elementary();

/// GFLOP/s of multiply_add over some 50 ms, and the clock in GHz from a chain of dependent shifts and
/// exclusive ors.
[[nodiscard]] double measure_peak();
[[nodiscard]] double measure_clock();

}  // namespace ferrite::bench
