/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/formats/helpers.h"

static void text_that_does_not_fit_is_cut_and_marked(void **state)
{
	const char whole[] = "12 abc-def!";

	for (size_t size = 0; size <= sizeof(whole) + 1; size++) {
		char *text = malloc(size ? size : 1);
		struct printbuf pb = printbuf_over(text, size);

		pr(&pb, "%d %s", 12, "abc");
		pr_char(&pb, '-');
		pr(&pb, "def");
		pr(&pb, "%s", "");
		pr_char(&pb, '!');
		assert_int_equal(pb.truncated, size < sizeof(whole));
		if (size) {
			assert_int_equal(pb.len_bytes, strlen(text));
			assert_memory_equal(text, whole, pb.len_bytes);
			assert_int_equal(pb.len_bytes, min(size - 1, sizeof(whole) - 1));
		}
		free(text);
	}
}

static void reset_starts_over(void **state)
{
	char text[4];
	struct printbuf pb = PRINTBUF(text);

	pr(&pb, "abcdef");
	assert_true(pb.truncated);
	printbuf_reset(&pb);
	assert_string_equal(text, "");
	pr(&pb, "xyz");
	assert_false(pb.truncated);
	assert_string_equal(text, "xyz");
}

static void nobody_listening_is_fine(void **state)
{
	const uint8_t uuid[16] = { 0 };

	pr(NULL, "%s", "x");
	pr_char(NULL, 'x');
	pr_uuid(NULL, uuid);
	pr_human(NULL, 5);
	printbuf_reset(NULL);
}

/* control-files.md §1.2 */
static void human_sizes_match_the_kernel(void **state)
{
	const struct {
		int64_t bytes;
		const char *text;
	} v[] = {
		{ 0, "0.0k" }, { 5, "0.0k" }, { 511, "0.4k" }, { 512, "0.5k" }, { 1000, "0.9k" }, { 1023, "0.9k" },
		{ 1024, "1.0k" }, { 999424, "976.0k" }, { 1023488, "999.5k" }, { 1023999, "999.9k" },
		{ 1024000, "0.9M" }, { 4194303, "3.9M" }, { 4194304, "4.0M" }, { 4294967295, "3.9G" },
		{ 1ll << 40, "1.0T" }, { 2147483647ll * 512, "0.9T" }, { -1, "-0.0k" }, { -1023, "-0.9k" },
		{ -4194304, "-4.0M" }, { 1ll << 50, "1.0P" }, { 1ll << 60, "1.0E" }, { INT64_MAX, "7.9E" },
		{ INT64_MIN, "-8.0E" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		char text[32];
		struct printbuf pb = PRINTBUF(text);

		pr_human(&pb, v[i].bytes);
		assert_string_equal(text, v[i].text);
	}
}

static void uuids_survive_printing_and_parsing(void **state)
{
	for (int n = 0; n < 1000; n++) {
		uint8_t uuid[16], back[16];
		char text[37];
		struct printbuf pb = PRINTBUF(text);

		rnd_fill(uuid, sizeof(uuid));
		pr_uuid(&pb, uuid);
		assert_false(pb.truncated);
		if (n & 1)
			for (char *c = text; *c; c++)
				*c = (char)(*c >= 'a' && *c <= 'f' ? *c - 32 : *c);
		assert_int_equal(uuid_parse(text, back), 0);
		assert_memory_equal(uuid, back, 16);
	}
}

static void a_uuid_is_36_characters_and_nothing_else(void **state)
{
	const char good[] = "2656ad3b-4cd5-4c7c-9430-253c6da4c8de";
	uint8_t uuid[16], untouched[16];

	memset(uuid, 0x77, sizeof(uuid));
	memset(untouched, 0x77, sizeof(untouched));
	for (size_t len = 0; len < 36; len++) {
		char *cut = tight_copy(good, len + 1);

		cut[len] = '\0';
		assert_int_equal(uuid_parse(cut, uuid), -EINVAL);
		cut[len] = 'g';
		free(cut);
	}
	for (size_t i = 0; i < 36; i++)
		for (const char *bad = "g/:@G`- \n"; *bad; bad++) {
			char text[37];

			memcpy(text, good, sizeof(text));
			if (text[i] == *bad)
				continue;
			text[i] = *bad;
			assert_int_equal(uuid_parse(text, uuid), -EINVAL);
		}
	assert_int_equal(uuid_parse("2656ad3b-4cd5-4c7c-9430-253c6da4c8de ", uuid), -EINVAL);
	assert_int_equal(uuid_parse("2656ad3b4cd54c7c9430253c6da4c8de", uuid), -EINVAL);
	assert_memory_equal(uuid, untouched, 16);
}

static void only_sixteen_zero_bytes_are_a_zero_uuid(void **state)
{
	uint8_t uuid[16] = { 0 };

	assert_true(uuid_is_zero(uuid));
	for (int i = 0; i < 128; i++) {
		flip_bit(uuid, (size_t)i);
		assert_false(uuid_is_zero(uuid));
		flip_bit(uuid, (size_t)i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_that_does_not_fit_is_cut_and_marked),
		cmocka_unit_test(reset_starts_over),
		cmocka_unit_test(nobody_listening_is_fine),
		cmocka_unit_test(human_sizes_match_the_kernel),
		cmocka_unit_test(uuids_survive_printing_and_parsing),
		cmocka_unit_test(a_uuid_is_36_characters_and_nothing_else),
		cmocka_unit_test(only_sixteen_zero_bytes_are_a_zero_uuid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
