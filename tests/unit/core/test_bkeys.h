/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Shared by the tests of key sets: random numbers, a geometry, node images, checks that tell the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "core/btree/bkeys.h"
#include "formats/printbuf.h"

#define TEST_SET_MAGIC 0x1122334455667788ull
#define TEST_BLOCK_BYTES 512u

/* Number of seeds: TEST_SEEDS in the environment, else the default. */
static inline unsigned nr_seeds(unsigned usual)
{
	const char *s = getenv("TEST_SEEDS");

	return s ? (unsigned)strtoul(s, NULL, 0) : usual;
}

/* splitmix64 */
struct rng {
	uint64_t state;
};
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
static inline uint64_t rng_below(struct rng *r, uint64_t n) { return rng_next(r) % n; }
static inline bool rng_one_in(struct rng *r, unsigned n) { return rng_below(r, n) == 0; }

static inline struct geometry test_geometry(void)
{
	struct geometry g;

	geometry_init(&g, 1, 256, 4096, 1);
	return g;
}

static inline void *test_pages(size_t bytes)
{
	void *p = aligned_alloc(PAGE_BYTES, round_up_u64(bytes, PAGE_BYTES));

	assert_non_null(p);
	return p;
}

static inline void new_bkeys(struct bkeys *b, const struct geometry *g, uint32_t buf_bytes, bool leaf)
{
	void *buf = test_pages(buf_bytes);

	memset(buf, 0x5a, buf_bytes);
	assert_int_equal(bkeys_init(b, g, buf, buf_bytes, leaf), 0);
	/* As after many nodes: nothing may rely on zeroed arrays. */
	memset(b->line_pos, 0x07, buf_bytes / BKEYS_LINE_BYTES * 5);
}
static inline void free_bkeys(struct bkeys *b)
{
	free(b->buf);
	bkeys_release(b);
}

#define check_ok(b, seed) check_ok_at(b, seed, __FILE__, __LINE__)
static inline void check_ok_at(const struct bkeys *b, uint64_t seed, const char *file, int line)
{
	char text[400];
	struct printbuf why = PRINTBUF(text);

	if (bkeys_check(b, &why) < 0) {
		print_error("seed %llu: %s\n", (unsigned long long)seed, text);
		_fail(file, line);
	}
}

/* A node image, written like the log it is. */
struct image {
	char *bytes;
	uint32_t node_bytes, written_bytes;
	unsigned nr_sets;
	uint64_t seq;
	struct bkey_buf key;
};
static inline void image_init(struct image *im, uint32_t node_bytes, uint64_t seq)
{
	im->bytes = test_pages(node_bytes);
	memset(im->bytes, 0xee, node_bytes);
	im->node_bytes = node_bytes;
	im->written_bytes = 0;
	im->nr_sets = 0;
	im->seq = seq;
	bkey_init(&im->key.k, BKEY_INODE_MAX, BKEY_OFFSET_MAX, node_bytes / SECTOR_BYTES);
	bkey_set_ptrs(&im->key.k, 1);
	im->key.k.ptr[0] = ptr_make(0, 256, 1);
}
static inline void image_append(struct image *im, const struct bset *s)
{
	struct bset *to = (struct bset *)(im->bytes + im->written_bytes);

	assert_true(bset_bytes(s) <= im->node_bytes - im->written_bytes);
	memcpy(to, s, bset_bytes(s));
	to->magic = bset_magic(TEST_SET_MAGIC);
	to->seq = im->seq;
	to->version = BSET_VERSION;
	to->csum = bset_csum(to, im->key.k.ptr[0]);
	im->written_bytes += (uint32_t)round_up_u64(bset_bytes(s), TEST_BLOCK_BYTES);
	im->nr_sets++;
}
static inline struct node_view image_view(const struct image *im)
{
	return (struct node_view){ .image = im->bytes,
				   .node_bytes = im->node_bytes,
				   .block_bytes = TEST_BLOCK_BYTES,
				   .set_magic = TEST_SET_MAGIC,
				   .key = &im->key.k };
}
static inline void image_assert_valid(const struct image *im)
{
	struct node_view v = image_view(im);
	struct node_extent e;
	char text[400];
	struct printbuf why = PRINTBUF(text);

	if (node_validate(&v, false, &e, &why) < 0)
		fail_msg("%s", text);
	assert_int_equal(e.nr_sets, im->nr_sets);
	assert_int_equal(e.valid_bytes, im->written_bytes);
}
