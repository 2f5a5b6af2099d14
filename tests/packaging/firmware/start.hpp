// SPDX-License-Identifier: MIT
#pragma once

void print(const char* text);
