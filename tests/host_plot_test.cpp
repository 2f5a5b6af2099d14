// SPDX-License-Identifier: MIT
// Figures: their data, their script, and the SVG that gnuplot makes of it. Without gnuplot the cases that
// need it are skipped; with FERRITE_REQUIRE_SHARED=1 they fail.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <limits>
#include <optional>
#include <random>

#include "host/plot.hpp"

namespace {

using namespace ferrite::host;
using Style = Series::Style;
using namespace std::chrono_literals;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool gnuplot_is_here() {
    if (run_process({"gnuplot", "--version"}, "", 20s).code == 0) return true;
    const char* const required = std::getenv("FERRITE_REQUIRE_SHARED");
    if (required != nullptr && std::string(required) == "1")
        FAIL("FERRITE_REQUIRE_SHARED=1, but there is no gnuplot (Debian: gnuplot-nox)");
    MESSAGE("skipped: there is no gnuplot (Debian: gnuplot-nox) to draw with");
    return false;
}

/// The environment variable has another value until the end of the scope.
class Setting {
  public:
    Setting(const char* name, const std::string& value) : name_(name) {
        if (const char* const old = std::getenv(name); old != nullptr) old_ = old;
        ::setenv(name, value.c_str(), 1);
    }
    ~Setting() {
        if (old_)
            ::setenv(name_, old_->c_str(), 1);
        else
            ::unsetenv(name_);
    }
    Setting(const Setting&) = delete;
    Setting& operator=(const Setting&) = delete;

  private:
    const char* name_;
    std::optional<std::string> old_{};
};

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// That the scope has left neither a descriptor nor a child behind.
class NothingLeft {
  public:
    NothingLeft() = default;
    ~NothingLeft() {
        CHECK(open_descriptors() == before_);
        errno = 0;
        CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
        CHECK(errno == ECHILD);
    }
    NothingLeft(const NothingLeft&) = delete;
    NothingLeft& operator=(const NothingLeft&) = delete;

  private:
    std::size_t before_ = open_descriptors();
};

/// A text of a picture and where it stands.
struct Text {
    std::string words;
    double x = 0, y = 0, size = 0;
    bool upright = false;
    std::string anchor{};

    /// Rather less than what it covers: left, top, right, bottom.
    [[nodiscard]] std::array<double, 4> box() const {
        const double letters = static_cast<double>(
            std::count_if(words.begin(), words.end(), [](char c) { return (c & 0xC0) != 0x80; }));
        const double length = 0.5 * size * letters;
        const double start = anchor == "middle" ? -length / 2 : anchor == "end" ? -length : 0;
        if (upright) return {x - 0.7 * size, y - start - length, x, y - start};
        return {x + start, y - 0.7 * size, x + start + length, y};
    }
};

std::string unescaped(std::string text) {
    const std::pair<const char*, const char*> entities[]{{"&lt;", "<"},  {"&gt;", ">"},   {"&quot;", "\""},
                                                         {"&#39;", "'"}, {"&apos;", "'"}, {"&amp;", "&"}};
    for (const auto& e : entities)
        for (std::size_t p = 0; (p = text.find(e.first, p)) != std::string::npos; ++p)
            text.replace(p, std::string(e.first).size(), e.second);
    return text;
}

double number_behind(const std::string& text, const std::string& key) {
    const std::size_t place = text.rfind(key);
    return place == std::string::npos ? nan : std::strtod(text.c_str() + place + key.size(), nullptr);
}

std::vector<Text> texts_of(const std::string& svg) {
    std::vector<Text> result;
    for (std::size_t p = 0; (p = svg.find("<text", p)) != std::string::npos;) {
        const std::string before = svg.substr(svg.rfind("<g transform", p), p - svg.rfind("<g transform", p));
        const std::size_t begin = svg.find('>', p) + 1, end = svg.find("</text>", p);
        Text text{unescaped(svg.substr(begin, end - begin)), number_behind(before, "translate("), 0,
                  number_behind(before, "font-size=\""), has(before, "rotate(")};
        const std::size_t comma = before.find(',', before.find("translate("));
        text.y = std::strtod(before.c_str() + comma + 1, nullptr);
        const std::size_t anchor = before.find("text-anchor=\"") + 13;
        text.anchor = before.substr(anchor, before.find('"', anchor) - anchor);
        result.push_back(text);
        p = end;
    }
    return result;
}

/// What is wrong with it as XML; empty: nothing.
std::string xml_problem(const std::string& text) {
    std::vector<std::string> open;
    bool root = false;
    for (std::size_t i = 0; i < text.size();) {
        if (text[i] != '<') {
            const std::size_t stop = std::min(text.size(), text.find('<', i));
            for (std::size_t p = i; p < stop; ++p) {
                const auto byte = static_cast<unsigned char>(text[p]);
                if (byte < 0x20 && byte != '\n' && byte != '\t') return "a control character";
                if (byte != '&') continue;
                const std::string entity = text.substr(p + 1, text.find(';', p) - p - 1);
                if (entity.empty() || entity.size() > 6) return "a bare & before " + text.substr(p, 20);
            }
            if (text.substr(i, stop - i).find("]]>") != std::string::npos) return "]]> in text";
            if (open.empty() && text.substr(i, stop - i).find_first_not_of(" \n\t") != std::string::npos)
                return "text outside of the root";
            i = stop;
            continue;
        }
        char quote = 0;
        std::size_t stop = i + 1;
        for (; stop < text.size() && (quote != 0 || text[stop] != '>'); ++stop) {
            if (quote == 0 && text[stop] == '<') return "< in a tag";
            if (quote == 0 && (text[stop] == '"' || text[stop] == '\''))
                quote = text[stop];
            else if (text[stop] == quote)
                quote = 0;
        }
        if (stop == text.size()) return "a tag that does not end";
        const std::string tag = text.substr(i + 1, stop - i - 1);
        i = stop + 1;
        if (tag[0] == '?') continue;
        const std::string name = tag.substr(0, tag.find_first_of(" \n\t/", 1));
        if (tag[0] == '/') {
            if (open.empty() || '/' + open.back() != tag) return "</" + tag.substr(1) + "> closes nothing";
            open.pop_back();
        } else if (tag.back() != '/') {
            if (open.empty() && root) return "two roots";
            root = true;
            open.push_back(name);
        }
    }
    return !open.empty() ? open.back() + " does not end" : root ? "" : "no root";
}

std::string drawn(const Figure& figure) {
    const NothingLeft check;
    const Picture picture = draw(figure);
    REQUIRE(picture.problem == "");
    CHECK(picture.width >= 400);
    CHECK(picture.height > 0);
    CHECK(xml_problem(picture.svg) == "");
    CHECK_FALSE(has(picture.svg, "nan"));
    CHECK_FALSE(has(picture.svg, "inf"));
    CHECK(has(picture.svg,
              "viewBox=\"0 0 " + std::to_string(picture.width) + ' ' + std::to_string(picture.height) + '"'));
    CHECK(picture.svg.size() < 150000);
    const std::vector<Text> texts = texts_of(picture.svg);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto a = texts[i].box();
        CAPTURE(texts[i].words);
        CHECK(a[0] >= -1);
        CHECK(a[1] >= -1);
        CHECK(a[2] <= picture.width + 1);
        CHECK(a[3] <= picture.height + 1);
        for (std::size_t k = 0; k < i; ++k) {
            const auto b = texts[k].box();
            CAPTURE(texts[k].words);
            const bool apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
            CHECK(apart);
        }
    }
    return picture.svg;
}

bool says(const std::string& svg, const std::string& words) {
    const std::vector<Text> texts = texts_of(svg);
    return std::any_of(texts.begin(), texts.end(), [&](const Text& text) { return text.words == words; });
}

Series counted(std::string name, Style style, std::size_t count, double (*f)(double)) {
    Series series{.name = std::move(name), .style = style};
    for (std::size_t i = 0; i < count; ++i) {
        series.x.push_back(static_cast<double>(i));
        series.y.push_back(f(static_cast<double>(i)));
    }
    return series;
}

Figure figure_of(std::vector<Series> series, bool log_x = false, bool log_y = false) {
    return {.title = "The title",
            .charts = {{.title = "A chart",
                        .x = {.label = "across", .logarithmic = log_x},
                        .y = {.label = "up", .logarithmic = log_y},
                        .series = std::move(series)}}};
}

TEST_CASE("CSV") {
    struct Case {
        const char* panel;
        Series series;
        const char* lines;
    };
    const Case cases[]{
        {"p", {.name = "s", .x = {1, 2}, .y = {0.1, 1e300}}, "p,s,1,0.1,,\np,s,2,1e+300,,\n"},
        {"p",
         {.name = "s", .x = {0, 1, 2}, .y = {nan, infinity, -infinity}},
         "p,s,0,nan,,\np,s,1,inf,,\np,s,2,-inf,,\n"},
        {"p", {.name = "s", .x = {1}, .y = {2}, .low = {1.5}, .high = {2.5}}, "p,s,1,2,1.5,2.5\n"},
        {"a,b", {.name = "say \"x\"", .x = {1}, .y = {2}}, "\"a,b\",\"say \"\"x\"\"\",1,2,,\n"},
        {"two\nlines", {.name = "cr\rs", .x = {1}, .y = {2}}, "\"two\nlines\",\"cr\rs\",1,2,,\n"},
        {"p", {.name = "s", .style = Style::guide, .x = {1}, .y = {2}}, ""},
        {"p", {.name = "s"}, ""},
        {"p", {.name = "s", .x = {0.1 + 0.2}, .y = {5e-324}}, "p,s,0.30000000000000004,5e-324,,\n"},
        {"", {.name = "s", .x = {1}, .y = {2}}, "figure,s,1,2,,\n"},
    };
    for (const Case& c : cases) {
        CAPTURE(c.lines);
        const Figure figure{.title = "figure",
                            .charts = {{.title = c.panel, .x = {}, .y = {}, .series = {c.series}}}};
        CHECK(csv_text({&figure, 1}) == std::string("panel,series,x,y,low,high\n") + c.lines);
    }
    const Figure bars{
        .title = "f",
        .charts = {{.title = "p",
                    .x = {.names = {"scalar", "AVX, 2"}},
                    .y = {},
                    .series = {{.name = "s", .style = Style::bars, .x = {0, 1, 2}, .y = {5, 6, 7}}}}}};
    CHECK(csv_text({&bars, 1}) ==
          "panel,series,x,y,low,high\np,s,scalar,5,,\np,s,\"AVX, 2\",6,,\np,s,2,7,,\n");
    const Figure both[]{bars, bars};
    CHECK(has(csv_text(both), "\nf: p,s,2,7,,\n"));
}

TEST_CASE("a histogram counts each value once") {
    std::mt19937 bits(7);
    std::vector<float> values(5000);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(bits);
    const float special[]{0,
                          1,
                          -1,
                          std::nextafter(1.0f, 2.0f),
                          std::nextafter(-1.0f, -2.0f),
                          0.25f,
                          1e30f,
                          std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()};
    values.insert(values.end(), std::begin(special), std::end(special));
    for (const std::size_t bins : {1u, 8u, 64u}) {
        CAPTURE(bins);
        const Series series = histogram("h", values, -1, 1, bins);
        REQUIRE(series.x.size() == bins);
        CHECK(series.style == Style::histogram);
        const double width = 2.0 / static_cast<double>(bins);
        for (std::size_t i = 0; i < bins; ++i) {
            const double low = -1 + width * static_cast<double>(i);
            CHECK(series.x[i] == doctest::Approx(low + width / 2));
            const auto inside = [&](float value) {
                const auto v = static_cast<double>(value);
                return v >= low && (v < low + width || (i + 1 == bins && v == 1));
            };
            const auto expected = static_cast<double>(std::count_if(values.begin(), values.end(), inside));
            CHECK(series.y[i] == expected / static_cast<double>(values.size()));
        }
    }
    CHECK(histogram("h", {}, 0, 1, 3).y == std::vector<double>{0, 0, 0});
}

TEST_CASE("contour lines lie where they say") {
    const double levels[]{0.5, 2, 32};
    const std::vector<Series> lines = ellipses("f", 20, levels);
    REQUIRE(lines.size() == 3);
    for (std::size_t k = 0; k < 3; ++k) {
        CHECK(lines[k].name == (k == 0 ? "f" : ""));
        CHECK(lines[k].style == Style::guide);
        CHECK(lines[k].x.front() == lines[k].x.back());
        CHECK(lines[k].y.front() == lines[k].y.back());
        for (std::size_t i = 0; i < lines[k].x.size(); ++i)
            CHECK(lines[k].x[i] * lines[k].x[i] / 20 + lines[k].y[i] * lines[k].y[i] ==
                  doctest::Approx(levels[k]));
    }
}

TEST_CASE("numbers for a reader") {
    struct Case {
        double value;
        int digits;
        const char* text;
    };
    const Case cases[]{{0, 4, "0"},
                       {-0.0, 4, "0"},
                       {0.5, 4, "0.5"},
                       {1.0 / 3, 4, "0.3333"},
                       {-2, 4, "−2"},
                       {1e-7, 3, "1e−07"},
                       {123456, 4, "1.235e+05"},
                       {123456, 6, "123456"},
                       {nan, 4, "not a number"},
                       {infinity, 4, "infinite"},
                       {-infinity, 4, "minus infinite"}};
    for (const Case& c : cases) CHECK(number_text(c.value, c.digits) == c.text);
}

TEST_CASE("text that can be printed") {
    const std::pair<std::string, const char*> cases[]{
        {"plain ~", "plain ~"},
        {"a\nb\rc\td", "a b c d"},
        {std::string("a\0b\x1b[0m\x7f", 8), "a?b?[0m?"},
        {"x² – 日本 😀", "x² – 日本 😀"},
        {"\x80", "?"},
        {"\xc3", "?"},
        {"\xc3(", "?("},
        {"\xc0\xaf", "??"},            // overlong
        {"\xe0\x80\xaf", "???"},       // overlong
        {"\xed\xa0\x80", "???"},       // surrogate
        {"\xf5\x80\x80\x80", "????"},  // beyond Unicode
        {"\xf4\x90\x80\x80", "????"},  // beyond Unicode
        {"\xc2\x85", "??"},            // a control character
        {"\xef\xbf\xbf", "???"},       // not a character, and not allowed in XML
        {"\xe2\x82", "??"},            // cut off
    };
    for (const auto& c : cases) {
        CHECK(printable(c.first) == c.second);
        CHECK(printable(printable(c.first)) == c.second);
    }
}

TEST_CASE("pictures") {
    if (!gnuplot_is_here()) return;
    const auto falling = [](double i) { return std::exp(-i / 20) * (1.1 + std::sin(i)); };
    Series banded = counted("banded", Style::line, 50, falling);
    for (const double y : banded.y) {
        banded.low.push_back(y * 0.8);
        banded.high.push_back(y * 1.2);
    }
    Series gaps = counted("gaps", Style::line_points, 20, falling);
    gaps.y[3] = nan;
    gaps.y[9] = infinity;
    gaps.x[12] = nan;
    const auto zigzag = [](double i) { return std::fmod(i, 7) - 2; };
    const auto huge = [](double i) { return (i - 10) * 1e149; };
    const std::pair<const char*, Figure> cases[]{
        {"linear",
         figure_of({counted("a", Style::line, 30, falling), counted("b", Style::dashed, 30, zigzag)})},
        {"logarithmic", figure_of({counted("a", Style::line, 30, falling)}, true, true)},
        {"logarithmic over decades",
         figure_of(
             {{.name = "a", .style = Style::points, .x = {1e-9, 1, 1e8, 0, -3}, .y = {1e-30, 1, 1e20, 5, 0}}},
             true, true)},
        {"logarithmic, nothing above 0",
         figure_of({counted("a", Style::line, 30, [](double i) { return -i; })}, true, true)},
        {"band", figure_of({banded})},
        {"band, logarithmic", figure_of({banded}, false, true)},
        {"gaps", figure_of({gaps})},
        {"bars", figure_of({counted("a", Style::bars, 4, zigzag), counted("b", Style::bars, 4, zigzag)})},
        {"histogram", figure_of({histogram("h", std::vector<float>{0.1f, 0.5f, 0.5f, 0.9f}, 0, 1, 10)})},
        {"steps", figure_of({counted("a", Style::steps, 9, zigzag)})},
        {"guides only", figure_of(ellipses("f", 20, std::vector<double>{1, 2}))},
        {"no series", figure_of({})},
        {"empty series", figure_of({{.name = "a"}})},
        {"single point", figure_of({{.name = "a", .x = {3}, .y = {4}}})},
        {"single point, all styles",
         figure_of({{.name = "a", .style = Style::bars, .x = {3}, .y = {4}},
                    {.name = "b", .style = Style::histogram, .x = {3}, .y = {4}},
                    {.name = "c", .style = Style::steps, .x = {3}, .y = {4}},
                    {.name = "d", .style = Style::line_points, .x = {3}, .y = {4}}})},
        {"nothing finite", figure_of({{.name = "a", .x = {1, 2, 3}, .y = {nan, nan, infinity}}})},
        {"constant", figure_of({counted("a", Style::line, 30, [](double) { return 0.1; })})},
        {"constant 0", figure_of({counted("a", Style::line, 30, [](double) { return 0.0; })})},
        {"constant but for the last bit",
         figure_of({{.name = "a", .x = {1, 2}, .y = {1, std::nextafter(1.0, 2.0)}}})},
        {"constant but for the last bit, logarithmic",
         figure_of(
             {{.name = "a", .x = {1, std::nextafter(1.0, 2.0)}, .y = {1e-9, std::nextafter(1e-9, 1.0)}}},
             true, true)},
        {"huge", figure_of({counted("a", Style::line, 20, huge)})},
        {"larger than drawn", figure_of({{.name = "a", .x = {1, 2, 3}, .y = {1e300, 1, -1e300}}})},
        {"small", figure_of({counted("a", Style::line, 20, [](double i) { return i * 1e-140; })})},
    };
    for (const auto& c : cases) {
        CAPTURE(c.first);
        const std::string svg = drawn(c.second);
        for (const char* const words : {"The title", "A chart", "across", "up"}) CHECK(says(svg, words));
        for (const Series& series : c.second.charts[0].series)
            if (!series.name.empty()) CHECK(says(svg, series.name));
    }
    CHECK(drawn({.title = "", .charts = {}}) != "");

    Figure named = figure_of({counted("a", Style::bars, 3, zigzag)});
    named.charts[0].x.names = {"scalar", "100 % \"AVX\"", "c's"};
    const std::string svg = drawn(named);
    for (const std::string& words : named.charts[0].x.names) CHECK(says(svg, words));
}

TEST_CASE("pictures of many panels") {
    if (!gnuplot_is_here()) return;
    for (const bool same : {true, false}) {
        for (const std::size_t columns : {1u, 2u, 4u, 5u, 100u}) {
            CAPTURE(same);
            CAPTURE(columns);
            Figure figure{.title = "Many", .charts = {}, .columns = columns, .same_limits = same};
            for (std::size_t i = 0; i < (columns < 3 ? 3u : 16u); ++i)
                figure.charts.push_back(
                    {.title = "panel " + std::to_string(i),
                     .x = {.label = "across"},
                     .y = {.label = "up"},
                     .series = {counted("training", Style::line, 40, [](double k) { return k * 1e3; }),
                                counted("test", Style::dashed, 40, [](double k) { return k * k; })}});
            if (columns == 100) {
                // Too many for the page is ugly but no crash.
                const Picture picture = draw(figure);
                CHECK(picture.problem == "");
                CHECK(xml_problem(picture.svg) == "");
                continue;
            }
            const std::string svg = drawn(figure);
            const std::vector<Text> texts = texts_of(svg);
            const auto times = [&](const std::string& words) {
                return std::count_if(texts.begin(), texts.end(),
                                     [&](const Text& t) { return t.words == words; });
            };
            CHECK(times("training") == 1);
            CHECK(times("across") == (same ? 1 : static_cast<std::ptrdiff_t>(figure.charts.size())));
            CHECK(times("up") == (same ? 1 : static_cast<std::ptrdiff_t>(figure.charts.size())));
            for (const Chart& chart : figure.charts) CHECK(times(chart.title) == 1);
        }
    }
}

TEST_CASE("bins that would flatten all others are cut off, and say so") {
    Series series = counted("h", Style::histogram, 20, [](double i) { return i == 0 ? 0.81 : 0.01; });
    Figure figure = figure_of({series});
    CHECK(has(gnuplot_script(figure), "set yrange [0:0.03]"));
    CHECK(has(csv_text({&figure, 1}), ",0,0.81,"));
    if (gnuplot_is_here()) CHECK(says(drawn(figure), "↑0.81"));
    figure.charts[0].y.high = 1;
    CHECK(has(gnuplot_script(figure), "set yrange [0:1]"));
    CHECK_FALSE(has(gnuplot_script(figure), "↑"));
    series.y[0] = 0.03;
    CHECK_FALSE(has(gnuplot_script(figure_of({series})), "↑"));
}

TEST_CASE("the legend lies above the panels") {
    if (!gnuplot_is_here()) return;
    for (const std::size_t count : {1u, 4u, 12u, 30u}) {
        CAPTURE(count);
        std::vector<Series> series;
        for (std::size_t i = 0; i < count; ++i) {
            series.push_back(counted("", Style::line, 10, [](double k) { return k; }));
            series.back().name = "curve number " + std::to_string(i);
        }
        const std::string svg = drawn(figure_of(series));
        double top = infinity;
        for (std::size_t p = 0; (p = svg.find("class=\"gridline\"", p)) != std::string::npos; ++p) {
            const std::string path = svg.substr(p, svg.find("/>", p) - p);
            double x = 0, y = 0, across = 0, down = 0;
            REQUIRE(std::sscanf(path.c_str(), "class=\"gridline\"  d='M%lf%lfl%lf%lf", &x, &y, &across,
                                &down) == 4);
            top = std::min({top, y, y + down});
        }
        REQUIRE(std::isfinite(top));
        for (const Text& text : texts_of(svg))
            if (text.words.rfind("curve number", 0) == 0) CHECK(text.y < top);
    }
}

TEST_CASE("a long curve makes a small picture, with its peaks") {
    if (!gnuplot_is_here()) return;
    std::mt19937 bits(3);
    std::vector<Series> series;
    for (const char* const name : {"a", "b", "c", "d"}) {
        Series s = counted(name, Style::line, 2000, [](double) { return 0.0; });
        for (double& y : s.y) y = 1 + static_cast<double>(bits()) / 4294967296.0;
        series.push_back(std::move(s));
    }
    CHECK(drawn(figure_of(series)).size() < 60000);
    for (Series& s : series) {
        for (const double y : s.y) {
            s.low.push_back(y - 0.1);
            s.high.push_back(y + 0.1);
        }
    }
    CHECK(drawn(figure_of(series)).size() < 120000);

    Series flat = counted("flat", Style::line, 20000, [](double i) {
        return i == 12345 ? 7.0 : i == 54 ? -3.0 : 1.0;
    });
    const std::string script = gnuplot_script(figure_of({flat}));
    CHECK(has(script, "\n12345 7\n"));
    CHECK(has(script, "\n54 -3\n"));
    CHECK(has(script, "\n0 1\n"));
    CHECK(has(script, "\n19999 1\n"));
    CHECK(script.size() < 30000);
}

TEST_CASE("text is text, whatever it looks like") {
    const std::string hostile[]{"it's \"quoted\"",
                                "$HOME $d0 @x `id` !id",
                                "back\\slash \\n \\",
                                "{/Bold a}^2 a_b ~ &{x}",
                                "<b>&amp;</b> ]]>",
                                "%d %s %%",
                                "'; system('touch /tmp/never'); '",
                                "EOD",
                                "# no comment"};
    for (const std::string& words : hostile) {
        CAPTURE(words);
        const Figure figure{
            .title = words + " title",
            .charts = {
                {.title = words + " panel",
                 .x = {.label = words + " x", .names = {words + " tick", "b"}},
                 .y = {.label = words + " y"},
                 .series = {{.name = words + " name", .style = Style::bars, .x = {0, 1}, .y = {1, 2}}}}}};
        CHECK(gnuplot_script(figure) == gnuplot_script(Figure(figure)));
        if (!gnuplot_is_here()) continue;
        const Picture picture = draw(figure);
        REQUIRE(picture.problem == "");
        CHECK(xml_problem(picture.svg) == "");
        for (const char* const place : {" title", " panel", " x", " y", " name", " tick"})
            CHECK(says(picture.svg, words + place));
    }
    const Figure lines{.title = "one\nplot 1\r\nset x", .charts = {}};
    CHECK(has(gnuplot_script(lines), "\"one plot 1  set x\""));
}

TEST_CASE("a picture that cannot be drawn") {
    const NothingLeft check;
    const Figure figure = figure_of({{.name = "a", .x = {1}, .y = {2}}});
    {
        const Setting path("PATH", "/nonexistent");
        const Picture picture = draw(figure);
        CHECK(picture.problem ==
              "gnuplot: found no such program, expected the one of Debian's package gnuplot-nox");
        CHECK(picture.svg == "");
    }
    if (!gnuplot_is_here()) return;
    const Picture bad = draw_script("this is no command\n");
    CHECK(has(bad.problem, "gnuplot: found exit code 1"));
    CHECK(has(bad.problem, "invalid command"));
    CHECK(bad.problem.find('\n') == std::string::npos);
    CHECK(has(draw_script("").problem, "expected a picture"));
    CHECK(has(draw_script("set terminal svg\nplot x\nexit status 3\n").problem, "found exit code 3"));
    const auto begin = std::chrono::steady_clock::now();
    const Picture slow = draw_script("pause 10\n", 200ms);
    CHECK(slow.problem == "gnuplot: found it still busy after 200 ms, expected a picture");
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
}

TEST_CASE("child processes") {
    const NothingLeft check;
    const std::string big(3000000, 'x');
    const Ran echoed = run_process({"cat"}, big, 60s);
    CHECK(echoed.code == 0);
    CHECK(echoed.out == big);
    const Ran both = run_process({"sh", "-c", "echo out; echo err >&2; exit 7"}, "", 60s);
    CHECK(both.out == "out\n");
    CHECK(both.err == "err\n");
    CHECK(both.code == 7);
    CHECK(run_process({"sh", "-c", "kill -9 $$"}, "", 60s).code == 128 + 9);
    CHECK(run_process({"true"}, big, 60s).code == 0);  // reads nothing of it
    CHECK(run_process({"/nonexistent/program"}, "", 60s).start_error == ENOENT);
    const Ran word = run_process({"printf", "%s", "$(id) 'x' *"}, "", 60s);
    CHECK(word.out == "$(id) 'x' *");
    const Ran slow = run_process({"sleep", "10"}, "", 100ms);
    CHECK(slow.timed_out);
    CHECK(slow.code == 128 + 9);
    const Ran quiet = run_process({"sh", "-c", "exec >&- 2>&-; sleep 10"}, "", 100ms);
    CHECK(quiet.timed_out);
}

}  // namespace
