/* SPDX-License-Identifier: GPL-2.0-only */
/* Control files at the root of the tree (control-files.md §3, §10.4). */
#include "core/admin/attr.h"
#include "core/admin/attr_path.h"
#include "core/admin/log.h"
#include "core/admin/saved.h"
#include "core/admin/status.h"
#include "core/admin/tunables.h"

/* --- register ------------------------------------------------------------------------------------------------------------ */

/* The kernel says EINVAL for nearly everything, and scripts expect it; the reason is in last_error. */
static int register_errno(int r)
{
	switch (r) {
	case 0:
	case -ENOMEM:
	case -ENODEV:
	case -EPERM:
	case -EDEADLK:
	case -EINTR:
		return r;
	case -ESHUTDOWN:
		return -EBUSY;
	default:
		return r > 0 ? 0 : -EINVAL;
	}
}

static FIBER_FN int register_path(const struct attr_object *o, const struct attr_value *v, bool quiet, struct printbuf *why)
{
	char path[BCF_CTL_STORE_BYTES + 1];
	int r;

	memcpy(path, v->text, v->len_bytes);
	path[v->len_bytes] = '\0';
	if (path[0] != '/') {
		pr(why, "'%s' is not an absolute path", path);
		return -EINVAL;
	}
	/* Before anything looks at the file: a request to our own mount would wait for this very thread. */
	if (o->b->options.avoid_dev && path_touches_dev(path, o->b->options.avoid_dev)) {
		pr(why, "'%s' lies in our own mount", path);
		return -EDEADLK;
	}
	r = bcf_register(o->b, path, quiet, why);
	if (r < 0) {
		if (!why->len_bytes)
			pr(why, "%s: %s", path, strerror(-r));
		text_one_line(why->text);
		log_warn("register: %s", why->text);
	}
	return register_errno(r);
}

static int store_register(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	return register_path(o, v, false, why);
}

static int store_register_quiet(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	return register_path(o, v, true, why);
}

/* --- pendings_cleanup ---------------------------------------------------------------------------------------------------- */

static bool is_pending(struct bcf *b, const struct bdev *d, bool running_too)
{
	if (bdev_is_flash(d) || d->set || d->closing || (d->running && !running_too))
		return false;
	return !bcf_set_find(b, d->super->set_uuid);
}

static bool says_all(const struct attr_value *v)
{
	return v->len_bytes >= 3 && !memcmp(v->text, "all", 3) && (v->len_bytes == 3 || (v->len_bytes == 4 && v->text[3] == '\n'));
}

/* The kernel also stops devices that run uncached; here only the word `all` does that. */
static int store_pendings_cleanup(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct bdev *d, *next;
	bool all = says_all(v);

	list_for_each_safe(d, next, &o->b->bdevs, link)
		if (is_pending(o->b, d, all))
			bdev_stop(d);
	return 0;
}

/* --- settings ------------------------------------------------------------------------------------------------------------ */

static int show_tunables(const struct attr_object *o, struct printbuf *out)
{
	tunables_text(o->b, TUNABLES_TO_SHOW, out);
	return 0;
}

static int store_tunables(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	return tunables_apply(o->b, v->text, v->len_bytes, why);
}

static int store_save(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	return bcf_save(o->b, why);
}

/* --- reports ------------------------------------------------------------------------------------------------------------- */

static int show_status(const struct attr_object *o, struct printbuf *out)
{
	status_json(o->b, out);
	return 0;
}

static int show_last_error(const struct attr_object *o, struct printbuf *out)
{
	pr(out, "%s\n", o->b->last_error);
	return 0;
}

static int show_version(const struct attr_object *o, struct printbuf *out)
{
	pr(out, "bcache-fuse %s sb=%d\n", BCF_VERSION, SUPER_BACKING_FEATURES);
	return 0;
}

static const struct attr root_attrs[] = {
	ATTR_ACTION("register", ATTR_IN_PATH, store_register, "path of a cache or backing device to take into use"),
	ATTR_ACTION("register_quiet", ATTR_IN_PATH, store_register_quiet, "register; a device in use already is fine"),
	ATTR_ACTION("pendings_cleanup", ATTR_IN_ANY, store_pendings_cleanup, "stop devices that wait for a set which is not there"),
	{ .name = "tunables", .help = "all settings, PATH=VALUE on each line; lines written are applied, all or none", .mode = 0644,
	  .input = ATTR_IN_ANY, .keep = ATTR_KEEP_STATE, .show = show_tunables, .store = store_tunables },
	ATTR_ACTION("save", ATTR_IN_ANY, store_save, "save the settings that the superblocks do not keep, for the next start"),
	ATTR_RO_TEXT("status.json", show_status, "everything at one instant, exact numbers"),
	ATTR_RO_TEXT("last_error", show_last_error, "the last failed control write and why"),
	ATTR_RO_TEXT("version", show_version, "program version and newest superblock version"),
};
const struct attr_table attr_root_table = ATTR_TABLE(root_attrs);
