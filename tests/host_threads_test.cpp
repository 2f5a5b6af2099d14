// SPDX-License-Identifier: MIT
// Steps that several threads share: the same bits for any number of them, in memory that is planned to the byte and without a
// heap; no two workers write to the same scratch; and the pool of threads itself.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ferrite/ferrite.hpp>
#include <host/heap.hpp>
#include <host/options.hpp>
#include <host/threads.hpp>
#include <set>
#include <string>
#include <vector>

namespace fe = ferrite;
using fe::host::Arena;
using fe::host::ThreadPool;

namespace {

constexpr std::uint32_t batch = 67, inputs = 190;

/// Layers of odd sizes that are large enough to be shared, one of each kind.
const std::vector<fe::AnyLayer> with_everything{fe::Dense{.units = 301, .bias = false},
                                                fe::BatchNorm{},
                                                fe::Relu{},
                                                fe::Dropout{.rate = 0.25f},
                                                fe::Dense{.units = 403},
                                                fe::LayerNorm{},
                                                fe::Gelu{},
                                                fe::Dropout{.rate = 0.5f, .scaling = fe::DropoutScaling::inference},
                                                fe::Dense{.units = 262},
                                                fe::Softmax{},
                                                fe::Dense{.units = 259, .frozen = true},
                                                fe::BatchNorm{.frozen = true},
                                                fe::Tanh{},
                                                fe::Dense{.units = 101},
                                                fe::Relu{},
                                                fe::Dense{.units = 7},
                                                fe::BatchNorm{}};
/// Where gradients go to the optimizer at once and dx lies over x.
const std::vector<fe::AnyLayer> plain{fe::Dense{.units = 111}, fe::Relu{},    fe::Dense{.units = 258},
                                      fe::LeakyRelu{},         fe::Dense{.units = 99}, fe::Sigmoid{},
                                      fe::Dense{.units = 7}};

constexpr fe::Optimizer optimizers[] = {fe::Sgd{.learning_rate = 0.05f},     fe::Momentum{}, fe::Nesterov{},
                                        fe::AdaGrad{}, fe::RmsProp{.learning_rate = 0.001f}, fe::Adam{}, fe::AdamW{}};

/// A model in training, with the steps that were shared.
class Learner {
  public:
    Learner(const std::vector<fe::AnyLayer>& layers, const fe::Training& recipe)
        : recipe_(recipe), tables_(fe::table_bytes(layers.size())) {
        const auto program = fe::compile(fe::DynamicModel{fe::Shape{inputs}, layers}, recipe_, tables_.bytes());
        REQUIRE(program.ok());
        arena = Arena(program.value().totals->arena_bytes);
        std::memset(arena.bytes().data(), 0xFF, arena.bytes().size());  // NaN
        session = fe::TrainingSession::bind(program.value(), recipe_, arena.bytes()).value();
        session.initialize(fe::Seed{3});
    }

    /// Trains on whole and part batches. What the parameters and the optimizer's state become, and all losses and outputs.
    std::vector<float> train(int steps) {
        const fe::Random random(fe::Seed{4}, 1);
        std::vector<float> results, x(batch * inputs);
        std::vector<fe::Label> labels(batch);
        for (int i = 0; i < steps; ++i) {
            const std::size_t rows = i % 3 == 2 ? 2 + static_cast<std::size_t>(i) % batch : batch;
            for (std::size_t k = 0; k < rows * inputs; ++k)
                x[k] = random.normal(static_cast<std::size_t>(i) * batch * inputs + k);
            for (std::size_t r = 0; r < rows; ++r)
                labels[r] = static_cast<fe::Label>(x[r * inputs] > 0.5f ? 2 : x[r * inputs + 1] > 0.0f ? 1 : 6);
            const auto first = std::span<const float>(x).first(rows * inputs);
            results.push_back(session.step(first, std::span<const fe::Label>(labels).first(rows)));
            results.push_back(session.evaluate(first, std::span<const fe::Label>(labels).first(rows)).loss);
            const auto y = session.predict(first);
            results.insert(results.end(), y.begin(), y.end());
        }
        const auto append = [&](std::span<const float> values) {
            results.insert(results.end(), values.begin(), values.end());
        };
        for (std::size_t p = 0; p < session.parameter_count(); ++p) {
            append(session.parameter(p));
            append(session.gradient(p));
            append(session.state(p, 0));
            append(session.state(p, 1));
        }
        return results;
    }

    Arena arena;
    fe::TrainingSession session;

  private:
    fe::Training recipe_;
    Arena tables_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return v - v == 0.0f; });
}

fe::Training recipe_of(const fe::Optimizer& optimizer, fe::Update update, std::uint32_t threads) {
    return {.optimizer = optimizer, .batch = batch, .weight_decay = 1e-3f, .update = update, .threads = threads};
}

/// Does the shares of a step one after the other, the last one first, and looks at what each leaves in the step's scratch.
struct Inspector {
    explicit Inspector(Learner& learner, std::size_t count)
        : workers{.context = this, .count = count, .run = &run},
          observer{.context = this, .before = [](void* self, std::size_t s) { static_cast<Inspector*>(self)->step = s; }},
          program(learner.session.program()),
          arena(learner.arena.bytes().data()) {
        learner.session.use(&workers);
        learner.session.observe(&observer);
    }
    static void run(void* context, std::size_t count, void (*task)(void*, std::size_t), void* argument) {
        auto& self = *static_cast<Inspector*>(context);
        const fe::Step& step = self.program.steps[self.step];
        CHECK(count == std::min<std::size_t>(self.workers.count, step.workers));
        self.shared.insert(std::string(step.name) + (step.map && step.run != &fe::run_map ? " with map" : ""));
        std::span<std::byte> scratch;
        if (step.scratch != 0 && step.operand[5] != fe::no_buffer) {
            const fe::Buffer& buffer = self.program.buffers[step.operand[5]];
            CHECK(buffer.bytes == std::size_t{step.workers} * step.scratch * sizeof(float));
            scratch = {self.arena + self.program.offset(buffer), buffer.bytes};
        }
        for (std::size_t w = count; w-- > 0;) {
            std::fill(scratch.begin(), scratch.end(), std::byte{0xA5});
            task(argument, w);
            for (std::size_t i = 0; i < scratch.size(); ++i) {
                if (scratch[i] == std::byte{0xA5}) continue;
                const bool own = i / sizeof(float) / step.scratch == w;
                self.foreign += own ? 0 : 1;
                self.written += 1;
            }
        }
    }

    fe::Workers workers;
    fe::Observer observer;
    fe::ProgramView program;
    std::byte* arena;
    std::size_t step = 0, foreign = 0, written = 0;
    std::set<std::string> shared;
};

}  // namespace

TEST_CASE("shares: every thing once, in order, as equal as whole runs can be") {
    for (std::size_t workers = 1; workers <= 9; ++workers)
        for (const std::size_t run : {1u, 4u, 16u})
            for (std::size_t size = 0; size <= 200; ++size) {
                std::size_t next = 0, least = size, most = 0;
                for (std::size_t w = 0; w < workers; ++w) {
                    const fe::Call call{.operand = {}, .step = nullptr, .pass = nullptr, .worker = w, .workers = workers};
                    const auto [first, count] = call.share(size, run);
                    if (count != 0) REQUIRE(first == next);
                    next += count;
                    if (next != size) REQUIRE(next % run == 0);
                    least = std::min(least, count);
                    most = std::max(most, count);
                }
                REQUIRE(next == size);
                REQUIRE(most - least < 2 * run);
            }
}

TEST_CASE("each worker writes to its own scratch, and every kind of step is shared") {
    for (const fe::Update update : {fe::Update::immediate, fe::Update::stored})
        for (const std::size_t count : {2u, 3u, 7u}) {
            INFO("workers ", count);
            Learner one(with_everything, recipe_of(fe::Adam{}, update, 1)), shared(with_everything, recipe_of(fe::Adam{}, update, 7));
            Inspector inspector(shared, count);
            CHECK(same_bits(one.train(4), shared.train(4)));
            CHECK(inspector.foreign == 0);
            CHECK(inspector.written > 100'000);
            for (const char* kind : {"dense", "dense with map", "dense backward", "batch_norm", "batch_norm backward", "layer_norm",
                                     "dropout", "softmax", "softmax backward", "gelu"}) {
                INFO(std::string(kind));
                CHECK(inspector.shared.contains(kind));
            }
            CHECK(inspector.shared.contains("update") == (update == fe::Update::stored));
        }
}

TEST_CASE("the same bits with any number of threads: every optimizer, stored and immediate") {
    ThreadPool two(2), three(3), five(5);
    for (const auto* layers : {&with_everything, &plain})
        for (const fe::Update update : {fe::Update::immediate, fe::Update::stored})
            for (const fe::Optimizer& optimizer : optimizers) {
                INFO(std::string(optimizer.name), ", update ", static_cast<int>(update), ", layers ", layers->size());
                Learner one(*layers, recipe_of(optimizer, update, 1));
                const std::vector<float> expected = one.train(3);
                REQUIRE(all_finite(expected));
                const auto compare = [&](std::uint32_t threads, const ThreadPool* pool) {
                    INFO("program for ", threads, ", threads ", pool ? pool->workers().count : 0);
                    Learner learner(*layers, recipe_of(optimizer, update, threads));
                    if (pool != nullptr) learner.session.use(&pool->workers());
                    CHECK(same_bits(learner.train(3), expected));
                    CHECK(fe::digest(learner.session) == fe::digest(one.session));
                };
                compare(2, &two);
                compare(3, &three);
                compare(5, &five);
                if (layers != &plain) continue;
                compare(3, nullptr);  // nobody but the caller
                compare(5, &two);     // fewer than the program has scratch for
                compare(2, &five);    // more
                compare(1, &five);
            }
}

TEST_CASE("the same bits with threads: clipping by the norm, and other losses") {
    ThreadPool three(3);
    fe::Training recipe = recipe_of(fe::Momentum{}, fe::Update::automatic, 1);
    recipe.clip_norm = 0.5f;
    recipe.clip_value = 0.01f;
    Learner one(with_everything, recipe);
    recipe.threads = 3;
    Learner several(with_everything, recipe);
    several.session.use(&three.workers());
    CHECK(same_bits(one.train(4), several.train(4)));
}

TEST_CASE("inference with threads gives the same outputs, for whole and part batches") {
    ThreadPool three(3);
    Learner learner(with_everything, recipe_of(fe::Adam{}, fe::Update::automatic, 1));
    learner.train(3);
    std::vector<float> x(batch * inputs);
    const fe::Random random(fe::Seed{4}, 2);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
    for (const fe::Link link : {fe::Link::none, fe::Link::softmax, fe::Link::sigmoid}) {
        std::vector<std::vector<float>> outputs;
        for (const std::uint32_t threads : {1u, 3u}) {
            const fe::Inference recipe{.batch = batch, .link = link, .fold = false, .threads = threads};
            const Arena tables(fe::table_bytes(with_everything.size()));
            const auto program = fe::compile(fe::DynamicModel{fe::Shape{inputs}, with_everything}, recipe, tables.bytes());
            REQUIRE(program.ok());
            const Arena arena(program.value().totals->arena_bytes);
            auto session = fe::InferenceSession::bind(program.value(), learner.session.parameters(), arena.bytes()).value();
            if (threads != 1) session.use(&three.workers());
            outputs.emplace_back();
            for (const std::size_t rows : {std::size_t{batch}, std::size_t{1}, std::size_t{13}}) {
                const auto y = session.predict(std::span<const float>(x).first(rows * inputs));
                outputs.back().insert(outputs.back().end(), y.begin(), y.end());
            }
        }
        CHECK(all_finite(outputs[0]));
        CHECK(same_bits(outputs[0], outputs[1]));
    }
}

TEST_CASE("the arena of a program for threads is exact; one for one thread is as it was") {
    const auto bytes = [](std::uint32_t threads) {
        fe::Training recipe = recipe_of(fe::Adam{}, fe::Update::automatic, threads);
        const Arena tables(fe::table_bytes(plain.size()));
        const auto program = fe::compile(fe::DynamicModel{fe::Shape{inputs}, plain}, recipe, tables.bytes());
        REQUIRE(program.ok());
        const std::size_t size = program.value().totals->arena_bytes;
        const Arena arena(size);
        CHECK(fe::TrainingSession::bind(program.value(), recipe, arena.bytes()).ok());
        CHECK(fe::TrainingSession::bind(program.value(), recipe, arena.bytes().first(size - 1)).status() ==
              fe::Status::arena_too_small);
        std::size_t scratch = 0;
        for (const fe::Step& step : program.value().steps) {
            CHECK((threads != 1 || step.workers == 1));
            if (step.operand[5] != fe::no_buffer) scratch += program.value().buffers[step.operand[5]].bytes;
        }
        return std::pair(size, scratch);
    };
    const auto one = bytes(1), four = bytes(4);
    CHECK(four.second > 2 * one.second);
    CHECK(four.first > one.first);
    CHECK(four.first <= one.first + (four.second - one.second));
}

TEST_CASE("a recipe for no threads or for more than there may be is refused") {
    for (const std::uint32_t threads : {0u, fe::max_threads + 1, 1u << 31}) {
        const Arena tables(fe::table_bytes(plain.size()));
        const fe::DynamicModel model{fe::Shape{inputs}, plain};
        CHECK(fe::compile(model, recipe_of(fe::Sgd{}, fe::Update::automatic, threads), tables.bytes()).status() ==
              fe::Status::invalid_hyperparameter);
        CHECK(fe::compile(model, fe::Inference{.threads = threads}, tables.bytes()).status() ==
              fe::Status::invalid_hyperparameter);
    }
}

TEST_CASE("no heap once the threads run") {
    if (!fe::host::heap_allocations()) {
        MESSAGE("skipped: heap allocations cannot be counted here");
        return;
    }
    ThreadPool three(3);
    Learner learner(with_everything, recipe_of(fe::Adam{}, fe::Update::automatic, 3));
    learner.session.use(&three.workers());
    const std::vector<float> x(batch * inputs, 0.5f);
    const std::vector<fe::Label> labels(batch, fe::Label{1});
    const std::uint64_t before = *fe::host::heap_allocations();
    for (int i = 0; i < 20; ++i) {
        static_cast<void>(learner.session.step(x, std::span<const fe::Label>(labels)));
        static_cast<void>(learner.session.predict(x));
    }
    const std::uint64_t after = *fe::host::heap_allocations();
    CHECK(after == before);
}

TEST_CASE("a pool calls each share once a round, and the caller sees what was written") {
    for (const unsigned threads : {1u, 2u, 3u, 16u}) {
        ThreadPool pool(threads);
        const fe::Workers& workers = pool.workers();
        REQUIRE(workers.count == threads);
        struct Round {
            std::vector<std::uint32_t> calls;
            std::uint32_t number = 0;
        } round{std::vector<std::uint32_t>(threads)};
        std::uint32_t wrong = 0;
        std::vector<std::uint32_t> expected(threads);
        for (std::uint32_t i = 0; i < 3000; ++i) {
            const std::size_t count = 1 + i % threads;
            round.number = i;
            workers.run(
                workers.context, count,
                [](void* argument, std::size_t worker) {
                    auto& r = *static_cast<Round*>(argument);
                    r.calls[worker] += r.number + 1;
                },
                &round);
            for (std::size_t w = 0; w < count; ++w) expected[w] += i + 1;
            wrong += round.calls == expected ? 0 : 1;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("a pool uses its threads") {
    // Share 1 waits until share 0 runs, which one thread alone could not do.
    ThreadPool pool(2);
    struct Meeting {
        std::atomic<int> there{0};
    } meeting;
    pool.workers().run(
        pool.workers().context, 2,
        [](void* argument, std::size_t) {
            auto& m = *static_cast<Meeting*>(argument);
            m.there.fetch_add(1);
            m.there.notify_all();
            while (m.there.load() != 2) m.there.wait(1);
        },
        &meeting);
    CHECK(meeting.there.load() == 2);
}
