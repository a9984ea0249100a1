/* SPDX-License-Identifier: GPL-2.0-only */
/* Sparse neighbours in the index become fewer nodes (behaviour.md §7.4). */
#define RIG_CACHE_SECTORS (3000u * 128)
#include "core/admin/log.h"
#include "core/btree/btree.h"
#include "core/space/gc.h"
#include "tests/unit/core/test_core_rig.h"
#include "tests/unit/core/unit.h"

#define PAGES (RIG_DATA_SECTORS / PAGE_SECTORS)

static int count_leaf(void *ctx, struct bnode *n)
{
	*(unsigned *)ctx += !n->level;
	return 0;
}

static unsigned nr_leaves(struct rig *r)
{
	unsigned n = 0;

	assert_int_equal(btree_for_each_node(r->c, count_leaf, &n), 0);
	return n;
}

/* One key per page that cannot merge with its neighbour: every second page, in random order, then the others. */
static void fill(struct rig *r)
{
	for (unsigned odd = 0; odd < 2; odd++)
		for (unsigned i = 0; i < PAGES / 2; i++) {
			uint64_t page = 2 * ((i * 37u) % (PAGES / 2)) + odd;

			assert_int_equal(rig_write(r, page * PAGE_SECTORS, PAGE_SECTORS, (char)(page % 100 + 1)), PAGE_SECTORS);
		}
}

static void expect(struct rig *r, uint64_t page, bool there)
{
	assert_int_equal(rig_read(r, page * PAGE_SECTORS, PAGE_SECTORS), there ? (int)(page % 100 + 1) : 0);
}

/* Leaves of one page hold some 150 keys; with 15 of 16 gone they fit into a few. */
static void thin_out_and_collect(struct rig *r)
{
	unsigned before, after;

	fill(r);
	before = nr_leaves(r);
	assert_true(before >= 6);
	for (uint64_t page = 0; page < PAGES; page += 16)
		assert_int_equal(bcf_zero(r->d, (page + 1) * PAGE_BYTES, 15 * PAGE_BYTES), 0);
	assert_int_equal(btree_flush_all(r->c), 0);
	for (unsigned run = 0; run < 3; run++)
		assert_int_equal(gc_run(r->c), 0);
	after = nr_leaves(r);
	assert_true(r->c->btree.nr_coalesced > 0);
	assert_true(after * 2 <= before);
	rig_check(r);
	for (uint64_t page = 0; page < PAGES; page++)
		expect(r, page, page % 16 == 0);
	fill(r); /* and what is left can be written to again */
	rig_check(r);
	for (uint64_t page = 0; page < PAGES; page += 7)
		expect(r, page, true);
}

static void sparse_neighbours_are_merged_and_nothing_else_changes(void **state)
{
	rig_run_buckets(1, CACHE_MODE_WRITEBACK, thin_out_and_collect, 8);
}

/* Nodes that are as full as coalescing would make them stay as they are. */
static void full_and_collect(struct rig *r)
{
	unsigned before;

	fill(r);
	before = nr_leaves(r);
	assert_int_equal(gc_run(r->c), 0);
	assert_true(nr_leaves(r) * 3 >= before * 2);
	rig_check(r);
	for (uint64_t page = 0; page < PAGES; page++)
		expect(r, page, true);
}

static void full_neighbours_stay_apart(void **state)
{
	rig_run_buckets(2, CACHE_MODE_WRITEBACK, full_and_collect, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sparse_neighbours_are_merged_and_nothing_else_changes),
		cmocka_unit_test(full_neighbours_stay_apart),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
