/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Telling the device about buckets before they are reused. Advice only: it happens behind the durable gen (R3.1), never holds up who needs a bucket,
 * and its errors change nothing.
 */
#include "core/admin/log.h"
#include "core/set/cset.h"
#include "core/space/discard.h"

#define ERROR_LOG_NS (60 * NS_PER_S)

void discard_failed(struct cset *c, uint32_t b, int error)
{
	struct alloc *a = &c->alloc;
	uint64_t now = engine_now_ns();

	if (a->nr_discard_errors++ && now - a->discard_error_ns < ERROR_LOG_NS)
		return;
	a->discard_error_ns = now;
	log_warn("cannot discard bucket %u of '%s': %s; ignoring (%llu times so far)", b, c->cache->path, strerror(-error),
		 (unsigned long long)a->nr_discard_errors);
}

static void discarded(struct bio *bio)
{
	struct bucket_discard *d = container_of(bio, struct bucket_discard, bio);
	struct cset *c = d->c;

	d->busy = false;
	c->alloc.nr_discarding--;
	if (bio->error)
		discard_failed(c, d->bucket, bio->error);
	if (!alloc_push_free(c, d->bucket)) /* its place went to one that was needed sooner: it is just an empty bucket */
		bucket_unpin(cset_bucket(c, d->bucket));
	alloc_wake(c);
}

bool bucket_discard_start(struct cset *c, uint32_t b)
{
	struct alloc *a = &c->alloc;
	struct bucket_discard *d = a->discards;

	if (a->nr_discarding == DISCARDS_MAX)
		return false;
	while (d->busy)
		d++;
	d->busy = true;
	d->c = c;
	d->bucket = b;
	a->nr_discarding++;
	a->nr_discards++;
	bio_init(&d->bio, c->cache, BIO_DISCARD, geometry_sector(&c->g, b), NULL, c->g.bucket_sectors, 0, discarded);
	blk_submit(&d->bio);
	return true;
}
