// SPDX-License-Identifier: MIT
// A layer of a user that does not say what its gradient is: Layer names what is missing.
// expect: layer.backward(e, n)
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

struct Identity {
    static constexpr const char* name = "identity";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self&, Visit&&) {}
    [[nodiscard]] constexpr fe::Shape output(fe::Shape in) const noexcept { return in; }
    constexpr void forward(fe::Emitter&, fe::Node& n) const noexcept { n.y = n.x; }
#ifndef FERRITE_VIOLATION
    constexpr void backward(fe::Emitter&, fe::Node& n) const noexcept { n.dx = n.dy; }
#endif
};
static_assert(fe::Layer<Identity>);
