/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/policy.h"
#include "core/util/prng.h"
#include "tests/unit/core/unit.h"

#define S 1000000000ull
#define PAGE 4096u

static struct seq_detector seq;

static int setup(void **state)
{
	return seq_detector_init(&seq);
}

static int teardown(void **state)
{
	seq_detector_release(&seq);
	return 0;
}

/* nr_requests of one page each, in a row; returns what the last one was judged. */
static uint64_t run(uint64_t task, bool use_average, uint64_t sector, unsigned nr_requests, uint64_t now_ns)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < nr_requests; i++)
		bytes = seq_detector_note(&seq, task, use_average, sector + i * 8, PAGE, now_ns);
	return bytes;
}

static void a_stream_adds_up(void **state)
{
	assert_int_equal(run(1, true, 0, 1, 0), PAGE);
	assert_int_equal(run(1, true, 8, 9, 0), 10 * PAGE);
	assert_int_equal(run(1, true, 9999, 1, 0), 10 * PAGE / 8 > PAGE ? 10 * PAGE / 8 : PAGE);
}

static void interleaved_streams_are_told_apart(void **state)
{
	for (unsigned i = 0; i < 100; i++)
		for (unsigned stream = 0; stream < RECENT_IO; stream++)
			assert_int_equal(seq_detector_note(&seq, stream, false, stream * 1000000 + i * 8, PAGE, i), (i + 1) * PAGE);
}

static void one_stream_too_many_pushes_out_the_oldest(void **state)
{
	for (unsigned stream = 0; stream <= RECENT_IO; stream++)
		run(1, false, stream * 1000000, 4, 0);
	assert_int_equal(run(1, false, 1 * 1000000 + 32, 1, 0), 5 * PAGE); /* still known */
	assert_int_equal(run(1, false, 0 * 1000000 + 32, 1, 0), PAGE);	   /* forgotten */
}

/* What the tables promise to whoever walks them: every stream once in the age list, every hashed one once in its chain. */
static void check_tables(void)
{
	unsigned aged = 0, hashed = 0, chained = 0;

	for (uint8_t i = seq.oldest, before = 0xff; i != 0xff; before = i, i = seq.streams[i].newer) {
		assert_int_equal(seq.streams[i].older, before);
		assert_true(aged++ < RECENT_IO);
		hashed += seq.streams[i].hashed;
	}
	for (unsigned c = 0; c < RECENT_IO; c++)
		for (uint8_t i = seq.chains[c]; i != 0xff; i = seq.streams[i].hash_next)
			assert_true(chained++ < RECENT_IO);
	assert_int_equal(aged, RECENT_IO);
	assert_int_equal(chained, hashed);
}

/* Against the definition: all records looked at, the least recently noted one given up. */
static void streams_are_found_as_a_plain_search_finds_them(void **state)
{
	struct { uint64_t last, bytes, expiry, used; } plain[RECENT_IO] = { 0 };
	struct prng r = prng_seeded(7);
	uint64_t now = 0;

	for (unsigned n = 1; n < 50000; n++) {
		uint64_t sector = 8 * prng_below(&r, 400), got, want = 0;
		unsigned at = RECENT_IO, oldest = 0;

		now += prng_below(&r, S / 50);
		for (unsigned i = 0; i < RECENT_IO; i++) {
			if (plain[i].last == sector && plain[i].expiry > now && (at == RECENT_IO || plain[i].used > plain[at].used))
				at = i;
			if (plain[i].used < plain[oldest].used)
				oldest = i;
		}
		if (at == RECENT_IO)
			plain[at = oldest].bytes = 0;
		plain[at].bytes += PAGE;
		plain[at].last = sector + 8;
		plain[at].expiry = now + 5 * S;
		plain[at].used = n;
		want = plain[at].bytes;
		got = seq_detector_note(&seq, 1, false, sector, PAGE, now);
		check_case("bytes", got, want);
		if (n % 100 == 0)
			check_tables();
	}
}

static void a_stream_expires_after_five_seconds(void **state)
{
	run(1, false, 0, 4, 10 * S);
	assert_int_equal(run(1, false, 32, 1, 15 * S - 1), 5 * PAGE); /* also renews it */
	assert_int_equal(run(1, false, 40, 1, 20 * S - 1), PAGE);
}

static void the_average_remembers_ended_streams(void **state)
{
	/* Eighths by hand: 800 KiB stream ends -> avg 100 KiB; a 4 KiB one ends -> (700 + 4) / 8 = 88 KiB. */
	run(1, true, 0, 200, 0);
	assert_int_equal(run(1, true, 1000000, 1, 0), KIB(100));
	assert_int_equal(run(1, true, 2000000, 1, 0), KIB(88));
	assert_int_equal(run(2, true, 3000000, 1, 0), PAGE); /* another task has no such history */
}

/* T-19: 800 KiB ended make 100 KiB on average, in a task without a break; a break of 5 s halves what it did before. */
static void idle_time_fades_the_average(void **state)
{
	run(1, true, 0, 200, 0);
	assert_int_equal(run(1, true, 1000000, 1, 5 * S - 1), KIB(100));
	assert_int_equal(run(1, true, 2000000, 1, 10 * S - 2), KIB(88)); /* no break of 5 s: as the kernel does it */
	run(2, true, 3000000, 200, 10 * S);
	assert_int_equal(run(2, true, 4000000, 1, 15 * S), KIB(50));
	assert_int_equal(run(2, true, 5000000, 1, 30 * S), (KIB(50) / 8 * 7 + PAGE / 8) / 8); /* (50 * 7 + 4) / 8, each an eighth by now */
	run(3, true, 6000000, 200, 40 * S);
	assert_int_equal(run(3, true, 7000000, 1, 1000 * S), PAGE);
	run(4, true, 8000000, 200, 2000 * S);
	assert_int_equal(run(4, true, 9000000, 1, 1000 * S), KIB(100)); /* a clock that goes backwards fades nothing */
}

/* T-18: the kernel's page cache writes with pid 0; its file handle is the task and has no average. */
static void without_average_only_the_running_stream_counts(void **state)
{
	run(7, false, 0, 200, 0);
	assert_int_equal(run(7, false, 1000000, 1, 0), PAGE);
	run(8, true, 2000000, 200, 0);
	assert_int_equal(run(8, false, 3000000, 1, 0), PAGE);
	assert_int_equal(run(8, true, 4000000, 1, 0), PAGE); /* and it was reset */
}

static void the_task_table_is_bounded_and_keeps_recent_tasks(void **state)
{
	run(1, true, 0, 800, 0);
	for (uint64_t task = 2; task < 100 * TASKS_MAX; task++) {
		run(task, true, task * 1000000, 1, 0);
		if (task % 16 == 0) /* task 1 goes on working: it must survive */
			assert_true(seq_detector_note(&seq, 1, true, UINT64_MAX / 2 + task * 100, 512, 0) >= 512);
	}
	for (unsigned i = 0; i < TASKS_MAX; i++)
		if (seq.tasks[i].id == 1)
			return;
	fail_msg("task 1 was pushed out although it was among the recent ones");
}

static void sums_saturate(void **state)
{
	uint64_t bytes = seq_detector_note(&seq, 1, true, 0, UINT64_MAX / 512 * 512, 0);

	for (unsigned i = 0; i < 100; i++) {
		uint64_t next = seq_detector_note(&seq, 1, true, seq.streams[seq.newest].last_sector, UINT64_MAX / 512 * 512, 0);

		assert_true(next >= bytes);
		bytes = next;
	}
	assert_true(seq_detector_note(&seq, 1, true, 5, 512, 0) >= bytes / 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_stream_adds_up, setup, teardown),
		cmocka_unit_test_setup_teardown(interleaved_streams_are_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(one_stream_too_many_pushes_out_the_oldest, setup, teardown),
		cmocka_unit_test_setup_teardown(streams_are_found_as_a_plain_search_finds_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stream_expires_after_five_seconds, setup, teardown),
		cmocka_unit_test_setup_teardown(the_average_remembers_ended_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_time_fades_the_average, setup, teardown),
		cmocka_unit_test_setup_teardown(without_average_only_the_running_stream_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(the_task_table_is_bounded_and_keeps_recent_tasks, setup, teardown),
		cmocka_unit_test_setup_teardown(sums_saturate, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
