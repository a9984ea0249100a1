/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/ops.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define DIR_REPLY_BYTES 8192u
#define CTL_SIZE_BYTES 4096 /* what every control file claims, as in sysfs (control-files.md §1.5) */

/* 0: names and attributes change under the kernel's feet, and asking us costs little. */
#define NAME_TIMEOUT_S 0.0

/* --- handles ---------------------------------------------------------------------------------------------------------- */

struct handle *handle_new(struct session *s, enum handle_kind kind, const struct tree_node *n)
{
	struct handle *h = calloc(1, sizeof(*h) + strlen(n->path) + 1);

	if (!h)
		return NULL;
	h->kind = kind;
	h->ino = n->ino;
	fmutex_init(&h->text_lock);
	strcpy(h->path, n->path);
	list_add(&s->handles, &h->link);
	return h;
}

void handle_free(struct handle *h)
{
	if (h->bdev)
		bcf_dev_close(h->bdev);
	list_del(&h->link);
	free(h->text);
	free(h);
}

void session_close_handles(struct session *s)
{
	struct handle *h, *next;

	list_for_each_safe(h, next, &s->handles, link)
		handle_free(h);
}

void handle_reply_open(fuse_req_t req, struct handle *h, uint32_t open_flags)
{
	struct fuse_open_out out = { .fh = (uintptr_t)h, .open_flags = open_flags };

	/* ENOENT: the opener was killed meanwhile; no RELEASE will come. */
	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)) == -ENOENT)
		handle_free(h);
}

/* --- attributes ------------------------------------------------------------------------------------------------------- */

static void attr_dev(struct bdev *d, struct stat *st)
{
	st->st_mode = S_IFREG | 0600;
	st->st_size = (off_t)bcf_dev_size_bytes(d);
	st->st_blocks = (blkcnt_t)(bcf_dev_size_bytes(d) / SECTOR_BYTES);
	st->st_blksize = (blksize_t)max(bcf_dev_block_bytes(d), PAGE_BYTES); /* stdio buffers are this long */
}

static int attr_ctl(struct session *s, const char *path, struct stat *st)
{
	struct bcf_ctl_entry entry;
	int r = bcf_ctl_lookup(s->bcf, tree_ctl_path(path), &entry);

	if (r < 0)
		return r;
	st->st_blksize = CTL_SIZE_BYTES;
	st->st_mode = entry.mode & 07777;
	switch (entry.kind) {
	case BCF_CTL_DIR:
		st->st_mode |= S_IFDIR;
		break;
	case BCF_CTL_FILE:
		st->st_mode |= S_IFREG;
		st->st_size = CTL_SIZE_BYTES;
		break;
	case BCF_CTL_LINK:
		st->st_mode |= S_IFLNK;
		st->st_size = (off_t)strlen(entry.target);
		break;
	}
	return 0;
}

/* A volume that is being stopped has no name any more, but those who have it open may still ask for its size. */
static struct bdev *find_open_dev(struct session *s, const struct tree_node *n)
{
	struct handle *h;

	list_for_each(h, &s->handles, link)
		if (h->bdev && h->ino == n->ino)
			return h->bdev;
	return NULL;
}

/* by_name: to answer a lookup; otherwise the kernel knows the inode already. */
static int attr_of(struct session *s, const struct tree_node *n, bool by_name, struct stat *st)
{
	struct bdev *d;
	int r;

	*st = (struct stat){ .st_ino = n->ino, .st_nlink = 1, .st_uid = s->uid, .st_gid = s->gid, .st_blksize = CTL_SIZE_BYTES };
	if (n->kind == TREE_ROOT) {
		st->st_mode = S_IFDIR | 0755;
	} else if (n->kind == TREE_CTL_NODE) {
		r = attr_ctl(s, n->path, st);
		if (r < 0)
			return r == -ENOENT && !by_name ? -ENODEV : r;
	} else {
		d = bcf_dev_find(s->bcf, n->path);
		if (!d && !by_name)
			d = find_open_dev(s, n);
		if (!d)
			return by_name ? -ENOENT : -ENODEV;
		attr_dev(d, st);
	}
	if (n->changed) {
		st->st_mode = (st->st_mode & S_IFMT) | n->mode;
		st->st_uid = n->uid;
		st->st_gid = n->gid;
	}
	st->st_mtime = n->mtime_s ? n->mtime_s : s->start_s;
	st->st_ctime = st->st_atime = st->st_mtime;
	return 0;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct tree_node *n = tree_find(s->tree, ino);
	struct stat st;
	int r = n ? attr_of(s, n, false, &st) : -ENOENT;

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, NAME_TIMEOUT_S);
}

/* A size given to a control file means nothing: shells truncate before they write (§1.4). */
static int check_size(const struct tree_node *n, const struct stat *now, off_t size, bool by_handle)
{
	if (S_ISDIR(now->st_mode))
		return -EISDIR;
	return n->kind == TREE_CTL_NODE ? 0 : data_resize((uint64_t)now->st_size, size, by_handle);
}

/* chmod and chown are kept in memory only. The kernel has checked that the caller may (default_permissions). */
static void change_attr(struct tree_node *n, const struct stat *now, const struct stat *to, int to_set)
{
	if (!(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		return;
	n->mode = to_set & FUSE_SET_ATTR_MODE ? to->st_mode & 0777 : now->st_mode & 07777;
	n->uid = to_set & FUSE_SET_ATTR_UID ? to->st_uid : now->st_uid;
	n->gid = to_set & FUSE_SET_ATTR_GID ? to->st_gid : now->st_gid;
	n->changed = true;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct tree_node *n = tree_find(s->tree, ino);
	struct stat st;
	int r = n ? attr_of(s, n, false, &st) : -ENOENT;

	if (r == 0 && to_set & FUSE_SET_ATTR_SIZE)
		r = check_size(n, &st, attr->st_size, fi != NULL);
	if (r == 0) {
		change_attr(n, &st, attr, to_set);
		r = attr_of(s, n, false, &st);
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, NAME_TIMEOUT_S);
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct session *s = session_of(req);
	struct fuse_entry_param e = { .attr_timeout = NAME_TIMEOUT_S, .entry_timeout = NAME_TIMEOUT_S };
	char path[TREE_PATH_BYTES];
	struct tree_node *n;
	int r = tree_join(s->tree, parent, name, path);

	if (r == 0 && tree_path_kind(path) == TREE_CTL_NODE && strlen(tree_ctl_path(path)) >= BCF_CTL_PATH_BYTES)
		r = -ENAMETOOLONG;
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	n = tree_node_get(s->tree, path);
	r = n ? attr_of(s, n, true, &e.attr) : -ENOMEM;
	if (r < 0) {
		if (n)
			tree_node_drop(s->tree, n);
		fuse_reply_err(req, -r);
		return;
	}
	e.ino = n->ino;
	e.generation = n->generation;
	tree_lookup_add(n);
	if (fuse_reply_entry(req, &e) == -ENOENT) /* the caller was killed: no FORGET will come */
		tree_forget(s->tree, n->ino, 1);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nr_lookups)
{
	tree_forget(session_of(req)->tree, ino, nr_lookups);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		tree_forget(session_of(req)->tree, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct session *s = session_of(req);
	struct tree_node *n = tree_find(s->tree, ino);
	struct bcf_ctl_entry entry;
	int r = n && n->kind == TREE_CTL_NODE ? bcf_ctl_lookup(s->bcf, tree_ctl_path(n->path), &entry) : -ENOENT;

	if (r == 0 && entry.kind != BCF_CTL_LINK)
		r = -EINVAL;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_readlink(req, entry.target);
}

/* Nothing can be made or removed by hand: what exists is what the core has. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	fuse_reply_err(req, EACCES);
}
static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) { fuse_reply_err(req, EPERM); }
static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) { fuse_reply_err(req, EPERM); }
static void op_remove(fuse_req_t req, fuse_ino_t parent, const char *name) { fuse_reply_err(req, EPERM); }
static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name) { fuse_reply_err(req, EPERM); }
static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name) { fuse_reply_err(req, EPERM); }
static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		      unsigned flags)
{
	fuse_reply_err(req, EPERM);
}

/* --- directories ------------------------------------------------------------------------------------------------------ */

static const char type_letters[] = { [BCF_CTL_DIR] = 'd', [BCF_CTL_FILE] = 'f', [BCF_CTL_LINK] = 'l' };

static bool listing_add(struct handle *h, const char *name, char type)
{
	size_t need = h->len_bytes + strlen(name) + 2;

	if (need > h->cap_bytes) {
		size_t cap = max(need, h->cap_bytes * 2 + 1024);
		char *text = realloc(h->text, cap);

		if (!text)
			return false;
		h->text = text;
		h->cap_bytes = cap;
	}
	h->text[h->len_bytes] = type;
	strcpy(h->text + h->len_bytes + 1, name);
	h->len_bytes = need;
	return true;
}

struct listing {
	struct handle *handle;
	bool failed;
};

static bool listing_add_ctl(void *ctx, const char *name, enum bcf_ctl_kind kind)
{
	struct listing *l = ctx;

	l->failed = !listing_add(l->handle, name, type_letters[kind]);
	return !l->failed;
}

/* A snapshot, so that entries neither repeat nor get lost while devices come and go. */
static int listing_make(struct session *s, struct handle *h)
{
	struct listing l = { .handle = h };
	struct bdev *d;
	int r = 0;

	h->len_bytes = 0;
	if (!listing_add(h, ".", 'd') || !listing_add(h, "..", 'd'))
		return -ENOMEM;
	if (tree_path_kind(h->path) == TREE_CTL_NODE) {
		r = bcf_ctl_list(s->bcf, tree_ctl_path(h->path), listing_add_ctl, &l);
	} else {
		l.failed = !listing_add(h, TREE_CTL, 'd');
		for (unsigned i = 0; !l.failed && (d = bcf_dev_nth(s->bcf, i)); i++)
			l.failed = !listing_add(h, bcf_dev_name(d), 'f');
	}
	return l.failed ? -ENOMEM : r;
}

static uint64_t entry_ino(const struct handle *h, const char *name)
{
	char path[TREE_PATH_BYTES];
	const char *slash = strrchr(h->path, '/');

	if (!strcmp(name, "."))
		return h->ino;
	if (!strcmp(name, ".."))
		snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - h->path) : 0, h->path);
	else
		snprintf(path, sizeof(path), "%s%s%s", h->path, *h->path ? "/" : "", name);
	return tree_ino_of(path);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct tree_node *n = tree_find(s->tree, ino);
	struct handle *h = n ? handle_new(s, HANDLE_DIR, n) : NULL;

	if (!h)
		fuse_reply_err(req, n ? ENOMEM : ENOENT);
	else
		handle_reply_open(req, h, 0);
}

/* Where the first entry at offset or behind it begins, or the end. lseek(2) can ask for any offset. */
static size_t listing_at(const struct handle *h, size_t offset)
{
	size_t at = 0;

	while (at < offset && at < h->len_bytes)
		at += strlen(h->text + at + 1) + 2;
	return at;
}

/* The offset of an entry is where the next one begins in the listing. */
static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	char reply[DIR_REPLY_BYTES];
	size_t at, len = 0;
	int r = offset == 0 || !h->text ? listing_make(session_of(req), h) : 0;

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	at = listing_at(h, (size_t)offset);
	size = min(size, sizeof(reply));
	while (at < h->len_bytes) {
		char type = h->text[at];
		const char *name = h->text + at + 1;
		size_t next = at + strlen(name) + 2;
		struct stat st = { .st_ino = entry_ino(h, name),
				   .st_mode = type == 'd' ? S_IFDIR : type == 'l' ? S_IFLNK : S_IFREG };
		size_t need = fuse_add_direntry(req, reply + len, size - len, name, &st, (off_t)next);

		if (need > size - len)
			break;
		len += need;
		at = next;
	}
	fuse_reply_buf(req, reply, len);
}

/* --- open files ------------------------------------------------------------------------------------------------------- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct tree_node *n = tree_find(session_of(req)->tree, ino);

	if (!n)
		fuse_reply_err(req, ENOENT);
	else if (n->kind == TREE_DEV)
		data_open(req, n, fi);
	else
		ctl_open(req, n, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	handle_free(handle_of(fi));
	fuse_reply_err(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);

	if (size > MAX_IO_BYTES || offset < 0)
		fuse_reply_err(req, EINVAL);
	else if (h->kind == HANDLE_DEV)
		data_read(req, h, size, offset, fi);
	else
		ctl_read(req, h, size, offset);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);

	if (size > MAX_IO_BYTES || offset < 0)
		fuse_reply_err(req, EINVAL);
	else if (h->kind == HANDLE_DEV)
		data_write(req, h, buf, size, offset, fi);
	else
		ctl_write(req, h, buf, size);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0); /* a write has happened when it was answered: nothing is left for close(2) */
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);

	if (h->kind == HANDLE_DEV)
		data_fsync(req, h);
	else
		fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);

	if (h->kind == HANDLE_DEV)
		data_fallocate(req, h, mode, offset, len);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { .f_bsize = PAGE_BYTES, .f_frsize = PAGE_BYTES, .f_namemax = NAME_MAX };

	fuse_reply_statfs(req, &st);
}

/* --- the table -------------------------------------------------------------------------------------------------------- */

static void op_init(void *ctx, struct fuse_conn_info *conn)
{
	/* Several requests per O_DIRECT call in flight: the largest single gain measured (fuse-transport.md). */
	conn->want |= conn->capable & FUSE_CAP_ASYNC_DIO;
	/*
	 * Off: the kernel's write-back cache would be a second one in front of ours; splice costs more than it saves; and an
	 * O_TRUNC that came inside OPEN would make the kernel believe that the volume is empty until it asks again.
	 */
	conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				  FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
	conn->max_write = MAX_IO_BYTES;
	conn->max_background = 512;
	conn->congestion_threshold = 384;
}

/* poll is left out on purpose: after one ENOSYS the kernel takes every file for ready and submits io_uring requests inline. */
const struct fuse_lowlevel_ops session_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.create = op_create,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_remove,
	.rmdir = op_remove,
	.symlink = op_symlink,
	.link = op_link,
	.rename = op_rename,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_release,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.statfs = op_statfs,
};
