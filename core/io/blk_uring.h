/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Files and block devices on the engine's io_uring.
 *
 * O_DIRECT when the file takes it in sectors; otherwise buffered. A block device is always direct if it can be, and reports what it
 * demands in logical_block_bytes; requests finer than that work (contract 1) by read-modify-write, one at a time and with no other
 * write beside them, so upper layers should avoid or refuse them. Misaligned memory is bounced through a small pool.
 * Files on tmpfs/ramfs are read and written inline with pread/pwrite, which measured twice as fast as io_uring's worker threads
 * (fuse-transport.md, "what was learned" 7).
 * Exclusive: O_EXCL for block devices, an OFD write lock plus flock on files, so that two daemons, or a daemon and a tool, never have one device
 * open for writing together; read-only opens (here and in blk_file) take shared locks and fail while a writer runs. The locks belong
 * to the open file: a second open within one process conflicts as well.
 */
#include "core/io/blk.h"

/* path must be absolute. -EBUSY: someone else has it. -ENOTBLK: neither a regular file nor a block device. why gets the sentence. */
struct printbuf;
MUST_CHECK int blk_uring_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why);
/*
 * For tests: behave as if the device took only such blocks, and memory aligned to them; SECTOR_BYTES: as if it were an ordinary
 * buffered file (also one on tmpfs). No I/O may be in flight.
 */
void blk_uring_pretend_block_bytes(struct blkdev *dev, uint32_t block_bytes);
