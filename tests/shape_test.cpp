// SPDX-License-Identifier: MIT
// Shape.
#include <doctest/doctest.h>

#include <concepts>
#include <ferrite/shape.hpp>
#include <iterator>
#include <type_traits>

using ferrite::Shape;

namespace {

struct Case {
    Shape shape;
    std::uint32_t rank, elements;
};
constexpr Case cases[] = {
    {Shape{}, 0, 0},
    {Shape{1}, 1, 1},
    {Shape{0}, 1, 0},
    {Shape{784}, 1, 784},
    {Shape{28, 28}, 2, 784},
    {Shape{3, 0}, 2, 0},
    {Shape{0, 3}, 2, 0},
    {Shape{4, 5, 6}, 3, 120},
    {Shape{2, 3, 5, 7}, 4, 210},
    {Shape{1, 1, 1, 1}, 4, 1},
    {Shape{1u << 30}, 1, 1u << 30},
    {Shape{1 << 15, 1 << 15}, 2, 1u << 30},
    // Beyond 2^30 elements there is no answer, also where 32 or 64 bits would wrap to a small one.
    {Shape{(1u << 30) + 1}, 1, 0},
    {Shape{1 << 15, (1 << 15) + 1}, 2, 0},
    {Shape{1 << 16, 1 << 16}, 2, 0},
    {Shape{0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu}, 4, 0},
    {Shape{1u << 31, 1u << 31, 4, 1}, 4, 0},
    {Shape{1u << 31, 0}, 2, 0},
};
static_assert(cases[7].shape.elements() == 120);

template <class... T>
concept makes_shape = requires(T... extents) {
    Shape(extents...);
};
static_assert(makes_shape<int> && makes_shape<std::uint32_t, std::size_t, short, char>);
static_assert(!makes_shape<float> && !makes_shape<int, double>);
static_assert(!makes_shape<int, int, int, int, int>);
static_assert(!std::convertible_to<int, Shape>, "a number is no shape by itself");
static_assert(std::is_trivially_copyable_v<Shape> && std::is_nothrow_default_constructible_v<Shape>);

}  // namespace

TEST_CASE("rank and elements") {
    for (std::size_t i = 0; i < std::size(cases); ++i) {
        CAPTURE(i);
        CHECK(cases[i].shape.rank == cases[i].rank);
        CHECK(cases[i].shape.elements() == cases[i].elements);
    }
}

TEST_CASE("extents, outermost first") {
    const Shape shape{2, 3, 5, 7};
    CHECK(shape[0] == 2);
    CHECK(shape[1] == 3);
    CHECK(shape[2] == 5);
    CHECK(shape[3] == 7);
    CHECK(Shape{9}[1] == 0);
}

TEST_CASE("equal shapes have the same rank and extents") {
    for (std::size_t i = 0; i < std::size(cases); ++i)
        for (std::size_t j = 0; j < std::size(cases); ++j) {
            CAPTURE(i);
            CAPTURE(j);
            CHECK((cases[i].shape == cases[j].shape) == (i == j));
        }
    CHECK_FALSE((Shape{6} == Shape{6, 1}));
    CHECK_FALSE((Shape{2, 3} == Shape{3, 2}));
}
