// SPDX-License-Identifier: MIT
// Training as a whole: memory pins, the same bits for every instruction set and update mode, and that it learns.
#include <doctest/doctest.h>
#include <ferrite/ferrite.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace fe = ferrite;

namespace {

inline constexpr auto digits =
    fe::sequential(fe::Shape{784}, fe::Dense{.units = 100}, fe::Relu{}, fe::Dense{.units = 10});
inline constexpr fe::Training with_sgd{.optimizer = fe::Sgd{}, .batch = 100};
inline constexpr fe::Training with_adam{.optimizer = fe::Adam{}, .batch = 100};
static_assert(sizeof(fe::Trainer<digits, with_sgd>) <= 366'000);
static_assert(sizeof(fe::Trainer<digits, with_adam>) <= 1'003'000);
// Parameters 318,144, hidden activations 40,000, logits, loss and scratch; Adam: twice the parameters more.
static_assert(fe::Trainer<digits, with_adam>::arena_bytes - fe::Trainer<digits, with_sgd>::arena_bytes >= 2 * 318'040);

inline constexpr auto small = fe::sequential(fe::Shape{9}, fe::Dense{.units = 17}, fe::Tanh{}, fe::Dense{.units = 13},
                                             fe::Gelu{}, fe::Dense{.units = 5}, fe::Relu{}, fe::Dense{.units = 3});
inline constexpr fe::Training immediate{.optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 7, .weight_decay = 1e-3f};
inline constexpr fe::Training stored{
    .optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 7, .weight_decay = 1e-3f, .update = fe::Update::stored};

/// 7 samples of 9 values and labels that follow from them.
struct Batch {
    std::vector<float> x = std::vector<float>(7 * 9);
    std::vector<fe::Label> y = std::vector<fe::Label>(7);
    explicit Batch(std::uint64_t n) {
        const fe::Random random(fe::Seed{77}, n);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
        for (std::size_t r = 0; r < y.size(); ++r) y[r] = x[r * 9] > 0.5f ? 2 : x[r * 9 + 1] > 0.0f ? 1 : 0;
    }
};

template <class Learner>
std::uint64_t train(Learner& learner, int steps, std::vector<float>& losses) {
    learner.initialize(fe::Seed{5});
    for (int i = 0; i < steps; ++i) {
        const Batch batch(static_cast<std::uint64_t>(i));
        losses.push_back(learner.step(batch.x, std::span<const fe::Label>(batch.y)));
    }
    return fe::digest(learner.session());
}

/// y = x scale, with a scale per element that is a parameter: a map with an auxiliary operand.
constexpr auto scale_by = fe::portable_kernel<fe::Map>("scale_by", [](const fe::Map& m) {
    for (std::size_t r = 0; r < m.rows; ++r)
        for (std::size_t c = 0; c < m.columns; ++c)
            m.operand[0][r * m.stride[0] + c] = m.operand[1][r * m.stride[1] + c] * m.operand[2][r * m.stride[2] + c];
});
struct Gate : fe::activation_detail::Elementwise {
    static constexpr const char* name = "gate";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::linear;
    constexpr void forward(fe::Emitter& e, fe::Node& n) const noexcept {
        n.parameter[0] = e.parameter({.name = "scale", .layer = n.layer, .elements = n.out.elements(),
                                      .initializer = fe::Constant{2.0f}, .trainable = false});
        n.y = e.activation("gate", n.layer, n.out.elements());
        e.step({.name = "gate", .run = &fe::run_map, .map = &scale_by, .layer = n.layer,
                .operand = fe::operands(n.y, n.x, e.parameter(n.parameter[0]).value), .size = {n.out.elements(), 0}});
    }
    constexpr void backward(fe::Emitter&, fe::Node& n) const noexcept { n.dx = n.dy; }
};
/// y = x by a step with operands 0, 1 and, if `more`, 4 and 11; it counts those that are null and should not be or the
/// other way round.
template <bool more>
struct Probe : fe::activation_detail::Elementwise {
    static constexpr const char* name = "probe";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::linear;
    static inline int wrong = 0, runs = 0;
    static void look(const fe::Call& call) {
        ++runs;
        for (std::size_t i = 0; i < std::size(call.operand); ++i)
            wrong += (call.operand[i] != nullptr) != (i < 2 || (more && (i == 4 || i == 11)));
        call.operand[0][0] = call.operand[1][0];
    }
    constexpr void forward(fe::Emitter& e, fe::Node& n) const noexcept {
        n.y = e.activation("probe", n.layer, n.out.elements());
        fe::Step step{.name = "probe", .run = &look, .layer = n.layer, .operand = fe::operands(n.y, n.x)};
        if (more) step.operand[4] = step.operand[11] = n.x;
        e.step(step);
    }
    constexpr void backward(fe::Emitter&, fe::Node& n) const noexcept { n.dx = n.dy; }
};
inline constexpr auto probed = fe::sequential(fe::Shape{1}, Probe<true>{}, Probe<false>{}, Probe<true>{});
inline constexpr fe::Inference one{};

inline constexpr auto gated = fe::sequential(fe::Shape{2}, fe::Dense{.units = 3}, Gate{});
inline constexpr auto not_gated = fe::sequential(fe::Shape{2}, fe::Dense{.units = 3});
inline constexpr fe::Training one_by_one{.loss = fe::MeanSquaredError{}};

}  // namespace

TEST_CASE("a map of two inputs behind a Dense is a step of its own") {
    fe::Trainer<gated, one_by_one> with;
    fe::Trainer<not_gated, one_by_one> without;
    with.initialize(fe::Seed{4});
    without.initialize(fe::Seed{4});
    const std::vector<float> x{1, -2};
    const auto y = with.predict(x), z = without.predict(x);
    for (std::size_t i = 0; i < 3; ++i) CHECK(y[i] == 2 * z[i]);
}

TEST_CASE("operands that a step does not have are null, whatever the step before it had") {
    fe::Predictor<probed, one> predictor;
    REQUIRE(predictor.use({}) == fe::Status::ok);
    const std::vector<float> x{3};
    CHECK(predictor.predict(x)[0] == 3.0f);
    CHECK(Probe<true>::runs == 2);
    CHECK(Probe<false>::runs == 1);
    CHECK(Probe<true>::wrong == 0);
    CHECK(Probe<false>::wrong == 0);
}

TEST_CASE("the best parameters are planned, kept, and back when the loss is not finite") {
    static constexpr fe::Training guarded{
        .optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 7, .weight_decay = 1e-3f, .keep_best = true};
    using Guarded = fe::Trainer<small, guarded>;
    const std::size_t parameters = Guarded::program.region_bytes[0];
    // One region more, with its padding.
    CHECK(Guarded::arena_bytes >= fe::Trainer<small, immediate>::arena_bytes + parameters);
    CHECK(Guarded::arena_bytes < fe::Trainer<small, immediate>::arena_bytes + parameters + 64);
    const auto learner = std::make_unique<Guarded>();
    const auto plain = std::make_unique<fe::Trainer<small, immediate>>();
    std::vector<float> a, b;
    CHECK(train(*learner, 50, a) == train(*plain, 50, b));
    CHECK(a == b);
    learner->session().keep_best();
    const std::uint64_t best = fe::digest(learner->session());
    Batch batch(51);
    static_cast<void>(learner->step(batch.x, std::span<const fe::Label>(batch.y)));
    CHECK(fe::digest(learner->session()) != best);
    batch.x[3] = std::numeric_limits<float>::quiet_NaN();
    for (int i = 0; i < 2; ++i) {
        const float loss = learner->step(batch.x, std::span<const fe::Label>(batch.y));
        CHECK(!(loss - loss == 0.0f));
        CHECK(fe::digest(learner->session()) == best);
        for (const float v : learner->session().state(0, 0)) REQUIRE(v == 0.0f);
    }
    // It goes on from there.
    const Batch good(52);
    CHECK(std::isfinite(learner->step(good.x, std::span<const fe::Label>(good.y))));
    CHECK(learner->session().restore_best());
    CHECK(fe::digest(learner->session()) == best);
    learner->initialize(fe::Seed{8});
    const std::uint64_t start = fe::digest(learner->session());
    static_cast<void>(learner->step(good.x, std::span<const fe::Label>(good.y)));
    CHECK(learner->session().restore_best());
    CHECK(fe::digest(learner->session()) == start);
    // Without a copy there is nothing to restore: the loss tells.
    static_cast<void>(plain->step(batch.x, std::span<const fe::Label>(batch.y)));
    CHECK(!plain->session().restore_best());
}

TEST_CASE("early stopping waits as long as its patience") {
    using Verdict = fe::EarlyStopping::Verdict;
    fe::EarlyStopping stopping(2, 0.125f);
    CHECK(stopping.best() == std::numeric_limits<float>::infinity());
    CHECK(stopping.observe(1.0f) == Verdict::improved);
    CHECK(stopping.observe(0.875f) == Verdict::waiting);  // by min_delta, not more
    CHECK(stopping.observe(0.75f) == Verdict::improved);
    CHECK(stopping.best() == 0.75f);
    CHECK(stopping.observe(std::numeric_limits<float>::quiet_NaN()) == Verdict::waiting);
    CHECK(stopping.observe(0.75f) == Verdict::stop);
    CHECK(stopping.observe(5.0f) == Verdict::stop);
    CHECK(stopping.observe(0.5f) == Verdict::improved);
}

TEST_CASE("the count of iterations stays at its end") {
    fe::Trainer<small, immediate> learner;
    std::vector<float> losses;
    train(learner, 3, losses);
    learner.session().set_iteration(0xFFFFFFFF);
    const Batch batch(0);
    static_cast<void>(learner.step(batch.x, std::span<const fe::Label>(batch.y)));
    CHECK(learner.session().iteration() == 0xFFFFFFFF);
    for (const float w : learner.session().parameter(0)) REQUIRE(w - w == 0.0f);
}

TEST_CASE("training lowers the loss, with the same bits on every instruction set and in both update modes") {
    const std::string before = fe::name(fe::active_isa());
    std::vector<float> reference;
    const auto first = std::make_unique<fe::Trainer<small, immediate>>();
    const auto second = std::make_unique<fe::Trainer<small, stored>>();
    REQUIRE(fe::select_isa(fe::name(fe::Isa{})) == fe::Status::ok);
    const std::uint64_t expected = train(*first, 400, reference);
    CHECK(expected == 0x4C213656709FE187u);  // of every compiler and every processor, too
    float head = 0, tail = 0;
    for (std::size_t i = 0; i < 50; ++i) {
        head += reference[i];
        tail += reference[reference.size() - 1 - i];
    }
    CHECK(tail < 0.5f * head);
    for (std::size_t i = 0; i < fe::isa_count; ++i) {
        const char* const isa = fe::name(static_cast<fe::Isa>(i));
        CAPTURE(std::string(isa));
        const fe::Status status = fe::select_isa(isa);
        if (status != fe::Status::ok) {
            MESSAGE("skipped: ", std::string(fe::message(status)));
            continue;
        }
        std::vector<float> a, b;
        CHECK(train(*first, 400, a) == expected);
        CHECK(train(*second, 400, b) == expected);
        CHECK(a == reference);
        CHECK(b == reference);
    }
    REQUIRE(fe::select_isa(before.c_str()) == fe::Status::ok);
}

TEST_CASE("one byte less than arena_bytes is refused, and nothing outside is touched") {
    const fe::ProgramView program = fe::Trainer<small, immediate>::program.view();
    const std::size_t bytes = program.totals->arena_bytes;
    std::vector<std::byte> memory(bytes + 3 * fe::buffer_alignment, std::byte{0xA5});
    auto* start = memory.data() + fe::buffer_alignment;
    start += (fe::buffer_alignment - reinterpret_cast<std::uintptr_t>(start) % fe::buffer_alignment) % fe::buffer_alignment;
    CHECK(fe::TrainingSession::bind(program, immediate, {start, bytes - 1}).status() == fe::Status::arena_too_small);
    CHECK(fe::TrainingSession::bind(program, immediate, {start + 4, bytes}).status() == fe::Status::misaligned);
    auto session = fe::TrainingSession::bind(program, immediate, {start, bytes});
    REQUIRE(session.ok());
    session.value().initialize(fe::Seed{1});
    const Batch batch(0);
    static_cast<void>(session.value().step(batch.x, std::span<const fe::Label>(batch.y)));
    static_cast<void>(session.value().predict(batch.x));
    for (const std::byte* p = memory.data(); p < start; ++p) REQUIRE(*p == std::byte{0xA5});
    for (const std::byte* p = start + bytes; p < memory.data() + memory.size(); ++p) REQUIRE(*p == std::byte{0xA5});
}

TEST_CASE("an arena in three blocks gives the same bits, byte for byte where it was planned") {
    static constexpr fe::Training every_region{.optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 7, .clip_norm = 1,
                                               .keep_best = true};
    using Learner = fe::Trainer<small, every_region>;
    const fe::ProgramView program = Learner::program.view();
    for (const std::uint32_t bytes : program.totals->region_bytes) REQUIRE(bytes != 0);

    struct Guarded {
        explicit Guarded(std::size_t size) : memory(size + 3 * fe::buffer_alignment, std::byte{0xA5}), bytes(size) {
            start = fe::buffer_alignment;
            while (reinterpret_cast<std::uintptr_t>(&memory[start]) % fe::buffer_alignment != 0) ++start;
        }
        std::span<std::byte> span() { return {&memory[start], bytes}; }
        bool intact() const {
            for (std::size_t i = 0; i < memory.size(); ++i)
                if ((i < start || i >= start + bytes) && memory[i] != std::byte{0xA5}) return false;
            return true;
        }
        std::vector<std::byte> memory;
        std::size_t bytes, start;
    };
    Guarded parameters(Learner::parameter_bytes), state(Learner::state_bytes), workspace(Learner::workspace_bytes);
    const fe::SplitArena arena{parameters.span(), state.span(), workspace.span()};
    const auto refusal = [&](std::span<std::byte> fe::SplitArena::*block, auto change) {
        fe::SplitArena wrong = arena;
        wrong.*block = change(wrong.*block);
        return fe::TrainingSession::bind(program, every_region, wrong).status();
    };
    const auto less = [](std::span<std::byte> block) { return block.first(block.size() - 1); };
    const auto moved = [](std::span<std::byte> block) { return std::span(block.data() + 4, block.size()); };
    CHECK(refusal(&fe::SplitArena::parameters, less) == fe::Status::buffer_too_small);
    CHECK(refusal(&fe::SplitArena::state, less) == fe::Status::buffer_too_small);
    CHECK(refusal(&fe::SplitArena::workspace, less) == fe::Status::arena_too_small);
    for (const auto block : {&fe::SplitArena::parameters, &fe::SplitArena::state, &fe::SplitArena::workspace})
        CHECK(refusal(block, moved) == fe::Status::misaligned);
    CHECK(fe::TrainingSession::bind({}, every_region, arena).status() == fe::Status::empty_model);

    auto bound = fe::TrainingSession::bind(program, every_region, arena);
    REQUIRE(bound.ok());
    fe::TrainingSession& split = bound.value();
    const auto whole = std::make_unique<Learner>();
    split.initialize(fe::Seed{5});
    whole->initialize(fe::Seed{5});
    const auto step = [&](std::uint64_t n) {
        const Batch batch(n);
        const std::span<const fe::Label> labels(batch.y);
        REQUIRE(split.step(batch.x, labels) == whole->step(batch.x, labels));
        REQUIRE(std::ranges::equal(split.predict(batch.x), whole->predict(batch.x)));
        CHECK(split.evaluate(batch.x, labels).loss == whole->evaluate(batch.x, labels).loss);
    };
    for (std::uint64_t i = 0; i < 20; ++i) step(i);
    split.keep_best();
    whole->session().keep_best();
    step(20);
    CHECK(split.restore_best());
    CHECK(whole->session().restore_best());
    step(21);
    CHECK(fe::digest(split) == fe::digest(whole->session()));
    for (std::size_t i = 0; i < split.parameter_count(); ++i)
        for (std::size_t slot = 0; slot < 2; ++slot)
            CHECK(std::ranges::equal(split.state(i, slot), whole->session().state(i, slot)));
    CHECK(parameters.intact());
    CHECK(state.intact());
    CHECK(workspace.intact());
    CHECK(split.parameters().data() == parameters.span().data());
    CHECK(split.parameters().size() == parameters.bytes);
}

TEST_CASE("the three types of a Trainer are a session's memory, which binding leaves as it is") {
    using Learner = fe::Trainer<small, immediate>;
    static Learner::Parameters parameters;
    static Learner::State state;
    static Learner::Workspace workspace;
    static_assert(Learner::state_bytes >= 2 * Learner::program.parameters * sizeof(float));
    static_assert(Learner::parameter_bytes + Learner::state_bytes + Learner::workspace_bytes <= Learner::arena_bytes);
    fe::TrainingSession first = Learner::bind(parameters, state, workspace);
    first.initialize(fe::Seed{5});
    const auto whole = std::make_unique<Learner>();
    whole->initialize(fe::Seed{5});
    for (std::uint64_t i = 0; i < 10; ++i) {
        const Batch batch(i);
        CHECK(first.step(batch.x, std::span<const fe::Label>(batch.y)) ==
              whole->step(batch.x, std::span<const fe::Label>(batch.y)));
        if (i != 4) continue;
        // As after a reset with parameters and state retained: the workspace holds nothing that is needed.
        fe::TrainingSession second = Learner::bind(parameters, state, workspace);
        std::ranges::fill(workspace.bytes(), std::byte{0xFF});
        second.set_iteration(first.iteration());
        second.set_seed(first.seed());
        first = second;
    }
    CHECK(fe::digest(first) == fe::digest(whole->session()));

    using Stateless = fe::Trainer<digits, with_sgd>;
    static_assert(Stateless::state_bytes == 0);
    CHECK(Stateless::State{}.bytes().empty());
}

TEST_CASE("a model that arrives at run time compiles to the same program") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 17}, fe::Tanh{}, fe::Dense{.units = 13}, fe::Gelu{},
                                           fe::Dense{.units = 5},  fe::Relu{}, fe::Dense{.units = 3}};
    const fe::DynamicModel model{fe::Shape{9}, layers};
    std::vector<std::uint64_t> tables(fe::table_bytes(layers.size()) / 8 + 1);
    const auto compiled = fe::compile(model, immediate, std::as_writable_bytes(std::span(tables)));
    REQUIRE(compiled.ok());
    const fe::ProgramView fixed = fe::Trainer<small, immediate>::program.view();
    CHECK(compiled.value().totals->arena_bytes == fixed.totals->arena_bytes);
    REQUIRE(compiled.value().steps.size() == fixed.steps.size());
    REQUIRE(compiled.value().buffers.size() == fixed.buffers.size());
    for (std::size_t i = 0; i < fixed.buffers.size(); ++i)
        CHECK(compiled.value().buffers[i].offset == fixed.buffers[i].offset);
}

TEST_CASE("saved weights come back bit for bit, and a damaged file is refused") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 17}, fe::Tanh{}, fe::Dense{.units = 13}, fe::Gelu{},
                                           fe::Dense{.units = 5},  fe::Relu{}, fe::Dense{.units = 3}};
    const fe::DynamicModel model{fe::Shape{9}, layers};
    const auto learner = std::make_unique<fe::Trainer<small, immediate>>();
    std::vector<float> losses;
    const std::uint64_t expected = train(*learner, 20, losses);
    std::vector<std::byte> file(fe::weights_bytes(model, learner->session().program()));
    REQUIRE(fe::save_weights(model, learner->session(), file).ok());
    const auto other = std::make_unique<fe::Trainer<small, immediate>>();
    other->initialize(fe::Seed{99});
    CHECK(fe::digest(other->session()) != expected);
    const auto opened = fe::open_weights(file);
    REQUIRE(opened.ok());
    CHECK(fe::load_weights(opened.value(), other->session()) == fe::Status::ok);
    CHECK(fe::digest(other->session()) == expected);
    std::vector<fe::AnyLayer> memory(opened.value().layer_count);
    const auto read = fe::read_model(opened.value(), memory);
    REQUIRE(read.ok());
    CHECK(fe::weights_bytes(read.value(), learner->session().program()) == file.size());
    for (std::size_t i = 0; i < file.size(); i += 7) {
        std::vector<std::byte> damaged = file;
        damaged[i] ^= std::byte{0x10};
        REQUIRE(!fe::open_weights(damaged).ok());
        REQUIRE(!fe::open_weights(std::span(file).first(i)).ok());
    }
    std::vector<std::byte> longer = file;
    longer.push_back(std::byte{0});
    CHECK(fe::open_weights(longer).status() == fe::Status::oversized);
}
