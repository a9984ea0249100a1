/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/set/slots.h"

#include <stdlib.h>

#include "core/admin/log.h"
#include "core/set/instance.h"

static uint32_t now_s(void) { return (uint32_t)engine_real_s(); }

int slots_init(struct cset *c)
{
	c->slots = calloc(c->g.nr_uuids, sizeof(*c->slots));
	return c->slots ? 0 : -ENOMEM;
}

void slots_release(struct cset *c) { free(c->slots); }

int uuid_slot_find(const struct cset *c, const uint8_t uuid[16])
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		if (!memcmp(c->uuids[i].uuid, uuid, 16) && uuid_entry_state(&c->uuids[i]) != UUID_SLOT_INVALID)
			return (int)i;
	return -1;
}

/* --- the table on disk --------------------------------------------------------------------------------------------------- */

/* Others may change the table while it is being written; what goes to the disk is of one moment. */
static int write_copy(struct cset *c, uint64_t sector)
{
	void *copy;
	int r;

	if (posix_memalign(&copy, PAGE_BYTES, c->g.meta_bytes))
		return -ENOMEM;
	memcpy(copy, c->uuids, c->g.meta_bytes);
	r = blk_write(c->cache, sector, copy, c->g.meta_bytes / SECTOR_BYTES, 0);
	cset_io_done(c, "uuid write", r);
	free(copy);
	return r;
}

/*
 * The table goes to a new bucket; the old one is simply no longer marked by the next gc, so it is not reused before this one is journalled. While the
 * journal is silent, it must stay so: this is a table of the old layout, and the next entry would say that it has the new one. (Recovery; nobody else
 * needs what is in the reserve yet.)
 */
static int table_to_new_bucket(struct cset *c)
{
	struct bkey_buf key;
	uint32_t b, sectors = c->g.meta_bytes / SECTOR_BYTES;
	bool silent = c->journal.silent;
	int r = btree_reserve_lock(c, silent ? 1 : btree_reserve_need(c) + 1, silent ? BTREE_WAIT_LOCK : BTREE_WAIT_BUCKETS);

	if (r < 0)
		return r;
	r = bucket_alloc(c, RESERVE_BTREE, &b);
	fmutex_unlock(&c->btree.structure);
	if (r < 0)
		return r;
	bkey_init(&key.k, 0, 0, sectors);
	bkey_set_ptrs(&key.k, 1);
	key.k.ptr[0] = ptr_make(0, geometry_sector(&c->g, b), cset_bucket(c, b)->gen);
	r = write_copy(c, geometry_sector(&c->g, b));
	if (r < 0) {
		bucket_unpin(cset_bucket(c, b));
		return cset_error(c, "cannot write the uuid table to bucket %u of '%s': %s", b, c->cache->path, strerror(-r));
	}
	c->meta_sectors_written += sectors;
	bkey_copy(&c->uuid_bucket.k, &key.k);
	r = journal_meta(c); /* its pre-flush makes the table durable first */
	bucket_unpin(cset_bucket(c, b));
	return r;
}

int uuid_table_write(struct cset *c)
{
	int r;

	fmutex_lock(&c->uuid_lock);
	r = table_to_new_bucket(c);
	fmutex_unlock(&c->uuid_lock);
	return r;
}

/* --- owners come and go -------------------------------------------------------------------------------------------------- */

static bool free_for_all(const struct cset *c, uint32_t slot)
{
	switch (uuid_entry_state(&c->uuids[slot])) {
	case UUID_SLOT_FREE: return true;
	case UUID_SLOT_INVALID: return c->slots[slot].keys == SLOT_PURGED;
	default: return false;
	}
}

static bool worth_a_purge(const struct cset *c, uint32_t slot)
{
	return uuid_entry_state(&c->uuids[slot]) == UUID_SLOT_INVALID && c->slots[slot].keys == SLOT_TO_PURGE;
}

/* The first of these slots that turns out to be free of keys. -EBUSY: none. A slot that should have none is looked at, too: that costs nothing. */
static int take_one(struct cset *c, bool (*wanted)(const struct cset *c, uint32_t slot))
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++) {
		if (c->devices[slot] || !wanted(c, slot))
			continue;
		int r = purge_slot(c, slot, true);
		if (r != -EBUSY)
			return r < 0 ? r : (int)slot;
	}
	return -EBUSY;
}

int slot_take(struct cset *c, struct printbuf *why)
{
	uint32_t kept = 0;
	int r = take_one(c, free_for_all);

	if (r == -EBUSY)
		r = take_one(c, worth_a_purge);
	if (r != -EBUSY)
		return r;
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++)
		kept += c->slots[slot].keys == SLOT_KEPT;
	pr(why, "cache set %s has no free slot for another device: all %u are taken, %u of them by dirty data of devices that were run without "
		"it", c->uuid_text, c->g.nr_uuids, kept);
	return -EINVAL;
}

void slot_fill(struct cset *c, uint32_t slot, const uint8_t uuid[16], const char label[LABEL_BYTES], uint64_t flash_sectors)
{
	struct uuid_entry *u = &c->uuids[slot];

	memset(u, 0, sizeof(*u));
	memcpy(u->uuid, uuid, 16);
	memcpy(u->label, label, LABEL_BYTES);
	u->first_reg = u->last_reg = now_s();
	u->sectors = flash_sectors;
	u->flags = flash_sectors ? UUID_FLASH_ONLY : 0;
	c->slots[slot].keys = SLOT_LEFT_ALONE;
}

void slot_invalidate(struct cset *c, uint32_t slot, bool discard)
{
	struct uuid_entry *u = &c->uuids[slot];

	uuid_entry_invalidate(u, now_s());
	if (discard && !u->sectors)
		u->sectors = 1;
	c->slots[slot].keys = SLOT_LEFT_ALONE;
}

void slot_left(struct cset *c, uint32_t slot)
{
	if (uuid_entry_state(&c->uuids[slot]) != UUID_SLOT_INVALID)
		return;
	c->slots[slot].keys = SLOT_TO_PURGE;
	purge_wake(c);
}

/* --- usage --------------------------------------------------------------------------------------------------------------- */

void slots_count_begin(struct cset *c)
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++) {
		c->slots[i].counted_cached = c->slots[i].counted_dirty = 0;
		c->slots[i].dirty_changed = false;
	}
}

void slots_count(struct cset *c, const struct bkey *k)
{
	struct slot *s = bkey_inode(k) < c->g.nr_uuids ? &c->slots[bkey_inode(k)] : NULL;

	if (!s)
		return;
	s->counted_cached += bkey_size(k);
	if (bkey_dirty(k))
		s->counted_dirty += bkey_size(k);
}

void slots_count_end(struct cset *c)
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++) {
		c->slots[i].cached_sectors = c->slots[i].counted_cached;
		if (!c->slots[i].dirty_changed)
			c->slots[i].dirty_sectors = c->slots[i].counted_dirty;
	}
}

void slots_dirty_changed(struct cset *c, uint32_t inode, int64_t nr_sectors)
{
	if (inode >= c->g.nr_uuids)
		return;
	c->slots[inode].dirty_sectors += (uint64_t)nr_sectors;
	c->slots[inode].dirty_changed = true;
}

void slot_emptied(struct cset *c, uint32_t slot)
{
	struct slot *s = &c->slots[slot];

	s->cached_sectors = s->dirty_sectors = s->counted_cached = s->counted_dirty = 0;
}

uint64_t slot_dirty_sectors(const struct cset *c, uint32_t slot)
{
	const struct bdev *d = c->devices[slot];

	return d ? d->writeback.dirty_sectors : c->slots[slot].dirty_sectors;
}

uint64_t slot_cached_sectors(const struct cset *c, uint32_t slot)
{
	return max(c->slots[slot].cached_sectors, slot_dirty_sectors(c, slot));
}

uint64_t slots_all_dirty_sectors(const struct cset *c)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		sum += slot_dirty_sectors(c, i);
	return sum;
}
