/* SPDX-License-Identifier: GPL-2.0-only */
#include "tools/tool.h"
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The name of a loop device that has this file open, in loop_name. A file in use that way carries no lock we could see. */
static bool loop_find(const struct blk_identity *id, char *loop_name, size_t size_bytes)
{
	glob_t g;
	bool found = false;

	if (glob("/sys/block/loop*/loop/backing_file", 0, NULL, &g))
		return false;
	for (size_t i = 0; i < g.gl_pathc && !found; i++) {
		char path[4096];
		struct stat st;
		ssize_t n = -1;
		int fd = open(g.gl_pathv[i], O_RDONLY | O_CLOEXEC);

		if (fd >= 0) {
			n = read(fd, path, sizeof(path) - 1);
			close(fd);
		}
		if (n <= 0)
			continue;
		path[n - (path[n - 1] == '\n')] = '\0';
		found = !stat(path, &st) && st.st_dev == id->dev && st.st_ino == id->ino;
		if (found)
			snprintf(loop_name, size_bytes, "/dev/%.*s", (int)strcspn(g.gl_pathv[i] + strlen("/sys/block/"), "/"),
				 g.gl_pathv[i] + strlen("/sys/block/"));
	}
	globfree(&g);
	return found;
}

int device_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why)
{
	struct blkdev *d;
	char loop[64];
	int r = blk_file_open(path, read_only, &d, why);

	if (r < 0)
		return r;
	if (!read_only && loop_find(&d->id, loop, sizeof(loop))) {
		blk_close(d);
		pr(why, "%s: in use by %s", path, loop);
		return -EBUSY;
	}
	*ret = d;
	return 0;
}

static void transfer_done(struct bio *bio)
{
	(void)bio; /* the outcome is in bio->error, and we are still inside blk_submit() */
}

static int transfer(struct blkdev *d, enum bio_op op, uint64_t sector, void *buf, uint64_t nr_sectors)
{
	struct bio bio;

	bio_init(&bio, d, op, sector, buf, nr_sectors, 0, transfer_done);
	blk_submit(&bio); /* blk_file: done before it returns */
	return bio.error;
}

int device_read(struct blkdev *d, uint64_t sector, void *buf, uint64_t nr_sectors)
{
	return transfer(d, BIO_READ, sector, buf, nr_sectors);
}

int device_write(struct blkdev *d, uint64_t sector, const void *buf, uint64_t nr_sectors)
{
	return transfer(d, BIO_WRITE, sector, (void *)buf, nr_sectors);
}

int device_flush(struct blkdev *d)
{
	return transfer(d, BIO_FLUSH, 0, NULL, 0);
}
