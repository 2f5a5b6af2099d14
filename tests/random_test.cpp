// SPDX-License-Identifier: MIT
// Random numbers and permutations: the golden generator, ranges and moments, bijections without bias.
#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>

#include "golden.hpp"

namespace fe = ferrite;

namespace {

double wide(float x) { return static_cast<double>(x); }

std::vector<std::uint32_t> all_of(const fe::Permutation& permutation) {
    std::vector<std::uint32_t> result(permutation.size());
    for (std::uint32_t i = 0; i < result.size(); ++i) result[i] = permutation[i];
    return result;
}

}  // namespace

TEST_CASE("random: the golden integers, uniforms and normals, at any position and in any order") {
    const nlohmann::json file = fe::test::golden("generator.json");
    for (const nlohmann::json& c : file.at("cases")) {
        const std::uint64_t seed = c.at("seed");
        CAPTURE(seed);
        const fe::Random random{fe::Seed{seed}};
        const fe::test::PortableGenerator portable{seed};
        const std::vector<std::string> bits = c.at("outputs_hex");
        const fe::test::Doubles uniforms = c.at("uniforms"), normals = c.at("normals");
        REQUIRE(bits.size() == 6);
        for (const std::size_t i : {5u, 0u, 3u, 1u, 4u, 2u}) {
            CAPTURE(i);
            CHECK(random.bits(i) == std::stoull(bits[i], nullptr, 16));
            // The upper 24 of the golden value's 53 bits.
            CHECK(wide(random.uniform(i)) == std::floor(uniforms[i] * 0x1p24) * 0x1p-24);
            // A uniform that is off by 2^-24 moves the radius by 2^-24 / ((1 - u) radius) and the angle by 2
            // pi 2^-24.
            const double u = uniforms[i & ~std::size_t{1}], radius = std::sqrt(-2 * std::log(1 - u));
            CHECK(std::abs(wide(random.normal(i)) - normals[i]) <=
                  0x1p-24 * (1 / ((1 - u) * radius) + 7 * radius + 8));
            CHECK(portable.bits(i) == std::stoull(bits[i], nullptr, 16));
            CHECK(portable.uniform(i) == uniforms[i]);
            CHECK(std::abs(portable.normal(i) - normals[i]) <= 1e-14);
        }
    }
}

TEST_CASE("random: far positions and the formula of the normals") {
    const fe::Random random{fe::Seed{77}};
    const fe::test::PortableGenerator portable{77};
    for (std::uint64_t k = 0; k < 40'000; ++k) {
        const std::uint64_t i = k < 20'000 ? k : (k << 44) + k;
        REQUIRE(random.bits(i) == portable.bits(i));
        const double u1 = wide(random.uniform(i & ~std::uint64_t{1})), u2 = wide(random.uniform(i | 1));
        const double radius = std::sqrt(-2 * std::log(1 - u1)), angle = 2 * std::numbers::pi * u2;
        const double expected = radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
        REQUIRE(std::abs(wide(random.normal(i)) - expected) <= 5e-7 * std::max(1.0, radius));
    }
}

TEST_CASE("random: uniforms stay in their range and have its mean and spread; so have normals") {
    constexpr std::size_t n = 1 << 20;
    const double root = std::sqrt(static_cast<double>(n));
    for (const std::uint64_t stream : {0u, 1u, 1000u}) {
        CAPTURE(stream);
        const fe::Random random(fe::Seed{3}, stream);
        double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0, neighbours = 0;
        float smallest = 1, largest = 0, extreme = 0, previous = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const float u = random.uniform(i), z = random.normal(i);
            smallest = std::min(smallest, u);
            largest = std::max(largest, u);
            sum += wide(u) - 0.5;
            squares += (wide(u) - 0.5) * (wide(u) - 0.5);
            normal_sum += wide(z);
            normal_squares += wide(z) * wide(z);
            extreme = std::max(extreme, std::abs(z));
            neighbours += wide(z) * wide(previous);
            previous = z;
        }
        CHECK(smallest >= 0.0f);
        CHECK(smallest < 1e-5f);
        CHECK(largest < 1.0f);
        CHECK(largest > 0.99999f);
        // Five standard deviations: of u 1/12 and of its square 1/180; of z 1, of its square 2, of
        // products 1.
        CHECK(std::abs(sum) <= 5 * root * std::sqrt(1.0 / 12));
        CHECK(std::abs(squares - n / 12.0) <= 5 * root * std::sqrt(1.0 / 180));
        CHECK(std::abs(normal_sum) <= 5 * root);
        CHECK(std::abs(normal_squares - n) <= 5 * root * std::sqrt(2.0));
        CHECK(std::abs(neighbours) <= 5 * root);
        CHECK(extreme > 4.5f);
        CHECK(extreme <= 5.77f);
    }
    const fe::Random random{fe::Seed{4}};
    for (std::uint64_t i = 0; i < 10'000; ++i) {
        const float x = random.uniform(i, -3.0f, 5.0f);
        REQUIRE(x >= -3.0f);
        REQUIRE(x < 5.0f);
        REQUIRE(wide(x) == doctest::Approx(-3 + 8 * wide(random.uniform(i))));
    }
    // Where the range is a few thousand floats wide, sums round up to its end.
    std::size_t at_low = 0;
    for (std::uint64_t i = 0; i < 1'000'000; ++i) {
        const float x = random.uniform(i, 1000.0f, 1000.03125f);
        REQUIRE(x >= 1000.0f);
        REQUIRE(x < 1000.03125f);
        at_low += x == 1000.0f;
    }
    CHECK(at_low > 0);
}

TEST_CASE("random: streams of a seed and seeds of a stream have nothing in common") {
    std::set<std::uint64_t> seen;
    std::size_t count = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed)
        for (std::uint64_t stream = 0; stream < 20; ++stream)
            for (std::uint64_t i = 0; i < 100; ++i, ++count)
                seen.insert(fe::Random(fe::Seed{seed}, stream).bits(i));
    CHECK(seen.size() == count);
    // Correlations between neighbouring streams.
    for (std::uint64_t stream = 0; stream < 10; ++stream) {
        const fe::Random a(fe::Seed{1}, stream), b(fe::Seed{1}, stream + 1), c(fe::Seed{2}, stream);
        double ab = 0, ac = 0;
        constexpr int n = 20'000;
        for (std::uint64_t i = 0; i < n; ++i) {
            ab += wide(a.normal(i)) * wide(b.normal(i));
            ac += wide(a.normal(i)) * wide(c.normal(i));
        }
        CHECK(std::abs(ab) <= 5 * std::sqrt(static_cast<double>(n)));
        CHECK(std::abs(ac) <= 5 * std::sqrt(static_cast<double>(n)));
    }
}

TEST_CASE("permutation: every value once, for every count") {
    std::vector<std::uint32_t> counts(300);
    std::iota(counts.begin(), counts.end(), 1u);
    counts.insert(counts.end(), {1000, 1023, 1024, 1025, 4095, 4096, 4097, 10'000, 16'384, 16'385, 60'000,
                                 65'535, 65'536, 65'537, 100'003, 262'145});
    for (const std::uint32_t count : counts) {
        CAPTURE(count);
        for (const std::uint64_t seed : {1u, 2u}) {
            const std::vector<std::uint32_t> values = all_of({count, fe::Random{fe::Seed{seed}}});
            std::vector<bool> seen(count);
            std::size_t distinct = 0;
            for (const std::uint32_t v : values) {
                REQUIRE(v < count);
                if (!seen[v]) ++distinct;
                seen[v] = true;
            }
            CHECK(distinct == count);
        }
    }
}

TEST_CASE("permutation: counts up to 2^32 - 1") {
    for (const std::uint32_t count : {0x40000001u, 0x80000000u, 0xFFFFFFFFu}) {
        CAPTURE(count);
        const fe::Permutation permutation(count, fe::Random{fe::Seed{8}});
        std::set<std::uint32_t> seen;
        double sum = 0;
        for (std::uint32_t i = 0; i < 20'000; ++i) {
            const std::uint32_t v = permutation[i % 2 == 0 ? i : count - i];
            REQUIRE(v < count);
            seen.insert(v);
            sum += v / static_cast<double>(count) - 0.5;
        }
        CHECK(seen.size() == 20'000);
        CHECK(std::abs(sum) <= 5 * std::sqrt(20'000 / 12.0));
    }
}

TEST_CASE("permutation: the seed is the key") {
    const auto permutation = [](std::uint64_t seed, std::uint64_t stream) {
        return all_of({1000, fe::Random(fe::Seed{seed}, stream)});
    };
    const std::vector<std::uint32_t> first = permutation(1, 1);
    CHECK(permutation(1, 1) == first);
    for (const auto& other : {permutation(2, 1), permutation(1, 2), permutation(0, 1)}) {
        int same = 0;
        for (std::size_t i = 0; i < first.size(); ++i) same += first[i] == other[i] ? 1 : 0;
        // One agreement is expected, and seven or more come once in 100000 times.
        CHECK(same < 10);
    }
}

TEST_CASE(
    "permutation: no bias: every value at every place, all orders of few, no trace of the order of many") {
    for (const std::uint32_t count : {2u, 3u, 4u, 5u, 7u, 16u, 17u}) {
        CAPTURE(count);
        constexpr std::uint32_t draws = 40'000;
        std::vector<std::uint32_t> hits(count * count);
        std::map<std::vector<std::uint32_t>, std::uint32_t> orders;
        for (std::uint64_t seed = 0; seed < draws; ++seed) {
            const auto values = all_of({count, fe::Random(fe::Seed{99}, seed)});
            for (std::uint32_t i = 0; i < count; ++i) ++hits[i * count + values[i]];
            if (count <= 4) ++orders[values];
        }
        const double p = 1.0 / count;
        for (const std::uint32_t h : hits)
            CHECK(std::abs(h - draws * p) <= 5 * std::sqrt(draws * p * (1 - p)));
        if (count > 4) continue;
        const std::size_t factorial = count == 2 ? 2 : count == 3 ? 6 : 24;
        const double q = 1.0 / static_cast<double>(factorial);
        CHECK(orders.size() == factorial);
        for (const auto& [order, found] : orders)
            CHECK(std::abs(found - draws * q) <= 5 * std::sqrt(draws * q * (1 - q)));
    }
    for (const std::uint32_t count : {1000u, 60'000u})
        for (std::uint64_t seed = 0; seed < 5; ++seed) {
            const auto values = all_of({count, fe::Random{fe::Seed{seed}}});
            const double middle = (count - 1) / 2.0, variance = (1.0 * count * count - 1) / 12, n = count;
            double with_index = 0, with_next = 0;
            int fixed = 0;
            for (std::uint32_t i = 0; i < count; ++i) {
                with_index += (values[i] - middle) * (i - middle) / variance;
                if (i > 0) with_next += (values[i] - middle) * (values[i - 1] - middle) / variance;
                fixed += values[i] == i ? 1 : 0;
            }
            CHECK(std::abs(with_index) <= 5 * std::sqrt(n));
            CHECK(std::abs(with_next) <= 5 * std::sqrt(n));
            CHECK(fixed < 10);
        }
}
