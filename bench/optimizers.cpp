// SPDX-License-Identifier: MIT
// One pass of each optimizer, against a pass that moves the same streams: in the nearest cache (1e3
// parameters) and beyond it (1e5).
#include <cmath>
#include <ferrite/optimizer.hpp>

#include "bench.hpp"
#include "cases.hpp"

namespace ferrite::bench {

namespace {

/// The formula of an optimizer in double precision: changes p and the states s, t.
using Formula = void(const UpdateConstants& k, double& p, double g, double& s, double& t);

double wide(float x) { return static_cast<double>(x); }

void sgd(const UpdateConstants& k, double& p, double g, double&, double&) { p -= wide(k.rate) * g; }
void momentum(const UpdateConstants& k, double& p, double g, double& v, double&) {
    v = wide(k.a) * v - wide(k.rate) * g;
    p += v;
}
void nesterov(const UpdateConstants& k, double& p, double g, double& v, double&) {
    v = wide(k.a) * v - wide(k.rate) * g;
    p += wide(k.a) * v - wide(k.rate) * g;
}
void adagrad(const UpdateConstants& k, double& p, double g, double& h, double&) {
    h += g * g;
    p -= wide(k.rate) * g / (std::sqrt(h) + wide(k.d));
}
void rmsprop(const UpdateConstants& k, double& p, double g, double& h, double&) {
    h = wide(k.a) * h + (1 - wide(k.a)) * g * g;
    p -= wide(k.rate) * g / (std::sqrt(h) + wide(k.d));
}
void adam(const UpdateConstants& k, double& p, double g, double& m, double& v) {
    m = wide(k.a) * m + (1 - wide(k.a)) * g;
    v = wide(k.b) * v + (1 - wide(k.b)) * g * g;
    p -= wide(k.rate) * m / (std::sqrt(wide(k.c) * v) + wide(k.d));
}

Formula* formula_of(const Optimizer& o) {
    constexpr Formula* formulas[] = {sgd, momentum, nesterov, adagrad, rmsprop, adam, adam};
    static_assert(std::size(formulas) == std::size(optimizers));
    for (std::size_t i = 0; i < std::size(optimizers); ++i)
        if (optimizers[i].update == o.update) return formulas[i];
    return nullptr;
}

/// Three passes against the formula in double precision and, bit for bit, against the scalar kernel.
const char* what_is_wrong(const OptimizerCase& c) {
    OptimizerOperands x(c.optimizer, c.size), y(c.optimizer, c.size);
    Formula* const formula = formula_of(c.optimizer);
    std::vector<double> p(x.p.begin(), x.p.end()), s(x.s.size()), t(x.t.size());
    for (std::uint32_t iteration = 1; iteration <= 3; ++iteration) {
        for (OptimizerOperands* o : {&x, &y})
            c.optimizer.prepare(c.optimizer, c.optimizer.learning_rate, iteration, o->constants);
        if (!same_as_scalar(*c.optimizer.update, x.map(c.size), y.map(c.size), {&x.p, &x.s, &x.t},
                            {&y.p, &y.s, &y.t}))
            return "the parameters differ from those of the scalar kernel";
        for (std::size_t i = 0; i < c.size; ++i) formula(x.constants, p[i], wide(x.g[i]), s[i], t[i]);
    }
    for (std::size_t i = 0; i < c.size; ++i)
        if (!(std::abs(wide(x.p[i]) - p[i]) <= 1e-6))
            return "the parameters differ from the formula in double precision";
    const OptimizerOperands start(c.optimizer, c.size);
    const auto behind = static_cast<std::ptrdiff_t>(c.size);
    return std::equal(x.p.begin() + behind, x.p.end(), start.p.begin() + behind)
               ? nullptr
               : "a float behind the parameters changed";
}

void update(benchmark::State& state, const OptimizerCase& c) {
    if (const char* const wrong = what_is_wrong(c)) return fail(state, wrong);
    OptimizerOperands x(c.optimizer, c.size), y(c.optimizer, c.size);
    const Map map = x.map(c.size);
    // The gradient is read, the parameter and its states are read and written.
    const double bytes = 4.0 * (3 + 2 * c.optimizer.state_slots);
    // Zero gradients keep the sums of the limit where they are.
    std::fill(y.g.begin(), y.g.end(), 0.0f);
    const Map limit = y.map(limit_elements(c.size));
    const Result r = compare_with_bandwidth(
        state, c.size, bytes, c.target, [&] { (*c.optimizer.update)(map); }, "moving the same streams",
        [&] { move_update(limit); });
    state.counters["ns/parameter"] = 1e9 * r.own.seconds / c.size;
}

}  // namespace

void add_optimizers() {
    for (const OptimizerCase& c : optimizer_cases())
        add(c.name(), [c](benchmark::State& state) { update(state, c); });
}

}  // namespace ferrite::bench
