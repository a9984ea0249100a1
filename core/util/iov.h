/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Walking scattered memory by byte position. */
#include "formats/base.h"
#include <sys/uio.h>

#define IOV_WINDOW_ENTRIES 1024	       /* IOV_MAX of Linux */
#define IOV_WINDOW_BYTES (1024u << 20) /* below the kernel's 2 GiB per call */

/* The part of a vector that one system call may take. */
struct iov_window {
	const struct iovec *iov; /* into the vector, or single */
	unsigned nr_iov;
	size_t len_bytes;
	struct iovec single;
};

/* What comes at skip_bytes. Memory-free: inside an item it is the rest of that item alone. A window points into itself: do not copy. */
void iov_window_at(struct iov_window *w, const struct iovec *iov, unsigned nr_iov, uint64_t skip_bytes);

uint64_t iov_len_bytes(const struct iovec *iov, unsigned nr_iov);
/* Copy between a flat buffer and bytes [skip, skip + len) of a vector. */
void iov_gather(void *to, const struct iovec *iov, unsigned nr_iov, uint64_t skip_bytes, size_t len_bytes);
void iov_scatter(const struct iovec *iov, unsigned nr_iov, uint64_t skip_bytes, const void *from, size_t len_bytes);
