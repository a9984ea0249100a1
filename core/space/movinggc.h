/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Moving gc: live data of nearly empty buckets goes into fewer, full ones, so that theirs become reusable (behaviour.md §7.7).
 *
 * Clean data can be dropped and dirty data written back, but a flash-only volume's data has no other place: once each of its buckets holds a little,
 * only moving makes room. So dirty data is moved wherever a set has volumes; the tunable copy_gc_enabled moves the data of all buckets.
 *
 * A pass begins when a gc has finished, since only then it is known how much each bucket holds:
 *
 *     choose the emptiest buckets whose data fits into the MOVINGGC reserve  →  walk the index for live keys that point into them
 *     → per batch: take places, read, verify checksums → write → swap the keys (request/swap.h: journalled compare-and-swap)
 *
 * It is a fiber of its own, so gc never waits for it, nor does anybody else. The sources become free with the next gc.
 *
 * Invariants.
 *   - The source has a reader's reference from the read to the end of the swap: its bytes are the key's when they arrive, and gc does not drop the
 *     key, as it would of an emptied bucket, before the swap that is journalled already.
 *   - A key that changed meanwhile is left as it is: the swap finds something else, or somebody holding the range. Dirty keys stay dirty, and their
 *     new bucket is marked so before they are indexed.
 *   - The source is not reused before the move is durable (I-16): only a later gc unmarks it, and it gets a new owner only after a prio write, whose
 *     journal entry stands behind that of the move. An older journalled key is replayed before it, never after (R3.4).
 *   - It begins nothing that would not make room: a pass frees at least one bucket more than it fills.
 * Whatever is in its way (no bucket, a busy range, a read error, a wrong checksum) makes it skip keys or end the pass; the next gc brings another.
 */
#include "core/engine/sync.h"

struct cset;

struct movinggc {
	struct fiber *fiber;
	struct wait_queue work;
	bool stopping, running;
	uint64_t gc_seen;      /* gc.runs_finished when the last pass began */
	uint64_t nr_passes, nr_buckets; /* passes that found something to do; buckets chosen by them */
	uint64_t nr_keys, nr_sectors;   /* moved */
	uint64_t nr_failed;    /* keys that were overwritten meanwhile, or could not be read or written */
};

void movinggc_init(struct cset *c);
MUST_CHECK int movinggc_start(struct cset *c);
FIBER_FN void movinggc_stop(struct cset *c);
/* A gc has finished, or the set ends or has failed. */
void movinggc_wake(struct cset *c);
