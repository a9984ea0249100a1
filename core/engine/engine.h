/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The engine: one thread that runs all cache logic as cooperative fibers (architecture.md §2, §3).
 *
 * Model: fibers are ready, running (one), or parked. The loop runs ready fibers, then asks its backend for completions and
 * for the time. Code between two waits is atomic. A function that may park its fiber is declared FIBER_FN.
 *
 * Two backends behind struct engine_ops: engine_uring (io_uring, CLOCK_MONOTONIC; the product) and tests/sim/engine_sim (virtual clock,
 * seeded order of ready fibers and completions). Everything else in core/ neither reads a clock nor knows a thread.
 *
 * There is at most one engine per thread; engine_self() is the one that runs the caller. Nothing here is thread-safe except
 * engine_wake_from_thread().
 *
 * Cancellation: fiber_cancel() sets a flag and wakes an *interruptible* wait, which then returns -EINTR. Plain waits ignore it,
 * so I/O in flight is always seen to its end.
 */
#include "core/util/list.h"
#include "core/util/sanitize.h"

struct engine;
struct fiber;
struct timer;

struct engine_ops {
	uint64_t (*now_ns)(struct engine *e);	       /* monotonic */
	uint64_t (*real_s)(struct engine *e);	       /* seconds since the epoch, for superblocks */
	void (*random)(struct engine *e, void *buf, size_t len_bytes);
	/* Choose which of nr ready fibers runs next (FIFO position). The product returns 0. */
	size_t (*pick)(struct engine *e, size_t nr_ready);
	/* Deliver completions; sleep no later than until_ns (0: do not sleep; UINT64_MAX: until something happens). */
	void (*poll)(struct engine *e, uint64_t until_ns);
	/* Run fn(arg) elsewhere while the calling fiber is parked; inline in the simulator. fn is pure: it touches only arg. */
	FIBER_FN void (*offload)(struct engine *e, void (*fn)(void *), void *arg);
};

/*
 * A function that looks for work without sleeping (a transport's descriptor). Returns true if it found some. Called once per
 * loop turn and while the loop spins, outside any fiber. It may remove itself, but no other poller.
 * before_sleep (may be NULL) is the last call before the loop sleeps: here the owner makes sure that new work ends the sleep.
 * See "waiting for a descriptor" in engine_uring.h.
 */
struct engine_poller {
	struct list link;
	bool (*poll)(struct engine_poller *p);
	void (*before_sleep)(struct engine_poller *p);
};

/* Something to do on the loop, outside any fiber, once, soon. See engine_call_soon(). */
struct engine_call {
	struct list link;
	void (*fn)(struct engine_call *c);
};

/* Common part of every backend; backends embed it first. */
struct engine {
	const struct engine_ops *ops;
	struct list ready;
	size_t nr_ready;
	struct fiber *running;	   /* NULL: the loop itself */
	struct list pollers;
	struct list calls;	   /* engine_call_soon() */
	struct timer **timers;	   /* binary min-heap by due_ns, then seq */
	size_t nr_timers, cap_timers;
	uint64_t timer_seq;
	struct list fibers;	   /* all that exist, also those that wait to be joined */
	size_t nr_fibers;
	size_t fiber_batch;	   /* fibers run per loop turn, so that completions and pollers are not starved */
	unsigned no_yield_depth;
	bool stopping;
	uint64_t cached_now_ns;	   /* refreshed once per loop turn; engine_now_ns() */
	struct list stack_pool;
	size_t nr_pooled_stacks; /* at least nr_reserved_stacks */
	size_t nr_reserved_stacks;
	void *loop_context;	   /* fiber switch: where engine_run() continues */
};

void engine_init(struct engine *e, const struct engine_ops *ops);
void engine_release(struct engine *e); /* asserts that no fiber is left */
struct engine *engine_self(void);

/* Run until main_fn has returned; then return its result. Other fibers must have ended by then (asserted). */
int engine_run(struct engine *e, int (*main_fn)(void *arg), void *arg);
/* Every fiber with its name and state, to stderr: for deadlocks and asserts. */
void engine_dump_fibers(const struct engine *e);

/* Time of the current loop turn; cheap. engine_now_precise_ns() asks the clock. */
uint64_t engine_now_ns(void);
uint64_t engine_now_precise_ns(void);
uint64_t engine_real_s(void);
void engine_random(void *buf, size_t len_bytes);
uint64_t engine_random_u64(void);

void engine_poller_add(struct engine *e, struct engine_poller *p);
void engine_poller_remove(struct engine_poller *p);

/* Call c->fn(c) from the loop after the caller has yielded. c belongs to the engine until then; fn must not yield. */
void engine_call_soon(struct engine_call *c);

/*
 * For simulated power cuts: engine_stop() makes engine_run() return -ECANCELED as soon as the running fiber parks, leaving every
 * fiber where it is. engine_abandon() then drops all fibers, timers, pollers and calls without running them; whatever their
 * stacks owned is leaked.
 */
void engine_stop(struct engine *e);
void engine_abandon(struct engine *e);

/* --- fibers --------------------------------------------------------------------------------------------------------- */

/* Sanitizers enlarge every frame. */
#if defined(WITH_ASAN) || defined(WITH_TSAN)
#define FIBER_STACK_BYTES (256 * 1024)
#else
#define FIBER_STACK_BYTES (64 * 1024)
#endif

/*
 * Start fn(arg) on a fiber of its own; it first runs when the caller next yields. name is a string literal (for dumps).
 * Returns NULL only when no stack can be had. A detached fiber frees itself; a joinable one must be joined once.
 */
MUST_CHECK struct fiber *fiber_spawn(const char *name, void (*fn)(void *), void *arg);
MUST_CHECK int fiber_spawn_detached(const char *name, void (*fn)(void *), void *arg); /* 0 or -ENOMEM */
/*
 * For what must not fail when memory is short, like stopping: keep a stack for it while there is memory. A reservation is used up by one
 * fiber_spawn_reserved(), which always succeeds (detached), or given back.
 */
MUST_CHECK int fiber_reserve(void); /* 0 or -ENOMEM */
void fiber_unreserve(void);
void fiber_spawn_reserved(const char *name, void (*fn)(void *), void *arg);
FIBER_FN void fiber_join(struct fiber *f);
FIBER_FN void fiber_yield(void);	   /* let others run; ready again at once */
FIBER_FN void fiber_sleep_ns(uint64_t ns);
/* Sleep that fiber_cancel() ends: 0 or -EINTR. */
FIBER_FN int fiber_sleep_interruptible_ns(uint64_t ns);
void fiber_cancel(struct fiber *f);
bool fiber_cancelled(void);		   /* has the running fiber been asked to stop? */
struct fiber *fiber_self(void);
const char *fiber_name(const struct fiber *f);

/*
 * Low level, for sync.c and completions: park until fiber_wake(). Spurious wake-ups do not happen.
 * fiber_wake() asserts that f is parked: a wake-up is neither remembered nor repeated. What may complete before its waiter
 * parks (an inline I/O) uses a latch.
 */
FIBER_FN void fiber_park(void);
void fiber_wake(struct fiber *f);

/* Between these, parking is a bug and asserts, in all builds. They nest. */
void no_yield_begin(void);
void no_yield_end(void);
/* Assert that the caller may park here: called at the top of FIBER_FN functions whose fast path does not park. */
void might_yield(void);

/* --- timers --------------------------------------------------------------------------------------------------------- */

/* Embedded; calls fn(timer) on the engine loop, which must not yield (spawn or wake a fiber instead). */
struct timer {
	uint64_t due_ns;   /* absolute */
	uint64_t seq;	   /* equal due_ns: first armed, first called */
	size_t heap_index; /* SIZE_MAX when not armed */
	void (*fn)(struct timer *t);
};
void timer_init(struct timer *t, void (*fn)(struct timer *));
void timer_arm_ns(struct timer *t, uint64_t delay_ns); /* re-arms when armed */
void timer_cancel(struct timer *t);
static inline bool timer_armed(const struct timer *t) { return t->heap_index != SIZE_MAX; }

/* --- work elsewhere -------------------------------------------------------------------------------------------------- */

FIBER_FN void offload(void (*fn)(void *), void *arg);

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
