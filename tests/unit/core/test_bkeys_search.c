/* SPDX-License-Identifier: GPL-2.0-only */
/* Searching by lines against a linear scan, on distributions chosen to defeat the compressed positions. */
#include "tests/unit/core/test_bkeys.h"

#define NODE_BYTES KIB(64)

/* Fill in the END of the next key, above `last`. */
typedef struct bpos next_fn(struct rng *r, struct bpos last, unsigned i);

static struct bpos even(struct rng *r, struct bpos last, unsigned i) { return bpos(3, last.offset + 16); }
static struct bpos random_steps(struct rng *r, struct bpos last, unsigned i)
{
	return bpos(3, last.offset + 1 + rng_below(r, 1ull << rng_below(r, 40)));
}
/* All but the first and some late ones lie in one 2^-32 of the range. */
static struct bpos one_tie(struct rng *r, struct bpos last, unsigned i)
{
	return i == 0 ? bpos(3, 1) : i == 1 ? bpos(3, 1ull << 60) : i > 1500 ? bpos(3, last.offset + (1ull << 40)) : bpos(3, last.offset + 1);
}
static struct bpos near_the_end(struct rng *r, struct bpos last, unsigned i)
{
	return bpos(BKEY_INODE_MAX, i ? last.offset + 1 + rng_below(r, 3) : BKEY_OFFSET_MAX - 20000);
}
static struct bpos beyond_2_63(struct rng *r, struct bpos last, unsigned i)
{
	return bpos(3, i ? last.offset + (1ull << 51) : 16);
}
static struct bpos many_inodes(struct rng *r, struct bpos last, unsigned i)
{
	if (rng_one_in(r, 30))
		return bpos(last.inode + 1 + (uint32_t)rng_below(r, 3), rng_below(r, 1 << 20));
	return bpos(last.inode, last.offset + 1 + rng_below(r, 100));
}
static struct bpos far_inodes(struct rng *r, struct bpos last, unsigned i)
{
	if (rng_one_in(r, 300))
		return bpos(min(last.inode + (uint32_t)rng_below(r, 300000), BKEY_INODE_MAX), last.offset + 1);
	return bpos(last.inode, last.offset + 1 + rng_below(r, 1ull << 50) / (1 + rng_below(r, 100000)));
}
static struct bpos maximum_last(struct rng *r, struct bpos last, unsigned i)
{
	return i >= 2499 ? BPOS_MAX : bpos(1, last.offset + 8);
}
static struct bpos maximum_often(struct rng *r, struct bpos last, unsigned i)
{
	return i >= 1000 ? BPOS_MAX : bpos(1, last.offset + 8);
}
static struct bpos often_equal(struct rng *r, struct bpos last, unsigned i) { return bpos(3, last.offset + (i % 37 == 0)); }

static void fill(struct bkeys *b, struct rng *r, next_fn *next, unsigned nr, unsigned nr_ptrs)
{
	struct bpos pos = bpos(0, 0);

	bkeys_open_set(b, 0, 0, 1);
	for (unsigned i = 0; i < nr && bkeys_room_words(b) >= BKEYS_INSERT_ROOM; i++) {
		struct bset *s = bkeys_open(b);
		struct bkey *k = bset_end(s);

		pos = next(r, pos, i);
		bkey_init(k, pos.inode, pos.offset, 1);
		bkey_set_ptrs(k, nr_ptrs < 7 ? nr_ptrs : (unsigned)rng_below(r, 7));
		memset(k->ptr, 0, bkey_ptrs(k) * 8);
		s->nr_words += bkey_words(k);
	}
}

static const struct bkey *scan(const struct bkeys *b, struct bpos pos)
{
	const struct bset *s = b->sets[0].set;
	const struct bkey *k = bset_first(s);

	while (k < bset_end(s) && bpos_cmp(bkey_pos(k), pos) <= 0)
		k = bkey_next(k);
	return k < bset_end(s) ? k : NULL;
}

static void assert_found(const struct bkeys *b, struct bpos pos)
{
	struct bkeys_iter it;

	bkeys_iter_init(&it, b, pos);
	assert_ptr_equal(bkeys_iter_peek(&it), scan(b, pos));
}

static void search_around(const struct bkeys *b, struct bpos pos)
{
	assert_found(b, pos);
	assert_found(b, bpos(pos.inode, pos.offset + 1));
	assert_found(b, bpos(pos.inode, pos.offset - 1));
	assert_found(b, bpos(pos.inode + 1, pos.offset));
	assert_found(b, bpos(pos.inode - 1, pos.offset)); /* of inode 0: above all */
}

static void search_everywhere(const struct bkeys *b, struct rng *r)
{
	const struct bset *s = b->sets[0].set;
	unsigned i = 0, every = 1 + s->nr_words / 300;

	for (const struct bkey *k = bset_first(s); k < bset_end(s); k = bkey_next(k))
		if (i++ % every == 0)
			search_around(b, bkey_pos(k));
	for (i = 0; i < 50; i++)
		assert_found(b, bpos((uint32_t)rng_below(r, BKEY_INODE_MAX + 1), rng_next(r) >> rng_below(r, 64)));
	assert_found(b, BPOS_MIN);
	assert_found(b, BPOS_MAX);
	assert_found(b, bpos(UINT32_MAX, UINT64_MAX));
}

static void test_distribution(next_fn *next)
{
	struct geometry g = test_geometry();

	for (uint64_t seed = 1; seed <= nr_seeds(30); seed++) {
		struct rng r = { seed };
		struct bkeys b;
		unsigned nr = (unsigned)rng_below(&r, rng_one_in(&r, 2) ? 30 : 2500);

		new_bkeys(&b, &g, NODE_BYTES, false);
		fill(&b, &r, next, nr, (unsigned)rng_below(&r, 8));
		bkeys_close_set(&b);
		check_ok(&b, seed);
		search_everywhere(&b, &r);
		b.sets[0].indexed = false; /* as the open set is searched; only line_first is the same */
		search_everywhere(&b, &r);
		free_bkeys(&b);
	}
}

static void evenly_spaced_keys_are_found(void **state) { test_distribution(even); }
static void keys_at_steps_of_all_magnitudes_are_found(void **state) { test_distribution(random_steps); }
static void keys_within_one_tie_are_found(void **state) { test_distribution(one_tie); }
static void keys_at_the_end_of_key_space_are_found(void **state) { test_distribution(near_the_end); }
static void offsets_that_use_all_64_bits_are_found(void **state) { test_distribution(beyond_2_63); }
static void keys_of_many_inodes_are_found(void **state) { test_distribution(many_inodes); }
static void keys_of_far_apart_inodes_are_found(void **state) { test_distribution(far_inodes); }
static void keys_in_front_of_the_maximum_are_found(void **state) { test_distribution(maximum_often); }
static void the_first_of_equal_keys_is_found(void **state) { test_distribution(often_equal); }

static uint64_t ties(next_fn *next)
{
	struct geometry g = test_geometry();
	struct bkeys_stats st = { 0 };
	struct rng r = { 1 };
	struct bkeys b;

	new_bkeys(&b, &g, NODE_BYTES, false);
	fill(&b, &r, next, 2500, 1);
	bkeys_close_set(&b);
	bkeys_stats_add(&b, &st);
	assert_in_range(st.lines, 400, 512);
	free_bkeys(&b);
	return st.ties;
}

static void usual_distributions_leave_no_ties(void **state)
{
	assert_int_equal(ties(even), 0);
	assert_int_equal(ties(near_the_end), 0);
	assert_int_equal(ties(many_inodes), 0);
	assert_int_equal(ties(maximum_last), 0);
	assert_true(ties(one_tie) > 200); /* or the test of ties tests nothing */
}

/* Cuts lower ENDs below everything the scale was made for. */
static void cut_keys_are_still_found(void **state)
{
	struct geometry g = test_geometry();

	for (uint64_t seed = 1; seed <= nr_seeds(30); seed++) {
		struct rng r = { seed };
		struct bkeys b;

		new_bkeys(&b, &g, NODE_BYTES, true);
		bkeys_open_set(&b, 0, 0, 1);
		for (uint64_t i = 0; i < 1000; i++) {
			struct bkey *k = bset_end(bkeys_open(&b));

			bkey_init(k, 1, 100000 + i * 1000, 1000);
			bkeys_open(&b)->nr_words += bkey_words(k);
		}
		bkeys_close_set(&b);
		bkeys_open_set(&b, KIB(32), 0, 1);
		for (unsigned i = 0; i < 300 && bkeys_room_words(&b) >= BKEYS_INSERT_ROOM; i++) {
			struct bkey_buf k;

			bkey_init(&k.k, 1, i ? 100000 + rng_below(&r, 1000000) : 100000, 1 + (uint32_t)rng_below(&r, 999));
			assert_int_not_equal(bkeys_insert_extent(&b, &k.k, NULL, NULL), BKEYS_COLLISION);
		}
		check_ok(&b, seed);
		bkeys_close_set(&b);
		b.nr_sets = 1; /* what scan() looks at */
		search_everywhere(&b, &r);
		free_bkeys(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(evenly_spaced_keys_are_found),
		cmocka_unit_test(keys_at_steps_of_all_magnitudes_are_found),
		cmocka_unit_test(keys_within_one_tie_are_found),
		cmocka_unit_test(keys_at_the_end_of_key_space_are_found),
		cmocka_unit_test(offsets_that_use_all_64_bits_are_found),
		cmocka_unit_test(keys_of_many_inodes_are_found),
		cmocka_unit_test(keys_of_far_apart_inodes_are_found),
		cmocka_unit_test(keys_in_front_of_the_maximum_are_found),
		cmocka_unit_test(the_first_of_equal_keys_is_found),
		cmocka_unit_test(usual_distributions_leave_no_ties),
		cmocka_unit_test(cut_keys_are_still_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
