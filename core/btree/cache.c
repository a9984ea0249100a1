/* SPDX-License-Identifier: GPL-2.0-only */
/* Nodes in memory: finding, making, evicting; the descent. */
#include <stdlib.h>

#include "core/btree/internal.h"

#define DEFAULT_CACHE_BYTES MIB(128)

/* --- hash -------------------------------------------------------------------------------------------------------------- */

static struct list *hash_chain(struct cset *c, uint64_t ptr)
{
	uint64_t h = (ptr_sector(ptr) | ((uint64_t)ptr_gen(ptr) << 43)) * 0x9e3779b97f4a7c15ull;

	return &c->btree.hash[h >> (64 - c->btree.hash_bits)];
}

struct bnode *bnode_find(struct cset *c, uint64_t ptr)
{
	struct list *chain = hash_chain(c, ptr);
	struct bnode *n;

	list_for_each(n, chain, hash)
		if (n->key.k.ptr[0] == ptr)
			return n;
	return NULL;
}

/* --- life of a node ---------------------------------------------------------------------------------------------------- */

static void bnode_destroy(struct bnode *n)
{
	struct btree *t = &n->c->btree;

	assert(!n->refs && !n->writing && !n->dirty && wait_queue_empty(&n->wait));
	list_del(&n->hash);
	list_del(&n->lru);
	list_del(&n->verify_link);
	t->nr_nodes--;
	t->memory_bytes -= n->keys.buf_bytes;
	bkeys_release(&n->keys);
	free(n->keys.buf);
	free(n);
}

void bnode_put(struct bnode *n)
{
	assert(n->refs > 0);
	if (!--n->refs && n->dead && !n->writing)
		bnode_destroy(n);
}

/* --- how many ---------------------------------------------------------------------------------------------------------- */

static bool evictable(const struct bnode *n)
{
	return !n->refs && !n->dirty && !n->writing && !n->loading && !n->frozen && !n->no_append && !n->must_move && n != n->c->btree.root;
}

/* What a descent and a split of the whole path may need at once: never fewer, whatever the limit says. */
static size_t nodes_reserve(const struct cset *c)
{
	unsigned level = c->btree.root ? c->btree.root->level : 1;

	return BTREE_RESERVE_NODES + 8 * max(level, 1u);
}

static size_t nodes_limit(const struct cset *c) { return max(c->btree.max_nodes, nodes_reserve(c)); }

/* Second chance: the list is a clock, `accessed` nodes get another round. */
unsigned btree_shrink(struct cset *c, unsigned nr)
{
	struct btree *t = &c->btree;
	unsigned freed = 0;

	for (size_t looked = 0, all = 2 * t->nr_nodes; looked < all && freed < nr && t->nr_nodes > nodes_reserve(c); looked++) {
		struct bnode *n = list_first(&t->nodes, struct bnode, lru);

		if (list_empty(&t->nodes))
			break;
		list_del(&n->lru);
		list_add_tail(&t->nodes, &n->lru);
		if (n->accessed) {
			n->accessed = false;
		} else if (evictable(n)) {
			bnode_destroy(n);
			freed++;
		}
	}
	return freed;
}

/* The limit is soft: when everything is in use, going over it is better than waiting for each other. */
static void make_room(struct cset *c)
{
	struct bnode *n;

	if (c->shrinker_disabled || c->btree.nr_nodes < nodes_limit(c))
		return;
	if (btree_shrink(c, (unsigned)(c->btree.nr_nodes - nodes_limit(c) + 1)))
		return;
	list_for_each(n, &c->btree.dirty, dirty_link) {
		if (n->refs || n->frozen || n->writing || n->must_move)
			continue;
		bnode_get(n);
		ignore_result(bnode_write_sync(n)); /* after a failed write the node just stays */
		bnode_put(n);
		btree_shrink(c, 1);
		return;
	}
}

/* One chain for every two nodes or so. */
static int hash_resize(struct btree *t, unsigned bits)
{
	struct list *hash = calloc(1ull << bits, sizeof(*hash));
	struct bnode *n;

	if (!hash)
		return -ENOMEM;
	for (size_t i = 0; i < 1ull << bits; i++)
		list_init(&hash[i]);
	free(t->hash);
	t->hash = hash;
	t->hash_bits = bits;
	list_for_each(n, &t->nodes, lru) {
		list_init(&n->hash);
		list_add(hash_chain(n->c, n->key.k.ptr[0]), &n->hash);
	}
	return 0;
}

int btree_set_cache_max(struct cset *c, uint64_t bytes)
{
	struct btree *t = &c->btree;
	size_t max_nodes = (bytes ? bytes : DEFAULT_CACHE_BYTES) / (t->node_sectors * SECTOR_BYTES);
	unsigned bits = (unsigned)clamp(log2_u64(max_nodes + 1) + 1, 6u, 20u);
	int r = t->hash && bits == t->hash_bits ? 0 : hash_resize(t, bits);

	if (r < 0)
		return r;
	t->max_nodes = max_nodes;
	if (!c->shrinker_disabled && t->nr_nodes > nodes_limit(c))
		btree_shrink(c, (unsigned)(t->nr_nodes - nodes_limit(c)));
	return 0;
}

uint64_t btree_cache_max_bytes(const struct cset *c) { return (uint64_t)c->btree.max_nodes * c->btree.node_sectors * SECTOR_BYTES; }

struct bnode *bnode_new(struct cset *c, const struct bkey *key, unsigned level)
{
	uint32_t bytes = bkey_size(key) * SECTOR_BYTES;
	struct bnode *n;
	void *buf;

	make_room(c);
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	if (posix_memalign(&buf, PAGE_BYTES, bytes))
		goto err_node;
	if (bkeys_init(&n->keys, &c->g, buf, bytes, level == 0))
		goto err_buf;
	n->keys.no_merging = &c->key_merging_disabled;
	n->c = c;
	n->level = (uint8_t)level;
	bkey_copy(&n->key.k, key);
	list_init(&n->hash);
	list_init(&n->lru);
	list_init(&n->dirty_link);
	list_init(&n->verify_link);
	wait_queue_init(&n->wait);
	c->btree.nr_nodes++;
	c->btree.memory_bytes += bytes;
	return n;
err_buf:
	free(buf);
err_node:
	free(n);
	return NULL;
}

void bnode_publish(struct bnode *n)
{
	list_add(hash_chain(n->c, n->key.k.ptr[0]), &n->hash);
	list_add_tail(&n->c->btree.nodes, &n->lru);
	n->accessed = true;
}

void bnode_retire(struct bnode *n)
{
	assert(n->refs > 0); /* the caller's; bnode_put() frees */
	n->dead = true;
	n->dirty = false;
	bnode_forget_move(n);
	list_del(&n->dirty_link);
	list_del(&n->hash);
	list_del(&n->lru);
}

void bnode_wait(struct bnode *n)
{
	bnode_get(n);
	wait_queue_wait(&n->wait);
	bnode_put(n);
}

/* --- setting up -------------------------------------------------------------------------------------------------------- */

int btree_init(struct cset *c)
{
	struct btree *t = &c->btree;
	int r;

	list_init(&t->nodes);
	list_init(&t->dirty);
	list_init(&t->to_verify);
	fmutex_init(&t->structure);
	wait_queue_init(&t->reserve_wait);
	wait_queue_init(&t->write_pool_wait);
	wait_queue_init(&t->writer_wake);
	t->node_sectors = c->g.node_sectors;
	r = btree_set_cache_max(c, c->bcf->options.btree_cache_max_bytes);
	if (r < 0)
		return r;
	if (posix_memalign((void **)&t->scratch, PAGE_BYTES, t->node_sectors * SECTOR_BYTES))
		return -ENOMEM;
	for (; t->nr_write_pool < BTREE_WRITE_POOL; t->nr_write_pool++)
		if (posix_memalign((void **)&t->write_pool[t->nr_write_pool], PAGE_BYTES, t->node_sectors * SECTOR_BYTES))
			return -ENOMEM;
	return 0;
}

void btree_release(struct cset *c)
{
	struct btree *t = &c->btree;

	if (!t->hash)
		return;
	while (!list_empty(&t->nodes)) {
		struct bnode *n = list_first(&t->nodes, struct bnode, lru);

		n->dirty = false; /* only a failed set still has dirty nodes here */
		n->refs = 0;
		list_del(&n->dirty_link);
		bnode_destroy(n);
	}
	while (t->nr_write_pool)
		free(t->write_pool[--t->nr_write_pool]);
	free(t->scratch);
	free(t->hash);
	t->hash = NULL;
	t->root = NULL;
}

uint64_t btree_memory_bytes(const struct cset *c) { return c->btree.memory_bytes; }

/* --- descent ----------------------------------------------------------------------------------------------------------- */

bool node_ptr_bad(const struct cset *c, const struct bkey *k)
{
	return bkey_is_zero_pos(k) || ptr_stale(c, k->ptr[0]);
}

static const struct bkey *child_key(const struct cset *c, const struct bnode *n, struct bpos pos)
{
	struct bkeys_iter it;
	const struct bkey *k;

	bkeys_iter_init(&it, &n->keys, pos);
	while ((k = bkeys_iter_next(&it)))
		if (!node_ptr_bad(c, k))
			return k;
	return NULL;
}

/* Bring a child into memory, or wait until somebody else has. The caller starts again at the root. */
static int load_child(struct cset *c, const struct bkey *key, unsigned level)
{
	struct bkey_buf copy;
	struct bnode *n = bnode_find(c, key->ptr[0]);

	bkey_copy(&copy.k, key);
	if (!n) {
		if (bkey_size(key) > c->btree.node_sectors)
			return cset_error(c, "btree node at sector %llu of '%s' is %u sectors long, at most %u are possible",
					  (unsigned long long)ptr_sector(key->ptr[0]), c->cache->path, bkey_size(key),
					  c->btree.node_sectors);
		n = bnode_new(c, &copy.k, level);
		if (!n)
			return -ENOMEM;
		/* bnode_new() yielded and somebody was faster; he may even have replaced it since, and its bucket is not to be read any more */
		if (bnode_find(c, copy.k.ptr[0]) || ptr_stale(c, copy.k.ptr[0])) {
			bnode_get(n);
			n->dead = true;
			bnode_put(n);
			return 0;
		}
		n->loading = true;
		bnode_publish(n);
		bnode_get(n);
		int r = bnode_read(n);
		n->loading = false;
		n->failed = r < 0;
		wake_all(&n->wait);
		if (r < 0)
			bnode_retire(n);
		bnode_put(n);
		return r;
	}
	if (n->loading)
		bnode_wait(n);
	return 0;
}

int btree_node_at(struct cset *c, struct bpos pos, unsigned level, struct bnode **ret)
{
	struct bnode *n, *child;

	might_yield();
restart:
	if (c->io_disable)
		return -EIO;
	n = c->btree.root;
	while (n->level > level) {
		const struct bkey *k = child_key(c, n, pos);

		n->accessed = true;
		if (!k) {
			cset_error(c, "btree node of level %u at sector %llu of '%s' has no child behind %u:%llu", n->level,
				   (unsigned long long)ptr_sector(n->key.k.ptr[0]), c->cache->path, pos.inode,
				   (unsigned long long)pos.offset);
			return -EIO;
		}
		child = bnode_find(c, k->ptr[0]);
		if (!child || child->loading) {
			int r = load_child(c, k, n->level - 1u);

			if (r < 0)
				return r == -ENOMEM ? r : -EIO;
			goto restart;
		}
		if (child->level != n->level - 1u) {
			cset_error(c, "btree node at sector %llu of '%s' is used at levels %u and %u",
				   (unsigned long long)ptr_sector(k->ptr[0]), c->cache->path, child->level, n->level - 1u);
			return -EIO;
		}
		n = child;
	}
	n->accessed = true;
	*ret = n;
	return 0;
}

int btree_leaf(struct cset *c, struct bpos pos, struct bnode **ret)
{
	return btree_node_at(c, pos, 0, ret);
}

bool extent_live(const struct cset *c, const struct bkey *k)
{
	if (!bkey_ptrs(k) || !bkey_size(k))
		return false;
	bkey_for_each_ptr(k, i)
		if (!ptr_available(k->ptr[i]) || ptr_stale(c, k->ptr[i]))
			return false;
	return true;
}

/* The position behind a node's bound; false at the end of key space. */
static bool pos_after(struct bpos bound, struct bpos *ret)
{
	if (bpos_cmp(bound, BPOS_MAX) >= 0)
		return false;
	*ret = bound;
	return true;
}

int btree_for_each_extent(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, bool (*fn)(void *ctx, const struct bkey *k),
			  void *ctx)
{
	struct bpos pos = bpos(inode, start);

	while (bpos_cmp(pos, bpos(inode, end)) < 0) {
		struct bkeys_iter it;
		struct bnode *n;
		struct bkey *k;
		int r = btree_leaf(c, pos, &n);

		if (r < 0)
			return r;
		bkeys_iter_init(&it, &n->keys, pos);
		while ((k = bkeys_iter_next(&it))) {
			if (!bkey_size(k)) /* may sit in front of an extent that begins before it */
				continue;
			if (bpos_cmp(bkey_start_pos(k), bpos(inode, end)) >= 0)
				return 0;
			if (bkey_inode(k) == inode && extent_live(c, k) && !fn(ctx, k))
				return 0;
		}
		if (!pos_after(bnode_bound(n), &pos))
			return 0;
	}
	return 0;
}

/* How far a walk has come, per level. */
struct node_walk {
	struct bpos visited[BTREE_DEPTH_MAX + 1]; /* bound of the last node seen at each level */
	bool any[BTREE_DEPTH_MAX + 1];
};

int btree_for_each_node(struct cset *c, int (*fn)(void *ctx, struct bnode *n), void *ctx)
{
	struct node_walk w = { 0 };
	struct bpos pos = BPOS_MIN;

	for (;;) {
		struct bnode *n;
		struct bpos bound;

		for (int level = c->btree.root->level; level >= 0; level--) {
			int r = btree_node_at(c, pos, (unsigned)level, &n);

			if (r < 0)
				return r;
			if (w.any[level] && bpos_cmp(bnode_bound(n), w.visited[level]) <= 0)
				continue;
			bound = bnode_bound(n);
			bnode_get(n);
			r = fn(ctx, n);
			bnode_put(n);
			if (r < 0)
				return r;
			w.any[level] = true;
			w.visited[level] = bound;
		}
		if (!pos_after(w.visited[0], &pos))
			return 0;
	}
}
