/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/movinggc.h"

#include <stdlib.h>

#include "core/admin/log.h"
#include "core/request/insert.h"
#include "core/request/swap.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"

#define MOVES 64
#define BUF_SECTORS 2048u
#define MOVE_STREAM (1ull << 62) /* a write point that no client has */
#define PAUSE_NS (5 * NS_PER_MS)

/* Part of a key on its way. */
struct move {
	struct pass *p;
	struct bkey_buf old, new; /* the same sectors; new pins its bucket */
	struct bio bio;
	char *data;
	int error;
	struct swap_key swap;
};

struct pass {
	struct cset *c;
	bool dirty_only;
	uint64_t budget;	 /* sectors that fit into the reserve */
	uint32_t nr_with[BUCKET_SECTORS_USED_MAX + 1]; /* candidates by sectors_used */
	struct bpos pos;	 /* where the walk goes on */

	/* the batch */
	struct latch latch;
	struct swap swap;
	char *buf;		 /* BUF_SECTORS */
	uint32_t buf_used;
	unsigned nr, max_moves;
	struct move moves[MOVES];
};

static bool ends(const struct cset *c) { return c->moving.stopping || c->io_disable; }

/* --- choosing buckets ---------------------------------------------------------------------------------------------------- */

static bool is_candidate(const struct pass *p, const struct bucket *b)
{
	uint32_t full = min(p->c->g.bucket_sectors, (uint32_t)BUCKET_SECTORS_USED_MAX);

	return !b->pin && b->sectors_used && b->sectors_used < full &&
	       (b->mark == MARK_DIRTY || (b->mark == MARK_RECLAIMABLE && !p->dirty_only));
}

/* fn for each bucket, in slices. False: figures are void (a gc counts), or the set ends. */
static FIBER_FN bool each_bucket(struct pass *p, void (*fn)(struct pass *p, struct bucket *b, uint32_t limit), uint32_t limit)
{
	struct cset *c = p->c;

	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++) {
		if (!c->alloc.gc_mark_valid || ends(c))
			return false;
		fn(p, &c->alloc.buckets[b], limit);
		if (b % c->alloc.scan_slice == 0)
			fiber_yield();
	}
	return true;
}

static void count(struct pass *p, struct bucket *b, uint32_t limit)
{
	b->move = false; /* of an earlier pass */
	p->nr_with[b->sectors_used] += is_candidate(p, b);
}

/* Those with less than limit fit all. */
static void flag(struct pass *p, struct bucket *b, uint32_t limit)
{
	if (!is_candidate(p, b) || b->sectors_used > limit || b->sectors_used > p->budget)
		return;
	p->budget -= b->sectors_used;
	b->move = true;
	p->c->moving.nr_buckets++;
}

/* Flag the emptiest buckets, as many as fit. False: none, or too few to gain anything. */
static FIBER_FN bool choose(struct pass *p)
{
	struct cset *c = p->c;
	uint32_t limit = 0;
	uint64_t nr = 0, sectors = 0;

	if (!each_bucket(p, count, 0))
		return false;
	p->budget = (uint64_t)c->alloc.free[RESERVE_MOVINGGC].nr * c->g.bucket_sectors;
	for (uint32_t used = 1; used <= BUCKET_SECTORS_USED_MAX; used++) {
		uint64_t n = min((uint64_t)p->nr_with[used], (p->budget - sectors) / used);

		nr += n;
		sectors += n * used;
		limit = n ? used : limit;
		if (n < p->nr_with[used])
			break;
	}
	if (nr < div_round_up_u64(sectors, c->g.bucket_sectors) + 1)
		return false;
	return each_bucket(p, flag, limit);
}

/* --- collecting a batch -------------------------------------------------------------------------------------------------- */

static bool wanted(const struct pass *p, const struct bkey *k)
{
	return extent_live(p->c, k) && bkey_ptrs(k) == 1 && bkey_inode(k) < p->c->g.nr_uuids &&
	       ptr_bucket(p->c, k->ptr[0])->move && (bkey_dirty(k) || !p->dirty_only);
}

static bool batch_full(const struct pass *p)
{
	return p->nr == p->max_moves || p->buf_used + max(p->c->g.block_sectors, (uint32_t)PAGE_SECTORS) > BUF_SECTORS;
}

static void read_done(struct bio *bio)
{
	struct move *m = container_of(bio, struct move, bio);
	struct cset *c = m->p->c;
	struct bucket *source = ptr_bucket(c, m->old.k.ptr[0]);

	if (!bio->error)
		bio->error = extent_csum_verify(c, ptr_sector(m->old.k.ptr[0]), m->data, bkey_size(&m->old.k));
	cache_io_account(c, bio);
	m->error = bio->error;
	if (bio->error)
		source->move = false; /* the rest of it may be no better, and it does not become free any more */
	latch_done(&m->p->latch, 0);
}

/* Take a place for the front of `rest`, as much as fits, start reading it, and cut it off. Does not yield. */
static int move_add(struct pass *p, struct bkey *rest)
{
	struct cset *c = p->c;
	struct move *m = &p->moves[p->nr];
	uint32_t inode = bkey_inode(rest), want = min(bkey_size(rest), (BUF_SECTORS - p->buf_used) / c->g.block_sectors * c->g.block_sectors);
	bool flash = uuid_entry_state(&c->uuids[inode]) == UUID_SLOT_FLASH;
	uint64_t end = bkey_start(rest) + want;
	int r;

	m->p = p;
	bkey_init(&m->new.k, inode, bkey_start(rest), 0);
	r = open_bucket_take(c, &m->new.k, (uint32_t)round_up_u64(want, c->g.block_sectors), MOVE_STREAM, flash, RESERVE_MOVINGGC);
	if (r < 0)
		return r;
	if (bkey_offset(&m->new.k) > end)
		bkey_cut_back(&m->new.k, bpos(inode, end));
	if (bkey_dirty(rest)) {
		bkey_set_dirty(&m->new.k, true);
		ptr_bucket(c, m->new.k.ptr[0])->mark = MARK_DIRTY; /* before it is indexed: nobody may think it droppable */
	}
	bkey_copy(&m->old.k, rest);
	bkey_cut_back(&m->old.k, bkey_pos(&m->new.k));
	bkey_cut_front(rest, bkey_pos(&m->new.k));
	m->data = p->buf + (size_t)p->buf_used * SECTOR_BYTES;
	p->buf_used += (uint32_t)round_up_u64(bkey_size(&m->new.k), PAGE_SECTORS);
	p->nr++;
	ptr_bucket(c, m->old.k.ptr[0])->readers++; /* until it is swapped: gc drops keys of an emptied bucket, and a journalled swap must find its key */
	latch_add(&p->latch, 1);
	bio_init(&m->bio, c->cache, BIO_READ, ptr_sector(m->old.k.ptr[0]), m->data, bkey_size(&m->old.k), 0, read_done);
	blk_submit(&m->bio);
	return 0;
}

/* 0: the leaf is done; 1: the batch is full; -EAGAIN: no bucket. Does not yield. */
static int collect_leaf(struct pass *p, struct bnode *n)
{
	struct bkeys_iter it;
	const struct bkey *k;

	bkeys_iter_init(&it, &n->keys, p->pos);
	while ((k = bkeys_iter_next(&it))) {
		struct bkey_buf rest;

		if (!wanted(p, k))
			continue;
		bkey_copy(&rest.k, k);
		if (bpos_cmp(bkey_start_pos(k), p->pos) < 0)
			bkey_cut_front(&rest.k, p->pos);
		while (bkey_size(&rest.k)) {
			int r = batch_full(p) ? 1 : move_add(p, &rest.k);

			if (r)
				return r;
			p->pos = bkey_start_pos(&rest.k);
		}
	}
	return 0;
}

/* Fill the batch and start reading. 1: there is more; 0: this is the last one; -errno: likewise, and the pass ends. Waits for btree nodes. */
static FIBER_FN int collect(struct pass *p)
{
	for (;;) {
		struct bnode *n;
		struct bpos bound;
		int r = ends(p->c) ? -EINTR : btree_leaf(p->c, p->pos, &n);

		if (r < 0)
			return r;
		bound = bnode_bound(n);
		r = collect_leaf(p, n);
		if (r || bpos_cmp(bound, BPOS_MAX) >= 0)
			return r;
		p->pos = bound;
		fiber_yield();
	}
}

/* --- moving a batch ------------------------------------------------------------------------------------------------------ */

static void write_done(struct bio *bio)
{
	struct move *m = container_of(bio, struct move, bio);

	cache_io_account(m->p->c, bio);
	m->error = bio->error;
	latch_done(&m->p->latch, 0);
}

static void write_all(struct pass *p)
{
	struct cset *c = p->c;

	for (unsigned i = 0; i < p->nr; i++) {
		struct move *m = &p->moves[i];
		const struct bkey *k = &m->new.k;

		if (m->error)
			continue;
		c->data_sectors_written += bkey_size(k);
		data_csum_note(c, c->devices[bkey_inode(k)], ptr_sector(k->ptr[0]), m->data, bkey_size(k));
		latch_add(&p->latch, 1);
		bio_init(&m->bio, c->cache, BIO_WRITE, ptr_sector(k->ptr[0]), m->data, bkey_size(k), 0, write_done);
		blk_submit(&m->bio);
	}
}

/* Waits as swaps do. */
static FIBER_FN int swap_all(struct pass *p)
{
	struct movinggc *g = &p->c->moving;
	int r = 0, e;

	swap_init(&p->swap, p->c);
	for (unsigned i = 0; i < p->nr && r >= 0; i++) {
		struct move *m = &p->moves[i];

		r = m->error ? 0 : swap_add(&p->swap, &m->swap, &m->old.k, &m->new.k);
		if (r > 0) {
			g->nr_keys++;
			g->nr_sectors += bkey_size(&m->new.k);
		} else {
			g->nr_failed++;
		}
	}
	e = swap_commit(&p->swap);
	return r < 0 ? r : e;
}

/* 1: there is more to do. Waits for the cache device, the journal and the btree, never for buckets of data. */
static FIBER_FN int move_batch(struct pass *p)
{
	int more, r;

	p->nr = 0;
	p->buf_used = 0;
	latch_init(&p->latch);
	more = collect(p);
	(void)latch_wait(&p->latch); /* outcomes are in moves[].error */
	write_all(p);
	(void)latch_wait(&p->latch); /* as above */
	r = swap_all(p);
	for (unsigned i = 0; i < p->nr; i++) {
		bucket_unpin(ptr_bucket(p->c, p->moves[i].new.k.ptr[0]));
		ptr_bucket(p->c, p->moves[i].old.k.ptr[0])->readers--;
	}
	return r < 0 ? r : more;
}

/* --- a pass -------------------------------------------------------------------------------------------------------------- */

static bool has_volumes(const struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++)
		if (uuid_entry_state(&c->uuids[slot]) == UUID_SLOT_FLASH)
			return true;
	return false;
}

/*
 * Nodes that swaps split must not have to wait for buckets that only we can make free. The last swap of a batch must still find what it asks for
 * when all before it have split their whole paths.
 */
static unsigned moves_max(const struct cset *c)
{
	uint32_t have = bucket_alloc_available(c, RESERVE_BTREE), need = min(btree_reserve_need(c), c->alloc.free[RESERVE_BTREE].cap);

	return have < need ? 0 : min(1 + (have - need) / (c->btree.root->level + 2u), (uint32_t)MOVES);
}

static FIBER_FN void run_pass(struct pass *p)
{
	struct cset *c = p->c;

	if (!choose(p))
		return;
	c->moving.nr_passes++;
	while (!ends(c) && (p->max_moves = moves_max(c)) && move_batch(p) > 0)
		if (c->requests_in_flight && wait_queue_empty(&c->alloc.bucket_wait))
			ignore_result(wait_queue_wait_timeout(&c->moving.work, PAUSE_NS)); /* elapsed or stopping: go on */
	if (c->alloc.invalidate_needs_gc)
		alloc_wake(c); /* another gc would find something now */
}

static FIBER_FN void pass(struct cset *c)
{
	struct pass *p;
	void *buf;

	if (!c->copy_gc_enabled && !has_volumes(c))
		return;
	p = calloc(1, sizeof(*p));
	if (!p || posix_memalign(&buf, PAGE_BYTES, (size_t)BUF_SECTORS * SECTOR_BYTES)) {
		free(p);
		log_warn("cache set %s: no memory to move data: buckets stay as they are until after the next gc", c->uuid_text);
		return;
	}
	p->c = c;
	p->buf = buf;
	p->dirty_only = !c->copy_gc_enabled;
	run_pass(p);
	free(p->buf);
	free(p);
}

static void mover(void *arg)
{
	struct cset *c = arg;
	struct movinggc *m = &c->moving;

	while (!ends(c)) {
		if (m->gc_seen == c->gc.runs_finished) {
			wait_queue_wait(&m->work);
			continue;
		}
		m->gc_seen = c->gc.runs_finished;
		m->running = true;
		uint64_t before = m->nr_sectors;
		pass(c);
		m->running = false;
		if (m->nr_sectors != before)
			gc_hurry(c); /* the sources are free as soon as one more has looked */
	}
}

void movinggc_init(struct cset *c) { wait_queue_init(&c->moving.work); }

int movinggc_start(struct cset *c)
{
	c->moving.fiber = fiber_spawn("moving gc", mover, c);
	return c->moving.fiber ? 0 : -ENOMEM;
}

void movinggc_stop(struct cset *c)
{
	c->moving.stopping = true;
	movinggc_wake(c);
	if (c->moving.fiber)
		fiber_join(c->moving.fiber);
	c->moving.fiber = NULL;
}

void movinggc_wake(struct cset *c) { wake_all(&c->moving.work); }
