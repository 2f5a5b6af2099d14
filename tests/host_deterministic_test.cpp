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

void replay(const json& c, const fe::host::Dataset& data) {
    const std::string name = c.at("name");
    CAPTURE(name);
    const std::vector<std::uint32_t> sizes = c.at("sizes");
    const std::uint32_t batch = c.at("batch");
    const std::uint64_t seed = c.at("seed").get<std::uint64_t>() * 1000;
    const std::uint32_t used = c.at("train_samples").get<std::uint32_t>() == 0
                                   ? data.train.images.count
                                   : c.at("train_samples").get<std::uint32_t>();
    const bool relu = c.at("activation") == "relu";
    std::vector<fe::AnyLayer> layers;
    for (std::size_t l = 1; l < sizes.size(); ++l) {
        layers.push_back(fe::Dense{.units = sizes[l]});
        if (l + 1 < sizes.size())
            layers.push_back(relu ? fe::AnyLayer(fe::Relu{}) : fe::AnyLayer(fe::Sigmoid{}));
    }
    fe::test::Learner learner(fe::Shape{28, 28}, layers, {.optimizer = optimizer_of(c), .batch = batch});
    fe::TrainingSession& session = learner.session();
    for (std::size_t l = 1; l < sizes.size(); ++l) {
        const double inputs = sizes[l - 1];
        const double deviation = c.at("init") == "he"       ? std::sqrt(2 / inputs)
                                 : c.at("init") == "xavier" ? 1 / std::sqrt(inputs)
                                                            : c.at("init").get<double>();
        const PortableGenerator stream{seed + l};
        const std::span<float> w = session.parameter(2 * l - 2);
        for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(deviation * stream.normal(i));
        for (const float b : session.parameter(2 * l - 1)) REQUIRE(b == 0);
    }

    const PortableGenerator draws{seed + 500};
    std::vector<std::uint32_t> indices(batch);
    std::vector<float> x(batch * data.train.images.image_size());
    std::vector<fe::Label> labels(batch);
    const json& expected = c.at("loss_before_update");
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
            const std::span<const float> p = session.predict(x);
            const double found = summed_loss(p, labels) / batch;
            CHECK(std::abs(found - loss) <= 1e-6 * std::max(1.0, loss));
            for (std::uint32_t r = 0; r < batch; ++r) exact -= std::log(wide(p[r * 10 + labels[r]])) / batch;
            ++compared;
        }
        const float loss = session.step(x, std::span<const fe::Label>(labels));
        // The session's own loss has no 1e-7 in it; as a float sum over the rows it is off by rows * 2^-25 at
        // most.
        if (at != expected.end())
            CHECK(std::abs(wide(loss) - exact) <= (1e-6 + batch * 0x1p-25) * std::max(1.0, exact));
    }
    CHECK(compared == expected.size());
    CHECK(compared >= 10);

    const json& final = c.at("final");
    double sum_abs = 0, sum_sq = 0;
    for (const float w : session.parameter(0)) {
        sum_abs += std::abs(wide(w));
        sum_sq += wide(w) * wide(w);
    }
    CHECK(sum_abs == doctest::Approx(final.at("W1_sum_abs").get<double>()).epsilon(1e-6));
    CHECK(sum_sq == doctest::Approx(final.at("W1_sum_sq").get<double>()).epsilon(1e-6));
    const Figures test = evaluate(session, data.test, data.test.images.count);
    const double test_loss = final.at("test_loss");
    CHECK(std::abs(test.loss - test_loss) <= 1e-6 * std::max(1.0, test_loss));
    // One image may lie so close to two classes that a rounding decides.
    CHECK(std::abs(test.accuracy - final.at("test_accuracy").get<double>()) <= 1.5e-4);
    const std::uint32_t first = std::min(10'000u, used);
    CHECK(std::abs(evaluate(session, data.train, first).accuracy -
                   final.at("accuracy_first_10000_train").get<double>()) <= 1.5e-4);
}

}  // namespace

TEST_CASE("deterministic training on MNIST: sgd, momentum, adam, and two nets of sigmoids") {
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
    std::vector<std::string> missing{"sgd", "momentum", "adam", "sigmoid_xavier", "zero_init_sigmoid"};
    for (const json& c : file.at("cases"))
        if (std::erase(missing, c.at("name").get<std::string>()) == 1) replay(c, data);
    CHECK(missing.empty());
}
