/* SPDX-License-Identifier: GPL-2.0-only */
/* Moving gc: what is in nearly empty buckets ends up in fewer, and nothing that happens meanwhile is lost (behaviour.md §7.7, I-16, W-21). */
#define RIG_CACHE_SECTORS (4100u * 128) /* enough for a reserve of 8 */
#include "core/admin/log.h"
#include "tests/unit/core/test_core_rig.h"

#define BUCKET 32u /* sectors */
#define PAGES (RIG_DATA_SECTORS / PAGE_SECTORS)
#define KEEP_ONE_IN 4

static unsigned nr_marked(struct rig *r, enum bucket_mark mark)
{
	unsigned n = 0;

	for (uint64_t b = r->c->g.first_bucket; b < r->c->g.nr_buckets; b++)
		n += cset_bucket(r->c, b)->mark == (uint8_t)mark;
	return n;
}

static void check(struct rig *r)
{
	rig_check(r);
	assert_false(r->c->io_disable);
}

/* The first page of each bucket's four stays; the others go. */
static FIBER_FN void make_sparse(struct rig *r)
{
	r->c->cutoff_writeback = r->c->cutoff_writeback_sync = 100;
	r->c->io_error_limit = UINT32_MAX;
	r->d->sequential_cutoff_bytes = 0;
	for (unsigned page = 0; page < PAGES; page++)
		assert_int_equal(rig_write(r, page * PAGE_SECTORS, PAGE_SECTORS, (char)(page % 100 + 1)), PAGE_SECTORS);
	for (unsigned page = 0; page < PAGES; page += KEEP_ONE_IN)
		assert_int_equal(bcf_zero(r->d, (page + 1) * PAGE_BYTES, (KEEP_ONE_IN - 1) * PAGE_BYTES), 0);
}

static FIBER_FN void expect_sparse(struct rig *r)
{
	for (unsigned page = 0; page < PAGES; page++)
		assert_int_equal(rig_read(r, page * PAGE_SECTORS, PAGE_SECTORS), page % KEEP_ONE_IN ? 0 : (int)(page % 100 + 1));
	check(r);
}

/* A gc, and the pass behind it. */
static FIBER_FN void collect(struct rig *r)
{
	assert_int_equal(gc_run(r->c), 0);
	while (r->c->moving.running || r->c->moving.gc_seen != r->c->gc.runs_finished)
		fiber_sleep_ns(NS_PER_MS);
}

/* --- what it is for ------------------------------------------------------------------------------------------------------ */

static void body_compacts(struct rig *r)
{
	unsigned before, after;
	uint64_t avail;

	make_sparse(r);
	collect(r);
	assert_int_equal(r->c->moving.nr_passes, 0); /* off, and no volumes */
	before = nr_marked(r, MARK_DIRTY);
	avail = r->c->alloc.avail_buckets;
	assert_true(before >= PAGES / KEEP_ONE_IN);
	r->c->copy_gc_enabled = true;
	for (unsigned i = 0; i < 20; i++)
		collect(r);
	r->c->copy_gc_enabled = false;
	collect(r);
	after = nr_marked(r, MARK_DIRTY);
	assert_true(after <= before / KEEP_ONE_IN + 16);
	assert_true(r->c->alloc.avail_buckets >= avail + (before - after) * 9 / 10);
	assert_true(r->c->moving.nr_keys >= PAGES / KEEP_ONE_IN * 9 / 10);
	assert_int_equal(r->c->moving.nr_failed, 0);
	assert_int_equal(r->d->writeback.dirty_sectors, PAGES / KEEP_ONE_IN * PAGE_SECTORS); /* dirty keys stayed dirty */
	expect_sparse(r);
	assert_int_equal(writeback_flush(r->d), 0);
	for (unsigned page = 0; page < PAGES; page += KEEP_ONE_IN)
		assert_int_equal(rig_backing(r, page * PAGE_SECTORS, PAGE_SECTORS, true), page % 100 + 1);
}

/* What cannot become fewer buckets is left alone, however often gc runs. */
static void body_comes_to_rest(struct rig *r)
{
	uint64_t sectors;

	make_sparse(r);
	r->c->copy_gc_enabled = true;
	for (unsigned i = 0; i < 40; i++)
		collect(r);
	sectors = r->c->moving.nr_sectors;
	for (unsigned i = 0; i < 10; i++)
		collect(r);
	assert_int_equal(r->c->moving.nr_sectors, sectors);
}

/* A set with a volume: dirty data moves without being asked, clean data stays where it is. */
static void body_volumes(struct rig *r)
{
	unsigned clean;

	make_sparse(r);
	assert_int_equal(writeback_flush(r->d), 0);
	for (unsigned page = 1; page < PAGES; page += 2 * KEEP_ONE_IN)
		assert_int_equal(rig_write(r, page * PAGE_SECTORS, PAGE_SECTORS, (char)(page % 100 + 1)), PAGE_SECTORS);
	for (unsigned page = 1; page < PAGES; page += 4 * KEEP_ONE_IN)
		assert_int_equal(bcf_zero(r->d, page * PAGE_BYTES, PAGE_BYTES), 0);
	collect(r);
	clean = nr_marked(r, MARK_RECLAIMABLE);
	r->c->uuids[5].flags |= 1; /* flash-only; nobody writes the table */
	memset(r->c->uuids[5].uuid, 7, 16);
	assert_int_equal(uuid_entry_state(&r->c->uuids[5]), UUID_SLOT_FLASH);
	for (unsigned i = 0; i < 6; i++)
		collect(r);
	memset(&r->c->uuids[5], 0, sizeof(r->c->uuids[5]));
	assert_true(r->c->moving.nr_keys > 0);
	assert_true(r->c->moving.nr_keys <= PAGES / KEEP_ONE_IN);
	assert_int_equal(nr_marked(r, MARK_RECLAIMABLE) / 8, clean / 8);
	check(r);
}

/* --- what gets in its way ------------------------------------------------------------------------------------------------ */

/* A pass has chosen its buckets, and its reads take a second. */
static FIBER_FN void begin_slow_pass(struct rig *r)
{
	make_sparse(r);
	r->c->copy_gc_enabled = true;
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_READ), .extra_ns = NS_PER_S });
	assert_int_equal(gc_run(r->c), 0);
	while (!r->c->moving.nr_buckets)
		fiber_sleep_ns(NS_PER_MS / 10);
}

/* Each move's read takes long enough for everything to be overwritten. */
static void body_overwritten(struct rig *r)
{
	begin_slow_pass(r);
	for (unsigned page = 0; page < PAGES; page += 2 * KEEP_ONE_IN)
		assert_int_equal(rig_write(r, page * PAGE_SECTORS, PAGE_SECTORS, 'n'), PAGE_SECTORS);
	while (r->c->moving.running)
		fiber_sleep_ns(NS_PER_MS);
	blk_sim_clear_faults(r->cache);
	assert_true(r->c->moving.nr_failed > 0);
	assert_true(r->c->moving.nr_keys > 0);
	for (unsigned page = 0; page < PAGES; page += 2 * KEEP_ONE_IN)
		assert_int_equal(rig_read(r, page * PAGE_SECTORS, PAGE_SECTORS), 'n');
	for (unsigned page = KEEP_ONE_IN; page < PAGES; page += 2 * KEEP_ONE_IN)
		assert_int_equal(rig_read(r, page * PAGE_SECTORS, PAGE_SECTORS), page % 100 + 1);
	check(r);
}

/* Clean data may be dropped at any time, but not between its copy and the journal entry that says where that is (sim 7174). */
static void body_reclaimed(struct rig *r)
{
	unsigned nr_emptied = 0;
	uint64_t written;

	make_sparse(r);
	assert_int_equal(writeback_flush(r->d), 0);
	r->c->copy_gc_enabled = true;
	written = r->c->data_sectors_written;
	assert_int_equal(gc_run(r->c), 0);
	r->c->gc.always_rewrite = true;
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_WRITE), .count = 64, .extra_ns = NS_PER_S });
	while (r->c->data_sectors_written == written)
		fiber_sleep_ns(NS_PER_MS / 10);
	for (uint64_t b = r->c->g.first_bucket; b < r->c->g.nr_buckets; b++)
		if (cset_bucket(r->c, b)->move && bucket_can_invalidate(r->c, cset_bucket(r->c, b))) {
			bucket_invalidate(r->c, b);
			nr_emptied++;
		}
	assert_true(r->c->moving.nr_buckets > nr_emptied); /* those of the batch stay */
	assert_int_equal(gc_run(r->c), 0);		   /* the index forgets what the others held */
	while (r->c->moving.running)
		fiber_sleep_ns(NS_PER_MS);
	assert_true(r->c->moving.nr_keys > 0);
	expect_sparse(r);
}

static FIBER_FN unsigned page_being_moved(struct rig *r)
{
	for (unsigned page = 0; page < PAGES; page += KEEP_ONE_IN) {
		uint64_t at = r->d->data_offset + page * PAGE_SECTORS;
		struct bnode *n;
		struct bkeys_iter it;
		const struct bkey *k;

		assert_int_equal(btree_leaf(r->c, bpos(r->d->inode, at), &n), 0);
		bkeys_iter_init(&it, &n->keys, bpos(r->d->inode, at));
		k = bkeys_iter_next(&it);
		if (k && extent_live(r->c, k) && bkey_start(k) == at && ptr_bucket(r->c, k->ptr[0])->readers)
			return page;
	}
	fail_msg("no page is being moved");
	return 0;
}

/*
 * A reader that cannot read a clean copy drops it. Not while a swap of it waits for the journal: what the swap's entry says must be what the
 * index does.
 */
static void body_dropped(struct rig *r)
{
	struct journal *j = &r->c->journal;
	unsigned nr_held = 0, page;

	make_sparse(r);
	assert_int_equal(writeback_flush(r->d), 0);
	r->c->copy_gc_enabled = true;
	for (; nr_held < j->max_operations; nr_held++)
		journal_enter(j);
	assert_int_equal(gc_run(r->c), 0);
	while (wait_queue_empty(&j->space)) /* the keys are collected */
		fiber_sleep_ns(NS_PER_MS / 10);
	page = page_being_moved(r);
	rig_fail(r->cache, BLK_SIM_OP(BIO_READ), 1);
	assert_int_equal(rig_read(r, page * PAGE_SECTORS, PAGE_SECTORS), page % 100 + 1);
	while (nr_held--)
		journal_leave(j);
	while (r->c->moving.running)
		fiber_sleep_ns(NS_PER_MS);
	assert_true(r->c->moving.nr_keys > 0);
	expect_sparse(r);
}

static void body_unreadable(struct rig *r)
{
	uint64_t keys;

	make_sparse(r);
	r->c->copy_gc_enabled = true;
	rig_fail(r->cache, BLK_SIM_OP(BIO_READ), 3);
	collect(r);
	keys = r->c->moving.nr_keys;
	assert_int_equal(r->c->moving.nr_failed, 3); /* the others of the batch move all the same */
	assert_true(keys > 0);
	for (unsigned i = 0; i < 3; i++)
		collect(r);
	assert_int_equal(r->c->moving.nr_failed, 3); /* and those three the next time */
	assert_true(r->c->moving.nr_keys > keys);
	expect_sparse(r);
}

static void body_unwritable(struct rig *r)
{
	const struct bucket_fifo *f = &r->c->alloc.free[RESERVE_MOVINGGC];

	make_sparse(r);
	r->c->copy_gc_enabled = true;
	assert_true(f->nr >= 4);
	for (uint32_t i = 0; i < 4; i++)
		blk_sim_fail_range(r->cache, BLK_SIM_OP(BIO_WRITE), (uint64_t)f->slots[(f->head + i) % f->cap] * BUCKET, BUCKET, -EIO);
	collect(r);
	assert_true(r->c->moving.nr_failed > 0);
	blk_sim_clear_faults(r->cache);
	for (unsigned i = 0; i < 3; i++)
		collect(r);
	expect_sparse(r);
}

struct found {
	uint64_t at;
};

static bool take_first(void *ctx, const struct bkey *k)
{
	((struct found *)ctx)->at = ptr_sector(k->ptr[0]);
	return false;
}

static FIBER_FN uint64_t place_of(struct rig *r, unsigned page)
{
	struct found f = { 0 };
	uint64_t at = r->d->data_offset + page * PAGE_SECTORS;

	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, at, at + 1, take_first, &f), 0);
	return f.at;
}

/* Damaged data is not given a fresh checksum, and what is good keeps its own. */
static void body_damaged(struct rig *r)
{
	uint64_t bad, good;
	char buf[SECTOR_BYTES];

	r->d->data_csum = true;
	make_sparse(r);
	bad = place_of(r, 0);
	good = place_of(r, KEEP_ONE_IN);
	blk_sim_peek(r->cache, bad, buf, 1);
	buf[100] ^= 1;
	blk_sim_poke(r->cache, bad, buf, 1);
	r->c->copy_gc_enabled = true;
	for (unsigned i = 0; i < 12; i++)
		collect(r);
	assert_int_equal(place_of(r, 0), bad);
	assert_int_not_equal(place_of(r, KEEP_ONE_IN), good);
	assert_true(data_csum_known(r->c, place_of(r, KEEP_ONE_IN), PAGE_SECTORS));
	assert_true(r->c->data_csums.nr_mismatches > 0);
	assert_int_equal(rig_read(r, 0, PAGE_SECTORS), -EIO);
	assert_int_equal(rig_read(r, KEEP_ONE_IN * PAGE_SECTORS, PAGE_SECTORS), KEEP_ONE_IN + 1);
}

/* Take all buckets that a reserve has, and gets. */
static FIBER_FN void drain(struct rig *r, enum reserve reserve, uint32_t *taken, unsigned *nr)
{
	for (unsigned before = UINT32_MAX; before != *nr; rig_settle()) {
		before = *nr;
		while (bucket_alloc(r->c, reserve, &taken[*nr]) == 0)
			++*nr;
	}
}

/* No bucket for the index, or none for data: nothing moves, and nobody waits. */
static void body_no_buckets(struct rig *r)
{
	static uint32_t taken[4100];
	unsigned nr = 0;

	make_sparse(r);
	drain(r, RESERVE_BTREE, taken, &nr);
	r->c->copy_gc_enabled = true;
	collect(r);
	assert_int_equal(r->c->moving.nr_passes, 1);
	drain(r, RESERVE_MOVINGGC, taken, &nr);
	collect(r);
	assert_int_equal(r->c->moving.nr_passes, 1);
	assert_int_equal(r->c->moving.nr_keys + r->c->moving.nr_failed, 0);
	while (nr--) {
		bucket_unpin(cset_bucket(r->c, taken[nr]));
		bucket_free(r->c, taken[nr]);
	}
	for (unsigned i = 0; i < 3; i++) {
		collect(r);
		rig_settle();
	}
	assert_true(r->c->moving.nr_keys > 0);
	expect_sparse(r);
}

/* The data of a device that is not here moves, too, and is found by it when it is back. */
static void body_absent(struct rig *r)
{
	char text[300] = "";
	struct printbuf why = PRINTBUF(text);
	uint64_t before;

	make_sparse(r);
	bdev_stop(r->d);
	while (bcf_dev_find(r->bcf, "dev0"))
		fiber_sleep_ns(NS_PER_MS);
	r->c->copy_gc_enabled = true;
	for (unsigned i = 0; i < 4; i++)
		collect(r);
	assert_true(r->c->moving.nr_keys > 0);
	assert_int_equal(r->c->absent_swaps, 0);
	before = r->c->moving.nr_keys;
	gc_trigger(r->c);
	if (bcf_register(r->bcf, "/sim/backing", false, &why)) /* while a pass is under way */
		fail_msg("%s", text);
	r->d = bcf_dev_find(r->bcf, "dev0");
	assert_true(r->d && r->d->set == r->c);
	r->d->writeback.running = false;
	for (unsigned i = 0; i < 4; i++)
		collect(r);
	assert_true(r->c->moving.nr_keys > before);
	assert_int_equal(r->d->writeback.dirty_sectors, PAGES / KEEP_ONE_IN * PAGE_SECTORS);
	expect_sparse(r);
}

static void body_stops(struct rig *r)
{
	begin_slow_pass(r);
	assert_true(r->c->moving.running); /* and the rig stops everything */
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 3; seed++) \
	rig_run_buckets(seed, CACHE_MODE_##mode, body, BUCKET)

static void sparse_buckets_are_compacted(void **state) { RUN(WRITEBACK, body_compacts); }
static void passes_without_gain_do_not_begin(void **state) { RUN(WRITEBACK, body_comes_to_rest); }
static void sets_with_volumes_move_dirty_data(void **state) { RUN(WRITEBACK, body_volumes); }
static void what_is_overwritten_meanwhile_stays(void **state) { RUN(WRITEBACK, body_overwritten); }
static void what_is_being_copied_is_not_reclaimed(void **state) { RUN(WRITEBACK, body_reclaimed); }
static void a_copy_is_not_dropped_while_it_is_swapped(void **state) { RUN(WRITEBACK, body_dropped); }
static void unreadable_data_is_left_alone(void **state) { RUN(WRITEBACK, body_unreadable); }
static void a_bucket_that_refuses_the_copy_costs_nothing(void **state) { RUN(WRITEBACK, body_unwritable); }
static void damaged_data_gets_no_fresh_checksum(void **state) { RUN(WRITEBACK, body_damaged); }
static void without_buckets_nothing_is_moved(void **state) { RUN(WRITEBACK, body_no_buckets); }
static void data_of_absent_devices_moves(void **state) { RUN(WRITEBACK, body_absent); }
static void a_stop_in_the_middle_ends_in_order(void **state) { RUN(WRITEBACK, body_stops); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sparse_buckets_are_compacted),
		TEST(passes_without_gain_do_not_begin),
		TEST(sets_with_volumes_move_dirty_data),
		TEST(what_is_overwritten_meanwhile_stays),
		TEST(what_is_being_copied_is_not_reclaimed),
		TEST(a_copy_is_not_dropped_while_it_is_swapped),
		TEST(unreadable_data_is_left_alone),
		TEST(a_bucket_that_refuses_the_copy_costs_nothing),
		TEST(damaged_data_gets_no_fresh_checksum),
		TEST(without_buckets_nothing_is_moved),
		TEST(data_of_absent_devices_moves),
		TEST(a_stop_in_the_middle_ends_in_order),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
