/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Sizes that follow from a cache superblock (format.md §1), and bucket <-> sector arithmetic. */
#include "formats/base.h"

#define META_BYTES_MAX MIB(4)
#define JSET_BYTES_MAX 32768u
#define JOURNAL_BUCKETS_MAX 256u
#define BUCKETS_MIN 128u	/* fewest buckets we run with; the kernel wants KERNEL_BUCKETS_MIN */
#define KERNEL_BUCKETS_MIN 513u

struct geometry {
	uint32_t block_sectors;
	uint32_t bucket_sectors;
	unsigned bucket_shift;	 /* log2(bucket_sectors) */
	uint64_t nr_buckets;
	uint64_t first_bucket;	 /* first one after the superblock */
	uint32_t meta_bytes;	 /* prio set, uuid table */
	uint32_t node_sectors;	 /* new btree nodes */
	uint32_t nr_uuids;
	uint32_t prios_per_bucket;
	uint32_t nr_prio_buckets;
};

/* Derive everything. The four inputs must have passed super_validate(). */
void geometry_init(struct geometry *g, uint32_t block_sectors, uint32_t bucket_sectors, uint64_t nr_buckets,
		   uint64_t first_bucket);
static inline uint64_t geometry_bucket(const struct geometry *g, uint64_t sector) { return sector >> g->bucket_shift; }
static inline uint64_t geometry_sector(const struct geometry *g, uint64_t bucket) { return bucket << g->bucket_shift; }
static inline uint32_t geometry_in_bucket(const struct geometry *g, uint64_t sector)
{
	return (uint32_t)(sector & (g->bucket_sectors - 1));
}
static inline uint32_t geometry_block_bytes(const struct geometry *g) { return g->block_sectors * SECTOR_BYTES; }
/* True if sectors [sector, sector+nr) lie in one bucket between first_bucket and nr_buckets. */
bool geometry_range_valid(const struct geometry *g, uint64_t sector, uint64_t nr_sectors);
