// SPDX-License-Identifier: MIT
// The losses: golden values, the formulas of loss.hpp in double, finite differences, extreme logits, wrong
// labels.
#include <algorithm>
#include <functional>
#include <limits>

#include "golden.hpp"
#include "values.hpp"

namespace fe = ferrite;
using fe::test::deviation;
using fe::test::Doubles;

namespace {

using Kernel = fe::Kernel<fe::LossArguments>;

double wide(float x) { return static_cast<double>(x); }

struct Answer {
    float loss;
    std::vector<float> dz;
};

Answer run(const Kernel& kernel, std::vector<float> z, std::size_t columns,
           const std::vector<fe::Label>& labels, const std::vector<float>& targets, float constant = 0) {
    Answer answer{0, std::vector<float>(z.size(), -1.0f)};
    fe::LossArguments arguments{.z = z.data(),
                                .labels = labels.empty() ? nullptr : labels.data(),
                                .targets = targets.empty() ? nullptr : targets.data(),
                                .dz = answer.dz.data(),
                                .loss = &answer.loss,
                                .rows = z.size() / columns,
                                .columns = columns,
                                .constant = constant};
    kernel(arguments);
    // In place, with the same bits.
    float loss = 0;
    arguments.dz = z.data();
    arguments.loss = &loss;
    kernel(arguments);
    CHECK(fe::test::difference(answer.dz, z) == "");
    CHECK(fe::test::same(loss, answer.loss));
    return answer;
}

/// Loss of one row in double.
double cross_entropy(const double* z, std::size_t columns, std::size_t label) {
    const double top = *std::max_element(z, z + columns);
    double sum = 0;
    for (std::size_t i = 0; i < columns; ++i) sum += std::exp(z[i] - top);
    return std::log(sum) - (z[label] - top);
}

/// A loss of elements: what they contribute, before the mean, and its derivative by z.
struct Elements {
    const char* name;
    const Kernel* kernel;
    float constant;
    std::function<double(double, double)> loss, slope;
};
const std::vector<Elements> element_losses = {
    {"binary cross entropy", &fe::kernels::binary_cross_entropy, 0,
     [](double z, double t) { return std::max(z, 0.0) - z * t + std::log1p(std::exp(-std::abs(z))); },
     [](double z, double t) { return 1 / (1 + std::exp(-z)) - t; }},
    {"mean squared error", &fe::kernels::mean_squared_error, 0,
     [](double z, double t) { return (z - t) * (z - t); }, [](double z, double t) { return 2 * (z - t); }},
    {"huber 1", &fe::kernels::huber, 1,
     [](double z, double t) { return std::abs(z - t) <= 1 ? (z - t) * (z - t) / 2 : std::abs(z - t) - 0.5; },
     [](double z, double t) { return std::clamp(z - t, -1.0, 1.0); }},
    {"huber 0.25", &fe::kernels::huber, 0.25f,
     [](double z, double t) {
         return std::abs(z - t) <= 0.25 ? (z - t) * (z - t) / 2 : 0.25 * (std::abs(z - t) - 0.125);
     },
     [](double z, double t) { return std::clamp(z - t, -0.25, 0.25); }},
};

constexpr std::size_t all_columns[] = {1, 2, 3, 5, 10, 16, 17, 33, 100};

}  // namespace

TEST_CASE("softmax cross entropy: golden losses, probabilities and gradients") {
    const nlohmann::json file = fe::test::golden("softmax_cross_entropy.json");
    const std::vector<Doubles> logits = file.at("logits"), softmax = file.at("softmax"),
                               gradient = file.at("grad_of_mean_loss_by_logits");
    const std::vector<fe::Label> labels = file.at("labels");
    const Doubles per_row = file.at("per_row_loss_exact");
    REQUIRE(logits.size() == 5);
    const std::size_t columns = logits[0].size();
    std::vector<float> all;
    for (std::size_t r = 0; r < logits.size(); ++r) {
        CAPTURE(r);
        const std::vector<float> z(logits[r].begin(), logits[r].end());
        all.insert(all.end(), z.begin(), z.end());
        const Answer row = run(fe::kernels::softmax_cross_entropy, z, columns, {labels[r]}, {});
        CHECK(std::abs(wide(row.loss) - per_row[r]) <= 5e-7 * std::max(1.0, per_row[r]));
        std::vector<float> p(columns);
        fe::kernels::softmax({.x = z.data(), .dy = nullptr, .y = p.data(), .rows = 1, .columns = columns});
        CHECK(deviation(softmax[r], p) <= 2e-7);
    }
    const Answer batch = run(fe::kernels::softmax_cross_entropy, all, columns, labels, {});
    CHECK(std::abs(wide(batch.loss) / file.at("mean_loss_exact").get<double>() - 1) <= 5e-7);
    Doubles flat;
    for (const Doubles& row : gradient) flat.insert(flat.end(), row.begin(), row.end());
    CHECK(deviation(flat, batch.dz) <= 1e-7);
}

TEST_CASE("softmax cross entropy: random rows of every length against double and finite differences") {
    const fe::test::PortableGenerator random{5};
    std::uint64_t at = 0;
    for (const std::size_t columns : all_columns)
        for (const std::size_t rows : {std::size_t{1}, std::size_t{3}, std::size_t{8}})
            for (const double spread : {0.1, 3.0, 30.0}) {
                CAPTURE(columns);
                CAPTURE(rows);
                CAPTURE(spread);
                std::vector<float> z(rows * columns);
                std::vector<fe::Label> labels(rows);
                for (float& x : z) x = static_cast<float>(spread * random.normal(at++));
                for (fe::Label& t : labels) t = static_cast<fe::Label>(random.bits(at++) % columns);
                const Answer found = run(fe::kernels::softmax_cross_entropy, z, columns, labels, {});
                Doubles expected_dz(z.size());
                double expected = 0;
                Doubles x(z.begin(), z.end());
                for (std::size_t r = 0; r < rows; ++r) {
                    double* const row = x.data() + r * columns;
                    expected += cross_entropy(row, columns, labels[r]);
                    for (std::size_t i = 0; i < columns; ++i) {
                        const double here = row[i], h = 1e-5;
                        row[i] = here + h;
                        const double above = cross_entropy(row, columns, labels[r]);
                        row[i] = here - h;
                        const double below = cross_entropy(row, columns, labels[r]);
                        row[i] = here;
                        expected_dz[r * columns + i] = (above - below) / (2 * h) / static_cast<double>(rows);
                    }
                }
                expected /= static_cast<double>(rows);
                // A row's loss is a difference of logits: its error is one of their last places.
                CHECK(std::abs(wide(found.loss) - expected) <= 1e-7 * (4 + spread + expected));
                CHECK(deviation(expected_dz, found.dz) <= 5e-7);
            }
}

TEST_CASE("softmax cross entropy: logits of +-1e4 and far beyond") {
    const auto one_row = [](std::vector<float> z, fe::Label label) {
        return run(fe::kernels::softmax_cross_entropy, z, z.size(), {label}, {});
    };
    for (const float size : {1e4f, 1e8f, 1e30f}) {
        CAPTURE(size);
        CHECK(one_row({size, -size}, 1).loss == 2 * size);
        CHECK(one_row({size, -size}, 1).dz == std::vector<float>{1, -1});
        CHECK(one_row({size, -size}, 0).loss == 0);
        CHECK(one_row({size, -size}, 0).dz == std::vector<float>{0, 0});
        for (const float z : {size, -size}) {
            const Answer same = one_row({z, z, z, z}, 2);
            CHECK(wide(same.loss) == doctest::Approx(std::log(4.0)).epsilon(1e-7));
            CHECK(same.dz == std::vector<float>{0.25f, 0.25f, -0.75f, 0.25f});
        }
    }
    std::vector<float> z(30, -1e4f);
    z[17] = 1e4f;
    CHECK(one_row(z, 17).loss == 0);
    CHECK(one_row(z, 3).loss == 2e4f);
    CHECK(one_row({5}, 0).loss == 0);
    CHECK(one_row({5}, 0).dz == std::vector<float>{0});
}

TEST_CASE("softmax cross entropy: a label out of range makes the loss NaN, and touches nothing else") {
    fe::test::Source source(9);
    for (const std::size_t columns : all_columns)
        for (const unsigned wrong : {0u, 1u, 100u, 30'000u, 65'535u}) {
            const auto label = static_cast<fe::Label>(std::min<std::size_t>(columns + wrong, 65'535));
            CAPTURE(columns);
            CAPTURE(label);
            const std::vector<float> z = source.array(3 * columns, fe::test::Values::normal);
            std::vector<fe::Label> labels(3, 0);
            const Answer right = run(fe::kernels::softmax_cross_entropy, z, columns, labels, {});
            labels[1] = label;
            const Answer found = run(fe::kernels::softmax_cross_entropy, z, columns, labels, {});
            CHECK(std::isfinite(right.loss));
            CHECK(std::isnan(found.loss));
            for (std::size_t i = 0; i < 3 * columns; ++i)
                if (i / columns != 1) CHECK(found.dz[i] == right.dz[i]);
            const fe::test::Fenced fenced_z(z), fenced_dz(std::vector<float>(3 * columns));
            float loss = 0;
            fe::kernels::softmax_cross_entropy({.z = fenced_z.data(),
                                                .labels = labels.data(),
                                                .targets = nullptr,
                                                .dz = fenced_dz.data(),
                                                .loss = &loss,
                                                .rows = 3,
                                                .columns = columns,
                                                .constant = 0});
            CHECK(fenced_dz.canaries_intact());
            CHECK(fe::test::difference(z, fenced_z.span()) == "");
        }
}

TEST_CASE("losses of elements: the formulas in double and finite differences") {
    const fe::test::PortableGenerator random{6};
    std::uint64_t at = 0;
    for (const Elements& l : element_losses)
        for (const std::size_t columns : all_columns)
            for (const std::size_t rows : {std::size_t{1}, std::size_t{3}, std::size_t{8}})
                for (const double spread : {0.1, 1.0, 20.0}) {
                    CAPTURE(l.name);
                    CAPTURE(columns);
                    CAPTURE(rows);
                    CAPTURE(spread);
                    const bool probability = l.kernel == &fe::kernels::binary_cross_entropy;
                    std::vector<float> z(rows * columns), t(rows * columns);
                    for (float& x : z) x = static_cast<float>(spread * random.normal(at++));
                    for (float& x : t) {
                        const double u = random.uniform(at++);
                        // Also the ends of the range.
                        x = probability ? static_cast<float>(std::clamp(1.4 * u - 0.2, 0.0, 1.0))
                                        : static_cast<float>(2 * u - 1);
                    }
                    const Answer found = run(*l.kernel, z, columns, {}, t, l.constant);
                    const double n = static_cast<double>(z.size());
                    double expected = 0;
                    Doubles slopes(z.size());
                    for (std::size_t i = 0; i < z.size(); ++i) {
                        const double x = wide(z[i]), y = wide(t[i]), h = 1e-6;
                        expected += l.loss(x, y) / n;
                        slopes[i] = l.slope(x, y);
                        CHECK(std::abs((l.loss(x + h, y) - l.loss(x - h, y)) / (2 * h) - slopes[i]) <=
                              1e-6 * (1 + spread));
                        // The mean's 1 / (B O) is undone, so that long rows are held to the same bound.
                        CHECK(std::abs(wide(found.dz[i]) * n - slopes[i]) <=
                              1e-6 * std::max(1.0, std::abs(slopes[i])));
                    }
                    CHECK(std::abs(wide(found.loss) - expected) <= 1e-6 * std::max(0.1, expected));
                }
}

TEST_CASE("losses of elements: where the formulas bend and where exp overflows") {
    const auto element = [](std::size_t which, float z, float t) {
        return run(*element_losses[which].kernel, {z}, 1, {}, {t}, element_losses[which].constant);
    };
    for (const float size : {100.0f, 1e4f, 1e30f}) {
        CHECK(element(0, size, 1).loss == 0);
        CHECK(element(0, size, 0).loss == size);
        CHECK(element(0, -size, 1).loss == size);
        CHECK(element(0, -size, 0).loss == 0);
        CHECK(element(0, size, 0).dz[0] == 1);
        CHECK(element(0, -size, 1).dz[0] == -1);
        CHECK(element(0, size, 0.5f).loss == size / 2);
    }
    CHECK(wide(element(0, 0, 0.3f).loss) == doctest::Approx(std::log(2.0)).epsilon(1e-7));
    // Huber, delta 1 and 0.25: the two branches meet.
    CHECK(element(2, 1, 0).loss == 0.5f);
    CHECK(element(2, 1, 0).dz[0] == 1);
    CHECK(element(2, -1, 0).loss == 0.5f);
    CHECK(element(2, -1, 0).dz[0] == -1);
    CHECK(element(2, 3, 0).loss == 2.5f);
    CHECK(element(2, -3, 0).dz[0] == -1);
    CHECK(element(2, 0.5f, 0).loss == 0.125f);
    CHECK(element(3, 0.25f, 0).loss == 0.03125f);
    CHECK(element(3, 1.25f, 0).loss == 0.25f * (1.25f - 0.125f));
    CHECK(element(1, 3, 1).loss == 4);
    CHECK(element(1, 3, 1).dz[0] == 4);
}

TEST_CASE("losses in a session: the returned loss, and predict's link") {
    const std::vector<float> x{0.5f, -1.0f, 2.0f, 0.25f};
    const auto learner = [](fe::Loss loss) {
        return std::make_unique<fe::test::Learner>(
            fe::Shape{2}, std::vector<fe::AnyLayer>{fe::Dense{.units = 3}},
            fe::Training{.loss = loss, .optimizer = fe::Sgd{0.0f}, .batch = 2});
    };
    const auto outputs = [&](fe::test::Learner& l) {
        const auto z = l.session().predict(x);
        return std::vector<float>(z.begin(), z.end());
    };
    const std::vector<float> z = outputs(*learner(fe::MeanSquaredError{}));
    const std::vector<float> t{0.5f, 0, 1, 0.25f, 0.75f, 0};
    const fe::Loss losses[] = {fe::BinaryCrossEntropy{}, fe::MeanSquaredError{}, fe::Huber{1.0f},
                               fe::Huber{0.25f}};
    for (std::size_t k = 0; k < 4; ++k) {
        CAPTURE(element_losses[k].name);
        const auto l = learner(losses[k]);
        CHECK(l->session().step(x, std::span<const float>(t)) ==
              run(*element_losses[k].kernel, z, 3, {}, t, element_losses[k].constant).loss);
        const std::vector<float> y = outputs(*l);
        for (std::size_t i = 0; i < z.size(); ++i)
            CHECK(wide(y[i]) ==
                  doctest::Approx(k == 0 ? 1 / (1 + std::exp(-wide(z[i]))) : wide(z[i])).epsilon(1e-6));
    }
    const auto l = learner(fe::SoftmaxCrossEntropy{});
    const std::vector<fe::Label> labels{2, 0};
    const Answer expected = run(fe::kernels::softmax_cross_entropy, z, 3, labels, {});
    CHECK(l->session().step(x, std::span<const fe::Label>(labels)) == expected.loss);
    const fe::Evaluation evaluation = l->session().evaluate(x, labels);
    CHECK(evaluation.loss == expected.loss);
    std::vector<float> p(6);
    fe::kernels::softmax({.x = z.data(), .dy = nullptr, .y = p.data(), .rows = 2, .columns = 3});
    CHECK(outputs(*l) == p);
    std::uint32_t correct = 0;
    for (std::size_t r = 0; r < 2; ++r)
        correct += fe::argmax(std::span(z).subspan(3 * r, 3)) == labels[r] ? 1 : 0;
    CHECK(evaluation.correct == correct);

    const auto status = [](std::vector<fe::AnyLayer> layers, fe::Loss loss) {
        return fe::test::Learner(fe::Shape{2}, std::move(layers), {.loss = loss}).status();
    };
    CHECK(status({fe::Dense{.units = 3}, fe::Softmax{}}, fe::SoftmaxCrossEntropy{}) ==
          fe::Status::invalid_loss);
    CHECK(status({fe::Dense{.units = 3}, fe::Softmax{}}, fe::MeanSquaredError{}) == fe::Status::ok);
    CHECK(status({fe::Dense{.units = 65'537}}, fe::SoftmaxCrossEntropy{}) == fe::Status::invalid_loss);
    CHECK(status({fe::Dense{.units = 65'536}}, fe::SoftmaxCrossEntropy{}) == fe::Status::ok);
}
