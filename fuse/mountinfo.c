/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/mountinfo.h"

#include <stdio.h>
#include <stdlib.h>

#define MOUNT_POINT_FIELD 4 /* "36 35 98:0 /root /mount/point options optional... - type source super-options" */

static const char *skip_fields(const char *s, unsigned n)
{
	while (n--) {
		s = strchr(s, ' ');
		if (!s)
			return NULL;
		s++;
	}
	return s;
}

static bool is_octal(const char *s)
{
	return s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7';
}

/* Compare a field, in which blanks and backslashes are octal escapes, with plain text. */
static bool field_equals(const char *field, const char *text)
{
	for (; *field && *field != ' '; text++) {
		unsigned char c = (unsigned char)*field;
		size_t step = 1;

		if (is_octal(field)) {
			c = (unsigned char)((field[1] - '0') << 6 | (field[2] - '0') << 3 | (field[3] - '0'));
			step = 4;
		}
		if ((unsigned char)*text != c)
			return false;
		field += step;
	}
	return !*text;
}

int mountinfo_line_judge(const char *line, const char *path, const char *type)
{
	const char *mount_point = skip_fields(line, MOUNT_POINT_FIELD);
	const char *dash = mount_point ? strstr(mount_point, " - ") : NULL;

	if (!dash || !field_equals(mount_point, path))
		return -ENOENT;
	return field_equals(dash + 3, type);
}

bool mountinfo_top_is(const char *path, const char *type)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	bool is = false;

	if (!f)
		return false;
	while (getline(&line, &size, f) > 0) {
		int r = mountinfo_line_judge(line, path, type);

		if (r >= 0)
			is = r; /* later lines are mounted on top of earlier ones */
	}
	free(line);
	fclose(f);
	return is;
}
