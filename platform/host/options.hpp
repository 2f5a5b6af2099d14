// SPDX-License-Identifier: MIT
// What the subcommands of `ferrite` share: options as text, the model and the recipe that they describe, and
// a program with the memory that it needs. Every bad option ends in an Error that begins with the option's
// name.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <ferrite/ferrite.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "threads.hpp"

namespace ferrite::host {

/// The options of a model and its recipe, names still as text. Numbers are checked while the command line is
/// read, everything else by build().
struct ModelOptions {
    std::vector<std::uint32_t> layers{784, 100, 100, 100, 100, 10};  ///< inputs, units of each dense layer
    std::string activation = "relu";                                 ///< between the dense layers
    std::string init = "auto";
    bool batch_norm = false;  ///< behind every dense layer but the last
    float dropout = 0;        ///< rate, behind every activation between the dense layers
    std::string optimizer = "adam";
    std::string schedule = "cosine";
    std::string update = "automatic";
    std::optional<float> learning_rate{};  ///< none: the optimizer's own
    std::optional<float> momentum{};       ///< likewise
    float weight_decay = 0;
    float clip_norm = 0;   ///< 0: no clipping
    float clip_value = 0;  ///< 0: no clipping
    std::uint32_t batch = 100;
    std::uint64_t seed = 1;
    std::uint32_t threads = 1;
};

/// --layers .. --threads, one for each member of ModelOptions; without `rates` neither --learning-rate nor --weight-decay.
/// `options` must live as long as `app`.
void add_model_options(CLI::App& app, ModelOptions& options, bool rates = true);

/// A model and a recipe that own all they refer to.
struct BuiltModel {
    Shape input;
    std::vector<AnyLayer> layers;
    Training recipe;

    /// Valid as long as this object.
    [[nodiscard]] DynamicModel model() const noexcept { return {input, layers}; }
};

/// `iterations`: what a cosine schedule spans, 0 where nobody trains. Throws Error with the option's name.
[[nodiscard]] BuiltModel build(const ModelOptions& options, std::uint32_t iterations = 0);

/// 64-byte aligned bytes, not initialized.
class Arena {
  public:
    Arena() = default;
    explicit Arena(std::size_t size);
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {memory_.get(), size_}; }

  private:
    struct Free {
        void operator()(std::byte* memory) const noexcept;
    };
    std::unique_ptr<std::byte, Free> memory_;
    std::size_t size_ = 0;
};

/// A program with the memory of its tables. Throws Error, with `where` as its beginning, if there is no
/// program for the model. A training recipe must outlive it.
class Compiled {
  public:
    Compiled(const DynamicModel& model, const Training& recipe, std::string_view where = "--layers");
    Compiled(const DynamicModel& model, const Inference& recipe, std::string_view where = "--layers");
    [[nodiscard]] const ProgramView& program() const noexcept { return program_; }

  private:
    Arena tables_;
    ProgramView program_;
};

/// A model in training with everything it needs, the threads of its recipe among it; not initialized.
class Learner {
  public:
    explicit Learner(BuiltModel model);
    Learner(const Learner&) = delete;
    Learner& operator=(const Learner&) = delete;

    [[nodiscard]] const BuiltModel& built() const noexcept { return built_; }
    [[nodiscard]] const ProgramView& program() const noexcept { return compiled_.program(); }
    [[nodiscard]] TrainingSession& session() noexcept { return session_; }

  private:
    BuiltModel built_;
    Compiled compiled_;
    Arena arena_;
    std::unique_ptr<ThreadPool> threads_;  ///< null: only the caller's
    TrainingSession session_;
};

/// A model in use with everything it needs: an arena, and parameters for somebody to load.
class Runner {
  public:
    /// `model` and `recipe` may go once the constructor is done. Throws Error as Compiled does.
    Runner(const DynamicModel& model, const Inference& recipe, std::string_view where = "--layers");
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

    [[nodiscard]] const ProgramView& program() const noexcept { return compiled_.program(); }
    /// The parameter region.
    [[nodiscard]] std::span<std::byte> parameters() noexcept { return parameters_.bytes(); }
    [[nodiscard]] InferenceSession& session() noexcept { return session_; }

  private:
    Compiled compiled_;
    Arena parameters_;
    Arena arena_;
    std::unique_ptr<ThreadPool> threads_;
    InferenceSession session_;
};

/// ", 2 threads"; empty for one.
[[nodiscard]] std::string threads_text(std::uint32_t threads);

/// "784-100-10"
[[nodiscard]] std::string layers_text(std::span<const std::uint32_t> layers, char separator = '-');

/// The arena of a program by region, one line: "1,003,072 bytes: parameters 318,040, optimizer ...".
[[nodiscard]] std::string arena_text(const Totals& totals);

/// The bytes of a file. Throws Error, with `where` as its beginning.
[[nodiscard]] std::vector<std::byte> read_file(const std::string& where, const std::string& path);

/// 1234567 as "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t value);

/// An option with one value, which `set` takes apart; the last one counts if it is given several times.
CLI::Option* add_text(CLI::App& app, const std::string& name, const std::string& help,
                      std::function<void(const std::string&)> set);

/// `text` as a whole number in [low, high]. Throws Error.
[[nodiscard]] std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t low,
                                        std::uint64_t high);
/// `text` as a finite number that passes `valid`; `expected` says which those are. Throws Error.
[[nodiscard]] float parse_number(std::string_view option, std::string_view text, bool (*valid)(float),
                                 std::string_view expected);

/// --threads.
void add_threads_option(CLI::App& app, std::uint32_t& threads);

/// Each registers a subcommand, which runs when the command line has been read.
void add_train_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_profile_command(CLI::App& app);
void add_info_command(CLI::App& app);
void add_search_command(CLI::App& app);
void add_lab_command(CLI::App& app);

}  // namespace ferrite::host
