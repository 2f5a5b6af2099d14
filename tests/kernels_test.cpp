// SPDX-License-Identifier: MIT
// Every kernel against the scalar loops of oracle.hpp, bit for bit, on each instruction set of this build that the
// processor has and on portable vectors; and those loops against double precision.
#include "oracle.hpp"
#include "values.hpp"

#include <doctest/doctest.h>
#include <ferrite/kernels.hpp>
#include <ferrite/optimizer.hpp>
#include <ferrite/simd/elementwise.hpp>
#include <ferrite/simd/gemm.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fe = ferrite;
namespace oracle = ferrite::oracle;
using fe::Map;
using fe::Status;
using fe::simd::Portable;
using fe::test::canary;
using fe::test::difference;
using fe::test::Fenced;
using fe::test::not_a_number;
using fe::test::Source;
using fe::test::Values;

const fe::Isa isa_at_start = fe::active_isa();  // before main, where FERRITE_ISA may choose another

class RestoreIsa {
  public:
    RestoreIsa() = default;
    RestoreIsa(const RestoreIsa&) = delete;
    RestoreIsa& operator=(const RestoreIsa&) = delete;
    ~RestoreIsa() { static_cast<void>(fe::select_isa(fe::name(before_))); }

  private:
    fe::Isa before_ = fe::active_isa();
};

/// One way to run every kernel: `body` 0 is the library's own with the instruction set of this name, the other is a
/// portable vector, which runs its epilogues and updates on the same vector.
struct Set {
    const char* name;
    std::size_t body;
};

// Each width takes a compiler a minute: the one that x86 has no instruction set for, and with the sanitizers the widest, which
// has the farthest edges.
#if defined(FERRITE_TEST_EMULATED)  // where an emulator has no time for what every processor runs alike
#elif defined(FERRITE_TEST_SANITIZED)
using Other = Portable<16>;
constexpr Set portable_set{"Portable<16>", 1};
#else
using Other = Portable<4>;
constexpr Set portable_set{"Portable<4>", 1};
#endif

template <class F>
void on_every_set(F f) {
    const RestoreIsa restore;
    for (std::size_t i = 0; i < fe::isa_count; ++i) {
        const auto isa = static_cast<fe::Isa>(i);
        if (!fe::supported(isa)) continue;
        REQUIRE(fe::select_isa(fe::name(isa)) == Status::ok);
        f(Set{fe::name(isa), 0});
    }
#if !defined(FERRITE_TEST_EMULATED)
    if (std::getenv("FERRITE_TEST_WITHOUT_PORTABLE") == nullptr) f(portable_set);
#endif
}

template <class Arguments>
struct Bodies {
    fe::Kernel<Arguments> kernel[2];
    const fe::Kernel<Arguments>& operator[](const Set& set) const { return kernel[set.body]; }
};

/// `function` in the place of the library's kernel, with all that a product knows of that one.
template <class Arguments>
constexpr fe::Kernel<Arguments> portable(fe::Kernel<Arguments> kernel, void (*function)(const Arguments&)) {
    for (auto& entry : kernel.entry) entry = function;
    return kernel;
}

#if defined(FERRITE_TEST_EMULATED)
#define BODIES(k) {{fe::kernels::k}}
#else
#define BODIES(k)                                                             \
    {                                                                         \
        { fe::kernels::k, portable(fe::kernels::k, &fe::Kernels<Other>::k) } \
    }
#endif

constexpr Bodies<fe::Gemm> gemm = BODIES(gemm);
constexpr Bodies<fe::DenseBackward> dense_backward = BODIES(dense_backward);
constexpr Bodies<fe::SoftmaxArguments> softmax = BODIES(softmax);
constexpr Bodies<fe::SoftmaxArguments> softmax_backward = BODIES(softmax_backward);
constexpr Bodies<fe::SumOfSquares> sum_of_squares = BODIES(sum_of_squares);
constexpr Bodies<fe::DropoutArguments> dropout = BODIES(dropout);
constexpr Bodies<fe::Pixels> pixels = BODIES(pixels);

struct NormalizationCase {
    Bodies<fe::Normalization> bodies;
    void (*formula)(const fe::Normalization&);
    bool forward, of_rows, running;  ///< whose statistics, which of them are written
};
constexpr NormalizationCase normalizations[] = {
    {BODIES(batch_norm), oracle::batch_norm, true, false, true},
    {BODIES(batch_norm_inference), oracle::batch_norm_inference, true, false, true},
    {BODIES(batch_norm_backward), oracle::batch_norm_backward, false, false, false},
    {BODIES(layer_norm), oracle::layer_norm, true, true, false},
    {BODIES(layer_norm_backward), oracle::layer_norm_backward, false, true, false},
};

struct LossCase {
    Bodies<fe::LossArguments> bodies;
    void (*formula)(const fe::LossArguments&);
    bool labels;
};
constexpr LossCase losses[] = {
    {BODIES(softmax_cross_entropy), oracle::softmax_cross_entropy, true},
    {BODIES(binary_cross_entropy), oracle::binary_cross_entropy, false},
    {BODIES(mean_squared_error), oracle::mean_squared_error, false},
    {BODIES(huber), oracle::huber, false},
};

struct MapCase {
    Bodies<Map> bodies;
    oracle::MapFormula formula;
    [[nodiscard]] const char* name() const { return bodies.kernel[0].name; }
};
constexpr MapCase forward_maps[] = {
    {BODIES(relu), oracle::relu},         {BODIES(leaky_relu), oracle::leaky_relu}, {BODIES(sigmoid), oracle::sigmoid_map},
    {BODIES(tanh), oracle::tanh_map},     {BODIES(gelu), oracle::gelu},             {BODIES(scale), oracle::scale_map},
};
constexpr MapCase backward_maps[] = {
    {BODIES(relu_backward), oracle::relu_backward},       {BODIES(leaky_relu_backward), oracle::leaky_relu_backward},
    {BODIES(sigmoid_backward), oracle::sigmoid_backward}, {BODIES(tanh_backward), oracle::tanh_backward},
    {BODIES(gelu_backward), oracle::gelu_backward},
};
constexpr MapCase optimizer_maps[] = {
    {BODIES(sgd), oracle::sgd},         {BODIES(momentum), oracle::momentum}, {BODIES(nesterov), oracle::nesterov},
    {BODIES(adagrad), oracle::adagrad}, {BODIES(rmsprop), oracle::rmsprop},   {BODIES(adam), oracle::adam},
    {BODIES(adamw), oracle::adamw},
};
#undef BODIES

/// A piece of memory of a case: inputs too are compared afterwards, as no kernel may write them.
struct Array {
    std::vector<float> values;
    bool absent = false;   ///< the kernel gets a null pointer
    bool scratch = false;  ///< may hold anything afterwards
};
using Pointers = std::vector<float*>;

/// Runs `reference(pointers)` once and `run(set, pointers)` on every set, each on its own copy of the arrays; all
/// arrays have the same bits in the end, and around them nothing was written.
template <class Reference, class Run>
void compare(const std::vector<Array>& arrays, std::size_t slack, Reference reference, Run run) {
    std::vector<Array> expected = arrays;
    Pointers pointers;
    for (Array& array : expected) pointers.push_back(array.absent ? nullptr : array.values.data());
    reference(pointers);
    bool equal = true;
    on_every_set([&](const Set& set) {
        std::vector<Fenced> memory;
        memory.reserve(arrays.size());
        for (std::size_t i = 0; i < arrays.size(); ++i) {
            memory.emplace_back(arrays[i].values, slack);
            pointers[i] = arrays[i].absent ? nullptr : memory[i].data();
        }
        INFO("on ", std::string(set.name), ", slack ", slack);
        run(set, pointers);
        for (std::size_t i = 0; i < arrays.size(); ++i) {
            std::string found;
            if (!arrays[i].scratch) found = difference(expected[i].values, memory[i].span());
            if (!memory[i].canaries_intact()) found += " written outside";
            if (found.empty()) continue;
            equal = false;
            INFO("array ", i);
            CHECK(found == "");
        }
    });
    REQUIRE(equal);
}

/// Floats from the first to the last element of a matrix.
std::size_t extent(std::size_t rows, std::size_t columns, std::size_t stride) {
    return rows == 0 || columns == 0 ? 0 : (rows - 1) * stride + columns;
}

fe::UpdateConstants update_constants(Source& source) {
    fe::UpdateConstants k;
    k.gradient_scale = source.one_of({1.0f, 0.37f});
    k.clip = source.one_of({fe::test::infinity, 0.5f});
    k.weight_decay = source.one_of({0.0f, 0.03f});
    k.rate = 0.05f;
    k.a = 0.9f;
    k.b = source.one_of({0.81f, 0.999f});
    k.c = source.one_of({1.0f, 1.9f});
    k.d = source.one_of({1e-7f, 1e-2f});
    return k;
}
std::array<float, 8> floats_of(const fe::UpdateConstants& k) { return std::bit_cast<std::array<float, 8>>(k); }

constexpr float slope_constants[8] = {0.2f};

}  // namespace

// ---- instruction sets

namespace {

std::size_t entry_that_ran = 0;
template <std::size_t i>
void record(const Map&) {
    entry_that_ran = i;
}
template <std::size_t... i>
fe::Kernel<Map> probe_of(std::index_sequence<i...>) {
    return {"probe", {&record<i>...}};
}

}  // namespace

TEST_CASE("select_isa takes the sets that are built and supported, and only those") {
    const RestoreIsa restore;
    const fe::Kernel<Map> probe = probe_of(std::make_index_sequence<fe::isa_count>());
    CHECK(fe::supported(isa_at_start));
    for (auto i = static_cast<std::size_t>(isa_at_start) + 1; i < fe::isa_count; ++i)
        CHECK_FALSE(fe::supported(static_cast<fe::Isa>(i)));

    for (std::size_t i = 0; i < fe::isa_count; ++i) {
        const auto isa = static_cast<fe::Isa>(i);
        const fe::Isa before = fe::active_isa();
        const Status status = fe::select_isa(fe::name(isa));
        if (fe::supported(isa)) {
            CHECK(status == Status::ok);
            CHECK(fe::active_isa() == isa);
            entry_that_ran = fe::isa_count;
            probe(Map{});
            CHECK(entry_that_ran == i);
        } else {
            MESSAGE(std::string(fe::name(isa)) << " is not compared: this processor or its operating system lacks it");
            CHECK(status == Status::isa_not_supported);
            CHECK(fe::active_isa() == before);
        }
    }

    const fe::Isa before = fe::active_isa();
    for (const char* unknown : {"", "avx", "avx22", "AVX2", "scalar ", " scalar", "Portable<4>"}) {
        INFO(std::string(unknown));
        CHECK(fe::select_isa(unknown) == Status::isa_not_built);
        CHECK(fe::active_isa() == before);
    }
    for (const char* known : {"scalar", "avx2", "avx512", "neon", "neon64", "helium"}) {
        bool built = false;
        for (std::size_t i = 0; i < fe::isa_count; ++i) built |= fe::name(static_cast<fe::Isa>(i)) == std::string(known);
        if (built) continue;
        MESSAGE(known << " is not compared: it is not part of this build");
        CHECK(fe::select_isa(known) == Status::isa_not_built);
        CHECK(fe::active_isa() == before);
    }
}

TEST_CASE("a portable kernel runs the same function on every set") {
    const fe::Kernel<Map> kernel = fe::portable_kernel("mine", &record<77>);
    CHECK(std::string(kernel.name) == "mine");
    on_every_set([&](const Set& set) {
        INFO(std::string(set.name));
        entry_that_ran = 0;
        kernel(Map{});
        CHECK(entry_that_ran == 77);
    });
}

// ---- gemm

namespace {

struct GemmCase {
    std::size_t m, n, k;
    std::size_t a_step = 1;    ///< or 0: A is stored transposed
    std::size_t guard = 0;     ///< columns between two rows of every matrix
    bool bias = false;
    const MapCase* epilogue = nullptr;
    bool scratch = false;
    std::size_t slack = 0;
    Values values = Values::normal;
};

void compare_gemm(Source& source, const GemmCase& g) {
    INFO("m ", g.m, ", n ", g.n, ", k ", g.k, ", a_step ", g.a_step, ", guard ", g.guard, ", bias ", g.bias, ", epilogue ",
         g.epilogue ? g.epilogue->name() : "none", ", scratch ", g.scratch, ", values ", static_cast<int>(g.values));
    const bool transposed = g.a_step == 0;
    const std::size_t a_row = transposed ? 1 : g.k * g.a_step + g.guard;
    const std::size_t a_step = transposed ? g.m + g.guard : g.a_step;
    const std::size_t a_size = g.m == 0 || g.k == 0 ? 0 : (g.m - 1) * a_row + (g.k - 1) * a_step + 1;
    const std::size_t b_row = g.n + g.guard, c_row = g.n + 2 * g.guard;
    enum { a, b, c, bias, scratch };
    std::vector<Array> arrays(5);
    arrays[a].values = source.array(a_size, g.values);
    arrays[b].values = source.array(extent(g.k, g.n, b_row), g.values);
    arrays[c].values.assign(extent(g.m, g.n, c_row), canary);
    arrays[bias] = {source.array(g.bias ? g.n : 0, g.values), !g.bias};
    arrays[scratch] = {std::vector<float>(g.scratch ? fe::gemm_scratch_floats : 0, not_a_number), !g.scratch, true};
    const auto arguments = [&](const Pointers& p, const fe::Kernel<Map>* epilogue) {
        return fe::Gemm{.a = p[a], .a_row = a_row, .a_step = a_step, .b = p[b], .b_row = b_row, .c = p[c], .c_row = c_row,
                        .m = g.m, .n = g.n, .k = g.k, .bias = p[bias], .epilogue = epilogue, .constants = slope_constants,
                        .scratch = p[scratch]};
    };
    compare(
        arrays, g.slack,
        [&](const Pointers& p) { oracle::gemm(arguments(p, nullptr), g.epilogue ? &g.epilogue->formula : nullptr); },
        [&](const Set& set, const Pointers& p) {
            gemm[set](arguments(p, g.epilogue ? &g.epilogue->bodies[set] : nullptr));
        });
}

constexpr std::size_t sizes[] = {1, 2, 3, 5, 6, 7, 8, 9, 13, 15, 16, 17, 31, 33, 47, 67};

void random_options(Source& source, GemmCase& g) {
    g.a_step = source.one_of<std::size_t>({1, 1, 0, 0, 3});
    g.guard = source.one_of<std::size_t>({0, 0, 1, 5});
    g.bias = source.coin();
    g.epilogue = source.coin() ? &forward_maps[source.below(std::size(forward_maps))] : nullptr;
    g.scratch = source.coin();
    g.slack = source.below(2);
    g.values = fe::test::all_values[source.below(4)];  // Values::special makes all of a product NaN
}

}  // namespace

TEST_CASE("gemm: every pair of rows and columns, sampled depths and options") {
    constexpr std::uint32_t seed = 1;
    INFO("seed ", seed);
    Source source(seed);
    for (const std::size_t m : sizes)
        for (const std::size_t n : sizes)
            for (int repeat = 0; repeat < 4; ++repeat) {
                GemmCase g{.m = m, .n = n, .k = sizes[source.below(std::size(sizes))]};
                random_options(source, g);
                compare_gemm(source, g);
            }
}

TEST_CASE("gemm: every size from 1 to 67 in each dimension") {
    constexpr std::uint32_t seed = 11;
    INFO("seed ", seed);
    Source source(seed);
    for (std::size_t dimension = 0; dimension < 3; ++dimension)
        for (std::size_t size = 1; size <= 67; ++size) {
            std::size_t all[3];
            for (std::size_t& other : all) other = sizes[source.below(std::size(sizes))];
            all[dimension] = size;
            GemmCase g{.m = all[0], .n = all[1], .k = all[2]};
            random_options(source, g);
            compare_gemm(source, g);
        }
}

TEST_CASE("gemm: depths on both sides of a panel and of two") {
    constexpr std::uint32_t seed = 2;
    INFO("seed ", seed);
    Source source(seed);
    // So large that rows of A are packed, in blocks of which the last is smaller.
    compare_gemm(source, {.m = 300, .n = 130, .k = 1000, .a_step = 1, .guard = 1, .bias = true, .scratch = true});
    compare_gemm(source, {.m = 10, .n = 100, .k = 1100, .a_step = 1, .guard = 1, .bias = true, .scratch = false});
    compare_gemm(source, {.m = 29, .n = 100, .k = 130, .a_step = 1, .guard = 1, .bias = true, .scratch = false});
    for (const std::size_t k : {127u, 128u, 129u, 256u, 257u, 511u, 513u})
        for (const std::size_t m : {1u, 7u, 24u, 33u, 67u})
            for (const std::size_t n : {1u, 10u, 33u}) {
                GemmCase g{.m = m, .n = n, .k = k};
                random_options(source, g);
                compare_gemm(source, g);
            }
}

TEST_CASE("gemm: nothing to sum gives the bias or zero, and nothing to write writes nothing") {
    Source source(3);
    for (const std::size_t m : {0u, 1u, 7u, 40u})
        for (const std::size_t n : {0u, 1u, 8u, 19u})
            for (const std::size_t k : {0u, 3u})
                for (const bool bias : {false, true})
                    for (const bool scratch : {false, true})
                        for (const MapCase* epilogue : {static_cast<const MapCase*>(nullptr), &forward_maps[4]})
                            compare_gemm(source, {.m = m, .n = n, .k = k, .guard = 2, .bias = bias, .epilogue = epilogue,
                                                  .scratch = scratch});
}

TEST_CASE("gemm: special values in every position of a small product") {
    Source source(4);
    for (int repeat = 0; repeat < 200; ++repeat) {
        GemmCase g{.m = 1 + source.below(9), .n = 1 + source.below(20), .k = 1 + source.below(3)};
        random_options(source, g);
        g.values = Values::special;
        compare_gemm(source, g);
    }
}

TEST_CASE("matmul is the product, or answers and writes nothing") {
    Source source(5);
    std::vector<float> a = source.array(200, Values::normal), b = source.array(200, Values::normal);
    std::vector<float> scratch(fe::gemm_scratch_floats);
    const std::vector<float> untouched(200, canary);
    using fe::Shape;
    struct Mismatch {
        Shape c, a, b;
    };
    for (const Mismatch& s : {Mismatch{Shape(3, 5), Shape(3, 4), Shape(5, 5)}, {Shape(3, 5), Shape(3, 4), Shape(3, 5)},
                              {Shape(4, 5), Shape(3, 4), Shape(4, 5)}, {Shape(3, 4), Shape(3, 4), Shape(4, 5)},
                              {Shape(5, 3), Shape(3, 4), Shape(4, 5)}, {Shape(15), Shape(3, 4), Shape(4, 5)},
                              {Shape(3, 5), Shape(12), Shape(4, 5)}, {Shape(3, 5), Shape(3, 4), Shape(20)},
                              {Shape(1, 3, 5), Shape(1, 3, 4), Shape(1, 4, 5)}, {Shape(3, 5, 1), Shape(3, 4), Shape(4, 5)},
                              {Shape{}, Shape(3, 4), Shape(4, 5)}, {Shape(3, 5), Shape{}, Shape{}}}) {
        std::vector<float> c = untouched;
        CHECK(fe::matmul({c.data(), s.c}, fe::Tensor{a.data(), s.a}, fe::Tensor{b.data(), s.b}) == Status::shape_mismatch);
        CHECK(difference(untouched, c) == "");
    }
    std::vector<float> c = untouched;
    const auto product = [&](Shape shape_c, Shape shape_a, Shape shape_b, std::span<float> memory) {
        return fe::matmul({c.data(), shape_c}, fe::Tensor{a.data(), shape_a}, fe::Tensor{b.data(), shape_b}, memory);
    };
    for (const std::size_t floats : {std::size_t{1}, fe::gemm_scratch_floats - 1}) {
        CHECK(product(Shape(3, 5), Shape(3, 4), Shape(4, 5), std::span(scratch).first(floats)) == Status::buffer_too_small);
        CHECK(difference(untouched, c) == "");
    }
    for (const auto& size : {std::array{3u, 5u, 4u}, std::array{1u, 1u, 1u}, std::array{40u, 5u, 5u}, std::array{2u, 33u, 6u}})
        for (const std::size_t floats : {std::size_t{0}, fe::gemm_scratch_floats}) {
            const std::uint32_t m = size[0], n = size[1], k = size[2];
            INFO("m ", m, ", n ", n, ", k ", k, ", scratch ", floats);
            std::vector<float> expected = untouched;
            c = untouched;
            oracle::gemm({.a = a.data(), .a_row = k, .a_step = 1, .b = b.data(), .b_row = n, .c = expected.data(),
                          .c_row = n, .m = m, .n = n, .k = k, .bias = nullptr, .epilogue = nullptr, .constants = nullptr,
                          .scratch = nullptr},
                         nullptr);
            CHECK(product(Shape(m, n), Shape(m, k), Shape(k, n), std::span(scratch).first(floats)) == Status::ok);
            CHECK(difference(expected, c) == "");
        }
}

// ---- dense_backward

namespace {

enum class Target { none, own, over_x, over_aux, over_x_with_x_as_aux };

struct DenseCase {
    std::size_t batch, inputs, outputs;
    Target dx = Target::own;
    const MapCase* derivative = nullptr;
    bool weights = true;
    const MapCase* update = nullptr;
    bool bias = true;
    std::size_t slack = 0;
    Values values = Values::normal;
    std::size_t between = 0;  ///< the rows of x, dx and aux
};

void compare_dense(Source& source, const DenseCase& d) {
    INFO("batch ", d.batch, ", inputs ", d.inputs, ", outputs ", d.outputs, ", dx ", static_cast<int>(d.dx), ", derivative ",
         std::string(d.derivative ? d.derivative->name() : "none"), ", weights ", d.weights, ", update ",
         std::string(d.update ? d.update->name() : "none"), ", bias ", d.bias, ", values ", static_cast<int>(d.values), ", between ", d.between);
    const std::size_t row = d.inputs + d.between, like_x = (d.batch - 1) * row + d.inputs;
    const std::size_t states = d.update ? static_cast<std::size_t>(d.update->formula.states) : 0;
    const bool stored = d.weights && d.update == nullptr;
    enum { x, dy, w, b, dx, aux, dw, db, w_state, b_state = w_state + 2, scratch = b_state + 2, count };
    std::vector<Array> arrays(count);
    const auto put = [&](std::size_t i, bool present, std::size_t n) {
        arrays[i] = {source.array(present ? n : 0, d.values), !present};
    };
    const bool aux_is_x = d.dx == Target::over_x_with_x_as_aux;
    put(x, d.weights || aux_is_x || d.dx == Target::over_x, like_x);
    put(dy, true, d.batch * d.outputs);
    put(w, true, d.inputs * d.outputs);
    put(b, d.bias, d.outputs);
    put(dx, d.dx == Target::own, like_x);
    put(aux, (d.derivative != nullptr && !aux_is_x) || d.dx == Target::over_aux, like_x);
    put(dw, stored, d.inputs * d.outputs);
    put(db, stored && d.bias, d.outputs);
    for (std::size_t s = 0; s < 2; ++s) {
        put(w_state + s, s < states, d.inputs * d.outputs);
        put(b_state + s, s < states && d.bias, d.outputs);
    }
    // The second moment, and the sum of squares, under a root.
    for (const int i : {w_state + 0, w_state + 1, b_state + 0, b_state + 1})
        for (float& value : arrays[static_cast<std::size_t>(i)].values) value = std::fabs(value);
    const bool needs_scratch = d.dx != Target::none;
    arrays[scratch] = {std::vector<float>(needs_scratch ? fe::dense_scratch_floats(d.outputs, d.batch) : 0, not_a_number),
                       !needs_scratch, true};

    const auto w_constants = floats_of(update_constants(source)), b_constants = floats_of(update_constants(source));
    const auto arguments = [&](const Pointers& p, const fe::Kernel<Map>* derivative, const fe::Kernel<Map>* update) {
        float* target = nullptr;
        const float* kept = p[aux];
        switch (d.dx) {
            case Target::none: break;
            case Target::own: target = p[dx]; break;
            case Target::over_x: target = p[x]; break;
            case Target::over_aux: target = p[aux]; break;
            case Target::over_x_with_x_as_aux: target = p[x], kept = p[x]; break;
        }
        return fe::DenseBackward{.x = p[x], .dy = p[dy], .w = p[w], .b = p[b], .batch = d.batch, .inputs = d.inputs,
                                 .outputs = d.outputs, .row = row, .dx = target, .aux = kept, .derivative = derivative,
                                 .derivative_constants = slope_constants, .dw = p[dw], .db = p[db], .update = update,
                                 .w_state = {p[w_state], p[w_state + 1]}, .b_state = {p[b_state], p[b_state + 1]},
                                 .w_constants = w_constants.data(), .b_constants = b_constants.data(),
                                 .scratch = p[scratch]};
    };
    compare(
        arrays, d.slack,
        [&](const Pointers& p) {
            oracle::dense_backward(arguments(p, nullptr, nullptr), d.derivative ? &d.derivative->formula : nullptr,
                                   d.update ? &d.update->formula : nullptr);
        },
        [&](const Set& set, const Pointers& p) {
            dense_backward[set](arguments(p, d.derivative ? &d.derivative->bodies[set] : nullptr,
                                          d.update ? &d.update->bodies[set] : nullptr));
        });
}

constexpr std::size_t batches[] = {1, 2, 3, 5, 6, 7, 8, 13, 16, 17, 33};
constexpr std::size_t widths[] = {1, 2, 3, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 47, 67};

}  // namespace

TEST_CASE("dense_backward: every combination of its parts") {
    constexpr std::uint32_t seed = 6;
    INFO("seed ", seed);
    Source source(seed);
    std::vector<const MapCase*> derivatives{nullptr}, updates{nullptr};
    for (const MapCase& map : backward_maps) derivatives.push_back(&map);
    for (const MapCase& map : optimizer_maps) updates.push_back(&map);
    for (const Target dx : {Target::none, Target::own, Target::over_x, Target::over_aux, Target::over_x_with_x_as_aux})
        for (const MapCase* derivative : derivatives) {
            if (dx == Target::none && derivative != nullptr) continue;
            for (const MapCase* update : updates)
                for (const bool weights : {true, false}) {
                    if (update != nullptr && !weights) continue;
                    for (const bool bias : {true, false})
                        for (int repeat = 0; repeat < 2; ++repeat)
                            compare_dense(source, {.batch = batches[source.below(std::size(batches))],
                                                   .inputs = widths[source.below(std::size(widths))],
                                                   .outputs = widths[source.below(std::size(widths))], .dx = dx,
                                                   .derivative = derivative, .weights = weights, .update = update,
                                                   .bias = bias, .slack = source.below(2),
                                                   .values = fe::test::all_values[source.below(4)],
                                                   .between = source.below(2) * source.below(20)});
                }
        }
}

TEST_CASE("dense_backward: every pair of inputs and outputs, in place, with an update") {
    constexpr std::uint32_t seed = 7;
    INFO("seed ", seed);
    Source source(seed);
    for (const std::size_t inputs : widths)
        for (const std::size_t outputs : widths)
            compare_dense(source, {.batch = batches[source.below(std::size(batches))], .inputs = inputs, .outputs = outputs,
                                   .dx = Target::over_x_with_x_as_aux,
                                   .derivative = &backward_maps[source.below(std::size(backward_maps))],
                                   .update = source.coin() ? &optimizer_maps[source.below(std::size(optimizer_maps))] : nullptr,
                                   .slack = source.below(2), .values = fe::test::all_values[source.below(5)],
                                   .between = source.below(2) * source.below(20)});
    compare_dense(source, {.batch = 100, .inputs = 50, .outputs = 100, .dx = Target::over_x, .update = &optimizer_maps[5]});
    compare_dense(source, {.batch = 400, .inputs = 20, .outputs = 10, .update = nullptr});
    compare_dense(source, {.batch = 2, .inputs = 18, .outputs = 400, .update = &optimizer_maps[0]});
    // Strips of dy in a panel, for a whole step or for one strip; more columns than gradients wait for the optimizer; few
    // columns, with vectors along the inputs.
    compare_dense(source, {.batch = 100, .inputs = 100, .outputs = 100, .dx = Target::over_aux,
                           .derivative = &backward_maps[0], .update = &optimizer_maps[5]});
    compare_dense(source, {.batch = 64, .inputs = 60, .outputs = 300, .dx = Target::over_x, .update = &optimizer_maps[1]});
    compare_dense(source, {.batch = 64, .inputs = 130, .outputs = 300, .dx = Target::none, .update = &optimizer_maps[3]});
    compare_dense(source, {.batch = 1, .inputs = 9, .outputs = 3001, .dx = Target::none, .update = nullptr});
    compare_dense(source, {.batch = 1, .inputs = 9, .outputs = 3001, .dx = Target::own, .update = &optimizer_maps[2]});
    compare_dense(source, {.batch = 30, .inputs = 131, .outputs = 10, .dx = Target::over_x, .update = &optimizer_maps[4]});
    compare_dense(source, {.batch = 30, .inputs = 131, .outputs = 3, .dx = Target::none, .update = nullptr});
    // A batch of one, whose gradient the optimizer makes itself where it neither scales nor clips.
    for (const MapCase& map : optimizer_maps)
        for (int repeat = 0; repeat < 8; ++repeat)
            compare_dense(source, {.batch = 1, .inputs = widths[source.below(std::size(widths))],
                                   .outputs = widths[source.below(std::size(widths))], .dx = Target::over_x, .update = &map,
                                   .slack = source.below(2), .values = fe::test::all_values[source.below(4)]});
}

TEST_CASE("dense_backward: every size from 1 to 67 in each dimension") {
    constexpr std::uint32_t seed = 12;
    INFO("seed ", seed);
    Source source(seed);
    for (std::size_t dimension = 0; dimension < 3; ++dimension)
        for (std::size_t size = 1; size <= 67; ++size) {
            std::size_t all[3] = {batches[source.below(std::size(batches))], widths[source.below(std::size(widths))],
                                  widths[source.below(std::size(widths))]};
            all[dimension] = size;
            compare_dense(source, {.batch = all[0], .inputs = all[1], .outputs = all[2],
                                   .dx = source.one_of({Target::own, Target::over_x, Target::over_aux}),
                                   .derivative = &backward_maps[source.below(std::size(backward_maps))],
                                   .update = source.coin() ? &optimizer_maps[source.below(std::size(optimizer_maps))] : nullptr,
                                   .slack = source.below(2), .values = fe::test::all_values[source.below(4)],
                                   .between = source.below(2) * source.below(20)});
        }
}

// ---- softmax, losses, sums

namespace {

constexpr auto row_lengths = [] {
    std::array<std::size_t, 68> lengths{};
    for (std::size_t i = 0; i < 67; ++i) lengths[i] = i + 1;
    lengths[67] = 100;
    return lengths;
}();

}  // namespace

TEST_CASE("softmax, and in place") {
    Source source(8);
    for (const std::size_t columns : row_lengths)
        for (const std::size_t rows : {1u, 2u, 5u})
            for (const Values values : fe::test::all_values)
                for (const bool in_place : {false, true}) {
                    INFO("rows ", rows, ", columns ", columns, ", in place ", in_place, ", values ", static_cast<int>(values));
                    enum { x, y };
                    std::vector<Array> arrays(2);
                    arrays[x].values = source.array(rows * columns, values);
                    arrays[y] = {std::vector<float>(in_place ? 0 : rows * columns, canary), in_place};
                    const auto arguments = [&](const Pointers& p) {
                        return fe::SoftmaxArguments{
                            .x = p[x], .dy = nullptr, .y = in_place ? p[x] : p[y], .rows = rows, .columns = columns};
                    };
                    compare(
                        arrays, source.below(2), [&](const Pointers& p) { oracle::softmax(arguments(p)); },
                        [&](const Set& set, const Pointers& p) { softmax[set](arguments(p)); });
                }
}

TEST_CASE("softmax_backward, and in place") {
    Source source(9);
    for (const std::size_t columns : row_lengths)
        for (const std::size_t rows : {1u, 2u, 5u})
            for (const Values values : fe::test::all_values)
                for (const bool in_place : {false, true}) {
                    INFO("rows ", rows, ", columns ", columns, ", in place ", in_place, ", values ", static_cast<int>(values));
                    enum { p, dy, dx };
                    std::vector<Array> arrays(3);
                    arrays[p].values = source.array(rows * columns, values);
                    arrays[dy].values = source.array(rows * columns, values);
                    arrays[dx] = {std::vector<float>(in_place ? 0 : rows * columns, canary), in_place};
                    const auto arguments = [&](const Pointers& at) {
                        return fe::SoftmaxArguments{
                            .x = at[p], .dy = at[dy], .y = in_place ? at[dy] : at[dx], .rows = rows, .columns = columns};
                    };
                    compare(
                        arrays, source.below(2), [&](const Pointers& at) { oracle::softmax_backward(arguments(at)); },
                        [&](const Set& set, const Pointers& at) { softmax_backward[set](arguments(at)); });
                }
}

TEST_CASE("losses, with the gradient beside or over the outputs") {
    constexpr std::uint32_t seed = 10;
    INFO("seed ", seed);
    Source source(seed);
    for (const LossCase& loss : losses)
        for (const std::size_t columns : row_lengths)
            for (const std::size_t rows : {1u, 3u, 7u})
                for (const Values values : fe::test::all_values)
                    for (const bool in_place : {false, true}) {
                        INFO(std::string(loss.bodies.kernel[0].name), ", rows ", rows, ", columns ", columns, ", in place ", in_place,
                             ", values ", static_cast<int>(values));
                        enum { z, targets, dz, result };
                        std::vector<Array> arrays(4);
                        arrays[z].values = source.array(rows * columns, values);
                        arrays[targets] = {source.array(loss.labels ? 0 : rows * columns, values), loss.labels};
                        // Probabilities, as the cross-entropy expects, in half of the cases.
                        if (source.coin())
                            for (float& t : arrays[targets].values) t = static_cast<float>(source.below(5)) * 0.25f;
                        arrays[dz] = {std::vector<float>(in_place ? 0 : rows * columns, canary), in_place};
                        arrays[result].values.assign(1, canary);
                        std::vector<std::uint16_t> labels(loss.labels ? rows : 0);
                        for (std::uint16_t& label : labels) {
                            label = static_cast<std::uint16_t>(source.below(columns));
                            if (source.below(30) == 0) label = static_cast<std::uint16_t>(columns);
                            if (source.below(30) == 0) label = 65535;
                        }
                        const auto arguments = [&](const Pointers& p) {
                            return fe::LossArguments{.z = p[z], .labels = loss.labels ? labels.data() : nullptr,
                                                     .targets = p[targets], .dz = in_place ? p[z] : p[dz],
                                                     .loss = p[result], .rows = rows, .columns = columns, .constant = 0.75f};
                        };
                        compare(
                            arrays, source.below(2), [&](const Pointers& p) { loss.formula(arguments(p)); },
                            [&](const Set& set, const Pointers& p) { loss.bodies[set](arguments(p)); });
                    }
}

TEST_CASE("softmax_cross_entropy: every position of the label in rows around the width of a vector") {
    Source source(11);
    for (std::size_t columns = 1; columns <= 35; ++columns) {
        INFO("columns ", columns);
        std::vector<std::uint16_t> labels(columns);
        for (std::size_t r = 0; r < columns; ++r) labels[r] = static_cast<std::uint16_t>(r);
        std::vector<Array> arrays(2);
        arrays[0].values = source.array(columns * columns, Values::normal);
        arrays[1].values.assign(1, canary);
        const auto arguments = [&](const Pointers& p) {
            return fe::LossArguments{.z = p[0], .labels = labels.data(), .targets = nullptr, .dz = p[0], .loss = p[1],
                                     .rows = columns, .columns = columns, .constant = 0};
        };
        compare(
            arrays, 0, [&](const Pointers& p) { oracle::softmax_cross_entropy(arguments(p)); },
            [&](const Set& set, const Pointers& p) { losses[0].bodies[set](arguments(p)); });
    }
}

TEST_CASE("softmax_cross_entropy: a label out of range is a loss of NaN and a finite gradient") {
    on_every_set([&](const Set& set) {
        INFO(std::string(set.name));
        for (const unsigned label : {3u, 4u, 17u, 65535u}) {
            std::vector<float> z{0.5f, -1.0f, 2.0f, 1.0f, 0.0f, 0.25f}, dz(6, canary);
            const std::vector<std::uint16_t> labels{1, static_cast<std::uint16_t>(label)};
            float loss = 0;
            losses[0].bodies[set]({.z = z.data(), .labels = labels.data(), .targets = nullptr, .dz = dz.data(),
                                   .loss = &loss, .rows = 2, .columns = 3, .constant = 0});
            CHECK(std::isnan(loss));
            for (const float g : dz) CHECK(std::fabs(g) <= 0.5f);
        }
    });
}

TEST_CASE("sum_of_squares") {
    Source source(12);
    for (std::size_t n = 0; n <= 130; ++n)
        for (const Values values : fe::test::all_values) {
            INFO("size ", n, ", values ", static_cast<int>(values));
            std::vector<Array> arrays(2);
            arrays[0].values = source.array(n, values);
            arrays[1].values.assign(1, canary);
            const auto arguments = [n](const Pointers& p) { return fe::SumOfSquares{.x = p[0], .size = n, .result = p[1]}; };
            compare(
                arrays, source.below(2), [&](const Pointers& p) { oracle::sum_of_squares(arguments(p)); },
                [&](const Set& set, const Pointers& p) { sum_of_squares[set](arguments(p)); });
        }
}

TEST_CASE("pixels: every size, every byte, at every address") {
    Source source(15);
    std::vector<std::size_t> lengths(68);
    for (std::size_t n = 0; n < lengths.size(); ++n) lengths[n] = n;
    lengths.insert(lengths.end(), {256, 784, 1000});
    for (const std::size_t n : lengths)
        for (std::size_t shift = 0; shift < 4; ++shift) {
            INFO("size ", n, ", from byte ", shift);
            std::vector<Array> arrays(2);
            for (std::size_t i = 0; i < (n + shift + 3) / 4; ++i) {
                std::uint32_t four = 0;
                for (std::size_t k = 0; k < 4; ++k) {
                    const std::size_t byte = n >= 256 ? 4 * i + k - shift : source.below(256);
                    four |= static_cast<std::uint32_t>(byte & 255) << (8 * k);
                }
                arrays[0].values.push_back(std::bit_cast<float>(four));
            }
            arrays[1].values.assign(n, canary);
            const auto arguments = [=](const Pointers& p) {
                return fe::Pixels{.x = reinterpret_cast<const std::uint8_t*>(p[0]) + shift, .y = p[1], .size = n};
            };
            compare(
                arrays, source.below(2), [&](const Pointers& p) { oracle::pixels(arguments(p)); },
                [&](const Set& set, const Pointers& p) { pixels[set](arguments(p)); });
        }
}

// ---- normalization, dropout

TEST_CASE("normalizations, forward and backward, in place, with parts left out") {
    constexpr std::uint32_t seed = 30;
    INFO("seed ", seed);
    Source source(seed);
    enum { x, dy, y, gammas, betas, mean, inverse, running_mean, running_variance, dgamma, dbeta, arrays_of_a_case };
    const auto compare_one = [&](const NormalizationCase& f, std::size_t rows, std::size_t columns, Values values,
                                 std::size_t place, bool without) {
        const bool inference = f.formula == oracle::batch_norm_inference;
        INFO(std::string(f.bodies.kernel[0].name), ", rows ", rows, ", columns ", columns, ", values ",
             static_cast<int>(values), ", place ", place, ", without ", without);
        const std::size_t row = columns + source.below(2) * source.below(20);
        std::vector<Array> arrays(arrays_of_a_case);
        for (Array& a : arrays) a.values = source.array(columns, values);
        for (const std::size_t i : {x, dy, y}) arrays[i].values = source.array((rows - 1) * row + columns, values);
        if (f.of_rows)
            for (const std::size_t i : {mean, inverse}) arrays[i].values = source.array(rows, values);
        for (float& v : arrays[running_variance].values)
            if (source.below(16) != 0) v = std::fabs(v);
        // What the case leaves out: statistics and shift in forward direction, gradients or dx backward.
        const bool no_shift = inference && without, no_statistics = f.forward && f.of_rows && without;
        const bool no_gradients = !f.forward && f.of_rows && without && place != 2;
        arrays[betas].absent = arrays[running_mean].absent = no_shift;
        arrays[mean].absent = arrays[inverse].absent = no_statistics;
        arrays[dgamma].absent = arrays[dbeta].absent = no_gradients;
        const auto arguments = [&](const Pointers& p) {
            // 0: apart; 1: over x or dy; 2: backward without dx. batch_norm reads x after it has written y.
            float* out = p[y];
            if (place == 1 && f.formula != oracle::batch_norm) out = f.forward ? p[x] : p[dy];
            if (place == 2 && !f.forward) out = nullptr;
            return fe::Normalization{.x = p[x], .dy = p[dy], .y = out, .gamma = p[gammas], .beta = p[betas], .mean = p[mean],
                                     .inverse = p[inverse], .running_mean = p[running_mean],
                                     .running_variance = p[running_variance], .dgamma = p[dgamma], .dbeta = p[dbeta],
                                     .rows = rows, .columns = columns, .row = row, .epsilon = 1e-5f, .momentum = 0.9f};
        };
        compare(
            arrays, source.below(2), [&](const Pointers& p) { f.formula(arguments(p)); },
            [&](const Set& set, const Pointers& p) { f.bodies[set](arguments(p)); });
    };
    for (const std::size_t columns : row_lengths)
        for (const NormalizationCase& f : normalizations)
            for (const Values values : fe::test::all_values)
                compare_one(f, 1 + source.below(5), columns, values, source.below(3), source.coin());
    for (const NormalizationCase& f : normalizations)
        for (std::size_t place = 0; place < 3; ++place)
            for (const bool without : {false, true})
                for (const std::size_t rows : {1u, 2u, 37u}) compare_one(f, rows, 65, Values::normal, place, without);
}

TEST_CASE("dropout, and in place") {
    constexpr std::uint32_t seed = 31;
    INFO("seed ", seed);
    Source source(seed);
    for (std::size_t n = 0; n <= 70; ++n)
        for (const Values values : fe::test::all_values)
            for (const bool in_place : {false, true}) {
                INFO("size ", n, ", values ", static_cast<int>(values), ", in place ", in_place);
                std::vector<Array> arrays(2);
                arrays[0].values = source.array(n, values);
                arrays[1] = {std::vector<float>(in_place ? 0 : n, canary), in_place};
                const auto rate = source.one_of<std::uint32_t>({0, 1u << 22, 1u << 23, (1u << 24) - 1});
                const std::uint64_t first = source.one_of<std::uint64_t>({0, 5, std::uint64_t{1} << 40});
                const auto arguments = [&](const Pointers& p) {
                    return fe::DropoutArguments{.x = p[0], .y = in_place ? p[0] : p[1], .size = n,
                                                .random = fe::Random(fe::Seed{seed}), .first = first, .threshold = rate,
                                                .scale = 1.25f};
                };
                compare(
                    arrays, source.below(2), [&](const Pointers& p) { oracle::dropout(arguments(p)); },
                    [&](const Set& set, const Pointers& p) { dropout[set](arguments(p)); });
            }
}

// ---- maps

namespace {

/// Map `f` over rows x columns; operand i is operand of[i], so that of = {0, 0, ...} means in place.
void compare_map(Source& source, const MapCase& f, std::size_t rows, std::size_t columns, Values values,
                 const std::array<std::size_t, 4>& of, const float* constants) {
    const auto operands = static_cast<std::size_t>(f.formula.operands);
    std::vector<Array> arrays(operands);
    Map map{.operand = {}, .stride = {}, .rows = rows, .columns = columns, .constants = constants};
    for (std::size_t i = 0; i < operands; ++i) {
        map.stride[i] = of[i] == i ? (rows <= 1 && source.coin() ? 0 : columns + source.one_of<std::size_t>({0, 1, 5}))
                                   : map.stride[of[i]];
        arrays[i].values = source.array(of[i] == i ? extent(rows, columns, map.stride[i]) : 0, values);
    }
    // Roots of states.
    for (std::size_t i = 2; i < 2 + static_cast<std::size_t>(f.formula.states); ++i)
        for (float& s : arrays[i].values)
            if (source.below(16) != 0) s = std::fabs(s);
    INFO(std::string(f.name()), ", rows ", rows, ", columns ", columns, ", values ", static_cast<int>(values), ", operands ", of[0], of[1],
         of[2], ", strides ", map.stride[0], " ", map.stride[1], " ", map.stride[2], " ", map.stride[3]);
    const auto arguments = [&](const Pointers& p) {
        Map result = map;
        for (std::size_t i = 0; i < operands; ++i) result.operand[i] = p[of[i]];
        return result;
    };
    compare(
        arrays, source.below(2), [&](const Pointers& p) { oracle::map(arguments(p), f.formula); },
        [&](const Set& set, const Pointers& p) { f.bodies[set](arguments(p)); });
}

}  // namespace

TEST_CASE("activations, forward and backward, and in place") {
    constexpr std::uint32_t seed = 13;
    INFO("seed ", seed);
    Source source(seed);
    for (std::size_t columns = 0; columns <= 67; ++columns)
        for (const Values values : {Values::normal, Values::wide, Values::special}) {
            const std::size_t rows = source.below(5);
            for (const MapCase& f : forward_maps) {
                compare_map(source, f, rows, columns, values, {0, 1}, slope_constants);
                compare_map(source, f, rows, columns, values, {0, 0}, slope_constants);
            }
            for (const MapCase& f : backward_maps) {
                compare_map(source, f, rows, columns, values, {0, 1, 2}, slope_constants);
                compare_map(source, f, rows, columns, values, {0, 0, 2}, slope_constants);
                compare_map(source, f, rows, columns, values, {0, 1, 0}, slope_constants);
                compare_map(source, f, rows, columns, values, {0, 0, 0}, slope_constants);
            }
        }
    for (const MapCase& f : forward_maps) compare_map(source, f, 3, 1000, Values::normal, {0, 0}, slope_constants);
    for (const MapCase& f : backward_maps) compare_map(source, f, 3, 1000, Values::normal, {0, 0, 2}, slope_constants);
}

TEST_CASE("optimizers") {
    constexpr std::uint32_t seed = 14;
    INFO("seed ", seed);
    Source source(seed);
    for (const MapCase& f : optimizer_maps) {
        for (std::size_t columns = 0; columns <= 67; ++columns)
            for (const Values values : {Values::normal, Values::wide, Values::special}) {
                const auto constants = floats_of(update_constants(source));
                compare_map(source, f, source.below(5), columns, values, {0, 1, 2, 3}, constants.data());
            }
        // Every choice of the constants that all optimizers share.
        for (const float scale : {1.0f, 0.37f, 0.0f, -2.0f})
            for (const float clip : {fe::test::infinity, 0.5f, 0.0f})
                for (const float weight_decay : {0.0f, 0.03f})
                    for (const Values values : {Values::normal, Values::special}) {
                        fe::UpdateConstants k = update_constants(source);
                        k.gradient_scale = scale, k.clip = clip, k.weight_decay = weight_decay;
                        compare_map(source, f, 2, 37, values, {0, 1, 2, 3}, floats_of(k).data());
                    }
        compare_map(source, f, 1, 1000, Values::normal, {0, 1, 2, 3}, floats_of(update_constants(source)).data());
    }
}

// ---- the loops of oracle.hpp against double precision

namespace {

double wide(float x) { return static_cast<double>(x); }

/// The slope of f at x: central differences with an error of h^2.
template <class F>
double slope(F f, double x) {
    constexpr double h = 1e-5;
    return (f(x + h) - f(x - h)) / (2 * h);
}

double gelu_in_double(double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

struct InDouble {
    const MapCase* forward;
    const MapCase* backward;
    double (*f)(double);
    bool derivative_by_x;
};
const InDouble activations[] = {
    {&forward_maps[0], &backward_maps[0], [](double x) { return std::fmax(0.0, x); }, false},
    {&forward_maps[1], &backward_maps[1], [](double x) { return x <= 0 ? wide(0.2f) * x : x; }, false},
    {&forward_maps[2], &backward_maps[2], [](double x) { return 1 / (1 + std::exp(-x)); }, false},
    {&forward_maps[3], &backward_maps[3], [](double x) { return std::tanh(x); }, false},
    {&forward_maps[4], &backward_maps[4], gelu_in_double, true},
};

std::vector<double> softmax_in_double(const std::vector<double>& z) {
    const double top = *std::max_element(z.begin(), z.end());
    std::vector<double> p(z.size());
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) total += p[i] = std::exp(z[i] - top);
    for (double& x : p) x /= total;
    return p;
}

}  // namespace

TEST_CASE("double precision: products") {
    Source source(20);
    for (const std::size_t k : {1u, 10u, 100u, 400u}) {
        constexpr std::size_t m = 4, n = 6;
        const auto a = source.array(m * k, Values::normal), b = source.array(k * n, Values::normal);
        const auto bias = source.array(n, Values::normal);
        std::vector<float> c(m * n);
        oracle::gemm({.a = a.data(), .a_row = k, .a_step = 1, .b = b.data(), .b_row = n, .c = c.data(), .c_row = n, .m = m,
                      .n = n, .k = k, .bias = bias.data(), .epilogue = nullptr, .constants = nullptr, .scratch = nullptr},
                     nullptr);
        for (std::size_t i = 0; i < m; ++i)
            for (std::size_t j = 0; j < n; ++j) {
                double exact = wide(bias[j]), magnitude = std::fabs(exact);
                for (std::size_t p = 0; p < k; ++p) {
                    const double term = wide(a[i * k + p]) * wide(b[p * n + j]);
                    exact += term;
                    magnitude += std::fabs(term);
                }
                CHECK(std::fabs(wide(c[i * n + j]) - exact) <= static_cast<double>(k) * 0x1p-24 * magnitude);
            }
    }
}

TEST_CASE("double precision: activations and their slopes") {
    for (const InDouble& activation : activations)
        for (int step = -160; step <= 160; ++step) {
            const float x = static_cast<float>(step) * 0.0625f + 0.01f;
            INFO(std::string(activation.forward->name()), " at ", x);
            float forward[4] = {0, x, 0, 0};
            activation.forward->formula.element(forward, slope_constants);
            const double y = activation.f(wide(x));
            CHECK(std::fabs(wide(forward[0]) - y) <= 1e-6 * std::fabs(y) + 1e-7);
            float backward[4] = {0, 3.0f, activation.derivative_by_x ? x : forward[0], 0};
            activation.backward->formula.element(backward, slope_constants);
            // 1 - sigmoid keeps the absolute error of the sigmoid, which Gelu's slope multiplies by x.
            CHECK(std::fabs(wide(backward[0]) - 3 * slope(activation.f, wide(x))) <= 2e-6 + 1e-6 * std::fabs(wide(x)));
        }
}

TEST_CASE("double precision: the backward pass of act(u) W + b") {
    constexpr std::size_t B = 4, I = 5, O = 3;
    Source source(21);
    const auto u = source.array(B * I, Values::normal), w = source.array(I * O, Values::normal);
    const auto b = source.array(O, Values::normal), dy = source.array(B * O, Values::normal);
    for (const InDouble& activation : activations) {
        INFO(std::string(activation.forward->name()));
        // L(u, W, b) = sum of dy (act(u) W + b)
        const auto loss = [&](const std::vector<double>& uu, const std::vector<double>& ww, const std::vector<double>& bb) {
            double total = 0;
            for (std::size_t r = 0; r < B; ++r)
                for (std::size_t o = 0; o < O; ++o) {
                    double y = bb[o];
                    for (std::size_t i = 0; i < I; ++i) y += activation.f(uu[r * I + i]) * ww[i * O + o];
                    total += wide(dy[r * O + o]) * y;
                }
            return total;
        };
        std::vector<float> x(B * I), kept, weights = w, bias = b, dw(I * O), db(O), scratch(fe::dense_scratch_floats(O, B));
        oracle::map({{x.data(), const_cast<float*>(u.data())}, {I, I}, B, I, slope_constants}, activation.forward->formula);
        kept = activation.derivative_by_x ? u : x;
        oracle::dense_backward(
            {.x = x.data(), .dy = dy.data(), .w = weights.data(), .b = bias.data(), .batch = B, .inputs = I, .outputs = O,
             .row = I, .dx = x.data(), .aux = activation.derivative_by_x ? kept.data() : x.data(), .derivative = nullptr,
             .derivative_constants = slope_constants, .dw = dw.data(), .db = db.data(), .update = nullptr, .w_state = {},
             .b_state = {}, .w_constants = nullptr, .b_constants = nullptr, .scratch = scratch.data()},
            &activation.backward->formula, nullptr);
        const std::vector<double> du(u.begin(), u.end()), dw0(w.begin(), w.end()), db0(b.begin(), b.end());
        const auto check = [&](const std::vector<float>& found, int which) {
            for (std::size_t i = 0; i < found.size(); ++i) {
                const double expected = slope(
                    [&](double value) {
                        std::vector<double> at[3] = {du, dw0, db0};
                        at[which][i] = value;
                        return loss(at[0], at[1], at[2]);
                    },
                    (which == 0 ? du : which == 1 ? dw0 : db0)[i]);
                INFO("array ", which, ", element ", i);
                CHECK(std::fabs(wide(found[i]) - expected) <= 5e-6);
            }
        };
        check(x, 0);
        check(dw, 1);
        check(db, 2);
    }
}

TEST_CASE("gelu: where the gate is shut or open the slope is 0 or 1, up to the largest float") {
    for (const MapCase& f : backward_maps) {
        if (std::string(f.name()) != "gelu_backward") continue;
        on_every_set([&](const Set& set) {
            std::vector<float> x, dx(24), dy(24, 1.0f);
            for (const float magnitude : {40.0f, 1e10f, 1.8e19f, 1.9e19f, 3e30f, 3.4e38f})
                for (int i = 0; i < 4; ++i) x.push_back(i % 2 == 0 ? magnitude : -magnitude);
            f.bodies[set]({.operand = {dx.data(), dy.data(), x.data(), nullptr}, .stride = {24, 24, 24, 0}, .rows = 1,
                           .columns = 24, .constants = slope_constants});
            INFO("on ", std::string(set.name));
            for (std::size_t i = 0; i < x.size(); ++i) CHECK(dx[i] == (x[i] > 0 ? 1.0f : 0.0f));
        });
    }
}

TEST_CASE("double precision: softmax and its slopes") {
    Source source(22);
    for (const std::size_t columns : {1u, 2u, 10u, 37u}) {
        const auto x = source.array(columns, Values::normal), dy = source.array(columns, Values::normal);
        std::vector<float> p(columns), dx(columns);
        oracle::softmax({x.data(), nullptr, p.data(), 1, columns});
        oracle::softmax_backward({p.data(), dy.data(), dx.data(), 1, columns});
        const std::vector<double> z(x.begin(), x.end());
        const auto exact = softmax_in_double(z);
        for (std::size_t i = 0; i < columns; ++i) {
            CHECK(wide(p[i]) == doctest::Approx(exact[i]).epsilon(1e-6));
            const double expected = slope(
                [&](double value) {
                    auto moved = z;
                    moved[i] = value;
                    const auto q = softmax_in_double(moved);
                    double total = 0;
                    for (std::size_t j = 0; j < columns; ++j) total += q[j] * wide(dy[j]);
                    return total;
                },
                z[i]);
            CHECK(std::fabs(wide(dx[i]) - expected) <= 1e-6);
        }
    }
}

namespace {

using LossInDouble = double (*)(const std::vector<double>& z, const std::vector<float>& t,
                                const std::vector<std::uint16_t>& labels, std::size_t rows);

// The mean over the rows of -log softmax(z)_t.
double cross_entropy_in_double(const std::vector<double>& z, const std::vector<float>&,
                               const std::vector<std::uint16_t>& labels, std::size_t rows) {
    const std::size_t columns = z.size() / rows;
    double total = 0;
    for (std::size_t r = 0; r < rows; ++r) {
        const auto* row = z.data() + r * columns;
        const double top = *std::max_element(row, row + columns);
        double sum = 0;
        for (std::size_t c = 0; c < columns; ++c) sum += std::exp(row[c] - top);
        total += std::log(sum) - (row[labels[r]] - top);
    }
    return total / static_cast<double>(rows);
}
// The mean over the elements of -(t log s + (1 - t) log(1 - s)).
double binary_cross_entropy_in_double(const std::vector<double>& z, const std::vector<float>& t,
                                      const std::vector<std::uint16_t>&, std::size_t) {
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
        const double s = 1 / (1 + std::exp(-z[i]));
        total -= wide(t[i]) * std::log(s) + (1 - wide(t[i])) * std::log(1 - s);
    }
    return total / static_cast<double>(z.size());
}
double mean_squared_error_in_double(const std::vector<double>& z, const std::vector<float>& t,
                                    const std::vector<std::uint16_t>&, std::size_t) {
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) total += (z[i] - wide(t[i])) * (z[i] - wide(t[i]));
    return total / static_cast<double>(z.size());
}
double huber_in_double(const std::vector<double>& z, const std::vector<float>& t, const std::vector<std::uint16_t>&,
                       std::size_t) {
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
        const double e = std::fabs(z[i] - wide(t[i]));
        total += e <= 0.75 ? e * e / 2 : 0.75 * (e - 0.375);
    }
    return total / static_cast<double>(z.size());
}
constexpr LossInDouble losses_in_double[] = {cross_entropy_in_double, binary_cross_entropy_in_double,
                                             mean_squared_error_in_double, huber_in_double};

}  // namespace

TEST_CASE("double precision: losses and their slopes") {
    Source source(23);
    for (std::size_t kind = 0; kind < std::size(losses); ++kind)
        for (const std::size_t columns : {1u, 3u, 10u, 33u}) {
            constexpr std::size_t rows = 3;
            INFO(std::string(losses[kind].bodies.kernel[0].name), ", columns ", columns);
            std::vector<float> z = source.array(rows * columns, Values::normal), t(z.size()), dz(z.size());
            for (float& x : z) x *= 2;
            for (float& x : t) x = static_cast<float>(source.below(5)) * 0.25f;
            std::vector<std::uint16_t> labels(rows);
            for (auto& label : labels) label = static_cast<std::uint16_t>(source.below(columns));
            float loss = 0;
            losses[kind].formula({.z = z.data(), .labels = labels.data(), .targets = t.data(), .dz = dz.data(), .loss = &loss,
                                  .rows = rows, .columns = columns, .constant = 0.75f});
            const std::vector<double> at(z.begin(), z.end());
            CHECK(wide(loss) == doctest::Approx(losses_in_double[kind](at, t, labels, rows)).epsilon(2e-6));
            for (std::size_t i = 0; i < z.size(); ++i) {
                const double expected = slope(
                    [&](double value) {
                        auto moved = at;
                        moved[i] = value;
                        return losses_in_double[kind](moved, t, labels, rows);
                    },
                    at[i]);
                INFO("element ", i);
                CHECK(std::fabs(wide(dz[i]) - expected) <= 1e-6);
            }
        }
}

TEST_CASE("softmax_cross_entropy is exact for logits of +-1e4, on every set") {
    constexpr std::size_t rows = 4, columns = 10;
    const std::vector<std::uint16_t> labels{0, 9, 3, 4};
    std::vector<float> z(rows * columns);
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = i % 2 == 0 ? 1e4f : -1e4f;
    for (std::size_t c = 0; c < columns; ++c) z[2 * columns + c] = -1e4f;               // all equal: log 10
    for (std::size_t c = 0; c < columns; ++c) z[3 * columns + c] = c == 4 ? 1e4f : 0.0f;  // certain and right: 0
    const std::vector<double> at(z.begin(), z.end());
    const double expected = cross_entropy_in_double(at, {}, labels, rows);
    CHECK(expected == doctest::Approx((std::log(5.0) + std::log(5.0) + 2e4 + std::log(10.0)) / 4));
    on_every_set([&](const Set& set) {
        INFO(std::string(set.name));
        std::vector<float> dz(z.size(), canary);
        float loss = 0;
        losses[0].bodies[set]({.z = z.data(), .labels = labels.data(), .targets = nullptr, .dz = dz.data(), .loss = &loss,
                               .rows = rows, .columns = columns, .constant = 0});
        CHECK(wide(loss) == doctest::Approx(expected).epsilon(1e-6));
        for (std::size_t r = 0; r < rows; ++r) {
            const auto p = softmax_in_double({at.begin() + static_cast<std::ptrdiff_t>(r * columns),
                                              at.begin() + static_cast<std::ptrdiff_t>((r + 1) * columns)});
            for (std::size_t c = 0; c < columns; ++c) {
                INFO("row ", r, ", column ", c);
                const double gradient = (p[c] - (c == labels[r] ? 1 : 0)) / static_cast<double>(rows);
                CHECK(std::fabs(wide(dz[r * columns + c]) - gradient) <= 1e-7);
            }
        }
    });
}

TEST_CASE("double precision: sum of squares") {
    Source source(24);
    const auto x = source.array(1000, Values::normal);
    double exact = 0;
    for (const float v : x) exact += wide(v) * wide(v);
    float result = 0;
    oracle::sum_of_squares({x.data(), x.size(), &result});
    CHECK(wide(result) == doctest::Approx(exact).epsilon(1e-6));
}

namespace {

/// The textbook step t = 1, 2, ... of an optimizer in double: p, g (scaled, clipped), L2 weight decay, two states.
struct TextbookStep {
    fe::Optimizer optimizer;
    const oracle::MapFormula* formula;
    void (*step)(double& p, double g, double decay, double& s, double& v, double rate, int t);
};
const TextbookStep textbook[] = {
    {fe::Sgd{}, &oracle::sgd,
     [](double& p, double g, double decay, double&, double&, double rate, int) { p -= rate * (g + decay * p); }},
    {fe::Momentum{.momentum = 0.9f}, &oracle::momentum,
     [](double& p, double g, double decay, double& v, double&, double rate, int) {
         v = 0.9 * v - rate * (g + decay * p);
         p += v;
     }},
    {fe::Nesterov{.momentum = 0.9f}, &oracle::nesterov,
     // arXiv 1212.0901, equations 6 and 7: p stands for the point that momentum leads to.
     [](double& p, double g, double decay, double& v, double&, double rate, int) {
         const double old = v;
         v = 0.9 * v - rate * (g + decay * p);
         p += -0.9 * old + v + 0.9 * v;
     }},
    {fe::AdaGrad{.epsilon = 1e-3f}, &oracle::adagrad,
     [](double& p, double g, double decay, double& h, double&, double rate, int) {
         g += decay * p;
         h += g * g;
         p -= rate * g / (std::sqrt(h) + 1e-3);
     }},
    {fe::RmsProp{.decay = 0.95f, .epsilon = 1e-3f}, &oracle::rmsprop,
     [](double& p, double g, double decay, double& h, double&, double rate, int) {
         g += decay * p;
         h = 0.95 * h + 0.05 * g * g;
         p -= rate * g / (std::sqrt(h) + 1e-3);
     }},
    {fe::Adam{.beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-2f, .epsilon_place = fe::EpsilonPlace::chapter}, &oracle::adam,
     [](double& p, double g, double decay, double& m, double& v, double rate, int t) {
         g += decay * p;
         m = 0.9 * m + 0.1 * g;
         v = 0.99 * v + 0.01 * g * g;
         const double corrected = rate * std::sqrt(1 - std::pow(0.99, t)) / (1 - std::pow(0.9, t));
         p -= corrected * m / (std::sqrt(v) + 1e-2);
     }},
    {fe::Adam{.beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-2f, .epsilon_place = fe::EpsilonPlace::paper}, &oracle::adam,
     [](double& p, double g, double decay, double& m, double& v, double rate, int t) {
         g += decay * p;
         m = 0.9 * m + 0.1 * g;
         v = 0.99 * v + 0.01 * g * g;
         p -= rate * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-2);
     }},
    {fe::AdamW{.beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-2f}, &oracle::adamw,
     [](double& p, double g, double decay, double& m, double& v, double rate, int t) {
         m = 0.9 * m + 0.1 * g;
         v = 0.99 * v + 0.01 * g * g;
         p -= rate * decay * p;
         p -= rate * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-2);
     }},
};

}  // namespace

TEST_CASE("double precision: optimizers over 20 steps, with and without scale, clipping and weight decay") {
    Source source(25);
    for (const TextbookStep& method : textbook)
        for (const bool plain : {true, false}) {
            INFO(std::string(method.optimizer.name), ", option ", method.optimizer.option, ", plain ", plain);
            REQUIRE(method.optimizer.valid);
            CHECK(static_cast<int>(method.optimizer.state_slots) == method.formula->states);
            constexpr float rate = 0.05f, decay = 0.1f;
            float v[4] = {0.7f, 0, 0, 0};
            double p = wide(v[0]), first = 0, second = 0;
            for (int t = 1; t <= 20; ++t) {
                fe::UpdateConstants k;
                method.optimizer.prepare(method.optimizer, rate, static_cast<std::uint32_t>(t), k);
                if (!plain) {
                    k.gradient_scale = 0.5f;
                    k.clip = 0.4f;
                    k.weight_decay = method.optimizer.decoupled_weight_decay ? rate * decay : decay;
                }
                v[1] = source.value(Values::normal);
                method.formula->element(v, floats_of(k).data());
                const double g = plain ? wide(v[1]) : std::fmin(wide(0.4f), std::fmax(-wide(0.4f), 0.5 * wide(v[1])));
                method.step(p, g, plain ? 0 : wide(decay), first, second, wide(rate), t);
                INFO("step ", t);
                CHECK(std::fabs(wide(v[0]) - p) <= 2e-6);
            }
        }
}
