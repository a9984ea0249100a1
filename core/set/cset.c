/* SPDX-License-Identifier: GPL-2.0-only */
/* Life of a cache set: made, failed, stopped. Start-up of its contents is in recovery.c. */
#include "core/set/cset.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/admin/attr.h"
#include "core/admin/log.h"
#include "core/set/instance.h"
#include "core/set/super_io.h"
#include "core/space/prio_io.h"

#define IO_ERROR_SHIFT 20
#define JOURNAL_ENTRIES_WANTED 64

/* --- failing ----------------------------------------------------------------------------------------------------------- */

/* Everybody who waits for something of this set looks again and sees io_disable. */
static void wake_everybody(struct cset *c)
{
	struct bnode *n;

	journal_fail(c);
	wake_all(&c->alloc.bucket_wait);
	wake_all(&c->alloc.work);
	wake_all(&c->gc.work);
	purge_wake(c);
	movinggc_wake(c);
	wake_all(&c->gc.done);
	wake_all(&c->btree.reserve_wait);
	wake_all(&c->btree.write_pool_wait);
	wake_all(&c->btree.writer_wake);
	list_for_each(n, &c->btree.nodes, lru)
		wake_all(&n->wait);
}

int cset_error(struct cset *c, const char *fmt, ...)
{
	va_list ap;

	if (c->io_disable)
		return -EROFS;
	c->io_disable = true;
	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
	log_error("cache set %s has failed: %s", c->uuid_text, c->error);
	if (c->errors_panic) /* exactly the image that a crash at this moment leaves */
		abort();
	wake_everybody(c);
	if (c->state != CSET_STARTING)
		cset_stop(c, true); /* if it is stopping already: its devices have to hear of this, too */
	return -EROFS;
}

void cset_io_done(struct cset *c, const char *what, int error)
{
	uint32_t decay = c->io_error_halflife;

	if (decay && ++c->io_error_count >= decay) {
		c->io_error_count = 0;
		c->io_errors = c->io_errors * 127 / 128;
	}
	if (!error)
		return;
	c->io_errors += 1ull << IO_ERROR_SHIFT;
	log_warn("%s failed on '%s': %s", what, c->cache->path, strerror(-error));
	if (c->io_errors >> IO_ERROR_SHIFT >= c->io_error_limit)
		cset_error(c, "too many I/O errors on '%s' (limit %u), last: %s: %s", c->cache->path, c->io_error_limit, what,
			   strerror(-error));
}

/* --- superblock -------------------------------------------------------------------------------------------------------- */

int cset_write_super(struct cset *c)
{
	int r;

	fmutex_lock(&c->super_lock);
	c->super->seq++;
	c->super->version = max(c->super->version, (uint64_t)SUPER_CACHE);
	c->super->last_mount = (uint32_t)engine_real_s();
	r = super_write(c->cache, c->super);
	cset_io_done(c, "superblock write", r);
	fmutex_unlock(&c->super_lock);
	return r < 0 ? cset_error(c, "cannot write the superblock of '%s': %s", c->cache->path, strerror(-r)) : 0;
}

/* --- making ------------------------------------------------------------------------------------------------------------ */

static void cset_free(struct cset *c)
{
	open_buckets_release(c);
	btree_release(c);
	journal_release(c);
	alloc_release(c);
	data_csums_release(&c->data_csums);
	blk_close(c->cache);
	free(c->super);
	free(c->uuids);
	free(c->devices);
	slots_release(c);
	if (c->stopper_reserved)
		fiber_unreserve();
	free(c);
}

/* Fibers in the order in which they may still need each other: purger → moving gc → gc → allocator → nodes → journal. */
static void stop_fibers(struct cset *c)
{
	purge_stop(c);
	movinggc_stop(c);
	gc_stop(c);
	alloc_stop(c);
	if (!c->io_disable && c->btree.root)
		ignore_result(btree_flush_all(c)); /* a failure has failed the set; replay does the rest */
	if (!c->io_disable && c->state == CSET_STOPPING)
		ignore_result(prio_write(c)); /* keeps the LRU order, and its entry leaves nothing to replay */
	journal_stop(c);
	btree_stop(c);
}

/*
 * A new set: its journal is what we say now (format.md §12.2). Where 1/128 of the buckets would make a ring of a few entries, more: operations
 * need room to get on while they hold entries (journal.h).
 */
static void choose_journal(struct cset *c)
{
	uint64_t blocks = c->g.bucket_sectors / c->g.block_sectors, entries = blocks > 1 ? blocks - 1 : 1;
	uint64_t wanted = max(c->g.nr_buckets >> 7, div_round_up_u64(JOURNAL_ENTRIES_WANTED, entries));

	wanted = max(c->g.nr_buckets >> 7, min(wanted, c->g.nr_buckets / 8));
	c->super->keys = (uint16_t)clamp(wanted, 2ull, (uint64_t)JOURNAL_BUCKETS_MAX);
	for (uint32_t i = 0; i < c->super->keys; i++)
		c->super->d[i] = c->g.first_bucket + i;
}

static int cset_alloc_objects(struct cset *c)
{
	int r;

	if (!super_sync(c->super))
		choose_journal(c);
	r = journal_init(c);
	if (!r)
		r = alloc_init(c);
	if (!r)
		r = open_buckets_init(c);
	if (!r)
		r = btree_init(c);
	if (r < 0)
		return r;
	gc_init(c);
	movinggc_init(c);
	purge_init(c);
	r = slots_init(c);
	if (r < 0)
		return r;
	wait_queue_init(&c->absent_swaps_zero);
	c->devices = calloc(c->g.nr_uuids, sizeof(*c->devices));
	if (!c->devices || posix_memalign((void **)&c->uuids, PAGE_BYTES, c->g.meta_bytes))
		return -ENOMEM;
	memset(c->uuids, 0, c->g.meta_bytes);
	return 0;
}

static void set_defaults(struct cset *c)
{
	const struct attr_object object = { .b = c->bcf, .c = c };
	const struct bcf_options *o = &c->bcf->options;

	attr_apply_defaults(ATTR_DIR_SET, &object);
	attr_apply_defaults(ATTR_DIR_INTERNAL, &object);
	attr_apply_defaults(ATTR_DIR_CACHE, &object);

	c->cutoff_writeback_sync = min(o->cutoff_writeback_sync ? o->cutoff_writeback_sync : 70u, 90u);
	c->cutoff_writeback = min(o->cutoff_writeback ? o->cutoff_writeback : 40u, 70u);
	c->cutoff_writeback = min(c->cutoff_writeback, c->cutoff_writeback_sync);
}

static int check_supported(const struct cset *c, struct printbuf *why)
{
	if (c->super->nr_in_set != 1 || c->super->nr_this_dev != 0) {
		pr(why, "%s: cache sets of several cache devices are not supported (device %u of %u)", c->cache->path,
		   c->super->nr_this_dev, c->super->nr_in_set);
		return -EINVAL;
	}
	if (c->g.nr_buckets > UINT32_MAX) {
		pr(why, "%s: too many buckets: %llu", c->cache->path, (unsigned long long)c->g.nr_buckets);
		return -EINVAL;
	}
	if (super_sync(c->super) && (c->super->keys < 2 || c->super->d[0] != c->g.first_bucket)) {
		pr(why, "%s: journal of %u buckets is impossible, at least 2 are needed", c->cache->path, c->super->keys);
		return -EINVAL;
	}
	return 0;
}

/* Bring the contents up, then everything that runs on top of them. */
static int cset_start(struct cset *c, struct printbuf *why)
{
	int r = super_sync(c->super) ? cset_recover(c, why) : cset_first_start(c, why);

	if (r < 0)
		return r;
	r = gc_start(c);
	if (!r)
		r = movinggc_start(c);
	if (!r)
		r = cset_write_super(c); /* SYNC=1 only now, after the first journal entry is durable (R1.1, I-26) */
	if (r < 0) {
		pr(why, "%s", c->error[0] ? c->error : strerror(-r));
		return r;
	}
	if (c->io_disable) {
		pr(why, "%s", c->error);
		return -EIO;
	}
	c->journal.reserve = true;
	c->state = CSET_RUNNING;
	return purge_start(c);
}

int cset_new(struct bcf *b, struct blkdev *cache, struct super *super, struct cset **ret, struct printbuf *why)
{
	struct cset *c = calloc(1, sizeof(*c));
	struct printbuf uuid;
	int r;

	if (!c || fiber_reserve() < 0) {
		blk_close(cache);
		free(super);
		free(c);
		return -ENOMEM;
	}
	c->stopper_reserved = true;
	c->bcf = b;
	c->cache = cache;
	c->super = super;
	c->set_magic = super_set_magic(super);
	uuid = PRINTBUF(c->uuid_text);
	pr_uuid(&uuid, super->set_uuid);
	super_geometry(super, &c->g);
	fmutex_init(&c->super_lock);
	fmutex_init(&c->uuid_lock);
	list_init(&c->link);
	set_defaults(c);
	r = check_supported(c, why);
	if (!r)
		r = cset_alloc_objects(c);
	if (!r)
		r = cset_start(c, why);
	if (r < 0) {
		if (c->journal.c && c->gc.work.waiters.next) {
			c->io_disable = true;
			wake_everybody(c);
			stop_fibers(c);
		}
		cset_free(c);
		return r;
	}
	list_add_tail(&b->csets, &c->link);
	*ret = c;
	return 0;
}

/* --- stopping ---------------------------------------------------------------------------------------------------------- */

static bool has_devices(const struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++)
		if (c->devices[slot])
			return true;
	return false;
}

/* Tell every device, once, what the end of its set means for it. */
static void dismiss_devices(struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++) {
		struct bdev *d = c->devices[slot];

		if (!d || d->closing)
			continue;
		if (c->io_disable)
			bdev_set_failed(d);
		else if (c->unregistering && !bdev_is_flash(d))
			bdev_detach(d);
		else
			bdev_stop(d);
	}
}

static void stopper(void *arg)
{
	struct cset *c = arg;
	struct bcf *b = c->bcf;

	while (has_devices(c) || c->holds) {
		dismiss_devices(c);
		if (has_devices(c) || c->holds) /* a device left or joined, or the set failed while they were leaving: look again */
			wait_queue_wait(&b->changed);
	}
	c->closed = true; /* what follows waits, and the set is still in the list */
	stop_fibers(c);
	list_del(&c->link);
	log_info("cache set %s stopped%s%s", c->uuid_text, c->io_disable ? " after an error: " : "", c->error);
	cset_free(c);
	bcf_devices_changed(b);
}

void cset_hold(struct cset *c)
{
	assert(!c->closed);
	c->holds++;
}

bool cset_try_hold(struct cset *c)
{
	if (!c->closed)
		cset_hold(c);
	return !c->closed;
}

void cset_release(struct cset *c)
{
	assert(c->holds > 0);
	if (!--c->holds)
		wake_all(&c->bcf->changed);
}

void cset_stop(struct cset *c, bool unregister)
{
	c->unregistering |= unregister;
	if (c->state == CSET_STOPPING) {
		wake_all(&c->bcf->changed); /* the stopper looks at its devices again */
		return;
	}
	c->state = CSET_STOPPING;
	c->stopper_reserved = false;
	fiber_spawn_reserved("set stopper", stopper, c);
}
