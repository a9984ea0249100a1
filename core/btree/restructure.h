/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A structural change in progress: what replace.c (one node by one or two) and coalesce.c (neighbours by fewer) share. The steps and why they
 * are in this order: btree.h. Everything here is called with `structure` held and the buckets reserved (R5.3).
 */
#include "core/btree/internal.h"

#define OLD_MAX (BTREE_DEPTH_MAX + COALESCE_NODES)
#define FRESH_MAX (2 * OLD_MAX + 1)

struct restructure {
	struct cset *c;
	struct bnode *old[OLD_MAX]; /* being replaced, frozen, referenced; lowest first */
	unsigned nr_old;
	struct bnode *fresh[FRESH_MAX]; /* new, frozen, referenced */
	unsigned nr_fresh;
	unsigned nr_outdated;	/* of old[]: gens raised, prios blocked */
	unsigned nr_published;	/* of fresh[] */
	bool refused;		/* some bucket was: the reserve check did not count its successor */
};

/* A position that a node with this bound covers: right below it. */
static inline struct bpos pos_below(struct bpos bound) { return bpos(bound.inode, bound.offset - 1); }

/* Freeze a node that is to be replaced. */
void take_old(struct restructure *rs, struct bnode *old);
/* A frozen node in a fresh bucket with an empty open set; its key has no bound yet. */
FIBER_FN MUST_CHECK int fresh_node(struct restructure *rs, unsigned level, struct bnode **ret);
/* The newest fresh node, which nobody has seen, is not needed after all. */
void drop_last_fresh(struct restructure *rs);
void set_bound(struct bnode *n, struct bpos bound);
/* What a copy of a node of this level leaves out; ctx is the restructure. */
typedef bool (*drop_fn)(void *ctx, const struct bkey *k);
drop_fn drop_rule(unsigned level);
/* Write the fresh nodes that are not written yet, FUA, and wait. */
FIBER_FN MUST_CHECK int write_fresh(struct restructure *rs);
bool parent_has_room(const struct bnode *parent, uint32_t words);
/* The marker that a node is gone. */
void push_freed(struct keylist *l, const struct bnode *old);
/* Make all fresh nodes visible and all old ones stale, in one atomic stretch; write the parent and wait. */
FIBER_FN MUST_CHECK int commit_in_parent(struct restructure *rs, struct bnode *parent, const struct keylist *ptrs);
/* The same where the parent has no room: it is replaced in the same go, and so on up to the root. */
FIBER_FN MUST_CHECK int replace_node(struct restructure *rs, struct bnode *old, const struct keylist *ptrs, struct pending_insert *pending);
/* What a failure means for the set. Returns the error to report. */
int restructure_failed(struct restructure *rs, int r);
/* Thaw; give back what is no longer needed: the old nodes, or, after a failure, the fresh ones. */
FIBER_FN void restructure_finish(struct restructure *rs, bool ok);
