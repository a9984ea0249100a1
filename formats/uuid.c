/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/uuid.h"
#include "formats/printbuf.h"

const uint8_t UUID_INVALIDATED[16] = { 0xa0, 0x3e, 0xf8, 0xed, 0x3e, 0xe1, 0xb8, 0x78,
				       0xc8, 0x50, 0xfc, 0x5e, 0xcb, 0x16, 0xcd, 0x99 };

/* The entry of jset version 0. Its members are where the first ones of today's entry are. */
struct uuid_entry_v0 {
	uint8_t uuid[16];
	char label[LABEL_BYTES];
	uint32_t first_reg;
	uint32_t last_reg;
	uint32_t invalidated;
	uint32_t pad;
};
static_assert(sizeof(struct uuid_entry_v0) == 64, "format.md §8");
static_assert(offsetof(struct uuid_entry_v0, pad) == offsetof(struct uuid_entry, flags), "format.md §8");

enum uuid_state uuid_entry_state(const struct uuid_entry *u)
{
	if (uuid_is_zero(u->uuid))
		return UUID_SLOT_FREE;
	if (!memcmp(u->uuid, UUID_INVALIDATED, sizeof(u->uuid)))
		return UUID_SLOT_INVALID;
	return u->flags & UUID_FLASH_ONLY ? UUID_SLOT_FLASH : UUID_SLOT_CACHED;
}

void uuid_entry_invalidate(struct uuid_entry *u, uint32_t now_s)
{
	memcpy(u->uuid, UUID_INVALIDATED, sizeof(u->uuid));
	u->flags &= ~UUID_FLASH_ONLY;
	u->invalidated = now_s;
}

void uuid_table_upgrade(void *table, uint32_t nr)
{
	char *base = table;

	/* Backwards, because a new entry lies where later old ones were. */
	for (uint32_t i = nr; i-- > 0;) {
		struct uuid_entry u = { 0 };

		memcpy(&u, base + (size_t)i * sizeof(struct uuid_entry_v0), offsetof(struct uuid_entry_v0, pad));
		memcpy(base + (size_t)i * sizeof(u), &u, sizeof(u));
	}
}

void label_to_text(const char label[LABEL_BYTES], char out[LABEL_BYTES + 1])
{
	unsigned len = 0;

	for (; len < LABEL_BYTES && label[len]; len++) {
		unsigned char c = (unsigned char)label[len];
		out[len] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	out[len] = '\0';
}
