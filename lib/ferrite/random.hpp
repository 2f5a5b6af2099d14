// SPDX-License-Identifier: MIT
// Counter-based random numbers: element i of a stream is a function of (seed, stream, i) alone, so any position can
// be computed at any time, in any order, and nothing is stored. Includes config.hpp.
#pragma once

#include <ferrite/config.hpp>

#include <cstdint>

namespace ferrite {

/// The one number that a run is determined by.
struct Seed {
    std::uint64_t value = 0;
};

/// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) addressed by
/// position: bits(i) = mix(key + (i + 1) * 0x9E3779B97F4A7C15). `Random{Seed{s}}` is the plain generator of seed s;
/// `Random{Seed{s}, n}` is its n-th independent stream.
class Random {
  public:
    constexpr explicit Random(Seed seed) noexcept : key_(seed.value) {}
    constexpr Random(Seed seed, std::uint64_t stream) noexcept : key_(mix(seed.value ^ mix(stream + golden))) {}

    /// 64 uniformly distributed bits. Inlined for sure: kernels call it from files with flags of their own.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t bits(std::uint64_t position) const noexcept {
        return mix(counter(position));
    }
    /// What bits(position) mixes; kernels mix several at once. That of position + n is n * golden more.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t counter(std::uint64_t position) const noexcept {
        return key_ + (position + 1) * golden;
    }
    static constexpr std::uint64_t golden = 0x9E3779B97F4A7C15u;
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t mix(std::uint64_t z) noexcept {
        z = (z ^ (z >> 30)) * factor[0];
        z = (z ^ (z >> 27)) * factor[1];
        return z ^ (z >> 31);
    }
    static constexpr std::uint64_t factor[2] = {0xBF58476D1CE4E5B9u, 0x94D049BB133111EBu};

    /// Uniform in [0, 1): a multiple of 2^-24.
    [[nodiscard]] constexpr float uniform(std::uint64_t position) const noexcept {
        return static_cast<float>(bits(position) >> 40) * 0x1p-24f;
    }
    /// Uniform in [low, high), for low < high. Not inline: a caller's compiler could fuse the product into the sum.
    [[nodiscard]] float uniform(std::uint64_t position, float low, float high) const noexcept;
    /// Standard normal by Box and Muller: positions 2k and 2k + 1 are the cosine and the sine of one pair of
    /// uniforms. |value| <= 5.77, as the smallest uniform is 2^-24.
    [[nodiscard]] float normal(std::uint64_t position) const noexcept;

  private:
    std::uint64_t key_;
};

/// A permutation of 0 .. count - 1 without an array: a Feistel network over the next even power of two,
/// walked along its cycle until the value is below `count` (Black and Rogaway, "Ciphers with arbitrary finite
/// domains", CT-RSA 2002); four evaluations at most on average.
class Permutation {
  public:
    /// `count` >= 1.
    constexpr Permutation(std::uint32_t count, Random random) noexcept : random_(random), count_(count) {
        FERRITE_ASSERT(count >= 1);
        while ((std::uint64_t{1} << (2 * half_)) < count) ++half_;
    }
    [[nodiscard]] constexpr std::uint32_t size() const noexcept { return count_; }
    /// The value at `index` < size().
    [[nodiscard]] constexpr std::uint32_t operator[](std::uint32_t index) const noexcept {
        FERRITE_ASSERT(index < count_);
        std::uint32_t value = index;
        do value = encrypt(value);
        while (value >= count_);
        return value;
    }

  private:
    [[nodiscard]] constexpr std::uint32_t encrypt(std::uint32_t value) const noexcept {
        const std::uint32_t mask = static_cast<std::uint32_t>((std::uint64_t{1} << half_) - 1);
        std::uint32_t left = value >> half_, right = value & mask;
        // Six rounds leave the places of a handful of values uneven by some percent.
        const std::uint64_t rounds = half_ <= 3 ? 16 : 6;
        for (std::uint64_t round = 0; round < rounds; ++round) {
            const auto keyed = static_cast<std::uint32_t>(random_.bits(round << 32 | right)) & mask;
            const std::uint32_t next = left ^ keyed;
            left = right;
            right = next;
        }
        return left << half_ | right;
    }
    Random random_;
    std::uint32_t count_;
    std::uint32_t half_ = 0;
};

}  // namespace ferrite
