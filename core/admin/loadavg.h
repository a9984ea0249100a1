/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Load averages: what a device did per second, over about 1, 5 and 15 minutes (control-files.md §10.5, T-10).
 *
 * Every 5 s the growth of some counters goes into exponential averages, like the load average of a machine. Requests in flight are
 * measured by Little's law: the time that requests took, per second, is how many there were.
 */
#include "core/engine/engine.h"
#include "formats/printbuf.h"

#define LOADAVG_PERIOD_NS (5 * NS_PER_S)

enum load_metric { LOAD_READS, LOAD_WRITES, LOAD_READ_BYTES, LOAD_WRITE_BYTES, LOAD_HITS, LOAD_MISSES, LOAD_BYPASSED_BYTES, LOAD_DIRTIED_BYTES,
	    LOAD_WRITTEN_BACK_BYTES, LOAD_INFLIGHT_NS, LOAD_READ_NS, LOAD_WRITE_NS, LOADS };
enum load_period { LOAD_1MIN, LOAD_5MIN, LOAD_15MIN, LOAD_PERIODS };

struct loadavg {
	uint64_t last[LOADS], last_ns;
	uint64_t average[LOAD_PERIODS][LOADS]; /* per second, 16 fraction bits */
};
struct bdev;

/* now[] are counters that only grow; one that is smaller than before was set to zero meanwhile. Every LOADAVG_PERIOD_NS. */
void loadavg_sample(struct loadavg *l, const uint64_t now[LOADS], uint64_t now_ns);
/* Collect the counters of a device. */
void loadavg_counters(const struct bdev *d, uint64_t ret[LOADS]);
/* Add averages of another device. */
void loadavg_add(struct loadavg *l, const struct loadavg *other);
/* The file. */
void loadavg_to_text(const struct loadavg *l, struct printbuf *out);
/* " 1.20 0.80 0.60" */
void loadavg_inflight_text(const struct loadavg *l, struct printbuf *out);
