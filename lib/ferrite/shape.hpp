// SPDX-License-Identifier: MIT
// Shape: up to four extents. Letters used in every comment of the library: B batch, H W height and width,
// C channels, I inputs, O outputs. Includes config.hpp.
#pragma once

#include <ferrite/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>

namespace ferrite {

/// Up to four extents, outermost first; the shape of ONE sample wherever a batch is implied. Row-major storage.
/// A default-constructed Shape has rank 0 and no elements: the answer of a layer that cannot take its input.
struct Shape {
    std::uint32_t extent[4]{};
    std::uint32_t rank = 0;

    constexpr Shape() noexcept = default;
    template <std::integral... Extents>
        requires(sizeof...(Extents) >= 1 && sizeof...(Extents) <= 4)
    constexpr explicit(sizeof...(Extents) == 1) Shape(Extents... extents) noexcept
        : extent{static_cast<std::uint32_t>(extents)...}, rank{sizeof...(Extents)} {}

    /// The product of the extents; 0 for rank 0, and 0 if the product passes 2^30 elements (4 GiB of floats).
    [[nodiscard]] constexpr std::uint32_t elements() const noexcept {
        if (rank == 0) return 0;
        std::uint64_t product = 1;
        for (std::uint32_t i = 0; i < rank; ++i) {
            product *= extent[i];
            if (product > (std::uint64_t{1} << 30)) return 0;
        }
        return static_cast<std::uint32_t>(product);
    }
    [[nodiscard]] constexpr std::uint32_t operator[](std::size_t i) const noexcept { return extent[i]; }
    friend constexpr bool operator==(const Shape&, const Shape&) noexcept = default;
};

}  // namespace ferrite
