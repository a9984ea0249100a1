/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Another judge than ourselves: a world of a geometry that the kernel takes (world_options.for_kernel) ends in a power cut, and its disks are left as
 * files. Whoever else reads them has to find what the model allows; the same seed lives the same life, so the model need not be kept.
 */
#include "tests/sim/world.h"

/* DIR/cache.img, DIR/backing0.img, ... 0, or -1 with world_fail(). */
MUST_CHECK int verdict_leave(struct world *w, const char *dir);
/* DIR/dev0.img, ...: what somebody reads of each device, from its first byte to its last. */
MUST_CHECK int verdict_judge(struct world *w, const char *dir);
