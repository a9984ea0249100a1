/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/tree.h"

#include <stdio.h>
#include <stdlib.h>

#define NR_CHAINS 1024 /* a large tree has a few hundred names in use */

struct tree {
	struct list chains[NR_CHAINS];
	size_t nr_nodes;
	struct tree_node *root;
};

/* FNV-1a with a final mix: names come from ourselves, so nobody can aim at collisions worth defending against. */
static uint64_t hash_path(const char *path)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; *path; path++)
		h = (h ^ (unsigned char)*path) * 0x100000001b3ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	return h;
}

/* 63 bits, so that no tool sees a negative number; 0 and 1 are special. */
uint64_t tree_ino_of(const char *path)
{
	uint64_t ino = hash_path(path) >> 1;

	if (!*path)
		return TREE_ROOT_INO;
	return ino <= TREE_ROOT_INO ? ino + 2 : ino;
}

const char *tree_ctl_path(const char *path)
{
	assert(tree_path_kind(path) == TREE_CTL_NODE);
	path += strlen(TREE_CTL);
	return *path == '/' ? path + 1 : path;
}

enum tree_kind tree_path_kind(const char *path)
{
	size_t len = strlen(TREE_CTL);

	if (!*path)
		return TREE_ROOT;
	return !strncmp(path, TREE_CTL, len) && (!path[len] || path[len] == '/') ? TREE_CTL_NODE : TREE_DEV;
}

static struct list *chain_of(struct tree *t, uint64_t ino)
{
	return &t->chains[ino % NR_CHAINS];
}

struct tree_node *tree_find(struct tree *t, uint64_t ino)
{
	struct tree_node *n;

	if (ino == TREE_ROOT_INO)
		return t->root;
	list_for_each(n, chain_of(t, ino), chain)
		if (n->ino == ino)
			return n;
	return NULL;
}

int tree_join(struct tree *t, uint64_t parent, const char *name, char path[TREE_PATH_BYTES])
{
	struct tree_node *n = tree_find(t, parent);
	int len;

	if (!n)
		return -ENOENT;
	if (n->kind == TREE_DEV)
		return -ENOTDIR;
	len = snprintf(path, TREE_PATH_BYTES, "%s%s%s", n->path, *n->path ? "/" : "", name);
	return len < TREE_PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static struct tree_node *node_new(struct tree *t, const char *path, uint64_t ino)
{
	struct tree_node *n = calloc(1, sizeof(*n) + strlen(path) + 1);

	if (!n)
		return NULL;
	n->ino = ino;
	n->generation = 1;
	n->kind = tree_path_kind(path);
	strcpy(n->path, path);
	list_add(chain_of(t, ino), &n->chain);
	t->nr_nodes++;
	return n;
}

static void node_free(struct tree *t, struct tree_node *n)
{
	list_del(&n->chain);
	t->nr_nodes--;
	free(n);
}

static void node_free_if_unused(struct tree *t, struct tree_node *n)
{
	if (n != t->root && !n->nr_lookups && !n->changed)
		node_free(t, n);
}

struct tree_node *tree_node_get(struct tree *t, const char *path)
{
	uint64_t ino = tree_ino_of(path);
	struct tree_node *n;

	/* The step past a taken number: should the first owner go away before the second, the second path gets a second
	 * number at its next lookup, which the kernel takes for a new file of the same name. Harmless, and it never happens. */
	for (; (n = tree_find(t, ino)); ino++) {
		if (strcmp(n->path, path))
			continue;
		if (n->vanished) {
			n->vanished = false;
			n->changed = false; /* that was another object */
			n->mtime_s = 0;
			n->generation++;
		}
		return n;
	}
	return node_new(t, path, ino);
}

void tree_lookup_add(struct tree_node *n)
{
	n->nr_lookups++;
}

void tree_forget(struct tree *t, uint64_t ino, uint64_t nr_lookups)
{
	struct tree_node *n = tree_find(t, ino);

	if (!n)
		return;
	n->nr_lookups -= min(nr_lookups, n->nr_lookups);
	node_free_if_unused(t, n);
}

void tree_node_drop(struct tree *t, struct tree_node *n)
{
	node_free_if_unused(t, n);
}

/* "dev0" of "dev0" and of ".ctl/dev0/state", a set's directory likewise. */
static void top_name(const struct tree_node *n, char top[TREE_PATH_BYTES])
{
	const char *rest = n->kind == TREE_CTL_NODE ? tree_ctl_path(n->path) : n->path;
	size_t prefix = (size_t)(rest - n->path), len = prefix + strcspn(rest, "/");

	memcpy(top, n->path, len);
	top[len] = '\0';
}

void tree_mark_vanished(struct tree *t, bool (*exists)(void *ctx, const char *path), void *ctx)
{
	for (size_t i = 0; i < NR_CHAINS; i++) {
		struct tree_node *n;

		list_for_each(n, &t->chains[i], chain) {
			char top[TREE_PATH_BYTES];

			if (n->kind == TREE_ROOT || (n->kind == TREE_CTL_NODE && !*tree_ctl_path(n->path)))
				continue;
			top_name(n, top);
			if (!exists(ctx, top))
				n->vanished = true;
		}
	}
}

size_t tree_nr_nodes(const struct tree *t)
{
	return t->nr_nodes;
}

struct tree *tree_new(void)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	for (size_t i = 0; i < NR_CHAINS; i++)
		list_init(&t->chains[i]);
	t->root = node_new(t, "", TREE_ROOT_INO);
	if (!t->root) {
		free(t);
		return NULL;
	}
	return t;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < NR_CHAINS; i++) {
		struct tree_node *n, *next;

		list_for_each_safe(n, next, &t->chains[i], chain)
			node_free(t, n);
	}
	free(t);
}
