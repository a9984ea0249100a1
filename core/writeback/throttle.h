/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * How fast the writeback of a device may go: what surrounds the controller (rate.h) and the backing-off (backoff.h) in a running core.
 *
 *     every writeback_rate_update_seconds:  dirty sectors, target, fragmentation ──> rate (§8.7), or the idle maximum (§8.8)
 *     after each batch:		     a pause that keeps the rate (§8.5)
 *     within a batch:			     as many writes at once, and as large, as requests beside them can bear
 *
 * Three things end all restraint: detaching, somebody who waits for a flush, and writeback_percent = 0.
 * Starvation (§8.10, T-10, T-11): more dirty than the target for longer than 15 minutes, while we restrain writeback. The minimum
 * rate then rises, in proportion to the excess and to how long it lasts, and a device that is behind its minimum rate does not back off. It
 * is counted (writeback_starved_seconds) and told when it begins and ends.
 */
#include "core/engine/sync.h"

struct bdev;
struct bio;

struct timer;
void throttle_timer_fired(struct timer *t); /* writeback.rate_timer */
/* The period was changed: it holds from now on. */
void throttle_restart(struct bdev *d);
bool unthrottled(const struct bdev *d);
/* Work begins after a rest, in which nothing was owed. */
void throttle_begin(struct bdev *d);
/* Sectors of the next batch. */
uint64_t throttle_budget(const struct bdev *d);
/* So many sectors were done: wait until the rate allows more. Ends early when something changes. */
FIBER_FN void throttle_pause(struct bdev *d, uint64_t sectors);
/* How many writes may be in flight now, and how long each may be. */
unsigned throttle_window(struct bdev *d);
uint32_t throttle_io_sectors(struct bdev *d);
