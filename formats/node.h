/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* A btree node image: a log of bsets (format.md §9.3). How far is it valid? */
#include "formats/bset.h"

struct node_view {
	const void *image;
	uint32_t node_bytes;
	uint32_t block_bytes;
	uint64_t set_magic;
	const struct bkey *key; /* the node's own key: pointer word and inclusive upper bound */
};

struct node_extent {
	uint32_t valid_bytes; /* end of the last good set, rounded up to a block */
	unsigned nr_sets;     /* good sets */
	/*
	 * The log ends in an append that never became durable: a non-first set that fails its checksum or is cut off, with no
	 * good set behind it (R5.1). nr_sets counts the sets before it. Appending to such a node is forbidden: the torn
	 * blocks carry the node's seq.
	 */
	bool torn_tail;
};

/*
 * Judge the whole image. 0: ret is filled and torn_tail is false. With accept_torn, a torn tail is 0 as well and says so;
 * why then tells what was dropped.
 * -EBADMSG / -EUCLEAN: damage, described in why with the byte offset in the node.
 * Checks every set, the hole rule (no later block with the same seq) and that no key exceeds the node's bound.
 */
MUST_CHECK int node_validate(const struct node_view *v, bool accept_torn, struct node_extent *ret, struct printbuf *why);
/* The set that starts at offset_bytes; valid offsets are 0 and those node_next_set() gives. */
static inline const struct bset *node_set_at(const struct node_view *v, uint32_t offset_bytes)
{
	return (const struct bset *)((const char *)v->image + offset_bytes);
}
static inline uint32_t node_next_set(const struct node_view *v, uint32_t offset_bytes)
{
	return offset_bytes + (uint32_t)round_up_u64(bset_bytes(node_set_at(v, offset_bytes)), v->block_bytes);
}
