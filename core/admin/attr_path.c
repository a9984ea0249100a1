/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/attr_path.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SYMLINKS_MAX 40 /* the kernel's */

struct walk {
	int at;		     /* O_PATH descriptor of where we are */
	char rest[PATH_MAX]; /* still to be walked */
	unsigned nr_symlinks;
};

static bool walk_to(struct walk *w, int fd)
{
	if (fd < 0)
		return false;
	if (w->at >= 0)
		close(w->at);
	w->at = fd;
	return true;
}

/* Cut the first component off the rest; NULL: nothing is left. */
static const char *next_component(struct walk *w, char name[NAME_MAX + 1])
{
	char *start = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(start, "/");

	if (!len || len > NAME_MAX)
		return NULL;
	memcpy(name, start, len);
	name[len] = '\0';
	memmove(w->rest, start + len, strlen(start + len) + 1);
	return name;
}

/* The link's text takes the component's place. */
static bool follow(struct walk *w, int link)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t len = readlinkat(link, "", target, sizeof(target) - 1);
	int n;

	if (len <= 0 || ++w->nr_symlinks > SYMLINKS_MAX)
		return false;
	target[len] = '\0';
	n = snprintf(joined, sizeof(joined), "%s/%s", target, w->rest);
	if (n < 0 || (size_t)n >= sizeof(joined))
		return false;
	memcpy(w->rest, joined, (size_t)n + 1);
	return target[0] != '/' || walk_to(w, open("/", O_PATH | O_CLOEXEC));
}

/* What fd is, without causing a request to its file system. */
static bool judge(int fd, uint64_t *ret_dev, bool *ret_symlink)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0)
		return false;
	*ret_dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	*ret_symlink = S_ISLNK(st.stx_mode);
	return true;
}

/* One component further. False: the end, or no way on; *ret_touches says whether the place is the forbidden one. */
static bool step(struct walk *w, uint64_t st_dev, bool *ret_touches)
{
	char name[NAME_MAX + 1];
	bool symlink = false, known;
	uint64_t dev = 0;
	int fd;

	if (!next_component(w, name))
		return false;
	fd = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	known = judge(fd, &dev, &symlink);
	*ret_touches = known && dev == st_dev;
	if (!known || *ret_touches) {
		close(fd);
		return false;
	}
	if (!symlink)
		return walk_to(w, fd);
	known = follow(w, fd);
	close(fd);
	return known;
}

bool path_touches_dev(const char *path, uint64_t st_dev)
{
	struct walk w = { .at = -1 };
	bool touches = false;

	if (strlen(path) >= sizeof(w.rest) || !walk_to(&w, open(path[0] == '/' ? "/" : ".", O_PATH | O_CLOEXEC)))
		return false;
	strcpy(w.rest, path);
	while (step(&w, st_dev, &touches))
		;
	close(w.at);
	return touches;
}
