/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/super.h"
#include "formats/bkey.h"
#include "formats/crc64.h"
#include "formats/geometry.h"
#include "formats/printbuf.h"

static const uint8_t super_magic[16] = { 0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca,
					 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81 };

#define SUPER_SET_DEVICES_MAX 8u
#define BUCKET_SHIFT_MAX 31u
/* A superblock ends at sector 16; formatting leaves some more, as make-bcache does (format.md §4.7). */
#define SUPER_END_SECTOR 16u
#define FORMAT_RESERVED_SECTORS 23u
/* PTR_OFFSET has 43 bits: what lies behind cannot be named by any pointer. */
#define CACHE_SECTORS_MAX (1ull << 43)
/* Keeps byte offsets of the data within an off_t. */
#define DATA_OFFSET_MAX ((uint64_t)INT64_MAX >> SECTOR_SHIFT)

const char *const cache_mode_names[4] = { "writethrough", "writeback", "writearound", "none" };
const char *const replacement_names[3] = { "lru", "fifo", "random" };
const char *const bdev_state_names[4] = { "no cache", "clean", "dirty", "inconsistent" };

uint32_t super_bucket_sectors(const struct super *s)
{
	if (s->version != SUPER_CACHE_FEATURES)
		return s->bucket_size_lo;
	if (s->feature_incompat & FEATURE_INCOMPAT_LOG_LARGE_BUCKET)
		return s->bucket_size_lo > BUCKET_SHIFT_MAX ? 0 : 1u << s->bucket_size_lo;
	if (s->feature_incompat & FEATURE_INCOMPAT_OBSO_LARGE_BUCKET)
		return s->bucket_size_lo + ((uint32_t)s->bucket_size_hi << 16);
	return s->bucket_size_lo;
}

uint64_t super_data_offset(const struct super *s)
{
	return s->version == SUPER_BACKING ? DATA_OFFSET_DEFAULT : s->nbuckets_or_data_offset;
}

uint64_t super_set_magic(const struct super *s)
{
	uint64_t magic;

	memcpy(&magic, s->set_uuid, sizeof(magic));
	return magic;
}

void super_geometry(const struct super *s, struct geometry *g)
{
	geometry_init(g, s->block_sectors, super_bucket_sectors(s), s->nbuckets_or_data_offset, s->first_bucket);
}

bool super_sync(const struct super *s)
{
	return bits_get(s->flags, 0, 1);
}

void super_set_sync(struct super *s, bool on)
{
	bits_set(&s->flags, 0, 1, on);
}

bool super_discard(const struct super *s)
{
	return bits_get(s->flags, 1, 1);
}

void super_set_discard(struct super *s, bool on)
{
	bits_set(&s->flags, 1, 1, on);
}

enum replacement super_replacement(const struct super *s)
{
	uint64_t r = bits_get(s->flags, 2, 3);

	return r < ARRAY_SIZE(replacement_names) ? (enum replacement)r : REPLACEMENT_LRU;
}

void super_set_replacement(struct super *s, enum replacement r)
{
	bits_set(&s->flags, 2, 3, r);
}

enum cache_mode super_cache_mode(const struct super *s)
{
	uint64_t m = bits_get(s->flags, 0, 4);

	return m < ARRAY_SIZE(cache_mode_names) ? (enum cache_mode)m : CACHE_MODE_WRITETHROUGH;
}

void super_set_cache_mode(struct super *s, enum cache_mode m)
{
	bits_set(&s->flags, 0, 4, m);
}

enum bdev_state super_state(const struct super *s)
{
	return (enum bdev_state)bits_get(s->flags, 61, 2);
}

void super_set_state(struct super *s, enum bdev_state st)
{
	bits_set(&s->flags, 61, 2, st);
}

/* keys must be in bounds. The large-bucket word and unused d[] slots are not covered, by design of the format. */
static uint64_t super_csum(const struct super *s)
{
	return crc64_csum(&s->offset, offsetof(struct super, d) + s->keys * sizeof(s->d[0]) - sizeof(s->csum));
}

void super_seal(struct super *s)
{
	assert(s->keys <= SUPER_KEYS_MAX);
	s->csum = super_csum(s);
}

static bool version_known(uint64_t version)
{
	return version <= SUPER_BACKING_FEATURES && version != 2;
}

#define ULL(x) ((unsigned long long)(x))

/* Is this a superblock at all, and the one that was written? Nothing else may be believed before. */
static int identity_validate(const struct super *s, struct printbuf *why)
{
	if (memcmp(s->magic, super_magic, sizeof(super_magic))) {
		pr(why, "Not a bcache superblock: bad magic");
		return -EBADMSG;
	}
	if (s->offset != SUPER_SECTOR) {
		pr(why, "Not a bcache superblock: bad offset %llu, need %u", ULL(s->offset), SUPER_SECTOR);
		return -EUCLEAN;
	}
	if (s->keys > SUPER_KEYS_MAX) {
		pr(why, "Too many journal buckets: %u, at most %u", s->keys, SUPER_KEYS_MAX);
		return -EUCLEAN;
	}
	if (s->csum != super_csum(s)) {
		pr(why, "Bad checksum: %016llx, computed %016llx", ULL(s->csum), ULL(super_csum(s)));
		return -EBADMSG;
	}
	return 0;
}

/* What cache and backing devices share. */
static int common_validate(const struct super *s, const struct super_limits *limits, struct printbuf *why)
{
	uint32_t block_bytes = s->block_sectors * SECTOR_BYTES;
	uint32_t device_block_bytes = max(limits->logical_block_bytes, SECTOR_BYTES);

	if (uuid_is_zero(s->uuid))
		pr(why, "Bad UUID: all zero");
	else if (block_bytes < device_block_bytes)
		pr(why, "Block size smaller than the device's: %u bytes, need %u", block_bytes, device_block_bytes);
	else if (!version_known(s->version))
		pr(why, "Unsupported superblock version %llu", ULL(s->version));
	else
		return 0;
	return -EUCLEAN;
}

static int backing_validate(const struct super *s, const struct super_limits *limits, struct printbuf *why)
{
	uint64_t data_offset = super_data_offset(s);

	if (data_offset < DATA_OFFSET_DEFAULT || data_offset > DATA_OFFSET_MAX) {
		pr(why, "Bad data offset: %llu, need %u or more", ULL(data_offset), DATA_OFFSET_DEFAULT);
		return -EUCLEAN;
	}
	if (limits->device_sectors && limits->device_sectors <= data_offset) {
		pr(why, "Device too small: %llu sectors, data begins at %llu", ULL(limits->device_sectors),
		   ULL(data_offset));
		return -ENOSPC;
	}
	return 0;
}

static int features_validate(const struct super *s, struct printbuf *why)
{
	const uint64_t known_incompat = FEATURE_INCOMPAT_OBSO_LARGE_BUCKET | FEATURE_INCOMPAT_LOG_LARGE_BUCKET;

	if (s->version != SUPER_CACHE_FEATURES)
		return 0;
	if (s->feature_compat)
		pr(why, "Unsupported compatible feature: bits %llx", ULL(s->feature_compat));
	else if (s->feature_ro_compat)
		pr(why, "Unsupported read-only compatible feature: bits %llx", ULL(s->feature_ro_compat));
	else if (s->feature_incompat & ~known_incompat)
		pr(why, "Unsupported incompatible feature: bits %llx", ULL(s->feature_incompat & ~known_incompat));
	else
		return 0;
	return -EUCLEAN;
}

static int bucket_size_validate(const struct super *s, struct printbuf *why)
{
	uint32_t bucket_sectors = super_bucket_sectors(s);

	if (!is_power_of_two(bucket_sectors))
		pr(why, "Bucket size not a power of two: %u sectors (stored as %u)", bucket_sectors, s->bucket_size_lo);
	else if (bucket_sectors < PAGE_SECTORS)
		pr(why, "Bucket size smaller than a page: %u sectors, need %u", bucket_sectors, PAGE_SECTORS);
	else
		return 0;
	return -EUCLEAN;
}

static int sizes_validate(const struct super *s, const struct super_limits *limits, struct printbuf *why)
{
	uint64_t nr_buckets = s->nbuckets_or_data_offset;
	uint32_t bucket_sectors = super_bucket_sectors(s);
	int r;

	if (nr_buckets > INT64_MAX)
		pr(why, "Too many buckets: %llu", ULL(nr_buckets));
	else if (nr_buckets < BUCKETS_MIN)
		pr(why, "Too few buckets: %llu, need %u", ULL(nr_buckets), BUCKETS_MIN);
	else if (!is_power_of_two(s->block_sectors))
		pr(why, "Block size not a power of two: %u sectors", s->block_sectors);
	else if (s->block_sectors > PAGE_SECTORS)
		pr(why, "Block size larger than a page: %u sectors, at most %u", s->block_sectors, PAGE_SECTORS);
	else
		goto buckets;
	return -EUCLEAN;
buckets:
	r = bucket_size_validate(s, why);
	if (r < 0)
		return r;
	if (nr_buckets > CACHE_SECTORS_MAX / bucket_sectors) {
		pr(why, "Too many buckets: %llu of %u sectors, pointers reach %llu", ULL(nr_buckets), bucket_sectors,
		   CACHE_SECTORS_MAX / bucket_sectors);
		return -EUCLEAN;
	}
	if (limits->device_sectors && limits->device_sectors < nr_buckets * bucket_sectors) {
		pr(why, "Device too small: %llu sectors, the superblock says %llu", ULL(limits->device_sectors),
		   ULL(nr_buckets * bucket_sectors));
		return -ENOSPC;
	}
	return 0;
}

static int journal_validate(const struct super *s, struct printbuf *why)
{
	for (unsigned i = 0; i < s->keys; i++)
		if (s->d[i] != (uint64_t)s->first_bucket + i) {
			pr(why, "Journal buckets not sequential: number %u is bucket %llu, need %u", i, ULL(s->d[i]),
			   s->first_bucket + i);
			return -EUCLEAN;
		}
	if ((uint64_t)s->first_bucket + s->keys > s->nbuckets_or_data_offset) {
		pr(why, "Too many journal buckets: %u from bucket %u on, the device has %llu", s->keys, s->first_bucket,
		   ULL(s->nbuckets_or_data_offset));
		return -EUCLEAN;
	}
	return 0;
}

static int cache_validate(const struct super *s, const struct super_limits *limits, struct printbuf *why)
{
	uint32_t bucket_sectors = super_bucket_sectors(s);
	int r;

	r = features_validate(s, why);
	if (!r)
		r = sizes_validate(s, limits, why);
	if (r < 0)
		return r;
	if (uuid_is_zero(s->set_uuid)) {
		pr(why, "Bad UUID: the set's is all zero");
		return -EUCLEAN;
	}
	if (!s->nr_in_set || s->nr_in_set > SUPER_SET_DEVICES_MAX || s->nr_in_set <= s->nr_this_dev) {
		pr(why, "Bad device number in set: %u of %u, at most %u", s->nr_this_dev, s->nr_in_set,
		   SUPER_SET_DEVICES_MAX);
		return -EUCLEAN;
	}
	r = journal_validate(s, why);
	if (r < 0)
		return r;
	if ((uint64_t)s->first_bucket * bucket_sectors < SUPER_END_SECTOR) {
		pr(why, "First bucket overlaps superblock: bucket %u of %u sectors, need sector %u", s->first_bucket,
		   bucket_sectors, SUPER_END_SECTOR);
		return -EUCLEAN;
	}
	return 0;
}

int super_validate(const struct super *s, const struct super_limits *limits, struct printbuf *why)
{
	int r;

	r = identity_validate(s, why);
	if (!r)
		r = common_validate(s, limits, why);
	if (r < 0)
		return r;
	return super_is_backing(s) ? backing_validate(s, limits, why) : cache_validate(s, limits, why);
}

/* Sizes must survive the narrow fields they are stored in before the finished block can be judged. */
static int format_request_validate(const struct super_format *f, struct printbuf *why)
{
	if (!is_power_of_two(f->block_sectors) || f->block_sectors > UINT16_MAX)
		pr(why, "Block size not a power of two: %u sectors", f->block_sectors);
	else if (!f->backing && (!is_power_of_two(f->bucket_sectors) || f->bucket_sectors < PAGE_SECTORS))
		pr(why, "Bucket size not a power of two or smaller than a page: %u sectors", f->bucket_sectors);
	else
		return 0;
	return -EINVAL;
}

static void make_backing(struct super *s, const struct super_format *f)
{
	bool explicit_offset = f->data_offset && f->data_offset != DATA_OFFSET_DEFAULT;

	s->version = explicit_offset ? SUPER_BACKING_OFFSET : SUPER_BACKING;
	s->nbuckets_or_data_offset = explicit_offset ? f->data_offset : 0;
	s->bucket_size_lo = f->bucket_sectors <= UINT16_MAX ? (uint16_t)f->bucket_sectors : 0; /* nobody reads it */
	memcpy(s->label, f->label, sizeof(s->label));
	super_set_cache_mode(s, f->cache_mode);
	super_set_state(s, BDEV_STATE_NONE);
}

static void make_cache(struct super *s, const struct super_format *f)
{
	if (f->bucket_sectors > UINT16_MAX) {
		s->version = SUPER_CACHE_FEATURES;
		s->feature_incompat = FEATURE_INCOMPAT_LOG_LARGE_BUCKET;
		s->bucket_size_lo = (uint16_t)log2_u64(f->bucket_sectors);
	} else {
		s->version = SUPER_CACHE_NEW;
		s->bucket_size_lo = (uint16_t)f->bucket_sectors;
	}
	s->nbuckets_or_data_offset = f->device_sectors / f->bucket_sectors;
	s->nr_in_set = 1;
	s->first_bucket = (uint16_t)(FORMAT_RESERVED_SECTORS / f->bucket_sectors + 1);
	super_set_discard(s, f->discard);
	super_set_replacement(s, f->replacement);
}

int super_make(struct super *s, const struct super_format *f, struct printbuf *why)
{
	struct super_limits limits = { .device_sectors = f->device_sectors };
	int r = format_request_validate(f, why);

	if (r < 0)
		return r;
	memset(s, 0, sizeof(*s));
	s->offset = SUPER_SECTOR;
	memcpy(s->magic, super_magic, sizeof(super_magic));
	memcpy(s->uuid, f->uuid, sizeof(s->uuid));
	memcpy(s->set_uuid, f->set_uuid, sizeof(s->set_uuid));
	s->block_sectors = (uint16_t)f->block_sectors;
	if (f->backing)
		make_backing(s, f);
	else
		make_cache(s, f);
	super_seal(s);
	if (!f->device_sectors) {
		pr(why, "Device too small: it is empty");
		return -ENOSPC;
	}
	if (!f->backing && s->nbuckets_or_data_offset < BUCKETS_MIN) {
		pr(why, "Too few buckets: %llu, need %u", ULL(s->nbuckets_or_data_offset), BUCKETS_MIN);
		return -ENOSPC;
	}
	/* We never write what we would refuse to read. */
	r = super_validate(s, &limits, why);
	return r == -EUCLEAN ? -EINVAL : r;
}
