/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/open_bucket.h"

#include <stdlib.h>

#include "core/set/cset.h"

/* On a tiny cache, open buckets must not swallow all space. */
static unsigned nr_allowed(const struct cset *c)
{
	return (unsigned)min((uint64_t)c->open_buckets.nr_wanted, max(c->g.nr_buckets / 32, 1ull));
}

int open_buckets_init(struct cset *c)
{
	struct open_buckets *o = &c->open_buckets;

	list_init(&o->lru);
	list_init(&o->spare);
	o->nr_wanted = clamp(o->nr_wanted, 1u, (unsigned)OPEN_BUCKETS_MAX);
	o->nr_slots = (unsigned)clamp(c->g.nr_buckets / 32, 1ull, (uint64_t)OPEN_BUCKETS_MAX);
	o->slots = calloc(o->nr_slots, sizeof(*o->slots));
	if (!o->slots)
		return -ENOMEM;
	for (unsigned i = 0; i < o->nr_slots; i++)
		list_add_tail(&o->spare, &o->slots[i].lru);
	open_buckets_resize(c);
	return 0;
}

void open_buckets_release(struct cset *c)
{
	struct open_buckets *o = &c->open_buckets;

	for (unsigned i = 0; o->slots && i < o->nr_slots; i++)
		if (o->slots[i].sectors_free)
			bucket_unpin(cset_bucket(c, o->slots[i].bucket));
	free(o->slots);
	o->slots = NULL;
}

static void retire_if_surplus(struct cset *c, struct open_bucket *b)
{
	struct open_buckets *o = &c->open_buckets;

	if (b->sectors_free || o->nr_active <= nr_allowed(c))
		return;
	list_del(&b->lru);
	list_add_tail(&o->spare, &b->lru);
	o->nr_active--;
}

void open_buckets_resize(struct cset *c)
{
	struct open_buckets *o = &c->open_buckets;
	struct open_bucket *b, *tmp;

	while (o->nr_active < nr_allowed(c)) {
		b = list_first(&o->spare, struct open_bucket, lru);
		list_del(&b->lru);
		list_add(&o->lru, &b->lru); /* oldest, and so the next to be filled */
		o->nr_active++;
	}
	list_for_each_safe(b, tmp, &o->lru, lru)
		retire_if_surplus(c, b);
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

/* Sectors up to the next physical one (T-15). */
static uint32_t unused_tail(const struct cset *c, const struct open_bucket *b)
{
	uint32_t physical = max(c->cache->physical_sectors, 1u), used = c->g.bucket_sectors - b->sectors_free;

	return (uint32_t)(round_up_u64(used, physical) - used);
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
	b->sectors_free -= min(b->sectors_free, unused_tail(c, b));
	if (b->sectors_free < c->g.block_sectors)
		b->sectors_free = 0; /* a sub-block tail is abandoned, never shared */
	if (b->sectors_free)
		bucket_pin(bucket); /* one for the key; otherwise it inherits the open bucket's own */
	b->inode = bkey_inode(k);
	b->end = bkey_offset(k);
	b->stream = stream;
	list_del(&b->lru);
	list_add_tail(&c->open_buckets.lru, &b->lru);
	retire_if_surplus(c, b);
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
