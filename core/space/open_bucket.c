/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/open_bucket.h"

#include <stdlib.h>

#include "core/set/cset.h"

int open_buckets_init(struct cset *c)
{
	struct open_buckets *o = &c->open_buckets;

	list_init(&o->lru);
	o->nr_max = OPEN_BUCKETS_DEFAULT;
	/* On a tiny cache, open buckets must not swallow all space. */
	o->nr_max = (unsigned)clamp(c->g.nr_buckets / 32, 1ull, (uint64_t)o->nr_max);
	o->slots = calloc(o->nr_max, sizeof(*o->slots));
	if (!o->slots)
		return -ENOMEM;
	for (unsigned i = 0; i < o->nr_max; i++)
		list_add_tail(&o->lru, &o->slots[i].lru);
	return 0;
}

void open_buckets_release(struct cset *c)
{
	struct open_buckets *o = &c->open_buckets;

	for (unsigned i = 0; o->slots && i < o->nr_max; i++)
		if (o->slots[i].sectors_free)
			bucket_unpin(cset_bucket(c, o->slots[i].bucket));
	free(o->slots);
	o->slots = NULL;
}

/*
 * The open bucket this write belongs to. One that is full (sectors_free == 0) may be returned: it is the place for a fresh bucket.
 */
static struct open_bucket *pick(struct open_buckets *o, const struct bkey *k, uint64_t stream, bool flash)
{
	struct open_bucket *same_stream = NULL, *oldest_of_kind = NULL, *b;

	for (struct list *l = o->lru.prev; l != &o->lru; l = l->prev) {
		b = list_entry(l, struct open_bucket, lru);
		if (b->sectors_free && b->flash != flash)
			continue;
		oldest_of_kind = b; /* the last one we see is the oldest */
		if (!b->sectors_free)
			continue;
		if (b->inode == bkey_inode(k) && b->end == bkey_offset(k))
			return b;
		if (b->stream == stream && !same_stream)
			same_stream = b;
	}
	if (same_stream)
		return same_stream;
	if (oldest_of_kind)
		return oldest_of_kind;
	return list_first(&o->lru, struct open_bucket, lru); /* all of the other kind: share, rather than fail */
}

static void grant(struct cset *c, struct open_bucket *b, struct bkey *k, uint32_t nr_sectors, uint64_t stream)
{
	struct bucket *bucket = cset_bucket(c, b->bucket);
	uint64_t sector = geometry_sector(&c->g, b->bucket) + c->g.bucket_sectors - b->sectors_free;
	uint32_t n = min(nr_sectors, b->sectors_free);

	bkey_set_ptrs(k, 1);
	k->ptr[0] = ptr_make(0, sector, bucket->gen);
	bkey_set_offset(k, bkey_offset(k) + n);
	bkey_set_size(k, n);
	b->sectors_free -= n;
	if (b->sectors_free < c->g.block_sectors)
		b->sectors_free = 0; /* a sub-block tail is abandoned, never shared */
	if (b->sectors_free)
		bucket_pin(bucket); /* one for the key; otherwise it inherits the open bucket's own */
	b->inode = bkey_inode(k);
	b->end = bkey_offset(k);
	b->stream = stream;
	list_del(&b->lru);
	list_add_tail(&c->open_buckets.lru, &b->lru);
}

int open_bucket_take(struct cset *c, struct bkey *k, uint32_t nr_sectors, uint64_t stream, bool flash, enum reserve r)
{
	struct open_bucket *b = pick(&c->open_buckets, k, stream, flash);

	assert(nr_sectors && nr_sectors <= BKEY_SIZE_MAX);
	if (!b->sectors_free) {
		int err = bucket_alloc(c, r, &b->bucket);

		if (err)
			return err;
		data_csum_forget_bucket(c, b->bucket);
		b->sectors_free = c->g.bucket_sectors;
		b->flash = flash;
	}
	grant(c, b, k, nr_sectors, stream);
	return (int)bkey_size(k);
}
