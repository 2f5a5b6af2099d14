// SPDX-License-Identifier: MIT
// THE kernel contract: what each kernel computes, in which order, on which memory. Includes status.hpp, tensor.hpp, random.hpp.
//
// Every kernel is one body over a vector type (simd/), built once per instruction set, with the same bits from each:
// - a matrix product is, for every output element, ONE chain of fused multiply-adds in ascending k;
// - a reduction runs over 16 virtual lanes (element i belongs to lane i mod 16) that are combined by a fixed tree,
//   lane i with lane i + 8, then + 4, + 2, + 1;
// - everything else is element by element, in the order of operations that its formula states, nothing contracted.
// NaN payloads are not part of the promise: which NaN comes out of two depends on the instruction.
// Pointers need the alignment of float only. Matrices are row-major; a stride is the distance of two rows in floats.
// Stack: a matrix product takes at most 85 KiB with AVX-512, 75 KiB with AVX2, 27 KiB on AArch64, 5 KiB with Helium or without
// vectors; the others below 4 KiB.
#pragma once

#include <ferrite/random.hpp>
#include <ferrite/status.hpp>
#include <ferrite/tensor.hpp>

namespace ferrite {

/// Instruction sets as tags: every symbol that is compiled with the flags of a set has its tag in its name.
struct Scalar {};
struct Avx2 {};
struct Avx512 {};
struct Neon {};    ///< ARMv7 with NEON and fused multiply-add (VFPv4). Takes subnormal numbers as zeros, so bits are the same
                   ///< where none occur
struct Neon64 {};  ///< AArch64
struct Helium {};  ///< Cortex-M with MVE for floats, which takes subnormal numbers as zeros, too

/// The instruction sets of this build, in ascending order of preference.
enum class Isa : std::uint8_t {
#if defined(FERRITE_FIXED_ISA)
    fixed,
#else
    scalar,
#if defined(FERRITE_ISA_AVX2)
    avx2,
#endif
#if defined(FERRITE_ISA_AVX512)
    avx512,
#endif
#endif
    count
};
inline constexpr std::size_t isa_count = static_cast<std::size_t>(Isa::count);

/// "scalar", "avx2", "avx512", "neon", "neon64", "helium".
[[nodiscard]] const char* name(Isa isa) noexcept;
/// Whether this processor (and its operating system) can run `isa`.
[[nodiscard]] bool supported(Isa isa) noexcept;
/// The set in use: the best that this processor has, unless select_isa() chose another.
[[nodiscard]] Isa active_isa() noexcept;
/// Chooses the set named `name` for the whole process; not while a kernel runs. isa_not_built, isa_not_supported:
/// nothing changes.
Status select_isa(const char* name) noexcept;

/// One kernel: its name and its entry per instruction set. Steps refer to these objects, so that the linker drops
/// every kernel that no program mentions.
template <class Arguments>
struct Kernel {
    using Function = void(const Arguments&);
    const char* name;
    Function* entry[isa_count];
    bool rectifies = false;     ///< of a map: it is that of Relu, forward or backward, which a product does in registers
    bool takes_factor = false;  ///< of an optimizer: it reads Map::factor
    // Inline also in a build for size: an ISA source that calls it must not leave a copy for everybody.
    [[gnu::always_inline]] void operator()(const Arguments& arguments) const noexcept {
#if defined(FERRITE_FIXED_ISA)
        entry[0](arguments);
#else
        entry[static_cast<std::size_t>(active_isa())](arguments);
#endif
    }
};

/// A kernel of your own that has one body for every instruction set.
template <class Arguments>
[[nodiscard]] constexpr Kernel<Arguments> portable_kernel(const char* name,
                                                          void (*function)(const Arguments&)) noexcept {
    Kernel<Arguments> kernel{name, {}, false, false};
    for (auto& entry : kernel.entry) entry = function;
    return kernel;
}

/// An element-wise map over `rows` x `columns` elements; operand i starts at operand[i] and has row distance
/// stride[i]. What the operands are:
/// - activation, forward:  0 = y (written), 1 = x.                      y = f(x)
/// - activation, backward: 0 = dx (written), 1 = dy, 2 = y or x, as the activation says. dx = dy f'
/// - optimizer: 0 = parameters (updated), 1 = gradients, 2, 3 = state (updated; as many as the optimizer has).
/// Operands are equal (same start and stride) or do not overlap. `constants`: 8 floats, whose meaning the map states.
struct Map {
    float* operand[4];
    std::size_t stride[4];
    std::size_t rows, columns;
    const float* constants;
    /// Of an optimizer of the library, for a batch of one: null, or (rows). The gradient is fma(factor[r], operand 1, 0) then,
    /// neither scaled nor clipped: gradient_scale is 1 and clip is infinite.
    const float* factor = nullptr;
};

/// C = A B + C0, then, if `epilogue` is given, C = epilogue(C) while it is in the nearest cache.
/// A (m x k): element (i, p) at a[i * a_row + p * a_step], so a transposed A is a matter of strides.
/// B (k x n): row-major, row distance b_row. C (m x n): row distance c_row; overlaps neither A nor B.
/// Each element: c = start; for p ascending: c = fma(a(i,p), b(p,j), c); start = bias[j], or 0 if bias is null.
/// `scratch`: null, or gemm_scratch_floats floats, in which rows of A are packed where that pays: from some 512 cubed on.
struct Gemm {
    const float* a;
    std::size_t a_row, a_step;
    const float* b;
    std::size_t b_row;
    float* c;
    std::size_t c_row;
    std::size_t m, n, k;
    const float* bias;
    const Kernel<Map>* epilogue;
    const float* constants;  ///< of the epilogue
    float* scratch;
};
/// Rows of A, and of each as many elements, that are side by side while a large product uses them.
inline constexpr std::size_t gemm_block_rows = 256, gemm_block_depth = 256;
inline constexpr std::size_t gemm_scratch_floats = gemm_block_rows * (gemm_block_depth + 32);

/// Backward pass of y = x W + b over a batch, each part optional. x: (B, I), dy: (B, O), W: (I, O), b: (O); nothing happens if
/// one of B, I, O is 0. `row` is the
/// row distance of x, dx and aux: a part of the inputs, with its columns of these and its rows of W, is a call of its own,
/// which may run beside the calls of other parts, each with its own `scratch`: of x and aux it reads its own columns alone.
/// - dx (B, I), if not null: dx(r, i) = chain over o ascending, from 0, of fma(dy(r, o), W(i, o)), with W as it was
///   before this call; then, if `derivative` is given, dx = derivative(dx, aux). aux: (B, I).
///   dx may be x or aux: each block of columns of x is read before the same columns of dx are written.
/// - weight gradient, if `dw` or `update` is given: g(i, o) = chain over r ascending, from 0, of fma(x(r, i), dy(r, o));
///   bias gradient (b not null): chain of additions over r ascending, from 0, of dy(r, o).
///   With `update` the optimizer takes it while it is in the nearest cache, some rows of W at a time (at batch 1 it multiplies
///   x and dy itself, Map::factor), and changes w, b and their states in place; otherwise it is stored in dw (I, O), db (O).
/// `scratch`: dense_scratch_floats(O, B) floats, needed for dx; B is the largest batch that comes.
struct DenseBackward {
    const float* x;
    const float* dy;
    float* w;
    float* b;
    std::size_t batch, inputs, outputs, row;
    float* dx;
    const float* aux;
    const Kernel<Map>* derivative;
    const float* derivative_constants;
    float* dw;
    float* db;
    const Kernel<Map>* update;
    float* w_state[2];
    float* b_state[2];
    const float* w_constants;
    const float* b_constants;
    float* scratch;
};
/// Rows of W that are transposed at a time. A large batch uses a block longer and pays for a larger one.
[[nodiscard]] constexpr std::size_t dense_block(std::size_t batch) noexcept { return batch >= 16 ? 48 : 16; }
/// A block of W, transposed: (O, dense_block(B)). A batch of one turns W in registers.
[[nodiscard]] constexpr std::size_t dense_scratch_floats(std::size_t outputs, std::size_t batch) noexcept {
    return batch == 1 ? 0 : dense_block(batch) * outputs;
}

/// Softmax along the rows of a (rows, columns) matrix. Forward: y = exp(x - max x) / sum exp(x - max x), y may be x.
/// Backward (dy given): y holds dx on return: dx = p (dy - sum p dy), where p = x is the forward result; y may be dy.
struct SoftmaxArguments {
    const float* x;
    const float* dy;
    float* y;
    std::size_t rows, columns;
};

/// A loss over a (rows, columns) batch of outputs z: *loss = (sum over rows of the row's loss) / rows, the sum in
/// ascending rows; dz = d loss / dz, may be z. Exactly one of labels (rows) and targets (rows, columns) is used.
struct LossArguments {
    const float* z;
    const std::uint16_t* labels;
    const float* targets;
    float* dz;
    float* loss;
    std::size_t rows, columns;
    float constant;
};

/// Normalization of a (rows, columns) matrix x to y = gamma xhat + beta, xhat = (x - mean) inverse. mean and inverse, with
/// inverse = 1 / sqrt(variance + epsilon), belong to a column (batch normalization: N = rows) or to a row (layer
/// normalization: N = columns). gamma, beta: (columns). One value: t = x - mean; xhat = t inverse; y = fma(gamma, xhat, beta).
/// `row` is the row distance of x, dy and y: some columns of a batch normalization are a call of their own.
/// - batch_norm: mean = (chain of additions over r ascending, from 0) / N; variance = (chain of fma(t, t, .)) / N. It
///   writes mean and inverse (columns), and, for N > 1, running = fma(momentum, running, (1 - momentum) batch value) for
///   mean and variance. N = 1 gives y = beta.
/// - batch_norm_inference: s = gamma (1 / sqrt(running_variance + epsilon)); y = fma(x - running_mean, s, beta); running_mean
///   and beta count as 0 where null. y may be x.
/// - batch_norm_backward: dbeta = chain of additions of dy over r ascending, dgamma = chain of fma(dy, xhat, .); then, if y is
///   not null, y holds dx = (gamma inverse) fma(-xhat, dgamma / N, dy - dbeta / N); it may be dy or x.
/// - layer_norm: the same sums over 16 lanes of a row; writes mean and inverse (rows) unless they are null. y may be x.
/// - layer_norm_backward: dgamma and dbeta as above, unless null; then, if y is not null, with g = dy gamma,
///   y = dx = inverse fma(-xhat, (sum of fma(g, xhat, .)) / N, g - (sum of fma(dy, gamma, .)) / N), both sums over 16 lanes; y may be dy or x.
/// Ioffe and Szegedy, arXiv 1502.03167, algorithm 1; Ba et al., arXiv 1607.06450, equation 4.
struct Normalization {
    const float* x;
    const float* dy;
    float* y;
    const float* gamma;
    const float* beta;
    float* mean;
    float* inverse;
    float* running_mean;
    float* running_variance;
    float* dgamma;
    float* dbeta;
    std::size_t rows, columns, row;
    float epsilon, momentum;
};

/// y[i] = scale x[i] where element first + i of the stream is kept, 0 elsewhere; kept: random.uniform(first + i) > rate, which
/// is (random.bits(first + i) >> 40) > threshold, threshold = floor(rate 2^24). y may be x. Backward is the same call with
/// dy for x. Srivastava et al., JMLR 15 (2014).
struct DropoutArguments {
    const float* x;
    float* y;
    std::size_t size;
    Random random;
    std::uint64_t first;
    std::uint32_t threshold;
    float scale;
};

/// *result = sum of x[i]^2 over 16 lanes, each lane a chain of fma in ascending i. result must not be in x.
struct SumOfSquares {
    const float* x;
    std::size_t size;
    float* result;
};

/// y[i] = x[i] / 255, the correctly rounded quotient: the bytes of an image as numbers in [0, 1]. y must not overlap x.
struct Pixels {
    const std::uint8_t* x;
    float* y;
    std::size_t size;
};

/// The declarations of all kernels of one instruction set; simd/<isa>.cpp instantiates them.
template <class IsaTag>
struct Kernels {
    static void gemm(const Gemm&);
    static void dense_backward(const DenseBackward&);
    static void softmax(const SoftmaxArguments&);
    static void softmax_backward(const SoftmaxArguments&);
    static void softmax_cross_entropy(const LossArguments&);
    static void binary_cross_entropy(const LossArguments&);
    static void mean_squared_error(const LossArguments&);
    static void huber(const LossArguments&);
    static void sum_of_squares(const SumOfSquares&);
    static void batch_norm(const Normalization&);
    static void batch_norm_inference(const Normalization&);
    static void batch_norm_backward(const Normalization&);
    static void layer_norm(const Normalization&);
    static void layer_norm_backward(const Normalization&);
    static void dropout(const DropoutArguments&);
    static void pixels(const Pixels&);
    static void scale(const Map&);
    static void relu(const Map&);
    static void relu_backward(const Map&);
    static void leaky_relu(const Map&);
    static void leaky_relu_backward(const Map&);
    static void sigmoid(const Map&);
    static void sigmoid_backward(const Map&);
    static void tanh(const Map&);
    static void tanh_backward(const Map&);
    static void gelu(const Map&);
    static void gelu_backward(const Map&);
    static void sgd(const Map&);
    static void momentum(const Map&);
    static void nesterov(const Map&);
    static void adagrad(const Map&);
    static void rmsprop(const Map&);
    static void adam(const Map&);
    static void adamw(const Map&);
};

// Instantiated in simd/<isa>.cpp alone, with the flags of the set.
extern template struct Kernels<Scalar>;
extern template struct Kernels<Avx2>;
extern template struct Kernels<Avx512>;
extern template struct Kernels<Neon>;
extern template struct Kernels<Neon64>;
extern template struct Kernels<Helium>;

#if defined(FERRITE_FIXED_ISA)
#define FERRITE_ENTRIES(kernel) &Kernels<FERRITE_FIXED_ISA>::kernel
#elif defined(FERRITE_ISA_AVX512) && defined(FERRITE_ISA_AVX2)
#define FERRITE_ENTRIES(kernel) &Kernels<Scalar>::kernel, &Kernels<Avx2>::kernel, &Kernels<Avx512>::kernel
#elif defined(FERRITE_ISA_AVX512)
#define FERRITE_ENTRIES(kernel) &Kernels<Scalar>::kernel, &Kernels<Avx512>::kernel
#elif defined(FERRITE_ISA_AVX2)
#define FERRITE_ENTRIES(kernel) &Kernels<Scalar>::kernel, &Kernels<Avx2>::kernel
#else
#define FERRITE_ENTRIES(kernel) &Kernels<Scalar>::kernel
#endif

/// The kernels of the library as objects that steps refer to.
namespace kernels {
inline constexpr Kernel<Gemm> gemm{"gemm", {FERRITE_ENTRIES(gemm)}};
inline constexpr Kernel<DenseBackward> dense_backward{"dense_backward", {FERRITE_ENTRIES(dense_backward)}};
inline constexpr Kernel<SoftmaxArguments> softmax{"softmax", {FERRITE_ENTRIES(softmax)}};
inline constexpr Kernel<SoftmaxArguments> softmax_backward{"softmax_backward", {FERRITE_ENTRIES(softmax_backward)}};
inline constexpr Kernel<LossArguments> softmax_cross_entropy{"softmax_cross_entropy",
                                                             {FERRITE_ENTRIES(softmax_cross_entropy)}};
inline constexpr Kernel<LossArguments> binary_cross_entropy{"binary_cross_entropy",
                                                            {FERRITE_ENTRIES(binary_cross_entropy)}};
inline constexpr Kernel<LossArguments> mean_squared_error{"mean_squared_error",
                                                          {FERRITE_ENTRIES(mean_squared_error)}};
inline constexpr Kernel<LossArguments> huber{"huber", {FERRITE_ENTRIES(huber)}};
inline constexpr Kernel<SumOfSquares> sum_of_squares{"sum_of_squares", {FERRITE_ENTRIES(sum_of_squares)}};
inline constexpr Kernel<Normalization> batch_norm{"batch_norm", {FERRITE_ENTRIES(batch_norm)}};
inline constexpr Kernel<Normalization> batch_norm_inference{"batch_norm_inference", {FERRITE_ENTRIES(batch_norm_inference)}};
inline constexpr Kernel<Normalization> batch_norm_backward{"batch_norm_backward", {FERRITE_ENTRIES(batch_norm_backward)}};
inline constexpr Kernel<Normalization> layer_norm{"layer_norm", {FERRITE_ENTRIES(layer_norm)}};
inline constexpr Kernel<Normalization> layer_norm_backward{"layer_norm_backward", {FERRITE_ENTRIES(layer_norm_backward)}};
inline constexpr Kernel<DropoutArguments> dropout{"dropout", {FERRITE_ENTRIES(dropout)}};
inline constexpr Kernel<Pixels> pixels{"pixels", {FERRITE_ENTRIES(pixels)}};
/// y = 0 > x ? 0 : x (NaN stays NaN). Backward by y: dx = y <= 0 ? 0 : dy.
inline constexpr Kernel<Map> relu{"relu", {FERRITE_ENTRIES(relu)}, true};
inline constexpr Kernel<Map> relu_backward{"relu_backward", {FERRITE_ENTRIES(relu_backward)}, true};
/// y = x <= 0 ? constants[0] x : x, constants[0] > 0. Backward by y: dx = y <= 0 ? constants[0] dy : dy.
inline constexpr Kernel<Map> leaky_relu{"leaky_relu", {FERRITE_ENTRIES(leaky_relu)}};
inline constexpr Kernel<Map> leaky_relu_backward{"leaky_relu_backward", {FERRITE_ENTRIES(leaky_relu_backward)}};
/// y = 1 / (1 + exp(-x)). Backward by y: dx = dy (y (1 - y)).
inline constexpr Kernel<Map> sigmoid{"sigmoid", {FERRITE_ENTRIES(sigmoid)}};
inline constexpr Kernel<Map> sigmoid_backward{"sigmoid_backward", {FERRITE_ENTRIES(sigmoid_backward)}};
/// y = tanh(x). Backward by y: dx = dy (1 - y y).
inline constexpr Kernel<Map> tanh{"tanh", {FERRITE_ENTRIES(tanh)}};
inline constexpr Kernel<Map> tanh_backward{"tanh_backward", {FERRITE_ENTRIES(tanh_backward)}};
/// y = x s(x), s(x) = sigmoid(2 c (x + 0.044715 x^3)), c = sqrt(2 / pi): the tanh form of Hendrycks and Gimpel
/// (arXiv 1606.08415, section 2). Backward by x: dx = dy (s + x s (1 - s) 2 c (1 + 3 * 0.044715 x^2)),
/// without the second term where s has reached 0 or 1.
inline constexpr Kernel<Map> gelu{"gelu", {FERRITE_ENTRIES(gelu)}};
inline constexpr Kernel<Map> gelu_backward{"gelu_backward", {FERRITE_ENTRIES(gelu_backward)}};
/// y = constants[0] x. Backward: dx = constants[0] dy, with the operands of a forward map.
inline constexpr Kernel<Map> scale{"scale", {FERRITE_ENTRIES(scale)}};
/// The optimizers: formulas in optimizer.hpp, constants in UpdateConstants.
inline constexpr Kernel<Map> sgd{"sgd", {FERRITE_ENTRIES(sgd)}, false, true};
inline constexpr Kernel<Map> momentum{"momentum", {FERRITE_ENTRIES(momentum)}, false, true};
inline constexpr Kernel<Map> nesterov{"nesterov", {FERRITE_ENTRIES(nesterov)}, false, true};
inline constexpr Kernel<Map> adagrad{"adagrad", {FERRITE_ENTRIES(adagrad)}, false, true};
inline constexpr Kernel<Map> rmsprop{"rmsprop", {FERRITE_ENTRIES(rmsprop)}, false, true};
inline constexpr Kernel<Map> adam{"adam", {FERRITE_ENTRIES(adam)}, false, true};
inline constexpr Kernel<Map> adamw{"adamw", {FERRITE_ENTRIES(adamw)}, false, true};
}  // namespace kernels

/// c = a b for a (m, k), b (k, n), c (m, n), all of rank 2; c overlaps neither. `scratch`: empty, or
/// gemm_scratch_floats floats, which make large products faster. shape_mismatch: nothing is written.
[[nodiscard]] inline Status matmul(Tensor c, ConstTensor a, ConstTensor b, std::span<float> scratch = {}) noexcept {
    const Shape as = a.shape(), bs = b.shape(), cs = c.shape();
    if (as.rank != 2 || bs.rank != 2 || cs.rank != 2 || as[1] != bs[0] || cs[0] != as[0] || cs[1] != bs[1])
        return Status::shape_mismatch;
    if (!scratch.empty() && scratch.size() < gemm_scratch_floats) return Status::buffer_too_small;
    kernels::gemm({.a = a.data(), .a_row = as[1], .a_step = 1, .b = b.data(), .b_row = bs[1], .c = c.data(),
                   .c_row = cs[1], .m = as[0], .n = bs[1], .k = as[1], .bias = nullptr, .epilogue = nullptr,
                   .constants = nullptr, .scratch = scratch.data()});
    return Status::ok;
}

}  // namespace ferrite
