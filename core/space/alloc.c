/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/alloc.h"

#include <stdlib.h>

#include "core/admin/log.h"
#include "core/set/cset.h"
#include "core/space/prio_io.h"

#define BTREE_RESERVE_MIN 12 /* a split of the whole path at depth 4, new root included: 2 * 5 + 1 (R5.3) */

/* --- fifos ------------------------------------------------------------------------------------------------------------- */

static int fifo_init(struct bucket_fifo *f, uint32_t cap)
{
	f->slots = calloc(cap, sizeof(*f->slots));
	f->cap = cap;
	f->head = f->nr = 0;
	return f->slots ? 0 : -ENOMEM;
}

static bool fifo_full(const struct bucket_fifo *f) { return f->nr == f->cap; }

static bool fifo_push(struct bucket_fifo *f, uint32_t b)
{
	if (fifo_full(f))
		return false;
	f->slots[(f->head + f->nr++) % f->cap] = b;
	return true;
}

static bool fifo_pop(struct bucket_fifo *f, uint32_t *ret)
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
	uint32_t btree = max((uint32_t)c->journal.nr_buckets, (uint32_t)BTREE_RESERVE_MIN);

	wait_queue_init(&a->bucket_wait);
	fmutex_init(&a->prio_lock);
	wait_queue_init(&a->work);
	a->buckets = calloc(c->g.nr_buckets, sizeof(*a->buckets));
	a->cap_candidates = 8 * n;
	a->candidates = calloc(a->cap_candidates, sizeof(*a->candidates));
	a->prio_buckets = calloc(c->g.nr_prio_buckets, sizeof(*a->prio_buckets));
	a->prio_last = calloc(c->g.nr_prio_buckets, sizeof(*a->prio_last));
	if (!a->buckets || !a->candidates || !a->prio_buckets || !a->prio_last)
		return -ENOMEM;
	a->fifo_cursor = c->g.first_bucket;
	a->min_prio = PRIO_INITIAL;
	if (fifo_init(&a->free[RESERVE_BTREE], btree) || fifo_init(&a->free[RESERVE_PRIO], c->g.nr_prio_buckets) ||
	    fifo_init(&a->free[RESERVE_MOVINGGC], n) || fifo_init(&a->free[RESERVE_NONE], n) || fifo_init(&a->free_inc, 4 * n))
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
	       (uint8_t)(b->gen - b->last_gc) < BUCKET_GC_GEN_MAX - 1 && (c->alloc.gc_mark_valid || b->reclaimable_in_gc);
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
		b->prio = PRIO_BTREE;
	else if (!level && b->prio == PRIO_BTREE)
		b->prio = PRIO_INITIAL;
}

static void bucket_invalidate(struct cset *c, uint32_t b)
{
	struct bucket *k = cset_bucket(c, b);

	assert(!k->pin && !k->readers);
	bucket_inc_gen(c, b);
	k->prio = PRIO_INITIAL;
	k->reclaimable_in_gc = false;
	k->pin = 1;
	c->alloc.nr_invalidated++;
}

void alloc_recount(struct cset *c)
{
	struct alloc *a = &c->alloc;

	a->avail_buckets = 0;
	a->need_gc = 0;
	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++) {
		struct bucket *k = &a->buckets[b];

		a->need_gc = max(a->need_gc, (uint8_t)(k->gen - k->last_gc));
		if (!k->pin && (k->mark == MARK_NONE || k->mark == MARK_RECLAIMABLE))
			a->avail_buckets++;
	}
}

unsigned alloc_in_use_percent(const struct cset *c)
{
	return (unsigned)((c->g.nr_buckets - c->alloc.avail_buckets) * 100 / c->g.nr_buckets);
}

/*
 * All buckets age by one per 1/1024 of the cache's size of traffic. The pass is linear, but short: one load, compare and store per
 * bucket, so a million buckets take about a millisecond.
 */
void alloc_rescale(struct cset *c, uint32_t nr_sectors)
{
	struct alloc *a = &c->alloc;
	uint64_t step = max(1ull, c->g.nr_buckets * c->g.bucket_sectors / 1024);

	a->rescale -= nr_sectors;
	if (a->rescale >= 0)
		return;
	a->rescale += (int64_t)step;
	a->rescale = max(a->rescale, (int64_t)0);
	a->min_prio = UINT16_MAX;
	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++) {
		struct bucket *k = &a->buckets[b];

		if (k->prio && k->prio != PRIO_BTREE && !k->pin) {
			k->prio--;
			a->min_prio = min(a->min_prio, k->prio);
		}
	}
}

/* --- choosing what to invalidate ---------------------------------------------------------------------------------------- */

/*
 * Coldness times emptiness. The offset makes the coldest bucket weigh 1/8 of a fresh one instead of nothing, so that among cold
 * ones the emptier goes first. While a gc counts, its half-done figures are worthless: use the ones before.
 */
static uint64_t lru_weight(const struct cset *c, const struct bucket *b)
{
	uint32_t min_prio = min(c->alloc.min_prio, (uint16_t)PRIO_INITIAL);
	uint32_t prio = max((uint32_t)b->prio, min_prio);
	uint32_t used = c->alloc.gc_mark_valid ? b->sectors_used : b->sectors_last;

	return (uint64_t)(prio - min_prio + (PRIO_INITIAL - min_prio) / 8) * used;
}

/* Restore the max-heap of candidates below position i. */
static void candidates_sift(struct cset *c, uint32_t nr, uint32_t i)
{
	uint32_t *h = c->alloc.candidates;

	for (;;) {
		uint32_t top = i;

		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < nr; child++)
			if (lru_weight(c, cset_bucket(c, h[child])) > lru_weight(c, cset_bucket(c, h[top])))
				top = child;
		if (top == i)
			return;
		uint32_t tmp = h[i];
		h[i] = h[top];
		h[top] = tmp;
		i = top;
	}
}

/* Leave the cap_candidates lightest buckets in `candidates`, lightest first. */
static uint32_t candidates_collect(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t *h = a->candidates, nr = 0;

	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++) {
		if (!bucket_can_invalidate(c, &a->buckets[b]))
			continue;
		if (nr < a->cap_candidates) {
			h[nr++] = (uint32_t)b;
			if (nr == a->cap_candidates)
				for (uint32_t i = nr / 2; i-- > 0;)
					candidates_sift(c, nr, i);
		} else if (lru_weight(c, &a->buckets[b]) < lru_weight(c, cset_bucket(c, h[0]))) {
			h[0] = (uint32_t)b;
			candidates_sift(c, nr, 0);
		}
	}
	for (uint32_t i = nr / 2; i-- > 0;)
		candidates_sift(c, nr, i);
	for (uint32_t left = nr; left > 1; left--) { /* heap sort: heaviest to the back */
		uint32_t tmp = h[0];
		h[0] = h[left - 1];
		h[left - 1] = tmp;
		candidates_sift(c, left - 1, 0);
	}
	return nr;
}

static void invalidate_lru(struct cset *c)
{
	uint32_t nr = candidates_collect(c);

	for (uint32_t i = 0; i < nr && !fifo_full(&c->alloc.free_inc); i++) {
		bucket_invalidate(c, c->alloc.candidates[i]);
		fifo_push(&c->alloc.free_inc, c->alloc.candidates[i]);
	}
}

static void invalidate_fifo(struct cset *c)
{
	struct alloc *a = &c->alloc;

	for (uint64_t seen = 0; seen < c->g.nr_buckets && !fifo_full(&a->free_inc); seen++) {
		uint64_t b = a->fifo_cursor++;

		if (a->fifo_cursor >= c->g.nr_buckets)
			a->fifo_cursor = c->g.first_bucket;
		if (b >= c->g.first_bucket && bucket_can_invalidate(c, cset_bucket(c, b))) {
			bucket_invalidate(c, (uint32_t)b);
			fifo_push(&a->free_inc, (uint32_t)b);
		}
	}
}

static void invalidate_random(struct cset *c)
{
	uint64_t range = c->g.nr_buckets - c->g.first_bucket;

	for (uint64_t tries = 0; tries < c->g.nr_buckets / 2 && !fifo_full(&c->alloc.free_inc); tries++) {
		uint64_t b = c->g.first_bucket + engine_random_u64() % range;

		if (bucket_can_invalidate(c, cset_bucket(c, b))) {
			bucket_invalidate(c, (uint32_t)b);
			fifo_push(&c->alloc.free_inc, (uint32_t)b);
		}
	}
}

static void invalidate_some(struct cset *c)
{
	switch (super_replacement(c->super)) {
	case REPLACEMENT_FIFO:
		invalidate_fifo(c);
		break;
	case REPLACEMENT_RANDOM:
		invalidate_random(c);
		break;
	case REPLACEMENT_LRU:
		invalidate_lru(c);
		break;
	}
	if (!fifo_full(&c->alloc.free_inc))
		c->alloc.invalidate_needs_gc = true;
}

/* --- the allocator fiber ------------------------------------------------------------------------------------------------ */

static bool push_free(struct cset *c, uint32_t b)
{
	static const enum reserve order[] = { RESERVE_PRIO, RESERVE_BTREE, RESERVE_MOVINGGC, RESERVE_NONE };

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (fifo_push(&c->alloc.free[order[i]], b)) {
			if (order[i] == RESERVE_BTREE)
				wake_all(&c->btree.reserve_wait);
			wake_all(&c->alloc.bucket_wait);
			return true;
		}
	return false;
}

static bool alloc_ends(const struct cset *c) { return !c->alloc.running || c->io_disable; }

/* Hand out everything on free_inc; its gens are durable. */
static void distribute(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t b;

	while (a->free_inc.nr && !alloc_ends(c)) {
		b = a->free_inc.slots[a->free_inc.head];
		if (super_discard(c->super) && c->cache->can_discard)
			blk_discard(c->cache, geometry_sector(&c->g, b), c->g.bucket_sectors);
		while (!push_free(c, b) && !alloc_ends(c))
			wait_queue_wait(&a->work);
		if (!alloc_ends(c))
			fifo_pop(&a->free_inc, &b);
	}
}

/* Is it worth a prio write? Not for a few buckets, unless somebody is waiting for just those. */
static bool worth_writing(const struct alloc *a)
{
	return fifo_full(&a->free_inc) ||
	       (a->free_inc.nr && (!wait_queue_empty(&a->bucket_wait) || !a->free[RESERVE_NONE].nr));
}

static void allocator(void *arg)
{
	struct cset *c = arg;
	struct alloc *a = &c->alloc;
	int r;

	while (!alloc_ends(c)) {
		while (!alloc_ends(c)) {
			if (!a->invalidate_needs_gc)
				invalidate_some(c);
			/* With free buckets in stock there is no hurry: an idle, full cache must not run gc after gc. */
			if (a->invalidate_needs_gc && a->free[RESERVE_NONE].nr < a->free[RESERVE_NONE].cap)
				gc_trigger(c);
			if (worth_writing(a) && !a->prio_blocked)
				break;
			wait_queue_wait(&a->work);
		}
		if (alloc_ends(c))
			break;
		r = prio_write(c);
		if (!r) {
			distribute(c); /* and only then: the gens are durable (R3.1) */
		} else if (r == -EAGAIN && !alloc_ends(c)) {
			/* Cannot happen while chains recycle their own buckets; if it does, only a gc can help. */
			a->invalidate_needs_gc = true;
			gc_trigger(c);
			wait_queue_wait(&a->work);
		}
	}
}

int alloc_start(struct cset *c)
{
	c->alloc.running = true;
	c->alloc.fiber = fiber_spawn("allocator", allocator, c);
	return c->alloc.fiber ? 0 : -ENOMEM;
}

void alloc_stop(struct cset *c)
{
	struct alloc *a = &c->alloc;

	a->running = false;
	wake_all(&a->work);
	wake_all(&a->bucket_wait);
	if (a->fiber)
		fiber_join(a->fiber);
	a->fiber = NULL;
}

void alloc_wake(struct cset *c) { wake_all(&c->alloc.work); }

/* --- handing out -------------------------------------------------------------------------------------------------------- */

uint32_t bucket_alloc_available(const struct cset *c, enum reserve r)
{
	return c->alloc.free[r].nr;
}

/*
 * Data may only take from the common list; everybody else prefers it, which saves the reserves for when it is empty. Prio writes use
 * their own list first: it is refilled by the chain they replace.
 */
static bool pop_free(struct alloc *a, enum reserve r, uint32_t *ret)
{
	if (r == RESERVE_PRIO)
		return fifo_pop(&a->free[RESERVE_PRIO], ret) || fifo_pop(&a->free[RESERVE_NONE], ret);
	return fifo_pop(&a->free[RESERVE_NONE], ret) || (r != RESERVE_NONE && fifo_pop(&a->free[r], ret));
}

int bucket_alloc(struct cset *c, enum reserve r, uint32_t *ret_bucket)
{
	struct alloc *a = &c->alloc;
	uint32_t b;

	if (c->io_disable)
		return -EROFS;
	alloc_wake(c);
	if (!pop_free(a, r, &b))
		return -EAGAIN;

	struct bucket *k = cset_bucket(c, b);
	bool meta = r == RESERVE_BTREE || r == RESERVE_PRIO;

	assert(k->pin == 1); /* A1 */
	k->sectors_used = k->sectors_last = (uint16_t)min(c->g.bucket_sectors, (uint32_t)BUCKET_SECTORS_USED_MAX);
	k->mark = meta ? MARK_METADATA : MARK_RECLAIMABLE;
	k->prio = meta ? PRIO_BTREE : PRIO_INITIAL;
	k->reclaimable_in_gc = false;
	if (a->avail_buckets)
		a->avail_buckets--;
	*ret_bucket = b;
	return 0;
}

void bucket_retire(struct cset *c, uint32_t b)
{
	struct bucket *k = cset_bucket(c, b);

	assert(k->mark == MARK_METADATA);
	if (k->bad)
		return;
	k->bad = true;
	c->alloc.nr_bad++;
	log_warn("cache set %s: bucket %u of '%s' refused a write: not used again until the next start", c->uuid_text, b, c->cache->path);
}

void bucket_free(struct cset *c, uint32_t b)
{
	struct bucket *k = cset_bucket(c, b);

	assert(!k->pin);
	if (k->bad)
		return;
	k->mark = MARK_NONE;
	k->sectors_used = k->sectors_last = 0;
	if (c->alloc.avail_buckets < c->g.nr_buckets)
		c->alloc.avail_buckets++;
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
