/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Waiting primitives for fibers. All queues are FIFO. None needs destruction; each must be empty when its memory goes away.
 * There are no data races to protect against: these express *waiting*, not mutual exclusion of memory accesses.
 */
#include "core/engine/engine.h"

/* A place to wait for "something may have changed"; callers re-check their condition in a loop. */
struct wait_queue {
	struct list waiters;
};
void wait_queue_init(struct wait_queue *q);
FIBER_FN void wait_queue_wait(struct wait_queue *q);
/* 0, or -EINTR when the fiber was cancelled (checked on entry too). */
FIBER_FN int wait_queue_wait_interruptible(struct wait_queue *q);
/* 0, -ETIME after timeout_ns, -EINTR when cancelled. */
FIBER_FN int wait_queue_wait_timeout(struct wait_queue *q, uint64_t timeout_ns);
void wake_all(struct wait_queue *q);
void wake_one(struct wait_queue *q);
static inline bool wait_queue_empty(const struct wait_queue *q) { return list_empty(&q->waiters); }

/* Lock that may be held across waits. Hand-over is FIFO: an unlock passes ownership to the first waiter. Not recursive. */
struct fmutex {
	struct fiber *owner;
	struct wait_queue waiters;
};
void fmutex_init(struct fmutex *m);
FIBER_FN void fmutex_lock(struct fmutex *m);
bool fmutex_trylock(struct fmutex *m);
void fmutex_unlock(struct fmutex *m);
static inline bool fmutex_locked(const struct fmutex *m) { return m->owner != NULL; }

struct semaphore {
	unsigned count;
	struct wait_queue waiters;
};
void semaphore_init(struct semaphore *s, unsigned count);
FIBER_FN void semaphore_down(struct semaphore *s);
bool semaphore_trydown(struct semaphore *s);
void semaphore_up(struct semaphore *s);

/* Wait until n things (typically I/Os) are done. latch_add before submitting, latch_done in each completion. */
struct latch {
	unsigned pending;
	int error; /* first negative result */
	struct fiber *waiter;
};
void latch_init(struct latch *l);
void latch_add(struct latch *l, unsigned n);
void latch_done(struct latch *l, int error);
FIBER_FN int latch_wait(struct latch *l); /* the first error or 0; the latch may be reused afterwards */
