/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An index that holds a dirty key whose bucket has a newer gen (format.md §7.1: no data). We leave none behind; damage can. It must not make the
 * dirty data that is there look like less than it is (§8.9, I-20).
 */
#include "tests/unit/core/test_nodes.h"

#define STALE 10u /* its sector */
#define LIVE 20u

static uint64_t leaf_ptr;

static void put_two(struct rig *r)
{
	put(r, STALE, 1);
	put(r, LIVE, 2);
	assert_int_equal(btree_flush_all(r->c), 0);
	put(r, LIVE, 3); /* with this the journal needs the entries before no more */
	assert_int_equal(bcf_flush(r->d), 0);
	assert_int_equal(btree_flush_all(r->c), 0);
	leaf_ptr = node_at(r, 0)->key.k.ptr[0];
}

/* In this set, the pointer of the key of STALE becomes one gen older. False: it has none. */
static bool make_stale_in(struct bset *s)
{
	for (struct bkey *k = bset_first(s); k < bset_end(s); k = bkey_next(k)) {
		uint64_t p = k->ptr[0];

		if (bkey_offset(k) != 16 + STALE + 1) /* data_offset */
			continue;
		assert_true(bkey_dirty(k));
		k->ptr[0] = ptr_make(ptr_dev(p), ptr_sector(p), (uint8_t)(ptr_gen(p) - 1));
		s->csum = bset_csum(s, leaf_ptr);
		return true;
	}
	return false;
}

/* On the disk. Every set of the leaf is one sector long. */
static void make_stale(struct rig *r)
{
	_Alignas(8) char sector[SECTOR_BYTES];
	unsigned i = 0;

	do {
		assert_true(i < NODE_SECTORS);
		blk_sim_peek(r->cache, ptr_sector(leaf_ptr) + i++, sector, 1);
	} while (!make_stale_in((struct bset *)sector));
	blk_sim_poke(r->cache, ptr_sector(leaf_ptr) + i - 1, sector, 1);
	fill_of[STALE] = 0;
}

static void overwrite_stale(struct rig *r)
{
	check_everything(r);
	assert_int_equal(r->d->writeback.dirty_sectors, 1);
	put(r, STALE, 4);
	assert_int_equal(r->d->writeback.dirty_sectors, 2);
	check_everything(r);
}

static void a_stale_dirty_key_that_goes_takes_nothing_off_the_count(void **state)
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, 1, put_two);
	make_stale(&r);
	live(&r, 2, overwrite_stale);
	live(&r, 3, check_everything);
	free_disks(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_stale_dirty_key_that_goes_takes_nothing_off_the_count) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
