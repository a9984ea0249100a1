/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control files (control-files.md §1.4, §12). Text is made at every read of offset 0 and kept by the handle, so that a reader in small
 * pieces sees one instant; texts that may be huge come and are kept piece by piece. One write is one command, whatever its offset; nothing happens at close.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "fuse/ops.h"

/* --- opening and reading ---------------------------------------------------------------------------------------------- */

static int open_judge(struct session *s, const struct tree_node *n, int flags)
{
	struct bcf_ctl_entry entry;
	int r = n->kind == TREE_CTL_NODE ? bcf_ctl_lookup(s->bcf, tree_ctl_path(n->path), &entry) : -EISDIR;

	if (r < 0)
		return r;
	if (entry.kind != BCF_CTL_FILE)
		return entry.kind == BCF_CTL_DIR ? -EISDIR : -ELOOP;
	/* By what the file can do, not by its mode: root and a chmod pass the latter. */
	if ((flags & O_ACCMODE) != O_WRONLY && !(entry.mode & 0444))
		return -EACCES;
	if ((flags & O_ACCMODE) != O_RDONLY && !(entry.mode & 0222))
		return -EACCES;
	return 0;
}

void ctl_open(fuse_req_t req, struct tree_node *n, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int r = open_judge(s, n, fi->flags);
	struct handle *h = r == 0 ? handle_new(s, HANDLE_CTL, n) : NULL;

	if (!h)
		fuse_reply_err(req, r < 0 ? -r : ENOMEM);
	else
		handle_reply_open(req, h, FOPEN_DIRECT_IO); /* else the kernel would believe st_size, and cache */
}

/* What callers of system calls know how to read. */
static int errno_of(int r)
{
	return r == -ESHUTDOWN ? EBUSY : -r;
}

/* The next piece of text is built in the request's payload and kept at its true length. */
static int show(struct request *rq)
{
	struct handle *h = rq->handle;
	struct printbuf out = printbuf_over(rq->payload, min((size_t)BCF_CTL_TEXT_BYTES, (size_t)MAX_IO_BYTES));
	char *text;
	int r = bcf_ctl_show_piece(rq->session->bcf, tree_ctl_path(h->path), &h->next, &out);

	rq->touched_bytes = max(rq->touched_bytes, (uint32_t)out.len_bytes);
	if (r < 0)
		return r;
	text = realloc(h->text, out.len_bytes + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, rq->payload, out.len_bytes);
	h->text_offset += h->len_bytes;
	h->text = text;
	h->len_bytes = out.len_bytes;
	return 0;
}

/* Have the piece with offset, or the last one. Who goes back in a text of several pieces has it made anew from the start. */
static int show_at(struct request *rq)
{
	struct handle *h = rq->handle;
	int r = 0;

	if (rq->offset_bytes == 0 || !h->text || rq->offset_bytes < h->text_offset) {
		h->next = (struct bcf_ctl_cursor){ 0 };
		h->text_offset = h->len_bytes = 0;
		r = show(rq);
	}
	while (!r && h->next.more && rq->offset_bytes >= h->text_offset + h->len_bytes)
		r = show(rq);
	return r;
}

static void ctl_read_fiber(struct request *rq)
{
	struct handle *h = rq->handle;
	uint64_t from;
	int r;

	fmutex_lock(&h->text_lock);
	r = show_at(rq);
	if (r < 0) {
		fuse_reply_err(rq->req, errno_of(r));
	} else {
		from = min(rq->offset_bytes - h->text_offset, (uint64_t)h->len_bytes);
		fuse_reply_buf(rq->req, h->text + from, min(rq->len_bytes, h->len_bytes - (size_t)from));
	}
	fmutex_unlock(&h->text_lock);
}

void ctl_read(fuse_req_t req, struct handle *h, size_t len_bytes, off_t offset)
{
	struct request *rq = request_start(session_of(req), req, 0, ctl_read_fiber);

	if (!rq)
		return;
	rq->handle = h;
	rq->len_bytes = len_bytes;
	rq->offset_bytes = (uint64_t)offset;
}

/* --- writing ---------------------------------------------------------------------------------------------------------- */

struct stat_job {
	char path[BCF_CTL_STORE_BYTES + 1];
	uint64_t dev; /* 0: cannot be looked at */
};

static void stat_job_run(void *arg)
{
	struct stat_job *job = arg;
	struct stat st;

	job->dev = stat(job->path, &st) == 0 ? st.st_dev : 0;
}

/*
 * Does a command to register a device name one of our own files? The engine thread must not even look: the question would come
 * to itself, while it waits for the answer. So another thread looks, and we go on answering.
 */
static int check_not_ourselves(struct request *rq)
{
	const char *file = tree_ctl_path(rq->handle->path), *text = rq->payload;
	size_t from = 0, len = rq->len_bytes;
	struct stat_job *job;
	uint64_t dev;

	if (strcmp(file, "register") && strcmp(file, "register_quiet"))
		return 0;
	while (from < len && isspace((unsigned char)text[from]))
		from++;
	while (len > from && isspace((unsigned char)text[len - 1]))
		len--;
	job = calloc(1, sizeof(*job));
	if (!job)
		return -ENOMEM;
	memcpy(job->path, text + from, len - from);
	offload(stat_job_run, job);
	dev = job->dev;
	free(job);
	return dev == rq->session->dev ? -EDEADLK : 0;
}

static int store(struct request *rq)
{
	struct session *s = rq->session;
	int r = s->stopping ? -EBUSY : check_not_ourselves(rq);

	if (r == 0 && s->stopping)
		r = -EBUSY;
	return r < 0 ? r : bcf_ctl_store(s->bcf, tree_ctl_path(rq->handle->path), rq->payload, rq->len_bytes);
}

static void ctl_interrupted(fuse_req_t req, void *arg)
{
	struct request *rq = arg;

	if (rq->fiber)
		fiber_cancel(rq->fiber);
}

static void ctl_write_fiber(struct request *rq)
{
	struct session *s = rq->session;
	struct handle *h = rq->handle;
	struct tree_node *n;
	int r;

	rq->cancellable = true;
	fuse_req_interrupt_func(rq->req, ctl_interrupted, rq);
	r = store(rq);
	n = tree_find(s->tree, h->ino);
	if (r == 0 && n)
		n->mtime_s = time(NULL);
	rq->cancellable = false;
	if (r < 0)
		fuse_reply_err(rq->req, errno_of(r));
	else
		fuse_reply_write(rq->req, rq->len_bytes);
}

void ctl_write(fuse_req_t req, struct handle *h, const char *buf, size_t len_bytes)
{
	struct request *rq;

	if (len_bytes > BCF_CTL_STORE_BYTES) {
		fuse_reply_err(req, E2BIG);
		return;
	}
	rq = request_start(session_of(req), req, len_bytes, ctl_write_fiber);
	if (!rq)
		return;
	assert(buf == rq->payload);
	rq->handle = h;
	rq->len_bytes = len_bytes;
}
