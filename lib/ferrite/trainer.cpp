// SPDX-License-Identifier: MIT
// The executor and what the sessions do with it.
#include <ferrite/trainer.hpp>

namespace ferrite {

#if defined(__GNUC__)
[[gnu::weak]]
#endif
void assertion_failed(const char*) noexcept {
    __builtin_trap();
}

namespace {

using trainer_detail::Memory;

std::byte*& base(Memory& memory, Region region) noexcept { return memory.base[static_cast<std::size_t>(region)]; }

/// No step writes the input.
void set_input(Memory& memory, std::span<const float> inputs) noexcept {
    base(memory, Region::input) = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(inputs.data()));
}

float* address(const ProgramView& program, const Memory& memory, BufferId id) noexcept {
    if (id == no_buffer) return nullptr;
    const Buffer& buffer = program.buffers[id];
    return reinterpret_cast<float*>(memory.base[static_cast<std::size_t>(buffer.region)] + buffer.offset);
}

/// The step of `call`, by as many workers as it can use and as there are.
void run(Call& call) noexcept {
    const Workers* const workers = call.pass->workers;
    const std::size_t most = call.step->workers;
    call.workers = workers == nullptr || workers->count == 0 ? 1 : workers->count < most ? workers->count : most;
    if (call.workers == 1) return call.step->run(call);
    workers->run(
        workers->context, call.workers,
        [](void* argument, std::size_t worker) {
            Call mine = *static_cast<const Call*>(argument);
            mine.worker = worker;
            mine.step->run(mine);
        },
        &call);
}

void execute(const ProgramView& program, const Memory& memory, std::size_t first, std::size_t last, Pass& pass,
             const Observer* observer) noexcept {
    Call call{{}, nullptr, &pass};
    std::size_t filled = 0;
    for (std::size_t i = first; i < last; ++i) {
        const Step& step = program.steps[i];
        call.step = &step;
        std::size_t k = 0;
        for (; k < step.operands_end; ++k) call.operand[k] = address(program, memory, step.operand[k]);
        for (; k < filled; ++k) call.operand[k] = nullptr;
        filled = step.operands_end;
        if (observer && observer->before) observer->before(observer->context, i);
        run(call);
        if (observer && observer->after) observer->after(observer->context, i);
    }
}

std::uint32_t rows_of(const ProgramView& program, std::span<const float> inputs) noexcept {
    const std::size_t width = program.totals->input.elements();
    FERRITE_ASSERT(inputs.size() % width == 0);
    const std::size_t rows = inputs.size() / width;
    FERRITE_ASSERT(rows >= 1 && rows <= program.totals->batch);
    return static_cast<std::uint32_t>(rows < program.totals->batch ? rows : program.totals->batch);
}

bool trains(const ProgramView& program) noexcept {
    return program.totals != nullptr && program.totals->status == Status::ok && program.totals->training;
}

bool aligned(const std::byte* p) noexcept { return reinterpret_cast<std::uintptr_t>(p) % buffer_alignment == 0; }

void clear(std::byte* first, std::size_t bytes) noexcept {
    if (bytes != 0) std::memset(first, 0, bytes);
}

}  // namespace

std::uint32_t argmax(std::span<const float> row) noexcept {
    std::uint32_t best = 0;
    for (std::uint32_t i = 1; i < row.size(); ++i)
        if (row[i] > row[best]) best = i;
    return best;
}

Result<TrainingSession> TrainingSession::bind(ProgramView program, const Training& recipe,
                                              std::span<std::byte> arena) noexcept {
    if (!trains(program)) return Status::empty_model;
    if (arena.size() < program.totals->arena_bytes) return Status::arena_too_small;
    if (!aligned(arena.data())) return Status::misaligned;
    return TrainingSession(program, recipe, arena.data());
}

Result<TrainingSession> TrainingSession::bind(ProgramView program, const Training& recipe, const SplitArena& arena) noexcept {
    if (!trains(program)) return Status::empty_model;
    const auto& [parameters, state, workspace] = arena;
    const Totals& totals = *program.totals;
    if (parameters.size() < totals.parameter_bytes() || state.size() < totals.state_bytes()) return Status::buffer_too_small;
    if (workspace.size() < totals.workspace_bytes()) return Status::arena_too_small;
    if (!aligned(parameters.data()) || !aligned(state.data()) || !aligned(workspace.data())) return Status::misaligned;
    TrainingSession session(program, recipe);
    const auto place = [&](std::span<std::byte> block, Region first, Region second) {
        base(session.memory_, first) = block.data();
        base(session.memory_, second) = block.data() + totals.behind(first);
    };
    base(session.memory_, Region::parameters) = parameters.data();
    place(state, Region::optimizer, Region::best);
    place(workspace, Region::gradients, Region::planned);
    return session;
}

void TrainingSession::initialize(Seed seed) noexcept {
    const Totals& totals = *program_.totals;
    for (std::size_t region = 0; region < 3; ++region) clear(memory_.base[region], totals.region_bytes[region]);
    for (std::size_t i = 0; i < parameter_count(); ++i) {
        const Parameter& p = program_.parameters[i];
        if (p.fill) p.fill(parameter(i), p.initializer, p.fan_in, Random(seed, i));
    }
    seed_ = seed;
    iteration_ = 0;
    keep_best();
}

void TrainingSession::keep_best() noexcept {
    const std::span<const std::byte> now = parameters();
    if (const std::span<float> best = floats(program_.totals->best_buffer); !best.empty())
        std::memcpy(best.data(), now.data(), now.size());
}

bool TrainingSession::restore_best() noexcept {
    const Totals& totals = *program_.totals;
    const std::span<float> best = floats(totals.best_buffer);
    if (best.empty()) return false;
    std::memcpy(memory_.base[0], best.data(), totals.region_bytes[0]);
    constexpr auto optimizer = static_cast<std::size_t>(Region::optimizer);
    clear(memory_.base[optimizer], totals.region_bytes[optimizer]);
    return true;
}

float TrainingSession::train(Pass& pass, std::span<const float> inputs) noexcept {
    const Optimizer& optimizer = recipe_->optimizer;
    const float rate = learning_rate_ * recipe_->schedule.factor(iteration_);
    pass.training = true;
    pass.seed = seed_;
    pass.first_sample = std::uint64_t{iteration_} * program_.totals->batch;
    if (iteration_ != 0xFFFFFFFF) ++iteration_;  // t = 0 would divide by zero
    optimizer.prepare(optimizer, rate, iteration_, pass.others);
    if (recipe_->clip_value > 0) pass.others.clip = recipe_->clip_value;
    pass.weights = pass.others;
    pass.weights.weight_decay = optimizer.decoupled_weight_decay ? rate * weight_decay_ : weight_decay_;
    pass.clip_norm = recipe_->clip_norm;
    const Totals& totals = *program_.totals;
    const std::size_t end = totals.link_step == no_step ? program_.steps.size() : totals.link_step;
    set_input(memory_, inputs);
    execute(program_, memory_, 0, end, pass, observer_);
    const float loss = floats(totals.loss_buffer)[0];
    if (!(loss - loss == 0.0f)) restore_best();
    return loss;
}

float TrainingSession::step(std::span<const float> inputs, std::span<const Label> labels) noexcept {
    Pass pass{.rows = rows_of(program_, inputs), .labels = labels.data(), .workers = workers_};
    FERRITE_ASSERT(recipe_->loss.labels && labels.size() >= pass.rows);
    return train(pass, inputs);
}

float TrainingSession::step(std::span<const float> inputs, std::span<const float> targets) noexcept {
    Pass pass{.rows = rows_of(program_, inputs), .targets = targets.data(), .workers = workers_};
    FERRITE_ASSERT(!recipe_->loss.labels);
    FERRITE_ASSERT(targets.size() >= std::size_t{pass.rows} * program_.totals->output.elements());
    return train(pass, inputs);
}

std::span<const float> TrainingSession::predict(std::span<const float> inputs) noexcept {
    const Totals& totals = *program_.totals;
    Pass pass{.rows = rows_of(program_, inputs), .workers = workers_};
    set_input(memory_, inputs);
    execute(program_, memory_, 0, totals.forward_steps, pass, observer_);
    if (totals.link_step != no_step)
        execute(program_, memory_, totals.link_step, std::size_t{totals.link_step} + 1, pass, observer_);
    return {address(program_, memory_, totals.output_buffer), std::size_t{pass.rows} * totals.output.elements()};
}

Evaluation TrainingSession::evaluate(std::span<const float> inputs, std::span<const Label> labels) noexcept {
    const Totals& totals = *program_.totals;
    Pass pass{.rows = rows_of(program_, inputs), .labels = labels.data(), .workers = workers_};
    FERRITE_ASSERT(recipe_->loss.labels && labels.size() >= pass.rows);
    set_input(memory_, inputs);
    execute(program_, memory_, 0, totals.forward_steps, pass, observer_);
    const std::size_t outputs = totals.output.elements();
    const float* z = address(program_, memory_, totals.output_buffer);
    Evaluation result;
    for (std::size_t r = 0; r < pass.rows; ++r)
        if (argmax({z + r * outputs, outputs}) == labels[r]) ++result.correct;
    execute(program_, memory_, totals.forward_steps, std::size_t{totals.forward_steps} + 1, pass, observer_);
    result.loss = floats(totals.loss_buffer)[0];
    return result;
}

std::span<float> TrainingSession::floats(BufferId id) const noexcept {
    if (id == no_buffer) return {};
    return {address(program_, memory_, id), program_.buffers[id].bytes / sizeof(float)};
}
std::span<float> TrainingSession::parameter(std::size_t i) const noexcept {
    return floats(program_.parameters[i].value);
}
std::span<float> TrainingSession::gradient(std::size_t i) const noexcept {
    return floats(program_.parameters[i].gradient);
}
std::span<float> TrainingSession::state(std::size_t i, std::size_t slot) const noexcept {
    FERRITE_ASSERT(slot < 2);
    return floats(program_.parameters[i].state[slot]);
}
std::span<const std::byte> TrainingSession::parameters() const noexcept {
    return {memory_.base[0], program_.totals->region_bytes[0]};
}

float TrainingSession::penalty() const noexcept {
    float sum = 0;
    for (std::size_t i = 0; i < parameter_count(); ++i) {
        if (!program_.parameters[i].decays) continue;
        float squares = 0;
        kernels::sum_of_squares({.x = parameter(i).data(), .size = parameter(i).size(), .result = &squares});
        sum += squares;
    }
    return 0.5f * weight_decay_ * sum;
}

Result<InferenceSession> InferenceSession::bind(ProgramView program, std::span<const std::byte> parameters,
                                                std::span<std::byte> arena) noexcept {
    if (program.totals == nullptr || program.totals->status != Status::ok || program.totals->training)
        return Status::empty_model;
    if (parameters.size() < program.totals->region_bytes[0]) return Status::buffer_too_small;
    for (const Parameter& p : program.parameters)
        if (p.folded_into != no_parameter && parameters.size() != program.totals->region_bytes[0])
            return Status::model_mismatch;
    if (arena.size() < program.totals->arena_bytes) return Status::arena_too_small;
    if (!aligned(arena.data()) || !aligned(parameters.data())) return Status::misaligned;
    InferenceSession session;
    session.program_ = program;
    // The steps of inference only read parameters.
    base(session.memory_, Region::parameters) = const_cast<std::byte*>(parameters.data());
    base(session.memory_, Region::planned) = arena.data();
    return session;
}

std::span<const float> InferenceSession::predict(std::span<const float> inputs) noexcept {
    const Totals& totals = *program_.totals;
    Pass pass{.rows = rows_of(program_, inputs), .workers = workers_};
    set_input(memory_, inputs);
    execute(program_, memory_, 0, program_.steps.size(), pass, observer_);
    return {address(program_, memory_, totals.output_buffer), std::size_t{pass.rows} * totals.output.elements()};
}

}  // namespace ferrite
