// SPDX-License-Identifier: MIT
// Which instruction set runs. The choice is made once, from CPUID; a program that wants an environment variable to
// decide (the ferrite command does) calls select_isa(), as this library reads nothing of its surroundings.
#include <ferrite/kernels.hpp>

#include <atomic>

namespace ferrite {

namespace {

bool equal(const char* a, const char* b) noexcept {
    for (; *a != '\0' && *a == *b; ++a, ++b) {}
    return *a == *b;
}

}  // namespace

#if defined(FERRITE_FIXED_ISA)

namespace {
#define FERRITE_STRING(x) #x
#define FERRITE_TAG_NAME(x) FERRITE_STRING(x)
constexpr const char* tag = FERRITE_TAG_NAME(FERRITE_FIXED_ISA);
}  // namespace

const char* name(Isa) noexcept {
    return equal(tag, "Avx2")     ? "avx2"
           : equal(tag, "Avx512") ? "avx512"
           : equal(tag, "Neon")   ? "neon"
           : equal(tag, "Neon64") ? "neon64"
           : equal(tag, "Helium") ? "helium"
                                  : "scalar";
}
bool supported(Isa) noexcept { return true; }
Isa active_isa() noexcept { return Isa::fixed; }
Status select_isa(const char* wanted) noexcept {
    return equal(wanted, name(Isa::fixed)) ? Status::ok : Status::isa_not_built;
}

#else

const char* name(Isa isa) noexcept {
    switch (isa) {
#if defined(FERRITE_ISA_AVX2)
        case Isa::avx2: return "avx2";
#endif
#if defined(FERRITE_ISA_AVX512)
        case Isa::avx512: return "avx512";
#endif
        default: return "scalar";
    }
}

bool supported(Isa isa) noexcept {
    switch (isa) {
#if defined(FERRITE_ISA_AVX2)
        case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(FERRITE_ISA_AVX512)
        // x86-64-v4, which the kernels are compiled for; it holds AVX2 and FMA as well.
        case Isa::avx512:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") &&
                   __builtin_cpu_supports("fma");
#endif
        default: return true;
    }
}

namespace {
constexpr std::uint8_t undecided = 0xFF;
std::atomic<std::uint8_t> active{undecided};
}  // namespace

Isa active_isa() noexcept {
    std::uint8_t isa = active.load(std::memory_order_relaxed);
    if (isa == undecided) {
        // Two threads that come here at once find the same answer.
        isa = isa_count - 1;
        while (!supported(static_cast<Isa>(isa))) --isa;
        active.store(isa, std::memory_order_relaxed);
    }
    return static_cast<Isa>(isa);
}

Status select_isa(const char* wanted) noexcept {
    for (std::uint8_t i = 0; i < isa_count; ++i) {
        if (!equal(wanted, name(static_cast<Isa>(i)))) continue;
        if (!supported(static_cast<Isa>(i))) return Status::isa_not_supported;
        active.store(i, std::memory_order_relaxed);
        return Status::ok;
    }
    return Status::isa_not_built;
}

#endif

}  // namespace ferrite
