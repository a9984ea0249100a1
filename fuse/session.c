/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/session.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/admin/log.h"
#include "fuse/mountinfo.h"
#include "fuse/ops.h"

extern char **environ;

int session_new(struct fuse_args *args, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	list_init(&s->handles);
	s->uid = geteuid();
	s->gid = getegid();
	s->start_s = time(NULL);
	s->tree = tree_new();
	if (!s->tree) {
		free(s);
		return -ENOMEM;
	}
	s->fuse = fuse_session_new(args, &session_ops, sizeof(session_ops), s);
	if (!s->fuse) {
		tree_free(s->tree);
		free(s);
		return -EINVAL;
	}
	*ret = s;
	return 0;
}

/* --- mounting --------------------------------------------------------------------------------------------------------- */

/* A question about our own mount that must not reach ourselves: the number alone is known without asking the server. */
static int mount_dev(const char *mountpoint, uint64_t *ret)
{
	struct statx st;

	if (statx(AT_FDCWD, mountpoint, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, 0, &st) < 0)
		return -errno;
	*ret = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

static int run_fusermount(const char *mountpoint, bool lazy)
{
	char *argv[] = { "fusermount3", "-u", "-q", "--", (char *)mountpoint, NULL, NULL };
	int status = 0;
	pid_t pid;

	if (lazy) {
		argv[3] = "-z";
		argv[4] = "--";
		argv[5] = (char *)mountpoint;
	}
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EBUSY;
}

static int unmount_path(const char *mountpoint, bool lazy)
{
	if (!umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return 0;
	return errno == EPERM ? run_fusermount(mountpoint, lazy) : -errno;
}

/*
 * A daemon that was killed leaves its mount behind, on which every call fails. Take that away, but nothing that is not ours: another
 * type of file system, or a mount that still has its daemon.
 */
static int clear_dead_mount(const char *mountpoint)
{
	struct statfs st;
	int r;

	if (!mountinfo_top_is(mountpoint, FUSE_TYPE))
		return 0;
	/* ECONNABORTED: it is dying at this moment, with our question in its hands. */
	if (statfs(mountpoint, &st) == 0 || (errno != ENOTCONN && errno != ECONNABORTED)) {
		log_error("'%s' is already the mount of a running bcache-fuse", mountpoint);
		return -EBUSY;
	}
	log_info("removing the mount that a killed daemon left on '%s'", mountpoint);
	r = unmount_path(mountpoint, true);
	if (r < 0)
		log_error("cannot unmount '%s', left by a killed daemon: %s", mountpoint, strerror(-r));
	return r;
}

static int check_mountpoint(const char *mountpoint)
{
	struct stat st;
	int r = clear_dead_mount(mountpoint);

	if (r < 0)
		return r;
	if (stat(mountpoint, &st) < 0)
		r = -errno;
	else if (!S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	if (r < 0)
		log_error("cannot mount on '%s': %s", mountpoint, strerror(-r));
	return r;
}

int session_mount(struct session *s, const char *mountpoint)
{
	int r = check_mountpoint(mountpoint);

	if (r < 0)
		return r;
	if (fuse_session_mount(s->fuse, mountpoint) < 0) {
		log_error("cannot mount on '%s'", mountpoint); /* libfuse or fusermount3 has just said why */
		return -EIO;
	}
	s->mountpoint = strdup(mountpoint);
	if (!s->mountpoint)
		return -ENOMEM;
	/* Our children must not keep the connection open when we die. */
	(void)fcntl(fuse_session_fd(s->fuse), F_SETFD, FD_CLOEXEC);
	r = mount_dev(mountpoint, &s->dev);
	if (r < 0)
		log_error("cannot look at the new mount '%s': %s", mountpoint, strerror(-r));
	return r;
}

int session_serve(struct session *s, struct bcf *b)
{
	int r;

	s->bcf = b;
	r = transport_dev_new(s, &s->transport);
	if (r < 0)
		return r;
	return s->transport->ops->start(s->transport);
}

static bool name_exists(void *ctx, const char *path)
{
	struct session *s = ctx;
	struct bcf_ctl_entry entry;

	if (tree_path_kind(path) == TREE_DEV)
		return bcf_dev_find(s->bcf, path) != NULL;
	return bcf_ctl_lookup(s->bcf, tree_ctl_path(path), &entry) == 0;
}

void session_devices_changed(struct session *s)
{
	/* The kernel caches no name of ours (timeouts are 0), so there is nothing to invalidate there. */
	if (s->bcf)
		tree_mark_vanished(s->tree, name_exists, s);
}

/* --- stopping --------------------------------------------------------------------------------------------------------- */

struct unmount_job {
	const char *mountpoint;
	bool lazy;
	int result;
};

static void unmount_job_run(void *arg)
{
	struct unmount_job *job = arg;

	job->result = unmount_path(job->mountpoint, job->lazy);
}

/* On another thread: unmounting may ask the file system, which is us. */
static int unmount_offloaded(struct session *s, bool lazy)
{
	struct unmount_job job = { .mountpoint = s->mountpoint, .lazy = lazy };

	offload(unmount_job_run, &job);
	return job.result;
}

static bool connection_ended(const struct session *s)
{
	return s->transport && s->transport->ended;
}

static void unmount(struct session *s)
{
	uint64_t dev;
	int r;

	if (!s->mountpoint || connection_ended(s))
		return;
	if (mount_dev(s->mountpoint, &dev) < 0 || dev != s->dev) {
		log_warn("something else is mounted over '%s', leaving it there", s->mountpoint);
		return;
	}
	r = unmount_offloaded(s, false);
	if (r == -EBUSY) {
		log_warn("'%s' is in use: detaching it, files still open there will get errors", s->mountpoint);
		r = unmount_offloaded(s, true);
	}
	if (r < 0 && !connection_ended(s))
		log_warn("cannot unmount '%s': %s", s->mountpoint, strerror(-r));
}

static int wait_for_requests(struct transport *t, unsigned timeout_s)
{
	uint64_t now = engine_now_precise_ns(), end = now + timeout_s * NS_PER_S;

	while (t->nr_inflight) {
		now = engine_now_precise_ns();
		if (now >= end || wait_queue_wait_timeout(&t->changed, end - now) == -ETIME)
			return t->nr_inflight ? -ETIMEDOUT : 0;
	}
	return 0;
}

int session_stop(struct session *s, unsigned timeout_s)
{
	struct transport *t = s->transport;
	int r;

	s->stopping = true;
	if (t)
		transport_cancel_commands(t);
	unmount(s);
	if (!t)
		return 0;
	t->ops->stop(t);
	r = wait_for_requests(t, timeout_s);
	if (r < 0)
		log_error("%zu requests still hang after %u s", t->nr_inflight, timeout_s);
	return r;
}

/*
 * libfuse unmounts by path, which might be somebody else's mount by now, unless polling its descriptor says that the connection has
 * ended. Closing ends it even when files are still open below a detached mount; a pipe without a reader, which polls alike, takes its place.
 */
static int end_connection(int fd)
{
	int pipe_fds[2], r = 0;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	close(pipe_fds[0]);
	if (dup3(pipe_fds[1], fd, O_CLOEXEC) < 0)
		r = -errno;
	close(pipe_fds[1]);
	return r;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	assert(list_empty(&s->handles));
	if (s->transport)
		s->transport->ops->free(s->transport);
	if (!s->mountpoint || end_connection(fuse_session_fd(s->fuse)) == 0) {
		fuse_session_unmount(s->fuse); /* does nothing but forget the path */
		fuse_session_destroy(s->fuse);
	}
	tree_free(s->tree);
	free(s->mountpoint);
	free(s);
}
