/* SPDX-License-Identifier: GPL-2.0-only */
/* Data checksums: a cache device that returns other data than were written to it (§10.1). */
#include "tests/unit/core/test_core_rig.h"

static uint64_t mismatches(struct rig *r) { return r->c->data_csums.nr_mismatches; }

struct found {
	uint64_t cache_sector;
	uint32_t nr_sectors;
};

static bool take_first(void *ctx, const struct bkey *k)
{
	struct found *f = ctx;

	f->cache_sector = ptr_sector(k->ptr[0]);
	f->nr_sectors = bkey_size(k);
	return false;
}

/* Where the cache keeps the extent that holds this sector of the device. */
static struct found find(struct rig *r, uint64_t sector)
{
	struct found f = { 0 };

	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, 16 + sector, 16 + sector + 1, take_first, &f), 0);
	assert_true(f.nr_sectors > 0);
	return f;
}

/* Damage, as the medium itself would do it: one bit of the n-th sector of the extent. */
static void rot(struct rig *r, uint64_t sector, unsigned n)
{
	uint64_t at = find(r, sector).cache_sector + n;
	char buf[SECTOR_BYTES];

	blk_sim_peek(r->cache, at, buf, 1);
	buf[511] ^= 1;
	blk_sim_poke(r->cache, at, buf, 1);
}

static void body_clean(struct rig *r)
{
	uint64_t before;

	r->d->data_csum = true;
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(mismatches(r), 0);
	rot(r, 64, 63);
	assert_int_equal(rig_read(r, 64, 56), 'a'); /* the last block is not asked for */
	assert_int_equal(mismatches(r), 0);
	assert_int_equal(rig_read(r, 120, 8), 'a'); /* from backing */
	assert_int_equal(mismatches(r), 1);
	assert_int_equal(r->c->io_errors >> 20, 1);
	before = stats_read(&r->d->stats, STAT_TOTAL, STAT_MISSES);
	assert_int_equal(rig_read(r, 120, 8), 'a');
	assert_int_equal(stats_read(&r->d->stats, STAT_TOTAL, STAT_MISSES), before + 1); /* the bad copy was dropped, */
	rig_settle();
	assert_int_equal(rig_read(r, 120, 8), 'a');
	assert_int_equal(stats_read(&r->d->stats, STAT_TOTAL, STAT_MISSES), before + 1); /* and a good one filled in */
	rot(r, 120, 0);
	assert_int_equal(rig_read(r, 120, 8), 'a'); /* fills have checksums, too */
	assert_int_equal(mismatches(r), 2);
}

/* A copy that was dropped for its checksum comes back after a crash, and hides what strict write-through has put below it meanwhile (sim 73). */
static void body_strict(struct rig *r)
{
	uint64_t entries;

	r->d->data_csum = r->d->strict_writethrough = true;
	assert_int_equal(rig_write(r, 64, 8, 'a'), 8);
	assert_int_equal(btree_flush_all(r->c), 0);
	rot(r, 64, 0);
	assert_int_equal(rig_read(r, 64, 8), 'a');
	assert_int_equal(mismatches(r), 1);
	entries = r->c->journal.nr_entries;
	assert_int_equal(rig_write(r, 64, 8, 'b'), 8);
	assert_true(r->c->journal.nr_entries > entries);
}

static void body_dirty(struct rig *r)
{
	r->d->data_csum = true;
	assert_int_equal(rig_write(r, 64, 64, 'd'), 64);
	rot(r, 64, 8);
	assert_int_equal(rig_read(r, 72, 8), -EIO); /* the only copy is damaged */
	assert_int_equal(rig_read(r, 64, 8), 'd');
	assert_int_equal(mismatches(r), 1);
	assert_int_equal(r->d->writeback.dirty_sectors, 64);
	assert_int_equal(rig_write(r, 72, 8, 'e'), 8); /* overwriting heals */
	assert_int_equal(rig_read(r, 72, 8), 'e');
}

static void body_writeback(struct rig *r)
{
	r->d->data_csum = true;
	r->c->io_error_limit = UINT32_MAX; /* writeback tries again and again */
	assert_int_equal(rig_write(r, 64, 64, 'd'), 64);
	assert_int_equal(rig_write(r, 1024, 64, 'g'), 64);
	rot(r, 64, 8);
	r->d->writeback.running = true;
	r->d->writeback.tunables.percent = 0;
	writeback_wake(r->d);
	fiber_sleep_ns(300 * NS_PER_S);
	assert_int_equal(rig_backing(r, 64, 64, false), 0); /* damage does not spread */
	assert_int_equal(rig_backing(r, 1024, 64, false), 'g');
	assert_true(mismatches(r) > 0);
	assert_int_equal(r->d->writeback.dirty_sectors, 64);
	assert_int_equal(rig_read(r, 64, 64), -EIO);
	assert_int_equal(rig_write(r, 64, 64, 'h'), 64);
	fiber_sleep_ns(300 * NS_PER_S);
	assert_int_equal(rig_backing(r, 64, 64, false), 'h');
	assert_int_equal(r->d->writeback.dirty_sectors, 0);
}

/* Unknown passes: switched on too late, and switched off again. What is known stays so. */
static void body_switch(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_null(r->c->data_csums.sums); /* no memory for who does not ask */
	r->d->data_csum = true;
	rot(r, 64, 0);
	assert_int_equal(rig_read(r, 64, 8), -1000);
	assert_int_equal(rig_write(r, 256, 64, 'b'), 64);
	r->d->data_csum = false;
	assert_int_equal(rig_write(r, 512, 64, 'c'), 64);
	rot(r, 512, 0);
	assert_int_equal(rig_read(r, 512, 8), -1000);
	rot(r, 256, 0);
	assert_int_equal(rig_read(r, 256, 8), -EIO);
	assert_int_equal(mismatches(r), 1);
}

/* Sums belong to places: keys may be cut, and buckets reused, as often as they like. */
static void body_churn(struct rig *r)
{
	r->d->data_csum = true;
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t at = i * 2654435761ull % (RIG_DATA_SECTORS - 200), nr = 1 + i % 190;

		if (i == 1500)
			r->d->data_csum = false; /* what is written now must not be judged by the sums of what was there before */
		assert_int_equal(rig_write(r, at, nr, (char)('a' + i % 26)), nr);
		assert_int_equal(rig_read(r, at, nr), 'a' + i % 26);
	}
	assert_true(r->c->alloc.nr_invalidated > 0);
	assert_int_equal(mismatches(r), 0);
}

static void body_places(struct rig *r)
{
	struct cset *c = r->c;
	static char data[24 * SECTOR_BYTES];
	uint64_t at;

	r->d->data_csum = true;
	assert_int_equal(rig_write(r, 64, 8, 'a'), 8);
	at = find(r, 64).cache_sector + 64; /* far behind it: nobody's yet */
	memset(data, 'x', sizeof(data));
	data_csum_note(c, r->d, at, data, 20); /* two blocks and a half */
	assert_true(data_csum_known(c, at, 16));
	assert_false(data_csum_known(c, at, 24));
	assert_false(data_csum_known(c, at + 1, 7));
	data[5] = 'y';
	assert_int_equal(extent_csum_verify(c, at, data, 8), -EBADMSG);
	assert_int_equal(extent_csum_verify(c, at, data, 24), -EBADMSG);
	assert_int_equal(extent_csum_verify(c, at, data, 7), 0);		     /* no whole block */
	assert_int_equal(extent_csum_verify(c, at + 1, data + SECTOR_BYTES, 15), 0); /* the damaged one not as a whole */
	data[5] = 'x';
	data[17 * SECTOR_BYTES] = 'y';
	assert_int_equal(extent_csum_verify(c, at, data, 24), 0); /* the half block is unknown */
	data_csum_note(c, NULL, at, data, 8);			  /* somebody else's data */
	assert_false(data_csum_known(c, at, 8));
	assert_true(data_csum_known(c, at + 8, 8));
	data_csum_forget_bucket(c, geometry_bucket(&c->g, at));
	assert_false(data_csum_known(c, at + 8, 8));
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 5; seed++) \
	rig_run(seed, CACHE_MODE_##mode, body)

static void damaged_clean_data_comes_from_backing(void **state) { RUN(WRITETHROUGH, body_clean); }
static void a_dropped_copy_does_not_hide_a_strict_write(void **state) { RUN(WRITETHROUGH, body_strict); }
static void damaged_dirty_data_is_an_error(void **state) { RUN(WRITEBACK, body_dirty); }
static void damaged_dirty_data_is_not_written_back(void **state) { RUN(WRITEBACK, body_writeback); }
static void data_without_a_checksum_passes(void **state) { RUN(WRITEBACK, body_switch); }
static void reuse_of_buckets_makes_no_false_alarm(void **state) { RUN(WRITETHROUGH, body_churn); RUN(WRITEBACK, body_churn); }
static void whole_blocks_are_judged_and_no_others(void **state) { RUN(WRITETHROUGH, body_places); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(damaged_clean_data_comes_from_backing),
		TEST(a_dropped_copy_does_not_hide_a_strict_write),
		TEST(damaged_dirty_data_is_an_error),
		TEST(damaged_dirty_data_is_not_written_back),
		TEST(data_without_a_checksum_passes),
		TEST(reuse_of_buckets_makes_no_false_alarm),
		TEST(whole_blocks_are_judged_and_no_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
