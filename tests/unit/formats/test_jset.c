/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/jset.h"
#include "tests/unit/formats/helpers.h"

#define MAGIC EXAMPLE_SET_MAGIC
#define EXAMPLE_BYTES 336u

struct entry_buf {
	union {
		struct jset j;
		uint64_t raw[30 + 64];
	};
};

/* format.md Appendix B.3: entry 4 of a real journal. */
static void make_example(struct entry_buf *b)
{
	const uint64_t keys[] = {
		0x9000001000200000, 0xc0, 0xe001, 0x9000001000300000, 0xd7, 0xe201,
		0x9000001000300000, 0x35, 0xe501, 0x9000001000100000, 0x36, 0x10801,
	};

	memset(b, 0, sizeof(*b));
	b->j.seq = 4;
	b->j.last_seq = 3;
	b->j.nr_words = ARRAY_SIZE(keys);
	b->j.uuid_bucket = (struct bkey_buf){ .words = { 0x9000000000800000, 0, 0xf001 } };
	b->j.btree_root = (struct bkey_buf){ .words = { 0x90000000008fffff, 0x7fffffffffffffff, 0x6001 } };
	b->j.prio_bucket[0] = 27;
	memcpy(b->j.words, keys, sizeof(keys));
	jset_seal(&b->j, MAGIC);
}

static void expect(const struct entry_buf *b, size_t avail_bytes, int expected, const char *phrase)
{
	struct jset *j = tight_copy(b, avail_bytes);
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_judged(jset_validate(j, avail_bytes, MAGIC, &why), expected, text, phrase);
	assert_int_equal(jset_validate(j, avail_bytes, MAGIC, NULL), expected);
	free(j);
}

static void the_example_entry_has_the_kernels_checksum(void **state)
{
	struct geometry g = example_geometry();
	struct entry_buf b;

	make_example(&b);
	assert_int_equal(jset_bytes(&b.j), EXAMPLE_BYTES);
	assert_true(b.raw[0] == 0xdc45a658d277cefd);
	assert_true(b.raw[1] == 0xa91966ac3fc3a828);
	assert_true(b.raw[3] == 0x0000000c00000001);
	expect(&b, EXAMPLE_BYTES, 0, "");
	assert_int_equal(bkey_node_validate(&b.j.btree_root.k, &g, NULL), 0);
	assert_int_equal(bkey_node_validate(&b.j.uuid_bucket.k, &g, NULL), 0);
	for (const struct bkey *k = jset_first(&b.j); k != jset_end(&b.j); k = bkey_next(k))
		assert_int_equal(bkey_journal_validate(k, &g, NULL), 0);
}

static void an_entry_without_keys_is_normal(void **state)
{
	struct entry_buf b;

	make_example(&b);
	b.j.nr_words = 0;
	jset_seal(&b.j, MAGIC);
	expect(&b, sizeof(struct jset), 0, "");
}

static void each_way_of_being_wrong_has_its_reason(void **state)
{
	struct entry_buf good, b;

	make_example(&good);
#define BAD(change, errno_, phrase)                          \
	do {                                                 \
		b = good;                                    \
		change;                                      \
		expect(&b, EXAMPLE_BYTES, errno_, phrase);   \
	} while (0)
#define SEALED(change) (change, b.j.csum = jset_csum(&b.j))
	BAD(b.j.magic ^= 1, -ENODATA, "no journal entry");
	BAD(b.j.nr_words = UINT32_MAX, -EUCLEAN, "does not fit");
	BAD(b.j.nr_words = 13, -EUCLEAN, "does not fit");
	BAD(b.j.words[3] ^= 1, -EBADMSG, "bad checksum");
	BAD(SEALED(b.j.version = 2), -EUCLEAN, "version 2");
	BAD(SEALED(b.j.last_seq = 0), -EUCLEAN, "entry 4 needs entries from 0 on");
	BAD(SEALED(b.j.last_seq = 5), -EUCLEAN, "entry 4 needs entries from 5 on");
	BAD(SEALED((b.j.seq = UINT64_MAX, b.j.last_seq = UINT64_MAX)), -EUCLEAN, "is impossible");
	BAD(SEALED((b.j.seq = 0, b.j.last_seq = 0)), -EUCLEAN, "entry 0 needs");
	BAD(SEALED(b.j.nr_words = 11), -EUCLEAN, "malformed key at word 9 of 11");
	BAD(SEALED(bkey_set_ptrs(jset_first(&b.j), 7)), -EUCLEAN, "malformed key at word 0");
	BAD(SEALED(bkey_set_ptrs(&b.j.uuid_bucket.k, 7)), -EUCLEAN, "too many pointers");
	BAD(SEALED(bkey_set_ptrs(&b.j.btree_root.k, 7)), -EUCLEAN, "too many pointers");
	b = good;
	SEALED(b.j.version = 0); /* the old uuid table */
	expect(&b, EXAMPLE_BYTES, 0, "");
}

static void a_truncated_entry_is_never_accepted(void **state)
{
	struct entry_buf b;

	make_example(&b);
	for (size_t avail = 0; avail < EXAMPLE_BYTES; avail++)
		expect(&b, avail, avail < sizeof(struct jset) ? -ENODATA : -EUCLEAN, avail < sizeof(struct jset) ? "no" : "fit");
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct entry_buf b;

	make_example(&b);
	for (size_t bit = 0; bit < EXAMPLE_BYTES * 8; bit++) {
		flip_bit(&b, bit);
		assert_true(jset_validate(&b.j, sizeof(b), MAGIC, NULL) < 0);
		flip_bit(&b, bit);
	}
	assert_int_equal(jset_validate(&b.j, sizeof(b), MAGIC, NULL), 0);
}

static void an_entry_ends_at_the_format_limit(void **state)
{
	const size_t room = 40000;
	struct jset *j = calloc(1, room);

	j->seq = j->last_seq = 1;
	j->nr_words = (JSET_BYTES_MAX - sizeof(*j)) / 8; /* all keys are zero keys of two words */
	jset_seal(j, MAGIC);
	assert_int_equal(jset_bytes(j), JSET_BYTES_MAX);
	assert_int_equal(jset_validate(j, room, MAGIC, NULL), 0);
	j->nr_words += 2;
	jset_seal(j, MAGIC);
	assert_int_equal(jset_validate(j, room, MAGIC, NULL), -EUCLEAN);
	free(j);
}

static void sealed_random_entries_are_walked_within_bounds(void **state)
{
	for (int n = 0; n < 5000; n++) {
		struct entry_buf b;
		struct jset *j;
		uint32_t at = 0;

		rnd_fill(&b, sizeof(b));
		b.j.seq = b.j.last_seq = 1;
		b.j.nr_words = (uint32_t)rnd_below(65);
		jset_seal(&b.j, MAGIC);
		j = tight_copy(&b, jset_bytes(&b.j));
		if (jset_validate(j, jset_bytes(j), MAGIC, NULL) == 0) {
			while (at < j->nr_words)
				at += 2 + (uint32_t)(j->words[at] >> 60 & 7);
			assert_int_equal(at, j->nr_words);
		}
		free(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_entry_has_the_kernels_checksum),
		cmocka_unit_test(an_entry_without_keys_is_normal),
		cmocka_unit_test(each_way_of_being_wrong_has_its_reason),
		cmocka_unit_test(a_truncated_entry_is_never_accepted),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(an_entry_ends_at_the_format_limit),
		cmocka_unit_test(sealed_random_entries_are_walked_within_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
