/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The state file: settings that survive a restart (`.ctl/save`; control-files.md §9.1, §10.8).
 *
 *	bcache-fuse-settings 1
 *	by/uuid/f7fe0084-7c8b-4975-8d90-f231fc8d1c69/sequential_cutoff=4194304
 *	...
 *	end
 *
 * Precedence: built-in defaults < saved < configuration file and command line < what is written to control files.
 * Life: read once, before the first device is registered; each device and set gets its lines when it is registered, whenever that is
 * (tunables_restore()). Saving replaces the lines of everything that is registered now and keeps those of absent devices, which it reads again from
 * the file: several daemons of a user share one.
 * Durable: a temporary file beside it, fsync, rename, fsync of the directory; the directory is locked meanwhile. So the file is whole, old or
 * new; and it says so itself by its first and last line. A file that is not whole is ignored with a warning: settings never stop a start.
 * Waiting: saved_load() blocks the thread, so it comes before anything is served. saved_write() runs as an offloaded job: not a pure function, but one
 * that knows nothing of the engine, and all that it shares with its caller is its argument.
 */
#include "formats/printbuf.h"

struct bcf;

#define SAVED_FILE_BYTES (256 * 1024) /* some hundred devices */

/* The lines between header and end, NUL-terminated, to be freed; NULL when there is no file, or, with the reason, none that can be used. */
char *saved_load(const char *path, struct printbuf *why);
/* Take the lines of what `fresh` does not mention from old (may be NULL), then fresh. NULL: no memory, or too long. */
char *saved_merge(const char *old, const char *fresh);

struct saved_job {
	const char *path, *fresh;
	uint64_t avoid_dev; /* of our own mount; 0 = none */
	int result;
	char ignored[300];  /* why the file that was there did not count; "" = it did */
	char *merged;	    /* the file's lines now, to be freed; NULL unless result is 0 */
	char why[300];
};
void saved_write(void *job);

/* `.ctl/save`. Takes bcf->admin: the instance cannot go away meanwhile, and nothing is half registered. */
FIBER_FN MUST_CHECK int bcf_save(struct bcf *b, struct printbuf *why);
