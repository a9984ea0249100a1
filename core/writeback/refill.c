/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/refill.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"

/* --- by LBA -------------------------------------------------------------------------------------------------------------- */

struct scan {
	struct bdev *d;
	bool found, full;
};

static bool scan_key(void *ctx, const struct bkey *k)
{
	struct scan *s = ctx;
	struct keybuf *b = &s->d->writeback.keybuf;

	if (!bkey_dirty(k))
		return !s->d->writeback.stopping;
	s->found = true;
	if (range_busy(&s->d->ranges, bkey_start(k), bkey_offset(k)))
		return true; /* being overwritten: see the top of writeback.c */
	if (keybuf_full(b)) {
		s->full = true;
		return false;
	}
	keybuf_add(b, k);
	b->last_scanned = bkey_offset(k);
	return !s->d->writeback.stopping;
}

static int refill_by_lba(struct bdev *d, uint64_t *ret_generation, bool *ret_end)
{
	struct writeback *w = &d->writeback;

	for (;;) {
		struct scan s = { .d = d };
		uint64_t from = w->keybuf.last_scanned;
		int r;

		*ret_generation = w->dirty_generation;
		r = btree_for_each_extent(d->set, d->inode, from, BKEY_OFFSET_MAX, scan_key, &s);
		if (r < 0)
			return r;
		if (w->stopping || s.full)
			return REFILL_SOME;
		w->keybuf.last_scanned = 0;
		*ret_end = true;
		if (s.found || w->keybuf.nr)
			return REFILL_SOME;
		if (!from)
			return REFILL_CLEAN;
	}
}

/* --- full stripes -------------------------------------------------------------------------------------------------------- */

struct stripe_scan {
	struct bdev *d;
	uint64_t from, end; /* what is left of the stripe */
	bool full;
};

static bool scan_stripe_key(void *ctx, const struct bkey *k)
{
	struct stripe_scan *s = ctx;
	struct keybuf *b = &s->d->writeback.keybuf;
	struct bkey_buf part;

	if (!bkey_dirty(k))
		return true;
	if (keybuf_full(b)) {
		s->full = true;
		return false;
	}
	bkey_copy(&part.k, k);
	if (bkey_start(k) < s->from)
		bkey_cut_front(&part.k, bpos(bkey_inode(k), s->from));
	if (bkey_offset(k) > s->end)
		bkey_cut_back(&part.k, bpos(bkey_inode(k), s->end));
	s->from = bkey_offset(&part.k);
	if (!range_busy(&s->d->ranges, bkey_start(&part.k), bkey_offset(&part.k)))
		keybuf_add(b, &part.k);
	return !s->d->writeback.stopping;
}

/*
 * One whole stripe, or what the last filling left of it. Returns 1 if it did not fit: then nothing of it was taken, unless the buffer was empty;
 * a stripe of more keys than that is taken in parts, and the cursor stays inside it.
 */
static int take_stripe(struct bdev *d, uint64_t stripe)
{
	struct writeback *w = &d->writeback;
	uint64_t begin = stripe * w->stripes.stripe_sectors;
	struct stripe_scan s = { .d = d, .from = max(begin, w->stripe_cursor), .end = begin + w->stripes.stripe_sectors };
	unsigned nr_before = w->keybuf.nr;
	int r = btree_for_each_extent(d->set, d->inode, s.from, s.end, scan_stripe_key, &s);

	if (r < 0)
		return r;
	if (s.full && nr_before) {
		keybuf_truncate(&w->keybuf, nr_before);
		w->stripe_cursor = max(begin, w->stripe_cursor);
		return 1;
	}
	w->stripe_cursor = s.full ? s.from : s.end;
	return s.full;
}

static int refill_full_stripes(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	int r = 0;

	while (!r && !w->stopping) {
		uint64_t stripe = w->stripe_cursor / w->stripes.stripe_sectors;

		if (w->stripe_cursor % w->stripes.stripe_sectors == 0)
			stripe = stripes_next_full(&w->stripes, stripe);
		if (stripe == STRIPE_NONE) {
			w->stripe_cursor = 0;
			w->stripe_round_done = true;
			return 0;
		}
		r = take_stripe(d, stripe);
	}
	return r < 0 ? r : 0;
}

int writeback_refill(struct bdev *d, uint64_t *ret_generation, bool *ret_end)
{
	struct writeback *w = &d->writeback;

	*ret_end = false;
	if (w->partial_stripes && !w->stripe_round_done) {
		int r = refill_full_stripes(d);

		if (r < 0 || w->keybuf.nr || w->stopping)
			return r < 0 ? r : REFILL_SOME;
	}
	w->stripe_round_done = false;
	return refill_by_lba(d, ret_generation, ret_end);
}

/* --- counting ------------------------------------------------------------------------------------------------------------ */

/* Dirty sectors of [pos, end) in a leaf; end is its bound, or the end of the device. Does not yield. */
static uint64_t count_leaf(struct bdev *d, const struct bnode *leaf, uint64_t pos, uint64_t end)
{
	struct bkeys_iter it;
	const struct bkey *k;
	uint64_t dirty = 0;

	bkeys_iter_init(&it, &leaf->keys, bpos(d->inode, pos));
	while ((k = bkeys_iter_next(&it)) && bkey_inode(k) == d->inode) {
		uint64_t from = max(bkey_start(k), pos), to = min(bkey_offset(k), end);

		if (!bkey_size(k) || !bkey_dirty(k) || from >= to || !extent_live(d->set, k))
			continue;
		dirty += to - from;
		stripes_account(&d->writeback.stripes, from, (int64_t)(to - from));
	}
	return dirty;
}

int writeback_count(struct bdev *d, uint64_t *ret_dirty)
{
	struct writeback *w = &d->writeback;
	uint64_t pos = 0, dirty = 0;

	stripes_release(&w->stripes);
	if (!bdev_is_flash(d))
		stripes_init(&w->stripes, bdev_stripe_sectors(d), d->backing->nr_sectors, 0);
	while (pos < BKEY_OFFSET_MAX) {
		struct bnode *leaf;
		struct bpos bound;
		uint64_t end;
		int r = btree_leaf(d->set, bpos(d->inode, pos), &leaf);

		if (r < 0)
			return r;
		if (w->fiber && w->stopping)
			return -EINTR;
		if (leaf->frozen) { /* a key that was reported as behind counted_to may be in its replacement (sim 3222) */
			btree_wait_thawed(d->set);
			continue;
		}
		bound = bnode_bound(leaf);
		end = bound.inode == d->inode ? bound.offset : BKEY_OFFSET_MAX;
		w->stripes.counted_to = end;
		dirty += count_leaf(d, leaf, pos, end);
		pos = end;
	}
	w->stripes.counted_to = UINT64_MAX;
	*ret_dirty = dirty;
	return 0;
}
