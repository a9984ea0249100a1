/* SPDX-License-Identifier: GPL-2.0-only */
/* Control files of devices: dev<N>/ and stats_* (control-files.md §4, §5, §10.5). */
#include "core/admin/attr.h"
#include "core/admin/ctl.h"
#include "core/set/volume.h"
#include "core/writeback/batch.h"
#include "core/writeback/throttle.h"

#include <inttypes.h>

static const char *const cache_mode_words[] = { "writethrough", "writeback", "writearound", "none", NULL };
static const char *const readahead_words[] = { "all", "meta-only", NULL };
static const char *const stop_words[] = { "auto", "always", NULL };

/* --- identity and state -------------------------------------------------------------------------------------------------- */

static int show_state(const struct attr_object *o, struct printbuf *out)
{
	pr(out, "%s\n", bdev_state_names[bdev_state_shown(o->d)]);
	return 0;
}

static int show_label(const struct attr_object *o, struct printbuf *out)
{
	char label[LABEL_BYTES + 1];

	attr_bdev_label(o->d, label);
	pr(out, "%s\n", label);
	return 0;
}

static int show_backing_name(const struct attr_object *o, struct printbuf *out)
{
	const char *path = o->d->backing->path;
	const char *slash = strrchr(path, '/');

	pr(out, "%s\n", slash ? slash + 1 : path);
	return 0;
}

static int show_backing_path(const struct attr_object *o, struct printbuf *out)
{
	pr(out, "%s\n", o->d->backing->path);
	return 0;
}

static int show_backing_uuid(const struct attr_object *o, struct printbuf *out)
{
	pr_uuid(out, o->d->super->uuid);
	pr_char(out, '\n');
	return 0;
}

static int64_t get_dirty_data(const struct attr_object *o, const struct attr *a)
{
	return o->d->set ? (int64_t)(o->d->writeback.dirty_sectors * SECTOR_BYTES) : 0;
}

static int64_t get_cached_data(const struct attr_object *o, const struct attr *a)
{
	return o->d->set ? (int64_t)slot_cached_sectors(o->d->set, o->d->inode) : 0;
}

static int64_t get_stripe_size(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)(bdev_stripe_sectors(o->d) * SECTOR_BYTES);
}

static int64_t raw_stripe_size(const struct attr_object *o)
{
	return (int64_t)(o->d->writeback.stripe_override_sectors * SECTOR_BYTES);
}

#define STRIPE_BYTES_MIN KIB(4) /* smaller ones would only cost memory */

/* The kernel does not let it be set. Here backing devices may be files, and arrays that tell nobody what they are. */
static int store_stripe_size(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct writeback *w = &o->d->writeback;

	if (v->number && (v->number < STRIPE_BYTES_MIN || v->number % SECTOR_BYTES || v->number / SECTOR_BYTES > STRIPE_SECTORS_MAX)) {
		pr(why, "a stripe has between 4.0k and 1.0T, in whole sectors; 0 means what the device says");
		return -EINVAL;
	}
	if (w->stripe_override_sectors == v->number / SECTOR_BYTES)
		return 0; /* counting again walks the index */
	w->stripe_override_sectors = v->number / SECTOR_BYTES;
	if (o->d->set) {
		w->recount = true;
		writeback_wake(o->d);
	}
	return 0;
}

static int64_t get_size(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)bcf_dev_size_bytes(o->d);
}

static int store_label(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = o->d;
	int r;

	bdev_hold(d);
	r = bdev_set_label(d, v->text, v->len_bytes);
	bdev_release(d);
	return r;
}

/* --- actions ------------------------------------------------------------------------------------------------------------- */

/* By both: a number may be another device's by now, and copies of a device have one uuid. */
static struct bdev *find_device(struct bcf *b, unsigned number, const uint8_t uuid[16], bool flash)
{
	struct bdev *d;

	list_for_each(d, &b->bdevs, link)
		if (d->number == number && ctl_bdev_visible(d) && bdev_is_flash(d) == flash && !memcmp(attr_bdev_uuid(d), uuid, 16))
			return d;
	return NULL;
}

/*
 * Become the one administrative operation. That may wait, so the device is looked up again; NULL, without the lock: it is gone. No
 * reference is held meanwhile: who has the lock may be waiting for this very device to become unused.
 */
static FIBER_FN struct bdev *admin_begin(const struct attr_object *o)
{
	struct bcf *b = o->b;
	bool flash = bdev_is_flash(o->d);
	unsigned number = o->d->number;
	struct bdev *d;
	uint8_t uuid[16];

	memcpy(uuid, attr_bdev_uuid(o->d), sizeof(uuid));
	fmutex_lock(&b->admin);
	d = b->stopping ? NULL : find_device(b, number, uuid, flash);
	if (d)
		bdev_hold(d);
	else
		fmutex_unlock(&b->admin);
	return d;
}

static void admin_end(struct bdev *d)
{
	struct bcf *b = d->bcf;

	bdev_release(d);
	fmutex_unlock(&b->admin);
}

static int store_attach(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = admin_begin(o);
	struct cset *c;
	int r = -ENOENT;

	if (!d)
		return -ENODEV;
	c = bcf_set_find(d->bcf, v->uuid);
	if (c)
		r = bdev_attach(d, c, true, why);
	else
		pr(why, "no cache set with this uuid is registered");
	admin_end(d);
	return r;
}

static int store_readopt(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = admin_begin(o);
	int r;

	if (!d)
		return -ENODEV;
	r = attr_readopt(d, v, why);
	admin_end(d);
	return r;
}

static int store_running(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d;
	int r;

	if (!v->number)
		return 0; /* the kernel's: accepted, no effect */
	d = admin_begin(o);
	if (!d)
		return -ENODEV;
	r = bdev_run(d);
	if (r == -EBUSY)
		pr(why, "the device is running already");
	admin_end(d);
	return r;
}

static int store_detach(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	if (o->d->set && !o->d->detaching)
		bdev_detach(o->d);
	return 0;
}

static int store_stop(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	bdev_stop(o->d);
	return 0;
}

static int store_clear_stats(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	stats_clear(&o->d->stats);
	account_clear(&o->d->account);
	memset(o->d->bypass_reasons, 0, sizeof(o->d->bypass_reasons));
	memset(o->d->writeback_refusals, 0, sizeof(o->d->writeback_refusals));
	return 0;
}

static void reasons_text(struct printbuf *out, const char *const *names, const struct reason_count *counts, unsigned nr)
{
	pr(out, "reason requests sectors\n");
	for (unsigned i = 0; i < nr; i++)
		if (names[i])
			pr(out, "%s %" PRIu64 " %" PRIu64 "\n", names[i], counts[i].requests, counts[i].sectors);
}

static int show_bypass_reasons(const struct attr_object *o, struct printbuf *out)
{
	reasons_text(out, bypass_reason_names, o->d->bypass_reasons, BYPASS_REASONS);
	return 0;
}

static int show_writeback_refusals(const struct attr_object *o, struct printbuf *out)
{
	reasons_text(out, writeback_refusal_names, o->d->writeback_refusals, WRITEBACK_REFUSALS);
	return 0;
}

static int show_latency(const struct attr_object *o, struct printbuf *out)
{
	account_latency_text(out, &o->d->account);
	return 0;
}

static int show_stat(const struct attr_object *o, struct printbuf *out)
{
	account_stat_text(out, &o->d->account, engine_now_ns());
	return 0;
}

static int store_flush(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = o->d;
	int r;

	bdev_hold(d);
	r = writeback_flush(d);
	bdev_release(d);
	if (r == -ENOTCONN)
		pr(why, "the device is not attached to a cache set");
	return r;
}

/* --- volumes ------------------------------------------------------------------------------------------------------------- */

static int store_volume_size(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = admin_begin(o);
	int r;

	if (!d)
		return -ENODEV;
	r = volume_resize(d, v->number, why);
	admin_end(d);
	return r;
}

static int store_volume_unregister(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	size_t len = v->len_bytes && v->text[v->len_bytes - 1] == '\n' ? v->len_bytes - 1 : v->len_bytes;
	struct bdev *d = admin_begin(o);
	int r;

	if (!d)
		return -ENODEV;
	r = volume_remove(d, len == strlen("force") && !memcmp(v->text, "force", len), why);
	admin_end(d);
	return r;
}

/* --- caching policy ------------------------------------------------------------------------------------------------------ */

static int64_t get_cache_mode(const struct attr_object *o, const struct attr *a)
{
	return bdev_cache_mode(o->d);
}

static int store_cache_mode(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = o->d;
	int r;

	bdev_hold(d);
	r = bdev_set_cache_mode(d, (enum cache_mode)v->number);
	bdev_release(d);
	return r;
}

static int store_io_disable(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d = o->d;
	int r = 0;

	if (!v->number && d->names_set) {
		bdev_hold(d);
		r = bdev_write_super(d);
		bdev_release(d);
	}
	if (r < 0) {
		pr(why, "the superblock of '%s' still names a cache set that it has left, and cannot be written: %s", d->backing->path, strerror(-r));
		return r;
	}
	d->io_disable = v->number;
	d->names_set &= d->io_disable;
	writeback_wake(d); /* it rested meanwhile, also in the middle of a detach */
	return 0;
}

/* --- writeback ----------------------------------------------------------------------------------------------------------- */

static void wake_writeback(const struct attr_object *o)
{
	if (o->d->set)
		writeback_wake(o->d);
}

/* The field means "once attached"; without a set nothing runs. */
static bool writeback_on(const struct bdev *d)
{
	return d->set && d->writeback.running;
}

static int64_t get_writeback_running(const struct attr_object *o, const struct attr *a)
{
	return writeback_on(o->d);
}

static int store_writeback_running(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	if (!o->d->set && !o->restoring)
		return 0; /* the kernel's: success, but it stays 0 */
	o->d->writeback.running = v->number;
	wake_writeback(o);
	return 0;
}

static int64_t get_writeback_rate(const struct attr_object *o, const struct attr *a)
{
	return writeback_on(o->d) ? o->d->writeback.rate.rate : 0;
}

static int store_writeback_rate(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	o->d->writeback.rate.rate = (uint32_t)v->number;
	wake_writeback(o);
	return 0;
}

static void bounds_percent(const struct attr_object *o, uint64_t *min, uint64_t *max)
{
	*max = attr_cutoff_writeback(o->b, o->d->set);
}

/* low < mid < high always holds: each is clamped against its neighbours as they are now. */
static void bounds_fp_low(const struct attr_object *o, uint64_t *min, uint64_t *max)
{
	*max = o->d->writeback.tunables.fp_term_mid - 1;
}

static void bounds_fp_mid(const struct attr_object *o, uint64_t *min, uint64_t *max)
{
	*min = (uint64_t)o->d->writeback.tunables.fp_term_low + 1;
	*max = o->d->writeback.tunables.fp_term_high - 1;
}

static void bounds_fp_high(const struct attr_object *o, uint64_t *min, uint64_t *max)
{
	*min = (uint64_t)o->d->writeback.tunables.fp_term_mid + 1;
}

/* control-files.md §10.5 */
static int show_inflight(const struct attr_object *o, struct printbuf *out)
{
	const struct writeback *w = &o->d->writeback;
	uint64_t sectors = 0;
	unsigned inflight = w->batch ? writeback_batch_inflight(w->batch, &sectors) : 0;

	pr(out, "inflight %u limit %u bytes %llu queued %u\n", inflight, w->inflight_limit, (unsigned long long)(sectors * SECTOR_BYTES),
	   keybuf_waiting(&w->keybuf));
	if (inflight)
		writeback_batch_text(w->batch, out);
	return 0;
}

static int show_failed(const struct attr_object *o, struct printbuf *out)
{
	failures_to_text(&o->d->writeback.failed, o->d->data_offset, out);
	return 0;
}

static int64_t get_starved_seconds(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)(o->d->writeback.rate.starved_ns / NS_PER_S);
}

static int show_loadavg(const struct attr_object *o, struct printbuf *out)
{
	loadavg_to_text(&o->d->load, out);
	return 0;
}

static void restart_controller(const struct attr_object *o)
{
	throttle_restart(o->d);
	wake_writeback(o);
}

static void bounds_rate(const struct attr_object *o, uint64_t *min, uint64_t *max)
{
	*max = o->d->writeback.tunables.maximum;
}

static void maximum_changed(const struct attr_object *o)
{
	struct writeback *w = &o->d->writeback;

	w->rate.rate = min(w->rate.rate, w->tunables.maximum); /* now, not when the controller comes along */
	wake_writeback(o);
}

static void debug_line(struct printbuf *out, const char *name, int64_t sectors, const char *end)
{
	pr(out, "%s", name);
	pr_human(out, sectors * (int64_t)SECTOR_BYTES);
	pr(out, "%s\n", end);
}

static int show_rate_debug(const struct attr_object *o, struct printbuf *out)
{
	const struct rate_state *r = &o->d->writeback.rate;
	bool on = writeback_on(o->d);
	int64_t next_ms = on ? (int64_t)(r->next_ns - engine_now_ns()) / (int64_t)NS_PER_MS : 0;

	debug_line(out, "rate:\t\t", on ? r->rate : 0, "/sec");
	debug_line(out, "dirty:\t\t", o->d->set ? (int64_t)o->d->writeback.dirty_sectors : 0, "");
	debug_line(out, "target:\t\t", r->target, "");
	debug_line(out, "proportional:\t", on ? r->proportional : 0, "");
	debug_line(out, "integral:\t", on ? r->integral_scaled : 0, "");
	debug_line(out, "change:\t\t", on ? r->change : 0, "/sec");
	pr(out, "next io:\t%" PRId64 "ms\n", next_ms);
	return 0;
}

/* --- the tables ---------------------------------------------------------------------------------------------------------- */

#define TUNE(n, in, fmt, fld, lo, hi, def, h, ...) \
	{ .name = n, .help = h, .mode = 0644, .input = in, .format = fmt, .field = ATTR_BDEV_FIELD(fld), .keep = ATTR_KEEP_SAVED, .min = lo, .max = hi, .dflt = def, \
	  __VA_ARGS__ }
#define TUNE_U(n, fld, lo, hi, def, h, ...) TUNE(n, ATTR_IN_U, ATTR_DEC, fld, lo, hi, def, h, __VA_ARGS__)
#define TUNE_B(n, fld, def, h, ...) TUNE(n, ATTR_IN_B, ATTR_DEC, fld, 0, 1, def, h, __VA_ARGS__)
#define TUNE_E(n, fld, w, def, h) TUNE(n, ATTR_IN_E, ATTR_LIST, fld, 0, 0, def, h, .words = w)

static const struct attr bdev_attrs[] = {
	ATTR_RO_TEXT("state", show_state, "no cache, clean, dirty or inconsistent"),
	{ .name = "running", .help = "1 while the device has a data file; write 1 to start it without its cache", .mode = 0644, .input = ATTR_IN_U,
	  .keep = ATTR_KEEP_STATE, .max = UINT64_MAX, .field = ATTR_BDEV_FIELD(running), .store = store_running },
	ATTR_RO_TEXT("backing_dev_name", show_backing_name, "name of the backing device without its directory"),
	ATTR_RO_TEXT("backing_dev_path", show_backing_path, "path of the backing device as it was registered"),
	ATTR_RO_TEXT("backing_dev_uuid", show_backing_uuid, "uuid in the backing device's superblock"),
	{ .name = "label", .help = "name of the device, at most 32 bytes; kept in the superblock", .mode = 0644, .input = ATTR_IN_LABEL,
	  .keep = ATTR_KEEP_SHOWN, .show = show_label, .store = store_label },
	ATTR_RO(ATTR_HR, "dirty_data", get_dirty_data, "data in the cache that the backing device does not have yet"),
	ATTR_RO(ATTR_HR_SECTORS, "cached_data", get_cached_data, "data in the cache, clean and dirty; clean data as of the last gc"),
	{ .name = "stripe_size", .help = "granularity of dirty accounting; write 0 for the device's optimal I/O size", .mode = 0644,
	  .input = ATTR_IN_H, .format = ATTR_HR, .keep = ATTR_KEEP_SAVED, .raw = raw_stripe_size, .get = get_stripe_size, .store = store_stripe_size },
	TUNE_B("partial_stripes_expensive", writeback.partial_stripes, 0, "1: writing part of a stripe costs extra reads; fill and prefer whole ones"),
	ATTR_RO(ATTR_DEC, "size_bytes", get_size, "exact capacity"),
	ATTR_RO_FIELD(ATTR_DEC, "open_count", ATTR_BDEV_FIELD(opens), "open handles of the data file"),
	ATTR_RO_TEXT("stat", show_stat, "the 17 fields of a block device's stat file"),
	ATTR_RO_TEXT("latency", show_latency, "how long requests took, by what became of them; microseconds"),
	ATTR_RO_TEXT("bypass_reasons", show_bypass_reasons, "requests that bypassed the cache, by reason"),
	ATTR_RO_TEXT("writeback_refusals", show_writeback_refusals, "writes in writeback mode that were not written back, by reason"),

	ATTR_ACTION("attach", ATTR_IN_UUID, store_attach, "attach to the registered cache set with this uuid"),
	ATTR_ACTION("readopt", ATTR_IN_PATH, store_readopt,
		    "SLOT of a set's `uuids`, and SET-UUID if there are several: take back the dirty data in it, and attach"),
	ATTR_ACTION("detach", ATTR_IN_ANY, store_detach, "write everything back, then leave the cache set"),
	ATTR_ACTION("stop", ATTR_IN_ANY, store_stop, "close the device without writing back"),
	ATTR_ACTION("clear_stats", ATTR_IN_ANY, store_clear_stats, "zero stats_total, latency and the counts of reasons"),
	ATTR_ACTION("flush", ATTR_IN_ANY, store_flush, "write everything back now and wait for it"),

	{ .name = "cache_mode", .help = "which requests use the cache; kept in the superblock", .mode = 0644, .input = ATTR_IN_E,
	  .format = ATTR_LIST, .keep = ATTR_KEEP_SHOWN, .words = cache_mode_words, .get = get_cache_mode, .store = store_cache_mode },
	TUNE_E("readahead_cache_policy", readahead_cache_policy, readahead_words, 0, "stored without effect: FUSE does not mark read-ahead"),
	TUNE_E("stop_when_cache_set_failed", stop_when_cache_set_failed, stop_words, 0, "after a cache failure: stop if dirty (auto), or always"),
	TUNE("sequential_cutoff", ATTR_IN_UH, ATTR_HR, sequential_cutoff_bytes, 0, UINT32_MAX, MIB(4),
	     "streams that reach this size bypass the cache; 0 = none does"),
	TUNE_B("strict_writethrough", strict_writethrough, 0,
	       "1: writes past the cache are durable when they return, and the old copy is forgotten first, so no crash brings it back for a while"),
	TUNE_B("data_csum", data_csum, 0, "1: checksum what goes to the cache and check what comes back; in memory, so for data of this run of the daemon"),
	TUNE_B("verify", verify, 0, "1: compare clean data read from the cache with the backing device; a difference, which unflushed writes before a crash may leave, fails the set"),
	TUNE_B("bypass_torture_test", bypass_torture_test, 0, "1: a random quarter of requests bypasses the cache"),
	TUNE_B("writeback_metadata", writeback.metadata, 1, "stored without effect, as in the kernel"),
	{ .name = "io_disable", .help = "1: every request fails with EIO", .mode = 0644, .input = ATTR_IN_B, .keep = ATTR_KEEP_STATE,
	  .field = ATTR_BDEV_FIELD(io_disable), .store = store_io_disable },
	ATTR_RO_FIELD(ATTR_DEC, "io_errors", ATTR_BDEV_FIELD(io_errors), "failed requests on the backing device since registration"),
	TUNE_U("io_error_limit", io_error_limit, 0, INT32_MAX, 64, "backing errors after which the device is disabled and stopped"),

	{ .name = "writeback_running", .help = "0 pauses background writeback", .mode = 0644, .input = ATTR_IN_B,
	  .keep = ATTR_KEEP_SAVED, .dflt = 1, .max = 1, .field = ATTR_BDEV_FIELD(writeback.running), .get = get_writeback_running, .store = store_writeback_running },
	TUNE_U("writeback_percent", writeback.tunables.percent, 0, 100, 10, "target share of the cache for dirty data; 0 = write back at full speed",
	       .bounds = bounds_percent, .changed = wake_writeback),
	TUNE_U("writeback_delay", writeback.delay_s, 0, UINT32_MAX, 30, "seconds to rest after a complete scan", .changed = wake_writeback),
	{ .name = "writeback_rate", .help = "current rate; a bare number is sectors/s, with a unit bytes/s", .mode = 0644, .input = ATTR_IN_UH,
	  .format = ATTR_HR_SECTORS, .keep = ATTR_KEEP_SHOWN, .min = 1, .max = RATE_UNLIMITED,
	  .field = ATTR_BDEV_FIELD(writeback.rate.rate), .bounds = bounds_rate, .get = get_writeback_rate, .store = store_writeback_rate },
	TUNE_U("writeback_rate_update_seconds", writeback.tunables.update_seconds, 1, 60, 5, "period of the rate controller",
	       .changed = restart_controller),
	TUNE_U("writeback_rate_p_term_inverse", writeback.tunables.p_term_inverse, 1, UINT32_MAX, 40, "proportional term = error / this"),
	TUNE_U("writeback_rate_i_term_inverse", writeback.tunables.i_term_inverse, 1, UINT32_MAX, 10000, "integral term = accumulated error / this"),
	TUNE_U("writeback_rate_minimum", writeback.tunables.minimum, 1, UINT32_MAX, 8, "lowest rate, sectors/s"),
	TUNE("writeback_rate_maximum", ATTR_IN_UH, ATTR_HR_SECTORS, writeback.tunables.maximum, 1, RATE_UNLIMITED, RATE_UNLIMITED,
	     "highest rate; a bare number is sectors/s, with a unit bytes/s", .changed = maximum_changed),
	TUNE_U("writeback_inflight_limit", writeback.inflight_limit, 1, WRITEBACK_INFLIGHT_MAX, WRITEBACK_INFLIGHT_DEFAULT,
	       "most extents written back at once"),
	TUNE_B("writeback_consider_latency", writeback.consider_latency, 1, "keep less in flight while requests wait for the backing device because of it"),
	TUNE_B("writeback_consider_fragment", writeback.tunables.consider_fragment, 1, "hurry when few dirty sectors hold many buckets"),
	TUNE_U("writeback_rate_fp_term_low", writeback.tunables.fp_term_low, 1, UINT32_MAX, 1, "weight at 50-57 % in use", .bounds = bounds_fp_low),
	TUNE_U("writeback_rate_fp_term_mid", writeback.tunables.fp_term_mid, 1, UINT32_MAX, 10, "weight at 57-64 % in use", .bounds = bounds_fp_mid),
	TUNE_U("writeback_rate_fp_term_high", writeback.tunables.fp_term_high, 1, UINT32_MAX, 1000, "weight above 64 % in use",
	       .bounds = bounds_fp_high),
	ATTR_RO_TEXT("writeback_rate_debug", show_rate_debug, "the rate controller's terms"),
	ATTR_RO_TEXT("writeback_inflight", show_inflight, "extents being written back: phase, offset, bytes, age in ms"),
	ATTR_RO_TEXT("writeback_failed", show_failed, "where the last pass of writeback failed: phase, offset, bytes, error"),
	ATTR_RO(ATTR_DEC, "writeback_starved_seconds", get_starved_seconds, "time above the target in which the rate was held down, after 15 minutes of it"),
	ATTR_RO_TEXT("loadavg", show_loadavg, "what the device did per second, over 1, 5 and 15 minutes"),
};
const struct attr_table attr_bdev_table = ATTR_TABLE(bdev_attrs);

static const struct attr volume_attrs[] = {
	{ .name = "label", .help = "name of the volume, at most 32 bytes; kept by the cache set", .mode = 0644, .input = ATTR_IN_LABEL,
	  .keep = ATTR_KEEP_SHOWN, .show = show_label, .store = store_label },
	{ .name = "size", .help = "capacity; what a smaller one cuts off is gone", .mode = 0644, .input = ATTR_IN_H, .format = ATTR_HR,
	  .keep = ATTR_KEEP_STATE, .get = get_size, .store = store_volume_size },
	ATTR_ACTION("unregister", ATTR_IN_ANY, store_volume_unregister, "destroy the volume and its data; while it is open only with the text force"),
	ATTR_RO(ATTR_DEC, "size_bytes", get_size, "exact capacity"),
	ATTR_RO_FIELD(ATTR_DEC, "open_count", ATTR_BDEV_FIELD(opens), "open handles of the data file"),
	ATTR_RO_TEXT("stat", show_stat, "the 17 fields of a block device's stat file"),
	ATTR_RO_TEXT("latency", show_latency, "how long requests took, by what became of them; microseconds"),
};
const struct attr_table attr_volume_table = ATTR_TABLE(volume_attrs);

static int64_t get_stat(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)stats_read(o->stats, o->period, a->arg);
}

static int64_t get_stat_bytes(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)(stats_read(o->stats, o->period, a->arg) * SECTOR_BYTES);
}

static int64_t get_byte_hit_ratio(const struct attr_object *o, const struct attr *a)
{
	return stats_byte_hit_ratio(o->stats, o->period);
}

static int64_t get_hit_ratio(const struct attr_object *o, const struct attr *a)
{
	return stats_hit_ratio(o->stats, o->period);
}

#define STAT(f, n, counter, h) { .name = n, .help = h, .mode = 0444, .format = f, .get = get_stat, .arg = counter }

/* telegraf takes every file here for a plain number, except `bypassed` (control-files.md §2). */
static const struct attr stats_attrs[] = {
	STAT(ATTR_DEC, "cache_hits", STAT_HITS, "reads served from the cache"),
	STAT(ATTR_DEC, "cache_misses", STAT_MISSES, "reads that needed the backing device, in part at least"),
	STAT(ATTR_DEC, "cache_bypass_hits", STAT_BYPASS_HITS, "reads meant to bypass that found their data in the cache"),
	STAT(ATTR_DEC, "cache_bypass_misses", STAT_BYPASS_MISSES, "reads that bypassed the cache"),
	ATTR_RO(ATTR_DEC, "cache_hit_ratio", get_hit_ratio, "percent of hits, without bypassing reads"),
	STAT(ATTR_DEC, "cache_miss_collisions", STAT_MISS_COLLISIONS, "misses not cached because a write came first"),
	{ .name = "cache_hit_bytes", .help = "data of reads that came from the cache, without bypassing reads", .mode = 0444,
	  .get = get_stat_bytes, .arg = STAT_HIT_SECTORS },
	{ .name = "cache_miss_bytes", .help = "data of reads that came from the backing device, without bypassing reads", .mode = 0444,
	  .get = get_stat_bytes, .arg = STAT_MISS_SECTORS },
	ATTR_RO(ATTR_DEC, "cache_byte_hit_ratio", get_byte_hit_ratio, "percent of bytes that came from the cache, without bypassing reads"),
	STAT(ATTR_HR_SECTORS, "bypassed", STAT_BYPASSED_SECTORS, "data of requests that bypassed the cache"),
};
const struct attr_table attr_stats_table = ATTR_TABLE(stats_attrs);
