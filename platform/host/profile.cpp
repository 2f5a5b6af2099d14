// SPDX-License-Identifier: MIT
// `ferrite profile`: the time of every step of a program, taken while it trains.
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>

#include "output.hpp"
#include "steps.hpp"
#include "table.hpp"
#include "train.hpp"

namespace ferrite::host {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

// Steps of training before the clock runs: pages are touched, caches and the processor's clock settle.
constexpr std::uint32_t warm_up = 10;

struct ProfileOptions {
    ModelOptions model;
    DataOptions data;
    std::uint32_t steps = 300;
    std::string json;
};

double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

/// Times of one kind, in us.
struct Times {
    double mean = 0, median = 0, min = 0;
};

Times summary(std::vector<float> times) {
    const auto half = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), half, times.end());
    return {std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size()),
            static_cast<double>(*half),
            static_cast<double>(*std::min_element(times.begin(), times.end()))};
}

/// Keeps the time of every call of every step, without a heap allocation after the start.
class Stopwatch {
  public:
    Stopwatch(std::size_t steps, std::size_t calls) : times_(steps) {
        for (auto& times : times_) times.reserve(calls);
    }
    [[nodiscard]] Observer observer() {
        return {
            this, [](void* self, std::size_t) { static_cast<Stopwatch*>(self)->begin_ = Clock::now(); },
            [](void* self, std::size_t step) {
                auto& watch = *static_cast<Stopwatch*>(self);
                watch.times_[step].push_back(static_cast<float>(microseconds(Clock::now() - watch.begin_)));
            }};
    }
    [[nodiscard]] const std::vector<float>& times(std::size_t step) const { return times_[step]; }

  private:
    Clock::time_point begin_;
    std::vector<std::vector<float>> times_;
};

/// What watching costs, in us a step.
struct Overhead {
    double whole = 0;   ///< both calls of the observer
    double inside = 0;  ///< the part that counts as time of the step
};

Overhead measure_overhead() {
    constexpr std::size_t calls = 20000;
    Stopwatch watch(1, calls);
    const Observer observer = watch.observer();
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < calls; ++i) {
        observer.before(observer.context, 0);
        observer.after(observer.context, 0);
    }
    const double whole = microseconds(Clock::now() - begin) / static_cast<double>(calls);
    return {whole, summary(watch.times(0)).mean};
}

/// Bytes that a step reads and writes. Each operand counts once, one that stands twice as input and output
/// twice; what an optimizer updates is read and written.
std::uint64_t bytes_moved(const ProgramView& program, const Step& step) {
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < std::size(step.operand); ++i) {
        if (step.operand[i] == no_buffer) continue;
        const bool updated = step.run == &run_update && (i == 0 || i == 3 || i == 4);
        bytes += std::uint64_t{program.buffers[step.operand[i]].bytes} * (updated ? 2 : 1);
    }
    return bytes;
}

/// A step of the program and what was measured of it.
struct Row {
    std::size_t index = 0;
    std::size_t calls = 0;
    Times us;
    double flops = 0, bytes = 0;  ///< a call

    [[nodiscard]] double gflops() const { return flops / us.median / 1e3; }
    [[nodiscard]] double gbytes() const { return bytes / us.median / 1e3; }
};

struct Profile {
    std::vector<Row> rows;
    Times gather, whole;
    double steps = 0;     ///< us, the sum of the steps' means
    double executor = 0;  ///< us, what is left of the whole
    Overhead overhead;
};

Profile measure(const ProfileOptions& options, TrainingBatches& batches, Learner& learner) {
    const ProgramView& program = learner.program();
    const std::size_t pass = pass_length(program);
    TrainingSession& session = learner.session();
    session.initialize(Seed{options.model.seed});
    for (std::uint32_t i = 0; i < warm_up; ++i) {
        const Batch& batch = batches.next();
        session.step(batch.inputs(), batch.labels());
    }
    Stopwatch watch(pass, options.steps);
    const Observer observer = watch.observer();
    std::vector<float> gather, whole;
    gather.reserve(options.steps);
    whole.reserve(options.steps);
    while (whole.size() < options.steps) {
        const auto begin = Clock::now();
        const Batch& batch = batches.next();
        const auto gathered = Clock::now();
        // The last batch of an epoch may be smaller; it is learned from, but not counted.
        const bool counts = batch.rows() == options.model.batch;
        session.observe(counts ? &observer : nullptr);
        session.step(batch.inputs(), batch.labels());
        if (!counts) continue;
        whole.push_back(static_cast<float>(microseconds(Clock::now() - begin)));
        gather.push_back(static_cast<float>(microseconds(gathered - begin)));
    }
    session.observe(nullptr);

    Profile profile{
        .rows = {}, .gather = summary(gather), .whole = summary(whole), .overhead = measure_overhead()};
    for (std::size_t s = 0; s < pass; ++s) {
        const Step& step = program.steps[s];
        profile.rows.push_back({.index = s,
                                .calls = watch.times(s).size(),
                                .us = summary(watch.times(s)),
                                .flops = static_cast<double>(step.flops) * options.model.batch,
                                .bytes = static_cast<double>(bytes_moved(program, step))});
        profile.steps += profile.rows.back().us.mean;
    }
    profile.executor = profile.whole.mean - profile.gather.mean - profile.steps;
    return profile;
}

std::string fixed(const char* format, double value) {
    char text[32];
    std::snprintf(text, sizeof(text), format, value);
    return text;
}
std::string us(double value) { return fixed("%.2f", value); }

std::string profile_table(const Profile& profile, const ProgramView& program,
                          const std::vector<std::string>& layers) {
    using enum Table::Align;
    Table table({{"step"},
                 {"name", left},
                 {"fused map", left},
                 {"optimizer", left},
                 {"layer", left},
                 {"calls"},
                 {"median us"},
                 {"min us"},
                 {"mean us"},
                 {"share %"},
                 {"GFLOP/s"},
                 {"GB/s"}});
    const auto share = [&](double mean) { return fixed("%.1f", 100 * mean / profile.whole.mean); };
    double flops = 0;
    for (const Row& row : profile.rows) {
        const Step& step = program.steps[row.index];
        const bool computes = step.flops != 0;
        flops += row.flops;
        table.row({std::to_string(row.index), step.name, fused_map(step), optimizer_in(step),
                   layers[step.layer], grouped(row.calls), us(row.us.median), us(row.us.min), us(row.us.mean),
                   share(row.us.mean), computes ? fixed("%.1f", row.gflops()) : "-",
                   computes ? "-" : fixed("%.1f", row.gbytes())});
    }
    table.rule();
    const auto sum = [&](const char* what, double mean, const std::string& median, const std::string& min,
                         const std::string& rate) {
        table.row({"", what, "", "", "", "", median, min, us(mean), share(mean), rate, ""});
    };
    sum("all steps", profile.steps, "", "", fixed("%.1f", flops / profile.steps / 1e3));
    sum("gathering the batch", profile.gather.mean, us(profile.gather.median), us(profile.gather.min), "");
    sum("executor, clock", profile.executor, "", "", "");
    table.rule();
    sum("whole iteration", profile.whole.mean, us(profile.whole.median), us(profile.whole.min),
        fixed("%.1f", flops / profile.whole.mean / 1e3));
    return table.text();
}

ordered_json to_json(const Times& times) {
    return {{"mean_us", times.mean}, {"median_us", times.median}, {"min_us", times.min}};
}

std::string json_text(const Profile& profile, const ProgramView& program,
                      const std::vector<std::string>& layers, std::uint32_t threads) {
    ordered_json steps = ordered_json::array();
    for (const Row& row : profile.rows) {
        const Step& step = program.steps[row.index];
        ordered_json object{{"step", row.index},           {"name", step.name},
                            {"map", fused_map(step)},      {"optimizer", optimizer_in(step)},
                            {"layer", layers[step.layer]}, {"calls", row.calls}};
        object.update(to_json(row.us));
        object["share"] = row.us.mean / profile.whole.mean;
        if (step.flops != 0)
            object["gflops"] = row.gflops();
        else
            object["gbytes_per_second"] = row.gbytes();
        steps.push_back(std::move(object));
    }
    const ordered_json object{
        {"event", "profile"},
        {"isa", name(active_isa())},
        {"batch", program.totals->batch},
        {"threads", threads},
        {"steps", steps},
        {"all_steps_us", profile.steps},
        {"gather", to_json(profile.gather)},
        {"executor_us", profile.executor},
        {"whole", to_json(profile.whole)},
        {"observer", {{"us_per_step", profile.overhead.whole}, {"us_inside_step", profile.overhead.inside}}}};
    return object.dump() + '\n';
}

void profile_command(const ProfileOptions& options) {
    const TrainingData data(options.data, options.model);
    TrainingBatches batches(data, options.model);
    Learner learner(build(options.model, options.steps + warm_up));
    std::optional<OutputFile> json;
    if (!options.json.empty()) json.emplace("--json", options.json);
    Console console(options.json != "-");

    const Profile profile = measure(options, batches, learner);
    const std::vector<std::string> layers = layer_names(learner.built().layers);
    if (json) {
        json->write(json_text(profile, learner.program(), layers, options.model.threads));
        json->commit();
    }
    console.line(layers_text(options.model.layers) + ", " + options.model.activation + ", " +
                 options.model.optimizer + ", batch " + grouped(options.model.batch) + ", " +
                 name(active_isa()) + threads_text(options.model.threads) + "; " + grouped(options.steps) + " iterations on " +
                 data.dataset().name + " after " + std::to_string(warm_up) + " to warm up\n");
    console.line(profile_table(profile, learner.program(), layers) + '\n');
    console.line(
        "Shares are of the mean, rates of the median. GFLOP/s: multiplications and additions of matrix "
        "products. "
        "GB/s: bytes of all operands.");
    const double watching = profile.overhead.whole * static_cast<double>(profile.rows.size());
    console.line("Watching costs " + fixed("%.3f", profile.overhead.whole) + " us a step, " +
                 fixed("%.3f", profile.overhead.inside) + " us of it within the step's time; " +
                 us(watching) + " us an iteration, " + fixed("%.2f", 100 * watching / profile.whole.mean) +
                 " % of it.");
}

}  // namespace

void add_profile_command(CLI::App& app) {
    CLI::App* const command =
        app.add_subcommand("profile", "Train for a while and show the time of every step");
    const auto options = std::make_shared<ProfileOptions>();
    add_data_options(*command, options->data);
    add_model_options(*command, options->model);
    add_text(*command, "--steps", "iterations that are timed",
             [options](const std::string& given) {
                 options->steps = static_cast<std::uint32_t>(parse_count("--steps", given, 1, 100000));
             })
        ->type_name("N")
        ->default_str(std::to_string(options->steps));
    add_text(*command, "--json", "write the result as one JSON object; -: to standard output",
             [options](const std::string& given) {
                 if (given.empty()) throw Error("--json", "nothing", "a file");
                 options->json = given;
             })
        ->type_name("FILE");
    command->callback([options] { profile_command(*options); });
}

}  // namespace ferrite::host
