/* SPDX-License-Identifier: GPL-2.0-only */
/* The keybuf, and what writeback does when devices fail or writes get in its way (§8; I-9, I-10, I-15, I-20). */
#include "core/writeback/keybuf.h"
#include "tests/unit/core/test_core_rig.h"

#define WRITES BLK_SIM_OP(BIO_WRITE)
#define READS BLK_SIM_OP(BIO_READ)
#define FLUSHES BLK_SIM_OP(BIO_FLUSH)

/* --- keybuf -------------------------------------------------------------------------------------------------------------- */

static void add(struct keybuf *b, uint64_t start, uint64_t end)
{
	struct bkey_buf k;

	bkey_init(&k.k, 1, end, (uint32_t)(end - start));
	keybuf_add(b, &k.k);
}

static uint64_t start_next(struct keybuf *b)
{
	struct keybuf_key *e = keybuf_start(b);

	return e ? bkey_start(&e->key.k) : UINT64_MAX;
}

static void overlapping_writes_drop_waiting_keys(void **state)
{
	struct keybuf b;

	keybuf_init(&b);
	add(&b, 0, 8);
	add(&b, 8, 16);
	add(&b, 20, 30);
	add(&b, 40, 50);
	assert_false(keybuf_overlaps(&b, 16, 20));
	assert_false(keybuf_overlaps(&b, 50, 100));
	assert_false(keybuf_overlaps(&b, 15, 21)); /* 8 and 20 go */
	assert_int_equal(start_next(&b), 0);
	assert_int_equal(start_next(&b), 40);
	assert_true(keybuf_drained(&b));
	assert_int_equal(start_next(&b), UINT64_MAX);
	keybuf_retire(&b);
	assert_int_equal(b.nr, 0);
}

static void started_keys_are_not_dropped_but_reported(void **state)
{
	struct keybuf b;

	keybuf_init(&b);
	add(&b, 0, 10);
	add(&b, 10, 20);
	add(&b, 20, 30);
	assert_int_equal(start_next(&b), 0);
	assert_true(keybuf_overlaps(&b, 9, 11)); /* 0 is started, 10 goes */
	assert_false(keybuf_overlaps(&b, 10, 20));
	assert_int_equal(start_next(&b), 20);
	assert_true(keybuf_started(&b, 29, 30));
	assert_false(keybuf_started(&b, 10, 20));
	assert_false(keybuf_started(&b, 30, 99));
	keybuf_retire(&b);
	assert_false(keybuf_started(&b, 0, 100));
}

/* What was rewritten while the scan went on is found again, and may begin before the key it replaced ended. */
static void a_dropped_key_may_overlap_its_successor(void **state)
{
	struct keybuf b;

	keybuf_init(&b);
	add(&b, 0, 8);
	assert_false(keybuf_overlaps(&b, 4, 12));
	add(&b, 4, 12);
	assert_int_equal(start_next(&b), 4);
	assert_true(keybuf_started(&b, 5, 6));
	assert_true(keybuf_overlaps(&b, 0, 5));
	assert_false(keybuf_overlaps(&b, 0, 4));
}

/* Against a flat array: random scans, starts and writes. */
static void random_use_agrees_with_a_flat_array(void **state)
{
	enum { FREE, WAITING, STARTED };

	for (uint64_t seed = 0; seed < 300; seed++) {
		struct prng rng = prng_seeded(seed);
		struct keybuf b;
		int at[2000] = { FREE };
		uint64_t end = 0;

		keybuf_init(&b);
		while (end < 1900 && !keybuf_full(&b)) {
			uint64_t from = end + prng_below(&rng, 10), to = from + 1 + prng_below(&rng, 20);

			add(&b, from, to);
			for (uint64_t s = from; s < to; s++)
				at[s] = WAITING;
			end = to;
		}
		for (unsigned i = 0; i < 300; i++) {
			uint64_t from = prng_below(&rng, 1950), to = from + 1 + prng_below(&rng, 40);
			bool started = false;

			for (uint64_t s = from; s < to; s++)
				started |= at[s] == STARTED;
			assert_int_equal(keybuf_started(&b, from, to), started);
			assert_int_equal(keybuf_overlaps(&b, from, to), started);
			for (unsigned k = 0; k < b.nr; k++) /* whole keys go */
				for (uint64_t s = bkey_start(&b.keys[k].key.k); b.keys[k].dropped && s < bkey_offset(&b.keys[k].key.k); s++)
					at[s] = FREE;
			for (uint64_t s = from; s < to; s++)
				assert_int_not_equal(at[s], WAITING);
			if (prng_below(&rng, 10) == 0) {
				struct keybuf_key *e = keybuf_start(&b);

				for (uint64_t s = e ? bkey_start(&e->key.k) : 1; s < (e ? bkey_offset(&e->key.k) : 0); s++) {
					assert_int_equal(at[s], WAITING);
					at[s] = STARTED;
				}
			}
			if (prng_below(&rng, 40) == 0) {
				keybuf_retire(&b);
				for (uint64_t s = 0; s < ARRAY_SIZE(at); s++)
					at[s] = at[s] == STARTED ? FREE : at[s];
			}
		}
	}
}

/* --- devices --------------------------------------------------------------------------------------------------------------- */

static struct writeback *wb(struct rig *r) { return &r->d->writeback; }

static void body_flush_makes_clean(struct rig *r)
{
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(rig_write(r, i * 16, 8 + i % 8, (char)(1 + i)), 8 + i % 8);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_DIRTY);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(wb(r)->dirty_sectors, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(rig_backing(r, i * 16, 8 + i % 8, true), 1 + i);
	wb(r)->running = true;
	writeback_wake(r->d);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_false(wb(r)->has_dirty);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_CLEAN);
}

static void body_runs_coalesce(struct rig *r)
{
	uint64_t before;

	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(rig_write(r, 8 * ((i * 7) % 32), 8, 'x'), 8); /* in no order */
	before = blk_sim_stats(r->backing)->nr_ops[BIO_WRITE];
	assert_int_equal(writeback_flush(r->d), 0);
	assert_in_range(blk_sim_stats(r->backing)->nr_ops[BIO_WRITE] - before, 1, 2); /* the data in one write, perhaps CLEAN */
	assert_int_equal(rig_backing(r, 0, 256, true), 'x');
}

static void body_backing_write_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	assert_int_equal(rig_write(r, 128, 64, 'b'), 64);
	blk_sim_fail_range(r->backing, WRITES, 16 + 130, 1, -EIO);
	assert_int_equal(writeback_flush(r->d), -EIO);
	assert_int_equal(wb(r)->dirty_sectors, 64); /* the other one is clean */
	assert_int_equal(rig_backing(r, 0, 64, true), 'a');
	assert_int_equal(rig_read(r, 128, 64), 'b');
	blk_sim_clear_faults(r->backing);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(rig_backing(r, 128, 64, true), 'b');
}

static void body_cache_read_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	rig_fail(r->cache, READS, 2);
	r->c->io_error_limit = 100;
	assert_int_equal(writeback_flush(r->d), -EIO);
	assert_int_equal(rig_backing(r, 0, 64, false), 0); /* rubbish in the buffer went nowhere */
	assert_int_equal(wb(r)->dirty_sectors, 64);
	blk_sim_clear_faults(r->cache);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(rig_backing(r, 0, 64, true), 'a');
}

static void body_flush_error(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	rig_fail(r->backing, FLUSHES, 1);
	assert_int_equal(writeback_flush(r->d), -EIO);
	assert_int_equal(wb(r)->dirty_sectors, 64); /* written, but nobody knows whether it is there: stays dirty (R8.3) */
	assert_true(r->d->io_disable);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_DIRTY);
}

static void flusher(void *arg) { assert_int_equal(writeback_flush(arg), 0); }

/* A write to data that is on its way to backing stays in the cache, whatever the mode says, and is newer there in the end (I-15). */
static void body_write_overtakes_nothing(struct rig *r)
{
	struct fiber *f;

	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = WRITES, .sector = 16, .nr_sectors = 64, .count = 1, .extra_ns = NS_PER_S });
	f = fiber_spawn("flusher", flusher, r->d);
	assert_non_null(f);
	fiber_sleep_ns(100 * NS_PER_MS); /* its write of 'a' is under way now, and slow */
	assert_true(keybuf_started(&wb(r)->keybuf, 16, 80));
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	assert_int_equal(rig_write(r, 16, 16, 'b'), 16);
	assert_int_equal(wb(r)->dirty_sectors, 64);
	assert_int_equal(bcf_zero(r->d, 40 * SECTOR_BYTES, 8 * SECTOR_BYTES), 0); /* has nothing to keep in the cache: waits */
	fiber_join(f);
	assert_int_equal(rig_backing(r, 0, 16, true), 'a');
	assert_int_equal(rig_backing(r, 16, 16, true), 'b');
	assert_int_equal(rig_backing(r, 40, 8, false), 0);
	assert_int_equal(rig_read(r, 40, 8), 0);
	assert_int_equal(rig_read(r, 48, 16), 'a');
	assert_int_equal(wb(r)->dirty_sectors, 0);
}

/* writeback_running off, then detach: everything goes to backing all the same, and the device leaves as NONE. */
static void body_detach(struct rig *r)
{
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(rig_write(r, i * 100, 40, 'd'), 40);
	bdev_detach(r->d);
	for (unsigned i = 0; i < 100 && r->d->set; i++)
		fiber_sleep_ns(NS_PER_S);
	assert_null(r->d->set);
	assert_int_equal(bdev_state(r->d), BDEV_STATE_NONE);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(rig_backing(r, i * 100, 40, true), 'd');
	assert_int_equal(writeback_flush(r->d), -ENOTCONN);
	assert_int_equal(bdev_attach(r->d, r->c, true, NULL), 0);
	assert_int_equal(rig_read(r, 0, 40), 'd');
	assert_int_equal(rig_write(r, 0, 40, 'e'), 40);
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(rig_backing(r, 0, 40, true), 'e');
}

static void body_rate(struct rig *r)
{
	uint64_t begin;

	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(rig_write(r, i * 64, 64, 'r'), 64); /* 4096 sectors */
	begin = engine_now_ns();
	wb(r)->running = true;
	wb(r)->tunables.percent = 40;
	writeback_wake(r->d);
	while (wb(r)->dirty_sectors)
		fiber_sleep_ns(100 * NS_PER_MS);
	/* 1024 sectors/s to begin with, less 2 s of credit (§8.5). */
	assert_in_range(engine_now_ns() - begin, 9 * NS_PER_S / 10, 5 * NS_PER_S);
	assert_true(wb(r)->sectors_written == 4096);
}

#define RUN(body) \
	for (uint64_t seed = 0; seed < 20; seed++) \
	rig_run(seed, CACHE_MODE_WRITEBACK, body)

static void everything_dirty_gets_to_backing_and_is_clean_then(void **state) { RUN(body_flush_makes_clean); }
static void neighbours_are_written_together(void **state) { RUN(body_runs_coalesce); }
static void what_backing_refuses_stays_dirty(void **state) { RUN(body_backing_write_error); }
static void what_cannot_be_read_is_not_written(void **state) { RUN(body_cache_read_error); }
static void without_a_flush_nothing_is_clean(void **state) { RUN(body_flush_error); }
static void writes_do_not_overtake_writeback(void **state) { RUN(body_write_overtakes_nothing); }
static void detaching_writes_everything_back(void **state) { RUN(body_detach); }
static void the_rate_is_kept(void **state) { RUN(body_rate); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(overlapping_writes_drop_waiting_keys),
		TEST(started_keys_are_not_dropped_but_reported),
		TEST(a_dropped_key_may_overlap_its_successor),
		TEST(random_use_agrees_with_a_flat_array),
		TEST(everything_dirty_gets_to_backing_and_is_clean_then),
		TEST(neighbours_are_written_together),
		TEST(what_backing_refuses_stays_dirty),
		TEST(what_cannot_be_read_is_not_written),
		TEST(without_a_flush_nothing_is_clean),
		TEST(writes_do_not_overtake_writeback),
		TEST(detaching_writes_everything_back),
		TEST(the_rate_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
