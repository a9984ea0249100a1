/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The simulator's engine backend: a run is a seed.
 *
 *  - The clock is virtual. It creeps while fibers run (so that polling loops see time pass) and jumps to the next timer when
 *    everybody waits. Latencies of simulated devices are timers. An hour costs as much as its events.
 *  - The seed chooses which ready fiber runs next, how many run before time goes on, what offload() takes, what random() returns.
 *  - Nothing to run and no timer armed is a deadlock: engine_run() returns -ECANCELED and engine_sim_deadlocked() is true.
 *
 * After a power cut (blk_sim.h) engine_run() returns -ECANCELED too. Then, in this order: engine_sim_abandon() drops all fibers where
 * they stand, blk_sim_crash() makes the surviving images, a new engine starts the core on them. What abandoned stacks owned on the heap is
 * leaked, so leak checkers must be off in crash runs (ASAN_OPTIONS=detect_leaks=0), or core must allocate from an arena.
 */
#include "core/engine/engine.h"
#include "core/util/prng.h"

MUST_CHECK int engine_sim_new(uint64_t seed, struct engine **ret);
void engine_sim_free(struct engine *e); /* no fiber may be left */
/* Drop all fibers without running them, and free the engine. */
void engine_sim_abandon(struct engine *e);
bool engine_is_sim(const struct engine *e);
bool engine_sim_deadlocked(const struct engine *e);

/* For devices: their own stream of the seed, so that drawing from it does not disturb scheduling. */
struct prng *engine_sim_device_prng(struct engine *e);
/* The trace: a hash over every scheduling decision and every noted event. Equal seeds must give equal traces. */
void engine_sim_note(struct engine *e, uint64_t event);
uint64_t engine_sim_trace(const struct engine *e);
uint64_t engine_sim_nr_switches(const struct engine *e);
