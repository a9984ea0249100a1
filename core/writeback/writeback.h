/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Writeback: copy dirty extents to the backing device in LBA order at a controlled rate, then mark them clean (behaviour.md §8).
 *
 * One fiber per attached backing device. It fills a keybuf (a bounded, ordered set of dirty keys found in the index) and works through it
 * in batches:
 *     read the batch from the cache ‖ journal flush  →  write it to backing in LBA order  →  one backing flush  →  make the keys clean.
 * The journal flush makes the dirty keys durable before their data reaches backing: otherwise a power cut could leave new data there below an
 * older clean copy. The backing flush comes before any key of the batch becomes clean (R8.3, I-9). Clean keys are journalled: range try-lock, look up which parts still
 * match, append those to the journal, insert with REPLACE, unlock (R3.4, R8.5). A contended or failed key stays dirty for a later pass.
 *
 * Keys of the running batch are *started*: a write that overlaps one goes to the cache as writeback (I-15), gc marks their buckets dirty
 * (I-18). No lock is held during I/O (R8.4).
 *
 * has_dirty (R8.1, I-20): set before the first dirty key is inserted, and the DIRTY superblock is durable before that write is acknowledged
 * (R1.6). Cleared in one atomic stretch after a complete scan that found nothing, if no writeback-mode write was in flight or ended
 * since the scan began (dirty_writers, dirty_generation). Then CLEAN is written: everything clean is flushed to backing and journalled before (R8.2).
 */
#include "core/engine/sync.h"
#include "core/writeback/backoff.h"
#include "core/writeback/failures.h"
#include "core/writeback/keybuf.h"
#include "core/writeback/rate.h"
#include "core/writeback/stripe.h"

struct bdev;
struct bio;
struct cset;

#define WRITEBACK_INFLIGHT_DEFAULT 64
#define WRITEBACK_INFLIGHT_MAX 1024u
#define WRITEBACK_BATCH_SECTORS 8192
#define WRITEBACK_RATE_INITIAL 1024 /* sectors/s */

struct writeback_batch;

struct writeback {
	struct fiber *fiber;
	struct wait_queue wake;
	struct wait_queue idle;	       /* somebody waits for "nothing dirty", or for the end of a pass */
	struct wait_queue batch_done;  /* ... for started keys to be finished */
	struct keybuf keybuf;
	struct writeback_batch *batch; /* memory of the running batch; owned, made by writeback_start() */
	bool has_dirty;
	bool state_durable;	       /* the superblock on disk says DIRTY */
	bool state_writing;	       /* somebody is writing the state; wait on state_wait */
	struct wait_queue state_wait;
	bool running;		       /* writeback_running */
	bool stopping;
	bool detach_done;	       /* the fiber has detached the device and ended */
	bool pass_failed;	       /* an I/O of the current pass failed */
	struct writeback_failures failed, failed_now; /* of the last pass; of this one */
	unsigned flushers;	       /* callers of writeback_flush(): no delay, no rate */
	uint64_t dirty_sectors;	       /* exact, kept by the btree */
	struct stripes stripes;	       /* the same by stripe; while attached */
	uint64_t stripe_override_sectors; /* stripe_size, if somebody set it; 0: the device's */
	bool partial_stripes;	       /* partial_stripes_expensive */
	bool recount;		       /* the stripes are to be counted anew, by the fiber */
	uint64_t stripe_cursor;	       /* sector where the search for full stripes continues */
	bool stripe_round_done;	       /* ... and it has been at the device's end: now the others have a turn */
	uint64_t dirty_generation;     /* + 1 for each writeback-mode write that finished */
	unsigned dirty_writers;	       /* writeback-mode writes in flight */
	uint32_t delay_s;
	uint32_t inflight_limit;       /* writeback_inflight_limit: reads, then writes, at once (T-16) */
	bool metadata;		       /* writeback_metadata: stored, inert */
	struct rate_tunables tunables;
	struct rate_state rate;
	struct timer rate_timer;
	bool consider_latency;	       /* writeback_consider_latency: back off when requests suffer */
	struct backoff backoff;
	uint64_t floor_next_ns;	       /* limiter of the minimum rate: before that, we are ahead of it */
	unsigned backing_in_flight;    /* our I/O on the backing device now, ... */
	uint64_t backing_last_ns;      /* ... and when some of it last ended */
	uint64_t keys_done, keys_failed, sectors_written;
	uint64_t sectors_dirtied;      /* written by requests, to stay */
	unsigned failures;	       /* passes in a row that ended with an I/O error */
	uint64_t passes;	       /* scans of the whole device that were worked off */
};

void writeback_init(struct bdev *d);
/*
 * After attach, before requests are let in: count dirty sectors in the index (§8.9), make the state DIRTY durable if there are some or it was
 * DIRTY, start the fiber. Flash-only volumes: only counts, and adds to the set's sum.
 */
FIBER_FN MUST_CHECK int writeback_start(struct bdev *d);
/* Stop the fiber: waits for I/O in flight, never for anything else. Not from the fiber itself (bdev_detach_finish()). */
FIBER_FN void writeback_stop(struct bdev *d);
/* Something changed that the fiber should look at: a tunable, detaching, errors. */
void writeback_wake(struct bdev *d);
/* A request's I/O on the backing device ended (§8.10): did it suffer from ours? */
void writeback_note_foreground(struct bdev *d, const struct bio *bio);
/* A request came in: leave the idle maximum rate (§2.1, §8.8). */
void writeback_leave_idle(struct cset *c);
/*
 * A write to [start, end) begins: drop unstarted keys that overlap; true if a started one does, which forces the write to be writeback.
 */
bool writeback_overlaps(struct bdev *d, uint64_t start, uint64_t end);
/* Wait until no started key overlaps; none will be started while the caller holds the range. Takes at most one batch's I/O. */
FIBER_FN void writeback_wait_started(struct bdev *d, uint64_t start, uint64_t end);
/* A writeback-mode write begins / ends. begin makes the DIRTY state durable if it is the first (R1.6). */
FIBER_FN MUST_CHECK int writeback_write_begin(struct bdev *d);
void writeback_write_end(struct bdev *d);
/* The btree tells every change of dirty sectors: nr_sectors from start on. */
void writeback_account(struct bdev *d, uint64_t start, int64_t nr_sectors);
/* Call fn for every key that is queued or being written back (gc). */
void writeback_for_each_key(struct bdev *d, void (*fn)(void *ctx, const struct bkey *k), void *ctx);
/* Write back everything now; returns when nothing was dirty once. -EINTR, -ENOTCONN, -EIO when it cannot. */
FIBER_FN MUST_CHECK int writeback_flush(struct bdev *d);
