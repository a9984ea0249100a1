/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/policy.h"
#include "tests/unit/core/unit.h"

#define WT CACHE_MODE_WRITETHROUGH
#define WB CACHE_MODE_WRITEBACK
#define WA CACHE_MODE_WRITEAROUND
#define NONE CACHE_MODE_NONE

static void bypass_early_takes_the_first_matching_reason(void **state)
{
	static const struct {
		const char *name;
		struct bypass_input in;
		enum bypass_reason want;
	} cases[] = {
		{ "plain read", { .mode = WT, .nr_sectors = 8 }, BYPASS_NO },
		{ "plain write", { .mode = WB, .write = true, .nr_sectors = 8 }, BYPASS_NO },
		{ "detaching beats all", { .mode = NONE, .detaching = true, .in_use_percent = 99, .discard = true, .nr_sectors = 1 }, BYPASS_DETACHING },
		{ "95 percent is not full", { .mode = WT, .in_use_percent = 95, .nr_sectors = 8 }, BYPASS_NO },
		{ "96 percent is full", { .mode = WT, .in_use_percent = 96, .discard = true, .nr_sectors = 8 }, BYPASS_CACHE_FULL },
		{ "discard", { .mode = NONE, .discard = true, .write = true, .nr_sectors = 8 }, BYPASS_DISCARD },
		{ "none: read", { .mode = NONE, .nr_sectors = 8 }, BYPASS_MODE },
		{ "none: write", { .mode = NONE, .write = true, .nr_sectors = 8 }, BYPASS_MODE },
		{ "writearound: read", { .mode = WA, .nr_sectors = 8 }, BYPASS_NO },
		{ "writearound: write", { .mode = WA, .write = true, .nr_sectors = 8 }, BYPASS_MODE },
		{ "start off block", { .mode = WT, .start_sector = 4, .nr_sectors = 8 }, BYPASS_UNALIGNED },
		{ "length off block", { .mode = WT, .start_sector = 8, .nr_sectors = 12 }, BYPASS_UNALIGNED },
		{ "aligned", { .mode = WT, .start_sector = 16, .nr_sectors = 24 }, BYPASS_NO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bypass_input in = cases[i].in;

		in.block_sectors = 8;
		check_case(cases[i].name, policy_bypass_early(&in), cases[i].want);
	}
}

static void bypass_late_compares_whole_sectors(void **state)
{
	static const struct {
		const char *name;
		uint64_t cutoff_bytes, congestion_sectors, stream_bytes;
		enum bypass_reason want;
	} cases[] = {
		{ "both off", 0, 0, UINT64_MAX, BYPASS_NO },
		{ "below the cutoff", MIB(4), 0, MIB(4) - 1, BYPASS_NO },
		{ "at the cutoff", MIB(4), 0, MIB(4), BYPASS_SEQUENTIAL },
		{ "cutoff below a sector lets all bypass", 1, 0, 0, BYPASS_SEQUENTIAL },
		{ "511 too", 511, 0, 0, BYPASS_SEQUENTIAL },
		{ "cutoff rounds down to sectors", 1023, 0, 512, BYPASS_SEQUENTIAL },
		{ "congested", MIB(4), 8, 4096, BYPASS_CONGESTED },
		{ "not congested enough", MIB(4), 9, 4096, BYPASS_NO },
		{ "congested without cutoff", 0, 1, 512, BYPASS_CONGESTED },
		{ "sequential is named first", 512, 1, 512, BYPASS_SEQUENTIAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bypass_input in = { .mode = WT, .block_sectors = 1, .sequential_cutoff_bytes = cases[i].cutoff_bytes,
					   .congestion_limit_sectors = (uint32_t)cases[i].congestion_sectors };

		check_case(cases[i].name, policy_bypass_late(&in, cases[i].stream_bytes), cases[i].want);
	}
}

static void should_writeback_follows_the_table(void **state)
{
	static const struct {
		const char *name;
		struct writeback_input in;
		enum writeback_refusal want;
	} cases[] = {
		{ "idle cache", { .mode = WB }, WRITEBACK_ACCEPTED },
		{ "writethrough", { .mode = WT, .sync = true }, REFUSED_MODE },
		{ "writearound", { .mode = WA }, REFUSED_MODE },
		{ "none", { .mode = NONE }, REFUSED_MODE },
		{ "writethrough with dirty stripe", { .mode = WT, .touches_dirty_stripe = true }, REFUSED_MODE },
		{ "detaching", { .mode = WB, .detaching = true, .touches_dirty_stripe = true }, REFUSED_DETACHING },
		{ "at the cutoff", { .mode = WB, .in_use_percent = 40 }, WRITEBACK_ACCEPTED },
		{ "above the cutoff", { .mode = WB, .in_use_percent = 41 }, REFUSED_CUTOFF },
		{ "sync above the cutoff", { .mode = WB, .in_use_percent = 41, .sync = true }, WRITEBACK_ACCEPTED },
		{ "sync at its cutoff", { .mode = WB, .in_use_percent = 70, .sync = true }, WRITEBACK_ACCEPTED },
		{ "sync above its cutoff", { .mode = WB, .in_use_percent = 71, .sync = true }, REFUSED_CUTOFF_SYNC },
		{ "dirty stripe above the sync cutoff", { .mode = WB, .in_use_percent = 71, .touches_dirty_stripe = true }, REFUSED_CUTOFF_SYNC },
		{ "discard", { .mode = WB, .discard = true, .touches_dirty_stripe = true }, REFUSED_DISCARD },
		{ "dirty stripe beats bypass", { .mode = WB, .touches_dirty_stripe = true, .would_bypass = true, .in_use_percent = 70 }, WRITEBACK_ACCEPTED },
		{ "bypass", { .mode = WB, .would_bypass = true, .sync = true }, REFUSED_BYPASS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct writeback_input in = cases[i].in;

		in.cutoff_writeback = 40;
		in.cutoff_writeback_sync = 70;
		check_case(cases[i].name, policy_refuses_writeback(&in), cases[i].want);
		check_case(cases[i].name, policy_should_writeback(&in), cases[i].want == WRITEBACK_ACCEPTED);
	}
}

static void torture_bypasses_a_quarter(void **state)
{
	unsigned nr = 0;

	for (uint64_t random = 1000; random < 2000; random++)
		nr += policy_bypass_torture(random) == BYPASS_TORTURE;
	assert_int_equal(nr, 250);
}

#define US 1024ull		/* the kernel's */
#define MS (1024 * 1024ull)

static void slow_io_congests_and_fast_io_recovers(void **state)
{
	struct congestion g = { .read_threshold_us = 2000, .write_threshold_us = 20000 };

	congestion_note(&g, false, 2000 * US, 1);
	assert_int_equal(g.value, 0);		    /* at the threshold is not above it */
	congestion_note(&g, true, 20000 * US, 1);
	assert_int_equal(g.value, 0);
	congestion_note(&g, false, 10 * MS, 5);
	assert_int_equal(g.value, -10);
	assert_int_equal(g.last_ns, 5);
	congestion_note(&g, true, 10 * MS, 6);	    /* fast enough for a write */
	assert_int_equal(g.value, -9);
	congestion_note(&g, true, 5000 * MS, 7);
	assert_int_equal(g.value, -1024);	    /* bounded */
	congestion_note(&g, false, 5000 * MS, 8);
	assert_int_equal(g.value, -1024);
	g.read_threshold_us = 0;
	congestion_note(&g, false, 5000 * MS, 9);   /* off: not even noted */
	assert_int_equal(g.last_ns, 8);
}

static void congestion_limit_grows_stepwise_exponentially(void **state)
{
	static const struct {
		const char *name;
		int64_t value;
		uint64_t age_ms;
		uint32_t random, want;
	} cases[] = {
		{ "not congested", 0, 0, 0, 0 },
		{ "paid back by time", -10, 10, 0, 0 },
		{ "one left", -10, 9, 0, (127u << 15) >> 6 },
		{ "fully congested", -1024, 0, 0, 1 },
		{ "first octave: 64 -> 2", -1024, 64, 0, 2 },
		{ "second octave: 128 -> 4", -1024, 128, 0, 4 },
		{ "inside an octave: 256 + 32 -> 24", -1024, 288, 0, 24 },
		{ "tenth octave: 640 -> 1024", -1024, 640, 0, 1024 },
		{ "dithered by the bits of random", -1024, 640, 0xffff, 1008 },
		{ "never below one", -1024, 64, UINT32_MAX, 1 },
	};
	struct congestion off = { .value = -1024 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct congestion g = { .value = cases[i].value, .last_ns = 12345, .read_threshold_us = 2000 };

		check_case(cases[i].name, congestion_limit(&g, 12345 + cases[i].age_ms * MS, cases[i].random), cases[i].want);
	}
	assert_int_equal(congestion_limit(&off, 1, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(torture_bypasses_a_quarter),
		cmocka_unit_test(bypass_early_takes_the_first_matching_reason),
		cmocka_unit_test(bypass_late_compares_whole_sectors),
		cmocka_unit_test(should_writeback_follows_the_table),
		cmocka_unit_test(slow_io_congests_and_fast_io_recovers),
		cmocka_unit_test(congestion_limit_grows_stepwise_exponentially),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
