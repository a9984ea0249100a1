/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The allocator fiber: keeps empty buckets with durable gens in stock (alloc.h).
 *
 *     invalidate ──> free_inc, pending ──prio write──> free_inc, durable ──[discard]──> free[reserve]
 *
 * Each step begins when the stock behind it is half used up, so that the next batch is ready before this one is gone. Handing out durable buckets
 * (alloc_distribute) waits for nothing and happens wherever a bucket is taken, also while this fiber waits for the disk.
 */
#include "core/set/cset.h"
#include "core/space/prio_io.h"

#define IDLE_POLL_NS NS_PER_S

static bool alloc_ends(const struct cset *c) { return !c->alloc.running || c->io_disable; }

/* Somebody cannot go on without a bucket. */
static bool somebody_waits(const struct cset *c)
{
	return !wait_queue_empty(&c->alloc.bucket_wait) || !wait_queue_empty(&c->btree.reserve_wait);
}

/* --- handing out ---------------------------------------------------------------------------------------------------------- */

bool alloc_push_free(struct cset *c, uint32_t b)
{
	static const enum reserve order[] = { RESERVE_PRIO, RESERVE_BTREE, RESERVE_MOVINGGC, RESERVE_NONE };

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (fifo_push(&c->alloc.free[order[i]], b)) {
			if (order[i] == RESERVE_BTREE)
				wake_all(&c->btree.reserve_wait);
			wake_all(&c->alloc.bucket_wait);
			return true;
		}
	return false;
}

/* Room on the lists that no bucket on its way there will need. */
static uint32_t free_room(const struct alloc *a)
{
	uint32_t room = 0;

	for (int r = 0; r < RESERVE_NR; r++)
		room += a->free[r].cap - min(a->free[r].nr, a->free[r].cap);
	return room - min(room, a->nr_discarding);
}

void alloc_distribute(struct cset *c)
{
	struct alloc *a = &c->alloc;
	bool discard = a->running && super_discard(c->super) && c->cache->can_discard; /* nobody waits for one behind alloc_stop() */
	uint32_t b;

	while (a->nr_durable && !c->io_disable) {
		b = a->free_inc.slots[a->free_inc.head];
		if (discard && !somebody_waits(c)) {
			if (!free_room(a) || !bucket_discard_start(c, b))
				return;
		} else if (!alloc_push_free(c, b)) {
			return;
		}
		fifo_pop(&a->free_inc, &b);
		a->nr_durable--;
	}
}

/* --- when to do what ------------------------------------------------------------------------------------------------------ */

static uint32_t nr_pending(const struct alloc *a) { return a->free_inc.nr - a->nr_durable; }

static bool stock_is_low(const struct alloc *a) { return a->free[RESERVE_NONE].nr + a->nr_durable <= a->builtin_free / 2; }

static bool refill_wanted(const struct alloc *a)
{
	return !a->invalidate_needs_gc && a->free_inc.nr <= a->free_inc.cap / 2;
}

/* Is it worth a prio write? Not for a few buckets, unless they are needed. */
static bool worth_writing(const struct cset *c)
{
	const struct alloc *a = &c->alloc;

	return nr_pending(a) && (nr_pending(a) >= a->free_inc.cap / 2 || stock_is_low(a) || somebody_waits(c));
}

/*
 * gc finds what was overwritten or cleaned since the last one. When that one left nothing to take and nothing has been inserted since, another
 * one would find nothing either, and a full cache that rests must not run gc after gc. Who waits makes us look all the same: some marks depend
 * on more than keys (pins, keys being written back).
 */
static bool gc_could_help(const struct cset *c)
{
	const struct alloc *a = &c->alloc;

	return !a->gc_was_futile || c->btree.nr_inserts != a->inserts_when_futile || somebody_waits(c);
}

static FIBER_FN void refill(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint64_t before = a->nr_invalidated;

	invalidate_some(c);
	if (a->nr_invalidated != before)
		a->gc_was_futile = false;
}

/*
 * Recovery waits for a bucket, and there is no gc yet. What is pending may be enough for it; and since the last look nodes may have been freed, or keys
 * inserted that pinned a bucket. Failing that, better no start than one that never ends.
 */
static FIBER_FN void last_look(struct cset *c)
{
	struct alloc *a = &c->alloc;

	if (nr_pending(a))
		return;
	a->invalidate_needs_gc = false;
	refill(c);
	if (!nr_pending(a) && !alloc_ends(c))
		cset_error(c, "no bucket of '%s' is empty or clean, and recovery needs one", c->cache->path);
}

static FIBER_FN void want_gc(struct cset *c)
{
	struct alloc *a = &c->alloc;

	if (c->state == CSET_STARTING && !c->gc.fiber && somebody_waits(c)) {
		last_look(c);
		return;
	}
	if (a->free[RESERVE_NONE].nr + a->free_inc.nr >= a->builtin_free || !gc_could_help(c))
		return;
	a->gc_was_futile = true; /* until somebody finds something */
	a->inserts_when_futile = c->btree.nr_inserts;
	gc_trigger(c);
}

static bool idle_write_due(const struct cset *c, uint64_t *ret_wait_ns)
{
	const struct alloc *a = &c->alloc;
	uint64_t interval = a->prio_write_s * NS_PER_S, since = engine_now_ns() - a->prio_written_ns;

	*ret_wait_ns = 0;
	if (!interval || !a->prios_changed)
		return false;
	if (since < interval) {
		*ret_wait_ns = interval - since;
		return false;
	}
	*ret_wait_ns = IDLE_POLL_NS;
	return !c->requests_in_flight || since >= 2 * interval; /* a set that never rests gets it all the same */
}

/* --- the fiber ------------------------------------------------------------------------------------------------------------ */

/* Only this fiber adds to free_inc, so what is pending at the beginning is durable at the end. */
static FIBER_FN void make_durable(struct cset *c)
{
	struct alloc *a = &c->alloc;
	uint32_t pending = nr_pending(a);
	int r = prio_write(c);

	if (!r) {
		a->nr_durable += pending;
		alloc_distribute(c); /* and only then: the gens are durable (R3.1) */
	} else if (r == -EAGAIN && !alloc_ends(c)) {
		/* Cannot happen while chains recycle their own buckets; if it does, only a gc can help. */
		a->invalidate_needs_gc = true;
		gc_trigger(c);
		wait_queue_wait(&a->work);
	}
}

static void allocator(void *arg)
{
	struct cset *c = arg;
	struct alloc *a = &c->alloc;
	uint64_t wait_ns;
	bool due;

	while (!alloc_ends(c)) {
		alloc_distribute(c);
		if (refill_wanted(a))
			refill(c);
		if (alloc_ends(c))
			break;
		if (a->invalidate_needs_gc)
			want_gc(c);
		due = idle_write_due(c, &wait_ns);
		if ((worth_writing(c) || due) && !a->prio_blocked)
			make_durable(c);
		else if (wait_ns)
			ignore_result(wait_queue_wait_timeout(&a->work, wait_ns)); /* elapsed, or woken: look again */
		else
			wait_queue_wait(&a->work);
	}
}

int alloc_start(struct cset *c)
{
	c->alloc.running = true;
	c->alloc.prio_written_ns = engine_now_ns();
	c->alloc.fiber = fiber_spawn("allocator", allocator, c);
	return c->alloc.fiber ? 0 : -ENOMEM;
}

void alloc_stop(struct cset *c)
{
	struct alloc *a = &c->alloc;

	a->running = false;
	wake_all(&a->work);
	wake_all(&a->bucket_wait);
	if (a->fiber)
		fiber_join(a->fiber);
	a->fiber = NULL;
	while (a->nr_discarding)
		wait_queue_wait(&a->work);
}

void alloc_wake(struct cset *c) { wake_all(&c->alloc.work); }
