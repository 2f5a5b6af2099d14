// SPDX-License-Identifier: MIT
// One use of each thing that the library must not ask for, to see that the check of the symbols finds it.

#include <cstdio>
#include <cstdlib>
#include <iostream>

struct Base {
    virtual int answer() = 0;
};

struct Derived : Base {
    int answer() override { return 42; }
};

void* volatile sink;

int heap(Base* base) {
    sink = std::malloc(8);
    std::free(sink);
    int* volatile number = new int{base->answer()};
    delete number;
    return 0;
}

int rtti(Base* base) { return dynamic_cast<Derived*>(base) != nullptr; }

int exceptions(int x) {
    try {
        if (x < 0) throw x;
        return heap(nullptr);
    } catch (int) {
        return 1;
    }
}

int static_local() {
    static int value = std::rand();
    return value;
}

void stdio(int x) {
    std::printf("%d, %d\n", x, Derived{}.answer());
    std::cout << x;
}
