// SPDX-License-Identifier: MIT
// Everything.
#pragma once

#include <ferrite/format.hpp>
#include <ferrite/search.hpp>
#include <ferrite/trainer.hpp>
