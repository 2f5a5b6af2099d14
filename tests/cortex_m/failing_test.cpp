// SPDX-License-Identifier: MIT
// One check that fails: an image has to say so with its exit code.
#include <doctest/doctest.h>

TEST_CASE("wrong") { CHECK(1 + 1 == 3); }
