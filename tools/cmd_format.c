/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bcachectl format: turn devices or files into bcache devices.
 *
 * All devices are opened (and so locked), inspected and their superblocks built before the first byte of any is written: a
 * mistake in one argument leaves everything as it was. Each device is then written in the order
 *
 *      bytes 0..4095 zeroed, old journal of a reused set wiped  →  flush  →  superblock  →  flush
 *
 * so that a device carries its new superblock only when nothing old is left that could be taken for its contents.
 */
#include "core/admin/digest.h"
#include "formats/geometry.h"
#include "formats/super.h"
#include "tools/signature.h"
#include "tools/size.h"
#include "tools/tool.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TARGETS_MAX 64
#define BUCKET_BYTES_DEFAULT KIB(512) /* halved for small caches until there are BUCKETS_WANTED of them */
#define BUCKETS_WANTED 1024
#define JOURNAL_BUCKETS_SHIFT 7	      /* the kernel's journal: one bucket in 128, at least 2 (format.md §12.2) */

struct target {
	const char *path;
	const char *label;
	uint64_t size_bytes; /* of the image to create; 0 = the device exists */
	bool backing;
	bool created;	     /* by us: removed again if anything goes wrong */
	bool reuses_set;     /* entries of an old journal could be taken for this set's */
	struct blkdev *dev;
	struct super *old;   /* the superblock that is being replaced, if it was a valid one; else NULL */
	struct super *super;
};

struct format {
	struct target targets[TARGETS_MAX];
	unsigned nr_targets, nr_caches, nr_backings;
	const char *label;	/* for backing devices without their own */
	uint64_t size_bytes;	/* for targets without their own */
	uint64_t bucket_bytes, block_bytes, data_offset_sectors;
	uint8_t set_uuid[16];
	bool set_uuid_given, writeback, discard, wipe_bcache, force;
	enum replacement replacement;
};

static int parse_unit_size(const char *option, const char *text, uint64_t *ret_bytes)
{
	int r = size_parse(text, ret_bytes);

	if (r < 0 || !*ret_bytes)
		return tool_usage(&cmd_format, "%s: '%s' is not a size", option, text);
	if (*ret_bytes % SECTOR_BYTES)
		return tool_usage(&cmd_format, "%s: '%s' is not a multiple of 512 bytes", option, text);
	return 0;
}

static int parse_replacement(struct format *f, const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(replacement_names); i++) {
		if (!strcmp(text, replacement_names[i])) {
			f->replacement = (enum replacement)i;
			return 0;
		}
	}
	return tool_usage(&cmd_format, "'%s' is not a replacement policy (lru, fifo, random)", text);
}

static int add_target(struct format *f, const char *path, int kind)
{
	if (!kind)
		return tool_usage(&cmd_format, "'%s': say --cache or --backing first", path);
	if (f->nr_targets == TARGETS_MAX)
		return tool_usage(&cmd_format, "more than %d devices", TARGETS_MAX);
	f->targets[f->nr_targets++] = (struct target){ .path = path, .backing = kind == 'B' };
	*(kind == 'B' ? &f->nr_backings : &f->nr_caches) += 1;
	return 0;
}

/* --size and --label belong to the device named last; before the first device they are everybody's default. */
static int set_size(struct format *f, const char *text)
{
	return parse_unit_size("--size", text, f->nr_targets ? &f->targets[f->nr_targets - 1].size_bytes : &f->size_bytes);
}

static int set_label(struct format *f, const char *text)
{
	if (strlen(text) > LABEL_BYTES)
		return tool_usage(&cmd_format, "--label: '%s' is longer than %u bytes", text, LABEL_BYTES);
	if (f->nr_targets && !f->targets[f->nr_targets - 1].backing)
		return tool_usage(&cmd_format, "--label: only backing devices have one, and '%s' is a cache",
				  f->targets[f->nr_targets - 1].path);
	*(f->nr_targets ? &f->targets[f->nr_targets - 1].label : &f->label) = text;
	return 0;
}

static int check_combination(struct format *f)
{
	if (!f->nr_targets)
		return tool_usage(&cmd_format, "no device given");
	if (f->nr_caches > 1 && (f->nr_backings || f->set_uuid_given))
		return tool_usage(&cmd_format, "a set has one cache device: format the %u caches one by one", f->nr_caches);
	if (!f->nr_backings && (f->writeback || f->data_offset_sectors || f->label))
		return tool_usage(&cmd_format, "--writeback, --data-offset and --label need a backing device");
	if (!f->nr_caches && f->discard)
		return tool_usage(&cmd_format, "--discard needs a cache device");
	for (unsigned i = 0; i < f->nr_targets; i++) {
		struct target *t = &f->targets[i];

		t->size_bytes = t->size_bytes ? t->size_bytes : f->size_bytes;
		t->label = t->label ? t->label : f->label;
	}
	return 0;
}

/* Returns 0 or the exit status. */
static int parse_options(struct format *f, int argc, char **argv)
{
	enum { OPT_LABEL = 256, OPT_WRITEBACK, OPT_DISCARD, OPT_REPLACEMENT, OPT_CSET_UUID, OPT_WIPE, OPT_FORCE, OPT_SIZE };
	static const struct option options[] = {
		{ "cache", optional_argument, NULL, 'C' },
		{ "bdev", optional_argument, NULL, 'B' },
		{ "backing", optional_argument, NULL, 'B' },
		{ "bucket", required_argument, NULL, 'b' },
		{ "block", required_argument, NULL, 'w' },
		{ "data-offset", required_argument, NULL, 'o' },
		{ "data_offset", required_argument, NULL, 'o' },
		{ "label", required_argument, NULL, OPT_LABEL },
		{ "size", required_argument, NULL, OPT_SIZE },
		{ "writeback", no_argument, NULL, OPT_WRITEBACK },
		{ "discard", no_argument, NULL, OPT_DISCARD },
		{ "cache-replacement-policy", required_argument, NULL, OPT_REPLACEMENT },
		{ "cache_replacement_policy", required_argument, NULL, OPT_REPLACEMENT },
		{ "cset-uuid", required_argument, NULL, OPT_CSET_UUID },
		{ "wipe-bcache", no_argument, NULL, OPT_WIPE },
		{ "force", no_argument, NULL, OPT_FORCE },
		{ NULL, 0, NULL, 0 },
	};
	int opt, kind = 0, status = 0;

	/* '-' hands over the other arguments in their place: make-bcache's "-B FILE FILE -C FILE" */
	while (!status && (opt = getopt_long(argc, argv, "-:C::B::b:w:o:", options, NULL)) != -1) {
		switch (opt) {
		case 'C':
		case 'B':
			kind = opt;
			status = optarg ? add_target(f, optarg, kind) : 0;
			break;
		case 1: status = add_target(f, optarg, kind); break;
		case 'b': status = parse_unit_size("--bucket", optarg, &f->bucket_bytes); break;
		case 'w': status = parse_unit_size("--block", optarg, &f->block_bytes); break;
		case 'o':
			if (number_parse(optarg, INT64_MAX / SECTOR_BYTES, &f->data_offset_sectors) < 0 ||
			    f->data_offset_sectors < DATA_OFFSET_DEFAULT)
				status = tool_usage(&cmd_format, "--data-offset: '%s' is not a number of sectors, at least %u",
						    optarg, DATA_OFFSET_DEFAULT);
			break;
		case OPT_LABEL: status = set_label(f, optarg); break;
		case OPT_SIZE: status = set_size(f, optarg); break;
		case OPT_WRITEBACK: f->writeback = true; break;
		case OPT_DISCARD: f->discard = true; break;
		case OPT_REPLACEMENT: status = parse_replacement(f, optarg); break;
		case OPT_CSET_UUID:
			if (uuid_parse(optarg, f->set_uuid) < 0 || uuid_is_zero(f->set_uuid))
				status = tool_usage(&cmd_format, "--cset-uuid: '%s' is not a UUID", optarg);
			f->set_uuid_given = true;
			break;
		case OPT_WIPE: f->wipe_bcache = true; break;
		case OPT_FORCE: f->force = f->wipe_bcache = true; break;
		case ':': status = tool_usage(&cmd_format, "%s needs a value", argv[optind - 1]); break;
		default: status = tool_usage(&cmd_format, "unknown option %s", argv[optind - 1]); break;
		}
	}
	for (; !status && optind < argc; optind++) /* after "--" */
		status = add_target(f, argv[optind], kind);
	return status ? status : check_combination(f);
}

/* --- preparation: nothing is written to a device that existed before ----------------------------------------------------- */

static int create_image(struct target *t)
{
	struct stat st;
	int fd;

	if (!stat(t->path, &st)) {
		if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == t->size_bytes)
			return 0;
		return tool_fail("%s: exists and is not an image of %llu bytes; --size is for new images", t->path,
				 (unsigned long long)t->size_bytes);
	}
	fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return tool_fail("%s: cannot create: %s", t->path, strerror(errno));
	t->created = true;
	if (ftruncate(fd, (off_t)t->size_bytes) < 0) {
		int err = errno;

		close(fd);
		return tool_fail("%s: cannot make it %llu bytes long: %s", t->path, (unsigned long long)t->size_bytes, strerror(err));
	}
	close(fd);
	return 0;
}

/* Refuse what looks used, unless told otherwise; remember the superblock that we replace. */
static int inspect_contents(struct format *f, struct target *t)
{
	struct super_limits limits = { t->dev->nr_sectors, t->dev->logical_block_bytes };
	struct signature found;
	int r = signature_find(t->dev, &found);

	if (r < 0)
		return tool_fail("%s: cannot read: %s", t->path, strerror(-r));
	if (found.name && !(found.bcache ? f->wipe_bcache : f->force))
		return tool_fail("%s: contains data: %s (magic number at byte %llu); %s overwrites it", t->path, found.name,
				 (unsigned long long)found.offset_bytes, found.bcache ? "--wipe-bcache" : "--force");
	if (found.name && !found.bcache && found.offset_bytes >= (SUPER_SECTOR * SECTOR_BYTES + SUPER_BYTES))
		tool_warn("%s: the magic number at byte %llu stays: other programs may still see this: %s", t->path,
			  (unsigned long long)found.offset_bytes, found.name);
	if (!found.bcache)
		return 0;
	t->old = aligned_alloc(PAGE_BYTES, SUPER_BYTES);
	if (!t->old)
		return tool_fail("out of memory");
	r = device_read(t->dev, SUPER_SECTOR, t->old, SUPER_BYTES / SECTOR_BYTES);
	if (r < 0)
		return tool_fail("%s: cannot read its superblock: %s", t->path, strerror(-r));
	if (super_validate(t->old, &limits, NULL) < 0) {
		free(t->old);
		t->old = NULL;
	}
	return 0;
}

static int open_target(struct format *f, struct target *t)
{
	char text[300] = "";
	struct printbuf why = PRINTBUF(text);
	int r;

	if (t->size_bytes) {
		r = create_image(t);
		if (r)
			return r;
	}
	for (struct target *o = f->targets; o < t; o++) {
		struct stat st;

		if (!stat(t->path, &st) && o->dev->id.dev == (uint64_t)st.st_dev && o->dev->id.ino == (uint64_t)st.st_ino)
			return tool_fail("%s: named twice", t->path);
	}
	r = device_open(t->path, false, &t->dev, &why);
	if (r < 0)
		return tool_fail("%s", text[0] ? text : strerror(-r));
	if (t->dev->nr_sectors < SUPER_SECTOR + SUPER_BYTES / SECTOR_BYTES)
		return tool_fail("%s: too small for a superblock: %llu bytes", t->path,
				 (unsigned long long)(t->dev->nr_sectors * SECTOR_BYTES));
	return inspect_contents(f, t);
}

/* One block size for the whole call: a set refuses backing devices whose blocks are smaller than the cache's. */
static void choose_block_size(struct format *f)
{
	if (f->block_bytes)
		return;
	f->block_bytes = SECTOR_BYTES;
	for (unsigned i = 0; i < f->nr_targets; i++)
		f->block_bytes = max(f->block_bytes, (uint64_t)f->targets[i].dev->logical_block_bytes);
}

static uint64_t choose_bucket_bytes(const struct format *f, const struct target *t)
{
	uint64_t bytes = BUCKET_BYTES_DEFAULT;

	if (f->bucket_bytes)
		return f->bucket_bytes;
	while (!t->backing && bytes > PAGE_BYTES && t->dev->nr_sectors * SECTOR_BYTES / bytes < BUCKETS_WANTED)
		bytes /= 2;
	return bytes;
}

static int build_super(struct format *f, struct target *t)
{
	char text[300] = "";
	struct printbuf why = PRINTBUF(text);
	uint64_t bucket_bytes = choose_bucket_bytes(f, t);
	struct super_format sf = {
		.backing = t->backing,
		.device_sectors = t->dev->nr_sectors,
		.block_sectors = (uint32_t)min(f->block_bytes / SECTOR_BYTES, (uint64_t)UINT32_MAX),
		.bucket_sectors = (uint32_t)min(bucket_bytes / SECTOR_BYTES, (uint64_t)UINT32_MAX),
		.data_offset = f->data_offset_sectors,
		.cache_mode = f->writeback ? CACHE_MODE_WRITEBACK : CACHE_MODE_WRITETHROUGH,
		.replacement = f->replacement,
		.discard = f->discard,
	};
	int r = uuid_random(sf.uuid);

	if (r >= 0 && !t->backing && f->nr_caches > 1) /* unrelated caches: each is a set of its own */
		r = uuid_random(f->set_uuid);
	if (r < 0)
		return tool_fail("the system has no random numbers for a UUID");
	memcpy(sf.set_uuid, f->set_uuid, sizeof(sf.set_uuid));
	if (t->backing && t->label)
		memcpy(sf.label, t->label, strnlen(t->label, LABEL_BYTES));
	if (f->block_bytes % t->dev->logical_block_bytes)
		return tool_fail("%s: block size %llu does not suit a device with blocks of %u bytes", t->path,
				 (unsigned long long)f->block_bytes, t->dev->logical_block_bytes);
	t->super = aligned_alloc(PAGE_BYTES, SUPER_BYTES);
	if (!t->super)
		return tool_fail("out of memory");
	r = super_make(t->super, &sf, &why);
	if (r < 0)
		return tool_fail("%s: %s", t->path, text[0] ? text : strerror(-r));
	t->reuses_set = !t->backing && (f->set_uuid_given || (t->old && super_set_magic(t->old) == super_set_magic(t->super)));
	if (!t->backing && t->super->nbuckets_or_data_offset < KERNEL_BUCKETS_MIN)
		tool_warn("%s: only %llu buckets; the Linux kernel refuses caches with fewer than %u (use a smaller --bucket)",
			  t->path, (unsigned long long)t->super->nbuckets_or_data_offset, KERNEL_BUCKETS_MIN);
	return 0;
}

static int prepare(struct format *f)
{
	int r = 0;

	for (unsigned i = 0; i < f->nr_targets && !r; i++)
		r = open_target(f, &f->targets[i]);
	if (r)
		return r;
	choose_block_size(f);
	/* A backing device formatted alone belongs to no set yet: its set uuid stays zero. */
	if (!f->set_uuid_given && f->nr_caches && uuid_random(f->set_uuid) < 0)
		return tool_fail("the system has no random numbers for a UUID");
	for (unsigned i = 0; i < f->nr_targets && !r; i++)
		r = build_super(f, &f->targets[i]);
	return r;
}

/* --- writing ------------------------------------------------------------------------------------------------------------- */

/* The first block of each bucket in [first, first + nr): an entry there can no longer be read, and so none behind it. */
static int wipe_buckets(struct blkdev *d, const struct geometry *g, uint64_t first, uint64_t nr, const void *zeros)
{
	int r = 0;

	for (uint64_t b = first; b < first + nr && r >= 0; b++) {
		uint64_t sector = geometry_sector(g, b);

		if (sector + PAGE_SECTORS <= d->nr_sectors)
			r = device_write(d, sector, zeros, PAGE_SECTORS);
	}
	return r;
}

/*
 * Journal entries of the same set uuid would be taken for ours (format.md §12.3). They may lie where the old superblock has
 * its journal, and where this one is going to have it.
 */
static int wipe_journal(struct target *t, const void *zeros)
{
	struct geometry g;
	int r = 0;

	if (t->old && !super_is_backing(t->old)) {
		super_geometry(t->old, &g);
		r = wipe_buckets(t->dev, &g, g.first_bucket, t->old->keys, zeros);
	}
	if (r >= 0) {
		super_geometry(t->super, &g);
		r = wipe_buckets(t->dev, &g, g.first_bucket,
				 clamp(g.nr_buckets >> JOURNAL_BUCKETS_SHIFT, (uint64_t)2, (uint64_t)JOURNAL_BUCKETS_MAX), zeros);
	}
	return r;
}

static int write_target(struct target *t)
{
	static const uint8_t zeros[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	int r = device_write(t->dev, 0, zeros, SUPER_SECTOR);

	if (r >= 0 && t->reuses_set)
		r = wipe_journal(t, zeros);
	if (r >= 0)
		r = device_flush(t->dev);
	if (r >= 0)
		r = device_write(t->dev, SUPER_SECTOR, t->super, SUPER_BYTES / SECTOR_BYTES);
	if (r >= 0)
		r = device_flush(t->dev);
	if (r < 0)
		return tool_fail("%s: writing failed, the device is half formatted: %s", t->path, strerror(-r));
	return 0;
}

static void report(const struct target *t)
{
	char text[4000], size[SIZE_TEXT_BYTES];
	struct printbuf pb = PRINTBUF(text);
	const struct super *s = t->super;

	pr(&pb, "%s: %s device of %s%s\n", t->path, t->backing ? "backing" : "cache",
	   size_to_text(t->dev->nr_sectors * SECTOR_BYTES, size), t->created ? ", new image" : "");
	pr(&pb, "  uuid         ");
	pr_uuid(&pb, s->uuid);
	pr(&pb, "\n  set uuid     ");
	if (uuid_is_zero(s->set_uuid))
		pr(&pb, "none yet: attach it to a set");
	else
		pr_uuid(&pb, s->set_uuid);
	pr(&pb, "\n  block size   %s\n", size_to_text((uint64_t)s->block_sectors * SECTOR_BYTES, size));
	if (t->backing) {
		pr(&pb, "  data         %s, from sector %llu on\n",
		   size_to_text((t->dev->nr_sectors - super_data_offset(s)) * SECTOR_BYTES, size),
		   (unsigned long long)super_data_offset(s));
		pr(&pb, "  cache mode   %s\n", cache_mode_names[super_cache_mode(s)]);
		if (t->label)
			pr(&pb, "  label        %s\n", t->label);
	} else {
		pr(&pb, "  buckets      %llu of %s\n", (unsigned long long)s->nbuckets_or_data_offset,
		   size_to_text((uint64_t)super_bucket_sectors(s) * SECTOR_BYTES, size));
		pr(&pb, "  replacement  %s\n  discard      %s\n", replacement_names[super_replacement(s)],
		   super_discard(s) ? "on" : "off");
	}
	fputs(text, stdout);
}

static void close_targets(struct format *f, bool failed)
{
	for (unsigned i = 0; i < f->nr_targets; i++) {
		struct target *t = &f->targets[i];

		blk_close(t->dev);
		free(t->old);
		free(t->super);
		if (failed && t->created)
			(void)unlink(t->path); /* best effort: the error that led here has been reported */
	}
}

static int run(int argc, char **argv)
{
	static struct format f;
	int r = parse_options(&f, argc, argv);

	if (r)
		return r;
	r = prepare(&f);
	for (unsigned i = 0; i < f.nr_targets && !r; i++)
		r = write_target(&f.targets[i]);
	for (unsigned i = 0; i < f.nr_targets && !r; i++)
		report(&f.targets[i]);
	close_targets(&f, r != 0);
	return r ? EXIT_FAILED : EXIT_DONE;
}

const struct command cmd_format = {
	.name = "format",
	.summary = "make cache and backing devices out of devices or image files",
	.run = run,
	.help =
"Usage: bcachectl format [OPTION]... --cache DEVICE --backing DEVICE...\n"
"Make cache and backing devices out of block devices or image files. Backing devices\n"
"formatted together with a cache are attached to it when both are registered.\n"
"Nothing is written unless every device named is fit to be formatted.\n"
"\n"
"  -C, --cache [DEVICE]...      the devices that follow are caches\n"
"  -B, --bdev, --backing [DEVICE]...\n"
"                               the devices that follow are backing devices\n"
"      --size SIZE              create the device named last as a sparse image file;\n"
"                               before any device: every device\n"
"\n"
"  -w, --block SIZE             block size (default: the largest of the devices' own)\n"
"  -b, --bucket SIZE            bucket size of the cache (default: 512k, less for small\n"
"                               caches so that there are 1024 buckets)\n"
"      --cset-uuid UUID         uuid of the cache set (default: a random one)\n"
"      --cache-replacement-policy lru|fifo|random\n"
"                               what to evict first (default: lru)\n"
"      --discard                discard buckets when they become free\n"
"\n"
"  -o, --data-offset SECTORS    where the data of a backing device starts (default: 16)\n"
"      --label TEXT             label of the backing device named last; before any\n"
"                               device: of all of them\n"
"      --writeback              start in writeback mode (default: writethrough)\n"
"\n"
"      --wipe-bcache            overwrite a device that is a bcache device already\n"
"      --force                  overwrite any device that is not in use\n"
"  -h, --help                   print this\n"
"\n"
"Sizes are bytes, or have a unit: 512k, 4M, 1.5G (powers of 1024).\n",
};
