// SPDX-License-Identifier: MIT
// Writing and reading the weights file.
#include <ferrite/format.hpp>

namespace ferrite {

static_assert(std::endian::native == std::endian::little, "parameters are copied as they are");

namespace {

constexpr char magic[8] = {'F', 'E', 'R', 'R', 'I', 'T', 'E', '\0'};
constexpr std::uint32_t version = 2;
constexpr std::size_t fixed_bytes = sizeof(magic) + 8 * 4;
constexpr std::size_t checksum_bytes = 8;

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

std::size_t state_bytes(const TrainingSession& session) noexcept {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        for (std::size_t slot = 0; slot < 2; ++slot) bytes += session.state(i, slot).size_bytes();
    return bytes;
}

/// Between the sizes and the floats.
void write_training(ByteWriter& writer, const TrainingSession* session) noexcept {
    const char* const optimizer = session ? session->recipe().optimizer.name : "";
    writer(static_cast<std::uint32_t>(length(optimizer)));
    write_text(writer, optimizer, length(optimizer));
    writer(session ? static_cast<std::uint32_t>(state_bytes(*session) / sizeof(float)) : 0u);
    for (int i = 0; i < 3; ++i) writer(session ? session->recipe().optimizer.hyperparameter[i] : 0.0f);
    writer(session && session->recipe().optimizer.option);
    writer(session ? session->iteration() : 0u);
    const std::uint64_t seed = session ? session->seed().value : 0;
    writer(static_cast<std::uint32_t>(seed));
    writer(static_cast<std::uint32_t>(seed >> 32));
    writer(session ? session->learning_rate() : 0.0f);
    writer(session ? session->weight_decay() : 0.0f);
}

/// A length and as many bytes, padded to 4, at `position`, which moves behind them. False past the end.
bool next_text(std::span<const std::byte> bytes, std::size_t& position, std::span<const std::byte>& text) noexcept {
    if (bytes.size() - position < 4) return false;
    ByteReader reader(bytes.subspan(position, 4));
    const std::uint64_t size = reader.read();  // 32 bits wide, and summed in 64
    const std::uint64_t padded = (size + 3) / 4 * 4;
    if (padded > bytes.size() - position - 4) return false;
    text = bytes.subspan(position + 4, static_cast<std::size_t>(size));
    position += 4 + static_cast<std::size_t>(padded);
    return true;
}

/// Copies `from` to out[at] and moves behind it.
void append(std::span<const float> from, std::span<std::byte> out, std::size_t& at) noexcept {
    const auto bytes = std::as_bytes(from);
    if (!bytes.empty()) std::memcpy(out.data() + at, bytes.data(), bytes.size());
    at += bytes.size();
}

/// Whether the file holds the arrays of the program.
bool fits(const WeightsFile& file, const ProgramView& program) noexcept {
    if (file.parameter_arrays != program.parameters.size()) return false;
    ByteReader sizes(file.sizes);
    for (const Parameter& p : program.parameters)
        if (sizes.read() != p.elements) return false;
    return file.parameters.size() == parameter_bytes(program);
}

/// Float `i` of the floats at `bytes`, which need no alignment.
float float_at(const std::byte* bytes, std::size_t i) noexcept {
    float value;
    std::memcpy(&value, bytes + i * sizeof(float), sizeof(float));
    return value;
}

/// First the arrays that have a buffer, then what load_weights() says of folded ones.
void copy(const WeightsFile& file, const ProgramView& program, std::byte* region) noexcept {
    const auto address = [&](const Parameter& p) { return region + program.buffers[p.value].offset; };
    const auto in_file = [&](std::size_t index) {
        const std::byte* from = file.parameters.data();
        for (const Parameter& p : program.parameters.first(index)) from += std::size_t{p.elements} * sizeof(float);
        return from;
    };
    const std::byte* from = file.parameters.data();
    for (const Parameter& p : program.parameters) {
        const std::size_t bytes = std::size_t{p.elements} * sizeof(float);
        if (p.value != no_buffer) std::memcpy(address(p), from, bytes);
        from += bytes;
    }
    for (std::size_t i = 0; i < program.parameters.size(); ++i) {
        const Parameter& gamma = program.parameters[i];
        if (gamma.folded_into == no_parameter) continue;
        const Parameter& weights = program.parameters[gamma.folded_into];
        const bool biased = program.parameters[gamma.folded_into + 1u].layer == weights.layer;
        const std::byte* const old_bias = in_file(gamma.folded_into + 1u);
        const std::byte *const mean = in_file(i + 2), *const variance = in_file(i + 3);
        float* const w = reinterpret_cast<float*>(address(weights));
        float* const bias = reinterpret_cast<float*>(address(program.parameters[i + 1]));  // holds beta
        for (std::size_t o = 0; o < gamma.elements; ++o) {
            const float scale =
                float_at(in_file(i), o) * (1.0f / __builtin_sqrtf(float_at(variance, o) + gamma.epsilon));
            for (std::size_t k = o; k < weights.elements; k += gamma.elements) w[k] *= scale;
            const float shifted = (biased ? float_at(old_bias, o) : 0.0f) - float_at(mean, o);
            bias[o] = __builtin_fmaf(shifted, scale, bias[o]);
        }
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

std::size_t rest_bytes(const ProgramView& program, const TrainingSession* session) noexcept {
    ByteWriter measure({});
    for (const Parameter& p : program.parameters) measure(p.elements);
    write_training(measure, session);
    return measure.position() + parameter_bytes(program) + (session ? state_bytes(*session) : 0) + checksum_bytes;
}

Result<std::size_t> write_rest(std::size_t position, const TrainingSession& session, bool checkpoint,
                               std::span<std::byte> out) noexcept {
    const ProgramView& program = session.program();
    if (out.size() < position + rest_bytes(program, checkpoint ? &session : nullptr)) return Status::buffer_too_small;
    ByteWriter writer(out.subspan(position));
    for (const Parameter& p : program.parameters) writer(p.elements);
    write_training(writer, checkpoint ? &session : nullptr);
    std::size_t at = position + writer.position();
    for (std::size_t i = 0; i < session.parameter_count(); ++i) append(session.parameter(i), out, at);
    for (std::size_t i = 0; checkpoint && i < session.parameter_count(); ++i)
        for (std::size_t slot = 0; slot < 2; ++slot) append(session.state(i, slot), out, at);
    const std::uint64_t sum = fnv1a(out.first(at));
    ByteWriter tail(out.subspan(at));
    tail(static_cast<std::uint32_t>(sum));
    tail(static_cast<std::uint32_t>(sum >> 32));
    return at + tail.position();
}

bool next_layer(std::span<const std::byte> records, std::size_t& position, LayerRecord& record) noexcept {
    return next_text(records, position, record.name) && next_text(records, position, record.configuration);
}

bool named(std::span<const std::byte> name, const char* expected) noexcept {
    return name.size() == length(expected) && std::memcmp(name.data(), expected, name.size()) == 0;
}

}  // namespace format_detail

Result<WeightsFile> open_weights(std::span<const std::byte> file) noexcept {
    if (file.size() < sizeof(magic)) return Status::truncated;
    if (std::memcmp(file.data(), magic, sizeof(magic)) != 0) return Status::bad_magic;
    if (file.size() < fixed_bytes + checksum_bytes) return Status::truncated;
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
    std::uint64_t bytes = 0, state = 0;
    ByteReader sizes(result.sizes);
    for (std::uint32_t i = 0; i < result.parameter_arrays; ++i) bytes += std::uint64_t{sizes.read()} * sizeof(float);
    if (!next_text(records, position, result.optimizer)) return Status::truncated;
    constexpr std::size_t training_bytes = 10 * 4;
    if (records.size() - position < training_bytes) return Status::truncated;
    ByteReader training(records.subspan(position, training_bytes));
    state = std::uint64_t{training.read()} * sizeof(float);
    for (float& value : result.hyperparameter) training(value);
    training(result.option);
    training(result.iteration);
    result.seed.value = training.read();
    result.seed.value |= std::uint64_t{training.read()} << 32;
    training(result.learning_rate);
    training(result.weight_decay);
    position += training_bytes;
    const std::uint64_t left = records.size() - position;
    if (left < bytes + state + checksum_bytes) return Status::truncated;
    if (left > bytes + state + checksum_bytes) return Status::oversized;
    result.parameters = records.subspan(position, static_cast<std::size_t>(bytes));
    result.states = records.subspan(position + result.parameters.size(), static_cast<std::size_t>(state));
    ByteReader tail(file.last(checksum_bytes));
    const std::uint64_t low = tail.read();
    const std::uint64_t high = tail.read();
    if ((high << 32 | low) != fnv1a(file.first(file.size() - checksum_bytes))) return Status::bad_checksum;
    if (result.input.rank > 4) return Status::shape_mismatch;
    return result;
}

Status load_weights(const WeightsFile& file, TrainingSession& session) noexcept {
    if (!fits(file, session.program())) return Status::model_mismatch;
    // Only the session knows its arena; parameter() spans are mutable.
    const std::byte* region = session.parameters().data();
    copy(file, session.program(), const_cast<std::byte*>(region));
    session.keep_best();
    return Status::ok;
}

Status format_detail::load_checkpoint(const WeightsFile& file, TrainingSession& session) noexcept {
    if (!fits(file, session.program())) return Status::model_mismatch;
    const Optimizer& optimizer = session.recipe().optimizer;
    bool same = named(file.optimizer, optimizer.name) && file.states.size() == state_bytes(session) &&
                file.option == optimizer.option;
    for (int i = 0; i < 3; ++i) same = same && file.hyperparameter[i] == optimizer.hyperparameter[i];
    if (!same) return Status::optimizer_mismatch;
    if (!compiler::finite_from(file.learning_rate, 0) || !compiler::finite_from(file.weight_decay, 0))
        return Status::invalid_hyperparameter;
    const Status status = load_weights(file, session);
    std::size_t at = 0;
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        for (std::size_t slot = 0; slot < 2; ++slot) {
            const std::span<float> state = session.state(i, slot);
            if (!state.empty()) std::memcpy(state.data(), file.states.data() + at, state.size_bytes());
            at += state.size_bytes();
        }
    session.set_iteration(file.iteration);
    session.set_seed(file.seed);
    session.set_learning_rate(file.learning_rate);
    session.set_weight_decay(file.weight_decay);
    return status;
}

Status load_weights(const WeightsFile& file, const ProgramView& program, std::span<std::byte> parameters) noexcept {
    if (!fits(file, program)) return Status::model_mismatch;
    if (parameters.size() < program.totals->region_bytes[0]) return Status::buffer_too_small;
    copy(file, program, parameters.data());
    return Status::ok;
}

}  // namespace ferrite
