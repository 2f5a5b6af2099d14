// SPDX-License-Identifier: MIT
// The cases that ferrite_bench times, bit for bit against the scalar loops of oracle.hpp, on each instruction
// set of this build that the processor has.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <ferrite/kernels.hpp>
#include <set>
#include <string>
#include <vector>

#include "../bench/cases.hpp"
#include "oracle.hpp"
#include "values.hpp"

namespace {

namespace fe = ferrite;
namespace oracle = ferrite::oracle;
using fe::bench::ProductCase;
using fe::bench::UpdateCase;
using fe::test::difference;
using fe::test::Fenced;
using fe::test::Source;
using fe::test::Values;
using Floats = std::vector<float>;

/// Multiply-adds of a case that the oracle does one by one; the scalar kernels take as long.
constexpr double affordable = 4e6;

template <class F>
void on_every_set(double multiply_adds, F f) {
    const std::string before = fe::name(fe::active_isa());
    for (std::size_t i = 0; i < fe::isa_count; ++i) {
        const auto isa = static_cast<fe::Isa>(i);
        if (!fe::supported(isa) || (i == 0 && fe::isa_count > 1 && multiply_adds > 4 * affordable)) continue;
        REQUIRE(fe::select_isa(fe::name(isa)) == fe::Status::ok);
        CAPTURE(fe::name(isa));
        f();
    }
    REQUIRE(fe::select_isa(before.c_str()) == fe::Status::ok);
}

/// Rows of c, spread evenly with the first and the last among them, as many as are affordable.
std::vector<std::size_t> rows_to_check(const ProductCase& p) {
    const double all = static_cast<double>(p.m()), part = std::min(1.0, affordable / p.multiply_adds());
    const auto count = std::max<std::size_t>(2, static_cast<std::size_t>(all * part));
    std::set<std::size_t> rows;
    for (std::size_t i = 0; i < count; ++i)
        rows.insert(i * (p.m() - 1) / std::max<std::size_t>(1, count - 1));
    return {rows.begin(), rows.end()};
}

void check(const ProductCase& p) {
    CAPTURE(p.name());
    Source source(static_cast<std::uint32_t>(p.batch + 3 * p.inputs + 7 * p.outputs));
    const std::size_t m = p.m(), n = p.n(), k = p.k();
    const Floats a = source.array(m * k, Values::normal), b = source.array(k * n, Values::normal);
    const Floats bias = source.array(p.has_bias() ? n : 0, Values::normal);

    Floats rows_of_b = b;
    if (p.transposes_b())
        for (std::size_t q = 0; q < k; ++q)
            for (std::size_t j = 0; j < n; ++j) rows_of_b[q * n + j] = b[j * k + q];
    const std::vector<std::size_t> rows = rows_to_check(p);
    Floats expected(rows.size() * n);
    for (std::size_t r = 0; r < rows.size(); ++r)
        oracle::gemm({.a = a.data() + (p.transposes_a() ? rows[r] : rows[r] * k),
                      .a_row = 0,
                      .a_step = p.transposes_a() ? m : 1,
                      .b = rows_of_b.data(),
                      .b_row = n,
                      .c = expected.data() + r * n,
                      .c_row = n,
                      .m = 1,
                      .n = n,
                      .k = k,
                      .bias = p.has_bias() ? bias.data() : nullptr,
                      .epilogue = nullptr,
                      .constants = nullptr,
                      .scratch = nullptr},
                     nullptr);

    const Floats nothing(m * n, fe::test::not_a_number), no_scratch(p.scratch_floats());
    on_every_set(p.multiply_adds(), [&] {
        const Fenced c(nothing), scratch(no_scratch);
        p.run(a.data(), b.data(), bias.data(), c.data(), scratch.data());
        Floats found;
        for (const std::size_t r : rows) found.insert(found.end(), c.data() + r * n, c.data() + (r + 1) * n);
        CHECK(difference(expected, found) == "");
        CHECK(c.canaries_intact());
        CHECK(scratch.canaries_intact());
    });
}

const oracle::MapFormula* formula_of(const fe::Optimizer& o) {
    const std::string name = o.name;
    return name == "sgd"        ? &oracle::sgd
           : name == "momentum" ? &oracle::momentum
           : name == "nesterov" ? &oracle::nesterov
           : name == "adagrad"  ? &oracle::adagrad
           : name == "rmsprop"  ? &oracle::rmsprop
           : name == "adam"     ? &oracle::adam
           : name == "adamw"    ? &oracle::adamw
                                : nullptr;
}

/// A dense layer's weights and bias and what their optimizer keeps: W, its two states, b, its two states.
struct Layer {
    Floats array[6];

    Layer(const UpdateCase& c, Source& source) {
        const std::size_t w = std::size_t{c.inputs} * c.outputs, b = c.outputs;
        for (std::size_t i = 0; i < 6; ++i) array[i] = source.array(i < 3 ? w : b, Values::normal);
        for (const std::size_t i : {1u, 2u, 4u, 5u})
            for (float& x : array[i]) x = std::fabs(x);  // where a root is taken
    }
};

void check(const UpdateCase& c) {
    CAPTURE(c.name());
    Source source(c.batch);
    const Layer before(c, source);
    const Floats x = source.array(std::size_t{c.batch} * c.inputs, Values::normal);
    const Floats dy = source.array(std::size_t{c.batch} * c.outputs, Values::normal);
    fe::UpdateConstants constants;
    constants.weight_decay = 1e-3f;
    c.optimizer.prepare(c.optimizer, c.optimizer.learning_rate, 3, constants);
    const auto arguments = [&](float* const(&array)[6]) {
        fe::DenseBackward d{};
        d.x = x.data();
        d.dy = dy.data();
        d.batch = c.batch;
        d.inputs = d.row = c.inputs;
        d.outputs = c.outputs;
        d.update = c.optimizer.update;
        d.w = array[0];
        d.b = array[3];
        for (std::size_t i = 0; i < c.optimizer.state_slots; ++i) {
            d.w_state[i] = array[1 + i];
            d.b_state[i] = array[4 + i];
        }
        d.w_constants = d.b_constants = &constants.gradient_scale;
        return d;
    };

    Layer expected = before;
    REQUIRE(formula_of(c.optimizer) != nullptr);
    oracle::dense_backward(
        arguments({expected.array[0].data(), expected.array[1].data(), expected.array[2].data(),
                   expected.array[3].data(), expected.array[4].data(), expected.array[5].data()}),
        nullptr, formula_of(c.optimizer));
    on_every_set(0, [&] {
        const Fenced found[6] = {Fenced(before.array[0]), Fenced(before.array[1]), Fenced(before.array[2]),
                                 Fenced(before.array[3]), Fenced(before.array[4]), Fenced(before.array[5])};
        fe::kernels::dense_backward(arguments({found[0].data(), found[1].data(), found[2].data(),
                                               found[3].data(), found[4].data(), found[5].data()}));
        for (std::size_t i = 0; i < 6; ++i) {
            CAPTURE(i);
            CHECK(difference(expected.array[i], found[i].span()) == "");
            CHECK(found[i].canaries_intact());
        }
    });
}

}  // namespace

TEST_CASE("the products of the benchmarks equal their scalar chains") {
    for (const ProductCase& p : fe::bench::product_cases()) check(p);
}

TEST_CASE("the fused updates of the benchmarks equal the scalar chains and formulas") {
    for (const UpdateCase& c : fe::bench::update_cases()) check(c);
}

TEST_CASE("the benchmarks hold every shape that has a target, and each of their names once") {
    std::set<std::string> names;
    for (const ProductCase& p : fe::bench::product_cases()) {
        CAPTURE(p.name());
        CHECK(names.insert(p.name()).second);
        CHECK(p.target <= 100);
    }
    for (const auto& c : fe::bench::update_cases()) CHECK(names.insert(c.name()).second);
    for (const auto& c : fe::bench::optimizer_cases()) CHECK(names.insert(c.name()).second);
    for (const auto& c : fe::bench::training_cases()) CHECK(names.insert(c.name()).second);
    for (const auto& c : fe::bench::inference_cases()) CHECK(names.insert(c.name()).second);
    for (const char* const name :
         {"product/cube/64x64x64", "product/cube/1024x1024x1024", "product/xW/32x784x512",
          "product/xW/256x512x512", "product/xTdy/100x784x100", "product/dyWT/100x512x512",
          "product/outputs10/100x100x10", "product/batch8/8x784x512", "product/batch1/1x784x100",
          "product/batch1/1x100x10", "optimizer/100000/adam", "train/784-100x4-10/sgd/batch:1",
          "train/784-100x4-10/adam/batch:100", "train/784-100x6-10+BatchNorm/sgd/batch:100",
          "train/784-512-512-10/sgd/batch:256", "predict/784-100x4-10/batch:1"}) {
        CAPTURE(name);
        CHECK(names.count(name) == 1);
    }
}
