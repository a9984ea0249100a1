/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/crc64.h"
#include "tests/unit/formats/helpers.h"

#define MAGIC EXAMPLE_SET_MAGIC
#define NODE_PTR 0x6001ull
#define SEQ 0x8eba86c0800aa4ecull

/* A bset with room for 64 words. */
struct set_buf {
	union {
		struct bset s;
		uint64_t raw[4 + 64];
	};
};

static void add_key(struct set_buf *b, uint32_t inode, uint64_t end, uint32_t size, unsigned nr_ptrs)
{
	struct bkey *k = bset_end(&b->s);

	bkey_init(k, inode, end, size);
	bkey_set_ptrs(k, nr_ptrs);
	for (unsigned i = 0; i < nr_ptrs; i++)
		k->ptr[i] = ptr_make(0, 24 + i, 1);
	b->s.nr_words += bkey_words(k);
}

static void seal(struct set_buf *b, uint32_t version)
{
	b->s.magic = bset_magic(MAGIC);
	b->s.seq = SEQ;
	b->s.version = version;
	b->s.csum = bset_csum(&b->s, NODE_PTR);
}

static void expect(const struct set_buf *b, size_t avail_bytes, int expected, const char *phrase)
{
	struct bset *s = tight_copy(b, avail_bytes);
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_judged(bset_validate(s, avail_bytes, MAGIC, NODE_PTR, &why), expected, text, phrase);
	assert_int_equal(bset_validate(s, avail_bytes, MAGIC, NODE_PTR, NULL), expected);
	free(s);
}

static void both_versions_are_read(void **state)
{
	struct set_buf b = { 0 };

	add_key(&b, 0, 10, 2, 1);
	seal(&b, 1);
	expect(&b, bset_bytes(&b.s), 0, "");
	assert_true(b.s.csum == (uint64_t)~crc64_update(NODE_PTR, &b.s.magic, bset_bytes(&b.s) - 8));
	seal(&b, 0);
	expect(&b, bset_bytes(&b.s), 0, "");
	assert_true(b.s.csum == crc64_csum(&b.s.magic, bset_bytes(&b.s) - 8));
}

static void a_set_of_another_node_is_refused(void **state)
{
	struct set_buf b = { 0 };

	seal(&b, 1);
	assert_int_equal(bset_validate(&b.s, sizeof(b), MAGIC, NODE_PTR, NULL), 0);
	assert_int_equal(bset_validate(&b.s, sizeof(b), MAGIC, NODE_PTR + 1, NULL), -EBADMSG); /* next gen */
	assert_int_equal(bset_validate(&b.s, sizeof(b), MAGIC + 1, NODE_PTR, NULL), -EBADMSG);
}

static void each_way_of_being_wrong_has_its_reason(void **state)
{
	struct set_buf good = { 0 }, b;
	size_t len;

	add_key(&good, 0, 10, 2, 1);
	add_key(&good, 0, 20, 2, 0);
	seal(&good, 1);
	len = bset_bytes(&good.s);
	for (size_t avail = 0; avail < len; avail++)
		expect(&good, avail, -EUCLEAN, avail < 32 ? "no room" : "does not fit");
	b = good;
	seal(&b, 2);
	expect(&b, len, -EUCLEAN, "version 2");
	b = good;
	b.s.magic ^= 1;
	expect(&b, len, -EBADMSG, "bad magic");
	b = good;
	b.s.words[1] ^= 1;
	expect(&b, len, -EBADMSG, "bad checksum");
	b = good;
	b.s.nr_words = UINT32_MAX;
	expect(&b, len, -EUCLEAN, "does not fit");
	b = good;
	b.s.nr_words--;
	seal(&b, 1);
	expect(&b, len, -EUCLEAN, "malformed key at word 3 of 4");
	b = good;
	bkey_set_ptrs(bset_first(&b.s), 7);
	seal(&b, 1);
	expect(&b, len, -EUCLEAN, "malformed key at word 0");
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct set_buf b = { 0 };

	for (unsigned i = 1; i <= 10; i++)
		add_key(&b, 0, i * 10, 5, i % 3);
	seal(&b, 1);
	for (size_t bit = 0; bit < bset_bytes(&b.s) * 8; bit++) {
		flip_bit(&b, bit);
		assert_true(bset_validate(&b.s, sizeof(b), MAGIC, NODE_PTR, NULL) < 0);
		flip_bit(&b, bit);
	}
	assert_int_equal(bset_validate(&b.s, sizeof(b), MAGIC, NODE_PTR, NULL), 0);
}

/* With a valid checksum an attacker can put anything into the keys. */
static void sealed_random_keys_are_walked_within_bounds(void **state)
{
	for (int n = 0; n < 5000; n++) {
		struct set_buf b;
		struct bset *s;
		uint32_t at = 0;

		rnd_fill(&b, sizeof(b));
		b.s.nr_words = (uint32_t)rnd_below(65);
		seal(&b, 1);
		s = tight_copy(&b, bset_bytes(&b.s));
		if (bset_validate(s, bset_bytes(s), MAGIC, NODE_PTR, NULL) == 0) {
			while (at < s->nr_words)
				at += 2 + (uint32_t)(s->words[at] >> 60 & 7);
			assert_int_equal(at, s->nr_words);
			assert_true(bset_order_validate(s, true, NULL) <= 0);
			assert_true(bset_order_validate(s, false, NULL) <= 0);
		} else {
			assert_true(bset_walk_words(s) < s->nr_words);
		}
		free(s);
	}
}

static void expect_order(const struct set_buf *b, bool leaf, int expected, const char *phrase)
{
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_judged(bset_order_validate(&b->s, leaf, &why), expected, text, phrase);
}

static void leaves_are_ordered_by_start_without_overlap(void **state)
{
	struct set_buf b = { 0 };

	expect_order(&b, true, 0, "");
	add_key(&b, 0, 10, 10, 1);
	add_key(&b, 0, 20, 10, 0);
	add_key(&b, 0, 30, 5, 1);
	add_key(&b, 1, 5, 5, 1);
	expect_order(&b, true, 0, "");
	add_key(&b, 1, 9, 5, 1);
	expect_order(&b, true, -EUCLEAN, "keys overlap: 1:0 len 5");
	b = (struct set_buf){ 0 };
	add_key(&b, 0, 30, 5, 1);
	add_key(&b, 0, 20, 10, 0);
	expect_order(&b, true, -EUCLEAN, "out of order: 0:25 len 5 -> [0:24 gen 1] before 0:10");
	b = (struct set_buf){ 0 };
	add_key(&b, 1, 3, 3, 1);
	add_key(&b, 0, 20, 10, 0);
	expect_order(&b, true, -EUCLEAN, "out of order");
}

static void empty_extents_may_lie_inside_others(void **state)
{
	struct set_buf b = { 0 };

	add_key(&b, 0, 20, 20, 1);
	add_key(&b, 0, 10, 0, 1); /* its start, 10, follows 0 */
	add_key(&b, 0, 30, 10, 1);
	expect_order(&b, true, 0, "");
	/* but they do not hide an overlap of their neighbours */
	b = (struct set_buf){ 0 };
	add_key(&b, 0, 20, 20, 1);
	add_key(&b, 0, 10, 0, 1);
	add_key(&b, 0, 29, 10, 1);
	expect_order(&b, true, -EUCLEAN, "overlap");
}

static void interior_sets_are_ordered_by_end(void **state)
{
	struct set_buf b = { 0 };

	add_key(&b, 0, 0, 8, 1); /* retired children come first */
	add_key(&b, 0, 0, 8, 1);
	add_key(&b, 0, 10, 8, 1); /* equal bounds: an old child and its replacement */
	add_key(&b, 0, 10, 8, 1);
	add_key(&b, 0, 12, 8, 1);
	expect_order(&b, false, 0, "");
	add_key(&b, 0, 11, 8, 1);
	expect_order(&b, false, -EUCLEAN, "out of order");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_versions_are_read),
		cmocka_unit_test(a_set_of_another_node_is_refused),
		cmocka_unit_test(each_way_of_being_wrong_has_its_reason),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(sealed_random_keys_are_walked_within_bounds),
		cmocka_unit_test(leaves_are_ordered_by_start_without_overlap),
		cmocka_unit_test(empty_extents_may_lie_inside_others),
		cmocka_unit_test(interior_sets_are_ordered_by_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
