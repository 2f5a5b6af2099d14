// SPDX-License-Identifier: MIT
// The bodies of the matrix products: kernels gemm and dense_backward, over any vector type. The contract, with the
// order of every sum, is in kernels.hpp.
#pragma once

#include <ferrite/simd/gemm_scalar.hpp>
#include <ferrite/simd/tiles.hpp>

namespace ferrite::simd {

/// Floats of a panel on the stack, for instruction sets of processors that have one: rows of B that are not side by side
/// meet in few sets of a cache, and a quarter of their vectors lies in two lines. On AArch64 half a first-level cache of 32 KiB.
template <class Isa>
constexpr std::size_t panel_floats = Vector<Isa>::width >= 8 ? 12288 : by_element<Isa> ? 4096 : 1;
/// Floats of weight gradients on their way to the optimizer, on the stack.
template <class Isa>
constexpr std::size_t gradient_floats = Vector<Isa>::width >= 8                    ? 4096
                                        : has_vectors<Isa> && !is_helium<Isa> ? 1024
                                        : built_for_size                      ? 128
                                                                              : 256;

/// Of dy: a quarter of a first-level cache of 32 KiB.
constexpr std::size_t near_floats = 2048;
/// to(j, i) = from(i, j) for i < rows <= width, j < columns. Row distances in floats.
template <class Isa>
FERRITE_INLINE void transpose(float* to, std::size_t to_row, const float* from, std::size_t from_row, std::size_t rows,
                              std::size_t columns) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    V square[width];
    std::size_t j = 0;
    if (rows == width)
        for (; j + width <= columns; j += width) {
            V::load_transposed(from + j, from_row, square);
            for (std::size_t i = 0; i < width; ++i) square[i].store(to + (j + i) * to_row);
        }
    for (; j < columns; j += width) {
        const std::size_t n = smaller(width, columns - j);
        for (std::size_t i = 0; i < width; ++i) square[i] = i < rows ? V::load_partial(from + i * from_row + j, n) : V::zero();
        transpose(square);
        for (std::size_t i = 0; i < n; ++i) square[i].store_partial(to + (j + i) * to_row, rows);
    }
}

/// Whether a matrix of few columns is better made as its transpose, with vectors along its rows: where whole vectors would
/// leave more than a fifth of their lanes empty.
template <class Isa>
FERRITE_INLINE bool narrow(std::size_t rows, std::size_t columns) {
    constexpr std::size_t width = Vector<Isa>::width;
    return has_vectors<Isa> && rows >= 2 * width && columns <= 2 * width && divide_up(columns, width) * width * 4 > columns * 5;
}
/// A strip of such a transpose: 2 vectors of columns, over 3 vectors of rows.
template <class Isa>
constexpr std::size_t narrow_row = 3 * Vector<Isa>::width;
template <class Isa>
constexpr std::size_t narrow_floats = 2 * Vector<Isa>::width * narrow_row<Isa>;
/// to(r, c) = strip(c, r) for r < rows <= narrow_row, c < columns.
template <class Isa>
[[gnu::noinline]] void turn(const float* strip, float* to, std::size_t to_row, std::size_t rows, std::size_t columns) {
    constexpr std::size_t width = Vector<Isa>::width;
    for (std::size_t c = 0; c < columns; c += width)
        transpose<Isa>(to + c, to_row, strip + c * narrow_row<Isa>, narrow_row<Isa>, smaller(width, columns - c), rows);
}

/// The strips of dy for the columns j0 .. j0 + columns - 1 of W, which tiles over any rows of W share.
template <class Isa>
struct Gradient {
    static constexpr std::size_t width = Vector<Isa>::width, most_strips = 8;
    Tile strip[most_strips];
    std::size_t vectors[most_strips], count = 0;
    Columns<Isa> edges;

    FERRITE_INLINE Gradient(const DenseBackward& d, std::size_t j0, std::size_t columns, std::size_t rows, float* panel) {
        strips<Isa>(divide_up(columns, width), rows, [&](std::size_t first, std::size_t n) FERRITE_INLINE_LAMBDA {
            Tile& t = strip[count];
            vectors[count++] = n;
            clear<Isa>(t);
            t.a_row = bytes(1);
            t.a_step = bytes(d.row);
            const std::size_t j = first * width;
            edges(t, d.dy + j0 + j, d.outputs, d.batch, 0, smaller(n * width, columns - j), n);
            t.panel = panel;
            if (panel != nullptr) panel += n * width * d.batch;
        });
    }
    /// g(i, o) for rows i .. i + rows - 1 of W, to `to`.
    FERRITE_INLINE void operator()(const float* x, std::size_t rows, float* to, std::size_t to_row) {
        for (std::size_t s = 0; s < count; ++s) {
            strip[s].a = x;
            strip[s].out = to;
            strip[s].out_row = bytes(to_row);
            run<Isa>(strip[s], rows, vectors[s]);
            to += vectors[s] * width;
        }
    }
};

/// g(i, o) = fma(x(i), dy(o), 0), to `to` with distance `to_row`.
template <class Isa>
[[gnu::noinline]] void outer_product(const float* x, const float* dy, std::size_t rows, std::size_t columns, float* to,
                                     std::size_t to_row) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    for (std::size_t i = 0; i < rows; ++i, to += to_row) {
        const auto f = Constant<V>::broadcast(x[i]);
        std::size_t j = 0;
        for (; j + width <= columns; j += width) fma(f, V::load(dy + j), V::zero()).store(to + j);
        if (j < columns) fma(f, V::load_partial(dy + j, columns - j), V::zero()).store_partial(to + j, columns - j);
    }
}

/// The gradient of W, rows by rows, to d.dw or, through the first-level cache, to the optimizer. `rows`: the most that come.
template <class Isa>
struct WeightGradient {
    static constexpr std::size_t width = Vector<Isa>::width, room = gradient_floats<Isa>;
    const DenseBackward& d;
    float* panel;
    bool near, turned, whole;
    Gradient<Isa> all;

    // Whole rows are one stream for the optimizer, while their strips of dy fit the panel or, few, the nearest cache.
    FERRITE_INLINE WeightGradient(const DenseBackward& arguments, std::size_t rows, float* memory)
        : d(arguments), panel(memory), near(d.batch * d.outputs <= near_floats),
          turned(d.batch > 1 && narrow<Isa>(rows, d.outputs)),
          whole(d.outputs <= 16 * width && d.outputs * 16 <= room &&
                (near || d.batch * divide_up(d.outputs, width) * width <= panel_floats<Isa>)),
          all(d, 0, rows > 0 && (whole || turned) && d.batch > 1 ? d.outputs : 0, rows, near || turned || rows < 24 ? nullptr : panel) {}

    FERRITE_INLINE void product(Gradient<Isa>& strips_of_dy, std::size_t i, std::size_t rows, std::size_t j0,
                                std::size_t columns, float* to, std::size_t to_row) {
        if (d.batch == 1) return outer_product<Isa>(d.x + i, d.dy + j0, rows, columns, to, to_row);
        if (!turned) return strips_of_dy(d.x + i, rows, to, to_row);
        float strip[narrow_floats<Isa>];
        Tile t;
        clear<Isa>(t);
        t.a = d.dy;
        t.a_row = bytes(1);
        t.a_step = bytes(d.outputs);
        t.out = strip;
        t.out_row = bytes(narrow_row<Isa>);
        t.b_row = bytes(d.row);
        t.k = d.batch;
        t.last = width;
        // Whole vectors of x alone: what lies behind the rows may be another thread's.
        const std::size_t whole_vectors = rows / width * width;
        for (std::size_t first = 0; first < whole_vectors; first += narrow_row<Isa>) {
            const std::size_t n = smaller(narrow_row<Isa>, whole_vectors - first);
            t.b = d.x + i + first;
            run<Isa>(t, d.outputs, n / width);
            turn<Isa>(strip, to + first * to_row, to_row, n, d.outputs);
        }
        if (whole_vectors != rows)
            strips_of_dy(d.x + i + whole_vectors, rows - whole_vectors, to + whole_vectors * to_row, to_row);
    }

    [[gnu::noinline]] void operator()(std::size_t i0, std::size_t rows) {
        if (d.batch == 1 && d.update != nullptr && d.update->takes_factor && d.w_constants[0] == 1.0f &&
            d.w_constants[1] == __builtin_inff()) {
            const std::size_t at = i0 * d.outputs;
            return (*d.update)({.operand = {d.w + at, const_cast<float*>(d.dy), d.w_state[0] ? d.w_state[0] + at : nullptr,
                                            d.w_state[1] ? d.w_state[1] + at : nullptr},
                                .stride = {d.outputs, 0, d.outputs, d.outputs}, .rows = rows, .columns = d.outputs,
                                .constants = d.w_constants, .factor = d.x + i0});
        }
        alignas(64) float gradient[room];
        const auto columns_from = [&](Gradient<Isa>& strips_of_dy, std::size_t j0, std::size_t m) FERRITE_INLINE_LAMBDA {
            // In fours, which are whole cache lines of most widths.
            const std::size_t most = d.update == nullptr ? rows : room / m / 4 * 4;
            for (std::size_t first = 0, n = 0; first < rows; first += n) {
                n = smaller(most, rows - first);
                const std::size_t at = (i0 + first) * d.outputs + j0;
                if (d.update == nullptr) {
                    product(strips_of_dy, i0 + first, n, j0, m, d.dw + at, d.outputs);
                    continue;
                }
                product(strips_of_dy, i0 + first, n, j0, m, gradient, m);
                (*d.update)({.operand = {d.w + at, gradient, d.w_state[0] ? d.w_state[0] + at : nullptr,
                                         d.w_state[1] ? d.w_state[1] + at : nullptr},
                             .stride = {d.outputs, m, d.outputs, d.outputs}, .rows = n, .columns = m,
                             .constants = d.w_constants});
            }
        };
        if (whole || turned) return columns_from(all, 0, d.outputs);
        if (d.batch == 1) {
            for (std::size_t j0 = 0; j0 < d.outputs; j0 += room / 4) columns_from(all, j0, smaller(room / 4, d.outputs - j0));
            return;
        }
        const bool copies = d.batch >= 24 && rows >= 24 && d.batch * strip_vectors<Isa>(24) * width <= panel_floats<Isa>;
        strips<Isa>(divide_up(d.outputs, width), rows, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
            const std::size_t j0 = first * width, m = smaller(vectors * width, d.outputs - j0);
            Gradient<Isa> one(d, j0, m, rows, copies ? panel : nullptr);
            columns_from(one, j0, m);
        });
    }
};

/// db, or b through the optimizer. Chains side by side, because each sum is one.
template <class Isa>
[[gnu::noinline]] void bias_gradient(const DenseBackward& d) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width, chains = is_helium<Isa> ? 4 : 8;
    float sums[chains * width];
    for (std::size_t j0 = 0; j0 < d.outputs; j0 += chains * width) {
        const std::size_t columns = smaller(chains * width, d.outputs - j0);
        const std::size_t vectors = columns / width, last = columns - vectors * width;
        V sum[chains];
        for (std::size_t v = 0; v < chains; ++v) sum[v] = V::zero();
        if (vectors == chains) {
            for (std::size_t r = 0; r < d.batch; ++r)
                for (std::size_t v = 0; v < chains; ++v) sum[v] = sum[v] + V::load(d.dy + r * d.outputs + j0 + v * width);
            for (std::size_t v = 0; v < chains; ++v) sum[v].store(sums + v * width);
        } else {
            for (std::size_t v = 0; v < divide_up(columns, width); ++v) {
                const std::size_t n = v == vectors ? last : width;
                for (std::size_t r = 0; r < d.batch; ++r)
                    sum[0] = sum[0] + V::load_partial(d.dy + r * d.outputs + j0 + v * width, n);
                sum[0].store(sums + v * width);
                sum[0] = V::zero();
            }
        }
        if (d.update) {
            (*d.update)({.operand = {d.b + j0, sums, d.b_state[0] ? d.b_state[0] + j0 : nullptr,
                                     d.b_state[1] ? d.b_state[1] + j0 : nullptr},
                         .stride = {0, 0, 0, 0},
                         .rows = 1,
                         .columns = columns,
                         .constants = d.b_constants});
        } else {
            for (std::size_t v = 0; v < divide_up(columns, width); ++v)
                V::load(sums + v * width).store_partial(d.db + j0 + v * width, v == vectors ? last : width);
        }
    }
}

/// Rows of W whose products with a single dy are taken at a time, each vector of them a chain.
template <class Isa>
constexpr std::size_t one_block = (is_helium<Isa> ? 3 : 4) * Vector<Isa>::width;
/// dx(i0 .. i0 + rows - 1) of a batch of one, rows <= one_block, into `to`, which has room for one_block.
template <class Isa>
[[gnu::noinline]] void input_gradient_of_one(const DenseBackward& d, std::size_t i0, std::size_t rows, float* to) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width, chains = one_block<Isa> / width;
    const float* const w = d.w + i0 * d.outputs;
    if constexpr (is_helium<Isa>) {
        const auto dots = rows > 8 ? &helium_dots<3, V> : rows > 4 ? &helium_dots<2, V> : &helium_dots<1, V>;
        return dots(d.dy, w, rows, d.outputs, to);
    }
    V sum[chains], square[width];
    for (std::size_t c = 0; c < chains; ++c) sum[c] = V::zero();
    const auto add = [&](std::size_t c, std::size_t o, std::size_t n) FERRITE_INLINE_LAMBDA {
        for (std::size_t j = 0; j < n; ++j) sum[c] = fma(V::broadcast(d.dy[o + j]), square[j], sum[c]);
    };
    std::size_t o = 0;
    if (rows == one_block<Isa>)
        for (; o + width <= d.outputs; o += width)
            constants<chains>([&](auto c) FERRITE_INLINE_LAMBDA {
                V::load_transposed(w + c * width * d.outputs + o, d.outputs, square);
                add(c, o, width);
            });
    for (; o < d.outputs; o += width) {
        const std::size_t n = smaller(width, d.outputs - o);
        for (std::size_t c = 0; c * width < rows; ++c) {
            for (std::size_t i = 0; i < width; ++i)
                square[i] = c * width + i < rows ? V::load_partial(w + (c * width + i) * d.outputs + o, n) : V::zero();
            transpose(square);
            add(c, o, n);
        }
    }
    for (std::size_t c = 0; c < chains; ++c) sum[c].store(to + c * width);
}

template <class Isa>
FERRITE_INLINE void tiled_gemm(const Gemm& g) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    const std::size_t most = strip_vectors<Isa>(g.m);
    const bool again = g.m > most_rows<Isa>(most);  // the strip of B is read more than once
    // Few rows do not pay for a copy, nor does a B that the first-level cache holds most of.
    const bool copies = again && panel_floats<Isa> > 1 && g.m >= 24 && g.k * g.b_row > 12288;
    // Rows of A that are far apart meet in few sets of a cache, and more of them than the second level holds come from far for
    // every strip of B.
    const bool packs = copies && g.scratch != nullptr && g.a_step == 1 && g.m * g.k >= 4 * gemm_scratch_floats && g.n >= 128;
    // Rows of B: as many as fit the panel; of what few rows of A fetch again as many as fit a second-level cache, of others half
    // a first-level cache of 32 KiB, with the lines that strided rows touch.
    const std::size_t depth = !again   ? g.k
                              : packs  ? gemm_block_depth
                              : copies ? panel_floats<Isa> / (strip_vectors<Isa>(24) * width)
                              : has_vectors<Isa> && g.m < 24 ? 1024 : 128;
    alignas(64) float panel[panel_floats<Isa>];
    const bool rectify = g.epilogue != nullptr && g.epilogue->rectifies;
    Columns<Isa> edges;
    Tile t;
    clear<Isa>(t);
    t.a_step = bytes(g.a_step);
    t.out_row = bytes(g.c_row);
    const auto product = [&](std::size_t p0, std::size_t k) FERRITE_INLINE_LAMBDA {
        const bool ends = p0 + k == g.k;
        t.rectifies = ends && rectify;
        for (std::size_t i0 = 0, m = 0; i0 < g.m; i0 += m) {
            m = packs ? smaller(gemm_block_rows, g.m - i0) : g.m;
            const float* a = g.a + i0 * g.a_row + p0 * g.a_step;
            t.a_row = bytes(g.a_row);
            if (packs) {
                const std::size_t row = k + 2 * width;  // rows start in different sets
                for (std::size_t i = 0; i < m; ++i)
                    for (std::size_t p = 0; p < k; p += width) {
                        const std::size_t n = smaller(width, k - p);
                        V::load_partial(a + i * g.a_row + p, n).store(g.scratch + i * row + p);
                    }
                a = g.scratch;
                t.a_row = bytes(row);
            }
            strips<Isa>(divide_up(g.n, width), m, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
                const std::size_t j0 = first * width, columns = smaller(vectors * width, g.n - j0);
                t.a = a;
                t.out = g.c + i0 * g.c_row + j0;
                edges(t, g.b + p0 * g.b_row + j0, g.b_row, k, g.k - p0 - k, columns, vectors);
                t.panel = copies ? panel : nullptr;
                t.far = !copies;
                t.start = p0 != 0 ? t.out : g.bias != nullptr ? g.bias + j0 : nullptr;
                t.start_row = p0 != 0 ? t.out_row : 0;
                run<Isa>(t, m, vectors);
                if (ends && g.epilogue != nullptr && !rectify)
                    (*g.epilogue)({.operand = {t.out, t.out, nullptr, nullptr}, .stride = {g.c_row, g.c_row, 0, 0}, .rows = m,
                                   .columns = columns, .constants = g.constants});
            });
        }
    };
    std::size_t p0 = 0;
    do {
        const std::size_t left = g.k - p0, n = left == 0 ? 0 : divide_up(left, divide_up(left, depth));
        product(p0, n);
        p0 += n;
    } while (p0 < g.k);
}

template <class Isa>
FERRITE_INLINE void tiled_dense_backward(const DenseBackward& d) {
    constexpr std::size_t width = Vector<Isa>::width;
    const bool weights = d.dw != nullptr || d.update != nullptr;
    alignas(64) float panel[panel_floats<Isa>];
    const std::size_t block = d.dx == nullptr ? d.inputs : d.batch == 1 ? one_block<Isa> : dense_block(d.batch);
    WeightGradient<Isa> weight_rows(d, weights ? smaller(block, d.inputs) : 0, panel);
    if (d.dx == nullptr) {
        if (weights) weight_rows(0, d.inputs);
    } else if (d.batch == 1) {
        float sums[one_block<Isa>];
        for (std::size_t i0 = 0; i0 < d.inputs; i0 += one_block<Isa>) {
            const std::size_t rows = smaller(one_block<Isa>, d.inputs - i0);
            input_gradient_of_one<Isa>(d, i0, rows, sums);
            if (weights) weight_rows(i0, rows);
            if (d.derivative != nullptr)
                (*d.derivative)({.operand = {d.dx + i0, sums, d.aux ? const_cast<float*>(d.aux) + i0 : nullptr, nullptr},
                                 .stride = {}, .rows = 1, .columns = rows, .constants = d.derivative_constants});
            else
                for (std::size_t i = 0; i < rows; ++i) d.dx[i0 + i] = sums[i];
        }
    } else {
        const bool gates = d.derivative != nullptr && d.derivative->rectifies;
        // A strip of rows on the way to the derivative.
        constexpr std::size_t most_between = 16;
        float between[most_between * strip_vectors<Isa>(2) * width];
        Tile t;
        clear<Isa>(t);
        t.a_row = bytes(d.outputs);
        t.a_step = bytes(1);
        t.k = d.outputs;
        balanced(divide_up(d.inputs, width), block / width, [&](std::size_t first_vector, std::size_t block_vectors)
                                                               FERRITE_INLINE_LAMBDA {
            const std::size_t i0 = first_vector * width, rows = smaller(block_vectors * width, d.inputs - i0);
            // The old W, transposed, as the update below may change it: strips of (outputs, vectors * width).
            strips<Isa>(block_vectors, d.batch, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
                for (std::size_t v = first; v < first + vectors; ++v)
                    transpose<Isa>(d.scratch + first * width * d.outputs + (v - first) * width, vectors * width,
                                         d.w + (i0 + v * width) * d.outputs, d.outputs, smaller(width, rows - v * width),
                                         d.outputs);
            });
            if (weights) weight_rows(i0, rows);
            strips<Isa>(block_vectors, d.batch, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
                const std::size_t at = i0 + first * width, columns = smaller(vectors * width, rows - first * width);
                t.a = d.dy;
                t.b = d.scratch + first * width * d.outputs;
                t.b_row = bytes(vectors * width);
                t.last = columns - (vectors - 1) * width;
                if (d.derivative == nullptr || gates) {
                    t.gate = gates ? d.aux + at : nullptr;
                    t.gate_row = bytes(d.row);
                    t.out = d.dx + at;
                    t.out_row = bytes(d.row);
                    return run<Isa>(t, d.batch, vectors);
                }
                t.out = between;
                t.out_row = bytes(columns);
                balanced(d.batch, most_between, [&](std::size_t r0, std::size_t n) FERRITE_INLINE_LAMBDA {
                    t.a = d.dy + r0 * d.outputs;
                    run<Isa>(t, n, vectors);
                    const std::size_t from = r0 * d.row + at;
                    (*d.derivative)({.operand = {d.dx + from, between, d.aux ? const_cast<float*>(d.aux) + from : nullptr, nullptr},
                                     .stride = {d.row, columns, d.row, 0}, .rows = n, .columns = columns,
                                     .constants = d.derivative_constants});
                });
            });
        });
    }
    if (d.b != nullptr && (d.db != nullptr || d.update != nullptr)) bias_gradient<Isa>(d);
}

}  // namespace ferrite::simd

namespace ferrite {

template <class Isa>
void Kernels<Isa>::gemm(const Gemm& g) {
    if (g.m == 0 || g.n == 0) return;
    if constexpr (simd::Vector<Isa>::width == 1)
        simd::scalar_gemm<Isa>(g);
    else
        simd::tiled_gemm<Isa>(g);
}

template <class Isa>
void Kernels<Isa>::dense_backward(const DenseBackward& d) {
    if (d.batch == 0 || d.inputs == 0 || d.outputs == 0) return;
    if constexpr (simd::Vector<Isa>::width == 1)
        simd::scalar_dense_backward<Isa>(d);
    else
        simd::tiled_dense_backward<Isa>(d);
}

}  // namespace ferrite
