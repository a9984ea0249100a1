/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Lives of a set of small nodes on the same simulated disks: for what happens to single nodes. */
#include "core/admin/log.h"
#include "core/btree/internal.h"
#include "tests/unit/core/test_core_rig.h"

#ifndef NODE_SECTORS
#define NODE_SECTORS 8u /* one bucket */
#endif
#ifndef CACHE_BUCKETS
#define CACHE_BUCKETS 8192u
#endif
#ifndef DATA_SECTORS
#define DATA_SECTORS 4096u
#endif

static unsigned fill_of[DATA_SECTORS]; /* what each sector is full of */

/* --- lives --------------------------------------------------------------------------------------------------------------- */

static inline int life(void *arg)
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
	if (!r->d->set) {
		assert_int_equal(bdev_attach(r->d, r->c, true, &why), 0);
		assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEBACK), 0);
	}
	r->d->writeback.running = false;
	r->d->sequential_cutoff_bytes = 0;
	r->c->cutoff_writeback = r->c->cutoff_writeback_sync = 100;
	r->c->io_error_limit = UINT32_MAX;
	r->body(r);
	bcf_stop(r->bcf);
	return 0;
}

static inline FIBER_FN void check_everything(struct rig *r)
{
	for (unsigned s = 0; s < DATA_SECTORS; s++)
		assert_int_equal(rig_read(r, s, 1), fill_of[s]);
	rig_check(r);
}

static inline void new_disks(struct rig *r)
{
	struct super_format cache = { .device_sectors = CACHE_BUCKETS * NODE_SECTORS, .block_sectors = 1, .bucket_sectors = NODE_SECTORS,
				      .uuid = { 1 }, .set_uuid = { 2 } };
	struct super_format backing = { .backing = true, .device_sectors = 16 + DATA_SECTORS, .block_sectors = 1, .uuid = { 3 } };

	log_set_level(LOG_LEVEL_ERROR);
	memset(fill_of, 0, sizeof(fill_of));
	the_rig = r;
	r->cache = rig_disk(&cache, "/sim/cache");
	r->backing = rig_disk(&backing, "/sim/backing");
}

static inline void live(struct rig *r, uint64_t seed, void (*body)(struct rig *r))
{
	r->body = body;
	assert_int_equal(run_sim(seed, life, r), 0);
	blk_sim_clear_faults(r->cache);
}

static inline void free_disks(struct rig *r)
{
	blk_sim_free(r->cache);
	blk_sim_free(r->backing);
}

static inline void live_once(uint64_t seed, void (*body)(struct rig *r))
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, seed, body);
	free_disks(&r);
}

/* Faults last for the first life; the second finds what is really on the disks. */
static inline void live_twice(uint64_t seed, void (*body)(struct rig *r))
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, seed, body);
	live(&r, seed + 1, check_everything);
	free_disks(&r);
}

/* --- in them ------------------------------------------------------------------------------------------------------------- */

static inline FIBER_FN void put(struct rig *r, unsigned sector, unsigned fill)
{
	assert_int_equal(rig_write(r, sector, 1, (char)fill), 1);
	fill_of[sector] = fill;
}

/* A key for each sector, none of which continues its neighbour. */
static inline FIBER_FN void put_all(struct rig *r, unsigned fill)
{
	for (unsigned i = 0; i < DATA_SECTORS; i++)
		put(r, i * 1021 % DATA_SECTORS, fill);
}

static inline void refuse_bucket(struct rig *r, uint32_t bucket)
{
	blk_sim_fail_range(r->cache, BLK_SIM_OP(BIO_WRITE), bucket * NODE_SECTORS, NODE_SECTORS, -EIO);
}

static inline uint32_t bucket_of(const struct rig *r, const struct bnode *n)
{
	return (uint32_t)geometry_bucket(&r->c->g, ptr_sector(n->key.k.ptr[0]));
}

static inline FIBER_FN struct bnode *node_at(struct rig *r, unsigned level)
{
	struct bnode *n;

	assert_int_equal(btree_node_at(r->c, bpos(r->d->inode, 100), level, &n), 0);
	assert_int_equal(n->level, level);
	return n;
}

