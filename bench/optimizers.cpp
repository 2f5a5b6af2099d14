// SPDX-License-Identifier: MIT
// One pass of each optimizer, against a pass that moves the same streams: in the nearest cache (1e3
// parameters) and beyond it (1e5).
#include <cmath>
#include <ferrite/optimizer.hpp>

#include "bench.hpp"

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

struct Case {
    Optimizer optimizer;
    Formula* formula;
};

/// The operands of an update over `size` parameters, padded for the limit.
struct Operands {
    Floats p, g, s, t;
    Optimizer optimizer;
    UpdateConstants constants;

    Operands(const Optimizer& o, std::size_t size)
        : p(numbers(limit_elements(size), 1)),
          g(numbers(limit_elements(size), 2, -0.01f, 0.01f)),
          s(limit_elements(size)),
          t(limit_elements(size)),
          optimizer(o) {
        optimizer.prepare(optimizer, optimizer.learning_rate, 1, constants);
    }
    [[nodiscard]] Map map(std::size_t columns) {
        return {.operand = {p.data(), g.data(), optimizer.state_slots > 0 ? s.data() : nullptr,
                            optimizer.state_slots > 1 ? t.data() : nullptr},
                .stride = {},
                .rows = 1,
                .columns = columns,
                .constants = &constants.gradient_scale};
    }
};

bool is_right(const Case& c, std::size_t size) {
    Operands x(c.optimizer, size);
    std::vector<double> p(x.p.begin(), x.p.end()), s(x.s.size()), t(x.t.size());
    for (std::uint32_t iteration = 1; iteration <= 3; ++iteration) {
        c.optimizer.prepare(c.optimizer, c.optimizer.learning_rate, iteration, x.constants);
        (*c.optimizer.update)(x.map(size));
        for (std::size_t i = 0; i < size; ++i) c.formula(x.constants, p[i], wide(x.g[i]), s[i], t[i]);
    }
    for (std::size_t i = 0; i < size; ++i)
        if (!(std::abs(wide(x.p[i]) - p[i]) <= 1e-6)) return false;
    return std::equal(x.p.begin() + static_cast<std::ptrdiff_t>(size), x.p.end(),
                      p.begin() + static_cast<std::ptrdiff_t>(size));
}

void update(benchmark::State& state, const Case& c, std::size_t size) {
    if (!is_right(c, size)) return fail(state, "the parameters differ from the formula in double precision");
    Operands x(c.optimizer, size), y(c.optimizer, size);
    const Map map = x.map(size);
    // The gradient is read, the parameter and its states are read and written.
    const double bytes = 4.0 * (3 + 2 * c.optimizer.state_slots);
    // Zero gradients keep the sums of the limit where they are.
    std::fill(y.g.begin(), y.g.end(), 0.0f);
    const Map limit = y.map(limit_elements(size));
    const Timing t = compare_with_bandwidth(
        state, size, bytes, [&] { (*c.optimizer.update)(map); }, [&] { move_update(limit); });
    state.counters["ns/parameter"] = 1e9 * t.seconds / static_cast<double>(size);
}

}  // namespace

void add_optimizers() {
    for (const Case& c :
         {Case{Sgd{}, sgd}, Case{Momentum{}, momentum}, Case{Nesterov{}, nesterov}, Case{AdaGrad{}, adagrad},
          Case{RmsProp{}, rmsprop}, Case{Adam{}, adam}, Case{AdamW{}, adam}})
        for (const std::size_t size : {1000u, 100000u})
            add(text("optimizer/", c.optimizer.name, "/", size),
                [c, size](benchmark::State& state) { update(state, c, size); });
}

}  // namespace ferrite::bench
