// SPDX-License-Identifier: MIT
// The compiler: every byte is placed, none twice, and what it says is what runs.
#include <doctest/doctest.h>
#include <ferrite/ferrite.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fe = ferrite;
using fe::BufferId;
using fe::ProgramView;
using fe::Region;
using fe::Status;

namespace {

constexpr std::uint32_t property_seed = 20240607;
constexpr std::size_t random_models = 60;

std::mt19937 engine(std::size_t number) { return std::mt19937(property_seed + static_cast<std::uint32_t>(number)); }
std::uint32_t pick(std::mt19937& random, std::initializer_list<std::uint32_t> choices) {
    return choices.begin()[random() % choices.size()];
}

struct RandomModel {
    fe::Shape input;
    std::vector<fe::AnyLayer> layers;
    fe::Loss loss;
    bool trainable = false;

    [[nodiscard]] fe::DynamicModel view() const { return {input, layers}; }
};

RandomModel random_model(std::size_t number) {
    std::mt19937 random = engine(number);
    RandomModel result;
    const auto width = [&] { return pick(random, {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 70, 130}); };
    const std::uint32_t kind = pick(random, {0, 1, 2});
    if (kind == 0) {
        result.input = fe::Shape(pick(random, {1, 2, 3}), pick(random, {1, 4}), pick(random, {2, 5}));
        result.layers.push_back(fe::Flatten{});
    } else {
        result.input = fe::Shape{width()};
    }
    const std::uint32_t depth = 1 + random() % 4;
    for (std::uint32_t d = 0; d < depth; ++d) {
        const bool frozen = random() % 4 == 0;
        result.trainable = result.trainable || !frozen;
        result.layers.push_back(
            fe::Dense{.units = d + 1 == depth ? pick(random, {1, 2, 3, 10, 17}) : width(), .bias = random() % 5 != 0,
                      .frozen = frozen});
        if (d + 1 == depth && random() % 3 != 0) break;
        switch (random() % 7) {
            case 0: result.layers.push_back(fe::Relu{}); break;
            case 1: result.layers.push_back(fe::LeakyRelu{.slope = 0.1f}); break;
            case 2: result.layers.push_back(fe::Sigmoid{}); break;
            case 3: result.layers.push_back(fe::Tanh{}); break;
            case 4: result.layers.push_back(fe::Gelu{}); break;
            case 5: result.layers.push_back(fe::Softmax{}); break;
            default: break;
        }
        if (random() % 5 == 0) result.layers.push_back(fe::Flatten{});
        if (random() % 7 == 0) result.layers.push_back(fe::Tanh{});
    }
    const bool distribution = result.layers.back().nonlinearity() == fe::Nonlinearity::distribution;
    switch (random() % 4) {
        case 0: result.loss = fe::BinaryCrossEntropy{}; break;
        case 1: result.loss = fe::MeanSquaredError{}; break;
        case 2: result.loss = fe::Huber{.delta = 0.5f}; break;
        default: result.loss = distribution ? fe::Loss(fe::MeanSquaredError{}) : fe::Loss(fe::SoftmaxCrossEntropy{});
    }
    return result;
}

struct NamedOptimizer {
    const char* name;
    fe::Optimizer optimizer;
};
const NamedOptimizer optimizers[] = {
    {"sgd", fe::Sgd{}},         {"momentum", fe::Momentum{}}, {"nesterov", fe::Nesterov{}}, {"adagrad", fe::AdaGrad{}},
    {"rmsprop", fe::RmsProp{}}, {"adam", fe::Adam{}},         {"adamw", fe::AdamW{}}};

struct Mode {
    const char* name;
    fe::Update update;
    float clip_norm;
};
constexpr Mode modes[] = {{"immediate", fe::Update::immediate, 0},
                          {"stored", fe::Update::stored, 0},
                          {"clip_norm", fe::Update::automatic, 0.5f}};

/// A program made at run time, with the memory of its tables.
class Compiled {
  public:
    template <class Recipe>
    Compiled(const fe::DynamicModel& model, const Recipe& recipe)
        : tables_(fe::table_bytes(model.size()) / 8 + 1),
          result_(fe::compile(model, recipe, std::as_writable_bytes(std::span(tables_)))) {}
    Compiled(const Compiled&) = delete;
    Compiled& operator=(const Compiled&) = delete;
    [[nodiscard]] Status status() const { return result_.status(); }
    [[nodiscard]] const ProgramView& program() const { return result_.value(); }

  private:
    std::vector<std::uint64_t> tables_;
    fe::Result<ProgramView> result_;
};

/// Aligned memory between two guards, all of it filled with one byte.
class Guarded {
  public:
    Guarded(std::size_t bytes, std::byte pattern) : memory_(bytes + 4 * fe::buffer_alignment, pattern), bytes_(bytes), pattern_(pattern) {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
        start_ = 2 * fe::buffer_alignment - address % fe::buffer_alignment;
    }
    [[nodiscard]] std::span<std::byte> bytes() { return {memory_.data() + start_, bytes_}; }
    [[nodiscard]] bool guards_intact() const {
        const auto intact = [&](std::byte b) { return b == pattern_; };
        const auto first = memory_.begin() + static_cast<std::ptrdiff_t>(start_);
        return std::all_of(memory_.begin(), first, intact) &&
               std::all_of(first + static_cast<std::ptrdiff_t>(bytes_), memory_.end(), intact);
    }
    [[nodiscard]] bool untouched() const {
        return std::all_of(memory_.begin(), memory_.end(), [&](std::byte b) { return b == pattern_; });
    }
    /// Bytes up to the last one that differs from the pattern.
    [[nodiscard]] std::size_t high_water() const {
        std::size_t n = bytes_;
        while (n > 0 && memory_[start_ + n - 1] == pattern_) --n;
        return n;
    }

  private:
    std::vector<std::byte> memory_;
    std::size_t bytes_, start_ = 0;
    std::byte pattern_;
};

struct Samples {
    std::vector<float> inputs, targets;
    std::vector<fe::Label> labels;
    Samples(const fe::Totals& totals, std::uint32_t rows, std::uint64_t stream) {
        const fe::Random random(fe::Seed{9}, stream);
        inputs.resize(std::size_t{rows} * totals.input.elements());
        targets.resize(std::size_t{rows} * totals.output.elements());
        labels.resize(rows);
        for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = random.normal(i);
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = random.uniform(100000 + i);
        for (std::size_t i = 0; i < rows; ++i)
            labels[i] = static_cast<fe::Label>(random.bits(200000 + i) % totals.output.elements());
    }
};

/// Start, three steps, one of them on fewer rows, and a prediction.
std::vector<float> run(fe::TrainingSession& session) {
    const fe::Totals& totals = *session.program().totals;
    std::vector<float> seen;
    session.initialize(fe::Seed{3});
    for (std::uint64_t i = 0; i < 3; ++i) {
        const std::uint32_t rows = i == 1 ? (totals.batch + 1) / 2 : totals.batch;
        const Samples samples(totals, rows, i);
        seen.push_back(session.recipe().loss.labels ? session.step(samples.inputs, std::span<const fe::Label>(samples.labels))
                                                    : session.step(samples.inputs, std::span<const float>(samples.targets)));
    }
    const Samples samples(totals, totals.batch, 3);
    const std::span<const float> y = session.predict(samples.inputs);
    seen.insert(seen.end(), y.begin(), y.end());
    for (std::size_t i = 0; i < session.parameter_count(); ++i) {
        const std::span<const float> p = session.parameter(i);
        seen.insert(seen.end(), p.begin(), p.end());
    }
    return seen;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Which operands of a step may be the memory that it writes, by the kernel contract.
bool may_share(const fe::Step& step, std::size_t operand) {
    const std::string name = step.name;
    if (step.run == &fe::run_map) return operand == 1 || operand == 2;
    if (name == "dense backward") return operand == 2 || operand == 6;
    if (name == "dense") return false;
    return operand == 1;  // softmax, its backward pass, the losses, the links
}

struct Life {
    std::size_t first = SIZE_MAX, last = 0;  ///< steps; no first one: not in the arena
    std::uint64_t start = 0, stop = 0;       ///< bytes of the arena
};

std::size_t pass_length(const ProgramView& program) {
    return program.totals->link_step == fe::no_step ? program.steps.size() : program.totals->link_step;
}

/// From the operands of the steps alone.
std::vector<Life> lives_of(const ProgramView& program) {
    const fe::Totals& totals = *program.totals;
    const std::size_t end = pass_length(program);
    std::vector<Life> lives(program.buffers.size());
    for (std::size_t s = 0; s < end; ++s)
        for (const BufferId id : program.steps[s].operand)
            if (id != fe::no_buffer) {
                lives[id].first = std::min(lives[id].first, s);
                lives[id].last = s;
            }
    for (std::size_t id = 0; id < lives.size(); ++id) {
        const fe::Buffer& b = program.buffers[id];
        Life& life = lives[id];
        if (b.region == Region::input || (b.region == Region::parameters && !totals.training)) life.first = SIZE_MAX;
        if (life.first == SIZE_MAX) continue;
        life.start = program.offset(b);
        life.stop = life.start + b.bytes;
        if (b.region != Region::planned) life = {0, end, life.start, life.stop};  // always alive
    }
    lives[totals.training ? totals.loss_buffer : totals.output_buffer].last = end;  // read by the caller
    return lives;
}

/// Compares all pairs of buffers; "" or what is wrong.
std::string overlap(const ProgramView& program) {
    const std::vector<Life> lives = lives_of(program);
    for (std::size_t i = 0; i < lives.size(); ++i) {
        if (lives[i].first == SIZE_MAX) continue;
        const std::string name = program.buffers[i].name;
        if (lives[i].start % fe::buffer_alignment != 0) return name + " is not aligned";
        if (lives[i].stop > program.totals->arena_bytes) return name + " passes the end of the arena";
    }
    for (std::size_t i = 0; i < lives.size(); ++i)
        for (std::size_t j = 0; j < lives.size(); ++j) {
            const Life &a = lives[i], &b = lives[j];
            if (i == j || a.first == SIZE_MAX || b.first == SIZE_MAX) continue;
            if (a.stop <= b.start || b.stop <= a.start || a.last < b.first || b.last < a.first) continue;
            // The one excuse: b is born where a dies, in the same place, by a kernel that allows it.
            const Life &old = a.first < b.first ? a : b, &young = a.first < b.first ? b : a;
            const std::size_t old_id = a.first < b.first ? i : j, young_id = a.first < b.first ? j : i;
            bool excused = false;
            if (old.last == young.first && old.start == young.start) {
                const fe::Step& step = program.steps[young.first];
                for (std::size_t k = 1; k < step.operand.size(); ++k)
                    excused = excused || (step.operand[0] == young_id && step.operand[k] == old_id && may_share(step, k));
                // Not if the step reads the old one in another way as well.
                for (std::size_t k = 1; k < step.operand.size(); ++k)
                    excused = excused && (step.operand[k] != old_id || may_share(step, k));
            }
            if (!excused)
                return std::string(program.buffers[i].name) + " (#" + std::to_string(i) + ") and " +
                       program.buffers[j].name + " (#" + std::to_string(j) + ") overlap";
        }
    return "";
}

/// The same program with no two planned buffers in the same bytes.
struct Unshared {
    fe::Totals totals;
    std::vector<fe::Buffer> buffers;
    ProgramView program;
    explicit Unshared(const ProgramView& original)
        : totals(*original.totals), buffers(original.buffers.begin(), original.buffers.end()), program(original) {
        std::uint32_t end = 0;
        for (fe::Buffer& b : buffers)
            if (b.region == Region::planned) {
                b.offset = end;
                end = (end + b.bytes + 63) / 64 * 64;
            }
        constexpr auto planned = static_cast<std::size_t>(Region::planned);
        totals.region_bytes[planned] = end;
        totals.arena_bytes = totals.region_offset[planned] + end;
        program.totals = &totals;
        program.buffers = buffers;
    }
};

void check_training(const ProgramView& program, const fe::Training& recipe) {
    const std::size_t bytes = program.totals->arena_bytes;
    CHECK(overlap(program) == "");

    std::size_t high_water = 0;
    std::vector<float> seen;
    // A byte that is written may happen to be the pattern; hardly with both patterns.
    for (const std::byte pattern : {std::byte{0xA5}, std::byte{0x5B}}) {
        Guarded memory(bytes, pattern);
        CHECK(fe::TrainingSession::bind(program, recipe, memory.bytes().first(bytes - 1)).status() ==
              Status::arena_too_small);
        auto session = fe::TrainingSession::bind(program, recipe, memory.bytes());
        REQUIRE(session.ok());
        CHECK(memory.untouched());
        seen = run(session.value());
        CHECK(memory.guards_intact());
        high_water = std::max(high_water, memory.high_water());
    }
    CHECK(high_water == bytes);

    Unshared apart(program);
    Guarded memory(apart.totals.arena_bytes, std::byte{0});
    auto session = fe::TrainingSession::bind(apart.program, recipe, memory.bytes());
    REQUIRE(session.ok());
    CHECK(same_bits(seen, run(session.value())));
}

void check_inference(const ProgramView& program) {
    const fe::Totals& totals = *program.totals;
    CHECK(overlap(program) == "");
    Guarded parameters(totals.region_bytes[0], std::byte{0x3C});
    const Samples samples(totals, totals.batch, 1);
    std::size_t high_water = 0;
    for (const std::byte pattern : {std::byte{0xA5}, std::byte{0x5B}}) {
        Guarded memory(totals.arena_bytes, pattern);
        if (totals.arena_bytes != 0)
            CHECK(fe::InferenceSession::bind(program, parameters.bytes(), memory.bytes().first(totals.arena_bytes - 1u))
                      .status() == Status::arena_too_small);
        auto session = fe::InferenceSession::bind(program, parameters.bytes(), memory.bytes());
        REQUIRE(session.ok());
        CHECK(session.value().predict(samples.inputs).size() == samples.targets.size());
        CHECK(memory.guards_intact());
        CHECK(parameters.untouched());
        high_water = std::max(high_water, memory.high_water());
    }
    CHECK(high_water == totals.arena_bytes);
}

}  // namespace

TEST_CASE("property: random models with every optimizer, batch and update mode fill their arena exactly") {
    MESSAGE("seed " << property_seed << ", " << random_models << " models");
    std::size_t programs = 0;
    for (std::size_t number = 0; number < random_models; ++number) {
        const RandomModel model = random_model(number);
        CAPTURE(number);
        for (const std::uint32_t batch : {1u, 7u, 100u}) {
            CAPTURE(batch);
            for (const NamedOptimizer& optimizer : optimizers)
                for (const Mode& mode : modes) {
                    INFO(std::string(optimizer.name), " ", std::string(mode.name));
                    const fe::Training recipe{.loss = model.loss, .optimizer = optimizer.optimizer, .batch = batch,
                                              .weight_decay = 0.01f, .clip_norm = mode.clip_norm, .update = mode.update};
                    const Compiled compiled(model.view(), recipe);
                    if (!model.trainable) {
                        CHECK(compiled.status() == Status::nothing_to_train);
                        continue;
                    }
                    REQUIRE(compiled.status() == Status::ok);
                    check_training(compiled.program(), recipe);
                    ++programs;
                }
            const Compiled inference(model.view(), fe::Inference{.batch = batch, .link = model.loss.link});
            REQUIRE(inference.status() == Status::ok);
            check_inference(inference.program());
        }
    }
    CHECK(programs >= 50 * std::size(optimizers) * 3 * std::size(modes));
}

TEST_CASE("the overlap check sees two buffers in the same bytes") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 20}, fe::Tanh{}, fe::Dense{.units = 20}, fe::Gelu{},
                                           fe::Dense{.units = 3}};
    const fe::DynamicModel model{fe::Shape{20}, layers};
    const fe::Training recipe{.optimizer = fe::Adam{}, .batch = 5};
    const Compiled compiled(model, recipe);
    REQUIRE(compiled.status() == Status::ok);
    REQUIRE(overlap(compiled.program()) == "");
    const Unshared apart(compiled.program());
    REQUIRE(overlap(apart.program) == "");
    // Any two planned buffers that live together, put in the same place, are found.
    const std::vector<Life> lives = lives_of(apart.program);
    std::size_t found = 0;
    for (std::size_t i = 0; i < lives.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
            if (apart.buffers[i].region != Region::planned || apart.buffers[j].region != Region::planned) continue;
            if (lives[i].first == SIZE_MAX || lives[j].first == SIZE_MAX) continue;
            if (lives[i].first >= lives[j].last || lives[j].first >= lives[i].last) continue;
            std::vector<fe::Buffer> moved = apart.buffers;
            moved[i].offset = moved[j].offset;
            ProgramView wrong = apart.program;
            wrong.buffers = moved;
            CHECK(overlap(wrong) != "");
            ++found;
        }
    CHECK(found >= 3);
}

namespace {

/// Models that the compiler of C++ draws: three dense layers with two activations, all by their number.
constexpr std::uint32_t drawn(std::size_t number, std::uint32_t what, std::uint32_t choices) {
    return static_cast<std::uint32_t>(fe::Random(fe::Seed{number}, what).bits(0) >> 33) % choices;
}
template <std::size_t number, std::uint32_t what>
constexpr auto drawn_activation() {
    constexpr std::uint32_t kind = drawn(number, what, 6);
    if constexpr (kind == 0)
        return fe::Relu{};
    else if constexpr (kind == 1)
        return fe::LeakyRelu{.slope = 0.2f};
    else if constexpr (kind == 2)
        return fe::Sigmoid{};
    else if constexpr (kind == 3)
        return fe::Tanh{};
    else if constexpr (kind == 4)
        return fe::Gelu{};
    else
        return fe::Softmax{};
}
constexpr fe::Optimizer drawn_optimizer(std::size_t number) {
    constexpr fe::Optimizer all[] = {fe::Sgd{},     fe::Momentum{}, fe::Nesterov{}, fe::AdaGrad{},
                                     fe::RmsProp{}, fe::Adam{},     fe::AdamW{}};
    return all[number % 7];
}
template <std::size_t number>
struct Drawn {
    static constexpr auto model = fe::sequential(
        fe::Shape{1 + drawn(number, 1, 40)}, fe::Dense{.units = 1 + drawn(number, 2, 70), .frozen = drawn(number, 3, 3) == 0},
        drawn_activation<number, 4>(), fe::Dense{.units = 1 + drawn(number, 5, 40), .bias = drawn(number, 6, 3) != 0},
        drawn_activation<number, 7>(), fe::Dense{.units = 2 + drawn(number, 8, 9)});
    static constexpr fe::Training recipe{
        .optimizer = drawn_optimizer(number),
        .batch = number % 3 == 0 ? 1u : number % 3 == 1 ? 7u : 100u,
        .update = number % 2 == 0 ? fe::Update::immediate : fe::Update::stored};
};

/// Everything that two programs say but the addresses of names.
std::string difference(const ProgramView& a, const ProgramView& b) {
    const fe::Totals &x = *a.totals, &y = *b.totals;
    if (x.arena_bytes != y.arena_bytes || x.parameters != y.parameters || x.forward_steps != y.forward_steps ||
        x.link_step != y.link_step || x.batch != y.batch || !std::ranges::equal(x.region_bytes, y.region_bytes) ||
        !std::ranges::equal(x.region_offset, y.region_offset) || x.output_buffer != y.output_buffer ||
        x.loss_buffer != y.loss_buffer)
        return "totals";
    if (a.steps.size() != b.steps.size() || a.buffers.size() != b.buffers.size() || a.parameters.size() != b.parameters.size())
        return "sizes of the tables";
    for (std::size_t i = 0; i < a.steps.size(); ++i) {
        const fe::Step &s = a.steps[i], &t = b.steps[i];
        if (s.run != t.run || s.map != t.map || s.update != t.update || s.operand != t.operand || s.layer != t.layer ||
            s.decays != t.decays || !std::ranges::equal(s.size, t.size) || !std::ranges::equal(s.constant, t.constant) ||
            s.flops != t.flops)
            return "step " + std::to_string(i);
    }
    for (std::size_t i = 0; i < a.buffers.size(); ++i) {
        const fe::Buffer &s = a.buffers[i], &t = b.buffers[i];
        if (s.region != t.region || s.layer != t.layer || s.over != t.over || s.first != t.first || s.last != t.last ||
            s.bytes != t.bytes || s.offset != t.offset)
            return "buffer " + std::to_string(i);
    }
    for (std::size_t i = 0; i < a.parameters.size(); ++i) {
        const fe::Parameter &s = a.parameters[i], &t = b.parameters[i];
        if (s.value != t.value || s.gradient != t.gradient || !std::ranges::equal(s.state, t.state) ||
            s.elements != t.elements || s.fan_in != t.fan_in || s.trainable != t.trainable || s.decays != t.decays ||
            s.initializer.kind != t.initializer.kind)
            return "parameter " + std::to_string(i);
    }
    return "";
}

template <std::size_t number>
void check_drawn() {
    CAPTURE(number);
    using Case = Drawn<number>;
    static constexpr auto& fixed = fe::trainer_detail::Compiled<Case::model, Case::recipe>::program;
    static_assert(fixed.status == Status::ok && fixed.arena_bytes > 0);
    std::vector<fe::AnyLayer> layers;
    Case::model.for_each([&](const auto& layer) { layers.push_back(layer); });
    const Compiled compiled(fe::DynamicModel{Case::model.input, layers}, Case::recipe);
    REQUIRE(compiled.status() == Status::ok);
    CHECK(difference(fixed.view(), compiled.program()) == "");
    check_training(fixed.view(), Case::recipe);
}

}  // namespace

TEST_CASE("what the compiler of C++ makes of 56 random models is what runs and what is made at run time") {
    [&]<std::size_t... number>(std::index_sequence<number...>) {
        (check_drawn<number>(), ...);
    }(std::make_index_sequence<56>{});
}

namespace {

template <std::size_t... pair>
constexpr auto deep_model(std::index_sequence<pair...>) {
    return std::apply([](auto... layers) { return fe::sequential(fe::Shape{12}, layers...); },
                      std::tuple_cat(((void)pair, std::tuple(fe::Dense{.units = 12}, fe::Tanh{}))...));
}
inline constexpr auto deep = deep_model(std::make_index_sequence<30>{});
inline constexpr fe::Training deep_recipe{.loss = fe::MeanSquaredError{}, .optimizer = fe::Adam{}, .batch = 3};

}  // namespace

TEST_CASE("a training program of 60 layers is made within the default limits of constant evaluation") {
    static_assert(deep.size() == 60);
    static constexpr auto& fixed = fe::trainer_detail::Compiled<deep, deep_recipe>::program;
    static_assert(fixed.status == Status::ok);
    check_training(fixed.view(), deep_recipe);
}

TEST_CASE("frozen layers shrink the plan") {
    const auto bytes = [](bool first, bool second, bool third) {
        const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 64, .frozen = first}, fe::Tanh{},
                                               fe::Dense{.units = 48, .frozen = second}, fe::Tanh{},
                                               fe::Dense{.units = 5, .frozen = third}};
        const fe::DynamicModel model{fe::Shape{100}, layers};
        const fe::Training recipe{.optimizer = fe::Adam{}, .batch = 20};
        const Compiled compiled(model, recipe);
        REQUIRE(compiled.status() == Status::ok);
        const fe::Totals& totals = *compiled.program().totals;
        std::size_t backward = 0;
        for (const fe::Step& step : compiled.program().steps) backward += std::string(step.name) == "dense backward" ? 1u : 0u;
        return std::array<std::size_t, 3>{totals.region_bytes[1], totals.region_bytes[3], backward};
    };
    const auto none = bytes(false, false, false), first = bytes(true, false, false), two = bytes(true, true, false);
    // State: two floats for each parameter of a trainable layer, every array on its own 64-byte lines but the last.
    CHECK(none[0] - first[0] == 2 * (100 * 64 + 64) * 4);
    CHECK(first[0] - two[0] == 2 * (64 * 48 + 48) * 4);
    // Nothing below the first trainable layer keeps activations: h1 is dead once h2 is computed.
    CHECK(none[1] > two[1]);
    CHECK(none[2] == 3);
    CHECK(first[2] == 2);
    CHECK(two[2] == 1);
    // A frozen layer above a trainable one passes gradients and has no state.
    CHECK(bytes(false, true, true)[2] == 3);
    CHECK(bytes(false, true, true)[0] == none[0] - (first[0] - bytes(true, true, false)[0]) -
                                             (none[0] - bytes(false, false, true)[0]));
}

TEST_CASE("stored gradients cost their own region and nothing else") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 33}, fe::Relu{}, fe::Dense{.units = 7}};
    const fe::DynamicModel model{fe::Shape{21}, layers};
    for (const fe::Optimizer& optimizer : {fe::Optimizer(fe::Sgd{}), fe::Optimizer(fe::Adam{})}) {
        const fe::Training immediate{.optimizer = optimizer, .batch = 10};
        const fe::Training stored{.optimizer = optimizer, .batch = 10, .update = fe::Update::stored};
        const Compiled a(model, immediate), b(model, stored);
        REQUIRE(a.status() == Status::ok);
        REQUIRE(b.status() == Status::ok);
        const fe::Totals &x = *a.program().totals, &y = *b.program().totals;
        CHECK(x.region_bytes[2] == 0);
        CHECK(y.region_bytes[2] == y.region_bytes[0]);
        for (const std::size_t region : {0u, 1u, 3u}) CHECK(x.region_bytes[region] == y.region_bytes[region]);
    }
}

TEST_CASE("what cannot be compiled is answered with its reason") {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    const std::vector<fe::AnyLayer> good{fe::Dense{.units = 3}};
    const auto status = [&](const fe::Training& recipe, std::vector<fe::AnyLayer> layers, fe::Shape input = fe::Shape{4}) {
        const Compiled compiled(fe::DynamicModel{input, layers}, recipe);
        return compiled.status();
    };
    CHECK(status({}, good) == Status::ok);
    CHECK(status({}, {}) == Status::empty_model);
    CHECK(status({}, good, fe::Shape{}) == Status::empty_model);
    CHECK(status({}, good, fe::Shape(4, 0)) == Status::empty_model);
    CHECK(status({.batch = 0}, good) == Status::empty_model);
    CHECK(status({}, {fe::Dense{.units = 0}}) == Status::shape_mismatch);
    CHECK(status({}, {fe::Relu{}}) == Status::nothing_to_train);
    CHECK(status({}, {fe::Dense{.units = 3, .frozen = true}}) == Status::nothing_to_train);
    CHECK(status({}, {fe::Dense{.units = 3}, fe::Softmax{}}) == Status::invalid_loss);
    CHECK(status({}, {fe::Dense{.units = 65537}}) == Status::invalid_loss);
    CHECK(status({.clip_norm = 1, .update = fe::Update::immediate}, good) == Status::needs_stored_gradients);
    CHECK(status({.batch = 1u << 20}, {fe::Dense{.units = 4096}}) == Status::too_large);
    CHECK(status({}, {fe::Dense{.units = 1u << 30}}) == Status::too_large);
    for (const float bad : {nan, infinity, -1.0f}) {
        CAPTURE(bad);
        CHECK(status({.optimizer = fe::Sgd{.learning_rate = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.optimizer = fe::Momentum{.momentum = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.optimizer = fe::Nesterov{.momentum = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.optimizer = fe::AdaGrad{.epsilon = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.optimizer = fe::RmsProp{.decay = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.optimizer = fe::Adam{.beta1 = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.optimizer = fe::AdamW{.beta2 = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.weight_decay = bad}, good) == Status::invalid_hyperparameter);
        CHECK(status({.clip_value = bad}, good) == Status::invalid_hyperparameter);
        CHECK(status({.clip_norm = bad}, good) == Status::invalid_hyperparameter);
        CHECK(status({.schedule = fe::StepDecay{.multiply = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({.loss = fe::Huber{.delta = bad}}, good) == Status::invalid_hyperparameter);
        CHECK(status({}, {fe::Dense{.units = 3}, fe::LeakyRelu{.slope = bad}}) == Status::invalid_hyperparameter);
    }
    CHECK(status({.schedule = fe::StepDecay{.every = 0}}, good) == Status::invalid_hyperparameter);

    const fe::DynamicModel model{fe::Shape{4}, good};
    std::vector<std::uint64_t> words(fe::table_bytes(1) / 8 + 2);
    const auto memory = std::as_writable_bytes(std::span(words));
    const fe::Training recipe{};
    CHECK(fe::compile(model, recipe, memory.first(fe::table_bytes(1) - 1)).status() == Status::tables_too_small);
    CHECK(fe::compile(model, recipe, memory.subspan(4)).status() == Status::misaligned);
    CHECK(fe::compile(model, recipe, memory.first(fe::table_bytes(1))).ok());
    const Compiled inference(model, fe::Inference{});
    REQUIRE(inference.status() == Status::ok);
    CHECK(fe::TrainingSession::bind(inference.program(), recipe, {}).status() == Status::empty_model);
    CHECK(fe::TrainingSession::bind({}, recipe, {}).status() == Status::empty_model);
}
