// SPDX-License-Identifier: MIT
#include "experiment.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ferrite/kernels.hpp>
#include <limits>
#include <numeric>

#include "heap.hpp"
#include "jobs.hpp"
#include "output.hpp"
#include "stop.hpp"

namespace ferrite::host {
namespace {

// Of a run's seed; parameter arrays have the streams below 2^16, dropout those from 2^34.
constexpr std::uint64_t batch_stream = std::uint64_t{1} << 33;
constexpr std::uint64_t split_stream = std::uint64_t{1} << 32;

constexpr std::uint32_t train_loss_images = 10000;
constexpr std::uint32_t average_length = 50;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double wide(float x) { return static_cast<double>(x); }

BuiltModel model_of(const Setting& setting, const Dataset& data) {
    constexpr std::uint32_t units = 100, classes = 10;
    BuiltModel built{.input = Shape{static_cast<std::uint32_t>(data.train.images.image_size())},
                     .layers = {},
                     .recipe = {}};
    for (std::uint32_t i = 0; i < setting.hidden_layers; ++i) {
        built.layers.push_back(Dense{.units = units, .initializer = setting.initializer});
        if (setting.batch_norm) built.layers.push_back(BatchNorm{.epsilon = 1e-6f, .initial_variance = 0});
        built.layers.push_back(Relu{});
        if (setting.dropout > 0)
            built.layers.push_back(Dropout{.rate = setting.dropout, .scaling = setting.scaling});
    }
    built.layers.push_back(Dense{.units = classes, .initializer = setting.initializer});
    built.recipe.loss = SoftmaxCrossEntropy{};
    built.recipe.optimizer = setting.optimizer;
    built.recipe.batch = setting.batch;
    built.recipe.weight_decay = setting.weight_decay;
    return built;
}

/// The first `limit` of `count`, all for 0.
std::uint32_t first_of(std::uint32_t limit, std::uint32_t count) {
    return limit == 0 ? count : std::min(limit, count);
}

const Setting& fitting(const Setting& setting, const Dataset& data) {
    const std::uint32_t available = data.train.images.count;
    const std::uint32_t least = std::max(setting.samples, setting.batch + setting.validation);
    if (available < least)
        throw Error("--data", std::to_string(available) + " training images in " + data.name,
                    "at least " + std::to_string(least) + " for the experiment");
    return setting;
}

}  // namespace

std::uint32_t Setting::learned(const Dataset& data) const noexcept {
    return first_of(samples, data.train.images.count) - validation;
}

std::uint32_t Setting::updates(const Dataset& data) const noexcept {
    return epochs == 0 ? iterations : (epochs - 1) * (learned(data) / batch) + 1;
}

std::uint64_t Setting::cost(const Dataset& data) const noexcept {
    const std::uint64_t tests = first_of(test_images, data.test.images.count);
    const std::uint64_t looks = only_epochs.empty() ? epochs : only_epochs.size();
    const std::uint64_t probes = !epoch_tests ? 0 : only_test_epochs.empty() ? looks : only_test_epochs.size();
    // A step goes forward, and backward twice as long.
    return std::uint64_t{updates(data)} * batch * (losses == Losses::after_update ? 4u : 3u) +
           looks * learned(data) + probes * (validation != 0 ? validation : tests) +
           (end_tests ? tests + std::min(learned(data), train_loss_images) : 0u);
}

Student::Student(const Setting& setting, const Dataset& data)
    : setting_(&fitting(setting, data)),
      data_(&data),
      updates_(setting.updates(data)),
      learned_(setting.learned(data)),
      probed_(setting.validation != 0 ? setting.validation
                                      : first_of(setting.test_images, data.test.images.count)),
      measured_(setting.epochs, setting.only_epochs.empty()),
      probing_(setting.epochs, setting.epoch_tests && setting.only_test_epochs.empty()),
      learner_(model_of(setting, data)),
      batch_(setting.batch, data.train.images.image_size()),
      probe_(setting.batch, data.train.images.image_size()),
      learning_rate_(setting.optimizer.learning_rate),
      weight_decay_(setting.weight_decay) {
    for (const std::uint32_t epoch : setting.only_epochs) measured_[epoch] = true;
    for (const std::uint32_t epoch : setting.only_test_epochs) probing_[epoch] = true;
    if (setting.losses != Losses::none) curves_.loss.resize(updates_);
    curves_.train_accuracy.resize(setting.epochs);
    if (setting.epoch_tests) curves_.test_accuracy.resize(setting.epochs);
}

template <class Index>
Student::Score Student::measure(const Samples& samples, std::uint32_t count, Index&& index,
                                std::atomic<std::uint64_t>& done) noexcept {
    double loss = 0;
    std::uint64_t correct = 0;
    for (std::uint32_t first = 0; first < count; first += probe_.rows()) {
        probe_.take(samples, first, std::min(probe_.capacity(), count - first), index);
        const Evaluation evaluation = learner_.session().evaluate(probe_.inputs(), probe_.labels());
        loss += wide(evaluation.loss) * probe_.rows();
        correct += evaluation.correct;
    }
    done.fetch_add(count, std::memory_order_relaxed);
    return {loss / count, static_cast<double>(correct) / count};
}

bool Student::train(std::atomic<std::uint64_t>& done) noexcept {
    TrainingSession& session = learner_.session();
    const Random draws(seed_, batch_stream);
    const bool split = setting_->validation != 0;
    const auto learned_index = [&](std::uint32_t i) { return split ? split_[setting_->validation + i] : i; };
    const auto probed_index = [&](std::uint32_t i) { return split ? split_[i] : i; };
    const Samples& probed = split ? data_->train : data_->test;
    const std::uint32_t per_epoch = setting_->epochs == 0 ? updates_ : learned_ / setting_->batch;
    for (std::uint32_t i = 0; i < updates_; ++i) {
        if (StopSignals::any()) return false;
        const std::uint64_t position = std::uint64_t{i} * setting_->batch;
        batch_.take(data_->train, 0, setting_->batch, [&](std::uint32_t b) {
            const std::uint64_t bits = draws.bits(position + b) >> 32;
            return learned_index(static_cast<std::uint32_t>(bits * learned_ >> 32));
        });
        const auto penalty = [&] { return weight_decay_ > 0 ? session.penalty() : 0.0f; };
        const bool after = setting_->losses == Losses::after_update;
        if (setting_->losses == Losses::before_update) curves_.loss[i] = penalty();
        const float loss = session.step(batch_.inputs(), batch_.labels());
        curves_.diverged = curves_.diverged || !std::isfinite(loss);
        done.fetch_add(std::uint64_t{setting_->batch} * (after ? 4u : 3u), std::memory_order_relaxed);
        if (setting_->losses == Losses::before_update) curves_.loss[i] += loss;
        if (after) curves_.loss[i] = session.evaluate(batch_.inputs(), batch_.labels()).loss + penalty();
        if (setting_->epochs == 0 || i % per_epoch != 0) continue;
        const std::uint32_t epoch = i / per_epoch;
        float train_accuracy = std::numeric_limits<float>::quiet_NaN(), test_accuracy = train_accuracy;
        if (measured_[epoch]) {
            train_accuracy =
                static_cast<float>(measure(data_->train, learned_, learned_index, done).accuracy);
            if (probing_[epoch])
                test_accuracy = static_cast<float>(measure(probed, probed_, probed_index, done).accuracy);
        }
        curves_.train_accuracy[epoch] = train_accuracy;
        if (setting_->epoch_tests) curves_.test_accuracy[epoch] = test_accuracy;
    }
    if (!setting_->end_tests) return true;
    const Score end = measure(data_->test, first_of(setting_->test_images, data_->test.images.count),
                              [](std::uint32_t i) { return i; }, done);
    curves_.test_loss = end.loss;
    curves_.end_accuracy = end.accuracy;
    curves_.train_loss =
        measure(data_->train, std::min(learned_, train_loss_images), learned_index, done).loss;
    return true;
}

bool Student::run(Seed seed, std::atomic<std::uint64_t>& done) noexcept {
    const std::optional<std::uint64_t> before = thread_heap_allocations();
    seed_ = seed;
    TrainingSession& session = learner_.session();
    session.initialize(seed);
    session.set_learning_rate(learning_rate_);
    session.set_weight_decay(weight_decay_);
    if (setting_->validation != 0)
        split_ = Permutation(learned_ + setting_->validation, Random(split_seed_.value_or(seed), split_stream));
    curves_.diverged = false;
    if (!train(done)) return false;
    curves_.squared_weights = 0;
    for (std::size_t i = 0; i < session.parameter_count(); ++i) {
        if (!learner_.program().parameters[i].decays) continue;
        for (const float w : session.parameter(i)) curves_.squared_weights += wide(w) * wide(w);
    }
    curves_.digest = hashed({});
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        curves_.digest = hashed(session.parameter(i), curves_.digest);
    for (const std::vector<float>* curve : {&curves_.loss, &curves_.train_accuracy, &curves_.test_accuracy})
        curves_.digest = hashed(*curve, curves_.digest);
    if (before)
        *allocations_ += *thread_heap_allocations() - *before;
    else
        allocations_.reset();
    return true;
}

std::vector<Setting> optimizer_comparison() {
    std::vector<Setting> settings;
    for (const auto& [name, optimizer] : {std::pair<const char*, Optimizer>{"sgd", Sgd{0.01f}},
                                          {"momentum", Momentum{0.01f, 0.9f}},
                                          {"adagrad", AdaGrad{0.01f}},
                                          {"adam", Adam{0.001f}}})
        settings.push_back(
            {.name = name, .optimizer = optimizer, .batch = 128, .iterations = 2000, .losses = Losses::after_update, .end_tests = true});
    return settings;
}

std::vector<Setting> start_value_comparison() {
    std::vector<Setting> settings;
    for (const auto& [name, initializer] : {std::pair<const char*, Initializer>{"std0.01", Normal{0.01f}},
                                            {"xavier", XavierNormal{}},
                                            {"he", HeNormal{}}})
        settings.push_back({.name = name,
                            .initializer = initializer,
                            .batch = 128,
                            .iterations = 2000,
                            .losses = Losses::after_update,
                            .end_tests = true});
    return settings;
}

std::vector<Setting> batch_normalization() {
    std::vector<Setting> settings;
    for (int k = 0; k < 16; ++k) {
        const double deviation = std::pow(10.0, -4.0 * k / 15);
        Line text;
        text.print("std=%g", deviation);
        for (const bool normed : {false, true})
            settings.push_back({.name = (normed ? "bn " : "plain ") + std::string(text.view()),
                                .hidden_layers = 5,
                                .initializer = Normal{static_cast<float>(deviation)},
                                .batch_norm = normed,
                                .samples = 1000,
                                .epochs = 20});
    }
    return settings;
}

std::vector<Setting> overfitting() {
    const Setting common{
        .hidden_layers = 6, .samples = 300, .epochs = 301, .losses = Losses::before_update, .epoch_tests = true};
    std::vector<Setting> settings(3, common);
    settings[0].name = "none (301 epochs)";
    settings[1].name = "weight decay 0.1";
    settings[1].weight_decay = 0.1f;
    settings[1].epochs = 201;
    settings[2].name = "dropout 0.2";
    settings[2].dropout = 0.2f;
    return settings;
}

Setting search_trial() {
    return {.name = "trial", .hidden_layers = 6, .samples = 500, .validation = 100, .epochs = 50, .epoch_tests = true};
}

SearchOutcome random_search(const Setting& trial, const SearchPlan& plan, Range learning_rate,
                            Range weight_decay, Seed seed, const Dataset& data, unsigned jobs,
                            std::atomic<std::uint64_t>& done, const std::function<void()>& tick) {
    const std::array ranges{learning_rate, weight_decay};
    std::vector<Trial> memory(plan.trials), best(std::max(plan.parents, std::uint32_t{20}));
    Result<Search> started = Search::start(plan, ranges, Random(seed), memory, best);
    if (!started.ok()) throw Error("search", message(started.status()), "a plan that can be followed");
    Search& search = started.value();
    SearchOutcome outcome;
    outcome.rounds.resize(plan.rounds);
    for (SearchOutcome::Round& round : outcome.rounds) {
        round.trials.resize(plan.trials);
        for (SearchOutcome::Tried& tried : round.trials) {
            tried.train_accuracy.resize(trial.epochs);
            tried.validation_accuracy.resize(trial.epochs);
        }
    }
    std::vector<std::unique_ptr<Student>> students;
    for (unsigned job = 0; job < jobs; ++job) {
        students.push_back(std::make_unique<Student>(trial, data));
        students.back()->set_split(seed);
    }
    const auto train = [&](unsigned job, const Trial& given) {
        Student& student = *students[job];
        student.set_rates(given.values[0], given.values[1]);
        SearchOutcome::Tried& tried = outcome.rounds[given.index / plan.trials].trials[given.index % plan.trials];
        tried.trial = given;
        if (!student.run(Seed{(seed.value << 32) + given.index}, done)) return std::numeric_limits<float>::quiet_NaN();
        const Curves& curves = student.curves();
        std::copy(curves.train_accuracy.begin(), curves.train_accuracy.end(), tried.train_accuracy.begin());
        std::copy(curves.test_accuracy.begin(), curves.test_accuracy.end(), tried.validation_accuracy.begin());
        tried.trial.score = curves.test_accuracy.back();
        return tried.trial.score;
    };
    std::uint32_t round = 0;
    const auto note_ranges = [&] {
        outcome.rounds[round].learning_rate = search.ranges()[0];
        outcome.rounds[round].weight_decay = search.ranges()[1];
    };
    note_ranges();
    run_search(search, jobs, train, [&](const Trial&) {
        if (search.round() != round && !search.finished()) {
            round = search.round();
            note_ranges();
        }
        tick();
    });
    outcome.digest = hashed({});
    for (SearchOutcome::Round& r : outcome.rounds) {
        if (StopSignals::any()) return outcome;
        for (const SearchOutcome::Tried& tried : r.trials) {
            outcome.digest = hashed(tried.trial.values, outcome.digest);
            outcome.digest = hashed(tried.validation_accuracy, outcome.digest);
        }
        const Trial& winner = r.trials[ranked(r).front()].trial;
        Setting once = trial;
        once.epoch_tests = false;
        once.only_epochs = {trial.epochs - 1};
        once.end_tests = true;
        Student student(once, data);
        student.set_split(seed);
        student.set_rates(winner.values[0], winner.values[1]);
        if (!student.run(Seed{(seed.value << 32) + winner.index}, done)) return outcome;
        r.test_accuracy = student.curves().end_accuracy;
    }
    for (const std::unique_ptr<Student>& student : students) {
        if (!student->heap_allocations()) outcome.heap_allocations.reset();
        if (outcome.heap_allocations) *outcome.heap_allocations += *student->heap_allocations();
    }
    outcome.complete = true;
    return outcome;
}

std::vector<std::size_t> ranked(const SearchOutcome::Round& round) {
    std::vector<std::size_t> places(round.trials.size());
    std::iota(places.begin(), places.end(), std::size_t{0});
    std::sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
        return better(round.trials[a].trial, round.trials[b].trial);
    });
    return places;
}

double measured(const SearchOutcome::Round& round, std::string_view quantity) {
    const std::vector<std::size_t> places = ranked(round);
    const std::size_t n = places.size(), elite = std::max<std::size_t>(1, n / 5);
    const auto score = [&](std::size_t rank) { return wide(round.trials[places[rank]].trial.score); };
    const auto logarithm = [&](std::size_t rank, std::size_t dimension) {
        return std::log10(wide(round.trials[places[rank]].trial.values[dimension]));
    };
    const auto share = [&](auto&& holds) {
        std::size_t count = 0;
        for (std::size_t i = 0; i < n; ++i) count += holds(score(i)) ? 1u : 0u;
        return static_cast<double>(count) / static_cast<double>(n);
    };
    const auto correlation = [&](std::size_t dimension) {
        double x = 0, y = 0, xx = 0, yy = 0, xy = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const double a = logarithm(i, dimension), b = score(i);
            x += a, y += b, xx += a * a, yy += b * b, xy += a * b;
        }
        const double m = static_cast<double>(n);
        return (xy - x * y / m) / std::sqrt((xx - x * x / m) * (yy - y * y / m));
    };
    const auto outermost = [&](std::size_t dimension, bool highest) {
        double found = logarithm(0, dimension);
        for (std::size_t i = 1; i < elite; ++i)
            found = highest ? std::max(found, logarithm(i, dimension)) : std::min(found, logarithm(i, dimension));
        return found;
    };
    if (quantity == "best_val") return score(0);
    if (quantity == "worst_val") return score(n - 1);
    if (quantity == "median_val") return (score((n - 1) / 2) + score(n / 2)) / 2;
    if (quantity == "frac_val_ge_50") return share([](double x) { return x >= 0.5 - 1e-6; });
    if (quantity == "frac_val_lt_20") return share([](double x) { return x < 0.2 - 1e-6; });
    if (quantity == "corr_log10lr_val") return correlation(0);
    if (quantity == "corr_log10wd_val") return correlation(1);
    if (quantity == "log10(lr) of the best trial") return logarithm(0, 0);
    if (quantity == "log10(weight decay) of the best trial") return logarithm(0, 1);
    if (quantity == "test accuracy of the best trial") return round.test_accuracy;
    if (quantity == "lowest log10(lr) among the best 20 %") return outermost(0, false);
    if (quantity == "highest log10(lr) among the best 20 %") return outermost(0, true);
    if (quantity == "lowest log10(weight decay) among the best 20 %") return outermost(1, false);
    if (quantity == "highest log10(weight decay) among the best 20 %") return outermost(1, true);
    return nan;
}

double measured(const Curves& curves, std::string_view quantity, std::string_view at) {
    const auto number = [](std::string_view text) {
        double value = nan;
        std::from_chars(text.data(), text.data() + text.size(), value);
        return value;
    };
    const auto behind = [](std::string_view text, std::string_view head) {
        return text.starts_with(head) ? text.substr(head.size()) : std::string_view{};
    };
    const auto mean_loss = [&](std::size_t first, std::size_t last) {
        if (first > last || last >= curves.loss.size()) return nan;
        double sum = 0;
        for (std::size_t i = first; i <= last; ++i) sum += wide(curves.loss[i]);
        return sum / static_cast<double>(last - first + 1);
    };
    const auto at_epoch = [&](const std::vector<float>& curve) {
        if (at == "last epoch") return curve.empty() ? nan : wide(curve.back());
        const double epoch = number(behind(at, "epoch "));
        return epoch >= 0 && epoch < static_cast<double>(curve.size())
                   ? wide(curve[static_cast<std::size_t>(epoch)])
                   : nan;
    };
    if (const auto range = behind(at, "iterations "); !range.empty()) {
        const std::size_t dash = range.find('-');
        const double first = number(range), last = dash < range.size() ? number(range.substr(dash + 1)) : nan;
        if (!(first >= 0 && last >= first)) return nan;
        return mean_loss(static_cast<std::size_t>(first), static_cast<std::size_t>(last));
    }
    if (at == "first 10 iterations") return mean_loss(0, 9);
    if (at == "last 30 iterations" && curves.loss.size() >= 30)
        return mean_loss(curves.loss.size() - 30, curves.loss.size() - 1);
    if (quantity == "test_accuracy") return at == "end" ? curves.end_accuracy : at_epoch(curves.test_accuracy);
    if (quantity == "train_accuracy") return at_epoch(curves.train_accuracy);
    if (quantity == "train_minus_test") return at_epoch(curves.train_accuracy) - at_epoch(curves.test_accuracy);
    if (quantity == "test_loss") return curves.test_loss;
    if (quantity == "train_loss") return curves.train_loss;
    if (quantity == "sum of squared weights") return curves.squared_weights;
    if (const auto limit = behind(quantity, "first epoch with train accuracy >= "); !limit.empty()) {
        // The accuracy of 300 images is a float; a limit such as 0.99 lies between two of its values.
        for (std::size_t i = 0; i < curves.train_accuracy.size(); ++i)
            if (wide(curves.train_accuracy[i]) >= number(limit) - 1e-6) return static_cast<double>(i);
        return nan;
    }
    if (const auto limit = behind(quantity, "first iteration with 50-average below "); !limit.empty()) {
        for (std::size_t i = average_length - 1; i < curves.loss.size(); ++i)
            if (mean_loss(i - (average_length - 1), i) < number(limit)) return static_cast<double>(i);
        return nan;
    }
    return nan;
}

std::vector<double> smoothed(std::span<const float> values) {
    constexpr int half = 5, length = 2 * half + 1;
    constexpr double beta = 2;
    std::array<double, length> window{};
    double sum = 0;
    for (int j = 0; j < length; ++j) {
        const double r = static_cast<double>(j - half) / half;
        window[static_cast<std::size_t>(j)] =
            std::cyl_bessel_i(0.0, beta * std::sqrt(1 - r * r)) / std::cyl_bessel_i(0.0, beta);
        sum += window[static_cast<std::size_t>(j)];
    }
    const auto n = static_cast<std::ptrdiff_t>(values.size());
    std::vector<double> result(values.size());
    if (n <= length) {
        std::transform(values.begin(), values.end(), result.begin(), wide);
        return result;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        double value = 0;
        for (int j = 0; j < length; ++j) {
            // On the left the first value is not repeated, on the right the last one is.
            std::ptrdiff_t at = i + j - half;
            at = at < 0 ? -at : at >= n ? 2 * n - 1 - at : at;
            value += window[static_cast<std::size_t>(j)] * wide(values[static_cast<std::size_t>(at)]);
        }
        result[static_cast<std::size_t>(i)] = value / sum;
    }
    return result;
}

Trajectory trajectory(const std::string& name, const Optimizer& optimizer, std::uint32_t steps,
                      float weight_decay) {
    alignas(buffer_alignment) float p[2]{-7, 2}, g[2]{}, state[2][2]{};
    Trajectory way{.name = name, .x = {p[0]}, .y = {p[1]}};
    for (std::uint32_t t = 1; t <= steps; ++t) {
        g[0] = p[0] / 10;
        g[1] = 2 * p[1];
        UpdateConstants constants;
        optimizer.prepare(optimizer, optimizer.learning_rate, t, constants);
        constants.weight_decay =
            optimizer.decoupled_weight_decay ? optimizer.learning_rate * weight_decay : weight_decay;
        (*optimizer.update)({.operand = {p, g, state[0], state[1]},
                             .stride = {2, 2, 2, 2},
                             .rows = 1,
                             .columns = 2,
                             .constants = &constants.gradient_scale});
        way.x.push_back(p[0]);
        way.y.push_back(p[1]);
    }
    return way;
}

LayerOutputs layer_outputs(std::string_view activation, float deviation, std::span<const float> inputs,
                           std::span<const std::vector<float>> normals) {
    const Kernel<Map>& kernel = activation == "sigmoid" ? kernels::sigmoid
                                : activation == "relu"  ? kernels::relu
                                                        : kernels::tanh;
    const auto rows = static_cast<std::uint32_t>(inputs.size() / activation_units);
    LayerOutputs outputs;
    const float* x = inputs.data();
    std::vector<float> weights(std::size_t{activation_units} * activation_units);
    for (std::size_t l = 0; l < activation_layers; ++l) {
        std::transform(normals[l].begin(), normals[l].end(), weights.begin(),
                       [=](float z) { return deviation * z; });
        outputs[l].resize(inputs.size());
        float* const y = outputs[l].data();
        const Status status =
            matmul(Tensor(y, Shape{rows, activation_units}), ConstTensor(x, Shape{rows, activation_units}),
                   ConstTensor(weights.data(), Shape{activation_units, activation_units}));
        FERRITE_ASSERT(status == Status::ok);
        static_cast<void>(status);
        kernel({.operand = {y, y, nullptr, nullptr},
                .stride = {inputs.size(), inputs.size(), 0, 0},
                .rows = 1,
                .columns = inputs.size(),
                .constants = nullptr});
        x = y;
    }
    return outputs;
}

Distribution distribution(std::span<const float> outputs) {
    Distribution d;
    const std::size_t rows = outputs.size() / activation_units;
    const auto n = static_cast<double>(outputs.size()), m = static_cast<double>(rows);
    const auto share = [&](auto&& holds) {
        return static_cast<double>(std::count_if(outputs.begin(), outputs.end(), holds)) / n;
    };
    d.below = share([](float x) { return wide(x) < 0.1; });
    d.above = share([](float x) { return wide(x) > 0.9; });
    d.zero = share([](float x) { return x == 0.0f; });
    for (const float x : outputs) d.mean += wide(x) / n;
    for (const float x : outputs) d.deviation += (wide(x) - d.mean) * (wide(x) - d.mean) / n;
    d.deviation = std::sqrt(d.deviation);
    for (std::size_t u = 0; u < activation_units; ++u) {
        double mean = 0, squares = 0;
        for (std::size_t r = 0; r < rows; ++r) mean += wide(outputs[r * activation_units + u]) / m;
        for (std::size_t r = 0; r < rows; ++r) {
            const double off = wide(outputs[r * activation_units + u]) - mean;
            squares += off * off / m;
        }
        d.by_sample += std::sqrt(squares) / activation_units;
    }
    return d;
}

std::uint64_t hashed(std::span<const float> values, std::uint64_t hash) noexcept {
    for (const float value : values) {
        std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
        if (std::isnan(value)) bits = 0x7FC00000u;  // its payload is no result
        for (int i = 0; i < 4; ++i, bits >>= 8) hash = (hash ^ (bits & 0xFFu)) * 0x100000001B3u;
    }
    return hash;
}

}  // namespace ferrite::host
