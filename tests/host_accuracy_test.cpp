// SPDX-License-Identifier: MIT
// What the README promises of the command's defaults on real data.
#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

namespace {

/// The last event of `ferrite train --json -` with these options.
nlohmann::json train(const std::string& options) {
    const std::string command = std::string(FERRITE_COMMAND_PATH) + " train --json - " + options + " 2>/dev/null";
    FILE* const pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string text;
    std::array<char, 4096> part;
    for (std::size_t n = 0; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;) text.append(part.data(), n);
    REQUIRE(pclose(pipe) == 0);
    text.pop_back();
    return nlohmann::json::parse(text.substr(text.rfind('\n') + 1));
}

}  // namespace

TEST_CASE("accuracy: MNIST, the defaults, three seeds") {
    const char* shared = std::getenv("FERRITE_SHARED");
    if (shared == nullptr) {
        const char* required = std::getenv("FERRITE_REQUIRE_SHARED");
        if (required != nullptr && std::string(required) == "1")
            FAIL("FERRITE_REQUIRE_SHARED=1, but FERRITE_SHARED (the directory that holds data/mnist) is not set");
        MESSAGE("skipped: FERRITE_SHARED (the directory that holds data/mnist) is not set");
        return;
    }
    for (const char* seed : {"1", "2", "3"}) {
        CAPTURE(std::string(seed));
        CHECK(train(std::string("--data '") + shared + "/data/mnist' --seed " + seed).at("test_accuracy") >= 0.970);
    }
}

TEST_CASE("accuracy: Fashion-MNIST, the defaults, three seeds") {
    for (const char* seed : {"1", "2", "3"}) {
        CAPTURE(std::string(seed));
        CHECK(train(std::string("--seed ") + seed).at("test_accuracy") >= 0.865);
    }
}
