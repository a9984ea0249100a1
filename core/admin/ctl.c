/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/ctl.h"

#include <stdarg.h>
#include <stdio.h>

/* --- enumerating --------------------------------------------------------------------------------------------------------- */

/* Tell about one entry of a directory; false ends it. */
struct visit {
	bool (*fn)(struct visit *v, const char *name, const struct ctl_node *child);
	bool ended;
};

static void tell(struct visit *v, const char *name, const struct ctl_node *child)
{
	if (!v->ended)
		v->ended = !v->fn(v, name, child);
}

static void tell_link(struct visit *v, const struct ctl_node *dir, const char *name, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void tell_link(struct visit *v, const struct ctl_node *dir, const char *name, const char *fmt, ...)
{
	struct ctl_node child = { .kind = BCF_CTL_LINK, .dir = dir->dir, .object = dir->object };
	va_list args;

	va_start(args, fmt);
	vsnprintf(child.target, sizeof(child.target), fmt, args);
	va_end(args);
	tell(v, name, &child);
}

static void tell_dir(struct visit *v, const char *name, enum attr_dir dir, const struct attr_object *o)
{
	struct ctl_node child = { .kind = BCF_CTL_DIR, .dir = dir, .object = *o };

	tell(v, name, &child);
}

static void visit_files(const struct ctl_node *dir, struct visit *v)
{
	const struct attr_table *t = attr_table(dir->dir);
	struct ctl_node child = { .kind = BCF_CTL_FILE, .dir = dir->dir, .object = dir->object };

	for (size_t i = 0; i < t->nr && !v->ended; i++) {
		child.attr = &t->attrs[i];
		tell(v, child.attr->name, &child);
	}
}

static void visit_stats(const struct ctl_node *dir, struct visit *v, const struct stats *stats)
{
	static const char *const names[STAT_PERIODS] = { "stats_total", "stats_five_minute", "stats_hour", "stats_day" };
	struct attr_object o = dir->object;

	o.stats = stats;
	for (unsigned p = 0; p < STAT_PERIODS; p++) {
		o.period = p;
		tell_dir(v, names[p], ATTR_DIR_STATS, &o);
	}
}

/* A set on its way up has no tree yet; a device on its way down has none any more (control-files.md §12.5). */
bool ctl_set_visible(const struct cset *c)
{
	return c->state != CSET_STARTING;
}

bool ctl_bdev_visible(const struct bdev *d)
{
	return !d->closing && (d->super || d->set);
}

static const struct cset *visible_set(const struct bdev *d)
{
	return d->set && ctl_set_visible(d->set) ? d->set : NULL;
}

static void visit_root(const struct ctl_node *dir, struct visit *v)
{
	struct attr_object o = dir->object;

	list_for_each(o.c, &o.b->csets, link)
		if (ctl_set_visible(o.c))
			tell_dir(v, o.c->uuid_text, ATTR_DIR_SET, &o);
	o.c = NULL;
	list_for_each(o.d, &o.b->bdevs, link) {
		if (!ctl_bdev_visible(o.d))
			continue;
		o.c = o.d->set;
		tell_dir(v, o.d->name, bdev_is_flash(o.d) ? ATTR_DIR_VOLUME : ATTR_DIR_BDEV, &o);
	}
	tell_dir(v, "by", ATTR_DIR_BY, &dir->object);
}

static void visit_device(const struct ctl_node *dir, struct visit *v)
{
	const struct bdev *d = dir->object.d;

	if (visible_set(d))
		tell_link(v, dir, "cache", "../%s", d->set->uuid_text);
	if (d->running)
		tell_link(v, dir, "dev", "../../%s", d->name);
	tell_link(v, dir, "bcache", ".");
	if (!bdev_is_flash(d))
		visit_stats(dir, v, &d->stats);
}

static void visit_set(const struct ctl_node *dir, struct visit *v)
{
	const struct cset *c = dir->object.c;
	const struct bdev *d;
	char name[32];

	tell_dir(v, "cache0", ATTR_DIR_CACHE, &dir->object);
	tell_dir(v, "internal", ATTR_DIR_INTERNAL, &dir->object);
	list_for_each(d, &dir->object.b->bdevs, link) {
		if (d->set != c || !ctl_bdev_visible(d))
			continue;
		snprintf(name, sizeof(name), "%s%u", bdev_is_flash(d) ? "volume" : "bdev", d->inode);
		/* Two components and /<name>/bcache at the end: telegraf takes the device's name from there. */
		tell_link(v, dir, name, "../%s/bcache", d->name);
	}
	visit_stats(dir, v, &c->stats);
}

static void visit_by_uuid(const struct ctl_node *dir, struct visit *v)
{
	const struct bdev *d;
	char name[40];

	list_for_each(d, &dir->object.b->bdevs, link) {
		struct printbuf pb = PRINTBUF(name);

		if (!ctl_bdev_visible(d))
			continue;
		pr_uuid(&pb, attr_bdev_uuid(d));
		tell_link(v, dir, name, "../../%s", d->name);
	}
}

static bool is_file_name(const char *label)
{
	return label[0] && !strchr(label, '/') && strcmp(label, ".") && strcmp(label, "..");
}

static unsigned nr_with_label(struct bcf *b, const char *label)
{
	char other[LABEL_BYTES + 1];
	const struct bdev *d;
	unsigned n = 0;

	list_for_each(d, &b->bdevs, link) {
		attr_bdev_label(d, other);
		n += ctl_bdev_visible(d) && !strcmp(label, other);
	}
	return n;
}

static void visit_by_label(const struct ctl_node *dir, struct visit *v)
{
	char label[LABEL_BYTES + 1];
	const struct bdev *d;

	list_for_each(d, &dir->object.b->bdevs, link) {
		attr_bdev_label(d, label);
		if (ctl_bdev_visible(d) && is_file_name(label) && nr_with_label(dir->object.b, label) == 1)
			tell_link(v, dir, label, "../../%s", d->name);
	}
}

static void visit_dir(const struct ctl_node *dir, struct visit *v)
{
	visit_files(dir, v);
	switch (dir->dir) {
	case ATTR_DIR_ROOT:
		visit_root(dir, v);
		break;
	case ATTR_DIR_BDEV:
	case ATTR_DIR_VOLUME:
		visit_device(dir, v);
		break;
	case ATTR_DIR_SET:
		visit_set(dir, v);
		break;
	case ATTR_DIR_CACHE:
		tell_link(v, dir, "set", "..");
		break;
	case ATTR_DIR_BY:
		tell_dir(v, "uuid", ATTR_DIR_BY_UUID, &dir->object);
		tell_dir(v, "label", ATTR_DIR_BY_LABEL, &dir->object);
		break;
	case ATTR_DIR_BY_UUID:
		visit_by_uuid(dir, v);
		break;
	case ATTR_DIR_BY_LABEL:
		visit_by_label(dir, v);
		break;
	default:
		break;
	}
}

/* --- resolving ----------------------------------------------------------------------------------------------------------- */

struct find {
	struct visit v;
	const char *name;
	size_t len;
	struct ctl_node *ret;
};

static bool find_fn(struct visit *v, const char *name, const struct ctl_node *child)
{
	struct find *f = container_of(v, struct find, v);

	if (strlen(name) != f->len || memcmp(name, f->name, f->len))
		return true;
	*f->ret = *child;
	return false;
}

/* From a directory to its child; dir and *ret may be the same. */
static int step(const struct ctl_node *dir, const char *name, size_t len, struct ctl_node *ret)
{
	struct ctl_node here = *dir;
	struct find f = { .v.fn = find_fn, .name = name, .len = len, .ret = ret };

	if (here.kind != BCF_CTL_DIR)
		return -ENOTDIR;
	visit_dir(&here, &f.v);
	return f.v.ended ? 0 : -ENOENT;
}

int ctl_resolve(struct bcf *b, const char *path, struct ctl_node *ret)
{
	struct ctl_node n = { .kind = BCF_CTL_DIR, .dir = ATTR_DIR_ROOT, .object.b = b };

	while (*path) {
		size_t len = strcspn(path, "/");
		int r = step(&n, path, len, &n);

		if (r < 0)
			return r;
		path += len;
		if (*path == '/' && !*++path)
			return -ENOENT; /* our paths do not end in a slash */
	}
	*ret = n;
	return 0;
}

/* --- the calls of bcf.h -------------------------------------------------------------------------------------------------- */

int bcf_ctl_lookup(struct bcf *b, const char *path, struct bcf_ctl_entry *ret)
{
	struct ctl_node n;
	int r = ctl_resolve(b, path, &n);

	if (r < 0)
		return r;
	ret->kind = n.kind;
	ret->mode = n.kind == BCF_CTL_DIR ? 0755 : n.kind == BCF_CTL_LINK ? 0777 : n.attr->mode;
	memcpy(ret->target, n.target, sizeof(ret->target));
	return 0;
}

struct lister {
	struct visit v;
	bool (*fn)(void *ctx, const char *name, enum bcf_ctl_kind kind);
	void *ctx;
};

static bool list_fn(struct visit *v, const char *name, const struct ctl_node *child)
{
	struct lister *l = container_of(v, struct lister, v);

	return l->fn(l->ctx, name, child->kind);
}

int bcf_ctl_list(struct bcf *b, const char *path, bool (*fn)(void *ctx, const char *name, enum bcf_ctl_kind kind), void *ctx)
{
	struct lister l = { .v.fn = list_fn, .fn = fn, .ctx = ctx };
	struct ctl_node n;
	int r = ctl_resolve(b, path, &n);

	if (r < 0)
		return r;
	if (n.kind != BCF_CTL_DIR)
		return -ENOTDIR;
	visit_dir(&n, &l.v);
	return 0;
}

/* Somebody had this file open: what it belonged to is gone, or it never was a file. */
static int resolve_file(struct bcf *b, const char *path, struct ctl_node *ret)
{
	int r = ctl_resolve(b, path, ret);

	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	if (ret->kind == BCF_CTL_DIR)
		return -EISDIR;
	return ret->kind == BCF_CTL_FILE ? 0 : -EINVAL;
}

/* The walk behind it may wait; its set may fail or be stopped meanwhile, but stays. */
static FIBER_FN int stream(const struct ctl_node *n, struct bcf_ctl_cursor *cur, struct printbuf *out)
{
	int r;

	if (!(n->attr->mode & 0400))
		return -EACCES;
	cur->more = false;
	if (!cset_try_hold(n->object.c))
		return -ENODEV;
	r = n->attr->stream(&n->object, cur, out);
	cset_release(n->object.c);
	return r;
}

int bcf_ctl_show_piece(struct bcf *b, const char *path, struct bcf_ctl_cursor *cur, struct printbuf *out)
{
	struct ctl_node n;
	int r = resolve_file(b, path, &n);

	if (r < 0)
		return r;
	if (n.attr->stream)
		return stream(&n, cur, out);
	cur->more = false;
	no_yield_begin();
	r = attr_show(n.attr, &n.object, out);
	no_yield_end();
	return r < 0 ? r : out->truncated ? -EFBIG : 0;
}

int bcf_ctl_show(struct bcf *b, const char *path, struct printbuf *out)
{
	struct bcf_ctl_cursor cur = { 0 };
	int r;

	do {
		size_t before = out->len_bytes;

		r = bcf_ctl_show_piece(b, path, &cur, out);
		if (!r && cur.more && out->len_bytes == before)
			return -EFBIG; /* no room for another line */
	} while (!r && cur.more);
	return r;
}

/* "time seq path: errno-name: text"; one line whatever the parts contain. */
static void note_error(struct bcf *b, const char *path, int error, const char *why)
{
	struct printbuf out = PRINTBUF(b->last_error);
	const char *name = strerrorname_np(-error);

	attr_time_text(&out, engine_real_s());
	pr(&out, " %llu %s: %s: %s", (unsigned long long)++b->last_error_seq, path, name ? name : "EUNKNOWN", why[0] ? why : strerror(-error));
	text_one_line(b->last_error);
}

/* A store may wait, and its set may fail or be stopped meanwhile; devices hold theirs where it matters. */
int ctl_store_node(const struct ctl_node *n, const char *text, size_t len_bytes, struct printbuf *why)
{
	struct cset *c = n->object.d ? NULL : n->object.c;
	int r;

	if (c && !cset_try_hold(c))
		return -ENODEV;
	r = attr_store(n->attr, &n->object, text, len_bytes, why);
	if (c)
		cset_release(c);
	return r;
}

static FIBER_FN int store(struct bcf *b, const char *path, const char *text, size_t len_bytes, struct printbuf *why)
{
	struct ctl_node n;
	int r;

	if (len_bytes > BCF_CTL_STORE_BYTES)
		return -E2BIG;
	if (b->stopping) {
		pr(why, "shutting down");
		return -EBUSY;
	}
	r = resolve_file(b, path, &n);
	if (r < 0)
		return r;
	if (!(n.attr->mode & 0200))
		return -EACCES;
	if (!len_bytes)
		return 0;
	return ctl_store_node(&n, text, len_bytes, why);
}

int bcf_ctl_store(struct bcf *b, const char *path, const char *text, size_t len_bytes)
{
	char why_text[320];
	struct printbuf why = PRINTBUF(why_text);
	int r = store(b, path, text, len_bytes, &why);

	if (r < 0)
		note_error(b, path, r, why_text);
	return r;
}

void bcf_stats_tick(struct bcf *b)
{
	struct cset *c;
	struct bdev *d;

	list_for_each(c, &b->csets, link)
		stats_tick(&c->stats);
	list_for_each(d, &b->bdevs, link)
		stats_tick(&d->stats);
}
