// SPDX-License-Identifier: MIT
// The `ferrite` command: the real binary, run on a small data set made here, and once on
// MNIST where FERRITE_SHARED names the directory that holds data/mnist (with FERRITE_REQUIRE_SHARED=1 its
// absence is a failure).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ferrite/kernels.hpp>
#include <fstream>
#include <functional>
#include <iterator>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "host/dataset.hpp"
#include "host/heap.hpp"
#include "workplace.hpp"

namespace {

using namespace ferrite::test;

}  // namespace

TEST_CASE("command: bad options are refused in one line, before anything is written") {
    const std::string whole = "a whole number in 1..4294967295";
    const std::string schedules =
        "constant, step:EVERY:FACTOR or cosine[:FLOOR], with or without ,warmup:ITERATIONS";
    const Refusal refusals[] = {
        {{"--frobnicate"},
         "--frobnicate: found an unknown option, expected one of those in `ferrite train --help`"},
        {{"extra"}, "extra: found an unknown option, expected one of those in `ferrite train --help`"},
        {{"--batch"},
         "ferrite train: found --batch: 1 required N missing, expected what `ferrite train --help` says"},
        {{"--activation", "rleu"},
         "--activation: found rleu, expected one of relu, leaky_relu, sigmoid, tanh, gelu"},
        {{"--init", "glorot"},
         "--init: found glorot, expected one of auto, zero, he, he_normal, he_uniform, xavier, "
         "xavier_normal, "
         "xavier_uniform, normal:STANDARD_DEVIATION"},
        {{"--init", "normal:nan"},
         "--init normal: found nan, expected a finite standard deviation of at least 0"},
        {{"--optimizer", "adan"},
         "--optimizer: found adan, expected one of sgd, momentum, nesterov, adagrad, rmsprop, adam, "
         "adam_paper, adamw"},
        {{"--schedule", "linear"}, "--schedule: found linear, expected " + schedules},
        {{"--schedule", "step:10"}, "--schedule: found step:10, expected " + schedules},
        {{"--schedule", "step:0:0.5"}, "--schedule: found 0, expected " + whole},
        {{"--schedule", "cosine:2"}, "--schedule: found 2, expected a number from 0 to 1"},
        {{"--schedule", "cosine,warmup:14"},
         "--schedule: found a warm-up of 14 iterations, expected fewer than the run's 14"},
        {{"--schedule", "constant,warmup"}, "--schedule: found constant,warmup, expected " + schedules},
        {{"--update", "later"}, "--update: found later, expected one of automatic, immediate, stored"},
        {{"--update", "immediate", "--clip-norm", "1"},
         "--update: found immediate beside --clip-norm, expected stored or automatic (the norm of all "
         "gradients needs "
         "all of them)"},
        {{"--layers", "15,10"}, "--layers: found 15 inputs, expected 16 (images of 4 x 4 in data)"},
        {{"--layers", "16,9"}, "--layers: found 9 outputs, expected at least 10 (labels of 0..9 in data)"},
        {{"--layers", "16,0,10"}, "--layers: found 0, expected a whole number in 1..1073741824"},
        {{"--layers", "16"},
         "--layers: found 1 in 16, expected 2..2049 numbers with commas between them (inputs, then the units "
         "of each "
         "layer)"},
        {{"--layers", "16,ten"}, "--layers: found ten, expected a whole number in 1..1073741824"},
        {{"--layers", "16,10,"}, "--layers: found nothing, expected a whole number in 1..1073741824"},
        {{"--layers", "16,1073741824,10"},
         "--layers: found a buffer or the arena passes 4 GiB, expected a network that can be placed in "
         "memory"},
        {{"--learning-rate", "nan"}, "--learning-rate: found nan, expected a finite number of at least 0"},
        {{"--learning-rate", "-0.1"}, "--learning-rate: found -0.1, expected a finite number of at least 0"},
        {{"--learning-rate", "inf"}, "--learning-rate: found inf, expected a finite number of at least 0"},
        {{"--learning-rate", "1e99"}, "--learning-rate: found 1e99, expected a finite number of at least 0"},
        {{"--learning-rate", "fast"}, "--learning-rate: found fast, expected a finite number of at least 0"},
        {{"--optimizer", "momentum", "--momentum", "1"},
         "--momentum: found 1, expected a number of at least 0, below 1"},
        {{"--optimizer", "momentum", "--momentum", "-0.5"},
         "--momentum: found -0.5, expected a number of at least 0, below 1"},
        {{"--momentum", "0.5"},
         "--momentum: found it beside --optimizer adam, expected optimizer momentum or nesterov"},
        {{"--dropout", "1"}, "--dropout: found 1, expected a number of at least 0, below 1"},
        {{"--dropout", "nan"}, "--dropout: found nan, expected a number of at least 0, below 1"},
        {{"--batch-norm", "--batch", "1"},
         "--layers: found batch normalization cannot train on one value per feature, expected a network that can be "
         "placed in memory"},
        {{"--save", "O/./both", "--json", "O/both"},
         "--save O/./both: found the file of another output, expected another file"},
        {{"--weight-decay", "-1"}, "--weight-decay: found -1, expected a finite number of at least 0"},
        {{"--clip-norm", "0"}, "--clip-norm: found 0, expected a finite number above 0"},
        {{"--clip-value", "nan"}, "--clip-value: found nan, expected a finite number above 0"},
        {{"--batch", "0"}, "--batch: found 0, expected " + whole},
        {{"--batch", "10x"}, "--batch: found 10x, expected " + whole},
        {{"--batch", "66"}, "--batch: found 66, expected at most 65 (the images to train on)"},
        {{"--batch", "60", "--validation", "0.2"},
         "--batch: found 60, expected at most 52 (the images to train on)"},
        {{"--limit", "0"}, "--limit: found 0, expected " + whole},
        {{"--limit", "66"}, "--limit: found 66, expected at most 65 (the training images of data)"},
        {{"--validation", "0"}, "--validation: found 0, expected a number between 0 and 1, without both"},
        {{"--validation", "1"}, "--validation: found 1, expected a number between 0 and 1, without both"},
        {{"--validation", "nan"}, "--validation: found nan, expected a number between 0 and 1, without both"},
        {{"--validation", "0.001"},
         "--validation: found 0 of 65 training images, expected at least 1 for validation and 1 for "
         "training"},
        {{"--validation", "0.99999994"},
         "--validation: found 65 of 65 training images, expected at least 1 for validation and 1 for "
         "training"},
        {{"--epochs", "0"}, "--epochs: found 0, expected " + whole},
        {{"--epochs", "4294967295"},
         "--epochs: found 4294967295, expected at most 613566756 (2^32 iterations)"},
        {{"--patience", "0", "--validation", "0.2"}, "--patience: found 0, expected " + whole},
        {{"--patience", "2.5", "--validation", "0.2"}, "--patience: found 2.5, expected " + whole},
        {{"--patience", "3"}, "--patience: found 3 without --validation, expected --validation beside it"},
        {{"--patience", "3", "--validation", "0.2", "--resume", "O/x"},
         "--patience: found 3 beside --resume, expected only one of them (a checkpoint holds neither the best epoch "
         "nor the wait for a better one)"},
        {{"--patience", "3", "--validation", "0.2", "--checkpoint", "O/x"},
         "--patience: found 3 beside --checkpoint, expected only one of them (a checkpoint holds neither the best "
         "epoch nor the wait for a better one)"},
        {{"--iterations", "0"}, "--iterations: found 0, expected " + whole},
        {{"--threads", "0"}, "--threads: found 0, expected a whole number in 1..255"},
        {{"--threads", "256"}, "--threads: found 256, expected a whole number in 1..255"},
        {{"--threads", "two"}, "--threads: found two, expected a whole number in 1..255"},
        {{"--seed", "-1"}, "--seed: found -1, expected a whole number in 0..18446744073709551615"},
        {{"--data", "D/none"},
         "D/none: found nothing of that name, expected a directory with the four IDX files of MNIST or "
         "Fashion-MNIST"},
        {{"--data", ""}, "--data: found nothing, expected a directory"},
        {{"--save", "-"}, "--save: found -, expected the name of a file"},
        {{"--save", "O/both", "--json", "O/both"},
         "--save: found O/both (also the file of --json), expected another file"},
        {{"--save", ""}, "--save: found nothing, expected a file"},
    };
    const Workplace place;
    for (const Refusal& refusal : refusals) {
        CAPTURE(refusal.line);
        Words words = Workplace::training({"--json", "O/run.json", "--save", "O/run.weights"});
        words.insert(words.end(), refusal.more.begin(), refusal.more.end());
        check_refused(place, place.run(words), refusal.line);
        CHECK(place.files_in_out().empty());
    }
}

TEST_CASE("command: a subcommand is named, and FERRITE_ISA is one that there is") {
    const Workplace place;
    const Outcome none = place.run({});
    CHECK(none.code == 2);
    CHECK(none.err.starts_with("ferrite: ferrite: found no subcommand, expected one of train, evaluate"));
    const Outcome wrong = place.run({"trian"});
    CHECK(wrong.code == 2);
    CHECK(wrong.err.starts_with("ferrite: ferrite: found trian, expected one of train, evaluate"));

    std::string names;
    for (const std::string& isa : supported_isas()) names += (names.empty() ? "" : ", ") + isa;
    const Words training = Workplace::training({"--json", "O/run.json"});
    check_refused(
        place, place.run(training, {"FERRITE_ISA=neon"}),
        "FERRITE_ISA: found neon (that instruction set is not part of this build), expected one of " + names);
    if (names.find("avx512") == std::string::npos) {
        const Outcome outcome = place.run(training, {"FERRITE_ISA=avx512"});
        CHECK(outcome.code == 2);
        CHECK(outcome.err.starts_with("ferrite: FERRITE_ISA: found avx512 ("));
    }
    CHECK(place.files_in_out().empty());
}

TEST_CASE(
    "command: outputs that cannot be written are refused before the training, and keep what was there") {
    const Workplace place;
    const auto refuse = [&](const Words& more, const std::string& line) {
        CAPTURE(line);
        check_refused(place, place.run(Workplace::training(more)), line);
    };
    fs::create_directory(place.out() / "directory");
    for (const std::string option : {"--json", "--save"}) {
        refuse({option, "O/none/file"},
               option +
                   " O/none/file: found it unwritable (No such file or directory), expected a writable file");
        refuse({option, "O/directory"},
               option + " O/directory: found it unwritable (Is a directory), expected a writable file");
    }
    write_text(place.out() / "old", "old");
    refuse({"--json", "O/old", "--save", "O/none/file"},
           "--save O/none/file: found it unwritable (No such file or directory), expected a writable file");
    CHECK(place.files_in_out() == std::set<std::string>{"directory", "old"});
    CHECK(read_text(place.out() / "old") == "old");

    if (geteuid() != 0) {  // nothing is read-only for root
        fs::permissions(place.out() / "old", fs::perms::owner_read);
        refuse({"--json", "O/old"},
               "--json O/old: found it unwritable (Permission denied), expected a writable file");
        fs::permissions(place.out(), fs::perms::owner_read | fs::perms::owner_exec);
        refuse({"--json", "O/new"},
               "--json O/new: found it unwritable (Permission denied), expected a writable file");
        fs::permissions(place.out(), fs::perms::owner_all);
    }
    // A disk that fills up in the middle.
    const Outcome full = place.run(Workplace::training({"--save", "O/run.weights", "--json", "/dev/full"}));
    CHECK(full.code == 2);
    CHECK(full.err ==
          "ferrite: --json /dev/full: found it unwritable (No space left on device), expected a writable "
          "file\n");
    CHECK(place.files_in_out() == std::set<std::string>{"directory", "old"});
}

TEST_CASE("command: a damaged data set is refused in one line that names the file") {
    const std::string images = "train-images-idx3-ubyte", labels = "train-labels-idx1-ubyte";
    struct Damage {
        const char* what;
        std::function<void(const Workplace&)> apply;
        std::string line;
    };
    const auto change = [](std::string name, std::function<void(std::string&)> edit) {
        return [=](const Workplace& place) {
            std::string bytes = read_text(place.data_file(name));
            edit(bytes);
            write_text(place.data_file(name), bytes);
        };
    };
    const Damage damages[] = {
        {"missing", [&](const Workplace& place) { fs::remove(place.data_file(images)); },
         "D: found neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz, expected one of them"},
        {"truncated", change(images, [](std::string& bytes) { bytes.pop_back(); }),
         "D/train-images-idx3-ubyte: found 1039 bytes of data, expected 1040 (65 x 4 x 4)"},
        {"oversized", change(labels, [](std::string& bytes) { bytes += 'x'; }),
         "D/train-labels-idx1-ubyte: found 66 bytes of data, expected 65 (65)"},
        {"wrong magic", change(images, [](std::string& bytes) { bytes[0] = 1; }),
         "D/train-images-idx3-ubyte: found magic number 0x01000803, expected 0x00000803 (IDX, unsigned byte, "
         "3 "
         "dimensions)"},
        {"label out of range", change(labels, [](std::string& bytes) { bytes[8 + 3] = 10; }),
         "D/train-labels-idx1-ubyte: found label 10 at index 3, expected 0..9"},
        {"count mismatch",
         change(labels,
                [](std::string& bytes) {
                    bytes[7] = training_images - 1;
                    bytes.pop_back();
                }),
         "D/train-labels-idx1-ubyte: found 64 labels, expected 65 (the images in train-images-idx3-ubyte)"},
        {"damaged gz",
         [&](const Workplace& place) {
             const std::string bytes = read_text(place.data_file(images));
             const fs::path packed = place.data_file(images + ".gz");
             gzFile file = gzopen(packed.c_str(), "wb");
             REQUIRE(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())) ==
                     static_cast<int>(bytes.size()));
             REQUIRE(gzclose(file) == Z_OK);
             std::string content = read_text(packed);
             content[content.size() - 8] = static_cast<char>(content[content.size() - 8] ^ 1);  // the CRC
             write_text(packed, content);
             fs::remove(place.data_file(images));
         },
         "D/train-images-idx3-ubyte.gz: found a damaged gzip stream (incorrect data check), expected an "
         "intact one"},
    };
    for (const Damage& damage : damages) {
        CAPTURE(damage.what);
        const Workplace place;
        damage.apply(place);
        check_refused(place,
                      place.run(Workplace::training({"--json", "O/run.json", "--save", "O/run.weights"})),
                      damage.line);
        CHECK(place.files_in_out().empty());
    }
}

TEST_CASE("command: the events of a run") {
    const Workplace place;
    const Outcome outcome = place.run(Workplace::training({"--json", "-", "--validation", "0.2"}));
    REQUIRE(outcome.code == 0);
    const std::vector<json> events = outcome.events();
    REQUIRE(events.size() == 4);

    const json& plan = events[0];
    CHECK(keys(plan) == Words{"arena_bytes", "event", "parameters", "regions"});
    CHECK(plan.at("event") == "plan");
    CHECK(plan.at("parameters") == 16 * 12 + 12 + 12 * 10 + 10);
    CHECK(keys(plan.at("regions")) == Words{"best", "gradients", "optimizer", "parameters", "planned"});
    CHECK(plan.at("regions").at("gradients") == 0);
    CHECK(plan.at("regions").at("optimizer") >= 2 * 4 * plan.at("parameters").get<int>());
    CHECK(plan.at("arena_bytes") >= 3 * 4 * plan.at("parameters").get<int>());

    // 52 of 65 images in batches of 10: the last one has 2.
    for (int epoch = 1; epoch <= 2; ++epoch) {
        const json& event = events[static_cast<std::size_t>(epoch)];
        CHECK(keys(event) == Words{"epoch", "event", "iteration", "samples_per_second", "test_accuracy",
                                   "train_accuracy", "train_loss", "validation_accuracy", "validation_loss"});
        CHECK(event.at("event") == "epoch");
        CHECK(event.at("epoch") == epoch);
        CHECK(event.at("iteration") == 6 * epoch);
        CHECK(event.at("train_loss") > 0);
        CHECK(event.at("samples_per_second") > 0);
        const auto check_hits = [&](const char* key, int samples) {
            const double hits = event.at(key).get<double>() * samples;
            CHECK(hits == doctest::Approx(std::round(hits)));
            CHECK(hits <= samples);
        };
        check_hits("train_accuracy", 52);
        check_hits("validation_accuracy", 13);
        check_hits("test_accuracy", 30);
        CHECK(event.at("validation_loss") > 0);
    }
    CHECK(events[2].at("train_loss") < events[1].at("train_loss"));

    const json& done = events[3];
    CHECK(keys(done) == Words{"digest", "event", "heap_allocations", "isa", "seconds", "test_accuracy"});
    CHECK(done.at("event") == "done");
    CHECK(done.at("test_accuracy") == events[2].at("test_accuracy"));
    CHECK(done.at("seconds") > 0);
    CHECK(done.at("isa") == supported_isas().back());
    const std::string digest = done.at("digest");
    CHECK(digest.size() == 16);
    CHECK(digest.find_first_not_of("0123456789abcdef") == std::string::npos);
    check_heap(done);

    // Text for a person goes to standard error then, and holds the same facts.
    CHECK(outcome.err.find("digest    " + digest) != std::string::npos);
    CHECK(outcome.err.find('\r') == std::string::npos);
    CHECK(outcome.err.find("epoch 2/2  iteration 12") != std::string::npos);
}

TEST_CASE("command: without --validation there is no such accuracy, and --iterations ends inside an epoch") {
    const Workplace place;
    const std::vector<json> events =
        place.run(Workplace::training({"--json", "-", "--iterations", "10"})).events();
    REQUIRE(events.size() == 4);
    CHECK(events[1].at("iteration") == 7);
    CHECK(events[2].at("epoch") == 2);
    CHECK(events[2].at("iteration") == 10);
    CHECK(events[1].at("validation_accuracy").is_null());
    CHECK(events[1].at("validation_loss").is_null());
    check_heap(events[3]);
    CHECK(last_event(place.run(Workplace::training({"--json", "-", "--limit", "10", "--iterations", "1"})))
              .at("event") == "done");
}

TEST_CASE("command: the digest depends on what was asked for, not on how it was computed") {
    const Workplace place;
    const auto digest = [&](const Words& more, const std::string& isa = "") {
        const Outcome outcome = place.run(Workplace::training(more), {"FERRITE_ISA=" + isa});
        const json done = last_event(outcome);
        check_heap(done);
        if (!isa.empty()) CHECK(done.at("isa") == isa);
        return done.at("digest").get<std::string>();
    };
    for (const std::string optimizer :
         {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adam_paper", "adamw"}) {
        CAPTURE(optimizer);
        const Words base{"--json", "-", "--optimizer", optimizer, "--weight-decay", "0.001"};
        const std::string first = digest(base);
        CHECK(digest(base) == first);
        for (const std::string& isa : supported_isas()) CHECK(digest(base, isa) == first);
        Words stored = base;
        stored.insert(stored.end(), {"--update", "stored"});
        CHECK(digest(stored) == first);
    }
    const Words normed{"--json", "-", "--batch-norm", "--dropout", "0.25"};
    const std::string of_normed = digest(normed);
    for (const std::string& isa : supported_isas()) CHECK(digest(normed, isa) == of_normed);
    Words wide{"--json", "-", "--layers", "16,301,203,10", "--batch", "33", "--batch-norm", "--dropout", "0.25"};
    const std::string of_wide = digest(wide);
    for (const char* threads : {"2", "3", "9"}) {
        Words shared = wide;
        shared.insert(shared.end(), {"--threads", threads});
        CHECK(digest(shared) == of_wide);
    }
    const std::string usual = digest({"--json", "-"});
    for (const Words& other : {Words{"--seed", "2"},
                               {"--activation", "tanh"},
                               {"--activation", "gelu"},
                               {"--activation", "leaky_relu"},
                               {"--activation", "sigmoid"},
                               {"--init", "xavier"},
                               {"--init", "he_uniform"},
                               {"--init", "normal:0.05"},
                               {"--init", "zero"},
                               {"--learning-rate", "0.01"},
                               {"--batch", "9"},
                               {"--limit", "64"},
                               {"--validation", "0.1"},
                               {"--batch-norm"},
                               {"--dropout", "0.2"},
                               {"--batch-norm", "--dropout", "0.2"},
                               {"--clip-norm", "0.1"},
                               {"--clip-value", "0.001"},
                               {"--schedule", "step:3:0.5"},
                               {"--schedule", "constant"},
                               {"--schedule", "cosine:0.1,warmup:3"},
                               {"--schedule", "constant,warmup:5"},
                               {"--optimizer", "momentum", "--momentum", "0.5"}}) {
        CAPTURE(other);
        Words words{"--json", "-"};
        words.insert(words.end(), other.begin(), other.end());
        CHECK(digest(words) != usual);
    }
}

TEST_CASE("command: what is saved is what was trained") {
    const Workplace place;
    write_text(place.out() / "old.json", "old");
    fs::create_symlink("old.json", place.out() / "link.json");
    const Outcome trained = place.run(
        Workplace::training({"--json", "O/link.json", "--save", "O/run.weights", "--learning-rate", "0.01"}));
    REQUIRE(trained.code == 0);
    CHECK(trained.err == "");
    CHECK(place.files_in_out() == std::set<std::string>{"link.json", "old.json", "run.weights"});
    CHECK(fs::is_symlink(place.out() / "link.json"));
    const json done = Outcome::parse(read_text(place.out() / "old.json")).back();

    const Words evaluate{"evaluate", "--weights", "O/run.weights", "--data", "D", "--batch", "7"};
    Words with_json = evaluate;
    with_json.insert(with_json.end(), {"--json", "-"});
    const json evaluation = last_event(place.run(with_json));
    CHECK(evaluation.at("test_accuracy") == done.at("test_accuracy"));
    CHECK(evaluation.at("digest") == done.at("digest"));
    CHECK(evaluation.at("samples") == 30);
    CHECK(evaluation.at("test_loss") > 0);
    int total = 0, hits = 0;
    REQUIRE(evaluation.at("confusion").size() == 10);
    for (std::size_t label = 0; label < 10; ++label) {
        int row = 0;
        for (const json& count : evaluation.at("confusion").at(label)) row += count.get<int>();
        CHECK(row == 3);
        total += row;
        hits += evaluation.at("confusion").at(label).at(label).get<int>();
    }
    CHECK(total == 30);
    CHECK(hits / 30.0 == doctest::Approx(done.at("test_accuracy").get<double>()));

    const Outcome table = place.run(evaluate);
    CHECK(table.code == 0);
    CHECK(table.out.find("class  samples  recall %  precision %\n") != std::string::npos);
    CHECK(table.out.find("label  as 0  as 1") != std::string::npos);
}

TEST_CASE("command: --patience ends the training and leaves the best epoch's network") {
    const Workplace place;
    const auto events_of = [&](const Words& more) {
        Words words{"--json", "O/run.json", "--save", "O/run.weights", "--validation", "0.2", "--schedule", "constant"};
        words.insert(words.end(), more.begin(), more.end());
        const Outcome outcome = place.run(Workplace::training(words));
        CHECK(outcome.code == 0);
        CHECK(outcome.err == "");
        return std::pair(Outcome::parse(read_text(place.out() / "run.json")), outcome.out);
    };
    const auto saved = [&] {
        return last_event(place.run({"evaluate", "--weights", "O/run.weights", "--data", "D", "--json", "-"}));
    };
    const auto number = [](const json& event, const char* key) { return event.at(key).get<double>(); };
    // A rate so large that the validation loss goes up and down.
    const Words restless{"--optimizer", "adam", "--learning-rate", "0.2", "--epochs", "200", "--patience", "3"};
    const auto [events, text] = events_of(restless);
    const json& done = events.back();
    const std::size_t epochs = events.size() - 2;
    REQUIRE(epochs > 3);
    REQUIRE(epochs < 200);
    std::size_t best = 1;
    for (std::size_t e = 2; e <= epochs; ++e) {
        if (number(events[e], "validation_loss") < number(events[best], "validation_loss")) best = e;
        CHECK(e - best <= 3);
        CHECK((e - best == 3) == (e == epochs));
    }
    CHECK(done.at("best_epoch") == best);
    CHECK(done.at("diverged") == false);
    CHECK(done.at("test_accuracy") == events[best].at("test_accuracy"));
    check_heap(done);
    CHECK(saved().at("digest") == done.at("digest"));
    CHECK(saved().at("test_accuracy") == done.at("test_accuracy"));
    CHECK(text.find("\nstopped   after epoch " + std::to_string(epochs) +
                    ": validation loss no lower for 3 epochs\n") != std::string::npos);
    // The same as a training that ends there by itself.
    Words until = restless;
    until.resize(until.size() - 3);
    until.push_back(std::to_string(best));
    const json ended = events_of(until).first.back();
    CHECK(ended.at("digest") == done.at("digest"));
    CHECK(!ended.contains("best_epoch"));

    // Each step multiplies the weights by 1 - 0.1 x 30 = -2: they overflow some epochs behind the best one.
    const auto [broken, told] = events_of({"--optimizer", "sgd", "--learning-rate", "0.1", "--weight-decay", "30",
                                           "--epochs", "100", "--patience", "90"});
    REQUIRE(broken.size() > 3);
    CHECK(broken.size() < 90);
    CHECK(broken.back().at("diverged") == true);
    const std::size_t kept = broken.back().at("best_epoch");
    REQUIRE(kept >= 1);
    CHECK(kept < broken.size() - 2);
    CHECK(broken.back().at("test_accuracy") == broken[kept].at("test_accuracy"));
    CHECK(saved().at("test_accuracy") == broken[kept].at("test_accuracy"));
    CHECK(told.find("\ndiverged  at iteration ") != std::string::npos);
    CHECK(saved().at("digest") == broken.back().at("digest"));
    // At once: the start values.
    const auto [never, said] =
        events_of({"--optimizer", "sgd", "--learning-rate", "1e30", "--epochs", "50", "--patience", "3"});
    REQUIRE(never.size() == 2);
    CHECK(never.back().at("diverged") == true);
    CHECK(never.back().at("best_epoch") == 0);
    CHECK(never.back().at("test_accuracy") == saved().at("test_accuracy"));
    CHECK(saved().at("test_loss") < 10);
    check_heap(never.back());
    CHECK(said.find("\nbest      the start values") != std::string::npos);
    CHECK(said.find("nan samples/s") == std::string::npos);
}

TEST_CASE("command: outputs do not get into each other's way") {
    const Workplace place;
    REQUIRE(place.run(Workplace::training({"--save", "O/w", "--batch-norm"})).code == 0);
    const std::string weights = read_text(place.out() / "w");
    check_refused(place, place.run({"evaluate", "--weights", "O/w", "--data", "D", "--json", "O/w"}),
                  "--json: found O/w (also the file of --weights), expected another file");
    CHECK(read_text(place.out() / "w") == weights);
    const Outcome plan = place.run({"plan", "--layers", "16,10", "--json", "O/p", "--svg", "O/./p"});
    CHECK(plan.code == 2);
    CHECK(place.shortened(plan.err).ends_with(": found the file of another output, expected another file\n"));
    CHECK(place.files_in_out() == std::set<std::string>{"w"});
    // With standard output closed, the console's text goes nowhere, not into the file that is opened first.
    const std::string command = std::string(FERRITE_COMMAND_PATH) + " train --data '" + place.data().string() +
                                "' --layers 16,12,10 --batch 10 --epochs 2 --batch-norm --save '" +
                                (place.out() / "v").string() + "' >&-";
    REQUIRE(std::system(command.c_str()) == 0);
    CHECK(read_text(place.out() / "v") == weights);
}

TEST_CASE("command: info, plan and profile answer in JSON as well") {
    const Workplace place;
    const json info = last_event(place.run({"info", "--json", "-"}));
    CHECK(info.at("instruction_sets").at("supported").size() == supported_isas().size());
    const json training = last_event(place.run({"plan", "--layers", "784,100,10", "--optimizer", "sgd", "--json", "-"}));
    CHECK(training.at("arena_bytes") == 364'100);
    const json inference =
        last_event(place.run({"plan", "--layers", "784,100,10", "--mode", "inference", "--batch", "1", "--json", "-"}));
    CHECK(inference.at("arena_bytes") == 488);
    const json profile = last_event(place.run({"profile", "--data", "D", "--layers", "16,12,10", "--batch", "10", "--batch-norm",
                                               "--steps", "20", "--json", "O/p.json"}).code == 0
                                        ? Outcome{0, read_text(place.out() / "p.json"), ""}
                                        : Outcome{});
    const json& steps = profile.at("steps");
    CHECK(steps.size() >= 6);
    CHECK(place.files_in_out() == std::set<std::string>{"p.json"});

    // Time: the steps and what stands beside them are the whole.
    double sum = 0;
    for (const json& step : steps) {
        CAPTURE(step.dump());
        CHECK(step.at("calls") == 20);
        CHECK(step.at("mean_us") >= step.at("min_us"));
        sum += step.at("mean_us").get<double>();
        const double us = step.at("median_us");
        CHECK(step.at("gflops").get<double>() == doctest::Approx(step.at("flops").get<double>() / us / 1e3));
        CHECK(step.at("gbytes_per_second").get<double>() == doctest::Approx(step.at("bytes").get<double>() / us / 1e3));
        CHECK(step.at("of_limit").get<double>() == doctest::Approx(step.at("limit_us").get<double>() / us));
        CHECK(step.at("limit_us") > 0);
    }
    CHECK(profile.at("all_steps_us").get<double>() == doctest::Approx(sum));
    CHECK(sum + profile.at("gather").at("mean_us").get<double>() + profile.at("watching_us").get<double>() +
              profile.at("executor_us").get<double>() ==
          doctest::Approx(profile.at("whole").at("mean_us").get<double>()));

    // Work: dense 16-12 forward at a batch of 10 reads x, W and b and writes y; its backward step reads x and dy and changes
    // W, b and their two states. All of it fits the first cache.
    const json& limits = profile.at("limits");
    CHECK(steps.front().at("name") == "dense");
    CHECK(steps.front().at("flops") == 2 * 10 * 16 * 12);
    CHECK(steps.front().at("bytes") == 4 * (10 * 16 + 16 * 12 + 12 + 10 * 12));
    const json& back = steps.back();
    CHECK(back.at("name") == "dense backward");
    CHECK(back.at("optimizer") == "adam");
    CHECK(back.at("flops") == 2 * 10 * 16 * 12);
    const double read = 4 * (10 * 16 + 10 * 12 + 3 * (16 * 12 + 12)), written = 4 * 3 * (16 * 12 + 12);
    CHECK(back.at("bytes") == read + written);
    const double fma_us = 2 * 10 * 16 * 12 / limits.at("fma_gflops").get<double>() / 1e3,
                 read_us = read / limits.at("read_gbytes_per_second").at("L1").get<double>() / 1e3,
                 write_us = written / limits.at("write_gbytes_per_second").at("L1").get<double>() / 1e3;
    CHECK(back.at("limit_us").get<double>() == doctest::Approx(std::max({fma_us, read_us, write_us})));
    CHECK(back.at("limit") == (fma_us >= std::max(read_us, write_us) ? "FMA" : read_us >= write_us ? "read L1" : "write L1"));
}

TEST_CASE("command: the limit of a step is that of the cache that can still hold what it needs") {
    const Workplace place;
    // W of the first layer is 16 x 40000 floats: more than a first-level cache, so each iteration finds it further away.
    const json profile = last_event(
        place.run({"profile", "--data", "D", "--layers", "16,40000,10", "--batch", "1", "--optimizer", "sgd", "--steps", "3",
                   "--json", "-"}));
    const json& steps = profile.at("steps");
    for (const json& step : {steps.front(), steps.back()}) {
        CAPTURE(step.dump());
        CHECK(step.at("limit") != "FMA");
        CHECK(step.at("limit") != "read L1");
        CHECK(step.at("limit") != "write L1");
    }
    CHECK(steps.front().at("limit").get<std::string>().starts_with("read "));
    // The loss finds the logits where the step before it has left them.
    const auto loss = std::find_if(steps.begin(), steps.end(),
                                   [](const json& step) { return step.at("name") == "softmax_cross_entropy"; });
    REQUIRE(loss != steps.end());
    CHECK(loss->at("limit").get<std::string>().ends_with(" L1"));
}

TEST_CASE("command: a run that stops and goes on ends with the bits of one that did not stop") {
    const Workplace place;
    // 7 steps an epoch: the stops are at the end of an epoch, inside the first and inside the second one.
    for (const std::string optimizer : {"sgd", "momentum", "adam", "adamw"})
        for (const std::string stop : {"3", "7", "11"}) {
            CAPTURE(optimizer);
            CAPTURE(stop);
            const auto run = [&](const Words& more) {
                Words words{"--json", "-", "--optimizer", optimizer, "--schedule", "step:3:0.5"};
                words.insert(words.end(), more.begin(), more.end());
                return last_event(place.run(Workplace::training(words)));
            };
            const json whole = run({"--iterations", "13"});
            const json half = run({"--iterations", stop, "--checkpoint", "O/run"});
            CHECK(half.at("digest") != whole.at("digest"));
            const json rest = run({"--iterations", "13", "--resume", "O/run"});
            CHECK(rest.at("digest") == whole.at("digest"));
            CHECK(rest.at("test_accuracy") == whole.at("test_accuracy"));
            check_heap(rest);
        }
    REQUIRE(place.run(Workplace::training({"--checkpoint", "O/adam", "--save", "O/weights"})).code == 0);
    CHECK(place.run({"evaluate", "--data", "D", "--weights", "O/adam"}).code == 0);
    const auto refuse = [&](const Words& words, const std::string& line) {
        CAPTURE(line);
        const auto before = place.files_in_out();
        check_refused(place, place.run(Workplace::training(words)), line);
        CHECK(place.files_in_out() == before);
    };
    const std::string expected = ", expected what `ferrite train --checkpoint` wrote with these options";
    refuse({"--resume", "O/weights"}, "--resume O/weights: found a defect (no checkpoint of this optimizer)" + expected);
    refuse({"--resume", "O/adam", "--optimizer", "sgd"},
           "--resume O/adam: found a defect (no checkpoint of this optimizer)" + expected);
    refuse({"--resume", "O/adam", "--layers", "16,11,10"},
           "--resume O/adam: found a defect (the parameters belong to another model)" + expected);
    refuse({"--resume", "O/adam"},
           "--resume O/adam: found 14 iterations done, expected fewer than the 14 of this run (--epochs, --iterations)");
    refuse({"--resume", "O/none"},
           "--resume O/none: found it unreadable (No such file or directory), expected a readable file");
    refuse({"--checkpoint", "O/x", "--save", "O/x"},
           "--checkpoint: found O/x (also the file of --save), expected another file");
    refuse({"--checkpoint", "-"}, "--checkpoint: found -, expected the name of a file");
    refuse({"--checkpoint", "O/none/x"},
           "--checkpoint O/none/x: found it unwritable (No such file or directory), expected a writable file");
}

TEST_CASE("command: a weights file is refused unless every byte of it is right") {
    const Workplace place;
    REQUIRE(place.run(Workplace::training({"--save", "O/good"})).code == 0);
    const std::string good = read_text(place.out() / "good");
    const auto refuse = [&](const std::string& bytes, const std::string& found) {
        CAPTURE(found);
        write_text(place.out() / "bad", bytes);
        check_refused(place, place.run({"evaluate", "--data", "D", "--json", "O/x", "--weights", "O/bad"}),
                      "--weights O/bad: found " + found);
        CHECK(place.files_in_out() == std::set<std::string>{"bad", "good"});
    };
    const auto defect = [](const std::string& reason) {
        return "a defect (" + reason + "), expected a file that `ferrite train --save` wrote";
    };
    std::string flipped = good;
    flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
    refuse(flipped, defect("the checksum does not match the content"));
    refuse(read_text(place.data_file("train-images-idx3-ubyte")), defect("not a Ferrite file"));
    // The checksum is read first or the header, so the reason may be either; the rest holds for every length.
    for (const std::string& bytes : {std::string(), good.substr(0, 4), good.substr(0, 30), good + 'x',
                                     good.substr(0, good.size() / 2), good.substr(0, good.size() - 1)}) {
        CAPTURE(bytes.size());
        write_text(place.out() / "bad", bytes);
        const Outcome outcome = place.run({"evaluate", "--data", "D", "--json", "O/x", "--weights", "O/bad"});
        CHECK(outcome.code == 2);
        CHECK(outcome.out == "");
        CHECK(place.shortened(outcome.err).starts_with("ferrite: --weights O/bad: found a defect ("));
        CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
        CHECK(place.files_in_out() == std::set<std::string>{"bad", "good"});
    }
    const auto refuse_run = [&](const Words& words, const std::string& line) {
        CAPTURE(line);
        check_refused(place, place.run(words), line);
    };
    refuse_run({"evaluate", "--data", "D"},
               "--weights: found nothing, expected a file that `ferrite train --save` wrote");
    refuse_run({"evaluate", "--data", "D", "--weights", "O/none"},
               "--weights O/none: found it unreadable (No such file or directory), expected a readable file");
    refuse_run({"evaluate", "--data", "D", "--weights", "O"},
               "--weights O: found it unreadable (Is a directory), expected a readable file");
    refuse_run({"evaluate", "--data", "D", "--weights", "O/good", "--batch", "31"},
               "--batch: found 31, expected at most 30 (the test images of data)");
    refuse_run({"evaluate", "--data", "D", "--weights", "O/good", "--json", "O/none/x"},
               "--json O/none/x: found it unwritable (No such file or directory), expected a writable file");

    // Another data set: images of one row more.
    for (const auto& [part, count] : {std::pair("train", training_images), {"t10k", test_images}}) {
        write_text(place.data_file(std::string(part) + "-images-idx3-ubyte"),
                   idx(0x803, {count, side + 1, side}) + std::string(count * (side + 1) * side, 'x'));
    }
    refuse_run({"evaluate", "--data", "D", "--weights", "O/good"},
               "--weights O/good: found 16 inputs, expected 20 (images of 5 x 4 in data)");
}

TEST_CASE("command: Ctrl-C ends the training with all that there is") {
    const Workplace place;
    const pid_t child = place.start(
        Workplace::training({"--epochs", "100000000", "--json", "O/run.json", "--save", "O/run.weights"}));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (place.output_so_far().find("epoch 2/") == std::string::npos &&
           std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, SIGINT);
    const Outcome outcome = place.finish(child);
    CHECK(outcome.code == 128 + SIGINT);
    CHECK(outcome.err == "");
    CHECK(outcome.out.find("\ninterrupted after iteration ") != std::string::npos);
    CHECK(place.files_in_out() == std::set<std::string>{"run.json", "run.weights"});
    const json done = Outcome::parse(read_text(place.out() / "run.json")).back();
    CHECK(done.at("event") == "done");
    CHECK(done.at("interrupted") == true);
    check_heap(done);
    CHECK(place.run({"evaluate", "--data", "D", "--weights", "O/run.weights"}).code == 0);
}

TEST_CASE("command: a short run on MNIST") {
    const char* shared = std::getenv("FERRITE_SHARED");
    if (shared == nullptr) {
        const char* required = std::getenv("FERRITE_REQUIRE_SHARED");
        if (required != nullptr && std::string(required) == "1")
            FAIL(
                "FERRITE_REQUIRE_SHARED=1, but FERRITE_SHARED (the directory that holds data/mnist) is not "
                "set");
        MESSAGE("skipped: FERRITE_SHARED (the directory that holds data/mnist) is not set");
        return;
    }
    const Workplace place;
    const Words words{"train",
                      "--data",
                      std::string(shared) + "/data/mnist",
                      "--layers",
                      "784,20,10",
                      "--limit",
                      "1000",
                      "--iterations",
                      "30",
                      "--schedule",
                      "constant",
                      "--json",
                      "-"};
    const json done = last_event(place.run(words));
    CHECK(done.at("test_accuracy") > 0.5);
    check_heap(done);
    for (const std::string& isa : supported_isas())
        CHECK(last_event(place.run(words, {"FERRITE_ISA=" + isa})).at("digest") == done.at("digest"));
}

TEST_CASE("heap: every way to allocate is counted") {
    const auto count = [] { return ferrite::host::heap_allocations(); };
    if (!count()) {
        MESSAGE("skipped: allocations are not counted in this build");
        return;
    }
    const auto adds = [&](const char* what, auto&& allocate) {
        CAPTURE(what);
        const std::uint64_t before = *count();
        void* volatile memory = allocate();  // volatile: not optimized away
        CHECK(*count() == before + 1);
        CHECK(memory != nullptr);
        return memory;
    };
    std::free(adds("malloc", [] { return std::malloc(10); }));
    std::free(adds("calloc", [] { return std::calloc(10, 10); }));
    void* const memory = std::malloc(10);
    std::free(adds("realloc", [=] { return std::realloc(memory, 10000); }));
    std::free(adds("aligned_alloc", [] { return std::aligned_alloc(64, 64); }));
    std::free(adds("posix_memalign", []() -> void* {
        void* aligned = nullptr;
        return posix_memalign(&aligned, 64, 64) == 0 ? aligned : nullptr;
    }));
    ::operator delete(adds("operator new", [] { return ::operator new(10); }));
    ::operator delete[](adds("operator new[]", [] { return ::operator new[](10); }));
    ::operator delete (adds("aligned operator new", [] { return ::operator new (64, std::align_val_t{64}); }),
                       std::align_val_t{64});
    const std::uint64_t before = *count();
    CHECK(*count() == before);
}
