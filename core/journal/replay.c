/* SPDX-License-Identifier: GPL-2.0-only */
/* Start-up: find the entries, pin them, insert their keys again (behaviour.md §6.8-§6.10, format.md §11.2-§11.6). */
#include <stdlib.h>

#include "core/btree/keylist.h"
#include "core/journal/journal.h"
#include "core/set/cset.h"

/* --- finding entries --------------------------------------------------------------------------------------------------- */

/* Reads a journal bucket through a window, so that a 16 MiB bucket needs no 16 MiB of memory. */
struct window {
	struct cset *c;
	uint32_t index;	       /* of the journal bucket */
	char *buf;
	size_t start, len;     /* bytes of the bucket that buf holds */
};
#define WINDOW_BYTES (8 * (size_t)JSET_BYTES_MAX)

/* The bytes at `offset`, as many as an entry could have. NULL when they cannot be read. */
static const struct jset *window_at(struct window *w, size_t offset, size_t *ret_avail)
{
	struct geometry *g = &w->c->g;
	size_t bucket_bytes = (size_t)g->bucket_sectors * SECTOR_BYTES;
	size_t need = min((size_t)JSET_BYTES_MAX, bucket_bytes - offset);

	if (offset < w->start || offset + need > w->start + w->len) {
		uint64_t sector = geometry_sector(g, w->c->journal.first_bucket + w->index) + offset / SECTOR_BYTES;
		size_t len = min(WINDOW_BYTES, bucket_bytes - offset);
		int r = blk_read(w->c->cache, sector, w->buf, len / SECTOR_BYTES);

		cset_io_done(w->c, "journal read", r);
		w->start = offset;
		w->len = r < 0 ? 0 : len;
		if (r < 0)
			return NULL;
	}
	*ret_avail = need;
	return (const struct jset *)(w->buf + (offset - w->start));
}

static int keep_entry(struct journal *j, const struct jset *e)
{
	struct jset *copy;

	if (j->nr_found == j->cap_found) {
		size_t cap = j->cap_found ? 2 * j->cap_found : 64;
		void *p = realloc(j->found, cap * sizeof(*j->found));

		if (!p)
			return -ENOMEM;
		j->found = p;
		j->cap_found = cap;
	}
	copy = malloc(jset_bytes(e));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, e, jset_bytes(e));
	j->found[j->nr_found++] = (struct journal_found){ .seq = e->seq, .jset = copy };
	return 0;
}

/* All entries of one lap in bucket `index`. An older lap's remains may follow; they have smaller numbers. */
static int parse_bucket(struct window *w, uint32_t index, bool first_only, struct printbuf *why)
{
	struct journal *j = &w->c->journal;
	size_t offset = 0, avail, bucket_bytes = (size_t)w->c->g.bucket_sectors * SECTOR_BYTES;
	uint64_t previous = 0;

	w->index = index;
	w->len = 0;
	while (offset < bucket_bytes) {
		const struct jset *e = window_at(w, offset, &avail);
		char reason[160];
		struct printbuf pb = PRINTBUF(reason);
		int r;

		if (!e) { /* the newest entries may lie here: no gap would show that they are missing, and flushed writes would be */
			pr(why, "journal bucket %u cannot be read", index);
			return -EIO;
		}
		r = jset_validate(e, avail, w->c->set_magic, &pb);
		if (r == -EUCLEAN) { /* its checksum is right: no torn write can look like this */
			pr(why, "journal bucket %u (sector %llu): %s", index,
			   (unsigned long long)(geometry_sector(&w->c->g, j->first_bucket + index) + offset / SECTOR_BYTES), reason);
			return r;
		}
		if (r < 0 || e->seq <= previous)
			break;
		previous = e->seq;
		j->bucket_seq[index] = e->seq;
		if (first_only)
			break;
		r = keep_entry(j, e);
		if (r < 0)
			return r;
		offset += round_up_u64(jset_bytes(e), geometry_block_bytes(&w->c->g));
	}
	if (!first_only)
		j->blocks_free = (uint32_t)((bucket_bytes - offset) / geometry_block_bytes(&w->c->g));
	return 0;
}

/* A sector is written whole or not at all, so an entry that fits one cannot be torn: with our magic and the right number it was complete. */
static bool damaged_in_one_sector(struct window *w, size_t offset, uint64_t seq)
{
	size_t avail;
	const struct jset *e = window_at(w, offset, &avail);

	return e && e->magic == (JSET_MAGIC ^ w->c->set_magic) && e->seq == seq && jset_bytes(e) <= SECTOR_BYTES &&
	       jset_validate(e, avail, w->c->set_magic, NULL) < 0;
}

/*
 * Behind the newest entry of the ring there may be a torn one, remains of older laps, nothing. What cannot be there is an entry with a higher
 * number: each is written after the one before it is durable. If there is one, the entry in between was durable and has been damaged since,
 * and going on without it would silently lose flushed data. Numbers far ahead are from an earlier life of the set's uuid.
 */
static int check_tail(struct window *w, uint32_t index, struct printbuf *why)
{
	const struct geometry *g = &w->c->g;
	uint64_t newest = w->c->journal.bucket_seq[index], start = geometry_sector(g, w->c->journal.first_bucket + index);
	size_t block_bytes = geometry_block_bytes(g), bucket_bytes = (size_t)g->bucket_sectors * SECTOR_BYTES;
	size_t end = bucket_bytes - (size_t)w->c->journal.blocks_free * block_bytes;

	w->index = index;
	if (end < bucket_bytes && damaged_in_one_sector(w, end, newest + 1)) {
		pr(why, "journal bucket %u of '%s': entry %llu at sector %llu has a bad checksum, but cannot be torn: it fits one sector", index,
		   w->c->cache->path, (unsigned long long)newest + 1, (unsigned long long)(start + end / SECTOR_BYTES));
		return -EBADMSG;
	}
	for (size_t offset = end + block_bytes; offset < bucket_bytes; offset += block_bytes) {
		size_t avail;
		const struct jset *e = window_at(w, offset, &avail);

		if (!e || jset_validate(e, avail, w->c->set_magic, NULL) < 0 || e->seq <= newest ||
		    e->seq > newest + g->bucket_sectors / g->block_sectors)
			continue;
		pr(why, "journal bucket %u of '%s': entry %llu at sector %llu is damaged: entry %llu follows it, so it was complete once", index,
		   w->c->cache->path, (unsigned long long)newest + 1, (unsigned long long)(start + end / SECTOR_BYTES),
		   (unsigned long long)e->seq);
		return -EUCLEAN;
	}
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	uint64_t x = ((const struct journal_found *)a)->seq, y = ((const struct journal_found *)b)->seq;

	return x < y ? -1 : x > y;
}

/* Drop entries in front of last_seq, and of two with one number all but the first. */
static void drop_superseded(struct journal *j, uint64_t last_seq)
{
	size_t kept = 0;

	for (size_t i = 0; i < j->nr_found; i++)
		if (j->found[i].seq < last_seq || (kept && j->found[kept - 1].seq == j->found[i].seq))
			free(j->found[i].jset);
		else
			j->found[kept++] = j->found[i];
	j->nr_found = kept;
}

/* Entries must follow each other without a gap; only discarded buckets may be missing, and only at the very beginning. */
static int check_gaps(const struct cset *c, uint64_t last_seq, struct printbuf *why)
{
	const struct journal *j = &c->journal;
	uint64_t expected = last_seq, newest = j->found[j->nr_found - 1].seq;
	uint64_t room = (uint64_t)j->nr_buckets * j->blocks_per_bucket;

	/* All that an entry needs was in the ring when it was written, discarded or not by now: each in a block of its own. */
	if (newest - last_seq >= room) {
		pr(why, "journal of '%s': entry %llu needs entries from %llu on, but there is room for %llu only", c->cache->path,
		   (unsigned long long)newest, (unsigned long long)last_seq, (unsigned long long)room);
		return -EUCLEAN;
	}
	for (size_t i = 0; i < j->nr_found; i++) {
		uint64_t seq = j->found[i].seq;

		if (seq != expected && !(i == 0 && super_discard(c->super))) {
			pr(why, "journal of '%s': entries %llu-%llu are missing (replaying %llu-%llu)", c->cache->path,
			   (unsigned long long)expected, (unsigned long long)seq - 1, (unsigned long long)last_seq,
			   (unsigned long long)newest);
			return -EUCLEAN;
		}
		expected = seq + 1;
	}
	return 0;
}

/* All entries of a bucket whose first one we have seen already: a device that lies about one of the two reads must not be believed. */
static int read_bucket(struct window *w, uint32_t index, uint64_t first_seq, struct printbuf *why)
{
	struct journal *j = &w->c->journal;
	size_t before = j->nr_found;
	int r = parse_bucket(w, index, false, why);

	if (r < 0)
		return r;
	if (j->nr_found > before && j->found[before].seq == first_seq)
		return 0;
	pr(why, "journal bucket %u of '%s': the first entry was %llu, and is another when it is read again", index, w->c->cache->path,
	   (unsigned long long)first_seq);
	return -EBADMSG;
}

/*
 * The first entry of every bucket tells which ones can matter: the newest bucket names last_seq, and an older bucket matters only if the
 * one behind it does not start below last_seq.
 */
static int read_ring(struct window *w, struct printbuf *why)
{
	struct journal *j = &w->c->journal;
	uint64_t first[JOURNAL_BUCKETS_MAX] = { 0 }, last_seq;
	uint32_t newest = 0, room;
	int r;

	for (uint32_t i = 0; i < j->nr_buckets; i++) {
		r = parse_bucket(w, i, true, why);
		if (r < 0)
			return r;
		first[i] = j->bucket_seq[i];
		if (first[i] > first[newest])
			newest = i;
	}
	if (!first[newest]) {
		pr(why, "journal of '%s': no entries found in %u buckets", w->c->cache->path, j->nr_buckets);
		return -ENODATA;
	}
	r = read_bucket(w, newest, first[newest], why);
	if (r < 0)
		return r;
	r = check_tail(w, newest, why);
	if (r < 0)
		return r;
	last_seq = j->found[j->nr_found - 1].jset->last_seq;
	j->cur = newest;
	room = j->blocks_free;
	for (uint32_t i = 0; i < j->nr_buckets; i++) {
		uint64_t next_first = UINT64_MAX; /* the smallest first entry above this bucket's */

		if (i == newest || !first[i])
			continue;
		for (uint32_t k = 0; k < j->nr_buckets; k++)
			if (first[k] > first[i])
				next_first = min(next_first, first[k]);
		if (next_first <= last_seq)
			continue;
		r = read_bucket(w, i, first[i], why);
		if (r < 0)
			return r;
	}
	j->blocks_free = room; /* behind the newest entry */
	return 0;
}

int journal_read(struct cset *c, struct printbuf *why)
{
	struct journal *j = &c->journal;
	struct window w = { .c = c };
	uint64_t last_seq;
	int r;

	if (posix_memalign((void **)&w.buf, PAGE_BYTES, WINDOW_BYTES))
		return -ENOMEM;
	r = read_ring(&w, why);
	free(w.buf);
	if (r < 0)
		return r;
	qsort(j->found, j->nr_found, sizeof(*j->found), by_seq);
	last_seq = journal_newest(j)->last_seq;
	drop_superseded(j, last_seq);
	return check_gaps(c, last_seq, why);
}

const struct jset *journal_newest(const struct journal *j)
{
	return j->nr_found ? j->found[j->nr_found - 1].jset : NULL;
}

/* --- pinning ----------------------------------------------------------------------------------------------------------- */

/* One counter per entry from last_seq to the one we are going to open; grown so that it never overflows (T-7). */
static int prepare_pins(struct journal *j)
{
	const struct jset *newest = journal_newest(j);
	uint64_t need = newest->seq - newest->last_seq + 3;

	if (need > j->cap_pins / 2) {
		uint64_t cap = round_up_pow2(2 * need);
		uint32_t *pins = cap < (1ull << 32) ? calloc(cap, sizeof(*pins)) : NULL;

		if (!pins)
			return -ENOMEM;
		free(j->pins);
		j->pins = pins;
		j->cap_pins = cap;
	}
	j->oldest_seq = newest->last_seq;
	j->seq = newest->seq + 1;
	j->written_seq = j->durable_seq = newest->seq;
	j->durable_last_seq = newest->last_seq;
	j->pins[j->seq & (j->cap_pins - 1)] = 1;
	for (size_t i = 0; i < j->nr_found; i++)
		j->pins[j->found[i].seq & (j->cap_pins - 1)] = 1;
	return 0;
}

static bool replayable(const struct cset *c, const struct bkey *k)
{
	return !bkey_journal_validate(k, &c->g, NULL) && bkey_inode(k) < c->g.nr_uuids;
}

/* Nobody may believe an older gen than its keys have. */
static void adopt_entry(struct cset *c, const struct jset *e)
{
	for (const struct bkey *k = jset_first(e); k < jset_end(e); k = bkey_next(k)) {
		if (!replayable(c, k))
			continue;
		bkey_for_each_ptr(k, i)
			if (ptr_available(k->ptr[i]))
				bucket_adopt_gen(c, k->ptr[i], 0, false);
	}
}

/*
 * Its keys are not in the tree yet: nobody may take their buckets. A stale key has no data to keep, and its bucket may be one of the few that are
 * free: in a full cache the journal can reach back to when all of them were in use.
 */
static void mark_entry(struct cset *c, const struct jset *e)
{
	for (const struct bkey *k = jset_first(e); k < jset_end(e); k = bkey_next(k)) {
		if (!replayable(c, k))
			continue;
		bkey_for_each_ptr(k, i)
			if (ptr_available(k->ptr[i]) && !ptr_stale(c, k->ptr[i]))
				bucket_pin(ptr_bucket(c, k->ptr[i]));
		gc_mark_key(c, 0, k);
	}
}

int journal_mark(struct cset *c)
{
	struct journal *j = &c->journal;
	int r = prepare_pins(j);

	if (r < 0)
		return r;
	for (size_t i = j->nr_found; i-- > 0;)
		adopt_entry(c, j->found[i].jset);
	for (size_t i = 0; i < j->nr_found; i++)
		mark_entry(c, j->found[i].jset);
	return 0;
}

/* --- replaying --------------------------------------------------------------------------------------------------------- */

/*
 * A key with a stale pointer goes in like any other: it reads as a miss and hides what older keys say of its range. Keys that cannot be right are
 * skipped and counted (T-5); their buckets were not pinned.
 */
static int replay_entry(struct cset *c, const struct jset *e)
{
	for (const struct bkey *k = jset_first(e); k < jset_end(e); k = bkey_next(k)) {
		struct keylist one;
		int r;

		if (!replayable(c, k)) {
			c->journal.skipped_keys++;
			continue;
		}
		keylist_init(&one, KEYLIST_WORDS);
		keylist_push(&one, k);
		r = btree_insert(c, &one, e->seq, NULL);
		if (r < 0)
			return r;
		c->journal.replayed_keys++;
	}
	return 0;
}

int journal_replay(struct cset *c, struct printbuf *why)
{
	struct journal *j = &c->journal;
	int r = 0;

	j->replaying = true;
	for (size_t i = 0; i < j->nr_found && !r; i++) {
		r = replay_entry(c, j->found[i].jset);
		if (r < 0)
			pr(why, "journal of '%s': cannot replay entry %llu: %s", c->cache->path, (unsigned long long)j->found[i].seq,
			   c->error[0] ? c->error : strerror(-r));
		else
			journal_unpin(j, j->found[i].seq);
		j->replayed_entries++;
	}
	for (size_t i = 0; i < j->nr_found; i++)
		free(j->found[i].jset);
	free(j->found);
	j->replaying = false;
	j->found = NULL;
	j->nr_found = j->cap_found = 0;
	return r;
}
