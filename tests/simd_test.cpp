// SPDX-License-Identifier: MIT
// The vector vocabulary against plain C++ on every vector type bit for bit, and the elementary functions
// against the double-precision library functions.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "simd_cases.hpp"
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace {

using ferrite::simd::Portable;
using ferrite::simd::Vector;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

std::vector<SimdCases> built_and_supported() {
    std::vector<SimdCases> result{SimdCasesOf<Vector<ferrite::Scalar>>::cases("Scalar"),
                                  SimdCasesOf<Vector<Portable<1>>>::cases("Portable<1>"),
                                  SimdCasesOf<Vector<Portable<4>>>::cases("Portable<4>"),
                                  SimdCasesOf<Vector<Portable<8>>>::cases("Portable<8>"),
                                  SimdCasesOf<Vector<Portable<16>>>::cases("Portable<16>")};
#if defined(FERRITE_ISA_AVX2)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        result.push_back(simd_cases_avx2());
    } else {
        MESSAGE("this CPU has no AVX2 with FMA: not compared");
    }
#endif
#if defined(FERRITE_ISA_AVX512)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        result.push_back(simd_cases_avx512());
    } else {
        MESSAGE("this CPU has no AVX-512: not compared");
    }
#endif
#if defined(FERRITE_ISA_NEON)
    result.push_back(simd_cases_neon());
#endif
#if defined(FERRITE_ISA_NEON64)
    result.push_back(simd_cases_neon64());
#endif
#if defined(FERRITE_ISA_HELIUM)
    result.push_back(simd_cases_helium());
#endif
    return result;
}

const std::vector<SimdCases>& all_cases() {
    static const std::vector<SimdCases> cases = built_and_supported();
    return cases;
}

/// Vectors of ARMv7 and of Helium take subnormal operands and results as zeros: compared is what meets none on the way.
bool flushes(const SimdCases& cases) { return std::string(cases.name) == "Neon" || std::string(cases.name) == "Helium"; }
float flush(float x) { return std::fabs(x) <= std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
bool tiny(float x) { return x != 0 && std::fabs(x) < 1e-30f; }

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
bool is_nan(float value) { return (bits(value) & 0x7fffffffu) > 0x7f800000u; }

struct Generator {
    std::uint32_t state = 1;
    std::uint32_t operator()() {
        state ^= state << 13;
        state ^= state >> 17;
        return state ^= state << 5;
    }
    /// Uniform in [-1, 1).
    float unit() { return static_cast<float>(static_cast<std::int32_t>((*this)())) * 0x1p-31f; }
};

std::vector<float> special_values() {
    std::vector<float> result{0.0f,
                              0x1p-149f,
                              0x1.8p-140f,
                              0x0.fffffep-126f,
                              0x1p-126f,
                              0x1.000002p-126f,
                              1e-30f,
                              0x1p-24f,
                              0.25f,
                              0.5f,
                              0x1.fffffep-1f,
                              1.0f,
                              0x1.000002p0f,
                              1.5f,
                              2.0f,
                              2.5f,
                              3.5f,
                              20.0f,
                              87.3f,
                              88.7f,
                              88.8f,
                              103.9f,
                              104.0f,
                              1e4f,
                              0x1p22f,
                              0x1.000002p22f,
                              0x1.fffffep22f,
                              0x1p23f,
                              0x1.000002p23f,
                              0x1.fffffep30f,
                              0x1p31f,
                              1e30f,
                              0x1.fffffep127f,
                              inf,
                              quiet_nan,
                              from_bits(0x7fc12345u),
                              from_bits(0x7f812345u)};
    for (std::size_t i = 0, positive = result.size(); i < positive; ++i) {
        result.push_back(from_bits(bits(result[i]) ^ 0x80000000u));
    }
    return result;
}

/// The formula of vector.hpp in plain C++.
float expected(Operation which, std::size_t lane, std::size_t width, float a, float b, float c) {
    const auto number = [](bool condition) { return condition ? 1.0f : 0.0f; };
    const std::uint32_t x = bits(a), y = bits(b);
    const auto arithmetic = [x](int count) {
        return from_bits(static_cast<std::uint32_t>(std::int64_t{static_cast<std::int32_t>(x)} >> count));
    };
    switch (which) {
        case Operation::add:
            return a + b;
        case Operation::subtract:
            return a - b;
        case Operation::multiply:
            return a * b;
        case Operation::divide:
            return a / b;
        case Operation::negate:
            return from_bits(x ^ 0x80000000u);
        case Operation::fused:
            return std::fma(a, b, c);
        case Operation::square_root:
            return std::sqrt(a);
        case Operation::absolute:
            return from_bits(x & 0x7fffffffu);
        case Operation::copy_sign:
            return from_bits((x & 0x7fffffffu) | (y & 0x80000000u));
        case Operation::minimum:
            return a < b ? a : b;
        case Operation::maximum:
            return a > b ? a : b;
        case Operation::less:
            return number(a < b);
        case Operation::less_equal:
            return number(a <= b);
        case Operation::greater:
            return number(a > b);
        case Operation::greater_equal:
            return number(a >= b);
        case Operation::equal:
            return number(a == b);
        case Operation::mask_and:
            return number(a < b && b < c);
        case Operation::mask_or:
            return number(a < b || b < c);
        case Operation::mask_not:
            return number(!(a < b));
        case Operation::first:
            return lane < width / 2 ? a : b;
        case Operation::broadcast_zero:
            return 0.0f;
        case Operation::round:
            return from_bits(static_cast<std::uint32_t>(static_cast<std::int32_t>(std::nearbyint(a))));
        case Operation::convert:
            return static_cast<float>(static_cast<std::int32_t>(x));
        case Operation::int_add:
            return from_bits(x + y);
        case Operation::int_subtract:
            return from_bits(x - y);
        case Operation::int_and:
            return from_bits(x & y);
        case Operation::int_or:
            return from_bits(x | y);
        case Operation::int_xor:
            return from_bits(x ^ y);
        case Operation::int_equal:
            return number(x == y);
        case Operation::int_greater:
            return number(static_cast<std::int32_t>(x) > static_cast<std::int32_t>(y));
        case Operation::left_0:
            return a;
        case Operation::left_5:
            return from_bits(x << 5);
        case Operation::left_31:
            return from_bits(x << 31);
        case Operation::logical_1:
            return from_bits(x >> 1);
        case Operation::logical_23:
            return from_bits(x >> 23);
        case Operation::logical_31:
            return from_bits(x >> 31);
        case Operation::arithmetic_1:
            return arithmetic(1);
        case Operation::arithmetic_23:
            return arithmetic(23);
        case Operation::arithmetic_31:
            return arithmetic(31);
        case Operation::int_broadcast:
            return from_bits(static_cast<std::uint32_t>(-123456789));
        case Operation::count:
            break;
    }
    return a;
}

/// Which NaN arithmetic produces is not part of the vocabulary.
bool any_nan_will_do(Operation which) {
    return which == Operation::add || which == Operation::subtract || which == Operation::multiply ||
           which == Operation::divide || which == Operation::fused || which == Operation::square_root;
}

bool same(float a, float b, bool any_nan = true) {
    return bits(a) == bits(b) || (any_nan && is_nan(a) && is_nan(b));
}

/// Of a float near `exact`: by the exponent, as the exhaustive cases ask for it 2^32 times.
double ulp(double exact) {
    const auto exponent = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(exact) >> 52 & 0x7ff) - 1023;
    return std::bit_cast<double>(static_cast<std::uint64_t>(std::max<std::int64_t>(exponent, -126) - 23 + 1023) << 52);
}

/// Every exponent of both signs, `per_exponent` mantissas each: the ends and pseudo-random ones.
std::vector<float> every_exponent(std::uint32_t per_exponent) {
    std::vector<float> result;
    Generator random;
    for (std::uint32_t high = 0; high < 512; ++high) {
        for (std::uint32_t i = 0; i < per_exponent; ++i) {
            const std::uint32_t mantissa = i == 0 ? 0 : i == 1 ? 0x7fffffu : random() & 0x7fffffu;
            result.push_back(from_bits(high << 23 | mantissa));
        }
    }
    return result;
}

std::vector<float> evaluate(const SimdCases& cases, Function which, const std::vector<float>& x) {
    std::vector<float> padded(x), result((x.size() + 15) / 16 * 16);
    padded.resize(result.size(), 0.0f);
    cases.evaluate(which, padded.data(), result.data(), result.size());
    result.resize(x.size());
    return result;
}

float evaluate(Function which, float x) {
    return evaluate(SimdCasesOf<Vector<ferrite::Scalar>>::cases(""), which, std::vector<float>{x})[0];
}

/// A line of the table in simd/math.hpp: the largest error in ulp over all floats (sin and cos: all up to 2^19 in
/// magnitude), rounded up, and where it is.
struct Accuracy {
    const char* name;
    Function which;
    double (*exact)(double);
    double ulp;
    bool turns = false;  ///< the argument is in turns, at most 2^19 of them
};

/// The remainder of whole quarter turns is exact; only then comes the factor that rounds.
double quarter_sine(double v, int offset) {
    const double quarters = std::nearbyint(4.0 * v);
    const double angle = (v - 0.25 * quarters) * 6.283185307179586;
    const auto quadrant = (static_cast<std::int64_t>(quarters) + offset) & 3;
    const double value = quadrant % 2 == 0 ? std::sin(angle) : std::cos(angle);
    return quadrant < 2 ? value : -value;
}

constexpr Accuracy accuracies[] = {
    {"exp", Function::exp, [](double v) { return std::exp(v); }, 0.8914},
    {"log", Function::log, [](double v) { return std::log(v); }, 0.9230},
    {"tanh", Function::tanh, [](double v) { return std::tanh(v); }, 1.4985},
    {"sigmoid", Function::sigmoid, [](double v) { return 1.0 / (1.0 + std::exp(-v)); }, 2.4020},
    {"rsqrt", Function::rsqrt, [](double v) { return 1.0 / std::sqrt(v); }, 1.4904},
    {"sin_cos_2pi.sin", Function::sin, [](double v) { return quarter_sine(v, 0); }, 0.9645, true},
    {"sin_cos_2pi.cos", Function::cos, [](double v) { return quarter_sine(v, 1); }, 0.8809, true},
};

/// The largest error and the first argument that has it.
struct Worst {
    double ulp = 0;
    float at = 0;
};

/// Carries the errors over `x` into `worst`; 1e9 where one side is NaN or infinite and the other is not that.
void find_worst(const Accuracy& a, const SimdCases& cases, const std::vector<float>& x, Worst& worst) {
    const std::vector<float> result = evaluate(cases, a.which, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (a.turns && !(std::fabs(x[i]) <= 0x1p19f)) continue;
        const double value = a.exact(static_cast<double>(x[i]));
        double error = std::fabs(static_cast<double>(result[i]) - value) / ulp(value);
        if (std::isnan(value) || std::isinf(static_cast<float>(value)) || std::isinf(result[i]))
            error = same(static_cast<float>(value), result[i]) ? 0.0 : 1e9;
        if (!(error <= worst.ulp)) worst = {error, x[i]};
    }
}

}  // namespace

TEST_CASE("vectors of ARMv7 and of Helium, and no others, take subnormal numbers as zeros") {
    std::vector<float> a(16, 0x1p-140f), b(16, 0x1p20f), c(16, 0.0f), out(16);
    for (const SimdCases& cases : all_cases()) {
        INFO(std::string(cases.name));
        cases.apply(Operation::multiply, a.data(), b.data(), c.data(), out.data(), out.size());
        for (const float product : out) CHECK(product == (flushes(cases) ? 0.0f : 0x1p-120f));
    }
}

TEST_CASE("every operation of every vector type is the plain C++ formula bit for bit") {
    std::vector<float> a, b, c;
    const std::vector<float> special = special_values();
    for (std::size_t i = 0; i < special.size(); ++i) {
        for (std::size_t j = 0; j < special.size(); ++j) {
            a.push_back(special[i]);
            b.push_back(special[j]);
            c.push_back(special[(3 * i + 5 * j) % special.size()]);
        }
    }
    Generator random;
    while (a.size() < 50'000 || a.size() % 16 != 0) {
        a.push_back(from_bits(random()));
        b.push_back(from_bits(random()));
        c.push_back(from_bits(random()));
        a.push_back(1e6f * random.unit());  // of like magnitude, so that nothing but rounding matters
        b.push_back(random.unit());
        c.push_back(-a.back() * b.back());
    }
    std::vector<float> out(a.size());
    for (const SimdCases& cases : all_cases()) {
        INFO(std::string(cases.name));
        for (int number = 0; number < static_cast<int>(Operation::count); ++number) {
            const auto which = static_cast<Operation>(number);
            cases.apply(which, a.data(), b.data(), c.data(), out.data(), out.size());
            int failures = 0;
            for (std::size_t i = 0; i < a.size() && failures < 3; ++i) {
                if (which == Operation::round && !(std::fabs(a[i]) < 0x1p31f)) continue;
                const float right = expected(which, i % cases.width, cases.width, a[i], b[i], c[i]);
                if (same(out[i], right, any_nan_will_do(which))) continue;
                if (flushes(cases) && (tiny(a[i]) || tiny(b[i]) || tiny(c[i]) || same(flush(out[i]), flush(right)))) continue;
                ++failures;
                FAIL_CHECK("operation " << number << " of " << a[i] << ", " << b[i] << ", " << c[i] << ": "
                                        << out[i] << " instead of " << right);
            }
            CHECK(failures == 0);
        }
    }
}

TEST_CASE("partial loads and stores touch exactly n floats") {
    for (const SimdCases& cases : all_cases()) {
        INFO(std::string(cases.name));
        for (std::size_t n = 0; n <= cases.width; ++n) {
            CAPTURE(n);
            float from[16], out[16], to[18];
            for (std::size_t i = 0; i < 16; ++i) from[i] = -1.0f - static_cast<float>(i);
            // Not by a condition: of one g++ 12 makes a conversion that the assembler refuses where there is Helium.
            for (std::size_t i = 4; i < 16; i += 5) from[i] = quiet_nan;
            std::memset(out, 0xa5, sizeof out);
            std::memset(to, 0xa5, sizeof to);
            cases.partial(from, n, out, to + 1);
            for (std::size_t i = 0; i < cases.width; ++i) CHECK(bits(out[i]) == (i < n ? bits(from[i]) : 0u));
            for (std::size_t i = 0; i < 18; ++i) {
                CHECK(bits(to[i]) == (i >= 1 && i <= n ? bits(from[i - 1]) : 0xa5a5a5a5u));
            }
        }
    }
}

TEST_CASE("bytes become the numbers 0 to 255, and those behind the end zeros") {
    std::uint8_t from[256 + 16];
    for (std::size_t i = 0; i < sizeof from; ++i) from[i] = static_cast<std::uint8_t>(i);
    for (const SimdCases& cases : all_cases()) {
        INFO(std::string(cases.name));
        for (std::size_t n = 0; n <= cases.width; ++n)
            for (std::size_t first = 0; first < 256; ++first) {
                float out[16];
                cases.bytes(from + first, n, out);
                for (std::size_t i = 0; i < cases.width; ++i) {
                    const float right = i < n ? static_cast<float>((first + i) % 256) : 0.0f;
                    if (bits(out[i]) != bits(right)) FAIL_CHECK("byte " << first + i << " of " << n << ": " << out[i]);
                }
            }
    }
}

#if __has_include(<sys/mman.h>)
TEST_CASE("partial loads and stores at the edges of mapped memory do not fault") {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* const map = mmap(nullptr, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map != MAP_FAILED);
    char* const middle = static_cast<char*>(map) + page;
    REQUIRE(mprotect(middle, page, PROT_READ | PROT_WRITE) == 0);
    float* const begin = reinterpret_cast<float*>(middle);
    float* const end = reinterpret_cast<float*>(middle + page);
    for (const SimdCases& cases : all_cases()) {
        INFO(std::string(cases.name));
        for (std::size_t n = 0; n <= cases.width; ++n) {
            float out[16];
            for (float* p = begin; p < end; ++p) *p = 1.0f;
            cases.partial(end - n, n, out, begin);
            cases.partial(begin, n, out, end - n);
            for (std::size_t i = 0; i < cases.width; ++i) CHECK(out[i] == (i < n ? 1.0f : 0.0f));
            std::memset(middle, 255, page);
            for (const char* p : {middle, middle + page - n}) {
                cases.bytes(reinterpret_cast<const std::uint8_t*>(p), n, out);
                for (std::size_t i = 0; i < cases.width; ++i) CHECK(out[i] == (i < n ? 255.0f : 0.0f));
            }
        }
    }
    munmap(map, 3 * page);
}
#endif

TEST_CASE("reductions have sixteen lanes and one tree on every vector type") {
    const auto exp_of = [](float x) { return evaluate(Function::exp, x); };
    const auto tree = [](std::vector<float> lanes, bool maximum) {
        for (std::size_t half = lanes.size() / 2; half > 0; half /= 2) {
            for (std::size_t i = 0; i < half; ++i) {
                const float a = lanes[i], b = lanes[i + half];
                lanes[i] = maximum ? (a > b ? a : b) : a + b;
            }
        }
        return lanes[0];
    };
    std::vector<std::size_t> sizes;
    for (std::size_t n = 0; n <= 66; ++n) sizes.push_back(n);
    sizes.push_back(1000);
    const std::vector<SimdCases>& all = all_cases();
    for (const std::size_t n : sizes) {
        for (int data = 0; data < 4; ++data) {
            Generator random{static_cast<std::uint32_t>(n) + 77};
            std::vector<float> x(n), y(n);
            for (std::size_t i = 0; i < n; ++i) {
                x[i] = data == 2 ? -0.0f : random.unit();
                y[i] = data == 1 ? from_bits(random() & 0xbfffffffu) : random.unit();
            }
            if (data == 3 && n > 0) {
                x[random() % n] = quiet_nan;
                x[random() % n] = -inf;
                y[random() % n] = inf;
            }
            const bool whole = n >= 16;
            for (int number = 0; number < static_cast<int>(Reduction::count); ++number) {
                const auto which = static_cast<Reduction>(number);
                const bool in_register = which == Reduction::lanes_sum || which == Reduction::lanes_maximum;
                if (in_register && !whole) continue;
                const bool maximum = which == Reduction::maximum || which == Reduction::lanes_maximum;
                std::vector<float> lanes(16, maximum ? -inf : 0.0f);
                for (std::size_t i = 0; i < n && !in_register; ++i) {
                    float& lane = lanes[i % 16];
                    switch (which) {
                        case Reduction::sum:
                            lane += x[i];
                            break;
                        case Reduction::squares:
                            lane = std::fma(x[i], x[i], lane);
                            break;
                        case Reduction::products:
                            lane = std::fma(x[i], y[i], lane);
                            break;
                        case Reduction::maximum:
                            lane = lane > x[i] ? lane : x[i];
                            break;
                        default:
                            lane += exp_of(x[i] - 1.0f);
                            break;
                    }
                }
                for (const SimdCases& cases : all) {
                    if (in_register) {
                        lanes.assign(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(cases.width));
                    }
                    const float right = tree(lanes, maximum);
                    const float result = cases.reduce(which, x.data(), y.data(), n);
                    if (!same(result, right)) {
                        FAIL_CHECK(cases.name << ", reduction " << number << " of " << n
                                              << " values: " << result << " instead of " << right);
                    }
                }
            }
        }
    }
}

TEST_CASE("the elementary functions have the same bits on every vector type") {
    std::vector<float> x = special_values();
    for (const float value : every_exponent(64)) x.push_back(value);
    Generator random;
    for (int i = 0; i < 20'000; ++i) x.push_back(110.0f * random.unit());
    const std::vector<SimdCases>& all = all_cases();
    for (int number = 0; number < static_cast<int>(Function::count); ++number) {
        const auto which = static_cast<Function>(number);
        const std::vector<float> right = evaluate(all[0], which, x);
        for (const SimdCases& cases : all) {
            const std::vector<float> result = evaluate(cases, which, x);
            std::size_t differences = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                if (flushes(cases) && (tiny(x[i]) || same(flush(result[i]), flush(right[i])))) continue;
                if (!same(result[i], right[i]) && differences++ == 0) {
                    FAIL_CHECK(cases.name << ", function " << number << " of " << x[i] << ": " << result[i]
                                          << " instead of " << right[i]);
                }
            }
            CHECK(differences == 0);
        }
    }
}

TEST_CASE("the elementary functions keep their error bounds over every exponent") {
#if defined(FERRITE_TEST_EMULATED)  // a board of 16 MB, at a hundredth of a host's speed
    constexpr std::uint32_t per_exponent = 64;
    constexpr int samples = 10'000;
#else
    constexpr std::uint32_t per_exponent = 1024;
    constexpr int samples = 200'000;
#endif
    std::vector<float> x = special_values();
    for (const float value : every_exponent(per_exponent)) x.push_back(value);
    Generator random;
    for (int i = 0; i < samples; ++i) {
        x.push_back(110.0f * random.unit());
        x.push_back(10.0f * random.unit());
        x.push_back(1.0f + 0.5f * random.unit());
    }
    std::vector<float> turns = every_exponent(per_exponent / 4);
    for (int i = 0; i < samples; ++i) turns.push_back(std::fabs(random.unit()));
    for (const Accuracy& a : accuracies) {
        INFO(std::string(a.name));
        Worst worst;
        find_worst(a, SimdCasesOf<Vector<Portable<4>>>::cases(""), a.turns ? turns : x, worst);
        INFO("at ", worst.at);
        CHECK(worst.ulp <= a.ulp);
    }
}

// Off by default, as it takes minutes: ctest -C exhaustive -L exhaustive --verbose. Its last lines are the table of
// simd/math.hpp.
TEST_CASE("the error bounds are the largest errors over all floats" * doctest::skip()) {
    const SimdCases& cases = all_cases().back();
    constexpr std::uint32_t block = 1 << 20, blocks = 1 << 12;
    for (const Accuracy& a : accuracies) {
        SUBCASE(a.name) {
            std::vector<float> x(block);
            Worst worst;
            for (std::uint32_t b = 0; b < blocks; ++b) {
                for (std::uint32_t i = 0; i < block; ++i) x[i] = from_bits(b * block + i);
                find_worst(a, cases, x, worst);
                if ((b + 1) % (blocks / 8) != 0) continue;
                std::printf("%s: %u of 8 parts, largest error so far %.4f ulp at %a\n", a.name,
                            static_cast<unsigned>((b + 1) / (blocks / 8)), worst.ulp, static_cast<double>(worst.at));
                std::fflush(stdout);
            }
            CHECK(worst.ulp <= a.ulp);
            CHECK(worst.ulp > a.ulp - 0.001);
        }
    }
}

TEST_CASE("exp at its limits") {
    CHECK(evaluate(Function::exp, 0.0f) == 1.0f);
    CHECK(evaluate(Function::exp, -0.0f) == 1.0f);
    CHECK(evaluate(Function::exp, inf) == inf);
    CHECK(bits(evaluate(Function::exp, -inf)) == 0);
    CHECK(is_nan(evaluate(Function::exp, quiet_nan)));
    CHECK(is_nan(evaluate(Function::exp, -quiet_nan)));
    CHECK(evaluate(Function::exp, 0x1.62e42ep6f) == doctest::Approx(3.4027984e38));
    CHECK(evaluate(Function::exp, 0x1.62e43p6f) == inf);
    CHECK(evaluate(Function::exp, 3e38f) == inf);
    CHECK(evaluate(Function::exp, -0x1.9fe368p6f) == 0x1p-149f);
    CHECK(bits(evaluate(Function::exp, -0x1.9fe36ap6f)) == 0);
    CHECK(bits(evaluate(Function::exp, -3e38f)) == 0);
}

TEST_CASE("log at its limits") {
    CHECK(bits(evaluate(Function::log, 1.0f)) == 0);
    CHECK(evaluate(Function::log, 0.0f) == -inf);
    CHECK(evaluate(Function::log, -0.0f) == -inf);
    CHECK(evaluate(Function::log, inf) == inf);
    CHECK(is_nan(evaluate(Function::log, -0x1p-149f)));
    CHECK(is_nan(evaluate(Function::log, -1.0f)));
    CHECK(is_nan(evaluate(Function::log, -inf)));
    CHECK(is_nan(evaluate(Function::log, quiet_nan)));
    CHECK(evaluate(Function::log, 0x1p-149f) == -103.27893f);
}

TEST_CASE("tanh is odd, bounded by 1 and the identity for tiny arguments") {
    const std::vector<float> x = every_exponent(256);
    const std::vector<float> y = evaluate(SimdCasesOf<Vector<Portable<4>>>::cases(""), Function::tanh, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (is_nan(x[i])) continue;
        const float magnitude = std::fabs(y[i]);
        const bool right = std::signbit(x[i]) == std::signbit(y[i]) && magnitude <= 1.0f &&
                           (std::fabs(x[i]) >= 2e-4f || y[i] == x[i]) &&
                           (std::fabs(x[i]) < 9.1f || magnitude == 1.0f);
        if (!right) FAIL_CHECK("tanh(" << x[i] << ") = " << y[i]);
    }
    CHECK(bits(evaluate(Function::tanh, -0.0f)) == 0x80000000u);
    CHECK(evaluate(Function::tanh, inf) == 1.0f);
    CHECK(evaluate(Function::tanh, -inf) == -1.0f);
    CHECK(is_nan(evaluate(Function::tanh, quiet_nan)));
}

TEST_CASE("sigmoid saturates without overflow") {
    CHECK(evaluate(Function::sigmoid, 0.0f) == 0.5f);
    CHECK(evaluate(Function::sigmoid, 1e4f) == 1.0f);
    CHECK(bits(evaluate(Function::sigmoid, -1e4f)) == 0);
    CHECK(evaluate(Function::sigmoid, inf) == 1.0f);
    CHECK(bits(evaluate(Function::sigmoid, -inf)) == 0);
    CHECK(is_nan(evaluate(Function::sigmoid, quiet_nan)));
    for (float x = -88.0f; x > -104.0f; x -= 0.25f) {
        CHECK(bits(evaluate(Function::sigmoid, x)) == bits(evaluate(Function::exp, x)));
    }
}

TEST_CASE("rsqrt at its limits, and quarter turns are exact") {
    CHECK(evaluate(Function::rsqrt, 0.0f) == inf);
    CHECK(evaluate(Function::rsqrt, -0.0f) == -inf);
    CHECK(bits(evaluate(Function::rsqrt, inf)) == 0);
    CHECK(is_nan(evaluate(Function::rsqrt, -1.0f)));
    CHECK(evaluate(Function::rsqrt, 0x1p-148f) == 0x1p74f);
    const float sine[] = {0.0f, 1.0f, 0.0f, -1.0f, 0.0f};
    for (int quarter = 0; quarter < 4; ++quarter) {
        CHECK(evaluate(Function::sin, 0.25f * static_cast<float>(quarter)) == sine[quarter]);
        CHECK(evaluate(Function::cos, 0.25f * static_cast<float>(quarter)) == sine[quarter + 1]);
    }
}
