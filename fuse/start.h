/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Bringing up the devices that were given on the command line or in the configuration.
 *
 * All or nothing: first every device is looked at (read only), so that a wrong path or kind is told before anything has changed;
 * then backing devices are registered, then caches, then tunables set. The first failure is one line in the log and ends the start.
 */
#include "core/admin/config.h"
#include "core/bcf.h"

/* Which kind of bcache device is this? Logs why it is none. */
MUST_CHECK int start_peek(const char *path, bool *ret_backing, uint8_t ret_set_uuid[16]);
/* Is every device there, of the kind that was said, given once, and not hidden by the mount point? */
MUST_CHECK int start_check(const struct config *c, const char *mountpoint);
/* -EINTR: cancelled. Logs every failure but that one. */
FIBER_FN MUST_CHECK int start_devices(struct bcf *b, const struct config *c);
