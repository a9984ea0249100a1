/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Byte-granular entry (behaviour.md R0.2): any range of bytes becomes whole blocks.
 *
 * Whole blocks go through untouched, in the caller's memory. Others get a bounce buffer: a read rounds outward; a write reads the blocks
 * at its two edges, puts the bytes in and writes them all, under one hold of the range lock, so that writers of neighbouring bytes in
 * one block do not undo each other (I-25). Block = the set's block while there is one, else a sector. The ends of the device
 * need not lie on block boundaries: a last, shorter "block" is written as it is.
 *
 * A volume may be resized while a request waits to be let in, and not while it is in. So each request looks at the size twice: first for a quick
 * answer, and after request_begin() for the right one.
 */
#include "core/request/request.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include <stdlib.h>

static const struct bcf_io NOBODY = { .pid = 0 };

/* A byte range as sectors of key space, rounded outward. */
struct span {
	uint64_t start, end;
	uint64_t inner_start, inner_end; /* the whole blocks of it; empty when inner_start >= inner_end */
	size_t skip_bytes;		 /* from start to the first byte asked for */
	bool whole;			 /* nothing had to be rounded */
};

static struct span span_of(const struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	uint32_t block = d->set ? d->set->g.block_sectors : 1;
	uint64_t first = d->data_offset, last = d->data_offset + d->nr_sectors;
	uint64_t from_bytes = first * SECTOR_BYTES + offset_bytes, to_bytes = from_bytes + len_bytes;
	struct span s;

	s.start = max(first, round_down_u64(from_bytes / SECTOR_BYTES, block));
	s.end = min(last, round_up_u64(div_round_up_u64(to_bytes, SECTOR_BYTES), block));
	s.skip_bytes = from_bytes - s.start * SECTOR_BYTES;
	s.whole = !s.skip_bytes && to_bytes == s.end * SECTOR_BYTES;
	/* A cut-off block at an end of the device is whole when the range reaches that end. */
	s.inner_start = s.skip_bytes ? round_up_u64(s.start + 1, block) : s.start;
	s.inner_end = to_bytes == s.end * SECTOR_BYTES ? s.end : round_down_u64(s.end - 1, block);
	return s;
}

static size_t span_bytes(const struct span *s) { return (size_t)(s->end - s->start) * SECTOR_BYTES; }

static char *bounce_new(const struct span *s)
{
	void *p;

	return posix_memalign(&p, PAGE_BYTES, span_bytes(s)) ? NULL : p;
}

/* --- read ------------------------------------------------------------------------------------------------------------------ */

static int read_bytes(struct bdev *d, void *buf, size_t len, uint64_t offset, const struct bcf_io *io, enum io_path *path)
{
	struct span s = span_of(d, offset, len);
	char *bounce;
	int r;

	if (s.whole)
		return request_read(d, buf, s.start, s.end, io, path);
	bounce = bounce_new(&s);
	if (!bounce)
		return -ENOMEM;
	r = request_read(d, bounce, s.start, s.end, io, path);
	if (!r)
		memcpy(buf, bounce + s.skip_bytes, len);
	free(bounce);
	return r;
}

/* How much of the range lies on the device, as it is now. */
static uint64_t bytes_on_device(const struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	uint64_t size = bcf_dev_size_bytes(d);

	return offset_bytes >= size ? 0 : min(len_bytes, size - offset_bytes);
}

int64_t bcf_read(struct bdev *d, void *buf, size_t len_bytes, uint64_t offset_bytes, const struct bcf_io *io)
{
	enum io_path path = PATH_READ_BYPASS;
	uint64_t begin_ns;
	int r;

	if (!bytes_on_device(d, offset_bytes, len_bytes))
		return 0;
	begin_ns = account_begin(&d->account, IO_KIND_READ);
	r = request_begin(d, false);
	if (!r) {
		len_bytes = (size_t)bytes_on_device(d, offset_bytes, len_bytes);
		if (len_bytes)
			r = read_bytes(d, buf, len_bytes, offset_bytes, io ? io : &NOBODY, &path);
		request_end(d);
	}
	account_end(&d->account, path, len_bytes, begin_ns, r < 0); /* no wait since request_end(): d is still there */
	return r < 0 ? r : (int64_t)len_bytes;
}

/* --- write ----------------------------------------------------------------------------------------------------------------- */

/* Read what surrounds the new bytes in the first and the last block of the span. */
static int read_edges(struct bdev *d, const struct span *s, char *bounce, const struct bcf_io *io)
{
	int r = 0;

	if (s->inner_start >= s->inner_end) /* no whole block in between */
		return request_read(d, bounce, s->start, s->end, io, NULL);
	if (s->start < s->inner_start)
		r = request_read(d, bounce, s->start, s->inner_start, io, NULL);
	if (!r && s->inner_end < s->end)
		r = request_read(d, bounce + (s->inner_end - s->start) * SECTOR_BYTES, s->inner_end, s->end, io, NULL);
	return r;
}

/* Read-modify-write; buf == NULL writes zeros. Holds the range. */
static int write_edges(struct bdev *d, const struct span *s, const void *buf, size_t len, const struct bcf_io *io, enum io_path *path)
{
	char *bounce = bounce_new(s);
	int r;

	if (!bounce)
		return -ENOMEM;
	r = read_edges(d, s, bounce, io);
	if (!r) {
		if (buf)
			memcpy(bounce + s->skip_bytes, buf, len);
		else
			memset(bounce + s->skip_bytes, 0, len);
		r = request_write(d, bounce, s->start, s->end, io, path);
	}
	free(bounce);
	return r;
}

/* One write under one hold of the range. Waits for the range before anything else. */
static int write_in(struct bdev *d, const void *buf, size_t len, uint64_t offset, const struct bcf_io *io, enum io_path *path)
{
	struct span s = span_of(d, offset, len);
	struct range range;
	int r;

	range_acquire(&d->ranges, &range, s.start, s.end);
	if (d->io_disable)
		r = -EIO; /* it failed while we waited */
	else if (s.whole && buf)
		r = request_write(d, buf, s.start, s.end, io, path);
	else
		r = write_edges(d, &s, buf, len, io, path);
	range_release(&d->ranges, &range);
	return r;
}

/* -ENOSPC: not all of it lies on the device. */
static int write_bytes(struct bdev *d, const void *buf, size_t len, uint64_t offset, const struct bcf_io *io, enum io_path *path)
{
	int r = request_begin(d, true);

	if (r < 0)
		return r;
	r = bytes_on_device(d, offset, len) < len ? -ENOSPC : write_in(d, buf, len, offset, io, path);
	request_end(d);
	return r;
}

int64_t bcf_write(struct bdev *d, const void *buf, size_t len_bytes, uint64_t offset_bytes, const struct bcf_io *io)
{
	enum io_path path = PATH_WRITE_AROUND;
	uint64_t begin_ns;
	int r;

	if (bytes_on_device(d, offset_bytes, len_bytes) < len_bytes || offset_bytes > bcf_dev_size_bytes(d))
		return -ENOSPC;
	if (!len_bytes)
		return 0;
	begin_ns = account_begin(&d->account, IO_KIND_WRITE);
	r = write_bytes(d, buf, len_bytes, offset_bytes, io ? io : &NOBODY, &path);
	account_end(&d->account, path, len_bytes, begin_ns, r < 0);
	return r < 0 ? r : (int64_t)len_bytes;
}

/* --- zero, flush ----------------------------------------------------------------------------------------------------------- */

static int zero_in(struct bdev *d, uint64_t start, uint64_t end)
{
	struct range range;
	int r;

	range_acquire(&d->ranges, &range, start, end);
	r = d->io_disable ? -EIO : request_zero(d, start, end);
	range_release(&d->ranges, &range);
	return r;
}

/*
 * The range from its beginning on, as far as one hold of it may go: whole blocks by punching, what lies before the first of them or behind the last
 * by read-modify-write. Returns the bytes done.
 */
static int64_t zero_part(struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	uint64_t at_bytes = d->data_offset * SECTOR_BYTES + offset_bytes, end;
	struct span s = span_of(d, offset_bytes, len_bytes);
	bool blocks = s.inner_start < s.inner_end;
	enum io_path path;
	int r;

	if (blocks && !s.skip_bytes) {
		end = min(s.inner_end, round_up_u64(s.inner_start + 1, REQUEST_ZERO_SECTORS)); /* whole blocks, whatever a block is */
		r = zero_in(d, s.inner_start, end);
		return r < 0 ? r : (int64_t)((end - s.inner_start) * SECTOR_BYTES);
	}
	if (blocks)
		len_bytes = s.inner_start * SECTOR_BYTES - at_bytes;
	r = write_in(d, NULL, len_bytes, offset_bytes, &NOBODY, &path);
	return r < 0 ? r : (int64_t)len_bytes;
}

/* One part as a request of its own. 0: there is nothing before the end; what lies behind it is zero. */
static int64_t zero_some(struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	int64_t n = request_begin(d, true);

	if (n < 0)
		return n;
	len_bytes = bytes_on_device(d, offset_bytes, len_bytes);
	if (len_bytes)
		n = zero_part(d, offset_bytes, len_bytes);
	request_end(d);
	return n;
}

/*
 * In parts, so that no writer waits for a whole device; zeros have no order among themselves. Between two of them the device may get other blocks,
 * with a cache, or another size: each part looks for itself.
 */
static int zero_bytes(struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	while (len_bytes) {
		int64_t n = zero_some(d, offset_bytes, len_bytes);

		if (n <= 0)
			return (int)n;
		offset_bytes += (uint64_t)n;
		len_bytes -= (uint64_t)n;
	}
	return 0;
}

int bcf_zero(struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	uint64_t begin_ns;
	int r;

	len_bytes = bytes_on_device(d, offset_bytes, len_bytes);
	if (!len_bytes)
		return 0;
	begin_ns = account_begin(&d->account, IO_KIND_ZERO);
	r = zero_bytes(d, offset_bytes, len_bytes);
	account_end(&d->account, PATH_ZERO, len_bytes, begin_ns, r < 0);
	return r;
}

int bcf_flush(struct bdev *d)
{
	uint64_t begin_ns = account_begin(&d->account, IO_KIND_FLUSH);
	int r = request_begin(d, false);

	if (!r) {
		r = request_flush(d);
		request_end(d);
	}
	account_end(&d->account, PATH_FLUSH, 0, begin_ns, r < 0);
	return r;
}
