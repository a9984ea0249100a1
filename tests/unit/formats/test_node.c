/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/node.h"
#include "tests/unit/formats/helpers.h"

#define MAGIC EXAMPLE_SET_MAGIC
#define NODE_PTR 0x6001ull
#define SEQ 0x8eba86c0800aa4ecull

static void node_key_init(struct bkey *k, uint32_t sectors, struct bpos bound)
{
	bkey_init(k, bound.inode, bound.offset, sectors);
	bkey_set_ptrs(k, 1);
	k->ptr[0] = NODE_PTR;
}

/* A node under construction, filled with garbage like a reused bucket. */
struct node_buf {
	struct bkey_buf key;
	struct node_view view;
	uint32_t used_bytes;
	uint32_t set_at[16];
	uint64_t next_end;
	unsigned nr_sets;
};

static void node_buf_init(struct node_buf *n, uint32_t sectors, uint32_t block_sectors)
{
	void *image = malloc(sectors * 512);

	rnd_fill(image, sectors * 512);
	*n = (struct node_buf){
		.view = { .image = image, .node_bytes = sectors * 512, .block_bytes = block_sectors * 512, .set_magic = MAGIC },
	};
	node_key_init(&n->key.k, sectors, bpos(1, 1 << 20));
	n->view.key = &n->key.k;
}

static void node_buf_release(struct node_buf *n)
{
	free((void *)n->view.image);
}

static char *image_of(const struct node_buf *n)
{
	return (char *)n->view.image;
}

static void append_raw(struct node_buf *n, uint64_t seq, const uint64_t *words, uint32_t nr_words)
{
	uint32_t at = n->used_bytes;

	n->set_at[n->nr_sets++] = at;
	put_set(image_of(n) + at, MAGIC, seq, NODE_PTR, words, nr_words);
	n->used_bytes = node_next_set(&n->view, at);
}

/* nr_keys extents of one sector with a pointer: 24 bytes each. */
static void append(struct node_buf *n, unsigned nr_keys)
{
	uint64_t words[3 * 1000];

	for (unsigned i = 0; i < nr_keys; i++) {
		struct bkey *k = (struct bkey *)&words[3 * i];

		bkey_init(k, 1, n->next_end += 2, 1);
		bkey_set_ptrs(k, 1);
		k->ptr[0] = ptr_make(0, 100 + rnd_below(1000), 1);
	}
	append_raw(n, SEQ, words, 3 * nr_keys);
}

static int judge(const struct node_buf *n, bool accept_torn, struct node_extent *ret)
{
	char text[400];
	struct printbuf why = PRINTBUF(text);
	int r = node_validate(&n->view, accept_torn, ret, &why);

	/* A refusal always has a reason, and the reason a place. */
	if (r < 0)
		assert_non_null(strstr(text, "node"));
	return r;
}

static void expect_good(const struct node_buf *n, unsigned nr_sets)
{
	for (int accept_torn = 0; accept_torn < 2; accept_torn++) {
		struct node_extent e = { 1, 2, true };

		assert_int_equal(judge(n, accept_torn, &e), 0);
		assert_int_equal(e.nr_sets, nr_sets);
		assert_int_equal(e.valid_bytes, n->used_bytes);
		assert_false(e.torn_tail);
	}
}

static void expect_bad(const struct node_buf *n, bool accept_torn, int expected, const char *phrase)
{
	struct node_extent e = { 1, 2, true };
	char text[400];
	struct printbuf why = PRINTBUF(text);

	assert_judged(node_validate(&n->view, accept_torn, &e, &why), expected, text, phrase);
	assert_true(e.valid_bytes == 1 && e.nr_sets == 2 && e.torn_tail); /* untouched */
}

static void expect_torn(const struct node_buf *n, unsigned nr_good, uint32_t valid_bytes)
{
	struct node_extent e = { 0 };
	char text[400];
	struct printbuf why = PRINTBUF(text);

	assert_true(node_validate(&n->view, false, &e, NULL) < 0);
	assert_int_equal(node_validate(&n->view, true, &e, &why), 0);
	assert_true(e.torn_tail);
	assert_int_equal(e.nr_sets, nr_good);
	assert_int_equal(e.valid_bytes, valid_bytes);
	assert_true(text[0]);
}

/* format.md Appendix B.4, a leaf written by a real kernel. */
static void the_example_leaf_has_the_kernels_checksums(void **state)
{
	const uint64_t words[] = {
		0x9000000000000000, 0x10, 0xfffaca777cd10739, 0x9000000000800000, 0x18, 0xe801,
		0x9000001000300000, 0x35, 0xe501,	      0x9000001000100000, 0x36, 0x10801,
		0x9000001000200000, 0xc0, 0xe001,	      0x9000001000300000, 0xd7, 0xe201,
	};
	struct bkey_buf key;
	uint64_t image[512] = { 0 };
	struct node_view v = { image, 4096, 512, MAGIC, &key.k };
	struct node_extent e;

	node_key_init(&key.k, 8, BPOS_MAX);
	assert_true(key.k.high == 0x90000000008fffff && key.k.low == 0x7fffffffffffffff);
	put_set(image, MAGIC, SEQ, NODE_PTR, NULL, 0);
	put_set(image + 64, MAGIC, SEQ, NODE_PTR, words, ARRAY_SIZE(words));
	assert_true(image[0] == 0x06a05efa70352a65 && image[1] == 0x1d580f15253fffef);
	assert_true(image[64] == 0x50cdb4cc2bd63191 && image[67] == 0x0000001200000001);
	assert_int_equal(node_validate(&v, false, &e, NULL), 0);
	assert_int_equal(e.nr_sets, 2);
	assert_int_equal(e.valid_bytes, 0x400);
	assert_int_equal(bset_order_validate(node_set_at(&v, 0x200), true, NULL), 0);
}

static void logs_of_many_sets_are_followed_to_their_end(void **state)
{
	for (unsigned block_sectors = 1; block_sectors <= 8; block_sectors *= 2)
		for (unsigned nr_sets = 1; nr_sets <= 12; nr_sets++) {
			struct node_buf n;

			node_buf_init(&n, 160, block_sectors);
			for (unsigned i = 0; i < nr_sets; i++)
				append(&n, i == 0 && nr_sets & 1 ? 0 : (unsigned)rnd_below(60) + 1);
			expect_good(&n, nr_sets);
			node_buf_release(&n);
		}
}

static void a_log_may_fill_the_node_to_the_last_byte(void **state)
{
	struct node_buf n;
	uint64_t full[252]; /* with the header exactly one block of four sectors */

	node_buf_init(&n, 8, 4);
	append(&n, 20);
	for (unsigned i = 0; i < 252; i += 2)
		bkey_init((struct bkey *)&full[i], 1, 1000 + i, 1);
	append_raw(&n, SEQ, full, 252);
	assert_int_equal(n.used_bytes, 4096);
	expect_good(&n, 2);
	node_buf_release(&n);
}

static void an_odd_sized_node_ends_at_its_last_whole_block(void **state)
{
	struct node_buf n;

	node_buf_init(&n, 17, 8);
	append(&n, 1);
	append(&n, 1);
	/* Garbage in the fraction, even with the right seq, is not looked at. */
	put_set(image_of(&n) + 8192, MAGIC, SEQ, NODE_PTR, NULL, 0);
	expect_good(&n, 2);
	n.view.node_bytes = 7 * 512;
	expect_bad(&n, false, -EUCLEAN, "smaller than a block");
	n.view.node_bytes = 0;
	expect_bad(&n, true, -EUCLEAN, "smaller than a block");
	node_buf_release(&n);
}

static void old_tenants_of_the_bucket_do_no_harm(void **state)
{
	struct node_buf n;

	node_buf_init(&n, 16, 1);
	append(&n, 3);
	append(&n, 3);
	/* A complete older log with its own seq, even one made for the same pointer. */
	for (uint32_t at = n.used_bytes; at < 16 * 512; at += 512)
		put_set(image_of(&n) + at, MAGIC, SEQ + 1, NODE_PTR, NULL, 0);
	expect_good(&n, 2);
	node_buf_release(&n);
}

/* format.md §9.3 */
static void each_rule_for_the_log_is_enforced(void **state)
{
	struct node_buf n;
	struct bset *s;

	node_buf_init(&n, 32, 1);
	append(&n, 3);
	append(&n, 3);
	append(&n, 3);
	expect_good(&n, 3);

	s = (struct bset *)image_of(&n);
	s->seq = 0;
	expect_bad(&n, true, -EUCLEAN, "at byte 0 of the node: bad header");
	s->seq = SEQ;
	s->words[0] ^= 1;
	expect_bad(&n, false, -EBADMSG, "at byte 0 of the node: bad checksum");
	expect_bad(&n, true, -EBADMSG, "at byte 0 of the node: bad checksum");
	s->words[0] ^= 1;

	s = (struct bset *)(image_of(&n) + 512);
	s->version = 2;
	expect_bad(&n, true, -EUCLEAN, "at byte 512 of the node: unsupported set version 2");
	s->version = BSET_VERSION;
	s->magic ^= 4;
	expect_bad(&n, true, -EBADMSG, "at byte 512 of the node: bad magic");
	s->magic ^= 4;
	s->nr_words = 100000;
	expect_bad(&n, false, -EUCLEAN, "at byte 512 of the node: set of 800032 bytes does not fit the 15872 left");
	s->nr_words = 9;
	expect_good(&n, 3);

	/* A hole: the last set is further back than the log says. */
	memmove(image_of(&n) + 4096, image_of(&n) + 1024, 512);
	rnd_fill(image_of(&n) + 1024, 512);
	expect_bad(&n, false, -EUCLEAN, "at byte 4096 of the node: a block of this node behind the end of its log at byte 1024");
	expect_bad(&n, true, -EUCLEAN, "at byte 4096 of the node");
	node_buf_release(&n);
}

static void only_the_first_set_may_be_empty(void **state)
{
	struct node_buf n;

	node_buf_init(&n, 32, 1);
	append(&n, 0);
	expect_good(&n, 1);
	append(&n, 0);
	expect_bad(&n, false, -EUCLEAN, "at byte 512 of the node: empty set");
	expect_bad(&n, true, -EUCLEAN, "at byte 512 of the node: empty set");
	node_buf_release(&n);
}

static void keys_that_do_not_end_with_the_set_are_refused(void **state)
{
	struct node_buf n;
	uint64_t words[3] = { 3ull << 60, 5, 0 };

	node_buf_init(&n, 32, 1);
	append(&n, 1);
	append_raw(&n, SEQ, words, 3);
	expect_bad(&n, true, -EUCLEAN, "at byte 512 of the node: malformed key at word 0 of 3");
	node_buf_release(&n);
}

static void no_key_ends_above_the_bound(void **state)
{
	struct node_buf n;
	uint64_t words[6];

	node_buf_init(&n, 32, 1);
	node_key_init(&n.key.k, 32, bpos(5, 1000));
	append(&n, 3);
	bkey_init((struct bkey *)&words[0], 0, 0, 8); /* a retired child */
	bkey_init((struct bkey *)&words[2], 4, 1 << 30, 8);
	bkey_init((struct bkey *)&words[4], 5, 1000, 8); /* inclusive */
	append_raw(&n, SEQ, words, 6);
	expect_good(&n, 2);
	n.used_bytes = n.set_at[--n.nr_sets];
	words[5] = 1001;
	append_raw(&n, SEQ, words, 6);
	expect_bad(&n, true, -EUCLEAN, "at byte 512 of the node: key 5:993 len 8 -> [] ends above the node's bound 5:1000");
	n.used_bytes = n.set_at[--n.nr_sets];
	bkey_init((struct bkey *)&words[4], 6, 1, 1);
	append_raw(&n, SEQ, words, 6);
	expect_bad(&n, true, -EUCLEAN, "bound");
	node_buf_release(&n);
}

static void a_node_key_without_pointer_is_refused(void **state)
{
	struct node_buf n;

	node_buf_init(&n, 8, 1);
	append(&n, 1);
	bkey_set_ptrs(&n.key.k, 0);
	expect_bad(&n, true, -EUCLEAN, "without a pointer");
	node_buf_release(&n);
}

static void every_flipped_bit_under_a_checksum_is_noticed(void **state)
{
	struct node_buf n;

	node_buf_init(&n, 16, 1);
	append(&n, 5);
	append(&n, 30); /* two blocks */
	append(&n, 4);
	append(&n, 25);
	expect_good(&n, 4);
	for (unsigned i = 0; i < n.nr_sets; i++) {
		size_t first_bit = n.set_at[i] * 8ul;
		size_t nr_bits = bset_bytes(node_set_at(&n.view, n.set_at[i])) * 8;

		for (size_t bit = first_bit; bit < first_bit + nr_bits; bit++) {
			struct node_extent e;
			int r;

			flip_bit(image_of(&n), bit);
			assert_true(judge(&n, false, &e) < 0);
			/* Taking the last set for torn is the price of tearing; nothing before it may ever be. */
			r = judge(&n, true, &e);
			assert_true(r < 0 || (i == 3 && e.torn_tail && e.nr_sets == 3));
			flip_bit(image_of(&n), bit);
		}
	}
	expect_good(&n, 4);
	node_buf_release(&n);
}

static void a_damaged_seq_does_not_shorten_the_log_unnoticed(void **state)
{
	for (uint32_t version = 0; version < 2; version++) {
		struct node_buf n;
		struct bset *last;

		node_buf_init(&n, 16, 1);
		append(&n, 5);
		append(&n, 5);
		last = (struct bset *)(image_of(&n) + 512);
		last->version = version;
		last->csum = bset_csum(last, NODE_PTR);
		expect_good(&n, 2);
		last->seq ^= 1ull << 40;
		expect_bad(&n, false, -EBADMSG, "at byte 512 of the node: bad seq");
		expect_bad(&n, true, -EBADMSG, "at byte 512 of the node: bad seq");
		node_buf_release(&n);
	}
}

/* Two sets and an append of `nr_keys` keys; ret_before gets the image without the append. */
static void make_appended(struct node_buf *n, uint32_t block_sectors, unsigned nr_keys, char **ret_before)
{
	node_buf_init(n, 64, block_sectors);
	append(n, 10);
	append(n, 10);
	*ret_before = tight_copy(n->view.image, n->view.node_bytes);
	append(n, nr_keys);
	expect_good(n, 3);
}

/* What a power cut leaves: of the append's sectors those in `landed`. */
static void tear(struct node_buf *n, const char *before, const char *after, uint64_t landed)
{
	uint32_t first = n->set_at[2] / 512, nr = (n->used_bytes - n->set_at[2]) / 512;

	memcpy(image_of(n), before, n->view.node_bytes);
	for (uint32_t i = 0; i < nr; i++)
		if (landed >> i & 1)
			memcpy(image_of(n) + (first + i) * 512, after + (first + i) * 512, 512);
}

static void check_tear(struct node_buf *n, const char *before, const char *after, uint64_t landed)
{
	uint32_t nr_needed = (uint32_t)div_round_up_u64(bset_bytes((const struct bset *)(after + n->set_at[2])), 512);
	uint64_t needed = (1ull << nr_needed) - 1;
	struct node_extent e;

	tear(n, before, after, landed);
	if ((landed & needed) == needed) { /* only padding is missing */
		expect_good(n, 3);
	} else if (landed & 1) {
		expect_torn(n, 2, n->set_at[2]);
	} else { /* no header, no append */
		assert_int_equal(judge(n, true, &e), 0);
		assert_true(e.nr_sets == 2 && e.valid_bytes == n->set_at[2] && !e.torn_tail);
		assert_int_equal(judge(n, false, &e), 0);
	}
}

static void an_append_torn_at_any_sector_leaves_the_sets_before_it(void **state)
{
	for (unsigned block_sectors = 1; block_sectors <= 8; block_sectors *= 2)
		for (unsigned nr_keys = 1; nr_keys < 400; nr_keys += 57) {
			struct node_buf n;
			char *before, *after;

			make_appended(&n, block_sectors, nr_keys, &before);
			after = tight_copy(n.view.image, n.view.node_bytes);
			for (unsigned nr = 0; nr <= 32; nr++) {
				check_tear(&n, before, after, (1ull << nr) - 1);  /* a prefix landed */
				check_tear(&n, before, after, ~(1ull << nr));	  /* one sector lost */
				check_tear(&n, before, after, rnd());		  /* any subset landed */
				check_tear(&n, before, after, rnd() | 1);
			}
			free(before);
			free(after);
			node_buf_release(&n);
		}
}

static void a_torn_tail_may_carry_the_seq_by_accident(void **state)
{
	struct node_buf n;
	char *before;

	make_appended(&n, 1, 100, &before);
	memset(image_of(&n) + n.set_at[2] + 1024, 0x5a, 512); /* torn */
	((struct bset *)(image_of(&n) + n.set_at[2] + 1536))->seq = SEQ;
	expect_torn(&n, 2, n.set_at[2]);
	free(before);
	node_buf_release(&n);
}

static void a_good_set_behind_a_bad_one_is_damage(void **state)
{
	struct node_buf n;
	char *before;

	make_appended(&n, 1, 100, &before);
	append(&n, 2);
	expect_good(&n, 4);
	image_of(&n)[n.set_at[2] + 700] ^= 1;
	expect_bad(&n, false, -EBADMSG, "bad checksum");
	expect_bad(&n, true, -EBADMSG, "bad checksum");
	/* Also when the bad set hides the good one in its length. */
	((struct bset *)(image_of(&n) + n.set_at[2]))->nr_words = 1000000;
	expect_bad(&n, true, -EUCLEAN, "does not fit");
	free(before);
	node_buf_release(&n);
}

static void a_set_cut_off_by_the_end_of_the_node_can_be_torn(void **state)
{
	struct node_buf n;
	char *before;

	make_appended(&n, 1, 100, &before);
	((struct bset *)(image_of(&n) + n.set_at[2]))->nr_words = UINT32_MAX;
	expect_torn(&n, 2, n.set_at[2]);
	free(before);
	node_buf_release(&n);
}

static void many_sham_headers_behind_a_torn_set_are_damage(void **state)
{
	struct node_buf n;
	char *before;

	make_appended(&n, 1, 40, &before);
	image_of(&n)[n.set_at[2] + 700] ^= 1;
	expect_torn(&n, 2, n.set_at[2]);
	for (uint32_t at = n.used_bytes; at < n.view.node_bytes; at += 512) {
		put_set(image_of(&n) + at, MAGIC, SEQ, NODE_PTR, NULL, 0);
		((struct bset *)(image_of(&n) + at))->csum ^= 1;
	}
	expect_bad(&n, true, -EBADMSG, "bad checksum");
	free(before);
	node_buf_release(&n);
}

/* Headers that look right with lengths and keys that are not, checksums included. */
static void hostile_nodes_are_judged_within_their_bounds(void **state)
{
	for (int i = 0; i < 3000; i++) {
		struct node_buf n;
		uint32_t sectors = (uint32_t)rnd_below(24) + 1;
		uint32_t block_sectors = 1u << rnd_below(4);
		struct node_extent e = { 0 };

		node_buf_init(&n, sectors, block_sectors);
		for (uint32_t at = 0; at < n.view.node_bytes; at += n.view.block_bytes) {
			struct bset *s = (struct bset *)(image_of(&n) + at);
			size_t room_words = (n.view.node_bytes - at) / 8 - 4;

			if (rnd_below(8) == 0)
				continue;
			s->magic = bset_magic(MAGIC);
			s->seq = SEQ;
			s->version = (uint32_t)rnd_below(2);
			s->nr_words = (uint32_t)(rnd() & 1 ? rnd_below(room_words + 2) : rnd() >> rnd_below(64));
			if (s->nr_words <= room_words && rnd() & 1)
				s->csum = bset_csum(s, NODE_PTR);
		}
		if (judge(&n, rnd() & 1, &e) == 0) {
			assert_true(e.valid_bytes <= n.view.node_bytes);
			assert_true(e.valid_bytes % n.view.block_bytes == 0);
		}
		node_buf_release(&n);
	}
}

static void random_bytes_are_no_node(void **state)
{
	for (int i = 0; i < 1000; i++) {
		struct node_buf n;
		struct node_extent e;

		node_buf_init(&n, (uint32_t)rnd_below(24) + 1, 1);
		assert_true(judge(&n, true, &e) < 0);
		node_buf_release(&n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_leaf_has_the_kernels_checksums),
		cmocka_unit_test(logs_of_many_sets_are_followed_to_their_end),
		cmocka_unit_test(a_log_may_fill_the_node_to_the_last_byte),
		cmocka_unit_test(an_odd_sized_node_ends_at_its_last_whole_block),
		cmocka_unit_test(old_tenants_of_the_bucket_do_no_harm),
		cmocka_unit_test(each_rule_for_the_log_is_enforced),
		cmocka_unit_test(only_the_first_set_may_be_empty),
		cmocka_unit_test(keys_that_do_not_end_with_the_set_are_refused),
		cmocka_unit_test(no_key_ends_above_the_bound),
		cmocka_unit_test(a_node_key_without_pointer_is_refused),
		cmocka_unit_test(every_flipped_bit_under_a_checksum_is_noticed),
		cmocka_unit_test(a_damaged_seq_does_not_shorten_the_log_unnoticed),
		cmocka_unit_test(an_append_torn_at_any_sector_leaves_the_sets_before_it),
		cmocka_unit_test(a_torn_tail_may_carry_the_seq_by_accident),
		cmocka_unit_test(a_good_set_behind_a_bad_one_is_damage),
		cmocka_unit_test(a_set_cut_off_by_the_end_of_the_node_can_be_torn),
		cmocka_unit_test(many_sham_headers_behind_a_torn_set_are_damage),
		cmocka_unit_test(hostile_nodes_are_judged_within_their_bounds),
		cmocka_unit_test(random_bytes_are_no_node),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
