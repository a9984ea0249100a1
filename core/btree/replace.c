/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replacing nodes: compaction, split, new root. The steps and why they are in this order: btree.h.
 *
 * One replacement may climb: when the parent has no room for the new pointers, the parent is replaced in the same go, with the
 * pointers put into its copy before that is written, and so on up to the root. Everything becomes visible in one atomic stretch at the top
 * (commit_*), so lookups see either the old subtree or the new one. The gens of the replaced nodes are raised in that same stretch: earlier
 * would make readers lose nodes that are still the valid ones.
 */
#include "core/btree/restructure.h"

uint32_t btree_path_need(const struct cset *c, unsigned level)
{
	unsigned root_level = c->btree.root ? c->btree.root->level : 0;

	return level > root_level ? 1 : 2 * (root_level - level + 1) + 1;
}

uint32_t btree_reserve_need(const struct cset *c) { return btree_path_need(c, 0); }

int btree_reserve_lock(struct cset *c, uint32_t need, enum btree_wait wait)
{
	struct btree *t = &c->btree;

	if (need > c->alloc.free[RESERVE_BTREE].cap)
		return cset_error(c, "btree of '%s' is too deep: a split needs %u buckets, the reserve holds %u", c->cache->path, need,
				  c->alloc.free[RESERVE_BTREE].cap);
	for (;;) {
		if (c->io_disable)
			return -EROFS;
		if (bucket_alloc_available(c, RESERVE_BTREE) >= need) {
			if (wait == BTREE_NO_WAIT && !fmutex_trylock(&t->structure))
				return -EAGAIN;
			if (wait != BTREE_NO_WAIT)
				fmutex_lock(&t->structure);
			if (bucket_alloc_available(c, RESERVE_BTREE) >= need && !c->io_disable)
				return 0;
			fmutex_unlock(&t->structure);
		} else if (wait != BTREE_WAIT_BUCKETS) {
			return -EAGAIN;
		} else if (!c->alloc.running) { /* replay has used up what was empty */
			int r = cset_end_silence(c);

			if (r < 0)
				return r;
		} else {
			alloc_wake(c);
			wait_queue_wait(&t->reserve_wait);
		}
	}
}

static uint32_t bnode_bucket(const struct bnode *n)
{
	return (uint32_t)geometry_bucket(&n->c->g, ptr_sector(n->key.k.ptr[0]));
}

/* --- making nodes ------------------------------------------------------------------------------------------------------ */

static int fresh_bucket(struct restructure *rs, uint32_t *ret)
{
	int r = bucket_alloc(rs->c, RESERVE_BTREE, ret);

	assert(r != -EAGAIN || rs->refused); /* the reserve check has counted it (R5.3) */
	return r == -EAGAIN ? -EIO : r;
}

/* A frozen node in a fresh bucket with an empty open set; its key has no bound yet. */
int fresh_node(struct restructure *rs, unsigned level, struct bnode **ret)
{
	struct cset *c = rs->c;
	struct bkey_buf key;
	struct bnode *n;
	uint32_t b;
	int r = fresh_bucket(rs, &b);

	if (r < 0)
		return r;
	bkey_init(&key.k, 0, 0, c->btree.node_sectors);
	bkey_set_ptrs(&key.k, 1);
	key.k.ptr[0] = ptr_make(0, geometry_sector(&c->g, b), cset_bucket(c, b)->gen);
	n = bnode_new(c, &key.k, level);
	if (!n) {
		bucket_unpin(cset_bucket(c, b));
		bucket_free(c, b);
		return -ENOMEM;
	}
	do {
		n->seq = engine_random_u64();
	} while (!n->seq);
	n->frozen = true;
	bnode_get(n);
	bnode_open_next_set(n);
	assert(rs->nr_fresh < FRESH_MAX);
	rs->fresh[rs->nr_fresh++] = n;
	*ret = n;
	return 0;
}

/* The newest fresh node, which nobody has seen, is not needed after all. */
void drop_last_fresh(struct restructure *rs)
{
	struct bnode *n = rs->fresh[--rs->nr_fresh];

	bucket_unpin(cset_bucket(rs->c, bnode_bucket(n)));
	bucket_free(rs->c, bnode_bucket(n));
	bnode_retire(n);
	bnode_put(n);
}

void set_bound(struct bnode *n, struct bpos bound)
{
	bkey_set_inode(&n->key.k, bound.inode);
	bkey_set_offset(&n->key.k, bound.offset);
}

/* Dead extents go, stale pointers and markers go, and so do the nodes being replaced, whose gens are raised only at the commit. */
static bool drop_extent(void *ctx, const struct bkey *k)
{
	struct restructure *rs = ctx;

	return !extent_live(rs->c, k);
}

static bool drop_ptr(void *ctx, const struct bkey *k)
{
	struct restructure *rs = ctx;

	if (node_ptr_bad(rs->c, k))
		return true;
	for (unsigned i = 0; i < rs->nr_old; i++)
		if (rs->old[i]->key.k.ptr[0] == k->ptr[0])
			return true;
	return false;
}

drop_fn drop_rule(unsigned level) { return level ? drop_ptr : drop_extent; }

/* More than 4/5 of the node's blocks in use: compacting alone would be for nothing. */
static bool too_full(const struct bnode *n)
{
	uint32_t block_bytes = geometry_block_bytes(&n->c->g);
	size_t bytes = bset_bytes(bkeys_open(&n->keys));

	if (bnode_blocks(n) > 1)
		bytes = round_up_u64(bytes, block_bytes);
	return bytes > (size_t)n->keys.buf_bytes * 4 / 5;
}

static int copy_node(struct restructure *rs, struct bnode *old, struct bnode **ret_left, struct bnode **ret_right)
{
	struct bnode *left, *right = NULL;
	int r = fresh_node(rs, old->level, &left);

	if (r < 0)
		return r;
	bkeys_sort_into(&old->keys, &left->keys, drop_rule(old->level), rs);
	set_bound(left, bnode_bound(old));
	if (too_full(left)) {
		r = fresh_node(rs, old->level, &right);
		if (r < 0)
			return r;
		const struct bkey *last = bkeys_split_into(&left->keys, &right->keys, 3, 5);

		if (bkeys_open(&right->keys)->nr_words) {
			set_bound(left, bkey_pos(last));
			set_bound(right, bnode_bound(old));
			rs->c->btree.nr_splits++;
		} else { /* no bound can separate the keys */
			drop_last_fresh(rs);
			right = NULL;
		}
	}
	rs->c->btree.nr_rewrites++;
	*ret_left = left;
	*ret_right = right;
	return 0;
}

static struct bnode *side_for(struct bnode *left, struct bnode *right, struct bpos pos, bool strictly_inside)
{
	int cmp = bpos_cmp(pos, bnode_bound(left));

	return right && (strictly_inside ? cmp >= 0 : cmp > 0) ? right : left;
}

static void apply_pending(struct bnode *left, struct bnode *right, struct pending_insert *p)
{
	struct bnode *n = side_for(left, right, bkey_start_pos(p->k), true);
	bool rest;

	if (bkeys_room_words(&n->keys) < BKEYS_INSERT_ROOM)
		return; /* half a node is not enough for one key: cannot be, but then the caller just tries again */
	if (leaf_insert_part(n, p->k, &rest, p->replace, p->journal_seq) != BKEYS_COLLISION)
		p->any = true;
	p->done = !rest;
}

/* Its bucket refused the first write of a new node: take another one (R5.2). */
static int move_fresh(struct restructure *rs, struct bnode *n)
{
	struct cset *c = rs->c;
	uint32_t b;
	int r;

	rs->refused = true;
	r = fresh_bucket(rs, &b);
	if (r < 0)
		return r;
	bucket_unpin(cset_bucket(c, bnode_bucket(n)));
	bucket_free(c, bnode_bucket(n)); /* bad, so nobody gets it */
	bnode_unwrite(n, ptr_make(0, geometry_sector(&c->g, b), cset_bucket(c, b)->gen));
	c->btree.nr_moved++;
	return 0;
}

static int write_until_accepted(struct restructure *rs, struct bnode *n)
{
	int r = bnode_write_sync(n);

	for (unsigned tries = 1; r == -EIO && tries < NODE_WRITE_TRIES; tries++) {
		r = move_fresh(rs, n);
		if (!r)
			r = bnode_write_sync(n);
	}
	return r;
}

int write_fresh(struct restructure *rs)
{
	int r = 0;

	for (unsigned i = 0; i < rs->nr_fresh; i++) {
		struct bnode *n = rs->fresh[i];

		if (n->written_blocks)
			continue;
		bnode_mark_dirty(n, 0); /* a new node is written even when it is empty */
		bnode_write_start(n);
	}
	for (unsigned i = 0; i < rs->nr_fresh && !r; i++)
		r = write_until_accepted(rs, rs->fresh[i]);
	return r;
}

/* --- becoming visible -------------------------------------------------------------------------------------------------- */

static void publish_fresh(struct restructure *rs)
{
	for (; rs->nr_published < rs->nr_fresh; rs->nr_published++)
		bnode_publish(rs->fresh[rs->nr_published]);
}

/* The old nodes' pointers become stale in memory, and must not become so on disk before their parent says so (R3.3). */
static void outdate_old(struct restructure *rs, unsigned nr)
{
	for (; rs->nr_outdated < nr; rs->nr_outdated++) {
		bucket_inc_gen(rs->c, bnode_bucket(rs->old[rs->nr_outdated]));
		rs->c->alloc.prio_blocked++;
	}
}

static void unblock_prios(struct restructure *rs)
{
	rs->c->alloc.prio_blocked -= rs->nr_outdated;
	if (rs->nr_outdated && !rs->c->alloc.prio_blocked)
		alloc_wake(rs->c);
}

int commit_in_parent(struct restructure *rs, struct bnode *parent, const struct keylist *ptrs)
{
	int r;

	no_yield_begin();
	outdate_old(rs, rs->nr_old);
	publish_fresh(rs);
	keylist_for_each(k, ptrs)
		bkeys_insert_ptr(&parent->keys, k);
	bnode_debug_after(parent, 0);
	bnode_mark_dirty(parent, 0);
	no_yield_end();
	r = bnode_write_sync(parent);
	if (r != -EIO)
		return r;
	r = replace_node(rs, parent, NULL, NULL); /* its bucket refused: prios stay blocked until it is elsewhere (R5.2) */
	rs->c->btree.nr_moved += !r;
	return r;
}

static int commit_root(struct restructure *rs, struct bnode *root)
{
	no_yield_begin();
	outdate_old(rs, rs->nr_old - 1); /* all but the old root, whose gen stays (format.md §13.2) */
	publish_fresh(rs);
	list_del(&root->lru); /* the root is pinned by being the root, but stays in the list so that walks find it */
	list_add_tail(&rs->c->btree.nodes, &root->lru);
	rs->c->btree.root = root;
	no_yield_end();
	return journal_meta(rs->c);
}

/* --- climbing ---------------------------------------------------------------------------------------------------------- */

void push_freed(struct keylist *l, const struct bnode *old)
{
	struct bkey_buf freed;

	bkey_copy(&freed.k, &old->key.k);
	bkey_set_inode(&freed.k, 0);
	bkey_set_offset(&freed.k, 0);
	freed.k.ptr[0] = ptr_make(ptr_dev(freed.k.ptr[0]), ptr_sector(freed.k.ptr[0]), (uint8_t)(ptr_gen(freed.k.ptr[0]) + 1));
	keylist_push(l, &freed.k);
}

static void ptrs_to(struct keylist *l, const struct bnode *left, const struct bnode *right)
{
	keylist_init(l, KEYLIST_WORDS);
	if (right)
		keylist_push(l, &right->key.k);
	keylist_push(l, &left->key.k);
}

static int root_over(struct restructure *rs, struct bnode *left, struct bnode *right, struct bnode **ret)
{
	struct keylist ptrs;
	struct bnode *root;
	int r;

	if (left->level + 1 > BTREE_DEPTH_MAX)
		return cset_error(rs->c, "btree of '%s' would become deeper than %d levels", rs->c->cache->path, BTREE_DEPTH_MAX);
	r = fresh_node(rs, left->level + 1u, &root);
	if (r < 0)
		return r;
	set_bound(root, BPOS_MAX);
	ptrs_to(&ptrs, left, right);
	keylist_for_each(k, &ptrs)
		bkeys_insert_ptr(&root->keys, k);
	*ret = root;
	return write_fresh(rs);
}

bool parent_has_room(const struct bnode *parent, uint32_t words)
{
	return bnode_can_append(parent) && bkeys_room_words(&parent->keys) >= words;
}

void take_old(struct restructure *rs, struct bnode *old)
{
	assert(rs->nr_old < OLD_MAX);
	old->frozen = true;
	bnode_get(old);
	/* A gc that begins and ends before restructure_finish() would find nothing that marks the bucket, and the allocator would take it. */
	bucket_pin(cset_bucket(rs->c, bnode_bucket(old)));
	rs->old[rs->nr_old++] = old;
}

/* Replace old; ptrs != NULL: pointers that go into the copy of this interior node. */
int replace_node(struct restructure *rs, struct bnode *old, const struct keylist *ptrs, struct pending_insert *pending)
{
	struct cset *c = rs->c;
	struct bnode *left, *right, *parent, *root;
	struct keylist up;
	int r;

	/* R5.3, T-13: nobody else takes from the reserve while `structure` is held, so every step of the climb finds what was counted. */
	assert(rs->refused || bucket_alloc_available(c, RESERVE_BTREE) >= btree_path_need(c, old->level));
	take_old(rs, old);
	r = copy_node(rs, old, &left, &right);
	if (r < 0)
		return r;
	if (pending)
		apply_pending(left, right, pending);
	if (ptrs)
		keylist_for_each(k, ptrs)
			bkeys_insert_ptr(&side_for(left, right, bkey_pos(k), false)->keys, k);
	r = write_fresh(rs);
	if (r < 0)
		return r;
	if (old == c->btree.root) {
		root = left;
		if (right)
			r = root_over(rs, left, right, &root);
		return r < 0 ? r : commit_root(rs, root);
	}
	r = btree_node_at(c, pos_below(bnode_bound(old)), old->level + 1u, &parent);
	if (r < 0)
		return r;
	ptrs_to(&up, left, right);
	push_freed(&up, old);
	if (!parent_has_room(parent, up.nr_words))
		return replace_node(rs, parent, &up, NULL);
	bnode_get(parent);
	r = commit_in_parent(rs, parent, &up);
	bnode_put(parent);
	return r;
}

/* --- finishing --------------------------------------------------------------------------------------------------------- */

/* A write in flight still uses the node's memory, its pin, and its bucket. */
static void wait_written(struct bnode *n)
{
	while (n->writing)
		wait_queue_wait(&n->wait);
}

void restructure_finish(struct restructure *rs, bool ok)
{
	struct cset *c = rs->c;

	unblock_prios(rs);
	for (unsigned i = 0; i < rs->nr_old; i++) {
		struct bnode *n = rs->old[i];

		n->frozen = false;
		if (ok)
			wait_written(n);
		bucket_unpin(cset_bucket(c, bnode_bucket(n))); /* no wait between this and bucket_free() */
		if (ok) {
			if (n->no_append)
				c->btree.nr_torn--;
			bnode_release_pins(n);
			bnode_retire(n);
			bucket_free(c, bnode_bucket(n));
		}
		wake_all(&n->wait);
		bnode_put(n);
	}
	for (unsigned i = 0; i < rs->nr_fresh; i++) {
		struct bnode *n = rs->fresh[i];

		n->frozen = false;
		if (!ok)
			wait_written(n);
		bucket_unpin(cset_bucket(c, bnode_bucket(n)));
		if (!ok && n != c->btree.root) {
			bnode_release_pins(n);
			bnode_retire(n);
			if (!c->io_disable)
				bucket_free(c, bnode_bucket(n));
		}
		wake_all(&n->wait);
		bnode_put(n);
	}
}

int restructure_failed(struct restructure *rs, int r)
{
	const struct bnode *n = rs->nr_old ? rs->old[0] : NULL;

	if ((r == -ENOMEM && !rs->nr_outdated) || !n)
		return r;
	return cset_error(rs->c, "cannot replace btree node at sector %llu of '%s': %s", (unsigned long long)ptr_sector(n->key.k.ptr[0]),
			  rs->c->cache->path, strerror(-r));
}

int bnode_replace(struct cset *c, struct bpos pos, unsigned level, struct pending_insert *pending, enum btree_wait wait,
		  bool (*still_wanted)(const struct bnode *n))
{
	struct restructure rs = { .c = c };
	uint64_t start = engine_now_ns();
	struct bnode *n;
	int r = btree_reserve_lock(c, btree_path_need(c, level), wait);

	if (r < 0)
		return r;
	if (bucket_alloc_available(c, RESERVE_BTREE) < btree_path_need(c, level)) { /* the tree grew while we waited for the lock */
		fmutex_unlock(&c->btree.structure);
		return wait != BTREE_NO_WAIT ? bnode_replace(c, pos, level, pending, wait, still_wanted) : -EAGAIN;
	}
	r = btree_node_at(c, pos, level, &n);
	if (r < 0 || n->level != level || (still_wanted && !still_wanted(n))) {
		fmutex_unlock(&c->btree.structure);
		return r;
	}
	r = replace_node(&rs, n, NULL, pending);
	if (r < 0)
		r = restructure_failed(&rs, r);
	restructure_finish(&rs, r >= 0);
	fmutex_unlock(&c->btree.structure);
	time_stats_update(&c->time_split, start, engine_now_ns());
	return r;
}

int btree_new_root(struct cset *c)
{
	struct restructure rs = { .c = c };
	struct bnode *root;
	int r = btree_reserve_lock(c, 1, BTREE_WAIT_BUCKETS);

	if (r < 0)
		return r;
	r = fresh_node(&rs, 0, &root);
	if (r >= 0) {
		set_bound(root, BPOS_MAX);
		r = write_fresh(&rs);
	}
	if (r >= 0) {
		publish_fresh(&rs);
		c->btree.root = root;
	}
	restructure_finish(&rs, r >= 0);
	fmutex_unlock(&c->btree.structure);
	return r;
}

int btree_open_root(struct cset *c, const struct bkey *root_key, unsigned level, struct printbuf *why)
{
	struct bnode *n;
	int r = bkey_node_validate(root_key, &c->g, why);

	if (r < 0)
		return r;
	if (level > BTREE_DEPTH_MAX) {
		pr(why, "btree root: level %u is impossible, at most %d", level, BTREE_DEPTH_MAX);
		return -EUCLEAN;
	}
	if (bpos_cmp(bkey_pos(root_key), BPOS_MAX) || bkey_size(root_key) > c->btree.node_sectors) {
		pr(why, "btree root at sector %llu: bound or size (%u sectors) is impossible", (unsigned long long)ptr_sector(root_key->ptr[0]),
		   bkey_size(root_key));
		return -EUCLEAN;
	}
	n = bnode_new(c, root_key, level);
	if (!n)
		return -ENOMEM;
	bnode_publish(n);
	bnode_get(n);
	r = bnode_read(n);
	bnode_put(n);
	if (r < 0) {
		pr(why, "%s", c->error);
		return r;
	}
	c->btree.root = n;
	return 0;
}
