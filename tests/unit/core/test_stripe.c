/* SPDX-License-Identifier: GPL-2.0-only */
/* Dirty sectors per stripe (§8.2): any size, all stripes of a range, sparse, and what is lost without memory. */
#include "core/writeback/stripe.h"
#include <malloc.h>
#include <stdlib.h>
#include "core/util/prng.h"
#include "core/util/sanitize.h"
#include "tests/unit/core/unit.h"

/* --- memory that runs out -------------------------------------------------------------------------------------------------- */

static volatile int callocs_left = -1; /* < 0: no limit. volatile: the compiler knows that calloc() looks at no variable of ours */

#if !defined(WITH_ASAN) && !defined(WITH_TSAN)
void *__libc_calloc(size_t n, size_t size);
void *calloc(size_t n, size_t size)
{
	if (callocs_left == 0)
		return NULL;
	callocs_left -= callocs_left > 0;
	return __libc_calloc(n, size);
}
#endif

/* Under a sanitizer or valgrind, theirs is called. */
static bool calloc_is_ours(void)
{
	void *(*volatile any)(size_t n, size_t size) = calloc; /* not inlined */
	void *p;

	callocs_left = 0;
	p = any(1, 1);
	callocs_left = -1;
	free(p);
	return !p;
}

/* --- sizes ----------------------------------------------------------------------------------------------------------------- */

static void the_size_follows_the_device(void **state)
{
	static const struct {
		const char *name;
		uint64_t optimal, want;
	} cases[] = {
		{ "nobody knows", 0, 1ull << 31 },
		{ "a sector", 1, 8192 },
		{ "64 KiB", 128, 8192 },
		{ "5 disks of 64 KiB: the next multiple", 640, 8320 },
		{ "no multiple of anything", 8191, 16382 },
		{ "4 MiB", 8192, 8192 },
		{ "a sector more", 8193, 8193 },
		{ "more than a counter holds", UINT32_MAX, 1ull << 31 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_case(cases[i].name, stripe_sectors_auto(cases[i].optimal), cases[i].want);
}

/* --- against a flat array -------------------------------------------------------------------------------------------------- */

#define FLAT 6000u

static void compare(const struct stripes *s, const bool *dirty)
{
	uint64_t touched = 0, full = 0, next_full = stripes_next_full(s, 0);

	for (uint64_t i = 0; i < s->nr_stripes; i++) {
		uint32_t n = 0;

		for (uint64_t at = i * s->stripe_sectors; at < min((i + 1) * s->stripe_sectors, (uint64_t)FLAT); at++)
			n += dirty[at];
		assert_int_equal(stripes_dirty_sectors(s, i), n);
		touched += n > 0;
		full += n == s->stripe_sectors;
		if (n == s->stripe_sectors) {
			assert_int_equal(next_full, i);
			next_full = stripes_next_full(s, i + 1);
		}
	}
	assert_int_equal(next_full, STRIPE_NONE);
	assert_int_equal(s->nr_touched, touched);
	assert_int_equal(s->nr_full, full);
}

static bool flat_touches(const struct stripes *s, const bool *dirty, uint64_t start, uint64_t end)
{
	uint64_t from = start / s->stripe_sectors * s->stripe_sectors;
	uint64_t to = min(((end - 1) / s->stripe_sectors + 1) * s->stripe_sectors, (uint64_t)FLAT);

	for (; from < to; from++)
		if (dirty[from])
			return true;
	return false;
}

static void random_use_agrees_with_a_flat_array(void **state)
{
	static const uint64_t sizes[] = { 1, 2, 3, 7, 24, 100, 128, 1000, 1025, 4096, 5999, 6000, 6001, STRIPE_SECTORS_MAX };
	static bool dirty[FLAT];

	for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
		struct prng rng = prng_seeded(k);
		struct stripes s;

		stripes_init(&s, sizes[k], FLAT, UINT64_MAX);
		assert_int_equal(s.nr_stripes, (FLAT + sizes[k] - 1) / sizes[k]);
		memset(dirty, 0, sizeof(dirty));
		for (unsigned i = 0; i < 400; i++) {
			uint64_t start = prng_below(&rng, FLAT), end = start + 1 + prng_below(&rng, min(FLAT - start, (uint64_t)1500));
			bool more = prng_below(&rng, 5) > 1;

			assert_int_equal(stripes_touch_dirty(&s, start, end), flat_touches(&s, dirty, start, end));
			for (uint64_t at = start, n; at < end; at += n) { /* what changes is told in runs, as the btree does */
				for (n = 1; at + n < end && dirty[at + n] == dirty[at]; n++)
					;
				if (dirty[at] != more)
					stripes_account(&s, at, more ? (int64_t)n : -(int64_t)n);
			}
			memset(dirty + start, more, end - start);
			if (i % 40 == 0)
				compare(&s, dirty);
		}
		compare(&s, dirty);
		assert_false(stripes_touch_dirty(&s, 5, 5));
		stripes_release(&s);
	}
}

static void all_stripes_of_a_range_count(void **state)
{
	struct stripes s;

	stripes_init(&s, 24, 2400, UINT64_MAX);
	stripes_account(&s, 71, 2); /* the last sector of stripe 2, the first of stripe 3 */
	assert_int_equal(stripes_dirty_sectors(&s, 2), 1);
	assert_int_equal(stripes_dirty_sectors(&s, 3), 1);
	assert_false(stripes_touch_dirty(&s, 0, 48));
	assert_true(stripes_touch_dirty(&s, 0, 49));
	assert_true(stripes_touch_dirty(&s, 95, 200));
	assert_false(stripes_touch_dirty(&s, 96, 200));
	stripes_account(&s, 48, 23);
	assert_int_equal(stripes_next_full(&s, 0), 2);
	assert_int_equal(stripes_next_full(&s, 3), STRIPE_NONE);
	stripes_account(&s, 50, -1);
	assert_int_equal(stripes_next_full(&s, 0), STRIPE_NONE);
	stripes_release(&s);
}

static void what_is_outside_or_too_much_does_no_harm(void **state)
{
	struct stripes s;

	stripes_init(&s, 10, 95, UINT64_MAX); /* a device that became smaller: keys lie behind its end */
	stripes_account(&s, 90, 100);
	assert_int_equal(stripes_dirty_sectors(&s, 9), 10);
	assert_int_equal(stripes_dirty_sectors(&s, 10), 0);
	assert_false(stripes_touch_dirty(&s, 100, 200));
	stripes_account(&s, 95, 10);
	assert_int_equal(stripes_dirty_sectors(&s, 9), 10);
	stripes_account(&s, 80, -20);
	assert_int_equal(s.nr_touched, 0);
	assert_int_equal(s.nr_full, 0);
	assert_int_equal(s.nr_pages, 0);
	stripes_release(&s);
	assert_false(stripes_touch_dirty(&s, 0, 10)); /* of a device that is not attached */
	assert_int_equal(stripes_next_full(&s, 0), STRIPE_NONE);
}

/* --- recounting ------------------------------------------------------------------------------------------------------------ */

static void what_lies_behind_the_recount_is_left_to_it(void **state)
{
	struct stripes s;

	stripes_init(&s, 10, 100, 0);
	stripes_account(&s, 0, 50);
	assert_int_equal(s.nr_touched, 0);
	s.counted_to = 25;
	stripes_account(&s, 18, 20);
	assert_int_equal(stripes_dirty_sectors(&s, 1), 2);
	assert_int_equal(stripes_dirty_sectors(&s, 2), 5);
	assert_int_equal(s.nr_touched, 2);
	s.counted_to = UINT64_MAX;
	stripes_account(&s, 25, 13);
	assert_int_equal(stripes_dirty_sectors(&s, 2), 10);
	assert_int_equal(stripes_next_full(&s, 0), 2);
	stripes_release(&s);
}

/* --- memory ---------------------------------------------------------------------------------------------------------------- */

#define TIB64 (64ull << 31) /* sectors of 64 TiB */

static void huge_devices_cost_what_is_dirty(void **state)
{
	static const struct {
		const char *name;
		uint64_t stripe, stripes;
	} cases[] = {
		{ "unknown", STRIPE_SECTORS_MAX, 64 }, { "1 MiB", 2048, 1ull << 26 }, { "4 KiB", 8, 1ull << 34 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
		struct prng rng = prng_seeded(i);
		struct stripes s;

		stripes_init(&s, cases[i].stripe, TIB64, UINT64_MAX);
		check_case(cases[i].name, s.nr_stripes, cases[i].stripes);
		for (unsigned n = 0; n < 1000; n++)
			stripes_account(&s, prng_below(&rng, TIB64 / 8) * 8, 8);
		stripes_account(&s, TIB64 - 1, 1);
		assert_int_equal(stripes_dirty_sectors(&s, s.nr_stripes - 1) > 0, true);
		assert_true(s.nr_pages <= 1001);
		if (calloc_is_ours()) /* a page and, at worst, a group for each of the thousand places */
			assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before < MIB(16));
		rng = prng_seeded(i);
		for (unsigned n = 0; n < 1000; n++)
			stripes_account(&s, prng_below(&rng, TIB64 / 8) * 8, -8);
		stripes_account(&s, TIB64 - 1, -1);
		assert_int_equal(s.nr_pages, 0);
		assert_int_equal(s.nr_touched, 0);
		stripes_release(&s);
	}
}

static void full_stripes_are_found_across_huge_gaps(void **state)
{
	struct stripes s;

	stripes_init(&s, 8, TIB64, UINT64_MAX);
	stripes_account(&s, 8 * 1023, 8);
	stripes_account(&s, 8 * 1024, 8);
	stripes_account(&s, TIB64 / 2, 8);
	stripes_account(&s, TIB64 - 8, 8);
	assert_int_equal(stripes_next_full(&s, 0), 1023);
	assert_int_equal(stripes_next_full(&s, 1024), 1024);
	assert_int_equal(stripes_next_full(&s, 1025), TIB64 / 16);
	assert_int_equal(stripes_next_full(&s, TIB64 / 16 + 1), TIB64 / 8 - 1);
	assert_int_equal(stripes_next_full(&s, TIB64 / 8), STRIPE_NONE);
	stripes_release(&s);
}

static void without_memory_counting_stops_and_says_so(void **state)
{
	struct stripes s;

	if (!calloc_is_ours())
		skip();
	for (int left = 0; left < 4; left++) {
		callocs_left = left;
		stripes_init(&s, 8, TIB64, UINT64_MAX);
		stripes_account(&s, 100, 8);
		stripes_account(&s, TIB64 / 2, 8);
		callocs_left = -1;
		assert_true(s.lost); /* five allocations: the array, two groups, two pages */
		stripes_account(&s, 200, 8);
		stripes_account(&s, 200, -8);
		assert_false(stripes_touch_dirty(&s, 0, TIB64 - 1));
		assert_int_equal(stripes_next_full(&s, 0), STRIPE_NONE);
		assert_int_equal(s.nr_pages, 0);
		stripes_release(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_size_follows_the_device),
		cmocka_unit_test(random_use_agrees_with_a_flat_array),
		cmocka_unit_test(all_stripes_of_a_range_count),
		cmocka_unit_test(what_is_outside_or_too_much_does_no_harm),
		cmocka_unit_test(what_lies_behind_the_recount_is_left_to_it),
		cmocka_unit_test(huge_devices_cost_what_is_dirty),
		cmocka_unit_test(full_stripes_are_found_across_huge_gaps),
		cmocka_unit_test(without_memory_counting_stops_and_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
