/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The keys of one btree node in memory: a few sorted sets in one buffer.
 *
 * Vocabulary: a *written* set is (or is being) stored on disk as it is apart from cuts made since; the *open* set is the last one, not yet
 * written, and the only one that takes new keys. The buffer is addressed like the node on disk: the open set starts at byte
 * `open_offset` = blocks written so far, however much the written sets before it were merged in memory.
 *
 * Model of a leaf: the sets together describe a mapping sector -> key in which no two live (size > 0) keys overlap. Size-0 keys may
 * sit anywhere in order; readers skip them. Inserting a key cuts what it overlaps, in written sets too, in place; on disk the older set
 * still holds the uncut key, and on the next read the newer set wins (bkeys_load).
 * Model of an interior node: keys ordered by END; nothing overlaps or overwrites anything; old and new pointers with one bound
 * coexist and their staleness decides. Keys at position zero are freed markers.
 *
 * Search structure: the buffer is divided into lines of 128 bytes. For each line that a key starts in, line_first gives the word
 * where the first such key starts. Written sets also have a compressed position per line (line_pos): the first key's inode and END,
 * relative to the lowest ones found and shifted together so that the set's range fits 32 bits; what lies outside the range becomes
 * its nearest end. It grows monotonically over the lines, so a binary search over a small dense array finds the line; equal values
 * are told apart by the keys themselves.
 *
 * Equal ENDs: the newest key comes first, inside a set (bkeys_insert_ptr) and over the sets (iterator, sorting). So whoever looks a child
 * up meets the replacement before the node it retired, even while the gen does not tell them apart yet.
 *
 * Invariants (assert_slow checks them through bkeys_check()):
 *   B1 sets[i] lies in front of sets[i+1]; the last one ends inside the buffer. A set starts at a line.
 *   B2 every set is sorted: leaves by START and END at once (a size-0 key has both at its END), interior nodes by END.
 *   B3 leaf: no two live keys overlap, over all sets.
 *   B4 line_first / line_pos agree with the keys.
 *   B5 at most MAX_BSETS sets; only the last may be open.
 *
 * Waiting: nothing here yields. Allocation: none after bkeys_init(); sorts get a scratch buffer from the caller.
 * Rules: behaviour.md §4, §5.6; I-22.
 */
#include "formats/bset.h"
#include "formats/geometry.h"
#include "formats/node.h"

#define MAX_BSETS 4
#define BKEYS_LINE_BYTES 128u

struct bkeys_set {
	struct bset *set;
	uint32_t first_line, nr_lines; /* of the buffer; those in which a key of the set starts */
	uint64_t base;	   /* line_pos: the lowest END offset of a line's first key ... */
	uint64_t span;	   /* ... a power of two - 1, about twice the range above it ... */
	uint32_t inode;	   /* ... and the lowest inode */
	uint8_t shift;	   /* of offsets, down */
	uint8_t inode_shift; /* of inodes, up: beyond the shifted offsets */
	bool indexed;	   /* line_pos is valid: a written set */
};

struct bkeys {
	const struct geometry *g;
	char *buf;	     /* page-aligned, buf_bytes; owned by the caller */
	uint32_t buf_bytes;  /* node size */
	bool leaf;
	const bool *no_merging; /* points to true: neighbours stay apart (key_merging_disabled); NULL: they merge */
	bool open;	     /* sets[nr_sets - 1] is the open set */
	unsigned nr_sets;
	struct bkeys_set sets[MAX_BSETS];
	uint8_t *line_first; /* one per line of buf: word offset in the line, 0xff = no key starts here */
	uint32_t *line_pos;
};

/* Statistics of all nodes of a set, for bset_tree_stats. */
struct bkeys_stats {
	uint64_t written_sets, open_sets, written_bytes, open_bytes, lines, ties;
};

/* line arrays are allocated here, sized for buf_bytes (whole sectors). 0 or -ENOMEM. */
MUST_CHECK int bkeys_init(struct bkeys *b, const struct geometry *g, void *buf, uint32_t buf_bytes, bool leaf);
void bkeys_release(struct bkeys *b); /* frees the line arrays, not buf */
/* Forget all sets (buffer reuse); leaf may change. */
void bkeys_reset(struct bkeys *b, bool leaf);

/* --- reading a node from disk ------------------------------------------------------------------------------------------ */

/*
 * The image (buf_bytes, already judged by node_validate(), nr_sets good sets) becomes one written set in b->buf: overlaps resolved, newest wins,
 * including keys without data, which punch holes; the middle of an overlapped key survives on both sides (§4.6). image may not be b->buf.
 * Interior nodes: merged by END, nothing removed. Invalid (size-0) extents are dropped; stale and pointerless ones are kept (§4.3).
 * 0, or -EUCLEAN with b left empty: a set is out of order or overlaps itself (§9.4), an extent starts before sector 0, or the
 * result is larger than the sets it came from: no writer leaves such overlaps, because it adds the upper part of what it splits.
 * On success the merged set ends before the end of the last good set on disk, so an open set can follow there.
 */
MUST_CHECK int bkeys_load(struct bkeys *b, const struct node_view *image, unsigned nr_sets, struct printbuf *why);

/* --- the open set ------------------------------------------------------------------------------------------------------ */

/* Start an empty open set at offset_bytes (whole sectors) with the node's seq. There must be room for a header and one key. */
void bkeys_open_set(struct bkeys *b, uint32_t offset_bytes, uint64_t magic, uint64_t seq);
/* The open set is being written: it becomes a written set, with its search index. */
void bkeys_close_set(struct bkeys *b);
static inline struct bset *bkeys_open(const struct bkeys *b) { return b->open ? b->sets[b->nr_sets - 1].set : NULL; }
/* The one written set, and an empty open one behind it: undo bkeys_close_set() and bkeys_open_set(). */
void bkeys_reopen_set(struct bkeys *b);
/* Words that still fit into the open set; 0 without one. */
uint32_t bkeys_room_words(const struct bkeys *b);

/* --- looking ----------------------------------------------------------------------------------------------------------- */

struct bkeys_iter {
	unsigned nr;
	struct {
		struct bkey *k, *end;
	} heap[MAX_BSETS];
};
/* Iterate, in END order over all sets, the keys with END > from. Any change to b invalidates the iterator. */
void bkeys_iter_init(struct bkeys_iter *it, const struct bkeys *b, struct bpos from);
/* All keys, those at position zero included. */
void bkeys_iter_init_all(struct bkeys_iter *it, const struct bkeys *b);
struct bkey *bkeys_iter_peek(const struct bkeys_iter *it); /* NULL at the end */
struct bkey *bkeys_iter_next(struct bkeys_iter *it);	   /* returns the current key and moves on; NULL at the end */
/* Words of all sets together. */
uint32_t bkeys_total_words(const struct bkeys *b);
void bkeys_stats_add(const struct bkeys *b, struct bkeys_stats *st);

/* --- changing ---------------------------------------------------------------------------------------------------------- */

/* Told of every sector of a dirty key that comes (+) or goes (-), at the offset where it happens; k is the key, whatever there is of it. */
struct bkeys_dirty {
	void (*changed)(struct bkeys_dirty *d, const struct bkey *k, uint64_t start_sector, int64_t nr_sectors);
};
enum bkeys_insert {
	BKEYS_INSERTED,	  /* a new key in the open set */
	BKEYS_BACK_MERGED,
	BKEYS_FRONT_MERGED,
	BKEYS_COLLISION,  /* REPLACE found something else: nothing changed except that matching parts stay as they were */
};
/* Words the open set must have left before bkeys_insert_extent(): the key and a possible upper part of a split one. */
#define BKEYS_INSERT_ROOM (BKEY_WORDS_MAX * 2)
/*
 * Insert extent k into a leaf, cutting everything it overlaps in all sets (§5.6). k may be modified (merging, REPLACE shrink).
 * replace != NULL: compare-and-swap. Live keys in k's range must agree with `replace` (same dirty/ptrs/csum, each pointer equal to
 * replace's advanced to that place, gen and dev included), contiguous from k's start; the matched prefix is replaced, the rest of k dropped.
 * dirty may be NULL.
 */
MUST_CHECK enum bkeys_insert bkeys_insert_extent(struct bkeys *b, struct bkey *k, const struct bkey *replace, struct bkeys_dirty *dirty);
/* Sectors of [k start, k end) from its start on that still match `replace` (what a REPLACE insert would swap). Changes nothing. */
uint32_t bkeys_match_prefix(const struct bkeys *b, const struct bkey *k, const struct bkey *replace);
/* Insert a node pointer or freed marker into an interior node. */
void bkeys_insert_ptr(struct bkeys *b, const struct bkey *k);

/* --- sorting ----------------------------------------------------------------------------------------------------------- */

/*
 * After bkeys_close_set(): merge written sets as the lazy policy says (§4.6), at least until fewer than MAX_BSETS remain, so that an open
 * set can follow. Interior nodes: always one set. Invalid keys vanish; stale and pointerless ones stay. scratch: buf_bytes.
 */
void bkeys_sort_lazy(struct bkeys *b, void *scratch);
/* Merge everything into one written set. The open set must be closed. */
void bkeys_sort_full(struct bkeys *b, void *scratch);
/*
 * Append to dst's only (open) set all keys of src in order, without size-0 extents and those that drop() names, merging neighbours
 * (leaves). dst has room and holds nothing above src's first key.
 */
void bkeys_sort_into(const struct bkeys *src, struct bkeys *dst, bool (*drop)(void *ctx, const struct bkey *k), void *ctx);
/* The same, from where the iterator stands and while dst's set stays within max_words. True: src is used up. */
bool bkeys_sort_some(struct bkeys_iter *it, struct bkeys *dst, uint32_t max_words, bool (*drop)(void *ctx, const struct bkey *k), void *ctx);
/*
 * Split: src has one (open) set. Move the upper part to dst's empty open set such that src keeps at least num/den of the words. Returns
 * the last key that stays; its END becomes src's bound. Both sides are non-empty if src has two keys that a bound can separate: keys with
 * the same END stay together (a retired child and its replacement), and a freed marker's zero position is no bound.
 */
const struct bkey *bkeys_split_into(struct bkeys *src, struct bkeys *dst, unsigned num, unsigned den);

/* B1-B5. 0, or -EUCLEAN with the reason. */
MUST_CHECK int bkeys_check(const struct bkeys *b, struct printbuf *why);
