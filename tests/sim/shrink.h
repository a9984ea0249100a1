/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The shrinker: from a world that fails, take away boots, clients and operations as long as it still fails.
 *
 * Delta debugging: halves, quarters, ... of what is left, then single operations. Power cuts are kept where they were relative to the operation
 * before them (script.h). When nothing can be taken away any more, the failing cut is also tried at neighbouring events, which often lets more go.
 */
#include "tests/sim/script.h"

struct shrinker {
	/* Live through it. True: it fails, and `recorded` says what was really done. */
	bool (*fails)(void *ctx, const struct script *s, struct script *recorded);
	void *ctx;
	unsigned runs, runs_max;
};

/* s: fails, and still does afterwards. */
void shrink(struct shrinker *x, struct script *s);
