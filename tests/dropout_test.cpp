// SPDX-License-Identifier: MIT
// Dropout: the golden masks and values, the same mask in both directions, and its scalings in use.
#include <string>

#include "golden.hpp"

namespace fe = ferrite;
using fe::test::deviation;
using fe::test::Doubles;
using fe::test::GivenGradient;
using fe::test::Learner;
using nlohmann::json;

namespace {

std::vector<float> flat(const json& rows) {
    std::vector<float> result;
    for (const Doubles& row : rows.get<std::vector<Doubles>>())
        for (const double v : row) result.push_back(static_cast<float>(v));
    return result;
}

/// A trainable Dense that passes its input on, and Dropout behind it.
std::unique_ptr<Learner> learner_of(std::uint32_t features, std::uint32_t batch, fe::Dropout dropout) {
    auto learner = std::make_unique<Learner>(
        fe::Shape{features}, std::vector<fe::AnyLayer>{fe::Dense{.units = features}, dropout},
        fe::Training{.loss = GivenGradient{}, .optimizer = fe::Sgd{0.0f}, .batch = batch, .update = fe::Update::stored});
    const auto w = learner->session().parameter(0);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = i % (features + 1) == 0 ? 1.0f : 0.0f;
    return learner;
}

}  // namespace

TEST_CASE("dropout: the golden masks, forward, backward and in use") {
    const json file = fe::test::golden("dropout.json");
    std::size_t cases = 0;
    for (const json& c : file.at("cases")) {
        const float rate = c.at("ratio");
        CAPTURE(rate);
        const std::uint32_t batch = c.at("batch"), features = c.at("features"), seed = c.at("seed");
        const std::vector<float> x = flat(c.at("x")), dy = flat(c.at("dy"));
        for (const bool inverted : {false, true}) {
            CAPTURE(inverted);
            ++cases;
            const json& expected = c.at(inverted ? "inverted" : "standard");
            const auto learner = learner_of(features, batch,
                                            {.rate = rate,
                                             .scaling = inverted ? fe::DropoutScaling::inverted : fe::DropoutScaling::inference,
                                             .seed = seed});
            fe::TrainingSession& session = learner->session();
            std::vector<float> y;
            GivenGradient::outputs = &y;
            static_cast<void>(session.step(x, std::span<const float>(dy)));
            GivenGradient::outputs = nullptr;
            const std::vector<float> train_y = flat(expected.at("train_y")), train_dx = flat(expected.at("train_dx"));
            CHECK(deviation(train_y, y) <= 1e-6);
            const std::vector<std::vector<int>> keep = c.at("keep");
            for (std::size_t i = 0; i < y.size(); ++i)
                REQUIRE((y[i] != 0) == (keep[i / features][i % features] == 1));
            // b gathers dx over the rows, W gathers x(r, i) dx(r, o).
            for (std::size_t o = 0; o < features; ++o) {
                double b = 0;
                for (std::size_t r = 0; r < batch; ++r) b += static_cast<double>(train_dx[r * features + o]);
                CHECK(static_cast<double>(session.gradient(1)[o]) == doctest::Approx(b).epsilon(1e-5));
            }
            CHECK(deviation(flat(expected.at("test_y")), session.predict(x)) <= 1e-6);
        }
    }
    CHECK(cases == 8);
    for (const json& s : file.at("keep_statistics")) {
        const auto size = s.at("n").get<std::size_t>();
        std::vector<float> x(size, 1.0f);
        fe::kernels::dropout({.x = x.data(), .y = x.data(), .size = size,
                              .random = fe::Random(fe::Seed{s.at("seed").get<std::uint64_t>()}), .first = 0,
                              .threshold = static_cast<std::uint32_t>(s.at("ratio").get<float>() * 0x1p24f), .scale = 1});
        long kept = 0;
        for (const float v : x) kept += v != 0 ? 1 : 0;
        // A uniform number of 24 bits and one of 53 may fall on different sides of the rate, once in 10^7.
        CHECK(std::abs(kept - s.at("kept_with_generator").get<long>()) <= 1);
    }
}

TEST_CASE("dropout: another mask in each iteration, another one for each layer and seed, the same one again") {
    const std::vector<float> x(600, 1.0f), dy(600, 1.0f);
    const auto masks = [&](std::uint64_t seed, int layers) {
        std::vector<fe::AnyLayer> model{fe::Dense{.units = 60}};
        for (int i = 1; i < layers; ++i) model.emplace_back(fe::Flatten{});
        model.emplace_back(fe::Dropout{});
        Learner learner(fe::Shape{60}, model, {.loss = GivenGradient{}, .optimizer = fe::Sgd{0.0f}, .batch = 10});
        learner.session().initialize(fe::Seed{seed});
        std::vector<std::vector<float>> result;
        for (float& w : learner.session().parameter(0)) w = 0.25f;
        for (int i = 0; i < 3; ++i) {
            std::vector<float> y;
            GivenGradient::outputs = &y;
            static_cast<void>(learner.session().step(x, std::span<const float>(dy)));
            result.push_back(y);
        }
        GivenGradient::outputs = nullptr;
        return result;
    };
    const auto a = masks(1, 1), again = masks(1, 1), b = masks(2, 1), c = masks(1, 2);
    CHECK(a == again);
    CHECK(a[0] != a[1]);
    CHECK(a[1] != a[2]);
    CHECK(a[0] != b[0]);
    CHECK(a[0] != c[0]);
    // 30 = 60 * 0.25 / (1 - 0.5) for the kept ones; half of 600, five sigma 61.
    long kept = 0;
    for (const float v : a[0]) kept += v == 30.0f ? 1 : 0;
    CHECK(kept > 239);
    CHECK(kept < 361);
}

TEST_CASE("dropout: no step in an inference program, none for rate 0") {
    const auto steps = [](fe::Dropout dropout, const auto& recipe) {
        const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 3}, dropout, fe::Tanh{}};
        std::vector<std::uint64_t> tables(fe::table_bytes(layers.size()) / 8 + 1);
        const auto program =
            fe::compile(fe::DynamicModel{fe::Shape{4}, layers}, recipe, std::as_writable_bytes(std::span(tables)));
        REQUIRE(program.ok());
        return program.value().steps.size();
    };
    const fe::Training training{.batch = 2};
    CHECK(steps({.rate = 0.5f}, fe::Inference{}) == steps({.rate = 0}, fe::Inference{}));
    CHECK(steps({.rate = 0.5f, .scaling = fe::DropoutScaling::inference}, fe::Inference{}) ==
          steps({.rate = 0}, fe::Inference{}) + 1);
    CHECK(steps({.rate = 0}, training) < steps({.rate = 0.5f}, training));
}
