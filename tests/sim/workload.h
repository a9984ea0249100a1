/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What the clients of a world do: reads, writes, flushes and zeroing of every size and alignment from several fibers at once, while modes
 * change, devices are detached and attached, garbage is collected, and the clock jumps.
 */
#include "tests/sim/world.h"

/* Run a whole world: boots, workload, crashes, checks. 0, or -1 with w->failure. */
MUST_CHECK int workload_run(struct world *w);
