/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/core/test_blk_util.h"
#include <sys/file.h>
#include <sys/stat.h>

enum how { FILE_RO, FILE_RW, URING_RO, URING_RW };

static int open_as(enum how how, const char *path, struct blkdev **ret, struct printbuf *why)
{
	bool ro = how == FILE_RO || how == URING_RO;

	return how <= FILE_RW ? blk_file_open(path, ro, ret, why) : blk_uring_open(path, ro, ret, why);
}

static int expected(enum how a, enum how b)
{
	return (a == FILE_RO || a == URING_RO) && (b == FILE_RO || b == URING_RO) ? 0 : -EBUSY;
}

static int same_process_main(void *arg)
{
	char path[64], text[200];
	struct printbuf why = PRINTBUF(text);

	make_file(path, *(bool *)arg, 4096);
	for (int a = FILE_RO; a <= URING_RW; a++)
		for (int b = FILE_RO; b <= URING_RW; b++) {
			struct blkdev *first, *second = NULL;

			printbuf_reset(&why);
			assert_int_equal(open_as((enum how)a, path, &first, &why), 0);
			assert_string_equal(text, "");
			assert_int_equal(open_as((enum how)b, path, &second, &why), expected((enum how)a, (enum how)b));
			if (second)
				blk_close(second);
			else
				assert_non_null(strstr(text, "in use"));
			blk_close(first);
			assert_int_equal(open_as((enum how)b, path, &second, &why), 0); /* free again */
			blk_close(second);
		}
	unlink(path);
	return 0;
}

static void a_writer_excludes_everyone_in_this_process(void **state)
{
	bool tmpfs[2] = { false, true };

	run_uring(same_process_main, &tmpfs[0]);
	run_uring(same_process_main, &tmpfs[1]);
}

static int try_in_child(const char *path, bool read_only)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct blkdev *d;

		_exit(-blk_file_open(path, read_only, &d, NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void a_writer_excludes_other_processes(void **state)
{
	struct blkdev *d;
	char path[64];

	make_file(path, false, 4096);
	assert_int_equal(blk_file_open(path, false, &d, NULL), 0);
	assert_int_equal(try_in_child(path, false), -EBUSY);
	assert_int_equal(try_in_child(path, true), -EBUSY);
	blk_close(d);
	assert_int_equal(blk_file_open(path, true, &d, NULL), 0);
	assert_int_equal(try_in_child(path, false), -EBUSY);
	assert_int_equal(try_in_child(path, true), 0);
	blk_close(d);
	assert_int_equal(try_in_child(path, false), 0);
	unlink(path);
}

static void programs_that_know_flock_only_are_respected(void **state)
{
	struct blkdev *d = NULL;
	char path[64];
	int fd;

	make_file(path, false, 4096);
	fd = open(path, O_RDONLY);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(blk_file_open(path, true, &d, NULL), -EBUSY);
	close(fd);
	assert_int_equal(blk_file_open(path, false, &d, NULL), 0);
	fd = open(path, O_RDONLY);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	close(fd);
	blk_close(d);
	unlink(path);
}

static int block_main(void *arg)
{
	char path[64], loop[64];
	struct blkdev *d, *e;

	make_file(path, false, MIB(1));
	if (loop_attach(path, 4096, loop)) {
		assert_int_equal(blk_uring_open(loop, false, &d, NULL), 0);
		assert_int_equal(d->nr_sectors, 2048);
		assert_int_equal(d->logical_block_bytes, 4096);
		assert_int_equal(blk_uring_open(loop, false, &e, NULL), -EBUSY);
		assert_int_equal(blk_file_open(loop, true, &e, NULL), -EBUSY);
		blk_close(d);
		assert_int_equal(blk_file_open(loop, true, &d, NULL), 0);
		assert_int_equal(blk_file_open(loop, true, &e, NULL), 0); /* readers share */
		blk_close(e);
		assert_int_equal(blk_uring_open(loop, false, &e, NULL), -EBUSY);
		blk_close(d);
		loop_detach(loop);
	}
	unlink(path);
	return 0;
}

static void block_devices_are_exclusive_too(void **state)
{
	run_uring(block_main, NULL);
}

static int wrong_kinds_main(void *arg)
{
	char fifo[] = "/tmp/bcf-test-fifo-XXXXXX", text[200];
	struct printbuf why = PRINTBUF(text);
	struct blkdev *d;

	assert_int_equal(blk_uring_open("/tmp", false, &d, &why), -ENOTBLK);
	assert_non_null(strstr(text, "neither a regular file nor a block device"));
	assert_int_equal(blk_uring_open("/dev/null", false, &d, NULL), -ENOTBLK);
	assert_true(mkstemp(fifo) >= 0);
	unlink(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(blk_uring_open(fifo, true, &d, NULL), -ENOTBLK); /* and does not wait for a writer */
	unlink(fifo);
	printbuf_reset(&why);
	assert_int_equal(blk_uring_open("/nonexistent/x", false, &d, &why), -ENOENT);
	assert_string_equal(text, "cannot find '/nonexistent/x': No such file or directory");
	assert_int_equal(blk_uring_open("relative", false, &d, NULL), -EINVAL);
	return 0;
}

static void what_is_no_disk_is_refused(void **state)
{
	run_uring(wrong_kinds_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_writer_excludes_everyone_in_this_process),
		TEST(a_writer_excludes_other_processes),
		TEST(programs_that_know_flock_only_are_respected),
		TEST(block_devices_are_exclusive_too),
		TEST(what_is_no_disk_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
