/* SPDX-License-Identifier: GPL-2.0-only */
/* Life of a backing device or volume: made, run, failed, stopped. Joining and leaving a set is in attach.c. */
#include "core/set/bdev.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/admin/attr.h"
#include "core/admin/log.h"
#include "core/set/instance.h"
#include "core/set/super_io.h"

/* --- making ------------------------------------------------------------------------------------------------------------ */

static struct bdev *bdev_alloc(struct bcf *b)
{
	struct bdev *d = calloc(1, sizeof(*d));

	if (!d || fiber_reserve() < 0) { /* for the stopper */
		free(d);
		return NULL;
	}
	if (seq_detector_init(&d->seq)) {
		fiber_unreserve();
		free(d);
		return NULL;
	}
	d->bcf = b;
	list_init(&d->link);
	fmutex_init(&d->super_lock);
	wait_queue_init(&d->count_zero);
	wait_queue_init(&d->quiesced);
	wait_queue_init(&d->fills_zero);
	range_lock_init(&d->ranges);
	d->number = bcf_free_number(b);
	snprintf(d->name, sizeof(d->name), "dev%u", d->number);
	writeback_init(d);
	attr_apply_defaults(ATTR_DIR_BDEV, &(struct attr_object){ .b = b, .d = d }); /* a volume has what is behind these files, too */
	bcf_add_bdev(b, d);
	return d;
}

int bdev_new(struct bcf *b, struct blkdev *backing, struct super *super, struct bdev **ret)
{
	struct bdev *d = bdev_alloc(b);

	if (!d) {
		blk_close(backing);
		free(super);
		return -ENOMEM;
	}
	d->backing = backing;
	flush_group_init(&d->backing_flush, backing);
	d->backing_writes = 1;
	d->writeback.partial_stripes = backing->partial_stripes_expensive;
	d->super = super;
	d->data_offset = super_data_offset(super);
	d->nr_sectors = backing->nr_sectors - d->data_offset;
	*ret = d;
	return 0;
}

int bdev_new_flash(struct cset *c, uint32_t slot, struct bdev **ret)
{
	const struct uuid_entry *u = &c->uuids[slot];
	struct bdev *d;

	if (u->sectors < c->g.block_sectors || u->sectors > VOLUME_SECTORS_MAX)
		return -EUCLEAN;
	d = bdev_alloc(c->bcf);
	if (!d)
		return -ENOMEM;
	d->nr_sectors = u->sectors;
	d->set = c;
	d->inode = slot;
	c->devices[slot] = d;
	*ret = d;
	return 0;
}

static void bdev_free(struct bdev *d)
{
	list_del(&d->link);
	blk_close(d->backing);
	seq_detector_release(&d->seq);
	free(d->super);
	free(d);
}

/* --- superblock -------------------------------------------------------------------------------------------------------- */

int bdev_write_super(struct bdev *d)
{
	int r;

	fmutex_lock(&d->super_lock);
	d->super->last_mount = (uint32_t)engine_real_s();
	r = super_write(d->backing, d->super);
	fmutex_unlock(&d->super_lock);
	if (r < 0)
		bdev_io_error(d, "superblock write", r);
	return r;
}

int bdev_set_state(struct bdev *d, enum bdev_state st)
{
	enum bdev_state old = super_state(d->super);
	int r;

	if (old == st)
		return 0;
	super_set_state(d->super, st);
	r = bdev_write_super(d);
	if (r < 0)
		super_set_state(d->super, old); /* or the next attempt would believe that it is on disk */
	return r;
}

int bdev_set_cache_mode(struct bdev *d, enum cache_mode m)
{
	enum cache_mode old = super_cache_mode(d->super);
	int r;

	if (old == m)
		return 0;
	super_set_cache_mode(d->super, m);
	r = bdev_write_super(d);
	if (r < 0)
		super_set_cache_mode(d->super, old);
	return r;
}

int bdev_set_label(struct bdev *d, const char *label, size_t len)
{
	char fresh[LABEL_BYTES] = { 0 };
	char *slot = d->set ? d->set->uuids[d->inode].label : NULL;
	int r = 0;

	if (len > LABEL_BYTES)
		return -EINVAL;
	memcpy(fresh, label, len);
	if (d->super && memcmp(d->super->label, fresh, LABEL_BYTES)) {
		char old[LABEL_BYTES];

		memcpy(old, d->super->label, LABEL_BYTES);
		memcpy(d->super->label, fresh, LABEL_BYTES);
		r = bdev_write_super(d);
		if (r < 0)
			memcpy(d->super->label, old, LABEL_BYTES); /* or the next try would find nothing to do */
	}
	if (!r && slot && d->set && memcmp(d->set->uuids[d->inode].label, fresh, LABEL_BYTES)) {
		memcpy(d->set->uuids[d->inode].label, fresh, LABEL_BYTES);
		struct cset *c = d->set;

		cset_hold(c); /* a detach may end meanwhile */
		r = uuid_table_write(c);
		cset_release(c);
	}
	return r;
}

/* --- running ----------------------------------------------------------------------------------------------------------- */

int bdev_run(struct bdev *d)
{
	if (d->closing)
		return -ENODEV;
	if (d->io_disable)
		return -EIO;
	if (d->running)
		return -EBUSY;
	if (!d->set && bdev_state(d) != BDEV_STATE_NONE) {
		/* The user's own data may be missing in what we are about to show: say so on disk before anybody can change it. */
		if (bdev_state(d) == BDEV_STATE_DIRTY)
			log_warn("'%s' (%s) runs without its cache: dirty data in the cache is given up", d->name, d->backing->path);
		int r = bdev_set_state(d, BDEV_STATE_STALE);
		if (r < 0)
			return r;
		if (d->closing)
			return -ENODEV;
	}
	d->running = true;
	log_info("%s is ready: '%s', %llu sectors", d->name, d->backing ? d->backing->path : "flash-only volume",
		 (unsigned long long)d->nr_sectors);
	bcf_devices_changed(d->bcf);
	return 0;
}

void bdev_get(struct bdev *d) { d->count++; }

void bdev_put(struct bdev *d)
{
	assert(d->count > 0);
	if (!--d->count)
		wake_all(&d->count_zero);
}

void bdev_quiesce(struct bdev *d)
{
	assert(!d->quiesce);
	d->quiesce = true;
	while (d->count)
		wait_queue_wait(&d->count_zero);
}

void bdev_unquiesce(struct bdev *d)
{
	d->quiesce = false;
	wake_all(&d->quiesced);
}

void bdev_hold(struct bdev *d) { d->holds++; }

void bdev_release(struct bdev *d)
{
	assert(d->holds > 0);
	if (!--d->holds)
		wake_all(&d->bcf->changed);
}

/* --- failing ----------------------------------------------------------------------------------------------------------- */

void bdev_io_error(struct bdev *d, const char *what, int error)
{
	d->io_errors++;
	log_warn("%s failed on '%s': %s (error %u, limit %u)", what, d->backing->path, strerror(-error), d->io_errors, d->io_error_limit);
	if (d->io_errors < d->io_error_limit || d->io_disable)
		return;
	d->io_disable = true;
	snprintf(d->error, sizeof(d->error), "too many I/O errors (%u), last: %s: %s", d->io_errors, what, strerror(-error));
	log_error("%s ('%s') is disabled: %s", d->name, d->backing->path, d->error);
	bdev_stop(d);
}

void bdev_set_failed(struct bdev *d)
{
	bool dirty = bdev_is_flash(d) || d->writeback.has_dirty || bdev_state(d) == BDEV_STATE_DIRTY;

	if (dirty || d->stop_when_cache_set_failed) {
		d->io_disable = true; /* before anything else: no read may fall through to stale backing data (I-27) */
		snprintf(d->error, sizeof(d->error), "%s",
			 dirty ? "its cache has failed and held dirty data: frozen, nothing stale is served" : "its cache has failed");
		log_error("%s ('%s'): %s", d->name, d->backing ? d->backing->path : "flash-only volume", d->error);
		bdev_stop(d);
		return;
	}
	bdev_detach(d);
	writeback_wake(d); /* it may have been detaching before, and resting with its set */
}

/* --- stopping ---------------------------------------------------------------------------------------------------------- */

static void stopper(void *arg)
{
	struct bdev *d = arg;
	struct bcf *b = d->bcf;

	/*
	 * A control operation that holds us may be an attach, which starts writeback: so it is stopped twice.
	 * At the end of the process nobody can close handles any more: the mount is gone.
	 */
	while ((d->opens && !b->stopping) || d->count)
		wait_queue_wait(d->count ? &d->count_zero : &b->changed);
	writeback_stop(d);
	while (d->count) /* fills and the like that writeback waited for */
		wait_queue_wait(&d->count_zero);
	while (d->holds)
		wait_queue_wait(&b->changed);
	writeback_stop(d);
	while (d->count)
		wait_queue_wait(&d->count_zero);
	if (d->set) { /* a removed volume has none: its slot may have a new owner */
		assert(d->set->devices[d->inode] == d);
		d->set->devices[d->inode] = NULL;
	}
	log_info("%s stopped", d->name);
	bdev_free(d);
	bcf_devices_changed(b);
}

void bdev_stop(struct bdev *d)
{
	if (d->closing)
		return;
	d->closing = true;
	d->running = false;
	fiber_spawn_reserved("device stopper", stopper, d);
	bcf_devices_changed(d->bcf);
}
