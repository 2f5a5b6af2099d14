// SPDX-License-Identifier: MIT
// The laboratory's report: one HTML document with everything in it, readable without a network.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "plot.hpp"

namespace ferrite::host {

/// A quantity that was measured and where it had to lie. An infinite limit is none.
struct Check {
    std::string quantity{};  ///< with the unit
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
    double measured = 0;

    /// What is not a number is never inside.
    [[nodiscard]] bool inside() const noexcept { return measured >= low && measured <= high; }
};

enum class Verdict { pass, differs, not_judged };
/// "pass", "differs", "not judged"
[[nodiscard]] const char* name(Verdict verdict) noexcept;

struct Experiment {
    struct Shown {
        Picture picture;  ///< one that could not be drawn is told in words
        std::string alt;  ///< what somebody who does not see it should know
    };

    std::string title;
    std::vector<Shown> pictures{};
    std::string shows{}, expected{}, measured{};  ///< a paragraph each, empty: left out
    std::vector<Check> checks{};
    bool judged = true;  ///< false: the checks are shown, but this run was too short to be judged by them
    std::string data_file{};  ///< its name beside the page; empty: none

    /// pass: every check is inside.
    [[nodiscard]] Verdict verdict() const noexcept;
};

struct Page {
    std::string title;
    std::string subtitle;  ///< machine, instruction set, seed
    std::vector<Experiment> experiments;
};

/// `text` as HTML shows it, between tags and in quoted attributes; printable() first.
[[nodiscard]] std::string html_text(std::string_view text);

/// The whole document. The same page gives the same bytes.
[[nodiscard]] std::string html(const Page& page);

/// Writes it to `path`, whole or not at all; over one that this process has written before. Throws Error, which begins with `option` and `path`.
void write_page(std::string_view option, const std::string& path, const Page& page);

}  // namespace ferrite::host
