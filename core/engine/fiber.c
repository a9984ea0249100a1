/* SPDX-License-Identifier: GPL-2.0-only */
/* Fibers: stacks, switching, spawning, parking. */
#include "core/engine/fiber.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Enough for a burst of requests at the usual FUSE queue depths; more are unmapped when they end. */
#define MAX_POOLED_STACKS 512

/* --- contexts ------------------------------------------------------------------------------------------------------- */

#ifdef FIBER_UCONTEXT

/* makecontext() passes ints only. */
static void ucontext_entry(unsigned high, unsigned low)
{
	void **start = (void **)(((uintptr_t)high << 16 << 16) | low);
	void (*entry)(void *) = (void (*)(void *))start[0];
	entry(start[1]);
	abort();
}

static void context_make(struct context *c, char *low, char *top, void (*entry)(void *), void *arg)
{
	void **start = (void **)top - 2;
	start[0] = (void *)entry;
	start[1] = arg;
	getcontext(&c->uc);
	c->uc.uc_stack.ss_sp = low;
	c->uc.uc_stack.ss_size = (size_t)((char *)start - low);
	c->uc.uc_link = NULL;
	makecontext(&c->uc, (void (*)(void))ucontext_entry, 2, (unsigned)((uintptr_t)start >> 16 >> 16),
		    (unsigned)(uintptr_t)start);
}

static void context_jump(struct context *from, struct context *to)
{
	swapcontext(&from->uc, &to->uc);
}

#else

/*
 * fiber_<arch>.S. Saves the callee-saved registers on the current stack and its pointer in *save_sp, then continues at load_sp.
 * Floating-point control words (mxcsr, x87 cw, fpcr) are not saved: they are callee-saved by the ABI, and nothing in this program
 * changes them. Code that ever does must restore them before it waits.
 */
void fiber_switch(void **save_sp, void *load_sp);
void fiber_start(void); /* first return address of a fiber: calls entry(arg) from callee-saved registers */

static void context_make(struct context *c, char *low, char *top, void (*entry)(void *), void *arg)
{
	void **sp = (void **)((uintptr_t)top & ~(uintptr_t)15);
	(void)low;
#if defined(__x86_64__)
	/* Mirrors the pops of fiber_switch: r15 r14 r13 r12 rbx rbp, then the return address. */
	sp -= 7;
	memset(sp, 0, 7 * sizeof(void *));
	sp[2] = (void *)entry; /* r13 */
	sp[3] = arg;	       /* r12 */
	sp[6] = (void *)fiber_start;
#else
	/* Mirrors fiber_switch: x19..x28, x29, x30, d8..d15. */
	sp -= 20;
	memset(sp, 0, 20 * sizeof(void *));
	sp[0] = (void *)entry; /* x19 */
	sp[1] = arg;	       /* x20 */
	sp[11] = (void *)fiber_start; /* x30 */
#endif
	c->sp = sp;
}

static void context_jump(struct context *from, struct context *to)
{
	fiber_switch(&from->sp, to->sp);
}

#endif

/* Called first thing after control has arrived at `to`, coming from `from`. */
static inline void context_arrived(struct context *to, struct context *from)
{
#ifdef WITH_ASAN
	__sanitizer_finish_switch_fiber(to->fake_stack, &from->stack_bottom, &from->stack_bytes);
#else
	(void)to;
	(void)from;
#endif
}

/* `from` is left, and resumes when somebody switches back to it (always `to`: fibers switch with the loop only). */
static inline void context_switch(struct context *from, struct context *to)
{
#ifdef WITH_ASAN
	__sanitizer_start_switch_fiber(&from->fake_stack, to->stack_bottom, to->stack_bytes);
#endif
#ifdef WITH_TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	context_jump(from, to);
	context_arrived(from, to);
}

void context_init_loop(struct context *c)
{
	memset(c, 0, sizeof(*c));
#ifdef WITH_TSAN
	c->tsan = __tsan_get_current_fiber();
#endif
}

/* --- stacks --------------------------------------------------------------------------------------------------------- */

static void fiber_main(void *arg)
{
	struct fiber *f = arg;
	struct context *loop = f->engine->loop_context;

	context_arrived(&f->context, loop);
	for (;;) {
		f->fn(f->arg);
		assert(f->engine->no_yield_depth == 0);
		f->state = FIBER_DONE;
		if (f->joiner)
			fiber_wake(f->joiner);
		context_switch(&f->context, f->engine->loop_context);
	}
}

static void sanitizers_attach(struct fiber *f, char *low)
{
	f->valgrind_id = VALGRIND_STACK_REGISTER(low, (char *)f);
#ifdef WITH_ASAN
	__asan_unpoison_memory_region(f->mapping, f->mapping_bytes);
	f->context.stack_bottom = low;
	f->context.stack_bytes = (size_t)((char *)f - low);
#endif
#ifdef WITH_TSAN
	f->context.tsan = __tsan_create_fiber(0);
#endif
}

static void sanitizers_detach(struct fiber *f)
{
	VALGRIND_STACK_DEREGISTER(f->valgrind_id);
#ifdef WITH_ASAN
	/* An abandoned stack leaves red zones in the shadow, which the next mapping there would inherit. */
	__asan_unpoison_memory_region(f->mapping, f->mapping_bytes);
#endif
#ifdef WITH_TSAN
	__tsan_destroy_fiber(f->context.tsan);
#endif
}

static struct fiber *fiber_new(struct engine *e)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = guard + FIBER_STACK_BYTES;
	char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	if (mprotect(map, guard, PROT_NONE) < 0) { /* the kernel's limit of mappings */
		munmap(map, bytes);
		return NULL;
	}
	struct fiber *f = (struct fiber *)(map + bytes - round_up_u64(sizeof(*f), 64));
	f->engine = e;
	f->mapping = map;
	f->mapping_bytes = bytes;
	sanitizers_attach(f, map + guard);
	context_make(&f->context, map + guard, (char *)f, fiber_main, f);
	return f;
}

static void fiber_unmap(struct fiber *f)
{
	sanitizers_detach(f);
	munmap(f->mapping, f->mapping_bytes);
}

static void fiber_forget(struct fiber *f)
{
	list_del(&f->link);
	list_del(&f->all);
	f->engine->nr_fibers--;
}

static void fiber_to_pool(struct engine *e, struct fiber *f)
{
	list_add(&e->stack_pool, &f->link); /* last in, first out: its pages are warm */
	e->nr_pooled_stacks++;
}

void fiber_free(struct fiber *f)
{
	struct engine *e = f->engine;

	assert(f->state == FIBER_DONE);
	fiber_forget(f);
	if (e->nr_pooled_stacks >= MAX_POOLED_STACKS + e->nr_reserved_stacks) {
		fiber_unmap(f);
		return;
	}
	fiber_to_pool(e, f);
}

void fiber_destroy(struct fiber *f)
{
	fiber_forget(f);
	fiber_unmap(f);
}

static struct fiber *fiber_from_pool(struct engine *e)
{
	struct fiber *f = list_first(&e->stack_pool, struct fiber, link);

	if (f) {
		list_del(&f->link);
		e->nr_pooled_stacks--;
	}
	return f;
}

void fiber_pool_drain(struct engine *e)
{
	struct fiber *f;

	while ((f = fiber_from_pool(e)))
		fiber_unmap(f);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

static void make_ready(struct fiber *f)
{
	f->state = FIBER_READY;
	list_add_tail(&f->engine->ready, &f->link);
	f->engine->nr_ready++;
}

static struct fiber *spawn(const char *name, void (*fn)(void *), void *arg, bool detached)
{
	struct engine *e = engine_self();
	struct fiber *f;

	assert(e);
	if (!engine_reserve_timers(e, e->nr_fibers + 1 + e->nr_reserved_stacks))
		return NULL;
	f = e->nr_pooled_stacks > e->nr_reserved_stacks ? fiber_from_pool(e) : fiber_new(e);
	if (!f)
		return NULL;
	f->name = name;
	f->fn = fn;
	f->arg = arg;
	f->joiner = NULL;
	f->detached = detached;
	f->cancelled = false;
	f->interruptible = false;
	list_init(&f->link);
	list_add_tail(&e->fibers, &f->all);
	e->nr_fibers++;
	make_ready(f);
	return f;
}

struct fiber *fiber_spawn(const char *name, void (*fn)(void *), void *arg)
{
	return spawn(name, fn, arg, false);
}

int fiber_spawn_detached(const char *name, void (*fn)(void *), void *arg)
{
	return spawn(name, fn, arg, true) ? 0 : -ENOMEM;
}

int fiber_reserve(void)
{
	struct engine *e = engine_self();
	struct fiber *f;

	if (!engine_reserve_timers(e, e->nr_fibers + e->nr_reserved_stacks + 1))
		return -ENOMEM;
	if (e->nr_pooled_stacks == e->nr_reserved_stacks) {
		f = fiber_new(e);
		if (!f)
			return -ENOMEM;
		fiber_to_pool(e, f);
	}
	e->nr_reserved_stacks++;
	return 0;
}

void fiber_unreserve(void)
{
	assert(engine_self()->nr_reserved_stacks > 0);
	engine_self()->nr_reserved_stacks--;
}

void fiber_spawn_reserved(const char *name, void (*fn)(void *), void *arg)
{
	struct fiber *f;

	fiber_unreserve();
	f = spawn(name, fn, arg, true);
	assert(f);
}

void fiber_resume(struct engine *e, struct fiber *f)
{
	assert(f->state == FIBER_READY);
	list_del(&f->link);
	e->nr_ready--;
	f->state = FIBER_RUNNING;
	e->running = f;
	context_switch(e->loop_context, &f->context);
	e->running = NULL;
	if (f->state == FIBER_DONE && f->detached)
		fiber_free(f); /* here, because no code can give back the stack it runs on */
}

void fiber_join(struct fiber *f)
{
	might_yield();
	assert(!f->detached && !f->joiner);
	if (f->state != FIBER_DONE) {
		f->joiner = fiber_self();
		fiber_park();
	}
	fiber_free(f);
}

struct fiber *fiber_self(void)
{
	struct engine *e = engine_self();

	return e ? e->running : NULL;
}

const char *fiber_name(const struct fiber *f)
{
	return f->name;
}

/* --- parking -------------------------------------------------------------------------------------------------------- */

void no_yield_begin(void)
{
	struct engine *e = engine_self();

	if (e)
		e->no_yield_depth++;
}

void no_yield_end(void)
{
	struct engine *e = engine_self();

	if (!e)
		return;
	assert(e->no_yield_depth > 0);
	e->no_yield_depth--;
}

void might_yield(void)
{
	struct engine *e = engine_self();

	if (!e) /* a tool without an engine: nothing can park, and blk_file never needs to */
		return;
	assert(e->running);
	assert(e->no_yield_depth == 0);
}

static void leave(struct engine *e, struct fiber *f)
{
	context_switch(&f->context, e->loop_context);
}

void fiber_park(void)
{
	struct engine *e = engine_self();
	struct fiber *f;

	assert(e);
	might_yield();
	f = e->running;
	f->state = FIBER_PARKED;
	leave(e, f);
}

void fiber_wake(struct fiber *f)
{
	assert(f->state == FIBER_PARKED);
	list_del(&f->link);
	make_ready(f);
}

void fiber_wake_with(struct fiber *f, int result)
{
	f->wait_result = result;
	fiber_wake(f);
}

void fiber_yield(void)
{
	struct engine *e = engine_self();
	struct fiber *f;

	assert(e);
	might_yield();
	f = e->running;
	make_ready(f);
	leave(e, f);
}

/* --- waiting -------------------------------------------------------------------------------------------------------- */

struct wait_timer {
	struct timer timer;
	struct fiber *fiber;
};

static void wait_timed_out(struct timer *t)
{
	struct fiber *f = container_of(t, struct wait_timer, timer)->fiber;

	if (f->state == FIBER_PARKED) /* else it was woken in this very turn and has not run yet */
		fiber_wake_with(f, -ETIME);
}

int fiber_wait(struct list *waiters, uint64_t timeout_ns, bool interruptible)
{
	struct fiber *f = fiber_self();
	struct wait_timer wt;

	might_yield();
	assert(f);
	if (interruptible && f->cancelled)
		return -EINTR;
	if (waiters)
		list_add_tail(waiters, &f->link);
	if (timeout_ns != UINT64_MAX) {
		wt.fiber = f;
		timer_init(&wt.timer, wait_timed_out);
		timer_arm_ns(&wt.timer, timeout_ns);
	}
	f->wait_result = 0;
	f->interruptible = interruptible;
	fiber_park();
	f->interruptible = false;
	if (timeout_ns != UINT64_MAX)
		timer_cancel(&wt.timer);
	return f->wait_result;
}

void fiber_sleep_ns(uint64_t ns)
{
	(void)fiber_wait(NULL, ns, false); /* always -ETIME */
}

int fiber_sleep_interruptible_ns(uint64_t ns)
{
	return fiber_wait(NULL, ns, true) == -EINTR ? -EINTR : 0;
}

void fiber_cancel(struct fiber *f)
{
	f->cancelled = true;
	if (f->state == FIBER_PARKED && f->interruptible)
		fiber_wake_with(f, -EINTR);
}

bool fiber_cancelled(void)
{
	struct fiber *f = fiber_self();

	return f && f->cancelled;
}

void engine_dump_fibers(const struct engine *e)
{
	static const char *const states[] = { "ready", "running", "parked", "done" };
	struct fiber *f;

	list_for_each(f, &e->fibers, all)
		fprintf(stderr, "fiber %p '%s' %s%s%s\n", (void *)f, f->name, states[f->state],
			f->interruptible ? " interruptible" : "", f->cancelled ? " cancelled" : "");
}
