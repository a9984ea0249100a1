/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/saved.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/admin/attr_path.h"
#include "core/admin/log.h"
#include "core/admin/tunables.h"

#define HEADER "bcache-fuse-settings 1\n"
#define FOOTER "end\n"

/* --- reading ------------------------------------------------------------------------------------------------------------- */

static int read_all(int fd, char *text, size_t size_bytes, size_t *ret_len_bytes)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, text + len, size_bytes - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*ret_len_bytes = len;
			return n < 0 ? -errno : 0;
		}
		len += (size_t)n;
		if (len == size_bytes)
			return -EFBIG;
	}
}

/* -ENOENT; -EINVAL: not a regular file. */
static int read_file(const char *path, char *text, size_t *ret_len_bytes)
{
	int r, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
	struct stat st;

	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else
		r = S_ISREG(st.st_mode) ? read_all(fd, text, SAVED_FILE_BYTES, ret_len_bytes) : -EINVAL;
	close(fd);
	return r == -ENOENT ? -EIO : r;
}

static bool lines_are_settings(const char *text)
{
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\n"), object = tunables_object_len(line, len);

		if (!object || !memchr(line + object, '=', len - object))
			return false;
	}
	return true;
}

/* Strip header and footer in place. NULL: this is not a whole file of ours, and why says so. */
static char *body_of(char *text, size_t len, const char **why)
{
	size_t header = strlen(HEADER), footer = strlen(FOOTER);

	*why = "its first line is not 'bcache-fuse-settings 1'";
	if (len < header || memcmp(text, HEADER, header))
		return NULL;
	*why = "its last line is not 'end': it is not whole";
	if (len < header + footer || memcmp(text + len - footer, FOOTER, footer) || text[len - footer - 1] != '\n')
		return NULL;
	text[len - footer] = '\0';
	*why = "it has lines that are not settings";
	if (strlen(text) != len - footer || !lines_are_settings(text + header))
		return NULL;
	return text + header;
}

char *saved_load(const char *path, struct printbuf *ret_why)
{
	char *text = malloc(SAVED_FILE_BYTES), *body = NULL;
	const char *why = "no memory";
	size_t len = 0;
	int r = text ? read_file(path, text, &len) : -ENOMEM;

	if (r == 0)
		body = body_of(text, len, &why);
	else if (r != -ENOMEM)
		why = strerror(-r);
	if (body)
		memmove(text, body, strlen(body) + 1);
	else if (r != -ENOENT)
		pr(ret_why, "ignoring the saved settings in '%s': %s (the next save replaces them)", path, why);
	if (body)
		return text;
	free(text);
	return NULL;
}

/* --- merging ------------------------------------------------------------------------------------------------------------- */

static bool mentions(const char *text, const char *object, size_t len)
{
	for (; *text; text += strcspn(text, "\n") + 1)
		if (!strncmp(text, object, len))
			return true;
	return false;
}

char *saved_merge(const char *old, const char *fresh)
{
	char *merged = malloc(SAVED_FILE_BYTES);
	struct printbuf out = printbuf_over(merged, merged ? SAVED_FILE_BYTES - strlen(HEADER) - strlen(FOOTER) : 0);
	const char *object = NULL; /* of the line before: lines of an object stand together, so this is judged once for each */
	size_t object_len = 0;
	bool absent = false;

	if (!merged)
		return NULL;
	for (const char *line = old ? old : ""; *line; line += strcspn(line, "\n") + 1) {
		if (!object || strncmp(line, object, object_len)) {
			object = line;
			object_len = tunables_object_len(line, strcspn(line, "\n"));
			absent = !mentions(fresh, object, object_len);
		}
		if (absent)
			pr(&out, "%.*s\n", (int)strcspn(line, "\n"), line);
	}
	pr(&out, "%s", fresh);
	if (!out.truncated)
		return merged;
	free(merged);
	return NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------------- */

static PRINTF_LIKE(3, 4) int failed(struct saved_job *j, int r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(j->why, sizeof(j->why), fmt, args);
	va_end(args);
	return r;
}

static int sync_dir(const char *path)
{
	int r, fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	r = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* The directories on the way to a file, each durable in the one above. */
static int make_dirs(const char *path)
{
	char dir[PATH_MAX], above[PATH_MAX] = "/";

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int r = 0;

		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
		if (mkdir(dir, 0755) == 0)
			r = sync_dir(above);
		else if (errno != EEXIST)
			r = -errno;
		if (r < 0)
			return r;
		strcpy(above, dir);
	}
	return 0;
}

/* The directory of path, opened and locked. */
static int lock_dir(const char *path)
{
	char dir[PATH_MAX];
	size_t len = (size_t)(strrchr(path, '/') - path);
	int r, fd;

	memcpy(dir, path, max(len, (size_t)1));
	dir[max(len, (size_t)1)] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(fd);
	return r;
}

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_temporary(int dir, const char *name, const char *body)
{
	int r, fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	r = write_all(fd, HEADER);
	if (!r)
		r = write_all(fd, body);
	if (!r)
		r = write_all(fd, FOOTER);
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && !r)
		r = -errno;
	return r;
}

static int replace_file(int dir, const char *path, const char *body)
{
	const char *name = strrchr(path, '/') + 1;
	char temporary[NAME_MAX + 1];
	int n = snprintf(temporary, sizeof(temporary), "%s.new", name), r;

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return -ENAMETOOLONG;
	r = write_temporary(dir, temporary, body);
	if (!r && renameat(dir, temporary, dir, name) < 0)
		r = -errno;
	if (!r)
		return fsync(dir) < 0 ? -errno : 0;
	(void)unlinkat(dir, temporary, 0); /* as if we had not tried */
	return r;
}

static int merge_and_replace(struct saved_job *j, int dir)
{
	struct printbuf ignored = PRINTBUF(j->ignored);
	char *old = saved_load(j->path, &ignored), *merged = saved_merge(old, j->fresh);
	int r = merged ? replace_file(dir, j->path, merged) : -EFBIG;

	free(old);
	if (r < 0) {
		free(merged);
		return failed(j, r, "cannot write '%s': %s", j->path, strerror(-r));
	}
	j->merged = merged;
	return 0;
}

static int write_job(struct saved_job *j)
{
	int r, dir;

	if (j->path[0] != '/' || strlen(j->path) >= PATH_MAX)
		return failed(j, -EINVAL, "the state file '%.200s' is not an absolute path", j->path);
	if (j->avoid_dev && path_touches_dev(j->path, j->avoid_dev))
		return failed(j, -EDEADLK, "the state file '%s' lies in our own mount", j->path);
	r = make_dirs(j->path);
	if (r < 0)
		return failed(j, r, "cannot make the directory of '%s': %s", j->path, strerror(-r));
	dir = lock_dir(j->path);
	if (dir == -EBUSY)
		return failed(j, dir, "somebody else is saving to '%s', try again", j->path);
	if (dir < 0)
		return failed(j, dir, "cannot open the directory of '%s': %s", j->path, strerror(-dir));
	r = merge_and_replace(j, dir);
	close(dir);
	return r;
}

void saved_write(void *job)
{
	struct saved_job *j = job;

	j->merged = NULL;
	j->result = write_job(j);
}

/* --- .ctl/save ----------------------------------------------------------------------------------------------------------- */

static FIBER_FN int save_locked(struct bcf *b, struct printbuf *why)
{
	char *fresh = malloc(SAVED_FILE_BYTES);
	struct printbuf out = printbuf_over(fresh, fresh ? SAVED_FILE_BYTES : 0);
	struct saved_job j = { .path = b->options.state_file, .fresh = fresh, .avoid_dev = b->options.avoid_dev };

	if (!fresh)
		return -ENOMEM;
	tunables_text(b, TUNABLES_TO_SAVE, &out);
	if (out.truncated)
		j.result = failed(&j, -EFBIG, "too many devices for one state file");
	else
		offload(saved_write, &j);
	free(fresh);
	if (j.ignored[0])
		log_warn("%s", j.ignored);
	if (j.result < 0) {
		pr(why, "%s", j.why);
		return j.result;
	}
	free(b->saved);
	b->saved = j.merged;
	log_info("settings saved to '%s'", j.path);
	return 0;
}

int bcf_save(struct bcf *b, struct printbuf *why)
{
	int r;

	if (!b->options.state_file) {
		pr(why, "there is no state file (option state_file)");
		return -EOPNOTSUPP;
	}
	fmutex_lock(&b->admin);
	r = b->stopping ? -EBUSY : save_locked(b, why);
	fmutex_unlock(&b->admin);
	return r;
}
