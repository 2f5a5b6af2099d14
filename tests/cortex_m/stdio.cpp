// SPDX-License-Identifier: MIT
// Formats text, so it must not link.
#include <cstdio>

int volatile number = 3;

int main() { std::printf("%d\n", number); }
