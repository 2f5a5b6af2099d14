// SPDX-License-Identifier: MIT
// Data sets in the format of MNIST: four IDX files, each plain or gzip, read whole and checked once.
// Behind load_dataset() every count, size and label can be relied on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ferrite::host {

/// Bad input from outside, told in one line: "<where>: found <found>, expected <expected>". `where` is a path
/// or an option. The command prints the line and exits with code 2. Control characters (a path may hold a
/// line feed) become '?'.
class Error : public std::runtime_error {
  public:
    Error(std::string_view where, std::string_view found, std::string_view expected);
};

/// Grey images, one byte a pixel, row-major (count, H, W). Once loaded: count >= 1, H and W in 1..65535.
struct Images {
    std::uint32_t count = 0;
    std::uint32_t height = 0;
    std::uint32_t width = 0;
    std::vector<std::uint8_t> pixels;

    /// H * W: pixels of one image.
    [[nodiscard]] std::size_t image_size() const { return std::size_t{height} * width; }
};

/// Images and their classes: labels[i] belongs to image i, both of the same count.
struct Samples {
    Images images;
    std::vector<std::uint16_t> labels;
};

/// `train` and `test` have the same H and W. `name` is the last part of the directory's path.
struct Dataset {
    Samples train;
    Samples test;
    std::string name;
};

/// Reads {train,t10k}-{images-idx3,labels-idx1}-ubyte from `directory`. Each may be plain or end in .gz; the
/// plain one wins if both are there. Labels must lie in 0..classes-1 (classes >= 1).
/// Memory: what is returned, and while it reads one byte a label and about 100 KB for buffers.
/// Throws Error for everything that is missing, unreadable, damaged, too short, too long or contradictory.
/// Format: http://yann.lecun.com/exdb/mnist/ ; gzip: RFC 1952 (several members in a row are one stream).
[[nodiscard]] Dataset load_dataset(const std::filesystem::path& directory, std::uint32_t classes = 10);

/// Where Debian's package dataset-fashion-mnist puts its files, below `root`. Throws Error, with the
/// package's name and the option --data in it, if there is no such directory.
[[nodiscard]] std::filesystem::path default_dataset_directory(const std::filesystem::path& root = "/");

/// Asks for image `index` and its label to come into the caches, and does not wait.
void prefetch(const Samples& samples, std::uint32_t index) noexcept;

/// out[b][p] = pixels[indices[b]][p] / 255, the correctly rounded float; p: the H * W pixels of an image.
/// indices: (B), each below images.count, repeats allowed.
/// out: (B, H * W), must not overlap the pixels. No heap.
void gather(const Samples& samples, std::span<const std::uint32_t> indices, float* out) noexcept;

}  // namespace ferrite::host
