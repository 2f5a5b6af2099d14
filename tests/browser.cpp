// SPDX-License-Identifier: MIT
#include "browser.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

/// Closed at the end of the scope.
struct Descriptor {
    int number = -1;
    explicit Descriptor(int n) : number(n) {}
    ~Descriptor() { reset(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    void reset() {
        if (number >= 0) ::close(number);
        number = -1;
    }
};

/// Chromium with its messages on descriptors 3 and 4, each ended by a zero byte. Throws std::runtime_error.
class Browser {
  public:
    Browser(int width, Clock::time_point stop) : stop_(stop) {
        std::string profile = (fs::temp_directory_path() / "ferrite-browser-XXXXXX").string();
        if (::mkdtemp(profile.data()) == nullptr) throw std::runtime_error("no temporary directory");
        profile_ = profile;
        int to[2], from[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to) != 0)
            throw std::runtime_error("no socket");
        // The ends of the child lie above its targets 3 and 4, which would otherwise overwrite one another.
        Descriptor to_child(::fcntl(to[1], F_DUPFD_CLOEXEC, 10));
        ::close(to[1]);
        out_.number = to[0];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, from) != 0)
            throw std::runtime_error("no socket");
        Descriptor from_child(::fcntl(from[1], F_DUPFD_CLOEXEC, 10));
        ::close(from[1]);
        in_.number = from[0];

        std::vector<std::string> words{"chromium",
                                       "--headless=new",
                                       "--no-sandbox",
                                       "--disable-gpu",
                                       "--disable-dev-shm-usage",
                                       "--disable-extensions",
                                       "--disable-background-networking",
                                       "--no-first-run",
                                       "--remote-debugging-pipe",
                                       "--window-size=" + std::to_string(width) + ",900",
                                       "--user-data-dir=" + profile};
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, to_child.number, 3);
        posix_spawn_file_actions_adddup2(&actions, from_child.number, 4);
        posix_spawnattr_t attributes;
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        posix_spawnattr_setpgroup(&attributes, 0);
        const int error =
            ::posix_spawnp(&child_, "chromium", &actions, &attributes, arguments.data(), environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        if (error != 0) {
            child_ = -1;
            throw std::runtime_error(std::string("chromium does not start: ") + std::strerror(error));
        }
    }

    ~Browser() {
        out_.reset();
        in_.reset();
        if (child_ > 0) {
            // It ends by itself when its pipe does; its children with it.
            for (int i = 0; i < 100 && ::waitpid(child_, nullptr, WNOHANG) == 0; ++i)
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
            ::kill(-child_, SIGKILL);
            ::waitpid(child_, nullptr, 0);
        }
        std::error_code ignored;
        if (!profile_.empty()) fs::remove_all(profile_, ignored);
    }
    Browser(const Browser&) = delete;
    Browser& operator=(const Browser&) = delete;

    json call(const std::string& method, const json& parameters = json::object()) {
        json message{{"id", ++last_}, {"method", method}, {"params", parameters}};
        if (!session.empty()) message["sessionId"] = session;
        std::string bytes = message.dump() + '\0';
        for (std::size_t sent = 0; sent < bytes.size();) {
            const ssize_t size = ::send(out_.number, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
            if (size <= 0) throw std::runtime_error("chromium has ended");
            sent += static_cast<std::size_t>(size);
        }
        while (true) {
            json answer = next(stop_).value();
            if (answer.value("id", 0) != last_) {
                events.push_back(std::move(answer));
            } else if (answer.contains("error")) {
                throw std::runtime_error(method + ": " + answer["error"].dump());
            } else {
                return answer["result"];
            }
        }
    }

    void wait_for(const std::string& method) {
        const auto is_it = [&](const json& e) { return e.value("method", "") == method; };
        while (std::none_of(events.begin(), events.end(), is_it)) events.push_back(next(stop_).value());
    }
    /// Events that come until then.
    void listen(std::chrono::milliseconds time) {
        const Clock::time_point end = Clock::now() + time;
        while (std::optional<json> event = next(end, false)) events.push_back(std::move(*event));
    }

    std::string session;
    std::vector<json> events;

  private:
    /// None after `end`; throws instead where something `has_to` come.
    std::optional<json> next(Clock::time_point end, bool has_to = true) {
        while (true) {
            if (const std::size_t stop = input_.find('\0'); stop != std::string::npos) {
                json message = json::parse(input_.substr(0, stop));
                input_.erase(0, stop + 1);
                return message;
            }
            const auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
            if (left <= 0) {
                if (has_to) throw std::runtime_error("chromium does not answer in time");
                return std::nullopt;
            }
            pollfd polled{in_.number, POLLIN, 0};
            if (::poll(&polled, 1, static_cast<int>(left)) <= 0) continue;
            char bytes[65536];
            const ssize_t size = ::read(in_.number, bytes, sizeof(bytes));
            if (size <= 0) throw std::runtime_error("chromium has ended");
            input_.append(bytes, static_cast<std::size_t>(size));
        }
    }

    Clock::time_point stop_;
    fs::path profile_;
    Descriptor out_{-1}, in_{-1};
    pid_t child_ = -1;
    int last_ = 0;
    std::string input_;
};

std::string file_address(const fs::path& path) {
    std::string result = "file://";
    for (const char c : fs::canonical(path).string()) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte) != 0 || std::strchr("/-._~", c) != nullptr) {
            result += c;
        } else {
            char code[4];
            std::snprintf(code, sizeof(code), "%%%02X", unsigned{byte});
            result += code;
        }
    }
    return result;
}

void sort_events(const std::vector<json>& events, const std::string& page, BrowserReport& report) {
    for (const json& event : events) {
        const std::string method = event.value("method", "");
        const json parameters = event.value("params", json::object());
        if (method == "Log.entryAdded")
            report.console.push_back(parameters["entry"].value("text", ""));
        else if (method == "Runtime.consoleAPICalled")
            report.console.push_back(parameters["args"].dump());
        else if (method == "Runtime.exceptionThrown")
            report.console.push_back(parameters["exceptionDetails"].dump());
        else if (method == "Network.requestWillBeSent") {
            const std::string address = parameters["request"].value("url", "");
            if (address != page && address.rfind("data:", 0) != 0) report.requests.push_back(address);
        }
    }
}

}  // namespace

bool browser_is_here() {
    const char* const variable = std::getenv("PATH");
    std::istringstream path(variable == nullptr ? "" : variable);
    for (std::string directory; std::getline(path, directory, ':');)
        if (::access((fs::path(directory) / "chromium").c_str(), X_OK) == 0) return true;
    const char* const required = std::getenv("FERRITE_REQUIRE_SHARED");
    if (required != nullptr && std::string(required) == "1")
        FAIL("FERRITE_REQUIRE_SHARED=1, but there is no chromium (Debian: chromium)");
    MESSAGE("skipped: there is no chromium (Debian: chromium) to open the page with");
    return false;
}

BrowserReport open_in_browser(const fs::path& page, int width, std::chrono::milliseconds limit) {
    BrowserReport report;
    try {
        const std::string address = file_address(page);
        Browser browser(width, Clock::now() + limit);
        const json target = browser.call("Target.createTarget", {{"url", "about:blank"}});
        const json attached =
            browser.call("Target.attachToTarget", {{"targetId", target["targetId"]}, {"flatten", true}});
        browser.session = attached["sessionId"].get<std::string>();
        browser.call("Emulation.setDeviceMetricsOverride",
                     {{"width", width}, {"height", 900}, {"deviceScaleFactor", 1}, {"mobile", false}});
        for (const char* const domain : {"Page.enable", "Runtime.enable", "Log.enable", "Network.enable"})
            browser.call(domain);
        const json went = browser.call("Page.navigate", {{"url", address}});
        if (went.contains("errorText")) throw std::runtime_error(went["errorText"].get<std::string>());
        browser.wait_for("Page.loadEventFired");
        const json answer = browser.call(
            "Runtime.evaluate",
            {{"expression",
              "Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(() => "
              "[document.images.length, [...document.images].filter(i => i.naturalWidth > 0).length, "
              "document.documentElement.scrollWidth, document.documentElement.clientWidth])"},
             {"awaitPromise", true},
             {"returnByValue", true}});
        const json& value = answer["result"]["value"];
        report.pictures = value[0];
        report.loaded = value[1];
        report.scroll_width = value[2];
        report.client_width = value[3];
        browser.listen(std::chrono::milliseconds(200));
        sort_events(browser.events, address, report);
    } catch (const std::exception& error) {
        report.problem = error.what();
    }
    return report;
}
