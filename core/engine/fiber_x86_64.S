/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fiber switch for x86-64, System V ABI. Keep in step with context_make() in fiber.c.
 *
 * No .note.gnu.property on purpose: a program that switches stacks behind the processor's back must not run with a shadow stack.
 */
	.text

/* void fiber_switch(void **save_sp, void *load_sp) */
	.globl	fiber_switch
	.type	fiber_switch, @function
	.p2align 4
fiber_switch:
	.cfi_startproc
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	/* Not ret: the return predictor still holds the other stack's callers and would always be wrong. */
	popq	%rcx
	jmp	*%rcx
	.cfi_endproc
	.size	fiber_switch, . - fiber_switch

/* The bottom frame of a fiber: entry in r13, arg in r12, rbp = 0. The stack is 16-aligned here, as before any call. */
	.globl	fiber_start
	.type	fiber_start, @function
	.p2align 4
fiber_start:
	.cfi_startproc
	.cfi_undefined rip
	movq	%r12, %rdi
	call	*%r13
	ud2
	.cfi_endproc
	.size	fiber_start, . - fiber_start

	.section .note.GNU-stack, "", @progbits
