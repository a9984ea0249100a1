/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Writeback rate: the PI controller and the limiter, pure (behaviour.md §8.5-§8.8), and when writeback starves (§8.10).
 *
 * Starving: dirty > target for more than STARVATION_NS, and it is us who hold the rate down (the limiter keeps up with the rate it is
 * given, or backing off holds writeback back); a device that is simply slower than its writers is not starved by us. From then on the
 * minimum rate is what writes the excess off in 15 minutes, times how many quarters of an hour it has lasted.
 */
#include "formats/base.h"

#define RATE_MAX 1000000000u	    /* sectors/s, the controller's */
#define RATE_UNLIMITED 2147483647u  /* idle */
#define STARVATION_NS 900000000000ull

struct rate_tunables {
	uint32_t percent;	   /* share of the cache that may be dirty; 0 = no control */
	uint32_t update_seconds;   /* 1..60 */
	uint32_t p_term_inverse;   /* >= 1 */
	uint32_t i_term_inverse;   /* >= 1 */
	uint32_t minimum;	   /* sectors/s, >= 1 */
	uint32_t maximum;	   /* sectors/s, >= 1; wins */
	bool consider_fragment;
	uint32_t fp_term_low, fp_term_mid, fp_term_high; /* low < mid < high */
};
#define RATE_TUNABLES_DEFAULT { .percent = 10, .update_seconds = 5, .p_term_inverse = 40, .i_term_inverse = 10000, .minimum = 8, \
	.maximum = RATE_UNLIMITED, \
	.consider_fragment = true, .fp_term_low = 1, .fp_term_mid = 10, .fp_term_high = 1000 }

struct rate_state {
	uint32_t rate;	       /* sectors/s */
	uint64_t next_ns;      /* limiter: when the next work is due */
	int64_t target, proportional, integral, integral_scaled, change;
	bool at_idle_max;
	uint64_t over_since_ns;	 /* when dirty became more than the target; 0: it is not */
	uint64_t updated_ns;	 /* 0: resting */
	bool starving;
	uint32_t raised_minimum; /* while starving */
	uint64_t starved_ns;	 /* all in all */
};
struct rate_input {
	int64_t dirty_sectors;
	uint64_t cache_sectors;	       /* of the set, without dirty data of flash-only volumes */
	uint64_t backing_sectors, all_backing_sectors;
	uint64_t nr_buckets, avail_buckets;
	uint32_t bucket_sectors;
	unsigned in_use_percent;
	bool held_back;		       /* by backing off */
	uint64_t now_ns;
};
int64_t rate_target(const struct rate_tunables *t, const struct rate_input *in);
/* The minimum in force: sectors/s, 1 .. maximum. */
uint32_t rate_minimum(const struct rate_state *s, const struct rate_tunables *t);
/* Nothing is dirty, or nothing is controlled. */
void rate_rest(struct rate_state *s);
/* Nobody asks for anything (§8.8). */
void rate_idle_maximum(struct rate_state *s, const struct rate_tunables *t);
void rate_update(struct rate_state *s, const struct rate_tunables *t, const struct rate_input *in);
/* Account for done sectors; returns how long to wait, in ns. */
uint64_t rate_delay_ns(struct rate_state *s, uint64_t done_sectors, uint64_t now_ns);
