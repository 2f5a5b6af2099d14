// SPDX-License-Identifier: MIT
// The weights file: a model and its parameters as bytes, in a span that the caller owns; no file system. A checkpoint
// is a weights file that also holds what training needs to go on as if it had not stopped. Includes trainer.hpp.
//
// Version 2, little-endian, every field 4 bytes wide unless said otherwise:
//   "FERRITE" and a zero byte; version; rank and 4 extents of the input; number of layers; number of parameter arrays
//   per layer: length of its name, its name, padded with zeros to 4 bytes; bytes of its configuration, configuration
//   per parameter array: number of floats
//   length of the optimizer's name, its name, padded with zeros to 4 bytes; number of floats of its state
//     (both 0 in a file without a checkpoint); its 3 hyperparameters and its option; iteration; seed, low and high half; learning rate; weight decay
//   the floats of all arrays, W before b, in the order of the layers, without padding
//   the floats of the optimizer's state: for each array slot 0, then slot 1
//   8 bytes: FNV-1a 64 of everything before
#pragma once

#include <ferrite/trainer.hpp>

namespace ferrite {

/// FNV-1a, 64 bits (Fowler, Noll, Vo), of `bytes`, continued from `hash`.
[[nodiscard]] constexpr std::uint64_t fnv1a(std::span<const std::byte> bytes,
                                            std::uint64_t hash = 0xCBF29CE484222325u) noexcept {
    for (const std::byte b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001B3u;
    return hash;
}

/// FNV-1a 64 of all parameters, W before b, in the order of the layers, without padding: equal digests, equal bits.
[[nodiscard]] std::uint64_t digest(const TrainingSession& session) noexcept;

namespace format_detail {
void write_start(ByteWriter& writer, Shape input, std::size_t layers, const ProgramView& program) noexcept;
void write_layer(ByteWriter& writer, const char* name, std::size_t configuration_bytes) noexcept;
/// What comes behind the layers; `session`: null without a checkpoint.
[[nodiscard]] std::size_t rest_bytes(const ProgramView& program, const TrainingSession* session) noexcept;
Result<std::size_t> write_rest(std::size_t position, const TrainingSession& session, bool checkpoint,
                               std::span<std::byte> out) noexcept;

template <class M>
std::size_t write_model(std::span<std::byte> out, const M& model, const ProgramView& program) noexcept {
    ByteWriter writer(out);
    write_start(writer, model.input, model.size(), program);
    model.for_each([&](const auto& layer) {
        ByteWriter measure({});
        write_fields(layer, measure);
        write_layer(writer, name_of(layer), measure.position());
        write_fields(layer, writer);
    });
    return writer.position();
}
}  // namespace format_detail

/// Bytes of the weights file of a Model or DynamicModel and a program compiled from it.
template <class M>
[[nodiscard]] std::size_t weights_bytes(const M& model, const ProgramView& program) noexcept {
    return format_detail::write_model({}, model, program) + format_detail::rest_bytes(program, nullptr);
}
/// Bytes of the checkpoint of a session.
template <class M>
[[nodiscard]] std::size_t checkpoint_bytes(const M& model, const TrainingSession& session) noexcept {
    return format_detail::write_model({}, model, session.program()) +
           format_detail::rest_bytes(session.program(), &session);
}

/// Writes the weights of a session, compiled from `model`, to `out` and answers how many bytes. buffer_too_small:
/// nothing useful is in `out`.
template <class M>
[[nodiscard]] Result<std::size_t> save_weights(const M& model, const TrainingSession& session,
                                               std::span<std::byte> out) noexcept {
    return format_detail::write_rest(format_detail::write_model(out, model, session.program()), session, false, out);
}
/// The same with the optimizer's state, the iteration, the seed, the learning rate and the weight decay.
template <class M>
[[nodiscard]] Result<std::size_t> save_checkpoint(const M& model, const TrainingSession& session,
                                                  std::span<std::byte> out) noexcept {
    return format_detail::write_rest(format_detail::write_model(out, model, session.program()), session, true, out);
}

/// A weights file that has been checked: spans into its bytes.
struct WeightsFile {
    Shape input{};
    std::uint32_t layer_count = 0;
    std::uint32_t parameter_arrays = 0;
    std::span<const std::byte> layers;      ///< the layer records
    std::span<const std::byte> sizes;       ///< the number of floats per array
    std::span<const std::byte> parameters;  ///< the floats
    std::span<const std::byte> optimizer;   ///< its name; empty without a checkpoint
    std::span<const std::byte> states;      ///< the floats of its state
    float hyperparameter[3]{};              ///< of the optimizer
    bool option = false;
    std::uint32_t iteration = 0;
    Seed seed{};
    float learning_rate = 0, weight_decay = 0;
};

/// Checks every byte of `file`: bad_magic, bad_version, truncated, oversized, bad_checksum.
[[nodiscard]] Result<WeightsFile> open_weights(std::span<const std::byte> file) noexcept;

namespace format_detail {
struct LayerRecord {
    std::span<const std::byte> name, configuration;
};
/// The record at `position`, which moves behind it. False past the end of the records.
[[nodiscard]] bool next_layer(std::span<const std::byte> records, std::size_t& position, LayerRecord& record) noexcept;
[[nodiscard]] bool named(std::span<const std::byte> name, const char* expected) noexcept;

/// The configuration that `layer` would write is that of the record.
template <class L>
bool same_layer(const L& layer, const LayerRecord& record) noexcept {
    std::byte bytes[256];
    ByteWriter writer(bytes);
    write_fields(layer, writer);
    return named(record.name, name_of(layer)) && writer.fits() && writer.position() == record.configuration.size() &&
           (writer.position() == 0 || std::memcmp(bytes, record.configuration.data(), writer.position()) == 0);
}
template <class M>
bool same_model(const M& model, const WeightsFile& file) noexcept {
    if (!(model.input == file.input) || model.size() != file.layer_count) return false;
    std::size_t position = 0;
    bool same = true;
    model.for_each([&](const auto& layer) {
        LayerRecord record;
        same = same && next_layer(file.layers, position, record) && same_layer(layer, record);
    });
    return same;
}
[[nodiscard]] Status load_checkpoint(const WeightsFile& file, TrainingSession& session) noexcept;

template <Layer L>
bool read_as(const LayerRecord& record, AnyLayer& out, Status& status) noexcept {
    if (!named(record.name, L::name)) return false;
    L layer{};
    ByteReader reader(record.configuration);
    L::fields(layer, reader);
    status = reader.ok() && reader.position() == record.configuration.size() ? Status::ok : Status::truncated;
    out = layer;
    return true;
}
}  // namespace format_detail

/// Makes the model of a file in `memory` (layer_count layers), from the layers of the library and those named in
/// `Own`. unknown_layer, truncated, buffer_too_small.
template <Layer... Own>
[[nodiscard]] Result<DynamicModel> read_model(const WeightsFile& file, std::span<AnyLayer> memory) noexcept {
    using namespace format_detail;
    if (memory.size() < file.layer_count) return Status::buffer_too_small;
    std::size_t position = 0;
    for (std::uint32_t i = 0; i < file.layer_count; ++i) {
        LayerRecord record;
        if (!next_layer(file.layers, position, record)) return Status::truncated;
        Status status = Status::unknown_layer;
        const auto read = [&]<class... Known>(AnyLayer& out) { (read_as<Known>(record, out, status) || ...); };
        read.template operator()<Dense, Relu, LeakyRelu, Sigmoid, Tanh, Gelu, Softmax, Flatten, BatchNorm, LayerNorm,
                                        Dropout, Own...>(memory[i]);
        if (status != Status::ok) return status;
    }
    return DynamicModel{file.input, memory.first(file.layer_count)};
}

/// Copies the parameters of a file into a session. model_mismatch: the session has other arrays; nothing is copied.
/// The optimizer's state and the iteration stay as they are.
[[nodiscard]] Status load_weights(const WeightsFile& file, TrainingSession& session) noexcept;
/// Copies a checkpoint into a session, whose next step is then the one that would have followed: with the same recipe
/// and the same batches training ends with the same bits as without the stop. model_mismatch (also by a field of a layer),
/// optimizer_mismatch (also by a hyperparameter, and for a file without a checkpoint), invalid_hyperparameter (a learning rate or a weight decay that is negative or not
/// finite): nothing is copied.
template <class M>
[[nodiscard]] Status load_checkpoint(const M& model, const WeightsFile& file, TrainingSession& session) noexcept {
    if (!format_detail::same_model(model, file)) return Status::model_mismatch;
    return format_detail::load_checkpoint(file, session);
}
/// The parameters of a file into the parameter region of an inference program, in which a BatchNorm that the program has
/// folded becomes part of the Dense before it: with s = gamma (1 / sqrt(running_variance + epsilon)), W(i, o) = W(i, o) s(o)
/// and b(o) = fma(b(o) - running_mean(o), s(o), beta(o)). `parameters`: aligned to floats. model_mismatch, buffer_too_small:
/// nothing is copied.
[[nodiscard]] Status load_weights(const WeightsFile& file, const ProgramView& program,
                                  std::span<std::byte> parameters) noexcept;

}  // namespace ferrite
