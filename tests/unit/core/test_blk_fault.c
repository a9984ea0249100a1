/* SPDX-License-Identifier: GPL-2.0-only */
/* blk_fault over a simulated disk, and group flush, whose point is what happens on failure. */
#include "tests/unit/core/test_blk_util.h"

struct stack {
	struct blk_sim *sim;
	struct blkdev *dev;
	char *buf;
};

static void stack_open(struct stack *s)
{
	struct blk_sim_options o = { .nr_sectors = 1024 };
	struct blkdev *lower;

	s->sim = blk_sim_new(&o);
	assert_int_equal(blk_sim_open(s->sim, false, &lower), 0);
	assert_int_equal(blk_fault_new(lower, &s->dev), 0);
	s->buf = sectors_alloc(16);
	fill(s->buf, 16, 1);
}

static void stack_close(struct stack *s)
{
	blk_close(s->dev);
	blk_sim_free(s->sim);
	free(s->buf);
}

static void add(struct stack *s, struct blk_fault_rule r)
{
	blk_fault_clear(s->dev);
	assert_int_equal(blk_fault_add(s->dev, &r), 0);
}

static void check_visible(struct stack *s, uint64_t written)
{
	char got[16 * SECTOR_BYTES], want[16 * SECTOR_BYTES] = { 0 };

	memcpy(want, s->buf, written * SECTOR_BYTES);
	blk_sim_peek(s->sim, 0, got, 16);
	assert_memory_equal(got, want, sizeof(got));
	memset(want, 0, sizeof(want));
	blk_sim_poke(s->sim, 0, want, 16);
}

static int kinds_main(void *arg)
{
	struct stack s;

	stack_open(&s);
	add(&s, (struct blk_fault_rule){ .kind = FAULT_FAIL, .ops = 1u << BIO_WRITE, .error = -ENOSPC });
	assert_int_equal(blk_write(s.dev, 0, s.buf, 16, 0), -ENOSPC);
	check_visible(&s, 0);
	add(&s, (struct blk_fault_rule){ .kind = FAULT_FAIL_AFTER, .ops = 1u << BIO_WRITE });
	assert_int_equal(blk_write(s.dev, 0, s.buf, 16, 0), -EIO);
	check_visible(&s, 16);
	add(&s, (struct blk_fault_rule){ .kind = FAULT_SHORTEN, .ops = 1u << BIO_WRITE, .sectors = 5 });
	assert_int_equal(blk_write(s.dev, 0, s.buf, 16, 0), -EIO);
	check_visible(&s, 5);
	add(&s, (struct blk_fault_rule){ .kind = FAULT_TEAR, .ops = 1u << BIO_WRITE, .sectors = 3 });
	assert_int_equal(blk_write(s.dev, 0, s.buf, 16, 0), 0);
	check_visible(&s, 3);
	add(&s, (struct blk_fault_rule){ .kind = FAULT_DELAY, .ops = 1u << BIO_WRITE, .delay_ns = NS_PER_S });
	uint64_t start = engine_now_precise_ns();
	assert_int_equal(blk_write(s.dev, 0, s.buf, 16, 0), 0);
	assert_true(engine_now_precise_ns() - start >= NS_PER_S);
	check_visible(&s, 16);
	stack_close(&s);
	return 0;
}

static void every_kind_of_fault_does_what_it_says(void **state)
{
	run_sim(1, kinds_main, NULL);
}

static int nth_main(void *arg)
{
	struct stack s;

	stack_open(&s);
	add(&s, (struct blk_fault_rule){
			.kind = FAULT_FAIL, .ops = 1u << BIO_READ, .sector = 100, .nr_sectors = 10, .skip = 2, .count = 2 });
	for (int i = 0; i < 8; i++) {
		assert_int_equal(blk_read(s.dev, 99, s.buf, 2), i == 2 || i == 3 ? -EIO : 0);
		assert_int_equal(blk_read(s.dev, 90, s.buf, 10), 0); /* beside the range */
		assert_int_equal(blk_read(s.dev, 110, s.buf, 1), 0);
		assert_int_equal(blk_write(s.dev, 100, s.buf, 1, 0), 0); /* another operation */
	}
	stack_close(&s);
	return 0;
}

static void faults_hit_the_nth_matching_bio(void **state)
{
	run_sim(2, nth_main, NULL);
}

/* --- group flush */

struct flusher {
	struct flush_group *g;
	int result;
};

static void flush_once(void *arg)
{
	struct flusher *f = arg;

	f->result = flush_group_flush(f->g);
}

static void flush_many(struct flush_group *g, struct flusher *f, int n, struct fiber **fibers)
{
	for (int i = 0; i < n; i++) {
		f[i] = (struct flusher){ .g = g, .result = 1 };
		fibers[i] = fiber_spawn("flusher", flush_once, &f[i]);
		assert_non_null(fibers[i]);
	}
}

static void join_all(struct fiber **f, int n)
{
	for (int i = 0; i < n; i++)
		fiber_join(f[i]);
}

static int share_main(void *arg)
{
	struct flusher f[50];
	struct fiber *fibers[50];
	struct flush_group g;
	struct stack s;

	stack_open(&s);
	flush_group_init(&g, s.dev);
	flush_many(&g, f, 50, fibers);
	join_all(fibers, 50);
	for (int i = 0; i < 50; i++)
		assert_int_equal(f[i].result, 0);
	assert_true(blk_sim_stats(s.sim)->nr_ops[BIO_FLUSH] >= 2);
	assert_true(blk_sim_stats(s.sim)->nr_ops[BIO_FLUSH] <= 3);
	assert_int_equal(g.nr_calls, 50);
	assert_false(g.running);
	stack_close(&s);
	return 0;
}

static void flushes_that_wait_together_share_one(void **state)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		run_sim(seed, share_main, NULL);
}

/* One that arrives while a flush runs is not served by it. */
static int late_main(void *arg)
{
	struct flusher f[2];
	struct fiber *fibers[2];
	struct flush_group g;
	struct stack s;

	stack_open(&s);
	flush_group_init(&g, s.dev);
	flush_many(&g, &f[0], 1, &fibers[0]);
	while (!g.running)
		fiber_yield();
	assert_int_equal(blk_sim_stats(s.sim)->nr_ops[BIO_FLUSH], 1);
	flush_many(&g, &f[1], 1, &fibers[1]);
	join_all(fibers, 2);
	assert_int_equal(blk_sim_stats(s.sim)->nr_ops[BIO_FLUSH], 2);
	stack_close(&s);
	return 0;
}

static void a_late_caller_gets_a_flush_of_its_own(void **state)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		run_sim(seed, late_main, NULL);
}

static int flush_fails_main(void *arg)
{
	struct flusher f[20];
	struct fiber *fibers[20];
	struct flush_group g;
	struct stack s;
	int nr_ok = 0;

	stack_open(&s);
	add(&s, (struct blk_fault_rule){ .kind = FAULT_FAIL_AFTER, .ops = 1u << BIO_FLUSH, .skip = 1, .count = 1 });
	flush_group_init(&g, s.dev);
	flush_many(&g, f, 20, fibers);
	join_all(fibers, 20);
	for (int i = 0; i < 20; i++) {
		assert_true(f[i].result == 0 || f[i].result == -EIO);
		nr_ok += f[i].result == 0;
	}
	assert_true(nr_ok >= 1 && nr_ok < 20);
	assert_int_equal(flush_group_flush(&g), -EIO); /* never believed again */
	assert_int_equal(g.nr_flushes, 2);
	flush_group_init(&g, s.dev);
	assert_int_equal(flush_group_flush(&g), -EIO); /* by nobody, until the device is opened again (contract 6) */
	stack_close(&s);
	return 0;
}

static void a_failed_flush_is_everyones_failure_from_then_on(void **state)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		run_sim(seed, flush_fails_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_kind_of_fault_does_what_it_says),
		TEST(faults_hit_the_nth_matching_bio),
		TEST(flushes_that_wait_together_share_one),
		TEST(a_late_caller_gets_a_flush_of_its_own),
		TEST(a_failed_flush_is_everyones_failure_from_then_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
