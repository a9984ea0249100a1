/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* The uuid table: which device owns which inode number (format.md §8). */
#include "formats/base.h"
struct printbuf;

#define LABEL_BYTES 32u
#define UUID_FLASH_ONLY 1u

struct uuid_entry {
	uint8_t uuid[16];
	char label[LABEL_BYTES]; /* no terminator when full */
	uint32_t first_reg;	 /* seconds since the epoch, like the next two */
	uint32_t last_reg;
	uint32_t invalidated;
	uint32_t flags;
	uint64_t sectors; /* flash-only volumes: their size */
	uint8_t pad[56];
};
static_assert(sizeof(struct uuid_entry) == 128, "format.md §8");

extern const uint8_t UUID_INVALIDATED[16];

enum uuid_state { UUID_SLOT_FREE, UUID_SLOT_CACHED, UUID_SLOT_FLASH, UUID_SLOT_INVALID };
enum uuid_state uuid_entry_state(const struct uuid_entry *u);
/* Turn a slot into an invalidated one, for ever (R1.3). */
void uuid_entry_invalidate(struct uuid_entry *u, uint32_t now_s);
/* Convert a table of 64-byte entries (jset version 0) in place; table has room for nr 128-byte entries. */
void uuid_table_upgrade(void *table, uint32_t nr);
/* Label as a C string in out[33]; stops at NUL, control characters become '?'. */
void label_to_text(const char label[LABEL_BYTES], char out[LABEL_BYTES + 1]);
