/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Slots of the uuid table: who has which inode number, how much the index holds for each, and where the next device goes.
 *
 * A slot is FREE (uuid zero), CACHED, FLASH or INVALID (a fixed uuid; its owner left). The number of a slot is the inode of all keys of its
 * owner, so a slot has a new owner only after every key of the old one is gone, durably (R1.3, I-21): purge.h. What an INVALID slot holds decides
 * about it:
 *
 *     nothing, or clean data      purged in the background, and then as good as FREE; written as FREE some time later
 *     dirty data, `sectors` == 0  a device was run without its cache (STALE): kept until `readopt` or `forget` says what to do
 *     dirty data, `sectors` != 0  a removed volume, or a forgotten device (slot_discard()): purged like clean data
 *
 * `sectors` means something for volumes only, so it can carry this through a crash, and the kernel minds it as little in an INVALID slot as we do in
 * those that the kernel's removed volumes leave.
 *
 * Usage. Per slot, the sectors that the index holds: counted by every walk of the whole index (initial check, gc). Dirty sectors are also kept up to
 * date by each insert; a walk during which they changed does not count; those of a present device are exact.
 */
#include "formats/uuid.h"

struct cset;
struct bdev;
struct bkey;
struct printbuf;

enum slot_keys {
	SLOT_LEFT_ALONE, /* it has an owner, or its invalidation is not durable yet */
	SLOT_TO_PURGE,
	SLOT_PURGED,	 /* no keys */
	SLOT_KEPT,	 /* dirty keys that nobody has given up */
};
struct slot {
	enum slot_keys keys;
	uint64_t cached_sectors, dirty_sectors;	  /* as of the last walk, dirty ones corrected since */
	uint64_t counted_cached, counted_dirty;	  /* by the walk that is under way */
	bool dirty_changed;			  /* since the walk began: it cannot tell what changed behind it */
};

MUST_CHECK int slots_init(struct cset *c);
void slots_release(struct cset *c);

/* Slots are found by uuid, or -1. */
int uuid_slot_find(const struct cset *c, const uint8_t uuid[16]);
/* Write the whole table to a new bucket and wait for the journal entry that names it (§1.11). Takes uuid_lock. */
FIBER_FN MUST_CHECK int uuid_table_write(struct cset *c);

/*
 * A slot without owner and without keys, ready to be filled in (before the next wait). Purges one if there is no other. -EINVAL: none; or
 * what ended the purge. Under `admin`.
 */
FIBER_FN MUST_CHECK int slot_take(struct cset *c, struct printbuf *why);
/* Fill in a taken slot, in memory. */
void slot_fill(struct cset *c, uint32_t slot, const uint8_t uuid[16], const char label[LABEL_BYTES], uint64_t flash_sectors);
/* Its owner leaves, in memory; the caller writes the table, and only then says slot_left(). discard: dirty data goes, too. */
void slot_invalidate(struct cset *c, uint32_t slot, bool discard);
/* The invalidation is durable: its keys may go. */
void slot_left(struct cset *c, uint32_t slot);
static inline bool slot_discards(const struct uuid_entry *u) { return uuid_entry_state(u) == UUID_SLOT_INVALID && u->sectors; }

/* --- usage --------------------------------------------------------------------------------------------------------------- */

/* A walk begins; a live data key; the walk has seen the whole index. */
void slots_count_begin(struct cset *c);
void slots_count(struct cset *c, const struct bkey *k);
void slots_count_end(struct cset *c);
void slots_dirty_changed(struct cset *c, uint32_t inode, int64_t nr_sectors);
void slot_emptied(struct cset *c, uint32_t slot);
/* Exact for a device that is there. */
uint64_t slot_dirty_sectors(const struct cset *c, uint32_t slot);
uint64_t slot_cached_sectors(const struct cset *c, uint32_t slot); /* clean and dirty */
uint64_t slots_all_dirty_sectors(const struct cset *c);
