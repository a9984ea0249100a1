/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Files and block devices on the engine's io_uring.
 *
 * O_DIRECT when the file takes it; otherwise buffered. Files on tmpfs/ramfs are read and written inline with pread/pwrite, which
 * measured twice as fast as io_uring's worker threads (fuse-transport.md, "what was learned" 7).
 * Exclusive: O_EXCL for block devices, an OFD write lock plus flock on files, so that two daemons, or a daemon and a tool, never have one device
 * open for writing together; readers (blk_file) take a shared lock and fail while a writer runs.
 */
#include "core/io/blk.h"

/* path must be absolute. -EBUSY: someone else has it. -ENOTBLK: neither a regular file nor a block device. why gets the sentence. */
struct printbuf;
MUST_CHECK int blk_uring_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why);
