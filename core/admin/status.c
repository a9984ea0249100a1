/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/status.h"
#include "core/admin/attr.h"
#include "core/admin/json.h"

static const char *const stat_names[STAT_NR] = {
	[STAT_HITS] = "cache_hits",	       [STAT_MISSES] = "cache_misses",
	[STAT_BYPASS_HITS] = "cache_bypass_hits", [STAT_BYPASS_MISSES] = "cache_bypass_misses",
	[STAT_MISS_COLLISIONS] = "cache_miss_collisions", [STAT_BYPASSED_SECTORS] = "bypassed",
	[STAT_HIT_SECTORS] = "cache_hit_bytes",		  [STAT_MISS_SECTORS] = "cache_miss_bytes",
};

static void put_stats(struct jout *j, const struct stats *s)
{
	jout_object_begin(j, "stats_total");
	for (unsigned i = 0; i < STAT_NR; i++)
		jout_uint(j, stat_names[i], stats_read(s, STAT_TOTAL, i) * (i >= STAT_BYPASSED_SECTORS ? SECTOR_BYTES : 1)); /* those are in sectors */
	jout_object_end(j);
}

static void put_time(struct jout *j, const char *key, const struct time_stats *t)
{
	jout_object_begin(j, key);
	jout_uint(j, "count", t->count);
	jout_uint(j, "average_duration_ns", t->average_duration >> 8);
	jout_uint(j, "max_duration_ns", t->max_duration);
	jout_uint(j, "average_interval_ns", t->average_frequency >> 8);
	if (t->count)
		jout_uint(j, "last_ago_ns", engine_now_ns() - t->last);
	else
		jout_null(j, "last_ago_ns");
	jout_object_end(j);
}

/* --- sets ---------------------------------------------------------------------------------------------------------------- */

static void put_internal(struct jout *j, const struct cset *c)
{
	jout_object_begin(j, "internal");
	put_time(j, "btree_gc", &c->time_gc);
	put_time(j, "btree_split", &c->time_split);
	put_time(j, "btree_sort", &c->time_sort);
	put_time(j, "btree_read", &c->time_read);
	jout_uint(j, "cache_read_races", c->cache_read_races);
	jout_uint(j, "reclaim", c->journal.nr_reclaim);
	jout_uint(j, "reclaimed_journal_buckets", c->journal.nr_reclaimed_buckets);
	jout_uint(j, "flush_write", c->journal.nr_flush_write);
	jout_uint(j, "journal_writes", c->journal.nr_entries);
	jout_uint(j, "writeback_keys_done", c->writeback_keys_done);
	jout_uint(j, "writeback_keys_failed", c->writeback_keys_failed);
	histogram_to_json(j, "wait_bucket", &c->wait_bucket);
	histogram_to_json(j, "wait_journal", &c->wait_journal);
	jout_object_end(j);
}

static void put_buckets(struct jout *j, const struct cset *c)
{
	struct bucket_census n;

	bucket_census_take(c, &n);
	jout_object_begin(j, "buckets");
	jout_uint(j, "free", n.by_mark[MARK_NONE]);
	jout_uint(j, "clean", n.by_mark[MARK_RECLAIMABLE]);
	jout_uint(j, "dirty", n.by_mark[MARK_DIRTY]);
	jout_uint(j, "metadata", n.by_mark[MARK_METADATA]);
	jout_object_end(j);
}

static void put_cache(struct jout *j, const struct cset *c)
{
	jout_array_begin(j, "caches");
	jout_object_begin(j, NULL);
	jout_string(j, "name", "cache0");
	jout_string(j, "path", c->cache->path);
	jout_uint(j, "nbuckets", c->g.nr_buckets);
	jout_bool(j, "discard", super_discard(c->super) && c->cache->can_discard);
	jout_string(j, "cache_replacement_policy", replacement_names[super_replacement(c->super)]);
	jout_uint(j, "written", c->data_sectors_written * SECTOR_BYTES);
	jout_uint(j, "btree_written", c->btree_sectors_written * SECTOR_BYTES);
	jout_uint(j, "metadata_written", (c->meta_sectors_written + c->btree_sectors_written) * SECTOR_BYTES);
	jout_uint(j, "io_errors", c->io_errors >> 20);
	put_buckets(j, c);
	jout_object_end(j);
	jout_array_end(j);
}

static void put_members(struct jout *j, const struct cset *c, const char *key, bool flash)
{
	const struct bdev *d;

	jout_array_begin(j, key);
	list_for_each(d, &c->bcf->bdevs, link)
		if (d->set == c && !d->closing && bdev_is_flash(d) == flash)
			jout_string(j, NULL, d->name);
	jout_array_end(j);
}

static void put_set(struct jout *j, const struct cset *c)
{
	unsigned in_use = alloc_in_use_percent(c);

	jout_object_begin(j, NULL);
	jout_string(j, "uuid", c->uuid_text);
	jout_string(j, "state", attr_set_state(c));
	jout_string(j, "error", c->error);
	jout_uint(j, "size", c->g.nr_buckets * c->g.bucket_sectors * SECTOR_BYTES);
	jout_uint(j, "block_size", c->g.block_sectors * SECTOR_BYTES);
	jout_uint(j, "bucket_size", c->g.bucket_sectors * SECTOR_BYTES);
	jout_int(j, "cache_available_percent", 100 - (int)in_use);
	jout_uint(j, "in_use_percent", in_use);
	jout_uint(j, "tree_depth", c->btree.root ? c->btree.root->level : 0);
	jout_uint(j, "root_usage_percent", attr_root_usage_percent(c));
	jout_uint(j, "btree_cache_size", btree_memory_bytes(c));
	jout_uint(j, "btree_nodes", c->gc.last.nodes);
	jout_uint(j, "average_key_size", c->gc.last.keys ? c->gc.last.data_sectors * SECTOR_BYTES / c->gc.last.keys : 0);
	jout_uint(j, "active_journal_entries", journal_active_entries(&c->journal));
	jout_string(j, "errors", c->errors_panic ? "panic" : "unregister");
	jout_uint(j, "io_error_limit", c->io_error_limit);
	jout_uint(j, "congested", attr_congested_sectors(c) * SECTOR_BYTES);
	put_internal(j, c);
	put_stats(j, &c->stats);
	put_cache(j, c);
	put_members(j, c, "bdevs", false);
	put_members(j, c, "volumes", true);
	jout_object_end(j);
}

/* --- devices ------------------------------------------------------------------------------------------------------------- */

static void put_writeback(struct jout *j, const struct writeback *w, bool attached)
{
	jout_object_begin(j, "writeback");
	jout_bool(j, "running", attached && w->running);
	jout_uint(j, "percent", w->tunables.percent);
	jout_uint(j, "rate", (uint64_t)w->rate.rate * SECTOR_BYTES);
	jout_int(j, "target", w->rate.target * (int64_t)SECTOR_BYTES);
	jout_int(j, "proportional", w->rate.proportional * (int64_t)SECTOR_BYTES);
	jout_int(j, "integral", w->rate.integral_scaled * (int64_t)SECTOR_BYTES);
	jout_int(j, "change", w->rate.change * (int64_t)SECTOR_BYTES);
	jout_uint(j, "in_flight", w->keybuf.next);
	jout_uint(j, "keys_done", w->keys_done);
	jout_uint(j, "keys_failed", w->keys_failed);
	jout_uint(j, "written", w->sectors_written * SECTOR_BYTES);
	jout_object_end(j);
}

static void put_latency(struct jout *j, const struct io_account *a)
{
	jout_object_begin(j, "latency");
	for (unsigned i = 0; i < IO_PATHS; i++)
		if (a->latency[i].count)
			histogram_to_json(j, io_path_names[i], &a->latency[i]);
	jout_object_end(j);
}

static void put_reasons(struct jout *j, const char *key, const char *const *names, const struct reason_count *counts, unsigned nr)
{
	jout_object_begin(j, key);
	for (unsigned i = 0; i < nr; i++)
		if (names[i])
			jout_uint(j, names[i], counts[i].requests);
	jout_object_end(j);
}

/* What only a backing device has. */
static void put_backing(struct jout *j, const struct bdev *d)
{
	jout_string(j, "backing_path", d->backing->path);
	jout_string(j, "state", bdev_state_names[bdev_state_shown(d)]);
	jout_bool(j, "detaching", d->detaching);
	jout_string(j, "cache_mode", cache_mode_names[bdev_cache_mode(d)]);
	jout_uint(j, "dirty_data", d->set ? d->writeback.dirty_sectors * SECTOR_BYTES : 0);
	jout_uint(j, "sequential_cutoff", d->sequential_cutoff_bytes);
	put_writeback(j, &d->writeback, d->set);
	jout_uint(j, "io_errors", d->io_errors);
	put_stats(j, &d->stats);
	put_reasons(j, "bypassed_requests", bypass_reason_names, d->bypass_reasons, BYPASS_REASONS);
	put_reasons(j, "writeback_refusals", writeback_refusal_names, d->writeback_refusals, WRITEBACK_REFUSALS);
}

static void put_device(struct jout *j, const struct bdev *d)
{
	char label[LABEL_BYTES + 1];

	attr_bdev_label(d, label);
	jout_object_begin(j, NULL);
	jout_string(j, "name", d->name);
	jout_string(j, "type", bdev_is_flash(d) ? "volume" : "cached");
	if (attr_bdev_uuid(d))
		jout_uuid(j, "uuid", attr_bdev_uuid(d));
	jout_string(j, "label", label);
	jout_string(j, "set", d->set ? d->set->uuid_text : NULL);
	if (d->set)
		jout_uint(j, "slot", d->inode);
	else
		jout_null(j, "slot");
	jout_uint(j, "size", bcf_dev_size_bytes(d));
	jout_bool(j, "running", d->running);
	jout_bool(j, "closing", d->closing);
	jout_bool(j, "io_disable", d->io_disable);
	jout_string(j, "error", d->error);
	jout_uint(j, "open_count", d->opens);
	if (!bdev_is_flash(d))
		put_backing(j, d);
	put_latency(j, &d->account);
	jout_object_end(j);
}

/* --- the whole ----------------------------------------------------------------------------------------------------------- */

/* Onto one line, as control-files.md wants it. Strings hold no raw newline, so each one in the text is layout. */
static void squeeze(struct printbuf *out, size_t from)
{
	size_t to = from;

	for (size_t i = from; i < out->len_bytes;) {
		if (out->text[i] != '\n') {
			out->text[to++] = out->text[i++];
			continue;
		}
		while (i < out->len_bytes && (out->text[i] == '\n' || out->text[i] == ' '))
			i++;
	}
	out->len_bytes = to;
	out->text[to] = '\0';
}

static void put_head(struct jout *j, const struct bcf *b)
{
	char text[40];
	struct printbuf pb = PRINTBUF(text);

	attr_time_text(&pb, engine_real_s());
	jout_uint(j, "schema", 1);
	jout_string(j, "time", text);
	jout_uint(j, "uptime_ms", (engine_now_ns() - b->started_ns) / NS_PER_MS);
	jout_string(j, "version", BCF_VERSION);
	jout_uint(j, "ctl_errors", b->last_error_seq);
}

void status_json(struct bcf *b, struct printbuf *out)
{
	size_t from = out->len_bytes;
	struct jout j = jout_begin(out);
	const struct cset *c;
	const struct bdev *d;

	jout_object_begin(&j, NULL);
	put_head(&j, b);
	jout_array_begin(&j, "sets");
	list_for_each(c, &b->csets, link)
		if (c->state != CSET_STARTING)
			put_set(&j, c);
	jout_array_end(&j);
	jout_array_begin(&j, "devices");
	list_for_each(d, &b->bdevs, link)
		put_device(&j, d);
	jout_array_end(&j);
	jout_object_end(&j);
	squeeze(out, from);
	pr_char(out, '\n');
}
