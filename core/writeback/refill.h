/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What to write back next: walks through the index that fill the keybuf, and that count (behaviour.md §8.3, §8.9).
 *
 * Normally the walk goes by LBA, from where the last one ended. If partial stripes are expensive, full stripes come first: rounds through
 * them, from the first to the last, alternate with one filling of the other kind, so that neither starves. Keys of full stripes are cut to
 * their stripe, so that a batch begins and ends with one.
 */
#include "core/engine/sync.h"

struct bdev;

enum refill_result { REFILL_SOME, REFILL_CLEAN };
/*
 * Fill the empty keybuf. REFILL_CLEAN: the whole device was looked at and nothing dirty was there; *ret_generation is from before that.
 * *ret_end: the end of the device was reached. Waits for btree nodes. Called by the writeback fiber.
 */
FIBER_FN MUST_CHECK int writeback_refill(struct bdev *d, uint64_t *ret_generation, bool *ret_end);

/*
 * Count the device's dirty sectors, all and by stripe. Others may write meanwhile: what changes in front of the walk is counted by it, what
 * changes behind it by writeback_account(). *ret_dirty is right only if nobody did. Waits for btree nodes.
 */
FIBER_FN MUST_CHECK int writeback_count(struct bdev *d, uint64_t *ret_dirty);
