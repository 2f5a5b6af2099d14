// SPDX-License-Identifier: MIT
// A weak symbol in an ISA object, once with the ISA in its name and once without: the second is a breach. So is the static
// initializer.

struct Avx2 {};

template <class T>
[[gnu::noinline]] T untagged(T x) {
    return x + x;
}

template <class T, class Isa>
[[gnu::noinline]] T tagged(T x) {
    return x * x;
}

float use_both(float x) { return untagged(x) + tagged<float, Avx2>(x); }

int cpu_count();

int at_start = cpu_count();
