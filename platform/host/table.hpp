// SPDX-License-Identifier: MIT
// A table of text for a terminal: every column as wide as its widest cell, numbers to the right.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferrite::host {

class Table {
  public:
    enum class Align { left, right };
    struct Column {
        std::string head;  ///< with the unit
        Align align = Align::right;
    };

    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

    /// One cell for each column, ASCII.
    void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    /// A rule across the table, as above a sum.
    void rule() { rows_.emplace_back(); }

    /// Head, rule and rows, two spaces between the columns and none behind the last one; no line feed at the
    /// end.
    [[nodiscard]] std::string text() const {
        std::vector<std::size_t> width;
        std::vector<std::string> head;
        for (std::size_t c = 0; c < columns_.size(); ++c) {
            head.push_back(columns_[c].head);
            width.push_back(columns_[c].head.size());
            for (const auto& cells : rows_)
                if (!cells.empty()) width[c] = std::max(width[c], cells[c].size());
        }
        std::vector<std::string> lines;
        for (const std::size_t columns : width) lines.emplace_back(columns, '-');
        const std::string dashes = line(lines, width);
        std::string result = line(head, width) + '\n' + dashes;
        for (const auto& cells : rows_) result += '\n' + (cells.empty() ? dashes : line(cells, width));
        return result;
    }

  private:
    [[nodiscard]] std::string line(const std::vector<std::string>& cells,
                                   const std::vector<std::size_t>& width) const {
        std::string result;
        for (std::size_t c = 0; c < columns_.size(); ++c) {
            const std::string padding(width[c] - cells[c].size(), ' ');
            if (c != 0) result += "  ";
            result += columns_[c].align == Align::left ? cells[c] + padding : padding + cells[c];
        }
        result.erase(result.find_last_not_of(' ') + 1);
        return result;
    }

    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace ferrite::host
