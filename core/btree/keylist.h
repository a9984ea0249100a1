/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Keys waiting to be inserted: a short run of packed keys, bounded by what one journal block holds (R6.1), so it lives on the stack. */
#include "formats/bkey.h"

#define KEYLIST_WORDS 512u /* a 4 KiB block; small blocks use less through max_words */

struct keylist {
	uint32_t nr_words;
	uint32_t max_words;
	uint64_t words[KEYLIST_WORDS];
};
static inline void keylist_init(struct keylist *l, uint32_t max_words)
{
	l->nr_words = 0;
	l->max_words = min(max_words, KEYLIST_WORDS);
}
static inline bool keylist_empty(const struct keylist *l) { return !l->nr_words; }
static inline bool keylist_has_room(const struct keylist *l, uint32_t words) { return l->nr_words + words <= l->max_words; }
static inline struct bkey *keylist_first(const struct keylist *l) { return (struct bkey *)l->words; }
static inline struct bkey *keylist_end(const struct keylist *l) { return (struct bkey *)(l->words + l->nr_words); }
static inline void keylist_push(struct keylist *l, const struct bkey *k)
{
	assert(keylist_has_room(l, bkey_words(k)));
	bkey_copy(keylist_end(l), k);
	l->nr_words += bkey_words(k);
}
#define keylist_for_each(k, l) for (struct bkey *k = keylist_first(l); k < keylist_end(l); k = bkey_next(k))
