// SPDX-License-Identifier: MIT
#include "page.hpp"

#include <algorithm>

#include "output.hpp"

namespace ferrite::host {
namespace {

// Pictures keep their light ground in the dark, where their colours were not chosen for a black one.
constexpr std::string_view style = R"(
:root{color-scheme:light dark;--ground:#fff;--panel:#f6f8fa;--ink:#1f2328;--soft:#57606a;--rule:#d0d7de;--link:#0058a3;
--pass:#11663a;--pass-ground:#dcf3e4;--differs:#8f3200;--differs-ground:#fdebdd;--open:#454d56;--open-ground:#e8ebee}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--panel:#1d232a;--ink:#e3e8ed;--soft:#a0aab4;--rule:#39424c;
--link:#74b9f5;--pass:#8fe0ae;--pass-ground:#12351f;--differs:#ffb587;--differs-ground:#45210c;--open:#c3cbd3;--open-ground:#2c343c}}
*{box-sizing:border-box}
body{margin:0;overflow-wrap:anywhere;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:68rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.35rem;line-height:1.3;margin:0;flex:1 1 16rem}
a{color:var(--link)}
p{max-width:46rem;margin:.6rem 0}
p b{display:block;font-size:.8rem;color:var(--soft);font-weight:600}
.facts{color:var(--soft);margin:0 0 1.5rem}
nav{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:.9rem 1.2rem}
nav h2{font-size:1rem;margin-bottom:.3rem}
nav ol{margin:0;padding-left:1.5rem}
nav li{padding:.15rem 0}
section{margin-top:2.5rem;padding-top:1.5rem;border-top:1px solid var(--rule)}
.head{display:flex;flex-wrap:wrap;gap:.3rem 1rem;align-items:center;margin-bottom:.8rem}
.badge{display:inline-block;font-size:.82rem;font-weight:600;line-height:1.5;padding:0 .65em;border:1px solid;border-radius:1em;white-space:nowrap}
.pass{color:var(--pass);background:var(--pass-ground)}
.differs{color:var(--differs);background:var(--differs-ground)}
.open{color:var(--open);background:var(--open-ground)}
.picture{margin:1rem 0;overflow-x:auto;border:1px solid var(--rule);border-radius:8px;background:#fff}
.picture img{display:block;margin:0 auto;height:auto;max-width:100%;min-width:min(100%,36rem)}
.missing{background:var(--panel);color:var(--soft);border-style:dashed;padding:1rem}
.table{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.93rem}
th,td{text-align:right;padding:.35rem .8rem;border-bottom:1px solid var(--rule);font-variant-numeric:tabular-nums}
th,td{overflow-wrap:normal}
th{color:var(--soft);font-weight:600;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
@media(max-width:40rem){.picture img{min-width:36rem}main{padding:1.2rem .9rem 3rem}th,td{padding:.35rem .5rem}}
@media print{:root{color-scheme:light;--ground:#fff;--panel:#fff;--ink:#000;--soft:#444;--rule:#bbb;--link:#000;
--pass:#11663a;--pass-ground:#fff;--differs:#8f3200;--differs-ground:#fff;--open:#444;--open-ground:#fff}
body{font-size:11pt}main{max-width:none;padding:0}.picture,table,.head,nav{break-inside:avoid}.head,h2{break-after:avoid}
.picture{overflow:visible;border:0}.picture img{min-width:0}}
)";

bool unreserved(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("-._~").find(c) != std::string_view::npos;
}

/// For a URI: what is not in `plain` or unreserved becomes %XX.
std::string percent(std::string_view text, std::string_view plain) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string result;
    for (const char c : text) {
        if (unreserved(c) || plain.find(c) != std::string_view::npos) {
            result += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        result += {'%', digits[byte >> 4u], digits[byte & 15u]};
    }
    return result;
}

std::string badge(Verdict verdict) {
    const char* const kind = verdict == Verdict::not_judged ? "open" : name(verdict);
    return std::string("<span class=\"badge ") + kind + "\">" + name(verdict) + "</span>";
}

std::string paragraph(std::string_view head, const std::string& text) {
    if (text.empty()) return "";
    return "<p><b>" + html_text(head) + "</b>" + html_text(text) + "</p>\n";
}

std::string expected_text(const Check& check) {
    const bool low = check.low > -std::numeric_limits<double>::infinity();
    const bool high = check.high < std::numeric_limits<double>::infinity();
    if (low && high) return number_text(check.low, 6) + " .. " + number_text(check.high, 6);
    if (low) return "at least " + number_text(check.low, 6);
    return high ? "at most " + number_text(check.high, 6) : "any number";
}

/// As many digits as it takes to see on which side of a limit it lies.
std::string measured_text(const Check& check) {
    for (int digits = 4; digits < 17; ++digits) {
        const std::string text = number_text(check.measured, digits);
        if (check.inside() ||
            (text != number_text(check.low, digits) && text != number_text(check.high, digits)))
            return text;
    }
    return number_text(check.measured, 17);
}

std::string picture_html(const Experiment::Shown& shown) {
    const Picture& picture = shown.picture;
    if (!picture.problem.empty())
        return "<div class=\"picture missing\" role=\"note\">A picture is missing here (" +
               html_text(shown.alt) + "). " + html_text(picture.problem) + "</div>\n";
    // Percent instead of base64: shorter for text, and a person can still read it. '&' would begin an entity.
    return "<div class=\"picture\"><img width=\"" + std::to_string(picture.width) + "\" height=\"" +
           std::to_string(picture.height) + "\" alt=\"" + html_text(shown.alt) +
           "\" src=\"data:image/svg+xml," + percent(picture.svg, " /:=,;()'?!*+$@") + "\"></div>\n";
}

std::string checks_html(const std::vector<Check>& checks) {
    if (checks.empty()) return "";
    std::string text =
        "<div class=\"table\"><table>\n<thead><tr><th scope=\"col\">Quantity</th><th "
        "scope=\"col\">Expected</th>"
        "<th scope=\"col\">Measured</th><th scope=\"col\">Result</th></tr></thead>\n<tbody>\n";
    for (const Check& check : checks)
        text += "<tr><td>" + html_text(check.quantity) + "</td><td>" + html_text(expected_text(check)) +
                "</td><td>" + html_text(measured_text(check)) + "</td><td><span class=\"badge " +
                (check.inside() ? "pass\">inside" : "differs\">not inside") + "</span></td></tr>\n";
    return text + "</tbody></table></div>\n";
}

std::string section(const Experiment& experiment, std::size_t number) {
    std::string text = "<section id=\"experiment-" + std::to_string(number) +
                       "\">\n<div class=\"head\"><h2>" + std::to_string(number) + ". " +
                       html_text(experiment.title) + "</h2>" + badge(experiment.verdict()) + "</div>\n";
    text += paragraph("What it shows", experiment.shows);
    for (const Experiment::Shown& shown : experiment.pictures) text += picture_html(shown);
    text += paragraph("What was expected", experiment.expected);
    text += paragraph("What was measured", experiment.measured);
    text += checks_html(experiment.checks);
    if (!experiment.data_file.empty())
        text += "<p>Data: <a href=\"./" + percent(experiment.data_file, "/") + "\">" +
                html_text(experiment.data_file) + "</a></p>\n";
    return text + "</section>\n";
}

}  // namespace

const char* name(Verdict verdict) noexcept {
    return verdict == Verdict::pass ? "pass" : verdict == Verdict::differs ? "differs" : "not judged";
}

Verdict Experiment::verdict() const noexcept {
    if (checks.empty() || !judged) return Verdict::not_judged;
    const auto inside = [](const Check& check) { return check.inside(); };
    return std::all_of(checks.begin(), checks.end(), inside) ? Verdict::pass : Verdict::differs;
}

std::string html_text(std::string_view text) {
    std::string result;
    for (const char c : printable(text)) {
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
            case '\'':
                result += "&#39;";
                break;
            default:
                result += c;
        }
    }
    return result;
}

std::string html(const Page& page) {
    // The policy makes a browser refuse whatever is not in this file.
    std::string text =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<link rel=\"icon\" href=\"data:,\">\n<title>";
    text += html_text(page.title) + "</title>\n<style>" + std::string(style) +
            "</style>\n</head>\n<body>\n<main>\n";
    text += "<h1>" + html_text(page.title) + "</h1>\n";
    if (!page.subtitle.empty()) text += "<p class=\"facts\">" + html_text(page.subtitle) + "</p>\n";
    if (!page.experiments.empty()) text += "<nav aria-label=\"Contents\">\n<h2>Contents</h2>\n<ol>\n";
    std::size_t number = 0;
    for (const Experiment& experiment : page.experiments)
        text += "<li><a href=\"#experiment-" + std::to_string(++number) + "\">" +
                html_text(experiment.title) + "</a> " + badge(experiment.verdict()) + "</li>\n";
    if (!page.experiments.empty()) text += "</ol>\n</nav>\n";
    number = 0;
    for (const Experiment& experiment : page.experiments) text += section(experiment, ++number);
    return text + "</main>\n</body>\n</html>\n";
}

void write_page(std::string_view option, const std::string& path, const Page& page) {
    OutputFile file(option, path, true);
    file.write(html(page));
    file.commit();
}

}  // namespace ferrite::host
