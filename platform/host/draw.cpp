// SPDX-License-Identifier: MIT
// gnuplot as a child process, and what becomes of its SVG.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "plot.hpp"

extern char** environ;

namespace ferrite::host {
namespace {

/// What gnuplot writes, without the greater half that shows nothing: empty groups, a title for each curve
/// ("$d0 using 1:2"), hundredths of a pixel.
class Compactor {
  public:
    static std::string run(std::string_view svg) {
        Compactor compactor;
        for (std::size_t i = 0; i < svg.size();) {
            const bool tag = svg[i] == '<';
            const std::size_t stop = std::min(svg.size(), tag ? svg.find('>', i) + 1 : svg.find('<', i));
            if (tag)
                compactor.tag(svg.substr(i, stop - i));
            else
                compactor.text(svg.substr(i, stop - i));
            i = stop;
        }
        return std::move(compactor.result_);
    }

  private:
    void flush() {
        for (const std::string& tag : waiting_) result_ += tag;
        waiting_.clear();
    }

    void tag(std::string_view tag) {
        const std::string_view name = tag.substr(1, tag.find_first_of(" \n\t/>", 2) - 1);
        if (name == "title" && titles_++ > 0) {
            hidden_ = true;
        } else if (name == "/title" && hidden_) {
            hidden_ = false;
        } else if (name == "g" || name == "text") {
            waiting_.emplace_back(tag);
            // The same for all groups: the outermost has it for them.
            constexpr std::string_view ends = " stroke-linecap=\"round\" stroke-linejoin=\"round\"";
            std::string& group = waiting_.back();
            if (const std::size_t place = group.find(ends); place != std::string::npos)
                group.erase(place, ends.size());
            if (tag == "<g id=\"gnuplot_canvas\">") group.insert(2, ends);
        } else if ((name == "/g" || name == "/text") && !waiting_.empty()) {
            waiting_.pop_back();
        } else {
            flush();
            const std::string_view key = name == "path" ? " d='" : name == "polygon" ? "points = '" : "";
            const std::size_t place = key.empty() ? std::string_view::npos : tag.find(key);
            if (place == std::string_view::npos || in_definitions_) {
                result_ += tag;
            } else {
                const std::size_t begin = place + key.size(), end = tag.find('\'', begin);
                result_ += tag.substr(0, begin);
                coordinates(tag.substr(begin, end - begin), name == "path");
                result_ += tag.substr(end);
            }
            if (name == "defs") in_definitions_ = true;
            if (name == "/defs") in_definitions_ = false;
            if (name == "?xml") result_ += '\n';
        }
    }

    void text(std::string_view text) {
        if (hidden_ || text.find_first_not_of(" \n\t") == std::string_view::npos) return;
        flush();
        // "]]>" is no text in XML, and gnuplot does not know that.
        for (const char c : text) result_ += c == '>' ? std::string("&gt;") : std::string(1, c);
    }

    /// In tenths of a pixel; those of a path from point to point.
    void coordinates(std::string_view text, bool path) {
        long last[2] = {0, 0};
        int axis = 0;
        bool absolute = true, first = true;
        for (std::size_t i = 0; i < text.size();) {
            double value = 0;
            const auto [stop, error] = std::from_chars(text.data() + i, text.data() + text.size(), value);
            if (error != std::errc{}) {
                if (const char c = text[i++]; c == 'M' || c == 'Z' || c == 'z') {
                    result_ += c;
                    first = absolute = true;
                }
                continue;
            }
            i = static_cast<std::size_t>(stop - text.data());
            const long tenths = std::lround(value * 10), shown = absolute ? tenths : tenths - last[axis];
            last[axis] = tenths;
            if (!first && shown >= 0) result_ += ' ';
            first = false;
            if (shown < 0) result_ += '-';
            result_ += std::to_string(std::labs(shown) / 10);
            if (shown % 10 != 0) result_ += '.' + std::to_string(std::labs(shown) % 10);
            axis = 1 - axis;
            if (axis == 0 && path && absolute) {
                absolute = false;
                result_ += 'l';
                first = true;
            }
        }
        if (!result_.empty() && result_.back() == 'l') result_.pop_back();
    }

    std::string result_;
    std::vector<std::string> waiting_;  ///< start tags that nothing has followed yet
    int titles_ = 0;
    bool hidden_ = false, in_definitions_ = false;
};

/// The file descriptors of a pipe, closed at the end of the scope.
struct Pipe {
    std::array<int, 2> end{-1, -1};
    Pipe() = default;
    ~Pipe() {
        close(0);
        close(1);
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    void close(std::size_t i) {
        if (end[i] >= 0) ::close(std::exchange(end[i], -1));
    }
};

/// `text` on one line and not too long for a message.
std::string first_words(const std::string& text) {
    std::string all = printable(text);
    all.erase(0, all.find_first_not_of(' '));
    if (all.size() > 300) all = printable(all.substr(0, 300)) + " ...";
    while (!all.empty() && all.back() == ' ') all.pop_back();
    return all;
}

/// The number behind `key` in the SVG element.
unsigned svg_extent(const std::string& svg, const std::string& key) {
    const std::size_t place = svg.find(key);
    unsigned value = 0;
    if (place != std::string::npos)
        std::from_chars(svg.data() + place + key.size(), svg.data() + svg.size(), value);
    return value;
}

}  // namespace

Picture draw(const Figure& figure, std::chrono::milliseconds limit) {
    Picture picture = draw_script(gnuplot_script(figure), limit);
    // What a browser shows for a document of its own, and what a screen reader says.
    constexpr std::string_view stock = "<title>Gnuplot</title>";
    if (const std::size_t place = picture.svg.find(stock); place != std::string::npos) {
        std::string title;
        for (const char c : printable(figure.title))
            title += c == '&'   ? std::string("&amp;")
                     : c == '<' ? std::string("&lt;")
                     : c == '>' ? std::string("&gt;")
                                : std::string(1, c);
        picture.svg.replace(place, stock.size(), "<title>" + title + "</title>");
    }
    return picture;
}

Picture draw_script(std::string_view script, std::chrono::milliseconds limit) {
    Ran ran = run_process({"gnuplot", "--default-settings"}, script, limit);
    Picture picture;
    if (ran.start_error == ENOENT) {
        picture.problem = "gnuplot: found no such program, expected the one of Debian's package gnuplot-nox";
    } else if (ran.start_error != 0) {
        picture.problem = "gnuplot: found it does not start (" +
                          std::generic_category().message(ran.start_error) + "), expected a program";
    } else if (ran.timed_out) {
        picture.problem =
            "gnuplot: found it still busy after " + std::to_string(limit.count()) + " ms, expected a picture";
    } else if (ran.code != 0 || ran.out.find("</svg>") == std::string::npos) {
        const std::string words = first_words(ran.err);
        picture.problem = "gnuplot: found exit code " + std::to_string(ran.code) +
                          (words.empty() ? "" : " and \"") + words + (words.empty() ? "" : "\"") +
                          ", expected a picture";
    } else {
        picture.svg = Compactor::run(ran.out);
        const std::size_t box = picture.svg.find("viewBox=\"0 0 ");
        if (box != std::string::npos) {
            picture.width = svg_extent(picture.svg, "viewBox=\"0 0 ");
            picture.height = svg_extent(picture.svg, "viewBox=\"0 0 " + std::to_string(picture.width) + ' ');
        }
    }
    return picture;
}

Ran run_process(const std::vector<std::string>& words, std::string_view input,
                std::chrono::milliseconds limit) {
    Ran ran;
    const auto failed = [&ran](int error) {
        ran.start_error = error;
        return ran;
    };
    // The input is a file without a name: nobody has to feed a pipe, and a child that reads none of it does
    // no harm.
    const auto closing = [](std::FILE* file) { std::fclose(file); };
    const std::unique_ptr<std::FILE, decltype(closing)> file(std::tmpfile(), closing);
    if (!file) return failed(errno);
    if (std::fwrite(input.data(), 1, input.size(), file.get()) != input.size() ||
        std::fflush(file.get()) != 0)
        return failed(errno);
    std::rewind(file.get());
    std::array<Pipe, 2> pipes;
    for (Pipe& pipe : pipes)
        if (::pipe2(pipe.end.data(), O_CLOEXEC) != 0) return failed(errno);

    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ::fileno(file.get()), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes[0].end[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes[1].end[1], STDERR_FILENO);
    pid_t child = -1;
    const int error = ::posix_spawnp(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return failed(error);
    for (Pipe& pipe : pipes) pipe.close(1);

    using Clock = std::chrono::steady_clock;
    const Clock::time_point stop = Clock::now() + limit;
    const auto left = [&] {
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(stop - Clock::now()).count();
        return static_cast<int>(std::clamp<decltype(ms)>(ms, 0, 1000));
    };
    std::array<std::string*, 2> texts{&ran.out, &ran.err};
    while ((pipes[0].end[0] >= 0 || pipes[1].end[0] >= 0) && Clock::now() < stop) {
        std::array<pollfd, 2> polled{{{pipes[0].end[0], POLLIN, 0}, {pipes[1].end[0], POLLIN, 0}}};
        if (::poll(polled.data(), polled.size(), left()) <= 0) continue;
        for (std::size_t i = 0; i < 2; ++i) {
            if (polled[i].revents == 0) continue;
            std::array<char, 65536> bytes;
            const ssize_t size = ::read(pipes[i].end[0], bytes.data(), bytes.size());
            if (size > 0)
                texts[i]->append(bytes.data(), static_cast<std::size_t>(size));
            else if (size == 0 || errno != EINTR)
                pipes[i].close(0);
        }
    }
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(child, &status, WNOHANG)) == 0 && Clock::now() < stop)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (ended == 0) {
        ran.timed_out = true;
        ::kill(child, SIGKILL);
        while ((ended = ::waitpid(child, &status, 0)) < 0 && errno == EINTR) {
        }
    }
    if (ended == child) ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ran;
}

}  // namespace ferrite::host
