/* SPDX-License-Identifier: GPL-2.0-only */
/* A journal entry. Input: bit 0 = right magic and checksum, bit 1 = right length; the entry. */
#include "tests/fuzz/fuzz.h"
#include "formats/geometry.h"
#include "formats/text.h"
#include <stdlib.h>

#define MAGIC 0x1122334455667788ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[65536];
	char reason[300];
	struct printbuf pb = PRINTBUF(text), why = PRINTBUF(reason);
	struct geometry g;
	struct jset *j;
	size_t len;

	if (!size)
		return -1;
	len = size - 1;
	j = malloc(len ? len : 1); /* exactly: a byte too far is seen */
	memcpy(j, data + 1, len);
	if (data[0] & 1 && len >= sizeof(*j)) {
		j->magic = MAGIC ^ JSET_MAGIC;
		if (data[0] & 2)
			j->nr_words = min(j->nr_words, (uint32_t)((len - sizeof(*j)) / 8));
		if (jset_bytes(j) <= len)
			j->csum = jset_csum(j);
	}
	geometry_init(&g, 1, 16, 2048, 2);
	if (jset_validate(j, len, MAGIC, &why) == 0) {
		uint32_t words = 0;

		jset_to_text(&pb, j);
		for (const struct bkey *k = jset_first(j); k < jset_end(j); k = bkey_next(k)) {
			words += bkey_words(k);
			if (!bkey_journal_validate(k, &g, &why))
				assert(bkey_size(k) && bkey_start(k) < bkey_offset(k));
		}
		assert(words == j->nr_words && j->last_seq && j->last_seq <= j->seq);
		ignore_result(bkey_node_validate(&j->uuid_bucket.k, &g, &why)); /* only its memory accesses matter */
		ignore_result(bkey_node_validate(&j->btree_root.k, &g, &why));
	} else {
		assert(*reason);
	}
	free(j);
	return 0;
}
