/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "fuse/tree.h"

static struct tree *fresh(void)
{
	struct tree *t = tree_new();

	assert_non_null(t);
	assert_int_equal(tree_nr_nodes(t), 1);
	return t;
}

static struct tree_node *looked_up(struct tree *t, uint64_t parent, const char *name)
{
	char path[TREE_PATH_BYTES];
	struct tree_node *n;

	assert_int_equal(tree_join(t, parent, name, path), 0);
	n = tree_node_get(t, path);
	assert_non_null(n);
	tree_lookup_add(n);
	return n;
}

static void paths_have_kinds(void **state)
{
	assert_int_equal(tree_path_kind(""), TREE_ROOT);
	assert_int_equal(tree_path_kind("dev0"), TREE_DEV);
	assert_int_equal(tree_path_kind(".ctl"), TREE_CTL_NODE);
	assert_int_equal(tree_path_kind(".ctl/dev0/state"), TREE_CTL_NODE);
	assert_int_equal(tree_path_kind(".ctlx"), TREE_DEV);
	assert_string_equal(tree_ctl_path(".ctl"), "");
	assert_string_equal(tree_ctl_path(".ctl/dev0/state"), "dev0/state");
}

static void the_root_is_number_one_and_cannot_be_forgotten(void **state)
{
	struct tree *t = fresh();

	assert_int_equal(tree_ino_of(""), TREE_ROOT_INO);
	assert_non_null(tree_find(t, TREE_ROOT_INO));
	tree_forget(t, TREE_ROOT_INO, 100);
	assert_string_equal(tree_find(t, TREE_ROOT_INO)->path, "");
	tree_free(t);
}

static void numbers_are_the_same_in_every_tree(void **state)
{
	struct tree *t = fresh(), *u;
	uint64_t ino = looked_up(t, TREE_ROOT_INO, "dev0")->ino;

	tree_free(t);
	u = fresh();
	(void)looked_up(u, TREE_ROOT_INO, "dev1");
	assert_int_equal(looked_up(u, TREE_ROOT_INO, "dev0")->ino, ino);
	assert_int_equal(tree_ino_of("dev0"), ino);
	assert_true((int64_t)ino > 1);
	tree_free(u);
}

static void a_name_keeps_its_node_while_it_is_looked_up(void **state)
{
	struct tree *t = fresh();
	struct tree_node *n = looked_up(t, TREE_ROOT_INO, "dev0");

	assert_ptr_equal(looked_up(t, TREE_ROOT_INO, "dev0"), n);
	assert_ptr_equal(tree_find(t, n->ino), n);
	tree_forget(t, n->ino, 1);
	assert_ptr_equal(tree_find(t, n->ino), n);
	tree_forget(t, n->ino, 1);
	assert_null(tree_find(t, tree_ino_of("dev0")));
	assert_int_equal(tree_nr_nodes(t), 1);
	tree_free(t);
}

static void forgetting_too_much_or_the_unknown_does_no_harm(void **state)
{
	struct tree *t = fresh();
	struct tree_node *n = looked_up(t, TREE_ROOT_INO, "dev0");

	tree_forget(t, n->ino, UINT64_MAX);
	tree_forget(t, 12345, 1);
	assert_int_equal(tree_nr_nodes(t), 1);
	tree_free(t);
}

static void a_node_nobody_was_told_of_can_be_dropped(void **state)
{
	struct tree *t = fresh();

	tree_node_drop(t, tree_node_get(t, "dev7"));
	assert_int_equal(tree_nr_nodes(t), 1);
	(void)looked_up(t, TREE_ROOT_INO, "dev0");
	tree_node_drop(t, tree_node_get(t, "dev0"));
	assert_int_equal(tree_nr_nodes(t), 2);
	tree_free(t);
}

static void names_are_joined_below_directories_only(void **state)
{
	struct tree *t = fresh();
	struct tree_node *ctl = looked_up(t, TREE_ROOT_INO, ".ctl"), *dev = looked_up(t, TREE_ROOT_INO, "dev0");
	char path[TREE_PATH_BYTES], name[TREE_PATH_BYTES];

	assert_int_equal(tree_join(t, ctl->ino, "dev0", path), 0);
	assert_string_equal(path, ".ctl/dev0");
	assert_int_equal(tree_join(t, dev->ino, "x", path), -ENOTDIR);
	assert_int_equal(tree_join(t, 99, "x", path), -ENOENT);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(tree_join(t, ctl->ino, name, path), -ENAMETOOLONG);
	tree_free(t);
}

static void a_taken_number_is_stepped_over(void **state)
{
	struct tree *t = fresh();
	struct tree_node *thief = tree_node_get(t, "dev0"), *n;

	strcpy(thief->path, "devX"); /* as if another path had the same hash */
	n = tree_node_get(t, "dev0");
	assert_ptr_not_equal(n, thief);
	assert_int_equal(n->ino, thief->ino + 1);
	assert_ptr_equal(tree_node_get(t, "dev0"), n);
	assert_ptr_equal(tree_find(t, n->ino), n);
	tree_free(t);
}

static void changed_attributes_outlive_forget(void **state)
{
	struct tree *t = fresh();
	struct tree_node *n = looked_up(t, TREE_ROOT_INO, "dev0");
	uint64_t ino = n->ino;

	n->changed = true;
	n->mode = 0640;
	tree_forget(t, ino, 1);
	n = tree_node_get(t, "dev0");
	assert_true(n->changed);
	assert_int_equal(n->mode, 0640);
	assert_int_equal(n->ino, ino);
	tree_free(t);
}

static bool all_but_dev0(void *ctx, const char *path)
{
	return strcmp(path, "dev0") && strcmp(path, ".ctl/dev0");
}

static void a_name_that_comes_back_is_another_file(void **state)
{
	struct tree *t = fresh();
	struct tree_node *ctl = looked_up(t, TREE_ROOT_INO, ".ctl"), *dir, *file, *other;

	dir = looked_up(t, ctl->ino, "dev0");
	file = looked_up(t, dir->ino, "state");
	other = looked_up(t, looked_up(t, ctl->ino, "dev1")->ino, "state");
	file->changed = true;
	tree_mark_vanished(t, all_but_dev0, NULL);
	assert_true(dir->vanished && file->vanished);
	assert_false(ctl->vanished || other->vanished);
	assert_ptr_equal(tree_node_get(t, ".ctl/dev0/state"), file);
	assert_int_equal(file->generation, 2);
	assert_false(file->vanished || file->changed);
	assert_int_equal(tree_node_get(t, ".ctl/dev1/state")->generation, 1);
	tree_free(t);
}

static void many_names_do_not_mix(void **state)
{
	struct tree *t = fresh();
	char name[32];

	for (unsigned i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "dev%u", i);
		(void)looked_up(t, TREE_ROOT_INO, name);
	}
	assert_int_equal(tree_nr_nodes(t), 20001);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "dev%u", i);
		assert_string_equal(tree_find(t, tree_node_get(t, name)->ino)->path, name);
	}
	tree_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_have_kinds),
		cmocka_unit_test(the_root_is_number_one_and_cannot_be_forgotten),
		cmocka_unit_test(numbers_are_the_same_in_every_tree),
		cmocka_unit_test(a_name_keeps_its_node_while_it_is_looked_up),
		cmocka_unit_test(forgetting_too_much_or_the_unknown_does_no_harm),
		cmocka_unit_test(a_node_nobody_was_told_of_can_be_dropped),
		cmocka_unit_test(names_are_joined_below_directories_only),
		cmocka_unit_test(a_taken_number_is_stepped_over),
		cmocka_unit_test(changed_attributes_outlive_forget),
		cmocka_unit_test(a_name_that_comes_back_is_another_file),
		cmocka_unit_test(many_names_do_not_mix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
