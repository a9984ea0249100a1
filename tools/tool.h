/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What the commands of bcachectl share: the shape of a command, complaints, and access to a device without an engine.
 *
 * A command returns the exit status: 0 done, 1 it failed (one line on stderr said why), 2 it was called wrongly.
 */
#include "core/io/blk_file.h"
#include "formats/printbuf.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
	const char *name;
	const char *summary; /* for the list of commands */
	const char *help;    /* everything that --help prints */
	int (*run)(int argc, char **argv);
};
extern const struct command cmd_format, cmd_show, cmd_status;

/* "bcachectl: ..." on stderr, one line. Both return a status, so that they can be returned. */
int tool_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
int tool_usage(const struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void tool_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * Open for reading, or for reading and writing with the device to ourselves. Refuses what is in use: locked by another
 * program of ours, mounted or otherwise held by the kernel, or the file behind a loop device. `why` gets "PATH: reason".
 */
MUST_CHECK int device_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why);
/* Whole transfers, complete on return. 0 or -errno. */
MUST_CHECK int device_read(struct blkdev *d, uint64_t sector, void *buf, uint64_t nr_sectors);
MUST_CHECK int device_write(struct blkdev *d, uint64_t sector, const void *buf, uint64_t nr_sectors);
MUST_CHECK int device_flush(struct blkdev *d);
