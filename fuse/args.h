/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The command line: ours, and what mount(8) and fstab make of it.
 *
 *	bcache-fuse [-f] [-d] [-c CONF] [-o OPTS] [--cache FILE]... [--backing FILE]... MOUNTPOINT
 *	bcache-fuse SOURCE MOUNTPOINT -o OPTS		(mount -t fuse.bcache-fuse; SOURCE is a device or any word without a slash)
 *
 * Paths come out absolute, for the daemon will live in another directory. What libfuse is to know is in fuse.
 */
#include "core/admin/config.h"
#include "fuse/api.h"

#define ARGS_MAX_OPTIONS 16

struct args {
	bool foreground, debug, help, version;
	char *config_path; /* NULL: search */
	char *source;	   /* a device of either kind, or NULL */
	char *mountpoint;
	struct config devices; /* only its device list is used */
	struct args_option {
		char *name, *value;
	} options[ARGS_MAX_OPTIONS]; /* of the engine; to be set over the configuration file's */
	size_t nr_options;
	struct fuse_args fuse; /* argv[0] and -o of libfuse and the kernel */
};

/* 0, or -EINVAL with the mistake in words, or -ENOMEM. args_release() in every case. */
MUST_CHECK int args_parse(struct args *a, int argc, char **argv, struct printbuf *why);
void args_release(struct args *a);
