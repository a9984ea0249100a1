/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/start.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/super.h"

#define WHY_BYTES 400
#define UUID_TEXT_BYTES 37

/* --- looking --------------------------------------------------------------------------------------------------------- */

static int read_super(const char *path, struct super *s)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
	struct stat st;
	ssize_t n;
	int r = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (S_ISDIR(st.st_mode))
		r = -EISDIR;
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		r = -ENOTBLK;
	if (r == 0) {
		n = pread(fd, s, sizeof(*s), (off_t)SUPER_SECTOR * SECTOR_BYTES);
		if (n != (ssize_t)sizeof(*s))
			r = n < 0 ? -errno : -ENODATA;
	}
	close(fd);
	return r;
}

int start_peek(const char *path, bool *ret_backing, uint8_t ret_set_uuid[16])
{
	const struct super_limits limits = { 0 };
	char text[WHY_BYTES] = "";
	struct printbuf why = PRINTBUF(text);
	struct super s;
	int r = read_super(path, &s);

	if (r < 0) {
		log_error("cannot use '%s': %s", path, r == -ENODATA ? "too small for a bcache device" : strerror(-r));
		return r;
	}
	r = super_validate(&s, &limits, &why);
	if (r < 0) {
		log_error("cannot use '%s': superblock: %s (is it a bcache device? bcachectl show tells)", path, text);
		return r;
	}
	*ret_backing = super_is_backing(&s);
	memcpy(ret_set_uuid, s.set_uuid, 16);
	return 0;
}

static int check_kind(const struct config_device *d)
{
	uint8_t set_uuid[16];
	bool backing;
	int r = start_peek(d->path, &backing, set_uuid);

	if (r < 0)
		return r;
	if (backing == d->backing)
		return 0;
	log_error("'%s' was given as a %s device, but it is a %s device", d->path, d->backing ? "backing" : "cache",
		  backing ? "backing" : "cache");
	return -EINVAL;
}

/* The mount would cover the device, and the engine would ask itself for it: a deadlock. */
static int check_not_covered(const struct config_device *d, const char *mountpoint)
{
	char *real = realpath(d->path, NULL);
	size_t len = strlen(mountpoint);
	bool covered = real && !strncmp(real, mountpoint, len) && (real[len] == '/' || !strcmp(mountpoint, "/"));

	free(real);
	if (!covered)
		return 0;
	log_error("'%s' lies below the mount point '%s', which would cover it: use another mount point", d->path, mountpoint);
	return -EDEADLK;
}

/* Under whatever name: a link to a file, two nodes of one block device. */
static bool same_device(const char *a, const char *b)
{
	struct stat x, y;

	if (stat(a, &x) < 0 || stat(b, &y) < 0)
		return !strcmp(a, b);
	if (S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode))
		return x.st_rdev == y.st_rdev;
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int check_given_once(const struct config *c, size_t i)
{
	const char *path = c->devices[i].path;

	for (size_t k = 0; k < i; k++) {
		if (!same_device(c->devices[k].path, path))
			continue;
		if (strcmp(c->devices[k].path, path))
			log_error("'%s' and '%s' are the same device", c->devices[k].path, path);
		else
			log_error("'%s' was given twice", path);
		return -EEXIST;
	}
	return 0;
}

int start_check(const struct config *c, const char *mountpoint)
{
	for (size_t i = 0; i < c->nr_devices; i++) {
		int r = check_given_once(c, i);

		if (r == 0)
			r = check_not_covered(&c->devices[i], mountpoint);
		if (r == 0)
			r = check_kind(&c->devices[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- control directories ----------------------------------------------------------------------------------------------- */

struct names {
	char (*names)[BCF_DEV_NAME_BYTES];
	size_t nr;
	bool failed;
};

static bool collect_dev(void *ctx, const char *name, enum bcf_ctl_kind kind)
{
	struct names *n = ctx;
	void *grown;

	if (kind != BCF_CTL_DIR || strncmp(name, "dev", 3) || strlen(name) >= BCF_DEV_NAME_BYTES)
		return true;
	grown = reallocarray(n->names, n->nr + 1, sizeof(*n->names));
	n->failed = !grown;
	if (n->failed)
		return false;
	n->names = grown;
	strcpy(n->names[n->nr++], name);
	return true;
}

static int list_devs(struct bcf *b, struct names *n)
{
	int r;

	*n = (struct names){ 0 };
	r = bcf_ctl_list(b, "", collect_dev, n);
	return n->failed ? -ENOMEM : r;
}

static bool names_contain(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->nr; i++)
		if (!strcmp(n->names[i], name))
			return true;
	return false;
}

/* The control directory that has come since `before`: that of the backing device just registered. */
static int find_new_dev(struct bcf *b, const struct names *before, char *name)
{
	struct names now;
	int r = list_devs(b, &now);

	if (r == 0) {
		r = -ENOENT;
		for (size_t i = 0; i < now.nr && r < 0; i++)
			if (!names_contain(before, now.names[i])) {
				strcpy(name, now.names[i]);
				r = 0;
			}
	}
	free(now.names);
	return r;
}

/* --- registering ------------------------------------------------------------------------------------------------------- */

static int register_device(struct bcf *b, const struct config_device *d)
{
	char text[WHY_BYTES] = "";
	struct printbuf why = PRINTBUF(text);
	int r = bcf_register(b, d->path, false, &why);

	if (r == 0 || r == -EINTR)
		return r;
	if (*text)
		log_error("cannot start: %s", text); /* it names the device */
	else
		log_error("cannot start with '%s': %s", d->path, strerror(-r));
	return r;
}

/* dir is the control directory that the tunables' names start from. */
static int set_tunables_once(struct bcf *b, const struct config_device *d, const char *dir)
{
	for (size_t i = 0; i < d->nr_tunables; i++) {
		const struct config_tunable *t = &d->tunables[i];
		char path[BCF_CTL_PATH_BYTES];
		int r;

		snprintf(path, sizeof(path), "%s/%s", dir, t->ctl_name);
		r = *t->text ? bcf_ctl_store(b, path, t->text, strlen(t->text)) : -EINVAL;
		if (r == -EINTR)
			return r;
		if (r < 0) {
			log_error("cannot set %s of '%s' to '%s': %s", t->ctl_name, d->path, t->text, strerror(-r));
			return r;
		}
	}
	return 0;
}

/* Some bound each other (low < mid < high), and the file may have them in any order: three in a chain are right after three times. */
static int set_tunables(struct bcf *b, const struct config_device *d, const char *dir)
{
	int r = 0;

	for (unsigned pass = 0; pass < 3 && r == 0; pass++)
		r = set_tunables_once(b, d, dir);
	return r;
}

/* Where a registered device's tunables are: the set's directory, or the device's own. */
static int register_cache(struct bcf *b, const struct config_device *d, char dir[UUID_TEXT_BYTES])
{
	struct printbuf out = printbuf_over(dir, UUID_TEXT_BYTES);
	uint8_t set_uuid[16];
	bool backing;
	int r = start_peek(d->path, &backing, set_uuid);

	if (r == 0)
		r = register_device(b, d);
	if (r == 0)
		pr_uuid(&out, set_uuid);
	return r;
}

static int register_backing(struct bcf *b, const struct config_device *d, char dir[UUID_TEXT_BYTES])
{
	struct names before;
	int r = list_devs(b, &before);

	if (r == 0)
		r = register_device(b, d);
	if (r == 0)
		r = find_new_dev(b, &before, dir);
	free(before.names);
	return r;
}
static_assert(BCF_DEV_NAME_BYTES <= UUID_TEXT_BYTES, "one array for both kinds of names");

static int startup_done(struct bcf *b)
{
	char text[WHY_BYTES] = "";
	struct printbuf why = PRINTBUF(text);
	int r = bcf_startup_done(b, &why);

	if (r < 0)
		log_error("cannot start: %s", *text ? text : strerror(-r));
	return r;
}

/* Backing devices first: a cache set that finds none of its own is then refused before anything is written (bcf.h). */
int start_devices(struct bcf *b, const struct config *c)
{
	char(*dirs)[UUID_TEXT_BYTES] = calloc(c->nr_devices + 1, sizeof(*dirs));
	int r = dirs ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->nr_devices && r == 0; i++)
		if (c->devices[i].backing)
			r = register_backing(b, &c->devices[i], dirs[i]);
	for (size_t i = 0; i < c->nr_devices && r == 0; i++)
		if (!c->devices[i].backing)
			r = register_cache(b, &c->devices[i], dirs[i]);
	if (r == 0)
		r = startup_done(b);
	/* Last, for some mean nothing to a device that is not attached yet. */
	for (size_t i = 0; i < c->nr_devices && r == 0; i++)
		r = set_tunables(b, &c->devices[i], dirs[i]);
	free(dirs);
	return r;
}
