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
/* Move every collector into its periods; call it every STATS_TICK_NS. */
void bcf_stats_tick(struct bcf *b);
