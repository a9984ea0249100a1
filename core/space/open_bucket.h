/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Write points: where the next data sectors go (behaviour.md §3.6).
 *
 * Neighbours in time of one stream should share a bucket, so that they die together and gc finds empty buckets. Up to nr_max
 * half-full buckets, chosen by: ends where this write starts; same stream; least recently used of the right kind (flash-only data, which
 * cannot be dropped, never shares a bucket with cached data while a bucket of the right kind is open).
 * A write that is not a multiple of the device's physical sectors leaves the rest of its last one unused: the next write would make the device
 * read what it shares with it (T-15).
 * The number of open buckets can change at run time (T-17). When it gets smaller, surplus ones are not closed but not refilled either.
 * Each open bucket with space left owns one pin. Each key handed out owns one pin, dropped when the key is in the btree.
 */
#include "core/space/alloc.h"
struct bkey;

#define OPEN_BUCKETS_MAX 1024
#define OPEN_BUCKETS_DEFAULT 128

struct open_bucket {
	struct list lru;
	uint32_t bucket;
	uint32_t sectors_free; /* 0: holds no bucket */
	uint32_t inode;	       /* of the last write */
	uint64_t end;	       /* where the last write ended */
	uint64_t stream;
	bool flash;
};
struct open_buckets {
	struct open_bucket *slots; /* nr_slots */
	struct list lru;	   /* least recently used first: nr_active */
	struct list spare;	   /* the other slots, without a bucket */
	unsigned nr_slots, nr_active;
	unsigned nr_wanted;	   /* tunable */
};

MUST_CHECK int open_buckets_init(struct cset *c);
void open_buckets_release(struct cset *c); /* drops the pins */
void open_buckets_resize(struct cset *c);  /* nr_wanted has changed */
/*
 * Give k (inode and END = start of the write so far, size 0) a pointer and up to nr_sectors: END advances and size is set to what was granted;
 * fewer at a bucket's end. The key's bucket is pinned for it. Never waits; errors as bucket_alloc().
 */
MUST_CHECK int open_bucket_take(struct cset *c, struct bkey *k, uint32_t nr_sectors, uint64_t stream, bool flash, enum reserve r);
