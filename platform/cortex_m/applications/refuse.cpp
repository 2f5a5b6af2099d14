// SPDX-License-Identifier: MIT
// What a device does with weights that arrive from outside: every byte is checked before one is used, and a file that is
// damaged or of another network leaves a Status and the weights as they were.
#include "application.hpp"

namespace {
using namespace application;

constexpr fe::Training recipe{.batch = 1};
FERRITE_ARENA fe::Trainer<head, recipe> learner;
constexpr auto narrow = fe::sequential(fe::Shape{hidden}, fe::Dense{.units = classes - 1});
FERRITE_ARENA fe::Trainer<narrow, recipe> other;

bool expect(std::string_view what, fe::Status found, fe::Status expected) {
    Line() << what << ": " << fe::message(found) << (found == expected ? "" : " (FAILED)");
    return found == expected;
}
}  // namespace

int main() {
    const std::span file(head_file);
    bool good = true;
    learner.initialize(fe::Seed{1});
    const std::uint64_t before = fe::digest(learner.session());
    good &= expect("one bit changed", fe::open_weights(damaged_head_file).status(), fe::Status::bad_checksum);
    good &= expect("one byte short", fe::open_weights(file.first(file.size() - 1)).status(), fe::Status::truncated);
    good &= expect("no bytes", fe::open_weights({}).status(), fe::Status::truncated);
    good &= expect("an image of pixels", fe::open_weights(std::as_bytes(std::span(test_images))).status(), fe::Status::bad_magic);
    const auto weights = fe::open_weights(file);
    good &= expect("the file", weights.status(), fe::Status::ok);
    if (!good) return 1;
    good &= expect("into another network", fe::load_weights(weights.value(), other.session()), fe::Status::model_mismatch);
    if (fe::digest(learner.session()) != before) return 1;
    good &= expect("into its network", fe::load_weights(weights.value(), learner.session()), fe::Status::ok);
    report_memory(decltype(learner)::arena_bytes + decltype(other)::arena_bytes);
    return good && fe::digest(learner.session()) != before ? 0 : 1;
}
