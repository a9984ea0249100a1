/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What looking up and inserting cost in a full leaf: 10,000 keys in a node of 256 KiB. Prints ns per operation.
 * Build: make build/tests/bench/bench_bkeys.o build/libcore.a build/libformats.a and link them (-lisal).
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "core/btree/bkeys.h"

#define NODE_BYTES ((uint32_t)KIB(256))
#define NR_KEYS 10000u
#define STRIDE 64u
#define NR_LOOKUPS 2000000u
/* 64 nodes do not fit the CPU's second-level cache: as cold as a working tree is. 1024 fit none. */
#define NR_NODES 1024u

static struct geometry geometry;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_key(struct bkey *k, uint64_t start, uint32_t size, uint8_t gen)
{
	bkey_init(k, 1, start + size, size);
	bkey_set_ptrs(k, 1);
	bkey_set_dirty(k, true);
	k->ptr[0] = ptr_make(0, 1024 + start * 3, gen);
}

static void new_node(struct bkeys *b)
{
	if (bkeys_init(b, &geometry, aligned_alloc(PAGE_BYTES, NODE_BYTES), NODE_BYTES, true) < 0)
		exit(1);
}

/* sets: 1 = one written set; 4 = three written ones and the open one, every fourth key in each. */
static void fill(struct bkeys *b, unsigned nr_sets)
{
	uint32_t offset_bytes = 0;

	bkeys_reset(b, true);
	for (unsigned set = 0; set < nr_sets; set++) {
		bkeys_open_set(b, offset_bytes, 0, 1);
		for (uint64_t i = set; i < NR_KEYS; i += nr_sets) {
			struct bkey *k = bset_end(bkeys_open(b)); /* in order: no need to search */

			make_key(k, i * STRIDE, STRIDE, 1);
			bkeys_open(b)->nr_words += bkey_words(k);
		}
		offset_bytes += (uint32_t)round_up_u64(bset_bytes(bkeys_open(b)), PAGE_BYTES);
		bkeys_close_set(b);
	}
}

static void bench_lookup(struct bkeys *nodes, unsigned nr_nodes, unsigned nr_sets)
{
	uint64_t random = 88172645463325252ull, sum = 0, start;

	for (unsigned i = 0; i < nr_nodes; i++)
		fill(&nodes[i], nr_sets);
	start = now_ns();
	for (unsigned i = 0; i < NR_LOOKUPS; i++) {
		uint64_t r = next_random(&random) + (sum & 1); /* the next waits for this one, as a lookup's user would */
		struct bkeys_iter it;

		bkeys_iter_init(&it, &nodes[r >> 40 & (nr_nodes - 1)], bpos(1, (r & 0xffffff) % (NR_KEYS * STRIDE)));
		sum += bkeys_iter_next(&it)->ptr[0];
	}
	printf("lookup, %u set%s, %4u nodes: %6.1f ns\n", nr_sets, nr_sets > 1 ? "s" : " ", nr_nodes,
	       (double)(now_ns() - start) / NR_LOOKUPS);
}

static void bench_scan(struct bkeys *b, unsigned nr_sets)
{
	uint64_t sum = 0, nr = 0, start;
	struct bkeys_iter it;
	const struct bkey *k;

	fill(b, nr_sets);
	start = now_ns();
	for (unsigned i = 0; i < 200; i++) {
		bkeys_iter_init_all(&it, b);
		for (; (k = bkeys_iter_next(&it)); nr++)
			sum += k->low;
	}
	printf("next, %u set%s: %5.1f ns (%u)\n", nr_sets, nr_sets > 1 ? "s" : " ", (double)(now_ns() - start) / (double)nr,
	       (unsigned)(sum & 1));
}

/* Overwrites of whole keys, up to a page of new keys over a full written set: what a leaf does between two writes. */
static void bench_insert(struct bkeys *b)
{
	uint64_t random = 88172645463325252ull, ns = 0, nr = 0;

	for (unsigned round = 0; round < 500; round++) {
		uint64_t start;

		fill(b, 1);
		bkeys_open_set(b, (uint32_t)KIB(244), 0, 1);
		start = now_ns();
		while (bkeys_open(b)->nr_words * 8 < PAGE_BYTES - 48 - BKEYS_INSERT_ROOM * 8) {
			struct bkey_buf k;

			make_key(&k.k, next_random(&random) % NR_KEYS * STRIDE, STRIDE, (uint8_t)next_random(&random));
			if (bkeys_insert_extent(b, &k.k, NULL, NULL) == BKEYS_COLLISION)
				exit(1);
			nr++;
		}
		ns += now_ns() - start;
	}
	printf("insert into a page of new keys: %5.1f ns\n", (double)ns / (double)nr);
}

static void bench_insert_unsorted(struct bkeys *b)
{
	uint64_t random = 88172645463325252ull, start = now_ns();
	unsigned nr = 0;

	bkeys_reset(b, true);
	bkeys_open_set(b, 0, 0, 1);
	for (; bkeys_room_words(b) >= BKEYS_INSERT_ROOM; nr++) {
		struct bkey_buf k;

		make_key(&k.k, next_random(&random) % (NR_KEYS * 64) * STRIDE, STRIDE, (uint8_t)next_random(&random));
		if (bkeys_insert_extent(b, &k.k, NULL, NULL) == BKEYS_COLLISION)
			exit(1);
	}
	printf("insert %u keys into an empty open set: %5.1f ns\n", nr, (double)(now_ns() - start) / nr);
}

static void bench_sort(struct bkeys *b, void *scratch)
{
	uint64_t ns = 0, index_ns = 0;

	for (unsigned i = 0; i < 200; i++) {
		uint64_t start;

		fill(b, 4);
		start = now_ns();
		bkeys_sort_full(b, scratch);
		ns += now_ns() - start;
		b->open = true;
		start = now_ns();
		bkeys_close_set(b);
		index_ns += now_ns() - start;
	}
	printf("merge 4 sets, all keys: %.1f us; index of one set: %.1f us\n", (double)ns / 200e3, (double)index_ns / 200e3);
}

/* 60 sets of a page, as appended one by one. */
static void bench_load(struct bkeys *b)
{
	char *image = aligned_alloc(PAGE_BYTES, NODE_BYTES);
	struct bkey_buf key;
	struct node_view v = { .image = image, .node_bytes = NODE_BYTES, .block_bytes = PAGE_BYTES, .key = &key.k };
	uint64_t random = 88172645463325252ull, start;

	for (unsigned set = 0; set < 60; set++) {
		struct bset *s = (struct bset *)(image + set * PAGE_BYTES);
		uint64_t at = 0;

		*s = (struct bset){ .seq = 1, .version = 1 };
		while (bset_bytes(s) + 24 <= PAGE_BYTES) {
			at += next_random(&random) % (NR_KEYS * STRIDE / 100);
			make_key(bset_end(s), at, STRIDE, (uint8_t)set);
			s->nr_words += 3;
			at += STRIDE;
		}
	}
	start = now_ns();
	for (unsigned i = 0; i < 100; i++)
		if (bkeys_load(b, &v, 60, NULL) < 0)
			exit(1);
	printf("load 60 overlapping sets, %u keys: %.1f us\n", b->sets[0].set->nr_words / 3, (double)(now_ns() - start) / 100e3);
	free(image);
}

int main(void)
{
	static struct bkeys nodes[NR_NODES];
	void *scratch = aligned_alloc(PAGE_BYTES, NODE_BYTES);

	geometry_init(&geometry, 8, 1024, 1 << 16, 1);
	for (unsigned i = 0; i < NR_NODES; i++)
		new_node(&nodes[i]);
	bench_lookup(nodes, 1, 1);
	bench_lookup(nodes, 1, 4);
	bench_lookup(nodes, 64, 1);
	bench_lookup(nodes, 64, 4);
	bench_lookup(nodes, NR_NODES, 1);
	bench_scan(nodes, 1);
	bench_scan(nodes, 4);
	bench_insert(nodes);
	bench_insert_unsorted(nodes);
	bench_sort(nodes, scratch);
	bench_load(nodes);
	return 0;
}
