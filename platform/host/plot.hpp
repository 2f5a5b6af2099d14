// SPDX-License-Identifier: MIT
// Figures for the laboratory: charts as data, drawn as SVG by gnuplot and written as CSV. The drawing program
// is a child process, so that nothing of it is linked; where it is missing the data are still there.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ferrite::host {

struct Axis {
    std::string label{};               ///< with the unit
    bool logarithmic = false;          ///< points at or below 0 are gaps
    std::optional<double> low{}, high{};  ///< none: from the data
    std::vector<std::string> names{};  ///< the ticks 0, 1, 2 ... as words, for bars; linear axes only
};

/// Points in the order in which a line joins them. A point that is not finite, or is beyond +-1e150, is a
/// gap: the line ends before it and begins anew behind it.
struct Series {
    enum class Style {
        line,         ///< dash pattern and colour by the place in the legend
        dashed,       ///< short dashes whatever the place: an expectation, a second measurement
        line_points,  ///< of more than 60 points, some have markers
        points,
        steps,      ///< holds its value until the next point
        histogram,  ///< bins that touch, x are their middles in rising order. Those that would flatten all others
                    ///< are cut off and their height stands beside them, if the axis has no `high`
        bars,       ///< bars with gaps; several series stand side by side
        guide,      ///< thin and grey, behind the rest, not in the CSV: a contour, a threshold
    };

    std::string name;  ///< in the legend; series of one name look the same in every panel. Empty: not in it
    Style style = Style::line;
    std::vector<double> x{}, y{};       ///< as many of the one as of the other
    std::vector<double> low{}, high{};  ///< a band around a line: empty, or one for each point
};

struct Chart {
    std::string title;
    Axis x, y;
    std::vector<Series> series;
};

/// A picture: panels row by row under one title, with one legend.
struct Figure {
    std::string title;
    std::vector<Chart> charts;
    std::size_t columns = 1;
    /// Axes with the same label in all panels have the same limits too, and are labelled once.
    bool same_limits = true;
};

/// `count` bins over [low, high], as shares of all values: what lies outside, or is not finite, is in no bin.
[[nodiscard]] Series histogram(std::string name, std::span<const float> values, double low, double high,
                               std::size_t count);

/// Guides where x^2/a + y^2 = level, one for each level; the first one bears `name`.
[[nodiscard]] std::vector<Series> ellipses(const std::string& name, double a, std::span<const double> levels);

/// "panel,series,x,y,low,high" and a line for each point, gaps as nan or inf. Numbers have the shortest
/// digits that give them back, text is quoted as RFC 4180 says. The panel is the title of the chart, behind
/// that of the figure if there are several figures.
[[nodiscard]] std::string csv_text(std::span<const Figure> figures);

/// The commands and the data for gnuplot 5.4 or later. The same figure gives the same text.
[[nodiscard]] std::string gnuplot_script(const Figure& figure);

/// An SVG document, or in one line why there is none.
struct Picture {
    std::string svg;
    std::string problem;  ///< empty: `svg` is a whole document
    unsigned width = 0;   ///< in pixels, as drawn
    unsigned height = 0;
};

/// Never throws because of the drawing program: missing, failing or too slow, it ends in Picture::problem.
[[nodiscard]] Picture draw(const Figure& figure, std::chrono::milliseconds limit = std::chrono::seconds(60));
/// The same for a script.
[[nodiscard]] Picture draw_script(std::string_view script,
                                  std::chrono::milliseconds limit = std::chrono::seconds(60));

/// What a child process left behind.
struct Ran {
    int start_error = 0;     ///< errno; not 0: nothing ran
    bool timed_out = false;  ///< and was killed
    int code = -1;           ///< exit code, or 128 + signal
    std::string out, err;
};
/// Runs words[0], searched in PATH, without a shell: `input` on its standard input, everything that it prints
/// kept.
[[nodiscard]] Ran run_process(const std::vector<std::string>& words, std::string_view input,
                              std::chrono::milliseconds limit);

/// `text` on one line and as valid UTF-8 without control characters; each byte that is in the way becomes '?'
/// (line ends and tabs: a space).
[[nodiscard]] std::string printable(std::string_view text);

/// `value` in at most `digits` digits for a reader, "not a number" and "infinite" included.
[[nodiscard]] std::string number_text(double value, int digits = 4);

}  // namespace ferrite::host
