// SPDX-License-Identifier: MIT
// Normal numbers and start values. One scalar path for every target, so that start values have the same bits.
#include <ferrite/initializer.hpp>
#include <ferrite/kernels.hpp>
#include <ferrite/simd/math.hpp>

namespace ferrite {

float Random::uniform(std::uint64_t position, float low, float high) const noexcept {
    const float value = low + (high - low) * uniform(position);
    return value < high ? value : low;  // the sum may round up to high
}

float Random::normal(std::uint64_t position) const noexcept {
    using V = simd::Vector<Scalar>;
    const float u1 = uniform(position & ~std::uint64_t{1}), u2 = uniform(position | 1);
    float radius[1], angle[1];
    sqrt(V::broadcast(-2.0f) * simd::log(V::broadcast(1.0f - u1))).store(radius);
    const auto direction = simd::sin_cos_2pi(V::broadcast(u2));
    (position % 2 == 0 ? direction.cos : direction.sin).store(angle);
    return radius[0] * angle[0];
}

void fill(std::span<float> values, Initializer initializer, std::uint32_t fan_in, Random random) noexcept {
    using Kind = Initializer::Kind;
    const float n = static_cast<float>(fan_in == 0 ? 1 : fan_in);
    const auto normal = [&](float deviation) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = deviation * random.normal(i);
    };
    const auto uniform = [&](float limit) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.uniform(i, -limit, limit);
    };
    const auto constant = [&](float value) {
        for (float& v : values) v = value;
    };
    switch (initializer.kind) {
        case Kind::zero: return constant(0.0f);
        case Kind::constant: return constant(initializer.value);
        case Kind::normal: return normal(initializer.value);
        case Kind::automatic:
        case Kind::xavier_normal: return normal(1.0f / __builtin_sqrtf(n));
        case Kind::xavier_uniform: return uniform(__builtin_sqrtf(3.0f / n));
        case Kind::he_normal: return normal(__builtin_sqrtf(2.0f / n));
        case Kind::he_uniform: return uniform(__builtin_sqrtf(6.0f / n));
    }
}

}  // namespace ferrite
