/* SPDX-License-Identifier: GPL-2.0-only */
/* behaviour.md §11, what keeps the index, the buckets and the states in step when the power goes: see test_cuts.h. */
#include "core/btree/internal.h"
#include "tests/unit/core/test_cuts.h"

static void step(struct world *w, enum step op) { step_perform(w, op); }

static void set(struct world *w, const char *file, const char *text)
{
	if (world_ctl(w, 0, file, text) < 0)
		world_fail(w, "cannot set %s to %s", file, text);
}

/* --- I-3: buckets ---------------------------------------------------------------------------------------------------------- */

#define LARGER_SECTORS 1600u /* than the cache */

static uint64_t nr_prio_writes;

/* While emptied buckets wait for their gens to become durable, and shortly after. */
static bool near_prio_write(struct world *w)
{
	static unsigned events;
	const struct alloc *a = &world_cset(w)->alloc;

	if (a->nr_prio_writes != nr_prio_writes || fmutex_locked(&a->prio_lock))
		events = 12;
	nr_prio_writes = a->nr_prio_writes;
	return events && events--;
}

/* Clean copies come and go; what recovery finds of an older index must not lead to a younger copy of something else. */
static void read_more_than_fits(struct world *w)
{
	steps_prepare(w);
	for (unsigned round = 0; round < 2; round++)
		for (uint64_t at = 0; at < LARGER_SECTORS && !world_failed(w); at += 32) {
			if (round == 1 && at == LARGER_SECTORS / 2)
				cuts_begin();
			steps_read(w, at, 32);
			if (round == 1 && at == LARGER_SECTORS * 3 / 4)
				cuts_end(w);
		}
}

static void i03_buckets_emptied_before_a_power_cut_lead_to_nothing_else(void **state)
{
	struct world_options o = { .tiny_sectors = LARGER_SECTORS };

	assert_true(cuts_run(&(struct cuts){ .options = o, .body = read_more_than_fits, .when = near_prio_write }) > 10);
}

/* --- I-5: nodes ------------------------------------------------------------------------------------------------------------ */

#define SPREAD_SECTORS 400u
static const struct world_options spread = { .tiny_sectors = SPREAD_SECTORS, .tiny_buckets = SPREAD_SECTORS };

/* While a node is replaced, and shortly after. */
static bool near_restructure(struct world *w)
{
	static unsigned events;

	if (fmutex_locked(&world_cset(w)->btree.structure))
		events = 4;
	return events && events--;
}

/* Single sectors, all over the device: leaves are split, and so is the root. */
static void split_leaves(struct world *w)
{
	uint64_t splits = world_cset(w)->btree.nr_splits;

	steps_prepare(w);
	for (unsigned i = 0; i < SPREAD_SECTORS && !world_failed(w); i++) {
		if (i == 130)
			cuts_begin();
		steps_write(w, i * 149u % SPREAD_SECTORS, 1, STEPS_PLAIN);
		if (i % 8 == 0)
			step(w, STEP_FLUSH);
	}
	cuts_end(w);
	if (world_cset(w)->btree.nr_splits < splits + 2 || !world_cset(w)->btree.root->level)
		world_fail(w, "%llu splits", (unsigned long long)(world_cset(w)->btree.nr_splits - splits));
}

static void i05_children_are_durable_before_their_parents_and_roots_before_their_entries(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .options = spread, .body = split_leaves, .when = near_restructure }) > 20);
}

/* --- I-6 ------------------------------------------------------------------------------------------------------------------- */

static void replace_leaf(struct world *w, uint64_t sector)
{
	struct cset *c = world_cset(w);
	struct bdev *d = world_bdev(w, 0);
	struct bpos pos = bpos(d->inode, d->data_offset + sector);
	struct bnode *n;
	uint64_t ptr;

	if (btree_leaf(c, pos, &n) < 0 || n == c->btree.root) {
		world_fail(w, "no leaf below a parent");
		return;
	}
	ptr = n->key.k.ptr[0];
	if (btree_rewrite(c, pos, 0, true) < 0 || !ptr_stale(c, ptr))
		world_fail(w, "the pointer to a leaf that was replaced is valid");
}

static void replace_leaves(struct world *w)
{
	steps_prepare(w);
	for (unsigned i = 0; !world_cset(w)->btree.root->level && i < SPREAD_SECTORS && !world_failed(w); i++)
		steps_write(w, i * 149u % SPREAD_SECTORS, 1, STEPS_PLAIN);
	cuts_begin();
	replace_leaf(w, 0);
	replace_leaf(w, SPREAD_SECTORS - 1);
	cuts_end(w);
}

static int one_child_for_each_range(void *ctx, struct bnode *n)
{
	struct world *w = ctx;
	struct bkeys_iter it;
	const struct bkey *k, *last = NULL;

	if (!n->level)
		return 0;
	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it))) {
		if (node_ptr_bad(n->c, k))
			continue;
		if (last && !bpos_cmp(bkey_pos(k), bkey_pos(last)))
			world_fail(w, "two valid nodes end at sector %llu", (unsigned long long)bkey_offset(k));
		last = k;
	}
	return 0;
}

static void check_children(struct world *w)
{
	if (btree_for_each_node(world_cset(w), one_child_for_each_range, w) < 0)
		world_fail(w, "cannot walk the index");
}

static void i06_a_node_is_not_valid_once_its_replacement_is(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .options = spread, .body = replace_leaves, .check = check_children }) > 20);
}

/* --- I-9, R2.6, I-10, I-11: states -------------------------------------------------------------------------------------- */

static void clean_in_all_ways(struct world *w)
{
	steps_prepare(w);
	step(w, STEP_WRITE);
	step(w, STEP_FLUSH);
	cuts_begin();
	step(w, STEP_OVERWRITE);
	step(w, STEP_WRITEBACK);
	for (unsigned mode = 0; mode < 4; mode++) { /* over dirty data */
		set(w, "%s/cache_mode", "writeback");
		steps_write(w, 0, 12, STEPS_PLAIN);
		step(w, STEP_FLUSH);
		set(w, "%s/cache_mode", cache_mode_names[mode]);
		steps_write(w, 4, 4, STEPS_PLAIN);
		step(w, STEP_PUNCH);
	}
	cuts_end(w);
}

static void i09_no_dirty_key_becomes_clean_before_the_backing_flush(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = clean_in_all_ways }) > 50);
}

/* Single sectors: a read is compared (R2.3) when all of it is clean. */
static void clean_copies_are_as_on_backing(struct world *w)
{
	world_bdev(w, 0)->verify = true;
	for (uint64_t at = 0; at < STEPS_SECTORS && !world_failed(w); at++)
		steps_read(w, at, 1);
}

/* The index lasts as soon as it may, what goes to the backing device as late as it can. */
static void hurry_index(struct world *w)
{
	world_cset(w)->journal.delay_ms = 0;
	blk_sim_add_fault(w->backing[0].sim, &(struct blk_sim_fault){ .ops = BLK_SIM_ALL_OPS & ~BLK_SIM_OP(BIO_READ), .extra_ns = 5 * NS_PER_MS });
}

static void replace(struct world *w, enum cache_mode mode, enum steps_write how)
{
	set(w, "%s/cache_mode", cache_mode_names[mode]);
	cuts_begin();
	steps_write(w, 4, 4, how);
	fiber_sleep_ns(50 * NS_PER_MS); /* and the index has it */
	cuts_end(w);
}

/* Flushed dirty data, and what replaces a part of it. */
static void replace_in_all_ways(struct world *w)
{
	steps_prepare(w);
	hurry_index(w);
	for (unsigned i = 0; i < 8; i++) {
		set(w, "%s/cache_mode", "writeback");
		steps_write(w, 0, 12, STEPS_PLAIN);
		step(w, STEP_FLUSH);
		replace(w, (enum cache_mode)(i / 2), i % 2 ? STEPS_ZERO : STEPS_PLAIN);
	}
}

static void i09_dirty_data_stays_until_backing_durably_holds_what_replaces_it(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = replace_in_all_ways, .check = clean_copies_are_as_on_backing }) > 50);
}

/* Clean copies and what replaces a part of them, strictly (R2.6). */
static void replace_strictly(struct world *w)
{
	static const enum cache_mode modes[] = { CACHE_MODE_WRITETHROUGH, CACHE_MODE_WRITEAROUND, CACHE_MODE_NONE };

	steps_prepare(w);
	hurry_index(w);
	set(w, "%s/strict_writethrough", "1");
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(modes); i++) {
		set(w, "%s/cache_mode", "writethrough");
		steps_write(w, 0, 12, STEPS_PLAIN);
		step(w, STEP_FLUSH);
		replace(w, modes[i / 2], i % 2 ? STEPS_ZERO : STEPS_PLAIN);
	}
}

static void r26_strictly_no_clean_copy_differs_from_backing_after_any_cut(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = replace_strictly, .check = clean_copies_are_as_on_backing }) > 50);
}

/*
 * Over clean copies that last, as the backing device does. What writeback puts there of data whose keys the power takes would make the two differ for
 * good: the old copy is back, and clean (batch_copy()).
 */
static void write_back_over_clean(struct world *w)
{
	steps_prepare(w);
	set(w, "%s/cache_mode", "writethrough");
	steps_write(w, 0, STEPS_SECTORS, STEPS_PLAIN);
	step(w, STEP_FLUSH);
	set(w, "%s/cache_mode", "writeback");
	world_cset(w)->journal.delay_ms = UINT16_MAX; /* entries are written for those who ask */
	cuts_begin();
	for (unsigned round = 0; round < 2; round++) {
		step(w, STEP_WRITE);
		step(w, STEP_OVERWRITE);
		step(w, STEP_WRITEBACK);
	}
	cuts_end(w);
}

static void i09_no_clean_copy_differs_from_backing_after_a_cut_writeback(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = write_back_over_clean, .check = clean_copies_are_as_on_backing }) > 50);
}

/* world_boot() asks after each cut: a device that calls itself clean, or alone, holds everything. */
static void dirty_and_clean_again(struct world *w)
{
	steps_prepare(w);
	step(w, STEP_FLUSH);
	cuts_begin();
	for (unsigned round = 0; round < 2; round++) {
		step(w, STEP_WRITE);
		step(w, STEP_FLUSH);
		step(w, STEP_WRITEBACK);
		fiber_sleep_ns(60 * NS_PER_S); /* and it says so */
	}
	cuts_end(w);
}

static void i10_a_device_that_says_it_is_clean_holds_everything(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = dirty_and_clean_again }) > 30);
}

static void write_first(void *arg) { steps_write(arg, 8, 2, STEPS_PLAIN); }

/* The first write of a clean device makes it say that it is dirty; the second must not be done before that is durable. */
static void two_writes_at_once(struct world *w)
{
	struct fiber *f;

	steps_prepare(w);
	step(w, STEP_FLUSH);
	hurry_index(w);
	cuts_begin();
	f = fiber_spawn("writer", write_first, w);
	if (!f) {
		world_fail(w, "no memory");
		return;
	}
	fiber_yield();
	steps_write(w, 0, 2, STEPS_SYNC);
	fiber_join(f);
	cuts_end(w);
}

static void i10_every_writer_waits_until_the_device_says_that_it_is_dirty(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = two_writes_at_once }) > 5);
}

static void detach_dirty(struct world *w)
{
	steps_prepare(w);
	step(w, STEP_WRITE);
	step(w, STEP_FLUSH);
	cuts_begin();
	step(w, STEP_DETACH);
	step(w, STEP_OVERWRITE);
	step(w, STEP_FLUSH);
	step(w, STEP_ATTACH);
	step(w, STEP_READ);
	cuts_end(w);
}

/* The start after each cut: register_all() lets no dirty device run without its set, and attach_all() wants one that was not detached to run. */
static void i11_a_dirty_device_runs_with_its_data_or_not_at_all(void **state)
{
	assert_true(cuts_run(&(struct cuts){ .body = detach_dirty }) > 20);
}

/* --- I-18 ------------------------------------------------------------------------------------------------------------------ */

/* Written once, and then older than all that comes in; each sweep takes every bucket that may be taken. */
static void dirty_data_among_passing_clean(struct world *w)
{
	steps_prepare(w);
	step(w, STEP_WRITE);
	step(w, STEP_FLUSH);
	for (unsigned round = 0; round < 3; round++) {
		step(w, STEP_GC);
		for (uint64_t at = 64; at < LARGER_SECTORS && !world_failed(w); at += 32)
			steps_read(w, at, 32);
	}
	cuts_begin();
	cuts_end(w);
	step(w, STEP_READ);
}

static void i18_gc_and_reuse_leave_dirty_data_alone(void **state)
{
	struct world_options o = { .tiny_sectors = LARGER_SECTORS };

	(void)cuts_run(&(struct cuts){ .options = o, .body = dirty_data_among_passing_clean });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i03_buckets_emptied_before_a_power_cut_lead_to_nothing_else),
		cmocka_unit_test(i05_children_are_durable_before_their_parents_and_roots_before_their_entries),
		cmocka_unit_test(i06_a_node_is_not_valid_once_its_replacement_is),
		cmocka_unit_test(i09_no_dirty_key_becomes_clean_before_the_backing_flush),
		cmocka_unit_test(i09_dirty_data_stays_until_backing_durably_holds_what_replaces_it),
		cmocka_unit_test(r26_strictly_no_clean_copy_differs_from_backing_after_any_cut),
		cmocka_unit_test(i09_no_clean_copy_differs_from_backing_after_a_cut_writeback),
		cmocka_unit_test(i10_a_device_that_says_it_is_clean_holds_everything),
		cmocka_unit_test(i10_every_writer_waits_until_the_device_says_that_it_is_dirty),
		cmocka_unit_test(i11_a_dirty_device_runs_with_its_data_or_not_at_all),
		cmocka_unit_test(i18_gc_and_reuse_leave_dirty_data_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
