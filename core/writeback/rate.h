/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Writeback rate: the PI controller and the limiter, pure (behaviour.md §8.5-§8.8). */
#include "formats/base.h"

#define RATE_MAX 1000000000u	    /* sectors/s, the controller's */
#define RATE_UNLIMITED 2147483647u  /* idle */

struct rate_tunables {
	uint32_t percent;	   /* share of the cache that may be dirty; 0 = no control */
	uint32_t update_seconds;   /* 1..60 */
	uint32_t p_term_inverse;   /* >= 1 */
	uint32_t i_term_inverse;   /* >= 1 */
	uint32_t minimum;	   /* sectors/s, >= 1 */
	bool consider_fragment;
	uint32_t fp_term_low, fp_term_mid, fp_term_high; /* low < mid < high */
};
#define RATE_TUNABLES_DEFAULT { .percent = 10, .update_seconds = 5, .p_term_inverse = 40, .i_term_inverse = 10000, .minimum = 8, \
	.consider_fragment = true, .fp_term_low = 1, .fp_term_mid = 10, .fp_term_high = 1000 }

struct rate_state {
	uint32_t rate;	       /* sectors/s */
	uint64_t next_ns;      /* limiter: when the next work is due */
	int64_t target, proportional, integral, integral_scaled, change;
	bool at_idle_max;
};
struct rate_input {
	int64_t dirty_sectors;
	uint64_t cache_sectors;	       /* of the set, without dirty data of flash-only volumes */
	uint64_t backing_sectors, all_backing_sectors;
	uint64_t nr_buckets, avail_buckets;
	uint32_t bucket_sectors;
	unsigned in_use_percent;
	uint64_t now_ns;
};
int64_t rate_target(const struct rate_tunables *t, const struct rate_input *in);
void rate_update(struct rate_state *s, const struct rate_tunables *t, const struct rate_input *in);
/* Account for done sectors; returns how long to wait, in ns. */
uint64_t rate_delay_ns(struct rate_state *s, uint64_t done_sectors, uint64_t now_ns);
