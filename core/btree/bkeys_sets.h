/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What bsearch.c, bsort.c and extent.c share about single sets. Nobody else includes this. */
#include "core/btree/bkeys.h"

static inline bool bkeys_may_merge(const struct bkeys *b) { return b->leaf && !(b->no_merging && *b->no_merging); }
static inline struct bkeys_set *bkeys_last_set(struct bkeys *b) { return &b->sets[b->nr_sets - 1]; }
static inline bool bkeys_is_open(const struct bkeys *b, const struct bkeys_set *s)
{
	return b->open && s == &b->sets[b->nr_sets - 1];
}

/* Append an entry to b->sets for the set that begins at offset_bytes; its header must be filled in. */
struct bkeys_set *bkeys_add_set(struct bkeys *b, uint32_t offset_bytes);

/* Build the whole index of a set; line_pos only for written ones. */
void bset_index_build(struct bkeys *b, struct bkeys_set *s);
/* Keys from k on were added or moved, those before it were not, or k is the last key now. line_first follows. */
void bset_index_from(struct bkeys *b, struct bkeys_set *s, const struct bkey *k);
/* The END of k was lowered in place. */
void bset_index_repair(struct bkeys *b, const struct bkeys_set *s, const struct bkey *k);

/* The first key with END > pos, or the set's end. *ret_prev, if asked for: the key before it, NULL if there is none. */
struct bkey *bset_search(const struct bkeys *b, const struct bkeys_set *s, struct bpos pos, struct bkey **ret_prev);

/* Iterate over all keys of sets[first] and those behind it. */
void bkeys_iter_init_from_set(struct bkeys_iter *it, const struct bkeys *b, unsigned first);
