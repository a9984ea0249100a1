/* SPDX-License-Identifier: GPL-2.0-only */
/* .ctl/tunables, .ctl/save and the state file: control-files.md §9.1, §10.8. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/admin/config.h"
#include "core/admin/saved.h"
#include "core/admin/tunables.h"
#include "tests/unit/core/attr_world.h"

#define DEV0 "by/uuid/" DEV0_UUID "/"
#define DEV1 "by/uuid/f7fe0084-0000-4975-8d90-f231fc8d1c69/"
#define VOLUME "by/uuid/" VOLUME_UUID "/"
#define U64_OVER "18446744073709551616"
#define ABSENT "by/uuid/" OTHER_UUID "/"

static char dir[] = "/tmp/bcf-tunables.XXXXXX", state_file[sizeof(dir) + 32];

static int files_new(void **state)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	assert_non_null(mkdtemp(dir));
	snprintf(state_file, sizeof(state_file), "%s/below/state", dir);
	world_new(state);
	w.b.options.state_file = state_file;
	return 0;
}

static int files_gone(void **state)
{
	char command[100];

	free(w.b.saved);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static const char *whole_file(void)
{
	static char text[65536];
	int fd = open(state_file, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return strerrorname_np(errno);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[max(n, (ssize_t)0)] = '\0';
	return text;
}

static void put_file(const char *text, size_t len)
{
	char path[sizeof(dir) + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/below", dir);
	mkdir(path, 0755);
	fd = open(state_file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static char *load(char *why_text, size_t size)
{
	struct printbuf why = printbuf_over(why_text, size);

	return saved_load(state_file, &why);
}

static unsigned nr_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* --- the text ------------------------------------------------------------------------------------------------------------ */

static void every_setting_is_shown_once_and_can_be_written_back(void **state)
{
	static char before[65536];
	unsigned want = 0;

	for (unsigned d = 0; d < ATTR_DIRS; d++)
		for (size_t i = 0; i < attr_table(d)->nr; i++) {
			enum attr_keep keep = attr_table(d)->attrs[i].keep;

			if (keep == ATTR_KEEP_SAVED || keep == ATTR_KEEP_SHOWN)
				want += d == ATTR_DIR_BDEV ? 2 : 1; /* dev0 and dev1 */
		}
	w.d[1].writeback.rate.rate = 1024; /* as writeback_init() leaves it */
	snprintf(before, sizeof(before), "%s", show("tunables"));
	check_case("lines", nr_lines(before), want);
	assert_non_null(strstr(before, DEV0 "sequential_cutoff=4194304\n"));
	assert_non_null(strstr(before, DEV0 "cache_mode=writethrough\n"));
	assert_non_null(strstr(before, DEV0 "label=data\n"));
	assert_non_null(strstr(before, DEV0 "stripe_size=0\n")); /* whatever the device says */
	assert_non_null(strstr(before, DEV1 "label=\n"));
	assert_non_null(strstr(before, DEV0 "writeback_rate=1024\n"));
	assert_non_null(strstr(before, DEV1 "writeback_running=1\n")); /* once it is attached */
	assert_non_null(strstr(before, VOLUME "label=vol\n"));
	assert_non_null(strstr(before, SET_UUID "/errors=unregister\n"));
	assert_non_null(strstr(before, SET_UUID "/internal/gc_after_writeback=0\n"));
	assert_non_null(strstr(before, SET_UUID "/cache0/cache_replacement_policy=lru\n"));
	assert_null(strstr(before, "/running="));
	assert_null(strstr(before, "/io_disable="));
	for (const char *line = before; *line; line += strcspn(line, "\n") + 1)
		check_case(line, store_bytes("tunables", line, strcspn(line, "\n") + 1), 0);
	check_text("unchanged", show("tunables"), before);
}

static void lines_are_applied_in_any_notation(void **state)
{
	check_store("tunables", "dev0/sequential_cutoff=8M\n\nby/uuid/F7FE0084-7c8b-4975-8d90-f231fc8d1c69/writeback_delay=7\n" SET_UUID
				"/journal_delay_ms=20", 0);
	check_show("dev0/sequential_cutoff", "8.0M\n");
	check_show("dev0/writeback_delay", "7\n");
	check_show(SET_UUID "/journal_delay_ms", "20\n");
	check_store("tunables", DEV0 "label=\n" DEV0 "cache_mode=writeback", 0);
	check_show("dev0/label", "\n");
	assert_non_null(strstr(w.calls, "set_cache_mode(dev0,1)"));
}

static void one_mistake_and_nothing_is_applied(void **state)
{
	static const struct {
		const char *text;
		int want;
		const char *why;
	} cases[] = {
		{ "dev0/writeback_delay=1\nnonsense", -EINVAL, "line 2: expected PATH=VALUE" },
		{ "dev0/writeback_delay=1\n\ndev9/writeback_delay=1", -ENOENT, "line 3: there is no 'dev9/writeback_delay'" },
		{ "dev0/writeback_delay=1\n" ABSENT "writeback_delay=1", -ENOENT, "line 2: there is no '" ABSENT },
		{ "dev0/writeback_delay=1\ndev0/running=1", -EINVAL, "'dev0/running' is not a setting" },
		{ "dev0/writeback_delay=1\ndev0/io_disable=1", -EINVAL, "is not a setting" },
		{ "dev0/writeback_delay=1\ndev0/detach=1", -EINVAL, "is not a setting" },
		{ "dev0/writeback_delay=1\ndev0/state=1", -EINVAL, "is not a setting" },
		{ "dev0/writeback_delay=1\ndev0=1", -EINVAL, "is not a setting" },
		{ "dev0/writeback_delay=1\ntunables=dev0/detach=1", -EINVAL, "is not a setting" },
		{ "dev0/writeback_delay=1\nregister=/dev/sda", -EINVAL, "is not a setting" },
		{ "dev0/writeback_delay=1\ndev0/writeback_percent=ten", -EINVAL, "expected a decimal number" },
		{ "dev0/writeback_delay=1\ndev0/writeback_percent=", -EINVAL, "a value is missing" },
		{ "dev0/writeback_delay=1\ndev0/writeback_percent=" U64_OVER, -ERANGE, "number too large" },
		{ "dev0/writeback_delay=1\ndev0/cache_mode=[none]", -EINVAL, "expected one of:" },
		{ "dev0/writeback_delay=1\n=5", -EINVAL, "is not a setting" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		check_case(cases[i].text, store("tunables", cases[i].text), cases[i].want);
		if (!strstr(show("last_error"), cases[i].why))
			fail_msg("%s: last_error is %s", cases[i].text, show("last_error"));
		check_show("dev0/writeback_delay", "30\n");
	}
}

static void a_store_that_fails_is_named(void **state)
{
	w.result = -EIO;
	check_store("tunables", "dev0/writeback_delay=1\ndev0/cache_mode=none\ndev0/writeback_percent=3", -EIO);
	assert_non_null(strstr(show("last_error"), "line 2: 'dev0/cache_mode'"));
	check_show("dev0/writeback_delay", "1\n");
	check_show("dev0/writeback_percent", "10\n");
}

/* low < mid < high are clamped against each other; whatever they were and whatever comes, what was asked for is the result. */
static void weights_that_bound_each_other_arrive_in_any_order(void **state)
{
	static const unsigned triples[][3] = { { 1, 2, 3 }, { 1, 10, 1000 }, { 500, 600, 700 }, { 2000, 3000, 4000 }, { 9, 2500, 4294967295u }, { 1, 2, 9 } };
	static const char orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	static const char *const names[] = { "low", "mid", "high" };
	struct rate_tunables *t = &w.d[0].writeback.tunables;

	for (size_t from = 0; from < ARRAY_SIZE(triples); from++)
		for (size_t to = 0; to < ARRAY_SIZE(triples); to++)
			for (size_t o = 0; o < ARRAY_SIZE(orders); o++) {
				char text[400] = "";
				struct printbuf pb = PRINTBUF(text);

				t->fp_term_low = triples[from][0];
				t->fp_term_mid = triples[from][1];
				t->fp_term_high = triples[from][2];
				for (unsigned k = 0; k < 3; k++)
					pr(&pb, "dev0/writeback_rate_fp_term_%s=%u\n", names[(int)orders[o][k]], triples[to][(int)orders[o][k]]);
				check_case(text, store("tunables", text), 0);
				check_case(text, t->fp_term_low, triples[to][0]);
				check_case(text, t->fp_term_mid, triples[to][1]);
				check_case(text, t->fp_term_high, triples[to][2]);
			}
}

/* --- saving -------------------------------------------------------------------------------------------------------------- */

static void saving_keeps_what_no_superblock_keeps(void **state)
{
	const char *text;

	check_store("dev0/sequential_cutoff", "1M", 0);
	check_store("save", "now", 0);
	text = whole_file();
	assert_int_equal(strncmp(text, "bcache-fuse-settings 1\n", 23), 0);
	assert_string_equal(text + strlen(text) - 5, "\nend\n");
	assert_non_null(strstr(text, DEV0 "sequential_cutoff=1048576\n"));
	assert_non_null(strstr(text, DEV1 "writeback_percent=10\n"));
	assert_non_null(strstr(text, SET_UUID "/io_error_halflife=0\n"));
	assert_null(strstr(text, "cache_mode"));
	assert_null(strstr(text, "label"));
	assert_null(strstr(text, "synchronous"));
	assert_null(strstr(text, "discard"));
	assert_null(strstr(text, "cache_replacement_policy"));
	assert_null(strstr(text, "/writeback_rate="));
	assert_null(strstr(text, "/running="));
	assert_null(strstr(text, VOLUME));
}

static void restart(void)
{
	char why[400] = "";
	char *saved = load(why, sizeof(why));
	void *none = NULL;

	assert_non_null(saved);
	check_text("why", why, "");
	world_new(&none);
	tunables_restore(&w.b, saved);
	free(saved);
}

static void a_restart_restores_what_was_saved(void **state)
{
	free(w.b.saved);
	w.b.saved = NULL;
	w.d[0].writeback.running = false;
	w.d[1].writeback.running = false;
	check_store("tunables", DEV0 "sequential_cutoff=12345\n" DEV0 "writeback_rate_fp_term_low=2000\n" DEV0
				"writeback_rate_fp_term_mid=3000\n" DEV0 "writeback_rate_fp_term_high=4000\n" SET_UUID "/journal_delay_ms=7\n"
				SET_UUID "/io_error_halflife=880\n" SET_UUID "/internal/gc_after_writeback=1\n", 0);
	check_store("save", "1", 0);
	free(w.b.saved);
	restart();
	check_show("dev0/sequential_cutoff", "12.0k\n");
	check_case("low", w.d[0].writeback.tunables.fp_term_low, 2000);
	check_case("mid", w.d[0].writeback.tunables.fp_term_mid, 3000);
	check_case("high", w.d[0].writeback.tunables.fp_term_high, 4000);
	check_show(SET_UUID "/journal_delay_ms", "7\n");
	check_show(SET_UUID "/io_error_halflife", "880\n");
	check_show(SET_UUID "/internal/gc_after_writeback", "1\n");
	assert_false(w.d[0].writeback.running);
	assert_false(w.d[1].writeback.running); /* not attached yet: it will be paused when it is */
	check_text("calls", strstr(w.calls, "set_") ? w.calls : "", ""); /* no superblock is touched */
}

static void each_object_is_restored_once_when_it_comes(void **state)
{
	static const char saved[] = DEV0 "writeback_delay=5\n" DEV1 "writeback_delay=6\n" ABSENT "writeback_delay=7\n" SET_UUID "/journal_delay_ms=8\n";

	w.d[1].closing = true; /* not there */
	tunables_restore(&w.b, saved);
	check_show("dev0/writeback_delay", "5\n");
	check_show(SET_UUID "/journal_delay_ms", "8\n");
	assert_false(w.d[1].restored);
	check_store("dev0/writeback_delay", "99", 0); /* from now on it is the user's */
	w.d[1].closing = false;
	tunables_restore(&w.b, saved);
	check_show("dev0/writeback_delay", "99\n");
	check_show("dev1/writeback_delay", "6\n");
}

static void a_saved_line_that_means_nothing_any_more_is_skipped(void **state)
{
	tunables_restore(&w.b, DEV0 "of_another_version=5\n" DEV0 "writeback_percent=many\n" DEV0 "running=1\n" DEV0 "writeback_delay=5\n");
	check_show("dev0/writeback_delay", "5\n");
	check_show("dev0/writeback_percent", "10\n");
	check_text("calls", strstr(w.calls, "run(") ? w.calls : "", "");
}

static void settings_of_absent_devices_stay_in_the_file(void **state)
{
	static const char old[] = "bcache-fuse-settings 1\n" ABSENT "writeback_delay=7\n" ABSENT "writeback_percent=3\n" DEV0 "writeback_delay=1\n"
				  OTHER_UUID "/journal_delay_ms=1\nend\n";

	put_file(old, strlen(old));
	check_store("save", "1", 0);
	assert_non_null(strstr(whole_file(), ABSENT "writeback_delay=7\n" ABSENT "writeback_percent=3\n" OTHER_UUID "/journal_delay_ms=1\n"));
	assert_null(strstr(whole_file(), DEV0 "writeback_delay=1\n"));
	assert_non_null(strstr(whole_file(), DEV0 "writeback_delay=30\n"));
	assert_non_null(strstr(w.b.saved, ABSENT "writeback_delay=7\n"));
	check_store("save", "1", 0); /* again: nothing is doubled */
	check_case("once", nr_lines(whole_file()), 2 + nr_lines(w.b.saved));
	assert_null(strstr(strstr(whole_file(), ABSENT "writeback_delay") + 1, ABSENT "writeback_delay"));
}

/* --- files that are not as they should be -------------------------------------------------------------------------------- */

static void a_torn_file_is_ignored_at_every_length(void **state)
{
	static char text[65536];
	char why[400], *saved;
	size_t len;

	check_store("save", "1", 0);
	snprintf(text, sizeof(text), "%s", whole_file());
	len = strlen(text);
	for (size_t cut = 0; cut < len; cut += cut < 40 || cut + 40 > len ? 1 : 17) {
		put_file(text, cut);
		why[0] = '\0';
		assert_null(load(why, sizeof(why)));
		assert_non_null(strstr(why, "ignoring the saved settings"));
	}
	put_file(text, len);
	saved = load(why, sizeof(why));
	assert_non_null(saved);
	free(saved);
}

static void hostile_files_are_ignored_and_say_why(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *why;
	} cases[] = {
#define CASE(text, why) { text, sizeof(text) - 1, why }
		CASE("", "its first line"),
		CASE("bcache-fuse-settings 2\nend\n", "its first line"),
		CASE("bcache-fuse-settings 1\n", "its last line"),
		CASE("bcache-fuse-settings 1\nend", "its last line"),
		CASE("bcache-fuse-settings 1\n" DEV0 "a=1\nthe end\n", "its last line"),
		CASE("bcache-fuse-settings 1\ndev0/a=1\nend\n", "not settings"),
		CASE("bcache-fuse-settings 1\n\nend\n", "not settings"),
		CASE("bcache-fuse-settings 1\n" DEV0 "a\nend\n", "not settings"),
		CASE("bcache-fuse-settings 1\nby/uuid/\nend\n", "not settings"),
		CASE("bcache-fuse-settings 1\nby/uuid/zzzz0084-7c8b-4975-8d90-f231fc8d1c69/a=1\nend\n", "not settings"),
		CASE("bcache-fuse-settings 1\n" DEV0 "a=1\0\n" DEV0 "b=1\nend\n", "not settings"),
	};
	char why[400];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_file(cases[i].text, cases[i].len);
		why[0] = '\0';
		assert_null(load(why, sizeof(why)));
		if (!strstr(why, cases[i].why))
			fail_msg("case %zu: %s", i, why);
	}
	check_store("save", "1", 0); /* replaces it */
	assert_int_equal(strncmp(whole_file(), "bcache-fuse-settings 1\n" SET_UUID, 30), 0);
}

static void odd_files_do_not_hang_or_break_anything(void **state)
{
	char why[400] = "", *big = calloc(1, SAVED_FILE_BYTES + 10);

	assert_null(load(why, sizeof(why))); /* none, and no directory either */
	check_text("absent", why, "");
	put_file(big, SAVED_FILE_BYTES + 10);
	free(big);
	assert_null(load(why, sizeof(why)));
	assert_non_null(strstr(why, "File too large"));
	unlink(state_file);
	assert_int_equal(mkfifo(state_file, 0600), 0);
	why[0] = '\0';
	assert_null(load(why, sizeof(why)));
	assert_non_null(strstr(why, "ignoring"));
	unlink(state_file);
	assert_int_equal(mkdir(state_file, 0700), 0);
	check_store("save", "1", -EISDIR);
	assert_non_null(strstr(show("last_error"), "cannot write"));
	assert_int_equal(rmdir(state_file), 0);
}

static void a_save_that_cannot_be_says_why_and_leaves_the_old_file(void **state)
{
	char below[sizeof(dir) + 8], new_file[sizeof(state_file) + 8];
	int fd;

	check_store("save", "1", 0);
	snprintf(below, sizeof(below), "%s/below", dir);
	fd = open(below, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	check_store("save", "1", -EBUSY);
	assert_non_null(strstr(show("last_error"), "somebody else is saving"));
	close(fd);
	snprintf(new_file, sizeof(new_file), "%s.new", state_file);
	assert_int_equal(mkdir(new_file, 0700), 0); /* no temporary file can be made */
	check_store("dev0/writeback_delay", "77", 0);
	check_store("save", "1", -EISDIR);
	assert_non_null(strstr(whole_file(), DEV0 "writeback_delay=30\n"));
	assert_non_null(strstr(w.b.saved, DEV0 "writeback_delay=30\n"));
	w.b.options.state_file = "/dev/null/below";
	check_store("save", "1", -ENOTDIR);
	assert_non_null(strstr(show("last_error"), "cannot open the directory"));
	w.b.options.state_file = "relative";
	check_store("save", "1", -EINVAL);
	w.b.options.state_file = NULL;
	check_store("save", "1", -EOPNOTSUPP);
	assert_non_null(strstr(show("last_error"), "there is no state file"));
}

static void a_state_file_in_our_own_mount_is_refused(void **state)
{
	struct stat st;

	assert_int_equal(stat(dir, &st), 0);
	w.b.options.avoid_dev = st.st_dev;
	check_store("save", "1", -EDEADLK);
	check_text("file", whole_file(), "ENOENT");
}

static void stop_now(void) { w.b.stopping = true; }

static void nothing_is_saved_once_the_end_has_begun(void **state)
{
	w.on_lock = stop_now;
	check_store("save", "1", -EBUSY);
	check_text("file", whole_file(), "ENOENT");
}

static void too_much_to_keep_is_refused(void **state)
{
	char *old = malloc(SAVED_FILE_BYTES), *merged;
	struct printbuf pb = printbuf_over(old, SAVED_FILE_BYTES);

	while (pb.len_bytes < SAVED_FILE_BYTES - 200)
		pr(&pb, ABSENT "writeback_delay=7\n");
	assert_null(saved_merge(old, DEV0 "a=1\n" DEV0 "b=1\n" DEV0 "c=1\n" DEV0 "d=1\n"));
	merged = saved_merge(NULL, DEV0 "a=1\n");
	check_text("fresh", merged, DEV0 "a=1\n");
	free(merged);
	free(old);
}

/* --- the configuration file and its manual page -------------------------------------------------------------------------- */

static bool is_identity(const char *name) { return !strcmp(name, "label") || !strcmp(name, "synchronous"); }

static bool configurable(const struct attr *a)
{
	return (a->keep == ATTR_KEEP_SAVED || a->keep == ATTR_KEEP_SHOWN) && !is_identity(a->name);
}

static const struct {
	enum attr_dir dir;
	bool backing;
	const char *below;
} config_dirs[] = { { ATTR_DIR_BDEV, true, "" }, { ATTR_DIR_SET, false, "" }, { ATTR_DIR_INTERNAL, false, "internal/" }, { ATTR_DIR_CACHE, false, "cache0/" } };

static bool config_takes(bool backing, const char *ctl_name)
{
	const char *name;

	for (size_t i = 0; (name = config_tunable_nth(backing, i)); i++)
		if (!strcmp(name, ctl_name))
			return true;
	return false;
}

static unsigned nr_configurable(bool backing)
{
	unsigned n = 0;

	for (size_t d = 0; d < ARRAY_SIZE(config_dirs); d++) {
		const struct attr_table *t = attr_table(config_dirs[d].dir);

		for (size_t i = 0; i < t->nr && config_dirs[d].backing == backing; i++) {
			char ctl_name[100];

			snprintf(ctl_name, sizeof(ctl_name), "%s%s", config_dirs[d].below, t->attrs[i].name);
			if (!configurable(&t->attrs[i]))
				continue;
			n++;
			if (!config_takes(backing, ctl_name))
				fail_msg("%s: a setting, but not a tunable of the configuration (config.c)", ctl_name);
		}
	}
	return n;
}

static void every_setting_is_a_tunable_of_the_configuration(void **state)
{
	for (int backing = 0; backing < 2; backing++) {
		size_t n = 0;

		while (config_tunable_nth(backing, n))
			n++;
		assert_true(n >= nr_configurable(backing));
	}
}

/* The part of the page from one heading to the next. Tests run from the top of the tree, as make does. */
static const char *man_section(const char *heading)
{
	static char text[65536], section[65536];
	int fd = open("docs/man/bcache-fuse.conf.5", O_RDONLY);
	const char *start, *end;
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[max(n, (ssize_t)0)] = '\0';
	start = strstr(text, heading);
	assert_non_null(start);
	start += strlen(heading);
	end = strstr(start, "\n.S");
	snprintf(section, sizeof(section), "%.*s", (int)(end ? end - start : (ssize_t)strlen(start)), start);
	return section;
}

/* ".Cm NAME , NAME" lines. */
static bool page_names(const char *section, const char *name)
{
	for (const char *line = section; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strlen(name);

		if (strncmp(line, ".Cm ", 4) && strncmp(line, ".It Cm ", 7))
			continue;
		for (const char *at = line; (at = strstr(at, name)) && at < line + strcspn(line, "\n"); at += len)
			if (at[-1] == ' ' && (at[len] == ' ' || at[len] == '\n' || !at[len]))
				return true;
	}
	return false;
}

static void every_tunable_stands_in_the_manual_page(void **state)
{
	static const char *const headings[] = { ".Ss Tunables of a cache device", ".Ss Tunables of a backing device" };
	const char *name, *slash, *section;

	for (int backing = 0; backing < 2; backing++) {
		section = man_section(headings[backing]);
		if (!section)
			skip();
		for (size_t i = 0; (name = config_tunable_nth(backing, i)); i++) {
			slash = strrchr(name, '/');
			if (!page_names(section, slash ? slash + 1 : name))
				fail_msg("bcache-fuse.conf.5 does not mention %s under '%s'", name, headings[backing]);
		}
	}
}

static void the_manual_pages_example_is_a_configuration(void **state)
{
	const char *section = man_section(".Sh EXAMPLES"), *start, *end;
	char text[400] = "";
	struct printbuf why = PRINTBUF(text);
	struct config c;

	if (!section)
		skip();
	config_init(&c);
	start = strchr(section, '{');
	end = strstr(section, "\n.Ed");
	assert_true(start && end);
	if (config_parse(&c, "example", start, (size_t)(end - start), &why) < 0)
		fail_msg("%s", text);
	assert_true(c.nr_devices >= 3);
	config_release(&c);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, files_new, files_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_setting_is_shown_once_and_can_be_written_back, world_new),
		cmocka_unit_test_setup(lines_are_applied_in_any_notation, world_new),
		cmocka_unit_test_setup(one_mistake_and_nothing_is_applied, world_new),
		cmocka_unit_test_setup(a_store_that_fails_is_named, world_new),
		cmocka_unit_test_setup(weights_that_bound_each_other_arrive_in_any_order, world_new),
		TEST(saving_keeps_what_no_superblock_keeps),
		TEST(a_restart_restores_what_was_saved),
		cmocka_unit_test_setup(each_object_is_restored_once_when_it_comes, world_new),
		cmocka_unit_test_setup(a_saved_line_that_means_nothing_any_more_is_skipped, world_new),
		TEST(settings_of_absent_devices_stay_in_the_file),
		TEST(a_torn_file_is_ignored_at_every_length),
		TEST(hostile_files_are_ignored_and_say_why),
		TEST(odd_files_do_not_hang_or_break_anything),
		TEST(a_save_that_cannot_be_says_why_and_leaves_the_old_file),
		TEST(a_state_file_in_our_own_mount_is_refused),
		TEST(nothing_is_saved_once_the_end_has_begun),
		cmocka_unit_test(too_much_to_keep_is_refused),
		cmocka_unit_test(every_setting_is_a_tunable_of_the_configuration),
		cmocka_unit_test(every_tunable_stands_in_the_manual_page),
		cmocka_unit_test(the_manual_pages_example_is_a_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
