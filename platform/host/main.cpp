// SPDX-License-Identifier: MIT
// The `ferrite` command. Exit code 0: done; 2: bad input, told in one line on standard error; 128 + n: ended
// by signal n.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "dataset.hpp"
#include "options.hpp"

namespace ferrite::host {
namespace {

#define FERRITE_TEXT(x) #x
#define FERRITE_VERSION_TEXT(major, minor, patch) \
    FERRITE_TEXT(major) "." FERRITE_TEXT(minor) "." FERRITE_TEXT(patch)

/// FERRITE_ISA=scalar|avx2|avx512 forces the instruction set of the kernels.
void select_isa_from_environment() {
    const char* const wanted = std::getenv("FERRITE_ISA");
    if (wanted == nullptr || *wanted == '\0') return;
    const Status status = select_isa(wanted);
    if (status == Status::ok) return;
    std::string names;
    for (std::size_t i = 0; i < isa_count; ++i) {
        if (!supported(static_cast<Isa>(i))) continue;
        names += (names.empty() ? "one of " : ", ") + std::string(name(static_cast<Isa>(i)));
    }
    throw Error("FERRITE_ISA", std::string(wanted) + " (" + message(status) + ')', names);
}

/// What CLI11 found wrong, as an Error.
Error explained(const CLI::App& app, const CLI::ParseError& error) {
    const std::vector<CLI::App*> commands = app.get_subcommands();
    if (commands.empty()) {
        const std::vector<std::string> words = app.remaining();
        std::string names;
        for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
            names += (names.empty() ? "one of " : ", ") + command->get_name();
        return {"ferrite", words.empty() ? "no subcommand" : words.front(), names};
    }
    const std::string help = "`ferrite " + commands.front()->get_name() + " --help`";
    const std::vector<std::string> words = app.remaining(true);
    if (!words.empty()) return {words.front(), "an unknown option", "one of those in " + help};
    return {"ferrite " + commands.front()->get_name(), error.what(), "what " + help + " says"};
}

int run(int argc, char** argv) {
    CLI::App app("Neural networks compiled to static programs: trained without a heap allocation");
    app.name("ferrite");
    app.set_version_flag(
        "--version",
        "ferrite " FERRITE_VERSION_TEXT(FERRITE_VERSION_MAJOR, FERRITE_VERSION_MINOR, FERRITE_VERSION_PATCH));
    app.require_subcommand(1);
    add_train_command(app);
    add_evaluate_command(app);
    add_plan_command(app);
    add_profile_command(app);
    add_search_command(app);
    add_lab_command(app);
    add_info_command(app);
    try {
        select_isa_from_environment();
        app.parse(argc, argv);
        return 0;
    } catch (const CLI::Success& wanted) {  // help, version
        return app.exit(wanted);
    } catch (const CLI::RuntimeError& ended) {
        return ended.get_exit_code();
    } catch (const CLI::ParseError& error) {
        throw explained(app, error);
    }
}

}  // namespace
}  // namespace ferrite::host

int main(int argc, char** argv) {
    // Where a standard descriptor is closed, the next file that is opened would get its number, and the console's text.
    for (int descriptor = 0; descriptor <= 2;) {
        descriptor = ::open("/dev/null", O_RDWR);
        if (descriptor > 2) ::close(descriptor);
        if (descriptor < 0) break;
    }
    try {
        return ferrite::host::run(argc, argv);
    } catch (const ferrite::host::Error& error) {
        std::fprintf(stderr, "ferrite: %s\n", error.what());
    } catch (const std::bad_alloc&) {
        std::fputs("ferrite: memory: found too little, expected enough for the network and the data\n",
                   stderr);
    }
    return 2;
}
