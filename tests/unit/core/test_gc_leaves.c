/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * R7.2: when a gc ends, every leaf that it passed is on the disk as gc saw it, also those whose write had begun before. What is there instead may
 * name buckets that are free to be used again and again from now on, and in the end their gens would wrap.
 */
#include "core/engine/fiber.h"
#include "tests/unit/core/test_nodes.h"
#include "tests/unit/core/unit.h"

#define SLOW_S 100

struct run {
	struct rig *r;
	int result;
	bool done;
};

static void collect(void *arg)
{
	struct run *run = arg;

	run->result = gc_run(run->r->c);
	run->done = true;
}

static FIBER_FN void slow_write(struct rig *r, struct bnode *n)
{
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .sector = ptr_sector(n->key.k.ptr[0]),
							     .nr_sectors = NODE_SECTORS, .extra_ns = SLOW_S * NS_PER_S });
	bnode_write_start(n);
	blk_sim_clear_faults(r->cache);
}

static void collect_during_a_write(struct rig *r)
{
	struct run run = { .r = r };
	struct fiber *f;
	struct bnode *n;

	put(r, 100, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	put(r, 100, 2);
	n = node_at(r, 0);
	bnode_get(n);
	slow_write(r, n);
	assert_true(n->writing && !n->dirty);
	f = fiber_spawn("gc_run", collect, &run);
	fiber_sleep_ns(SLOW_S * NS_PER_S / 2);
	assert_true(n->writing);
	assert_false(run.done);
	fiber_join(f);
	assert_int_equal(run.result, 0);
	assert_false(n->writing);
	bnode_put(n);
}

static void r7_2_gc_waits_for_leaves_that_are_being_written(void **state) { live_twice(1, collect_during_a_write); }

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(r7_2_gc_waits_for_leaves_that_are_being_written) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
