// SPDX-License-Identifier: MIT
#include "jobs.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "stop.hpp"

namespace ferrite::host {

void parallel(unsigned jobs, std::size_t count, const std::function<void(std::size_t)>& work,
              const std::function<void()>& tick) {
    std::mutex mutex;
    std::condition_variable ended;
    std::size_t next = 0;
    unsigned running = static_cast<unsigned>(std::min<std::size_t>(jobs, count));
    std::exception_ptr error;
    const auto worker = [&] {
        std::unique_lock lock(mutex);
        while (next < count && !error) {
            const std::size_t i = next++;
            lock.unlock();
            std::exception_ptr thrown;
            try {
                work(i);
            } catch (...) {
                thrown = std::current_exception();
            }
            lock.lock();
            if (thrown && !error) error = thrown;
        }
        if (--running == 0) ended.notify_all();
    };
    std::vector<std::thread> threads;
    for (unsigned j = running; j > 0; --j) threads.emplace_back(worker);
    std::exception_ptr own;
    {
        std::unique_lock lock(mutex);
        while (!ended.wait_for(lock, std::chrono::milliseconds(100), [&] { return running == 0; })) {
            lock.unlock();
            try {
                tick();
            } catch (...) {  // the console is gone; the threads must be joined before anybody hears of it
                own = std::current_exception();
            }
            lock.lock();
            if (own) next = count;
        }
    }
    for (std::thread& thread : threads) thread.join();
    if (error || own) std::rethrow_exception(error ? error : own);
}

void run_search(Search& search, unsigned jobs, const std::function<float(unsigned, const Trial&)>& train,
                const std::function<void(const Trial&)>& reported) {
    std::mutex mutex;
    std::condition_variable changed;
    std::exception_ptr error;
    const auto worker = [&](unsigned job) {
        std::unique_lock lock(mutex);
        while (!error && !search.finished() && !StopSignals::any()) {
            Trial trial;
            if (!search.next(trial)) {
                // A signal wakes nobody, so that one has to look for it.
                changed.wait_for(lock, std::chrono::milliseconds(50));
                continue;
            }
            lock.unlock();
            std::exception_ptr thrown;
            try {
                trial.score = train(job, trial);
            } catch (...) {
                thrown = std::current_exception();
            }
            lock.lock();
            if (!thrown && StopSignals::any()) break;
            try {
                if (!thrown && search.report(trial.index, trial.score) == Status::ok) reported(trial);
            } catch (...) {
                thrown = std::current_exception();
            }
            if (thrown && !error) error = thrown;
            changed.notify_all();
        }
        changed.notify_all();
    };
    std::vector<std::thread> threads;
    for (unsigned job = 0; job < jobs; ++job) threads.emplace_back(worker, job);
    for (std::thread& thread : threads) thread.join();
    if (error) std::rethrow_exception(error);
}

}  // namespace ferrite::host
