// SPDX-License-Identifier: MIT
// Weights files and checkpoints: round trips, the documented layout, and the refusal of everything that is
// damaged.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "golden.hpp"

namespace fe = ferrite;
using fe::test::Learner;
using Bytes = std::vector<std::byte>;

namespace {

/// y = x + shift, to show that a layer that the library does not know can be stored.
struct Shift {
    float amount = 0;
    static constexpr const char* name = "shift";
    static constexpr fe::Nonlinearity nonlinearity = fe::Nonlinearity::linear;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        visit(self.amount);
    }
    [[nodiscard]] constexpr fe::Shape output(fe::Shape in) const noexcept { return in; }
    constexpr void forward(fe::Emitter&, fe::Node& n) const noexcept { n.y = n.x; }
    constexpr void backward(fe::Emitter&, fe::Node& n) const noexcept { n.dx = n.dy; }
};

const std::vector<fe::AnyLayer> small_layers{fe::Flatten{}, fe::Dense{.units = 3}, fe::Tanh{},
                                             fe::Dense{.units = 2, .bias = false}};
const fe::Shape small_input{2, 3};
const fe::Training with_adam{
    .optimizer = fe::Adam{.learning_rate = 0.01f}, .batch = 4, .weight_decay = 1e-3f};

std::uint64_t hash_of(const char* text) {
    return fe::fnv1a(std::as_bytes(std::span(text, std::strlen(text))));
}

void train(fe::TrainingSession& session, std::uint32_t steps) {
    const std::size_t inputs = session.program().totals->input.elements();
    const std::size_t outputs = session.program().totals->output.elements();
    std::vector<float> x(4 * inputs);
    std::vector<fe::Label> labels(4);
    for (std::uint32_t i = 0; i < steps; ++i) {
        const fe::Random random(fe::Seed{31}, session.iteration());
        for (std::size_t k = 0; k < x.size(); ++k) x[k] = random.normal(k);
        for (std::size_t k = 0; k < 4; ++k)
            labels[k] = static_cast<fe::Label>(random.bits(900 + k) % outputs);
        session.step(x, std::span<const fe::Label>(labels));
    }
}

/// Everything that loading can change.
struct Contents {
    std::vector<float> floats;
    std::uint32_t iteration;
    float learning_rate, weight_decay;
    bool operator==(const Contents&) const = default;
};
Contents contents(const fe::TrainingSession& session) {
    Contents result{{}, session.iteration(), session.learning_rate(), session.weight_decay()};
    const auto append = [&](std::span<const float> values) {
        result.floats.insert(result.floats.end(), values.begin(), values.end());
    };
    for (std::size_t i = 0; i < session.parameter_count(); ++i) {
        append(session.parameter(i));
        for (const std::size_t slot : {std::size_t{0}, std::size_t{1}}) append(session.state(i, slot));
    }
    return result;
}

Bytes weights_of(Learner& l) {
    Bytes file(fe::weights_bytes(l.model(), l.session().program()));
    const auto written = fe::save_weights(l.model(), l.session(), file);
    REQUIRE(written.ok());
    REQUIRE(written.value() == file.size());
    return file;
}
Bytes checkpoint_of(Learner& l) {
    Bytes file(fe::checkpoint_bytes(l.model(), l.session()));
    const auto written = fe::save_checkpoint(l.model(), l.session(), file);
    REQUIRE(written.ok());
    REQUIRE(written.value() == file.size());
    return file;
}

void put(Bytes& file, std::size_t at, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i) file[at + i] = static_cast<std::byte>(value >> (8 * i));
}
std::uint32_t get(const Bytes& file, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value |= std::to_integer<std::uint32_t>(file[at + i]) << (8 * i);
    return value;
}
/// Makes the checksum right, so that what is wrong has to be found otherwise.
void seal(Bytes& file) {
    const std::uint64_t sum = fe::fnv1a(std::span(file).first(file.size() - 8));
    put(file, file.size() - 8, static_cast<std::uint32_t>(sum));
    put(file, file.size() - 4, static_cast<std::uint32_t>(sum >> 32));
}

/// Opens, makes the model that the file describes, and loads into it and into `session`. ok only if all
/// accept the file.
fe::Status load(const Bytes& file, Learner& target, bool checkpoint) {
    const auto opened = fe::open_weights(file);
    if (!opened.ok()) return opened.status();
    std::vector<fe::AnyLayer> memory(opened.value().layer_count);
    const auto model = fe::read_model(opened.value(), memory);
    if (!model.ok()) return model.status();
    std::vector<std::uint64_t> tables(fe::table_bytes(model.value().size()) / 8 + 1);
    const auto program =
        fe::compile(model.value(), fe::Inference{}, std::as_writable_bytes(std::span(tables)));
    if (!program.ok()) return program.status();
    Bytes region(opened.value().parameters.size() + std::size_t{64} * opened.value().parameter_arrays);
    if (const fe::Status status = fe::load_weights(opened.value(), program.value(), region);
        status != fe::Status::ok)
        return status;
    return checkpoint ? fe::load_checkpoint(target.model(), opened.value(), target.session())
                      : fe::load_weights(opened.value(), target.session());
}

}  // namespace

TEST_CASE("fnv1a: the known values, also in parts and at compile time") {
    static_assert(fe::fnv1a({}) == 0xCBF29CE484222325u);
    CHECK(hash_of("") == 0xCBF29CE484222325u);
    CHECK(hash_of("a") == 0xAF63DC4C8601EC8Cu);
    CHECK(hash_of("b") == 0xAF63DF4C8601F1A5u);
    CHECK(hash_of("foobar") == 0x85944171F73967E8u);
    const char text[] = "foobar";
    CHECK(fe::fnv1a(std::as_bytes(std::span(text + 2, 4)), fe::fnv1a(std::as_bytes(std::span(text, 2)))) ==
          hash_of("foobar"));
}

TEST_CASE("digest: the hash of the parameters in the order of the layers, without padding") {
    Learner l(small_input, small_layers, with_adam);
    std::uint64_t expected = fe::fnv1a({});
    for (std::size_t i = 0; i < 3; ++i)
        expected = fe::fnv1a(std::as_bytes(l.session().parameter(i)), expected);
    CHECK(l.session().parameter_count() == 3);
    CHECK(fe::digest(l.session()) == expected);
    l.session().parameter(2)[5] = -l.session().parameter(2)[5];
    CHECK(fe::digest(l.session()) != expected);
}

TEST_CASE("weights: the layout that format.hpp documents, byte for byte") {
    Learner l(small_input, {fe::Flatten{}, fe::Dense{.units = 3}}, with_adam);
    train(l.session(), 2);
    for (const bool checkpoint : {false, true}) {
        Bytes expected;
        const auto word = [&](std::uint32_t value) {
            for (int shift = 0; shift < 32; shift += 8) expected.push_back(static_cast<std::byte>(value >> shift));
        };
        const auto text = [&](const std::string& s) {
            word(static_cast<std::uint32_t>(s.size()));
            for (const char c : s) expected.push_back(static_cast<std::byte>(c));
            while (expected.size() % 4 != 0) expected.push_back(std::byte{0});
        };
        const auto floats = [&](std::span<const float> values) {
            for (const float v : values) word(std::bit_cast<std::uint32_t>(v));
        };
        word(0x52524546);  // "FERR"
        word(0x00455449);  // "ITE", 0
        for (const std::uint32_t value : {2u, 2u, 2u, 3u, 0u, 0u, 2u, 2u}) word(value);
        text("flatten");
        word(0);
        text("dense");
        word(28);  // units, bias, frozen, two initializers of kind and value
        for (const std::uint32_t value : {3u, 1u, 0u, 0u, 0u, 1u, 0u}) word(value);
        word(18);
        word(3);
        text(checkpoint ? "adam" : "");
        word(checkpoint ? 42 : 0);
        for (const float h : {0.9f, 0.999f, 1e-7f}) word(std::bit_cast<std::uint32_t>(checkpoint ? h : 0.0f));
        word(0);  // epsilon as in the chapter
        word(checkpoint ? 2 : 0);
        word(checkpoint ? static_cast<std::uint32_t>(l.session().seed().value) : 0);
        word(0);
        word(std::bit_cast<std::uint32_t>(checkpoint ? 0.01f : 0.0f));
        word(std::bit_cast<std::uint32_t>(checkpoint ? 1e-3f : 0.0f));
        for (std::size_t i = 0; i < 2; ++i) floats(l.session().parameter(i));
        for (std::size_t i = 0; checkpoint && i < 2; ++i)
            for (const std::size_t slot : {std::size_t{0}, std::size_t{1}})
                floats(l.session().state(i, slot));
        expected.insert(expected.end(), 8, std::byte{0});
        seal(expected);
        CHECK((checkpoint ? checkpoint_of(l) : weights_of(l)) == expected);
    }
}

TEST_CASE("weights: every layer with every field comes back; a constexpr model gives the same bytes") {
    const fe::Dense dense{.units = 7,
                          .bias = false,
                          .frozen = true,
                          .initializer = fe::Normal{0.25f},
                          .bias_initializer = fe::Constant{-1.5f}};
    const std::vector<fe::AnyLayer> layers{fe::Flatten{},
                                           dense,
                                           fe::Relu{},
                                           fe::Dense{.units = 6, .initializer = fe::HeUniform{}},
                                           fe::LeakyRelu{.slope = 0.375f},
                                           fe::Dense{.units = 5},
                                           fe::Sigmoid{},
                                           fe::Dense{.units = 4},
                                           fe::Tanh{},
                                           fe::Dense{.units = 3},
                                           fe::Gelu{},
                                           fe::Dense{.units = 2},
                                           fe::Softmax{}};
    fe::Training recipe = with_adam;
    recipe.loss = fe::MeanSquaredError{};
    Learner l(fe::Shape{2, 3, 2}, layers, recipe);
    const Bytes file = weights_of(l);
    const auto opened = fe::open_weights(file);
    REQUIRE(opened.ok());
    CHECK(opened.value().input == fe::Shape{2, 3, 2});
    REQUIRE(opened.value().layer_count == layers.size());
    std::vector<fe::AnyLayer> memory(layers.size());
    CHECK(fe::read_model(opened.value(), std::span(memory).first(layers.size() - 1)).status() ==
          fe::Status::buffer_too_small);
    const auto model = fe::read_model(opened.value(), memory);
    REQUIRE(model.ok());
    REQUIRE(memory[1].get<fe::Dense>() != nullptr);
    const fe::Dense found = *memory[1].get<fe::Dense>();
    CHECK(found.units == 7);
    CHECK(!found.bias);
    CHECK(found.frozen);
    CHECK(found.initializer == dense.initializer);
    CHECK(found.bias_initializer == dense.bias_initializer);
    CHECK(memory[4].get<fe::LeakyRelu>()->slope == 0.375f);
    Learner again(model.value().input, memory, recipe);
    CHECK(fe::digest(again.session()) == fe::digest(l.session()));  // the same initializers
    again.session().initialize(fe::Seed{2});
    CHECK(fe::digest(again.session()) != fe::digest(l.session()));
    CHECK(fe::load_weights(opened.value(), again.session()) == fe::Status::ok);
    CHECK(fe::digest(again.session()) == fe::digest(l.session()));
    CHECK(weights_of(again) == file);

    static constexpr auto fixed = fe::sequential(fe::Shape{2, 3}, fe::Flatten{}, fe::Dense{.units = 3},
                                                 fe::Tanh{}, fe::Dense{.units = 2, .bias = false});
    Learner small(small_input, small_layers, with_adam);
    Bytes bytes(fe::weights_bytes(fixed, small.session().program()));
    REQUIRE(fe::save_weights(fixed, small.session(), bytes).ok());
    CHECK(bytes == weights_of(small));
}

TEST_CASE("weights: a layer of one's own") {
    Learner l(fe::Shape{4}, {fe::Dense{.units = 2}, Shift{0.75f}}, with_adam);
    const Bytes file = weights_of(l);
    const auto opened = fe::open_weights(file);
    REQUIRE(opened.ok());
    std::vector<fe::AnyLayer> memory(2);
    CHECK(fe::read_model(opened.value(), memory).status() == fe::Status::unknown_layer);
    REQUIRE(fe::read_model<Shift>(opened.value(), memory).ok());
    REQUIRE(memory[1].get<Shift>() != nullptr);
    CHECK(memory[1].get<Shift>()->amount == 0.75f);
}

TEST_CASE("weights: in an inference program they give the training session's answers") {
    Learner l(small_input, small_layers, with_adam);
    train(l.session(), 5);
    const Bytes file = weights_of(l);
    const auto opened = fe::open_weights(file);
    REQUIRE(opened.ok());
    std::vector<std::uint64_t> tables(fe::table_bytes(small_layers.size()) / 8 + 1);
    const auto program = fe::compile(l.model(), fe::Inference{.batch = 4, .link = fe::Link::softmax},
                                     std::as_writable_bytes(std::span(tables)));
    REQUIRE(program.ok());
    const fe::test::Aligned parameters(program.value().totals->region_bytes[0]),
        arena(program.value().totals->arena_bytes);
    std::ranges::fill(parameters.span(), std::byte{0x5A});
    CHECK(fe::load_weights(opened.value(), program.value(),
                           parameters.span().first(parameters.span().size() - 1)) ==
          fe::Status::buffer_too_small);
    CHECK(std::ranges::all_of(parameters.span(), [](std::byte b) { return b == std::byte{0x5A}; }));
    CHECK(fe::load_weights(opened.value(), program.value(), parameters.span()) == fe::Status::ok);
    auto session = fe::InferenceSession::bind(program.value(), parameters.span(), arena.span());
    REQUIRE(session.ok());
    std::vector<float> x(24);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = fe::Random{fe::Seed{4}}.normal(i);
    const auto expected = l.session().predict(x), found = session.value().predict(x);
    CHECK(std::ranges::equal(expected, found));
}

TEST_CASE(
    "saving: memory that is too small by any number of bytes is refused, and nothing behind it is written") {
    Learner l(small_input, small_layers, with_adam);
    for (const bool checkpoint : {false, true}) {
        const Bytes whole = checkpoint ? checkpoint_of(l) : weights_of(l);
        for (std::size_t size = 0; size <= whole.size(); ++size) {
            Bytes memory(whole.size() + 16, std::byte{0xEE});
            const auto out = std::span(memory).first(size);
            const auto written = checkpoint ? fe::save_checkpoint(l.model(), l.session(), out)
                                            : fe::save_weights(l.model(), l.session(), out);
            REQUIRE(written.status() ==
                    (size == whole.size() ? fe::Status::ok : fe::Status::buffer_too_small));
            REQUIRE(std::all_of(memory.begin() + static_cast<std::ptrdiff_t>(size), memory.end(),
                                [](std::byte b) { return b == std::byte{0xEE}; }));
        }
    }
}

TEST_CASE(
    "loading: every truncated length, every flipped bit and every longer file is refused; nothing changes") {
    Learner l(small_input, small_layers, with_adam), target(small_input, small_layers, with_adam);
    train(l.session(), 3);
    target.session().initialize(fe::Seed{77});
    train(target.session(), 1);
    const Contents before = contents(target.session());
    for (const bool checkpoint : {false, true}) {
        CAPTURE(checkpoint);
        const Bytes file = checkpoint ? checkpoint_of(l) : weights_of(l);
        for (std::size_t size = 0; size < file.size(); ++size) {
            CAPTURE(size);
            // A copy of that size, so that a sanitizer sees a read behind its end.
            const Bytes part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
            REQUIRE(load(part, target, checkpoint) == fe::Status::truncated);
            Bytes sealed = part;
            if (size >= 8) {
                seal(sealed);
                REQUIRE(load(sealed, target, checkpoint) != fe::Status::ok);
            }
        }
        for (std::size_t i = 0; i < file.size(); ++i)
            for (int bit = 0; bit < 8; ++bit) {
                CAPTURE(i);
                CAPTURE(bit);
                Bytes damaged = file;
                damaged[i] ^= static_cast<std::byte>(1 << bit);
                const fe::Status status = load(damaged, target, checkpoint);
                REQUIRE(status != fe::Status::ok);
                if (i < 8) REQUIRE(status == fe::Status::bad_magic);
                if (i >= 8 && i < 12) REQUIRE(status == fe::Status::bad_version);
                if (i >= file.size() - 8) REQUIRE(status == fe::Status::bad_checksum);
            }
        for (const std::size_t more : {1u, 3u, 4u, 100u}) {
            Bytes longer = file;
            longer.insert(longer.end(), more, std::byte{0});
            REQUIRE(load(longer, target, checkpoint) == fe::Status::oversized);
            seal(longer);
            REQUIRE(load(longer, target, checkpoint) == fe::Status::oversized);
        }
        CHECK(contents(target.session()) == before);
        CHECK(load(file, target, checkpoint) == fe::Status::ok);
        CHECK(fe::digest(target.session()) == fe::digest(l.session()));
        CHECK((contents(target.session()) == contents(l.session())) == checkpoint);
        target.session().initialize(fe::Seed{77});
        train(target.session(), 1);
        REQUIRE(contents(target.session()) == before);
    }
}

TEST_CASE("loading: a wrong field under a right checksum is refused or harmless") {
    Learner l(small_input, small_layers, with_adam), target(small_input, small_layers, with_adam);
    train(l.session(), 3);
    target.session().initialize(fe::Seed{77});
    const Contents before = contents(target.session());
    const Bytes file = checkpoint_of(l);
    const std::size_t floats = (27 + 54) * sizeof(float) + 8;
    REQUIRE(file.size() > floats);
    int refused = 0;
    for (std::size_t at = 0; at < file.size() - floats; at += 4) {
        const std::uint32_t old = get(file, at);
        for (const std::uint32_t value : std::initializer_list<std::uint32_t>{
                 0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF, old + 1, old - 1, old << 8, old ^ 0x20}) {
            if (value == old) continue;
            CAPTURE(at);
            CAPTURE(value);
            Bytes damaged = file;
            put(damaged, at, value);
            seal(damaged);
            const fe::Status status = load(damaged, target, true);
            if (status == fe::Status::ok) {
                // What may differ: initializers, freezing, activations, an equivalent input shape, iteration
                // and rates.
                REQUIRE(fe::digest(target.session()) == fe::digest(l.session()));
                target.session().initialize(fe::Seed{77});
                target.session().set_learning_rate(before.learning_rate);
                target.session().set_weight_decay(before.weight_decay);
            } else {
                ++refused;
            }
            REQUIRE(contents(target.session()) == before);
        }
    }
    CHECK(refused > 300);

    const auto status_with = [&](std::size_t at, std::uint32_t value) {
        Bytes damaged = file;
        put(damaged, at, value);
        seal(damaged);
        return load(damaged, target, true);
    };
    CHECK(status_with(12, 5) == fe::Status::shape_mismatch);           // rank
    CHECK(status_with(16, 0) == fe::Status::empty_model);              // extent 0
    CHECK(status_with(16, 4) == fe::Status::model_mismatch);           // extent 4 and arrays for 2
    CHECK(status_with(32, 0xFFFFFFFFu) == fe::Status::truncated);      // layers
    CHECK(status_with(36, 0xFFFFFFFFu) == fe::Status::truncated);      // arrays
    CHECK(status_with(40, 0xFFFFFFFFu) == fe::Status::truncated);      // length of the first name
    CHECK(status_with(44, 0x78787878u) == fe::Status::unknown_layer);  // "xxxxten"
}

TEST_CASE("loading: weights of another model are refused; nothing changes") {
    Learner l(small_input, small_layers, with_adam);
    const auto opened_bytes = checkpoint_of(l);
    const auto opened = fe::open_weights(opened_bytes);
    REQUIRE(opened.ok());
    const std::vector<std::vector<fe::AnyLayer>> others{
        {fe::Flatten{}, fe::Dense{.units = 4}, fe::Tanh{}, fe::Dense{.units = 2, .bias = false}},
        {fe::Flatten{}, fe::Dense{.units = 3}, fe::Tanh{}, fe::Dense{.units = 2}},
        {fe::Flatten{}, fe::Dense{.units = 3, .bias = false}, fe::Tanh{},
         fe::Dense{.units = 2, .bias = false}},
        {fe::Flatten{}, fe::Dense{.units = 3}},
        // As many arrays and as many floats.
        {fe::Flatten{}, fe::Dense{.units = 1}, fe::Tanh{}, fe::Dense{.units = 20, .bias = false}},
        {fe::Flatten{}, fe::Dense{.units = 3}, fe::Tanh{}, fe::Dense{.units = 2, .bias = false},
         fe::Dense{.units = 2}},
    };
    for (std::size_t i = 0; i < others.size(); ++i) {
        CAPTURE(i);
        Learner other(small_input, others[i], with_adam);
        const Contents before = contents(other.session());
        CHECK(fe::load_weights(opened.value(), other.session()) == fe::Status::model_mismatch);
        CHECK(fe::load_checkpoint(other.model(), opened.value(), other.session()) == fe::Status::model_mismatch);
        CHECK(contents(other.session()) == before);
        std::vector<std::uint64_t> tables(fe::table_bytes(others[i].size()) / 8 + 1);
        const auto program =
            fe::compile(other.model(), fe::Inference{}, std::as_writable_bytes(std::span(tables)));
        REQUIRE(program.ok());
        Bytes region(program.value().totals->region_bytes[0] + 1000);
        const Bytes empty = region;
        CHECK(fe::load_weights(opened.value(), program.value(), region) == fe::Status::model_mismatch);
        CHECK(region == empty);
    }
}

TEST_CASE("checkpoints: training goes on with the bits that it would have had, for every optimizer") {
    const fe::Optimizer optimizers[] = {fe::Sgd{0.1f},     fe::Momentum{0.1f}, fe::Nesterov{0.1f},
                                        fe::AdaGrad{0.1f}, fe::RmsProp{0.01f}, fe::Adam{0.01f},
                                        fe::AdamW{0.01f}};
    for (const fe::Optimizer& optimizer : optimizers) {
        CAPTURE(std::string(optimizer.name));
        fe::Training recipe = with_adam;
        recipe.optimizer = optimizer;
        recipe.schedule = fe::CosineDecay{.iterations = 25, .warmup = 3};
        Learner straight(small_input, small_layers, recipe), first(small_input, small_layers, recipe),
            second(small_input, small_layers, recipe);
        const auto slow_down = [](fe::TrainingSession& s) {
            s.set_learning_rate(0.5f * s.learning_rate());
            s.set_weight_decay(0.01f);
        };
        train(straight.session(), 8);
        slow_down(straight.session());
        train(straight.session(), 12);
        train(first.session(), 8);
        slow_down(first.session());
        const Bytes file = checkpoint_of(first);
        second.session().initialize(fe::Seed{1234});
        train(second.session(), 2);
        const auto opened = fe::open_weights(file);
        REQUIRE(opened.ok());
        REQUIRE(fe::load_checkpoint(second.model(), opened.value(), second.session()) == fe::Status::ok);
        CHECK(contents(second.session()) == contents(first.session()));
        train(second.session(), 12);
        CHECK(contents(second.session()) == contents(straight.session()));

        for (const fe::Optimizer& other : optimizers) {
            if (std::string(other.name) == optimizer.name) continue;
            recipe.optimizer = other;
            Learner wrong(small_input, small_layers, recipe);
            const Contents before = contents(wrong.session());
            CHECK(fe::load_checkpoint(wrong.model(), opened.value(), wrong.session()) == fe::Status::optimizer_mismatch);
            CHECK(contents(wrong.session()) == before);
        }
        const Bytes plain = weights_of(first);
        const auto weights = fe::open_weights(plain);
        REQUIRE(weights.ok());
        const Contents before = contents(second.session());
        CHECK(fe::load_checkpoint(second.model(), weights.value(), second.session()) == fe::Status::optimizer_mismatch);
        CHECK(contents(second.session()) == before);

        // The checksum is right, the numbers are none to train with.
        constexpr float infinity = std::numeric_limits<float>::infinity();
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -1.0f})
            for (const bool decay : {false, true}) {
                CAPTURE(bad);
                CAPTURE(decay);
                if (decay)
                    first.session().set_weight_decay(bad);
                else
                    first.session().set_learning_rate(bad);
                const Bytes damaged = checkpoint_of(first);
                const auto checkpoint = fe::open_weights(damaged);
                REQUIRE(checkpoint.ok());
                CHECK(fe::load_checkpoint(second.model(), checkpoint.value(), second.session()) == fe::Status::invalid_hyperparameter);
                CHECK(contents(second.session()) == before);
                CHECK(second.session().learning_rate() == straight.session().learning_rate());
                CHECK(second.session().weight_decay() == straight.session().weight_decay());
                first.session().set_learning_rate(straight.session().learning_rate());
                first.session().set_weight_decay(straight.session().weight_decay());
            }
    }
}
