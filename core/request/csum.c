/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/csum.h"
#include "core/admin/log.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include "formats/crc64.h"

#include <stdlib.h>

#define UNKNOWN 0u

static uint32_t block_sum(const void *data, uint32_t nr_sectors)
{
	uint64_t crc = crc64_csum(data, nr_sectors * SECTOR_BYTES);
	uint32_t sum = (uint32_t)(crc ^ crc >> 32);

	return sum == UNKNOWN ? 1 : sum;
}

void data_csums_release(struct data_csums *s)
{
	free(s->sums);
	s->sums = NULL;
}

/* Pages of the table come into being when they are first written to. */
static void start(struct cset *c)
{
	struct data_csums *s = &c->data_csums;

	s->sums = calloc(div_round_up_u64(c->g.nr_buckets * c->g.bucket_sectors, c->g.block_sectors), sizeof(*s->sums));
	s->failed = !s->sums;
	if (s->failed)
		log_error("no memory for data checksums of '%s': it goes on without them", c->cache->path);
}

void data_csum_note(struct cset *c, const struct bdev *d, uint64_t sector, const void *data, uint64_t nr_sectors)
{
	struct data_csums *s = &c->data_csums;
	bool wanted = d && d->data_csum;
	uint32_t bs = c->g.block_sectors;
	uint64_t end = sector + nr_sectors;

	if (wanted && !s->sums && !s->failed)
		start(c);
	if (!s->sums)
		return;
	for (uint64_t block = sector / bs; block * bs < end; block++) {
		uint64_t at = block * bs;
		bool whole = at >= sector && at + bs <= end;

		s->sums[block] = wanted && whole ? block_sum((const char *)data + (at - sector) * SECTOR_BYTES, bs) : UNKNOWN;
	}
}

void data_csum_forget_bucket(struct cset *c, uint64_t bucket)
{
	uint32_t *sums = c->data_csums.sums;
	uint64_t per_bucket = c->g.bucket_sectors / c->g.block_sectors;

	for (uint64_t i = bucket * per_bucket; sums && i < (bucket + 1) * per_bucket; i++)
		if (sums[i] != UNKNOWN) /* a page that was never written to is not even there */
			sums[i] = UNKNOWN;
}

int extent_csum_verify(struct cset *c, uint64_t sector, const void *data, uint64_t nr_sectors)
{
	struct data_csums *s = &c->data_csums;
	uint32_t bs = c->g.block_sectors;

	if (!s->sums)
		return 0;
	for (uint64_t block = div_round_up_u64(sector, bs); (block + 1) * bs <= sector + nr_sectors; block++) {
		if (s->sums[block] == UNKNOWN || s->sums[block] == block_sum((const char *)data + (block * bs - sector) * SECTOR_BYTES, bs))
			continue;
		s->nr_mismatches++;
		log_warn("checksum of cached data is wrong: sectors %llu to %llu of '%s' are not what was written there",
			  (unsigned long long)(block * bs), (unsigned long long)((block + 1) * bs - 1), c->cache->path);
		return -EBADMSG;
	}
	return 0;
}

bool data_csum_known(const struct cset *c, uint64_t sector, uint64_t nr_sectors)
{
	uint32_t bs = c->g.block_sectors;

	if (!c->data_csums.sums || sector % bs || nr_sectors % bs)
		return false;
	for (uint64_t block = sector / bs; block < (sector + nr_sectors) / bs; block++)
		if (c->data_csums.sums[block] == UNKNOWN)
			return false;
	return true;
}
