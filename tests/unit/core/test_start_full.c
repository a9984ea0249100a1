/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A start of a full cache whose journal reaches back so far that every free bucket was in use when its oldest entry was written: the entries
 * name them all, with pointers that are stale since.
 */
#define CACHE_BUCKETS 1024u
#define DATA_SECTORS (CACHE_BUCKETS * 8)
#include "tests/unit/core/test_nodes.h"
#include "tests/unit/core/unit.h"

#define BUCKETS_LEFT 100u /* to be used again and again; the others hold dirty data */

static unsigned nr_used_again;
static bool named[CACHE_BUCKETS]; /* in the entries that will be replayed */

static FIBER_FN void put_bucket(struct rig *r, unsigned sector, unsigned fill)
{
	assert_int_equal(rig_write(r, sector, NODE_SECTORS, (char)fill), NODE_SECTORS);
	for (unsigned i = 0; i < NODE_SECTORS; i++)
		fill_of[sector + i] = fill;
}

static uint32_t nr_available(const struct rig *r)
{
	uint32_t n = 0;

	for (uint64_t b = r->c->g.first_bucket; b < r->c->g.nr_buckets; b++)
		n += r->c->alloc.buckets[b].mark != MARK_DIRTY && r->c->alloc.buckets[b].mark != MARK_METADATA;
	return n;
}

static FIBER_FN void fill_with_dirty_data(struct rig *r)
{
	for (unsigned at = 8; nr_available(r) > BUCKETS_LEFT; at++)
		put_bucket(r, at * NODE_SECTORS, 1 + at % 100);
}

static bool note_key(void *ctx, const struct bkey *k)
{
	struct rig *r = ctx;

	named[geometry_bucket(&r->c->g, ptr_sector(k->ptr[0]))] = true;
	return false;
}

static FIBER_FN void note_bucket(struct rig *r, unsigned sector)
{
	uint64_t at = r->d->data_offset + sector;

	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, at, at + 1, note_key, r), 0);
}

/* Clean data: what it overwrites is free to be taken. */
static FIBER_FN void use_one(struct rig *r)
{
	struct bucket_fifo *f = &r->c->alloc.free[RESERVE_NONE];

	while (!f->nr)
		fiber_sleep_ns(NS_PER_MS);
	alloc_recount(r->c); /* there is no gc to do it */
	put_bucket(r, nr_used_again % 8 * NODE_SECTORS, 1 + nr_used_again % 100);
	note_bucket(r, nr_used_again % 8 * NODE_SECTORS);
	nr_used_again++;
}

/* As if nodes had come and gone: what the reserve holds now has been data before. */
static FIBER_FN void use_reserve(struct rig *r, enum reserve reserve)
{
	struct bucket_fifo *f = &r->c->alloc.free[reserve], *common = &r->c->alloc.free[RESERVE_NONE];

	for (uint32_t i = 0; i < f->nr; i++) {
		uint32_t *slot = &f->slots[(f->head + i) % f->cap], *next, b = *slot;

		while (!common->nr)
			fiber_sleep_ns(NS_PER_MS);
		next = &common->slots[common->head];
		*slot = *next;
		*next = b;
		use_one(r);
	}
}

static void expect_all_named(const struct cset *c)
{
	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++)
		assert_true(named[b] || c->alloc.buckets[b].mark == MARK_DIRTY || c->alloc.buckets[b].mark == MARK_METADATA);
}

static void use_all_again(struct rig *r)
{
	struct cset *c = r->c;

	gc_stop(c);
	fill_with_dirty_data(r);
	assert_int_equal(btree_flush_all(c), 0);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITETHROUGH), 0);
	put_bucket(r, DATA_SECTORS - NODE_SECTORS, 77); /* its leaf stays as it is, and holds this entry and all that follow */
	for (unsigned i = 0; i < 2 * BUCKETS_LEFT; i++)
		use_one(r);
	use_reserve(r, RESERVE_BTREE);
	use_reserve(r, RESERVE_PRIO);
	use_reserve(r, RESERVE_MOVINGGC);
	for (unsigned i = 0; i < BUCKETS_LEFT; i++)
		use_one(r);
	assert_int_equal(bcf_flush(r->d), 0);
	expect_all_named(c);
	ignore_result(cset_error(c, "power cut")); /* nothing more is written */
}

static void gets_buckets(struct rig *r)
{
	rig_settle();
	assert_true(r->c->alloc.free[RESERVE_NONE].nr);
	check_everything(r);
}

static void a_full_cache_starts_although_all_its_free_buckets_are_in_the_journal(void **state)
{
	struct rig r = { 0 };

	new_disks(&r);
	live(&r, 1, use_all_again);
	live(&r, 2, gets_buckets);
	free_disks(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_cache_starts_although_all_its_free_buckets_are_in_the_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
