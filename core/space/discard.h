/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Private to core/space: a bucket that is being discarded (discard.c). */
#include "core/io/blk.h"
struct cset;

struct bucket_discard {
	struct bio bio;
	struct cset *c;
	uint32_t bucket;
	bool busy;
};
