/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "fuse/args.h"

#define MAX_ARGS 20

/* Parse "bcache-fuse" and the words that follow; what went wrong is in `why`. */
static char why_text[512];
static int parse(struct args *a, const char *const *words)
{
	struct printbuf why = PRINTBUF(why_text);
	char *argv[MAX_ARGS + 2] = { (char *)"bcache-fuse" };
	int argc = 1;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)words[argc - 1];
	why_text[0] = '\0';
	return args_parse(a, argc, argv, &why);
}
#define PARSE(a, ...) parse(a, (const char *const[]){ __VA_ARGS__, NULL })

static const char *fuse_options(const struct args *a)
{
	assert_int_equal(a->fuse.argc, 3);
	assert_string_equal(a->fuse.argv[1], "-o");
	return a->fuse.argv[2];
}

static void devices_come_in_order_and_absolute(void **state)
{
	char cwd[4096], expected[4200];
	struct args a;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(PARSE(&a, "--cache", "/c0", "--backing", "b0", "--cache=c,1", "-f", "/"), 0);
	assert_true(a.foreground);
	assert_int_equal(a.devices.nr_devices, 3);
	assert_string_equal(a.devices.devices[0].path, "/c0");
	assert_false(a.devices.devices[0].backing);
	snprintf(expected, sizeof(expected), "%s/b0", cwd);
	assert_string_equal(a.devices.devices[1].path, expected);
	assert_true(a.devices.devices[1].backing);
	snprintf(expected, sizeof(expected), "%s/c,1", cwd);
	assert_string_equal(a.devices.devices[2].path, expected);
	assert_string_equal(a.mountpoint, "/");
	args_release(&a);
}

static void a_mount_command_works(void **state)
{
	struct args a;

	assert_int_equal(PARSE(&a, "/dev/sdb", "/", "-o",
			       "rw,noauto,nofail,_netdev,x-systemd.requires=a.service,user=me,cache=/a\\,b,backing=/dev/sdb,spin_us=7"),
			 0);
	assert_string_equal(a.source, "/dev/sdb");
	assert_int_equal(a.devices.nr_devices, 2);
	assert_string_equal(a.devices.devices[0].path, "/a,b");
	assert_int_equal(a.nr_options, 1);
	assert_string_equal(a.options[0].name, "spin_us");
	assert_string_equal(a.options[0].value, "7");
	assert_string_equal(fuse_options(&a), "rw,fsname=/dev/sdb,default_permissions,subtype=bcache-fuse");
	args_release(&a);
	assert_int_equal(PARSE(&a, "none", "/"), 0);
	assert_null(a.source);
	assert_string_equal(fuse_options(&a), "fsname=none,default_permissions,subtype=bcache-fuse");
	args_release(&a);
}

static void what_is_not_ours_goes_to_libfuse_escaped(void **state)
{
	struct args a;

	assert_int_equal(PARSE(&a, "-o", "allow_other,fsname=a\\,b\\\\c", "-o", "max_idle_threads=3", "-d", "/"), 0);
	assert_string_equal(fuse_options(&a), "allow_other,fsname=a\\,b\\\\c,max_idle_threads=3,default_permissions,subtype=bcache-fuse,debug");
	assert_true(a.debug && a.foreground);
	args_release(&a);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *words[4], *expected;
	} cases[] = {
		{ { "--nope", "/" }, "unknown option '--nope'" },
		{ { "/", "-x" }, "unknown option '-x'" },
		{ { "--cache" }, "option '--cache' needs an argument" },
		{ { "--cache", "", "/" }, "--cache needs a file name" },
		{ { "-o", "backing=", "/" }, "--backing needs a file name" },
		{ { "-f" }, "a mount point is needed" },
		{ { "" }, "too many arguments: one mount point is needed" },
		{ { "a", "b", "c" }, "too many arguments: one mount point is needed" },
		{ { "-o", "spin_us=many", "/" }, "option 'spin_us' needs a whole number, not 'many'" },
		{ { "-o", "shutdown_timeout=0", "/" }, "option 'shutdown_timeout' must lie between 1 and 86400, not '0'" },
		{ { "-o", "btree_cache=1G1", "/" }, "option 'btree_cache' needs a size such as 128M, not '1G1'" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct args a;

		assert_int_equal(parse(&a, cases[i].words), -EINVAL);
		assert_string_equal(why_text, cases[i].expected);
		args_release(&a);
	}
}

static void help_needs_no_mount_point(void **state)
{
	struct args a;

	assert_int_equal(PARSE(&a, "-h"), 0);
	assert_true(a.help);
	args_release(&a);
	assert_int_equal(PARSE(&a, "--version"), 0);
	assert_true(a.version);
	args_release(&a);
}

static void a_mount_point_that_does_not_exist_is_kept(void **state)
{
	struct args a;

	assert_int_equal(PARSE(&a, "/tmp/../no-such-directory-here///"), 0);
	assert_string_equal(a.mountpoint, "/no-such-directory-here");
	args_release(&a);
	assert_int_equal(PARSE(&a, "/no/such/directory"), 0);
	assert_string_equal(a.mountpoint, "/no/such/directory");
	args_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_come_in_order_and_absolute),
		cmocka_unit_test(a_mount_command_works),
		cmocka_unit_test(what_is_not_ours_goes_to_libfuse_escaped),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(help_needs_no_mount_point),
		cmocka_unit_test(a_mount_point_that_does_not_exist_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
