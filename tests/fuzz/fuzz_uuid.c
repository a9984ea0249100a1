/* SPDX-License-Identifier: GPL-2.0-only */
/* A uuid table, of the old layout or the new. Input: bit 0 = old; the table, 32 slots. */
#include "tests/fuzz/fuzz.h"
#include "formats/text.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { NR = 32 };
	static char text[65536];
	struct printbuf pb = PRINTBUF(text);
	struct uuid_entry *u;
	char label[LABEL_BYTES + 1], uuid[37];
	uint8_t back[16];

	if (!size)
		return -1;
	u = calloc(NR, sizeof(*u));
	memcpy(u, data + 1, min(size - 1, NR * sizeof(*u)));
	if (data[0] & 1)
		uuid_table_upgrade(u, NR);
	for (uint32_t i = 0; i < NR; i++) {
		struct printbuf up = PRINTBUF(uuid);

		uuid_entry_to_text(&pb, i, &u[i]);
		label_to_text(u[i].label, label);
		assert(strlen(label) <= LABEL_BYTES);
		for (const char *c = label; *c; c++)
			assert((unsigned char)*c >= 0x20 && *c != 0x7f);
		pr_uuid(&up, u[i].uuid);
		assert(!uuid_parse(uuid, back) && !memcmp(back, u[i].uuid, 16));
		assert(!(data[0] & 1) || (!u[i].flags && !u[i].sectors));
		uuid_entry_invalidate(&u[i], 1);
		assert(uuid_entry_state(&u[i]) == UUID_SLOT_INVALID);
	}
	free(u);
	/* Text from outside. */
	if (size < 64) {
		char *t = calloc(1, size);

		memcpy(t, data + 1, size - 1);
		ignore_result(uuid_parse(t, back));
		free(t);
	}
	return 0;
}
