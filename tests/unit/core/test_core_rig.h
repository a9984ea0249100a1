/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* A whole core on simulated disks, one backing device attached, ready for a test's body: for faults, which the simulator does not do. */
#include "core/btree/btree.h"
#include "core/set/instance.h"
#include "tests/sim/blk_sim.h"
#include "tests/unit/core/test_engine_util.h"

#ifndef RIG_CACHE_SECTORS /* 128 per bucket, whatever the size of a bucket */
#define RIG_CACHE_SECTORS (300u * 128)
#endif
#ifndef RIG_DATA_SECTORS
#define RIG_DATA_SECTORS 8192u
#endif

struct rig {
	struct blk_sim *cache, *backing;
	struct bcf *bcf;
	struct cset *c;
	struct bdev *d;
	enum cache_mode mode;
	void (*body)(struct rig *r);
	struct blkdev *(*wrap_backing)(struct blkdev *lower); /* what a test puts on top of the backing disk; may be NULL */
};
static struct rig *the_rig; /* for rig_open() */

static inline int rig_open(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	bool cache = !strcmp(path, "/sim/cache");
	int r = blk_sim_open(cache ? the_rig->cache : the_rig->backing, false, ret);

	if (!r && !cache && the_rig->wrap_backing)
		*ret = the_rig->wrap_backing(*ret);
	return r;
}

static inline struct blk_sim *rig_disk(const struct super_format *f, const char *name)
{
	struct blk_sim *s = blk_sim_new(&(struct blk_sim_options){ .name = name, .nr_sectors = f->device_sectors });
	struct super super;

	assert_int_equal(super_make(&super, f, NULL), 0);
	blk_sim_poke(s, SUPER_SECTOR, &super, SUPER_BYTES / SECTOR_BYTES);
	return s;
}

static inline int rig_main(void *arg)
{
	struct rig *r = arg;
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_options o = { 0 };

	assert_int_equal(bcf_new(&o, &r->bcf), 0);
	r->bcf->open_device = rig_open;
	if (bcf_register(r->bcf, "/sim/cache", false, &why) || bcf_register(r->bcf, "/sim/backing", false, &why))
		fail_msg("%s", text);
	r->c = list_first(&r->bcf->csets, struct cset, link);
	r->d = bcf_dev_find(r->bcf, "dev0");
	assert_true(r->c && r->d);
	assert_int_equal(bdev_attach(r->d, r->c, true, &why), 0);
	assert_int_equal(bdev_set_cache_mode(r->d, r->mode), 0);
	r->d->writeback.running = false; /* when the test says so */
	fiber_sleep_ns(NS_PER_S);
	r->c->alloc.invalidate_needs_gc = true; /* until the stock is used up, no prio write gets in the way of a test's faults */
	r->body(r);
	blk_sim_clear_faults(r->cache);
	blk_sim_clear_faults(r->backing);
	bcf_stop(r->bcf);
	return 0;
}

static inline void rig_live(struct rig *r, uint64_t seed, uint32_t bucket_sectors)
{
	struct super_format cache = { .device_sectors = RIG_CACHE_SECTORS / 128 * bucket_sectors, .block_sectors = 8,
				      .bucket_sectors = bucket_sectors, .uuid = { 1 }, .set_uuid = { 2 } };
	struct super_format backing = { .backing = true, .device_sectors = 16 + RIG_DATA_SECTORS, .block_sectors = 8, .uuid = { 3 } };

	the_rig = r;
	r->cache = rig_disk(&cache, "/sim/cache");
	r->backing = rig_disk(&backing, "/sim/backing");
	assert_int_equal(run_sim(seed, rig_main, r), 0);
	blk_sim_free(r->cache);
	blk_sim_free(r->backing);
}

static inline void rig_run_buckets(uint64_t seed, enum cache_mode mode, void (*body)(struct rig *r), uint32_t bucket_sectors)
{
	struct rig r = { .mode = mode, .body = body };

	rig_live(&r, seed, bucket_sectors);
}

static inline void rig_run(uint64_t seed, enum cache_mode mode, void (*body)(struct rig *r)) { rig_run_buckets(seed, mode, body, 128); }

/* --- what bodies do ------------------------------------------------------------------------------------------------------ */

static inline int64_t rig_write(struct rig *r, uint64_t sector, uint64_t nr, char fill)
{
	char *buf = aligned_alloc(PAGE_BYTES, round_up_u64(nr * SECTOR_BYTES, PAGE_BYTES));
	int64_t n;

	memset(buf, fill, nr * SECTOR_BYTES);
	n = bcf_write(r->d, buf, nr * SECTOR_BYTES, sector * SECTOR_BYTES, NULL);
	free(buf);
	return n < 0 ? n : n / (int64_t)SECTOR_BYTES;
}

/* The byte that the whole range is full of, or -errno; -1000: it is not one. */
static inline int rig_read(struct rig *r, uint64_t sector, uint64_t nr)
{
	char *buf = aligned_alloc(PAGE_BYTES, round_up_u64(nr * SECTOR_BYTES, PAGE_BYTES));
	int64_t n = bcf_read(r->d, buf, nr * SECTOR_BYTES, sector * SECTOR_BYTES, NULL);
	int result = n < 0 ? (int)n : buf[0];

	for (uint64_t i = 0; n > 0 && i < nr * SECTOR_BYTES; i++)
		if (buf[i] != buf[0])
			result = -1000;
	free(buf);
	return result;
}

/* The same of the backing disk itself; durable: what a power cut would leave. */
static inline int rig_backing(struct rig *r, uint64_t sector, uint64_t nr, bool durable)
{
	char *buf = malloc(nr * SECTOR_BYTES);
	int result;

	if (durable)
		blk_sim_peek_durable(r->backing, 16 + sector, buf, nr);
	else
		blk_sim_peek(r->backing, 16 + sector, buf, nr);
	result = buf[0];
	for (uint64_t i = 0; i < nr * SECTOR_BYTES; i++)
		if (buf[i] != buf[0])
			result = -1000;
	free(buf);
	return result;
}

/* The next `count` (0: all) bios of these kinds fail. */
static inline void rig_fail(struct blk_sim *s, unsigned ops, uint64_t count)
{
	blk_sim_add_fault(s, &(struct blk_sim_fault){ .ops = ops, .count = count, .error = -EIO });
}

/* Everything that was under way has ended. */
static inline void rig_settle(void) { fiber_sleep_ns(NS_PER_S); }

/* The index contradicts neither itself nor the buckets nor the counters. */
static inline FIBER_FN void rig_check(struct rig *r)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	if (btree_check(r->c, &why))
		fail_msg("%s", text);
}

static inline bool rig_add_size(void *ctx, const struct bkey *k)
{
	*(uint64_t *)ctx += bkey_size(k);
	return true;
}

static inline FIBER_FN uint64_t rig_sectors_in_index(struct rig *r, uint32_t inode)
{
	uint64_t n = 0;

	assert_int_equal(btree_for_each_extent(r->c, inode, 0, BKEY_OFFSET_MAX, rig_add_size, &n), 0);
	return n;
}
