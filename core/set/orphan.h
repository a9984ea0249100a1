/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What devices that are not there have left in a set, and the two ways out (behaviour.md T-9, W-7, control-files.md §10.6).
 *
 * Dirty data of a device that does not come back blocks its buckets for ever, and so does dirty data that was left behind when a device was run
 * without its cache: its slot is INVALID and kept (slots.h). Only the user can say what is to happen:
 *
 *     forget   the data is given up: slot INVALID and discarded in the table  →  its keys are deleted  →  gc
 *     readopt  a device takes back the dirty data of a slot, as if it had never left:
 *              clean keys go (the device may have newer data)  →  its superblock says DIRTY and names the set  →  the slot has its uuid  →  attach
 *
 * A crash in the middle of `readopt` leaves a device that claims dirty data of a set that does not know it, so it is refused (ENOENT): nothing is lost,
 * nothing old is served, and `readopt` can be given again. The data itself stays in its slot until the table names the owner.
 *
 * Both under `admin`. Waiting: disks, the journal, `purge.lock`; readopt also for requests of the device (quiesce).
 */
#include "formats/printbuf.h"

struct bdev;
struct cset;

/*
 * Synchronous. -ENOENT: nothing is there; -EBUSY: its device is; -EINVAL: a volume; -ENOTEMPTY: dirty data, and not `discard`; -EROFS, -EINTR: the set
 * has failed, stops. The caller holds the set.
 */
FIBER_FN MUST_CHECK int slot_forget(struct cset *c, uint32_t slot, bool discard, struct printbuf *why);
/*
 * -EBUSY: attached, or open; -EINVAL: the device and the slot do not fit; -ENOENT: the slot holds nothing for it; others as bdev_attach(). The caller holds
 * both.
 */
FIBER_FN MUST_CHECK int bdev_readopt(struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why);
