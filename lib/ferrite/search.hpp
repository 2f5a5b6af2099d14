// SPDX-License-Identifier: MIT
// Random search of hyperparameters (Bergstra and Bengio, JMLR 13, 2012) with ranges that narrow from round to round and
// trials that are given up early. It proposes numbers and takes scores, and knows nothing of what is trained. All state
// is in the caller's memory, some 30 bytes a trial. Includes random.hpp and status.hpp.
#pragma once

#include <ferrite/random.hpp>
#include <ferrite/status.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace ferrite {

/// What one hyperparameter is drawn from: low to high, both included. Scale: the value, or its logarithm.
struct Range {
    float low = 0;
    float high = 1;
    bool logarithmic = false;

    /// Finite with a finite high - low, low <= high (equal: a fixed value), and a logarithmic one starts at 2^-126 or
    /// above, as some CPUs take smaller numbers for 0.
    [[nodiscard]] constexpr bool valid() const noexcept {
        constexpr float limit = std::numeric_limits<float>::max();
        return low >= -limit && high <= limit && low <= high && high - low <= limit &&
               (!logarithmic || low >= std::numeric_limits<float>::min());
    }
    /// The value at u in [0, 1]:
    ///     fma(u, high - low, low)                            uniform
    ///     exp(fma(u, log(high) - log(low), log(low)))        logarithmic: 10^(log10 low + u (log10 high - log10 low))
    /// cut to [low, high]. The second is within 4e-6 of the exact value (relative) from 1e-8 to 1e8, 2e-5 anywhere.
    /// The same bits on every target. A valid range.
    [[nodiscard]] float at(float u) const noexcept;
    /// at() a uniform number of `random`: log-uniform or uniform.
    [[nodiscard]] float sample(Random random, std::uint64_t position) const noexcept {
        return at(random.uniform(position));
    }

    friend constexpr bool operator==(const Range&, const Range&) noexcept = default;
};

/// Hyperparameters that one search can look for.
inline constexpr std::size_t max_dimensions = 4;

/// One choice of hyperparameters and what came of it.
struct Trial {
    std::uint32_t index = 0;   ///< counted over the whole search
    std::uint32_t epochs = 0;  ///< that the score was reached with; of a trial that next() gave: to be trained
    float score = std::numeric_limits<float>::quiet_NaN();  ///< the higher the better; not finite: the trial failed
    std::array<float, max_dimensions> values{};             ///< by dimension, 0 behind the last

    [[nodiscard]] constexpr bool failed() const noexcept { return !__builtin_isfinite(score); }
};

/// Whether a comes before b: failed trials come last; then more epochs first, as scores are only comparable at equal
/// epochs and a trial that was trained longer was among the better ones before; then the higher score, then the lower
/// index. A total order over trials of different (index, epochs).
[[nodiscard]] constexpr bool better(const Trial& a, const Trial& b) noexcept {
    if (a.failed() != b.failed()) return b.failed();
    if (a.epochs != b.epochs) return a.epochs > b.epochs;
    if (!a.failed() && a.score != b.score) return a.score > b.score;
    return a.index < b.index;
}

/// The best trials, best first. A trial (index) counts once, with the better() of its results, so that the content
/// depends on what was inserted and not on the order.
class BestTrials {
  public:
    constexpr BestTrials() noexcept = default;
    /// Keeps memory.size() trials at most; starts empty.
    constexpr explicit BestTrials(std::span<Trial> memory) noexcept : memory_(memory) {}

    /// Whether the trial is now in the table with this result. A score that is not finite is kept as NaN.
    bool insert(const Trial& trial) noexcept;
    [[nodiscard]] constexpr std::span<const Trial> trials() const noexcept { return memory_.first(size_); }

  private:
    std::span<Trial> memory_;
    std::size_t size_ = 0;
};

/// The part of a range where the trials are: on the range's scale, with a and b the smallest and the largest value of
/// `dimension` among `trials`,
///     [a - widen (high - low), b + widen (high - low)],  cut to [low, high].
/// It holds every one of them. Failed trials and trials outside the range do not count; without any other the range
/// stays. widen >= 0: as a share of the old range, so that trials which agree by chance do not make it a point.
[[nodiscard]] Range narrowed(const Range& range, std::span<const Trial> trials, std::size_t dimension,
                             float widen) noexcept;

/// How much is tried: rounds x rungs x trials.
///
/// A round draws `trials` trials from its ranges and gives up on the hopeless ones by successive halving (Jamieson and
/// Talwalkar, arXiv 1502.07943). With R the last rung, rung r = 0..R trains from the start, so that no model has to be
/// saved,
///     ceil(trials / eta^r) trials for floor(epochs / eta^(R - r)) epochs each.
/// The best of rung r make rung r + 1; a trial that failed never goes on, so that there may be fewer. R is the largest
/// for which rung 0 has at least first_epochs epochs and rung R - 1 more than one trial. eta = 1: R = 0, none is given
/// up.
struct SearchPlan {
    std::uint32_t trials = 100;      ///< of a round, >= 1
    std::uint32_t epochs = 50;       ///< of a trial that is not given up, >= 1
    std::uint32_t rounds = 1;        ///< >= 1; rounds * trials < 2^32
    std::uint32_t eta = 1;           ///< >= 1: one trial of eta goes on; 3 is a good value
    std::uint32_t first_epochs = 1;  ///< 1 .. epochs
    std::uint32_t parents = 5;       ///< >= 1: the ranges of a round are narrowed() to the best so many trials
    float widen = 0.1f;              ///< of narrowed(), finite, >= 0

    [[nodiscard]] constexpr bool valid() const noexcept {
        return trials >= 1 && epochs >= 1 && rounds >= 1 && rounds <= 0xFFFFFFFFu / trials && eta >= 1 &&
               first_epochs >= 1 && first_epochs <= epochs && parents >= 1 && widen >= 0.0f &&
               widen <= std::numeric_limits<float>::max();
    }
    /// R + 1. This and what follows: of a valid plan.
    [[nodiscard]] constexpr std::uint32_t rungs() const noexcept {
        std::uint32_t count = 1;
        if (eta == 1) return count;
        for (std::uint32_t e = epochs / eta, n = trials; e >= first_epochs && n > 1; e /= eta, ++count)
            n = n / eta + (n % eta != 0);
        return count;
    }
    /// Trials of rung r < rungs() if enough of them do not fail.
    [[nodiscard]] constexpr std::uint32_t rung_trials(std::uint32_t r) const noexcept {
        std::uint32_t n = trials;
        for (; r > 0; --r) n = n / eta + (n % eta != 0);
        return n;
    }
    /// Epochs of each trial in rung r < rungs().
    [[nodiscard]] constexpr std::uint32_t rung_epochs(std::uint32_t r) const noexcept {
        std::uint32_t e = epochs;
        for (std::uint32_t last = rungs() - 1; r < last; ++r) e /= eta;
        return e;
    }
    /// Epochs of the whole search if enough trials do not fail; fewer otherwise. rounds * trials * epochs with eta = 1,
    /// and never above rounds * (trials + 1) * epochs.
    [[nodiscard]] constexpr std::uint64_t total_epochs() const noexcept {
        std::uint64_t sum = 0;
        for (std::uint32_t r = 0, count = rungs(); r < count; ++r)
            sum += std::uint64_t{rung_trials(r)} * rung_epochs(r);
        return rounds * sum;
    }
};

/// A search under way:
///
///     for (Trial trial; search.next(trial);) search.report(trial.index, train(trial.values, trial.epochs));
///
/// Several jobs may train at a time, as long as one thread at a time calls: next() as often as there are jobs, then a
/// next() behind each report(), for every job that waits. What is tried and found is a function of the plan, the
/// ranges, `random` and the scores, and neither of the number of jobs nor of the order of their reports. To stop early
/// just stop: best() is always up to date.
///
/// Copies refer to the same memory; nothing is owned.
class Search {
  public:
    Search() noexcept = default;

    /// `ranges`: one for each dimension, 1 .. max_dimensions. `round`: memory for the trials of a round, plan.trials of
    /// them at least; `best`: for the table, plan.parents at least if there are several rounds, otherwise 1. Both must
    /// outlive the search and not overlap. invalid_hyperparameter: a plan, a range or a number of ranges that is not
    /// valid; buffer_too_small. Trial i draws dimension d at position 4 i + d of `random`, so that one more dimension
    /// leaves the others as they were.
    [[nodiscard]] static Result<Search> start(const SearchPlan& plan, std::span<const Range> ranges, Random random,
                                              std::span<Trial> round, std::span<Trial> best) noexcept;

    /// The next trial to train: `values`, from start values, for `epochs`; its score is NaN. In a round's first rung by
    /// index, then best first. False: none before the next report(), or none at all if finished(); `trial` stays as it
    /// is.
    [[nodiscard]] bool next(Trial& trial) noexcept;
    /// The score of a trial that next() gave. invalid_hyperparameter: it gave no such trial, or its score is known
    /// already; nothing changes.
    Status report(std::uint32_t index, float score) noexcept;

    /// Every round is done.
    [[nodiscard]] bool finished() const noexcept { return round_index_ == plan_.rounds; }
    /// The best trials so far, best first.
    [[nodiscard]] std::span<const Trial> best() const noexcept { return best_.trials(); }
    /// From 0; plan().rounds once finished.
    [[nodiscard]] std::uint32_t round() const noexcept { return round_index_; }
    /// From 0.
    [[nodiscard]] std::uint32_t rung() const noexcept { return rung_; }
    /// Trials of this rung, and how many of them have reported.
    [[nodiscard]] std::uint32_t rung_size() const noexcept { return size_; }
    [[nodiscard]] std::uint32_t reported() const noexcept { return reported_; }
    /// What this round draws from; once finished, what the last one drew from.
    [[nodiscard]] std::span<const Range> ranges() const noexcept { return std::span(ranges_).first(dimensions_); }
    [[nodiscard]] const SearchPlan& plan() const noexcept { return plan_; }

  private:
    void draw() noexcept;
    void close_rung() noexcept;

    SearchPlan plan_{.rounds = 0};
    std::array<Range, max_dimensions> ranges_{};
    std::size_t dimensions_ = 0;
    Random random_{Seed{}};
    std::span<Trial> trials_;  ///< of the round; the first size_ are those of the rung
    BestTrials best_;
    std::uint32_t round_index_ = 0;
    std::uint32_t rung_ = 0;
    std::uint32_t size_ = 0;
    std::uint32_t given_ = 0;     ///< trials [0, given_) of the rung were given by next()
    std::uint32_t reported_ = 0;  ///< those of them that have the epochs of the rung
};

/// Samples of `count` that are kept for validation: floor(share * count), where share is the largest number that rounds
/// to this float, so that 0.2f of 500 is 100. With p = Permutation(count, random), sample i of the validation part is
/// p[i] and sample i of the training part p[size + i]: no array of indices. invalid_hyperparameter: a share that is not
/// in [0, 1).
[[nodiscard]] constexpr Result<std::uint32_t> validation_size(std::uint32_t count, float share) noexcept {
    if (!(share >= 0.0f && share < 1.0f)) return Status::invalid_hyperparameter;
    const auto fixed = static_cast<std::uint64_t>(share * 0x1p32f);
    const std::uint64_t largest = fixed == 0 ? 0 : fixed + (fixed >> 24) + 1;  // at most 2^32
    return static_cast<std::uint32_t>((largest * count) >> 32);
}

}  // namespace ferrite
