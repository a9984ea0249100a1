/* SPDX-License-Identifier: GPL-2.0-only */
/* Control files of cache sets: <set-uuid>/ and <set-uuid>/internal/ (control-files.md §6, §7, §10.7). */
#include "core/admin/attr.h"
#include "core/set/volume.h"

static const char *const errors_words[] = { "unregister", "panic", NULL };

/* --- what the set is ----------------------------------------------------------------------------------------------------- */

const char *attr_set_state(const struct cset *c)
{
	if (c->io_disable)
		return "failed";
	if (c->state == CSET_STOPPING)
		return c->unregistering ? "detaching" : "stopping";
	return c->state == CSET_STARTING ? "starting" : "running";
}

static int show_state(const struct attr_object *o, struct printbuf *out)
{
	pr(out, "%s\n", attr_set_state(o->c));
	return 0;
}

static int64_t get_size(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)(o->c->g.nr_buckets * o->c->g.bucket_sectors * SECTOR_BYTES);
}

static int64_t get_dirty_data(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)slots_all_dirty_sectors(o->c);
}

static int64_t get_block_size(const struct attr_object *o, const struct attr *a)
{
	return o->c->g.block_sectors;
}

static int64_t get_bucket_size(const struct attr_object *o, const struct attr *a)
{
	return o->c->g.bucket_sectors;
}

static int64_t get_available_percent(const struct attr_object *o, const struct attr *a)
{
	return 100 - (int64_t)alloc_in_use_percent(o->c);
}

static int64_t get_average_key_size(const struct attr_object *o, const struct attr *a)
{
	const struct gc_stats *g = &o->c->gc.last;

	return g->keys ? (int64_t)(g->data_sectors * SECTOR_BYTES / g->keys) : 0;
}

static int64_t get_btree_cache_size(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)btree_memory_bytes(o->c);
}

static int64_t get_tree_depth(const struct attr_object *o, const struct attr *a)
{
	return o->c->btree.root ? o->c->btree.root->level : 0;
}

static uint64_t node_bytes(const struct cset *c)
{
	return (uint64_t)c->g.node_sectors * SECTOR_BYTES;
}

static bool root_key_live(const struct cset *c, const struct bnode *root, const struct bkey *k)
{
	if (!root->level)
		return extent_live(c, k);
	return bkey_ptrs(k) && !ptr_stale(c, k->ptr[0]);
}

unsigned attr_root_usage_percent(const struct cset *c)
{
	const struct bnode *root = c->btree.root;
	struct bkeys_iter it;
	struct bkey *k;
	uint64_t bytes = 0;

	if (!root || root->loading || !node_bytes(c))
		return 0;
	bkeys_iter_init_all(&it, &root->keys);
	while ((k = bkeys_iter_next(&it)))
		if (root_key_live(c, root, k))
			bytes += bkey_words(k) * 8;
	return (unsigned)(bytes * 100 / node_bytes(c));
}

static int64_t get_root_usage(const struct attr_object *o, const struct attr *a)
{
	return attr_root_usage_percent(o->c);
}

uint64_t attr_congested_sectors(const struct cset *c)
{
	return congestion_limit(&c->congestion, engine_now_ns(), (uint32_t)engine_random_u64());
}

static int64_t get_congested(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)attr_congested_sectors(o->c);
}

/* --- settings ------------------------------------------------------------------------------------------------------------ */

/* The kernel keeps I/Os per decay step, 88 steps to a half; so multiples of 88 read back, and scripts compare. */
#define DECAY_STEPS_PER_HALFLIFE 88

static int64_t get_halflife(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)o->c->io_error_halflife * DECAY_STEPS_PER_HALFLIFE;
}

static int store_halflife(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	o->c->io_error_halflife = (uint32_t)(v->number / DECAY_STEPS_PER_HALFLIFE);
	return 0;
}

static int64_t get_synchronous(const struct attr_object *o, const struct attr *a)
{
	return super_sync(o->c->super);
}

/* The name of something that would be lost if the set were not journalled any more, or NULL. */
static const char *holds_only_copy(const struct cset *c)
{
	if (c->flash_dirty_sectors)
		return "a flash-only volume has data";
	for (uint32_t i = 0; i < c->g.nr_uuids; i++) {
		const struct bdev *d = c->devices[i];

		switch (uuid_entry_state(&c->uuids[i])) {
		case UUID_SLOT_FLASH:
			return "the set has a flash-only volume";
		case UUID_SLOT_CACHED:
			if (!d)
				return "a device that is not registered may have dirty data";
			if (d->writeback.has_dirty || d->writeback.dirty_sectors || d->writeback.dirty_writers)
				return "a device has dirty data";
			break;
		default:
			break;
		}
	}
	return NULL;
}

/*
 * A superblock with SYNC=0 means "format me" at the next start (R1.1, I-26). So it is refused whenever anything would be lost, and
 * otherwise too: running without a journal is not something we can do.
 */
static int store_synchronous(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	const char *loss;

	if (v->number == super_sync(o->c->super))
		return 0;
	loss = holds_only_copy(o->c);
	if (loss) {
		pr(why, "an unjournalled set is discarded at the next start: %s", loss);
		return -EBUSY;
	}
	pr(why, "index updates are always journalled");
	return -EOPNOTSUPP;
}

/* --- actions ------------------------------------------------------------------------------------------------------------- */

static int store_stop(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	cset_stop(o->c, false);
	return 0;
}

static int store_flash_vol_create(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bcf *b = o->b;
	int r = -EINTR;

	fmutex_lock(&b->admin);
	if (b->stopping)
		pr(why, "shutting down");
	else
		r = volume_create(o->c, v->number, why);
	fmutex_unlock(&b->admin);
	return r;
}

static int store_unregister(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	cset_stop(o->c, true);
	return 0;
}

/* Counters only: what decisions use (bucket counts, last gc) must stay true (control-files.md §6). */
static int store_clear_stats(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	stats_clear(&o->c->stats);
	histogram_clear(&o->c->wait_bucket);
	histogram_clear(&o->c->wait_journal);
	histogram_clear(&o->c->journal.entry_latency);
	o->c->writeback_keys_done = o->c->writeback_keys_failed = 0;
	return 0;
}

static int store_trigger_gc(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	gc_trigger(o->c);
	return 0;
}

static int store_gc_wait(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	return gc_run(o->c);
}

static int store_sync(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bcf *b = o->b;
	struct cset *c = o->c;
	uint8_t uuid[16];
	int r;

	memcpy(uuid, c->super->set_uuid, sizeof(uuid));
	r = journal_flush(c);
	if (r < 0)
		return r;
	return bcf_set_find(b, uuid) == c ? blk_flush(c->cache) : -ENODEV;
}

/* Bit 1: what it waits for has happened, and gc comes when everything is written back. */
static int64_t get_gc_after_writeback(const struct attr_object *o, const struct attr *a)
{
	return o->c->gc.after_writeback + 2 * o->c->gc.after_writeback_due;
}
static void gc_after_writeback_changed(const struct attr_object *o) { o->c->gc.after_writeback_due = false; }

static int64_t get_io_disable(const struct attr_object *o, const struct attr *a)
{
	return o->c->io_blocked || o->c->io_disable;
}

/* The kernel's fibers end then and do not come back; ours rest. A set that has failed stays so. */
static int store_io_disable(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d;

	if (!v->number && o->c->io_disable) {
		pr(why, "the set has failed, and only a restart helps: %s", o->c->error);
		return -EROFS;
	}
	o->c->io_blocked = v->number;
	list_for_each(d, &o->b->bdevs, link)
		if (d->set == o->c)
			writeback_wake(d);
	return 0;
}

/* The number is in pages; nodes are what can be freed. */
static int store_prune_cache(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	uint64_t nodes = v->number / max(node_bytes(o->c) / PAGE_BYTES, (uint64_t)1);

	if (!o->c->shrinker_disabled)
		(void)btree_shrink(o->c, (unsigned)clamp(nodes, (uint64_t)1, (uint64_t)UINT32_MAX)); /* as many as there are */
	return 0;
}

/* --- internal ------------------------------------------------------------------------------------------------------------ */

static int64_t get_active_journal_entries(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)journal_active_entries(&o->c->journal);
}

static int64_t get_btree_used(const struct attr_object *o, const struct attr *a)
{
	const struct gc_stats *g = &o->c->gc.last;
	uint64_t all = g->nodes * node_bytes(o->c);

	return all ? (int64_t)(g->key_bytes * 100 / all) : 0;
}

static int64_t get_cache_max(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)btree_cache_max_bytes(o->c);
}

static int store_cache_max(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	return btree_set_cache_max(o->c, v->number);
}

static int64_t get_max_chain(const struct attr_object *o, const struct attr *a)
{
	const struct btree *t = &o->c->btree;
	int64_t longest = 0;

	for (size_t i = 0; t->hash && i < (size_t)1 << t->hash_bits; i++) {
		int64_t n = 0;

		for (const struct list *l = t->hash[i].next; l != &t->hash[i]; l = l->next)
			n++;
		longest = max(longest, n);
	}
	return longest;
}

static int show_no_features(const struct attr_object *o, struct printbuf *out)
{
	return 0; /* none is defined: the file is empty */
}

static int show_feature_incompat(const struct attr_object *o, struct printbuf *out)
{
	bool on = o->c->super->version >= SUPER_CACHE_FEATURES && o->c->super->feature_incompat & FEATURE_INCOMPAT_LOG_LARGE_BUCKET;

	pr(out, on ? "[large_bucket]\n" : "large_bucket\n");
	return 0;
}

static void open_buckets_changed(const struct attr_object *o)
{
	open_buckets_resize(o->c);
}

static void prio_write_changed(const struct attr_object *o)
{
	alloc_wake(o->c);
}

static int show_buckets(const struct attr_object *o, struct printbuf *out)
{
	const struct alloc *a = &o->c->alloc;
	struct bucket_census n;

	bucket_census_take(o->c, &n);
	pr(out, "free %llu\nclean %llu\ndirty %llu\nmetadata %llu\n", (unsigned long long)n.by_mark[MARK_NONE],
	   (unsigned long long)n.by_mark[MARK_RECLAIMABLE], (unsigned long long)n.by_mark[MARK_DIRTY],
	   (unsigned long long)n.by_mark[MARK_METADATA]);
	pr(out, "reserve_btree %u\nreserve_prio %u\nreserve_movinggc %u\nbad %llu\n", a->free[RESERVE_BTREE].nr, a->free[RESERVE_PRIO].nr,
	   a->free[RESERVE_MOVINGGC].nr, (unsigned long long)a->nr_bad); /* bad ones are metadata, too: nobody may have them */
	pr(out, "reserve_none %u\nfree_inc %u\nprio_writes %llu\ninvalidated %llu\ndiscards %llu\ndiscard_errors %llu\n", a->free[RESERVE_NONE].nr,
	   a->free_inc.nr, (unsigned long long)a->nr_prio_writes, (unsigned long long)a->nr_invalidated, (unsigned long long)a->nr_discards,
	   (unsigned long long)a->nr_discard_errors);
	return 0;
}

/* Journal buckets that hold nothing a recovery would need. */
static uint32_t journal_free_buckets(const struct journal *j)
{
	uint32_t n = 0;

	for (uint32_t i = 0; j->bucket_seq && i < j->nr_buckets; i++)
		n += i != j->cur && j->bucket_seq[i] < j->durable_last_seq;
	return n;
}

/* Of the attached backing devices, as stats_* are. */
static int show_loadavg(const struct attr_object *o, struct printbuf *out)
{
	struct loadavg sum = { .last_ns = 0 };

	for (uint32_t i = 0; i < o->c->g.nr_uuids; i++)
		if (o->c->devices[i] && !bdev_is_flash(o->c->devices[i]))
			loadavg_add(&sum, &o->c->devices[i]->load);
	loadavg_to_text(&sum, out);
	return 0;
}

static int show_journal(const struct attr_object *o, struct printbuf *out)
{
	const struct journal *j = &o->c->journal;

	pr(out, "seq %llu\nlast_seq %llu\nbuckets %u\nfree_buckets %u\npins %llu\n", (unsigned long long)j->seq,
	   (unsigned long long)j->oldest_seq, j->nr_buckets, journal_free_buckets(j), (unsigned long long)journal_active_entries(j));
	pr(out, "entries %llu\nentry_bytes %llu\nfill_percent %llu\ndiscards %llu\n", (unsigned long long)j->nr_entries,
	   (unsigned long long)j->nr_bytes, (unsigned long long)(j->nr_bytes ? 100 * j->nr_bytes_used / j->nr_bytes : 0),
	   (unsigned long long)j->nr_discards);
	pr(out, "skipped_keys %llu\n", (unsigned long long)j->skipped_keys);
	histogram_header_text(out);
	histogram_to_text(out, "entry_latency", &j->entry_latency);
	return 0;
}

static int show_moving_gc(const struct attr_object *o, struct printbuf *out)
{
	const struct movinggc *m = &o->c->moving;

	pr(out, "passes %llu\nbuckets %llu\nkeys %llu\nkeys_failed %llu\nsectors %llu\n", (unsigned long long)m->nr_passes,
	   (unsigned long long)m->nr_buckets, (unsigned long long)m->nr_keys, (unsigned long long)m->nr_failed, (unsigned long long)m->nr_sectors);
	return 0;
}

static int show_latency(const struct attr_object *o, struct printbuf *out)
{
	histogram_header_text(out);
	histogram_to_text(out, "wait_bucket", &o->c->wait_bucket);
	histogram_to_text(out, "wait_journal", &o->c->wait_journal);
	return 0;
}

/* --- time statistics: arg = what | unit ---------------------------------------------------------------------------------- */

enum { TIME_INTERVAL = 0, TIME_AVERAGE = 1, TIME_MAX = 2, TIME_LAST = 3, TIME_WHAT = 3, TIME_S = 0, TIME_MS = 4, TIME_US = 8 };

static int64_t unit_ns(unsigned arg)
{
	return arg & TIME_US ? (int64_t)NS_PER_US : arg & TIME_MS ? (int64_t)NS_PER_MS : (int64_t)NS_PER_S;
}

static int64_t get_time(const struct attr_object *o, const struct attr *a)
{
	const struct time_stats *t = (const void *)((const char *)o->c + a->field.offset_bytes);
	int64_t unit = unit_ns(a->arg);

	switch (a->arg & TIME_WHAT) {
	case TIME_INTERVAL: return (int64_t)(t->average_frequency >> 8) / unit;
	case TIME_AVERAGE: return (int64_t)(t->average_duration >> 8) / unit;
	case TIME_MAX: return (int64_t)t->max_duration / unit;
	default: return t->count ? (int64_t)(engine_now_ns() - t->last) / unit : -1;
	}
}

/* --- the tables ---------------------------------------------------------------------------------------------------------- */

#define TUNE(n, in, fmt, fld, lo, hi, def, h, ...) \
	{ .name = n, .help = h, .mode = 0644, .input = in, .format = fmt, .field = ATTR_CSET_FIELD(fld), .keep = ATTR_KEEP_SAVED, .min = lo, .max = hi, .dflt = def, \
	  __VA_ARGS__ }
#define TUNE_U(n, fld, lo, hi, def, h) TUNE(n, ATTR_IN_U, ATTR_DEC, fld, lo, hi, def, h)
#define TUNE_B(n, fld, def, h) TUNE(n, ATTR_IN_B, ATTR_DEC, fld, 0, 1, def, h)
#define COUNT(n, fld, h) ATTR_RO_FIELD(ATTR_DEC, n, ATTR_CSET_FIELD(fld), h)

static const struct attr set_attrs[] = {
	ATTR_RO_TEXT("state", show_state, "running, stopping, detaching or failed"),
	ATTR_RO(ATTR_DEC, "size_bytes", get_size, "capacity of the cache"),
	ATTR_RO(ATTR_HR_SECTORS, "dirty_data", get_dirty_data, "data that no backing device has yet, of all devices, also those that are not here"),
	ATTR_RO(ATTR_HR_SECTORS, "block_size", get_block_size, "smallest unit of I/O to the cache"),
	ATTR_RO(ATTR_HR_SECTORS, "bucket_size", get_bucket_size, "unit of allocation"),
	ATTR_RO(ATTR_DEC, "cache_available_percent", get_available_percent, "share of buckets without dirty data or metadata"),
	ATTR_RO(ATTR_HR, "average_key_size", get_average_key_size, "data per index key at the last gc"),
	ATTR_RO(ATTR_HR, "btree_cache_size", get_btree_cache_size, "memory of cached index nodes"),
	ATTR_RO(ATTR_DEC, "root_usage_percent", get_root_usage, "how full the root node is"),
	ATTR_RO(ATTR_DEC, "tree_depth", get_tree_depth, "level of the root; 0 = one node"),
	ATTR_RO(ATTR_HR_SECTORS, "congested", get_congested, "requests of this size bypass a congested cache; 0 = not congested"),
	TUNE_U("congested_read_threshold_us", congestion.read_threshold_us, 0, UINT32_MAX, 2000, "slower cache reads count as congestion; 0 = off"),
	TUNE_U("congested_write_threshold_us", congestion.write_threshold_us, 0, UINT32_MAX, 20000,
	       "slower cache writes count as congestion; 0 = off"),
	TUNE("errors", ATTR_IN_E, ATTR_LIST, errors_panic, 0, 0, 0, "what to do after too many cache errors", .words = errors_words),
	TUNE_U("io_error_limit", io_error_limit, 0, UINT32_MAX, 8, "decayed cache errors at which the set fails"),
	{ .name = "io_error_halflife", .help = "I/Os after which an error counts half; 0 = errors never fade", .mode = 0644, .input = ATTR_IN_U,
	  .keep = ATTR_KEEP_SAVED, .max = UINT32_MAX, .get = get_halflife, .store = store_halflife },
	TUNE_U("journal_delay_ms", journal.delay_ms, 0, UINT16_MAX, 100, "longest wait of a journal entry without a flush"),
	{ .name = "synchronous", .help = "index updates are journalled", .mode = 0644, .input = ATTR_IN_B, .keep = ATTR_KEEP_SHOWN,
	  .get = get_synchronous, .store = store_synchronous },
	ATTR_RO_TEXT("loadavg", show_loadavg, "what the devices did per second, over 1, 5 and 15 minutes"),
	ATTR_ACTION("clear_stats", ATTR_IN_ANY, store_clear_stats, "zero stats_total, writeback_keys_* and internal/latency"),
	ATTR_ACTION("gc_wait", ATTR_IN_ANY, store_gc_wait, "run gc and wait for it"),
	ATTR_ACTION("sync", ATTR_IN_ANY, store_sync, "write and flush the journal"),
	ATTR_ACTION("flash_vol_create", ATTR_IN_H, store_flash_vol_create, "make a volume of this size, with a random uuid, that lives in the cache alone"),
	ATTR_STREAM("uuids", 0444, attr_stream_uuids, "devices that the set knows, and what it holds of each"),
	ATTR_ACTION("forget", ATTR_IN_PATH, attr_store_forget,
		    "UUID or slot:N, and discard-dirty to give up dirty data: delete all that the set holds of a device that is not here"),
	ATTR_ACTION("stop", ATTR_IN_ANY, store_stop, "stop the set and its devices; dirty data stays in the cache"),
	ATTR_ACTION("unregister", ATTR_IN_ANY, store_unregister, "write back and detach all devices, then close the set"),
};
const struct attr_table attr_set_table = ATTR_TABLE(set_attrs);

#define TIME_ROW(n, fld, what, h) { .name = n, .help = h, .mode = 0444, .get = get_time, .field = ATTR_CSET_FIELD(fld), .arg = what }
#define TIME_ROWS(op, fld, interval, interval_unit, duration, duration_unit) \
	TIME_ROW(op "_average_frequency_" interval, fld, TIME_INTERVAL | interval_unit, "mean interval between two"), \
	TIME_ROW(op "_average_duration_" duration, fld, TIME_AVERAGE | duration_unit, "mean duration"), \
	TIME_ROW(op "_max_duration_" duration, fld, TIME_MAX | duration_unit, "longest duration"), \
	TIME_ROW(op "_last_" interval, fld, TIME_LAST | interval_unit, "time since the last one; -1 = never")

static const struct attr internal_attrs[] = {
	ATTR_RO(ATTR_DEC, "active_journal_entries", get_active_journal_entries, "journal entries that a recovery would replay"),
	COUNT("btree_nodes", gc.last.nodes, "index nodes at the last gc"),
	ATTR_RO(ATTR_DEC, "btree_used_percent", get_btree_used, "how full index nodes were at the last gc"),
	ATTR_RO(ATTR_DEC, "btree_cache_max_chain", get_max_chain, "longest hash chain of the node cache"),
	COUNT("cache_read_races", cache_read_races, "reads whose bucket was reused meanwhile"),
	COUNT("data_csum_errors", data_csums.nr_mismatches, "reads from the cache whose data was not what had been written (data_csum)"),
	COUNT("reclaim", journal.nr_reclaim, "calls of journal reclaim"),
	COUNT("reclaimed_journal_buckets", journal.nr_reclaimed_buckets, "journal buckets freed"),
	COUNT("flush_write", journal.nr_flush_write, "index nodes written because the journal ran full"),
	COUNT("writeback_keys_done", writeback_keys_done, "extents written back"),
	COUNT("writeback_keys_failed", writeback_keys_failed, "extents overwritten while being written back"),
	COUNT("nr_bucket_waits", alloc.nr_bucket_waits, "waits of writes for an empty bucket; how long: latency"),
	COUNT("cutoff_writeback", cutoff_writeback, "in-use percentage above which only synchronous writes use writeback"),
	COUNT("cutoff_writeback_sync", cutoff_writeback_sync, "in-use percentage above which nothing uses writeback"),
	ATTR_RO_TEXT("feature_compat", show_no_features, "compatible features: none is defined"),
	ATTR_RO_TEXT("feature_ro_compat", show_no_features, "read-only compatible features: none is defined"),
	ATTR_RO_TEXT("feature_incompat", show_feature_incompat, "incompatible features; those in use are in brackets"),
	ATTR_RO_TEXT("buckets", show_buckets, "buckets by content, and reserves"),
	ATTR_STREAM("bset_tree_stats", 0444, attr_stream_tree_stats, "sets and search index of all index nodes; walks the whole index"),
	ATTR_STREAM("extents", 0400, attr_stream_extents, "all index keys, a line each; may be huge"),
	/* Not saved: the daemon's option btree_cache is what lasts, and must not lose against it. */
	{ .name = "btree_cache_max", .help = "memory for index nodes", .mode = 0644, .input = ATTR_IN_H, .format = ATTR_HR, .keep = ATTR_KEEP_SHOWN,
	  .get = get_cache_max, .store = store_cache_max },
	ATTR_RO_TEXT("journal", show_journal, "sequence numbers and free space of the journal"),
	ATTR_RO_TEXT("latency", show_latency, "how long was waited for buckets and for room in the journal; microseconds"),
	ATTR_ACTION("trigger_gc", ATTR_IN_ANY, store_trigger_gc, "start gc soon"),
	{ .name = "prune_cache", .help = "free about this many pages of index nodes", .mode = 0200, .input = ATTR_IN_U, .max = UINT64_MAX,
	  .store = store_prune_cache },
	{ .name = "io_disable", .help = "1: every request of the set's devices fails with EIO, and writeback rests", .mode = 0644, .input = ATTR_IN_B,
	  .keep = ATTR_KEEP_STATE, .get = get_io_disable, .store = store_io_disable },
	TUNE_B("btree_shrinker_disabled", shrinker_disabled, 0, "1: prune_cache does nothing"),
	TUNE_B("verify", verify_nodes, 0, "read every written index node back and compare (for tests; slow)"),
	TUNE_B("key_merging_disabled", key_merging_disabled, 0, "index keys that continue each other stay apart (for tests)"),
	TUNE_B("expensive_debug_checks", expensive_debug_checks, 0, "check the whole node after each insert (for tests; slow)"),
	ATTR_RO_TEXT("moving_gc", show_moving_gc, "what moving gc did since the start: passes, buckets chosen, keys and sectors moved"),
	TUNE_B("copy_gc_enabled", copy_gc_enabled, 0, "move data out of nearly empty buckets after gc; volumes' data always is"),
	TUNE_B("gc_always_rewrite", gc.always_rewrite, 0, "gc rewrites every node"),
	TUNE("open_buckets", ATTR_IN_U, ATTR_DEC, open_buckets.nr_wanted, 1, OPEN_BUCKETS_MAX, OPEN_BUCKETS_DEFAULT,
	     "data buckets that are filled at the same time, at most 1/32 of all", .changed = open_buckets_changed),
	TUNE("prio_write_seconds", ATTR_IN_U, ATTR_DEC, alloc.prio_write_s, 0, UINT32_MAX, PRIO_WRITE_SECONDS_DEFAULT,
	     "how often an idle set saves which data is hot; 0 = only when buckets are reused", .changed = prio_write_changed),
	TUNE("gc_after_writeback", ATTR_IN_U, ATTR_DEC, gc.after_writeback, 0, 1, 0,
	     "1: run gc when everything is written back, if half of the cache has been in use since the last time; reads 3 while that is so",
	     .get = get_gc_after_writeback, .changed = gc_after_writeback_changed),
	TUNE_B("idle_max_writeback_rate", idle_max_writeback_rate, 1, "write back without limit while the set is idle"),
	TIME_ROWS("btree_gc", time_gc, "sec", TIME_S, "ms", TIME_MS),
	TIME_ROWS("btree_split", time_split, "sec", TIME_S, "us", TIME_US),
	TIME_ROWS("btree_sort", time_sort, "ms", TIME_MS, "us", TIME_US),
	TIME_ROWS("btree_read", time_read, "ms", TIME_MS, "us", TIME_US),
};
const struct attr_table attr_internal_table = ATTR_TABLE(internal_attrs);
