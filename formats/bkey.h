/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Keys and pointers (format.md §6): bit fields, order, cutting, merging.
 *
 * A key is an extent (inode, end offset, size) with 0..6 pointers. It is named and compared by its END; size and
 * pointers take no part in the order. In memory and on disk it is the same run of 2 + KEY_PTRS little-endian words.
 */
#include "formats/base.h"
struct geometry;
struct printbuf;

#define BKEY_PTRS_MAX 6u
#define BKEY_WORDS_MAX (2 + BKEY_PTRS_MAX)
#define BKEY_SIZE_MAX 65535u	       /* sectors */
#define BKEY_INODE_MAX 0xfffffu
#define BKEY_OFFSET_MAX ((uint64_t)INT64_MAX)
#define PTR_DEV_CHECK 4095u	       /* a placeholder's device: "no data" (behaviour.md §2.5) */

struct bkey {
	uint64_t high;
	uint64_t low;
	uint64_t ptr[];
};

/* Room for the longest key. Use &b.k. */
struct bkey_buf {
	union {
		struct bkey k;
		uint64_t words[BKEY_WORDS_MAX];
	};
};

/* A position in key space. */
struct bpos {
	uint32_t inode;
	uint64_t offset;
};

static inline uint64_t bits_get(uint64_t w, unsigned shift, unsigned nr) { return (w >> shift) & ((1ull << nr) - 1); }
static inline void bits_set(uint64_t *w, unsigned shift, unsigned nr, uint64_t v)
{
	uint64_t mask = ((1ull << nr) - 1) << shift;
	*w = (*w & ~mask) | ((v << shift) & mask);
}

static inline uint32_t bkey_inode(const struct bkey *k) { return (uint32_t)bits_get(k->high, 0, 20); }
static inline uint32_t bkey_size(const struct bkey *k) { return (uint32_t)bits_get(k->high, 20, 16); }
static inline bool bkey_dirty(const struct bkey *k) { return bits_get(k->high, 36, 1); }
static inline unsigned bkey_csum(const struct bkey *k) { return (unsigned)bits_get(k->high, 56, 2); }
static inline unsigned bkey_ptrs(const struct bkey *k) { return (unsigned)bits_get(k->high, 60, 3); }
static inline uint64_t bkey_offset(const struct bkey *k) { return k->low; }
static inline uint64_t bkey_start(const struct bkey *k) { return k->low - bkey_size(k); }
static inline void bkey_set_size(struct bkey *k, uint32_t sectors) { bits_set(&k->high, 20, 16, sectors); }
static inline void bkey_set_dirty(struct bkey *k, bool dirty) { bits_set(&k->high, 36, 1, dirty); }
static inline void bkey_set_csum(struct bkey *k, unsigned csum) { bits_set(&k->high, 56, 2, csum); }
static inline void bkey_set_ptrs(struct bkey *k, unsigned nr) { bits_set(&k->high, 60, 3, nr); }
static inline void bkey_set_inode(struct bkey *k, uint32_t inode) { bits_set(&k->high, 0, 20, inode); }
static inline void bkey_set_offset(struct bkey *k, uint64_t end) { k->low = end; }

static inline unsigned bkey_words(const struct bkey *k) { return 2 + bkey_ptrs(k); }
static inline size_t bkey_bytes(const struct bkey *k) { return bkey_words(k) * sizeof(uint64_t); }
static inline struct bkey *bkey_next(const struct bkey *k) { return (struct bkey *)((uint64_t *)k + bkey_words(k)); }
static inline void bkey_copy(struct bkey *dst, const struct bkey *src) { memcpy(dst, src, bkey_bytes(src)); }

/* A key without pointers and flags: [end - size, end) of inode. Bit 63 is set, as in every key the kernel writes. */
static inline void bkey_init(struct bkey *k, uint32_t inode, uint64_t end, uint32_t size)
{
	k->high = 1ull << 63;
	k->low = end;
	bkey_set_inode(k, inode);
	bkey_set_size(k, size);
}

static inline unsigned ptr_dev(uint64_t p) { return (unsigned)bits_get(p, 51, 12); }
static inline uint64_t ptr_sector(uint64_t p) { return bits_get(p, 8, 43); }
static inline uint8_t ptr_gen(uint64_t p) { return (uint8_t)p; }
static inline uint64_t ptr_make(unsigned dev, uint64_t sector, uint8_t gen)
{
	return ((uint64_t)dev << 51) | (sector << 8) | gen;
}
/*
 * The sum stays inside PTR_OFFSET. A placeholder's offset is random: a carry out of it would turn device 4095 into
 * device 0 and "no data" into foreign data.
 */
static inline uint64_t ptr_add(uint64_t p, uint64_t sectors)
{
	bits_set(&p, 8, 43, ptr_sector(p) + sectors);
	return p;
}
static inline bool ptr_available(uint64_t p) { return ptr_dev(p) < 8; }

/* How much newer gen a is than gen b; 0 when b is not older (format.md §7.1). */
static inline uint8_t gen_after(uint8_t a, uint8_t b)
{
	uint8_t r = (uint8_t)(a - b);
	return r > 128 ? 0 : r;
}

static inline struct bpos bpos(uint32_t inode, uint64_t offset) { return (struct bpos){ inode, offset }; }
#define BPOS_MIN bpos(0, 0)
#define BPOS_MAX bpos(BKEY_INODE_MAX, BKEY_OFFSET_MAX)
static inline int bpos_cmp(struct bpos a, struct bpos b)
{
	if (a.inode != b.inode)
		return a.inode < b.inode ? -1 : 1;
	return a.offset < b.offset ? -1 : a.offset > b.offset;
}
static inline struct bpos bkey_pos(const struct bkey *k) { return bpos(bkey_inode(k), bkey_offset(k)); }
static inline struct bpos bkey_start_pos(const struct bkey *k) { return bpos(bkey_inode(k), bkey_start(k)); }
static inline int bkey_cmp(const struct bkey *a, const struct bkey *b) { return bpos_cmp(bkey_pos(a), bkey_pos(b)); }
static inline bool bkey_is_zero_pos(const struct bkey *k) { return !bkey_inode(k) && !bkey_offset(k); }

/* Remove the part at or below `at` (same inode). Pointers advance by what was removed; past the end leaves size 0 at `at`. */
void bkey_cut_front(struct bkey *k, struct bpos at);
/* Remove the part above `at`: the key ends there; at or before its start leaves size 0. */
void bkey_cut_back(struct bkey *k, struct bpos at);
/* True if r continues l without a seam: flags, devices, gens and sectors, all within one bucket (format.md §10.2). */
bool bkey_mergeable(const struct bkey *l, const struct bkey *r, const struct geometry *g);
enum bkey_merge { BKEY_MERGE_NONE, BKEY_MERGE_PARTIAL, BKEY_MERGE_FULL };
/* Merge r into l. FULL: r is gone. PARTIAL: l grew to BKEY_SIZE_MAX and r was cut in front; both stay. */
enum bkey_merge bkey_try_merge(struct bkey *l, struct bkey *r, const struct geometry *g);

/*
 * Words that whole keys occupy at the front of nr_words; equals nr_words exactly when the run is well formed. A key that
 * claims more than BKEY_PTRS_MAX pointers ends the walk: it would not fit a bkey_buf.
 */
uint32_t bkey_walk_words(const uint64_t *words, uint32_t nr_words);

/*
 * Judges. 0, or -EUCLEAN with the reason in words. They look at the key and the geometry alone, not at gens.
 * A size-0 extent is legal in a node (it is skipped) but not in the journal.
 */
MUST_CHECK int bkey_extent_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why);
MUST_CHECK int bkey_journal_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why);
/* A node pointer: exactly what a parent, or a jset's root, may name. */
MUST_CHECK int bkey_node_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why);
/* "inode:start len size -> [dev:offset gen g] dirty" (behaviour.md §10.5). */
void bkey_to_text(struct printbuf *pb, const struct bkey *k);
