// SPDX-License-Identifier: MIT
// What the optimizers do to one vector of parameters; elementwise.hpp makes maps of it. Formulas: optimizer.hpp.
#pragma once

#include <ferrite/simd/vector.hpp>

namespace ferrite::simd {

/// The constants of an update (UpdateConstants), one lane each repeated.
template <class Isa>
struct UpdateVectors {
    using V = Vector<Isa>;
    using Constant = simd::Constant<V>;
    Constant scale, clip, weight_decay, rate, a, b, c, d;
    FERRITE_INLINE explicit UpdateVectors(const float* k)
        : scale(Constant::broadcast(k[0])), clip(Constant::broadcast(k[1])), weight_decay(Constant::broadcast(k[2])),
          rate(Constant::broadcast(k[3])), a(Constant::broadcast(k[4])), b(Constant::broadcast(k[5])),
          c(Constant::broadcast(k[6])), d(Constant::broadcast(k[7])) {}
    /// min and max answer their second operand for NaN, so NaN passes.
    FERRITE_INLINE V clipped(V g) const { return min(clip, max(-clip, scale * g)); }
    FERRITE_INLINE V decayed(V p, V g) const { return fma(weight_decay, p, g); }
    /// a = beta1, b = beta2, c = factor of v under the root, d = epsilon.
    FERRITE_INLINE V adam(V p, V g, V& m, V& v) const {
        const Constant one = Constant::broadcast(1.0f);
        m = fma(a, m, (one - a) * g);
        v = fma(b, v, (one - b) * (g * g));
        return p - (rate * m) / (sqrt(v * c) + d);
    }
};

// A rule changes p and its states s, t in place; g has been scaled and clipped.
struct SgdRule {
    static constexpr int states = 0;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V&, V&) {
        p = fma(-k.rate, k.decayed(p, g), p);
    }
};
struct MomentumRule {
    static constexpr int states = 1;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V& v, V&) {
        v = fma(k.a, v, -(k.rate * k.decayed(p, g)));
        p = p + v;
    }
};
struct NesterovRule {
    static constexpr int states = 1;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V& v, V&) {
        const V s = k.rate * k.decayed(p, g);
        p = fma(-k.c, s, fma(k.b, v, p));
        v = fma(k.a, v, -s);
    }
};
struct AdaGradRule {
    static constexpr int states = 1;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V& h, V&) {
        g = k.decayed(p, g);
        h = fma(g, g, h);
        p = p - (k.rate * g) / (sqrt(h) + k.d);
    }
};
struct RmsPropRule {
    static constexpr int states = 1;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V& h, V&) {
        g = k.decayed(p, g);
        h = fma(k.a, h, k.b * (g * g));
        p = p - (k.rate * g) / (sqrt(h) + k.d);
    }
};
struct AdamRule {
    static constexpr int states = 2;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V& m, V& v) {
        p = k.adam(p, k.decayed(p, g), m, v);
    }
};
struct AdamWRule {
    static constexpr int states = 2;
    template <class K, class V>
    FERRITE_INLINE static void apply(const K& k, V& p, V g, V& m, V& v) {
        p = k.adam(fma(-k.weight_decay, p, p), g, m, v);
    }
};

}  // namespace ferrite::simd
