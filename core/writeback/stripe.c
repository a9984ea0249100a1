/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/stripe.h"
#include <stdlib.h>

#define FANOUT 1024
#define WORD_BITS 64

struct stripe_page {
	uint32_t dirty[FANOUT];
	uint64_t full[FANOUT / WORD_BITS];
	unsigned nr_touched, nr_full;
};
struct stripe_group {
	struct stripe_page *pages[FANOUT];
	unsigned nr_pages, nr_full;
};

uint64_t stripe_sectors_auto(uint64_t optimal_io_sectors)
{
	uint64_t sectors = optimal_io_sectors;

	if (!sectors)
		return STRIPE_SECTORS_MAX;
	if (sectors < STRIPE_SECTORS_AUTO_MIN)
		sectors = round_up_u64(STRIPE_SECTORS_AUTO_MIN, sectors);
	return min(sectors, STRIPE_SECTORS_MAX);
}

/* --- the sparse array ---------------------------------------------------------------------------------------------------- */

static size_t nr_groups(const struct stripes *s) { return (size_t)div_round_up_u64(s->nr_stripes, (uint64_t)FANOUT * FANOUT); }

static void free_groups(struct stripes *s)
{
	for (size_t i = 0; s->groups && i < nr_groups(s); i++) {
		for (unsigned j = 0; s->groups[i] && j < FANOUT; j++)
			free(s->groups[i]->pages[j]);
		free(s->groups[i]);
	}
	free(s->groups);
	s->groups = NULL;
	s->nr_touched = s->nr_full = 0;
	s->nr_pages = 0;
}

void stripes_init(struct stripes *s, uint64_t stripe_sectors, uint64_t end_sectors, uint64_t counted_to)
{
	assert(stripe_sectors && stripe_sectors <= STRIPE_SECTORS_MAX);
	*s = (struct stripes){
		.stripe_sectors = stripe_sectors, .nr_stripes = div_round_up_u64(end_sectors, stripe_sectors), .counted_to = counted_to,
	};
	s->groups = calloc(max(nr_groups(s), (size_t)1), sizeof(s->groups[0]));
	s->lost = !s->groups;
}

void stripes_release(struct stripes *s)
{
	free_groups(s);
	*s = (struct stripes){ .stripe_sectors = 0 };
}

static struct stripe_group *group_of(const struct stripes *s, uint64_t stripe) { return s->groups[stripe / ((uint64_t)FANOUT * FANOUT)]; }

static struct stripe_page *page_find(const struct stripes *s, uint64_t stripe)
{
	struct stripe_group *g = group_of(s, stripe);

	return g ? g->pages[stripe / FANOUT % FANOUT] : NULL;
}

/* NULL: no memory. */
static struct stripe_page *page_make(struct stripes *s, uint64_t stripe)
{
	struct stripe_group **g = &s->groups[stripe / ((uint64_t)FANOUT * FANOUT)];
	struct stripe_page **p;

	if (!*g)
		*g = calloc(1, sizeof(**g));
	if (!*g)
		return NULL;
	p = &(*g)->pages[stripe / FANOUT % FANOUT];
	if (!*p) {
		*p = calloc(1, sizeof(**p));
		(*g)->nr_pages += *p != NULL;
		s->nr_pages += *p != NULL;
	}
	return *p;
}

/* A page without dirty stripes goes, and with the last one its group. */
static void page_shrink(struct stripes *s, uint64_t stripe)
{
	struct stripe_group **g = &s->groups[stripe / ((uint64_t)FANOUT * FANOUT)];
	struct stripe_page **p = *g ? &(*g)->pages[stripe / FANOUT % FANOUT] : NULL;

	if (p && *p && !(*p)->nr_touched) {
		free(*p);
		*p = NULL;
		(*g)->nr_pages--;
		s->nr_pages--;
	}
	if (*g && !(*g)->nr_pages) {
		free(*g);
		*g = NULL;
	}
}

/* --- counting ------------------------------------------------------------------------------------------------------------ */

static void set_full(struct stripes *s, uint64_t stripe, struct stripe_page *p, bool full)
{
	unsigned i = stripe % FANOUT;
	uint64_t bit = 1ull << i % WORD_BITS;
	struct stripe_group *g = group_of(s, stripe);

	if (!(p->full[i / WORD_BITS] & bit) == !full)
		return;
	p->full[i / WORD_BITS] ^= bit;
	p->nr_full += full ? 1u : -1u;
	g->nr_full += full ? 1u : -1u;
	s->nr_full += full ? 1u : -1ull;
}

/*
 * The counts are advice, and the index on disk may hold what we did not write (a stale dirty key is not counted, yet reported when it goes): so
 * they saturate.
 */
static void account_stripe(struct stripes *s, uint64_t stripe, uint32_t n, bool more)
{
	struct stripe_page *p = more ? page_make(s, stripe) : page_find(s, stripe);
	uint32_t *dirty, old;

	if (!p) {
		s->lost |= more;
		return;
	}
	dirty = &p->dirty[stripe % FANOUT];
	old = *dirty;
	*dirty = more ? (uint32_t)min((uint64_t)old + n, s->stripe_sectors) : old - min(old, n);
	set_full(s, stripe, p, *dirty == s->stripe_sectors);
	p->nr_touched += (unsigned)!old - (unsigned)!*dirty;
	s->nr_touched += (uint64_t)!old - (uint64_t)!*dirty;
	if (!p->nr_touched)
		page_shrink(s, stripe);
}

void stripes_account(struct stripes *s, uint64_t start, int64_t nr_sectors)
{
	bool more = nr_sectors > 0;
	uint64_t end = min(start + (uint64_t)(more ? nr_sectors : -nr_sectors), min(s->counted_to, s->nr_stripes * s->stripe_sectors));

	while (start < end && !s->lost) {
		uint64_t stripe = start / s->stripe_sectors;
		uint64_t stop = min(end, (stripe + 1) * s->stripe_sectors);

		account_stripe(s, stripe, (uint32_t)(stop - start), more);
		start = stop;
	}
	if (s->lost)
		free_groups(s);
}

/* --- asking -------------------------------------------------------------------------------------------------------------- */

uint32_t stripes_dirty_sectors(const struct stripes *s, uint64_t stripe)
{
	const struct stripe_page *p = s->groups && stripe < s->nr_stripes ? page_find(s, stripe) : NULL;

	return p ? p->dirty[stripe % FANOUT] : 0;
}

bool stripes_touch_dirty(const struct stripes *s, uint64_t start, uint64_t end)
{
	if (!s->nr_touched || start >= end)
		return false;
	for (uint64_t i = start / s->stripe_sectors; i <= (end - 1) / s->stripe_sectors; i++)
		if (stripes_dirty_sectors(s, i))
			return true;
	return false;
}

/* From index i of the page on; FANOUT: none. */
static unsigned page_next_full(const struct stripe_page *p, unsigned i)
{
	for (; p->nr_full && i < FANOUT; i = (i / WORD_BITS + 1) * WORD_BITS) {
		uint64_t word = p->full[i / WORD_BITS] & UINT64_MAX << i % WORD_BITS;

		if (word)
			return i / WORD_BITS * WORD_BITS + (unsigned)__builtin_ctzll(word);
	}
	return FANOUT;
}

/* First full stripe of this group from `from` on, which lies in it. */
static uint64_t group_next_full(const struct stripes *s, uint64_t from)
{
	const struct stripe_group *g = group_of(s, from);
	unsigned i = from % FANOUT;

	if (!g || !g->nr_full)
		return STRIPE_NONE;
	for (unsigned page = from / FANOUT % FANOUT; page < FANOUT; page++, i = 0) {
		unsigned found = g->pages[page] ? page_next_full(g->pages[page], i) : FANOUT;

		if (found < FANOUT)
			return from / ((uint64_t)FANOUT * FANOUT) * FANOUT * FANOUT + (uint64_t)page * FANOUT + found;
	}
	return STRIPE_NONE;
}

uint64_t stripes_next_full(const struct stripes *s, uint64_t from)
{
	while (s->nr_full && from < s->nr_stripes) {
		uint64_t found = group_next_full(s, from);

		if (found != STRIPE_NONE)
			return found;
		from = (from / ((uint64_t)FANOUT * FANOUT) + 1) * FANOUT * FANOUT;
	}
	return STRIPE_NONE;
}
