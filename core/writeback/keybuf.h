/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Keybuf: a bounded run of keys picked from the index for background work, in ascending order (behaviour.md §5.8).
 *
 * Model: keys[0 .. next) are *started* (their I/O may be in flight), keys[next .. nr) wait. A write that overlaps a waiting key drops
 * it; a dropped key stays in place, flagged, and counts for nothing any more. The buffer is filled when it is empty and used up
 * in runs: start some, work, retire them all.
 * Keys are copies: the index may have moved on, so users look again (REPLACE) before they act on the index.
 * Pure: nothing here waits or allocates.
 */
#include "formats/bkey.h"

#define KEYBUF_KEYS 1024 /* as many as may be in flight (T-16) */

struct keybuf_key {
	struct bkey_buf key;
	bool dropped; /* overwritten before it was started */
};
struct keybuf {
	struct keybuf_key keys[KEYBUF_KEYS]; /* ascending by END; those not dropped do not overlap */
	unsigned nr;
	unsigned next;	       /* keys before this one are started */
	uint64_t last_scanned; /* sector where the next scan continues */
};

void keybuf_init(struct keybuf *b);
static inline bool keybuf_full(const struct keybuf *b) { return b->nr == KEYBUF_KEYS; }
/* Is there no key left to start? (There may be started ones.) */
static inline bool keybuf_drained(const struct keybuf *b) { return b->next == b->nr; }
/* Keys that are neither started nor dropped. */
unsigned keybuf_waiting(const struct keybuf *b);
/* Append a copy of k, which ends behind all keys of the buffer. There must be room. */
void keybuf_add(struct keybuf *b, const struct bkey *k);
/* Start the next key that was not dropped; NULL when drained. Valid until keybuf_retire(). */
struct keybuf_key *keybuf_start(struct keybuf *b);
/* Forget all started keys. */
void keybuf_retire(struct keybuf *b);
/* Forget everything that is not started. */
void keybuf_drop_waiting(struct keybuf *b);
/* Forget those added since there were nr; none of them is started. */
void keybuf_truncate(struct keybuf *b, unsigned nr);
/* Is a started key overlapping [start, end)? */
bool keybuf_started(const struct keybuf *b, uint64_t start, uint64_t end);
/* Drop the waiting keys that overlap; true if a started one does. */
bool keybuf_overlaps(struct keybuf *b, uint64_t start, uint64_t end);
