/* SPDX-License-Identifier: GPL-2.0-only */
/* A test that fails, wherever it does, fails alone (fail.h): this program runs itself with tests that do, each followed by one that passes. */
#include "tests/unit/core/test_engine_util.h"
#include <signal.h>

/* --- the tests of the other run ------------------------------------------------------------------------------------------ */

static void fail_now(void *arg) { assert_int_equal(1, 2); }

static int fail_main(void *arg)
{
	fail_now(NULL);
	return 0;
}

static int fail_without_waiting(void *arg)
{
	no_yield_begin();
	fail_now(NULL);
	return 0;
}

static void go_on(void *arg)
{
	for (;;)
		fiber_yield();
}

static int fail_among_others(void *arg)
{
	assert_int_equal(fiber_spawn_detached("goes on", go_on, NULL), 0);
	assert_int_equal(fiber_reserve(), 0);
	assert_int_equal(fiber_spawn_detached("fails", fail_now, NULL), 0);
	fiber_sleep_ns(NS_PER_S);
	return 0;
}

static void fail_timer(struct timer *t) { fail_now(NULL); }

static int fail_in_timer(void *arg)
{
	struct timer t;

	timer_init(&t, fail_timer);
	timer_arm_ns(&t, 1);
	fiber_park();
	return 0;
}

static int raise_signal(void *arg) { return raise(SIGILL); }

static int live(void *arg)
{
	fiber_sleep_ns(NS_PER_MS);
	return 0;
}

static void fails_in_a_fiber(void **state) { (void)run_sim(1, fail_main, NULL); }
static void fails_in_a_fiber_that_must_not_wait(void **state) { (void)run_sim(1, fail_without_waiting, NULL); }
static void fails_in_one_fiber_of_many(void **state) { (void)run_sim(1, fail_among_others, NULL); }
static void fails_on_the_loop(void **state) { (void)run_sim(1, fail_in_timer, NULL); }
static void fails_on_a_ring(void **state) { (void)run_uring(fail_among_others, NULL); }

static void fails_after_the_engine_has_run(void **state)
{
	struct engine *e;

	assert_int_equal(engine_sim_new(1, &e), 0);
	assert_int_equal(engine_run(e, live, NULL), 1);
}

static void is_ended_by_a_signal(void **state)
{
	if (SLOW) /* the jump is cmocka's, from one stack to another */
		fail();
	(void)run_sim(1, raise_signal, NULL);
}

static void fail_in_child(void) { (void)run_sim(1, fail_main, NULL); }

static void passes(void **state)
{
	assert_int_equal(run_sim(1, live, NULL), 0);
	assert_int_equal(run_uring(live, NULL), 0);
	assert_true(dies(fail_in_child));
}

static int run_failing(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fails_in_a_fiber), TEST(passes), TEST(fails_in_a_fiber_that_must_not_wait), TEST(passes),
		TEST(fails_in_one_fiber_of_many), TEST(passes), TEST(fails_on_the_loop), TEST(passes),
		TEST(fails_on_a_ring), TEST(passes), TEST(fails_after_the_engine_has_run), TEST(passes),
		TEST(is_ended_by_a_signal), TEST(passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* --- what it says -------------------------------------------------------------------------------------------------------- */

static const char *self;

static FILE *start_failing(void)
{
	const char *options = getenv("ASAN_OPTIONS");
	char command[4096];

	snprintf(command, sizeof(command), "CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS=%s:detect_leaks=0 exec %s fails 2>&1", options ? options : "", self);
	return popen(command, "r");
}

static void a_test_that_fails_anywhere_fails_alone(void **state)
{
	FILE *f = start_failing();
	char line[1000], name[1000];
	unsigned nr = 0, nr_failed = 0, n;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		bool failed = sscanf(line, "not ok %u - %999s", &n, name) == 2;

		if (!failed && sscanf(line, "ok %u - %999s", &n, name) != 2)
			continue;
		assert_int_equal(n, ++nr);
		assert_int_equal(failed, nr % 2);
		assert_int_equal(!strcmp(name, "passes"), !failed);
		nr_failed += failed;
	}
	assert_int_equal(nr, 14);
	assert_int_equal(WEXITSTATUS(pclose(f)), nr_failed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_test_that_fails_anywhere_fails_alone),
	};

	self = argv[0];
	return argc > 1 ? run_failing() : cmocka_run_group_tests(tests, NULL, NULL);
}
