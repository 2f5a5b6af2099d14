// SPDX-License-Identifier: MIT
// The bodies of the matrix products: kernels gemm and dense_backward, over any vector type. The contract, with the
// order of every sum, is in kernels.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/simd/update.hpp>
#include <ferrite/simd/vector.hpp>

#include <type_traits>
#include <utility>

namespace ferrite::simd {

FERRITE_INLINE std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }
FERRITE_INLINE std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

/// A register tile has `vectors` vectors in each row. Two FMA units of four cycles latency want 8 sums in flight, and 12
/// sums, the vectors of B and a factor fill 16 registers: 4 x 3 loads least per multiplication, and a single row takes
/// a row of B as wide as it can, which then is read as one stream.
constexpr std::size_t most_vectors = 13;
constexpr std::size_t most_rows(std::size_t vectors) {
    constexpr std::size_t rows[most_vectors] = {8, 6, 4, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1};
    return rows[vectors - 1];
}
/// The width of a strip of tiles over m rows.
constexpr std::size_t strip_vectors(std::size_t m) {
    constexpr std::size_t vectors[6] = {1, most_vectors, 6, 4, 3, 2};
    return m < 6 ? vectors[m] : 3;
}

/// `count` tiles below each other: out(r, c) = chain over p of fma(a(r, p), b(p, c), .) from start(r, c); then the larger of
/// that and `floor`. Whole vectors of B and of `start` are read. B has k rows at `b` and then `edge_k` rows at `edge`, whose row distance is the
/// width of the tile. Distances are in bytes.
struct Tile {
    const float* a;
    std::ptrdiff_t a_row, a_step;
    const float* b;
    std::ptrdiff_t b_row;
    std::size_t k;
    const float* edge;
    std::size_t edge_k;
    const float* start;
    std::ptrdiff_t start_row;
    float* out;
    std::ptrdiff_t out_row;
    std::size_t columns;  ///< of the result that are stored
    float floor;
    float* panel;  ///< of a copying tile: gets the rows of B
};
}  // namespace ferrite::simd

namespace ferrite {

/// `count` tiles of 3 vectors and 4 rows or of 2 vectors and 6 rows through a map whose operands 0, 2,
/// 3 have one row distance, in bytes. Of an optimizer: with gradient_scale 1 and without clipping.
struct TiledMap {
    simd::Tile tile;
    std::size_t vectors, count;
    float* operand[3];
    std::ptrdiff_t row;
    const float* constants;
};

}  // namespace ferrite

namespace ferrite::simd {

FERRITE_INLINE std::ptrdiff_t bytes(std::size_t floats) { return static_cast<std::ptrdiff_t>(floats * sizeof(float)); }
template <class T>
FERRITE_INLINE T* behind(T* p, std::ptrdiff_t distance) {
    if constexpr (std::is_const_v<T>)
        return reinterpret_cast<T*>(reinterpret_cast<const char*>(p) + distance);
    else
        return reinterpret_cast<T*>(reinterpret_cast<char*>(p) + distance);
}

/// body(i) for i = 0 .. count - 1, each a constant: an array that only constants index lives in registers.
template <std::size_t count, class Body>
FERRITE_INLINE void constants(Body body) {
    [&]<std::size_t... i>(std::index_sequence<i...>) FERRITE_INLINE_LAMBDA {
        (body(std::integral_constant<std::size_t, i>{}), ...);
    }(std::make_index_sequence<count>{});
}

/// finish(sum, out, r, v): what becomes of the sum in row r and vector v; `out` is the tile's. next(): the tile below follows.
template <class Isa, std::size_t rows, std::size_t vectors, bool copies, class Finish, class Next>
FERRITE_INLINE void each_tile(const Tile& t, std::size_t count, Finish finish, Next next) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    const std::ptrdiff_t a_row = t.a_row, a_step = t.a_step, b_row = t.b_row;
    const std::ptrdiff_t start_row = t.start_row;
    const std::size_t whole_k = t.k, edge_k = t.edge_k;
    const float *first = t.a, *start = t.start;
    float* panel = t.panel;
    constexpr auto signed_rows = static_cast<std::ptrdiff_t>(rows);
    // A loop of 25 rounds ends as predicted, one of 100 does not.
    constexpr std::size_t unrolled = rows >= vectors && rows * vectors >= 8 ? 4 : 1;
    for (; count != 0; --count) {
        V sum[rows * vectors];
        constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA {
            constexpr auto r = static_cast<std::ptrdiff_t>(i / vectors);
            sum[i] = V::load(behind(start, r * start_row) + i % vectors * width);
        });
        const float *a = first, *b = t.b;
        const auto step = [&]() FERRITE_INLINE_LAMBDA {
            const auto factor = [&](std::size_t r) FERRITE_INLINE_LAMBDA {
                return V::broadcast(*behind(a, static_cast<std::ptrdiff_t>(r) * a_row));
            };
            if constexpr (vectors <= rows) {
                V columns[vectors];
                constants<vectors>([&](auto v) FERRITE_INLINE_LAMBDA {
                    columns[v] = V::load(b + v * width);
                    if constexpr (copies) columns[v].store(panel + v * width);
                });
                if constexpr (copies) {
                    panel += vectors * width;
                    // Rows that are far apart are not foreseen by the processor: some 100 cycles ahead.
                    __builtin_prefetch(behind(b, 16 * b_row));
                    __builtin_prefetch(behind(b, 16 * b_row) + vectors * width - 1);
                }
                constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA {
                    const V f = factor(r);
                    constants<vectors>([&](auto v) FERRITE_INLINE_LAMBDA {
                        sum[r * vectors + v] = fma(f, columns[v], sum[r * vectors + v]);
                    });
                });
            } else {
                V factors[rows];
                constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA { factors[r] = factor(r); });
                constants<vectors>([&](auto v) FERRITE_INLINE_LAMBDA {
                    const V column = V::load(b + v * width);
                    constants<rows>([&](auto r) FERRITE_INLINE_LAMBDA {
                        sum[r * vectors + v] = fma(factors[r], column, sum[r * vectors + v]);
                    });
                });
            }
            a = behind(a, a_step);
        };
        std::size_t k = whole_k;
        for (; k >= unrolled; k -= unrolled)
            constants<unrolled>([&](auto) FERRITE_INLINE_LAMBDA { step(), b = behind(b, b_row); });
        if constexpr (unrolled > 1)
            for (; k != 0; --k) step(), b = behind(b, b_row);
        b = t.edge;
        for (k = edge_k; k != 0; --k) step(), b += vectors * width;
        constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA {
            finish(sum[i], std::integral_constant<std::size_t, i / vectors>{}, std::integral_constant<std::size_t, i % vectors>{});
        });
        next();
        first = behind(first, signed_rows * a_row);
        start = behind(start, signed_rows * start_row);
    }
}

template <class Isa, std::size_t rows, std::size_t vectors, bool copies = false>
void tiles(const Tile& t, std::size_t count) {
    using V = Vector<Isa>;
    const std::ptrdiff_t out_row = t.out_row;
    const std::size_t last = t.columns - (vectors - 1) * V::width;
    float* out = t.out;
    each_tile<Isa, rows, vectors, copies>(
        t, count,
        [&](V sum, auto r, auto v) FERRITE_INLINE_LAMBDA {
            max(V::broadcast(t.floor), sum)
                .store_partial(behind(out, static_cast<std::ptrdiff_t>(r) * out_row) + v * V::width,
                               v + 1 == vectors ? last : V::width);
        },
        [&]() FERRITE_INLINE_LAMBDA { out = behind(out, static_cast<std::ptrdiff_t>(rows) * out_row); });
}

/// finish(sum, at, r, n, constants) for all vectors of the tiles: at[0], at[1], at[2] are operands 0, 2 and 3 of the map.
template <class Isa, std::size_t rows, std::size_t vectors, int operands, class Finish>
FERRITE_INLINE void map_tiles(const TiledMap& m, Finish finish) {
    constexpr std::size_t width = Vector<Isa>::width;
    float* at[3] = {m.operand[0], m.operand[1], m.operand[2]};
    const std::ptrdiff_t row = m.row;
    const std::size_t last = m.tile.columns - (vectors - 1) * width;
    each_tile<Isa, rows, vectors, false>(
        m.tile, m.count,
        [&](Vector<Isa> sum, auto r, auto v) FERRITE_INLINE_LAMBDA {
            const auto operand = [&](int i) FERRITE_INLINE_LAMBDA {
                return behind(at[i], static_cast<std::ptrdiff_t>(r) * row) + v * width;
            };
            finish(sum, operand, v + 1 == vectors ? last : width);
        },
        [&]() FERRITE_INLINE_LAMBDA {
            for (int i = 0; i < operands; ++i) at[i] = behind(at[i], static_cast<std::ptrdiff_t>(rows) * row);
        });
}
template <class Isa, int operands, class Finish>
FERRITE_INLINE void map_tiles(const TiledMap& m, Finish finish) {
    if (m.vectors == 3)
        map_tiles<Isa, most_rows(3), 3, operands>(m, finish);
    else
        map_tiles<Isa, most_rows(2), 2, operands>(m, finish);
}
template <class Isa, class Rule>
FERRITE_INLINE void update_tiles(const TiledMap& m) {
    using V = Vector<Isa>;
    const UpdateVectors<Isa> k(m.constants);
    map_tiles<Isa, 1 + Rule::states>(m, [&](V g, auto operand, std::size_t n) FERRITE_INLINE_LAMBDA {
        V p = V::load_partial(operand(0), n), s = V::zero(), t = V::zero();
        if constexpr (Rule::states > 0) s = V::load_partial(operand(1), n);
        if constexpr (Rule::states > 1) t = V::load_partial(operand(2), n);
        Rule::apply(k, p, g, s, t);
        p.store_partial(operand(0), n);
        if constexpr (Rule::states > 0) s.store_partial(operand(1), n);
        if constexpr (Rule::states > 1) t.store_partial(operand(2), n);
    });
}

/// The tiles by rows and vectors.
template <class Isa>
struct Tiles {
    using Function = void(const Tile&, std::size_t count);
    struct Table {
        Function* of[most_vectors][most_rows(1)];
    };
    template <std::size_t vectors, std::size_t rows>
    static constexpr void enter(Table& table) {
        table.of[vectors - 1][rows - 1] = &tiles<Isa, rows, vectors>;
        if constexpr (rows < most_rows(vectors))
            enter<vectors, rows + 1>(table);
        else if constexpr (vectors < most_vectors)
            enter<vectors + 1, 1>(table);
    }
    static constexpr Table all() {
        Table table{};
        enter<1, 1>(table);
        return table;
    }
    static constexpr Table table = all();
};

/// Calls body(first, size) for `count` things in the fewest groups of at most `most`, which differ by one at most.
template <class Body>
FERRITE_INLINE void balanced(std::size_t count, std::size_t most, Body body) {
    const std::size_t groups = divide_up(count, most);
    if (groups == 0) return;
    const std::size_t size = count / groups;
    std::size_t larger = count - size * groups;
    for (std::size_t first = 0; first < count;) {
        const std::size_t n = larger != 0 ? (--larger, size + 1) : size;
        body(first, n);
        first += n;
    }
}

/// A strip of tiles over m rows: `tile` is that of the first row. Where `map` is given, it takes each tile as its operand 1
/// on the way to the others, which belong to the first row as well. tile.panel, if not null, gets the strip of B for all
/// rows but the first.
template <class Isa>
struct Strip {
    Tile tile;
    std::size_t m, vectors;
    const Kernel<Map>* map;
    bool tiled;  ///< the map may be done in registers
    const float* map_constants;
    float* operand[4];
    std::size_t stride[4];
};

template <class Isa>
[[gnu::noinline]] void run(const Strip<Isa>& s) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    const std::size_t row = s.vectors * width, most = most_rows(s.vectors);
    const auto& by_rows = Tiles<Isa>::table.of[s.vectors - 1];
    Tile t = s.tile;
    Map map{};
    map.stride[1] = row;
    map.columns = t.columns;
    map.constants = s.map_constants;
    for (const int i : {0, 2, 3}) {
        map.operand[i] = s.operand[i];
        map.stride[i] = s.stride[i];
    }
    std::size_t left = s.m;
    const auto next = [&](std::size_t rows) FERRITE_INLINE_LAMBDA {
        t.a = behind(t.a, static_cast<std::ptrdiff_t>(rows) * t.a_row);
        t.start = behind(t.start, static_cast<std::ptrdiff_t>(rows) * t.start_row);
        t.out = behind(t.out, static_cast<std::ptrdiff_t>(rows) * t.out_row);
        for (const int i : {0, 2, 3})
            if (map.operand[i] != nullptr) map.operand[i] += rows * map.stride[i];
        left -= rows;
    };
    // Behind the last row of `start` there may be nothing to read.
    const bool direct = s.map == nullptr && (t.columns == row || t.start_row == 0);
    float between[most_vectors * width];  // stays in the nearest cache
    static_assert(most_vectors >= 12);
    const auto one_tile = [&](typename Tiles<Isa>::Function* function, std::size_t rows) FERRITE_INLINE_LAMBDA {
        Tile buffered = t;
        if (!direct) {
            buffered.out = between;
            buffered.out_row = bytes(row);
            buffered.columns = row;
            if (t.columns != row && t.start_row != 0) {
                for (std::size_t r = 0; r < rows; ++r)
                    for (std::size_t c = 0; c < t.columns; c += width)
                        V::load_partial(behind(t.start, static_cast<std::ptrdiff_t>(r) * t.start_row) + c, smaller(width, t.columns - c))
                            .store(between + r * row + c);
                buffered.start = between;
                buffered.start_row = bytes(row);
            }
        }
        function(buffered, 1);
        if (s.map != nullptr) {
            map.operand[1] = between;
            map.rows = rows;
            (*s.map)(map);
        } else if (!direct) {
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t c = 0; c < t.columns; c += width)
                    V::load(between + r * row + c)
                        .store_partial(behind(t.out, static_cast<std::ptrdiff_t>(r) * t.out_row) + c, smaller(width, t.columns - c));
        }
        next(rows);
    };
    if (t.panel != nullptr && left > most && (s.vectors == 2 || s.vectors == 3)) {
        one_tile(s.vectors == 2 ? &tiles<Isa, most_rows(2), 2, true> : &tiles<Isa, most_rows(3), 3, true>, most);
        t.b = t.panel;
        t.b_row = bytes(row);
        t.k += t.edge_k;
        t.edge_k = 0;
    }
    if (direct) {
        const std::size_t groups = divide_up(left, most), least = left / groups, larger = left - groups * least;
        if (larger != 0) {
            by_rows[least](t, larger);
            next((least + 1) * larger);
        }
        by_rows[least - 1](t, groups - larger);
        return;
    }
    if (s.map != nullptr && s.map->tiled != nullptr && s.tiled && left >= most && (s.vectors == 2 || s.vectors == 3)) {
        const std::size_t count = left / most;
        (*s.map->tiled)({.tile = t, .vectors = s.vectors, .count = count,
                         .operand = {map.operand[0], map.operand[2], map.operand[3]},
                         .row = bytes(map.stride[0]), .constants = map.constants});
        next(most * count);
    }
    balanced(left, most, [&](std::size_t, std::size_t rows) FERRITE_INLINE_LAMBDA { one_tile(by_rows[rows - 1], rows); });
}

/// Columns j0 .. of B (k x n) for a tile of `columns` columns in whole vectors: what lies behind the columns but before the
/// end of B may be read, so that only the last rows are copied, into `edge`. Sets b, b_row, k, edge, edge_k.
template <class Isa>
struct Columns {
    static constexpr std::size_t width = Vector<Isa>::width;
    float edge[(width > most_vectors ? width : most_vectors) * width];

    FERRITE_INLINE void operator()(Tile& t, const float* b, std::size_t b_row, std::size_t k, std::size_t rows_behind,
                                   std::size_t columns, std::size_t vectors) {
        using V = Vector<Isa>;
        std::size_t copied = divide_up(vectors * width - columns, b_row);
        copied = copied > rows_behind ? smaller(copied - rows_behind, k) : 0;
        t.b = b;
        t.b_row = bytes(b_row);
        t.k = k - copied;
        t.edge = edge;
        t.edge_k = copied;
        for (std::size_t p = 0; p < copied; ++p)
            for (std::size_t v = 0; v < vectors; ++v)
                V::load_partial(b + (t.k + p) * b_row + v * width, smaller(width, columns - v * width))
                    .store(edge + (p * vectors + v) * width);
    }
};

/// Floats of a panel on the stack, for instruction sets of processors that have one: rows of B that are not side by side
/// meet in few sets of a cache, and a quarter of their vectors lies in two lines.
template <class Isa>
constexpr std::size_t panel_floats = Vector<Isa>::width >= 8 ? 128 * 48 : 1;

}  // namespace ferrite::simd

namespace ferrite {

template <class Isa>
void Kernels<Isa>::gemm(const Gemm& g) {
    using namespace simd;
    using V = Vector<Isa>;
    constexpr float lowest = -__builtin_inff();
    const std::size_t most = strip_vectors(g.m);
    const bool again = g.m > most_rows(most);  // the strip of B is read more than once
    const bool copies = again && panel_floats<Isa> > 1 && (g.m >= 24 || g.b_row >= 256);
    // Rows of B: as many as fit the panel, or half a first-level cache of 32 KiB with the lines that strided rows touch.
    const std::size_t depth = !again ? g.k : copies ? panel_floats<Isa> / (3 * V::width) : 128;
    alignas(64) float panel[panel_floats<Isa>];
    const bool rectify = g.epilogue != nullptr && g.epilogue->rectifies;
    Columns<Isa> edges;
    float start[most_vectors * V::width];

    for (std::size_t p0 = 0; p0 == 0 || p0 < g.k; p0 += depth) {
        const std::size_t k = smaller(depth, g.k - p0);
        const bool ends = p0 + k == g.k;
        balanced(divide_up(g.n, V::width), most, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
            const std::size_t j0 = first * V::width;
            const std::size_t columns = smaller(vectors * V::width, g.n - j0);
            Strip<Isa> s{};
            Tile& t = s.tile;
            t.a = g.a + p0 * g.a_step;
            t.a_row = bytes(g.a_row);
            t.a_step = bytes(g.a_step);
            t.out = g.c + j0;
            t.out_row = bytes(g.c_row);
            t.floor = ends && rectify ? 0.0f : lowest;
            const float* b = g.b + p0 * g.b_row + j0;
            edges(t, b, g.b_row, k, g.k - p0 - k, columns, vectors);
            t.panel = copies ? panel : nullptr;
            if (p0 == 0) {
                for (std::size_t v = 0; v < vectors; ++v)
                    (g.bias ? V::load_partial(g.bias + j0 + v * V::width, smaller(V::width, columns - v * V::width))
                            : V::zero())
                        .store(start + v * V::width);
                t.start = start;
            } else {
                t.start = t.out;
                t.start_row = bytes(g.c_row);
            }
            s.m = g.m;
            s.vectors = vectors;
            t.columns = columns;
            if (ends && !rectify) {
                s.map = g.epilogue;
                s.map_constants = g.constants;
                s.operand[0] = t.out;
                s.stride[0] = g.c_row;
            }
            run(s);
        });
    }
}

template <class Isa>
void Kernels<Isa>::dense_backward(const DenseBackward& d) {
    using namespace simd;
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    const bool weights = d.dw != nullptr || d.update != nullptr;
    const std::size_t block = d.dx ? dense_block(d.batch) : d.inputs;
    const bool plain = d.update != nullptr && d.w_constants[0] == 1.0f && d.w_constants[1] == __builtin_inff();
    const float zeros[3 * width]{};
    Columns<Isa> edges;
    alignas(64) float panel[panel_floats<Isa>];
    const bool copies = d.batch * 3 * width <= panel_floats<Isa> && (d.batch >= 24 || d.outputs >= 256);
    const auto offset = [](float* p, std::size_t i) FERRITE_INLINE_LAMBDA { return p ? p + i : nullptr; };
    const auto strip = [&](std::size_t m, std::size_t vectors, std::size_t columns) FERRITE_INLINE_LAMBDA {
        Strip<Isa> s{};
        s.tile.start = zeros;
        s.tile.floor = -__builtin_inff();
        s.m = m;
        s.vectors = vectors;
        s.tile.columns = columns;
        return s;
    };

    for (std::size_t i0 = 0; i0 < d.inputs; i0 += block) {
        const std::size_t rows = smaller(block, d.inputs - i0);
        const std::size_t dx_vectors = smaller(3, strip_vectors(d.batch));
        // The old W, transposed, as the update below may change it: strips of (outputs, vectors * width).
        if (d.dx)
            balanced(divide_up(rows, width), dx_vectors, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
                float* const to = d.scratch + first * width * d.outputs;
                for (std::size_t v = 0; v < vectors; ++v) {
                    const std::size_t from = (first + v) * width, count = smaller(width, rows - from);
                    const float* const w = d.w + (i0 + from) * d.outputs;
                    for (std::size_t o = 0; o < d.outputs; o += width) {
                        const std::size_t columns = smaller(width, d.outputs - o);
                        V square[width];
                        for (std::size_t i = 0; i < width; ++i)
                            square[i] = i < count ? V::load_partial(w + i * d.outputs + o, columns) : V::zero();
                        transpose(square);
                        for (std::size_t i = 0; i < columns; ++i) square[i].store(to + ((o + i) * vectors + v) * width);
                    }
                }
            });
        if (weights)
            balanced(divide_up(d.outputs, width), smaller(3, strip_vectors(rows)),
                     [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
                const std::size_t j0 = first * width, columns = smaller(vectors * width, d.outputs - j0);
                const std::size_t at = i0 * d.outputs + j0;
                Strip<Isa> s = strip(rows, vectors, columns);
                s.tile.a = d.x + i0;
                s.tile.a_row = bytes(1);
                s.tile.a_step = bytes(d.row);
                edges(s.tile, d.dy + j0, d.outputs, d.batch, 0, columns, vectors);
                s.tile.panel = copies ? panel : nullptr;
                s.tile.out = d.update ? nullptr : d.dw + at;
                s.tile.out_row = d.update ? 0 : bytes(d.outputs);
                s.map = d.update;
                s.tiled = plain;
                s.map_constants = d.w_constants;
                s.operand[0] = d.w + at;
                s.operand[2] = offset(d.w_state[0], at);
                s.operand[3] = offset(d.w_state[1], at);
                s.stride[0] = s.stride[2] = s.stride[3] = d.outputs;
                run(s);
            });
        if (d.dx)
            balanced(divide_up(rows, width), dx_vectors, [&](std::size_t first, std::size_t vectors) FERRITE_INLINE_LAMBDA {
                const std::size_t j0 = first * width, columns = smaller(vectors * width, rows - j0);
                const std::size_t at = i0 + j0;
                Strip<Isa> s = strip(d.batch, vectors, columns);
                s.tile.a = d.dy;
                s.tile.a_row = bytes(d.outputs);
                s.tile.a_step = bytes(1);
                edges(s.tile, d.scratch + j0 * d.outputs, vectors * width, d.outputs, 1, columns, vectors);
                s.tile.out = d.dx + at;
                s.tile.out_row = bytes(d.row);
                s.map = d.derivative;
                s.tiled = true;
                s.map_constants = d.derivative_constants;
                s.operand[0] = d.dx + at;
                s.operand[2] = d.aux ? const_cast<float*>(d.aux) + at : nullptr;
                s.stride[0] = s.stride[2] = d.row;
                run(s);
            });
    }

    if (!d.b || !(d.db || d.update)) return;
    // Side by side, because each sum is a chain.
    constexpr std::size_t chains = 8;
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
            (*d.update)({.operand = {d.b + j0, sums, offset(d.b_state[0], j0), offset(d.b_state[1], j0)},
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

template <class Isa>
void Kernels<Isa>::relu_backward_tiled(const TiledMap& m) {
    using V = simd::Vector<Isa>;
    simd::map_tiles<Isa, 2>(m, [](V dy, auto operand, std::size_t n) FERRITE_INLINE_LAMBDA {
        select(V::load_partial(operand(1), n) <= V::zero(), V::zero(), dy).store_partial(operand(0), n);
    });
}
template <class Isa>
void Kernels<Isa>::sgd_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::SgdRule>(m);
}
template <class Isa>
void Kernels<Isa>::momentum_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::MomentumRule>(m);
}
template <class Isa>
void Kernels<Isa>::nesterov_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::NesterovRule>(m);
}
template <class Isa>
void Kernels<Isa>::adagrad_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::AdaGradRule>(m);
}
template <class Isa>
void Kernels<Isa>::rmsprop_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::RmsPropRule>(m);
}
template <class Isa>
void Kernels<Isa>::adam_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::AdamRule>(m);
}
template <class Isa>
void Kernels<Isa>::adamw_tiled(const TiledMap& m) {
    simd::update_tiles<Isa, simd::AdamWRule>(m);
}

}  // namespace ferrite
