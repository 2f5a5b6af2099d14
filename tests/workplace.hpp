// SPDX-License-Identifier: MIT
// The `ferrite` command as a person meets it: the real binary, run on a small data set made here.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ferrite/kernels.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "host/heap.hpp"

namespace ferrite::test {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using nlohmann::json;

inline constexpr std::uint32_t side = 4, training_images = 65, test_images = 30;

inline std::string read_text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const fs::path& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
}

inline std::string idx(std::uint32_t magic, const std::vector<std::uint32_t>& extents) {
    std::string bytes;
    const auto append = [&](std::uint32_t word) {
        for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(word >> shift & 0xff);
    };
    append(magic);
    for (const std::uint32_t extent : extents) append(extent);
    return bytes;
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

/// What a run left behind.
struct Outcome {
    int code = -1;  ///< exit code, or 128 + signal
    std::string out, err;

    [[nodiscard]] std::vector<json> events() const { return parse(out); }
    static std::vector<json> parse(const std::string& text) {
        std::vector<json> objects;
        std::size_t begin = 0;
        for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
            objects.push_back(json::parse(text.substr(begin, end - begin)));
        CHECK(begin == text.size());
        return objects;
    }
};

/// A directory with a data set in data/ and an empty out/, gone at the end of the scope; and the command, run
/// in it. Image i shows class i mod 10 as one white pixel on grey ones.
class Workplace {
  public:
    Workplace() {
        std::string name = (fs::temp_directory_path() / "ferrite-command-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
        fs::create_directories(data());
        fs::create_directories(out());
        write_part("train", training_images);
        write_part("t10k", test_images);
    }
    ~Workplace() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Workplace(const Workplace&) = delete;
    Workplace& operator=(const Workplace&) = delete;

    [[nodiscard]] fs::path data() const { return path_ / "data"; }
    [[nodiscard]] fs::path out() const { return path_ / "out"; }
    [[nodiscard]] fs::path data_file(const std::string& name) const { return data() / name; }

    /// Starts the command; finish() waits for it. D and O at the start of a word stand for data() and out().
    [[nodiscard]] pid_t start(const Words& words, const Words& environment = {}) const {
        Words arguments{FERRITE_COMMAND_PATH};
        for (const std::string& word : words) arguments.push_back(placed(word));
        std::vector<char*> pointers;
        for (std::string& argument : arguments) pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        const fs::path out_file = path_ / "stdout", err_file = path_ / "stderr";
        write_text(out_file, "");
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const int flags = O_WRONLY | O_CREAT | O_TRUNC;
            dup2(open(out_file.c_str(), flags, 0644), STDOUT_FILENO);
            dup2(open(err_file.c_str(), flags, 0644), STDERR_FILENO);
            unsetenv("FERRITE_ISA");
            for (const std::string& variable : environment) putenv(const_cast<char*>(variable.c_str()));
            execv(pointers[0], pointers.data());
            _exit(127);
        }
        return child;
    }
    [[nodiscard]] Outcome finish(pid_t child) const {
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return {code, read_text(path_ / "stdout"), read_text(path_ / "stderr")};
    }
    [[nodiscard]] Outcome run(const Words& words, const Words& environment = {}) const {
        return finish(start(words, environment));
    }
    [[nodiscard]] std::string output_so_far() const { return read_text(path_ / "stdout"); }

    /// A good training on the data set here; `more` comes last and so has the last word.
    [[nodiscard]] static Words training(const Words& more = {}) {
        Words words{"train", "--data", "D", "--layers", "16,12,10", "--batch", "10", "--epochs", "2"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }

    [[nodiscard]] std::set<std::string> files_in_out() const {
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator(out()))
            names.insert(entry.path().filename().string());
        return names;
    }

    [[nodiscard]] std::string placed(const std::string& word) const {
        if (word == "D" || word.starts_with("D/")) return data().string() + word.substr(1);
        if (word == "O" || word.starts_with("O/")) return out().string() + word.substr(1);
        return word;
    }
    /// The same, the other way round, anywhere in a message.
    [[nodiscard]] std::string shortened(const std::string& text) const {
        return replaced(replaced(text, data().string(), "D"), out().string(), "O");
    }

  private:
    void write_part(const std::string& part, std::uint32_t count) const {
        std::string images = idx(0x803, {count, side, side}), labels = idx(0x801, {count});
        for (std::uint32_t i = 0; i < count; ++i) {
            for (std::uint32_t p = 0; p < side * side; ++p)
                images += static_cast<char>(p == i % 10 ? 255 : (i * 7 + p * 13) % 64);
            labels += static_cast<char>(i % 10);
        }
        write_text(data_file(part + "-images-idx3-ubyte"), images);
        write_text(data_file(part + "-labels-idx1-ubyte"), labels);
    }

    fs::path path_;
};

/// Exit code 2, nothing on standard output, one line on standard error.
inline void check_refused(const Workplace& place, const Outcome& outcome, const std::string& line) {
    CHECK(outcome.code == 2);
    CHECK(outcome.out == "");
    CHECK(place.shortened(outcome.err) == "ferrite: " + line + '\n');
}

struct Refusal {
    Words more;
    std::string line;
};

inline std::vector<std::string> supported_isas() {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < ferrite::isa_count; ++i)
        if (const auto isa = static_cast<ferrite::Isa>(i); ferrite::supported(isa))
            names.emplace_back(name(isa));
    return names;
}

inline json last_event(const Outcome& outcome) {
    REQUIRE(outcome.code == 0);
    const std::vector<json> events = outcome.events();
    REQUIRE(!events.empty());
    return events.back();
}

inline Words keys(const json& object) {
    Words result;
    for (const auto& [key, value] : object.items()) result.push_back(key);
    return result;
}

inline void check_heap(const json& done) {
    if (ferrite::host::heap_allocations()) {
        CHECK(done.at("heap_allocations") == 0);
    } else {
        CHECK(done.at("heap_allocations").is_null());
    }
}

}  // namespace ferrite::test
