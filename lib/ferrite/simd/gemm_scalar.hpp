// SPDX-License-Identifier: MIT
// The matrix products of processors without vectors: 32 registers hold 16 sums of a row of C, or 6 of each of four, and what they
// are made of. A build for size has four sums of a row alone.
#pragma once

#include <ferrite/simd/tiles.hpp>

namespace ferrite::simd {

/// Rows of B that one tile after the other goes through, as many as fit half of a cache of 16 KiB with a line of 32 bytes each.
constexpr std::size_t scalar_depth = 256;
template <class Isa>
constexpr float scalar_zeros[16]{};
/// c(i + r, j + v) for r < rows, v < columns, without the epilogue of g: the rows of B from row p on, after those before. `a`:
/// element (i, p) of A or of a copy of the row from there on; `unit`: the next ones are beside it, whatever g says.
template <class Isa, std::size_t rows, std::size_t columns, bool unit>
FERRITE_INLINE void scalar_chains(const Gemm& g, const float* a, std::size_t i, std::size_t j, std::size_t p) {
    using V = Vector<Isa>;
    constexpr std::size_t count = rows * columns;
    const std::ptrdiff_t a_row = bytes(g.a_row), a_step = unit ? bytes(1) : bytes(g.a_step);
    const std::ptrdiff_t b_row = bytes(g.b_row), c_row = bytes(g.c_row);
    const float* b = g.b + p * g.b_row + j;
    float* c = g.c + i * g.c_row + j;
    const float* start = p != 0 ? c : g.bias == nullptr ? scalar_zeros<Isa> : g.bias + j;
    const std::ptrdiff_t start_row = p != 0 ? c_row : 0;
    asm("" : "+r"(start));  // an address like any other: the compiler would make the loads once for each of the three
    V sum[count];
    constants<count>([&](auto s) FERRITE_INLINE_LAMBDA {
        sum[s] = V::load(start + s % columns);
        if constexpr (s % columns + 1 == columns) start = behind(start, start_row);
    });
    const auto step = [&]() FERRITE_INLINE_LAMBDA {
        V factor[rows];
        constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA {
            factor[r] = V::broadcast(*behind(a, static_cast<std::ptrdiff_t>(r.value) * a_row));
        });
        constants<columns>([&](auto v) FERRITE_INLINE_LAMBDA {
            const V column = V::load(b + v);
            constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA {
                sum[r * columns + v] = fma(factor[r], column, sum[r * columns + v]);
            });
        });
        a = behind(a, a_step);
        b = behind(b, b_row);
    };
    std::size_t k = built_for_size ? g.k : smaller(scalar_depth, g.k - p);
    if constexpr (!built_for_size && rows == 1) {  // so few sums that the loop itself counts
        constexpr std::size_t times = columns <= 10 ? 4 : 2;
        for (; k % times != 0; --k) step();
        for (; k != 0; k -= times) constants<times>([&](auto) FERRITE_INLINE_LAMBDA { step(); });
    } else {
        for (; k != 0; --k) step();
    }
    constants<count>([&](auto s) FERRITE_INLINE_LAMBDA {
        sum[s].store(c + s % columns);
        if constexpr (s % columns + 1 == columns) c = behind(c, c_row);
    });
}

using ScalarTile = void(const Gemm& g, const float* a, std::size_t i, std::size_t j, std::size_t p);
template <class Isa, std::size_t rows, std::size_t columns>
void scalar_tile(const Gemm& g, const float* a, std::size_t i, std::size_t j, std::size_t p) {
    scalar_chains<Isa, rows, columns, rows == 1>(g, a, i, j, p);
}
/// Tiles of these rows, by columns.
template <class Isa, std::size_t rows>
struct ScalarTiles {
    static constexpr std::size_t most = rows == 1 ? 16 : 6;
    struct Table {
        ScalarTile* of[most];
    };
    static constexpr Table table = []<std::size_t... v>(std::index_sequence<v...>) {
        return Table{{&scalar_tile<Isa, rows, v + 1>...}};
    }(std::make_index_sequence<most>{});
};

/// C of g without its epilogue.
template <class Isa>
[[gnu::noinline]] void scalar_product(const Gemm& g) {
    if constexpr (built_for_size) {
        // Four sums side by side: the last four columns of a row may be in part some that are there, which then are made again.
        constexpr std::size_t side = 4;
        for (std::size_t i = 0; i < g.m; ++i)
            for (std::size_t j = 0; j < g.n;)
                if (g.n >= side) {
                    j = smaller(j, g.n - side);
                    scalar_chains<Isa, 1, side, false>(g, g.a + i * g.a_row, i, j, 0);
                    j += side;
                } else {
                    scalar_chains<Isa, 1, 1, false>(g, g.a + i * g.a_row, i, j, 0);
                    ++j;
                }
        return;
    }
    using Four = ScalarTiles<Isa, 4>;
    using One = ScalarTiles<Isa, 1>;
    const std::size_t fours = g.m / 4 * 4;
    float row[scalar_depth];
    std::size_t p = 0;
    do {
        const float* const a = g.a + p * g.a_step;
        if (fours != 0)
            balanced(g.n, Four::most, [&](std::size_t j, std::size_t columns) FERRITE_INLINE_LAMBDA {
                for (std::size_t i = 0; i < fours; i += 4) Four::table.of[columns - 1](g, a + i * g.a_row, i, j, p);
            });
        for (std::size_t i = fours; i < g.m; ++i) {
            const float* from = a + i * g.a_row;
            if (g.a_step != 1) {
                for (std::size_t k = smaller(scalar_depth, g.k - p); k-- != 0;) row[k] = from[k * g.a_step];
                from = row;
            }
            balanced(g.n, One::most, [&](std::size_t j, std::size_t columns) FERRITE_INLINE_LAMBDA {
                One::table.of[columns - 1](g, from, i, j, p);
            });
        }
        p += scalar_depth;
    } while (p < g.k);
}

/// C of g.
template <class Isa>
FERRITE_INLINE void scalar_gemm(const Gemm& g) {
    scalar_product<Isa>(g);
    if (g.epilogue != nullptr)
        (*g.epilogue)({.operand = {g.c, g.c, nullptr, nullptr}, .stride = {g.c_row, g.c_row, 0, 0}, .rows = g.m, .columns = g.n,
                       .constants = g.constants});
}

/// Rows of W that are looked at together, and rows of dx, which are on the way to the derivative.
constexpr std::size_t scalar_block = 16, scalar_run = 4;
/// to(r, v) = chain over o of fma(dy(r, o), w(v, o), .) from 0, for r < rows, v < columns. Rows of `to` are scalar_block apart.
template <class Isa, std::size_t rows, std::size_t columns>
[[gnu::noinline]] void scalar_dots(const float* dy, const float* w, std::size_t outputs, float* to) {
    using V = Vector<Isa>;
    const float *left[rows], *right[columns];
    V sum[rows * columns];
    constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA { left[r] = dy + r * outputs; });
    constants<columns>([&](auto v) FERRITE_INLINE_LAMBDA { right[v] = w + v * outputs; });
    constants<rows * columns>([&](auto s) FERRITE_INLINE_LAMBDA { sum[s] = V::zero(); });
    for (const float* const end = dy + outputs; left[0] != end;) {
        V factor[rows];
        constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA { factor[r] = V::load(left[r]++); });
        constants<columns>([&](auto v) FERRITE_INLINE_LAMBDA {
            const V weight = V::load(right[v]++);
            constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA {
                sum[r * columns + v] = fma(factor[r], weight, sum[r * columns + v]);
            });
        });
    }
    constants<rows * columns>([&](auto s) FERRITE_INLINE_LAMBDA { sum[s].store(to + s / columns * scalar_block + s % columns); });
}
/// to(r, v) for `rows` rows of W, at most scalar_block, and n <= scalar_run rows of dy.
template <class Isa>
[[gnu::noinline]] void scalar_input_gradient(const float* dy, std::size_t n, const float* w, std::size_t rows, std::size_t outputs,
                                             float* to) {
    if constexpr (built_for_size) {
        for (std::size_t v = 0; v < rows; ++v)
            scalar_product<Isa>({.a = dy, .a_row = outputs, .a_step = 1, .b = w + v * outputs, .b_row = 1, .c = to + v,
                                 .c_row = scalar_block, .m = n, .n = 1, .k = outputs, .bias = nullptr, .epilogue = nullptr,
                                 .constants = nullptr, .scratch = nullptr});
        return;
    }
    const auto columns = [&](auto side, auto function, auto single) FERRITE_INLINE_LAMBDA {
        std::size_t v = 0;
        for (; v + side <= rows; v += side) function(dy, w + v * outputs, outputs, to + v);
        for (; v < rows; ++v) single(dy, w + v * outputs, outputs, to + v);
    };
    if (n == scalar_run)
        return columns(std::integral_constant<std::size_t, 4>{}, &scalar_dots<Isa, 4, 4>, &scalar_dots<Isa, 4, 1>);
    for (; n != 0; --n, dy += outputs, to += scalar_block)
        columns(std::integral_constant<std::size_t, 8>{}, &scalar_dots<Isa, 1, 8>, &scalar_dots<Isa, 1, 1>);
}

/// Rows of W and where their gradients go; b is a row whose input is 1.
struct ScalarRows {
    const float* x;  ///< the inputs of the first row, which are x_step apart
    std::size_t x_step;
    float *w, *dw, *state[2];
    const float* constants;
};
/// The gradients of `rows` rows, to dw or to the optimizer.
template <class Isa>
[[gnu::noinline]] void scalar_gradient(const DenseBackward& d, const ScalarRows& t, std::size_t rows) {
    constexpr std::size_t room = built_for_size ? 128 : 256;
    float gradient[room];
    const bool takes_factor = d.batch == 1 && d.update != nullptr && d.update->takes_factor && t.constants[0] == 1.0f &&
                              t.constants[1] == __builtin_inff();
    for (std::size_t j = 0, columns = 0; j < d.outputs; j += columns) {
        columns = takes_factor ? d.outputs : smaller(room / 4, d.outputs - j);
        const std::size_t most = d.update == nullptr || takes_factor ? rows : room / columns / 4 * 4;
        for (std::size_t i = 0, n = 0; i < rows; i += n) {
            n = smaller(most, rows - i);
            const std::size_t at = i * d.outputs + j;
            if (!takes_factor)
                scalar_product<Isa>({.a = t.x + i, .a_row = 1, .a_step = t.x_step, .b = d.dy + j, .b_row = d.outputs,
                                     .c = d.update == nullptr ? t.dw + at : gradient,
                                     .c_row = d.update == nullptr ? d.outputs : columns, .m = n, .n = columns, .k = d.batch,
                                     .bias = nullptr, .epilogue = nullptr, .constants = nullptr, .scratch = nullptr});
            if (d.update != nullptr)
                (*d.update)({.operand = {t.w + at, takes_factor ? const_cast<float*>(d.dy) + j : gradient,
                                         t.state[0] ? t.state[0] + at : nullptr, t.state[1] ? t.state[1] + at : nullptr},
                             .stride = {d.outputs, takes_factor ? 0 : columns, d.outputs, d.outputs}, .rows = n,
                             .columns = columns, .constants = t.constants, .factor = takes_factor ? t.x + i : nullptr});
        }
    }
}

template <class Isa>
FERRITE_INLINE void scalar_dense_backward(const DenseBackward& d) {
    constexpr float one = 1;
    float between[scalar_run * scalar_block];
    for (std::size_t i = 0, rows = 0; i < d.inputs; i += rows) {
        rows = d.dx == nullptr ? d.inputs : smaller(scalar_block, d.inputs - i);
        const std::size_t at = i * d.outputs;
        const float* old = d.w + at;  // before the update: copied, or, for a single dx, multiplied first
        if (d.dx != nullptr && d.batch > 1 && d.update != nullptr) {
            for (std::size_t k = 0; k < rows * d.outputs; ++k) d.scratch[k] = old[k];
            old = d.scratch;
        }
        for (std::size_t r = 0, n = 0; r < d.batch; r += n) {
            n = smaller(scalar_run, d.batch - r);
            if (d.dx != nullptr) scalar_input_gradient<Isa>(d.dy + r * d.outputs, n, old, rows, d.outputs, between);
            if (r == 0 && (d.dw != nullptr || d.update != nullptr))
                scalar_gradient<Isa>(d, {d.x + i, d.row, d.w + at, d.dw ? d.dw + at : nullptr,
                                         {d.w_state[0] ? d.w_state[0] + at : nullptr, d.w_state[1] ? d.w_state[1] + at : nullptr},
                                         d.w_constants}, rows);
            if (d.dx == nullptr) break;
            const std::size_t from = r * d.row + i;
            if (d.derivative != nullptr)
                (*d.derivative)({.operand = {d.dx + from, between, d.aux ? const_cast<float*>(d.aux) + from : nullptr, nullptr},
                                 .stride = {d.row, scalar_block, d.row, 0}, .rows = n, .columns = rows,
                                 .constants = d.derivative_constants});
            else
                for (std::size_t k = 0; k < n; ++k)
                    for (std::size_t v = 0; v < rows; ++v) d.dx[from + k * d.row + v] = between[k * scalar_block + v];
        }
    }
    if (d.b != nullptr && (d.db != nullptr || d.update != nullptr))
        scalar_gradient<Isa>(d, {&one, 0, d.b, d.db, {d.b_state[0], d.b_state[1]}, d.b_constants}, 1);
}

}  // namespace ferrite::simd
