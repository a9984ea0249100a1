/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A power cut that tears the last append of every leaf (R5.1, I-23). We never have more than BTREE_WRITE_POOL node writes in flight, but the kernel
 * has no such bound, and what it leaves is started here, too.
 */
#define DATA_SECTORS 16384u
#include "tests/unit/core/test_nodes.h"

static unsigned nr_torn;

/* The last sector of its last append did not reach the disk. */
static void tear_last_append(struct rig *r, const struct bnode *n)
{
	static const char zeros[SECTOR_BYTES];
	char image[NODE_SECTORS * SECTOR_BYTES];
	struct node_view view = { .image = image, .node_bytes = sizeof(image), .block_bytes = SECTOR_BYTES, .set_magic = r->c->set_magic,
				  .key = &n->key.k };
	uint64_t first = ptr_sector(n->key.k.ptr[0]);
	struct node_extent extent;

	blk_sim_peek(r->cache, first, image, NODE_SECTORS);
	memset(image + (n->written_blocks - 1) * SECTOR_BYTES, 0, SECTOR_BYTES);
	if (node_validate(&view, true, &extent, NULL) < 0 || !extent.torn_tail)
		return; /* a single set, or one that had only this sector */
	blk_sim_poke(r->cache, first + n->written_blocks - 1, zeros, 1);
	nr_torn++;
}

/* Fills are not journalled: replay touches none of the leaves. */
static void append_fills_and_tear(struct rig *r)
{
	struct bnode *n;

	for (unsigned i = 0; i < DATA_SECTORS / 2; i++)
		put(r, i * 1021 % (DATA_SECTORS / 2) * 2, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	for (unsigned s = 1; s < DATA_SECTORS; s += 4)
		assert_int_equal(rig_read(r, s, 1), 0);
	rig_settle();
	assert_int_equal(btree_flush_all(r->c), 0);
	list_for_each(n, &r->c->btree.nodes, lru)
		if (!n->level)
			tear_last_append(r, n);
}

static void check_repaired(struct rig *r)
{
	assert_int_equal(r->c->btree.nr_torn, 0);
	check_everything(r);
}

static void i23_any_number_of_torn_appends_is_repaired(void **state)
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, 1, append_fills_and_tear);
	assert_true(nr_torn > 64);
	live(&r, 2, check_repaired);
	live(&r, 3, check_repaired);
	free_disks(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(i23_any_number_of_torn_appends_is_repaired) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
