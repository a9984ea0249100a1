/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/gc.h"

#include "core/set/bdev.h"
#include "core/set/cset.h"

#define GC_STALE_REWRITE 10
#define GC_MIN_NODES 100     /* nodes between pauses, at least */
#define GC_MAX_PAUSES 100    /* per run */
#define GC_PAUSE_NS (100 * NS_PER_MS)
#define GC_AFTER_WRITEBACK_IN_USE_PERCENT 50
#define GC_FUTILE_PAUSE_MIN_NS (1 * NS_PER_MS)
#define GC_FUTILE_PAUSE_MAX_NS (100 * NS_PER_MS)

/* --- marking ----------------------------------------------------------------------------------------------------------- */

static int inconsistent(struct cset *c, unsigned level, const struct bkey *k, unsigned mark)
{
	static const char *const names[] = { "nothing", "clean data", "dirty data", "metadata" };
	char text[160];
	struct printbuf pb = PRINTBUF(text);

	bkey_to_text(&pb, k);
	return cset_error(c, "bucket of '%s' is marked as %s, but a key of level %u points into it: %s", c->cache->path, names[mark], level,
			  text);
}

static void mark_bucket(struct cset *c, unsigned level, const struct bkey *k, struct bucket *b)
{
	if (b->mark != MARK_NONE && (b->mark == MARK_METADATA) != (level > 0)) {
		inconsistent(c, level, k, b->mark);
		return;
	}
	if (level)
		b->mark = MARK_METADATA;
	else if (bkey_dirty(k))
		b->mark = MARK_DIRTY;
	else if (b->mark == MARK_NONE)
		b->mark = MARK_RECLAIMABLE;
	b->sectors_used = (uint16_t)min(b->sectors_used + bkey_size(k), (uint32_t)BUCKET_SECTORS_USED_MAX);
}

static uint8_t mark_ptr(struct cset *c, unsigned level, const struct bkey *k, uint64_t ptr)
{
	struct bucket *b = ptr_bucket(c, ptr);
	uint8_t stale = gen_after(b->gen, ptr_gen(ptr));

	if (gen_after(b->last_gc, ptr_gen(ptr))) /* for stale pointers too: this is what keeps gens from wrapping (R3.2) */
		b->last_gc = ptr_gen(ptr);
	if (stale > BUCKET_GC_GEN_MAX) {
		char text[160];
		struct printbuf pb = PRINTBUF(text);

		bkey_to_text(&pb, k);
		cset_error(c, "key of '%s' is %u generations too old, at most %d are possible: %s", c->cache->path, stale,
			   BUCKET_GC_GEN_MAX, text);
	}
	if (!stale)
		mark_bucket(c, level, k, b);
	return stale;
}

/* None is newer than its bucket; one that seems to be has been left behind by more than half the gens there are. */
static uint8_t marker_stale(const struct cset *c, uint64_t ptr)
{
	return ptr_gen(ptr) != ptr_bucket(c, ptr)->gen && !ptr_stale(c, ptr) ? UINT8_MAX : ptr_stale(c, ptr);
}

uint8_t gc_mark_key(struct cset *c, unsigned level, const struct bkey *k)
{
	uint8_t stale = 0;

	if (level && bkey_is_zero_pos(k)) /* freed marker: no mark, but it counts as a reason to rewrite (R7.3) */
		return marker_stale(c, k->ptr[0]);
	if (!bkey_size(k))
		return 0;
	bkey_for_each_ptr(k, i)
		if (ptr_available(k->ptr[i]))
			stale = max(stale, mark_ptr(c, level, k, k->ptr[i]));
	return stale;
}

void gc_hold_back_markers(struct cset *c, struct bnode *n)
{
	struct bkeys_iter it;
	struct bkey *k;

	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it)) && bkey_is_zero_pos(k)) {
		struct bucket *b = ptr_bucket(c, k->ptr[0]);
		uint8_t stale = min(ptr_stale(c, k->ptr[0]), (uint8_t)(BUCKET_GC_GEN_MAX - 1));

		if (stale > (uint8_t)(b->gen - b->last_gc))
			b->last_gc = (uint8_t)(b->gen - stale);
	}
}

static void mark_metadata(struct cset *c, uint64_t b)
{
	struct bucket *k = cset_bucket(c, b);

	k->mark = MARK_METADATA;
	bucket_set_prio(&c->alloc, k, PRIO_BTREE);
}

static void mark_writeback_key(void *ctx, const struct bkey *k)
{
	struct cset *c = ctx;

	bkey_for_each_ptr(k, i)
		if (ptr_available(k->ptr[i]) && !ptr_stale(c, k->ptr[i]))
			ptr_bucket(c, k->ptr[i])->mark = MARK_DIRTY;
}

void gc_finish(struct cset *c)
{
	struct alloc *a = &c->alloc;

	no_yield_begin();
	if (bkey_ptrs(&c->uuid_bucket.k))
		mark_metadata(c, geometry_bucket(&c->g, ptr_sector(c->uuid_bucket.k.ptr[0])));
	for (uint32_t i = 0; i < c->super->keys; i++)
		mark_metadata(c, c->super->d[i]);
	for (uint32_t i = 0; i < c->g.nr_prio_buckets; i++) {
		if (a->prio_buckets[i])
			mark_metadata(c, a->prio_buckets[i]);
		if (a->prio_last[i])
			mark_metadata(c, a->prio_last[i]);
	}
	/* A key may have been cleaned in the tree while the writer still reads its bucket (I-18). */
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++)
		if (c->devices[slot] && !bdev_is_flash(c->devices[slot]))
			writeback_for_each_key(c->devices[slot], mark_writeback_key, c);
	a->gc_mark_valid = true;
	a->invalidate_needs_gc = false;
	slots_count_end(c);
	c->gc.sectors_to_gc = (int64_t)max(1ull, c->g.nr_buckets * c->g.bucket_sectors / 16);
	no_yield_end();
	alloc_wake(c);
	alloc_recount(c);
}

/* --- one run ----------------------------------------------------------------------------------------------------------- */

static bool gc_ends(const struct cset *c) { return c->gc.stopping || c->io_disable; }

static void begin_slice(struct cset *c, uint64_t from, uint64_t end)
{
	struct alloc *a = &c->alloc;

	for (uint64_t b = from; b < end; b++) {
		struct bucket *k = &a->buckets[b];

		k->reclaimable_in_gc = bucket_can_invalidate(c, k);
		k->last_gc = k->gen;
		k->sectors_last = k->sectors_used;
		if (!k->pin && !k->bad) { /* bad ones are METADATA for good; pinned ones keep their mark: their keys may not be in the tree yet */
			k->mark = MARK_NONE;
			k->sectors_used = 0;
		}
	}
	a->counting_below = max(a->counting_below, end);
}

/* After a run that was broken off, the marks of all buckets are void already: counting_below stays where it is. */
static FIBER_FN int begin(struct cset *c)
{
	struct alloc *a = &c->alloc;

	if (a->gc_mark_valid)
		a->counting_below = 0;
	a->gc_mark_valid = false;
	for (uint64_t b = 0; b < c->g.nr_buckets; b += a->scan_slice) {
		if (b)
			fiber_yield();
		if (gc_ends(c))
			return -EINTR;
		begin_slice(c, b, min(b + a->scan_slice, c->g.nr_buckets));
	}
	c->gc.counting = (struct gc_stats){ 0 };
	slots_count_begin(c);
	return 0;
}

/* What marking found in a node. */
struct found {
	uint64_t keys, dead;
	uint32_t live_words;
	uint8_t stale; /* of the most outdated pointer */
};

/* Mark all keys of a node in one stretch. */
static void mark_node(struct cset *c, struct bnode *n, struct found *f)
{
	struct gc_stats *st = &c->gc.counting;
	struct bkeys_iter it;
	struct bkey *k;

	*f = (struct found){ 0 };
	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it))) {
		bool live = n->level ? !bkey_is_zero_pos(k) && !ptr_stale(c, k->ptr[0]) : extent_live(c, k);

		f->stale = max(f->stale, gc_mark_key(c, n->level, k));
		f->keys++;
		f->dead += !live;
		f->live_words += live ? bkey_words(k) : 0;
		if (live && !n->level) {
			st->data_sectors += bkey_size(k);
			slots_count(c, k);
		}
	}
	if (n == c->btree.root)
		gc_mark_key(c, n->level + 1u, &n->key.k);
	st->nodes++;
	st->keys += f->keys;
	st->dead_keys += f->dead;
	st->key_bytes += bkeys_total_words(&n->keys) * 8ull;
}

static bool worth_rewriting(const struct cset *c, const struct found *f)
{
	return c->gc.always_rewrite || f->stale > GC_STALE_REWRITE || (f->keys > 8 && f->dead > f->keys / 2);
}

/* The nodes last seen at one level, for coalescing. */
struct trail {
	unsigned nr;
	struct bpos bound[COALESCE_NODES];
	uint32_t live_words[COALESCE_NODES];
};

struct gc_walk {
	struct cset *c;
	uint64_t since_pause;
	struct trail trail[BTREE_DEPTH_MAX + 1];
};

/* Be polite to requests, but only so many times per run, or gc of a huge tree would starve the allocator. */
static void pace(struct gc_walk *w)
{
	struct cset *c = w->c;
	uint64_t step = max((uint64_t)GC_MIN_NODES, c->gc.last.nodes / GC_MAX_PAUSES);

	if (++w->since_pause < step || !c->requests_in_flight) {
		fiber_yield();
		return;
	}
	w->since_pause = 0;
	ignore_result(wait_queue_wait_timeout(&c->gc.work, GC_PAUSE_NS)); /* elapsed or stopping: go on */
}

static void trail_push(struct trail *t, struct bpos bound, uint32_t live_words)
{
	if (t->nr == COALESCE_NODES) {
		t->nr--;
		memmove(t->bound, t->bound + 1, t->nr * sizeof(t->bound[0]));
		memmove(t->live_words, t->live_words + 1, t->nr * sizeof(t->live_words[0]));
	}
	t->bound[t->nr] = bound;
	t->live_words[t->nr++] = live_words;
}

/*
 * Merge the node just passed with those before it, if they fit into fewer (§7.4). All their keys are marked already, and the last bound stays, so the
 * walk goes on behind it as if nothing had happened. The figures are hints; btree_coalesce() looks for itself.
 */
static int coalesce_behind(struct gc_walk *w, unsigned level)
{
	struct trail *t = &w->trail[level];
	uint32_t words = t->live_words[t->nr - 1];

	for (unsigned nr = 2; nr <= t->nr; nr++) {
		struct bpos last = t->bound[t->nr - 1];
		int r;

		words += t->live_words[t->nr - nr];
		if (words > btree_coalesce_target_words(w->c) * (nr - 1))
			continue;
		r = btree_coalesce(w->c, level, t->bound + t->nr - nr, nr);
		if (r < 0)
			return r == -EAGAIN ? 0 : r;
		if (!r)
			continue;
		t->nr = 0;
		if (nr == 2)
			trail_push(t, last, words);
		return 0;
	}
	return 0;
}

/* R7.2, also where a write is under way: until it ends, old keys are what is on the disk. A leaf whose bucket refuses it has to be moved first. */
static int write_leaf(struct cset *c, struct bnode *n)
{
	int r;

	while ((r = bnode_write_sync(n)) == -EIO) {
		if (gc_ends(c))
			return -EINTR;
		r = bnode_move(n);
		if (r < 0 && r != -EAGAIN)
			return r;
		if (r == -EAGAIN)
			ignore_result(wait_queue_wait_timeout(&c->gc.work, NODE_MOVE_PAUSE_NS)); /* elapsed or stopping: look again */
	}
	return r;
}

static int visit(void *ctx, struct bnode *n)
{
	struct gc_walk *w = ctx;
	struct cset *c = w->c;
	struct bpos bound = bnode_bound(n);
	unsigned level = n->level;
	struct found f;
	int r = 0;

	if (gc_ends(c))
		return -EINTR;
	mark_node(c, n, &f);
	if (c->io_disable)
		return -EROFS;
	if (!level && (n->dirty || n->writing))
		r = write_leaf(c, n);
	if (r < 0)
		return r;
	if (worth_rewriting(c, &f) || n->no_append)
		r = btree_rewrite(c, bpos(bound.inode, bound.offset - 1), level, false);
	if (r < 0 && r != -EAGAIN) /* no bucket to spare: marks are complete all the same */
		return r;
	if (level && !n->dead)
		gc_hold_back_markers(c, n);
	trail_push(&w->trail[level], bound, f.live_words);
	r = coalesce_behind(w, level);
	if (r < 0)
		return r;
	pace(w);
	return 0;
}

static int run_once(struct cset *c)
{
	struct gc_walk w = { .c = c };
	uint64_t start = engine_now_ns();
	int r;

	r = begin(c);
	if (!r)
		r = btree_for_each_node(c, visit, &w);
	if (r < 0)
		return r;
	gc_finish(c);
	c->gc.last = c->gc.counting;
	time_stats_update(&c->time_gc, start, engine_now_ns());
	return 0;
}

/* --- the fiber --------------------------------------------------------------------------------------------------------- */

/*
 * The last `futile` runs gave the allocator nothing: do not spin. Something may turn up soon (moves, writeback, buckets whose keys are being
 * inserted), so begin with little, but leave others at least as much time as the runs take.
 */
static void rest_after_futile_run(struct cset *c, unsigned futile, uint64_t run_ns)
{
	uint64_t pause_ns = max(GC_FUTILE_PAUSE_MIN_NS << min(futile, 7u), run_ns);

	ignore_result(wait_queue_wait_timeout(&c->gc.work, min(pause_ns, (uint64_t)GC_FUTILE_PAUSE_MAX_NS))); /* elapsed, hurried or stopping */
}

static void collector(void *arg)
{
	struct cset *c = arg;
	uint64_t invalidated = UINT64_MAX, run_ns = 0;
	unsigned futile = 0;

	while (!gc_ends(c)) {
		if (c->gc.sectors_to_gc >= 0) {
			wait_queue_wait(&c->gc.work);
			continue;
		}
		futile = c->alloc.nr_invalidated == invalidated ? futile + 1 : 0;
		if (futile)
			rest_after_futile_run(c, futile - 1, run_ns);
		if (gc_ends(c))
			break;
		c->gc.sectors_to_gc = 0;
		c->gc.runs_started++;
		c->gc.running = true;
		uint64_t start_ns = engine_now_precise_ns();
		int r = run_once(c);
		run_ns = engine_now_precise_ns() - start_ns;
		c->gc.running = false;
		if (!r)
			c->gc.runs_finished = c->gc.runs_started;
		else
			alloc_wake(c); /* it waits for the end of a run, and would not ask for another */
		invalidated = c->alloc.nr_invalidated;
		wake_all(&c->gc.done);
		movinggc_wake(c);
	}
	wake_all(&c->gc.done);
}

void gc_init(struct cset *c)
{
	wait_queue_init(&c->gc.work);
	wait_queue_init(&c->gc.done);
}

int gc_start(struct cset *c)
{
	c->gc.fiber = fiber_spawn("gc", collector, c);
	return c->gc.fiber ? 0 : -ENOMEM;
}

void gc_stop(struct cset *c)
{
	c->gc.stopping = true;
	wake_all(&c->gc.work);
	if (c->gc.fiber)
		fiber_join(c->gc.fiber);
	c->gc.fiber = NULL;
}

void gc_trigger(struct cset *c)
{
	if (c->gc.sectors_to_gc < 0)
		return;
	c->gc.sectors_to_gc = -1;
	wake_all(&c->gc.work);
}

int gc_run(struct cset *c)
{
	uint64_t wanted = c->gc.runs_started + 1;

	while (c->gc.runs_finished < wanted) {
		if (c->io_disable)
			return -EROFS;
		if (c->gc.stopping)
			return -EINTR;
		gc_trigger(c);
		int r = wait_queue_wait_interruptible(&c->gc.done);
		if (r < 0)
			return r;
	}
	return 0;
}

void gc_note_in_use(struct cset *c)
{
	if (c->gc.after_writeback && alloc_in_use_percent(c) >= GC_AFTER_WRITEBACK_IN_USE_PERCENT)
		c->gc.after_writeback_due = true;
}

void gc_writeback_ended(struct cset *c)
{
	if (!c->gc.after_writeback || !c->gc.after_writeback_due)
		return;
	c->gc.after_writeback_due = false;
	gc_trigger(c);
}

void gc_hurry(struct cset *c) { wake_all(&c->gc.work); }

void gc_account(struct cset *c, uint32_t nr_sectors)
{
	if (c->gc.sectors_to_gc < 0)
		return;
	c->gc.sectors_to_gc -= nr_sectors;
	if (c->gc.sectors_to_gc < 0)
		wake_all(&c->gc.work);
}
