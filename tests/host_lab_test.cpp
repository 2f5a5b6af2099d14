// SPDX-License-Identifier: MIT
// `ferrite lab` as a person meets it: what it writes, what it refuses, what an end in the middle leaves behind.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "browser.hpp"
#include "workplace.hpp"

using namespace ferrite::test;

namespace {

/// Enough images for every experiment, ten classes, 4 x 4 pixels.
void write_images(const Workplace& place, std::uint32_t training = 1100) {
    for (const auto& [part, count] : {std::pair<const char*, std::uint32_t>{"train", training}, {"t10k", 100}}) {
        const std::string name = part;
        std::string images = idx(0x803, {count, 4, 4}), labels = idx(0x801, {count});
        for (std::uint32_t i = 0; i < count; ++i) {
            for (std::uint32_t p = 0; p < 16; ++p)
                images += static_cast<char>(p == i % 10 ? 255 : (i * 7 + p * 13) % 64);
            labels += static_cast<char>(i % 10);
        }
        write_text(place.data_file(name + "-images-idx3-ubyte"), images);
        write_text(place.data_file(name + "-labels-idx1-ubyte"), labels);
    }
}

Words lab(const Words& more) {
    Words words{"lab", "--data", "D", "--out", "O", "--quick"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

const std::array names{"trajectories", "optimizers", "activations", "initialization", "batchnorm",
                       "overfitting", "weight-decay", "dropout", "search"};

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

/// Digests by experiment.
std::map<std::string, std::string> digests(const Outcome& outcome) {
    REQUIRE(outcome.code == 0);
    std::map<std::string, std::string> found;
    for (const json& event : outcome.events())
        if (event.at("event") == "experiment") found[event.at("name")] = event.at("digest");
    return found;
}

}  // namespace

TEST_CASE("lab: all experiments, the page, the pictures, the data; the same for any number of jobs") {
    const Workplace place;
    write_images(place);
    const Outcome outcome = place.run(lab({"all", "--json", "-", "--jobs", "1"}));
    REQUIRE(outcome.code == 0);
    const std::vector<json> events = outcome.events();
    REQUIRE(events.size() == 11);
    CHECK(events.front().at("event") == "plan");
    CHECK(events.front().at("experiments").size() == 9);
    const std::string page = read_text(place.out() / "index.html");
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string experiment = names[i];
        CAPTURE(experiment);
        const json& event = events.at(i + 1);
        CHECK(event.at("name") == experiment);
        // These two depend on no data.
        const bool judged = experiment == "trajectories" || experiment == "activations";
        CHECK(event.at("verdict") == (judged ? "pass" : "not judged"));
        CHECK(event.at("checks").size() == (experiment == "trajectories" ? 12 : judged ? 20 : 0));
        for (const json& check : event.at("checks")) {
            CHECK(check.at("inside") == true);
            CHECK(check.at("low") <= check.at("measured"));
            CHECK(check.at("measured") <= check.at("high"));
        }
        if (!event.at("heap_allocations").is_null()) CHECK(event.at("heap_allocations") == 0);
        std::size_t pictures = 0;
        for (const std::string file : event.at("files")) {
            CAPTURE(file);
            const std::string text = read_text(place.out() / file);
            if (file.ends_with(".svg")) {
                ++pictures;
                CHECK(text.find("</svg>") != std::string::npos);
            } else {
                CHECK(file == experiment + ".csv");
                CHECK(text.starts_with("panel,series,x,y,low,high\n"));
                CHECK(count(text, "\n") > 30);
                CHECK(page.find("href=\"./" + file) != std::string::npos);
            }
        }
        CHECK(pictures == (experiment == "activations" ? 3 : experiment == "trajectories" || experiment == "search" ? 2 : 1));
    }
    const json& done = events.back();
    CHECK(done.at("event") == "done");
    if (!done.at("heap_allocations").is_null()) CHECK(done.at("heap_allocations") == 0);
    CHECK(count(page, "<section") == 9);
    CHECK(count(page, "<img ") == 13);
    CHECK(count(page, "not judged</span>") == 2 * 7);  // in the table of contents too
    CHECK(page.find("not a number") == std::string::npos);
    CHECK(place.files_in_out().size() == 1 + 9 + 13);

    if (browser_is_here())
        for (const int width : {400, 1200}) {
            CAPTURE(width);
            const BrowserReport report = open_in_browser(place.out() / "index.html", width);
            CHECK(report.problem == "");
            CHECK(report.pictures == 13);
            CHECK(report.loaded == 13);
            CHECK(report.console.empty());
            CHECK(report.requests.empty());
            CHECK(report.scroll_width <= report.client_width);
        }

    const auto one = digests(outcome), three = digests(place.run(lab({"all", "--json", "-", "--jobs", "3"})));
    CHECK(one == three);
    CHECK(one.size() == 9);
}

TEST_CASE("lab: several seeds are drawn as bands") {
    const Workplace place;
    write_images(place);
    const Outcome outcome = place.run(lab({"overfitting", "--seeds", "3"}));
    REQUIRE(outcome.code == 0);
    CHECK(outcome.out.find("3 seeds") != std::string::npos);
    const std::string data = read_text(place.out() / "overfitting.csv");
    // A line of the file: x, y and the band around it.
    const std::size_t at = data.find("test images,20,");
    REQUIRE(at != std::string::npos);
    double y = 0, low = 0, high = 0;
    REQUIRE(std::sscanf(data.c_str() + at, "test images,20,%lf,%lf,%lf", &y, &low, &high) == 3);
    CHECK(low < y);
    CHECK(y < high);
}

TEST_CASE("lab: without gnuplot the data are there, and the page says what is missing") {
    const Workplace place;
    const Outcome outcome = place.run(lab({"trajectories"}), {"PATH=/nonexistent"});
    CHECK(outcome.code == 0);
    CHECK(outcome.out.find("gnuplot-nox") != std::string::npos);
    CHECK(place.files_in_out() == std::set<std::string>{"index.html", "trajectories.csv"});
    const std::string page = read_text(place.out() / "index.html");
    CHECK(page.find("gnuplot-nox") != std::string::npos);
    CHECK(count(page, "<img ") == 0);
}

TEST_CASE("lab: what it refuses") {
    const Workplace place;
    write_text(place.out() / "file", "");
    const std::string some = "one of trajectories, optimizers, activations, initialization, batchnorm, overfitting, "
                             "weight-decay, dropout, search, all";
    for (const Refusal& refusal : std::vector<Refusal>{
             {{"lab", "everything", "--out", "O"}, "ferrite lab: found everything, expected " + some},
             {{"lab", "all", "--out", "O", "--seeds", "0"}, "--seeds: found 0, expected a whole number in 1..1000"},
             {{"lab", "all", "--out", "O", "--seeds", "two"}, "--seeds: found two, expected a whole number in 1..1000"},
             {{"lab", "all", "--out", "O", "--jobs", "0"}, "--jobs: found 0, expected a whole number in 1..1024"},
             {{"lab", "all", "--out", ""}, "--out: found nothing, expected a directory"},
             {{"lab", "all", "--data", "", "--out", "O"}, "--data: found nothing, expected a directory"},
             {{"lab", "all", "--json", "", "--out", "O"}, "--json: found nothing, expected a file"},
             {{"lab", "trajectories", "--out", "O/file"},
              "--out O/file: found Not a directory, expected a directory that can be written"},
             {{"lab", "trajectories", "--out", "/proc/lab"},
              "--out /proc/lab: found No such file or directory, expected a directory that can be written"},
             {{"lab", "all", "--data", "D", "--out", "O"},
              "--data: found 65 training images in data, expected at least 128 for the experiment"},
             {{"lab", "batchnorm", "--data", "D", "--out", "O"},
              "--data: found 65 training images in data, expected at least 1000 for the experiment"},
             {{"lab", "search", "--data", "D", "--out", "O"},
              "--data: found 65 training images in data, expected at least 500 for the experiment"},
             {{"lab", "all", "--out", "O", "--speed", "9"},
              "--speed: found an unknown option, expected one of those in `ferrite lab --help`"},
         }) {
        const std::string line = refusal.line;
        CAPTURE(line);
        check_refused(place, place.run(refusal.more), refusal.line);
    }
    CHECK(place.files_in_out() == std::set<std::string>{"file"});
    const Outcome missing = place.run({"lab", "optimizers", "--data", "O/nothing", "--out", "O"});
    CHECK(missing.code == 2);
    CHECK(place.files_in_out() == std::set<std::string>{"file"});
}

TEST_CASE("lab: an end in the middle leaves complete experiments and nothing else") {
    for (const int signal : {SIGINT, SIGKILL}) {
        CAPTURE(signal);
        const Workplace place;
        write_images(place);
        const pid_t child = place.start({"lab", "all", "--data", "D", "--out", "O", "--jobs", "1"});
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
        while (!fs::exists(place.out() / "index.html") && std::chrono::steady_clock::now() < deadline)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        ::kill(child, signal);
        const Outcome outcome = place.finish(child);
        CHECK(outcome.code == 128 + signal);
        const std::string page = read_text(place.out() / "index.html");
        CHECK(page.ends_with("</html>\n"));
        const std::size_t complete = count(page, "<section");
        CHECK(complete >= 1);
        CHECK(complete < 9);
        for (std::size_t i = 0; i < complete; ++i) {
            const std::string file = std::string(names[i]) + ".csv";
            CAPTURE(file);
            CHECK(read_text(place.out() / file).ends_with("\n"));
        }
        for (const std::string& file : place.files_in_out()) {
            CAPTURE(file);
            CHECK(!file.starts_with("."));
        }
        if (signal == SIGINT) CHECK(outcome.out.find("interrupted in ") != std::string::npos);
    }
}

TEST_CASE("lab: the experiments that need no data have the same digest on every instruction set") {
    const Workplace place;
    for (const char* const name : {"trajectories", "activations"}) {
        const std::string experiment = name;
        CAPTURE(experiment);
        std::set<std::string> found;
        for (const std::string& isa : supported_isas())
            found.insert(digests(place.run(lab({experiment, "--json", "-"}), {"FERRITE_ISA=" + isa})).at(experiment));
        CHECK(found.size() == 1);
    }
}
