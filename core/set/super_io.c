/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/set/super_io.h"

#include <stdlib.h>

#include "core/io/blk.h"

int super_write(struct blkdev *dev, struct super *s)
{
	char *copy;
	int r;

	if (posix_memalign((void **)&copy, PAGE_BYTES, SUPER_BYTES))
		return -ENOMEM;
	super_seal(s);
	memcpy(copy, s, SUPER_BYTES);
	r = blk_write(dev, SUPER_SECTOR + 1, copy + SECTOR_BYTES, SUPER_BYTES / SECTOR_BYTES - 1, BIO_FUA);
	if (!r)
		r = blk_write(dev, SUPER_SECTOR, copy, 1, BIO_FUA);
	free(copy);
	return r;
}
