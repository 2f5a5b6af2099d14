// SPDX-License-Identifier: MIT
// What optimizers and schedules compute once per iteration.
#include <ferrite/optimizer.hpp>
#include <ferrite/simd/math.hpp>

namespace ferrite {

namespace optimizer_detail {

namespace {
/// 1 - x^n for x in [0, 1), without the cancellation that would cost five digits for x = 0.999 and small n: by
/// squaring, with 1 - x^(m + n) = q + r - q r for q = 1 - x^m, r = 1 - x^n.
float one_minus_power(float x, std::uint32_t n) noexcept {
    float q = 1.0f - x, result = 0;
    for (; n != 0; n >>= 1, q = q * (2.0f - q))
        if (n & 1) result = result + q * (1.0f - result);
    return result;
}
}  // namespace

void prepare_adam(const Optimizer& o, float learning_rate, std::uint32_t t, UpdateConstants& k) noexcept {
    k.a = o.hyperparameter[0];
    k.b = o.hyperparameter[1];
    k.d = o.hyperparameter[2];
    const float first = one_minus_power(k.a, t);
    const float second = one_minus_power(k.b, t);
    const bool paper = o.option;
    k.rate = paper ? learning_rate / first : learning_rate * __builtin_sqrtf(second) / first;
    k.c = paper ? 1.0f / second : 1.0f;
}

namespace {
float rise(const Schedule& s, std::uint32_t t) noexcept {
    return static_cast<float>(t + 1) / static_cast<float>(s.warmup);
}
}  // namespace

float constant_rate(const Schedule& s, std::uint32_t t) noexcept { return t < s.warmup ? rise(s, t) : 1.0f; }

float step_decay(const Schedule& s, std::uint32_t t) noexcept {
    return t < s.warmup ? rise(s, t) : power(s.value, (t - s.warmup) / s.period);
}

float cosine_decay(const Schedule& s, std::uint32_t t) noexcept {
    using V = simd::Vector<Scalar>;
    if (t < s.warmup) return rise(s, t);
    t -= s.warmup;
    if (t >= s.period) return s.value;
    const float turns = 0.5f * (static_cast<float>(t) / static_cast<float>(s.period));
    float c[1];
    simd::sin_cos_2pi(V::broadcast(turns)).cos.store(c);
    return s.value + (1.0f - s.value) * (0.5f * (1.0f + c[0]));
}

}  // namespace optimizer_detail

}  // namespace ferrite
