// SPDX-License-Identifier: MIT
// Flatten: a change of shape. Includes emitter.hpp.
#pragma once

#include <ferrite/emitter.hpp>

namespace ferrite {

/// The same floats as a vector: (H, W, C) becomes (H W C). No step, no memory.
struct Flatten {
    static constexpr const char* name = "flatten";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self&, Visit&&) {}
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept {
        return in.elements() == 0 ? Shape{} : Shape{in.elements()};
    }
    constexpr void forward(Emitter&, Node& n) const noexcept { n.y = n.x; }
    constexpr void backward(Emitter&, Node& n) const noexcept { n.dx = n.dy; }
};

}  // namespace ferrite
