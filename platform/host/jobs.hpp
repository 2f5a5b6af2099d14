// SPDX-License-Identifier: MIT
// Independent work on several threads.
#pragma once

#include <cstddef>
#include <ferrite/search.hpp>
#include <functional>

namespace ferrite::host {

/// work(0) .. work(count - 1), `jobs` at a time; `tick` about ten times a second by the caller's thread. Throws what
/// the first work that threw has thrown, once all others have ended; what has not begun then does not begin.
void parallel(unsigned jobs, std::size_t count, const std::function<void(std::size_t)>& work,
              const std::function<void()>& tick);

/// Trains the trials of a search, `jobs` at a time: `train` gives the score of a trial and knows by its first argument,
/// below `jobs`, whose memory is its own; `reported` is told of each, one at a time. Ends early where StopSignals
/// has any: a trial that was trained then counts no more. Throws as parallel() does. Allocates nothing once the threads run.
void run_search(Search& search, unsigned jobs, const std::function<float(unsigned, const Trial&)>& train,
                const std::function<void(const Trial&)>& reported);

}  // namespace ferrite::host
