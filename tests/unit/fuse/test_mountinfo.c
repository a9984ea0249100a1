/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "fuse/mountinfo.h"

static const char type[] = "fuse.bcache-fuse";

static void a_mount_of_ours_is_recognised(void **state)
{
	const char *line = "36 35 0:39 / /mnt/bc rw,nosuid,nodev shared:7 master:1 - fuse.bcache-fuse none rw,user_id=0\n";

	assert_int_equal(mountinfo_line_judge(line, "/mnt/bc", type), 1);
	assert_int_equal(mountinfo_line_judge(line, "/mnt/b", type), -ENOENT);
	assert_int_equal(mountinfo_line_judge(line, "/mnt/bcd", type), -ENOENT);
	assert_int_equal(mountinfo_line_judge(line, "/mnt/bc", "fuse.bcache"), 0);
	assert_int_equal(mountinfo_line_judge(line, "/mnt/bc", "fuse.bcache-fuse2"), 0);
}

static void optional_fields_may_be_missing(void **state)
{
	assert_int_equal(mountinfo_line_judge("36 35 0:39 / /m rw - fuse.bcache-fuse a rw\n", "/m", type), 1);
	assert_int_equal(mountinfo_line_judge("36 35 0:39 / /m rw - ext4 /dev/sda rw\n", "/m", type), 0);
}

static void escapes_are_understood(void **state)
{
	const char *line = "36 35 0:39 / /mnt/a\\040b\\134c rw - fuse.bcache-fuse none rw\n";

	assert_int_equal(mountinfo_line_judge(line, "/mnt/a b\\c", type), 1);
	assert_int_equal(mountinfo_line_judge(line, "/mnt/a b", type), -ENOENT);
}

static void nonsense_is_no_mount(void **state)
{
	assert_int_equal(mountinfo_line_judge("", "/m", type), -ENOENT);
	assert_int_equal(mountinfo_line_judge("a b c d", "/m", type), -ENOENT);
	assert_int_equal(mountinfo_line_judge("1 2 3 4 /m rw", "/m", type), -ENOENT);
	assert_false(mountinfo_top_is("/no/such/mount", type));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mount_of_ours_is_recognised),
		cmocka_unit_test(optional_fields_may_be_missing),
		cmocka_unit_test(escapes_are_understood),
		cmocka_unit_test(nonsense_is_no_mount),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
