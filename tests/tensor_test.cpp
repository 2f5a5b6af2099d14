// SPDX-License-Identifier: MIT
// Tensor: a view.
#include <doctest/doctest.h>

#include <array>
#include <ferrite/tensor.hpp>
#include <limits>
#include <span>
#include <type_traits>

using ferrite::ConstTensor;
using ferrite::Shape;
using ferrite::Tensor;

namespace {

static_assert(std::is_trivially_destructible_v<Tensor>, "never the owner");
static_assert(std::is_convertible_v<Tensor, ConstTensor>);
static_assert(!std::is_constructible_v<Tensor, ConstTensor>, "what is constant stays so");
static_assert(!std::is_constructible_v<Tensor, const float*, Shape>);
static_assert(std::is_same_v<decltype(std::declval<ConstTensor>()(0, 0)), const float&>);
static_assert(std::is_same_v<decltype(std::declval<const Tensor>()(0, 0)), float&>, "a view, as a span is");

constexpr std::array<float, 6> numbers{0, 1, 2, 3, 4, 5};
constexpr ConstTensor matrix(numbers.data(), Shape{2, 3});
static_assert(matrix(1, 0) == 3 && matrix(1, 2) == 5 && matrix.elements() == 6);

}  // namespace

TEST_CASE("rows lie one behind the other") {
    std::array<float, 12> memory{};
    const Tensor tensor(memory.data(), Shape{3, 4});
    for (std::uint32_t i = 0; i < 3; ++i)
        for (std::uint32_t j = 0; j < 4; ++j) tensor(i, j) = static_cast<float>(10 * i + j);
    for (std::size_t i = 0; i < 12; ++i) {
        CAPTURE(i);
        CHECK(memory[i] == static_cast<float>(10 * (i / 4) + i % 4));
    }
}

TEST_CASE_TEMPLATE("a copy is a view of the same floats", T, Tensor, ConstTensor) {
    CHECK(std::is_trivially_copyable_v<T>);
    CHECK(std::is_copy_constructible_v<T>);
    CHECK(std::is_copy_assignable_v<T>);
    std::array<float, 6> memory{0, 1, 2, 3, 4, 5};
    const T tensor(memory.data(), Shape{1, 2, 3});
    if constexpr (std::is_copy_constructible_v<T>) {
        const T copy = tensor;
        memory[4] = 8;
        CHECK(copy.data() == memory.data());
        CHECK(copy.flat()[4] == 8);
        CHECK((copy.shape() == tensor.shape()));
    }
}

TEST_CASE("floats seen through a constant view") {
    std::array<float, 6> memory{};
    const Tensor tensor(memory.data(), Shape{1, 2, 3});
    const ConstTensor constant = tensor;
    tensor.flat()[4] = 8;
    CHECK(memory[4] == 8);
    CHECK(constant.flat()[4] == 8);
    CHECK(constant.data() == memory.data());
    CHECK((constant.shape() == Shape{1, 2, 3}));
    CHECK(tensor.flat().size() == 6);
    CHECK(constant.elements() == 6);
}

TEST_CASE("a tensor of nothing") {
    const Tensor tensor;
    CHECK(tensor.data() == nullptr);
    CHECK(tensor.elements() == 0);
    CHECK(tensor.flat().empty());
    CHECK((tensor.shape() == Shape{}));
}

TEST_CASE("numbers from outside are looked at one by one") {
    constexpr float largest = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
    constexpr float nan = std::numeric_limits<float>::quiet_NaN(), smallest = std::numeric_limits<float>::denorm_min();
    static_assert(ferrite::check_finite({}) == ferrite::Status::ok);
    for (const float broken : {infinity, -infinity, nan, -nan})
        for (std::size_t at = 0; at < 9; ++at) {
            float values[9] = {0, -0.0f, 1, -1, largest, -largest, smallest, -smallest, 0x1p-126f};
            CHECK(ferrite::check_finite(values) == ferrite::Status::ok);
            values[at] = broken;
            CHECK(ferrite::check_finite(values) == ferrite::Status::not_finite);
            CHECK(ferrite::check_finite(std::span(values).first(at)) == ferrite::Status::ok);
        }
}
