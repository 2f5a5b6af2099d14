// SPDX-License-Identifier: MIT
// Threads for the steps of a session.
#pragma once

#include <atomic>
#include <cstdint>
#include <ferrite/emitter.hpp>
#include <thread>
#include <vector>

namespace ferrite::host {

/// `count` threads, the caller's among them, that share the steps of one session. Once made it allocates nothing. Whoever
/// has done his own share takes those that nobody has begun: a thread that gets no processor holds nobody up.
class ThreadPool {
  public:
    /// Throws std::system_error if the system has no room for that many.
    explicit ThreadPool(unsigned count);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// Valid as long as this object; not for two sessions at once.
    [[nodiscard]] const Workers& workers() const noexcept { return workers_; }

  private:
    using Task = void(void* argument, std::size_t worker);
    struct alignas(64) Place {
        std::atomic<bool> open{false};  ///< a share that nobody has begun
    };

    void run(std::size_t count, Task* task, void* argument) noexcept;
    void take_shares(std::size_t own) noexcept;
    void serve(std::size_t own) noexcept;
    void stop() noexcept;

    std::vector<Place> places_;
    Workers workers_;
    // What all threads look at while they wait, and what they need at once when it has changed, in one cache line.
    alignas(64) std::atomic<std::uint32_t> round_{0};
    Task* task_ = nullptr;
    void* argument_ = nullptr;
    std::atomic<bool> stops_{false};
    alignas(64) std::atomic<std::uint32_t> left_{0};  ///< shares that are not done
    std::vector<std::thread> threads_;
};

}  // namespace ferrite::host
