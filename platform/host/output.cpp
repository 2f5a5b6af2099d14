// SPDX-License-Identifier: MIT
// Output by descriptors: stdio would allocate its buffers whenever it likes.
#include "output.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <system_error>
#include <utility>

#include "dataset.hpp"

namespace ferrite::host {
namespace {

namespace fs = std::filesystem;

Error unwritable(std::string_view where, const std::string& reason) {
    return {where, "it unwritable (" + reason + ")", "a writable file"};
}
Error unwritable(std::string_view where, int error) {
    return unwritable(where, std::generic_category().message(error));
}

void write_all(int descriptor, std::string_view bytes, std::string_view where) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
        if (written >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(written));
        } else if (errno != EINTR) {
            throw unwritable(where, errno);
        }
    }
}

/// Where the outputs of this process lie, or will; true: it is complete.
std::map<fs::path, bool>& output_targets() {
    static std::map<fs::path, bool> targets;
    return targets;
}

}  // namespace

Line& Line::print(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    const std::size_t room = text_.size() - size_;
    const int length = std::vsnprintf(text_.data() + size_, room, format, arguments);
    va_end(arguments);
    if (length > 0) size_ += std::min(static_cast<std::size_t>(length), room - 1);
    return *this;
}

Line& Line::json(double value) noexcept {
    if (!std::isfinite(value)) return print("null");
    const std::to_chars_result result =
        std::to_chars(text_.data() + size_, text_.data() + text_.size(), value);
    if (result.ec == std::errc{}) size_ = static_cast<std::size_t>(result.ptr - text_.data());
    return *this;
}

OutputFile::OutputFile(std::string_view option, const std::string& path, bool again)
    : where_(std::string(option) + ' ' + path), target_(path) {
    if (path == "-") {
        where_ = "standard output";
        descriptor_ = STDOUT_FILENO;
        return;
    }
    if (path.empty()) throw Error(option, "an empty name", "a writable file");
    // The file behind such a name is open already, by somebody who goes on to write it.
    const int inherited = path == "/dev/stdout" ? STDOUT_FILENO : path == "/dev/stderr" ? STDERR_FILENO : -1;
    if (inherited >= 0) {
        descriptor_ = ::fcntl(inherited, F_DUPFD_CLOEXEC, 3);
        if (descriptor_ < 0) throw unwritable(where_, errno);
        return;
    }
    // What a symbolic link names is replaced, not the link.
    std::error_code error;
    if (const fs::path real = fs::canonical(target_, error); !error) target_ = real;
    struct stat status {};
    const bool exists = ::stat(target_.c_str(), &status) == 0;
    if (exists && !S_ISREG(status.st_mode)) {
        descriptor_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
        if (descriptor_ < 0) throw unwritable(where_, errno);
        return;
    }
    if (exists && ::access(target_.c_str(), W_OK) != 0) throw unwritable(where_, errno);
    if (!target_.has_filename()) throw unwritable(where_, ENOENT);
    // Two outputs that are one file would lose one of them.
    const fs::path key = fs::weakly_canonical(fs::absolute(target_, error), error);
    const auto [target, fresh] = output_targets().try_emplace(key, false);
    if (!fresh && !(again && target->second)) throw Error(where_, "the file of another output", "another file");
    target->second = false;
    key_ = key;
    // Two outputs of one process may stand in one directory.
    static int number = 0;
    temporary_ =
        target_.parent_path() / (".ferrite-" + std::to_string(::getpid()) + '-' + std::to_string(number++));
    // A file without a name leaves nothing behind, however the process ends; not every file system has them.
    const fs::path directory = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    descriptor_ = ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    unnamed_ = descriptor_ >= 0;
    if (!unnamed_) descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) {
        temporary_.clear();
        throw unwritable(where_, errno);
    }
    if (exists) static_cast<void>(::fchmod(descriptor_, status.st_mode & 07777));
}

OutputFile::~OutputFile() {
    if (!temporary_.empty()) output_targets().erase(key_);  // not written
    if (descriptor_ > STDERR_FILENO) ::close(descriptor_);
    if (!temporary_.empty() && !unnamed_) ::unlink(temporary_.c_str());
}

void OutputFile::write(std::string_view bytes) { write_all(descriptor_, bytes, where_); }

void OutputFile::commit() {
    if (unnamed_) {
        const std::string open_file = "/proc/self/fd/" + std::to_string(descriptor_);
        if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0)
            throw unwritable(where_, errno);
        unnamed_ = false;
    }
    if (descriptor_ > STDERR_FILENO && ::close(std::exchange(descriptor_, -1)) != 0)
        throw unwritable(where_, errno);
    if (temporary_.empty()) return;
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw unwritable(where_, errno);
    temporary_.clear();
    output_targets()[key_] = true;
}

Console::Console(bool standard_output)
    : descriptor_(standard_output ? STDOUT_FILENO : STDERR_FILENO), live_(::isatty(descriptor_) == 1) {}

Console::~Console() {
    // An error message comes next, and whether this works is no news.
    if (has_status_ && ::write(descriptor_, "\n", 1) < 0) return;
}

void Console::line(std::string_view text) {
    if (has_status_) write("\r\x1b[K");
    has_status_ = false;
    write(text);
    write("\n");
}

void Console::status(std::string_view text) {
    if (!live_) return;
    winsize window{};
    if (::ioctl(descriptor_, TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
        text = text.substr(0, window.ws_col - std::size_t{1});
    Line line;
    line.print("\r%.*s\x1b[K", static_cast<int>(text.size()), text.data());
    write(line.view());
    has_status_ = true;
}

void Console::write(std::string_view text) const {
    write_all(descriptor_, text, descriptor_ == STDOUT_FILENO ? "standard output" : "standard error");
}

}  // namespace ferrite::host
