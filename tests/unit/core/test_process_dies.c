/* SPDX-License-Identifier: GPL-2.0-only */
/* A process dies while it writes, the next one finds what the disks have of that, and then the power goes. */
#include "core/admin/log.h"
#include "tests/unit/core/test_core_rig.h"

/* What a dead process had allocated nobody frees; here it stays behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static struct rig rig;

static FIBER_FN void start(void)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_options o = { 0 };

	assert_int_equal(bcf_new(&o, &rig.bcf), 0);
	rig.bcf->open_device = rig_open;
	if (bcf_register(rig.bcf, "/sim/cache", false, &why) || bcf_register(rig.bcf, "/sim/backing", false, &why))
		fail_msg("%s", text);
	rig.c = list_first(&rig.bcf->csets, struct cset, link);
	rig.d = bcf_dev_find(rig.bcf, "dev0");
	if (!rig.d->set)
		assert_int_equal(bdev_attach(rig.d, rig.c, true, &why), 0);
	assert_int_equal(bdev_set_cache_mode(rig.d, CACHE_MODE_WRITETHROUGH), 0);
	rig.d->strict_writethrough = true;
}

/* The process ends here, in the middle of whatever it does. */
static FIBER_FN void die(void)
{
	engine_stop(engine_self());
	fiber_park();
}

static void live(int (*life)(void *))
{
	struct engine *e;

	assert_int_equal(engine_sim_new(1, &e), 0);
	assert_int_equal(engine_run(e, life, NULL), -ECANCELED);
	engine_sim_abandon(e);
}

static void overwrite(void *arg) { rig_write(&rig, 0, 8, 'n'); }

static int dies_while_it_writes(void *arg)
{
	start();
	assert_int_equal(rig_write(&rig, 0, 8, 'o'), 8);
	assert_int_equal(bcf_flush(rig.d), 0);
	blk_sim_add_fault(rig.backing, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .extra_ns = UINT64_MAX });
	assert_non_null(fiber_spawn("writer", overwrite, NULL));
	rig_settle();
	die();
	return 0;
}

static int reads_and_dies(void *arg)
{
	start();
	assert_int_equal(rig_read(&rig, 0, 8), 'n');
	rig_settle(); /* and it is in the cache */
	assert_int_equal(rig_sectors_in_index(&rig, rig.d->inode), 8);
	assert_int_equal(btree_flush_all(rig.c), 0);
	assert_int_equal(journal_meta(rig.c), 0); /* replay will not take it away again */
	die();
	return 0;
}

static int reads_from_both(void *arg)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	start();
	assert_int_equal(rig_read(&rig, 0, 8), 'n');
	bdev_detach(rig.d);
	while (rig.d->set)
		fiber_sleep_ns(NS_PER_MS);
	assert_int_equal(bdev_attach(rig.d, rig.c, true, &why), 0);
	assert_int_equal(rig_read(&rig, 0, 8), 'n');
	die();
	return 0;
}

/* Strict write-through (R2.6): what was seen once stays, whatever was dropped from the cache since. */
static void what_the_next_process_caches_is_durable_below(void **state)
{
	struct super_format cache = { .device_sectors = RIG_CACHE_SECTORS, .block_sectors = 8, .bucket_sectors = 128, .uuid = { 1 }, .set_uuid = { 2 } };
	struct super_format backing = { .backing = true, .device_sectors = 16 + RIG_DATA_SECTORS, .block_sectors = 8, .uuid = { 3 } };
	uint64_t seed = 0;

	the_rig = &rig;
	rig.cache = rig_disk(&cache, "/sim/cache");
	rig.backing = rig_disk(&backing, "/sim/backing");
	live(dies_while_it_writes);
	blk_sim_process_dies(rig.cache, 1);
	struct blk_sim *before = rig.backing;
	do { /* until the disk has got all of it */
		if (rig.backing != before)
			blk_sim_free(rig.backing);
		rig.backing = blk_sim_clone(before, NULL);
		blk_sim_process_dies(rig.backing, seed++);
	} while (rig_backing(&rig, 0, 8, false) != 'n' && seed < 100);
	assert_int_equal(rig_backing(&rig, 0, 8, true), 'o');
	blk_sim_clear_faults(rig.backing);
	blk_sim_process_dies(before, 0);
	blk_sim_free(before);
	live(reads_and_dies);
	blk_sim_crash_keeping(rig.cache, BLK_SIM_KEEP_ALL, 1);
	blk_sim_crash_keeping(rig.backing, BLK_SIM_KEEP_NONE, 1);
	live(reads_from_both);
	blk_sim_process_dies(rig.cache, 1);
	blk_sim_process_dies(rig.backing, 1);
	blk_sim_free(rig.cache);
	blk_sim_free(rig.backing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_next_process_caches_is_durable_below),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
