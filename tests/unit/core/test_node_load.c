/* SPDX-License-Identifier: GPL-2.0-only */
/* A node that is brought into memory while others change the tree. */
#include "tests/unit/core/test_nodes.h"

static struct bkey_buf wanted; /* pointer to a leaf that is not in memory */
static bool loaded;

static bool find_absent_leaf(struct rig *r)
{
	struct bkeys_iter it;
	const struct bkey *k;

	assert_int_equal(r->c->btree.root->level, 1);
	bkeys_iter_init_all(&it, &r->c->btree.root->keys);
	while ((k = bkeys_iter_next(&it)))
		if (!node_ptr_bad(r->c, k) && !bnode_find(r->c, k->ptr[0])) {
			bkey_copy(&wanted.k, k);
			return true;
		}
	return false;
}

/* A write into each leaf in memory that has nothing to write; a leaf without room is replaced by one that has nothing to write again. */
static FIBER_FN bool dirty_a_leaf(struct rig *r)
{
	struct bnode *n;

	list_for_each(n, &r->c->btree.nodes, lru)
		if (!n->level && !n->dirty) {
			uint64_t last = min(bkey_offset(&n->key.k), r->d->data_offset + DATA_SECTORS) - 1;

			put(r, (unsigned)(last - r->d->data_offset), 2);
			return true;
		}
	return false;
}

/* All leaves in memory hold keys that are not written: who wants another one has to write one of them first. */
static FIBER_FN void fill_memory(struct rig *r)
{
	struct btree *t = &r->c->btree;

	put_all(r, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	t->max_nodes = 1; /* as few as may be */
	while (btree_shrink(r->c, 1))
		;
	while (dirty_a_leaf(r))
		;
	assert_true(find_absent_leaf(r));
}

static struct bpos inside_wanted(void) { return bpos(bkey_inode(&wanted.k), bkey_offset(&wanted.k) - 1); }

static FIBER_FN void load(void *arg)
{
	struct rig *r = arg;
	struct bnode *n;

	assert_int_equal(btree_leaf(r->c, inside_wanted(), &n), 0);
	assert_int_not_equal(n->key.k.ptr[0], wanted.k.ptr[0]);
	loaded = true;
}

static void replace_meanwhile(struct rig *r)
{
	struct fiber *f;

	fill_memory(r);
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .count = 1, .extra_ns = NS_PER_S });
	f = fiber_spawn("loads", load, r);
	fiber_sleep_ns(NS_PER_MS); /* it waits for the slow write */
	assert_int_equal(btree_rewrite(r->c, inside_wanted(), 0, true), 0);
	assert_true(ptr_stale(r->c, wanted.k.ptr[0]));
	assert_false(loaded);
	fiber_join(f);
	assert_null(bnode_find(r->c, wanted.k.ptr[0])); /* its bucket may be somebody else's by now, and 256 reuses later the pointer is valid again */
	check_everything(r);
}

static void a_node_that_is_replaced_before_it_is_read_is_not_read(void **state) { live_once(1, replace_meanwhile); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_is_replaced_before_it_is_read_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
