/* SPDX-License-Identifier: GPL-2.0-only */
/* Parsers and tables: control-files.md §1, §15.1-§15.4. */
#include "tests/unit/core/attr_world.h"

/* --- parsers ------------------------------------------------------------------------------------------------------------- */

#define U64_MAX_TEXT "18446744073709551615"
#define U64_OVER_TEXT "18446744073709551616"

static void check_parse(const struct attr *a, const char *text, size_t len, int want, uint64_t want_number)
{
	struct attr_value v = { .number = 4711 };
	char why_text[200], name[100];
	struct printbuf why = PRINTBUF(why_text);

	snprintf(name, sizeof(name), "kind %d, \"%s\"", a->input, text);
	check_case(name, attr_parse(a, text, len, &v, &why), want);
	check_case(name, v.number, want < 0 ? 4711 : want_number); /* untouched on failure */
	if (want < 0)
		assert_true(why.len_bytes > 0);
}

static void numbers_are_parsed_as_strictly_as_the_kernel_does(void **state)
{
	static const struct {
		const char *text;
		int want_u, want_h; /* U and B; H+ */
		uint64_t number_u, number_h;
	} cases[] = {
		/* measured on sequential_cutoff, except the two first */
		{ "\n", -EINVAL, -EINVAL, 0, 0 },
		{ "+", -EINVAL, -EINVAL, 0, 0 },
		{ "abc", -EINVAL, -EINVAL, 0, 0 },
		{ "-1", -EINVAL, -EINVAL, 0, 0 },
		{ "4M", -EINVAL, 0, 0, MIB(4) },
		{ "4k", -EINVAL, 0, 0, KIB(4) },
		{ "0x10", -EINVAL, -EINVAL, 0, 0 },
		{ "1.5", -EINVAL, -EINVAL, 0, 0 },
		{ " 5", -EINVAL, -EINVAL, 0, 0 },
		{ "5 ", -EINVAL, -EINVAL, 0, 0 },
		{ "5\n\n", -EINVAL, -EINVAL, 0, 0 },
		{ "7\r\n", -EINVAL, -EINVAL, 0, 0 },
		{ U64_MAX_TEXT, 0, 0, UINT64_MAX, UINT64_MAX },
		{ U64_OVER_TEXT, -ERANGE, -ERANGE, 0, 0 },
		{ "18446744073709551617", -ERANGE, -ERANGE, 0, 0 },
		{ "99999999999999999999999999\n", -ERANGE, -ERANGE, 0, 0 },
		{ "007", 0, 0, 7, 7 },
		{ "5\n", 0, 0, 5, 5 },
		{ "0", 0, 0, 0, 0 },
		{ "0\n", 0, 0, 0, 0 },
		/* sizes */
		{ "4.0M\n", -EINVAL, 0, 0, MIB(4) },
		{ "1.5M", -EINVAL, 0, 0, KIB(1536) },
		{ "512.0k", -EINVAL, 0, 0, KIB(512) },
		{ "0.5k", -EINVAL, 0, 0, 512 },
		{ "0.9M", -EINVAL, 0, 0, 943718 },
		{ "1.0009765625k", -EINVAL, 0, 0, 1025 },
		{ "0.00000000000000000000000001G", -EINVAL, 0, 0, 0 },
		{ "16K", -EINVAL, 0, 0, KIB(16) },
		{ "2g", -EINVAL, 0, 0, GIB(2) },
		{ "1T", -EINVAL, 0, 0, 1ull << 40 },
		{ "1p", -EINVAL, 0, 0, 1ull << 50 },
		{ "7E", -EINVAL, 0, 0, 7ull << 60 },
		{ "8E", -EINVAL, -EINVAL, 0, 0 },
		{ "9E", -EINVAL, -EINVAL, 0, 0 },
		{ "1z", -EINVAL, -EINVAL, 0, 0 },
		{ "100Y", -EINVAL, -EINVAL, 0, 0 },
		{ "0Y", -EINVAL, 0, 0, 0 },
		{ U64_MAX_TEXT "k", -EINVAL, -EINVAL, 0, 0 },
		{ U64_OVER_TEXT "k", -ERANGE, -ERANGE, 0, 0 },
		{ "16Mb", -EINVAL, -EINVAL, 0, 0 },
		{ "16 M", -EINVAL, -EINVAL, 0, 0 },
		{ "M", -EINVAL, -EINVAL, 0, 0 },
		{ ".5M", -EINVAL, -EINVAL, 0, 0 },
		{ "1.M", -EINVAL, -EINVAL, 0, 0 },
		{ "1.5.5M", -EINVAL, -EINVAL, 0, 0 },
		{ "1,5M", -EINVAL, -EINVAL, 0, 0 },
		{ "5b", -EINVAL, -EINVAL, 0, 0 },
		{ "4M\n\n", -EINVAL, -EINVAL, 0, 0 },
		{ "4M\r\n", -EINVAL, -EINVAL, 0, 0 },
		{ "-4M", -EINVAL, -EINVAL, 0, 0 },
	};
	const struct attr u = { .input = ATTR_IN_U }, b = { .input = ATTR_IN_B }, h = { .input = ATTR_IN_H }, uh = { .input = ATTR_IN_UH };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].text);

		check_parse(&u, cases[i].text, len, cases[i].want_u, cases[i].number_u);
		check_parse(&b, cases[i].text, len, cases[i].want_u, cases[i].number_u != 0);
		check_parse(&h, cases[i].text, len, cases[i].want_h, cases[i].number_h);
		check_parse(&uh, cases[i].text, len, cases[i].want_h, cases[i].number_h);
	}
	/* Only what the kernel reads with its number parser takes a plus sign. */
	check_parse(&u, "+5", 2, 0, 5);
	check_parse(&b, "+5", 2, 0, 1);
	check_parse(&uh, "+5", 2, 0, 5);
	check_parse(&h, "+5", 2, -EINVAL, 0);
	check_parse(&u, "++5", 3, -EINVAL, 0);
	check_parse(&u, "+-5", 3, -EINVAL, 0);
}

static void a_nul_ends_the_text(void **state)
{
	static const char *const words[] = { "auto", "always", NULL };
	const struct attr u = { .input = ATTR_IN_U }, h = { .input = ATTR_IN_H }, e = { .input = ATTR_IN_E, .words = words };

	check_parse(&u, "12\0abc", 6, 0, 12);
	check_parse(&u, "12\n\0", 4, 0, 12);
	check_parse(&u, "\0" "12", 3, -EINVAL, 0);
	check_parse(&h, "12k\0abc", 7, 0, KIB(12));
	check_parse(&e, "always\0abc", 10, 0, 1);
	check_parse(&u, "123456", 3, 0, 123); /* nothing behind len is read */
}

static void a_unit_is_noticed(void **state)
{
	const struct attr uh = { .input = ATTR_IN_UH };
	struct attr_value v;

	assert_int_equal(attr_parse(&uh, "40", 2, &v, NULL), 0);
	assert_false(v.has_unit);
	assert_int_equal(attr_parse(&uh, "40k", 3, &v, NULL), 0);
	assert_true(v.has_unit);
}

static void words_match_exactly(void **state)
{
	static const char *const words[] = { "writethrough", "writeback", "writearound", "none", NULL };
	static const char *const bad[] = { "", "\n", "Writeback", "writeback ", " writeback", "writeback\r\n", "writeback\n\n", "[writeback]", "write",
					   "writebackx", "1", "none\nnone" };
	const struct attr e = { .input = ATTR_IN_E, .words = words };
	char line[40];

	for (unsigned i = 0; words[i]; i++) {
		check_parse(&e, words[i], strlen(words[i]), 0, i);
		snprintf(line, sizeof(line), "%s\n", words[i]);
		check_parse(&e, line, strlen(line), 0, i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_parse(&e, bad[i], strlen(bad[i]), -EINVAL, 0);
}

static void uuids_need_exactly_32_digits(void **state)
{
	static const struct {
		const char *text;
		int want;
	} cases[] = {
		{ SET_UUID, 0 }, { SET_UUID "\n", 0 }, { "11111111222233334444555555555555", 0 },
		{ "11:11:11:11:22:22:33:33:44:44:55:55:55:55:55:55", 0 }, { "-1-1111111222233334444555555555555", 0 },
		{ SET_UUID "-junk", -EINVAL }, { SET_UUID "-", -EINVAL }, { SET_UUID "\n\n", -EINVAL }, { SET_UUID "5", -EINVAL },
		{ SET_UUID " ", -EINVAL }, { " " SET_UUID, -EINVAL }, { "1111111122223333444455555555555", -EINVAL },
		{ "----------------", -EINVAL }, { "1111111122223333", -EINVAL }, { "", -EINVAL }, { "\n", -EINVAL },
		{ "g1111111-2222-3333-4444-555555555555", -EINVAL },
	};
	const struct attr a = { .input = ATTR_IN_UUID };
	uint8_t want[16];
	struct attr_value v;

	parse(SET_UUID, want);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(&v, 0, sizeof(v));
		check_case(cases[i].text, attr_parse(&a, cases[i].text, strlen(cases[i].text), &v, NULL), cases[i].want);
		if (!cases[i].want)
			assert_memory_equal(v.uuid, want, 16);
	}
	assert_int_equal(attr_parse(&a, "ABCDEFab-0000-0000-0000-000000000000", 36, &v, NULL), 0);
	assert_memory_equal(v.uuid, "\xab\xcd\xef\xab", 4);
}

#define CHARS32 "abcdefghijklmnopqrstuvwxyz012345"

static void labels_lose_one_newline_before_they_are_measured(void **state)
{
	static const struct {
		const char *name, *text;
		size_t len;
		int want;
		const char *label;
	} cases[] = {
		{ "plain", "data", 4, 0, "data" }, { "echo", "data\n", 5, 0, "data" }, { "cleared", "\n", 1, 0, "" },
		{ "32 bytes", CHARS32, 32, 0, CHARS32 }, { "32 bytes from echo", CHARS32 "\n", 33, 0, CHARS32 },
		{ "33 bytes", CHARS32 "6", 33, -EINVAL, NULL }, { "33 from echo", CHARS32 "6\n", 34, -EINVAL, NULL },
		{ "two newlines", "a\n\n", 3, -EINVAL, NULL }, { "newline inside", "a\nb", 3, -EINVAL, NULL },
		{ "tab", "a\tb", 3, -EINVAL, NULL }, { "delete", "a\x7f", 2, -EINVAL, NULL }, { "NUL ends it", "ab\0cd", 5, 0, "ab" },
		{ "UTF-8", "M\xc3\xbcll", 5, 0, "M\xc3\xbcll" }, { "blanks stay", " a ", 3, 0, " a " },
	};
	const struct attr a = { .input = ATTR_IN_LABEL };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char why_text[100], label[40] = "";
		struct printbuf why = PRINTBUF(why_text);
		struct attr_value v;
		int r = attr_parse(&a, cases[i].text, cases[i].len, &v, &why);

		check_case(cases[i].name, r, cases[i].want);
		if (r < 0) {
			assert_true(why.len_bytes > 0);
			continue;
		}
		memcpy(label, v.text, v.len_bytes);
		check_text(cases[i].name, label, cases[i].label);
	}
}

static void paths_are_stripped(void **state)
{
	const struct attr a = { .input = ATTR_IN_PATH };
	struct attr_value v;

	assert_int_equal(attr_parse(&a, " \t/a b/c \n\n", 11, &v, NULL), 0);
	assert_int_equal(v.len_bytes, 6);
	assert_memory_equal(v.text, "/a b/c", 6);
	assert_int_equal(attr_parse(&a, " \n", 2, &v, NULL), -EINVAL);
	assert_int_equal(attr_parse(&a, "", 0, &v, NULL), -EINVAL);
}

/* --- printing ------------------------------------------------------------------------------------------------------------ */

static void human_sizes_are_truncated(void **state)
{
	static const struct {
		int64_t bytes;
		const char *want;
	} cases[] = {
		{ 0, "0.0k" }, { 5, "0.0k" }, { 511, "0.4k" }, { 512, "0.5k" }, { 1000, "0.9k" }, { 1023, "0.9k" }, { 1024, "1.0k" },
		{ 999424, "976.0k" }, { 1023488, "999.5k" }, { 1023999, "999.9k" }, { 1024000, "0.9M" }, { 4194303, "3.9M" }, { 4194304, "4.0M" },
		{ 4294967295, "3.9G" }, { 1ll << 40, "1.0T" }, { 2147483647ll * 512, "0.9T" }, { -1, "-0.0k" }, { -1023, "-0.9k" },
		{ -47104, "-46.0k" }, { INT64_MAX, "7.9E" }, { -INT64_MAX, "-7.9E" }, { INT64_MIN, "-8.0E" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[32];
		struct printbuf pb = PRINTBUF(text);

		pr_human(&pb, cases[i].bytes);
		check_text(cases[i].want, text, cases[i].want);
	}
}

static void lists_have_the_same_length_whatever_is_active(void **state)
{
	static const struct {
		const char *path;
		size_t len_bytes;
	} cases[] = {
		{ "dev0/cache_mode", 42 }, { "dev0/readahead_cache_policy", 16 }, { "dev0/stop_when_cache_set_failed", 14 },
		{ SET_UUID "/errors", 19 }, { SET_UUID "/cache0/cache_replacement_policy", 18 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ctl_node n;

		assert_int_equal(ctl_resolve(&w.b, cases[i].path, &n), 0);
		for (unsigned word = 0; n.attr->words[word]; word++) {
			char bracketed[40];

			assert_int_equal(store(cases[i].path, n.attr->words[word]), 0);
			snprintf(bracketed, sizeof(bracketed), "[%s]", n.attr->words[word]);
			check_case(cases[i].path, strlen(show(cases[i].path)), cases[i].len_bytes);
			assert_non_null(strstr(show(cases[i].path), bracketed));
			assert_int_equal(store(cases[i].path, bracketed), -EINVAL); /* the form that is read */
		}
	}
	assert_int_equal(store("dev0/cache_mode", "writeback\n"), 0);
	check_show("dev0/cache_mode", "writethrough [writeback] writearound none\n");
}

/* --- tables -------------------------------------------------------------------------------------------------------------- */

static void check_row(const struct attr *a)
{
	bool readable = a->mode & 0400, writable = a->mode & 0200;

	if (!a->help || !a->help[0])
		fail_msg("%s: no help", a->name);
	if (a->mode != 0444 && a->mode != 0644 && a->mode != 0200 && !(a->mode == 0400 && a->stream))
		fail_msg("%s: odd mode %o", a->name, a->mode);
	if (readable != (a->show || a->stream || a->get || (a->field.of != ATTR_NO_FIELD)))
		fail_msg("%s: readable, but nothing to show, or the reverse", a->name);
	if (writable != (a->input != ATTR_IN_NONE) || (writable && !a->store && a->field.of == ATTR_NO_FIELD))
		fail_msg("%s: writable, but nothing to store, or the reverse", a->name);
	if ((a->input == ATTR_IN_E || a->format == ATTR_LIST) && !a->words)
		fail_msg("%s: a choice without words", a->name);
	if ((a->input == ATTR_IN_U || a->input == ATTR_IN_UH) && a->max == 0)
		fail_msg("%s: a number without bounds", a->name);
	if ((a->mode == 0644) != (a->keep != ATTR_KEEP_UNSAID))
		fail_msg("%s: a value that can be read and written, and no other, says what becomes of it at the end (.keep, attr.h)", a->name);
	if (a->dflt && (a->dflt < a->min || a->dflt > a->max) && a->input != ATTR_IN_E)
		fail_msg("%s: default out of bounds", a->name);
}

static void every_row_is_complete_and_named_once(void **state)
{
	for (unsigned dir = 0; dir < ATTR_DIRS; dir++) {
		const struct attr_table *t = attr_table(dir);

		for (size_t i = 0; i < t->nr; i++) {
			check_row(&t->attrs[i]);
			assert_ptr_equal(attr_find(dir, t->attrs[i].name), &t->attrs[i]);
		}
	}
	assert_null(attr_find(ATTR_DIR_SET, "no_such_file"));
	assert_null(attr_find(ATTR_DIR_BY, "register"));
}

/* Tools glob these prefixes and take what they find for devices (control-files.md §2). */
static void no_file_of_a_set_looks_like_a_device(void **state)
{
	static const char *const reserved[] = { "bdev", "volume" };

	for (size_t i = 0; i < attr_set_table.nr; i++)
		for (size_t k = 0; k < ARRAY_SIZE(reserved); k++)
			assert_true(strncmp(attr_set_table.attrs[i].name, reserved[k], strlen(reserved[k])) != 0);
	for (size_t i = 0; i < attr_root_table.nr; i++)
		assert_null(strchr(attr_root_table.attrs[i].name, '-'));
}

static void check_number_file(const struct attr *a, const char *path)
{
	static const char *const bad[] = { "\n", "abc", "-1", "0x10", "1.5", " 5", "5 ", "5\n\n", "7\r\n", "5x" };
	char before[200];
	uint64_t n;

	snprintf(before, sizeof(before), "%s", show(path));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_case(path, store(path, bad[i]), -EINVAL);
	check_case(path, store(path, U64_OVER_TEXT), -ERANGE);
	check_case(path, store(path, ""), 0); /* nothing happens */
	check_text(path, show(path), before); /* the old value is unchanged */
	check_case(path, store(path, "0"), 0);
	check_case(path, store(path, "+1\n"), 0);
	check_case(path, store(path, U64_MAX_TEXT), 0);
	n = strtoull(show(path), NULL, 10);
	if (a->format == ATTR_DEC && a->mode & 0400)
		assert_true(n <= (a->input == ATTR_IN_B ? 1 : a->max));
}

/* control-files.md §15.2 */
static void every_number_file_keeps_the_strictness_matrix(void **state)
{
	static const struct {
		enum attr_dir dir;
		const char *path;
	} dirs[] = {
		{ ATTR_DIR_BDEV, "dev0" }, { ATTR_DIR_SET, SET_UUID }, { ATTR_DIR_INTERNAL, SET_UUID "/internal" },
		{ ATTR_DIR_CACHE, SET_UUID "/cache0" },
	};
	unsigned nr = 0;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		const struct attr_table *t = attr_table(dirs[i].dir);

		for (size_t k = 0; k < t->nr; k++) {
			char path[100];

			if (t->attrs[k].input != ATTR_IN_U && t->attrs[k].input != ATTR_IN_B && t->attrs[k].input != ATTR_IN_UH)
				continue;
			if (!strcmp(t->attrs[k].name, "running") || !strcmp(t->attrs[k].name, "synchronous"))
				continue; /* not every number is welcome there */
			world_new(NULL);
			snprintf(path, sizeof(path), "%s/%s", dirs[i].path, t->attrs[k].name);
			check_number_file(&t->attrs[k], path);
			nr++;
		}
	}
	assert_true(nr > 25);
}

static void numbers_out_of_range_are_clamped(void **state)
{
	static const struct {
		const char *path, *text, *want;
	} cases[] = {
		{ "dev0/writeback_percent", "41", "40\n" }, { "dev0/writeback_percent", "100", "40\n" }, { "dev0/writeback_percent", "0", "0\n" },
		{ "dev1/writeback_percent", "99", "40\n" },
		{ "dev0/writeback_rate_update_seconds", "0", "1\n" }, { "dev0/writeback_rate_update_seconds", "61", "60\n" },
		{ "dev0/writeback_rate_p_term_inverse", "0", "1\n" }, { "dev0/writeback_rate_minimum", "0", "1\n" },
		{ "dev0/writeback_delay", "4294967296", "4294967295\n" },
		{ "dev0/io_error_limit", "2147483648", "2147483647\n" }, { "dev0/io_error_limit", "0", "0\n" },
		{ "dev0/sequential_cutoff", "4294967296", "3.9G\n" }, { "dev0/sequential_cutoff", "4M", "4.0M\n" },
		{ "dev0/sequential_cutoff", "512.0k", "512.0k\n" }, { "dev0/sequential_cutoff", "1E", "3.9G\n" },
		{ "dev0/io_disable", "4294967296", "1\n" }, { "dev0/io_disable", "0", "0\n" },
		{ "dev0/writeback_metadata", "7", "1\n" },
		{ SET_UUID "/journal_delay_ms", "65536", "65535\n" },
		{ SET_UUID "/congested_read_threshold_us", "99999999999", "4294967295\n" },
		{ SET_UUID "/io_error_halflife", "100", "88\n" }, { SET_UUID "/io_error_halflife", "87", "0\n" },
		{ SET_UUID "/io_error_halflife", "65535", "65472\n" },
		{ SET_UUID "/internal/gc_after_writeback", "3", "1\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		check_case(cases[i].path, store(cases[i].path, cases[i].text), 0);
		check_text(cases[i].path, show(cases[i].path), cases[i].want);
	}
}

static void writeback_rate_reads_bytes_and_takes_sectors_or_units(void **state)
{
	check_show("dev0/writeback_rate", "512.0k\n");
	check_store("dev0/writeback_rate", "40", 0);
	check_show("dev0/writeback_rate", "20.0k\n");
	check_store("dev0/writeback_rate", "1M", 0);
	check_show("dev0/writeback_rate", "1.0M\n");
	check_store("dev0/writeback_rate", "0.1k", 0); /* less than a sector: the minimum */
	check_show("dev0/writeback_rate", "0.5k\n");
	check_store("dev0/writeback_rate", "9999999999", 0);
	check_show("dev0/writeback_rate", "0.9T\n");
	check_store("dev0/writeback_rate", "7E", 0);
	check_show("dev0/writeback_rate", "0.9T\n");
	check_store("dev0/writeback_running", "0", 0);
	check_show("dev0/writeback_rate", "0.0k\n");
}

static void fragmentation_weights_stay_in_order(void **state)
{
	check_store("dev0/writeback_rate_fp_term_low", "20", 0);
	check_show("dev0/writeback_rate_fp_term_low", "9\n");
	check_store("dev0/writeback_rate_fp_term_mid", "5", 0);
	check_show("dev0/writeback_rate_fp_term_mid", "10\n");
	check_store("dev0/writeback_rate_fp_term_mid", "5000", 0);
	check_show("dev0/writeback_rate_fp_term_mid", "999\n");
	check_store("dev0/writeback_rate_fp_term_high", "0", 0);
	check_show("dev0/writeback_rate_fp_term_high", "1000\n");
	check_store("dev0/writeback_rate_fp_term_high", "18446744073709551615", 0);
	check_show("dev0/writeback_rate_fp_term_high", "4294967295\n");
}

static void defaults_are_the_kernels(void **state)
{
	static const char *const cases[][2] = {
		{ "dev1/readahead_cache_policy", "[all] meta-only\n" }, { "dev1/stop_when_cache_set_failed", "[auto] always\n" },
		{ "dev1/sequential_cutoff", "4.0M\n" }, { "dev1/writeback_metadata", "1\n" }, { "dev1/io_disable", "0\n" },
		{ "dev1/io_errors", "0\n" }, { "dev1/io_error_limit", "64\n" }, { "dev1/writeback_running", "0\n" },
		{ "dev1/writeback_percent", "10\n" }, { "dev1/writeback_delay", "30\n" }, { "dev1/writeback_rate", "0.0k\n" },
		{ "dev1/writeback_rate_update_seconds", "5\n" }, { "dev1/writeback_rate_p_term_inverse", "40\n" },
		{ "dev1/writeback_rate_i_term_inverse", "10000\n" }, { "dev1/writeback_rate_minimum", "8\n" },
		{ "dev1/writeback_consider_fragment", "1\n" }, { "dev1/writeback_rate_fp_term_low", "1\n" },
		{ "dev1/writeback_rate_fp_term_mid", "10\n" }, { "dev1/writeback_rate_fp_term_high", "1000\n" },
		{ "dev1/cache_mode", "[writethrough] writeback writearound none\n" },
		{ SET_UUID "/congested_read_threshold_us", "2000\n" }, { SET_UUID "/congested_write_threshold_us", "20000\n" },
		{ SET_UUID "/errors", "[unregister] panic\n" }, { SET_UUID "/io_error_limit", "8\n" }, { SET_UUID "/io_error_halflife", "0\n" },
		{ SET_UUID "/journal_delay_ms", "100\n" }, { SET_UUID "/synchronous", "1\n" },
		{ SET_UUID "/internal/gc_always_rewrite", "0\n" }, { SET_UUID "/internal/idle_max_writeback_rate", "1\n" },
		{ SET_UUID "/internal/btree_shrinker_disabled", "0\n" }, { SET_UUID "/internal/copy_gc_enabled", "0\n" },
		{ SET_UUID "/internal/key_merging_disabled", "0\n" }, { SET_UUID "/internal/verify", "0\n" }, { SET_UUID "/internal/expensive_debug_checks", "0\n" }, { SET_UUID "/cache0/discard", "0\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_text(cases[i][0], show(cases[i][0]), cases[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_parsed_as_strictly_as_the_kernel_does),
		cmocka_unit_test(a_nul_ends_the_text),
		cmocka_unit_test(a_unit_is_noticed),
		cmocka_unit_test(words_match_exactly),
		cmocka_unit_test(uuids_need_exactly_32_digits),
		cmocka_unit_test(labels_lose_one_newline_before_they_are_measured),
		cmocka_unit_test(paths_are_stripped),
		cmocka_unit_test(human_sizes_are_truncated),
		cmocka_unit_test_setup(lists_have_the_same_length_whatever_is_active, world_new),
		cmocka_unit_test(every_row_is_complete_and_named_once),
		cmocka_unit_test(no_file_of_a_set_looks_like_a_device),
		cmocka_unit_test_setup(every_number_file_keeps_the_strictness_matrix, world_new),
		cmocka_unit_test_setup(numbers_out_of_range_are_clamped, world_new),
		cmocka_unit_test_setup(writeback_rate_reads_bytes_and_takes_sectors_or_units, world_new),
		cmocka_unit_test_setup(fragmentation_weights_stay_in_order, world_new),
		cmocka_unit_test_setup(defaults_are_the_kernels, world_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
