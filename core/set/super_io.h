/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Writing a superblock so that power may go at any moment.
 *
 * There is only one copy, and its 4096 bytes may be torn between sectors. Everything that changes in normal life lies in the first sector, which
 * is written whole or not at all; only the first start of a cache changes the rest (the list of journal buckets). So the rest goes first, and is
 * durable before the first sector names it: with the old first sector the new rest is still valid, because the old checksum does not cover it.
 */
#include "formats/super.h"
struct blkdev;

/* Writes a private copy, sealed: s may change meanwhile. Durable when it returns 0 (R1.1, R1.6). */
FIBER_FN MUST_CHECK int super_write(struct blkdev *dev, struct super *s);
