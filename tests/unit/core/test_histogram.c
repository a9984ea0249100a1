/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/histogram.h"
#include "core/admin/json.h"
#include "core/util/prng.h"
#include "tests/unit/core/unit.h"
#include <stdlib.h>

#define CELLS_PER_OCTAVE (1u << HISTOGRAM_SUB_BITS)

static void cells_follow_each_other_without_gap(void **state)
{
	unsigned last = 0;

	assert_int_equal(histogram_cell(0), 0);
	assert_int_equal(histogram_cell(255), 0);
	assert_int_equal(histogram_cell(256), 1);
	assert_int_equal(histogram_cell((1ull << HISTOGRAM_HIGH_BITS) - 1), HISTOGRAM_CELLS - 2);
	assert_int_equal(histogram_cell(1ull << HISTOGRAM_HIGH_BITS), HISTOGRAM_CELLS - 1);
	assert_int_equal(histogram_cell(UINT64_MAX), HISTOGRAM_CELLS - 1);
	for (uint64_t ns = 1; ns < 1ull << 22; ns += 7) {
		unsigned cell = histogram_cell(ns);

		assert_true(cell == last || cell == last + 1);
		last = cell;
	}
	/* A power of two begins a cell, eight to the octave. */
	for (unsigned bits = HISTOGRAM_LOW_BITS; bits < HISTOGRAM_HIGH_BITS; bits++) {
		assert_int_equal(histogram_cell(1ull << bits), 1 + (bits - HISTOGRAM_LOW_BITS) * CELLS_PER_OCTAVE);
		assert_int_equal(histogram_cell((1ull << bits) - 1), histogram_cell(1ull << bits) - 1);
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Against the sorted values themselves. */
static void percentiles_are_right_to_an_eighth(void **state)
{
	static const unsigned asked[] = { 1, 1000, 50000, 90000, 99000, 99900, 100000 };
	static uint64_t values[5000];
	struct prng r = prng_seeded(1);

	for (unsigned round = 0; round < 20; round++) {
		static struct histogram h;
		uint64_t nr = 1 + prng_below(&r, ARRAY_SIZE(values)), sum = 0;

		histogram_clear(&h);
		for (uint64_t i = 0; i < nr; i++) {
			values[i] = 256 + prng_below(&r, 1ull << (9 + prng_below(&r, 26)));
			sum += values[i];
			histogram_add(&h, values[i]);
		}
		qsort(values, nr, sizeof(*values), by_size);
		assert_int_equal(h.count, nr);
		assert_int_equal(histogram_mean_ns(&h), sum / nr);
		for (unsigned i = 0; i < ARRAY_SIZE(asked); i++) {
			uint64_t rank = (nr * asked[i] + 99999) / 100000;
			uint64_t want = values[max(rank, (uint64_t)1) - 1], got = histogram_percentile_ns(&h, asked[i]);

			assert_true(got >= want && got <= want + want / 8 + 1);
		}
		assert_int_equal(histogram_percentile_ns(&h, 100000), values[nr - 1]);
		for (unsigned bits = HISTOGRAM_LOW_BITS; bits <= HISTOGRAM_HIGH_BITS; bits++) {
			uint64_t below = 0;

			while (below < nr && values[below] < 1ull << bits)
				below++;
			assert_int_equal(histogram_count_below(&h, bits), below);
		}
	}
}

static void nothing_recorded_is_all_zero(void **state)
{
	static struct histogram h;
	char text[200];
	struct printbuf out = PRINTBUF(text);

	assert_int_equal(histogram_percentile_ns(&h, 99000), 0);
	assert_int_equal(histogram_mean_ns(&h), 0);
	assert_int_equal(histogram_count_below(&h, HISTOGRAM_HIGH_BITS), 0);
	histogram_to_text(&out, "nothing", &h);
	assert_string_equal(text, "nothing 0 0.0 0.0 0.0 0.0 0.0 0.0\n");
}

static void text_is_one_line_per_kind_in_microseconds(void **state)
{
	static struct histogram h;
	char text[400];
	struct printbuf out = PRINTBUF(text);

	for (unsigned i = 0; i < 99; i++)
		histogram_add(&h, 2047);
	histogram_add(&h, 1000000);
	histogram_header_text(&out);
	histogram_to_text(&out, "read_hit", &h);
	assert_string_equal(text, "name count mean p50 p90 p99 p99.9 max\nread_hit 100 12.0 2.0 2.0 2.0 1000.0 1000.0\n");
}

static void durations_off_the_scale_are_kept(void **state)
{
	static struct histogram h;

	histogram_add(&h, 5);
	histogram_add(&h, 1ull << 40);
	assert_int_equal(histogram_percentile_ns(&h, 50000), 255);
	assert_int_equal(histogram_percentile_ns(&h, 99000), 1ull << 40);
	assert_int_equal(histogram_count_below(&h, HISTOGRAM_LOW_BITS), 1);
	assert_int_equal(histogram_count_below(&h, HISTOGRAM_HIGH_BITS), 1);
}

static void json_buckets_are_cumulative_and_end_at_the_longest(void **state)
{
	static struct histogram h;
	char text[2000], flat[2000];
	struct printbuf out = PRINTBUF(text);
	struct jout j = jout_begin(&out);
	size_t n = 0;

	histogram_add(&h, 200);
	histogram_add(&h, 511);
	histogram_add(&h, 512);
	histogram_to_json(&j, NULL, &h);
	for (const char *p = text; *p; p++)
		if (*p != ' ' && *p != '\n')
			flat[n++] = *p;
	flat[n] = '\0';
	assert_string_equal(flat, "{\"count\":3,\"sum_ns\":1223,\"p50_ns\":511,\"p90_ns\":512,\"p99_ns\":512,\"p99.9_ns\":512,\"max_ns\":512,"
				  "\"buckets\":[{\"below_ns\":256,\"count\":1},{\"below_ns\":512,\"count\":2},{\"below_ns\":1024,\"count\":3}]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cells_follow_each_other_without_gap),
		cmocka_unit_test(percentiles_are_right_to_an_eighth),
		cmocka_unit_test(nothing_recorded_is_all_zero),
		cmocka_unit_test(text_is_one_line_per_kind_in_microseconds),
		cmocka_unit_test(durations_off_the_scale_are_kept),
		cmocka_unit_test(json_buckets_are_cumulative_and_end_at_the_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
