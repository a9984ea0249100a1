/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A cache set: one cache device, its index, journal and allocator, and the devices attached to it. Object graph and states.
 *
 *     STARTING ──recovery done──> RUNNING ──stop / unregister──> STOPPING ──> gone
 *         └────────────┬────────────┘
 *                  cset_error(): `io_disable` set for good, every wait ends, then the set is stopped; the devices follow their policy (§1.10)
 *
 * Uncertainty is sticky: after a failed metadata write or flush, memory and disk may disagree, and nothing more is written.
 */
#include "core/admin/histogram.h"
#include "core/admin/stats.h"
#include "core/btree/btree.h"
#include "core/io/blk.h"
#include "core/journal/journal.h"
#include "core/request/csum.h"
#include "core/request/policy.h"
#include "core/set/purge.h"
#include "core/set/slots.h"
#include "core/space/alloc.h"
#include "core/space/gc.h"
#include "core/space/movinggc.h"
#include "core/space/open_bucket.h"
#include "formats/super.h"

struct bcf;
struct bdev;

enum cset_state { CSET_STARTING, CSET_RUNNING, CSET_STOPPING };

struct cset {
	struct list link; /* bcf->csets */
	struct bcf *bcf;
	bool stopper_reserved;	/* a stack for the stopper: stopping never fails */
	enum cset_state state;
	bool io_disable;	/* failed: all metadata writes and all requests refuse */
	bool io_blocked;	/* internal/io_disable: requests fail and writeback rests until the user takes it back */
	bool unregistering;	/* stop, but detach the devices first */
	char error[256];	/* why it failed; "" = it has not */
	bool restored;		/* has its saved settings (admin/tunables.h) */
	unsigned holds;		/* operations in progress that use the set without being one of its devices' requests */
	bool closed;		/* the last of them has ended: it is being taken apart, and nobody may begin another */

	/* cache0 */
	struct blkdev *cache;
	struct super *super;	/* 4096 bytes, page-aligned */
	struct fmutex super_lock;
	struct geometry g;
	uint64_t set_magic;
	char uuid_text[37];
	uint64_t io_errors;	/* << 20, decaying */
	uint32_t io_error_limit;
	uint32_t io_error_halflife; /* I/Os, stored / 88 */
	uint32_t io_error_count;    /* I/Os since the last decay step */
	uint64_t data_sectors_written, btree_sectors_written, meta_sectors_written;

	struct alloc alloc;
	struct open_buckets open_buckets;
	struct journal journal;
	struct btree btree;
	struct gc gc;
	struct movinggc moving;
	struct congestion congestion;

	/* uuid table */
	struct uuid_entry *uuids; /* g.nr_uuids, meta_bytes, page-aligned */
	struct bkey_buf uuid_bucket;
	struct fmutex uuid_lock;
	struct bdev **devices;	  /* by slot */
	struct slot *slots;	  /* the same */
	struct purge purge;
	uint64_t flash_dirty_sectors;
	unsigned absent_swaps;	  /* keys of absent devices that are being swapped (request/swap.h) */
	struct wait_queue absent_swaps_zero;

	unsigned cutoff_writeback, cutoff_writeback_sync;
	bool errors_panic;
	bool copy_gc_enabled, shrinker_disabled, idle_max_writeback_rate;
	bool key_merging_disabled, expensive_debug_checks, verify_nodes; /* for tests (§10.2-10.4) */
	unsigned requests_in_flight;
	uint64_t idle_counter;
	uint64_t cache_read_races;
	uint64_t writeback_keys_done, writeback_keys_failed;
	struct data_csums data_csums;
	bool copies_dropped;	/* clean copies left the index without a journal entry: a crash may bring them back */
	size_t fill_bytes;	/* buffers of fills in flight */
	struct stats stats;
	struct histogram wait_bucket, wait_journal; /* of those who had to wait: for a bucket, for room in the journal */
	struct time_stats time_gc, time_split, time_sort, time_read;
};

static inline struct bucket *cset_bucket(const struct cset *c, uint64_t b)
{
	assert(b < c->g.nr_buckets);
	return &c->alloc.buckets[b];
}
static inline struct bucket *ptr_bucket(const struct cset *c, uint64_t ptr) { return cset_bucket(c, geometry_bucket(&c->g, ptr_sector(ptr))); }
static inline uint8_t ptr_stale(const struct cset *c, uint64_t ptr) { return gen_after(ptr_bucket(c, ptr)->gen, ptr_gen(ptr)); }

/* One pointer word after another; keys we write have one (T-3). */
#define bkey_for_each_ptr(k, i) for (unsigned i = 0; i < bkey_ptrs(k); i++)

/* Recovery or first start (behaviour.md §1.4). Takes over cache and super, also on failure. */
FIBER_FN MUST_CHECK int cset_new(struct bcf *b, struct blkdev *cache, struct super *super, struct cset **ret, struct printbuf *why);
/* The set can no longer be trusted: sticky, asynchronous, callable anywhere. Only the first message counts. Returns -EROFS for convenience. */
int cset_error(struct cset *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Count an I/O of the cache device; at the error limit the set fails (§1.10). */
void cset_io_done(struct cset *c, const char *what, int error);
/* Superblock: seq + 1, version >= 3, last_mount; written and flushed (R1.1). */
FIBER_FN MUST_CHECK int cset_write_super(struct cset *c);
/* Asynchronous; unregister detaches (and so writes back) first. */
void cset_stop(struct cset *c, bool unregister);

/* recovery.c: bring the contents up. On failure nothing has been written that matters; why says what is wrong and where. */
FIBER_FN MUST_CHECK int cset_recover(struct cset *c, struct printbuf *why);
/* Publish what replay has done so far and start the allocator; no-op when that has happened. */
FIBER_FN MUST_CHECK int cset_end_silence(struct cset *c);
FIBER_FN MUST_CHECK int cset_first_start(struct cset *c, struct printbuf *why);

/* Keep the object (it may stop and fail meanwhile, but not vanish) across waits. Try: for who comes from outside. False: it is closed. */
void cset_hold(struct cset *c);
MUST_CHECK bool cset_try_hold(struct cset *c);
void cset_release(struct cset *c);

