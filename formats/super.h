/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Superblocks of cache and backing devices, versions 0, 1, 3, 4, 5, 6 (format.md §4).
 *
 * The 4096-byte block that was read is kept and edited in place, so bytes that we do not understand survive a rewrite (§4.8).
 */
#include "formats/uuid.h"
struct geometry;

#define SUPER_SECTOR 8u
#define SUPER_BYTES 4096u
#define SUPER_KEYS_MAX 256u
#define DATA_OFFSET_DEFAULT 16u

enum super_version { SUPER_CACHE_NEW = 0, SUPER_BACKING = 1, SUPER_CACHE = 3, SUPER_BACKING_OFFSET = 4,
		     SUPER_CACHE_FEATURES = 5, SUPER_BACKING_FEATURES = 6 };
enum cache_mode { CACHE_MODE_WRITETHROUGH, CACHE_MODE_WRITEBACK, CACHE_MODE_WRITEAROUND, CACHE_MODE_NONE };
enum bdev_state { BDEV_STATE_NONE, BDEV_STATE_CLEAN, BDEV_STATE_DIRTY, BDEV_STATE_STALE };
enum replacement { REPLACEMENT_LRU, REPLACEMENT_FIFO, REPLACEMENT_RANDOM };
#define FEATURE_INCOMPAT_OBSO_LARGE_BUCKET 1ull
#define FEATURE_INCOMPAT_LOG_LARGE_BUCKET 2ull

struct super {
	uint64_t csum;
	uint64_t offset;
	uint64_t version;
	uint8_t magic[16];
	uint8_t uuid[16];
	uint8_t set_uuid[16];
	char label[LABEL_BYTES];
	uint64_t flags;
	uint64_t seq;
	uint64_t feature_compat;
	uint64_t feature_incompat;
	uint64_t feature_ro_compat;
	uint64_t pad[5];
	uint64_t nbuckets_or_data_offset; /* cache: nbuckets; backing version 4 and 6: data_offset */
	uint16_t block_sectors;
	uint16_t bucket_size_lo;	  /* super_bucket_sectors() decodes it */
	uint16_t nr_in_set;
	uint16_t nr_this_dev;
	uint32_t last_mount;
	uint16_t first_bucket;
	uint16_t keys;			  /* journal buckets in d[] */
	uint64_t d[SUPER_KEYS_MAX];
	uint16_t bucket_size_hi;
	uint8_t rest[SUPER_BYTES - 2258];
} __attribute__((packed, aligned(8)));
static_assert(sizeof(struct super) == SUPER_BYTES, "format.md §4.1");
static_assert(offsetof(struct super, keys) == 206 && offsetof(struct super, bucket_size_hi) == 2256, "format.md §4.1");

/* What the device itself says; zero fields are not checked. */
struct super_limits {
	uint64_t device_sectors;
	uint32_t logical_block_bytes;
};

static inline bool super_is_backing(const struct super *s)
{
	return s->version == SUPER_BACKING || s->version == SUPER_BACKING_OFFSET || s->version == SUPER_BACKING_FEATURES;
}
uint32_t super_bucket_sectors(const struct super *s); /* 0: no possible size */
uint64_t super_data_offset(const struct super *s); /* backing: sectors before the data */
uint64_t super_set_magic(const struct super *s);
void super_geometry(const struct super *s, struct geometry *g);

/*
 * Flag fields (format.md §4.3). Values without a meaning read as 0, writethrough or LRU, so that the name tables can be
 * indexed with them; the bits on disk stay as they are.
 */
bool super_sync(const struct super *s);
void super_set_sync(struct super *s, bool on);
bool super_discard(const struct super *s);
void super_set_discard(struct super *s, bool on);
enum replacement super_replacement(const struct super *s);
void super_set_replacement(struct super *s, enum replacement r);
enum cache_mode super_cache_mode(const struct super *s);
void super_set_cache_mode(struct super *s, enum cache_mode m);
enum bdev_state super_state(const struct super *s);
void super_set_state(struct super *s, enum bdev_state st);
extern const char *const cache_mode_names[4];
extern const char *const replacement_names[3];
extern const char *const bdev_state_names[4]; /* "no cache", "clean", "dirty", "inconsistent" */

/*
 * Every check of format.md §4.6. 0; -EBADMSG: not a bcache superblock (magic) or checksum wrong; -EUCLEAN: a field is
 * impossible or unsupported; -ENOSPC: device smaller than the superblock says. The reason is a short phrase with the numbers, from
 * the categories of control-files.md §3 ("Bad checksum", "Too few buckets: 100, need 128", ...).
 */
MUST_CHECK int super_validate(const struct super *s, const struct super_limits *limits, struct printbuf *why);
/* Recompute the checksum: the block is ready to be written to SUPER_SECTOR. */
void super_seal(struct super *s);

struct super_format {
	bool backing;
	uint64_t device_sectors;
	uint32_t block_sectors;
	uint32_t bucket_sectors;
	uint64_t data_offset;	/* backing; 0 = default */
	uint8_t uuid[16];
	uint8_t set_uuid[16];
	char label[LABEL_BYTES];
	enum cache_mode cache_mode;
	enum replacement replacement;
	bool discard;
};
/* Build a fresh, sealed superblock as §4.7 says. -EINVAL / -ENOSPC with the reason when the request is impossible. */
MUST_CHECK int super_make(struct super *s, const struct super_format *f, struct printbuf *why);
