/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The journal: index updates become durable in small sequential writes (behaviour.md §6, format.md §11).
 *
 * Vocabulary: an *entry* (jset) collects the keys of many operations; `seq` numbers entries. One entry is *open* (being filled), at most one
 * is *in flight*. A *pin* counts, per entry, what still needs it: the open buffer itself, operations between append and insert, and btree nodes
 * whose unwritten set holds keys of it. last_seq = oldest entry with a pin; replay starts there. It is sampled when an entry is written.
 *
 * Group commit: while an entry is in flight, everybody appends to the open one. Every write is: flush of the cache device, then the entry with
 * FUA (R6.2). So a durable entry makes durable all data writes that completed before it was started (R2.9).
 *
 * The ring: njournal buckets used in consecutive order. Bucket i+1 may be entered only when its newest entry is older than the last_seq of
 * the newest *durable* entry (R6.4). The last block of each bucket is kept for one empty entry that publishes a newer last_seq when that
 * is what is missing. In normal running one more bucket is kept free: entries without keys may use it, so that the allocator can make progress
 * while operations that wait for buckets hold the oldest pins, and recovery after a crash finds room for its own entries (R6.3).
 * The open entry takes keys only while a place for it is guaranteed.
 * With discard on, the device is told of journal buckets that nobody needs any more, one at a time. Advice only: never one of the next buckets
 * that entries may need soon, so that nobody waits for it in normal running; and when the ring gets to a bucket before its turn came, it is
 * simply overwritten. A bucket under discard is not free: what is written there meanwhile could be lost. Oldest first, and each durable before
 * the next begins: a disk that loses power may forget any of several discards, and the kernel's search, unlike ours, does not find the
 * newest entries behind a hole in the ring (sim 12 --leave). So what is left of older laps lies behind the hole, next to the needed entries.
 * An operation between append and insert may need entries without keys to get on (a new root, priorities for a bucket), and until it is done
 * its pin keeps the ring from moving. So only as many such operations are let in as the ring has room for (max_operations); that matters
 * for tiny journals only.
 *
 * Crash at any point: the newest valid entry names root, uuid bucket, prio chain and last_seq; entries [last_seq, seq] exist. (I-7, I-8)
 *
 * Waiting: journal_append() waits for space: it needs node writes and journal writes, never a structural lock (R0.6).
 */
#include "core/admin/histogram.h"
#include "core/io/blk.h"
#include "formats/geometry.h"
#include "formats/jset.h"

struct cset;
struct keylist;
struct printbuf;


struct journal_buffer {
	struct jset *jset;     /* JSET_BYTES_MAX, page-aligned */
	bool dirty;	       /* holds keys */
	bool need_write;       /* somebody waits, or the timer fired */
};

/* An entry found on disk at start. */
struct journal_found {
	uint64_t seq;
	struct jset *jset; /* owned */
};

struct journal {
	struct cset *c;
	uint64_t seq;		/* of the open entry */
	uint64_t written_seq;	/* newest entry handed to the device */
	uint64_t durable_seq;	/* newest entry known to be on the device */
	uint64_t durable_last_seq; /* last_seq recorded in that entry */
	struct journal_buffer buf[2];
	unsigned open_buf;	/* index of the open one */
	bool in_flight;

	uint32_t *pins;		/* ring by seq: counts of entries oldest_seq .. seq */
	uint64_t cap_pins;	/* power of two */
	uint64_t oldest_seq;	/* = last_seq in memory */

	uint32_t nr_buckets;	/* of the journal */
	uint32_t first_bucket;
	uint64_t *bucket_seq;	/* newest entry in each journal bucket, 0 = none, or discarded */
	uint32_t cur;		/* index of the bucket being filled */
	uint32_t blocks_free;	/* left in it, the publishing block included */
	uint32_t blocks_per_bucket;
	struct bio discard_bio;
	uint32_t discarding;	/* index of the bucket, while discard_busy */
	bool discard_busy;
	uint64_t discard_fence;	/* the next discard waits until this entry, whose flush covers the last discard, is durable */
	bool reserve;		/* running: keep a spare bucket for meta entries and the next recovery */

	struct wait_queue space;   /* for room in the open entry or the ring */
	struct wait_queue durable; /* an entry became durable, or the journal failed */
	struct wait_queue work;	   /* the writer fiber's */
	struct fiber *writer;
	struct timer delay_timer;
	uint32_t delay_ms;
	unsigned nr_operations, max_operations; /* between append and insert */
	bool want_room;		   /* somebody waits in `space` */
	bool running, stopping;
	bool replaying;
	bool silent;		   /* replaying: nothing is written until journal_speak() (R6.3) */
	bool replace_oldest;	   /* the next entry is written over the oldest one */

	struct journal_found *found; /* between journal_read() and journal_replay() */
	size_t nr_found, cap_found;
	uint64_t replayed_keys, skipped_keys, replayed_entries;

	uint64_t nr_reclaim, nr_reclaimed_buckets, nr_flush_write, nr_discards, nr_entries, nr_bytes;
	uint64_t nr_bytes_used;		/* of nr_bytes, without the padding to whole blocks */
	struct histogram entry_latency; /* from submission to durable */
};

MUST_CHECK int journal_init(struct cset *c);
void journal_release(struct cset *c);

/* --- start-up ------------------------------------------------------------------------------------------------------------ */

/* Read all journal buckets; keep the entries [last_seq, newest]. -ENODATA: no entry. -EUCLEAN: entries are missing (§6.10). */
FIBER_FN MUST_CHECK int journal_read(struct cset *c, struct printbuf *why);
const struct jset *journal_newest(const struct journal *j);
/* Pins for every found entry and for the buckets its live keys name; adopts newer gens (§6.9). */
MUST_CHECK int journal_mark(struct cset *c);
/*
 * Open a new entry behind the newest and start the writer. It continues in the bucket where the newest entry ends (the kernel abandons the rest
 * of that bucket; what may lie there is torn, unacknowledged, or of an older lap, so overwriting it is as good and saves room: a machine that
 * crashes again and again while starting does not eat up its journal). A new set starts at index 1 with seq 1.
 * After a recovery the journal is silent at first: journal_meta() does nothing, and the allocator, which could not make gens durable, does not run.
 * So replay needs no journal space, and a crash during it changes nothing: the newest entry still names the old root and the old last_seq, and
 * no bucket that it leads to has been reused. journal_speak() ends that: it publishes what replay has made, in the kept block if it must.
 * Old kernels keep nothing free. Then, with all of replay in durable nodes, one entry without keys is written over the oldest entry: only its
 * first sector, so that a crash leaves the one or the other, and both are complete journals. (A disk with larger blocks gets the rest of the block
 * as it was: blk.h, point 1.) Should replay have to end the silence before it is done, for want of buckets, then a ring that full is refused.
 */
MUST_CHECK int journal_start(struct cset *c);
FIBER_FN MUST_CHECK int journal_speak(struct cset *c);
/* Insert the keys of all found entries in order, dropping pins on the way; frees `found`. */
FIBER_FN MUST_CHECK int journal_replay(struct cset *c, struct printbuf *why);

/* --- running ------------------------------------------------------------------------------------------------------------- */

/*
 * Append keys to the open entry; on return they have one pin on ret_seq, to be dropped with journal_release_keys() after they are in the btree.
 * Waits for space. -EROFS: the set failed. Inside one operation, append comes before insert (R2.10).
 */
FIBER_FN MUST_CHECK int journal_append(struct cset *c, const struct keylist *keys, uint64_t *ret_seq);
/* Wait until entry seq is durable. 0, or -EROFS when the journal failed. */
FIBER_FN MUST_CHECK int journal_wait(struct cset *c, uint64_t seq);
/* Everything appended so far is durable on return; writes nothing when it already is. */
FIBER_FN MUST_CHECK int journal_flush(struct cset *c);
/* Write an entry that carries the current root, uuid and prio pointers, and wait for it. */
FIBER_FN MUST_CHECK int journal_meta(struct cset *c);
static inline void journal_pin(struct journal *j, uint64_t seq)
{
	assert(seq >= j->oldest_seq && seq <= j->seq);
	j->pins[seq & (j->cap_pins - 1)]++;
}
void journal_unpin(struct journal *j, uint64_t seq);
void journal_release_keys(struct journal *j, uint64_t seq);
/*
 * The same admission without keys, around a structural change that nothing journalled asks for (fills, gc): its entry must not take the ring's
 * last room from operations that hold pins. -EAGAIN: !wait and no room. -EROFS: the set failed.
 */
FIBER_FN MUST_CHECK int journal_admit(struct cset *c, bool wait);
/*
 * Admission that is never refused, for the one who moves btree nodes: without it pins might not be given back. One at a time, so that the one
 * entry that it may write finds its place in the kept bucket.
 */
static inline void journal_enter(struct journal *j) { j->nr_operations++; }
void journal_leave(struct journal *j);
static inline uint64_t journal_active_entries(const struct journal *j) { return j->seq - j->oldest_seq + 1; }
/* Write the open entry if it holds keys, stop the writer. */
FIBER_FN void journal_stop(struct cset *c);
/* The set failed: wake everybody who waits. */
void journal_fail(struct cset *c);
/* --- reclaim.c, for journal.c -------------------------------------------------------------------------------------------- */

enum journal_kind { JOURNAL_KEYS, JOURNAL_META, JOURNAL_PUBLISH };
/* Is there a place for an entry of nr_blocks, by the rules above? */
bool journal_has_place(const struct journal *j, uint32_t nr_blocks, enum journal_kind kind);
/* Take the place: returns the sector, advancing to the next bucket if need be. */
uint64_t journal_take_place(struct journal *j, uint32_t nr_blocks);
/* Start the next discard, if one is due. It ends with a wake-up of the writer. */
void journal_discard(struct journal *j);
/* Is the bucket under discard one that the next entries need? Then it is to be waited for: there is nothing else that could make room. */
bool journal_discard_in_the_way(const struct journal *j);
/*
 * Get closer to having a place for keys: write leaves that hold the oldest entries. True: oldest_seq in memory is now far enough, publishing it will
 * free the next bucket. For the writer fiber.
 */
FIBER_FN bool journal_make_room(struct journal *j);

/* Words of keys one append may carry: fits a one-block entry (R6.1). */
uint32_t journal_append_max_words(const struct cset *c);
