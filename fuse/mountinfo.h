/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What is mounted where, from /proc/self/mountinfo: the only way to ask about a mount without touching it. */
#include "formats/base.h"

/* Is the topmost mount at exactly this absolute path of this type ("fuse.bcache-fuse")? False when in doubt. */
bool mountinfo_top_is(const char *path, const char *type);
/* Judge one line: 1 = a mount at path of type, 0 = at path but of another type, -ENOENT = elsewhere or not understood. */
MUST_CHECK int mountinfo_line_judge(const char *line, const char *path, const char *type);
