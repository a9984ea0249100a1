/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* For core/space and the journal: telling the device about buckets that will be reused (discard.c). */
#include "core/io/blk.h"
struct cset;

struct bucket_discard {
	struct bio bio;
	struct cset *c;
	uint32_t bucket;
	bool busy;
};

/* The discard of bucket b ended with an error: counted, and logged once in a while. */
void discard_failed(struct cset *c, uint32_t b, int error);
