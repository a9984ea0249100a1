/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A device that misbehaves on request, on top of another one: to test error paths on real storage. (blk_sim has faults of its own.)
 *
 * A rule counts the bios it matches: the first `skip` pass, the next `count` (0: all) are hit; the first rule that hits decides.
 */
#include "core/io/blk.h"

enum blk_fault_kind {
	FAULT_FAIL,	  /* never reaches the device: error */
	FAULT_FAIL_AFTER, /* carried out, and then reported as error: the caller cannot know */
	FAULT_DELAY,	  /* carried out after delay_ns */
	FAULT_SHORTEN,	  /* reads and writes: only the first `sectors` are carried out, then error */
	FAULT_TEAR,	  /* writes: only the first `sectors` are carried out, reported as success: a lying device */
};

struct blk_fault_rule {
	enum blk_fault_kind kind;
	unsigned ops;		     /* mask of 1u << enum bio_op */
	uint64_t sector, nr_sectors; /* bios that touch this range; nr_sectors 0: all */
	uint64_t skip, count;
	int error;		     /* negative errno; 0: -EIO */
	uint64_t sectors;
	uint64_t delay_ns;
	uint64_t nr_matched;	     /* counted here */
};

/* Takes over lower: closing one closes both. -ENOMEM leaves it alone. */
MUST_CHECK int blk_fault_new(struct blkdev *lower, struct blkdev **ret);
/* Up to 16 rules; -ENOSPC beyond. */
MUST_CHECK int blk_fault_add(struct blkdev *dev, const struct blk_fault_rule *rule);
void blk_fault_clear(struct blkdev *dev);
