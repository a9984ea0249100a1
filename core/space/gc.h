/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Garbage collection: mark and sweep over the index, in the background (behaviour.md §7).
 *
 * Overwriting an extent does not touch its bucket, so only a walk over all keys tells which buckets hold live or dirty data. The walk
 * goes through the tree in key order, one node at a time; marking one node is atomic, between nodes everybody else runs. It also
 * writes every dirty leaf it passes (R7.2), rewrites nodes with many dead keys, merges sparse neighbours that it has passed (btree/coalesce.c), and
 * lowers each bucket's last_gc to the oldest gen a key still has.
 *
 * While it runs, gc_mark_valid is false; buckets that were reclaimable when it started stay reclaimable (reclaimable_in_gc), so allocation
 * goes on (W-3). Invariants: buckets allocated during the walk are marked by the allocator; pinned buckets keep their mark.
 */
#include "core/engine/sync.h"
struct cset;
struct bkey;

struct gc_stats {
	uint64_t nodes, keys, key_bytes, data_sectors, dead_keys;
};
struct gc {
	struct fiber *fiber;
	struct wait_queue work;	 /* gc fiber's */
	struct wait_queue done;	 /* a run has ended */
	uint64_t runs_started, runs_finished;
	int64_t sectors_to_gc;	 /* negative: run */
	bool running, stopping, always_rewrite, after_writeback;
	struct gc_stats counting, last;
};

void gc_init(struct cset *c);
MUST_CHECK int gc_start(struct cset *c);
FIBER_FN void gc_stop(struct cset *c);
void gc_trigger(struct cset *c);
/* There is something new to find: a gc that was asked for does not rest any longer because the one before had found nothing. */
void gc_hurry(struct cset *c);
/* Wait until a run that started after this call has ended. 0, or -EINTR / -EROFS. */
FIBER_FN MUST_CHECK int gc_run(struct cset *c);
/* nr_sectors of new data were written: counts towards the next run. */
void gc_account(struct cset *c, uint32_t nr_sectors);
/* Mark one key's buckets (§7.2); level of the node that holds it. Returns the key's staleness. Raises a set error on contradictions. */
uint8_t gc_mark_key(struct cset *c, unsigned level, const struct bkey *k);
/* Marks that no key gives: journal, prio, uuid buckets, keys being written back; then recount (§7.6). */
void gc_finish(struct cset *c);
