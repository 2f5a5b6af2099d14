// SPDX-License-Identifier: MIT
// What a run trains on: a data set divided into parts, in batches. Once made, nothing here allocates.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataset.hpp"
#include "options.hpp"

namespace ferrite::host {

struct DataOptions {
    std::string directory;            ///< empty: default_dataset_directory()
    std::uint32_t limit = 0;          ///< training images are the first `limit` ones; 0: all
    std::optional<float> validation;  ///< the share of them that is kept for validation, in (0, 1)
};

/// --data; with `training` also --limit and --validation. `options` must live as long as `app`.
void add_data_options(CLI::App& app, DataOptions& options, bool training = true);

/// Reads the data set. Throws Error, with `where` as its beginning, if a network of this many inputs (0: any number) and
/// outputs does not fit it.
[[nodiscard]] Dataset load_fitting(const std::string& directory, std::string_view where, std::uint32_t inputs,
                                   std::uint32_t outputs);

/// A data set whose training samples are divided, by a permutation keyed with the seed, into those that are
/// learned from and those for validation.
class TrainingData {
  public:
    /// Throws Error if the data set, the network, --limit, --validation and --batch do not go together.
    TrainingData(const DataOptions& data, const ModelOptions& model);

    [[nodiscard]] const Dataset& dataset() const noexcept { return dataset_; }
    /// Samples to learn from, >= --batch.
    [[nodiscard]] std::uint32_t training() const noexcept { return split_.size() - validation_; }
    /// Samples for validation; 0 without --validation.
    [[nodiscard]] std::uint32_t validation() const noexcept { return validation_; }
    /// Where sample i < training() is in dataset().train.
    [[nodiscard]] std::uint32_t training_index(std::uint32_t i) const noexcept {
        return validation_ == 0 ? i : split_[validation_ + i];
    }
    /// Where sample i < validation() is in dataset().train.
    [[nodiscard]] std::uint32_t validation_index(std::uint32_t i) const noexcept { return split_[i]; }

  private:
    Dataset dataset_;
    Permutation split_{1, Random(Seed{})};
    std::uint32_t validation_ = 0;
};

/// Samples as a session takes them.
class Batch {
  public:
    Batch(std::size_t capacity, std::size_t image_size)
        : indices_(capacity), labels_(capacity), inputs_(capacity * image_size), image_size_(image_size) {}

    [[nodiscard]] std::uint32_t capacity() const noexcept {
        return static_cast<std::uint32_t>(indices_.size());
    }
    /// Takes the samples index(first), index(first + 1), ...: `rows` <= capacity() of them.
    template <class Index>
    void take(const Samples& samples, std::uint32_t first, std::uint32_t rows, Index&& index) noexcept {
        rows_ = rows;
        for (std::uint32_t r = 0; r < rows; ++r) {
            indices_[r] = index(first + r);
            labels_[r] = samples.labels[indices_[r]];
        }
        gather(samples, std::span(indices_).first(rows), inputs_.data());
    }
    [[nodiscard]] std::uint32_t rows() const noexcept { return rows_; }
    [[nodiscard]] std::span<const float> inputs() const noexcept {
        return std::span(inputs_).first(rows_ * image_size_);
    }
    [[nodiscard]] std::span<const Label> labels() const noexcept { return std::span(labels_).first(rows_); }

  private:
    std::vector<std::uint32_t> indices_;
    std::vector<Label> labels_;
    std::vector<float> inputs_;
    std::size_t image_size_;
    std::uint32_t rows_ = 0;
};

/// The batches of a run, epoch after epoch for ever. Each epoch meets every training sample once, in an order
/// of its own; its last batch may be smaller.
class TrainingBatches {
  public:
    /// `data` must outlive it.
    TrainingBatches(const TrainingData& data, const ModelOptions& model);

    /// Steps of one epoch.
    [[nodiscard]] std::uint32_t per_epoch() const noexcept;
    /// The next batch.
    const Batch& next() noexcept;
    /// Begins anew, with the orders of another seed.
    void restart(Seed seed) noexcept {
        seed_ = seed;
        go_to(0);
    }
    /// The next batch is the one behind `iteration` batches.
    void go_to(std::uint32_t iteration) noexcept;
    /// Of the batch at hand, from 1.
    [[nodiscard]] std::uint32_t epoch() const noexcept { return epoch_; }
    /// Whether the batch at hand is the last one of its epoch.
    [[nodiscard]] bool epoch_ends() const noexcept { return position_ == data_->training(); }

  private:
    void begin_epoch() noexcept;

    const TrainingData* data_;
    Seed seed_;
    Batch batch_;
    Permutation order_;
    std::uint32_t epoch_ = 0;
    std::uint32_t position_;  ///< samples of the epoch up to and with the batch at hand
};

}  // namespace ferrite::host
