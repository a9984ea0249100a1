/* SPDX-License-Identifier: GPL-2.0-only */
/* The journal's ring at its limits: small ones that wrap all the time, full ones, discards, entries that are not what they should be. */
#define RIG_CACHE_SECTORS (2048u * 128) /* sixteen journal buckets */
#include "core/admin/log.h"
#include "core/engine/fiber.h"
#include "core/util/prng.h"
#include "tests/unit/core/test_core_rig.h"

#define BLOCK 8u /* sectors of a block of the rig's disks */
#define JOURNAL_BUCKET(r, i) geometry_sector(&(r)->c->g, (r)->c->journal.first_bucket + (i))

static bool watching;

/* Overwrite scattered blocks with single keys, each made durable by an entry of its own. */
static FIBER_FN void write_entries(struct rig *r, unsigned nr, uint64_t seed)
{
	struct prng rng = prng_seeded(seed);

	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(rig_write(r, prng_below(&rng, RIG_DATA_SECTORS / BLOCK) * BLOCK, BLOCK, (char)('a' + i % 26)), BLOCK);
		assert_int_equal(journal_flush(r->c), 0);
	}
}

static char expected[RIG_DATA_SECTORS / BLOCK];

static void note_entries(unsigned nr, uint64_t seed)
{
	struct prng rng = prng_seeded(seed);

	for (unsigned i = 0; i < nr; i++)
		expected[prng_below(&rng, RIG_DATA_SECTORS / BLOCK)] = (char)('a' + i % 26);
}

static FIBER_FN void expect_all(struct rig *r)
{
	for (unsigned b = 0; b < RIG_DATA_SECTORS / BLOCK; b++)
		if (expected[b] && rig_read(r, (uint64_t)b * BLOCK, BLOCK) != expected[b])
			fail_msg("block %u does not hold '%c'", b, expected[b]);
}

/* --- discards ------------------------------------------------------------------------------------------------------------ */

static FIBER_FN void watch_discards(void *arg)
{
	struct rig *r = arg;
	struct journal *j = &r->c->journal;

	while (watching) {
		if (j->discard_busy)
			assert_int_not_equal(j->discarding, j->cur);
		fiber_sleep_ns(20 * 1000);
	}
}

static void slow_journal_discards(struct rig *r, uint64_t extra_ns)
{
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_DISCARD), .sector = JOURNAL_BUCKET(r, 0), .extra_ns = extra_ns,
							      .nr_sectors = (uint64_t)r->c->journal.nr_buckets * r->c->g.bucket_sectors });
}

static FIBER_FN void write_under_watch(struct rig *r, unsigned nr)
{
	struct fiber *watcher;

	watching = true;
	watcher = fiber_spawn("watcher", watch_discards, r);
	super_set_discard(r->c->super, true);
	write_entries(r, nr, 5);
	note_entries(nr, 5);
	watching = false;
	fiber_join(watcher);
}

static void discards_of_any_speed(struct rig *r)
{
	struct journal *j = &r->c->journal;
	uint64_t laps;

	assert_true(j->nr_buckets >= 8);
	write_under_watch(r, 1000);
	rig_settle();
	assert_false(j->discard_busy);
	laps = j->nr_reclaimed_buckets / j->nr_buckets;
	assert_true(laps >= 2);
	assert_true(j->nr_discards >= laps * (j->nr_buckets - 4)); /* nearly every bucket in every lap */
	slow_journal_discards(r, NS_PER_S); /* longer than a lap: the ring gets to the bucket, and waits for it */
	write_under_watch(r, 1000);
	assert_true(j->nr_reclaimed_buckets / j->nr_buckets >= laps + 2);
	expect_all(r);
}

static void a_bucket_under_discard_is_not_entered(void **state)
{
	rig_run_buckets(1, CACHE_MODE_WRITEBACK, discards_of_any_speed, 4 * BLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_under_discard_is_not_entered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
