// SPDX-License-Identifier: MIT
// The page of the laboratory: its words, its verdicts, its file, and how a browser takes it.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "browser.hpp"
#include "host/dataset.hpp"
#include "host/page.hpp"

namespace {

namespace fs = std::filesystem;
using namespace ferrite::host;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        std::string name = (fs::temp_directory_path() / "ferrite page-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

std::string read_text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t result = 0;
    for (std::size_t p = 0; (p = text.find(part, p)) != std::string::npos; p += part.size()) ++result;
    return result;
}

/// Two pictures as gnuplot makes them: one wide, one with every byte that a URI or HTML could stumble over.
Picture picture(unsigned width, const std::string& words) {
    return {.svg = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<svg viewBox=\"0 0 " + std::to_string(width) +
                   " 400\" xmlns=\"http://www.w3.org/2000/svg\">\n\t<text x='9' y='50' fill='#FFCC00'>" +
                   words + "</text>\n</svg>\n",
            .problem = "",
            .width = width,
            .height = 400};
}

Page whole_page() {
    const std::string long_word(150, 'w');
    return {.title = "Laboratory",
            .subtitle = long_word,
            .experiments = {
                {.title = "Paths",
                 .pictures = {{picture(1000, "x²/20 &amp; 100% #1 ? \\ \"q\" 'q' 日本 ]]"), "paths"},
                              {picture(760, "second"), "the second"}},
                 .shows = "Optimizers on a valley.",
                 .expected = "A zigzag.",
                 .measured = "A zigzag.",
                 .checks = {{"x after 29 steps of an optimizer with a name", -1, 1, 0.5}, {"y", 0, 1, 2}},
                 .data_file = "paths.csv"},
                {.title = "No picture",
                 .pictures = {{{.svg = "", .problem = "gnuplot: found no such program"}, "curves"}}},
                {.title = "A drawing " + long_word,
                 .pictures = {{draw({.title = "t",
                                     .charts = {{.title = "",
                                                 .x = {.label = "x"},
                                                 .y = {.label = "y"},
                                                 .series = {{.name = "s", .x = {1, 2}, .y = {3, 4}}}}}}),
                               "a line"}}}}};
}

TEST_CASE("text becomes harmless in HTML") {
    const std::pair<const char*, const char*> cases[]{
        {"plain", "plain"},
        {"<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"},
        {"a & b \"c\" 'd'", "a &amp; b &quot;c&quot; &#39;d&#39;"},
        {"&lt;", "&amp;lt;"},
        {"two\nlines\tand\x01more", "two lines and?more"},
        {"\xff\xc3", "??"},
        {"x² 日本", "x² 日本"},
    };
    for (const auto& c : cases) {
        CAPTURE(c.first);
        CHECK(html_text(c.first) == c.second);
    }
    const std::string hostile = "</title><img src=x onerror='alert(1)'>\"";
    const Page page{.title = hostile,
                    .subtitle = hostile,
                    .experiments = {{.title = hostile,
                                     .pictures = {{picture(10, "a"), hostile},
                                                  {{.svg = "", .problem = hostile}, hostile}},
                                     .shows = hostile,
                                     .expected = hostile,
                                     .measured = hostile,
                                     .checks = {{.quantity = hostile}},
                                     .data_file = hostile}}};
    const std::string text = html(page);
    CHECK(count(text, "<img") == 1);
    CHECK_FALSE(has(text, "<img src"));
    CHECK_FALSE(has(text, "onerror='"));
    CHECK(count(text, "</title>") == 1);
    CHECK_FALSE(has(text, "<script"));
}

TEST_CASE("verdicts") {
    struct Case {
        std::vector<Check> checks;
        bool judged;
        Verdict verdict;
        const char* words;
    };
    const Check good{"a", 0, 1, 0.5}, bad{"b", 0, 1, 1.5};
    const Case cases[]{
        {{good}, true, Verdict::pass, "pass"},
        {{good, bad}, true, Verdict::differs, "differs"},
        {{bad, good}, true, Verdict::differs, "differs"},
        {{good, good}, true, Verdict::pass, "pass"},
        {{}, true, Verdict::not_judged, "not judged"},
        {{good}, false, Verdict::not_judged, "not judged"},
        {{bad}, false, Verdict::not_judged, "not judged"},
        {{{"edge", 0, 1, 1}}, true, Verdict::pass, "pass"},
        {{{"edge", 0, 1, 0}}, true, Verdict::pass, "pass"},
        {{{"nan", 0, 1, nan}}, true, Verdict::differs, "differs"},
        {{{"nan, no limits", -infinity, infinity, nan}}, true, Verdict::differs, "differs"},
        {{{"no limits", -infinity, infinity, 1e30}}, true, Verdict::pass, "pass"},
        {{{"infinite", 0, infinity, infinity}}, true, Verdict::pass, "pass"},
    };
    for (const Case& c : cases) {
        CAPTURE(c.checks.empty() ? std::string("none") : c.checks[0].quantity);
        const Experiment experiment{.title = "e", .checks = c.checks, .judged = c.judged};
        CHECK(experiment.verdict() == c.verdict);
        CHECK(std::string(name(c.verdict)) == c.words);
        const std::string text = html({.title = "", .subtitle = "", .experiments = {experiment}});
        CHECK(count(text, std::string(">") + c.words + "</span>") == 2);  // contents and section
        CHECK(count(text, ">not inside</span>") + count(text, ">inside</span>") == c.checks.size());
    }
}

TEST_CASE("limits and measurements in words") {
    struct Case {
        Check check;
        const char *expected, *measured;
    };
    const Case cases[]{
        {{"", 0.25, 1, 0.5}, "0.25 .. 1", "0.5"},
        {{"", 0.25, infinity, 0.5}, "at least 0.25", "0.5"},
        {{"", -infinity, -2, -3}, "at most −2", "−3"},
        {{"", -infinity, infinity, nan}, "any number", "not a number"},
        {{"", 0, 1, infinity}, "0 .. 1", "infinite"},
        {{"", 0, 1, 1.0000001}, "0 .. 1", "1.0000001"},  // on which side it lies is to be seen
        {{"", 0, 1, 0.123456}, "0 .. 1", "0.1235"},
    };
    for (const Case& c : cases) {
        const std::string text =
            html({.title = "", .subtitle = "", .experiments = {{.title = "", .checks = {c.check}}}});
        CAPTURE(text.substr(text.find("<tbody>")));
        CHECK(has(text, std::string("<td>") + c.expected + "</td><td>" + c.measured + "</td>"));
    }
}

TEST_CASE("what a page holds") {
    const Page page = whole_page();
    const std::string text = html(page);
    CHECK(html(page) == text);
    CHECK(has(text, "<nav"));
    CHECK(has(text, "href=\"#experiment-2\""));
    CHECK(has(text, "id=\"experiment-2\""));
    CHECK(has(text, "A picture is missing here (curves). gnuplot: found no such program"));
    CHECK(has(text, "href=\"./paths.csv\""));
    CHECK(count(text, "http:") == count(text, "http://www.w3.org/"));
    CHECK_FALSE(has(text, "https:"));
    CHECK_FALSE(has(text, "<script"));
    CHECK_FALSE(has(text, " style="));

    const std::string empty = html({.title = "Nothing", .subtitle = "", .experiments = {}});
    CHECK_FALSE(has(empty, "<nav"));
    CHECK_FALSE(has(empty, "<section"));
    const std::string odd =
        html({.title = "", .subtitle = "", .experiments = {{.title = "", .data_file = "a b#c?d:e/ü.csv"}}});
    CHECK(has(odd, "href=\"./a%20b%23c%3Fd%3Ae/%C3%BC.csv\""));
}

TEST_CASE("the file of a page is whole or not there") {
    const TemporaryDirectory directory;
    const fs::path path = directory.path() / "index.html";
    write_page("--out", path.string(), whole_page());
    CHECK(read_text(path) == html(whole_page()));
    const Page other{.title = "again", .subtitle = "", .experiments = {}};
    write_page("--out", path.string(), other);
    CHECK(read_text(path) == html(other));

    const auto message = [](const std::string& name) {
        try {
            write_page("--out", name, whole_page());
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string("written");
    };
    const std::string missing = (directory.path() / "none" / "index.html").string();
    CHECK(message(missing).rfind("--out " + missing, 0) == 0);
    const std::string folder = directory.path().string();
    CHECK(message(folder).rfind("--out " + folder, 0) == 0);
    if (geteuid() != 0) {
        fs::permissions(directory.path(), fs::perms::owner_read | fs::perms::owner_exec);
        const std::string closed = (directory.path() / "closed.html").string();
        CHECK(message(closed).rfind("--out " + closed, 0) == 0);
        fs::permissions(directory.path(), fs::perms::owner_all);
    }
    CHECK(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("a browser shows the page") {
    if (!browser_is_here()) return;
    const TemporaryDirectory directory;
    const fs::path path = directory.path() / "index.html";
    write_page("--out", path.string(), whole_page());
    for (const int width : {400, 800, 1400}) {
        CAPTURE(width);
        const BrowserReport report = open_in_browser(path, width);
        REQUIRE(report.problem == "");
        CHECK(report.pictures == 3);
        CHECK(report.loaded == report.pictures);
        CHECK(report.console == std::vector<std::string>{});
        CHECK(report.requests == std::vector<std::string>{});
        CHECK(report.client_width > width - 30);  // the rest is its scroll bar
        CHECK(report.scroll_width == report.client_width);
    }
}

TEST_CASE("the browser sees what is wrong with a page") {
    if (!browser_is_here()) return;
    const TemporaryDirectory directory;
    const auto open = [&](const std::string& body) {
        const fs::path path = directory.path() / "page.html";
        std::ofstream(path)
            << "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><link rel=\"icon\" "
               "href=\"data:,\">"
            << body << "</html>";
        const BrowserReport report = open_in_browser(path, 800);
        REQUIRE(report.problem == "");
        return report;
    };
    const BrowserReport broken = open("<title>t</title><img alt=\"\" src=\"data:image/svg+xml,%3Csvg%3E\">");
    CHECK(broken.pictures == 1);
    CHECK(broken.loaded == 0);
    const BrowserReport loud = open("<title>t</title><script>console.error('aloud'); nowhere();</script>");
    CHECK(loud.console.size() == 2);
    const BrowserReport refused = open(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\"><p "
        "style=\"color:red\">x</p>");
    CHECK(refused.console.size() == 1);
    const BrowserReport wide = open("<title>t</title><div style=\"width:2000px\">x</div>");
    CHECK(wide.scroll_width > wide.client_width);
    const BrowserReport curious = open("<title>t</title><img alt=\"\" src=\"other.png\">");
    CHECK(curious.requests.size() == 1);

    CHECK(open_in_browser(directory.path() / "page.html", 800, std::chrono::milliseconds(1)).problem ==
          "chromium does not answer in time");
}

}  // namespace
