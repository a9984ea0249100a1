/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/verdict.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int leave_disk(struct world *w, const struct world_disk *d, const char *dir, const char *name)
{
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/%s.img", dir, name);
	r = blk_sim_save(d->sim, path);
	if (r < 0)
		world_fail(w, "cannot write '%s': %s", path, strerror(-r));
	return r < 0 ? -1 : 0;
}

int verdict_leave(struct world *w, const char *dir)
{
	int r = leave_disk(w, &w->cache, dir, "cache");

	for (unsigned i = 0; i < w->nr_backing && !r; i++)
		r = leave_disk(w, &w->backing[i], dir, strrchr(w->backing[i].path, '/') + 1);
	return r;
}

/* The whole file; NULL with world_fail(), also when it is not len_bytes long. */
static uint8_t *read_whole(struct world *w, const char *path, uint64_t len_bytes)
{
	uint8_t *buf = malloc(len_bytes + 1);
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!buf)
		abort();
	if (!f) {
		world_fail(w, "cannot open '%s': %s", path, strerror(errno));
		free(buf);
		return NULL;
	}
	n = fread(buf, 1, len_bytes + 1, f);
	fclose(f);
	if (n == len_bytes)
		return buf;
	world_fail(w, "'%s' has not the %llu bytes of the device", path, (unsigned long long)len_bytes);
	free(buf);
	return NULL;
}

int verdict_judge(struct world *w, const char *dir)
{
	for (unsigned i = 0; i < w->nr_backing && !world_failed(w); i++) {
		char path[4096], text[2000] = "";
		struct printbuf why = PRINTBUF(text);
		uint8_t *buf;

		snprintf(path, sizeof(path), "%s/dev%u.img", dir, i);
		buf = read_whole(w, path, model_bytes(w->model[i]));
		if (buf && model_check(w->model[i], 0, buf, model_bytes(w->model[i]), &why) < 0)
			world_fail(w, "'%s': %s", path, text);
		free(buf);
	}
	return world_failed(w) ? -1 : 0;
}
