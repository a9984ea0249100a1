/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/stats.h"

#define FRACTION_BITS 16
#define TICKS_PER_HOUR_DECAY 12
#define TICKS_PER_DAY_DECAY 288

/* Move what happened since the last tick into all periods. */
static void collect(struct stats *s)
{
	for (unsigned c = 0; c < STAT_NR; c++) {
		s->value[STAT_TOTAL][c] += s->collector[c];
		for (unsigned p = STAT_FIVE_MINUTE; p < STAT_PERIODS; p++)
			s->value[p][c] += s->collector[c] << FRACTION_BITS;
		s->collector[c] = 0;
	}
}

/* v * 31 / 32 without overflow. */
static void decay(uint64_t value[STAT_NR])
{
	for (unsigned c = 0; c < STAT_NR; c++)
		value[c] = value[c] / 32 * 31 + value[c] % 32 * 31 / 32;
}

void stats_tick(struct stats *s)
{
	collect(s);
	s->ticks++;
	decay(s->value[STAT_FIVE_MINUTE]);
	if (s->ticks % TICKS_PER_HOUR_DECAY == 0)
		decay(s->value[STAT_HOUR]);
	if (s->ticks % TICKS_PER_DAY_DECAY == 0)
		decay(s->value[STAT_DAY]);
}

uint64_t stats_read(const struct stats *s, enum stat_period p, enum stat_counter c)
{
	if (p == STAT_TOTAL)
		return s->value[p][c] + s->collector[c];
	return (s->value[p][c] + (s->collector[c] << FRACTION_BITS)) >> FRACTION_BITS;
}

static unsigned ratio(uint64_t hits, uint64_t misses)
{
	unsigned __int128 all = (unsigned __int128)hits + misses;

	return all ? (unsigned)((unsigned __int128)hits * 100 / all) : 0;
}

unsigned stats_hit_ratio(const struct stats *s, enum stat_period p)
{
	return ratio(stats_read(s, p, STAT_HITS), stats_read(s, p, STAT_MISSES));
}

unsigned stats_byte_hit_ratio(const struct stats *s, enum stat_period p)
{
	return ratio(stats_read(s, p, STAT_HIT_SECTORS), stats_read(s, p, STAT_MISS_SECTORS));
}

void stats_clear(struct stats *s)
{
	collect(s); /* the decaying periods keep the partial tick: clearing must not be visible there */
	memset(s->value[STAT_TOTAL], 0, sizeof(s->value[STAT_TOTAL]));
}

static uint64_t ewma8(uint64_t average, uint64_t v)
{
	return (average * 7 + (v << 8)) / 8;
}

void time_stats_update(struct time_stats *t, uint64_t start_ns, uint64_t end_ns)
{
	uint64_t duration = end_ns > start_ns ? end_ns - start_ns : 0;

	t->max_duration = max(t->max_duration, duration);
	t->average_duration = t->average_duration ? ewma8(t->average_duration, duration) : duration << 8;
	if (t->count) {
		uint64_t gap = end_ns > t->last ? end_ns - t->last : 0;

		t->average_frequency = t->average_frequency ? ewma8(t->average_frequency, gap) : gap << 8;
	}
	t->last = end_ns;
	t->count++;
}
