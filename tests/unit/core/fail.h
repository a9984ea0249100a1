/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A test that fails must not take the next ones with it: cmocka jumps out of it, wherever it is, to where it called it from.
 *
 * libcmocka does so in its function _fail(), which it calls by name, so that the one of the program goes first: ours. An assertion that fails in a
 * fiber fails its test from the loop, on the stack that cmocka knows; the engine is left behind as it stands; a forked child ends there and
 * then, with status 1.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
#include "core/engine/engine.h"
#include "tests/unit/core/unit.h"

static pid_t fail_program;

static __attribute__((constructor)) void fail_remember_program(void) { fail_program = getpid(); }

/* Stacks stay where they are: threads and the kernel may still be at work for their fibers. */
static inline void fail_leave_behind(struct engine *e)
{
	e->loop_context = NULL;
	e->nr_reserved_stacks = 0;
	list_init(&e->fibers);
	engine_release(e);
}

/* Before a test makes an engine: one that is in the midst of engine_run() belongs to a test that a signal (SIGSEGV, ...) ended. */
static inline void fail_forget_engine(void)
{
	if (engine_self() && engine_self()->loop_context)
		fail_leave_behind(engine_self());
}

/* Or it would go on with the tests after this one, beside its parent. */
static inline _Noreturn void fail_child(const char *file, int line)
{
	print_error("%s:%d: failure in a child\n", file, line);
	_exit(1);
}

static struct {
	struct engine_call call;
	const char *file;
	int line;
} fail_what;

static inline void fail_on_loop(struct engine_call *c) { _fail(fail_what.file, fail_what.line); }

/* A jump from one stack to another is undefined, and the sanitizers would not know whose stack they are on. */
static inline _Noreturn void fail_fiber(struct engine *e, const char *file, int line)
{
	fail_what.call.fn = fail_on_loop;
	fail_what.file = file;
	fail_what.line = line;
	e->no_yield_depth = 0;
	engine_stop(e); /* no other fiber runs before the call */
	engine_call_soon(&fail_what.call);
	fiber_park();
	abort();
}

void _fail(const char *const file, const int line)
{
	void (*jump)(const char *, int) = (void (*)(const char *, int))dlsym(RTLD_NEXT, "_fail");

	if (getpid() != fail_program)
		fail_child(file, line);
	if (fiber_self())
		fail_fiber(engine_self(), file, line);
	if (engine_self())
		fail_leave_behind(engine_self());
	jump(file, line);
	abort();
}
