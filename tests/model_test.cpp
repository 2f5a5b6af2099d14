// SPDX-License-Identifier: MIT
// Models, layers as values of one type, the bytes of their configuration, and a layer that a user brings.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <ferrite/ferrite.hpp>
#include <memory>
#include <string>
#include <vector>

namespace fe = ferrite;
using fe::AnyLayer;
using fe::Nonlinearity;
using fe::Shape;

namespace {

// ---- A layer of a user: y = gain x, with one gain for each element. Nothing of the library knows it.

inline constexpr auto product = fe::portable_kernel<fe::Map>("product", [](const fe::Map& m) {
    for (std::size_t r = 0; r < m.rows; ++r)
        for (std::size_t c = 0; c < m.columns; ++c)
            m.operand[0][r * m.stride[0] + c] = m.operand[1][r * m.stride[1] + c] * m.operand[2][c];
});

void run_gain(const fe::Call& call) {
    const std::size_t columns = call.step->size[0];
    product({.operand = {call.operand[0], call.operand[1], call.operand[3], nullptr},
             .stride = {columns, columns, 0, 0},
             .rows = call.pass->rows,
             .columns = columns,
             .constants = nullptr});
}

/// gradient(c) = sum of x(r, c) dy(r, c) over r.
void run_gain_gradient(const fe::Call& call) {
    const std::size_t columns = call.step->size[0];
    for (std::size_t c = 0; c < columns; ++c) {
        float sum = 0;
        for (std::size_t r = 0; r < call.pass->rows; ++r)
            sum = std::fma(call.operand[2][r * columns + c], call.operand[1][r * columns + c], sum);
        call.operand[0][c] = sum;
    }
}

struct Gain {
    float start = 1;
    static constexpr const char* name = "gain";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::linear;
    template <class Self, class Visit>
    static constexpr void fields(Self& self, Visit&& visit) {
        visit(self.start);
    }
    [[nodiscard]] constexpr Shape output(Shape in) const noexcept { return in; }
    constexpr void forward(fe::Emitter& e, fe::Node& n) const noexcept {
        n.parameter[0] = e.parameter({.name = "gain",
                                      .layer = n.layer,
                                      .elements = n.in.elements(),
                                      .initializer = fe::Constant{start},
                                      .decays = false});
        n.y = e.activation("gain", n.layer, n.out.elements());
        e.step({.name = "gain",
                .run = &run_gain,
                .layer = n.layer,
                .operand = fe::operands(n.y, n.x, fe::no_buffer, e.parameter(n.parameter[0]).value),
                .size = {n.in.elements(), 0}});
    }
    constexpr void backward(fe::Emitter& e, fe::Node& n) const noexcept {
        if (n.wants_dx) {
            n.dx = e.activation("gain gradient", n.layer, n.in.elements());
            e.step({.name = "gain backward",
                    .run = &run_gain,
                    .layer = n.layer,
                    .operand = fe::operands(n.dx, n.dy, fe::no_buffer, e.parameter(n.parameter[0]).value),
                    .size = {n.in.elements(), 0}});
        }
        const fe::BufferId gradient = e.gradient(n.parameter[0]);
        e.step({.name = "gain gradient",
                .run = &run_gain_gradient,
                .layer = n.layer,
                .operand = fe::operands(gradient, n.dy, n.x),
                .size = {n.in.elements(), 0}});
        e.apply(n.parameter[0], gradient);
    }
};

/// A Sigmoid but for its name and its kind.
struct NoName : fe::activation_detail::Elementwise {
    constexpr void forward(fe::Emitter&, fe::Node&) const noexcept {}
    constexpr void backward(fe::Emitter&, fe::Node&) const noexcept {}
};

static_assert(fe::Layer<fe::Dense> && fe::Layer<fe::Relu> && fe::Layer<fe::LeakyRelu> &&
              fe::Layer<fe::Sigmoid> && fe::Layer<fe::Tanh> && fe::Layer<fe::Gelu> &&
              fe::Layer<fe::Softmax> && fe::Layer<fe::Flatten> && fe::Layer<Gain>);
static_assert(!fe::Layer<int> && !fe::Layer<NoName> && !fe::Layer<fe::Sgd> && !fe::Layer<std::string>);

constexpr auto net = fe::sequential(Shape{2, 3}, fe::Flatten{}, fe::Dense{.units = 4}, fe::Tanh{});
static_assert(net.size() == 3 && net.layer_count == 3 && net.input == Shape{2, 3});
static_assert(fe::sequential(Shape{2}).size() == 0);

std::string names(const auto& model, bool reverse) {
    std::string text;
    const auto visit = [&](const auto& layer) { text.append(fe::name_of(layer)).append(" "); };
    if (reverse)
        model.for_each_reverse(visit);
    else
        model.for_each(visit);
    return text;
}

}  // namespace

TEST_CASE("what a layer makes of a shape, and how it names itself") {
    struct Case {
        AnyLayer layer;
        std::string name;
        Nonlinearity nonlinearity;
        Shape in, out;
    };
    const Case cases[] = {
        {fe::Dense{.units = 4}, "dense", Nonlinearity::linear, Shape{3}, Shape{4}},
        {fe::Dense{.units = 4}, "dense", Nonlinearity::linear, Shape{2, 3, 5}, Shape{4}},
        {fe::Dense{.units = 0}, "dense", Nonlinearity::linear, Shape{3}, Shape{}},
        {fe::Dense{.units = 4}, "dense", Nonlinearity::linear, Shape{}, Shape{}},
        {fe::Dense{.units = 4}, "dense", Nonlinearity::linear, Shape{3, 0}, Shape{}},
        {fe::Flatten{}, "flatten", Nonlinearity::transparent, Shape{2, 3, 5}, Shape{30}},
        {fe::Flatten{}, "flatten", Nonlinearity::transparent, Shape{7}, Shape{7}},
        {fe::Flatten{}, "flatten", Nonlinearity::transparent, Shape{}, Shape{}},
        {fe::Relu{}, "relu", Nonlinearity::rectifier, Shape{2, 3}, Shape{2, 3}},
        {fe::LeakyRelu{}, "leaky_relu", Nonlinearity::rectifier, Shape{2, 3}, Shape{2, 3}},
        {fe::Gelu{}, "gelu", Nonlinearity::rectifier, Shape{2, 3}, Shape{2, 3}},
        {fe::Sigmoid{}, "sigmoid", Nonlinearity::logistic, Shape{2, 3}, Shape{2, 3}},
        {fe::Tanh{}, "tanh", Nonlinearity::saturating, Shape{2, 3}, Shape{2, 3}},
        {fe::Softmax{}, "softmax", Nonlinearity::distribution, Shape{2, 3}, Shape{2, 3}},
        {fe::BatchNorm{}, "batch_norm", Nonlinearity::transparent, Shape{2, 3}, Shape{2, 3}},
        {fe::LayerNorm{}, "layer_norm", Nonlinearity::transparent, Shape{2, 3}, Shape{2, 3}},
        {fe::Dropout{}, "dropout", Nonlinearity::transparent, Shape{2, 3}, Shape{2, 3}},
        {AnyLayer{}, "", Nonlinearity::transparent, Shape{2, 3}, Shape{}},
        {Gain{}, "gain", Nonlinearity::linear, Shape{2, 3}, Shape{2, 3}},
    };
    for (std::size_t i = 0; i < std::size(cases); ++i) {
        CAPTURE(i);
        const Case& c = cases[i];
        CHECK(c.layer.name() == c.name);
        CHECK((c.layer.nonlinearity() == c.nonlinearity));
        CHECK((c.layer.output(c.in) == c.out));
    }
}

TEST_CASE("a model is walked in both directions, at compile time and at run time") {
    CHECK(names(net, false) == "flatten dense tanh ");
    CHECK(names(net, true) == "tanh dense flatten ");
    std::vector<AnyLayer> layers;
    net.for_each([&](const auto& layer) { layers.emplace_back(layer); });
    const fe::DynamicModel model{net.input, layers};
    CHECK(model.size() == 3);
    CHECK(names(model, false) == "flatten dense tanh ");
    CHECK(names(model, true) == "tanh dense flatten ");
    CHECK(names(fe::DynamicModel{net.input, {}}, true).empty());
}

TEST_CASE("the weights before an activation start as it wants") {
    struct Case {
        AnyLayer behind;
        fe::Initializer::Kind expected;
    };
    using Kind = fe::Initializer::Kind;
    for (const Case& c : {Case{fe::Relu{}, Kind::he_normal}, Case{fe::LeakyRelu{}, Kind::he_normal},
                          Case{fe::Gelu{}, Kind::he_normal}, Case{fe::Sigmoid{}, Kind::automatic},
                          Case{fe::Tanh{}, Kind::automatic}, Case{fe::Softmax{}, Kind::automatic},
                          Case{fe::Dense{}, Kind::automatic}}) {
        INFO("before ", std::string(c.behind.name()));
        for (const bool flatten : {false, true}) {
            std::vector<AnyLayer> layers{fe::Dense{.units = 4}, c.behind,
                                         fe::Dense{.units = 2, .initializer = fe::Zero{}}};
            if (flatten) layers.insert(layers.begin() + 1, fe::Flatten{});  // transparent
            std::vector<std::uint64_t> memory(fe::table_bytes(layers.size()) / 8 + 1);
            const auto program = fe::compile(fe::DynamicModel{Shape{3}, layers}, fe::Training{},
                                             std::as_writable_bytes(std::span(memory)));
            REQUIRE(program.ok());
            const auto parameters = program.value().parameters;
            CHECK((parameters.front().initializer.kind == c.expected));
            CHECK((parameters[1].initializer.kind == Kind::zero));
            CHECK((parameters[parameters.size() - 2].initializer.kind == Kind::zero));
        }
    }
}

TEST_CASE("a configuration comes back from its bytes") {
    const auto bytes_of = [](const AnyLayer& layer) {
        fe::ByteWriter measure({});
        layer.write(measure);
        std::vector<std::byte> bytes(measure.position());
        fe::ByteWriter writer(bytes);
        layer.write(writer);
        CHECK(writer.fits());
        return bytes;
    };
    const fe::Dense dense{.units = 0x01020304,
                          .bias = false,
                          .frozen = true,
                          .initializer = fe::Normal{0.25f},
                          .bias_initializer = fe::Constant{-3}};
    const auto bytes = bytes_of(dense);
    REQUIRE(bytes.size() == 7 * 4);
    CHECK(bytes[0] == std::byte{4});  // little-endian
    CHECK(bytes[3] == std::byte{1});
    fe::Dense read;
    fe::ByteReader reader(bytes);
    fe::Dense::fields(read, reader);
    CHECK(reader.ok());
    CHECK(reader.position() == bytes.size());
    CHECK(read.units == dense.units);
    CHECK(read.bias == dense.bias);
    CHECK(read.frozen == dense.frozen);
    CHECK((read.initializer == dense.initializer));
    CHECK((read.bias_initializer == dense.bias_initializer));

    CHECK(bytes_of(fe::LeakyRelu{.slope = 0.5f}).size() == 4);
    CHECK(bytes_of(Gain{.start = 2}).size() == 4);
    for (const AnyLayer& layer : {AnyLayer(fe::Relu{}), AnyLayer(fe::Softmax{}), AnyLayer(fe::Flatten{})})
        CHECK(bytes_of(layer).empty());
}

TEST_CASE("bytes: a writer counts past its end, a reader refuses what is not there or out of range") {
    std::array<std::byte, 6> memory;
    memory.fill(std::byte{0xEE});
    fe::ByteWriter writer({memory.data(), 5});  // the sixth byte is not its own
    writer(std::uint32_t{0x11223344});
    CHECK(writer.fits());
    writer(1.0f);
    CHECK(writer.position() == 8);
    CHECK_FALSE(writer.fits());
    CHECK(memory[0] == std::byte{0x44});
    CHECK(memory[3] == std::byte{0x11});
    CHECK(memory[5] == std::byte{0xEE});

    const auto reader_of = [](std::initializer_list<std::uint32_t> words, std::vector<std::byte>& bytes) {
        bytes.resize(words.size() * 4);
        fe::ByteWriter all(bytes);
        for (const std::uint32_t word : words) all(word);
        return fe::ByteReader(bytes);
    };
    std::vector<std::byte> bytes;
    {
        fe::ByteReader reader = reader_of({7, 1, 0, 0x3F800000}, bytes);
        bool yes = false, no = true;
        float one = 0;
        CHECK(reader.read() == 7);
        reader(yes);
        reader(no);
        reader(one);
        CHECK(yes);
        CHECK_FALSE(no);
        CHECK(one == 1.0f);
        CHECK(reader.ok());
        CHECK(reader.read() == 0);
        CHECK_FALSE(reader.ok());
        CHECK(reader.position() == 16);
    }
    {
        fe::ByteReader reader = reader_of({2}, bytes);
        bool value = true;
        reader(value);
        CHECK_FALSE(value);
        CHECK_FALSE(reader.ok());
    }
    for (const std::uint32_t kind : {7u, 8u, 0xFFFFFFFFu}) {
        CAPTURE(kind);
        fe::ByteReader reader = reader_of({kind, 0}, bytes);
        fe::Initializer value;
        reader(value);
        CHECK(reader.ok() == (kind == 7));
    }
    {
        const std::array<std::byte, 3> three{std::byte{1}, std::byte{1}, std::byte{1}};
        fe::ByteReader reader(three);
        CHECK(reader.read() == 0);
        CHECK_FALSE(reader.ok());
        CHECK(reader.read() == 0);
    }
}

// ---- The user's layer in the library's compiler.

namespace {

inline constexpr auto own =
    fe::sequential(Shape{4}, fe::Dense{.units = 6}, fe::Tanh{}, Gain{.start = 0.5f}, fe::Dense{.units = 3});
inline constexpr fe::Training at_once{.optimizer = fe::Momentum{.learning_rate = 0.05f}, .batch = 9};
inline constexpr fe::Training kept{
    .optimizer = fe::Momentum{.learning_rate = 0.05f}, .batch = 9, .update = fe::Update::stored};

struct Batch {
    std::array<float, 9 * 4> x;
    std::array<fe::Label, 9> y;
    Batch() {
        const fe::Random random(fe::Seed{4});
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
        for (std::size_t r = 0; r < y.size(); ++r)
            y[r] = static_cast<fe::Label>(x[4 * r] > 0 ? 2 : x[4 * r + 1] > 0 ? 1 : 0);
    }
};

template <const auto& recipe>
std::uint64_t train(int steps) {
    const auto learner = std::make_unique<fe::Trainer<own, recipe>>();
    const Batch batch;
    learner->initialize(fe::Seed{1});
    for (int i = 0; i < steps; ++i)
        static_cast<void>(learner->step(batch.x, std::span<const fe::Label>(batch.y)));
    return fe::digest(learner->session());
}

}  // namespace

TEST_CASE("a layer of a user trains: start values, slope of the loss, same bits in both update modes") {
    const Batch batch;
    const auto learner = std::make_unique<fe::Trainer<own, kept>>();
    auto& session = learner->session();
    learner->initialize(fe::Seed{1});
    REQUIRE(session.parameter_count() == 5);
    const auto gain = session.parameter(2);
    REQUIRE(gain.size() == 6);
    for (const float g : gain) CHECK(g == 0.5f);

    const float before = learner->evaluate(batch.x, batch.y).loss;
    std::vector<double> slopes;
    for (float& g : gain) {
        const float value = g;
        constexpr float h = 0x1p-6f;
        g = value + h;
        const double above = static_cast<double>(learner->evaluate(batch.x, batch.y).loss);
        g = value - h;
        const double below = static_cast<double>(learner->evaluate(batch.x, batch.y).loss);
        g = value;
        slopes.push_back((above - below) / (2 * static_cast<double>(h)));
    }
    static_cast<void>(learner->step(batch.x, std::span<const fe::Label>(batch.y)));
    for (std::size_t i = 0; i < 6; ++i) {
        CAPTURE(i);
        CHECK(static_cast<double>(session.gradient(2)[i]) ==
              doctest::Approx(slopes[i]).epsilon(0.001).scale(0.1));
    }
    for (int i = 0; i < 200; ++i)
        static_cast<void>(learner->step(batch.x, std::span<const fe::Label>(batch.y)));
    CHECK(learner->evaluate(batch.x, batch.y).loss < 0.5f * before);
    CHECK(train<at_once>(50) == train<kept>(50));
}

TEST_CASE("a layer of a user arrives at run time and comes back from a file") {
    std::vector<AnyLayer> layers;
    own.for_each([&](const auto& layer) { layers.emplace_back(layer); });
    const fe::DynamicModel model{own.input, layers};
    const auto learner = std::make_unique<fe::Trainer<own, at_once>>();
    learner->initialize(fe::Seed{1});
    std::vector<std::byte> file(fe::weights_bytes(model, learner->session().program()));
    REQUIRE(fe::save_weights(model, learner->session(), file).ok());
    const auto opened = fe::open_weights(file);
    REQUIRE(opened.ok());
    std::vector<AnyLayer> memory(opened.value().layer_count);
    CHECK(fe::read_model(opened.value(), memory).status() == fe::Status::unknown_layer);
    const auto read = fe::read_model<Gain>(opened.value(), memory);
    REQUIRE(read.ok());
    CHECK(names(read.value(), false) == "dense tanh gain dense ");
    std::vector<std::uint64_t> tables(fe::table_bytes(4) / 8 + 1);
    const auto program = fe::compile(read.value(), at_once, std::as_writable_bytes(std::span(tables)));
    REQUIRE(program.ok());
    CHECK(program.value().totals->arena_bytes == fe::Trainer<own, at_once>::arena_bytes);
}
