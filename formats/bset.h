/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* One sorted set of keys as it lies in a btree node (format.md §9.2). */
#include "formats/bkey.h"

#define BSET_VERSION 1u
#define BSET_MAGIC 0x90135c78b99e07f5ull

struct bset {
	uint64_t csum;
	uint64_t magic;
	uint64_t seq;
	uint32_t version;
	uint32_t nr_words; /* of key material, not number of keys */
	uint64_t words[];
};
static_assert(sizeof(struct bset) == 32, "format.md §9.2");

static inline size_t bset_bytes(const struct bset *s) { return sizeof(*s) + (size_t)s->nr_words * 8; }
static inline struct bkey *bset_first(const struct bset *s) { return (struct bkey *)s->words; }
static inline struct bkey *bset_end(const struct bset *s) { return (struct bkey *)(s->words + s->nr_words); }
static inline uint64_t bset_magic(uint64_t set_magic) { return set_magic ^ BSET_MAGIC; }

/* Checksum as stored; node_ptr is ptr[0] of the node's key and seeds version 1. */
uint64_t bset_csum(const struct bset *s, uint64_t node_ptr);
/*
 * Judge the set at `s` with avail_bytes readable: magic, version, fit, checksum, and that walking the keys ends exactly
 * at nr_words. Returns 0, -EBADMSG (checksum, magic) or -EUCLEAN.
 */
MUST_CHECK int bset_validate(const struct bset *s, size_t avail_bytes, uint64_t set_magic, uint64_t node_ptr,
			     struct printbuf *why);
/* Words that whole keys occupy from the front; nr_words exactly when the set is well formed. */
uint32_t bset_walk_words(const struct bset *s);
/* Order inside one set: leaves by START and without overlap, interior nodes by END (format.md §9.4). */
MUST_CHECK int bset_order_validate(const struct bset *s, bool leaf, struct printbuf *why);
