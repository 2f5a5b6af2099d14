// SPDX-License-Identifier: MIT
// BatchNorm and LayerNorm as layers: the golden values, running statistics, part batches, folding, and the same bits
// everywhere.
#include <algorithm>
#include <string>

#include "golden.hpp"

namespace fe = ferrite;
using fe::test::deviation;
using fe::test::Doubles;
using fe::test::GivenGradient;
using fe::test::Learner;
using nlohmann::json;

namespace {

double wide(float x) { return static_cast<double>(x); }

std::vector<float> flat(const json& rows) {
    std::vector<float> result;
    for (const Doubles& row : rows.get<std::vector<Doubles>>())
        for (const double v : row) result.push_back(static_cast<float>(v));
    return result;
}
Doubles flat_in_double(const json& rows) {
    Doubles result;
    for (const Doubles& row : rows.get<std::vector<Doubles>>()) result.insert(result.end(), row.begin(), row.end());
    return result;
}

/// A layer that passes everything and keeps the gradient that comes back.
struct Tap {
    static inline std::vector<float> seen;
    static constexpr const char* name = "tap";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self&, Visit&&) {}
    [[nodiscard]] constexpr fe::Shape output(fe::Shape in) const noexcept { return in; }
    constexpr void forward(fe::Emitter&, fe::Node& n) const noexcept { n.y = n.x; }
    constexpr void backward(fe::Emitter& e, fe::Node& n) const noexcept {
        n.dx = n.dy;
        e.step({.name = "tap",
                .run = [](const fe::Call& c) {
                    seen.assign(c.operand[1], c.operand[1] + std::size_t{c.pass->rows} * c.step->size[0]);
                },
                .layer = n.layer,
                .operand = fe::operands(fe::no_buffer, n.dy),
                .size = {n.in.elements(), 0}});
    }
};

/// A Dense that passes its input on: W the unit matrix, b zero. A session needs something below that learns.
void make_unit(fe::TrainingSession& session, std::uint32_t n) {
    for (std::size_t i = 0; i < session.parameter(0).size(); ++i) session.parameter(0)[i] = i % (n + 1) == 0 ? 1.0f : 0.0f;
}

const std::vector<fe::AnyLayer> normed{fe::Dense{.units = 19, .bias = false},
                                       fe::BatchNorm{.momentum = 0.8f},
                                       fe::Relu{},
                                       fe::Dropout{.rate = 0.25f},
                                       fe::Dense{.units = 33},
                                       fe::BatchNorm{.initial_variance = 0},
                                       fe::Tanh{},
                                       fe::Dense{.units = 18},
                                       fe::LayerNorm{},
                                       fe::Gelu{},
                                       fe::Dense{.units = 4},
                                       fe::BatchNorm{}};

struct Batch {
    std::vector<float> x;
    std::vector<fe::Label> y;
    Batch(std::uint64_t n, std::size_t rows) : x(rows * 6), y(rows) {
        const fe::Random random(fe::Seed{91}, n);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
        for (std::size_t r = 0; r < rows; ++r)
            y[r] = static_cast<fe::Label>((x[6 * r] > 0 ? 1 : 0) + (x[6 * r + 1] > 0 ? 2 : 0));
    }
};

std::vector<float> train(fe::TrainingSession& session, int steps) {
    std::vector<float> losses;
    for (int i = 0; i < steps; ++i) {
        const Batch batch(static_cast<std::uint64_t>(i), i % 3 == 2 ? 13 : 16);
        losses.push_back(session.step(batch.x, std::span<const fe::Label>(batch.y)));
    }
    return losses;
}

}  // namespace

TEST_CASE("batch normalization: the golden values, forward, backward and in use") {
    const json file = fe::test::golden("batchnorm.json");
    std::size_t cases = 0;
    for (const json& c : file.at("cases")) {
        const std::string name = c.at("name");
        CAPTURE(name);
        // The golden file's README: float cannot follow where the values differ in their last digits only.
        const bool hard = name.find("constant_column") != std::string::npos || name.find("large_offset") != std::string::npos;
        ++cases;
        // The compiler refuses a batch of one; as a part of a larger one, it leaves the running values as they are.
        const bool single = c.at("batch") == 1;
        const std::uint32_t batch = single ? 2 : c.at("batch").get<std::uint32_t>(), features = c.at("features");
        Learner learner(fe::Shape{features},
                        {fe::Dense{.units = features}, Tap{},
                         fe::BatchNorm{.momentum = c.at("momentum").get<float>(), .epsilon = c.at("eps").get<float>(),
                                       .initial_variance = c.at("running_var_init").get<float>()}},
                        {.loss = GivenGradient{}, .optimizer = fe::Sgd{0.0f}, .batch = batch, .update = fe::Update::stored});
        fe::TrainingSession& session = learner.session();
        make_unit(session, features);
        REQUIRE(std::string(session.program().parameters[2].name) == "gamma");
        std::ranges::copy(c.at("gamma").get<std::vector<float>>(), session.parameter(2).begin());
        std::ranges::copy(c.at("beta").get<std::vector<float>>(), session.parameter(3).begin());
        const std::vector<float> dy = flat(c.at("dy"));
        for (const json& call : c.at("train_calls")) {
            std::vector<float> y;
            GivenGradient::outputs = &y;
            static_cast<void>(session.step(flat(call.at("x")), std::span<const float>(dy)));
            GivenGradient::outputs = nullptr;
            for (const float v : y) CHECK(std::isfinite(v));
            for (const float v : Tap::seen) CHECK(std::isfinite(v));
            if (hard) continue;
            CHECK(deviation(flat_in_double(call.at("y")), y) <= 1e-5);
            CHECK(deviation(flat_in_double(call.at("dx")), Tap::seen) <= 1e-5);
            CHECK(deviation(call.at("dgamma").get<Doubles>(), session.gradient(2)) <= 1e-5);
            CHECK(deviation(call.at("dbeta").get<Doubles>(), session.gradient(3)) <= 1e-5);
            if (single) continue;
            CHECK(deviation(call.at("running_mean").get<Doubles>(), session.parameter(4)) <= 1e-5);
            CHECK(deviation(call.at("running_var").get<Doubles>(), session.parameter(5)) <= 1e-5);
        }
        const auto z = session.predict(flat(c.at("inference").at("x")));
        for (const float v : z) CHECK(std::isfinite(v));
        if (!hard && !single) CHECK(deviation(flat_in_double(c.at("inference").at("y")), z) <= 1e-5);
    }
    CHECK(cases == 6);
}

TEST_CASE("batch normalization: channels of an image are the last extent") {
    // (2, 2, 3): 4 positions of 3 channels; two samples give each channel 8 values.
    Learner learner(fe::Shape{2, 2, 3}, {fe::BatchNorm{.momentum = 0}, fe::Dense{.units = 2}},
                    {.loss = fe::MeanSquaredError{}, .optimizer = fe::Sgd{0.0f}, .batch = 2});
    std::vector<float> x(24);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * i) % 11) + (i % 3 == 1 ? 100.0f : 0.0f);
    const std::vector<float> targets(4);
    static_cast<void>(learner.session().step(x, std::span<const float>(targets)));
    for (std::size_t c = 0; c < 3; ++c) {
        double mean = 0, variance = 0;
        for (std::size_t i = c; i < 24; i += 3) mean += wide(x[i]) / 8;
        for (std::size_t i = c; i < 24; i += 3) variance += (wide(x[i]) - mean) * (wide(x[i]) - mean) / 8;
        CHECK(wide(learner.session().parameter(2)[c]) == doctest::Approx(mean));
        CHECK(wide(learner.session().parameter(3)[c]) == doctest::Approx(variance));
    }
}

TEST_CASE("batch normalization: a part batch of one sample gives finite values and leaves the running ones") {
    Learner learner(fe::Shape{6}, {fe::Dense{.units = 5}, fe::BatchNorm{}, fe::Dense{.units = 4}}, {.batch = 16});
    fe::TrainingSession& session = learner.session();
    train(session, 5);
    const auto mean = fe::test::copy(session.parameter(4)), variance = fe::test::copy(session.parameter(5));
    const Batch one(7, 1);
    CHECK(std::isfinite(session.step(one.x, std::span<const fe::Label>(one.y))));
    CHECK(fe::test::copy(session.parameter(4)) == mean);
    CHECK(fe::test::copy(session.parameter(5)) == variance);
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        for (const float v : session.parameter(i)) REQUIRE(std::isfinite(v));
}

TEST_CASE("batch normalization: frozen, it normalizes with the running values also in training, of one sample too") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 5}, fe::BatchNorm{.frozen = true}, fe::Dense{.units = 4}};
    Learner learner(fe::Shape{6}, layers, {.optimizer = fe::Sgd{0.1f}, .batch = 1, .update = fe::Update::stored});
    fe::TrainingSession& session = learner.session();
    for (std::size_t c = 0; c < 5; ++c) {
        session.parameter(2)[c] = 0.5f + static_cast<float>(c);
        session.parameter(4)[c] = 0.25f * static_cast<float>(c);
        session.parameter(5)[c] = 0.5f + 0.5f * static_cast<float>(c);
    }
    const auto gamma = fe::test::copy(session.parameter(2)), mean = fe::test::copy(session.parameter(4));
    const Batch batch(3, 1);
    const auto p = session.predict(batch.x);
    const double expected = -std::log(wide(p[batch.y[0]]));
    const auto w = fe::test::copy(session.parameter(0));
    CHECK(wide(session.step(batch.x, std::span<const fe::Label>(batch.y))) == doctest::Approx(expected).epsilon(1e-5));
    CHECK(fe::test::copy(session.parameter(2)) == gamma);
    CHECK(fe::test::copy(session.parameter(4)) == mean);
    CHECK(session.gradient(2).empty());
    // Against a difference of the loss: the gradient came through the layer.
    const auto gradient = fe::test::copy(session.gradient(0));
    Learner other(fe::Shape{6}, layers, {.optimizer = fe::Sgd{0.0f}, .batch = 1});
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        std::ranges::copy(session.parameter(i), other.session().parameter(i).begin());
    std::ranges::copy(w, other.session().parameter(0).begin());
    // The last Dense has learned in the meantime; the start values are those of the same seed.
    Learner fresh(fe::Shape{6}, layers, {.optimizer = fe::Sgd{0.0f}, .batch = 1});
    for (const std::size_t i : {std::size_t{6}, std::size_t{7}})
        std::ranges::copy(fresh.session().parameter(i), other.session().parameter(i).begin());
    std::ranges::copy(fresh.session().parameter(1), other.session().parameter(1).begin());
    const auto loss_at = [&](std::size_t i, float value) {
        const float before = std::exchange(other.session().parameter(0)[i], value);
        const auto q = other.session().predict(batch.x);
        const double loss = -std::log(wide(q[batch.y[0]]));
        other.session().parameter(0)[i] = before;
        return loss;
    };
    for (std::size_t i = 0; i < w.size(); ++i)
        CHECK((loss_at(i, w[i] + 0.01f) - loss_at(i, w[i] - 0.01f)) / 0.02 ==
              doctest::Approx(wide(gradient[i])).epsilon(2e-2));
}

TEST_CASE("layer normalization: each row has mean beta and deviation gamma") {
    Learner learner(fe::Shape{6}, {fe::Dense{.units = 37}, fe::LayerNorm{.epsilon = 1e-7f}}, {.loss = fe::MeanSquaredError{}, .batch = 16});
    fe::TrainingSession& session = learner.session();
    for (float& v : session.parameter(2)) v = 3;
    for (float& v : session.parameter(3)) v = -2;
    const Batch batch(1, 16);
    const auto y = session.predict(batch.x);
    for (std::size_t r = 0; r < 16; ++r) {
        double mean = 0, variance = 0;
        for (std::size_t i = 0; i < 37; ++i) mean += wide(y[r * 37 + i]) / 37;
        for (std::size_t i = 0; i < 37; ++i) variance += std::pow(wide(y[r * 37 + i]) - mean, 2) / 37;
        CHECK(mean == doctest::Approx(-2).epsilon(1e-5));
        CHECK(std::sqrt(variance) == doctest::Approx(3).epsilon(1e-4));
    }
}

TEST_CASE("normalizations and dropout train with the same bits on every instruction set and in both update modes") {
    const std::string before = fe::name(fe::active_isa());
    fe::Training recipe{.optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 16, .weight_decay = 1e-3f};
    std::vector<float> expected;
    for (std::size_t i = 0; i < fe::isa_count; ++i)
        for (const fe::Update update : {fe::Update::immediate, fe::Update::stored}) {
            const char* const isa = fe::name(static_cast<fe::Isa>(i));
            CAPTURE(std::string(isa));
            if (fe::select_isa(isa) != fe::Status::ok) continue;
            recipe.update = update;
            Learner learner(fe::Shape{6}, normed, recipe);
            const std::vector<float> losses = train(learner.session(), 400);
            if (expected.empty()) expected = losses;
            CHECK(losses == expected);
        }
    REQUIRE(fe::select_isa(before.c_str()) == fe::Status::ok);
    float head = 0, tail = 0;
    for (std::size_t i = 0; i < 50; ++i) head += expected[i], tail += expected[expected.size() - 1 - i];
    CHECK(tail < 0.7f * head);
}

TEST_CASE("folded into the Dense before it, a BatchNorm answers what it answers by itself") {
    Learner learner(fe::Shape{6}, normed, {.optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 16});
    fe::TrainingSession& session = learner.session();
    train(session, 100);
    const Batch batch(1000, 16);
    const std::vector<float> expected = fe::test::copy(session.predict(batch.x));
    std::vector<std::byte> bytes(fe::weights_bytes(learner.model(), session.program()));
    REQUIRE(fe::save_weights(learner.model(), session, bytes).ok());
    const auto file = fe::open_weights(bytes);
    REQUIRE(file.ok());
    std::uint32_t region[2]{}, steps[2]{};
    for (const bool fold : {false, true}) {
        CAPTURE(fold);
        std::vector<std::uint64_t> tables(fe::table_bytes(normed.size()) / 8 + 1);
        const fe::Inference recipe{.batch = 16, .link = fe::Link::softmax, .fold = fold};
        const auto program = fe::compile(learner.model(), recipe, std::as_writable_bytes(std::span(tables)));
        REQUIRE(program.ok());
        const fe::Totals& totals = *program.value().totals;
        region[fold] = totals.region_bytes[0];
        steps[fold] = totals.steps;
        const fe::test::Aligned parameters(totals.region_bytes[0]), arena(totals.arena_bytes);
        REQUIRE(fe::load_weights(file.value(), program.value(), parameters.span()) == fe::Status::ok);
        auto bound = fe::InferenceSession::bind(program.value(), parameters.span(), arena.span());
        REQUIRE(bound.ok());
        const auto found = bound.value().predict(batch.x);
        if (fold)
            CHECK(deviation(expected, found) <= 2e-6);
        else
            CHECK(fe::test::copy(found) == expected);
        // The region of training is that of an unfolded program, and of no other.
        CHECK(fe::InferenceSession::bind(program.value(), session.parameters(), arena.span()).status() ==
              (fold ? fe::Status::model_mismatch : fe::Status::ok));
    }
    // 3 BatchNorms are gone, and the Relu and the Tanh behind two of them became maps of their Dense.
    CHECK(steps[1] + 5 == steps[0]);
    CHECK(region[1] < region[0]);
}

TEST_CASE("a checkpoint brings back running statistics and dropout masks") {
    const fe::Training recipe{.optimizer = fe::Momentum{0.05f}, .batch = 16};
    Learner straight(fe::Shape{6}, normed, recipe), stopped(fe::Shape{6}, normed, recipe), resumed(fe::Shape{6}, normed, recipe);
    for (Learner* l : {&straight, &stopped}) l->session().initialize(fe::Seed{0x1234567890ABCDEFu});
    resumed.session().initialize(fe::Seed{9});
    train(straight.session(), 20);
    train(stopped.session(), 20);
    std::vector<std::byte> bytes(fe::checkpoint_bytes(stopped.model(), stopped.session()));
    REQUIRE(fe::save_checkpoint(stopped.model(), stopped.session(), bytes).ok());
    const auto file = fe::open_weights(bytes);
    REQUIRE(file.ok());
    REQUIRE(fe::load_checkpoint(resumed.model(), file.value(), resumed.session()) == fe::Status::ok);
    const std::vector<float> a = train(straight.session(), 20), b = train(resumed.session(), 20);
    CHECK(a == b);
    CHECK(fe::digest(straight.session()) == fe::digest(resumed.session()));
    // Another rate is another training.
    std::vector<fe::AnyLayer> other = normed;
    other[3] = fe::Dropout{.rate = 0.5f};
    Learner wrong(fe::Shape{6}, other, recipe);
    CHECK(fe::load_checkpoint(wrong.model(), file.value(), wrong.session()) == fe::Status::model_mismatch);
}
