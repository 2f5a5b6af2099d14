// SPDX-License-Identifier: MIT
// `ferrite info`: what this build holds and what this machine can run of it.
#include <fstream>
#include <nlohmann/json.hpp>

#include "dataset.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferrite::host {
namespace {

#define FERRITE_TEXT_OF(x) #x
#define FERRITE_TEXT(x) FERRITE_TEXT_OF(x)
constexpr const char* version = FERRITE_TEXT(FERRITE_VERSION_MAJOR) "." FERRITE_TEXT(
    FERRITE_VERSION_MINOR) "." FERRITE_TEXT(FERRITE_VERSION_PATCH);

#if defined(__clang__)
constexpr const char* compiler = "clang " __clang_version__;
#else
constexpr const char* compiler = "g++ " __VERSION__;
#endif

#if defined(NDEBUG)
constexpr bool assertions = false;
#else
constexpr bool assertions = true;
#endif

using Names = std::vector<std::string>;

template <class... Layers>
Names layer_names() {
    return {Layers::name...};
}

Names loss_names() {
    const Loss losses[] = {SoftmaxCrossEntropy{}, BinaryCrossEntropy{}, MeanSquaredError{}, Huber{}};
    Names names;
    for (const Loss& loss : losses) names.emplace_back(loss.name);
    return names;
}

Names optimizer_names() {
    const Optimizer optimizers[] = {Sgd{}, Momentum{}, Nesterov{}, AdaGrad{}, RmsProp{}, Adam{}, AdamW{}};
    Names names;
    for (const Optimizer& optimizer : optimizers) names.emplace_back(optimizer.name);
    return names;
}

/// Linux on x86 tells the model; elsewhere the answer may be "unknown".
std::string cpu_model() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("model name")) continue;
        const std::size_t start = line.find_first_not_of(": \t", line.find(':'));
        return start == std::string::npos ? "unknown" : line.substr(start);
    }
    return "unknown";
}

std::string joined(const Names& names) {
    std::string text;
    for (const std::string& each : names) (text.empty() ? text : text += ", ") += each;
    return text;
}

void info(const std::string& json_path) {
    Names built, supported_here;
    for (std::size_t i = 0; i < isa_count; ++i) {
        const auto isa = static_cast<Isa>(i);
        built.emplace_back(name(isa));
        if (supported(isa)) supported_here.emplace_back(name(isa));
    }
    const std::string in_use = name(active_isa()), cpu = cpu_model();
    const Names layers = layer_names<Dense, Relu, LeakyRelu, Sigmoid, Tanh, Gelu, Softmax, Flatten,
                                     BatchNorm, LayerNorm, Dropout>();

    if (!json_path.empty()) {
        OutputFile file("--json", json_path);
        const nlohmann::ordered_json object{
            {"event", "info"},
            {"version", version},
            {"compiler", compiler},
            {"assertions", assertions},
            {"cpu", cpu},
            {"instruction_sets", {{"built", built}, {"supported", supported_here}, {"in_use", in_use}}},
            {"buffer_alignment", buffer_alignment},
            {"layers", layers},
            {"losses", loss_names()},
            {"optimizers", optimizer_names()}};
        file.write(object.dump() + '\n');
        file.commit();
    }
    Console console(json_path != "-");
    const auto line = [&](std::string title, const std::string& text) {
        title.resize(18, ' ');
        console.line(title + text);
    };
    line("version", version);
    line("compiler", compiler);
    line("assertions", assertions ? "on" : "off");
    line("CPU", cpu);
    line("instruction sets", "built: " + joined(built));
    line("", "supported by this CPU: " + joined(supported_here));
    line("", "in use: " + in_use + " (FERRITE_ISA chooses another)");
    line("buffer alignment", std::to_string(buffer_alignment) + " bytes");
    line("layers", joined(layers));
    line("losses", joined(loss_names()));
    line("optimizers", joined(optimizer_names()));
}

}  // namespace

void add_info_command(CLI::App& app) {
    CLI::App* command =
        app.add_subcommand("info", "Version, instruction sets, built-in layers, losses and optimizers");
    const auto json = std::make_shared<std::string>();
    add_text(*command, "--json", "write this as one JSON object; -: to standard output",
             [json](const std::string& given) {
                 if (given.empty()) throw Error("--json", "nothing", "a file");
                 *json = given;
             })
        ->type_name("FILE");
    command->callback([json] { info(*json); });
}

}  // namespace ferrite::host
