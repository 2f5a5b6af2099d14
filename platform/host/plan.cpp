// SPDX-License-Identifier: MIT
// `ferrite plan`: where every byte of a program lies and when, as tables, as JSON and as a picture.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <tuple>

#include "dataset.hpp"
#include "options.hpp"
#include "output.hpp"
#include "steps.hpp"
#include "table.hpp"

namespace ferrite::host {
namespace {

using nlohmann::ordered_json;

/// What a buffer is for; more than its region says.
enum class Kind : std::uint8_t {
    parameter,
    state,
    stored_gradient,
    activation,
    gradient,
    scratch,
    loss,
    input,
    count
};

/// A buffer as a person asks for it.
struct Entry {
    BufferId id = no_buffer;
    std::string name;
    std::string layer;  ///< "2 dense"
    Region region = Region::planned;
    Kind kind = Kind::input;
    std::uint32_t bytes = 0;
    std::uint32_t offset =
        0;  ///< from the start of the arena or, for parameters of inference, of their memory
    std::uint16_t first = 0;  ///< the steps that use this buffer, not those that use its bytes
    std::uint16_t last = 0;
    BufferId over = no_buffer;  ///< whose bytes it takes
};

struct Plan {
    ProgramView program;
    std::string title, subtitle;
    std::vector<std::string> layers;  ///< "2 dense"
    std::vector<Entry> entries;       ///< by region, offset, first step
    std::size_t pass = 0;             ///< steps of one whole pass: all but the one that only predict() runs
    std::vector<std::uint64_t> live;  ///< [pass]: bytes of the planned region in use
    std::size_t fullest = 0;          ///< where `live` is largest, the first of several
    std::uint32_t constant = 0;       ///< bytes of the arena in use at every step
    ProgramView deployed;             ///< the same network in inference, one sample at a time

    [[nodiscard]] const Totals& totals() const { return *program.totals; }
};

bool parameters_in_arena(const Totals& totals) { return totals.training; }

std::string region_title(const Totals& totals, Region region) {
    return region == Region::parameters && !parameters_in_arena(totals) ? "parameters (constant)"
                                                                        : name(region);
}

Kind kind_of(const Entry& entry, const Totals& totals) {
    switch (entry.region) {
        case Region::parameters:
        case Region::best:
            return Kind::parameter;
        case Region::optimizer:
            return Kind::state;
        case Region::gradients:
            return Kind::stored_gradient;
        case Region::input:
            return Kind::input;
        default:
            break;
    }
    if (entry.id == totals.loss_buffer) return Kind::loss;
    if (entry.first == entry.last && entry.id != totals.output_buffer) return Kind::scratch;
    return entry.first < totals.forward_steps ? Kind::activation : Kind::gradient;
}

/// Names for the arrays that belong to a parameter: "W", "W gradient", "W state 0".
std::vector<std::string> buffer_names(const ProgramView& program) {
    std::vector<std::string> names;
    for (const Buffer& buffer : program.buffers) names.emplace_back(buffer.name);
    for (const Parameter& p : program.parameters) {
        const std::string start = std::string(p.name) + ' ';
        if (p.gradient != no_buffer) names[p.gradient] = start + "gradient";
        for (std::size_t slot = 0; slot < 2; ++slot)
            if (p.state[slot] != no_buffer) names[p.state[slot]] = start + "state " + std::to_string(slot);
    }
    return names;
}

void find_entries(Plan& plan) {
    const ProgramView& program = plan.program;
    const Totals& totals = plan.totals();
    const std::vector<std::string> names = buffer_names(program);
    std::vector<std::uint16_t> first(program.buffers.size(), no_step), last(program.buffers.size(), 0);
    for (std::size_t s = 0; s < plan.pass; ++s) {
        for (const BufferId id : program.steps[s].operand) {
            if (id == no_buffer) continue;
            first[id] = std::min(first[id], static_cast<std::uint16_t>(s));
            last[id] = static_cast<std::uint16_t>(s);
        }
    }
    // The caller reads it behind the last step.
    if (totals.loss_buffer != no_buffer) last[totals.loss_buffer] = static_cast<std::uint16_t>(plan.pass - 1);
    for (std::size_t id = 0; id < program.buffers.size(); ++id) {
        const Buffer& buffer = program.buffers[id];
        if (first[id] == no_step && buffer.region == Region::planned) continue;  // fused away
        Entry entry{.id = static_cast<BufferId>(id),
                    .name = names[id],
                    .layer = plan.layers[buffer.layer],
                    .region = buffer.region,
                    .bytes = buffer.bytes,
                    .offset = buffer.region == Region::input ? 0 : program.offset(buffer),
                    .first = first[id],
                    .last = last[id],
                    .over = buffer.over};
        entry.kind = kind_of(entry, totals);
        plan.entries.push_back(std::move(entry));
    }
    std::stable_sort(plan.entries.begin(), plan.entries.end(), [](const Entry& a, const Entry& b) {
        return std::tie(a.region, a.offset, a.first) < std::tie(b.region, b.offset, b.first);
    });
}

/// A block lives from its first owner's first step to its last owner's last one, in the bytes of the first.
void find_live_bytes(Plan& plan) {
    plan.live.assign(plan.pass, 0);
    for (const Buffer& buffer : plan.program.buffers) {
        if (buffer.region != Region::planned || buffer.over != no_buffer || buffer.first == no_step) continue;
        for (std::size_t s = buffer.first; s <= buffer.last && s < plan.pass; ++s)
            plan.live[s] += buffer.bytes;
    }
    plan.fullest =
        static_cast<std::size_t>(std::max_element(plan.live.begin(), plan.live.end()) - plan.live.begin());
    for (const Entry& entry : plan.entries) {
        if (entry.region == Region::planned || entry.region == Region::input) continue;
        if (entry.region != Region::parameters || parameters_in_arena(plan.totals()))
            plan.constant += entry.bytes;
    }
}

Plan analyse(const ModelOptions& options, const BuiltModel& built, const ProgramView& program,
             const ProgramView& deployed) {
    Plan plan;
    plan.program = program;
    plan.deployed = deployed;
    const Totals& totals = plan.totals();
    plan.title = layers_text(options.layers);
    if (plan.title.size() > 60) {
        plan.title = layers_text(std::span(options.layers).first(3)) + "-...-" +
                     std::to_string(options.layers.back()) + " (" +
                     std::to_string(options.layers.size() - 1) + " dense layers)";
    }
    plan.subtitle =
        (options.layers.size() > 2 ? options.activation + ", " : "") + "batch " + grouped(options.batch);
    plan.subtitle +=
        totals.training
            ? ", training, " + options.optimizer + ", " +
                  (totals.region_bytes[static_cast<std::size_t>(Region::gradients)] != 0 ? "stored gradients"
                                                                                         : "immediate update")
            : ", inference";
    plan.layers = layer_names(built.layers);
    plan.pass = pass_length(program);
    find_entries(plan);
    find_live_bytes(plan);
    return plan;
}

std::string kibibytes(std::uint64_t bytes) {
    Line line;
    return std::string(line.print("%.1f KiB", static_cast<double>(bytes) / 1024).view());
}
std::string bytes_text(std::uint64_t bytes) {
    return bytes < 1024 ? grouped(bytes) + " bytes" : grouped(bytes) + " bytes (" + kibibytes(bytes) + ')';
}

std::string step_text(const Plan& plan, std::size_t index) {
    return "step " + std::to_string(index) + " (" + phase(plan.program, index) + ", " +
           plan.program.steps[index].name + ')';
}

std::string buffer_table(const Plan& plan) {
    using enum Table::Align;
    Table table({{"#"},
                 {"buffer", left},
                 {"layer", left},
                 {"region", left},
                 {"bytes"},
                 {"offset, bytes"},
                 {"first step"},
                 {"last step"},
                 {"in the bytes of", left}});
    for (const Entry& e : plan.entries) {
        const bool used = e.first != no_step;
        table.row({std::to_string(e.id), e.name, e.layer, name(e.region), grouped(e.bytes),
                   e.region == Region::input ? "-" : grouped(e.offset), used ? std::to_string(e.first) : "-",
                   used ? std::to_string(e.last) : "-",
                   e.over == no_buffer
                       ? ""
                       : "# " + std::to_string(e.over) + ' ' + plan.program.buffers[e.over].name});
    }
    return table.text();
}

std::string step_table(const Plan& plan) {
    using enum Table::Align;
    Table table({{"step"},
                 {"phase", left},
                 {"name", left},
                 {"fused map", left},
                 {"optimizer", left},
                 {"layer", left},
                 {"flop a sample"},
                 {"live bytes, planned"}});
    for (std::size_t s = 0; s < plan.program.steps.size(); ++s) {
        const Step& step = plan.program.steps[s];
        table.row({std::to_string(s), phase(plan.program, s), step.name, fused_map(step), optimizer_in(step),
                   plan.layers[step.layer], step.flops == 0 ? "-" : grouped(step.flops),
                   s < plan.pass ? grouped(plan.live[s]) : "-"});
    }
    return table.text();
}

std::string region_table(const Plan& plan) {
    using enum Table::Align;
    const Totals& totals = plan.totals();
    Table table({{"region", left}, {"buffers"}, {"bytes"}, {"offset, bytes"}, {"of the arena, %"}});
    const auto percent = [&](std::uint64_t bytes) {
        Line line;
        line.print("%.1f", 100.0 * static_cast<double>(bytes) / static_cast<double>(totals.arena_bytes));
        return std::string(line.view());
    };
    std::uint64_t sum = 0;
    for (std::size_t r = 0; r < region_count; ++r) {
        const auto region = static_cast<Region>(r);
        if (totals.region_bytes[r] == 0) continue;
        const bool inside = region != Region::parameters || parameters_in_arena(totals);
        const auto buffers = std::count_if(plan.entries.begin(), plan.entries.end(),
                                           [&](const Entry& e) { return e.region == region; });
        table.row({region_title(totals, region), std::to_string(buffers), grouped(totals.region_bytes[r]),
                   inside ? grouped(totals.region_offset[r]) : "-",
                   inside ? percent(totals.region_bytes[r]) : "-"});
        if (inside) sum += totals.region_bytes[r];
    }
    if (sum != totals.arena_bytes) {
        const std::uint64_t gaps = totals.arena_bytes - sum;
        table.row({"between the regions", "", grouped(gaps), "", percent(gaps)});
    }
    table.rule();
    table.row({"arena", "", grouped(totals.arena_bytes), "", percent(totals.arena_bytes)});
    return table.text();
}

/// The questions of somebody who has a budget.
std::vector<std::string> answers(const Plan& plan) {
    const Totals& totals = plan.totals();
    const auto line = [](std::string title, const std::string& text) {
        return title.append(18 - title.size(), ' ') + text;
    };
    const std::uint64_t most = plan.live[plan.fullest];
    const std::uint32_t planned = totals.region_bytes[static_cast<std::size_t>(Region::planned)];
    const std::uint64_t lost = planned - most;
    return {line("parameters",
                 grouped(totals.parameters) + " in " + std::to_string(totals.parameter_arrays) + " arrays"),
            line("arena", bytes_text(totals.arena_bytes) + " of RAM"),
            line("largest moment", step_text(plan, plan.fullest) + ": " + bytes_text(plan.constant + most) +
                                       " live, " + grouped(most) + " of them planned"),
            line("packing", lost == 0
                                ? "the planned region is as small as its largest moment"
                                : grouped(lost) + " bytes more than the largest moment (alignment and gaps)"),
            line("deployed",
                 bytes_text(plan.deployed.totals->region_bytes[0]) + " of flash for the parameters, " +
                     bytes_text(plan.deployed.totals->arena_bytes) + " of RAM (inference, batch 1)")};
}

ordered_json or_null(const std::string& text) {
    return text.empty() ? ordered_json(nullptr) : ordered_json(text);
}

ordered_json step_json(const Plan& plan, std::size_t index) {
    const Step& step = plan.program.steps[index];
    ordered_json object{{"step", index}, {"phase", phase(plan.program, index)}, {"name", step.name}};
    object["map"] = or_null(fused_map(step));
    object["optimizer"] = or_null(optimizer_in(step));
    object["layer"] = step.layer;
    object["flops_per_sample"] = step.flops;
    object["live_bytes"] = index < plan.pass ? ordered_json(plan.live[index]) : ordered_json(nullptr);
    return object;
}

ordered_json buffer_json(const Plan& plan, const Entry& e) {
    const auto step = [&](std::uint16_t value) {
        return e.first == no_step ? ordered_json(nullptr) : ordered_json(value);
    };
    return {{"id", e.id},
            {"name", e.name},
            {"layer", plan.program.buffers[e.id].layer},
            {"region", name(e.region)},
            {"bytes", e.bytes},
            {"offset", e.region == Region::input ? ordered_json(nullptr) : ordered_json(e.offset)},
            {"first_step", step(e.first)},
            {"last_step", step(e.last)},
            {"over", e.over == no_buffer ? ordered_json(nullptr) : ordered_json(e.over)}};
}

std::string json_text(const Plan& plan) {
    const Totals& totals = plan.totals();
    ordered_json regions, buffers = ordered_json::array(), steps = ordered_json::array();
    for (std::size_t r = 0; r < region_count; ++r)
        regions[name(static_cast<Region>(r))] = totals.region_bytes[r];
    for (const Entry& entry : plan.entries) buffers.push_back(buffer_json(plan, entry));
    for (std::size_t s = 0; s < plan.program.steps.size(); ++s) steps.push_back(step_json(plan, s));
    const ordered_json object{{"event", "plan"},
                              {"arena_bytes", totals.arena_bytes},
                              {"parameters", totals.parameters},
                              {"regions", regions},
                              {"mode", totals.training ? "training" : "inference"},
                              {"batch", totals.batch},
                              {"largest_moment",
                               {{"step", plan.fullest},
                                {"live_bytes", plan.constant + plan.live[plan.fullest]},
                                {"planned_live_bytes", plan.live[plan.fullest]}}},
                              {"deployed",
                               {{"batch", 1},
                                {"flash_bytes", plan.deployed.totals->region_bytes[0]},
                                {"arena_bytes", plan.deployed.totals->arena_bytes}}},
                              {"layers", plan.layers},
                              {"buffers", buffers},
                              {"steps", steps}};
    return object.dump() + '\n';
}

/// The colours of Okabe and Ito, which people who confuse red and green can tell apart.
struct Paint {
    const char* title;
    const char* fill;
    const char* ink;
};
constexpr std::array<Paint, static_cast<std::size_t>(Kind::count)> paints{
    {{"parameters", "#0072B2", "#FFFFFF"},
     {"optimizer state", "#56B4E9", "#111111"},
     {"stored gradients", "#CC79A7", "#111111"},
     {"activations", "#009E73", "#111111"},
     {"gradients", "#E69F00", "#111111"},
     {"scratch of one step", "#F0E442", "#111111"},
     {"loss", "#111111", "#FFFFFF"},
     {"input", "#999999", "#111111"}}};
const Paint& paint(Kind kind) { return paints[static_cast<std::size_t>(kind)]; }

std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.2f", value);
    std::string result = text;
    result.erase(result.find_last_not_of('0') + 1);
    if (result.back() == '.') result.pop_back();
    return result;
}

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            default:
                result += c;
        }
    }
    return result;
}

/// Pixels that `text` takes at most in a common sans-serif face.
double text_width(std::string_view text, double size) {
    return static_cast<double>(text.size()) * size * 0.6;
}

struct Box {
    double x, y, width, height;
};

/// SVG elements one after another.
class Drawing {
  public:
    void add(const std::string& element) { text_ += element + '\n'; }
    /// `hint`: what a browser shows under the pointer.
    void box(const Box& b, const std::string& style, std::string_view hint = "") {
        const std::string start = "<rect x=\"" + number(b.x) + "\" y=\"" + number(b.y) + "\" width=\"" +
                                  number(b.width) + "\" height=\"" + number(b.height) + "\" " + style;
        add(hint.empty() ? start + "/>" : start + "><title>" + escaped(hint) + "</title></rect>");
    }
    void line(double x1, double y1, double x2, double y2, const std::string& style) {
        add("<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" +
            number(y2) + "\" " + style + "/>");
    }
    void text(double x, double y, double size, std::string_view text, const std::string& style = "") {
        add("<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" font-size=\"" + number(size) + "\" " +
            style + ">" + escaped(text) + "</text>");
    }
    [[nodiscard]] const std::string& str() const { return text_; }

  private:
    std::string text_;
};

constexpr const char* middle = "text-anchor=\"middle\"";
constexpr const char* end = "text-anchor=\"end\"";
constexpr const char* grey = "fill=\"#57606A\"";

std::string both(const char* a, const char* b) { return std::string(a) + ' ' + b; }

/// 1, 2 or 5 times a power of ten, so that about six of them make `range`.
double tick_distance(double range) {
    const double rough = range / 6, power = std::pow(10.0, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0})
        if (rough <= factor * power) return std::max(1.0, factor * power);
    return 10 * power;
}

std::string step_label(const Step& step) {
    const std::string map = fused_map(step);
    return map.empty() ? step.name : step.name + (" + " + map);
}

/// Where things are, in pixels. The bars on the left show the whole memory, the chart on the right its
/// planned region.
struct Layout {
    explicit Layout(const Plan& plan)
        : bars(parameters_in_arena(plan.totals()) ? 1u : 2u),
          column(std::clamp(chart_width_wanted / static_cast<double>(plan.pass), 4.0, 150.0)) {
        chart = {bar_x(bars - 1) + bar_width + 84, 212, column * static_cast<double>(plan.pass), 420};
    }
    [[nodiscard]] double bar_x(std::size_t index) const {
        return 176 + static_cast<double>(index) * (bar_width + 30);
    }
    /// Whether the steps have room for their names.
    [[nodiscard]] bool names() const { return column >= 14; }
    [[nodiscard]] double right() const { return chart.x + chart.width; }
    [[nodiscard]] double bottom() const { return chart.y + chart.height; }

    static constexpr double chart_width_wanted = 960, bar_width = 72, margin = 28;
    std::size_t bars;
    double column;
    Box chart{};
};

/// Writes into a box as much as fits of: number in the table and name, layer and bytes.
void label(Drawing& drawing, const Box& box, const Entry& e) {
    const std::string ink = both(middle, "pointer-events=\"none\"") + " fill=\"" + paint(e.kind).ink + '"';
    const double x = box.x + box.width / 2, y = box.y + box.height / 2;
    const std::string id = '#' + std::to_string(e.id), bytes = grouped(e.bytes) + " B";
    const auto fits = [&](std::string_view text, double size) {
        return text_width(text, size) <= box.width - 6;
    };

    std::vector<std::string> lines{id + ' ' + e.name};
    // The last word of a long name has a line of its own.
    if (const std::size_t space = lines[0].rfind(' '); !fits(lines[0], 12) && space > id.size()) {
        lines.push_back(lines[0].substr(space + 1));
        lines[0].resize(space);
    }
    const std::string where = "layer " + e.layer.substr(0, e.layer.find(' '));
    if (fits(where + ", " + bytes, 11)) {
        lines.push_back(where + ", " + bytes);
    } else {
        lines.insert(lines.end(), {where, bytes});
    }
    const double height = 15 * static_cast<double>(lines.size());
    if (box.height >= height + 4 &&
        std::all_of(lines.begin(), lines.end(), [&](const auto& t) { return fits(t, 12); })) {
        for (std::size_t i = 0; i < lines.size(); ++i)
            drawing.text(x, y - height / 2 + 12 + 15 * static_cast<double>(i), i == 0 ? 12 : 11, lines[i],
                         ink);
        return;
    }
    if (box.height < 9.5) return;
    const double size = box.height < 11.5 ? 8 : 9;
    for (const std::string& text : {id + ' ' + e.name + ", " + bytes, id + ' ' + e.name, id})
        if (fits(text, size)) return drawing.text(x, y + size * 0.36, size, text, ink);
}

std::string hint_of(const Entry& e) {
    return '#' + std::to_string(e.id) + ' ' + e.name + ", layer " + e.layer + ": " + grouped(e.bytes) +
           " bytes at " + grouped(e.offset) +
           (e.first == no_step ? "" : ", steps " + std::to_string(e.first) + " to " + std::to_string(e.last));
}

void draw_legend(Drawing& drawing, const Plan& plan, const Layout& layout) {
    double x = layout.margin;
    const auto item = [&](const std::string& style, std::string_view title) {
        drawing.box({x, 88, 13, 13}, style);
        drawing.text(x + 19, 99, 12, title);
        x += 19 + text_width(title, 12) + 16;
    };
    for (std::size_t k = 0; k < static_cast<std::size_t>(Kind::input); ++k) {
        const auto kind = static_cast<Kind>(k);
        const bool present = std::any_of(plan.entries.begin(), plan.entries.end(),
                                         [&](const Entry& e) { return e.kind == kind; });
        if (present) item(std::string("fill=\"") + paint(kind).fill + '"', paint(kind).title);
    }
    item("fill=\"#EEF1F4\" stroke=\"#AFB8C1\"", "not in use");
}

/// The whole memory: one bar for the arena and, in inference, one for the parameters, both to the same scale.
void draw_bars(Drawing& drawing, const Plan& plan, const Layout& layout) {
    const Totals& totals = plan.totals();
    const bool inside = parameters_in_arena(totals);
    const double largest = std::max(totals.arena_bytes, inside ? 0u : totals.region_bytes[0]);
    const auto height = [&](std::uint64_t bytes) {
        return layout.chart.height * static_cast<double>(bytes) / largest;
    };
    const double bottom = layout.bottom();
    double label_y = bottom + 30;
    for (std::size_t r = 0; r < region_count; ++r) {
        if (totals.region_bytes[r] == 0) continue;
        const auto region = static_cast<Region>(r);
        const bool constant = region == Region::parameters && !inside;
        const double x = layout.bar_x(constant ? 0 : layout.bars - 1);
        const double tall = std::max(2.0, height(totals.region_bytes[r]));
        const Box box{x, bottom - (constant ? 0 : height(totals.region_offset[r])) - tall, layout.bar_width,
                      tall};
        if (region == Region::planned) {
            drawing.add("<polygon fill=\"#F6F8FA\" points=\"" + number(box.x + box.width) + ',' +
                        number(box.y) + ' ' + number(layout.chart.x) + ',' + number(layout.chart.y) + ' ' +
                        number(layout.chart.x) + ',' + number(bottom) + ' ' + number(box.x + box.width) +
                        ',' + number(box.y + box.height) + "\"/>");
            drawing.box(box, "fill=\"#D0D7DE\" stroke=\"#57606A\"",
                        "planned: " + grouped(totals.region_bytes[r]) + " bytes");
        }
        for (const Entry& e : plan.entries) {
            if (e.region != region || region == Region::planned) continue;
            const bool outlined = height(e.bytes) >= 3;
            drawing.box({x, bottom - height(std::uint64_t{e.offset} + e.bytes), box.width, height(e.bytes)},
                        std::string("fill=\"") + paint(e.kind).fill +
                            (outlined ? "\" stroke=\"#FFFFFF\" stroke-width=\"0.6\"" : "\""),
                        hint_of(e));
        }
        // Labels stand beside the middle of their regions, at least two lines apart, from the bottom up.
        if (!constant && layout.bars == 2) continue;
        label_y = std::min(box.y + box.height / 2 + 2, label_y - 34);
        drawing.text(layout.bar_x(0) - 12, label_y - 4, 12, name(region), both(end, "font-weight=\"600\""));
        drawing.text(layout.bar_x(0) - 12, label_y + 11, 11, grouped(totals.region_bytes[r]) + " B",
                     both(end, grey));
    }
    for (std::size_t b = 0; b < layout.bars; ++b) {
        const bool arena = b + 1 == layout.bars;
        const double x = layout.bar_x(b) + layout.bar_width / 2;
        const std::uint64_t bytes = arena ? totals.arena_bytes : totals.region_bytes[0];
        const double top = bottom - height(bytes);
        drawing.text(x, top - 22, 12, arena ? "arena" : "constant", both(middle, "font-weight=\"600\""));
        drawing.text(x, top - 8, 11, grouped(bytes) + " B", both(middle, grey));
    }
}

void draw_axes(Drawing& drawing, const Plan& plan, const Layout& layout) {
    const Box& chart = layout.chart;
    const double planned = plan.totals().region_bytes[static_cast<std::size_t>(Region::planned)];
    const double distance = tick_distance(planned);
    drawing.box(chart, "fill=\"#EEF1F4\"");
    for (double tick = 0; tick <= planned; tick += distance) {
        const double y = layout.bottom() - chart.height * tick / planned;
        drawing.line(chart.x, y, layout.right() + 5, y, "stroke=\"#D0D7DE\"");
        drawing.text(layout.right() + 9, y + 4, 11, grouped(static_cast<std::uint64_t>(tick)), grey);
    }
    const double label_x = layout.right() + 20 + text_width(grouped(static_cast<std::uint64_t>(planned)), 11);
    const double label_y = chart.y + chart.height / 2;
    drawing.text(
        label_x, label_y, 12, "bytes from the start of the planned region",
        both(middle, grey) + " transform=\"rotate(90 " + number(label_x) + ' ' + number(label_y) + ")\"");

    const auto every = static_cast<std::size_t>(std::ceil(24 / layout.column));
    for (std::size_t s = 0; s < plan.pass; ++s) {
        const double x = chart.x + layout.column * static_cast<double>(s), center = x + layout.column / 2;
        if (layout.column >= 8 && s != 0) drawing.line(x, chart.y, x, layout.bottom(), "stroke=\"#D0D7DE\"");
        if (s % every == 0) drawing.text(center, layout.bottom() + 17, 11, std::to_string(s), middle);
        if (!layout.names()) continue;
        const double y = layout.bottom() + 32;
        drawing.text(
            center + 4, y, 11, step_label(plan.program.steps[s]),
            both(end, grey) + " transform=\"rotate(-35 " + number(center + 4) + ' ' + number(y) + ")\"");
    }
    drawing.text(layout.right() + 9, layout.bottom() + 17, 12, "step", grey);

    // Neighbouring steps of one phase share a band.
    for (std::size_t s = 0; s < plan.pass;) {
        std::size_t stop = s + 1;
        while (stop < plan.pass && std::string_view(phase(plan.program, stop)) == phase(plan.program, s))
            ++stop;
        const Box band{chart.x + layout.column * static_cast<double>(s) + 1, chart.y - 44,
                       layout.column * static_cast<double>(stop - s) - 2, 18};
        drawing.box(band, "fill=\"#57606A\" rx=\"3\"");
        if (text_width(phase(plan.program, s), 11) <= band.width)
            drawing.text(band.x + band.width / 2, band.y + 13, 11, phase(plan.program, s),
                         both(middle, "fill=\"#FFFFFF\""));
        s = stop;
    }
}

/// Every planned buffer over its own life. Where one takes over the bytes of another, the colour changes in
/// the middle of the step that reads the one and writes the other.
void draw_buffers(Drawing& drawing, const Plan& plan, const Layout& layout) {
    const Totals& totals = plan.totals();
    const auto planned = static_cast<std::size_t>(Region::planned);
    const double scale = layout.chart.height / totals.region_bytes[planned];
    std::vector<double> stop(plan.program.buffers.size());
    for (const Entry& e : plan.entries) {
        if (e.region == Region::planned) stop[e.id] = e.last + 1.0;
    }
    for (const Entry& next : plan.entries) {
        if (next.over == no_buffer) continue;
        for (const Entry& e : plan.entries)
            if ((e.id == next.over || e.over == next.over) && e.id != next.id && e.last == next.first &&
                e.first <= next.first && e.id < next.id)
                stop[e.id] = next.first + 0.5;
    }
    for (const Entry& e : plan.entries) {
        if (e.region != Region::planned) continue;
        const double start = e.first + (e.over == no_buffer ? 0.0 : 0.5);
        const double top =
            layout.bottom() - scale * static_cast<double>(e.offset - totals.region_offset[planned] + e.bytes);
        const double height = std::max(1.5, scale * e.bytes);
        const Box box{layout.chart.x + layout.column * start, top, layout.column * (stop[e.id] - start),
                      height};
        const bool outlined = height > 4 && box.width > 4;
        drawing.box(box,
                    std::string("fill=\"") + paint(e.kind).fill + (outlined ? "\" stroke=\"#FFFFFF\"" : "\""),
                    hint_of(e));
        label(drawing, box, e);
    }
}

void draw_fullest(Drawing& drawing, const Plan& plan, const Layout& layout) {
    const double x = layout.chart.x + layout.column * (static_cast<double>(plan.fullest) + 0.5);
    const double top = layout.chart.y, bottom = layout.bottom();
    const std::string step = std::to_string(plan.fullest);
    const std::string text = "largest moment: " + grouped(plan.live[plan.fullest]) + " B in step " + step;
    const double half = text_width(text, 11) / 2;
    drawing.text(std::max(layout.chart.x + half, std::min(layout.right() - half, x)), top - 12, 11, text,
                 both(middle, "font-weight=\"600\""));
    drawing.add("<path d=\"M" + number(x - 5) + ' ' + number(top - 8) + "h10l-5 6z\"/>");
    drawing.box({x - 11, bottom + 5, 22, 16}, "rx=\"3\"");
    drawing.text(x, bottom + 17, 11, step, both(middle, "fill=\"#FFFFFF\""));
}

std::string picture(const Plan& plan) {
    const Layout layout(plan);
    const Totals& totals = plan.totals();
    Drawing drawing;
    std::string memory = "arena " + grouped(totals.arena_bytes) + " bytes";
    if (!parameters_in_arena(totals))
        memory += ", parameters " + grouped(totals.region_bytes[0]) + " bytes of constant memory";
    drawing.text(layout.margin, 44, 21, plan.title, "font-weight=\"600\"");
    drawing.text(layout.margin, 68, 13,
                 plan.subtitle + "; " + grouped(totals.parameters) + " parameters, " + memory, grey);
    draw_legend(drawing, plan, layout);
    drawing.text(layout.chart.x, layout.chart.y - 58, 13,
                 "Planned region, " +
                     grouped(totals.region_bytes[static_cast<std::size_t>(Region::planned)]) +
                     " bytes: who uses them in which step",
                 "font-weight=\"600\"");
    draw_bars(drawing, plan, layout);
    draw_axes(drawing, plan, layout);
    draw_buffers(drawing, plan, layout);
    draw_fullest(drawing, plan, layout);

    // The names of the steps are turned by 35 degrees.
    double longest = 0;
    for (std::size_t s = 0; s < plan.pass; ++s)
        longest = std::max(longest, text_width(step_label(plan.program.steps[s]), 11));
    const double width = layout.right() + 120,
                 height = layout.bottom() + (layout.names() ? 52 + 0.54 * longest : 40);
    const std::string size = number(width) + ' ' + number(height);
    std::string head = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(width) + "\" height=\"" +
                       number(height) + "\" viewBox=\"0 0 " + size +
                       "\" role=\"img\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
                       "fill=\"#1F2328\">\n<title>" +
                       escaped(plan.title + ", " + plan.subtitle) + "</title>\n";
    Drawing ground;
    ground.box({0.5, 0.5, width - 1, height - 1}, "fill=\"#FFFFFF\" stroke=\"#D0D7DE\" rx=\"8\"");
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + head + ground.str() + drawing.str() + "</svg>\n";
}

struct PlanOptions {
    ModelOptions model;
    bool training = true;
    std::string svg, json;
};

void plan_command(const PlanOptions& options) {
    if (options.svg == "-" && options.json == "-")
        throw Error("--svg", "- beside --json -", "one of them to be a file");
    const BuiltModel built = build(options.model);
    const Compiled deployed(built.model(), Inference{.batch = 1, .link = built.recipe.loss.link});
    const Compiled compiled =
        options.training
            ? Compiled(built.model(), built.recipe)
            : Compiled(built.model(), Inference{.batch = built.recipe.batch, .link = built.recipe.loss.link});
    const Plan plan = analyse(options.model, built, compiled.program(), deployed.program());

    // Both are made before either is put in its place.
    std::optional<OutputFile> json, svg;
    if (!options.json.empty()) json.emplace("--json", options.json);
    if (!options.svg.empty()) svg.emplace("--svg", options.svg);
    if (json) json->write(json_text(plan));
    if (svg) svg->write(picture(plan));
    if (json) json->commit();
    if (svg) svg->commit();

    Console console(options.json != "-" && options.svg != "-");
    console.line(plan.title + ", " + plan.subtitle + '\n');
    console.line("Buffers\n" + buffer_table(plan) + '\n');
    console.line("Steps\n" + step_table(plan) + '\n');
    console.line("Memory\n" + region_table(plan) + '\n');
    for (const std::string& answer : answers(plan)) console.line(answer);
}

}  // namespace

void add_plan_command(CLI::App& app) {
    auto options = std::make_shared<PlanOptions>();
    CLI::App* command = app.add_subcommand("plan", "Show where every byte of a program lies, and when");
    add_model_options(*command, options->model);
    add_text(*command, "--mode", "training or inference",
             [options](const std::string& text) {
                 if (text != "training" && text != "inference")
                     throw Error("--mode", text.empty() ? "nothing" : text, "training or inference");
                 options->training = text == "training";
             })
        ->type_name("NAME")
        ->default_str("training");
    const auto file = [&](const char* name, const char* help, std::string& value) {
        add_text(*command, name, help, [name, &value](const std::string& given) {
            if (given.empty()) throw Error(name, "nothing", "a file");
            value = given;
        })->type_name("FILE");
    };
    file("--svg", "draw the arena over the steps; -: to standard output", options->svg);
    file("--json", "write the plan as one JSON object; -: to standard output", options->json);
    command->callback([options] { plan_command(*options); });
}

}  // namespace ferrite::host
