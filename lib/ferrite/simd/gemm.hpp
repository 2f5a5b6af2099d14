// SPDX-License-Identifier: MIT
// The bodies of the matrix products: kernels gemm and dense_backward, over any vector type. The contract, with the
// order of every sum, is in kernels.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/simd/vector.hpp>

#include <type_traits>
#include <utility>

// Before a loop that is not worth unrolling.
#if defined(__clang__)
#define FERRITE_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define FERRITE_ROLLED _Pragma("GCC unroll 1")
#endif

namespace ferrite::simd {

FERRITE_INLINE constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }
FERRITE_INLINE constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }
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

/// A register tile has `vectors` vectors in each row. Two FMA units of four cycles latency want 8 sums in flight, and 12
/// sums, the vectors of B and a factor fill 16 registers: 4 x 3 loads least per multiplication, and a single row takes
/// a row of B as wide as it can, which then is read as one stream. Widths between that and half of it are made of two, to keep
/// the code small; pairs, which only tests have, do with few shapes, and without vectors there are other tiles. Helium has half
/// the registers, but takes factors from general ones: six sums and two vectors of B; a build for size has single rows alone.
template <class Isa>
constexpr bool has_vectors = Vector<Isa>::width >= 4;
/// 32 registers, and a factor that is an element of a vector, give other tiles: 24 sums, the elements of A of 6 rows for four rows
/// of B, and a pair of vectors of B fill them, and 14 loads do for 96 multiplications. A build for size has the small tiles.
template <class Isa>
constexpr bool by_element = std::is_same_v<Isa, Neon64> && !built_for_size;
template <class Isa>
constexpr std::size_t most_vectors = is_helium<Isa> ? (built_for_size ? 3 : 6) : has_vectors<Isa> ? 13 : 3;
template <class Isa>
constexpr std::size_t most_rows(std::size_t vectors) {
    if (!has_vectors<Isa>) return 4;
    if (is_helium<Isa>) return built_for_size ? 1 : vectors == 1 ? 3 : 6 / vectors;
    constexpr std::size_t rows[] = {4, 6, 4, 2, 2, 2, 1, 0, 0, 0, 0, 0, 1};
    constexpr std::size_t rows_of_32[] = {8, 8, 7, 6, 4, 4, 1, 0, 0, 0, 0, 0, 1};
    return by_element<Isa> ? rows_of_32[vectors - 1] : rows[vectors - 1];
}
/// The width of a strip of tiles over m rows: that of the fewest tiles.
template <class Isa>
constexpr std::size_t strip_vectors(std::size_t m) {
    if (is_helium<Isa>) return built_for_size || m % 2 == 0 ? 3 : m == 1 ? 6 : 2;
    if (by_element<Isa>) return m == 1 ? most_vectors<Isa> : m <= 4 ? 6 : 4;
    constexpr std::size_t vectors[] = {1, most_vectors<Isa>, 6, 3, 3, 2, 2, 3, 3, 2, 2, 2, 2};
    const std::size_t most = m < std::size(vectors) ? vectors[m] : 3;
    return most < most_vectors<Isa> ? most : most_vectors<Isa>;
}

// In helium.hpp, for Helium alone.
template <std::size_t rows, std::size_t vectors, class V>
const float* helium_chains(V (&sum)[rows * vectors], const float* a, std::ptrdiff_t a_row, std::ptrdiff_t a_step, const float* b,
                           std::ptrdiff_t b_row, std::size_t k);
template <std::size_t vectors, class V>
void helium_dots(const float* dy, const float* w, std::size_t rows, std::size_t outputs, float* to);

/// `count` tiles below each other: out(r, c) = chain over p of fma(a(r, p), b(p, c), .) from start(r, c), or from 0 without
/// one; then, if the tile rectifies, the larger of that and 0; then, with a gate, 0 where gate(r, c) <= 0. Of the last vector
/// of a row `last` elements of start and gate are read and of out written, but whole vectors of B are read. B has k rows at
/// `b` and then `edge_k` rows at `edge`, whose row distance is the width of the tile. Distances are in bytes.
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
    const float* gate;
    std::ptrdiff_t gate_row;
    float* out;
    std::ptrdiff_t out_row;
    std::size_t last;
    bool rectifies;
    float* panel;  ///< of a copying tile: gets the rows of B
    bool far;      ///< whether B is not in the first-level cache
};
/// Makes nothing but a product without an end of its own of a tile. The memset of newlib-nano goes byte by byte.
template <class Isa>
FERRITE_INLINE void clear(Tile& t) {
    if constexpr (is_helium<Isa>) {
        t.edge_k = 0;
        t.start = t.gate = nullptr;
        t.start_row = t.gate_row = 0;
        t.rectifies = false;
    } else {
        t = Tile{};
    }
}

/// Tiles with a loop that fetches B ahead: rows that are far apart are not foreseen by the processor. Six rows are some 36
/// cycles, and more would not survive in the few sets of the cache where rows at a distance of 2 KiB meet.
template <class Isa, std::size_t rows, std::size_t vectors>
constexpr bool can_foresee = has_vectors<Isa> && rows >= 4 && (vectors == 2 || vectors == 3 || (by_element<Isa> && vectors == 4));

/// Steps of a tile with multiplication by element, where elements of A are side by side and come by the vector: along k, of each
/// row those for `width` rows of B; else those of all rows for one row of B, where the last vector has some of the one before
/// again. Vectors of B come in pairs, as there are no registers for more. `dense`: so are the rows of B, in a panel or in the
/// scratch memory of dx, and nothing is to foresee; of other rows the end, as the strip before has fetched the line that they start
/// in. Sets b and panel behind the rows.
template <class Isa, std::size_t rows, std::size_t vectors, bool copies, bool along_k, bool dense>
FERRITE_INLINE void steps_by_element(Vector<Isa> (&sum)[rows * vectors], const float* a, std::ptrdiff_t a_row, const float*& b,
                                     std::ptrdiff_t b_row, float*& panel) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width, loads = along_k ? rows : divide_up(rows, width);
    V factors[loads];
    constants<loads>([&](auto l) FERRITE_INLINE_LAMBDA {
        factors[l] = V::load(along_k ? behind(a, static_cast<std::ptrdiff_t>(l.value) * a_row)
                                     : a + smaller(l * width, rows - width));
    });
    constants<along_k ? width : 1>([&](auto p) FERRITE_INLINE_LAMBDA {
        constants<divide_up(vectors, 2)>([&](auto pair) FERRITE_INLINE_LAMBDA {
            constexpr std::size_t v = 2 * pair, count = smaller(2, vectors - v);
            V columns[count];
            constants<count>([&](auto c) FERRITE_INLINE_LAMBDA { columns[c] = V::load(b + (v + c) * width); });
            if constexpr (rows == 1) asm("" ::: "memory");  // or each goes to its only use, and none are a pair
            if constexpr (copies)
                constants<count>([&](auto c) FERRITE_INLINE_LAMBDA { columns[c].store(panel + (v + c) * width); });
            if constexpr (along_k && !dense && can_foresee<Isa, rows, vectors> && v == 0)
                __builtin_prefetch(behind(b, 6 * b_row) + vectors * width - 1);
            constants<count * rows>([&](auto i) FERRITE_INLINE_LAMBDA {
                constexpr std::size_t c = i / rows, r = i % rows, l = along_k ? r : r / width;
                constexpr std::size_t element = along_k ? p : r - smaller(l * width, rows - width);
                V& s = sum[r * vectors + v + c];
                s = fma_element<element>(factors[l], columns[c], s);
            });
        });
        b = dense ? b + vectors * width : behind(b, b_row);
        if constexpr (!dense) asm("" : "+r"(b));  // the base of pairs: the compiler would add a distance for each vector
        if constexpr (copies) panel += vectors * width;
    });
}

template <class Isa, std::size_t rows, std::size_t vectors, bool copies>
void tiles(const Tile& t, std::size_t count) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    constexpr auto signed_rows = static_cast<std::ptrdiff_t>(rows);
    const std::ptrdiff_t a_row = t.a_row, a_step = t.a_step, b_row = t.b_row;
    // A vector of one lane is never cut.
    const std::size_t whole_k = t.k, edge_k = width == 1 ? 0 : t.edge_k, last = width == 1 ? 1 : t.last;
    const float *first = t.a, *start = t.start, *gate = t.gate;
    float *out = t.out, *panel = t.panel;
    for (; count != 0; --count) {
        V sum[rows * vectors];
        constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA {
            constexpr std::size_t v = i % vectors;
            sum[i] = start == nullptr ? V::zero()
                                      : V::load_partial(behind(start, static_cast<std::ptrdiff_t>(i / vectors) * t.start_row) +
                                                            v * width,
                                                        v + 1 == vectors ? last : width);
        });
        const float *a = first, *b = t.b;
        const auto step = [&](auto foresees) FERRITE_INLINE_LAMBDA {
            const auto factor = [&](std::size_t r) FERRITE_INLINE_LAMBDA {
                return V::broadcast(*behind(a, static_cast<std::ptrdiff_t>(r) * a_row));
            };
            if constexpr (vectors <= rows) {
                V columns[vectors];
                constants<vectors>([&](auto v) FERRITE_INLINE_LAMBDA {
                    columns[v] = V::load(b + v * width);
                    if constexpr (copies) columns[v].store(panel + v * width);
                });
                if constexpr (copies) panel += vectors * width;
                if constexpr (foresees) {
                    const float* const next = behind(b, 6 * b_row);
                    __builtin_prefetch(next);
                    __builtin_prefetch(next + vectors * width - 1);
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
        std::ptrdiff_t row = b_row;
        for (std::size_t k = whole_k, rest = edge_k;;) {
            if constexpr (is_helium<Isa>) {
                a = helium_chains<rows, vectors>(sum, a, a_row, a_step, b, row, k);
                k = 0;
            } else if constexpr (by_element<Isa>) {
                const auto elements = [&](auto along_k, auto dense) FERRITE_INLINE_LAMBDA {
                    steps_by_element<Isa, rows, vectors, copies, along_k, dense>(sum, a, a_row, b, row, panel);
                    a = along_k ? a + width : behind(a, a_step);
                };
                if (a_step == bytes(1)) {
                    std::size_t times = k / width;
                    k %= width;
                    if constexpr (!copies && can_foresee<Isa, rows, vectors>)
                        if (row == bytes(vectors * width))
                            for (; times != 0; --times) elements(std::true_type{}, std::true_type{});
                    for (; times != 0; --times) elements(std::true_type{}, std::false_type{});
                } else if constexpr (rows >= width) {
                    if (a_row == bytes(1))
                        for (; k != 0; --k) elements(std::false_type{}, std::false_type{});
                }
            } else if constexpr (copies || can_foresee<Isa, rows, vectors>) {
                if (copies || t.far)
                    for (; k != 0; --k) step(std::true_type{}), b = behind(b, row);
            }
            for (; k != 0; --k) step(std::false_type{}), b = behind(b, row);
            if (rest == 0) break;
            b = t.edge;
            row = bytes(vectors * width);
            k = rest;
            rest = 0;
        }
        if (t.rectifies)
            constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA { sum[i] = max(V::zero(), sum[i]); });
        if (gate != nullptr) {
            constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA {
                constexpr std::size_t v = i % vectors;
                const V open = V::load_partial(behind(gate, static_cast<std::ptrdiff_t>(i / vectors) * t.gate_row) + v * width,
                                               v + 1 == vectors ? last : width);
                sum[i] = select(open <= V::zero(), V::zero(), sum[i]);
            });
            gate = behind(gate, signed_rows * t.gate_row);
        }
        const auto to = [&](std::size_t r, std::size_t v) FERRITE_INLINE_LAMBDA {
            return behind(out, static_cast<std::ptrdiff_t>(r) * t.out_row) + v * width;
        };
        if (last == width) {
            constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA { sum[i].store(to(i / vectors, i % vectors)); });
        } else {
            float end[rows * width];  // a short loop over the last vectors is half the code
            constants<rows * vectors>([&](auto i) FERRITE_INLINE_LAMBDA {
                constexpr std::size_t r = i / vectors, v = i % vectors;
                sum[i].store(v + 1 < vectors ? to(r, v) : end + r * width);
            });
            FERRITE_ROLLED
            for (std::size_t r = 0; r < rows; ++r) V::load(end + r * width).store_partial(to(r, vectors - 1), last);
        }
        out = behind(out, signed_rows * t.out_row);
        first = behind(first, signed_rows * a_row);
        if (start != nullptr) start = behind(start, signed_rows * t.start_row);
    }
}

/// The tiles by vectors and rows.
template <class Isa>
struct Tiles {
    using Function = void(const Tile&, std::size_t count);
    struct Table {
        Function* of[most_vectors<Isa>][by_element<Isa> ? 8 : 6];
    };
    template <std::size_t vectors, std::size_t rows>
    static constexpr void enter(Table& entries) {
        if constexpr (rows <= most_rows<Isa>(vectors)) {
            entries.of[vectors - 1][rows - 1] = &tiles<Isa, rows, vectors, false>;
            enter<vectors, rows + 1>(entries);
        } else if constexpr (vectors < most_vectors<Isa>) {
            enter<vectors + 1, 1>(entries);
        }
    }
    static constexpr Table table = [] {
        Table entries{};
        enter<1, 1>(entries);
        return entries;
    }();
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
/// body(first, vectors) for the strips of `count` vectors over m rows.
template <class Isa, class Body>
FERRITE_INLINE void strips(std::size_t count, std::size_t m, Body body) {
    const std::size_t most = strip_vectors<Isa>(m), wide = has_vectors<Isa> && most == most_vectors<Isa> ? most : count + 1;
    for (std::size_t first = 0, n = 0; first < count; first += n) {
        const std::size_t left = count - first;
        if (left >= wide)
            n = wide;
        else if (most == 2 && left % 2 == 1 && left > 1)
            n = 3;  // one vector alone would keep too few sums in flight
        else
            n = divide_up(left, divide_up(left, smaller(most, 7)));
        body(first, n);
    }
}

/// Columns of B (k x columns) from `b` on for a tile in whole vectors: what lies behind the columns but before the end of B
/// may be read, so that only the last rows are copied, into `edge`. Sets b, b_row, k, edge, edge_k, last.
template <class Isa>
struct Columns {
    static constexpr std::size_t width = Vector<Isa>::width;
    float edge[(width > most_vectors<Isa> ? width : most_vectors<Isa>) * width];

    FERRITE_INLINE void operator()(Tile& t, const float* b, std::size_t b_row, std::size_t k, std::size_t rows_behind,
                                   std::size_t columns, std::size_t vectors) {
        using V = Vector<Isa>;
        std::size_t copied = 0;
        if constexpr (width > 1) {
            copied = divide_up(vectors * width - columns, b_row);
            copied = copied > rows_behind ? smaller(copied - rows_behind, k) : 0;
        }
        t.b = b;
        t.b_row = bytes(b_row);
        t.k = k - copied;
        t.edge = edge;
        t.edge_k = copied;
        t.last = columns - (vectors - 1) * width;
        for (std::size_t p = 0; p < copied; ++p)
            for (std::size_t v = 0; v < vectors; ++v)
                V::load_partial(b + (t.k + p) * b_row + v * width, smaller(width, columns - v * width))
                    .store(edge + (p * vectors + v) * width);
    }
};

/// A strip of tiles over m rows, of which `strip` is the first. With a panel the first tile copies the strip of B there, where
/// the others, and later calls with this strip, find it.
template <class Isa>
[[gnu::noinline]] void run(Tile& strip, std::size_t m, std::size_t vectors) {
    const auto& by_rows = Tiles<Isa>::table.of[vectors - 1];
    const std::size_t most = most_rows<Isa>(vectors);
    std::conditional_t<is_helium<Isa>, Tile&, Tile> t = strip;  // a copy of the size is made byte by byte in newlib-nano
    const float *const a = t.a, *const start = t.start, *const gate = t.gate;
    float* const out = t.out;
    const auto tile_rows = [&](typename Tiles<Isa>::Function* function, std::size_t rows, std::size_t count) FERRITE_INLINE_LAMBDA {
        function(t, count);
        const auto done = static_cast<std::ptrdiff_t>(rows * count);
        t.a = behind(t.a, done * t.a_row);
        if (t.start != nullptr) t.start = behind(t.start, done * t.start_row);
        if (t.gate != nullptr) t.gate = behind(t.gate, done * t.gate_row);
        t.out = behind(t.out, done * t.out_row);
    };
    if constexpr (has_vectors<Isa> && !is_helium<Isa>)
        if (t.panel != nullptr && m > most && (vectors == 2 || vectors == 3 || (by_element<Isa> && vectors == 4))) {
            auto* copying = vectors == 2 ? &tiles<Isa, most_rows<Isa>(2), 2, true> : &tiles<Isa, most_rows<Isa>(3), 3, true>;
            if constexpr (by_element<Isa>)
                if (vectors == 4) copying = &tiles<Isa, most_rows<Isa>(4), 4, true>;
            tile_rows(copying, most, 1);
            m -= most;
            strip.b = t.b = t.panel;
            strip.b_row = t.b_row = bytes(vectors * Vector<Isa>::width);
            strip.k = t.k += t.edge_k;
            strip.edge_k = t.edge_k = 0;
            strip.panel = nullptr;
        }
    const std::size_t groups = divide_up(m, most), least = m / groups, larger = m - groups * least;
    if (larger != 0) tile_rows(by_rows[least], least + 1, larger);
    by_rows[least - 1](t, groups - larger);
    if constexpr (is_helium<Isa>) t.a = a, t.start = start, t.gate = gate, t.out = out;
}

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

// What follows is for processors without vectors, in place of tiles: 32 registers hold 16 sums of a row of C, or 6 of each of
// four, and what they are made of.

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
    constexpr std::size_t room = gradient_floats<Isa>;
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

namespace ferrite {

template <class Isa>
void Kernels<Isa>::gemm(const Gemm& g) {
    using namespace simd;
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    if (g.m == 0 || g.n == 0) return;
    if constexpr (width == 1) {
        scalar_product<Isa>(g);
        if (g.epilogue != nullptr)
            (*g.epilogue)({.operand = {g.c, g.c, nullptr, nullptr}, .stride = {g.c_row, g.c_row, 0, 0}, .rows = g.m,
                           .columns = g.n, .constants = g.constants});
        return;
    }
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
void Kernels<Isa>::dense_backward(const DenseBackward& d) {
    using namespace simd;
    constexpr std::size_t width = Vector<Isa>::width;
    if (d.batch == 0 || d.inputs == 0 || d.outputs == 0) return;
    if constexpr (width == 1) {
        scalar_dense_backward<Isa>(d);
        return;
    }
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
                    simd::transpose<Isa>(d.scratch + first * width * d.outputs + (v - first) * width, vectors * width,
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

}  // namespace ferrite
