/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* The one place where libfuse and the FUSE protocol come in. Written for libfuse 3.14. */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include <assert.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h> /* struct fuse_open_out, FOPEN_*: flags that libfuse 3.14 has no field for */

/* Bytes before the payload of a WRITE request: struct fuse_in_header and struct fuse_write_in. A READ request is as long. */
#define FUSE_WRITE_HEADER_BYTES 80
static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) == FUSE_WRITE_HEADER_BYTES, "payload alignment");
static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_read_in) == FUSE_WRITE_HEADER_BYTES, "replies overwrite requests");
