/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * An exported device: a backing device (cached or passing through), or a flash-only volume (backing == NULL).
 *
 * Life of a backing device (behaviour.md §1.5-§1.9):
 *
 *     register ──> waiting ──(set appears: attach)──> cached + running ──detach──> detaching ──> running, no cache
 *        │            └──(forced `running`: superblock STALE first)──> running, no cache                 │
 *        └─(state NONE/STALE)──> running, no cache ──attach──> cached + running                           stop: closing ──> gone
 *
 * A volume lives from flash_vol_create, or the start of its set, to its removal or the set's end (volume.h).
 *
 * References: `count` are requests in flight; `opens` are handles of the data file; `holds` are control operations. A closing device goes away
 * when all are zero.
 */
#include "core/admin/loadavg.h"
#include "core/admin/stats.h"
#include "core/io/blk.h"
#include "core/request/account.h"
#include "core/request/policy.h"
#include "core/request/range.h"
#include "core/writeback/writeback.h"
#include "formats/super.h"

struct bcf;
struct cset;

struct bdev {
	struct list link;	  /* bcf->bdevs */
	struct bcf *bcf;
	struct cset *set;	  /* NULL: not attached; or a removed volume that somebody has open. Else set->devices[inode] is us */
	struct blkdev *backing;	  /* NULL: flash-only volume */
	struct flush_group backing_flush;
	uint64_t backing_writes;  /* writes and zeroings of data that have completed, well or not; starts at 1: an earlier life may have written */
	uint64_t backing_flushed; /* ... when the newest successful flush began: with nothing new there is nothing to flush */
	struct super *super;	  /* 4096 bytes, page-aligned; NULL for volumes */
	struct fmutex super_lock; /* superblock writes */
	unsigned number;	  /* devN */
	char name[16];
	uint32_t inode;		  /* slot in the set's uuid table while attached */
	uint64_t data_offset;	  /* sectors before the data; 0 for volumes */
	uint64_t nr_sectors;	  /* exported size */
	bool running;		  /* has a data file */
	bool detaching, closing, io_disable;
	bool names_set;		  /* not attached, but its superblock on disk may name the set, whose data would hide what is written now */
	char error[160];	  /* why it stopped working, for status */
	unsigned count;		  /* requests in flight, with or without cache */
	unsigned holds;		  /* control operations in progress: keep the object, but not its relation to a set */
	struct wait_queue count_zero;
	unsigned opens;
	unsigned pass_through;	  /* requests in flight that do not know the cache (R1.4) */
	bool restored;		  /* has its saved settings (admin/tunables.h) */
	bool quiesce;		  /* attach, detach or resize in progress: new requests wait */
	struct wait_queue quiesced;

	struct range_lock ranges;
	struct seq_detector seq;
	uint64_t sequential_cutoff_bytes;
	struct writeback writeback;
	struct stats stats;
	struct io_account account;
	struct loadavg load;
	struct reason_count bypass_reasons[BYPASS_REASONS];
	struct reason_count writeback_refusals[WRITEBACK_REFUSALS]; /* writes in writeback mode */
	bool bypass_torture_test;
	bool data_csum;		     /* note checksums of what goes to the cache (csum.h) */
	bool verify;		     /* compare clean hits with the backing device (R2.3) */
	bool strict_writethrough;    /* what was seen once after a crash stays (R2.6) */
	uint32_t io_errors, io_error_limit;
	unsigned stop_when_cache_set_failed; /* 0 auto, 1 always */
	unsigned readahead_cache_policy;     /* stored, inert: 0 all, 1 meta-only */
	unsigned fills_in_flight;
	struct wait_queue fills_zero;
};

#define VOLUME_SECTORS_MAX (BKEY_OFFSET_MAX >> SECTOR_SHIFT)

static inline bool bdev_is_flash(const struct bdev *d) { return !d->backing; }
static inline enum cache_mode bdev_cache_mode(const struct bdev *d)
{
	return d->super ? super_cache_mode(d->super) : CACHE_MODE_WRITEBACK;
}
static inline enum bdev_state bdev_state(const struct bdev *d) { return d->super ? super_state(d->super) : BDEV_STATE_DIRTY; }
/*
 * What users are told. A device that is leaving says NONE on disk before its set has forgotten it: who waits for "no cache" to attach it
 * again must not see that earlier than an attach can succeed.
 */
static inline enum bdev_state bdev_state_shown(const struct bdev *d)
{
	return d->set && bdev_state(d) == BDEV_STATE_NONE ? BDEV_STATE_CLEAN : bdev_state(d);
}
/* What dirty data is counted by (§8.2): what somebody said, else what the device says. */
static inline uint64_t bdev_stripe_sectors(const struct bdev *d)
{
	return d->writeback.stripe_override_sectors ? d->writeback.stripe_override_sectors : stripe_sectors_auto(d->backing->optimal_io_sectors);
}

/* Take over an opened device with a validated superblock (owned from here on, also on failure). */
MUST_CHECK int bdev_new(struct bcf *b, struct blkdev *backing, struct super *super, struct bdev **ret);
MUST_CHECK int bdev_new_flash(struct cset *c, uint32_t slot, struct bdev **ret);
/* Write the superblock and flush: durable when it returns 0 (R1.1, R1.6). */
FIBER_FN MUST_CHECK int bdev_write_super(struct bdev *d);
/* Set the state and write the superblock if that changes anything. */
FIBER_FN MUST_CHECK int bdev_set_state(struct bdev *d, enum bdev_state st);
/* Change cache_mode / label and write the superblock if that changes anything. */
FIBER_FN MUST_CHECK int bdev_set_cache_mode(struct bdev *d, enum cache_mode m);
FIBER_FN MUST_CHECK int bdev_set_label(struct bdev *d, const char *label, size_t len);
/* Export (§1.6). -EBUSY: already running. A device with state CLEAN or DIRTY and no set is marked STALE first, durably. */
FIBER_FN MUST_CHECK int bdev_run(struct bdev *d);
/* Written back, a dirty key outside of the device's data would destroy its superblock, or fail for ever. 0, or -EINVAL, -EIO, with the reason. */
FIBER_FN MUST_CHECK int bdev_keys_fit(const struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why);
/* -ENOENT, with the reason: what `c` has of the device is older than that, and what is written with `c` would be lost in its turn. Else 0. */
MUST_CHECK int bdev_dirty_elsewhere(const struct bdev *d, const struct cset *c, struct printbuf *why);
/* §1.7. explicit: the user named this set. why: the reason of a refusal. */
FIBER_FN MUST_CHECK int bdev_attach(struct bdev *d, struct cset *c, bool explicit_set, struct printbuf *why);
/* §1.8: begins; the writeback fiber finishes it (bdev_detach_finish). */
void bdev_detach(struct bdev *d);
/* Nothing is dirty any more: superblock CLEAN, then NONE, then the slot (R1.5). Called once, on the writeback fiber, which then ends. */
FIBER_FN void bdev_detach_finish(struct bdev *d);
/* It is not attached, and its superblock could not be made to say so: no requests, until it can (`io_disable`). when: part of a sentence. */
void bdev_still_named(struct bdev *d, const char *when, int error);
/* Ask the device to go away; asynchronous, dirty data stays in the cache. */
void bdev_stop(struct bdev *d);
/* Its set failed: clean devices go on without a cache, dirty ones are disabled and stopped (§1.10, I-27). */
FIBER_FN void bdev_set_failed(struct bdev *d);
/* A backing I/O failed: counts, and disables the device at the limit (§1.10). */
void bdev_io_error(struct bdev *d, const char *what, int error);
/* Keep the object while a control operation may yield; it can still be stopped, detached and so on meanwhile. */
void bdev_hold(struct bdev *d);
void bdev_release(struct bdev *d);
/*
 * New requests wait, and those in flight have ended: the device's relation to its set, or its size, may change until unquiesce. One at a time:
 * under `admin`, or on the writeback fiber of a device that is attached.
 */
FIBER_FN void bdev_quiesce(struct bdev *d);
void bdev_unquiesce(struct bdev *d);
/* A request begins / ends; the device and its set stay while any is in flight. */
void bdev_get(struct bdev *d);
void bdev_put(struct bdev *d);
