/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/set/purge.h"

#include "core/admin/log.h"
#include "core/request/insert.h"
#include "core/request/swap.h"
#include "core/set/instance.h"

#define PIECES_PER_PAUSE 16
#define PAUSE_NS (20 * NS_PER_MS)
#define PIECES_PER_REPORT 65536 /* a TiB, if it is contiguous */
#define FREE_DELAY_NS (30 * NS_PER_S) /* detaches come in crowds: one table for all of them */

/* The end of the process waits for administrative operations: one that purges for long must not hold it up (W-6). */
static bool ends(const struct cset *c) { return c->purge.stopping || c->state == CSET_STOPPING || c->bcf->stopping; }

/* --- finding ------------------------------------------------------------------------------------------------------------- */

enum find_what { FIND_ANY, FIND_CLEAN, FIND_DIRTY };

static bool is_wanted(const struct cset *c, const struct bkey *k, enum find_what what)
{
	if (!bkey_size(k) || !bkey_ptrs(k))
		return false;
	switch (what) {
	case FIND_CLEAN: return !bkey_dirty(k);
	case FIND_DIRTY: return bkey_dirty(k) && extent_live(c, k);
	default: return true;
	}
}

/* In one leaf. NULL: not here; *ret_past: and not in the next one either. */
static const struct bkey *find_in_leaf(struct cset *c, struct bnode *n, struct bpos from, uint64_t end, enum find_what what, bool *ret_past)
{
	struct bkeys_iter it;
	const struct bkey *k;

	*ret_past = bpos_cmp(bnode_bound(n), bpos(from.inode, end)) >= 0;
	bkeys_iter_init(&it, &n->keys, from);
	while ((k = bkeys_iter_next(&it))) {
		if (bkey_inode(k) == from.inode && (!bkey_size(k) || bkey_start(k) < end)) {
			if (is_wanted(c, k, what))
				return k;
			continue;
		}
		*ret_past = true;
		break;
	}
	return NULL;
}

/* The first key of inode that overlaps [*start, end): 1, and its part of the range. 0: none. Waits for btree nodes, and lets others run. */
static int find_key(struct cset *c, uint32_t inode, uint64_t *start, uint64_t end, enum find_what what, uint64_t *ret_end)
{
	struct bpos from = bpos(inode, *start);

	for (;;) {
		const struct bkey *k;
		struct bnode *n;
		bool past;
		int r = btree_leaf(c, from, &n);

		if (r < 0)
			return r;
		k = find_in_leaf(c, n, from, end, what, &past);
		if (k) {
			*start = max(*start, bkey_start(k));
			*ret_end = min(end, bkey_offset(k));
			return 1;
		}
		if (past)
			return 0;
		from = bnode_bound(n);
		fiber_yield();
		if (ends(c))
			return -EINTR;
	}
}

int purge_find_dirty(struct cset *c, uint32_t inode, uint64_t start, uint64_t end)
{
	uint64_t key_end;

	return start < end ? find_key(c, inode, &start, end, FIND_DIRTY, &key_end) : 0;
}

/* --- deleting ------------------------------------------------------------------------------------------------------------ */

static int pace(struct cset *c)
{
	struct purge *p = &c->purge;

	if (++p->nr_pieces % PIECES_PER_REPORT == 0)
		log_info("cache set %s: purging slot %u, %llu pieces so far", c->uuid_text, p->inode, (unsigned long long)p->nr_pieces);
	if (p->hurried)
		fiber_yield();
	else if (p->nr_pieces % PIECES_PER_PAUSE == 0)
		ignore_result(wait_queue_wait_timeout(&p->work, PAUSE_NS)); /* elapsed, hurried or stopping: look */
	return ends(c) ? -EINTR : 0;
}

static int delete_keys(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, enum purge_what what, bool *ret_any)
{
	uint64_t seq, key_end;
	int r;

	for (;;) {
		r = find_key(c, inode, &start, end, what == PURGE_CLEAN ? FIND_CLEAN : FIND_ANY, &key_end);
		if (r <= 0)
			return r;
		if (what == PURGE_ALL) /* whatever else lies there has to go, too */
			key_end = start + min(end - start, (uint64_t)INVALIDATE_SECTORS_MAX);
		*ret_any = true;
		r = index_invalidate(c, inode, start, key_end, &seq);
		if (!r)
			r = pace(c);
		if (r < 0)
			return r;
		start = key_end;
	}
}

/* A leaf that is being replaced has everything we put in: its replacement is written before it is seen. Waits for `structure` then. */
static int write_leaves(struct cset *c, uint32_t inode, uint64_t start, uint64_t end)
{
	struct bpos from = bpos(inode, start), last = bpos(inode, end);

	for (;;) {
		struct bpos bound;
		struct bnode *n;
		int r = btree_leaf(c, from, &n);

		if (r < 0)
			return r;
		if (n->frozen) {
			fmutex_lock(&c->btree.structure);
			fmutex_unlock(&c->btree.structure);
			continue;
		}
		bound = bnode_bound(n);
		if (n->dirty || n->writing) {
			bnode_get(n);
			r = bnode_write_sync(n);
			bnode_put(n);
		}
		if (r < 0 || bpos_cmp(bound, last) >= 0)
			return r;
		from = bound;
		fiber_yield();
	}
}

static int delete_durably(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, enum purge_what what)
{
	bool any = false;
	int r;

	c->purge.active = true;
	c->purge.inode = inode;
	swaps_wait_absent(c);
	r = delete_keys(c, inode, start, end, what, &any);
	if (!r && any)
		r = journal_flush(c);
	if (!r && any)
		r = write_leaves(c, inode, start, end);
	c->purge.active = false;
	return r;
}

static void hurry_up(struct cset *c)
{
	c->purge.hurried++;
	wake_all(&c->purge.work);
}

int purge_range(struct cset *c, uint32_t inode, uint64_t start, uint64_t end, enum purge_what what)
{
	int r;

	hurry_up(c);
	fmutex_lock(&c->purge.lock);
	r = delete_durably(c, inode, start, end, what);
	fmutex_unlock(&c->purge.lock);
	c->purge.hurried--;
	return r;
}

static int purge_slot_locked(struct cset *c, uint32_t slot)
{
	struct slot *s = &c->slots[slot];
	uint64_t had = s->cached_sectors;
	int r = slot_discards(&c->uuids[slot]) ? 0 : purge_find_dirty(c, slot, 0, BKEY_OFFSET_MAX);

	if (r > 0) {
		s->keys = SLOT_KEPT;
		log_warn("cache set %s: slot %u has no owner, but holds dirty data (%llu sectors): kept until a device's `readopt` or the set's `forget`",
			 c->uuid_text, slot, (unsigned long long)s->dirty_sectors);
		return -EBUSY;
	}
	if (!r)
		r = delete_durably(c, slot, 0, BKEY_OFFSET_MAX, PURGE_ALL);
	if (r < 0)
		return r;
	slot_emptied(c, slot);
	if (s->keys != SLOT_PURGED && had)
		log_info("cache set %s: purged slot %u, which held %llu sectors", c->uuid_text, slot, (unsigned long long)had);
	c->purge.nr_slots += s->keys != SLOT_PURGED;
	s->keys = SLOT_PURGED;
	return 0;
}

int purge_slot(struct cset *c, uint32_t slot, bool hurry)
{
	int r;

	if (hurry)
		hurry_up(c);
	fmutex_lock(&c->purge.lock);
	r = ends(c) ? -EINTR : c->devices[slot] ? -EBUSY : purge_slot_locked(c, slot);
	fmutex_unlock(&c->purge.lock);
	c->purge.hurried -= hurry;
	return r;
}

/* --- in the background --------------------------------------------------------------------------------------------------- */

static int next_slot(const struct cset *c, enum slot_keys keys)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++)
		if (uuid_entry_state(&c->uuids[slot]) == UUID_SLOT_INVALID && c->slots[slot].keys == keys)
			return (int)slot;
	return -1;
}

/* The kernel never reuses an INVALID slot, but it does use FREE ones. */
static void write_as_free(struct cset *c)
{
	for (int slot; (slot = next_slot(c, SLOT_PURGED)) >= 0;)
		memset(&c->uuids[slot], 0, sizeof(c->uuids[slot]));
	ignore_result(uuid_table_write(c)); /* a failure has failed the set */
}

static void purger(void *arg)
{
	struct cset *c = arg;

	while (!ends(c) && !c->io_disable) {
		int slot = next_slot(c, SLOT_TO_PURGE);

		if (slot >= 0) {
			ignore_result(purge_slot(c, (uint32_t)slot, false)); /* it says what happened to it; or the set ends, or has failed */
			if (c->slots[slot].keys == SLOT_TO_PURGE && !ends(c) && !c->io_disable)
				ignore_result(wait_queue_wait_timeout(&c->purge.work, NS_PER_S)); /* no memory: later */
		} else if (next_slot(c, SLOT_PURGED) < 0) {
			wait_queue_wait(&c->purge.work);
		} else if (wait_queue_wait_timeout(&c->purge.work, FREE_DELAY_NS) == -ETIME) {
			write_as_free(c);
		}
	}
}

void purge_init(struct cset *c)
{
	wait_queue_init(&c->purge.work);
	fmutex_init(&c->purge.lock);
}

int purge_start(struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++)
		if (uuid_entry_state(&c->uuids[slot]) == UUID_SLOT_INVALID)
			c->slots[slot].keys = SLOT_TO_PURGE;
	c->purge.fiber = fiber_spawn("purger", purger, c);
	return c->purge.fiber ? 0 : -ENOMEM;
}

void purge_stop(struct cset *c)
{
	c->purge.stopping = true;
	wake_all(&c->purge.work);
	if (c->purge.fiber)
		fiber_join(c->purge.fiber);
	c->purge.fiber = NULL;
}

void purge_wake(struct cset *c) { wake_all(&c->purge.work); }
