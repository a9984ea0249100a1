/* SPDX-License-Identifier: GPL-2.0-only */
/* The uuid table in memory, and flash-only volumes. */
#include "core/admin/log.h"
#include "core/set/instance.h"

int uuid_slot_find(const struct cset *c, const uint8_t uuid[16])
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		if (!memcmp(c->uuids[i].uuid, uuid, 16) && uuid_entry_state(&c->uuids[i]) != UUID_SLOT_INVALID)
			return (int)i;
	return -1;
}

int uuid_slot_free(const struct cset *c)
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		if (uuid_entry_state(&c->uuids[i]) == UUID_SLOT_FREE)
			return (int)i;
	return -1;
}

/* The table goes to a new bucket; the old one is simply no longer marked by the next gc, so it is not reused before this one is journalled. */
static int table_to_new_bucket(struct cset *c)
{
	struct bkey_buf key;
	uint32_t b, sectors = c->g.meta_bytes / SECTOR_BYTES;
	int r = btree_reserve_lock(c, btree_reserve_need(c) + 1, true);

	if (r < 0)
		return r;
	r = bucket_alloc(c, RESERVE_BTREE, &b);
	fmutex_unlock(&c->btree.structure);
	if (r < 0)
		return r;
	bkey_init(&key.k, 0, 0, sectors);
	bkey_set_ptrs(&key.k, 1);
	key.k.ptr[0] = ptr_make(0, geometry_sector(&c->g, b), cset_bucket(c, b)->gen);
	r = blk_write(c->cache, geometry_sector(&c->g, b), c->uuids, sectors, 0);
	cset_io_done(c, "uuid write", r);
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

void volumes_start(struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++) {
		struct bdev *d;
		int r;

		if (uuid_entry_state(&c->uuids[slot]) != UUID_SLOT_FLASH || c->devices[slot])
			continue;
		r = bdev_new_flash(c, slot, &d);
		if (!r) {
			bdev_hold(d); /* the set may fail and stop it while its data is counted */
			r = writeback_start(d);
			if (!r)
				r = bdev_run(d);
			bdev_release(d);
		}
		if (r < 0)
			log_warn("cache set %s: cannot start the flash-only volume in slot %u: %s", c->uuid_text, slot, strerror(-r));
	}
}
