/* SPDX-License-Identifier: GPL-2.0-only */
/* The keybuf, and what writeback does when devices fail or writes get in its way (§8; I-9, I-10, I-15, I-20). */
#include "core/writeback/keybuf.h"
#include "core/writeback/throttle.h"
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

static FIBER_FN void write_all_back(struct rig *r)
{
	wb(r)->running = true;
	assert_int_equal(writeback_flush(r->d), 0);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_false(wb(r)->has_dirty);
	wb(r)->running = false;
}

/* gc_after_writeback: once half of the cache has been in use, and only once (§7.3). */
static void body_gc_afterwards(struct rig *r)
{
	struct gc *g = &r->c->gc;
	uint64_t avail = r->c->alloc.avail_buckets, runs = g->runs_started;

	g->after_writeback = true;
	assert_int_equal(rig_write(r, 0, 8, 'a'), 8);
	write_all_back(r);
	assert_int_equal(g->runs_started, runs); /* there is plenty of room */
	assert_int_equal(rig_write(r, 0, 8, 'b'), 8);
	r->c->alloc.avail_buckets = r->c->g.nr_buckets / 3;
	for (uint64_t at = 128; !g->after_writeback_due; at += 128)
		assert_int_equal(rig_write(r, at, 128, 'b'), 128);
	r->c->alloc.avail_buckets = avail; /* it may be over by then */
	write_all_back(r);
	assert_int_equal(g->runs_started, runs + 1);
	assert_false(g->after_writeback_due);
	assert_int_equal(rig_write(r, 0, 8, 'c'), 8);
	write_all_back(r);
	assert_int_equal(g->runs_started, runs + 1);
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

/* 64 sectors of 'a', dirty and flushed, are being copied to a backing device that takes its time. */
static struct fiber *slow_writeback(struct rig *r, uint64_t extra_ns)
{
	struct fiber *f;

	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	assert_int_equal(bcf_flush(r->d), 0);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = WRITES, .sector = 16, .nr_sectors = 64, .count = 1, .extra_ns = extra_ns });
	f = fiber_spawn("flusher", flusher, r->d);
	assert_non_null(f);
	fiber_sleep_ns(100 * NS_PER_MS);
	assert_true(keybuf_started(&wb(r)->keybuf, 16, 80));
	return f;
}

/* A write to data that is on its way to backing stays in the cache, whatever the mode says, and is newer there in the end (I-15). */
static void body_write_overtakes_nothing(struct rig *r)
{
	struct fiber *f = slow_writeback(r, NS_PER_S);

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

static void late_writer(void *arg) { assert_int_equal(rig_write(arg, 0, 64, 'b'), 64); }

/* What a write in flight holds is not made clean under it: its key and the clean one would reach journal and btree in any order (§2.9). */
static void body_nothing_is_cleaned_under_a_write(struct rig *r)
{
	struct fiber *flush = slow_writeback(r, 2 * NS_PER_S), *write;

	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = WRITES, .extra_ns = 10 * NS_PER_S });
	write = fiber_spawn("writer", late_writer, r);
	assert_non_null(write);
	fiber_sleep_ns(5 * NS_PER_S);
	assert_int_equal(rig_backing(r, 0, 64, true), 'a'); /* copied and flushed */
	assert_false(keybuf_started(&wb(r)->keybuf, 16, 80));
	assert_int_equal(wb(r)->dirty_sectors, 64);
	assert_int_equal(wb(r)->keys_done, 0);
	fiber_join(write);
	assert_int_equal(wb(r)->dirty_sectors, 64);
	blk_sim_clear_faults(r->cache);
	fiber_join(flush);
	assert_int_equal(rig_backing(r, 0, 64, true), 'b');
	assert_int_equal(wb(r)->dirty_sectors, 0);
}

static void body_what_is_overwritten_meanwhile_stays_dirty(struct rig *r)
{
	struct fiber *flush = slow_writeback(r, NS_PER_S);

	assert_int_equal(rig_write(r, 16, 16, 'b'), 16);
	fiber_join(flush); /* and is copied next */
	assert_int_equal(rig_backing(r, 0, 16, true), 'a');
	assert_int_equal(rig_backing(r, 16, 16, true), 'b');
	assert_int_equal(rig_backing(r, 32, 32, true), 'a');
	assert_int_equal(rig_read(r, 16, 16), 'b');
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

/* --- the state on disk ------------------------------------------------------------------------------------------------------- */

static enum bdev_state state_on_disk(struct rig *r)
{
	struct super s;

	blk_sim_peek_durable(r->backing, SUPER_SECTOR, &s, SUPER_BYTES / SECTOR_BYTES);
	return super_state(&s);
}

static void slow_super(struct rig *r, uint64_t extra_ns, int error)
{
	blk_sim_clear_faults(r->backing);
	if (extra_ns || error)
		blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = WRITES, .sector = SUPER_SECTOR, .nr_sectors = 8,
									.extra_ns = extra_ns, .error = error });
}

static bool any_dirty(void *ctx, const struct bkey *k)
{
	*(bool *)ctx |= bkey_dirty(k);
	return true;
}

static FIBER_FN bool index_has_dirty(struct rig *r)
{
	bool dirty = false;

	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, 0, BKEY_OFFSET_MAX, any_dirty, &dirty), 0);
	return dirty;
}

struct one_write {
	struct rig *r;
	int64_t result;
	bool done;
};

static void write_one(void *arg)
{
	struct one_write *w = arg;

	w->result = rig_write(w->r, 0, 8, 'a');
	w->done = true;
}

static void body_dirty_first(struct rig *r)
{
	struct one_write w = { .r = r, .done = false };
	struct fiber *f;

	assert_int_equal(state_on_disk(r), BDEV_STATE_CLEAN);
	slow_super(r, 0, -EIO);
	assert_int_equal(rig_write(r, 0, 8, 'x'), -EIO); /* not said, so not done */
	assert_false(index_has_dirty(r));
	slow_super(r, NS_PER_S, 0);
	f = fiber_spawn("writer", write_one, &w);
	assert_non_null(f);
	while (state_on_disk(r) != BDEV_STATE_DIRTY) {
		assert_false(w.done);
		fiber_sleep_ns(NS_PER_MS);
	}
	fiber_join(f);
	assert_int_equal(w.result, 8);
	slow_super(r, 0, 0);
}

static void body_clean_last(struct rig *r)
{
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(rig_write(r, i * 24, 8, 'c'), 8);
	wb(r)->tunables.percent = 0;
	wb(r)->delay_s = 0;
	wb(r)->running = true;
	slow_super(r, 0, -EIO); /* CLEAN cannot be written: then it is not, and is tried again */
	writeback_wake(r->d);
	fiber_sleep_ns(2 * NS_PER_S);
	assert_true(wb(r)->has_dirty);
	assert_int_equal(state_on_disk(r), BDEV_STATE_DIRTY);
	slow_super(r, 0, 0);
	while (state_on_disk(r) != BDEV_STATE_CLEAN)
		fiber_sleep_ns(NS_PER_MS);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(rig_backing(r, i * 24, 8, true), 'c');
	assert_false(index_has_dirty(r));
	assert_true(r->c->journal.durable_seq >= r->c->journal.seq - 1); /* the clean keys, too */
}

static void busy_writer(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 400; i++) {
		assert_int_equal(rig_write(r, (i * 7 % 100) * 16, 8, 'b'), 8);
		fiber_sleep_ns((i % 5) * 3 * NS_PER_MS);
	}
}

/* I-20, against writers that come and go all the time. */
static void body_no_dirt_without_has_dirty(struct rig *r)
{
	struct fiber *f;
	unsigned clean = 0;

	wb(r)->tunables.percent = 0;
	wb(r)->delay_s = 0;
	wb(r)->running = true;
	f = fiber_spawn("writer", busy_writer, r);
	assert_non_null(f);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t generation = wb(r)->dirty_generation;

		if (!wb(r)->has_dirty) {
			bool dirty = index_has_dirty(r);

			if (!wb(r)->has_dirty && wb(r)->dirty_generation == generation) {
				assert_false(dirty);
				clean++;
			}
		}
		fiber_sleep_ns(NS_PER_MS);
	}
	fiber_join(f);
	assert_true(clean > 10);
}

/* --- what cannot be written back --------------------------------------------------------------------------------------------- */

static void body_stuck(struct rig *r)
{
	char text[500] = "";
	struct printbuf pb = PRINTBUF(text);

	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	assert_int_equal(rig_write(r, 256, 64, 'b'), 64);
	assert_int_equal(rig_write(r, 512, 64, 'c'), 64);
	r->d->io_error_limit = UINT32_MAX;
	blk_sim_fail_range(r->backing, WRITES, 16 + 256, 64, -EIO);
	bdev_detach(r->d);
	fiber_sleep_ns(100 * NS_PER_S);
	assert_non_null(r->d->set); /* it does not leave its data behind */
	assert_int_equal(state_on_disk(r), BDEV_STATE_DIRTY);
	assert_int_equal(wb(r)->dirty_sectors, 64);
	assert_int_equal(rig_backing(r, 512, 64, true), 'c');
	failures_to_text(&wb(r)->failed, r->d->data_offset, &pb);
	assert_string_equal(text, "ranges 1 more 0 bytes 32768\nwrite 131072 32768 Input/output error\n");
	assert_int_equal(rig_read(r, 256, 64), 'b');
	blk_sim_clear_faults(r->backing);
	fiber_sleep_ns(100 * NS_PER_S);
	assert_null(r->d->set);
	assert_int_equal(wb(r)->failed.nr, 0);
	assert_int_equal(rig_backing(r, 256, 64, true), 'b');
}

static void body_enabled_again(struct rig *r)
{
	assert_false(wb(r)->has_dirty);
	assert_int_equal(bcf_ctl_store(r->bcf, "dev0/io_disable", "1", 1), 0);
	bdev_detach(r->d);
	fiber_sleep_ns(NS_PER_S);
	assert_non_null(r->d->set);
	assert_int_equal(bcf_ctl_store(r->bcf, "dev0/io_disable", "0", 1), 0);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
}

/* The set rests, so nobody works off the detach; then it fails, and a clean device has to leave all the same. */
static void body_set_fails_while_it_rests(struct rig *r)
{
	char path[BCF_CTL_PATH_BYTES];

	assert_false(wb(r)->has_dirty);
	snprintf(path, sizeof(path), "%s/internal/io_disable", r->c->uuid_text);
	assert_int_equal(bcf_ctl_store(r->bcf, path, "1", 1), 0);
	bdev_detach(r->d);
	fiber_sleep_ns(NS_PER_S);
	assert_non_null(r->d->set);
	assert_int_equal(cset_error(r->c, "as the test says"), -EROFS);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	assert_true(r->d->running && list_empty(&r->bcf->csets));
}

/* The same when the set is on its way out with all its devices. */
static void body_set_fails_at_its_end(struct rig *r)
{
	char path[BCF_CTL_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/internal/io_disable", r->c->uuid_text);
	assert_int_equal(bcf_ctl_store(r->bcf, path, "1", 1), 0);
	cset_stop(r->c, true);
	fiber_sleep_ns(NS_PER_S);
	assert_true(r->d->set && r->d->detaching);
	assert_int_equal(cset_error(r->c, "as the test says"), -EROFS);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	assert_true(r->d->running && list_empty(&r->bcf->csets));
}

/* A disabled device has nothing to do with its set any more when it is clean. */
static void body_set_fails_under_a_disabled_device(struct rig *r)
{
	assert_int_equal(bcf_ctl_store(r->bcf, "dev0/io_disable", "1", 1), 0);
	assert_int_equal(cset_error(r->c, "as the test says"), -EROFS);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	assert_true(r->d->io_disable && list_empty(&r->bcf->csets));
	assert_int_equal(bcf_ctl_store(r->bcf, "dev0/io_disable", "0", 1), 0);
	assert_int_equal(rig_write(r, 0, 8, 'a'), 8);
}

static void body_unreadable(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = READS, .count = 2, .error = -EIO });
	r->c->io_error_limit = 100;
	assert_int_equal(writeback_flush(r->d), -EIO);
	assert_int_equal(wb(r)->failed.nr, 1);
	assert_int_equal(wb(r)->failed.list[0].phase, WRITEBACK_READ);
	assert_int_equal(wb(r)->failed.list[0].start, 16);
	assert_int_equal(wb(r)->failed.list[0].end, 80);
	assert_int_equal(wb(r)->failed.list[0].error, -EIO);
	assert_int_equal(rig_write(r, 0, 64, 'b'), 64); /* what nobody can read any more is overwritten, and the trouble is over */
	assert_int_equal(writeback_flush(r->d), 0);
	wb(r)->running = true;
	writeback_wake(r->d);
	fiber_sleep_ns(100 * NS_PER_S);
	assert_int_equal(wb(r)->failed.nr, 0);
	assert_int_equal(rig_backing(r, 0, 64, true), 'b');
}

static void body_flush_failure_is_listed(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	rig_fail(r->backing, FLUSHES, 1);
	assert_int_equal(writeback_flush(r->d), -EIO);
	assert_int_equal(wb(r)->failed_now.nr + wb(r)->failed.nr, 1);
	assert_int_equal((wb(r)->failed.nr ? wb(r)->failed : wb(r)->failed_now).list[0].phase, WRITEBACK_FLUSH);
}

static void impatient(void *arg) { assert_int_equal(writeback_flush(arg), -EINTR); }

static void body_interrupted(struct rig *r)
{
	struct fiber *f;

	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = WRITES, .sector = 16, .nr_sectors = 64, .count = 1, .extra_ns = 100 * NS_PER_S });
	f = fiber_spawn("flusher", impatient, r->d);
	assert_non_null(f);
	fiber_sleep_ns(NS_PER_S);
	fiber_cancel(f);
	fiber_join(f);
	assert_int_equal(wb(r)->flushers, 0);
	assert_int_equal(wb(r)->dirty_sectors, 64); /* still under way */
	assert_int_equal(writeback_flush(r->d), 0);
}

/* --- the controller's clock -------------------------------------------------------------------------------------------------- */

static void body_idle(struct rig *r)
{
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	fiber_sleep_ns(24 * NS_PER_S); /* the controller's clock began with the attach: at most five rounds */
	assert_false(wb(r)->rate.at_idle_max);
	fiber_sleep_ns(16 * NS_PER_S); /* six rounds of 5 s, and the first gc */
	assert_true(wb(r)->rate.at_idle_max);
	assert_int_equal(wb(r)->rate.rate, RATE_UNLIMITED);
	assert_int_equal(rig_read(r, 0, 64), 'a');
	assert_false(wb(r)->rate.at_idle_max);
	assert_int_equal(wb(r)->rate.rate, 1);
	wb(r)->tunables.maximum = 5000;
	fiber_sleep_ns(40 * NS_PER_S);
	assert_true(wb(r)->rate.at_idle_max);
	assert_int_equal(wb(r)->rate.rate, 5000);
}

static void body_period(struct rig *r)
{
	wb(r)->tunables.update_seconds = 60;
	throttle_restart(r->d);
	assert_int_equal(rig_write(r, 0, 64, 'a'), 64);
	fiber_sleep_ns(50 * NS_PER_S);
	assert_int_equal(wb(r)->rate.target, 0); /* not computed yet */
	wb(r)->tunables.update_seconds = 1;
	throttle_restart(r->d);
	fiber_sleep_ns(3 * NS_PER_S / 2);
	assert_int_equal(wb(r)->rate.target, RIG_CACHE_SECTORS / 10);
}

#define RUN(body) \
	for (uint64_t seed = 0; seed < 20; seed++) \
	rig_run(seed, CACHE_MODE_WRITEBACK, body)

static void everything_dirty_gets_to_backing_and_is_clean_then(void **state) { RUN(body_flush_makes_clean); }
static void neighbours_are_written_together(void **state) { RUN(body_runs_coalesce); }
static void what_backing_refuses_stays_dirty(void **state) { RUN(body_backing_write_error); }
static void what_cannot_be_read_is_not_written(void **state) { RUN(body_cache_read_error); }
static void i09_without_a_flush_nothing_is_clean(void **state) { RUN(body_flush_error); }
static void i15_writes_do_not_overtake_writeback(void **state) { RUN(body_write_overtakes_nothing); }
static void i09_nothing_is_cleaned_under_a_write(void **state) { RUN(body_nothing_is_cleaned_under_a_write); }
static void i09_what_is_overwritten_while_it_is_copied_stays_dirty(void **state) { RUN(body_what_is_overwritten_meanwhile_stays_dirty); }
static void detaching_writes_everything_back(void **state) { RUN(body_detach); }
static void the_rate_is_kept(void **state) { RUN(body_rate); }
static void DIRTY_is_durable_before_the_first_dirty_write_is_acknowledged(void **state) { RUN(body_dirty_first); } /* R1.6 */
static void CLEAN_comes_after_data_flush_and_journal(void **state) { RUN(body_clean_last); } /* R8.2 */
static void i20_without_has_dirty_the_index_has_no_dirty_key(void **state) { RUN(body_no_dirt_without_has_dirty); } /* I-20 */
static void a_device_with_data_that_cannot_be_written_does_not_leave(void **state) { RUN(body_stuck); } /* W-7 */
static void a_device_that_is_enabled_again_goes_on_leaving(void **state) { RUN(body_enabled_again); }
static void a_clean_device_leaves_a_set_that_fails_while_it_rests(void **state) { RUN(body_set_fails_while_it_rests); }
static void a_clean_device_leaves_a_set_that_fails_at_its_end(void **state) { RUN(body_set_fails_at_its_end); }
static void a_disabled_clean_device_leaves_a_set_that_fails(void **state) { RUN(body_set_fails_under_a_disabled_device); }
static void what_could_not_be_read_is_listed_until_it_is_gone(void **state) { RUN(body_unreadable); }
static void gc_follows_writeback_once_after_half_of_the_cache_was_in_use(void **state) { RUN(body_gc_afterwards); }
static void what_could_not_be_flushed_is_listed(void **state) { RUN(body_flush_failure_is_listed); }
static void waiting_for_a_flush_can_be_interrupted(void **state) { RUN(body_interrupted); }
static void an_idle_set_writes_back_without_limit(void **state) { RUN(body_idle); }
static void a_new_period_of_the_controller_holds_at_once(void **state) { RUN(body_period); }

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
		TEST(i09_without_a_flush_nothing_is_clean),
		TEST(i15_writes_do_not_overtake_writeback),
		TEST(i09_nothing_is_cleaned_under_a_write),
		TEST(i09_what_is_overwritten_while_it_is_copied_stays_dirty),
		TEST(detaching_writes_everything_back),
		TEST(the_rate_is_kept),
		TEST(DIRTY_is_durable_before_the_first_dirty_write_is_acknowledged),
		TEST(CLEAN_comes_after_data_flush_and_journal),
		TEST(i20_without_has_dirty_the_index_has_no_dirty_key),
		TEST(a_device_with_data_that_cannot_be_written_does_not_leave),
		TEST(a_device_that_is_enabled_again_goes_on_leaving),
		TEST(a_clean_device_leaves_a_set_that_fails_while_it_rests),
		TEST(a_clean_device_leaves_a_set_that_fails_at_its_end),
		TEST(a_disabled_clean_device_leaves_a_set_that_fails),
		TEST(what_could_not_be_read_is_listed_until_it_is_gone),
		TEST(what_could_not_be_flushed_is_listed),
		TEST(gc_follows_writeback_once_after_half_of_the_cache_was_in_use),
		TEST(waiting_for_a_flush_can_be_interrupted),
		TEST(an_idle_set_writes_back_without_limit),
		TEST(a_new_period_of_the_controller_holds_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
