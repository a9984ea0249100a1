/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Plain pread/pwrite, completing inside blk_submit(): tools and tests that need no engine loop. Same locks as blk_uring. */
#include "core/io/blk.h"
struct printbuf;
MUST_CHECK int blk_file_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why);
