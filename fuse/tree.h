/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Inode numbers <-> names in the mount. Pure: no I/O, no engine, no libfuse.
 *
 * Model: a node is a path below the mount point ("" the root, "dev0" a volume, ".ctl" and ".ctl/dev0/state" the control tree).
 * Whether an object of that name exists is the core's business; here is only which number the kernel knows it by.
 * Numbers: a hash of the path, so that they are the same in every directory listing and after every restart; a path that
 *   meets a taken number uses the next one.
 * Lifetime: a node lives while the kernel has lookups of it (FORGET), or while it carries changed attributes (chmod, §12.3).
 * Generation: changes when a name came back after its object had vanished, so that "dev0" then and now are different inodes.
 */
#include "core/util/list.h"

#define TREE_ROOT_INO 1u
#define TREE_PATH_BYTES 320
#define TREE_CTL ".ctl"

enum tree_kind { TREE_ROOT, TREE_DEV, TREE_CTL_NODE };

struct tree_node {
	struct list chain;	/* bucket of the table */
	uint64_t ino;
	uint64_t generation;
	uint64_t nr_lookups;	/* the kernel's */
	enum tree_kind kind;
	bool vanished;		/* its object is gone; the next lookup that succeeds gets a new generation */
	bool changed;		/* chmod or chown: kept in memory only */
	uint32_t mode, uid, gid; /* when changed */
	int64_t mtime_s;	/* last successful write; 0: none yet */
	char path[];
};

struct tree;
/* NULL when out of memory. The root always exists. */
struct tree *tree_new(void);
void tree_free(struct tree *t);
size_t tree_nr_nodes(const struct tree *t);

/* NULL: no such number, which the kernel never asks for unless it or we have a bug. */
struct tree_node *tree_find(struct tree *t, uint64_t ino);
/* The path of name in the directory with number parent: 0, -ENOENT for a stale parent, -ENOTDIR, -ENAMETOOLONG. */
MUST_CHECK int tree_join(struct tree *t, uint64_t parent, const char *name, char path[TREE_PATH_BYTES]);
/* The node of path, made if need be; without a lookup count yet. NULL when out of memory. */
struct tree_node *tree_node_get(struct tree *t, const char *path);
/* Count one lookup that was answered to the kernel. */
void tree_lookup_add(struct tree_node *n);
/* FORGET. May free the node. */
void tree_forget(struct tree *t, uint64_t ino, uint64_t nr_lookups);
/* Drop a node that was made but never given to the kernel. */
void tree_node_drop(struct tree *t, struct tree_node *n);
/* Number to print in a directory listing. */
uint64_t tree_ino_of(const char *path);

/* Mark the nodes of volumes and control directories whose top name exists() no longer knows. */
void tree_mark_vanished(struct tree *t, bool (*exists)(void *ctx, const char *path), void *ctx);

/* The path below .ctl ("" for .ctl itself) that bcf_ctl_* wants; path must be of TREE_CTL_NODE. */
const char *tree_ctl_path(const char *path);
enum tree_kind tree_path_kind(const char *path);
