// SPDX-License-Identifier: MIT
// The compiler: a model and a recipe become a Program, a flat list of steps with every byte placed. Four passes, all
// constexpr and all usable at run time: emit, fuse, place, check. Includes model.hpp, loss.hpp.
#pragma once

#include <ferrite/loss.hpp>
#include <ferrite/model.hpp>

#include <array>
#include <new>

namespace ferrite {

/// When the optimizer runs.
enum class Update : std::uint8_t {
    automatic,  ///< immediate where the recipe permits, stored otherwise
    immediate,  ///< inside the backward steps: no gradient array exists
    stored,     ///< after the backward pass, from gradient arrays; the same bits
};

/// How a model is trained.
struct Training {
    Loss loss = SoftmaxCrossEntropy{};
    Optimizer optimizer = Sgd{};
    std::uint32_t batch = 1;       ///< samples per step at most
    float weight_decay = 0;        ///< lambda >= 0: gradient + lambda W, for weights, not for biases (AdamW: decoupled)
    float clip_value = 0;          ///< > 0: every gradient element is clipped to +-clip_value
    float clip_norm = 0;           ///< > 0: gradients are scaled by min(1, clip_norm / their global norm), by 0 if its
                                   ///< square is infinite
    Schedule schedule{};
    Update update = Update::automatic;
    bool keep_best = false;        ///< the arena also holds a copy of the best parameters: TrainingSession::keep_best()
    std::uint32_t threads = 1;     ///< 1..max_threads, for steps long enough to be shared; each has scratch of its own in the arena.
                                   ///< The threads come with TrainingSession::use(); with fewer or none the bits are the same
};

/// How a trained model is used. Its parameters are not part of the arena: they may stay in constant memory.
struct Inference {
    std::uint32_t batch = 1;  ///< samples per call at most
    Link link = Link::none;   ///< what is done to the last layer's output
    bool fold = true;         ///< a BatchNorm behind a Dense becomes part of its W and b, by load_weights(); false: the
                              ///< parameter region is that of training, usable in place
    std::uint32_t threads = 1;  ///< as in Training; InferenceSession::use()
};

/// Everything about a program but its tables.
struct Totals {
    Status status = Status::empty_model;
    Shape input{}, output{};  ///< per sample
    std::uint32_t batch = 0;
    bool training = false;
    std::uint16_t steps = 0, buffers = 0, parameter_arrays = 0;
    std::uint16_t forward_steps = 0;  ///< steps [0, forward_steps) compute the output
    std::uint16_t link_step = no_step;  ///< training: the step that makes probabilities of the output, for predict
    BufferId input_buffer = no_buffer, output_buffer = no_buffer, loss_buffer = no_buffer,
             best_buffer = no_buffer;
    std::uint32_t parameters = 0;      ///< floats
    std::uint32_t region_bytes[region_count]{};   ///< by Region, padding between the buffers included
    std::uint32_t region_offset[region_count]{};  ///< bytes from the start of the arena; parameters of inference are outside it
    std::uint32_t arena_bytes = 0;

    /// Bytes of the arena in three blocks: see SplitArena. State and workspace hold two regions each.
    [[nodiscard]] constexpr std::uint32_t parameter_bytes() const noexcept { return bytes(Region::parameters); }
    [[nodiscard]] constexpr std::uint32_t state_bytes() const noexcept { return bytes(Region::optimizer, Region::best); }
    [[nodiscard]] constexpr std::uint32_t workspace_bytes() const noexcept {
        return bytes(Region::gradients, Region::planned);
    }
    /// Bytes from the start of a block to the region behind `first`.
    [[nodiscard]] constexpr std::uint32_t behind(Region first) const noexcept {
        return (bytes(first) + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
    }

  private:
    [[nodiscard]] constexpr std::uint32_t bytes(Region region) const noexcept {
        return region_bytes[static_cast<std::size_t>(region)];
    }
    [[nodiscard]] constexpr std::uint32_t bytes(Region first, Region second) const noexcept {
        return bytes(second) == 0 ? bytes(first) : behind(first) + bytes(second);
    }
};

/// A program wherever its tables are.
struct ProgramView {
    const Totals* totals = nullptr;
    std::span<const Step> steps;
    std::span<const Buffer> buffers;
    std::span<const Parameter> parameters;

    /// Bytes from the start of the arena, or of the parameter memory of inference.
    [[nodiscard]] constexpr std::uint32_t offset(const Buffer& buffer) const noexcept {
        return totals->region_offset[static_cast<std::size_t>(buffer.region)] + buffer.offset;
    }
};

/// A program that owns its tables: what compile() returns for a constexpr model.
template <std::size_t Steps, std::size_t Buffers, std::size_t Parameters>
struct Program : Totals {
    // No `{}` here and for arrays like these elsewhere: g++ 12 keeps one initializer for all evaluations of it and writes
    // into it during some, so that a program would begin with remains of another one. The members have their own.
    std::array<Step, Steps> step_table;
    std::array<Buffer, Buffers> buffer_table;
    std::array<Parameter, Parameters> parameter_table;

    /// Valid as long as this object.
    [[nodiscard]] constexpr ProgramView view() const noexcept {
        return {this, {step_table.data(), steps}, {buffer_table.data(), buffers},
                {parameter_table.data(), parameter_arrays}};
    }
};

/// Upper bounds on the tables of a model with `layers` layers.
[[nodiscard]] constexpr std::size_t max_steps(std::size_t layers) noexcept { return 6 * layers + 4; }
[[nodiscard]] constexpr std::size_t max_buffers(std::size_t layers) noexcept { return 13 * layers + 4; }
[[nodiscard]] constexpr std::size_t max_parameters(std::size_t layers) noexcept { return 4 * layers; }

namespace compiler {

constexpr bool finite_from(float x, float low) noexcept {
    return x >= low && x <= std::numeric_limits<float>::max();
}

constexpr Status validate(const Training& recipe) noexcept {
    const bool ok = recipe.loss.valid && recipe.loss.run && recipe.optimizer.valid && recipe.optimizer.update &&
                    recipe.optimizer.prepare && recipe.optimizer.state_slots <= 2 && recipe.schedule.valid() &&
                    finite_from(recipe.optimizer.learning_rate, 0) && finite_from(recipe.weight_decay, 0) &&
                    finite_from(recipe.clip_value, 0) && finite_from(recipe.clip_norm, 0);
    if (!ok) return Status::invalid_hyperparameter;
    if (recipe.update == Update::immediate && recipe.clip_norm > 0) return Status::needs_stored_gradients;
    return Status::ok;
}

inline void run_sigmoid_link(const Call& call) {
    const auto [first, columns] = call.share(std::size_t{call.step->size[0]} * call.pass->rows, line_floats);
    kernels::sigmoid({.operand = {call.at(0, first), call.at(1, first), nullptr, nullptr},
                      .stride = {columns, columns, 0, 0},
                      .rows = 1,
                      .columns = columns,
                      .constants = nullptr});
}

/// Sums up the squares of one gradient; the last one sets the scale of all.
inline void run_clip_norm(const Call& call) {
    Pass& pass = *call.pass;
    float squares = 0;
    kernels::sum_of_squares({.x = call.operand[1], .size = call.step->size[0], .result = &squares});
    const bool first = call.step->constant[0] != 0.0f, last = call.step->constant[1] != 0.0f;
    pass.squares = first ? squares : pass.squares + squares;
    if (!last) return;
    const float norm = __builtin_sqrtf(pass.squares);
    const float scale = norm > pass.clip_norm ? pass.clip_norm / norm : 1.0f;
    pass.weights.gradient_scale = scale;
    pass.others.gradient_scale = scale;
}

/// The step that makes probabilities y of z; they may be the same buffer.
constexpr void emit_link(Emitter& e, Link link, BufferId z, BufferId y, std::uint16_t layer,
                         std::uint32_t outputs) noexcept {
    if (link == Link::none) return;
    const bool softmax = link == Link::softmax;
    const std::uint8_t workers = softmax ? activation_detail::softmax_workers(e, outputs) : e.map_workers(outputs);
    Step s{.name = softmax ? "softmax" : "sigmoid",
           .run = softmax ? activation_detail::softmax_for(workers) : &run_sigmoid_link,
           .layer = layer,
           .workers = workers,
           .size = {outputs, 0}};
    s.operand[0] = y;
    s.operand[1] = z;
    e.step(s);
}

/// Whether the link would make probabilities of what the model's last layer has made into some already.
template <class M>
constexpr bool twice(Link link, const M& model) noexcept {
    Nonlinearity last = Nonlinearity::transparent;
    model.for_each_reverse([&](const auto& layer) {
        if (last == Nonlinearity::transparent) last = nonlinearity_of(layer);
    });
    return (link == Link::softmax && last == Nonlinearity::distribution) ||
           (link == Link::sigmoid && last == Nonlinearity::logistic);
}

/// Pass 1, forward half: shapes, nodes, forward steps.
template <class M>
constexpr void emit_forward(Emitter& e, const M& model, Totals& totals, std::span<Node> nodes) noexcept {
    if (model.size() == 0 || model.input.elements() == 0 || e.batch() == 0) return e.fail(Status::empty_model);
    std::size_t i = model.size();
    Nonlinearity behind = Nonlinearity::linear;
    model.for_each_reverse([&](const auto& layer) {
        nodes[--i].next = behind;
        if (nonlinearity_of(layer) != Nonlinearity::transparent) behind = nonlinearity_of(layer);
    });
    Shape shape = model.input;
    BufferId x = e.input(shape.elements());
    totals.input_buffer = x;
    model.for_each([&](const auto& layer) {
        Node& n = nodes[i];
        n.layer = static_cast<std::uint16_t>(i++);
        n.in = shape;
        n.out = layer.output(shape);
        n.x = x;
        if (n.out.elements() == 0) e.fail(Status::shape_mismatch);
        const std::size_t before = e.parameter_count();
        if (e.status() == Status::ok) layer.forward(e, n);
        for (std::size_t k = before; k < e.parameter_count(); ++k) {
            const Parameter parameter = e.parameter(static_cast<ParameterId>(k));
            totals.parameters += parameter.elements;
            // wants_dx of the first node above a trainable one: noted here, spread below.
            if (parameter.trainable && i < model.size()) nodes[i].wants_dx = true;
        }
        if (i < model.size() && n.wants_dx) nodes[i].wants_dx = true;
        shape = n.out;
        x = n.y;
    });
    totals.input = model.input;
    totals.output = shape;
    totals.output_buffer = x;
    totals.forward_steps = static_cast<std::uint16_t>(e.step_count());
}

/// How many operands the executor has to resolve.
constexpr void count_operands(std::span<Step> steps) noexcept {
    for (Step& step : steps) {
        std::size_t end = step.operand.size();
        while (end > 0 && step.operand[end - 1] == no_buffer) --end;
        step.operands_end = static_cast<std::uint8_t>(end);
    }
}

/// The first and last step of every buffer.
constexpr void find_lives(std::span<const Step> steps, std::span<Buffer> buffers, std::size_t link_step) noexcept {
    for (Buffer& b : buffers) b.first = no_step, b.last = 0;
    for (std::size_t s = 0; s < steps.size(); ++s) {
        if (s == link_step) continue;  // runs instead of what follows the forward steps, in place
        for (BufferId id : steps[s].operand) {
            if (id == no_buffer) continue;
            Buffer& b = buffers[id];
            if (b.first == no_step) b.first = static_cast<std::uint16_t>(s);
            b.last = static_cast<std::uint16_t>(s);
        }
    }
}

/// Takes a BatchNorm step that reads what the Dense step before it wrote into that step's parameters.
constexpr void fold(Step& dense, const Step& norm, std::span<Buffer> buffers, std::span<Parameter> parameters) noexcept {
    const auto drop = [&](Parameter& p) {
        buffers[p.value].bytes = 0;
        p.value = no_buffer;
    };
    std::uint16_t weights = no_parameter;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        Parameter& p = parameters[i];
        if (p.value == no_buffer) continue;
        if (p.value == dense.operand[3]) weights = static_cast<std::uint16_t>(i);
        const bool gamma = p.value == norm.operand[3];
        if (gamma) {
            p.folded_into = weights;
            p.epsilon = norm.constant[0];
        }
        if (gamma || p.value == dense.operand[4] || p.value == norm.operand[5] || p.value == norm.operand[7]) drop(p);
    }
    dense.operand[4] = norm.operand[4];
    dense.operand[0] = norm.operand[0];
}

/// Pass 2: with `folding`, a BatchNorm behind a Dense becomes part of its parameters; an element-wise step that is the only reader of what the step before it wrote becomes that step's map.
/// Returns the new number of steps; buffers' lives are those before the pass, and void after it.
constexpr std::size_t fuse(std::span<Step> steps, std::span<Buffer> buffers, std::span<Parameter> parameters, bool folding,
                           Totals& totals) noexcept {
    std::size_t kept = 0;
    std::uint16_t forward = totals.forward_steps;
    for (std::size_t s = 0; s < steps.size(); ++s) {
        Step merged = steps[s];
        if (folding && s + 1 < steps.size() && dense_detail::is_forward(merged.run)) {
            const Step& next = steps[s + 1];
            const BufferId between = merged.operand[0];
            if (next.run == &normalization_detail::batch_norm_inference && next.operand[1] == between &&
                buffers[between].last == s + 1 && between != totals.output_buffer && next.size[1] == merged.size[1]) {
                buffers[next.operand[0]].over = no_buffer;
                fold(merged, next, buffers, parameters);
                if (s + 1 < totals.forward_steps) --forward;
                ++s;
            }
        }
        if (s + 1 < steps.size() && merged.takes_map && merged.map == nullptr) {
            const Step& next = steps[s + 1];
            const BufferId between = merged.operand[0];
            if (next.run == &run_map && next.operand[1] == between && next.operand[2] != between &&
                buffers[between].last == s + 1 && between != totals.output_buffer &&
                (merged.takes_auxiliary || next.operand[2] == no_buffer)) {
                merged.operand[0] = next.operand[0];
                merged.operand[2] = next.operand[2];
                merged.map = next.map;
                for (int i = 0; i < 8; ++i) merged.constant[i] = next.constant[i];
                buffers[next.operand[0]].over = buffers[between].over;
                if (s + 1 < totals.forward_steps) --forward;
                ++s;
            }
        }
        steps[kept++] = merged;
    }
    totals.forward_steps = forward;
    return kept;
}

constexpr std::uint32_t align_up(std::uint32_t bytes) noexcept {
    return (bytes + (buffer_alignment - 1)) & ~(buffer_alignment - 1);
}

/// Pass 3: offsets. The planned region is packed greedily, the largest buffer first, each at the lowest offset that
/// is free during its life. Not guaranteed to be the smallest arena there is, but exact: what it says is what runs.
/// A buffer that may lie over another one that dies in the same step shares its bytes.
constexpr Status place(std::span<Buffer> buffers, std::span<BufferId> order, Totals& totals) noexcept {
    std::uint64_t end[region_count]{};
    std::size_t count = 0;
    for (std::size_t id = 0; id < buffers.size(); ++id) {
        Buffer& b = buffers[id];
        if (b.region == Region::input) continue;
        if (b.region != Region::planned) {
            if (b.bytes == 0) continue;  // folded away
            std::uint64_t& region_end = end[static_cast<std::size_t>(b.region)];
            region_end = (region_end + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
            b.offset = static_cast<std::uint32_t>(region_end);
            region_end += b.bytes;
            if (region_end > 0xFFFFFFC0u) return Status::too_large;
            b.over = no_buffer;
            continue;
        }
        if (b.first == no_step) {
            b.over = no_buffer;
            b.bytes = 0;  // fused away
            continue;
        }
        // `over` becomes the buffer whose bytes are taken, or none. Buffers are made before what lies over them.
        BufferId root = b.over;
        while (root != no_buffer && buffers[root].region == Region::planned && buffers[root].over != no_buffer)
            root = buffers[root].over;
        if (root != no_buffer && buffers[root].region == Region::planned && order[root] == b.first &&
            buffers[root].bytes >= b.bytes && buffers[root].first != no_step) {
            b.over = root;
            order[root] = b.last;
            order[id] = b.last;
        } else {
            b.over = no_buffer;
            order[id] = b.last;
        }
    }
    // order[] was the last step of every shared block; from here on it lists the placed blocks by offset.
    for (std::size_t id = 0; id < buffers.size(); ++id)
        if (buffers[id].region == Region::planned && buffers[id].over == no_buffer && buffers[id].first != no_step)
            buffers[id].last = order[id];

    std::uint32_t planned_end = 0;
    const Buffer* const table = buffers.data();
    const std::size_t size = buffers.size();
    while (true) {
        std::size_t largest = size;
        std::uint32_t largest_bytes = 0;
        for (std::size_t id = 0; id < size; ++id) {
            const Buffer& b = table[id];
            if (b.bytes <= largest_bytes || b.region != Region::planned || b.offset != 0 || b.over != no_buffer) continue;
            largest = id;
            largest_bytes = b.bytes;
        }
        if (largest == size) break;
        Buffer& b = buffers[largest];
        std::uint64_t offset = 0;
        std::size_t position = count;
        for (std::size_t i = 0; i < count; ++i) {
            const Buffer& other = buffers[order[i]];
            const std::uint32_t start = other.offset - 1;
            if (other.first > b.last || other.last < b.first) continue;
            if (start >= offset + b.bytes) break;
            const std::uint64_t behind = align_up(start + other.bytes);
            if (behind > offset) offset = behind;
        }
        if (offset + b.bytes > 0xFFFFFFC0u) return Status::too_large;
        b.offset = static_cast<std::uint32_t>(offset) + 1;  // 0 means not placed, for as long as this loop runs
        if (offset + b.bytes > planned_end) planned_end = static_cast<std::uint32_t>(offset + b.bytes);
        while (position > 0 && buffers[order[position - 1]].offset > b.offset) {
            order[position] = order[position - 1];
            --position;
        }
        order[position] = static_cast<BufferId>(largest);
        ++count;
    }
    end[static_cast<std::size_t>(Region::planned)] = planned_end;
    for (std::size_t i = 0; i < count; ++i) --buffers[order[i]].offset;
    for (Buffer& b : buffers)
        if (b.over != no_buffer) b.offset = buffers[b.over].offset;

    std::uint64_t arena = 0;
    for (std::size_t r = 0; r < region_count; ++r) {
        totals.region_bytes[r] = static_cast<std::uint32_t>(end[r]);
        if (r == 0 && !totals.training) continue;
        if (end[r] == 0) continue;
        arena = (arena + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
        totals.region_offset[r] = static_cast<std::uint32_t>(arena);
        arena += end[r];
        if (arena > 0xFFFFFFC0u) return Status::too_large;
    }
    totals.arena_bytes = static_cast<std::uint32_t>(arena);
    return Status::ok;
}

/// Pass 4: no two buffers that live at the same time and do not share a block overlap; the regions that are alive all
/// the time are in order. `order` is scratch. Plain pointers and few calls: clang counts evaluation steps.
constexpr Status check(std::span<const Buffer> buffers, std::span<BufferId> order) noexcept {
    const Buffer* const table = buffers.data();
    BufferId* const planned = order.data();
    std::size_t count = 0;
    std::uint64_t end[region_count]{};
    for (std::size_t id = 0; id < buffers.size(); ++id) {
        const Buffer& b = table[id];
        if (b.region == Region::input) continue;
        if (b.bytes == 0) continue;
        if (b.region == Region::planned) {
            if (b.over == no_buffer) planned[count++] = static_cast<BufferId>(id);
            continue;
        }
        std::uint64_t& region_end = end[static_cast<std::size_t>(b.region)];
        if (b.offset < region_end) return Status::overlapping_buffers;
        region_end = std::uint64_t{b.offset} + b.bytes;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const Buffer& a = table[planned[i]];
        const std::uint32_t a_end = a.offset + a.bytes;
        for (std::size_t j = i + 1; j < count; ++j) {
            const Buffer& b = table[planned[j]];
            if (b.offset < a_end && a.offset < b.offset + b.bytes && a.first <= b.last && b.first <= a.last)
                return Status::overlapping_buffers;
        }
    }
    return Status::ok;
}

/// Fuse, place and check what was emitted.
constexpr Totals finish(Emitter& e, Totals totals, std::span<BufferId> order, bool folding) noexcept {
    if (e.status() == Status::ok) {
        const std::span<Step> steps = e.tables().steps.first(e.step_count());
        const std::span<Buffer> buffers = e.tables().buffers.first(e.buffer_count());
        const bool link = totals.link_step != no_step;
        find_lives(steps, buffers, totals.link_step);
        const std::size_t count = fuse(steps, buffers, e.tables().parameters.first(e.parameter_count()), folding, totals);
        if (link) totals.link_step = static_cast<std::uint16_t>(count - 1);
        count_operands(steps.first(count));
        find_lives(steps.first(count), buffers, totals.link_step);
        // Read by the caller after the last step.
        if (totals.training) buffers[totals.loss_buffer].last = static_cast<std::uint16_t>(count - 1);
        totals.steps = static_cast<std::uint16_t>(count);
        totals.buffers = static_cast<std::uint16_t>(e.buffer_count());
        totals.parameter_arrays = static_cast<std::uint16_t>(e.parameter_count());
        totals.batch = e.batch();
        if (Status s = place(buffers, order, totals); s != Status::ok) e.fail(s);
        if (e.status() == Status::ok) {
            if (Status s = check(buffers, order); s != Status::ok) e.fail(s);
        }
    }
    totals.status = e.status();
    return totals;
}

/// Working memory of the compiler beside the tables: one BufferId per buffer.
template <class M>
constexpr Totals compile_into(Tables tables, std::span<BufferId> order, const M& model, const Training& recipe) noexcept {
    Totals totals{.training = true};
    const bool stored = recipe.update == Update::stored || recipe.clip_norm > 0;
    Emitter e(tables, recipe.batch, recipe.threads, &recipe.optimizer, true, stored);
    if (Status s = validate(recipe); s != Status::ok) e.fail(s);
    emit_forward(e, model, totals, tables.nodes);
    if (e.status() != Status::ok) {
        totals.status = e.status();
        return totals;
    }
    if (recipe.keep_best) {
        // As long as the parameter region: padding between the arrays, none behind them.
        std::uint64_t bytes = 0;
        for (std::size_t p = 0; p < e.parameter_count(); ++p)
            bytes = (bytes + buffer_alignment - 1) / buffer_alignment * buffer_alignment +
                    std::uint64_t{e.parameter(static_cast<ParameterId>(p)).elements} * sizeof(float);
        totals.best_buffer = e.best(bytes / sizeof(float));
    }
    const std::uint32_t outputs = totals.output.elements();
    const auto last = static_cast<std::uint16_t>(model.size() - 1);
    if (twice(recipe.loss.link, model)) e.fail(Status::invalid_loss);
    if (recipe.loss.labels && outputs > 65536) e.fail(Status::invalid_loss);

    const BufferId dz = e.activation("loss gradient", last, outputs, totals.output_buffer);
    totals.loss_buffer = e.scratch("loss", last, 1);
    Step loss{.name = recipe.loss.name, .run = recipe.loss.run, .layer = last, .size = {outputs, 0}};
    loss.operand[0] = dz;
    loss.operand[1] = totals.output_buffer;
    loss.operand[3] = totals.loss_buffer;
    loss.constant[0] = recipe.loss.constant;
    e.step(loss);

    BufferId dy = dz;
    std::size_t i = model.size();
    bool below = false, any = false;
    for (std::size_t p = 0; p < e.parameter_count(); ++p)
        any = any || e.parameter(static_cast<ParameterId>(p)).trainable;
    if (!any) e.fail(Status::nothing_to_train);
    model.for_each_reverse([&](const auto& layer) {
        Node& n = tables.nodes[--i];
        if (below || e.status() != Status::ok) return;
        n.dy = dy;
        layer.backward(e, n);
        dy = n.dx;
        below = !n.wants_dx;
    });
    if (stored) {
        std::size_t gradients = 0, seen = 0;
        for (std::size_t p = 0; p < e.parameter_count(); ++p)
            gradients += e.parameter(static_cast<ParameterId>(p)).gradient != no_buffer ? 1 : 0;
        for (std::size_t p = 0; p < e.parameter_count() && recipe.clip_norm > 0; ++p) {
            const Parameter parameter = e.parameter(static_cast<ParameterId>(p));
            if (parameter.gradient == no_buffer) continue;
            Step s{.name = "gradient norm", .run = &run_clip_norm, .layer = parameter.layer,
                   .size = {parameter.elements, 0}};
            s.operand[1] = parameter.gradient;
            s.constant[0] = seen == 0 ? 1.0f : 0.0f;
            s.constant[1] = ++seen == gradients ? 1.0f : 0.0f;
            e.step(s);
        }
        for (std::size_t p = 0; p < e.parameter_count(); ++p) {
            const Parameter parameter = e.parameter(static_cast<ParameterId>(p));
            if (parameter.gradient != no_buffer) e.update(parameter, parameter.gradient);
        }
    }
    if (recipe.loss.link != Link::none) {
        totals.link_step = static_cast<std::uint16_t>(e.step_count());
        emit_link(e, recipe.loss.link, totals.output_buffer, totals.output_buffer, last, outputs);
    }
    return finish(e, totals, order, false);
}

template <class M>
constexpr Totals compile_into(Tables tables, std::span<BufferId> order, const M& model, const Inference& recipe) noexcept {
    Totals totals{};
    Emitter e(tables, recipe.batch, recipe.threads, nullptr, false, false);
    emit_forward(e, model, totals, tables.nodes);
    if (e.status() == Status::ok) {
        const auto last = static_cast<std::uint16_t>(model.size() - 1);
        const BufferId z = totals.output_buffer;
        if (twice(recipe.link, model)) e.fail(Status::invalid_loss);
        // The input is the caller's: probabilities of it get memory of their own.
        if (z == totals.input_buffer && recipe.link != Link::none)
            totals.output_buffer = e.activation("probabilities", last, totals.output.elements());
        emit_link(e, recipe.link, z, totals.output_buffer, last, totals.output.elements());
        totals.forward_steps = static_cast<std::uint16_t>(e.step_count());
    }
    return finish(e, totals, order, recipe.fold);
}

}  // namespace compiler

/// The program of a constexpr model. Its tables have room for the largest program that such a row of layers can make;
/// Trainer and Predictor keep exact copies. On failure `status` says why and the rest is void.
template <Layer... Layers, class Recipe>
[[nodiscard]] constexpr auto compile(const Model<Layers...>& model, const Recipe& recipe) noexcept {
    constexpr std::size_t n = sizeof...(Layers);
    Program<max_steps(n), max_buffers(n), max_parameters(n)> program;
    std::array<Node, n == 0 ? 1 : n> nodes;
    for (Node& node : nodes) node = Node{};  // g++ 12: see Program; leaving out `{}` is not enough here
    std::array<BufferId, max_buffers(n)> order{};
    static_cast<Totals&>(program) = compiler::compile_into(
        {program.step_table, program.buffer_table, program.parameter_table, nodes}, order, model, recipe);
    return program;
}

/// The same program with tables of exactly its size.
template <std::size_t Steps, std::size_t Buffers, std::size_t Parameters, class Wide>
[[nodiscard]] constexpr Program<Steps, Buffers, Parameters> shrink(const Wide& wide) noexcept {
    Program<Steps, Buffers, Parameters> program;
    static_cast<Totals&>(program) = wide;
    for (std::size_t i = 0; i < Steps; ++i) program.step_table[i] = wide.step_table[i];
    for (std::size_t i = 0; i < Buffers; ++i) program.buffer_table[i] = wide.buffer_table[i];
    for (std::size_t i = 0; i < Parameters; ++i) program.parameter_table[i] = wide.parameter_table[i];
    return program;
}

/// Bytes that compile() needs for the tables of a model of `layers` layers that arrives at run time.
[[nodiscard]] constexpr std::size_t table_bytes(std::size_t layers) noexcept {
    return max_steps(layers) * sizeof(Step) + max_buffers(layers) * (sizeof(Buffer) + sizeof(BufferId)) +
           max_parameters(layers) * sizeof(Parameter) + layers * sizeof(Node) + sizeof(Totals) + 64;
}

/// The program of a model that arrives at run time, with its tables in `memory` (8-byte aligned, table_bytes(layers)
/// bytes), which must outlive it. Recipe: Training or Inference.
template <class Recipe>
[[nodiscard]] Result<ProgramView> compile(const DynamicModel& model, const Recipe& recipe,
                                          std::span<std::byte> memory) noexcept {
    const std::size_t n = model.size();
    if (n == 0) return Status::empty_model;
    if (n > 4096) return Status::too_many_steps;
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % 8 != 0) return Status::misaligned;
    if (memory.size() < table_bytes(n)) return Status::tables_too_small;
    std::byte* next = memory.data();
    const auto table = [&]<class T>(T*, std::size_t count) {
        T* first = reinterpret_cast<T*>(next);
        for (std::size_t i = 0; i < count; ++i) ::new (static_cast<void*>(first + i)) T{};
        next += (count * sizeof(T) + 7) / 8 * 8;
        return std::span<T>(first, count);
    };
    const Tables tables{table(static_cast<Step*>(nullptr), max_steps(n)),
                        table(static_cast<Buffer*>(nullptr), max_buffers(n)),
                        table(static_cast<Parameter*>(nullptr), max_parameters(n)),
                        table(static_cast<Node*>(nullptr), n)};
    const std::span<BufferId> order = table(static_cast<BufferId*>(nullptr), max_buffers(n));
    Totals& totals = table(static_cast<Totals*>(nullptr), 1)[0];
    totals = compiler::compile_into(tables, order, model, recipe);
    if (totals.status != Status::ok) return totals.status;
    return ProgramView{&totals, tables.steps.first(totals.steps), tables.buffers.first(totals.buffers),
                       tables.parameters.first(totals.parameter_arrays)};
}

}  // namespace ferrite
