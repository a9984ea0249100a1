/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Volumes: every devN file. All I/O is direct: the kernel keeps no pages, so our cache is the only one and a write is in it when the caller
 * hears of it. Buffers are the transport's; the fiber owns them until it has replied.
 */
#include <fcntl.h>
#include <linux/falloc.h>

#include "fuse/ops.h"

static struct bcf_io io_of(const struct request *rq)
{
	return (struct bcf_io){ .pid = rq->pid, .handle = (uintptr_t)rq->handle, .sync = rq->flags & O_DSYNC };
}
static_assert((O_SYNC & O_DSYNC) == O_DSYNC, "O_SYNC implies O_DSYNC");

void data_open(fuse_req_t req, struct tree_node *n, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct bdev *d = bcf_dev_find(s->bcf, n->path);
	struct handle *h;
	int r = d ? bcf_dev_open(d) : -ENXIO;

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	h = handle_new(s, HANDLE_DEV, n);
	if (!h) {
		bcf_dev_close(d);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	h->bdev = d;
	handle_reply_open(req, h, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_NOFLUSH);
}

static void read_fiber(struct request *rq)
{
	struct bcf_io io = io_of(rq);
	int64_t n = bcf_read(rq->handle->bdev, rq->payload, rq->len_bytes, rq->offset_bytes, &io);

	if (n < 0)
		fuse_reply_err(rq->req, (int)-n);
	else
		fuse_reply_buf(rq->req, rq->payload, (size_t)n);
}

void data_read(fuse_req_t req, struct handle *h, size_t len_bytes, off_t offset, struct fuse_file_info *fi)
{
	struct request *rq = request_start(session_of(req), req, len_bytes, read_fiber);

	if (!rq)
		return;
	rq->handle = h;
	rq->len_bytes = len_bytes;
	rq->offset_bytes = (uint64_t)offset;
	rq->flags = fi->flags;
}

static void write_fiber(struct request *rq)
{
	struct bcf_io io = io_of(rq);
	int64_t n = bcf_write(rq->handle->bdev, rq->payload, rq->len_bytes, rq->offset_bytes, &io);

	if (n < 0)
		fuse_reply_err(rq->req, (int)-n);
	else
		fuse_reply_write(rq->req, (size_t)n);
}

void data_write(fuse_req_t req, struct handle *h, const char *buf, size_t len_bytes, off_t offset, struct fuse_file_info *fi)
{
	struct request *rq = request_start(session_of(req), req, len_bytes, write_fiber);

	if (!rq)
		return;
	assert(buf == rq->payload); /* static_assert in api.h: the header is as long as we left room for it */
	rq->handle = h;
	rq->len_bytes = len_bytes;
	rq->offset_bytes = (uint64_t)offset;
	rq->flags = fi->flags;
}

static void fsync_fiber(struct request *rq)
{
	int r = bcf_flush(rq->handle->bdev);

	fuse_reply_err(rq->req, -r);
}

void data_fsync(fuse_req_t req, struct handle *h)
{
	struct request *rq = request_start(session_of(req), req, 0, fsync_fiber);

	if (rq)
		rq->handle = h;
}

static void zero_fiber(struct request *rq)
{
	int r = bcf_zero(rq->handle->bdev, rq->offset_bytes, rq->len_bytes);

	fuse_reply_err(rq->req, -r);
}

/* Like a block device: ranges can be zeroed; there is nothing to allocate and the size is fixed. */
static int fallocate_judge(uint64_t size_bytes, int mode, off_t offset, off_t len_bytes)
{
	off_t end;

	if (offset < 0 || len_bytes <= 0 || __builtin_add_overflow(offset, len_bytes, &end))
		return -EINVAL;
	if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) || mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
		return 0;
	if (mode == FALLOC_FL_ZERO_RANGE)
		return (uint64_t)end > size_bytes ? -ENOSPC : 0;
	return -EOPNOTSUPP;
}

void data_fallocate(fuse_req_t req, struct handle *h, int mode, off_t offset, off_t len_bytes)
{
	int r = fallocate_judge(bcf_dev_size_bytes(h->bdev), mode, offset, len_bytes);
	struct request *rq;

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	rq = request_start(session_of(req), req, 0, zero_fiber);
	if (!rq)
		return;
	rq->handle = h;
	rq->offset_bytes = (uint64_t)offset;
	rq->len_bytes = (size_t)len_bytes;
}

/*
 * The size is what it is. To "truncate" to it is no change. A size of 0 that comes by name is open(O_TRUNC), as in `dd of=dev0`, which block
 * devices ignore too; ftruncate(2) to another size fails as it does on a block device.
 */
int data_resize(uint64_t size_bytes, off_t new_size, bool by_handle)
{
	if ((uint64_t)new_size == size_bytes || (new_size == 0 && !by_handle))
		return 0;
	return -EINVAL;
}
