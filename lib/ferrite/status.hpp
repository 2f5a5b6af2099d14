// SPDX-License-Identifier: MIT
// Status and Result: how set-up and loading answer. Includes config.hpp.
#pragma once

#include <ferrite/config.hpp>

namespace ferrite {

/// The outcome of a call that looks at something from outside. `ok` is zero.
enum class [[nodiscard]] Status : unsigned char {
    ok,
    shape_mismatch,          ///< a layer cannot take the shape that comes to it
    empty_model,             ///< no layers, or an input or a batch without elements
    too_large,               ///< a buffer or the arena passes 2^32 - 1 bytes
    too_many_steps,          ///< the tables of the program are full
    invalid_hyperparameter,  ///< NaN, infinite, or outside the range that its declaration states
    invalid_loss,            ///< the loss or the link does not go with the last layer
    needs_stored_gradients,  ///< Update::immediate together with clipping by the global norm
    nothing_to_train,        ///< every layer is frozen or has no parameters
    batch_of_one,            ///< batch normalization cannot train on one value per feature
    tables_too_small,        ///< the memory for the program's tables
    arena_too_small,         ///< the memory for the program's data
    misaligned,              ///< memory that does not start at a multiple of buffer_alignment
    overlapping_buffers,     ///< the check pass found a defect of the planner
    isa_not_built,           ///< this library holds no kernels for that instruction set
    isa_not_supported,       ///< this processor lacks that instruction set
    bad_magic,               ///< not a Ferrite file
    bad_version,             ///< a Ferrite file of another version
    truncated,               ///< fewer bytes than the header announces
    oversized,               ///< more bytes than the header announces
    bad_checksum,            ///< the content does not match its checksum
    unknown_layer,           ///< a layer name that the reader was not given
    model_mismatch,          ///< the parameters of another model
    optimizer_mismatch,      ///< the state of another optimizer, or none at all
    buffer_too_small,        ///< an output span that cannot hold the answer
    not_finite,              ///< NaN or infinite
};

/// One English clause for a person: "the arena is too small".
[[nodiscard]] constexpr const char* message(Status status) noexcept {
    switch (status) {
        case Status::ok: return "ok";
        case Status::shape_mismatch: return "a layer cannot take the shape that comes to it";
        case Status::empty_model: return "the model has no layers, or an input or a batch without elements";
        case Status::too_large: return "a buffer or the arena passes 4 GiB";
        case Status::too_many_steps: return "the program's tables are full";
        case Status::invalid_hyperparameter: return "a hyperparameter is not finite or out of its range";
        case Status::invalid_loss: return "the loss or the link does not go with the last layer";
        case Status::needs_stored_gradients: return "clipping by the global norm needs stored gradients";
        case Status::nothing_to_train: return "every layer is frozen or has no parameters";
        case Status::batch_of_one: return "batch normalization cannot train on one value per feature";
        case Status::tables_too_small: return "the memory for the program's tables is too small";
        case Status::arena_too_small: return "the arena is too small";
        case Status::misaligned: return "the memory is not aligned to 64 bytes";
        case Status::overlapping_buffers: return "two live buffers overlap";
        case Status::isa_not_built: return "that instruction set is not part of this build";
        case Status::isa_not_supported: return "this processor lacks that instruction set";
        case Status::bad_magic: return "not a Ferrite file";
        case Status::bad_version: return "a Ferrite file of another version";
        case Status::truncated: return "the file is shorter than its header announces";
        case Status::oversized: return "the file is longer than its header announces";
        case Status::bad_checksum: return "the checksum does not match the content";
        case Status::unknown_layer: return "a layer of an unknown kind";
        case Status::model_mismatch: return "the parameters belong to another model";
        case Status::optimizer_mismatch: return "no checkpoint of this optimizer";
        case Status::buffer_too_small: return "the output memory is too small";
        case Status::not_finite: return "a number is NaN or infinite";
    }
    return "unknown status";
}

/// A value, or the reason why there is none. `T` is default-constructible; the value is meaningful only if ok().
template <class T>
class [[nodiscard]] Result {
  public:
    constexpr Result(T value) noexcept : value_(value) {}
    constexpr Result(Status status) noexcept : status_(status) {}
    [[nodiscard]] constexpr bool ok() const noexcept { return status_ == Status::ok; }
    [[nodiscard]] constexpr Status status() const noexcept { return status_; }
    /// The value; asserts ok().
    [[nodiscard]] constexpr const T& value() const noexcept {
        FERRITE_ASSERT(ok());
        return value_;
    }
    [[nodiscard]] constexpr T& value() noexcept {
        FERRITE_ASSERT(ok());
        return value_;
    }

  private:
    T value_{};
    Status status_ = Status::ok;
};

}  // namespace ferrite
