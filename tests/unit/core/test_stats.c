/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/stats.h"
#include "tests/unit/core/unit.h"

static void ticks(struct stats *s, unsigned nr)
{
	while (nr--)
		stats_tick(s);
}

static void values_are_current_between_ticks(void **state)
{
	struct stats s = {};

	for (unsigned p = 0; p < STAT_PERIODS; p++)
		assert_int_equal(stats_read(&s, p, STAT_HITS), 0);
	stat_add(&s, STAT_HITS, 5);
	for (unsigned p = 0; p < STAT_PERIODS; p++)
		assert_int_equal(stats_read(&s, p, STAT_HITS), 5);
	assert_int_equal(stats_read(&s, STAT_TOTAL, STAT_MISSES), 0);
}

static void decay_follows_the_table(void **state)
{
	/* v = n << 16; v * 31 / 32 each time; >> 16. By hand: 32 -> 31 -> 30.03 -> 29.09; 64: 62. */
	static const struct {
		const char *name;
		unsigned nr_ticks;
		uint64_t n, want[STAT_PERIODS];
	} cases[] = {
		{ "one tick", 1, 32, { 32, 31, 32, 32 } },
		{ "three ticks", 3, 32, { 32, 29, 32, 32 } },
		{ "a single event fades at once", 1, 1, { 1, 0, 1, 1 } },
		{ "before the hour's decay", 11, 64, { 64, 45, 64, 64 } },
		{ "hour's decay", 12, 64, { 64, 43, 62, 64 } },
		{ "day's decay", 288, 64, { 64, 0, 29, 62 } },
		{ "five minutes are half", 22, 1000000, { 1000000, 497344, 968750, 1000000 } },
		{ "more than 65535 in one tick", 1, 1ull << 40, { 1ull << 40, 31ull << 35, 1ull << 40, 1ull << 40 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stats s = {};

		stat_add(&s, STAT_BYPASSED_SECTORS, cases[i].n);
		ticks(&s, cases[i].nr_ticks);
		for (unsigned p = 0; p < STAT_PERIODS; p++)
			check_case(cases[i].name, stats_read(&s, p, STAT_BYPASSED_SECTORS), cases[i].want[p]);
	}
}

/* At a constant load the decaying sets settle at 32 ticks' worth (31 right after the decay, 32 with the partial tick). */
static void constant_load_settles_at_32_ticks(void **state)
{
	struct stats s = {};

	for (unsigned i = 0; i < 2000; i++) {
		stat_add(&s, STAT_HITS, 1000);
		stats_tick(&s);
	}
	assert_in_range(stats_read(&s, STAT_FIVE_MINUTE, STAT_HITS), 30990, 31000);
	assert_int_equal(stats_read(&s, STAT_TOTAL, STAT_HITS), 2000000);
}

static void hit_ratio_is_truncated(void **state)
{
	static const struct {
		const char *name;
		uint64_t hits, misses, bypass;
		unsigned want;
	} cases[] = {
		{ "none", 0, 0, 7, 0 }, { "all", 3, 0, 9, 100 }, { "measured", 2009, 494, 0, 80 },
		{ "two thirds", 2, 1, 0, 66 }, { "huge", 1ull << 60, 1ull << 60, 0, 50 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stats s = {};

		stat_add(&s, STAT_HITS, cases[i].hits);
		stat_add(&s, STAT_MISSES, cases[i].misses);
		stat_add(&s, STAT_BYPASS_HITS, cases[i].bypass);
		check_case(cases[i].name, stats_hit_ratio(&s, STAT_TOTAL), cases[i].want);
	}
}

static void clear_touches_the_total_only(void **state)
{
	struct stats s = {};

	stat_add(&s, STAT_HITS, 64);
	stats_tick(&s);
	stat_add(&s, STAT_HITS, 10);
	stats_clear(&s);
	assert_int_equal(stats_read(&s, STAT_TOTAL, STAT_HITS), 0);
	assert_int_equal(stats_read(&s, STAT_FIVE_MINUTE, STAT_HITS), 72);
	assert_int_equal(stats_read(&s, STAT_HOUR, STAT_HITS), 74);
	stats_tick(&s);
	assert_int_equal(stats_read(&s, STAT_TOTAL, STAT_HITS), 0); /* nothing comes back */
}

static void time_stats_average_durations_and_intervals(void **state)
{
	struct time_stats t = {};

	time_stats_update(&t, 1000, 1800); /* 800 */
	assert_int_equal(t.count, 1);
	assert_int_equal(t.average_duration, 800 << 8);
	assert_int_equal(t.average_frequency, 0);
	assert_int_equal(t.max_duration, 800);
	assert_int_equal(t.last, 1800);
	time_stats_update(&t, 4800, 4800 + 1600); /* gap 4600 */
	assert_int_equal(t.average_duration, 900 << 8); /* (800 * 7 + 1600) / 8 */
	assert_int_equal(t.average_frequency, 4600 << 8);
	assert_int_equal(t.max_duration, 1600);
	time_stats_update(&t, 9599, 9600); /* gap 3200 */
	assert_int_equal(t.average_duration, ((900 << 8) * 7 + (1 << 8)) / 8);
	assert_int_equal(t.average_frequency, ((4600 << 8) * 7 + (3200 << 8)) / 8);
	assert_int_equal(t.max_duration, 1600);
	time_stats_update(&t, 20, 10); /* a clock that steps back does no harm */
	assert_int_equal(t.max_duration, 1600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_current_between_ticks),
		cmocka_unit_test(decay_follows_the_table),
		cmocka_unit_test(constant_load_settles_at_32_ticks),
		cmocka_unit_test(hit_ratio_is_truncated),
		cmocka_unit_test(clear_touches_the_total_only),
		cmocka_unit_test(time_stats_average_durations_and_intervals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
