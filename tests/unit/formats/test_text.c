/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/text.h"
#include "tests/unit/formats/helpers.h"

static char text[8000];

static struct super_format request(bool backing)
{
	struct super_format f = {
		.backing = backing, .device_sectors = 1 << 20, .block_sectors = 1, .bucket_sectors = 1024,
		.uuid = { 1 }, .set_uuid = { 2 }, .label = "tank", .cache_mode = CACHE_MODE_WRITEBACK,
	};
	return f;
}

static void superblocks_tell_what_they_mean(void **state)
{
	struct printbuf pb = PRINTBUF(text);
	struct super_format f = request(false);
	struct super s;

	assert_int_equal(super_make(&s, &f, NULL), 0);
	super_to_text(&pb, &s);
	assert_non_null(strstr(text, "(match)\n"));
	assert_non_null(strstr(text, "version: 0 (cache device)\n"));
	assert_non_null(strstr(text, "\nset_uuid: 02000000-0000-0000-0000-000000000000\n"));
	assert_non_null(strstr(text, "\nnbuckets: 1024\nbucket_size: 1024\n"));
	assert_non_null(strstr(text, "\nsync: no\n"));

	f = request(true);
	f.data_offset = 2048;
	assert_int_equal(super_make(&s, &f, NULL), 0);
	super_set_state(&s, BDEV_STATE_DIRTY);
	printbuf_reset(&pb);
	super_to_text(&pb, &s);
	assert_non_null(strstr(text, "(bad, computed "));
	assert_non_null(strstr(text, "version: 4 (backing device)\n"));
	assert_non_null(strstr(text, "\nlabel: tank\n"));
	assert_non_null(strstr(text, "\ndata_offset: 2048\ncache_mode: writeback\nstate: dirty\n"));
	assert_false(pb.truncated);
}

static void entries_and_sets_list_their_keys(void **state)
{
	union {
		struct jset j;
		struct bset s;
		uint64_t raw[40];
	} b = { 0 };
	struct printbuf pb = PRINTBUF(text);
	const uint64_t key[] = { 0x9000001000200000, 0xc0, 0xe001 };

	b.j.seq = 4;
	b.j.nr_words = 4;
	b.j.prio_bucket[0] = 27;
	b.j.btree_root = (struct bkey_buf){ .words = { 0x90000000008fffff, 0x7fffffffffffffff, 0x6001 } };
	memcpy(b.j.words, key, sizeof(key));
	jset_to_text(&pb, &b.j);
	assert_non_null(strstr(text, "\nseq: 4\n"));
	assert_non_null(strstr(text, "\nbtree_root: 1048575:9223372036854775799 len 8 -> [0:96 gen 1]\n"));
	assert_non_null(strstr(text, "\nprio_bucket: 27\n"));
	assert_non_null(strstr(text, "\n  0:190 len 2 -> [0:224 gen 1] dirty\n  malformed from word 3 on\n"));

	memset(&b, 0, sizeof(b));
	b.s.nr_words = 3;
	memcpy(b.s.words, key, sizeof(key));
	printbuf_reset(&pb);
	bset_to_text(&pb, &b.s);
	assert_non_null(strstr(text, "keys: 3\n  0:190 len 2 -> [0:224 gen 1] dirty\n"));
	assert_null(strstr(text, "malformed"));
}

static void prio_sets_and_slots_are_printed(void **state)
{
	struct printbuf pb = PRINTBUF(text);
	struct prio_set p = { .seq = 2, .next_bucket = 11 };
	struct uuid_entry u = { .uuid = { 7 }, .label = "vol", .flags = UUID_FLASH_ONLY, .sectors = 2048 };

	prio_set_to_text(&pb, &p);
	assert_non_null(strstr(text, "\nseq: 2\nversion: 0\nnext_bucket: 11\n"));
	printbuf_reset(&pb);
	uuid_entry_to_text(&pb, 3, &u);
	assert_non_null(strstr(text, "slot: 3 (flash-only volume)\n"));
	assert_non_null(strstr(text, "\nlabel: \"vol\"\n"));
	assert_non_null(strstr(text, "\nsectors: 2048\n"));
	printbuf_reset(&pb);
	memset(&u, 0, sizeof(u));
	uuid_entry_to_text(&pb, 4, &u);
	assert_string_equal(text, "slot: 4 (free)\n");
}

static void random_superblocks_print_without_harm(void **state)
{
	for (int n = 0; n < 2000; n++) {
		struct printbuf pb = PRINTBUF(text);
		struct super *s = malloc(sizeof(*s));

		rnd_fill(s, sizeof(*s));
		s->version = rnd_below(8);
		super_to_text(&pb, s);
		assert_false(pb.truncated);
		free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(superblocks_tell_what_they_mean),
		cmocka_unit_test(entries_and_sets_list_their_keys),
		cmocka_unit_test(prio_sets_and_slots_are_printed),
		cmocka_unit_test(random_superblocks_print_without_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
