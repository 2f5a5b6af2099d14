// SPDX-License-Identifier: MIT
// From options as text to a model, a recipe and the memory of a program.
#include "options.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <system_error>

#include "dataset.hpp"

namespace ferrite::host {
namespace {

/// What a name on the command line stands for.
template <class T>
struct Named {
    const char* name;
    T value;
};

template <class T, std::size_t N>
const T& choose(std::string_view option, std::string_view text, const std::array<Named<T>, N>& table,
                std::string_view more = "") {
    std::string names;
    for (const Named<T>& entry : table) {
        if (text == entry.name) return entry.value;
        names += (names.empty() ? "one of " : ", ") + std::string(entry.name);
    }
    throw Error(option, text.empty() ? "nothing" : text, names.append(more));
}

// No NaN passes.
bool not_negative(float x) { return x >= 0; }
bool positive(float x) { return x > 0; }
bool in_unit(float x) { return x >= 0 && x < 1; }
bool is_factor(float x) { return x >= 0 && x <= 1; }

const std::array<Named<AnyLayer>, 5> activations{{{"relu", Relu{}},
                                                  {"leaky_relu", LeakyRelu{}},
                                                  {"sigmoid", Sigmoid{}},
                                                  {"tanh", Tanh{}},
                                                  {"gelu", Gelu{}}}};

constexpr std::array<Named<Initializer>, 8> initializers{{{"auto", AutoInit{}},
                                                          {"zero", Zero{}},
                                                          {"he", HeNormal{}},
                                                          {"he_normal", HeNormal{}},
                                                          {"he_uniform", HeUniform{}},
                                                          {"xavier", XavierNormal{}},
                                                          {"xavier_normal", XavierNormal{}},
                                                          {"xavier_uniform", XavierUniform{}}}};

// adam_paper: the paper's epsilon, in value (section 2 of arXiv 1412.6980) and in place.
const std::array<Named<Optimizer>, 8> optimizers{
    {{"sgd", Sgd{}},
     {"momentum", Momentum{}},
     {"nesterov", Nesterov{}},
     {"adagrad", AdaGrad{}},
     {"rmsprop", RmsProp{}},
     {"adam", Adam{}},
     {"adam_paper", Adam{.epsilon = 1e-8f, .epsilon_place = EpsilonPlace::paper}},
     {"adamw", AdamW{}}}};

constexpr std::array<Named<Update>, 3> updates{
    {{"automatic", Update::automatic}, {"immediate", Update::immediate}, {"stored", Update::stored}}};

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (true) {
        const std::size_t end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

// A parameter table of the library holds at most 4096 layers, activations included.
constexpr std::size_t max_dense_layers = 2048;

std::vector<std::uint32_t> parse_layers(const std::string& text) {
    const std::vector<std::string_view> parts = split(text, ',');
    if (parts.size() < 2 || parts.size() > max_dense_layers + 1) {
        throw Error("--layers",
                    text.empty() ? "nothing" : std::to_string(parts.size()) + " in " + text.substr(0, 60),
                    "2.." + std::to_string(max_dense_layers + 1) +
                        " numbers with commas between them (inputs, then the units of each layer)");
    }
    std::vector<std::uint32_t> layers;
    for (const std::string_view part : parts)
        layers.push_back(
            static_cast<std::uint32_t>(parse_count("--layers", part, 1, std::uint32_t{1} << 30)));
    return layers;
}

Initializer initializer_of(const std::string& text) {
    constexpr std::string_view normal = "normal:";
    if (!text.starts_with(normal)) return choose("--init", text, initializers, ", normal:STANDARD_DEVIATION");
    return Normal{parse_number("--init normal", std::string_view(text).substr(normal.size()), &not_negative,
                               "a finite standard deviation of at least 0")};
}

Optimizer optimizer_of(const ModelOptions& options) {
    Optimizer optimizer = choose("--optimizer", options.optimizer, optimizers);
    if (options.learning_rate) optimizer.learning_rate = *options.learning_rate;
    if (options.momentum) {
        if (options.optimizer != "momentum" && options.optimizer != "nesterov")
            throw Error("--momentum", "it beside --optimizer " + options.optimizer,
                        "optimizer momentum or nesterov");
        optimizer.hyperparameter[0] = *options.momentum;
    }
    return optimizer;
}

/// constant, step:EVERY:FACTOR or cosine[:FLOOR], each with or without ,warmup:N behind it.
Schedule schedule_of(std::string_view text, std::uint32_t iterations) {
    const Error wrong("--schedule", text.empty() ? "nothing" : text,
                      "constant, step:EVERY:FACTOR or cosine[:FLOOR], with or without ,warmup:ITERATIONS");
    const auto count = [](std::string_view part, std::uint32_t low) {
        return static_cast<std::uint32_t>(parse_count("--schedule", part, low, 0xFFFFFFFF));
    };
    const auto factor = [](std::string_view part) {
        return parse_number("--schedule", part, &is_factor, "a number from 0 to 1");
    };
    const std::vector<std::string_view> parts = split(text, ',');
    if (parts.size() > 2) throw wrong;
    std::uint32_t warmup = 0;
    if (parts.size() == 2) {
        const std::vector<std::string_view> words = split(parts[1], ':');
        if (words.size() != 2 || words[0] != "warmup") throw wrong;
        warmup = count(words[1], 0);
    }
    const std::vector<std::string_view> words = split(parts[0], ':');
    if (words[0] == "constant" && words.size() == 1) return ConstantRate{.warmup = warmup};
    if (words[0] == "step" && words.size() == 3)
        return StepDecay{.every = count(words[1], 1), .multiply = factor(words[2]), .warmup = warmup};
    if (words[0] != "cosine" || words.size() > 2) throw wrong;
    if (iterations != 0 && warmup >= iterations) {
        throw Error("--schedule", "a warm-up of " + std::to_string(warmup) + " iterations",
                    "fewer than the run's " + std::to_string(iterations));
    }
    return CosineDecay{.iterations = iterations == 0 ? 1 : iterations - warmup,
                       .floor = words.size() == 2 ? factor(words[1]) : 0.0f,
                       .warmup = warmup};
}

template <class Recipe>
ProgramView compiled(const DynamicModel& model, const Recipe& recipe, const Arena& tables,
                     std::string_view where) {
    const Result<ProgramView> program = compile(model, recipe, tables.bytes());
    if (!program.ok())
        throw Error(where, message(program.status()), "a network that can be placed in memory");
    return program.value();
}

template <class Session>
std::unique_ptr<ThreadPool> threads_for(Session& session, std::uint32_t count) {
    if (count == 1) return nullptr;
    try {
        auto threads = std::make_unique<ThreadPool>(count);
        session.use(&threads->workers());
        return threads;
    } catch (const std::system_error& error) {
        throw Error("--threads", std::to_string(count) + " (" + error.code().message() + ')',
                    "as many as the system has room for");
    }
}

}  // namespace

void add_model_options(CLI::App& app, ModelOptions& options, bool rates) {
    const auto text = [&](const char* name, const char* type, const char* help, std::string& value) {
        add_text(app, name, help, [&value](const std::string& given) { value = given; })
            ->type_name(type)
            ->default_str(value);
    };
    const auto number = [&](const char* name, const char* help, auto& value, bool (*valid)(float),
                            const char* expected) {
        return add_text(app, name, help,
                        [=, &value](const std::string& given) {
                            value = parse_number(name, given, valid, expected);
                        })
            ->type_name("X");
    };
    add_text(app, "--layers", "inputs, then the units of each dense layer",
             [&](const std::string& given) { options.layers = parse_layers(given); })
        ->type_name("N,N,...")
        ->default_str(layers_text(options.layers, ','));
    text("--activation", "NAME", "between the layers: relu, leaky_relu, sigmoid, tanh, gelu",
         options.activation);
    text("--init", "NAME",
         "weights: auto (by the activation behind), he, he_uniform, xavier, xavier_uniform, zero, normal:STD",
         options.init);
    text("--optimizer", "NAME", "sgd, momentum, nesterov, adagrad, rmsprop, adam, adam_paper, adamw",
         options.optimizer);
    if (rates)
        number("--learning-rate", "(default: 0.001 for the Adam family, else 0.01)", options.learning_rate,
               &not_negative, "a finite number of at least 0");
    number("--momentum", "of momentum and nesterov (default: 0.9)", options.momentum, &in_unit,
           "a number of at least 0, below 1");
    app.add_flag("--batch-norm", options.batch_norm, "normalize batches between each dense layer and its activation");
    number("--dropout", "share of zeros behind each activation, in training", options.dropout, &in_unit,
           "a number of at least 0, below 1")
        ->default_str("0");
    if (rates)
        number("--weight-decay", "L2 penalty on weights; adamw: decoupled", options.weight_decay, &not_negative,
               "a finite number of at least 0")
            ->default_str("0");
    text("--schedule", "NAME",
         "learning rate: constant, step:EVERY:FACTOR, cosine[:FLOOR]; then ,warmup:ITERATIONS",
         options.schedule);
    number("--clip-norm", "largest norm of all gradients together (default: none)", options.clip_norm,
           &positive, "a finite number above 0");
    number("--clip-value", "largest magnitude of a gradient element (default: none)", options.clip_value,
           &positive, "a finite number above 0");
    add_text(app, "--batch", "samples a step",
             [&](const std::string& given) {
                 options.batch = static_cast<std::uint32_t>(parse_count("--batch", given, 1, 0xFFFFFFFF));
             })
        ->type_name("N")
        ->default_str(std::to_string(options.batch));
    add_text(
        app, "--seed", "determines the whole run",
        [&](const std::string& given) { options.seed = parse_count("--seed", given, 0, ~std::uint64_t{0}); })
        ->type_name("N")
        ->default_str(std::to_string(options.seed));
    text("--update", "NAME", "immediate (no gradient arrays), stored, automatic; the same result",
         options.update);
    add_threads_option(app, options.threads);
}

BuiltModel build(const ModelOptions& options, std::uint32_t iterations) {
    BuiltModel built{.input = Shape{options.layers.front()}, .layers = {}, .recipe = {}};
    const AnyLayer& activation = choose("--activation", options.activation, activations);
    const Initializer initializer = initializer_of(options.init);
    for (std::size_t i = 1; i < options.layers.size(); ++i) {
        if (i > 1 && options.batch_norm) built.layers.push_back(BatchNorm{});
        if (i > 1) built.layers.push_back(activation);
        if (i > 1 && options.dropout > 0) built.layers.push_back(Dropout{.rate = options.dropout});
        built.layers.push_back(Dense{.units = options.layers[i], .initializer = initializer});
    }
    Training& recipe = built.recipe;
    recipe.loss = SoftmaxCrossEntropy{};
    recipe.optimizer = optimizer_of(options);
    recipe.batch = options.batch;
    recipe.weight_decay = options.weight_decay;
    recipe.clip_value = options.clip_value;
    recipe.clip_norm = options.clip_norm;
    recipe.schedule = schedule_of(options.schedule, iterations);
    recipe.threads = options.threads;
    recipe.update = choose("--update", options.update, updates);
    if (recipe.update == Update::immediate && recipe.clip_norm > 0) {
        throw Error("--update", "immediate beside --clip-norm",
                    "stored or automatic (the norm of all gradients needs all of them)");
    }
    return built;
}

Arena::Arena(std::size_t size) : size_(size) {
    const std::size_t rounded = (size + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(buffer_alignment, rounded)));
    if (!memory_ && size > 0) throw std::bad_alloc();
}

void Arena::Free::operator()(std::byte* memory) const noexcept { std::free(memory); }

Compiled::Compiled(const DynamicModel& model, const Training& recipe, std::string_view where)
    : tables_(table_bytes(model.size())), program_(compiled(model, recipe, tables_, where)) {}

Compiled::Compiled(const DynamicModel& model, const Inference& recipe, std::string_view where)
    : tables_(table_bytes(model.size())), program_(compiled(model, recipe, tables_, where)) {}

// Binding cannot fail: the memory is made for the program.
Learner::Learner(BuiltModel model)
    : built_(std::move(model)),
      compiled_(built_.model(), built_.recipe),
      arena_(program().totals->arena_bytes),
      session_(TrainingSession::bind(program(), built_.recipe, arena_.bytes()).value()) {
    threads_ = threads_for(session_, built_.recipe.threads);
}

Runner::Runner(const DynamicModel& model, const Inference& recipe, std::string_view where)
    : compiled_(model, recipe, where),
      parameters_(program().totals->region_bytes[0]),
      arena_(program().totals->arena_bytes),
      session_(InferenceSession::bind(program(), parameters_.bytes(), arena_.bytes()).value()) {
    threads_ = threads_for(session_, recipe.threads);
}

std::string threads_text(std::uint32_t threads) {
    return threads == 1 ? "" : ", " + std::to_string(threads) + " threads";
}

std::string layers_text(std::span<const std::uint32_t> layers, char separator) {
    std::string text;
    for (const std::uint32_t layer : layers)
        (text.empty() ? text : text += separator) += std::to_string(layer);
    return text;
}

std::string arena_text(const Totals& totals) {
    std::string text = grouped(totals.arena_bytes) + " bytes";
    for (std::size_t region = 0; region < region_count; ++region) {
        const bool outside = region == 0 && !totals.training;
        if (totals.region_bytes[region] == 0 || outside) continue;
        text += std::string(text.ends_with("bytes") ? ": " : ", ") + name(static_cast<Region>(region)) + ' ' +
                grouped(totals.region_bytes[region]);
    }
    return text;
}

std::vector<std::byte> read_file(const std::string& where, const std::string& path) {
    const auto unreadable = [&](const std::string& reason) {
        return Error(where, "it unreadable (" + reason + ')', "a readable file");
    };
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) throw unreadable("Is a directory");
    std::ifstream file(path, std::ios::binary);
    if (!file) throw unreadable(std::generic_category().message(errno));
    const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
    const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

std::string grouped(std::uint64_t value) {
    std::string text = std::to_string(value);
    for (std::size_t i = text.size(); i > 3;) text.insert(i -= 3, 1, ',');
    return text;
}

CLI::Option* add_text(CLI::App& app, const std::string& name, const std::string& help,
                      std::function<void(const std::string&)> set) {
    return app.add_option_function<std::string>(name, std::move(set), help)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void add_threads_option(CLI::App& app, std::uint32_t& threads) {
    add_text(app, "--threads", "that share each step; the same result for any number",
             [&](const std::string& given) {
                 threads = static_cast<std::uint32_t>(parse_count("--threads", given, 1, max_threads));
             })
        ->type_name("N")
        ->default_str(std::to_string(threads));
}

std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t low,
                          std::uint64_t high) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || value < low || value > high) {
        throw Error(option, text.empty() ? "nothing" : text,
                    "a whole number in " + std::to_string(low) + ".." + std::to_string(high));
    }
    return value;
}

float parse_number(std::string_view option, std::string_view text, bool (*valid)(float),
                   std::string_view expected) {
    float value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || !std::isfinite(value) || !valid(value))
        throw Error(option, text.empty() ? "nothing" : text, expected);
    return value;
}

}  // namespace ferrite::host
