/* SPDX-License-Identifier: GPL-2.0-only */
/* What bypasses the cache, and how that is counted (§2.2, §9, W-4). The decisions alone are in test_policy.c. */
#include "tests/unit/core/test_core_rig.h"

static uint64_t total(struct rig *r, enum stat_counter s) { return stats_read(&r->d->stats, STAT_TOTAL, s); }

static void check_reason(const struct reason_count *n, uint64_t requests, uint64_t sectors)
{
	assert_int_equal(n->requests, requests);
	assert_int_equal(n->sectors, sectors);
}

static void body_bytes(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(total(r, STAT_HIT_SECTORS), 64);
	assert_int_equal(total(r, STAT_MISS_SECTORS), 0);
	assert_int_equal(rig_read(r, 32, 128), -1000); /* half of it */
	assert_int_equal(total(r, STAT_MISSES), 1);
	assert_int_equal(total(r, STAT_HIT_SECTORS), 128);
	assert_int_equal(total(r, STAT_MISS_SECTORS), 64);
	assert_int_equal(stats_byte_hit_ratio(&r->d->stats, STAT_TOTAL), 66);
	assert_int_equal(stats_byte_hit_ratio(&r->c->stats, STAT_TOTAL), 66); /* the set's, too */
	assert_int_equal(rig_read(r, 4096, 4096), 0);			       /* longer than a fill */
	assert_int_equal(total(r, STAT_MISS_SECTORS), 64 + 4096);
	r->d->sequential_cutoff_bytes = 1;
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(total(r, STAT_HIT_SECTORS), 128); /* bypassing reads say nothing about the cache */
	assert_int_equal(total(r, STAT_BYPASS_HITS), 1);
}

static void body_reasons(struct rig *r)
{
	const struct reason_count *n = r->d->bypass_reasons;

	assert_int_equal(rig_read(r, 1, 8), 0); /* with a block of 8 sectors, only its outer blocks are read */
	check_reason(&n[BYPASS_UNALIGNED], 0, 0);
	assert_int_equal(rig_read(r, RIG_DATA_SECTORS - 8, 8), 0);
	r->d->sequential_cutoff_bytes = KIB(64);
	assert_int_equal(rig_read(r, 512, 64), 0);
	assert_int_equal(rig_read(r, 576, 64), 0);
	assert_int_equal(rig_read(r, 640, 64), 0);
	check_reason(&n[BYPASS_SEQUENTIAL], 2, 128);
	assert_int_equal(total(r, STAT_BYPASSED_SECTORS), 128);
	assert_int_equal(bcf_zero(r->d, 0, KIB(4)), 0);
	check_reason(&n[BYPASS_DISCARD], 1, 8);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEAROUND), 0);
	assert_int_equal(rig_write(r, 2048, 16, 'a'), 16);
	check_reason(&n[BYPASS_MODE], 1, 16);
}

static void body_torture(struct rig *r)
{
	const struct reason_count *n = &r->d->bypass_reasons[BYPASS_TORTURE];

	r->d->bypass_torture_test = true;
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(rig_write(r, 8 * (i % 100), 8, (char)('a' + i % 26)), 8);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(rig_read(r, 8 * i, 8), 'a' + (300 + i) % 26);
	assert_true(n->requests > 70 && n->requests < 180);
	assert_int_equal(n->sectors, 8 * n->requests);
}

/* W-4: above a cutoff writeback silently becomes something else; the counts say why. */
static void body_refusals(struct rig *r)
{
	const struct reason_count *n = r->d->writeback_refusals;

	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	for (unsigned i = 0; i < WRITEBACK_REFUSALS; i++)
		check_reason(&n[i], 0, 0);
	r->c->cutoff_writeback = 0;
	while (alloc_in_use_percent(r->c) == 0)
		assert_int_equal(bcf_write(r->d, "x", 1, 64 * SECTOR_BYTES, &(struct bcf_io){ .sync = true }), 1);
	assert_int_equal(rig_write(r, 512, 64, 'b'), 64);
	check_reason(&n[REFUSED_CUTOFF], 1, 64);
	assert_int_equal(rig_backing(r, 512, 64, false), 'b');
	assert_int_equal(rig_write(r, 64, 64, 'c'), 64); /* dirty below: written back whatever the cutoff says (R2.4), so not refused */
	check_reason(&n[REFUSED_CUTOFF], 1, 64);
	r->c->cutoff_writeback = 40;
	r->d->sequential_cutoff_bytes = 1;
	assert_int_equal(rig_write(r, 1024, 32, 'd'), 32);
	check_reason(&n[REFUSED_BYPASS], 1, 32);
	r->d->sequential_cutoff_bytes = 0;
	rig_fail(r->cache, BLK_SIM_OP(BIO_WRITE), 2);
	assert_int_equal(rig_write(r, 2048, 64, 'e'), 64);
	check_reason(&n[REFUSED_CACHE_ERROR], 1, 64);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	assert_int_equal(rig_write(r, 4096, 64, 'f'), 64);
	check_reason(&n[REFUSED_MODE], 0, 0); /* nobody asked for writeback */
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 5; seed++) \
	rig_run(seed, CACHE_MODE_##mode, body)

static void hits_are_counted_in_bytes_too(void **state) { RUN(WRITETHROUGH, body_bytes); }
static void bypass_is_counted_by_reason(void **state) { RUN(WRITETHROUGH, body_reasons); }
static void torture_bypasses_at_random_and_nobody_notices(void **state) { RUN(WRITEBACK, body_torture); RUN(WRITETHROUGH, body_torture); }
static void why_a_write_is_not_written_back_is_counted(void **state) { RUN(WRITEBACK, body_refusals); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hits_are_counted_in_bytes_too),
		TEST(bypass_is_counted_by_reason),
		TEST(torture_bypasses_at_random_and_nobody_notices),
		TEST(why_a_write_is_not_written_back_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
