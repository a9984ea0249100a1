/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Purge: take every key of an inode, or of a part of it, out of the index, durably (behaviour.md T-8, R1.3).
 *
 * Who needs it: a slot that gets a new owner, a volume that shrinks (or grows: the kernel leaves keys behind the end), `forget`, and
 * a device that takes back its old slot (readopt: its clean data may be outdated). Steps, for one inode at a time:
 *
 *   find the next key → one journalled key without pointers over it and up to 16 MiB behind it → ... → journal flush → write the leaves
 *
 * After the flush no crash brings a key back: replay runs in order, and what is in the journal behind our keys is the new owner's. After the
 * leaves are written the journal is not needed for it either. Only then the caller may write a table in which the slot has a new owner.
 * Interrupted (the set stops), it has deleted some keys; the slot says as before what is to happen, and the next start goes on.
 *
 * Nobody else may insert keys of the range meanwhile: the inode has no device, or the caller holds the range and has made sure that no fill is on its
 * way (quiesce). Swaps of absent devices' keys (gc) are kept out: those in flight are waited for, new ones see purge_runs().
 *
 * The background fiber purges INVALID slots whose data is not needed (slots.h), with pauses, and a while later writes them as FREE.
 *
 * Waiting: journal space, btree nodes, `structure`, node writes; `purge.lock` before all of them, under `admin` at most.
 */
#include "core/engine/sync.h"

struct cset;

enum purge_what {
	PURGE_ALL,
	PURGE_CLEAN, /* all but dirty keys */
};

struct purge {
	struct fiber *fiber;
	struct wait_queue work;
	struct fmutex lock;	/* one inode at a time */
	bool active, stopping;
	uint32_t inode;		/* while active */
	unsigned hurried;	/* callers that wait: no pauses */
	uint64_t nr_pieces;	/* journalled keys, since the start */
	uint64_t nr_slots;	/* purged since the start */
};

void purge_init(struct cset *c);
/* Start the fiber; it looks at every INVALID slot once. */
MUST_CHECK int purge_start(struct cset *c);
FIBER_FN void purge_stop(struct cset *c);
void purge_wake(struct cset *c);
/* Is this inode being purged? Then leave its keys alone. */
static inline bool purge_runs(const struct purge *p, uint32_t inode) { return p->active && p->inode == inode; }

/* Delete the keys that overlap [start, end), as far as they do. 0, -EINTR: the set stops, -EROFS, -EIO: it failed. */
FIBER_FN MUST_CHECK int purge_range(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, enum purge_what what);
/*
 * Make a slot without owner free of keys. hurry: somebody waits. -EBUSY: it holds dirty data that nobody has given up (and keeps it); others as
 * purge_range().
 */
FIBER_FN MUST_CHECK int purge_slot(struct cset *c, uint32_t slot, bool hurry);
/* Does the inode have dirty keys that overlap [start, end)? 1, 0 or -errno. */
FIBER_FN MUST_CHECK int purge_find_dirty(struct cset *c, uint32_t inode, uint64_t start, uint64_t end);
