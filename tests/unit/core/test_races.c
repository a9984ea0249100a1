/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests that meet: reads with reuse (R2.1), fills with writes (R2.5, I-12), writers in one block (I-25); and large ones. */
#include "tests/unit/core/test_core_rig.h"

#define READS BLK_SIM_OP(BIO_READ)
#define WRITES BLK_SIM_OP(BIO_WRITE)

static uint64_t total(struct rig *r, enum stat_counter s) { return stats_read(&r->d->stats, STAT_TOTAL, s); }

static void slow(struct blk_sim *s, unsigned ops, uint64_t ns)
{
	blk_sim_add_fault(s, &(struct blk_sim_fault){ .ops = ops, .extra_ns = ns });
}

/* A request on a fiber of its own. */
struct request {
	struct rig *r;
	uint64_t sector, nr;
	char fill;
	int64_t result;
	struct fiber *fiber;
};

static void reader(void *arg)
{
	struct request *q = arg;

	q->result = rig_read(q->r, q->sector, q->nr);
}

static void writer(void *arg)
{
	struct request *q = arg;

	q->result = rig_write(q->r, q->sector, q->nr, q->fill);
}

static void zeroer(void *arg)
{
	struct request *q = arg;
	int r = bcf_zero(q->r->d, q->sector * SECTOR_BYTES, q->nr * SECTOR_BYTES);

	q->result = r < 0 ? r : (int64_t)q->nr;
}

static void start(struct request *q, void (*fn)(void *))
{
	q->fiber = fiber_spawn("request", fn, q);
	assert_non_null(q->fiber);
	fiber_sleep_ns(NS_PER_S / 10); /* it is under way */
}

static int64_t finish(struct request *q)
{
	fiber_join(q->fiber);
	return q->result;
}

static bool take_ptr(void *ctx, const struct bkey *k)
{
	*(uint64_t *)ctx = k->ptr[0];
	return false;
}

static uint64_t find_ptr(struct rig *r, uint64_t sector)
{
	uint64_t ptr = 0;

	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, 16 + sector, 17 + sector, take_ptr, &ptr), 0);
	return ptr;
}

/* --- reads and reuse ------------------------------------------------------------------------------------------------------- */

/* The reader's reference holds the bucket; should it be reused all the same, what was read is not believed, and the index asked again. */
static void body_reuse(struct rig *r)
{
	struct request q = { .r = r, .sector = 64, .nr = 64 };
	struct bucket *b;

	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	b = ptr_bucket(r->c, find_ptr(r, 64));
	slow(r->cache, READS, NS_PER_S);
	start(&q, reader);
	assert_int_equal(b->readers, 1);
	b->gen++; /* as if the allocator had taken it */
	assert_int_equal(rig_write(r, 64, 64, 'c'), 64);
	assert_int_equal(finish(&q), 'c');
	assert_int_equal(r->c->cache_read_races, 1);
	assert_int_equal(b->readers, 0);
	assert_int_equal(r->c->io_errors, 0); /* a race is nobody's fault */
	b->gen--;
}

/* --- fills and writes ------------------------------------------------------------------------------------------------------- */

static void miss_and_write(struct rig *r, bool zero)
{
	struct request q = { .r = r, .sector = 64, .nr = 64 };

	slow(r->backing, READS, NS_PER_S);
	start(&q, reader); /* has read the old data, and its placeholder is in place */
	if (zero)
		assert_int_equal(bcf_zero(r->d, 64 * SECTOR_BYTES, 64 * SECTOR_BYTES), 0);
	else
		assert_int_equal(rig_write(r, 64, 64, 'n'), 64);
	(void)finish(&q);
	blk_sim_clear_faults(r->backing);
	rig_settle(); /* the fill has tried */
	assert_int_equal(total(r, STAT_MISS_COLLISIONS), 1);
	assert_int_equal(rig_read(r, 64, 64), zero ? 0 : 'n');
	rig_settle();
	assert_int_equal(r->c->fill_bytes, 0);
}

/*
 * The old data was read, and is on its way to the cache, when the write begins. Before the write has ended a reader may see its data on backing: a
 * later one must not find the old data in the cache (linearizable.sh).
 */
static void body_fill_during_write(struct rig *r)
{
	struct request q = { .r = r, .sector = 64, .nr = 64, .fill = 'n' };

	slow(r->cache, WRITES, NS_PER_S);
	assert_int_equal(rig_read(r, 64, 64), 0);
	assert_int_equal(r->d->fills_in_flight, 1);
	slow(r->backing, WRITES, 10 * NS_PER_S);
	start(&q, writer);
	fiber_sleep_ns(5 * NS_PER_S);
	assert_int_equal(r->d->fills_in_flight, 0);
	assert_int_equal(find_ptr(r, 64), 0);
	assert_int_equal(finish(&q), 64);
	assert_int_equal(rig_read(r, 64, 64), 'n');
}

static void body_late_fill(struct rig *r) { miss_and_write(r, false); }
static void body_late_fill_zero(struct rig *r) { miss_and_write(r, true); }

/* A write is on its way to backing: what is read there meanwhile is served and not cached (W-14). */
static void body_miss_during_write(struct rig *r)
{
	struct request q = { .r = r, .sector = 64, .nr = 64, .fill = 'n' };
	uint64_t before;

	slow(r->backing, WRITES, NS_PER_S);
	start(&q, writer);
	(void)rig_read(r, 32, 128); /* either version */
	assert_int_equal(r->d->fills_in_flight, 0);
	assert_int_equal(finish(&q), 64);
	rig_settle();
	before = total(r, STAT_MISSES);
	assert_int_equal(rig_read(r, 64, 64), 'n');
	assert_int_equal(total(r, STAT_MISSES), before + 1);
}

/* New data goes past the cache, over an old copy, and is on its way to backing. */
static void overwrite_past_the_cache(struct request *q, void (*how)(void *))
{
	struct rig *r = q->r;

	assert_int_equal(rig_write(r, 64, 64, 'o'), 64);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEAROUND), 0);
	slow(r->backing, WRITES | BLK_SIM_OP(BIO_ZERO), 10 * NS_PER_S);
	start(q, how);
}

static void miss_under_overwrite(struct rig *r, void (*how)(void *), char new)
{
	struct request q = { .r = r, .sector = 64, .nr = 64, .fill = new };

	overwrite_past_the_cache(&q, how);
	slow(r->cache, WRITES, 20 * NS_PER_S); /* fills try when the write has ended */
	for (unsigned i = 0; i < 8; i++) {
		(void)rig_read(r, 64, 64); /* either version */
		fiber_sleep_ns(NS_PER_S);
	}
	assert_int_equal(finish(&q), 64);
	for (unsigned i = 0; i < 2; i++) {
		fiber_sleep_ns(60 * NS_PER_S); /* every fill has tried; a read before that would take its placeholder away */
		assert_int_equal(rig_read(r, 64, 64), new);
	}
}

static void copy_under_overwrite(struct rig *r, void (*how)(void *), char new)
{
	struct request q = { .r = r, .sector = 64, .nr = 64, .fill = new };

	overwrite_past_the_cache(&q, how);
	assert_true(find_ptr(r, 64));
	assert_int_equal(finish(&q), 64);
	assert_int_equal(find_ptr(r, 64), 0);
	assert_int_equal(rig_read(r, 64, 64), new);
}

static void body_miss_under_write(struct rig *r) { miss_under_overwrite(r, writer, 'n'); }
static void body_miss_under_zero(struct rig *r) { miss_under_overwrite(r, zeroer, 0); }
static void body_copy_under_write(struct rig *r) { copy_under_overwrite(r, writer, 'n'); }
static void body_copy_under_zero(struct rig *r) { copy_under_overwrite(r, zeroer, 0); }

static void attacher(void *arg)
{
	struct rig *r = arg;
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	if (bdev_attach(r->d, r->c, true, &why))
		fail_msg("%s", text);
}

/* A write of a device without a set knows of no cache: one that is attached meanwhile would have what it overwrites. */
static void body_attach_during_write(struct rig *r)
{
	struct request q = { .r = r, .sector = 64, .nr = 64, .fill = 'n' };
	struct fiber *attach;

	bdev_detach(r->d);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = WRITES, .sector = 16 + 64, .nr_sectors = 64, .extra_ns = 10 * NS_PER_S });
	start(&q, writer);
	attach = fiber_spawn("attach", attacher, r);
	assert_non_null(attach);
	fiber_sleep_ns(5 * NS_PER_S);
	assert_null(r->d->set);
	assert_int_equal(finish(&q), 64);
	fiber_join(attach);
	assert_ptr_equal(r->d->set, r->c);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig_read(r, 64, 64), 'n');
		rig_settle();
	}
}

static void body_fill_fails(struct rig *r)
{
	uint64_t before;

	rig_fail(r->cache, WRITES, 1);
	assert_int_equal(rig_read(r, 64, 64), 0); /* its reader does not notice */
	rig_settle();
	blk_sim_clear_faults(r->cache);
	before = total(r, STAT_MISSES);
	assert_int_equal(rig_read(r, 64, 64), 0);
	assert_int_equal(total(r, STAT_MISSES), before + 1); /* never indexed (I-19) */
	rig_settle();
	assert_int_equal(rig_read(r, 64, 64), 0);
	assert_int_equal(total(r, STAT_MISSES), before + 1);
	assert_int_equal(r->d->fills_in_flight, 0);
}

/* --- writers in one block --------------------------------------------------------------------------------------------------- */

struct byte_writer {
	struct rig *r;
	unsigned id;
};
#define WRITERS 8u

/* Each owns every eighth byte, across blocks, and reads back its own. */
static void byte_writer(void *arg)
{
	struct byte_writer *w = arg;

	for (unsigned round = 0; round < 20; round++)
		for (unsigned at = w->id; at < 64; at += WRITERS) {
			char byte = (char)(1 + w->id + 10 * round), got = 0;
			uint64_t offset = 64 * SECTOR_BYTES - 32 + at;

			assert_int_equal(bcf_write(w->r->d, &byte, 1, offset, &(struct bcf_io){ .pid = w->id }), 1);
			assert_int_equal(bcf_read(w->r->d, &got, 1, offset, NULL), 1);
			assert_int_equal(got, byte);
		}
}

static void body_byte_writers(struct rig *r)
{
	struct byte_writer w[WRITERS];
	struct fiber *f[WRITERS];
	char got[64];

	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct byte_writer){ r, i };
		f[i] = fiber_spawn("byte writer", byte_writer, &w[i]);
		assert_non_null(f[i]);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		fiber_join(f[i]);
	assert_int_equal(bcf_read(r->d, got, sizeof(got), 64 * SECTOR_BYTES - 32, NULL), 64);
	for (unsigned i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], (char)(1 + i % WRITERS + 10 * 19));
}

/* --- large ones, and counts --------------------------------------------------------------------------------------------------- */

/* Far more extents than a batch, a keylist or a read's array of pieces hold. */
static void body_large(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, RIG_DATA_SECTORS, 'L'), RIG_DATA_SECTORS);
	assert_int_equal(rig_read(r, 0, RIG_DATA_SECTORS), 'L');
	for (uint64_t at = 0; at < RIG_DATA_SECTORS; at += 64)
		assert_int_equal(rig_write(r, at, 8, 'S'), 8); /* 256 extents in a row */
	assert_int_equal(rig_write(r, 0, RIG_DATA_SECTORS - 8, 'M'), RIG_DATA_SECTORS - 8);
	assert_int_equal(rig_read(r, 0, RIG_DATA_SECTORS - 8), 'M');
	assert_int_equal(rig_read(r, RIG_DATA_SECTORS - 8, 8), 'L');
	assert_int_equal(bcf_zero(r->d, 0, UINT64_MAX), 0);
	assert_int_equal(rig_read(r, 0, RIG_DATA_SECTORS), 0);
	assert_int_equal(bcf_flush(r->d), 0);
}

static void body_counts(struct rig *r)
{
	struct request q = { .r = r, .sector = 64, .nr = 64 };

	r->c->idle_counter = 7;
	slow(r->backing, READS, NS_PER_S);
	start(&q, reader);
	assert_int_equal(r->c->idle_counter, 0); /* somebody is there */
	assert_int_equal(r->c->requests_in_flight, 1);
	assert_int_equal(r->d->count, 1);
	assert_int_equal(finish(&q), 0);
	rig_settle(); /* the fill holds a count, too */
	assert_int_equal(r->c->requests_in_flight, 0);
	assert_int_equal(r->d->count, 0);
	blk_sim_clear_faults(r->backing);
	rig_fail(r->backing, READS, 1);
	assert_int_equal(rig_read(r, 2048, 8), -EIO);
	assert_int_equal(r->c->requests_in_flight, 0);
	assert_int_equal(r->d->count, 0);
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 10; seed++) \
	rig_run(seed, CACHE_MODE_##mode, body)

static void i13_a_read_that_loses_its_bucket_looks_again(void **state) { RUN(WRITEBACK, body_reuse); RUN(WRITETHROUGH, body_reuse); }
static void i12_a_fill_gives_up_while_a_write_of_its_range_is_in_flight(void **state)
{
	RUN(WRITETHROUGH, body_fill_during_write);
	RUN(WRITEAROUND, body_fill_during_write);
}

static void i12_a_fill_never_replaces_newer_data(void **state)
{
	RUN(WRITEBACK, body_late_fill);
	RUN(WRITETHROUGH, body_late_fill);
	RUN(WRITEAROUND, body_late_fill);
	RUN(WRITEBACK, body_late_fill_zero);
	RUN(WRITETHROUGH, body_late_fill_zero);
}
static void i12_a_read_during_an_overwrite_leaves_nothing_old_in_the_cache(void **state)
{
	RUN(WRITETHROUGH, body_miss_under_write);
	RUN(WRITETHROUGH, body_miss_under_zero);
}
static void i12_an_old_copy_stays_until_backing_has_the_new_data_and_no_longer(void **state)
{
	RUN(WRITETHROUGH, body_copy_under_write);
	RUN(WRITETHROUGH, body_copy_under_zero);
}
static void i12_an_attach_waits_for_the_writes_from_before(void **state) { RUN(WRITETHROUGH, body_attach_during_write); }
static void i12_a_miss_during_a_write_is_not_filled(void **state) { RUN(WRITEAROUND, body_miss_during_write); }
static void a_failed_fill_is_dropped_without_a_word(void **state) { RUN(WRITETHROUGH, body_fill_fails); }
static void i25_writers_of_neighbouring_bytes_do_not_undo_each_other(void **state) { RUN(WRITEBACK, body_byte_writers); RUN(WRITETHROUGH, body_byte_writers); }
static void requests_may_be_larger_than_every_table(void **state) { RUN(WRITEBACK, body_large); RUN(WRITETHROUGH, body_large); }
static void requests_are_counted_while_they_last(void **state) { RUN(WRITETHROUGH, body_counts); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(i13_a_read_that_loses_its_bucket_looks_again),
		TEST(i12_a_fill_never_replaces_newer_data),
		TEST(i12_a_fill_gives_up_while_a_write_of_its_range_is_in_flight),
		TEST(i12_a_read_during_an_overwrite_leaves_nothing_old_in_the_cache),
		TEST(i12_an_old_copy_stays_until_backing_has_the_new_data_and_no_longer),
		TEST(i12_an_attach_waits_for_the_writes_from_before),
		TEST(i12_a_miss_during_a_write_is_not_filled),
		TEST(a_failed_fill_is_dropped_without_a_word),
		TEST(i25_writers_of_neighbouring_bytes_do_not_undo_each_other),
		TEST(requests_may_be_larger_than_every_table),
		TEST(requests_are_counted_while_they_last),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
