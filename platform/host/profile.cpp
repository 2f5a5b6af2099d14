// SPDX-License-Identifier: MIT
// `ferrite profile`: the time of every step of a program, taken while it trains, and the time that this machine needs
// at least.
#include <algorithm>
#include <array>
#include <bench/limits.hpp>
#include <chrono>
#include <fstream>
#include <functional>
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

// The limits are measured this often, spread over the run; what they put into the caches is out of them after two more
// steps, which do not count.
constexpr std::uint32_t rounds = 20;
constexpr int settling = 2;

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
    constexpr std::size_t calls = 1000;
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

double median(std::vector<double> values) {
    const auto half = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), half, values.end());
    return *half;
}

// ---- the limits of the machine

constexpr std::size_t level_count = 4;
constexpr const char* level_name[level_count] = {"L1", "L2", "L3", "memory"};
using PerLevel = std::array<double, level_count>;

/// Bytes of the data caches, 0 for memory: as Linux tells, or the usual ones.
std::array<std::size_t, level_count> cache_sizes() {
    std::array<std::size_t, level_count> size{32 << 10, 512 << 10, 8 << 20, 0};
    for (int index = 0; index < 8; ++index) {
        const std::string directory =
            "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + '/';
        std::size_t level = 0, kibibytes = 0;
        std::string type;
        std::ifstream(directory + "level") >> level;
        std::ifstream(directory + "type") >> type;
        std::ifstream(directory + "size") >> kibibytes;
        if (level >= 1 && level < level_count && type != "Instruction" && kibibytes != 0)
            size[level - 1] = kibibytes << 10;
    }
    return size;
}

/// Work for which we know no faster code, and how much of it a microsecond does.
class Limit {
  public:
    Limit(double work, std::function<void()> run) : work_(work), run_(std::move(run)) {}

    void measure() {
        constexpr double block_us = 50;  // a thousand times what reading the clock costs
        if (calls_ == 0)
            for (calls_ = 1; time() < block_us; calls_ *= 2) {}
        run_();
        rates_.push_back(work_ * static_cast<double>(calls_) / time());
    }
    [[nodiscard]] double rate() const { return median(rates_); }

  private:
    [[nodiscard]] double time() const {
        const auto begin = Clock::now();
        for (std::size_t i = 0; i < calls_; ++i) run_();
        return microseconds(Clock::now() - begin);
    }
    double work_;
    std::function<void()> run_;
    std::size_t calls_ = 0;
    std::vector<double> rates_;
};

/// Bytes that a step reads and writes, by the level of memory that they come from.
struct Traffic {
    PerLevel read{}, written{};

    [[nodiscard]] double bytes() const {
        return std::accumulate(read.begin(), read.end(), 0.0) +
               std::accumulate(written.begin(), written.end(), 0.0);
    }
};

/// The least time of a step, and what forbids a shorter one.
struct Bound {
    double us = 0;
    std::string name;
};

/// The FMA peak, and reading and writing in the levels of memory that a program uses. Writing is measured in place: no
/// store is cheaper than one to a line that is read as well.
class Limits {
  public:
    Limits() {
        constexpr std::size_t flops = 256 * bench::multiply_add_round;
        fma_.emplace(static_cast<double>(flops), [] {
            float result;
            bench::multiply_add({.flops = flops, .factor = 0.5f, .addend = 1.0f, .result = &result});
        });
    }

    Limits(const Limits&) = delete;
    Limits& operator=(const Limits&) = delete;

    /// The nearest level that holds this many bytes; from here on it is one that prepare() cares for.
    [[nodiscard]] std::size_t level(std::size_t bytes) {
        std::size_t l = 0;
        while (l + 1 < level_count && bytes > cache_[l]) ++l;
        farthest_[l] = std::max(farthest_[l], bytes);
        return l;
    }
    void prepare() {
        for (std::size_t l = 0; l < level_count; ++l) {
            if (farthest_[l] == 0) continue;
            // As much as there is to hold, but half a cache, so that the rest of the process has room, and more than
            // the cache before it has.
            std::size_t bytes = cache_[l] / 2;
            if (l + 1 == level_count) bytes = 4 * cache_[l - 1];
            else if (l > 0) bytes = std::min(bytes, std::max(2 * cache_[l - 1], farthest_[l]));
            const std::size_t size = bytes / sizeof(float) / 128 * 128;
            if (memory_.size() < size + line) memory_.resize(size + line, 1.0f);
            read_[l].emplace(static_cast<double>(size * sizeof(float)), [this, size] {
                float result;
                bench::read({.x = memory(), .size = size, .result = &result});
            });
            write_[l].emplace(static_cast<double>(size * sizeof(float)), [this, size] {
                bench::move({.operand = {memory(), memory(), nullptr, nullptr},
                             .stride = {},
                             .rows = 1,
                             .columns = size,
                             .constants = nullptr});
            });
        }
    }
    void measure() {
        fma_->measure();
        for (std::size_t l = 0; l < level_count; ++l) {
            if (!read_[l]) continue;
            read_[l]->measure();
            write_[l]->measure();
        }
    }
    /// A step multiplies and adds while it reads and writes, so the slowest of the three decides.
    [[nodiscard]] Bound bound(double flops, const Traffic& traffic) const {
        Bound bound{flops / fma_->rate(), "FMA"};
        const auto compare = [&](const char* what, const PerLevel& bytes, const auto& limit) {
            double sum = 0, largest = 0;
            std::size_t of = 0;
            for (std::size_t l = 0; l < level_count; ++l) {
                if (bytes[l] == 0) continue;
                const double us = bytes[l] / limit[l]->rate();
                sum += us;
                if (us > largest) largest = us, of = l;
            }
            if (sum > bound.us) bound = {sum, std::string(what) + ' ' + level_name[of]};
        };
        compare("read", traffic.read, read_);
        compare("write", traffic.written, write_);
        return bound;
    }
    [[nodiscard]] ordered_json json() const {
        ordered_json read, write;
        for (std::size_t l = 0; l < level_count; ++l) {
            if (!read_[l]) continue;
            read[level_name[l]] = read_[l]->rate() / 1e3;
            write[level_name[l]] = write_[l]->rate() / 1e3;
        }
        return {{"fma_gflops", fma_->rate() / 1e3},
                {"read_gbytes_per_second", read},
                {"write_gbytes_per_second", write}};
    }

  private:
    static constexpr std::size_t line = buffer_alignment / sizeof(float);
    /// Starts at a cache line, as an arena does.
    [[nodiscard]] float* memory() {
        const std::size_t behind = reinterpret_cast<std::uintptr_t>(memory_.data()) / sizeof(float) % line;
        return memory_.data() + (line - behind) % line;
    }

    std::array<std::size_t, level_count> cache_ = cache_sizes(), farthest_{};
    std::vector<float> memory_;
    std::optional<Limit> fma_, read_[level_count], write_[level_count];
};

/// Whether a step has to read and to write an operand, of which it may have none.
struct Access {
    bool read = false, written = false;
};

Access access(const ProgramView& program, const Step& step, std::size_t k) {
    if (step.operand[k] == no_buffer) return {};
    const Buffer& buffer = program.buffers[step.operand[k]];
    const bool state = buffer.region == Region::parameters || buffer.region == Region::optimizer;
    if (step.update != nullptr && state) return {true, true};
    // Its own scratch memory, which stays where the step works.
    if (buffer.region == Region::planned && buffer.first == buffer.last) return {};
    // Named, but needed for dx and for an update alone.
    if (dense_detail::is_backward(step.run) && (k == 4 || (k == 3 && step.operand[0] == no_buffer))) return {};
    const bool written = k == 0 || (buffer.region == Region::gradients && k != 1);
    return {!written, written};
}

/// The bytes that the steps behind the last one that has touched this operand of step s touch, up to step s: a cache of
/// that size still holds it. Steps follow each other in a ring; the input is touched by what gathers it.
std::size_t bytes_since(const ProgramView& program, std::size_t s, BufferId id) {
    const std::size_t pass = pass_length(program);
    // A buffer that lies over another one is the same memory.
    const auto memory = [&](BufferId b) {
        return b != no_buffer && program.buffers[b].over != no_buffer ? program.buffers[b].over : b;
    };
    std::vector<bool> seen(program.buffers.size());
    std::size_t bytes = 0;
    for (std::size_t back = 0; back < pass; ++back) {
        if (back > s && program.buffers[id].region == Region::input) break;
        const Operands& touched = program.steps[(s + pass - back) % pass].operand;
        const auto same = [&](BufferId other) { return memory(other) == memory(id); };
        if (back > 0 && std::any_of(touched.begin(), touched.end(), same)) break;
        for (const BufferId other : touched) {
            if (other == no_buffer || seen[memory(other)]) continue;
            seen[memory(other)] = true;
            bytes += program.buffers[memory(other)].bytes;
        }
    }
    return bytes;
}

/// Every operand counts once, those that an update changes twice.
Traffic traffic_of(const ProgramView& program, std::size_t s, Limits& limits) {
    Traffic traffic;
    const Step& step = program.steps[s];
    for (std::size_t k = 0; k < std::size(step.operand); ++k) {
        const auto [read, written] = access(program, step, k);
        if (!read && !written) continue;
        const std::size_t level = limits.level(bytes_since(program, s, step.operand[k]));
        const double bytes = program.buffers[step.operand[k]].bytes;
        if (read) traffic.read[level] += bytes;
        if (written) traffic.written[level] += bytes;
    }
    return traffic;
}

// ---- the profile

/// A step of the program and what was measured of it.
struct Row {
    std::size_t index = 0;
    std::size_t calls = 0;
    Times us;
    double flops = 0, bytes = 0;  ///< a call
    Bound bound;

    [[nodiscard]] double gflops() const { return flops / us.median / 1e3; }
    [[nodiscard]] double gbytes() const { return bytes / us.median / 1e3; }
    [[nodiscard]] double of_limit() const { return bound.us / us.median; }
};

struct Profile {
    std::vector<Row> rows;
    Times gather, whole;
    double steps = 0;     ///< us, the sum of the steps' means
    double watching = 0;  ///< us, the observer
    double executor = 0;  ///< us, what is left of the whole
    double steps_median = 0, flops = 0, bound = 0;  ///< the sums of the steps' own
    Overhead overhead;
    ordered_json limits;
};

/// Without what watching has added; the clock counts whole nanoseconds.
Times without(double overhead, const Times& times) {
    const auto left = [overhead](double time) { return std::max(time - overhead, 1e-3); };
    return {left(times.mean), left(times.median), left(times.min)};
}

Profile measure(const ProfileOptions& options, TrainingBatches& batches, Learner& learner) {
    const ProgramView& program = learner.program();
    const std::size_t pass = pass_length(program);
    TrainingSession& session = learner.session();
    session.initialize(Seed{options.model.seed});
    Limits limits;
    std::vector<Traffic> traffic;
    for (std::size_t s = 0; s < pass; ++s) traffic.push_back(traffic_of(program, s, limits));
    limits.prepare();
    for (std::uint32_t i = 0; i < warm_up; ++i) {
        const Batch& batch = batches.next();
        session.step(batch.inputs(), batch.labels());
    }
    Stopwatch watch(pass, options.steps);
    const Observer observer = watch.observer();
    std::vector<float> gather, whole;
    gather.reserve(options.steps);
    whole.reserve(options.steps);
    std::vector<double> watched, inside;
    std::size_t next_round = 0;
    int settle = 0;
    while (whole.size() < options.steps) {
        if (whole.size() >= next_round) {
            limits.measure();
            const Overhead overhead = measure_overhead();
            watched.push_back(overhead.whole);
            inside.push_back(overhead.inside);
            next_round += (options.steps - 1) / rounds + 1;
            settle = settling;
        }
        const auto begin = Clock::now();
        const Batch& batch = batches.next();
        const auto gathered = Clock::now();
        // The last batch of an epoch may be smaller; it is learned from, but not counted.
        const bool counts = batch.rows() == options.model.batch && settle-- <= 0;
        session.observe(counts ? &observer : nullptr);
        session.step(batch.inputs(), batch.labels());
        if (!counts) continue;
        whole.push_back(static_cast<float>(microseconds(Clock::now() - begin)));
        gather.push_back(static_cast<float>(microseconds(gathered - begin)));
    }
    session.observe(nullptr);

    Profile profile;
    profile.gather = summary(gather);
    profile.whole = summary(whole);
    profile.overhead = {median(watched), median(inside)};
    profile.limits = limits.json();
    for (std::size_t s = 0; s < pass; ++s) {
        const double flops = static_cast<double>(program.steps[s].flops) * options.model.batch;
        const Row& row = profile.rows.emplace_back(
            Row{.index = s,
                .calls = watch.times(s).size(),
                .us = without(profile.overhead.inside, summary(watch.times(s))),
                .flops = flops,
                .bytes = traffic[s].bytes(),
                .bound = limits.bound(flops, traffic[s])});
        profile.steps += row.us.mean;
        profile.steps_median += row.us.median;
        profile.flops += row.flops;
        profile.bound += row.bound.us;
    }
    profile.watching = profile.overhead.whole * static_cast<double>(pass);
    profile.executor = profile.whole.mean - profile.gather.mean - profile.steps - profile.watching;
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
                 {"median us"},
                 {"min us"},
                 {"mean us"},
                 {"share %"},
                 {"GFLOP/s"},
                 {"GB/s"},
                 {"limit", left},
                 {"% of it"}});
    const auto percent = [](double share) { return fixed("%.1f", 100 * share); };
    const auto share = [&](double mean) { return percent(mean / profile.whole.mean); };
    for (const Row& row : profile.rows) {
        const Step& step = program.steps[row.index];
        table.row({std::to_string(row.index), step.name, fused_map(step), optimizer_in(step),
                   layers[step.layer], us(row.us.median), us(row.us.min), us(row.us.mean), share(row.us.mean),
                   step.flops != 0 ? fixed("%.1f", row.gflops()) : "-", fixed("%.1f", row.gbytes()),
                   row.bound.name, percent(row.of_limit())});
    }
    table.rule();
    const auto sum = [&](const char* what, double mean, const std::string& median, const std::string& min,
                         double of = 0) {
        table.row({"", what, "", "", "", median, min, us(mean), share(mean),
                   of > 0 ? fixed("%.1f", profile.flops / of / 1e3) : "", "", "",
                   of > 0 ? percent(profile.bound / of) : ""});
    };
    sum("all steps", profile.steps, us(profile.steps_median), "", profile.steps_median);
    sum("gathering the batch", profile.gather.mean, us(profile.gather.median), us(profile.gather.min));
    sum("watching", profile.watching, "", "");
    sum("executor: what is left", profile.executor, "", "");
    table.rule();
    sum("whole iteration", profile.whole.mean, us(profile.whole.median), us(profile.whole.min),
        profile.whole.median);
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
        object["flops"] = row.flops;
        object["bytes"] = row.bytes;
        object["gflops"] = row.gflops();
        object["gbytes_per_second"] = row.gbytes();
        object["limit"] = row.bound.name;
        object["limit_us"] = row.bound.us;
        object["of_limit"] = row.of_limit();
        steps.push_back(std::move(object));
    }
    const ordered_json object{
        {"event", "profile"},
        {"isa", name(active_isa())},
        {"batch", program.totals->batch},
        {"limits", profile.limits},
        {"threads", threads},
        {"steps", steps},
        {"all_steps_us", profile.steps},
        {"gather", to_json(profile.gather)},
        {"watching_us", profile.watching},
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
        "products. GB/s: what a step has to read and write.");
    const auto rates = [&](const char* what) {
        std::string text;
        for (const auto& [level, rate] : profile.limits.at(what).items())
            text += (text.empty() ? "" : ", ") + level + ' ' + fixed("%.0f", rate.get<double>());
        return text;
    };
    console.line("Limits, measured in between: FMA " +
                 fixed("%.1f", profile.limits.at("fma_gflops").get<double>()) + " GFLOP/s; read " +
                 rates("read_gbytes_per_second") + " GB/s; write " + rates("write_gbytes_per_second") +
                 " GB/s. A step cannot be faster than its limit, with each operand in the nearest cache that can "
                 "still hold it." +
                 (options.model.threads > 1 ? " The limits are those of one thread." : ""));
    console.line("Watching costs " + fixed("%.3f", profile.overhead.whole) + " us a step; the " +
                 fixed("%.3f", profile.overhead.inside) + " us of it within the step are taken off its time.");
}

}  // namespace

void add_profile_command(CLI::App& app) {
    CLI::App* const command =
        app.add_subcommand("profile", "Train for a while and show how long every step takes and how near the "
                                      "machine's limit it is");
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
