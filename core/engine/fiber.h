/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Inside of fibers: shared by the files of core/engine, nobody else.
 *
 * A fiber lives at the top of its own stack mapping:
 *
 *   low  [guard page][ stack ... grows down <- ][struct fiber]  high
 *
 * The code on that stack is an endless loop "run fn, say done, switch to the loop", so a pooled fiber is reused by giving it a
 * new fn: neither its stack nor its sanitizer identity is rebuilt.
 *
 * States:  READY → RUNNING: the loop;  RUNNING → PARKED: fiber_park;  PARKED → READY: fiber_wake;
 *          RUNNING → READY: fiber_yield;  RUNNING → DONE: fn returned;  DONE → pool: detached at once, else fiber_join.
 */
#include "core/engine/engine.h"

#if defined(FIBER_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#undef FIBER_UCONTEXT
#define FIBER_UCONTEXT 1
#include <ucontext.h>
#endif

struct context {
#ifdef FIBER_UCONTEXT
	ucontext_t uc;
#else
	void *sp; /* everything else is saved on the stack */
#endif
#ifdef WITH_ASAN
	void *fake_stack;
	const void *stack_bottom;
	size_t stack_bytes;
#endif
#ifdef WITH_TSAN
	void *tsan;
#endif
};

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_PARKED, FIBER_DONE };

struct fiber {
	struct context context;
	struct list link; /* engine.ready, a wait queue, or the stack pool */
	struct list all;  /* engine.fibers */
	struct engine *engine;
	const char *name;
	void (*fn)(void *arg);
	void *arg;
	struct fiber *joiner;
	enum fiber_state state;
	bool detached;
	bool cancelled;
	bool interruptible; /* the present park ends when cancelled */
	int wait_result;    /* set by whoever ends a wait */
	void *mapping;
	size_t mapping_bytes;
	unsigned valgrind_id;
};

/* Run f until it parks, yields or ends. Called by the loop only. */
void fiber_resume(struct engine *e, struct fiber *f);
/* Return the stack to the pool, or unmap it. Never the caller's own. */
void fiber_free(struct fiber *f);
/* Unmap, whatever state f is in. */
void fiber_destroy(struct fiber *f);
void fiber_pool_drain(struct engine *e);
/* Room for a timer of each of nr_fibers fibers, and some more. False: no memory. */
MUST_CHECK bool engine_reserve_timers(struct engine *e, size_t nr_fibers);
void context_init_loop(struct context *c);

/* Park on q (NULL: on nothing) until woken, timeout (UINT64_MAX: none), or, if interruptible, cancelled: 0, -ETIME, -EINTR. */
FIBER_FN int fiber_wait(struct list *waiters, uint64_t timeout_ns, bool interruptible);
void fiber_wake_with(struct fiber *f, int result);

/* For backends. */
bool engine_run_pollers(struct engine *e);
bool engine_has_work(const struct engine *e); /* something to run without waiting for the outside */
