// SPDX-License-Identifier: MIT
// The activations: Relu, LeakyRelu, Sigmoid, Tanh, Gelu, Softmax. Formulas and orders: kernels.hpp.
// Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

namespace activation_detail {

constexpr void forward(Emitter& e, Node& n, const Kernel<Map>& map, float constant = 0) noexcept {
    n.y = e.activation(map.name, n.layer, n.out.elements(), n.x);
    e.step({.name = map.name, .run = &run_map, .map = &map, .layer = n.layer,
            .workers = e.map_workers(n.out.elements()), .operand = operands(n.y, n.x),
            .size = {n.out.elements(), 0}, .constant = {constant}});
}

/// `kept`: the operand that the derivative is a function of, y or x.
constexpr void backward(Emitter& e, Node& n, const Kernel<Map>& map, BufferId kept, float constant = 0) noexcept {
    if (!n.wants_dx) return;
    n.dx = e.activation("activation gradient", n.layer, n.in.elements(), n.dy);
    e.step({.name = map.name, .run = &run_map, .map = &map, .layer = n.layer,
            .workers = e.map_workers(n.in.elements()),
            .operand = operands(n.dx, n.dy, kept),
            .size = {n.in.elements(), 0}, .constant = {constant}});
}

template <bool shared>
void softmax_forward(const Call& call) {
    const std::size_t columns = call.step->size[0];
    const auto [first, rows] = shared ? call.share(call.pass->rows, 1) : Share{0, call.pass->rows};
    kernels::softmax({.x = call.at(1, first * columns), .dy = nullptr, .y = call.at(0, first * columns), .rows = rows,
                      .columns = columns});
}
inline void softmax_backward(const Call& call) {
    const std::size_t columns = call.step->size[0];
    const auto [first, rows] = call.share(call.pass->rows, 1);
    kernels::softmax_backward({.x = call.at(2, first * columns), .dy = call.at(1, first * columns),
                               .y = call.at(0, first * columns), .rows = rows, .columns = columns});
}
// A step of a single worker runs what divides nothing.
constexpr Run* softmax_for(std::uint8_t workers) noexcept {
    return workers > 1 ? &softmax_forward<true> : &softmax_forward<false>;
}
constexpr std::uint8_t softmax_workers(const Emitter& e, std::uint32_t elements) noexcept {
    return e.workers(std::uint64_t{64} * elements * e.batch(), e.batch());
}

/// What every activation of this file has in common: the shape passes through and there is nothing to configure.
struct Elementwise {
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept { return in; }
    template <class Self, class Visit>
    static constexpr void fields(Self&, Visit&&) {}
};

}  // namespace activation_detail

/// y = max(0, x), NaN stays NaN; the derivative at 0 is 0. In place.
struct Relu : activation_detail::Elementwise {
    static constexpr const char* name = "relu";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::rectifier;
    constexpr void forward(Emitter& e, Node& n) const noexcept { activation_detail::forward(e, n, kernels::relu); }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        activation_detail::backward(e, n, kernels::relu_backward, n.y);
    }
};

/// y = x for x > 0, slope x otherwise; slope in (0, 1]. In place. Maas et al., ICML 2013.
struct LeakyRelu {
    float slope = 0.01f;
    static constexpr const char* name = "leaky_relu";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::rectifier;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        visit(self.slope);
    }
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept { return in; }
    constexpr void forward(Emitter& e, Node& n) const noexcept {
        if (!(slope > 0.0f && slope <= 1.0f)) return e.fail(Status::invalid_hyperparameter);
        activation_detail::forward(e, n, kernels::leaky_relu, slope);
    }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        activation_detail::backward(e, n, kernels::leaky_relu_backward, n.y, slope);
    }
};

/// y = 1 / (1 + exp(-x)). In place. Not in front of BinaryCrossEntropy, which takes logits.
struct Sigmoid : activation_detail::Elementwise {
    static constexpr const char* name = "sigmoid";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::logistic;
    constexpr void forward(Emitter& e, Node& n) const noexcept { activation_detail::forward(e, n, kernels::sigmoid); }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        activation_detail::backward(e, n, kernels::sigmoid_backward, n.y);
    }
};

/// y = tanh(x). In place.
struct Tanh : activation_detail::Elementwise {
    static constexpr const char* name = "tanh";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::saturating;
    constexpr void forward(Emitter& e, Node& n) const noexcept { activation_detail::forward(e, n, kernels::tanh); }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        activation_detail::backward(e, n, kernels::tanh_backward, n.y);
    }
};

/// The tanh form of the Gaussian error linear unit. Its derivative is a function of x, so that training keeps x beside
/// y: one more activation than the others.
struct Gelu : activation_detail::Elementwise {
    static constexpr const char* name = "gelu";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::rectifier;
    constexpr void forward(Emitter& e, Node& n) const noexcept { activation_detail::forward(e, n, kernels::gelu); }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        activation_detail::backward(e, n, kernels::gelu_backward, n.x);
    }
};

/// y = exp(x - max x) / sum exp(x - max x) over all elements of a sample. In place. Not in front of
/// SoftmaxCrossEntropy, which takes logits.
struct Softmax : activation_detail::Elementwise {
    static constexpr const char* name = "softmax";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::distribution;
    constexpr void forward(Emitter& e, Node& n) const noexcept {
        n.y = e.activation("softmax", n.layer, n.out.elements(), n.x);
        const std::uint8_t workers = activation_detail::softmax_workers(e, n.in.elements());
        e.step({.name = "softmax", .run = activation_detail::softmax_for(workers), .layer = n.layer, .workers = workers,
                .operand = operands(n.y, n.x), .size = {n.out.elements(), 0}});
    }
    constexpr void backward(Emitter& e, Node& n) const noexcept {
        if (!n.wants_dx) return;
        n.dx = e.activation("softmax gradient", n.layer, n.in.elements(), n.dy);
        e.step({.name = "softmax backward", .run = &activation_detail::softmax_backward, .layer = n.layer,
                .workers = activation_detail::softmax_workers(e, n.in.elements()),
                .operand = operands(n.dx, n.dy, n.y), .size = {n.in.elements(), 0}});
    }
};

}  // namespace ferrite
