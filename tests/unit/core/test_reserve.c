/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a structural change asks of the reserve is what the worst case takes: two nodes for every level that it climbs, and a new root (R5.3, T-13).
 *
 * The worst case is built by hand. A path of full nodes leads to the highest keys of the device; below those, interior nodes are filled up with
 * pointers that nobody follows, at positions in front of the device's data. Gc, which would follow them, is stopped.
 */
#include "core/engine/fiber.h"
#include "tests/unit/core/test_nodes.h"
#include "tests/unit/core/unit.h"

#define FIRST_SECTOR 2000u /* of the keys; what comes before are positions of fillers */
#define KEEP_MAX 12u	   /* reserves of more levels than that are not built at start */

static unsigned next_sector;
static uint64_t next_filler;
static uint32_t filler_bucket; /* holds nothing */

static FIBER_FN struct bnode *path_node(struct rig *r, unsigned level)
{
	struct bnode *n;

	assert_int_equal(btree_node_at(r->c, bpos(r->d->inode, r->d->data_offset + DATA_SECTORS - 1), level, &n), 0);
	assert_int_equal(n->level, level);
	return n;
}

static FIBER_FN void fill_leaf(struct rig *r)
{
	while (bkeys_room_words(&path_node(r, 0)->keys) >= BKEYS_INSERT_ROOM) {
		put(r, next_sector, 1 + next_sector % 100);
		next_sector += 2;
		assert_true(next_sector < DATA_SECTORS);
	}
}

static FIBER_FN void fill_interior(struct rig *r, unsigned level)
{
	struct bnode *n = path_node(r, level);
	struct bkey_buf k;

	if (!n->keys.open)
		return; /* full to its last block */
	bkey_init(&k.k, 0, 0, r->c->btree.node_sectors);
	bkey_set_ptrs(&k.k, 1);
	k.k.ptr[0] = ptr_make(0, geometry_sector(&r->c->g, filler_bucket), cset_bucket(r->c, filler_bucket)->gen);
	while (bkeys_room_words(&n->keys) >= bkey_words(&k.k)) {
		bkey_set_inode(&k.k, r->d->inode);
		bkey_set_offset(&k.k, next_filler++);
		bkeys_insert_ptr(&n->keys, &k.k);
	}
	assert_true(next_filler < r->d->data_offset + FIRST_SECTOR);
	bnode_mark_dirty(n, 0);
	assert_int_equal(bnode_write_sync(n), 0);
}

/* Every node from the root to the leaf needs two successors. */
static FIBER_FN void fill_path(struct rig *r)
{
	for (unsigned level = r->c->btree.root->level; level; level--)
		fill_interior(r, level);
	fill_leaf(r);
}

/* Everything that could be taken, in our hands. */
struct held {
	uint32_t buckets[1024], nr;
};

static void hold_all(struct rig *r, struct held *h)
{
	struct alloc *a = &r->c->alloc;
	uint32_t b;

	a->invalidate_needs_gc = true; /* and no new ones */
	h->nr = 0;
	while (fifo_pop(&a->free_inc, &b) || fifo_pop(&a->free[RESERVE_NONE], &b) || fifo_pop(&a->free[RESERVE_BTREE], &b)) {
		assert_true(h->nr < ARRAY_SIZE(h->buckets));
		h->buckets[h->nr++] = b;
	}
	a->nr_durable = 0;
}

static void give(struct rig *r, struct held *h, uint32_t n)
{
	struct bucket_fifo *f = &r->c->alloc.free[RESERVE_BTREE];

	while (n--)
		assert_true(h->nr && fifo_push(f, h->buckets[--h->nr]));
	wake_all(&r->c->btree.reserve_wait);
}

static void give_back(struct rig *r, struct held *h)
{
	while (h->nr)
		assert_true(alloc_push_free(r->c, h->buckets[--h->nr]) || fifo_push(&r->c->alloc.free_inc, h->buckets[h->nr]));
	r->c->alloc.nr_durable = r->c->alloc.free_inc.nr;
}

static uint32_t left(const struct rig *r) { return r->c->alloc.free[RESERVE_BTREE].nr + r->c->alloc.free[RESERVE_NONE].nr; }

static FIBER_FN int split(struct rig *r, unsigned level, bool wait)
{
	return btree_rewrite(r->c, bpos(r->d->inode, r->d->data_offset + DATA_SECTORS - 1), level, wait);
}

static FIBER_FN void split_from(struct rig *r, unsigned level)
{
	unsigned root_level = r->c->btree.root->level;
	uint32_t need = 2 * (root_level - level + 1) + 1;
	uint64_t splits = r->c->btree.nr_splits;
	struct held h;

	fill_path(r);
	assert_int_equal(btree_path_need(r->c, level), need);
	hold_all(r, &h);
	give(r, &h, need - 1);
	assert_int_equal(split(r, level, false), -EAGAIN);
	assert_int_equal(left(r), need - 1);
	assert_int_equal(r->c->btree.nr_splits, splits);
	give(r, &h, 1);
	assert_int_equal(split(r, level, false), 0);
	assert_int_equal(left(r), 0);
	assert_int_equal(r->c->btree.nr_splits, splits + root_level - level + 1);
	assert_int_equal(r->c->btree.root->level, root_level + 1);
	assert_false(r->c->io_disable);
	give_back(r, &h);
}

static FIBER_FN void begin(struct rig *r)
{
	gc_stop(r->c);
	next_sector = FIRST_SECTOR;
	next_filler = 1;
	filler_bucket = (uint32_t)r->c->g.nr_buckets - 1;
	assert_int_equal(cset_bucket(r->c, filler_bucket)->pin, 0);
	bucket_pin(cset_bucket(r->c, filler_bucket));
}

static FIBER_FN void check_keys(struct rig *r)
{
	for (unsigned s = FIRST_SECTOR; s < next_sector; s++)
		assert_int_equal(rig_read(r, s, 1), fill_of[s]);
}

static void split_leaves(struct rig *r)
{
	begin(r);
	while (btree_path_need(r->c, 0) < KEEP_MAX)
		split_from(r, 0);
	assert_int_equal(r->c->btree.root->level, 5);
	check_keys(r);
}

static void t13_a_split_of_the_whole_path_takes_what_it_asked_for_and_not_a_bucket_more(void **state) { live_once(1, split_leaves); }

static void split_interior(struct rig *r)
{
	begin(r);
	while (r->c->btree.root->level < 3)
		split_from(r, 0);
	for (unsigned level = 3; level; level--)
		split_from(r, r->c->btree.root->level - level + 1);
	check_keys(r);
}

static void t13_so_does_a_split_that_begins_at_an_inner_node(void **state) { live_once(2, split_interior); }

struct waiter {
	struct rig *r;
	int result;
	bool done;
};

static void wait_for_room(void *arg)
{
	struct waiter *w = arg;

	w->result = split(w->r, 0, true);
	w->done = true;
}

static void wait_for_one_bucket(struct rig *r)
{
	struct waiter w = { .r = r };
	struct fiber *f;
	struct held h;

	begin(r);
	while (r->c->btree.root->level < 2)
		split_from(r, 0);
	fill_path(r);
	hold_all(r, &h);
	give(r, &h, 6);
	f = fiber_spawn("splits", wait_for_room, &w);
	fiber_sleep_ns(NS_PER_S);
	assert_false(w.done);
	assert_int_equal(left(r), 6);
	assert_false(fmutex_locked(&r->c->btree.structure)); /* R0.8: who frees buckets may need it */
	give(r, &h, 1);
	fiber_join(f);
	assert_int_equal(w.result, 0);
	assert_int_equal(left(r), 0);
	give_back(r, &h);
	check_keys(r);
}

static void t13_with_one_bucket_less_it_waits_before_it_takes_any(void **state) { live_once(3, wait_for_one_bucket); }

static void read_misses(void *arg)
{
	struct waiter *w = arg;

	for (unsigned s = next_sector - 41; s < next_sector; s += 2)
		assert_int_equal(rig_read(w->r, s, 1), 0);
	w->done = true;
}

/* Its data is on the backing device; that the cache has no place for a copy, nor for a placeholder, is no reason to wait. */
static void read_without_buckets(struct rig *r)
{
	struct waiter w = { .r = r };
	struct fiber *f;
	struct held h;

	begin(r);
	while (r->c->btree.root->level < 1)
		split_from(r, 0);
	fill_path(r);
	hold_all(r, &h);
	give(r, &h, btree_path_need(r->c, 0) - 1);
	f = fiber_spawn("reads", read_misses, &w);
	rig_settle();
	assert_true(w.done);
	fiber_join(f);
	assert_int_equal(left(r), btree_path_need(r->c, 0) - 1);
	give_back(r, &h);
	check_keys(r);
}

static void a_miss_does_not_wait_for_buckets_of_the_index(void **state) { live_once(4, read_without_buckets); }

/* --- the only bucket ------------------------------------------------------------------------------------------------------- */

static bool ours[CACHE_BUCKETS];

/* All but one that could be emptied are in use. */
static void take_all_but_one(struct rig *r)
{
	bool found = false;

	for (uint64_t b = r->c->g.first_bucket; b < r->c->g.nr_buckets; b++) {
		struct bucket *k = cset_bucket(r->c, b);
		bool can = bucket_can_invalidate(r->c, k);

		ours[b] = can && found;
		found |= can;
		if (ours[b])
			bucket_pin(k);
	}
	assert_true(found);
}

static void return_all(struct rig *r)
{
	for (uint64_t b = r->c->g.first_bucket; b < r->c->g.nr_buckets; b++)
		if (ours[b])
			bucket_unpin(cset_bucket(r->c, b));
}

/* As recovery does: there is no gc yet. */
static void find_the_only_bucket(struct rig *r)
{
	struct cset *c = r->c;
	struct held h;

	begin(r);
	while (c->btree.root->level < 1)
		split_from(r, 0);
	fill_path(r);
	hold_all(r, &h);
	give(r, &h, btree_path_need(c, 0) - 1);
	super_set_replacement(c->super, REPLACEMENT_RANDOM);
	c->state = CSET_STARTING;
	take_all_but_one(r);
	assert_int_equal(split(r, 0, true), 0);
	assert_false(c->io_disable);
	return_all(r);
	c->state = CSET_RUNNING;
	give_back(r, &h);
	check_keys(r);
}

static void a_start_finds_the_only_bucket_there_is_also_where_chance_chooses(void **state)
{
	for (uint64_t seed = 5; seed < 15; seed++)
		live_once(seed, find_the_only_bucket);
}

/* --- before the journal speaks ---------------------------------------------------------------------------------------------- */

/* As recovery of a set does whose uuid table has the old layout. */
static void write_uuids_in_silence(struct rig *r)
{
	struct cset *c = r->c;
	uint64_t entries;
	struct held h;

	gc_stop(c);
	alloc_stop(c);
	assert_int_equal(journal_flush(c), 0);
	hold_all(r, &h);
	give(r, &h, 1);
	c->alloc.invalidate_needs_gc = false; /* others could be found */
	entries = c->journal.nr_entries;
	c->journal.silent = true;
	assert_int_equal(uuid_table_write(c), 0);
	assert_int_equal(c->journal.nr_entries, entries);
	assert_true(c->journal.silent);
	assert_int_equal(left(r), 0);
	c->journal.silent = false;
	give_back(r, &h);
	assert_int_equal(alloc_start(c), 0);
	assert_int_equal(uuid_table_write(c), 0);
}

static void no_entry_says_that_the_uuid_table_has_the_new_layout_before_it_has(void **state) { live_once(15, write_uuids_in_silence); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t13_a_split_of_the_whole_path_takes_what_it_asked_for_and_not_a_bucket_more),
		cmocka_unit_test(t13_so_does_a_split_that_begins_at_an_inner_node),
		cmocka_unit_test(t13_with_one_bucket_less_it_waits_before_it_takes_any),
		cmocka_unit_test(a_start_finds_the_only_bucket_there_is_also_where_chance_chooses),
		cmocka_unit_test(no_entry_says_that_the_uuid_table_has_the_new_layout_before_it_has),
		cmocka_unit_test(a_miss_does_not_wait_for_buckets_of_the_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
