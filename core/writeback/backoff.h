/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Backing off: writeback keeps fewer I/Os in flight while requests that need the backing device suffer from it. Pure.
 *
 * Why: a disk that is given 64 scattered writes answers the next read when it has done them. The rate controller does not see that: it knows how much
 * is dirty, not who waits.
 * Model, as in congestion control: `share` of what could be in flight is in flight. A request that was served beside writeback and took
 * much longer than those served alone do halves the share, once per its own duration (others that waited in the same queue tell nothing new);
 * time without such a request gives it back, slowly while there are requests, faster when nobody asks for anything.
 * Bounds: one I/O is always in flight, and who falls behind the minimum rate does not back off at all (throttle.h); so writeback cannot starve.
 * Hence a request waits for about as many I/Os of writeback as double its time, whatever the device.
 */
#include "formats/base.h"

#define BACKOFF_FULL 1024u
#define BACKOFF_MIN 8u
#define BACKOFF_SLOW_FACTOR 2 /* slower than this many times the usual ... */
#define BACKOFF_SLOW_MIN_NS 1000000ull /* ... and by this much at least */

struct backoff {
	uint32_t share;		/* of BACKOFF_FULL; 0 counts as all */
	uint64_t alone_ns;	/* how long requests take without us: mean with weight 8; 0 = not known yet */
	uint64_t share_at_ns;	/* when `share` was right */
	uint64_t slow_until_ns; /* requests that were in the queue with the last slow one end about here */
	uint64_t request_ns;	/* when the last request ended */
};

/* A request's I/O on the backing device took so long; beside: some of ours was there in that time. */
void backoff_note(struct backoff *b, uint64_t latency_ns, bool beside, uint64_t now_ns);
/* We begin after a rest: if there are requests, with little. */
void backoff_begin(struct backoff *b, uint64_t now_ns);
/* The share now. */
uint32_t backoff_share(struct backoff *b, uint64_t now_ns);
