// SPDX-License-Identifier: MIT
// Initializers: where parameters start. Includes random.hpp.
#pragma once

#include <ferrite/random.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace ferrite {

/// What an activation wants of the weights before it.
enum class Nonlinearity : std::uint8_t {
    linear,       ///< none: the layer is no activation (Xavier)
    rectifier,    ///< Relu, LeakyRelu, Gelu (He)
    saturating,   ///< Tanh (Xavier)
    logistic,     ///< Sigmoid (Xavier)
    distribution, ///< Softmax (Xavier)
    transparent,  ///< look at the layer behind: Flatten, ...
};

/// An initializer as the compiler sees it. n = fan-in, the number of inputs of one output.
/// `automatic` is he_normal before a rectifier and xavier_normal otherwise.
struct Initializer {
    enum class Kind : std::uint8_t {
        automatic,
        zero,
        constant,
        normal,
        xavier_normal,
        xavier_uniform,
        he_normal,
        he_uniform
    };
    Kind kind = Kind::automatic;
    float value = 0;  ///< the constant, or the standard deviation of `normal`

    friend constexpr bool operator==(const Initializer&, const Initializer&) noexcept = default;
};

struct AutoInit {
    constexpr operator Initializer() const noexcept { return {}; }
};
struct Zero {
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::zero, 0}; }
};
struct Constant {
    float value = 0;
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::constant, value}; }
};
/// Normal with mean 0 and this standard deviation.
struct Normal {
    float standard_deviation = 0.01f;
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::normal, standard_deviation}; }
};
/// Normal with standard deviation 1 / sqrt(n), as the chapter has it; Glorot and Bengio (AISTATS 2010) take the mean
/// of fan-in and fan-out for n.
struct XavierNormal {
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::xavier_normal, 0}; }
};
/// Uniform in +-sqrt(3 / n): the standard deviation of XavierNormal.
struct XavierUniform {
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::xavier_uniform, 0}; }
};
/// Normal with standard deviation sqrt(2 / n). He et al., arXiv 1502.01852, equation 10.
struct HeNormal {
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::he_normal, 0}; }
};
/// Uniform in +-sqrt(6 / n): the standard deviation of HeNormal.
struct HeUniform {
    constexpr operator Initializer() const noexcept { return {Initializer::Kind::he_uniform, 0}; }
};

/// What fills an array: fill() with an initializer of the right kinds. Programs hold these, so that the linker drops what no
/// parameter starts from.
using Fill = void(std::span<float> values, Initializer initializer, std::uint32_t fan_in, Random random) noexcept;

namespace initializer_detail {
Fill fill_constant;
Fill fill_normal;
Fill fill_uniform;
}  // namespace initializer_detail

[[nodiscard]] constexpr Fill* fill_of(Initializer::Kind kind) noexcept {
    using Kind = Initializer::Kind;
    switch (kind) {
        case Kind::zero:
        case Kind::constant: return &initializer_detail::fill_constant;
        case Kind::xavier_uniform:
        case Kind::he_uniform: return &initializer_detail::fill_uniform;
        case Kind::automatic:
        case Kind::normal:
        case Kind::xavier_normal:
        case Kind::he_normal: return &initializer_detail::fill_normal;
    }
    return &initializer_detail::fill_normal;
}

/// Fills `values` with element i of `random`'s stream, scaled as `initializer` says for this fan-in (>= 1).
/// `automatic` counts as xavier_normal: the compiler has resolved it where a following activation is known.
inline void fill(std::span<float> values, Initializer initializer, std::uint32_t fan_in, Random random) noexcept {
    fill_of(initializer.kind)(values, initializer, fan_in, random);
}

}  // namespace ferrite
