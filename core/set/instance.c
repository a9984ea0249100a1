/* SPDX-License-Identifier: GPL-2.0-only */
/* One running instance: its devices, registration, orderly end. */
#include "core/set/instance.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/admin/attr_path.h"
#include "core/admin/ctl.h"
#include "core/admin/log.h"
#include "core/admin/saved.h"
#include "core/admin/tunables.h"
#include "core/io/blk_uring.h"
#include "core/set/volume.h"

#define SHUTDOWN_TIMEOUT_S_DEFAULT 10
#define BUSY_TRIES 20
#define BUSY_PAUSE_NS (50 * NS_PER_MS)

/* --- lists ------------------------------------------------------------------------------------------------------------- */

unsigned bcf_free_number(const struct bcf *b)
{
	unsigned n = 0;
	struct bdev *d;

	list_for_each(d, &b->bdevs, link) { /* in number order */
		if (d->number != n)
			break;
		n++;
	}
	return n;
}

void bcf_add_bdev(struct bcf *b, struct bdev *d)
{
	struct bdev *behind;

	list_for_each(behind, &b->bdevs, link)
		if (behind->number > d->number)
			break;
	list_add_tail(&behind->link, &d->link);
}

void bcf_devices_changed(struct bcf *b)
{
	wake_all(&b->changed);
	if (b->options.devices_changed)
		b->options.devices_changed(b->options.ctx);
}

/* --- registration ------------------------------------------------------------------------------------------------------ */

static bool same_device(const struct blkdev *d, const char *path, const struct blk_identity *id)
{
	return !strcmp(d->path, path) || (id && d->id.dev == id->dev && d->id.ino == id->ino);
}

/* *ret_leaving: it is, but is being stopped. */
static bool already_registered(struct bcf *b, const char *path, bool *ret_leaving)
{
	struct blk_identity id;
	struct stat st;
	bool have_id = !stat(path, &st);
	struct cset *c;
	struct bdev *d;

	if (have_id)
		id = S_ISBLK(st.st_mode) ? (struct blk_identity){ UINT64_MAX, st.st_rdev } : (struct blk_identity){ st.st_dev, st.st_ino };
	list_for_each(c, &b->csets, link)
		if (same_device(c->cache, path, have_id ? &id : NULL)) {
			*ret_leaving = c->state == CSET_STOPPING;
			return true;
		}
	list_for_each(d, &b->bdevs, link)
		if (d->backing && same_device(d->backing, path, have_id ? &id : NULL)) {
			*ret_leaving = d->closing;
			return true;
		}
	return false;
}

/* What was told to stop is waited for, or `stop` and `register` one behind the other would fail now and then. As long as for locks. */
static int check_not_registered(struct bcf *b, const char *path, struct printbuf *why)
{
	bool leaving;

	for (unsigned tries = 0; already_registered(b, path, &leaving); tries++) {
		if (!leaving || tries == BUSY_TRIES) {
			pr(why, "%s: already registered%s", path, leaving ? ", and being stopped: is it still in use?" : "");
			return -EEXIST;
		}
		fiber_sleep_ns(BUSY_PAUSE_NS);
	}
	return 0;
}

static bool on_own_mount(const struct bcf *b, const char *path)
{
	return b->options.avoid_dev && path_touches_dev(path, b->options.avoid_dev);
}

static int read_super(struct blkdev *dev, const char *path, struct super **ret, struct printbuf *why)
{
	struct super_limits limits = { .device_sectors = dev->nr_sectors, .logical_block_bytes = dev->logical_block_bytes };
	char reason[200];
	struct printbuf pb = PRINTBUF(reason);
	struct super *s;
	int r;

	if (dev->nr_sectors < SUPER_SECTOR + SUPER_BYTES / SECTOR_BYTES) {
		pr(why, "%s: not a bcache device: too small to hold a superblock", path);
		return -EINVAL;
	}
	if (posix_memalign((void **)&s, PAGE_BYTES, SUPER_BYTES))
		return -ENOMEM;
	r = blk_read(dev, SUPER_SECTOR, s, SUPER_BYTES / SECTOR_BYTES);
	if (r < 0) {
		pr(why, "%s: cannot read the superblock: %s", path, strerror(-r));
		r = -EINVAL;
	} else if (super_validate(s, &limits, &pb) < 0) {
		pr(why, "%s: superblock: %s", path, reason);
		r = -EINVAL;
	}
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* A device that is not the set's to keep runs at once; one that is waits for it (R1.2). */
static int register_backing(struct bcf *b, struct blkdev *dev, struct super *super, struct printbuf *why)
{
	struct cset *c = uuid_is_zero(super->set_uuid) ? NULL : bcf_set_find(b, super->set_uuid);
	struct bdev *d;
	int r = bdev_new(b, dev, super, &d);

	if (r < 0) {
		pr(why, "no memory");
		return r;
	}
	if (c) {
		char reason[256];
		struct printbuf pb = PRINTBUF(reason);

		r = bdev_attach(d, c, false, &pb);
		if (!r)
			return 0;
		log_warn("cannot attach: %s", reason);
	}
	if (bdev_state(d) == BDEV_STATE_NONE || bdev_state(d) == BDEV_STATE_STALE)
		return bdev_run(d);
	log_info("%s ('%s') is %s and waits for its cache set", d->name, dev->path, bdev_state_names[bdev_state(d)]);
	return 0;
}

static void attach_waiting(struct bcf *b, struct cset *c)
{
	struct bdev *d;
again:
	list_for_each(d, &b->bdevs, link) {
		char reason[256];
		struct printbuf why = PRINTBUF(reason);

		if (!d->backing || d->set || d->closing || memcmp(d->super->set_uuid, c->super->set_uuid, 16))
			continue;
		if (!bdev_attach(d, c, false, &why))
			goto again; /* the list may have changed while we waited */
		log_warn("cannot attach: %s", reason);
	}
}

static int register_cache(struct bcf *b, struct blkdev *dev, struct super *super, struct printbuf *why)
{
	struct cset *c;
	int r;

	if (bcf_set_find(b, super->set_uuid)) {
		pr(why, "%s: duplicate cache set member: its set is already registered", dev->path);
		blk_close(dev);
		free(super);
		return -EINVAL;
	}
	r = cset_new(b, dev, super, &c, why);
	if (r < 0)
		return r == -EINVAL ? r : -ENODEV;
	log_info("registered cache device '%s', set %s", c->cache->path, c->uuid_text);
	cset_hold(c);
	attach_waiting(b, c);
	volumes_start(c);
	cset_release(c);
	return 0;
}

/* The locks of a daemon that was just killed go only when the kernel has cleaned up behind it. */
static int open_patiently(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	for (unsigned tries = 0;; tries++) {
		int r = b->open_device(b, path, ret, why);

		if (r != -EBUSY || tries == BUSY_TRIES)
			return r;
		printbuf_reset(why);
		fiber_sleep_ns(BUSY_PAUSE_NS);
	}
}

static int register_locked(struct bcf *b, const char *path, bool quiet, struct printbuf *why)
{
	struct blkdev *dev;
	struct super *super;
	int r;

	if (path[0] != '/') {
		pr(why, "%s: the path must be absolute", path);
		return -EINVAL;
	}
	if (on_own_mount(b, path)) {
		pr(why, "%s: lies in our own mount", path);
		return -EDEADLK;
	}
	r = check_not_registered(b, path, why);
	if (r < 0)
		return quiet ? 0 : r;
	r = open_patiently(b, path, &dev, why);
	if (r < 0)
		return quiet && r == -EBUSY ? 0 : r == -ENOMEM || r == -EBUSY ? r : -EINVAL;
	r = read_super(dev, path, &super, why);
	if (r < 0) {
		blk_close(dev);
		return r;
	}
	return super_is_backing(super) ? register_backing(b, dev, super, why) : register_cache(b, dev, super, why);
}

int bcf_register(struct bcf *b, const char *path, bool quiet, struct printbuf *why)
{
	int r = -ESHUTDOWN;

	fmutex_lock(&b->admin);
	if (b->stopping) /* asked when it is our turn: the end waits for those who wait here */
		pr(why, "%s: shutting down", path);
	else
		r = register_locked(b, path, quiet, why);
	if (r == 0)
		tunables_restore(b, b->saved ? b->saved : "");
	fmutex_unlock(&b->admin);
	return r;
}

int bcf_startup_done(struct bcf *b, struct printbuf *why)
{
	struct bdev *d;

	b->options.require_backing = false;
	list_for_each(d, &b->bdevs, link) {
		char text[37];
		struct printbuf uuid = PRINTBUF(text);

		if (d->running || d->closing || !d->backing) /* a volume that did not start is logged */
			continue;
		pr_uuid(&uuid, d->super->set_uuid);
		pr(why, "%s: the backing device is %s and its cache set %s is not here: not served", d->backing->path,
		   bdev_state_names[bdev_state(d)], text);
		return -ENODEV;
	}
	return 0;
}

/* --- exported devices -------------------------------------------------------------------------------------------------- */

struct bdev *bcf_dev_nth(struct bcf *b, unsigned n)
{
	struct bdev *d;

	list_for_each(d, &b->bdevs, link)
		if (d->running && !n--)
			return d;
	return NULL;
}

struct bdev *bcf_dev_find(struct bcf *b, const char *name)
{
	struct bdev *d;

	list_for_each(d, &b->bdevs, link)
		if (d->running && !strcmp(d->name, name))
			return d;
	return NULL;
}

const char *bcf_dev_name(const struct bdev *d) { return d->name; }
uint64_t bcf_dev_size_bytes(const struct bdev *d) { return d->nr_sectors * SECTOR_BYTES; }

uint32_t bcf_dev_block_bytes(const struct bdev *d)
{
	return (d->set ? d->set->g.block_sectors : d->super ? d->super->block_sectors : 1) * SECTOR_BYTES;
}

int bcf_dev_open(struct bdev *d)
{
	if (d->closing || !d->running)
		return -ENXIO;
	d->opens++;
	return 0;
}

void bcf_dev_close(struct bdev *d)
{
	assert(d->opens > 0);
	if (!--d->opens)
		wake_all(&d->bcf->changed);
}

/* --- beginning and end ------------------------------------------------------------------------------------------------- */

static int open_real_device(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	return blk_uring_open(path, false, ret, why);
}

static void stats_timer(struct timer *t)
{
	struct bcf *b = container_of(t, struct bcf, stats_timer);

	bcf_stats_tick(b);
	timer_arm_ns(t, STATS_TICK_NS);
}

static void load_saved(struct bcf *b)
{
	const char *path = b->options.state_file;
	char text[400] = "";
	struct printbuf why = PRINTBUF(text);

	if (!path)
		return;
	if (on_own_mount(b, path))
		pr(&why, "ignoring the saved settings in '%s': the file lies in our own mount", path);
	else
		b->saved = saved_load(path, &why);
	if (text[0])
		log_warn("%s", text);
}

static void load_timer(struct timer *t)
{
	struct bcf *b = container_of(t, struct bcf, load_timer);
	struct bdev *d;

	list_for_each(d, &b->bdevs, link) {
		uint64_t counters[LOADS];

		loadavg_counters(d, counters);
		loadavg_sample(&d->load, counters, engine_now_ns());
	}
	timer_arm_ns(t, LOADAVG_PERIOD_NS);
}

int bcf_new(const struct bcf_options *o, struct bcf **ret)
{
	struct bcf *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->options = *o;
	if (!b->options.shutdown_timeout_s)
		b->options.shutdown_timeout_s = SHUTDOWN_TIMEOUT_S_DEFAULT;
	list_init(&b->csets);
	list_init(&b->bdevs);
	fmutex_init(&b->admin);
	wait_queue_init(&b->changed);
	b->started_ns = engine_now_ns();
	b->open_device = open_real_device;
	load_saved(b);
	timer_init(&b->stats_timer, stats_timer);
	timer_arm_ns(&b->stats_timer, STATS_TICK_NS);
	timer_init(&b->load_timer, load_timer);
	timer_arm_ns(&b->load_timer, LOADAVG_PERIOD_NS);
	*ret = b;
	return 0;
}

static bool anything_left(const struct bcf *b) { return !list_empty(&b->csets) || !list_empty(&b->bdevs); }

static void name_what_blocks(const struct bcf *b)
{
	struct cset *c;
	struct bdev *d;

	list_for_each(c, &b->csets, link)
		log_warn("still stopping: cache set %s", c->uuid_text);
	list_for_each(d, &b->bdevs, link)
		log_warn("still stopping: %s (%u requests in flight)", d->name, d->count);
}

/* Administrative operations in progress, and those that wait for their turn, come to their end; no new one begins once `stopping` is set. */
static void drain_admin(struct bcf *b)
{
	while (fmutex_locked(&b->admin)) { /* unlocking hands it to the next one who waits */
		fmutex_lock(&b->admin);
		fmutex_unlock(&b->admin);
	}
}

int bcf_stop(struct bcf *b)
{
	uint64_t deadline = engine_now_ns() + b->options.shutdown_timeout_s * NS_PER_S;
	struct cset *c;
	struct bdev *d;

	b->stopping = true;
	drain_admin(b);
	timer_cancel(&b->stats_timer);
	timer_cancel(&b->load_timer);
	list_for_each(c, &b->csets, link)
		cset_stop(c, false);
	list_for_each(d, &b->bdevs, link)
		bdev_stop(d);
	wake_all(&b->changed);
	while (anything_left(b)) {
		uint64_t now = engine_now_ns();

		if (now >= deadline || wait_queue_wait_timeout(&b->changed, deadline - now) == -ETIME) {
			name_what_blocks(b);
			log_warn("not everything could be stopped in %u s; the next start replays the journal", b->options.shutdown_timeout_s);
			return -ETIMEDOUT; /* b stays: fibers still use it */
		}
	}
	drain_admin(b);
	free(b->saved);
	free(b);
	return 0;
}
