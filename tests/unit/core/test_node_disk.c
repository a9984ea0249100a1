/* SPDX-License-Identifier: GPL-2.0-only */
/* Nodes on the disk and back: torn appends (R5.1, I-23, W-11), internal/verify (§10.2), which nodes stay in memory (§5.2). */
#include "tests/unit/core/test_nodes.h"

/* --- torn appends -------------------------------------------------------------------------------------------------------- */

static struct {
	uint64_t sector;
	uint32_t nr_sectors;
	char before[NODE_SECTORS * SECTOR_BYTES], after[NODE_SECTORS * SECTOR_BYTES];
	struct blk_sim *cache, *backing; /* as at the moment of the crash */
	unsigned fill_of[DATA_SECTORS];
} tear;

/* Write what the leaf has to append, and remember the disks before and after. */
static FIBER_FN void append_and_remember(struct rig *r)
{
	struct bnode *n = node_at(r, 0);
	uint32_t from = n->written_blocks;

	blk_sim_peek(r->cache, ptr_sector(n->key.k.ptr[0]), tear.before, NODE_SECTORS);
	assert_int_equal(btree_flush_all(r->c), 0);
	blk_sim_peek(r->cache, ptr_sector(n->key.k.ptr[0]), tear.after, NODE_SECTORS);
	tear.sector = ptr_sector(n->key.k.ptr[0]) + from;
	tear.nr_sectors = n->written_blocks - from;
	blk_sim_sync(r->cache);
	blk_sim_sync(r->backing);
	tear.cache = blk_sim_clone(r->cache, NULL);
	tear.backing = blk_sim_clone(r->backing, NULL);
	memcpy(tear.fill_of, fill_of, sizeof(fill_of));
}

/* The leaf gets an append of several sectors, whose keys the journal still has: the newest entry was written before. */
static void append_and_crash(struct rig *r)
{
	for (unsigned i = 0; i < 6; i++)
		put(r, 2 * i, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	for (unsigned i = 0; i < 50; i++)
		put(r, 100 + 2 * i, 2);
	assert_int_equal(bcf_flush(r->d), 0);
	append_and_remember(r);
}

/* The same with fills, which are not journalled; and what replay does insert goes to another leaf. */
static void append_fills_and_crash(struct rig *r)
{
	for (unsigned s = 0; s < DATA_SECTORS; s += 16)
		put(r, s, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	put(r, DATA_SECTORS - 16, 2);
	assert_int_equal(bcf_flush(r->d), 0);
	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(rig_read(r, 101 + 2 * i, 1), 0);
	rig_settle();
	append_and_remember(r);
}

static bool torn_seen;

static void check_repaired(struct rig *r)
{
	torn_seen = r->c->btree.nr_rewrites > 0;
	assert_int_equal(r->c->btree.nr_torn, 0);
	check_everything(r);
	put_all(r, 3);
	check_everything(r);
}

/* kept: bit i is set: the i-th sector of the append reached the disk. */
static void start_after_tear(unsigned kept)
{
	struct rig r = { .cache = blk_sim_clone(tear.cache, NULL), .backing = blk_sim_clone(tear.backing, NULL) };
	uint64_t first = tear.sector % NODE_SECTORS;

	the_rig = &r;
	memcpy(fill_of, tear.fill_of, sizeof(fill_of));
	for (uint32_t i = 0; i < tear.nr_sectors; i++)
		blk_sim_poke(r.cache, tear.sector + i, (kept & (1u << i) ? tear.after : tear.before) + (first + i) * SECTOR_BYTES, 1);
	live(&r, 100 + kept, check_repaired);
	/* Whatever was torn does not stay: the next start finds nothing of it. */
	live(&r, 200 + kept, check_everything);
	free_disks(&r);
}

static void tear_in_any_way(void (*append)(struct rig *r))
{
	unsigned torn = 0, ways;

	live_once(1, append);
	assert_in_range(tear.nr_sectors, 2, NODE_SECTORS - 1);
	ways = 1u << tear.nr_sectors;
	for (unsigned kept = 0; kept < ways; kept++) {
		start_after_tear(kept);
		torn += torn_seen;
	}
	assert_true(torn > 0);
	blk_sim_free(tear.cache);
	blk_sim_free(tear.backing);
}

static void i23_an_append_torn_in_any_way_loses_nothing_and_is_gone_after_the_start(void **state) { tear_in_any_way(append_and_crash); }
static void i23_a_torn_append_that_replay_does_not_touch_is_gone_after_the_start(void **state) { tear_in_any_way(append_fills_and_crash); }

/* --- the same sight while the set runs ----------------------------------------------------------------------------------- */

static FIBER_FN struct bnode *leaf_at(struct rig *r, uint64_t sector)
{
	struct bnode *n;

	assert_int_equal(btree_leaf(r->c, bpos(r->d->inode, sector), &n), 0);
	return n;
}

static void evict(struct rig *r, struct bnode *n)
{
	uint64_t ptr = n->key.k.ptr[0];

	list_del(&n->lru);
	list_add(&r->c->btree.nodes, &n->lru);
	n->accessed = false;
	assert_int_equal(btree_shrink(r->c, 1), 1);
	assert_null(bnode_find(r->c, ptr));
}

static void tear_while_running(struct rig *r)
{
	char zeros[SECTOR_BYTES] = { 0 };
	uint64_t sector = 0;
	struct bnode *n;

	put_all(r, 4);
	assert_int_equal(btree_flush_all(r->c), 0);
	for (; sector + 60 < DATA_SECTORS; sector += 20) { /* a leaf with an append */
		uint32_t before = leaf_at(r, sector + 16)->written_blocks;

		for (unsigned i = 0; i < 60; i += 2)
			put(r, (unsigned)sector + i, 5);
		assert_int_equal(btree_flush_all(r->c), 0);
		n = leaf_at(r, sector + 16);
		if (before > 1 && n->written_blocks > before + 1)
			break;
	}
	assert_true(sector + 60 < DATA_SECTORS);
	/* All but the last sector of its last set are whole: without its checksum it looks like a torn one. */
	blk_sim_poke(r->cache, ptr_sector(n->key.k.ptr[0]) + n->written_blocks - 1, zeros, 1);
	evict(r, n);
	cset_hold(r->c);
	assert_true(rig_read(r, sector, 1) < 0);
	assert_true(r->c->io_disable);
	cset_release(r->c);
}

static void the_same_damage_is_fatal_while_the_set_runs(void **state) { live_once(3, tear_while_running); }

/* --- verify -------------------------------------------------------------------------------------------------------------- */

static FIBER_FN struct bnode *written_leaf(struct rig *r)
{
	struct bnode *n;

	for (unsigned i = 0; i < 6; i++)
		put(r, 2 * i, 1);
	assert_int_equal(btree_flush_all(r->c), 0);
	put(r, 20, 2);
	assert_int_equal(btree_flush_all(r->c), 0);
	n = node_at(r, 0);
	bnode_get(n);
	return n;
}

static void verify_at_work(struct rig *r)
{
	r->c->verify_nodes = true;
	put_all(r, 6);
	assert_int_equal(btree_flush_all(r->c), 0);
	for (unsigned i = 0; i < 300; i++) /* cuts in written sets, holes, all that makes memory and log differ */
		put(r, i * 577 % DATA_SECTORS, 7);
	assert_int_equal(bcf_zero(r->d, 100 * SECTOR_BYTES, 300 * SECTOR_BYTES), 0);
	memset(fill_of + 100, 0, 300 * sizeof(fill_of[0]));
	assert_int_equal(btree_flush_all(r->c), 0);
	fiber_sleep_ns(NS_PER_S);
	assert_false(r->c->io_disable);
	assert_true(r->c->btree.nr_verified > 100);
	assert_true(list_empty(&r->c->btree.to_verify));
}

static void every_written_node_is_read_back_while_verify_is_on(void **state) { live_twice(5, verify_at_work); }

/* Damage the last set of the leaf by hand and verify it. */
static FIBER_FN void expect_difference(struct rig *r, void (*damage)(struct bset *s, const struct bnode *n), const char *text)
{
	struct bnode *n = written_leaf(r);
	char set[SECTOR_BYTES];
	uint64_t at = ptr_sector(n->key.k.ptr[0]) + n->written_blocks - 1;

	bnode_verify(n);
	assert_false(r->c->io_disable);
	blk_sim_peek(r->cache, at, set, 1);
	damage((struct bset *)set, n);
	blk_sim_poke(r->cache, at, set, 1);
	cset_hold(r->c);
	bnode_verify(n);
	assert_true(r->c->io_disable);
	if (!strstr(r->c->error, text))
		fail_msg("'%s' in place of '%s'", r->c->error, text);
	bnode_put(n);
	cset_release(r->c);
}

static void other_key(struct bset *s, const struct bnode *n)
{
	bkey_set_offset(bset_first(s), bkey_offset(bset_first(s)) + 1);
	s->csum = bset_csum(s, n->key.k.ptr[0]);
}
static void bad_checksum(struct bset *s, const struct bnode *n) { s->csum++; }
static void no_set(struct bset *s, const struct bnode *n) { memset(s, 0, SECTOR_BYTES); }
static void impossible_key(struct bset *s, const struct bnode *n)
{
	bkey_set_size(bset_first(s), BKEY_SIZE_MAX);
	s->csum = bset_csum(s, n->key.k.ptr[0]);
}

static void verify_other_key(struct rig *r) { expect_difference(r, other_key, "not what is in memory"); }
static void verify_bad_checksum(struct rig *r) { expect_difference(r, bad_checksum, "checksum"); }
static void verify_no_set(struct rig *r) { expect_difference(r, no_set, "not as many sets"); }
static void verify_impossible_key(struct rig *r) { expect_difference(r, impossible_key, "before sector 0"); }

static void what_differs_from_memory_fails_the_set(void **state)
{
	live_once(7, verify_other_key);
	live_once(8, verify_bad_checksum);
	live_once(9, verify_no_set);
	live_once(10, verify_impossible_key);
}

/* --- the node cache ------------------------------------------------------------------------------------------------------ */

static size_t reserve(const struct rig *r) { return BTREE_RESERVE_NODES + 8u * r->c->btree.root->level; }

static void prune(struct rig *r)
{
	struct bnode *root, *first, *second;
	size_t before;

	put_all(r, 8);
	assert_int_equal(btree_flush_all(r->c), 0);
	root = r->c->btree.root;
	before = r->c->btree.nr_nodes;
	assert_true(before > reserve(r) + 10);
	/* The clock's hand stands before these two. */
	first = leaf_at(r, 0);
	second = leaf_at(r, DATA_SECTORS / 2);
	list_del(&second->lru);
	list_add(&r->c->btree.nodes, &second->lru);
	list_del(&first->lru);
	list_add(&r->c->btree.nodes, &first->lru);
	first->accessed = true;
	second->accessed = false;
	uint64_t gone = second->key.k.ptr[0];
	assert_int_equal(btree_shrink(r->c, 1), 1);
	assert_null(bnode_find(r->c, gone)); /* not used since the last round */
	assert_false(first->accessed);	      /* its second chance is used up */
	assert_int_equal(r->c->btree.nr_nodes, before - 1);
	/* Dirty, referenced and root nodes stay, and so does the reserve. */
	put(r, 0, 9);
	first = leaf_at(r, 0);
	assert_true(first->dirty);
	second = leaf_at(r, DATA_SECTORS - 1);
	bnode_get(second);
	assert_true(btree_shrink(r->c, UINT32_MAX) > 0);
	assert_int_equal(r->c->btree.nr_nodes, reserve(r));
	assert_ptr_equal(bnode_find(r->c, first->key.k.ptr[0]), first);
	assert_ptr_equal(bnode_find(r->c, second->key.k.ptr[0]), second);
	assert_ptr_equal(r->c->btree.root, root);
	bnode_put(second);
	assert_int_equal(btree_shrink(r->c, UINT32_MAX), 0);
	check_everything(r);
}

static void eviction_gives_a_second_chance_and_spares_what_is_needed(void **state) { live_once(11, prune); }

static void change_limit(struct rig *r)
{
	uint64_t node_bytes = NODE_SECTORS * SECTOR_BYTES;
	size_t all;

	put_all(r, 10);
	assert_int_equal(btree_flush_all(r->c), 0);
	all = r->c->btree.nr_nodes;
	assert_int_equal(btree_set_cache_max(r->c, (reserve(r) + 5) * node_bytes), 0);
	assert_int_equal(r->c->btree.nr_nodes, reserve(r) + 5);
	assert_int_equal(btree_cache_max_bytes(r->c), (reserve(r) + 5) * node_bytes);
	check_everything(r); /* all nodes come by, hash and all */
	assert_in_range(r->c->btree.nr_nodes, reserve(r), reserve(r) + 6);
	r->c->shrinker_disabled = true;
	check_everything(r);
	assert_in_range(r->c->btree.nr_nodes, all - 5, all + 5);
	assert_int_equal(btree_set_cache_max(r->c, 1), 0);
	assert_in_range(r->c->btree.nr_nodes, all - 5, all + 5);
	r->c->shrinker_disabled = false;
	assert_int_equal(btree_set_cache_max(r->c, 1), 0);
	assert_int_equal(r->c->btree.nr_nodes, reserve(r)); /* the reserve of a descent is not for sale */
	put_all(r, 11);	 /* everything dirty, sooner or later: written to make room */
	check_everything(r);
	assert_in_range(r->c->btree.nr_nodes, reserve(r), reserve(r) + 8);
	assert_int_equal(btree_set_cache_max(r->c, 0), 0);
	assert_int_equal(btree_cache_max_bytes(r->c), MIB(128));
}

static void the_limit_of_the_node_cache_follows_at_run_time(void **state) { live_twice(13, change_limit); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i23_an_append_torn_in_any_way_loses_nothing_and_is_gone_after_the_start),
		cmocka_unit_test(i23_a_torn_append_that_replay_does_not_touch_is_gone_after_the_start),
		cmocka_unit_test(the_same_damage_is_fatal_while_the_set_runs),
		cmocka_unit_test(every_written_node_is_read_back_while_verify_is_on),
		cmocka_unit_test(what_differs_from_memory_fails_the_set),
		cmocka_unit_test(eviction_gives_a_second_chance_and_spares_what_is_needed),
		cmocka_unit_test(the_limit_of_the_node_cache_follows_at_run_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
