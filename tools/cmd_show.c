/* SPDX-License-Identifier: GPL-2.0-only */
/* bcachectl show: the superblock of a bcache device, also of a damaged one, and what is wrong with it. */
#include "core/admin/json.h"
#include "formats/super.h"
#include "tools/signature.h"
#include "tools/size.h"
#include "tools/tool.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct view {
	const char *path;
	uint64_t device_sectors;
	struct super *super;
	bool in_use;		/* by a daemon, or the kernel */
	bool recognised;	/* the rest is worth printing */
	bool csum_good;
	uint64_t csum_expected;
	char problem[300];	/* "" = sound */
};

static const char *version_name(uint64_t version)
{
	switch (version) {
	case SUPER_CACHE_NEW: return "cache, never registered";
	case SUPER_BACKING: return "backing";
	case SUPER_CACHE: return "cache";
	case SUPER_BACKING_OFFSET: return "backing, data offset given";
	case SUPER_CACHE_FEATURES: return "cache with feature bits";
	case SUPER_BACKING_FEATURES: return "backing with feature bits";
	default: return "unknown";
	}
}

static const char *kind_name(const struct super *s)
{
	if (s->version > SUPER_BACKING_FEATURES || s->version == 2)
		return "unknown";
	return super_is_backing(s) ? "backing" : "cache";
}

/* A few flipped bits do not turn a superblock into something else. */
static bool magic_is_near(const uint8_t magic[16])
{
	static const uint8_t good[16] = { 0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca,
					  0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81 };
	int flipped = 0;

	for (int i = 0; i < 16; i++)
		flipped += __builtin_popcount(good[i] ^ magic[i]);
	return flipped <= 8;
}

/* The superblock of a device that somebody uses: just these bytes, without the lock that a second user would need. */
static int read_in_use(struct view *v)
{
	int fd = open(v->path, O_RDONLY | O_CLOEXEC), r = 0;
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END); /* block devices too */

	if (end < 0 || pread(fd, v->super, SUPER_BYTES, SUPER_SECTOR * SECTOR_BYTES) != SUPER_BYTES)
		r = -EIO;
	else
		v->device_sectors = (uint64_t)end / SECTOR_BYTES;
	if (fd >= 0)
		close(fd);
	v->in_use = true;
	return r;
}

/* Read what is where the superblock should be. The logical block size stays 0 when it is not known. */
static int read_super(struct view *v, struct super_limits *limits, struct signature *found, struct printbuf *why)
{
	struct blkdev *d;
	int r = device_open(v->path, true, &d, why);

	if (r == -EBUSY && read_in_use(v) == 0) {
		printbuf_reset(why);
		limits->device_sectors = v->device_sectors;
		return 0;
	}
	if (r < 0)
		return r;
	v->device_sectors = limits->device_sectors = d->nr_sectors;
	limits->logical_block_bytes = d->logical_block_bytes;
	if (d->nr_sectors < SUPER_SECTOR + SUPER_BYTES / SECTOR_BYTES) {
		pr(why, "%s: not a bcache device: too small for a superblock (%llu bytes)", v->path,
		   (unsigned long long)(d->nr_sectors * SECTOR_BYTES));
		r = -EINVAL;
	} else {
		r = device_read(d, SUPER_SECTOR, v->super, SUPER_BYTES / SECTOR_BYTES);
		if (r >= 0)
			r = signature_find(d, found);
		if (r < 0)
			pr(why, "%s: cannot read: %s", v->path, strerror(-r));
	}
	blk_close(d);
	return r;
}

/* Fill in the view: the verdict is the return value, its reason is in v->problem. */
static int examine(struct view *v)
{
	struct printbuf why = PRINTBUF(v->problem);
	struct super_limits limits = { 0 };
	struct signature found = { 0 };
	struct super *copy;
	int r;

	v->super = aligned_alloc(PAGE_BYTES, 2 * SUPER_BYTES);
	r = v->super ? read_super(v, &limits, &found, &why) : -ENOMEM;
	if (r < 0)
		return r;
	if (!magic_is_near(v->super->magic)) {
		if (found.name)
			pr(&why, "%s: not a bcache device: contains data: %s", v->path, found.name);
		else
			pr(&why, "%s: not a bcache device: no superblock magic at byte 4120", v->path);
		return -EINVAL;
	}
	v->recognised = true;
	copy = v->super + 1;
	memcpy(copy, v->super, SUPER_BYTES);
	if (copy->keys <= SUPER_KEYS_MAX) {
		super_seal(copy);
		v->csum_expected = copy->csum;
		v->csum_good = copy->csum == v->super->csum;
	}
	return super_validate(v->super, &limits, &why);
}

/* --- as text ------------------------------------------------------------------------------------------------------------- */

static void line(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void line(const char *name, const char *fmt, ...)
{
	va_list ap;

	printf("  %-16s ", name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void line_uuid(const char *name, const uint8_t uuid[16])
{
	char text[40];
	struct printbuf pb = PRINTBUF(text);

	if (uuid_is_zero(uuid))
		pr(&pb, "none");
	else
		pr_uuid(&pb, uuid);
	line(name, "%s", text);
}

static void line_sectors(const char *name, uint64_t sectors)
{
	char size[SIZE_TEXT_BYTES];

	if (sectors > UINT64_MAX / SECTOR_BYTES)
		line(name, "%llu sectors", (unsigned long long)sectors);
	else
		line(name, "%s (%llu sector%s)", size_to_text(sectors * SECTOR_BYTES, size), (unsigned long long)sectors,
		     sectors == 1 ? "" : "s");
}

static void line_time(const char *name, uint32_t seconds)
{
	time_t t = seconds;
	char text[40];

	if (!seconds || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", gmtime(&t)))
		strcpy(text, "never");
	line(name, "%s", text);
}

static void print_cache(const struct super *s)
{
	line("buckets", "%llu, the first at %u", (unsigned long long)s->nbuckets_or_data_offset, s->first_bucket);
	line_sectors("bucket size", super_bucket_sectors(s));
	if (s->keys && s->keys <= SUPER_KEYS_MAX)
		line("journal", "%u buckets, %llu to %llu", s->keys, (unsigned long long)s->d[0],
		     (unsigned long long)s->d[s->keys - 1]);
	else if (s->keys)
		line("journal", "%u buckets: impossible", s->keys);
	else
		line("journal", "none yet");
	line("contents", super_sync(s) ? "valid (sync)" : "none: to be initialised (not sync)");
	line("replacement", "%s", replacement_names[super_replacement(s)]);
	line("discard", super_discard(s) ? "on" : "off");
	line("sequence", "%llu", (unsigned long long)s->seq);
	line("member", "%u of %u", s->nr_this_dev, s->nr_in_set);
	if (s->version == SUPER_CACHE_FEATURES)
		line("features", "compat %#llx, incompat %#llx, ro_compat %#llx", (unsigned long long)s->feature_compat,
		     (unsigned long long)s->feature_incompat, (unsigned long long)s->feature_ro_compat);
}

static void print_backing(const struct super *s, uint64_t device_sectors)
{
	char label[LABEL_BYTES + 1];
	uint64_t data_offset = super_data_offset(s);

	label_to_text(s->label, label);
	line("label", "%s", label);
	line_sectors("data offset", data_offset);
	if (data_offset < device_sectors)
		line_sectors("data size", device_sectors - data_offset);
	line("cache mode", "%s", cache_mode_names[super_cache_mode(s)]);
	line("state", "%s", bdev_state_names[super_state(s)]);
}

static void print_text(const struct view *v)
{
	const struct super *s = v->super;

	printf("%s: bcache %s device%s\n", v->path, kind_name(s), v->in_use ? ", in use" : "");
	line_sectors("device size", v->device_sectors);
	line("version", "%llu (%s)", (unsigned long long)s->version, version_name(s->version));
	if (v->csum_good)
		line("checksum", "%016llx, good", (unsigned long long)s->csum);
	else
		line("checksum", "%016llx, should be %016llx", (unsigned long long)s->csum, (unsigned long long)v->csum_expected);
	line_uuid("uuid", s->uuid);
	line_uuid("set uuid", s->set_uuid);
	line_sectors("block size", s->block_sectors);
	if (super_is_backing(s))
		print_backing(s, v->device_sectors);
	else
		print_cache(s);
	line_time("last registered", s->last_mount);
	line("verdict", "%s", v->problem[0] ? v->problem : "good");
}

/* --- as JSON: the object "superblock" has the format's own names and units (sectors) ------------------------------------- */

static void json_cache(struct jout *j, const struct super *s)
{
	jout_uint(j, "bucket_size", super_bucket_sectors(s));
	jout_uint(j, "nbuckets", s->nbuckets_or_data_offset);
	jout_uint(j, "first_bucket", s->first_bucket);
	jout_uint(j, "nr_in_set", s->nr_in_set);
	jout_uint(j, "nr_this_dev", s->nr_this_dev);
	jout_uint(j, "feature_compat", s->feature_compat);
	jout_uint(j, "feature_incompat", s->feature_incompat);
	jout_uint(j, "feature_ro_compat", s->feature_ro_compat);
	jout_bool(j, "sync", super_sync(s));
	jout_bool(j, "discard", super_discard(s));
	jout_string(j, "replacement", replacement_names[super_replacement(s)]);
	jout_array_begin(j, "journal_buckets");
	for (unsigned i = 0; i < min(s->keys, (uint16_t)SUPER_KEYS_MAX); i++)
		jout_uint(j, NULL, s->d[i]);
	jout_array_end(j);
}

static void json_backing(struct jout *j, const struct super *s)
{
	static const char *const states[] = { "none", "clean", "dirty", "stale" };

	jout_uint(j, "data_offset", super_data_offset(s));
	jout_string(j, "cache_mode", cache_mode_names[super_cache_mode(s)]);
	jout_string(j, "state", states[super_state(s)]);
}

static void json_super(struct jout *j, const struct view *v)
{
	const struct super *s = v->super;
	char text[40];

	jout_object_begin(j, "superblock");
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)s->csum);
	jout_string(j, "csum", text);
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)v->csum_expected);
	jout_string(j, "csum_expected", v->super->keys <= SUPER_KEYS_MAX ? text : NULL);
	jout_uint(j, "version", s->version);
	jout_uuid(j, "uuid", s->uuid);
	jout_uuid(j, "set_uuid", s->set_uuid);
	jout_bytes(j, "label", s->label, strnlen(s->label, LABEL_BYTES));
	snprintf(text, sizeof(text), "0x%016llx", (unsigned long long)s->flags);
	jout_string(j, "flags", text);
	jout_uint(j, "seq", s->seq);
	jout_uint(j, "last_mount", s->last_mount);
	jout_uint(j, "block_size", s->block_sectors);
	if (super_is_backing(s))
		json_backing(j, s);
	else
		json_cache(j, s);
	jout_object_end(j);
}

static void json_view(struct jout *j, const struct view *v)
{
	jout_object_begin(j, NULL);
	jout_string(j, "path", v->path);
	jout_string(j, "kind", v->recognised ? kind_name(v->super) : NULL);
	jout_bool(j, "in_use", v->in_use);
	jout_string(j, "problem", v->problem[0] ? v->problem : NULL);
	if (v->recognised) {
		jout_uint(j, "device_sectors", v->device_sectors);
		json_super(j, v);
	}
	jout_object_end(j);
}

/* --- command ------------------------------------------------------------------------------------------------------------- */

#define JSON_BYTES_PER_DEVICE KIB(32) /* 256 journal buckets included */

/* As text when j is NULL. Complaints go to stderr in both cases. */
static int show_one(const char *path, struct jout *j)
{
	struct view v = { .path = path };
	int r = examine(&v), status = EXIT_DONE;

	if (j)
		json_view(j, &v);
	else if (v.recognised)
		print_text(&v);
	if (r < 0) {
		fflush(stdout);
		if (v.recognised)
			status = tool_fail("%s: damaged superblock: %s", path, v.problem);
		else
			status = tool_fail("%s", v.problem[0] ? v.problem : strerror(-r));
	}
	free(v.super);
	return status;
}

static int show_json(char **paths, int nr_paths)
{
	size_t size_bytes = JSON_BYTES_PER_DEVICE * (size_t)(nr_paths + 1);
	char *text = malloc(size_bytes);
	struct printbuf pb;
	struct jout j;
	int status = EXIT_DONE;

	if (!text)
		return tool_fail("out of memory");
	pb = printbuf_over(text, size_bytes);
	j = jout_begin(&pb);
	jout_array_begin(&j, NULL);
	for (int i = 0; i < nr_paths; i++)
		status = max(status, show_one(paths[i], &j));
	jout_array_end(&j);
	jout_end(&j);
	fputs(text, stdout);
	free(text);
	return status;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, { NULL, 0, NULL, 0 } };
	int opt, status = EXIT_DONE;
	bool json = false;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt != 'j')
			return tool_usage(&cmd_show, "unknown option %s", argv[optind - 1]);
		json = true;
	}
	if (optind == argc)
		return tool_usage(&cmd_show, "no device given");
	if (json)
		return show_json(argv + optind, argc - optind);
	for (int i = optind; i < argc; i++)
		status = max(status, show_one(argv[i], NULL));
	return status;
}

const struct command cmd_show = {
	.name = "show",
	.summary = "print the superblock of bcache devices, and what is wrong with it",
	.run = run,
	.help =
"Usage: bcachectl show [--json] DEVICE...\n"
"Print the superblock of bcache devices or images. Devices in use can be shown too;\n"
"nothing is ever written. A damaged superblock is printed as far as it goes, with the\n"
"reason why it would be refused; the exit status is then 1.\n"
"\n"
"      --json                   print one JSON array with an object per device\n"
"  -h, --help                   print this\n",
};
