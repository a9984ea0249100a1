/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Flash-only volumes: devices whose only copy is in the cache (behaviour.md §1.12).
 *
 * All that is on disk of a volume is its slot in the uuid table, with its size, and its keys. Two rules follow: the table that says so is durable
 * before anybody uses a new volume or a new size; and where no volume may be read there are no keys, or its next owner, or the same volume
 * grown again, would read them. So:
 *
 *     create   a slot free of keys (slot_take())  →  table  →  run
 *     resize   requests wait  →  purge what lies behind the smaller of both sizes  →  table  →  the new size counts
 *     remove   no requests any more  →  table: INVALID, data given up  →  out of the set; the purger deletes the keys
 *
 * Growing purges too: a kernel that shrank the volume has left its keys behind the end. A crash between two steps leaves the volume as it was before, except
 * that a tail that was to be cut off may read as zeros already.
 *
 * A removed volume that somebody still has open has no set (`bdev.set`): every request ends with an error, and the object goes when it is closed. Its slot
 * may have a new owner by then.
 *
 * All of these under `admin`. Waiting: requests, swaps of the device (its whole range), `purge.lock`, disks, the journal.
 */
#include "formats/printbuf.h"

struct bdev;
struct cset;

/* Start every volume in the table; bad ones are logged and skipped. */
FIBER_FN void volumes_start(struct cset *c);
/* -EINVAL: impossible size, no slot; -EPERM, -EINTR: the set does not run yet, or not any more. The caller holds the set. */
FIBER_FN MUST_CHECK int volume_create(struct cset *c, uint64_t bytes, struct printbuf *why);
/* Whole blocks, rounded down. -EINVAL; -EBUSY: smaller, and somebody has it open; -EINTR, -EROFS. The caller holds the device. */
FIBER_FN MUST_CHECK int volume_resize(struct bdev *d, uint64_t bytes, struct printbuf *why);
/* -EBUSY: somebody has it open; force: then their requests fail from now on. -EROFS: the set has failed. The caller holds the device. */
FIBER_FN MUST_CHECK int volume_remove(struct bdev *d, bool force, struct printbuf *why);
