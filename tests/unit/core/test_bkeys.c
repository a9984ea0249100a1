/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A leaf in memory and on disk against a flat array (I-22): whatever is inserted, replaced, merged, written, read back, split or
 * compacted, every sector keeps exactly the mapping it was given last, and the dirty sectors reported add up.
 */
#include "tests/unit/core/test_bkeys.h"

#define INODES 3u
#define SECTORS 700u

/* What one sector is mapped to. Pointers are those of the sector itself. */
struct cell {
	bool present, dirty;
	uint8_t nr_ptrs;
	uint64_t ptr[2];
};
struct model {
	struct cell cell[INODES][SECTORS];
};

struct rig {
	struct bkeys_dirty dirty_hook;
	struct geometry g;
	struct bkeys b;
	void *scratch;
	struct model now, on_disk;
	int dirty[INODES][SECTORS];
	struct rng rng;
	uint64_t seed;
	uint32_t node_bytes;
	bool no_merging;
	struct image image; /* ends in a key */
};

static void dirty_changed(struct bkeys_dirty *d, const struct bkey *k, uint64_t start, int64_t nr)
{
	struct rig *r = container_of(d, struct rig, dirty_hook);
	uint32_t inode = bkey_inode(k);

	assert_in_range(inode, 0, INODES - 1);
	for (int64_t i = 0; i < llabs(nr); i++) {
		assert_in_range(start + (uint64_t)i, 0, SECTORS - 1);
		r->dirty[inode][start + (uint64_t)i] += nr < 0 ? -1 : 1;
	}
}

static void model_put(struct model *m, const struct bkey *k, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) {
		struct cell *c = &m->cell[bkey_inode(k)][bkey_start(k) + i];

		*c = (struct cell){ .present = true, .dirty = bkey_dirty(k), .nr_ptrs = (uint8_t)bkey_ptrs(k) };
		for (unsigned p = 0; p < bkey_ptrs(k); p++)
			c->ptr[p] = ptr_add(k->ptr[p], i);
	}
}

static void model_read(struct model *m, const struct bkeys *b)
{
	const struct bkey *k;
	struct bkeys_iter it;

	memset(m, 0, sizeof(*m));
	bkeys_iter_init_all(&it, b);
	while ((k = bkeys_iter_next(&it)))
		if (bkey_size(k)) {
			assert_in_range(bkey_inode(k), 0, INODES - 1);
			assert_in_range(bkey_offset(k), 1, SECTORS);
			model_put(m, k, bkey_size(k));
		}
}

static bool cell_equal(const struct cell *x, const struct cell *y)
{
	if (x->present != y->present || x->dirty != y->dirty || x->nr_ptrs != y->nr_ptrs)
		return false;
	return !memcmp(x->ptr, y->ptr, x->nr_ptrs * sizeof(x->ptr[0]));
}

static void assert_maps(const struct rig *r, const struct bkeys *b, const struct model *want)
{
	static struct model have;

	check_ok(b, r->seed);
	model_read(&have, b);
	for (unsigned i = 0; i < INODES; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			if (!cell_equal(&have.cell[i][s], &want->cell[i][s]))
				fail_msg("seed %llu: %u:%u is wrong", (unsigned long long)r->seed, i, s);
}

static void assert_state(const struct rig *r)
{
	assert_maps(r, &r->b, &r->now);
	for (unsigned i = 0; i < INODES; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			if (r->dirty[i][s] != r->now.cell[i][s].dirty)
				fail_msg("seed %llu: %u:%u counts as dirty %d times", (unsigned long long)r->seed, i, s,
					 r->dirty[i][s]);
}

/* --- the disk ---------------------------------------------------------------------------------------------------------- */

static void rig_open(struct rig *r)
{
	bkeys_open_set(&r->b, r->image.written_bytes, bset_magic(TEST_SET_MAGIC), r->image.seq);
}

static void rig_init(struct rig *r, uint64_t seed)
{
	static const uint32_t sizes[] = { 4096, 8192, 16384, 65536, 262144 };

	memset(r, 0, sizeof(*r));
	r->seed = seed;
	r->rng.state = seed;
	r->dirty_hook.changed = dirty_changed;
	r->g = test_geometry();
	r->node_bytes = sizes[rng_below(&r->rng, ARRAY_SIZE(sizes))];
	r->scratch = test_pages(r->node_bytes);
	new_bkeys(&r->b, &r->g, r->node_bytes, true);
	r->no_merging = seed % 5 == 0;
	r->b.no_merging = &r->no_merging;
	image_init(&r->image, r->node_bytes, seed + 1);
	rig_open(r);
}

static void rig_release(struct rig *r)
{
	free_bkeys(&r->b);
	free(r->image.bytes);
	free(r->scratch);
}

static bool drop_nothing(void *ctx, const struct bkey *k) { return false; }

/* To a new bucket, in one set. */
static void rewrite(struct rig *r)
{
	struct bkeys b;

	new_bkeys(&b, &r->g, r->node_bytes, true);
	b.no_merging = &r->no_merging;
	free(r->image.bytes);
	image_init(&r->image, r->node_bytes, r->image.seq + 1000);
	bkeys_open_set(&b, 0, bset_magic(TEST_SET_MAGIC), r->image.seq);
	bkeys_sort_into(&r->b, &b, drop_nothing, NULL);
	free_bkeys(&r->b);
	r->b = b;
	r->on_disk = (struct model){ 0 };
	assert_state(r);
}

static void write_set(struct rig *r)
{
	const struct bset *s = bkeys_open(&r->b);

	if (!s->nr_words && r->image.nr_sets)
		return;
	assert_int_equal(bset_order_validate(s, true, NULL), 0);
	image_append(&r->image, s);
	image_assert_valid(&r->image);
	r->on_disk = r->now;
	bkeys_close_set(&r->b);
	assert_state(r);
	if (rng_one_in(&r->rng, 8))
		bkeys_sort_full(&r->b, r->scratch);
	else
		bkeys_sort_lazy(&r->b, r->scratch);
	assert_state(r);
	assert_true(r->b.nr_sets < MAX_BSETS);
	if (r->image.written_bytes + sizeof(struct bset) + BKEYS_INSERT_ROOM * 8 > r->node_bytes)
		rewrite(r);
	else
		rig_open(r);
}

static void load(const struct rig *r, struct bkeys *b)
{
	struct node_view v = image_view(&r->image);
	char text[300];
	struct printbuf why = PRINTBUF(text);

	if (bkeys_load(b, &v, r->image.nr_sets, &why) < 0)
		fail_msg("seed %llu: %s", (unsigned long long)r->seed, text);
	assert_int_equal(b->nr_sets, 1);
	assert_true(bset_bytes(b->sets[0].set) <= r->image.written_bytes);
}

static void read_back(struct rig *r)
{
	struct bkeys b;

	if (!r->image.nr_sets)
		return;
	new_bkeys(&b, &r->g, r->node_bytes, true);
	load(r, &b);
	assert_maps(r, &b, &r->on_disk);
	free_bkeys(&b);
}

/* Power cut: what was not written is gone. */
static void restart(struct rig *r)
{
	if (!r->image.nr_sets)
		return;
	load(r, &r->b);
	r->now = r->on_disk;
	for (unsigned i = 0; i < INODES; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			r->dirty[i][s] = r->now.cell[i][s].dirty;
	if (r->image.written_bytes + sizeof(struct bset) + BKEYS_INSERT_ROOM * 8 > r->node_bytes)
		rewrite(r);
	else
		rig_open(r);
	assert_state(r);
}

/* --- operations -------------------------------------------------------------------------------------------------------- */

/* Pointers mostly follow from the position, so that neighbours often merge. */
static void random_ptrs(struct rig *r, struct bkey *k)
{
	uint64_t at = 256 + (bkey_inode(k) * 4ull + rng_below(&r->rng, 2)) * 1024 + bkey_start(k);

	switch (rng_below(&r->rng, 8)) {
	case 0: /* hole */
		break;
	case 1: /* placeholder; now and then about to overflow its offset */
		bkey_set_ptrs(k, 1);
		k->ptr[0] = ptr_make(PTR_DEV_CHECK, (1ull << 43) - 1 - rng_below(&r->rng, 1000), (uint8_t)rng_next(&r->rng)) |
			    (rng_next(&r->rng) & 1ull << 63);
		break;
	case 2:
		bkey_set_ptrs(k, 2);
		k->ptr[0] = ptr_make(0, at, 1);
		k->ptr[1] = ptr_make(1, at + 4096, 1);
		bkey_set_dirty(k, rng_one_in(&r->rng, 2));
		break;
	default:
		bkey_set_ptrs(k, 1);
		k->ptr[0] = ptr_make(0, at, (uint8_t)rng_below(&r->rng, 2));
		bkey_set_dirty(k, rng_one_in(&r->rng, 2));
	}
}

static void random_range(struct rig *r, struct bkey *k)
{
	uint32_t max_size = rng_one_in(&r->rng, 4) ? 200 : 16;
	uint32_t size = 1 + (uint32_t)rng_below(&r->rng, max_size);
	uint64_t start = rng_below(&r->rng, SECTORS - size + 1);

	if (rng_one_in(&r->rng, 2)) { /* aligned: exact hits and neighbours */
		start &= ~7ull;
		size = (uint32_t)min(round_up_u64(size, 8), SECTORS - start);
	}
	bkey_init(k, (uint32_t)rng_below(&r->rng, INODES), start + size, size);
}

static void insert(struct rig *r)
{
	struct bkey_buf ins;
	enum bkeys_insert status;

	random_range(r, &ins.k);
	random_ptrs(r, &ins.k);
	model_put(&r->now, &ins.k, bkey_size(&ins.k));
	status = bkeys_insert_extent(&r->b, &ins.k, NULL, &r->dirty_hook);
	assert_int_not_equal(status, BKEYS_COLLISION);
}

/* The live key that covers a position, found the slow way. */
static const struct bkey *find_slowly(const struct bkeys *b, uint32_t inode, uint64_t sector)
{
	for (unsigned i = 0; i < b->nr_sets; i++)
		for (struct bkey *k = bset_first(b->sets[i].set); k < bset_end(b->sets[i].set); k = bkey_next(k))
			if (bkey_inode(k) == inode && bkey_start(k) <= sector && sector < bkey_offset(k))
				return k;
	return NULL;
}

/* The part of k in the range of `of`. */
static void cut_to(struct bkey *ret, const struct bkey *k, const struct bkey *of)
{
	bkey_copy(ret, k);
	if (bkey_offset(k) > bkey_offset(of))
		bkey_cut_back(ret, bkey_pos(of));
	if (bkey_start(k) < bkey_start(of))
		bkey_cut_front(ret, bkey_start_pos(of));
}

static bool agrees_slowly(const struct bkey *k, const struct bkey *of)
{
	struct bkey_buf a, b;

	if (bkey_start(k) >= bkey_offset(of) || bkey_offset(k) <= bkey_start(of))
		return false;
	cut_to(&a.k, k, of);
	cut_to(&b.k, of, k);
	return a.k.high == b.k.high && !memcmp(a.k.ptr, b.k.ptr, bkey_ptrs(&a.k) * 8);
}

static uint32_t match_slowly(const struct bkeys *b, const struct bkey *k, const struct bkey *replace)
{
	uint64_t at = bkey_start(k);
	const struct bkey *old;

	while (at < bkey_offset(k) && (old = find_slowly(b, bkey_inode(k), at)) && agrees_slowly(old, replace))
		at = bkey_offset(old);
	return (uint32_t)(min(at, bkey_offset(k)) - bkey_start(k));
}

/* Something that is there, was there, or only looks like it. */
static bool random_replace(struct rig *r, struct bkey *replace)
{
	uint32_t inode = (uint32_t)rng_below(&r->rng, INODES);
	const struct bkey *k = find_slowly(&r->b, inode, rng_below(&r->rng, SECTORS));
	uint32_t more, less;

	if (!k)
		return false;
	bkey_copy(replace, k);
	more = (uint32_t)rng_below(&r->rng, 30);
	less = (uint32_t)rng_below(&r->rng, bkey_size(k));
	if (rng_one_in(&r->rng, 2)) { /* beyond the end */
		more = (uint32_t)min((uint64_t)more, SECTORS - bkey_offset(k));
		bkey_set_offset(replace, bkey_offset(k) + more);
		bkey_set_size(replace, bkey_size(k) + more);
	} else if (rng_one_in(&r->rng, 4)) {
		bkey_cut_back(replace, bpos(inode, bkey_offset(k) - less));
	} else if (rng_one_in(&r->rng, 4)) {
		bkey_cut_front(replace, bpos(inode, bkey_start(k) + less));
	}
	if (bkey_ptrs(replace) && rng_one_in(&r->rng, 10))
		replace->ptr[bkey_ptrs(replace) - 1] ^= 1; /* another gen */
	if (rng_one_in(&r->rng, 20))
		bkey_set_dirty(replace, !bkey_dirty(replace));
	return true;
}

static void replace(struct rig *r)
{
	struct bkey_buf old, ins, kept;
	enum bkeys_insert status;
	uint32_t want;

	if (!random_replace(r, &old.k))
		return;
	bkey_init(&ins.k, bkey_inode(&old.k), bkey_offset(&old.k), bkey_size(&old.k));
	if (rng_one_in(&r->rng, 3)) /* a part of it */
		bkey_cut_front(&ins.k, bpos(bkey_inode(&old.k), bkey_start(&old.k) + rng_below(&r->rng, bkey_size(&old.k))));
	if (rng_one_in(&r->rng, 3))
		bkey_cut_back(&ins.k, bpos(bkey_inode(&ins.k), bkey_offset(&ins.k) - rng_below(&r->rng, bkey_size(&ins.k))));
	if (rng_one_in(&r->rng, 3)) { /* writeback is done: the same, but clean */
		bkey_copy(&kept.k, &old.k);
		bkey_cut_back(&kept.k, bkey_pos(&ins.k));
		bkey_cut_front(&kept.k, bkey_start_pos(&ins.k));
		bkey_set_dirty(&kept.k, false);
		bkey_copy(&ins.k, &kept.k);
	} else {
		random_ptrs(r, &ins.k);
	}
	bkey_copy(&kept.k, &ins.k);
	want = match_slowly(&r->b, &ins.k, &old.k);
	assert_int_equal(bkeys_match_prefix(&r->b, &ins.k, &old.k), want);
	model_put(&r->now, &kept.k, want);
	status = bkeys_insert_extent(&r->b, &ins.k, &old.k, &r->dirty_hook);
	assert_true((status == BKEYS_COLLISION) == (want == 0));
}

static void look_up(const struct rig *r)
{
	struct rng rng = { r->seed ^ bkeys_total_words(&r->b) };
	struct bpos pos = bpos((uint32_t)rng_below(&rng, INODES + 1), rng_below(&rng, SECTORS + 2));
	const struct bkey *k, *best = NULL;
	struct bkeys_iter it;

	bkeys_iter_init(&it, &r->b, pos);
	for (unsigned i = 0; i < r->b.nr_sets; i++)
		for (k = bset_first(r->b.sets[i].set); k < bset_end(r->b.sets[i].set); k = bkey_next(k))
			if (bpos_cmp(bkey_pos(k), pos) > 0 && (!best || bkey_cmp(k, best) < 0))
				best = k;
	k = bkeys_iter_peek(&it);
	assert_true(!k == !best);
	if (k)
		assert_int_equal(bkey_cmp(k, best), 0);
}

static void step(struct rig *r)
{
	if (bkeys_room_words(&r->b) < BKEYS_INSERT_ROOM)
		write_set(r);
	if (bkeys_room_words(&r->b) < BKEYS_INSERT_ROOM)
		rewrite(r);
	if (bkeys_room_words(&r->b) < BKEYS_INSERT_ROOM)
		return; /* would have to be split */
	switch (rng_below(&r->rng, 64)) {
	case 0 ... 1:
		write_set(r);
		break;
	case 2:
		read_back(r);
		break;
	case 3:
		if (rng_one_in(&r->rng, 8))
			restart(r);
		break;
	case 4:
		if (rng_one_in(&r->rng, 8))
			rewrite(r);
		break;
	case 5 ... 24:
		replace(r);
		break;
	default:
		insert(r);
	}
	assert_state(r);
	look_up(r);
}

static void i22_a_leaf_maps_every_sector_like_a_flat_array(void **state)
{
	struct rig *r = malloc(sizeof(*r));

	for (uint64_t seed = 1; seed <= nr_seeds(500); seed++) {
		rig_init(r, seed);
		for (unsigned n = 100 + (unsigned)rng_below(&r->rng, 200); n > 0; n--)
			step(r);
		read_back(r);
		rig_release(r);
	}
	free(r);
}

/* --- splitting --------------------------------------------------------------------------------------------------------- */

static void a_split_leaf_maps_the_same_in_two_parts(void **state)
{
	static struct model low, high;
	struct rig *r = malloc(sizeof(*r));

	for (uint64_t seed = 1; seed <= nr_seeds(500); seed++) {
		const struct bkey *last;
		struct bkeys upper;
		uint32_t words;

		rig_init(r, seed);
		for (unsigned n = 5 + (unsigned)rng_below(&r->rng, 100); n > 0; n--)
			step(r);
		rewrite(r);
		for (unsigned n = (unsigned)rng_below(&r->rng, 3); n > 0 && bkeys_room_words(&r->b) >= BKEYS_INSERT_ROOM; n--)
			insert(r);
		new_bkeys(&upper, &r->g, r->node_bytes, true);
		bkeys_open_set(&upper, 0, 0, r->image.seq);
		words = bkeys_total_words(&r->b);
		last = bkeys_split_into(&r->b, &upper, 3, 5);
		check_ok(&r->b, seed);
		check_ok(&upper, seed);
		assert_int_equal(bkeys_total_words(&r->b) + bkeys_total_words(&upper), words);
		model_read(&low, &r->b);
		model_read(&high, &upper);
		for (unsigned i = 0; i < INODES; i++)
			for (unsigned s = 0; s < SECTORS; s++) {
				bool below = bpos_cmp(bpos(i, s), bkey_pos(last)) < 0;

				assert_true(cell_equal(&(below ? low : high).cell[i][s], &r->now.cell[i][s]));
				assert_false((below ? high : low).cell[i][s].present);
			}
		free_bkeys(&upper);
		rig_release(r);
	}
	free(r);
}

static void put(struct bkeys *b, uint32_t inode, uint64_t start, uint32_t size, uint64_t ptr, unsigned nr_ptrs)
{
	struct bkey_buf k;

	bkey_init(&k.k, inode, start + size, size);
	bkey_set_ptrs(&k.k, nr_ptrs);
	k.k.ptr[0] = ptr;
	assert_int_not_equal(bkeys_insert_extent(b, &k.k, NULL, NULL), BKEYS_COLLISION);
}

static void splitting_keeps_at_least_the_wanted_part(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys b, upper;

	for (unsigned n = 2; n < 200; n++) {
		const struct bkey *last;

		new_bkeys(&b, &g, 8192, true);
		new_bkeys(&upper, &g, 8192, true);
		bkeys_open_set(&b, 0, 0, 1);
		bkeys_open_set(&upper, 0, 0, 1);
		for (unsigned i = 0; i < n; i++)
			put(&b, 1, i * 10, 5, ptr_make(0, 256 + i * 10, 0), 1);
		last = bkeys_split_into(&b, &upper, 3, 5);
		assert_int_equal(bkeys_total_words(&b), min(div_round_up_u64(n * 3 * 3, 5 * 3), n - 1ull) * 3);
		assert_int_equal(bkey_offset(last), bkeys_total_words(&b) / 3 * 10 - 5);
		free_bkeys(&b);
		free_bkeys(&upper);
	}
}

static void a_node_of_one_key_is_not_split(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys b, upper;

	new_bkeys(&b, &g, 4096, true);
	new_bkeys(&upper, &g, 4096, true);
	bkeys_open_set(&b, 0, 0, 1);
	bkeys_open_set(&upper, 0, 0, 1);
	put(&b, 1, 0, 5, ptr_make(0, 256, 0), 1);
	assert_ptr_equal(bkeys_split_into(&b, &upper, 3, 5), bset_first(bkeys_open(&b)));
	assert_int_equal(bkeys_total_words(&upper), 0);
	free_bkeys(&b);
	free_bkeys(&upper);
}

/* --- single rules ------------------------------------------------------------------------------------------------------ */

static void merged_keys_stop_at_the_largest_size(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys b;
	const struct bkey *k;
	struct bkeys_iter it;

	new_bkeys(&b, &g, 4096, true);
	bkeys_open_set(&b, 0, 0, 1);
	put(&b, 1, 0, 40000, 0, 0);
	put(&b, 1, 40000, 40000, 0, 0); /* behind */
	put(&b, 1, 120000, 40000, 0, 0);
	put(&b, 1, 80000, 40000, 0, 0); /* between */
	check_ok(&b, 0);
	bkeys_iter_init_all(&it, &b);
	k = bkeys_iter_next(&it);
	assert_int_equal(bkey_size(k), BKEY_SIZE_MAX);
	for (uint64_t end = bkey_offset(k); (k = bkeys_iter_next(&it)); end = bkey_offset(k))
		assert_int_equal(bkey_start(k), end);
	free_bkeys(&b);
}

static unsigned nr_keys(const struct bkeys *b)
{
	struct bkeys_iter it;
	unsigned n = 0;

	for (bkeys_iter_init_all(&it, b); bkeys_iter_next(&it); n++)
		;
	return n;
}

/* key_merging_disabled */
static void keys_stay_apart_while_merging_is_disabled(void **state)
{
	struct geometry g = test_geometry();
	void *scratch = test_pages(8192);
	bool no_merging = true;
	struct bkeys b, to;

	new_bkeys(&b, &g, 8192, true);
	b.no_merging = &no_merging;
	bkeys_open_set(&b, 0, 0, 1);
	put(&b, 1, 10, 10, ptr_make(0, 266, 7), 1);
	put(&b, 1, 20, 10, ptr_make(0, 276, 7), 1); /* behind */
	put(&b, 1, 0, 10, ptr_make(0, 256, 7), 1);  /* in front */
	check_ok(&b, 0);
	assert_int_equal(nr_keys(&b), 3);
	bkeys_close_set(&b);
	bkeys_sort_full(&b, scratch);
	assert_int_equal(nr_keys(&b), 3);
	new_bkeys(&to, &g, 8192, true);
	to.no_merging = &no_merging;
	bkeys_open_set(&to, 0, 0, 1);
	bkeys_sort_into(&b, &to, NULL, NULL);
	assert_int_equal(nr_keys(&to), 3);
	no_merging = false; /* takes effect at once */
	bkeys_sort_full(&b, scratch);
	assert_int_equal(nr_keys(&b), 1);
	free_bkeys(&b);
	free_bkeys(&to);
	free(scratch);
}

static void holes_merge_beyond_the_largest_size_when_sorted(void **state)
{
	struct geometry g = test_geometry();
	void *scratch = test_pages(8192);
	struct bkeys b;

	new_bkeys(&b, &g, 8192, true);
	bkeys_open_set(&b, 0, 0, 1);
	put(&b, 1, 0, 40000, 0, 0);
	bkeys_close_set(&b);
	bkeys_open_set(&b, 512, 0, 1);
	put(&b, 1, 40000, 40000, 0, 0);
	bkeys_close_set(&b);
	bkeys_sort_full(&b, scratch);
	check_ok(&b, 0);
	assert_int_equal(bkey_size(bset_first(b.sets[0].set)), BKEY_SIZE_MAX);
	assert_int_equal(bkey_start(bkey_next(bset_first(b.sets[0].set))), BKEY_SIZE_MAX);
	assert_int_equal(bkey_offset(bkey_next(bset_first(b.sets[0].set))), 80000);
	free_bkeys(&b);
	free(scratch);
}

static void the_upper_part_of_a_split_written_key_goes_to_the_open_set(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys b;

	new_bkeys(&b, &g, 8192, true);
	bkeys_open_set(&b, 0, 0, 1);
	put(&b, 1, 0, 100, ptr_make(0, 256, 7), 1);
	bkeys_close_set(&b);
	bkeys_open_set(&b, 512, 0, 1);
	put(&b, 1, 40, 10, ptr_make(0, 512, 8), 1);
	check_ok(&b, 0);
	assert_int_equal(bkey_offset(bset_first(b.sets[0].set)), 40);
	assert_int_equal(bkeys_open(&b)->nr_words, 6);
	assert_int_equal(bkey_start(bkey_next(bset_first(bkeys_open(&b)))), 50);
	assert_int_equal(bkey_next(bset_first(bkeys_open(&b)))->ptr[0], ptr_make(0, 256 + 50, 7));
	free_bkeys(&b);
}

static void a_covered_written_key_is_emptied_where_it_ends(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys b;

	new_bkeys(&b, &g, 8192, true);
	bkeys_open_set(&b, 0, 0, 1);
	put(&b, 1, 20, 10, ptr_make(0, 256, 7), 1);
	bkeys_close_set(&b);
	bkeys_open_set(&b, 512, 0, 1);
	put(&b, 1, 0, 100, ptr_make(0, 512, 8), 1);
	check_ok(&b, 0);
	assert_int_equal(bkey_size(bset_first(b.sets[0].set)), 0);
	assert_int_equal(bkey_offset(bset_first(b.sets[0].set)), 30);
	free_bkeys(&b);
}

static void stale_and_pointerless_keys_survive_sorting(void **state)
{
	struct geometry g = test_geometry();
	void *scratch = test_pages(8192);
	struct bkeys b;

	new_bkeys(&b, &g, 8192, true);
	bkeys_open_set(&b, 0, 0, 1);
	put(&b, 1, 0, 100, ptr_make(0, 256, 7), 1);
	bkeys_close_set(&b);
	bkeys_open_set(&b, 512, 0, 1);
	put(&b, 1, 0, 50, 0, 0);
	bkeys_close_set(&b);
	bkeys_sort_full(&b, scratch);
	check_ok(&b, 0);
	assert_int_equal(b.nr_sets, 1);
	assert_int_equal(bkeys_total_words(&b), 2 + 3);
	free_bkeys(&b);
	free(scratch);
}

static bool drop_holes(void *ctx, const struct bkey *k)
{
	++*(unsigned *)ctx;
	return !bkey_ptrs(k);
}

static void sorting_into_a_node_twice_appends_without_what_is_dropped(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys low, high, dst;
	unsigned asked = 0;

	new_bkeys(&low, &g, 4096, true);
	new_bkeys(&high, &g, 4096, true);
	new_bkeys(&dst, &g, 4096, true);
	bkeys_open_set(&low, 0, 0, 1);
	bkeys_open_set(&high, 0, 0, 1);
	bkeys_open_set(&dst, 0, 0, 2);
	put(&low, 1, 0, 10, ptr_make(0, 256, 7), 1);
	put(&low, 1, 10, 10, 0, 0);
	put(&low, 1, 20, 10, ptr_make(0, 276, 7), 1);
	put(&high, 1, 30, 10, ptr_make(0, 286, 7), 1);
	bkeys_sort_into(&low, &dst, drop_holes, &asked);
	bkeys_sort_into(&high, &dst, drop_holes, &asked);
	check_ok(&dst, 0);
	assert_int_equal(asked, 4);
	assert_int_equal(bkeys_total_words(&dst), 6); /* the seam between the nodes is merged */
	free_bkeys(&low);
	free_bkeys(&high);
	free_bkeys(&dst);
}

static void the_lazy_sort_leaves_a_large_old_set_alone(void **state)
{
	struct geometry g = test_geometry();
	void *scratch = test_pages(262144);
	struct bkeys b;

	new_bkeys(&b, &g, 262144, true);
	bkeys_open_set(&b, 0, 0, 1);
	for (unsigned i = 0; i < 1400; i++) /* 4200 words, more than 512 * 8 */
		put(&b, 1, i * 10, 5, ptr_make(0, 256 + i * 10, 0), 1);
	bkeys_close_set(&b);
	bkeys_sort_lazy(&b, scratch);
	assert_int_equal(b.nr_sets, 1);
	for (unsigned n = 1; n <= 2; n++) {
		bkeys_open_set(&b, 131072 + n * 512, 0, 1);
		put(&b, 2, 0, 5, ptr_make(0, 256, 0), 1);
		bkeys_close_set(&b);
		bkeys_sort_lazy(&b, scratch);
		check_ok(&b, n);
		assert_int_equal(b.nr_sets, 2); /* the small ones are merged with each other */
	}
	free_bkeys(&b);
	free(scratch);
}

/* Behaviour.md §4.6, independently of the code: where the partial sort begins, or nr: nowhere. Sets are counted in words. */
static unsigned expected_sort_start(const unsigned *words, unsigned nr, unsigned factor)
{
	unsigned long crit = 512;

	for (int i = (int)nr - 2; i >= 0; i--) {
		crit *= factor;
		if (words[i] < crit)
			return (unsigned)i;
	}
	return nr == MAX_BSETS ? 0 : nr;
}

static void fill_set(struct bkeys *b, uint32_t offset_bytes, unsigned words, uint64_t from)
{
	bkeys_open_set(b, offset_bytes, 0, 1);
	for (unsigned i = 0; i < words / 3; i++)
		put(b, 1, from + i * 10, 5, ptr_make(0, 256 + i, 0), 1);
	bkeys_close_set(b);
}

static void the_lazy_sort_keeps_to_the_written_policy(void **state)
{
	static const struct {
		uint32_t node_bytes;
		unsigned factor, words[MAX_BSETS]; /* oldest first */
	} cases[] = {
		{ 262144, 8, { 4092, 3 } },  { 262144, 8, { 4098, 3 } },       { 262144, 8, { 9000, 4098, 3 } }, { 262144, 8, { 9000, 4092, 3 } },
		{ 65536, 4, { 2046, 3 } },   { 65536, 4, { 2049, 3 } },	       { 4096, 1, { 300, 60 } },	  { 262144, 8, { 12000, 6000, 4200, 6 } },
		{ 65536, 4, { 2049, 900 } }, { 65536, 4, { 3000, 2049, 30 } }, { 65536, 4, { 2301, 2100, 2052, 3 } }, { 16384, 2, { 1026, 90 } },
	};
	void *scratch = test_pages(262144);
	struct geometry g = test_geometry();

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		unsigned nr = 0, start, merged = 0;
		uint32_t offset_bytes = 0;
		struct bkeys b;

		new_bkeys(&b, &g, cases[c].node_bytes, true);
		for (; nr < MAX_BSETS && cases[c].words[nr]; nr++) {
			fill_set(&b, offset_bytes, cases[c].words[nr], nr * 1000000);
			offset_bytes = (uint32_t)round_up_u64(offset_bytes + sizeof(struct bset) + cases[c].words[nr] * 8, SECTOR_BYTES);
		}
		start = expected_sort_start(cases[c].words, nr, cases[c].factor);
		bkeys_sort_lazy(&b, scratch);
		check_ok(&b, c);
		assert_int_equal(b.nr_sets, start == nr ? nr : start + 1);
		for (unsigned i = start; i < nr; i++)
			merged += cases[c].words[i];
		for (unsigned i = 0; i < b.nr_sets; i++)
			assert_int_equal(b.sets[i].set->nr_words, i == start ? merged : cases[c].words[i]);
		free_bkeys(&b);
	}
	free(scratch);
}

static void interior_nodes_are_always_sorted_into_one_set(void **state)
{
	struct geometry g = test_geometry();
	void *scratch = test_pages(262144);
	struct bkeys b;

	new_bkeys(&b, &g, 262144, false);
	bkeys_open_set(&b, 0, 0, 1);
	for (unsigned i = 1; i <= 3000; i++) { /* large enough for a leaf to leave alone */
		struct bkey_buf k;

		bkey_init(&k.k, 1, i * 100, 512);
		bkey_set_ptrs(&k.k, 1);
		k.k.ptr[0] = ptr_make(0, i * 256, 1);
		bkeys_insert_ptr(&b, &k.k);
		if (i % 1000 || i == 3000)
			continue;
		bkeys_close_set(&b);
		bkeys_sort_lazy(&b, scratch);
		assert_int_equal(b.nr_sets, 1);
		bkeys_open_set(&b, (uint32_t)round_up_u64(bset_bytes(b.sets[0].set), SECTOR_BYTES), 0, 1);
	}
	bkeys_close_set(&b);
	bkeys_sort_lazy(&b, scratch);
	check_ok(&b, 0);
	assert_int_equal(b.nr_sets, 1);
	assert_int_equal(bkeys_total_words(&b), 3000 * 3);
	free_bkeys(&b);
	free(scratch);
}

static void statistics_count_sets_by_kind(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys_stats st = { 0 };
	struct bkeys b;

	new_bkeys(&b, &g, 8192, true);
	bkeys_open_set(&b, 0, 0, 1);
	for (unsigned i = 0; i < 20; i++)
		put(&b, 1, i * 10, 5, ptr_make(0, 256 + i * 10, 0), 1);
	bkeys_close_set(&b);
	bkeys_open_set(&b, 4096, 0, 1);
	put(&b, 1, 5000, 5, ptr_make(0, 256, 0), 1);
	bkeys_stats_add(&b, &st);
	assert_int_equal(st.written_sets, 1);
	assert_int_equal(st.open_sets, 1);
	assert_int_equal(st.written_bytes, 20 * 24);
	assert_int_equal(st.open_bytes, 24);
	assert_int_equal(st.lines, 4); /* 32 + 480 bytes */
	assert_int_equal(st.ties, 0);
	free_bkeys(&b);
}

/* --- the check itself -------------------------------------------------------------------------------------------------- */

/* A leaf with a written set of 20 keys and an open one of two. */
static void new_checked_leaf(struct bkeys *b, const struct geometry *g)
{
	new_bkeys(b, g, 8192, true);
	bkeys_open_set(b, 0, 0, 1);
	for (unsigned i = 0; i < 20; i++)
		put(b, 1, i * 10, 5, ptr_make(0, 256 + i * 10, 0), 1);
	bkeys_close_set(b);
	bkeys_open_set(b, 4096, 0, 1);
	put(b, 1, 5000, 5, ptr_make(0, 256, 0), 1);
	put(b, 1, 6000, 5, ptr_make(0, 256, 0), 1);
	check_ok(b, 0);
}

static void expect_check_says(struct bkeys *b, const char *what)
{
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_int_equal(bkeys_check(b, &why), -EUCLEAN);
	if (!strstr(text, what))
		fail_msg("'%s' instead of '%s'", text, what);
	free_bkeys(b);
}

static void the_check_notices_every_kind_of_damage(void **state)
{
	struct geometry g = test_geometry();
	struct bkeys b;

	new_checked_leaf(&b, &g);
	bset_first(bkeys_open(&b))->low = 50000;
	expect_check_says(&b, "END out of order");
	new_checked_leaf(&b, &g);
	bkey_set_size(bkey_next(bset_first(bkeys_open(&b))), 5995);
	expect_check_says(&b, "START out of order");
	new_checked_leaf(&b, &g);
	bkey_set_size(bset_first(bkeys_open(&b)), 4900);
	expect_check_says(&b, "overlap");
	new_checked_leaf(&b, &g);
	bkey_set_size(bset_first(b.sets[0].set), 6);
	expect_check_says(&b, "before sector 0");
	new_checked_leaf(&b, &g);
	b.line_first[b.sets[0].first_line + 1]++;
	expect_check_says(&b, "line_first");
	new_checked_leaf(&b, &g);
	b.line_pos[b.sets[0].first_line + 1]++;
	expect_check_says(&b, "line_pos");
	new_checked_leaf(&b, &g);
	b.sets[0].nr_lines--;
	expect_check_says(&b, "number of lines");
	new_checked_leaf(&b, &g);
	b.sets[0].set->nr_words--;
	expect_check_says(&b, "malformed");
	new_checked_leaf(&b, &g);
	b.sets[1].set->nr_words = 512;
	expect_check_says(&b, "behind the buffer");
	new_checked_leaf(&b, &g);
	b.sets[1].set = (struct bset *)(b.buf + 256);
	expect_check_says(&b, "misplaced");
	new_checked_leaf(&b, &g);
	b.open = false;
	expect_check_says(&b, "open");
	new_checked_leaf(&b, &g);
	b.nr_sets = MAX_BSETS + 1;
	expect_check_says(&b, "5 sets");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_check_notices_every_kind_of_damage),
		cmocka_unit_test(holes_merge_beyond_the_largest_size_when_sorted),
		cmocka_unit_test(keys_stay_apart_while_merging_is_disabled),
		cmocka_unit_test(merged_keys_stop_at_the_largest_size),
		cmocka_unit_test(the_upper_part_of_a_split_written_key_goes_to_the_open_set),
		cmocka_unit_test(a_covered_written_key_is_emptied_where_it_ends),
		cmocka_unit_test(stale_and_pointerless_keys_survive_sorting),
		cmocka_unit_test(sorting_into_a_node_twice_appends_without_what_is_dropped),
		cmocka_unit_test(the_lazy_sort_leaves_a_large_old_set_alone),
		cmocka_unit_test(the_lazy_sort_keeps_to_the_written_policy),
		cmocka_unit_test(interior_nodes_are_always_sorted_into_one_set),
		cmocka_unit_test(statistics_count_sets_by_kind),
		cmocka_unit_test(splitting_keeps_at_least_the_wanted_part),
		cmocka_unit_test(a_node_of_one_key_is_not_split),
		cmocka_unit_test(a_split_leaf_maps_the_same_in_two_parts),
		cmocka_unit_test(i22_a_leaf_maps_every_sector_like_a_flat_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
