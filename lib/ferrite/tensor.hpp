// SPDX-License-Identifier: MIT
// Tensor: a pointer and a Shape, never the owner. Includes shape.hpp and status.hpp.
#pragma once

#include <ferrite/shape.hpp>
#include <ferrite/status.hpp>

#include <limits>
#include <span>
#include <type_traits>

namespace ferrite {

/// A dense row-major view of floats; `T` is float or const float. Copying copies the view.
template <class T>
    requires std::same_as<std::remove_const_t<T>, float>
class BasicTensor {
  public:
    constexpr BasicTensor() noexcept = default;
    constexpr BasicTensor(T* data, Shape shape) noexcept : data_(data), shape_(shape) {}
    /// A tensor of floats is also a tensor of const floats.
    template <class U>
        requires(std::same_as<U, float> && std::is_const_v<T>)
    constexpr BasicTensor(const BasicTensor<U>& other) noexcept
        : data_(other.data()), shape_(other.shape()) {}

    [[nodiscard]] constexpr T* data() const noexcept { return data_; }
    [[nodiscard]] constexpr Shape shape() const noexcept { return shape_; }
    [[nodiscard]] constexpr std::uint32_t elements() const noexcept { return shape_.elements(); }
    [[nodiscard]] constexpr std::span<T> flat() const noexcept { return {data_, shape_.elements()}; }
    /// The element at row i, column j of a matrix; asserts rank 2 and the ranges.
    [[nodiscard]] constexpr T& operator()(std::uint32_t i, std::uint32_t j) const noexcept {
        FERRITE_ASSERT(shape_.rank == 2 && i < shape_[0] && j < shape_[1]);
        return data_[static_cast<std::size_t>(i) * shape_[1] + j];
    }

  private:
    T* data_ = nullptr;
    Shape shape_{};
};

using Tensor = BasicTensor<float>;
using ConstTensor = BasicTensor<const float>;

/// not_finite if one of `values` is NaN or infinite. For what comes from outside, as from a sensor: predict() and step() calculate
/// with what they get, and one NaN in a step is a NaN in every parameter that it reaches.
[[nodiscard]] constexpr Status check_finite(std::span<const float> values) noexcept {
    for (const float value : values)
        if (!(__builtin_fabsf(value) <= std::numeric_limits<float>::max())) return Status::not_finite;
    return Status::ok;
}

}  // namespace ferrite
