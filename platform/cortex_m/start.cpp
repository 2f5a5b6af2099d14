// SPDX-License-Identifier: MIT
// From reset to main() and back on any Cortex-M with a floating point unit, without an operating system; the console and
// the exit code go through semihosting, so to an emulator or a debugger.
#include <ferrite/config.hpp>
#include <platform.hpp>

#include <cstring>

int main(int, char**);

extern "C" {
// From firmware.ld.in.
extern std::uint32_t __vectors[], __stack_bottom[], __stack_guard_end[], __stack_top[];
extern std::byte __data_start[], __data_end[], __data_load[], __bss_start[], __bss_end[];
extern std::byte __parameters_clear[], __parameters_end[], __state_clear[], __state_end[], __arena_start[], __arena_end[];
extern void (*const __init_array_start[])();
extern void (*const __init_array_end[])();

// Only a hosted image (see ferrite_firmware) has these two.
[[gnu::weak]] void initialise_monitor_handles();
[[noreturn, gnu::weak]] void exit(int);

void* __dso_handle = nullptr;
// Objects of static storage live until the power goes.
int __aeabi_atexit(void*, void (*)(void*), void*) { return 0; }
[[noreturn]] void __cxa_pure_virtual() {
    ferrite::platform::write("fault: a pure virtual function was called\n");
    ferrite::platform::exit(119);
}
}

namespace ferrite::platform {

namespace {

constexpr std::uint32_t paint = 0x5AFE57AC;
constexpr int fault_code = 119;

volatile std::uint32_t& at(std::uint32_t address) { return *reinterpret_cast<volatile std::uint32_t*>(address); }

#if defined(FERRITE_BOARD_EMULATED)
bool somebody_listens() { return true; }
#else
// Without a debugger a breakpoint is a fault. DHCSR.C_DEBUGEN.
bool somebody_listens() { return (at(0xE000EDF0) & 1) != 0; }
#endif

void semihosting(std::uint32_t operation, const void* argument) {
    register std::uint32_t r0 asm("r0") = operation;
    register const void* r1 asm("r1") = argument;
    asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

[[noreturn]] void stop(int code) {
    if (somebody_listens()) {
        constexpr std::uint32_t exit_extended = 0x20, application_exit = 0x20026;
        const std::uint32_t block[2] = {application_exit, static_cast<std::uint32_t>(code)};
        semihosting(exit_extended, block);
    }
    for (;;) asm volatile("wfi");
}

bool guard_intact() {
    for (const std::uint32_t* word = __stack_bottom; word != __stack_guard_end; ++word)
        if (*word != paint) return false;
    return true;
}

void write_overflow() { write("fault: stack overflow, STACK of ferrite_firmware() gives more\n"); }

void write_number(const char* name, std::uint32_t number) {
    write(name);
    char digits[8];
    for (std::size_t i = 8; i-- > 0; number >>= 4) digits[i] = "0123456789abcdef"[number & 15];
    write({digits, 8});
}

}  // namespace

void write(std::string_view text) noexcept {
    if (!somebody_listens()) return;
    constexpr std::uint32_t write_0 = 0x04;
    char line[64];  // write_0 wants a zero at the end
    while (!text.empty()) {
        const std::size_t count = text.copy(line, sizeof line - 1);
        line[count] = '\0';
        semihosting(write_0, line);
        text.remove_prefix(count);
    }
}

void exit(int code) noexcept {
    if (!guard_intact()) {
        write_overflow();
        code = fault_code;
    }
    stop(code);
}

#if defined(FERRITE_BOARD_COUNTER)
std::uint32_t ticks() noexcept { return at(FERRITE_BOARD_COUNTER); }
#else
// The cycle counter of the DWT, which start() switched on.
std::uint32_t ticks() noexcept { return at(0xE0001004); }
#endif
std::uint32_t ticks_per_second() noexcept { return FERRITE_BOARD_COUNTER_HZ; }

std::size_t stack_size() noexcept {
    return static_cast<std::size_t>(__stack_top - __stack_guard_end) * sizeof(std::uint32_t);
}
std::size_t stack_used() noexcept {
    const std::uint32_t* word = __stack_guard_end;
    while (word != __stack_top && *word == paint) ++word;
    return static_cast<std::size_t>(__stack_top - word) * sizeof(std::uint32_t);
}

namespace {

extern "C" [[noreturn, gnu::used]] void ferrite_start() {
    // The vector table may lie anywhere (VTOR), and a fault of each kind gets its own cause (SHCSR).
    at(0xE000ED08) = reinterpret_cast<std::uint32_t>(__vectors);
    at(0xE000ED24) = at(0xE000ED24) | (7u << 16);
#if defined(__ARM_FEATURE_MVE)
    at(0xE000ED14) = at(0xE000ED14) | (1u << 19);  // CCR.LOB: loops without branches
#endif
#if !defined(FERRITE_BOARD_COUNTER)
    at(0xE000EDFC) = at(0xE000EDFC) | (1u << 24);  // DEMCR.TRCENA, then DWT_CTRL.CYCCNTENA
    at(0xE0001FB0) = 0xC5ACCE55;                   // DWT_LAR: Cortex-M7 locks it
    at(0xE0001000) = at(0xE0001000) | 1;
#endif
    asm volatile("dsb\n isb" ::: "memory");
    std::memcpy(__data_start, __data_load, static_cast<std::size_t>(__data_end - __data_start));
    const auto clear = [](std::byte* first, std::byte* last) { std::memset(first, 0, static_cast<std::size_t>(last - first)); };
    clear(__bss_start, __bss_end);
    clear(__parameters_clear, __parameters_end);
    clear(__state_clear, __state_end);
    clear(__arena_start, __arena_end);
    if (&initialise_monitor_handles != nullptr) initialise_monitor_handles();
    for (auto* function = __init_array_start; function != __init_array_end; ++function) (*function)();
    static char name[] = "firmware";
    static char* arguments[] = {name, nullptr};
    const int code = main(1, arguments);
    if (&::exit != nullptr) ::exit(code);
    platform::exit(code);
}

// Paints the stack while nothing is on it, and allows the floating point unit before the compiler may use it (CPACR).
extern "C" [[noreturn, gnu::naked, gnu::used]] void ferrite_reset() {
    asm volatile(
        "ldr r0, =__stack_top\n"
        "mov sp, r0\n"
        "ldr r1, =__stack_bottom\n"
        "ldr r2, =%c0\n"
        "1: str r2, [r1], #4\n"
        "cmp r1, r0\n"
        "blo 1b\n"
#if __ARM_ARCH >= 8
        "ldr r1, =__stack_guard_end\n"
        "msr msplim, r1\n"
#endif
        "ldr r0, =0xE000ED88\n"
        "ldr r1, [r0]\n"
        "orr r1, r1, #0x00F00000\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
        "bl ferrite_start\n"
        ".ltorg\n" ::"i"(paint));
}

// `sp`: the stack pointer at the fault, where the processor put eight registers if there was room.
extern "C" [[noreturn, gnu::used]] void ferrite_fault(const std::uint32_t* sp) {
    const std::uint32_t cause = at(0xE000ED28);  // CFSR
    constexpr std::uint32_t stacking_failed = 1u << 4 | 1u << 12, below_limit = 1u << 20;
    if (reinterpret_cast<std::uintptr_t>(sp) > reinterpret_cast<std::uintptr_t>(__stack_top) - 32) {
        write("fault: the stack pointer was lost\n");
    } else if (sp < __stack_bottom || (cause & (stacking_failed | below_limit)) != 0 || !guard_intact()) {
        write_overflow();
    } else {
        write_number("fault: at 0x", sp[6]);
        write_number(", CFSR 0x", cause);
        write("\n");
    }
    stop(fault_code);
}

// No handler returns, so where the stack is used up or lost, this one starts again at its top.
extern "C" [[noreturn, gnu::naked, gnu::used]] void ferrite_any_fault() {
    asm volatile(
        "mov r0, sp\n"
        "ldr r1, =__stack_top\n"
        "cmp r0, r1\n"
        "bhi 1f\n"
        "ldr r2, =__stack_guard_end + 256\n"
        "cmp r0, r2\n"
        "bhs 2f\n"
        "1: mov sp, r1\n"
        "2:\n"
        "bl ferrite_fault\n"
        ".ltorg\n");
}

union Vector {
    const void* address;
    void (*function)();
};
[[gnu::section(".vectors"), gnu::used]] const Vector vectors[16] = {
    {.address = __stack_top},          {.function = &ferrite_reset},     {.function = &ferrite_any_fault},
    {.function = &ferrite_any_fault},  {.function = &ferrite_any_fault}, {.function = &ferrite_any_fault},
    {.function = &ferrite_any_fault},  {.function = &ferrite_any_fault}, {.function = &ferrite_any_fault},
    {.function = &ferrite_any_fault},  {.function = &ferrite_any_fault}, {.function = &ferrite_any_fault},
    {.function = &ferrite_any_fault},  {.function = &ferrite_any_fault}, {.function = &ferrite_any_fault},
    {.function = &ferrite_any_fault},
};

}  // namespace

}  // namespace ferrite::platform

void ferrite::assertion_failed(const char* expression) noexcept {
    platform::write("assertion failed: ");
    platform::write(expression);
    platform::write("\n");
    platform::exit(platform::fault_code);
}
