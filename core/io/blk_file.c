/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/io/blk_file.h"
#include "core/io/blk_target.h"
#include <stdlib.h>

struct blk_file {
	struct blkdev dev;
	struct blk_target target;
};

static struct blk_file *file(struct blkdev *dev)
{
	return container_of(dev, struct blk_file, dev);
}

static void file_submit(struct bio *bio)
{
	bio_end(bio, blk_target_perform(&file(bio->dev)->target, bio));
}

static void file_close(struct blkdev *dev)
{
	struct blk_file *f = file(dev);

	blk_target_release(&f->target, dev);
	free(f);
}

static const struct blkdev_ops file_ops = { .submit = file_submit, .close = file_close };

int blk_file_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why)
{
	struct blk_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->dev.ops = &file_ops;
	r = blk_target_open(path, read_only, false, &f->target, &f->dev, why);
	if (r < 0) {
		free(f);
		return r;
	}
	*ret = &f->dev;
	return 0;
}
