// SPDX-License-Identifier: MIT
// The data-set reader: good files of every spelling, a table of bad ones with their exact messages, damage at
// random, and the real MNIST and Fashion-MNIST where they are present. FERRITE_SHARED names the directory
// that holds data/mnist; with FERRITE_REQUIRE_SHARED=1 its absence is a failure.
#include "host/dataset.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <random>

namespace {

namespace fs = std::filesystem;
using ferrite::host::Dataset;
using ferrite::host::Error;
using ferrite::host::gather;
using ferrite::host::Images;
using ferrite::host::load_dataset;
using ferrite::host::Samples;

using Bytes = std::vector<std::uint8_t>;
using Files = std::map<std::string, Bytes>;

const std::string train_images = "train-images-idx3-ubyte";
const std::string train_labels = "train-labels-idx1-ubyte";
const std::string test_images = "t10k-images-idx3-ubyte";
const std::string test_labels = "t10k-labels-idx1-ubyte";

/// A new directory, removed with everything in it at the end of the scope.
class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        std::string name = (fs::temp_directory_path() / "ferrite-dataset-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
        fs::permissions(path_, static_cast<fs::perms>(0755));
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

void write_file(const fs::path& path, const Bytes& bytes) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

void write_files(const fs::path& directory, const Files& files) {
    for (const auto& [name, bytes] : files) write_file(directory / name, bytes);
}

Bytes idx(std::uint32_t magic, const std::vector<std::uint32_t>& extents, const Bytes& data) {
    Bytes bytes;
    const auto append = [&](std::uint32_t word) {
        for (const int shift : {24, 16, 8, 0})
            bytes.push_back(static_cast<std::uint8_t>(word >> shift & 0xff));
    };
    append(magic);
    for (const std::uint32_t extent : extents) append(extent);
    bytes.insert(bytes.end(), data.begin(), data.end());
    return bytes;
}

Bytes gzip(const Bytes& bytes) {
    z_stream stream{};
    // The smallest window and tables: setting them up is most of the work on files this small.
    REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 9 + 16, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    Bytes packed(deflateBound(&stream, bytes.size()));
    stream.next_in = const_cast<Bytef*>(bytes.data());
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = packed.data();
    stream.avail_out = static_cast<uInt>(packed.size());
    REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

Bytes counting(std::size_t size, unsigned start) {
    Bytes bytes(size);
    std::iota(bytes.begin(), bytes.end(), static_cast<std::uint8_t>(start));
    return bytes;
}

/// 3 training and 2 test images of 2 x 3 pixels.
Files good_files() {
    return {{train_images, idx(0x803, {3, 2, 3}, counting(18, 0))},
            {train_labels, idx(0x801, {3}, {9, 0, 4})},
            {test_images, idx(0x803, {2, 2, 3}, counting(12, 244))},
            {test_labels, idx(0x801, {2}, {1, 7})}};
}

void pack(Files& files, const std::string& name) {
    files[name + ".gz"] = gzip(files.at(name));
    files.erase(name);
}

Files packed_files() {
    Files files = good_files();
    for (const std::string& name : {train_images, train_labels, test_images, test_labels}) pack(files, name);
    return files;
}

void check_good(const Dataset& dataset) {
    CHECK(dataset.train.images.count == 3);
    CHECK(dataset.train.images.height == 2);
    CHECK(dataset.train.images.width == 3);
    CHECK(dataset.train.images.image_size() == 6);
    CHECK(dataset.train.images.pixels == counting(18, 0));
    CHECK(dataset.train.labels == std::vector<std::uint16_t>{9, 0, 4});
    CHECK(dataset.test.images.count == 2);
    CHECK(dataset.test.images.height == 2);
    CHECK(dataset.test.images.width == 3);
    CHECK(dataset.test.images.pixels == counting(12, 244));
    CHECK(dataset.test.labels == std::vector<std::uint16_t>{1, 7});
}

/// The message with the directory's path written as D, or "loaded" if nothing was wrong.
std::string message_of(const fs::path& directory, std::uint32_t classes = 10) {
    try {
        static_cast<void>(load_dataset(directory, classes));
    } catch (const Error& error) {
        const std::string message = error.what();
        const std::string path = directory.string();
        return message.rfind(path, 0) == 0 ? std::string("D").append(message, path.size()) : message;
    }
    return "loaded";
}

std::string message_of(const Files& files, std::uint32_t classes = 10) {
    const TemporaryDirectory directory;
    write_files(directory.path(), files);
    return message_of(directory.path(), classes);
}

struct BadInput {
    const char* what;
    std::function<void(Files&)> spoil;
    const char* message;
};

/// For a change inside a gzip file: unpacked content in, packed content out.
std::function<void(Files&)> packed(const std::string& name, const std::function<void(Files&)>& spoil) {
    return [=](Files& files) {
        spoil(files);
        pack(files, name);
    };
}

const std::vector<BadInput> bad_inputs = {
    {"no image file", [](Files& f) { f.erase(train_images); },
     "D: found neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz, expected one of them"},
    {"no label file", [](Files& f) { f.erase(test_labels); },
     "D: found neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz, expected one of them"},

    {"empty file", [](Files& f) { f[train_images].clear(); },
     "D/train-images-idx3-ubyte: found 0 bytes, expected a header of 16 bytes"},
    {"truncated image header", [](Files& f) { f[test_images].resize(15); },
     "D/t10k-images-idx3-ubyte: found 15 bytes, expected a header of 16 bytes"},
    {"truncated label header", [](Files& f) { f[test_labels].resize(1); },
     "D/t10k-labels-idx1-ubyte: found 1 byte, expected a header of 8 bytes"},
    {"truncated header in gzip", packed(train_labels, [](Files& f) { f[train_labels].resize(7); }),
     "D/train-labels-idx1-ubyte.gz: found 7 bytes, expected a header of 8 bytes"},

    {"foreign file", [](Files& f) { std::memcpy(f[train_images].data(), "\x89PNG", 4); },
     "D/train-images-idx3-ubyte: found magic number 0x89504e47, expected 0x00000803 (IDX, unsigned byte, 3 "
     "dimensions)"},
    {"labels in the place of images", [](Files& f) { f[train_images] = idx(0x801, {30}, counting(30, 0)); },
     "D/train-images-idx3-ubyte: found magic number 0x00000801, expected 0x00000803 (IDX, unsigned byte, 3 "
     "dimensions)"},
    {"images in the place of labels", [](Files& f) { f[test_labels] = f[test_images]; },
     "D/t10k-labels-idx1-ubyte: found magic number 0x00000803, expected 0x00000801 (IDX, unsigned byte, 1 "
     "dimension)"},
    {"little-endian magic",
     [](Files& f) {
         f[test_images] = idx(0x03080000, {2, 2, 3}, counting(12, 0));
     },
     "D/t10k-images-idx3-ubyte: found magic number 0x03080000, expected 0x00000803 (IDX, unsigned byte, 3 "
     "dimensions)"},
    {"float data", [](Files& f) { f[train_images][2] = 0x0d; },
     "D/train-images-idx3-ubyte: found type code 0x0d, expected 0x08 (unsigned byte)"},
    {"gzip data under the plain name", [](Files& f) { f[train_labels] = gzip(f[train_labels]); },
     "D/train-labels-idx1-ubyte: found gzip data, expected plain IDX data (or a name that ends in .gz)"},

    {"no images",
     [](Files& f) {
         f[train_images] = idx(0x803, {0, 2, 3}, {});
     },
     "D/train-images-idx3-ubyte: found 0 images, expected at least 1"},
    {"no labels", [](Files& f) { f[train_labels] = idx(0x801, {0}, {}); },
     "D/train-labels-idx1-ubyte: found 0 labels, expected at least 1"},
    {"height 0",
     [](Files& f) {
         f[train_images] = idx(0x803, {3, 0, 3}, {});
     },
     "D/train-images-idx3-ubyte: found height 0, expected 1..65535"},
    {"width 0",
     [](Files& f) {
         f[test_images] = idx(0x803, {2, 2, 0}, {});
     },
     "D/t10k-images-idx3-ubyte: found width 0, expected 1..65535"},
    {"absurd height",
     [](Files& f) {
         f[train_images] = idx(0x803, {3, 0x10000, 3}, counting(18, 0));
     },
     "D/train-images-idx3-ubyte: found height 65536, expected 1..65535"},
    {"sizes whose 32-bit and 64-bit products are small",
     [](Files& f) {
         f[train_images] = idx(0x803, {0x80000000, 0x80000000, 4}, {});
     },
     "D/train-images-idx3-ubyte: found height 2147483648, expected 1..65535"},
    {"absurd width",
     [](Files& f) {
         f[test_images] = idx(0x803, {2, 2, 0xffffffff}, counting(12, 0));
     },
     "D/t10k-images-idx3-ubyte: found width 4294967295, expected 1..65535"},
    {"the largest sizes",
     [](Files& f) {
         f[train_images] = idx(0x803, {0xffffffff, 65535, 65535}, counting(18, 0));
     },
     "D/train-images-idx3-ubyte: found 18 bytes of data, expected 18446181123756261375 (4294967295 x 65535 x "
     "65535)"},
    {"sizes whose product is 0 in 32 bits",
     [](Files& f) {
         f[train_images] = idx(0x803, {0x10000, 0x8000, 2}, {});
     },
     "D/train-images-idx3-ubyte: found 0 bytes of data, expected 4294967296 (65536 x 32768 x 2)"},

    {"truncated images", [](Files& f) { f[train_images].pop_back(); },
     "D/train-images-idx3-ubyte: found 17 bytes of data, expected 18 (3 x 2 x 3)"},
    {"truncated labels", [](Files& f) { f[test_labels].resize(9); },
     "D/t10k-labels-idx1-ubyte: found 1 byte of data, expected 2 (2)"},
    {"oversized images", [](Files& f) { f[test_images].push_back(0); },
     "D/t10k-images-idx3-ubyte: found 13 bytes of data, expected 12 (2 x 2 x 3)"},
    {"oversized labels", [](Files& f) { f[train_labels].push_back(0); },
     "D/train-labels-idx1-ubyte: found 4 bytes of data, expected 3 (3)"},
    {"truncated images in gzip", packed(train_images, [](Files& f) { f[train_images].pop_back(); }),
     "D/train-images-idx3-ubyte.gz: found 17 bytes of data, expected 18 (3 x 2 x 3)"},
    {"oversized images in gzip", packed(train_images, [](Files& f) { f[train_images].push_back(0); }),
     "D/train-images-idx3-ubyte.gz: found more than 18 bytes of data, expected 18 (3 x 2 x 3)"},
    {"more images promised than the gzip file can hold",
     [](Files& f) {
         f.erase(train_images);
         // A stored block: 10 bytes of header, 5 of block, 34 of content, 8 of trailer; 57 * 1032 - 16 =
         // 58808.
         const Bytes content = idx(0x803, {0xffffffff, 65535, 65535}, counting(18, 0));
         Bytes file = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 34, 0, 0xdd, 0xff};
         file.insert(file.end(), content.begin(), content.end());
         file.resize(57);
         f[train_images + ".gz"] = file;
     },
     "D/train-images-idx3-ubyte.gz: found at most 58808 bytes of data, expected 18446181123756261375 "
     "(4294967295 x 65535 x "
     "65535)"},

    {"one label less than images",
     [](Files& f) {
         f[train_labels] = idx(0x801, {2}, {9, 0});
     },
     "D/train-labels-idx1-ubyte: found 2 labels, expected 3 (the images in train-images-idx3-ubyte)"},
    {"one label more than images, both in gzip",
     [](Files& f) {
         f[test_labels] = idx(0x801, {3}, {1, 7, 2});
         pack(f, test_images);
         pack(f, test_labels);
     },
     "D/t10k-labels-idx1-ubyte.gz: found 3 labels, expected 2 (the images in t10k-images-idx3-ubyte.gz)"},
    {"test images of another size",
     [](Files& f) {
         f[test_images] = idx(0x803, {2, 3, 2}, counting(12, 0));
     },
     "D/t10k-images-idx3-ubyte: found images of 3 x 2, expected 2 x 3 (as in the training images)"},
    {"label out of range", [](Files& f) { f[train_labels][10] = 10; },
     "D/train-labels-idx1-ubyte: found label 10 at index 2, expected 0..9"},
    {"label out of range in gzip", packed(test_labels, [](Files& f) { f[test_labels][8] = 255; }),
     "D/t10k-labels-idx1-ubyte.gz: found label 255 at index 0, expected 0..9"},

    {"empty gzip file",
     [](Files& f) {
         f.erase(train_images);
         f[train_images + ".gz"] = {};
     },
     "D/train-images-idx3-ubyte.gz: found the end of the file inside the gzip stream, expected a complete "
     "stream"},
    {"plain data under the gzip name",
     [](Files& f) {
         f[train_images + ".gz"] = f[train_images];
         f.erase(train_images);
     },
     "D/train-images-idx3-ubyte.gz: found a damaged gzip stream (incorrect header check), expected an intact "
     "one"},
    {"gzip without its last byte",
     [](Files& f) {
         pack(f, test_labels);
         f[test_labels + ".gz"].pop_back();
     },
     "D/t10k-labels-idx1-ubyte.gz: found the end of the file inside the gzip stream, expected a complete "
     "stream"},
    {"gzip cut in the middle",
     [](Files& f) {
         pack(f, train_images);
         f[train_images + ".gz"].resize(20);
     },
     "D/train-images-idx3-ubyte.gz: found the end of the file inside the gzip stream, expected a complete "
     "stream"},
    {"gzip with a wrong CRC",
     [](Files& f) {
         pack(f, train_labels);
         Bytes& file = f[train_labels + ".gz"];
         file[file.size() - 8] ^= 1;
     },
     "D/train-labels-idx1-ubyte.gz: found a damaged gzip stream (incorrect data check), expected an intact "
     "one"},
    {"gzip with a wrong length",
     [](Files& f) {
         pack(f, train_labels);
         f[train_labels + ".gz"].back() ^= 1;
     },
     "D/train-labels-idx1-ubyte.gz: found a damaged gzip stream (incorrect length check), expected an intact "
     "one"},
    {"gzip with a block of no known type",
     [](Files& f) {
         pack(f, test_images);
         f[test_images + ".gz"][10] |= 6;
     },
     "D/t10k-images-idx3-ubyte.gz: found a damaged gzip stream (invalid block type), expected an intact one"},
    {"garbage behind the gzip stream",
     [](Files& f) {
         pack(f, test_images);
         f[test_images + ".gz"].insert(f[test_images + ".gz"].end(), {'j', 'u', 'n', 'k'});
     },
     "D/t10k-images-idx3-ubyte.gz: found a damaged gzip stream (incorrect header check), expected an intact "
     "one"},
    {"zeros behind the gzip stream",
     [](Files& f) {
         pack(f, test_images);
         f[test_images + ".gz"].insert(f[test_images + ".gz"].end(), 512, 0);
     },
     "D/t10k-images-idx3-ubyte.gz: found a damaged gzip stream (incorrect header check), expected an intact "
     "one"},
    {"a plain file that is damaged beside an intact gzip file",
     [](Files& f) {
         f[train_images + ".gz"] = gzip(f[train_images]);
         f[train_images].pop_back();
     },
     "D/train-images-idx3-ubyte: found 17 bytes of data, expected 18 (3 x 2 x 3)"},
};

/// What mnist_facts.json of the reference values states, and how it is computed from a set.
struct Facts {
    std::array<std::uint32_t, 10> label_counts{};
    std::array<std::uint16_t, 20> first_labels{};
    std::array<std::uint16_t, 5> last_labels{};
    std::uint64_t pixel_sum = 0;
    std::uint64_t nonzero_pixels = 0;
    std::uint64_t never_set_pixels = 0;
    std::uint64_t weighted_checksum = 0;
    double mean = 0;  // of pixel / 255
    double standard_deviation = 0;
    std::array<std::uint64_t, 5> image_sums{};  // of images 0, 1, 2, 99 and the last
    Bytes row;                                  // row 14 of image 0
};

Facts facts_of(const Samples& samples) {
    const Images& images = samples.images;
    const std::size_t size = images.image_size();
    Facts facts;
    for (const std::uint16_t label : samples.labels) ++facts.label_counts.at(label);
    std::copy_n(samples.labels.begin(), 20, facts.first_labels.begin());
    std::copy_n(samples.labels.end() - 5, 5, facts.last_labels.begin());
    std::vector<bool> set(size);
    std::uint64_t squares = 0;
    for (std::size_t i = 0; i < images.count; ++i) {
        for (std::size_t k = 0; k < size; ++k) {
            const std::uint64_t pixel = images.pixels[i * size + k];
            facts.pixel_sum += pixel;
            squares += pixel * pixel;
            facts.weighted_checksum += pixel * ((i % 97) + 1) * ((k % 89) + 1);
            if (pixel > 0) {
                ++facts.nonzero_pixels;
                set[k] = true;
            }
        }
    }
    facts.never_set_pixels = static_cast<std::uint64_t>(std::count(set.begin(), set.end(), false));
    const double count = static_cast<double>(images.pixels.size());
    facts.mean = static_cast<double>(facts.pixel_sum) / count / 255;
    facts.standard_deviation =
        std::sqrt(static_cast<double>(squares) / count / (255.0 * 255) - facts.mean * facts.mean);
    const std::array<std::size_t, 5> chosen = {0, 1, 2, 99, images.count - 1};
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        const std::uint8_t* image = images.pixels.data() + chosen[i] * size;
        facts.image_sums[i] = std::accumulate(image, image + size, std::uint64_t{0});
    }
    const std::uint8_t* row = images.pixels.data() + std::size_t{14} * images.width;
    facts.row.assign(row, row + images.width);
    return facts;
}

void check_facts(const Samples& samples, std::uint32_t count, const Facts& expected) {
    CHECK(samples.images.count == count);
    CHECK(samples.images.height == 28);
    CHECK(samples.images.width == 28);
    CHECK(samples.images.pixels.size() == std::size_t{count} * 784);
    CHECK(samples.labels.size() == count);
    const Facts facts = facts_of(samples);
    CHECK(facts.label_counts == expected.label_counts);
    CHECK(facts.first_labels == expected.first_labels);
    CHECK(facts.last_labels == expected.last_labels);
    CHECK(facts.pixel_sum == expected.pixel_sum);
    CHECK(facts.nonzero_pixels == expected.nonzero_pixels);
    CHECK(facts.never_set_pixels == expected.never_set_pixels);
    CHECK(facts.weighted_checksum == expected.weighted_checksum);
    CHECK(std::abs(facts.mean - expected.mean) < 1e-12);
    CHECK(std::abs(facts.standard_deviation - expected.standard_deviation) < 1e-12);
    CHECK(facts.image_sums == expected.image_sums);
    CHECK(facts.row == expected.row);
}

const Facts mnist_train = {
    .label_counts = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949},
    .first_labels = {5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7, 2, 8, 6, 9},
    .last_labels = {8, 3, 5, 6, 8},
    .pixel_sum = 1567298545,
    .nonzero_pixels = 8994156,
    .never_set_pixels = 67,
    .weighted_checksum = 3400042335994,
    .mean = 0.1306604762738429,
    .standard_deviation = 0.30810780385646264,
    .image_sums = {27525, 31095, 19443, 12843, 20920},
    .row = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 81, 240, 253, 253, 119, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0},
};

const Facts mnist_test = {
    .label_counts = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009},
    .first_labels = {7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6, 9, 0, 1, 5, 9, 7, 3, 4},
    .last_labels = {2, 3, 4, 5, 6},
    .pixel_sum = 264923200,
    .nonzero_pixels = 1511219,
    .never_set_pixels = 116,
    .weighted_checksum = 574874475346,
    .mean = 0.13251460584233693,
    .standard_deviation = 0.3104802479305351,
    .image_sums = {18454, 28850, 9871, 30655, 41833},
    .row = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 59, 249, 254, 62, 0, 0, 0, 0, 0, 0, 0, 0},
};

}  // namespace

TEST_CASE("dataset: plain, gzip and mixed files give the same data") {
    const TemporaryDirectory directory;
    SUBCASE("plain") { write_files(directory.path(), good_files()); }
    SUBCASE("gzip") { write_files(directory.path(), packed_files()); }
    SUBCASE("mixed") {
        Files files = good_files();
        pack(files, train_images);
        pack(files, test_labels);
        write_files(directory.path(), files);
    }
    SUBCASE("plain wins over gzip") {
        write_files(directory.path(), good_files());
        for (const auto& [name, bytes] : good_files()) write_file(directory.path() / (name + ".gz"), {'?'});
    }
    SUBCASE("gzip of two members") {
        Files files = packed_files();
        const Bytes content = good_files().at(train_images);
        Bytes file = gzip(Bytes(content.begin(), content.begin() + 20));
        const Bytes rest = gzip(Bytes(content.begin() + 20, content.end()));
        file.insert(file.end(), rest.begin(), rest.end());
        files[train_images + ".gz"] = file;
        write_files(directory.path(), files);
    }
    SUBCASE("symbolic links") {
        fs::create_directory(directory.path() / "store");
        write_files(directory.path() / "store", good_files());
        for (const auto& [name, bytes] : good_files()) {
            fs::create_symlink(directory.path() / "store" / name, directory.path() / name);
        }
    }
    check_good(load_dataset(directory.path()));
}

TEST_CASE("dataset: content larger than one read step, incompressible and compressible") {
    // 2500 * 28 * 28 = 1.96 MB: two steps, and many refills of the packed input.
    Bytes pixels(std::size_t{2500} * 28 * 28, 0);
    SUBCASE("noise") {
        std::mt19937 random(1);
        for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(random() >> 24);
    }
    SUBCASE("black") {}
    Files files = good_files();
    files[train_images] = idx(0x803, {2500, 28, 28}, pixels);
    files[train_labels] = idx(0x801, {2500}, Bytes(2500, 3));
    files[test_images] = idx(0x803, {1, 28, 28}, Bytes(784, 255));
    files[test_labels] = idx(0x801, {1}, {9});
    for (const bool compressed : {false, true}) {
        if (compressed) pack(files, train_images);
        const TemporaryDirectory directory;
        write_files(directory.path(), files);
        CHECK(load_dataset(directory.path()).train.images.pixels == pixels);
    }
}

TEST_CASE("dataset: the name is the last part of the path") {
    const TemporaryDirectory directory;
    const fs::path digits = directory.path() / "digits";
    fs::create_directory(digits);
    write_files(digits, good_files());
    for (const char* spelling : {"digits", "digits/", "digits/.", "digits/../digits"}) {
        CHECK(load_dataset(directory.path() / spelling).name == "digits");
    }
}

TEST_CASE("dataset: every bad input ends in one line with the file, what was found and what was expected") {
    for (const BadInput& bad : bad_inputs) {
        CAPTURE(bad.what);
        Files files = good_files();
        bad.spoil(files);
        CHECK(message_of(files) == bad.message);
    }
}

TEST_CASE("dataset: the number of classes is a parameter") {
    CHECK(message_of(good_files(), 10) == "loaded");
    CHECK(message_of(good_files(), 9) ==
          "D/train-labels-idx1-ubyte: found label 9 at index 0, expected 0..8");
    Files files = good_files();
    files[train_labels][8] = 255;
    CHECK(message_of(files, 256) == "loaded");
    CHECK(message_of(files, 255) == "D/train-labels-idx1-ubyte: found label 255 at index 0, expected 0..254");
}

TEST_CASE("dataset: directories and special files in the wrong place") {
    const TemporaryDirectory directory;
    const fs::path& path = directory.path();
    write_files(path, good_files());
    constexpr const char* expected =
        ", expected a directory with the four IDX files of MNIST or Fashion-MNIST";

    CHECK(message_of(path / "absent") == std::string("D: found nothing of that name") + expected);
    CHECK(message_of(path / train_images) == std::string("D: found a file") + expected);
    CHECK(message_of(path / train_images / "below") ==
          std::string("D: found nothing of that name") + expected);

    fs::remove(path / train_labels);
    SUBCASE("directory") {
        fs::create_directory(path / train_labels);
        CHECK(message_of(path) == "D/train-labels-idx1-ubyte: found a directory, expected a regular file");
    }
    SUBCASE("directory with the gzip name") {
        fs::create_directory(path / (train_labels + ".gz"));
        CHECK(message_of(path) == "D/train-labels-idx1-ubyte.gz: found a directory, expected a regular file");
    }
    SUBCASE("pipe without a writer") {
        REQUIRE(mkfifo((path / train_labels).c_str(), 0600) == 0);
        CHECK(message_of(path) == "D/train-labels-idx1-ubyte: found a special file, expected a regular file");
    }
    SUBCASE("dangling link") {
        fs::create_symlink(path / "nowhere", path / train_labels);
        CHECK(
            message_of(path) ==
            "D: found neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz, expected one of them");
    }
    SUBCASE("link to itself") {
        fs::create_symlink(path / train_labels, path / train_labels);
        CHECK(message_of(path) ==
              "D/train-labels-idx1-ubyte: found it unreadable (Too many levels of symbolic links), expected "
              "a readable file");
    }
    SUBCASE("file whose reading fails") {
        // Address 0 of the own process is never mapped: a regular file that opens and then answers EIO.
        fs::create_symlink("/proc/self/mem", path / train_labels);
        CHECK(
            message_of(path) ==
            "D/train-labels-idx1-ubyte: found it unreadable (Input/output error), expected a readable file");
    }
}

TEST_CASE("dataset: files without permission") {
    const TemporaryDirectory directory;
    const fs::path& path = directory.path();
    write_files(path, good_files());
    fs::create_directory(path / "closed");
    fs::permissions(path / "closed", fs::perms::none);
    fs::permissions(path / test_labels, fs::perms::none);

    // Permissions do not bind root.
    const uid_t user = geteuid();
    constexpr uid_t nobody = 65534;
    if (user == 0 && seteuid(nobody) != 0) {
        MESSAGE("skipped: root that cannot become another user can read everything");
        return;
    }
    const std::string file_message = message_of(path);
    const std::string directory_message = message_of(path / "closed");
    if (user == 0) REQUIRE(seteuid(user) == 0);
    fs::permissions(path / "closed", fs::perms::owner_all);

    CHECK(file_message ==
          "D/t10k-labels-idx1-ubyte: found it unreadable (Permission denied), expected a readable file");
    CHECK(directory_message ==
          "D/train-images-idx3-ubyte: found it unreadable (Permission denied), expected a readable file");
}

TEST_CASE("dataset: a message stays one line whatever the path holds") {
    CHECK(std::string(Error("a\nb\x1b[2J", "\t1", "2\r").what()) == "a?b?[2J: found ?1, expected 2?");
    CHECK_THROWS_WITH_AS(
        static_cast<void>(load_dataset("no\nsuch")),
        "no?such: found nothing of that name, expected a directory with the four IDX files of MNIST or "
        "Fashion-MNIST",
        Error);
}

TEST_CASE("dataset: damage at random is refused or loads consistent data") {
    const TemporaryDirectory directory;
    const fs::path& path = directory.path();
    const Files good = good_files();
    write_files(path, good);
    std::mt19937_64 random(20240229);
    const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    const auto damage = [&](Bytes bytes) {
        for (std::size_t edits = 1 + below(3); edits > 0; --edits) {
            const std::size_t at = below(bytes.size() + 1);
            switch (below(4)) {
                case 0:
                    bytes.resize(at);
                    break;
                case 1:
                    bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), 1 + below(40), 0);
                    break;
                case 2:
                    if (at < bytes.size()) bytes[at] ^= static_cast<std::uint8_t>(1u << below(8));
                    break;
                default:
                    if (at < bytes.size()) bytes[at] = static_cast<std::uint8_t>(random());
                    break;
            }
        }
        return bytes;
    };

    int loaded = 0;
    int refused = 0;
    const auto load = [&](const fs::path& victim, const Bytes& damaged) {
        // A new file each time: ext4 waits for the disk when a file is truncated and written again.
        fs::remove(victim);
        write_file(victim, damaged);
        try {
            const Dataset dataset = load_dataset(path);
            ++loaded;
            for (const Samples* samples : {&dataset.train, &dataset.test}) {
                const Images& images = samples->images;
                REQUIRE(images.count > 0);
                REQUIRE(images.image_size() > 0);
                REQUIRE(images.pixels.size() == images.count * images.image_size());
                REQUIRE(samples->labels.size() == images.count);
                for (const std::uint16_t label : samples->labels) REQUIRE(label < 10);
            }
            REQUIRE(dataset.train.images.height == dataset.test.images.height);
            REQUIRE(dataset.train.images.width == dataset.test.images.width);
        } catch (const Error& error) {
            ++refused;
            const std::string message = error.what();
            REQUIRE(message.rfind(path.string() + '/', 0) == 0);
            REQUIRE(message.find(": found ") != std::string::npos);
            REQUIRE(message.find(", expected ") != std::string::npos);
            REQUIRE(message.find('\n') == std::string::npos);
        }
    };
    for (const auto& [name, bytes] : good) {
        for (int i = 0; i < 1400; ++i) load(path / name, damage(bytes));
        fs::remove(path / name);
        const fs::path packed_name = path / (name + ".gz");
        for (int i = 0; i < 1400; ++i) {
            load(packed_name, gzip(damage(bytes)));
            load(packed_name, damage(gzip(bytes)));
        }
        fs::remove(packed_name);
        write_file(path / name, bytes);
    }
    CHECK(loaded + refused == 16800);
    CHECK(loaded > 1000);
    CHECK(refused > 10000);
    check_good(load_dataset(path));
}

TEST_CASE("dataset: gather scales the chosen images") {
    Samples samples;
    samples.images = {4, 8, 8, counting(256, 0)};
    samples.labels.assign(4, 0);
    const std::array<std::uint32_t, 6> indices = {3, 0, 1, 1, 2, 3};
    std::vector<float> out(indices.size() * 64 + 1, -1.0f);
    gather(samples, indices, out.data());
    for (std::size_t b = 0; b < indices.size(); ++b) {
        for (std::size_t p = 0; p < 64; ++p) {
            REQUIRE(out[b * 64 + p] ==
                    static_cast<float>(samples.images.pixels[indices[b] * 64 + p]) / 255.0f);
        }
    }
    CHECK(out[64] == 0.0f);
    CHECK(out[63] == 1.0f);
    CHECK(out.back() == -1.0f);

    gather(samples, {}, nullptr);
}

TEST_CASE("dataset: the default is Debian's Fashion-MNIST") {
    const TemporaryDirectory root;
    const fs::path directory = root.path() / "usr/share/datasets/fashion-mnist";
    const std::string message =
        directory.string() +
        ": found no data set there, expected the files of Debian's package dataset-fashion-mnist "
        "(install it, or name a directory with --data)";
    CHECK_THROWS_WITH_AS(static_cast<void>(ferrite::host::default_dataset_directory(root.path())),
                         message.c_str(), Error);
    fs::create_directories(directory);
    CHECK(ferrite::host::default_dataset_directory(root.path()) == directory);
}

TEST_CASE("dataset: Fashion-MNIST of the Debian package") {
    const fs::path directory = "/usr/share/datasets/fashion-mnist";
    if (!fs::exists(directory)) {
        MESSAGE("skipped: the package dataset-fashion-mnist is not installed");
        return;
    }
    CHECK(ferrite::host::default_dataset_directory() == directory);
    const Dataset dataset = load_dataset(directory);
    CHECK(dataset.name == "fashion-mnist");
    for (const auto& [samples, count] :
         {std::pair(&dataset.train, 60000u), std::pair(&dataset.test, 10000u)}) {
        CHECK(samples->images.count == count);
        CHECK(samples->images.height == 28);
        CHECK(samples->images.width == 28);
        CHECK(samples->images.pixels.size() == std::size_t{count} * 784);
        std::array<std::uint32_t, 10> expected{};
        expected.fill(count / 10);
        CHECK(facts_of(*samples).label_counts == expected);
    }
}

TEST_CASE("dataset: MNIST has the facts of the reference values") {
    const char* shared = std::getenv("FERRITE_SHARED");
    if (shared == nullptr) {
        const char* required = std::getenv("FERRITE_REQUIRE_SHARED");
        if (required != nullptr && std::string(required) == "1") {
            FAIL(
                "FERRITE_REQUIRE_SHARED=1, but FERRITE_SHARED (the directory that holds data/mnist) is not "
                "set");
        }
        MESSAGE("skipped: FERRITE_SHARED (the directory that holds data/mnist) is not set");
        return;
    }
    const Dataset dataset = load_dataset(fs::path(shared) / "data/mnist");
    CHECK(dataset.name == "mnist");
    check_facts(dataset.train, 60000, mnist_train);
    check_facts(dataset.test, 10000, mnist_test);
}
