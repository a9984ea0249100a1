/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Moving gc in a full cache: the leaves that its swaps split need buckets, and nobody but itself can make any (R5.3, §7.7). Each key of a batch lies in
 * another leaf, all leaves are full of live keys, and there is nothing that could be emptied.
 */
#define NODE_SECTORS 16u
#define CACHE_BUCKETS 2048u
#define DATA_SECTORS 20480u
#include "tests/unit/core/test_nodes.h"

#define KEYS (DATA_SECTORS / 2) /* the even sectors; odd ones fill the leaves */
#define SPARSE_BUCKETS 16u
#define LEFT_IN_EACH 2u

static unsigned nth_sector(unsigned i) { return i * 1021 % KEYS * 2; }

/* Neighbours in a bucket lie far apart on the device. */
static FIBER_FN void scatter(struct rig *r)
{
	for (unsigned i = 0; i < KEYS; i++)
		put(r, nth_sector(i), 1);
	for (unsigned i = 0; i < SPARSE_BUCKETS * NODE_SECTORS; i++)
		if (i % NODE_SECTORS >= LEFT_IN_EACH)
			put(r, nth_sector(i), 2);
}

/* Until the next key that comes to any leaf has it split. */
static FIBER_FN void fill_leaves(struct rig *r)
{
	for (unsigned s = 1; s < DATA_SECTORS; s += 2) {
		struct bnode *n;

		assert_int_equal(btree_leaf(r->c, bpos(r->d->inode, r->d->data_offset + s), &n), 0);
		if (bkeys_room_words(&n->keys) >= 2 * BKEYS_INSERT_ROOM)
			put(r, s, 3);
	}
}

/* Everything that could become free is somebody's. */
static void use_up(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint32_t b;

	while (fifo_pop(&a->free_inc, &b) || fifo_pop(&a->free[RESERVE_NONE], &b))
		;
	a->nr_durable = 0;
	for (uint64_t i = r->c->g.first_bucket; i < r->c->g.nr_buckets; i++)
		if (!a->buckets[i].pin && a->buckets[i].mark != MARK_DIRTY && a->buckets[i].mark != MARK_METADATA)
			bucket_pin(&a->buckets[i]);
}

static void move_in_full_cache(struct rig *r)
{
	struct movinggc *m = &r->c->moving;
	uint64_t splits;

	scatter(r);
	fill_leaves(r);
	assert_int_equal(gc_run(r->c), 0);
	rig_settle();
	use_up(r);
	splits = r->c->btree.nr_splits;
	r->c->copy_gc_enabled = true;
	assert_int_equal(gc_run(r->c), 0);
	fiber_sleep_ns(600 * NS_PER_S);
	assert_false(m->running);
	assert_true(m->nr_keys && r->c->btree.nr_splits - splits > 10); /* as many as the reserve is good for */
	check_everything(r);
}

static void a_batch_does_not_wait_for_buckets_that_only_it_can_make_free(void **state) { live_once(1, move_in_full_cache); }

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_batch_does_not_wait_for_buckets_that_only_it_can_make_free) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
