/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* fork() in the middle of a world, on one of its fibers or its loop. */
#include <stdio.h>
#include <unistd.h>
#include "core/util/sanitize.h"

#ifdef WITH_TSAN
void AnnotateIgnoreSyncEnd(const char *file, int line);
#endif

/*
 * TSan takes fibers for threads, and expects a child of many threads to exec: it no longer sees what the fiber that forked synchronises. The
 * others it goes on to judge, and would find a race, with a report of a second, wherever they touch what that fiber touched.
 */
static inline pid_t fork_world(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
#ifdef WITH_TSAN
	if (!pid)
		AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
#endif
	return pid;
}
