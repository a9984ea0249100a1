/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Does a path lead into a file system that must not be asked?
 *
 * Why: the engine thread serves the mount, so any request it causes there waits for itself for ever; even stat() on a file below the
 * mount point does. So the path is walked one component at a time, and every step is judged by what the kernel has cached.
 * Not a FIBER_FN, but it may block on the file systems in front of that place, as opening the path would.
 */
#include "formats/base.h"

/* True if resolving path touches the file system with this st_dev. A path that cannot be resolved further is false. */
bool path_touches_dev(const char *path, uint64_t st_dev);
