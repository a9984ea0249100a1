/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * One batch of writeback: copy some dirty keys to the backing device, make them durable there, make them clean (behaviour.md §8.4).
 *
 *     start keys → rounds of (read from cache ‖ …, wait, write to backing ‖ …, wait) → one backing flush → clean inserts → retire
 *            └ beside the first reads: journal flush, so that no data reaches backing before its dirty key is durable
 *
 * A round moves at most WRITEBACK_BATCH_SECTORS through one buffer that is allocated once. Neighbouring sectors lie next to each other in
 * it, so a contiguous run of keys goes to backing as one write. Writes are issued in LBA order, as many at once and as large as throttle.h allows.
 * A key whose data could not be read, written or flushed stays dirty (its entry in the index is not touched).
 *
 * Clean inserts (R3.4, R8.5): what still is what was copied is swapped for the same without the dirty bit (request/swap.h). A key that somebody
 * writes to, or that was overwritten, stays dirty.
 *
 * Waiting: disks, journal space, btree. Never for a range, a data bucket or a foreground request.
 */
#include "core/engine/sync.h"

struct bdev;
struct printbuf;
struct writeback_batch;

struct writeback_batch *writeback_batch_new(struct bdev *d);
void writeback_batch_free(struct writeback_batch *b);
/*
 * Work off the next keys of the keybuf, about budget_sectors (at least one key). Returns sectors written; sets *ret_failed when an I/O
 * failed. All keys it started are retired on return.
 */
FIBER_FN uint64_t writeback_batch_run(struct writeback_batch *b, uint64_t budget_sectors, bool *ret_failed);
/* The keys of the running batch, one a line: phase, offset and length in bytes, age in ms (control-files.md §10.5). */
void writeback_batch_text(const struct writeback_batch *b, struct printbuf *out);
unsigned writeback_batch_inflight(const struct writeback_batch *b, uint64_t *ret_sectors);
