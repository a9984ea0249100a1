/* SPDX-License-Identifier: GPL-2.0-only */
/* Slots of the uuid table: taken, left, purged, taken again (behaviour.md R1.3, T-8, W-10, I-21). */
#include "core/admin/log.h"
#include "core/btree/btree.h"
#include "core/request/insert.h"
#include "tests/unit/core/test_core_rig.h"
#include "tests/unit/core/unit.h"

static void attach(struct rig *r)
{
	char text[300] = "";
	struct printbuf why = PRINTBUF(text);

	if (bdev_attach(r->d, r->c, true, &why))
		fail_msg("attach: %s", text);
}

static void detach(struct rig *r)
{
	bdev_detach(r->d);
	while (r->d->set)
		fiber_sleep_ns(NS_PER_MS);
}

/* Keys with data of this inode. */
static bool count_key(void *ctx, const struct bkey *k)
{
	(void)k;
	(*(unsigned *)ctx)++;
	return true;
}

static unsigned nr_keys(struct rig *r, uint32_t inode)
{
	unsigned n = 0;

	assert_int_equal(btree_for_each_extent(r->c, inode, 0, BKEY_OFFSET_MAX, count_key, &n), 0);
	return n;
}

static enum uuid_state slot_state(struct rig *r, uint32_t slot) { return uuid_entry_state(&r->c->uuids[slot]); }

/* --- ten thousand cycles ------------------------------------------------------------------------------------------------- */

#define CYCLES 10000

/* In each cycle one page is cached and then overwritten behind the cache's back. */
static void cycle(struct rig *r, unsigned n)
{
	uint64_t sector = n % 64 * PAGE_SECTORS;
	char now = (char)(n % 120 + 1);

	if (n >= 40) /* what an earlier cycle left there: not what any cycle cached */
		assert_int_equal(rig_read(r, (n - 40) % 64 * PAGE_SECTORS, PAGE_SECTORS), (n - 40) % 120 + 2);
	assert_int_equal(rig_write(r, sector, PAGE_SECTORS, now), PAGE_SECTORS);
	assert_int_equal(rig_read(r, sector, PAGE_SECTORS), now);
	detach(r);
	assert_int_equal(rig_write(r, sector, PAGE_SECTORS, (char)(now + 1)), PAGE_SECTORS); /* past the cache */
	if (n % 97 == 0)
		fiber_sleep_ns(60 * NS_PER_S); /* the background purge gets on, and writes the slots as free */
	attach(r);
	assert_int_equal(rig_read(r, sector, PAGE_SECTORS), now + 1);
}

static void many_cycles(struct rig *r)
{
	unsigned used[64] = { 0 }, reused = 0;

	assert_true(r->c->g.nr_uuids < 64);
	assert_int_equal(rig_write(r, 0, 64 * PAGE_SECTORS, 0), 64 * PAGE_SECTORS);
	for (unsigned n = 0; n < CYCLES; n++) {
		cycle(r, n);
		reused += used[r->d->inode]++ > 0;
	}
	assert_true(reused > CYCLES - 64);
	rig_check(r);
	for (uint32_t slot = 0; slot < r->c->g.nr_uuids; slot++)
		assert_true(slot == r->d->inode || slot_state(r, slot) != UUID_SLOT_INVALID || r->c->slots[slot].keys != SLOT_KEPT);
}

static void i21_ten_thousand_attach_and_detach_cycles_show_no_data_of_an_earlier_one(void **state)
{
	rig_run_buckets(1, CACHE_MODE_WRITETHROUGH, many_cycles, 8);
}

/* --- what is purged, and what is kept ------------------------------------------------------------------------------------- */

static void wait_for(struct rig *r, uint32_t slot, enum slot_keys keys)
{
	for (unsigned i = 0; r->c->slots[slot].keys != keys; i++) {
		assert_true(i < 100000);
		fiber_sleep_ns(NS_PER_MS);
	}
}

/* Leaves inode 5, which belongs to nobody, with data: as if an earlier owner had. */
static void plant(struct rig *r, uint32_t inode, uint64_t sector, uint32_t nr, bool dirty)
{
	struct keylist keys;
	struct bkey_buf k;
	uint64_t seq;

	while (open_bucket_take(r->c, (bkey_init(&k.k, inode, sector, 0), &k.k), nr, 1, false, RESERVE_NONE) < 0)
		fiber_sleep_ns(NS_PER_MS);
	bkey_set_dirty(&k.k, dirty);
	if (dirty)
		ptr_bucket(r->c, k.k.ptr[0])->mark = MARK_DIRTY;
	keylist_init(&keys, KEYLIST_WORDS);
	keylist_push(&keys, &k.k);
	assert_int_equal(journal_append(r->c, &keys, &seq), 0);
	assert_int_equal(btree_insert(r->c, &keys, seq, NULL), 0);
	journal_release_keys(&r->c->journal, seq);
}

static void a_slot_of_each_kind(struct rig *r)
{
	static const uint8_t gone[16] = { 9 };
	static const char label[LABEL_BYTES] = "gone";

	for (uint32_t slot = 5; slot <= 7; slot++) {
		slot_fill(r->c, slot, gone, label, 0);
		plant(r, slot, 16, 8, slot != 5);
		plant(r, slot, 1u << 20, 8, false);
		slot_invalidate(r->c, slot, slot == 7); /* 5: clean; 6: dirty; 7: dirty, and given up */
	}
	assert_int_equal(uuid_table_write(r->c), 0);
	for (uint32_t slot = 5; slot <= 7; slot++)
		slot_left(r->c, slot);
	wait_for(r, 5, SLOT_PURGED);
	wait_for(r, 6, SLOT_KEPT);
	wait_for(r, 7, SLOT_PURGED);
	assert_int_equal(nr_keys(r, 5), 0);
	assert_int_equal(nr_keys(r, 6), 2);
	assert_int_equal(nr_keys(r, 7), 0);
	assert_int_equal(slot_dirty_sectors(r->c, 6), 8);
	assert_int_equal(slots_all_dirty_sectors(r->c), 8);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_int_equal(slot_state(r, 5), UUID_SLOT_FREE);
	assert_int_equal(slot_state(r, 6), UUID_SLOT_INVALID);
	assert_int_equal(slot_state(r, 7), UUID_SLOT_FREE);
	rig_check(r);
}

static void slots_without_owner_are_purged_unless_they_hold_dirty_data_that_nobody_gave_up(void **state)
{
	rig_run(2, CACHE_MODE_WRITETHROUGH, a_slot_of_each_kind);
}

static void clean_keys_only(struct rig *r)
{
	plant(r, 9, 0, 8, false);
	plant(r, 9, 8, 8, true);
	plant(r, 9, 16, 8, false);
	plant(r, 9, 1000, 8, true);
	plant(r, 10, 0, 8, false); /* a neighbour */
	assert_int_equal(purge_find_dirty(r->c, 9, 0, BKEY_OFFSET_MAX), 1);
	assert_int_equal(purge_find_dirty(r->c, 10, 0, BKEY_OFFSET_MAX), 0);
	assert_int_equal(purge_range(r->c, 9, 0, BKEY_OFFSET_MAX, PURGE_CLEAN), 0);
	assert_int_equal(nr_keys(r, 9), 2);
	assert_int_equal(nr_keys(r, 10), 1);
	assert_int_equal(purge_range(r->c, 9, 12, 1004, PURGE_ALL), 0);
	assert_int_equal(nr_keys(r, 9), 2); /* a half of each */
	assert_int_equal(purge_range(r->c, 9, 0, 12, PURGE_ALL), 0);
	assert_int_equal(nr_keys(r, 9), 1);
	assert_int_equal(purge_range(r->c, 9, 0, BKEY_OFFSET_MAX, PURGE_ALL), 0);
	assert_int_equal(nr_keys(r, 9), 0);
	assert_int_equal(nr_keys(r, 10), 1);
	for (struct list *l = r->c->btree.dirty.next; l != &r->c->btree.dirty; l = l->next) /* no leaf waits to be written */
		assert_true(list_entry(l, struct bnode, dirty_link)->level > 0);
	rig_check(r);
}

static void a_purge_deletes_what_it_is_told_to_and_writes_the_leaves(void **state)
{
	rig_run(3, CACHE_MODE_WRITETHROUGH, clean_keys_only);
}

static void all_slots_kept(struct rig *r)
{
	static const char label[LABEL_BYTES] = "";
	char text[300] = "";
	struct printbuf why = PRINTBUF(text);

	detach(r);
	for (uint32_t slot = 0; slot < r->c->g.nr_uuids; slot++) {
		uint8_t uuid[16] = { 10, (uint8_t)slot };

		assert_int_equal(purge_slot(r->c, slot, true), 0);
		slot_fill(r->c, slot, uuid, label, 0);
		plant(r, slot, 16, 8, true);
		slot_invalidate(r->c, slot, false);
		slot_left(r->c, slot);
	}
	assert_int_equal(bdev_attach(r->d, r->c, true, &why), -EINVAL);
	assert_non_null(strstr(text, "no free slot"));
	assert_false(r->d->set);
	slot_invalidate(r->c, 3, true); /* somebody gives one up: it is purged on the spot */
	slot_left(r->c, 3);
	attach(r);
	assert_int_equal(r->d->inode, 3);
	assert_int_equal(nr_keys(r, 3), 0);
}

static void when_all_slots_hold_dirty_data_an_attach_says_so(void **state)
{
	rig_run_buckets(4, CACHE_MODE_WRITETHROUGH, all_slots_kept, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i21_ten_thousand_attach_and_detach_cycles_show_no_data_of_an_earlier_one),
		cmocka_unit_test(slots_without_owner_are_purged_unless_they_hold_dirty_data_that_nobody_gave_up),
		cmocka_unit_test(a_purge_deletes_what_it_is_told_to_and_writes_the_leaves),
		cmocka_unit_test(when_all_slots_hold_dirty_data_an_attach_says_so),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
