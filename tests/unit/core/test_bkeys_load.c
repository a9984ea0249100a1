/* SPDX-License-Identifier: GPL-2.0-only */
/* Node images that no honest writer makes: the result is right or refused, in little time, and nothing else is touched. */
#include <time.h>
#include "tests/unit/core/test_bkeys.h"

#define SECTORS 400u
#define INODES 2u

/* Per sector the set and key that shows: the painter's view of overlaps. */
struct paint {
	uint64_t ptr[INODES][SECTORS];
};

static struct bset *new_set(void)
{
	struct bset *s = test_pages(KIB(64));

	s->nr_words = 0;
	return s;
}

static void add_key(struct bset *s, const struct bkey *k)
{
	bkey_copy(bset_end(s), k);
	s->nr_words += bkey_words(k);
}

static void add_extent(struct bset *s, uint32_t inode, uint64_t start, uint32_t size, uint64_t ptr, unsigned nr_ptrs)
{
	struct bkey_buf k;

	bkey_init(&k.k, inode, start + size, size);
	bkey_set_ptrs(&k.k, nr_ptrs);
	for (unsigned i = 0; i < nr_ptrs; i++)
		k.k.ptr[i] = ptr;
	add_key(s, &k.k);
}

static void paint_key(struct paint *p, const struct bkey *k)
{
	for (uint32_t i = 0; i < bkey_size(k); i++)
		p->ptr[bkey_inode(k)][bkey_start(k) + i] = bkey_ptrs(k) ? ptr_add(k->ptr[0], i) : 1;
}

static void paint_set(struct paint *p, const struct bset *s)
{
	for (const struct bkey *k = bset_first(s); k < bset_end(s); k = bkey_next(k))
		paint_key(p, k);
}

/* In order, not overlapping, with empty keys in between. */
static void random_set(struct rng *r, struct bset *s, uint64_t id, unsigned max_gap, unsigned max_size, uint32_t max_words)
{
	s->nr_words = 0;
	for (uint32_t inode = 0; inode < INODES; inode++)
		for (uint64_t at = rng_below(r, max_gap); at < SECTORS && s->nr_words + 8 <= max_words;) {
			uint32_t size = (uint32_t)rng_below(r, max_size);

			size = (uint32_t)min((uint64_t)size, SECTORS - at);
			add_extent(s, inode, at, size, ptr_make(0, 256 + id * 1000 + at, (uint8_t)id),
				   (unsigned)rng_below(r, 3));
			at += size + rng_below(r, max_gap);
		}
}

static int load(struct bkeys *b, const struct image *im)
{
	struct node_view v = image_view(im);
	char text[300];
	struct printbuf why = PRINTBUF(text);
	int r = bkeys_load(b, &v, im->nr_sets, &why);

	if (r < 0) {
		assert_true(why.len_bytes > 0);
		assert_int_equal(b->nr_sets, 0);
	}
	return r;
}

static void any_overlaps_of_any_number_of_sets_resolve_to_the_newest(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	unsigned too_large = 0;

	for (uint64_t seed = 1; seed <= nr_seeds(3000); seed++) {
		struct rng r = { seed };
		static struct paint want, have;
		unsigned nr_sets = 1 + (unsigned)rng_below(&r, rng_one_in(&r, 4) ? 120 : 6);
		uint32_t max_words = rng_one_in(&r, 2) ? 60 : 400;
		struct image im;
		struct bkeys b;

		image_init(&im, KIB(64), seed);
		memset(&want, 0, sizeof(want));
		for (unsigned i = 0; i < nr_sets; i++) {
			random_set(&r, s, i, 1 + (unsigned)rng_below(&r, 60), 1 + (unsigned)rng_below(&r, 60), max_words);
			if (!s->nr_words || bset_bytes(s) > im.node_bytes - im.written_bytes)
				continue;
			image_append(&im, s);
			paint_set(&want, s);
		}
		if (!im.nr_sets)
			image_append(&im, s);
		image_assert_valid(&im);
		new_bkeys(&b, &g, im.node_bytes, true);
		if (load(&b, &im) < 0) {
			too_large++;
		} else {
			check_ok(&b, seed);
			memset(&have, 0, sizeof(have));
			paint_set(&have, b.sets[0].set);
			assert_memory_equal(&have, &want, sizeof(want));
		}
		free_bkeys(&b);
		free(im.bytes);
	}
	assert_true(too_large < nr_seeds(3000) / 4);
	free(s);
}

static void an_image_that_grows_beyond_its_space_is_refused(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	struct image im;
	struct bkeys b;

	/* One key of six pointers, seen through the gaps between many holes. */
	image_init(&im, KIB(4), 1);
	add_extent(s, 1, 0, 400, ptr_make(0, 256, 1), 6);
	image_append(&im, s);
	s->nr_words = 0;
	for (uint64_t at = 1; at < 399; at += 2)
		add_extent(s, 1, at, 1, 0, 0);
	image_append(&im, s);
	image_assert_valid(&im);
	new_bkeys(&b, &g, im.node_bytes, true);
	assert_int_equal(load(&b, &im), -EUCLEAN);
	free_bkeys(&b);
	free(im.bytes);
	free(s);
}

static void expect_refused(struct bset *s, bool leaf)
{
	struct geometry g = test_geometry();
	struct image im;
	struct bkeys b;

	image_init(&im, KIB(4), 1);
	image_append(&im, s);
	image_assert_valid(&im);
	new_bkeys(&b, &g, im.node_bytes, leaf);
	assert_int_equal(load(&b, &im), -EUCLEAN);
	free_bkeys(&b);
	free(im.bytes);
	s->nr_words = 0;
}

static void sets_that_break_their_own_order_are_refused(void **state)
{
	struct bset *s = new_set();

	add_extent(s, 1, 50, 10, 0, 0);
	add_extent(s, 1, 10, 10, 0, 0);
	expect_refused(s, true);
	add_extent(s, 1, 10, 10, 0, 0);
	add_extent(s, 1, 19, 10, 0, 0);
	expect_refused(s, true);
	add_extent(s, 2, 10, 10, 0, 0);
	add_extent(s, 1, 50, 10, 0, 0);
	expect_refused(s, true);
	add_extent(s, 1, -5ull, 10, 0, 0);
	expect_refused(s, true);
	add_extent(s, 1, 50, 10, 0, 1);
	add_extent(s, 1, 10, 10, 0, 1);
	expect_refused(s, false);
	free(s);
}

static void empty_keys_on_disk_matter_nowhere(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	struct image im;
	struct bkeys b;

	image_init(&im, KIB(4), 1);
	add_extent(s, 1, 500, 0, 0, 0);
	add_extent(s, 0, 0, 0, 0, 3);
	add_extent(s, 1, 0, 60, ptr_make(0, 256, 1), 1);
	add_extent(s, 1, 700, 0, 0, 0);
	add_extent(s, 1, 60, 40, ptr_make(0, 316, 1), 1);
	add_extent(s, 1, 50, 0, 0, 0);
	image_append(&im, s);
	s->nr_words = 0;
	add_extent(s, 1, 20, 0, 0, 0);
	image_append(&im, s);
	new_bkeys(&b, &g, im.node_bytes, true);
	assert_int_equal(load(&b, &im), 0);
	check_ok(&b, 0);
	assert_int_equal(bkeys_total_words(&b), 3);
	assert_int_equal(bkey_size(bset_first(b.sets[0].set)), 100);
	free_bkeys(&b);
	free(im.bytes);
	free(s);
}

static void an_empty_root_loads(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	struct bkeys_iter it;
	struct image im;
	struct bkeys b;

	image_init(&im, KIB(4), 1);
	image_append(&im, s);
	new_bkeys(&b, &g, im.node_bytes, true);
	assert_int_equal(load(&b, &im), 0);
	check_ok(&b, 0);
	bkeys_iter_init(&it, &b, BPOS_MIN);
	assert_null(bkeys_iter_next(&it));
	bkeys_open_set(&b, im.written_bytes, 0, 1);
	check_ok(&b, 0);
	free_bkeys(&b);
	free(im.bytes);
	free(s);
}

/* The worst known: every block a set whose one key lies under all others, below a newest set of many small keys. */
static void thousands_of_overlapping_sets_take_little_time(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	clock_t start;
	struct image im;
	struct bkeys b;

	image_init(&im, (uint32_t)MIB(4), 1);
	add_extent(s, 1, 0, 65000, ptr_make(0, 256, 1), 1);
	for (unsigned i = 0; i < 8192 - 120; i++)
		image_append(&im, s);
	s->nr_words = 0;
	for (uint64_t at = 0; at < 2400; at++)
		add_extent(s, 1, at * 27, 13 + at % 14, ptr_make(0, 256 + at * 100, 1), 1);
	image_append(&im, s);
	image_assert_valid(&im);
	new_bkeys(&b, &g, im.node_bytes, true);
	start = clock();
	assert_int_equal(load(&b, &im), 0);
	assert_true(clock() - start < CLOCKS_PER_SEC / 2);
	check_ok(&b, 0);
	free_bkeys(&b);
	free(im.bytes);
	free(s);
}

/* --- interior nodes ---------------------------------------------------------------------------------------------------- */

static void add_ptr(struct bset *s, uint32_t inode, uint64_t bound, uint64_t bucket, uint8_t gen)
{
	struct bkey_buf k;

	bkey_init(&k.k, inode, bound, 8);
	bkey_set_ptrs(&k.k, 1);
	k.k.ptr[0] = ptr_make(0, bucket * 256, gen);
	add_key(s, &k.k);
}

static void old_and_new_pointers_with_one_bound_coexist_newest_first(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	struct bkeys_iter it;
	struct image im;
	struct bkeys b;

	image_init(&im, KIB(4), 1);
	add_ptr(s, 1, 100, 10, 1);
	add_ptr(s, BKEY_INODE_MAX, BKEY_OFFSET_MAX, 11, 1);
	image_append(&im, s);
	s->nr_words = 0;
	add_ptr(s, 0, 0, 10, 2); /* 10 is retired for 12 and 13 */
	add_ptr(s, 1, 50, 12, 1);
	add_ptr(s, 1, 100, 13, 1);
	image_append(&im, s);
	new_bkeys(&b, &g, im.node_bytes, false);
	assert_int_equal(load(&b, &im), 0);
	check_ok(&b, 0);
	assert_int_equal(bkeys_total_words(&b), 15);
	bkeys_iter_init(&it, &b, bpos(1, 50));
	assert_int_equal(ptr_sector(bkeys_iter_next(&it)->ptr[0]), 13 * 256);
	assert_int_equal(ptr_sector(bkeys_iter_next(&it)->ptr[0]), 10 * 256);
	assert_int_equal(ptr_sector(bkeys_iter_next(&it)->ptr[0]), 11 * 256);
	assert_null(bkeys_iter_next(&it));
	bkeys_iter_init(&it, &b, BPOS_MIN); /* never a zero key */
	assert_int_equal(ptr_sector(bkeys_iter_next(&it)->ptr[0]), 12 * 256);
	bkeys_iter_init_all(&it, &b);
	assert_true(bkey_is_zero_pos(bkeys_iter_next(&it)));
	free_bkeys(&b);
	free(im.bytes);
	free(s);
}

static void pointers_that_look_like_neighbours_are_not_merged(void **state)
{
	struct geometry g = test_geometry();
	struct bset *s = new_set();
	struct image im;
	struct bkeys b;

	image_init(&im, KIB(4), 1);
	add_ptr(s, 1, 8, 1, 1);
	add_ptr(s, 1, 16, 1, 1);
	bkey_next(bset_first(s))->ptr[0] = ptr_add(bset_first(s)->ptr[0], 8);
	image_append(&im, s);
	new_bkeys(&b, &g, im.node_bytes, false);
	assert_int_equal(load(&b, &im), 0);
	assert_int_equal(bkeys_total_words(&b), 6);
	free_bkeys(&b);
	free(im.bytes);
	free(s);
}

static void interior_keys_come_in_order_however_they_were_inserted(void **state)
{
	struct geometry g = test_geometry();
	void *scratch = test_pages(KIB(16));

	for (uint64_t seed = 1; seed <= nr_seeds(500); seed++) {
		struct rng r = { seed };
		const struct bkey *k, *prev = NULL;
		struct bkeys_iter it;
		struct image im;
		struct bkeys b;
		unsigned nr = 0, nr_inserted = 1 + (unsigned)rng_below(&r, 150);

		new_bkeys(&b, &g, KIB(16), false);
		image_init(&im, KIB(16), seed);
		bkeys_open_set(&b, 0, 0, seed);
		for (unsigned i = 0; i < nr_inserted; i++) {
			struct bkey_buf ptr;

			bkey_init(&ptr.k, (uint32_t)rng_below(&r, 2), rng_below(&r, 30), 8);
			bkey_set_ptrs(&ptr.k, 1);
			ptr.k.ptr[0] = ptr_make(0, i, 0); /* rises with age */
			bkeys_insert_ptr(&b, &ptr.k);
			check_ok(&b, seed);
			if (!rng_one_in(&r, 20))
				continue;
			image_append(&im, bkeys_open(&b));
			bkeys_close_set(&b);
			if (rng_one_in(&r, 2) || b.nr_sets == MAX_BSETS)
				bkeys_sort_lazy(&b, scratch);
			check_ok(&b, seed);
			bkeys_open_set(&b, im.written_bytes, 0, seed);
		}
		if (bkeys_open(&b)->nr_words)
			image_append(&im, bkeys_open(&b));
		for (unsigned pass = 0; pass < 2; pass++) { /* in memory, then as read back */
			bkeys_iter_init_all(&it, &b);
			for (nr = 0, prev = NULL; (k = bkeys_iter_next(&it)); nr++, prev = k) {
				if (!prev)
					continue;
				assert_true(bkey_cmp(prev, k) <= 0);
				if (!bkey_cmp(prev, k) && !bkey_is_zero_pos(k))
					assert_true(prev->ptr[0] > k->ptr[0]);
			}
			assert_int_equal(nr, nr_inserted);
			if (!pass) {
				assert_int_equal(load(&b, &im), 0);
				check_ok(&b, seed);
			}
		}
		free_bkeys(&b);
		free(im.bytes);
	}
	free(scratch);
}

static void a_split_never_separates_pointers_with_one_bound_nor_bounds_a_node_by_a_marker(void **state)
{
	struct geometry g = test_geometry();

	for (unsigned nr_markers = 0; nr_markers < 10; nr_markers++)
		for (unsigned nr_equal = 1; nr_equal < 10; nr_equal++) {
			struct bkeys b, upper;
			const struct bkey *last;
			struct bkey_buf k;

			new_bkeys(&b, &g, KIB(4), false);
			new_bkeys(&upper, &g, KIB(4), false);
			bkeys_open_set(&b, 0, 0, 1);
			bkeys_open_set(&upper, 0, 0, 1);
			for (unsigned i = 0; i < nr_markers + nr_equal + 2; i++) {
				uint64_t bound = i < nr_markers ? 0 : i < nr_markers + nr_equal ? 100 : 100 + i;

				bkey_init(&k.k, 0, bound, 8);
				bkey_set_ptrs(&k.k, 1);
				k.k.ptr[0] = ptr_make(0, i, 0);
				bkeys_insert_ptr(&b, &k.k);
			}
			last = bkeys_split_into(&b, &upper, 3, 5);
			check_ok(&b, nr_markers);
			check_ok(&upper, nr_markers);
			assert_true(bkeys_open(&upper)->nr_words > 0);
			assert_false(bkey_is_zero_pos(last));
			assert_ptr_equal(bkey_next(last), bset_end(bkeys_open(&b)));
			assert_true(bkey_cmp(last, bset_first(bkeys_open(&upper))) < 0);
			free_bkeys(&b);
			free_bkeys(&upper);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_root_loads),
		cmocka_unit_test(empty_keys_on_disk_matter_nowhere),
		cmocka_unit_test(sets_that_break_their_own_order_are_refused),
		cmocka_unit_test(an_image_that_grows_beyond_its_space_is_refused),
		cmocka_unit_test(thousands_of_overlapping_sets_take_little_time),
		cmocka_unit_test(any_overlaps_of_any_number_of_sets_resolve_to_the_newest),
		cmocka_unit_test(old_and_new_pointers_with_one_bound_coexist_newest_first),
		cmocka_unit_test(pointers_that_look_like_neighbours_are_not_merged),
		cmocka_unit_test(interior_keys_come_in_order_however_they_were_inserted),
		cmocka_unit_test(a_split_never_separates_pointers_with_one_bound_nor_bounds_a_node_by_a_marker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
