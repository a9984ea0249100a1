/* SPDX-License-Identifier: GPL-2.0-only */
/* What the core does when a disk fails an I/O: one small world of the simulator per case, with a fault in it. */
#include "core/admin/log.h"
#include "tests/sim/world.h"
#include "tests/unit/core/unit.h"

#define LEN KIB(4) /* a bucket holds at least one: a write is one bio */

static struct world_stats stats;
static char got[LEN], old[LEN], fresh[LEN];

/* A world with one backing device in writeback mode, everything else as its seed says. body runs in it. */
static void live(void (*body)(struct world *w, void *ctx), enum world_end end)
{
	struct world_options o = { .nr_outcomes = 1 }; /* the model does not know what is written here */
	struct world *w;

	log_set_level(LOG_LEVEL_ERROR);
	for (o.seed = 1;; o.seed++) {
		w = world_new(&o, &stats);
		if (w->nr_backing == 1 && model_bytes(w->model[0]) >= 4 * LEN)
			break;
		world_free(w);
	}
	memset(old, 1, LEN);
	memset(fresh, 2, LEN);
	assert_int_equal(world_boot(w, body, NULL), end);
	world_free(w);
}

static struct bdev *writeback_device(struct world *w)
{
	assert_int_equal(world_ctl(w, 0, "%s/cache_mode", "writeback"), 0);
	assert_int_equal(world_ctl(w, 0, "%s/sequential_cutoff", "0"), 0);
	assert_int_equal(world_ctl(w, 0, "%s/writeback_running", "0"), 0);
	return world_bdev(w, 0);
}

/* count 0: all from now on. */
static void fail_next(struct blk_sim *s, enum bio_op op, uint64_t count)
{
	blk_sim_add_fault(s, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(op), .count = count, .error = -EIO });
}

static void write_all(struct bdev *d, const char *data, int64_t expected)
{
	assert_int_equal(bcf_write(d, data, LEN, 0, NULL), expected);
}

static void check_reads(struct bdev *d, const char *data)
{
	memset(got, 0, LEN);
	assert_int_equal(bcf_read(d, got, LEN, 0, NULL), LEN);
	assert_memory_equal(got, data, LEN);
}

/* --- I-24 ---------------------------------------------------------------------------------------------------------------- */

static void fail_one_flush(struct world *w, void *ctx)
{
	struct bdev *d = writeback_device(w);

	write_all(d, old, LEN);
	fail_next(w->backing[0].sim, BIO_FLUSH, 1);
	assert_int_equal(bcf_flush(d), -EIO);
	assert_int_equal(bcf_flush(d), -EIO); /* what the first one lost is lost */
	assert_int_equal(bcf_write(d, fresh, LEN, 0, NULL), -EIO);
}

static void i24_a_failed_flush_is_reported_from_then_on(void **state) { live(fail_one_flush, WORLD_STOPPED); }

/* --- I-19 ---------------------------------------------------------------------------------------------------------------- */

static void fail_data_writes(struct world *w, void *ctx)
{
	struct bdev *d = writeback_device(w);

	/* A failed write may have reached the disk all the same: try more than once, but less than the set's limit of 8 errors. */
	for (unsigned i = 1; i <= 6; i++) {
		memset(fresh, (int)i + 1, LEN);
		write_all(d, old, LEN);
		assert_int_equal(bcf_flush(d), 0); /* no journal write is under way */
		fail_next(w->cache.sim, BIO_WRITE, i == 6 ? 2 : 1); /* the last time, its second try too */
		write_all(d, fresh, LEN);
		check_reads(d, fresh);
		blk_sim_clear_faults(w->cache.sim);
	}
	check_reads(d, fresh);
}

static void i19_data_that_the_cache_refuses_goes_to_backing(void **state) { live(fail_data_writes, WORLD_STOPPED); }

/* --- I-14 ---------------------------------------------------------------------------------------------------------------- */

static void fail_dirty_read(struct world *w, void *ctx)
{
	struct bdev *d = writeback_device(w);

	write_all(d, fresh, LEN);
	fail_next(w->cache.sim, BIO_READ, 1);
	assert_int_equal(bcf_read(d, got, LEN, 0, NULL), -EIO);
	blk_sim_clear_faults(w->cache.sim);
	check_reads(d, fresh);
}

static void i14_dirty_data_never_come_from_backing(void **state) { live(fail_dirty_read, WORLD_STOPPED); }

static void fail_clean_read(struct world *w, void *ctx)
{
	struct bdev *d = writeback_device(w);

	assert_int_equal(world_ctl(w, 0, "%s/cache_mode", "writethrough"), 0);
	write_all(d, fresh, LEN);
	fail_next(w->cache.sim, BIO_READ, 1);
	check_reads(d, fresh);
	check_reads(d, fresh);
	assert_int_equal(world_ctl(w, 0, "%s/cache_mode", "writeback"), 0);
	write_all(d, fresh, LEN); /* dirty: the world's model, which knows nothing of this, is not asked */
}

static void clean_data_come_from_backing(void **state) { live(fail_clean_read, WORLD_STOPPED); }

/* --- I-27 ---------------------------------------------------------------------------------------------------------------- */

static void fail_set(struct world *w, void *ctx)
{
	struct bdev *d = writeback_device(w);

	write_all(d, fresh, LEN);
	bdev_hold(d);
	fail_next(w->cache.sim, BIO_WRITE, 0);
	fail_next(w->cache.sim, BIO_READ, 0);
	assert_true(bcf_flush(d) < 0); /* the journal cannot be written: the set fails */
	assert_true(bcf_read(d, got, LEN, 0, NULL) < 0);
	fiber_sleep_ns(NS_PER_S);
	assert_true(bcf_read(d, got, LEN, 0, NULL) < 0);
	assert_true(d->io_disable);
	bdev_release(d);
}

static void i27_a_device_with_dirty_data_freezes_when_its_set_fails(void **state) { live(fail_set, WORLD_STOPPED); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i24_a_failed_flush_is_reported_from_then_on),
		cmocka_unit_test(i19_data_that_the_cache_refuses_goes_to_backing),
		cmocka_unit_test(i14_dirty_data_never_come_from_backing),
		cmocka_unit_test(clean_data_come_from_backing),
		cmocka_unit_test(i27_a_device_with_dirty_data_freezes_when_its_set_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
