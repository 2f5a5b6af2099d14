// SPDX-License-Identifier: MIT
// Executes an instruction that is none.
int main() { asm volatile("udf #0"); }
