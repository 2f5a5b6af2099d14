// SPDX-License-Identifier: MIT
// What the cases of cases.hpp work on: the same for ferrite_bench, which times them, and for device/, which
// counts their instructions.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ferrite/ferrite.hpp>
#include <new>
#include <span>
#include <vector>

#include "cases.hpp"
#include "limits.hpp"

namespace ferrite::bench {

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
[[nodiscard]] inline Floats numbers(std::size_t count, std::uint64_t stream, float low = -1, float high = 1) {
    const Random random(Seed{1}, stream);
    Floats result(count);
    for (std::size_t i = 0; i < count; ++i) result[i] = random.uniform(i, low, high);
    return result;
}

/// The arrays of a product.
struct ProductOperands {
    Floats a, b, bias, c, scratch;

    explicit ProductOperands(const ProductCase& p)
        : a(numbers(p.m() * p.k(), 1)),
          // Whole groups of vectors, for the limit that reads them.
          b(numbers(limit_elements(p.k() * p.n()), 2)),
          bias(p.has_bias() ? numbers(p.n(), 3) : Floats()),
          c(p.m() * p.n()),
          scratch(p.scratch_floats()) {}
};

/// A dense layer's weights and bias with their optimizer, on the way from dy.
struct DenseUpdateOperands {
    Floats x, dy, w, b, w_states[2], b_states[2];
    UpdateConstants constants;
    DenseBackward arguments{};

    DenseUpdateOperands(const UpdateCase& c, float gradient)
        : x(numbers(std::size_t{c.batch} * c.inputs, 1)),
          dy(numbers(std::size_t{c.batch} * c.outputs, 2, -gradient, gradient)),
          w(numbers(std::size_t{c.inputs} * c.outputs, 3)),
          b(numbers(c.outputs, 4)) {
        c.optimizer.prepare(c.optimizer, c.optimizer.learning_rate, 1, constants);
        arguments.x = x.data();
        arguments.dy = dy.data();
        arguments.w = w.data();
        arguments.b = b.data();
        arguments.batch = c.batch;
        arguments.inputs = arguments.row = c.inputs;
        arguments.outputs = c.outputs;
        arguments.update = c.optimizer.update;
        for (std::size_t i = 0; i < c.optimizer.state_slots; ++i) {
            w_states[i].resize(w.size());
            b_states[i].resize(b.size());
            arguments.w_state[i] = w_states[i].data();
            arguments.b_state[i] = b_states[i].data();
        }
        arguments.w_constants = arguments.b_constants = &constants.gradient_scale;
    }
    DenseUpdateOperands(const DenseUpdateOperands&) = delete;
    DenseUpdateOperands& operator=(const DenseUpdateOperands&) = delete;
};

/// The operands of an update over `size` parameters, padded for the limit.
struct OptimizerOperands {
    Floats p, g, s, t;
    Optimizer optimizer;
    UpdateConstants constants;

    OptimizerOperands(const Optimizer& o, std::size_t size)
        : p(numbers(limit_elements(size), 1)),
          g(numbers(limit_elements(size), 2, -0.01f, 0.01f)),
          s(limit_elements(size)),
          t(limit_elements(size)),
          optimizer(o) {
        optimizer.prepare(optimizer, optimizer.learning_rate, 1, constants);
    }
    [[nodiscard]] Map map(std::size_t columns) {
        return {.operand = {p.data(), g.data(), optimizer.state_slots > 0 ? s.data() : nullptr,
                            optimizer.state_slots > 1 ? t.data() : nullptr},
                .stride = {},
                .rows = 1,
                .columns = columns,
                .constants = &constants.gradient_scale};
    }
};

[[nodiscard]] inline std::vector<AnyLayer> layers_of(const Net& net) {
    std::vector<AnyLayer> layers;
    for (std::size_t i = 1; i < net.units.size(); ++i) {
        layers.push_back(Dense{.units = net.units[i]});
        if (i + 1 == net.units.size()) break;
        if (net.batch_norm) layers.push_back(BatchNorm{});
        layers.push_back(Relu{});
    }
    return layers;
}

using Tables = std::vector<std::uint64_t>;
[[nodiscard]] inline Tables tables_for(std::size_t layers) { return Tables((table_bytes(layers) + 7) / 8); }

using Arena = std::vector<std::byte, LineAllocator<std::byte>>;

/// A network bound to memory, with samples of random pixels and labels that go round.
class TrainingRun {
  public:
    explicit TrainingRun(const TrainingCase& c, std::size_t samples = 4000)
        : samples_(samples), batch_(c.batch), inputs_(c.net.units.front()), layers_(layers_of(c.net)) {
        recipe_.optimizer = c.optimizer;
        recipe_.batch = c.batch;
        tables_ = tables_for(layers_.size());
        const auto program = compile(DynamicModel{Shape{inputs_}, layers_}, recipe_,
                                     std::as_writable_bytes(std::span(tables_)));
        if (!program.ok()) return;
        arena_.resize(program.value().totals->arena_bytes);
        const auto bound = TrainingSession::bind(program.value(), recipe_, arena_);
        if (!bound.ok()) return;
        session_ = bound.value();
        session_.initialize(Seed{1});
        pixels_ = numbers(samples_ * inputs_, 1, 0, 1);
        const Random random(Seed{1}, 2);
        for (std::size_t i = 0; i < samples_; ++i)
            labels_.push_back(static_cast<Label>(random.bits(i) % c.net.units.back()));
        ready_ = true;
    }
    [[nodiscard]] std::size_t samples() const { return samples_; }
    [[nodiscard]] bool ready() const { return ready_; }
    [[nodiscard]] std::size_t arena_bytes() const { return arena_.size(); }
    [[nodiscard]] const TrainingSession& session() const { return session_; }
    [[nodiscard]] const Floats& pixels() const { return pixels_; }
    [[nodiscard]] const std::vector<Label>& labels() const { return labels_; }

    float step() {
        const std::size_t first = next_;
        next_ = next_ + 2 * batch_ > samples_ ? 0 : next_ + batch_;
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
    [[nodiscard]] bool same_parameters(const TrainingRun& other) const {
        const auto a = session_.parameters(), b = other.session_.parameters();
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
    }

  private:
    std::size_t samples_, batch_;
    std::uint32_t inputs_;
    std::vector<AnyLayer> layers_;
    Training recipe_;
    Tables tables_;
    Arena arena_;
    TrainingSession session_;
    Floats pixels_;
    std::vector<Label> labels_;
    std::size_t next_ = 0;
    bool ready_ = false;
};

/// predict() with the weights of a training that was only initialized.
class Prediction {
  public:
    explicit Prediction(const InferenceCase& c)
        : layers_(layers_of(c.net)), tables_(tables_for(layers_.size())) {
        const DynamicModel model{Shape{c.net.units.front()}, layers_};
        Training recipe;
        recipe.batch = c.batch;
        Tables training_tables = tables_for(layers_.size());
        const auto training = compile(model, recipe, std::as_writable_bytes(std::span(training_tables)));
        const auto program =
            compile(model, Inference{.batch = c.batch}, std::as_writable_bytes(std::span(tables_)));
        if (!training.ok() || !program.ok()) return;
        Arena training_arena(training.value().totals->arena_bytes);
        const auto trained = TrainingSession::bind(training.value(), recipe, training_arena);
        if (!trained.ok()) return;
        TrainingSession start = trained.value();
        start.initialize(Seed{1});
        parameters_.assign(start.parameters().begin(), start.parameters().end());
        arena_.resize(program.value().totals->arena_bytes);
        const auto bound = InferenceSession::bind(program.value(), parameters_, arena_);
        if (!bound.ok()) return;
        session_ = bound.value();
        inputs_ = numbers(std::size_t{c.batch} * c.net.units.front(), 1, 0, 1);
        ready_ = true;
    }
    [[nodiscard]] bool ready() const { return ready_; }
    std::span<const float> operator()() { return session_.predict(inputs_); }

  private:
    std::vector<AnyLayer> layers_;
    Tables tables_;
    Arena parameters_, arena_;
    InferenceSession session_;
    Floats inputs_;
    bool ready_ = false;
};

}  // namespace ferrite::bench
