// SPDX-License-Identifier: MIT
// What the matrix products are made of where there are vectors: tiles of sums in registers, over any vector type.
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
/// the code small; pairs, which only tests have, do with few shapes. Helium has half the registers, but takes factors from general
/// ones: six sums and two vectors of B; a build for size has single rows alone.
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
    const std::size_t whole_k = t.k, edge_k = t.edge_k, last = t.last;
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
        std::size_t copied = divide_up(vectors * width - columns, b_row);
        copied = copied > rows_behind ? smaller(copied - rows_behind, k) : 0;
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

}  // namespace ferrite::simd
