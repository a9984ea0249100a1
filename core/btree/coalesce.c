/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Coalescing: sparse neighbours become fewer, fuller nodes (behaviour.md §7.4). Steps as for every structural change (btree.h): all old nodes
 * freeze together, the new ones are durable before one set of the parent names them and frees the old ones.
 *
 * Never waits for buckets or for the lock, and reads nothing: a neighbour that is no longer in memory is left alone.
 */
#include "core/btree/restructure.h"

struct window {
	struct bnode *parent;
	struct bnode *nodes[COALESCE_NODES]; /* lowest first */
	unsigned nr;
};

uint32_t btree_coalesce_target_words(const struct cset *c)
{
	return (uint32_t)((c->btree.node_sectors * SECTOR_BYTES - sizeof(struct bset)) / 8 * 2 / 3);
}

static uint32_t live_words(struct restructure *rs, const struct bnode *n)
{
	drop_fn drop = drop_rule(n->level);
	struct bkeys_iter it;
	const struct bkey *k;
	uint32_t words = 0;

	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it)))
		if ((n->level || bkey_size(k)) && !drop(rs, k))
			words += bkey_words(k);
	return words;
}

/* New pointers and markers of the old ones. */
static uint32_t ptr_words(const struct window *w) { return (2 * w->nr - 1) * (BKEY_WORDS_MAX - BKEY_PTRS_MAX + 1); }

/* A parent without room is copied, and what goes into the copy has a fifth of the node at least (replace.c). */
static bool parent_can_take(const struct window *w)
{
	return parent_has_room(w->parent, ptr_words(w)) || ptr_words(w) * 8 <= w->parent->keys.buf_bytes / 5;
}

/* The nodes with these bounds, if they still are neighbours below one parent, and in memory. Yields only before it looks. */
static int find_window(struct cset *c, unsigned level, const struct bpos *bounds, unsigned nr, struct window *w)
{
	struct bkeys_iter it;
	int r = btree_node_at(c, pos_below(bounds[0]), level + 1, &w->parent);

	w->nr = 0;
	if (r < 0 || w->parent->level != level + 1)
		return r;
	bkeys_iter_init(&it, &w->parent->keys, pos_below(bounds[0]));
	while (w->nr < nr) {
		const struct bkey *k = bkeys_iter_next(&it);
		struct bnode *n;

		if (k && node_ptr_bad(c, k))
			continue;
		if (!k || bpos_cmp(bkey_pos(k), bounds[w->nr]))
			return 0;
		n = bnode_find(c, k->ptr[0]);
		if (!n || n->loading || n->frozen)
			return 0;
		w->nodes[w->nr++] = n;
	}
	return 0;
}

static bool worth_it(struct restructure *rs, const struct window *w)
{
	uint32_t words = 0;

	for (unsigned i = 0; i < w->nr; i++)
		words += live_words(rs, w->nodes[i]);
	return words <= btree_coalesce_target_words(rs->c) * (w->nr - 1) && parent_can_take(w);
}

/* Deal the keys of the old nodes out to the fresh ones. Does not yield. False: they do not fit after all. */
static bool spread(struct restructure *rs, const struct window *w)
{
	drop_fn drop = drop_rule(w->nodes[0]->level);
	uint32_t target = btree_coalesce_target_words(rs->c);
	unsigned cur = 0;

	for (unsigned i = 0; i < w->nr; i++) {
		struct bkeys_iter it;

		bkeys_iter_init_all(&it, &w->nodes[i]->keys);
		while (!bkeys_sort_some(&it, &rs->fresh[cur]->keys, cur + 1 < rs->nr_fresh ? target : UINT32_MAX, drop, rs))
			if (++cur == rs->nr_fresh)
				return false;
	}
	while (rs->nr_fresh > cur + 1)
		drop_last_fresh(rs);
	for (unsigned i = 0; i < cur; i++) {
		const struct bkeys_set *s = &rs->fresh[i]->keys.sets[0];
		const struct bkey *last = bset_first(s->set);

		while (bkey_next(last) < bset_end(s->set))
			last = bkey_next(last);
		set_bound(rs->fresh[i], bkey_pos(last));
	}
	set_bound(rs->fresh[cur], bnode_bound(w->nodes[w->nr - 1]));
	return true;
}

static int merge(struct restructure *rs, const struct window *w)
{
	struct keylist up;
	int r = 0;

	for (unsigned i = 0; i < w->nr; i++)
		take_old(rs, w->nodes[i]);
	for (unsigned i = 0; i + 1 < w->nr && !r; i++) {
		struct bnode *n;

		r = fresh_node(rs, w->nodes[0]->level, &n);
	}
	if (r < 0)
		return r;
	if (!spread(rs, w))
		return -ENOSPC;
	rs->c->btree.nr_coalesced++;
	r = write_fresh(rs);
	if (r < 0)
		return r;
	keylist_init(&up, KEYLIST_WORDS);
	for (unsigned i = 0; i < rs->nr_fresh; i++)
		keylist_push(&up, &rs->fresh[i]->key.k);
	for (unsigned i = 0; i < w->nr; i++)
		push_freed(&up, w->nodes[i]);
	return parent_has_room(w->parent, up.nr_words) ? commit_in_parent(rs, w->parent, &up) : replace_node(rs, w->parent, &up, NULL);
}

/* `structure` is held, and the buckets are there. */
static int coalesce_locked(struct cset *c, unsigned level, const struct bpos *bounds, unsigned nr)
{
	struct restructure rs = { .c = c };
	struct window w;
	int r = find_window(c, level, bounds, nr, &w);

	if (r < 0 || w.nr < nr || !worth_it(&rs, &w))
		return r;
	bnode_get(w.parent);
	r = merge(&rs, &w);
	if (r < 0 && r != -ENOSPC)
		r = restructure_failed(&rs, r);
	restructure_finish(&rs, r >= 0);
	bnode_put(w.parent);
	return r < 0 ? r : 1;
}

int btree_coalesce(struct cset *c, unsigned level, const struct bpos *bounds, unsigned nr)
{
	uint32_t need = nr - 1 + btree_path_need(c, level + 1); /* the path above is replaced if the parent has no room */
	uint64_t start = engine_now_ns();
	int r;

	assert(nr >= 2 && nr <= COALESCE_NODES);
	if (level >= c->btree.root->level || need > c->alloc.free[RESERVE_BTREE].cap)
		return 0;
	r = journal_admit(c, false);
	if (r < 0)
		return r;
	r = btree_reserve_lock(c, need, BTREE_NO_WAIT);
	if (!r) {
		r = coalesce_locked(c, level, bounds, nr);
		fmutex_unlock(&c->btree.structure);
		if (r > 0)
			time_stats_update(&c->time_split, start, engine_now_ns());
	}
	journal_leave(&c->journal);
	return r == -ENOSPC ? 0 : r;
}
