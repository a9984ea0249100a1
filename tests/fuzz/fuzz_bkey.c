/* SPDX-License-Identifier: GPL-2.0-only */
/* Cutting, merging and judging keys: what must hold for any two keys and any place. Input: two keys of 8 words, inode, offset. */
#include "tests/fuzz/fuzz.h"
#include "formats/bkey.h"
#include "formats/geometry.h"
#include "formats/printbuf.h"

struct input {
	uint64_t k[2][BKEY_WORDS_MAX];
	uint32_t inode;
	uint64_t offset;
} __attribute__((packed));

static void check_cut(const struct bkey *k, struct bpos at)
{
	struct bkey_buf front, back;
	uint32_t size = bkey_size(k);

	bkey_copy(&front.k, k);
	bkey_copy(&back.k, k);
	bkey_cut_front(&front.k, at);
	bkey_cut_back(&back.k, at);
	assert(bkey_ptrs(&front.k) == bkey_ptrs(k) && bkey_ptrs(&back.k) == bkey_ptrs(k));
	assert(bkey_dirty(&front.k) == bkey_dirty(k) && bkey_size(&front.k) <= size && bkey_size(&back.k) <= size);
	if (bkey_inode(k) == at.inode)
		assert(bkey_size(&front.k) + bkey_size(&back.k) == size);
	for (unsigned i = 0; i < bkey_ptrs(k); i++) {
		assert(back.k.ptr[i] == k->ptr[i] && ptr_dev(front.k.ptr[i]) == ptr_dev(k->ptr[i]));
		assert(ptr_gen(front.k.ptr[i]) == ptr_gen(k->ptr[i]));
	}
	if (bkey_size(&front.k) && bkey_size(&back.k) && bkey_inode(k) == at.inode) {
		assert(bkey_offset(&back.k) == at.offset && bkey_start(&front.k) == at.offset && bkey_offset(&front.k) == bkey_offset(k));
		assert(bkey_start(&back.k) == bkey_start(k));
	}
}

static void check_merge(const struct bkey *a, const struct bkey *b, const struct geometry *g)
{
	struct bkey_buf l, r;
	uint64_t sum = (uint64_t)bkey_size(a) + bkey_size(b);
	enum bkey_merge m;

	if (bkey_extent_validate(a, g, NULL) || bkey_extent_validate(b, g, NULL)) /* nobody merges what was not judged */
		return;
	bkey_copy(&l.k, a);
	bkey_copy(&r.k, b);
	m = bkey_try_merge(&l.k, &r.k, g);
	switch (m) {
	case BKEY_MERGE_NONE:
		assert(!memcmp(&l.k, a, bkey_bytes(a)) && !memcmp(&r.k, b, bkey_bytes(b)));
		break;
	case BKEY_MERGE_FULL:
		assert(bkey_size(&l.k) == sum && bkey_offset(&l.k) == bkey_offset(b) && bkey_start(&l.k) == bkey_start(a));
		break;
	case BKEY_MERGE_PARTIAL:
		assert(bkey_size(&l.k) == BKEY_SIZE_MAX && bkey_size(&l.k) + bkey_size(&r.k) == sum);
		assert(bkey_start(&r.k) == bkey_offset(&l.k) && bkey_offset(&r.k) == bkey_offset(b));
		break;
	}
	/* Two possible keys do not become an impossible one. */
	if (m)
		assert(!bkey_extent_validate(&l.k, g, NULL) && (m == BKEY_MERGE_FULL || !bkey_extent_validate(&r.k, g, NULL)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { 0 };
	struct bkey_buf next;
	struct geometry g;
	char text[400];
	struct printbuf why = PRINTBUF(text);

	memcpy(&in, data, min(size, sizeof(in)));
	geometry_init(&g, 1, size & 1 ? 1u << 17 : 64, 4096, 2);
	for (int i = 0; i < 2; i++) {
		struct bkey_buf k;

		memcpy(&k, in.k[i], sizeof(k));
		bkey_to_text(&why, &k.k);
		ignore_result(bkey_node_validate(&k.k, &g, &why)); /* memory accesses only */
		if (bkey_walk_words(k.words, BKEY_WORDS_MAX) < 2 || bkey_ptrs(&k.k) > BKEY_PTRS_MAX)
			return 0;
		if (!bkey_extent_validate(&k.k, &g, &why) && bkey_size(&k.k)) {
			check_cut(&k.k, bpos(in.inode & BKEY_INODE_MAX, in.offset & BKEY_OFFSET_MAX));
			check_cut(&k.k, bpos(bkey_inode(&k.k), bkey_start(&k.k) + in.offset % (bkey_size(&k.k) + 1)));
		}
	}
	struct bkey_buf l, r;
	memcpy(&l, in.k[0], sizeof(l));
	memcpy(&r, in.k[1], sizeof(r));
	check_merge(&l.k, &r.k, &g);
	/* One that continues the first: merging should happen, and only within the bucket. */
	bkey_copy(&next.k, &l.k);
	bkey_set_size(&next.k, bkey_size(&r.k));
	next.k.low += bkey_size(&r.k);
	for (unsigned i = 0; i < bkey_ptrs(&next.k); i++)
		next.k.ptr[i] = ptr_add(next.k.ptr[i], bkey_size(&l.k));
	check_merge(&l.k, &next.k, &g);
	return 0;
}
