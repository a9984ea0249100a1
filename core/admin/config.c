/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/admin/json.h"

/* Module parameters of the kernel driver: default and maximum. */
#define CUTOFF_WRITEBACK_DEFAULT 40
#define CUTOFF_WRITEBACK_MAX 70
#define CUTOFF_WRITEBACK_SYNC_DEFAULT 70
#define CUTOFF_WRITEBACK_SYNC_MAX 90

/* --- engine options --------------------------------------------------------------------------------------------------- */

enum option_kind { OPTION_UNSIGNED, OPTION_SIZE, OPTION_LOG_LEVEL, OPTION_PATH };
struct option {
	const char *name;
	enum option_kind kind;
	size_t offset; /* in struct config */
	uint64_t min, max;
};
static const struct option options[] = {
	{ "shutdown_timeout", OPTION_UNSIGNED, offsetof(struct config, shutdown_timeout_s), 1, 86400 },
	{ "btree_cache", OPTION_SIZE, offsetof(struct config, btree_cache_max_bytes), MIB(1), GIB(1024) },
	{ "cutoff_writeback", OPTION_UNSIGNED, offsetof(struct config, cutoff_writeback), 0, UINT_MAX },
	{ "cutoff_writeback_sync", OPTION_UNSIGNED, offsetof(struct config, cutoff_writeback_sync), 0, UINT_MAX },
	{ "spin_us", OPTION_UNSIGNED, offsetof(struct config, spin_us), 0, 1000000 },
	{ "log_level", OPTION_LOG_LEVEL, offsetof(struct config, log_level), 0, 0 },
	{ "state_file", OPTION_PATH, offsetof(struct config, state_file), 0, 0 },
};

void config_init(struct config *c)
{
	*c = (struct config){
		.shutdown_timeout_s = 10,
		.btree_cache_max_bytes = MIB(128),
		.cutoff_writeback = CUTOFF_WRITEBACK_DEFAULT,
		.cutoff_writeback_sync = CUTOFF_WRITEBACK_SYNC_DEFAULT,
		.spin_us = 50,
		.log_level = LOG_LEVEL_INFO,
		.state_file = "default",
	};
}

static const struct option *option_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

static void option_store(struct config *c, const struct option *o, uint64_t value)
{
	void *field = (char *)c + o->offset;

	if (o->kind == OPTION_SIZE)
		memcpy(field, &value, sizeof(value));
	else
		memcpy(field, &(unsigned){ (unsigned)value }, sizeof(unsigned));
}
static_assert(sizeof(enum log_level) == sizeof(unsigned), "stored as unsigned by option_store()");

/* Digits and, for sizes, one unit letter (powers of 1024). */
static int parse_number(const char *text, bool unit, uint64_t *ret)
{
	static const char units[] = "kmgtpe";
	uint64_t value = 0;
	const char *s = text, *u;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return -ERANGE;
	if (unit && *s && (u = strchr(units, tolower((unsigned char)*s)))) {
		unsigned shift = 10 * (unsigned)(u - units + 1);

		if (value > UINT64_MAX >> shift)
			return -ERANGE;
		value <<= shift;
		s++;
	}
	if (*s)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int parse_log_level(const char *text, uint64_t *ret)
{
	for (unsigned i = 0; i < NR_LOG_LEVELS; i++)
		if (!strcmp(text, log_level_names[i])) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

static const char *option_expects(const struct option *o)
{
	switch (o->kind) {
	case OPTION_SIZE:
		return "a size such as 128M";
	case OPTION_LOG_LEVEL:
		return "error, warn, info or debug";
	case OPTION_PATH:
		return "an absolute path, \"default\" or \"none\"";
	case OPTION_UNSIGNED:
		break;
	}
	return "a whole number";
}

static int parse_option(struct config *c, const struct option *o, const char *text, uint64_t *ret)
{
	switch (o->kind) {
	case OPTION_LOG_LEVEL:
		return parse_log_level(text, ret);
	case OPTION_PATH:
		if ((*text != '/' && strcmp(text, "default") && strcmp(text, "none")) || strlen(text) >= CONFIG_PATH_BYTES)
			return -EINVAL;
		strcpy((char *)c + o->offset, text);
		return 0;
	default:
		return parse_number(text, o->kind == OPTION_SIZE, ret);
	}
}

int config_set_option(struct config *c, const char *name, const char *text, struct printbuf *why)
{
	const struct option *o = option_find(name);
	uint64_t value = 0;
	int r;

	if (!o)
		return -ENOENT;
	r = parse_option(c, o, text, &value);
	if (r == -EINVAL) {
		pr(why, "option '%s' needs %s, not '%s'", name, option_expects(o), text);
		return r;
	}
	if (r == -ERANGE || (o->max && (value < o->min || value > o->max))) {
		pr(why, "option '%s' must lie between %llu and %llu, not '%s'", name, (unsigned long long)o->min,
		   (unsigned long long)o->max, text);
		return -ERANGE;
	}
	if (o->kind != OPTION_PATH)
		option_store(c, o, value);
	return 0;
}

bool config_state_file(const struct config *c, char ret_path[CONFIG_PATH_BYTES])
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = 0;

	if (!strcmp(c->state_file, "none"))
		return false;
	if (strcmp(c->state_file, "default"))
		n = snprintf(ret_path, CONFIG_PATH_BYTES, "%s", c->state_file);
	else if (xdg && *xdg == '/')
		n = snprintf(ret_path, CONFIG_PATH_BYTES, "%s/bcache-fuse/tunables", xdg);
	else if (!geteuid())
		n = snprintf(ret_path, CONFIG_PATH_BYTES, "/var/lib/bcache-fuse/tunables");
	else if (home && *home == '/')
		n = snprintf(ret_path, CONFIG_PATH_BYTES, "%s/.local/state/bcache-fuse/tunables", home);
	return n > 0 && n < CONFIG_PATH_BYTES;
}

void config_normalise(struct config *c)
{
	if (!c->cutoff_writeback)
		c->cutoff_writeback = CUTOFF_WRITEBACK_DEFAULT;
	if (!c->cutoff_writeback_sync)
		c->cutoff_writeback_sync = CUTOFF_WRITEBACK_SYNC_DEFAULT;
	if (c->cutoff_writeback_sync > CUTOFF_WRITEBACK_SYNC_MAX) {
		log_warn("cutoff_writeback_sync=%u is too large, using %u", c->cutoff_writeback_sync, CUTOFF_WRITEBACK_SYNC_MAX);
		c->cutoff_writeback_sync = CUTOFF_WRITEBACK_SYNC_MAX;
	}
	if (c->cutoff_writeback > CUTOFF_WRITEBACK_MAX) {
		log_warn("cutoff_writeback=%u is too large, using %u", c->cutoff_writeback, CUTOFF_WRITEBACK_MAX);
		c->cutoff_writeback = CUTOFF_WRITEBACK_MAX;
	}
	if (c->cutoff_writeback > c->cutoff_writeback_sync) {
		log_warn("cutoff_writeback=%u is above cutoff_writeback_sync=%u, using %u", c->cutoff_writeback,
			 c->cutoff_writeback_sync, c->cutoff_writeback_sync);
		c->cutoff_writeback = c->cutoff_writeback_sync;
	}
}

/* --- devices ---------------------------------------------------------------------------------------------------------- */

/*
 * What may stand in a device's "options": every setting of the control tree but those that are an identity. Not taken from the attribute tables,
 * for the whole core hangs on them; a test compares (test_tunables.c).
 */
static const char *const backing_tunables[] = {
	"cache_mode", "readahead_cache_policy", "stop_when_cache_set_failed", "sequential_cutoff", "io_error_limit",
	"writeback_metadata", "writeback_running", "writeback_percent", "writeback_delay", "writeback_rate",
	"writeback_rate_update_seconds", "writeback_rate_p_term_inverse", "writeback_rate_i_term_inverse",
	"writeback_rate_minimum", "writeback_consider_fragment", "writeback_rate_fp_term_low", "writeback_rate_fp_term_mid",
	"writeback_rate_fp_term_high", "stripe_size", "partial_stripes_expensive",
	"writeback_rate_maximum", "writeback_inflight_limit", "writeback_consider_latency",
	"strict_writethrough", "data_csum", "verify", "bypass_torture_test",
};
static const char *const cache_tunables[] = {
	"cache0/cache_replacement_policy", "cache0/discard", "cache0/freelist_percent", "congested_read_threshold_us", "congested_write_threshold_us",
	"errors", "io_error_limit", "io_error_halflife", "journal_delay_ms", "internal/btree_shrinker_disabled",
	"internal/btree_cache_max", "internal/expensive_debug_checks", "internal/key_merging_disabled", "internal/verify",
	"internal/copy_gc_enabled", "internal/gc_always_rewrite", "internal/gc_after_writeback",
	"internal/idle_max_writeback_rate", "internal/open_buckets", "internal/prio_write_seconds",
};

const char *config_tunable_nth(bool backing, size_t n)
{
	if (n >= (backing ? ARRAY_SIZE(backing_tunables) : ARRAY_SIZE(cache_tunables)))
		return NULL;
	return (backing ? backing_tunables : cache_tunables)[n];
}

/* A tunable is named by the last component of its control file. */
static const char *tunable_find(bool backing, const char *name)
{
	const char *ctl_name;

	for (size_t i = 0; (ctl_name = config_tunable_nth(backing, i)); i++) {
		const char *slash = strrchr(ctl_name, '/');

		if (!strcmp(slash ? slash + 1 : ctl_name, name))
			break;
	}
	return ctl_name;
}

static void device_release(struct config_device *d)
{
	for (size_t i = 0; i < d->nr_tunables; i++)
		free(d->tunables[i].text);
	free(d->tunables);
	free(d->path);
}

static void devices_release(struct config *c)
{
	for (size_t i = 0; i < c->nr_devices; i++)
		device_release(&c->devices[i]);
	free(c->devices);
	c->devices = NULL;
	c->nr_devices = 0;
}

void config_release(struct config *c)
{
	devices_release(c);
}

int config_add_device(struct config *c, const char *path, bool backing)
{
	struct config_device *devices = reallocarray(c->devices, c->nr_devices + 1, sizeof(*devices));
	char *copy = strdup(path);

	if (devices)
		c->devices = devices;
	if (!devices || !copy) {
		free(copy);
		return -ENOMEM;
	}
	devices[c->nr_devices++] = (struct config_device){ .path = copy, .backing = backing };
	return 0;
}

static int device_add_tunable(struct config_device *d, const char *ctl_name, const char *text)
{
	struct config_tunable *tunables = reallocarray(d->tunables, d->nr_tunables + 1, sizeof(*tunables));
	char *copy = strdup(text);

	if (tunables)
		d->tunables = tunables;
	if (!tunables || !copy) {
		free(copy);
		return -ENOMEM;
	}
	tunables[d->nr_tunables++] = (struct config_tunable){ .ctl_name = ctl_name, .text = copy };
	return 0;
}

void config_replace_devices(struct config *c, struct config *from)
{
	for (size_t i = 0; i < from->nr_devices; i++) {
		struct config_device *to = &from->devices[i];

		for (size_t k = 0; k < c->nr_devices && !to->nr_tunables; k++) {
			struct config_device *listed = &c->devices[k];

			if (listed->backing != to->backing || strcmp(listed->path, to->path))
				continue;
			to->tunables = listed->tunables;
			to->nr_tunables = listed->nr_tunables;
			listed->tunables = NULL;
			listed->nr_tunables = 0;
		}
	}
	devices_release(c);
	c->devices = from->devices;
	c->nr_devices = from->nr_devices;
	from->devices = NULL;
	from->nr_devices = 0;
}

/* --- the file --------------------------------------------------------------------------------------------------------- */

#define SCALAR_BYTES CONFIG_PATH_BYTES

/* A string, number or boolean as the text a person would have typed. */
static int scalar_to_text(struct jvalue v, char *text, size_t size_bytes)
{
	switch (jvalue_kind(v)) {
	case JVALUE_STRING:
		if (strlen(jvalue_string(v)) >= size_bytes)
			return -EINVAL;
		strcpy(text, jvalue_string(v));
		return 0;
	case JVALUE_INTEGER:
		snprintf(text, size_bytes, "%lld", (long long)jvalue_integer(v));
		return 0;
	case JVALUE_BOOL:
		strcpy(text, jvalue_bool(v) ? "1" : "0");
		return 0;
	default:
		return -EINVAL;
	}
}

static int expect(struct jvalue v, enum jvalue_kind kind, const char *what, const char *expected, struct printbuf *why)
{
	if (jvalue_kind(v) == kind)
		return 0;
	json_complain(why, v.doc, v.offset_bytes, "%s must be %s, not %s", what, expected, jvalue_kind_name(v));
	return -EINVAL;
}

static int parse_options(struct config *c, struct jvalue v, struct printbuf *why)
{
	struct jiter it;
	int r = expect(v, JVALUE_OBJECT, "\"options\"", "an object", why);

	if (r < 0)
		return r;
	for (it = jiter_begin(v); jiter_next(&it);) {
		char text[SCALAR_BYTES], line[400];
		struct printbuf reason = PRINTBUF(line);

		if (!option_find(it.key)) {
			json_complain(why, v.doc, it.key_offset_bytes, "unknown option \"%s\"", it.key);
			return -EINVAL;
		}
		if (jvalue_kind(it.value) == JVALUE_BOOL || scalar_to_text(it.value, text, sizeof(text)) < 0) {
			json_complain(why, v.doc, it.value.offset_bytes, "option \"%s\" needs %s, not %s", it.key,
				      option_expects(option_find(it.key)), jvalue_kind_name(it.value));
			return -EINVAL;
		}
		r = config_set_option(c, it.key, text, &reason);
		if (r < 0) {
			json_complain(why, v.doc, it.value.offset_bytes, "%s", line);
			return r;
		}
	}
	return 0;
}

static int parse_tunables(struct config_device *d, struct jvalue v, struct printbuf *why)
{
	struct jiter it;
	int r = expect(v, JVALUE_OBJECT, "\"options\" of a device", "an object", why);

	if (r < 0)
		return r;
	for (it = jiter_begin(v); jiter_next(&it);) {
		const char *ctl_name = tunable_find(d->backing, it.key);
		char text[SCALAR_BYTES];

		if (!ctl_name) {
			json_complain(why, v.doc, it.key_offset_bytes, "unknown option \"%s\" of a %s device%s", it.key,
				      d->backing ? "backing" : "cache",
				      tunable_find(!d->backing, it.key) ? d->backing ? "; it belongs to a cache device" :
										       "; it belongs to a backing device" :
									  "");
			return -EINVAL;
		}
		if (scalar_to_text(it.value, text, sizeof(text)) < 0) {
			json_complain(why, v.doc, it.value.offset_bytes,
				      "option \"%s\" must be a string, a whole number, true or false, not %s", it.key,
				      jvalue_kind_name(it.value));
			return -EINVAL;
		}
		r = device_add_tunable(d, ctl_name, text);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_path(struct config *c, struct jiter *it, struct printbuf *why)
{
	int r = expect(it->value, JVALUE_STRING, "a device", "a path", why);

	if (r < 0)
		return r;
	if (*jvalue_string(it->value) != '/') {
		json_complain(why, it->value.doc, it->value.offset_bytes, "path \"%s\" must be absolute", jvalue_string(it->value));
		return -EINVAL;
	}
	return config_add_device(c, jvalue_string(it->value), !strcmp(it->key, "backing"));
}

static int parse_device(struct config *c, struct jvalue v, struct printbuf *why)
{
	struct jvalue tunables = { 0 };
	bool have_path = false;
	struct jiter it;
	int r = expect(v, JVALUE_OBJECT, "each of \"devices\"", "an object", why);

	if (r < 0)
		return r;
	for (it = jiter_begin(v); jiter_next(&it);) {
		if (!strcmp(it.key, "options")) {
			tunables = it.value; /* judged once we know which kind of device this is */
		} else if (strcmp(it.key, "cache") && strcmp(it.key, "backing")) {
			json_complain(why, v.doc, it.key_offset_bytes,
				      "unknown key \"%s\", known are \"cache\", \"backing\" and \"options\"", it.key);
			return -EINVAL;
		} else if (have_path) {
			json_complain(why, v.doc, it.key_offset_bytes,
				      "a device is either \"cache\" or \"backing\": use one object for each");
			return -EINVAL;
		} else {
			r = parse_path(c, &it, why);
			if (r < 0)
				return r;
			have_path = true;
		}
	}
	if (!have_path) {
		json_complain(why, v.doc, v.offset_bytes, "a device needs \"cache\" or \"backing\" with its path");
		return -EINVAL;
	}
	return tunables.node ? parse_tunables(&c->devices[c->nr_devices - 1], tunables, why) : 0;
}

static int parse_devices(struct config *c, struct jvalue v, struct printbuf *why)
{
	struct jiter it;
	int r = expect(v, JVALUE_ARRAY, "\"devices\"", "an array", why);

	if (r < 0)
		return r;
	for (it = jiter_begin(v); jiter_next(&it);) {
		r = parse_device(c, it.value, why);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_root(struct config *c, struct jvalue v, struct printbuf *why)
{
	struct jiter it;
	int r = expect(v, JVALUE_OBJECT, "the configuration", "an object", why);

	if (r < 0)
		return r;
	for (it = jiter_begin(v); jiter_next(&it);) {
		if (!strcmp(it.key, "devices")) {
			r = parse_devices(c, it.value, why);
		} else if (!strcmp(it.key, "options")) {
			r = parse_options(c, it.value, why);
		} else {
			json_complain(why, v.doc, it.key_offset_bytes, "unknown key \"%s\", known are \"devices\" and \"options\"",
				      it.key);
			r = -EINVAL;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int config_parse(struct config *c, const char *name, const char *text, size_t len_bytes, struct printbuf *why)
{
	struct config parsed = *c; /* nothing is half applied */
	struct json_doc *doc;
	int r;

	parsed.devices = NULL;
	parsed.nr_devices = 0;
	r = json_doc_parse(name, text, len_bytes, &doc, why);
	if (r >= 0) {
		r = parse_root(&parsed, json_doc_root(doc), why);
		json_doc_free(doc);
	}
	if (r < 0) {
		if (why)
			text_one_line(why->text); /* it quotes the file */
		config_release(&parsed);
		return r;
	}
	config_release(c);
	*c = parsed;
	return 0;
}

static int read_whole(int fd, char *text, size_t size_bytes, size_t *ret_len_bytes)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, text + len, size_bytes - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
		if (len == size_bytes)
			return -EFBIG;
	}
	*ret_len_bytes = len;
	return 0;
}

/* -ENOENT only when the file does not exist. */
static int load_file(struct config *c, const char *path, struct printbuf *why)
{
	char *text = NULL;
	size_t len_bytes = 0;
	int r, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		r = errno == ENOTDIR ? -ENOENT : -errno;
		goto out;
	}
	text = malloc(CONFIG_FILE_BYTES);
	r = text ? read_whole(fd, text, CONFIG_FILE_BYTES, &len_bytes) : -ENOMEM;
	close(fd);
	if (r == -ENOENT)
		r = -EIO;
out:
	if (r < 0)
		pr(why, "cannot read configuration '%s': %s", path, strerror(-r));
	else
		r = config_parse(c, path, text, len_bytes, why);
	free(text);
	return r;
}

int config_load(struct config *c, const char *path, struct printbuf *why)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char user[PATH_MAX] = "";
	const char *const usual[] = { user, "/etc/bcache-fuse.conf" };

	if (path)
		return load_file(c, path, why);
	if (xdg && *xdg == '/')
		snprintf(user, sizeof(user), "%s/bcache-fuse/bcache-fuse.conf", xdg);
	else if (home && *home == '/')
		snprintf(user, sizeof(user), "%s/.config/bcache-fuse/bcache-fuse.conf", home);
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
		int r = *usual[i] ? load_file(c, usual[i], why) : -ENOENT;

		/* Another user's home in $HOME (su, setpriv): the directory is closed to us, which says nothing about a file. */
		if (r == -EACCES && access(usual[i], F_OK) < 0)
			log_warn("cannot look for configuration '%s', ignoring it", usual[i]);
		else if (r != -ENOENT)
			return r;
		printbuf_reset(why);
	}
	return 0;
}
