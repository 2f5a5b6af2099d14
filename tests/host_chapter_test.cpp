// SPDX-License-Identifier: MIT
// The chapter's experiments on MNIST, with the library's own generator: every line of training_ranges.csv, in the
// directory `reference` of FERRITE_SHARED, for three seeds or more: the
// median of the runs lies inside. Label `chapter`.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <host/experiment.hpp>
#include <host/expected.hpp>
#include <host/jobs.hpp>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "golden.hpp"

namespace fe = ferrite;
using fe::host::Curves;
using fe::host::Setting;

namespace {

constexpr std::uint64_t few_seeds = 5, search_seeds = 3;
/// Some normalized networks end in one of two ways, with or without a class that they never answer, and the five runs
/// of the reference met the one only; so these cheap runs are more.
constexpr std::uint64_t many_seeds = 9;

struct Row {
    std::string experiment, variant, quantity, at;
    int runs = 0;
    double low = 0, high = 0;
};

/// Those of float32 that have limits.
std::vector<Row> read_rows(const std::string& path) {
    std::ifstream file(path);
    REQUIRE(file.good());
    std::string line;
    std::getline(file, line);
    REQUIRE(line == "experiment,variant,quantity,at,precision,runs,mean,sd,min,max,expected_low,expected_high");
    std::vector<Row> rows;
    while (std::getline(file, line)) {
        std::vector<std::string> cells;
        std::istringstream text(line);
        for (std::string cell; std::getline(text, cell, ',');) cells.push_back(cell);
        if (cells.size() < 12 || cells[4] != "float32") continue;
        rows.push_back({cells[0], cells[1], cells[2], cells[3], std::stoi(cells[5]), std::stod(cells[10]),
                        std::stod(cells[11])});
    }
    return rows;
}

std::string shared_directory() {
    const char* shared = std::getenv("FERRITE_SHARED");
    if (shared != nullptr) return shared;
    const char* required = std::getenv("FERRITE_REQUIRE_SHARED");
    if (required != nullptr && std::string(required) == "1")
        FAIL("FERRITE_REQUIRE_SHARED=1, but FERRITE_SHARED (with data/mnist and reference in it) is not set");
    MESSAGE("skipped: FERRITE_SHARED (the directory with data/mnist and reference) is not set");
    return "";
}

/// What the variants of the overfitting experiment add to the chapter's three.
Setting variant(const std::string& name) {
    Setting s{.name = name, .hidden_layers = 6, .samples = 300, .epochs = 301, .losses = fe::host::Losses::before_update, .epoch_tests = true};
    if (name.starts_with("wd")) {
        s.weight_decay = std::stof(name.substr(2));
        s.epochs = 201;
    }
    if (name.starts_with("drop")) s.dropout = std::stof(name.substr(4));
    if (name == "bn_none") {
        s.batch_norm = true;
        s.epochs = 201;
    }
    if (name.ends_with("_inverted")) s.scaling = fe::DropoutScaling::inverted;
    if (name.ends_with("_2000ep")) s.epochs = 2001;
    if (name.ends_with("_adam")) s.optimizer = fe::Adam{.learning_rate = 0.001f};
    if (name.ends_with("_lr0.1")) s.optimizer = fe::Sgd{.learning_rate = 0.1f};
    return s;
}

/// Those that are not a number, as a threshold that was never met, left out; NaN if there are no others.
double median(std::vector<double> values) {
    std::erase_if(values, [](double x) { return std::isnan(x); });
    if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
    std::sort(values.begin(), values.end());
    const std::size_t n = values.size();
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

void check_row(const Row& row, const std::vector<double>& values) {
    CAPTURE(row.experiment);
    CAPTURE(row.variant);
    CAPTURE(row.quantity);
    CAPTURE(row.at);
    std::string runs;
    for (const double value : values) runs += std::to_string(value) + ' ';
    CAPTURE(runs);
    // Not every run of the reference met its threshold; a few of ours may all miss it.
    if (row.quantity.starts_with("first ") && row.runs < 5 && std::isnan(median(values))) return;
    // An accuracy on the 300 training images is a whole number of them, a limit is not: half an image decides nothing.
    const bool counted = row.experiment.starts_with("overfitting") && row.quantity == "train_accuracy";
    const double half = counted ? 0.5 / 300 : 0.0;
    CHECK(median(values) >= row.low - half);
    CHECK(median(values) <= row.high + half);
}

void check_rows(const std::vector<Row>& rows, const std::map<std::string, std::vector<Curves>>& runs) {
    std::size_t compared = 0;
    for (const Row& row : rows) {
        const auto found = runs.find(row.variant);
        if (found == runs.end()) continue;
        std::vector<double> values;
        for (const Curves& curves : found->second)
            values.push_back(fe::host::measured(curves, row.quantity, row.at));
        check_row(row, values);
        ++compared;
    }
    MESSAGE(compared << " lines, each the median of " << runs.begin()->second.size() << " runs");
    CHECK(compared > 0);
}

/// Only the epochs that a line asks for look at the 10000 test images.
void look_at(Setting& setting, const std::vector<Row>& rows) {
    bool every = false;
    std::vector<std::uint32_t> epochs;
    for (const Row& row : rows) {
        if (row.variant != setting.name) continue;
        every = every || row.quantity.starts_with("first epoch");
        if (row.at.starts_with("epoch "))
            epochs.push_back(static_cast<std::uint32_t>(std::stoul(row.at.substr(6))));
    }
    std::sort(epochs.begin(), epochs.end());
    epochs.erase(std::unique(epochs.begin(), epochs.end()), epochs.end());
    if (every)
        setting.only_test_epochs = epochs;
    else
        setting.only_epochs = epochs;
}

std::map<std::string, std::vector<Curves>> train_all(const std::vector<Setting>& settings,
                                                     const fe::host::Dataset& data, std::uint64_t seeds) {
    std::map<std::string, std::vector<Curves>> runs;
    for (const Setting& setting : settings) runs[setting.name].resize(seeds);
    std::atomic<std::uint64_t> done{0}, cost{0};
    std::atomic<bool> silent{true};
    fe::host::parallel(
        std::max(1u, std::thread::hardware_concurrency()), settings.size() * seeds,
        [&](std::size_t i) {
            const Setting& setting = settings[i / seeds];
            fe::host::Student student(setting, data);
            cost += setting.cost(data);
            if (!student.run(fe::Seed{1 + i % seeds}, done)) throw std::runtime_error("interrupted");
            if (student.heap_allocations().value_or(0) != 0) silent = false;
            runs.at(setting.name)[i % seeds] = student.curves();
        },
        [] {});
    CHECK(silent);
    CHECK(done == cost);
    return runs;
}

}  // namespace

TEST_CASE("chapter: the limits on the page are those of the reference") {
    const std::string shared = shared_directory();
    if (shared.empty()) return;
    const std::vector<Row> rows = read_rows(shared + "/reference/training_ranges.csv");
    for (const fe::host::Expected& e : fe::host::expected) {
        CAPTURE(e.variant);
        CAPTURE(e.quantity);
        CAPTURE(e.at);
        CHECK(std::count_if(rows.begin(), rows.end(), [&](const Row& row) {
                  return row.experiment == e.experiment && row.variant == e.variant && row.quantity == e.quantity &&
                         row.at == e.at && row.low == e.low && row.high == e.high;
              }) == 1);
    }
}

TEST_CASE("chapter: optimizers, start values, batch normalization, overfitting and its variants") {
    const std::string shared = shared_directory();
    if (shared.empty()) return;
    const fe::host::Dataset data = fe::host::load_dataset(shared + "/data/mnist");
    const std::vector<Row> rows = read_rows(shared + "/reference/training_ranges.csv");
    std::map<std::string, std::vector<Setting>> experiments{
        {"optimizer comparison", fe::host::optimizer_comparison()},
        {"start-value comparison", fe::host::start_value_comparison()},
        {"batch normalization", fe::host::batch_normalization()},
        {"overfitting", fe::host::overfitting()}};
    for (const Row& row : rows) {
        auto& settings = experiments[row.experiment];
        if (row.experiment == "random search") {
            experiments.erase(row.experiment);
        } else if (row.experiment == "overfitting variants" &&
                   (settings.empty() || settings.back().name != row.variant)) {
            settings.push_back(variant(row.variant));
        }
    }
    REQUIRE(experiments.size() == 5);
    std::size_t total = 0;
    for (auto& experiment : experiments) {
        const std::string name = experiment.first;
        std::vector<Setting>& settings = experiment.second;
        CAPTURE(name);
        std::vector<Row> own;
        for (const Row& row : rows)
            if (row.experiment == name) own.push_back(row);
        if (name == "overfitting") {
            Setting shorter = settings.front();
            shorter.name = "none";
            shorter.epochs = 201;
            settings.push_back(shorter);
        }
        if (name.starts_with("overfitting"))
            for (Setting& setting : settings) look_at(setting, own);
        const std::uint64_t seeds = name == "batch normalization" ? many_seeds : few_seeds;
        const auto runs = train_all(settings, data, seeds);
        std::vector<Row> differences;
        std::erase_if(own, [&](const Row& row) {
            if (!row.variant.starts_with("bn minus plain")) return false;
            differences.push_back(row);
            return true;
        });
        for (const Row& row : own) REQUIRE(runs.count(row.variant) == 1);
        check_rows(own, runs);
        total += own.size() + differences.size();
        for (const Row& row : differences) {
            const std::string at = row.variant.substr(std::string("bn minus plain ").size());
            std::vector<double> values;
            for (std::uint64_t s = 0; s < seeds; ++s)
                values.push_back(fe::host::measured(runs.at("bn " + at)[s], "train_accuracy", "last epoch") -
                                 fe::host::measured(runs.at("plain " + at)[s], "train_accuracy", "last epoch"));
            check_row(row, values);
        }
        for (const auto& run : runs) {
            const std::string variant_name = run.first;
            CAPTURE(variant_name);
            const bool overflows = variant_name == "plain std=1" || variant_name == "plain std=0.54117";
            for (const Curves& c : run.second) CHECK(c.diverged == overflows);
        }
    }
    MESSAGE(total << " lines of training_ranges.csv");
    CHECK(total + 3 * 14 == rows.size());
}

TEST_CASE("chapter: random search") {
    const std::string shared = shared_directory();
    if (shared.empty()) return;
    const fe::host::Dataset data = fe::host::load_dataset(shared + "/data/mnist");
    std::vector<Row> rows = read_rows(shared + "/reference/training_ranges.csv");
    std::erase_if(rows, [](const Row& row) { return row.experiment != "random search"; });
    REQUIRE(rows.size() == 3 * 14);
    Setting trial = fe::host::search_trial();
    trial.only_epochs = {trial.epochs - 1};
    fe::SearchPlan one_round = fe::host::search_plan;
    one_round.rounds = 1;
    const unsigned jobs = std::max(1u, std::thread::hardware_concurrency());
    std::atomic<std::uint64_t> done{0};
    std::vector<fe::host::SearchOutcome> chapter, wider;
    for (std::uint64_t seed = 1; seed <= search_seeds; ++seed) {
        chapter.push_back(fe::host::random_search(trial, fe::host::search_plan, fe::host::search_learning_rate,
                                                  fe::host::search_weight_decay, fe::Seed{seed}, data, jobs, done,
                                                  [] {}));
        wider.push_back(fe::host::random_search(trial, one_round, {1e-3f, 1, true}, fe::host::search_weight_decay,
                                                fe::Seed{seed}, data, jobs, done, [] {}));
        CHECK(chapter.back().complete);
        CHECK(chapter.back().heap_allocations.value_or(0) == 0);
    }
    for (const Row& row : rows) {
        std::vector<double> values;
        for (std::uint64_t s = 0; s < search_seeds; ++s)
            values.push_back(fe::host::measured(row.variant == "wider_lr"          ? wider[s].rounds[0]
                                                : row.variant == "round2_narrowed" ? chapter[s].rounds[1]
                                                                                   : chapter[s].rounds[0],
                                                row.quantity));
        check_row(row, values);
    }
}
