/* SPDX-License-Identifier: GPL-2.0-only */
/* Does the whole index hold together? For tests, and later for `check`. */
#include <stdlib.h>

#include "core/btree/internal.h"
#include "core/set/bdev.h"

struct tree_check {
	struct cset *c;
	struct printbuf *why;
	struct bpos lower[BTREE_DEPTH_MAX + 1]; /* bound of the node before, per level */
	uint64_t *dirty;			/* sectors by inode */
};

static int wrong(struct tree_check *t, const struct bnode *n, const struct bkey *k, const char *what)
{
	char text[160] = "";
	struct printbuf key = PRINTBUF(text);

	if (k)
		bkey_to_text(&key, k);
	pr(t->why, "btree node of level %u at sector %llu: %s %s", n->level, (unsigned long long)ptr_sector(n->key.k.ptr[0]), what, text);
	return -EUCLEAN;
}

/* Everything a live key needs: its place in the node, and a bucket that nobody may take from it. */
static int check_extent(struct tree_check *t, const struct bnode *n, const struct bkey *k)
{
	struct cset *c = t->c;

	if (bpos_cmp(bkey_pos(k), bnode_bound(n)) > 0)
		return wrong(t, n, k, "key beyond the node's bound:");
	if (!bkey_size(k))
		return 0;
	if (bpos_cmp(bkey_start_pos(k), t->lower[0]) < 0)
		return wrong(t, n, k, "key begins before the node's range:");
	if (!extent_live(c, k))
		return 0;
	if (bkey_dirty(k) && bkey_inode(k) < c->g.nr_uuids)
		t->dirty[bkey_inode(k)] += bkey_size(k);
	bkey_for_each_ptr(k, i) {
		const struct bucket *b = ptr_bucket(c, k->ptr[i]);

		if (b->mark == MARK_METADATA)
			return wrong(t, n, k, "data key points into a metadata bucket:");
		if (c->alloc.gc_mark_valid && b->mark == MARK_NONE)
			return wrong(t, n, k, "live key in a bucket that counts as unused:");
		if (c->alloc.gc_mark_valid && bkey_dirty(k) && b->mark != MARK_DIRTY)
			return wrong(t, n, k, "dirty key in a bucket that is not marked dirty:");
	}
	return 0;
}

static int check_ptr(struct tree_check *t, const struct bnode *n, const struct bkey *k)
{
	if (bpos_cmp(bkey_pos(k), bnode_bound(n)) > 0)
		return wrong(t, n, k, "pointer beyond the node's bound:");
	if (node_ptr_bad(t->c, k))
		return 0;
	if (ptr_bucket(t->c, k->ptr[0])->mark != MARK_METADATA && t->c->alloc.gc_mark_valid)
		return wrong(t, n, k, "child's bucket is not marked as metadata:");
	return 0;
}

/* What the node says of itself, against its bucket, the journal and its place on disk. `structure` is held: no interior update is under way. */
static int check_state(struct tree_check *t, const struct bnode *n)
{
	const struct cset *c = t->c;
	const struct bset *open = bkeys_open(&n->keys);
	const struct bucket *b = ptr_bucket(c, n->key.k.ptr[0]);

	if (open && (size_t)((const char *)open - n->keys.buf) != (size_t)n->written_blocks * geometry_block_bytes(&c->g))
		return wrong(t, n, NULL, "open set is not where it will be written");
	if (open && open->seq != n->seq)
		return wrong(t, n, NULL, "open set has another seq than the node");
	if (n->level && n->dirty)
		return wrong(t, n, NULL, "interior node with unwritten pointers");
	if (n->pin_open && (n->pin_open < c->journal.oldest_seq || n->pin_open > c->journal.seq))
		return wrong(t, n, NULL, "pins a journal entry that does not exist");
	if (n->must_move && (!b->bad || !n->dirty))
		return wrong(t, n, NULL, "is to be moved, but its bucket is good or its keys are written");
	if (c->alloc.gc_mark_valid && b->mark != MARK_METADATA)
		return wrong(t, n, NULL, "its bucket is not marked as metadata");
	if (ptr_stale(c, n->key.k.ptr[0]))
		return wrong(t, n, NULL, "its own pointer is stale");
	return 0;
}

static int check_node(void *ctx, struct bnode *n)
{
	struct tree_check *t = ctx;
	struct bkeys_iter it;
	struct bkey *k;
	char reason[200];
	struct printbuf pb = PRINTBUF(reason);
	int r = bkeys_check(&n->keys, &pb);

	if (r < 0)
		return wrong(t, n, NULL, reason);
	r = check_state(t, n);
	if (r < 0)
		return r;
	if (bpos_cmp(bnode_bound(n), t->lower[n->level]) <= 0)
		return wrong(t, n, &n->key.k, "bound not above the one before:");
	bkeys_iter_init_all(&it, &n->keys);
	while (!r && (k = bkeys_iter_next(&it)))
		r = n->level ? check_ptr(t, n, k) : check_extent(t, n, k);
	t->lower[n->level] = bnode_bound(n);
	return r;
}

static int check_counters(struct tree_check *t)
{
	for (uint32_t slot = 0; slot < t->c->g.nr_uuids; slot++) {
		const struct bdev *d = t->c->devices[slot];

		if (d && d->writeback.dirty_sectors != t->dirty[slot]) {
			pr(t->why, "%s counts %llu dirty sectors, the index has %llu", d->name,
			   (unsigned long long)d->writeback.dirty_sectors, (unsigned long long)t->dirty[slot]);
			return -EUCLEAN;
		}
		if (d && !bdev_is_flash(d) && t->dirty[slot] && !d->writeback.has_dirty) { /* I-20 */
			pr(t->why, "%s has %llu dirty sectors but does not know it", d->name, (unsigned long long)t->dirty[slot]);
			return -EUCLEAN;
		}
	}
	return 0;
}

int btree_check(struct cset *c, struct printbuf *why)
{
	struct tree_check t = { .c = c, .why = why };
	uint64_t inserts;
	int r;

	t.dirty = calloc(c->g.nr_uuids, sizeof(*t.dirty));
	if (!t.dirty)
		return -ENOMEM;
	/* A replacement that is not visible yet may hold a key that is counted already. */
	fmutex_lock(&c->btree.structure);
	do { /* counters can only be compared with a tree that nobody changed meanwhile */
		memset(t.lower, 0, sizeof(t.lower));
		memset(t.dirty, 0, c->g.nr_uuids * sizeof(*t.dirty));
		inserts = c->btree.nr_inserts;
		r = btree_for_each_node(c, check_node, &t);
	} while (!r && inserts != c->btree.nr_inserts);
	if (!r)
		r = check_counters(&t);
	fmutex_unlock(&c->btree.structure);
	free(t.dirty);
	return r;
}
