/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Buckets: who owns each one, and where the next empty one comes from (behaviour.md §3).
 *
 * A bucket is written once between two increments of its gen. Incrementing the gen makes every pointer into it stale, so
 * emptying a bucket never touches the index. The life of a bucket:
 *
 *     in use ──(unpinned, no readers, clean)── invalidate: gen+1, pin ──> free_inc ──prio write durable──> free[reserve] ──alloc──> in use
 *
 * Invariants:
 *   A1 a bucket on a list (free_inc, free[]) has pin == 1 and is on exactly one list.
 *   A2 a bucket reaches free[] only after its incremented gen is durable (R3.1), or at start-up when no pointer names it.
 *   A3 gen - last_gc never exceeds BUCKET_GC_GEN_MAX (R3.2).
 *   A4 no prio image is taken while prio_blocked > 0 (R3.3, R3.5).
 *   A6 a bad bucket is nobody's once it was freed, and on no list.
 *   A5 a bucket with readers, a pin, or a mark of DIRTY or METADATA is never invalidated.
 *
 * The allocator is one fiber. It waits for the journal (prio writes) and for gc; nobody it waits for may wait for buckets.
 */
#include "core/engine/sync.h"
#include "formats/prio.h"

struct cset;

#define BUCKET_GC_GEN_MAX 96
#define BUCKET_NEED_GC 64	   /* trigger a gc when some bucket's gen ran this far ahead (R3.2) */
#define BUCKET_SECTORS_USED_MAX 8191

enum bucket_mark { MARK_NONE, MARK_RECLAIMABLE, MARK_DIRTY, MARK_METADATA };

struct bucket {
	uint32_t pin;	       /* references that forbid reuse */
	uint16_t readers;      /* cache reads in flight (R2.1) */
	uint16_t prio;
	uint16_t sectors_used; /* live sectors counted by the last gc, saturating; bucket size while being filled */
	uint16_t sectors_last; /* the same of the gc before: weights while a gc is counting */
	uint8_t gen;
	uint8_t last_gc;       /* oldest gen any pointer in the tree had at the last gc */
	uint8_t mark;	       /* enum bucket_mark */
	bool bad;	       /* refused a write: stays METADATA when freed, until the set ends (T-4) */
	bool reclaimable_in_gc; /* could be invalidated when the running gc started, so it still may (§7.3) */
};

enum reserve { RESERVE_BTREE, RESERVE_PRIO, RESERVE_MOVINGGC, RESERVE_NONE, RESERVE_NR };

struct bucket_fifo {
	uint32_t *slots;
	uint32_t cap, head, nr;
};

struct alloc {
	struct bucket *buckets;
	struct bucket_fifo free[RESERVE_NR];
	struct bucket_fifo free_inc;
	uint32_t *candidates;	    /* LRU selection heap */
	uint32_t cap_candidates;
	bool gc_mark_valid;	    /* marks are complete (no gc is counting) */
	bool invalidate_needs_gc;   /* nothing left to invalidate: only gc end clears it */
	uint8_t need_gc;	    /* max over buckets of gen - last_gc */
	unsigned prio_blocked;	    /* node frees whose parent is not yet durable */
	uint64_t nr_bad;	    /* buckets retired after a write error */
	uint64_t avail_buckets;	    /* unpinned and unmarked or reclaimable, as of the last gc, corrected since */
	uint64_t fifo_cursor;
	uint16_t min_prio;
	int64_t rescale;	    /* sectors until all prios age by one */
	struct fmutex prio_lock;    /* one prio write at a time: the allocator's, or the one at the set's end */
	uint64_t prio_seq;
	uint32_t *prio_buckets;	    /* the durable chain, in order */
	uint32_t *prio_last;	    /* the chain before it, freed once the newer one is durable */
	struct wait_queue bucket_wait; /* for a free bucket */
	struct wait_queue work;	       /* the allocator's */
	struct fiber *fiber;
	bool running;
	uint64_t nr_prio_writes, nr_invalidated, nr_bucket_waits;
};

MUST_CHECK int alloc_init(struct cset *c);
void alloc_release(struct cset *c);
MUST_CHECK int alloc_start(struct cset *c);
FIBER_FN void alloc_stop(struct cset *c);
void alloc_wake(struct cset *c);

/*
 * Take one bucket with pin 1 and a durable gen. Never waits. -EAGAIN: none; who wants to wait does so in bucket_wait, without a structural lock
 * (R0.8) and looks again. -EROFS: the set failed.
 */
MUST_CHECK int bucket_alloc(struct cset *c, enum reserve r, uint32_t *ret_bucket);
/* Buckets in the reserve of r. */
uint32_t bucket_alloc_available(const struct cset *c, enum reserve r);
/* A btree node's bucket refused a write. It is never handed out again. */
void bucket_retire(struct cset *c, uint32_t b);
/* Metadata or data bucket is no longer referenced; it is reused through invalidation like any other. pin must be 0 then. */
void bucket_free(struct cset *c, uint32_t b);
static inline void bucket_pin(struct bucket *b) { assert(b->pin < UINT32_MAX); b->pin++; }
static inline void bucket_unpin(struct bucket *b) { assert(b->pin > 0); b->pin--; }
/*
 * Start-up: a pointer newer than the recorded gen raises it, and shows what the bucket is used for (format.md §12.1). level: of the
 * node that holds the pointer.
 */
void bucket_adopt_gen(struct cset *c, uint64_t ptr, unsigned level, bool freed_marker);
/* gen + 1 in memory, keeping need_gc. */
uint8_t bucket_inc_gen(struct cset *c, uint32_t b);
bool bucket_can_invalidate(const struct cset *c, const struct bucket *b);
/* Start-up: hand buckets nothing points at to PRIO, then BTREE, until both are full (§7.6, R3.1a). */
void alloc_fill_reserves_at_start(struct cset *c);
/* Recount avail_buckets and need_gc (gc end). */
void alloc_recount(struct cset *c);
/* 0..100: share of buckets that hold dirty data or metadata, or are pinned. */
unsigned alloc_in_use_percent(const struct cset *c);
/* Age priorities for a request of nr_sectors (§3.8). */
void alloc_rescale(struct cset *c, uint32_t nr_sectors);
