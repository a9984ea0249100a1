/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Single operations on a tiny world (world_options.tiny), one after the other, each with its questions to the model: the alphabet of
 * exhaustive.c and nth.c. When something was made to fail in this boot, an operation may fail, too; what it returns is right all the same.
 */
#include "tests/sim/world.h"

#define STEPS_SECTORS 24u /* of the tiny world's device */

enum step {
	STEP_WRITE, STEP_OVERWRITE, STEP_FLUSH, STEP_READ, STEP_PUNCH, STEP_MODE, STEP_ATTACH, STEP_DETACH, STEP_GC, STEP_WRITEBACK,
	STEP_STOP, STEP_CRASH, /* these two are the caller's to perform */
	STEPS
};
extern const char *const step_names[STEPS];

/* Nothing is written back, and nothing passes the cache, unless we say so. After each start. */
FIBER_FN void steps_configure(struct world *w);
/* Before the first step: something that is not zeros lies on the backing device, and not in the cache. */
FIBER_FN void steps_prepare(struct world *w);
/* Would it do anything? Sequences with an operation that does nothing are shorter ones. */
bool step_possible(struct world *w, enum step op);
FIBER_FN void step_perform(struct world *w, enum step op);

/* The same with any range. */
enum steps_write { STEPS_PLAIN, STEPS_SYNC, STEPS_ZERO };
FIBER_FN void steps_write(struct world *w, uint64_t sector, uint64_t nr_sectors, enum steps_write how);
FIBER_FN void steps_read(struct world *w, uint64_t sector, uint64_t nr_sectors);
