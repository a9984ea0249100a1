/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests when devices fail: the rules R2.2, R2.4, R2.7, R2.8, R0.4 and invariants I-14, I-19, I-24. Without faults the simulator does more. */
#include "tests/unit/core/test_core_rig.h"

#define WRITES BLK_SIM_OP(BIO_WRITE)
#define READS BLK_SIM_OP(BIO_READ)
#define FLUSHES BLK_SIM_OP(BIO_FLUSH)

static uint64_t misses(struct rig *r) { return stats_read(&r->d->stats, STAT_TOTAL, STAT_MISSES); }
static uint64_t hits(struct rig *r) { return stats_read(&r->d->stats, STAT_TOTAL, STAT_HITS); }

static void body_hit_after_miss(struct rig *r)
{
	uint64_t before;

	assert_int_equal(rig_read(r, 100, 50), 0);
	rig_settle(); /* the fill */
	before = hits(r);
	assert_int_equal(rig_read(r, 104, 40), 0);
	assert_int_equal(hits(r), before + 1);
	assert_int_equal(r->c->fill_bytes, 0);
	assert_int_equal(r->d->fills_in_flight, 0);
}

static void body_clean_cache_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64); /* through */
	rig_settle();
	rig_fail(r->cache, READS, 1);
	assert_int_equal(rig_read(r, 64, 64), 'a'); /* backing has it */
	assert_int_equal(r->c->io_errors >> 20, 1);
	blk_sim_clear_faults(r->cache);
	uint64_t before = misses(r);
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(misses(r), before + 1); /* the unreadable copy was dropped */
}

static void body_dirty_cache_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'd'), 64);
	assert_int_equal(rig_backing(r, 64, 64, false), 0);
	rig_fail(r->cache, READS, 1);
	assert_int_equal(rig_read(r, 64, 64), -EIO); /* never the zeros of the backing device (I-14) */
	blk_sim_clear_faults(r->cache);
	assert_int_equal(rig_read(r, 64, 64), 'd');
	/* Only the piece that failed matters: a clean neighbour in the same request may come from backing, a dirty one may not. */
	rig_fail(r->cache, READS, 0);
	assert_int_equal(rig_read(r, 32, 64), -EIO);
	assert_int_equal(rig_read(r, 0, 8), 0);
	blk_sim_clear_faults(r->cache);
}

static void body_writethrough_backing_error(struct rig *r)
{
	uint64_t before;

	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	rig_fail(r->backing, WRITES, 1);
	assert_int_equal(rig_write(r, 64, 64, 'b'), -EIO);
	assert_int_equal(r->d->io_errors, 1);
	blk_sim_clear_faults(r->backing);
	before = misses(r);
	(void)rig_read(r, 64, 64); /* whatever backing has now: neither 'a' nor 'b' may come from the cache (R2.7) */
	assert_int_equal(misses(r), before + 1);
}

static void body_writethrough_cache_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	rig_settle();
	rig_fail(r->cache, WRITES, 1);
	assert_int_equal(rig_write(r, 64, 64, 'b'), 64); /* the cache is only a cache */
	blk_sim_clear_faults(r->cache);
	assert_int_equal(rig_read(r, 64, 64), 'b');
	assert_int_equal(rig_backing(r, 64, 64, false), 'b');
}

static void body_writeback_cache_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	rig_settle();
	rig_fail(r->cache, WRITES, 1);
	assert_int_equal(rig_write(r, 64, 64, 'b'), 64); /* another bucket takes it */
	assert_int_equal(rig_read(r, 64, 64), 'b');
	assert_int_equal(rig_backing(r, 64, 64, false), 0);
	assert_int_equal(r->d->writeback.dirty_sectors, 64);
	rig_settle();
	rig_fail(r->cache, WRITES, 2);
	assert_int_equal(rig_write(r, 64, 64, 'c'), 64); /* the cache will not: backing, durably, and the old dirty key goes (R2.8) */
	assert_int_equal(rig_backing(r, 64, 64, true), 'c');
	assert_int_equal(rig_read(r, 64, 64), 'c');
	assert_int_equal(r->d->writeback.dirty_sectors, 0);
}

static void body_writeback_both_fail(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	rig_settle();
	rig_fail(r->cache, WRITES, 2);
	rig_fail(r->backing, WRITES, 1);
	assert_int_equal(rig_write(r, 64, 64, 'b'), -EIO);
	blk_sim_clear_faults(r->cache);
	assert_int_equal(rig_read(r, 64, 64), 'a'); /* the old key stays in place */
	assert_int_equal(r->d->writeback.dirty_sectors, 64);
}

/* R2.4: dirty data below a write-through: backing is durable before the index lets go of it. */
static void body_ordered(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(r->d->writeback.dirty_sectors, 64);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	assert_int_equal(rig_write(r, 64, 32, 'b'), 32);
	assert_int_equal(rig_backing(r, 64, 32, true), 'b');
	assert_int_equal(r->d->writeback.dirty_sectors, 32);
	assert_int_equal(rig_read(r, 64, 32), 'b');
	assert_int_equal(rig_read(r, 96, 32), 'a');
	assert_int_equal(rig_write(r, 300, 32, 'c'), 32); /* nothing dirty here: no flush */
	assert_int_equal(rig_backing(r, 300, 32, true), 0);
	rig_fail(r->backing, FLUSHES, 1);
	assert_int_equal(rig_write(r, 96, 32, 'd'), -EIO);
	assert_int_equal(r->d->writeback.dirty_sectors, 32);
}

static void body_flush_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	rig_fail(r->backing, FLUSHES, 1);
	assert_int_equal(bcf_flush(r->d), -EIO);
	assert_int_equal(bcf_flush(r->d), -EIO); /* the second one proves nothing (R0.4) */
	assert_int_equal(rig_write(r, 64, 64, 'b'), -EIO);
}

static void body_zero(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 256, 'a'), 256);
	assert_int_equal(r->d->writeback.dirty_sectors, 256);
	assert_int_equal(bcf_zero(r->d, 10 * SECTOR_BYTES + 100, 200 * SECTOR_BYTES), 0);
	assert_int_equal(rig_read(r, 11, 199), 0);
	assert_int_equal(rig_read(r, 0, 10), 'a');
	assert_int_equal(rig_read(r, 211, 45), 'a');
	assert_int_equal(rig_read(r, 10, 1), -1000); /* 100 bytes of 'a', then zeros */
	assert_int_equal(rig_backing(r, 16, 192, true), 0);
	assert_int_equal(bcf_zero(r->d, 0, UINT64_MAX), 0);
	assert_int_equal(rig_read(r, 0, 256), 0);
	assert_int_equal(r->d->writeback.dirty_sectors, 0);
}

static void body_ends(struct rig *r)
{
	uint64_t size = bcf_dev_size_bytes(r->d);
	char buf[1000] = "end of the device";

	assert_int_equal(size, RIG_DATA_SECTORS * SECTOR_BYTES);
	assert_int_equal(bcf_write(r->d, buf, 1000, size - 999, NULL), -ENOSPC);
	assert_int_equal(bcf_write(r->d, buf, 1, UINT64_MAX, NULL), -ENOSPC);
	assert_int_equal(bcf_write(r->d, buf, 1000, size - 1000, NULL), 1000);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(bcf_read(r->d, buf, 1000, size - 1000, NULL), 1000);
	assert_string_equal(buf, "end of the device");
	assert_int_equal(bcf_read(r->d, buf, 1000, size - 17, NULL), 17);
	assert_int_equal(bcf_read(r->d, buf, 1000, size, NULL), 0);
	assert_int_equal(bcf_read(r->d, buf, 1000, UINT64_MAX, NULL), 0);
	assert_int_equal(bcf_zero(r->d, size, 5), 0);
}

/* The set fails while nothing is dirty: data stays readable, and soon everything works without a cache. */
static void body_clean_set_fails(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	cset_error(r->c, "the test says so");
	assert_int_equal(rig_read(r, 64, 64), 'a');
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	assert_int_equal(rig_write(r, 64, 32, 'b'), 32);
	assert_int_equal(rig_read(r, 64, 32), 'b');
	assert_int_equal(rig_read(r, 96, 32), 'a');
	assert_int_equal(bdev_state(r->d), BDEV_STATE_NONE); /* if the cache ever comes back, it is a stranger */
}

static void body_dirty_set_fails(struct rig *r)
{
	assert_int_equal(bcf_dev_open(r->d), 0); /* keeps the object for us */
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	cset_error(r->c, "the test says so");
	assert_int_equal(rig_read(r, 64, 64), -EIO);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_true(rig_read(r, 64, 64) < 0);
	assert_true(rig_write(r, 64, 64, 'b') < 0);
	assert_int_equal(rig_backing(r, 64, 64, false), 0);
	bcf_dev_close(r->d);
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 20; seed++) \
	rig_run(seed, CACHE_MODE_##mode, body)

static void what_was_missed_is_filled(void **state) { RUN(WRITETHROUGH, body_hit_after_miss); }
static void unreadable_clean_data_comes_from_backing(void **state) { RUN(WRITETHROUGH, body_clean_cache_error); }
static void unreadable_dirty_data_is_an_error(void **state) { RUN(WRITEBACK, body_dirty_cache_error); }
static void a_failed_writethrough_is_not_cached(void **state) { RUN(WRITETHROUGH, body_writethrough_backing_error); }
static void writethrough_survives_a_cache_error(void **state) { RUN(WRITETHROUGH, body_writethrough_cache_error); }
static void writeback_finds_another_place(void **state) { RUN(WRITEBACK, body_writeback_cache_error); }
static void writeback_that_fails_keeps_the_old_data(void **state) { RUN(WRITEBACK, body_writeback_both_fail); }
static void dirty_data_is_replaced_in_order(void **state) { RUN(WRITEBACK, body_ordered); }
static void a_failed_flush_is_final(void **state) { RUN(WRITETHROUGH, body_flush_error); }
static void zeroing_reaches_every_byte_and_no_other(void **state) { RUN(WRITEBACK, body_zero); }
static void the_device_ends_where_it_ends(void **state) { RUN(WRITEBACK, body_ends); RUN(WRITETHROUGH, body_ends); RUN(NONE, body_ends); }
static void a_clean_device_outlives_its_cache(void **state) { RUN(WRITETHROUGH, body_clean_set_fails); }
static void a_dirty_device_freezes_with_its_cache(void **state) { RUN(WRITEBACK, body_dirty_set_fails); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_missed_is_filled),
		TEST(unreadable_clean_data_comes_from_backing),
		TEST(unreadable_dirty_data_is_an_error),
		TEST(a_failed_writethrough_is_not_cached),
		TEST(writethrough_survives_a_cache_error),
		TEST(writeback_finds_another_place),
		TEST(writeback_that_fails_keeps_the_old_data),
		TEST(dirty_data_is_replaced_in_order),
		TEST(a_failed_flush_is_final),
		TEST(zeroing_reaches_every_byte_and_no_other),
		TEST(the_device_ends_where_it_ends),
		TEST(a_clean_device_outlives_its_cache),
		TEST(a_dirty_device_freezes_with_its_cache),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
