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
 * free_inc holds, in order: emptied buckets whose gens are durable (nr_durable of them), then those that wait for the next prio write. So a new
 * batch is prepared while the one before is still being handed out, and writers see an empty list only if they outrun the disk.
 *
 * Age without a pass over all buckets (W-20): traffic of 1/1024 of the cache's size begins a new *epoch*, and a bucket remembers the epoch of
 * its last use. The priority that the format knows is PRIO_INITIAL minus the age in epochs.
 *
 * Invariants:
 *   A1 a bucket on a list (free_inc, free[]), or being discarded on its way from one to the other, has pin == 1 and is in exactly one of these
 *      places; it holds nothing (mark NONE, no sectors). (A bucket of the prio chain that went back to free[PRIO] while replay goes on may
 *      have the pin of a journalled key besides: no writer leaves such a key, but an image may have it.)
 *   A2 a bucket reaches free[] only after its incremented gen is durable (R3.1), or at start-up when no pointer names it.
 *   A3 gen - last_gc never exceeds BUCKET_GC_GEN_MAX (R3.2).
 *   A4 no prio image is taken while prio_blocked > 0 (R3.3, R3.5).
 *   A6 a bad bucket is nobody's once it was freed, and on no list.
 *   A5 a bucket with readers, a pin, or a mark of DIRTY or METADATA is never invalidated.
 *
 * The allocator is one fiber. It waits for the journal (prio writes) and for gc; nobody it waits for may wait for buckets. No stretch of its
 * work, nor of gc's passes over all buckets (gc.h), looks at more than scan_slice buckets before others run.
 */
#include "core/engine/sync.h"
#include "core/space/census.h"
#include "formats/prio.h"

struct cset;

#define BUCKET_GC_GEN_MAX 96
#define BUCKET_NEED_GC 64	   /* trigger a gc when some bucket's gen ran this far ahead (R3.2) */
#define BUCKET_SECTORS_USED_MAX 8191

enum bucket_mark { MARK_NONE, MARK_RECLAIMABLE, MARK_DIRTY, MARK_METADATA };

struct bucket {
	uint32_t pin;	       /* references that forbid reuse */
	uint16_t readers;      /* cache reads in flight (R2.1) */
	uint16_t sectors_used; /* live sectors counted by the last gc, saturating; bucket size while being filled */
	uint16_t sectors_last; /* the same of the gc before: weights while a gc is counting */
	uint32_t used_epoch;   /* of its last use, or PRIO_EPOCH_METADATA; see bucket_prio() */
	uint8_t gen;
	uint8_t last_gc;       /* oldest gen any pointer in the tree had at the last gc */
	uint8_t mark;	       /* enum bucket_mark */
	bool bad;	       /* refused a write: stays METADATA when freed, until the set ends (T-4) */
	bool move;	       /* its data is being moved elsewhere (movinggc.h) */
	bool reclaimable_in_gc; /* could be invalidated when the running gc started, so it still may (§7.3) */
};

enum reserve { RESERVE_BTREE, RESERVE_PRIO, RESERVE_MOVINGGC, RESERVE_NONE, RESERVE_NR };

struct bucket_fifo {
	uint32_t *slots;
	uint32_t cap, head, nr;
};

static inline bool fifo_full(const struct bucket_fifo *f) { return f->nr >= f->cap; }
bool fifo_push(struct bucket_fifo *f, uint32_t b);
bool fifo_pop(struct bucket_fifo *f, uint32_t *ret);

/* A bucket that the LRU policy may take, as it was when it was looked at. */
struct candidate {
	uint64_t weight;
	uint32_t bucket, used_epoch;
};

#define PRIO_EPOCH_METADATA UINT32_MAX
#define SCAN_SLICE 16384u /* well below a millisecond */
#define DISCARDS_MAX 8
#define PRIO_WRITE_SECONDS_DEFAULT 3600

struct bucket_discard;

struct alloc {
	struct bucket *buckets;
	uint32_t scan_slice;	    /* SCAN_SLICE; tests make it small */
	struct bucket_fifo free[RESERVE_NR];
	struct bucket_fifo free_inc;
	uint32_t nr_durable;	    /* the first ones on free_inc have durable gens */
	uint32_t builtin_free;	    /* capacity of free[NONE] unless freelist_percent says more */
	uint32_t freelist_percent;  /* tunable */
	struct candidate *candidates; /* min-heap, left from the last scan */
	uint32_t cap_candidates, nr_candidates;
	bool candidates_are_all;    /* that scan found no more than these */
	bool gc_mark_valid;	    /* all marks are complete (no gc is counting) */
	uint64_t counting_below;    /* unless gc_mark_valid: marks of buckets below are being counted anew, all others are still complete */
	bool invalidate_needs_gc;   /* nothing left to invalidate: only gc end clears it */
	uint8_t need_gc;	    /* max over buckets of gen - last_gc */
	unsigned prio_blocked;	    /* node frees whose parent is not yet durable */
	uint64_t nr_bad;	    /* buckets retired after a write error */
	uint64_t avail_buckets;	    /* unpinned and unmarked or reclaimable, or on a list, as of the last gc, corrected since */
	uint64_t recounted_below, nr_recounted; /* while alloc_recount() goes on: how many of the buckets below are available */
	uint64_t fifo_cursor;
	uint32_t epoch;		    /* begins at PRIO_INITIAL, so that every age can be expressed */
	uint32_t oldest_epoch;	    /* of data in the cache, as of the last scan: min_prio */
	int64_t rescale;	    /* sectors until the next epoch */
	bool prios_changed;	    /* since the last prio write */
	uint32_t prio_write_s;	    /* tunable: write changed prios this often when there is nothing else to do; 0 = never */
	uint64_t prio_written_ns;
	struct bucket_discard *discards; /* DISCARDS_MAX */
	unsigned nr_discarding;
	uint64_t nr_discard_errors, discard_error_ns;
	uint64_t inserts_when_futile; /* btree.nr_inserts when a gc had left nothing to take */
	bool gc_was_futile;
	struct fmutex prio_lock;    /* one prio write at a time: the allocator's, or the one at the set's end */
	uint64_t prio_seq;
	uint32_t *prio_buckets;	    /* the durable chain, in order */
	uint32_t *prio_last;	    /* the chain before it, freed once the newer one is durable */
	struct bucket_census *census;  /* the last one */
	struct wait_queue bucket_wait; /* for a free bucket */
	struct wait_queue work;	       /* the allocator's */
	struct fiber *fiber;
	bool running;
	uint64_t nr_prio_writes, nr_invalidated, nr_bucket_waits, nr_gens_raised, nr_discards, nr_scans;
};

/* 65535: metadata. 32768 - age in epochs; 0: never used, or not for 32 times the cache's size of traffic. */
static inline uint16_t bucket_prio(const struct alloc *a, const struct bucket *b)
{
	if (b->used_epoch == PRIO_EPOCH_METADATA)
		return PRIO_BTREE;
	return (uint16_t)(PRIO_INITIAL - min(a->epoch - b->used_epoch, PRIO_INITIAL));
}
/* Values between PRIO_INITIAL and PRIO_BTREE do not exist; from disk they count as PRIO_INITIAL. */
static inline void bucket_set_prio(struct alloc *a, struct bucket *b, uint16_t prio)
{
	uint32_t epoch = prio == PRIO_BTREE ? PRIO_EPOCH_METADATA : a->epoch - (PRIO_INITIAL - min(prio, (uint16_t)PRIO_INITIAL));

	a->prios_changed |= b->used_epoch != epoch;
	b->used_epoch = epoch;
}

MUST_CHECK int alloc_init(struct cset *c);
void alloc_release(struct cset *c);
MUST_CHECK int alloc_start(struct cset *c);
FIBER_FN void alloc_stop(struct cset *c);
void alloc_wake(struct cset *c);
/* Move buckets with durable gens to where they can be taken, as far as there is room. Never waits. */
void alloc_distribute(struct cset *c);

/*
 * Take one bucket with pin 1 and a durable gen. Never waits. -EAGAIN: none; who wants to wait does so in bucket_wait, without a structural lock
 * (R0.8) and looks again. -EROFS: the set failed.
 */
MUST_CHECK int bucket_alloc(struct cset *c, enum reserve r, uint32_t *ret_bucket);
/* Buckets in the reserve of r. */
uint32_t bucket_alloc_available(const struct cset *c, enum reserve r);
/* A btree node's bucket refused a write. It is never handed out again. */
void bucket_retire(struct cset *c, uint32_t b);
/* Metadata or data bucket is no longer referenced; it is reused through invalidation like any other. Pinned ones stay. */
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
/* Does b's mark say all there is to say, or has a gc begun to count it anew? */
static inline bool bucket_mark_valid(const struct alloc *a, const struct bucket *b)
{
	return a->gc_mark_valid || (uint64_t)(b - a->buckets) >= a->counting_below;
}
/* Start-up: hand buckets nothing points at to PRIO, then BTREE, until both are full (§7.6, R3.1a). */
void alloc_fill_reserves_at_start(struct cset *c);
/*
 * Recount avail_buckets and need_gc (gc end), in slices. What is taken or freed behind the slices meanwhile is counted where that happens, what is
 * before them will be seen by them, and being emptied or going from list to list changes nothing; so the sum is that of the moment of its end.
 */
FIBER_FN void alloc_recount(struct cset *c);
/* 0..100: share of buckets that hold dirty data or metadata, or are pinned. */
unsigned alloc_in_use_percent(const struct cset *c);
/* Age priorities for a request of nr_sectors (§3.8). */
void alloc_rescale(struct cset *c, uint32_t nr_sectors);
/* freelist_percent has changed: another target for the list that data comes from. What is too much becomes usable for data again. */
void alloc_resize_freelist(struct cset *c);

/* --- replacement.c, for allocator.c --------------------------------------------------------------------------------------- */

/* Empty a bucket: raise its gen and pin it. */
void bucket_invalidate(struct cset *c, uint32_t b);
/* Fill free_inc with buckets chosen by the replacement policy; sets invalidate_needs_gc when there are too few. */
FIBER_FN void invalidate_some(struct cset *c);

/* --- discard.c, for allocator.c ------------------------------------------------------------------------------------------- */

/* Hand out bucket b, whose gen is durable. False: no list has room. */
bool alloc_push_free(struct cset *c, uint32_t b);
/* Discard bucket b, which is on no list, and hand it out then. False: as many as may be are under way. */
bool bucket_discard_start(struct cset *c, uint32_t b);
