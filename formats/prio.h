/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* prio_set buckets: the generation and priority of every bucket (format.md §7.2). */
#include "formats/base.h"
struct printbuf;

#define PRIO_MAGIC 0x6750e15f87337f91ull
#define PRIO_BTREE 65535u  /* metadata */
#define PRIO_INITIAL 32768u

struct prio_record {
	uint16_t prio;
	uint8_t gen;
} __attribute__((packed));
static_assert(sizeof(struct prio_record) == 3, "format.md §7.2");

struct prio_set {
	uint64_t csum;
	uint64_t magic;
	uint64_t seq;
	uint32_t version;
	uint32_t pad;
	uint64_t next_bucket; /* meaningless in the last element of a chain */
	struct prio_record records[];
};
static_assert(sizeof(struct prio_set) == 40, "format.md §7.2");

void prio_set_seal(struct prio_set *p, uint32_t meta_bytes, uint64_t set_magic);
/* 0, or -EBADMSG (magic or checksum). */
MUST_CHECK int prio_set_validate(const struct prio_set *p, uint32_t meta_bytes, uint64_t set_magic, struct printbuf *why);
