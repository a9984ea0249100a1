/* SPDX-License-Identifier: GPL-2.0-only */
/* What writeback makes clean is journalled (R3.4, W-16), and durably so before the backing device says that it is clean (R8.2, I-10). */
#include "tests/unit/core/test_nodes.h"

static struct blk_sim *cache, *backing; /* as at the moment of the crash */

/* Dirty in the leaf on disk; clean in the journal, and in no leaf yet. */
static void write_back_and_crash(struct rig *r)
{
	for (unsigned i = 0; i < 50; i++)
		put(r, 2 * i, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	assert_int_equal(r->d->writeback.dirty_sectors, 50);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(bcf_flush(r->d), 0);
	blk_sim_sync(r->cache);
	blk_sim_sync(r->backing);
	cache = blk_sim_clone(r->cache, NULL);
	backing = blk_sim_clone(r->backing, NULL);
}

/* The backing device keeps what says that it is clean; the cache loses all that it may. */
static void become_clean_and_crash(struct rig *r)
{
	for (unsigned i = 0; i < 50; i++)
		put(r, 2 * i, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	r->c->journal.delay_ms = UINT16_MAX; /* nobody else writes entries */
	r->d->writeback.running = true;
	writeback_wake(r->d);
	for (unsigned i = 0; bdev_state(r->d) != BDEV_STATE_CLEAN; i++) {
		assert_true(i < 60);
		fiber_sleep_ns(NS_PER_S);
	}
	blk_sim_sync(r->backing);
	cache = blk_sim_clone(r->cache, NULL);
	backing = blk_sim_clone(r->backing, NULL);
	blk_sim_crash_keeping(cache, BLK_SIM_KEEP_NONE, 1);
}

static void nothing_is_dirty(struct rig *r)
{
	assert_int_equal(r->d->writeback.dirty_sectors, 0);
	check_everything(r);
}

static void start_after(void (*crash)(struct rig *r))
{
	struct rig r = { 0 };

	live_once(1, crash);
	r.cache = cache;
	r.backing = backing;
	the_rig = &r;
	live(&r, 2, nothing_is_dirty);
	free_disks(&r);
}

static void w16_what_was_written_back_and_flushed_is_clean_after_a_crash(void **state) { start_after(write_back_and_crash); }
static void i10_a_device_that_says_it_is_clean_has_no_dirty_key_after_a_crash(void **state) { start_after(become_clean_and_crash); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(w16_what_was_written_back_and_flushed_is_clean_after_a_crash),
		cmocka_unit_test(i10_a_device_that_says_it_is_clean_has_no_dirty_key_after_a_crash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
