/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which bucket goes first (behaviour.md §3.5).
 *
 * LRU looks at all buckets, in slices, and keeps the lightest in a heap; what one refill does not use serves the next ones, so that a scan pays for
 * 1/64 of the cache. A candidate is looked at again when it is taken: what has been used meanwhile has got away.
 */
#include "core/set/cset.h"

void bucket_invalidate(struct cset *c, uint32_t b)
{
	struct bucket *k = cset_bucket(c, b);

	assert(!k->pin && !k->readers);
	bucket_inc_gen(c, b);
	bucket_set_prio(&c->alloc, k, PRIO_INITIAL);
	k->mark = MARK_NONE;
	k->sectors_used = k->sectors_last = 0;
	k->reclaimable_in_gc = false;
	k->pin = 1;
	c->alloc.nr_invalidated++;
}

static bool refill_ends(const struct cset *c)
{
	return fifo_full(&c->alloc.free_inc) || !c->alloc.running || c->io_disable;
}

static void empty_bucket(struct cset *c, uint32_t b)
{
	bucket_invalidate(c, b);
	fifo_push(&c->alloc.free_inc, b);
}

/* --- LRU ----------------------------------------------------------------------------------------------------------------- */

/*
 * Coldness times emptiness. The offset makes the coldest bucket weigh 1/8 of a fresh one instead of nothing, so that among cold
 * ones the emptier goes first. While a gc counts, its half-done figures are worthless: use the ones before.
 */
static uint64_t lru_weight(const struct cset *c, const struct bucket *b)
{
	const struct alloc *a = &c->alloc;
	uint32_t oldest = min(a->epoch - a->oldest_epoch, PRIO_INITIAL);
	uint32_t age = b->used_epoch == PRIO_EPOCH_METADATA ? 0 : min(a->epoch - b->used_epoch, oldest);
	uint32_t used = bucket_mark_valid(a, b) ? b->sectors_used : b->sectors_last;

	return (uint64_t)(oldest - age + oldest / 8) * used;
}

/* Restore a heap below position i: the lightest on top, or the heaviest. */
static void sift(struct candidate *h, uint32_t nr, uint32_t i, bool lightest)
{
	for (;;) {
		uint32_t top = i;

		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < nr; child++)
			if (lightest ? h[child].weight < h[top].weight : h[child].weight > h[top].weight)
				top = child;
		if (top == i)
			return;
		struct candidate swapped = h[i];
		h[i] = h[top];
		h[top] = swapped;
		i = top;
	}
}

static void heapify(struct candidate *h, uint32_t nr, bool lightest)
{
	for (uint32_t i = nr / 2; i-- > 0;)
		sift(h, nr, i, lightest);
}

static void consider(struct cset *c, uint32_t b)
{
	struct alloc *a = &c->alloc;
	struct candidate *h = a->candidates;
	const struct bucket *k = &a->buckets[b];
	struct candidate new = { .weight = lru_weight(c, k), .bucket = b, .used_epoch = k->used_epoch };

	if (a->nr_candidates < a->cap_candidates) {
		h[a->nr_candidates++] = new;
		if (a->nr_candidates == a->cap_candidates)
			heapify(h, a->nr_candidates, false);
		return;
	}
	a->candidates_are_all = false;
	if (new.weight < h[0].weight) {
		h[0] = new;
		sift(h, a->nr_candidates, 0, false);
	}
}

/* One slice: returns where the next begins. */
static uint64_t scan_slice(struct cset *c, uint64_t from, uint32_t *oldest)
{
	uint64_t end = min(from + c->alloc.scan_slice, c->g.nr_buckets);

	for (uint64_t b = from; b < end; b++) {
		const struct bucket *k = &c->alloc.buckets[b];

		if (!k->pin && k->used_epoch != PRIO_EPOCH_METADATA && bucket_prio(&c->alloc, k))
			*oldest = min(*oldest, k->used_epoch);
		if (bucket_can_invalidate(c, k))
			consider(c, (uint32_t)b);
	}
	return end;
}

static FIBER_FN void scan(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t oldest = a->epoch;

	a->nr_scans++;
	a->nr_candidates = 0;
	a->candidates_are_all = true;
	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets && !refill_ends(c);) {
		b = scan_slice(c, b, &oldest);
		if (b < c->g.nr_buckets)
			fiber_yield();
	}
	a->oldest_epoch = oldest;
	heapify(a->candidates, a->nr_candidates, true);
}

/* The lightest candidate that may still be taken. */
static bool candidates_pop(struct cset *c, uint32_t *ret)
{
	struct alloc *a = &c->alloc;

	while (a->nr_candidates) {
		struct candidate top = a->candidates[0];
		const struct bucket *k = cset_bucket(c, top.bucket);

		a->candidates[0] = a->candidates[--a->nr_candidates];
		sift(a->candidates, a->nr_candidates, 0, true);
		if (k->used_epoch != top.used_epoch || !bucket_can_invalidate(c, k))
			continue;
		*ret = top.bucket;
		return true;
	}
	return false;
}

static FIBER_FN void invalidate_lru(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t b;
	bool scanned = false;

	while (!refill_ends(c)) {
		if (candidates_pop(c, &b)) {
			empty_bucket(c, b);
			continue;
		}
		if (scanned && a->candidates_are_all) /* a bucket may have been freed since, but gc's end will do for it */
			return;
		scan(c);
		scanned = true;
		if (!a->nr_candidates)
			return;
	}
}

/* --- FIFO and random ------------------------------------------------------------------------------------------------------ */

static FIBER_FN void invalidate_fifo(struct cset *c)
{
	struct alloc *a = &c->alloc;

	for (uint64_t seen = 1; seen <= c->g.nr_buckets && !refill_ends(c); seen++) {
		uint64_t b = a->fifo_cursor++;

		if (a->fifo_cursor >= c->g.nr_buckets)
			a->fifo_cursor = c->g.first_bucket;
		if (bucket_can_invalidate(c, cset_bucket(c, b)))
			empty_bucket(c, (uint32_t)b);
		if (seen % a->scan_slice == 0)
			fiber_yield();
	}
}

static FIBER_FN void invalidate_random(struct cset *c)
{
	uint64_t tries = c->g.nr_buckets / 2, before = c->alloc.nr_invalidated;

	for (uint64_t seen = 1; seen <= tries && !refill_ends(c); seen++) {
		uint64_t b = c->g.first_bucket + engine_random_u64() % (c->g.nr_buckets - c->g.first_bucket);

		if (bucket_can_invalidate(c, cset_bucket(c, b)))
			empty_bucket(c, (uint32_t)b);
		if (seen % max(c->alloc.scan_slice / 16, 1u) == 0) /* each is a cache miss */
			fiber_yield();
	}
	if (c->alloc.nr_invalidated == before) /* whoever is told that there is none gives up: recovery, for good */
		invalidate_fifo(c);
}

void invalidate_some(struct cset *c)
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
	if (!refill_ends(c))
		c->alloc.invalidate_needs_gc = true;
}
