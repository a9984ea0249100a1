/* SPDX-License-Identifier: GPL-2.0-only */
/* Determinism of the simulation, and what a power cut may and may not do. */
#include "tests/unit/core/test_blk_util.h"
#include <time.h>

#define NR 64

struct world {
	struct blk_sim_power power;
	struct blk_sim *sim;
	struct blkdev *dev;
	struct engine *e;
};

static void world_new(struct world *w, uint64_t seed, uint64_t cut_at)
{
	struct blk_sim_options o = { .nr_sectors = 4096, .power = &w->power };

	*w = (struct world){ .power = { .cut_at = cut_at } };
	w->sim = blk_sim_new(&o);
	assert_int_equal(engine_sim_new(seed, &w->e), 0);
	assert_int_equal(blk_sim_open(w->sim, false, &w->dev), 0);
}

static void world_free(struct world *w)
{
	blk_close(w->dev);
	engine_sim_free(w->e);
	blk_sim_free(w->sim);
}

/* --- determinism */

static void scribble(void *arg)
{
	struct blkdev *dev = arg;
	char buf[8 * SECTOR_BYTES];

	for (int i = 0; i < 20; i++) {
		uint64_t r = engine_random_u64();

		fill(buf, 8, r);
		if (r % 7 == 0)
			assert_int_equal(blk_flush(dev), 0);
		else if (r % 3 == 0)
			assert_int_equal(blk_read(dev, r % 4000, buf, 8), 0);
		else
			assert_int_equal(blk_write(dev, r % 4000, buf, 8, r % 5 == 0 ? BIO_FUA : 0), 0);
	}
}

static int scribble_main(void *arg)
{
	struct world *w = arg;
	struct fiber *f[20];

	for (int i = 0; i < 20; i++) {
		f[i] = fiber_spawn("scribble", scribble, w->dev);
		assert_non_null(f[i]);
	}
	for (int i = 0; i < 20; i++)
		fiber_join(f[i]);
	return 0;
}

static uint64_t trace_of(uint64_t seed, uint64_t *ret_contents)
{
	static char image[4096 * SECTOR_BYTES];
	struct world w;
	uint64_t trace;

	world_new(&w, seed, 0);
	assert_int_equal(engine_run(w.e, scribble_main, &w), 0);
	trace = engine_sim_trace(w.e);
	blk_sim_crash(w.sim, seed);
	blk_sim_peek(w.sim, 0, image, 4096);
	*ret_contents = 0;
	for (size_t i = 0; i < sizeof(image); i += 8) {
		uint64_t v;

		memcpy(&v, image + i, 8);
		*ret_contents = prng_mix(*ret_contents + v);
	}
	engine_sim_free(w.e);
	blk_sim_free(w.sim);
	return trace;
}

static void the_same_seed_gives_the_same_run(void **state)
{
	uint64_t contents, other_contents;

	for (uint64_t seed = 0; seed < 20; seed++) {
		uint64_t trace = trace_of(seed, &contents);

		assert_int_equal(trace, trace_of(seed, &other_contents));
		assert_int_equal(contents, other_contents);
		assert_int_not_equal(trace, trace_of(seed + 1, &other_contents));
		assert_int_not_equal(contents, other_contents);
	}
}

static int deadlock_main(void *arg)
{
	fiber_park();
	return 0;
}

static void waiting_for_nothing_is_reported_as_deadlock(void **state)
{
	struct engine *e;

	assert_int_equal(engine_sim_new(1, &e), 0);
	assert_int_equal(engine_run(e, deadlock_main, NULL), -ECANCELED);
	assert_true(engine_sim_deadlocked(e));
	engine_sim_abandon(e);
}

/* --- completion order */

static int completed[NR], nr_completed;

struct ordered {
	struct bio bio;
	int id;
	struct latch *latch;
};

static void note_done(struct bio *bio)
{
	struct ordered *o = container_of(bio, struct ordered, bio);

	completed[nr_completed++] = o->id;
	latch_done(o->latch, bio->error);
}

static int order_main(void *arg)
{
	struct world *w = arg;
	static struct ordered o[NR];
	static char buf[NR][SECTOR_BYTES];
	struct latch l;

	latch_init(&l);
	latch_add(&l, NR);
	nr_completed = 0;
	for (int i = 0; i < NR; i++) {
		o[i] = (struct ordered){ .id = i, .latch = &l };
		bio_init(&o[i].bio, w->dev, BIO_WRITE, (uint64_t)i, buf[i], 1, 0, note_done);
		blk_submit(&o[i].bio);
	}
	return latch_wait(&l);
}

static void completions_come_in_any_order(void **state)
{
	int swapped = 0;
	struct world w;

	world_new(&w, 3, 0);
	assert_int_equal(engine_run(w.e, order_main, &w), 0);
	assert_int_equal(nr_completed, NR);
	for (int i = 1; i < NR; i++)
		swapped += completed[i] < completed[i - 1];
	assert_true(swapped > NR / 8);
	world_free(&w);
}

/* --- durability: sector i holds its generation number; each crash outcome is judged */

static void stamp(char *buf, uint64_t generation, uint64_t nr_sectors)
{
	for (uint64_t i = 0; i < nr_sectors; i++)
		memset(buf + i * SECTOR_BYTES, (int)generation, SECTOR_BYTES);
}

static int generation_at(struct blk_sim *s, uint64_t sector)
{
	unsigned char buf[SECTOR_BYTES];

	blk_sim_peek(s, sector, buf, 1);
	for (size_t i = 1; i < sizeof(buf); i++)
		assert_int_equal(buf[i], buf[0]); /* a sector is never torn inside */
	return buf[0];
}

static int write_gen(struct world *w, uint64_t sector, int generation, unsigned flags)
{
	char buf[8 * SECTOR_BYTES];

	stamp(buf, (uint64_t)generation, 8);
	return blk_write(w->dev, sector, buf, 8, flags);
}

static int durability_main(void *arg)
{
	struct world *w = arg;

	assert_int_equal(write_gen(w, 0, 1, 0), 0);	   /* flushed below */
	assert_int_equal(write_gen(w, 8, 1, 0), 0);	   /* flushed, then overwritten */
	assert_int_equal(write_gen(w, 16, 1, BIO_FUA), 0); /* durable by itself */
	assert_int_equal(write_gen(w, 24, 1, 0), 0);
	assert_int_equal(blk_flush(w->dev), 0);
	assert_int_equal(write_gen(w, 8, 2, 0), 0);
	assert_int_equal(write_gen(w, 24, 2, 0), 0);
	assert_int_equal(write_gen(w, 24, 3, BIO_FUA), 0); /* over an unflushed older one */
	assert_int_equal(write_gen(w, 32, 1, 0), 0);	   /* never flushed */
	return 0;
}

static void only_unflushed_writes_are_lost_or_torn(void **state)
{
	int kept = 0, dropped = 0, torn = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		struct world w;
		int news = 0;

		world_new(&w, 5, 0);
		assert_int_equal(engine_run(w.e, durability_main, &w), 0);
		blk_sim_crash(w.sim, seed);
		for (uint64_t i = 0; i < 8; i++) {
			assert_int_equal(generation_at(w.sim, i), 1);
			assert_in_range(generation_at(w.sim, 8 + i), 1, 2);
			assert_int_equal(generation_at(w.sim, 16 + i), 1);
			assert_int_equal(generation_at(w.sim, 24 + i), 3);
			news += generation_at(w.sim, 32 + i);
		}
		kept += news == 8;
		dropped += news == 0;
		torn += news > 0 && news < 8;
		assert_int_equal(blk_sim_nr_unflushed(w.sim), 0);
		engine_sim_free(w.e);
		blk_sim_free(w.sim);
	}
	assert_true(kept > 20 && dropped > 20 && torn > 10);
}

/* A flush covers what completed before its submission, and nothing that was in flight beside it. */
static void slow_write(void *arg)
{
	assert_int_equal(write_gen(arg, 0, 1, 0), 0);
}

static int flush_beside_main(void *arg)
{
	struct world *w = arg;
	struct fiber *f = fiber_spawn("writer", slow_write, w);

	assert_non_null(f);
	while (!blk_sim_nr_unflushed(w->sim))
		fiber_yield();
	assert_int_equal(blk_flush(w->dev), 0);
	fiber_join(f);
	return 0;
}

static void a_flush_does_not_cover_a_write_in_flight_beside_it(void **state)
{
	int lost = 0;

	for (uint64_t seed = 0; seed < 100; seed++) {
		struct world w;

		world_new(&w, seed, 0);
		assert_int_equal(engine_run(w.e, flush_beside_main, &w), 0);
		blk_sim_crash(w.sim, seed);
		lost += generation_at(w.sim, 0) == 0;
		engine_sim_free(w.e);
		blk_sim_free(w.sim);
	}
	assert_true(lost > 10);
}

/* --- power cuts at every event */

struct ordered_writes {
	struct world w;
	int promised; /* generations the disk has promised to keep */
};

/* Generation g+1 is started only after g was promised, each by another means. */
static int ordered_main(void *arg)
{
	struct ordered_writes *o = arg;

	for (int g = 1; g <= 12; g++) {
		unsigned flags = g % 3 == 0 ? BIO_FUA : g % 3 == 1 ? 0 : BIO_FUA | BIO_PREFLUSH;

		assert_int_equal(write_gen(&o->w, 8 * (uint64_t)g, g, flags), 0);
		if (g % 3 == 1)
			assert_int_equal(blk_flush(o->w.dev), 0);
		o->promised = g;
	}
	return 0;
}

static void check_promises(struct blk_sim *s, int promised)
{
	for (int g = 1; g <= 12; g++)
		for (uint64_t i = 0; i < 8; i++) {
			int is = generation_at(s, 8 * (uint64_t)g + i);

			if (g <= promised)
				assert_int_equal(is, g);
			else
				assert_true(is == 0 || (is == g && g == promised + 1));
		}
}

static void promises_hold_at_every_cut(void **state)
{
	static struct ordered_writes o;
	uint64_t nr_events;

	world_new(&o.w, 8, 0);
	assert_int_equal(engine_run(o.w.e, ordered_main, &o), 0);
	nr_events = o.w.power.nr_events;
	assert_true(nr_events >= 2 * 16);
	world_free(&o.w);
	for (uint64_t cut = 1; cut <= nr_events; cut++) {
		world_new(&o.w, 8, cut);
		o.promised = 0;
		assert_int_equal(engine_run(o.w.e, ordered_main, &o), -ECANCELED);
		assert_false(engine_sim_deadlocked(o.w.e));
		assert_int_equal(o.w.power.nr_events, cut);
		engine_sim_abandon(o.w.e);
		for (uint64_t seed = 0; seed < 10; seed++) {
			struct blk_sim *c = blk_sim_clone(o.w.sim, NULL);

			blk_sim_crash(c, seed);
			check_promises(c, o.promised);
			blk_sim_free(c);
		}
		blk_sim_crash(o.w.sim, cut);
		blk_sim_free(o.w.sim);
	}
}

/* PREFLUSH: if anything of the write is there, all that completed before it is. */
static int preflush_main(void *arg)
{
	struct world *w = arg;

	assert_int_equal(write_gen(w, 0, 1, 0), 0);
	assert_int_equal(write_gen(w, 8, 1, BIO_PREFLUSH), 0);
	return 0;
}

static void a_preflushed_write_never_overtakes_what_it_flushes(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		for (uint64_t cut = 1; cut <= 4; cut++) {
			struct world w;
			bool second = false, first = true;

			world_new(&w, seed, cut);
			assert_int_equal(engine_run(w.e, preflush_main, &w), -ECANCELED);
			engine_sim_abandon(w.e);
			blk_sim_crash(w.sim, seed * 7);
			for (uint64_t i = 0; i < 8; i++) {
				first &= generation_at(w.sim, i) == 1;
				second |= generation_at(w.sim, 8 + i) == 1;
			}
			assert_true(first || !second);
			blk_sim_free(w.sim);
		}
}

/* --- faults */

static int faults_main(void *arg)
{
	struct world *w = arg;
	char buf[8 * SECTOR_BYTES];

	blk_sim_fail_nth(w->sim, BLK_SIM_OP(BIO_WRITE), 2, -ENOSPC);
	blk_sim_fail_range(w->sim, BLK_SIM_OP(BIO_READ), 100, 8, -EIO);
	assert_int_equal(write_gen(w, 0, 1, 0), 0);
	assert_int_equal(write_gen(w, 8, 1, 0), -ENOSPC);
	assert_int_equal(write_gen(w, 16, 1, 0), 0);
	assert_int_equal(blk_read(w->dev, 93, buf, 8), -EIO);
	assert_int_equal(blk_read(w->dev, 92, buf, 8), 0);
	assert_int_equal(blk_read(w->dev, 108, buf, 8), 0);
	blk_sim_clear_faults(w->sim);
	assert_int_equal(blk_read(w->dev, 100, buf, 8), 0);
	assert_int_equal(blk_sim_stats(w->sim)->nr_faults, 2);
	return 0;
}

static void faults_hit_the_nth_or_a_range(void **state)
{
	struct world w;

	world_new(&w, 1, 0);
	assert_int_equal(engine_run(w.e, faults_main, &w), 0);
	world_free(&w);
}

static int failed_flush_main(void *arg)
{
	struct world *w = arg;

	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(write_gen(w, i * 8, 1, 0), 0);
	blk_sim_fail_nth(w->sim, BLK_SIM_OP(BIO_FLUSH), 1, -EIO);
	assert_int_equal(blk_flush(w->dev), -EIO);
	assert_int_equal(blk_flush(w->dev), -EIO);
	blk_close(w->dev);
	assert_int_equal(blk_sim_open(w->sim, false, &w->dev), 0);
	assert_int_equal(blk_flush(w->dev), 0); /* not to be believed */
	return 0;
}

struct behind {
	struct bio bio;
	struct latch *latch;
	char buf[SECTOR_BYTES];
};

static void behind_done(struct bio *bio) { latch_done(container_of(bio, struct behind, bio)->latch, 0); }

/* Two writes behind flushes of their own, which cover the same data. The first flush fails and loses it; the second, in flight, knows nothing of that. */
static int flush_in_flight_main(void *arg)
{
	struct world *w = arg;
	static struct behind b[2];
	struct latch latch;

	latch_init(&latch);
	assert_int_equal(write_gen(w, 0, 1, 0), 0);
	blk_sim_add_fault(w->sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE) | BLK_SIM_OP(BIO_FLUSH), .sector = 8, .nr_sectors = 8, .error = -EIO });
	blk_sim_add_fault(w->sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .sector = 16, .nr_sectors = 8, .extra_ns = NS_PER_S });
	for (unsigned i = 0; i < 2; i++) {
		b[i].latch = &latch;
		memset(b[i].buf, 7, SECTOR_BYTES);
		bio_init(&b[i].bio, w->dev, BIO_WRITE, 8 + 8 * i, b[i].buf, 1, BIO_PREFLUSH | BIO_FUA, behind_done);
		latch_add(&latch, 1);
		blk_submit(&b[i].bio);
	}
	(void)latch_wait(&latch);
	assert_int_equal(b[0].bio.error, -EIO);
	if (b[0].bio.flush_failed) {
		char seen[SECTOR_BYTES];

		assert_int_equal(b[1].bio.error, -EIO);
		blk_sim_peek(w->sim, 16, seen, 1);
		assert_int_equal(seen[0], 0);
	} else {
		assert_int_equal(b[1].bio.error, 0);
	}
	return b[0].bio.flush_failed;
}

static void a_write_behind_a_flush_is_not_done_when_another_flush_failed_meanwhile(void **state)
{
	int nr_failed = 0;

	for (uint64_t seed = 0; seed < 20; seed++) {
		struct world w;

		world_new(&w, seed, 0);
		nr_failed += engine_run(w.e, flush_in_flight_main, &w);
		world_free(&w);
	}
	assert_in_range(nr_failed, 1, 19);
}

static void what_a_failed_flush_lost_no_later_flush_saves(void **state)
{
	int lost = 0;

	for (uint64_t seed = 0; seed < 20; seed++) {
		struct world w;

		world_new(&w, seed, 0);
		assert_int_equal(engine_run(w.e, failed_flush_main, &w), 0);
		for (uint64_t i = 0; i < 16; i++)
			assert_int_equal(generation_at(w.sim, i * 8), 1); /* visible all the same */
		blk_sim_crash(w.sim, seed);
		for (uint64_t i = 0; i < 16; i++)
			lost += generation_at(w.sim, i * 8) == 0;
		engine_sim_free(w.e);
		blk_sim_free(w.sim);
	}
	assert_true(lost > 20);
}

static void change_it(void *arg)
{
	fiber_sleep_ns(NS_PER_US);
	memset(arg, 9, SECTOR_BYTES);
}

static int changed_main(void *arg)
{
	struct world *w = arg;
	static char buf[SECTOR_BYTES];
	struct fiber *f = fiber_spawn("change", change_it, buf);

	assert_int_equal(blk_write(w->dev, 0, buf, 1, 0), 0);
	fiber_join(f);
	return 0;
}

static void memory_changed_in_flight_is_noticed(void **state)
{
	struct world w;

	world_new(&w, 2, 0);
	assert_int_equal(engine_run(w.e, changed_main, &w), 0);
	assert_int_equal(blk_sim_stats(w.sim)->nr_changed_in_flight, 1);
	world_free(&w);
}

static int reopen_main(void *arg)
{
	return write_gen(arg, 0, 1, BIO_FUA);
}

static void a_crashed_disk_can_be_opened_again_and_saved(void **state)
{
	struct world w;
	struct blkdev *busy;
	char path[64], sector[SECTOR_BYTES];
	int fd;

	world_new(&w, 2, 0);
	assert_int_equal(blk_sim_open(w.sim, false, &busy), -EBUSY);
	assert_int_equal(engine_run(w.e, reopen_main, &w), 0);
	assert_int_equal(blk_sim_reopen(w.sim, 1, &w.dev), 0);
	assert_int_equal(generation_at(w.sim, 3), 1);
	make_file(path, false, 0);
	assert_int_equal(blk_sim_save(w.sim, path), 0);
	fd = open(path, O_RDONLY);
	assert_int_equal(lseek(fd, 0, SEEK_END), 4096 * SECTOR_BYTES);
	assert_int_equal(pread(fd, sector, SECTOR_BYTES, 7 * SECTOR_BYTES), SECTOR_BYTES);
	assert_int_equal(sector[5], 1);
	close(fd);
	unlink(path);
	world_free(&w);
}

/* --- speed, printed */

#define SPEED_IOS (SLOW ? 2000u : 100000u)

static void pound(void *arg)
{
	struct world *w = arg;
	char buf[PAGE_BYTES];

	memset(buf, 1, sizeof(buf));
	for (unsigned i = 0; i < SPEED_IOS / 32; i++)
		if (i % 3)
			assert_int_equal(blk_write(w->dev, i * 8 % 4000, buf, 8, 0), 0);
		else
			assert_int_equal(blk_read(w->dev, i * 8 % 4000, buf, 8), 0);
}

static int pound_main(void *arg)
{
	struct fiber *f[32];

	for (int i = 0; i < 32; i++)
		f[i] = fiber_spawn("pound", pound, arg);
	for (int i = 0; i < 32; i++)
		fiber_join(f[i]);
	return blk_flush(((struct world *)arg)->dev);
}

static void simulated_io_is_fast(void **state)
{
	struct timespec a, b;
	struct world w;

	world_new(&w, 2, 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(engine_run(w.e, pound_main, &w), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	print_message("%.0f simulated 4 KiB I/Os per second\n",
		      SPEED_IOS / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9));
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_same_seed_gives_the_same_run),
		TEST(waiting_for_nothing_is_reported_as_deadlock),
		TEST(completions_come_in_any_order),
		TEST(only_unflushed_writes_are_lost_or_torn),
		TEST(a_flush_does_not_cover_a_write_in_flight_beside_it),
		TEST(promises_hold_at_every_cut),
		TEST(a_preflushed_write_never_overtakes_what_it_flushes),
		TEST(faults_hit_the_nth_or_a_range),
		TEST(what_a_failed_flush_lost_no_later_flush_saves),
		TEST(a_write_behind_a_flush_is_not_done_when_another_flush_failed_meanwhile),
		TEST(memory_changed_in_flight_is_noticed),
		TEST(a_crashed_disk_can_be_opened_again_and_saved),
		TEST(simulated_io_is_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
