/* SPDX-License-Identifier: GPL-2.0-only */
/* Buckets: which goes first, when it may be written again, and what is kept in stock (behaviour.md §3). */
#include "tests/unit/core/test_core_rig.h"
#include "core/admin/log.h"
#include "core/engine/fiber.h"
#include "core/space/prio_io.h"
#include "tests/unit/core/unit.h"

#define WRITES BLK_SIM_OP(BIO_WRITE)
#define FIRST 100u /* of the buckets that we play with */

/* --- which bucket goes first --------------------------------------------------------------------------------------------- */

/* Nothing can be invalidated, and free_inc is empty. */
static void only_ours(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint32_t b;

	while (fifo_pop(&a->free_inc, &b))
		;
	a->nr_durable = a->nr_candidates = 0;
	a->gc_mark_valid = true;
	for (uint64_t i = 0; i < r->c->g.nr_buckets; i++)
		if (!a->buckets[i].pin)
			a->buckets[i].mark = MARK_METADATA;
}

static struct bucket *ours(struct rig *r, uint32_t n, uint16_t prio, uint16_t sectors)
{
	struct bucket *k = cset_bucket(r->c, FIRST + n);

	*k = (struct bucket){ .mark = MARK_RECLAIMABLE, .sectors_used = sectors };
	bucket_set_prio(&r->c->alloc, k, prio);
	return k;
}

/* Let the policy fill free_inc: which of ours it took, in order. */
static unsigned taken(struct rig *r, uint32_t *ret, unsigned room)
{
	uint32_t b, n = 0, cap = r->c->alloc.free_inc.cap;

	assert_int_equal(r->c->alloc.free_inc.nr, 0);
	r->c->alloc.free_inc.head = 0;
	r->c->alloc.free_inc.cap = min(room, cap);
	invalidate_some(r->c);
	while (fifo_pop(&r->c->alloc.free_inc, &b))
		ret[n++] = b - FIRST;
	r->c->alloc.free_inc.head = 0;
	r->c->alloc.free_inc.cap = cap;
	r->c->alloc.invalidate_needs_gc = true; /* the allocator itself stays away */
	return n;
}

static void body_lru(struct rig *r)
{
	uint32_t t[8];
	uint8_t gen;

	only_ours(r);
	super_set_replacement(r->c->super, REPLACEMENT_LRU);
	ours(r, 0, PRIO_INITIAL - 10, 64);
	ours(r, 1, PRIO_INITIAL - 1000, 64); /* the coldest */
	ours(r, 2, PRIO_INITIAL - 500, 64);
	ours(r, 3, PRIO_INITIAL, 64);
	gen = cset_bucket(r->c, FIRST + 1)->gen;
	r->c->alloc.oldest_epoch = r->c->alloc.epoch - 1000;
	assert_int_equal(taken(r, t, 2), 2);
	assert_int_equal(t[0], 1);
	assert_int_equal(t[1], 2);
	assert_int_equal(cset_bucket(r->c, FIRST + 1)->gen, (uint8_t)(gen + 1));
	assert_int_equal(cset_bucket(r->c, FIRST + 1)->pin, 1);
	assert_int_equal(cset_bucket(r->c, FIRST + 1)->mark, MARK_NONE);
	/* The rest waits in the heap: no second scan; and who is used meanwhile gets away. */
	uint64_t scans = r->c->alloc.nr_scans;

	r->c->alloc.epoch++;
	bucket_set_prio(&r->c->alloc, cset_bucket(r->c, FIRST), PRIO_INITIAL);
	assert_int_equal(taken(r, t, 1), 1);
	assert_int_equal(t[0], 3);
	assert_int_equal(r->c->alloc.nr_scans, scans);
}

/* weight = (prio - min_prio + (32768 - min_prio) / 8) * sectors. Oldest age 800: ages 800, 0 weigh 100 and 900 per sector. */
static void body_weight(struct rig *r)
{
	uint32_t t[8];

	only_ours(r);
	super_set_replacement(r->c->super, REPLACEMENT_LRU);
	r->c->alloc.oldest_epoch = r->c->alloc.epoch - 800;
	ours(r, 0, PRIO_INITIAL - 800, 128); /* 12800 */
	ours(r, 1, PRIO_INITIAL, 14);	     /* 12600: hot, but nearly empty */
	ours(r, 2, PRIO_INITIAL, 15);	     /* 13500 */
	ours(r, 3, PRIO_INITIAL - 800, 0);   /* holds nothing */
	assert_int_equal(taken(r, t, 4), 4);
	assert_int_equal(t[0], 3);
	assert_int_equal(t[1], 1);
	assert_int_equal(t[2], 0);
	assert_int_equal(t[3], 2);
	assert_int_equal(r->c->alloc.oldest_epoch, r->c->alloc.epoch - 800); /* the scan has found min_prio anew */
}

static void body_fifo(struct rig *r)
{
	uint32_t t[8];

	only_ours(r);
	super_set_replacement(r->c->super, REPLACEMENT_FIFO);
	for (uint32_t i = 0; i < 4; i++)
		ours(r, i, (uint16_t)(PRIO_INITIAL - i), (uint16_t)(64 - i));
	r->c->alloc.fifo_cursor = FIRST + 2;
	assert_int_equal(taken(r, t, 3), 3);
	assert_int_equal(t[0], 2);
	assert_int_equal(t[1], 3);
	assert_int_equal(t[2], 0); /* round the end */
	assert_int_equal(taken(r, t, 3), 1);
	assert_int_equal(t[0], 1);
	assert_true(r->c->alloc.invalidate_needs_gc);
}

static void body_random(struct rig *r)
{
	uint32_t t[8];
	unsigned seen = 0, different = 0, first = 0;

	only_ours(r);
	super_set_replacement(r->c->super, REPLACEMENT_RANDOM);
	for (unsigned round = 0; round < 200; round++) {
		for (uint32_t i = 0; i < 4; i++)
			ours(r, i, PRIO_INITIAL, 64);
		if (!taken(r, t, 1)) /* half as many tries as buckets: it may miss all four */
			continue;
		assert_true(t[0] < 4);
		seen |= 1u << t[0];
		different += round && t[0] != first;
		first = t[0];
	}
	assert_int_equal(seen, 15);
	assert_true(different > 50);
}

/* A5, A3 (R3.2, I-17), §7.3 */
static void body_ineligible(struct rig *r)
{
	uint32_t t[8];
	struct bucket *k;

	for (enum replacement policy = REPLACEMENT_LRU; policy <= REPLACEMENT_RANDOM; policy++) {
		only_ours(r);
		super_set_replacement(r->c->super, policy);
		k = ours(r, 0, 1, 1);
		k->pin = 1;
		assert_int_equal(taken(r, t, 1), 0);
		k = ours(r, 0, 1, 1);
		k->readers = 1;
		assert_int_equal(taken(r, t, 1), 0);
		ours(r, 0, 1, 1)->mark = MARK_DIRTY;
		assert_int_equal(taken(r, t, 1), 0);
		ours(r, 0, 1, 1)->mark = MARK_METADATA;
		assert_int_equal(taken(r, t, 1), 0);
		k = ours(r, 0, 1, 1);
		k->gen = 20;
		k->last_gc = (uint8_t)(20 - (BUCKET_GC_GEN_MAX - 1)); /* wrapped */
		assert_int_equal(taken(r, t, 1), 0);
		k = ours(r, 0, 1, 1);
		r->c->alloc.gc_mark_valid = false;
		assert_int_equal(taken(r, t, 1), 0);
		r->c->alloc.gc_mark_valid = true;
		ours(r, 0, 1, 1)->mark = MARK_NONE;
		for (unsigned tries = 0; taken(r, t, 1) == 0; tries++)
			assert_true(policy == REPLACEMENT_RANDOM && tries < 100);
		assert_int_equal(t[0], 0);
		ours(r, 0, 1, 1)->reclaimable_in_gc = true; /* W-3: it could be taken when the gc began */
		r->c->alloc.gc_mark_valid = false;
		for (unsigned tries = 0; taken(r, t, 1) == 0; tries++)
			assert_true(policy == REPLACEMENT_RANDOM && tries < 100);
		r->c->alloc.gc_mark_valid = true;
	}
}

static void body_aging(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	struct bucket *k = cset_bucket(r->c, FIRST);
	uint32_t step = (uint32_t)(r->c->g.nr_buckets * r->c->g.bucket_sectors / 1024);

	bucket_set_prio(a, k, PRIO_INITIAL);
	a->rescale = 0;
	for (unsigned i = 0; i < 10; i++)
		alloc_rescale(r->c, step);
	assert_int_equal(bucket_prio(a, k), PRIO_INITIAL - 10);
	bucket_set_prio(a, k, 5);
	assert_int_equal(bucket_prio(a, k), 5);
	a->epoch += 5;
	assert_int_equal(bucket_prio(a, k), 0); /* and there it stays */
	a->epoch += 100000;
	assert_int_equal(bucket_prio(a, k), 0);
	bucket_set_prio(a, k, PRIO_BTREE);
	a->epoch += 7;
	assert_int_equal(bucket_prio(a, k), PRIO_BTREE);
	bucket_set_prio(a, k, 40000); /* no such thing; from disk */
	assert_int_equal(bucket_prio(a, k), PRIO_INITIAL);
}

/* --- R3.1, R3.3, R3.5 ------------------------------------------------------------------------------------------------------ */

/* The gen that a recovery would find for bucket b, if power went now. */
static uint8_t durable_gen(struct rig *r, uint32_t b)
{
	const struct geometry *g = &r->c->g;
	uint32_t i = b / g->prios_per_bucket;
	uint32_t before = r->c->alloc.prio_last[i]; /* while the newest chain is not durable yet */
	struct prio_set *p = malloc(g->meta_bytes);
	uint8_t gen;

	blk_sim_peek_durable(r->cache, geometry_sector(g, before ? before : r->c->alloc.prio_buckets[i]), p, g->meta_bytes / SECTOR_BYTES);
	assert_int_equal(prio_set_validate(p, g->meta_bytes, r->c->set_magic, NULL), 0);
	gen = p->records[b % g->prios_per_bucket].gen;
	free(p);
	return gen;
}

/* Take data buckets until there are none. */
static unsigned take_all(struct rig *r)
{
	unsigned n = 0;
	uint32_t b;

	while (!bucket_alloc(r->c, RESERVE_NONE, &b)) {
		assert_int_equal(durable_gen(r, b), cset_bucket(r->c, b)->gen); /* R3.1 */
		n++;
	}
	return n;
}

static void body_durable_gens(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint64_t writes;

	a->invalidate_needs_gc = false;
	for (unsigned round = 0; round < 10; round++) {
		blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = WRITES, .extra_ns = NS_PER_S });
		assert_true(take_all(r) > 0);
		writes = a->nr_prio_writes;
		fiber_sleep_ns(NS_PER_S); /* the next ones are emptied, and their gens on the way */
		assert_true(a->free_inc.nr > 0);
		assert_int_equal(a->nr_prio_writes, writes);
		assert_int_equal(take_all(r), 0);
		blk_sim_clear_faults(r->cache);
		fiber_sleep_ns(10 * NS_PER_S);
	}
}

static void body_blocked(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint64_t writes;

	a->invalidate_needs_gc = false;
	a->prio_blocked = 1; /* a node was freed, and its parent is not written */
	take_all(r);
	writes = a->nr_prio_writes;
	fiber_sleep_ns(60 * NS_PER_S);
	assert_int_equal(a->nr_prio_writes, writes);
	assert_int_equal(take_all(r), 0);
	a->prio_blocked = 0;
	alloc_wake(r->c);
	fiber_sleep_ns(NS_PER_S);
	assert_true(a->nr_prio_writes > writes);
	assert_true(take_all(r) > 0);
}

static void raise_gens(void *arg)
{
	struct rig *r = arg;

	for (uint32_t i = 0; i < 5; i++) { /* the first and the last bucket, together or not at all */
		bucket_inc_gen(r->c, 40);
		bucket_inc_gen(r->c, 250);
		fiber_yield();
		fiber_yield();
	}
}

static void body_snapshot(struct rig *r)
{
	struct fiber *f;

	r->c->alloc.scan_slice = 16;
	cset_bucket(r->c, 250)->gen = cset_bucket(r->c, 40)->gen;
	f = fiber_spawn("raises gens", raise_gens, r);
	assert_int_equal(prio_write(r->c), 0);
	assert_int_equal(durable_gen(r, 40), durable_gen(r, 250)); /* R3.5 */
	fiber_join(f);
}

/* --- stock ----------------------------------------------------------------------------------------------------------------- */

static void body_full_and_idle(struct rig *r)
{
	uint64_t gcs;
	bool ours[512] = { 0 };

	assert_true(r->c->g.nr_buckets <= ARRAY_SIZE(ours));
	r->c->cutoff_writeback = r->c->cutoff_writeback_sync = 100;
	for (uint64_t at = 0; at < RIG_DATA_SECTORS; at += 64)
		assert_int_equal(rig_write(r, at, 64, 'd'), 64);
	take_all(r);
	for (uint64_t b = 0; b < r->c->g.nr_buckets; b++) { /* and the rest of it, too */
		ours[b] = bucket_can_invalidate(r->c, cset_bucket(r->c, b));
		cset_bucket(r->c, b)->pin += ours[b];
	}
	r->c->alloc.invalidate_needs_gc = false;
	for (unsigned i = 0; i < 20; i++) {
		take_all(r);
		fiber_sleep_ns(NS_PER_S);
	}
	fiber_sleep_ns(60 * NS_PER_S);
	gcs = r->c->gc.runs_started;
	assert_true(gcs > 0);
	fiber_sleep_ns(3600 * NS_PER_S);
	assert_true(r->c->gc.runs_started - gcs <= 1);
	for (uint64_t b = 0; b < r->c->g.nr_buckets; b++)
		cset_bucket(r->c, b)->pin -= ours[b];
}

static FIBER_FN uint64_t nr_available(struct rig *r)
{
	alloc_recount(r->c);
	return r->c->alloc.avail_buckets;
}

static void body_freelist(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint64_t available = nr_available(r), want = r->c->g.nr_buckets * 30 / 100;

	a->invalidate_needs_gc = false;
	a->freelist_percent = 30;
	alloc_resize_freelist(r->c);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_int_equal(a->free[RESERVE_NONE].nr, want);
	assert_int_equal(nr_available(r), available); /* kept free is not in use */
	a->freelist_percent = 0;
	alloc_resize_freelist(r->c);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_int_equal(a->free[RESERVE_NONE].nr, a->builtin_free);
	assert_int_equal(nr_available(r), available);
	a->freelist_percent = 90;
	alloc_resize_freelist(r->c);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_int_equal(rig_write(r, 0, 64, 'x'), 64); /* a target, not a ban */
	assert_int_equal(rig_read(r, 0, 64), 'x');
}

/* Buckets are available when they are free, and prio writes take none away. */
static void body_counting(struct rig *r)
{
	uint64_t available = nr_available(r);

	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(prio_write(r->c), 0);
	assert_int_equal(r->c->alloc.avail_buckets, available);
	assert_int_equal(nr_available(r), available);
}

/* A recount passed a bucket while its last user still had it: what is handed out then was not counted. */
static void body_uncounted(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint32_t b;

	a->recounted_below = r->c->g.nr_buckets;
	a->nr_recounted = 0;
	assert_int_equal(bucket_alloc(r->c, RESERVE_NONE, &b), 0);
	assert_int_equal(a->nr_recounted, 0);
	a->recounted_below = 0;
	bucket_unpin(cset_bucket(r->c, b));
	bucket_free(r->c, b);
}

/* A hostile journal may have keys in a bucket that the tree uses: such a node goes away, and its bucket waits for gc. */
static void body_free_pinned(struct rig *r)
{
	struct bucket *k = cset_bucket(r->c, FIRST);

	k->mark = MARK_METADATA;
	bucket_pin(k);
	bucket_free(r->c, FIRST);
	assert_int_equal(k->mark, MARK_METADATA);
	bucket_unpin(k);
	bucket_free(r->c, FIRST);
	assert_int_equal(k->mark, MARK_NONE);
}

/*
 * Replay had to begin prio writes before its end, and a stale key that it has yet to insert names a bucket of the chain. That bucket goes back to the
 * reserve (there may be no other one), and the key's pin is not mistaken for the reserve's.
 */
static void body_recycle_pinned(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint32_t b = a->prio_buckets[0];
	struct bucket *k = cset_bucket(r->c, b);

	take_all(r); /* as at the start, nothing is about to come to the reserve */
	bucket_pin(k); /* journal_mark() */
	assert_int_equal(prio_write(r->c), 0);
	assert_int_not_equal(a->prio_buckets[0], b);
	bucket_unpin(k); /* replayed */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(gc_run(r->c), 0);
		take_all(r);
		fiber_sleep_ns(NS_PER_S);
		assert_int_equal(prio_write(r->c), 0);
	}
}

static void body_periodic(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	uint64_t writes;

	assert_int_equal(a->prio_write_s, PRIO_WRITE_SECONDS_DEFAULT);
	fiber_sleep_ns(3 * 3600 * NS_PER_S);
	writes = a->nr_prio_writes;
	fiber_sleep_ns(3 * 3600 * NS_PER_S);
	assert_int_equal(a->nr_prio_writes, writes); /* nothing has changed */
	bucket_set_prio(a, cset_bucket(r->c, FIRST), 77);
	alloc_wake(r->c);
	fiber_sleep_ns(1800 * NS_PER_S);
	assert_int_equal(a->nr_prio_writes, writes + 1);
	r->c->requests_in_flight++; /* never idle: an hour later, then */
	bucket_set_prio(a, cset_bucket(r->c, FIRST), 66);
	alloc_wake(r->c);
	fiber_sleep_ns(3600 * NS_PER_S);
	assert_int_equal(a->nr_prio_writes, writes + 1);
	fiber_sleep_ns(3600 * NS_PER_S);
	assert_int_equal(a->nr_prio_writes, writes + 2);
	r->c->requests_in_flight--;
	a->prio_write_s = 0;
	bucket_set_prio(a, cset_bucket(r->c, FIRST), 55);
	alloc_wake(r->c);
	fiber_sleep_ns(24 * 3600 * NS_PER_S);
	assert_int_equal(a->nr_prio_writes, writes + 2);
}

/* --- recovery -------------------------------------------------------------------------------------------------------------- */

static FIBER_FN void lock_reserve(void *arg)
{
	struct rig *r = arg;

	assert_int_equal(btree_reserve_lock(r->c, 3, BTREE_WAIT_BUCKETS), 0);
	fmutex_unlock(&r->c->btree.structure);
}

/* As when replay has used up the reserves: there is no gc, and what can be emptied is all there is. */
static void body_few_left(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	struct fiber *gc = r->c->gc.fiber, *f;
	uint32_t b;

	only_ours(r);
	while (!bucket_alloc(r->c, RESERVE_BTREE, &b) || !bucket_alloc(r->c, RESERVE_MOVINGGC, &b))
		;
	for (uint32_t i = 0; i < 3; i++)
		ours(r, i, 1, 1);
	assert_true(a->free_inc.cap > 3);
	a->builtin_free = 64; /* of a larger cache */
	r->c->state = CSET_STARTING;
	r->c->gc.fiber = NULL;
	a->invalidate_needs_gc = false;
	f = fiber_spawn("replay", lock_reserve, r);
	fiber_join(f);
	assert_false(r->c->io_disable);
	r->c->state = CSET_RUNNING;
	r->c->gc.fiber = gc;
}

/* --- discard --------------------------------------------------------------------------------------------------------------- */

static void body_discard(struct rig *r)
{
	struct alloc *a = &r->c->alloc;
	const uint64_t *ops = blk_sim_stats(r->cache)->nr_ops;
	unsigned n;

	a->invalidate_needs_gc = false;
	take_all(r);
	fiber_sleep_ns(NS_PER_S);
	assert_int_equal(ops[BIO_DISCARD], 0);
	super_set_discard(r->c->super, true); /* at run time */
	for (n = 0; n < 4; n++) {
		take_all(r);
		fiber_sleep_ns(NS_PER_S);
	}
	assert_true(ops[BIO_DISCARD] > 0);
	assert_int_equal(ops[BIO_DISCARD], a->nr_discards);
	assert_int_equal(a->nr_discarding, 0);
	/* Errors are counted and change nothing. */
	rig_fail(r->cache, BLK_SIM_OP(BIO_DISCARD), 0);
	for (n = 0; n < 4; n++) {
		assert_true(take_all(r) > 0);
		fiber_sleep_ns(NS_PER_S);
	}
	assert_true(a->nr_discard_errors > 0);
	assert_false(r->c->io_disable);
	assert_int_equal(r->c->io_errors, 0);
	blk_sim_clear_faults(r->cache);
	/* Discards that take for ever do not hold up a writer. */
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_DISCARD), .extra_ns = 100 * NS_PER_S });
	uint64_t begun = engine_now_ns();

	r->c->cutoff_writeback_sync = 100;
	for (uint64_t at = 0; at < 64 * 128; at += 128)
		assert_int_equal(rig_write(r, at, 128, 'w'), 128);
	assert_true(engine_now_ns() - begun < 20 * NS_PER_S);
	fiber_sleep_ns(300 * NS_PER_S);
}

/* --- open buckets ---------------------------------------------------------------------------------------------------------- */

static uint64_t take(struct rig *r, uint64_t stream, uint32_t nr, bool flash)
{
	struct bkey_buf k;

	bkey_init(&k.k, flash ? 5 : 0, stream << 20, 0);
	assert_int_equal(open_bucket_take(r->c, &k.k, nr, stream, flash, RESERVE_NONE), nr);
	bucket_unpin(ptr_bucket(r->c, k.k.ptr[0]));
	return geometry_bucket(&r->c->g, ptr_sector(k.k.ptr[0]));
}

static void body_open_buckets(struct rig *r)
{
	struct open_buckets *o = &r->c->open_buckets;
	uint64_t a, b, c;

	r->c->alloc.invalidate_needs_gc = false;
	r->c->alloc.freelist_percent = 20;
	alloc_resize_freelist(r->c);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_int_equal(o->nr_active, r->c->g.nr_buckets / 32); /* not all of a tiny cache */
	a = take(r, 1, 8, false);
	b = take(r, 2, 8, false);
	assert_int_not_equal(a, b);
	assert_int_equal(take(r, 1, 8, false), a);
	c = take(r, 3, 8, true);
	/* Fewer: those that are open stay so until they are full, and are not filled again. */
	o->nr_wanted = 1;
	open_buckets_resize(r->c);
	assert_int_equal(o->nr_active, 3);
	assert_int_equal(take(r, 4, 8, true), c); /* the last resort keeps the kinds apart */
	assert_true(take(r, 5, 8, false) != c);
	assert_int_equal(take(r, 1, 112, false), a); /* full */
	assert_int_equal(o->nr_active, 2);
	assert_int_equal(take(r, 1, 8, false), b);
	o->nr_wanted = 4;
	open_buckets_resize(r->c);
	assert_int_equal(o->nr_active, 4);
	a = take(r, 9, 8, false);
	assert_true(a != b && a != c);
}

static uint64_t take_at(struct rig *r, uint32_t nr)
{
	struct bkey_buf k;

	bkey_init(&k.k, 0, 77, 0);
	assert_int_equal(open_bucket_take(r->c, &k.k, nr, 9, false, RESERVE_NONE), nr);
	bucket_unpin(ptr_bucket(r->c, k.k.ptr[0]));
	return geometry_in_bucket(&r->c->g, ptr_sector(k.k.ptr[0]));
}

static void body_physical(struct rig *r)
{
	r->c->cache->physical_sectors = 16;
	assert_int_equal(take_at(r, 8), 0);
	assert_int_equal(take_at(r, 16), 16); /* not 8: the device would have to read */
	assert_int_equal(take_at(r, 24), 32);
	assert_int_equal(take_at(r, 8), 64);
	r->c->cache->physical_sectors = 256; /* more than a bucket: the rest of it goes */
	assert_int_equal(take_at(r, 8), 80);
	assert_int_equal(take_at(r, 8), 0);
	r->c->cache->physical_sectors = 0;
	assert_int_equal(take_at(r, 8), 0);
	assert_int_equal(take_at(r, 8), 8);
}

/* --- the census ------------------------------------------------------------------------------------------------------------ */

static void body_census(struct rig *r)
{
	struct bucket_census n, m;

	bucket_census_take(r->c, &n);
	cset_bucket(r->c, FIRST)->mark = MARK_DIRTY;
	bucket_census_take(r->c, &m);
	assert_memory_equal(&n, &m, sizeof(n)); /* the same for a second: a pass over all buckets is not for every reader */
	fiber_sleep_ns(NS_PER_S);
	bucket_census_take(r->c, &m);
	assert_int_equal(m.by_mark[MARK_DIRTY], n.by_mark[MARK_DIRTY] + 1);
}

#define RUN(body) \
	do { \
		log_set_level(LOG_LEVEL_ERROR); \
		for (uint64_t seed = 0; seed < 3; seed++) \
			rig_run(seed, CACHE_MODE_WRITEBACK, body); \
	} while (0)

static void lru_takes_the_coldest_first_and_spares_what_is_used_meanwhile(void **state) { RUN(body_lru); }
static void coldness_is_weighed_against_live_sectors(void **state) { RUN(body_weight); }
static void fifo_goes_round_in_order(void **state) { RUN(body_fifo); }
static void random_takes_any(void **state) { RUN(body_random); }
static void i17_no_policy_takes_what_is_in_use_or_too_far_ahead_of_gc(void **state) { RUN(body_ineligible); }
static void priorities_age_with_traffic(void **state) { RUN(body_aging); }
static void i03_no_bucket_is_handed_out_before_its_gen_is_durable(void **state) { RUN(body_durable_gens); }
static void i04_no_priorities_are_written_while_a_freed_nodes_parent_is_not(void **state) { RUN(body_blocked); }
static void r3_5_the_image_of_gens_is_of_one_moment(void **state) { RUN(body_snapshot); }
static void a_full_cache_that_rests_does_not_run_gc(void **state) { RUN(body_full_and_idle); }
static void freelist_percent_keeps_that_much_free(void **state) { RUN(body_freelist); }
static void prio_writes_leave_the_count_of_available_buckets_alone(void **state) { RUN(body_counting); }
static void the_count_of_available_buckets_does_not_fall_below_zero(void **state) { RUN(body_uncounted); }
static void a_bucket_that_is_pinned_is_not_freed(void **state) { RUN(body_free_pinned); }
static void a_pin_on_the_old_prio_chain_is_not_taken_for_that_of_the_reserve(void **state) { RUN(body_recycle_pinned); }
static void changed_priorities_are_saved_when_the_set_rests(void **state) { RUN(body_periodic); }
static void recovery_goes_on_with_the_last_few_buckets(void **state) { RUN(body_few_left); }
static void discards_are_advice(void **state) { RUN(body_discard); }
static void open_buckets_can_be_more_or_fewer_at_run_time(void **state) { RUN(body_open_buckets); }
static void data_begins_at_a_physical_sector(void **state) { RUN(body_physical); }
static void the_census_is_taken_once_a_second(void **state) { RUN(body_census); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lru_takes_the_coldest_first_and_spares_what_is_used_meanwhile),
		TEST(coldness_is_weighed_against_live_sectors),
		TEST(fifo_goes_round_in_order),
		TEST(random_takes_any),
		TEST(i17_no_policy_takes_what_is_in_use_or_too_far_ahead_of_gc),
		TEST(priorities_age_with_traffic),
		TEST(i03_no_bucket_is_handed_out_before_its_gen_is_durable),
		TEST(i04_no_priorities_are_written_while_a_freed_nodes_parent_is_not),
		TEST(r3_5_the_image_of_gens_is_of_one_moment),
		TEST(a_full_cache_that_rests_does_not_run_gc),
		TEST(freelist_percent_keeps_that_much_free),
		TEST(prio_writes_leave_the_count_of_available_buckets_alone),
		TEST(the_count_of_available_buckets_does_not_fall_below_zero),
		TEST(a_bucket_that_is_pinned_is_not_freed),
		TEST(a_pin_on_the_old_prio_chain_is_not_taken_for_that_of_the_reserve),
		TEST(changed_priorities_are_saved_when_the_set_rests),
		TEST(recovery_goes_on_with_the_last_few_buckets),
		TEST(discards_are_advice),
		TEST(open_buckets_can_be_more_or_fewer_at_run_time),
		TEST(data_begins_at_a_physical_sector),
		TEST(the_census_is_taken_once_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
