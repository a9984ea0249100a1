/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Checksums of cached data (behaviour.md §10.1): what the cache device returns is what was written to it.
 *
 * Why not in the keys: a key's length counts its pointers only, so the checksum word that the kernel once planned has no place on disk
 * (format.md §6.4), and anything put in place of a pointer would make kernels drop the key, dirty or not.
 * Model: 32 bits per block of the cache device, in memory, by place; 0 means unknown, and unknown passes. A sum belongs to the bytes at a
 * place and not to a key, so cutting, merging and moving keys cannot make it wrong: whichever whole blocks an I/O covers can be judged.
 * What was written before the daemon started, or while the device's data_csum was off, is unknown.
 * Invariant: a sum is unknown or that of the last data write submitted to its block since the bucket was opened. Buckets forget their sums when
 * they are opened, and every data write notes its blocks, be it as unknown. Judge only bytes of a bucket that cannot have been reused since they
 * were read: in the bio's completion, with the reader's reference, and not when the pointer is stale.
 * Memory: 4 bytes per block that has been cached since, at most 0.1 % of the cache with 4 KiB blocks; none until a device asks for it.
 */
#include "formats/base.h"

struct bdev;
struct cset;

struct data_csums {
	uint32_t *sums; /* by block of the cache device; NULL: nobody has asked yet */
	bool failed;	/* no memory: said once, not tried again */
	uint64_t nr_mismatches;
};
void data_csums_release(struct data_csums *s);

/* Data of d (NULL: of nobody in particular) goes to these sectors of the cache device. Costs a comparison while nobody uses checksums. */
void data_csum_note(struct cset *c, const struct bdev *d, uint64_t sector, const void *data, uint64_t nr_sectors);
/* The bucket is about to hold something else. */
void data_csum_forget_bucket(struct cset *c, uint64_t bucket);
/* 0, or -EBADMSG (counted and logged): the data read from these sectors is not what was written there. */
MUST_CHECK int extent_csum_verify(struct cset *c, uint64_t sector, const void *data, uint64_t nr_sectors);
/* Is every block that the range touches whole in it and known? */
bool data_csum_known(const struct cset *c, uint64_t sector, uint64_t nr_sectors);
