// SPDX-License-Identifier: MIT
// The compiler: over random models, that the plan is sound by a check that shares nothing with the planner,
// that its bytes are those that a run touches, and that it is the same at compile time; what is refused and
// with which status.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <ferrite/ferrite.hpp>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fe = ferrite;

namespace {

// ---- Random models: a function of a seed, the same at compile time and at run time.

constexpr std::uint32_t seeds_at_compile_time = 50;
constexpr std::uint32_t seeds = 64;
#if defined(FERRITE_TEST_EMULATED)
constexpr std::uint32_t seeds_that_run = 3;  // all of them take an emulator five minutes
#else
constexpr std::uint32_t seeds_that_run = seeds;
#endif

constexpr std::uint64_t draw(std::uint32_t seed, std::uint64_t stream, std::uint64_t position,
                             std::uint64_t n) {
    return fe::Random(fe::Seed{seed}, stream).bits(position) % n;
}

enum class Kind : std::uint8_t { relu, leaky_relu, sigmoid, tanh, gelu, softmax, flatten, layer_norm, dropout, dense, count };

struct Choice {
    Kind kind;
    fe::Dense dense{};
    fe::Dropout dropout{};
};

constexpr fe::Shape input_of(std::uint32_t seed) {
    constexpr fe::Shape shapes[] = {fe::Shape{1},  fe::Shape{3},  fe::Shape{4, 3},       fe::Shape{2, 3, 5},
                                    fe::Shape{17}, fe::Shape{64}, fe::Shape{3, 1, 2, 7}, fe::Shape{129}};
    return shapes[draw(seed, 1000, 0, std::size(shapes))];
}

constexpr std::size_t length_of(std::uint32_t seed) {
    return 1 + static_cast<std::size_t>(draw(seed, 1000, 1, 7));
}

/// Layer i: one is always a Dense that learns, every second other one is a Dense, one in three of those is
/// frozen.
constexpr Choice choice(std::uint32_t seed, std::size_t i) {
    constexpr std::uint32_t sizes[] = {1, 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 48, 65, 100, 127, 128, 130};
    const bool learns = i == draw(seed, 1000, 2, length_of(seed));
    if (!learns && draw(seed, i, 0, 2) == 0)
        return {.kind = static_cast<Kind>(draw(seed, i, 1, static_cast<std::uint64_t>(Kind::dense))),
                .dropout = {.rate = draw(seed, i, 5, 4) == 0 ? 0.0f : 0.25f,
                            .scaling = draw(seed, i, 6, 2) == 0 ? fe::DropoutScaling::inverted
                                                                : fe::DropoutScaling::inference}};
    return {.kind = Kind::dense,
            .dense = {.units = sizes[draw(seed, i, 2, std::size(sizes))],
                      .bias = draw(seed, i, 3, 4) != 0,
                      .frozen = !learns && draw(seed, i, 4, 3) == 0,
                      .initializer = fe::XavierUniform{},
                      .bias_initializer = fe::XavierUniform{}}};
}

std::vector<fe::AnyLayer> layers_of(std::uint32_t seed) {
    std::vector<fe::AnyLayer> layers;
    for (std::size_t i = 0; i < length_of(seed); ++i) {
        const Choice c = choice(seed, i);
        switch (c.kind) {
            case Kind::relu:
                layers.emplace_back(fe::Relu{});
                break;
            case Kind::leaky_relu:
                layers.emplace_back(fe::LeakyRelu{});
                break;
            case Kind::sigmoid:
                layers.emplace_back(fe::Sigmoid{});
                break;
            case Kind::tanh:
                layers.emplace_back(fe::Tanh{});
                break;
            case Kind::gelu:
                layers.emplace_back(fe::Gelu{});
                break;
            case Kind::softmax:
                layers.emplace_back(fe::Softmax{});
                break;
            case Kind::flatten:
                layers.emplace_back(fe::Flatten{});
                break;
            case Kind::layer_norm:
                layers.emplace_back(fe::LayerNorm{});
                break;
            case Kind::dropout:
                layers.emplace_back(c.dropout);
                break;
            default:
                layers.emplace_back(c.dense);
                break;
        }
    }
    return layers;
}

template <std::uint32_t seed, std::size_t i>
constexpr auto layer_of() {
    constexpr Choice c = choice(seed, i);
    if constexpr (c.kind == Kind::relu)
        return fe::Relu{};
    else if constexpr (c.kind == Kind::leaky_relu)
        return fe::LeakyRelu{};
    else if constexpr (c.kind == Kind::sigmoid)
        return fe::Sigmoid{};
    else if constexpr (c.kind == Kind::tanh)
        return fe::Tanh{};
    else if constexpr (c.kind == Kind::gelu)
        return fe::Gelu{};
    else if constexpr (c.kind == Kind::softmax)
        return fe::Softmax{};
    else if constexpr (c.kind == Kind::flatten)
        return fe::Flatten{};
    else if constexpr (c.kind == Kind::layer_norm)
        return fe::LayerNorm{};
    else if constexpr (c.kind == Kind::dropout)
        return c.dropout;
    else
        return c.dense;
}

template <std::uint32_t seed>
constexpr auto model_of() {
    return []<std::size_t... I>(std::index_sequence<I...>) {
        return fe::sequential(input_of(seed), layer_of<seed, I>()...);
    }
    (std::make_index_sequence<length_of(seed)>{});
}

std::string describe(std::uint32_t seed) {
    constexpr const char* names[] = {"relu", "leaky_relu", "sigmoid", "tanh",
                                     "gelu", "softmax",    "flatten", "layer_norm", "dropout", "dense"};
    std::string text = std::to_string(input_of(seed).elements());
    for (std::size_t i = 0; i < length_of(seed); ++i) {
        const Choice c = choice(seed, i);
        text.append(", ").append(names[static_cast<std::size_t>(c.kind)]);
        if (c.kind != Kind::dense) continue;
        text.append(" ").append(std::to_string(c.dense.units));
        text.append(c.dense.bias ? "" : " without bias").append(c.dense.frozen ? " frozen" : "");
    }
    return text;
}

// ---- Recipes.

constexpr fe::Optimizer optimizers[] = {fe::Sgd{},     fe::Momentum{}, fe::Nesterov{}, fe::AdaGrad{},
                                        fe::RmsProp{}, fe::Adam{},     fe::AdamW{}};
constexpr std::uint32_t batches[] = {1, 7, 100};
constexpr fe::Loss losses[] = {fe::SoftmaxCrossEntropy{}, fe::BinaryCrossEntropy{}, fe::MeanSquaredError{},
                               fe::Huber{}};
enum class Mode : std::uint8_t { immediate, stored, clipped };
constexpr Mode modes[] = {Mode::immediate, Mode::stored, Mode::clipped};

/// What makes probabilities does not go behind a layer that has made them.
constexpr bool fits(fe::Link link, std::uint32_t seed) {
    const auto transparent = [](Kind kind) {
        return kind == Kind::flatten || kind == Kind::layer_norm || kind == Kind::dropout;
    };
    std::size_t last = length_of(seed) - 1;
    while (last > 0 && transparent(choice(seed, last).kind)) --last;
    const Kind kind = choice(seed, last).kind;
    return !(link == fe::Link::softmax && kind == Kind::softmax) && !(link == fe::Link::sigmoid && kind == Kind::sigmoid);
}
constexpr bool fits(const fe::Loss& loss, std::uint32_t seed) { return fits(loss.link, seed); }

/// The first loss from the n-th on that fits.
constexpr fe::Loss loss_of(std::uint32_t seed, std::size_t n) {
    return fits(losses[n % 4], seed) ? losses[n % 4] : losses[(n + 1) % 4];
}

constexpr fe::Training recipe_of(const fe::Loss& loss, std::size_t optimizer, std::uint32_t batch,
                                 Mode mode) {
    return {.loss = loss,
            .optimizer = optimizers[optimizer],
            .batch = batch,
            .weight_decay = 1e-3f,
            .clip_norm = mode == Mode::clipped ? 0.1f : 0.0f,
            .update = mode == Mode::immediate ? fe::Update::immediate
                      : mode == Mode::stored  ? fe::Update::stored
                                              : fe::Update::automatic};
}

/// A program of a model that arrives at run time, and the memory of its tables.
struct Compiled {
    std::vector<std::uint64_t> memory;
    fe::Result<fe::ProgramView> result = fe::Status::empty_model;

    template <class Recipe>
    Compiled(const fe::DynamicModel& model, const Recipe& recipe)
        : memory(fe::table_bytes(model.size()) / 8 + 1) {
        result = fe::compile(model, recipe, std::as_writable_bytes(std::span(memory)));
    }
    [[nodiscard]] const fe::ProgramView& view() const { return result.value(); }
};

// ---- The check of a plan, from steps, sizes and addresses alone.

std::string words(std::initializer_list<std::string> parts) {
    std::string result;
    for (const std::string& part : parts) result.append(result.empty() ? "" : " ").append(part);
    return result;
}

/// The steps that a call of a session runs, one after the other, and what is read behind the last one.
struct Path {
    const char* call;
    std::vector<std::size_t> steps;
    fe::BufferId answer;
};

std::vector<Path> paths_of(const fe::ProgramView& program) {
    const fe::Totals& t = *program.totals;
    const auto range = [](std::size_t end) {
        std::vector<std::size_t> steps(end);
        for (std::size_t i = 0; i < end; ++i) steps[i] = i;
        return steps;
    };
    if (!t.training) return {{"predict", range(program.steps.size()), t.output_buffer}};
    const bool link = t.link_step != fe::no_step;
    Path predict{"predict", range(t.forward_steps), t.output_buffer};
    if (link) predict.steps.push_back(t.link_step);
    return {{"step", range(link ? t.link_step : program.steps.size()), t.loss_buffer},
            predict,
            {"evaluate", range(std::size_t{t.forward_steps} + 1), t.loss_buffer}};
}

/// Of planned buffers a step reads its main input, its auxiliary operand and the x of a backward step; the
/// others it writes first.
constexpr bool is_input(std::size_t operand) { return operand == 1 || operand == 2 || operand == 6; }

struct Life {
    int first = -1, last = -1;  ///< positions in a path; -1: nobody
};

bool outside_arena(const fe::ProgramView& program, const fe::Buffer& b) {
    return b.region == fe::Region::input || (b.region == fe::Region::parameters && !program.totals->training);
}

/// Lives in the order of a path; parameters, optimizer state and gradients live all the time.
std::vector<Life> lives_of(const fe::ProgramView& program, const Path& path) {
    std::vector<Life> lives(program.buffers.size());
    for (std::size_t at = 0; at < path.steps.size(); ++at)
        for (const fe::BufferId id : program.steps[path.steps[at]].operand) {
            if (id == fe::no_buffer) continue;
            if (lives[id].first < 0) lives[id].first = static_cast<int>(at);
            lives[id].last = static_cast<int>(at);
        }
    const int end = static_cast<int>(path.steps.size());
    lives[path.answer].last = end;
    for (std::size_t id = 0; id < lives.size(); ++id)
        if (program.buffers[id].region != fe::Region::planned) lives[id] = {-1, end};
    return lives;
}

/// Whether `step` may put `younger` on the bytes of `older`: it reads the one for the last time and writes
/// the other.
bool in_place(const fe::Step& step, std::size_t older, std::size_t younger) {
    if (step.operand[0] != younger) return false;
    for (std::size_t k = 0; k < step.operand.size(); ++k) {
        if (step.operand[k] == older && !is_input(k)) return false;
        if (step.operand[k] == younger && k != 0) return false;
    }
    return true;
}

std::string defect_of_path(const fe::ProgramView& program, const Path& path) {
    const std::vector<Life> lives = lives_of(program, path);
    const auto name = [&](std::size_t id) { return words({program.buffers[id].name, std::to_string(id)}); };
    for (std::size_t id = 0; id < lives.size(); ++id) {
        const fe::Buffer& b = program.buffers[id];
        if (b.region != fe::Region::planned || lives[id].last < 0) continue;
        if (b.bytes == 0) return words({name(id), "has no bytes"});
        if (lives[id].first < 0) return words({name(id), "is read and not written"});
        const fe::Operands& operand =
            program.steps[path.steps[static_cast<std::size_t>(lives[id].first)]].operand;
        for (std::size_t k = 0; k < operand.size(); ++k)
            if (operand[k] == id && is_input(k)) return words({name(id), "is read before it is written"});
    }
    // A step writes to the arena; what is in the input or, in inference, a parameter, is only read.
    for (const std::size_t s : path.steps) {
        const fe::BufferId written = program.steps[s].operand[0];
        if (written != fe::no_buffer && outside_arena(program, program.buffers[written]))
            return words({program.steps[s].name, "writes", name(written)});
    }
    for (std::size_t i = 0; i < lives.size(); ++i)
        for (std::size_t j = i + 1; j < lives.size(); ++j) {
            if (lives[i].last < 0 || lives[j].last < 0) continue;
            const std::size_t older = lives[i].first < lives[j].first ? i : j, younger = older == i ? j : i;
            const fe::Buffer &a = program.buffers[older], &b = program.buffers[younger];
            if (outside_arena(program, a) || outside_arena(program, b)) continue;
            const std::uint64_t at = program.offset(a), bt = program.offset(b);
            if (at + a.bytes <= bt || bt + b.bytes <= at || lives[older].last < lives[younger].first)
                continue;
            const bool allowed =
                lives[older].last == lives[younger].first && b.over != fe::no_buffer && at == bt &&
                a.bytes == b.bytes && a.region == fe::Region::planned &&
                in_place(program.steps[path.steps[static_cast<std::size_t>(lives[younger].first)]], older,
                         younger);
            if (!allowed)
                return words({name(older), "and", name(younger), "share bytes while both are needed"});
        }
    return "";
}

/// "" or what is wrong with the plan.
std::string defect(const fe::ProgramView& program) {
    const fe::Totals& t = *program.totals;
    std::uint64_t end[fe::region_count]{}, arena = 0;
    for (const fe::Buffer& b : program.buffers) {
        if (b.region == fe::Region::input || b.bytes == 0) continue;
        if (program.offset(b) % 64 != 0) return words({b.name, "is not aligned"});
        std::uint64_t& region_end = end[static_cast<std::size_t>(b.region)];
        region_end = std::max(region_end, std::uint64_t{b.offset} + b.bytes);
    }
    for (std::size_t r = 0; r < fe::region_count; ++r) {
        const char* const name = fe::name(static_cast<fe::Region>(r));
        if (end[r] != t.region_bytes[r]) return words({name, "ends elsewhere"});
        if (end[r] == 0 || (r == 0 && !t.training)) continue;
        arena = (arena + 63) / 64 * 64;
        if (t.region_offset[r] != arena) return words({name, "starts elsewhere"});
        arena += end[r];
    }
    if (arena != t.arena_bytes) return "arena_bytes is not the end of the last buffer";
    for (const fe::Step& s : program.steps)
        for (const fe::BufferId id : s.operand)
            if (id != fe::no_buffer && id >= program.buffers.size())
                return words({s.name, "has an operand that is none"});
    for (const Path& path : paths_of(program))
        if (const std::string found = defect_of_path(program, path); !found.empty())
            return words({path.call, found});
    return "";
}

// ---- Runs.

/// Bytes that start at a multiple of 64 between two guards; everything is filled with `pattern`.
class Guarded {
  public:
    Guarded(std::size_t bytes, std::byte pattern)
        : pattern_(pattern), bytes_(bytes), memory_(bytes + 2 * guard + fe::buffer_alignment, pattern) {
        start_ = memory_.data() + guard;
        while (reinterpret_cast<std::uintptr_t>(start_) % fe::buffer_alignment != 0) ++start_;
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    [[nodiscard]] std::span<std::byte> span() const { return {start_, bytes_}; }
    [[nodiscard]] bool untouched() const {
        return untouched(memory_.data(), memory_.data() + memory_.size());
    }
    [[nodiscard]] bool guards_intact() const {
        return untouched(memory_.data(), start_) &&
               untouched(start_ + bytes_, memory_.data() + memory_.size());
    }
    /// One behind the last byte of the span that has another value than the pattern.
    [[nodiscard]] std::size_t high_water() const {
        std::size_t end = bytes_;
        while (end > 0 && start_[end - 1] == pattern_) --end;
        return end;
    }

  private:
    static constexpr std::size_t guard = 256;
    [[nodiscard]] bool untouched(const std::byte* first, const std::byte* last) const {
        return std::all_of(first, last, [this](std::byte b) { return b == pattern_; });
    }
    std::byte pattern_;
    std::size_t bytes_;
    std::vector<std::byte> memory_;
    std::byte* start_;
};

/// A byte that is written may happen to be the pattern, but not both patterns.
constexpr std::byte patterns[] = {std::byte{0xA5}, std::byte{0x5A}};

struct Data {
    std::vector<float> inputs, targets;
    std::vector<fe::Label> labels;

    Data(std::uint32_t seed, std::size_t rows, std::size_t width, std::size_t outputs)
        : inputs(rows * width), targets(rows * outputs), labels(rows) {
        const fe::Random x(fe::Seed{seed}, 2000), y(fe::Seed{seed}, 2001);
        for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = x.uniform(i, -1, 1);
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = y.uniform(i);
        for (std::size_t i = 0; i < rows; ++i) labels[i] = static_cast<fe::Label>(y.bits(i) % outputs);
    }
    Data(std::uint32_t seed, const fe::Totals& t)
        : Data(seed, t.batch, t.input.elements(), t.output.elements()) {}
};

using Bits = std::vector<std::uint32_t>;

void append(Bits& bits, std::span<const float> values) {
    for (const float v : values) bits.push_back(std::bit_cast<std::uint32_t>(v));
}

/// Everything that a life of a session gives: losses, hits, outputs, parameters, optimizer state.
Bits live(fe::TrainingSession& session, const Data& data) {
    const fe::Totals& t = *session.program().totals;
    const std::size_t width = t.input.elements(), outputs = t.output.elements(), batch = t.batch;
    const bool labels = session.recipe().loss.labels;
    const std::span<const float> inputs = data.inputs, targets = data.targets;
    const std::span<const fe::Label> classes = data.labels;
    Bits bits;
    for (const std::size_t rows : {batch, (batch + 1) / 2, batch}) {
        const float loss = labels ? session.step(inputs.first(rows * width), classes.first(rows))
                                  : session.step(inputs.first(rows * width), targets.first(rows * outputs));
        append(bits, {&loss, 1});
    }
    if (labels) {
        const fe::Evaluation evaluation = session.evaluate(inputs, classes);
        append(bits, {&evaluation.loss, 1});
        bits.push_back(evaluation.correct);
    }
    append(bits, session.predict(inputs));
    for (std::size_t i = 0; i < session.parameter_count(); ++i) {
        append(bits, session.parameter(i));
        append(bits, session.state(i, 0));
        append(bits, session.state(i, 1));
    }
    return bits;
}

/// The same program with memory of its own for every buffer, and 64 bytes or more that belong to nobody
/// behind each. What comes out cannot depend on which buffers share bytes.
struct Apart {
    fe::Totals totals;
    std::vector<fe::Buffer> buffers;
    fe::ProgramView program;

    explicit Apart(const fe::ProgramView& from)
        : totals(*from.totals), buffers(from.buffers.begin(), from.buffers.end()), program(from) {
        std::uint32_t arena = 0;
        for (std::size_t r = totals.training ? 0 : 1; r < fe::region_count; ++r) {
            std::uint32_t end = 0;
            for (fe::Buffer& b : buffers) {
                if (b.region != static_cast<fe::Region>(r) || b.bytes == 0) continue;
                b.offset = end;
                end += (b.bytes + 127) / 64 * 64;
            }
            totals.region_offset[r] = arena;
            totals.region_bytes[r] = end;
            arena += end;
        }
        totals.arena_bytes = arena;
        program.totals = &totals;
        program.buffers = buffers;
    }
    Apart(const Apart&) = delete;
    Apart& operator=(const Apart&) = delete;

    /// Whether `now` is as `before` wherever no buffer lies.
    [[nodiscard]] bool gaps_intact(std::span<const std::byte> before, std::span<const std::byte> now) const {
        std::vector<bool> owned(before.size());
        for (const fe::Buffer& b : buffers) {
            if (outside_arena(program, b)) continue;
            for (std::size_t i = program.offset(b); i < std::size_t{program.offset(b)} + b.bytes; ++i)
                owned[i] = true;
        }
        for (std::size_t i = 0; i < before.size(); ++i)
            if (!owned[i] && before[i] != now[i]) return false;
        return true;
    }
};

/// Runs a training program in exactly its bytes: guards, high-water mark, that nothing depends on what lay
/// there before, nor on who shares bytes with whom. Returns what came out.
Bits drill_training(const fe::ProgramView& program, const fe::Training& recipe, const Data& data) {
    const std::size_t bytes = program.totals->arena_bytes;
    std::size_t high_water = 0;
    Bits results[2];
    for (std::size_t i = 0; i < 2; ++i) {
        const Guarded arena(bytes, patterns[i]);
        REQUIRE(fe::TrainingSession::bind(program, recipe, arena.span().first(bytes - 1)).status() ==
                fe::Status::arena_too_small);
        auto bound = fe::TrainingSession::bind(program, recipe, arena.span());
        REQUIRE(bound.ok());
        REQUIRE(arena.untouched());
        bound.value().initialize(fe::Seed{11});
        REQUIRE(arena.guards_intact());
        results[i] = live(bound.value(), data);
        REQUIRE(arena.guards_intact());
        high_water = std::max(high_water, arena.high_water());
    }
    REQUIRE(high_water == bytes);
    REQUIRE(results[0] == results[1]);

    const Apart apart(program);
    const Guarded arena(apart.totals.arena_bytes, patterns[0]);
    auto bound = fe::TrainingSession::bind(apart.program, recipe, arena.span());
    REQUIRE(bound.ok());
    bound.value().initialize(fe::Seed{11});
    const std::vector<std::byte> before(arena.span().begin(), arena.span().end());
    REQUIRE(live(bound.value(), data) == results[0]);
    REQUIRE(apart.gaps_intact(before, arena.span()));
    REQUIRE(arena.guards_intact());
    return results[0];
}

/// The same for inference from the bytes of a parameter region.
Bits drill_inference(const fe::ProgramView& program, std::span<const std::byte> parameters,
                     const Data& data) {
    const std::size_t bytes = program.totals->arena_bytes;
    REQUIRE(program.totals->region_bytes[0] == parameters.size());
    const std::span<const float> inputs = data.inputs;
    std::size_t high_water = 0;
    Bits results[2];
    for (std::size_t i = 0; i < 2; ++i) {
        const Guarded arena(bytes, patterns[i]), weights(parameters.size(), patterns[i]);
        std::copy(parameters.begin(), parameters.end(), weights.span().begin());
        REQUIRE(fe::InferenceSession::bind(program, weights.span(), arena.span().first(bytes - 1)).status() ==
                fe::Status::arena_too_small);
        REQUIRE(fe::InferenceSession::bind(program, weights.span().first(parameters.size() - 1), arena.span())
                    .status() == fe::Status::buffer_too_small);
        auto bound = fe::InferenceSession::bind(program, weights.span(), arena.span());
        REQUIRE(bound.ok());
        REQUIRE(arena.untouched());
        static_cast<void>(bound.value().predict(inputs.first(program.totals->input.elements())));
        append(results[i], bound.value().predict(inputs));
        REQUIRE(arena.guards_intact());
        REQUIRE(weights.guards_intact());
        REQUIRE(std::equal(parameters.begin(), parameters.end(), weights.span().begin()));
        high_water = std::max(high_water, arena.high_water());
    }
    REQUIRE(high_water == bytes);
    REQUIRE(results[0] == results[1]);

    const Apart apart(program);
    const Guarded arena(apart.totals.arena_bytes, patterns[0]), weights(parameters.size(), patterns[0]);
    std::copy(parameters.begin(), parameters.end(), weights.span().begin());
    auto bound = fe::InferenceSession::bind(apart.program, weights.span(), arena.span());
    REQUIRE(bound.ok());
    const std::vector<std::byte> before(arena.span().begin(), arena.span().end());
    Bits alone;
    append(alone, bound.value().predict(inputs));
    REQUIRE(alone == results[0]);
    REQUIRE(apart.gaps_intact(before, arena.span()));
    return alone;
}

// ---- Programs side by side.

struct Figures {
    fe::Status status{};
    std::uint32_t arena_bytes = 0, parameters = 0, region_bytes[fe::region_count]{};
    std::uint16_t steps = 0, buffers = 0;
    std::uint64_t tables = 0;  ///< a hash of where every buffer lies and of what every step works on
    friend constexpr bool operator==(const Figures&, const Figures&) = default;
};

constexpr Figures figures(const fe::ProgramView& program) {
    const fe::Totals& t = *program.totals;
    Figures f{.status = t.status,
              .arena_bytes = t.arena_bytes,
              .parameters = t.parameters,
              .steps = t.steps,
              .buffers = t.buffers};
    for (std::size_t r = 0; r < fe::region_count; ++r) f.region_bytes[r] = t.region_bytes[r];
    const auto mix = [&f](std::uint64_t value) { f.tables = (f.tables ^ value) * 0x100000001B3u; };
    for (const fe::Buffer& b : program.buffers)
        mix(b.offset), mix(b.bytes), mix(b.first), mix(b.last), mix(b.over);
    for (const fe::Step& s : program.steps)
        for (const fe::BufferId id : s.operand) mix(id);
    return f;
}

constexpr Mode mode_at_compile_time(std::uint32_t seed, std::size_t optimizer, std::size_t batch) {
    return modes[(seed + optimizer + batch) % 3];
}

/// One constant expression per program: the compilers limit the length of each.
template <std::uint32_t seed, std::size_t optimizer, std::size_t batch>
constexpr Figures figures_at_compile_time = [] {
    const fe::Training recipe = recipe_of(loss_of(seed, seed), optimizer, batches[batch],
                                          mode_at_compile_time(seed, optimizer, batch));
    const auto program = fe::compile(model_of<seed>(), recipe);
    return figures(program.view());
}();

/// [optimizer * 3 + batch]
template <std::uint32_t seed, std::size_t... I>
const Figures* table_of(std::index_sequence<I...>) {
    static constexpr Figures table[] = {figures_at_compile_time<seed, I / 3, I % 3>...};
    return table;
}

/// [seed - 1]
template <std::uint32_t... S>
std::vector<const Figures*> tables_at_compile_time(std::integer_sequence<std::uint32_t, S...>) {
    return {table_of<S + 1>(std::make_index_sequence<std::size(optimizers) * std::size(batches)>{})...};
}

void check_same(const fe::ProgramView& fixed, const fe::ProgramView& dynamic) {
    CHECK(figures(fixed) == figures(dynamic));
    CHECK(fixed.totals->batch == dynamic.totals->batch);
    CHECK(fixed.totals->training == dynamic.totals->training);
    CHECK(fixed.totals->forward_steps == dynamic.totals->forward_steps);
    CHECK(fixed.totals->link_step == dynamic.totals->link_step);
    CHECK(fixed.totals->input_buffer == dynamic.totals->input_buffer);
    CHECK(fixed.totals->output_buffer == dynamic.totals->output_buffer);
    CHECK(fixed.totals->loss_buffer == dynamic.totals->loss_buffer);
    CHECK((fixed.totals->input == dynamic.totals->input));
    CHECK((fixed.totals->output == dynamic.totals->output));
    CHECK(std::ranges::equal(fixed.totals->region_offset, dynamic.totals->region_offset));
    REQUIRE(fixed.steps.size() == dynamic.steps.size());
    for (std::size_t i = 0; i < fixed.steps.size(); ++i) {
        CAPTURE(i);
        const fe::Step &a = fixed.steps[i], &b = dynamic.steps[i];
        CHECK(std::string(a.name) == b.name);
        CHECK((a.run == b.run));
        CHECK((a.map == b.map));
        CHECK((a.update == b.update));
        CHECK(a.layer == b.layer);
        CHECK(a.decays == b.decays);
        CHECK(std::ranges::equal(a.operand, b.operand));
        CHECK(a.flops == b.flops);
        CHECK(std::ranges::equal(a.size, b.size));
        CHECK(std::ranges::equal(a.constant, b.constant));
    }
    REQUIRE(fixed.buffers.size() == dynamic.buffers.size());
    for (std::size_t i = 0; i < fixed.buffers.size(); ++i) {
        CAPTURE(i);
        const fe::Buffer &a = fixed.buffers[i], &b = dynamic.buffers[i];
        CHECK(std::string(a.name) == b.name);
        CHECK((a.region == b.region));
        CHECK(a.layer == b.layer);
        CHECK(a.offset == b.offset);
        CHECK(a.bytes == b.bytes);
        CHECK(a.first == b.first);
        CHECK(a.last == b.last);
    }
    REQUIRE(fixed.parameters.size() == dynamic.parameters.size());
    for (std::size_t i = 0; i < fixed.parameters.size(); ++i) {
        CAPTURE(i);
        const fe::Parameter &a = fixed.parameters[i], &b = dynamic.parameters[i];
        CHECK(std::string(a.name) == b.name);
        CHECK(a.value == b.value);
        CHECK(a.gradient == b.gradient);
        CHECK(std::ranges::equal(a.state, b.state));
        CHECK(a.elements == b.elements);
        CHECK(a.fan_in == b.fan_in);
        CHECK((a.initializer == b.initializer));
        CHECK(a.trainable == b.trainable);
        CHECK(a.decays == b.decays);
        CHECK(a.folded_into == b.folded_into);
        CHECK(a.epsilon == b.epsilon);
    }
}

template <class Model>
std::vector<fe::AnyLayer> layers_at_run_time(const Model& model) {
    std::vector<fe::AnyLayer> layers;
    model.for_each([&](const auto& layer) { layers.emplace_back(layer); });
    return layers;
}

template <const auto& model, const auto& recipe>
void check_same_at_run_time() {
    const std::vector<fe::AnyLayer> layers = layers_at_run_time(model);
    const Compiled dynamic({model.input, layers}, recipe);
    REQUIRE(dynamic.result.ok());
    const fe::ProgramView fixed = fe::trainer_detail::Compiled<model, recipe>::program.view();
    check_same(fixed, dynamic.view());
    CHECK(defect(fixed) == "");
}

// ---- Models by name.

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

inline constexpr auto wide =
    fe::sequential(fe::Shape{28, 28}, fe::Flatten{}, fe::Dense{.units = 130}, fe::Relu{},
                   fe::Dense{.units = 33, .bias = false}, fe::Gelu{}, fe::Dense{.units = 10});
inline constexpr fe::Training wide_recipe{.optimizer = fe::Adam{}, .batch = 100, .clip_norm = 1};
inline constexpr auto mixed = fe::sequential(
    fe::Shape{3, 5}, fe::Sigmoid{}, fe::Dense{.units = 7, .frozen = true}, fe::LeakyRelu{.slope = 0.2f},
    fe::Dense{.units = 9, .initializer = fe::HeUniform{}}, fe::Tanh{}, fe::Dense{.units = 4}, fe::Softmax{});
inline constexpr fe::Training mixed_recipe{
    .loss = fe::Huber{.delta = 0.5f}, .optimizer = fe::RmsProp{}, .batch = 7};
inline constexpr fe::Inference mixed_inference{.batch = 3, .link = fe::Link::sigmoid};
inline constexpr auto normed = fe::sequential(
    fe::Shape{2, 3, 5}, fe::BatchNorm{}, fe::Dense{.units = 33, .bias = false}, fe::BatchNorm{.initial_variance = 0},
    fe::Relu{}, fe::Dropout{.rate = 0.2f}, fe::Dense{.units = 17}, fe::BatchNorm{.frozen = true}, fe::Gelu{}, fe::LayerNorm{},
    fe::Dropout{.rate = 0.5f, .scaling = fe::DropoutScaling::inference, .seed = 3}, fe::Dense{.units = 4}, fe::BatchNorm{});
inline constexpr fe::Training normed_immediate{.optimizer = fe::Adam{}, .batch = 7, .keep_best = true};
inline constexpr fe::Training normed_clipped{.optimizer = fe::Momentum{}, .batch = 7, .clip_norm = 1};
inline constexpr fe::Inference normed_folded{.batch = 7, .link = fe::Link::softmax};
inline constexpr fe::Inference normed_unfolded{.batch = 7, .fold = false};
inline constexpr auto tiny = fe::sequential(fe::Shape{1}, fe::Dense{});
inline constexpr fe::Training tiny_recipe{.loss = fe::MeanSquaredError{}};

/// 60 layers: 30 times Dense and Tanh.
inline constexpr auto deep = []<std::size_t... I>(std::index_sequence<I...>) {
    constexpr auto layer = []<std::size_t i>(std::integral_constant<std::size_t, i>) {
        if constexpr (i % 2 == 0)
            return fe::Dense{.units = 8 + i % 5};
        else
            return fe::Tanh{};
    };
    return fe::sequential(fe::Shape{12}, layer(std::integral_constant<std::size_t, I>{})...);
}
(std::make_index_sequence<60>{});
inline constexpr fe::Training deep_recipe{.optimizer = fe::Adam{}, .batch = 5};

// The smallest case of which g++ 12 made two programs: it evaluates the second one with what the first one
// left in the default values of an array.
inline constexpr auto thawed =
    fe::sequential(fe::Shape{4}, fe::Dense{.units = 2, .frozen = true}, fe::Relu{}, fe::Dense{.units = 2});
inline constexpr fe::Training thawed_immediate{.loss = fe::MeanSquaredError{}};
inline constexpr fe::Training thawed_stored{.loss = fe::MeanSquaredError{}, .update = fe::Update::stored};

template <class Model, class Recipe>
constexpr fe::Status status_of(Model model, Recipe recipe) {
    return fe::compile(model, recipe).status;
}
constexpr auto one_layer = fe::sequential(fe::Shape{4}, fe::Dense{.units = 3});

// What is refused, in constant expressions; the must_not_compile tests show how a Trainer says it.
static_assert(status_of(one_layer, fe::Training{}) == fe::Status::ok);
static_assert(status_of(fe::sequential(fe::Shape{4}), fe::Training{}) == fe::Status::empty_model);
static_assert(status_of(one_layer, fe::Training{.batch = 0}) == fe::Status::empty_model);
static_assert(status_of(one_layer, fe::Inference{.batch = 0}) == fe::Status::empty_model);
static_assert(status_of(fe::sequential(fe::Shape{4}, fe::Dense{.units = 0}), fe::Training{}) ==
              fe::Status::shape_mismatch);
static_assert(status_of(one_layer, fe::Training{.optimizer = fe::Sgd{nan}}) ==
              fe::Status::invalid_hyperparameter);
static_assert(status_of(one_layer, fe::Training{.clip_norm = 1, .update = fe::Update::immediate}) ==
              fe::Status::needs_stored_gradients);

/// A layer of a user that takes matrices only.
struct MatrixOnly : fe::activation_detail::Elementwise {
    static constexpr const char* name = "matrix_only";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::transparent;
    [[nodiscard]] constexpr fe::Shape output(fe::Shape in) const noexcept {
        return in.rank == 2 ? in : fe::Shape{};
    }
    constexpr void forward(fe::Emitter&, fe::Node& n) const noexcept { n.y = n.x; }
    constexpr void backward(fe::Emitter&, fe::Node& n) const noexcept { n.dx = n.dy; }
};

}  // namespace

TEST_CASE("the random models hold what there is") {
    std::size_t kinds[static_cast<std::size_t>(Kind::count)]{}, frozen = 0, without_bias = 0, ones = 0,
                                                                softmax_last = 0;
    for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
        for (std::size_t i = 0; i < length_of(seed); ++i) {
            const Choice c = choice(seed, i);
            ++kinds[static_cast<std::size_t>(c.kind)];
            if (c.kind != Kind::dense) continue;
            frozen += c.dense.frozen ? 1 : 0;
            without_bias += c.dense.bias ? 0 : 1;
            ones += c.dense.units == 1 ? 1 : 0;
        }
        softmax_last += choice(seed, length_of(seed) - 1).kind == Kind::softmax ? 1 : 0;
    }
    for (const std::size_t count : kinds) CHECK(count >= 5);
    CHECK(frozen >= 5);
    CHECK(without_bias >= 5);
    CHECK(ones >= 5);
    CHECK(softmax_last >= 1);
}

TEST_CASE("the plan of a random model is sound, and its bytes are those that a run touches") {
    const char* const chosen = std::getenv("FERRITE_TEST_SEED");  // one seed, also a new one, instead of all
    const std::uint32_t first = chosen ? static_cast<std::uint32_t>(std::strtoul(chosen, nullptr, 10)) : 1;
    const std::uint32_t last = chosen ? first : seeds_that_run;
    std::size_t programs = 0, longest = 0;
    for (std::uint32_t seed = first; seed <= last; ++seed) {
        INFO("seed ", seed, ": ", describe(seed));
        const std::vector<fe::AnyLayer> layers = layers_of(seed);
        const fe::DynamicModel model{input_of(seed), layers};
        for (std::size_t b = 0; b < std::size(batches); ++b) {
            const std::uint32_t batch = batches[b];
            CAPTURE(batch);
            std::vector<std::byte> parameters;
            Bits predicted;
            fe::Link link{};
            for (std::size_t o = 0; o < std::size(optimizers); ++o) {
                INFO("optimizer ", std::string(optimizers[o].name));
                const fe::Loss run_loss = loss_of(seed, seed + o + b);
                fe::Totals immediate;
                Bits bits_of_immediate;
                for (const Mode mode : modes) {
                    INFO("mode ", static_cast<int>(mode));
                    for (const fe::Loss& loss : losses) {
                        const Compiled compiled(model, recipe_of(loss, o, batch, mode));
                        if (!fits(loss, seed)) {
                            REQUIRE(compiled.result.status() == fe::Status::invalid_loss);
                            continue;
                        }
                        REQUIRE(compiled.result.status() == fe::Status::ok);
                        REQUIRE(defect(compiled.view()) == "");
                        longest = std::max(longest, compiled.view().steps.size());
                        ++programs;
                    }
                    const fe::Training recipe = recipe_of(run_loss, o, batch, mode);
                    const Compiled compiled(model, recipe);
                    const fe::Totals& t = *compiled.view().totals;
                    const Bits bits = drill_training(compiled.view(), recipe, Data(seed, t));
                    if (mode == Mode::immediate) {
                        immediate = t;
                        bits_of_immediate = bits;
                        REQUIRE(t.region_bytes[2] == 0);
                    } else {
                        // The gradients lie before the planned region, which they move and do not change.
                        REQUIRE(t.region_bytes[2] > 0);
                        REQUIRE(t.region_offset[2] == immediate.region_offset[3]);
                        // A LayerNorm's gradients are planned where none are stored.
                        bool planned_gradients = false;
                        for (std::size_t i = 0; i < length_of(seed); ++i)
                            planned_gradients = planned_gradients || choice(seed, i).kind == Kind::layer_norm;
                        REQUIRE(t.region_bytes[3] <= immediate.region_bytes[3]);
                        if (!planned_gradients) REQUIRE(t.region_bytes[3] == immediate.region_bytes[3]);
                        REQUIRE(t.arena_bytes - t.region_bytes[3] ==
                                immediate.arena_bytes - immediate.region_bytes[3] + (t.region_bytes[2] + 63) / 64 * 64);
                    }
                    if (mode == Mode::stored) REQUIRE(bits == bits_of_immediate);
                }
                if (o != 0) continue;
                const fe::Training recipe = recipe_of(run_loss, o, batch, Mode::immediate);
                const Compiled compiled(model, recipe);
                const Guarded arena(compiled.view().totals->arena_bytes, patterns[0]);
                auto session = fe::TrainingSession::bind(compiled.view(), recipe, arena.span());
                REQUIRE(session.ok());
                session.value().initialize(fe::Seed{11});
                const auto region = session.value().parameters();
                parameters.assign(region.begin(), region.end());
                append(predicted, session.value().predict(Data(seed, *compiled.view().totals).inputs));
                link = run_loss.link;
            }
            for (const fe::Link other : {fe::Link::none, fe::Link::softmax, fe::Link::sigmoid}) {
                INFO("inference, link ", static_cast<int>(other));
                const Compiled compiled(model, fe::Inference{.batch = batch, .link = other});
                if (!fits(other, seed)) {
                    REQUIRE(compiled.result.status() == fe::Status::invalid_loss);
                    continue;
                }
                REQUIRE(compiled.result.status() == fe::Status::ok);
                REQUIRE(defect(compiled.view()) == "");
                const Bits bits =
                    drill_inference(compiled.view(), parameters, Data(seed, *compiled.view().totals));
                if (other == link) REQUIRE(bits == predicted);
            }
        }
    }
    MESSAGE("seeds ", first, " to ", last, ": ", programs, " training programs, the longest of ", longest,
            " steps");
}

TEST_CASE("the check of a plan sees what is wrong with it") {
    const std::vector<fe::AnyLayer> layers = layers_at_run_time(mixed);
    const Compiled compiled({mixed.input, layers}, fe::Training{.loss = fe::MeanSquaredError{},
                                                                .optimizer = fe::Adam{},
                                                                .batch = 7,
                                                                .update = fe::Update::stored,
                                                                .keep_best = true});
    REQUIRE(compiled.result.ok());
    REQUIRE(defect(compiled.view()) == "");
    const fe::ProgramView& sound = compiled.view();
    const auto damaged = [&](auto&& change) {
        fe::Totals totals = *sound.totals;
        std::vector<fe::Buffer> buffers(sound.buffers.begin(), sound.buffers.end());
        std::vector<fe::Step> steps(sound.steps.begin(), sound.steps.end());
        change(totals, buffers, steps);
        return defect({&totals, steps, buffers, sound.parameters});
    };
    // Each planned buffer on the bytes of each other one: seen wherever both are needed at one time.
    const std::vector<Life> lives = lives_of(sound, paths_of(sound)[0]);
    std::size_t seen = 0;
    for (std::size_t i = 0; i < lives.size(); ++i)
        for (std::size_t j = 0; j < lives.size(); ++j) {
            const fe::Buffer &a = sound.buffers[i], &b = sound.buffers[j];
            if (i == j || a.region != fe::Region::planned || b.region != fe::Region::planned) continue;
            if (a.bytes == 0 || b.bytes == 0 || lives[i].first >= lives[j].last ||
                lives[j].first >= lives[i].last)
                continue;
            CAPTURE(i);
            CAPTURE(j);
            CHECK(damaged([&](auto&, auto& buffers, auto&) { buffers[j].offset = buffers[i].offset; }) != "");
            ++seen;
        }
    CHECK(seen >= 10);
    // An array that lives all the time on the bytes of the one before it; 4 bytes off; a region on the one
    // before it.
    for (std::size_t i = 0; i < lives.size(); ++i) {
        const fe::Buffer& b = sound.buffers[i];
        if (b.region == fe::Region::input || b.bytes == 0) continue;
        CAPTURE(i);
        CHECK(damaged([&](auto&, auto& buffers, auto&) { buffers[i].offset += 4; }) != "");
        if (b.region != fe::Region::planned && b.offset != 0)
            CHECK(damaged([&](auto&, auto& buffers, auto&) { buffers[i].offset -= 64; }) != "");
    }
    for (std::size_t r = 1; r < fe::region_count; ++r)
        CHECK(damaged([&](auto& totals, auto&, auto&) { totals.region_offset[r] -= 64; }) != "");
    CHECK(damaged([](auto& totals, auto&, auto&) { totals.arena_bytes += 1; }) != "");
    CHECK(damaged([](auto& totals, auto&, auto&) { totals.arena_bytes -= 1; }) != "");
    // Steps in another order; a step that writes to its input; in place, where the step reads it as something
    // else.
    for (std::size_t s = 1; s < sound.totals->forward_steps; ++s)
        CHECK(damaged([&](auto&, auto&, auto& steps) { std::swap(steps[s - 1], steps[s]); }) != "");
    CHECK(damaged([](auto& totals, auto&, auto& steps) { steps[0].operand[0] = totals.input_buffer; }) != "");
    for (std::size_t s = 0; s < sound.steps.size(); ++s) {
        const fe::BufferId written = sound.steps[s].operand[0];
        if (written == fe::no_buffer || sound.buffers[written].region != fe::Region::planned ||
            sound.buffers[written].over == fe::no_buffer)
            continue;
        CAPTURE(s);
        CHECK(damaged([&](auto&, auto&, auto& steps) {
                  for (std::size_t k = 1; k < 12; ++k)
                      if (is_input(k) && steps[s].operand[k] != fe::no_buffer &&
                          sound.offset(sound.buffers[steps[s].operand[k]]) ==
                              sound.offset(sound.buffers[written]) &&
                          steps[s].operand[k] != written)
                          steps[s].operand[11] = steps[s].operand[k];
              }) != "");
    }
}

TEST_CASE("at compile time every byte is placed where it is placed at run time: random models") {
    const auto tables =
        tables_at_compile_time(std::make_integer_sequence<std::uint32_t, seeds_at_compile_time>{});
    for (std::uint32_t seed = 1; seed <= tables.size(); ++seed) {
        INFO("seed ", seed, ": ", describe(seed));
        const std::vector<fe::AnyLayer> layers = layers_of(seed);
        for (std::size_t o = 0; o < std::size(optimizers); ++o)
            for (std::size_t b = 0; b < std::size(batches); ++b) {
                INFO("optimizer ", std::string(optimizers[o].name), ", batch ", batches[b]);
                const Compiled dynamic({input_of(seed), layers}, recipe_of(loss_of(seed, seed), o, batches[b],
                                                                           mode_at_compile_time(seed, o, b)));
                REQUIRE(dynamic.result.status() == fe::Status::ok);
                const Figures& fixed = tables[seed - 1][o * 3 + b];
                REQUIRE(fixed.arena_bytes == dynamic.view().totals->arena_bytes);
                REQUIRE(fixed == figures(dynamic.view()));
            }
    }
}

TEST_CASE("at compile time every table is what it is at run time: models by name") {
    SUBCASE("flatten, packed weights, no bias, gelu, norm") { check_same_at_run_time<wide, wide_recipe>(); }
    SUBCASE("frozen, own slope and initializer, softmax and huber") {
        check_same_at_run_time<mixed, mixed_recipe>();
    }
    SUBCASE("inference with a link") { check_same_at_run_time<mixed, mixed_inference>(); }
    SUBCASE("normalizations and dropout, immediate") { check_same_at_run_time<normed, normed_immediate>(); }
    SUBCASE("normalizations and dropout, with norm") { check_same_at_run_time<normed, normed_clipped>(); }
    SUBCASE("normalizations folded") { check_same_at_run_time<normed, normed_folded>(); }
    SUBCASE("normalizations not folded") { check_same_at_run_time<normed, normed_unfolded>(); }
    SUBCASE("one by one") { check_same_at_run_time<tiny, tiny_recipe>(); }
    SUBCASE("60 layers") { check_same_at_run_time<deep, deep_recipe>(); }
    SUBCASE("frozen below, immediate") { check_same_at_run_time<thawed, thawed_immediate>(); }
    SUBCASE("frozen below, stored") { check_same_at_run_time<thawed, thawed_stored>(); }
}

TEST_CASE("60 layers train from a program that the compiler made") {
    const auto learner = std::make_unique<fe::Trainer<deep, deep_recipe>>();
    const Data data(1, fe::Trainer<deep, deep_recipe>::program);
    learner->initialize(fe::Seed{1});
    const float before = learner->evaluate(data.inputs, data.labels).loss;
    for (int i = 0; i < 300; ++i)
        static_cast<void>(learner->step(data.inputs, std::span<const fe::Label>(data.labels)));
    CHECK(learner->evaluate(data.inputs, data.labels).loss < 0.7f * before);
}

TEST_CASE("frozen layers shrink the plan") {
    // B = 100 rows; 40 -> 64 -> 64 -> 10, Adam.
    struct Plan {
        fe::Totals totals;
        std::size_t backward = 0;
    };
    const auto plan = [](bool first, bool second, bool third) {
        const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 64, .frozen = first}, fe::Relu{},
                                               fe::Dense{.units = 64, .frozen = second}, fe::Relu{},
                                               fe::Dense{.units = 10, .frozen = third}};
        const Compiled compiled({fe::Shape{40}, layers}, fe::Training{.optimizer = fe::Adam{}, .batch = 100});
        REQUIRE(compiled.result.ok());
        CHECK(defect(compiled.view()) == "");
        Plan result{*compiled.view().totals};
        for (const fe::Step& s : compiled.view().steps)
            result.backward += std::string(s.name) == "dense backward" ? 1 : 0;
        return result;
    };
    const Plan all = plan(false, false, false), bottom = plan(true, false, false),
               two = plan(true, true, false), top = plan(false, false, true),
               middle = plan(false, true, false);
    // Optimizer state: two slots of what learns and of nothing else; the last array ends without padding.
    const std::uint32_t w1 = 40 * 64 * 4, w2 = 64 * 64 * 4, w3 = 64 * 10 * 4, b12 = 64 * 4, b3 = 64 + 10 * 4;
    CHECK(all.totals.region_bytes[1] == 2 * (w1 + b12 + w2 + b12 + w3) + b3);
    CHECK(bottom.totals.region_bytes[1] == 2 * (w2 + b12 + w3) + b3);
    CHECK(two.totals.region_bytes[1] == 2 * w3 + b3);
    CHECK(top.totals.region_bytes[1] == 2 * (w1 + b12 + w2 + b12));
    CHECK(middle.totals.region_bytes[1] == 2 * (w1 + b12 + w3) + b3);
    // Planned: a hidden activation is 25,600 bytes, the outputs 4,000 (to 4,032), the loss 4. The last
    // backward step with a dx has 48 * 10 floats of scratch and puts dx over x. Below what learns, an
    // activation lives for one step.
    CHECK(all.totals.region_bytes[3] == 2 * 25'600 + 12'288 + 4);  // that of the layer in the middle: 48 * 64 floats
    CHECK(bottom.totals.region_bytes[3] == 2 * 25'600 + 4'032 + 1'920 + 4);
    CHECK(two.totals.region_bytes[3] == 2 * 25'600);
    CHECK(all.backward == 3);
    CHECK(bottom.backward == 2);
    CHECK(two.backward == 1);
    CHECK(top.backward == 3);
    CHECK(middle.backward == 3);
    for (const Plan& p : {bottom, two, top, middle}) {
        CHECK(p.totals.parameters == all.totals.parameters);
        CHECK(p.totals.arena_bytes < all.totals.arena_bytes);
    }
}

TEST_CASE("frozen layers keep their values and the others learn") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 8}, fe::Tanh{},
                                           fe::Dense{.units = 6, .frozen = true}, fe::Relu{},
                                           fe::Dense{.units = 3}};
    const fe::Training recipe{.optimizer = fe::Sgd{.learning_rate = 0.1f}, .batch = 7, .weight_decay = 0.1f};
    const Compiled compiled({fe::Shape{4}, layers}, recipe);
    REQUIRE(compiled.result.ok());
    const Guarded arena(compiled.view().totals->arena_bytes, patterns[0]);
    auto session = fe::TrainingSession::bind(compiled.view(), recipe, arena.span());
    REQUIRE(session.ok());
    session.value().initialize(fe::Seed{3});
    const auto values = [&] {
        std::vector<Bits> all(session.value().parameter_count());
        for (std::size_t i = 0; i < all.size(); ++i) append(all[i], session.value().parameter(i));
        return all;
    };
    const std::vector<Bits> before = values();
    REQUIRE(before.size() == 6);
    const Data data(2, *compiled.view().totals);
    static_cast<void>(session.value().step(data.inputs, std::span<const fe::Label>(data.labels)));
    const std::vector<Bits> after = values();
    for (std::size_t i = 0; i < 6; ++i) {
        CAPTURE(i);
        CHECK((before[i] == after[i]) == (i == 2 || i == 3));
    }
}

TEST_CASE("a model or a recipe that cannot work is refused with the reason") {
    const auto status = [](fe::Shape input, const std::vector<fe::AnyLayer>& layers, const auto& recipe) {
        return Compiled({input, layers}, recipe).result.status();
    };
    const std::vector<fe::AnyLayer> good{fe::Dense{.units = 3}};
    const fe::Shape four{4};
    using fe::Status;
    using fe::Training;
    using Layers = std::vector<fe::AnyLayer>;

    SUBCASE("nothing there") {
        CHECK(status(four, {}, Training{}) == Status::empty_model);
        CHECK(status(four, {}, fe::Inference{}) == Status::empty_model);
        CHECK(status(fe::Shape{}, good, Training{}) == Status::empty_model);
        CHECK(status(fe::Shape{3, 0, 2}, good, Training{}) == Status::empty_model);
        CHECK(status(four, good, Training{.batch = 0}) == Status::empty_model);
        CHECK(status(four, good, fe::Inference{.batch = 0}) == Status::empty_model);
    }
    SUBCASE("shapes") {
        const fe::Shape matrix{2, 2};
        CHECK(status(four, Layers{fe::Dense{.units = 0}}, Training{}) == Status::shape_mismatch);
        CHECK(status(four, Layers{fe::Relu{}, fe::Dense{.units = 0}, fe::Relu{}}, fe::Inference{}) ==
              Status::shape_mismatch);
        CHECK(status(four, Layers{MatrixOnly{}, fe::Dense{}}, Training{}) == Status::shape_mismatch);
        CHECK(status(matrix, Layers{MatrixOnly{}, fe::Dense{}}, Training{}) == Status::ok);
        CHECK(status(matrix, Layers{fe::Flatten{}, MatrixOnly{}, fe::Dense{}}, Training{}) ==
              Status::shape_mismatch);
    }
    SUBCASE("hyperparameters") {
        for (const float bad : {nan, inf, -inf, -1e-6f}) {
            CAPTURE(bad);
            for (fe::Optimizer optimizer : optimizers) {
                INFO("learning rate of ", std::string(optimizer.name));
                optimizer.learning_rate = bad;
                CHECK(status(four, good, Training{.optimizer = optimizer}) == Status::invalid_hyperparameter);
            }
            for (const fe::Optimizer& optimizer :
                 {fe::Optimizer(fe::Momentum{.momentum = bad}), fe::Optimizer(fe::Nesterov{.momentum = bad}),
                  fe::Optimizer(fe::AdaGrad{.epsilon = bad}), fe::Optimizer(fe::RmsProp{.decay = bad}),
                  fe::Optimizer(fe::RmsProp{.epsilon = bad}), fe::Optimizer(fe::Adam{.beta1 = bad}),
                  fe::Optimizer(fe::Adam{.beta2 = bad}), fe::Optimizer(fe::Adam{.epsilon = bad}),
                  fe::Optimizer(fe::AdamW{.beta1 = bad}), fe::Optimizer(fe::AdamW{.beta2 = bad}),
                  fe::Optimizer(fe::AdamW{.epsilon = bad})}) {
                INFO("hyperparameter of ", std::string(optimizer.name));
                CHECK(status(four, good, Training{.optimizer = optimizer}) == Status::invalid_hyperparameter);
            }
            for (const Training& recipe :
                 {Training{.weight_decay = bad}, Training{.clip_value = bad}, Training{.clip_norm = bad},
                  Training{.loss = fe::Huber{.delta = bad}},
                  Training{.schedule = fe::StepDecay{.multiply = bad}},
                  Training{.schedule = fe::CosineDecay{.floor = bad}}})
                CHECK(status(four, good, recipe) == Status::invalid_hyperparameter);
            for (const fe::AnyLayer& layer :
                 {fe::AnyLayer(fe::BatchNorm{.momentum = bad}), fe::AnyLayer(fe::BatchNorm{.epsilon = bad}),
                  fe::AnyLayer(fe::BatchNorm{.initial_variance = bad}), fe::AnyLayer(fe::LayerNorm{.epsilon = bad}),
                  fe::AnyLayer(fe::Dropout{.rate = bad})})
                CHECK(status(four, Layers{fe::Dense{}, layer}, Training{.batch = 2}) == Status::invalid_hyperparameter);
            const fe::LeakyRelu leaky{.slope = bad};
            CHECK(status(four, Layers{fe::Dense{}, leaky}, Training{}) == Status::invalid_hyperparameter);
            CHECK(status(four, Layers{leaky}, fe::Inference{}) == Status::invalid_hyperparameter);
        }
        for (const Training& recipe :
             {Training{.optimizer = fe::Momentum{.momentum = 1}}, Training{.optimizer = fe::Adam{.beta1 = 1}},
              Training{.optimizer = fe::Adam{.epsilon = 0}}, Training{.loss = fe::Huber{.delta = 0}},
              Training{.schedule = fe::StepDecay{.every = 0}},
              Training{.schedule = fe::CosineDecay{.iterations = 0}}, Training{.loss = fe::Loss{}},
              Training{.optimizer = fe::Optimizer{}}})
            CHECK(status(four, good, recipe) == Status::invalid_hyperparameter);
        CHECK(status(four, Layers{fe::Dense{}, fe::LeakyRelu{.slope = 1.5f}}, Training{}) ==
              Status::invalid_hyperparameter);
        CHECK(status(four, Layers{fe::Dense{}, fe::LeakyRelu{.slope = 1}}, Training{}) == Status::ok);
        for (const float value : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
            CHECK(status(four, Layers{fe::Dense{.initializer = fe::Normal{value}}}, Training{}) ==
                  Status::invalid_hyperparameter);
            CHECK(status(four, Layers{fe::Dense{.bias_initializer = fe::Constant{value}}}, Training{}) ==
                  Status::invalid_hyperparameter);
        }
        for (const fe::AnyLayer& layer :
             {fe::AnyLayer(fe::BatchNorm{.momentum = 1}), fe::AnyLayer(fe::BatchNorm{.epsilon = 0}),
              fe::AnyLayer(fe::LayerNorm{.epsilon = 0}), fe::AnyLayer(fe::Dropout{.rate = 1})})
            CHECK(status(four, Layers{fe::Dense{}, layer}, Training{.batch = 2}) == Status::invalid_hyperparameter);
        CHECK(status(four, good, Training{.optimizer = fe::Sgd{.learning_rate = 0}}) == Status::ok);
        CHECK(status(four, good, Training{.optimizer = fe::Momentum{.momentum = 0}}) == Status::ok);
    }
    SUBCASE("what does not go together") {
        CHECK(status(four, good, Training{.clip_norm = 1, .update = fe::Update::immediate}) ==
              Status::needs_stored_gradients);
        CHECK(status(four, good, Training{.clip_value = 1, .update = fe::Update::immediate}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{}, fe::Softmax{}}, Training{}) == Status::invalid_loss);
        CHECK(status(four, Layers{fe::Dense{}, fe::Softmax{}, fe::Flatten{}}, Training{}) == Status::invalid_loss);
        CHECK(status(four, Layers{fe::Dense{}, fe::Sigmoid{}}, Training{.loss = fe::BinaryCrossEntropy{}}) ==
              Status::invalid_loss);
        CHECK(status(four, Layers{fe::Dense{}, fe::Tanh{}}, Training{.loss = fe::BinaryCrossEntropy{}}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{}, fe::Softmax{}}, fe::Inference{.link = fe::Link::softmax}) ==
              Status::invalid_loss);
        CHECK(status(four, Layers{fe::Dense{}, fe::Sigmoid{}}, fe::Inference{.link = fe::Link::sigmoid}) ==
              Status::invalid_loss);
        CHECK(status(four, Layers{fe::Dense{}, fe::AnyLayer{}}, Training{}) == Status::shape_mismatch);
        CHECK(status(four, Layers{fe::Dense{}, fe::Softmax{}, fe::Relu{}}, Training{}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{}, fe::Softmax{}}, Training{.loss = fe::MeanSquaredError{}}) ==
              Status::ok);
        CHECK(status(four, Layers{fe::Dense{.units = 65'536}}, Training{}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{.units = 65'537}}, Training{}) == Status::invalid_loss);
        CHECK(status(four, Layers{fe::Dense{}, fe::BatchNorm{}}, Training{}) == Status::batch_of_one);
        CHECK(status(four, Layers{fe::Dense{}, fe::BatchNorm{}}, Training{.batch = 2}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{}, fe::BatchNorm{.frozen = true}}, Training{}) == Status::ok);
        CHECK(status(fe::Shape{2, 3}, Layers{fe::BatchNorm{}, fe::Dense{}}, Training{}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{}, fe::BatchNorm{}}, fe::Inference{}) == Status::ok);
        CHECK(status(four, Layers{fe::Dense{}, fe::Softmax{}, fe::Dropout{}}, Training{}) == Status::invalid_loss);
        CHECK(status(four, Layers{fe::BatchNorm{.frozen = true}}, Training{.batch = 2}) == Status::nothing_to_train);
        CHECK(status(four, Layers{fe::Dense{.frozen = true}}, Training{}) == Status::nothing_to_train);
        CHECK(status(four, Layers{fe::Relu{}, fe::Flatten{}}, Training{}) == Status::nothing_to_train);
    }
    SUBCASE("sizes") {
        CHECK(status(fe::Shape{65'536}, Layers{fe::Dense{.units = 65'536}}, fe::Inference{}) ==
              Status::too_large);
        CHECK(status(four, good, Training{.batch = 1u << 30}) == Status::too_large);
        CHECK(status(four, good, Training{.batch = 0xFFFFFFFFu}) == Status::too_large);
        // Three arrays of 2^29 floats pass 2^32 bytes, although each of them has room.
        const fe::Dense narrow{.units = 1u << 14}, broad{.units = 1u << 15};
        const fe::Shape input{1u << 15};
        CHECK(status(input, Layers{narrow}, fe::Inference{}) == Status::ok);
        CHECK(status(input, Layers{narrow, broad, narrow}, fe::Inference{}) == Status::too_large);
        CHECK(status(input, Layers{narrow}, Training{}) == Status::ok);
        CHECK(status(input, Layers{narrow}, Training{.optimizer = fe::Adam{}}) == Status::too_large);
        CHECK(status(four, Layers(4096, fe::Relu{}), fe::Inference{}) == Status::ok);
        CHECK(status(four, Layers(4097, fe::Relu{}), fe::Inference{}) == Status::too_many_steps);
    }
}

TEST_CASE("the tables have room for every row of layers") {
    // Dense or BatchNorm behind itself, with norms and updates, makes the most steps and buffers of a layer.
    for (const std::size_t n : {1u, 2u, 3u, 4u, 10u, 60u}) {
        CAPTURE(n);
        for (const fe::AnyLayer& layer : {fe::AnyLayer(fe::Dense{.units = 128}), fe::AnyLayer(fe::BatchNorm{})}) {
            const std::vector<fe::AnyLayer> layers(n, layer);
            for (const Mode mode : modes) {
                INFO(std::string(layer.name()), ", mode ", static_cast<int>(mode));
                const Compiled compiled({fe::Shape{2}, layers},
                                        recipe_of(fe::BinaryCrossEntropy{}, 5, 100, mode));
                CHECK(compiled.result.status() == fe::Status::ok);
            }
        }
    }
}

TEST_CASE("the memory for the tables") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 5}, fe::Relu{}, fe::Dense{.units = 3}};
    const fe::DynamicModel model{fe::Shape{4}, layers};
    const fe::Training recipe{.optimizer = fe::Adam{}, .batch = 100, .clip_norm = 1};
    const std::size_t bytes = fe::table_bytes(3);
    const Guarded memory(bytes, patterns[0]);
    CHECK(fe::compile(model, recipe, memory.span().first(bytes - 1)).status() ==
          fe::Status::tables_too_small);
    CHECK(fe::compile(model, recipe, {}).status() == fe::Status::tables_too_small);
    CHECK(fe::compile(model, recipe, {memory.span().data() + 4, bytes}).status() == fe::Status::misaligned);
    CHECK(memory.untouched());
    const auto compiled = fe::compile(model, recipe, memory.span());
    REQUIRE(compiled.ok());
    CHECK(memory.guards_intact());
    CHECK(defect(compiled.value()) == "");
}

TEST_CASE("a session is bound to a program of its kind and to aligned memory") {
    const std::vector<fe::AnyLayer> layers{fe::Dense{.units = 5}};
    const fe::DynamicModel model{fe::Shape{4}, layers};
    const fe::Training recipe{};
    const Compiled training(model, recipe), inference(model, fe::Inference{});
    REQUIRE(training.result.ok());
    REQUIRE(inference.result.ok());
    const Guarded arena(10'000, patterns[0]), weights(10'000, patterns[1]);
    const auto shifted = [](const Guarded& memory) { return memory.span().subspan(32); };
    using fe::Status;
    CHECK(fe::TrainingSession::bind(inference.view(), recipe, arena.span()).status() == Status::empty_model);
    CHECK(fe::TrainingSession::bind({}, recipe, arena.span()).status() == Status::empty_model);
    CHECK(fe::TrainingSession::bind(training.view(), recipe, shifted(arena)).status() == Status::misaligned);
    CHECK(fe::InferenceSession::bind(training.view(), weights.span(), arena.span()).status() ==
          Status::empty_model);
    CHECK(fe::InferenceSession::bind({}, weights.span(), arena.span()).status() == Status::empty_model);
    CHECK(fe::InferenceSession::bind(inference.view(), weights.span(), shifted(arena)).status() ==
          Status::misaligned);
    CHECK(fe::InferenceSession::bind(inference.view(), shifted(weights), arena.span()).status() ==
          Status::misaligned);
    CHECK(fe::InferenceSession::bind(inference.view(), weights.span(), arena.span()).ok());
    CHECK(arena.untouched());
    CHECK(weights.untouched());
}

TEST_CASE("a program whose last layers compute nothing does not write to its input") {
    for (const fe::Link link : {fe::Link::none, fe::Link::softmax, fe::Link::sigmoid}) {
        INFO("link ", static_cast<int>(link));
        const std::vector<fe::AnyLayer> layers{fe::Flatten{}};
        const Compiled compiled({fe::Shape{2, 2}, layers}, fe::Inference{.batch = 2, .link = link});
        if (!compiled.result.ok()) continue;
        CHECK(defect(compiled.view()) == "");
        const Guarded arena(compiled.view().totals->arena_bytes, patterns[0]), weights(0, patterns[1]);
        auto session = fe::InferenceSession::bind(compiled.view(), weights.span(), arena.span());
        REQUIRE(session.ok());
        const std::vector<float> original{1, 2, 3, 4, 5, 6, 7, 8};
        const std::vector<float> input = original;
        CHECK(session.value().predict(input).size() == 8);
        CHECK((input == original));
    }
}
