// SPDX-License-Identifier: MIT
// The optimizers, schedules, weight decay and clipping: against golden values, and against the formulas in
// double. All of them run in real training sessions, on gradients that the tests prescribe.
#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

#include "golden.hpp"

namespace fe = ferrite;
using fe::test::deviation;
using fe::test::Doubles;
using nlohmann::json;

namespace {

/// An optimizer in double, from the formulas of golden/README.md and, for AdamW, arXiv 1711.05101.
struct Reference {
    std::string name;
    double lr = 0, momentum = 0, decay = 0, beta1 = 0.9, beta2 = 0.999, eps = 0;
    Doubles state[2] = {};  ///< v or h; m, v
    int t = 0;

    static Reference of(const std::string& name, const json& hyper) {
        return {.name = name,
                .lr = hyper.at("lr"),
                .momentum = hyper.value("momentum", 0.0),
                .decay = hyper.value("decay", 0.0),
                .beta1 = hyper.value("beta1", 0.9),
                .beta2 = hyper.value("beta2", 0.999),
                .eps = hyper.value("eps", 0.0)};
    }

    /// `factor`: of the learning rate; `pull`: lambda of a decoupled weight decay, per parameter.
    void step(Doubles& p, const Doubles& g, double factor = 1, const Doubles& pull = {}) {
        ++t;
        for (Doubles& s : state) s.resize(p.size());
        const double rate = lr * factor;
        for (std::size_t i = 0; i < p.size(); ++i) {
            double &first = state[0][i], &second = state[1][i];
            if (name == "sgd") {
                p[i] -= rate * g[i];
            } else if (name == "momentum") {
                first = momentum * first - rate * g[i];
                p[i] += first;
            } else if (name == "nesterov") {
                p[i] += momentum * momentum * first - (1 + momentum) * rate * g[i];
                first = momentum * first - rate * g[i];
            } else if (name == "adagrad") {
                first += g[i] * g[i];
                p[i] -= rate * g[i] / (std::sqrt(first) + eps);
            } else if (name == "rmsprop") {
                first = decay * first + (1 - decay) * g[i] * g[i];
                p[i] -= rate * g[i] / (std::sqrt(first) + eps);
            } else {
                if (name == "adamw") p[i] -= rate * pull[i] * p[i];
                first = beta1 * first + (1 - beta1) * g[i];
                second = beta2 * second + (1 - beta2) * g[i] * g[i];
                const double c1 = 1 - std::pow(beta1, t), c2 = 1 - std::pow(beta2, t);
                if (name == "adam")
                    p[i] -= rate * std::sqrt(c2) / c1 * first / (std::sqrt(second) + eps);
                else
                    p[i] -= rate * (first / c1) / (std::sqrt(second / c2) + eps);
            }
        }
    }
};

fe::Optimizer optimizer_of(const Reference& r) {
    const auto f = [](double x) { return static_cast<float>(x); };
    if (r.name == "sgd") return fe::Sgd{f(r.lr)};
    if (r.name == "momentum") return fe::Momentum{f(r.lr), f(r.momentum)};
    if (r.name == "nesterov") return fe::Nesterov{f(r.lr), f(r.momentum)};
    if (r.name == "adagrad") return fe::AdaGrad{f(r.lr), f(r.eps)};
    if (r.name == "rmsprop") return fe::RmsProp{f(r.lr), f(r.decay), f(r.eps)};
    if (r.name == "adam")
        return fe::Adam{f(r.lr), f(r.beta1), f(r.beta2), f(r.eps), fe::EpsilonPlace::chapter};
    if (r.name == "adam_paper")
        return fe::Adam{f(r.lr), f(r.beta1), f(r.beta2), f(r.eps), fe::EpsilonPlace::paper};
    REQUIRE(r.name == "adamw");
    return fe::AdamW{f(r.lr), f(r.beta1), f(r.beta2), f(r.eps)};
}

/// One of each kind.
const std::vector<Reference> all_optimizers = {
    {.name = "sgd", .lr = 0.05},
    {.name = "momentum", .lr = 0.02, .momentum = 0.9},
    {.name = "nesterov", .lr = 0.02, .momentum = 0.9},
    {.name = "adagrad", .lr = 0.1, .eps = 1e-7},
    {.name = "rmsprop", .lr = 0.01, .decay = 0.95, .eps = 1e-7},
    {.name = "adam", .lr = 0.02, .eps = 1e-7},
    {.name = "adam_paper", .lr = 0.02, .eps = 1e-8},
    {.name = "adamw", .lr = 0.02, .eps = 1e-8},
};

/// Parameters W (units) and, if `bias`, b (units), trained on prescribed gradients.
class Parameters {
  public:
    Parameters(std::uint32_t units, bool bias, fe::Training recipe)
        : learner_(fe::Shape{1}, {fe::Dense{.units = units, .bias = bias}}, with_loss(recipe)),
          units_(units) {}

    [[nodiscard]] fe::TrainingSession& session() { return learner_.session(); }
    void set(const Doubles& p) {
        for (std::size_t i = 0; i < p.size(); ++i)
            session().parameter(i / units_)[i % units_] = static_cast<float>(p[i]);
    }
    [[nodiscard]] std::vector<float> values() {
        std::vector<float> result;
        for (std::size_t k = 0; k < session().parameter_count(); ++k)
            result.insert(result.end(), session().parameter(k).begin(), session().parameter(k).end());
        return result;
    }
    [[nodiscard]] Doubles doubles() {
        const std::vector<float> p = values();
        return {p.begin(), p.end()};
    }
    [[nodiscard]] std::vector<float> state(std::size_t slot) {
        std::vector<float> result;
        for (std::size_t k = 0; k < session().parameter_count(); ++k)
            result.insert(result.end(), session().state(k, slot).begin(), session().state(k, slot).end());
        return result;
    }
    /// The gradient of b is that of W.
    void step(const Doubles& g) {
        std::vector<float> targets(units_);
        for (std::size_t i = 0; i < units_; ++i) targets[i] = static_cast<float>(g[i]);
        const float one[] = {1};
        session().step(one, std::span<const float>(targets));
    }

  private:
    static fe::Training with_loss(fe::Training recipe) {
        recipe.loss = fe::test::GivenGradient{};
        return recipe;
    }
    fe::test::Learner learner_;
    std::uint32_t units_;
};

double wide(float x) { return static_cast<double>(x); }

}  // namespace

TEST_CASE("optimizers: every golden step and the final state, immediate and stored") {
    const json file = fe::test::golden("optimizer_steps.json");
    const std::size_t n = file.at("n");
    std::map<std::string, int> seen;
    for (const json& c : file.at("cases")) {
        const std::string name = c.at("optimizer"), gradient = c.at("gradient");
        CAPTURE(name);
        CAPTURE(gradient);
        CAPTURE(c.at("hyper").dump());
        ++seen[name];
        const auto gradient_at = [&](int t, const Doubles& p) {
            Doubles g(n);
            for (std::size_t i = 0; i < n; ++i) {
                const double k = static_cast<double>(i);
                if (gradient == "quadratic")
                    g[i] = 0.5 * (k + 1) * (p[i] - std::sin(k));
                else
                    g[i] = i == 5 ? 0 : std::sin(0.7 * t * (k + 1)) * std::pow(10, k - 2);
            }
            return g;
        };
        Doubles start(n);
        for (std::size_t i = 0; i < n; ++i) start[i] = std::cos(static_cast<double>(i) + 1);
        const std::vector<Doubles> steps = c.at("params_after_step");
        REQUIRE(steps.size() == file.at("steps").get<std::size_t>());
        const json& end = c.at("state_after_step_10");

        Reference reference = Reference::of(name, c.at("hyper"));
        const fe::Optimizer optimizer = optimizer_of(reference);
        REQUIRE(optimizer.state_slots == end.size());
        Doubles p = start;
        for (std::size_t s = 0; s < steps.size(); ++s) {
            reference.step(p, gradient_at(static_cast<int>(s) + 1, p));
            CHECK(deviation(steps[s], p) <= 1e-12);
        }
        for (const fe::Update update : {fe::Update::immediate, fe::Update::stored}) {
            Parameters found(static_cast<std::uint32_t>(n), false,
                             {.optimizer = optimizer, .update = update});
            found.set(start);
            for (std::size_t s = 0; s < steps.size(); ++s) {
                found.step(gradient_at(static_cast<int>(s) + 1, found.doubles()));
                CHECK(deviation(steps[s], found.values()) <= 1e-5);
            }
            for (const auto& item : end.items()) {
                const std::string key = item.key();
                CAPTURE(key);
                const std::size_t slot = name.starts_with("adam") && key == "v" ? 1 : 0;
                // 1 - 0.999f is 1.3e-5 off 0.001, and v with it; the step divides it out again.
                CHECK(deviation(item.value().get<Doubles>(), found.state(slot)) <= (slot == 1 ? 2e-5 : 1e-5));
            }
        }
    }
    const std::map<std::string, int> expected{{"sgd", 6},       {"momentum", 8}, {"nesterov", 4},
                                              {"adagrad", 6},   {"rmsprop", 4},  {"adam", 8},
                                              {"adam_paper", 6}};
    CHECK(seen == expected);
}

TEST_CASE("optimizers: the golden float32 trajectories on x^2 / 20 + y^2") {
    std::ifstream file(fe::test::golden_path("trajectories_float32.csv"));
    REQUIRE(file.good());
    std::string line;
    std::getline(file, line);
    REQUIRE(line == "function,optimizer,lr,step,x,y,f");
    std::unique_ptr<Parameters> found;
    int rows = 0, expected_step = 0;
    while (std::getline(file, line)) {
        std::replace(line.begin(), line.end(), ',', ' ');
        std::istringstream fields(line);
        std::string function, name;
        int step = 0;
        Reference r;
        Doubles xy(2);
        double f = 0;
        REQUIRE((fields >> function >> name >> r.lr >> step >> xy[0] >> xy[1] >> f));
        r.name = name;
        r.momentum = 0.9;
        r.decay = 0.99;
        r.eps = name == "adam_paper" ? 1e-8 : 1e-7;
        CAPTURE(name);
        CAPTURE(step);
        if (step == 0) {
            found = std::make_unique<Parameters>(2, false, fe::Training{.optimizer = optimizer_of(r)});
            found->set({-7, 2});
            expected_step = 0;
        } else {
            const Doubles p = found->doubles();
            found->step({p[0] / 10, 2 * p[1]});
        }
        REQUIRE(step == expected_step++);
        const std::vector<float> p = found->values();
        CHECK(std::abs(wide(p[0]) - xy[0]) <= 1e-5);
        CHECK(std::abs(wide(p[1]) - xy[1]) <= 1e-5);
        CHECK(std::abs(wide(p[0]) * wide(p[0]) / 20 + wide(p[1]) * wide(p[1]) - f) <= 1e-5);
        ++rows;
    }
    CHECK(rows == 7 * 31);
}

TEST_CASE("optimizers: Adam's constants from the first step to far into a training") {
    // Betas that are floats: 1 - beta is exact, and what is left is the error of 1 - beta^t.
    const double beta1 = 0.875, beta2 = 1 - 0x1p-10;
    for (const bool paper : {false, true})
        for (const std::uint32_t t : {1u, 2u, 3u, 4u, 5u, 7u, 10u, 15u, 31u, 100u, 999u, 1000u, 65'537u,
                                      1'000'000u, 4'000'000'000u}) {
            CAPTURE(t);
            const fe::Optimizer o =
                fe::Adam{.beta1 = static_cast<float>(beta1),
                         .beta2 = static_cast<float>(beta2),
                         .epsilon_place = paper ? fe::EpsilonPlace::paper : fe::EpsilonPlace::chapter};
            fe::UpdateConstants k;
            o.prepare(o, 0.25f, t, k);
            const double c1 = 1 - std::pow(beta1, t), c2 = 1 - std::pow(beta2, t);
            const double rate = paper ? 0.25 / c1 : 0.25 * std::sqrt(c2) / c1;
            CHECK(std::abs(wide(k.rate) / rate - 1) <= 1e-6);
            CHECK(std::abs(wide(k.c) * (paper ? c2 : 1) - 1) <= 1e-6);
        }
}

TEST_CASE("schedules: the factor is the formula, and the sessions use it") {
    struct Case {
        const char* name;
        fe::Schedule schedule;
        std::function<double(std::uint32_t)> factor;
    };
    const auto cosine = [](std::uint32_t t, double period, double floor) {
        return t >= period ? floor : floor + (1 - floor) * (1 + std::cos(std::numbers::pi * t / period)) / 2;
    };
    const auto behind = [](std::uint32_t warmup, auto factor) {
        return
            [=](std::uint32_t t) -> double { return t < warmup ? (t + 1.0) / warmup : factor(t - warmup); };
    };
    const std::vector<Case> cases{
        {"default", fe::Schedule{}, [](std::uint32_t) { return 1.0; }},
        {"constant", fe::ConstantRate{}, [](std::uint32_t) { return 1.0; }},
        {"warm-up", fe::ConstantRate{.warmup = 7}, behind(7, [](std::uint32_t) { return 1.0; })},
        {"step", fe::StepDecay{.every = 5, .multiply = 0.5f},
         [](std::uint32_t t) { return std::pow(0.5, t / 5); }},
        {"step, warm-up", fe::StepDecay{.every = 3, .multiply = 0.75f, .warmup = 4},
         behind(4, [](std::uint32_t t) { return std::pow(0.75, t / 3); })},
        {"cosine", fe::CosineDecay{.iterations = 20}, [=](std::uint32_t t) { return cosine(t, 20, 0); }},
        {"cosine, floor, warm-up", fe::CosineDecay{.iterations = 15, .floor = 0.25f, .warmup = 5},
         behind(5, [=](std::uint32_t t) { return cosine(t, 15, 0.25); })},
        {"cosine, long", fe::CosineDecay{.iterations = 1'000'003},
         [=](std::uint32_t t) { return cosine(t, 1'000'003, 0); }},
    };
    for (const Case& c : cases) {
        CAPTURE(c.name);
        CHECK(c.schedule.valid());
        for (std::uint32_t t = 0; t < 60; ++t)
            CHECK(std::abs(wide(c.schedule.factor(t)) - c.factor(t)) <= 1e-6);
        for (const std::uint32_t t :
             {999u, 250'000u, 500'000u, 999'999u, 1'000'002u, 1'000'003u, 4'294'967'295u})
            CHECK(std::abs(wide(c.schedule.factor(t)) - c.factor(t)) <= 1e-6);
        Parameters found(1, false, {.optimizer = fe::Sgd{0.5f}, .schedule = c.schedule});
        found.set({0});
        double expected = 0;
        for (std::uint32_t t = 0; t < 30; ++t) {
            found.step({1});
            expected -= 0.5 * c.factor(t);
            CHECK(std::abs(wide(found.values()[0]) - expected) <= 2e-5);
        }
        CHECK(found.session().iteration() == 30);
        found.session().set_learning_rate(0.125f);
        found.session().set_iteration(2);
        found.set({0});
        found.step({1});
        CHECK(wide(found.values()[0]) == doctest::Approx(-0.125 * c.factor(2)));
    }
}

TEST_CASE(
    "weight decay, clipping and schedules with every optimizer, against double; stored gives immediate's "
    "bits") {
    constexpr std::uint32_t units =
        37;  // W and b, each with full vectors and a rest for every instruction set
    struct Case {
        const char* name;
        fe::Training recipe;
    };
    const fe::Schedule schedule = fe::CosineDecay{.iterations = 30, .floor = 0.1f, .warmup = 4};
    const std::vector<Case> cases{
        {"plain", {}},
        {"weight decay", {.weight_decay = 0.1f}},
        {"clip value", {.clip_value = 0.5f}},
        {"clip value, weight decay, schedule",
         {.weight_decay = 0.05f, .clip_value = 0.75f, .schedule = schedule}},
        {"clip norm", {.clip_norm = 3.0f}},
        {"clip norm, weight decay, schedule",
         {.weight_decay = 0.05f, .clip_norm = 3.0f, .schedule = schedule}},
        {"clip value and norm", {.clip_value = 0.4f, .clip_norm = 7.0f}},
        {"clip norm, never reached", {.clip_norm = 1e6f}},
    };
    const fe::test::PortableGenerator random{2026};
    for (const Reference& optimizer : all_optimizers)
        for (const Case& c : cases) {
            CAPTURE(optimizer.name);
            CAPTURE(c.name);
            fe::Training recipe = c.recipe;
            recipe.optimizer = optimizer_of(optimizer);
            const bool by_norm = recipe.clip_norm > 0;
            recipe.update = fe::Update::stored;
            Parameters stored(units, true, recipe);
            recipe.update = by_norm ? fe::Update::automatic : fe::Update::immediate;
            Parameters other(units, true, recipe);
            CHECK(stored.session().gradient(0).size() == units);
            CHECK(other.session().gradient(0).size() == (by_norm ? units : 0));

            Reference reference = optimizer;
            Doubles p(2 * units), g(2 * units), pull(2 * units, 0.0);
            for (std::size_t i = 0; i < 2 * units; ++i) p[i] = wide(static_cast<float>(random.normal(i)));
            stored.set(p);
            other.set(p);
            const double lambda = wide(recipe.weight_decay);
            std::fill_n(pull.begin(), units, lambda);
            int clipped = 0, whole = 0;
            for (std::uint32_t t = 0; t < 40; ++t) {
                // Norms from 0.9 to 18 of the 2 * 37 elements.
                const double size = 0.1 + 0.05 * (t * 7 % 40);
                for (std::size_t i = 0; i < units; ++i)
                    g[i] = g[units + i] = wide(static_cast<float>(size * random.normal(1000 + t * 64 + i)));
                stored.step(g);
                other.step(g);
                double squares = 0;
                for (const double x : g) squares += x * x;
                const double norm = std::sqrt(squares);
                for (std::size_t i = 0; i < g.size(); ++i) {
                    if (by_norm && norm > wide(recipe.clip_norm)) g[i] *= wide(recipe.clip_norm) / norm;
                    if (recipe.clip_value > 0)
                        g[i] = std::clamp(g[i], -wide(recipe.clip_value), wide(recipe.clip_value));
                    if (optimizer.name != "adamw") g[i] += pull[i] * p[i];
                }
                (by_norm && norm > wide(recipe.clip_norm) ? clipped : whole) += 1;
                reference.step(p, g, wide(recipe.schedule.factor(t)), pull);
            }
            if (by_norm && recipe.clip_norm < 100) CHECK(clipped >= 5);
            CHECK(whole >= 5);
            CHECK(deviation(p, stored.values()) <= 1e-5);
            CHECK(stored.values() == other.values());
            for (std::size_t slot = 0; slot < recipe.optimizer.state_slots; ++slot) {
                CHECK(deviation(reference.state[slot], stored.state(slot)) <= 1e-5);
                CHECK(stored.state(slot) == other.state(slot));
            }
        }
}

TEST_CASE("clipping by a norm that is not reached changes no bit, and weight decay leaves biases alone") {
    const auto train = [](fe::Training recipe) {
        Parameters found(20, true, recipe);
        Doubles g(20);
        for (int t = 0; t < 10; ++t) {
            for (std::size_t i = 0; i < g.size(); ++i) g[i] = std::sin(static_cast<double>(i) + t);
            found.step(g);
        }
        return found.values();
    };
    for (const Reference& r : all_optimizers) {
        CAPTURE(r.name);
        fe::Training recipe{.optimizer = optimizer_of(r)};
        const std::vector<float> plain = train(recipe);
        recipe.clip_norm = 1e9f;
        CHECK(train(recipe) == plain);
        recipe.clip_norm = 0;
        recipe.clip_value = 1e9f;
        CHECK(train(recipe) == plain);
        recipe.weight_decay = 0.3f;
        const std::vector<float> decayed = train(recipe);
        for (std::size_t i = 0; i < 20; ++i) CHECK(decayed[i] != plain[i]);
        for (std::size_t i = 20; i < 40; ++i) CHECK(decayed[i] == plain[i]);
    }
}

TEST_CASE(
    "AdamW pulls weights without a gradient by exactly rate times lambda, and leaves the moments alone") {
    Parameters found(4, true, {.optimizer = fe::AdamW{.learning_rate = 0.5f}, .weight_decay = 0.25f});
    found.set({1, -2, 3, 0, 1, -2, 3, 0});
    found.step({0, 0, 0, 0});
    CHECK(found.values() == std::vector<float>{0.875f, -1.75f, 2.625f, 0, 1, -2, 3, 0});
    CHECK(found.state(0) == std::vector<float>(8, 0.0f));
    CHECK(found.state(1) == std::vector<float>(8, 0.0f));
}

TEST_CASE("a real network: stored and immediate updates give the same bits for every optimizer and batch") {
    for (const Reference& r : all_optimizers)
        for (const std::uint32_t batch : {1u, 7u, 33u})
            for (const float clip_value : {0.0f, 0.02f}) {
                CAPTURE(r.name);
                CAPTURE(batch);
                std::vector<std::uint64_t> digests;
                for (const fe::Update update :
                     {fe::Update::immediate, fe::Update::stored, fe::Update::automatic}) {
                    fe::test::Learner learner(
                        fe::Shape{9},
                        {fe::Dense{.units = 21}, fe::Tanh{}, fe::Dense{.units = 18, .bias = false},
                         fe::Gelu{}, fe::Dense{.units = 5}},
                        {.optimizer = optimizer_of(r),
                         .batch = batch,
                         .weight_decay = 1e-3f,
                         .clip_value = clip_value,
                         .update = update});
                    const fe::Random random(fe::Seed{3});
                    std::vector<float> x(9 * batch);
                    std::vector<fe::Label> labels(batch);
                    for (std::uint64_t i = 0; i < 6; ++i) {
                        for (std::size_t k = 0; k < x.size(); ++k) x[k] = random.normal(i * 1000 + k);
                        for (std::size_t k = 0; k < batch; ++k)
                            labels[k] = static_cast<fe::Label>(random.bits(i * 100 + k) % 5);
                        learner.session().step(x, std::span<const fe::Label>(labels));
                    }
                    digests.push_back(fe::digest(learner.session()));
                }
                CHECK(digests[0] == digests[1]);
                CHECK(digests[0] == digests[2]);
            }
}

TEST_CASE("hyperparameters out of range are refused") {
    const auto status = [](fe::Training recipe) {
        return fe::test::Learner(fe::Shape{2}, {fe::Dense{.units = 3}}, recipe).status();
    };
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    CHECK(status({}) == fe::Status::ok);
    CHECK(status({.optimizer = fe::Sgd{0.0f}}) == fe::Status::ok);
    for (const float bad : {nan, inf, -inf, -0.1f}) {
        CAPTURE(bad);
        const std::vector<fe::Training> recipes{
            {.optimizer = fe::Sgd{bad}},
            {.optimizer = fe::Momentum{bad}},
            {.optimizer = fe::Nesterov{bad}},
            {.optimizer = fe::AdaGrad{bad}},
            {.optimizer = fe::RmsProp{bad}},
            {.optimizer = fe::Adam{bad}},
            {.optimizer = fe::AdamW{bad}},
            {.optimizer = fe::Momentum{0.1f, bad}},
            {.optimizer = fe::Nesterov{0.1f, bad}},
            {.optimizer = fe::AdaGrad{0.1f, bad}},
            {.optimizer = fe::RmsProp{0.1f, bad}},
            {.optimizer = fe::RmsProp{0.1f, 0.9f, bad}},
            {.optimizer = fe::Adam{0.1f, bad}},
            {.optimizer = fe::Adam{0.1f, 0.9f, bad}},
            {.optimizer = fe::Adam{0.1f, 0.9f, 0.9f, bad}},
            {.optimizer = fe::AdamW{0.1f, bad}},
            {.optimizer = fe::AdamW{0.1f, 0.9f, bad}},
            {.optimizer = fe::AdamW{0.1f, 0.9f, 0.9f, bad}},
            {.weight_decay = bad},
            {.clip_value = bad},
            {.clip_norm = bad},
            {.loss = fe::Huber{bad}},
            {.schedule = fe::StepDecay{.multiply = bad}},
            {.schedule = fe::CosineDecay{.floor = bad}},
        };
        for (std::size_t i = 0; i < recipes.size(); ++i) {
            CAPTURE(i);
            CHECK(status(recipes[i]) == fe::Status::invalid_hyperparameter);
        }
    }
    CHECK(status({.optimizer = fe::Momentum{0.1f, 1.0f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.optimizer = fe::RmsProp{0.1f, 1.0f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.optimizer = fe::Adam{0.1f, 1.0f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.optimizer = fe::Adam{0.1f, 0.9f, 1.0f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.optimizer = fe::Adam{0.1f, 0.9f, 0.99f, 0.0f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.schedule = fe::StepDecay{.every = 0}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.schedule = fe::CosineDecay{.iterations = 0}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.schedule = fe::StepDecay{.multiply = 1.5f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.loss = fe::Huber{0.0f}}) == fe::Status::invalid_hyperparameter);
    CHECK(status({.clip_norm = 1.0f, .update = fe::Update::immediate}) == fe::Status::needs_stored_gradients);
    CHECK(status({.clip_norm = 1.0f, .update = fe::Update::automatic}) == fe::Status::ok);
}
