// SPDX-License-Identifier: MIT
// Uses more stack than there is.
#include <platform.hpp>

namespace {

[[gnu::noinline]] std::uint32_t recurse(std::uint32_t depth) {
    volatile std::uint32_t memory[16] = {depth};
    return depth == 1'000'000 ? 0 : recurse(depth + 1) + memory[depth % 16];
}

}  // namespace

int main() {
    ferrite::platform::write("deeper and deeper\n");
    return static_cast<int>(recurse(0));
}
