/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/args.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPT_CACHE = 256, OPT_BACKING };
static const struct option long_options[] = {
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "backing", required_argument, NULL, OPT_BACKING },
	{ "config", required_argument, NULL, 'c' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "debug", no_argument, NULL, 'd' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

/* fstab's own words, which mean nothing to a file system. */
static bool is_for_mount_only(const char *opt)
{
	static const char *const words[] = { "defaults", "auto",  "noauto", "user",  "nouser", "users",
					     "owner",	 "group", "nofail", "_netdev" };
	static const char *const prefixes[] = { "x-", "X-", "comment=", "user=", "helper=", "uhelper=" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(opt, words[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(opt, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* Not realpath(): a name under /dev/disk/by-id is meant to stay. */
static char *absolute(const char *path)
{
	char cwd[PATH_MAX], *joined;

	if (*path == '/')
		return strdup(path);
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&joined, "%s/%s", strcmp(cwd, "/") ? cwd : "", path) < 0)
		return NULL;
	return joined;
}

/*
 * The same path that /proc/self/mountinfo will show. The mount point itself may be a dead mount, in which even looking fails, so then
 * only its directory is resolved.
 */
static char *resolve_mountpoint(const char *path)
{
	char *real = realpath(path, NULL), *full, *slash, *joined = NULL;

	if (real)
		return real;
	full = absolute(path);
	if (!full)
		return NULL;
	for (size_t len = strlen(full); len > 1 && full[len - 1] == '/'; len--)
		full[len - 1] = '\0';
	slash = strrchr(full, '/');
	*slash = '\0';
	real = realpath(*full ? full : "/", NULL);
	if (real && asprintf(&joined, "%s/%s", strcmp(real, "/") ? real : "", slash + 1) < 0)
		joined = NULL;
	if (!real) { /* leave it to the mount to complain */
		*slash = '/';
		joined = strdup(full);
	}
	free(real);
	free(full);
	return joined;
}

static int add_device(struct args *a, const char *path, bool backing, struct printbuf *why)
{
	char *full;
	int r;

	if (!*path) {
		pr(why, "%s needs a file name", backing ? "--backing" : "--cache");
		return -EINVAL;
	}
	full = absolute(path);
	r = full ? config_add_device(&a->devices, full, backing) : -ENOMEM;
	free(full);
	return r;
}

static int set_config_path(struct args *a, const char *path)
{
	free(a->config_path);
	a->config_path = absolute(path);
	return a->config_path ? 0 : -ENOMEM;
}

/* Judged here, so that a mistake is told before anything starts. -ENOENT: not an option of ours. */
static int add_engine_option(struct args *a, const char *name, const char *value, struct printbuf *why)
{
	struct args_option *o = &a->options[a->nr_options];
	struct config scratch;
	int r;

	config_init(&scratch);
	r = config_set_option(&scratch, name, value, why);
	if (r < 0)
		return r == -ERANGE ? -EINVAL : r;
	if (a->nr_options == ARGS_MAX_OPTIONS) {
		pr(why, "too many options");
		return -EINVAL;
	}
	o->name = strdup(name);
	o->value = strdup(value);
	a->nr_options++;
	return o->name && o->value ? 0 : -ENOMEM;
}

/* Relative to where the command was started, as all paths of the command line. */
static int set_state_file(struct args *a, const char *value, struct printbuf *why)
{
	bool word = !strcmp(value, "none") || !strcmp(value, "default") || !*value;
	char *path = word ? strdup(value) : absolute(value);
	int r = path ? add_engine_option(a, "state_file", path, why) : -ENOMEM;

	free(path);
	return r;
}

/* One element of an -o list. */
static int add_mount_option(struct args *a, char *opt, char **fuse_opts, struct printbuf *why)
{
	char *value = strchr(opt, '=');
	int r = -ENOENT;

	if (!*opt || is_for_mount_only(opt))
		return 0;
	if (value) {
		*value++ = '\0';
		if (!strcmp(opt, "cache") || !strcmp(opt, "backing"))
			r = add_device(a, value, !strcmp(opt, "backing"), why);
		else if (!strcmp(opt, "config"))
			r = set_config_path(a, value);
		else if (!strcmp(opt, "state_file"))
			r = set_state_file(a, value, why);
		else
			r = add_engine_option(a, opt, value, why);
		value[-1] = '=';
	}
	if (r != -ENOENT)
		return r;
	return fuse_opt_add_opt_escaped(fuse_opts, opt) < 0 ? -ENOMEM : 0;
}

/* Elements are separated by commas; a backslash takes the next character as it is, for paths with commas. */
static int add_mount_options(struct args *a, const char *list, char **fuse_opts, struct printbuf *why)
{
	char *opt = malloc(strlen(list) + 1), *to = opt;
	int r = opt ? 0 : -ENOMEM;

	for (const char *s = list; r == 0; s++) {
		if (*s == '\\' && s[1]) {
			*to++ = *++s;
			continue;
		}
		if (*s && *s != ',') {
			*to++ = *s;
			continue;
		}
		*to = '\0';
		to = opt;
		r = add_mount_option(a, opt, fuse_opts, why);
		if (!*s)
			break;
	}
	free(opt);
	return r;
}

static int parse_switches(struct args *a, int argc, char **argv, char **fuse_opts, struct printbuf *why)
{
	int c, r = 0;

	optind = 0; /* start afresh: tests call us more than once */
	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, ":fdc:o:hV", long_options, NULL)) != -1) {
		switch (c) {
		case 'f':
			a->foreground = true;
			break;
		case 'd':
			a->foreground = a->debug = true;
			break;
		case 'c':
			r = set_config_path(a, optarg);
			break;
		case 'o':
			r = add_mount_options(a, optarg, fuse_opts, why);
			break;
		case 'h':
			a->help = true;
			break;
		case 'V':
			a->version = true;
			break;
		case OPT_CACHE:
		case OPT_BACKING:
			r = add_device(a, optarg, c == OPT_BACKING, why);
			break;
		case ':':
			pr(why, "option '%s' needs an argument", argv[optind - 1]);
			return -EINVAL;
		default:
			pr(why, "unknown option '%s'", argv[optind - 1]);
			return -EINVAL;
		}
	}
	return r;
}

/* [SOURCE] MOUNTPOINT. A source with a slash is a device; other words ("none") are only a name for /proc/mounts. */
static int parse_operands(struct args *a, int argc, char **argv, char **fuse_opts, struct printbuf *why)
{
	const char *source = argc == 2 ? argv[0] : NULL;
	char name[PATH_MAX + 16];

	if (argc < 1 || argc > 2 || !*argv[argc - 1]) {
		pr(why, "%s", argc < 1 ? "a mount point is needed" : "too many arguments: one mount point is needed");
		return -EINVAL;
	}
	a->mountpoint = resolve_mountpoint(argv[argc - 1]);
	if (source && strchr(source, '/'))
		a->source = absolute(source);
	if (!a->mountpoint || (source && strchr(source, '/') && !a->source))
		return -ENOMEM;
	snprintf(name, sizeof(name), "fsname=%s", source && *source ? source : "bcache-fuse");
	if (*fuse_opts && (!strncmp(*fuse_opts, "fsname=", 7) || strstr(*fuse_opts, ",fsname=")))
		return 0;
	return fuse_opt_add_opt_escaped(fuse_opts, name) < 0 ? -ENOMEM : 0;
}

int args_parse(struct args *a, int argc, char **argv, struct printbuf *why)
{
	char *fuse_opts = NULL;
	int r;

	*a = (struct args){ 0 };
	config_init(&a->devices);
	r = parse_switches(a, argc, argv, &fuse_opts, why);
	if (r == 0 && !a->help && !a->version)
		r = parse_operands(a, argc - optind, argv + optind, &fuse_opts, why);
	/* The kernel checks owner and mode of files, which with allow_other is what keeps other users out of .ctl/register. */
	if (r == 0 && (fuse_opt_add_opt(&fuse_opts, "default_permissions,subtype=bcache-fuse") < 0 ||
		       (a->debug && fuse_opt_add_opt(&fuse_opts, "debug") < 0) || fuse_opt_add_arg(&a->fuse, argv[0]) < 0 ||
		       fuse_opt_add_arg(&a->fuse, "-o") < 0 || fuse_opt_add_arg(&a->fuse, fuse_opts) < 0))
		r = -ENOMEM;
	if (r == -ENOMEM)
		pr(why, "out of memory");
	free(fuse_opts);
	return r;
}

void args_release(struct args *a)
{
	for (size_t i = 0; i < a->nr_options; i++) {
		free(a->options[i].name);
		free(a->options[i].value);
	}
	free(a->config_path);
	free(a->source);
	free(a->mountpoint);
	config_release(&a->devices);
	fuse_opt_free_args(&a->fuse);
}
