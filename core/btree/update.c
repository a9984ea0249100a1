/* SPDX-License-Identifier: GPL-2.0-only */
/* Inserting keys into leaves. */
#include "core/btree/internal.h"
#include "core/set/bdev.h"

/* --- accounting of dirty sectors --------------------------------------------------------------------------------------- */

struct dirty_account {
	struct bkeys_dirty cb;
	struct cset *c;
};

/* A stale dirty key is no data: it is not counted when a device is attached, and so must not be when it goes, or is replayed. */
static void dirty_changed(struct bkeys_dirty *cb, const struct bkey *k, uint64_t start_sector, int64_t nr_sectors)
{
	struct cset *c = container_of(cb, struct dirty_account, cb)->c;
	uint32_t inode = bkey_inode(k);
	struct bdev *d = inode < c->g.nr_uuids ? c->devices[inode] : NULL;

	if (!extent_live(c, k))
		return;
	slots_dirty_changed(c, inode, nr_sectors);
	if (!d)
		return; /* not attached (yet): counted when it is (§8.9) */
	if (bdev_is_flash(d))
		c->flash_dirty_sectors += (uint64_t)nr_sectors;
	writeback_account(d, start_sector, nr_sectors);
}

/* --- one key into one leaf --------------------------------------------------------------------------------------------- */

enum bkeys_insert leaf_insert_part(struct bnode *n, struct bkey *k, bool *ret_rest, const struct bkey *replace, uint64_t journal_seq)
{
	struct dirty_account account = { .cb.changed = dirty_changed, .c = n->c };
	struct bkey_buf part;
	enum bkeys_insert result;

	bkey_copy(&part.k, k);
	*ret_rest = bpos_cmp(bkey_pos(k), bnode_bound(n)) > 0;
	if (*ret_rest) { /* extents never straddle a node's bound */
		bkey_cut_back(&part.k, bnode_bound(n));
		bkey_cut_front(k, bnode_bound(n));
	}
	uint64_t before = bnode_debug_before(n);

	result = bkeys_insert_extent(&n->keys, &part.k, replace, &account.cb);
	bnode_debug_after(n, before);
	if (result != BKEYS_COLLISION) {
		bnode_mark_dirty(n, journal_seq);
		n->c->btree.nr_inserts++;
	}
	return result;
}

static bool leaf_ready(const struct bnode *n, uint32_t words)
{
	return !n->frozen && bnode_can_append(n) && bkeys_room_words(&n->keys) >= words;
}

static bool leaf_still_full(const struct bnode *n) { return !leaf_ready(n, BKEYS_INSERT_ROOM); }

/* A pinned bucket keeps its gen, so a stale pointer, which only replay inserts, has no pin. */
static void put_key_pins(struct cset *c, const struct bkey *k)
{
	bkey_for_each_ptr(k, i)
		if (ptr_available(k->ptr[i]) && !ptr_stale(c, k->ptr[i]))
			bucket_unpin(ptr_bucket(c, k->ptr[i]));
}

/*
 * A frozen node thaws before its replacer lets go of the structure lock. Waiting there, in turn, and not at the node, keeps a crowd of others
 * from freezing the leaf again and again before we get to it, while our journal entry holds up the ring (sim 3818).
 */
void btree_wait_thawed(struct cset *c)
{
	fmutex_lock(&c->btree.structure);
	fmutex_unlock(&c->btree.structure);
}

/*
 * Make room at pos, with the pending key in it. A journalled operation has been admitted already. What is not journalled belongs to a read, which
 * must not hang where a full cache has no bucket: -EAGAIN.
 */
static int replace_admitted(struct cset *c, struct bpos pos, struct pending_insert *pending, uint64_t journal_seq)
{
	int r = journal_seq ? 0 : journal_admit(c, false);

	if (r < 0)
		return r;
	r = bnode_replace(c, pos, 0, pending, journal_seq ? BTREE_WAIT_BUCKETS : BTREE_WAIT_LOCK, leaf_still_full);
	if (!journal_seq)
		journal_leave(&c->journal);
	return r;
}

/* Insert k, part by part if it crosses leaf bounds. Sets *any if some of it went in. */
static int insert_key(struct cset *c, struct bkey *k, uint64_t journal_seq, const struct bkey *replace, bool *any)
{
	for (;;) {
		struct bnode *n;
		bool rest;
		int r = btree_leaf(c, bkey_start_pos(k), &n);

		if (r < 0)
			return r;
		if (n->frozen) {
			btree_wait_thawed(c);
			continue;
		}
		if (!leaf_ready(n, BKEYS_INSERT_ROOM)) {
			struct pending_insert pending = { .k = k, .replace = replace, .journal_seq = journal_seq };

			r = replace_admitted(c, bkey_start_pos(k), &pending, journal_seq);
			if (r < 0)
				return r;
			*any |= pending.any;
			if (pending.done)
				return 0;
			continue;
		}
		*any |= leaf_insert_part(n, k, &rest, replace, journal_seq) != BKEYS_COLLISION;
		if (n->keys.open && bset_bytes(bkeys_open(&n->keys)) > BTREE_SET_BYTES_MAX && !n->writing) {
			bnode_write_start(n);
		}
		if (!rest)
			return 0;
	}
}

int btree_insert(struct cset *c, const struct keylist *keys, uint64_t journal_seq, const struct bkey *replace)
{
	bool any = false;
	int r = 0;

	might_yield();
	keylist_for_each(k, keys) {
		struct bkey_buf rest;

		bkey_copy(&rest.k, k);
		if (!r)
			r = insert_key(c, &rest.k, journal_seq, replace, &any);
		put_key_pins(c, k);
	}
	if (r < 0)
		return c->io_disable ? -EROFS : r;
	return replace && !any ? -ESRCH : 0;
}

/* --- placeholders and room --------------------------------------------------------------------------------------------- */

int btree_insert_check_key(struct cset *c, struct bnode *leaf, const struct bkey *check)
{
	struct bkey_buf k;
	bool rest;

	if (!leaf_ready(leaf, BKEYS_INSERT_ROOM))
		return -EAGAIN;
	assert(bpos_cmp(bkey_pos(check), bnode_bound(leaf)) <= 0);
	bkey_copy(&k.k, check);
	(void)leaf_insert_part(leaf, &k.k, &rest, NULL, 0); /* without REPLACE nothing can collide */
	return 0;
}

int btree_make_room(struct cset *c, struct bpos pos, uint32_t words)
{
	assert(words <= BKEYS_INSERT_ROOM);
	for (;;) {
		struct bnode *n;
		int r = btree_leaf(c, pos, &n);

		if (r < 0)
			return r;
		if (n->frozen) {
			btree_wait_thawed(c);
			continue;
		}
		if (leaf_ready(n, words))
			return 0;
		/* A node of one block is full as soon as it is written: nothing can be appended to it, ever. */
		if (bnode_blocks(n) < 2)
			return -ENOSPC;
		r = replace_admitted(c, pos, NULL, 0);
		if (r < 0)
			return r;
	}
}

int btree_rewrite(struct cset *c, struct bpos pos, unsigned level, bool wait)
{
	int r = journal_admit(c, wait);

	if (r < 0)
		return r;
	r = bnode_replace(c, pos, level, NULL, wait ? BTREE_WAIT_BUCKETS : BTREE_NO_WAIT, NULL);
	journal_leave(&c->journal);
	return r;
}
