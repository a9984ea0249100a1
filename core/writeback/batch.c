/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/batch.h"
#include "core/request/insert.h"
#include "core/request/request.h"
#include "core/request/swap.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include "core/writeback/throttle.h"
#include <stdlib.h>

#define SEGMENTS WRITEBACK_INFLIGHT_MAX

struct batch_key {
	const struct bkey *key;	/* in the keybuf; stays there until the batch is retired */
	bool failed;		/* stays dirty */
	enum writeback_phase phase;
	struct swap_key swap;	/* while the key is being made clean */
};

/* Part of a key in the buffer. */
struct segment {
	struct writeback_batch *batch;
	struct bio bio;
	unsigned key;	      /* index into keys[] */
	unsigned nr_run;      /* this bio writes so many segments (0: an earlier one does) */
	uint64_t start;	      /* key space */
	uint32_t nr_sectors;
	uint32_t buf_sector;
};

struct writeback_batch {
	struct bdev *d;
	char *buf;	      /* WRITEBACK_BATCH_SECTORS, page-aligned */
	struct latch latch;
	bool io_failed;
	uint64_t begun_ns;

	unsigned nr_keys;
	struct batch_key keys[KEYBUF_KEYS];
	unsigned cur;	      /* where the next round continues: key and sector in it */
	uint64_t cur_sector;

	unsigned nr_segments;
	uint32_t buf_used;    /* sectors */
	struct segment segments[SEGMENTS];
	struct swap swap;
};

struct writeback_batch *writeback_batch_new(struct bdev *d)
{
	struct writeback_batch *b = calloc(1, sizeof(*b));
	void *buf;

	if (!b || posix_memalign(&buf, PAGE_BYTES, (size_t)WRITEBACK_BATCH_SECTORS * SECTOR_BYTES)) {
		free(b);
		return NULL;
	}
	b->d = d;
	b->buf = buf;
	return b;
}

void writeback_batch_free(struct writeback_batch *b)
{
	if (!b)
		return;
	free(b->buf);
	free(b);
}

/* --- choosing -------------------------------------------------------------------------------------------------------------- */

/*
 * Start keys until the budget is used up. From here on a write that overlaps one of them goes to the cache (I-15). Keys under a write in
 * flight are left to a later pass: that write decided where to go believing that nothing here has started. Does not yield.
 */
static void batch_start(struct writeback_batch *b, uint64_t budget)
{
	struct writeback *w = &b->d->writeback;
	unsigned max_keys = min(w->inflight_limit, (unsigned)KEYBUF_KEYS);
	struct keybuf_key *e;
	uint64_t sectors = 0;

	b->nr_keys = 0;
	b->io_failed = false;
	b->begun_ns = engine_now_ns();
	while (b->nr_keys < max_keys && sectors < budget && (e = keybuf_start(&w->keybuf))) {
		const struct bkey *k = &e->key.k;

		if (range_busy(&b->d->ranges, bkey_start(k), bkey_offset(k)) || !extent_live(b->d->set, k)) {
			e->dropped = true;
			continue;
		}
		b->keys[b->nr_keys++] = (struct batch_key){ .key = k };
		sectors += bkey_size(k);
	}
	b->cur = 0;
	b->cur_sector = b->nr_keys ? bkey_start(b->keys[0].key) : 0;
}

/* --- copying --------------------------------------------------------------------------------------------------------------- */

static void fail_key(struct writeback_batch *b, unsigned i, int error)
{
	struct batch_key *e = &b->keys[i];

	if (!e->failed)
		failures_add(&b->d->writeback.failed_now, bkey_start(e->key), bkey_offset(e->key), e->phase, error);
	e->failed = true;
	b->io_failed = true;
}

/* Nothing was written, or it is not known to be there. */
static void fail_all(struct writeback_batch *b, int error)
{
	for (unsigned i = 0; i < b->nr_keys; i++)
		fail_key(b, i, error);
}

static void batch_read_done(struct bio *bio)
{
	struct segment *s = container_of(bio, struct segment, bio);
	struct cset *c = s->batch->d->set;
	const struct bkey *k = s->batch->keys[s->key].key;

	if (!bio->error && !ptr_stale(c, k->ptr[0])) /* what the cache device made of it must not reach backing */
		bio->error = extent_csum_verify(c, ptr_sector(k->ptr[0]) + (s->start - bkey_start(k)),
						s->batch->buf + (size_t)s->buf_sector * SECTOR_BYTES, s->nr_sectors);
	ptr_bucket(c, k->ptr[0])->readers--;
	cache_io_account(c, bio);
	if (bio->error)
		fail_key(s->batch, s->key, bio->error);
	latch_done(&s->batch->latch, 0);
}

/* Put [cur_sector ...) of key cur into the buffer, as much as fits, and no more than may be one write. False: no room. */
static bool segment_add(struct writeback_batch *b, uint32_t max_sectors)
{
	const struct bkey *k = b->keys[b->cur].key;
	struct segment *s = &b->segments[b->nr_segments], *last = s - 1;
	bool follows = b->nr_segments && last->start + last->nr_sectors == b->cur_sector;
	uint32_t at = follows ? b->buf_used : (uint32_t)round_up_u64(b->buf_used, PAGE_SECTORS);

	if (b->nr_segments == min(b->d->writeback.inflight_limit, SEGMENTS) || at >= WRITEBACK_BATCH_SECTORS)
		return false;
	s->batch = b;
	s->key = b->cur;
	s->start = b->cur_sector;
	s->buf_sector = at;
	s->nr_sectors = (uint32_t)min(bkey_offset(k) - b->cur_sector, (uint64_t)min(WRITEBACK_BATCH_SECTORS - at, max_sectors));
	b->buf_used = at + s->nr_sectors;
	b->cur_sector += s->nr_sectors;
	b->nr_segments++;
	return true;
}

/* Read the next part of the batch from the cache into the buffer; latch_wait() ends it. Does not yield. */
static void round_read_start(struct writeback_batch *b)
{
	struct cset *c = b->d->set;
	uint32_t max_sectors = throttle_io_sectors(b->d);

	b->nr_segments = 0;
	b->buf_used = 0;
	while (b->cur < b->nr_keys && segment_add(b, max_sectors)) {
		if (b->cur_sector < bkey_offset(b->keys[b->cur].key))
			continue;
		if (++b->cur < b->nr_keys)
			b->cur_sector = bkey_start(b->keys[b->cur].key);
	}
	for (unsigned i = 0; i < b->nr_segments; i++) {
		struct segment *s = &b->segments[i];
		const struct bkey *k = b->keys[s->key].key;

		b->keys[s->key].phase = WRITEBACK_READ;
		ptr_bucket(c, k->ptr[0])->readers++;
		latch_add(&b->latch, 1);
		bio_init(&s->bio, c->cache, BIO_READ, ptr_sector(k->ptr[0]) + (s->start - bkey_start(k)),
			 b->buf + (size_t)s->buf_sector * SECTOR_BYTES, s->nr_sectors, 0, batch_read_done);
		blk_submit(&s->bio);
	}
}

static void batch_write_done(struct bio *bio)
{
	struct segment *s = container_of(bio, struct segment, bio);
	struct writeback_batch *b = s->batch;

	b->d->backing_writes++;
	b->d->writeback.backing_in_flight--;
	b->d->writeback.backing_last_ns = engine_now_ns();
	if (bio->error)
		bdev_io_error(b->d, "writing back", bio->error);
	else
		b->d->writeback.sectors_written += bio->nr_sectors;
	for (unsigned i = 0; i < s->nr_run; i++)
		if (bio->error)
			fail_key(b, s[i].key, bio->error);
		else
			b->keys[s[i].key].phase = WRITEBACK_FLUSH;
	latch_done(&b->latch, 0);
}

/* Segments from i on that continue each other on the device, and so in the buffer, and were read; as many as may be one write. */
static unsigned run_length(const struct writeback_batch *b, unsigned i, uint32_t max_sectors)
{
	uint32_t sectors = b->segments[i].nr_sectors;
	unsigned n = 1;

	while (i + n < b->nr_segments && !b->keys[b->segments[i + n].key].failed &&
	       b->segments[i + n - 1].start + b->segments[i + n - 1].nr_sectors == b->segments[i + n].start &&
	       sectors + b->segments[i + n].nr_sectors <= max_sectors)
		sectors += b->segments[i + n++].nr_sectors;
	return n;
}

/* Write the run of n segments that begins with s. Does not yield. */
static void run_write(struct writeback_batch *b, struct segment *s, unsigned n)
{
	const struct segment *last = s + n - 1;

	s->nr_run = n;
	for (unsigned i = 0; i < n; i++)
		b->keys[s[i].key].phase = WRITEBACK_WRITE;
	b->d->writeback.backing_in_flight++;
	latch_add(&b->latch, 1);
	bio_init(&s->bio, b->d->backing, BIO_WRITE, s->start, b->buf + (size_t)s->buf_sector * SECTOR_BYTES,
		 last->start + last->nr_sectors - s->start, 0, batch_write_done);
	blk_submit(&s->bio);
}

/*
 * Write what was read, in LBA order, one bio per run, and as many at once as may be: then they are waited for, and the next ones go. Waits for the
 * backing device.
 */
static uint64_t round_write(struct writeback_batch *b)
{
	uint64_t written = 0;

	for (unsigned i = 0, in_flight = 0; i < b->nr_segments;) {
		struct segment *s = &b->segments[i];
		unsigned n;

		if (in_flight && in_flight >= throttle_window(b->d)) {
			(void)latch_wait(&b->latch); /* outcomes are in keys[].failed */
			in_flight = 0;
		}
		if (b->keys[s->key].failed) {
			i++;
			continue;
		}
		n = run_length(b, i, throttle_io_sectors(b->d));
		run_write(b, s, n);
		written += s->bio.nr_sectors;
		in_flight++;
		i += n;
	}
	(void)latch_wait(&b->latch); /* as above */
	return written;
}

/* --- making clean ---------------------------------------------------------------------------------------------------------- */

/* Collect the parts of e that nobody overwrote. Returns their number or -errno. Waits as swap_add(). */
static int clean_key(struct writeback_batch *b, struct batch_key *e)
{
	struct bkey_buf clean;

	e->phase = WRITEBACK_CLEAN;
	bkey_copy(&clean.k, e->key);
	bkey_set_dirty(&clean.k, false);
	return swap_add(&b->swap, &e->swap, e->key, &clean.k);
}

/* Make every key that was copied clean, where nobody overwrote it. Waits: see the header. */
static void batch_clean(struct writeback_batch *b)
{
	struct bdev *d = b->d;
	struct cset *c = d->set;
	int r = 0, e;

	swap_init(&b->swap, c);
	for (unsigned i = 0; i < b->nr_keys && r >= 0; i++) {
		if (b->keys[i].failed)
			continue;
		r = clean_key(b, &b->keys[i]);
		if (r > 0) {
			d->writeback.keys_done++;
			c->writeback_keys_done++;
		} else if (!r) { /* overwritten, or being so */
			d->writeback.keys_failed++;
			c->writeback_keys_failed++;
		}
	}
	e = swap_commit(&b->swap);
	if (r < 0 || e < 0)
		b->io_failed = true; /* what was not cleaned stays dirty */
}

/* Copy all keys of the batch. Waits for both devices and the journal. Returns sectors written or -errno. */
static int64_t batch_copy(struct writeback_batch *b)
{
	int64_t written = 0;
	int r = 0;

	for (bool first = true; b->cur < b->nr_keys && r >= 0; first = false) {
		round_read_start(b);
		/*
		 * The dirty keys must be durable before backing gets their data. Otherwise a power cut could leave newer data on
		 * backing than an older *clean* copy that the index still shows, and the two would disagree for good.
		 */
		if (first)
			r = journal_flush(b->d->set);
		(void)latch_wait(&b->latch); /* outcomes are in keys[].failed */
		if (r >= 0)
			written += (int64_t)round_write(b);
	}
	return r < 0 ? r : written;
}

/* --- looking on ------------------------------------------------------------------------------------------------------------ */

void writeback_batch_text(const struct writeback_batch *b, struct printbuf *out)
{
	uint64_t age_ms = (engine_now_ns() - b->begun_ns) / NS_PER_MS;

	for (unsigned i = 0; i < b->nr_keys; i++)
		pr(out, "%s %llu %llu %llu\n", writeback_phase_names[b->keys[i].phase],
		   (unsigned long long)((bkey_start(b->keys[i].key) - b->d->data_offset) * SECTOR_BYTES),
		   (unsigned long long)(bkey_size(b->keys[i].key) * (uint64_t)SECTOR_BYTES), (unsigned long long)age_ms);
}

unsigned writeback_batch_inflight(const struct writeback_batch *b, uint64_t *ret_sectors)
{
	*ret_sectors = 0;
	for (unsigned i = 0; i < b->nr_keys; i++)
		*ret_sectors += bkey_size(b->keys[i].key);
	return b->nr_keys;
}

uint64_t writeback_batch_run(struct writeback_batch *b, uint64_t budget_sectors, bool *ret_failed)
{
	struct bdev *d = b->d;
	int64_t written;
	int r;

	latch_init(&b->latch);
	no_yield_begin();
	batch_start(b, budget_sectors);
	no_yield_end();
	written = batch_copy(b);
	r = written > 0 ? request_backing_flush(d) : 0; /* R8.3: before any of them becomes clean */
	if (written > 0 && !r)
		batch_clean(b);
	else
		fail_all(b, written < 0 ? (int)written : r);
	b->nr_keys = 0;
	keybuf_retire(&d->writeback.keybuf);
	wake_all(&d->writeback.batch_done);
	*ret_failed = b->io_failed;
	return (uint64_t)max(written, (int64_t)0);
}
