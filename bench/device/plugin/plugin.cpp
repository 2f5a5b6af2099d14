// SPDX-License-Identifier: MIT
// A plugin of QEMU's translator, on the machine that builds: counts the instructions that a program executes
// between the marks of ../marks.hpp and writes a line for each pair of them to the file of its argument out=.
// Debian has no qemu-plugin.h; what is used of version 1 of that interface is declared here.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "../marks.hpp"

extern "C" {
struct qemu_plugin_tb;
struct qemu_plugin_insn;
std::size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb*);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb*, std::size_t index);
const void* qemu_plugin_insn_data(const qemu_plugin_insn*);
std::size_t qemu_plugin_insn_size(const qemu_plugin_insn*);
void qemu_plugin_register_vcpu_tb_trans_cb(std::uint64_t id, void (*)(std::uint64_t id, qemu_plugin_tb*));
void qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_insn*, int operation, void*, std::uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_insn*, void (*)(unsigned cpu, void*), int flags,
                                            void*);
}

namespace {

constexpr int add_u64 = 0, no_registers = 0;

std::uint64_t executed, at_begin;
std::FILE* out;

void begin(unsigned, void*) { at_begin = executed; }

void end(unsigned, void*) {
    std::fprintf(out, "%llu\n", static_cast<unsigned long long>(executed - at_begin));
    std::fflush(out);
}

template <std::size_t count>
bool is_one_of(const qemu_plugin_insn* instruction, const std::uint32_t (&marks)[count]) {
    std::uint32_t word = 0;
    if (qemu_plugin_insn_size(instruction) != sizeof word) return false;
    std::memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
    for (const std::uint32_t mark : marks)
        if (word == mark) return true;
    return false;
}

void translated(std::uint64_t, qemu_plugin_tb* block) {
    for (std::size_t i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
        qemu_plugin_insn* const instruction = qemu_plugin_tb_get_insn(block, i);
        if (is_one_of(instruction, ferrite::bench::begin_words))
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, begin, no_registers, nullptr);
        else if (is_one_of(instruction, ferrite::bench::end_words))
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, end, no_registers, nullptr);
        else
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, add_u64, &executed, 1);
    }
}

}  // namespace

extern "C" {
extern const int qemu_plugin_version;
const int qemu_plugin_version = 1;

int qemu_plugin_install(std::uint64_t id, const void*, int count, char** arguments) {
    for (int i = 0; i < count; ++i)
        if (std::strncmp(arguments[i], "out=", 4) == 0) out = std::fopen(arguments[i] + 4, "w");
    if (out == nullptr) {
        std::fputs("ferrite_counter: the argument out= should name a file to write\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
}
