// SPDX-License-Identifier: MIT
// THE list of cases: ferrite_bench times them, device/ counts their instructions, the tests check them bit
// for bit. `target`: the share of the limit, in percent, that a case should reach; 0 where none is set. A
// target that was set in samples a second is taken here as the share of the limit of the machine it was set
// on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ferrite/optimizer.hpp>
#include <string>
#include <vector>

namespace ferrite::bench {

/// The products of y = x W + b, and c = a b alone. x: (batch, inputs), W: (inputs, outputs).
enum class Product : std::uint8_t {
    plain,    ///< c = a b: (batch, inputs) (inputs, outputs)
    forward,  ///< y = x W + b
    weights,  ///< dW = xT dy
    inputs    ///< dx = dy WT
};

struct ProductCase {
    const char* group;
    Product product;
    std::uint32_t batch, inputs, outputs;
    double target;

    [[nodiscard]] std::string name() const {
        return std::string("product/") + group + '/' + std::to_string(batch) + 'x' + std::to_string(inputs) +
               'x' + std::to_string(outputs);
    }
    [[nodiscard]] double multiply_adds() const { return double{1} * batch * inputs * outputs; }

    // As c (m, n) = op(a) op(b), row-major; a is (k, m) and b is (n, k) where they are transposed.
    [[nodiscard]] bool transposes_a() const { return product == Product::weights; }
    [[nodiscard]] bool transposes_b() const { return product == Product::inputs; }
    [[nodiscard]] bool has_bias() const { return product == Product::forward; }
    [[nodiscard]] std::size_t m() const { return product == Product::weights ? inputs : batch; }
    [[nodiscard]] std::size_t n() const { return product == Product::inputs ? inputs : outputs; }
    [[nodiscard]] std::size_t k() const {
        return product == Product::weights ? batch : product == Product::inputs ? outputs : inputs;
    }
    [[nodiscard]] std::size_t scratch_floats() const {
        return std::max(gemm_scratch_floats, dense_scratch_floats(outputs, batch));
    }

    /// Calls the library: a plain product as matmul() with scratch does, the others as Dense does.
    void run(const float* a, const float* b, const float* bias, float* c, float* scratch) const {
        if (product == Product::plain || product == Product::forward) {
            Gemm g{};
            g.a = a;
            g.a_row = inputs;
            g.a_step = 1;
            g.b = b;
            g.b_row = outputs;
            g.c = c;
            g.c_row = outputs;
            g.m = batch;
            g.n = outputs;
            g.k = inputs;
            g.bias = has_bias() ? bias : nullptr;
            g.scratch = product == Product::plain ? scratch : nullptr;
            kernels::gemm(g);
            return;
        }
        DenseBackward d{};
        const bool weights = product == Product::weights;
        d.x = weights ? a : nullptr;
        d.dy = weights ? b : a;
        d.w = weights ? nullptr : const_cast<float*>(b);  // is read only
        d.batch = batch;
        d.inputs = d.row = inputs;
        d.outputs = outputs;
        d.dw = weights ? c : nullptr;
        d.dx = weights ? nullptr : c;
        d.scratch = scratch;
        kernels::dense_backward(d);
    }
};

inline std::vector<ProductCase> product_cases() {
    std::vector<ProductCase> cases;
    for (const std::uint32_t n : {64u, 128u, 256u, 512u, 1024u})
        cases.push_back({"cube", Product::plain, n, n, n, n == 1024 ? 94.0 : 97.0});

    struct Layer {
        std::uint32_t inputs, outputs;
    };
    constexpr Layer layers[] = {{784, 100}, {100, 100}, {784, 512}, {512, 512}};
    for (const std::uint32_t batch : {32u, 64u, 100u, 128u, 256u})
        for (const Layer l : layers)
            cases.push_back({"xW", Product::forward, batch, l.inputs, l.outputs,
                             batch == 100 && l.inputs == 784 && l.outputs == 100 ? 93.0 : 95.0});
    for (const std::uint32_t batch : {32u, 100u, 256u})
        for (const Layer l : layers)
            cases.push_back({"xTdy", Product::weights, batch, l.inputs, l.outputs, 94});
    for (const std::uint32_t batch : {32u, 100u, 256u})
        for (const Layer l : layers)
            cases.push_back({"dyWT", Product::inputs, batch, l.inputs, l.outputs, 94});

    for (const std::uint32_t batch : {32u, 100u, 256u})
        for (const std::uint32_t inputs : {100u, 512u})
            cases.push_back({"outputs10", Product::forward, batch, inputs, 10, 78});
    for (const std::uint32_t batch : {100u, 256u}) {
        cases.push_back({"outputs10_xTdy", Product::weights, batch, 100, 10, 0});
        cases.push_back({"outputs10_dyWT", Product::inputs, batch, 100, 10, 0});
    }

    for (const Layer l : {Layer{784, 100}, Layer{100, 100}}) {
        cases.push_back({"batch10_xW", Product::forward, 10, l.inputs, l.outputs, 0});
        cases.push_back({"batch10_xTdy", Product::weights, 10, l.inputs, l.outputs, 0});
    }
    cases.push_back({"batch10_dyWT", Product::inputs, 10, 100, 100, 0});
    for (const Layer l : {Layer{784, 512}, Layer{512, 512}})
        cases.push_back({"batch8", Product::forward, 8, l.inputs, l.outputs, 97});
    // Every weight is used once, so reading W is the limit.
    for (const Layer l : {Layer{784, 100}, Layer{100, 100}, Layer{512, 512}, Layer{100, 10}, Layer{784, 10},
                          Layer{64, 64}, Layer{128, 128}})
        cases.push_back({"batch1", Product::forward, 1, l.inputs, l.outputs,
                         l.inputs == 784 && l.outputs == 100 ? 93.0 : 0});
    return cases;
}

inline constexpr Optimizer optimizers[] = {Sgd{},     Momentum{}, Nesterov{}, AdaGrad{},
                                           RmsProp{}, Adam{},     AdamW{}};

/// One pass of an optimizer over `size` parameters.
struct OptimizerCase {
    Optimizer optimizer;
    std::uint32_t size;
    double target;

    [[nodiscard]] std::string name() const {
        return "optimizer/" + std::to_string(size) + '/' + optimizer.name;
    }
};

inline std::vector<OptimizerCase> optimizer_cases() {
    std::vector<OptimizerCase> cases;
    for (const std::uint32_t size : {1000u, 100000u})
        for (const Optimizer& o : optimizers) {
            const bool adam = o.state_slots == 2;
            cases.push_back({o, size, size > 1000 ? 90.0 : adam ? 65.0 : 0});
        }
    return cases;
}

/// The weight gradient of one Dense, through the nearest cache, into its optimizer.
struct UpdateCase {
    Optimizer optimizer;
    std::uint32_t batch, inputs, outputs;

    [[nodiscard]] std::string name() const {
        return "dense_update/" + std::to_string(batch) + 'x' + std::to_string(inputs) + 'x' +
               std::to_string(outputs) + '/' + optimizer.name;
    }
};

inline std::vector<UpdateCase> update_cases() {
    std::vector<UpdateCase> cases;
    for (const std::uint32_t batch : {1u, 10u, 100u})
        for (const Optimizer& o : optimizers) cases.push_back({o, batch, 784, 100});
    return cases;
}

/// A network of Dense layers with Relu between them, behind a BatchNorm if so.
struct Net {
    const char* name;
    std::vector<std::uint32_t> units;  ///< inputs first, classes last
    bool batch_norm = false;

    [[nodiscard]] std::size_t weights() const {
        std::size_t count = 0;
        for (std::size_t i = 1; i < units.size(); ++i) count += std::size_t{units[i - 1]} * units[i];
        return count;
    }
    /// Of a training step: the products, without the gradient of the network's input, which nobody needs.
    [[nodiscard]] double flops_per_sample() const {
        double flops = 0;
        for (std::size_t i = 1; i < units.size(); ++i)
            flops +=
                2.0 * units[i - 1] * units[i] * (i == 1 ? 2 : 3);  // y, dW and, above the first layer, dx
        return flops;
    }
};

inline Net net_30() { return {"784-30-10", {784, 30, 10}}; }
inline Net net_100x4() { return {"784-100x4-10", {784, 100, 100, 100, 100, 10}}; }
inline Net net_100x6_batch_norm() {
    return {"784-100x6-10+BatchNorm", {784, 100, 100, 100, 100, 100, 100, 10}, true};
}
inline Net net_512x2() { return {"784-512-512-10", {784, 512, 512, 10}}; }

/// A whole training step: forward, loss, backward, update.
struct TrainingCase {
    Net net;
    Optimizer optimizer;
    std::uint32_t batch;
    double target;

    [[nodiscard]] std::string name() const {
        return std::string("train/") + net.name + '/' + optimizer.name + "/batch:" + std::to_string(batch);
    }
};

inline std::vector<TrainingCase> training_cases() {
    // Samples a second at the FMA limit of the machine on which the targets were set.
    constexpr double limit_100x4 = 236600, limit_100x6 = 190800;
    const auto share = [](double samples, double limit) { return 100 * samples / limit; };
    return {{net_100x4(), Sgd{}, 1, share(95000, limit_100x4)},
            {net_100x4(), Sgd{}, 10, share(190000, limit_100x4)},
            {net_100x4(), Sgd{}, 100, share(212000, limit_100x4)},
            {net_100x4(), Adam{}, 1, share(36000, limit_100x4)},
            {net_100x4(), Adam{}, 10, share(150000, limit_100x4)},
            {net_100x4(), Adam{}, 100, share(205000, limit_100x4)},
            {net_100x6_batch_norm(), Sgd{}, 10, share(140000, limit_100x6)},
            {net_100x6_batch_norm(), Sgd{}, 100, share(165000, limit_100x6)},
            {net_512x2(), Sgd{}, 256, 0},
            {net_30(), Sgd{}, 1, 0},
            {net_30(), Sgd{}, 10, 0},
            {net_30(), Adam{}, 1, 0},
            {net_30(), Adam{}, 10, 0}};
}

/// predict() for one sample; the limit is reading all weights once. 1.13 times its time is the target.
struct InferenceCase {
    Net net;
    std::uint32_t batch;
    double target;

    [[nodiscard]] std::string name() const {
        return std::string("predict/") + net.name + "/batch:" + std::to_string(batch);
    }
};
inline std::vector<InferenceCase> inference_cases() { return {{net_100x4(), 1, 100 / 1.13}}; }

}  // namespace ferrite::bench
