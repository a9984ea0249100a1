/* SPDX-License-Identifier: GPL-2.0-only */
/* Stripes in a whole core: what is cached because of them, what is written back first, and that counts stay right (§8.2-§8.4, W-17). */
#define RIG_CACHE_SECTORS (2400u * 128)
#define RIG_DATA_SECTORS 24576u
#include "core/writeback/refill.h"
#include "tests/unit/core/test_core_rig.h"

#define OFFSET 16u /* of the data, in the rig */

static struct writeback *wb(struct rig *r) { return &r->d->writeback; }

static FIBER_FN void use_stripes(struct rig *r, uint64_t sectors)
{
	wb(r)->partial_stripes = true;
	wb(r)->stripe_override_sectors = sectors;
	wb(r)->recount = true;
	writeback_wake(r->d);
	while (wb(r)->recount || wb(r)->stripes.counted_to != UINT64_MAX)
		fiber_sleep_ns(NS_PER_MS);
	assert_int_equal(wb(r)->stripes.stripe_sectors, sectors);
}

/* Against the index. */
static bool count_key(void *ctx, const struct bkey *k)
{
	uint32_t *dirty = ctx;

	for (uint64_t at = bkey_start(k); bkey_dirty(k) && at < bkey_offset(k); at++)
		dirty[at]++;
	return true;
}

static FIBER_FN void check_counts(struct rig *r)
{
	static uint32_t dirty[OFFSET + RIG_DATA_SECTORS];
	const struct stripes *s = &wb(r)->stripes;
	uint64_t total = 0;

	memset(dirty, 0, sizeof(dirty));
	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, 0, BKEY_OFFSET_MAX, count_key, dirty), 0);
	for (uint64_t i = 0; i < s->nr_stripes; i++) {
		uint32_t n = 0;

		for (uint64_t at = i * s->stripe_sectors; at < min((i + 1) * s->stripe_sectors, (uint64_t)ARRAY_SIZE(dirty)); at++)
			n += dirty[at];
		assert_int_equal(stripes_dirty_sectors(s, i), n);
		total += n;
	}
	assert_int_equal(wb(r)->dirty_sectors, total);
}

static void body_counts(struct rig *r)
{
	use_stripes(r, 100);
	assert_int_equal(wb(r)->stripes.nr_stripes, (OFFSET + RIG_DATA_SECTORS + 99) / 100);
	assert_int_equal(rig_write(r, 80, 8, 'a'), 8); /* sectors 96-103 of the device: two stripes, because of the data offset */
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, 0), 4);
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, 1), 4);
	assert_int_equal(rig_write(r, RIG_DATA_SECTORS - 8, 8, 'z'), 8);
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, wb(r)->stripes.nr_stripes - 1), 8);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(rig_write(r, (i * 712) % 8000, 8 + i % 5 * 8, 'b'), 8 + i % 5 * 8);
	check_counts(r);
	assert_int_equal(bcf_zero(r->d, 400 * SECTOR_BYTES, 3000 * SECTOR_BYTES), 0);
	check_counts(r);
	use_stripes(r, 8);
	check_counts(r);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(wb(r)->stripes.nr_touched, 0);
	assert_int_equal(wb(r)->stripes.nr_pages, 0);
}

static void changer(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 300; i++) {
		if (i % 10 == 9)
			assert_int_equal(bcf_zero(r->d, (i * 1096) % 8000 * SECTOR_BYTES, 64 * SECTOR_BYTES), 0);
		else
			assert_int_equal(rig_write(r, (i * 728) % 8000, 8 + i % 3 * 16, 'c'), 8 + i % 3 * 16);
	}
}

/* The walk of a recount and writes go on side by side, in a tree that does not stay in memory. */
static void body_recount_races(struct rig *r)
{
	struct fiber *f;

	r->c->btree.max_nodes = 1;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(rig_write(r, i * 8, 8, 'a' + (char)(i % 2)), 8);
	f = fiber_spawn("changer", changer, r);
	assert_non_null(f);
	for (unsigned i = 0; i < 30; i++)
		use_stripes(r, 8 + i * 37);
	fiber_join(f);
	use_stripes(r, 41);
	check_counts(r);
}

static unsigned nr_written;

static void writer_of_many_keys(void *arg)
{
	for (unsigned i = 0; i < 12; i++, nr_written++)
		assert_int_equal(rig_write(arg, nr_written * 7919 % 1024 * 16, 8, 'a'), 8); /* none continues another */
}

/*
 * Small leaves, each split again and again, slowly: the key that made a leaf too full is in the new leaves, and reported, while the walk still
 * finds the old one (sim 3222).
 */
static void body_recount_meets_splits(struct rig *r)
{
	r->c->btree.max_nodes = 1;
	r->c->cutoff_writeback = r->c->cutoff_writeback_sync = 100;
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .extra_ns = 2 * NS_PER_MS });
	for (nr_written = 0; nr_written < 1000;) {
		struct fiber *f = fiber_spawn("writer", writer_of_many_keys, r);

		assert_non_null(f);
		for (unsigned i = 0; i < 4; i++) {
			fiber_sleep_ns(i * NS_PER_MS);
			use_stripes(r, 64 + (nr_written + i) % 100 * 8);
		}
		fiber_join(f);
		check_counts(r);
	}
	assert_int_equal(wb(r)->dirty_sectors, nr_written * 8);
}

/* A bypassing write into a stripe that has dirty data is cached; elsewhere it is not. */
static void body_fills_up_stripes(struct rig *r)
{
	use_stripes(r, 96);
	assert_int_equal(rig_write(r, 320, 8, 'a'), 8); /* device sectors 336-343, stripe 3 = 288-383 */
	r->d->sequential_cutoff_bytes = 1;		/* everything bypasses now */
	assert_int_equal(rig_write(r, 376, 8, 'b'), 8); /* stripe 4 */
	assert_int_equal(wb(r)->dirty_sectors, 8);
	assert_int_equal(rig_write(r, 360, 8, 'c'), 8); /* stripe 3, its last sectors */
	assert_int_equal(wb(r)->dirty_sectors, 16);
	assert_int_equal(rig_write(r, 360, 16, 'd'), 16); /* begins in stripe 3 */
	assert_int_equal(wb(r)->dirty_sectors, 24);
	wb(r)->partial_stripes = false;
	assert_int_equal(rig_write(r, 272, 8, 'e'), 8); /* stripe 3, its first */
	assert_int_equal(wb(r)->dirty_sectors, 24);
	assert_int_equal(rig_read(r, 272, 8), 'e');
	assert_int_equal(rig_read(r, 360, 16), 'd');
}

static void write_stripe(struct rig *r, uint64_t stripe, char fill)
{
	for (unsigned i = 0; i < 12; i++) /* in pieces */
		assert_int_equal(rig_write(r, stripe * 96 - OFFSET + (i * 5 % 12) * 8, 8, fill), 8);
}

static void body_full_stripes_first(struct rig *r)
{
	uint64_t before;

	use_stripes(r, 96);
	assert_int_equal(rig_write(r, 0, 8, 'p'), 8);
	assert_int_equal(rig_write(r, 304, 8, 'p'), 8);
	write_stripe(r, 20, 'x');
	write_stripe(r, 40, 'y');
	write_stripe(r, 41, 'z');
	before = blk_sim_stats(r->backing)->nr_ops[BIO_WRITE];
	wb(r)->tunables.percent = 40;
	wb(r)->rate.rate = 1; /* a batch, then a long pause */
	wb(r)->running = true;
	writeback_wake(r->d);
	while (wb(r)->dirty_sectors > 16)
		fiber_sleep_ns(10 * NS_PER_MS);
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, 0), 8);
	assert_int_equal(blk_sim_stats(r->backing)->nr_ops[BIO_WRITE] - before, 3); /* each stripe in one piece */
	assert_int_equal(rig_backing(r, 20 * 96 - OFFSET, 96, true), 'x');
	assert_int_equal(rig_backing(r, 41 * 96 - OFFSET, 96, true), 'z');
	while (wb(r)->has_dirty) /* and then the others, all the same */
		fiber_sleep_ns(NS_PER_S);
	assert_int_equal(rig_backing(r, 0, 8, true), 'p');
	assert_int_equal(rig_backing(r, 304, 8, true), 'p');
}

/* Keys that begin or end outside the stripe are cut, and their other parts stay dirty. */
static void body_keys_are_cut_to_the_stripe(struct rig *r)
{
	use_stripes(r, 96);
	assert_int_equal(rig_write(r, 2 * 96 - OFFSET - 32, 160, 'k'), 160); /* all of stripe 2, 32 sectors before and behind it */
	wb(r)->tunables.percent = 40;
	wb(r)->rate.rate = 1;
	wb(r)->running = true;
	writeback_wake(r->d);
	while (wb(r)->dirty_sectors == 160)
		fiber_sleep_ns(10 * NS_PER_MS);
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, 1), 32);
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, 2), 0);
	assert_int_equal(stripes_dirty_sectors(&wb(r)->stripes, 3), 32);
	check_counts(r);
	while (wb(r)->has_dirty)
		fiber_sleep_ns(NS_PER_S);
	assert_int_equal(rig_backing(r, 2 * 96 - OFFSET - 32, 160, true), 'k');
}

/* More keys than the keybuf holds: the stripe is taken in parts, and all of it gets there. */
static void body_a_stripe_of_many_keys(struct rig *r)
{
	r->c->cutoff_writeback = r->c->cutoff_writeback_sync = 100;
	use_stripes(r, 12000);
	for (unsigned i = 0; i < 1500; i++) /* stripe 1, in no order */
		assert_int_equal(rig_write(r, 12000 - OFFSET + (i * 7 % 1500) * 8, 8, 'm'), 8);
	assert_int_equal(rig_write(r, 0, 8, 'p'), 8);
	assert_int_equal(wb(r)->stripes.nr_full, 1);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(rig_backing(r, 12000 - OFFSET, 12000, true), 'm');
	assert_int_equal(rig_backing(r, 0, 8, true), 'p');
	check_counts(r);
}

/* What was lost for want of memory is counted again at the end of a pass. */
static void body_lost_counts_come_back(struct rig *r)
{
	use_stripes(r, 96);
	assert_int_equal(rig_write(r, 0, 8, 'a'), 8);
	stripes_release(&wb(r)->stripes);
	stripes_init(&wb(r)->stripes, 96, OFFSET + RIG_DATA_SECTORS, UINT64_MAX);
	wb(r)->stripes.lost = true;
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(rig_write(r, 8, 8, 'b'), 8);
	wb(r)->running = true;
	wb(r)->delay_s = 0;
	writeback_wake(r->d);
	fiber_sleep_ns(100 * NS_PER_S);
	assert_false(wb(r)->stripes.lost);
	check_counts(r);
}

#define RUN(body) \
	for (uint64_t seed = 0; seed < 15; seed++) \
	rig_run(seed, CACHE_MODE_WRITEBACK, body)

static void dirty_sectors_are_counted_by_stripe(void **state) { RUN(body_counts); }
static void counts_survive_writes_during_a_recount(void **state) { RUN(body_recount_races); }
static void a_recount_sees_keys_in_leaves_that_are_being_split(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++)
		rig_run_buckets(seed, CACHE_MODE_WRITEBACK, body_recount_meets_splits, 16);
}
static void writes_into_dirty_stripes_are_cached(void **state) { RUN(body_fills_up_stripes); }
static void full_stripes_are_written_back_first(void **state) { RUN(body_full_stripes_first); }
static void keys_are_cut_to_their_stripe(void **state) { RUN(body_keys_are_cut_to_the_stripe); }
static void a_stripe_of_many_keys_is_taken_in_parts(void **state) { RUN(body_a_stripe_of_many_keys); }
static void lost_counts_are_counted_again(void **state) { RUN(body_lost_counts_come_back); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dirty_sectors_are_counted_by_stripe),
		TEST(counts_survive_writes_during_a_recount),
		TEST(a_recount_sees_keys_in_leaves_that_are_being_split),
		TEST(writes_into_dirty_stripes_are_cached),
		TEST(full_stripes_are_written_back_first),
		TEST(keys_are_cut_to_their_stripe),
		TEST(a_stripe_of_many_keys_is_taken_in_parts),
		TEST(lost_counts_are_counted_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
