# SPDX-License-Identifier: MIT
# The ROM's first half: from the reset vector to 64-bit mode with every vector register enabled, the entry of system
# calls and the entries of faults. Everything else is rom.cpp. AT&T syntax, for the GNU assembler.

.set stack_top, 0x7000              # of the ROM itself; below it nothing but the page tables at 0x1000 to 0x4000
.set top_table, 0x1000
.set gigabytes, 0x2000              # one entry per GiB, as `gigabytes` in rom.cpp

.section .reset, "ax"               # 16 bytes below 4 GiB, seen at 0xffff0 too
.code16
    ljmp $0xf000, $0

.section .head, "ax"                # at 0xf0000
.code16
    cli
    cld
    inb $0x92, %al                  # the address line A20, without which odd megabytes are even ones
    orb $2, %al
    outb %al, $0x92

    xorl %eax, %eax                 # tables: the first GiB is one page
    movw %ax, %es
    movl $top_table, %edi
    movl $0x800, %ecx
    rep stosl
    movl $(gigabytes + 3), %es:top_table
    movl $0x83, %es:gigabytes

    lgdtl %cs:(gdt_register - 0xf0000)
    movl $0x40620, %eax             # CR4: PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
    movl %eax, %cr4
    movl $top_table, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          # EFER: long mode, syscall
    rdmsr
    orl $0x101, %eax
    wrmsr
    movl $0x80000033, %eax          # CR0: paging, numeric errors, protected mode
    movl %eax, %cr0
    ljmpl $0x10, $long_mode

.code64
long_mode:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $0xe7, %eax                # XCR0: x87, SSE, AVX, mask registers, upper halves, registers 16 to 31
    xsetbv
    fninit
    movl $stack_top, %esp
    leaq bss_start(%rip), %rdi
    movl $bss_size, %ecx
    xorl %eax, %eax
    rep stosb
    call start

.globl enter_program                # enter_program(entry, stack), does not return
enter_program:
    movq %rsi, %rsp
    xorl %edx, %edx                 # no function for atexit
    xorl %ebp, %ebp
    jmp *%rdi

# Linux numbers and registers: rax, rdi, rsi, rdx, r10, r8. The program is in ring 0 already, so it is left by a jump;
# it expects all but rax, rcx and r11 as they were.
.globl syscall_entry
syscall_entry:
    movq %rsp, program_stack
    movl $stack_top, %esp
    pushq %r11                      # its flags
    pushq %rcx                      # its next instruction
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %r8
    pushq %r9
    pushq %r10
    movq %r8, %r9
    movq %r10, %r8
    movq %rdx, %rcx
    movq %rsi, %rdx
    movq %rdi, %rsi
    movq %rax, %rdi
    call serve
    popq %r10
    popq %r9
    popq %r8
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rcx
    popfq
    movq program_stack, %rsp
    jmp *%rcx

# One entry per exception, 16 bytes apart. Some exceptions push an error code, the others get a 0 in its place.
.globl fault_entries
.align 16
fault_entries:
.set exception, 0
.rept 32
    .align 16
    .if exception != 8 && exception != 17 && (exception < 10 || exception > 14)
    pushq $0
    .endif
    pushq $exception
    jmp fault
    .set exception, exception + 1
.endr
fault:
    movq %rsp, %rdi
    movl $stack_top, %esp
    call report_fault

.section .rodata
.align 16
gdt:
    .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff  # 0x10: 64-bit code, 0x18: data
gdt_register:
    .word 31
    .long gdt

.section .bss
.align 8
program_stack:
    .skip 8
.section .note.GNU-stack, "", @progbits
