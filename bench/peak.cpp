// SPDX-License-Identifier: MIT
// The machine's limits as cases of their own: the FMA peak, and reading and copying from each level of
// memory.
#include <chrono>

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

template <class Run>
double best_of(int blocks, const Run& run) {
    const std::size_t calls = calls_per_block(run);
    double best = seconds_per_call(calls, run);
    for (int i = 1; i < blocks; ++i) best = std::min(best, seconds_per_call(calls, run));
    return best;
}

/// 1 + 1/2 + 1/4 + ... = 2 in each of 12 chains of every lane; `lanes` tells how many there are.
bool peak_is_right() {
    float result = 0;
    multiply_add({.flops = 64 * multiply_add_round, .factor = 0.5f, .addend = 1.0f, .result = &result});
    return result == 24.0f || result == 24.0f * 8 || result == 24.0f * 16;
}

/// Counters: GB/s, and the operations a byte from which on a kernel can reach the peak with data from there.
template <class Run>
void time(benchmark::State& state, std::size_t bytes, const Run& run) {
    const Timing t = interleave(state, run, FmaPeak{});
    state.counters["GB/s"] = 1e-9 * static_cast<double>(bytes) / t.seconds;
    state.counters["flop/byte"] = FmaPeak::flops / t.limit_seconds * t.seconds / static_cast<double>(bytes);
}

void add_bandwidth(const char* level, std::size_t bytes) {
    const std::string suffix = text("/", level, "/KiB:", bytes / 1024);
    add("read" + suffix, [bytes](benchmark::State& state) {
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
    add("copy" + suffix, [bytes](benchmark::State& state) {
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

double measure_clock() {
    constexpr std::size_t rounds = 1000;
    std::uint64_t x = 1;
    const double best = best_of(20, [&x] { benchmark::DoNotOptimize(x = dependent_chain(x, rounds)); });
    return 1e-9 * 6 * rounds / best;
}

void add_peak() {
    add("peak/fma", [](benchmark::State& state) {
        if (!peak_is_right()) return fail(state, "a chain of multiply-adds has a wrong sum");
        constexpr std::size_t rounds = 1000;
        std::uint64_t x = 1;
        const Timing t =
            interleave(state, FmaPeak{}, [&x] { benchmark::DoNotOptimize(x = dependent_chain(x, rounds)); });
        state.counters["GFLOP/s"] = 1e-9 * FmaPeak::flops / t.seconds;
        state.counters["flop/cycle"] = FmaPeak::flops / t.seconds * t.limit_seconds / (6 * rounds);
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
