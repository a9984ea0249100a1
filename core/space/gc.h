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
 *
 * A run passes over all buckets twice, in slices of alloc.scan_slice, between which everybody else runs:
 *
 *     complete ──begin, slices──> begun below counting_below, complete above ──> all begun, walk ──atomic──> complete ──slices──> recounted
 *
 * At the beginning each bucket's mark is void from the moment its slice was begun, and not before. So "may this one be emptied?" is at any moment
 * decided by the mark above counting_below, and by reclaimable_in_gc, taken from that mark in the slice, below (bucket_mark_valid()); no moment is
 * without an answer, and no answer is bolder than the last gc's. The walk begins when all slices are done, so no mark that it makes is wiped out.
 * Between two slices a bucket can be
 *   - taken: it is pinned and has its mark from the allocator. Above, the slice to come keeps that mark while the pin is there; once it is gone the
 *     key is in the tree, where the walk will find it. Below, nobody wipes marks any more.
 *   - emptied: all pointers to it are stale, its mark is NONE, and so says the slice to come. Below, that happens once per run, for it clears
 *     reclaimable_in_gc. last_gc is where the walk begins to lower it from, so below it is no limit of its own; what is flagged was
 *     under the limit by the last_gc before, with one generation to spare for the retirement of a node (A3).
 *   - freed (a node): NONE, and not flagged: empty only at the end of this run. Above: by its mark, like any other.
 *   - retired: METADATA on either side, which no slice changes.
 *   - read, or being written back: nothing of that depends on marks; I-18 is seen to at the end, in one stretch with gc_mark_valid.
 * Moving gc gives up choosing as soon as gc_mark_valid is false, and a batch on its way goes by its keys and by `move`, which gc leaves alone. Sizes
 * for the replacement policy are sectors_used above, sectors_last below. slots_count() starts with the walk. When the set ends between slices, the
 * rest stays as it is: nothing is emptied any more.
 *
 * At the end, marks become complete in one stretch that looks at no bucket but those that no key names; reclaimable_in_gc is not looked at
 * any more, and the next run's slices set it. What is left is counting (alloc_recount()).
 */
#include "core/engine/sync.h"
struct cset;
struct bkey;
struct bnode;

struct gc_stats {
	uint64_t nodes, keys, key_bytes, data_sectors, dead_keys;
};
struct gc {
	struct fiber *fiber;
	struct wait_queue work;	 /* gc fiber's */
	struct wait_queue done;	 /* a run has ended */
	uint64_t runs_started, runs_finished;
	int64_t sectors_to_gc;	 /* negative: run */
	bool running, stopping, always_rewrite;
	bool after_writeback, after_writeback_due; /* asked for by the user; and the cache has been half in use since */
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
/*
 * gc_after_writeback (§7.3, §8.3): once half of the cache has been in use, the next end of writeback brings about one gc. The first is called
 * whenever that share may have grown, the second at that end.
 */
void gc_note_in_use(struct cset *c);
void gc_writeback_ended(struct cset *c);
/* nr_sectors of new data were written: counts towards the next run. */
void gc_account(struct cset *c, uint32_t nr_sectors);
/* Mark one key's buckets (§7.2); level of the node that holds it. Returns the key's staleness. Raises a set error on contradictions. */
uint8_t gc_mark_key(struct cset *c, unsigned level, const struct bkey *k);
/*
 * R7.3: the interior node n stays as it is, and with it freed markers that grow old while their buckets are reused. Before one could look newer than
 * its bucket, last_gc holds the bucket back: it is not invalidated again until the marker is gone. At start, too: a life may end before its first gc.
 */
void gc_hold_back_markers(struct cset *c, struct bnode *n);
/* Marks that no key gives: journal, prio, uuid buckets, keys being written back; then recount (§7.6). */
FIBER_FN void gc_finish(struct cset *c);
