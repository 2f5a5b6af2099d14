// SPDX-License-Identifier: MIT
// Writing and reading the weights file.
#include <ferrite/format.hpp>

namespace ferrite {

static_assert(std::endian::native == std::endian::little, "parameters are copied as they are");

namespace {

constexpr char magic[8] = {'F', 'E', 'R', 'R', 'I', 'T', 'E', '\0'};
constexpr std::uint32_t version = 1;
constexpr std::size_t fixed_bytes = sizeof(magic) + 8 * 4;

std::size_t length(const char* text) noexcept {
    std::size_t n = 0;
    while (text[n] != '\0') ++n;
    return n;
}

/// `n` characters, padded with zeros to 4 bytes.
void write_text(ByteWriter& writer, const char* first, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; i += 4) {
        std::uint32_t packed = 0;
        for (std::size_t k = 0; k < 4 && i + k < n; ++k)
            packed |= static_cast<std::uint32_t>(static_cast<unsigned char>(first[i + k])) << (8 * k);
        writer(packed);
    }
}

std::size_t parameter_bytes(const ProgramView& program) noexcept {
    return std::size_t{program.totals->parameters} * sizeof(float);
}

/// Whether the file holds the arrays of the program.
bool fits(const WeightsFile& file, const ProgramView& program) noexcept {
    if (file.parameter_arrays != program.parameters.size()) return false;
    ByteReader sizes(file.sizes);
    for (const Parameter& p : program.parameters)
        if (sizes.read() != p.elements) return false;
    return file.parameters.size() == parameter_bytes(program);
}

void copy(const WeightsFile& file, const ProgramView& program, std::byte* region) noexcept {
    std::size_t at = 0;
    for (const Parameter& p : program.parameters) {
        const std::size_t bytes = std::size_t{p.elements} * sizeof(float);
        std::memcpy(region + program.buffers[p.value].offset, file.parameters.data() + at, bytes);
        at += bytes;
    }
}

}  // namespace

std::uint64_t digest(const TrainingSession& session) noexcept {
    std::uint64_t hash = fnv1a({});
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        hash = fnv1a(std::as_bytes(session.parameter(i)), hash);
    return hash;
}

namespace format_detail {

void write_start(ByteWriter& writer, Shape input, std::size_t layers, const ProgramView& program) noexcept {
    write_text(writer, magic, sizeof(magic));
    writer(version);
    writer(input.rank);
    for (const std::uint32_t extent : input.extent) writer(extent);
    writer(static_cast<std::uint32_t>(layers));
    writer(static_cast<std::uint32_t>(program.parameters.size()));
}

void write_layer(ByteWriter& writer, const char* name, std::size_t configuration_bytes) noexcept {
    writer(static_cast<std::uint32_t>(length(name)));
    write_text(writer, name, length(name));
    writer(static_cast<std::uint32_t>(configuration_bytes));
}

void write_sizes(ByteWriter& writer, const ProgramView& program) noexcept {
    for (const Parameter& p : program.parameters) writer(p.elements);
}

Result<std::size_t> finish(ByteWriter& writer, const TrainingSession& session, std::span<std::byte> out) noexcept {
    std::size_t at = writer.position();
    for (std::size_t i = 0; i < session.parameter_count(); ++i) {
        const auto values = std::as_bytes(session.parameter(i));
        std::memcpy(out.data() + at, values.data(), values.size());
        at += values.size();
    }
    const std::uint64_t sum = fnv1a(out.first(at));
    ByteWriter tail(out.subspan(at));
    tail(static_cast<std::uint32_t>(sum));
    tail(static_cast<std::uint32_t>(sum >> 32));
    return at + tail.position();
}

bool next_layer(std::span<const std::byte> records, std::size_t& position, LayerRecord& record) noexcept {
    // All lengths are 32 bits wide and all sums are taken in 64.
    const auto take = [&](std::uint64_t bytes, std::uint64_t padded, std::span<const std::byte>& out) {
        if (padded > records.size() - position) return false;
        out = records.subspan(position, static_cast<std::size_t>(bytes));
        position += static_cast<std::size_t>(padded);
        return true;
    };
    const auto field = [&](std::span<const std::byte>& out) {
        if (records.size() - position < 4) return false;
        ByteReader reader(records.subspan(position, 4));
        position += 4;
        const std::uint64_t bytes = reader.read();
        return take(bytes, (bytes + 3) / 4 * 4, out);
    };
    return field(record.name) && field(record.configuration);
}

bool named(std::span<const std::byte> name, const char* expected) noexcept {
    return name.size() == length(expected) && std::memcmp(name.data(), expected, name.size()) == 0;
}

}  // namespace format_detail

Result<WeightsFile> open_weights(std::span<const std::byte> file) noexcept {
    if (file.size() < sizeof(magic)) return Status::truncated;
    if (std::memcmp(file.data(), magic, sizeof(magic)) != 0) return Status::bad_magic;
    if (file.size() < fixed_bytes + 8) return Status::truncated;
    ByteReader reader(file.subspan(sizeof(magic)));
    if (reader.read() != version) return Status::bad_version;
    WeightsFile result;
    reader(result.input.rank);
    for (std::uint32_t& extent : result.input.extent) reader(extent);
    reader(result.layer_count);
    reader(result.parameter_arrays);
    const auto records = file.subspan(fixed_bytes);
    std::size_t position = 0;
    format_detail::LayerRecord record;
    for (std::uint32_t i = 0; i < result.layer_count; ++i)
        if (!format_detail::next_layer(records, position, record)) return Status::truncated;
    result.layers = records.first(position);
    if (result.parameter_arrays > (records.size() - position) / 4) return Status::truncated;
    result.sizes = records.subspan(position, std::size_t{result.parameter_arrays} * 4);
    position += result.sizes.size();
    std::uint64_t bytes = 0;
    ByteReader sizes(result.sizes);
    for (std::uint32_t i = 0; i < result.parameter_arrays; ++i) bytes += std::uint64_t{sizes.read()} * sizeof(float);
    const std::uint64_t left = records.size() - position;
    if (left < bytes + 8) return Status::truncated;
    if (left > bytes + 8) return Status::oversized;
    result.parameters = records.subspan(position, static_cast<std::size_t>(bytes));
    ByteReader tail(file.last(8));
    const std::uint64_t low = tail.read();
    const std::uint64_t high = tail.read();
    if ((high << 32 | low) != fnv1a(file.first(file.size() - 8))) return Status::bad_checksum;
    if (result.input.rank > 4) return Status::shape_mismatch;
    return result;
}

Status load_weights(const WeightsFile& file, TrainingSession& session) noexcept {
    if (!fits(file, session.program())) return Status::model_mismatch;
    // Only the session knows its arena; parameter() spans are mutable.
    const std::byte* region = session.parameters().data();
    copy(file, session.program(), const_cast<std::byte*>(region));
    return Status::ok;
}

Status load_weights(const WeightsFile& file, const ProgramView& program, std::span<std::byte> parameters) noexcept {
    if (!fits(file, program)) return Status::model_mismatch;
    if (parameters.size() < program.totals->region_bytes[0]) return Status::buffer_too_small;
    copy(file, program, parameters.data());
    return Status::ok;
}

}  // namespace ferrite
