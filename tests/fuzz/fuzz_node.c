/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A btree node: judged, loaded, checked, iterated, inserted into, sorted. As core/btree/node_io.c does it, keys are judged before they are loaded.
 *
 * Input: options (bit 0 = leaf, bit 1 = right magics and checksums, bits 2-3 = block of 1, 2, 4, 8 sectors, bit 4 = torn tails are fine),
 * number of inserts, the node's key (3 words), the image; inserts are taken from the end.
 */
#include "tests/fuzz/fuzz.h"
#include "core/btree/bkeys.h"
#include "formats/printbuf.h"
#include <stdio.h>
#include <stdlib.h>

#define MAGIC 0x1122334455667788ull
#define NODE_BYTES 8192u

static void repair(const struct node_view *v)
{
	uint32_t at = 0;

	while (at + sizeof(struct bset) <= v->node_bytes) {
		struct bset *s = (struct bset *)((char *)(uintptr_t)v->image + at);

		if (s->seq != node_set_at(v, 0)->seq || bset_bytes(s) > v->node_bytes - at)
			break;
		s->magic = bset_magic(MAGIC);
		s->csum = bset_csum(s, v->key->ptr[0]);
		at = node_next_set(v, at);
	}
}

static bool keys_fine(const struct node_view *v, unsigned nr_sets, bool leaf, const struct geometry *g)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < nr_sets; i++, at = node_next_set(v, at)) {
		const struct bset *s = node_set_at(v, at);

		for (const struct bkey *k = bset_first(s); k < bset_end(s); k = bkey_next(k))
			if ((!leaf && bkey_inode(k) && !bkey_offset(k)) || (leaf ? bkey_extent_validate(k, g, NULL) : bkey_node_validate(k, g, NULL)))
				return false;
	}
	return true;
}

static void walk(const struct bkeys *b, struct bpos bound)
{
	struct bkeys_iter it;
	struct bkey *k, *last = NULL;
	uint32_t words = 0;

	bkeys_iter_init_all(&it, b);
	while ((k = bkeys_iter_next(&it))) {
		assert(!last || bkey_cmp(last, k) <= 0);
		assert(bpos_cmp(bkey_pos(k), bound) <= 0);
		words += bkey_words(k);
		last = k;
	}
	assert(words == bkeys_total_words(b));
}

static void must_hold(const struct bkeys *b, struct bpos bound)
{
	char text[300];
	struct printbuf why = PRINTBUF(text);

	if (bkeys_check(b, &why) < 0) {
		fprintf(stderr, "fuzz: bkeys_check: %s\n", text);
		abort();
	}
	walk(b, bound);
}

static void insert(struct bkeys *b, const struct geometry *g, const uint8_t *from, struct bpos bound)
{
	struct bkey_buf k = { 0 };
	uint64_t words[3];

	memcpy(words, from, sizeof(words));
	bkey_init(&k.k, words[0] & 3, words[1] & 0xffff, words[0] >> 8 & 0x3ff);
	bkey_set_dirty(&k.k, b->leaf && words[0] >> 2 & 1);
	bkey_set_ptrs(&k.k, b->leaf ? words[0] >> 3 & 1 : 1);
	k.k.ptr[0] = ptr_make(0, words[2] & 0x7fff, words[0] >> 4 & 3);
	if (bpos_cmp(bkey_pos(&k.k), bound) > 0)
		return;
	if (b->leaf) {
		if (!bkey_size(&k.k) || bkey_extent_validate(&k.k, g, NULL))
			return;
		if (bkeys_room_words(b) >= BKEYS_INSERT_ROOM)
			ignore_result(bkeys_insert_extent(b, &k.k, NULL, NULL)); /* without REPLACE nothing can go wrong */
	} else {
		bkey_set_size(&k.k, 16);
		k.k.ptr[0] = ptr_make(0, words[2] & 0x7ff0, 1);
		if (!bkey_offset(&k.k) || bkey_node_validate(&k.k, g, NULL) || bkeys_room_words(b) < BKEY_WORDS_MAX)
			return;
		bkeys_insert_ptr(b, &k.k);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char image[NODE_BYTES] __attribute__((aligned(4096))), scratch[NODE_BYTES] __attribute__((aligned(4096)));
	char reason[400];
	struct printbuf why = PRINTBUF(reason);
	struct bkey_buf key = { 0 };
	struct geometry g;
	struct node_view v = { .image = image, .node_bytes = NODE_BYTES, .set_magic = MAGIC, .key = &key.k };
	struct node_extent e;
	struct bkeys b;
	unsigned nr;
	bool leaf;
	void *buf;

	if (size < 26)
		return -1;
	leaf = data[0] & 1;
	nr = data[1] & 31;
	v.block_bytes = SECTOR_BYTES << (data[0] >> 2 & 3);
	memcpy(key.words, data + 2, 24);
	bkey_set_ptrs(&key.k, 1);
	memset(image, 0, sizeof(image));
	memcpy(image, data + 26, min(size - 26, sizeof(image)));
	geometry_init(&g, v.block_bytes / SECTOR_BYTES, 16, 2048, 2);
	if (data[0] & 2)
		repair(&v);
	if (node_validate(&v, data[0] & 16, &e, &why) < 0) {
		assert(*reason);
		return 0;
	}
	assert(e.valid_bytes <= NODE_BYTES && (e.nr_sets || e.torn_tail));
	if (!e.nr_sets || !keys_fine(&v, e.nr_sets, leaf, &g))
		return 0;
	if (posix_memalign(&buf, PAGE_BYTES, NODE_BYTES) || bkeys_init(&b, &g, buf, NODE_BYTES, leaf))
		abort();
	if (bkeys_load(&b, &v, e.nr_sets, &why) < 0) {
		assert(*reason && !b.nr_sets);
	} else {
		struct bpos bound = bkey_pos(&key.k);

		must_hold(&b, bound);
		if (e.valid_bytes < NODE_BYTES)
			bkeys_open_set(&b, e.valid_bytes, bset_magic(MAGIC), 1);
		while (b.open && nr-- && size >= 26 + 24) {
			insert(&b, &g, data + size - 24, bound);
			size -= 24;
		}
		must_hold(&b, bound);
		if (b.open)
			bkeys_close_set(&b);
		bkeys_sort_lazy(&b, scratch);
		must_hold(&b, bound);
		bkeys_sort_full(&b, scratch);
		must_hold(&b, bound);
	}
	bkeys_release(&b);
	free(buf);
	return 0;
}
