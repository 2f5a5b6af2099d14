// SPDX-License-Identifier: MIT
// BatchNorm, LayerNorm. Formulas and orders: struct Normalization in kernels.hpp. Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

namespace normalization_detail {

/// Operands: 0 y, 1 x, 3 gamma, 4 beta, 5 running mean, 7 running variance, 8 mean and inverse of the batch.
/// size: elements per sample, channels. constant: epsilon, momentum.
inline Normalization forward_arguments(const Call& call) noexcept {
    const std::size_t channels = call.step->size[1];
    return {.x = call.operand[1], .dy = nullptr, .y = call.operand[0], .gamma = call.operand[3], .beta = call.operand[4],
            .mean = call.operand[8], .inverse = nullptr, .running_mean = call.operand[5],
            .running_variance = call.operand[7], .dgamma = nullptr, .dbeta = nullptr,
            .rows = std::size_t{call.pass->rows} * (call.step->size[0] / channels), .columns = channels, .row = channels,
            .epsilon = call.step->constant[0], .momentum = call.step->constant[1]};
}
/// Operands: 0 dx, 1 dy, 2 mean and inverse, 3 gamma, 6 x, 8 dgamma, 9 dbeta.
inline Normalization backward_arguments(const Call& call) noexcept {
    Normalization a = forward_arguments(call);
    a.x = call.operand[6];
    a.dy = call.operand[1];
    a.mean = call.operand[2];
    a.dgamma = call.operand[8];
    a.dbeta = call.operand[9];
    return a;
}

/// This worker's columns of a batch normalization; `a` has no inverse yet.
inline Normalization columns_of(const Call& call, Normalization a) noexcept {
    const auto [first, count] = call.share(a.columns, column_run(a.columns));
    const auto move = [first = first](auto*& p) {
        if (p != nullptr) p += first;
    };
    if (a.mean != nullptr) a.inverse = a.mean + a.columns;
    move(a.x), move(a.dy), move(a.y), move(a.gamma), move(a.beta), move(a.mean), move(a.inverse), move(a.running_mean);
    move(a.running_variance), move(a.dgamma), move(a.dbeta);
    a.columns = count;
    return a;
}
inline void batch_norm_inference(const Call& call) { kernels::batch_norm_inference(columns_of(call, forward_arguments(call))); }
inline void batch_norm(const Call& call) {
    const Normalization a = columns_of(call, forward_arguments(call));
    call.pass->training ? kernels::batch_norm(a) : kernels::batch_norm_inference(a);
}
inline void batch_norm_backward(const Call& call) { kernels::batch_norm_backward(columns_of(call, backward_arguments(call))); }
/// dx = dy gamma / sqrt(running_variance + epsilon): operands as forward, without beta and running mean.
inline void batch_norm_frozen_backward(const Call& call) { batch_norm_inference(call); }

/// Operands as batch_norm, without running values; without statistics nobody goes back. Shared by rows; the sums of the
/// backward pass go over all rows for gamma and beta, over all columns for dx, so that one worker has it.
inline void layer_norm(const Call& call) {
    Normalization a = forward_arguments(call);
    const auto [first, rows] = call.share(a.rows, 1);
    if (a.mean != nullptr) {
        a.inverse = a.mean + a.rows + first;
        a.mean += first;
    }
    a.x += first * a.row;
    a.y += first * a.row;
    a.rows = rows;
    kernels::layer_norm(a);
}
inline void layer_norm_backward(const Call& call) {
    Normalization a = backward_arguments(call);
    a.inverse = a.mean + a.rows;
    kernels::layer_norm_backward(a);
}

[[nodiscard]] constexpr std::uint32_t channels(Shape in) noexcept { return in.rank == 0 ? 0 : in[in.rank - 1]; }

constexpr std::uint8_t workers(const Emitter& e, Shape in, std::uint64_t shares) noexcept {
    return e.workers(std::uint64_t{32} * in.elements() * e.batch(), shares);
}

}  // namespace normalization_detail

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta, for every feature of (B, I), or every channel of (B, H, W, C): the
/// last extent. In training mean and variance (biased) are those of the B, or B H W, values at hand, and
///     running = momentum running + (1 - momentum) batch value;
/// inference takes the running values. Ioffe and Szegedy, arXiv 1502.03167.
/// batch_of_one: with B = 1 and (I) there is nothing to normalize by; a part batch of one sample gives y = beta and changes
/// no running value. In an inference program a BatchNorm behind a Dense is folded into its W and b.
/// Parameters: gamma and beta, without weight decay, running_mean, running_variance.
struct BatchNorm {
    float momentum = 0.9f;          ///< in [0, 1)
    float epsilon = 1e-5f;          ///< > 0; the chapter's code has 1e-6
    float initial_variance = 1.0f;  ///< start of the running variance; the chapter starts at 0
    bool frozen = false;            ///< gamma, beta and the running values stay, and training normalizes with the latter too

    static constexpr const char* name = "batch_norm";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        visit(self.momentum), visit(self.epsilon), visit(self.initial_variance), visit(self.frozen);
    }
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept { return in; }

    constexpr void forward(Emitter& e, Node& n) const noexcept {
        using namespace normalization_detail;
        if (!(momentum >= 0.0f && momentum < 1.0f) || !optimizer_detail::positive(epsilon) || !(initial_variance >= 0.0f))
            return e.fail(Status::invalid_hyperparameter);
        const std::uint32_t c = channels(n.in), elements = n.in.elements();
        const bool learns = e.training() && !frozen;
        if (learns && e.batch() == 1 && elements == c) return e.fail(Status::batch_of_one);
        const auto parameter = [&](const char* its_name, Initializer start, bool trainable) {
            return e.parameter({.name = its_name, .layer = n.layer, .elements = c, .initializer = start,
                                .trainable = trainable && !frozen, .decays = false});
        };
        n.parameter[0] = parameter("gamma", Constant{1.0f}, true);
        n.parameter[1] = parameter("beta", Zero{}, true);
        n.parameter[2] = parameter("running_mean", Zero{}, false);
        n.parameter[3] = parameter("running_variance", Constant{initial_variance}, false);
        // x is kept: the backward pass normalizes it once more.
        n.y = learns ? e.activation(name, n.layer, elements) : e.activation(name, n.layer, elements, n.x);
        n.kept[0] = learns ? e.scratch("batch statistics", n.layer, std::size_t{2} * c) : no_buffer;
        e.step({.name = name,
                .run = learns ? &batch_norm : &batch_norm_inference,
                .layer = n.layer,
                .workers = workers(e, n.in, c / 4),
                .operand = operands(n.y, n.x, no_buffer, value(e, n, 0), value(e, n, 1), value(e, n, 2), no_buffer,
                                    value(e, n, 3), n.kept[0]),
                .size = {elements, c},
                .constant = {epsilon, momentum}});
    }

    constexpr void backward(Emitter& e, Node& n) const noexcept {
        using namespace normalization_detail;
        if (frozen && !n.wants_dx) return;
        if (n.wants_dx) n.dx = e.activation("batch_norm gradient", n.layer, n.in.elements(), n.dy);
        Step s{.name = "batch_norm backward",
               .run = frozen ? &batch_norm_frozen_backward : &batch_norm_backward,
               .layer = n.layer,
               .workers = workers(e, n.in, channels(n.in) / 4),
               .operand = operands(n.dx, n.dy, n.kept[0], value(e, n, 0)),
               .size = {n.in.elements(), channels(n.in)},
               .constant = {epsilon, momentum}};
        if (frozen) {
            s.operand[7] = value(e, n, 3);
            return e.step(s);
        }
        s.operand[6] = n.x;
        s.operand[8] = e.gradient(n.parameter[0]);
        s.operand[9] = e.gradient(n.parameter[1]);
        e.step(s);
        e.apply(n.parameter[0], s.operand[8]);
        e.apply(n.parameter[1], s.operand[9]);
    }

  private:
    static constexpr BufferId value(const Emitter& e, const Node& n, std::size_t i) noexcept {
        return e.parameter(n.parameter[i]).value;
    }
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta with mean and variance (biased) over the last extent: of a sample
/// (I), or of each position of (H, W, C). The same in training and inference. Ba et al., arXiv 1607.06450.
/// Parameters: gamma and beta, one value per element of the last extent, without weight decay.
struct LayerNorm {
    float epsilon = 1e-5f;  ///< > 0
    bool frozen = false;    ///< gamma and beta stay

    static constexpr const char* name = "layer_norm";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        visit(self.epsilon), visit(self.frozen);
    }
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept { return in; }

    constexpr void forward(Emitter& e, Node& n) const noexcept {
        using namespace normalization_detail;
        if (!optimizer_detail::positive(epsilon)) return e.fail(Status::invalid_hyperparameter);
        const std::uint32_t c = channels(n.in), elements = n.in.elements();
        const auto parameter = [&](const char* its_name, Initializer start) {
            return e.parameter({.name = its_name, .layer = n.layer, .elements = c, .initializer = start,
                                .trainable = !frozen, .decays = false});
        };
        n.parameter[0] = parameter("gamma", Constant{1.0f});
        n.parameter[1] = parameter("beta", Zero{});
        const bool kept = e.training() && (n.wants_dx || !frozen);
        n.y = kept ? e.activation(name, n.layer, elements) : e.activation(name, n.layer, elements, n.x);
        if (kept) n.kept[0] = e.scratch("row statistics", n.layer, std::size_t{2} * e.batch() * (elements / c));
        e.step({.name = name,
                .run = &layer_norm,
                .layer = n.layer,
                .workers = workers(e, n.in, max_threads),
                .operand = operands(n.y, n.x, no_buffer, value(e, n, 0), value(e, n, 1), no_buffer, no_buffer, no_buffer,
                                    n.kept[0]),
                .size = {elements, c},
                .constant = {epsilon}});
    }

    constexpr void backward(Emitter& e, Node& n) const noexcept {
        using namespace normalization_detail;
        if (frozen && !n.wants_dx) return;
        if (n.wants_dx) n.dx = e.activation("layer_norm gradient", n.layer, n.in.elements(), n.dy);
        Step s{.name = "layer_norm backward",
               .run = &layer_norm_backward,
               .layer = n.layer,
               .operand = operands(n.dx, n.dy, n.kept[0], value(e, n, 0), no_buffer, no_buffer, n.x),
               .size = {n.in.elements(), channels(n.in)},
               .constant = {epsilon}};
        if (frozen) return e.step(s);
        s.operand[8] = e.gradient(n.parameter[0]);
        s.operand[9] = e.gradient(n.parameter[1]);
        e.step(s);
        e.apply(n.parameter[0], s.operand[8]);
        e.apply(n.parameter[1], s.operand[9]);
    }

  private:
    static constexpr BufferId value(const Emitter& e, const Node& n, std::size_t i) noexcept {
        return e.parameter(n.parameter[i]).value;
    }
};

}  // namespace ferrite
