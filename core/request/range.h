/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Interval lock of a device's in-flight writes (behaviour.md §2.9).
 *
 * Writers of overlapping sectors (bypass, discard, read-modify-write, writeback's clean step included) wait for each other in FIFO order; readers
 * never wait, they ask range_busy(): a miss that overlaps a write in flight is not filled (R2.5). This makes journal order equal btree order
 * for overlapping writes, keeps stale fills out, and makes sub-block writes atomic.
 * Order: taken before anything else a write waits for except the device reference; released after the btree insert. Internal users only try.
 */
#include "core/engine/sync.h"

struct range_lock {
	struct list held;    /* struct range, in grant order */
	struct list waiting; /* FIFO */
};
struct range {
	struct list link;
	uint64_t start, end; /* sectors, end exclusive */
	struct fiber *waiter; /* NULL once granted */
};
void range_lock_init(struct range_lock *l);
FIBER_FN void range_acquire(struct range_lock *l, struct range *r, uint64_t start, uint64_t end);
/* Fails if anything overlapping is held or waiting. */
MUST_CHECK bool range_try_acquire(struct range_lock *l, struct range *r, uint64_t start, uint64_t end);
void range_release(struct range_lock *l, struct range *r);
bool range_busy(const struct range_lock *l, uint64_t start, uint64_t end);
