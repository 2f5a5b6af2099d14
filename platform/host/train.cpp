// SPDX-License-Identifier: MIT
// ferrite train.
#include "train.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "heap.hpp"
#include "output.hpp"
#include "stop.hpp"

namespace ferrite::host {
namespace {

using Clock = std::chrono::steady_clock;

// The seed's streams from 0 on belong to the parameter arrays, of which a program has fewer than 2^16.
constexpr std::uint64_t split_stream = std::uint64_t{1} << 32;
constexpr std::uint64_t order_stream = std::uint64_t{1} << 33;  // + epoch

// Training accuracy is measured on this many samples at most: it costs as much as that of the usual test set.
constexpr std::uint32_t training_sample_limit = 10000;

constexpr std::chrono::milliseconds refresh_interval{100};

struct TrainOptions {
    ModelOptions model;
    DataOptions data;
    std::uint32_t epochs = 5;
    std::uint32_t iterations = 0;  ///< 0: as many as the epochs have
    std::uint32_t patience = 0;    ///< epochs without a lower validation loss that end the run; 0: none do
    std::string json;
    std::string save;
    std::string checkpoint;
    std::string resume;
};

double seconds_between(Clock::time_point begin, Clock::time_point end) {
    return std::chrono::duration<double>(end - begin).count();
}

/// Means over samples, in evaluation mode.
struct Score {
    double loss = 0;
    double accuracy = 0;
};

template <class Index>
Score measure(TrainingSession& session, Batch& batch, const Samples& samples, std::uint32_t count,
              Index&& index) {
    double loss = 0;
    std::uint64_t correct = 0;
    for (std::uint32_t first = 0; first < count; first += batch.rows()) {
        StopSignals::leave_on_second();
        batch.take(samples, first, std::min(batch.capacity(), count - first), index);
        const Evaluation evaluation = session.evaluate(batch.inputs(), batch.labels());
        loss += static_cast<double>(evaluation.loss) * batch.rows();
        correct += evaluation.correct;
    }
    return {loss / count, static_cast<double>(correct) / count};
}

BuiltModel built_for(const TrainOptions& options, std::uint32_t iterations) {
    BuiltModel built = build(options.model, iterations);
    built.recipe.keep_best = options.patience != 0;
    return built;
}

/// One training run from its options to its report.
class TrainingRun {
  public:
    explicit TrainingRun(const TrainOptions& options)
        : options_(options),
          data_(options.data, options.model),
          batches_(data_, options.model),
          total_(total_iterations()),
          learner_(built_for(options, total_)),
          measured_(std::min<std::uint32_t>(options.model.batch, 250),
                    data_.dataset().train.images.image_size()),
          console_(options.json != "-") {
        if (options.patience != 0) stopping_.emplace(options.patience);
        if (!options.json.empty()) json_.emplace("--json", options.json);
        if (!options.save.empty()) save_.emplace("--save", options.save);
        if (!options.checkpoint.empty()) checkpoint_.emplace("--checkpoint", options.checkpoint);
        learner_.session().initialize(Seed{options_.model.seed});
        if (!options.resume.empty()) resume();
    }

    void run() {
        introduce();
        if (StopSignals::any()) throw CLI::RuntimeError(StopSignals::exit_code());
        train();
        finish();
    }

  private:
    [[nodiscard]] std::uint32_t total_iterations() const {
        if (options_.iterations != 0) return options_.iterations;
        const std::uint64_t total = std::uint64_t{options_.epochs} * batches_.per_epoch();
        if (total > 0xFFFFFFFF) {
            throw Error(
                "--epochs", std::to_string(options_.epochs),
                "at most " + std::to_string(0xFFFFFFFF / batches_.per_epoch()) + " (2^32 iterations)");
        }
        return static_cast<std::uint32_t>(total);
    }

    [[nodiscard]] std::uint32_t epochs() const { return (total_ - 1) / batches_.per_epoch() + 1; }

    /// The learning rate and the weight decay are those of the options.
    void resume() {
        TrainingSession& session = learner_.session();
        const std::string where = "--resume " + options_.resume;
        const float learning_rate = session.learning_rate(), weight_decay = session.weight_decay();
        const std::vector<std::byte> bytes = read_file(where, options_.resume);
        const Result<WeightsFile> file = open_weights(bytes);
        const Status status = file.ok() ? load_checkpoint(learner_.built().model(), file.value(), session) : file.status();
        if (status != Status::ok)
            throw Error(where, std::string("a defect (") + message(status) + ')',
                        "what `ferrite train --checkpoint` wrote with these options");
        session.set_learning_rate(learning_rate);
        session.set_weight_decay(weight_decay);
        if (session.seed().value != options_.model.seed)
            throw Error(where, "--seed " + std::to_string(session.seed().value), "the --seed of this run, " +
                        std::to_string(options_.model.seed));
        if (session.iteration() >= total_)
            throw Error(where, std::to_string(session.iteration()) + " iterations done",
                        "fewer than the " + std::to_string(total_) + " of this run (--epochs, --iterations)");
        batches_.go_to(session.iteration());
        resumed_ = session.iteration();
    }

    void introduce() {
        const Totals& totals = *learner_.program().totals;
        const Images& images = data_.dataset().train.images;
        std::string samples = grouped(data_.training()) + " training, ";
        if (data_.validation() != 0) samples += grouped(data_.validation()) + " validation, ";
        samples += grouped(data_.dataset().test.images.count) + " test";
        console_.line("data      " + data_.dataset().name + ", " + samples + " images of " +
                      std::to_string(images.height) + " x " + std::to_string(images.width));
        const std::string activation =
            options_.model.layers.size() > 2 ? ' ' + options_.model.activation : "";
        console_.line("network   " + layers_text(options_.model.layers) + activation + ", " +
                      grouped(totals.parameters) + " parameters");
        console_.line("recipe    " + options_.model.optimizer + ", batch " +
                      std::to_string(options_.model.batch) + ", " + grouped(total_) + " iterations (" +
                      std::to_string(batches_.per_epoch()) + " an epoch), seed " +
                      std::to_string(options_.model.seed) + ", " + name(active_isa()) + threads_text(options_.model.threads));
        console_.line("arena     " + arena_text(totals));
        if (resumed_ != 0) console_.line("resumed   after iteration " + grouped(resumed_));
        nlohmann::ordered_json regions;
        for (std::size_t region = 0; region < region_count; ++region)
            regions[name(static_cast<Region>(region))] = totals.region_bytes[region];
        write_json({{"event", "plan"},
                    {"arena_bytes", totals.arena_bytes},
                    {"parameters", totals.parameters},
                    {"regions", regions}});
    }

    void write_json(const nlohmann::ordered_json& object) {
        if (json_) json_->write(object.dump() + '\n');
    }

    /// Everything in here, and in what it calls, works in memory that is there already.
    void train() {
        TrainingSession& session = learner_.session();
        const std::optional<std::uint64_t> allocations = heap_allocations();
        begin_ = epoch_begin_ = next_refresh_ = Clock::now();
        bool stop = false;
        do {
            const Batch& batch = batches_.next();
            if (console_.live() && Clock::now() >= next_refresh_) show_progress(batch);
            const float loss = session.step(batch.inputs(), batch.labels());
            loss_sum_ += static_cast<double>(loss) * batch.rows();
            samples_ += batch.rows();
            if (stopping_ && !std::isfinite(loss)) {
                diverged_ = session.iteration();
                count_epoch(seconds_between(epoch_begin_, Clock::now()));
                break;
            }
            stop = session.iteration() == total_ || StopSignals::any();
            if (stop || batches_.epoch_ends()) {
                finish_epoch();
                stop = stop || stopped_after_ != 0 || StopSignals::any();
            }
        } while (!stop);
        if (session.restore_best()) test_ = measure_test();
        end_ = Clock::now();
        if (allocations) allocations_ = heap_allocations().value() - *allocations;
    }

    /// The batch is measured before it is learned from: an estimate for new samples that costs one forward
    /// pass.
    void show_progress(const Batch& batch) {
        TrainingSession& session = learner_.session();
        const Clock::time_point now = Clock::now();
        next_refresh_ = now + refresh_interval;
        const double accuracy =
            session.evaluate(batch.inputs(), batch.labels()).correct / static_cast<double>(batch.rows());
        shown_accuracy_ = shown_accuracy_ < 0 ? accuracy : 0.8 * shown_accuracy_ + 0.2 * accuracy;
        Line line;
        line.print("epoch %u/%u  iteration %u/%u", batches_.epoch(), epochs(), session.iteration(), total_);
        if (samples_ != 0) line.print("  loss %.4f", loss_sum_ / static_cast<double>(samples_));
        line.print("  accuracy %.1f %%", 100 * shown_accuracy_);
        if (samples_ != 0) {
            line.print("  %.0f samples/s",
                       static_cast<double>(samples_) / seconds_between(epoch_begin_, now));
            const double left =
                seconds_between(begin_, now) / (session.iteration() - resumed_) * (total_ - session.iteration());
            if (left < 60) {
                line.print("  %.0f s left", left);
            } else {
                line.print("  %.0f min left", left / 60);
            }
        }
        console_.status(line.view());
    }

    void finish_epoch() {
        TrainingSession& session = learner_.session();
        const double seconds = seconds_between(epoch_begin_, Clock::now());
        const double train_loss = loss_sum_ / static_cast<double>(samples_);
        const double speed = static_cast<double>(samples_) / seconds;
        const auto training = [this](std::uint32_t i) { return data_.training_index(i); };
        const auto validation = [this](std::uint32_t i) { return data_.validation_index(i); };
        const Dataset& dataset = data_.dataset();
        const double train_accuracy = measure(session, measured_, dataset.train,
                                              std::min(data_.training(), training_sample_limit), training)
                                          .accuracy;
        // The mean over no samples is not a number, which is null in JSON.
        const Score validated = measure(session, measured_, dataset.train, data_.validation(), validation);
        test_ = measure_test();
        if (stopping_) {
            const EarlyStopping::Verdict verdict = stopping_->observe(static_cast<float>(validated.loss));
            if (verdict == EarlyStopping::Verdict::improved) {
                session.keep_best();
                best_epoch_ = batches_.epoch();
            }
            if (verdict == EarlyStopping::Verdict::stop) stopped_after_ = batches_.epoch();
        }

        if (json_) {
            Line line;
            line.print("{\"event\":\"epoch\",\"epoch\":%u,\"iteration\":%u", batches_.epoch(),
                       session.iteration());
            line.print(",\"train_loss\":").json(train_loss);
            line.print(",\"train_accuracy\":").json(train_accuracy);
            line.print(",\"validation_accuracy\":").json(validated.accuracy);
            line.print(",\"validation_loss\":").json(validated.loss);
            line.print(",\"test_accuracy\":").json(test_.accuracy);
            line.print(",\"samples_per_second\":").json(speed);
            json_->write(line.print("}\n").view());
        }
        Line line;
        line.print("epoch %u/%u  iteration %u  loss %.4f  train %.2f %%", batches_.epoch(), epochs(),
                   session.iteration(), train_loss, 100 * train_accuracy);
        if (data_.validation() != 0) line.print("  validation %.2f %%", 100 * validated.accuracy);
        line.print("  test %.2f %%  %.0f samples/s", 100 * test_.accuracy, speed);
        console_.line(line.view());
        count_epoch(seconds);
    }

    Score measure_test() {
        const Samples& test = data_.dataset().test;
        return measure(learner_.session(), measured_, test, test.images.count, [](std::uint32_t i) { return i; });
    }

    /// What was trained so far took `seconds`; the next epoch begins.
    void count_epoch(double seconds) {
        trained_samples_ += samples_;
        training_seconds_ += seconds;
        samples_ = 0;
        loss_sum_ = 0;
        epoch_begin_ = Clock::now();
    }

    void finish() {
        const TrainingSession& session = learner_.session();
        const double seconds = seconds_between(begin_, end_);
        Line hash;
        hash.print("%016llx", static_cast<unsigned long long>(digest(session)));
        nlohmann::ordered_json done{
            {"event", "done"},           {"test_accuracy", test_.accuracy}, {"seconds", seconds},
            {"isa", name(active_isa())}, {"heap_allocations", nullptr},     {"digest", hash.view()}};
        if (allocations_) done["heap_allocations"] = *allocations_;
        if (stopping_) {
            done["best_epoch"] = best_epoch_;
            done["diverged"] = diverged_ != 0;
        }
        if (StopSignals::any()) done["interrupted"] = true;
        write_json(done);
        const DynamicModel model = learner_.built().model();
        const auto write_file = [](OutputFile& output, const std::vector<std::byte>& bytes) {
            output.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
            output.commit();
        };
        if (save_) {
            std::vector<std::byte> file(weights_bytes(model, learner_.program()));
            file.resize(save_weights(model, session, file).value());
            write_file(*save_, file);
        }
        if (checkpoint_) {
            std::vector<std::byte> file(checkpoint_bytes(model, session));
            file.resize(save_checkpoint(model, session, file).value());
            write_file(*checkpoint_, file);
        }
        if (json_) json_->commit();

        if (StopSignals::any())
            console_.line("interrupted after iteration " + grouped(session.iteration()) + " of " +
                          grouped(total_));
        Line line;
        if (diverged_ != 0)
            console_.line("diverged  at iteration " + grouped(diverged_) + ": the loss is not finite");
        if (stopped_after_ != 0)
            console_.line("stopped   after epoch " + std::to_string(stopped_after_) + ": validation loss no lower for " +
                          std::to_string(options_.patience) + (options_.patience == 1 ? " epoch" : " epochs"));
        if (stopping_) {
            if (best_epoch_ == 0)
                line.print("best      the start values: no epoch has a finite validation loss");
            else
                line.print("best      epoch %u, validation loss %.4f, restored", best_epoch_,
                           static_cast<double>(stopping_->best()));
            console_.line(line.view());
            line.clear();
        }
        line.print("result    test accuracy %.2f %%, test loss %.4f", 100 * test_.accuracy, test_.loss);
        console_.line(line.view());
        console_.line("heap      " +
                      (allocations_ ? grouped(*allocations_) + " allocations" : "not counted") +
                      " from the first training step to the last");
        line.clear();
        line.print("time      %.2f s, %.0f samples/s in training", seconds,
                   static_cast<double>(trained_samples_) / training_seconds_);
        console_.line(line.view());
        console_.line("digest    " + std::string(hash.view()));
        if (save_) console_.line("saved     " + options_.save);
        if (checkpoint_) console_.line("saved     " + options_.checkpoint + " for --resume");
    }

    const TrainOptions& options_;
    TrainingData data_;
    TrainingBatches batches_;
    std::uint32_t total_;
    Learner learner_;
    Batch measured_;
    Console console_;
    std::optional<OutputFile> json_, save_, checkpoint_;
    std::uint32_t resumed_ = 0;  ///< iterations that an earlier run did

    Clock::time_point begin_, end_, epoch_begin_, next_refresh_;
    std::uint64_t samples_ = 0;  ///< of the epoch so far
    double loss_sum_ = 0;        ///< over those
    std::uint64_t trained_samples_ = 0;
    double training_seconds_ = 0;  ///< without evaluation
    double shown_accuracy_ = -1;   ///< negative: none yet
    Score test_;
    std::optional<EarlyStopping> stopping_;
    std::uint32_t best_epoch_ = 0;     ///< 0: the start values
    std::uint32_t stopped_after_ = 0;  ///< the epoch at which patience ended; 0: it did not
    std::uint32_t diverged_ = 0;       ///< the iteration whose loss was not finite; 0: none
    std::optional<std::uint64_t> allocations_;
};

}  // namespace

void add_data_options(CLI::App& app, DataOptions& options, bool training) {
    add_text(app, "--data", "the four IDX files, plain or .gz (default: Debian's dataset-fashion-mnist)",
             [&](const std::string& given) {
                 if (given.empty()) throw Error("--data", "nothing", "a directory");
                 options.directory = given;
             })
        ->type_name("DIR");
    if (!training) return;
    add_text(app, "--limit", "use only the first N training images", [&](const std::string& given) {
        options.limit = static_cast<std::uint32_t>(parse_count("--limit", given, 1, 0xFFFFFFFF));
    })->type_name("N");
    add_text(app, "--validation", "share of the training images that is kept for validation (default: none)",
             [&](const std::string& given) {
                 options.validation = parse_number(
                     "--validation", given, [](float x) { return x > 0 && x < 1; },
                     "a number between 0 and 1, without both");
             })
        ->type_name("X");
}

Dataset load_fitting(const std::string& directory, std::string_view where, std::uint32_t inputs,
                     std::uint32_t outputs) {
    constexpr std::uint32_t usual_classes = 10;
    Dataset dataset =
        load_dataset(directory.empty() ? default_dataset_directory() : std::filesystem::path(directory),
                     std::max(usual_classes, std::min(outputs, std::uint32_t{65536})));
    const Images& images = dataset.train.images;
    if (inputs != 0 && inputs != images.image_size()) {
        throw Error(where, std::to_string(inputs) + " inputs",
                    std::to_string(images.image_size()) + " (images of " + std::to_string(images.height) +
                        " x " + std::to_string(images.width) + " in " + dataset.name + ')');
    }
    std::uint32_t largest = 0;
    for (const Samples* samples : {&dataset.train, &dataset.test})
        for (const Label label : samples->labels) largest = std::max<std::uint32_t>(largest, label);
    if (outputs <= largest) {
        throw Error(where, std::to_string(outputs) + " outputs",
                    "at least " + std::to_string(largest + 1) + " (labels of 0.." + std::to_string(largest) +
                        " in " + dataset.name + ')');
    }
    return dataset;
}

TrainingData::TrainingData(const DataOptions& data, const ModelOptions& model)
    : dataset_(load_fitting(data.directory, "--layers", model.layers.front(), model.layers.back())) {
    const std::uint32_t available = dataset_.train.images.count;
    if (data.limit > available) {
        throw Error(
            "--limit", std::to_string(data.limit),
            "at most " + std::to_string(available) + " (the training images of " + dataset_.name + ')');
    }
    const std::uint32_t used = data.limit == 0 ? available : data.limit;
    split_ = Permutation(used, Random(Seed{model.seed}, split_stream));
    if (data.validation) {
        validation_ = validation_size(used, *data.validation).value();
        if (validation_ == 0 || validation_ == used) {
            throw Error("--validation",
                        std::to_string(validation_) + " of " + std::to_string(used) + " training images",
                        "at least 1 for validation and 1 for training");
        }
    }
    if (model.batch > training()) {
        throw Error("--batch", std::to_string(model.batch),
                    "at most " + std::to_string(training()) + " (the images to train on)");
    }
}

TrainingBatches::TrainingBatches(const TrainingData& data, const ModelOptions& model)
    : data_(&data),
      seed_{model.seed},
      batch_(model.batch, data.dataset().train.images.image_size()),
      order_(data.training(), Random(seed_, order_stream)),
      position_(data.training()) {}

std::uint32_t TrainingBatches::per_epoch() const noexcept {
    return (data_->training() - 1) / batch_.capacity() + 1;
}

void TrainingBatches::begin_epoch() noexcept {
    order_ = Permutation(data_->training(), Random(seed_, order_stream + epoch_));
    ++epoch_;
    position_ = 0;
}

void TrainingBatches::go_to(std::uint32_t iteration) noexcept {
    epoch_ = iteration / per_epoch();
    position_ = data_->training();
    if (iteration % per_epoch() == 0) return;
    begin_epoch();
    position_ = iteration % per_epoch() * batch_.capacity();
}

const Batch& TrainingBatches::next() noexcept {
    if (epoch_ends()) begin_epoch();
    const std::uint32_t rows = std::min(batch_.capacity(), data_->training() - position_);
    batch_.take(data_->dataset().train, position_, rows,
                [this](std::uint32_t i) { return data_->training_index(order_[i]); });
    position_ += rows;
    // A small network waits longer for its next sample than it learns from one.
    if (!epoch_ends()) prefetch(data_->dataset().train, data_->training_index(order_[position_]));
    return batch_;
}

void add_train_command(CLI::App& app) {
    CLI::App* const command =
        app.add_subcommand("train", "Train a network on images and report how good it is");
    const auto options = std::make_shared<TrainOptions>();
    add_data_options(*command, options->data);
    add_model_options(*command, options->model);
    const auto count = [&](const char* name, const char* help, std::uint32_t& value) {
        return add_text(*command, name, help,
                        [name, &value](const std::string& given) {
                            value = static_cast<std::uint32_t>(parse_count(name, given, 1, 0xFFFFFFFF));
                        })
            ->type_name("N");
    };
    count("--epochs", "times that every training image is learned from", options->epochs)
        ->default_str(std::to_string(options->epochs));
    count("--iterations", "stop after N steps, whatever --epochs says", options->iterations);
    count("--patience",
          "stop once N epochs in a row have found no lower validation loss, or when the loss is not finite; "
          "the best epoch's network is the result (needs --validation)",
          options->patience);
    const auto file = [&](const char* name, const char* help, std::string& value) {
        add_text(*command, name, help, [name, &value](const std::string& given) {
            if (given.empty()) throw Error(name, "nothing", "a file");
            value = given;
        })->type_name("FILE");
    };
    file("--json", "write what happens as JSON, an object a line; -: to standard output", options->json);
    file("--save", "write the trained network", options->save);
    file("--checkpoint", "write, at the end or on Ctrl-C, what --resume goes on from", options->checkpoint);
    file("--resume", "go on from a checkpoint; the same other options give the bits of one run",
         options->resume);
    command->callback([options] {
        for (const auto& [name, path] : {std::pair("--save", &options->save), {"--checkpoint", &options->checkpoint}}) {
            if (*path == "-") throw Error(name, "-", "the name of a file");
            if (!path->empty() && *path == options->json)
                throw Error(name, *path + " (also the file of --json)", "another file");
        }
        if (!options->save.empty() && options->save == options->checkpoint)
            throw Error("--checkpoint", options->checkpoint + " (also the file of --save)", "another file");
        if (options->patience != 0) {
            const std::string given = std::to_string(options->patience);
            if (!options->data.validation)
                throw Error("--patience", given + " without --validation", "--validation beside it");
            for (const auto& [name, path] : {std::pair("--resume", &options->resume), {"--checkpoint", &options->checkpoint}})
                if (!path->empty())
                    throw Error("--patience", given + " beside " + name,
                                "only one of them (a checkpoint holds neither the best epoch nor the wait for a better one)");
        }
        const StopSignals signals;
        TrainingRun(*options).run();
        if (StopSignals::any()) throw CLI::RuntimeError(StopSignals::exit_code());
    });
}

}  // namespace ferrite::host
