/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Request statistics, decaying and total (behaviour.md §9, control-files.md §4.6), and time statistics. 64 bit throughout. */
#include "core/engine/engine.h"

enum stat_counter { STAT_HITS, STAT_MISSES, STAT_BYPASS_HITS, STAT_BYPASS_MISSES, STAT_MISS_COLLISIONS, STAT_BYPASSED_SECTORS,
		    STAT_HIT_SECTORS, STAT_MISS_SECTORS, STAT_NR };
enum stat_period { STAT_TOTAL, STAT_FIVE_MINUTE, STAT_HOUR, STAT_DAY, STAT_PERIODS };
#define STATS_TICK_NS (300 * NS_PER_S / 22)

struct stats {
	uint64_t collector[STAT_NR];		  /* since the last tick */
	uint64_t value[STAT_PERIODS][STAT_NR];	  /* decaying ones keep 16 fraction bits, the total none */
	uint32_t ticks;
};
static inline void stat_add(struct stats *s, enum stat_counter c, uint64_t n) { s->collector[c] += n; }
/* Move the collector into all periods and let them decay; once per STATS_TICK_NS. */
void stats_tick(struct stats *s);
/* What the control file shows: whole events, the partial tick included. */
uint64_t stats_read(const struct stats *s, enum stat_period p, enum stat_counter c);
/* Percent of requests, of data; without bypassing reads. 0 when there were none. */
unsigned stats_hit_ratio(const struct stats *s, enum stat_period p);
unsigned stats_byte_hit_ratio(const struct stats *s, enum stat_period p);
void stats_clear(struct stats *s); /* the total and the collector only */

/* Durations of one kind of operation: EWMAs of weight 8 with 8 fraction bits, in ns (behaviour.md §9). */
struct time_stats {
	uint64_t max_duration, average_duration, average_frequency, last, count;
};
void time_stats_update(struct time_stats *t, uint64_t start_ns, uint64_t end_ns);
