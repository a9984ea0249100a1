/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/tunables.h"

#include <stdio.h>

#include "core/admin/ctl.h"
#include "core/admin/log.h"

#define BY_UUID "by/uuid/"
#define UUID_TEXT 36
#define OBJECT_BYTES (sizeof(BY_UUID) + UUID_TEXT + 1)
/* Three values in a chain of bounds: each pass puts at least one more where it belongs. */
#define PASSES 3

/* --- printing ------------------------------------------------------------------------------------------------------------ */

static void print_rows(const char *prefix, enum attr_dir dir, const struct attr_object *o, enum tunables_for what, struct printbuf *out)
{
	const struct attr_table *t = attr_table(dir);

	for (size_t i = 0; i < t->nr; i++) {
		const struct attr *a = &t->attrs[i];

		if (a->keep != ATTR_KEEP_SAVED && (a->keep != ATTR_KEEP_SHOWN || what == TUNABLES_TO_SAVE))
			continue;
		pr(out, "%s%s=", prefix, a->name);
		attr_raw_text(a, o, out);
		pr_char(out, '\n');
	}
}

static void print_set(const struct attr_object *o, enum tunables_for what, struct printbuf *out)
{
	static const struct {
		enum attr_dir dir;
		const char *below;
	} dirs[] = { { ATTR_DIR_SET, "" }, { ATTR_DIR_INTERNAL, "internal/" }, { ATTR_DIR_CACHE, "cache0/" } };
	char prefix[OBJECT_BYTES + 16];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(prefix, sizeof(prefix), "%s/%s", o->c->uuid_text, dirs[i].below);
		print_rows(prefix, dirs[i].dir, o, what, out);
	}
}

/* The beginning of a device's lines. */
static void bdev_prefix(const struct bdev *d, char prefix[OBJECT_BYTES])
{
	struct printbuf pb = printbuf_over(prefix, OBJECT_BYTES);

	pr(&pb, BY_UUID);
	pr_uuid(&pb, attr_bdev_uuid(d));
	pr_char(&pb, '/');
}

void tunables_text(struct bcf *b, enum tunables_for what, struct printbuf *out)
{
	struct attr_object o = { .b = b };
	char prefix[OBJECT_BYTES];

	list_for_each(o.c, &b->csets, link)
		if (ctl_set_visible(o.c))
			print_set(&o, what, out);
	list_for_each(o.d, &b->bdevs, link) {
		if (!ctl_bdev_visible(o.d))
			continue;
		o.c = o.d->set;
		bdev_prefix(o.d, prefix);
		print_rows(prefix, bdev_is_flash(o.d) ? ATTR_DIR_VOLUME : ATTR_DIR_BDEV, &o, what, out);
	}
}

/* --- lines --------------------------------------------------------------------------------------------------------------- */

struct line {
	char path[BCF_CTL_PATH_BYTES];
	const char *text; /* the value; not terminated */
	size_t len_bytes;
	unsigned nr;
};

struct lines {
	const char *p, *end;
	unsigned nr;
};

size_t tunables_object_len(const char *line, size_t len_bytes)
{
	size_t start = len_bytes > strlen(BY_UUID) && !memcmp(line, BY_UUID, strlen(BY_UUID)) ? strlen(BY_UUID) : 0;
	char text[UUID_TEXT + 1];
	uint8_t uuid[16];

	if (len_bytes <= start + UUID_TEXT || line[start + UUID_TEXT] != '/')
		return 0;
	memcpy(text, line + start, UUID_TEXT);
	text[UUID_TEXT] = '\0';
	return uuid_parse(text, uuid) < 0 ? 0 : start + UUID_TEXT + 1;
}

/* 1, 0 at the end, or -EINVAL. Empty lines do not count. */
static int next_line(struct lines *l, struct line *ret, struct printbuf *why)
{
	const char *start, *stop, *equals;

	do {
		if (l->p >= l->end)
			return 0;
		start = l->p;
		stop = memchr(start, '\n', (size_t)(l->end - start));
		if (!stop)
			stop = l->end;
		l->p = stop + 1;
		l->nr++;
	} while (stop == start);
	equals = memchr(start, '=', (size_t)(stop - start));
	ret->nr = l->nr;
	if (!equals || (size_t)(equals - start) >= sizeof(ret->path)) {
		pr(why, "line %u: expected PATH=VALUE", l->nr);
		return -EINVAL;
	}
	memcpy(ret->path, start, (size_t)(equals - start));
	ret->path[equals - start] = '\0';
	ret->text = equals + 1;
	ret->len_bytes = (size_t)(stop - ret->text);
	return 1;
}

/* As ctl_resolve(), and through the links of by/uuid. */
static int resolve(struct bcf *b, const char *path, struct ctl_node *ret)
{
	char prefix[OBJECT_BYTES], direct[BCF_CTL_PATH_BYTES];
	size_t len = tunables_object_len(path, strlen(path));
	struct bdev *d;

	if (!len || strncmp(path, BY_UUID, strlen(BY_UUID)))
		return ctl_resolve(b, path, ret);
	list_for_each(d, &b->bdevs, link) {
		if (!ctl_bdev_visible(d))
			continue;
		bdev_prefix(d, prefix);
		if (strncasecmp(path, prefix, len))
			continue;
		snprintf(direct, sizeof(direct), "%s/%s", d->name, path + len);
		return ctl_resolve(b, direct, ret);
	}
	return -ENOENT;
}

/* The file that a line names. -ENOENT; -EINVAL: not a setting. */
static int find_setting(struct bcf *b, const struct line *l, struct ctl_node *ret, struct printbuf *why)
{
	int r = resolve(b, l->path, ret);

	if (r < 0) {
		pr(why, "line %u: there is no '%s'", l->nr, l->path);
		return r;
	}
	if (ret->kind == BCF_CTL_FILE && (ret->attr->keep == ATTR_KEEP_SAVED || ret->attr->keep == ATTR_KEEP_SHOWN))
		return 0;
	pr(why, "line %u: '%s' is not a setting", l->nr, l->path);
	return -EINVAL;
}

static int judge(struct bcf *b, const struct line *l, struct ctl_node *ret, struct printbuf *why)
{
	char reason[200] = "";
	struct printbuf pb = PRINTBUF(reason);
	struct attr_value v;
	int r = find_setting(b, l, ret, why);

	if (r < 0)
		return r;
	r = l->len_bytes || ret->attr->input == ATTR_IN_LABEL ? attr_parse(ret->attr, l->text, l->len_bytes, &v, &pb) : -EINVAL;
	if (r < 0)
		pr(why, "line %u: '%s': %s", l->nr, l->path, reason[0] ? reason : "a value is missing");
	return r;
}

/* Looked up again: whatever was stored before may have waited. */
static FIBER_FN int apply(struct bcf *b, const struct line *l, bool restoring, unsigned pass, struct printbuf *why)
{
	char reason[200] = "";
	struct printbuf pb = PRINTBUF(reason);
	struct ctl_node n;
	int r = judge(b, l, &n, why);

	if (r < 0 || (pass && !n.attr->bounds))
		return r;
	n.object.restoring = restoring;
	r = ctl_store_node(&n, l->text, l->len_bytes, &pb);
	if (r < 0)
		pr(why, "line %u: '%s': %s", l->nr, l->path, reason[0] ? reason : strerror(-r));
	return r;
}

/* --- applying ------------------------------------------------------------------------------------------------------------ */

static int judge_all(struct bcf *b, const char *text, size_t len_bytes, struct printbuf *why)
{
	struct lines lines = { .p = text, .end = text + len_bytes };
	struct ctl_node n;
	struct line l;
	int r;

	while ((r = next_line(&lines, &l, why)) > 0) {
		r = judge(b, &l, &n, why);
		if (r < 0)
			return r;
	}
	return r;
}

int tunables_apply(struct bcf *b, const char *text, size_t len_bytes, struct printbuf *why)
{
	struct line l;
	int r;

	len_bytes = strnlen(text, len_bytes); /* a NUL ends it, as everywhere */
	r = judge_all(b, text, len_bytes, why);
	for (unsigned pass = 0; pass < PASSES && r >= 0; pass++) {
		struct lines lines = { .p = text, .end = text + len_bytes };

		while (r >= 0 && (r = next_line(&lines, &l, why)) > 0)
			r = apply(b, &l, false, pass, why);
	}
	return r;
}

/* --- restoring ----------------------------------------------------------------------------------------------------------- */

/* One object that has not been restored yet; it counts as restored from now on. */
static bool take_newcomer(struct bcf *b, char prefix[OBJECT_BYTES])
{
	struct cset *c;
	struct bdev *d;

	list_for_each(c, &b->csets, link) {
		if (c->restored || !ctl_set_visible(c))
			continue;
		c->restored = true;
		snprintf(prefix, OBJECT_BYTES, "%s/", c->uuid_text);
		return true;
	}
	list_for_each(d, &b->bdevs, link) {
		if (d->restored || !ctl_bdev_visible(d))
			continue;
		d->restored = true;
		bdev_prefix(d, prefix);
		return true;
	}
	return false;
}

static FIBER_FN void restore_object(struct bcf *b, const char *prefix, const char *saved)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		struct lines lines = { .p = saved, .end = saved + strlen(saved) };
		char reason[500] = "";
		struct printbuf why = PRINTBUF(reason);
		struct line l;
		int r;

		while ((r = next_line(&lines, &l, &why))) {
			if (r > 0 && !strncasecmp(l.path, prefix, strlen(prefix)))
				r = apply(b, &l, true, pass, &why);
			text_one_line(reason);
			if (r < 0 && !pass)
				log_warn("saved settings: ignoring a line: %s", reason);
			printbuf_reset(&why);
		}
	}
}

void tunables_restore(struct bcf *b, const char *saved)
{
	char prefix[OBJECT_BYTES];

	while (take_newcomer(b, prefix))
		restore_object(b, prefix, saved);
}
