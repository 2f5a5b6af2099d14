// SPDX-License-Identifier: MIT
// Dense: the fully connected layer. Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

namespace dense_detail {

inline void forward(const Call& call) {
    const Step& step = *call.step;
    const std::size_t inputs = step.size[0], outputs = step.size[1];
    kernels::gemm({.a = call.operand[1], .a_row = inputs, .a_step = 1, .b = call.operand[3], .b_row = outputs,
                   .c = call.operand[0], .c_row = outputs, .m = call.pass->rows, .n = outputs, .k = inputs,
                   .bias = call.operand[4], .epilogue = step.map, .constants = step.constant,
                   .scratch = nullptr});
}

inline void backward(const Call& call) {
    const Step& step = *call.step;
    kernels::dense_backward({.x = call.operand[6],
                             .dy = call.operand[1],
                             .w = call.operand[3],
                             .b = call.operand[4],
                             .batch = call.pass->rows,
                             .inputs = step.size[0],
                             .outputs = step.size[1],
                             .dx = call.operand[0],
                             .aux = call.operand[2],
                             .derivative = step.map,
                             .derivative_constants = step.constant,
                             .dw = step.update ? nullptr : call.operand[7],
                             .db = step.update ? nullptr : call.operand[8],
                             .update = step.update,
                             .w_state = {call.operand[7], call.operand[9]},
                             .b_state = {call.operand[8], call.operand[10]},
                             .w_constants = &call.pass->weights.gradient_scale,
                             .b_constants = &call.pass->others.gradient_scale,
                             .scratch = call.operand[5]});
}

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
        e.step({.name = "dense",
                .run = &dense_detail::forward,
                .layer = n.layer,
                .takes_map = true,
                .operand = operands(n.y, n.x, no_buffer, e.parameter(n.parameter[0]).value,
                                    bias ? e.parameter(n.parameter[1]).value : no_buffer),
                .size = {inputs, units},
                .flops = std::uint64_t{2} * inputs * units});
    }

    constexpr void backward(Emitter& e, Node& n) const noexcept {
        if (frozen && !n.wants_dx) return;
        const std::uint32_t inputs = n.in.elements();
        const Parameter w = e.parameter(n.parameter[0]);
        const Parameter b = bias ? e.parameter(n.parameter[1]) : Parameter{};
        BufferId scratch = no_buffer;
        if (n.wants_dx) {
            n.dx = e.activation("dense gradient", n.layer, inputs, n.x);
            scratch = e.scratch("transposed W", n.layer, dense_scratch_floats(units, e.batch()));
        }
        Step s{.name = "dense backward",
               .run = &dense_detail::backward,
               .layer = n.layer,
               .takes_map = n.wants_dx,
               .takes_auxiliary = n.wants_dx,
               .operand = operands(n.dx, n.dy, no_buffer, w.value, b.value, scratch, n.x),
               .size = {inputs, units},
               .flops = std::uint64_t{2} * inputs * units * (n.wants_dx ? 1u : 0u)};
        if (frozen) {
            s.operand[4] = s.operand[6] = no_buffer;
        } else {
            s.flops += std::uint64_t{2} * inputs * units;
            if (e.immediate()) {
                s.update = e.optimizer()->update;
                for (std::size_t i = 0; i < 2; ++i) {
                    s.operand[7 + 2 * i] = w.state[i];
                    s.operand[8 + 2 * i] = b.state[i];
                }
            } else {
                s.operand[7] = w.gradient;
                s.operand[8] = b.gradient;
            }
        }
        e.step(s);
    }
};

}  // namespace ferrite
