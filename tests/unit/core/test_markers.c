/* SPDX-License-Identifier: GPL-2.0-only */
/* Freed markers outlive what they mark, and must not look newer than their bucket when it has been used again and again (R7.3, I-17). */
#include "tests/unit/core/test_nodes.h"
#include "tests/unit/core/unit.h"

#define OUTDATED 5 /* gens: too few for gc to rewrite the node */

static struct bkey_buf marker;

/* On no list and of no use. Pinned: ours, until reuse() says otherwise. */
static uint32_t empty_bucket(struct rig *r)
{
	for (uint32_t b = (uint32_t)r->c->g.nr_buckets - 1; b; b--) {
		struct bucket *k = cset_bucket(r->c, b);

		if (!k->pin && k->mark == MARK_NONE) {
			bucket_pin(k);
			return b;
		}
	}
	fail_msg("no empty bucket");
	return 0;
}

/* As if the node in bucket b had been freed `gens` gens ago. */
static FIBER_FN void plant_marker(struct rig *r, uint32_t b, unsigned gens)
{
	struct bnode *parent = node_at(r, 1);

	bkey_init(&marker.k, 0, 0, r->c->btree.node_sectors);
	bkey_set_ptrs(&marker.k, 1);
	marker.k.ptr[0] = ptr_make(0, geometry_sector(&r->c->g, b), (uint8_t)(cset_bucket(r->c, b)->gen - gens));
	bnode_get(parent);
	bkeys_insert_ptr(&parent->keys, &marker.k);
	bnode_mark_dirty(parent, 0);
	assert_int_equal(bnode_write_sync(parent), 0);
	bnode_put(parent);
}

static FIBER_FN bool marker_is_there(struct rig *r)
{
	struct bkeys_iter it;
	const struct bkey *k;

	bkeys_iter_init_all(&it, &node_at(r, 1)->keys);
	while ((k = bkeys_iter_next(&it)) && bkey_is_zero_pos(k))
		if (k->ptr[0] == marker.k.ptr[0])
			return true;
	return false;
}

/* Bucket b gets new owners, as often as the allocator may give it any. */
static unsigned reuse(struct rig *r, uint32_t b)
{
	struct bucket *k = cset_bucket(r->c, b);
	unsigned n = 0;

	bucket_unpin(k);
	while (bucket_can_invalidate(r->c, k)) {
		bucket_invalidate(r->c, b);
		bucket_unpin(k); /* and its owner has gone again */
		n++;
	}
	bucket_pin(k);
	return n;
}

/* A gc that cannot replace nodes: somebody else always does. `structure` is held. */
static FIBER_FN void collect(struct rig *r)
{
	assert_true(fmutex_locked(&r->c->btree.structure));
	assert_int_equal(gc_run(r->c), 0);
	fiber_sleep_ns(NS_PER_S); /* the next one, if that many gens made it begin */
}

static FIBER_FN uint32_t bucket_with_marker(struct rig *r, unsigned gens)
{
	uint32_t b;

	put_all(r, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	/* Room in the leaf for what is to come; and no other reason to rewrite its parent. */
	assert_int_equal(btree_rewrite(r->c, bpos(r->d->inode, r->d->data_offset + 100), 0, true), 0);
	assert_int_equal(btree_rewrite(r->c, bpos(r->d->inode, r->d->data_offset + 100), 1, true), 0);
	b = empty_bucket(r);
	plant_marker(r, b, gens);
	return b;
}

static void keep_marker(struct rig *r)
{
	uint32_t b = bucket_with_marker(r, OUTDATED);
	struct bucket *k = cset_bucket(r->c, b);
	unsigned raised = 0;

	fmutex_lock(&r->c->btree.structure);
	for (unsigned round = 0; round < 4; round++) {
		collect(r);
		raised += reuse(r, b);
		assert_true(marker_is_there(r));
		assert_int_equal(OUTDATED + raised, BUCKET_GC_GEN_MAX - 1); /* all in the first round: a marker counts like a pointer */
		assert_int_equal(ptr_stale(r->c, marker.k.ptr[0]), OUTDATED + raised);
	}
	fmutex_unlock(&r->c->btree.structure);
	assert_int_equal(gc_run(r->c), 0);
	assert_false(marker_is_there(r)); /* it was more than 10 gens old: reason enough to rewrite its node */
	assert_int_equal(gc_run(r->c), 0);
	assert_int_equal(reuse(r, b), BUCKET_GC_GEN_MAX - 1);
	bucket_unpin(k);
}

static void r7_3_a_marker_that_stays_holds_back_its_bucket(void **state) { live_once(1, keep_marker); }

/* The next bucket that data is written to is b. */
static FIBER_FN void hand_out(struct rig *r, uint32_t b)
{
	struct bucket_fifo *f = &r->c->alloc.free[RESERVE_NONE];

	while (!f->nr)
		fiber_sleep_ns(NS_PER_MS);
	bucket_unpin(cset_bucket(r->c, f->slots[f->head]));
	f->slots[f->head] = b;
}

static bool in_bucket(void *ctx, const struct bkey *k)
{
	*(uint64_t *)ctx = k->ptr[0];
	return false;
}

static FIBER_FN bool is_in(struct rig *r, unsigned sector, uint32_t b)
{
	uint64_t ptr = 0, at = r->d->data_offset + sector;

	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, at, at + 1, in_bucket, &ptr), 0);
	return geometry_bucket(&r->c->g, ptr_sector(ptr)) == b;
}

static FIBER_FN void write_into(struct rig *r, uint32_t b)
{
	unsigned sector = 100;

	hand_out(r, b);
	do
		put(r, sector, 2);
	while (!is_in(r, sector, b) && sector++ < 120);
	assert_true(sector < 120);
}

static void write_into_marked_bucket(struct rig *r)
{
	uint32_t b = bucket_with_marker(r, OUTDATED);

	fmutex_lock(&r->c->btree.structure);
	for (unsigned round = 0; round < 2; round++) {
		collect(r);
		reuse(r, b);
	}
	collect(r);
	write_into(r, b);
	assert_true(marker_is_there(r));
	fmutex_unlock(&r->c->btree.structure);
}

/* Recovery believes in the newer of gen and marker. */
static void r7_3_data_in_a_bucket_with_an_old_marker_is_there_after_the_next_start(void **state) { live_twice(2, write_into_marked_bucket); }

static uint32_t marked;

static void leave_a_marker(struct rig *r)
{
	marked = bucket_with_marker(r, OUTDATED);
	fmutex_lock(&r->c->btree.structure);
	reuse(r, marked);
	bucket_unpin(cset_bucket(r->c, marked)); /* its last owner has gone, too */
	gc_stop(r->c);				 /* or it would clean up */
	fmutex_unlock(&r->c->btree.structure);
}

/* Before there was any gc, if it is not held back, and nobody else has got it. */
static void write_into_bucket_of_before(struct rig *r)
{
	struct bucket *k = cset_bucket(r->c, marked);

	fmutex_lock(&r->c->btree.structure);
	bucket_pin(k);
	if (reuse(r, marked))
		write_into(r, marked);
	else
		bucket_unpin(k);
	assert_true(ptr_stale(r->c, marker.k.ptr[0])); /* the next start may be a kernel's, which believes it if it looks newer */
	fmutex_unlock(&r->c->btree.structure);
}

static void r7_3_a_marker_of_an_earlier_life_holds_back_its_bucket_from_the_start(void **state)
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, 3, leave_a_marker);
	live(&r, 4, write_into_bucket_of_before);
	live(&r, 5, check_everything);
	free_disks(&r);
}

/* The kernel minds no markers: the bucket of one whose node is not written again may be reused for as long as it likes. */
static void write_behind_a_wrapped_marker(struct rig *r, unsigned gens)
{
	uint32_t b = bucket_with_marker(r, gens);

	fmutex_lock(&r->c->btree.structure);
	assert_int_equal(ptr_stale(r->c, marker.k.ptr[0]), 0); /* it looks newer */
	write_into(r, b);
	assert_true(marker_is_there(r));
	fmutex_unlock(&r->c->btree.structure);
}

static FIBER_FN void gc_takes_it_away(struct rig *r)
{
	assert_true(marker_is_there(r));
	assert_int_equal(gc_run(r->c), 0);
	assert_false(marker_is_there(r));
	check_everything(r);
}

static void write_behind_170_gens(struct rig *r) { write_behind_a_wrapped_marker(r, 170); }
static void write_behind_255_gens(struct rig *r) { write_behind_a_wrapped_marker(r, 255); }

static void three_lives(void (*first)(struct rig *r))
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, 6, first);
	live(&r, 7, check_everything);
	live(&r, 8, gc_takes_it_away);
	free_disks(&r);
}

static void r7_3_a_marker_that_a_kernel_let_wrap_takes_no_data_away(void **state)
{
	three_lives(write_behind_170_gens);
	three_lives(write_behind_255_gens);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r7_3_a_marker_that_stays_holds_back_its_bucket),
		cmocka_unit_test(r7_3_a_marker_of_an_earlier_life_holds_back_its_bucket_from_the_start),
		cmocka_unit_test(r7_3_data_in_a_bucket_with_an_old_marker_is_there_after_the_next_start),
		cmocka_unit_test(r7_3_a_marker_that_a_kernel_let_wrap_takes_no_data_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
