// SPDX-License-Identifier: MIT
// Trainings on MNIST whose start values and batches follow from the portable generator: the losses, the
// weights and the test figures of golden/deterministic_training.json.
#include <algorithm>
#include <cstdlib>
#include <host/dataset.hpp>
#include <numeric>

#include "golden.hpp"

namespace fe = ferrite;
using fe::test::PortableGenerator;
using nlohmann::json;

namespace {

double wide(float x) { return static_cast<double>(x); }

fe::Optimizer optimizer_of(const json& c) {
    const std::string name = c.at("optimizer");
    const json& hyper = c.at("hyper");
    const float lr = hyper.at("lr");
    if (name == "sgd") return fe::Sgd{lr};
    if (name == "momentum") return fe::Momentum{lr, hyper.at("momentum").get<float>()};
    if (name == "adagrad") return fe::AdaGrad{lr};
    REQUIRE(name == "adam");
    return fe::Adam{
        .learning_rate = lr, .beta1 = hyper.value("beta1", 0.9f), .beta2 = hyper.value("beta2", 0.999f)};
}

/// Sum over rows of -log(p[label] + 1e-7), the loss of the golden file.
double summed_loss(std::span<const float> p, std::span<const fe::Label> labels) {
    double sum = 0;
    const std::size_t outputs = p.size() / labels.size();
    for (std::size_t r = 0; r < labels.size(); ++r) sum -= std::log(wide(p[r * outputs + labels[r]]) + 1e-7);
    return sum;
}

struct Figures {
    double loss = 0, accuracy = 0;
};

/// Over the first `count` samples.
Figures evaluate(fe::TrainingSession& session, const fe::host::Samples& samples, std::uint32_t count) {
    const std::uint32_t batch = session.program().totals->batch;
    std::vector<float> x(batch * samples.images.image_size());
    Figures result;
    for (std::uint32_t first = 0; first < count; first += batch) {
        const std::uint32_t rows = std::min(batch, count - first);
        std::vector<std::uint32_t> indices(rows);
        std::iota(indices.begin(), indices.end(), first);
        fe::host::gather(samples, indices, x.data());
        const auto inputs = std::span<const float>(x).first(rows * samples.images.image_size());
        const auto labels = std::span(samples.labels).subspan(first, rows);
        const std::span<const float> p = session.predict(inputs);
        result.loss += summed_loss(p, labels) / count;
        for (std::size_t r = 0; r < rows; ++r)
            if (fe::argmax(p.subspan(r * 10, 10)) == labels[r]) result.accuracy += 1.0 / count;
    }
    return result;
}

/// What a float may be off: in most cases rounding. In some a pre-activation near 0 changes sides; in which of them depends
/// on the order of the sums, so that init_xavier and bn_std0.01 are not among those that the golden README names.
struct Bound {
    double loss = 1e-6;
    double accuracy = 1.5e-4;  ///< one image may lie so close to two classes that a rounding decides
};
Bound bound_of(const std::string& name) {
    if (name == "adagrad") return {.loss = 0.07, .accuracy = 0.01};
    if (name == "init_xavier") return {.loss = 2e-5, .accuracy = 0.001};
    if (name == "bn_std0.01") return {.loss = 0.01, .accuracy = 0.01};
    if (name == "weight_decay") return {.loss = 1e-4, .accuracy = 0.02};
    for (const char* rough : {"overfit", "dropout_standard", "dropout_inverted", "bn_std0.0858"})
        if (name == rough) return {.loss = 0.02, .accuracy = 0.02};
    return {};
}

void replay(const json& c, const fe::host::Dataset& data) {
    const std::string name = c.at("name");
    CAPTURE(name);
    const Bound bound = bound_of(name);
    const std::vector<std::uint32_t> sizes = c.at("sizes");
    const std::uint32_t batch = c.at("batch");
    const std::uint64_t seed = c.at("seed").get<std::uint64_t>() * 1000;
    const std::uint32_t used = c.at("train_samples").get<std::uint32_t>() == 0
                                   ? data.train.images.count
                                   : c.at("train_samples").get<std::uint32_t>();
    const bool relu = c.at("activation") == "relu", normed = c.at("batchnorm");
    const float rate = c.at("dropout");
    std::vector<fe::AnyLayer> layers;
    std::vector<std::size_t> weights;  // where the W are among the parameters
    std::size_t arrays = 0;
    for (std::size_t l = 1; l < sizes.size(); ++l) {
        layers.push_back(fe::Dense{.units = sizes[l]});
        weights.push_back(arrays);
        arrays += 2;
        if (l + 1 == sizes.size()) continue;
        if (normed) {
            layers.push_back(fe::BatchNorm{.epsilon = c.at("bn_eps").get<float>(), .initial_variance = 0});
            arrays += 4;
        }
        layers.push_back(relu ? fe::AnyLayer(fe::Relu{}) : fe::AnyLayer(fe::Sigmoid{}));
        if (rate > 0)
            layers.push_back(fe::Dropout{.rate = rate,
                                         .scaling = c.at("dropout_scaling") == "inverted" ? fe::DropoutScaling::inverted
                                                                                          : fe::DropoutScaling::inference,
                                         .seed = static_cast<std::uint32_t>(seed + 700 + l)});
    }
    fe::test::Learner learner(fe::Shape{28, 28}, layers,
                              {.optimizer = optimizer_of(c), .batch = batch, .weight_decay = c.at("weight_decay").get<float>()});
    fe::TrainingSession& session = learner.session();
    REQUIRE(session.parameter_count() == arrays);
    for (std::size_t l = 1; l < sizes.size(); ++l) {
        const double inputs = sizes[l - 1];
        const double deviation = c.at("init") == "he"       ? std::sqrt(2 / inputs)
                                 : c.at("init") == "xavier" ? 1 / std::sqrt(inputs)
                                                            : c.at("init").get<double>();
        const PortableGenerator stream{seed + l};
        const std::span<float> w = session.parameter(weights[l - 1]);
        for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(deviation * stream.normal(i));
        for (const float b : session.parameter(weights[l - 1] + 1)) REQUIRE(b == 0);
    }

    const PortableGenerator draws{seed + 500};
    std::vector<std::uint32_t> indices(batch);
    std::vector<float> x(batch * data.train.images.image_size());
    std::vector<fe::Label> labels(batch);
    const json& expected = c.at("loss_before_update");
    const bool in_training = normed || rate > 0;  // where predict() says something else than step()
    std::size_t compared = 0;
    const std::uint32_t iterations = c.at("iterations");
    for (std::uint32_t i = 0; i < iterations; ++i) {
        CAPTURE(i);
        for (std::uint32_t b = 0; b < batch; ++b) {
            indices[b] = static_cast<std::uint32_t>(draws.uniform(std::uint64_t{i} * batch + b) * used);
            labels[b] = data.train.labels[indices[b]];
        }
        fe::host::gather(data.train, indices, x.data());
        const auto at = expected.find(std::to_string(i));
        double exact = 0;
        if (at != expected.end()) {
            const double loss = at->get<double>();
            ++compared;
            if (in_training) {
                exact = loss;
            } else {
                const std::span<const float> p = session.predict(x);
                const double found = summed_loss(p, labels) / batch + wide(session.penalty());
                CHECK(std::abs(found - loss) <= bound.loss * std::max(1.0, loss));
                for (std::uint32_t r = 0; r < batch; ++r) exact -= std::log(wide(p[r * 10 + labels[r]])) / batch;
            }
        }
        const float loss = session.step(x, std::span<const fe::Label>(labels));
        // The session's own loss has no 1e-7 in it; as a float sum over the rows it is off by rows * 2^-25 at
        // most.
        if (at != expected.end())
            CHECK(std::abs(wide(loss) - exact) <=
                  (in_training ? bound.loss + 1e-6 : 1e-6 + batch * 0x1p-25) * std::max(1.0, exact));
    }
    CHECK(compared == expected.size());
    CHECK(compared >= 10);

    const json& final = c.at("final");
    double sum_abs = 0, sum_sq = 0;
    for (const float w : session.parameter(0)) {
        sum_abs += std::abs(wide(w));
        sum_sq += wide(w) * wide(w);
    }
    CHECK(sum_abs == doctest::Approx(final.at("W1_sum_abs").get<double>()).epsilon(bound.loss));
    CHECK(sum_sq == doctest::Approx(final.at("W1_sum_sq").get<double>()).epsilon(bound.loss));
    if (const auto spread = c.find("max_spread_between_columns_of_W1"); spread != c.end()) {
        const std::span<const float> w = session.parameter(0);
        for (std::size_t i = 0; i < w.size(); ++i) REQUIRE(w[i] == w[i / sizes[1] * sizes[1]]);
    }
    const Figures test = evaluate(session, data.test, data.test.images.count);
    const double test_loss = final.at("test_loss");
    CHECK(std::abs(test.loss + wide(session.penalty()) - test_loss) <= bound.loss * std::max(1.0, test_loss));
    CHECK(std::abs(test.accuracy - final.at("test_accuracy").get<double>()) <= bound.accuracy);
    const std::uint32_t first = std::min(10'000u, used);
    CHECK(std::abs(evaluate(session, data.train, first).accuracy -
                   final.at("accuracy_first_10000_train").get<double>()) <= bound.accuracy);
}

}  // namespace

TEST_CASE("deterministic training on MNIST: every golden case") {
    const char* shared = std::getenv("FERRITE_SHARED");
    if (shared == nullptr) {
        const char* required = std::getenv("FERRITE_REQUIRE_SHARED");
        if (required != nullptr && std::string(required) == "1")
            FAIL(
                "FERRITE_REQUIRE_SHARED=1, but FERRITE_SHARED (the directory that holds data/mnist) is not "
                "set");
        MESSAGE("skipped: FERRITE_SHARED (the directory that holds data/mnist) is not set");
        return;
    }
    const fe::host::Dataset data = fe::host::load_dataset(std::string(shared) + "/data/mnist");
    const json file = fe::test::golden("deterministic_training.json");
    std::size_t cases = 0;
    for (const json& c : file.at("cases")) {
        replay(c, data);
        ++cases;
    }
    CHECK(cases == 15);
}
