/* SPDX-License-Identifier: GPL-2.0-only */
/* Load averages: the arithmetic, and the file of control-files.md §10.5. */
#include <math.h>
#include "core/admin/loadavg.h"
#include "tests/unit/core/unit.h"

/* n periods of load per second, in whole units per 5 s. */
static void run(struct loadavg *l, uint64_t counters[LOADS], uint64_t *now, unsigned n, const uint64_t per_period[LOADS])
{
	for (unsigned i = 0; i < n; i++) {
		*now += LOADAVG_PERIOD_NS;
		for (unsigned m = 0; m < LOADS; m++)
			counters[m] += per_period[m];
		loadavg_sample(l, counters, *now);
	}
}

static double average(const struct loadavg *l, enum load_period p, enum load_metric m) { return (double)l->average[p][m] / 65536; }

static void averages_rise_and_fall_like_a_load_average(void **state)
{
	static const double want[LOAD_PERIODS] = { 10, 9.502, 6.321 }; /* 10 (1 - exp(-15 / minutes)) */
	uint64_t counters[LOADS] = { [LOAD_READS] = 123456 }, now = 7;
	const uint64_t load[LOADS] = { [LOAD_READS] = 50, [LOAD_READ_BYTES] = 5ull << 40 }, nothing[LOADS] = { 0 };
	struct loadavg l = { .last_ns = 0 };

	loadavg_sample(&l, counters, now); /* what was before does not count */
	for (unsigned p = 0; p < LOAD_PERIODS; p++)
		assert_int_equal(l.average[p][LOAD_READS], 0);
	run(&l, counters, &now, 12 * 15, load); /* 10 reads and 1 TiB per second for 15 minutes */
	for (unsigned p = 0; p < LOAD_PERIODS; p++) {
		assert_true(fabs(average(&l, p, LOAD_READS) - want[p]) < 0.02);
		assert_true(fabs(average(&l, p, LOAD_READ_BYTES) / (double)(1ull << 40) - want[p] / 10) < 0.01);
	}
	run(&l, counters, &now, 12 * 1, nothing);
	assert_true(fabs(average(&l, LOAD_1MIN, LOAD_READS) - 3.679) < 0.02);
	run(&l, counters, &now, 12 * 600, nothing);
	for (unsigned p = 0; p < LOAD_PERIODS; p++)
		assert_true(average(&l, p, LOAD_READS) < 0.005);
}

static void odd_periods_and_cleared_counters_do_no_harm(void **state)
{
	uint64_t counters[LOADS] = { [LOAD_HITS] = 1000 }, now = NS_PER_S;
	struct loadavg l = { .last_ns = 0 };

	loadavg_sample(&l, counters, now);
	loadavg_sample(&l, counters, now); /* no time has passed */
	assert_int_equal(l.average[LOAD_1MIN][LOAD_HITS], 0);
	counters[LOAD_HITS] = 20; /* clear_stats, then 20 more */
	loadavg_sample(&l, counters, now += 10 * NS_PER_S);
	assert_true(fabs(average(&l, LOAD_1MIN, LOAD_HITS) - 2 * 5240.0 / 65536) < 0.001);
	counters[LOAD_HITS] = UINT64_MAX;
	loadavg_sample(&l, counters, now += 1);
	assert_true(l.average[LOAD_1MIN][LOAD_HITS] <= INT64_MAX);
}

static const char *text_of(const struct loadavg *l)
{
	static char text[2000];
	struct printbuf pb = PRINTBUF(text);

	loadavg_to_text(l, &pb);
	return text;
}

#define EACH(a, b, c) { (uint64_t)((a) * 65536.0 + 0.5), (uint64_t)((b) * 65536.0 + 0.5), (uint64_t)((c) * 65536.0 + 0.5) }

static void the_file_has_all_lines(void **state)
{
	static const struct {
		enum load_metric m;
		uint64_t v[LOAD_PERIODS];
	} values[] = {
		{ LOAD_READS, EACH(120.3125, 98.03125, 77.40625) },
		{ LOAD_WRITES, EACH(11, 10.5, 9.75) },
		{ LOAD_READ_BYTES, EACH(1257472, 1003520, 802816) },
		{ LOAD_WRITE_BYTES, EACH(90112, 86016, 79872) },
		{ LOAD_HITS, EACH(100.109375, 80, 60) },
		{ LOAD_MISSES, EACH(20.21875, 18.03125, 17.40625) },
		{ LOAD_BYPASSED_BYTES, EACH(0, 4096, 8192) },
		{ LOAD_DIRTIED_BYTES, EACH(45056, 43008, 40960) },
		{ LOAD_WRITTEN_BACK_BYTES, EACH(40960, 40960, 40960) },
		{ LOAD_INFLIGHT_NS, EACH(1.2e9, 0.8e9, 0.6e9) },
		{ LOAD_READ_NS, EACH(120.3125 * 410000, 98.03125 * 520000, 77.40625 * 600000) },
		{ LOAD_WRITE_NS, EACH(11 * 90000, 10.5 * 100000, 9.75 * 120000) },
	};
	struct loadavg l = { .last_ns = 0 }, sum = { .last_ns = 0 };

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (unsigned p = 0; p < LOAD_PERIODS; p++)
			l.average[p][values[i].m] = values[i].v[p];
	check_text("loadavg", text_of(&l), "metric 1min 5min 15min\n"
					   "reads 120.31 98.03 77.40\n"
					   "writes 11.00 10.50 9.75\n"
					   "read_bytes 1257472.00 1003520.00 802816.00\n"
					   "write_bytes 90112.00 86016.00 79872.00\n"
					   "hits 100.10 80.00 60.00\n"
					   "misses 20.21 18.03 17.40\n"
					   "hit_percent 83.19 81.60 77.51\n"
					   "bypassed_bytes 0.00 4096.00 8192.00\n"
					   "dirtied_bytes 45056.00 43008.00 40960.00\n"
					   "written_back_bytes 40960.00 40960.00 40960.00\n"
					   "inflight 1.20 0.80 0.60\n"
					   "read_ms 0.41 0.52 0.60\n"
					   "write_ms 0.09 0.10 0.12\n");
	loadavg_add(&sum, &l);
	loadavg_add(&sum, &l); /* of a set: numbers add up, percentages and durations do not */
	assert_non_null(strstr(text_of(&sum), "\nreads 240.62 196.06 154.81\n"));
	assert_non_null(strstr(text_of(&sum), "\nhit_percent 83.19 81.60 77.51\n"));
	assert_non_null(strstr(text_of(&sum), "\nread_ms 0.41 0.52 0.60\n"));
}

static void nothing_is_zero(void **state)
{
	struct loadavg l = { .last_ns = 0 };

	assert_non_null(strstr(text_of(&l), "\nhit_percent 0.00 0.00 0.00\n"));
	assert_non_null(strstr(text_of(&l), "\nwrite_ms 0.00 0.00 0.00\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(averages_rise_and_fall_like_a_load_average),
		cmocka_unit_test(odd_periods_and_cleared_counters_do_no_harm),
		cmocka_unit_test(the_file_has_all_lines),
		cmocka_unit_test(nothing_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
