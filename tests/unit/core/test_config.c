/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/admin/config.h"
#include "core/admin/json.h"

static char why_text[512];

static int parse(struct config *c, const char *text)
{
	struct printbuf why = PRINTBUF(why_text);

	why_text[0] = '\0';
	config_init(c);
	return config_parse(c, "f", text, strlen(text), &why);
}

static void assert_same_options(const struct config *a, const struct config *b)
{
	assert_int_equal(a->shutdown_timeout_s, b->shutdown_timeout_s);
	assert_int_equal(a->btree_cache_max_bytes, b->btree_cache_max_bytes);
	assert_int_equal(a->cutoff_writeback, b->cutoff_writeback);
	assert_int_equal(a->cutoff_writeback_sync, b->cutoff_writeback_sync);
	assert_int_equal(a->spin_us, b->spin_us);
	assert_int_equal(a->log_level, b->log_level);
	assert_string_equal(a->state_file, b->state_file);
}

/* Every option of the sample, and no option is missing there. Run from the top of the tree, as make does. */
static void the_shipped_sample_says_the_defaults(void **state)
{
	struct printbuf why = PRINTBUF(why_text);
	struct config defaults, sample = { 0 }; /* what the sample does not set stays 0 */

	config_init(&defaults);
	if (access("bcache-fuse.conf", R_OK) < 0)
		skip();
	assert_int_equal(config_load(&sample, "bcache-fuse.conf", &why), 0);
	assert_same_options(&sample, &defaults);
	assert_int_equal(sample.nr_devices, 0);
	config_release(&sample);
}

static void devices_and_tunables_are_read(void **state)
{
	struct config c;

	assert_int_equal(parse(&c, "{ \"devices\": [\n"
				   "  { \"options\": { \"discard\": true, \"journal_delay_ms\": 50 }, \"cache\": \"/c\" },\n"
				   "  { \"backing\": \"/b\", \"options\": { \"cache_mode\": \"writeback\", \"sequential_cutoff\": \"4M\" } },\n"
				   "  { \"backing\": \"/d\" } ],\n"
				   "  \"options\": { \"btree_cache\": \"256M\", \"spin_us\": 0, \"log_level\": \"debug\" } }"),
			 0);
	assert_int_equal(c.nr_devices, 3);
	assert_false(c.devices[0].backing);
	assert_string_equal(c.devices[0].path, "/c");
	assert_int_equal(c.devices[0].nr_tunables, 2);
	assert_string_equal(c.devices[0].tunables[0].ctl_name, "cache0/discard");
	assert_string_equal(c.devices[0].tunables[0].text, "1");
	assert_string_equal(c.devices[0].tunables[1].ctl_name, "journal_delay_ms");
	assert_string_equal(c.devices[0].tunables[1].text, "50");
	assert_true(c.devices[1].backing);
	assert_string_equal(c.devices[1].tunables[0].text, "writeback");
	assert_string_equal(c.devices[1].tunables[1].ctl_name, "sequential_cutoff");
	assert_int_equal(c.devices[2].nr_tunables, 0);
	assert_int_equal(c.btree_cache_max_bytes, MIB(256));
	assert_int_equal(c.spin_us, 0);
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c.cutoff_writeback, 40);
	config_release(&c);
}

static void mistakes_are_told_with_their_place(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "{\n  \"devises\": []\n}", "f:2:3: unknown key \"devises\", known are \"devices\" and \"options\"" },
		{ "{ \"options\": { \"spin_us\": 1,\n\t\"spin\": 1 } }", "f:2:2: unknown option \"spin\"" },
		{ "{ \"options\": { \"spin_us\": \"fast\" } }", "f:1:27: option 'spin_us' needs a whole number, not 'fast'" },
		{ "{ \"options\": { \"spin_us\": -1 } }", "f:1:27: option 'spin_us' needs a whole number, not '-1'" },
		{ "{ \"options\": { \"spin_us\": true } }", "f:1:27: option \"spin_us\" needs a whole number, not true or false" },
		{ "{ \"options\": { \"spin_us\": [{\"}\":[]}] } }", "f:1:27: option \"spin_us\" needs a whole number, not an array" },
		{ "{ \"options\": [] }", "f:1:14: \"options\" must be an object, not an array" },
		{ "[]", "f:1:1: the configuration must be an object, not an array" },
		{ "{ \"devices\": { } }", "f:1:14: \"devices\" must be an array, not an object" },
		{ "{ \"devices\": [ 1 ] }", "f:1:16: each of \"devices\" must be an object, not a number" },
		{ "{ \"devices\": [ { } ] }", "f:1:16: a device needs \"cache\" or \"backing\" with its path" },
		{ "{ \"devices\": [ {\"cache\": \"/a\"},\n {\"disk\": \"/b\"} ] }",
		  "f:2:3: unknown key \"disk\", known are \"cache\", \"backing\" and \"options\"" },
		{ "{ \"devices\": [ {\"cache\": \"/a\", \"backing\": \"/b\"} ] }",
		  "f:1:32: a device is either \"cache\" or \"backing\": use one object for each" },
		{ "{ \"devices\": [ {\"cache\": \"a\"} ] }", "f:1:26: path \"a\" must be absolute" },
		{ "{ \"devices\": [ {\"cache\": null} ] }", "f:1:26: a device must be a path, not null" },
		{ "{ \"devices\": [ {\"cache\": \"/a \\\" ] } \\\\\", \"options\": { \"x\": 1 } } ] }",
		  "f:1:55: unknown option \"x\" of a cache device" },
		{ "{ \"devices\": [ {\"cache\": \"/a\", \"options\": { \"cache_mode\": \"none\" } } ] }",
		  "f:1:45: unknown option \"cache_mode\" of a cache device; it belongs to a backing device" },
		{ "{ \"devices\": [ {\"backing\": \"/a\", \"options\": { \"cache_mode\": 1.5 } } ] }",
		  "f:1:61: option \"cache_mode\" must be a string, a whole number, true or false, not a fraction" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config c;

		assert_true(parse(&c, cases[i].text) < 0);
		assert_string_equal(why_text, cases[i].expected);
		assert_int_equal(c.nr_devices, 0);
		config_release(&c);
	}
}

static void syntax_errors_and_double_keys_have_a_place_too(void **state)
{
	struct printbuf why = PRINTBUF(why_text);
	struct config c;

	config_init(&c);
	assert_int_equal(parse(&c, "{\n \"options\": { \"spin_us\": 1, }\n}"), -EINVAL);
	assert_non_null(strstr(why_text, "f:2:"));
	assert_int_equal(parse(&c, "{ \"options\": {},\n \"options\": {} }"), -EINVAL);
	assert_non_null(strstr(why_text, "f:2:"));
	assert_int_equal(config_parse(&c, "f", "{\n\0}", 4, &why), -EINVAL);
	assert_string_equal(why_text, "f:2:1: the text contains a NUL byte");
	assert_int_equal(parse(&c, ""), -EINVAL);
	assert_non_null(strstr(why_text, "f:1:"));
}

static void a_mistake_leaves_everything_as_it_was(void **state)
{
	struct printbuf why = PRINTBUF(why_text);
	struct config c, defaults;

	config_init(&c);
	config_init(&defaults);
	assert_int_equal(config_add_device(&c, "/kept", true), 0);
	assert_true(config_parse(&c, "f", "{\"devices\":[{\"cache\":\"/x\"}],\"options\":{\"spin_us\":1,\"nope\":2}}", 62, &why) < 0);
	assert_same_options(&c, &defaults);
	assert_int_equal(c.nr_devices, 1);
	assert_string_equal(c.devices[0].path, "/kept");
	config_release(&c);
}

static void cut_offs_are_reduced(void **state)
{
	static const struct {
		unsigned in[2], out[2];
	} cases[] = {
		{ { 40, 70 }, { 40, 70 } }, { { 0, 0 }, { 40, 70 } },	{ { 99, 99 }, { 70, 90 } },
		{ { 60, 50 }, { 50, 50 } }, { { 71, 80 }, { 70, 80 } },
	};

	log_set_level(LOG_LEVEL_ERROR);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config c;

		config_init(&c);
		c.cutoff_writeback = cases[i].in[0];
		c.cutoff_writeback_sync = cases[i].in[1];
		config_normalise(&c);
		assert_int_equal(c.cutoff_writeback, cases[i].out[0]);
		assert_int_equal(c.cutoff_writeback_sync, cases[i].out[1]);
	}
}

static void options_from_text(void **state)
{
	struct printbuf why = PRINTBUF(why_text);
	struct config c;

	config_init(&c);
	assert_int_equal(config_set_option(&c, "btree_cache", "2g", &why), 0);
	assert_int_equal(c.btree_cache_max_bytes, GIB(2));
	assert_int_equal(config_set_option(&c, "btree_cache", "99999999999999999999", &why), -ERANGE);
	assert_int_equal(config_set_option(&c, "btree_cache", "99999999E", &why), -ERANGE);
	assert_int_equal(config_set_option(&c, "btree_cache", "1023", &why), -ERANGE);
	assert_int_equal(config_set_option(&c, "btree_cache", "M", &why), -EINVAL);
	assert_int_equal(config_set_option(&c, "spin_us", "", &why), -EINVAL);
	assert_int_equal(config_set_option(&c, "spin_us", "1k", &why), -EINVAL);
	assert_int_equal(config_set_option(&c, "log_level", "loud", &why), -EINVAL);
	assert_int_equal(config_set_option(&c, "nothing", "1", &why), -ENOENT);
	assert_int_equal(c.btree_cache_max_bytes, GIB(2));
}

static void the_command_lines_devices_replace_the_files(void **state)
{
	struct config file, line;

	assert_int_equal(parse(&file, "{\"devices\":[{\"cache\":\"/a\"},{\"backing\":\"/b\",\"options\":{\"label\":1}}]}"), -EINVAL);
	assert_int_equal(parse(&file, "{\"devices\":[{\"cache\":\"/a\"},{\"backing\":\"/b\",\"options\":{\"writeback_percent\":1}}]}"), 0);
	config_init(&line);
	assert_int_equal(config_add_device(&line, "/b", true), 0);
	assert_int_equal(config_add_device(&line, "/z", false), 0);
	config_replace_devices(&file, &line);
	assert_int_equal(file.nr_devices, 2);
	assert_string_equal(file.devices[0].path, "/b");
	assert_int_equal(file.devices[0].nr_tunables, 1);
	assert_string_equal(file.devices[0].tunables[0].ctl_name, "writeback_percent");
	assert_int_equal(file.devices[1].nr_tunables, 0);
	assert_int_equal(line.nr_devices, 0);
	config_release(&file);
}

/* --- searching -------------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void the_users_file_is_found(void **state)
{
	char dir[] = "/tmp/test_config.XXXXXX", sub[100], file[120];
	struct printbuf why = PRINTBUF(why_text);
	struct config c;

	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/bcache-fuse", dir);
	snprintf(file, sizeof(file), "%s/bcache-fuse.conf", sub);
	assert_int_equal(setenv("XDG_CONFIG_HOME", sub, 1), 0); /* nothing there: not an error, unless there is a system-wide file */
	config_init(&c);
	if (access("/etc/bcache-fuse.conf", F_OK) < 0)
		assert_int_equal(config_load(&c, NULL, &why), 0);
	assert_int_equal(config_load(&c, file, &why), -ENOENT);
	assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
	assert_int_equal(mkdir(sub, 0700), 0);
	write_file(file, "{\"options\":{\"spin_us\":3}}");
	assert_int_equal(config_load(&c, NULL, &why), 0);
	assert_int_equal(c.spin_us, 3);
	unlink(file);
	rmdir(sub);
	rmdir(dir);
	config_release(&c);
}

/* --- JSON output ------------------------------------------------------------------------------------------------------- */

static void saved_settings_have_a_usual_place(void **state)
{
	char path[CONFIG_PATH_BYTES], line[400] = "";
	struct printbuf why = PRINTBUF(line);
	struct config c;

	config_init(&c);
	setenv("XDG_STATE_HOME", "/xdg", 1);
	assert_true(config_state_file(&c, path));
	assert_string_equal(path, "/xdg/bcache-fuse/tunables");
	setenv("XDG_STATE_HOME", "relative", 1);
	setenv("HOME", "/home/me", 1);
	assert_true(config_state_file(&c, path));
	assert_string_equal(path, geteuid() ? "/home/me/.local/state/bcache-fuse/tunables" : "/var/lib/bcache-fuse/tunables");
	assert_int_equal(config_set_option(&c, "state_file", "/a/b", &why), 0);
	assert_true(config_state_file(&c, path));
	assert_string_equal(path, "/a/b");
	assert_int_equal(config_set_option(&c, "state_file", "a/b", &why), -EINVAL);
	assert_string_equal(line, "option 'state_file' needs an absolute path, \"default\" or \"none\", not 'a/b'");
	assert_int_equal(config_set_option(&c, "state_file", "none", &why), 0);
	assert_false(config_state_file(&c, path));
	config_release(&c);
}

static void json_output_is_json(void **state)
{
	char text[1000];
	struct printbuf out = PRINTBUF(text), why = PRINTBUF(why_text);
	struct jout j = jout_begin(&out);
	struct json_doc *d;
	struct jiter it;

	jout_object_begin(&j, NULL);
	jout_string(&j, "a \"key\"\n", "tab\t \\ \xc3\xa4 \xff\x01");
	jout_uint(&j, "u", UINT64_MAX);
	jout_int(&j, "i", -5);
	jout_bool(&j, "b", true);
	jout_array_begin(&j, "empty");
	jout_array_end(&j);
	jout_array_begin(&j, "list");
	jout_int(&j, NULL, 1);
	jout_null(&j, NULL);
	jout_string(&j, NULL, NULL);
	jout_array_end(&j);
	jout_object_end(&j);
	jout_end(&j);
	assert_string_equal(text, "{\n  \"a \\\"key\\\"\\n\": \"tab\\t \\\\ \xc3\xa4 \\u00ff\\u0001\",\n  \"u\": 18446744073709551615,\n"
				  "  \"i\": -5,\n  \"b\": true,\n  \"empty\": [],\n  \"list\": [\n    1,\n    null,\n    null\n  ]\n}\n");
	assert_int_equal(json_doc_parse("t", "[1, {\"x\": -2}, \"s\"]", 19, &d, &why), 0);
	it = jiter_begin(json_doc_root(d));
	assert_true(jiter_next(&it));
	assert_int_equal(jvalue_integer(it.value), 1);
	assert_true(jiter_next(&it));
	assert_int_equal(jvalue_kind(it.value), JVALUE_OBJECT);
	assert_int_equal(it.value.offset_bytes, 4);
	assert_true(jiter_next(&it));
	assert_string_equal(jvalue_string(it.value), "s");
	assert_int_equal(it.value.offset_bytes, 15);
	assert_false(jiter_next(&it));
	json_doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shipped_sample_says_the_defaults),
		cmocka_unit_test(devices_and_tunables_are_read),
		cmocka_unit_test(mistakes_are_told_with_their_place),
		cmocka_unit_test(syntax_errors_and_double_keys_have_a_place_too),
		cmocka_unit_test(a_mistake_leaves_everything_as_it_was),
		cmocka_unit_test(cut_offs_are_reduced),
		cmocka_unit_test(options_from_text),
		cmocka_unit_test(the_command_lines_devices_replace_the_files),
		cmocka_unit_test(the_users_file_is_found),
		cmocka_unit_test(saved_settings_have_a_usual_place),
		cmocka_unit_test(json_output_is_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
