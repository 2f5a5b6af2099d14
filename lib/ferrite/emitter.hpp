// SPDX-License-Identifier: MIT
// What a layer writes when it is compiled: steps, buffers, parameters; and the Emitter that it writes them with.
// Includes kernels.hpp, initializer.hpp.
#pragma once

#include <ferrite/initializer.hpp>
#include <ferrite/kernels.hpp>
#include <ferrite/optimizer.hpp>

#include <array>
#include <span>

namespace ferrite {

/// The label of a sample: the index of its class.
using Label = std::uint16_t;

/// Where a buffer lives. The arena holds, in this order, parameters (unless they stay in constant memory), optimizer
/// state, stored gradients, the planned region, in which buffers share bytes when their lives do not overlap, and the best
/// parameters so far.
enum class Region : std::uint8_t { parameters, optimizer, gradients, planned, best, input, count };
[[nodiscard]] constexpr const char* name(Region region) noexcept {
    constexpr const char* names[] = {"parameters", "optimizer", "gradients", "planned", "best", "input"};
    return names[static_cast<std::size_t>(region)];
}

/// Those of the arena.
inline constexpr std::size_t region_count = 5;

/// Index of a buffer in the program's table.
using BufferId = std::uint16_t;
inline constexpr BufferId no_buffer = 0xFFFF;
inline constexpr std::uint16_t no_step = 0xFFFF;
inline constexpr std::uint16_t no_parameter = 0xFFFF;

/// The buffers of a step.
using Operands = std::array<BufferId, 12>;
/// Those given, then no_buffer.
template <class... Ids>
    requires(sizeof...(Ids) <= std::tuple_size_v<Operands>)
[[nodiscard]] constexpr Operands operands(Ids... ids) noexcept {
    Operands result{ids...};
    for (std::size_t i = sizeof...(Ids); i < result.size(); ++i) result[i] = no_buffer;
    return result;
}

struct Buffer {
    const char* name = "";
    Region region = Region::planned;
    std::uint16_t layer = 0;
    BufferId over = no_buffer;      ///< may take the bytes of this buffer, if that one dies where this one is born
    std::uint16_t first = no_step;  ///< the step that writes it first; no_step: nothing uses it
    std::uint16_t last = 0;         ///< the last step that uses it
    std::uint32_t bytes = 0;
    std::uint32_t offset = 0;  ///< bytes from the start of its region
};

/// A trainable or frozen array of a layer. Parameter tables keep the order of the layers: the order of files.
struct Parameter {
    const char* name = "";
    std::uint16_t layer = 0;
    BufferId value = no_buffer;
    BufferId gradient = no_buffer;  ///< set when a backward pass left one to apply
    BufferId state[2]{no_buffer, no_buffer};
    std::uint32_t elements = 0;
    std::uint32_t fan_in = 1;
    Initializer initializer{};
    Fill* fill = nullptr;  ///< of the initializer, set by the compiler; null: the array starts from zeros, or is not initialized
    bool trainable = true;
    bool decays = true;  ///< weight decay concerns it: weights yes, biases no
    /// gamma of a BatchNorm that an inference program has folded away: W of the Dense that took it in. This array, the two
    /// running ones and the bias of that Dense have no buffer then; the buffer of beta holds the new bias.
    std::uint16_t folded_into = no_parameter;
    float epsilon = 0;  ///< of that BatchNorm
};
using ParameterId = std::uint16_t;

/// Threads for the steps that may be shared, which are somebody else's: this library has none. run(context, count, task,
/// argument) calls task(argument, w) once for each w < count <= `count`, on any threads, and returns when all are done;
/// what was written before is seen by all of them, and what they wrote by the caller. A call of task waits for no other.
struct Workers {
    void* context = nullptr;
    std::size_t count = 1;
    void (*run)(void* context, std::size_t count, void (*task)(void* argument, std::size_t worker), void* argument) = nullptr;
};

/// What one training iteration brings to every step of a program.
struct Pass {
    std::uint32_t rows = 0;  ///< samples in this pass, 1 .. batch
    bool training = false;   ///< a backward pass follows
    std::uint64_t first_sample = 0;  ///< batch times the iterations before this one
    Seed seed{};                     ///< that of initialize()
    const Label* labels = nullptr;
    const float* targets = nullptr;
    UpdateConstants weights{};  ///< for parameters that decay
    UpdateConstants others{};   ///< for those that do not
    float clip_norm = 0;
    float squares = 0;  ///< of the gradients seen so far, while their norm is taken
    const Workers* workers = nullptr;  ///< null: the caller's thread alone
};

/// Things [first, first + count) of many.
struct Share {
    std::size_t first, count;
};

/// Of a recipe.
inline constexpr std::uint32_t max_threads = 255;

/// Floats of a cache line, of which no two workers should write parts.
inline constexpr std::size_t line_floats = buffer_alignment / sizeof(float);
/// Columns of a matrix in one run of a share: lines, or, where that would make shares too unequal, what a small vector holds.
[[nodiscard]] constexpr std::size_t column_run(std::size_t columns) noexcept { return columns < 16 * line_floats ? 4 : line_floats; }

struct Step;
/// A step with its operands resolved to addresses (null for no_buffer). A step with several workers gets a call for each, on
/// several threads at once, which does share `worker` of it; each must do what is its own and no order of any sum may
/// depend on the number of shares, so that the result does not.
struct Call {
    float* operand[12];
    const Step* step;
    Pass* pass;
    std::size_t worker = 0, workers = 1;  ///< worker < workers <= Step::workers

    /// This worker's share of `size` things, in runs of `run` but for the last one: it may be empty. Those of the first
    /// workers are the smaller ones.
    [[nodiscard]] Share share(std::size_t size, std::size_t run) const noexcept {
        const std::size_t runs = (size + run - 1) / run, least = runs / workers, smaller = workers - runs % workers;
        const std::size_t first = (least * worker + (worker > smaller ? worker - smaller : 0)) * run;
        const std::size_t end = first + (worker < smaller ? least : least + 1) * run;
        return {first, (end < size ? end : size) - first};
    }
    /// Operand i from an element of it on; null if there is none.
    [[nodiscard]] float* at(std::size_t i, std::size_t element) const noexcept {
        return operand[i] == nullptr ? nullptr : operand[i] + element;
    }
};
using Run = void(const Call&);

/// One kernel call of a program. Operand 0 is what the step writes; 1 is its main input; 2 is another input, the
/// auxiliary operand of `map` if it has one. The meaning of the others, of size and of constant is the business of `run`.
struct Step {
    const char* name = "";
    Run* run = nullptr;
    const Kernel<Map>* map = nullptr;     ///< the map of an element-wise step, or one fused into this step's output
    const Kernel<Map>* update = nullptr;  ///< the optimizer that runs inside this step
    std::uint16_t layer = 0;
    bool takes_map = false;  ///< a map over the output may be fused into this step
    bool takes_auxiliary = false;  ///< also one that reads operand 2
    bool decays = false;     ///< of an update step: which constants it takes
    std::uint8_t workers = 1;  ///< calls that `run` can share the step between: Emitter::workers()
    Operands operand = operands();
    std::uint8_t operands_end = 0;  ///< set by the compiler: from here on all operands are no_buffer
    std::uint32_t size[2]{};      ///< elements per sample
    std::uint32_t scratch = 0;    ///< floats that each worker needs for itself
    float constant[8]{};          ///< of `map`, or of the step
    std::uint64_t flops = 0;      ///< per sample: multiplications and additions of its matrix products
};

/// What a layer knows while it is compiled. Filled by the compiler but for y, dx, parameter and kept.
struct Node {
    Shape in{}, out{};        ///< per sample
    BufferId x = no_buffer;   ///< (B, in)
    BufferId y = no_buffer;   ///< (B, out): set by forward()
    BufferId dy = no_buffer;  ///< (B, out): the gradient of the loss by y
    BufferId dx = no_buffer;  ///< (B, in): set by backward() if wants_dx
    bool wants_dx = false;    ///< something below is trainable
    std::uint16_t layer = 0;
    Nonlinearity next = Nonlinearity::linear;  ///< the activation behind this layer
    ParameterId parameter[4]{};                ///< for the layer's own use, from forward() to backward()
    BufferId kept[4]{no_buffer, no_buffer, no_buffer, no_buffer};  ///< likewise
};

/// The memory that a program is written into.
struct Tables {
    std::span<Step> steps;
    std::span<Buffer> buffers;
    std::span<Parameter> parameters;
    std::span<Node> nodes;
};

/// Collects what the layers emit. The first failure sticks; after it nothing more is recorded.
class Emitter {
  public:
    constexpr Emitter(Tables tables, std::uint32_t batch, std::uint32_t threads, const Optimizer* optimizer, bool training,
                      bool stored) noexcept
        : tables_(tables), optimizer_(optimizer), batch_(batch), threads_(threads), training_(training), stored_(stored) {
        if (threads == 0 || threads > max_threads) fail(Status::invalid_hyperparameter);
    }

    /// Samples per pass: B.
    [[nodiscard]] constexpr std::uint32_t batch() const noexcept { return batch_; }
    /// For Step::workers: as many as the recipe has threads, but no more than `shares`, and each with work that is worth
    /// waking another thread for. `work`: of a whole pass, in additions and multiplications of a product that takes as long.
    [[nodiscard]] constexpr std::uint8_t workers(std::uint64_t work, std::uint64_t shares = max_threads) const noexcept {
        std::uint64_t count = work / least_work;
        if (count > shares) count = shares;
        if (count > threads_) count = threads_;
        return static_cast<std::uint8_t>(count == 0 ? 1 : count);
    }
    /// The same for a map over `elements` floats per sample.
    [[nodiscard]] constexpr std::uint8_t map_workers(std::uint32_t elements) const noexcept {
        return workers(std::uint64_t{8} * elements * batch_);
    }
    /// Whether a backward pass follows.
    [[nodiscard]] constexpr bool training() const noexcept { return training_; }
    [[nodiscard]] constexpr Status status() const noexcept { return status_; }
    constexpr void fail(Status status) noexcept {
        if (status_ == Status::ok) status_ = status;
    }

    /// A buffer of B x `elements` floats, live from the first step that names it to the last. `over`: it may take the
    /// bytes of that buffer if it has the same size and its last use is the step that writes the new one; the kernel
    /// must allow the two to be the same memory.
    constexpr BufferId activation(const char* name, std::uint16_t layer, std::uint32_t elements,
                                  BufferId over = no_buffer) noexcept {
        return add_buffer({.name = name, .region = Region::planned, .layer = layer, .over = over},
                          std::uint64_t{elements} * batch_);
    }
    /// `floats` floats that one step needs for itself.
    constexpr BufferId scratch(const char* name, std::uint16_t layer, std::size_t floats) noexcept {
        return add_buffer({.name = name, .region = Region::planned, .layer = layer}, floats);
    }
    /// A parameter array; in training a trainable one gets its optimizer state. invalid_hyperparameter: its initializer's
    /// value is not finite.
    constexpr ParameterId parameter(Parameter p) noexcept {
        if (!(p.initializer.value - p.initializer.value == 0.0f)) fail(Status::invalid_hyperparameter);
        if (status_ != Status::ok) return 0;
        if (parameter_count_ == tables_.parameters.size()) {
            fail(Status::too_many_steps);
            return 0;
        }
        if (training() && p.initializer.kind != Initializer::Kind::zero) p.fill = fill_of(p.initializer.kind);
        p.value = add_buffer({.name = p.name, .region = Region::parameters, .layer = p.layer}, p.elements);
        if (training() && p.trainable) {
            constexpr const char* state_name[] = {"state 0", "state 1"};
            for (std::uint32_t i = 0; i < optimizer_->state_slots; ++i)
                p.state[i] = add_buffer({.name = state_name[i], .region = Region::optimizer, .layer = p.layer}, p.elements);
            if (stored_)
                p.gradient = add_buffer({.name = "gradient", .region = Region::gradients, .layer = p.layer}, p.elements);
        }
        tables_.parameters[parameter_count_] = p;
        return static_cast<ParameterId>(parameter_count_++);
    }
    [[nodiscard]] constexpr Parameter parameter(ParameterId id) const noexcept {
        return id < parameter_count_ ? tables_.parameters[id] : Parameter{};
    }
    /// Adds a step at the end of the program.
    constexpr void step(const Step& s) noexcept {
        if (status_ != Status::ok) return;
        if (step_count_ == tables_.steps.size() || step_count_ == no_step) return fail(Status::too_many_steps);
        tables_.steps[step_count_++] = s;
    }

    /// Whether the optimizer runs inside the backward steps; if not, each trainable parameter has a gradient buffer.
    [[nodiscard]] constexpr bool immediate() const noexcept { return !stored_; }
    [[nodiscard]] constexpr const Optimizer* optimizer() const noexcept { return optimizer_; }
    /// The buffer for the gradient of a parameter: its stored one, or one that lives until apply().
    constexpr BufferId gradient(ParameterId id) noexcept {
        const Parameter p = parameter(id);
        return stored_ ? p.gradient : scratch("gradient", p.layer, p.elements);
    }
    /// Says that `gradient` is complete. The optimizer runs at once, or, with stored gradients, after the last layer.
    constexpr void apply(ParameterId id, BufferId gradient) noexcept {
        if (!stored_) update(parameter(id), gradient);
    }

    // For the compiler.
    constexpr void update(const Parameter& p, BufferId gradient) noexcept;
    constexpr BufferId input(std::uint32_t elements) noexcept {
        return add_buffer({.name = "input", .region = Region::input}, std::uint64_t{elements} * batch_);
    }
    constexpr BufferId best(std::uint64_t floats) noexcept {
        return add_buffer({.name = "best parameters", .region = Region::best}, floats);
    }
    [[nodiscard]] constexpr std::size_t step_count() const noexcept { return step_count_; }
    [[nodiscard]] constexpr std::size_t buffer_count() const noexcept { return buffer_count_; }
    [[nodiscard]] constexpr std::size_t parameter_count() const noexcept { return parameter_count_; }
    [[nodiscard]] constexpr const Tables& tables() const noexcept { return tables_; }

  private:
    constexpr BufferId add_buffer(Buffer buffer, std::uint64_t floats) noexcept {
        if (status_ != Status::ok) return 0;
        if (buffer_count_ == tables_.buffers.size() || buffer_count_ == no_buffer) {
            fail(Status::too_many_steps);
            return 0;
        }
        if (floats >= (std::uint64_t{1} << 30)) {
            fail(Status::too_large);
            return 0;
        }
        buffer.bytes = static_cast<std::uint32_t>(floats * sizeof(float));
        tables_.buffers[buffer_count_] = buffer;
        return static_cast<BufferId>(buffer_count_++);
    }

    static constexpr std::uint64_t least_work = 100'000;  // some 2 us; a round of two threads costs less than 1

    Tables tables_;
    const Optimizer* optimizer_;
    std::uint32_t batch_, threads_;
    bool training_;  ///< g++ 12 takes no comparison of optimizer_ with null for a constant
    bool stored_;
    Status status_ = Status::ok;
    std::size_t step_count_ = 0, buffer_count_ = 0, parameter_count_ = 0;
};

/// An element-wise step over `columns` floats per sample: operands out, in and, if the map wants one, auxiliary.
inline void run_map(const Call& call) {
    const Step& step = *call.step;
    const auto [first, columns] = call.share(std::size_t{step.size[0]} * call.pass->rows, line_floats);
    (*step.map)({.operand = {call.at(0, first), call.at(1, first), call.at(2, first), nullptr},
                 .stride = {columns, columns, columns, 0},
                 .rows = 1,
                 .columns = columns,
                 .constants = step.constant});
}

/// One whole parameter array and its gradient through the optimizer: operands 0 parameters, 1 gradient, 3 and 4 state.
inline void run_update(const Call& call) {
    const Step& step = *call.step;
    const UpdateConstants& constants = step.decays ? call.pass->weights : call.pass->others;
    const auto [first, columns] = call.share(step.size[0], line_floats);
    (*step.update)({.operand = {call.at(0, first), call.at(1, first), call.at(3, first), call.at(4, first)},
                    .stride = {columns, columns, columns, columns},
                    .rows = 1,
                    .columns = columns,
                    .constants = &constants.gradient_scale});
}

constexpr void Emitter::update(const Parameter& p, BufferId gradient) noexcept {
    step({.name = "update",
          .run = &run_update,
          .update = optimizer_->update,
          .layer = p.layer,
          .decays = p.decays,
          .workers = workers(std::uint64_t{16} * p.elements),
          .operand = operands(p.value, gradient, no_buffer, p.state[0], p.state[1]),
          .size = {p.elements, 0}});
}

}  // namespace ferrite
