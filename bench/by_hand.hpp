// SPDX-License-Identifier: MIT
// What a person writes who trains a network of Dense and Relu with a library for the products: plain loops
// around them. Includes no header with static initializers, as the ISA sources see this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ferrite/kernels.hpp>

namespace ferrite::bench::by_hand {

/// y = y + bias, and not below 0 if so.
struct Finish {
    float* y;
    const float* bias;
    std::size_t rows, columns;
    bool rectify;
};
/// dz = (softmax(z) - onehot) / rows; *loss = mean cross entropy.
struct Loss {
    const float* z;
    const std::uint16_t* labels;
    float* dz;
    float* loss;
    std::size_t rows, columns;
};
/// dx = 0 where y is.
struct Rectify {
    float* dx;
    const float* y;
    std::size_t size;
};
struct ColumnSums {
    const float* dy;
    float* sums;
    std::size_t rows, columns;
};
/// SGD where there is no m.
struct Update {
    float* p;
    const float* g;
    float* m;
    float* v;
    std::size_t size;
    float rate, beta1, beta2, epsilon;
};

template <class IsaTag>
struct Kernels {
    static void finish(const Finish&);
    static void loss(const Loss&);
    static void rectify(const Rectify&);
    static void column_sums(const ColumnSums&);
    static void update(const Update&);
};
extern template struct Kernels<Scalar>;
extern template struct Kernels<Avx2>;
extern template struct Kernels<Avx512>;

// FERRITE_ENTRIES finds the Kernels of this namespace.
inline constexpr Kernel<Finish> finish{"finish", {FERRITE_ENTRIES(finish)}};
inline constexpr Kernel<Loss> loss{"loss", {FERRITE_ENTRIES(loss)}};
inline constexpr Kernel<Rectify> rectify{"rectify", {FERRITE_ENTRIES(rectify)}};
inline constexpr Kernel<ColumnSums> column_sums{"column_sums", {FERRITE_ENTRIES(column_sums)}};
inline constexpr Kernel<Update> update{"update", {FERRITE_ENTRIES(update)}};

}  // namespace ferrite::bench::by_hand
