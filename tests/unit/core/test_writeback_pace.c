/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pace of writeback in a whole core, under a virtual clock: an hour of load ends on the target (§8.6, §8.7); requests do not suffer much
 * from it, and it does not starve (§8.10).
 */
#include <stdio.h>
#include <stdlib.h>
#define RIG_DATA_SECTORS 65536u
#include "core/writeback/batch.h"
#include "core/writeback/throttle.h"
#include "tests/unit/core/test_core_rig.h"

static struct writeback *wb(struct rig *r) { return &r->d->writeback; }

/* --- a disk with one head ---------------------------------------------------------------------------------------------------- */

#define SEEK_NS (8 * NS_PER_MS)
#define SECTOR_NS 5000ull /* 100 MB/s */

struct head {
	struct blkdev dev;
	struct blkdev *lower;
	struct list queue;
	struct timer timer;
	struct ride *current;
	uint64_t at;
	unsigned writes, max_writes, max_sectors; /* queued or served; most of them at once; longest */
};
struct ride {
	struct list link;
	struct head *h;
	struct bio lower, *upper;
};
static struct head *the_head;

static void next_ride(struct head *h)
{
	struct bio *bio;
	uint64_t ns;

	if (h->current || list_empty(&h->queue))
		return;
	h->current = list_first(&h->queue, struct ride, link);
	list_del(&h->current->link);
	bio = h->current->upper;
	ns = bio->op == BIO_FLUSH ? NS_PER_MS : (bio->sector == h->at ? 0 : SEEK_NS) + bio->nr_sectors * SECTOR_NS;
	if (bio->op != BIO_FLUSH)
		h->at = bio->sector + bio->nr_sectors;
	timer_arm_ns(&h->timer, ns);
}

static void ride_done(struct bio *bio)
{
	struct ride *ride = container_of(bio, struct ride, lower);
	struct head *h = ride->h;
	struct bio *upper = ride->upper;
	int error = bio->error;

	h->writes -= upper->op == BIO_WRITE;
	h->current = NULL;
	next_ride(h);
	free(ride);
	bio_end(upper, error);
}

static void arrived(struct timer *t) { blk_submit(&container_of(t, struct head, timer)->current->lower); }

static void head_submit(struct bio *bio)
{
	struct head *h = container_of(bio->dev, struct head, dev);
	struct ride *ride = calloc(1, sizeof(*ride));

	assert_non_null(ride);
	ride->h = h;
	ride->upper = bio;
	ride->lower = *bio;
	ride->lower.dev = h->lower;
	ride->lower.done = ride_done;
	list_init(&ride->link);
	list_add_tail(&h->queue, &ride->link);
	h->writes += bio->op == BIO_WRITE;
	h->max_writes = max(h->max_writes, h->writes);
	if (bio->op == BIO_WRITE)
		h->max_sectors = max(h->max_sectors, (unsigned)bio->nr_sectors);
	next_ride(h);
}

static void head_close(struct blkdev *dev)
{
	struct head *h = container_of(dev, struct head, dev);

	blk_close(h->lower);
	free(h->dev.path);
	free(h);
}

static struct blkdev *one_head(struct blkdev *lower)
{
	static const struct blkdev_ops ops = { .submit = head_submit, .close = head_close };
	struct head *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->dev = *lower;
	h->dev.path = strdup(lower->path);
	h->dev.ops = &ops;
	h->lower = lower;
	list_init(&h->queue);
	timer_init(&h->timer, arrived);
	the_head = h;
	return &h->dev;
}

static void run_on_one_head(uint64_t seed, void (*body)(struct rig *r))
{
	struct rig r = { .mode = CACHE_MODE_WRITEBACK, .body = body, .wrap_backing = one_head };

	rig_live(&r, seed, 128);
}

/* --- requests beside it ---------------------------------------------------------------------------------------------------- */

#define HALF (RIG_DATA_SECTORS / 2)
#define READS 250u

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Misses all over the upper half, 25 per second. Returns the 99th percentile. */
static FIBER_FN uint64_t read_p99_ns(struct rig *r, unsigned round)
{
	static uint64_t latency[READS];

	for (unsigned i = 0; i < READS; i++) {
		uint64_t slot = ((round * READS + i) * 1237ull) % (HALF / 8), begin = engine_now_precise_ns();

		assert_true(rig_read(r, HALF + slot * 8, 8) >= 0);
		latency[i] = engine_now_precise_ns() - begin;
		if (latency[i] < 40 * NS_PER_MS)
			fiber_sleep_ns(40 * NS_PER_MS - latency[i]);
	}
	qsort(latency, READS, sizeof(latency[0]), by_value);
	return latency[READS * 99 / 100];
}

static FIBER_FN void make_dirty(struct rig *r, unsigned nr, unsigned salt)
{
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(rig_write(r, (i * 1237ull + salt) % (HALF / 16) * 16, 8, 'd'), 8); /* no two touch */
}

/* As fast as the disk goes. */
static void hurry(struct rig *r)
{
	r->c->idle_max_writeback_rate = false;
	wb(r)->tunables.percent = 1;
	wb(r)->tunables.p_term_inverse = 1;
	wb(r)->rate.rate = 100000;
	wb(r)->delay_s = 0;
	wb(r)->running = true;
	writeback_wake(r->d);
}

static uint64_t p99_alone, p99_beside, p99_reckless;

static void body_latency(struct rig *r)
{
	uint64_t before;

	p99_alone = read_p99_ns(r, 0);
	make_dirty(r, 1200, 0);
	hurry(r);
	before = wb(r)->sectors_written;
	p99_beside = read_p99_ns(r, 1);
	assert_true(wb(r)->dirty_sectors > 1000); /* there was work all the time */
	assert_true(wb(r)->sectors_written - before >= 80 * 8); /* and it went on: 8 sectors/s is the minimum rate */
	wb(r)->running = false;
	fiber_sleep_ns(NS_PER_S);
	make_dirty(r, 1200, 0);
	wb(r)->consider_latency = false;
	hurry(r);
	p99_reckless = read_p99_ns(r, 2);
}

static void requests_wait_little_because_of_writeback(void **state)
{
	for (uint64_t seed = 0; seed < 3; seed++) {
		run_on_one_head(seed, body_latency);
		printf("# 99th percentile of reads: alone %llu us, beside writeback %llu us, without backing off %llu us\n",
		       (unsigned long long)p99_alone / 1000, (unsigned long long)p99_beside / 1000, (unsigned long long)p99_reckless / 1000);
		assert_true(p99_beside <= 4 * p99_alone);
		assert_true(p99_reckless > 8 * p99_alone); /* the test would notice */
	}
}

/* Requests that are slow whatever writeback does: it goes down to the minimum rate, and keeps that. */
static void reader(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 1200; i++)
		backoff_note(&wb(r)->backoff, 500 * NS_PER_MS, true, engine_now_ns()), fiber_sleep_ns(100 * NS_PER_MS);
}

static void body_floor(struct rig *r)
{
	struct fiber *f;
	uint64_t before;

	make_dirty(r, 1500, 0);
	backoff_note(&wb(r)->backoff, NS_PER_MS, false, engine_now_ns());
	wb(r)->tunables.minimum = 80;
	f = fiber_spawn("reader", reader, r);
	assert_non_null(f);
	fiber_sleep_ns(NS_PER_S);
	hurry(r);
	before = wb(r)->sectors_written;
	fiber_sleep_ns(60 * NS_PER_S);
	assert_true(wb(r)->sectors_written - before >= 80 * 55);
	fiber_join(f);
}

static void backing_off_ends_at_the_minimum_rate(void **state)
{
	for (uint64_t seed = 0; seed < 3; seed++)
		run_on_one_head(seed, body_floor);
}

static void flusher(void *arg) { assert_int_equal(writeback_flush(arg), 0); }

static void body_limit(struct rig *r)
{
	static char text[4096];
	struct printbuf pb = PRINTBUF(text);
	uint64_t sectors;
	struct fiber *f;

	make_dirty(r, 400, 0);
	wb(r)->inflight_limit = 3;
	the_head->max_writes = 0;
	f = fiber_spawn("flusher", flusher, r->d);
	assert_non_null(f);
	fiber_sleep_ns(300 * NS_PER_MS);
	assert_int_equal(writeback_batch_inflight(wb(r)->batch, &sectors), 3);
	assert_int_equal(sectors, 24);
	writeback_batch_text(wb(r)->batch, &pb);
	for (const char *line = text; *line; line = strchr(line, '\n') + 1) { /* phase, offset, bytes, age */
		unsigned long long offset, bytes, age;
		char phase[8];

		assert_int_equal(sscanf(line, "%7s %llu %llu %llu\n", phase, &offset, &bytes, &age), 4);
		assert_true(!strcmp(phase, "read") || !strcmp(phase, "write") || !strcmp(phase, "flush") || !strcmp(phase, "clean"));
		assert_true(offset % 8192 == 0 && bytes == 4096 && age < 300);
	}
	fiber_join(f);
	assert_int_equal(writeback_batch_inflight(wb(r)->batch, &sectors), 0);
	assert_int_equal(the_head->max_writes, 3);
	make_dirty(r, 400, 7);
	wb(r)->inflight_limit = 200;
	assert_int_equal(writeback_flush(r->d), 0);
	assert_int_equal(the_head->max_writes, 200);
}

static void the_limit_of_what_is_in_flight_is_kept(void **state)
{
	run_on_one_head(1, body_limit);
}

/* --- an hour of load -------------------------------------------------------------------------------------------------------- */

#define HOUR_S 3600u
#define WRITE_SECTORS 16u
/*
 * Small loads for a small cache: the controller needs some minutes for a change of load, and what gathers meanwhile must not fill so many
 * buckets that writes are no longer cached (cutoff_writeback).
 */

static unsigned load_constant(unsigned t_s) { return 100; } /* sectors/s */
static unsigned load_bursty(unsigned t_s) { return t_s % 40 < 20 ? 200 : 0; } /* pauses too short for the idle maximum, which would write everything */
static unsigned load_falling(unsigned t_s) { return t_s < HOUR_S / 3 ? 130 - t_s * 90 / (HOUR_S / 3) : 40; }

static unsigned (*the_load)(unsigned t_s);
static const char *the_load_name;

/* Writes land anywhere; the pace is kept over time. */
static void writer(void *arg)
{
	struct rig *r = arg;
	uint64_t begin = engine_now_ns(), done = 0, due = 0;
	struct prng rng = prng_seeded(5);

	for (unsigned t_s = 0; t_s < HOUR_S; t_s++) {
		due += the_load(t_s);
		for (; done < due; done += WRITE_SECTORS)
			assert_int_equal(rig_write(r, prng_below(&rng, RIG_DATA_SECTORS / WRITE_SECTORS) * WRITE_SECTORS, WRITE_SECTORS, 'w'),
					 WRITE_SECTORS);
		if (engine_now_ns() < begin + (t_s + 1) * NS_PER_S)
			fiber_sleep_ns(begin + (t_s + 1) * NS_PER_S - engine_now_ns());
	}
}

static void body_hour(struct rig *r)
{
	int64_t sum = 0, largest = 0;
	struct fiber *f;

	wb(r)->running = true;
	wb(r)->delay_s = 1; /* half a minute would fill this small cache to the target by itself */
	writeback_wake(r->d);
	f = fiber_spawn("writer", writer, r);
	assert_non_null(f);
	printf("# %s\n#  min  load   dirty  target    rate  in use\n", the_load_name);
	for (unsigned t_s = 0; t_s < HOUR_S; t_s++) {
		int64_t error = (int64_t)wb(r)->dirty_sectors - wb(r)->rate.target;

		if (t_s >= HOUR_S * 2 / 3) {
			sum += error;
			largest = max(largest, (int64_t)llabs(error));
		}
		if (t_s % 300 == 0)
			printf("# %4u %5u %7llu %7lld %7u %5u %%\n", t_s / 60, the_load(t_s), (unsigned long long)wb(r)->dirty_sectors,
			       (long long)wb(r)->rate.target, wb(r)->rate.rate, alloc_in_use_percent(r->c));
		fiber_sleep_ns(NS_PER_S);
	}
	fiber_join(f);
	sum /= HOUR_S / 3;
	printf("# last 20 minutes: mean error %lld, largest %lld, of %lld\n", (long long)sum, (long long)largest, (long long)wb(r)->rate.target);
	assert_true(llabs(sum) * 20 <= wb(r)->rate.target); /* within 5 % */
	assert_false(wb(r)->rate.starving);
}

static void hour(const char *name, unsigned (*load)(unsigned t_s))
{
	the_load = load;
	the_load_name = name;
	rig_run(1, CACHE_MODE_WRITEBACK, body_hour);
}

static void an_hour_of_constant_load_ends_on_the_target(void **state) { hour("constant load", load_constant); }
static void an_hour_of_bursts_ends_on_the_target(void **state) { hour("bursts", load_bursty); }
static void an_hour_of_falling_load_ends_on_the_target(void **state) { hour("falling load", load_falling); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(requests_wait_little_because_of_writeback),
		TEST(backing_off_ends_at_the_minimum_rate),
		TEST(the_limit_of_what_is_in_flight_is_kept),
		TEST(an_hour_of_constant_load_ends_on_the_target),
		TEST(an_hour_of_bursts_ends_on_the_target),
		TEST(an_hour_of_falling_load_ends_on_the_target),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
