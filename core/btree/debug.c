/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checks that are too slow to be always on (behaviour.md §10.3): expensive_debug_checks. In the kernel they exist in debug builds only.
 */
#include "core/btree/internal.h"

/* Sectors that extents of n cover, with data or without. No insert can make them fewer. */
static uint64_t mapped_sectors(const struct bnode *n)
{
	struct bkeys_iter it;
	const struct bkey *k;
	uint64_t sectors = 0;

	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it)))
		sectors += bkey_size(k);
	return sectors;
}

static void contradiction(struct bnode *n, const struct bkey *k, const char *what)
{
	char text[160] = "";
	struct printbuf key = PRINTBUF(text);

	if (k)
		bkey_to_text(&key, k);
	cset_error(n->c, "btree node of level %u at sector %llu of '%s', checked after an insert: %s %s", n->level,
		   (unsigned long long)ptr_sector(n->key.k.ptr[0]), n->c->cache->path, what, text);
}

/* What kind of bucket a live key must point into. Between two gcs marks only grow, so dirty keys are exact, clean ones are not. */
static const char *mark_problem(const struct bnode *n, const struct bkey *k)
{
	const struct cset *c = n->c;

	if (n->level ? node_ptr_bad(c, k) : !extent_live(c, k))
		return NULL;
	bkey_for_each_ptr(k, i) {
		const struct bucket *b = ptr_bucket(c, k->ptr[i]);

		if (n->level ? b->mark != MARK_METADATA : b->mark == MARK_METADATA)
			return n->level ? "pointer to a bucket that is not marked as metadata:" : "extent in a bucket of metadata:";
		if (!n->level && b->mark == MARK_NONE && !b->pin)
			return "extent in a bucket that counts as unused:";
	}
	return NULL;
}

static void check_marks(struct bnode *n)
{
	struct bkeys_iter it;
	const struct bkey *k;

	if (!n->c->alloc.gc_mark_valid)
		return;
	bkeys_iter_init_all(&it, &n->keys);
	while ((k = bkeys_iter_next(&it))) {
		const char *problem = mark_problem(n, k);

		if (problem) {
			contradiction(n, k, problem);
			return;
		}
	}
}

uint64_t bnode_debug_before(const struct bnode *n) { return n->c->expensive_debug_checks && !n->level ? mapped_sectors(n) : 0; }

void bnode_debug_after(struct bnode *n, uint64_t before)
{
	char reason[300];
	struct printbuf why = PRINTBUF(reason);

	if (!n->c->expensive_debug_checks)
		return;
	if (bkeys_check(&n->keys, &why) < 0)
		contradiction(n, NULL, reason);
	else if (!n->level && mapped_sectors(n) < before)
		contradiction(n, NULL, "it maps fewer sectors than before");
	else
		check_marks(n);
}
