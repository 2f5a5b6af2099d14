// SPDX-License-Identifier: MIT
// All of the layout (limits, ticks, margins, legend) is made here, in pixels; gnuplot only puts it on paper.
// So no label depends on what its version likes to do, and panels line up.
#include "plot.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <numbers>
#include <set>
#include <utility>

namespace ferrite::host {
namespace {

using Style = Series::Style;

/// Beyond it the arithmetic of limits and pixels could overflow.
constexpr double largest = 1e150;

/// Shortest digits that give `value` back, whatever the locale.
std::string exact(double value) {
    char text[32];
    return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

/// What means something to gnuplot in a string, or begins one, as octal numbers.
std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (const char c : printable(text)) {
        if (std::string_view("\"'`\\$@").find(c) == std::string_view::npos) {
            result += c;
            continue;
        }
        result += {'\\', static_cast<char>('0' + c / 64), static_cast<char>('0' + c / 8 % 8),
                   static_cast<char>('0' + c % 8)};
    }
    return result + '"';
}

std::size_t letters(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// Pixels that `text` takes in a common sans-serif face, rather more than less.
double text_width(std::string_view text, double size) {
    return static_cast<double>(letters(text)) * size * 0.58;
}

// Looks. Okabe and Ito's colours without their yellow, which is too pale for a line on white; dashes tell
// curves apart in print. Seven colours and six dash patterns: only the 43rd name looks like the first.
constexpr std::array palette{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333"};
constexpr std::array dashes{"solid", "(12,4)", "(12,4,2,4)", "(3,3)", "(20,5)", "(12,3,2,3,2,3)"};
constexpr std::array markers{7, 5, 9, 13, 11, 6, 4};
constexpr const char* ink = "#1F2328";
constexpr const char* grey = "#57606A";
constexpr const char* pale = "#E3E7EB";
constexpr const char* guide_grey = "#A5ADB5";

std::string colour(std::size_t look) { return palette[look % palette.size()]; }
std::string dash(const Series& series, std::size_t look) {
    if (series.style == Style::guide) return "solid";
    return series.style == Style::dashed ? "(5,3)" : dashes[look % dashes.size()];
}
std::string line_look(const Series& series, std::size_t look) {
    const bool guide = series.style == Style::guide;
    return "lw " + std::string(guide ? "1" : "1.7") + " lc rgb '" + (guide ? guide_grey : colour(look)) +
           "' dt " + dash(series, look);
}
std::string marker_look(const Series& series, std::size_t look) {
    // A start or an end is to be seen among the points of a curve.
    const bool few = series.style == Style::points && series.x.size() <= 3;
    return "pt " + std::to_string(markers[look % markers.size()]) + (few ? " ps 0.9" : " ps 0.5") +
           " lc rgb '" + colour(look) + '\'';
}
bool has_line(Style style) {
    return style != Style::points && style != Style::histogram && style != Style::bars;
}
bool has_markers(Style style) { return style == Style::points || style == Style::line_points; }

struct Range {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;

    void add(double value) {
        low = std::min(low, value);
        high = std::max(high, value);
    }
    void add(const Range& other) {
        low = std::min(low, other.low);
        high = std::max(high, other.high);
    }
    [[nodiscard]] bool empty() const { return low > high; }
};

bool drawable(double value, const Axis& axis) {
    return std::abs(value) <= largest && (!axis.logarithmic || value >= 1 / largest);
}

/// An axis with its final limits over a number of pixels.
struct Scale {
    Range range;
    bool logarithmic = false;
    double pixels = 1;

    [[nodiscard]] double position(double value) const {
        if (logarithmic) return pixels * std::log(value / range.low) / std::log(range.high / range.low);
        return pixels * (value - range.low) / (range.high - range.low);
    }
};

struct Point {
    double x, y, low, high;
};
using Run = std::vector<Point>;  ///< points without a gap

std::vector<Run> runs_of(const Series& series, const Axis& x, const Axis& y) {
    assert(series.x.size() == series.y.size());
    assert(series.low.size() == series.high.size() &&
           (series.low.empty() || series.low.size() == series.x.size()));
    std::vector<Run> runs(1);
    for (std::size_t i = 0; i < series.x.size(); ++i) {
        if (!drawable(series.x[i], x) || !drawable(series.y[i], y)) {
            if (!runs.back().empty()) runs.emplace_back();
            continue;
        }
        Point p{series.x[i], series.y[i], series.y[i], series.y[i]};
        if (!series.low.empty() && drawable(series.low[i], y) && drawable(series.high[i], y)) {
            p.low = series.low[i];
            p.high = series.high[i];
        }
        runs.back().push_back(p);
    }
    if (runs.back().empty()) runs.pop_back();
    return runs;
}

/// Calls `use(first, stop)` for the points that follow one another within a column of 1.5 pixels.
template <typename Use>
void for_columns(const Run& run, const Scale& scale, Use use) {
    const auto column = [&](std::size_t i) { return std::floor(scale.position(run[i].x) / 1.5); };
    for (std::size_t first = 0, stop = 0; first < run.size(); first = stop) {
        for (stop = first; stop < run.size() && column(stop) == column(first);) ++stop;
        use(first, stop);
    }
}

/// The lowest and the highest point of a column, which is as wide as a line, draw the same line as all of
/// them. The ends stay where they are.
Run thinned(const Run& run, const Scale& scale) {
    Run result;
    for_columns(run, scale, [&](std::size_t first, std::size_t stop) {
        std::set<std::size_t> kept;
        const auto lower = [&](const Point& a, const Point& b) { return a.y < b.y; };
        const auto begin = run.begin() + static_cast<std::ptrdiff_t>(first),
                   end = run.begin() + static_cast<std::ptrdiff_t>(stop);
        kept.insert(static_cast<std::size_t>(std::min_element(begin, end, lower) - run.begin()));
        kept.insert(static_cast<std::size_t>(std::max_element(begin, end, lower) - run.begin()));
        if (first == 0) kept.insert(first);
        if (stop == run.size()) kept.insert(stop - 1);
        for (const std::size_t i : kept) result.push_back(run[i]);
    });
    return result;
}

/// A band that holds those of all points.
Run thinned_band(const Run& run, const Scale& scale) {
    Run result;
    for_columns(run, scale, [&](std::size_t first, std::size_t stop) {
        Point p = run[stop == run.size() ? stop - 1 : first];
        for (std::size_t i = first; i < stop; ++i) {
            p.low = std::min(p.low, run[i].low);
            p.high = std::max(p.high, run[i].high);
        }
        if (stop == run.size() && first == 0 && stop > 1) result.push_back({run[0].x, p.y, p.low, p.high});
        result.push_back(p);
    });
    return result;
}

/// Of markers on the same quarter of a pixel one is enough.
Run distinct(const Run& run, const Scale& x, const Scale& y) {
    std::set<std::pair<double, double>> seen;
    Run result;
    for (const Point& p : run)
        if (seen.emplace(std::round(4 * x.position(p.x)), std::round(4 * y.position(p.y))).second)
            result.push_back(p);
    return result;
}

/// Half the distance from middle to middle of the bins or bars.
double half_width(const Run& run) {
    double distance = std::numeric_limits<double>::infinity();
    for (std::size_t i = 1; i < run.size(); ++i)
        distance = std::min(distance, std::abs(run[i].x - run[i - 1].x));
    return distance > 0 && distance < largest ? distance / 2 : 0.5;
}

/// 1, 2 or 5 times a power of ten, so that at most `wanted` of them make `range`.
double tick_distance(double range, double wanted) {
    const double rough = range / wanted, power = std::pow(10.0, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0})
        if (rough <= factor * power * (1 + 1e-9)) return factor * power;
    return 10 * power;
}

/// The limits of an axis: those that it names, otherwise the data's, `rounded` to ticks. Never empty.
Range limits(const Axis& axis, Range data, bool rounded) {
    const bool log = axis.logarithmic;
    const auto usable = [&](std::optional<double> limit) {
        return limit && drawable(*limit, axis) ? limit : std::nullopt;
    };
    const std::optional<double> low = usable(axis.low), high = usable(axis.high);
    if (data.empty() && (low || high)) data.add(low ? *low : *high);
    if (data.empty()) data = log ? Range{0.1, 1} : Range{0, 1};
    if (low) data.low = *low;
    if (high) data.high = *high;
    const double magnitude = std::max(std::abs(data.low), std::abs(data.high));
    if (!(data.high - data.low > 1e-9 * magnitude)) {
        // One value, values that ticks cannot tell apart, or limits on the wrong side of the data.
        const double middle = low ? *low : high ? *high : data.low;
        const double around = middle == 0 ? 1 : std::abs(middle) / 2;
        data.low = low ? *low : log ? middle / 2 : middle - around;
        data.high = high && *high - data.low > 1e-9 * magnitude ? *high : log ? middle * 2 : middle + around;
    }
    if (!rounded) {
        // 1999 of 2000 iterations: the axis ends at a tick.
        const double step = tick_distance(data.high - data.low, 6),
                     end = step * std::ceil(data.high / step - 1e-9);
        if (!high && !log && end - data.high < 0.02 * (data.high - data.low)) data.high = end;
        return data;
    }
    if (log) {
        if (data.high / data.low > 5) {
            if (!low) data.low = std::pow(10.0, std::floor(std::log10(data.low) + 1e-9));
            if (!high) data.high = std::pow(10.0, std::ceil(std::log10(data.high) - 1e-9));
        }
    } else {
        const double step = tick_distance(data.high - data.low, 6);
        if (!low) data.low = step * std::floor(data.low / step + 1e-9);
        if (!high) data.high = step * std::ceil(data.high / step - 1e-9);
    }
    return data;
}

/// Where a few bins would flatten all others, the axis ends below them.
std::optional<double> cut_of(const std::vector<const Chart*>& charts) {
    std::vector<double> heights;
    for (const Chart* chart : charts) {
        if (chart->y.logarithmic || chart->y.high) return std::nullopt;
        for (const Series& series : chart->series) {
            if (series.style != Style::histogram) return std::nullopt;
            std::copy_if(series.y.begin(), series.y.end(), std::back_inserter(heights),
                         [](double y) { return y > 0 && y <= largest; });
        }
    }
    if (heights.size() < 8) return std::nullopt;
    std::sort(heights.begin(), heights.end());
    const double most = heights[heights.size() * 9 / 10];
    return heights.back() > 4 * most ? std::optional(3 * most) : std::nullopt;
}

struct Tick {
    double at;
    std::string label;
};

std::string power_label(int exponent) {
    constexpr std::array digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string result = exponent < 0 ? "10⁻" : "10";
    for (const char c : std::to_string(std::abs(exponent)))
        result += digits[static_cast<std::size_t>(c - '0')];
    return result;
}

/// About `wanted` ticks within the limits.
std::vector<Tick> ticks_of(const Axis& axis, const Range& range, double wanted) {
    std::vector<Tick> ticks;
    if (!axis.names.empty()) {
        for (std::size_t i = 0; i < axis.names.size(); ++i)
            ticks.push_back({static_cast<double>(i), axis.names[i]});
        return ticks;
    }
    if (axis.logarithmic) {
        const int first = static_cast<int>(std::ceil(std::log10(range.low) - 1e-9));
        const int last = static_cast<int>(std::floor(std::log10(range.high) + 1e-9));
        const int every = std::max(1, static_cast<int>(std::ceil((last - first + 1) / wanted)));
        for (int e = first; e <= last; ++e)
            if (const double at = std::pow(10.0, e); e % every == 0)
                ticks.push_back({at, first >= -4 && last <= 3 ? number_text(at) : power_label(e)});
        if (ticks.size() >= 2) return ticks;
        ticks.clear();
    }
    const double step = tick_distance(range.high - range.low, wanted);
    for (double i = std::ceil(range.low / step - 1e-9); i * step <= range.high + step * 1e-9; ++i)
        ticks.push_back({i * step, number_text(i * step, 7)});
    return ticks;
}

/// A chart made ready: limits and ticks.
struct Panel {
    const Chart* chart;
    Scale x, y;
    std::vector<Tick> x_ticks, y_ticks;
    bool x_labels = true, y_labels = true;  ///< of the ticks
    double left = 0, top = 0;               ///< of the plot itself, in pixels
};

struct Entry {
    std::string name;
    const Series* series;  ///< the first one of the name
    std::size_t look;
    double x = 0, y = 0;  ///< of the left end in the legend, in pixels
};

bool same(const std::vector<Chart>& charts, Axis Chart::*axis) {
    return std::all_of(charts.begin(), charts.end(), [&](const Chart& chart) {
        const Axis &a = chart.*axis, &b = charts.front().*axis;
        return a.label == b.label && a.logarithmic == b.logarithmic && a.low == b.low && a.high == b.high &&
               a.names == b.names;
    });
}

/// The picture's measures and gnuplot's commands for it.
class Sheet {
  public:
    explicit Sheet(const Figure& figure) : figure_(figure) {
        columns_ = std::clamp<std::size_t>(figure.columns, 1, std::max<std::size_t>(1, figure.charts.size()));
        rows_ = (figure.charts.size() + columns_ - 1) / columns_;
        const std::size_t size_class = std::min<std::size_t>(columns_, 5) - 1;
        font_ = std::array{13.0, 12.0, 11.0, 11.0, 11.0}[size_class];
        width_ = std::array{760.0, 920.0, 1000.0, 1000.0, 1000.0}[size_class];
        plot_height_ = std::array{330.0, 250.0, 190.0, 140.0, 120.0}[size_class];
        same_x_ = figure.same_limits && columns_ * rows_ > 1 && same(figure.charts, &Chart::x);
        same_y_ = figure.same_limits && columns_ * rows_ > 1 && same(figure.charts, &Chart::y);
        find_entries();
        find_limits();
        place();
    }

    [[nodiscard]] std::string script() {
        add("set encoding utf8");
        add("set terminal svg size " + number(width_) + ',' + number(height_) +
            " dynamic noenhanced rounded font 'sans-serif," + number(font_) + "' background rgb '#FFFFFF'");
        add("set clip one");
        add("set clip two");
        add("set border 3 lw 1 lc rgb '" + std::string(grey) + '\'');
        add("set grid xtics ytics back lt 1 lw 1 lc rgb '" + std::string(pale) + '\'');
        add("unset key");
        add("set multiplot");
        frame();
        for (const Panel& panel : panels_) draw(panel);
        add("unset multiplot");
        return std::move(text_);
    }

  private:
    static std::string number(double value) { return exact(std::round(value * 100) / 100); }

    void add(const std::string& line) { text_ += line + '\n'; }

    /// Pixels from the upper left corner as gnuplot's screen coordinates.
    [[nodiscard]] std::string at(double x, double y) const {
        return "screen " + exact(x / width_) + ", screen " + exact(1 - y / height_);
    }

    /// `y`: the middle of the line.
    void label(double x, double y, double size, std::string_view text, const std::string& more) {
        if (!text.empty())
            add("set label " + quoted(text) + " at " + at(x, y) + ' ' + more + " font 'sans-serif," +
                number(size) + '\'');
    }

    void find_entries() {
        for (const Chart& chart : figure_.charts) {
            for (const Series& series : chart.series) {
                if (series.name.empty() || look(series.name) != no_look) continue;
                std::size_t next = 0;
                for (const Entry& e : entries_) next += e.series->style != Style::guide;
                entries_.push_back({series.name, &series, next});
            }
        }
    }
    [[nodiscard]] std::size_t look(const std::string& name) const {
        for (const Entry& e : entries_)
            if (e.name == name) return e.look;
        return no_look;
    }

    void find_limits() {
        Range all_x, all_y;
        std::vector<Range> xs, ys;
        bool any_markers = false;
        for (const Chart& chart : figure_.charts) {
            Range x, y;
            for (const Series& series : chart.series) {
                const bool bars = series.style == Style::bars || series.style == Style::histogram;
                any_markers |= has_markers(series.style);
                for (const Run& run : runs_of(series, chart.x, chart.y)) {
                    for (const Point& p : run) {
                        const double half = bars ? half_width(run) : 0;
                        x.add(Range{p.x - half, p.x + half});
                        y.add(Range{std::min(p.low, p.y), std::max(p.high, p.y)});
                    }
                    if (bars && !chart.y.logarithmic) y.add(0);
                }
            }
            if (!chart.x.names.empty()) x.add(Range{-0.5, static_cast<double>(chart.x.names.size()) - 0.5});
            all_x.add(x);
            all_y.add(y);
            xs.push_back(x);
            ys.push_back(y);
        }
        std::vector<const Chart*> charts;
        for (const Chart& chart : figure_.charts) charts.push_back(&chart);
        if (const std::optional<double> cut = cut_of(charts); cut && same_y_) all_y.high = *cut;
        for (std::size_t i = 0; i < figure_.charts.size(); ++i) {
            const Chart& chart = figure_.charts[i];
            if (const std::optional<double> cut = cut_of({&chart}); cut && !same_y_) ys[i].high = *cut;
            Panel panel{.chart = &chart, .x = {}, .y = {}, .x_ticks = {}, .y_ticks = {}};
            panel.x = {limits(chart.x, same_x_ ? all_x : xs[i], any_markers && chart.x.names.empty()),
                       chart.x.logarithmic};
            panel.y = {limits(chart.y, same_y_ ? all_y : ys[i], true), chart.y.logarithmic, plot_height_};
            panel.y_ticks = ticks_of(chart.y, panel.y.range, std::max(4.0, plot_height_ / 45));
            panel.x_ticks = fitting_ticks(chart.x, panel.x.range);
            panel.x_labels = !same_x_ || i + columns_ >= figure_.charts.size();
            panel.y_labels = !same_y_ || i % columns_ == 0;
            panels_.push_back(std::move(panel));
        }
    }

    /// As many as have room beside one another.
    [[nodiscard]] std::vector<Tick> fitting_ticks(const Axis& axis, const Range& range) const {
        const double room = width_ / static_cast<double>(columns_) - 60;
        for (double wanted = std::max(4.0, room / 80);; --wanted) {
            std::vector<Tick> ticks = ticks_of(axis, range, wanted);
            if (wanted <= 2 || static_cast<double>(ticks.size()) * (widest_label(ticks) + 6) <= room)
                return ticks;
        }
    }

    [[nodiscard]] double widest_label(const std::vector<Tick>& ticks) const {
        double widest = 0;
        for (const Tick& tick : ticks) widest = std::max(widest, text_width(tick.label, font_));
        return widest;
    }

    /// How far the labels of the x axis reach beyond its ends.
    [[nodiscard]] std::pair<double, double> overhang(const Panel& panel) const {
        std::pair<double, double> result{0, 0};
        if (!panel.x_labels) return result;
        const double pixels = width_ / static_cast<double>(columns_) - 40;
        for (const Tick& tick : panel.x_ticks) {
            const double half = text_width(tick.label, font_) / 2,
                         place = panel.x.position(tick.at) / panel.x.pixels * pixels;
            result.first = std::max(result.first, half - place);
            result.second = std::max(result.second, half - (pixels - place));
        }
        return result;
    }

    void place() {
        const double line = font_ + 7;
        double y = 12;
        if (!figure_.title.empty()) {
            title_y_ = y + 10;
            y += 30;
        }
        // In one row each entry is as wide as it needs; in several they stand in columns.
        double widest = 0, sum = 0;
        const auto width = [&](const Entry& e) { return text_width(e.name, font_) + sample_ + 30; };
        for (const Entry& e : entries_) {
            widest = std::max(widest, width(e));
            sum += width(e);
        }
        if (!entries_.empty()) {
            const auto fitting = static_cast<std::size_t>(std::max(1.0, (width_ - 40) / widest));
            const bool one_row = sum <= width_ - 40;
            const std::size_t rows = one_row ? 1 : (entries_.size() + fitting - 1) / fitting;
            const std::size_t columns = (entries_.size() + rows - 1) / rows;
            const double all = one_row ? sum : widest * static_cast<double>(columns);
            double x = (width_ - all) / 2 + 15;
            for (std::size_t i = 0; i < entries_.size(); ++i) {
                entries_[i].y = y + line / 2 + line * static_cast<double>(i / columns);
                entries_[i].x = one_row ? x : x + widest * static_cast<double>(i % columns);
                if (one_row) x += width(entries_[i]);
            }
            y += line * static_cast<double>(rows) + 6;
        }

        const bool one_y_label = same_y_ && !figure_.charts.front().y.label.empty();
        const bool one_x_label = same_x_ && !figure_.charts.front().x.label.empty();
        std::vector<double> margin(columns_, 0);
        std::vector<double> behind(columns_ + 1, 0);  // what labels of the column before need
        for (std::size_t i = 0; i < panels_.size(); ++i)
            behind[i % columns_ + 1] = std::max(behind[i % columns_ + 1], overhang(panels_[i]).second);
        for (std::size_t i = 0; i < panels_.size(); ++i) {
            const Panel& panel = panels_[i];
            double need = std::max(14.0, overhang(panel).first + behind[i % columns_] + 6);
            if (panel.y_labels) need = std::max(need, widest_label(panel.y_ticks) + 22);
            if (!same_y_ && !panel.chart->y.label.empty()) need += line;
            margin[i % columns_] = std::max(margin[i % columns_], need);
        }
        const double first = 4 + (one_y_label ? line : 0);
        right_ = std::max(18.0, behind[columns_] + 6);
        double free = width_ - first - right_;
        for (const double m : margin) free -= m;
        plot_width_ = std::max(40.0, free / static_cast<double>(columns_));

        const bool titles = std::any_of(figure_.charts.begin(), figure_.charts.end(),
                                        [](const Chart& chart) { return !chart.title.empty(); });
        for (std::size_t r = 0; r < rows_; ++r) {
            bool x_labels = false, x_names = false;
            double x = first;
            y += titles ? line + 4 : 8;
            for (std::size_t c = 0; c < columns_; ++c) {
                x += margin[c];
                if (const std::size_t i = r * columns_ + c; i < panels_.size()) {
                    Panel& panel = panels_[i];
                    panel.left = x;
                    panel.top = y;
                    panel.x.pixels = plot_width_;
                    x_labels |= panel.x_labels;
                    x_names |= !same_x_ && !panel.chart->x.label.empty();
                }
                x += plot_width_;
            }
            y += plot_height_ + (x_labels ? line + 2 : 4) + (x_names ? line : 0) + 6;
        }
        panels_bottom_ = y;
        height_ = std::ceil(y + (one_x_label ? line : 0) + 6);
    }

    /// Everything outside the panels; it goes with the first of them, because gnuplot draws labels with a
    /// plot.
    void frame() {
        const double middle = width_ / 2;
        label(middle, title_y_, font_ + 4, figure_.title, "center tc rgb '" + std::string(ink) + '\'');
        if (same_y_ && !panels_.empty())
            label(12, (panels_.front().top + panels_.back().top + plot_height_) / 2, font_,
                  figure_.charts.front().y.label, "center rotate by 90 tc rgb '" + std::string(grey) + '\'');
        if (same_x_ && !panels_.empty())
            label((panels_.front().left + width_ - right_) / 2, panels_bottom_ + font_ / 2, font_,
                  figure_.charts.front().x.label, "center tc rgb '" + std::string(grey) + '\'');
        for (const Entry& entry : entries_) {
            const Series& series = *entry.series;
            const std::size_t look = entry.look;
            const double x = entry.x, y = entry.y;
            if (!series.low.empty())
                add("set object rectangle from " + at(x, y + 6) + " to " + at(x + sample_, y - 6) +
                    " fc rgb '" + colour(look) + "' fs transparent solid 0.18 noborder");
            if (series.style == Style::bars || series.style == Style::histogram)
                add("set object rectangle from " + at(x + 10, y + 5) + " to " + at(x + sample_, y - 5) +
                    " fc rgb '" + colour(look) + "' fs solid " +
                    (series.style == Style::bars ? "1" : "0.55") + " noborder");
            if (has_line(series.style))
                add("set arrow from " + at(x, y) + " to " + at(x + sample_, y) + " nohead " +
                    line_look(series, look));
            if (has_markers(series.style))
                add("set label '' at " + at(x + sample_ / 2, y) + " point " + marker_look(series, look));
            label(x + sample_ + 6, y, font_, entry.name, "left tc rgb '" + std::string(ink) + '\'');
        }
        if (!panels_.empty()) return;
        add("set xrange [0:1]\nset yrange [0:1]\nunset tics\nunset border\nplot NaN");
    }

    void axis(char name, const Axis& axis, const Scale& scale, const std::vector<Tick>& ticks, bool labels) {
        const std::string letter(1, name);
        add((axis.logarithmic ? "set logscale " : "unset logscale ") + letter);
        add("set " + letter + "range [" + exact(scale.range.low) + ':' + exact(scale.range.high) + ']');
        std::string list;
        for (const Tick& tick : ticks) {
            std::string text = quoted(labels ? tick.label : "");  // a % would begin a format here
            for (std::size_t p = 0; (p = text.find('%', p)) != std::string::npos; p += 2)
                text.insert(p, 1, '%');
            list += (list.empty() ? "" : ", ") + text + ' ' + exact(tick.at);
        }
        if (axis.logarithmic && ticks.size() >= 2 && ticks[1].at / ticks[0].at < 11) {
            for (double decade = std::pow(10.0, std::floor(std::log10(scale.range.low) + 1e-9));
                 decade < scale.range.high; decade *= 10)
                for (const double factor : {2., 3., 4., 5., 6., 7., 8., 9.})
                    if (factor * decade > scale.range.low && factor * decade < scale.range.high)
                        list += ", '' " + exact(factor * decade) + " 1";
        }
        add("set " + letter + "tics (" + list + ") nomirror out scale 0.5,0.3 offset " +
            (name == 'x' ? "0,0.35" : "0.5,0") + " font 'sans-serif," + number(font_) + "' tc rgb '" + grey +
            '\'');
    }

    void draw(const Panel& panel) {
        const Chart& chart = *panel.chart;
        const std::string tone = std::string(" tc rgb '") + ink + '\'',
                          low_tone = std::string(" tc rgb '") + grey + '\'';
        add("set lmargin at screen " + exact(panel.left / width_));
        add("set rmargin at screen " + exact((panel.left + plot_width_) / width_));
        add("set tmargin at screen " + exact(1 - panel.top / height_));
        add("set bmargin at screen " + exact(1 - (panel.top + plot_height_) / height_));
        axis('x', chart.x, panel.x, panel.x_ticks, panel.x_labels);
        axis('y', chart.y, panel.y, panel.y_ticks, panel.y_labels);
        const double middle = panel.left + plot_width_ / 2;
        label(middle, panel.top - 11, font_ + (columns_ == 1 ? 1 : 0), chart.title, "center" + tone);
        if (!same_x_)
            label(middle, panel.top + plot_height_ + (font_ + 7) + 10 + font_ / 2, font_, chart.x.label,
                  "center" + low_tone);
        if (!same_y_) {
            label(panel.left - (panel.y_labels ? widest_label(panel.y_ticks) : 0) - 14 - font_,
                  panel.top + plot_height_ / 2, font_, chart.y.label, "center rotate by 90" + low_tone);
        }

        data_ = plots_ = "";
        blocks_ = 0;
        std::size_t bar_series = 0, bar = 0;
        for (const Series& s : chart.series) bar_series += s.style == Style::bars;
        for (const Series& s : chart.series)
            if (s.style == Style::guide) add_series(panel, s, 0);
        std::size_t unnamed = 0;
        for (const Series& s : chart.series)
            if (has_line(s.style) && !s.low.empty())
                add_band(panel, s, s.name.empty() ? unnamed++ : look(s.name));
        unnamed = 0;
        for (const Series& s : chart.series) {
            if (s.style == Style::guide) continue;
            const std::size_t l = s.name.empty() ? unnamed++ : look(s.name);
            if (s.style == Style::bars)
                add_bars(panel, s, l, bar++, bar_series);
            else if (s.style == Style::histogram)
                add_histogram(panel, s, l);
            else
                add_series(panel, s, l);
        }
        // Without data there is still a frame: nothing was measured, or nothing of it is finite.
        text_ += data_;
        add("plot " + (plots_.empty() ? "NaN" : plots_));
        add("unset label\nunset arrow\nunset object");
    }

    /// A block of data that the next plot draws `with`.
    void add_plot(const std::string& lines, const std::string& with) {
        if (lines.empty()) return;
        const std::string name = "$d" + std::to_string(blocks_++);
        data_ += name + " << EOD\n" + lines + "EOD\n";
        plots_ += (plots_.empty() ? "" : ", ") + name + " using " + with;
    }

    void add_series(const Panel& panel, const Series& series, std::size_t look) {
        std::string lines, alone, marks;
        Run all;
        for (const Run& run : runs_of(series, panel.chart->x, panel.chart->y)) {
            all.insert(all.end(), run.begin(), run.end());
            if (run.size() == 1)  // a line of one point has no length
                alone += exact(run[0].x) + ' ' + exact(run[0].y) + '\n';
            if (!lines.empty()) lines += '\n';
            // What steps() holds is the last value, which is kept, but not up to the place of the next one.
            for (const Point& p : series.style == Style::steps ? run : thinned(run, panel.x))
                lines += exact(p.x) + ' ' + exact(p.y) + '\n';
        }
        if (has_line(series.style)) {
            add_plot(lines, std::string("1:2 with ") + (series.style == Style::steps ? "steps " : "lines ") +
                                line_look(series, look));
            if (series.style != Style::line_points && series.style != Style::guide)
                add_plot(alone, "1:2 with points pt 7 ps 0.25 lc rgb '" + colour(look) + '\'');
        }
        if (!has_markers(series.style)) return;
        const Run shown = distinct(all, panel.x, panel.y);
        const std::size_t every =
            series.style == Style::line_points && shown.size() > 60 ? (shown.size() + 29) / 30 : 1;
        for (std::size_t i = 0; i < shown.size(); i += every)
            marks += exact(shown[i].x) + ' ' + exact(shown[i].y) + '\n';
        add_plot(marks, "1:2 with points " + marker_look(series, look));
    }

    void add_band(const Panel& panel, const Series& series, std::size_t look) {
        std::string lines;
        for (const Run& run : runs_of(series, panel.chart->x, panel.chart->y)) {
            if (!lines.empty()) lines += '\n';
            for (const Point& p : thinned_band(run, panel.x))
                lines += exact(p.x) + ' ' + exact(p.low) + ' ' + exact(p.high) + '\n';
        }
        add_plot(lines,
                 "1:2:3 with filledcurves fc rgb '" + colour(look) + "' fs transparent solid 0.18 noborder");
    }

    void add_bars(const Panel& panel, const Series& series, std::size_t look, std::size_t index,
                  std::size_t count) {
        std::string lines;
        double half = std::numeric_limits<double>::infinity();
        const std::vector<Run> runs = runs_of(series, panel.chart->x, panel.chart->y);
        for (const Run& run : runs) half = std::min(half, half_width(run));
        const double wide = 1.6 * half / static_cast<double>(count);
        const double shift = wide * (static_cast<double>(index) - (static_cast<double>(count) - 1) / 2);
        for (const Run& run : runs)
            for (const Point& p : run)
                lines += exact(p.x + shift) + ' ' + exact(p.y) + ' ' + exact(wide * 0.94) + '\n';
        add_plot(lines, "1:2:3 with boxes fc rgb '" + colour(look) + "' fs solid 1 noborder");
    }

    /// One outline for all bins: a polygon for each would be half of the file.
    void add_histogram(const Panel& panel, const Series& series, std::size_t look) {
        const double base = panel.y.logarithmic ? panel.y.range.low : std::max(0.0, panel.y.range.low);
        std::string lines;
        for (const Run& run : runs_of(series, panel.chart->x, panel.chart->y)) {
            const double half = half_width(run);
            const std::string floor = ' ' + exact(base) + '\n';
            if (!lines.empty()) lines += '\n';
            lines += exact(run.front().x - half) + floor;
            const double top = panel.y.range.high;
            for (const Point& p : run) {
                const std::string height = ' ' + exact(std::min(p.y, top)) + '\n';
                lines += exact(p.x - half) + height + exact(p.x + half) + height;
            }
            for (std::size_t i = 0; i < run.size(); ++i) {
                if (!(run[i].y > top)) continue;
                const std::size_t first = i;
                double highest = run[i].y;
                for (; i + 1 < run.size() && run[i + 1].y > top; ++i)
                    highest = std::max(highest, run[i + 1].y);
                while (i + 1 < run.size() && run[i + 1].y > 0.8 * top)
                    ++i;  // the label stands beside these too
                const double left = panel.x.position(run[first].x - half),
                             right = panel.x.position(run[i].x + half);
                const bool before = left + right > plot_width_;
                label(panel.left + (before ? left - 3 : right + 3), panel.top + font_ / 2, font_ - 1,
                      "↑" + number_text(highest, 2),
                      std::string(before ? "right" : "left") + " front tc rgb '" + ink + '\'');
            }
            lines += exact(run.back().x + half) + floor;
        }
        add_plot(lines, "1:2 with filledcurves closed fc rgb '" + colour(look) + "' fs solid 0.55 noborder");
        add_plot(lines, "1:2 with lines lw 1.2 lc rgb '" + colour(look) + "' dt solid");
    }

    static constexpr std::size_t no_look = static_cast<std::size_t>(-1);
    static constexpr double sample_ = 30;  ///< length of a line in the legend

    const Figure& figure_;
    std::size_t columns_ = 1, rows_ = 1, blocks_ = 0;
    double font_ = 13, width_ = 760, height_ = 0, plot_width_ = 0, plot_height_ = 0;
    double title_y_ = 0, right_ = 0, panels_bottom_ = 0;
    bool same_x_ = false, same_y_ = false;
    std::vector<Entry> entries_;
    std::vector<Panel> panels_;
    std::string text_, data_, plots_;
};

std::string csv_field(std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
    std::string result = "\"";
    for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
    return result + '"';
}

}  // namespace

Series histogram(std::string name, std::span<const float> values, double low, double high,
                 std::size_t count) {
    assert(count > 0 && low < high);
    Series series{.name = std::move(name), .style = Style::histogram};
    const double width = (high - low) / static_cast<double>(count);
    for (std::size_t i = 0; i < count; ++i) series.x.push_back(low + width * (static_cast<double>(i) + 0.5));
    series.y.assign(count, 0);
    if (values.empty()) return series;
    for (const float value : values) {
        const double v = static_cast<double>(value);
        if (!(v >= low && v <= high)) continue;
        series.y[std::min(count - 1, static_cast<std::size_t>((v - low) / width))] += 1;
    }
    for (double& share : series.y) share /= static_cast<double>(values.size());
    return series;
}

std::vector<Series> ellipses(const std::string& name, double a, std::span<const double> levels) {
    constexpr int corners = 90;
    std::vector<Series> result;
    for (const double level : levels) {
        Series series{.name = result.empty() ? name : "", .style = Style::guide};
        for (int i = 0; i <= corners; ++i) {
            const double angle = 2 * std::numbers::pi * (i % corners) / corners;
            series.x.push_back(std::sqrt(a * level) * std::cos(angle));
            series.y.push_back(std::sqrt(level) * std::sin(angle));
        }
        result.push_back(std::move(series));
    }
    return result;
}

std::string csv_text(std::span<const Figure> figures) {
    std::string text = "panel,series,x,y,low,high\n";
    for (const Figure& figure : figures) {
        for (const Chart& chart : figure.charts) {
            std::string panel = chart.title;
            if (figures.size() > 1 || panel.empty())
                panel = figure.title + (figure.title.empty() || panel.empty() ? "" : ": ") + panel;
            for (const Series& series : chart.series) {
                if (series.style == Style::guide) continue;
                const std::string start = csv_field(panel) + ',' + csv_field(series.name) + ',';
                for (std::size_t i = 0; i < series.x.size(); ++i) {
                    const std::vector<std::string>& names = chart.x.names;
                    const bool named = series.x[i] >= 0 && series.x[i] < static_cast<double>(names.size());
                    text += start + (named ? csv_field(names[static_cast<std::size_t>(series.x[i])])
                                           : exact(series.x[i]));
                    text += ',' + exact(series.y[i]) + ',';
                    text += series.low.empty() ? "," : exact(series.low[i]) + ',' + exact(series.high[i]);
                    text += '\n';
                }
            }
        }
    }
    return text;
}

std::string gnuplot_script(const Figure& figure) { return Sheet(figure).script(); }

std::string printable(std::string_view text) {
    std::string result;
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = [&](std::size_t k) {
            return static_cast<unsigned char>(i + k < text.size() ? text[i + k] : 0);
        };
        const unsigned char c = byte(0);
        if (c < 0x80) {
            result += c == '\n' || c == '\r' || c == '\t' ? ' ' : c < 0x20 || c == 0x7F ? '?' : text[i];
            ++i;
            continue;
        }
        const std::size_t size = c >= 0xC2 && c < 0xE0   ? 2
                                 : c >= 0xE0 && c < 0xF0 ? 3
                                 : c >= 0xF0 && c < 0xF5 ? 4
                                                         : 0;
        unsigned code = c & (0xFFu >> (size + 1));
        bool valid = size != 0;
        for (std::size_t k = 1; k < size; ++k) {
            valid &= (byte(k) & 0xC0) == 0x80;
            code = code << 6 | (byte(k) & 0x3Fu);
        }
        // Control characters, overlong forms, surrogates, and what XML forbids.
        valid = valid &&
                code >= (size == 2   ? 0xA0u
                         : size == 3 ? 0x800u
                                     : 0x10000u) &&
                code <= 0x10FFFF && !(code >= 0xD800 && code < 0xE000) && code != 0xFFFE && code != 0xFFFF;
        if (valid)
            result += text.substr(i, size);
        else
            result += '?';
        i += valid ? size : 1;
    }
    return result;
}

std::string number_text(double value, int digits) {
    if (std::isnan(value)) return "not a number";
    if (std::isinf(value)) return value > 0 ? "infinite" : "minus infinite";
    char text[64];
    std::string result(
        text, std::to_chars(text, text + sizeof(text), value, std::chars_format::general, digits).ptr);
    if (result == "-0") result = "0";
    // The typographic minus is as wide as a digit.
    for (std::size_t p = 0; (p = result.find('-', p)) != std::string::npos; ++p) result.replace(p, 1, "−");
    return result;
}

}  // namespace ferrite::host
