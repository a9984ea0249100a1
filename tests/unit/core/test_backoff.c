/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/backoff.h"
#include "tests/unit/core/unit.h"

#define MS 1000000ull
#define S 1000000000ull

/* A device whose requests take 10 ms when they are alone. */
static struct backoff at_rest(uint64_t *now)
{
	struct backoff b = { .share = 0 };

	for (unsigned i = 0; i < 50; i++)
		backoff_note(&b, 10 * MS, false, *now += 10 * MS);
	assert_in_range(b.alone_ns, 9 * MS, 10 * MS);
	return b;
}

static void nobody_suffers_nobody_backs_off(void **state)
{
	uint64_t now = S;
	struct backoff b = at_rest(&now);

	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL);
	for (unsigned i = 0; i < 50; i++)
		backoff_note(&b, 20 * MS, true, now += 20 * MS); /* twice as long is bearable */
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL);
	assert_int_equal(backoff_share(&(struct backoff){ .share = 0 }, S), BACKOFF_FULL);
}

static void slow_requests_halve_the_share_once_per_their_duration(void **state)
{
	uint64_t now = S;
	struct backoff b = at_rest(&now);

	backoff_note(&b, 40 * MS, true, now += MS);
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL / 2);
	for (unsigned i = 0; i < 5; i++) /* the others of the same queue */
		backoff_note(&b, 40 * MS, true, now += MS);
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL / 2);
	backoff_note(&b, 40 * MS, true, now += 40 * MS);
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL / 4);
	for (unsigned i = 0; i < 100; i++)
		backoff_note(&b, 40 * MS, true, now += 40 * MS);
	assert_int_equal(b.share, BACKOFF_MIN);
}

static void time_gives_it_back_faster_when_nobody_asks(void **state)
{
	uint64_t now = S, begin;
	struct backoff b = at_rest(&now);

	for (unsigned i = 0; i < 20; i++)
		backoff_note(&b, 100 * MS, true, now += 100 * MS);
	begin = now;
	while (backoff_share(&b, now) < BACKOFF_FULL)
		backoff_note(&b, 10 * MS, true, now += 100 * MS);
	assert_in_range(now - begin, 12 * S, 14 * S);
	for (unsigned i = 0; i < 20; i++)
		backoff_note(&b, 100 * MS, true, now += 100 * MS);
	begin = now;
	while (backoff_share(&b, now) < BACKOFF_FULL)
		now += 100 * MS;
	assert_in_range(now - begin, 3 * S, 5 * S);
}

static void it_begins_with_little_if_there_are_requests(void **state)
{
	uint64_t now = S;
	struct backoff b = at_rest(&now);

	backoff_begin(&b, now += 500 * MS);
	assert_int_equal(backoff_share(&b, now), BACKOFF_MIN);
	backoff_begin(&b, now += S);
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL);
}

static void what_is_usual_follows_the_device_but_not_its_hiccups(void **state)
{
	uint64_t now = S;
	struct backoff b = at_rest(&now);

	backoff_note(&b, 10 * S, false, now += 10 * MS);
	assert_true(b.alone_ns < 20 * MS);
	for (unsigned i = 0; i < 50; i++)
		backoff_note(&b, 100 * MS, false, now += 100 * MS);
	assert_in_range(b.alone_ns, 90 * MS, 100 * MS);
	backoff_note(&b, 150 * MS, true, now += 150 * MS);
	assert_int_equal(b.share, BACKOFF_FULL);
}

static void differences_that_nobody_feels_do_not_count(void **state)
{
	struct backoff b = { .share = 0 };
	uint64_t now = S;

	for (unsigned i = 0; i < 50; i++)
		backoff_note(&b, MS / 10, false, now += MS);
	backoff_note(&b, MS, true, now += MS); /* ten times as long, on an SSD */
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL);
	backoff_note(&b, 2 * MS, true, now += MS);
	assert_int_equal(backoff_share(&b, now), BACKOFF_FULL / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_suffers_nobody_backs_off),
		cmocka_unit_test(slow_requests_halve_the_share_once_per_their_duration),
		cmocka_unit_test(time_gives_it_back_faster_when_nobody_asks),
		cmocka_unit_test(it_begins_with_little_if_there_are_requests),
		cmocka_unit_test(what_is_usual_follows_the_device_but_not_its_hiccups),
		cmocka_unit_test(differences_that_nobody_feels_do_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
