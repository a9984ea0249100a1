/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/engine/offload.h"

struct waiting_job {
	struct port_job job;
	struct fiber *fiber;
};

void offload(void (*fn)(void *), void *arg)
{
	struct engine *e = engine_self();

	if (!e) { /* a tool without an engine */
		fn(arg);
		return;
	}
	might_yield();
	e->ops->offload(e, fn, arg);
}

void offloader_init(struct offloader *o, struct port_bell *bell)
{
	o->bell = bell;
	o->workers = NULL;
	/* Valgrind up to 3.19 runs no other thread while one sleeps in io_uring_enter(): the work would never be done. */
	o->unavailable = RUNNING_ON_VALGRIND;
}

void offloader_release(struct offloader *o)
{
	port_workers_free(o->workers);
	o->workers = NULL;
}

static bool workers_ready(struct offloader *o)
{
	if (!o->workers && !o->unavailable)
		o->unavailable = port_workers_new(OFFLOAD_THREADS, o->bell, &o->workers) < 0;
	return o->workers;
}

void offloader_run(struct offloader *o, void (*fn)(void *), void *arg)
{
	struct waiting_job w = { .job = { .fn = fn, .arg = arg }, .fiber = fiber_self() };

	if (!workers_ready(o)) {
		fn(arg);
		return;
	}
	port_workers_submit(o->workers, &w.job);
	fiber_park(); /* not too late: only this thread's loop reaps */
}

void offloader_reap(struct offloader *o)
{
	struct port_job *job = o->workers ? port_workers_take_done(o->workers) : NULL;

	while (job) {
		struct port_job *next = job->next; /* the job is on the stack of the fiber we wake */

		fiber_wake(container_of(job, struct waiting_job, job)->fiber);
		job = next;
	}
}
