/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set that was made just now has gens near 0 and a journal that begins at 1: no world lives until they wrap. Here it looks as it does after years,
 * before anybody has written to it.
 */
#include "tests/sim/world.h"

/* Nothing points at an empty bucket, so its gen may be any; as always it is durable before the bucket is used (R3.1). */
static void age_gens(struct world *w, struct cset *c)
{
	for (uint64_t b = c->g.first_bucket; b < c->g.nr_buckets; b++) {
		struct bucket *k = cset_bucket(c, b);

		if (k->mark == MARK_NONE && !k->pin)
			k->gen = k->last_gc = (uint8_t)(rng_percent(&w->rng, 50) ? rng_between(&w->rng, 240, 255) : prng_u64(&w->rng));
	}
	c->alloc.nr_gens_raised++; /* an image that is being taken begins anew */
}

static bool journal_rests(const struct journal *j)
{
	return j->oldest_seq == j->seq && j->durable_seq + 1 == j->seq && !j->in_flight && !j->buf[j->open_buf].dirty &&
	       !j->buf[j->open_buf].need_write;
}

/* The next entry needs none before it, so its number may be any higher one. */
static void age_journal(struct world *w, struct journal *j)
{
	uint64_t mask = j->cap_pins - 1;

	if (!journal_rests(j))
		return;
	j->pins[j->seq & mask] = 0;
	j->seq = j->oldest_seq = (1ull << 32) - rng_log(&w->rng, 500);
	j->pins[j->seq & mask] = 1;
}

void world_age(struct world *w)
{
	struct cset *c = world_cset(w);

	if (!c || world_disturbed(w))
		return;
	age_gens(w, c);
	age_journal(w, &c->journal);
	c->alloc.prio_seq += (1ull << 32) - 10;
	world_trace(w, "the set is old: journal entry %llu is next", (unsigned long long)c->journal.seq);
}
