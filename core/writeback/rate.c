/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything is in sectors and 64 bits; intermediate products use 128. Divisions truncate toward zero, as C's do and as the kernel's
 * controller does, so that the same load gives the same rate. Extremes saturate instead of wrapping.
 */
#include "core/writeback/rate.h"

typedef __int128 wide;

#define SHARE_SHIFT 14
#define NS_PER_SECOND 1000000000ull
#define KEEPS_UP_SLACK_NS 1000000ull
#define BEHIND_MAX_NS (2 * NS_PER_SECOND)
#define AHEAD_MAX_NS (NS_PER_SECOND * 5 / 2)

/* In-use percentages where the fragmentation term starts and changes its slope. */
#define FRAGMENT_LOW 50
#define FRAGMENT_MID 57
#define FRAGMENT_HIGH 64
#define FRAGMENT_MIN 3

static int64_t saturate(wide v)
{
	return (int64_t)clamp(v, (wide)INT64_MIN, (wide)INT64_MAX);
}

/* This device's part of all backing sectors, in 1/16384. */
static uint64_t backing_share(const struct rate_input *in)
{
	uint64_t all = max(in->all_backing_sectors, in->backing_sectors);

	if (!all)
		return 1ull << SHARE_SHIFT;
	return max((uint64_t)(((wide)in->backing_sectors << SHARE_SHIFT) / all), (uint64_t)1);
}

int64_t rate_target(const struct rate_tunables *t, const struct rate_input *in)
{
	wide all_sectors = (wide)in->cache_sectors * t->percent / 100;

	return saturate(all_sectors * backing_share(in) >> SHARE_SHIFT);
}

/* The weight of fragmentation grows with how full the cache is. */
static wide fragment_weight(const struct rate_tunables *t, unsigned in_use_percent)
{
	if (in_use_percent <= FRAGMENT_MID)
		return (wide)t->fp_term_low * (in_use_percent - FRAGMENT_LOW);
	if (in_use_percent <= FRAGMENT_HIGH)
		return (wide)t->fp_term_mid * (in_use_percent - FRAGMENT_MID);
	return (wide)t->fp_term_high * (in_use_percent - FRAGMENT_HIGH);
}

/*
 * Few dirty sectors can hold many buckets, which only writeback can free. Then the rate follows the average dirty sectors per bucket
 * instead of the error, if that asks for more.
 */
static wide proportional_term(const struct rate_tunables *t, const struct rate_input *in, wide error)
{
	wide p = error / t->p_term_inverse;
	int64_t dirty_buckets = (int64_t)(in->nr_buckets - min(in->avail_buckets, in->nr_buckets));
	wide by_fragment;

	if (!t->consider_fragment || in->in_use_percent <= FRAGMENT_LOW || in->dirty_sectors <= 0 || !dirty_buckets)
		return p;
	if ((wide)dirty_buckets * in->bucket_sectors / in->dirty_sectors <= FRAGMENT_MIN)
		return p;
	by_fragment = (wide)(in->dirty_sectors / dirty_buckets) * fragment_weight(t, in->in_use_percent);
	return max(p, by_fragment);
}

/* Anti-windup: grow only while writeback keeps up with the rate it has. */
static bool may_integrate(const struct rate_state *s, wide error, uint64_t now_ns)
{
	if (error < 0)
		return s->integral > 0;
	return error > 0 && now_ns < s->next_ns + KEEPS_UP_SLACK_NS;
}

/* --- starvation ---------------------------------------------------------------------------------------------------------- */

uint32_t rate_minimum(const struct rate_state *s, const struct rate_tunables *t)
{
	return max(min(max(t->minimum, s->raised_minimum), t->maximum), 1u);
}

static void not_starving(struct rate_state *s)
{
	s->starving = false;
	s->raised_minimum = 0;
}

void rate_rest(struct rate_state *s)
{
	s->over_since_ns = s->updated_ns = 0;
	not_starving(s);
}

void rate_idle_maximum(struct rate_state *s, const struct rate_tunables *t)
{
	s->rate = min(RATE_UNLIMITED, t->maximum);
	s->at_idle_max = true;
	s->proportional = s->integral_scaled = s->change = 0;
	rate_rest(s);
}

static void update_starvation(struct rate_state *s, const struct rate_input *in, wide error)
{
	uint64_t now = in->now_ns, since_update = s->updated_ns ? now - s->updated_ns : 0, over;
	bool restrained = in->held_back || now < s->next_ns + KEEPS_UP_SLACK_NS;

	s->updated_ns = now;
	if (error <= 0)
		s->over_since_ns = 0;
	else if (!s->over_since_ns)
		s->over_since_ns = now;
	over = s->over_since_ns ? now - s->over_since_ns : 0;
	if (over <= STARVATION_NS || !restrained) {
		not_starving(s);
		return;
	}
	s->starving = true;
	s->starved_ns += since_update;
	s->raised_minimum = (uint32_t)min(error * (wide)NS_PER_SECOND / STARVATION_NS * over / STARVATION_NS, (wide)RATE_MAX);
}

/* --- the controller -------------------------------------------------------------------------------------------------------- */

void rate_update(struct rate_state *s, const struct rate_tunables *t, const struct rate_input *in)
{
	int64_t target = rate_target(t, in);
	wide error = (wide)in->dirty_sectors - target;
	uint32_t old_rate = s->rate;
	wide rate;

	s->target = target;
	s->proportional = saturate(proportional_term(t, in, error));
	if (may_integrate(s, error, in->now_ns))
		s->integral = saturate(s->integral + error * t->update_seconds);
	s->integral_scaled = s->integral / (int64_t)t->i_term_inverse;
	rate = (wide)s->proportional + s->integral_scaled;
	s->at_idle_max = false;
	update_starvation(s, in, error);
	/* A minimum above the maximum, or above RATE_MAX, can be set; the smaller one wins. */
	s->rate = (uint32_t)clamp(rate, (wide)rate_minimum(s, t), (wide)min(RATE_MAX, max(t->maximum, 1u)));
	s->change = (int64_t)s->rate - old_rate;
}

uint64_t rate_delay_ns(struct rate_state *s, uint64_t done_sectors, uint64_t now_ns)
{
	uint64_t earliest = now_ns - min(now_ns, (uint64_t)BEHIND_MAX_NS);
	uint64_t latest = now_ns + AHEAD_MAX_NS;
	unsigned __int128 next = s->next_ns + (unsigned __int128)done_sectors * NS_PER_SECOND / max(s->rate, 1u);

	/* Neither a long idle time nor one huge batch may decide the pace of what follows. */
	s->next_ns = (uint64_t)clamp(next, (unsigned __int128)earliest, (unsigned __int128)latest);
	return s->next_ns > now_ns ? s->next_ns - now_ns : 0;
}
