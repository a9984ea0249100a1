/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What blk_file and blk_uring share: opening, locking and measuring a file or block device, and synchronous I/O on it. */
#include "core/io/blk.h"

struct printbuf;

struct blk_target {
	int fd;
	bool is_block;
	bool in_memory;	      /* tmpfs, ramfs: I/O never waits for anything */
	bool direct;	      /* O_DIRECT is on */
	uint32_t memory_align; /* what O_DIRECT demands of buffers; 1 when buffered */
};

/* Fills t and the descriptive fields of dev (not ops). On failure nothing is held. */
MUST_CHECK int blk_target_open(const char *path, bool read_only, bool want_direct, struct blk_target *t, struct blkdev *dev,
			       struct printbuf *why);
/* Closes, which also unlocks. */
void blk_target_release(struct blk_target *t, struct blkdev *dev);

/* Perform a whole bio now, in this thread. 0 or -errno. */
MUST_CHECK int blk_target_perform(const struct blk_target *t, const struct bio *bio);
