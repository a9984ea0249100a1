/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/set/orphan.h"

#include "core/admin/log.h"
#include "core/set/instance.h"

static int set_usable(const struct cset *c, struct printbuf *why)
{
	if (c->io_disable) {
		pr(why, "cache set %s has failed: %s", c->uuid_text, c->error);
		return -EROFS;
	}
	if (c->state != CSET_RUNNING) {
		pr(why, "cache set %s is stopping", c->uuid_text);
		return -EINTR;
	}
	return 0;
}

/* --- forget -------------------------------------------------------------------------------------------------------------- */

/* A device that is registered, and that the set would take as the owner of this slot. */
static const struct bdev *owner_here(const struct cset *c, uint32_t slot)
{
	const struct bdev *d;

	if (c->devices[slot])
		return c->devices[slot];
	list_for_each(d, &c->bcf->bdevs, link)
		if (d->super && uuid_slot_find(c, d->super->uuid) == (int)slot && !memcmp(d->super->set_uuid, c->super->set_uuid, 16) &&
		    (super_state(d->super) == BDEV_STATE_CLEAN || super_state(d->super) == BDEV_STATE_DIRTY))
			return d;
	return NULL;
}

static int may_forget(const struct cset *c, uint32_t slot, struct printbuf *why)
{
	enum uuid_state state = slot < c->g.nr_uuids ? uuid_entry_state(&c->uuids[slot]) : UUID_SLOT_FREE;
	const struct bdev *d;

	if (state == UUID_SLOT_FREE || (state == UUID_SLOT_INVALID && c->slots[slot].keys == SLOT_PURGED)) {
		pr(why, "slot %u of cache set %s is empty", slot, c->uuid_text);
		return -ENOENT;
	}
	d = owner_here(c, slot);
	if (d && bdev_is_flash(d)) {
		pr(why, "%s is a volume: write to its `unregister`", d->name);
		return -EINVAL;
	}
	if (d) {
		pr(why, "the device is here: '%s' (%s); detach it, or stop it first", d->backing->path, d->name);
		return -EBUSY;
	}
	return set_usable(c, why);
}

static int forget_now(struct cset *c, uint32_t slot, bool discard)
{
	int r;

	slot_invalidate(c, slot, discard);
	r = uuid_table_write(c);
	if (r < 0)
		return r;
	slot_left(c, slot);
	r = purge_slot(c, slot, true);
	if (!r)
		gc_trigger(c);
	return r;
}

int slot_forget(struct cset *c, uint32_t slot, bool discard, struct printbuf *why)
{
	int r = may_forget(c, slot, why);
	uint64_t dirty;

	if (r < 0)
		return r;
	if (!discard && !slot_discards(&c->uuids[slot])) {
		r = purge_find_dirty(c, slot, 0, BKEY_OFFSET_MAX);
		if (r < 0)
			return r;
		if (r > 0) {
			pr(why, "slot %u holds %llu bytes that are nowhere else: add \"discard-dirty\" to give them up", slot,
			   (unsigned long long)slot_dirty_sectors(c, slot) * SECTOR_BYTES);
			return -ENOTEMPTY;
		}
	}
	dirty = slot_dirty_sectors(c, slot);
	r = forget_now(c, slot, discard);
	if (r < 0)
		return r;
	log_warn("cache set %s: slot %u is forgotten: %llu bytes of dirty data are lost", c->uuid_text, slot,
		 (unsigned long long)dirty * SECTOR_BYTES);
	return 0;
}

/* --- readopt ------------------------------------------------------------------------------------------------------------- */

static int nobody_has_it_open(const struct bdev *d, struct printbuf *why)
{
	if (!d->opens)
		return 0;
	pr(why, "%s is open (%u times), and its contents would change under its users: close it first", d->name, d->opens);
	return -EBUSY;
}

static int device_fits(const struct bdev *d, const struct cset *c, struct printbuf *why)
{
	if (d->set || d->detaching) {
		pr(why, "'%s' is attached: detach it first", d->backing->path);
		return -EBUSY;
	}
	if (bdev_state(d) == BDEV_STATE_CLEAN) {
		pr(why, "'%s' is clean: it has nothing to take back", d->backing->path);
		return -EINVAL;
	}
	if (d->super->block_sectors < c->g.block_sectors) {
		pr(why, "'%s' has blocks of %u sectors, smaller than the cache's %u", d->backing->path, d->super->block_sectors,
		   c->g.block_sectors);
		return -EINVAL;
	}
	return bdev_dirty_elsewhere(d, c, why);
}

/* Whose data is it, and is it still meant to be kept? A slot that the purger has not looked at yet is looked at now. */
static int slot_fits(const struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why)
{
	enum uuid_state state = slot < c->g.nr_uuids ? uuid_entry_state(&c->uuids[slot]) : UUID_SLOT_FREE;
	int known = uuid_slot_find(c, d->super->uuid), r;

	if (slot < c->g.nr_uuids && c->devices[slot]) { /* with the same uuid, too: `d` may be a copy of it */
		pr(why, "slot %u of cache set %s is in use by %s", slot, c->uuid_text, c->devices[slot]->name);
		return -EBUSY;
	}
	if (known >= 0 && known != (int)slot) {
		pr(why, "cache set %s knows '%s' in slot %d: readopt that, or forget it first", c->uuid_text, d->backing->path, known);
		return -EINVAL;
	}
	if (known >= 0 && state == UUID_SLOT_CACHED)
		return 0;
	if (state == UUID_SLOT_CACHED || state == UUID_SLOT_FLASH) {
		pr(why, "slot %u of cache set %s belongs to another device", slot, c->uuid_text);
		return -EINVAL;
	}
	r = state == UUID_SLOT_INVALID && !slot_discards(&c->uuids[slot]) ? purge_slot(c, slot, true) : 0;
	if (r == -EBUSY)
		return 0;
	if (!r) {
		pr(why, "slot %u of cache set %s holds no dirty data that is kept", slot, c->uuid_text);
		r = -ENOENT;
	}
	return r;
}

/* Its superblock says again what it said before, and it goes on without the set. */
static void claim_nothing(struct bdev *d, const uint8_t set_uuid[16], enum bdev_state state)
{
	int r;

	memcpy(d->super->set_uuid, set_uuid, 16);
	super_set_state(d->super, state);
	r = bdev_write_super(d);
	if (r < 0)
		bdev_still_named(d, "after a readopt that failed", r);
}

/* The order of the last two makes a crash between them harmless: see the header. */
static int take_over(struct bdev *d, struct cset *c, uint32_t slot)
{
	int r = purge_range(c, slot, 0, BKEY_OFFSET_MAX, PURGE_CLEAN);

	if (r < 0)
		return r;
	memcpy(d->super->set_uuid, c->super->set_uuid, 16);
	super_set_state(d->super, BDEV_STATE_DIRTY);
	r = bdev_write_super(d);
	if (r < 0)
		return r;
	slot_fill(c, slot, d->super->uuid, d->super->label, 0);
	return uuid_table_write(c);
}

/*
 * The device is quiet. No request gets between the purge and the attach: what it wrote past the cache would be hidden, and that is not what its user was
 * told.
 */
static int take_over_and_attach(struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why)
{
	enum bdev_state state = bdev_state(d);
	uint8_t set_uuid[16];
	int r;

	log_warn("cache set %s: '%s' takes back the dirty data in slot %u (%llu bytes)", c->uuid_text, d->backing->path, slot,
		 (unsigned long long)slot_dirty_sectors(c, slot) * SECTOR_BYTES);
	memcpy(set_uuid, d->super->set_uuid, 16);
	r = take_over(d, c, slot);
	bdev_unquiesce(d);
	if (!r)
		r = bdev_attach(d, c, true, why);
	if (r < 0 && !d->set) {
		bdev_quiesce(d); /* nobody has run since it was: the set may hide what is written before the claim is gone */
		claim_nothing(d, set_uuid, state);
		bdev_unquiesce(d);
	}
	return r;
}

int bdev_readopt(struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why)
{
	int r = set_usable(c, why);

	if (!r)
		r = device_fits(d, c, why);
	if (!r)
		r = nobody_has_it_open(d, why);
	if (!r)
		r = slot_fits(d, c, slot, why);
	if (!r)
		r = bdev_keys_fit(d, c, slot, why);
	if (r < 0)
		return r;
	bdev_quiesce(d);
	r = nobody_has_it_open(d, why); /* nor since then; who opens it from now on sees nothing before the attach */
	if (!r)
		return take_over_and_attach(d, c, slot, why);
	bdev_unquiesce(d);
	return r;
}
