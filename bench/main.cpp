// SPDX-License-Identifier: MIT
// ferrite_bench: all benchmarks, on one processor, with the instruction set that FERRITE_ISA names or the
// best there is. `bench/run` builds it and runs everything; --benchmark_filter=product runs a part,
// --case_time=S spends S seconds on each lane of a case (0.1).
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ferrite/random.hpp>
#include <fstream>
#include <string_view>

#include "bench.hpp"
#include "peers.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define FERRITE_BENCH_OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FERRITE_BENCH_OWN_MALLOC 0
#endif
#endif
#if !defined(FERRITE_BENCH_OWN_MALLOC)
#if defined(__GLIBC__)
#define FERRITE_BENCH_OWN_MALLOC 1
#else
#define FERRITE_BENCH_OWN_MALLOC 0
#endif
#endif

namespace {
std::atomic<std::uint64_t> allocations{0};
bool failed = false;
double seconds_of_a_lane = 0.1;
}  // namespace

#if FERRITE_BENCH_OWN_MALLOC
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) noexcept {
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_memalign(alignment, size);
}
}
#endif

namespace ferrite::bench {

std::uint64_t heap_allocations() noexcept { return allocations.load(std::memory_order_relaxed); }

bool counts_heap_allocations() noexcept { return FERRITE_BENCH_OWN_MALLOC != 0; }

void fail(benchmark::State& state, const std::string& what) {
    failed = true;
    state.SkipWithError(what.c_str());
}

double lane_seconds() noexcept { return seconds_of_a_lane; }

namespace {

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "unknown processor";
}

std::string rounded(double value, const char* unit) {
    char text[64];
    std::snprintf(text, sizeof text, "%.2f %s", value, unit);
    return text;
}

#if defined(__clang__)
constexpr const char* compiler = "clang " __clang_version__;
#else
constexpr const char* compiler = "g++ " __VERSION__;
#endif

/// Moving to another processor would cost the caches.
void stay_on_this_processor() {
#if defined(__linux__)
    const int current = sched_getcpu();
    cpu_set_t set;
    CPU_ZERO(&set);
    if (current >= 0) CPU_SET(static_cast<unsigned>(current), &set);
    if (current < 0 || sched_setaffinity(0, sizeof set, &set) != 0)
        std::fprintf(stderr, "ferrite_bench: not pinned to one processor\n");
#endif
}

int main(int argc, char** argv) {
    if (const char* wanted = std::getenv("FERRITE_ISA")) {
        if (const Status status = select_isa(wanted); status != Status::ok) {
            std::fprintf(stderr, "ferrite_bench: FERRITE_ISA=%s: %s\n", wanted, message(status));
            return 2;
        }
    }
    std::vector<char*> arguments;
    for (int i = 0; i < argc; ++i) {
        if (std::string_view(argv[i]).starts_with("--benchmark_repetitions=")) {
            std::fprintf(stderr, "ferrite_bench: %s: a case takes its many blocks in turn with the limit; to repeat it, run the program again "
                                 "(bench/report does, three times)\n", argv[i]);
            return 2;
        }
        constexpr std::string_view option = "--case_time=";
        const std::string_view argument = argv[i];
        if (!argument.starts_with(option)) {
            arguments.push_back(argv[i]);
            continue;
        }
        const char* const text = argv[i] + option.size();
        char* end = nullptr;
        seconds_of_a_lane = std::strtod(text, &end);
        if (end == text || *end != '\0' || !(seconds_of_a_lane > 0 && seconds_of_a_lane <= 60)) {
            std::fprintf(stderr, "ferrite_bench: --case_time=%s: expected seconds, above 0 and at most 60\n",
                         text);
            return 2;
        }
    }
    // Defaults, which later arguments override. A case decides for itself how long it runs.
    std::string defaults[] = {"--benchmark_counters_tabular=true", "--benchmark_min_time=0"};
    for (std::string& argument : defaults) arguments.insert(arguments.begin() + 1, argument.data());
    int count = static_cast<int>(arguments.size());
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;

    stay_on_this_processor();
    benchmark::AddCustomContext("processor", processor());
    benchmark::AddCustomContext("clock", rounded(measure_clock(), "GHz"));
    benchmark::AddCustomContext("isa", name(active_isa()));
    benchmark::AddCustomContext("compiler", compiler);
    benchmark::AddCustomContext("FMA peak", rounded(measure_peak(), "GFLOP/s"));
    benchmark::AddCustomContext("case time", text(seconds_of_a_lane, " s"));
#if defined(FERRITE_BENCH_PEERS)
    for (const Peer& peer : peers()) benchmark::AddCustomContext("peer " + peer.name, peer.what);
#else
    benchmark::AddCustomContext("peers", "not built (FERRITE_BENCH_PEERS)");
#endif
    add_peak();
    add_gemm();
    add_train();
    add_optimizers();
    add_elementwise();
    add_threads();
    add_elementary();
    benchmark::RunSpecifiedBenchmarks();
    return failed ? 1 : 0;
}

}  // namespace

}  // namespace ferrite::bench

int main(int argc, char** argv) { return ferrite::bench::main(argc, argv); }
