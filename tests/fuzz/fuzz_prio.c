/* SPDX-License-Identifier: GPL-2.0-only */
/* A prio set of a page. Input: bit 0 = seal it; the set. */
#include "tests/fuzz/fuzz.h"
#include "formats/text.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[4096];
	char reason[200];
	struct printbuf pb = PRINTBUF(text), why = PRINTBUF(reason);
	struct prio_set *p;
	int r;

	if (!size)
		return -1;
	p = calloc(1, PAGE_BYTES);
	memcpy(p, data + 1, min(size - 1, (size_t)PAGE_BYTES));
	if (data[0] & 1)
		prio_set_seal(p, PAGE_BYTES, 7);
	prio_set_to_text(&pb, p);
	r = prio_set_validate(p, PAGE_BYTES, 7, &why);
	assert(r < 0 ? *reason != 0 : data[0] & 1 || p->magic == (7 ^ PRIO_MAGIC));
	if (!r) { /* each bit counts */
		((uint8_t *)p)[8 + data[0] * 15u] ^= 1;
		assert(prio_set_validate(p, PAGE_BYTES, 7, NULL) < 0);
	}
	free(p);
	return 0;
}
