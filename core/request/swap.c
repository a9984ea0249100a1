/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/swap.h"

#include "core/set/bdev.h"
#include "core/set/cset.h"

void swap_init(struct swap *s, struct cset *c)
{
	s->c = c;
	list_init(&s->held);
	keylist_init(&s->parts, journal_append_max_words(c));
	s->nr_parts = 0;
}

/* --- ranges ---------------------------------------------------------------------------------------------------------------- */

static bool key_lock(struct cset *c, struct swap_key *k, const struct bkey *new)
{
	struct bdev *d = bkey_inode(new) < c->g.nr_uuids ? c->devices[bkey_inode(new)] : NULL;

	k->d = d;
	if (purge_runs(&c->purge, bkey_inode(new)))
		return false;
	if (!d) {
		c->absent_swaps++;
		return true;
	}
	if (!range_try_acquire(&d->ranges, &k->range, bkey_start(new), bkey_offset(new)))
		return false;
	bdev_hold(d);
	return true;
}

static void key_unlock(struct cset *c, struct swap_key *k)
{
	if (k->d) {
		range_release(&k->d->ranges, &k->range);
		bdev_release(k->d);
	} else if (!--c->absent_swaps) {
		wake_all(&c->absent_swaps_zero);
	}
}

/* Holds the attach and a quiesced device; those it waits for need neither. */
void swaps_wait_absent(struct cset *c)
{
	while (c->absent_swaps)
		wait_queue_wait(&c->absent_swaps_zero);
}

/* --- collecting ------------------------------------------------------------------------------------------------------------ */

/* Where to look next when nothing matches at pos: behind the extent that lies there, or at the start of the next one. */
static uint64_t skip_mismatch(const struct bnode *leaf, uint32_t inode, uint64_t pos, uint64_t end)
{
	struct bkeys_iter it;
	const struct bkey *k;

	bkeys_iter_init(&it, &leaf->keys, bpos(inode, pos));
	while ((k = bkeys_iter_next(&it)) && bkey_inode(k) == inode) {
		if (!bkey_size(k))
			continue;
		return min(end, bkey_start(k) > pos ? bkey_start(k) : bkey_offset(k));
	}
	return end;
}

static void collect_part(struct swap *s, const struct bkey *part, const struct bkey *old)
{
	keylist_push(&s->parts, part);
	s->old[s->nr_parts++] = old;
}

/* The range of new is held. Waits for btree nodes and, when the list is full, for a commit of the keys before. */
static int collect(struct swap *s, const struct bkey *old, const struct bkey *new)
{
	uint32_t inode = bkey_inode(new);
	uint64_t pos = bkey_start(new);
	int parts = 0;

	while (pos < bkey_offset(new)) {
		struct bpos bound;
		struct bnode *leaf;
		struct bkey_buf part;
		uint64_t end;
		uint32_t n;
		int r = 0;

		if (!keylist_has_room(&s->parts, bkey_words(new)) || s->nr_parts == SWAP_PARTS_MAX)
			r = swap_commit(s);
		r = r < 0 ? r : btree_leaf(s->c, bpos(inode, pos), &leaf);
		if (r < 0)
			return r;
		bound = bnode_bound(leaf);
		end = bound.inode == inode ? min(bound.offset, bkey_offset(new)) : bkey_offset(new);
		bkey_copy(&part.k, new);
		bkey_cut_front(&part.k, bpos(inode, pos));
		bkey_cut_back(&part.k, bpos(inode, end));
		n = bkeys_match_prefix(&leaf->keys, &part.k, old);
		if (!n) {
			pos = skip_mismatch(leaf, inode, pos, end);
			continue;
		}
		bkey_cut_back(&part.k, bpos(inode, pos + n));
		collect_part(s, &part.k, old);
		parts++;
		pos += n;
	}
	return parts;
}

int swap_add(struct swap *s, struct swap_key *k, const struct bkey *old, const struct bkey *new)
{
	int r;

	assert(bkey_inode(old) == bkey_inode(new) && bkey_start(old) <= bkey_start(new) && bkey_offset(new) <= bkey_offset(old));
	if (!key_lock(s->c, k, new))
		return 0;
	r = collect(s, old, new);
	if (r > 0)
		list_add_tail(&s->held, &k->link);
	else
		key_unlock(s->c, k);
	return r;
}

/* --- committing ------------------------------------------------------------------------------------------------------------ */

/* The parts are in entry seq. Replay will insert each of them, so each must go in now. Waits for the btree. */
static int insert_parts(struct swap *s, uint64_t seq)
{
	struct cset *c = s->c;
	struct keylist one;
	unsigned part = 0;
	int result = 0;

	keylist_for_each(k, &s->parts) {
		const struct bkey *old = s->old[part++];
		int r;

		bkey_for_each_ptr(k, i)
			bucket_pin(ptr_bucket(c, k->ptr[i]));
		keylist_init(&one, BKEY_WORDS_MAX);
		keylist_push(&one, k);
		r = btree_insert(c, &one, seq, old);
		if (r == -ESRCH)
			r = cset_error(c, "index changed under the range lock while swapping %u:%llu", bkey_inode(k),
				       (unsigned long long)bkey_start(k));
		else if (r < 0 && !c->io_disable)
			r = cset_error(c, "cannot index keys of journal entry %llu: %s", (unsigned long long)seq, strerror(-r));
		result = result < 0 ? result : r;
	}
	return result;
}

int swap_commit(struct swap *s)
{
	struct swap_key *k, *tmp;
	uint64_t seq;
	int r = 0;

	if (!keylist_empty(&s->parts)) {
		r = journal_append(s->c, &s->parts, &seq);
		if (r >= 0) {
			r = insert_parts(s, seq);
			journal_release_keys(&s->c->journal, seq);
		}
		keylist_init(&s->parts, s->parts.max_words);
		s->nr_parts = 0;
	}
	list_for_each_safe(k, tmp, &s->held, link) {
		list_del(&k->link);
		key_unlock(s->c, k);
	}
	return r;
}
