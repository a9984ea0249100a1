/* SPDX-License-Identifier: GPL-2.0-only */
/* A bucket that refuses the write of a btree node (R5.2, T-4): the node goes elsewhere, nothing is lost, the set goes on. */
#include "tests/unit/core/test_nodes.h"

static bool set_must_fail;

/* The i-th bucket from now that a btree node will get. */
static uint32_t future_bucket(const struct rig *r, uint32_t i)
{
	const struct bucket_fifo *none = &r->c->alloc.free[RESERVE_NONE], *btree = &r->c->alloc.free[RESERVE_BTREE];
	const struct bucket_fifo *f = i < none->nr ? none : btree;

	i -= f == btree ? none->nr : 0;
	assert_true(i < f->nr);
	return f->slots[(f->head + i) % f->cap];
}

/* Only metadata, of nobody, for as long as the set runs: not even a gc gives it back. */
static FIBER_FN void check_retired(struct rig *r, uint32_t bucket)
{
	const struct bucket *b = cset_bucket(r->c, bucket);

	assert_int_equal(gc_run(r->c), 0);
	assert_true(b->bad);
	assert_int_equal(b->mark, MARK_METADATA);
	assert_false(bucket_can_invalidate(r->c, b));
	assert_int_equal(b->pin, 0);
}

static FIBER_FN void check_goes_on(struct rig *r, uint64_t nr_bad)
{
	assert_false(r->c->io_disable);
	assert_int_equal(r->c->alloc.nr_bad, nr_bad);
	assert_int_equal(r->c->btree.nr_must_move, 0);
	assert_true(r->c->btree.nr_moved > 0);
	assert_int_equal(r->c->alloc.prio_blocked, 0);
	put_all(r, 77);
	check_everything(r);
}

/* --- leaves -------------------------------------------------------------------------------------------------------------- */

static void refuse_leaf(struct rig *r)
{
	uint32_t bucket;
	struct bnode *n;
	uint64_t pin;

	put(r, 100, 1);
	n = node_at(r, 0);
	bucket = bucket_of(r, n);
	pin = n->pin_open;
	assert_true(pin);
	refuse_bucket(r, bucket);
	bnode_get(n);
	assert_int_equal(bnode_write_sync(n), -EIO);
	assert_true(n->must_move && n->pin_open == pin); /* the journal keeps what the disk refused */
	put(r, 101, 2);					  /* an insert that finds it moves it on the spot */
	assert_true(n->dead);
	bnode_put(n);
	assert_int_not_equal(bucket_of(r, node_at(r, 0)), bucket);
	check_goes_on(r, 1);
	check_retired(r, bucket);
}

static void a_leaf_whose_append_is_refused_moves_and_keeps_its_pin(void **state) { live_twice(1, refuse_leaf); }

static void refuse_idle_leaf(struct rig *r)
{
	uint32_t bucket;

	put_all(r, 3);
	bucket = bucket_of(r, node_at(r, 0));
	refuse_bucket(r, bucket);
	put(r, 99, 4);
	assert_int_equal(btree_flush_all(r->c), 0);
	fiber_sleep_ns(NS_PER_S); /* the writer fiber has seen to the rest */
	assert_int_not_equal(bucket_of(r, node_at(r, 0)), bucket);
	assert_int_equal(r->c->btree.nr_must_move, 0);
	check_retired(r, bucket);
	check_goes_on(r, 1);
}

static void nobody_has_to_come_by_for_a_leaf_to_move(void **state) { live_twice(3, refuse_idle_leaf); }

static void refuse_and_stop(struct rig *r)
{
	put_all(r, 5);
	refuse_bucket(r, bucket_of(r, node_at(r, 0)));
	put(r, 99, 6); /* and the stop is what writes it */
}

static void a_set_that_stops_moves_its_leaf_first(void **state) { live_twice(5, refuse_and_stop); }

/* --- parents, roots ------------------------------------------------------------------------------------------------------ */

static void refuse_parent(struct rig *r)
{
	uint32_t bucket;

	put_all(r, 7);
	assert_true(r->c->btree.root->level >= 1);
	bucket = bucket_of(r, node_at(r, 1));
	refuse_bucket(r, bucket);
	for (unsigned i = 0; bucket_of(r, node_at(r, 1)) == bucket && i < 20; i++)
		assert_int_equal(btree_rewrite(r->c, bpos(r->d->inode, 100), 0, true), 0);
	assert_int_equal(r->c->alloc.nr_bad, 1);
	check_retired(r, bucket);
	check_goes_on(r, 1);
}

static void a_parent_that_is_refused_its_new_pointers_is_replaced_in_the_same_go(void **state)
{
	live_twice(7, refuse_parent);
}

static void refuse_fresh(struct rig *r)
{
	uint32_t bucket[3];

	put_all(r, 8);
	for (unsigned i = 0; i < 3; i++) {
		bucket[i] = future_bucket(r, i);
		refuse_bucket(r, bucket[i]);
	}
	assert_int_equal(btree_rewrite(r->c, bpos(r->d->inode, 100), 0, true), 0); /* the fourth bucket takes it */
	assert_int_equal(r->c->alloc.nr_bad, 3);
	for (unsigned i = 0; i < 3; i++)
		check_retired(r, bucket[i]);
	check_goes_on(r, 3);
}

static void a_new_node_that_is_refused_takes_another_bucket(void **state) { live_twice(9, refuse_fresh); }

static void refuse_new_root(struct rig *r)
{
	unsigned i;

	/* Root leaf and full: the next replacement makes two leaves and a root. */
	for (i = 0; !r->c->btree.root->level && i < DATA_SECTORS; i++) {
		for (unsigned j = 0; j < 3; j++)
			if (!cset_bucket(r->c, future_bucket(r, 2 * j))->bad && i % 40 == 0)
				refuse_bucket(r, future_bucket(r, 2 * j));
		if (i % 40 == 0)
			assert_int_equal(btree_flush_all(r->c), 0);
		put(r, i * 1021 % DATA_SECTORS, 9);
		if (i % 40 == 39)
			blk_sim_clear_faults(r->cache);
	}
	blk_sim_clear_faults(r->cache);
	assert_int_equal(r->c->btree.root->level, 1);
	assert_false(r->c->io_disable);
	put_all(r, 10);
	check_everything(r);
}

static void a_root_grows_among_bad_buckets(void **state) { live_twice(11, refuse_new_root); }

/* --- when that fails, too ------------------------------------------------------------------------------------------------ */

static void refuse_all(struct rig *r)
{
	const struct geometry *g = &r->c->g;
	uint64_t behind_journal = g->first_bucket + r->c->super->keys;

	put_all(r, 11);
	assert_int_equal(bcf_flush(r->d), 0);
	blk_sim_fail_range(r->cache, BLK_SIM_OP(BIO_WRITE), behind_journal * NODE_SECTORS, (g->nr_buckets - behind_journal) * NODE_SECTORS, -EIO);
	cset_hold(r->c);
	bdev_hold(r->d); /* it is stopped with its set, and would be gone after the sleep */
	assert_true(btree_rewrite(r->c, bpos(r->d->inode, 100), 0, true) < 0);
	assert_true(r->c->io_disable);
	assert_non_null(strstr(r->c->error, "cannot replace btree node"));
	cset_release(r->c);
	fiber_sleep_ns(NS_PER_S);
	assert_true(r->d->io_disable); /* dirty: frozen, not stale */
	assert_true(rig_read(r, 100, 1) < 0);
	bdev_release(r->d);
}

static void a_set_without_a_bucket_that_takes_a_node_fails_and_loses_nothing(void **state) { live_twice(13, refuse_all); }

static void fail_flush(struct rig *r)
{
	struct bnode *n;

	put(r, 100, 12);
	assert_int_equal(bcf_flush(r->d), 0);
	n = node_at(r, 0);
	blk_sim_fail_range(r->cache, BLK_SIM_OP(BIO_WRITE) | BLK_SIM_OP(BIO_FLUSH), bucket_of(r, n) * NODE_SECTORS, NODE_SECTORS, -EIO);
	cset_hold(r->c);
	bnode_get(n);
	assert_true(bnode_write_sync(n) < 0);
	set_must_fail = r->c->io_disable;
	assert_int_equal(n->must_move, !set_must_fail);
	if (set_must_fail)
		assert_non_null(strstr(r->c->error, "flush"));
	bnode_put(n);
	cset_release(r->c);
}

/* R0.4: the device has lost what the flush was to save, and another bucket does not bring it back. */
static void a_failed_flush_before_a_leaf_is_no_reason_to_move_but_to_fail(void **state)
{
	bool seen[2] = { false };

	for (uint64_t seed = 20; seed < 40; seed++) {
		live_twice(seed, fail_flush);
		seen[set_must_fail] = true;
	}
	assert_true(seen[0] && seen[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_leaf_whose_append_is_refused_moves_and_keeps_its_pin),
		cmocka_unit_test(nobody_has_to_come_by_for_a_leaf_to_move),
		cmocka_unit_test(a_set_that_stops_moves_its_leaf_first),
		cmocka_unit_test(a_parent_that_is_refused_its_new_pointers_is_replaced_in_the_same_go),
		cmocka_unit_test(a_new_node_that_is_refused_takes_another_bucket),
		cmocka_unit_test(a_root_grows_among_bad_buckets),
		cmocka_unit_test(a_set_without_a_bucket_that_takes_a_node_fails_and_loses_nothing),
		cmocka_unit_test(a_failed_flush_before_a_leaf_is_no_reason_to_move_but_to_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
