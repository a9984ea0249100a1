/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The loop, the timers, and the small calls that ask the backend.
 *
 * One turn: a bounded batch of ready fibers, deferred calls, due timers, pollers, then the backend's completions. The bound
 * keeps a crowd of busy fibers from starving the disks and the transport.
 */
#include "core/engine/fiber.h"
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_FIBER_BATCH 64
#define SPARE_TIMERS 128 /* that are not of a sleeping fiber */

static __thread struct engine *thread_engine;
/* Where fibers switch back to. At a fixed address, because pooled fibers remember it from one engine_run() to the next. */
static __thread struct context thread_loop;

struct engine *engine_self(void)
{
	return thread_engine;
}

void engine_init(struct engine *e, const struct engine_ops *ops)
{
	assert(!thread_engine);
	memset(e, 0, sizeof(*e));
	e->ops = ops;
	e->fiber_batch = DEFAULT_FIBER_BATCH;
	list_init(&e->ready);
	list_init(&e->fibers);
	list_init(&e->pollers);
	list_init(&e->calls);
	list_init(&e->stack_pool);
	e->cached_now_ns = ops->now_ns(e);
	thread_engine = e;
}

void engine_release(struct engine *e)
{
	assert(thread_engine == e);
	assert(list_empty(&e->fibers) && !e->nr_reserved_stacks);
	fiber_pool_drain(e);
	free(e->timers);
	thread_engine = NULL;
}

/* --- timers --------------------------------------------------------------------------------------------------------- */

static bool timer_before(const struct timer *a, const struct timer *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

static void heap_place(struct engine *e, size_t i, struct timer *t)
{
	e->timers[i] = t;
	t->heap_index = i;
}

static void heap_up(struct engine *e, size_t i, struct timer *t)
{
	for (; i > 0 && timer_before(t, e->timers[(i - 1) / 2]); i = (i - 1) / 2)
		heap_place(e, i, e->timers[(i - 1) / 2]);
	heap_place(e, i, t);
}

static void heap_down(struct engine *e, size_t i, struct timer *t)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < e->nr_timers && timer_before(e->timers[child + 1], e->timers[child]))
			child++;
		if (child >= e->nr_timers || !timer_before(e->timers[child], t))
			break;
		heap_place(e, i, e->timers[child]);
		i = child;
	}
	heap_place(e, i, t);
}

static bool heap_grow(struct engine *e, size_t cap)
{
	struct timer **timers = realloc(e->timers, cap * sizeof(*timers));

	if (!timers)
		return false;
	e->timers = timers;
	e->cap_timers = cap;
	return true;
}

bool engine_reserve_timers(struct engine *e, size_t nr_fibers)
{
	size_t wanted = nr_fibers + SPARE_TIMERS;

	return wanted <= e->cap_timers || heap_grow(e, 2 * wanted);
}

/* A fiber has at most one timer armed while it sleeps, and room for that since it was spawned; what else has timers is few. */
static void heap_reserve(struct engine *e)
{
	if (e->nr_timers < e->cap_timers || heap_grow(e, 2 * e->cap_timers + SPARE_TIMERS))
		return;
	fprintf(stderr, "out of memory for timers\n");
	abort();
}

void timer_init(struct timer *t, void (*fn)(struct timer *))
{
	t->due_ns = 0;
	t->seq = 0;
	t->heap_index = SIZE_MAX;
	t->fn = fn;
}

void timer_cancel(struct timer *t)
{
	struct engine *e = engine_self();
	size_t i = t->heap_index;
	struct timer *last;

	if (!timer_armed(t))
		return;
	assert(e->timers[i] == t);
	last = e->timers[--e->nr_timers];
	t->heap_index = SIZE_MAX;
	if (last == t)
		return;
	heap_up(e, i, last);
	if (last->heap_index == i)
		heap_down(e, i, last);
}

void timer_arm_ns(struct timer *t, uint64_t delay_ns)
{
	struct engine *e = engine_self();
	uint64_t now = engine_now_precise_ns(); /* the turn's time may be old, and nobody wants to wake early */

	timer_cancel(t);
	heap_reserve(e);
	t->due_ns = delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
	t->seq = ++e->timer_seq;
	heap_up(e, e->nr_timers++, t);
}

static void run_timers(struct engine *e)
{
	uint64_t armed_before = e->timer_seq; /* one that re-arms itself with no delay waits for the next turn */

	while (e->nr_timers) {
		struct timer *t = e->timers[0];

		if (t->due_ns > e->cached_now_ns || t->seq > armed_before)
			return;
		timer_cancel(t);
		t->fn(t);
	}
}

/* --- pollers and calls ---------------------------------------------------------------------------------------------- */

void engine_poller_add(struct engine *e, struct engine_poller *p)
{
	list_add_tail(&e->pollers, &p->link);
}

void engine_poller_remove(struct engine_poller *p)
{
	list_del(&p->link);
}

bool engine_run_pollers(struct engine *e)
{
	struct engine_poller *p, *tmp;
	bool found = false;

	list_for_each_safe(p, tmp, &e->pollers, link)
		found |= p->poll(p);
	return found;
}

void engine_call_soon(struct engine_call *c)
{
	list_add_tail(&engine_self()->calls, &c->link);
}

/* Calls made by calls run in the next turn. */
static void run_calls(struct engine *e)
{
	struct list now;

	if (list_empty(&e->calls))
		return;
	list_insert_between(&now, e->calls.prev, e->calls.next);
	list_init(&e->calls);
	while (!list_empty(&now)) {
		struct engine_call *c = list_first(&now, struct engine_call, link);

		list_del(&c->link);
		c->fn(c);
	}
}

/* --- the loop ------------------------------------------------------------------------------------------------------- */

static struct fiber *pick(struct engine *e)
{
	size_t n = e->ops->pick(e, e->nr_ready);
	struct list *l = e->ready.next;

	assert(n < e->nr_ready);
	while (n--)
		l = l->next;
	return list_entry(l, struct fiber, link);
}

static void run_ready(struct engine *e)
{
	for (size_t n = min(e->nr_ready, e->fiber_batch); n && e->nr_ready && !e->stopping; n--)
		fiber_resume(e, pick(e));
}

bool engine_has_work(const struct engine *e)
{
	return e->nr_ready || e->stopping || !list_empty(&e->calls);
}

static uint64_t sleep_until(const struct engine *e)
{
	if (engine_has_work(e))
		return 0;
	return e->nr_timers ? e->timers[0]->due_ns : UINT64_MAX;
}

static void turn(struct engine *e)
{
	bool found;

	run_ready(e);
	run_calls(e);
	run_timers(e);
	found = engine_run_pollers(e);
	e->ops->poll(e, found ? 0 : sleep_until(e));
	e->cached_now_ns = e->ops->now_ns(e);
}

struct main_call {
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static void main_fiber(void *arg)
{
	struct main_call *m = arg;

	m->result = m->fn(m->arg);
	engine_stop(engine_self()); /* or this turn would go to sleep */
}

int engine_run(struct engine *e, int (*main_fn)(void *arg), void *arg)
{
	struct main_call m = { main_fn, arg, 0 };
	struct fiber *f;

	assert(engine_self() == e && !e->loop_context);
	context_init_loop(&thread_loop);
	e->loop_context = &thread_loop;
	e->stopping = false;
	e->cached_now_ns = e->ops->now_ns(e);
	f = fiber_spawn("main", main_fiber, &m);
	if (!f)
		m.result = -ENOMEM;
	while (f && f->state != FIBER_DONE && !e->stopping)
		turn(e);
	e->loop_context = NULL;
	if (!f)
		return m.result;
	if (f->state != FIBER_DONE)
		return -ECANCELED;
	fiber_free(f);
	if (!list_empty(&e->fibers))
		engine_dump_fibers(e);
	assert(list_empty(&e->fibers));
	return m.result;
}

void engine_stop(struct engine *e)
{
	e->stopping = true;
}

void engine_abandon(struct engine *e)
{
	assert(!e->running && !e->loop_context);
	while (!list_empty(&e->fibers))
		fiber_destroy(list_first(&e->fibers, struct fiber, all));
	list_init(&e->ready);
	e->nr_ready = 0;
	list_init(&e->pollers);
	list_init(&e->calls);
	e->nr_timers = 0;
	e->nr_reserved_stacks = 0;
	e->no_yield_depth = 0;
}

/* --- small questions ------------------------------------------------------------------------------------------------ */

uint64_t engine_now_ns(void)
{
	return engine_self()->cached_now_ns;
}

uint64_t engine_now_precise_ns(void)
{
	struct engine *e = engine_self();

	return e->ops->now_ns(e);
}

uint64_t engine_real_s(void)
{
	struct engine *e = engine_self();

	return e->ops->real_s(e);
}

void engine_random(void *buf, size_t len_bytes)
{
	struct engine *e = engine_self();

	e->ops->random(e, buf, len_bytes);
}

uint64_t engine_random_u64(void)
{
	uint64_t v;

	engine_random(&v, sizeof(v));
	return v;
}
