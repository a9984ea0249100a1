/* SPDX-License-Identifier: GPL-2.0-only */
/* Expected values are computed by hand from behaviour.md §8.5-§8.8; none comes out of the code under test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "core/writeback/rate.h"
#include "tests/unit/core/unit.h"

#define S 1000000000ull

static void target_shares_the_cache_by_backing_size(void **state)
{
	static const struct {
		const char *name;
		uint64_t cache, backing, all;
		uint32_t percent;
		int64_t want;
	} cases[] = {
		{ "one device", 256000, 1000, 1000, 10, 25600 },
		{ "measured in the kernel: 12.7M of 127.5 MiB", 261120, 524288, 524288, 10, 26112 },
		{ "half", 256000, 500, 1000, 10, 12800 },
		{ "third rounds down twice", 256000, 1, 3, 10, 25600ll * 5461 >> 14 },
		{ "tiny device still has 1/16384", 100 * 16384, 1, UINT32_MAX, 100, 100 },
		{ "percent divides first", 199, 1, 1, 1, 1 },
		{ "zero percent", 256000, 1, 1, 0, 0 },
		{ "no backing sectors at all", 256000, 0, 0, 10, 25600 },
		{ "share never above one", 256000, 10, 5, 10, 25600 },
		{ "huge", UINT64_MAX, UINT64_MAX, UINT64_MAX, 40, 7378697629483820646 },
		{ "saturates", UINT64_MAX, 1, 1, 100, INT64_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rate_tunables t = { .percent = cases[i].percent };
		struct rate_input in = { .cache_sectors = cases[i].cache, .backing_sectors = cases[i].backing,
					 .all_backing_sectors = cases[i].all };

		check_case(cases[i].name, rate_target(&t, &in), cases[i].want);
	}
}

/* 1000 buckets of 256 sectors, 10 %: the target is 25600 sectors. */
struct update_case {
	const char *name;
	int64_t dirty, integral;
	unsigned in_use;
	uint64_t dirty_buckets;
	uint64_t late_ns;	/* now - next */
	int64_t want_p, want_integral, want_i;
	uint32_t want_rate;
};

static void check_update(const struct update_case *u, const struct rate_tunables *t)
{
	struct rate_state s = { .rate = 1024, .integral = u->integral, .next_ns = 100 * S };
	struct rate_input in = {
		.dirty_sectors = u->dirty, .cache_sectors = 256000, .backing_sectors = 1, .all_backing_sectors = 1, .nr_buckets = 1000,
		.avail_buckets = 1000 - u->dirty_buckets, .bucket_sectors = 256, .in_use_percent = u->in_use, .now_ns = 100 * S + u->late_ns,
	};

	rate_update(&s, t, &in);
	check_case(u->name, s.target, 25600);
	check_case(u->name, s.proportional, u->want_p);
	check_case(u->name, s.integral, u->want_integral);
	check_case(u->name, s.integral_scaled, u->want_i);
	check_case(u->name, s.rate, u->want_rate);
	check_case(u->name, s.change, (int64_t)u->want_rate - 1024);
}

static void update_computes_the_controller(void **state)
{
	static const struct update_case cases[] = {
		/*				      dirty    integral  use  dirty b.  late     P    integral     I   rate */
		{ "above the target",		       26400,         0,   0,   0,      0,      20,      4000,     0,     20 },
		{ "minimum rate",		       25650,         0,   0,   0,      0,       1,       250,     0,      8 },
		{ "integral carries",		       26400,  10000000,   0,   0,      0,      20,  10004000,  1000,   1020 },
		{ "on the target",		       25600,  10000000,   0,   0,      0,       0,  10000000,  1000,   1000 },
		{ "below: no windup below zero",       25200,         0,   0,   0,      0,     -10,         0,     0,      8 },
		{ "below: truncates toward zero",      25201,         0,   0,   0,      0,      -9,         0,     0,      8 },
		{ "below: integral unwinds",	       25200,  10000000,   0,   0,      0,     -10,   9998000,   999,    989 },
		{ "below: late or not does not matter", 25200, 10000000,   0,   0,    9 * S,   -10,   9998000,   999,    989 },
		{ "unwinds past zero, then stops",     25200,         1,   0,   0,      0,     -10,     -1999,     0,      8 },
		{ "negative integral stays",	       25200,    -25000,   0,   0,      0,     -10,    -25000,    -2,      8 },
		{ "not keeping up: frozen",	       26400,     30000,   0,   0,    9 * S,    20,     30000,     3,     23 },
		{ "a millisecond of slack",	       26400,     30000,   0,   0,  999999,     20,     34000,     3,     23 },
		{ "not more",			       26400,     30000,   0,   0, 1000000,     20,     30000,     3,     23 },
		/* dirty / dirty_buckets = 20 sectors per bucket; dirty_buckets * 256 / dirty = 12 > 3 */
		{ "50 %: no fragmentation term",       10000,         0,  50, 500,      0,    -390,         0,     0,      8 },
		{ "51 %: low",			       10200,         0,  51, 510,      0,      20,         0,     0,     20 },
		{ "57 %: end of low",		       11400,         0,  57, 570,      0,     140,         0,     0,    140 },
		{ "58 %: mid",			       11600,         0,  58, 580,      0,     200,         0,     0,    200 },
		{ "64 %: end of mid",		       12800,         0,  64, 640,      0,    1400,         0,     0,   1400 },
		{ "65 %: high",			       13000,         0,  65, 650,      0,   20000,         0,     0,  20000 },
		{ "100 %",			       20000,         0, 100, 1000,     0,  720000,         0,     0, 720000 },
		{ "division before weight: 19/10 = 1",    19,         0,  65,  10,      0,    1000,         0,     0,   1000 },
		{ "less than a sector per bucket",	   9,         0,  65,  10,      0,       0,         0,     0,      8 },
		{ "fragment 4 counts: 650*256/41600",  41600,         0,  65, 650,      0,   64000,     80000,     8,  64008 },
		{ "fragment 3 does not",	       41601,         0,  65, 650,      0,     400,     80005,     8,    408 },
		{ "a larger P wins",		       32640,         0,  51, 510,      0,     176,     35200,     3,    179 },
		{ "nothing dirty",			   0,         0,  65, 650,      0,    -640,         0,     0,      8 },
		{ "no dirty bucket",		       13000,         0,  65,   0,      0,    -315,         0,     0,      8 },
		{ "clamped to the maximum",	1000000025600,        0,   0,   0,      0, 25000000000, 5000000000000, 500000000, RATE_MAX },
	};
	struct rate_tunables t = RATE_TUNABLES_DEFAULT;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_update(&cases[i], &t);
}

static void update_obeys_the_tunables(void **state)
{
	struct rate_tunables t = RATE_TUNABLES_DEFAULT;

	t.consider_fragment = false;
	check_update(&(struct update_case){ "fragmentation off", 13000, 0, 65, 650, 0, -315, 0, 0, 8 }, &t);
	t.p_term_inverse = 1;
	t.i_term_inverse = 1;
	t.update_seconds = 60;
	check_update(&(struct update_case){ "inverses of one", 25700, 0, 0, 0, 0, 100, 6000, 6000, 6100 }, &t);
	t.minimum = UINT32_MAX;
	check_update(&(struct update_case){ "maximum beats minimum", 25600, 0, 0, 0, 0, 0, 0, 0, RATE_MAX }, &t);
	t.p_term_inverse = t.i_term_inverse = UINT32_MAX;
	t.minimum = 1;
	check_update(&(struct update_case){ "inert", 26400, 0, 0, 0, 0, 0, 48000, 0, 1 }, &t);
}

static void update_survives_extremes(void **state)
{
	static const int64_t values[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };
	static const uint64_t buckets[] = { 0, 1, UINT64_MAX };
	static const uint32_t terms[] = { 1, UINT32_MAX };

	for (size_t d = 0; d < ARRAY_SIZE(values); d++)
		for (size_t i = 0; i < ARRAY_SIZE(values); i++)
			for (size_t b = 0; b < ARRAY_SIZE(buckets) * 2; b++)
				for (size_t k = 0; k < ARRAY_SIZE(terms); k++) {
					struct rate_tunables t = RATE_TUNABLES_DEFAULT;
					struct rate_state s = { .rate = 1, .integral = values[i], .next_ns = UINT64_MAX / 2 };
					struct rate_input in = {
						.dirty_sectors = values[d], .cache_sectors = b % 2 ? UINT64_MAX : 0, .backing_sectors = UINT64_MAX,
						.all_backing_sectors = UINT64_MAX, .nr_buckets = buckets[b / 2], .bucket_sectors = UINT32_MAX,
						.in_use_percent = 100,
					};

					t.fp_term_high = t.minimum = terms[k];
					t.p_term_inverse = t.i_term_inverse = terms[k];
					rate_update(&s, &t, &in);
					assert_true(s.rate >= min(t.minimum, RATE_MAX) && s.rate <= RATE_MAX);
					if (values[d] > 0 && values[i] > 0 && in.cache_sectors == 0)
						assert_true(s.integral >= values[i]); /* saturates, never wraps */
				}
}

static void delay_paces_and_clamps(void **state)
{
	static const struct {
		const char *name;
		uint32_t rate;
		uint64_t next_ns, done, now_ns, want_next, want_delay;
	} cases[] = {
		{ "half a second of work", 1024, 100 * S, 512, 100 * S, 100 * S + S / 2, S / 2 },
		{ "truncates", 3, 100 * S, 1, 100 * S, 100 * S + 333333333, 333333333 },
		{ "late, but still behind", 1024, 100 * S, 512, 101 * S, 100 * S + S / 2, 0 },
		{ "exactly due", 1024, 100 * S, 512, 100 * S + S / 2, 100 * S + S / 2, 0 },
		{ "idle for long: at most 2 s of credit", 1024, 100 * S, 0, 500 * S, 498 * S, 0 },
		{ "credit is used", 1024, 498 * S, 3072, 500 * S, 501 * S, S },
		{ "far ahead: at most 2.5 s", 8, 100 * S, 1024, 100 * S, 102 * S + S / 2, S * 5 / 2 },
		{ "exactly 2.5 s", 8, 100 * S, 20, 100 * S, 102 * S + S / 2, S * 5 / 2 },
		{ "rate 0 counts as 1", 0, 100 * S, 1, 100 * S, 101 * S, S },
		{ "unlimited", RATE_UNLIMITED, 100 * S, 1024, 100 * S, 100 * S + 476, 476 },
		{ "clock starts at zero", 1024, 0, 0, S, 0, 0 },
		{ "no wrap", 1, 100 * S, UINT64_MAX, 100 * S, 102 * S + S / 2, S * 5 / 2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rate_state s = { .rate = cases[i].rate, .next_ns = cases[i].next_ns };
		uint64_t delay = rate_delay_ns(&s, cases[i].done, cases[i].now_ns);

		check_case(cases[i].name, s.next_ns, cases[i].want_next);
		check_case(cases[i].name, delay, cases[i].want_delay);
	}
}

/* --- a second opinion ------------------------------------------------------------------------------------------------------- */

struct rate_row {
	uint64_t cache, backing, all, percent;
	int64_t dirty;
	uint64_t buckets, avail, bucket, in_use, fragment, low, mid, high, p_inv, i_inv, seconds, minimum;
	int64_t integral;
	uint64_t now, next;
	int64_t want_target, want_p, want_integral, want_i, want_rate;
};
struct delay_row {
	uint64_t rate, next, done, now, want_next, want_delay;
};
#include "tests/unit/core/rate_table.h"

static void the_arithmetic_of_the_specification_gives_the_same_rates(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rate_rows); i++) {
		const struct rate_row *r = &rate_rows[i];
		struct rate_tunables t = {
			.percent = (uint32_t)r->percent, .update_seconds = (uint32_t)r->seconds, .p_term_inverse = (uint32_t)r->p_inv,
			.i_term_inverse = (uint32_t)r->i_inv, .minimum = (uint32_t)r->minimum, .maximum = RATE_UNLIMITED,
			.consider_fragment = r->fragment, .fp_term_low = (uint32_t)r->low, .fp_term_mid = (uint32_t)r->mid,
			.fp_term_high = (uint32_t)r->high,
		};
		struct rate_input in = {
			.dirty_sectors = r->dirty, .cache_sectors = r->cache, .backing_sectors = r->backing, .all_backing_sectors = r->all,
			.nr_buckets = r->buckets, .avail_buckets = r->avail, .bucket_sectors = (uint32_t)r->bucket,
			.in_use_percent = (unsigned)r->in_use, .now_ns = r->now,
		};
		struct rate_state s = { .rate = 1024, .integral = r->integral, .next_ns = r->next };
		char name[40];

		snprintf(name, sizeof(name), "row %zu of rate_table.h", i);
		rate_update(&s, &t, &in);
		check_case(name, s.target, r->want_target);
		check_case(name, s.proportional, r->want_p);
		check_case(name, s.integral, r->want_integral);
		check_case(name, s.integral_scaled, r->want_i);
		check_case(name, s.rate, r->want_rate);
	}
	for (size_t i = 0; i < ARRAY_SIZE(delay_rows); i++) {
		const struct delay_row *r = &delay_rows[i];
		struct rate_state s = { .rate = (uint32_t)r->rate, .next_ns = r->next };

		assert_int_equal(rate_delay_ns(&s, r->done, r->now), r->want_delay);
		assert_int_equal(s.next_ns, r->want_next);
	}
}

/* --- maximum, idle, starvation ------------------------------------------------------------------------------------------------ */

static void the_maximum_wins(void **state)
{
	struct rate_tunables t = RATE_TUNABLES_DEFAULT;

	t.maximum = 15;
	check_update(&(struct update_case){ "below P", 26400, 0, 0, 0, 0, 20, 4000, 0, 15 }, &t);
	t.maximum = 20;
	check_update(&(struct update_case){ "exactly", 26400, 0, 0, 0, 0, 20, 4000, 0, 20 }, &t);
	t.maximum = 5;
	check_update(&(struct update_case){ "below the minimum", 0, 0, 0, 0, 0, -640, 0, 0, 5 }, &t);

	struct rate_state s = { .rate = 1024, .proportional = 9, .integral_scaled = 9, .change = 9 };

	rate_idle_maximum(&s, &t);
	assert_int_equal(s.rate, 5);
	assert_true(s.at_idle_max && !s.proportional && !s.integral_scaled && !s.change);
	t.maximum = RATE_UNLIMITED;
	rate_idle_maximum(&s, &t);
	assert_int_equal(s.rate, RATE_UNLIMITED);
}

/* 9000 sectors above a target of 25600, for minutes, in steps of 5 s; the limiter keeps up, or backing off holds back, or neither. */
static void starve(struct rate_state *s, const struct rate_tunables *t, uint64_t *now, unsigned minutes, bool held_back, bool keeps_up)
{
	struct rate_input in = {
		.dirty_sectors = 34600, .cache_sectors = 256000, .backing_sectors = 1, .all_backing_sectors = 1, .nr_buckets = 1000,
		.avail_buckets = 1000, .bucket_sectors = 256, .held_back = held_back,
	};

	for (unsigned i = 0; i < minutes * 12; i++) {
		*now += 5 * S;
		in.now_ns = *now;
		s->next_ns = keeps_up ? *now : *now - 2 * S;
		rate_update(s, t, &in);
	}
}

static void starvation_raises_the_minimum_in_proportion(void **state)
{
	struct rate_tunables t = RATE_TUNABLES_DEFAULT;
	struct rate_state s = { .rate = 8 };
	struct rate_input in = { .dirty_sectors = 25600, .cache_sectors = 256000, .backing_sectors = 1, .all_backing_sectors = 1 };
	uint64_t now = 100 * S;

	t.p_term_inverse = t.i_term_inverse = UINT32_MAX; /* a controller that does nothing */
	starve(&s, &t, &now, 15, true, false);
	assert_false(s.starving);
	assert_int_equal(s.rate, 8);
	assert_int_equal(s.starved_ns, 0);
	starve(&s, &t, &now, 1, true, false);
	assert_true(s.starving);
	assert_int_equal(s.starved_ns, 55 * S); /* it is more than 15 minutes since the first look at 105 s */
	assert_in_range(s.rate, 10, 11);	/* 9000 sectors in 900 s */
	starve(&s, &t, &now, 29, true, false);
	assert_in_range(s.rate, 29, 30);	/* three quarters of an hour */
	assert_int_equal(rate_minimum(&s, &t), s.rate);
	t.maximum = 12;
	starve(&s, &t, &now, 1, true, false);
	assert_int_equal(s.rate, 12);
	assert_int_equal(s.starved_ns, 55 * S + 30 * 60 * S);
	in.now_ns = now += 5 * S;
	rate_update(&s, &t, &in); /* on the target */
	assert_false(s.starving);
	assert_int_equal(s.rate, 8);
	starve(&s, &t, &now, 15, true, false);
	assert_false(s.starving); /* it counts from the beginning */
	rate_rest(&s);
	assert_int_equal(s.starved_ns, 55 * S + 30 * 60 * S); /* all in all */
}

static void only_restraint_starves(void **state)
{
	struct rate_tunables t = RATE_TUNABLES_DEFAULT;
	struct rate_state s = { .rate = 8 };
	uint64_t now = 100 * S;

	starve(&s, &t, &now, 60, false, false); /* a device that is slower than its writers */
	assert_false(s.starving);
	assert_int_equal(s.starved_ns, 0);
	starve(&s, &t, &now, 1, false, true); /* the limiter */
	assert_true(s.starving);
	assert_int_equal(s.starved_ns, 60 * S);
	rate_rest(&s); /* nothing dirty any more */
	assert_false(s.starving);
	starve(&s, &t, &now, 10, false, true);
	assert_false(s.starving);
}

/* --- the loop closed: a device that writes back at the given rate, an hour in steps of 10 ms ------------------------------- */

#define STEP_NS (S / 100)
#define HOUR_S 3600
#define BATCH_SECTORS 256
#define DISK_SECTORS_PER_S 20000

static uint32_t load_constant(unsigned t_s) { return 2000; }
static uint32_t load_bursty(unsigned t_s) { return t_s % 120 < 60 ? 4000 : 0; }
static uint32_t load_falling(unsigned t_s) { return t_s < HOUR_S / 2 ? 4000 - t_s * 4000 / (HOUR_S / 2) : 0; }
static uint32_t load_overload(unsigned t_s) { return t_s < 600 ? 30000 : 1000; }

struct sim {
	struct rate_state rate;
	struct rate_input in;
	uint64_t busy_until_ns;
	int64_t max_error, error_sum;	/* over the last half hour, sampled once per second */
};

static void sim_writeback(struct sim *s)
{
	struct rate_state *r = &s->rate;
	uint64_t now = s->in.now_ns;

	while (s->in.dirty_sectors > 0 && s->busy_until_ns <= now && r->next_ns <= now) {
		int64_t n = min(s->in.dirty_sectors, (int64_t)BATCH_SECTORS);

		s->in.dirty_sectors -= n;
		s->busy_until_ns = max(s->busy_until_ns, now - STEP_NS) + (uint64_t)n * S / DISK_SECTORS_PER_S;
		(void)rate_delay_ns(r, (uint64_t)n, now); /* next_ns says when to go on */
	}
}

static void sim_hour(struct sim *s, const char *name, uint32_t (*load)(unsigned t_s))
{
	struct rate_tunables t = RATE_TUNABLES_DEFAULT;

	/* 8 GiB of cache: target 819 MiB. Starts on target with the initial rate. */
	*s = (struct sim){ .rate = { .rate = 1024 }, .in = { .cache_sectors = GIB(8) / 512, .backing_sectors = 1, .all_backing_sectors = 1,
			   .nr_buckets = 16384, .avail_buckets = 16384, .bucket_sectors = 1024 } };
	s->in.dirty_sectors = rate_target(&t, &s->in);
	printf("# %s\n#  min   load    error     rate   integral\n", name);
	for (unsigned step = 0; step < HOUR_S * 100; step++) {
		unsigned t_s = step / 100;
		int64_t error;

		s->in.now_ns = (uint64_t)step * STEP_NS + 100 * S;
		s->in.dirty_sectors += load(t_s) / 100;
		sim_writeback(s);
		if (step % 500 == 0)
			rate_update(&s->rate, &t, &s->in);
		error = s->in.dirty_sectors - s->rate.target;
		if (step % 100 == 0 && t_s >= HOUR_S / 2) {
			s->max_error = max(s->max_error, (int64_t)llabs(error));
			s->error_sum += error;
		}
		if (step % 30000 == 0)
			printf("# %4u %6u %8" PRId64 " %8u %10" PRId64 "\n", t_s / 60, load(t_s), error, s->rate.rate, s->rate.integral_scaled);
	}
	printf("# last half hour: largest error %" PRId64 ", mean %" PRId64 ", of target %" PRId64 "\n", s->max_error,
	       s->error_sum / (HOUR_S / 2), s->rate.target);
}

static void constant_load_settles_on_the_target(void **state)
{
	struct sim s;

	sim_hour(&s, "constant 2000 sectors/s", load_constant);
	assert_true(s.max_error < s.rate.target / 100);
	assert_in_range(s.rate.rate, 1900, 2100);
}

static void bursts_average_out(void **state)
{
	struct sim s;

	sim_hour(&s, "bursty 4000 sectors/s, a minute on, a minute off", load_bursty);
	assert_true(s.max_error < s.rate.target / 10);
	assert_true(llabs(s.error_sum / (HOUR_S / 2)) < s.rate.target / 50);
}

static void falling_load_never_runs_away(void **state)
{
	struct sim s;

	sim_hour(&s, "falling from 4000 sectors/s to 0 in half an hour", load_falling);
	/* Without load the minimum rate drains what is below the target: slowly. */
	assert_true(s.max_error < s.rate.target / 4);
	assert_int_equal(s.rate.rate, 8);
}

static void overload_does_not_wind_up(void **state)
{
	struct sim s;

	sim_hour(&s, "10 minutes more than the disk can take, then 1000 sectors/s", load_overload);
	assert_true(s.rate.integral_scaled < DISK_SECTORS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(target_shares_the_cache_by_backing_size),
		cmocka_unit_test(update_computes_the_controller),
		cmocka_unit_test(update_obeys_the_tunables),
		cmocka_unit_test(update_survives_extremes),
		cmocka_unit_test(delay_paces_and_clamps),
		cmocka_unit_test(the_arithmetic_of_the_specification_gives_the_same_rates),
		cmocka_unit_test(the_maximum_wins),
		cmocka_unit_test(starvation_raises_the_minimum_in_proportion),
		cmocka_unit_test(only_restraint_starves),
		cmocka_unit_test(constant_load_settles_on_the_target),
		cmocka_unit_test(bursts_average_out),
		cmocka_unit_test(falling_load_never_runs_away),
		cmocka_unit_test(overload_does_not_wind_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
