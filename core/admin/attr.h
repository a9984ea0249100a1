/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Attributes: the control files as one table of data.
 *
 * Why: a control file is a name, a mode, a number's place and bounds. What two files have in common (parsing, clamping, printing, error
 * texts) is here once, exactly as control-files.md §1 says, so that a file is one row in attr_<object>.c and every strictness rule holds everywhere.
 * Model: a directory of the tree is an object (struct attr_object) of one kind (enum attr_dir), and each kind has one table of rows. A row
 * takes its value from a field of the object, from get() or, if it is not one number, from show(); a write is parsed by `input`, clamped
 * to min..max (or bounds()), and goes to the field (then changed()) or to store().
 * Waiting: show() and get() never yield. store() may; it holds what it needs across the wait, and the machinery looks at nothing but
 * the result afterwards. stream() may yield too: for what is read from the whole index; its set is held meanwhile.
 */
#include "core/set/instance.h"

#define BCF_VERSION "0.1.0"

enum attr_dir {
	ATTR_DIR_ROOT,	   /* .ctl */
	ATTR_DIR_BDEV,	   /* dev<N> of a backing device */
	ATTR_DIR_VOLUME,   /* dev<N> of a flash-only volume */
	ATTR_DIR_SET,	   /* <set-uuid> */
	ATTR_DIR_INTERNAL, /* <set-uuid>/internal */
	ATTR_DIR_CACHE,	   /* <set-uuid>/cache0 */
	ATTR_DIR_STATS,	   /* <set-uuid>/stats_*, dev<N>/stats_* */
	ATTR_DIR_BY,	   /* by, by/uuid, by/label: no attributes */
	ATTR_DIR_BY_UUID,
	ATTR_DIR_BY_LABEL,
	ATTR_DIRS
};

struct attr_object {
	struct bcf *b;
	struct bdev *d;		   /* BDEV, VOLUME, their STATS */
	struct cset *c;		   /* SET, INTERNAL, CACHE, their STATS; of a device: its set or NULL */
	const struct stats *stats; /* STATS */
	bool restoring;		   /* what is stored comes from the state file, and holds also for the time after an attach */
	enum stat_period period;
};

/* control-files.md §1.3 */
enum attr_input {
	ATTR_IN_NONE,	/* read-only */
	ATTR_IN_U,	/* decimal number, clamped */
	ATTR_IN_B,	/* as U; anything but 0 is 1 */
	ATTR_IN_H,	/* bytes with an optional unit and, before a unit, an optional fraction ("H+") */
	ATTR_IN_UH,	/* U in the kernel, H+ here: a plus sign is fine, a bare number keeps its kernel meaning, a unit means bytes */
	ATTR_IN_E,	/* one of words[] */
	ATTR_IN_UUID,
	ATTR_IN_LABEL,
	ATTR_IN_PATH,	/* any text, white space around it stripped */
	ATTR_IN_ANY,	/* whatever */
};

enum attr_format {
	ATTR_DEC,
	ATTR_HR,	 /* bytes, for humans (§1.2) */
	ATTR_HR_SECTORS, /* the value is in sectors, the text in bytes; so is an input with a unit */
	ATTR_LIST,	 /* words[], the current one in brackets */
};

struct attr_value {
	uint64_t number; /* U B H UH; E: index of the word */
	bool has_unit;
	uint8_t uuid[16];
	const char *text; /* LABEL PATH ANY: not terminated; the caller's, stays valid while store() waits */
	size_t len_bytes;
};

/*
 * What happens to a value that can be read and written when the process ends. Every such row says it: .ctl/tunables and .ctl/save ask.
 * The store() of a SAVED row is also called while a device is being registered, so it may not take bcf->admin.
 */
enum attr_keep {
	ATTR_KEEP_UNSAID,
	ATTR_KEEP_SAVED, /* nothing else remembers this setting: in .ctl/tunables and in the state file */
	ATTR_KEEP_SHOWN, /* in .ctl/tunables only: the disk keeps it, or it moves by itself */
	ATTR_KEEP_STATE, /* in neither: a state, or a size, that nobody should set by applying a list */
};

/* An integer member of struct bdev, struct cset or struct bcf. */
struct attr_field {
	enum { ATTR_NO_FIELD, ATTR_FIELD_BDEV, ATTR_FIELD_CSET } of;
	size_t offset_bytes, size_bytes;
};

struct attr {
	const char *name, *help;
	unsigned mode; /* 0444, 0644, 0200 */
	enum attr_input input;
	enum attr_format format;
	enum attr_keep keep;
	uint64_t min, max, dflt;
	const char *const *words; /* NULL-terminated */
	struct attr_field field;
	unsigned arg; /* get()'s own */
	int64_t (*get)(const struct attr_object *o, const struct attr *a);
	int64_t (*raw)(const struct attr_object *o); /* what was written, where get() tells what came of it */
	int (*show)(const struct attr_object *o, struct printbuf *out);
	/* Instead of show(): may yield, and prints the piece that begins at *at; at->more: there is another, and where (bcf_ctl_show_piece()). */
	FIBER_FN int (*stream)(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out);
	void (*bounds)(const struct attr_object *o, uint64_t *min, uint64_t *max);
	void (*changed)(const struct attr_object *o);
	FIBER_FN int (*store)(const struct attr_object *o, const struct attr_value *v, struct printbuf *why);
};

struct attr_table {
	const struct attr *attrs;
	size_t nr;
};
extern const struct attr_table attr_root_table, attr_bdev_table, attr_volume_table, attr_set_table, attr_internal_table, attr_cache_table,
	attr_stats_table;
const struct attr_table *attr_table(enum attr_dir dir); /* an empty one for directories without attributes */
const struct attr *attr_find(enum attr_dir dir, const char *name);

/* Writing rows. */
#define ATTR_TABLE(rows) { .attrs = (rows), .nr = ARRAY_SIZE(rows) }
#define ATTR_BDEV_FIELD(m) { .of = ATTR_FIELD_BDEV, .offset_bytes = offsetof(struct bdev, m), .size_bytes = sizeof(((struct bdev *)0)->m) }
#define ATTR_CSET_FIELD(m) { .of = ATTR_FIELD_CSET, .offset_bytes = offsetof(struct cset, m), .size_bytes = sizeof(((struct cset *)0)->m) }
#define ATTR_RO(f, n, getter, h) { .name = n, .help = h, .mode = 0444, .format = f, .get = getter }
#define ATTR_RO_FIELD(f, n, fld, h) { .name = n, .help = h, .mode = 0444, .format = f, .field = fld }
#define ATTR_RO_TEXT(n, shower, h) { .name = n, .help = h, .mode = 0444, .show = shower }
#define ATTR_STREAM(n, m, streamer, h) { .name = n, .help = h, .mode = m, .stream = streamer }
#define ATTR_ACTION(n, in, storer, h) { .name = n, .help = h, .mode = 0200, .input = in, .store = storer }

/* --- the machinery ------------------------------------------------------------------------------------------------------- */

/* The current value of a number, in the unit of the table. */
int64_t attr_get(const struct attr *a, const struct attr_object *o);
/* Print the file. -EACCES: write-only. */
MUST_CHECK int attr_show(const struct attr *a, const struct attr_object *o, struct printbuf *out);
/* One command of len_bytes > 0. -EACCES: read-only. */
FIBER_FN MUST_CHECK int attr_store(const struct attr *a, const struct attr_object *o, const char *text, size_t len_bytes, struct printbuf *why);
/* Only the parsing, without clamping. -EINVAL, -ERANGE. */
MUST_CHECK int attr_parse(const struct attr *a, const char *text, size_t len_bytes, struct attr_value *ret, struct printbuf *why);
/* Put every default of the table into its field (rows without store()): for objects under construction. */
void attr_apply_defaults(enum attr_dir dir, const struct attr_object *o);

/* The value as text that attr_store() takes, exactly: a raw number, a word without brackets; no newline. Rows with keep != UNSAID only. */
void attr_raw_text(const struct attr *a, const struct attr_object *o, struct printbuf *out);

void attr_list_text(struct printbuf *out, const char *const *words, uint64_t current); /* with newline */
/* Control characters have no place in a label. */
MUST_CHECK int attr_check_label(const char *text, size_t len_bytes, struct printbuf *why);
/* A device's label wherever it is kept, as a C string. */
void attr_bdev_label(const struct bdev *d, char out[LABEL_BYTES + 1]);
/* The uuid in its superblock, or a volume's in its set's table. NULL: a volume whose set is gone. */
const uint8_t *attr_bdev_uuid(const struct bdev *d);
/* Percent limits of a device: its set's, else the process's. */
unsigned attr_cutoff_writeback(const struct bcf *b, const struct cset *c);
unsigned attr_cutoff_writeback_sync(const struct bcf *b, const struct cset *c);
/* What each set reports about itself; shared by its files and status.json. */
const char *attr_set_state(const struct cset *c);
unsigned attr_root_usage_percent(const struct cset *c);
uint64_t attr_congested_sectors(const struct cset *c); /* dithered: random on purpose */
/* Files that walk the whole index (attr_index.c). */
FIBER_FN int attr_stream_tree_stats(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out);
FIBER_FN int attr_stream_extents(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out);
/* Slots of a set (attr_slots.c). */
FIBER_FN int attr_stream_uuids(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out);
FIBER_FN int attr_store_forget(const struct attr_object *o, const struct attr_value *v, struct printbuf *why);
FIBER_FN int attr_readopt(struct bdev *d, const struct attr_value *v, struct printbuf *why); /* under admin */
/* "2026-01-31T12:00:00.000Z" */
void attr_time_text(struct printbuf *out, uint64_t real_s);
