/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/policy.h"

/* The kernel's "microseconds" and "milliseconds" are shifts by 10 of nanoseconds; thresholds mean the same here (behaviour.md §2.3). */
#define NS_TO_US_SHIFT 10
#define US_TO_MS_SHIFT 10
#define CONGESTED_MAX 1024

void congestion_note(struct congestion *g, bool write, uint64_t elapsed_ns, uint64_t now_ns)
{
	uint64_t elapsed_us = elapsed_ns >> NS_TO_US_SHIFT;
	uint32_t threshold_us = write ? g->write_threshold_us : g->read_threshold_us;

	if (!threshold_us)
		return;
	if (elapsed_us > threshold_us) {
		g->last_ns = now_ns;
		g->value -= (int64_t)min(elapsed_us >> US_TO_MS_SHIFT, (uint64_t)(CONGESTED_MAX + g->value));
	} else if (g->value < 0) {
		g->value++;
	}
}

/* 2^(i/64) in steps of 1/64 octave, i < 1024. */
static int64_t stepwise_exponential(int64_t i)
{
	return ((64 + i % 64) << (i / 64)) >> 6;
}

uint32_t congestion_limit(const struct congestion *g, uint64_t now_ns, uint32_t random)
{
	int64_t i;

	if ((!g->read_threshold_us && !g->write_threshold_us) || now_ns < g->last_ns)
		return 0;
	/* Time since the last slow I/O pays the congestion back, one per "ms". */
	i = (int64_t)((now_ns - g->last_ns) >> (NS_TO_US_SHIFT + US_TO_MS_SHIFT)) + g->value;
	if (i >= 0)
		return 0;
	i += CONGESTED_MAX;
	if (i > 0)
		i = stepwise_exponential(i);
	i -= __builtin_popcount(random);
	return (uint32_t)max(i, (int64_t)1);
}
