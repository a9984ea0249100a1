/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * One mount: libfuse's session, the transport that feeds it, and what the operations need.
 *
 * Life: session_new (options judged) -> session_mount (visible, but nothing is answered yet: whoever looks waits) ->
 *       session_serve -> ... -> session_stop (no new commands, unmount, requests in flight seen to their end) -> session_free.
 * Serving starts only when the devices are there, so nobody ever sees a mount without its dev files.
 */
#include "core/bcf.h"
#include "fuse/api.h"
#include "fuse/transport.h"
#include "fuse/tree.h"

#define FUSE_TYPE "fuse.bcache-fuse" /* as /proc/mounts shows it */

struct session {
	struct fuse_session *fuse;
	struct bcf *bcf;
	struct tree *tree;
	struct transport *transport;
	struct list handles; /* open files and directories */
	char *mountpoint;    /* absolute; NULL: not mounted */
	uint64_t dev;	     /* st_dev of the mount */
	uid_t uid;
	gid_t gid;
	int64_t start_s;
	bool stopping; /* commands are refused */
};

/* args: argv[0] and libfuse's own options. -EINVAL: libfuse has said which option it does not know. */
MUST_CHECK int session_new(struct fuse_args *args, struct session **ret);
/* Mount on an absolute path. Says in the log why it cannot. */
MUST_CHECK int session_mount(struct session *s, const char *mountpoint);
MUST_CHECK int session_serve(struct session *s, struct bcf *b);
/* Objects came or went. */
void session_devices_changed(struct session *s);
/*
 * Refuse commands, unmount (detach, when it is in use), let requests in flight end. -ETIMEDOUT: some still hang after timeout_s. Works
 * from every state after session_new.
 */
FIBER_FN MUST_CHECK int session_stop(struct session *s, unsigned timeout_s);
/* After this no operation runs any more; the core may be stopped. */
void session_close_handles(struct session *s);
void session_free(struct session *s);

static inline struct session *session_of(fuse_req_t req) { return fuse_req_userdata(req); }
