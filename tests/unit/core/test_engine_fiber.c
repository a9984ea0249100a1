/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/core/test_engine_util.h"

static char trace[64];
static size_t trace_len;

static void note(char c)
{
	if (trace_len < sizeof(trace) - 1)
		trace[trace_len++] = c;
	trace[trace_len] = 0;
}

static int clear_trace(void **state)
{
	trace_len = 0;
	trace[0] = 0;
	return 0;
}

static struct fiber *spawn(void (*fn)(void *), void *arg)
{
	struct fiber *f = fiber_spawn("test", fn, arg);

	assert_non_null(f);
	return f;
}

/* --- */

static int return_arg(void *arg)
{
	return *(int *)arg;
}

static void run_returns_the_result_of_main(void **state)
{
	int v = 42;

	assert_int_equal(run_uring(return_arg, &v), 42);
	assert_int_equal(run_sim(1, return_arg, &v), 42);
}

static void letter_thrice(void *arg)
{
	for (int i = 0; i < 3; i++) {
		note(*(char *)arg);
		fiber_yield();
	}
}

static int three_letters(void *arg)
{
	struct fiber *a = spawn(letter_thrice, "a"), *b = spawn(letter_thrice, "b");

	note('m');
	fiber_join(a);
	fiber_join(b);
	note('e');
	return 0;
}

static void fibers_run_in_fifo_order_from_the_first_yield_on(void **state)
{
	run_uring(three_letters, NULL);
	assert_string_equal(trace, "mabababe");
}

static void join_of_a_finished_fiber_does_not_wait_body(void *arg)
{
	note('x');
}

static int join_late(void *arg)
{
	struct fiber *f = spawn(join_of_a_finished_fiber_does_not_wait_body, NULL);

	fiber_yield();
	fiber_yield();
	note('j');
	fiber_join(f);
	note('k');
	return 0;
}

static void join_of_a_finished_fiber_does_not_wait(void **state)
{
	run_uring(join_late, NULL);
	assert_string_equal(trace, "xjk");
}

static void check_self(void *arg)
{
	assert_ptr_equal(fiber_self(), *(struct fiber **)arg);
	assert_string_equal(fiber_name(fiber_self()), "test");
}

static int self_main(void *arg)
{
	struct fiber *f = spawn(check_self, &f);

	assert_string_equal(fiber_name(fiber_self()), "main");
	fiber_join(f);
	return 0;
}

static void a_fiber_knows_itself(void **state)
{
	run_uring(self_main, NULL);
	assert_null(fiber_self());
	assert_null(engine_self());
}

/* --- many */

#ifdef WITH_TSAN
#define MANY 2000 /* its runtime keeps a heavy state for each */
#else
#define MANY 10000
#endif

static void add_one(void *arg)
{
	fiber_yield();
	++*(size_t *)arg;
	fiber_yield();
}

static int many_main(void *arg)
{
	static struct fiber *f[MANY];
	size_t sum = 0;

	for (size_t i = 0; i < MANY; i++)
		f[i] = spawn(add_one, &sum);
	assert_int_equal(engine_self()->nr_fibers, MANY + 1);
	for (size_t i = 0; i < MANY; i++)
		fiber_join(f[i]);
	assert_int_equal(sum, MANY);
	assert_true(engine_self()->nr_pooled_stacks < 1000); /* bounded */
	return 0;
}

static void thousands_of_fibers_live_at_once(void **state)
{
	run_uring(many_main, NULL);
	run_sim(7, many_main, NULL);
}

static int detached_main(void *arg)
{
	size_t sum = 0;

	for (size_t i = 0; i < 100; i++)
		assert_int_equal(fiber_spawn_detached("test", add_one, &sum), 0);
	while (sum < 100)
		fiber_yield();
	fiber_yield();
	fiber_yield();
	assert_int_equal(engine_self()->nr_fibers, 1);
	assert_true(engine_self()->nr_pooled_stacks > 0);
	return 0;
}

static void detached_fibers_free_themselves(void **state)
{
	run_uring(detached_main, NULL);
}

static void set_true(void *arg)
{
	*(bool *)arg = true;
}

static int reserve_main(void *arg)
{
	struct engine *e = engine_self();
	bool ran = false;

	assert_int_equal(fiber_reserve(), 0);
	assert_int_equal(fiber_reserve(), 0);
	for (unsigned i = 0; i < 10; i++) { /* ordinary fibers leave them alone */
		struct fiber *f = fiber_spawn("other", set_true, &ran);

		assert_true(e->nr_pooled_stacks >= 2);
		fiber_join(f);
	}
	ran = false;
	fiber_spawn_reserved("reserved", set_true, &ran);
	assert_int_equal(e->nr_reserved_stacks, 1);
	fiber_yield();
	assert_true(ran);
	fiber_unreserve();
	assert_int_equal(e->nr_reserved_stacks, 0);
	return 0;
}

static void a_reserved_stack_is_there_when_it_is_wanted(void **state)
{
	run_uring(reserve_main, NULL);
}

static void use_stack(void *arg)
{
	char big[40 * 1024];

	memset(big, 1, sizeof(big));
	fiber_yield();
	for (size_t i = 0; i < sizeof(big); i++)
		assert_int_equal(big[i], 1);
}

static int stack_main(void *arg)
{
	struct fiber *f[8];

	for (int round = 0; round < 3; round++) { /* pooled stacks too */
		for (size_t i = 0; i < 8; i++)
			f[i] = spawn(use_stack, NULL);
		for (size_t i = 0; i < 8; i++)
			fiber_join(f[i]);
	}
	return 0;
}

static void stacks_keep_their_contents_over_switches(void **state)
{
	run_uring(stack_main, NULL);
}

static void floats(void *arg)
{
	double v = *(double *)arg, w = v;

	for (int i = 0; i < 10; i++) {
		v *= 1.5;
		fiber_yield();
	}
	for (int i = 0; i < 10; i++)
		v /= 1.5;
	assert_true(v > w * 0.999 && v < w * 1.001);
}

static int floats_main(void *arg)
{
	double a = 3.25, b = 1e-9;
	struct fiber *f = spawn(floats, &a), *g = spawn(floats, &b);

	fiber_join(f);
	fiber_join(g);
	return 0;
}

static void floating_point_survives_switches(void **state)
{
	run_uring(floats_main, NULL);
}

/* --- what must not happen dies */

static size_t __attribute__((noinline)) recurse(size_t n)
{
	volatile char frame[1024];

	memset((char *)frame, (int)n, sizeof(frame));
	return n ? recurse(n - 1) + (size_t)frame[3] : 0;
}

static int overflow_main(void *arg)
{
	return (int)recurse(1000);
}

static void overflow(void)
{
	run_uring(overflow_main, NULL);
}

static void overflowing_the_stack_hits_the_guard_page(void **state)
{
	assert_true(dies(overflow));
}

static int yield_in_no_yield_main(void *arg)
{
	no_yield_begin();
	fiber_yield();
	return 0;
}

static void yield_in_no_yield(void)
{
	run_uring(yield_in_no_yield_main, NULL);
}

static int nested_no_yield_main(void *arg)
{
	no_yield_begin();
	no_yield_begin();
	no_yield_end();
	no_yield_end();
	fiber_yield();
	return 0;
}

static void yielding_in_a_no_yield_section_asserts(void **state)
{
	assert_int_equal(run_uring(nested_no_yield_main, NULL), 0);
	assert_true(dies(yield_in_no_yield));
}

static void timer_that_parks(struct timer *t)
{
	fiber_sleep_ns(1);
}

static int park_in_timer_main(void *arg)
{
	struct timer t;

	timer_init(&t, timer_that_parks);
	timer_arm_ns(&t, 0);
	fiber_sleep_ns(NS_PER_MS);
	return 0;
}

static void park_in_timer(void)
{
	run_sim(1, park_in_timer_main, NULL);
}

static void parking_outside_a_fiber_asserts(void **state)
{
	assert_true(dies(park_in_timer));
}

static int leave_behind_main(void *arg)
{
	size_t sum = 0;

	(void)!fiber_spawn("left", add_one, &sum);
	return 0;
}

static void leave_behind(void)
{
	run_uring(leave_behind_main, NULL);
}

static void ending_with_fibers_alive_asserts(void **state)
{
	assert_true(dies(leave_behind));
}

/* --- cancellation */

static void sleep_long(void *arg)
{
	*(int *)arg = fiber_sleep_interruptible_ns(3600 * NS_PER_S);
	assert_true(fiber_cancelled());
	/* And every interruptible wait from now on. */
	assert_int_equal(fiber_sleep_interruptible_ns(3600 * NS_PER_S), -EINTR);
	/* But not a plain one. */
	uint64_t before = engine_now_precise_ns();
	fiber_sleep_ns(NS_PER_MS);
	assert_true(engine_now_precise_ns() - before >= NS_PER_MS);
}

static int cancel_main(void *arg)
{
	int result = 0, early = 0;
	struct fiber *f = spawn(sleep_long, &result), *g = spawn(sleep_long, &early);

	fiber_cancel(g); /* before it ran */
	fiber_yield();
	fiber_cancel(f);
	fiber_cancel(f); /* twice is fine */
	fiber_join(f);
	fiber_join(g);
	assert_int_equal(result, -EINTR);
	assert_int_equal(early, -EINTR);
	return 0;
}

static void cancel_ends_interruptible_waits_only(void **state)
{
	run_uring(cancel_main, NULL);
	run_sim(3, cancel_main, NULL);
}

/* --- the engine survives several runs, and being abandoned */

static int spawn_one_main(void *arg)
{
	struct fiber *f = spawn(letter_thrice, "x");

	fiber_join(f);
	return 0;
}

static int run_from_deeper_stack(struct engine *e)
{
	volatile char pad[3000];

	pad[0] = 1;
	return engine_run(e, spawn_one_main, NULL) + pad[0] - 1;
}

static void an_engine_can_run_again(void **state)
{
	struct engine *e;

	assert_int_equal(engine_uring_new(0, &e), 0);
	assert_int_equal(engine_run(e, spawn_one_main, NULL), 0);
	assert_int_equal(run_from_deeper_stack(e), 0);
	assert_string_equal(trace, "xxxxxx");
	engine_uring_free(e);
}

static void sleep_forever(void *arg)
{
	char buf[256];

	memset(buf, 0, sizeof(buf));
	fiber_park();
	note(buf[0] ? '1' : '0');
}

static int stop_main(void *arg)
{
	for (int i = 0; i < 20; i++)
		(void)!fiber_spawn("parked", sleep_forever, NULL);
	fiber_yield();
	engine_stop(engine_self());
	fiber_sleep_ns(1);
	note('!');
	return 0;
}

static void abandoned_fibers_never_run_again(void **state)
{
	for (int i = 0; i < 10; i++) {
		struct engine *e;

		assert_int_equal(engine_sim_new(5, &e), 0);
		assert_int_equal(engine_run(e, stop_main, NULL), -ECANCELED);
		engine_sim_abandon(e);
		assert_int_equal(run_uring(stack_main, NULL), 0); /* on mappings at the same addresses */
	}
	assert_string_equal(trace, "");
}

/* --- deferred calls */

struct letter_call {
	struct engine_call call;
	char c;
};

static void letter_called(struct engine_call *c)
{
	assert_null(fiber_self());
	note(container_of(c, struct letter_call, call)->c);
}

static int calls_main(void *arg)
{
	struct letter_call a = { { .fn = letter_called }, 'a' }, b = { { .fn = letter_called }, 'b' };

	engine_call_soon(&a.call);
	engine_call_soon(&b.call);
	note('1');
	fiber_sleep_ns(1);
	note('2');
	return 0;
}

static void calls_run_on_the_loop_in_order(void **state)
{
	run_uring(calls_main, NULL);
	assert_string_equal(trace, "1ab2");
}

/* --- speed, printed */

#define SWITCHES (SLOW ? 20000u : 2000000u)

static void yield_often(void *arg)
{
	for (unsigned i = 0; i < SWITCHES / 64; i++)
		fiber_yield();
}

static void nothing(void *arg)
{
}

static int speed_main(void *arg)
{
	struct fiber *f[64];
	uint64_t start = engine_now_precise_ns(), ns;

	for (int i = 0; i < 64; i++)
		f[i] = spawn(yield_often, NULL);
	for (int i = 0; i < 64; i++)
		fiber_join(f[i]);
	ns = engine_now_precise_ns() - start;
	print_message("yield and resume: %.1f ns\n", (double)ns / SWITCHES);
	start = engine_now_precise_ns();
	for (unsigned i = 0; i < SWITCHES / 10; i++)
		fiber_join(spawn(nothing, NULL));
	ns = engine_now_precise_ns() - start;
	print_message("spawn and join: %.1f ns\n", (double)ns / (SWITCHES / 10));
	return 0;
}

static void switching_is_cheap(void **state)
{
	run_uring(speed_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(run_returns_the_result_of_main),
		cmocka_unit_test_setup(fibers_run_in_fifo_order_from_the_first_yield_on, clear_trace),
		cmocka_unit_test_setup(join_of_a_finished_fiber_does_not_wait, clear_trace),
		TEST(a_fiber_knows_itself),
		TEST(thousands_of_fibers_live_at_once),
		TEST(detached_fibers_free_themselves),
		TEST(a_reserved_stack_is_there_when_it_is_wanted),
		TEST(stacks_keep_their_contents_over_switches),
		TEST(floating_point_survives_switches),
		TEST(overflowing_the_stack_hits_the_guard_page),
		TEST(yielding_in_a_no_yield_section_asserts),
		TEST(parking_outside_a_fiber_asserts),
		TEST(ending_with_fibers_alive_asserts),
		TEST(cancel_ends_interruptible_waits_only),
		cmocka_unit_test_setup(an_engine_can_run_again, clear_trace),
		cmocka_unit_test_setup(abandoned_fibers_never_run_again, clear_trace),
		cmocka_unit_test_setup(calls_run_on_the_loop_in_order, clear_trace),
		TEST(switching_is_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
