/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/formats/helpers.h"

#define SPACE 600u /* sectors of the naive model */

/* What a key says, sector by sector: 0 = nothing, else 1 + sector on the cache, or 1 for a hole. */
struct model {
	uint64_t at[SPACE];
};

static struct model model_of(const struct bkey *k)
{
	struct model m = { { 0 } };

	for (uint64_t s = bkey_start(k); s < bkey_offset(k); s++)
		m.at[s] = 1 + (bkey_ptrs(k) ? ptr_sector(k->ptr[0]) + (s - bkey_start(k)) : 0);
	return m;
}

static void make_key(struct bkey_buf *b, uint64_t start, uint32_t size, uint64_t ptr)
{
	memset(b, 0, sizeof(*b));
	bkey_init(&b->k, 1, start + size, size);
	if (ptr) {
		bkey_set_ptrs(&b->k, 1);
		b->k.ptr[0] = ptr;
	}
}

static void random_key(struct bkey_buf *b)
{
	uint32_t size = (uint32_t)rnd_below(200) + 1;

	make_key(b, rnd_below(SPACE - size), size, rnd() & 1 ? ptr_make(0, rnd_below(1 << 20), (uint8_t)rnd()) : 0);
	bkey_set_dirty(&b->k, rnd() & 1);
}

static void bit_fields_keep_to_themselves(void **state)
{
	struct bkey_buf b;

	for (int i = 0; i < 1000; i++) {
		uint32_t inode = (uint32_t)rnd_below(1 << 20), size = (uint32_t)rnd_below(1 << 16);
		unsigned ptrs = (unsigned)rnd_below(8), csum = (unsigned)rnd_below(4);
		bool dirty = rnd() & 1;
		uint64_t junk = rnd(), offset = rnd();

		b.k.high = junk;
		bkey_set_inode(&b.k, inode);
		bkey_set_size(&b.k, size);
		bkey_set_dirty(&b.k, dirty);
		bkey_set_csum(&b.k, csum);
		bkey_set_ptrs(&b.k, ptrs);
		bkey_set_offset(&b.k, offset);
		assert_int_equal(bkey_inode(&b.k), inode);
		assert_int_equal(bkey_size(&b.k), size);
		assert_int_equal(bkey_dirty(&b.k), dirty);
		assert_int_equal(bkey_csum(&b.k), csum);
		assert_int_equal(bkey_ptrs(&b.k), ptrs);
		assert_int_equal(bkey_words(&b.k), 2 + ptrs);
		assert_true(bkey_offset(&b.k) == offset);
		/* Bits that belong to no field stay as they were. */
		assert_true(((b.k.high ^ junk) & 0x8cffffe000000000ull) == 0);
	}
}

static void pointers_pack_and_unpack(void **state)
{
	for (int i = 0; i < 1000; i++) {
		unsigned dev = (unsigned)rnd_below(4096);
		uint64_t sector = rnd_below(1ull << 43);
		uint8_t gen = (uint8_t)rnd();
		uint64_t p = ptr_make(dev, sector, gen);

		assert_int_equal(ptr_dev(p), dev);
		assert_true(ptr_sector(p) == sector);
		assert_int_equal(ptr_gen(p), gen);
		/* Check keys have a random top bit. */
		assert_int_equal(ptr_dev(p | 1ull << 63), dev);
		assert_int_equal(ptr_available(p), dev < 8);
	}
	assert_true(ptr_make(0, 240, 1) == 0xf001);
}

static void advancing_a_pointer_never_changes_its_device(void **state)
{
	uint64_t last = (1ull << 43) - 1, p = ptr_add(ptr_make(PTR_DEV_CHECK, last, 7), 5);

	assert_int_equal(ptr_dev(p), PTR_DEV_CHECK);
	assert_int_equal(ptr_gen(p), 7);
	assert_true(ptr_sector(p) == 4);
	assert_true(ptr_add(ptr_make(0, 224, 1), 2) == ptr_make(0, 226, 1));
}

static void special_keys_have_their_known_words(void **state)
{
	struct bkey_buf b;

	bkey_init(&b.k, 0, 0, 0);
	assert_true(b.k.high == 0x8000000000000000ull && b.k.low == 0);
	bkey_init(&b.k, BKEY_INODE_MAX, BKEY_OFFSET_MAX, 0);
	assert_true(b.k.high == 0x80000000000fffffull && b.k.low == 0x7fffffffffffffffull);
	bkey_init(&b.k, 0, 192, 2);
	bkey_set_dirty(&b.k, true);
	bkey_set_ptrs(&b.k, 1);
	assert_true(b.k.high == 0x9000001000200000ull && b.k.low == 0xc0);
}

static void generations_compare_modulo_256(void **state)
{
	assert_int_equal(gen_after(5, 5), 0);
	assert_int_equal(gen_after(6, 5), 1);
	assert_int_equal(gen_after(5, 6), 0);
	assert_int_equal(gen_after(1, 254), 3);
	assert_int_equal(gen_after(128, 0), 128);
	assert_int_equal(gen_after(129, 0), 0);
}

static void order_is_inode_then_end(void **state)
{
	struct bkey_buf a, b;

	make_key(&a, 10, 10, 0);
	make_key(&b, 0, 20, 1);
	assert_int_equal(bkey_cmp(&a.k, &b.k), 0); /* size and pointers take no part */
	bkey_set_inode(&b.k, 0);
	bkey_set_offset(&b.k, 1000);
	assert_true(bkey_cmp(&a.k, &b.k) > 0 && bkey_cmp(&b.k, &a.k) < 0);
	assert_true(bpos_cmp(BPOS_MIN, BPOS_MAX) < 0);
}

static void cutting_agrees_with_a_sector_array(void **state)
{
	for (int n = 0; n < 20000; n++) {
		struct bkey_buf front, back;
		struct model whole, m;
		uint64_t at = rnd_below(SPACE), start, end;

		random_key(&front);
		back = front;
		whole = model_of(&front.k);
		start = bkey_start(&front.k);
		end = bkey_offset(&front.k);

		bkey_cut_front(&front.k, bpos(1, at));
		m = model_of(&front.k);
		for (unsigned s = 0; s < SPACE; s++)
			assert_true(m.at[s] == (s < at ? 0 : whole.at[s]));
		assert_true(bkey_offset(&front.k) == max(at, end));

		bkey_cut_back(&back.k, bpos(1, at));
		m = model_of(&back.k);
		for (unsigned s = 0; s < SPACE; s++)
			assert_true(m.at[s] == (s >= at ? 0 : whole.at[s]));
		assert_true(bkey_offset(&back.k) == min(at, end));
		assert_true(bkey_start(&back.k) == min(at, start));
	}
}

static void cutting_a_placeholder_leaves_it_one(void **state)
{
	for (int n = 0; n < 1000; n++) {
		struct bkey_buf b;

		make_key(&b, 100, 100, ptr_make(PTR_DEV_CHECK, (1ull << 43) - 1 - rnd_below(120), 3) | 1ull << 63);
		bkey_cut_front(&b.k, bpos(1, 101 + rnd_below(150)));
		assert_int_equal(ptr_dev(b.k.ptr[0]), PTR_DEV_CHECK);
		assert_false(ptr_available(b.k.ptr[0]));
	}
}

static void cutting_beyond_another_inode_empties_the_key(void **state)
{
	struct bkey_buf b;

	make_key(&b, 10, 10, 0);
	bkey_cut_front(&b.k, bpos(2, 5));
	assert_int_equal(bkey_size(&b.k), 0);
	assert_int_equal(bpos_cmp(bkey_pos(&b.k), bpos(2, 5)), 0);
	make_key(&b, 10, 10, 0);
	bkey_cut_back(&b.k, bpos(0, 500));
	assert_int_equal(bkey_size(&b.k), 0);
	assert_int_equal(bpos_cmp(bkey_pos(&b.k), bpos(0, 500)), 0);
}

static void merging_back_what_was_cut_gives_the_whole(void **state)
{
	struct geometry g;

	geometry_init(&g, 1, 1 << 20, 1024, 0);
	for (int n = 0; n < 5000; n++) {
		struct bkey_buf whole, l, r;
		uint64_t at;

		random_key(&whole);
		if (bkey_size(&whole.k) < 2)
			continue;
		/* The model's keys lie anywhere; a merge needs one bucket. */
		if (bkey_ptrs(&whole.k))
			whole.k.ptr[0] = ptr_make(0, rnd_below((1 << 20) - 200), 9);
		at = bkey_start(&whole.k) + 1 + rnd_below(bkey_size(&whole.k) - 1);
		l = r = whole;
		bkey_cut_back(&l.k, bpos(1, at));
		bkey_cut_front(&r.k, bpos(1, at));
		assert_int_equal(bkey_try_merge(&l.k, &r.k, &g), BKEY_MERGE_FULL);
		assert_memory_equal(&l, &whole, bkey_bytes(&whole.k));
	}
}

static void merging_at_the_size_limit_loses_nothing(void **state)
{
	struct geometry g = example_geometry();
	struct bkey_buf l, r;

	make_key(&l, 0, 60000, 0);
	make_key(&r, 60000, 10000, 0);
	assert_int_equal(bkey_try_merge(&l.k, &r.k, &g), BKEY_MERGE_PARTIAL);
	assert_int_equal(bkey_size(&l.k), BKEY_SIZE_MAX);
	assert_true(bkey_start(&l.k) == 0 && bkey_offset(&l.k) == bkey_start(&r.k) && bkey_offset(&r.k) == 70000);
	/* Nothing left to grow. */
	assert_int_equal(bkey_try_merge(&l.k, &r.k, &g), BKEY_MERGE_NONE);

	geometry_init(&g, 1, 1 << 20, 1024, 0);
	make_key(&l, 0, 65535, ptr_make(0, 100, 1));
	make_key(&r, 65535, 10, ptr_make(0, 65635, 1));
	assert_int_equal(bkey_try_merge(&l.k, &r.k, &g), BKEY_MERGE_NONE);
	bkey_cut_back(&l.k, bpos(1, 65530));
	make_key(&r, 65530, 10, ptr_make(0, 65630, 1));
	assert_int_equal(bkey_try_merge(&l.k, &r.k, &g), BKEY_MERGE_PARTIAL);
	assert_true(r.k.ptr[0] == ptr_make(0, 65635, 1) && bkey_size(&r.k) == 5);
}

static void keys_with_a_seam_are_not_merged(void **state)
{
	struct geometry g = example_geometry();
	struct bkey_buf l, r, good;

	make_key(&l, 100, 3, ptr_make(0, 224, 1));
	make_key(&good, 103, 2, ptr_make(0, 227, 1));
	assert_true(bkey_mergeable(&l.k, &good.k, &g));
#define SEAM(change)                                              \
	do {                                                      \
		r = good;                                         \
		change;                                           \
		assert_false(bkey_mergeable(&l.k, &r.k, &g));     \
		assert_int_equal(bkey_try_merge(&l.k, &r.k, &g), BKEY_MERGE_NONE); \
	} while (0)
	SEAM(bkey_set_inode(&r.k, 2));
	SEAM(bkey_set_dirty(&r.k, true));
	SEAM(bkey_set_csum(&r.k, 1));
	SEAM(bkey_set_ptrs(&r.k, 0));
	SEAM(bkey_set_offset(&r.k, 106));
	SEAM(bkey_set_offset(&r.k, 104));
	SEAM(bkey_set_size(&r.k, 0));
	SEAM(r.k.ptr[0] = ptr_make(0, 228, 1));
	SEAM(r.k.ptr[0] = ptr_make(0, 227, 2));
	SEAM(r.k.ptr[0] = ptr_make(1, 227, 1));
	/* Seamless, but across the end of bucket 28. */
	make_key(&l, 100, 8, ptr_make(0, 224, 1));
	make_key(&good, 108, 2, ptr_make(0, 232, 1));
	SEAM((void)0);
#undef SEAM
}

static void walking_stops_before_a_key_that_does_not_fit(void **state)
{
	uint64_t words[12] = { 0 };
	const uint64_t two = 2ull << 60, six = 6ull << 60, seven = 7ull << 60;

	assert_int_equal(bkey_walk_words(words, 0), 0);
	assert_int_equal(bkey_walk_words(words, 1), 0);
	assert_int_equal(bkey_walk_words(words, 12), 12);
	words[0] = two;
	assert_int_equal(bkey_walk_words(words, 4), 4);
	assert_int_equal(bkey_walk_words(words, 3), 0);
	words[4] = six;
	assert_int_equal(bkey_walk_words(words, 12), 12);
	assert_int_equal(bkey_walk_words(words, 11), 4);
	words[4] = seven; /* would not fit a bkey_buf */
	assert_int_equal(bkey_walk_words(words, 12), 4);
}

static void expect(int (*judge)(const struct bkey *, const struct geometry *, struct printbuf *), const struct bkey *k,
		   int expected, const char *phrase)
{
	struct geometry g = example_geometry();
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_judged(judge(k, &g, &why), expected, text, phrase);
	assert_int_equal(judge(k, &g, NULL), expected);
}

/* format.md §10.1 */
static void each_rule_for_extents_is_enforced(void **state)
{
	struct bkey_buf b;

	make_key(&b, 100, 8, ptr_make(0, 24, 1));
	expect(bkey_extent_validate, &b.k, 0, "");
	make_key(&b, 100, 32768, 0);
	expect(bkey_extent_validate, &b.k, 0, "");
	make_key(&b, 0, 8, ptr_make(PTR_DEV_CHECK, (1ull << 43) - 1, 0));
	expect(bkey_extent_validate, &b.k, 0, "");
	make_key(&b, 100, 0, ptr_make(0, 1ull << 42, 1));
	expect(bkey_extent_validate, &b.k, 0, ""); /* empty: skipped by everyone */

	make_key(&b, 100, 8, ptr_make(0, 24, 1));
	bkey_set_offset(&b.k, 7);
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "before sector 0");
	bkey_set_offset(&b.k, 1ull << 63);
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "2^63");
	make_key(&b, 100, 8, ptr_make(0, 25, 1));
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "crosses the end of bucket 3 by 1");
	make_key(&b, 100, 9, ptr_make(0, 24, 1));
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "crosses the end of bucket 3");
	make_key(&b, 100, 1, ptr_make(0, 23, 1));
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "bucket 2, valid are 3 to 1023");
	make_key(&b, 100, 1, ptr_make(0, 8192, 1));
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "bucket 1024");
	bkey_set_ptrs(&b.k, 7);
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "too many pointers");
	/* The second pointer counts as well. */
	make_key(&b, 100, 1, ptr_make(0, 24, 1));
	bkey_set_ptrs(&b.k, 2);
	b.k.ptr[1] = ptr_make(1, 0, 1);
	expect(bkey_extent_validate, &b.k, -EUCLEAN, "bucket 0");
}

/* format.md §11.6 */
static void each_rule_for_journalled_keys_is_enforced(void **state)
{
	struct bkey_buf b;

	make_key(&b, 100, 8, ptr_make(0, 24, 1));
	expect(bkey_journal_validate, &b.k, 0, "");
	make_key(&b, 100, 0, 0);
	expect(bkey_journal_validate, &b.k, -EUCLEAN, "empty extent");
	make_key(&b, 0, 0, 0);
	expect(bkey_journal_validate, &b.k, -EUCLEAN, "empty extent");
	make_key(&b, 100, 8, 0);
	bkey_set_offset(&b.k, 0);
	expect(bkey_journal_validate, &b.k, -EUCLEAN, "before sector 0");
	make_key(&b, 100, 9, ptr_make(0, 24, 1));
	expect(bkey_journal_validate, &b.k, -EUCLEAN, "crosses");
}

/* format.md §10.3 */
static void each_rule_for_node_pointers_is_enforced(void **state)
{
	struct bkey_buf good, b;

	make_key(&good, 0, 8, ptr_make(0, 96, 1));
	bkey_set_inode(&good.k, BKEY_INODE_MAX);
	bkey_set_offset(&good.k, BKEY_OFFSET_MAX);
	expect(bkey_node_validate, &good.k, 0, "");
	b = good;
	bkey_set_inode(&b.k, 0);
	bkey_set_offset(&b.k, 0);
	expect(bkey_node_validate, &b.k, 0, ""); /* a freed node's marker, or the uuid bucket */
	b = good;
	bkey_set_offset(&b.k, 3);
	expect(bkey_node_validate, &b.k, 0, ""); /* a bound below the size: the start means nothing */

#define BAD(change, phrase)                                              \
	do {                                                             \
		b = good;                                                \
		change;                                                  \
		expect(bkey_node_validate, &b.k, -EUCLEAN, phrase);      \
	} while (0)
	BAD(bkey_set_ptrs(&b.k, 0), "exactly one pointer");
	BAD(bkey_set_ptrs(&b.k, 2), "exactly one pointer");
	BAD(bkey_set_ptrs(&b.k, 7), "exactly one pointer");
	BAD(bkey_set_size(&b.k, 0), "size 0");
	BAD(bkey_set_size(&b.k, 9), "crosses");
	BAD(bkey_set_dirty(&b.k, true), "dirty");
	BAD(bkey_set_offset(&b.k, 1ull << 63), "2^63");
	BAD(b.k.ptr[0] = ptr_make(8, 96, 1), "device that does not exist");
	BAD((bkey_set_size(&b.k, 4), b.k.ptr[0] = ptr_make(0, 97, 1)), "not at the start of a bucket");
	BAD(b.k.ptr[0] = ptr_make(0, 16, 1), "bucket 2");
	BAD(b.k.ptr[0] = ptr_make(0, 8192, 1), "bucket 1024");
#undef BAD
}

static void keys_print_as_the_extent_dump_wants_them(void **state)
{
	struct bkey_buf b;
	char text[300];
	struct printbuf pb = PRINTBUF(text);

	make_key(&b, 190, 2, ptr_make(0, 224, 1));
	bkey_set_dirty(&b.k, true);
	bkey_to_text(&pb, &b.k);
	assert_string_equal(text, "1:190 len 2 -> [0:224 gen 1] dirty");
	printbuf_reset(&pb);
	make_key(&b, 190, 2, ptr_make(PTR_DEV_CHECK, 12345, 1));
	bkey_set_ptrs(&b.k, 2);
	b.k.ptr[1] = ptr_make(3, 9, 255);
	bkey_set_csum(&b.k, 1);
	bkey_to_text(&pb, &b.k);
	assert_string_equal(text, "1:190 len 2 -> [check dev, 3:9 gen 255] cs1");
	printbuf_reset(&pb);
	make_key(&b, 190, 2, 0);
	bkey_to_text(&pb, &b.k);
	assert_string_equal(text, "1:190 len 2 -> []");
}

static void judging_random_words_reads_nothing_beyond_the_key(void **state)
{
	struct geometry g = example_geometry();
	char text[300];
	int nr_good = 0;

	for (int n = 0; n < 20000; n++) {
		struct bkey_buf *b = malloc(sizeof(*b));
		struct printbuf pb = PRINTBUF(text);

		rnd_fill(b, sizeof(*b));
		nr_good += !bkey_extent_validate(&b->k, &g, &pb);
		nr_good += !bkey_journal_validate(&b->k, &g, &pb);
		nr_good += !bkey_node_validate(&b->k, &g, &pb);
		bkey_to_text(&pb, &b->k);
		free(b);
	}
	assert_true(nr_good < 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bit_fields_keep_to_themselves),
		cmocka_unit_test(pointers_pack_and_unpack),
		cmocka_unit_test(advancing_a_pointer_never_changes_its_device),
		cmocka_unit_test(special_keys_have_their_known_words),
		cmocka_unit_test(generations_compare_modulo_256),
		cmocka_unit_test(order_is_inode_then_end),
		cmocka_unit_test(cutting_agrees_with_a_sector_array),
		cmocka_unit_test(cutting_a_placeholder_leaves_it_one),
		cmocka_unit_test(cutting_beyond_another_inode_empties_the_key),
		cmocka_unit_test(merging_back_what_was_cut_gives_the_whole),
		cmocka_unit_test(merging_at_the_size_limit_loses_nothing),
		cmocka_unit_test(keys_with_a_seam_are_not_merged),
		cmocka_unit_test(walking_stops_before_a_key_that_does_not_fit),
		cmocka_unit_test(each_rule_for_extents_is_enforced),
		cmocka_unit_test(each_rule_for_journalled_keys_is_enforced),
		cmocka_unit_test(each_rule_for_node_pointers_is_enforced),
		cmocka_unit_test(keys_print_as_the_extent_dump_wants_them),
		cmocka_unit_test(judging_random_words_reads_nothing_beyond_the_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
