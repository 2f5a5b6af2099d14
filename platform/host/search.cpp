// SPDX-License-Identifier: MIT
// ferrite search: random search of the learning rate and the weight decay.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "experiment.hpp"
#include "heap.hpp"
#include "jobs.hpp"
#include "output.hpp"
#include "stop.hpp"
#include "table.hpp"
#include "train.hpp"

namespace ferrite::host {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t dimensions = 2;
constexpr std::array names{"learning_rate", "weight_decay"};

// Of the seed; a trial's own streams are those of another seed.
constexpr std::uint64_t trial_stream = std::uint64_t{1} << 35;

struct SearchOptions {
    ModelOptions model{.layers = {784, 100, 100, 100, 100, 100, 100, 10}, .optimizer = "sgd", .schedule = "constant"};
    DataOptions data{.directory = {}, .limit = 500, .validation = 0.2f};
    std::array<Range, dimensions> ranges{search_learning_rate, search_weight_decay};
    SearchPlan plan{.trials = 100, .epochs = 50};
    std::uint32_t keep = 20;
    std::uint32_t jobs = std::max(1u, std::thread::hardware_concurrency());
    std::string json;
};

double wide(float x) { return static_cast<double>(x); }

/// LOW:HIGH, LOW:HIGH:linear or one value.
Range parse_range(const std::string& option, const std::string& text) {
    constexpr std::string_view linear = ":linear";
    const Error wrong(option, text.empty() ? "nothing" : text,
                      "LOW:HIGH with 0 < LOW <= HIGH, LOW:HIGH:linear with 0 <= LOW <= HIGH, or one number of at least 0");
    std::string_view rest = text;
    const bool uniform = rest.ends_with(linear);
    if (uniform) rest.remove_suffix(linear.size());
    const std::size_t colon = rest.find(':');
    if (uniform && colon == std::string_view::npos) throw wrong;
    const auto number = [&](std::string_view part) {
        float value = 0;
        const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), value);
        if (error != std::errc{} || stop != part.data() + part.size() || !std::isfinite(value) || value < 0) throw wrong;
        return value;
    };
    Range range;
    range.low = number(rest.substr(0, colon));
    range.high = colon == std::string_view::npos ? range.low : number(rest.substr(colon + 1));
    range.logarithmic = !uniform && colon != std::string_view::npos;
    if (!range.valid()) throw wrong;
    return range;
}

std::string text_of(const Range& range) {
    Line line;
    if (range.low == range.high)
        line.print("%g", wide(range.low));
    else
        line.print("%.3g to %.3g%s", wide(range.low), wide(range.high), range.logarithmic ? "" : ", linear");
    return std::string(line.view());
}

/// Adds what its thread allocates while it lives.
class Counted {
  public:
    explicit Counted(std::atomic<std::uint64_t>& sum) noexcept : sum_(sum) {}
    ~Counted() {
        if (before_) sum_ += *thread_heap_allocations() - *before_;
    }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

  private:
    std::atomic<std::uint64_t>& sum_;
    std::optional<std::uint64_t> before_ = thread_heap_allocations();
};

/// What `ferrite train` is told to train the same network, with all images, by these rates.
std::string train_command(const SearchOptions& options, const Trial& trial) {
    const ModelOptions& model = options.model;
    const ModelOptions usual;
    std::string text = "ferrite train";
    const auto add = [&](const char* name, const std::string& value) { text += std::string(" --") + name + ' ' + value; };
    const auto number = [](float value) {
        char digits[32];
        return std::string(digits, std::to_chars(digits, std::end(digits), value).ptr);
    };
    if (!options.data.directory.empty()) {
        std::string quoted;
        for (const char c : options.data.directory) quoted += c == '\'' ? "'\\''" : std::string(1, c);
        add("data", '\'' + quoted + '\'');
    }
    add("layers", layers_text(model.layers, ','));
    if (model.activation != usual.activation) add("activation", model.activation);
    if (model.init != usual.init) add("init", model.init);
    if (model.batch_norm) text += " --batch-norm";
    if (model.dropout > 0) add("dropout", number(model.dropout));
    add("optimizer", model.optimizer);
    if (model.momentum) add("momentum", number(*model.momentum));
    add("schedule", model.schedule);
    if (model.clip_norm > 0) add("clip-norm", number(model.clip_norm));
    if (model.clip_value > 0) add("clip-value", number(model.clip_value));
    add("batch", std::to_string(model.batch));
    add("epochs", std::to_string(trial.epochs));
    add("learning-rate", number(trial.values[0]));
    add("weight-decay", number(trial.values[1]));
    return text;
}

/// The memory in which one job trains. A schedule spans a trial that is not given up, so that the early rungs train the
/// beginning of it.
struct Job {
    Job(const TrainingData& data, const ModelOptions& model, std::uint32_t epochs)
        : batches(data, model), learner(build(model, iterations(epochs))), probe(model.batch, data.dataset().train.images.image_size()) {}
    [[nodiscard]] std::uint32_t iterations(std::uint32_t epochs) const {
        const std::uint32_t most = 0xFFFFFFFF / batches.per_epoch();
        if (epochs > most)
            throw Error("--epochs", std::to_string(epochs), "at most " + std::to_string(most) + " (2^32 iterations)");
        return epochs * batches.per_epoch();
    }
    TrainingBatches batches;
    Learner learner;
    Batch probe;
};

class SearchRun {
  public:
    explicit SearchRun(const SearchOptions& options)
        : options_(options),
          data_(options.data, options.model),
          trials_(options.plan.trials),
          best_(std::max(options.keep, options.plan.rounds > 1 ? options.plan.parents : 1)),
          console_(options.json != "-") {
        if (!options.json.empty()) json_.emplace("--json", options.json);
        for (std::uint32_t j = std::min(options.jobs, options.plan.trials); j > 0; --j)
            jobs_.push_back(std::make_unique<Job>(data_, options.model, options.plan.epochs));
        search_ = Search::start(options.plan, options.ranges, Random(Seed{options.model.seed}, trial_stream), trials_, best_)
                      .value();
    }

    void run() {
        introduce();
        if (StopSignals::any()) throw CLI::RuntimeError(StopSignals::exit_code());
        begin_ = next_progress_ = Clock::now();
        run_search(
            search_, static_cast<unsigned>(jobs_.size()),
            [this](unsigned job, const Trial& trial) {
                const Counted counted(allocations_);
                return train(*jobs_[job], trial);
            },
            [this](const Trial& trial) {
                const Counted counted(allocations_);
                report(trial);
            });
        seconds_ = std::chrono::duration<double>(Clock::now() - begin_).count();
        finish();
    }

  private:
    /// Allocates nothing. NaN: the trial failed, or somebody wants the work to end.
    float train(Job& job, const Trial& trial) noexcept {
        constexpr float failed = std::numeric_limits<float>::quiet_NaN();
        TrainingSession& session = job.learner.session();
        // Start values, masks and orders of its own, the same ones in every rung.
        const Seed seed{Random(Seed{options_.model.seed}, trial_stream + 1).bits(trial.index)};
        session.initialize(seed);
        session.set_learning_rate(trial.values[0]);
        session.set_weight_decay(trial.values[1]);
        job.batches.restart(seed);
        for (std::uint64_t i = std::uint64_t{trial.epochs} * job.batches.per_epoch(); i > 0; --i) {
            if (StopSignals::any()) return failed;
            const Batch& batch = job.batches.next();
            const float loss = session.step(batch.inputs(), batch.labels());
            samples_.fetch_add(batch.rows(), std::memory_order_relaxed);
            if (!std::isfinite(loss)) return failed;
        }
        std::uint32_t correct = 0;
        for (std::uint32_t i = 0; i < data_.validation(); i += job.probe.rows()) {
            job.probe.take(data_.dataset().train, i, std::min(job.probe.capacity(), data_.validation() - i),
                           [this](std::uint32_t k) { return data_.validation_index(k); });
            const Evaluation evaluation = session.evaluate(job.probe.inputs(), job.probe.labels());
            if (!std::isfinite(evaluation.loss)) return failed;
            correct += evaluation.correct;
        }
        return static_cast<float>(correct) / static_cast<float>(data_.validation());
    }

    /// One at a time, as the trials end: with several jobs the order varies, and nothing else. Allocates nothing.
    void report(const Trial& trial) {
        ++reported_;
        epochs_ += trial.epochs;
        if (json_) {
            Line line;
            std::uint32_t rung = 0;
            while (options_.plan.rung_epochs(rung) != trial.epochs) ++rung;
            line.print("{\"event\":\"trial\",\"trial\":%u,\"round\":%u,\"rung\":%u,\"epochs\":%u", trial.index,
                       trial.index / options_.plan.trials + 1, rung + 1, trial.epochs);
            for (std::size_t d = 0; d < dimensions; ++d)
                line.print(",\"%s\":", names[d]).json(wide(trial.values[d]));
            line.print(",\"validation_accuracy\":").json(wide(trial.score));
            json_->write(line.print("}\n").view());
        }
        if (search_.round() != round_ && !search_.finished()) {
            round_ = search_.round();
            Line line;
            const auto ranges = search_.ranges();
            line.print("round %u of %u  learning rate %.3g to %.3g  weight decay %.3g to %.3g", round_ + 1,
                       options_.plan.rounds, wide(ranges[0].low), wide(ranges[0].high), wide(ranges[1].low), wide(ranges[1].high));
            console_.line(line.view());
            write_round();
        }
        progress();
    }

    void write_round() {
        if (!json_) return;
        Line line;
        line.print("{\"event\":\"round\",\"round\":%u", round_ + 1);
        for (std::size_t d = 0; d < dimensions; ++d) {
            line.print(",\"%s\":[", names[d]).json(wide(search_.ranges()[d].low));
            line.print(",").json(wide(search_.ranges()[d].high)).print("]");
        }
        json_->write(line.print("}\n").view());
    }

    void progress() {
        const Clock::time_point now = Clock::now();
        if (now < next_progress_) return;
        next_progress_ = now + (console_.live() ? std::chrono::milliseconds(100) : std::chrono::seconds(5));
        const double seconds = std::chrono::duration<double>(now - begin_).count();
        const double share = static_cast<double>(epochs_) / static_cast<double>(options_.plan.total_epochs());
        Line line;
        line.print("round %u  %u trials done, %.0f %% of all  best ", round_ + 1, reported_, 100 * share);
        const auto best = search_.best();
        if (best.empty() || best[0].failed())
            line.print("none");
        else
            line.print("%.2f %% (learning rate %.3g)", 100 * wide(best[0].score), wide(best[0].values[0]));
        line.print("  %.0f samples/s  %.0f s left",
                   static_cast<double>(samples_.load(std::memory_order_relaxed)) / std::max(seconds, 1e-9),
                   share > 0 ? seconds / share - seconds : 0.0);
        console_.live() ? console_.status(line.view()) : console_.line(line.view());
    }

    void introduce() {
        const Totals& totals = *jobs_.front()->learner.program().totals;
        console_.line("data      " + data_.dataset().name + ", " + grouped(data_.training()) + " training, " +
                      grouped(data_.validation()) + " validation images");
        console_.line("network   " + layers_text(options_.model.layers) + ' ' + options_.model.activation + ", " +
                      options_.model.optimizer + ", batch " + std::to_string(options_.model.batch) + ", " + name(active_isa()));
        const SearchPlan& plan = options_.plan;
        std::string text = std::to_string(plan.rounds) + (plan.rounds == 1 ? " round of " : " rounds of ") +
                           grouped(plan.trials) + " trials, up to " + grouped(plan.epochs) + " epochs each";
        if (plan.rungs() > 1) {
            text += "; given up:";
            for (std::uint32_t r = 0; r + 1 < plan.rungs(); ++r)
                text += (r == 0 ? " " : ", ") + std::to_string(plan.rung_trials(r) - plan.rung_trials(r + 1)) + " after " +
                        std::to_string(plan.rung_epochs(r));
        }
        console_.line("plan      " + text + "; " + grouped(plan.total_epochs()) + " epochs in all");
        console_.line("ranges    learning rate " + text_of(options_.ranges[0]) + ", weight decay " + text_of(options_.ranges[1]));
        const std::size_t jobs = jobs_.size();
        console_.line("memory    " + std::to_string(jobs) + (jobs == 1 ? " model of " : " models of ") +
                      grouped(totals.arena_bytes) + " bytes, for all trials");
        if (!json_) return;
        json_->write(nlohmann::ordered_json{{"event", "plan"},
                                            {"trials", plan.trials},
                                            {"epochs", plan.epochs},
                                            {"rounds", plan.rounds},
                                            {"eta", plan.eta},
                                            {"total_epochs", plan.total_epochs()},
                                            {"training", data_.training()},
                                            {"validation", data_.validation()},
                                            {"jobs", jobs},
                                            {"arena_bytes", totals.arena_bytes},
                                            {"total_arena_bytes", jobs * totals.arena_bytes}}
                         .dump() +
                     '\n');
        write_round();
    }

    void finish() {
        const std::span<const Trial> found = search_.best().first(std::min<std::size_t>(options_.keep, search_.best().size()));
        Table table({{"rank"}, {"trial"}, {"validation"}, {"learning rate"}, {"weight decay"}, {"epochs"}});
        nlohmann::ordered_json best = nlohmann::json::array();
        std::uint64_t digest = hashed({});
        for (std::size_t i = 0; i < found.size(); ++i) {
            const Trial& trial = found[i];
            const auto print = [](const char* format, double value) {
                char text[32];
                std::snprintf(text, sizeof(text), format, value);
                return std::string(text);
            };
            table.row({std::to_string(i + 1), std::to_string(trial.index),
                       trial.failed() ? "diverged" : print("%.2f %%", 100 * wide(trial.score)),
                       print("%.4g", wide(trial.values[0])), print("%.4g", wide(trial.values[1])),
                       std::to_string(trial.epochs)});
            nlohmann::ordered_json object{{"trial", trial.index}, {"epochs", trial.epochs}};
            for (std::size_t d = 0; d < dimensions; ++d) object[names[d]] = trial.values[d];
            object["validation_accuracy"] = nullptr;
            if (!trial.failed()) object["validation_accuracy"] = trial.score;
            best.push_back(object);
            digest = hashed(trial.values, digest);
            const std::array rest{trial.score, static_cast<float>(trial.epochs), static_cast<float>(trial.index)};
            digest = hashed(rest, digest);
        }
        Line hash;
        hash.print("%016llx", static_cast<unsigned long long>(digest));
        nlohmann::ordered_json done{{"event", "done"},        {"best", best},
                                    {"trials", reported_},    {"seconds", seconds_},
                                    {"heap_allocations", nullptr}, {"digest", hash.view()}};
        if (thread_heap_allocations()) done["heap_allocations"] = allocations_.load();
        if (StopSignals::any()) done["interrupted"] = true;
        if (json_) {
            json_->write(done.dump() + '\n');
            json_->commit();
        }
        if (StopSignals::any()) console_.line("interrupted after " + grouped(reported_) + " trials");
        if (!found.empty()) console_.line(table.text());
        if (!found.empty() && !found[0].failed()) {
            Line line;
            line.print("best      validation accuracy %.2f %%, to be trained with", 100 * wide(found[0].score));
            console_.line(line.view());
            console_.line("          " + train_command(options_, found[0]));
        }
        console_.line("heap      " + (thread_heap_allocations() ? grouped(allocations_) + " allocations" : "not counted") +
                      " from the first step of the first trial to the last");
        Line line;
        line.print("time      %.2f s, %.0f samples/s in training", seconds_,
                   static_cast<double>(samples_.load()) / std::max(seconds_, 1e-9));
        console_.line(line.view());
        console_.line("digest    " + std::string(hash.view()));
    }

    const SearchOptions& options_;
    TrainingData data_;
    std::vector<Trial> trials_, best_;
    Console console_;
    std::optional<OutputFile> json_;
    std::vector<std::unique_ptr<Job>> jobs_;
    Search search_;
    std::atomic<std::uint64_t> samples_{0};
    std::uint32_t reported_ = 0, round_ = 0;
    std::uint64_t epochs_ = 0;
    std::atomic<std::uint64_t> allocations_{0};  ///< of all threads, in trainings and reports
    Clock::time_point begin_, next_progress_;
    double seconds_ = 0;
};

}  // namespace

void add_search_command(CLI::App& app) {
    CLI::App* const command =
        app.add_subcommand("search", "Try learning rates and weight decays at random and list the best");
    const auto options = std::make_shared<SearchOptions>();
    add_data_options(*command, options->data);
    add_model_options(*command, options->model, false);
    const auto range = [&](const char* name, const char* help, Range& value) {
        add_text(*command, name, help, [name, &value](const std::string& given) { value = parse_range(name, given); })
            ->type_name("LOW:HIGH");
    };
    range("--learning-rate", "log-uniform; LOW:HIGH:linear: uniform; one number: that (default: 1e-6:1e-2)",
          options->ranges[0]);
    range("--weight-decay", "likewise (default: 1e-8:1e-4)", options->ranges[1]);
    const auto count = [&](const char* name, const char* help, std::uint32_t& value, std::uint32_t most) {
        add_text(*command, name, help,
                 [name, most, &value](const std::string& given) {
                     value = static_cast<std::uint32_t>(parse_count(name, given, 1, most));
                 })
            ->type_name("N")
            ->default_str(std::to_string(value));
    };
    constexpr std::uint32_t most_trials = 1000000;
    count("--trials", "of a round", options->plan.trials, most_trials);
    count("--epochs", "of a trial that is not given up", options->plan.epochs, 0xFFFFFF);
    count("--rounds", "each in narrower ranges than the one before", options->plan.rounds, 1000);
    count("--parents", "so many of the best trials span the ranges of the next round", options->plan.parents, most_trials);
    count("--eta", "successive halving: one of N trials goes on to N times the epochs; 1: none is given up",
          options->plan.eta, 1000);
    count("--first-epochs", "before any trial is given up", options->plan.first_epochs, 0xFFFFFF);
    count("--keep", "trials in the list of the best", options->keep, most_trials);
    count("--jobs", "trials at a time; the same result for any number (default: the processors)", options->jobs, 1024);
    add_text(*command, "--json", "write what happens as JSON, an object a line; -: to standard output",
             [options](const std::string& given) {
                 if (given.empty()) throw Error("--json", "nothing", "a file");
                 options->json = given;
             })
        ->type_name("FILE");
    command->callback([options] {
        if (options->plan.first_epochs > options->plan.epochs)
            throw Error("--first-epochs", std::to_string(options->plan.first_epochs),
                        "at most --epochs, " + std::to_string(options->plan.epochs));
        const StopSignals signals;
        SearchRun(*options).run();
        if (StopSignals::any()) throw CLI::RuntimeError(StopSignals::exit_code());
    });
}

}  // namespace ferrite::host
