/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests are accounted by what became of them. */
#include "tests/unit/core/test_core_rig.h"

static uint64_t on_path(const struct rig *r, enum io_path path) { return r->d->account.latency[path].count; }

/* A disk whose I/O takes 3 ms, so that times are known. */
static void slow(struct blk_sim *s)
{
	blk_sim_add_fault(s, &(struct blk_sim_fault){ .ops = BLK_SIM_ALL_OPS, .extra_ns = 3 * NS_PER_MS });
}

static bool is_time(unsigned field) { return field == 3 || field == 7 || field == 9 || field == 10 || field == 14 || field == 16; }

static unsigned long long stat_field(struct rig *r, unsigned field)
{
	char text[500], *p = text;
	struct printbuf out = PRINTBUF(text);
	unsigned long long got = 0;

	account_stat_text(&out, &r->d->account, engine_now_ns());
	for (unsigned i = 0; i <= field; i++)
		got = strtoull(p, &p, 10);
	return got;
}

static void check_stat(struct rig *r, unsigned field, unsigned long long want)
{
	unsigned long long got = stat_field(r, field);

	if (got != want && !(is_time(field) && got == want + 1)) /* the disks add a little of their own */
		fail_msg("field %u of stat is %llu, not %llu", field, got, want);
}

static void body_writethrough(struct rig *r)
{
	account_clear(&r->d->account);
	slow(r->cache);
	slow(r->backing);
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(on_path(r, PATH_WRITE_THROUGH), 1);
	assert_true(r->d->account.latency[PATH_WRITE_THROUGH].max_ns >= 3 * NS_PER_MS);
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(on_path(r, PATH_READ_HIT), 1);
	assert_int_equal(rig_read(r, 96, 64), -1000); /* in part */
	assert_int_equal(on_path(r, PATH_READ_MISS), 1);
	assert_int_equal(bcf_flush(r->d), 0);
	assert_int_equal(on_path(r, PATH_FLUSH), 1);
	assert_int_equal(bcf_zero(r->d, 0, 64 * SECTOR_BYTES), 0);
	assert_int_equal(on_path(r, PATH_ZERO), 1);
	r->d->sequential_cutoff_bytes = 1;
	assert_int_equal(rig_read(r, 512, 64), 0);
	assert_int_equal(rig_write(r, 512, 64, 'b'), 64);
	assert_int_equal(on_path(r, PATH_READ_BYPASS), 1);
	assert_int_equal(on_path(r, PATH_WRITE_AROUND), 1);
	assert_int_equal(on_path(r, PATH_WRITE_BACK), 0);
	for (unsigned i = 0; i < IO_PATHS; i++)
		assert_int_equal(r->d->account.latency[i].max_ns >= 3 * NS_PER_MS, r->d->account.latency[i].count > 0);
}

static void body_writeback(struct rig *r)
{
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(on_path(r, PATH_WRITE_BACK), 1);
	assert_int_equal(bcf_write(r->d, "abc", 3, 1000, NULL), 3); /* the read of its edges is nobody's request */
	assert_int_equal(on_path(r, PATH_WRITE_BACK), 2);
	assert_int_equal(r->d->account.kind[IO_KIND_READ].requests, 0);
}

static void body_unattached(struct rig *r)
{
	bdev_detach(r->d);
	fiber_sleep_ns(60 * NS_PER_S);
	assert_null(r->d->set);
	assert_int_equal(rig_write(r, 64, 64, 'a'), 64);
	assert_int_equal(rig_read(r, 64, 64), 'a');
	assert_int_equal(on_path(r, PATH_WRITE_AROUND), 1);
	assert_int_equal(on_path(r, PATH_READ_BYPASS), 1);
}

static void body_failures(struct rig *r)
{
	rig_fail(r->backing, BLK_SIM_ALL_OPS, 0);
	assert_int_equal(rig_write(r, 64, 64, 'a'), -EIO);
	assert_int_equal(rig_read(r, 64, 64), -EIO);
	for (unsigned i = 0; i < IO_PATHS; i++)
		assert_int_equal(on_path(r, i), 0); /* how long an error takes says nothing about the device */
	check_stat(r, 0, 1);
	check_stat(r, 2, 0);
	check_stat(r, 4, 1);
	check_stat(r, 8, 0);
}

static void reader(void *arg)
{
	struct rig *r = arg;

	(void)rig_read(r, 1024, 8);
}

static void body_stat(struct rig *r)
{
	struct fiber *f;
	uint64_t busy;

	slow(r->backing);
	assert_int_equal(rig_read(r, 0, 64), 0);
	assert_int_equal(rig_read(r, 512, 32), 0);
	assert_int_equal(rig_write(r, 64, 16, 'a'), 16);
	assert_int_equal(bcf_zero(r->d, 0, 8 * SECTOR_BYTES), 0);
	assert_int_equal(bcf_flush(r->d), 0);
	check_stat(r, 0, 2);
	check_stat(r, 1, 0);
	check_stat(r, 2, 96);
	check_stat(r, 3, 6);
	check_stat(r, 4, 1);
	check_stat(r, 6, 16);
	check_stat(r, 7, 3);
	check_stat(r, 8, 0);
	busy = stat_field(r, 9); /* one after the other, without the flush; now and then a disk takes its time */
	assert_in_range(busy, 12, 40);
	assert_in_range(stat_field(r, 10), 15, 43);
	check_stat(r, 11, 1);
	check_stat(r, 13, 8);
	check_stat(r, 14, 3);
	check_stat(r, 15, 1);
	check_stat(r, 16, 3);
	f = fiber_spawn("reader", reader, r);
	fiber_sleep_ns(NS_PER_MS);
	check_stat(r, 8, 1);
	check_stat(r, 9, busy + 1); /* still busy */
	fiber_join(f);
	check_stat(r, 8, 0);
	account_clear(&r->d->account);
	check_stat(r, 0, 3); /* goes on counting */
}

#define RUN(mode, body) \
	for (uint64_t seed = 0; seed < 5; seed++) \
	rig_run(seed, CACHE_MODE_##mode, body)

static void each_request_counts_on_the_path_it_took(void **state) { RUN(WRITETHROUGH, body_writethrough); RUN(WRITEBACK, body_writeback); }
static void without_a_cache_everything_goes_around_it(void **state) { RUN(WRITETHROUGH, body_unattached); }
static void failed_requests_have_no_latency(void **state) { RUN(WRITETHROUGH, body_failures); }
static void stat_has_the_fields_of_a_block_device(void **state) { RUN(NONE, body_stat); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_request_counts_on_the_path_it_took),
		TEST(without_a_cache_everything_goes_around_it),
		TEST(failed_requests_have_no_latency),
		TEST(stat_has_the_fields_of_a_block_device),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
