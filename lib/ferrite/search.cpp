// SPDX-License-Identifier: MIT
// Random search. One scalar path for every target, so that all of them try the same numbers.
#include <ferrite/kernels.hpp>
#include <ferrite/search.hpp>
#include <ferrite/simd/math.hpp>
#include <utility>

namespace ferrite {
namespace {

using V = simd::Vector<Scalar>;

float log(float x) noexcept {
    float result[1];
    simd::log(V::broadcast(x)).store(result);
    return result[0];
}
float exp(float x) noexcept {
    float result[1];
    simd::exp(V::broadcast(x)).store(result);
    return result[0];
}
/// `low` for NaN.
float cut(float value, float low, float high) noexcept {
    return value > low ? (value < high ? value : high) : low;
}
float to_scale(const Range& range, float value) noexcept { return range.logarithmic ? log(value) : value; }
float from_scale(const Range& range, float value) noexcept { return range.logarithmic ? exp(value) : value; }

}  // namespace

float Range::at(float u) const noexcept {
    const float start = to_scale(*this, low);
    const float length = to_scale(*this, high) - start;
    return cut(from_scale(*this, __builtin_fmaf(u, length, start)), low, high);
}

bool BestTrials::insert(const Trial& trial) noexcept {
    Trial added = trial;
    if (added.failed()) added.score = std::numeric_limits<float>::quiet_NaN();
    std::size_t at = 0;
    while (at < size_ && memory_[at].index != added.index) ++at;
    if (at < size_) {
        if (!better(added, memory_[at])) return false;
    } else if (size_ < memory_.size()) {
        ++size_;
    } else {
        if (size_ == 0 || !better(added, memory_[size_ - 1])) return false;
        --at;
    }
    for (; at > 0 && better(added, memory_[at - 1]); --at) memory_[at] = memory_[at - 1];
    memory_[at] = added;
    return true;
}

Range narrowed(const Range& range, std::span<const Trial> trials, std::size_t dimension,
               float widen) noexcept {
    FERRITE_ASSERT(dimension < max_dimensions);
    float least = range.high, most = range.low;
    bool found = false;
    for (const Trial& trial : trials) {
        const float value = trial.values[dimension];
        if (trial.failed() || !(value >= range.low && value <= range.high)) continue;
        least = value < least ? value : least;
        most = value > most ? value : most;
        found = true;
    }
    if (!found) return range;
    const float margin = widen * (to_scale(range, range.high) - to_scale(range, range.low));
    Range result{least, most, range.logarithmic};
    if (!(margin > 0.0f)) return result;
    // Rounding must not lose the outermost trials.
    result.low = cut(from_scale(range, to_scale(range, least) - margin), range.low, least);
    result.high = cut(from_scale(range, to_scale(range, most) + margin), most, range.high);
    return result;
}

Result<Search> Search::start(const SearchPlan& plan, std::span<const Range> ranges, Random random,
                             std::span<Trial> round, std::span<Trial> best) noexcept {
    if (!plan.valid() || ranges.empty() || ranges.size() > max_dimensions)
        return Status::invalid_hyperparameter;
    for (const Range& range : ranges)
        if (!range.valid()) return Status::invalid_hyperparameter;
    if (round.size() < plan.trials || best.size() < (plan.rounds > 1 ? plan.parents : 1))
        return Status::buffer_too_small;
    Search search;
    search.plan_ = plan;
    for (std::size_t d = 0; d < ranges.size(); ++d) search.ranges_[d] = ranges[d];
    search.dimensions_ = ranges.size();
    search.random_ = random;
    search.trials_ = round;
    search.best_ = BestTrials(best);
    search.draw();
    return search;
}

bool Search::next(Trial& trial) noexcept {
    if (given_ == size_) return false;
    trial = trials_[given_++];
    trial.epochs = plan_.rung_epochs(rung_);
    trial.score = std::numeric_limits<float>::quiet_NaN();
    return true;
}

Status Search::report(std::uint32_t index, float score) noexcept {
    // Epochs grow from rung to rung, so they tell who has reported.
    const std::uint32_t epochs = plan_.rung_epochs(rung_);
    for (Trial& trial : trials_.first(given_)) {
        if (trial.index != index || trial.epochs == epochs) continue;
        trial.epochs = epochs;
        trial.score = score;
        best_.insert(trial);
        if (++reported_ == size_) close_rung();
        return Status::ok;
    }
    return Status::invalid_hyperparameter;
}

void Search::draw() noexcept {
    for (std::uint32_t i = 0; i < plan_.trials; ++i) {
        Trial trial;
        trial.index = round_index_ * plan_.trials + i;
        for (std::size_t d = 0; d < dimensions_; ++d)
            trial.values[d] = ranges_[d].sample(random_, std::uint64_t{trial.index} * max_dimensions + d);
        trials_[i] = trial;
    }
    rung_ = 0;
    size_ = plan_.trials;
    given_ = reported_ = 0;
}

void Search::close_rung() noexcept {
    std::uint32_t going_on = 0;
    if (rung_ + 1 < plan_.rungs()) {
        // Selection: a comparison is nothing next to the training that it saves.
        const std::uint32_t places = plan_.rung_trials(rung_ + 1);
        for (; going_on < places && going_on < size_; ++going_on) {
            std::uint32_t first = going_on;
            for (std::uint32_t i = first + 1; i < size_; ++i)
                if (better(trials_[i], trials_[first])) first = i;
            if (trials_[first].failed()) break;
            std::swap(trials_[going_on], trials_[first]);
        }
    }
    given_ = reported_ = 0;
    size_ = going_on;
    if (going_on != 0) {
        ++rung_;
        return;
    }
    if (++round_index_ == plan_.rounds) return;
    const auto found = best_.trials();
    const auto parents = found.first(found.size() < plan_.parents ? found.size() : plan_.parents);
    for (std::size_t d = 0; d < dimensions_; ++d) ranges_[d] = narrowed(ranges_[d], parents, d, plan_.widen);
    draw();
}

}  // namespace ferrite
