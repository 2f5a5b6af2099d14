// SPDX-License-Identifier: MIT
// The experiments as numbers: golden activations and smoothing, the same bits on every instruction set, for any number
// of jobs and again, and no allocation in a loop.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <host/experiment.hpp>
#include <host/heap.hpp>
#include <host/jobs.hpp>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "golden.hpp"

namespace fe = ferrite;
using fe::host::Dataset;
using fe::host::Setting;
using fe::host::Student;

namespace {

double wide(float x) { return static_cast<double>(x); }

/// Ten classes that can be told apart: a bright square at a place of their own, in noise.
Dataset small_dataset(std::uint32_t training, std::uint32_t test) {
    constexpr std::uint32_t side = 5;
    const auto samples = [](std::uint32_t count, std::uint64_t stream) {
        const fe::Random random(fe::Seed{11}, stream);
        fe::host::Samples s;
        s.images = {.count = count, .height = side, .width = side, .pixels = {}};
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto label = static_cast<std::uint16_t>(random.bits(i) % 10);
            s.labels.push_back(label);
            for (std::uint32_t p = 0; p < side * side; ++p) {
                const auto noise = static_cast<std::uint8_t>(random.bits(1000 + i * 100 + p) % 60);
                s.images.pixels.push_back(p / 2 == label ? static_cast<std::uint8_t>(190 + noise) : noise);
            }
        }
        return s;
    };
    return {.train = samples(training, 1), .test = samples(test, 2), .name = "small"};
}

/// Every training of the chapter, cut short.
std::vector<Setting> short_settings() {
    std::vector<Setting> all;
    for (const auto& part : {fe::host::optimizer_comparison(), fe::host::start_value_comparison(),
                             fe::host::batch_normalization(), fe::host::overfitting()})
        all.insert(all.end(), part.begin(), part.end());
    for (Setting& s : all) {
        s.batch = 20;
        if (s.epochs == 0) s.iterations = 4;
        if (s.samples != 0) s.samples = 60;
        if (s.epochs != 0) s.epochs = 3;
    }
    return all;
}

}  // namespace

TEST_CASE("experiment: the golden activations of five layers") {
    std::ifstream file(fe::test::golden_path("activations_exact.csv"));
    REQUIRE(file.good());
    std::string line;
    std::getline(file, line);
    REQUIRE(line == "activation,init,layer,mean,std,count_below_0.1,count_above_0.9,count_zero");
    const auto normals = [](std::uint64_t stream, std::size_t count) {
        const fe::test::PortableGenerator generator{stream};
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(generator.normal(i));
        return values;
    };
    const std::vector<float> inputs = normals(7000, 100'000);
    std::vector<std::vector<float>> weights;
    for (std::uint64_t l = 1; l <= 5; ++l) weights.push_back(normals(7000 + l, 10'000));
    fe::host::LayerOutputs outputs;
    std::string at;
    int rows = 0;
    while (std::getline(file, line)) {
        std::replace(line.begin(), line.end(), ',', ' ');
        std::istringstream fields(line);
        std::string activation, init;
        std::size_t layer = 0;
        double mean = 0, deviation = 0, below = 0, above = 0, zero = 0;
        REQUIRE((fields >> activation >> init >> layer >> mean >> deviation >> below >> above >> zero));
        CAPTURE(line);
        if (at != activation + init) {
            at = activation + init;
            const float scale = init == "std1"      ? 1.0f
                                : init == "std0.01" ? 0.01f
                                : init == "xavier"  ? 0.1f
                                                    : std::sqrt(0.02f);
            outputs = fe::host::layer_outputs(activation, scale, inputs, weights);
        }
        const fe::host::Distribution found = fe::host::distribution(outputs.at(layer - 1));
        // Float rounding, and values so close to a limit that it decides.
        CHECK(std::abs(found.mean - mean) <= 2e-6 * (std::abs(mean) + deviation));
        CHECK(std::abs(found.deviation - deviation) <= 2e-6 * deviation);
        CHECK(std::abs(found.below * 1e5 - below) <= 2.5);
        CHECK(std::abs(found.above * 1e5 - above) <= 2.5);
        CHECK(std::abs(found.zero * 1e5 - zero) <= 2.5);
        ++rows;
    }
    CHECK(rows == 3 * 4 * 5);
}

TEST_CASE("experiment: the deviation between samples, from its definition") {
    std::vector<float> outputs;
    for (int r = 0; r < 4; ++r)
        for (int u = 0; u < 100; ++u) outputs.push_back(static_cast<float>(u < 50 ? u : r % 2 == 0 ? 1 : 3));
    // Half of the units never change, the others are at 1 and 3.
    CHECK(fe::host::distribution(outputs).by_sample == doctest::Approx(0.5));
}

TEST_CASE("experiment: the golden smoothing") {
    const auto golden = fe::test::golden("smooth_curve.json");
    const std::vector<double> expected = golden.at("output");
    std::vector<float> values;
    for (int i = 0; i < 40; ++i)
        values.push_back(static_cast<float>(std::exp(-i / 15.0) + 0.1 * std::sin(2.1 * i)));
    const std::vector<double> found = fe::host::smoothed(values);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) <= 1e-7);
    CHECK(fe::host::smoothed(std::span(values).first(3)).size() == 3);
    CHECK(fe::host::smoothed({}).empty());
}

TEST_CASE("experiment: every training has the same bits on every instruction set, allocates nothing and costs what it said") {
    const Dataset data = small_dataset(200, 100);
    const fe::Isa usual = fe::active_isa();
    std::set<std::uint64_t> distinct;
    std::size_t count = 0;
    for (const Setting& setting : short_settings()) {
        const std::string name = setting.name;
        CAPTURE(name);
        std::set<std::uint64_t> digests;
        for (std::size_t isa = 0; isa < fe::isa_count; ++isa) {
            if (!fe::supported(static_cast<fe::Isa>(isa))) continue;
            REQUIRE(fe::select_isa(fe::name(static_cast<fe::Isa>(isa))) == fe::Status::ok);
            Student student(setting, data);
            std::atomic<std::uint64_t> done{0};
            REQUIRE(student.run(fe::Seed{3}, done));
            CHECK(done == setting.cost(data));
            digests.insert(student.curves().digest);
            REQUIRE(student.run(fe::Seed{3}, done));  // a second run is not touched by the first one
            digests.insert(student.curves().digest);
            if (fe::host::heap_allocations()) CHECK(student.heap_allocations() == std::uint64_t{0});
        }
        CHECK(digests.size() == 1);
        distinct.insert(digests.begin(), digests.end());
        ++count;
    }
    REQUIRE(fe::select_isa(fe::name(usual)) == fe::Status::ok);
    CHECK(count == 4 + 3 + 32 + 3);
    // "sgd" of the optimizers and "he" of the start values are one and the same training; no others are.
    CHECK(distinct.size() == count - 1);
}

TEST_CASE("experiment: trajectories and activations have the same bits on every instruction set") {
    const fe::Isa usual = fe::active_isa();
    std::set<std::uint64_t> ways, outputs;
    std::vector<float> inputs(700);
    std::vector<std::vector<float>> weights(5, std::vector<float>(10'000));
    const fe::Random random(fe::Seed{5});
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = random.normal(i);
    for (std::vector<float>& w : weights)
        for (std::size_t i = 0; i < w.size(); ++i) w[i] = random.normal(1000 + i);
    for (std::size_t isa = 0; isa < fe::isa_count; ++isa) {
        if (!fe::supported(static_cast<fe::Isa>(isa))) continue;
        REQUIRE(fe::select_isa(fe::name(static_cast<fe::Isa>(isa))) == fe::Status::ok);
        std::uint64_t hash = fe::host::hashed({});
        for (const fe::Optimizer& optimizer :
             {fe::Optimizer(fe::Sgd{0.95f}), fe::Optimizer(fe::Momentum{0.1f}), fe::Optimizer(fe::AdaGrad{1.5f}),
              fe::Optimizer(fe::Adam{0.3f}), fe::Optimizer(fe::Nesterov{0.1f}), fe::Optimizer(fe::RmsProp{0.3f}),
              fe::Optimizer(fe::AdamW{0.3f})}) {
            const fe::host::Trajectory way = fe::host::trajectory("", optimizer, 29, 0.1f);
            CHECK(way.x.size() == 30);
            hash = fe::host::hashed(way.y, fe::host::hashed(way.x, hash));
        }
        ways.insert(hash);
        hash = fe::host::hashed({});
        for (const char* const activation : {"sigmoid", "relu", "tanh"})
            for (const std::vector<float>& layer : fe::host::layer_outputs(activation, 0.14f, inputs, weights))
                hash = fe::host::hashed(layer, hash);
        outputs.insert(hash);
    }
    REQUIRE(fe::select_isa(fe::name(usual)) == fe::Status::ok);
    CHECK(ways.size() == 1);
    CHECK(outputs.size() == 1);
}

TEST_CASE("experiment: a random search is the same for any number of jobs and on every instruction set") {
    const Dataset data = small_dataset(200, 50);
    Setting trial = fe::host::search_trial();
    trial.batch = 20;
    trial.samples = 100;
    trial.validation = 20;
    trial.epochs = 2;
    const fe::SearchPlan plan{.trials = 7, .epochs = 2, .rounds = 2, .parents = 3, .widen = 0};
    const fe::Isa usual = fe::active_isa();
    std::set<std::uint64_t> digests;
    for (std::size_t isa = 0; isa < fe::isa_count; ++isa) {
        if (!fe::supported(static_cast<fe::Isa>(isa))) continue;
        REQUIRE(fe::select_isa(fe::name(static_cast<fe::Isa>(isa))) == fe::Status::ok);
        for (const unsigned jobs : {1u, 2u, 5u}) {
            std::atomic<std::uint64_t> done{0};
            const fe::host::SearchOutcome outcome =
                fe::host::random_search(trial, plan, {1e-3f, 1.0f, true}, {1e-8f, 1e-4f, true}, fe::Seed{4}, data, jobs,
                                        done, [] {});
            REQUIRE(outcome.complete);
            if (fe::host::heap_allocations()) CHECK(outcome.heap_allocations == std::uint64_t{0});
            digests.insert(outcome.digest);
            const fe::host::SearchOutcome::Round& second = outcome.rounds.at(1);
            CHECK(second.learning_rate.low >= 1e-3f);
            CHECK(second.learning_rate.high < 1.0f);
            CHECK(fe::host::measured(second, "best_val") >= fe::host::measured(second, "median_val"));
            CHECK(fe::host::measured(second, "median_val") >= fe::host::measured(second, "worst_val"));
        }
    }
    REQUIRE(fe::select_isa(fe::name(usual)) == fe::Status::ok);
    CHECK(digests.size() == 1);
}

TEST_CASE("experiment: numbers of a round, against plain sums") {
    fe::host::SearchOutcome::Round round;
    const std::array scores{0.1f, 0.6f, 0.3f, 0.9f, 0.15f, 0.5f, 0.2f, 0.8f, 0.1f, 0.7f};
    for (std::uint32_t i = 0; i < scores.size(); ++i) {
        fe::Trial trial{.index = i, .epochs = 1, .score = scores[i]};
        trial.values = {std::pow(10.0f, -1.0f - static_cast<float>(i)), std::pow(10.0f, -8.0f + static_cast<float>(i)), 0, 0};
        round.trials.push_back({.trial = trial, .train_accuracy = {}, .validation_accuracy = {}});
    }
    const auto measured = [&](const char* quantity) { return fe::host::measured(round, quantity); };
    CHECK(measured("best_val") == doctest::Approx(0.9));
    CHECK(measured("worst_val") == doctest::Approx(0.1));
    CHECK(measured("median_val") == doctest::Approx(0.4));
    CHECK(measured("frac_val_ge_50") == doctest::Approx(0.5));
    CHECK(measured("frac_val_lt_20") == doctest::Approx(0.3));
    CHECK(measured("log10(lr) of the best trial") == doctest::Approx(-4));
    CHECK(measured("log10(weight decay) of the best trial") == doctest::Approx(-5));
    CHECK(measured("lowest log10(lr) among the best 20 %") == doctest::Approx(-8));   // trials 3 and 7
    CHECK(measured("highest log10(weight decay) among the best 20 %") == doctest::Approx(-1));
    double xy = 0, xx = 0, yy = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        const double x = 4.5 - static_cast<double>(i), y = wide(scores[i]) - 0.435;
        xy += x * y, xx += x * x, yy += y * y;
    }
    CHECK(measured("corr_log10lr_val") == doctest::Approx(xy / std::sqrt(xx * yy)));
    CHECK(measured("corr_log10wd_val") == doctest::Approx(-xy / std::sqrt(xx * yy)));
    CHECK(std::isnan(measured("anything else")));
}

TEST_CASE("experiment: numbers of a run by their names") {
    fe::host::Curves curves;
    for (int i = 0; i < 120; ++i) curves.loss.push_back(i < 60 ? 1.0f : 0.1f);
    curves.train_accuracy = {0.1f, 0.5f, 0.99f, 1.0f};
    curves.test_accuracy = {0.1f, 0.4f, 0.6f, 0.7f};
    curves.test_loss = 0.3;
    curves.end_accuracy = 0.8;
    curves.squared_weights = 12;
    const struct {
        const char *quantity, *at;
        double value;
    } cases[]{
        {"mean batch loss after the update", "iterations 0-59", 1.0},
        {"mean batch loss after the update", "iterations 50-69", 0.55},
        {"mini-batch loss with penalty", "first 10 iterations", 1.0},
        {"mini-batch loss with penalty", "last 30 iterations", 0.1},
        {"train_accuracy", "epoch 1", 0.5},
        {"train_accuracy", "last epoch", 1.0},
        {"test_accuracy", "epoch 2", 0.6},
        {"test_accuracy", "end", 0.8},
        {"train_minus_test", "epoch 3", 0.3},
        {"first epoch with train accuracy >= 0.99", "", 2},
        {"first epoch with train accuracy >= 1", "", 3},
        {"first iteration with 50-average below 0.5", "", 87},  // 22 of 1 and 28 of 0.1 are 0.496 on average
        {"test_loss", "end", 0.3},
        {"sum of squared weights", "end", 12},
    };
    for (const auto& c : cases) {
        const std::string quantity = c.quantity, at = c.at;
        CAPTURE(quantity);
        CAPTURE(at);
        CHECK(fe::host::measured(curves, c.quantity, c.at) == doctest::Approx(c.value));
    }
    for (const auto& [quantity, at] : {std::pair("train_accuracy", "epoch 4"), {"train_accuracy", "epoch -1"},
                                       {"mean batch loss after the update", "iterations 0-120"},
                                       {"mean batch loss after the update", "iterations 9-3"},
                                       {"first iteration with 50-average below 0.05", ""}, {"nothing", "end"}})
        CHECK(std::isnan(fe::host::measured(curves, quantity, at)));
}

TEST_CASE("jobs: all work is done once, errors come out, and the others end") {
    for (const unsigned jobs : {1u, 3u, 50u}) {
        std::vector<std::atomic<int>> times(20);
        fe::host::parallel(jobs, times.size(), [&](std::size_t i) { ++times[i]; }, [] {});
        for (const std::atomic<int>& n : times) CHECK(n == 1);
        CHECK_THROWS_WITH(fe::host::parallel(
                              jobs, 20, [](std::size_t i) { if (i == 4) throw std::runtime_error("four"); }, [] {}),
                          "four");
    }
    fe::host::parallel(4, 0, [](std::size_t) { FAIL("there is no work"); }, [] {});
    CHECK_THROWS_WITH(
        fe::host::parallel(
            2, 4, [](std::size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(150)); },
            [] { throw std::runtime_error("tick"); }),
        "tick");
}

TEST_CASE("experiment: too few data are an error that says so") {
    const Dataset data = small_dataset(50, 10);
    const auto text = [&](const Setting& setting) {
        try {
            const Student student(setting, data);
        } catch (const fe::host::Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(text(fe::host::search_trial()) ==
          "--data: found 50 training images in small, expected at least 500 for the experiment");
    CHECK(text(fe::host::optimizer_comparison().front()) ==
          "--data: found 50 training images in small, expected at least 128 for the experiment");
}
