// SPDX-License-Identifier: MIT
// Programs bound to memory: Trainer and Predictor for models known at compile time, TrainingSession and
// InferenceSession for any program. Includes program.hpp.
#pragma once

#include <ferrite/program.hpp>

namespace ferrite {

/// Is told about every step of a program as it runs.
struct Observer {
    void* context = nullptr;
    void (*before)(void* context, std::size_t step) = nullptr;
    void (*after)(void* context, std::size_t step) = nullptr;
};

/// What a batch says about a model.
struct Evaluation {
    float loss = 0;             ///< mean over the batch
    std::uint32_t correct = 0;  ///< samples whose largest output is at their label (the first one, if several are)
};

namespace trainer_detail {
/// Where each region of a program begins, by Region; the input changes with every call. Step tables are read at every step and
/// addresses resolved as it runs: a table of addresses would cost RAM that a microcontroller does not have.
struct Memory {
    std::byte* base[static_cast<std::size_t>(Region::count)];
};
}  // namespace trainer_detail

/// The arena of a training program in three blocks, for a device whose memories are fast, large or retained. Each block starts
/// at a multiple of buffer_alignment and has the bytes that Totals says.
struct SplitArena {
    std::span<std::byte> parameters;  ///< parameter_bytes(): what is learned
    std::span<std::byte> state;       ///< state_bytes(): of the optimizer, touched once a step; the best parameters
    std::span<std::byte> workspace;   ///< workspace_bytes(): gradients, activations and scratch, of no use after a step
};

/// A training program bound to its memory. Copies refer to the same memory; nothing is owned.
class TrainingSession {
  public:
    TrainingSession() noexcept = default;

    /// Binds a training program to `arena`. Both and `recipe` must outlive the session; `recipe` is the one that the
    /// program was compiled with. arena_too_small: the arena has fewer than arena_bytes bytes; misaligned: it does
    /// not start at a multiple of buffer_alignment. Does not touch the memory: call initialize() or load parameters.
    [[nodiscard]] static Result<TrainingSession> bind(ProgramView program, const Training& recipe,
                                                      std::span<std::byte> arena) noexcept;
    /// The same in three blocks, with the same bits. buffer_too_small: the parameters or the state; arena_too_small: the
    /// workspace.
    [[nodiscard]] static Result<TrainingSession> bind(ProgramView program, const Training& recipe,
                                                      const SplitArena& arena) noexcept;

    /// Gives every parameter its start value and the optimizer its zero state; iteration 0. Parameter p (counted over
    /// the model) takes stream p of the seed.
    void initialize(Seed seed) noexcept;

    /// One iteration on rows = inputs.size() / I samples, 1 <= rows <= batch: forward, loss, backward, update.
    /// inputs: (rows, I); labels: (rows). Returns the mean loss over the rows before the update (without penalties).
    float step(std::span<const float> inputs, std::span<const Label> labels) noexcept;
    /// The same for losses that compare with values: targets (rows, O).
    float step(std::span<const float> inputs, std::span<const float> targets) noexcept;

    /// The output for 1 <= rows <= batch samples, as probabilities if the loss has them: (rows, O) in the arena, valid
    /// until the next call.
    [[nodiscard]] std::span<const float> predict(std::span<const float> inputs) noexcept;

    /// Loss and hits of a batch; nothing is learned.
    [[nodiscard]] Evaluation evaluate(std::span<const float> inputs, std::span<const Label> labels) noexcept;

    [[nodiscard]] const ProgramView& program() const noexcept { return program_; }
    [[nodiscard]] const Training& recipe() const noexcept { return *recipe_; }
    [[nodiscard]] std::size_t parameter_count() const noexcept { return program_.parameters.size(); }
    /// Parameter array i in the order of the layers, W before b.
    [[nodiscard]] std::span<float> parameter(std::size_t i) const noexcept;
    /// Its gradient of the last step; empty unless gradients are stored.
    [[nodiscard]] std::span<float> gradient(std::size_t i) const noexcept;
    /// Slot 0 or 1 of its optimizer state; empty if the optimizer has no such slot.
    [[nodiscard]] std::span<float> state(std::size_t i, std::size_t slot) const noexcept;
    /// The parameter region: what an InferenceSession of the same model runs from.
    [[nodiscard]] std::span<const std::byte> parameters() const noexcept;
    /// With Training::keep_best: the parameters as they are become the best ones. initialize() and load_weights() do so too.
    void keep_best() noexcept;
    /// With Training::keep_best: the best parameters come back, and the optimizer starts from its zero state. step() does so
    /// when its loss is not finite, so that a training that diverges ends with the best it had; false: nothing is kept.
    bool restore_best() noexcept;
    /// (lambda / 2) sum of W^2 over all weights: what weight decay adds to the loss.
    [[nodiscard]] float penalty() const noexcept;

    /// Iterations done since initialize().
    [[nodiscard]] std::uint32_t iteration() const noexcept { return iteration_; }
    void set_iteration(std::uint32_t iteration) noexcept { iteration_ = iteration; }
    /// The seed of initialize(), of which Dropout takes its masks.
    [[nodiscard]] Seed seed() const noexcept { return seed_; }
    void set_seed(Seed seed) noexcept { seed_ = seed; }
    [[nodiscard]] float learning_rate() const noexcept { return learning_rate_; }
    /// From the next step on; the schedule multiplies it.
    void set_learning_rate(float learning_rate) noexcept { learning_rate_ = learning_rate; }
    [[nodiscard]] float weight_decay() const noexcept { return weight_decay_; }
    void set_weight_decay(float weight_decay) noexcept { weight_decay_ = weight_decay; }
    /// Null: nobody. `observer` must outlive the session.
    void observe(const Observer* observer) noexcept { observer_ = observer; }
    /// Threads for the steps that the program shares (Training::threads): at most workers->count at once. Null: the caller's
    /// alone. The bits are the same for any. `workers` must outlive the session, and serves one session at a time.
    void use(const Workers* workers) noexcept { workers_ = workers; }

  private:
    template <const auto& model, const auto& recipe>
    friend class Trainer;
    TrainingSession(const ProgramView& program, const Training& recipe) noexcept
        : program_(program), recipe_(&recipe), learning_rate_(recipe.optimizer.learning_rate),
          weight_decay_(recipe.weight_decay) {}
    /// What bind() checks holds: the compiler knows a Trainer's.
    TrainingSession(const ProgramView& program, const Training& recipe, std::byte* arena) noexcept
        : TrainingSession(program, recipe) {
        for (std::size_t r = 0; r < region_count; ++r) memory_.base[r] = arena + program.totals->region_offset[r];
    }
    float train(Pass& pass, std::span<const float> inputs) noexcept;
    [[nodiscard]] std::span<float> floats(BufferId id) const noexcept;

    ProgramView program_{};
    const Training* recipe_ = nullptr;
    trainer_detail::Memory memory_{};
    const Observer* observer_ = nullptr;
    const Workers* workers_ = nullptr;
    Seed seed_{};
    std::uint32_t iteration_ = 0;
    float learning_rate_ = 0;
    float weight_decay_ = 0;
};

/// Says when a training is over: when `patience` looks in a row at the validation loss have not found it more than min_delta
/// below the best one. A loss that is NaN is no better than any. Prechelt, "Early stopping - but when?", 1998.
class EarlyStopping {
  public:
    enum class Verdict : std::uint8_t { improved, waiting, stop };
    /// patience >= 1.
    constexpr explicit EarlyStopping(std::uint32_t patience, float min_delta = 0) noexcept
        : patience_(patience), min_delta_(min_delta) {}
    constexpr Verdict observe(float validation_loss) noexcept {
        if (validation_loss < best_ - min_delta_) {
            best_ = validation_loss;
            waited_ = 0;
            return Verdict::improved;
        }
        if (waited_ < patience_) ++waited_;
        return waited_ == patience_ ? Verdict::stop : Verdict::waiting;
    }
    /// The lowest loss so far; infinite before the first.
    [[nodiscard]] constexpr float best() const noexcept { return best_; }

  private:
    std::uint32_t patience_, waited_ = 0;
    float min_delta_, best_ = std::numeric_limits<float>::infinity();
};

/// An inference program bound to an arena and to parameters, which may lie in constant memory.
class InferenceSession {
  public:
    InferenceSession() noexcept = default;

    /// `parameters`: what load_weights() made for this program, or the parameter region of a session of the same model if
    /// nothing was folded; buffer_alignment-aligned. buffer_too_small, model_mismatch (too large for a
    /// program that has folded something, so of another one),
    /// arena_too_small, misaligned: nothing is bound.
    [[nodiscard]] static Result<InferenceSession> bind(ProgramView program, std::span<const std::byte> parameters,
                                                       std::span<std::byte> arena) noexcept;

    /// The output for 1 <= rows <= batch samples: (rows, O) in the arena, valid until the next call.
    [[nodiscard]] std::span<const float> predict(std::span<const float> inputs) noexcept;

    [[nodiscard]] const ProgramView& program() const noexcept { return program_; }
    void observe(const Observer* observer) noexcept { observer_ = observer; }
    /// As TrainingSession::use().
    void use(const Workers* workers) noexcept { workers_ = workers; }

  private:
    ProgramView program_{};
    trainer_detail::Memory memory_{};
    const Observer* observer_ = nullptr;
    const Workers* workers_ = nullptr;
};

/// The index of the largest element, the first one if several are; 0 for an empty row and for a row of NaN.
[[nodiscard]] std::uint32_t argmax(std::span<const float> row) noexcept;

namespace trainer_detail {
/// Turns a failed compilation into a message that names the reason.
template <Status status>
constexpr bool explain() {
    static_assert(status != Status::shape_mismatch, "a layer cannot take the shape that comes to it");
    static_assert(status != Status::empty_model, "the model has no layers, or an input or a batch without elements");
    static_assert(status != Status::too_large, "a buffer or the arena passes 4 GiB");
    static_assert(status != Status::too_many_steps, "the program's tables are full");
    static_assert(status != Status::invalid_hyperparameter, "a hyperparameter is not finite or out of its range");
    static_assert(status != Status::invalid_loss, "the loss or the link does not go with the last layer");
    static_assert(status != Status::needs_stored_gradients, "clipping by the global norm needs stored gradients");
    static_assert(status != Status::nothing_to_train, "every layer is frozen or has no parameters");
    static_assert(status != Status::batch_of_one, "batch normalization cannot train on one value per feature: a larger batch, or LayerNorm");
    static_assert(status != Status::overlapping_buffers, "two live buffers overlap");
    return status == Status::ok;
}

template <const auto& model, const auto& recipe>
struct Compiled {
    static constexpr auto wide = compile(model, recipe);
    static_assert(explain<wide.status>());
    static constexpr auto program = shrink<wide.steps, wide.buffers, wide.parameter_arrays>(wide);
};

/// Bytes for a region of a program.
template <std::size_t Bytes>
class alignas(buffer_alignment) Block {
  public:
    [[nodiscard]] std::span<std::byte> bytes() noexcept { return bytes_; }

  private:
    std::byte bytes_[Bytes];
};
/// Sgd has no state.
template <>
class Block<0> {
  public:
    [[nodiscard]] std::span<std::byte> bytes() noexcept { return {}; }
};
}  // namespace trainer_detail

/// A model in training, arena included: put it in .bss and the linker map shows every byte. `model` and `recipe` are
/// constexpr objects with static storage. Not copyable; the calls are those of TrainingSession. Without an object of it, its
/// types Parameters, State and Workspace are the arena in three, each for a memory of its own.
template <const auto& model, const auto& recipe>
class Trainer {
  public:
    static constexpr const auto& program = trainer_detail::Compiled<model, recipe>::program;
    /// Bytes of parameters, optimizer state, gradients, activations and scratch.
    static constexpr std::size_t arena_bytes = program.arena_bytes;

    /// Of the three parts.
    static constexpr std::size_t parameter_bytes = program.parameter_bytes(), state_bytes = program.state_bytes(),
                                 workspace_bytes = program.workspace_bytes();
    struct Parameters : trainer_detail::Block<parameter_bytes> {};
    struct State : trainer_detail::Block<state_bytes> {};
    struct Workspace : trainer_detail::Block<workspace_bytes> {};

    /// A session in three objects, which may stand in three sections and must outlive it. It touches none of them: where
    /// a memory keeps them over a reset, they are what they were.
    [[nodiscard]] static TrainingSession bind(Parameters& parameters, State& state, Workspace& workspace) noexcept {
        return checked(TrainingSession::bind(program.view(), recipe, {parameters.bytes(), state.bytes(), workspace.bytes()}));
    }

    Trainer() noexcept : session_(program.view(), recipe, arena_) {}
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    void initialize(Seed seed) noexcept { session_.initialize(seed); }
    float step(std::span<const float> inputs, std::span<const Label> labels) noexcept {
        return session_.step(inputs, labels);
    }
    float step(std::span<const float> inputs, std::span<const float> targets) noexcept {
        return session_.step(inputs, targets);
    }
    [[nodiscard]] std::span<const float> predict(std::span<const float> inputs) noexcept {
        return session_.predict(inputs);
    }
    [[nodiscard]] Evaluation evaluate(std::span<const float> inputs, std::span<const Label> labels) noexcept {
        return session_.evaluate(inputs, labels);
    }
    /// Everything else that a session can do.
    [[nodiscard]] TrainingSession& session() noexcept { return session_; }

  private:
    static TrainingSession checked(const Result<TrainingSession>& bound) noexcept {
        FERRITE_ASSERT(bound.ok());
        return bound.value();
    }
    static_assert(program.status == Status::ok && program.training);
    alignas(buffer_alignment) std::byte arena_[arena_bytes];
    TrainingSession session_;
};

/// A model in use, arena included; the parameters stay where they are, for example in flash.
template <const auto& model, const auto& recipe>
class Predictor {
  public:
    static constexpr const auto& program = trainer_detail::Compiled<model, recipe>::program;
    static constexpr std::size_t arena_bytes = program.arena_bytes;
    /// Bytes of the parameter region.
    static constexpr std::size_t parameter_bytes = program.region_bytes[0];

    Predictor() noexcept = default;
    Predictor(const Predictor&) = delete;
    Predictor& operator=(const Predictor&) = delete;

    /// Uses `parameters` in place, as InferenceSession::bind() does. Before the first predict().
    Status use(std::span<const std::byte> parameters) noexcept {
        const auto bound = InferenceSession::bind(program.view(), parameters, arena_);
        if (bound.ok()) session_ = bound.value();
        return bound.status();
    }
    [[nodiscard]] std::span<const float> predict(std::span<const float> inputs) noexcept {
        return session_.predict(inputs);
    }
    [[nodiscard]] InferenceSession& session() noexcept { return session_; }

  private:
    alignas(buffer_alignment) std::byte arena_[arena_bytes];
    InferenceSession session_;
};

}  // namespace ferrite
