/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What the buckets behind the superblock hold, and how recently it was used: for control files (control-files.md §8). A pass over all buckets, so
 * its result serves everybody for a second.
 */
#include <stdint.h>
struct cset;

#define PRIORITY_QUANTILES 31
#define CENSUS_NS NS_PER_S

struct bucket_census {
	uint64_t unused;     /* no live sectors at the last gc */
	uint64_t by_mark[4]; /* enum bucket_mark */
	uint64_t nr_data;    /* buckets that hold data: neither metadata nor never used */
	int64_t age_sum;     /* of those; ages are PRIO_INITIAL minus priority */
	int32_t quantiles[PRIORITY_QUANTILES]; /* of the ages, youngest first */
	uint64_t taken_ns;   /* 0: never */
};
/* At most CENSUS_NS old. */
void bucket_census_take(const struct cset *c, struct bucket_census *ret);
