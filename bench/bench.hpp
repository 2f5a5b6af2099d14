// SPDX-License-Identifier: MIT
// What every benchmark uses: limits of the machine per instruction set, and timing that interleaves a case
// with the limit it is compared with.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <ferrite/kernels.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "limits.hpp"

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

/// Starts each array at a cache line, as an arena does.
template <class T>
struct LineAllocator {
    using value_type = T;
    LineAllocator() = default;
    template <class U>
    LineAllocator(const LineAllocator<U>&) noexcept {}
    [[nodiscard]] T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{buffer_alignment}));
    }
    void deallocate(T* p, std::size_t) noexcept { ::operator delete (p, std::align_val_t{buffer_alignment}); }
    friend bool operator==(LineAllocator, LineAllocator) noexcept { return true; }
};
using Floats = std::vector<float, LineAllocator<float>>;

/// `count` numbers in [low, high), another sequence for every stream.
[[nodiscard]] Floats numbers(std::size_t count, std::uint64_t stream, float low = -1, float high = 1);

/// One call of a case and of its limit: the best block of each, and the median of limit time over case time
/// of blocks that were next to each other.
struct Timing {
    double seconds = 0, limit_seconds = 0;
    double median = 0;
    double allocations = 0;
};

/// Shorter than a time slice, so that on a busy machine many blocks run undisturbed.
inline constexpr double block_seconds = 0.5e-3;

template <class Run>
[[nodiscard]] double seconds_per_call(std::size_t calls, const Run& run) {
    const double start = seconds();
    for (std::size_t i = 0; i < calls; ++i) run();
    return (seconds() - start) / static_cast<double>(calls);
}

template <class Run>
[[nodiscard]] std::size_t calls_per_block(const Run& run) {
    run();
    std::size_t calls = 1;
    while (static_cast<double>(calls) * seconds_per_call(calls, run) < block_seconds) calls *= 2;
    return calls;
}

/// Times blocks of `run` and `limit` in turn until the benchmark's time is up. The Time and CPU columns of
/// the report are the mean over all blocks of `run`; the counters are made from the result.
template <class Run, class Limit>
[[nodiscard]] Timing interleave(benchmark::State& state, const Run& run, const Limit& limit) {
    const std::size_t calls = calls_per_block(run), limit_calls = calls_per_block(limit);
    Timing timing;
    std::vector<double> ratios;
    std::uint64_t allocations = 0, total_calls = 0;
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(calls))) {
        const std::uint64_t before = heap_allocations();
        const double a = seconds_per_call(calls, run);
        allocations += heap_allocations() - before;
        total_calls += calls;
        state.PauseTiming();
        if (limit_calls > 1) limit();  // brings back what the other side has put out of the caches
        const double b = seconds_per_call(limit_calls, limit);
        timing.seconds = ratios.empty() ? a : std::min(a, timing.seconds);
        timing.limit_seconds = ratios.empty() ? b : std::min(b, timing.limit_seconds);
        ratios.push_back(b / a);
        if (calls > 1) run();
        state.ResumeTiming();
    }
    const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
    std::nth_element(ratios.begin(), middle, ratios.end());
    timing.median = *middle;
    timing.allocations = static_cast<double>(allocations) / static_cast<double>(total_calls);
    return timing;
}

/// Times a case of `flops` floating-point operations. Counters: GFLOP/s (best block), %peak (best against
/// best), %median (of neighbouring blocks).
template <class Run>
Timing compare_with_peak(benchmark::State& state, double flops, const Run& run) {
    const Timing t = interleave(state, run, FmaPeak{});
    const double share = 100 * flops / FmaPeak::flops;
    state.counters["GFLOP/s"] = 1e-9 * flops / t.seconds;
    state.counters["%peak"] = share * t.limit_seconds / t.seconds;
    state.counters["%median"] = share * t.median;
    return t;
}

/// Times a case that moves `elements` times `bytes` (read plus written, each stream once) against a limit
/// that moves limit_elements(elements) of the same. Counters: GB/s, %bandwidth, %median.
template <class Run, class Limit>
Timing compare_with_bandwidth(benchmark::State& state, std::size_t elements, double bytes, const Run& run,
                              const Limit& limit) {
    const Timing t = interleave(state, run, limit);
    const double share = 100 * static_cast<double>(elements) / static_cast<double>(limit_elements(elements));
    state.counters["GB/s"] = 1e-9 * bytes * static_cast<double>(elements) / t.seconds;
    state.counters["%bandwidth"] = share * t.limit_seconds / t.seconds;
    state.counters["%median"] = share * t.median;
    return t;
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

/// GFLOP/s of multiply_add over some 50 ms, and the clock in GHz from a chain of dependent shifts and
/// exclusive ors.
[[nodiscard]] double measure_peak();
[[nodiscard]] double measure_clock();

}  // namespace ferrite::bench
