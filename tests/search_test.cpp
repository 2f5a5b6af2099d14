// SPDX-License-Identifier: MIT
// Random search: golden samples and sizes, distributions, the table against a sort, narrowing, halving, and
// that the order of reports does not matter.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>

#include "golden.hpp"

namespace fe = ferrite;

namespace {

constexpr float no_number = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();

double wide(float x) { return static_cast<double>(x); }

fe::Trial trial(std::uint32_t index, float score, std::uint32_t epochs = 1, float value = 0) {
    return {.index = index, .epochs = epochs, .score = score, .values = {value}};
}

/// What compares equal when the results are: index, epochs, score (NaN as a word), values.
using Row = std::tuple<std::uint32_t, std::uint32_t, bool, float, std::array<float, fe::max_dimensions>>;
Row row(const fe::Trial& t) {
    return {t.index, t.epochs, std::isnan(t.score), std::isnan(t.score) ? 0.0f : t.score, t.values};
}
std::vector<Row> rows(std::span<const fe::Trial> trials) {
    std::vector<Row> result;
    for (const fe::Trial& t : trials) result.push_back(row(t));
    return result;
}

/// The order in words of its own: finite first, longest first, highest first, earliest first.
std::tuple<int, std::int64_t, double, std::uint32_t> key(const fe::Trial& t) {
    const bool finite = std::isfinite(t.score);
    return {finite ? 0 : 1, -std::int64_t{t.epochs}, finite ? -wide(t.score) : 0.0, t.index};
}

float random_score(std::mt19937& generator) {
    switch (generator() % 8) {
        case 0:
            return no_number;
        case 1:
            return generator() % 2 == 0 ? inf : -inf;
        default:
            return static_cast<float>(static_cast<int>(generator() % 7) - 3) / 4;  // many ties
    }
}

struct Log {
    std::vector<Row> tried;  ///< in the order of next(), with the epochs to train
    std::vector<Row> best;
    std::vector<std::vector<fe::Range>> ranges;  ///< by round
    std::vector<std::vector<Row>> best_of_round;
    std::uint64_t epochs = 0;
};

/// Runs a search with `jobs` at a time; among those that run, a random one reports next.
template <class Score>
Log run(const fe::SearchPlan& plan, std::span<const fe::Range> ranges, std::uint64_t seed, std::size_t jobs,
        std::uint32_t order_seed, Score score, std::size_t keep = 10) {
    std::vector<fe::Trial> memory(plan.trials), table(keep);
    const auto started = fe::Search::start(plan, ranges, fe::Random{fe::Seed{seed}}, memory, table);
    REQUIRE(started.ok());
    fe::Search search = started.value();
    std::mt19937 order(order_seed);
    std::vector<fe::Trial> running;
    Log log;
    std::uint32_t round = 0;
    log.ranges.emplace_back(search.ranges().begin(), search.ranges().end());
    while (!search.finished()) {
        fe::Trial next;
        while (running.size() < jobs && search.next(next)) {
            running.push_back(next);
            log.tried.push_back(row(next));
            log.epochs += next.epochs;
        }
        REQUIRE(!running.empty());
        const std::size_t i = order() % running.size();
        REQUIRE(search.report(running[i].index, score(running[i])) == fe::Status::ok);
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
        if (search.round() == round) continue;
        round = search.round();
        log.best_of_round.push_back(rows(search.best()));
        if (!search.finished()) log.ranges.emplace_back(search.ranges().begin(), search.ranges().end());
    }
    fe::Trial untouched = trial(77, 0);
    CHECK(!search.next(untouched));
    CHECK(untouched.index == 77);
    CHECK(running.empty());
    log.best = rows(search.best());
    return log;
}

}  // namespace

TEST_CASE("search: the golden samples, sizes of the validation part and shuffle") {
    const nlohmann::json file = fe::test::golden("random_search.json");
    const std::uint64_t seed = file.at("seed");
    const fe::Random random{fe::Seed{seed}};
    std::size_t checked = 0;
    for (const nlohmann::json& c : file.at("samples")) {
        const double lo = c.at("lo"), hi = c.at("hi");
        const fe::test::Doubles values = c.at("values");
        const fe::Range range{static_cast<float>(std::pow(10.0, lo)), static_cast<float>(std::pow(10.0, hi)),
                              true};
        REQUIRE(range.valid());
        for (std::size_t i = 0; i < values.size(); ++i, ++checked) {
            CAPTURE(i);
            // 24 bits of the uniform: (hi - lo) ln 10 / 2^24 = 8e-7 of the value; rounding: 4e-6.
            CHECK(wide(range.sample(random, i)) == doctest::Approx(values[i]).epsilon(5e-6).scale(0));
            CHECK(range.sample(random, i) == range.at(random.uniform(i)));
        }
    }
    CHECK(checked == 24);
    for (const nlohmann::json& c : file.at("validation_split")) {
        const std::uint32_t samples = c.at("samples"), validation = c.at("validation"),
                            training = c.at("training");
        CAPTURE(samples);
        const auto size = fe::validation_size(samples, c.at("rate").get<float>());
        REQUIRE(size.ok());
        CHECK(size.value() == validation);
        CHECK(samples - size.value() == training);
    }
    const nlohmann::json& shuffle = file.at("shuffle");
    const fe::Random shuffler{fe::Seed{shuffle.at("seed").get<std::uint64_t>()}};
    std::vector<std::uint32_t> order(shuffle.at("n").get<std::size_t>());
    std::iota(order.begin(), order.end(), 0u);
    std::uint64_t position = 0;
    for (std::size_t i = order.size() - 1; i > 0; --i) {
        const float u = shuffler.uniform(position++);
        std::swap(order[i], order[static_cast<std::size_t>(u * static_cast<float>(i + 1))]);
    }
    CHECK(order == shuffle.at("result").get<std::vector<std::uint32_t>>());
}

TEST_CASE(
    "search: the validation part is the floor of the share as it was written, and the split a partition") {
    for (std::uint32_t percent = 0; percent < 100; ++percent)
        for (const std::uint32_t count :
             {0u, 1u, 2u, 3u, 7u, 8u, 10u, 16u, 64u, 100u, 500u, 501u, 1000u, 4096u, 60'000u, 65'536u}) {
            CAPTURE(percent);
            CAPTURE(count);
            const auto size = fe::validation_size(count, static_cast<float>(percent) / 100.0f);
            REQUIRE(size.ok());
            REQUIRE(size.value() == count * percent / 100);
        }
    CHECK(fe::validation_size(0xFFFFFFFF, 0x1.fffffep-1f).value() <= 0xFFFFFFFF);
    // The numbers that round to 0.5f are 2^-25 apart from it at most.
    CHECK(fe::validation_size(0xFFFFFFFF, 0.5f).value() - 0x7FFFFFFFu <= 129);
    for (const float share : {no_number, -0.1f, 1.0f, 2.0f, inf, -inf})
        CHECK(fe::validation_size(100, share).status() == fe::Status::invalid_hyperparameter);
    static_assert(fe::validation_size(500, 0.2f).value() == 100);

    const std::uint32_t validation = fe::validation_size(501, 0.2f).value();
    const fe::Permutation p(501, fe::Random{fe::Seed{3}});
    std::vector<int> used(501);
    for (std::uint32_t i = 0; i < validation; ++i) ++used[p[i]];
    for (std::uint32_t i = 0; i < 501 - validation; ++i) ++used[p[validation + i]];
    CHECK(std::count(used.begin(), used.end(), 1) == 501);
}

TEST_CASE("search: which ranges and plans are valid") {
    for (const bool logarithmic : {false, true}) {
        CHECK(fe::Range{1e-6f, 1e-2f, logarithmic}.valid());
        CHECK(fe::Range{0.5f, 0.5f, logarithmic}.valid());
        CHECK(!fe::Range{1e-2f, 1e-6f, logarithmic}.valid());
        CHECK(!fe::Range{no_number, 1, logarithmic}.valid());
        CHECK(!fe::Range{1, no_number, logarithmic}.valid());
        CHECK(!fe::Range{1, inf, logarithmic}.valid());
        CHECK(!fe::Range{-inf, 1, logarithmic}.valid());
        CHECK(!fe::Range{inf, inf, logarithmic}.valid());
        CHECK(fe::Range{0, 1, logarithmic}.valid() == !logarithmic);
        CHECK(fe::Range{-1, 1, logarithmic}.valid() == !logarithmic);
        CHECK(fe::Range{0x1p-127f, 1, logarithmic}.valid() == !logarithmic);
        CHECK(fe::Range{0x1p-126f, 0x1.fffffep127f, logarithmic}.valid());
    }
    CHECK(!fe::Range{-3e38f, 3e38f}.valid());

    CHECK(fe::SearchPlan{}.valid());
    CHECK(!fe::SearchPlan{.trials = 0}.valid());
    CHECK(!fe::SearchPlan{.epochs = 0, .first_epochs = 0}.valid());
    CHECK(!fe::SearchPlan{.rounds = 0}.valid());
    CHECK(!fe::SearchPlan{.eta = 0}.valid());
    CHECK(!fe::SearchPlan{.first_epochs = 0}.valid());
    CHECK(!fe::SearchPlan{.epochs = 5, .first_epochs = 6}.valid());
    CHECK(!fe::SearchPlan{.parents = 0}.valid());
    for (const float widen : {no_number, -0.1f, inf}) CHECK(!fe::SearchPlan{.widen = widen}.valid());
    CHECK(fe::SearchPlan{.trials = 0x10000, .rounds = 0xFFFF}.valid());
    CHECK(!fe::SearchPlan{.trials = 0x10000, .rounds = 0x10000}.valid());
}

TEST_CASE("search: samples stay inside their range and follow its law") {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
        CAPTURE(seed);
        const fe::Random random{fe::Seed{seed}};
        for (const fe::Range range : {fe::Range{1e-6f, 1e-2f, true},
                                      {1e-8f, 1e-4f, true},
                                      {0.5f, 0.50001f, true},
                                      {0x1p-126f, 0x1.fffffep127f, true},
                                      {0.3f, 300, true},
                                      {-2, 5},
                                      {0, 1e-3f},
                                      {1000, 1000.03125f},
                                      {0.25f, 0.25f},
                                      {0.3f, 0.3f, true}}) {
            CAPTURE(range.low);
            CAPTURE(range.high);
            CAPTURE(range.logarithmic);
            REQUIRE(range.valid());
            const auto scale = [&](float x) { return range.logarithmic ? std::log10(wide(x)) : wide(x); };
            const double start = scale(range.low), length = scale(range.high) - start;
            constexpr std::uint32_t n = 20'000, bins = 16;
            std::vector<std::uint32_t> hits(bins);
            double sum = 0, squares = 0;
            for (std::uint64_t i = 0; i < n; ++i) {
                const float x = range.sample(random, i);
                REQUIRE(x >= range.low);
                REQUIRE(x <= range.high);
                if (length == 0) continue;
                const double share = (scale(x) - start) / length;
                ++hits[std::min(bins - 1, static_cast<std::uint32_t>(share * bins))];
                sum += share - 0.5;
                squares += (share - 0.5) * (share - 0.5);
            }
            CHECK(range.at(0) == doctest::Approx(wide(range.low)).epsilon(2e-5));
            CHECK(range.at(1) == doctest::Approx(wide(range.high)).epsilon(2e-5));
            CHECK(range.at(2) == range.high);
            CHECK(range.at(-1) == range.low);
            // Ranges of a few floats have no fine law.
            if (wide(range.high) / wide(range.low) - 1 < 1e-3 && range.low > 0) continue;
            double chi_square = 0;
            for (const std::uint32_t h : hits) chi_square += (h - n / 16.0) * (h - n / 16.0) / (n / 16.0);
            CHECK(chi_square < 50.5);  // 15 degrees of freedom: once in 1e5 times above 50.49
            const double root = std::sqrt(static_cast<double>(n));
            CHECK(std::abs(sum) <= 5 * root * std::sqrt(1.0 / 12));
            CHECK(std::abs(squares - n / 12.0) <= 5 * root * std::sqrt(1.0 / 180));
        }
    }
}

TEST_CASE("search: the value at u grows with u and is the formula's") {
    for (const fe::Range range :
         {fe::Range{1e-8f, 1e8f, true}, {1e-6f, 1e-2f, true}, {0x1p-126f, 3e38f, true}}) {
        const double bound = range.low < 1e-9f ? 2e-5 : 4e-6;
        const double low = std::log(wide(range.low)), high = std::log(wide(range.high));
        float previous = 0;
        double worst = 0;
        for (int i = 0; i <= 100'000; ++i) {
            const float u = static_cast<float>(i) / 100'000.0f, x = range.at(u);
            REQUIRE(wide(x) >= wide(previous) * (1 - 2e-7));
            previous = x;
            const double exact = std::exp(low + wide(u) * (high - low));
            worst = std::max(worst, std::abs(wide(x) - exact) / exact);
        }
        MESSAGE("largest relative error: " << worst);
        CHECK(worst <= bound);
    }
}

TEST_CASE("search: the table is the head of a sort, whatever the order of the reports") {
    for (std::uint32_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        std::mt19937 generator(seed);
        const std::size_t count = generator() % 40;
        std::vector<fe::Trial> reports;
        for (std::size_t i = 0; i < count; ++i)
            // Some trials report several times, with other epochs.
            for (std::uint32_t epochs = 1, n = generator() % 4 == 0 ? 3 : 1; epochs <= n; ++epochs)
                reports.push_back(trial(static_cast<std::uint32_t>(i), random_score(generator), epochs,
                                        static_cast<float>(i) / 8));
        for (const std::size_t capacity : {0u, 1u, 2u, 5u, 20u, 200u}) {
            std::vector<fe::Trial> expected = reports;
            std::stable_sort(expected.begin(), expected.end(),
                             [](const fe::Trial& a, const fe::Trial& b) { return key(a) < key(b); });
            std::vector<Row> head;
            std::vector<std::uint32_t> seen;
            for (fe::Trial t : expected) {
                if (head.size() == capacity) break;
                if (std::find(seen.begin(), seen.end(), t.index) != seen.end()) continue;
                seen.push_back(t.index);
                if (!std::isfinite(t.score)) t.score = no_number;
                head.push_back(row(t));
            }
            for (int order = 0; order < 4; ++order) {
                std::shuffle(reports.begin(), reports.end(), generator);
                std::vector<fe::Trial> memory(capacity + 1, trial(999, 9));
                fe::BestTrials best{std::span(memory).first(capacity)};
                for (const fe::Trial& t : reports) {
                    const bool inside = best.insert(t);
                    const auto found = rows(best.trials());
                    const auto place = std::find_if(found.begin(), found.end(), [&](const Row& r) {
                        return std::get<0>(r) == t.index && std::get<1>(r) == t.epochs;
                    });
                    REQUIRE(inside == (place != found.end()));
                }
                REQUIRE(rows(best.trials()) == head);
                REQUIRE(memory.back().index == 999);
            }
        }
    }
}

TEST_CASE("search: ties go to the earlier trial, failed ones stand behind all others") {
    std::array<fe::Trial, 4> memory;
    fe::BestTrials best(memory);
    CHECK(best.trials().empty());
    for (const auto& [index, score] : std::vector<std::pair<std::uint32_t, float>>{
             {4, 0.5f}, {9, no_number}, {2, inf}, {3, -1e30f}, {1, 0.5f}, {0, no_number}, {5, 0.75f}})
        best.insert(trial(index, score));
    std::vector<std::uint32_t> order;
    for (const fe::Trial& t : best.trials()) order.push_back(t.index);
    CHECK(order == std::vector<std::uint32_t>{5, 1, 4, 3});
}

TEST_CASE("search: narrowing holds the trials that count, lies in the old range, and is the formula's") {
    for (std::uint32_t seed = 1; seed <= 2000; ++seed) {
        CAPTURE(seed);
        const fe::Random random{fe::Seed{seed}};
        const bool logarithmic = seed % 2 == 0;
        const fe::Range range = logarithmic ? fe::Range{1e-6f, 1e-2f, true} : fe::Range{-3, 5};
        const float widen = std::array{0.0f, 1e-9f, 0.1f, 0.3f, 1.0f, 3e38f, 0.2f}[seed % 7];
        std::vector<fe::Trial> trials;
        float least = inf, most = -inf;
        for (std::uint32_t i = 0; i < 1 + seed % 7; ++i) {
            fe::Trial t = trial(i, i % 4 == 3 ? no_number : 1.0f);
            // Not a result of exp() itself, which log() and exp() would give back.
            const float value = range.sample(random, i) * 1.0000005f;
            t.values = {99, std::clamp(value, range.low, range.high), 99, 99};
            trials.push_back(t);
            if (t.failed()) continue;
            least = std::min(least, t.values[1]);
            most = std::max(most, t.values[1]);
        }
        const fe::Range result = fe::narrowed(range, trials, 1, widen);
        REQUIRE(result.valid());
        CHECK(result.logarithmic == logarithmic);
        CHECK(result.low >= range.low);
        CHECK(result.high <= range.high);
        CHECK(result.low <= least);
        CHECK(result.high >= most);
        const auto scale = [&](float x) { return logarithmic ? std::log(wide(x)) : wide(x); };
        const double margin = wide(widen) * (scale(range.high) - scale(range.low));
        CHECK(scale(result.low) ==
              doctest::Approx(std::max(scale(range.low), scale(least) - margin)).epsilon(1e-5));
        CHECK(scale(result.high) ==
              doctest::Approx(std::min(scale(range.high), scale(most) + margin)).epsilon(1e-5));
    }
    const fe::Range range{1e-6f, 1e-2f, true};
    CHECK(fe::narrowed(range, {}, 0, 0.1f) == range);
    const std::array none{trial(0, no_number, 1, 1e-4f), trial(1, 1, 1, 1.0f), trial(2, 1, 1, no_number),
                          trial(3, 1, 1, 1e-7f)};
    CHECK(fe::narrowed(range, none, 0, 0.1f) == range);
    const std::array one{trial(0, 1, 1, 1e-4f)};
    CHECK(fe::narrowed(range, one, 0, 0) == fe::Range{1e-4f, 1e-4f, true});
    const std::array edges{trial(0, 1, 1, 1e-6f), trial(1, 1, 1, 1e-2f)};
    CHECK(fe::narrowed(range, edges, 0, 0) == range);
    CHECK(fe::narrowed({2, 2}, std::array{trial(0, 1, 1, 2.0f)}, 0, 0.5f) == fe::Range{2, 2});
}

TEST_CASE("search: halving: rungs, trials, epochs, their sum") {
    constexpr fe::SearchPlan chapter{.trials = 100, .epochs = 50};
    static_assert(chapter.rungs() == 1 && chapter.rung_trials(0) == 100 && chapter.rung_epochs(0) == 50);
    static_assert(chapter.total_epochs() == 5000);
    constexpr fe::SearchPlan thirds{.trials = 100, .epochs = 50, .rounds = 2, .eta = 3};
    static_assert(thirds.rungs() == 4);
    static_assert(thirds.rung_trials(1) == 34 && thirds.rung_trials(2) == 12 && thirds.rung_trials(3) == 4);
    static_assert(thirds.rung_epochs(0) == 1 && thirds.rung_epochs(1) == 5 && thirds.rung_epochs(2) == 16);
    static_assert(thirds.rung_epochs(3) == 50);
    static_assert(thirds.total_epochs() == 2 * (100 * 1 + 34 * 5 + 12 * 16 + 4 * 50));
    static_assert(fe::SearchPlan{.trials = 100, .epochs = 50, .eta = 3, .first_epochs = 2}.rungs() == 3);
    static_assert(fe::SearchPlan{.trials = 4, .epochs = 50, .eta = 3}.rungs() == 3);  // 4, 2, 1 trials
    static_assert(fe::SearchPlan{.trials = 1, .epochs = 50, .eta = 3}.rungs() == 1);
    static_assert(fe::SearchPlan{.trials = 0xFFFFFFFF, .epochs = 0xFFFFFFFF}.total_epochs() ==
                  0xFFFFFFFE00000001);

    const auto up = [](std::uint64_t n, std::uint64_t d) { return (n + d - 1) / d; };
    for (const std::uint32_t trials : {1u, 2u, 3u, 4u, 5u, 9u, 10u, 27u, 28u, 100u, 1000u, 0xFFFFFFFFu})
        for (const std::uint32_t epochs : {1u, 2u, 3u, 8u, 9u, 50u, 81u, 1000u, 0xFFFFFFFFu})
            for (const std::uint32_t eta : {1u, 2u, 3u, 4u, 10u, 1000u, 0xFFFFFFFFu})
                for (const std::uint32_t first : {1u, 2u, 5u}) {
                    const fe::SearchPlan plan{
                        .trials = trials, .epochs = epochs, .eta = eta, .first_epochs = first};
                    if (!plan.valid()) continue;
                    CAPTURE(trials);
                    CAPTURE(epochs);
                    CAPTURE(eta);
                    CAPTURE(first);
                    const std::uint32_t last = plan.rungs() - 1;
                    std::uint64_t power = 1;
                    for (std::uint32_t r = 0; r <= last; ++r, power *= eta) {
                        CHECK(plan.rung_trials(r) == up(trials, power));
                        CHECK(plan.rung_epochs(last - r) == epochs / power);
                        CHECK(plan.rung_epochs(r) >= first);
                        if (r > 0) CHECK(plan.rung_epochs(r) > plan.rung_epochs(r - 1));
                        if (r < last) CHECK(plan.rung_trials(r) > 1);
                    }
                    CHECK(plan.total_epochs() <= (std::uint64_t{trials} + 1) * epochs);
                    if (eta == 1)
                        CHECK(last == 0);
                    else
                        CHECK((plan.rung_trials(last) == 1 || plan.rung_epochs(0) / eta < first));
                }
}

TEST_CASE("search: what is refused, and nothing is written then") {
    std::vector<fe::Trial> memory(100, trial(5, 5)), best(5, trial(5, 5));
    const fe::Range range{1e-6f, 1e-2f, true};
    const fe::Random random{fe::Seed{1}};
    const auto status = [&](const fe::SearchPlan& plan, std::vector<fe::Range> ranges,
                            std::size_t trials = 100, std::size_t keep = 5) {
        return fe::Search::start(plan, ranges, random, std::span(memory).first(trials),
                                 std::span(best).first(keep))
            .status();
    };
    using enum fe::Status;
    CHECK(status({.trials = 0}, {range}) == invalid_hyperparameter);
    CHECK(status({.rounds = 0}, {range}) == invalid_hyperparameter);
    CHECK(status({.eta = 0}, {range}) == invalid_hyperparameter);
    CHECK(status({.widen = no_number}, {range}) == invalid_hyperparameter);
    CHECK(status({}, {}) == invalid_hyperparameter);
    CHECK(status({}, std::vector<fe::Range>(5, range)) == invalid_hyperparameter);
    CHECK(status({}, {range, {1e-2f, 1e-6f, true}}) == invalid_hyperparameter);
    CHECK(status({}, {{1, 0}}) == invalid_hyperparameter);
    CHECK(status({}, {{0, 1, true}}) == invalid_hyperparameter);
    CHECK(status({}, {range}, 99) == buffer_too_small);
    CHECK(status({}, {range}, 100, 0) == buffer_too_small);
    CHECK(status({.rounds = 2}, {range}, 100, 4) == buffer_too_small);
    for (const fe::Trial& t : memory) REQUIRE(t.index == 5);
    CHECK(status({}, {range}, 100, 1) == ok);
    CHECK(status({.rounds = 2}, {range}) == ok);
    CHECK(status({}, std::vector<fe::Range>(4, range)) == ok);

    fe::Search none;
    fe::Trial out;
    CHECK(none.finished());
    CHECK(!none.next(out));
    CHECK(none.best().empty());
    CHECK(none.report(0, 1) == invalid_hyperparameter);

    auto search =
        fe::Search::start({.trials = 3, .epochs = 9, .eta = 3}, std::span(&range, 1), random, memory, best);
    REQUIRE(search.ok());
    fe::Search& s = search.value();
    CHECK(s.report(0, 1) == invalid_hyperparameter);  // not given yet
    REQUIRE(s.next(out));
    CHECK(out.index == 0);
    CHECK(out.epochs == 3);
    CHECK(s.report(1, 1) == invalid_hyperparameter);
    CHECK(s.report(0, 1) == ok);
    CHECK(s.report(0, 2) == invalid_hyperparameter);  // known already
    REQUIRE(s.best().size() == 1);
    CHECK(s.best()[0].score == 1);
    REQUIRE(s.next(out));
    REQUIRE(s.next(out));
    CHECK(!s.next(out));  // waits for two reports
    CHECK(s.report(2, no_number) == ok);
    CHECK(!s.next(out));
    CHECK(s.reported() == 2);
    CHECK(s.report(1, 3) == ok);
    CHECK(s.rung() == 1);
    CHECK(s.rung_size() == 1);
    REQUIRE(s.next(out));
    CHECK(out.index == 1);
    CHECK(out.epochs == 9);
    CHECK(s.report(1, 0.5f) == ok);
    CHECK(s.finished());
    CHECK(s.report(1, 0.5f) == invalid_hyperparameter);
    REQUIRE(s.best().size() == 3);
    CHECK(s.best()[0].epochs == 9);  // one result a trial, that of the most epochs
    CHECK(s.best()[1].index == 0);
    CHECK(s.best()[2].failed());
}

TEST_CASE("search: the same trials and the same table for any number of jobs and order of reports") {
    const std::array ranges{fe::Range{1e-6f, 1e-2f, true}, fe::Range{1e-8f, 1e-4f, true}, fe::Range{0, 0.5f}};
    for (std::uint32_t seed = 1; seed <= 40; ++seed) {
        CAPTURE(seed);
        std::mt19937 generator(seed);
        const fe::SearchPlan plan{.trials = 1 + static_cast<std::uint32_t>(generator() % 60),
                                  .epochs = 1 + static_cast<std::uint32_t>(generator() % 60),
                                  .rounds = 1 + static_cast<std::uint32_t>(generator() % 3),
                                  .eta = 1 + static_cast<std::uint32_t>(generator() % 4),
                                  .parents = 1 + static_cast<std::uint32_t>(generator() % 6)};
        const auto score = [seed](const fe::Trial& t) {
            std::mt19937 own(seed * 1'000'003 + t.index * 101 + t.epochs);
            return random_score(own);
        };
        const Log one = run(plan, ranges, seed, 1, 0, score);
        CHECK(one.epochs <= plan.total_epochs());
        CHECK(one.ranges.size() == plan.rounds);
        for (const std::size_t jobs : {2u, 7u, 100u})
            for (std::uint32_t order = 1; order <= 3; ++order) {
                const Log many = run(plan, ranges, seed, jobs, order, score);
                CHECK(many.tried == one.tried);
                CHECK(many.best == one.best);
                CHECK(many.best_of_round == one.best_of_round);
                CHECK(many.ranges == one.ranges);
            }
        const Log other = run(plan, ranges, seed + 1000, 1, 0, score);
        CHECK(std::get<4>(other.tried[0]) != std::get<4>(one.tried[0]));
        // What is drawn does not depend on the dimensions behind.
        const Log fewer = run(plan, std::span(ranges).first(1), seed, 1, 0, score);
        CHECK(std::get<4>(fewer.tried[0])[0] == std::get<4>(one.tried[0])[0]);
    }
}

TEST_CASE("search: halving lets the best of each rung go on, and each round draws around the best so far") {
    const std::array ranges{fe::Range{1e-6f, 1e-2f, true}, fe::Range{-1, 1}};
    for (std::uint32_t seed = 1; seed <= 60; ++seed) {
        CAPTURE(seed);
        std::mt19937 generator(seed);
        const fe::SearchPlan plan{.trials = 2 + static_cast<std::uint32_t>(generator() % 40),
                                  .epochs = 30,
                                  .rounds = 3,
                                  .eta = 1 + static_cast<std::uint32_t>(generator() % 3),
                                  .parents = 3};
        const auto score = [seed](const fe::Trial& t) {
            std::mt19937 own(seed * 7919 + t.index * 131 + t.epochs);
            return random_score(own);
        };
        const Log log = run(plan, ranges, seed, 4, seed, score, 1000);
        REQUIRE(log.ranges.size() == 3);
        // Everything again, from the rule alone.
        std::size_t at = 0;
        std::vector<fe::Trial> all;
        for (std::uint32_t round = 0; round < plan.rounds; ++round) {
            std::vector<fe::Trial> rung;
            for (std::uint32_t i = 0; i < plan.trials; ++i) {
                const std::uint32_t index = round * plan.trials + i;
                fe::Trial t{.index = index};
                for (std::size_t d = 0; d < ranges.size(); ++d)
                    t.values[d] = log.ranges[round][d].sample(fe::Random{fe::Seed{seed}}, 4 * index + d);
                rung.push_back(t);
            }
            for (std::uint32_t r = 0; r < plan.rungs() && !rung.empty(); ++r) {
                for (fe::Trial& t : rung) {
                    t.epochs = plan.rung_epochs(r);
                    t.score = no_number;
                    REQUIRE(at < log.tried.size());
                    REQUIRE(log.tried[at++] == row(t));
                    t.score = score(t);
                    if (!std::isfinite(t.score)) t.score = no_number;
                    all.push_back(t);
                }
                std::sort(rung.begin(), rung.end(),
                          [](const fe::Trial& a, const fe::Trial& b) { return key(a) < key(b); });
                while (!rung.empty() && rung.back().failed()) rung.pop_back();
                if (r + 1 < plan.rungs() && rung.size() > plan.rung_trials(r + 1))
                    rung.resize(plan.rung_trials(r + 1));
            }
            std::sort(all.begin(), all.end(),
                      [](const fe::Trial& a, const fe::Trial& b) { return key(a) < key(b); });
            std::vector<fe::Trial> distinct;
            for (const fe::Trial& t : all)
                if (std::none_of(distinct.begin(), distinct.end(),
                                 [&](const fe::Trial& d) { return d.index == t.index; }))
                    distinct.push_back(t);
            CHECK(rows(distinct) == log.best_of_round[round]);
            if (round + 1 == plan.rounds) break;
            const std::span parents = std::span(distinct).first(std::min<std::size_t>(3, distinct.size()));
            for (std::size_t d = 0; d < ranges.size(); ++d) {
                const fe::Range range = log.ranges[round + 1][d];
                CHECK(range == fe::narrowed(log.ranges[round][d], parents, d, plan.widen));
                CHECK(range.low >= log.ranges[round][d].low);
                CHECK(range.high <= log.ranges[round][d].high);
                for (const fe::Trial& p : parents) {
                    if (p.failed()) continue;
                    CHECK(p.values[d] >= range.low);
                    CHECK(p.values[d] <= range.high);
                }
            }
        }
        CHECK(at == log.tried.size());
    }
}

TEST_CASE("search: without failures the epochs are those of the plan") {
    const fe::Range range{1e-6f, 1e-2f, true};
    for (const std::uint32_t eta : {1u, 2u, 3u, 5u})
        for (const std::uint32_t trials : {1u, 10u, 33u}) {
            const fe::SearchPlan plan{.trials = trials, .epochs = 50, .rounds = 2, .eta = eta};
            const Log log =
                run(plan, std::span(&range, 1), 1, 1, 0, [](const fe::Trial& t) { return t.values[0]; });
            CHECK(log.epochs == plan.total_epochs());
        }
}

TEST_CASE("search: where every trial fails, each round ends with its first rung and nothing narrows") {
    const fe::Range range{1e-6f, 1e-2f, true};
    const fe::SearchPlan plan{.trials = 9, .epochs = 27, .rounds = 2, .eta = 3};
    const Log log = run(plan, std::span(&range, 1), 1, 3, 1, [](const fe::Trial&) { return -inf; });
    CHECK(log.tried.size() == 18);
    CHECK(log.ranges[1][0] == range);
    CHECK(std::get<2>(log.best[0]));  // kept as NaN
}

TEST_CASE("search: a second round finds the hill that the first one saw") {
    // A score that is best at a learning rate of 1e-3 and a weight decay of 1e-7, as wide as half a decade.
    const std::array ranges{fe::Range{1e-6f, 1e-2f, true}, fe::Range{1e-8f, 1e-4f, true}};
    const auto score = [](const fe::Trial& t) {
        const double a = std::log10(wide(t.values[0])) + 3, b = std::log10(wide(t.values[1])) + 7;
        return static_cast<float>(-a * a - b * b);
    };
    int better = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Log once = run({.trials = 100, .rounds = 1}, ranges, seed, 1, 0, score);
        const Log twice = run({.trials = 50, .rounds = 2}, ranges, seed, 1, 0, score);
        better += std::get<3>(twice.best[0]) > std::get<3>(once.best[0]) ? 1 : 0;
        CHECK(std::get<3>(twice.best[0]) > -0.25f);
        for (std::size_t d = 0; d < 2; ++d) CHECK(twice.ranges[1][d].low < (d == 0 ? 1e-3f : 1e-7f));
    }
    MESSAGE("two rounds of 50 trials beat one of 100 in " << better << " of 20 searches");
    CHECK(better >= 11);
}
