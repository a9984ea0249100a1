/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Swap: journalled compare-and-swap of extents in the index (behaviour.md R3.4, R8.5). Writeback makes keys clean with it, moving gc points
 * them at their copy.
 *
 * Why not just insert with REPLACE? An unjournalled swap is forgotten by a crash, and replay would bring the old key back after its bucket
 * had a new owner. And a journalled one is an order to replay: what is in the entry must be exactly what was swapped. So:
 *
 *     range of the key, try-locked (somebody writes there: leave it alone)  →  look up which parts still say `old`  →  collect them
 *     … more keys …  →  one journal entry for all parts  →  insert each as compare-and-swap  →  give back the ranges.
 *
 * Between look-up and insert nobody else changes these parts, because all who do hold the range. A swap that then finds something else is a
 * contradiction between journal and btree, and fails the set.
 *
 * Keys of a device that is not attached have no range: nobody writes to them. What could begin is an attach, so it waits for the swaps of absent
 * devices in flight before it lets requests in (swaps_wait_absent(), called by writeback_start()); swaps that begin later find the device. A
 * device that leaves meanwhile is kept alive by a hold; after its detach nobody changes its keys, and they are all clean.
 *
 * Pins: the caller's own pins on the buckets of `new` stay the caller's; each journalled part has one more, dropped by the insert.
 * Waiting: journal space, btree nodes, `structure`. Never for a range.
 */
#include "core/btree/keylist.h"
#include "core/engine/sync.h"
#include "core/request/range.h"

struct bdev;
struct cset;

#define SWAP_PARTS_MAX (KEYLIST_WORDS / 3)

/* One try-locked extent; the caller's memory, in use until swap_commit(). */
struct swap_key {
	struct list link; /* swap.held */
	struct range range;
	struct bdev *d;	  /* held, and its range too; NULL: an absent device */
};
struct swap {
	struct cset *c;
	struct list held;     /* keys whose parts are all collected */
	struct keylist parts; /* waiting for their journal entry ... */
	unsigned nr_parts;
	const struct bkey *old[SWAP_PARTS_MAX]; /* ... and what each replaces */
};

void swap_init(struct swap *s, struct cset *c);
/*
 * Collect the parts of `new` where the index still says `old`, which covers at least new's range and stays valid until swap_commit(). Returns the
 * number of parts, 0 when there are none or somebody writes there, or -errno (the set has failed, or memory is short).
 */
FIBER_FN MUST_CHECK int swap_add(struct swap *s, struct swap_key *k, const struct bkey *old, const struct bkey *new);
/* Journal what is collected, insert it, give back all ranges (also on failure). */
FIBER_FN MUST_CHECK int swap_commit(struct swap *s);
/* A device has become part of the set (cset.devices): wait for swaps that began when it was not. */
FIBER_FN void swaps_wait_absent(struct cset *c);
