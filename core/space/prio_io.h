/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Priorities and generations on disk (behaviour.md §3.7). */
#include "formats/base.h"
struct cset;
struct printbuf;

/*
 * Write a new chain from one atomic snapshot taken when prio_blocked == 0 (R3.5), journal its head and wait for that; then the old chain's
 * buckets are free again: they are the PRIO reserve of the next write, so the reserve never runs dry once it was full.
 * -EAGAIN: too few buckets, nothing was done. Other errors are set errors and already raised.
 */
FIBER_FN MUST_CHECK int prio_write(struct cset *c);
/* Read the chain that starts at bucket `first`: fills gen, last_gc and prio of every bucket. */
FIBER_FN MUST_CHECK int prio_read(struct cset *c, uint64_t first, struct printbuf *why);
