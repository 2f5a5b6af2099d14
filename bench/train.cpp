// SPDX-License-Identifier: MIT
// Whole training steps: forward, loss, backward, update. Counted as floating-point work: the matrix products,
// without the gradient of the network's input, which nobody needs.
#include <cmath>
#include <cstring>
#include <ferrite/ferrite.hpp>

#include "bench.hpp"

namespace ferrite::bench {

namespace {

struct Case {
    const char* net;
    std::vector<std::uint32_t> units;  ///< inputs first, classes last
    Optimizer optimizer;
    std::uint32_t batch;
};

/// A network bound to memory, with 4000 samples of random pixels and labels that go round.
class Run {
  public:
    static constexpr std::size_t samples = 4000;

    explicit Run(const Case& c) : batch_(c.batch), inputs_(c.units.front()) {
        for (std::size_t i = 1; i < c.units.size(); ++i) {
            layers_.push_back(Dense{.units = c.units[i]});
            if (i + 1 < c.units.size()) layers_.push_back(Relu{});
        }
        recipe_.optimizer = c.optimizer;
        recipe_.batch = c.batch;
        tables_.resize((table_bytes(layers_.size()) + 7) / 8);
        const auto program = compile(DynamicModel{Shape{inputs_}, layers_}, recipe_,
                                     std::as_writable_bytes(std::span(tables_)));
        if (!program.ok()) return;
        arena_.resize(program.value().totals->arena_bytes);
        const auto bound = TrainingSession::bind(program.value(), recipe_, arena_);
        if (!bound.ok()) return;
        session_ = bound.value();
        session_.initialize(Seed{1});
        pixels_ = numbers(samples * inputs_, 1, 0, 1);
        const Random random(Seed{1}, 2);
        for (std::size_t i = 0; i < samples; ++i)
            labels_.push_back(static_cast<Label>(random.bits(i) % c.units.back()));
        ready_ = true;
    }
    [[nodiscard]] bool ready() const { return ready_; }
    [[nodiscard]] std::size_t arena_bytes() const { return arena_.size(); }

    float step() {
        const std::size_t first = next_;
        next_ = next_ + 2 * batch_ > samples ? 0 : next_ + batch_;
        return session_.step(std::span(pixels_).subspan(first * inputs_, batch_ * inputs_),
                             std::span(labels_).subspan(first, batch_));
    }
    /// The loss of the first batch before and after some steps on it alone.
    [[nodiscard]] bool learns() {
        const float before = (next_ = 0, step());
        for (int i = 0; i < 20; ++i) next_ = 0, step();
        const float after = (next_ = 0, step());
        return std::isfinite(after) && after < before;
    }
    [[nodiscard]] bool same_parameters(const Run& other) const {
        const auto a = session_.parameters(), b = other.session_.parameters();
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
    }

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
    bool ready_ = false;
};

/// Whether one step gives the bits that the scalar kernels give; true where this build has only one set of
/// kernels.
bool equals_scalar(const Case& c) {
    const char* const active = name(active_isa());
    Run fast(c), scalar(c);
    if (!fast.ready() || !scalar.ready()) return false;
    fast.step();
    if (select_isa("scalar") != Status::ok) return true;
    scalar.step();
    return select_isa(active) == Status::ok && fast.same_parameters(scalar);
}

double flops_per_sample(const std::vector<std::uint32_t>& units) {
    double flops = 0;
    for (std::size_t i = 1; i < units.size(); ++i)
        flops += 2.0 * units[i - 1] * units[i] * (i == 1 ? 2 : 3);  // y, dW and, above the first layer, dx
    return flops;
}

void train(benchmark::State& state, const Case& c) {
    if (!equals_scalar(c)) return fail(state, "one step differs from that of the scalar kernels");
    Run run(c);
    if (!run.learns()) return fail(state, "the loss does not fall");
    const double batch = c.batch;
    const Timing t = compare_with_peak(state, batch * flops_per_sample(c.units),
                                       [&run] { benchmark::DoNotOptimize(run.step()); });
    state.counters["us/sample"] = 1e6 * t.seconds / batch;
    state.counters["samples/s"] = batch / t.seconds;
    if (counts_heap_allocations()) state.counters["allocations"] = t.allocations;
    state.counters["arena"] = static_cast<double>(run.arena_bytes());
}

}  // namespace

void add_train() {
    std::vector<Case> cases{{"784-100-10", {784, 100, 10}, Adam{}, 100},
                            {"784-100-10", {784, 100, 10}, Sgd{}, 100}};
    for (const Optimizer& optimizer : {Optimizer(Sgd{}), Optimizer(Adam{})})
        for (const std::uint32_t batch : {1u, 10u, 100u})
            cases.push_back({"784-100x4-10", {784, 100, 100, 100, 100, 10}, optimizer, batch});
    for (const Case& c : cases)
        add(text("train/", c.net, "/", c.optimizer.name, "/batch:", c.batch),
            [c](benchmark::State& state) { train(state, c); });
}

}  // namespace ferrite::bench
