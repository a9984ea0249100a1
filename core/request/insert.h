/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Data insert: allocate, write, journal, index (behaviour.md §2.8).
 *
 * Data goes to the cache in batches:
 *     sectors from an open bucket → data write … → all data writes of the batch completed → journal append → btree insert.
 * Never in another order: a key in a journal entry is believed after a crash, and the entry's own pre-flush makes durable exactly the writes
 * that completed before it (R2.9); the btree must not hold a key that the journal does not yet hold (R2.10).
 * Data whose write failed is never indexed (I-19).
 *
 * Kinds:
 *   INSERT_DIRTY  writeback. Waits for buckets while the cache is not too full of dirty data, else -EAGAIN; for a volume always, until it is
 *                 to go, or to be quiet: then -ENOSPC. A failed data write is retried once elsewhere; then -EIO. `cursor` says where (R2.8).
 *   INSERT_CLEAN  writethrough. Never waits for buckets: what finds none, or fails, becomes an invalidation of its range. `backing` is
 *                 waited for before anything is indexed (R2.5); if it failed nothing is, and the caller invalidates (R2.7). The caller
 *                 waits for it too: on errors we may return before.
 *   INSERT_FILL   a read's fill: clean, not journalled, REPLACE of a placeholder; what finds no bucket, or fails, is left out.
 *
 * Pins: every key handed out by open_bucket_take() holds one pin on its bucket until btree_insert() drops it; keys that do not get
 * that far are unpinned here.
 * Waiting: data I/O of its own, buckets (dirty only, with nothing un-indexed in hand), journal space, btree. The caller holds the range
 * lock (not for fills: they compare-and-swap, and only try for the range while they index).
 */
#include "core/engine/sync.h"
#include "core/io/blk.h"
#include "formats/bkey.h"

struct bdev;
struct cset;

#define INVALIDATE_SECTORS_MAX 32768u /* one pointerless key */

/* A write to the backing device that runs beside the data insert. */
struct backing_write {
	struct bdev *d;
	struct bio bio;
	struct latch latch;
	bool pending;
	int error; /* valid after backing_write_wait() */
};
void backing_write_start(struct backing_write *b, struct bdev *d, const void *buf, uint64_t start, uint64_t end, unsigned flags);
/* The outcome; may be called again. Errors are counted on the device. */
FIBER_FN int backing_write_wait(struct backing_write *b);

enum insert_kind { INSERT_DIRTY, INSERT_CLEAN, INSERT_FILL };
struct insert_op {
	struct bdev *d;
	enum insert_kind kind;
	uint64_t start, end;	       /* sectors, key space */
	const char *data;	       /* of [start, end) */
	uint64_t stream;	       /* who writes: neighbours of one stream share buckets */
	const struct bkey *replace;    /* fills: the placeholder */
	struct backing_write *backing; /* writethrough */
	/* results */
	uint64_t cursor;	       /* everything before it is done */
	uint64_t seq;		       /* newest journal entry that holds a key of ours, 0 = none */
	unsigned collisions;	       /* fills that lost a race */
};
/* 0; -EIO: data write failed for good (dirty), or the backing write did (clean); -EAGAIN, -ENOSPC: see dirty; -EROFS, -EINTR: the set failed, stops. */
FIBER_FN MUST_CHECK int insert_data(struct insert_op *op);
/* Cut [start, end) out of the index, journalled. ret_seq: as insert_op.seq, untouched when nothing was journalled. */
FIBER_FN MUST_CHECK int index_invalidate(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, uint64_t *ret_seq);
FIBER_FN MUST_CHECK int insert_invalidate(struct bdev *d, uint64_t start, uint64_t end, uint64_t *ret_seq);

/* Completion of a data I/O of the cache device: error limits and congestion. */
void cache_io_account(struct cset *c, const struct bio *bio);
