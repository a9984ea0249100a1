/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What the engine and block tests share. Assertions may fail inside of fibers, too: fail.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/engine/engine_uring.h"
#include "core/engine/sync.h"
#include "tests/sim/engine_sim.h"
#include "tests/unit/core/fail.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(WITH_ASAN) || defined(WITH_TSAN)
#define SLOW 1 /* sanitized */
#else
#define SLOW 0
#endif

#define TEST(fn) cmocka_unit_test(fn)

static inline int run_uring(int (*fn)(void *), void *arg)
{
	struct engine *e;
	int r;

	fail_forget_engine();
	assert_int_equal(engine_uring_new(20, &e), 0);
	r = engine_run(e, fn, arg);
	engine_uring_free(e);
	return r;
}

static inline int run_sim(uint64_t seed, int (*fn)(void *), void *arg)
{
	struct engine *e;
	int r;

	fail_forget_engine();
	assert_int_equal(engine_sim_new(seed, &e), 0);
	r = engine_run(e, fn, arg);
	engine_sim_free(e);
	return r;
}

/* A sanitizer's, if there is one: where reports go. The runner fails a test that reports anything. */
void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

/* Does fn die (by assert, guard page, …)? Runs in a child. */
static inline bool dies(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		if (__sanitizer_set_report_fd)
			__sanitizer_set_report_fd((void *)2);
		fn();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}
