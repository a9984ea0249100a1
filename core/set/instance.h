/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What `struct bcf` is inside core. */
#include "core/bcf.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"

struct bcf {
	struct bcf_options options;
	struct list csets;
	struct list bdevs;	/* in number order */
	struct fmutex admin;	/* register, attach, stop: one at a time */
	bool stopping;
	uint64_t started_ns;
	struct timer stats_timer;
	struct timer load_timer;
	char last_error[512];	/* of the last failed control write */
	uint64_t last_error_seq;
	char *saved;		/* lines of the state file (admin/saved.h), or NULL */
	/* Opens devices; tests put simulated ones here. */
	int (*open_device)(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why);
	struct wait_queue changed; /* a device or a set went away */
};

void bcf_devices_changed(struct bcf *b);
/* Lowest free devN. */
unsigned bcf_free_number(const struct bcf *b);
void bcf_add_bdev(struct bcf *b, struct bdev *d); /* in number order */
static inline struct cset *bcf_set_find(struct bcf *b, const uint8_t set_uuid[16])
{
	struct cset *c;

	list_for_each(c, &b->csets, link)
		if (!memcmp(c->super->set_uuid, set_uuid, 16))
			return c;
	return NULL;
}
