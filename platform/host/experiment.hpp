// SPDX-License-Identifier: MIT
// The experiments of chapter 6 of "Deep Learning from Scratch" as numbers: settings in, curves out. Their
// pictures are the laboratory's.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "train.hpp"

namespace ferrite::host {

/// What a training writes down of each batch, the penalty included.
enum class Losses : std::uint8_t {
    none,
    before_update,  ///< of the training step itself, dropout and batch statistics in it
    after_update,   ///< of the same batch once more, as at inference
};

/// One training of the chapter: Dense layers of 100 units with ReLU between them, mini-batches drawn with
/// replacement. "Epochs" are the chapter's: accuracy is measured after the updates 1, k + 1, 2k + 1, ... with
/// k = samples / batch.
struct Setting {
    std::string name{};
    std::uint32_t hidden_layers = 4;
    Initializer initializer = HeNormal{};
    bool batch_norm = false;  ///< behind each hidden Dense; epsilon 1e-6, running variance from 0
    float dropout = 0;        ///< behind each hidden activation
    DropoutScaling scaling = DropoutScaling::inference;
    Optimizer optimizer = Sgd{};
    float weight_decay = 0;
    std::uint32_t batch = 100;
    std::uint32_t samples = 0;     ///< the first ones of the data set; 0: all
    std::uint32_t validation = 0;  ///< so many of them, shuffled, are measured in place of the test data
    std::uint32_t epochs = 0;      ///< measurements of accuracy; 0: none
    std::uint32_t iterations = 0;  ///< where `epochs` does not say it
    Losses losses = Losses::none;
    bool epoch_tests = false;      ///< the epochs also measure the test data, or the validation part
    bool end_tests = false;        ///< loss and accuracy at the end, on the test data
    std::vector<std::uint32_t> only_epochs{};       ///< that measure; empty: all
    std::vector<std::uint32_t> only_test_epochs{};  ///< those of them that measure the test data too; empty: all
    std::uint32_t test_images = 0;  ///< of the test data, the first ones; 0: all

    /// Samples that are learned from.
    [[nodiscard]] std::uint32_t learned(const Dataset& data) const noexcept;
    [[nodiscard]] std::uint32_t updates(const Dataset& data) const noexcept;
    /// What a run of it takes, in forward passes of one sample; a measure for progress.
    [[nodiscard]] std::uint64_t cost(const Dataset& data) const noexcept;
};

/// What a training left behind. Where nothing was measured a curve is empty, a number NaN.
struct Curves {
    std::vector<float> loss;                           ///< by iteration, in nats
    std::vector<float> train_accuracy, test_accuracy;  ///< by epoch; NaN where an epoch was left out
    double train_loss = std::numeric_limits<double>::quiet_NaN();  ///< at the end, of 10000 images at most
    double test_loss = std::numeric_limits<double>::quiet_NaN();
    double end_accuracy = std::numeric_limits<double>::quiet_NaN();  ///< on the test data
    double squared_weights = 0;                                      ///< sum of W^2
    bool diverged = false;                                           ///< a loss was not finite
    std::uint64_t digest = 0;                                        ///< of all parameters and curves
};

/// A training with all its memory. One of them serves any number of runs.
class Student {
  public:
    /// Both must outlive it. Throws Error if there is no program, or too few data.
    Student(const Setting& setting, const Dataset& data);

    /// Trains from start values of this seed, of which batches, masks and split follow too. Allocates nothing. False:
    /// somebody wants the work to end, and the curves are not complete. `done` goes up by the cost().
    bool run(Seed seed, std::atomic<std::uint64_t>& done) noexcept;
    /// From the next run on: what the validation part is drawn by; otherwise by the seed of the run.
    void set_split(Seed seed) noexcept { split_seed_ = seed; }
    void set_rates(float learning_rate, float weight_decay) noexcept {
        learning_rate_ = learning_rate;
        weight_decay_ = weight_decay;
    }
    [[nodiscard]] const Curves& curves() const noexcept { return curves_; }
    /// Of all runs so far, while they ran; none where they are not counted.
    [[nodiscard]] std::optional<std::uint64_t> heap_allocations() const noexcept { return allocations_; }
    [[nodiscard]] const Totals& totals() const noexcept { return *learner_.program().totals; }

  private:
    struct Score {
        double loss = 0, accuracy = 0;
    };
    template <class Index>
    Score measure(const Samples& samples, std::uint32_t count, Index&& index,
                  std::atomic<std::uint64_t>& done) noexcept;
    bool train(std::atomic<std::uint64_t>& done) noexcept;
    void finish(std::atomic<std::uint64_t>& done) noexcept;

    const Setting* setting_;
    const Dataset* data_;
    std::uint32_t updates_, learned_, probed_;  ///< samples of the epochs' second accuracy
    std::vector<bool> measured_, probing_;  ///< by epoch
    Learner learner_;
    Batch batch_, probe_;
    float learning_rate_, weight_decay_;
    Seed seed_{};
    std::optional<Seed> split_seed_;
    Permutation split_{1, Random(Seed{})};
    Curves curves_;
    std::optional<std::uint64_t> allocations_ = 0;
};

/// The chapter's trainings, named as in the reference values.
/// "sgd", "momentum", "adagrad", "adam": 2000 batches of 128.
[[nodiscard]] std::vector<Setting> optimizer_comparison();
/// "std0.01", "xavier", "he"
[[nodiscard]] std::vector<Setting> start_value_comparison();
/// "plain std=S" and "bn std=S" for the 16 S = 10^(-4k / 15): 1000 images, 20 epochs.
[[nodiscard]] std::vector<Setting> batch_normalization();
/// "none (301 epochs)", "weight decay 0.1", "dropout 0.2": 300 images.
[[nodiscard]] std::vector<Setting> overfitting();
/// A trial of the random search: 500 images, 100 of them for validation, 50 epochs.
[[nodiscard]] Setting search_trial();
inline constexpr Range search_learning_rate{1e-6f, 1e-2f, true};
inline constexpr Range search_weight_decay{1e-8f, 1e-4f, true};
/// Two rounds of 100 trials, the second one in the ranges of the best 20 of the first.
inline constexpr SearchPlan search_plan{.trials = 100, .epochs = 50, .rounds = 2, .parents = 20, .widen = 0};

/// What a search has tried.
struct SearchOutcome {
    struct Tried {
        Trial trial;  ///< values: learning rate, weight decay
        std::vector<float> train_accuracy, validation_accuracy;
    };
    struct Round {
        Range learning_rate, weight_decay;  ///< that it drew from
        std::vector<Tried> trials;          ///< in the order of their numbers
        double test_accuracy = 0;           ///< of its best trial, trained once more
    };
    std::vector<Round> rounds;
    std::optional<std::uint64_t> heap_allocations = 0;
    std::uint64_t digest = 0;
    bool complete = false;  ///< nobody wanted it to end before
};
/// The same for any number of `jobs`, each of which has one model. `tick` is called now and then by one of them.
[[nodiscard]] SearchOutcome random_search(const Setting& trial, const SearchPlan& plan, Range learning_rate,
                                          Range weight_decay, Seed seed, const Dataset& data, unsigned jobs,
                                          std::atomic<std::uint64_t>& done,
                                          const std::function<void()>& tick);
/// Places of a round's trials, best first.
[[nodiscard]] std::vector<std::size_t> ranked(const SearchOutcome::Round& round);
/// "best_val", "corr_log10lr_val", "lowest log10(lr) among the best 20 %", ... of the reference values.
[[nodiscard]] double measured(const SearchOutcome::Round& round, std::string_view quantity);

/// A number of a run by the names of the reference values:
///   "mean batch loss after the update"  "iterations 100-199"
///   "mini-batch loss with penalty"      "first 10 iterations", "last 30 iterations"
///   "train_accuracy", "test_accuracy", "train_minus_test"  "epoch 50", "last epoch", "end"
///   "first epoch with train accuracy >= 0.99", "first iteration with 50-average below 0.3"   ""
///   "train_loss", "test_loss", "sum of squared weights"   "end"
/// NaN: this run has no such number.
[[nodiscard]] double measured(const Curves& curves, std::string_view quantity, std::string_view at);

/// Moving average with a Kaiser window of 11 and beta 2, the edges reflected: the chapter's smooth_curve.
[[nodiscard]] std::vector<double> smoothed(std::span<const float> values);

/// The way of an optimizer on f(x, y) = x^2 / 20 + y^2 from (-7, 2): the start and `steps` updates.
struct Trajectory {
    std::string name{};
    std::vector<float> x, y;
};
[[nodiscard]] Trajectory trajectory(const std::string& name, const Optimizer& optimizer, std::uint32_t steps,
                                    float weight_decay = 0);

/// What the activation distribution is made of: rows x 100 standard normal inputs through 5 layers of 100
/// units without biases.
inline constexpr std::uint32_t activation_units = 100;
inline constexpr std::uint32_t activation_layers = 5;
using LayerOutputs = std::array<std::vector<float>, activation_layers>;
/// inputs: (rows, 100); normals: 100 x 100 standard normal numbers for each layer, which become W by
/// `deviation`. activation: "sigmoid", "relu" or "tanh".
[[nodiscard]] LayerOutputs layer_outputs(std::string_view activation, float deviation,
                                         std::span<const float> inputs,
                                         std::span<const std::vector<float>> normals);

/// Over the (rows, 100) outputs of one layer.
struct Distribution {
    double mean = 0, deviation = 0;
    double below = 0;         ///< share of values below 0.1
    double above = 0;         ///< share of values above 0.9
    double zero = 0;          ///< share of zeros
    double by_sample = 0;     ///< deviation over the samples within a unit, mean over the units
};
[[nodiscard]] Distribution distribution(std::span<const float> outputs);

/// FNV-1a 64 of the bits of `values`, going on from `hash`.
[[nodiscard]] std::uint64_t hashed(std::span<const float> values,
                                   std::uint64_t hash = 0xCBF29CE484222325u) noexcept;

}  // namespace ferrite::host
