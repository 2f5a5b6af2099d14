// SPDX-License-Identifier: MIT
// Runs the cases of cases.hpp once each, between the marks at which the emulator counts: a firmware image or
// a Linux program. For each it prints a line "case,units,unit": of how many of what the count is.
#include <cstdio>
#include <string>

#include "../operands.hpp"
#include "marks.hpp"

namespace {

namespace fe = ferrite;
using namespace fe::bench;

/// Multiply-adds of a case that an emulator does in a moment.
constexpr double affordable = 26e6;

template <class Call>
[[gnu::noinline]] void count(const std::string& name, double units, const char* unit, Call call) {
    std::printf("%s,%.0f,%s\n", name.c_str(), units, unit);
    begin();
    call();
    end();
}

void count_functions() {
    struct Function {
        const fe::Kernel<fe::Map>* kernel;
        float high;
    };
    constexpr std::size_t size = 1024;
    for (const Function f : {Function{&fe::kernels::tanh, 5}, Function{&fe::kernels::sigmoid, 10}}) {
        Floats x = numbers(size, 1, -f.high, f.high), y(size);
        const fe::Map map{{y.data(), x.data(), nullptr, nullptr}, {size, size, 0, 0}, 1, size, nullptr};
        count(std::string("elementary/") + f.kernel->name, size, "element", [&] { (*f.kernel)(map); });
    }
}

}  // namespace

int main() {
    // What the counter has to say exactly.
    count("counter/nothing", 1, "mark", [] {});
    count("counter/loop", 2001, "instruction", [] {
        std::size_t rounds;
        asm volatile("mov %0, #1000\n1: subs %0, %0, #1\n bne 1b" : "=r"(rounds) : : "cc");
    });

    for (const ProductCase& p : product_cases()) {
        if (p.multiply_adds() > affordable) continue;
        ProductOperands o(p);
        count(p.name(), p.multiply_adds(), "multiply-add",
              [&] { p.run(o.a.data(), o.b.data(), o.bias.data(), o.c.data(), o.scratch.data()); });
    }
    for (const UpdateCase& c : update_cases()) {
        DenseUpdateOperands o(c, 0.01f);
        count(c.name(), double{1} * c.batch * c.inputs * c.outputs, "multiply-add",
              [&] { fe::kernels::dense_backward(o.arguments); });
    }
    for (const OptimizerCase& c : optimizer_cases()) {
        OptimizerOperands o(c.optimizer, c.size);
        const fe::Map map = o.map(c.size);
        count(c.name(), c.size, "parameter", [&] { (*c.optimizer.update)(map); });
    }
    count_functions();
    for (const TrainingCase& c : training_cases()) {
        if (c.batch * c.net.flops_per_sample() / 2 > affordable) continue;
        TrainingRun run(c, c.batch);
        if (!run.ready()) return 1;
        float loss = 0;
        count(c.name(), 1, "step", [&] { loss = run.step(); });
        if (!std::isfinite(loss)) return 1;
    }
    for (const InferenceCase& c : inference_cases()) {
        Prediction predict(c);
        if (!predict.ready()) return 1;
        count(c.name(), c.batch, "sample", [&] { (void)predict(); });
    }
    return 0;
}
