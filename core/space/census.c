/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/space/census.h"

#include <stdlib.h>

#include "core/set/cset.h"

#define NR_AGES (PRIO_INITIAL + 1)

static void count_bucket(const struct alloc *a, const struct bucket *b, struct bucket_census *n, uint32_t *nr_with_age)
{
	uint16_t prio = bucket_prio(a, b);

	n->unused += !b->sectors_used;
	n->by_mark[b->mark & 3]++;
	if (!prio || prio == PRIO_BTREE)
		return;
	n->nr_data++;
	n->age_sum += (int)PRIO_INITIAL - prio;
	nr_with_age[PRIO_INITIAL - prio]++;
}

/* One quantile after another while going from young to old. */
static void find_quantiles(const uint32_t *nr_with_age, struct bucket_census *n)
{
	uint64_t passed = 0;
	unsigned q = 0;

	for (unsigned age = 0; age < NR_AGES && q < PRIORITY_QUANTILES; age++) {
		passed += nr_with_age[age];
		while (q < PRIORITY_QUANTILES && n->nr_data * (q + 1) / (PRIORITY_QUANTILES + 1) < passed)
			n->quantiles[q++] = (int)age;
	}
}

void bucket_census_take(const struct cset *c, struct bucket_census *ret)
{
	const struct alloc *a = &c->alloc;
	uint32_t *nr_with_age;

	if (a->census && a->census->taken_ns && engine_now_ns() - a->census->taken_ns < CENSUS_NS) {
		*ret = *a->census;
		return;
	}
	*ret = (struct bucket_census){ .taken_ns = max(engine_now_ns(), (uint64_t)1) };
	nr_with_age = calloc(NR_AGES, sizeof(*nr_with_age));
	if (!nr_with_age)
		return; /* zeros are a poor answer, but nobody decides by it */
	for (uint64_t i = c->g.first_bucket; a->buckets && i < c->g.nr_buckets; i++)
		count_bucket(a, &a->buckets[i], ret, nr_with_age);
	find_quantiles(nr_with_age, ret);
	free(nr_with_age);
	if (a->census)
		*a->census = *ret;
}
