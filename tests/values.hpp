// SPDX-License-Identifier: MIT
// What tests of numeric code share: floats of every kind, memory that ends at a fence, comparison bit by bit.
#pragma once

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <new>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ferrite::test {

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
/// What memory holds that a kernel must not write. No NaN, as two NaNs count as equal.
inline constexpr float canary = -0x1.5a5a5ap77f;

/// Vectors of ARMv7 and of Helium take subnormal operands and results as zeros. There no value is so small that an operation makes
/// one of it.
#if defined(FERRITE_ISA_NEON) || defined(FERRITE_ISA_HELIUM)
inline constexpr bool flushes_subnormals = true;
#else
inline constexpr bool flushes_subnormals = false;
#endif

enum class Values : std::uint8_t {
    normal,   ///< the standard normal distribution
    wide,     ///< exponents from -40 to 20, zeros of both signs, subnormals
    tiny,     ///< products of two are around the smallest normal number, and zeros
    rare,     ///< normal, one in 200 special: long sums meet few
    special,  ///< every second one an infinity, a NaN, a zero, an extreme or a subnormal number
};
inline constexpr Values all_values[] = {Values::normal, Values::wide, Values::tiny, Values::rare, Values::special};

class Source {
  public:
    explicit Source(std::uint32_t seed) : engine_(seed) {}

    /// Uniform in 0 .. n - 1.
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_()) % n; }
    template <class T>
    T one_of(std::initializer_list<T> choices) {
        return choices.begin()[below(choices.size())];
    }
    bool coin() { return below(2) == 0; }

    float value(Values kind) {
        switch (kind) {
            case Values::normal: return normal_(engine_);
            case Values::wide:
                if (flushes_subnormals) return below(20) == 0 ? signed_(0.0f) : scaled_(-12, 6);
                if (const std::size_t r = below(20); r < 2) return r == 0 ? signed_(0.0f) : signed_(subnormal_());
                return scaled_(-40, 20);
            case Values::tiny:
                if (flushes_subnormals) return below(10) == 0 ? signed_(0.0f) : scaled_(-14, -8);
                return below(10) == 0 ? signed_(0.0f) : scaled_(-76, -58);
            case Values::rare: return below(200) == 0 ? special_() : normal_(engine_);
            case Values::special: return coin() ? special_() : normal_(engine_);
        }
        return 0;
    }

    std::vector<float> array(std::size_t n, Values kind) {
        std::vector<float> result(n);
        for (float& x : result) x = value(kind);
        return result;
    }

  private:
    float signed_(float x) { return coin() ? x : -x; }
    float subnormal_() { return std::bit_cast<float>(static_cast<std::uint32_t>(1 + below(0x7fffff))); }
    float scaled_(int low, int high) {
        const float fraction = 1.0f + static_cast<float>(below(1u << 23)) * 0x1p-23f;
        return signed_(std::ldexp(fraction, low + static_cast<int>(below(static_cast<std::size_t>(high - low + 1)))));
    }
    float special_() {
        if (flushes_subnormals)
            return signed_(one_of({infinity, not_a_number, 0.0f, 0.0f, 1.0f, std::numeric_limits<float>::max(), 80.0f, 1e20f}));
        return signed_(one_of({infinity, not_a_number, 0.0f, 0.0f, 1.0f, std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::min(), std::numeric_limits<float>::denorm_min(),
                               subnormal_(), 88.75f, 103.5f, 1e-20f, 1e20f}));
    }

    std::mt19937 engine_;
    std::normal_distribution<float> normal_;
};

/// A copy of floats that ends `slack` floats before a page that may not be touched, with canaries on both sides of it.
/// With slack 0 a read or write behind the last float ends the process, in every build and for every instruction, also
/// those that an address sanitizer does not see. A slack moves the floats off the alignment that their number gives.
class Fenced {
  public:
    explicit Fenced(std::span<const float> values, std::size_t slack = 0) : size_(values.size()), slack_(slack) {
        const std::size_t bytes = (front + size_ + slack_ + behind) * sizeof(float);
        const std::size_t readable = (bytes + page() - 1) / page() * page();
        mapped_ = readable + page();
        start_ = map(readable);
        data_ = reinterpret_cast<float*>(start_ + (readable - bytes)) + front;
        for (std::size_t i = 0; i < front; ++i) *(data_ - front + i) = canary;
        for (std::size_t i = 0; i < slack_ + behind; ++i) data_[size_ + i] = canary;
        if (size_ != 0) std::memcpy(data_, values.data(), size_ * sizeof(float));
    }
    Fenced(Fenced&& other) noexcept
        : start_(std::exchange(other.start_, nullptr)), data_(other.data_), mapped_(other.mapped_), size_(other.size_),
          slack_(other.slack_) {}
    Fenced(const Fenced&) = delete;
    Fenced& operator=(const Fenced&) = delete;
    Fenced& operator=(Fenced&&) = delete;
    ~Fenced() {
        if (start_ != nullptr) unmap();
    }

    [[nodiscard]] float* data() const { return data_; }
    [[nodiscard]] std::span<float> span() const { return {data_, size_}; }
    [[nodiscard]] bool canaries_intact() const {
        for (std::size_t i = 0; i < front; ++i)
            if (!equal(*(data_ - front + i))) return false;
        for (std::size_t i = 0; i < slack_ + behind; ++i)
            if (!equal(data_[size_ + i])) return false;
        return true;
    }

  private:
    static constexpr std::size_t front = 16;
#if __has_include(<sys/mman.h>)
    static constexpr std::size_t behind = 0;
    static std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
    unsigned char* map(std::size_t readable) const {
        void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        auto* const start = static_cast<unsigned char*>(memory);
        if (mprotect(start + readable, page(), PROT_NONE) != 0) throw std::bad_alloc();
        return start;
    }
    void unmap() const { munmap(start_, mapped_); }
#else
    // Without pages, canaries stand for the one that may not be touched: they see what is written.
    static constexpr std::size_t behind = 16;
    static std::size_t page() { return 64; }
    unsigned char* map(std::size_t) const {
        return static_cast<unsigned char*>(::operator new(mapped_, std::align_val_t{64}));
    }
    void unmap() const { ::operator delete(start_, std::align_val_t{64}); }
#endif
    static bool equal(float x) { return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(canary); }

    unsigned char* start_;
    float* data_;
    std::size_t mapped_;
    std::size_t size_;
    std::size_t slack_;
};

/// The same bits, or two NaNs; where subnormal results are zeros, what is made of them may be zero, too.
inline bool same(float a, float b) {
    if (flushes_subnormals && std::fabs(a) < 0x1p-100f && std::fabs(b) < 0x1p-100f) return true;
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

/// "" if all are the same, otherwise where they first differ and in how many places.
inline std::string difference(std::span<const float> expected, std::span<const float> found) {
    if (expected.size() != found.size()) return "different sizes";
    std::size_t count = 0, first = 0;
    for (std::size_t i = expected.size(); i-- > 0;) {
        if (same(expected[i], found[i])) continue;
        ++count;
        first = i;
    }
    if (count == 0) return "";
    char text[200];
    std::snprintf(text, sizeof text, "%zu of %zu floats differ, the first is [%zu] = %.9g (%a), expected %.9g (%a)",
                  count, expected.size(), first, static_cast<double>(found[first]), static_cast<double>(found[first]),
                  static_cast<double>(expected[first]), static_cast<double>(expected[first]));
    return text;
}

}  // namespace ferrite::test
