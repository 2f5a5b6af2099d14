// SPDX-License-Identifier: MIT
// Dropout: random zeros in training. Formula: struct DropoutArguments in kernels.hpp. Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

/// Where Dropout makes up for what it takes away.
enum class DropoutScaling : std::uint8_t {
    inverted,   ///< training: kept values are multiplied by 1 / (1 - rate); inference: nothing to do
    inference,  ///< training: kept values stay; inference: all are multiplied by 1 - rate (the chapter's form)
};

namespace dropout_detail {

/// Streams of the session's seed; parameter arrays have those below 2^16.
inline constexpr std::uint64_t stream = std::uint64_t{1} << 34;

/// Operands: 0 y, 1 x. size: elements per sample, seed. constant: threshold as bits, scale in training, in inference.
inline void run(const Call& call) {
    const Step& step = *call.step;
    const Pass& pass = *call.pass;
    const std::size_t columns = step.size[0];
    const auto [first, size] = call.share(columns * pass.rows, line_floats);
    if (!pass.training) {
        kernels::scale({.operand = {call.at(0, first), call.at(1, first), nullptr, nullptr}, .stride = {size, size, 0, 0},
                        .rows = 1, .columns = size, .constants = step.constant + 2});
        return;
    }
    kernels::dropout({.x = call.at(1, first), .y = call.at(0, first), .size = size,
                      .random = step.size[1] != 0 ? Random(Seed{step.size[1]}) : Random(pass.seed, stream + step.layer),
                      .first = pass.first_sample * columns + first, .threshold = static_cast<std::uint32_t>(step.constant[0]),
                      .scale = step.constant[1]});
}

}  // namespace dropout_detail

/// In training every value is zeroed with probability `rate`, anew in each iteration. Element (r, i) of iteration t = 0, 1, ...
/// has position (t B + r) I + i in a counter-based stream, so that no mask is stored: the backward pass computes it once
/// more. B: the recipe's batch. Srivastava et al., JMLR 15 (2014).
struct Dropout {
    float rate = 0.5f;  ///< in [0, 1), taken down to a multiple of 2^-24
    DropoutScaling scaling = DropoutScaling::inverted;
    std::uint32_t seed = 0;  ///< of its own stream; 0: a stream of the seed of initialize(), by the layer's index

    static constexpr const char* name = "dropout";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        bool at_inference = self.scaling == DropoutScaling::inference;
        visit(self.rate), visit(at_inference), visit(self.seed);
        if constexpr (!std::is_const_v<Self>)
            self.scaling = at_inference ? DropoutScaling::inference : DropoutScaling::inverted;
    }
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept { return in; }

    constexpr void forward(Emitter& e, Node& n) const noexcept {
        if (!(rate >= 0.0f && rate < 1.0f)) return e.fail(Status::invalid_hyperparameter);
        n.y = n.x;
        if (rate == 0.0f) return;
        const bool inverted = scaling == DropoutScaling::inverted;
        const float left = 1.0f - rate;
        const std::uint32_t elements = n.out.elements();
        if (e.training()) {
            n.y = e.activation(name, n.layer, elements, n.x);
            e.step(step(e, n, n.y, n.x, inverted ? 1.0f / left : 1.0f, inverted ? 1.0f : left));
        } else if (!inverted) {
            n.y = e.activation(name, n.layer, elements, n.x);
            e.step({.name = name, .run = &run_map, .map = &kernels::scale, .layer = n.layer,
                    .workers = e.map_workers(elements), .operand = operands(n.y, n.x), .size = {elements, 0}, .constant = {left}});
        }
    }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        n.dx = n.dy;
        if (!n.wants_dx || rate == 0.0f) return;
        n.dx = e.activation("dropout gradient", n.layer, n.in.elements(), n.dy);
        e.step(step(e, n, n.dx, n.dy, scaling == DropoutScaling::inverted ? 1.0f / (1.0f - rate) : 1.0f, 1.0f));
    }

  private:
    [[nodiscard]] constexpr Step step(const Emitter& e, const Node& n, BufferId y, BufferId x, float training_scale,
                                      float inference_scale) const noexcept {
        // Whole numbers below 2^24 are exact.
        const auto threshold = static_cast<std::uint32_t>(rate * 0x1p24f);
        return {.name = name, .run = &dropout_detail::run, .layer = n.layer,
                .workers = e.workers(std::uint64_t{64} * n.out.elements() * e.batch()), .operand = operands(y, x),
                .size = {n.out.elements(), seed},
                .constant = {static_cast<float>(threshold), training_scale, inference_scale}};
    }
};

}  // namespace ferrite
