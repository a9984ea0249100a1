/* SPDX-License-Identifier: GPL-2.0-only */
/* Flash-only volumes: made, resized, removed, while others use them (behaviour.md §1.12, control-files.md §5, §6, I-21). */
#include "core/admin/log.h"
#include "core/btree/btree.h"
#include "core/request/insert.h"
#include "core/set/volume.h"
#include "tests/unit/core/test_core_rig.h"
#include "tests/unit/core/unit.h"

#define MIB_SECTORS 2048u

/* --- what bodies do ------------------------------------------------------------------------------------------------------ */

static FIBER_FN int set_ctl(struct rig *r, const char *file, const char *text)
{
	char path[BCF_CTL_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", r->c->uuid_text, file);
	return bcf_ctl_store(r->bcf, path, text, strlen(text));
}

static FIBER_FN int dev_ctl(struct rig *r, const struct bdev *d, const char *file, const char *text)
{
	char path[BCF_CTL_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", d->name, file);
	return bcf_ctl_store(r->bcf, path, text, strlen(text));
}

static FIBER_FN struct bdev *make_volume(struct rig *r, const char *size)
{
	struct bdev *before[1024], *made = NULL;

	assert_true(r->c->g.nr_uuids <= ARRAY_SIZE(before));
	memcpy(before, r->c->devices, r->c->g.nr_uuids * sizeof(*before));
	if (set_ctl(r, "flash_vol_create", size))
		fail_msg("%s", r->bcf->last_error);
	for (uint32_t i = 0; i < r->c->g.nr_uuids; i++)
		if (r->c->devices[i] && !before[i]) {
			assert_null(made);
			made = r->c->devices[i];
		}
	assert_true(made && made->running && bdev_is_flash(made));
	return made;
}

static FIBER_FN int64_t put(struct bdev *d, uint64_t sector, uint64_t nr, char fill)
{
	return rig_write(&(struct rig){ .d = d }, sector, nr, fill);
}

static FIBER_FN int get(struct bdev *d, uint64_t sector, uint64_t nr) { return rig_read(&(struct rig){ .d = d }, sector, nr); }

static unsigned nr_slots(struct rig *r, enum uuid_state state)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < r->c->g.nr_uuids; i++)
		n += uuid_entry_state(&r->c->uuids[i]) == state;
	return n;
}

/* The set is stopped and started: everything is as its disk says. */
static FIBER_FN void restart(struct rig *r)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	cset_stop(r->c, false);
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	if (bcf_register(r->bcf, "/sim/cache", false, &why))
		fail_msg("%s", text);
	r->c = list_first(&r->bcf->csets, struct cset, link);
}

static FIBER_FN void wait_purged(struct rig *r, uint32_t slot)
{
	for (unsigned i = 0; r->c->slots[slot].keys != SLOT_PURGED; i++) {
		assert_true(i < 100000);
		fiber_sleep_ns(NS_PER_MS);
	}
}

/* --- create -------------------------------------------------------------------------------------------------------------- */

static void create_and_restart(struct rig *r)
{
	struct bdev *d = make_volume(r, "1M");
	uint32_t slot = d->inode;
	uint8_t uuid[16];

	memcpy(uuid, r->c->uuids[slot].uuid, 16);
	assert_int_equal(bcf_dev_size_bytes(d), MIB(1));
	assert_int_equal(get(d, 0, MIB_SECTORS), 0);
	assert_int_equal(put(d, 0, MIB_SECTORS, 'a'), MIB_SECTORS);
	assert_int_equal(bcf_zero(d, 512 * 100, 512 * 32), 0);
	assert_int_equal(get(d, 92, 8), 'a');
	assert_int_equal(get(d, 100, 32), 0);
	assert_int_equal(put(d, MIB_SECTORS - 8, 16, 'b'), -ENOSPC);
	assert_int_equal(dev_ctl(r, d, "label", "vol"), 0);
	assert_int_equal(r->c->flash_dirty_sectors, MIB_SECTORS - 24);
	restart(r);
	d = r->c->devices[slot];
	assert_true(d && bdev_is_flash(d) && d->running);
	assert_memory_equal(r->c->uuids[slot].uuid, uuid, 16);
	assert_string_equal(r->c->uuids[slot].label, "vol");
	assert_int_equal(bcf_dev_size_bytes(d), MIB(1));
	assert_int_equal(r->c->flash_dirty_sectors, MIB_SECTORS - 24);
	assert_int_equal(get(d, 0, 100), 'a');
	assert_int_equal(get(d, 100, 32), 0);
	assert_int_equal(get(d, 132, MIB_SECTORS - 132), 'a');
	rig_check(r);
}

static void a_volume_is_empty_at_first_and_comes_back_after_a_restart(void **state)
{
	rig_run(1, CACHE_MODE_WRITEBACK, create_and_restart);
}

static void impossible_volumes(struct rig *r)
{
	static const struct {
		const char *size;
		int error;
	} cases[] = { { "0", -EINVAL }, { "1", -EINVAL }, { "4095", -EINVAL }, { "\n", -EINVAL }, { "garbage", -EINVAL }, { "9E", -EINVAL },
		      { "18446744073709551616", -ERANGE } };
	struct bdev *d;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_case(cases[i].size, set_ctl(r, "flash_vol_create", cases[i].size), cases[i].error);
	assert_int_equal(nr_slots(r, UUID_SLOT_FLASH), 0);
	d = make_volume(r, "10000"); /* rounded down to blocks */
	assert_int_equal(d->nr_sectors, 16);
	r->c->state = CSET_STARTING;
	assert_int_equal(volume_create(r->c, MIB(1), NULL), -EPERM);
	r->c->state = CSET_STOPPING;
	assert_int_equal(volume_create(r->c, MIB(1), NULL), -EINTR);
	r->c->state = CSET_RUNNING;
	assert_int_equal(nr_slots(r, UUID_SLOT_FLASH), 1);
}

static void a_size_is_checked_before_anything_is_written(void **state)
{
	rig_run(2, CACHE_MODE_WRITEBACK, impossible_volumes);
}

static void until_the_table_is_full(struct rig *r)
{
	unsigned n = 0;

	while (!set_ctl(r, "flash_vol_create", "4k"))
		n++;
	assert_int_equal(n, r->c->g.nr_uuids - 1); /* one is the cached device's */
	assert_non_null(strstr(r->bcf->last_error, "no free slot"));
	assert_int_equal(set_ctl(r, "flash_vol_create", "4k"), -EINVAL);
}

static void when_all_slots_are_taken_a_volume_is_refused(void **state)
{
	rig_run_buckets(3, CACHE_MODE_WRITEBACK, until_the_table_is_full, 8);
}

/* Slots that the kernel leaves when a volume is made with an impossible size, and what may be damaged: control-files.md §6. */
static void bad_slots(struct rig *r)
{
	static const char label[LABEL_BYTES] = "bad";
	struct bdev *good = make_volume(r, "64k");
	uint32_t slot = good->inode, nr = r->c->g.nr_uuids;

	assert_int_equal(put(good, 0, 8, 'g'), 8);
	for (uint32_t i = 0; i < nr; i++)
		if (uuid_entry_state(&r->c->uuids[i]) == UUID_SLOT_FREE) {
			slot_fill(r->c, i, (uint8_t[16]){ 20, (uint8_t)i }, label, 1);
			r->c->uuids[i].sectors = i % 2 ? 0 : UINT64_MAX;
		}
	assert_int_equal(nr_slots(r, UUID_SLOT_FLASH), nr - 1);
	assert_int_equal(uuid_table_write(r->c), 0);
	restart(r);
	for (uint32_t i = 0; i < nr; i++)
		assert_int_equal(r->c->devices[i] && bdev_is_flash(r->c->devices[i]), i == slot);
	assert_int_equal(get(r->c->devices[slot], 0, 8), 'g');
}

static void a_bad_slot_does_not_keep_other_volumes_from_starting(void **state)
{
	rig_run_buckets(4, CACHE_MODE_WRITEBACK, bad_slots, 8);
}

/* --- remove -------------------------------------------------------------------------------------------------------------- */

/* More often than there are slots (I-21). */
static void again_and_again(struct rig *r)
{
	struct bdev *other = make_volume(r, "64k");

	assert_int_equal(put(other, 0, 128, 'o'), 128);
	for (unsigned i = 0; i < 3 * r->c->g.nr_uuids; i++) {
		struct bdev *d = make_volume(r, "256k");
		uint32_t slot = d->inode;

		assert_int_equal(get(d, 0, 512), 0);
		assert_int_equal(put(d, i % 16 * 8, 128, (char)(i % 100 + 1)), 128);
		assert_int_equal(r->c->flash_dirty_sectors, 256);
		assert_int_equal(dev_ctl(r, d, "unregister", "1"), 0);
		assert_int_equal(r->c->flash_dirty_sectors, 128);
		fiber_sleep_ns(i % 5 * 20 * NS_PER_S); /* now and then the purger comes first */
		if (i % 5)
			assert_int_equal(rig_sectors_in_index(r, slot), 0);
		assert_int_equal(r->c->flash_dirty_sectors, 128);
		if (i % 7 == 0) {
			uint32_t at = other->inode;

			restart(r);
			other = r->c->devices[at];
		}
	}
	assert_int_equal(get(other, 0, 128), 'o');
	rig_check(r);
}

static void a_new_volume_never_shows_data_of_a_removed_one(void **state)
{
	rig_run_buckets(5, CACHE_MODE_WRITEBACK, again_and_again, 8);
}

static void remove_while_open(struct rig *r)
{
	struct bdev *old = make_volume(r, "64k"), *fresh;
	uint32_t slot = old->inode;

	assert_int_equal(put(old, 0, 128, 'o'), 128);
	assert_int_equal(bcf_dev_open(old), 0);
	assert_int_equal(dev_ctl(r, old, "unregister", "1"), -EBUSY);
	assert_non_null(strstr(r->bcf->last_error, "is open"));
	assert_int_equal(get(old, 0, 128), 'o');
	assert_int_equal(dev_ctl(r, old, "unregister", "force\n"), 0);
	assert_int_equal(get(old, 0, 128), -ENXIO);
	assert_int_equal(put(old, 0, 8, 'x'), -ENXIO);
	assert_int_equal(bcf_flush(old), -ENXIO);
	assert_int_equal(bcf_dev_block_bytes(old), SECTOR_BYTES); /* somebody who has it open may still ask */
	assert_int_equal(bcf_dev_open(old), -ENXIO);
	assert_null(bcf_dev_find(r->bcf, old->name));
	assert_int_equal(dev_ctl(r, old, "size", "4k"), -ENODEV);
	wait_purged(r, slot);
	fresh = make_volume(r, "64k");
	assert_int_equal(fresh->inode, slot);
	assert_int_equal(put(fresh, 0, 128, 'n'), 128);
	bcf_dev_close(old); /* only now its object goes */
	rig_settle();
	assert_ptr_equal(r->c->devices[slot], fresh);
	assert_int_equal(r->c->flash_dirty_sectors, 128);
	assert_int_equal(get(fresh, 0, 128), 'n');
	restart(r);
	assert_int_equal(get(r->c->devices[slot], 0, 128), 'n');
	assert_int_equal(r->c->flash_dirty_sectors, 128);
	rig_check(r);
}

static void a_volume_removed_while_open_has_nothing_to_do_with_its_slots_next_owner(void **state)
{
	rig_run(6, CACHE_MODE_WRITEBACK, remove_while_open);
}

/* It holds nothing of its set, which may go. */
static void set_goes_first(struct rig *r)
{
	struct bdev *d = make_volume(r, "64k");

	assert_int_equal(put(d, 0, 128, 'o'), 128);
	assert_int_equal(bcf_dev_open(d), 0);
	assert_int_equal(dev_ctl(r, d, "unregister", "force"), 0);
	restart(r);
	assert_int_equal(get(d, 0, 8), -ENXIO);
	assert_int_equal(bcf_dev_size_bytes(d), KIB(64));
	bcf_dev_close(d);
	rig_settle();
	assert_int_equal(nr_slots(r, UUID_SLOT_FLASH), 0);
}

static void a_removed_volume_that_is_open_does_not_keep_its_set(void **state)
{
	rig_run(7, CACHE_MODE_WRITEBACK, set_goes_first);
}

struct client {
	struct bdev *d;
	int64_t result;
	char *buf;
	enum { READ, WRITE, ZERO, SHORT_ZERO } what;
	uint64_t from, nr; /* sectors */
	struct fiber *fiber;
};

static void client_main(void *arg)
{
	struct client *c = arg;

	if (c->what == READ)
		c->result = bcf_read(c->d, c->buf, c->nr * SECTOR_BYTES, c->from * SECTOR_BYTES, NULL);
	else if (c->what == WRITE)
		c->result = put(c->d, c->from, c->nr, 'w');
	else if (c->what == ZERO)
		c->result = bcf_zero(c->d, c->from * SECTOR_BYTES, c->nr * SECTOR_BYTES);
	else
		c->result = bcf_zero(c->d, c->from * SECTOR_BYTES + 100, 300);
}

static void requests_in_flight(struct rig *r)
{
	struct bdev *d = make_volume(r, "64k");
	struct client c = { .d = d, .what = WRITE, .nr = 128 };

	assert_int_equal(bcf_dev_open(d), 0);
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .extra_ns = NS_PER_S, .count = 4 });
	c.fiber = fiber_spawn("client", client_main, &c);
	fiber_sleep_ns(NS_PER_MS);
	assert_true(d->count > 0);
	assert_int_equal(dev_ctl(r, d, "unregister", "force"), 0); /* waits for it: its keys belong to this owner */
	fiber_join(c.fiber);
	assert_int_equal(c.result, 128);
	wait_purged(r, d->inode);
	assert_int_equal(rig_sectors_in_index(r, d->inode), 0);
	assert_int_equal(r->c->flash_dirty_sectors, 0);
	bcf_dev_close(d);
}

static void a_removal_waits_for_requests_in_flight(void **state)
{
	rig_run(8, CACHE_MODE_WRITEBACK, requests_in_flight);
}

/* --- size ---------------------------------------------------------------------------------------------------------------- */

static void plant_behind(struct rig *r, struct bdev *d, uint64_t sector)
{
	uint64_t size = d->nr_sectors;

	d->nr_sectors = sector + 8; /* the kernel does not purge what a smaller size cuts off */
	assert_int_equal(put(d, sector, 8, 'k'), 8);
	d->nr_sectors = size;
}

static void smaller_and_larger(struct rig *r)
{
	struct bdev *d = make_volume(r, "1M");
	uint32_t slot = d->inode;

	assert_int_equal(put(d, 0, MIB_SECTORS, 'a'), MIB_SECTORS);
	assert_int_equal(bcf_dev_open(d), 0);
	assert_int_equal(dev_ctl(r, d, "size", "512k"), -EBUSY);
	assert_int_equal(dev_ctl(r, d, "size", "1M"), 0); /* nothing is cut off */
	bcf_dev_close(d);
	assert_int_equal(dev_ctl(r, d, "size", "4095"), -EINVAL);
	assert_int_equal(dev_ctl(r, d, "size", "0"), -EINVAL);
	assert_int_equal(dev_ctl(r, d, "size", "9E"), -EINVAL);
	assert_int_equal(d->nr_sectors, MIB_SECTORS);
	assert_int_equal(dev_ctl(r, d, "size", "513.1k"), 0); /* rounded down to blocks */
	assert_int_equal(d->nr_sectors, 1024);
	assert_int_equal(r->c->flash_dirty_sectors, 1024);
	assert_int_equal(rig_sectors_in_index(r, slot), 1024);
	assert_int_equal(get(d, 0, 1024), 'a');
	assert_int_equal(bcf_dev_open(d), 0);
	assert_int_equal(dev_ctl(r, d, "size", "2M"), 0); /* larger is fine while it is open */
	bcf_dev_close(d);
	assert_int_equal(get(d, 0, 1024), 'a');
	assert_int_equal(get(d, 1024, 3 * 1024), 0);
	restart(r);
	d = r->c->devices[slot];
	assert_int_equal(d->nr_sectors, 2 * MIB_SECTORS);
	assert_int_equal(get(d, 0, 1024), 'a');
	assert_int_equal(get(d, 1024, 3 * 1024), 0);
	rig_check(r);
}

static void what_a_smaller_size_cuts_off_does_not_come_back(void **state)
{
	rig_run(9, CACHE_MODE_WRITEBACK, smaller_and_larger);
}

static void left_by_the_kernel(struct rig *r)
{
	struct bdev *d = make_volume(r, "64k");

	assert_int_equal(put(d, 0, 128, 'a'), 128);
	plant_behind(r, d, 256);
	assert_int_equal(rig_sectors_in_index(r, d->inode), 136);
	assert_int_equal(dev_ctl(r, d, "size", "256k"), 0);
	assert_int_equal(get(d, 0, 128), 'a');
	assert_int_equal(get(d, 128, 384), 0);
	assert_int_equal(rig_sectors_in_index(r, d->inode), 128);
}

static void growing_does_not_show_what_the_kernel_left_behind_the_end(void **state)
{
	rig_run(10, CACHE_MODE_WRITEBACK, left_by_the_kernel);
}

/* All of them come while the size is being changed. No two that change anything meet in a block: whatever their order, the outcome is the same. */
static void waiting_requests(struct rig *r)
{
	static char buf[256 * SECTOR_BYTES];
	struct bdev *d = make_volume(r, "128k");
	struct client c[] = { { .what = READ, .from = 0, .nr = 256 },	 { .what = READ, .from = 200, .nr = 8 },
			      { .what = WRITE, .from = 64, .nr = 128 },	 { .what = WRITE, .from = 200, .nr = 8 },
			      { .what = WRITE, .from = 0, .nr = 8 },	 { .what = ZERO, .from = 64, .nr = 192 },
			      { .what = ZERO, .from = 129, .nr = 100 },	 { .what = SHORT_ZERO, .from = 200 },
			      { .what = SHORT_ZERO, .from = 56 } };
	static const int64_t want[] = { 128 * SECTOR_BYTES, 0, -ENOSPC, -ENOSPC, 8, 0, 0, 0, 0 };

	assert_int_equal(put(d, 0, 256, 'a'), 256);
	bdev_quiesce(d);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		c[i].d = d;
		c[i].buf = buf;
		c[i].fiber = fiber_spawn("client", client_main, &c[i]);
	}
	fiber_sleep_ns(NS_PER_MS);
	assert_int_equal(purge_range(r->c, d->inode, 128, BKEY_OFFSET_MAX, PURGE_ALL), 0);
	d->nr_sectors = 128;
	bdev_unquiesce(d);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		fiber_join(c[i].fiber);
		assert_int_equal(c[i].result, want[i]);
	}
	assert_int_equal(rig_sectors_in_index(r, d->inode), 64); /* nothing behind the end, and half of what is left was zeroed */
	assert_int_equal(get(d, 0, 8), 'w');
	assert_int_equal(get(d, 8, 48), 'a');
	assert_int_equal(get(d, 57, 7), 'a');
	assert_int_equal(get(d, 64, 64), 0);
	assert_int_equal(bcf_read(d, buf, SECTOR_BYTES, 56 * SECTOR_BYTES, NULL), SECTOR_BYTES);
	for (size_t i = 0; i < SECTOR_BYTES; i++)
		assert_int_equal(buf[i], i >= 100 && i < 400 ? 0 : 'a');
}

static void requests_that_waited_for_a_resize_obey_the_new_size(void **state)
{
	for (uint64_t seed = 11; seed < 19; seed++) /* in different orders */
		rig_run(seed, CACHE_MODE_WRITEBACK, waiting_requests);
}

static void while_the_process_ends(struct rig *r)
{
	struct bdev *d = make_volume(r, "1M");

	for (uint64_t at = 0; at < MIB_SECTORS; at += 8)
		assert_int_equal(put(d, at, 8, (char)(at / 8 % 100 + 1)), 8);
	r->bcf->stopping = true;
	assert_int_equal(volume_resize(d, KIB(64), NULL), -EINTR);
	r->bcf->stopping = false;
	assert_int_equal(d->nr_sectors, MIB_SECTORS); /* as before, and what was purged of the tail already is zeros */
	assert_int_equal(r->c->uuids[d->inode].sectors, MIB_SECTORS);
	for (uint64_t at = 0; at < 128; at += 8)
		assert_int_equal(get(d, at, 8), at / 8 % 100 + 1);
	assert_int_equal(dev_ctl(r, d, "size", "64k"), 0);
	rig_check(r);
}

static void a_purge_does_not_hold_up_the_end_of_the_process(void **state)
{
	rig_run(15, CACHE_MODE_WRITEBACK, while_the_process_ends);
}

/* --- failures ------------------------------------------------------------------------------------------------------------ */

static void no_table(struct rig *r)
{
	struct bdev *d = make_volume(r, "64k");

	assert_int_equal(put(d, 0, 8, 'a'), 8);
	assert_int_equal(bcf_flush(d), 0);
	fiber_sleep_ns(60 * NS_PER_S);
	rig_fail(r->cache, BLK_SIM_OP(BIO_WRITE), 0);
	assert_true(set_ctl(r, "flash_vol_create", "64k") < 0);
	assert_true(r->c->io_disable);
	assert_int_equal(volume_resize(d, KIB(128), NULL), -EROFS);
	assert_int_equal(volume_remove(d, false, NULL), -EROFS);
	assert_int_equal(put(d, 0, 8, 'b'), -EIO);
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	blk_sim_clear_faults(r->cache);
}

static void a_table_that_cannot_be_written_fails_the_set(void **state)
{
	rig_run(12, CACHE_MODE_WRITEBACK, no_table);
}

static void remove_without_table(struct rig *r)
{
	struct bdev *d = make_volume(r, "64k");
	uint32_t slot = d->inode;

	assert_int_equal(put(d, 0, 8, 'a'), 8);
	assert_int_equal(bcf_flush(d), 0);
	rig_fail(r->cache, BLK_SIM_OP(BIO_WRITE), 0);
	assert_true(dev_ctl(r, d, "unregister", "1") < 0);
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	blk_sim_clear_faults(r->cache);
	assert_int_equal(bcf_register(r->bcf, "/sim/cache", false, NULL), 0);
	r->c = list_first(&r->bcf->csets, struct cset, link);
	assert_int_equal(get(r->c->devices[slot], 0, 8), 'a'); /* it was not removed, and nothing of it is lost */
}

static void a_removal_that_fails_leaves_the_volume_for_the_next_start(void **state)
{
	rig_run(13, CACHE_MODE_WRITEBACK, remove_without_table);
}

/* --- a full cache -------------------------------------------------------------------------------------------------------- */

struct filler {
	struct bdev *d;
	uint64_t nr; /* sectors written */
	int64_t result;
	struct fiber *fiber;
};

static void fill_up(void *arg)
{
	struct filler *f = arg;

	for (f->result = 0; f->result >= 0; f->nr += 256)
		f->result = put(f->d, f->nr, 256, 'f');
}

/* A volume of more than the cache holds. Its writer hangs when this returns, and as long as nobody frees anything. */
static FIBER_FN struct bdev *full_volume(struct rig *r, struct filler *f)
{
	struct bdev *d = make_volume(r, "64M");

	r->c->alloc.invalidate_needs_gc = false;
	*f = (struct filler){ .d = d };
	f->fiber = fiber_spawn("filler", fill_up, f);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_true(d->count == 1 && f->result == 256);
	return d;
}

static void remove_full(struct rig *r)
{
	struct filler f;
	struct bdev *d = full_volume(r, &f);
	uint32_t slot = d->inode;

	assert_int_equal(bcf_dev_open(d), 0);
	assert_int_equal(dev_ctl(r, d, "unregister", "force"), 0);
	fiber_join(f.fiber);
	assert_int_equal(f.result, -EIO);
	bcf_dev_close(d);
	wait_purged(r, slot);
	d = make_volume(r, "1M");
	assert_int_equal(put(d, 0, MIB_SECTORS, 'n'), MIB_SECTORS);
	rig_check(r);
}

static void a_full_volume_whose_writer_waits_can_be_removed(void **state)
{
	rig_run(15, CACHE_MODE_WRITEBACK, remove_full);
}

static void resize_full(struct rig *r)
{
	struct filler f;
	struct bdev *d = full_volume(r, &f);

	assert_int_equal(dev_ctl(r, d, "size", "128M"), 0);
	fiber_join(f.fiber);
	assert_int_equal(f.result, -EIO);
	assert_int_equal(get(d, 0, f.nr - 256), 'f');
	rig_check(r);
}

static void a_full_volume_whose_writer_waits_can_be_resized(void **state)
{
	rig_run(16, CACHE_MODE_WRITEBACK, resize_full);
}

static void stop_full(struct rig *r)
{
	uint64_t begin_ns;
	struct filler f;
	struct bdev *d = full_volume(r, &f);
	uint32_t slot = d->inode;

	begin_ns = engine_now_ns();
	restart(r);
	assert_true(engine_now_ns() - begin_ns < 10 * NS_PER_S); /* sooner than the end of the process gives up */
	fiber_join(f.fiber);
	assert_int_equal(f.result, -EIO);
	assert_int_equal(get(r->c->devices[slot], 0, f.nr - 256), 'f');
}

static void a_set_whose_volume_is_full_can_be_stopped(void **state)
{
	rig_run(17, CACHE_MODE_WRITEBACK, stop_full);
}

/* --- counting ------------------------------------------------------------------------------------------------------------ */

static void scribble(void *arg)
{
	struct filler *f = arg;

	for (; f->nr < 4 * MIB_SECTORS; f->nr += 8)
		assert_int_equal(put(f->d, f->nr * 37 % (4 * MIB_SECTORS), 8, 'x'), 8);
}

static void count_while_writing(struct rig *r)
{
	struct filler f = { .d = make_volume(r, "4M") };
	uint32_t slot = f.d->inode;

	f.fiber = fiber_spawn("scribble", scribble, &f);
	while (f.nr < 4 * MIB_SECTORS) {
		assert_int_equal(set_ctl(r, "gc_wait", "1"), 0);
		assert_int_equal(r->c->slots[slot].dirty_sectors, f.d->writeback.dirty_sectors);
	}
	fiber_join(f.fiber);
	assert_int_equal(dev_ctl(r, f.d, "unregister", "1"), 0);
	wait_purged(r, slot);
	assert_int_equal(slots_all_dirty_sectors(r->c), 0);
}

static void what_is_written_during_gc_is_counted(void **state)
{
	rig_run(18, CACHE_MODE_WRITEBACK, count_while_writing);
}

/* --- the end ------------------------------------------------------------------------------------------------------------- */

struct registration {
	struct rig *r;
	int result;
};

static void register_late(void *arg)
{
	struct registration *g = arg;

	g->result = bcf_register(g->r->bcf, "/sim/backing", false, NULL);
}

static void while_stopping(struct rig *r)
{
	struct registration g = { .r = r };
	struct fiber *f;

	fmutex_lock(&r->bcf->admin);
	f = fiber_spawn("registration", register_late, &g);
	fiber_sleep_ns(NS_PER_MS);
	r->bcf->stopping = true;
	fmutex_unlock(&r->bcf->admin);
	fiber_join(f);
	assert_int_equal(g.result, -ESHUTDOWN);
	r->bcf->stopping = false;
}

static void a_registration_that_waited_until_the_end_is_refused(void **state)
{
	rig_run(14, CACHE_MODE_WRITEBACK, while_stopping);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_is_empty_at_first_and_comes_back_after_a_restart),
		cmocka_unit_test(a_size_is_checked_before_anything_is_written),
		cmocka_unit_test(when_all_slots_are_taken_a_volume_is_refused),
		cmocka_unit_test(a_bad_slot_does_not_keep_other_volumes_from_starting),
		cmocka_unit_test(a_new_volume_never_shows_data_of_a_removed_one),
		cmocka_unit_test(a_volume_removed_while_open_has_nothing_to_do_with_its_slots_next_owner),
		cmocka_unit_test(a_removed_volume_that_is_open_does_not_keep_its_set),
		cmocka_unit_test(a_removal_waits_for_requests_in_flight),
		cmocka_unit_test(what_a_smaller_size_cuts_off_does_not_come_back),
		cmocka_unit_test(growing_does_not_show_what_the_kernel_left_behind_the_end),
		cmocka_unit_test(requests_that_waited_for_a_resize_obey_the_new_size),
		cmocka_unit_test(a_purge_does_not_hold_up_the_end_of_the_process),
		cmocka_unit_test(a_table_that_cannot_be_written_fails_the_set),
		cmocka_unit_test(a_removal_that_fails_leaves_the_volume_for_the_next_start),
		cmocka_unit_test(a_full_volume_whose_writer_waits_can_be_removed),
		cmocka_unit_test(a_full_volume_whose_writer_waits_can_be_resized),
		cmocka_unit_test(a_set_whose_volume_is_full_can_be_stopped),
		cmocka_unit_test(what_is_written_during_gc_is_counted),
		cmocka_unit_test(a_registration_that_waited_until_the_end_is_refused),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
