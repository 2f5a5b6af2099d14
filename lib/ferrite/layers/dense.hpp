// SPDX-License-Identifier: MIT
// Dense: the fully connected layer. Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

namespace dense_detail {

/// Rows of a register tile, in which shares of a batch go.
inline constexpr std::size_t row_run = 4;

constexpr std::size_t runs(std::size_t size, std::size_t run) noexcept { return (size + run - 1) / run; }

/// Shared by columns of y or by its rows, whichever makes the larger share the smaller one: columns read W once between them,
/// rows serve narrow outputs.
template <bool shared>
void forward(const Call& call) {
    const Step& step = *call.step;
    const std::size_t inputs = step.size[0], outputs = step.size[1], batch = call.pass->rows;
    Share rows{0, batch}, columns{0, outputs};
    if constexpr (shared) {
        const auto largest = [&](std::size_t size, std::size_t run) { return runs(runs(size, run), call.workers) * run; };
        if (largest(outputs, column_run(outputs)) * batch <= largest(batch, row_run) * outputs)
            columns = call.share(outputs, column_run(outputs));
        else
            rows = call.share(batch, row_run);
        if (rows.count == 0 || columns.count == 0) return;
    }
    kernels::gemm({.a = call.at(1, rows.first * inputs), .a_row = inputs, .a_step = 1, .b = call.at(3, columns.first),
                   .b_row = outputs, .c = call.at(0, rows.first * outputs + columns.first), .c_row = outputs,
                   .m = rows.count, .n = columns.count, .k = inputs, .bias = call.at(4, columns.first),
                   .epilogue = step.map, .constants = step.constant, .scratch = nullptr});
}

/// Shared by inputs. The first worker, whose share is the smallest, has b as well.
template <bool shared>
void backward(const Call& call) {
    const Step& step = *call.step;
    const std::size_t inputs = step.size[0], outputs = step.size[1];
    const auto [first, count] = shared ? call.share(inputs, column_run(inputs)) : Share{0, inputs};
    const std::size_t row = first * outputs;  // of W, its gradient and its states
    const bool bias = !shared || call.worker == 0;
    kernels::dense_backward({.x = call.at(6, first),
                             .dy = call.operand[1],
                             .w = call.at(3, row),
                             .b = bias ? call.operand[4] : nullptr,
                             .batch = call.pass->rows,
                             .inputs = count,
                             .outputs = outputs,
                             .row = inputs,
                             .dx = call.at(0, first),
                             .aux = call.at(2, first),
                             .derivative = step.map,
                             .derivative_constants = step.constant,
                             .dw = step.update ? nullptr : call.at(7, row),
                             .db = step.update || !bias ? nullptr : call.operand[8],
                             .update = step.update,
                             .w_state = {call.at(7, row), call.at(9, row)},
                             .b_state = {call.operand[8], call.operand[10]},
                             .w_constants = &call.pass->weights.gradient_scale,
                             .b_constants = &call.pass->others.gradient_scale,
                             .scratch = call.at(5, shared ? call.worker * step.scratch : 0)});
}

// A step of a single worker runs what divides nothing.
constexpr Run* forward_for(std::uint8_t workers) noexcept { return workers > 1 ? &forward<true> : &forward<false>; }
constexpr Run* backward_for(std::uint8_t workers) noexcept { return workers > 1 ? &backward<true> : &backward<false>; }
constexpr bool is_forward(Run* run) noexcept { return run == &forward<true> || run == &forward<false>; }
constexpr bool is_backward(Run* run) noexcept { return run == &backward<true> || run == &backward<false>; }

}  // namespace dense_detail

/// y = x W + b. x: (B, I), I = the elements of the input shape; W: (I, units); b: (units); y: (B, units).
/// Each y(r, o) is one chain of fma in ascending i that starts at b(o). Backward, with dy: dW = xᵀ dy, db = sum of dy
/// over r, dx = dy Wᵀ with W as it was before the update. The order is that of kernels::dense_backward.
struct Dense {
    std::uint32_t units = 1;
    bool bias = true;
    bool frozen = false;         ///< W and b keep their values: no gradients, no optimizer state
    Initializer initializer{};   ///< of W; automatic: by the activation behind
    Initializer bias_initializer{Initializer::Kind::zero, 0};

    static constexpr const char* name = "dense";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::linear;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        visit(self.units), visit(self.bias), visit(self.frozen), visit(self.initializer), visit(self.bias_initializer);
    }

    /// (units); no shape for an input without elements or for zero units.
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept {
        return in.elements() == 0 || units == 0 ? Shape{} : Shape{units};
    }

    constexpr void forward(Emitter& e, Node& n) const noexcept {
        const std::uint32_t inputs = n.in.elements();
        Initializer init = initializer;
        if (init.kind == Initializer::Kind::automatic && n.next == Nonlinearity::rectifier) init = HeNormal{};
        if (std::uint64_t{inputs} * units >= (std::uint64_t{1} << 30)) return e.fail(Status::too_large);
        n.parameter[0] = e.parameter({.name = "W", .layer = n.layer, .elements = inputs * units, .fan_in = inputs,
                                      .initializer = init, .trainable = !frozen, .decays = true});
        if (bias)
            n.parameter[1] = e.parameter({.name = "b", .layer = n.layer, .elements = units, .fan_in = inputs,
                                          .initializer = bias_initializer, .trainable = !frozen, .decays = false});
        n.y = e.activation("dense", n.layer, units);
        using dense_detail::runs, dense_detail::row_run;
        const std::uint64_t flops = std::uint64_t{2} * inputs * units;
        const std::size_t by_columns = runs(units, column_run(units)), by_rows = runs(e.batch(), row_run);
        const std::uint8_t workers = e.workers(flops * e.batch(), by_columns < by_rows ? by_rows : by_columns);
        e.step({.name = "dense",
                .run = dense_detail::forward_for(workers),
                .layer = n.layer,
                .takes_map = true,
                .workers = workers,
                .operand = operands(n.y, n.x, no_buffer, e.parameter(n.parameter[0]).value,
                                    bias ? e.parameter(n.parameter[1]).value : no_buffer),
                .size = {inputs, units},
                .flops = flops});
    }

    constexpr void backward(Emitter& e, Node& n) const noexcept {
        if (frozen && !n.wants_dx) return;
        const std::uint32_t inputs = n.in.elements();
        const Parameter w = e.parameter(n.parameter[0]);
        const Parameter b = bias ? e.parameter(n.parameter[1]) : Parameter{};
        const std::uint64_t flops = std::uint64_t{2} * inputs * units * ((n.wants_dx ? 1u : 0u) + (frozen ? 0u : 1u));
        const std::uint8_t workers = e.workers(flops * e.batch(), dense_detail::runs(inputs, column_run(inputs)));
        const std::size_t own = dense_scratch_floats(units, e.batch());
        BufferId scratch = no_buffer;
        if (n.wants_dx) {
            n.dx = e.activation("dense gradient", n.layer, inputs, n.x);
            if (own != 0) scratch = e.scratch("transposed W", n.layer, workers * own);
        }
        Step s{.name = "dense backward",
               .run = dense_detail::backward_for(workers),
               .layer = n.layer,
               .takes_map = n.wants_dx,
               .takes_auxiliary = n.wants_dx,
               .workers = workers,
               .operand = operands(n.dx, n.dy, no_buffer, w.value, b.value, scratch, n.x),
               .size = {inputs, units},
               .scratch = static_cast<std::uint32_t>(own),
               .flops = flops};
        if (frozen) {
            s.operand[4] = s.operand[6] = no_buffer;
        } else if (e.immediate()) {
            s.update = e.optimizer()->update;
            for (std::size_t i = 0; i < 2; ++i) {
                s.operand[7 + 2 * i] = w.state[i];
                s.operand[8 + 2 * i] = b.state[i];
            }
        } else {
            s.operand[7] = w.gradient;
            s.operand[8] = b.gradient;
        }
        e.step(s);
    }
};

}  // namespace ferrite
