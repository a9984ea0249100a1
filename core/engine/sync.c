/* SPDX-License-Identifier: GPL-2.0-only */
/* Waiting primitives. Each is a few lines over fiber_wait(), which parks, times out and hears cancellation. */
#include "core/engine/fiber.h"
#include "core/engine/sync.h"

/* --- wait queue ----------------------------------------------------------------------------------------------------- */

void wait_queue_init(struct wait_queue *q)
{
	list_init(&q->waiters);
}

void wait_queue_wait(struct wait_queue *q)
{
	(void)fiber_wait(&q->waiters, UINT64_MAX, false); /* can only end by a wake-up */
}

int wait_queue_wait_interruptible(struct wait_queue *q)
{
	return fiber_wait(&q->waiters, UINT64_MAX, true);
}

int wait_queue_wait_timeout(struct wait_queue *q, uint64_t timeout_ns)
{
	return fiber_wait(&q->waiters, timeout_ns, true);
}

void wake_one(struct wait_queue *q)
{
	struct fiber *f = list_first(&q->waiters, struct fiber, link);

	if (f)
		fiber_wake_with(f, 0);
}

void wake_all(struct wait_queue *q)
{
	while (!list_empty(&q->waiters)) /* waking runs nobody, so nobody can come back meanwhile */
		wake_one(q);
}

/* --- fmutex --------------------------------------------------------------------------------------------------------- */

void fmutex_init(struct fmutex *m)
{
	m->owner = NULL;
	wait_queue_init(&m->waiters);
}

void fmutex_lock(struct fmutex *m)
{
	might_yield();
	assert(m->owner != fiber_self());
	if (fmutex_trylock(m))
		return;
	wait_queue_wait(&m->waiters);
	assert(m->owner == fiber_self()); /* handed over by fmutex_unlock() */
}

bool fmutex_trylock(struct fmutex *m)
{
	if (m->owner)
		return false;
	m->owner = fiber_self();
	assert(m->owner);
	return true;
}

/* Hand over at once: a lock that is merely freed could be taken again and again by whoever runs first. */
void fmutex_unlock(struct fmutex *m)
{
	assert(m->owner && m->owner == fiber_self());
	m->owner = list_first(&m->waiters.waiters, struct fiber, link);
	wake_one(&m->waiters);
}

/* --- semaphore ------------------------------------------------------------------------------------------------------ */

void semaphore_init(struct semaphore *s, unsigned count)
{
	s->count = count;
	wait_queue_init(&s->waiters);
}

void semaphore_down(struct semaphore *s)
{
	might_yield();
	if (!semaphore_trydown(s))
		wait_queue_wait(&s->waiters); /* the unit comes with the wake-up */
}

bool semaphore_trydown(struct semaphore *s)
{
	if (!s->count)
		return false;
	s->count--;
	return true;
}

void semaphore_up(struct semaphore *s)
{
	if (wait_queue_empty(&s->waiters))
		s->count++;
	else
		wake_one(&s->waiters);
}

/* --- latch ---------------------------------------------------------------------------------------------------------- */

void latch_init(struct latch *l)
{
	l->pending = 0;
	l->error = 0;
	l->waiter = NULL;
}

void latch_add(struct latch *l, unsigned n)
{
	l->pending += n;
}

void latch_done(struct latch *l, int error)
{
	struct fiber *f = l->waiter;

	assert(l->pending > 0);
	if (error < 0 && !l->error)
		l->error = error;
	if (--l->pending || !f)
		return;
	l->waiter = NULL;
	fiber_wake(f);
}

int latch_wait(struct latch *l)
{
	int error;

	might_yield();
	assert(!l->waiter);
	while (l->pending) {
		l->waiter = fiber_self();
		fiber_park();
	}
	error = l->error;
	l->error = 0;
	return error;
}
