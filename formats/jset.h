/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* A journal entry (format.md §11.1). */
#include "formats/bkey.h"

#define JSET_VERSION 1u
#define JSET_MAGIC 0x245235c1a3625032ull
#define JSET_SEQ_MAX ((uint64_t)INT64_MAX) /* nobody gets there by counting; we count on, and must not wrap */

struct jset {
	uint64_t csum;
	uint64_t magic;
	uint64_t seq;
	uint32_t version;
	uint32_t nr_words;
	uint64_t last_seq; /* oldest entry that must still be replayed */
	struct bkey_buf uuid_bucket;
	struct bkey_buf btree_root;
	uint16_t btree_level;
	uint16_t pad[3];
	uint64_t prio_bucket[8];
	uint64_t words[];
};
static_assert(sizeof(struct jset) == 240, "format.md §11.1");
static_assert(offsetof(struct jset, btree_level) == 168, "format.md §11.1");

static inline size_t jset_bytes(const struct jset *j) { return sizeof(*j) + (size_t)j->nr_words * 8; }
static inline struct bkey *jset_first(const struct jset *j) { return (struct bkey *)j->words; }
static inline struct bkey *jset_end(const struct jset *j) { return (struct bkey *)(j->words + j->nr_words); }

uint64_t jset_csum(const struct jset *j);
/* Set magic, version and checksum: the entry is ready to be written. */
void jset_seal(struct jset *j, uint64_t set_magic);
/*
 * Judge the bytes at `j`. 0: an entry. -ENODATA: no entry starts here (magic differs). -EBADMSG / -EUCLEAN: a damaged or
 * torn one. All but 0 end the bucket for the parser (format.md §11.2).
 */
MUST_CHECK int jset_validate(const struct jset *j, size_t avail_bytes, uint64_t set_magic, struct printbuf *why);
