// SPDX-License-Identifier: MIT
// The memory table and the picture of the README say what the compiler says.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <host/options.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fe = ferrite;
using namespace ferrite::host;

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE(file.good());
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

/// The cells of "| a | b |".
std::vector<std::string> cells(const std::string& line) {
    std::vector<std::string> result;
    std::stringstream stream(line.substr(1));
    for (std::string cell; std::getline(stream, cell, '|');) {
        const auto first = cell.find_first_not_of(' ');
        result.push_back(first == std::string::npos ? ""
                                                    : cell.substr(first, cell.find_last_not_of(' ') + 1 - first));
    }
    return result;
}

}  // namespace

TEST_CASE("README: the memory table") {
    std::stringstream readme(read(FERRITE_ROOT "/README.md"));
    const std::string start = "| network, all with Relu | batch |";
    std::string line;
    while (std::getline(readme, line) && !line.starts_with(start)) {
    }
    REQUIRE(line.starts_with(start));
    std::getline(readme, line);
    std::size_t rows = 0;
    while (std::getline(readme, line) && line.starts_with("|")) {
        CAPTURE(line);
        const std::vector<std::string> row = cells(line);
        REQUIRE(row.size() == 7);
        ModelOptions options;
        options.layers.clear();
        std::stringstream widths(row[0]);
        for (std::string width; std::getline(widths, width, '-');)
            options.layers.push_back(static_cast<std::uint32_t>(std::stoul(width)));
        options.batch = static_cast<std::uint32_t>(std::stoul(row[1]));
        std::size_t column = 2;
        for (const char* optimizer : {"sgd", "momentum", "adam"}) {
            options.optimizer = optimizer;
            const BuiltModel built = build(options);
            CHECK(row[column++] == grouped(Compiled(built.model(), built.recipe).program().totals->arena_bytes));
        }
        const BuiltModel built = build(options);
        const Compiled inference(built.model(), fe::Inference{.batch = options.batch, .link = built.recipe.loss.link});
        CHECK(row[5] == grouped(inference.program().totals->arena_bytes));
        CHECK(row[6] == grouped(inference.program().totals->region_bytes[0]));
        ++rows;
    }
    CHECK(rows == 6);
}

TEST_CASE("README: the picture is that of `ferrite plan`") {
    const std::string picture = doctest::getContextOptions()->binary_name.c_str() + std::string(".arena.svg");
    const std::string command =
        std::string(FERRITE_COMMAND_PATH) + " plan --layers 784,100,10 --svg '" + picture + "' >/dev/null";
    REQUIRE(std::system(command.c_str()) == 0);
    CHECK(read(picture) == read(FERRITE_ROOT "/platform/host/arena.svg"));
    std::remove(picture.c_str());
}
