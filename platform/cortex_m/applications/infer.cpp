// SPDX-License-Identifier: MIT
// A trained network in use: its parameters stay in flash, one image at a time. Parameters that are not what they should be
// are refused, and an input that is not a number gives an answer.
#include "application.hpp"

#include <limits>

namespace {
using namespace application;
FERRITE_ARENA Classifier classifier;

bool expect(std::string_view what, bool right) {
    Line() << what << ": " << (right ? "ok" : "FAILED");
    return right;
}
}  // namespace

int main() {
    bool good = true;
    const std::span parameters(classifier_parameters);
    good &= expect("parameters cut short are refused",
                   classifier.use(parameters.first(parameters.size() / 2)) == fe::Status::buffer_too_small);
    good &= expect("parameters at an odd address are refused",
                   classifier.use(std::as_bytes(std::span(test_images)).subspan(1)) == fe::Status::misaligned);
    good &= expect("the digest of the parameters", fe::fnv1a(parameters) == classifier_digest);
    good &= expect("parameters in flash are used in place", classifier.use(parameters) == fe::Status::ok);
    if (!good) return 1;

    const std::uint32_t start = fe::platform::ticks();
    const std::uint32_t correct = count_correct([](std::uint32_t i) { return classifier.predict(input(test_images, i)); });
    const std::uint32_t elapsed = fe::platform::ticks() - start;

    float broken[pixels]{};
    broken[pixels / 2] = std::numeric_limits<float>::quiet_NaN();
    good &= expect("an image with a NaN is refused", fe::check_finite(broken) == fe::Status::not_finite);
    good &= expect("and, if it is not, of class 0, for want of a larger output", fe::argmax(classifier.predict(broken)) == 0);
    broken[pixels / 2] = std::numeric_limits<float>::infinity();
    good &= expect("an image with an infinity is refused", fe::check_finite(broken) == fe::Status::not_finite);
    good &= expect("and, if it is not, has a class", fe::argmax(classifier.predict(broken)) < classes);
    good &= expect("an image is not refused", fe::check_finite(input(test_images, 0)) == fe::Status::ok);
    report_time("an image", elapsed, test_count);
    report_memory(Classifier::arena_bytes);
    return judge("inference", correct, 300) && good ? 0 : 1;
}
