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

namespace initializer_detail {

namespace {
float inputs(std::uint32_t fan_in) noexcept { return static_cast<float>(fan_in == 0 ? 1 : fan_in); }
}  // namespace

void fill_constant(std::span<float> values, Initializer initializer, std::uint32_t, Random) noexcept {
    const float value = initializer.kind == Initializer::Kind::zero ? 0.0f : initializer.value;
    for (float& v : values) v = value;
}

void fill_normal(std::span<float> values, Initializer initializer, std::uint32_t fan_in, Random random) noexcept {
    using Kind = Initializer::Kind;
    const float deviation = initializer.kind == Kind::normal      ? initializer.value
                            : initializer.kind == Kind::he_normal ? __builtin_sqrtf(2.0f / inputs(fan_in))
                                                                  : 1.0f / __builtin_sqrtf(inputs(fan_in));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = deviation * random.normal(i);
}

void fill_uniform(std::span<float> values, Initializer initializer, std::uint32_t fan_in, Random random) noexcept {
    const float limit = __builtin_sqrtf((initializer.kind == Initializer::Kind::he_uniform ? 6.0f : 3.0f) / inputs(fan_in));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.uniform(i, -limit, limit);
}

}  // namespace initializer_detail

}  // namespace ferrite
