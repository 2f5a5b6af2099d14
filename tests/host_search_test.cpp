// SPDX-License-Identifier: MIT
// `ferrite search`: the real binary on a small data set made here.
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "workplace.hpp"

namespace {

using namespace ferrite::test;

/// 52 training and 13 validation images, 6 steps an epoch.
Words searching(const Words& more) {
    Words words{"search",     "--data",   "D",          "--layers", "16,12,10", "--batch", "10",     "--limit", "65",
                "--learning-rate", "1e-3:1", "--weight-decay", "1e-8:1e-2", "--trials", "9",  "--epochs", "9"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

std::vector<json> events_of(const Workplace& place, const Words& more, const std::string& isa = "") {
    Words words = searching(more);
    words.insert(words.end(), {"--json", "-"});
    const Outcome outcome = place.run(words, {"FERRITE_ISA=" + isa});
    CHECK(outcome.code == 0);
    std::vector<json> events = outcome.events();
    REQUIRE(events.size() >= 3);
    check_heap(events.back());
    return events;
}

/// The events of this kind; trials by round, rung and number.
std::vector<json> of_kind(const std::vector<json>& events, const std::string& kind) {
    std::vector<json> result;
    for (const json& event : events)
        if (event.at("event") == kind) result.push_back(event);
    const auto place_of = [](const json& event) {
        return std::array{event.at("round").get<int>(), event.at("rung").get<int>(), event.at("trial").get<int>()};
    };
    if (kind == "trial")
        std::sort(result.begin(), result.end(),
                  [&](const json& a, const json& b) { return place_of(a) < place_of(b); });
    return result;
}

}  // namespace

TEST_CASE("search command: bad options are refused in one line, before anything is written") {
    const std::string whole = "a whole number in 1..";
    const std::string range =
        ", expected LOW:HIGH with 0 < LOW <= HIGH, LOW:HIGH:linear with 0 <= LOW <= HIGH, or one number of at least 0";
    std::vector<Refusal> refusals{
        {{"--frobnicate"},
         "--frobnicate: found an unknown option, expected one of those in `ferrite search --help`"},
        {{"--trials", "0"}, "--trials: found 0, expected " + whole + "1000000"},
        {{"--trials", "ten"}, "--trials: found ten, expected " + whole + "1000000"},
        {{"--epochs", "0"}, "--epochs: found 0, expected " + whole + "16777215"},
        {{"--rounds", "0"}, "--rounds: found 0, expected " + whole + "1000"},
        {{"--rounds", "1001"}, "--rounds: found 1001, expected " + whole + "1000"},
        {{"--parents", "0"}, "--parents: found 0, expected " + whole + "1000000"},
        {{"--eta", "0"}, "--eta: found 0, expected " + whole + "1000"},
        {{"--eta", "1.5"}, "--eta: found 1.5, expected " + whole + "1000"},
        {{"--first-epochs", "0"}, "--first-epochs: found 0, expected " + whole + "16777215"},
        {{"--first-epochs", "10"}, "--first-epochs: found 10, expected at most --epochs, 9"},
        {{"--keep", "0"}, "--keep: found 0, expected " + whole + "1000000"},
        {{"--keep", "-1"}, "--keep: found -1, expected " + whole + "1000000"},
        {{"--jobs", "0"}, "--jobs: found 0, expected " + whole + "1024"},
        {{"--jobs", "many"}, "--jobs: found many, expected " + whole + "1024"},
        {{"--seed", "-1"}, "--seed: found -1, expected a whole number in 0..18446744073709551615"},
        {{"--batch", "0"}, "--batch: found 0, expected " + whole + "4294967295"},
        {{"--batch", "53"}, "--batch: found 53, expected at most 52 (the images to train on)"},
        {{"--limit", "0"}, "--limit: found 0, expected " + whole + "4294967295"},
        {{"--limit", "66"}, "--limit: found 66, expected at most 65 (the training images of data)"},
        {{"--limit", "1", "--batch", "1"},
         "--validation: found 0 of 1 training images, expected at least 1 for validation and 1 for training"},
        {{"--limit", "4"},
         "--validation: found 0 of 4 training images, expected at least 1 for validation and 1 for training"},
        {{"--validation", "1"}, "--validation: found 1, expected a number between 0 and 1, without both"},
        {{"--validation", "0"}, "--validation: found 0, expected a number between 0 and 1, without both"},
        {{"--layers", "15,10"}, "--layers: found 15 inputs, expected 16 (images of 4 x 4 in data)"},
        {{"--optimizer", "adan"},
         "--optimizer: found adan, expected one of sgd, momentum, nesterov, adagrad, rmsprop, adam, adam_paper, adamw"},
        {{"--momentum", "0.5"},
         "--momentum: found it beside --optimizer sgd, expected optimizer momentum or nesterov"},
        {{"--data", "D/none"},
         "D/none: found nothing of that name, expected a directory with the four IDX files of MNIST or Fashion-MNIST"},
        {{"--json", ""}, "--json: found nothing, expected a file"},
        {{"--json", "O/none/file"},
         "--json O/none/file: found it unwritable (No such file or directory), expected a writable file"},
        {{"--json", "O"}, "--json O: found it unwritable (Is a directory), expected a writable file"},
    };
    for (const std::string option : {"--learning-rate", "--weight-decay"})
        for (const std::string wrong : {"1e-2:1e-6", "0.2:0.1:linear", "0:1", "-1:1", "-1", "nan", "1:nan", "1:inf", "1:", ":1",
                                        "1:2:3", "1:2:log", "1:linear", ":linear", "fast", "1e-6-1e-2", "1:2:linear:linear"})
            refusals.push_back({{option, wrong}, option + ": found " + wrong + range});
    refusals.push_back({{"--learning-rate", ""}, "--learning-rate: found nothing" + range});
    const Workplace place;
    for (const Refusal& refusal : refusals) {
        CAPTURE(refusal.line);
        Words words = searching({"--json", "O/run.json"});
        words.insert(words.end(), refusal.more.begin(), refusal.more.end());
        check_refused(place, place.run(words), refusal.line);
        CHECK(place.files_in_out().empty());
    }
    // A disk that fills up in the middle, told by another thread than the first.
    const Outcome full = place.run(searching({"--jobs", "2", "--json", "/dev/full"}));
    CHECK(full.code == 2);
    CHECK(full.err ==
          "ferrite: --json /dev/full: found it unwritable (No space left on device), expected a writable file\n");
}

TEST_CASE("search command: the events and the table") {
    const Workplace place;
    Words words = searching({"--rounds", "2", "--eta", "3", "--parents", "3", "--keep", "4", "--jobs", "1", "--json", "-"});
    const Outcome outcome = place.run(words);
    REQUIRE(outcome.code == 0);
    const std::vector<json> events = outcome.events();

    const json& plan = events[0];
    CHECK(keys(plan) == Words{"arena_bytes", "epochs", "eta", "event", "jobs", "rounds", "total_arena_bytes",
                              "total_epochs", "training", "trials", "validation"});
    CHECK(plan.at("event") == "plan");
    CHECK(plan.at("training") == 52);
    CHECK(plan.at("validation") == 13);
    CHECK(plan.at("jobs") == 1);
    CHECK(plan.at("total_arena_bytes") == plan.at("arena_bytes"));
    CHECK(plan.at("total_epochs") == 2 * (9 * 1 + 3 * 3 + 1 * 9));

    const std::vector<json> rounds = of_kind(events, "round");
    REQUIRE(rounds.size() == 2);
    CHECK(events[1] == rounds[0]);
    CHECK(rounds[0].at("learning_rate").at(0).get<float>() == 1e-3f);
    CHECK(rounds[0].at("learning_rate").at(1) == 1);
    CHECK(rounds[0].at("weight_decay").at(0).get<float>() == 1e-8f);
    CHECK(rounds[0].at("weight_decay").at(1).get<float>() == 1e-2f);

    const std::vector<json> trials = of_kind(events, "trial");
    REQUIRE(trials.size() == 26);
    CHECK(events.size() == 1 + 2 + 26 + 1);
    std::size_t t = 0;
    for (int round = 1; round <= 2; ++round) {
        const json& ranges = rounds[static_cast<std::size_t>(round - 1)];
        int rung = 0;
        for (const auto& [size, epochs] : {std::pair(9, 1), {3, 3}, {1, 9}}) {
            ++rung;
            for (int i = 0; i < size; ++i, ++t) {
                const json& trial = trials[t];
                CAPTURE(trial.dump());
                CHECK(keys(trial) == Words{"epochs", "event", "learning_rate", "round", "rung", "trial",
                                           "validation_accuracy", "weight_decay"});
                CHECK(trial.at("round") == round);
                CHECK(trial.at("rung") == rung);
                CHECK(trial.at("epochs") == epochs);
                if (rung == 1) CHECK(trial.at("trial") == 9 * (round - 1) + i);
                for (const char* const name : {"learning_rate", "weight_decay"}) {
                    CHECK(trial.at(name) >= ranges.at(name).at(0));
                    CHECK(trial.at(name) <= ranges.at(name).at(1));
                }
                const double hits = trial.at("validation_accuracy").get<double>() * 13;
                CHECK(hits == doctest::Approx(std::round(hits)).epsilon(1e-5));
            }
        }
    }
    const auto length = [&](std::size_t round, const char* name) {
        const json& range = rounds[round].at(name);
        return std::log(range.at(1).get<double>() / range.at(0).get<double>());
    };
    CHECK(length(1, "learning_rate") < length(0, "learning_rate"));

    const json& done = events.back();
    CHECK(keys(done) == Words{"best", "digest", "event", "heap_allocations", "seconds", "trials"});
    CHECK(done.at("event") == "done");
    CHECK(done.at("trials") == 26);
    check_heap(done);
    REQUIRE(done.at("best").size() == 4);
    // The best one of all was trained longest; its numbers are those of its last event.
    const json& winner = done.at("best").at(0);
    CHECK(winner.at("epochs") == 9);
    bool found = false;
    for (const json& trial : trials) {
        if (trial.at("epochs") != 9) continue;
        CHECK(winner.at("validation_accuracy") >= trial.at("validation_accuracy"));
        found |= trial.at("trial") == winner.at("trial") && trial.at("validation_accuracy") == winner.at("validation_accuracy") &&
                 trial.at("learning_rate") == winner.at("learning_rate") && trial.at("weight_decay") == winner.at("weight_decay");
    }
    CHECK(found);

    const std::string& text = outcome.err;
    CHECK(text.find("digest    " + done.at("digest").get<std::string>()) != std::string::npos);
    CHECK(text.find("rank  trial  validation") != std::string::npos);
    CHECK(text.find("\nround 2 of 2  learning rate ") != std::string::npos);
    CHECK(text.find('\r') == std::string::npos);

    // The command it gives can be run as it stands, and has the very numbers.
    const std::size_t command = text.find("ferrite train ");
    REQUIRE(command != std::string::npos);
    const std::string line = text.substr(command, text.find('\n', command) - command);
    const auto given = [&](const std::string& option) {
        return std::strtof(line.c_str() + line.find(option) + option.size(), nullptr);
    };
    CHECK(given("--learning-rate ") == winner.at("learning_rate").get<float>());
    CHECK(given("--weight-decay ") == winner.at("weight_decay").get<float>());
    CHECK(line.find(" --schedule constant --batch 10 --epochs 9 ") != std::string::npos);
    CHECK(std::system((replaced(line, "ferrite train", std::string("'") + FERRITE_COMMAND_PATH + "' train") + " >/dev/null")
                          .c_str()) == 0);
}

TEST_CASE("search command: the same result for any number of jobs and any instruction set") {
    const Workplace place;
    for (const Words& base : {Words{"--rounds", "2"},
                              Words{"--rounds", "2", "--eta", "3", "--optimizer", "momentum", "--batch-norm", "--dropout", "0.2"}}) {
        const auto run = [&](const Words& more, const std::string& isa = "") {
            Words words = base;
            words.insert(words.end(), more.begin(), more.end());
            return events_of(place, words, isa);
        };
        const std::vector<json> one = run({"--jobs", "1"});
        for (const std::string jobs : {"2", "5", "30"}) {
            CAPTURE(jobs);
            const std::vector<json> several = run({"--jobs", jobs});
            CHECK(several.back().at("digest") == one.back().at("digest"));
            CHECK(several.back().at("best") == one.back().at("best"));
            CHECK(of_kind(several, "trial") == of_kind(one, "trial"));
            CHECK(of_kind(several, "round") == of_kind(one, "round"));
            // No more memory than trials at a time.
            CHECK(several.front().at("jobs") == std::min(9, std::stoi(jobs)));
        }
        for (const std::string& isa : supported_isas())
            CHECK(run({"--jobs", "2"}, isa).back().at("digest") == one.back().at("digest"));
        CHECK(run({"--seed", "2"}).back().at("digest") != one.back().at("digest"));
    }
}

TEST_CASE("search command: what a trial trains") {
    const Workplace place;
    const auto trials_of = [&](const Words& more) { return of_kind(events_of(place, more), "trial"); };
    const auto scores = [&](const Words& more) {
        std::vector<double> result;
        for (const json& trial : trials_of(more)) result.push_back(trial.at("validation_accuracy").get<double>());
        return result;
    };
    // Fixed rates: only the start values and the order of the batches differ from trial to trial.
    const Words fixed{"--learning-rate", "0.1", "--weight-decay", "0"};
    const std::vector<double> usual = scores(fixed);
    CHECK(std::set<double>(usual.begin(), usual.end()).size() > 1);
    // Both rates reach the training, and a schedule spans the whole trial.
    CHECK(scores({"--learning-rate", "0", "--weight-decay", "0"}) != usual);
    CHECK(scores({"--learning-rate", "0.1", "--weight-decay", "2"}) != usual);
    const std::vector<double> cosine = scores({"--learning-rate", "0.1", "--weight-decay", "0", "--schedule", "cosine"});
    double sum = 0, still = 0;
    for (const double score : cosine) sum += score;
    for (const double score : scores({"--learning-rate", "0", "--weight-decay", "0"})) still += score;
    CHECK(sum > still + 1);
    // A trial that goes on starts again where it started: the first rung's score is that of a search of so many epochs.
    const std::vector<json> halving = trials_of({"--eta", "3"}), short_ones = trials_of({"--epochs", "1"});
    const std::vector<json> long_ones = trials_of({});
    for (const json& trial : halving) {
        const std::size_t i = trial.at("trial");
        if (trial.at("epochs") == 1) CHECK(trial.at("validation_accuracy") == short_ones[i].at("validation_accuracy"));
        if (trial.at("epochs") == 9) CHECK(trial.at("validation_accuracy") == long_ones[i].at("validation_accuracy"));
    }
    // linear: about half of the trials in the upper half of the range.
    const std::vector<json> linear = trials_of({"--learning-rate", "0:1:linear", "--trials", "60", "--epochs", "1"});
    const auto upper = std::count_if(linear.begin(), linear.end(), [](const json& trial) { return trial.at("learning_rate") > 0.5; });
    CHECK(upper > 15);
    CHECK(upper < 45);
}

TEST_CASE("search command: trials that diverge are failures, and a search of nothing else still ends") {
    const Workplace place;
    const std::vector<json> mixed = events_of(place, {"--learning-rate", "1e-2:1e30", "--eta", "3", "--keep", "9", "--jobs", "2"});
    const json& best = mixed.back().at("best");
    CHECK(best.at(0).at("validation_accuracy").is_number());
    CHECK(best.back().at("validation_accuracy").is_null());
    const Outcome none = place.run(searching({"--learning-rate", "1e29:1e30", "--rounds", "2", "--json", "O/run.json"}));
    CHECK(none.code == 0);
    CHECK(none.out.find("diverged") != std::string::npos);
    CHECK(none.out.find("ferrite train") == std::string::npos);
    const std::vector<json> events = Outcome::parse(read_text(place.out() / "run.json"));
    for (const json& trial : of_kind(events, "trial")) CHECK(trial.at("validation_accuracy").is_null());
    CHECK(of_kind(events, "trial").size() == 18);
    check_heap(events.back());
}

/// Of the last line of progress.
static long trials_done(const std::string& output) {
    const std::size_t end = output.rfind(" trials done"), begin = output.rfind(' ', end - 1);
    return end == std::string::npos ? 0 : std::stol(output.substr(begin, end - begin));
}

TEST_CASE("search command: Ctrl-C ends the search with all that it has") {
    const Workplace place;
    for (const std::string jobs : {"1", "3"}) {
        const pid_t child =
            place.start(searching({"--trials", "1000000", "--jobs", jobs, "--keep", "3", "--json", "O/run.json"}));
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (trials_done(place.output_so_far()) < 3 &&
               std::chrono::steady_clock::now() < deadline)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        kill(child, SIGINT);
        const Outcome outcome = place.finish(child);
        CHECK(outcome.code == 128 + SIGINT);
        CHECK(outcome.err == "");
        CHECK(outcome.out.find("\ninterrupted after ") != std::string::npos);
        CHECK(outcome.out.find("ferrite train ") != std::string::npos);
        CHECK(place.files_in_out() == std::set<std::string>{"run.json"});
        const std::vector<json> events = Outcome::parse(read_text(place.out() / "run.json"));
        CHECK(events.back().at("event") == "done");
        CHECK(events.back().at("interrupted") == true);
        CHECK(events.back().at("best").size() == 3);
        CHECK(of_kind(events, "trial").size() == events.back().at("trials"));
        check_heap(events.back());
    }

    // In the middle of a trial that would take minutes.
    const pid_t child = place.start(searching({"--trials", "1", "--epochs", "2000000", "--jobs", "1", "--json", "O/run.json"}));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (place.output_so_far().find("\nmemory ") == std::string::npos && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const auto before = std::chrono::steady_clock::now();
    kill(child, SIGINT);
    const Outcome outcome = place.finish(child);
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(10));
    CHECK(outcome.code == 128 + SIGINT);
    CHECK(outcome.out.find("\ninterrupted after 0 trials\n") != std::string::npos);
    const json done = Outcome::parse(read_text(place.out() / "run.json")).back();
    CHECK(done.at("interrupted") == true);
    CHECK(done.at("best").empty());
    check_heap(done);
}
