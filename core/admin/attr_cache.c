/* SPDX-License-Identifier: GPL-2.0-only */
/* Control files of the cache device: <set-uuid>/cache0/ (control-files.md §8). */
#include "core/admin/attr.h"

static const char *const replacement_words[] = { "lru", "fifo", "random", NULL };

static int64_t get_block_size(const struct attr_object *o, const struct attr *a)
{
	return o->c->g.block_sectors;
}

static int64_t get_bucket_size(const struct attr_object *o, const struct attr *a)
{
	return o->c->g.bucket_sectors;
}

static int64_t get_metadata_written(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)(o->c->meta_sectors_written + o->c->btree_sectors_written);
}

static int64_t get_io_errors(const struct attr_object *o, const struct attr *a)
{
	return (int64_t)(o->c->io_errors >> 20);
}

/* What the superblock says and the device can do. */
static int64_t get_discard(const struct attr_object *o, const struct attr *a)
{
	return super_discard(o->c->super) && o->c->cache->can_discard;
}

static int64_t get_replacement(const struct attr_object *o, const struct attr *a)
{
	return super_replacement(o->c->super);
}

/* The superblock stays as it was in memory when it cannot be written; the set has failed then. */
static FIBER_FN int write_super_or_restore(struct bcf *b, struct cset *c, uint64_t old_flags)
{
	uint8_t uuid[16];
	int r;

	memcpy(uuid, c->super->set_uuid, sizeof(uuid));
	r = cset_write_super(c);
	if (r < 0 && bcf_set_find(b, uuid) == c)
		c->super->flags = old_flags;
	return r;
}

static int store_discard(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	uint64_t old_flags = o->c->super->flags;

	if (super_discard(o->c->super) == v->number)
		return 0;
	super_set_discard(o->c->super, v->number);
	return write_super_or_restore(o->b, o->c, old_flags);
}

static int store_replacement(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	uint64_t old_flags = o->c->super->flags;

	if (super_replacement(o->c->super) == v->number)
		return 0;
	super_set_replacement(o->c->super, (enum replacement)v->number);
	return write_super_or_restore(o->b, o->c, old_flags);
}

static int store_clear_stats(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	o->c->data_sectors_written = o->c->btree_sectors_written = o->c->meta_sectors_written = 0;
	o->c->io_errors = 0;
	return 0;
}

/* --- buckets ------------------------------------------------------------------------------------------------------------- */

static uint64_t percent(uint64_t part, const struct cset *c)
{
	return c->g.nr_buckets ? part * 100 / c->g.nr_buckets : 0;
}

static int show_priority_stats(const struct attr_object *o, struct printbuf *out)
{
	const struct cset *c = o->c;
	struct bucket_census n;

	bucket_census_take(c, &n);
	pr(out, "Unused:\t\t%llu%%\n", (unsigned long long)percent(n.unused, c));
	pr(out, "Clean:\t\t%llu%%\n", (unsigned long long)percent(n.by_mark[MARK_RECLAIMABLE], c));
	pr(out, "Dirty:\t\t%llu%%\n", (unsigned long long)percent(n.by_mark[MARK_DIRTY], c));
	pr(out, "Metadata:\t%llu%%\n", (unsigned long long)percent(n.by_mark[MARK_METADATA], c));
	pr(out, "Average:\t%lld\n", n.nr_data ? (long long)(n.age_sum / (int64_t)n.nr_data) : 0);
	pr(out, "Sectors per Q:\t%llu\n", (unsigned long long)(n.nr_data * c->g.bucket_sectors / (PRIORITY_QUANTILES + 1)));
	pr(out, "Quantiles:\t[");
	for (unsigned i = 0; i < PRIORITY_QUANTILES; i++)
		pr(out, i ? " %d" : "%d", n.quantiles[i]);
	pr(out, "]\n");
	return 0;
}

static void freelist_changed(const struct attr_object *o)
{
	alloc_resize_freelist(o->c);
}

/* --- the table ----------------------------------------------------------------------------------------------------------- */

static const struct attr cache_attrs[] = {
	ATTR_RO(ATTR_HR_SECTORS, "block_size", get_block_size, "smallest unit of I/O to the cache"),
	ATTR_RO(ATTR_HR_SECTORS, "bucket_size", get_bucket_size, "unit of allocation"),
	ATTR_RO_FIELD(ATTR_DEC, "nbuckets", ATTR_CSET_FIELD(g.nr_buckets), "all buckets, superblock and journal included"),
	{ .name = "discard", .help = "tell the device about buckets that are about to be reused; kept in the superblock", .mode = 0644,
	  .input = ATTR_IN_B, .keep = ATTR_KEEP_SHOWN, .get = get_discard, .store = store_discard },
	{ .name = "cache_replacement_policy", .help = "which clean bucket is reused first; kept in the superblock", .mode = 0644,
	  .input = ATTR_IN_E, .format = ATTR_LIST, .keep = ATTR_KEEP_SHOWN, .words = replacement_words, .get = get_replacement, .store = store_replacement },
	{ .name = "freelist_percent", .help = "percentage of buckets kept free; 0 = the built-in reserve", .mode = 0644, .input = ATTR_IN_U, .keep = ATTR_KEEP_SAVED,
	  .field = ATTR_CSET_FIELD(alloc.freelist_percent), .max = 90, .changed = freelist_changed },
	ATTR_RO_FIELD(ATTR_HR_SECTORS, "written", ATTR_CSET_FIELD(data_sectors_written), "data written to the cache since registration"),
	ATTR_RO_FIELD(ATTR_HR_SECTORS, "btree_written", ATTR_CSET_FIELD(btree_sectors_written), "index nodes written"),
	ATTR_RO(ATTR_HR_SECTORS, "metadata_written", get_metadata_written, "index, journal, priorities and uuid table written"),
	ATTR_RO(ATTR_DEC, "io_errors", get_io_errors, "decaying count of cache device errors"),
	ATTR_RO_TEXT("priority_stats", show_priority_stats, "what buckets hold and how recently they were used"),
	ATTR_ACTION("clear_stats", ATTR_IN_ANY, store_clear_stats, "zero the written counters and io_errors"),
};
const struct attr_table attr_cache_table = ATTR_TABLE(cache_attrs);
