/* SPDX-License-Identifier: GPL-2.0-only */
/* The simulator's scripts and their shrinker, on a world that fails for a reason that is known. */
#include "tests/sim/shrink.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static struct script *parsed(const char *text)
{
	struct script *s = malloc(sizeof(*s));

	assert_non_null(s);
	assert_int_equal(script_parse(text, s), 0);
	return s;
}

static void assert_text(const struct script *s, const char *expected)
{
	char text[1000];
	struct printbuf out = PRINTBUF(text);

	script_to_text(s, &out);
	assert_string_equal(text, expected);
}

static void a_script_is_printed_as_it_was_read(void **state)
{
	static const char *const texts[] = { "", "0:", "1@0.4+17:0.1,0.4/3:1.0", "0@+12:2.7/31@1.2+0:1.2" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct script *s = parsed(texts[i]);

		assert_text(s, texts[i]);
		free(s);
	}
}

static void what_is_no_script_is_refused(void **state)
{
	static const char *const texts[] = { "x", "1", "1:0", "1:0.", "1@:", "1@5:0.1", "32:0.1", "1:0.1;", "1@0.1:0.1" };
	struct script *s = malloc(sizeof(*s));

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(script_parse(texts[i], s), -EINVAL);
	free(s);
}

/* Fails when boot 2 is cut after 0.5 (5 to 9 events), 1.3 of boot 0 was done, and boot 4 lived. */
static bool fails(void *ctx, const struct script *s, struct script *recorded)
{
	const struct script_cut *c = &s->cut[2];

	++*(unsigned *)ctx;
	*recorded = *s;
	return s->lived[4] && script_has(s, &(struct script_op){ 0, 1, 3 }) && s->lived[2] && c->cuts && c->after_op && c->op.number == 5 &&
	       script_has(s, &c->op) && c->events >= 5 && c->events <= 9;
}

static void shrinking_leaves_exactly_what_is_needed(void **state)
{
	struct script *s = parsed("0:0.0,1.0,0.1,1.1,1.2,1.3,0.2/1@+3:0.0/2@0.5+7:0.4,0.5,0.6/3:/4:0.0,0.1,0.2,0.3");
	unsigned runs = 0;
	struct shrinker x = { .fails = fails, .ctx = &runs, .runs_max = 1000 };

	shrink(&x, s);
	assert_text(s, "0:1.3/2@0.5+7:0.5/4:");
	assert_int_equal(x.runs, runs);
	free(s);
}

/* What fails with the cut after operation 1 as well as after 2, which is then needless. */
static bool fails_early(void *ctx, const struct script *s, struct script *recorded)
{
	*recorded = *s;
	return s->lived[0] && s->cut[0].cuts && script_has(s, &(struct script_op){ 0, 0, 1 }) && s->cut[0].events == (s->cut[0].op.number == 1 ? 9 : 7);
}

static void a_cut_moves_to_an_operation_that_is_needed_anyway(void **state)
{
	struct script *s = parsed("0@0.2+7:0.1,0.2");
	struct shrinker x = { .fails = fails_early, .runs_max = 1000 };

	shrink(&x, s);
	assert_text(s, "0@0.1+9:0.1");
	free(s);
}

static void shrinking_ends_when_it_may_not_run_any_more(void **state)
{
	struct script *s = parsed("0:0.0,1.0,0.1,1.1,1.2,1.3,0.2/1@+3:0.0/2@0.5+7:0.4,0.5,0.6/3:/4:0.0,0.1,0.2,0.3");
	unsigned runs = 0;
	struct shrinker x = { .fails = fails, .ctx = &runs, .runs_max = 3 };

	shrink(&x, s);
	assert_int_equal(runs, 3);
	assert_true(script_has(s, &(struct script_op){ 0, 1, 3 }));
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_script_is_printed_as_it_was_read),
		cmocka_unit_test(what_is_no_script_is_refused),
		cmocka_unit_test(shrinking_leaves_exactly_what_is_needed),
		cmocka_unit_test(a_cut_moves_to_an_operation_that_is_needed_anyway),
		cmocka_unit_test(shrinking_ends_when_it_may_not_run_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
