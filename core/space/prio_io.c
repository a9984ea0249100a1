/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/prio_io.h"

#include <stdlib.h>

#include "core/set/cset.h"
#include "formats/printbuf.h"

#define SNAPSHOT_TRIES 3 /* in slices, before it is done in one stretch */

static struct prio_set *chain_element(const struct cset *c, void *chain, uint32_t i)
{
	return (struct prio_set *)((char *)chain + (size_t)i * c->g.meta_bytes);
}

/* Take every bucket of the new chain, or none: a part of the reserve that went astray would be missed for ever. */
static int chain_alloc(struct cset *c, uint32_t *buckets)
{
	if (c->alloc.free[RESERVE_PRIO].nr + c->alloc.free[RESERVE_NONE].nr < c->g.nr_prio_buckets)
		return -EAGAIN;
	for (uint32_t i = 0; i < c->g.nr_prio_buckets; i++) {
		int r = bucket_alloc(c, RESERVE_PRIO, &buckets[i]);

		assert(r != -EAGAIN);
		if (r < 0)
			return r; /* the set has failed */
	}
	return 0;
}

/* Copy the gens and prios of buckets [from, end) into the chain. */
static void chain_copy(struct cset *c, void *chain, uint64_t from, uint64_t end)
{
	const struct alloc *a = &c->alloc;

	for (uint64_t b = from; b < end; b++) {
		struct prio_set *p = chain_element(c, chain, (uint32_t)(b / c->g.prios_per_bucket));
		struct prio_record *r = &p->records[b % c->g.prios_per_bucket];

		r->prio = bucket_prio(a, &a->buckets[b]);
		r->gen = a->buckets[b].gen;
	}
}

/*
 * One image of all gens, as they were at one moment when prio_blocked was 0 (R3.5). On big caches that is more than one stretch may take: copy in
 * slices, which are one image if no gen was raised in between. Else start again, and in the end do it in one stretch.
 */
static FIBER_FN int chain_snapshot(struct cset *c, void *chain)
{
	struct alloc *a = &c->alloc;

	for (unsigned tries = 0;; tries++) {
		uint64_t raised = a->nr_gens_raised, slice = tries < SNAPSHOT_TRIES ? a->scan_slice : c->g.nr_buckets, b = 0;

		while (a->prio_blocked && !c->io_disable)
			wait_queue_wait(&a->work);
		if (c->io_disable)
			return -EROFS;
		if (raised != a->nr_gens_raised)
			continue;
		assert(!a->prio_blocked); /* A4 */
		a->prios_changed = false;
		for (; b < c->g.nr_buckets && raised == a->nr_gens_raised; b += slice) {
			if (b)
				fiber_yield();
			if (raised == a->nr_gens_raised)
				chain_copy(c, chain, b, min(b + slice, c->g.nr_buckets));
		}
		if (raised == a->nr_gens_raised)
			return 0;
	}
}

static FIBER_FN void chain_seal(struct cset *c, void *chain, const uint32_t *buckets)
{
	uint32_t n = c->g.nr_prio_buckets;

	for (uint32_t i = 0; i < n; i++) {
		struct prio_set *p = chain_element(c, chain, i);

		p->seq = c->alloc.prio_seq;
		p->next_bucket = i + 1 < n ? buckets[i + 1] : c->alloc.prio_buckets[0];
		prio_set_seal(p, c->g.meta_bytes, c->set_magic);
		if (i + 1 < n)
			fiber_yield();
	}
}

static int chain_write(struct cset *c, void *chain, const uint32_t *buckets)
{
	uint32_t sectors = c->g.meta_bytes / SECTOR_BYTES;

	for (uint32_t i = c->g.nr_prio_buckets; i-- > 0;) { /* last first: each names its successor */
		int r = blk_write(c->cache, geometry_sector(&c->g, buckets[i]), chain_element(c, chain, i), sectors, 0);

		cset_io_done(c, "prio write", r);
		if (r < 0)
			return cset_error(c, "cannot write priorities to bucket %u of '%s': %s", buckets[i], c->cache->path, strerror(-r));
		c->meta_sectors_written += sectors;
	}
	return 0;
}

/*
 * The chain before is referenced by nothing any more, and prio buckets are found by number, not through a pointer (R3.1 b): they go straight
 * back to the PRIO reserve, which so never runs dry. In a damaged image a journalled key may still pin one (silence ended before replay did): that
 * is no obstacle to a use without pointers, and without this bucket there might be none for the next chain.
 */
static void chain_recycle(struct cset *c, const uint32_t *old)
{
	struct bucket_fifo *f = &c->alloc.free[RESERVE_PRIO];

	for (uint32_t i = 0; i < c->g.nr_prio_buckets; i++) {
		struct bucket *k;

		if (!old[i])
			continue;
		k = cset_bucket(c, old[i]);
		bucket_free(c, old[i]);
		if (fifo_push(f, old[i]))
			bucket_pin(k);
	}
}

static int chain_replace(struct cset *c, void *chain, uint32_t *fresh)
{
	struct alloc *a = &c->alloc;
	size_t bytes = c->g.nr_prio_buckets * sizeof(*fresh);
	int r = chain_alloc(c, fresh);

	if (r < 0)
		return r;
	r = chain_snapshot(c, chain);
	if (r < 0)
		return r;
	a->prio_seq++;
	chain_seal(c, chain, fresh);
	r = chain_write(c, chain, fresh);
	if (r < 0)
		return r;
	memcpy(a->prio_last, a->prio_buckets, bytes);
	memcpy(a->prio_buckets, fresh, bytes); /* every entry written from now on names the new chain */
	for (uint32_t i = 0; i < c->g.nr_prio_buckets; i++)
		bucket_unpin(cset_bucket(c, fresh[i]));
	r = journal_meta(c);
	if (r < 0)
		return r;
	chain_recycle(c, a->prio_last);
	memset(a->prio_last, 0, bytes);
	a->nr_prio_writes++;
	a->prio_written_ns = engine_now_ns();
	return 0;
}

int prio_write(struct cset *c)
{
	uint32_t n = c->g.nr_prio_buckets;
	void *chain;
	uint32_t *fresh = calloc(n, sizeof(*fresh));
	int r = -ENOMEM;

	if (!fresh || posix_memalign(&chain, PAGE_BYTES, (size_t)n * c->g.meta_bytes)) {
		free(fresh);
		return cset_error(c, "no memory for the priorities of %u prio buckets", n);
	}
	memset(chain, 0, (size_t)n * c->g.meta_bytes);
	fmutex_lock(&c->alloc.prio_lock);
	r = chain_replace(c, chain, fresh);
	fmutex_unlock(&c->alloc.prio_lock);
	free(chain);
	free(fresh);
	return r;
}

static void chain_adopt(struct cset *c, const struct prio_set *p, uint32_t i)
{
	for (uint32_t j = 0; j < c->g.prios_per_bucket; j++) {
		uint64_t b = (uint64_t)i * c->g.prios_per_bucket + j;

		if (b >= c->g.nr_buckets)
			return;
		bucket_set_prio(&c->alloc, &c->alloc.buckets[b], p->records[j].prio);
		if (p->records[j].prio && p->records[j].prio != PRIO_BTREE)
			c->alloc.oldest_epoch = min(c->alloc.oldest_epoch, c->alloc.buckets[b].used_epoch);
		c->alloc.buckets[b].gen = c->alloc.buckets[b].last_gc = p->records[j].gen;
	}
}

static bool chain_has(const struct cset *c, uint32_t nr, uint64_t b)
{
	for (uint32_t i = 0; i < nr; i++)
		if (c->alloc.prio_buckets[i] == b)
			return true;
	return false;
}

int prio_read(struct cset *c, uint64_t first, struct printbuf *why)
{
	struct prio_set *p;
	uint64_t b = first;
	int r = 0;

	if (posix_memalign((void **)&p, PAGE_BYTES, c->g.meta_bytes))
		return -ENOMEM;
	for (uint32_t i = 0; i < c->g.nr_prio_buckets && !r; i++) {
		if (b < c->g.first_bucket || b >= c->g.nr_buckets) {
			pr(why, "priorities: element %u of the chain names bucket %llu, outside %llu..%llu", i, (unsigned long long)b,
			   (unsigned long long)c->g.first_bucket, (unsigned long long)c->g.nr_buckets - 1);
			r = -EUCLEAN;
			break;
		}
		if (b < c->g.first_bucket + c->super->keys || chain_has(c, i, b)) { /* recycling the chain would hand it out, or twice */
			pr(why, "priorities: element %u of the chain names bucket %llu, which is in use already", i, (unsigned long long)b);
			r = -EUCLEAN;
			break;
		}
		r = blk_read(c->cache, geometry_sector(&c->g, b), p, c->g.meta_bytes / SECTOR_BYTES);
		if (r < 0) {
			pr(why, "priorities: cannot read bucket %llu: %s", (unsigned long long)b, strerror(-r));
			break;
		}
		char reason[200];
		struct printbuf pb = PRINTBUF(reason);

		r = prio_set_validate(p, c->g.meta_bytes, c->set_magic, &pb);
		if (r < 0) {
			pr(why, "priorities in bucket %llu: %s", (unsigned long long)b, reason);
			break;
		}
		c->alloc.prio_buckets[i] = (uint32_t)b;
		c->alloc.prio_seq = p->seq;
		chain_adopt(c, p, i);
		b = p->next_bucket;
	}
	free(p);
	return r;
}
