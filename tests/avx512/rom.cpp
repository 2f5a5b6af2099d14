// SPDX-License-Identifier: MIT
// The ROM's second half: reads a static x86-64 Linux program from the emulated disk, runs it in ring 0 and
// answers the system calls of a program that computes and prints: memory with page protection, output, exit.
// No files, threads or signals. Freestanding, and without vector registers, which belong to the program.
//
// Memory: 0x1000 page tables, 0x7000 end of the ROM's stack, 0x8000 its variables, 0xf0000 the ROM itself;
// MiB 2 page tables, 4 the program and its heap, 32 what it maps, 112 its stack, 128 to 256 the disk.
//
// Output: the first parallel port takes what the program prints, the second how it ended: "exit 0".
#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace {

constexpr std::uint64_t page_bytes = 4096, large_page_bytes = 2 << 20;
constexpr std::uint64_t program_start = 4ul << 20, mapped_start = 32ul << 20, mapped_end = 112ul << 20;
constexpr std::uint64_t stack_end = 128ul << 20, disk_start = 128ul << 20, disk_end = 256ul << 20;

// ---- the machine

void write_port(std::uint16_t port, std::uint8_t value) {
    asm volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
std::uint8_t read_port(std::uint16_t port) {
    std::uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
void write_register(std::uint32_t number, std::uint64_t value) {
    asm volatile("wrmsr" ::"c"(number), "a"(static_cast<std::uint32_t>(value)),
                 "d"(static_cast<std::uint32_t>(value >> 32)));
}
std::uint64_t instructions_so_far() {  // the emulated processor counts one per instruction
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return std::uint64_t{high} << 32 | low;
}

template <class T>
T& at(std::uint64_t address) {
    return *reinterpret_cast<T*>(address);
}
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

// Words first: each repetition costs the emulator an instruction.
void copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
    std::uint64_t words = bytes / 8, rest = bytes % 8;
    asm volatile("rep movsq; mov %3, %2; rep movsb"
                 : "+D"(to), "+S"(from), "+c"(words)
                 : "r"(rest)
                 : "memory");
}
void fill(std::uint64_t to, std::uint8_t byte, std::uint64_t bytes) {
    std::uint64_t words = bytes / 8, rest = bytes % 8;
    asm volatile("rep stosq; mov %3, %1; rep stosb"
                 : "+D"(to), "+c"(words)
                 : "a"(byte * 0x0101010101010101), "r"(rest)
                 : "memory");
}
void clear(std::uint64_t to, std::uint64_t bytes) { fill(to, 0, bytes); }

struct ParallelPort {
    std::uint16_t port;
    void put(char c) const {
        write_port(port, static_cast<std::uint8_t>(c));
        const auto control = static_cast<std::uint16_t>(port + 2);
        write_port(control, 0x0d);  // strobe
        write_port(control, 0x0c);
    }
    void put(const char* text) const {
        while (*text != 0) put(*text++);
    }
    void put(std::uint64_t value, unsigned base) const {
        char digits[20];
        int count = 0;
        do digits[count++] = "0123456789abcdef"[value % base];
        while ((value /= base) != 0);
        while (count > 0) put(digits[--count]);
    }
};
constexpr ParallelPort output{0x378}, end_report{0x278};

[[noreturn]] void power_off() {
    end_report.put('\n');
    for (const char c : {'S', 'h', 'u', 't', 'd', 'o', 'w', 'n'})
        write_port(0x8900, static_cast<std::uint8_t>(c));
    while (true) asm volatile("hlt");
}
[[noreturn]] void exit(std::uint64_t code) {
    end_report.put("exit ");
    end_report.put(code & 255, 10);
    power_off();
}
[[noreturn]] void refuse(const char* reason) {
    end_report.put(reason);
    power_off();
}

// ---- memory

/// Page table entries. An entry is in use, and its page readable and writable if the protection allows.
constexpr std::uint64_t present = 1, writable = 2, large = 0x80, in_use = 0x200;
constexpr std::uint64_t gigabytes = 0x2000, large_pages = 0x3000;  // the second: of the first GiB
constexpr std::uint64_t low_pages = 2ul << 20;                     // of the first 2 MiB
constexpr std::uint64_t mapped_pages = low_pages + page_bytes;     // of mapped_start to mapped_end
constexpr std::uint64_t mapped_count = (mapped_end - mapped_start) / page_bytes;
std::uint64_t& entry(std::uint64_t table, std::uint64_t i) { return at<std::uint64_t>(table + 8 * i); }

/// As at the start, but page 0 is missing, as under Linux, and mapped memory is governed page by page.
void prepare_paging() {
    for (std::uint64_t i = 0; i < 512; ++i) {
        entry(large_pages, i) = i * large_page_bytes | present | writable | large;
        entry(low_pages, i) = i == 0 ? 0 : i * page_bytes | present | writable;
    }
    clear(mapped_pages, mapped_count * 8);
    entry(large_pages, 0) = low_pages | present | writable;
    for (std::uint64_t i = 0; i < mapped_count / 512; ++i)
        entry(large_pages, mapped_start / large_page_bytes + i) =
            (mapped_pages + i * page_bytes) | present | writable;
    entry(gigabytes, 0) = large_pages | present | writable;
    // Ring 0 heeds write protection with CR0.WP alone; loading CR3 forgets the old translations.
    asm volatile(
        "mov %%cr0, %%rax; or $0x10000, %%rax; mov %%rax, %%cr0; mov %%cr3, %%rax; mov %%rax, %%cr3" ::
            : "rax", "memory");
}

void set_pages(std::uint64_t first, std::uint64_t count, std::uint64_t flags) {
    for (std::uint64_t page = first; page < first + count; ++page) {
        const std::uint64_t address = mapped_start + page * page_bytes;
        entry(mapped_pages, page) = flags == 0 ? 0 : address | flags;
        asm volatile("invlpg (%0)" ::"r"(address) : "memory");
    }
}
std::uint64_t flags_of(std::uint64_t protection) {
    return in_use | (protection != PROT_NONE ? present : 0) | ((protection & PROT_WRITE) != 0 ? writable : 0);
}
bool is_mapped_memory(std::uint64_t address, std::uint64_t bytes) {
    return address >= mapped_start && address < mapped_end && bytes <= mapped_end - address;
}

/// The lowest gap that is large enough; 0 if there is none.
std::uint64_t map(std::uint64_t bytes, std::uint64_t protection) {
    const std::uint64_t count = round_up(bytes, page_bytes) / page_bytes;
    std::uint64_t gap = 0;
    for (std::uint64_t page = 0; page < mapped_count; ++page) {
        gap = entry(mapped_pages, page) == 0 ? gap + 1 : 0;
        if (gap < count) continue;
        const std::uint64_t first = page + 1 - count, address = mapped_start + first * page_bytes;
        set_pages(first, count, flags_of(PROT_READ | PROT_WRITE));
        clear(address, count * page_bytes);
        set_pages(first, count, flags_of(protection));
        return address;
    }
    return 0;
}

std::uint64_t heap_start, heap_end;

// ---- the program

std::uint64_t print(std::uint64_t text, std::uint64_t bytes) {
    for (std::uint64_t i = 0; i < bytes; ++i) output.put(at<char>(text + i));
    return bytes;
}

/// Sectors of the first disk, by its registers: one at a time, as the emulated disk is instantaneous.
void read_sectors(std::uint32_t sector, std::uint64_t count, std::uint64_t to) {
    for (; count > 0; --count, ++sector) {
        write_port(0x1f6, static_cast<std::uint8_t>(0xe0 | sector >> 24));
        write_port(0x1f2, 1);
        write_port(0x1f3, static_cast<std::uint8_t>(sector));
        write_port(0x1f4, static_cast<std::uint8_t>(sector >> 8));
        write_port(0x1f5, static_cast<std::uint8_t>(sector >> 16));
        write_port(0x1f7, 0x20);
        while ((read_port(0x1f7) & 8) == 0) {
        }
        std::uint64_t words = 256;
        asm volatile("rep insw" : "+D"(to), "+c"(words) : "d"(0x1f0) : "memory");
    }
}

/// What the script `run` writes: this, then arguments and NAME=VALUE pairs, each ended by a zero, to 8
/// sectors; then the program.
struct DiskHead {
    std::uint32_t program_bytes, arguments, variables;
};
constexpr std::uint64_t disk_head_bytes = 8 * 512;

/// Copies the segments to their places; returns where the table of segments is in memory.
std::uint64_t load(const Elf64_Ehdr& elf, std::uint64_t file) {
    if (at<std::uint32_t>(file) != 0x464c457f || elf.e_type != ET_EXEC)  // 7f "ELF"
        refuse("the program is not a static executable at fixed addresses (-static -no-pie)");
    std::uint64_t table = 0;
    heap_start = program_start;
    for (std::uint64_t i = 0; i < elf.e_phnum; ++i) {
        const auto& segment = at<Elf64_Phdr>(file + elf.e_phoff + i * elf.e_phentsize);
        if (segment.p_type != PT_LOAD) continue;
        const std::uint64_t end = segment.p_vaddr + segment.p_memsz;
        if (segment.p_vaddr < program_start || end > mapped_start)
            refuse("the program does not fit into 4 to 32 MiB");
        copy(segment.p_vaddr, file + segment.p_offset, segment.p_filesz);
        clear(segment.p_vaddr + segment.p_filesz, segment.p_memsz - segment.p_filesz);
        if (elf.e_phoff >= segment.p_offset && elf.e_phoff < segment.p_offset + segment.p_filesz)
            table = segment.p_vaddr + (elf.e_phoff - segment.p_offset);
        if (end > heap_start) heap_start = end;
    }
    heap_end = heap_start = round_up(heap_start, page_bytes);
    return table;
}

}  // namespace

extern "C" {

extern const std::uint8_t fault_entries[];
void syscall_entry();
[[noreturn]] void enter_program(std::uint64_t entry, std::uint64_t stack);

// Compilers form calls of these on their own.
void* memcpy(void* to, const void* from, std::size_t bytes) {
    copy(reinterpret_cast<std::uint64_t>(to), reinterpret_cast<std::uint64_t>(from), bytes);
    return to;
}
void* memset(void* to, int value, std::size_t bytes) {
    fill(reinterpret_cast<std::uint64_t>(to), static_cast<std::uint8_t>(value), bytes);
    return to;
}

/// `frame`: exception, error code, address of the instruction.
[[noreturn]] void report_fault(const std::uint64_t* frame) {
    std::uint64_t address;
    asm volatile("mov %%cr2, %0" : "=r"(address));
    end_report.put("exception ");
    end_report.put(frame[0], 10);
    end_report.put(" at 0x");
    end_report.put(frame[2], 16);
    if (constexpr std::uint64_t page_fault = 14; frame[0] == page_fault) {
        end_report.put(" for address 0x");
        end_report.put(address, 16);
    }
    power_off();
}

/// Linux system calls; errors are negative errno values.
std::int64_t serve(std::uint64_t number, std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) {
    switch (number) {
        case SYS_write:
            return a == 1 || a == 2 ? static_cast<std::int64_t>(print(b, c)) : -EBADF;
        case SYS_writev: {
            std::uint64_t written = 0;
            for (std::uint64_t i = 0; i < c; ++i)
                written += print(at<std::uint64_t>(b + 16 * i), at<std::uint64_t>(b + 16 * i + 8));
            return static_cast<std::int64_t>(written);
        }
        case SYS_exit:
        case SYS_exit_group:
            exit(a);
        case SYS_tgkill:
            exit(128 + c);  // abort(); the code that a shell gives
        case SYS_mmap: {
            if ((d & (MAP_ANONYMOUS | MAP_FIXED)) != MAP_ANONYMOUS) return -ENODEV;
            const std::uint64_t address = map(b, c);
            return address == 0 ? -ENOMEM : static_cast<std::int64_t>(address);
        }
        case SYS_mprotect:  // of parts of the program itself too, which are left writable
        case SYS_munmap:
            if (is_mapped_memory(a, b))
                set_pages((a - mapped_start) / page_bytes, round_up(b, page_bytes) / page_bytes,
                          number == SYS_mprotect ? flags_of(c) : 0);
            return 0;
        case SYS_brk:
            if (a < heap_start || a > mapped_start) return static_cast<std::int64_t>(heap_end);
            if (a > heap_end) clear(heap_end, a - heap_end);
            heap_end = a;
            return static_cast<std::int64_t>(heap_end);
        case SYS_arch_prctl: {
            constexpr std::uint64_t set_fs = 0x1002;
            constexpr std::uint32_t fs_base = 0xc0000100;
            if (a != set_fs) return -EINVAL;
            write_register(fs_base, b);
            return 0;
        }
        case SYS_clock_gettime: {  // a second is 1e9 instructions
            const std::uint64_t nanoseconds = instructions_so_far();
            at<std::uint64_t>(b) = nanoseconds / 1'000'000'000;
            at<std::uint64_t>(b + 8) = nanoseconds % 1'000'000'000;
            return 0;
        }
        case SYS_gettimeofday: {
            const std::uint64_t microseconds = instructions_so_far() / 1000;
            at<std::uint64_t>(a) = microseconds / 1'000'000;
            at<std::uint64_t>(a + 8) = microseconds % 1'000'000;
            return 0;
        }
        case SYS_getrandom:  // the same in every run
            for (std::uint64_t i = 0; i < b; ++i)
                at<std::uint8_t>(a + i) = static_cast<std::uint8_t>(37 * i + 11);
            return static_cast<std::int64_t>(b);
        case SYS_getpid:
        case SYS_gettid:
        case SYS_set_tid_address:
            return 1;
        case SYS_ioctl:
            return -ENOTTY;
        case SYS_fstat:
        case SYS_newfstatat:
            return -EBADF;
        case SYS_readlink:
        case SYS_readlinkat:
        case SYS_openat:
            return -ENOENT;
        case SYS_lseek:
            return -ESPIPE;
        case SYS_prlimit64:
        case SYS_rseq:
            return -ENOSYS;
        case SYS_read:  // the end of the input
        case SYS_close:
        case SYS_futex:
        case SYS_madvise:
        case SYS_rt_sigaction:
        case SYS_rt_sigprocmask:
        case SYS_set_robust_list:
        case SYS_sigaltstack:
            return 0;
        default:
            output.put("[system call ");
            output.put(number, 10);
            output.put(" is not implemented]\n");
            return -ENOSYS;
    }
}

[[noreturn]] void start() {
    prepare_paging();

    struct Gate {
        std::uint16_t low, segment, type, middle;
        std::uint32_t high, zero;
    };
    static Gate gates[32];
    for (std::uint64_t i = 0; i < 32; ++i) {
        const std::uint64_t to = reinterpret_cast<std::uint64_t>(fault_entries) + 16 * i;
        gates[i] = {static_cast<std::uint16_t>(to), 0x10, 0x8e00, static_cast<std::uint16_t>(to >> 16), 0, 0};
    }
    struct [[gnu::packed]] {
        std::uint16_t last_byte;
        const Gate* gates;
    } const table{sizeof gates - 1, gates};
    asm volatile("lidt %0" ::"m"(table));

    constexpr std::uint32_t star = 0xc0000081, lstar = 0xc0000082, flag_mask = 0xc0000084;
    write_register(star, std::uint64_t{0x10} << 32);
    write_register(lstar, reinterpret_cast<std::uint64_t>(&syscall_entry));
    write_register(flag_mask, 0x700);  // trap, interrupt, direction

    read_sectors(0, disk_head_bytes / 512, disk_start);
    const auto& head = at<DiskHead>(disk_start);
    const std::uint64_t file = disk_start + disk_head_bytes;
    if (head.program_bytes > disk_end - file - 512) refuse("the program is larger than 128 MiB");
    read_sectors(disk_head_bytes / 512, round_up(head.program_bytes, 512) / 512, file);
    const auto& elf = at<Elf64_Ehdr>(file);
    const std::uint64_t segments = load(elf, file);

    // What a process finds on its stack: the counts and pointers below, then pairs of the auxiliary vector.
    const std::uint64_t stack = stack_end - 2 * page_bytes;
    auto* word = &at<std::uint64_t>(stack);
    const char* string = reinterpret_cast<const char*>(&head + 1);
    const auto put_strings = [&](std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            *word++ = reinterpret_cast<std::uint64_t>(string);
            while (*string++ != 0) {
            }
        }
        *word++ = 0;
    };
    *word++ = head.arguments;
    put_strings(head.arguments);
    put_strings(head.variables);
    const std::uint64_t facts[][2] = {{AT_PHDR, segments},     {AT_PHENT, elf.e_phentsize},
                                      {AT_PHNUM, elf.e_phnum}, {AT_PAGESZ, page_bytes},
                                      {AT_ENTRY, elf.e_entry}, {AT_SECURE, 0},
                                      {AT_RANDOM, file},       {AT_NULL, 0}};
    for (const auto& [kind, value] : facts) {
        *word++ = kind;
        *word++ = value;
    }
    enter_program(elf.e_entry, stack);
}

}  // extern "C"
