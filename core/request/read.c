/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads (behaviour.md §2.5).
 *
 * The range is walked through the index from left to right; every hit and every hole becomes a *piece*, one bio straight into the
 * caller's memory. Up to READ_PIECES are in flight, then they are waited for together and judged one by one:
 *     cache piece good                      → done
 *     bucket was reused under it (a race)   → walk again from there (R2.1); what the index says now is right, clean or dirty
 *     cache error, clean                    → read it from backing, and drop the extent (R2.2)
 *     cache error, dirty; any backing error → -EIO. Dirty data is never read from backing (I-14).
 *
 * Fill: the first hole of a request gets a placeholder in the index, in the same atomic stretch that found the hole and before the backing
 * read is submitted. Whatever is written there meanwhile removes the placeholder, and the fill's compare-and-swap fails (I-12).
 * The caller gets its data first; a fiber of its own writes a copy to the cache.
 */
#include "core/request/insert.h"
#include "core/request/request.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include <stdlib.h>

#define READ_PIECES 24
#define READ_RACES_MAX 16
#define ROOM_TRIES_MAX 3
#define NO_PIECE READ_PIECES

struct read;
struct piece {
	struct bio bio;
	struct read *rq;
	struct bkey_buf key; /* cache: the whole extent it is part of */
	uint64_t start;	     /* key space */
	bool from_cache;
	bool raced;
};

struct fill {
	struct bdev *d;
	char *data; /* page-aligned copy of [start, end) */
	uint64_t start, end;
	uint64_t stream;
	struct bkey_buf check; /* the placeholder */
};

struct read {
	struct bdev *d;
	struct cset *c;
	char *buf;
	uint64_t start, end;   /* what buf is for */
	uint64_t cursor;       /* everything before it has a piece or is done */
	uint64_t stream;
	bool may_fill;
	bool missed, dirty;    /* some of it was */
	uint64_t missed_sectors;
	unsigned room_tries, races;
	uint64_t redo;	       /* leftmost race of this round, UINT64_MAX = none */
	struct bkey_buf check; /* placeholder of fill_piece */
	unsigned fill_piece;
	struct fill *fill;     /* ready to start */
	struct latch latch;
	unsigned nr;
	struct piece pieces[READ_PIECES];
};

static char *read_memory(const struct read *rq, uint64_t sector) { return rq->buf + (sector - rq->start) * SECTOR_BYTES; }

/* --- fills ----------------------------------------------------------------------------------------------------------------- */

static size_t fill_bytes(uint64_t start, uint64_t end) { return (size_t)(end - start) * SECTOR_BYTES; }

static void fill_free(struct fill *f)
{
	struct bdev *d = f->d;

	d->set->fill_bytes -= fill_bytes(f->start, f->end);
	if (!--d->fills_in_flight)
		wake_all(&d->fills_zero);
	bdev_put(d); /* now the set may go */
	free(f->data);
	free(f);
}

/*
 * What was read may be a write that is not durable: of before strict write-through was switched on, or of a process before us that died in it. The copy
 * must not outlive it (R2.6).
 */
static bool fill_is_durable(struct bdev *d) { return !d->strict_writethrough || !request_backing_flush(d); }

/* Waits for disks and the btree; holds a count of the device. Failing is as good as not filling. */
static void fill_main(void *arg)
{
	struct fill *f = arg;
	struct bdev *d = f->d;
	struct cset *c = d->set;
	struct insert_op op = {
		.d = d, .kind = INSERT_FILL, .start = f->start, .end = f->end, .data = f->data, .stream = f->stream, .replace = &f->check.k,
	};

	if (!d->closing && c->state != CSET_STOPPING && !c->io_disable && fill_is_durable(d)) {
		if (insert_data(&op) < 0) {
			/* a set error, raised where it happened; the data is on backing */
		}
		stat_add(&d->stats, STAT_MISS_COLLISIONS, op.collisions);
		stat_add(&c->stats, STAT_MISS_COLLISIONS, op.collisions);
	}
	fill_free(f);
}

/* The piece behind the placeholder was read: keep a copy for the cache. Its share of c->fill_bytes was taken with the placeholder. */
static void fill_prepare(struct read *rq)
{
	struct piece *p = &rq->pieces[rq->fill_piece];
	uint64_t end = p->start + p->bio.nr_sectors;
	struct fill *f = NULL;
	void *data = NULL;

	rq->fill_piece = NO_PIECE;
	if (!p->bio.error && (f = malloc(sizeof(*f))) && !posix_memalign(&data, PAGE_BYTES, fill_bytes(p->start, end))) {
		*f = (struct fill){ .d = rq->d, .data = data, .start = p->start, .end = end, .stream = rq->stream, .check = rq->check };
		memcpy(data, read_memory(rq, p->start), fill_bytes(p->start, end));
		bdev_get(rq->d);
		rq->d->fills_in_flight++;
		rq->fill = f;
		return;
	}
	free(f); /* no memory: fills are the first thing to go */
	rq->c->fill_bytes -= fill_bytes(p->start, end);
}

/*
 * Put a placeholder over [cursor, cursor + n) into the leaf that was just searched: a pointer to no device, unique by its random bits. The
 * offset's top bit stays clear, so that cutting the key cannot carry into the device (§2.10). Does not yield; -EAGAIN: no room.
 */
static int fill_place_check(struct read *rq, struct bnode *leaf, uint32_t n)
{
	uint64_t random = engine_random_u64();
	struct bkey *k = &rq->check.k;

	bkey_init(k, rq->d->inode, rq->cursor + n, n);
	bkey_set_ptrs(k, 1);
	k->ptr[0] = ptr_make(PTR_DEV_CHECK, random >> 22, (uint8_t)random);
	return btree_insert_check_key(rq->c, leaf, k);
}

static bool fill_allowed(const struct read *rq, uint64_t n)
{
	const struct bdev *d = rq->d;

	return rq->may_fill && !d->closing && rq->c->state != CSET_STOPPING && rq->c->fill_bytes + n * SECTOR_BYTES <= FILL_BYTES_MAX &&
	       !range_busy(&d->ranges, rq->cursor, rq->cursor + n); /* R2.5 */
}

/* --- pieces ---------------------------------------------------------------------------------------------------------------- */

static void piece_done(struct bio *bio)
{
	struct piece *p = container_of(bio, struct piece, bio);
	struct cset *c = p->rq->c;

	if (p->from_cache) {
		uint64_t ptr = p->key.k.ptr[0];
		bool stale = ptr_stale(c, ptr);

		if (!bio->error && !stale)
			bio->error = extent_csum_verify(c, ptr_sector(ptr) + (p->start - bkey_start(&p->key.k)),
							read_memory(p->rq, p->start), bio->nr_sectors);
		ptr_bucket(c, ptr)->readers--;
		cache_io_account(c, bio);
		if (!bio->error && stale) {
			p->raced = true;
			c->cache_read_races++;
		}
	} else {
		writeback_note_foreground(p->rq->d, bio);
		if (bio->error)
			bdev_io_error(p->rq->d, "reading", bio->error);
	}
	latch_done(&p->rq->latch, 0); /* each piece is judged by its own bio */
}

/* Read [cursor, end) from sector of dev. Does not yield. */
static void piece_submit(struct read *rq, struct piece *p, struct blkdev *dev, uint64_t sector, uint64_t end)
{
	uint64_t start = rq->cursor;

	p->rq = rq;
	p->start = start;
	p->raced = false;
	rq->nr++;
	rq->cursor = end;
	latch_add(&rq->latch, 1);
	bio_init(&p->bio, dev, BIO_READ, sector, read_memory(rq, start), end - start, 0, piece_done);
	blk_submit(&p->bio);
}

/* The reader's reference is taken while the key is known to be in the index: the bucket cannot be reused before piece_done() (R2.1). */
static void read_hit(struct read *rq, const struct bkey *k)
{
	struct piece *p = &rq->pieces[rq->nr];
	struct bucket *b = ptr_bucket(rq->c, k->ptr[0]);

	assert(b->readers < UINT16_MAX);
	b->readers++;
	bucket_set_prio(&rq->c->alloc, b, PRIO_INITIAL);
	p->from_cache = true;
	rq->dirty |= bkey_dirty(k);
	bkey_copy(&p->key.k, k);
	piece_submit(rq, p, rq->c->cache, ptr_sector(k->ptr[0]) + (rq->cursor - bkey_start(k)), min(rq->end, bkey_offset(k)));
}

enum step {
	STEP_NEXT,
	STEP_RESTART,	/* the leaf was changed: iterators into it are invalid */
	STEP_MAKE_ROOM, /* the placeholder did not fit */
};

/* [cursor, end) is not in the cache. Does not yield. */
static enum step read_miss(struct read *rq, struct bnode *leaf, uint64_t end)
{
	struct piece *p = &rq->pieces[rq->nr];
	uint32_t n = (uint32_t)min(end - rq->cursor, (uint64_t)FILL_SECTORS_MAX);

	rq->missed = true;
	rq->missed_sectors += end - rq->cursor;
	if (bdev_is_flash(rq->d)) {
		memset(read_memory(rq, rq->cursor), 0, fill_bytes(rq->cursor, end));
		rq->cursor = end;
		return STEP_NEXT;
	}
	p->from_cache = false;
	if (fill_allowed(rq, n)) {
		if (!fill_place_check(rq, leaf, n)) {
			rq->may_fill = false; /* one fill per request */
			rq->fill_piece = rq->nr;
			rq->c->fill_bytes += (size_t)n * SECTOR_BYTES;
			rq->missed_sectors -= end - rq->cursor - n; /* the rest is looked up again */
			piece_submit(rq, p, rq->d->backing, rq->cursor, rq->cursor + n);
			return STEP_RESTART;
		}
		if (rq->room_tries++ < ROOM_TRIES_MAX) {
			rq->missed_sectors -= end - rq->cursor;
			return STEP_MAKE_ROOM;
		}
		rq->may_fill = false;
	}
	piece_submit(rq, p, rq->d->backing, rq->cursor, end);
	return STEP_NEXT;
}

/* The next extent behind the cursor that can be read; NULL at the end of the leaf or of the device. */
static const struct bkey *next_live(struct read *rq, struct bkeys_iter *it)
{
	const struct bkey *k;

	while ((k = bkeys_iter_peek(it))) {
		if (bkey_inode(k) != rq->d->inode)
			return NULL;
		if (bkey_offset(k) > rq->cursor && extent_live(rq->c, k))
			return k;
		(void)bkeys_iter_next(it); /* what was peeked */
	}
	return NULL;
}

/* Submit pieces for what this leaf says about [cursor, end). Does not yield: the leaf and its keys stay as they are. */
static enum step read_leaf(struct read *rq, struct bnode *leaf)
{
	struct bpos bound = bnode_bound(leaf);
	uint64_t leaf_end = bound.inode == rq->d->inode ? min(bound.offset, rq->end) : rq->end;
	struct bkeys_iter it;

	bkeys_iter_init(&it, &leaf->keys, bpos(rq->d->inode, rq->cursor));
	while (rq->cursor < leaf_end && rq->nr < READ_PIECES) {
		const struct bkey *k = next_live(rq, &it);
		uint64_t hole_end = k ? min(bkey_start(k), leaf_end) : leaf_end;

		if (hole_end > rq->cursor) {
			enum step step = read_miss(rq, leaf, hole_end);

			if (step != STEP_NEXT)
				return step;
		} else {
			read_hit(rq, k);
		}
	}
	return STEP_NEXT;
}

/* Fill the array of pieces. Waits for btree nodes, with pieces in flight; they need nothing from us. */
static int read_submit(struct read *rq)
{
	while (rq->cursor < rq->end && rq->nr < READ_PIECES) {
		struct bpos pos = bpos(rq->d->inode, rq->cursor);
		struct bnode *leaf;
		enum step step;
		int r = btree_leaf(rq->c, pos, &leaf);

		if (r < 0)
			return r;
		no_yield_begin();
		step = read_leaf(rq, leaf);
		no_yield_end();
		if (step == STEP_MAKE_ROOM && btree_make_room(rq->c, pos, BKEYS_INSERT_ROOM) < 0)
			rq->may_fill = false; /* a read does not need room */
	}
	return 0;
}

/* --- judging --------------------------------------------------------------------------------------------------------------- */

/*
 * The cache could not read a clean extent: make readers go to backing, unless the extent is no longer what we read (compare-and-swap). Not
 * journalled: if it comes back after a crash, it is the same clean extent. Unless it was overwritten since: strict write-through has to know.
 * The range is held, as by everybody who changes what is indexed: moving gc may be about to swap just this extent (request/swap.h). Who finds it
 * busy leaves the extent alone; the next reader tries again.
 */
static void __attribute__((noinline)) drop_extent(struct bdev *d, const struct bkey *k, uint64_t start, uint64_t end)
{
	struct cset *c = d->set;
	struct keylist keys;
	struct bkey_buf hole;
	struct range range;

	if (!range_try_acquire(&d->ranges, &range, start, end))
		return;

	bkey_init(&hole.k, bkey_inode(k), end, (uint32_t)(end - start));
	keylist_init(&keys, BKEY_WORDS_MAX);
	keylist_push(&keys, &hole.k);
	c->copies_dropped = true;
	if (btree_insert(c, &keys, 0, k) < 0) {
		/* overwritten meanwhile, or the set has failed, or there is no room to say so: then each reader finds out by himself */
	}
	range_release(&d->ranges, &range);
}

/* Waits for the backing device and the btree. */
static int piece_settle(struct read *rq, struct piece *p)
{
	struct bdev *d = rq->d;
	uint64_t end = p->start + p->bio.nr_sectors;
	int r;

	if (p->raced) {
		rq->redo = min(rq->redo, p->start);
		return 0;
	}
	if (!p->bio.error)
		return 0;
	if (!p->from_cache || bkey_dirty(&p->key.k) || bdev_is_flash(d))
		return -EIO;
	r = blk_read(d->backing, p->start, read_memory(rq, p->start), end - p->start);
	if (r < 0) {
		bdev_io_error(d, "reading", r);
		return -EIO;
	}
	drop_extent(d, &p->key.k, p->start, end);
	return 0;
}

/* Wait for the pieces in flight and judge them. Afterwards the array is empty, and cursor says how far the data is right. */
static int read_settle(struct read *rq)
{
	int result = 0;

	(void)latch_wait(&rq->latch);
	rq->redo = UINT64_MAX;
	for (unsigned i = 0; i < rq->nr; i++) {
		int r = piece_settle(rq, &rq->pieces[i]);

		if (r < 0 && !result)
			result = r;
	}
	if (rq->fill_piece != NO_PIECE)
		fill_prepare(rq);
	rq->nr = 0;
	if (rq->redo != UINT64_MAX) {
		rq->cursor = rq->redo;
		if (rq->races++ == READ_RACES_MAX && !result)
			result = -EIO;
	}
	return result;
}

static int read_backing(struct bdev *d, char *buf, uint64_t start, uint64_t end)
{
	int r = blk_read(d->backing, start, buf, end - start);

	if (r < 0) {
		bdev_io_error(d, "reading", r);
		return -EIO;
	}
	return 0;
}

/* The index cannot be read, so nobody knows which sectors are dirty: only a device without any may go on (R2.2). */
static int read_without_index(struct read *rq)
{
	if (bdev_is_flash(rq->d) || rq->d->writeback.has_dirty)
		return -EIO;
	return read_backing(rq->d, read_memory(rq, rq->cursor), rq->cursor, rq->end);
}

static void count(const struct read *rq, enum stat_counter s, uint64_t n)
{
	stat_add(&rq->d->stats, s, n);
	stat_add(&rq->c->stats, s, n);
}

static enum io_path read_count(const struct read *rq, bool bypass)
{
	uint64_t all = rq->end - rq->start, missed = min(rq->missed_sectors, all); /* after a race some were looked up twice */

	if (bypass) {
		count(rq, rq->missed ? STAT_BYPASS_MISSES : STAT_BYPASS_HITS, 1);
		return PATH_READ_BYPASS;
	}
	count(rq, rq->missed ? STAT_MISSES : STAT_HITS, 1);
	count(rq, STAT_HIT_SECTORS, all - missed);
	count(rq, STAT_MISS_SECTORS, missed);
	return rq->missed ? PATH_READ_MISS : PATH_READ_HIT;
}

static void read_init(struct read *rq, struct bdev *d, char *buf, uint64_t start, uint64_t end)
{
	rq->d = d;
	rq->c = d->set;
	rq->buf = buf;
	rq->start = rq->cursor = start;
	rq->end = end;
	rq->missed = rq->dirty = false;
	rq->missed_sectors = 0;
	rq->room_tries = rq->races = 0;
	rq->fill_piece = NO_PIECE;
	rq->fill = NULL;
	rq->nr = 0;
	latch_init(&rq->latch);
}

/* Everything of rq, round by round. Waits for disks and btree nodes. */
static int read_all(struct read *rq)
{
	int r = 0;

	while (!r && rq->cursor < rq->end) {
		int index_error = read_submit(rq);

		r = read_settle(rq);
		if (!r && index_error)
			return read_without_index(rq);
	}
	return r;
}

/* Where the two differ, or end. Whoever reads this message wants to look at the sector on both devices. */
static uint64_t first_difference(const char *a, const char *b, uint64_t start, uint64_t end)
{
	while (start < end && !memcmp(a, b, SECTOR_BYTES)) {
		a += SECTOR_BYTES;
		b += SECTOR_BYTES;
		start++;
	}
	return start;
}

/*
 * R2.3: the cache and the backing device must agree about what is clean. What was just read may have been overwritten since, so it is read again,
 * from both, while nobody writes: holds the range. Errors and lack of memory prove nothing. -EIO: they differ; the set has failed.
 */
static int __attribute__((noinline)) read_verify(struct bdev *d, uint64_t start, uint64_t end)
{
	size_t bytes = fill_bytes(start, end);
	uint64_t at = end;
	struct range range;
	struct read rq;
	void *buf;

	if (posix_memalign(&buf, PAGE_BYTES, 2 * bytes))
		return 0;
	range_acquire(&d->ranges, &range, start, end);
	read_init(&rq, d, buf, start, end);
	rq.stream = 0;
	rq.may_fill = false;
	if (!read_all(&rq) && !rq.missed && !rq.dirty && blk_read(d->backing, start, (char *)buf + bytes, end - start) >= 0)
		at = first_difference(buf, (char *)buf + bytes, start, end);
	range_release(&d->ranges, &range);
	free(buf);
	if (at == end)
		return 0;
	cset_error(d->set, "verify: the cache and '%s' differ in sector %llu, which is clean", d->backing->path, (unsigned long long)at);
	return -EIO;
}

/* Holds a count of the device, for internal reads a range. Waits for disks and btree nodes; to verify, for a range. */
int request_read(struct bdev *d, void *buf, uint64_t start, uint64_t end, const struct bcf_io *io, enum io_path *ret_path)
{
	struct read rq;
	bool internal = !ret_path, bypass = internal;
	int r;

	if (!d->set || (d->set->io_disable && !bdev_is_flash(d) && !d->writeback.has_dirty))
		return read_backing(d, buf, start, end);
	read_init(&rq, d, buf, start, end);
	if (!internal && !bdev_is_flash(d))
		bypass = request_bypass(d, start, end, false, io) != BYPASS_NO;
	rq.stream = request_stream(io);
	rq.may_fill = !bypass;
	r = read_all(&rq);
	if (!internal)
		*ret_path = read_count(&rq, bypass);
	if (rq.fill && fiber_spawn_detached("fill", fill_main, rq.fill) < 0)
		fill_free(rq.fill);
	if (!r && d->verify && !internal && !rq.missed && !rq.dirty)
		r = read_verify(d, start, end);
	return r;
}
