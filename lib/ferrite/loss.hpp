// SPDX-License-Identifier: MIT
// The losses: config structs that describe themselves as a Loss. Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

/// What turns the network's outputs into probabilities when a Trainer predicts.
enum class Link : std::uint8_t { none, softmax, sigmoid };

/// A loss as the compiler sees it. Its step takes z (B, O) as operand 1 and writes dz as operand 0 and the mean loss
/// as operand 3. Your own loss is a config struct that converts to this.
struct Loss {
    const char* name = "";
    Run* run = nullptr;
    bool labels = false;  ///< compares with Label per sample; otherwise with O floats per sample
    Link link = Link::none;
    float constant = 0;
    bool valid = true;
};

namespace loss_detail {
template <const Kernel<LossArguments>& kernel>
inline void run(const Call& call) {
    kernel({.z = call.operand[1], .labels = call.pass->labels, .targets = call.pass->targets, .dz = call.operand[0],
            .loss = call.operand[3], .rows = call.pass->rows, .columns = call.step->size[0],
            .constant = call.step->constant[0]});
}
}  // namespace loss_detail

/// Of logits z (B, O) and labels t (B), t < O: per row log sum exp(z - max z) - (z_t - max z), in nats; its mean over B.
/// dz = (softmax(z) - onehot(t)) / B. Finite for all finite logits whose spread is finite. A label >= O counts as a row
/// of loss NaN.
struct SoftmaxCrossEntropy {
    constexpr operator Loss() const noexcept {
        return {.name = "softmax_cross_entropy", .run = &loss_detail::run<kernels::softmax_cross_entropy>,
                .labels = true, .link = Link::softmax};
    }
};

/// Of logits z (B, O) and targets t in [0, 1]: per element max(z, 0) - z t + log(1 + exp(-|z|)); mean over all B O.
/// dz = (sigmoid(z) - t) / (B O).
struct BinaryCrossEntropy {
    constexpr operator Loss() const noexcept {
        return {.name = "binary_cross_entropy", .run = &loss_detail::run<kernels::binary_cross_entropy>,
                .link = Link::sigmoid};
    }
};

/// (z - t)^2, mean over all B O elements. dz = 2 (z - t) / (B O).
struct MeanSquaredError {
    constexpr operator Loss() const noexcept {
        return {.name = "mean_squared_error", .run = &loss_detail::run<kernels::mean_squared_error>};
    }
};

/// With e = z - t: e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) elsewhere; mean over all B O elements.
/// dz = min(delta, max(-delta, e)) / (B O). Huber, Ann. Math. Statist. 35 (1964).
struct Huber {
    float delta = 1;
    constexpr operator Loss() const noexcept {
        return {.name = "huber", .run = &loss_detail::run<kernels::huber>, .constant = delta,
                .valid = optimizer_detail::positive(delta)};
    }
};

}  // namespace ferrite
