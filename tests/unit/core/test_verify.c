/* SPDX-License-Identifier: GPL-2.0-only */
/* Options for those who trust nobody: verify (R2.3) and strict_writethrough (R2.6). */
#include "tests/unit/core/test_core_rig.h"

#define WRITES BLK_SIM_OP(BIO_WRITE)

static uint64_t misses(struct rig *r) { return stats_read(&r->d->stats, STAT_TOTAL, STAT_MISSES); }

/* Change what a disk holds behind everybody's back. */
static void poke(struct blk_sim *s, uint64_t sector, char fill)
{
	char buf[SECTOR_BYTES];

	memset(buf, fill, sizeof(buf));
	blk_sim_poke(s, sector, buf, 1);
}

static void body_verify(struct rig *r)
{
	r->d->verify = true;
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(rig_read(r, 0, 256), -1000); /* in part from backing: nothing to compare */
	assert_string_equal(r->c->error, "");
	poke(r->backing, 16 + 100, 'x');
	assert_int_equal(rig_read(r, 64, 32), 'a'); /* not this part */
	assert_string_equal(r->c->error, "");
	assert_int_equal(rig_read(r, 64, 64), -EIO);
	assert_non_null(strstr(r->c->error, "sector 116, which is clean"));
}

static void body_verify_off(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	poke(r->backing, 16 + 100, 'x');
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_string_equal(r->c->error, "");
}

static void body_verify_dirty(struct rig *r)
{
	r->d->verify = true;
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(rig_read(r, 64, 64), 'a'); /* backing still has zeros, as it should */
	r->d->verify = false;
	assert_int_equal(rig_read(r, 256, 64), 0);
	rig_settle(); /* the fill: clean */
	r->d->verify = true;
	assert_int_equal(rig_write(r, 288, 8, 'b'), 8);
	assert_int_equal(rig_read(r, 256, 64), -1000);
	assert_string_equal(r->c->error, "");
	poke(r->backing, 16 + 260, 'x');
	assert_int_equal(rig_read(r, 256, 8), -EIO);
}

static void overwriter(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(rig_write(r, 64 + 8 * (i % 4), 32, (char)('a' + i % 26)), 32);
		if (i % 7 == 0)
			assert_int_equal(bcf_zero(r->d, (64 + i) * SECTOR_BYTES, KIB(8)), 0);
	}
}

static void body_verify_racing(struct rig *r)
{
	struct fiber *f[3];

	r->d->verify = true;
	for (unsigned i = 0; i < ARRAY_SIZE(f); i++)
		f[i] = fiber_spawn("overwriter", overwriter, r);
	for (unsigned i = 0; i < 100; i++)
		assert_true(rig_read(r, 64, 64) != -EIO);
	for (unsigned i = 0; i < ARRAY_SIZE(f); i++)
		fiber_join(f[i]);
	assert_string_equal(r->c->error, "");
}

/* --- strict_writethrough -------------------------------------------------------------------------------------------------- */

struct slow_write {
	struct rig *r;
	int64_t result;
};

static void slow_writer(void *arg)
{
	struct slow_write *w = arg;

	w->result = rig_write(w->r, 64, 64, 'b');
}

/* The old copy is gone, durably, before backing is asked; and what a write leaves there is durable when it returns. */
static void body_strict_order(struct rig *r)
{
	struct slow_write w = { .r = r };
	uint64_t entries, before;
	struct fiber *f;

	r->d->strict_writethrough = true;
	r->c->journal.delay_ms = 60000; /* nobody else writes entries */
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(rig_backing(r, 64, 64, true), 'a');
	rig_settle();
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = WRITES, .extra_ns = 10 * NS_PER_S });
	entries = r->c->journal.nr_entries;
	before = misses(r);
	f = fiber_spawn("writer", slow_writer, &w);
	rig_settle();
	assert_true(r->c->journal.nr_entries > entries);
	(void)rig_read(r, 64, 64); /* whatever backing says meanwhile */
	assert_int_equal(misses(r), before + 1);
	fiber_join(f);
	assert_int_equal(w.result, 64);
	assert_int_equal(rig_backing(r, 64, 64, true), 'b');
	before = misses(r);
	assert_int_equal(rig_read(r, 64, 64), 'b'); /* then the new data was inserted */
	assert_int_equal(misses(r), before);
}

static void slow_zeroing(void *arg)
{
	struct slow_write *w = arg;

	w->result = bcf_zero(w->r->d, 64 * SECTOR_BYTES, 64 * SECTOR_BYTES);
}

/* Dirty data that is not durable would go with the power, and the clean copy below it come back over what went to backing (sim 1795627098088). */
static void body_strict_over_dirty(struct rig *r)
{
	struct slow_write w = { .r = r };
	uint64_t entries;
	struct fiber *f;

	r->d->strict_writethrough = true;
	r->d->writeback.running = false;
	r->c->journal.delay_ms = 60000; /* nobody else writes entries */
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(bcf_flush(r->d), 0);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEBACK), 0);
	assert_int_equal(rig_write(r, 64, 64, 'b'), 64);
	rig_settle();
	entries = r->c->journal.nr_entries;
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_ZERO) | WRITES, .extra_ns = 10 * NS_PER_S });
	f = fiber_spawn("zeroing", slow_zeroing, &w);
	rig_settle();
	assert_true(r->c->journal.nr_entries > entries);
	assert_int_equal(rig_backing(r, 64, 64, false), 'a');
	fiber_join(f);
	assert_int_equal(w.result, 0);
	assert_int_equal(rig_read(r, 64, 64), 0);
}

static void body_strict_zero(struct rig *r)
{
	r->d->strict_writethrough = true;
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(bcf_zero(r->d, 64 * SECTOR_BYTES, 64 * SECTOR_BYTES), 0);
	assert_int_equal(rig_backing(r, 64, 64, true), 0);
	bdev_detach(r->d);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	assert_int_equal(rig_write(r, 64, 64, 'b'), 64);
	assert_int_equal(rig_backing(r, 64, 64, true), 'b'); /* a fill after the next attach must not be newer than this */
	assert_int_equal(bcf_zero(r->d, 64 * SECTOR_BYTES, 64 * SECTOR_BYTES), 0);
	assert_int_equal(rig_backing(r, 64, 64, true), 0);
}

/* Dirty and clean side by side: a failed write leaves the dirty keys and none of the clean ones, for backing may hold anything now (R2.7). */
static void mixed_write_fails(struct rig *r, unsigned failing)
{
	uint64_t before;

	assert_int_equal(rig_read(r, 64, 64), 0);
	rig_settle();
	assert_int_equal(rig_write(r, 80, 16, 'd'), 16);
	assert_int_equal(rig_write(r, 112, 8, 'd'), 8);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	rig_fail(r->backing, failing, 1);
	assert_int_equal(rig_write(r, 64, 64, 'n'), -EIO);
	blk_sim_clear_faults(r->backing);
	assert_int_equal(r->d->writeback.dirty_sectors, 24);
	if (r->d->io_disable)
		return;
	assert_int_equal(rig_read(r, 80, 16), 'd');
	assert_int_equal(rig_read(r, 112, 8), 'd');
	static const unsigned clean[] = { 64, 96, 120 };
	for (unsigned i = 0; i < ARRAY_SIZE(clean); i++) {
		before = misses(r);
		(void)rig_read(r, clean[i], 8); /* whatever backing has */
		assert_int_equal(misses(r), before + 1);
	}
}

static void body_mixed(struct rig *r) { mixed_write_fails(r, WRITES); }
static void body_mixed_strict(struct rig *r)
{
	r->d->strict_writethrough = true;
	mixed_write_fails(r, WRITES);
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 10; seed++) \
	rig_run(seed, CACHE_MODE_##mode, body)

static void verify_finds_clean_data_that_differs(void **state) { RUN(WRITETHROUGH, body_verify); RUN(WRITETHROUGH, body_verify_off); }
static void verify_leaves_dirty_data_alone(void **state) { RUN(WRITEBACK, body_verify_dirty); }
static void verify_is_not_fooled_by_writers(void **state) { RUN(WRITETHROUGH, body_verify_racing); RUN(WRITEBACK, body_verify_racing); }
static void strict_writethrough_forgets_before_it_writes(void **state) { RUN(WRITETHROUGH, body_strict_order); }
static void strict_writes_and_zeroings_are_durable(void **state) { RUN(WRITETHROUGH, body_strict_zero); RUN(WRITEAROUND, body_strict_zero); }
static void strict_zeroing_waits_until_the_dirty_data_below_is_durable(void **state) { RUN(WRITEBACK, body_strict_over_dirty); }
static void a_failed_write_leaves_no_clean_copy(void **state) { RUN(WRITEBACK, body_mixed); RUN(WRITEBACK, body_mixed_strict); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(verify_finds_clean_data_that_differs),
		TEST(verify_leaves_dirty_data_alone),
		TEST(verify_is_not_fooled_by_writers),
		TEST(strict_writethrough_forgets_before_it_writes),
		TEST(strict_writes_and_zeroings_are_durable),
		TEST(strict_zeroing_waits_until_the_dirty_data_below_is_durable),
		TEST(a_failed_write_leaves_no_clean_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
