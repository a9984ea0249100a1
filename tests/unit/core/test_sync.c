/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/core/test_engine_util.h"

/* Each body runs under io_uring and under many simulated schedules. */
static void run_everywhere(int (*fn)(void *))
{
	assert_int_equal(run_uring(fn, NULL), 0);
	for (uint64_t seed = 0; seed < 50; seed++)
		assert_int_equal(run_sim(seed, fn, NULL), 0);
}

static struct fiber *spawn(void (*fn)(void *), void *arg)
{
	struct fiber *f = fiber_spawn("test", fn, arg);

	assert_non_null(f);
	return f;
}

/* Let everyone who can run do so. */
static void settle(void)
{
	fiber_sleep_ns(NS_PER_MS);
}

/* --- wait queue */

struct waiter {
	struct wait_queue *q;
	uint64_t timeout_ns;
	int id, result;
	int *order, *nr;
};

static void wait_plain(void *arg)
{
	struct waiter *w = arg;

	wait_queue_wait(w->q);
	w->result = 1;
	w->order[(*w->nr)++] = w->id;
}

static void wait_interruptible(void *arg)
{
	struct waiter *w = arg;

	w->result = wait_queue_wait_interruptible(w->q);
}

static void wait_timeout(void *arg)
{
	struct waiter *w = arg;

	w->result = wait_queue_wait_timeout(w->q, w->timeout_ns);
}

static int wake_order_main(void *arg)
{
	struct wait_queue q;
	int order[4], nr = 0;
	struct waiter w[4];
	struct fiber *f[4];

	wait_queue_init(&q);
	for (int i = 0; i < 4; i++) {
		w[i] = (struct waiter){ .q = &q, .id = i, .order = order, .nr = &nr };
		f[i] = spawn(wait_plain, &w[i]);
		settle(); /* so that they queue in this order whatever the schedule */
	}
	wake_one(&q);
	settle();
	assert_int_equal(nr, 1);
	assert_int_equal(order[0], 0);
	wake_one(&q);
	settle();
	assert_int_equal(order[1], 1);
	wake_all(&q);
	assert_true(wait_queue_empty(&q));
	for (int i = 0; i < 4; i++)
		fiber_join(f[i]);
	assert_int_equal(nr, 4);
	wake_one(&q); /* nobody: nothing, and nothing remembered */
	wake_all(&q);
	return 0;
}

static void wait_queue_wakes_in_order(void **state)
{
	run_everywhere(wake_order_main);
}

static int timeouts_main(void *arg)
{
	struct wait_queue q;
	struct waiter w[3] = { { .q = &q, .timeout_ns = NS_PER_MS / 2 }, { .q = &q, .timeout_ns = NS_PER_S }, { .q = &q, .timeout_ns = NS_PER_S } };
	struct fiber *f[3];

	wait_queue_init(&q);
	for (int i = 0; i < 3; i++)
		f[i] = spawn(wait_timeout, &w[i]);
	fiber_join(f[0]);
	assert_int_equal(w[0].result, -ETIME);
	fiber_cancel(f[1]);
	fiber_join(f[1]);
	assert_int_equal(w[1].result, -EINTR);
	wake_all(&q);
	fiber_join(f[2]);
	assert_int_equal(w[2].result, 0);
	assert_true(wait_queue_empty(&q));
	assert_int_equal(engine_self()->nr_timers, 0);
	return 0;
}

static void timed_waits_end_by_wake_time_or_cancel(void **state)
{
	run_everywhere(timeouts_main);
}

/* A wake-up, a time-out and a cancellation at the same moment: one of them counts, and a wake-up given is not lost. */
static int wake_and_cancel_main(void *arg)
{
	struct wait_queue q;
	struct waiter a = { .q = &q }, b = { .q = &q };
	struct fiber *f, *g;

	wait_queue_init(&q);
	f = spawn(wait_interruptible, &a);
	settle();
	g = spawn(wait_interruptible, &b);
	settle();
	fiber_cancel(f);
	wake_one(&q); /* f is on its way out: this one is g's */
	fiber_join(f);
	fiber_join(g);
	assert_int_equal(a.result, -EINTR);
	assert_int_equal(b.result, 0);

	f = spawn(wait_interruptible, &a);
	settle();
	wake_one(&q);
	fiber_cancel(f); /* too late for this wait */
	fiber_join(f);
	assert_int_equal(a.result, 0);
	return 0;
}

static void cancel_does_not_swallow_a_wake_up(void **state)
{
	run_everywhere(wake_and_cancel_main);
}

static int race_main(void *arg)
{
	struct wait_queue q;

	wait_queue_init(&q);
	for (uint64_t ns = 0; ns < 40 * NS_PER_US; ns += 500) {
		struct waiter w = { .q = &q, .timeout_ns = 20 * NS_PER_US };
		struct fiber *f = spawn(wait_timeout, &w);

		fiber_sleep_ns(ns);
		wake_one(&q);
		if (ns % 3 == 0)
			fiber_cancel(f);
		fiber_join(f);
		assert_true(w.result == 0 || w.result == -ETIME || w.result == -EINTR);
		assert_true(wait_queue_empty(&q));
	}
	return 0;
}

static void races_of_wake_and_time_out_end_once(void **state)
{
	run_everywhere(race_main);
}

/* --- fmutex */

struct counter {
	struct fmutex lock;
	int inside, total;
};

static void count_locked(void *arg)
{
	struct counter *c = arg;

	for (int i = 0; i < 20; i++) {
		fmutex_lock(&c->lock);
		assert_int_equal(c->inside++, 0);
		fiber_yield();
		c->total++;
		c->inside--;
		fmutex_unlock(&c->lock);
	}
}

static int mutex_main(void *arg)
{
	struct counter c = { .inside = 0 };
	struct fiber *f[10];

	fmutex_init(&c.lock);
	for (int i = 0; i < 10; i++)
		f[i] = spawn(count_locked, &c);
	for (int i = 0; i < 10; i++)
		fiber_join(f[i]);
	assert_int_equal(c.total, 200);
	assert_false(fmutex_locked(&c.lock));
	assert_true(fmutex_trylock(&c.lock));
	assert_false(fmutex_trylock(&c.lock));
	fmutex_unlock(&c.lock);
	return 0;
}

static void fmutex_admits_one(void **state)
{
	run_everywhere(mutex_main);
}

static void lock_briefly(void *arg)
{
	struct fmutex *m = arg;

	fmutex_lock(m);
	fmutex_unlock(m);
}

static int handover_main(void *arg)
{
	struct fmutex m;
	struct fiber *f;

	fmutex_init(&m);
	fmutex_lock(&m);
	f = spawn(lock_briefly, &m);
	settle();
	fmutex_unlock(&m);
	assert_ptr_equal(m.owner, f); /* already, though it has not run */
	assert_false(fmutex_trylock(&m));
	fiber_join(f);
	return 0;
}

static void unlock_hands_over_to_the_first_waiter(void **state)
{
	run_everywhere(handover_main);
}

static int unlock_foreign_main(void *arg)
{
	struct fmutex m;

	fmutex_init(&m);
	fmutex_unlock(&m);
	return 0;
}

static void unlock_foreign(void)
{
	run_sim(1, unlock_foreign_main, NULL);
}

static int lock_twice_main(void *arg)
{
	struct fmutex m;

	fmutex_init(&m);
	fmutex_lock(&m);
	fmutex_lock(&m);
	return 0;
}

static void lock_twice(void)
{
	run_sim(1, lock_twice_main, NULL);
}

static void misuse_of_fmutex_asserts(void **state)
{
	assert_true(dies(unlock_foreign));
	assert_true(dies(lock_twice));
}

/* --- semaphore */

struct limited {
	struct semaphore s;
	int inside, most;
};

static void enter_limited(void *arg)
{
	struct limited *l = arg;

	semaphore_down(&l->s);
	l->most = max(l->most, ++l->inside);
	fiber_sleep_ns(100 * NS_PER_US);
	l->inside--;
	semaphore_up(&l->s);
}

static int semaphore_main(void *arg)
{
	struct limited l = { .inside = 0 };
	struct fiber *f[12];

	semaphore_init(&l.s, 3);
	for (int i = 0; i < 12; i++)
		f[i] = spawn(enter_limited, &l);
	for (int i = 0; i < 12; i++)
		fiber_join(f[i]);
	assert_int_equal(l.most, 3);
	assert_int_equal(l.s.count, 3);
	assert_true(semaphore_trydown(&l.s));
	semaphore_up(&l.s);
	return 0;
}

static void semaphore_limits(void **state)
{
	run_everywhere(semaphore_main);
}

/* --- latch */

struct done_later {
	struct latch *l;
	uint64_t delay_ns;
	int error;
};

static void finish_later(void *arg)
{
	struct done_later *d = arg;

	fiber_sleep_ns(d->delay_ns);
	latch_done(d->l, d->error);
}

static int latch_main(void *arg)
{
	struct latch l;
	struct done_later d[3] = { { &l, 3 * NS_PER_MS, 0 }, { &l, 1 * NS_PER_MS, -EIO }, { &l, 2 * NS_PER_MS, -ENOSPC } };
	struct fiber *f[3];

	latch_init(&l);
	assert_int_equal(latch_wait(&l), 0); /* of nothing */
	for (int i = 0; i < 3; i++) {
		latch_add(&l, 1);
		f[i] = spawn(finish_later, &d[i]);
	}
	assert_int_equal(latch_wait(&l), -EIO); /* the first */
	for (int i = 0; i < 3; i++)
		fiber_join(f[i]);
	latch_add(&l, 2); /* reuse; done before the wait */
	latch_done(&l, 0);
	latch_done(&l, 0);
	assert_int_equal(latch_wait(&l), 0);
	return 0;
}

static void latch_waits_for_all_and_reports_the_first_error(void **state)
{
	run_everywhere(latch_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wait_queue_wakes_in_order),
		TEST(timed_waits_end_by_wake_time_or_cancel),
		TEST(cancel_does_not_swallow_a_wake_up),
		TEST(races_of_wake_and_time_out_end_once),
		TEST(fmutex_admits_one),
		TEST(unlock_hands_over_to_the_first_waiter),
		TEST(misuse_of_fmutex_asserts),
		TEST(semaphore_limits),
		TEST(latch_waits_for_all_and_reports_the_first_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
