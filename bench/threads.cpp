// SPDX-License-Identifier: MIT
// Training steps shared by two threads, beside the same steps on one: samples/s of both and how many times faster. This
// process is held on one processor; the other thread gets the rest of them.
#include <cstring>
#include <ferrite/ferrite.hpp>
#include <host/threads.hpp>
#include <memory>
#include <optional>

#include "bench.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace ferrite::bench {

namespace {

constexpr std::uint32_t samples = 2048;

/// Puts back what it finds when it goes.
class Processors {
  public:
#if defined(__linux__)
    Processors() { sched_getaffinity(0, sizeof before_, &before_); }
    ~Processors() { sched_setaffinity(0, sizeof before_, &before_); }
    /// For threads that start from here on: all processors but those of this thread. False if there are none.
    [[nodiscard]] bool others() const {
        cpu_set_t rest;
        CPU_ZERO(&rest);
        for (unsigned i = 0; i < CPU_SETSIZE; ++i)
            if (!CPU_ISSET(i, &before_)) CPU_SET(i, &rest);
        return sched_setaffinity(0, sizeof rest, &rest) == 0;
    }

  private:
    cpu_set_t before_;
#else
    [[nodiscard]] bool others() const { return true; }
#endif
};

std::unique_ptr<host::ThreadPool> two_threads() {
    const Processors processors;
    if (!processors.others()) return nullptr;
    return std::make_unique<host::ThreadPool>(2);
}

struct Case {
    const char* name;
    std::vector<std::uint32_t> units;  ///< inputs first, classes last
    std::uint32_t batch;
};

/// A network in training on random pixels and labels.
class Run {
  public:
    Run(const Case& c, std::uint32_t threads, const Workers* workers) : batch_(c.batch), inputs_(c.units.front()) {
        for (std::size_t i = 1; i < c.units.size(); ++i) {
            layers_.push_back(Dense{.units = c.units[i]});
            if (i + 1 < c.units.size()) layers_.push_back(Relu{});
        }
        recipe_.batch = c.batch;
        recipe_.threads = threads;
        tables_.resize(table_bytes(layers_.size()) / 8 + 1);
        const auto program =
            compile(DynamicModel{Shape{inputs_}, layers_}, recipe_, std::as_writable_bytes(std::span(tables_))).value();
        arena_.resize(program.totals->arena_bytes);
        session_ = TrainingSession::bind(program, recipe_, arena_).value();
        session_.use(workers);
        session_.initialize(Seed{1});
        pixels_ = numbers(std::size_t{samples} * inputs_, 1, 0, 1);
        const Random random(Seed{1}, 2);
        for (std::size_t i = 0; i < samples; ++i) labels_.push_back(static_cast<Label>(random.bits(i) % c.units.back()));
    }
    void step() {
        const std::size_t first = next_;
        next_ = next_ + 2 * batch_ > samples ? 0 : next_ + batch_;
        benchmark::DoNotOptimize(session_.step(std::span(pixels_).subspan(first * inputs_, batch_ * inputs_),
                                               std::span(labels_).subspan(first, batch_)));
    }
    [[nodiscard]] std::uint64_t digest() const { return ferrite::digest(session_); }

  private:
    std::size_t batch_;
    std::uint32_t inputs_;
    std::vector<AnyLayer> layers_;
    Training recipe_;
    std::vector<std::uint64_t> tables_;
    std::vector<std::byte, LineAllocator<std::byte>> arena_;
    TrainingSession session_;
    Floats pixels_;
    std::vector<Label> labels_;
    std::size_t next_ = 0;
};

void threads(benchmark::State& state, const Case& c) {
    const auto pool = two_threads();
    if (!pool) return state.SkipWithError("no processor beside this one");
    Run one(c, 1, nullptr), two(c, 2, &pool->workers());
    for (int i = 0; i < 3; ++i) one.step(), two.step();
    if (one.digest() != two.digest()) return fail(state, "two threads give other bits than one");
    // As in a training, where the other thread is awake when the next step comes.
    constexpr int steps = 4;
    const auto several = [](Run& run) {
        for (int i = 0; i < steps; ++i) run.step();
    };
    const Result r = interleave(state, lane("own", [&] { several(two); }),
                                {lane("one thread", [&] { several(one); }), 1, nullptr}, {});
    state.counters["samples/s"] = steps * c.batch / r.own.seconds;
    state.counters["one_thread"] = steps * c.batch / r.ideal_seconds;
    state.counters["times"] = r.ideal_seconds / r.own.seconds;
    state.counters["times_median"] = r.own.median;
    if (counts_heap_allocations()) state.counters["allocations"] = r.allocations;
}

}  // namespace

void add_threads() {
    const std::vector<Case> cases{{"784-512-512-10", {784, 512, 512, 10}, 256},
                                  {"784-100x4-10", {784, 100, 100, 100, 100, 10}, 100}};
    for (const Case& c : cases)
        add(text("threads/", c.name, "/batch:", c.batch, "/threads:2"), [c](benchmark::State& state) { threads(state, c); });
}

}  // namespace ferrite::bench
