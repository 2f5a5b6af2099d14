// SPDX-License-Identifier: MIT
// Asks for memory, so it must not link.
#include <cstdlib>

char* volatile pointer;

int main() {
    pointer = new char[100];
    pointer = static_cast<char*>(std::malloc(100));
}
