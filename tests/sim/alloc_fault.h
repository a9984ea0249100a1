/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Memory that runs out, for the core alone.
 *
 * The programs that want this link a copy of libcore.a in which malloc() and its like, free(), and the mmap() and munmap() of fiber stacks have other
 * names (`objcopy --redefine-sym`, see the makefile); these functions stand behind the names. The simulator's own memory never fails.
 *
 * Each allocation gets a number; what is not freed is known by its number and the address that asked for it.
 */
#include "formats/base.h"

struct alloc_fault {
	uint64_t fail_at;	/* this one fails; 0: none */
	bool from_then_on;	/* and all that follow */
	uint64_t one_in;	/* by chance; 0: no */
	uint64_t chance;	/* state of it */
};

void alloc_fault_arm(const struct alloc_fault *f); 
void alloc_fault_disarm(void);
uint64_t alloc_fault_nr(void);	/* allocations since it was armed */
uint64_t alloc_fault_hits(void);
/* From here on remember what is allocated. */
void alloc_fault_track(void);
uint64_t alloc_fault_outstanding(void);
/* Up to nr of those, as lines for a reader: number, size, address of the caller. */
struct printbuf;
void alloc_fault_to_text(struct printbuf *out, unsigned nr);
