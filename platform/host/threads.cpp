// SPDX-License-Identifier: MIT
#include "threads.hpp"

namespace ferrite::host {
namespace {

/// Looks this often before it sleeps: some 50 us, longer than the steps that one thread does alone. To be woken takes as
/// long; on a machine with more threads than processors it is all that a wait can take from the others.
constexpr int looks = 2000;

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    asm volatile("yield");
#endif
}

/// Returns when `value` is no longer `old`.
void wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) noexcept {
    for (int i = 0; i < looks; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
    }
    value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(unsigned count)
    : places_(count),
      workers_{.context = this, .count = count, .run = [](void* pool, std::size_t shares, Task* task, void* argument) {
                   static_cast<ThreadPool*>(pool)->run(shares, task, argument);
               }} {
    threads_.reserve(count);
    try {
        for (std::size_t own = 1; own < count; ++own) threads_.emplace_back([this, own] { serve(own); });
    } catch (...) {
        stop();
        throw;
    }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() noexcept {
    stops_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(std::size_t count, Task* task, void* argument) noexcept {
    task_ = task;
    argument_ = argument;
    left_.store(static_cast<std::uint32_t>(count), std::memory_order_relaxed);
    // Who takes a share sees what is above. A thread that is late from a round before may take one of this one.
    for (std::size_t i = 0; i < count; ++i) places_[i].open.store(true, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    take_shares(0);
    for (std::uint32_t left; (left = left_.load(std::memory_order_acquire)) != 0;) wait_while(left_, left);
}

void ThreadPool::take_shares(std::size_t own) noexcept {
    for (std::size_t i = 0; i < places_.size(); ++i) {
        const std::size_t at = own + i < places_.size() ? own + i : own + i - places_.size();
        std::atomic<bool>& open = places_[at].open;
        if (!open.load(std::memory_order_relaxed) || !open.exchange(false, std::memory_order_acquire)) continue;
        task_(argument_, at);
        if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_one();
    }
}

void ThreadPool::serve(std::size_t own) noexcept {
    std::uint32_t seen = 0;
    while (true) {
        wait_while(round_, seen);
        seen = round_.load(std::memory_order_acquire);
        if (stops_.load(std::memory_order_relaxed)) return;
        take_shares(own);
    }
}

}  // namespace ferrite::host
