// SPDX-License-Identifier: MIT
// The IDX reader. A header is believed only as far as the file's size can back it; all checks end in one
// Error line.
#include "dataset.hpp"

#include <zlib.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <ferrite/kernels.hpp>
#include <memory>
#include <new>
#include <system_error>

namespace ferrite::host {
namespace {

namespace fs = std::filesystem;

// Keeps H * W below 2^32 and count * H * W below 2^64, so that no product of a header's sizes can overflow.
constexpr std::uint32_t side_limit = 65535;

// A deflate match of 258 bytes costs at least 2 bits (RFC 1951): no stream expands to more than this times
// its length.
constexpr std::uint64_t deflate_expansion = 258 * 8 / 2;

std::string one_line(std::string text) {
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
    std::replace_if(text.begin(), text.end(), is_control, '?');
    return text;
}

std::string hex(std::uint32_t value, int digits) {
    std::array<char, 11> text{};
    std::snprintf(text.data(), text.size(), "0x%0*x", digits, static_cast<unsigned>(value));
    return text.data();
}

std::string counted(std::uint64_t count, const std::string& noun) {
    return std::to_string(count) + ' ' + noun + (count == 1 ? "" : "s");
}

/// "2 x 28 x 28"
std::string product(std::span<const std::uint32_t> extents) {
    std::string text = std::to_string(extents[0]);
    for (const std::uint32_t extent : extents.subspan(1)) text += " x " + std::to_string(extent);
    return text;
}

Error unreadable(const fs::path& path, const std::string& reason) {
    return {path.string(), "it unreadable (" + reason + ")", "a readable file"};
}

/// The content of a file as a stream of bytes, unpacked on the way if the name ends in .gz.
class Source {
  public:
    explicit Source(const fs::path& path)
        : path_(path), file_(std::fopen(path.c_str(), "rb")), gzip_(path.extension() == ".gz") {
        if (!file_) throw unreadable(path_, std::generic_category().message(errno));
        if (!gzip_) return;
        input_.resize(std::size_t{64} << 10);
        constexpr int gzip_window =
            15 + 16;  // the largest window; + 16: a gzip header and trailer, nothing else
        if (inflateInit2(&stream_, gzip_window) != Z_OK) throw std::bad_alloc();
    }
    ~Source() {
        if (gzip_) inflateEnd(&stream_);
    }
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    /// Fills `out`; returns how many bytes there were, which is less than asked for only at the end.
    std::size_t read(std::span<std::uint8_t> out) { return gzip_ ? read_unpacked(out) : read_file(out); }

    /// Bytes that the whole content cannot exceed.
    [[nodiscard]] std::uint64_t size_limit() const {
        std::error_code error;
        const std::uint64_t size = fs::file_size(path_, error);
        if (error) throw unreadable(path_, error.message());
        return gzip_ ? size * deflate_expansion : size;
    }

    [[nodiscard]] bool is_gzip() const { return gzip_; }

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    std::size_t read_file(std::span<std::uint8_t> out) {
        const std::size_t size = std::fread(out.data(), 1, out.size(), file_.get());
        if (std::ferror(file_.get())) throw unreadable(path_, std::generic_category().message(errno));
        return size;
    }

    /// False at the end of the file.
    bool refill() {
        stream_.next_in = input_.data();
        stream_.avail_in = static_cast<uInt>(read_file(input_));
        return stream_.avail_in > 0;
    }

    std::size_t read_unpacked(std::span<std::uint8_t> out) {
        stream_.next_out = out.data();
        stream_.avail_out = static_cast<uInt>(out.size());
        while (stream_.avail_out > 0) {
            if (stream_.avail_in == 0 && !refill()) {
                if (member_ended_) break;
                throw Error(path_.string(), "the end of the file inside the gzip stream",
                            "a complete stream");
            }
            // What follows a member has to be another one: garbage has no gzip header.
            if (member_ended_) inflateReset(&stream_);
            const int result = inflate(&stream_, Z_NO_FLUSH);
            if (result == Z_MEM_ERROR) throw std::bad_alloc();
            if (result != Z_OK && result != Z_STREAM_END) {
                const std::string reason = stream_.msg ? stream_.msg : "no progress";
                throw Error(path_.string(), "a damaged gzip stream (" + reason + ")", "an intact one");
            }
            member_ended_ = result == Z_STREAM_END;
        }
        return out.size() - stream_.avail_out;
    }

    fs::path path_;
    std::unique_ptr<std::FILE, Close> file_;
    bool gzip_;
    bool member_ended_ = false;
    std::vector<std::uint8_t> input_;
    z_stream stream_{};
};

std::uint32_t big_endian(std::span<const std::uint8_t, 4> bytes) {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
           bytes[3];
}

void check_magic(const fs::path& file, std::uint32_t magic, std::size_t dimensions) {
    const std::uint32_t expected = 0x0800 | static_cast<std::uint32_t>(dimensions);
    if (magic == expected) return;
    if (magic >> 16 == 0x1f8b) {
        throw Error(file.string(), "gzip data", "plain IDX data (or a name that ends in .gz)");
    }
    if ((magic & 0xffff00ff) == (expected & 0xffff00ff)) {
        throw Error(file.string(), "type code " + hex(magic >> 8 & 0xff, 2), "0x08 (unsigned byte)");
    }
    throw Error(file.string(), "magic number " + hex(magic, 8),
                hex(expected, 8) + " (IDX, unsigned byte, " + counted(dimensions, "dimension") + ")");
}

/// Reads an IDX file of unsigned bytes with extents.size() dimensions (1..3); fills `extents`. `noun` names
/// one entry of the first dimension.
std::vector<std::uint8_t> read_idx(const fs::path& file, const std::string& noun,
                                   std::span<std::uint32_t> extents) {
    Source source(file);
    std::array<std::uint8_t, 4 + 3 * 4> buffer{};
    const std::span<std::uint8_t> header = std::span(buffer).first(4 + extents.size() * 4);
    if (const std::size_t size = source.read(header); size < header.size()) {
        throw Error(file.string(), counted(size, "byte"), "a header of " + counted(header.size(), "byte"));
    }
    check_magic(file, big_endian(header.first<4>()), extents.size());

    std::uint64_t expected_size = 1;
    for (std::size_t i = 0; i < extents.size(); ++i) {
        extents[i] = big_endian(header.subspan(4 + i * 4).first<4>());
        expected_size *= extents[i];
        const bool is_side = i > 0;
        if (is_side && (extents[i] == 0 || extents[i] > side_limit)) {
            throw Error(file.string(),
                        std::string(i == 1 ? "height " : "width ") + std::to_string(extents[i]),
                        "1.." + std::to_string(side_limit));
        }
    }
    if (extents[0] == 0) throw Error(file.string(), counted(0, noun), "at least 1");

    const auto wrong_size = [&](const char* qualifier, std::uint64_t size) {
        return Error(file.string(), qualifier + counted(size, "byte") + " of data",
                     std::to_string(expected_size) + " (" + product(extents) + ")");
    };
    const std::uint64_t limit = source.size_limit();
    const std::uint64_t data_limit = limit - std::min<std::uint64_t>(limit, header.size());
    if (!source.is_gzip() && data_limit != expected_size) throw wrong_size("", data_limit);
    if (data_limit < expected_size) throw wrong_size("at most ", data_limit);

    // Only memory that is written becomes resident. A gzip file may still promise up to a thousand times of
    // what it holds, so the pages are touched as the data arrive.
    constexpr std::uint64_t step = std::uint64_t{1} << 20;
    std::vector<std::uint8_t> data;
    try {
        data.reserve(static_cast<std::size_t>(expected_size));
    } catch (const std::exception&) {
        throw Error(file.string(), counted(expected_size, "byte") + " of data (" + product(extents) + ")",
                    "no more than fits in memory");
    }
    while (data.size() < expected_size) {
        const std::size_t begin = data.size();
        data.resize(begin + static_cast<std::size_t>(std::min<std::uint64_t>(step, expected_size - begin)));
        const std::span<std::uint8_t> chunk = std::span(data).subspan(begin);
        const std::size_t size = source.read(chunk);
        if (size < chunk.size()) throw wrong_size("", begin + size);
    }
    // Asking for one byte more also makes zlib check the length and the CRC at the end of the stream.
    std::uint8_t beyond = 0;
    if (source.read({&beyond, 1}) > 0) throw wrong_size("more than ", expected_size);
    return data;
}

fs::path find_file(const fs::path& directory, const std::string& name) {
    for (const fs::path& file : {directory / name, directory / (name + ".gz")}) {
        std::error_code error;
        const fs::file_type type = fs::status(file, error).type();
        if (type == fs::file_type::regular) return file;
        if (type == fs::file_type::not_found) continue;
        if (type == fs::file_type::none) throw unreadable(file, error.message());
        throw Error(file.string(), type == fs::file_type::directory ? "a directory" : "a special file",
                    "a regular file");
    }
    throw Error(directory.string(), "neither " + name + " nor " + name + ".gz", "one of them");
}

Samples load_samples(const fs::path& directory, const std::string& part, std::uint32_t classes) {
    const fs::path image_file = find_file(directory, part + "-images-idx3-ubyte");
    const fs::path label_file = find_file(directory, part + "-labels-idx1-ubyte");

    Samples samples;
    std::array<std::uint32_t, 3> extents{};
    samples.images.pixels = read_idx(image_file, "image", extents);
    samples.images.count = extents[0];
    samples.images.height = extents[1];
    samples.images.width = extents[2];

    std::array<std::uint32_t, 1> count{};
    const std::vector<std::uint8_t> labels = read_idx(label_file, "label", count);
    if (count[0] != samples.images.count) {
        throw Error(
            label_file.string(), counted(count[0], "label"),
            std::to_string(samples.images.count) + " (the images in " + image_file.filename().string() + ")");
    }
    const auto stray =
        std::find_if(labels.begin(), labels.end(), [=](std::uint8_t label) { return label >= classes; });
    if (stray != labels.end()) {
        throw Error(label_file.string(),
                    "label " + std::to_string(*stray) + " at index " + std::to_string(stray - labels.begin()),
                    "0.." + std::to_string(classes - 1));
    }
    samples.labels.assign(labels.begin(), labels.end());
    return samples;
}

}  // namespace

Error::Error(std::string_view where, std::string_view found, std::string_view expected)
    : std::runtime_error(one_line(std::string(where) + ": found " + std::string(found) + ", expected " +
                                  std::string(expected))) {}

Dataset load_dataset(const fs::path& directory, std::uint32_t classes) {
    assert(classes > 0);
    constexpr const char* expected = "a directory with the four IDX files of MNIST or Fashion-MNIST";
    std::error_code error;
    const fs::file_type type = fs::status(directory, error).type();
    if (type == fs::file_type::not_found) throw Error(directory.string(), "nothing of that name", expected);
    if (type == fs::file_type::none) throw unreadable(directory, error.message());
    if (type != fs::file_type::directory) throw Error(directory.string(), "a file", expected);

    Dataset dataset;
    dataset.train = load_samples(directory, "train", classes);
    dataset.test = load_samples(directory, "t10k", classes);
    const Images& train = dataset.train.images;
    const Images& test = dataset.test.images;
    if (test.height != train.height || test.width != train.width) {
        throw Error(find_file(directory, "t10k-images-idx3-ubyte").string(),
                    "images of " + std::to_string(test.height) + " x " + std::to_string(test.width),
                    std::to_string(train.height) + " x " + std::to_string(train.width) +
                        " (as in the training images)");
    }
    const fs::path resolved = fs::canonical(directory, error);
    dataset.name = (error ? directory : resolved).filename().string();
    return dataset;
}

fs::path default_dataset_directory(const fs::path& root) {
    const fs::path directory = root / "usr/share/datasets/fashion-mnist";
    std::error_code error;
    if (!fs::is_directory(directory, error)) {
        throw Error(directory.string(), "no data set there",
                    "the files of Debian's package dataset-fashion-mnist (install it, or name a directory "
                    "with --data)");
    }
    return directory;
}

void prefetch(const Samples& samples, std::uint32_t index) noexcept {
    constexpr std::size_t line = 64;
    const std::size_t image_size = samples.images.image_size();
    const std::uint8_t* const pixels = samples.images.pixels.data() + index * image_size;
    for (std::size_t i = 0; i < image_size; i += line) __builtin_prefetch(pixels + i);
    __builtin_prefetch(samples.labels.data() + index);
}

void gather(const Samples& samples, std::span<const std::uint32_t> indices, float* out) noexcept {
    const std::size_t image_size = samples.images.image_size();
    for (std::size_t b = 0; b < indices.size(); ++b) {
        assert(indices[b] < samples.images.count);
        // Images in random order come from memory, which takes longer than the conversion.
        if (b + 1 < indices.size()) prefetch(samples, indices[b + 1]);
        kernels::pixels({.x = samples.images.pixels.data() + indices[b] * image_size,
                         .y = out + b * image_size,
                         .size = image_size});
    }
}

}  // namespace ferrite::host
