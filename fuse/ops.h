/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The operations behind the mount. ops.c: names, attributes, directories, and the table; ops_data.c: volumes; ops_ctl.c: control files.
 *
 * They are called on the engine's loop, outside any fiber, and either answer at once or continue with request_start(). An operation
 * whose kind of file differs is passed on by the handle's kind: fi->fh is a struct handle.
 */
#include "fuse/session.h"

enum handle_kind { HANDLE_DEV, HANDLE_CTL, HANDLE_DIR };

struct handle {
	struct list link; /* session->handles */
	enum handle_kind kind;
	uint64_t ino;
	struct bdev *bdev; /* HANDLE_DEV: opened */
	/*
	 * HANDLE_CTL: what was shown at the last read of offset 0, or the piece of it that begins at text_offset. HANDLE_DIR: the listing,
	 * "<type><name>\0" per entry.
	 */
	char *text;
	size_t len_bytes, cap_bytes;
	uint64_t text_offset;
	struct bcf_ctl_cursor next; /* HANDLE_CTL: the piece behind text */
	struct fmutex text_lock;    /* HANDLE_CTL: making text may wait, and several may read */
	char path[]; /* of the mount */
};

extern const struct fuse_lowlevel_ops session_ops;

static inline struct handle *handle_of(const struct fuse_file_info *fi) { return (struct handle *)(uintptr_t)fi->fh; }
struct handle *handle_new(struct session *s, enum handle_kind kind, const struct tree_node *n);
void handle_free(struct handle *h);
/* Answer OPEN with flags that libfuse 3.14 cannot express. Frees h when nobody is there any more to take it. */
void handle_reply_open(fuse_req_t req, struct handle *h, uint32_t open_flags);

void data_open(fuse_req_t req, struct tree_node *n, struct fuse_file_info *fi);
void data_read(fuse_req_t req, struct handle *h, size_t len_bytes, off_t offset, struct fuse_file_info *fi);
void data_write(fuse_req_t req, struct handle *h, const char *buf, size_t len_bytes, off_t offset, struct fuse_file_info *fi);
void data_fsync(fuse_req_t req, struct handle *h);
void data_fallocate(fuse_req_t req, struct handle *h, int mode, off_t offset, off_t len_bytes);
/* May a volume of this size be "set" to new_size? 0 or -errno. */
int data_resize(uint64_t size_bytes, off_t new_size, bool by_handle);

void ctl_open(fuse_req_t req, struct tree_node *n, struct fuse_file_info *fi);
void ctl_read(fuse_req_t req, struct handle *h, size_t len_bytes, off_t offset);
void ctl_write(fuse_req_t req, struct handle *h, const char *buf, size_t len_bytes);
