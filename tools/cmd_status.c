/* SPDX-License-Identifier: GPL-2.0-only */
/* bcachectl status: what a running bcache-fuse says about itself in MOUNT/.ctl/status.json, as a table for people. */
#include "core/admin/json.h"
#include "tools/size.h"
#include "tools/tool.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STATUS_BYTES_MAX MIB(4)
#define MOUNTS_MAX 64
#define FS_TYPE "fuse.bcache-fuse"

/* --- looking things up: whatever is missing or of another kind prints as "-" or counts as zero --------------------------- */

static bool get(struct jvalue object, const char *key, enum jvalue_kind kind, struct jvalue *ret)
{
	if (jvalue_kind(object) != JVALUE_OBJECT)
		return false;
	for (struct jiter it = jiter_begin(object); jiter_next(&it);) {
		if (!strcmp(it.key, key) && jvalue_kind(it.value) == kind) {
			*ret = it.value;
			return true;
		}
	}
	return false;
}

static const char *get_string(struct jvalue object, const char *key)
{
	struct jvalue v;

	return get(object, key, JVALUE_STRING, &v) && *jvalue_string(v) ? jvalue_string(v) : "-";
}

static uint64_t get_number(struct jvalue object, const char *key)
{
	struct jvalue v;

	return get(object, key, JVALUE_INTEGER, &v) && jvalue_integer(v) > 0 ? (uint64_t)jvalue_integer(v) : 0;
}

static bool get_bool(struct jvalue object, const char *key)
{
	struct jvalue v;

	return get(object, key, JVALUE_BOOL, &v) && jvalue_bool(v);
}

/* "2009 of 2503 (80 %)" */
static const char *hits_to_text(struct jvalue object, char text[80])
{
	struct jvalue stats;
	uint64_t hits, all;

	if (!get(object, "stats_total", JVALUE_OBJECT, &stats))
		return "-";
	hits = get_number(stats, "cache_hits");
	all = hits + get_number(stats, "cache_misses");
	if (all)
		snprintf(text, 80, "%llu of %llu (%u %%)", (unsigned long long)hits, (unsigned long long)all,
			 (unsigned)(100.0 * (double)hits / (double)all));
	else
		snprintf(text, 80, "none yet");
	return text;
}

/* --- printing ------------------------------------------------------------------------------------------------------------ */

static void print_set(struct jvalue set)
{
	char size[SIZE_TEXT_BYTES], hits[80];
	struct jvalue caches;

	printf("set %s: %s\n", get_string(set, "uuid"), get_string(set, "state"));
	printf("  in use       %llu %%\n", (unsigned long long)get_number(set, "in_use_percent"));
	printf("  read hits    %s\n", hits_to_text(set, hits));
	if (!get(set, "caches", JVALUE_ARRAY, &caches))
		return;
	for (struct jiter it = jiter_begin(caches); jiter_next(&it);) {
		uint64_t bytes = get_number(it.value, "nbuckets") * get_number(set, "bucket_size");

		printf("  %-12s %s of %s, %llu buckets, %s%s\n", get_string(it.value, "name"), get_string(it.value, "path"),
		       size_to_text(bytes, size), (unsigned long long)get_number(it.value, "nbuckets"),
		       get_string(it.value, "cache_replacement_policy"), get_bool(it.value, "discard") ? ", discard" : "");
	}
}

static void print_devices(struct jvalue devices)
{
	static const char format[] = "%-8s %10s  %-13s %-13s %10s  %-22s %s\n";
	bool any = false;

	for (struct jiter it = jiter_begin(devices); jiter_next(&it);) {
		char size[SIZE_TEXT_BYTES], dirty[SIZE_TEXT_BYTES], hits[80];

		if (!any)
			printf(format, "DEVICE", "SIZE", "MODE", "STATE", "DIRTY", "READ HITS", "BACKING DEVICE");
		any = true;
		printf(format, get_string(it.value, "name"), size_to_text(get_number(it.value, "size"), size),
		       get_string(it.value, "cache_mode"), get_string(it.value, "state"),
		       size_to_text(get_number(it.value, "dirty_data"), dirty), hits_to_text(it.value, hits),
		       get_string(it.value, "backing_path"));
	}
	if (!any)
		puts("no devices");
}

static void print_status(const char *mount, struct jvalue root)
{
	struct jvalue list;
	uint64_t uptime_s = get_number(root, "uptime_ms") / 1000;

	printf("%s: bcache-fuse %s, up %llu:%02u:%02u\n", mount, get_string(root, "version"),
	       (unsigned long long)(uptime_s / 3600), (unsigned)(uptime_s / 60 % 60), (unsigned)(uptime_s % 60));
	if (get(root, "sets", JVALUE_ARRAY, &list))
		for (struct jiter it = jiter_begin(list); jiter_next(&it);)
			print_set(it.value);
	if (get(root, "devices", JVALUE_ARRAY, &list))
		print_devices(list);
}

/* --- finding and reading ------------------------------------------------------------------------------------------------- */

/* mountinfo writes blanks and the like as three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to++ = (char)c;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Mount points of all our file systems. Returns how many; the caller frees the strings. */
static unsigned find_mounts(char *mounts[MOUNTS_MAX])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *text = NULL;
	size_t size_bytes = 0;
	unsigned nr = 0;

	while (f && nr < MOUNTS_MAX && getline(&text, &size_bytes, f) > 0) {
		char *rest = strstr(text, " - "), type[64], *point = NULL;

		/* id parent major:minor root mountpoint options ... - type source options */
		if (!rest || sscanf(rest, " - %63s", type) != 1 || strcmp(type, FS_TYPE) ||
		    sscanf(text, "%*s %*s %*s %*s %ms", &point) != 1)
			continue;
		unescape(point);
		mounts[nr++] = point;
	}
	free(text);
	if (f)
		fclose(f);
	return nr;
}

/* A whole file as a string; NULL and errno. The sizes that control files claim mean nothing. */
static char *read_file(const char *path, size_t *ret_len_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(STATUS_BYTES_MAX + 1);
	size_t len = 0;
	ssize_t n = text ? 1 : -1;

	while (n > 0 && len < STATUS_BYTES_MAX) {
		n = read(fd, text + len, STATUS_BYTES_MAX - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		int err = errno;

		free(text);
		text = NULL;
		errno = err;
	} else {
		text[len] = '\0';
		*ret_len_bytes = len;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

static int status_one(const char *mount, bool json)
{
	char path[4200], reason[300] = "";
	struct printbuf why = PRINTBUF(reason);
	struct json_doc *doc;
	size_t len_bytes = 0;
	char *text;
	int r;

	snprintf(path, sizeof(path), "%s/.ctl/status.json", mount);
	text = read_file(path, &len_bytes);
	if (!text && errno == ENOENT)
		return tool_fail("%s: no bcache-fuse is mounted here", mount);
	if (!text)
		return tool_fail("%s: %s", path, strerror(errno));
	r = json_doc_parse(path, text, len_bytes, &doc, &why);
	if (r < 0) {
		free(text);
		return tool_fail("%s", reason);
	}
	if (json)
		fputs(text, stdout);
	else
		print_status(mount, json_doc_root(doc));
	fflush(stdout); /* the next mount may not answer */
	json_doc_free(doc);
	free(text);
	return EXIT_DONE;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, { NULL, 0, NULL, 0 } };
	char *mounts[MOUNTS_MAX];
	unsigned nr;
	int opt, status = EXIT_DONE;
	bool json = false;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt != 'j')
			return tool_usage(&cmd_status, "unknown option %s", argv[optind - 1]);
		json = true;
	}
	if (optind < argc) {
		for (int i = optind; i < argc; i++)
			status = max(status, status_one(argv[i], json));
		return status;
	}
	nr = find_mounts(mounts);
	if (!nr)
		return tool_fail("no bcache-fuse is mounted");
	for (unsigned i = 0; i < nr; i++) {
		status = max(status, status_one(mounts[i], json));
		free(mounts[i]);
	}
	return status;
}

const struct command cmd_status = {
	.name = "status",
	.summary = "what the running bcache-fuse is doing",
	.run = run,
	.help =
"Usage: bcachectl status [--json] [MOUNTPOINT]...\n"
"Print sets, cache devices and cached devices of running bcache-fuse mounts: state, mode,\n"
"dirty data, hit ratio. Without a MOUNTPOINT: of every mount on this machine.\n"
"\n"
"      --json                   print .ctl/status.json as it is, one line per mount\n"
"  -h, --help                   print this\n",
};
