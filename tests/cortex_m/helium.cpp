// SPDX-License-Identifier: MIT
// Kernels of Helium where a read too far is a fault, as each operand in turn ends where a memory does, and under interrupts whose
// handler uses the same registers, masks and loops. FERRITE_TEST_BEYOND, 0 or 1: instead the proof that the memory ends there.
#include <ferrite/kernels.hpp>
#include <ferrite/optimizer.hpp>
#include <platform.hpp>

#include <bit>

namespace fe = ferrite;

namespace {

constexpr std::size_t room = 4096;
float pool[8][room];
int failures = 0;

void check(bool right, const char* what) {
    if (right || ++failures > 10) return;
    fe::platform::write(what);
    fe::platform::write(": wrong\n");
}
bool same(const float* a, const float* b, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
    return true;
}

/// Operand `number` of n floats: the one of number `at_end` ends where the memory does.
float* operand(std::size_t number, std::size_t at_end, std::size_t n) {
    float* const p = number == at_end ? reinterpret_cast<float*>(FERRITE_TEST_MEMORY_END) - n : pool[number];
    for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<float>((i * 37 + number * 11 + n) % 101) * 0.02f - 1.0f;
    return p;
}

/// expected(i, j) = chain over p of fma(a(i, p), b(p, j), .) from start(j).
void chains(const float* a, std::size_t a_row, std::size_t a_step, const float* b, std::size_t b_row, std::size_t b_step,
            const float* start, std::size_t m, std::size_t n, std::size_t k, float* expected) {
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            float sum = start == nullptr ? 0.0f : start[j];
            for (std::size_t p = 0; p < k; ++p) sum = __builtin_fmaf(a[i * a_row + p * a_step], b[p * b_row + j * b_step], sum);
            expected[i * n + j] = sum;
        }
}

void product(std::size_t m, std::size_t n, std::size_t k, bool transposed, std::size_t at_end) {
    float *a = operand(0, at_end, m * k), *b = operand(1, at_end, k * n);
    float *bias = operand(2, at_end, n), *c = operand(3, at_end, m * n);
    const std::size_t a_row = transposed ? 1 : k, a_step = transposed ? m : 1;
    chains(a, a_row, a_step, b, n, 1, bias, m, n, k, pool[7]);
    fe::kernels::gemm({.a = a, .a_row = a_row, .a_step = a_step, .b = b, .b_row = n, .c = c, .c_row = n, .m = m, .n = n, .k = k,
                       .bias = bias, .epilogue = nullptr, .constants = nullptr, .scratch = nullptr});
    check(same(c, pool[7], m * n), "gemm");
}

void backward(std::size_t batch, std::size_t inputs, std::size_t outputs, std::size_t at_end) {
    const float *x = operand(0, at_end, batch * inputs), *dy = operand(1, at_end, batch * outputs);
    float *w = operand(2, at_end, inputs * outputs), *dx = operand(3, at_end, batch * inputs);
    float *dw = operand(4, at_end, inputs * outputs), *scratch = operand(5, at_end, fe::dense_scratch_floats(outputs, batch));
    fe::kernels::dense_backward({.x = x, .dy = dy, .w = w, .b = nullptr, .batch = batch, .inputs = inputs, .outputs = outputs,
                                 .row = inputs, .dx = dx, .aux = nullptr, .derivative = nullptr, .derivative_constants = nullptr,
                                 .dw = dw, .db = nullptr, .update = nullptr, .w_state = {}, .b_state = {}, .w_constants = nullptr,
                                 .b_constants = nullptr, .scratch = scratch});
    chains(dy, outputs, 1, w, 1, outputs, nullptr, batch, inputs, outputs, pool[7]);
    check(same(dx, pool[7], batch * inputs), "dx");
    chains(x, 1, inputs, dy, outputs, 1, nullptr, inputs, outputs, batch, pool[7]);
    check(same(dw, pool[7], inputs * outputs), "dw");
}

/// A training: the derivative of Relu, columns of a wider x, dx and aux, W and b through the optimizer.
void update(std::size_t batch, std::size_t inputs, std::size_t outputs, std::size_t at_end) {
    const std::size_t row = inputs + 3, wide = (batch - 1) * row + inputs;
    const float *x = operand(0, at_end, wide), *dy = operand(1, at_end, batch * outputs), *aux = operand(2, at_end, wide);
    float *w = operand(3, at_end, inputs * outputs), *b = operand(4, at_end, outputs), *dx = operand(5, at_end, wide);
    float* const scratch = operand(6, at_end, fe::dense_scratch_floats(outputs, batch));
    float *const expected_dx = pool[7], *const expected_w = pool[7] + 1024, *const expected_b = pool[7] + 2048;
    const fe::UpdateConstants constants{.weight_decay = 0.25f, .rate = 0.5f};

    const auto step = [&](float p, float g) { return __builtin_fmaf(-constants.rate, fe::effective_gradient(constants, p, g), p); };
    chains(dy, outputs, 1, w, 1, outputs, nullptr, batch, inputs, outputs, expected_dx);
    chains(x, 1, row, dy, outputs, 1, nullptr, inputs, outputs, batch, expected_w);
    for (std::size_t i = 0; i < inputs * outputs; ++i) expected_w[i] = step(w[i], expected_w[i]);
    for (std::size_t o = 0; o < outputs; ++o) {
        float sum = 0;
        for (std::size_t r = 0; r < batch; ++r) sum += dy[r * outputs + o];
        expected_b[o] = step(b[o], sum);
    }
    fe::kernels::dense_backward({.x = x, .dy = dy, .w = w, .b = b, .batch = batch, .inputs = inputs, .outputs = outputs, .row = row,
                                 .dx = dx, .aux = aux, .derivative = &fe::kernels::relu_backward, .derivative_constants = nullptr,
                                 .dw = nullptr, .db = nullptr, .update = &fe::kernels::sgd, .w_state = {}, .b_state = {},
                                 .w_constants = &constants.gradient_scale, .b_constants = &constants.gradient_scale,
                                 .scratch = scratch});
    for (std::size_t r = 0; r < batch; ++r)
        for (std::size_t i = 0; i < inputs; ++i) {
            float& e = expected_dx[r * inputs + i];
            if (aux[r * row + i] <= 0) e = 0;
            check(same(dx + r * row + i, &e, 1), "dx behind Relu");
        }
    check(same(w, expected_w, inputs * outputs), "W");
    check(same(b, expected_b, outputs), "b");
}

void maps(std::size_t n, std::size_t at_end) {
    float *y = operand(0, at_end, n), *x = operand(1, at_end, n);
    const fe::Map map{.operand = {y, x, nullptr, nullptr}, .stride = {n, n, 0, 0}, .rows = 1, .columns = n, .constants = nullptr};
    fe::kernels::relu(map);
    for (std::size_t i = 0; i < n; ++i) check(y[i] == (x[i] > 0 ? x[i] : 0.0f), "relu");

    auto* const bytes = reinterpret_cast<std::uint8_t*>(FERRITE_TEST_MEMORY_END) - n;
    for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::uint8_t>(200 + i);
    fe::kernels::pixels({.x = bytes, .y = pool[0], .size = n});
    for (std::size_t i = 0; i < n; ++i) check(pool[0][i] == static_cast<float>(bytes[i]) / 255.0f, "pixels");
}

volatile std::uint32_t& at(std::uint32_t address) { return *reinterpret_cast<volatile std::uint32_t*>(address); }

constexpr std::size_t rows = 5, columns = 23, depth = 33;
float inner[4][256];
volatile std::uint32_t interrupts = 0;

void interrupt() {
    fe::kernels::gemm({.a = inner[0], .a_row = 7, .a_step = 1, .b = inner[1], .b_row = 6, .c = inner[2], .c_row = 6, .m = 3, .n = 6,
                       .k = 7, .bias = nullptr, .epilogue = nullptr, .constants = nullptr, .scratch = nullptr});
    check(same(inner[2], inner[3], 18), "in an interrupt");
    interrupts = interrupts + 1;
}

void under_interrupts() {
    for (std::size_t i = 0; i < 256; ++i) inner[0][i] = inner[1][i] = static_cast<float>(i % 13) - 5.5f;
    chains(inner[0], 7, 1, inner[1], 6, 1, nullptr, 3, 6, 7, inner[3]);

    alignas(512) static void (*table[16])();
    auto* const old = reinterpret_cast<void (**)()>(at(0xE000ED08));
    for (std::size_t i = 0; i < 16; ++i) table[i] = old[i];
    table[15] = &interrupt;  // SysTick
    at(0xE000ED08) = reinterpret_cast<std::uint32_t>(table);
    asm volatile("dsb\n\tisb" ::: "memory");
    for (std::uint32_t n = 0; interrupts < 300; ++n) {
        at(0xE000E014) = 150 + n % 83;
        at(0xE000E018) = 0;
        at(0xE000E010) = 7;
        product(rows, columns, depth, n % 2 == 0, 9);
        maps(61, 9);
    }
    at(0xE000E010) = 0;
    at(0xE000ED08) = reinterpret_cast<std::uint32_t>(old);
}

}  // namespace

int main() {
    if (FERRITE_TEST_BEYOND) return at(FERRITE_TEST_MEMORY_END) == 0 ? 0 : 1;
    for (std::size_t n = 1; n <= 30; ++n)
        for (std::size_t at_end = 0; at_end < 4; ++at_end) {
            for (const std::size_t m : {1, 2, 3, 4, 7})
                for (const std::size_t k : {1, 2, 5, 16})
                    for (const bool transposed : {false, true}) product(m, n, k, transposed, at_end);
            maps(n, at_end);
        }
    for (const std::size_t outputs : {1, 3, 4, 10, 29})
        for (std::size_t inputs = 1; inputs <= 26; ++inputs)
            for (std::size_t at_end = 0; at_end < 6; ++at_end)
                for (const std::size_t batch : {1, 2, 5, 17}) backward(batch, inputs, outputs, at_end);
    for (const std::size_t outputs : {1, 3, 10, 29})
        for (std::size_t inputs = 1; inputs <= 26; ++inputs)
            for (std::size_t at_end = 0; at_end < 7; ++at_end)
                for (const std::size_t batch : {1, 2, 5, 17}) update(batch, inputs, outputs, at_end);
    under_interrupts();
    if (failures == 0) fe::platform::write("within their operands, and under interrupts: ok\n");
    return failures == 0 ? 0 : 1;
}
