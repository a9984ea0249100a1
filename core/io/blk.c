/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/io/blk.h"
#include "core/util/iov.h"

/* --- bios ----------------------------------------------------------------------------------------------------------- */

void bio_init(struct bio *bio, struct blkdev *dev, enum bio_op op, uint64_t sector, void *buf, uint64_t nr_sectors, unsigned flags,
	      void (*done)(struct bio *))
{
	bio->dev = dev;
	bio->op = op;
	bio->flags = flags;
	bio->sector = sector;
	bio->nr_sectors = nr_sectors;
	bio->inline_iov[0].iov_base = buf;
	bio->inline_iov[0].iov_len = buf ? nr_sectors << SECTOR_SHIFT : 0;
	bio->iov = bio->inline_iov;
	bio->nr_iov = buf ? 1 : 0;
	bio->error = 0;
	bio->done = done;
	bio->submit_ns = 0;
}

void bio_init_vec(struct bio *bio, struct blkdev *dev, enum bio_op op, uint64_t sector, const struct iovec *iov, unsigned nr_iov,
		  unsigned flags, void (*done)(struct bio *))
{
	uint64_t bytes = iov_len_bytes(iov, nr_iov);

	assert(bytes % SECTOR_BYTES == 0);
	bio_init(bio, dev, op, sector, NULL, bytes >> SECTOR_SHIFT, flags, done);
	bio->iov = iov;
	bio->nr_iov = nr_iov;
}

/*
 * A device that completes inside submit() makes "done() submits the next bio" recursive, on a stack of 64 KiB. Past this depth
 * the loop calls done() instead, from the bottom of its own stack.
 */
#define MAX_NESTED_DONE 8
static __thread unsigned nested_done;

static void call_done(struct bio *bio)
{
	struct blkdev *dev = bio->dev;

	assert(dev->in_flight > 0);
	dev->in_flight--;
	nested_done++;
	no_yield_begin();
	bio->done(bio); /* the bio may be gone now */
	no_yield_end();
	nested_done--;
}

static_assert(sizeof(struct engine_call) <= sizeof(((struct bio *)0)->priv), "the implementation is through with priv by now");

static struct engine_call *bio_call(struct bio *bio)
{
	return (struct engine_call *)bio->priv;
}

static void call_done_later(struct engine_call *c)
{
	call_done(container_of((uint64_t(*)[8])c, struct bio, priv));
}

void bio_end(struct bio *bio, int error)
{
	assert(error <= 0);
	bio->error = error;
	bio->flush_failed |= error && bio->op == BIO_FLUSH;
	bio->dev->flush_lost |= bio->flush_failed;
	if (nested_done < MAX_NESTED_DONE || !engine_self()) {
		call_done(bio);
		return;
	}
	bio_call(bio)->fn = call_done_later;
	engine_call_soon(bio_call(bio));
}

/* What can be answered without the device. 1: nothing; let it have the bio. */
static int bio_check(const struct bio *bio)
{
	const struct blkdev *dev = bio->dev;

	if (bio->op == BIO_FLUSH)
		return 1;
	if (bio->sector > dev->nr_sectors || bio->nr_sectors > dev->nr_sectors - bio->sector)
		return -EIO;
	if (dev->read_only && bio->op == BIO_DISCARD)
		return 0;
	if (dev->read_only && bio->op != BIO_READ)
		return -EROFS;
	/* An empty write with BIO_PREFLUSH still flushes; the implementations need not know. */
	return bio->nr_sectors ? 1 : 0;
}

void blk_submit(struct bio *bio)
{
	int r = bio_check(bio);

	assert((bio->flags & ~(BIO_FUA | BIO_PREFLUSH)) == 0);
	assert(bio->op == BIO_WRITE || bio->op == BIO_ZERO || !bio->flags);
	assert((bio->op != BIO_READ && bio->op != BIO_WRITE) || iov_len_bytes(bio->iov, bio->nr_iov) == bio->nr_sectors << SECTOR_SHIFT);
	bio->submit_ns = engine_self() ? engine_now_precise_ns() : 0;
	bio->flush_failed = false;
	bio->dev->in_flight++;
	if (r == 0 && (bio->flags & BIO_PREFLUSH)) {
		bio->op = BIO_FLUSH;
		bio->flags = 0;
		r = 1;
	}
	if (r > 0 && bio->dev->flush_lost && (bio->op == BIO_FLUSH || (bio->flags & BIO_PREFLUSH))) {
		bio->flush_failed = true;
		r = -EIO;
	}
	if (r <= 0)
		bio_end(bio, r);
	else
		bio->dev->ops->submit(bio);
}

/* --- submit and wait ------------------------------------------------------------------------------------------------ */

struct sync_bio {
	struct bio bio;
	struct latch latch;
};

static void sync_done(struct bio *bio)
{
	latch_done(&container_of(bio, struct sync_bio, bio)->latch, bio->error);
}

static int sync_submit(struct blkdev *d, enum bio_op op, uint64_t sector, void *buf, uint64_t nr_sectors, unsigned flags)
{
	struct sync_bio s;

	might_yield();
	bio_init(&s.bio, d, op, sector, buf, nr_sectors, flags, sync_done);
	latch_init(&s.latch);
	latch_add(&s.latch, 1);
	blk_submit(&s.bio);
	return latch_wait(&s.latch);
}

int blk_read(struct blkdev *d, uint64_t sector, void *buf, uint64_t nr_sectors)
{
	return sync_submit(d, BIO_READ, sector, buf, nr_sectors, 0);
}

int blk_write(struct blkdev *d, uint64_t sector, const void *buf, uint64_t nr_sectors, unsigned flags)
{
	return sync_submit(d, BIO_WRITE, sector, (void *)buf, nr_sectors, flags);
}

int blk_flush(struct blkdev *d)
{
	return sync_submit(d, BIO_FLUSH, 0, NULL, 0, 0);
}

int blk_zero(struct blkdev *d, uint64_t sector, uint64_t nr_sectors)
{
	return sync_submit(d, BIO_ZERO, sector, NULL, nr_sectors, 0);
}

void blk_discard(struct blkdev *d, uint64_t sector, uint64_t nr_sectors)
{
	(void)sync_submit(d, BIO_DISCARD, sector, NULL, nr_sectors, 0); /* advice */
}

void blk_close(struct blkdev *d)
{
	if (!d)
		return;
	assert(d->in_flight == 0);
	d->ops->close(d);
}

/* --- group flush ---------------------------------------------------------------------------------------------------- */

struct flush_wait {
	struct list link;
	struct latch latch;
	bool lead; /* woken to run the next flush, not with a result */
};

void flush_group_init(struct flush_group *g, struct blkdev *dev)
{
	memset(g, 0, sizeof(*g));
	g->dev = dev;
	list_init(&g->waiting);
}

static void flush_wait_release(struct flush_wait *w, int error)
{
	list_del(&w->link);
	latch_done(&w->latch, error);
}

static void take_all(struct list *to, struct list *from)
{
	list_init(to);
	while (!list_empty(from)) {
		struct list *l = from->next;

		list_del(l);
		list_add_tail(to, l);
	}
}

/* One device flush, for the caller and everyone waiting at this moment. */
static int lead_flush(struct flush_group *g)
{
	struct flush_wait *w;
	struct list covered;
	int r;

	take_all(&covered, &g->waiting);
	g->running = true;
	if (!g->failed) {
		g->nr_flushes++;
		g->failed = blk_flush(g->dev);
	}
	r = g->failed;
	while ((w = list_first(&covered, struct flush_wait, link)))
		flush_wait_release(w, r);
	w = list_first(&g->waiting, struct flush_wait, link);
	g->running = w != NULL;
	if (w) {
		w->lead = true;
		flush_wait_release(w, 0);
	}
	return r;
}

int flush_group_flush(struct flush_group *g)
{
	struct flush_wait me = { .lead = false };
	int r;

	might_yield();
	g->nr_calls++;
	if (g->running) {
		latch_init(&me.latch);
		latch_add(&me.latch, 1);
		list_add_tail(&g->waiting, &me.link);
		r = latch_wait(&me.latch);
		if (!me.lead)
			return r;
	}
	return lead_flush(g);
}
