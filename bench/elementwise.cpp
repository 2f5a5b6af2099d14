// SPDX-License-Identifier: MIT
// What is neither a product nor an optimizer: activations over the hidden layer of a batch of 100, softmax,
// the losses, batch normalization and dropout, against a pass that moves the same streams. Each is checked
// against its formula in double precision and, bit for bit, against the scalar kernel.
#include <cmath>

#include "bench.hpp"

namespace ferrite::bench {

namespace {

constexpr std::size_t rows = 100, columns = 100;

double wide(float x) { return static_cast<double>(x); }

/// Within 1e-5 of a double-precision result, relative to at least 1.
bool close(float value, double expected) {
    return std::abs(wide(value) - expected) <= 1e-5 * (1 + std::abs(expected));
}

struct Activation {
    const Kernel<Map>* forward;
    const Kernel<Map>* backward;
    double (*f)(double x);
    double (*derivative)(double x);
    bool keeps_input;  ///< the backward pass is a function of x, not of y
};

double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double gelu_inner(double x) { return 0.7978845608028654 * (x + 0.044715 * x * x * x); }

constexpr float slope = 0.125f;

const Activation activations[] = {
    {&kernels::relu, &kernels::relu_backward, [](double x) { return x > 0 ? x : 0; },
     [](double x) { return x > 0 ? 1.0 : 0.0; }, false},
    {&kernels::leaky_relu, &kernels::leaky_relu_backward,
     [](double x) { return x > 0 ? x : wide(slope) * x; }, [](double x) { return x > 0 ? 1 : wide(slope); },
     false},
    {&kernels::sigmoid, &kernels::sigmoid_backward, logistic,
     [](double x) { return logistic(x) * (1 - logistic(x)); }, false},
    {&kernels::tanh, &kernels::tanh_backward, [](double x) { return std::tanh(x); },
     [](double x) { return 1 - std::tanh(x) * std::tanh(x); }, false},
    {&kernels::gelu, &kernels::gelu_backward,
     [](double x) { return 0.5 * x * (1 + std::tanh(gelu_inner(x))); },
     [](double x) {
         const double t = std::tanh(gelu_inner(x));
         return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
     },
     true},
};

constexpr const char* moving = "moving the same streams";
constexpr const char* not_scalar = "the result differs from that of the scalar kernel";

/// `limit` moves the streams of `run` over limit_elements(size) elements.
template <class Run, class Limit>
void time(benchmark::State& state, std::size_t size, std::size_t streams, const Run& run,
          const Limit& limit) {
    const Result r =
        compare_with_bandwidth(state, size, 4.0 * static_cast<double>(streams), 0, run, moving, limit);
    state.counters["ns/element"] = 1e9 * r.own.seconds / static_cast<double>(size);
}

/// The limit of what reads `size` elements and writes as many.
class Copy {
  public:
    explicit Copy(std::size_t size) : from_(numbers(limit_elements(size), 9)), to_(from_.size()) {}
    void operator()() {
        move({.operand = {to_.data(), from_.data(), nullptr, nullptr},
              .stride = {},
              .rows = 1,
              .columns = to_.size(),
              .constants = nullptr});
    }

  private:
    Floats from_, to_;
};

/// The limit of what reads two arrays of `size` elements and writes a third.
class Combine {
  public:
    explicit Combine(std::size_t size)
        : a_(numbers(limit_elements(size), 8)), b_(numbers(limit_elements(size), 9)), to_(a_.size()) {}
    void operator()() {
        move_backward({.operand = {to_.data(), a_.data(), b_.data(), nullptr},
                       .stride = {},
                       .rows = 1,
                       .columns = to_.size(),
                       .constants = nullptr});
    }

  private:
    Floats a_, b_, to_;
};

void activate(benchmark::State& state, const Activation& a, bool backward) {
    constexpr std::size_t size = rows * columns;
    Floats x = numbers(limit_elements(size), 1, -4, 4), dy = numbers(limit_elements(size), 2);
    Floats y(limit_elements(size)), dx(limit_elements(size));
    const float constants[8] = {slope};
    Floats scalar_y(y.size()), scalar_dx(dx.size());
    Map forward_map{
        {y.data(), x.data(), nullptr, nullptr}, {columns, columns, 0, 0}, rows, columns, constants};
    Map scalar_map = forward_map;
    scalar_map.operand[0] = scalar_y.data();
    if (!same_as_scalar(*a.forward, forward_map, scalar_map, {&y}, {&scalar_y}))
        return fail(state, not_scalar);
    const Map backward_map{{dx.data(), dy.data(), a.keeps_input ? x.data() : y.data(), nullptr},
                           {columns, columns, columns, 0},
                           rows,
                           columns,
                           constants};
    scalar_map = backward_map;
    scalar_map.operand[0] = scalar_dx.data();
    if (!same_as_scalar(*a.backward, backward_map, scalar_map, {&dx}, {&scalar_dx}))
        return fail(state, not_scalar);
    for (std::size_t i = 0; i < size; ++i)
        if (!close(y[i], a.f(wide(x[i]))) || !close(dx[i], wide(dy[i]) * a.derivative(wide(x[i]))))
            return fail(state, "an element differs from the formula in double precision");
    if (backward)
        time(
            state, size, 3, [&] { (*a.backward)(backward_map); }, Combine(size));
    else
        time(
            state, size, 2, [&] { (*a.forward)(forward_map); }, Copy(size));
}

/// The sum of exp(x - max x) over a row, and that maximum.
struct RowSum {
    double top, sum;
};
RowSum row_sum(const float* x, std::size_t n) {
    RowSum r{wide(*std::max_element(x, x + n)), 0};
    for (std::size_t i = 0; i < n; ++i) r.sum += std::exp(wide(x[i]) - r.top);
    return r;
}

void softmax(benchmark::State& state, std::size_t width) {
    const std::size_t size = rows * width;
    const Floats x = numbers(size, 1, -4, 4);
    Floats y(size), scalar_y(size);
    const SoftmaxArguments arguments{x.data(), nullptr, y.data(), rows, width};
    if (!same_as_scalar(kernels::softmax, arguments, {x.data(), nullptr, scalar_y.data(), rows, width}, {&y},
                        {&scalar_y}))
        return fail(state, not_scalar);
    for (std::size_t i = 0; i < size; ++i) {
        const RowSum row = row_sum(x.data() + i / width * width, width);
        if (!close(y[i], std::exp(wide(x[i]) - row.top) / row.sum))
            return fail(state, "a probability differs from the formula in double precision");
    }
    time(
        state, size, 2, [&] { kernels::softmax(arguments); }, Copy(size));
}

void softmax_backward(benchmark::State& state, std::size_t width) {
    const std::size_t size = rows * width;
    const Floats dy = numbers(size, 2);
    Floats p = numbers(size, 1, -4, 4);
    kernels::softmax({p.data(), nullptr, p.data(), rows, width});
    Floats dx(size), scalar_dx(size);
    const SoftmaxArguments arguments{p.data(), dy.data(), dx.data(), rows, width};
    if (!same_as_scalar(kernels::softmax_backward, arguments,
                        {p.data(), dy.data(), scalar_dx.data(), rows, width}, {&dx}, {&scalar_dx}))
        return fail(state, not_scalar);
    for (std::size_t r = 0; r < rows; ++r) {
        const std::size_t first = r * width;
        double mean = 0;
        for (std::size_t c = 0; c < width; ++c) mean += wide(p[first + c]) * wide(dy[first + c]);
        for (std::size_t c = 0; c < width; ++c)
            if (!close(dx[first + c], wide(p[first + c]) * (wide(dy[first + c]) - mean)))
                return fail(state, "a gradient differs from the formula in double precision");
    }
    time(
        state, size, 3, [&] { kernels::softmax_backward(arguments); }, Combine(size));
}

void cross_entropy(benchmark::State& state, std::size_t width) {
    const std::size_t size = rows * width;
    const Floats z = numbers(size, 1, -4, 4);
    Floats dz(size), scalar_dz(size), loss(1), scalar_loss(1);
    std::vector<std::uint16_t> labels(rows);
    for (std::size_t r = 0; r < rows; ++r) labels[r] = static_cast<std::uint16_t>(7 * r % width);
    const LossArguments arguments{.z = z.data(),
                                  .labels = labels.data(),
                                  .targets = nullptr,
                                  .dz = dz.data(),
                                  .loss = loss.data(),
                                  .rows = rows,
                                  .columns = width,
                                  .constant = 0};
    LossArguments scalar = arguments;
    scalar.dz = scalar_dz.data();
    scalar.loss = scalar_loss.data();
    if (!same_as_scalar(kernels::softmax_cross_entropy, arguments, scalar, {&dz, &loss},
                        {&scalar_dz, &scalar_loss}))
        return fail(state, not_scalar);
    double expected = 0;
    bool right = true;
    for (std::size_t r = 0; r < rows; ++r) {
        const float* row = z.data() + r * width;
        const RowSum s = row_sum(row, width);
        expected += (std::log(s.sum) + s.top - wide(row[labels[r]])) / rows;
        for (std::size_t i = 0; i < width; ++i)
            right = right && close(dz[r * width + i] * static_cast<float>(rows),
                                   std::exp(wide(row[i]) - s.top) / s.sum - (i == labels[r] ? 1 : 0));
    }
    if (!right || !close(loss[0], expected))
        return fail(state, "the loss differs from the formula in double precision");
    time(
        state, size, 2, [&] { kernels::softmax_cross_entropy(arguments); }, Copy(size));
}

/// A loss that compares with values: of one element, and its derivative.
struct TargetLoss {
    const Kernel<LossArguments>* kernel;
    double (*loss)(double z, double t);
    double (*slope)(double z, double t);
};

constexpr double huber_delta = 0.5;

const TargetLoss target_losses[] = {
    {&kernels::mean_squared_error, [](double z, double t) { return (z - t) * (z - t); },
     [](double z, double t) { return 2 * (z - t); }},
    {&kernels::binary_cross_entropy,
     [](double z, double t) { return std::max(z, 0.0) - z * t + std::log1p(std::exp(-std::abs(z))); },
     [](double z, double t) { return logistic(z) - t; }},
    {&kernels::huber,
     [](double z, double t) {
         const double e = std::abs(z - t);
         return e <= huber_delta ? e * e / 2 : huber_delta * (e - huber_delta / 2);
     },
     [](double z, double t) { return std::min(huber_delta, std::max(-huber_delta, z - t)); }},
};

void target_loss(benchmark::State& state, const TargetLoss& l) {
    constexpr std::size_t size = rows * columns;
    const Floats z = numbers(size, 1, -2, 2), t = numbers(size, 2, 0, 1);
    Floats dz(size), scalar_dz(size), loss(1), scalar_loss(1);
    const LossArguments arguments{.z = z.data(),
                                  .labels = nullptr,
                                  .targets = t.data(),
                                  .dz = dz.data(),
                                  .loss = loss.data(),
                                  .rows = rows,
                                  .columns = columns,
                                  .constant = static_cast<float>(huber_delta)};
    LossArguments scalar = arguments;
    scalar.dz = scalar_dz.data();
    scalar.loss = scalar_loss.data();
    if (!same_as_scalar(*l.kernel, arguments, scalar, {&dz, &loss}, {&scalar_dz, &scalar_loss}))
        return fail(state, not_scalar);
    double expected = 0;
    bool right = true;
    for (std::size_t i = 0; i < size; ++i) {
        expected += l.loss(wide(z[i]), wide(t[i])) / size;
        right = right && close(dz[i] * static_cast<float>(size), l.slope(wide(z[i]), wide(t[i])));
    }
    if (!right || !close(loss[0], expected))
        return fail(state, "the loss differs from the formula in double precision");
    time(
        state, size, 3, [&] { (*l.kernel)(arguments); }, Combine(size));
}

/// What a normalization of (rows, columns) has and writes.
struct Normalized {
    Floats x = numbers(rows * columns, 1, -3, 3), dy = numbers(rows * columns, 2), y = Floats(rows * columns);
    Floats gamma = numbers(columns, 3, 0.5f, 2), beta = numbers(columns, 4), mean = Floats(columns);
    Floats inverse = Floats(columns), running_mean = Floats(columns),
           running_variance = Floats(columns, 1.0f);
    Floats dgamma = Floats(columns), dbeta = Floats(columns);

    [[nodiscard]] Normalization arguments() {
        Normalization n{};
        n.x = x.data();
        n.dy = dy.data();
        n.y = y.data();
        n.gamma = gamma.data();
        n.beta = beta.data();
        n.mean = mean.data();
        n.inverse = inverse.data();
        n.running_mean = running_mean.data();
        n.running_variance = running_variance.data();
        n.dgamma = dgamma.data();
        n.dbeta = dbeta.data();
        n.rows = rows;
        n.columns = n.row = columns;
        n.epsilon = 1e-5f;
        n.momentum = 0.9f;
        return n;
    }
};

void batch_norm(benchmark::State& state, bool backward) {
    Normalized own, scalar;
    if (!same_as_scalar(
            kernels::batch_norm, own.arguments(), scalar.arguments(),
            {&own.y, &own.mean, &own.inverse, &own.running_mean, &own.running_variance},
            {&scalar.y, &scalar.mean, &scalar.inverse, &scalar.running_mean, &scalar.running_variance}))
        return fail(state, not_scalar);
    Floats y = own.y;
    if (!same_as_scalar(kernels::batch_norm_backward, own.arguments(), scalar.arguments(),
                        {&own.y, &own.dgamma, &own.dbeta}, {&scalar.y, &scalar.dgamma, &scalar.dbeta}))
        return fail(state, not_scalar);
    for (std::size_t c = 0; c < columns; ++c) {
        double mean = 0, variance = 0, dgamma = 0, dbeta = 0;
        for (std::size_t r = 0; r < rows; ++r) mean += wide(own.x[r * columns + c]) / rows;
        for (std::size_t r = 0; r < rows; ++r)
            variance += (wide(own.x[r * columns + c]) - mean) * (wide(own.x[r * columns + c]) - mean) / rows;
        const double inverse = 1 / std::sqrt(variance + 1e-5);
        const auto xhat = [&](std::size_t i) { return (wide(own.x[i]) - mean) * inverse; };
        for (std::size_t i = c; i < rows * columns; i += columns) {
            dgamma += wide(own.dy[i]) * xhat(i);
            dbeta += wide(own.dy[i]);
        }
        for (std::size_t i = c; i < rows * columns; i += columns)
            if (!close(y[i], wide(own.gamma[c]) * xhat(i) + wide(own.beta[c])) ||
                !close(own.y[i], wide(own.gamma[c]) * inverse *
                                     (wide(own.dy[i]) - dbeta / rows - xhat(i) * dgamma / rows)))
                return fail(state, "an element differs from the formula in double precision");
    }
    constexpr std::size_t size = rows * columns;
    const Normalization arguments = own.arguments();
    if (backward)
        time(
            state, size, 3, [&] { kernels::batch_norm_backward(arguments); }, Combine(size));
    else
        time(
            state, size, 2, [&] { kernels::batch_norm(arguments); }, Copy(size));
}

void dropout(benchmark::State& state) {
    constexpr std::size_t size = rows * columns;
    constexpr std::uint64_t first = 12345;
    const Floats x = numbers(size, 1, 1, 2);
    Floats y(size), scalar_y(size);
    const DropoutArguments arguments{.x = x.data(),
                                     .y = y.data(),
                                     .size = size,
                                     .random = Random(Seed{1}, 7),
                                     .first = first,
                                     .threshold = 1u << 22,  // a quarter
                                     .scale = 4.0f / 3};
    DropoutArguments scalar = arguments;
    scalar.y = scalar_y.data();
    if (!same_as_scalar(kernels::dropout, arguments, scalar, {&y}, {&scalar_y}))
        return fail(state, not_scalar);
    for (std::size_t i = 0; i < size; ++i)
        if (y[i] != (arguments.random.uniform(first + i) > 0.25f ? 4.0f / 3 * x[i] : 0.0f))
            return fail(state, "an element differs from the formula");
    time(
        state, size, 2, [&] { kernels::dropout(arguments); }, Copy(size));
}

}  // namespace

void add_elementwise() {
    for (const Activation& a : activations) {
        add(text("map/forward/", a.forward->name), [&a](benchmark::State& s) { activate(s, a, false); });
        add(text("map/backward/", a.backward->name), [&a](benchmark::State& s) { activate(s, a, true); });
    }
    for (const std::size_t width : {10u, 1000u}) {
        const std::string shape = text("/", rows, "x", width);
        add("map/forward/softmax" + shape, [width](benchmark::State& s) { softmax(s, width); });
        add("map/backward/softmax" + shape, [width](benchmark::State& s) { softmax_backward(s, width); });
        add("loss/softmax_cross_entropy" + shape, [width](benchmark::State& s) { cross_entropy(s, width); });
    }
    for (const TargetLoss& l : target_losses)
        add(text("loss/", l.kernel->name, "/", rows, "x", columns),
            [&l](benchmark::State& s) { target_loss(s, l); });
    add("batch_norm/forward", [](benchmark::State& s) { batch_norm(s, false); });
    add("batch_norm/backward", [](benchmark::State& s) { batch_norm(s, true); });
    add("dropout", [](benchmark::State& s) { dropout(s); });
}

}  // namespace ferrite::bench
