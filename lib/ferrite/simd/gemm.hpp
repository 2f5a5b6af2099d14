// SPDX-License-Identifier: MIT
// The bodies of the matrix products: kernels gemm and dense_backward, over any vector type. The contract, with the
// order of every sum, is in kernels.hpp.
#pragma once

#include <ferrite/kernels.hpp>
#include <ferrite/simd/vector.hpp>

namespace ferrite::simd {

/// Register tile: `rows` x `vectors` accumulators. Two FMA ports of four cycles latency need 8 accumulators in flight;
/// 6 x 2 and the 2 + 1 operands fill the 16 registers of AVX2, AVX-512 has 32.
template <class Isa>
struct TileShape {
    static constexpr int rows = 4, vectors = Vector<Isa>::width >= 16 ? 1 : 16 / static_cast<int>(Vector<Isa>::width);
};
template <>
struct TileShape<Scalar> {
    static constexpr int rows = 2, vectors = 4;
};
template <>
struct TileShape<Avx2> {
    static constexpr int rows = 6, vectors = 2;
};
template <>
struct TileShape<Avx512> {
    static constexpr int rows = 8, vectors = 2;
};

/// Operands of one tile: out(r, c) = chain over p of fma(a(r, p), b(p, c), .) from start(r, c), or from 0.
template <class Isa>
struct TileArguments {
    const float* a;
    std::size_t a_row, a_step;
    const float* b;
    std::size_t b_row;
    std::size_t k;
    const float* start;
    std::size_t start_row;
    float* out;
    std::size_t out_row;
    std::size_t last;  ///< columns of the last vector, 1 .. width
};

template <class Isa, int rows, int vectors, bool partial>
FERRITE_INLINE void tile(const TileArguments<Isa>& t) {
    using V = Vector<Isa>;
    constexpr std::size_t width = V::width;
    V sum[rows][vectors];
    for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) {
            if (t.start == nullptr) {
                sum[r][v] = V::zero();
                continue;
            }
            const float* from = t.start + static_cast<std::size_t>(r) * t.start_row + static_cast<std::size_t>(v) * width;
            sum[r][v] = partial && v == vectors - 1 ? V::load_partial(from, t.last) : V::load(from);
        }
    const float* a = t.a;
    const float* b = t.b;
    for (std::size_t p = 0; p < t.k; ++p) {
        V column[vectors];
        for (int v = 0; v < vectors; ++v) {
            const float* from = b + static_cast<std::size_t>(v) * width;
            column[v] = partial && v == vectors - 1 ? V::load_partial(from, t.last) : V::load(from);
        }
        for (int r = 0; r < rows; ++r) {
            const V factor = V::broadcast(a[static_cast<std::size_t>(r) * t.a_row]);
            for (int v = 0; v < vectors; ++v) sum[r][v] = fma(factor, column[v], sum[r][v]);
        }
        a += t.a_step;
        b += t.b_row;
    }
    for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) {
            float* to = t.out + static_cast<std::size_t>(r) * t.out_row + static_cast<std::size_t>(v) * width;
            if (partial && v == vectors - 1)
                sum[r][v].store_partial(to, t.last);
            else
                sum[r][v].store(to);
        }
}

/// A tile of `count` <= rows rows and `columns` <= vectors * width columns.
template <class Isa, int rows = TileShape<Isa>::rows, int vectors = TileShape<Isa>::vectors>
[[gnu::noinline]] void any_tile(TileArguments<Isa> t, std::size_t count, std::size_t columns) {
    constexpr std::size_t width = Vector<Isa>::width;
    if constexpr (rows > 1) {
        if (count < rows) return any_tile<Isa, rows - 1, vectors>(t, count, columns);
    }
    if constexpr (vectors > 1) {
        if (columns <= (vectors - 1) * width) return any_tile<Isa, rows, vectors - 1>(t, count, columns);
    }
    t.last = columns - (vectors - 1) * width;
    if (t.last == width)
        tile<Isa, rows, vectors, false>(t);
    else if constexpr (width > 1)
        tile<Isa, rows, vectors, true>(t);
}

template <class Isa>
FERRITE_INLINE std::size_t smaller(std::size_t a, std::size_t b) {
    return a < b ? a : b;
}

}  // namespace ferrite::simd

namespace ferrite {

template <class Isa>
void Kernels<Isa>::gemm(const Gemm& g) {
    using namespace simd;
    using V = Vector<Isa>;
    constexpr std::size_t tile_rows = TileShape<Isa>::rows;
    constexpr std::size_t tile_columns = TileShape<Isa>::vectors * V::width;
    constexpr std::size_t depth = 192;  // rows of B a panel holds
    // Panels of neighbouring tiles lie side by side, so that every instruction set needs the same memory.
    constexpr std::size_t panels = gemm_scratch_floats / (depth * tile_columns);
    static_assert(panels * depth * tile_columns == gemm_scratch_floats);
    const bool pack = g.scratch != nullptr && g.m >= 4 * tile_rows;
    for (std::size_t p0 = 0; p0 == 0 || p0 < g.k; p0 += depth) {
        const std::size_t k = smaller<Isa>(depth, g.k - p0);
        for (std::size_t j0 = 0; j0 < g.n; j0 += tile_columns) {
            const std::size_t columns = smaller<Isa>(tile_columns, g.n - j0);
            const float* b = g.b + p0 * g.b_row + j0;
            std::size_t b_row = g.b_row;
            if (pack && columns == tile_columns) {
                float* panel =
                    g.scratch + j0 / tile_columns % panels * tile_columns * smaller<Isa>(depth, g.k);
                for (std::size_t p = 0; p < k; ++p)
                    for (std::size_t c = 0; c < tile_columns; c += V::width)
                        V::load(b + p * b_row + c).store(panel + p * tile_columns + c);
                b = panel;
                b_row = tile_columns;
            }
            for (std::size_t i0 = 0; i0 < g.m; i0 += tile_rows) {
                float* c = g.c + i0 * g.c_row + j0;
                const bool again = p0 != 0;
                any_tile<Isa>({.a = g.a + i0 * g.a_row + p0 * g.a_step,
                               .a_row = g.a_row,
                               .a_step = g.a_step,
                               .b = b,
                               .b_row = b_row,
                               .k = k,
                               .start = again ? c : g.bias ? g.bias + j0 : nullptr,
                               .start_row = again ? g.c_row : 0,
                               .out = c,
                               .out_row = g.c_row,
                               .last = 0},
                              smaller<Isa>(tile_rows, g.m - i0), columns);
            }
            if (g.epilogue && p0 + depth >= g.k)
                (*g.epilogue)({.operand = {g.c + j0, g.c + j0, nullptr, nullptr},
                               .stride = {g.c_row, g.c_row, 0, 0},
                               .rows = g.m,
                               .columns = columns,
                               .constants = g.constants});
        }
    }
}

template <class Isa>
void Kernels<Isa>::dense_backward(const DenseBackward& d) {
    using namespace simd;
    using V = Vector<Isa>;
    constexpr std::size_t tile_rows = TileShape<Isa>::rows;
    constexpr std::size_t tile_columns = TileShape<Isa>::vectors * V::width;
    constexpr std::size_t block = 16;
    const bool weights = d.dw != nullptr || d.update != nullptr;
    float between[tile_rows * tile_columns];  // a tile on its way from registers to a map: stays in L1
    const auto offset = [](float* p, std::size_t i) FERRITE_INLINE_LAMBDA { return p ? p + i : nullptr; };

    for (std::size_t i0 = 0; i0 < d.inputs; i0 += block) {
        const std::size_t rows = smaller<Isa>(block, d.inputs - i0);
        // The old W, transposed, as the update below may change it.
        if (d.dx) {
            for (std::size_t i = 0; i < block; ++i)
                for (std::size_t o = 0; o < d.outputs; ++o)
                    d.scratch[o * block + i] = i < rows ? d.w[(i0 + i) * d.outputs + o] : 0.0f;
        }
        if (weights) {
            for (std::size_t j0 = 0; j0 < d.outputs; j0 += tile_columns) {
                const std::size_t columns = smaller<Isa>(tile_columns, d.outputs - j0);
                for (std::size_t r0 = 0; r0 < rows; r0 += tile_rows) {
                    const std::size_t count = smaller<Isa>(tile_rows, rows - r0);
                    const std::size_t at = (i0 + r0) * d.outputs + j0;
                    any_tile<Isa>({.a = d.x + i0 + r0,
                                   .a_row = 1,
                                   .a_step = d.inputs,
                                   .b = d.dy + j0,
                                   .b_row = d.outputs,
                                   .k = d.batch,
                                   .start = nullptr,
                                   .start_row = 0,
                                   .out = d.update ? between : d.dw + at,
                                   .out_row = d.update ? tile_columns : d.outputs,
                                   .last = 0},
                                  count, columns);
                    if (d.update)
                        (*d.update)({.operand = {d.w + at, between, offset(d.w_state[0], at), offset(d.w_state[1], at)},
                                     .stride = {d.outputs, tile_columns, d.outputs, d.outputs},
                                     .rows = count,
                                     .columns = columns,
                                     .constants = d.w_constants});
                }
            }
        }
        if (d.dx) {
            for (std::size_t j0 = 0; j0 < rows; j0 += tile_columns) {
                const std::size_t columns = smaller<Isa>(tile_columns, rows - j0);
                for (std::size_t r0 = 0; r0 < d.batch; r0 += tile_rows) {
                    const std::size_t count = smaller<Isa>(tile_rows, d.batch - r0);
                    const std::size_t at = r0 * d.inputs + i0 + j0;
                    any_tile<Isa>({.a = d.dy + r0 * d.outputs,
                                   .a_row = d.outputs,
                                   .a_step = 1,
                                   .b = d.scratch + j0,
                                   .b_row = block,
                                   .k = d.outputs,
                                   .start = nullptr,
                                   .start_row = 0,
                                   .out = d.derivative ? between : d.dx + at,
                                   .out_row = d.derivative ? tile_columns : d.inputs,
                                   .last = 0},
                                  count, columns);
                    if (d.derivative)
                        (*d.derivative)({.operand = {d.dx + at, between, const_cast<float*>(d.aux) + at, nullptr},
                                         .stride = {d.inputs, tile_columns, d.inputs, 0},
                                         .rows = count,
                                         .columns = columns,
                                         .constants = d.derivative_constants});
                }
            }
        }
    }

    if (!d.b || !(d.db || d.update)) return;
    for (std::size_t j0 = 0; j0 < d.outputs; j0 += V::width) {
        const std::size_t columns = smaller<Isa>(V::width, d.outputs - j0);
        V sum = V::zero();
        for (std::size_t r = 0; r < d.batch; ++r) sum = sum + V::load_partial(d.dy + r * d.outputs + j0, columns);
        sum.store_partial(d.update ? between : d.db + j0, columns);
        if (d.update)
            (*d.update)({.operand = {d.b + j0, between, offset(d.b_state[0], j0), offset(d.b_state[1], j0)},
                         .stride = {0, 0, 0, 0},
                         .rows = 1,
                         .columns = columns,
                         .constants = d.b_constants});
    }
}

}  // namespace ferrite
