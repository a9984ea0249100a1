/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Between the files of core/btree only. */
#include "core/btree/btree.h"
#include "core/set/cset.h"
#include "core/set/instance.h"

/* cache.c: a node in memory with a buffer, in no list, not yet findable. May write others out to make room. NULL: no memory. */
FIBER_FN struct bnode *bnode_new(struct cset *c, const struct bkey *key, unsigned level);
void bnode_publish(struct bnode *n);   /* findable from now on */
void bnode_retire(struct bnode *n);    /* replaced: not findable any more; freed with its last reference */
struct bnode *bnode_find(struct cset *c, uint64_t ptr);
static inline uint32_t bnode_sectors(const struct bnode *n) { return bkey_size(&n->key.k); }
static inline uint32_t bnode_blocks(const struct bnode *n) { return bnode_sectors(n) / n->c->g.block_sectors; }
/* FIBER_FN: wait until frozen / loading / writing changed. */
FIBER_FN void bnode_wait(struct bnode *n);

/* node_io.c */
FIBER_FN MUST_CHECK int bnode_read(struct bnode *n);
void bnode_open_next_set(struct bnode *n);
void bnode_mark_dirty(struct bnode *n, uint64_t journal_seq);
void bnode_release_pins(struct bnode *n);
static inline bool bnode_can_append(const struct bnode *n) { return !n->no_append && !n->must_move; }
/* n, which nobody knows yet and whose write was refused, as it was before that write, in another bucket. */
void bnode_unwrite(struct bnode *n, uint64_t ptr);
/* A reason to move is gone: n moved, or it is going away. */
void bnode_forget_move(struct bnode *n);

/*
 * debug.c, expensive_debug_checks (§10.3): before an insert the sectors that n maps, after it what must hold now: order, overlaps, search index, no
 * fewer sectors than before, keys that agree with their buckets' marks. A contradiction fails the set. Cost nothing when off.
 */
uint64_t bnode_debug_before(const struct bnode *n);
void bnode_debug_after(struct bnode *n, uint64_t before);

/* verify.c: read n back and compare, unless it changes meanwhile. A difference fails the set. */
FIBER_FN void bnode_verify(struct bnode *n);

/* update.c: put (the part of) k that belongs into leaf n, which has room and is not frozen; what is left stays in k. */
enum bkeys_insert leaf_insert_part(struct bnode *n, struct bkey *k, bool *ret_rest, const struct bkey *replace, uint64_t journal_seq);

/* replace.c: an insert that goes into the replacement before it is written, so that even one-block nodes make progress. */
struct pending_insert {
	struct bkey *k;		    /* in: the key; out: what is left of it */
	const struct bkey *replace; /* may be NULL */
	uint64_t journal_seq;
	bool done;		    /* k went in completely */
	bool collided;		    /* this part found something else */
	bool any;		    /* some part went in */
};
FIBER_FN MUST_CHECK int bnode_replace(struct cset *c, struct bpos pos, unsigned level, struct pending_insert *pending, enum btree_wait wait,
				      bool (*still_wanted)(const struct bnode *n));
/* Interior node: a key that leads nowhere: freed marker, or stale. */
bool node_ptr_bad(const struct cset *c, const struct bkey *k);
