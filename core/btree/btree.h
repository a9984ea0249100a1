/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The index: one btree over (inode, END) per cache set (behaviour.md §5, format.md §9).
 *
 * Shape. Leaves hold extents; interior nodes hold keys whose position is a child's inclusive upper bound and whose pointer is the child's bucket.
 * A node on disk is a log of bsets in one bucket. Updates go to the open set in memory; leaves are written lazily (journal covers
 * them), interior nodes at once.
 *
 * Reading. A descent with all nodes in memory is atomic and takes no lock. A missing node is read (the caller yields), then the
 * descent starts again at the root. btree_leaf() returns such a leaf; it and its keys are valid until the caller yields.
 *
 * Changing the structure (split, rewrite, new root). One lock per tree, `structure` (an fmutex): structural changes are rare, one
 * at a time keeps them simple. The node being replaced and its replacements are *frozen*: inserts wait, lookups go on in the old
 * node. Steps of replacing node n (btree/replace.c; several at once: coalesce.c):
 *   1 reserve check: enough BTREE buckets for a split of the whole path (R5.3); then lock; room in the parent is made first.
 *   2 freeze n; build replacements; write them, FUA; wait. (children durable before their parent names them: R5.4, I-5)
 *   3 in one atomic stretch: gen of n's bucket + 1, prio_blocked + 1, replacements and the freed marker into the parent's open set.
 *   4 write the parent, FUA; wait; prio_blocked - 1 (I-4).
 *   5 n's journal pins and bucket are released, replacements thaw. They stay frozen until here because an insert into them could
 *     otherwise release its journal entry before anything durable leads to the node.
 * A new root is the same with "journal entry naming it, wait" in place of 3 and 4; the old root's gen is not touched.
 * Crash before 4 (or before the entry): the old node, its appended sets and the journal still say everything. After: the new ones do.
 *
 * Node writes are FUA; leaf writes flush the device first, because what their keys name may still be in its volatile cache (I-1).
 * They copy the open set, close it, and open the next one behind it, so inserts go on. At most one write per node is in flight, and
 * the next starts after its completion: sets reach the disk in order, without gaps.
 *
 * Pins. A dirty leaf holds the oldest journal entry that has a key in its open set; the pin is dropped when that set is on disk (I-7).
 *
 * Memory. Nodes live in a hash by (bucket, gen) and a clock list; at the limit, unreferenced clean nodes go first, then dirty ones
 * are written. Nobody keeps a node pointer across a yield without btree_node_get/put.
 *
 * A bucket that refuses a write (R5.2, T-4) is retired: marked bad, it stays METADATA and is never handed out again while the set runs (after a
 * restart it may be tried again). The node keeps its keys in memory and its journal pins, so nothing is lost meanwhile:
 *   - A new node, which nothing leads to yet, takes another bucket and is written there, NODE_WRITE_TRIES times.
 *   - A parent whose set with the new pointers was refused is replaced in its turn, within the same replacement: gens were raised in memory
 *     already, so prios stay blocked until the pointers are durable somewhere. What of the refused set reached the disk does not matter:
 *     with it or without it recovery finds a whole tree.
 *   - Any other node becomes must_move: lookups go on, inserts replace it on the spot, and else the writer fiber does, without waiting for buckets
 *     and without asking the journal for room (it may be just this node's pin that fills the ring).
 * The set fails when that fails, too. A failed *flush* fails it at once: what the flush was to save is lost, wherever the node lies (R0.4).
 *
 * Errors: a node that cannot be read or is damaged fails the set (cset_error) and the call returns -EIO.
 */
#include "core/btree/bkeys.h"
#include "core/btree/keylist.h"
#include "core/engine/sync.h"
#include "core/io/blk.h"
#include "formats/printbuf.h"

struct cset;
struct bdev;

#define BTREE_DEPTH_MAX 8
#define COALESCE_NODES 4 /* neighbours looked at together, at most */
#define BTREE_WRITE_POOL 16
#define BTREE_WRITE_DELAY_S 30
#define BTREE_SET_BYTES_MAX 4048 /* an open leaf set beyond this is written now */
#define NODE_WRITE_TRIES 4	 /* buckets for one new node */
#define NODE_MOVE_TRIES 100	 /* for a bucket to move a node to, NODE_MOVE_PAUSE_NS apart */
#define NODE_MOVE_PAUSE_NS (100 * NS_PER_MS)
#define BTREE_RESERVE_NODES 16	 /* never evict below this plus 8 per level */

struct bnode {
	struct list hash;
	struct list lru;	/* c->btree.nodes, clock order */
	struct list dirty_link; /* c->btree.dirty, in the order of becoming dirty */
	struct list verify_link; /* c->btree.to_verify */
	struct cset *c;
	struct bkey_buf key;	/* own key: bound and pointer */
	uint8_t level;
	bool loading;		/* being read: wait on `wait` */
	bool failed;		/* could not be read */
	bool accessed;		/* second chance */
	bool frozen;		/* being replaced, or not yet reachable: inserts wait */
	bool dead;		/* replaced: nobody may find it any more */
	bool dirty;		/* the open set holds keys that are not being written */
	bool writing;
	bool no_append;		/* torn tail on disk: rewrite before the next append (R5.1) */
	bool must_move;		/* its bucket refused a write: no more appends, to be rewritten elsewhere (R5.2); counts as dirty */
	unsigned refs;
	struct bkeys keys;
	uint32_t written_blocks; /* on disk or on the way there */
	uint64_t seq;		 /* of all its sets */
	uint64_t pin_open;	 /* oldest journal entry with a key in the open set, 0 = none */
	uint64_t pin_writing;	 /* the same of the set in flight */
	uint64_t dirty_since_ns;
	unsigned move_tries;
	struct wait_queue wait;	 /* loaded, written, thawed */
	struct bio write_bio;
	char *write_buf;
};

struct btree {
	struct bnode *root;
	struct list *hash;
	unsigned hash_bits;
	struct list nodes;	 /* all but dead ones */
	struct list dirty;
	struct list to_verify;	 /* written, and to be read back (internal/verify); referenced */
	size_t nr_nodes, max_nodes, memory_bytes;
	uint32_t node_sectors;	 /* of new nodes */
	struct fmutex structure; /* splits, rewrites, root changes */
	struct wait_queue reserve_wait; /* a bucket came to the BTREE reserve */
	char *scratch;		 /* node-sized, for sorts; used without yielding */
	char *write_pool[BTREE_WRITE_POOL]; /* node-sized buffers for writes in flight, so that writing never waits for memory */
	unsigned nr_write_pool;
	struct wait_queue write_pool_wait;
	struct fiber *writer;	 /* writes leaves that have been dirty for BTREE_WRITE_DELAY_S */
	struct wait_queue writer_wake;
	bool stopping;
	bool tolerate_torn;	 /* start-up: torn appends are expected (R5.1) */
	unsigned nr_torn;	 /* nodes read with a torn tail and not yet rewritten */
	unsigned nr_must_move;
	uint64_t nr_write_errors, nr_moved, nr_verified;
	uint64_t nr_reads, nr_writes, nr_splits, nr_rewrites, nr_coalesced, nr_inserts;
};

MUST_CHECK int btree_init(struct cset *c);
void btree_release(struct cset *c);
/* Start the fiber that writes leaves in time, and stop it. */
MUST_CHECK int btree_start(struct cset *c);
FIBER_FN void btree_stop(struct cset *c);
/* Read and pin the root that the journal names. */
FIBER_FN MUST_CHECK int btree_open_root(struct cset *c, const struct bkey *root_key, unsigned level, struct printbuf *why);
/* A new set: write an empty leaf bounded by MAX and make it the root (no journal entry). */
FIBER_FN MUST_CHECK int btree_new_root(struct cset *c);

/* --- reading ------------------------------------------------------------------------------------------------------------- */

/*
 * The leaf that covers positions > pos (strictly: the keys ending after pos). May yield while nodes are read; when it returns 0 it has not
 * yielded since the leaf was found. -EIO: unreadable (the set has failed).
 */
FIBER_FN MUST_CHECK int btree_leaf(struct cset *c, struct bpos pos, struct bnode **ret);
/* The same at any level >= 0; level above the root's gives the root. */
FIBER_FN MUST_CHECK int btree_node_at(struct cset *c, struct bpos pos, unsigned level, struct bnode **ret);
/*
 * Wait until a frozen node has been replaced. Until then its replacement may hold a key that accounting knows of and lookups do not see: who
 * counts keys while others insert counts no frozen leaf.
 */
FIBER_FN void btree_wait_thawed(struct cset *c);
static inline struct bpos bnode_bound(const struct bnode *n) { return bkey_pos(&n->key.k); }
static inline void bnode_get(struct bnode *n) { n->refs++; }
void bnode_put(struct bnode *n);
/* Does this extent point at data that can be read? false: hole, placeholder, stale, invalid (§4.3 "bad"). */
bool extent_live(const struct cset *c, const struct bkey *k);

/*
 * Call fn for every live extent of inode that overlaps [start, end), clipped keys not: k is the whole key. fn must not yield; it returns
 * false to stop. Between leaves others run. Returns 0 or -errno.
 */
FIBER_FN MUST_CHECK int btree_for_each_extent(struct cset *c, uint32_t inode, uint64_t start, uint64_t end,
					      bool (*fn)(void *ctx, const struct bkey *k), void *ctx);

/* --- changing ------------------------------------------------------------------------------------------------------------ */

/*
 * Insert keys into leaves, cutting what they overlap. journal_seq: entry that holds them, 0 = not journalled. The pins of the keys' buckets
 * (one per pointer, taken at allocation) are dropped as each key goes in, and also on failure.
 * replace != NULL: one key, compare-and-swap (§5.6). Returns 0, -ESRCH when the REPLACE found something else, -EROFS / -EIO. What is not journalled
 * can be left out, so it waits neither for buckets nor for the journal: -EAGAIN.
 */
FIBER_FN MUST_CHECK int btree_insert(struct cset *c, const struct keylist *keys, uint64_t journal_seq, const struct bkey *replace);
/*
 * Insert a miss placeholder (§2.5) into `leaf` right now. Does not yield: -EAGAIN when the leaf has no room or is frozen; then
 * call btree_make_room() and look the leaf up again.
 */
MUST_CHECK int btree_insert_check_key(struct cset *c, struct bnode *leaf, const struct bkey *check);
/* Wait until the leaf at pos is thawed and has room for `words`, splitting it if need be. -EAGAIN: that would need buckets, or room in the journal. */
FIBER_FN MUST_CHECK int btree_make_room(struct cset *c, struct bpos pos, uint32_t words);
/*
 * Replace the node at (pos, level) by a compacted copy, or by two if it is too full. -EAGAIN: no buckets and !wait, or it changed meanwhile.
 */
FIBER_FN MUST_CHECK int btree_rewrite(struct cset *c, struct bpos pos, unsigned level, bool wait);
/*
 * Merge the nodes of this level with these bounds, ascending neighbours, into fewer, if they are in memory, have one parent, and fit (§7.4). 1: done;
 * 0: not possible; -EAGAIN: no buckets or somebody else holds the structure.
 */
FIBER_FN MUST_CHECK int btree_coalesce(struct cset *c, unsigned level, const struct bpos *bounds, unsigned nr);
/* How full coalescing makes a node. */
uint32_t btree_coalesce_target_words(const struct cset *c);

/* --- writing ------------------------------------------------------------------------------------------------------------- */

/*
 * Write the open set of n if dirty and wait until nothing of n is in flight. n must be referenced. -EIO: its bucket refused (must_move);
 * -EROFS: the set failed.
 */
FIBER_FN MUST_CHECK int bnode_write_sync(struct bnode *n);
/* Start writing if dirty and idle; does not wait for completion (it may wait for a write buffer). */
FIBER_FN void bnode_write_start(struct bnode *n);
/* Write all dirty nodes and wait. */
FIBER_FN MUST_CHECK int btree_flush_all(struct cset *c);
/* Write up to max leaves whose oldest journal entry is <= seq; wait for them. Returns how many there were. */
FIBER_FN int btree_flush_pinned(struct cset *c, uint64_t seq, unsigned max);
/*
 * Own write point of the index: `need` BTREE buckets are in reserve, and `structure` is held on return (R5.3, R0.8). -EAGAIN: something of it would
 * have to be waited for that the caller does not wait for.
 */
enum btree_wait {
	BTREE_NO_WAIT,
	BTREE_WAIT_LOCK,    /* for others' changes to end, but not for buckets: a full cache may never have any */
	BTREE_WAIT_BUCKETS,
};
FIBER_FN MUST_CHECK int btree_reserve_lock(struct cset *c, uint32_t need, enum btree_wait wait);
/* Buckets that replacing a node of this level may take: two nodes per level from there up, and a new root (T-13). */
uint32_t btree_path_need(const struct cset *c, unsigned level);
/* The same from the leaves up. */
uint32_t btree_reserve_need(const struct cset *c);
/*
 * Rewrite n, which must_move, elsewhere. 0: done, or somebody else did. -EAGAIN: no bucket now; after NODE_MOVE_TRIES of those the set fails.
 */
FIBER_FN MUST_CHECK int bnode_move(struct bnode *n);
/* Call fn once for every node, parents before children, in key order; fn may yield, the node is referenced meanwhile. */
FIBER_FN MUST_CHECK int btree_for_each_node(struct cset *c, FIBER_FN int (*fn)(void *ctx, struct bnode *n), void *ctx);
/* Free up to nr clean nodes, however much memory there is; those that were used lately get one more round of the clock. */
unsigned btree_shrink(struct cset *c, unsigned nr);
/* Memory for nodes from now on; 0 = default. Shrinks at once as far as that goes without writing. -ENOMEM: unchanged. */
MUST_CHECK int btree_set_cache_max(struct cset *c, uint64_t bytes);
uint64_t btree_cache_max_bytes(const struct cset *c);

/* --- judging ------------------------------------------------------------------------------------------------------------- */

/*
 * Walk the whole tree: order, bounds, levels, overlaps, pointers against buckets, dirty keys against device counters.
 * 0 or -EUCLEAN with the first contradiction. For tests and `check`.
 */
FIBER_FN MUST_CHECK int btree_check(struct cset *c, struct printbuf *why);
uint64_t btree_memory_bytes(const struct cset *c);
