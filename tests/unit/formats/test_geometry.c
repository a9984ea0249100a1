/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/prio.h"
#include "tests/unit/formats/helpers.h"

/* format.md §1: the rows marked [V] there. */
static void sizes_follow_from_the_bucket_as_in_the_kernel(void **state)
{
	const struct {
		uint64_t bucket_bytes;
		uint32_t meta_bytes, node_sectors;
	} v[] = {
		{ KIB(4), 4096, 8 },
		{ KIB(8), 8192, 16 },
		{ KIB(16), 16384, 32 },
		{ KIB(256), 262144, 512 },
		{ KIB(512), 524288, 512 },
		{ MIB(1), 1048576, 512 },
		{ MIB(2), 2097152, 1024 },
		{ MIB(4), 4194304, 2048 },
		{ MIB(16), 4194304, 2048 },
		{ MIB(64), 4194304, 2048 },
		{ GIB(1024), 4194304, 2048 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		uint32_t bucket_sectors = (uint32_t)(v[i].bucket_bytes / 512);
		struct geometry g;

		geometry_init(&g, 8, bucket_sectors, 100000, 1);
		assert_int_equal(g.meta_bytes, v[i].meta_bytes);
		assert_int_equal(g.node_sectors, v[i].node_sectors);
		assert_int_equal(g.nr_uuids, v[i].meta_bytes / 128);
		assert_int_equal(g.prios_per_bucket, (v[i].meta_bytes - 40) / 3);
		assert_int_equal(1u << g.bucket_shift, bucket_sectors);
		assert_int_equal(geometry_block_bytes(&g), 4096);
		assert_int_equal(g.nr_buckets, 100000);
		assert_int_equal(g.first_bucket, 1);
	}
}

static void the_prio_chain_has_a_record_for_every_bucket(void **state)
{
	struct geometry g;

	geometry_init(&g, 1, 8, 1352, 3);
	assert_int_equal(g.prios_per_bucket, 1352);
	assert_int_equal(g.nr_prio_buckets, 1);
	geometry_init(&g, 1, 8, 1353, 3);
	assert_int_equal(g.nr_prio_buckets, 2);
	/* The largest cache that pointers can name. */
	geometry_init(&g, 1, 8, 1ull << 40, 3);
	assert_true((uint64_t)g.nr_prio_buckets * 1352 >= 1ull << 40);
}

static void bucket_and_sector_convert_into_each_other(void **state)
{
	struct geometry g;

	geometry_init(&g, 1, 1024, 1ull << 33, 1);
	for (int i = 0; i < 1000; i++) {
		uint64_t sector = rnd_below(1ull << 43);

		assert_true(geometry_sector(&g, geometry_bucket(&g, sector)) + geometry_in_bucket(&g, sector) == sector);
		assert_true(geometry_bucket(&g, sector) == sector / 1024);
	}
}

static void a_range_lies_in_one_usable_bucket(void **state)
{
	struct geometry g = example_geometry();

	assert_true(geometry_range_valid(&g, 24, 8));
	assert_true(geometry_range_valid(&g, 31, 1));
	assert_true(geometry_range_valid(&g, 1023 * 8, 8));
	assert_true(geometry_range_valid(&g, 24, 0));
	assert_false(geometry_range_valid(&g, 24, 9));
	assert_false(geometry_range_valid(&g, 25, 8));
	assert_false(geometry_range_valid(&g, 31, 2));
	assert_false(geometry_range_valid(&g, 23, 1));
	assert_false(geometry_range_valid(&g, 0, 1));
	assert_false(geometry_range_valid(&g, 1024 * 8, 1));
	assert_false(geometry_range_valid(&g, UINT64_MAX, 1));
	assert_false(geometry_range_valid(&g, 24, UINT64_MAX));
	assert_false(geometry_range_valid(&g, UINT64_MAX, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_follow_from_the_bucket_as_in_the_kernel),
		cmocka_unit_test(the_prio_chain_has_a_record_for_every_bucket),
		cmocka_unit_test(bucket_and_sector_convert_into_each_other),
		cmocka_unit_test(a_range_lies_in_one_usable_bucket),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
