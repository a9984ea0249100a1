/* SPDX-License-Identifier: GPL-2.0-only */
/* Two backing devices with one uuid, as a copy of an image has it: a command reaches the one that it was written to, and one cannot take the other's data. */
#include "core/admin/ctl.h"
#include "core/admin/log.h"
#include "tests/unit/core/test_core_rig.h"
#include "tests/unit/core/unit.h"

static struct blk_sim *clone_disk;

static int open_clone(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	return strcmp(path, "/sim/clone") ? rig_open(b, path, ret, why) : blk_sim_open(clone_disk, false, ret);
}

/* A copy of the device from the time before it was cached. It is dev1. */
static FIBER_FN struct bdev *add_clone(struct rig *r)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	struct bdev *d;

	r->bcf->open_device = open_clone;
	if (bcf_register(r->bcf, "/sim/clone", false, &why))
		fail_msg("%s", text);
	d = bcf_dev_find(r->bcf, "dev1");
	assert_true(d && d != r->d && !d->set && !memcmp(d->super->uuid, r->d->super->uuid, 16));
	return d;
}

static FIBER_FN int ctl(struct rig *r, const char *path, const char *text) { return bcf_ctl_store(r->bcf, path, text, strlen(text)); }

static void run_with_clone(uint64_t seed, void (*body)(struct rig *r))
{
	struct super_format f = { .backing = true, .device_sectors = 16 + RIG_DATA_SECTORS, .block_sectors = 8, .uuid = { 3 } };

	clone_disk = rig_disk(&f, "/sim/clone");
	rig_run(seed, CACHE_MODE_WRITETHROUGH, body);
	blk_sim_free(clone_disk);
}

static void attach_one(struct rig *r)
{
	struct bdev *clone = add_clone(r);

	bdev_detach(r->d);
	while (r->d->set)
		fiber_sleep_ns(NS_PER_MS);
	assert_int_equal(ctl(r, "dev1/attach", r->c->uuid_text), 0);
	assert_true(clone->set == r->c && !r->d->set);
	assert_int_equal(ctl(r, "dev0/attach", r->c->uuid_text), -EINVAL);
	assert_non_null(strstr(r->bcf->last_error, "already attached"));
}

static void a_command_reaches_the_device_that_it_was_written_to(void **state) { run_with_clone(1, attach_one); }

static void readopt_anothers(struct rig *r)
{
	struct bdev *clone = add_clone(r);
	char slot[20];

	assert_int_equal(rig_write(r, 0, 64, 'c'), 64);
	snprintf(slot, sizeof(slot), "%u", r->d->inode);
	assert_int_equal(ctl(r, "dev1/readopt", slot), -EBUSY);
	assert_int_equal(rig_sectors_in_index(r, r->d->inode), 64);
	assert_true(!clone->set && super_state(clone->super) == BDEV_STATE_NONE);
	assert_int_equal(rig_read(r, 0, 64), 'c');
}

static void data_of_a_device_that_is_attached_cannot_be_readopted(void **state) { run_with_clone(2, readopt_anothers); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_reaches_the_device_that_it_was_written_to),
		cmocka_unit_test(data_of_a_device_that_is_attached_cannot_be_readopted),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
