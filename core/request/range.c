/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interval lock. Two plain lists: a device has at most a few hundred writes in flight, and comparing two numbers per entry is cheaper than
 * keeping a tree in order. A waiter is granted once nothing that overlaps it is held or waits before it, so hand-over is FIFO among
 * overlapping ranges and nobody starves, while ranges that touch nobody never wait.
 */
#include "core/request/range.h"

static bool overlaps(const struct range *r, uint64_t start, uint64_t end) { return r->start < end && start < r->end; }

void range_lock_init(struct range_lock *l)
{
	list_init(&l->held);
	list_init(&l->waiting);
}

bool range_busy(const struct range_lock *l, uint64_t start, uint64_t end)
{
	const struct range *r;

	list_for_each(r, &l->held, link)
		if (overlaps(r, start, end))
			return true;
	return false;
}

/* Does somebody who came before `stop` wait for a part of [start, end)? stop == NULL: everybody who waits came before. */
static bool waited_for(const struct range_lock *l, uint64_t start, uint64_t end, const struct range *stop)
{
	const struct range *r;

	list_for_each(r, &l->waiting, link) {
		if (r == stop)
			return false;
		if (overlaps(r, start, end))
			return true;
	}
	return false;
}

bool range_try_acquire(struct range_lock *l, struct range *r, uint64_t start, uint64_t end)
{
	assert(start < end);
	if (range_busy(l, start, end) || waited_for(l, start, end, NULL))
		return false;
	r->start = start;
	r->end = end;
	r->waiter = NULL;
	list_add_tail(&l->held, &r->link);
	return true;
}

void range_acquire(struct range_lock *l, struct range *r, uint64_t start, uint64_t end)
{
	might_yield();
	if (range_try_acquire(l, r, start, end))
		return;
	r->start = start;
	r->end = end;
	r->waiter = fiber_self();
	list_add_tail(&l->waiting, &r->link);
	while (r->waiter)
		fiber_park();
}

void range_release(struct range_lock *l, struct range *r)
{
	struct range *w, *tmp;

	assert(!r->waiter);
	list_del(&r->link);
	list_for_each_safe(w, tmp, &l->waiting, link) {
		struct fiber *f = w->waiter;

		if (!overlaps(w, r->start, r->end) || range_busy(l, w->start, w->end) || waited_for(l, w->start, w->end, w))
			continue;
		list_del(&w->link);
		list_add_tail(&l->held, &w->link);
		w->waiter = NULL;
		fiber_wake(f);
	}
}
