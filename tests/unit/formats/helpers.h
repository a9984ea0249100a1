/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What the tests of formats/ share: cmocka, a seeded generator, and the set of format.md Appendix B. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "formats/bset.h"
#include "formats/geometry.h"
#include "formats/printbuf.h"
#include <cmocka.h>

#define EXAMPLE_SET_MAGIC 0x8d4b536d9ca1f81aull

/* xorshift64*: the same numbers in every run, so a failure repeats. */
static inline uint64_t rnd(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ull;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return x * 0x2545f4914f6cdd1dull;
}
static inline uint64_t rnd_below(uint64_t n) { return rnd() % n; }
static inline void rnd_fill(void *p, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i++)
		((uint8_t *)p)[i] = (uint8_t)(rnd() >> 32);
}

/* A copy that ends where the heap block ends, so that sanitizers and valgrind see one byte too many. */
static inline void *tight_copy(const void *p, size_t len_bytes)
{
	void *copy = malloc(len_bytes ? len_bytes : 1);

	assert_non_null(copy);
	memcpy(copy, p, len_bytes);
	return copy;
}

static inline void flip_bit(void *p, size_t bit) { ((uint8_t *)p)[bit / 8] ^= (uint8_t)(1u << bit % 8); }

static inline void hex_bytes(const char *hex, uint8_t *out)
{
	unsigned byte;
	int n;

	for (; sscanf(hex, " %2x%n", &byte, &n) == 1; hex += n)
		*out++ = (uint8_t)byte;
}

static inline struct geometry example_geometry(void)
{
	struct geometry g;

	geometry_init(&g, 1, 8, 1024, 3);
	return g;
}

/* The result is as expected and the reason says so. */
static inline void assert_judged(int r, int expected, const char *why, const char *phrase)
{
	if (r != expected || !strstr(why, phrase))
		print_error("got %d \"%s\", need %d \"%s\"\n", r, why, expected, phrase);
	assert_int_equal(r, expected);
	assert_non_null(strstr(why, phrase));
}

/* Write a sealed version-1 set; returns its length. */
static inline size_t put_set(void *at, uint64_t set_magic, uint64_t seq, uint64_t node_ptr, const uint64_t *words,
			     uint32_t nr_words)
{
	struct bset *s = at;

	s->magic = bset_magic(set_magic);
	s->seq = seq;
	s->version = BSET_VERSION;
	s->nr_words = nr_words;
	if (nr_words)
		memcpy(s->words, words, nr_words * sizeof(*words));
	s->csum = bset_csum(s, node_ptr);
	return bset_bytes(s);
}
