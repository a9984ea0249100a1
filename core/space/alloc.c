/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/alloc.h"

#include <stdlib.h>

#include "core/admin/log.h"
#include "core/set/cset.h"
#include "core/space/discard.h"

#define STOCK_MAX 64 /* a small cache keeps more in stock than the kernel's 1/1024: a prio write should not stall its writers */
#define BTREE_RESERVE_MIN 12 /* a split of the whole path at depth 4, new root included: 2 * 5 + 1 (R5.3) */

/* --- fifos ------------------------------------------------------------------------------------------------------------- */

static int fifo_init(struct bucket_fifo *f, uint32_t cap)
{
	f->slots = calloc(cap, sizeof(*f->slots));
	f->cap = cap;
	f->head = f->nr = 0;
	return f->slots ? 0 : -ENOMEM;
}

bool fifo_push(struct bucket_fifo *f, uint32_t b)
{
	if (fifo_full(f))
		return false;
	f->slots[(f->head + f->nr++) % f->cap] = b;
	return true;
}

bool fifo_pop(struct bucket_fifo *f, uint32_t *ret)
{
	if (!f->nr)
		return false;
	*ret = f->slots[f->head];
	f->head = (f->head + 1) % f->cap;
	f->nr--;
	return true;
}

/* --- setting up -------------------------------------------------------------------------------------------------------- */

int alloc_init(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t n = (uint32_t)max(1ull, round_up_pow2(c->g.nr_buckets) >> 10);
	uint32_t stock = max(n, (uint32_t)min(c->g.nr_buckets / 128, (uint64_t)STOCK_MAX));
	uint32_t btree = max((uint32_t)c->journal.nr_buckets, (uint32_t)BTREE_RESERVE_MIN);

	wait_queue_init(&a->bucket_wait);
	fmutex_init(&a->prio_lock);
	wait_queue_init(&a->work);
	a->buckets = calloc(c->g.nr_buckets, sizeof(*a->buckets));
	a->cap_candidates = (uint32_t)max(8ull * n, c->g.nr_buckets / 64);
	a->discards = calloc(DISCARDS_MAX, sizeof(*a->discards));
	a->census = calloc(1, sizeof(*a->census));
	a->candidates = calloc(a->cap_candidates, sizeof(*a->candidates));
	a->prio_buckets = calloc(c->g.nr_prio_buckets, sizeof(*a->prio_buckets));
	a->prio_last = calloc(c->g.nr_prio_buckets, sizeof(*a->prio_last));
	if (!a->buckets || !a->candidates || !a->discards || !a->census || !a->prio_buckets || !a->prio_last)
		return -ENOMEM;
	a->fifo_cursor = c->g.first_bucket;
	a->scan_slice = SCAN_SLICE;
	a->counting_below = c->g.nr_buckets; /* the start counts them all */
	a->epoch = a->oldest_epoch = PRIO_INITIAL;
	if (fifo_init(&a->free[RESERVE_BTREE], btree) || fifo_init(&a->free[RESERVE_PRIO], c->g.nr_prio_buckets) ||
	    fifo_init(&a->free[RESERVE_MOVINGGC], n) || fifo_init(&a->free_inc, max(4 * n, 2 * stock)))
		return -ENOMEM;
	a->builtin_free = stock;
	alloc_resize_freelist(c);
	if (!a->free[RESERVE_NONE].slots)
		return -ENOMEM;
	return 0;
}

void alloc_release(struct cset *c)
{
	struct alloc *a = &c->alloc;

	for (int r = 0; r < RESERVE_NR; r++)
		free(a->free[r].slots);
	free(a->free_inc.slots);
	free(a->candidates);
	free(a->discards);
	free(a->census);
	free(a->prio_buckets);
	free(a->prio_last);
	free(a->buckets);
	memset(a, 0, sizeof(*a));
}

/* --- gens, marks, counting --------------------------------------------------------------------------------------------- */

uint8_t bucket_inc_gen(struct cset *c, uint32_t b)
{
	struct bucket *k = cset_bucket(c, b);

	k->gen++;
	c->alloc.nr_gens_raised++;
	c->alloc.need_gc = max(c->alloc.need_gc, (uint8_t)(k->gen - k->last_gc));
	if ((uint8_t)(k->gen - k->last_gc) > BUCKET_GC_GEN_MAX) /* A3; pointers on disk can bring this about */
		cset_error(c, "bucket %u of '%s' is %u generations ahead of the last gc, at most %d are possible", b, c->cache->path,
			   (uint8_t)(k->gen - k->last_gc), BUCKET_GC_GEN_MAX);
	if (c->alloc.need_gc > BUCKET_NEED_GC)
		gc_trigger(c);
	return k->gen;
}

bool bucket_can_invalidate(const struct cset *c, const struct bucket *b)
{
	/* One less than the limit: retiring a btree node raises its bucket's gen once more before it is freed. */
	return (b->mark == MARK_NONE || b->mark == MARK_RECLAIMABLE) && !b->pin && !b->readers &&
	       (uint8_t)(b->gen - b->last_gc) < BUCKET_GC_GEN_MAX - 1 && (bucket_mark_valid(&c->alloc, b) || b->reclaimable_in_gc);
}

void bucket_adopt_gen(struct cset *c, uint64_t ptr, unsigned level, bool freed_marker)
{
	struct bucket *b = ptr_bucket(c, ptr);

	if (ptr_stale(c, ptr))
		return;
	b->gen = ptr_gen(ptr);
	/*
	 * An old freed marker can look that much newer (R7.3). The next gc finds last_gc anew; until then the bucket may be retired once,
	 * but not invalidated.
	 */
	if ((uint8_t)(b->gen - b->last_gc) > BUCKET_GC_GEN_MAX - 1)
		b->last_gc = (uint8_t)(b->gen - (BUCKET_GC_GEN_MAX - 1));
	if (level && !freed_marker)
		bucket_set_prio(&c->alloc, b, PRIO_BTREE);
	else if (!level && bucket_prio(&c->alloc, b) == PRIO_BTREE)
		bucket_set_prio(&c->alloc, b, PRIO_INITIAL);
}

/* Pinned and empty: on a list, or on the way to one (A1). */
static bool is_available(const struct bucket *k)
{
	return k->mark == MARK_NONE ? k->pin <= 1 : k->mark == MARK_RECLAIMABLE && !k->pin;
}

static void recount_slice(struct alloc *a, uint64_t end)
{
	for (uint64_t b = a->recounted_below; b < end; b++) {
		const struct bucket *k = &a->buckets[b];

		a->need_gc = max(a->need_gc, (uint8_t)(k->gen - k->last_gc));
		a->nr_recounted += is_available(k);
	}
	a->recounted_below = end;
}

void alloc_recount(struct cset *c)
{
	struct alloc *a = &c->alloc;

	assert(!a->recounted_below); /* only gc does this */
	a->need_gc = 0;
	a->nr_recounted = 0;
	for (a->recounted_below = c->g.first_bucket;;) {
		recount_slice(a, min(a->recounted_below + a->scan_slice, c->g.nr_buckets));
		if (a->recounted_below == c->g.nr_buckets)
			break;
		fiber_yield();
	}
	a->avail_buckets = a->nr_recounted;
	a->recounted_below = 0;
	gc_note_in_use(c);
}

unsigned alloc_in_use_percent(const struct cset *c)
{
	return (unsigned)((c->g.nr_buckets - c->alloc.avail_buckets) * 100 / c->g.nr_buckets);
}

/* All buckets age by one per 1/1024 of the cache's size of traffic. */
void alloc_rescale(struct cset *c, uint32_t nr_sectors)
{
	struct alloc *a = &c->alloc;
	uint64_t step = max(1ull, c->g.nr_buckets * c->g.bucket_sectors / 1024);

	a->rescale -= nr_sectors;
	if (a->rescale >= 0)
		return;
	a->rescale = max(a->rescale + (int64_t)step, (int64_t)0);
	a->epoch++;
	a->prios_changed = true;
}

void alloc_resize_freelist(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t cap = max(a->builtin_free, (uint32_t)(c->g.nr_buckets * a->freelist_percent / 100)), b;
	struct bucket_fifo new, *old = &a->free[RESERVE_NONE];

	if (fifo_init(&new, cap) < 0) {
		log_error("no memory for a list of %u free buckets of '%s': it keeps its size", cap, c->cache->path);
		return;
	}
	while (fifo_pop(old, &b))
		if (!fifo_push(&new, b))
			bucket_unpin(cset_bucket(c, b)); /* empty, and found again when it is needed */
	free(old->slots);
	*old = new;
	alloc_wake(c);
}

/* --- handing out -------------------------------------------------------------------------------------------------------- */

uint32_t bucket_alloc_available(const struct cset *c, enum reserve r)
{
	return c->alloc.free[r].nr;
}

/*
 * Data may only take from the common list; everybody else prefers it, which saves the reserves for when it is empty. Prio writes use
 * their own list first: it is refilled by the chain they replace. So does moving gc: it was chosen how much to move by what is there, and data that is
 * being written now comes before it.
 */
static bool pop_free(struct alloc *a, enum reserve r, uint32_t *ret)
{
	if (r == RESERVE_PRIO || r == RESERVE_MOVINGGC)
		return fifo_pop(&a->free[r], ret) || fifo_pop(&a->free[RESERVE_NONE], ret);
	return fifo_pop(&a->free[RESERVE_NONE], ret) || (r != RESERVE_NONE && fifo_pop(&a->free[r], ret));
}

int bucket_alloc(struct cset *c, enum reserve r, uint32_t *ret_bucket)
{
	struct alloc *a = &c->alloc;
	uint32_t b;

	if (c->io_disable)
		return -EROFS;
	if (!pop_free(a, r, &b)) {
		alloc_wake(c);
		return -EAGAIN;
	}
	alloc_distribute(c);
	alloc_wake(c);

	struct bucket *k = cset_bucket(c, b);
	bool meta = r == RESERVE_BTREE || r == RESERVE_PRIO;

	assert(k->pin == 1 || (r == RESERVE_PRIO && k->pin)); /* A1 */
	k->sectors_used = k->sectors_last = (uint16_t)min(c->g.bucket_sectors, (uint32_t)BUCKET_SECTORS_USED_MAX);
	k->mark = meta ? MARK_METADATA : MARK_RECLAIMABLE;
	bucket_set_prio(a, k, meta ? PRIO_BTREE : PRIO_INITIAL);
	k->reclaimable_in_gc = k->move = false;
	if (a->avail_buckets)
		a->avail_buckets--;
	if (b < a->recounted_below && a->nr_recounted) /* it may have been pinned by its last user when it was looked at */
		a->nr_recounted--;
	gc_note_in_use(c);
	*ret_bucket = b;
	return 0;
}

void bucket_retire(struct cset *c, uint32_t b)
{
	struct bucket *k = cset_bucket(c, b);

	if (k->bad)
		return;
	k->bad = true;
	k->mark = MARK_METADATA; /* for good; a gc may have begun to count it anew */
	c->alloc.nr_bad++;
	log_warn("cache set %s: bucket %u of '%s' refused a write: not used again until the next start", c->uuid_text, b, c->cache->path);
}

void bucket_free(struct cset *c, uint32_t b)
{
	struct alloc *a = &c->alloc;
	struct bucket *k = cset_bucket(c, b);

	if (k->bad || k->pin) /* pinned: see A1; gc will see when the key is gone */
		return;
	if (b < a->recounted_below)
		a->nr_recounted += !is_available(k);
	k->mark = MARK_NONE;
	k->sectors_used = k->sectors_last = 0;
	if (a->avail_buckets < c->g.nr_buckets)
		a->avail_buckets++;
	alloc_wake(c);
}

void alloc_fill_reserves_at_start(struct cset *c)
{
	struct alloc *a = &c->alloc;

	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++) {
		struct bucket *k = &a->buckets[b];

		if (fifo_full(&a->free[RESERVE_PRIO]) && fifo_full(&a->free[RESERVE_BTREE]))
			return;
		if (k->mark != MARK_NONE || !bucket_can_invalidate(c, k))
			continue;
		bucket_invalidate(c, (uint32_t)b);
		if (!fifo_push(&a->free[RESERVE_PRIO], (uint32_t)b))
			fifo_push(&a->free[RESERVE_BTREE], (uint32_t)b);
	}
}
