// SPDX-License-Identifier: MIT
// A page in a real browser: headless Chromium, driven from outside over its DevTools pipe, so that the page
// needs no script.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

/// What a browser says of a page.
struct BrowserReport {
    std::string problem;  ///< why it could not be asked; empty: what follows is true
    std::size_t pictures = 0, loaded = 0;
    std::vector<std::string>
        console;  ///< everything in it: messages, exceptions, what the page's policy refused
    std::vector<std::string> requests;       ///< addresses other than the page itself and data in it
    int scroll_width = 0, client_width = 0;  ///< of the document, in pixels
};

/// Whether Chromium is in PATH. Where FERRITE_REQUIRE_SHARED=1 its absence fails the test case, elsewhere it
/// is told.
[[nodiscard]] bool browser_is_here();

/// Loads the file in a window of this width, with a new profile that is removed afterwards. Nothing of the
/// browser runs on after `limit`.
[[nodiscard]] BrowserReport open_in_browser(const std::filesystem::path& page, int width,
                                            std::chrono::milliseconds limit = std::chrono::seconds(60));
