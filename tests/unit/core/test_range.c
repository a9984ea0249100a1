/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/range.h"
#include "tests/unit/core/test_engine_util.h"

static void settle(void) { fiber_sleep_ns(NS_PER_MS); }

/* A fiber that takes a range, says so, and keeps it until told. */
struct holder {
	struct range_lock *lock;
	uint64_t start, end;
	struct range range;
	struct fiber *fiber;
	struct wait_queue let_go;
	bool granted;
};

static void hold(void *arg)
{
	struct holder *h = arg;

	range_acquire(h->lock, &h->range, h->start, h->end);
	h->granted = true;
	wait_queue_wait(&h->let_go);
	range_release(h->lock, &h->range);
}

static void start(struct holder *h, struct range_lock *l, uint64_t from, uint64_t to)
{
	*h = (struct holder){ .lock = l, .start = from, .end = to };
	wait_queue_init(&h->let_go);
	h->fiber = fiber_spawn("holder", hold, h);
	assert_non_null(h->fiber);
	settle();
}

static void end(struct holder *h)
{
	assert_true(h->granted);
	wake_all(&h->let_go);
	fiber_join(h->fiber);
	settle();
}

static int neighbours_main(void *arg)
{
	struct range_lock l;
	struct range a, b, c;

	range_lock_init(&l);
	assert_true(range_try_acquire(&l, &a, 10, 20));
	assert_true(range_try_acquire(&l, &b, 20, 30)); /* touching is not overlapping */
	assert_false(range_try_acquire(&l, &c, 0, 11));
	assert_false(range_try_acquire(&l, &c, 29, 40));
	assert_false(range_try_acquire(&l, &c, 0, 40));
	assert_true(range_try_acquire(&l, &c, 0, 10));
	assert_true(range_busy(&l, 19, 20));
	assert_false(range_busy(&l, 30, 1000));
	range_release(&l, &a);
	assert_false(range_busy(&l, 10, 20));
	assert_true(range_busy(&l, 10, 21));
	range_release(&l, &b);
	range_release(&l, &c);
	assert_true(list_empty(&l.held) && list_empty(&l.waiting));
	return 0;
}

/* A waiter is overtaken by nobody it overlaps, and by everybody else; a try never jumps the queue. */
static int fifo_main(void *arg)
{
	struct range_lock l;
	struct holder a, b, c, d, e;
	struct range r;

	range_lock_init(&l);
	start(&a, &l, 0, 10);
	start(&b, &l, 5, 20);  /* waits for a */
	start(&c, &l, 15, 30); /* overlaps nothing held, but b came before */
	start(&d, &l, 30, 40);
	start(&e, &l, 0, 40); /* waits for all */
	assert_true(a.granted && d.granted && !b.granted && !c.granted && !e.granted);
	assert_false(range_busy(&l, 15, 20)); /* waiting writers have not begun */
	assert_false(range_try_acquire(&l, &r, 15, 16));
	end(&a);
	assert_true(b.granted && !c.granted && !e.granted);
	end(&d);
	assert_false(e.granted);
	end(&b);
	assert_true(c.granted && !e.granted);
	assert_false(range_try_acquire(&l, &r, 0, 1)); /* free, but e waits for it */
	end(&c);
	end(&e);
	assert_true(list_empty(&l.held) && list_empty(&l.waiting));
	return 0;
}

/* Many writers at random: nobody overlaps, overlapping ones are granted in the order of their asking, everybody gets through. */
#define SPACE 64
#define WRITERS 12
#define ROUNDS 30
struct crowd {
	struct range_lock lock;
	int owner[SPACE];
	uint64_t asked[SPACE], served[SPACE]; /* tickets, by sector */
	struct prng rng;
	unsigned busy, most;
};
struct writer {
	struct crowd *c;
	struct fiber *fiber;
	int id;
};

static void crowd_writer(void *arg)
{
	struct writer *w = arg;
	struct crowd *c = w->c;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = prng_below(&c->rng, SPACE), to = from + 1 + prng_below(&c->rng, SPACE - from);
		uint64_t ticket[SPACE];
		struct range r;

		for (uint64_t s = from; s < to; s++)
			ticket[s] = c->asked[s]++;
		range_acquire(&c->lock, &r, from, to);
		for (uint64_t s = from; s < to; s++) {
			assert_int_equal(c->owner[s], 0);
			assert_int_equal(c->served[s]++, ticket[s]);
			c->owner[s] = w->id;
		}
		c->busy++;
		c->most = max(c->most, c->busy);
		fiber_sleep_ns(prng_below(&c->rng, 1000));
		c->busy--;
		for (uint64_t s = from; s < to; s++) {
			assert_int_equal(c->owner[s], w->id);
			c->owner[s] = 0;
		}
		range_release(&c->lock, &r);
	}
}

static int crowd_main(void *arg)
{
	struct crowd c = { .rng = prng_seeded(*(uint64_t *)arg) };
	struct writer w[WRITERS];

	range_lock_init(&c.lock);
	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .c = &c, .id = i + 1 };
		w[i].fiber = fiber_spawn("writer", crowd_writer, &w[i]);
		assert_non_null(w[i].fiber);
	}
	for (int i = 0; i < WRITERS; i++)
		fiber_join(w[i].fiber);
	assert_true(list_empty(&c.lock.held) && list_empty(&c.lock.waiting));
	assert_true(c.most > 1); /* they do work side by side */
	return 0;
}

static void ranges_exclude_overlap_and_nothing_else(void **state)
{
	assert_int_equal(run_sim(1, neighbours_main, NULL), 0);
}

static void overlapping_writers_are_served_in_order(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		assert_int_equal(run_sim(seed, fifo_main, NULL), 0);
}

static void a_crowd_of_writers_gets_through_one_by_one(void **state)
{
	for (uint64_t seed = 0; seed < 100; seed++)
		assert_int_equal(run_sim(seed, crowd_main, &seed), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ranges_exclude_overlap_and_nothing_else),
		TEST(overlapping_writers_are_served_in_order),
		TEST(a_crowd_of_writers_gets_through_one_by_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
