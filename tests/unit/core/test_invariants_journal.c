/* SPDX-License-Identifier: GPL-2.0-only */
/* behaviour.md §11, what the journal and the order of writes promise: I-1, I-2, I-7, I-8, I-26. Power cuts: see test_cuts.h. */
#include "core/space/prio_io.h"
#include "tests/unit/core/test_cuts.h"

static void step(struct world *w, enum step op) { step_perform(w, op); }

static void set(struct world *w, const char *file, const char *text)
{
	if (world_ctl(w, 0, file, text) < 0)
		world_fail(w, "cannot set %s to %s", file, text);
}

/* --- I-1 ------------------------------------------------------------------------------------------------------------------- */

static void write_and_flush(struct world *w)
{
	steps_prepare(w);
	cuts_begin();
	step(w, STEP_WRITE);
	step(w, STEP_FLUSH);
	step(w, STEP_OVERWRITE);
	step(w, STEP_FLUSH);
	cuts_end(w);
}

/* A fill's key is in no journal entry: the leaf is what makes it durable, when it is written. */
static void fill_and_write_leaves(struct world *w)
{
	steps_prepare(w);
	cuts_begin();
	step(w, STEP_READ);
	fiber_sleep_ns((BTREE_WRITE_DELAY_S + 5) * NS_PER_S);
	cuts_end(w);
}

static void i01_data_is_durable_before_an_entry_or_a_leaf_names_it(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = write_and_flush }) > 20);
	assert_true(cuts_run(&(struct cuts){ .body = fill_and_write_leaves }) > 10);
}

/* --- I-2 ------------------------------------------------------------------------------------------------------------------- */

static void flush_in_all_modes(struct world *w)
{
	steps_prepare(w);
	cuts_begin();
	for (unsigned mode = 0; mode < 4; mode++) {
		set(w, "%s/cache_mode", cache_mode_names[mode]);
		step(w, STEP_WRITE);
		step(w, STEP_PUNCH);
		step(w, STEP_FLUSH);
	}
	cuts_end(w);
}

static void synchronous_in_all_modes(struct world *w)
{
	steps_prepare(w);
	cuts_begin();
	for (unsigned mode = 0; mode < 4; mode++) {
		set(w, "%s/cache_mode", cache_mode_names[mode]);
		steps_write(w, mode, 9, STEPS_SYNC);
	}
	cuts_end(w);
}

static void i02_what_a_flush_or_a_synchronous_write_acknowledged_survives(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = flush_in_all_modes }) > 50);
	assert_true(cuts_run(&(struct cuts){ .body = synchronous_in_all_modes }) > 30);
}

/* --- I-7 ------------------------------------------------------------------------------------------------------------------- */

/* Writes of the cache device behind the journal take so long. 0: no more. */
static void slow_leaves(struct world *w, uint64_t extra_ns)
{
	struct cset *c = world_cset(w);
	uint64_t from = geometry_sector(&c->g, c->journal.first_bucket + c->journal.nr_buckets);

	blk_sim_clear_faults(w->cache.sim);
	if (extra_ns)
		blk_sim_add_fault(w->cache.sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .sector = from,
									 .nr_sectors = w->cache.nr_sectors - from, .extra_ns = extra_ns });
}

/* The leaf with the first write's keys is on its way to the disk when a later entry says what recovery needs. */
static void leaf_in_flight(struct world *w)
{
	struct bnode *root = world_cset(w)->btree.root;

	steps_prepare(w);
	step(w, STEP_WRITE);
	step(w, STEP_FLUSH);
	slow_leaves(w, 1000 * NS_PER_S);
	fiber_sleep_ns((BTREE_WRITE_DELAY_S + 5) * NS_PER_S);
	if (!root->writing)
		world_fail(w, "the leaf is not being written");
	slow_leaves(w, 0);
	cuts_begin();
	steps_write(w, 20, 4, STEPS_ZERO);
	step(w, STEP_FLUSH);
	cuts_end(w);
}

static struct world *the_world;
#define SPREAD_SECTORS 256u
static const struct world_options spread = { .tiny_sectors = SPREAD_SECTORS, .tiny_buckets = 256 };

/* Single sectors, all over the device. */
static void write_spread(struct world *w, unsigned from, unsigned nr)
{
	for (unsigned i = from; i < from + nr && !world_failed(w); i++)
		steps_write(w, i * 99u % SPREAD_SECTORS, 1, STEPS_PLAIN);
}

static void punch_and_flush(void *arg)
{
	for (unsigned i = 0; i < 400 && !world_failed(the_world); i++) {
		steps_write(the_world, i * 7 % SPREAD_SECTORS, 1, STEPS_ZERO);
		step(the_world, STEP_FLUSH);
	}
}

/* Inserts wait for leaves that are being split, while entries are written. */
static void splits_and_flushes(struct world *w)
{
	struct fiber *f;

	the_world = w;
	steps_prepare(w);
	slow_leaves(w, 10 * NS_PER_MS);
	f = fiber_spawn("flusher", punch_and_flush, NULL);
	write_spread(w, 0, SPREAD_SECTORS);
	fiber_join(f);
	slow_leaves(w, 0);
	if (!world_cset(w)->btree.root->level)
		world_fail(w, "no leaf was split");
}

/* The bucket of the sector's newest copy. */
static bool take_bucket(void *ctx, const struct bkey *k)
{
	*(uint64_t *)ctx = k->ptr[0];
	return false;
}

/* A copy in the cache that an entry names is reused; an older copy, which a leaf names, is not. */
static void newer_copy_reused(struct world *w)
{
	struct bdev *d = world_bdev(w, 0);
	struct cset *c = world_cset(w);
	uint64_t ptr = 0, at = d->data_offset;

	steps_prepare(w);
	set(w, "%s/cache_mode", "writethrough");
	steps_write(w, 0, 8, STEPS_PLAIN);
	fiber_sleep_ns((BTREE_WRITE_DELAY_S + 5) * NS_PER_S);
	steps_write(w, 0, 8, STEPS_PLAIN);
	step(w, STEP_FLUSH);
	assert_int_equal(btree_for_each_extent(c, d->inode, at, at + 1, take_bucket, &ptr), 0);
	bucket_inc_gen(c, (uint32_t)geometry_bucket(&c->g, ptr_sector(ptr))); /* as invalidation does */
	assert_int_equal(prio_write(c), 0);
	cuts_begin();
	step(w, STEP_FLUSH);
	steps_write(w, 20, 1, STEPS_PLAIN);
	cuts_end(w);
}

/* The smallest journal there is: it wraps, and leaves are written to make room. One entry per write. */
static void wrap_journal(struct world *w)
{
	struct journal *j = &world_cset(w)->journal;
	uint64_t wrapped;

	steps_prepare(w);
	write_spread(w, 0, SPREAD_SECTORS);
	wrapped = j->nr_reclaimed_buckets;
	for (unsigned i = 0; i < 300 && j->nr_reclaimed_buckets < wrapped + 5 && !world_failed(w); i++) {
		if (j->nr_reclaimed_buckets == wrapped + 3)
			cuts_begin();
		write_spread(w, 3 * i, 2);
		step(w, STEP_FLUSH);
	}
	cuts_end(w);
	if (j->nr_reclaimed_buckets < wrapped + 5)
		world_fail(w, "the journal does not wrap");
}

static void i07_an_entry_is_kept_until_every_leaf_with_its_keys_is_written(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .options = spread, .body = wrap_journal }) > 50);
	assert_true(cuts_run(&(struct cuts){ .body = leaf_in_flight }) > 5);
	assert_true(cuts_run(&(struct cuts){ .body = newer_copy_reused }) > 1);
	(void)cuts_run(&(struct cuts){ .options = spread, .body = splits_and_flushes });
}

/* --- I-8 ------------------------------------------------------------------------------------------------------------------- */

/* Buckets that no recovery from the newest durable entry needs. */
static uint32_t durably_free(const struct journal *j)
{
	uint32_t n = 0;

	for (uint32_t i = (j->cur + 1) % j->nr_buckets; i != j->cur && j->bucket_seq[i] < j->durable_last_seq; i = (i + 1) % j->nr_buckets)
		n++;
	return n;
}

/*
 * All entries are needed, and only the last block of the last bucket is left when the leaves are written: memory needs none of the entries any more,
 * and the disk still all of them. The entry that comes now has several sectors, so that it can be torn.
 */
static void fill_ring_to_its_last_block(struct world *w)
{
	struct cset *c = world_cset(w);
	struct journal *j = &c->journal;
	unsigned i = 0;

	steps_prepare(w);
	assert_true(j->blocks_per_bucket > 1);
	for (unsigned round = 0; round < 2; round++) {
		for (; durably_free(j) > 1 && i < 500 && !world_failed(w); i++) {
			write_spread(w, 31 * i, 30);
			step(w, STEP_FLUSH);
		}
		for (unsigned n = 0; (durably_free(j) || j->blocks_free > 1) && n < 100; n++)
			if (journal_meta(c) < 0)
				world_fail(w, "no place for an entry");
		if (durably_free(j) || j->blocks_free != 1 || j->oldest_seq != j->durable_last_seq)
			world_fail(w, "the ring is not full");
		if (btree_flush_all(c) < 0 || j->oldest_seq == j->durable_last_seq)
			world_fail(w, "the entries are still needed");
		cuts_begin();
		write_spread(w, 31 * i++, 30);
		step(w, STEP_FLUSH);
		cuts_end(w);
	}
}

static void i08_no_journal_bucket_is_overwritten_while_a_durable_entry_needs_it(void **state)
{
	struct world_options o = { .tiny_sectors = SPREAD_SECTORS, .tiny_buckets = 256, .tiny_bucket_sectors = 32, .tiny_block_sectors = 8 };

	assert_true(cuts_run(&(struct cuts){ .options = o, .body = fill_ring_to_its_last_block, .nr_torn = 8 }) > 20);
}

/* --- I-26 ------------------------------------------------------------------------------------------------------------------ */

static void first_start(struct world *w)
{
	step(w, STEP_WRITE);
	step(w, STEP_FLUSH);
	if (world_ctl(w, -1, "%s/synchronous", "0") != -EBUSY)
		world_fail(w, "synchronous can be cleared");
	cuts_end(w);
}

/* A set that says it is in use starts; one that does not yet is made anew, and nothing is lost (world_verify). */
static void starts_and_is_in_use(struct world *w)
{
	struct super on_disk;

	blk_sim_peek_durable(w->cache.sim, SUPER_SECTOR, &on_disk, SUPER_BYTES / SECTOR_BYTES);
	if (!world_cset(w) || !super_sync(&on_disk))
		world_fail(w, "the set does not run, or does not say that it is in use");
}

static void i26_a_set_says_that_it_is_in_use_after_its_first_entry_and_for_good(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = first_start, .check = starts_and_is_in_use, .starting = true }) > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i01_data_is_durable_before_an_entry_or_a_leaf_names_it),
		cmocka_unit_test(i02_what_a_flush_or_a_synchronous_write_acknowledged_survives),
		cmocka_unit_test(i07_an_entry_is_kept_until_every_leaf_with_its_keys_is_written),
		cmocka_unit_test(i08_no_journal_bucket_is_overwritten_while_a_durable_entry_needs_it),
		cmocka_unit_test(i26_a_set_says_that_it_is_in_use_after_its_first_entry_and_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
