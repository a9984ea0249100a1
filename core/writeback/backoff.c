/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/backoff.h"

#define WEIGHT 8
#define STEP_NS 100000000ull
#define STEP_BUSY 8  /* 1/128 per step: from nothing to all in 13 s */
#define STEP_IDLE 32
#define IDLE_NS 1000000000ull

uint32_t backoff_share(struct backoff *b, uint64_t now_ns)
{
	uint64_t steps = now_ns > b->share_at_ns ? (now_ns - b->share_at_ns) / STEP_NS : 0;
	uint64_t gain = now_ns > b->request_ns + IDLE_NS ? STEP_IDLE : STEP_BUSY;

	if (!b->share)
		b->share = BACKOFF_FULL;
	b->share = (uint32_t)min(b->share + min(steps, (uint64_t)BACKOFF_FULL) * gain, (uint64_t)BACKOFF_FULL);
	b->share_at_ns += steps * STEP_NS;
	return b->share;
}

void backoff_begin(struct backoff *b, uint64_t now_ns)
{
	b->share = now_ns > b->request_ns + IDLE_NS ? BACKOFF_FULL : BACKOFF_MIN;
	b->share_at_ns = now_ns;
}

/* Without a measure of its own, a device is taken for one that answers at once: better to be polite for nothing. */
static bool is_slow(const struct backoff *b, uint64_t latency_ns)
{
	return latency_ns > max(b->alone_ns * BACKOFF_SLOW_FACTOR, b->alone_ns + BACKOFF_SLOW_MIN_NS);
}

void backoff_note(struct backoff *b, uint64_t latency_ns, bool beside, uint64_t now_ns)
{
	uint32_t share = backoff_share(b, now_ns);

	b->request_ns = now_ns;
	if (!beside) { /* one that was held up by something else must not make the next ones look fast */
		uint64_t v = b->alone_ns ? min(latency_ns, WEIGHT * b->alone_ns) : latency_ns;

		b->alone_ns = b->alone_ns ? (b->alone_ns * (WEIGHT - 1) + v) / WEIGHT : max(v, (uint64_t)1);
		return;
	}
	if (!is_slow(b, latency_ns) || now_ns < b->slow_until_ns)
		return;
	b->share = max(share / 2, BACKOFF_MIN);
	b->share_at_ns = now_ns;
	b->slow_until_ns = now_ns + latency_ns;
}
