// SPDX-License-Identifier: MIT
// platform.hpp on an operating system, for applications that are tried on a host. How much stack they use is not known.
#include <platform.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace ferrite::platform {

void write(std::string_view text) noexcept { std::fwrite(text.data(), 1, text.size(), stdout); }
void exit(int code) noexcept { std::exit(code); }
std::uint32_t ticks() noexcept {
    using namespace std::chrono;
    return static_cast<std::uint32_t>(duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count());
}
std::uint32_t ticks_per_second() noexcept { return 1'000'000; }
std::size_t stack_used() noexcept { return 0; }
std::size_t stack_size() noexcept { return 0; }

}  // namespace ferrite::platform
