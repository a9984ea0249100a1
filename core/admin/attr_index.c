/* SPDX-License-Identifier: GPL-2.0-only */
/* Control files that walk the whole index: internal/bset_tree_stats and internal/extents (control-files.md §7.2, §10.7). */
#include "core/admin/attr.h"

/* --- bset_tree_stats ----------------------------------------------------------------------------------------------------- */

struct tree_stats {
	uint64_t nodes;
	struct bkeys_stats sets;
};

static int count_node(void *ctx, struct bnode *n)
{
	struct tree_stats *t = ctx;

	t->nodes++;
	bkeys_stats_add(&n->keys, &t->sets);
	return 0;
}

/*
 * The kernel's seven lines. Its "floats" are entries of the search index, its "failed" those that leave the decision to the keys: ours are lines, and
 * lines that look like the one before.
 */
int attr_stream_tree_stats(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out)
{
	struct tree_stats t = { 0 };
	int r = btree_for_each_node(o->c, count_node, &t);

	if (r < 0)
		return r;
	pr(out, "btree nodes:\t\t%llu\nwritten sets:\t\t%llu\nunwritten sets:\t\t%llu\n", (unsigned long long)t.nodes,
	   (unsigned long long)t.sets.written_sets, (unsigned long long)t.sets.open_sets);
	pr(out, "written key bytes:\t%llu\nunwritten key bytes:\t%llu\n", (unsigned long long)t.sets.written_bytes,
	   (unsigned long long)t.sets.open_bytes);
	pr(out, "floats:\t\t\t%llu\nfailed:\t\t\t%llu\n", (unsigned long long)t.sets.lines, (unsigned long long)t.sets.ties);
	return 0;
}

/* --- extents ------------------------------------------------------------------------------------------------------------- */

#define LINE_BYTES_MAX 256 /* of a key with all its pointers; without a terminator at the end of out there is still room */

static void extent_line(const struct cset *c, const struct bkey *k, struct printbuf *out)
{
	pr(out, "%u:%llu len %u dirty %d", bkey_inode(k), (unsigned long long)bkey_start(k), bkey_size(k), bkey_dirty(k));
	bkey_for_each_ptr(k, i) {
		if (ptr_available(k->ptr[i]))
			pr(out, " %llu:%u", (unsigned long long)geometry_bucket(&c->g, ptr_sector(k->ptr[i])), ptr_gen(k->ptr[i]));
		else
			pr(out, " -:%u", ptr_gen(k->ptr[i])); /* a miss in progress: its data has no bucket yet */
	}
	pr_char(out, '\n');
}

/* Keys of n that end behind *pos, as many as there is room for. False: there was none for the next. */
static bool node_lines(const struct cset *c, const struct bnode *n, struct bpos *pos, struct printbuf *out)
{
	struct bkeys_iter it;
	const struct bkey *k;

	bkeys_iter_init(&it, &n->keys, *pos);
	while ((k = bkeys_iter_next(&it))) {
		if (!bkey_size(k))
			continue;
		if (out->size_bytes - out->len_bytes <= LINE_BYTES_MAX)
			return false;
		extent_line(c, k, out);
		*pos = bkey_pos(k);
	}
	*pos = bnode_bound(n);
	return true;
}

int attr_stream_extents(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out)
{
	struct bpos pos = bpos((uint32_t)at->at[0], at->at[1]);

	do {
		struct bnode *n;
		int r = btree_leaf(o->c, pos, &n);

		if (r < 0)
			return r;
		at->more = !node_lines(o->c, n, &pos, out);
	} while (!at->more && bpos_cmp(pos, BPOS_MAX) < 0);
	at->at[0] = pos.inode;
	at->at[1] = pos.offset;
	return 0;
}
