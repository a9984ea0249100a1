/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/set/volume.h"

#include "core/admin/digest.h"
#include "core/admin/log.h"
#include "core/set/instance.h"

/* The volume's data is counted, and it gets its data file. The set may fail and stop it meanwhile. */
static int start(struct bdev *d)
{
	int r;

	bdev_hold(d);
	r = writeback_start(d);
	if (!r)
		r = bdev_run(d);
	bdev_release(d);
	return r;
}

void volumes_start(struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++) {
		struct bdev *d;
		int r;

		if (uuid_entry_state(&c->uuids[slot]) != UUID_SLOT_FLASH || c->devices[slot])
			continue;
		r = bdev_new_flash(c, slot, &d);
		if (!r)
			r = start(d);
		if (r < 0)
			log_warn("cache set %s: cannot start the flash-only volume in slot %u (%llu sectors): %s", c->uuid_text, slot,
				 (unsigned long long)c->uuids[slot].sectors, strerror(-r));
	}
}

/* --- sizes --------------------------------------------------------------------------------------------------------------- */

static int size_in_sectors(const struct cset *c, uint64_t bytes, uint64_t *ret_sectors, struct printbuf *why)
{
	uint64_t sectors = round_down_u64(bytes / SECTOR_BYTES, c->g.block_sectors);

	if (!sectors) {
		pr(why, "a volume has at least one block, which is %u bytes here", c->g.block_sectors * SECTOR_BYTES);
		return -EINVAL;
	}
	if (sectors > VOLUME_SECTORS_MAX) {
		pr(why, "a volume has at most %llu bytes", (unsigned long long)VOLUME_SECTORS_MAX * SECTOR_BYTES);
		return -EINVAL;
	}
	*ret_sectors = sectors;
	return 0;
}

static int still_open(const struct bdev *d, const char *what, struct printbuf *why)
{
	if (!d->opens)
		return 0;
	pr(why, "%s is open (%u times): %s", d->name, d->opens, what);
	return -EBUSY;
}

/* Nobody reads or writes it. */
static int resize_quiet(struct bdev *d, uint64_t sectors, struct printbuf *why)
{
	struct cset *c = d->set;
	int r = 0;

	if (sectors < d->nr_sectors)
		r = still_open(d, "close it, then make it smaller", why);
	if (!r)
		r = purge_range(c, d->inode, min(sectors, d->nr_sectors), BKEY_OFFSET_MAX, PURGE_ALL);
	if (r < 0)
		return r;
	c->uuids[d->inode].sectors = sectors;
	r = uuid_table_write(c);
	if (r < 0)
		return r;
	log_info("%s (slot %u of cache set %s) has %llu sectors now, %llu before", d->name, d->inode, c->uuid_text, (unsigned long long)sectors,
		 (unsigned long long)d->nr_sectors);
	d->nr_sectors = sectors;
	return 0;
}

/* A failed set says nothing of its own accord: the caller's errno alone would not tell why. */
static int set_failed(const struct cset *c, struct printbuf *why)
{
	if (!c->io_disable)
		return 0;
	pr(why, "cache set %s has failed: %s", c->uuid_text, c->error);
	return -EROFS;
}

int volume_resize(struct bdev *d, uint64_t bytes, struct printbuf *why)
{
	struct cset *c = d->set;
	struct range all;
	uint64_t sectors;
	int r = size_in_sectors(c, bytes, &sectors, why);

	if (!r)
		r = set_failed(c, why);
	if (!r && sectors < d->nr_sectors)
		r = still_open(d, "close it, then make it smaller", why);
	if (r < 0)
		return r;
	cset_hold(c);
	bdev_quiesce(d);
	range_acquire(&d->ranges, &all, 0, UINT64_MAX); /* a swap that goes on would meet the purge */
	r = resize_quiet(d, sectors, why);
	range_release(&d->ranges, &all);
	bdev_unquiesce(d);
	bcf_devices_changed(d->bcf);
	cset_release(c);
	return r;
}

/* --- create -------------------------------------------------------------------------------------------------------------- */

static int may_create(const struct cset *c, struct printbuf *why)
{
	if (c->state == CSET_STARTING) {
		pr(why, "cache set %s is not running yet", c->uuid_text);
		return -EPERM;
	}
	if (c->state == CSET_STOPPING) {
		pr(why, "cache set %s is stopping", c->uuid_text);
		return -EINTR;
	}
	return 0;
}

/* In memory, and in the set: a slot that is free of keys. */
static int fill_in(struct cset *c, uint32_t slot, const uint8_t uuid[16], uint64_t sectors, struct bdev **ret)
{
	static const char no_label[LABEL_BYTES];
	int r;

	slot_fill(c, slot, uuid, no_label, sectors);
	r = bdev_new_flash(c, slot, ret);
	if (r < 0)
		memset(&c->uuids[slot], 0, sizeof(c->uuids[slot]));
	return r;
}

int volume_create(struct cset *c, uint64_t bytes, struct printbuf *why)
{
	uint8_t uuid[16];
	uint64_t sectors;
	struct bdev *d;
	int slot, r = size_in_sectors(c, bytes, &sectors, why);

	if (!r)
		r = may_create(c, why);
	if (!r)
		r = uuid_random(uuid);
	if (r < 0)
		return r;
	slot = slot_take(c, why);
	if (slot < 0)
		return slot;
	r = fill_in(c, (uint32_t)slot, uuid, sectors, &d);
	if (r < 0)
		return r;
	bdev_hold(d);
	r = uuid_table_write(c); /* a failure has failed the set, which stops its devices */
	if (!r) {
		log_info("cache set %s: new flash-only volume %s in slot %d", c->uuid_text, d->name, slot);
		r = start(d);
	}
	bdev_release(d);
	return r;
}

/* --- remove -------------------------------------------------------------------------------------------------------------- */

/* Whatever is still in flight of it after this has nothing to do with the set. */
static void leave_set(struct bdev *d)
{
	struct cset *c = d->set;

	c->devices[d->inode] = NULL;
	c->flash_dirty_sectors -= d->writeback.dirty_sectors; /* what the purge deletes is not counted there any more */
	d->set = NULL;
}

int volume_remove(struct bdev *d, bool force, struct printbuf *why)
{
	struct cset *c = d->set;
	uint32_t slot = d->inode;
	struct range all;
	int r = set_failed(c, why);

	if (!r && !force)
		r = still_open(d, "close it, or write \"force\"", why);
	if (r < 0)
		return r;
	cset_hold(c);
	d->running = false;
	d->io_disable = true;
	bdev_quiesce(d);
	range_acquire(&d->ranges, &all, 0, UINT64_MAX); /* a swap that goes on would meet the purge of the slot */
	slot_invalidate(c, slot, true);
	r = uuid_table_write(c);
	leave_set(d);
	range_release(&d->ranges, &all);
	if (!r)
		slot_left(c, slot);
	log_info("cache set %s: flash-only volume %s in slot %u is %s", c->uuid_text, d->name, slot, r < 0 ? "given up" : "removed");
	bdev_stop(d);
	bdev_unquiesce(d);
	cset_release(c);
	return r;
}
