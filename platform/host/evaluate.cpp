// SPDX-License-Identifier: MIT
// ferrite evaluate: a trained network on the test images.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "output.hpp"
#include "table.hpp"
#include "train.hpp"

namespace ferrite::host {
namespace {

struct EvaluateOptions {
    std::string weights;
    DataOptions data;
    std::optional<std::uint32_t> batch;
    std::uint32_t threads = 1;
    std::string json;
};

/// What became of the test samples.
struct Confusion {
    explicit Confusion(std::uint32_t class_count)
        : classes(class_count), counts(std::size_t{classes} * classes) {}

    std::uint32_t classes;
    std::vector<std::uint64_t> counts;  ///< (label, prediction)
    double loss = 0;                    ///< sum

    [[nodiscard]] std::uint64_t at(std::uint32_t label, std::uint32_t prediction) const {
        return counts[std::size_t{label} * classes + prediction];
    }
    [[nodiscard]] std::uint64_t labelled(std::uint32_t label) const {
        return sum([=](auto i) { return std::pair(label, i); });
    }
    [[nodiscard]] std::uint64_t predicted(std::uint32_t prediction) const {
        return sum([=](auto i) { return std::pair(i, prediction); });
    }
    [[nodiscard]] std::uint64_t correct() const {
        return sum([](auto i) { return std::pair(i, i); });
    }

  private:
    template <class Cell>
    [[nodiscard]] std::uint64_t sum(Cell&& cell) const {
        std::uint64_t total = 0;
        for (std::uint32_t i = 0; i < classes; ++i) {
            const auto [label, prediction] = cell(i);
            total += at(label, prediction);
        }
        return total;
    }
};

/// `probabilities`: the network ends in a softmax; otherwise its outputs are logits.
Confusion confuse(InferenceSession& session, const Samples& samples, std::uint32_t batch_size,
                  bool probabilities) {
    const std::uint32_t outputs = session.program().totals->output.elements();
    Confusion confusion(outputs);
    Batch batch(batch_size, samples.images.image_size());
    for (std::uint32_t first = 0; first < samples.images.count; first += batch.rows()) {
        batch.take(samples, first, std::min(batch_size, samples.images.count - first),
                   [](auto i) { return i; });
        const std::span<const float> y = session.predict(batch.inputs());
        for (std::uint32_t r = 0; r < batch.rows(); ++r) {
            const std::span<const float> row = y.subspan(std::size_t{r} * outputs, outputs);
            const Label label = batch.labels()[r];
            ++confusion.counts[std::size_t{label} * outputs + argmax(row)];
            if (probabilities) {
                confusion.loss -= std::log(static_cast<double>(row[label]));
                continue;
            }
            const double largest = static_cast<double>(row[argmax(row)]);
            double sum = 0;
            for (const float z : row) sum += std::exp(static_cast<double>(z) - largest);
            confusion.loss += std::log(sum) + largest - static_cast<double>(row[label]);
        }
    }
    return confusion;
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
    Line line;
    if (whole != 0) line.print("%.2f", 100 * static_cast<double>(part) / static_cast<double>(whole));
    return std::string(line.view());
}

Table class_table(const Confusion& confusion) {
    Table table({{"class"}, {"samples"}, {"recall %"}, {"precision %"}});
    for (std::uint32_t c = 0; c < confusion.classes; ++c) {
        table.row({std::to_string(c), grouped(confusion.labelled(c)),
                   percent(confusion.at(c, c), confusion.labelled(c)),
                   percent(confusion.at(c, c), confusion.predicted(c))});
    }
    return table;
}

/// A row a label, a column a prediction.
Table confusion_table(const Confusion& confusion) {
    std::vector<Table::Column> columns{{"label"}};
    for (std::uint32_t c = 0; c < confusion.classes; ++c) columns.push_back({"as " + std::to_string(c)});
    Table table(columns);
    for (std::uint32_t label = 0; label < confusion.classes; ++label) {
        std::vector<std::string> cells{std::to_string(label)};
        for (std::uint32_t c = 0; c < confusion.classes; ++c)
            cells.push_back(std::to_string(confusion.at(label, c)));
        table.row(cells);
    }
    return table;
}

nlohmann::ordered_json to_json(const Confusion& confusion, std::uint32_t samples,
                               const std::string& digest_text) {
    nlohmann::ordered_json matrix = nlohmann::ordered_json::array();
    for (std::uint32_t label = 0; label < confusion.classes; ++label) {
        const auto row = confusion.counts.begin() + std::ptrdiff_t{label} * std::ptrdiff_t{confusion.classes};
        matrix.push_back(std::vector<std::uint64_t>(row, row + std::ptrdiff_t{confusion.classes}));
    }
    // nlohmann writes what is not finite as null.
    return {{"event", "evaluation"},
            {"samples", samples},
            {"test_accuracy", static_cast<double>(confusion.correct()) / samples},
            {"test_loss", confusion.loss / samples},
            {"isa", name(active_isa())},
            {"digest", digest_text},
            {"confusion", matrix}};
}

void evaluate(const EvaluateOptions& options) {
    if (options.weights.empty())
        throw Error("--weights", "nothing", "a file that `ferrite train --save` wrote");
    const std::string where = "--weights " + options.weights;
    const auto require = [&](Status status) {
        if (status != Status::ok)
            throw Error(where, std::string("a defect (") + message(status) + ')',
                        "a file that `ferrite train --save` wrote");
    };
    const std::vector<std::byte> bytes = read_file(where, options.weights);
    const Result<WeightsFile> file = open_weights(bytes);
    require(file.status());
    std::vector<AnyLayer> layers(file.value().layer_count);
    const Result<DynamicModel> model = read_model(file.value(), layers);
    require(model.status());
    constexpr std::uint32_t usual_batch = 100;
    const std::uint32_t batch_size = options.batch.value_or(usual_batch);
    Runner runner(model.value(), Inference{.batch = batch_size, .threads = options.threads}, where);
    require(load_weights(file.value(), runner.program(), runner.parameters()));

    const Totals& totals = *runner.program().totals;
    const Dataset dataset =
        load_fitting(options.data.directory, where, totals.input.elements(), totals.output.elements());
    const Samples& samples = dataset.test;
    if (options.batch && batch_size > samples.images.count) {
        throw Error(
            "--batch", std::to_string(batch_size),
            "at most " + std::to_string(samples.images.count) + " (the test images of " + dataset.name + ')');
    }
    Console console(options.json != "-");

    const bool probabilities = layers.back().nonlinearity() == Nonlinearity::distribution;
    const Confusion confusion = confuse(runner.session(), samples, batch_size, probabilities);
    const std::uint32_t count = samples.images.count;
    Line hash;
    hash.print("%016llx", static_cast<unsigned long long>(fnv1a(file.value().parameters)));
    if (!options.json.empty()) {
        OutputFile json("--json", options.json);
        json.write(to_json(confusion, count, std::string(hash.view())).dump() + '\n');
        json.commit();
    }
    console.line("data      " + dataset.name + ", " + grouped(count) + " test images");
    console.line("network   " + options.weights + ", " + grouped(totals.parameters) + " parameters, digest " +
                 std::string(hash.view()));
    console.line("arena     " + arena_text(totals) + "; beside it parameters " +
                 grouped(totals.region_bytes[0]));
    Line line;
    line.print("result    test accuracy %.2f %%, test loss %.4f",
               100 * static_cast<double>(confusion.correct()) / count, confusion.loss / count);
    console.line(line.view());
    console.line('\n' + class_table(confusion).text() + "\n\n" + confusion_table(confusion).text());
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
    CLI::App* const command = app.add_subcommand("evaluate", "Run a saved network on the test images");
    const auto options = std::make_shared<EvaluateOptions>();
    add_text(*command, "--weights", "what `ferrite train --save` wrote", [options](const std::string& given) {
        options->weights = given;
    })->type_name("FILE");
    add_data_options(*command, options->data, false);
    add_text(*command, "--batch", "samples a call (default: 100)", [options](const std::string& given) {
        options->batch = static_cast<std::uint32_t>(parse_count("--batch", given, 1, 0xFFFFFFFF));
    })->type_name("N");
    add_threads_option(*command, options->threads);
    add_text(*command, "--json", "write the result as one JSON object; -: to standard output",
             [options](const std::string& given) {
                 if (given.empty()) throw Error("--json", "nothing", "a file");
                 options->json = given;
             })
        ->type_name("FILE");
    command->callback([options] {
        std::error_code error;
        if (std::filesystem::equivalent(options->json, options->weights, error))
            throw Error("--json", options->json + " (also the file of --weights)", "another file");
        evaluate(*options);
    });
}

}  // namespace ferrite::host
