// SPDX-License-Identifier: MIT
// Ctrl-C and its like as a wish that long work looks for.
#pragma once

#include <CLI/CLI.hpp>
#include <csignal>
#include <iterator>

namespace ferrite::host {

/// Signals that ask for an end are counted while one of these lives: the first ends the work after the
/// step at hand, with all results; the second ends the command as soon as its files are cleaned up.
class StopSignals {
  public:
    StopSignals() {
        for (std::size_t i = 0; i < std::size(signals); ++i) {
            struct sigaction action {};
            action.sa_handler = [](int signal) {
                last_ = signal;
                count_ = count_ + 1;
            };
            ::sigaction(signals[i], &action, &before_[i]);
            if (before_[i].sa_handler == SIG_IGN) ::sigaction(signals[i], &before_[i], nullptr);
        }
        // A reader that goes away shall be an error of the write, behind which temporary files are removed.
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGPIPE, &ignore, &pipe_before_);
    }
    ~StopSignals() {
        for (std::size_t i = 0; i < std::size(signals); ++i) ::sigaction(signals[i], &before_[i], nullptr);
        ::sigaction(SIGPIPE, &pipe_before_, nullptr);
    }
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    static bool any() noexcept { return count_ > 0; }
    /// What a shell reports of a process that died of the signal.
    static int exit_code() noexcept { return 128 + last_; }
    static void leave_on_second() {
        if (count_ > 1) throw CLI::RuntimeError(exit_code());
    }

  private:
    static constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP};
    static inline volatile std::sig_atomic_t count_ = 0;
    static inline volatile std::sig_atomic_t last_ = 0;
    struct sigaction before_[std::size(signals)]{};
    struct sigaction pipe_before_ {};
};

}  // namespace ferrite::host
