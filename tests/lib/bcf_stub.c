/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core's public face (core/bcf.h) over plain memory, so that the mount can be tested, and measured, without a cache behind it: what
 * goes wrong here is the transport's fault. `make build/bcache-fuse-stub`; tests/integration/fuse_stub.sh.
 *
 * There is dev0 from the start ($BCF_STUB_MIB MiB, default 64), and one more volume per registered device. Registering a path that
 * contains "slow" waits until it is cancelled; with $BCF_STUB_HANG flushes never end, with $BCF_STUB_HANG_WRITES writes; with
 * $BCF_STUB_STUCK it cannot be stopped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/bcf.h"

#define MAX_DEVS 8
#define BIG_TEXT_BYTES 300000

struct bdev {
	struct bcf *bcf;
	char name[BCF_DEV_NAME_BYTES];
	char *data;
	uint64_t size_bytes;
	unsigned nr_open;
	bool present;
	char cache_mode[32];
};

struct bcf {
	struct bcf_options options;
	struct bdev devs[MAX_DEVS];
	char last_error[256];
	unsigned nr_slow, nr_reads;
};

static struct bdev *dev_add(struct bcf *b)
{
	const char *mib = getenv("BCF_STUB_MIB");

	for (unsigned i = 0; i < MAX_DEVS; i++) {
		struct bdev *d = &b->devs[i];

		if (d->present || d->nr_open)
			continue;
		*d = (struct bdev){ .bcf = b, .size_bytes = MIB(mib ? strtoul(mib, NULL, 10) : 64), .cache_mode = "writethrough" };
		snprintf(d->name, sizeof(d->name), "dev%u", i);
		d->data = mmap(NULL, d->size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		assert(d->data != MAP_FAILED);
		d->present = true;
		if (b->options.devices_changed)
			b->options.devices_changed(b->options.ctx);
		return d;
	}
	return NULL;
}

int bcf_new(const struct bcf_options *o, struct bcf **ret)
{
	struct bcf *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	if (!getenv("BCF_STUB_EMPTY"))
		(void)dev_add(b);
	b->options = *o;
	*ret = b;
	return 0;
}

static void stuck(void *arg) { fiber_sleep_ns(3600 * NS_PER_S); }

int bcf_stop(struct bcf *b)
{
	if (getenv("BCF_STUB_STUCK"))
		return fiber_spawn_detached("stuck", stuck, NULL) < 0 ? -ENOMEM : -ETIMEDOUT;
	for (unsigned i = 0; i < MAX_DEVS; i++) {
		assert(!b->devs[i].nr_open);
		if (b->devs[i].data)
			munmap(b->devs[i].data, b->devs[i].size_bytes);
	}
	free(b);
	return 0;
}

int bcf_register(struct bcf *b, const char *path, bool quiet, struct printbuf *why)
{
	if (*path != '/') {
		pr(why, "register %s: path must be absolute", path);
		return -EINVAL;
	}
	if (strstr(path, "slow")) {
		int r = fiber_sleep_interruptible_ns(3600 * NS_PER_S);

		if (r < 0)
			return r;
	}
	return dev_add(b) ? 0 : -ENOSPC;
}

int bcf_startup_done(struct bcf *b, struct printbuf *why)
{
	if (!getenv("BCF_STUB_WAITING"))
		return 0;
	pr(why, "backing: waits for its cache set");
	return -ENODEV;
}

struct bdev *bcf_dev_nth(struct bcf *b, unsigned n)
{
	for (unsigned i = 0; i < MAX_DEVS; i++)
		if (b->devs[i].present && n-- == 0)
			return &b->devs[i];
	return NULL;
}

struct bdev *bcf_dev_find(struct bcf *b, const char *name)
{
	for (unsigned i = 0; i < MAX_DEVS; i++)
		if (b->devs[i].present && !strcmp(b->devs[i].name, name))
			return &b->devs[i];
	return NULL;
}

const char *bcf_dev_name(const struct bdev *d) { return d->name; }
uint64_t bcf_dev_size_bytes(const struct bdev *d) { return d->size_bytes; }
uint32_t bcf_dev_block_bytes(const struct bdev *d) { return 512; }
int bcf_dev_open(struct bdev *d) { return d->nr_open++ ? 0 : 0; }
void bcf_dev_close(struct bdev *d) { d->nr_open--; }

int64_t bcf_read(struct bdev *d, void *buf, size_t len_bytes, uint64_t offset_bytes, const struct bcf_io *io)
{
	if (offset_bytes >= d->size_bytes)
		return 0;
	len_bytes = min((uint64_t)len_bytes, d->size_bytes - offset_bytes);
	memcpy(buf, d->data + offset_bytes, len_bytes);
	return (int64_t)len_bytes;
}

int64_t bcf_write(struct bdev *d, const void *buf, size_t len_bytes, uint64_t offset_bytes, const struct bcf_io *io)
{
	if (offset_bytes > d->size_bytes || len_bytes > d->size_bytes - offset_bytes)
		return -ENOSPC;
	if (getenv("BCF_STUB_HANG_WRITES")) {
		fprintf(stderr, "this write hangs\n");
		fiber_sleep_ns(3600 * NS_PER_S);
	}
	memcpy(d->data + offset_bytes, buf, len_bytes);
	return (int64_t)len_bytes;
}

int bcf_flush(struct bdev *d)
{
	fiber_sleep_ns(getenv("BCF_STUB_HANG") ? 3600 * NS_PER_S : NS_PER_MS);
	return 0;
}

int bcf_zero(struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes)
{
	if (offset_bytes < d->size_bytes)
		memset(d->data + offset_bytes, 0, min(len_bytes, d->size_bytes - offset_bytes));
	return 0;
}

/* --- control tree ------------------------------------------------------------------------------------------------------ */

struct file {
	const char *name;
	enum bcf_ctl_kind kind;
	unsigned mode;
	const char *target;
};
static const struct file top_files[] = {
	{ "register", BCF_CTL_FILE, 0200, NULL },   { "last_error", BCF_CTL_FILE, 0444, NULL },
	{ "big", BCF_CTL_FILE, 0444, NULL },	    { "counter", BCF_CTL_FILE, 0444, NULL },
	{ "slow", BCF_CTL_FILE, 0200, NULL },	    { "status.json", BCF_CTL_FILE, 0444, NULL },
};
static const struct file dev_files[] = {
	{ "cache_mode", BCF_CTL_FILE, 0644, NULL }, { "running", BCF_CTL_FILE, 0644, NULL },
	{ "state", BCF_CTL_FILE, 0444, NULL },	    { "stop", BCF_CTL_FILE, 0200, NULL },
	{ "bcache", BCF_CTL_LINK, 0777, "." },	    { "dev", BCF_CTL_LINK, 0777, "../../" },
};

/* The device and the name of "dev0/name", "dev0"; a NULL device for files at the top. False: no such object. */
static bool split(struct bcf *b, const char *path, struct bdev **ret_dev, const char **ret_name)
{
	char top[BCF_CTL_PATH_BYTES];
	size_t len = strcspn(path, "/");

	snprintf(top, sizeof(top), "%.*s", (int)len, path);
	*ret_dev = bcf_dev_find(b, top);
	*ret_name = *ret_dev ? (path[len] ? path + len + 1 : "") : path;
	return *ret_dev || !path[len];
}

static const struct file *file_find(const struct file *files, size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (!strcmp(files[i].name, name))
			return &files[i];
	return NULL;
}

int bcf_ctl_lookup(struct bcf *b, const char *path, struct bcf_ctl_entry *ret)
{
	const struct file *f;
	const char *name;
	struct bdev *d;

	if (!split(b, path, &d, &name))
		return -ENOENT;
	*ret = (struct bcf_ctl_entry){ .kind = BCF_CTL_DIR, .mode = 0755 };
	if (!*name)
		return 0;
	f = d ? file_find(dev_files, ARRAY_SIZE(dev_files), name) : file_find(top_files, ARRAY_SIZE(top_files), name);
	if (!f)
		return -ENOENT;
	ret->kind = f->kind;
	ret->mode = f->mode;
	if (f->target)
		snprintf(ret->target, sizeof(ret->target), "%s%s", f->target, strcmp(name, "dev") ? "" : d->name);
	return 0;
}

int bcf_ctl_list(struct bcf *b, const char *path, bool (*fn)(void *ctx, const char *name, enum bcf_ctl_kind kind), void *ctx)
{
	struct bdev *d;
	const char *name;

	if (!split(b, path, &d, &name) || (*path && !d))
		return -ENOENT;
	if (*name)
		return -ENOTDIR;
	for (size_t i = 0; d && i < ARRAY_SIZE(dev_files); i++)
		if (!fn(ctx, dev_files[i].name, dev_files[i].kind))
			return 0;
	for (size_t i = 0; !d && i < ARRAY_SIZE(top_files); i++)
		if (!fn(ctx, top_files[i].name, top_files[i].kind))
			return 0;
	for (unsigned i = 0; !d && i < MAX_DEVS; i++)
		if (b->devs[i].present && !fn(ctx, b->devs[i].name, BCF_CTL_DIR))
			return 0;
	return 0;
}

int bcf_ctl_show_piece(struct bcf *b, const char *path, struct bcf_ctl_cursor *cur, struct printbuf *out)
{
	cur->more = false;
	const char *name;
	struct bdev *d;

	if (!split(b, path, &d, &name))
		return -ENODEV;
	if (d && !strcmp(name, "cache_mode"))
		pr(out, "%s\n", d->cache_mode);
	else if (d && !strcmp(name, "running"))
		pr(out, "1\n");
	else if (d && !strcmp(name, "state"))
		pr(out, "dirty\n");
	else if (!d && !strcmp(name, "last_error"))
		pr(out, "%s\n", b->last_error);
	else if (!d && !strcmp(name, "status.json"))
		pr(out, "{}\n");
	else if (!d && !strcmp(name, "counter"))
		pr(out, "%u\n", ++b->nr_reads);
	else if (!d && !strcmp(name, "big"))
		while (out->len_bytes < BIG_TEXT_BYTES)
			pr(out, "line %zu\n", out->len_bytes);
	else
		return -ENODEV;
	return 0;
}

static int store(struct bcf *b, struct bdev *d, const char *name, const char *text, struct printbuf *why)
{
	if (d && !strcmp(name, "cache_mode")) {
		if (strcmp(text, "writeback") && strcmp(text, "writethrough"))
			return -EINVAL;
		strcpy(d->cache_mode, text);
		return 0;
	}
	if (d && !strcmp(name, "stop")) {
		d->present = false;
		b->options.devices_changed(b->options.ctx);
		return 0;
	}
	if (!d && !strcmp(name, "register"))
		return bcf_register(b, text, false, why);
	if (!d && !strcmp(name, "slow"))
		return fiber_sleep_interruptible_ns(3600 * NS_PER_S);
	return -ENODEV;
}

int bcf_ctl_store(struct bcf *b, const char *path, const char *text, size_t len_bytes)
{
	char copy[BCF_CTL_STORE_BYTES + 1];
	struct printbuf why = PRINTBUF(b->last_error);
	const char *name;
	struct bdev *d;

	assert(len_bytes <= BCF_CTL_STORE_BYTES);
	memcpy(copy, text, len_bytes);
	copy[len_bytes] = '\0';
	copy[strcspn(copy, "\n")] = '\0';
	if (!split(b, path, &d, &name))
		return -ENODEV;
	printbuf_reset(&why);
	return store(b, d, name, copy, &why);
}
