/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Merging sets: on disk (any number, overlapping), in memory (at most four, not overlapping), and into other nodes.
 */
#include "core/btree/bkeys_sets.h"
#include "formats/printbuf.h"

/* --- writing a set in order -------------------------------------------------------------------------------------------- */

struct writer {
	const struct geometry *g;
	bool merge; /* neighbours that continue each other become one */
	struct bset *set;
	struct bkey *last; /* NULL at the beginning */
	uint32_t max_words;
};

/* False: no room. */
static bool writer_add(struct writer *w, const struct bkey *k)
{
	struct bkey_buf rest;

	if (w->merge && w->last && bkey_mergeable(w->last, k, w->g)) {
		bkey_copy(&rest.k, k);
		if (bkey_try_merge(w->last, &rest.k, w->g) == BKEY_MERGE_FULL)
			return true;
		k = &rest.k;
	}
	if (bkey_words(k) > w->max_words - w->set->nr_words)
		return false;
	w->last = bset_end(w->set);
	bkey_copy(w->last, k);
	w->set->nr_words += bkey_words(k);
	return true;
}

/* --- reading from disk: the cursors ------------------------------------------------------------------------------------ */

/*
 * A sweep over key space. Every set has a cursor on one key, the next that may matter, and the cursor is in one of two heaps: `waiting`
 * for the sweep to reach its START, ordered by that, or `active`, covering the sweep's position, ordered newest first. What the newest
 * active key covers, up to its END or the next START, is one piece of the result; the others are hidden there, whatever they say.
 *
 * A cursor passes each key once, and every step of the sweep ends or starts a key, so the time is O(n log sets) and there are at most 2n
 * pieces, for every input: nobody can build an image that takes longer.
 */
struct cursor {
	uint32_t at, end; /* words in the image */
};

struct loader;
struct heap {
	uint16_t *sets; /* numbers of sets; 0 is the oldest */
	unsigned nr;
	bool (*less)(const struct loader *l, uint16_t x, uint16_t y);
};

struct loader {
	const uint64_t *image;
	struct cursor *cursors;
	struct heap waiting, active;
	struct writer out;
	/* The piece being made: [from, to) of key; NULL if none. */
	const struct bkey *key;
	struct bpos from, to;
};

static const struct bkey *cursor_key(const struct loader *l, uint16_t set)
{
	return (const struct bkey *)(l->image + l->cursors[set].at);
}

/* False at the end of the set. */
static bool cursor_advance(struct loader *l, uint16_t set)
{
	struct cursor *c = &l->cursors[set];

	c->at += bkey_words(cursor_key(l, set));
	return c->at < c->end;
}

static bool newer(const struct loader *l, uint16_t x, uint16_t y) { return x > y; }

static bool starts_first(const struct loader *l, uint16_t x, uint16_t y)
{
	return bpos_cmp(bkey_start_pos(cursor_key(l, x)), bkey_start_pos(cursor_key(l, y))) < 0;
}

/* Equal ENDs: newest first, as everywhere. */
static bool ends_first(const struct loader *l, uint16_t x, uint16_t y)
{
	int c = bkey_cmp(cursor_key(l, x), cursor_key(l, y));

	return c ? c < 0 : x > y;
}

static void heap_swap(struct heap *h, unsigned i, unsigned j)
{
	uint16_t set = h->sets[i];

	h->sets[i] = h->sets[j];
	h->sets[j] = set;
}

static void heap_push(struct loader *l, struct heap *h, uint16_t set)
{
	h->sets[h->nr] = set;
	for (unsigned i = h->nr++; i > 0 && h->less(l, h->sets[i], h->sets[(i - 1) / 2]); i = (i - 1) / 2)
		heap_swap(h, i, (i - 1) / 2);
}

static uint16_t heap_pop(struct loader *l, struct heap *h)
{
	uint16_t first = h->sets[0];
	unsigned i = 0, child;

	h->sets[0] = h->sets[--h->nr];
	while ((child = 2 * i + 1) < h->nr) {
		if (child + 1 < h->nr && h->less(l, h->sets[child + 1], h->sets[child]))
			child++;
		if (!h->less(l, h->sets[child], h->sets[i]))
			break;
		heap_swap(h, i, child);
		i = child;
	}
	return first;
}

/* --- reading from disk: the sweep -------------------------------------------------------------------------------------- */

static bool put_piece(struct loader *l)
{
	struct bkey_buf piece;

	if (!l->key)
		return true;
	bkey_copy(&piece.k, l->key);
	bkey_cut_back(&piece.k, l->to);
	bkey_cut_front(&piece.k, l->from);
	return writer_add(&l->out, &piece.k);
}

/* [from, to) shows k. A key that shows on both sides of the START of an older one is still one piece. */
static bool sweep_show(struct loader *l, const struct bkey *k, struct bpos from, struct bpos to)
{
	if (k == l->key) {
		l->to = to; /* was from: the sweep leaves a key only for another one */
		return true;
	}
	if (!put_piece(l))
		return false;
	l->key = k;
	l->from = from;
	l->to = to;
	return true;
}

/* The set's key does not matter beyond pos; wait for the next that does. */
static void sweep_next_key(struct loader *l, uint16_t set, struct bpos pos)
{
	while (cursor_advance(l, set)) {
		const struct bkey *k = cursor_key(l, set);

		if (bkey_size(k) && bpos_cmp(bkey_pos(k), pos) > 0) {
			heap_push(l, &l->waiting, set);
			return;
		}
	}
}

static struct bpos first_start(const struct loader *l)
{
	return bkey_start_pos(cursor_key(l, l->waiting.sets[0]));
}

static bool sweep_leaf(struct loader *l)
{
	struct bpos pos = BPOS_MIN;

	while (l->waiting.nr || l->active.nr) {
		const struct bkey *k;
		struct bpos to;

		if (!l->active.nr && bpos_cmp(first_start(l), pos) > 0)
			pos = first_start(l);
		while (l->waiting.nr && bpos_cmp(first_start(l), pos) <= 0)
			heap_push(l, &l->active, heap_pop(l, &l->waiting));
		k = cursor_key(l, l->active.sets[0]);
		to = bkey_pos(k);
		if (bpos_cmp(to, pos) <= 0) {
			sweep_next_key(l, heap_pop(l, &l->active), pos);
			continue;
		}
		if (l->waiting.nr && bpos_cmp(first_start(l), to) < 0)
			to = first_start(l);
		if (!sweep_show(l, k, pos, to))
			return false;
		pos = to;
	}
	return put_piece(l);
}

/* Nothing hides anything. */
static bool sweep_interior(struct loader *l)
{
	while (l->waiting.nr) {
		uint16_t set = heap_pop(l, &l->waiting);

		if (!writer_add(&l->out, cursor_key(l, set)))
			return false;
		if (cursor_advance(l, set))
			heap_push(l, &l->waiting, set);
	}
	return true;
}

/* --- reading from disk: set up ----------------------------------------------------------------------------------------- */

/*
 * What the sweep relies on. Empty extents are not looked at, neither here nor there. The rest is judged where keys are judged
 * (bkey_extent_validate, bkey_node_validate).
 */
static int judge_leaf_set(const struct bset *s, struct printbuf *why)
{
	const struct bkey *prev = NULL;

	for (const struct bkey *k = bset_first(s); k < bset_end(s); k = bkey_next(k)) {
		const char *what = NULL;

		if (!bkey_size(k))
			continue;
		if (bkey_size(k) > bkey_offset(k))
			what = "extent starts before sector 0";
		else if (prev && bpos_cmp(bkey_pos(prev), bkey_start_pos(k)) > 0)
			what = "extent out of order";
		if (what) {
			pr(why, "%s: ", what);
			bkey_to_text(why, k);
			return -EUCLEAN;
		}
		prev = k;
	}
	return 0;
}

/*
 * The cursors live in line_pos, which nobody needs before the merged set is complete: reading a node must not depend on an allocation.
 * A set takes at least a sector, for which line_pos has 16 bytes; a cursor takes 8, its places in the heaps 2 each.
 */
#define LOAD_BYTES_PER_SET (sizeof(struct cursor) + 2 * sizeof(uint16_t))
static_assert(LOAD_BYTES_PER_SET <= SECTOR_BYTES / BKEYS_LINE_BYTES * sizeof(uint32_t), "cursors fit into line_pos");

static void loader_init(struct loader *l, struct bkeys *b, const struct node_view *image, unsigned nr_sets)
{
	uint16_t *places;

	assert(nr_sets > 0 && nr_sets <= b->buf_bytes / SECTOR_BYTES);
	assert(nr_sets <= UINT16_MAX);
	*l = (struct loader){ .image = image->image, .cursors = (struct cursor *)b->line_pos };
	places = (uint16_t *)(l->cursors + nr_sets);
	l->waiting = (struct heap){ .sets = places, .less = b->leaf ? starts_first : ends_first };
	l->active = (struct heap){ .sets = places + nr_sets, .less = newer };
	/* Always merging: no setting may make the result of a node longer than the log that it comes from. */
	l->out = (struct writer){ .g = b->g, .merge = b->leaf, .set = (struct bset *)b->buf };
	*l->out.set = *node_set_at(image, 0);
	l->out.set->nr_words = 0;
}

static void loader_add_set(struct loader *l, uint16_t set, const struct bset *s, bool leaf)
{
	uint32_t first = (uint32_t)(s->words - l->image);

	l->cursors[set] = (struct cursor){ .at = first, .end = first + s->nr_words };
	if (!s->nr_words)
		return;
	if (!leaf || bkey_size(bset_first(s)))
		heap_push(l, &l->waiting, set);
	else
		sweep_next_key(l, set, BPOS_MIN);
}

static int loader_add_sets(struct loader *l, const struct node_view *image, unsigned nr_sets, bool leaf,
			   struct printbuf *why)
{
	uint32_t offset_bytes = 0;

	for (unsigned i = 0; i < nr_sets; i++) {
		const struct bset *s = node_set_at(image, offset_bytes);
		int r = leaf ? judge_leaf_set(s, why) : bset_order_validate(s, false, why);

		if (r < 0) {
			pr(why, " (set at byte %u of the node)", offset_bytes);
			return r;
		}
		loader_add_set(l, (uint16_t)i, s, leaf);
		offset_bytes = node_next_set(image, offset_bytes);
	}
	assert(offset_bytes <= image->node_bytes);
	l->out.max_words = (offset_bytes - (uint32_t)sizeof(struct bset)) / 8;
	return 0;
}

int bkeys_load(struct bkeys *b, const struct node_view *image, unsigned nr_sets, struct printbuf *why)
{
	struct loader l;
	int r;

	assert(image->image != b->buf && image->node_bytes <= b->buf_bytes);
	bkeys_reset(b, b->leaf);
	loader_init(&l, b, image, nr_sets);
	r = loader_add_sets(&l, image, nr_sets, b->leaf, why);
	if (r < 0)
		return r;
	if (!(b->leaf ? sweep_leaf(&l) : sweep_interior(&l))) {
		pr(why, "the keys of %u sets do not fit into their space once overlaps are resolved", nr_sets);
		return -EUCLEAN;
	}
	bset_index_build(b, bkeys_add_set(b, 0));
	return 0;
}

/* --- merging in memory ------------------------------------------------------------------------------------------------- */

/* Sets in memory do not overlap, so merging is all; the result is never larger than its parts. */
static void sort_from(struct bkeys *b, unsigned first, void *scratch)
{
	struct bkeys_set *s = &b->sets[first];
	struct writer w = { .g = b->g, .merge = bkeys_may_merge(b), .set = scratch };
	const struct bkey *k;
	struct bkeys_iter it;

	assert(!b->open);
	w.max_words = (b->buf_bytes - (uint32_t)sizeof(struct bset)) / 8;
	w.set->nr_words = 0;
	bkeys_iter_init_from_set(&it, b, first);
	while ((k = bkeys_iter_next(&it)))
		if (!b->leaf || bkey_size(k)) {
			bool fits = writer_add(&w, k);

			assert(fits);
		}
	memcpy(s->set->words, w.set->words, w.set->nr_words * 8ull);
	s->set->nr_words = w.set->nr_words;
	b->nr_sets = first + 1;
	bset_index_build(b, s);
}

void bkeys_sort_full(struct bkeys *b, void *scratch)
{
	if (b->nr_sets)
		sort_from(b, 0, scratch);
}

#define SORT_CRIT_WORDS 512u /* a set this small is always worth merging with what follows it (§4.6) */

static uint32_t isqrt(uint32_t v)
{
	uint32_t root = 0;

	while ((uint64_t)(root + 1) * (root + 1) <= v)
		root++;
	return root;
}

/*
 * The older a set is, the larger it may be and still be merged: a key is moved O(log) times in its life, and few sets remain to be
 * searched.
 */
static unsigned first_small_set(const struct bkeys *b)
{
	uint32_t factor = max(isqrt(b->buf_bytes / PAGE_BYTES), 1u);
	uint64_t crit = SORT_CRIT_WORDS;

	for (unsigned i = b->nr_sets - 1; i-- > 0;) {
		crit *= factor;
		if (b->sets[i].set->nr_words < crit)
			return i;
	}
	return b->nr_sets;
}

void bkeys_sort_lazy(struct bkeys *b, void *scratch)
{
	unsigned first;

	assert(!b->open);
	if (b->nr_sets < 2)
		return;
	first = b->leaf ? first_small_set(b) : 0;
	if (first < b->nr_sets)
		sort_from(b, first, scratch);
	else if (b->nr_sets == MAX_BSETS)
		sort_from(b, 0, scratch);
}

/* --- into other nodes -------------------------------------------------------------------------------------------------- */

static struct bkey *last_key(const struct bkeys *b, const struct bkeys_set *s)
{
	struct bkey *last;

	(void)bset_search(b, s, bpos(UINT32_MAX, UINT64_MAX), &last); /* wanted is only what lies before the end */
	return last;
}

bool bkeys_sort_some(struct bkeys_iter *it, struct bkeys *dst, uint32_t max_words, bool (*drop)(void *ctx, const struct bkey *k), void *ctx)
{
	struct bkeys_set *s = bkeys_last_set(dst);
	struct writer w = { .g = dst->g, .merge = bkeys_may_merge(dst), .set = s->set, .last = last_key(dst, s) };
	const struct bkey *k;

	assert(dst->open);
	w.max_words = min(max_words, s->set->nr_words + bkeys_room_words(dst));
	for (; (k = bkeys_iter_peek(it)); bkeys_iter_next(it)) {
		if ((dst->leaf && !bkey_size(k)) || (drop && drop(ctx, k)))
			continue;
		if (s->set->nr_words + bkey_words(k) > w.max_words) /* even if it would merge: a merge in part cannot be undone */
			break;
		(void)writer_add(&w, k); /* fits */
	}
	bset_index_build(dst, s);
	return !k;
}

void bkeys_sort_into(const struct bkeys *src, struct bkeys *dst, bool (*drop)(void *ctx, const struct bkey *k), void *ctx)
{
	struct bkeys_iter it;
	bool fits;

	assert(src->leaf == dst->leaf);
	bkeys_iter_init_all(&it, src);
	fits = bkeys_sort_some(&it, dst, UINT32_MAX, drop, ctx);
	assert(fits);
}

/* Would the END of k be a bound that separates it from the next key? */
static bool can_bound(const struct bkey *k, const struct bkey *next) { return !bkey_is_zero_pos(k) && bkey_cmp(k, next) < 0; }

static const struct bkey *split_point(const struct bset *s, uint32_t want_words)
{
	const struct bkey *best = NULL, *next;

	for (const struct bkey *k = bset_first(s); (next = bkey_next(k)) < bset_end(s); k = next) {
		if (!can_bound(k, next))
			continue;
		best = k;
		if ((const uint64_t *)next - s->words >= want_words)
			break;
	}
	return best;
}

const struct bkey *bkeys_split_into(struct bkeys *src, struct bkeys *dst, unsigned num, unsigned den)
{
	struct bset *from = bkeys_open(src), *to = bkeys_open(dst);
	const struct bkey *last;

	assert(from && from->nr_words && src->nr_sets == 1);
	assert(to && !to->nr_words && dst->nr_sets == 1);
	last = split_point(from, (uint32_t)div_round_up_u64((uint64_t)from->nr_words * num, den));
	if (!last)
		return last_key(src, &src->sets[0]);
	to->nr_words = (uint32_t)((uint64_t *)bset_end(from) - (uint64_t *)bkey_next(last));
	assert(bset_bytes(to) <= dst->buf_bytes);
	memcpy(to->words, bkey_next(last), to->nr_words * 8ull);
	from->nr_words -= to->nr_words;
	bset_index_from(src, &src->sets[0], last);
	bset_index_build(dst, &dst->sets[0]);
	return last;
}
