// SPDX-License-Identifier: MIT
// The steps of a program in words, for tables.
#pragma once

#include <ferrite/ferrite.hpp>
#include <string>
#include <vector>

namespace ferrite::host {

/// forward, loss, backward, update, or predict: the step that only TrainingSession::predict() runs.
[[nodiscard]] inline const char* phase(const ProgramView& program, std::size_t index) {
    const Step& step = program.steps[index];
    if (index < program.totals->forward_steps) return "forward";
    if (index == program.totals->link_step) return "predict";
    if (step.run == &run_update || step.run == &compiler::run_clip_norm) return "update";
    return index == program.totals->forward_steps ? "loss" : "backward";
}

/// The map that was fused into a step; empty if there is none or the step is the map.
[[nodiscard]] inline std::string fused_map(const Step& step) {
    return step.map != nullptr && step.run != &run_map ? step.map->name : "";
}

/// The optimizer that runs in a step; empty if none does.
[[nodiscard]] inline std::string optimizer_in(const Step& step) {
    return step.update != nullptr ? step.update->name : "";
}

/// The steps of one whole pass: in training all but that of predict(), which is the last one.
[[nodiscard]] inline std::size_t pass_length(const ProgramView& program) {
    return program.totals->link_step == no_step ? program.steps.size() : program.totals->link_step;
}

/// "0 dense", "1 relu", ...
[[nodiscard]] inline std::vector<std::string> layer_names(const std::vector<AnyLayer>& layers) {
    std::vector<std::string> names;
    for (const AnyLayer& layer : layers) names.push_back(std::to_string(names.size()) + ' ' + layer.name());
    return names;
}

}  // namespace ferrite::host
