/* SPDX-License-Identifier: GPL-2.0-only */
/* behaviour.md §11, what moving data and merging nodes promise: I-16, I-5. Power cuts: see test_cuts.h. */
#include "tests/unit/core/test_cuts.h"

#define BUCKET_SECTORS 8u
#define SPREAD_SECTORS 400u /* keys for three leaves */

/* --- I-16 ------------------------------------------------------------------------------------------------------------------ */

static FIBER_FN void collect(struct world *w)
{
	struct cset *c = world_cset(w);

	step_perform(w, STEP_GC);
	while (c->moving.running || c->moving.gc_seen != c->gc.runs_finished)
		fiber_sleep_ns(NS_PER_MS);
}

struct place {
	struct bucket *bucket;
	uint8_t gen;
};

static bool take_place(void *ctx, const struct bkey *k)
{
	*(uint64_t *)ctx = k->ptr[0];
	return false;
}

static FIBER_FN struct place place_of(struct world *w, uint64_t sector)
{
	struct bdev *d = world_bdev(w, 0);
	uint64_t ptr = 0, at = d->data_offset + sector;

	if (btree_for_each_extent(world_cset(w), d->inode, at, at + 1, take_place, &ptr) || !ptr) {
		world_fail(w, "sector %llu is not in the cache", (unsigned long long)sector);
		fiber_park();
	}
	return (struct place){ ptr_bucket(world_cset(w), ptr), ptr_gen(ptr) };
}

/* Two buckets with one dirty sector each; both move, and their buckets get new owners. */
static void move_and_reuse(struct world *w)
{
	struct place a, b;

	steps_prepare(w);
	world_cset(w)->cutoff_writeback = world_cset(w)->cutoff_writeback_sync = 100;
	steps_write(w, 0, 8, STEPS_PLAIN);
	steps_write(w, 8, 8, STEPS_PLAIN);
	steps_write(w, 1, 7, STEPS_ZERO);
	steps_write(w, 9, 7, STEPS_ZERO);
	step_perform(w, STEP_FLUSH);
	a = place_of(w, 0);
	b = place_of(w, 8);
	world_cset(w)->copy_gc_enabled = true;
	cuts_begin();
	collect(w);
	if (world_cset(w)->moving.nr_keys != 2)
		world_fail(w, "%llu keys were moved, not 2", (unsigned long long)world_cset(w)->moving.nr_keys);
	for (unsigned i = 0; i < 60 && (a.bucket->gen == a.gen || b.bucket->gen == b.gen || i < 12); i++) {
		steps_write(w, 16, 8, STEPS_PLAIN);
		if (i % 4 == 3)
			step_perform(w, STEP_GC);
	}
	if (a.bucket->gen == a.gen || b.bucket->gen == b.gen)
		world_fail(w, "the sources were not used again");
	cuts_end(w);
}

static void i16_moved_data_survives_the_reuse_of_its_source(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = move_and_reuse }) > 100);
}

/* --- I-5, for merged nodes ------------------------------------------------------------------------------------------------- */

static void merge_nodes(struct world *w)
{
	struct cset *c = world_cset(w);

	steps_prepare(w);
	c->cutoff_writeback = c->cutoff_writeback_sync = 100;
	c->cache->physical_sectors = 0; /* or each key would take a bucket */
	for (unsigned i = 0; i < SPREAD_SECTORS; i++)
		steps_write(w, i * 149 % SPREAD_SECTORS, 1, STEPS_PLAIN);
	for (unsigned i = 0; i < SPREAD_SECTORS; i += 16)
		steps_write(w, i + 1, 15, STEPS_ZERO);
	if (btree_flush_all(c) < 0)
		world_fail(w, "cannot write the leaves");
	cuts_begin();
	step_perform(w, STEP_GC);
	cuts_end(w);
	if (!c->btree.nr_coalesced)
		world_fail(w, "nothing was merged");
}

static void i05_merged_nodes_are_durable_before_their_parent_names_them(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .options = { .tiny_sectors = SPREAD_SECTORS, .tiny_buckets = 300 }, .body = merge_nodes }) > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i16_moved_data_survives_the_reuse_of_its_source),
		cmocka_unit_test(i05_merged_nodes_are_durable_before_their_parent_names_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
