/* SPDX-License-Identifier: GPL-2.0-only */
/* The ring of journal buckets: which may be overwritten, and how to get there. The rules are in journal.h. */
#include "core/journal/journal.h"
#include "core/set/cset.h"
#include "core/space/discard.h"

static uint32_t next_index(const struct journal *j, uint32_t i) { return i + 1 < j->nr_buckets ? i + 1 : 0; }

/* Buckets behind the current one that no recovery could need, by the newest durable entry (R6.4). */
static uint32_t free_buckets(const struct journal *j)
{
	uint32_t n = 0;

	for (uint32_t i = next_index(j, j->cur); i != j->cur; i = next_index(j, i), n++)
		if ((j->bucket_seq[i] >= j->durable_last_seq && j->bucket_seq[i]) || (j->discard_busy && i == j->discarding))
			break;
	return n;
}

/* How many free buckets entering the next one needs. Where a bucket is one block, whole buckets stand in for the kept block. */
static uint32_t buckets_wanted(const struct journal *j, enum journal_kind kind)
{
	uint32_t one_block = j->blocks_per_bucket == 1 && kind != JOURNAL_PUBLISH;

	return 1 + one_block + (kind == JOURNAL_KEYS && j->reserve && j->nr_buckets >= 4);
}

/* The newest entry that must be older than last_seq for keys to have a place again. */
static uint64_t seq_in_the_way(const struct journal *j)
{
	uint64_t seq = 0;
	uint32_t i = j->cur;

	for (uint32_t n = buckets_wanted(j, JOURNAL_KEYS); n; n--) {
		i = next_index(j, i);
		if (i != j->cur)
			seq = max(seq, j->bucket_seq[i]);
	}
	return seq;
}

/* Pins are counted in a ring: when it is nearly full, the oldest entries have to go whatever the buckets say. */
static bool pins_scarce(const struct journal *j) { return j->seq - j->oldest_seq + 8 >= j->cap_pins; }

bool journal_has_place(const struct journal *j, uint32_t nr_blocks, enum journal_kind kind)
{
	uint32_t kept;

	if (j->replace_oldest)
		return kind != JOURNAL_KEYS;
	if (kind == JOURNAL_META && j->oldest_seq > seq_in_the_way(j))
		kind = JOURNAL_PUBLISH; /* it publishes a last_seq that frees the next bucket */
	kept = j->blocks_per_bucket > 1 && kind != JOURNAL_PUBLISH ? 1 : 0;
	if (kind != JOURNAL_PUBLISH && pins_scarce(j))
		return false;
	return nr_blocks + kept <= j->blocks_free || free_buckets(j) >= buckets_wanted(j, kind);
}

uint64_t journal_take_place(struct journal *j, uint32_t nr_blocks)
{
	struct geometry *g = &j->c->g;
	uint32_t kept = j->blocks_per_bucket > 1 && nr_blocks > 1 ? 1 : 0;
	uint64_t sector;

	/* An entry of one block may be the publishing one: it takes the last block only when no other bucket is free. */
	if (nr_blocks + kept > j->blocks_free || (j->blocks_free == 1 && j->blocks_per_bucket > 1 && free_buckets(j))) {
		assert(free_buckets(j) || j->replace_oldest);
		j->replace_oldest = false;
		j->cur = next_index(j, j->cur);
		j->blocks_free = j->blocks_per_bucket;
		j->nr_reclaimed_buckets++;
	}
	sector = geometry_sector(g, j->first_bucket + j->cur) + (uint64_t)(j->blocks_per_bucket - j->blocks_free) * g->block_sectors;
	j->blocks_free -= nr_blocks;
	return sector;
}

/* --- discarding ---------------------------------------------------------------------------------------------------------- */

static void discard_done(struct bio *bio)
{
	struct journal *j = container_of(bio, struct journal, discard_bio);

	j->discard_busy = false;
	j->discard_fence = j->seq; /* still open, so its flush is still to come */
	if (bio->error)
		discard_failed(j->c, j->first_bucket + j->discarding, bio->error);
	wake_all(&j->work);
}

static void discard_start(struct journal *j, uint32_t i)
{
	struct geometry *g = &j->c->g;

	j->discard_busy = true;
	j->discarding = i;
	j->bucket_seq[i] = 0; /* not again before it was used again */
	j->nr_discards++;
	bio_init(&j->discard_bio, j->c->cache, BIO_DISCARD, geometry_sector(g, j->first_bucket + i), NULL, g->bucket_sectors, 0, discard_done);
	blk_submit(&j->discard_bio);
}

/*
 * Only buckets that are free by the newest durable entry (R6.4), and only behind those that keys may take: what the open entry was promised
 * stays free, the reserve too (R6.3).
 */
void journal_discard(struct journal *j)
{
	uint32_t i = j->cur, spared = buckets_wanted(j, JOURNAL_KEYS);

	if (j->discard_busy || j->durable_seq < j->discard_fence || j->stopping || j->c->io_disable || !super_discard(j->c->super) ||
	    !j->c->cache->can_discard)
		return;
	for (uint32_t n = free_buckets(j); n; n--) {
		i = next_index(j, i);
		if (spared)
			spared--;
		else if (j->bucket_seq[i]) {
			discard_start(j, i);
			return;
		}
	}
}

bool journal_discard_in_the_way(const struct journal *j)
{
	return j->discard_busy && (j->discarding + j->nr_buckets - j->cur) % j->nr_buckets <= buckets_wanted(j, JOURNAL_KEYS);
}

/* --- making room --------------------------------------------------------------------------------------------------------- */

bool journal_make_room(struct journal *j)
{
	uint64_t target = seq_in_the_way(j);

	if (pins_scarce(j))
		target = max(target, j->oldest_seq + 8);
	j->nr_reclaim++;
	if (j->oldest_seq > target)
		return true;
	j->nr_flush_write++;
	if (btree_flush_pinned(j->c, target, 8) == 0 && j->oldest_seq <= target && !j->c->io_disable) {
		if (j->replaying && !j->c->btree.nr_must_move) /* the entries still to be replayed hold it: nobody can make room */
			cset_error(j->c, "journal of '%s' is full: no room for the entries that recovery itself has to write",
				   j->c->cache->path);
		else
			wait_queue_wait(&j->work); /* operations between append and insert hold the rest: unpinning wakes us */
	}
	return j->oldest_seq > target;
}
