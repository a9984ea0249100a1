/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/geometry.h"
#include "formats/prio.h"
#include "formats/uuid.h"

/* Below this a node is as large as the metadata of a bucket; above, a quarter of it (format.md §1). */
#define NODE_BYTES_SMALL_MAX KIB(256)

static uint32_t node_bytes(uint32_t meta_bytes)
{
	if (meta_bytes <= NODE_BYTES_SMALL_MAX)
		return meta_bytes;
	return (uint32_t)max((uint64_t)meta_bytes / 4, NODE_BYTES_SMALL_MAX);
}

void geometry_init(struct geometry *g, uint32_t block_sectors, uint32_t bucket_sectors, uint64_t nr_buckets,
		   uint64_t first_bucket)
{
	uint32_t meta_bytes = (uint32_t)min((uint64_t)bucket_sectors * SECTOR_BYTES, META_BYTES_MAX);
	uint32_t prios_per_bucket = (uint32_t)((meta_bytes - sizeof(struct prio_set)) / sizeof(struct prio_record));

	*g = (struct geometry){
		.block_sectors = block_sectors,
		.bucket_sectors = bucket_sectors,
		.bucket_shift = log2_u64(bucket_sectors),
		.nr_buckets = nr_buckets,
		.first_bucket = first_bucket,
		.meta_bytes = meta_bytes,
		.node_sectors = node_bytes(meta_bytes) / SECTOR_BYTES,
		.nr_uuids = meta_bytes / (uint32_t)sizeof(struct uuid_entry),
		.prios_per_bucket = prios_per_bucket,
		.nr_prio_buckets = (uint32_t)div_round_up_u64(nr_buckets, prios_per_bucket),
	};
}

bool geometry_range_valid(const struct geometry *g, uint64_t sector, uint64_t nr_sectors)
{
	uint64_t bucket = geometry_bucket(g, sector);

	return bucket >= g->first_bucket && bucket < g->nr_buckets &&
	       nr_sectors <= g->bucket_sectors - geometry_in_bucket(g, sector);
}
