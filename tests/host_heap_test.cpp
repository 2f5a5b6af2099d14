// SPDX-License-Identifier: MIT
// No heap: the calls of the malloc family over the whole life of a Trainer and of sessions, all set-up
// included.
#include <doctest/doctest.h>

#include <array>
#include <ferrite/ferrite.hpp>
#include <host/heap.hpp>
#include <new>
#include <optional>
#include <string>

namespace fe = ferrite;

namespace {

inline constexpr auto net =
    fe::sequential(fe::Shape{4, 5}, fe::Flatten{}, fe::Dense{.units = 130}, fe::Relu{}, fe::Dense{.units = 9},
                   fe::Gelu{}, fe::Dense{.units = 3});
inline constexpr fe::Training recipe{.optimizer = fe::Adam{},
                                     .batch = 40,
                                     .weight_decay = 1e-3f,
                                     .clip_norm = 1,
                                     .schedule = fe::CosineDecay{.iterations = 300, .warmup = 10}};
inline constexpr fe::Inference use{.batch = 40, .link = fe::Link::softmax};

using Learner = fe::Trainer<net, recipe>;
using User = fe::Predictor<net, use>;

/// All that the test itself needs: static, as a firmware would have it.
struct Memory {
    std::array<float, 40 * 20> inputs;
    std::array<fe::Label, 40> labels;
    std::array<std::byte, 1 << 16> file;
    alignas(8) std::array<std::byte, fe::table_bytes(6)> tables, inference_tables;
    alignas(64) std::array<std::byte, Learner::arena_bytes> arena;
    alignas(64) std::array<std::byte, User::arena_bytes> inference_arena;
    alignas(64) std::array<std::byte, User::parameter_bytes> parameters;
    alignas(Learner) std::byte learner[sizeof(Learner)];
    std::array<fe::AnyLayer, 6> layers;
};
Memory memory;

/// Failed calls: CHECK itself would allocate.
struct Failures {
    int count = 0;
    void operator()(bool ok) { count += ok ? 0 : 1; }
};

std::span<const float> inputs(std::size_t rows) { return {memory.inputs.data(), rows * 20}; }
std::span<const fe::Label> labels(std::size_t rows) { return {memory.labels.data(), rows}; }

template <class Session>
void train(Session& session) {
    session.initialize(fe::Seed{1});
    for (std::size_t i = 0; i < 300; ++i)
        static_cast<void>(session.step(inputs(1 + i % 40), labels(1 + i % 40)));
    static_cast<void>(session.evaluate(inputs(40), labels(40)));
    static_cast<void>(session.predict(inputs(17)));
}

template <class Model>
void save_and_load(const Model& model, fe::TrainingSession& session, Failures& expect) {
    const std::uint64_t trained = fe::digest(session);
    const auto weights = fe::save_weights(model, session, memory.file);
    expect(weights.ok());
    const auto file = fe::open_weights({memory.file.data(), weights.value()});
    expect(file.ok());
    session.initialize(fe::Seed{2});
    expect(fe::digest(session) != trained);
    expect(fe::load_weights(file.value(), session) == fe::Status::ok);
    expect(fe::digest(session) == trained);

    const auto checkpoint = fe::save_checkpoint(model, session, memory.file);
    expect(checkpoint.ok());
    const auto opened = fe::open_weights({memory.file.data(), checkpoint.value()});
    expect(opened.ok());
    expect(fe::load_checkpoint(model, opened.value(), session) == fe::Status::ok);
    expect(fe::read_model(opened.value(), memory.layers).ok());
    static_cast<void>(session.step(inputs(40), labels(40)));
}

/// The whole life of a Trainer, and its weights in a Predictor.
void live_at_compile_time(Failures& expect) {
    auto* const learner = ::new (static_cast<void*>(memory.learner)) Learner;
    train(*learner);
    save_and_load(net, learner->session(), expect);
    static User user;
    expect(user.use(learner->session().parameters()) == fe::Status::ok);
    expect(user.predict(inputs(40)).size() == 40 * 3);
    learner->~Learner();
}

/// The same for a model that arrives at run time.
void live_at_run_time(Failures& expect) {
    memory.layers = {fe::Flatten{}, fe::Dense{.units = 130}, fe::Relu{}, fe::Dense{.units = 9},
                     fe::Gelu{},    fe::Dense{.units = 3}};
    const fe::DynamicModel model{fe::Shape{4, 5}, memory.layers};
    const auto program = fe::compile(model, recipe, memory.tables);
    expect(program.ok());
    auto session = fe::TrainingSession::bind(program.value(), recipe, memory.arena);
    expect(session.ok());
    train(session.value());
    save_and_load(model, session.value(), expect);

    const auto inference = fe::compile(model, use, memory.inference_tables);
    expect(inference.ok());
    const auto weights = fe::save_weights(model, session.value(), memory.file);
    const auto file = fe::open_weights({memory.file.data(), weights.value()});
    expect(fe::load_weights(file.value(), inference.value(), memory.parameters) == fe::Status::ok);
    auto user = fe::InferenceSession::bind(inference.value(), memory.parameters, memory.inference_arena);
    expect(user.ok());
    expect(user.value().predict(inputs(40)).size() == 40 * 3);
}

std::optional<std::uint64_t> allocations_of(void (*life)(Failures&), Failures& expect) {
    const auto before = fe::host::heap_allocations();
    life(expect);
    const auto after = fe::host::heap_allocations();
    if (!before || !after) return std::nullopt;
    return *after - *before;
}

}  // namespace

TEST_CASE("the counter counts") {
    if (!fe::host::heap_allocations()) {
        MESSAGE("skipped: a sanitizer or another C library keeps the malloc family to itself");
        return;
    }
    const auto before = fe::host::heap_allocations();
    void* volatile one = ::operator new(1000);
    ::operator delete(one);
    CHECK(*fe::host::heap_allocations() - *before == 1);
}

TEST_CASE("a Trainer and a session live without the heap, on every instruction set") {
    const std::string chosen = fe::name(fe::active_isa());
    const fe::Random random(fe::Seed{3});
    for (std::size_t i = 0; i < memory.inputs.size(); ++i) memory.inputs[i] = random.uniform(i, -1, 1);
    for (std::size_t i = 0; i < memory.labels.size(); ++i) memory.labels[i] = static_cast<fe::Label>(i % 3);
    for (const char* isa : {"scalar", "avx2", "avx512"}) {
        if (const fe::Status status = fe::select_isa(isa); status != fe::Status::ok) {
            MESSAGE("skipped: ", std::string(isa), ": ", std::string(fe::message(status)));
            continue;
        }
        INFO("instruction set ", std::string(isa));
        for (const auto life : {&live_at_compile_time, &live_at_run_time}) {
            Failures failures;
            const auto allocations = allocations_of(life, failures);
            CHECK(failures.count == 0);
            if (allocations) CHECK(*allocations == 0);
        }
    }
    REQUIRE(fe::select_isa(chosen.c_str()) == fe::Status::ok);
}
