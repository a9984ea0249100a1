/* SPDX-License-Identifier: GPL-2.0-only */
/* A backing device joins and leaves a cache set (behaviour.md §1.7, §1.8; format.md §12.4). */
#include <stdio.h>

#include "core/admin/log.h"
#include "core/set/instance.h"
#include "core/set/purge.h"

static uint64_t now_s32(void) { return engine_real_s() & UINT32_MAX; }

static bool uuid_attached(const struct cset *c, const uint8_t uuid[16])
{
	int slot = uuid_slot_find(c, uuid);

	return slot >= 0 && c->devices[slot];
}

static int may_attach(const struct bdev *d, const struct cset *c, bool explicit_set, struct printbuf *why)
{
	if (!explicit_set && memcmp(d->super->set_uuid, c->super->set_uuid, 16)) {
		pr(why, "'%s' belongs to another cache set", d->backing->path);
		return -ENOENT;
	}
	if (d->set || d->detaching) {
		pr(why, "'%s' is already attached", d->backing->path);
		return -EINVAL;
	}
	if (d->io_disable) {
		pr(why, "'%s' is disabled after I/O errors", d->backing->path);
		return -EIO;
	}
	if (c->state == CSET_STOPPING || c->io_disable || d->closing) {
		pr(why, "cache set %s is stopping", c->uuid_text);
		return -EINVAL;
	}
	if (d->super->block_sectors < c->g.block_sectors) {
		pr(why, "'%s' has blocks of %u sectors, smaller than the cache's %u", d->backing->path, d->super->block_sectors,
		   c->g.block_sectors);
		return -EINVAL;
	}
	if (uuid_attached(c, d->super->uuid)) {
		pr(why, "a device with the uuid of '%s' is already attached", d->backing->path);
		return -EINVAL;
	}
	return 0;
}

/* Its state speaks of the set that its superblock names. */
static bool state_is_of(const struct bdev *d, const struct cset *c) { return !memcmp(d->super->set_uuid, c->super->set_uuid, 16); }

int bdev_dirty_elsewhere(const struct bdev *d, const struct cset *c, struct printbuf *why)
{
	char text[37];
	struct printbuf uuid = PRINTBUF(text);

	if (super_state(d->super) != BDEV_STATE_DIRTY || state_is_of(d, c))
		return 0;
	pr_uuid(&uuid, d->super->set_uuid);
	pr(why, "'%s' has dirty data in another cache set, %s", d->backing->path, text);
	return -ENOENT;
}

/*
 * The slot that the set has for it, or -EEXIST: it needs a new one. *ret_outdated: what the set has was cached before the device was used without
 * it, alone or with another set, so it must not come back.
 */
static int known_slot(const struct bdev *d, const struct cset *c, int *ret_outdated, struct printbuf *why)
{
	enum bdev_state st = super_state(d->super);
	int slot = uuid_slot_find(c, d->super->uuid), r = bdev_dirty_elsewhere(d, c, why);

	*ret_outdated = -1;
	if (r < 0)
		return r;
	if (slot >= 0 && (st == BDEV_STATE_NONE || st == BDEV_STATE_STALE || !state_is_of(d, c))) {
		*ret_outdated = slot;
		return -EEXIST;
	}
	if (slot >= 0)
		return slot;
	if (st == BDEV_STATE_DIRTY) {
		pr(why, "'%s' has dirty data in a cache, but cache set %s does not know the device: not attached", d->backing->path,
		   c->uuid_text);
		return -ENOENT;
	}
	return -EEXIST;
}

/* A new inode number makes what is cached under the old one unreachable. Dirty data stays where it is. */
static int give_up_slot(struct bdev *d, struct cset *c, uint32_t slot)
{
	uint64_t dirty = slot_dirty_sectors(c, slot);
	int r;

	if (dirty)
		log_warn("cache set %s: '%s' was run without it: %llu bytes of its dirty data in slot %u are out of use, and kept", c->uuid_text,
			 d->backing->path, (unsigned long long)dirty * SECTOR_BYTES, slot);
	else
		log_info("cache set %s: what it holds of '%s' from before is given up", c->uuid_text, d->backing->path);
	slot_invalidate(c, slot, false);
	r = uuid_table_write(c);
	if (!r)
		slot_left(c, slot);
	return r;
}

/* A slot that is new to the device: table first, then the superblock that claims it. */
static int join_new_slot(struct bdev *d, struct cset *c, uint32_t slot)
{
	int r;

	slot_fill(c, slot, d->super->uuid, d->super->label, 0);
	r = uuid_table_write(c);
	if (r < 0)
		return r;
	memcpy(d->super->set_uuid, c->super->set_uuid, 16);
	super_set_state(d->super, BDEV_STATE_CLEAN);
	return bdev_write_super(d);
}

int bdev_keys_fit(const struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why)
{
	int before = purge_find_dirty(c, slot, 0, d->data_offset);
	int behind = before ? 0 : purge_find_dirty(c, slot, d->data_offset + d->nr_sectors, BKEY_OFFSET_MAX);

	if (before > 0 || behind > 0)
		pr(why, "slot %u of cache set %s holds dirty data %s '%s': it is of another device, or this one has become smaller", slot,
		   c->uuid_text, before > 0 ? "before the beginning of" : "behind the end of", d->backing->path);
	return before < 0 ? before : behind < 0 ? behind : before || behind ? -EINVAL : 0;
}

/* On disk. Returns the slot. */
static int join_on_disk(struct bdev *d, struct cset *c, struct printbuf *why)
{
	int outdated, slot = known_slot(d, c, &outdated, why), r = 0;

	if (slot >= 0) {
		r = bdev_keys_fit(d, c, (uint32_t)slot, why);
		if (r < 0)
			return r;
		c->uuids[slot].last_reg = (uint32_t)now_s32();
		r = uuid_table_write(c);
		return r < 0 ? r : slot;
	}
	if (slot != -EEXIST)
		return slot;
	if (outdated >= 0)
		r = give_up_slot(d, c, (uint32_t)outdated);
	if (!r)
		slot = slot_take(c, why);
	if (!r && slot >= 0)
		r = join_new_slot(d, c, (uint32_t)slot);
	return r < 0 ? r : slot;
}

static int join(struct bdev *d, struct cset *c, struct printbuf *why)
{
	int slot = join_on_disk(d, c, why), r;

	if (slot < 0) {
		if (!why || !why->len_bytes)
			pr(why, "cannot attach '%s': %s", d->backing->path, c->error[0] ? c->error : strerror(-slot));
		return slot;
	}
	d->inode = (uint32_t)slot;
	d->set = c;
	c->devices[slot] = d;
	r = writeback_start(d);
	if (r < 0) {
		pr(why, "cannot attach '%s': counting its dirty data failed: %s", d->backing->path, c->error[0] ? c->error : strerror(-r));
		c->devices[slot] = NULL;
		d->set = NULL;
		wake_all(&d->writeback.idle); /* a flush that waits sees that there is no set */
		d->detaching = false; /* the set may have failed, and dismissed us, while we counted */
		return r;
	}
	return 0;
}

int bdev_attach(struct bdev *d, struct cset *c, bool explicit_set, struct printbuf *why)
{
	int r = may_attach(d, c, explicit_set, why);

	if (r < 0)
		return r;
	/* A pass-through write in flight could otherwise land behind a miss that already caches the old data (R1.4). */
	cset_hold(c);
	bdev_hold(d);
	bdev_quiesce(d);
	r = join(d, c, why);
	bdev_unquiesce(d);
	cset_release(c);
	bdev_release(d);
	if (r < 0)
		return r;
	log_info("caching '%s' as %s on set %s (slot %u)", d->backing->path, d->name, c->uuid_text, d->inode);
	r = bdev_run(d);
	return r == -EBUSY ? 0 : r; /* a live pass-through device is running already */
}

/* --- leaving ----------------------------------------------------------------------------------------------------------- */

void bdev_detach(struct bdev *d)
{
	if (!d->set || d->detaching || d->closing || bdev_is_flash(d))
		return;
	d->detaching = true;
	writeback_wake(d);
}

/* On disk it may still belong to the set, and what that has of it would hide what is written past the cache. */
void bdev_still_named(struct bdev *d, const char *when, int error)
{
	d->io_disable = d->names_set = true;
	snprintf(d->error, sizeof(d->error), "its superblock could not be written %s: %s", when, strerror(-error));
	log_error("%s ('%s') is disabled: %s", d->name, d->backing->path, d->error);
}

/* On disk the device leaves before its slot does: the other order would leave a device that claims a set which forgot it (R1.5). */
static int leave_on_disk(struct bdev *d, struct cset *c)
{
	int r = bdev_set_state(d, BDEV_STATE_CLEAN);

	memset(d->super->set_uuid, 0, 16); /* in any case: whoever writes it next must not renew the claim */
	super_set_state(d->super, BDEV_STATE_NONE);
	if (!r)
		r = bdev_write_super(d);
	if (r < 0)
		return r;
	slot_invalidate(c, d->inode, false);
	if (!c->io_disable && uuid_table_write(c) < 0)
		log_warn("%s: cache set %s could not forget it", d->name, c->uuid_text);
	return 0; /* a failed set cannot forget it, but NONE is enough (format.md §12.4) */
}

void bdev_detach_finish(struct bdev *d)
{
	struct cset *c = d->set;
	uint32_t slot = d->inode;
	struct range all;
	int r;

	bdev_quiesce(d);
	range_acquire(&d->ranges, &all, 0, UINT64_MAX); /* a swap that goes on would meet the purge of the slot */
	r = leave_on_disk(d, c);
	if (r < 0)
		bdev_still_named(d, "when it was detached", r);
	c->devices[slot] = NULL;
	d->set = NULL;
	d->detaching = false;
	range_release(&d->ranges, &all);
	slot_left(c, slot);
	log_info("caching disabled for %s ('%s')", d->name, d->backing->path);
	bdev_unquiesce(d);
	bcf_devices_changed(d->bcf);
}
