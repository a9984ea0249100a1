/* SPDX-License-Identifier: GPL-2.0-only */
/* Devices that join, leave, stop and fail at inconvenient moments: simulated worlds with disks that are slow or fail at the right place. */
#include <stdio.h>
#include <stdlib.h>
#include "core/admin/ctl.h"
#include "core/admin/log.h"
#include "core/engine/fiber.h"
#include "tests/sim/world.h"
#include "tests/unit/core/unit.h"

#define BYTES KIB(4)

static struct world_stats stats;
static uint8_t buf[BYTES];

static struct world *make_world(void)
{
	struct world_options o = { .seed = 1 };
	struct world *w = world_new(&o, &stats);

	log_set_level(LOG_LEVEL_ERROR);
	while (w->nr_backing != 1 || model_bytes(w->model[0]) < 8 * BYTES) {
		world_free(w);
		o.seed++;
		w = world_new(&o, &stats);
	}
	return w;
}

static FIBER_FN void set(struct world *w, const char *path, const char *text)
{
	int r = world_ctl(w, 0, path, text);

	if (r < 0)
		world_fail(w, "%s = %s: %d", path, text, r);
}

static void super_writes(struct world *w, uint64_t extra_ns, int error)
{
	blk_sim_clear_faults(w->backing[0].sim);
	if (extra_ns || error)
		blk_sim_add_fault(w->backing[0].sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .sector = SUPER_SECTOR,
									       .nr_sectors = 8, .extra_ns = extra_ns, .error = error });
}

static FIBER_FN void write_page(struct world *w, struct bdev *d, uint32_t gen)
{
	struct bcf_io io = { .pid = 1 };
	struct model_op op = { .len_bytes = BYTES, .gen = gen, .direct = true };
	int64_t r;

	model_pattern(0, gen, 0, buf, BYTES);
	model_write_begin(w->model[0], &op);
	r = bcf_write(d, buf, BYTES, 0, &io);
	model_write_end(w->model[0], &op, r < 0 ? (int)r : 0, false);
	if (r != BYTES)
		world_fail(w, "write returns %lld", (long long)r);
}

static FIBER_FN void expect_page(struct world *w, struct bdev *d, uint32_t gen)
{
	struct bcf_io io = { .pid = 1 };
	uint8_t want[BYTES], seen[BYTES];

	model_pattern(0, gen, 0, want, BYTES);
	if (bcf_read(d, seen, BYTES, 0, &io) != BYTES || memcmp(want, seen, BYTES))
		world_fail(w, "the write is lost");
}

static void run(void (*body)(struct world *w, void *ctx))
{
	struct world *w = make_world();
	enum world_end end = world_boot(w, body, NULL);

	if (*w->failure)
		fail_msg("%s", w->failure);
	assert_int_equal(end, WORLD_STOPPED);
	world_free(w);
}

/* --- detaching ----------------------------------------------------------------------------------------------------------- */

static void write_second(void *arg) { write_page(arg, world_bdev(arg, 0), 2); }

static void detach_while_becoming_clean(struct world *w, void *ctx)
{
	struct bdev *d = world_bdev(w, 0);
	struct fiber *writer;

	set(w, "%s/cache_mode", "writeback");
	set(w, "%s/sequential_cutoff", "0");
	set(w, "%s/writeback_delay", "0");
	set(w, "%s/writeback_percent", "0");
	write_page(w, d, 1);
	super_writes(w, NS_PER_S, 0);
	while (!(d->writeback.state_writing && bdev_state(d) == BDEV_STATE_CLEAN))
		fiber_sleep_ns(NS_PER_MS);
	writer = fiber_spawn("writer", write_second, w);
	while (!d->writeback.has_dirty)
		fiber_sleep_ns(NS_PER_MS);
	set(w, "%s/detach", "1");
	fiber_join(writer);
	while (d->set)
		fiber_sleep_ns(NS_PER_MS);
	expect_page(w, d, 2);
}

static void a_write_during_the_clean_mark_survives_a_detach(void **state)
{
	run(detach_while_becoming_clean);
}

static FIBER_FN void detach_and_wait(struct world *w, struct bdev *d)
{
	set(w, "%s/detach", "1");
	while (d->set)
		fiber_sleep_ns(NS_PER_MS);
}

static void detach_with_a_bad_superblock(struct world *w, void *ctx)
{
	struct bdev *d = world_bdev(w, 0);
	struct bcf_io io = { .pid = 1 };

	super_writes(w, 0, -EIO);
	detach_and_wait(w, d);
	super_writes(w, 0, 0);
	if (bcf_write(d, buf, BYTES, 0, &io) != -EIO)
		world_fail(w, "writes past a cache that the superblock still names");
}

static void enable_after_a_bad_superblock(struct world *w, void *ctx)
{
	struct bdev *d = world_bdev(w, 0);

	set(w, "%s/cache_mode", "writethrough");
	set(w, "%s/sequential_cutoff", "0");
	fiber_sleep_ns(NS_PER_S); /* there are free buckets */
	write_page(w, d, 1);
	if (!world_cset(w)->data_sectors_written)
		world_fail(w, "not cached");
	super_writes(w, 0, -EIO);
	detach_and_wait(w, d);
	w->detached[0] = true;
	if (world_ctl(w, 0, "%s/io_disable", "0") != -EIO)
		world_fail(w, "enabled, and the superblock still names the cache");
	super_writes(w, 0, 0);
	set(w, "%s/io_disable", "0");
	write_page(w, d, 2);
	if (bcf_flush(d))
		world_fail(w, "no flush");
}

static void see_second(struct world *w, void *ctx) { expect_page(w, world_bdev(w, 0), 2); }

static FIBER_FN bool says_no_cache(struct world *w, struct bdev *d)
{
	char path[BCF_CTL_PATH_BYTES], text[64] = "";
	struct printbuf out = PRINTBUF(text);

	snprintf(path, sizeof(path), "%s/state", bcf_dev_name(d));
	if (bcf_ctl_show(w->bcf, path, &out) < 0)
		world_fail(w, "state cannot be read");
	return !strcmp(text, "no cache\n");
}

static void attach_as_soon_as_it_says_no_cache(struct world *w, void *ctx)
{
	struct bdev *d = world_bdev(w, 0);

	blk_sim_add_fault(w->cache.sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .nr_sectors = UINT64_MAX, .extra_ns = NS_PER_MS });
	set(w, "%s/detach", "1");
	for (unsigned i = 0; i < 100000 && !says_no_cache(w, d); i++)
		fiber_sleep_ns(NS_PER_MS / 100);
	set(w, "%s/attach", w->set_uuid_text);
}

static void a_device_that_says_no_cache_can_be_attached(void **state)
{
	run(attach_as_soon_as_it_says_no_cache);
}

static void a_device_that_cannot_say_it_is_detached_is_disabled(void **state)
{
	run(detach_with_a_bad_superblock);
}

static void a_device_is_enabled_when_its_superblock_says_that_it_is_detached(void **state)
{
	struct world *w = make_world();

	for (unsigned life = 0; life < 2; life++) {
		enum world_end end = world_boot(w, life ? see_second : enable_after_a_bad_superblock, NULL);

		if (*w->failure)
			fail_msg("life %u: %s", life, w->failure);
		assert_int_equal(end, WORLD_STOPPED);
	}
	world_free(w);
}

/* --- states -------------------------------------------------------------------------------------------------------------- */

static void fail_to_set_the_state(struct world *w, void *ctx)
{
	struct bdev *d = world_bdev(w, 0);
	struct super on_disk;

	detach_and_wait(w, d);
	w->detached[0] = true;
	super_writes(w, 0, -EIO);
	if (bdev_set_state(d, BDEV_STATE_STALE) != -EIO)
		world_fail(w, "no error");
	super_writes(w, 0, 0);
	if (bdev_set_state(d, BDEV_STATE_STALE) < 0)
		world_fail(w, "second try");
	blk_sim_peek_durable(w->backing[0].sim, SUPER_SECTOR, &on_disk, SUPER_BYTES / SECTOR_BYTES);
	if (super_state(&on_disk) != BDEV_STATE_STALE)
		world_fail(w, "not on disk");
}

static void a_state_that_could_not_be_written_is_written_by_the_next_try(void **state)
{
	run(fail_to_set_the_state);
}

/* --- disks that lie ------------------------------------------------------------------------------------------------------ */

static struct geometry geometry;
static uint32_t first_journal_bucket, nr_journal_buckets;

static void note_journal(struct world *w, void *ctx)
{
	const struct cset *c = world_cset(w);

	write_page(w, world_bdev(w, 0), 1);
	geometry = c->g;
	first_journal_bucket = c->journal.first_bucket;
	nr_journal_buckets = c->journal.nr_buckets;
}

static uint64_t nr_reads;

/* The first look at each bucket is right. Then the newest is read again. */
static void lie_the_second_time(struct world *w)
{
	nr_reads = 0;
	for (uint32_t i = 0; i < nr_journal_buckets; i++)
		blk_sim_add_fault(w->cache.sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_READ), .nr_sectors = 1, .count = 1, .corrupt = true,
									 .sector = geometry_sector(&geometry, first_journal_bucket + i),
									 .skip = nr_journal_buckets, .counter = &nr_reads });
}

static void note_refusal(struct world *w, void *ctx)
{
	bool *refused = ctx;

	*refused = !world_cset(w);
}

static void a_journal_bucket_that_reads_differently_a_second_time_is_refused(void **state)
{
	struct world *w = make_world();
	bool refused;
	unsigned refusals = 0;

	assert_int_equal(world_boot(w, note_journal, NULL), WORLD_STOPPED);
	w->plan_faults = lie_the_second_time;
	w->options.nr_outcomes = 1;
	for (unsigned i = 0; i < 60; i++, refusals += refused) /* the wrong byte may be one behind the entry */
		if (world_boot(w, note_refusal, &refused) != WORLD_STOPPED)
			fail_msg("%s", w->failure);
	assert_true(refusals);
	world_free(w);
}

/* --- stopping ------------------------------------------------------------------------------------------------------------ */

static void attach(void *arg)
{
	struct world *w = arg;

	ignore_result(world_ctl(w, 0, "%s/attach", w->set_uuid_text)); /* stopped in the middle: may well be refused */
}

static void stop_while_attaching(struct world *w, void *ctx)
{
	struct bdev *d = world_bdev(w, 0);
	struct fiber *f;

	detach_and_wait(w, d);
	super_writes(w, NS_PER_S, 0);
	f = fiber_spawn("attach", attach, w);
	while (!d->quiesce)
		fiber_sleep_ns(NS_PER_MS);
	set(w, "%s/stop", "1");
	fiber_join(f);
	for (unsigned i = 0; i < 100; i++) { /* a timer or a fiber of its that is left would run now */
		fiber_sleep_ns(NS_PER_S);
		for (struct list *l = w->engine->fibers.next; l != &w->engine->fibers; l = l->next)
			if (!strcmp(list_entry(l, struct fiber, all)->name, "writeback"))
				world_fail(w, "the device is gone, its writeback fiber is not");
	}
}

static void a_device_stopped_while_it_is_attached_leaves_nothing_behind(void **state)
{
	run(stop_while_attaching);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_during_the_clean_mark_survives_a_detach),
		cmocka_unit_test(a_device_that_says_no_cache_can_be_attached),
		cmocka_unit_test(a_device_that_cannot_say_it_is_detached_is_disabled),
		cmocka_unit_test(a_device_is_enabled_when_its_superblock_says_that_it_is_detached),
		cmocka_unit_test(a_state_that_could_not_be_written_is_written_by_the_next_try),
		cmocka_unit_test(a_journal_bucket_that_reads_differently_a_second_time_is_refused),
		cmocka_unit_test(a_device_stopped_while_it_is_attached_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
