/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The configuration file: which devices, with which tunables, and how the engine is set up (docs/man/bcache-fuse.conf.5).
 *
 *	{ "devices": [ { "cache": "/dev/nvme0n1p3", "options": { "journal_delay_ms": 50 } },
 *	               { "backing": "/dev/sda", "options": { "cache_mode": "writeback" } } ],
 *	  "options": { "btree_cache": "256M" } }
 *
 * Model: defaults <- file <- command line. Every mistake in the file, unknown keys included, is one line with line and column;
 * nothing is half applied. Values of tunables are passed on as text and judged by the control file that takes them.
 */
#include "core/admin/log.h"
#include "formats/printbuf.h"

#define CONFIG_FILE_BYTES (1024 * 1024) /* no sane file is longer */
#define CONFIG_CTL_NAME_BYTES 64
#define CONFIG_PATH_BYTES 1024

/* One line of a device's "options": to be written to the control file of that name when the device is registered. */
struct config_tunable {
	/* Below .ctl/devN (backing), or below .ctl/<set-uuid> (cache): "cache_mode", "cache0/discard", "internal/copy_gc_enabled". */
	const char *ctl_name;
	char *text;
};

struct config_device {
	char *path; /* absolute */
	bool backing;
	struct config_tunable *tunables;
	size_t nr_tunables;
};

struct config {
	struct config_device *devices; /* in the order given */
	size_t nr_devices;
	unsigned shutdown_timeout_s;
	uint64_t btree_cache_max_bytes;
	unsigned cutoff_writeback;	/* percent in use */
	unsigned cutoff_writeback_sync; /* percent in use */
	unsigned spin_us;
	enum log_level log_level;
	char state_file[CONFIG_PATH_BYTES]; /* absolute, "default" or "none" */
};

void config_init(struct config *c); /* the built-in defaults, no devices */
void config_release(struct config *c);

/*
 * Read path, or the first of $XDG_CONFIG_HOME/bcache-fuse/bcache-fuse.conf (default ~/.config) and /etc/bcache-fuse.conf that exists
 * when path is NULL. No file at the usual places is fine. On failure c is unchanged and why says FILE:LINE:COLUMN: what.
 */
MUST_CHECK int config_load(struct config *c, const char *path, struct printbuf *why);
MUST_CHECK int config_parse(struct config *c, const char *name, const char *text, size_t len_bytes, struct printbuf *why);

/* Set one engine option from text ("shutdown_timeout", "5"). -ENOENT: no such option; -EINVAL, -ERANGE with the reason. */
MUST_CHECK int config_set_option(struct config *c, const char *name, const char *text, struct printbuf *why);
/*
 * Where saved settings are: "default" means bcache-fuse/tunables below $XDG_STATE_HOME, or else below ~/.local/state, or for root /var/lib.
 * false: nowhere.
 */
bool config_state_file(const struct config *c, char ret_path[CONFIG_PATH_BYTES]);
/* What a device's "options" may name: control files below its directory, one after the other; NULL: no more. */
const char *config_tunable_nth(bool backing, size_t n);
/* path must be absolute. */
MUST_CHECK int config_add_device(struct config *c, const char *path, bool backing);
/* Take the device list of the command line: it replaces the file's, but tunables given there for the same path stay. */
void config_replace_devices(struct config *c, struct config *from);
/* Reduce cut-offs that are too large, with a warning (control-files.md §3, module parameters). */
void config_normalise(struct config *c);
