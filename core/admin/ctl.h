/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The shape of the `.ctl` tree (control-files.md §2): which directories, files and links there are right now.
 *
 * One function enumerates a directory; looking a name up is enumerating until it comes by. So a listing and a lookup never
 * disagree, and nothing is cached that could go stale.
 */
#include "core/admin/attr.h"

struct ctl_node {
	enum bcf_ctl_kind kind;
	enum attr_dir dir;	   /* DIR: which; FILE and LINK: the directory it is in */
	struct attr_object object; /* of the directory */
	const struct attr *attr;   /* FILE */
	char target[BCF_CTL_PATH_BYTES]; /* LINK */
};
/* 0; -ENOENT, -ENOTDIR. The node is valid until the next yield. */
MUST_CHECK int ctl_resolve(struct bcf *b, const char *path, struct ctl_node *ret);
/* What the tree shows: a set that is up, a device that is not on its way down. */
bool ctl_set_visible(const struct cset *c);
bool ctl_bdev_visible(const struct bdev *d);
/* attr_store() on a file, which may wait: its set does not vanish meanwhile. */
FIBER_FN MUST_CHECK int ctl_store_node(const struct ctl_node *n, const char *text, size_t len_bytes, struct printbuf *why);
/* Move every collector into its periods; call it every STATS_TICK_NS. */
void bcf_stats_tick(struct bcf *b);
