/* SPDX-License-Identifier: GPL-2.0-only */
/* Dirty data of devices that are not there: forgotten, or taken back (behaviour.md T-9, W-7, control-files.md §10.6). */
#include "core/admin/log.h"
#include "core/btree/btree.h"
#include "core/request/insert.h"
#include "core/set/orphan.h"
#include "tests/unit/core/test_core_rig.h"
#include "tests/unit/core/unit.h"

/* --- what bodies do ------------------------------------------------------------------------------------------------------ */

static FIBER_FN int set_ctl(struct rig *r, const char *file, const char *fmt, uint32_t slot)
{
	char path[BCF_CTL_PATH_BYTES], text[100];

	snprintf(path, sizeof(path), "%s/%s", r->c->uuid_text, file);
	snprintf(text, sizeof(text), fmt, slot);
	return bcf_ctl_store(r->bcf, path, text, strlen(text));
}

static FIBER_FN int dev_ctl(struct rig *r, const char *file, const char *fmt, uint32_t slot)
{
	char path[BCF_CTL_PATH_BYTES], text[100];

	snprintf(path, sizeof(path), "dev0/%s", file);
	snprintf(text, sizeof(text), fmt, slot);
	return bcf_ctl_store(r->bcf, path, text, strlen(text));
}

#define says(r, text) assert_non_null(strstr((r)->bcf->last_error, text))

static FIBER_FN void add(struct rig *r, const char *path)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	if (bcf_register(r->bcf, path, false, &why))
		fail_msg("%s", text);
	r->c = list_empty(&r->bcf->csets) ? NULL : list_first(&r->bcf->csets, struct cset, link);
	r->d = list_empty(&r->bcf->bdevs) ? NULL : list_first(&r->bcf->bdevs, struct bdev, link);
}

static FIBER_FN void stop_device(struct rig *r)
{
	bdev_stop(r->d);
	while (!list_empty(&r->bcf->bdevs))
		fiber_sleep_ns(NS_PER_MS);
	r->d = NULL;
}

static FIBER_FN void stop_set(struct rig *r)
{
	cset_stop(r->c, false);
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	r->c = NULL;
	r->d = NULL;
}

static FIBER_FN void detach(struct rig *r)
{
	bdev_detach(r->d);
	while (r->d->set)
		fiber_sleep_ns(NS_PER_MS);
}

static FIBER_FN void wait_for(struct rig *r, uint32_t slot, enum slot_keys keys)
{
	for (unsigned i = 0; r->c->slots[slot].keys != keys; i++) {
		assert_true(i < 100000);
		fiber_sleep_ns(NS_PER_MS);
	}
}

/* A dirty page at 0, and a clean one at 64. Returns the device's slot. */
static FIBER_FN uint32_t fill(struct rig *r)
{
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	assert_int_equal(rig_write(r, 64, 8, 'c'), 8);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEBACK), 0);
	r->d->writeback.running = false;
	assert_int_equal(rig_write(r, 0, 8, 'd'), 8);
	assert_int_equal(r->d->writeback.dirty_sectors, 8);
	return r->d->inode;
}

/* The device is used without its cache for a while, and then with it again. Its dirty data is in the slot that this returns. */
static FIBER_FN uint32_t run_without_cache(struct rig *r)
{
	uint32_t slot = fill(r);

	stop_set(r);
	add(r, "/sim/backing");
	assert_false(r->d->running);
	assert_int_equal(dev_ctl(r, "running", "1", 0), 0);
	assert_int_equal(rig_write(r, 64, 8, 'n'), 8);
	add(r, "/sim/cache");
	assert_true(r->d->set && r->d->inode != slot);
	wait_for(r, slot, SLOT_KEPT);
	assert_int_equal(rig_read(r, 0, 8), 0);
	return slot;
}

/* --- forget -------------------------------------------------------------------------------------------------------------- */

static void forget_absent(struct rig *r)
{
	uint32_t slot = fill(r);

	assert_int_equal(set_ctl(r, "forget", "slot:%u discard-dirty", slot), -EBUSY);
	says(r, "the device is here");
	stop_device(r);
	assert_int_equal(set_ctl(r, "forget", "03000000-0000-0000-0000-000000000000", 0), -ENOTEMPTY);
	says(r, "4096 bytes that are nowhere else");
	assert_int_equal(rig_sectors_in_index(r, slot), 16);
	assert_int_equal(set_ctl(r, "forget", "03000000-0000-0000-0000-000000000000 discard-dirty", 0), 0);
	assert_int_equal(rig_sectors_in_index(r, slot), 0);
	assert_int_equal(r->c->slots[slot].keys, SLOT_PURGED);
	assert_int_equal(slots_all_dirty_sectors(r->c), 0);
	assert_int_equal(gc_run(r->c), 0);
	for (uint32_t b = r->c->g.first_bucket; b < r->c->g.nr_buckets; b++)
		assert_true(r->c->alloc.buckets[b].mark != MARK_DIRTY || r->c->alloc.buckets[b].pin); /* all but open ones can be used again */
	assert_int_equal(set_ctl(r, "forget", "slot:%u", slot), -ENOENT);
	assert_int_equal(set_ctl(r, "forget", "03000000-0000-0000-0000-000000000000", 0), -ENOENT);
	add(r, "/sim/backing"); /* it claims dirty data that is not there any more */
	assert_false(r->d->set || r->d->running);
	assert_int_equal(dev_ctl(r, "attach", r->c->uuid_text, 0), -ENOENT);
	assert_int_equal(dev_ctl(r, "running", "1", 0), 0);
	assert_int_equal(dev_ctl(r, "attach", r->c->uuid_text, 0), 0);
	assert_int_equal(rig_read(r, 64, 8), 'c');
	rig_check(r);
}

static void dirty_data_of_an_absent_device_is_given_up_only_on_request(void **state)
{
	rig_run(1, CACHE_MODE_WRITEBACK, forget_absent);
}

/* A table with the uuid of a device in two slots is not ours. The set takes the first one for it; the other can be forgotten. */
static void forget_duplicate(struct rig *r)
{
	uint32_t slot = fill(r), other = slot + 1;

	r->c->uuids[other] = r->c->uuids[slot];
	assert_int_equal(set_ctl(r, "forget", "slot:%u", other), 0);
	assert_int_equal(set_ctl(r, "forget", "slot:%u", slot), -EBUSY);
	stop_set(r);
	add(r, "/sim/cache");
	add(r, "/sim/backing");
	assert_int_equal(r->d->inode, slot);
	assert_int_equal(rig_read(r, 0, 8), 'd');
	rig_check(r);
}

static void of_two_slots_with_one_uuid_the_one_without_device_can_be_forgotten(void **state)
{
	rig_run(12, CACHE_MODE_WRITEBACK, forget_duplicate);
}

/* Dirty keys outside of the device: it has become smaller, or the index is somebody's work. Written back they would fail, or hit its superblock. */
static void attach_of_another_size(struct rig *r)
{
	uint32_t slot = fill(r);
	uint64_t nr_sectors = r->d->nr_sectors, data_offset = r->d->data_offset;

	stop_set(r);
	add(r, "/sim/backing");
	r->d->nr_sectors = 7;
	add(r, "/sim/cache");
	assert_false(r->d->set || r->d->running);
	assert_int_equal(dev_ctl(r, "attach", r->c->uuid_text, 0), -EINVAL);
	says(r, "behind the end of '/sim/backing'");
	r->d->nr_sectors = nr_sectors;
	r->d->data_offset = data_offset + 1;
	assert_int_equal(dev_ctl(r, "attach", r->c->uuid_text, 0), -EINVAL);
	says(r, "before the beginning of '/sim/backing'");
	r->d->data_offset = data_offset;
	assert_int_equal(dev_ctl(r, "attach", r->c->uuid_text, 0), 0);
	assert_int_equal(r->d->inode, slot);
	assert_int_equal(rig_read(r, 0, 8), 'd');
	rig_check(r);
}

static void a_device_that_its_dirty_data_does_not_fit_is_not_attached(void **state)
{
	rig_run(1, CACHE_MODE_WRITEBACK, attach_of_another_size);
}

static void forget_clean(struct rig *r)
{
	uint32_t slot = r->d->inode;

	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	assert_int_equal(rig_write(r, 0, 64, 'c'), 64);
	stop_device(r);
	assert_int_equal(set_ctl(r, "forget", "slot:%u", slot), 0);
	assert_int_equal(rig_sectors_in_index(r, slot), 0);
	assert_int_equal(set_ctl(r, "forget", "slot:%u", r->c->g.nr_uuids), -ENOENT);
	add(r, "/sim/backing"); /* it was clean: it gets a new slot */
	assert_true(r->d->set && r->d->running);
	assert_int_equal(rig_read(r, 0, 64), 'c');
	rig_check(r);
}

static void clean_data_of_an_absent_device_is_forgotten_without_further_words(void **state)
{
	rig_run(2, CACHE_MODE_WRITEBACK, forget_clean);
}

static void forget_kept(struct rig *r)
{
	uint32_t slot = run_without_cache(r);

	assert_int_equal(set_ctl(r, "forget", "slot:%u", slot), -ENOTEMPTY);
	assert_int_equal(set_ctl(r, "forget", "slot:%u discard-dirty", slot), 0);
	assert_int_equal(rig_sectors_in_index(r, slot), 0);
	assert_int_equal(rig_read(r, 0, 8), 0);
	assert_int_equal(rig_read(r, 64, 8), 'n');
	stop_set(r);
	add(r, "/sim/backing");
	add(r, "/sim/cache");
	assert_int_equal(r->d->inode != slot || rig_sectors_in_index(r, slot) == 0, true);
	assert_int_equal(dev_ctl(r, "readopt", "%u", slot), -EBUSY);
	rig_check(r);
}

static void what_was_left_behind_by_running_without_cache_can_be_forgotten(void **state)
{
	rig_run(3, CACHE_MODE_WRITEBACK, forget_kept);
}

static void forget_others(struct rig *r)
{
	static const char label[LABEL_BYTES] = "vol";
	uint32_t bad;

	assert_int_equal(set_ctl(r, "flash_vol_create", "64k", 0), 0);
	for (bad = 0; !r->c->devices[bad] || !bdev_is_flash(r->c->devices[bad]); bad++)
		;
	assert_int_equal(set_ctl(r, "forget", "slot:%u discard-dirty", bad), -EINVAL);
	says(r, "unregister");
	bad = r->c->g.nr_uuids - 1;
	slot_fill(r->c, bad, (uint8_t[16]){ 7 }, label, 1); /* one that cannot be started has no `unregister` */
	r->c->uuids[bad].sectors = 0;
	assert_int_equal(set_ctl(r, "forget", "slot:%u", bad), 0);
	slot_fill(r->c, bad, (uint8_t[16]){ 8 }, label, 0);
	r->c->state = CSET_STOPPING;
	assert_int_equal(slot_forget(r->c, bad, true, NULL), -EINTR);
	r->c->state = CSET_RUNNING;
	rig_fail(r->cache, BLK_SIM_OP(BIO_WRITE), 0);
	assert_true(slot_forget(r->c, bad, true, NULL) < 0);
	assert_int_equal(slot_forget(r->c, bad - 1, true, NULL), -ENOENT);
	r->c->uuids[bad].flags = 0;
	memset(r->c->uuids[bad].uuid, 9, 16);
	assert_int_equal(slot_forget(r->c, bad, true, NULL), -EROFS);
}

static void volumes_are_not_forgotten_unless_they_cannot_be_started(void **state)
{
	rig_run(4, CACHE_MODE_WRITEBACK, forget_others);
}

/* --- readopt ------------------------------------------------------------------------------------------------------------- */

static void take_back(struct rig *r)
{
	uint32_t slot = run_without_cache(r);

	assert_int_equal(dev_ctl(r, "readopt", "%u", slot), -EBUSY);
	says(r, "detach it first");
	detach(r);
	assert_int_equal(bcf_dev_open(r->d), 0);
	assert_int_equal(dev_ctl(r, "readopt", "%u", slot), -EBUSY);
	says(r, "is open");
	bcf_dev_close(r->d);
	assert_int_equal(dev_ctl(r, "readopt", "%u\n", slot), 0);
	assert_true(r->d->set == r->c && r->d->inode == slot && r->d->running);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_DIRTY);
	assert_int_equal(r->d->writeback.dirty_sectors, 8);
	assert_int_equal(rig_read(r, 0, 8), 'd');
	assert_int_equal(rig_read(r, 64, 8), 'n'); /* and not what was cached before */
	stop_set(r);
	add(r, "/sim/backing");
	add(r, "/sim/cache");
	assert_int_equal(r->d->inode, slot);
	assert_int_equal(rig_read(r, 0, 8), 'd');
	r->d->writeback.running = true;
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(rig_backing(r, 0, 8, true), 'd');
	rig_check(r);
}

static void a_device_takes_back_its_dirty_data_and_no_outdated_clean_data(void **state)
{
	rig_run(5, CACHE_MODE_WRITEBACK, take_back);
}

struct readopt {
	struct rig *r;
	uint32_t slot;
	int result;
};

static FIBER_FN void readopt(void *arg)
{
	struct readopt *o = arg;

	o->result = dev_ctl(o->r, "readopt", "%u", o->slot);
}

/* Somebody opens the device while the slot is looked at. */
static void opened_meanwhile(struct rig *r)
{
	struct readopt o = { .r = r, .slot = run_without_cache(r) };
	struct fiber *f;

	detach(r);
	fmutex_lock(&r->c->purge.lock);
	f = fiber_spawn("readopt", readopt, &o);
	fiber_sleep_ns(NS_PER_S);
	assert_int_equal(bcf_dev_open(r->d), 0);
	assert_int_equal(rig_read(r, 0, 8), 0);
	fmutex_unlock(&r->c->purge.lock);
	fiber_join(f);
	assert_int_equal(o.result, -EBUSY);
	says(r, "is open");
	assert_int_equal(rig_write(r, 0, 8, 'u'), 8);
	assert_int_equal(rig_read(r, 0, 8), 'u');
	assert_int_equal(bdev_state(r->d), BDEV_STATE_NONE);
	bcf_dev_close(r->d);
	readopt(&o);
	assert_int_equal(o.result, 0);
	assert_int_equal(rig_read(r, 0, 8), 'd');
}

static void a_device_opened_during_a_readopt_keeps_its_contents(void **state) { rig_run(10, CACHE_MODE_WRITEBACK, opened_meanwhile); }

/* It was run without the cache, and has not been attached since: the slot still has its name. */
static void take_back_known(struct rig *r)
{
	uint32_t slot = fill(r);

	stop_device(r);
	assert_int_equal(set_ctl(r, "stop", "1", 0), 0);
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	add(r, "/sim/backing");
	assert_int_equal(dev_ctl(r, "running", "1", 0), 0);
	assert_int_equal(rig_write(r, 64, 8, 'n'), 8);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_STALE);
	r->d->super->set_uuid[0] ^= 0xff; /* so that it does not join, and lose the slot, by itself */
	add(r, "/sim/cache");
	assert_false(r->d->set);
	assert_int_equal(dev_ctl(r, "readopt", "%u", slot + 1), -EINVAL);
	says(r, "readopt that");
	assert_int_equal(dev_ctl(r, "readopt", "%u", slot), 0);
	assert_int_equal(r->d->inode, slot);
	assert_int_equal(rig_read(r, 0, 8), 'd');
	assert_int_equal(rig_read(r, 64, 8), 'n');
	rig_check(r);
}

static void a_slot_that_still_has_the_devices_uuid_can_be_taken_back(void **state)
{
	rig_run(6, CACHE_MODE_WRITEBACK, take_back_known);
}

/* What a power cut leaves between the superblock and the table. */
static void cut_in_the_middle(struct rig *r)
{
	uint32_t slot = run_without_cache(r);

	detach(r);
	memcpy(r->d->super->set_uuid, r->c->super->set_uuid, 16);
	super_set_state(r->d->super, BDEV_STATE_DIRTY);
	assert_int_equal(bdev_write_super(r->d), 0);
	stop_device(r);
	stop_set(r);
	add(r, "/sim/backing");
	add(r, "/sim/cache");
	assert_false(r->d->set || r->d->running); /* refused, so nothing old is served */
	assert_int_equal(dev_ctl(r, "attach", r->c->uuid_text, 0), -ENOENT);
	assert_int_equal(dev_ctl(r, "readopt", "%u", slot), 0); /* also before the purger has looked at it */
	assert_int_equal(rig_read(r, 0, 8), 'd');
	assert_int_equal(rig_read(r, 64, 8), 'n');
	rig_check(r);
}

static void a_readopt_cut_in_the_middle_loses_nothing_and_can_be_repeated(void **state)
{
	rig_run(7, CACHE_MODE_WRITEBACK, cut_in_the_middle);
}

/* A dirty key that the device is too small for, or that lies on its superblock. */
static FIBER_FN void plant(struct rig *r, uint32_t inode, uint64_t sector)
{
	struct keylist keys;
	struct bkey_buf k;
	uint64_t seq;

	while (open_bucket_take(r->c, (bkey_init(&k.k, inode, sector, 0), &k.k), 8, 1, false, RESERVE_NONE) < 0)
		fiber_sleep_ns(NS_PER_MS);
	bkey_set_dirty(&k.k, true);
	ptr_bucket(r->c, k.k.ptr[0])->mark = MARK_DIRTY;
	keylist_init(&keys, KEYLIST_WORDS);
	keylist_push(&keys, &k.k);
	assert_int_equal(journal_append(r->c, &keys, &seq), 0);
	assert_int_equal(btree_insert(r->c, &keys, seq, NULL), 0);
	journal_release_keys(&r->c->journal, seq);
}

static FIBER_FN void kept_slot(struct rig *r, uint32_t slot, uint64_t sector)
{
	static const char label[LABEL_BYTES] = "x";

	slot_fill(r->c, slot, (uint8_t[16]){ 77 }, label, 0);
	plant(r, slot, sector);
	slot_invalidate(r->c, slot, false);
	slot_left(r->c, slot);
	wait_for(r, slot, SLOT_KEPT);
}

static void refused(struct rig *r)
{
	static const char label[LABEL_BYTES] = "x";

	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	detach(r);
	kept_slot(r, 4, 8);			      /* on the superblock */
	kept_slot(r, 5, 16 + RIG_DATA_SECTORS - 4);   /* across the end */
	kept_slot(r, 6, 16 + RIG_DATA_SECTORS - 8);   /* up to the end */
	slot_fill(r->c, 7, (uint8_t[16]){ 78 }, label, 0);
	slot_fill(r->c, 8, (uint8_t[16]){ 79 }, label, 8);
	slot_fill(r->c, 9, (uint8_t[16]){ 80 }, label, 0);
	slot_invalidate(r->c, 9, true);
	assert_int_equal(dev_ctl(r, "readopt", "%u", 4), -EINVAL);
	says(r, "before the beginning");
	assert_int_equal(dev_ctl(r, "readopt", "%u", 5), -EINVAL);
	says(r, "behind the end");
	assert_int_equal(dev_ctl(r, "readopt", "%u", 7), -EINVAL);
	says(r, "another device");
	assert_int_equal(dev_ctl(r, "readopt", "%u", 8), -EINVAL);
	assert_int_equal(dev_ctl(r, "readopt", "%u", 9), -ENOENT); /* given up */
	assert_int_equal(dev_ctl(r, "readopt", "%u", 10), -ENOENT); /* empty */
	assert_int_equal(dev_ctl(r, "readopt", "%u", 9999999), -ENOENT);
	r->d->super->block_sectors = 1;
	assert_int_equal(dev_ctl(r, "readopt", "%u", 6), -EINVAL);
	says(r, "blocks of 1 sectors");
	r->d->super->block_sectors = 8;
	super_set_state(r->d->super, BDEV_STATE_CLEAN);
	assert_int_equal(dev_ctl(r, "readopt", "%u", 6), -EINVAL);
	says(r, "clean");
	super_set_state(r->d->super, BDEV_STATE_NONE);
	r->c->state = CSET_STOPPING;
	assert_int_equal(bdev_readopt(r->d, r->c, 6, NULL), -EINTR);
	r->c->state = CSET_RUNNING;
	assert_int_equal(bdev_state(r->d), BDEV_STATE_NONE);
	rig_fail(r->backing, BLK_SIM_OP(BIO_WRITE), 1);
	assert_int_equal(dev_ctl(r, "readopt", "%u", 6), -EIO); /* its superblock cannot be written */
	assert_int_equal(bdev_state(r->d), BDEV_STATE_NONE);
	assert_false(r->d->set);
	assert_int_equal(dev_ctl(r, "readopt", "%u", 6), 0);
	assert_int_equal(r->d->writeback.dirty_sectors, 8);
}

static void a_readopt_that_does_not_fit_is_refused_with_the_reason(void **state)
{
	rig_run(8, CACHE_MODE_WRITEBACK, refused);
}

static void no_table(struct rig *r)
{
	uint32_t slot = run_without_cache(r);

	detach(r);
	rig_fail(r->cache, BLK_SIM_OP(BIO_WRITE), 0);
	assert_true(dev_ctl(r, "readopt", "%u", slot) < 0);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_NONE); /* it goes on without */
	assert_int_equal(rig_read(r, 64, 8), 'n');
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	blk_sim_clear_faults(r->cache);
	add(r, "/sim/cache");
	assert_int_equal(dev_ctl(r, "readopt", "%u", slot), 0);
	assert_int_equal(rig_read(r, 0, 8), 'd');
}

static void a_readopt_whose_set_fails_leaves_the_device_without_cache(void **state)
{
	rig_run(9, CACHE_MODE_WRITEBACK, no_table);
}

/* The table of a readopt is on its way; the next one is not going to arrive, and then the attach fails. */
static FIBER_FN void fail_the_attach(struct rig *r, uint64_t old_table)
{
	while (r->c->uuid_bucket.k.ptr[0] == old_table)
		fiber_sleep_ns(1000);
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .skip = 1, .error = -EIO });
}

/* The superblock says DIRTY, the table names the device, and nothing of that can be taken back. */
static void no_way_back(struct rig *r)
{
	struct readopt o = { .r = r, .slot = run_without_cache(r) };
	struct fiber *f;

	detach(r);
	assert_int_equal(rig_write(r, 0, 8, 'z'), 8);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .sector = SUPER_SECTOR, .nr_sectors = 8, .skip = 2,
							       .error = -EIO });
	f = fiber_spawn("readopt", readopt, &o);
	fail_the_attach(r, r->c->uuid_bucket.k.ptr[0]);
	fiber_join(f);
	assert_true(o.result < 0 && r->c->io_disable && !r->d->set);
	assert_int_equal(rig_write(r, 0, 8, 'y'), -EIO); /* the set would hide it at the next start */
	assert_int_equal(dev_ctl(r, "io_disable", "0", 0), -EIO);
	blk_sim_clear_faults(r->backing);
	blk_sim_clear_faults(r->cache);
	assert_int_equal(dev_ctl(r, "io_disable", "0", 0), 0);
	assert_int_equal(rig_write(r, 0, 8, 'y'), 8);
	assert_int_equal(bcf_flush(r->d), 0);
	stop_device(r);
	while (!list_empty(&r->bcf->csets))
		fiber_sleep_ns(NS_PER_MS);
	add(r, "/sim/cache");
	add(r, "/sim/backing");
	assert_int_equal(rig_read(r, 0, 8), 'y');
}

static void a_readopt_that_cannot_be_undone_disables_the_device(void **state) { rig_run(11, CACHE_MODE_WRITEBACK, no_way_back); }

static FIBER_FN void write_durably(void *arg)
{
	struct rig *r = arg;
	struct super on_disk;

	assert_int_equal(rig_write(r, 0, 8, 'y'), 8);
	assert_int_equal(bcf_flush(r->d), 0);
	blk_sim_peek_durable(r->backing, SUPER_SECTOR, &on_disk, sizeof(on_disk) / SECTOR_BYTES);
	assert_int_equal(super_state(&on_disk), BDEV_STATE_NONE); /* or a power cut now would bring back what the set has */
}

/* As above, but the claim can be taken back, which takes a while, and somebody waits to write. */
static void write_after_a_failure(struct rig *r)
{
	struct readopt o = { .r = r, .slot = run_without_cache(r) };
	struct fiber *f, *w;

	detach(r);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .sector = SUPER_SECTOR, .nr_sectors = 8, .skip = 2,
							       .extra_ns = NS_PER_S });
	f = fiber_spawn("readopt", readopt, &o);
	fail_the_attach(r, r->c->uuid_bucket.k.ptr[0]);
	w = fiber_spawn("writer", write_durably, r);
	fiber_join(f);
	fiber_join(w);
	assert_true(o.result < 0 && !r->d->set);
}

static void nobody_writes_before_the_claim_of_a_failed_readopt_is_taken_back(void **state)
{
	rig_run(12, CACHE_MODE_WRITEBACK, write_after_a_failure);
}

/* --- labels -------------------------------------------------------------------------------------------------------------- */

/* A name that could not be written is not remembered as written. */
static void label_again(struct rig *r)
{
	char super[SECTOR_BYTES];

	rig_fail(r->backing, BLK_SIM_OP(BIO_WRITE), 1);
	assert_int_equal(bdev_set_label(r->d, "mine", 4), -EIO);
	assert_int_equal(bdev_set_label(r->d, "mine", 4), 0);
	blk_sim_peek(r->backing, 8, super, 1);
	assert_memory_equal(super + 72, "mine", 5);
}

static void a_label_that_could_not_be_written_can_be_set_again(void **state) { rig_run(1, CACHE_MODE_WRITEBACK, label_again); }

/* --- the end of a set ---------------------------------------------------------------------------------------------------- */

static FIBER_FN void command_while_stopping(struct rig *r)
{
	static const char *const words[] = { "fifo", "lru" };
	char path[BCF_CTL_PATH_BYTES];
	unsigned refused = 0;

	fill(r);
	snprintf(path, sizeof(path), "%s/cache0/cache_replacement_policy", r->c->uuid_text);
	cset_stop(r->c, false);
	for (unsigned i = 0; !list_empty(&r->bcf->csets); i++) {
		int error = bcf_ctl_store(r->bcf, path, words[i % 2], strlen(words[i % 2]));

		if (error) /* it writes, and is still listed */
			assert_int_equal(error, -ENODEV);
		refused += error && !list_empty(&r->bcf->csets);
		fiber_sleep_ns(1000);
	}
	assert_true(refused);
}

/* Simulator seed 40160 --lies: it would have waited for its own write, and the set not for it. */
static void a_set_that_is_taken_apart_takes_no_command(void **state) { rig_run(1, CACHE_MODE_WRITEBACK, command_while_stopping); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dirty_data_of_an_absent_device_is_given_up_only_on_request),
		cmocka_unit_test(of_two_slots_with_one_uuid_the_one_without_device_can_be_forgotten),
		cmocka_unit_test(a_device_that_its_dirty_data_does_not_fit_is_not_attached),
		cmocka_unit_test(clean_data_of_an_absent_device_is_forgotten_without_further_words),
		cmocka_unit_test(what_was_left_behind_by_running_without_cache_can_be_forgotten),
		cmocka_unit_test(volumes_are_not_forgotten_unless_they_cannot_be_started),
		cmocka_unit_test(a_device_takes_back_its_dirty_data_and_no_outdated_clean_data),
		cmocka_unit_test(a_device_opened_during_a_readopt_keeps_its_contents),
		cmocka_unit_test(a_slot_that_still_has_the_devices_uuid_can_be_taken_back),
		cmocka_unit_test(a_readopt_cut_in_the_middle_loses_nothing_and_can_be_repeated),
		cmocka_unit_test(a_readopt_that_does_not_fit_is_refused_with_the_reason),
		cmocka_unit_test(a_readopt_whose_set_fails_leaves_the_device_without_cache),
		cmocka_unit_test(a_readopt_that_cannot_be_undone_disables_the_device),
		cmocka_unit_test(nobody_writes_before_the_claim_of_a_failed_readopt_is_taken_back),
		cmocka_unit_test(a_label_that_could_not_be_written_can_be_set_again),
		cmocka_unit_test(a_set_that_is_taken_apart_takes_no_command),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
