/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/core/test_engine_util.h"

#define NR 200

struct numbered {
	struct timer timer;
	int id;
};
static int fired[NR], nr_fired;

static void fire(struct timer *t)
{
	assert_null(fiber_self());
	assert_false(timer_armed(t));
	fired[nr_fired++] = container_of(t, struct numbered, timer)->id;
}

static int heap_main(void *arg)
{
	static struct numbered t[NR];
	struct prng p = prng_seeded(9);
	uint64_t due[NR];

	nr_fired = 0;
	for (int i = 0; i < NR; i++) {
		t[i].id = i;
		timer_init(&t[i].timer, fire);
		timer_arm_ns(&t[i].timer, prng_below(&p, 20) * NS_PER_MS);
	}
	for (int i = 0; i < NR; i += 3)
		timer_cancel(&t[i].timer);
	for (int i = 0; i < NR; i += 6)
		timer_arm_ns(&t[i].timer, prng_below(&p, 20) * NS_PER_MS);
	for (int i = 1; i < NR; i += 3)
		timer_arm_ns(&t[i].timer, prng_below(&p, 20) * NS_PER_MS); /* armed already */
	for (int i = 0; i < NR; i++)
		due[i] = t[i].timer.due_ns;
	fiber_sleep_ns(30 * NS_PER_MS);
	assert_int_equal(nr_fired, NR - NR / 6);
	for (int i = 1; i < nr_fired; i++) {
		assert_true(due[fired[i - 1]] <= due[fired[i]]);
		if (due[fired[i - 1]] == due[fired[i]])
			assert_true(t[fired[i - 1]].timer.seq < t[fired[i]].timer.seq);
	}
	for (int i = 3; i < NR; i += 6)
		assert_false(timer_armed(&t[i].timer));
	return 0;
}

static void timers_fire_once_and_in_order(void **state)
{
	run_uring(heap_main, NULL);
	run_sim(1, heap_main, NULL);
}

static int again;

static void rearm(struct timer *t)
{
	if (++again < 100)
		timer_arm_ns(t, 0);
}

static int rearm_main(void *arg)
{
	struct timer t;
	int yields = 0;

	again = 0;
	timer_init(&t, rearm);
	timer_arm_ns(&t, 0);
	for (; again < 100; yields++)
		fiber_yield();
	assert_true(yields > 1); /* the loop was not captured */
	return 0;
}

static void a_timer_that_rearms_itself_does_not_starve_fibers(void **state)
{
	run_uring(rearm_main, NULL);
	run_sim(1, rearm_main, NULL);
}

static char order[8];
static size_t nr_order;

static void sleep_and_note(void *arg)
{
	int n = *(int *)arg;

	fiber_sleep_ns((uint64_t)n * NS_PER_MS);
	order[nr_order++] = (char)('0' + n);
}

static int sleepers_main(void *arg)
{
	int n[4] = { 4, 1, 3, 2 };
	struct fiber *f[4];
	uint64_t start = engine_now_precise_ns();

	nr_order = 0;
	memset(order, 0, sizeof(order));
	for (int i = 0; i < 4; i++) {
		f[i] = fiber_spawn("sleeper", sleep_and_note, &n[i]);
		assert_non_null(f[i]);
	}
	for (int i = 0; i < 4; i++)
		fiber_join(f[i]);
	assert_string_equal(order, "1234");
	assert_true(engine_now_precise_ns() - start >= 4 * NS_PER_MS);
	return 0;
}

static void sleepers_wake_in_order_of_time(void **state)
{
	run_uring(sleepers_main, NULL);
	run_sim(2, sleepers_main, NULL);
}

static int sleep_exact_main(void *arg)
{
	for (int i = 0; i < 20; i++) {
		uint64_t start = engine_now_precise_ns();

		fiber_sleep_ns(100 * NS_PER_US);
		assert_true(engine_now_precise_ns() - start >= 100 * NS_PER_US);
	}
	return 0;
}

static void nobody_wakes_early(void **state)
{
	run_uring(sleep_exact_main, NULL);
	run_sim(3, sleep_exact_main, NULL);
}

static int hour_main(void *arg)
{
	uint64_t real = engine_real_s();

	fiber_sleep_ns(3600 * NS_PER_S);
	assert_true(engine_real_s() - real >= 3600 && engine_real_s() - real <= 3601);
	return 0;
}

static void virtual_hours_are_free(void **state)
{
	run_sim(4, hour_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(timers_fire_once_and_in_order),
		TEST(a_timer_that_rearms_itself_does_not_starve_fibers),
		TEST(sleepers_wake_in_order_of_time),
		TEST(nobody_wakes_early),
		TEST(virtual_hours_are_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
