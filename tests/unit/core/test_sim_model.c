/* SPDX-License-Identifier: GPL-2.0-only */
/* The oracle of the simulation must itself be able to say no. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/sim/model.h"

static struct model *m;
static char text[1000];

static int setup(void **state)
{
	(void)state;
	m = model_new(16, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	model_free(m);
	return 0;
}

static void begin(struct model_op *op, uint32_t gen, uint64_t offset, uint64_t len, bool direct)
{
	*op = (struct model_op){ .offset_bytes = offset, .len_bytes = len, .gen = gen, .direct = direct };
	model_write_begin(m, op);
}

static void write_now(uint32_t gen, uint64_t offset, uint64_t len, bool direct, bool durable)
{
	struct model_op op;

	begin(&op, gen, offset, len, direct);
	model_write_end(m, &op, 0, durable);
}

static void flush(void)
{
	struct model_flush f;

	model_flush_begin(m, &f);
	model_flush_end(m, &f, 0);
}

/* Would the model let sector 0 read as what write `gen` put there? */
static int reads_as(uint32_t gen)
{
	uint8_t buf[SECTOR_BYTES];
	struct printbuf why = PRINTBUF(text);
	struct model_read r;

	model_pattern(1, gen, 0, buf, sizeof(buf));
	model_read_begin(m, &r);
	return model_read_end(m, &r, 0, buf, sizeof(buf), &why);
}

static void a_finished_write_is_what_is_read(void **state)
{
	(void)state;
	assert_int_equal(reads_as(0), 0);
	write_now(1, 0, 512, true, false);
	assert_int_equal(reads_as(0), -EUCLEAN);
	assert_int_equal(reads_as(1), 0);
	write_now(0, 0, 8192, true, false);
	assert_int_equal(reads_as(1), -EUCLEAN);
	assert_int_equal(reads_as(0), 0);
}

static void a_write_in_flight_is_read_or_not(void **state)
{
	struct model_op op;

	(void)state;
	begin(&op, 7, 0, 512, true);
	assert_int_equal(reads_as(0), 0);
	assert_int_equal(reads_as(7), 0);
	assert_int_equal(reads_as(6), -EUCLEAN);
	model_write_end(m, &op, 0, false);
	assert_int_equal(reads_as(0), -EUCLEAN);
}

static void a_read_in_flight_may_see_what_was_there_when_it_began(void **state)
{
	uint8_t old[512] = { 0 };
	struct model_read r;

	(void)state;
	model_read_begin(m, &r);
	write_now(1, 0, 512, true, false);
	write_now(2, 0, 512, true, false);
	assert_int_equal(model_read_end(m, &r, 0, old, sizeof(old), NULL), 0);
	assert_int_equal(reads_as(1), -EUCLEAN);
	assert_int_equal(reads_as(0), -EUCLEAN);
	assert_int_equal(reads_as(2), 0);
}

static void two_writes_in_flight_come_out_in_either_order_but_one(void **state)
{
	struct model_op a, b;

	(void)state;
	begin(&a, 1, 0, 512, true);
	begin(&b, 2, 0, 512, true);
	model_write_end(m, &a, 0, false);
	model_write_end(m, &b, 0, false);
	assert_int_equal(reads_as(0), -EUCLEAN);
	assert_int_equal(reads_as(1), 0);
	assert_int_equal(reads_as(2), -EUCLEAN); /* the read before has settled it */
}

static void partial_writes_in_flight_are_both_there_in_the_end(void **state)
{
	struct model_op a, b;
	uint8_t buf[512];

	(void)state;
	write_now(9, 0, 512, true, false);
	begin(&a, 1, 0, 300, true);
	begin(&b, 2, 200, 312, true);
	model_write_end(m, &a, 0, false);
	model_write_end(m, &b, 0, false);
	model_pattern(1, 1, 0, buf, 300);
	model_pattern(1, 9, 300, buf + 300, 212);
	struct model_read r;
	model_read_begin(m, &r);
	assert_int_equal(model_read_end(m, &r, 0, buf, 512, NULL), -EUCLEAN); /* b is lost */
	model_pattern(1, 2, 200, buf + 200, 312);
	model_read_begin(m, &r);
	assert_int_equal(model_read_end(m, &r, 0, buf, 512, NULL), 0);
	model_pattern(1, 1, 0, buf, 300);
	model_read_begin(m, &r);
	assert_int_equal(model_read_end(m, &r, 0, buf, 512, NULL), -EUCLEAN); /* the other order, too late */
}

static void a_crash_loses_what_was_not_flushed_and_nothing_else(void **state)
{
	(void)state;
	write_now(1, 0, 512, false, false);
	flush();
	write_now(2, 0, 512, false, false);
	write_now(3, 0, 512, false, false);
	model_crash(m);
	assert_int_equal(reads_as(0), -EUCLEAN);
	assert_int_equal(reads_as(2), 0);
	assert_int_equal(reads_as(3), -EUCLEAN); /* settled */
	assert_int_equal(reads_as(1), -EUCLEAN);
	model_crash(m);
	assert_int_equal(reads_as(3), -EUCLEAN);
	assert_int_equal(reads_as(2), 0);
}

static void a_flush_covers_only_what_was_done_when_it_began(void **state)
{
	struct model_op op;
	struct model_flush f;

	(void)state;
	begin(&op, 1, 0, 512, false);
	model_flush_begin(m, &f);
	model_write_end(m, &op, 0, false);
	model_flush_end(m, &f, 0);
	model_crash(m);
	assert_int_equal(reads_as(0), 0);
}

static void a_failed_flush_promises_nothing(void **state)
{
	struct model_flush f;

	(void)state;
	write_now(1, 0, 512, false, false);
	model_flush_begin(m, &f);
	model_flush_end(m, &f, -EIO);
	model_crash(m);
	assert_int_equal(reads_as(0), 0);
}

static void a_synchronous_write_survives(void **state)
{
	(void)state;
	write_now(1, 0, 512, true, false);
	write_now(2, 0, 512, true, true);
	model_crash(m);
	assert_int_equal(reads_as(1), -EUCLEAN);
	assert_int_equal(reads_as(0), -EUCLEAN);
	assert_int_equal(reads_as(2), 0);
}

static void after_a_crash_a_write_past_the_cache_may_flip(void **state)
{
	(void)state;
	write_now(1, 0, 512, true, true);
	write_now(2, 0, 512, true, false);
	model_crash(m);
	assert_int_equal(reads_as(2), 0);
	assert_int_equal(reads_as(1), 0);
	assert_int_equal(reads_as(2), 0);
	flush();
	model_crash(m);
	assert_int_equal(reads_as(1), 0);
	assert_int_equal(reads_as(0), -EUCLEAN);
	write_now(3, 0, 512, false, false);
	assert_int_equal(reads_as(1), -EUCLEAN);
	assert_int_equal(reads_as(3), 0);
}

static void a_failed_write_may_be_there_or_not(void **state)
{
	struct model_op op;

	(void)state;
	begin(&op, 1, 0, 512, true);
	model_write_end(m, &op, -EIO, false);
	assert_int_equal(reads_as(2), -EUCLEAN);
	assert_int_equal(reads_as(1), 0);
}

static void a_foreign_sector_is_named(void **state)
{
	uint8_t buf[512];
	struct printbuf why = PRINTBUF(text);
	struct model_read r;

	(void)state;
	write_now(5, 512, 512, true, false);
	model_pattern(1, 4, 3 * 512, buf, sizeof(buf));
	model_read_begin(m, &r);
	assert_int_equal(model_read_end(m, &r, 512, buf, sizeof(buf), &why), -EUCLEAN);
	assert_non_null(strstr(text, "device 1 sector 3 word 0 gen 4"));
	assert_non_null(strstr(text, "allowed: gen 5"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_finished_write_is_what_is_read),
		T(a_write_in_flight_is_read_or_not),
		T(a_read_in_flight_may_see_what_was_there_when_it_began),
		T(two_writes_in_flight_come_out_in_either_order_but_one),
		T(partial_writes_in_flight_are_both_there_in_the_end),
		T(a_crash_loses_what_was_not_flushed_and_nothing_else),
		T(a_flush_covers_only_what_was_done_when_it_began),
		T(a_failed_flush_promises_nothing),
		T(a_synchronous_write_survives),
		T(after_a_crash_a_write_past_the_cache_may_flip),
		T(a_failed_write_may_be_there_or_not),
		T(a_foreign_sector_is_named),
	};
	return cmocka_run_group_tests_name("sim_model", tests, NULL, NULL);
}
