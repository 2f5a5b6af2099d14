// SPDX-License-Identifier: MIT
// A layer that an AnyLayer cannot hold.
// expect: AnyLayer
#include <ferrite/ferrite.hpp>

namespace fe = ferrite;

struct Identity {
#ifdef FERRITE_VIOLATION
    std::uint32_t table[13]{};
#else
    std::uint32_t table[12]{};
#endif
    static constexpr const char* name = "identity";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self&, Visit&&) {}
    [[nodiscard]] constexpr fe::Shape output(fe::Shape in) const noexcept { return in; }
    constexpr void forward(fe::Emitter&, fe::Node& n) const noexcept { n.y = n.x; }
    constexpr void backward(fe::Emitter&, fe::Node& n) const noexcept { n.dx = n.dy; }
};
const fe::AnyLayer layer = Identity{};
