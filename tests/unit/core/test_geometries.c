/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core over the whole range of geometries: blocks of 512 bytes to 4 KiB, buckets of 4 KiB to 16 MiB (beyond 4 MiB metadata and nodes are capped,
 * format.md §1), and 64 TiB behind it. Sparse disks; random reads, writes, zeroing and restarts in windows anywhere, the last
 * block included, against flat arrays.
 */
#include "core/admin/log.h"
#include "core/util/prng.h"
#include "tests/unit/core/test_core_rig.h"

#define NR_WINDOWS 24u
#define WINDOW_SECTORS 128u
#define NR_LIVES 3u
#define OPS_PER_LIFE 250u

struct shape {
	uint32_t block_sectors, bucket_sectors;
	uint64_t data_sectors;
};
static struct shape shape;
static struct prng rng;
static uint64_t window[NR_WINDOWS]; /* where it begins */
static uint8_t flat[NR_WINDOWS][WINDOW_SECTORS];

static FIBER_FN void check_window(struct rig *r, unsigned i)
{
	char *buf = aligned_alloc(PAGE_BYTES, WINDOW_SECTORS * SECTOR_BYTES);

	assert_int_equal(bcf_read(r->d, buf, WINDOW_SECTORS * SECTOR_BYTES, window[i] * SECTOR_BYTES, NULL), WINDOW_SECTORS * SECTOR_BYTES);
	for (unsigned s = 0; s < WINDOW_SECTORS * SECTOR_BYTES; s++)
		if ((uint8_t)buf[s] != flat[i][s / SECTOR_BYTES])
			fail_msg("block %u, bucket %u: sector %llu holds %d, not %d", shape.block_sectors, shape.bucket_sectors,
				 (unsigned long long)(window[i] + s / SECTOR_BYTES), buf[s], flat[i][s / SECTOR_BYTES]);
	free(buf);
}

static FIBER_FN void change_window(struct rig *r, unsigned i)
{
	unsigned from = (unsigned)prng_below(&rng, WINDOW_SECTORS), nr = 1 + (unsigned)prng_below(&rng, WINDOW_SECTORS - from);
	uint8_t fill = prng_one_in(&rng, 6) ? 0 : (uint8_t)(1 + prng_below(&rng, 100));

	if (!fill)
		assert_int_equal(bcf_zero(r->d, (window[i] + from) * SECTOR_BYTES, nr * SECTOR_BYTES), 0);
	else
		assert_int_equal(rig_write(r, window[i] + from, nr, (char)fill), nr);
	memset(flat[i] + from, fill, nr);
}

static void check_all(struct rig *r)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	for (unsigned i = 0; i < NR_WINDOWS; i++)
		check_window(r, i);
	if (btree_check(r->c, &why) < 0)
		fail_msg("block %u, bucket %u: %s", shape.block_sectors, shape.bucket_sectors, text);
}

static int life(void *arg)
{
	struct rig *r = arg;
	char text[500] = "", past[SECTOR_BYTES] = { 0 };
	struct printbuf why = PRINTBUF(text);
	struct bcf_options o = { 0 };

	assert_int_equal(bcf_new(&o, &r->bcf), 0);
	r->bcf->open_device = rig_open;
	if (bcf_register(r->bcf, "/sim/cache", false, &why) || bcf_register(r->bcf, "/sim/backing", false, &why))
		fail_msg("block %u, bucket %u: %s", shape.block_sectors, shape.bucket_sectors, text);
	r->c = list_first(&r->bcf->csets, struct cset, link);
	r->d = bcf_dev_find(r->bcf, "dev0");
	assert_true(r->c && r->d);
	assert_int_equal(bcf_dev_size_bytes(r->d), shape.data_sectors * SECTOR_BYTES);
	if (!r->d->set)
		assert_int_equal(bdev_attach(r->d, r->c, true, &why), 0);
	assert_int_equal(bdev_set_cache_mode(r->d, prng_one_in(&rng, 3) ? CACHE_MODE_WRITETHROUGH : CACHE_MODE_WRITEBACK), 0);
	r->d->sequential_cutoff_bytes = 0;
	r->c->verify_nodes = r->c->expensive_debug_checks = true;
	check_all(r);
	for (unsigned n = 0; n < OPS_PER_LIFE; n++) {
		unsigned i = (unsigned)prng_below(&rng, NR_WINDOWS);

		if (prng_one_in(&rng, 3))
			check_window(r, i);
		else
			change_window(r, i);
		if (prng_one_in(&rng, 40))
			assert_int_equal(btree_flush_all(r->c), 0);
		if (prng_one_in(&rng, 100))
			assert_int_equal(gc_run(r->c), 0);
	}
	assert_int_equal(bcf_write(r->d, past, SECTOR_BYTES, shape.data_sectors * SECTOR_BYTES, NULL), -ENOSPC);
	assert_int_equal(bcf_read(r->d, past, SECTOR_BYTES, shape.data_sectors * SECTOR_BYTES, NULL), 0);
	check_all(r);
	assert_false(r->c->io_disable);
	bcf_stop(r->bcf);
	return 0;
}

static void live_through(struct shape s, uint64_t seed)
{
	struct super_format cache = { .device_sectors = 160ull * s.bucket_sectors, .block_sectors = s.block_sectors,
				      .bucket_sectors = s.bucket_sectors, .uuid = { 1 }, .set_uuid = { 2 } };
	struct super_format backing = { .backing = true, .device_sectors = 16 + s.data_sectors, .block_sectors = s.block_sectors, .uuid = { 3 } };
	struct rig r = { 0 };

	if (s.bucket_sectors < 64)
		cache.device_sectors *= 16; /* room for the data */
	shape = s;
	rng = prng_seeded(seed);
	the_rig = &r;
	log_set_level(LOG_LEVEL_ERROR);
	r.cache = rig_disk(&cache, "/sim/cache");
	r.backing = rig_disk(&backing, "/sim/backing");
	memset(flat, 0, sizeof(flat));
	for (unsigned i = 0; i < NR_WINDOWS; i++) /* a stretch each, so that none meets another; the last one ends at the end */
		window[i] = s.data_sectors / NR_WINDOWS * i + prng_below(&rng, s.data_sectors / NR_WINDOWS - WINDOW_SECTORS);
	window[NR_WINDOWS - 1] = s.data_sectors - WINDOW_SECTORS;
	for (unsigned n = 0; n < NR_LIVES; n++)
		assert_int_equal(run_sim(seed + n, life, &r), 0);
	blk_sim_free(r.cache);
	blk_sim_free(r.backing);
}

#define TIB (1ull << 40)

static void every_block_and_bucket_size_keeps_what_is_written_anywhere(void **state)
{
	static const uint32_t blocks[] = { 1, 2, 4, 8 }, buckets[] = { 8, 16, 128, 1024, 2048, 8192, 16384, 32768 };

	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(buckets); j++)
			live_through((struct shape){ blocks[i], buckets[j], TIB / SECTOR_BYTES }, 1000 * i + j);
}

static void sixty_four_tebibytes_are_served_to_the_last_block(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		live_through((struct shape){ 8u >> i, 1024u << i, 64 * TIB / SECTOR_BYTES }, 77 + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_block_and_bucket_size_keeps_what_is_written_anywhere),
		cmocka_unit_test(sixty_four_tebibytes_are_served_to_the_last_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
