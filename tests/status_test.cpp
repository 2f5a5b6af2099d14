// SPDX-License-Identifier: MIT
// Status and Result.
#include <doctest/doctest.h>

#include <cctype>
#include <ferrite/status.hpp>
#include <set>
#include <string>
#include <type_traits>

using ferrite::Result;
using ferrite::Status;

namespace {

struct Answer {
    int value = 7;
};
constexpr Result<Answer> good = Answer{42};
constexpr Result<Answer> bad = Status::truncated;
static_assert(good.ok() && good.status() == Status::ok && good.value().value == 42);
static_assert(!bad.ok() && bad.status() == Status::truncated);
static_assert(std::is_trivially_copyable_v<Result<Answer>>);
static_assert(static_cast<int>(Status::ok) == 0 && sizeof(Status) == 1);
static_assert(noexcept(good.value()) && noexcept(ferrite::message(Status::ok)));

}  // namespace

TEST_CASE("every status has words of its own, one clause without an end") {
    std::set<std::string> all;
    constexpr int count = static_cast<int>(Status::not_finite) + 1;
    for (int i = 0; i < count; ++i) {
        const std::string text = ferrite::message(static_cast<Status>(i));
        CAPTURE(text);
        CHECK(text != "unknown status");
        CHECK(text.size() <= 80);
        CHECK(text.find('\n') == std::string::npos);
        CHECK(text.back() != '.');
        CHECK(!std::isspace(static_cast<unsigned char>(text.front())));
        all.insert(text);
    }
    CHECK(all.size() == static_cast<std::size_t>(count));
    CHECK(std::string(ferrite::message(Status::ok)) == "ok");
    CHECK(std::string(ferrite::message(static_cast<Status>(count))) == "unknown status");
    CHECK(std::string(ferrite::message(static_cast<Status>(255))) == "unknown status");
}

TEST_CASE("a result is a value or a reason") {
    Result<Answer> result = Answer{1};
    REQUIRE(result.ok());
    result.value().value = 5;
    CHECK(result.value().value == 5);
    result = Status::misaligned;
    CHECK(!result.ok());
    CHECK(result.status() == Status::misaligned);
    const Result<Answer> copy = result;
    CHECK(copy.status() == Status::misaligned);
}
