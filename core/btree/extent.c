/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inserting into a node: new extents cut what they overlap, compare-and-swap (REPLACE), node pointers.
 *
 * A REPLACE first finds how much of the new key may be swapped and shrinks it to that; from then on it is a plain insert. So either
 * nothing changes, or everything in the key's range does.
 */
#include "core/btree/bkeys_sets.h"

/* --- REPLACE ----------------------------------------------------------------------------------------------------------- */

/*
 * Do k and replace say the same where they overlap? k may reach beyond replace: what lay there when replace was read has been merged since with
 * a neighbour that continues it in the same bucket.
 */
static bool agrees(const struct bkey *k, const struct bkey *replace)
{
	uint64_t from = max(bkey_start(k), bkey_start(replace));

	if (bkey_inode(k) != bkey_inode(replace) || from >= min(bkey_offset(k), bkey_offset(replace)))
		return false;
	if (bkey_dirty(k) != bkey_dirty(replace) || bkey_ptrs(k) != bkey_ptrs(replace) ||
	    bkey_csum(k) != bkey_csum(replace))
		return false;
	for (unsigned i = 0; i < bkey_ptrs(k); i++)
		if (ptr_add(k->ptr[i], from - bkey_start(k)) != ptr_add(replace->ptr[i], from - bkey_start(replace)))
			return false;
	return true;
}

uint32_t bkeys_match_prefix(const struct bkeys *b, const struct bkey *k, const struct bkey *replace)
{
	struct bpos reached = bkey_start_pos(k);
	const struct bkey *old;
	struct bkeys_iter it;

	bkeys_iter_init(&it, b, reached);
	while ((old = bkeys_iter_next(&it)) && bpos_cmp(reached, bkey_pos(k)) < 0) {
		if (!bkey_size(old))
			continue;
		if (bpos_cmp(bkey_start_pos(old), reached) > 0 || !agrees(old, replace))
			break;
		reached = bkey_pos(old);
	}
	return (uint32_t)(min(reached.offset, bkey_offset(k)) - bkey_start(k));
}

/* --- cutting ----------------------------------------------------------------------------------------------------------- */

static void tell_dirty(struct bkeys_dirty *d, const struct bkey *k, uint64_t start, uint64_t end, int sign)
{
	if (d && bkey_dirty(k) && start < end)
		d->changed(d, k, start, sign * (int64_t)(end - start));
}

/* Make `at` the END of k. */
static void lower_end(struct bkeys *b, const struct bkeys_set *s, struct bkey *k, struct bpos at)
{
	bkey_cut_back(k, at);
	bset_index_repair(b, s, k);
}

/* Take from k, which overlaps ins, what ins covers. When parts on both sides survive, *ret_top becomes the upper one. */
static void cut_key(struct bkeys *b, const struct bkeys_set *s, struct bkey *k, const struct bkey *ins, struct bkey *ret_top)
{
	bool keeps_front = bkey_start(k) < bkey_start(ins);
	bool keeps_back = bkey_offset(k) > bkey_offset(ins);

	if (keeps_front && keeps_back) {
		bkey_copy(ret_top, k);
		bkey_cut_front(ret_top, bkey_pos(ins));
		lower_end(b, s, k, bkey_start_pos(ins));
	} else if (keeps_back) {
		bkey_cut_front(k, bkey_pos(ins)); /* its END, which orders it, stays */
	} else if (keeps_front || bkeys_is_open(b, s)) {
		/* In the open set nothing may be left that ends inside ins: it could not be put in order with it. */
		lower_end(b, s, k, bkey_start_pos(ins));
	} else {
		bkey_set_size(k, 0);
	}
}

/* Room for ins. A live key can surround ins only if it is the only one there, so one *ret_top is enough; its size is 0 without. */
static void cut_overlaps(struct bkeys *b, const struct bkey *ins, struct bkeys_dirty *dirty, struct bkey *ret_top)
{
	bkey_set_size(ret_top, 0);
	for (unsigned i = 0; i < b->nr_sets; i++) {
		const struct bkeys_set *s = &b->sets[i];
		struct bkey *k = bset_search(b, s, bkey_start_pos(ins), NULL);

		for (; k < bset_end(s->set) && bpos_cmp(bkey_start_pos(k), bkey_pos(ins)) < 0; k = bkey_next(k)) {
			tell_dirty(dirty, k, max(bkey_start(k), bkey_start(ins)), min(bkey_offset(k), bkey_offset(ins)), -1);
			cut_key(b, s, k, ins, ret_top);
		}
	}
}

/* --- adding to the open set -------------------------------------------------------------------------------------------- */

static void insert_at(struct bkeys *b, struct bkey *at, const struct bkey *k)
{
	struct bset *s = bkeys_open(b);

	assert(bkeys_room_words(b) >= bkey_words(k));
	memmove((uint64_t *)at + bkey_words(k), at, (size_t)((char *)bset_end(s) - (char *)at));
	bkey_copy(at, k);
	s->nr_words += bkey_words(k);
	bset_index_from(b, bkeys_last_set(b), at);
}

/* Nothing in the open set overlaps k. k is used up: what merging leaves of it is inserted. */
static enum bkeys_insert place_extent(struct bkeys *b, struct bkey *k, struct bkey *prev, struct bkey *next)
{
	if (!bkeys_may_merge(b)) {
		insert_at(b, next, k);
		return BKEYS_INSERTED;
	}
	if (prev && bkey_try_merge(prev, k, b->g) == BKEY_MERGE_FULL)
		return BKEYS_BACK_MERGED;
	if (next < bset_end(bkeys_open(b)) && bkey_try_merge(k, next, b->g) == BKEY_MERGE_FULL) {
		bkey_copy(next, k);
		return BKEYS_FRONT_MERGED;
	}
	insert_at(b, next, k);
	return BKEYS_INSERTED;
}

enum bkeys_insert bkeys_insert_extent(struct bkeys *b, struct bkey *k, const struct bkey *replace, struct bkeys_dirty *dirty)
{
	struct bkey *prev, *next;
	struct bkey_buf top;

	assert(b->leaf);
	assert(b->open);
	assert(bkey_size(k));
	assert(bkeys_room_words(b) >= BKEYS_INSERT_ROOM);
	if (replace) {
		uint32_t found = bkeys_match_prefix(b, k, replace);

		if (!found)
			return BKEYS_COLLISION;
		bkey_cut_back(k, bpos(bkey_inode(k), bkey_start(k) + found));
	}
	cut_overlaps(b, k, dirty, &top.k);
	tell_dirty(dirty, k, bkey_start(k), bkey_offset(k), 1);
	next = bset_search(b, bkeys_last_set(b), bkey_start_pos(k), &prev);
	if (bkey_size(&top.k))
		insert_at(b, next, &top.k);
	return place_extent(b, k, prev, next);
}

/* --- interior nodes ---------------------------------------------------------------------------------------------------- */

/* The last position below pos; there is one. */
static struct bpos pos_before(struct bpos pos)
{
	return pos.offset ? bpos(pos.inode, pos.offset - 1) : bpos(pos.inode - 1, UINT64_MAX);
}

void bkeys_insert_ptr(struct bkeys *b, const struct bkey *k)
{
	struct bkey *at;

	assert(!b->leaf);
	assert(b->open);
	if (bkey_is_zero_pos(k))
		at = bset_first(bkeys_open(b));
	else
		at = bset_search(b, bkeys_last_set(b), pos_before(bkey_pos(k)), NULL);
	insert_at(b, at, k);
}
