/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * One request of a device as straight-line code on its own fiber (behaviour.md §2). Addresses are sectors in *key space*: the backing
 * device's own sectors, data_offset included (R0.1); flash-only volumes start at 0. Any whole sectors are correct; whole blocks of
 * the set are what gets cached.
 *
 * Read:   look up → hits from the cache and misses from backing, submitted together → wait → fill from a copy, by a fiber of its own.
 * Write:  (range lock held by the caller) decide → writeback: cache; ordered: backing, flush, index; else: backing ‖ cache, index.
 *
 * What a request holds, in order: a count of the device (which pins the set), for writes the range lock, for writeback writes
 * dirty_writers. While holding these it waits for disks, buckets (writeback only), journal space, btree.
 * A fill holds a count and waits for disks and the btree; never for a range or a bucket.
 *
 * Errors: -EIO whatever the cause; what failed was counted and logged where it happened.
 */
#include "core/bcf.h"
#include "core/request/account.h"
#include "core/request/policy.h"

#define FILL_BYTES_MAX MIB(64)	   /* copies of missed data on their way to the cache, per set */
#define FILL_SECTORS_MAX 2048u	   /* one fill (behaviour.md §2.5) */
#define REQUEST_ZERO_SECTORS (1u << 21) /* bcf_zero() works, and locks, in pieces of this */

/*
 * Enter and leave a device: every request lies between. Waits while an attach or detach is switching the device. -EIO: the device has
 * failed, or its set has and cannot be done without; -ENXIO: closing.
 */
FIBER_FN MUST_CHECK int request_begin(struct bdev *d, bool write);
void request_end(struct bdev *d);

/* ret_path (set on success): how it was served. NULL: on behalf of another request (edges of a sub-block write): not counted, not cached. */
FIBER_FN MUST_CHECK int request_read(struct bdev *d, void *buf, uint64_t start, uint64_t end, const struct bcf_io *io, enum io_path *ret_path);
/* These two with the range held. */
FIBER_FN MUST_CHECK int request_write(struct bdev *d, const void *buf, uint64_t start, uint64_t end, const struct bcf_io *io,
				      enum io_path *ret_path);
FIBER_FN MUST_CHECK int request_zero(struct bdev *d, uint64_t start, uint64_t end);
FIBER_FN MUST_CHECK int request_flush(struct bdev *d);

/* Flush the backing device. A failure is final: the device is disabled, since the lost writes are unknown (R0.4). */
FIBER_FN MUST_CHECK int request_backing_flush(struct bdev *d);

/* --- shared by request.c and read.c ---------------------------------------------------------------------------------------- */

/* Who asks, as one number: for streams and write points. */
uint64_t request_stream(const struct bcf_io *io);
/* Bypass the cache (§2.2)? Counts, notes the stream, ages priorities. Cached devices only. */
enum bypass_reason request_bypass(struct bdev *d, uint64_t start, uint64_t end, bool write, const struct bcf_io *io);
