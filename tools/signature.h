/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What already lives on a device, judged by the well-known magic numbers.
 *
 * Not a replacement for blkid: it exists so that `format` does not overwrite somebody's data by a typing mistake.
 */
#include "formats/base.h"
struct blkdev;

struct signature {
	const char *name;	/* "ext2/3/4 filesystem"; NULL when nothing was found */
	uint64_t offset_bytes;	/* where its magic number is */
	bool bcache;
};
/* The first one found. 0, or -errno when the device cannot be read. */
MUST_CHECK int signature_find(struct blkdev *d, struct signature *ret);
