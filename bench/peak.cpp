// SPDX-License-Identifier: MIT
// The machine's limits, and timing that interleaves; the limits as cases of their own: the FMA peak, and
// reading and copying from each level of memory.
#include <chrono>
#include <cmath>

#include "bench.hpp"

namespace ferrite::bench {

double seconds() noexcept {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void FmaPeak::operator()() const {
    float result;
    multiply_add(
        {.flops = static_cast<std::size_t>(flops), .factor = 0.5f, .addend = 1.0f, .result = &result});
    benchmark::DoNotOptimize(result);
}

namespace {

/// Six instructions of one cycle, each of which needs the one before.
std::uint64_t dependent_chain(std::uint64_t x, std::size_t rounds) noexcept {
    for (std::size_t i = 0; i < rounds; ++i) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

/// A cycle for each instruction of the chain.
constexpr std::size_t chain_rounds = 1000, chain_cycles = 6 * chain_rounds;
void run_chain() {
    static std::uint64_t x = 1;
    benchmark::DoNotOptimize(x = dependent_chain(x, chain_rounds));
}

/// Of a few, so that what else runs on the machine does not count.
double shortest_block(const Lane& lane, std::size_t calls) {
    double shortest = lane.time(calls);
    for (int i = 1; i < 3; ++i) shortest = std::min(shortest, lane.time(calls));
    return static_cast<double>(calls) * shortest;
}

std::size_t calls_per_block(const Lane& lane) {
    std::size_t calls = 1;
    while (shortest_block(lane, calls) < block_seconds) calls *= 2;
    return calls;
}

template <class Run>
double best_of(int blocks, const Run& run) {
    const Lane timed = lane("", run);
    const std::size_t calls = calls_per_block(timed);
    double best = timed.time(calls);
    for (int i = 1; i < blocks; ++i) best = std::min(best, timed.time(calls));
    return best;
}

/// The value below which `part` of them lie.
double quantile(std::vector<double> values, double part) {
    const auto at = static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1) + 0.5);
    std::nth_element(values.begin(), values.begin() + at, values.end());
    return values[static_cast<std::size_t>(at)];
}

}  // namespace

Limit peak_limit(double flops) {
    static double best = 0;
    return {lane("FMA peak", FmaPeak{}), flops / FmaPeak::flops, &best};
}
Limit clock_limit() {
    static double best = 0;
    return {lane("clock", run_chain), 1.0 / chain_cycles, &best};
}

Result interleave(benchmark::State& state, const Lane& own, const Limit& limit,
                  const std::vector<Lane>& others) {
    const std::size_t own_calls = calls_per_block(own), limit_calls = calls_per_block(limit.lane);
    const double block = shortest_block(own, own_calls);
    std::vector<std::size_t> other_calls;
    for (const Lane& other : others) other_calls.push_back(calls_per_block(other));
    // A block that takes long meets more of the machine's other work, so the limit gets as many as are half as
    // long together.
    const double limit_block = shortest_block(limit.lane, limit_calls);
    const auto limit_blocks = static_cast<std::size_t>(std::max(1.0, block / (2 * limit_block)));
    // A quick look takes every lane a few times; a measurement needs quartiles.
    const double least = lane_seconds() < 0.01 ? 1 : lane_seconds() < 0.05 ? 3 : 7;
    const auto rounds = static_cast<std::size_t>(std::max(least, std::ceil(lane_seconds() / block)));

    // Brings back what the others have put out of the caches, then takes the time.
    const auto time = [](const Lane& l, std::size_t calls) {
        if (calls > 1) l.time(1);
        return l.time(calls);
    };
    Result result;
    std::uint64_t allocations = 0;
    double best_limit = 0;
    std::vector<double> own_times, limit_times;
    std::vector<std::vector<double>> other_times(others.size());
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(rounds * own_calls))) {
        state.PauseTiming();
        const auto run_own = [&] {
            if (own_calls > 1) own.time(1);
            state.ResumeTiming();
            const std::uint64_t before = heap_allocations();
            const double once = own.time(own_calls);
            allocations += heap_allocations() - before;
            state.PauseTiming();
            own_times.push_back(once);
        };
        const auto run_limit = [&] {
            double sum = 0;
            for (std::size_t i = 0; i < limit_blocks; ++i) {
                const double ideal = limit.scale * time(limit.lane, limit_calls);
                best_limit = best_limit > 0 ? std::min(best_limit, ideal) : ideal;
                sum += ideal;
            }
            limit_times.push_back(sum / static_cast<double>(limit_blocks));
        };
        const std::size_t lanes = 2 + others.size();
        for (std::size_t round = 0; round < rounds; ++round)
            for (std::size_t i = 0; i < lanes; ++i) {
                // Another one comes first each time: on a busy machine the time slices could beat with the
                // rounds.
                const std::size_t at = (i + round) % lanes;
                if (at == 0)
                    run_own();
                else if (at == 1)
                    run_limit();
                else
                    other_times[at - 2].push_back(time(others[at - 2], other_calls[at - 2]));
            }
        state.ResumeTiming();
    }
    const auto timing = [&](const std::vector<double>& times) {
        std::vector<double> ratios;
        for (std::size_t round = 0; round < rounds; ++round)
            ratios.push_back(limit_times[round] / times[round]);
        Timing t;
        t.seconds = *std::min_element(times.begin(), times.end());
        t.best_share = result.ideal_seconds / t.seconds;
        t.low = quantile(ratios, 0.25);
        t.median = quantile(ratios, 0.5);
        t.high = quantile(ratios, 0.75);
        return t;
    };
    if (limit.best_so_far != nullptr) {
        // Of all cases: a quiet moment for a case is not always one for its limit.
        double& best = *limit.best_so_far;
        const double call = best_limit / limit.scale;
        best = best > 0 ? std::min(best, call) : call;
        best_limit = limit.scale * best;
    }
    result.ideal_seconds = best_limit;
    result.own = timing(own_times);
    for (const auto& times : other_times) result.others.push_back(timing(times));
    result.allocations = static_cast<double>(allocations) / static_cast<double>(rounds * own_calls);
    return result;
}

namespace {
void count(benchmark::State& state, const Result& r) {
    state.counters["spread"] = 50 * (r.own.high - r.own.low) / r.own.median;
    if (counts_heap_allocations()) state.counters["allocations"] = r.allocations;
}
}  // namespace

Result compare_with_limit(benchmark::State& state, const Lane& own, const Limit& limit, double target,
                          const std::vector<Lane>& others) {
    const Result r = interleave(state, own, limit, others);
    state.SetLabel(limit.lane.name);
    state.counters["%limit"] = 100 * r.own.best_share;
    state.counters["%median"] = 100 * r.own.median;
    if (target > 0) state.counters["target"] = target;
    count(state, r);
    for (std::size_t i = 0; i < others.size(); ++i) {
        state.counters[others[i].name] = 100 * r.others[i].best_share;
        state.counters[others[i].name + "_median"] = 100 * r.others[i].median;
    }
    return r;
}

Result count_cycles(benchmark::State& state, const Lane& own) {
    const Result r = interleave(state, own, clock_limit(), {});
    state.SetLabel("clock");
    state.counters["cycles"] = 1 / r.own.best_share;
    state.counters["cycles_median"] = 1 / r.own.median;
    count(state, r);
    return r;
}

namespace {

/// 1 + 1/2 + 1/4 + ... = 2 in each of 12 chains of every lane; `lanes` tells how many there are.
bool peak_is_right() {
    float result = 0;
    multiply_add({.flops = 64 * multiply_add_round, .factor = 0.5f, .addend = 1.0f, .result = &result});
    return result == 24.0f || result == 24.0f * 8 || result == 24.0f * 16;
}

/// Counters: GB/s, and the operations a byte from which on a kernel can reach the peak with data from there.
template <class Run>
void time(benchmark::State& state, std::size_t bytes, const Run& run) {
    const Result r = interleave(state, lane("own", run), peak_limit(FmaPeak::flops), {});
    state.counters["GB/s"] = 1e-9 * static_cast<double>(bytes) / r.own.seconds;
    state.counters["flop/byte"] =
        FmaPeak::flops / r.ideal_seconds * r.own.seconds / static_cast<double>(bytes);
    count(state, r);
}

void add_bandwidth(const char* level, std::size_t bytes) {
    const std::string suffix = text("/", level, "/KiB:", bytes / 1024);
    add("peak/read" + suffix, [bytes](benchmark::State& state) {
        const std::size_t size = bytes / sizeof(float) / 128 * 128;
        Floats x(size, 1.0f);
        float result = 0;
        read({x.data(), 128, &result});
        if (result != 128.0f) return fail(state, "the sum of 128 ones is not 128");
        const auto run = [&] {
            read({x.data(), size, &result});
            benchmark::DoNotOptimize(result);
        };
        time(state, size * sizeof(float), run);
    });
    add("peak/copy" + suffix, [bytes](benchmark::State& state) {
        const std::size_t size = bytes / 2 / sizeof(float) / 128 * 128;
        const Floats x = numbers(size, 1);
        Floats y(size);
        const auto run = [&] {
            move({.operand = {y.data(), const_cast<float*>(x.data()), nullptr, nullptr},
                  .stride = {},
                  .rows = 1,
                  .columns = size,
                  .constants = nullptr});
        };
        run();
        if (x != y) return fail(state, "the copy differs from the original");
        time(state, 2 * size * sizeof(float), run);
    });
}

}  // namespace

double measure_peak() { return 1e-9 * FmaPeak::flops / best_of(50, FmaPeak{}); }

double measure_clock() { return 1e-9 * chain_cycles / best_of(20, run_chain); }

void add_peak() {
    add("peak/fma", [](benchmark::State& state) {
        if (!peak_is_right()) return fail(state, "a chain of multiply-adds has a wrong sum");
        const Result r = count_cycles(state, lane("own", FmaPeak{}));
        state.counters["GFLOP/s"] = 1e-9 * FmaPeak::flops / r.own.seconds;
        state.counters["flop/cycle"] = FmaPeak::flops * r.own.best_share;
    });
    // Half of a level, so that the rest of the process has room; the usual sizes where the system does not
    // tell.
    std::size_t level[4] = {0, 32 << 10, 512 << 10, 8 << 20};
    for (const auto& cache : benchmark::CPUInfo::Get().caches)
        if (cache.type != "Instruction" && cache.level >= 1 && cache.level <= 3)
            level[cache.level] = static_cast<std::size_t>(cache.size);
    add_bandwidth("L1", level[1] / 2);
    add_bandwidth("L2", level[2] / 2);
    add_bandwidth("L3", std::max(level[3] / 2, 2 * level[2]));
    add_bandwidth("memory", std::max<std::size_t>(4 * level[3], 128 << 20));
}

}  // namespace ferrite::bench
