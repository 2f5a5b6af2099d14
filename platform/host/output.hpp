// SPDX-License-Identifier: MIT
// What a command writes: lines of text in fixed memory, files that are complete or not there, and the
// console. Writing allocates nothing, so that it may happen in the middle of a training run.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace ferrite::host {

/// Text in fixed memory; what does not fit is cut off.
class Line {
  public:
    /// Appends as printf does.
    [[gnu::format(printf, 2, 3)]] Line& print(const char* format, ...) noexcept;
    /// Appends `value` as JSON: the shortest digits that give it back, null if it is not finite.
    Line& json(double value) noexcept;

    [[nodiscard]] std::string_view view() const noexcept { return {text_.data(), size_}; }
    void clear() noexcept { size_ = 0; }

  private:
    std::array<char, 1024> text_;
    std::size_t size_ = 0;
};

/// An output that somebody named on the command line. A regular file is written beside its place and takes it
/// in commit(); without that, nothing remains. "-" is standard output; that, devices and pipes are written at
/// once.
class OutputFile {
  public:
    /// Throws Error, which begins with `option` and `path`, if the file cannot be written, or is that of another output
    /// of this process; with `again` it may be one that is complete.
    OutputFile(std::string_view option, const std::string& path, bool again = false);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    /// Throws Error.
    void write(std::string_view bytes);
    /// Throws Error. Nothing may be written after it.
    void commit();

  private:
    std::string where_;
    std::filesystem::path target_;
    std::filesystem::path key_;        ///< what tells it from other outputs
    std::filesystem::path temporary_;  ///< empty: written in place
    int descriptor_ = -1;
    bool unnamed_ = false;  ///< the temporary file has no name before commit()
};

/// Text for a person: lines and, on a terminal, a last line that is rewritten. Standard output, or standard
/// error where standard output carries something else.
class Console {
  public:
    explicit Console(bool standard_output = true);
    /// Ends the line that status() may have left.
    ~Console();
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

    /// Whether it is a terminal, so that status() shows anything.
    [[nodiscard]] bool live() const noexcept { return live_; }
    /// Writes `text` and an end of line. Throws Error.
    void line(std::string_view text);
    /// Replaces the last line, cut to the width of the terminal. Throws Error.
    void status(std::string_view text);

  private:
    void write(std::string_view text) const;

    int descriptor_;
    bool live_;
    bool has_status_ = false;
};

}  // namespace ferrite::host
