// SPDX-License-Identifier: MIT
// Optimizers and learning-rate schedules: config structs that describe themselves as an Optimizer, a Schedule.
// Includes kernels.hpp.
#pragma once

#include <ferrite/kernels.hpp>

#include <limits>

namespace ferrite {

/// What an update kernel gets in Map::constants. Every optimizer first forms
///     g' = min(clip, max(-clip, gradient_scale g)),  g = fma(weight_decay, p, g')
/// (NaN stays NaN; AdamW leaves g = g') and then applies its own formula, with rate, a, b, c, d as its prepare function
/// set them.
struct UpdateConstants {
    float gradient_scale = 1;
    float clip = std::numeric_limits<float>::infinity();
    float weight_decay = 0;  ///< lambda, or learning rate times lambda if it is decoupled
    float rate = 0;
    float a = 0, b = 0, c = 0, d = 0;
};
static_assert(sizeof(UpdateConstants) == 8 * sizeof(float));

/// The g of that formula, for an update kernel of your own. `gradient`: as it comes to the kernel; p: the parameter.
[[nodiscard]] inline float effective_gradient(const UpdateConstants& k, float p, float gradient) noexcept {
    float g = k.gradient_scale * gradient;
    if (g < -k.clip) g = -k.clip;
    if (g > k.clip) g = k.clip;
    return __builtin_fmaf(k.weight_decay, p, g);
}

/// An optimizer as the compiler and the trainer see it. Your own optimizer is a config struct that converts to this.
struct Optimizer {
    const char* name = "";
    const Kernel<Map>* update = nullptr;
    std::uint32_t state_slots = 0;  ///< floats of state per parameter, 0..2; they start at zero
    float learning_rate = 0;
    float hyperparameter[3]{};  ///< in the order in which the config struct declares them
    bool option = false;
    bool decoupled_weight_decay = false;  ///< weight decay acts on the parameter, not through the gradient
    /// Fills rate and a..d for iteration t = 1, 2, ... at this learning rate.
    void (*prepare)(const Optimizer&, float learning_rate, std::uint32_t t, UpdateConstants&) = nullptr;
    bool valid = true;  ///< the config struct's own check of its ranges
};

namespace optimizer_detail {
constexpr bool in_unit(float x) noexcept { return x >= 0.0f && x < 1.0f; }
constexpr bool positive(float x) noexcept { return x > 0.0f && x < std::numeric_limits<float>::infinity(); }
/// x^n by squaring: at most 2 log2 n roundings.
constexpr float power(float x, std::uint32_t n) noexcept {
    float result = 1;
    for (; n != 0; n >>= 1, x *= x)
        if (n & 1) result *= x;
    return result;
}
}  // namespace optimizer_detail

/// p = fma(-learning_rate, g, p). Robbins and Monro 1951.
struct Sgd {
    float learning_rate = 0.01f;
    constexpr operator Optimizer() const noexcept {
        return {.name = "sgd", .update = &kernels::sgd, .learning_rate = learning_rate,
                .prepare = [](const Optimizer&, float rate, std::uint32_t, UpdateConstants& k) { k.rate = rate; }};
    }
};

/// v = fma(momentum, v, -(learning_rate g)); p = p + v. Polyak 1964, in the chapter's form. One state slot: v.
struct Momentum {
    float learning_rate = 0.01f;
    float momentum = 0.9f;
    constexpr operator Optimizer() const noexcept {
        return {.name = "momentum", .update = &kernels::momentum, .state_slots = 1, .learning_rate = learning_rate,
                .hyperparameter = {momentum, 0, 0},
                .prepare = [](const Optimizer& o, float rate, std::uint32_t, UpdateConstants& k) {
                    k.rate = rate;
                    k.a = o.hyperparameter[0];
                },
                .valid = optimizer_detail::in_unit(momentum)};
    }
};

/// With s = learning_rate g and the old v: p = fma(-(1 + momentum), s, fma(momentum^2, v, p)), then v = fma(momentum, v, -s).
/// Nesterov 1983, in the position form of Bengio et al. (arXiv 1212.0901, equation 7). One state slot: v.
struct Nesterov {
    float learning_rate = 0.01f;
    float momentum = 0.9f;
    constexpr operator Optimizer() const noexcept {
        return {.name = "nesterov", .update = &kernels::nesterov, .state_slots = 1, .learning_rate = learning_rate,
                .hyperparameter = {momentum, 0, 0},
                .prepare = [](const Optimizer& o, float rate, std::uint32_t, UpdateConstants& k) {
                    k.rate = rate;
                    k.a = o.hyperparameter[0];
                    k.b = k.a * k.a;
                    k.c = 1.0f + k.a;
                },
                .valid = optimizer_detail::in_unit(momentum)};
    }
};

/// h = fma(g, g, h); p = p - (learning_rate g) / (sqrt(h) + epsilon). Duchi et al., JMLR 12 (2011). One state slot: h.
struct AdaGrad {
    float learning_rate = 0.01f;
    float epsilon = 1e-7f;
    constexpr operator Optimizer() const noexcept {
        return {.name = "adagrad", .update = &kernels::adagrad, .state_slots = 1, .learning_rate = learning_rate,
                .hyperparameter = {epsilon, 0, 0},
                .prepare = [](const Optimizer& o, float rate, std::uint32_t, UpdateConstants& k) {
                    k.rate = rate;
                    k.d = o.hyperparameter[0];
                },
                .valid = optimizer_detail::positive(epsilon)};
    }
};

/// h = fma(decay, h, (1 - decay) (g g)); p = p - (learning_rate g) / (sqrt(h) + epsilon). Tieleman and Hinton,
/// COURSERA lecture 6.5, 2012. One state slot: h.
struct RmsProp {
    float learning_rate = 0.01f;
    float decay = 0.99f;
    float epsilon = 1e-7f;
    constexpr operator Optimizer() const noexcept {
        return {.name = "rmsprop", .update = &kernels::rmsprop, .state_slots = 1, .learning_rate = learning_rate,
                .hyperparameter = {decay, epsilon, 0},
                .prepare = [](const Optimizer& o, float rate, std::uint32_t, UpdateConstants& k) {
                    k.rate = rate;
                    k.a = o.hyperparameter[0];
                    k.b = 1.0f - k.a;
                    k.d = o.hyperparameter[1];
                },
                .valid = optimizer_detail::in_unit(decay) && optimizer_detail::positive(epsilon)};
    }
};

/// Where Adam adds its epsilon: `chapter` to sqrt(v), `paper` to sqrt(v / (1 - beta2^t)).
enum class EpsilonPlace : std::uint8_t { chapter, paper };

namespace optimizer_detail {
void prepare_adam(const Optimizer&, float learning_rate, std::uint32_t t, UpdateConstants&) noexcept;
}

/// m = fma(beta1, m, (1 - beta1) g); v = fma(beta2, v, (1 - beta2) (g g)); then
///     chapter: p = p - s m / (sqrt(v) + epsilon),                    s = learning_rate sqrt(1 - beta2^t) / (1 - beta1^t)
///     paper:   p = p - s m / (sqrt(v / (1 - beta2^t)) + epsilon),    s = learning_rate / (1 - beta1^t)
/// with t = 1, 2, ... Kingma and Ba, arXiv 1412.6980, algorithm 1. Two state slots: m, v.
struct Adam {
    float learning_rate = 0.001f;
    float beta1 = 0.9f;
    float beta2 = 0.999f;
    float epsilon = 1e-7f;
    EpsilonPlace epsilon_place = EpsilonPlace::chapter;
    constexpr operator Optimizer() const noexcept {
        return {.name = "adam", .update = &kernels::adam, .state_slots = 2, .learning_rate = learning_rate,
                .hyperparameter = {beta1, beta2, epsilon}, .option = epsilon_place == EpsilonPlace::paper,
                .prepare = &optimizer_detail::prepare_adam,
                .valid = optimizer_detail::in_unit(beta1) && optimizer_detail::in_unit(beta2) &&
                         optimizer_detail::positive(epsilon)};
    }
};

/// Adam in the paper's form, with the weight decay of Training decoupled from the gradient: before the update
/// p = fma(-(learning_rate weight_decay), p, p). Loshchilov and Hutter, arXiv 1711.05101, algorithm 2
/// with the learning rate for its schedule multiplier, as is usual.
struct AdamW {
    float learning_rate = 0.001f;
    float beta1 = 0.9f;
    float beta2 = 0.999f;
    float epsilon = 1e-8f;
    constexpr operator Optimizer() const noexcept {
        Optimizer result = Adam{learning_rate, beta1, beta2, epsilon, EpsilonPlace::paper};
        result.name = "adamw";
        result.update = &kernels::adamw;
        result.decoupled_weight_decay = true;
        return result;
    }
};

/// The learning rate over the iterations, as a factor in [0, 1]: a linear rise from 1 / warmup over the first `warmup`
/// iterations, then a curve, which starts counting there. A schedule of your own is a config struct that converts to this.
struct Schedule {
    /// The factor for iteration t = 0, 1, ..., warmup included; null: 1, for ever. A pointer, so that the linker drops every
    /// curve that no recipe mentions.
    float (*curve)(const Schedule&, std::uint32_t t) noexcept = nullptr;
    std::uint32_t warmup = 0;  ///< iterations
    std::uint32_t period = 1;  ///< iterations
    float value = 1;

    /// The factor for iteration t = 0, 1, ...
    [[nodiscard]] float factor(std::uint32_t t) const noexcept { return curve == nullptr ? 1.0f : curve(*this, t); }
    [[nodiscard]] constexpr bool valid() const noexcept {
        return period >= 1 && value >= 0.0f && value <= 1.0f && (curve != nullptr || warmup == 0);
    }
};

namespace optimizer_detail {
float constant_rate(const Schedule&, std::uint32_t t) noexcept;
float step_decay(const Schedule&, std::uint32_t t) noexcept;
float cosine_decay(const Schedule&, std::uint32_t t) noexcept;
}  // namespace optimizer_detail

struct ConstantRate {
    std::uint32_t warmup = 0;
    constexpr operator Schedule() const noexcept {
        return {.curve = warmup == 0 ? nullptr : &optimizer_detail::constant_rate, .warmup = warmup};
    }
};
/// factor = multiply^floor(t / every).
struct StepDecay {
    std::uint32_t every = 1000;
    float multiply = 0.1f;
    std::uint32_t warmup = 0;
    constexpr operator Schedule() const noexcept {
        return {.curve = &optimizer_detail::step_decay, .warmup = warmup, .period = every, .value = multiply};
    }
};
/// factor = floor + (1 - floor) (1 + cos(pi t / iterations)) / 2, then floor for ever. Loshchilov and Hutter,
/// arXiv 1608.03983, equation 5, without restarts.
struct CosineDecay {
    std::uint32_t iterations = 1000;
    float floor = 0;
    std::uint32_t warmup = 0;
    constexpr operator Schedule() const noexcept {
        return {.curve = &optimizer_detail::cosine_decay, .warmup = warmup, .period = iterations, .value = floor};
    }
};

}  // namespace ferrite
