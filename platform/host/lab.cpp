// SPDX-License-Identifier: MIT
// ferrite lab: the experiments of the chapter, drawn, beside the numbers that they should give.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "expected.hpp"
#include "experiment.hpp"
#include "jobs.hpp"
#include "output.hpp"
#include "page.hpp"
#include "plot.hpp"
#include "stop.hpp"

namespace ferrite::host {
namespace {

using Clock = std::chrono::steady_clock;

struct LabOptions {
    std::string name = "all";
    std::string data;
    std::string out = "lab";
    std::string json;
    std::uint32_t seeds = 1;
    std::uint32_t jobs = std::max(1u, std::thread::hardware_concurrency());
    bool quick = false;
};

double wide(float x) { return static_cast<double>(x); }

std::string fixed(double value, int digits) {
    Line line;
    line.print("%.*f", digits, value);
    return std::string(line.view());
}
std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

/// "1.2e-06 to 0.01"
std::string range_text(const Range& range) {
    return number_text(wide(range.low), 3) + " to " + number_text(wide(range.high), 3);
}

/// What an experiment adds to the page.
struct Report {
    Experiment page;
    std::vector<Figure> figures;
    std::uint64_t digest = 0;
    std::optional<std::uint64_t> heap_allocations = 0;
};

using Runs = std::vector<Curves>;  ///< by seed

/// Mean over the runs of a number of theirs.
double mean(const Runs& runs, std::string_view quantity, std::string_view at) {
    double sum = 0;
    for (const Curves& curves : runs) sum += measured(curves, quantity, at);
    return sum / static_cast<double>(runs.size());
}

/// Mean over the runs, and from the lowest to the highest as a band.
Series band(const std::string& name, const std::vector<std::vector<double>>& curves, Series::Style style,
            double first_x = 0) {
    Series series{.name = name, .style = style};
    const std::size_t length = curves.front().size();
    for (std::size_t i = 0; i < length; ++i) {
        double sum = 0, low = curves.front()[i], high = low;
        for (const std::vector<double>& curve : curves) {
            sum += curve[i];
            low = std::min(low, curve[i]);
            high = std::max(high, curve[i]);
        }
        series.x.push_back(first_x + static_cast<double>(i));
        series.y.push_back(sum / static_cast<double>(curves.size()));
        if (curves.size() == 1) continue;
        series.low.push_back(low);
        series.high.push_back(high);
    }
    return series;
}

Series accuracy_series(const std::string& name, const Runs& runs, bool test, std::size_t epochs,
                       Series::Style style = Series::Style::line) {
    std::vector<std::vector<double>> curves;
    for (const Curves& run : runs) {
        const std::vector<float>& whole = test ? run.test_accuracy : run.train_accuracy;
        std::vector<double> part;
        for (std::size_t i = 0; i < std::min(epochs, whole.size()); ++i) part.push_back(wide(whole[i]));
        curves.push_back(std::move(part));
    }
    return band(name, curves, style);
}

class Lab {
  public:
    explicit Lab(const LabOptions& options)
        : options_(options), console_(options.json != "-"), out_(options.out) {
        for (const Entry& entry : entries)
            if (options.name == "all" || options.name == entry.name) selected_.push_back(&entry);
        if (!options.json.empty()) json_.emplace("--json", options.json);
        prepare_directory();
        for (const Entry* entry : selected_) {
            if (!entry->settings) continue;
            need_data();
            for (const Setting& setting : settings_of(*entry)) plan(setting);
        }
        if (chosen("search")) {
            need_data();
            const Setting once = end_of_trial();
            // Student checks that there are enough samples.
            const Student probe(trial(), *data_);
            total_ += options.seeds * (plan_of_search().total_epochs() / trial().epochs * trial().cost(*data_) +
                                       plan_of_search().rounds * once.cost(*data_));
        }
    }

    void run() {
        introduce();
        begin_ = next_refresh_ = next_line_ = Clock::now();
        for (const Entry* entry : selected_) {
            const Clock::time_point begin = Clock::now();
            current_ = entry->name;
            train(*entry);
            if (StopSignals::any()) break;
            Report report = (this->*entry->make)();
            if (StopSignals::any()) break;
            publish(*entry, report, std::chrono::duration<double>(Clock::now() - begin).count());
        }
        finish();
    }

    /// Names in the order of the page.
    static std::string names() {
        std::string text;
        for (const Entry& entry : entries) text += std::string(entry.name) + ", ";
        return text + "all";
    }
    static bool known(std::string_view name) {
        return name == "all" ||
               std::any_of(std::begin(entries), std::end(entries), [&](const Entry& e) { return name == e.name; });
    }

  private:
    struct Entry {
        const char* name;
        Report (Lab::*make)();
        std::vector<Setting> (*settings)();  ///< trainings that it shows; null: none of this kind
    };
    static const Entry entries[9];

    [[nodiscard]] bool chosen(std::string_view name) const {
        return std::any_of(selected_.begin(), selected_.end(), [&](const Entry* e) { return name == e->name; });
    }

    void prepare_directory() {
        std::error_code error;
        std::filesystem::create_directories(out_, error);
        if (error) throw Error("--out " + options_.out, error.message(), "a directory that can be written");
        // Whether a file can be written there is to be known before the work and not after it.
        const OutputFile trial_file("--out", (out_ / "index.html").string());
    }

    void need_data() {
        if (data_) return;
        data_ = load_fitting(options_.data, "--data", 0, 10);
        const Samples& train = data_->train;
        const std::uint64_t sum =
            std::accumulate(train.images.pixels.begin(), train.images.pixels.end(), std::uint64_t{0});
        // The sum of all pixels of MNIST's training images.
        mnist_ = train.images.count == 60000 && sum == 1567298545;
    }

    /// The short version has its numbers here.
    [[nodiscard]] std::vector<Setting> settings_of(const Entry& entry) const {
        std::vector<Setting> settings = entry.settings();
        if (!options_.quick) return settings;
        for (Setting& s : settings) {
            if (s.epochs == 0) s.iterations = 300;
            if (s.samples == 1000) s.epochs = 6;
            if (s.samples == 300) s.epochs = 31;
            s.test_images = 1000;
        }
        return settings;
    }
    [[nodiscard]] Setting trial() const {
        Setting setting = search_trial();
        if (options_.quick) setting.epochs = 10;
        return setting;
    }
    [[nodiscard]] Setting end_of_trial() const {
        Setting once = trial();
        once.epoch_tests = false;
        once.end_tests = true;
        return once;
    }
    [[nodiscard]] SearchPlan plan_of_search() const {
        SearchPlan plan = search_plan;
        if (options_.quick) plan.trials = 20, plan.parents = 4;
        plan.epochs = trial().epochs;
        return plan;
    }

    /// Trainings of the same name are done once, whatever experiments show them.
    void plan(const Setting& setting) {
        for (const Setting& known : settings_)
            if (known.name == setting.name) return;
        settings_.push_back(setting);
        const Student probe(setting, *data_);
        total_ += options_.seeds * setting.cost(*data_);
    }

    void train(const Entry& entry) {
        if (!entry.settings) return;
        std::vector<const Setting*> missing;
        for (const Setting& wanted : settings_of(entry))
            for (const Setting& setting : settings_)
                if (setting.name == wanted.name && runs_.count(setting.name) == 0) missing.push_back(&setting);
        for (const Setting* setting : missing) runs_[setting->name].resize(options_.seeds);
        std::vector<std::optional<std::uint64_t>> allocations(missing.size() * options_.seeds);
        parallel(
            options_.jobs, allocations.size(),
            [&](std::size_t i) {
                if (StopSignals::any()) return;
                const Setting& setting = *missing[i / options_.seeds];
                Student student(setting, *data_);
                if (!student.run(Seed{1 + i % options_.seeds}, done_)) return;
                allocations[i] = student.heap_allocations();
                runs_.at(setting.name)[i % options_.seeds] = student.curves();
            },
            [this] { progress(); });
        for (const std::optional<std::uint64_t>& count : allocations) {
            if (!count) allocations_.reset();
            if (allocations_) *allocations_ += *count;
        }
    }

    [[nodiscard]] const Runs& runs(const std::string& name) const { return runs_.at(name); }

    /// Digest of the trainings of an experiment, and the checks that the reference has for them.
    void judge(Report& report, const std::vector<Setting>& settings) const {
        report.digest = hashed({});
        for (const Setting& setting : settings)
            for (const Curves& curves : runs(setting.name)) {
                float halves[2];
                std::memcpy(halves, &curves.digest, sizeof(halves));
                report.digest = hashed(halves, report.digest);
            }
        report.heap_allocations = allocations_;
        report.page.judged = !options_.quick && mnist_;
    }
    void check(Report& report, std::string_view experiment, std::string_view variant, const Runs& of) const {
        if (options_.quick || !mnist_) return;
        for (const Expected& e : expected) {
            if (e.experiment != experiment || e.variant != variant) continue;
            const double value = mean(of, e.quantity, e.at);
            report.page.checks.push_back({.quantity = words(e), .low = e.low, .high = e.high, .measured = value});
        }
    }
    static std::string words(const Expected& e) {
        std::string text(e.quantity);
        std::replace(text.begin(), text.end(), '_', ' ');
        text = std::string(e.variant) + ": " + text;
        return e.at.empty() ? text : text + ", " + std::string(e.at);
    }
    /// Why there is no verdict, where there is none.
    [[nodiscard]] std::string unjudged() const {
        if (options_.quick) return "This was the short version; the full one is compared with reference values. ";
        if (!mnist_) return "The reference values are for MNIST, so nothing is judged on " + data_->name + ". ";
        return "";
    }
    [[nodiscard]] std::string runs_text() const {
        return options_.seeds == 1 ? "" : " Lines are means of " + std::to_string(options_.seeds) +
                                              " runs, bands reach from the lowest to the highest.";
    }

    Report trajectories() {
        struct Way {
            const char* name;
            Optimizer optimizer;
            float weight_decay = 0;
            std::optional<std::array<double, 2>> end{};  ///< in the reference, after 29 steps
        };
        const std::vector<Way> ways{
            {"SGD", Sgd{0.95f}, 0, {{-0.387174547, -0.0942025185}}},
            {"Momentum", Momentum{0.1f, 0.9f}, 0, {{0.814111173, 0.272877634}}},
            {"AdaGrad", AdaGrad{1.5f}, 0, {{-0.136185437, 0}}},
            {"Adam", Adam{0.3f}, 0, {{0.0201482475, 0.321957022}}},
            {"Nesterov", Nesterov{0.1f, 0.9f}, 0, {{0.619265497, 0.00737367664}}},
            {"RMSprop", RmsProp{.learning_rate = 0.3f, .decay = 0.99f}, 0, {{-8.88377508e-06, 0}}},
            {"AdamW, weight decay 0.1", AdamW{.learning_rate = 0.3f}, 0.1f},
        };
        Report report;
        constexpr std::array levels{0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0};
        std::array<Figure, 2> figures{
            Figure{.title = "Paths on f(x, y) = x²/20 + y² from (-7, 2), 30 points", .charts = {}, .columns = 2},
            Figure{.title = "More optimizers on the same function", .charts = {}, .columns = 3}};
        report.digest = hashed({});
        std::string far;
        for (std::size_t i = 0; i < ways.size(); ++i) {
            const Way& way = ways[i];
            const Trajectory path = trajectory(way.name, way.optimizer, 29, way.weight_decay);
            report.digest = hashed(path.y, hashed(path.x, report.digest));
            Chart chart{.title = way.name + std::string(", learning rate ") +
                                 number_text(wide(way.optimizer.learning_rate), 2),
                        .x = {.label = "x", .low = -10, .high = 10},
                        .y = {.label = "y", .low = -5, .high = 5},
                        .series = ellipses("contour lines of f", 20, levels)};
            Series line{.name = "path", .style = Series::Style::line_points};
            line.x.assign(path.x.begin(), path.x.end());
            line.y.assign(path.y.begin(), path.y.end());
            chart.series.push_back(line);
            chart.series.push_back({.name = "start", .style = Series::Style::points, .x = {-7}, .y = {2}});
            chart.series.push_back({.name = "minimum", .style = Series::Style::points, .x = {0}, .y = {0}});
            figures[i < 4 ? 0 : 1].charts.push_back(std::move(chart));
            const double x = wide(path.x.back()), y = wide(path.y.back());
            far += (i == 0 ? "" : ", ") + std::string(way.name) + " " + number_text(x * x / 20 + y * y, 2);
            if (!way.end) continue;
            for (std::size_t k = 0; k < 2; ++k)
                report.page.checks.push_back({.quantity = std::string(way.name) + ": " + (k == 0 ? "x" : "y") +
                                                          " after 29 steps",
                                              .low = (*way.end)[k] - 1e-5,
                                              .high = (*way.end)[k] + 1e-5,
                                              .measured = k == 0 ? x : y});
        }
        report.figures.assign(figures.begin(), figures.end());
        report.page.title = "Optimizers on a narrow valley";
        report.page.shows =
            "f falls twenty times more steeply along y than along x, so that its gradient points past the minimum "
            "almost everywhere. Each path starts at (-7, 2) and shows 29 updates.";
        report.page.expected =
            "SGD zigzags; Momentum rolls like a ball, with wide swings; AdaGrad takes ever smaller steps along y and goes "
            "straight; Adam lies between these two. The ends are those of another float32 program, within 1e-5.";
        report.page.measured = "f at the end, from 6.45 at the start: " + far + ".";
        return report;
    }

    /// Smoothed as the chapter does, one curve a setting.
    Figure loss_figure(const std::string& title, const std::vector<std::pair<std::string, std::string>>& shown,
                       Axis y) const {
        Chart chart{.title = "", .x = {.label = "iteration"}, .y = std::move(y), .series = {}};
        for (const auto& entry : shown) {
            std::vector<std::vector<double>> curves;
            for (const Curves& run : runs(entry.first)) curves.push_back(smoothed(run.loss));
            chart.series.push_back(band(entry.second, curves, Series::Style::line));
        }
        return {.title = title, .charts = {chart}};
    }

    Report optimizers() {
        Report report;
        const std::vector<Setting> settings = settings_of(entry("optimizers"));
        judge(report, settings);
        const std::vector<std::pair<std::string, std::string>> names{
            {"sgd", "SGD"}, {"momentum", "Momentum"}, {"adagrad", "AdaGrad"}, {"adam", "Adam"}};
        report.figures.push_back(loss_figure("Four optimizers on " + data_->name, names,
                                             {.label = "loss of the batch after its update", .logarithmic = true}));
        report.page.title = "Optimizers on real digits";
        report.page.shows = "A network of 784-100-100-100-100-10 learns from batches of 128; all four optimizers start from the "
                            "same weights and see the same batches. The loss is that of the batch at hand, smoothed." +
                            runs_text();
        report.page.expected = "SGD is slowest; the other three learn much faster, AdaGrad a little faster than the rest.";
        const std::string last = "iterations " + std::to_string(settings[0].iterations - 100) + "-" +
                                 std::to_string(settings[0].iterations - 1);
        std::string text = unjudged() + "Mean loss of the last 100 iterations and accuracy on the test images: ";
        for (std::size_t i = 0; i < names.size(); ++i) {
            const Runs& of = runs(names[i].first);
            text += (i == 0 ? "" : "; ") + names[i].second + " " +
                    fixed(mean(of, "mean batch loss after the update", last), 3) + ", " +
                    percent(mean(of, "test_accuracy", "end"));
            check(report, "optimizer comparison", names[i].first, of);
        }
        report.page.measured = text + ".";
        return report;
    }

    Report initialization() {
        Report report;
        const std::vector<Setting> settings = settings_of(entry("initialization"));
        judge(report, settings);
        const std::vector<std::pair<std::string, std::string>> names{
            {"std0.01", "deviation 0.01"}, {"xavier", "Xavier"}, {"he", "He"}};
        report.figures.push_back(
            loss_figure("Start values of the weights, ReLU, SGD", names, {.label = "loss of the batch after its update", .low = 0}));
        report.page.title = "Start values and learning";
        report.page.shows =
            "The network of the optimizer comparison with three kinds of start values, learning by SGD." + runs_text();
        report.page.expected = "A deviation of 0.01 does not learn at all: the loss stays at ln 10 = 2.303, that of a guess. He's start "
                               "values, made for ReLU, learn faster than Xavier's.";
        const std::string last = "iterations " + std::to_string(settings[0].iterations - 100) + "-" +
                                 std::to_string(settings[0].iterations - 1);
        std::string text = unjudged() + "Mean loss of the last 100 iterations and accuracy on the test images: ";
        for (std::size_t i = 0; i < names.size(); ++i) {
            const Runs& of = runs(names[i].first);
            text += (i == 0 ? "" : "; ") + names[i].second + " " +
                    fixed(mean(of, "mean batch loss after the update", last), 3) + ", " +
                    percent(mean(of, "test_accuracy", "end"));
            check(report, "start-value comparison", names[i].first, of);
        }
        report.page.measured = text + ".";
        return report;
    }

    Report activations() {
        constexpr std::uint32_t rows = 1000;
        struct Start {
            const char* name;
            const char* title;
            float deviation;
        };
        const std::array<Start, 4> starts{{{"std1", "deviation 1", 1.0f},
                                           {"std0.01", "deviation 0.01", 0.01f},
                                           {"xavier", "Xavier", std::sqrt(1.0f / activation_units)},
                                           {"he", "He", std::sqrt(2.0f / activation_units)}}};
        const auto normals = [](std::uint64_t stream, std::size_t count) {
            const Random random(Seed{1}, stream);
            std::vector<float> values(count);
            for (std::size_t i = 0; i < count; ++i) values[i] = random.normal(i);
            return values;
        };
        const std::vector<float> inputs = normals(0, std::size_t{rows} * activation_units);
        std::vector<std::vector<float>> weights;
        for (std::uint64_t l = 1; l <= activation_layers; ++l)
            weights.push_back(normals(l, std::size_t{activation_units} * activation_units));
        Report report;
        report.digest = hashed({});
        report.heap_allocations.reset();
        std::string text;
        for (const char* const name : {"sigmoid", "relu", "tanh"}) {
            const std::string activation = name;
            const bool tanh = activation == "tanh";
            // Half of what ReLU puts out is 0, which would dwarf the rest.
            const double most = activation == "relu" ? 0.1 : 0.4;
            Figure figure{.title = "What 5 layers of 100 units put out: " + activation, .charts = {}, .columns = activation_layers};
            for (const Start& start : starts) {
                const LayerOutputs outputs = layer_outputs(activation, start.deviation, inputs, weights);
                for (std::size_t l = 0; l < activation_layers; ++l) {
                    report.digest = hashed(outputs[l], report.digest);
                    figure.charts.push_back({.title = std::string(start.title) + ", layer " + std::to_string(l + 1),
                                             .x = {.label = "output"},
                                             .y = {.label = "share", .low = 0, .high = most},
                                             .series = {histogram("share of all outputs", outputs[l], tanh ? -1 : 0, 1, 30)}});
                }
                const Distribution last = distribution(outputs.back());
                for (const Expected& e : expected_activations) {
                    if (e.variant != activation + ' ' + start.name) continue;
                    const double value = e.quantity == "std"                  ? last.deviation
                                         : e.quantity == "fraction_below_0.1" ? last.below
                                         : e.quantity == "fraction_above_0.9" ? last.above
                                                                              : last.zero;
                    report.page.checks.push_back({.quantity = words(e), .low = e.low, .high = e.high, .measured = value});
                }
                if (activation == "sigmoid")
                    text += std::string(text.empty() ? "" : "; ") + start.title + ": " + percent(last.below) +
                            " below 0.1, " + percent(last.above) + " above 0.9, deviation " +
                            number_text(last.deviation, 3) + ", of which " + number_text(last.by_sample, 2) +
                            " between samples";
            }
            report.figures.push_back(std::move(figure));
        }
        report.page.title = "Start values and activations";
        report.page.shows = "1000 samples of 100 standard normal numbers go through 5 layers of 100 units without biases. Each "
                            "histogram has 30 bins and shows what share of a layer's 100,000 outputs lies where; what lies "
                            "outside of the axis is not shown, and bars that are taller than it are cut, with their height beside them.";
        report.page.expected =
            "Sigmoid: deviation 1 drives the outputs to 0 and 1, where the gradient vanishes; 0.01 makes all units alike; "
            "Xavier keeps them spread. ReLU needs He: with Xavier the outputs shrink with depth. The limits are five sample "
            "deviations around the mean of 20 runs of another program.";
        report.page.measured =
            "Sigmoid, fifth layer: " + text +
            ". The histogram of Xavier hides something: hardly any of that spread is between samples, the rest are "
            "constant offsets of the units.";
        return report;
    }

    Report batch_norm() {
        Report report;
        const std::vector<Setting> settings = settings_of(entry("batchnorm"));
        judge(report, settings);
        const std::size_t epochs = settings[0].epochs;
        Figure grid{.title = "Training accuracy with and without batch normalization, by the deviation of the start values",
                    .charts = {}, .columns = 4};
        std::size_t better = 0, failed = 0;
        std::string worse;
        for (std::size_t k = 0; k < settings.size(); k += 2) {
            const std::string deviation = settings[k].name.substr(std::string("plain std=").size());
            const Runs &plain = runs(settings[k].name), &normed = runs(settings[k + 1].name);
            const std::string panel = "deviation " + number_text(std::stod(deviation), 3);
            grid.charts.push_back({.title = panel,
                                   .x = {.label = "epoch"},
                                   .y = {.label = "training accuracy", .low = 0, .high = 1},
                                   .series = {accuracy_series("with batch normalization", normed, false, epochs),
                                              accuracy_series("without", plain, false, epochs, Series::Style::dashed)}});
            const double difference = mean(normed, "train_accuracy", "last epoch") - mean(plain, "train_accuracy", "last epoch");
            if (difference > 0)
                ++better;
            else
                worse += (worse.empty() ? "" : ", ") + number_text(std::stod(deviation), 2);
            if (std::any_of(plain.begin(), plain.end(), [](const Curves& c) { return c.diverged; })) ++failed;
            check(report, "batch normalization", settings[k].name, plain);
            check(report, "batch normalization", settings[k + 1].name, normed);
        }
        report.figures.push_back(std::move(grid));
        report.page.title = "Batch normalization";
        report.page.shows = "A network of 784-100x5-10 learns from 1000 images by SGD, with and without batch normalization, from "
                            "start values of 16 deviations between 1 and 0.0001." + runs_text();
        report.page.expected =
            "The chapter says that batch normalization is faster in almost all cases, and that without it nothing is learned "
            "where the start values are bad.";
        report.page.measured =
            unjudged() + "At the last epoch the network with batch normalization is ahead for " + std::to_string(better) + " of 16 deviations" +
            (worse.empty() ? "" : ". This contradicts the chapter's claim at " + worse +
                                      ": there, where the start values suit the network as it is, the plain one is ahead") +
            ". Without batch normalization " + std::to_string(failed) +
            " of the 16 overflow: their outputs are not numbers, every image counts as a 0, and the accuracy is the share of "
            "zeros among the images. Constant accuracies of other networks are those of always answering the same class." +
            (std::all_of(report.page.checks.begin(), report.page.checks.end(), [](const Check& c) { return c.inside(); })
                 ? ""
                 : " A single run may lie outside: near a deviation of 0.002 about every third normalized network still "
                   "never answers one of the ten classes at the end (0.9 in place of 0.99), which none of the five reference runs met.");
        return report;
    }

    /// Training and test accuracy of one network.
    static Chart accuracies(const std::string& title, const Runs& of, std::size_t epochs) {
        return {.title = title,
                .x = {.label = "epoch"},
                .y = {.label = "accuracy", .low = 0, .high = 1},
                .series = {accuracy_series("training images", of, false, epochs),
                           accuracy_series("test images", of, true, epochs, Series::Style::dashed)}};
    }
    struct Ends {
        std::string text;
        double train = 0, test = 0;
    };
    static Ends ends(const std::string& name, const Runs& of, std::size_t epoch) {
        Ends result;
        const std::string at = "epoch " + std::to_string(epoch);
        result.train = mean(of, "train_accuracy", at);
        result.test = mean(of, "test_accuracy", at);
        result.text = name + ": " + percent(result.train) + " of the training images, " + percent(result.test) + " of the test images";
        return result;
    }

    Report overfit() {
        Report report;
        const std::vector<Setting> settings = settings_of(entry("overfitting"));
        judge(report, settings);
        const Runs& plain = runs(settings[0].name);
        const std::size_t epochs = std::min<std::size_t>(201, settings[0].epochs);
        report.figures.push_back({.title = "Overfitting: 300 images, 784-100x6-10", .charts = {accuracies("", plain, epochs)}});
        report.page.title = "Overfitting";
        report.page.shows = "A network of 784-100x6-10 learns from 300 images only, by SGD." + runs_text();
        report.page.expected = "All training images are learned after about 100 epochs, while the test accuracy stays behind.";
        report.page.measured =
            unjudged() + ends("Epoch " + std::to_string(epochs - 1), plain, epochs - 1).text + ".";
        if (!options_.quick && mnist_) {
            check(report, "overfitting", "none", plain);
            for (const Expected& e : expected)
                if (e.variant == settings[0].name && (e.at == "epoch 200" || e.at.empty()))
                    report.page.checks.push_back({words(e), e.low, e.high, mean(plain, e.quantity, e.at)});
        }
        return report;
    }

    Report weight_decay() {
        Report report;
        const std::vector<Setting> settings = settings_of(entry("weight-decay"));
        judge(report, settings);
        const Runs &plain = runs(settings[0].name), &decayed = runs(settings[1].name);
        const std::size_t epochs = settings[1].epochs;
        report.figures.push_back({.title = "Weight decay against overfitting",
                                  .charts = {accuracies("none", plain, epochs), accuracies("lambda = 0.1", decayed, epochs)},
                                  .columns = 2});
        report.page.title = "Weight decay";
        report.page.shows = "The overfitting experiment again, with the penalty 0.1/2 times the sum of all squared weights." + runs_text();
        report.page.expected = "The gap between training and test images becomes smaller, and the training images are not all learned.";
        const Ends with = ends("with it", decayed, epochs - 1), without = ends("without", plain, epochs - 1);
        report.page.measured = unjudged() + "Epoch " + std::to_string(epochs - 1) + ", " + without.text + "; " + with.text + ". The gap is " +
                               fixed(with.train - with.test, 3) + " in place of " + fixed(without.train - without.test, 3) + "." +
                               lesson(with, without);
        check(report, "overfitting", settings[1].name, decayed);
        return report;
    }
    /// What the gap alone does not say.
    static std::string lesson(const Ends& with, const Ends& without) {
        return with.test < without.test
                   ? " But it has not become better on new images: the gap is smaller because less is learned from the training images."
                   : "";
    }

    Report dropout() {
        Report report;
        const std::vector<Setting> settings = settings_of(entry("dropout"));
        judge(report, settings);
        const Runs &plain = runs(settings[0].name), &dropped = runs(settings[1].name);
        const std::size_t epochs = settings[1].epochs;
        report.figures.push_back({.title = "Dropout against overfitting",
                                  .charts = {accuracies("none", plain, epochs), accuracies("dropout 0.2", dropped, epochs)},
                                  .columns = 2});
        report.page.title = "Dropout";
        report.page.shows = "The overfitting experiment again, with a share of 0.2 of the hidden outputs zeroed at random in training." + runs_text();
        report.page.expected = "The gap between training and test images becomes smaller, and the training images are not all learned.";
        const Ends with = ends("with it", dropped, epochs - 1), without = ends("without", plain, epochs - 1);
        report.page.measured = unjudged() + "Epoch " + std::to_string(epochs - 1) + ", " + without.text + "; " + with.text + ". The gap is " +
                               fixed(with.train - with.test, 3) + " in place of " + fixed(without.train - without.test, 3) + "." +
                               lesson(with, without);
        check(report, "overfitting", settings[1].name, dropped);
        if (!options_.quick && mnist_)
            for (const Expected& e : expected)
                if (e.variant == settings[0].name && e.at == "epoch 300")
                    report.page.checks.push_back({words(e), e.low, e.high, mean(plain, e.quantity, e.at)});
        return report;
    }

    Report search() {
        Report report;
        std::vector<SearchOutcome> outcomes;
        report.digest = hashed({});
        for (std::uint32_t seed = 1; seed <= options_.seeds; ++seed) {
            outcomes.push_back(random_search(trial(), plan_of_search(), search_learning_rate, search_weight_decay, Seed{seed},
                                             *data_, options_.jobs, done_, [this] { progress(); }));
            const SearchOutcome& outcome = outcomes.back();
            if (!outcome.complete) return report;
            float halves[2];
            std::memcpy(halves, &outcome.digest, sizeof(halves));
            report.digest = hashed(halves, report.digest);
            if (!outcome.heap_allocations) report.heap_allocations.reset();
            if (report.heap_allocations) *report.heap_allocations += *outcome.heap_allocations;
        }
        report.page.judged = !options_.quick && mnist_;
        const SearchOutcome& shown = outcomes.front();
        const std::vector<std::size_t> places = ranked(shown.rounds[0]);
        Figure best{.title = "The best 20 trials of the first round: accuracy by epoch", .charts = {}, .columns = 5};
        for (std::size_t i = 0; i < std::min<std::size_t>(20, places.size()); ++i) {
            const SearchOutcome::Tried& tried = shown.rounds[0].trials[places[i]];
            const auto series = [](const std::string& name, const std::vector<float>& values, Series::Style style) {
                Series s{.name = name, .style = style};
                for (std::size_t e = 0; e < values.size(); ++e) {
                    s.x.push_back(static_cast<double>(e));
                    s.y.push_back(wide(values[e]));
                }
                return s;
            };
            best.charts.push_back({.title = std::to_string(i + 1) + ": rate " + number_text(wide(tried.trial.values[0]), 2),
                                   .x = {.label = "epoch"},
                                   .y = {.label = "accuracy", .low = 0, .high = 1},
                                   .series = {series("validation images", tried.validation_accuracy, Series::Style::line),
                                              series("training images", tried.train_accuracy, Series::Style::dashed)}});
        }
        Figure cloud{.title = "All trials: what they tried and what it was worth", .charts = {}, .columns = 2};
        for (std::size_t d = 0; d < 2; ++d) {
            Chart chart{.title = "",
                        .x = {.label = d == 0 ? "learning rate" : "weight decay", .logarithmic = true},
                        .y = {.label = "validation accuracy", .low = 0, .high = 1},
                        .series = {}};
            for (std::size_t r = 0; r < shown.rounds.size(); ++r) {
                Series points{.name = "round " + std::to_string(r + 1), .style = Series::Style::points};
                for (const SearchOutcome::Tried& tried : shown.rounds[r].trials) {
                    points.x.push_back(wide(tried.trial.values[d]));
                    points.y.push_back(wide(tried.trial.score));
                }
                chart.series.push_back(std::move(points));
            }
            cloud.charts.push_back(std::move(chart));
        }
        report.figures = {best, cloud};
        report.page.title = "Random search of hyperparameters";
        report.page.shows = std::to_string(plan_of_search().trials) +
                            " trials of " + std::to_string(trial().epochs) +
                            " epochs draw learning rate and weight decay log-uniformly; 400 images are learned from, 100 others validate. A "
                            "second round draws from the ranges that the best fifth of the first one spans." +
                            (options_.seeds == 1 ? "" : " Shown is the first of " + std::to_string(options_.seeds) + " searches; the numbers are means.");
        report.page.expected = "Only learning rates near the upper end of the range learn in so short a time; weight decay makes no difference. "
                               "The chapter goes on to learning rates of 0.001 to 0.01 and weight decays of 1e-8 to 1e-6.";
        const SearchOutcome::Round &first = shown.rounds[0], &second = shown.rounds[1];
        const Trial& winner = second.trials[ranked(second).front()].trial;
        report.page.measured =
            unjudged() + "The second round drew the learning rate from " + range_text(second.learning_rate) + " and the weight decay from " +
            range_text(second.weight_decay) + ". Best validation accuracy " + percent(measured(first, "best_val")) +
            " in the first round, " + percent(measured(second, "best_val")) + " in the second (learning rate " +
            number_text(wide(winner.values[0]), 3) + ", weight decay " + number_text(wide(winner.values[1]), 2) +
            "). Correlation of validation accuracy with the logarithm of the learning rate " +
            fixed(measured(first, "corr_log10lr_val"), 2) + ", of the weight decay " + fixed(measured(first, "corr_log10wd_val"), 2) +
            (std::abs(measured(first, "corr_log10wd_val")) < 0.3
                 ? ": these data give no reason to narrow the weight decay, as the chapter does."
                 : ".");
        if (!options_.quick && mnist_)
            for (const Expected& e : expected) {
                if (e.experiment != "random search") continue;
                const std::size_t round = e.variant == "round1" ? 0 : 1;
                double value = 0;
                for (const SearchOutcome& outcome : outcomes)
                    value += measured(outcome.rounds[round], e.quantity) / static_cast<double>(outcomes.size());
                report.page.checks.push_back({words(e), e.low, e.high, value});
            }
        return report;
    }

    static const Entry& entry(std::string_view name) {
        return *std::find_if(std::begin(entries), std::end(entries), [&](const Entry& e) { return name == e.name; });
    }

    void introduce() {
        std::string text;
        for (const Entry* e : selected_) text += (text.empty() ? "" : ", ") + std::string(e->name);
        console_.line("experiments  " + text + (options_.quick ? " (short versions)" : ""));
        if (data_) console_.line("data         " + data_->name + ", " + grouped(data_->train.images.count) + " training images");
        console_.line("runs         " + std::to_string(options_.seeds) + (options_.seeds == 1 ? " seed, " : " seeds, ") +
                      std::to_string(options_.jobs) + (options_.jobs == 1 ? " job, " : " jobs, ") + name(active_isa()));
        nlohmann::ordered_json plan{{"event", "plan"}, {"seeds", options_.seeds}, {"jobs", options_.jobs},
                                    {"quick", options_.quick}, {"isa", name(active_isa())}, {"experiments", nlohmann::json::array()}};
        for (const Entry* e : selected_) plan["experiments"].push_back(e->name);
        write_json(plan);
    }

    void write_json(const nlohmann::ordered_json& object) {
        if (json_) json_->write(object.dump() + '\n');
    }

    /// On a terminal a line that is rewritten, elsewhere one now and then.
    void progress() {
        StopSignals::leave_on_second();
        const Clock::time_point now = Clock::now();
        constexpr std::chrono::milliseconds refresh_interval{100};
        constexpr std::chrono::seconds line_interval{10};
        if (console_.live() ? now < next_refresh_ : now < next_line_ + line_interval) return;
        next_refresh_ = now + refresh_interval;
        next_line_ = now;
        const double seconds = std::chrono::duration<double>(now - begin_).count();
        const double done = static_cast<double>(done_.load(std::memory_order_relaxed));
        if (seconds <= 0 || done <= 0 || total_ == 0) return;
        const double share = std::min(1.0, done / static_cast<double>(total_));
        const double left = seconds / share - seconds;
        Line line;
        line.print("%s  %.0f %% of all  %.0f samples/s forward", current_.c_str(), 100 * share, done / seconds);
        if (left < 90) {
            line.print("  %.0f s left", left);
        } else {
            line.print("  %.0f min left", left / 60);
        }
        console_.live() ? console_.status(line.view()) : console_.line(line.view());
    }

    /// For somebody who does not see the picture; what was measured stands beside it in words.
    static std::string alternative(const Figure& figure) {
        const Chart& first = figure.charts.front();
        std::string series;
        for (const Series& s : first.series) {
            if (s.name.empty() || series.find(s.name) != std::string::npos) continue;
            series += (series.empty() ? "" : ", ") + s.name;
        }
        return figure.title + ". " + (figure.charts.size() == 1 ? "" : std::to_string(figure.charts.size()) + " panels, each with ") +
               series + "; across: " + first.x.label + ", upwards: " + first.y.label + '.';
    }

    /// Files first, the page that names them last.
    void publish(const Entry& entry, Report& report, double seconds) {
        const std::string base = entry.name;
        nlohmann::ordered_json files = nlohmann::json::array();
        const auto write = [&](const std::string& file_name, std::string_view text) {
            OutputFile file("--out", (out_ / file_name).string());
            file.write(text);
            file.commit();
            files.push_back(file_name);
        };
        std::string problem;
        for (std::size_t i = 0; i < report.figures.size(); ++i) {
            Picture picture = draw(report.figures[i]);
            if (picture.problem.empty())
                write(base + (i == 0 ? "" : "-" + std::to_string(i + 1)) + ".svg", picture.svg);
            else
                problem = picture.problem;
            report.page.pictures.push_back({std::move(picture), alternative(report.figures[i])});
        }
        write(base + ".csv", csv_text(report.figures));
        report.page.data_file = base + ".csv";
        page_.experiments.push_back(std::move(report.page));
        const Experiment& shown = page_.experiments.back();
        nlohmann::ordered_json checks = nlohmann::json::array();
        std::size_t inside = 0;
        for (const Check& check : shown.checks) {
            checks.push_back({{"quantity", check.quantity}, {"low", check.low}, {"high", check.high},
                              {"measured", check.measured}, {"inside", check.inside()}});
            if (check.inside()) ++inside;
        }
        page_.title = "Ferrite: training techniques, shown";
        page_.subtitle = std::string("Chapter 6 of \"Deep Learning from Scratch\"") + (data_ ? ", " + data_->name : "") + ", " +
                         std::to_string(options_.seeds) + (options_.seeds == 1 ? " seed" : " seeds") + ", " + name(active_isa()) +
                         (options_.quick ? ", short version" : "");
        write_page("--out", (out_ / "index.html").string(), page_);
        Line hash;
        hash.print("%016llx", static_cast<unsigned long long>(report.digest));
        nlohmann::ordered_json object{{"event", "experiment"}, {"name", base}, {"verdict", name(shown.verdict())},
                                      {"seconds", seconds}, {"digest", hash.view()}, {"heap_allocations", nullptr},
                                      {"files", files}, {"checks", checks}};
        if (report.heap_allocations) object["heap_allocations"] = *report.heap_allocations;
        if (!problem.empty()) object["problem"] = problem;
        write_json(object);
        Line line;
        line.print("%-15s%-11s %zu of %zu values inside  %.1f s  digest %s", entry.name, name(shown.verdict()), inside,
                   shown.checks.size(), seconds, std::string(hash.view()).c_str());
        console_.line(line.view());
        if (!problem.empty()) console_.line("  no picture: " + problem);
        else if (!shown.checks.empty() && shown.judged)
            for (const Check& check : shown.checks)
                if (!check.inside())
                    console_.line("  " + check.quantity + ": found " + number_text(check.measured, 6) + ", expected " +
                                  number_text(check.low, 6) + " .. " + number_text(check.high, 6));
    }

    void finish() {
        const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
        nlohmann::ordered_json done{{"event", "done"}, {"seconds", seconds}, {"heap_allocations", nullptr}};
        if (allocations_) done["heap_allocations"] = *allocations_;
        if (StopSignals::any()) done["interrupted"] = true;
        write_json(done);
        if (json_) json_->commit();
        Line line;
        line.print("time         %.1f s", seconds);
        console_.line(line.view());
        if (allocations_) console_.line("heap         " + grouped(*allocations_) + " allocations in training");
        if (StopSignals::any())
            console_.line("interrupted in " + current_ + "; complete: " + std::to_string(page_.experiments.size()) + " of " +
                          std::to_string(selected_.size()));
        if (!page_.experiments.empty()) console_.line("page         " + std::filesystem::absolute(out_ / "index.html").string());
    }

    const LabOptions& options_;
    Console console_;
    std::filesystem::path out_;
    std::optional<OutputFile> json_;
    std::vector<const Entry*> selected_;
    std::optional<Dataset> data_;
    bool mnist_ = false;
    std::vector<Setting> settings_;
    std::map<std::string, Runs> runs_;
    std::optional<std::uint64_t> allocations_ = 0;  ///< of all trainings so far
    Page page_;
    std::string current_;
    std::uint64_t total_ = 0;
    std::atomic<std::uint64_t> done_{0};
    Clock::time_point begin_, next_refresh_, next_line_;
};

std::vector<Setting> only(std::initializer_list<std::size_t> places) {
    const std::vector<Setting> all = overfitting();
    std::vector<Setting> settings;
    for (const std::size_t place : places) settings.push_back(all[place]);
    return settings;
}

const Lab::Entry Lab::entries[9]{
    {"trajectories", &Lab::trajectories, nullptr},
    {"optimizers", &Lab::optimizers, &optimizer_comparison},
    {"activations", &Lab::activations, nullptr},
    {"initialization", &Lab::initialization, &start_value_comparison},
    {"batchnorm", &Lab::batch_norm, &batch_normalization},
    {"overfitting", &Lab::overfit, [] { return only({0}); }},
    {"weight-decay", &Lab::weight_decay, [] { return only({0, 1}); }},
    {"dropout", &Lab::dropout, [] { return only({0, 2}); }},
    {"search", &Lab::search, nullptr},
};

}  // namespace

void add_lab_command(CLI::App& app) {
    CLI::App* const command =
        app.add_subcommand("lab", "Run the experiments of the chapter on training and draw what they show");
    const auto options = std::make_shared<LabOptions>();
    command
        ->add_option_function<std::string>(
            "NAME",
            [options](const std::string& given) {
                if (!Lab::known(given)) throw Error("ferrite lab", given, "one of " + Lab::names());
                options->name = given;
            },
            Lab::names())
        ->default_str("all");
    add_text(*command, "--data", "the four IDX files, plain or .gz (default: Debian's dataset-fashion-mnist)",
             [options](const std::string& given) {
                 if (given.empty()) throw Error("--data", "nothing", "a directory");
                 options->data = given;
             })
        ->type_name("DIR");
    add_text(*command, "--out", "index.html with all pictures, and every picture and its data as files",
             [options](const std::string& given) {
                 if (given.empty()) throw Error("--out", "nothing", "a directory");
                 options->out = given;
             })
        ->type_name("DIR")
        ->default_str(options->out);
    const auto count = [&](const char* name, const char* help, std::uint32_t& value, std::uint32_t most) {
        add_text(*command, name, help,
                 [name, most, &value](const std::string& given) {
                     value = static_cast<std::uint32_t>(parse_count(name, given, 1, most));
                 })
            ->type_name("N")
            ->default_str(std::to_string(value));
    };
    count("--seeds", "runs of each training; drawn as their mean and a band", options->seeds, 1000);
    count("--jobs", "trainings at a time; the same result for any number (default: the processors)", options->jobs, 1024);
    command->add_flag("--quick", options->quick, "a short version of each");
    add_text(*command, "--json", "write what happens as JSON, an object a line; -: to standard output",
             [options](const std::string& given) {
                 if (given.empty()) throw Error("--json", "nothing", "a file");
                 options->json = given;
             })
        ->type_name("FILE");
    command->callback([options] {
        const StopSignals signals;
        Lab(*options).run();
        if (StopSignals::any()) throw CLI::RuntimeError(StopSignals::exit_code());
    });
}

}  // namespace ferrite::host
