// SPDX-License-Identifier: MIT
// Calculates in double precision, so it must not link where the processor has none.
double volatile number = 3;

int main() { number = number * 1.5; }
