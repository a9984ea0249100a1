/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Start-up of a cache set's contents (behaviour.md §1.4, format.md §12).
 *
 * There is no clean flag: every start of a used set is a recovery. Order matters:
 *   journal (newest entry names everything) → gens and prios → root → uuid table → whole-tree check, adopting newer gens → journal keys pinned →
 *   reserves filled from buckets nothing points at → journal opened, silent → [old uuid layout rewritten] → replay → journal speaks → allocator.
 * Before replay nothing is written at all. Replay itself writes only btree nodes, into buckets from the reserves; should those run
 * out, silence ends early.
 */
#include <stdlib.h>

#include "core/admin/log.h"
#include "core/set/instance.h"
#include "core/space/prio_io.h"

/* --- uuid table -------------------------------------------------------------------------------------------------------- */

static int read_uuids(struct cset *c, const struct jset *newest, struct printbuf *why)
{
	const struct bkey *k = &newest->uuid_bucket.k;
	char reason[160];
	struct printbuf pb = PRINTBUF(reason);
	int r = bkey_node_validate(k, &c->g, &pb);

	if (r < 0 || bkey_size(k) * SECTOR_BYTES > c->g.meta_bytes) {
		pr(why, "uuid table of '%s': bad pointer in journal entry %llu: %s", c->cache->path, (unsigned long long)newest->seq,
		   r < 0 ? reason : "longer than a metadata bucket");
		return -EUCLEAN;
	}
	r = blk_read(c->cache, ptr_sector(k->ptr[0]), c->uuids, bkey_size(k));
	cset_io_done(c, "uuid read", r);
	if (r < 0) {
		pr(why, "uuid table of '%s' in sector %llu: %s", c->cache->path, (unsigned long long)ptr_sector(k->ptr[0]), strerror(-r));
		return r;
	}
	if (newest->version < 1)
		uuid_table_upgrade(c->uuids, c->g.nr_uuids);
	bkey_copy(&c->uuid_bucket.k, k);
	return 0;
}

static bool backing_registered(const struct cset *c, const uint8_t uuid[16])
{
	struct bdev *d;

	list_for_each(d, &c->bcf->bdevs, link)
		if (d->backing && !memcmp(d->super->uuid, uuid, 16))
			return true;
	return false;
}

/* Starting a set alone writes to it; a user who forgot the backing device should hear of it first. */
static int check_backing_present(const struct cset *c, struct printbuf *why)
{
	char text[37] = "";
	struct printbuf missing = PRINTBUF(text);
	unsigned nr = 0;

	if (!c->bcf->options.require_backing)
		return 0;
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++) {
		const struct uuid_entry *u = &c->uuids[slot];

		if (uuid_entry_state(u) == UUID_SLOT_FLASH)
			return 0;
		if (uuid_entry_state(u) != UUID_SLOT_CACHED)
			continue;
		if (backing_registered(c, u->uuid))
			return 0;
		if (!nr++)
			pr_uuid(&missing, u->uuid);
	}
	if (!nr)
		return 0;
	pr(why, "%s: none of the %u backing devices of this cache set is given (the first has uuid %s): not started", c->cache->path, nr, text);
	return -ENODEV;
}

/* --- initial check (§5.10) --------------------------------------------------------------------------------------------- */

struct check {
	struct cset *c;
	uint8_t *seen; /* one bit per bucket: a node reached twice means damage, or a loop */
	uint8_t *named; /* likewise: the interior node that is looked at has a valid pointer to it */
	unsigned nr_torn;
	uint64_t nodes;
};

static bool is_marker(const struct bnode *n, const struct bkey *k) { return n->level && bkey_is_zero_pos(k); }

static void adopt_pointers(struct check *ck, struct bnode *n)
{
	struct bkeys_iter it;
	struct bkey *k;

	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it))) {
		if (!bkey_size(k) || is_marker(n, k))
			continue;
		bkey_for_each_ptr(k, i)
			if (ptr_available(k->ptr[i]))
				bucket_adopt_gen(ck->c, k->ptr[i], n->level, false);
	}
}

/* In `named`: the buckets that the pointers of n, an interior node, lead to. */
static void set_named(struct check *ck, struct bnode *n, bool named)
{
	struct bkeys_iter it;
	struct bkey *k;

	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it))) {
		uint64_t b = geometry_bucket(&ck->c->g, ptr_sector(k->ptr[0]));

		if (!named)
			ck->named[b / 8] &= (uint8_t)~(1u << (b % 8));
		else if (!is_marker(n, k) && !ptr_stale(ck->c, k->ptr[0]))
			ck->named[b / 8] |= (uint8_t)(1u << (b % 8));
	}
}

/*
 * A freed marker outdates the pointer beside it, which is one gen older. One without such a pointer, of a node whose parent was written anew, has
 * nothing left to say; and it must not be listened to: the kernel lets its bucket be reused until the marker looks newer than live data (R7.3).
 */
static void adopt_markers(struct check *ck, struct bnode *n)
{
	struct bkeys_iter it;
	struct bkey *k;

	set_named(ck, n, true);
	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it)) && bkey_is_zero_pos(k)) {
		uint64_t b = geometry_bucket(&ck->c->g, ptr_sector(k->ptr[0]));

		if (ck->named[b / 8] & (1u << (b % 8)) && ptr_gen(k->ptr[0]) == (uint8_t)(cset_bucket(ck->c, (uint32_t)b)->gen + 1))
			bucket_adopt_gen(ck->c, k->ptr[0], n->level, true);
	}
	set_named(ck, n, false);
}

/* All keys of the node first: newer gens, those of freed markers included, decide which children are alive. */
static void adopt_and_mark(struct check *ck, struct bnode *n)
{
	struct bkeys_iter it;
	struct bkey *k;

	adopt_pointers(ck, n);
	if (n->level)
		adopt_markers(ck, n);
	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it))) {
		gc_mark_key(ck->c, n->level, k);
		if (!n->level && extent_live(ck->c, k))
			slots_count(ck->c, k);
	}
	if (n->level)
		gc_hold_back_markers(ck->c, n);
}

static int check_visit(void *ctx, struct bnode *n)
{
	struct check *ck = ctx;
	uint64_t sector = ptr_sector(n->key.k.ptr[0]), b = geometry_bucket(&ck->c->g, sector);

	if (ck->seen[b / 8] & (1u << (b % 8))) {
		cset_error(ck->c, "btree node in bucket %llu (sector %llu) of '%s' is reached twice", (unsigned long long)b,
			   (unsigned long long)sector, ck->c->cache->path);
		return -EUCLEAN;
	}
	ck->seen[b / 8] |= (uint8_t)(1u << (b % 8));
	adopt_and_mark(ck, n);
	ck->nr_torn += n->no_append;
	if (++ck->nodes % 10000 == 0)
		log_info("cache set %s: checked %llu btree nodes", ck->c->uuid_text, (unsigned long long)ck->nodes);
	return ck->c->io_disable ? -EUCLEAN : 0;
}

static int check_tree(struct check *ck, struct printbuf *why)
{
	struct cset *c = ck->c;
	int r;

	ck->seen = calloc(c->g.nr_buckets / 8 + 1, 1);
	ck->named = calloc(c->g.nr_buckets / 8 + 1, 1);
	if (!ck->seen || !ck->named) {
		free(ck->seen);
		free(ck->named);
		return -ENOMEM;
	}
	bucket_adopt_gen(c, c->btree.root->key.k.ptr[0], c->btree.root->level + 1u, false);
	gc_mark_key(c, c->btree.root->level + 1u, &c->btree.root->key.k);
	r = btree_for_each_node(c, check_visit, ck);
	free(ck->seen);
	free(ck->named);
	if (!r && c->io_disable)
		r = -EUCLEAN;
	if (r < 0)
		pr(why, "%s", c->error[0] ? c->error : strerror(-r));
	return r;
}

static struct bnode *torn_node(const struct cset *c)
{
	struct bnode *n;

	list_for_each(n, &c->btree.nodes, lru)
		if (n->no_append)
			return n;
	return NULL;
}

/*
 * A torn append must not stay: later, the same sight means damage (R5.1). Such nodes are not evicted, so all that were seen are still in memory.
 * There may be many: the kernel has as many node writes in flight as it likes.
 */
static int rewrite_torn(struct cset *c, struct printbuf *why)
{
	struct bnode *n;
	int r = 0;

	while (!r && (n = torn_node(c))) {
		struct bpos bound = bnode_bound(n);

		bnode_get(n);
		r = btree_rewrite(c, bpos(bound.inode, bound.offset - 1), n->level, true);
		if (!r && !n->dead) /* nothing leads to it any more: somebody else's gen took its bucket */
			r = -EUCLEAN;
		bnode_put(n);
	}
	if (r < 0)
		pr(why, "cannot rewrite a btree node with a torn last write: %s", c->error[0] ? c->error : strerror(-r));
	return r;
}

/* --- a used set -------------------------------------------------------------------------------------------------------- */

static int read_contents(struct cset *c, struct check *ck, struct printbuf *why)
{
	const struct jset *newest;
	char reason[200];
	struct printbuf pb = PRINTBUF(reason);
	int r = journal_read(c, why);

	if (r < 0)
		return r;
	newest = journal_newest(&c->journal);
	r = prio_read(c, newest->prio_bucket[0], why);
	if (r < 0)
		return r;
	r = btree_open_root(c, &newest->btree_root.k, newest->btree_level, &pb);
	if (r < 0) {
		pr(why, "bad btree root in journal entry %llu of '%s': %s", (unsigned long long)newest->seq, c->cache->path, reason);
		return r;
	}
	r = read_uuids(c, newest, why);
	if (!r)
		r = check_backing_present(c, why);
	if (r < 0)
		return r;
	r = check_tree(ck, why);
	if (r < 0)
		return r;
	return journal_mark(c);
}

int cset_end_silence(struct cset *c)
{
	int r = c->journal.silent ? journal_speak(c) : 0;

	return r < 0 || c->alloc.running ? r : alloc_start(c);
}

int cset_recover(struct cset *c, struct printbuf *why)
{
	struct check ck = { .c = c };
	uint32_t newest_version;
	int r;

	c->btree.tolerate_torn = true;
	r = read_contents(c, &ck, why);
	if (r < 0)
		return r;
	newest_version = journal_newest(&c->journal)->version;
	gc_finish(c);
	alloc_fill_reserves_at_start(c);
	r = journal_start(c);
	if (!r)
		r = btree_start(c);
	if (!r && newest_version < 1)
		r = uuid_table_write(c); /* silent: before any new entry says that the table has the new layout */
	if (!r)
		r = journal_replay(c, why);
	if (!r)
		r = cset_end_silence(c);
	if (!r)
		r = rewrite_torn(c, why);
	c->btree.tolerate_torn = false;
	if (!r && c->io_disable)
		r = -EUCLEAN;
	if (r < 0) {
		if (why && !why->len_bytes)
			pr(why, "%s: %s", c->cache->path, c->error[0] ? c->error : strerror(-r));
		return r;
	}
	log_info("cache set %s: replayed %llu keys in %llu journal entries%s", c->uuid_text, (unsigned long long)c->journal.replayed_keys,
		 (unsigned long long)c->journal.replayed_entries, ck.nr_torn ? ", repaired torn btree writes" : "");
	if (c->journal.skipped_keys)
		log_warn("cache set %s: skipped %llu impossible keys in the journal", c->uuid_text,
			 (unsigned long long)c->journal.skipped_keys);
	return 0;
}

/* --- a new set --------------------------------------------------------------------------------------------------------- */

/*
 * With the set's old uuid, old journal entries would look valid, and newer than ours (format.md §12.3). Wiping the first block of each journal
 * bucket ends all of them.
 */
static int wipe_journal(struct cset *c)
{
	void *zeros;
	int r = 0;

	if (posix_memalign(&zeros, PAGE_BYTES, geometry_block_bytes(&c->g)))
		return -ENOMEM;
	memset(zeros, 0, geometry_block_bytes(&c->g));
	for (uint32_t i = 0; i < c->super->keys && !r; i++)
		r = blk_write(c->cache, geometry_sector(&c->g, c->super->d[i]), zeros, c->g.block_sectors, 0);
	free(zeros);
	return r;
}

int cset_first_start(struct cset *c, struct printbuf *why)
{
	int r = wipe_journal(c);

	gc_finish(c);
	alloc_fill_reserves_at_start(c);
	if (!r)
		r = btree_start(c);
	/* Journalling does nothing yet, so no entry exists before the whole skeleton does. */
	if (!r)
		r = prio_write(c);
	if (!r)
		r = uuid_table_write(c);
	if (!r)
		r = btree_new_root(c);
	alloc_fill_reserves_at_start(c); /* what the skeleton took: the allocator needs full reserves to begin with */
	if (!r)
		r = journal_start(c);
	if (!r)
		r = journal_meta(c);
	if (!r)
		r = alloc_start(c);
	if (r < 0) {
		pr(why, "cannot set up '%s': %s", c->cache->path, c->error[0] ? c->error : strerror(-r));
		return r;
	}
	super_set_sync(c->super, true);
	return 0;
}
