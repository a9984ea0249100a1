/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/insert.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"

#define BATCH_KEYS 16
#define DATA_KEY_WORDS 3 /* one pointer */
#define BUCKET_WAIT_NS (100 * NS_PER_MS)
#define FULL_PATIENCE_NS (5 * NS_PER_S)
#define RETRY_STREAM (1ull << 63) /* another write point, hence another bucket */

struct data_write {
	struct bio bio;
	struct bkey_buf key;
	struct batch *batch;
};

/* One round of allocate, write, index. Lives on the fiber's stack. */
struct batch {
	struct cset *c;
	struct latch latch;
	unsigned nr;
	bool out_of_buckets;
	struct data_write writes[BATCH_KEYS];
};

void cache_io_account(struct cset *c, const struct bio *bio)
{
	uint64_t now = engine_now_ns();

	cset_io_done(c, bio->op == BIO_WRITE ? "writing data" : "reading data", bio->error);
	congestion_note(&c->congestion, bio->op == BIO_WRITE, now - min(bio->submit_ns, now), now);
}

/* --- backing writes ------------------------------------------------------------------------------------------------------ */

static void backing_write_done(struct bio *bio)
{
	struct backing_write *b = container_of(bio, struct backing_write, bio);

	b->d->backing_writes++;
	writeback_note_foreground(b->d, bio);
	if (bio->error)
		bdev_io_error(b->d, "writing", bio->error);
	latch_done(&b->latch, bio->error);
}

void backing_write_start(struct backing_write *b, struct bdev *d, const void *buf, uint64_t start, uint64_t end, unsigned flags)
{
	b->d = d;
	b->pending = true;
	b->error = 0;
	latch_init(&b->latch);
	latch_add(&b->latch, 1);
	bio_init(&b->bio, d->backing, BIO_WRITE, start, (void *)(uintptr_t)buf, end - start, flags, backing_write_done);
	blk_submit(&b->bio);
}

/* Waits for the backing device. */
int backing_write_wait(struct backing_write *b)
{
	if (b->pending) {
		b->error = latch_wait(&b->latch);
		b->pending = false;
	}
	return b->error;
}

/* --- indexing ------------------------------------------------------------------------------------------------------------ */

static void key_unpin(struct cset *c, const struct bkey *k)
{
	bkey_for_each_ptr(k, i)
		bucket_unpin(ptr_bucket(c, k->ptr[i]));
}

static void keylist_unpin(struct cset *c, const struct keylist *keys)
{
	keylist_for_each(k, keys)
		key_unpin(c, k);
}

/*
 * Journal, then index (R2.10). The entry stays pinned until the keys are in the btree, where the leaf's own pin takes over.
 * Waits for journal space and the btree; holds the caller's range lock.
 */
static int index_keys(struct cset *c, const struct keylist *keys, uint64_t *ret_seq)
{
	uint64_t seq;
	int r;

	if (keylist_empty(keys))
		return 0;
	r = journal_append(c, keys, &seq);
	if (r < 0) {
		keylist_unpin(c, keys);
		return r;
	}
	*ret_seq = seq;
	r = btree_insert(c, keys, seq, NULL);
	journal_release_keys(&c->journal, seq);
	if (r < 0 && !c->io_disable) /* no memory: replay would insert what the index does not have */
		return cset_error(c, "cannot index keys of journal entry %llu: %s", (unsigned long long)seq, strerror(-r));
	return r;
}

/*
 * Index fills: one compare-and-swap per key, not journalled (a fill lost in a crash is a miss). A write in flight takes the placeholder away only at
 * its end. Until then readers may have seen its data on the backing device; the old data must not appear in the cache after that, not even
 * for the moment until the write cuts it out. So the range is held, or the fill given up.
 */
static int __attribute__((noinline)) index_fills(struct insert_op *op, const struct keylist *keys)
{
	struct cset *c = op->d->set;
	struct keylist one;
	struct range range;
	bool held = range_try_acquire(&op->d->ranges, &range, op->start, op->end);
	int result = 0;

	keylist_for_each(k, keys) {
		if (!held) {
			op->collisions++;
			key_unpin(c, k);
			continue;
		}
		int r;

		if (result < 0) {
			key_unpin(c, k);
			continue;
		}
		keylist_init(&one, BKEY_WORDS_MAX);
		keylist_push(&one, k);
		r = btree_insert(c, &one, 0, op->replace);
		if (r == -ESRCH)
			op->collisions++;
		else if (r < 0)
			result = r;
	}
	if (held)
		range_release(&op->d->ranges, &range);
	return result;
}

/* Waits as index_keys(), once per keylist. */
int __attribute__((noinline)) index_invalidate(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, uint64_t *ret_seq)
{
	struct keylist keys;
	int r = 0;

	while (start < end && !r) {
		keylist_init(&keys, journal_append_max_words(c));
		while (start < end && keylist_has_room(&keys, 2)) {
			struct bkey_buf k;
			uint32_t n = (uint32_t)min(end - start, (uint64_t)INVALIDATE_SECTORS_MAX);

			start += n;
			bkey_init(&k.k, inode, start, n);
			keylist_push(&keys, &k.k);
		}
		r = index_keys(c, &keys, ret_seq);
	}
	return r;
}

int insert_invalidate(struct bdev *d, uint64_t start, uint64_t end, uint64_t *ret_seq)
{
	return index_invalidate(d->set, d->inode, start, end, ret_seq);
}

/* --- data ---------------------------------------------------------------------------------------------------------------- */

static void data_write_done(struct bio *bio)
{
	struct data_write *w = container_of(bio, struct data_write, bio);

	cache_io_account(w->batch->c, bio);
	latch_done(&w->batch->latch, 0); /* each write's own outcome is in its bio */
}

/*
 * May dirty data that found no bucket wait for one? Only while the cache has space that needs nobody's writeback to become free. Beyond the cutoff the
 * wait could be for dirty data under our own range, which writeback leaves alone as long as we hold it; then the rest goes to
 * backing instead. (A volume has no backing device: it waits.)
 */
static bool may_wait_for_bucket(const struct insert_op *op)
{
	const struct cset *c = op->d->set;

	return op->kind == INSERT_DIRTY && (bdev_is_flash(op->d) || alloc_in_use_percent(c) <= c->cutoff_writeback_sync);
}

/*
 * A volume that is larger than the cache can fill it for good. Then a write waits for somebody to free something, and that may be the very one who wants
 * the volume quiet: to remove it, to resize it, or because its set ends. So it gives up: at once when nobody may see its data any more, otherwise
 * after a time in which a cache that is only busy has found a bucket.
 */
static bool gives_up(const struct bdev *d, uint64_t waited_ns)
{
	return bdev_is_flash(d) && (d->io_disable || ((d->quiesce || d->closing) && waited_ns >= FULL_PATIENCE_NS));
}

/*
 * Sectors for the next part of op, in whole blocks: a sub-block tail (the device's last one) leaves the rest of its block unused. May
 * wait for a bucket, but only while the batch is empty: un-indexed keys pin their buckets, and writers that sit on buckets while
 * they wait for more would starve each other. The wait is looked after, since others may use up what we wait for.
 */
static int batch_take(struct batch *b, struct insert_op *op, uint64_t stream, struct bkey *k)
{
	struct cset *c = b->c;
	uint32_t want = (uint32_t)round_up_u64(min(op->end - op->cursor, (uint64_t)BKEY_SIZE_MAX - c->g.block_sectors), c->g.block_sectors);
	uint64_t since_ns = 0;
	int r;

	bkey_init(k, op->d->inode, op->cursor, 0);
	for (;;) {
		r = open_bucket_take(c, k, want, stream, bdev_is_flash(op->d), RESERVE_NONE);
		if (r != -EAGAIN || b->nr || !may_wait_for_bucket(op))
			break;
		alloc_wake(c);
		c->alloc.nr_bucket_waits++;
		since_ns = since_ns ? since_ns : engine_now_ns();
		if (gives_up(op->d, engine_now_ns() - since_ns))
			return -ENOSPC;
		if (wait_queue_wait_timeout(&c->alloc.bucket_wait, BUCKET_WAIT_NS) == -EINTR)
			return -EINTR;
	}
	if (since_ns)
		histogram_add(&c->wait_bucket, engine_now_ns() - since_ns);
	if (r < 0)
		return r;
	if (bkey_offset(k) > op->end)
		bkey_cut_back(k, bpos(bkey_inode(k), op->end));
	return 0;
}

/* Start data writes until the batch is full, the data or the buckets are used up. Returns an error only if nothing can go on. */
static int batch_fill(struct batch *b, struct insert_op *op, uint64_t stream, uint32_t max_words)
{
	struct cset *c = b->c;

	while (b->nr < BATCH_KEYS && op->cursor < op->end && (b->nr + 1) * DATA_KEY_WORDS <= max_words) {
		struct data_write *w = &b->writes[b->nr];
		struct bkey *k = &w->key.k;
		int r = batch_take(b, op, stream, k);

		if (r == -EAGAIN) {
			b->out_of_buckets = true;
			return 0;
		}
		if (r < 0)
			return b->nr ? 0 : r;
		if (op->kind == INSERT_DIRTY) {
			bkey_set_dirty(k, true);
			ptr_bucket(c, k->ptr[0])->mark = MARK_DIRTY; /* before it is indexed: nobody may think it droppable */
		}
		c->data_sectors_written += bkey_size(k);
		data_csum_note(c, op->d, ptr_sector(k->ptr[0]), op->data + (bkey_start(k) - op->start) * SECTOR_BYTES, bkey_size(k));
		w->batch = b;
		b->nr++;
		op->cursor = bkey_offset(k);
		latch_add(&b->latch, 1);
		bio_init(&w->bio, c->cache, BIO_WRITE, ptr_sector(k->ptr[0]),
			 (void *)(uintptr_t)(op->data + (bkey_start(k) - op->start) * SECTOR_BYTES), bkey_size(k), 0, data_write_done);
		blk_submit(&w->bio);
	}
	return 0;
}

/*
 * After all data writes: choose what may be indexed (R2.8, I-19). Dirty: everything before the first failure, the rest is given back
 * and op->cursor moves there (-EIO). Clean: a failed key becomes an invalidation. Fill: a failed key is left out.
 */
static int batch_choose(struct batch *b, struct insert_op *op, struct keylist *keys)
{
	int result = 0;

	for (unsigned i = 0; i < b->nr; i++) {
		struct bkey *k = &b->writes[i].key.k;
		bool failed = b->writes[i].bio.error;

		if (failed && op->kind == INSERT_DIRTY && !result) {
			op->cursor = bkey_start(k);
			result = -EIO;
		}
		if (failed || result) {
			key_unpin(b->c, k);
			bkey_set_ptrs(k, 0);
		}
		if (!result && !(failed && op->kind == INSERT_FILL))
			keylist_push(keys, k);
	}
	return result;
}

static void batch_abandon(struct batch *b)
{
	for (unsigned i = 0; i < b->nr; i++)
		key_unpin(b->c, &b->writes[i].key.k);
}

/*
 * One batch. 0; -EAGAIN: no buckets, what was written is indexed; -EIO: a dirty data write failed at op->cursor, what precedes it is
 * indexed; others as insert_data().
 */
static int __attribute__((noinline)) insert_batch(struct insert_op *op, uint64_t stream)
{
	struct cset *c = op->d->set;
	struct keylist keys;
	struct batch b;
	int r, data_error;

	b.c = c;
	b.nr = 0;
	b.out_of_buckets = false;
	latch_init(&b.latch);
	keylist_init(&keys, journal_append_max_words(c));

	r = batch_fill(&b, op, stream, keys.max_words);
	(void)latch_wait(&b.latch); /* the bios carry the errors */
	if (r < 0)
		return r;
	if (op->backing && backing_write_wait(op->backing) < 0) {
		batch_abandon(&b);
		return -EIO;
	}
	data_error = batch_choose(&b, op, &keys);
	r = op->kind == INSERT_FILL ? index_fills(op, &keys) : index_keys(c, &keys, &op->seq);
	if (r < 0)
		return r;
	if (data_error)
		return data_error;
	return b.out_of_buckets && (op->kind != INSERT_DIRTY || !b.nr) ? -EAGAIN : 0;
}

/* Waits: see the header. Holds the caller's range lock throughout (fills: nothing). */
int insert_data(struct insert_op *op)
{
	uint64_t stream = op->stream;
	unsigned failures = 0;
	int r = 0;

	op->cursor = op->start;
	op->seq = 0;
	op->collisions = 0;
	gc_account(op->d->set, (uint32_t)min(op->end - op->start, (uint64_t)UINT32_MAX));
	while (op->cursor < op->end) {
		r = insert_batch(op, stream);
		if (r == -EIO && op->kind == INSERT_DIRTY && !failures++)
			stream ^= RETRY_STREAM; /* R2.8: once more, in another bucket */
		else if (r < 0)
			break;
	}
	if (r == -EAGAIN && op->kind == INSERT_CLEAN)
		return insert_invalidate(op->d, op->cursor, op->end, &op->seq); /* not cached, so nothing old may stay */
	return r == -EAGAIN && op->kind == INSERT_FILL ? 0 : r;
}
