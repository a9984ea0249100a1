/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/engine/port.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- bell ----------------------------------------------------------------------------------------------------------- */

int port_bell_init(struct port_bell *b)
{
	atomic_init(&b->rung, false);
	atomic_init(&b->asleep, false);
	/* Blocking, because io_uring answers EAGAIN on nonblocking descriptors instead of waiting. Writes never block: see ring. */
	b->eventfd = eventfd(0, EFD_CLOEXEC);
	return b->eventfd < 0 ? -errno : 0;
}

void port_bell_release(struct port_bell *b)
{
	if (b->eventfd >= 0)
		close(b->eventfd);
	b->eventfd = -1;
}

/*
 * Two flags, each side writes its own and then reads the other's:
 *
 *	ringer: rung = 1;   if (asleep) write eventfd
 *	engine: asleep = 1; if (rung) do not sleep
 *
 * All four accesses are sequentially consistent, so in their one total order at least one side sees the other's store: a ring is
 * never slept through. The exchange on `rung` also releases the ringer's earlier writes, and the engine's exchange in
 * port_bell_take() acquires them. A ringer that finds the bell already rung may leave: the engine's take of that ring comes after
 * this exchange in rung's modification order (had it come before, the flag would have been clear), and read-modify-writes
 * continue the release sequence, so that one take acquires both ringers' writes; the first ringer, or the engine's own look at
 * `rung`, keeps it from sleeping.
 */
void port_bell_ring(struct port_bell *b)
{
	uint64_t one = 1;

	if (atomic_exchange(&b->rung, true))
		return;
	if (atomic_load(&b->asleep)) {
		int saved = errno; /* we may be in a signal handler */
		/* Cannot fail: the counter would have to be at 2^64 - 2. */
		if (write(b->eventfd, &one, sizeof(one)) < 0)
			errno = saved;
	}
}

bool port_bell_take(struct port_bell *b)
{
	/* The plain look first: an exchange per loop turn would take the cache line from the ringers for nothing. */
	return atomic_load_explicit(&b->rung, memory_order_relaxed) && atomic_exchange(&b->rung, false);
}

bool port_bell_try_sleep(struct port_bell *b)
{
	atomic_store(&b->asleep, true);
	return !atomic_load(&b->rung);
}

void port_bell_awake(struct port_bell *b)
{
	/* Relaxed is enough: a ringer that still sees true writes to the eventfd once too often. */
	atomic_store_explicit(&b->asleep, false, memory_order_relaxed);
}

/* --- workers -------------------------------------------------------------------------------------------------------- */

#define MAX_WORKERS 4

struct port_workers {
	pthread_mutex_t lock; /* covers the queue and stop */
	pthread_cond_t more;
	struct port_job *first, **last;
	bool stop;
	_Atomic(struct port_job *) done; /* (x-thread) stack: workers push, the engine takes all */
	struct port_bell *bell;
	unsigned nr_threads;
	pthread_t threads[MAX_WORKERS];
};

static struct port_job *next_job(struct port_workers *w)
{
	struct port_job *job;

	pthread_mutex_lock(&w->lock);
	while (!w->first && !w->stop)
		pthread_cond_wait(&w->more, &w->lock);
	job = w->first;
	if (job) {
		w->first = job->next;
		if (!w->first)
			w->last = &w->first;
	}
	pthread_mutex_unlock(&w->lock);
	return job;
}

/*
 * Release on success publishes what the job wrote; the engine acquires it when it takes the stack. There is no ABA: nobody pops a
 * single item, the engine swaps the whole stack for NULL.
 */
static void push_done(struct port_workers *w, struct port_job *job)
{
	struct port_job *head = atomic_load_explicit(&w->done, memory_order_relaxed);

	do {
		job->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&w->done, &head, job, memory_order_release, memory_order_relaxed));
}

static void *worker(void *arg)
{
	struct port_workers *w = arg;
	struct port_job *job;

	while ((job = next_job(w))) {
		job->fn(job->arg);
		push_done(w, job); /* from here on the job's memory may be gone */
		port_bell_ring(w->bell);
	}
	return NULL;
}

static int start_threads(struct port_workers *w, unsigned nr)
{
	sigset_t all, old;
	int r = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; w->nr_threads < nr && !r; w->nr_threads += !r)
		r = -pthread_create(&w->threads[w->nr_threads], NULL, worker, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return w->nr_threads ? 0 : r; /* one is enough */
}

int port_workers_new(unsigned nr_threads, struct port_bell *bell, struct port_workers **ret)
{
	struct port_workers *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	w->last = &w->first;
	w->bell = bell;
	r = start_threads(w, clamp(nr_threads, 1u, (unsigned)MAX_WORKERS));
	if (r < 0) {
		port_workers_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void port_workers_free(struct port_workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->nr_threads; i++)
		pthread_join(w->threads[i], NULL);
	assert(!w->first);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void port_workers_submit(struct port_workers *w, struct port_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&w->lock);
	*w->last = job;
	w->last = &job->next;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

struct port_job *port_workers_take_done(struct port_workers *w)
{
	struct port_job *job, *oldest_first = NULL;

	if (!atomic_load_explicit(&w->done, memory_order_relaxed))
		return NULL;
	job = atomic_exchange_explicit(&w->done, NULL, memory_order_acquire);
	while (job) {
		struct port_job *next = job->next;

		job->next = oldest_first;
		oldest_first = job;
		job = next;
	}
	return oldest_first;
}
