/* SPDX-License-Identifier: GPL-2.0-only */
/* What registration refuses, and that it says why (T-1, T-20); what the error policies of sets and devices do (§1.10). */
#include "core/admin/ctl.h"
#include "core/admin/log.h"
#include "tests/unit/core/test_core_rig.h"

/* --- refusals ------------------------------------------------------------------------------------------------------------ */

static void (*spoil)(struct super *s);
static char last_error[512];

static int register_spoiled(void *arg)
{
	struct bcf_options o = { 0 };
	struct printbuf out = PRINTBUF(last_error);
	struct bcf *b;
	int r;

	assert_int_equal(bcf_new(&o, &b), 0);
	b->open_device = rig_open;
	r = bcf_ctl_store(b, "register", "/sim/cache\n", 11);
	assert_int_equal(bcf_ctl_show(b, "last_error", &out), 0);
	assert_true(list_empty(&b->csets));
	bcf_stop(b);
	return r;
}

static void refused(void (*how)(struct super *s), int want, const char *why)
{
	struct super_format f = { .device_sectors = RIG_CACHE_SECTORS, .block_sectors = 8, .bucket_sectors = 128, .uuid = { 1 }, .set_uuid = { 2 } };
	struct rig r = {};
	struct super s;
	int got;

	the_rig = &r;
	spoil = how;
	r.cache = rig_disk(&f, "/sim/cache");
	blk_sim_peek(r.cache, SUPER_SECTOR, &s, SUPER_BYTES / SECTOR_BYTES);
	spoil(&s);
	blk_sim_poke(r.cache, SUPER_SECTOR, &s, SUPER_BYTES / SECTOR_BYTES);
	got = run_sim(1, register_spoiled, NULL);
	blk_sim_free(r.cache);
	if (got != want || !strstr(last_error, why) || !strstr(last_error, "/sim/cache") || strlen(last_error) != strcspn(last_error, "\n") + 1)
		fail_msg("got %d, '%s', want %d, '%s'", got, last_error, want, why);
}

static void spoil_magic(struct super *s)
{
	s->magic[3] ^= 1;
	super_seal(s);
}
static void spoil_checksum(struct super *s) { s->csum ^= 1; }
static void spoil_version(struct super *s)
{
	s->version = 17;
	super_seal(s);
}
static void spoil_bucket_size(struct super *s)
{
	s->bucket_size_lo = 100;
	super_seal(s);
}
static void spoil_size(struct super *s)
{
	s->nbuckets_or_data_offset *= 2;
	super_seal(s);
}
static void spoil_journal(struct super *s)
{
	super_set_sync(s, true);
	s->keys = 0;
	super_seal(s);
}
static void two_devices(struct super *s)
{
	s->nr_in_set = 2;
	super_seal(s);
}

static void a_refused_device_is_named_with_the_reason(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	refused(spoil_magic, -EINVAL, "EINVAL");
	refused(spoil_magic, -EINVAL, "magic");
	refused(spoil_checksum, -EINVAL, "checksum");
	refused(spoil_version, -EINVAL, "version");
	refused(spoil_bucket_size, -EINVAL, "ucket size");
	refused(spoil_size, -EINVAL, "mall");
	refused(spoil_journal, -EINVAL, "journal");
}

static void a_set_of_several_caches_is_refused(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	refused(two_devices, -EINVAL, "several cache devices are not supported (device 0 of 2)");
}

/* --- errors of the cache device ------------------------------------------------------------------------------------------ */

static void store(struct rig *r, const char *where, const char *name, const char *text)
{
	char path[BCF_CTL_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", where, name);
	assert_int_equal(bcf_ctl_store(r->bcf, path, text, strlen(text)), 0);
}

static void some_io(struct rig *r, unsigned good, unsigned bad)
{
	while (good--)
		cset_io_done(r->c, "test", 0);
	while (bad--)
		cset_io_done(r->c, "test", -EIO);
}

static void body_fading(struct rig *r)
{
	store(r, r->c->uuid_text, "io_error_limit", "2");
	store(r, r->c->uuid_text, "io_error_halflife", "880");
	some_io(r, 0, 1);
	some_io(r, 880, 0); /* 10 I/Os per step, 88 steps to a half */
	assert_true(r->c->io_errors > 1 << 18 && r->c->io_errors < 3 << 18);
	some_io(r, 0, 1);
	assert_false(r->c->io_disable); /* one and a half */
	some_io(r, 0, 1);
	assert_true(r->c->io_disable);
}

static void body_lasting(struct rig *r)
{
	store(r, r->c->uuid_text, "io_error_limit", "2");
	some_io(r, 0, 1);
	some_io(r, 100000, 0);
	assert_false(r->c->io_disable);
	some_io(r, 0, 1);
	assert_true(r->c->io_disable);
}

static void errors_fade_by_half_with_the_halflife_and_never_without(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	rig_run(1, CACHE_MODE_WRITETHROUGH, body_fading);
	rig_run(1, CACHE_MODE_WRITETHROUGH, body_lasting);
}

static void body_panic(struct rig *r)
{
	store(r, r->c->uuid_text, "errors", "panic");
	cset_error(r->c, "a test");
	_exit(0); /* not reached */
}

static void panic_aborts_at_once(void **state)
{
	pid_t child = fork();
	int status;

	if (!child) {
		freopen("/dev/null", "w", stderr);
		rig_run(1, CACHE_MODE_WRITEBACK, body_panic);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void body_blocked(struct rig *r)
{
	struct writeback *w = &r->d->writeback;
	char path[64];

	snprintf(path, sizeof(path), "%s/internal", r->c->uuid_text);
	store(r, "dev0", "writeback_delay", "0");
	store(r, "dev0", "writeback_percent", "0");
	assert_int_equal(rig_write(r, 0, 8, 'a'), 8);
	store(r, path, "io_disable", "1");
	store(r, path, "io_disable", "1"); /* repeating is fine */
	store(r, "dev0", "writeback_running", "1");
	assert_int_equal(rig_write(r, 0, 8, 'b'), -EIO);
	assert_int_equal(rig_read(r, 0, 8), -EIO);
	assert_int_equal(bcf_flush(r->d), -EIO);
	assert_int_equal(bcf_ctl_store(r->bcf, "dev0/flush", "1", 1), -EIO); /* and does not wait for ever */
	rig_settle();
	assert_int_equal(w->dirty_sectors, 8);
	assert_false(r->c->io_disable);
	store(r, path, "io_disable", "0");
	assert_int_equal(rig_read(r, 0, 8), 'a');
	rig_settle();
	assert_int_equal(w->dirty_sectors, 0); /* writeback goes on */
	cset_error(r->c, "a test");
	snprintf(path, sizeof(path), "%s/internal/io_disable", r->c->uuid_text);
	assert_int_equal(bcf_ctl_store(r->bcf, path, "0", 1), -EROFS);
}

static void io_disable_of_a_set_can_be_taken_back_but_not_that_of_a_failed_one(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	rig_run(1, CACHE_MODE_WRITEBACK, body_blocked);
}

/* --- devices whose set, or whose own disk, fails -------------------------------------------------------------------------- */

static void body_auto(struct rig *r)
{
	cset_error(r->c, "a test");
	rig_settle();
	assert_ptr_equal(bcf_dev_find(r->bcf, "dev0"), r->d);
	assert_null(r->d->set);
	assert_int_equal(rig_write(r, 0, 8, 'a'), 8);
}

static void body_always(struct rig *r)
{
	store(r, "dev0", "stop_when_cache_set_failed", "always");
	cset_error(r->c, "a test");
	rig_settle();
	assert_null(bcf_dev_find(r->bcf, "dev0"));
}

static void a_clean_device_follows_its_policy_when_its_set_fails(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	rig_run(1, CACHE_MODE_WRITETHROUGH, body_auto);
	rig_run(1, CACHE_MODE_WRITETHROUGH, body_always);
}

static void body_backing_fails(struct rig *r)
{
	store(r, "dev0", "io_error_limit", "3");
	rig_fail(r->backing, BLK_SIM_OP(BIO_READ), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_read(r, 1024 + i * 8, 8), -EIO);
	assert_ptr_equal(bcf_dev_find(r->bcf, "dev0"), r->d);
	bdev_hold(r->d); /* it goes away at the third */
	assert_int_equal(rig_read(r, 2048, 8), -EIO);
	assert_true(r->d->io_disable && r->d->closing);
	assert_null(bcf_dev_find(r->bcf, "dev0"));
	blk_sim_clear_faults(r->backing);
	bdev_release(r->d);
	rig_settle();
	assert_true(list_empty(&r->bcf->bdevs));
	assert_false(r->c->io_disable);
}

static void a_backing_device_is_given_up_at_its_limit(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	rig_run(1, CACHE_MODE_WRITEBACK, body_backing_fails);
	log_set_level(LOG_LEVEL_ERROR);
}

/* --- stopped, and registered again ---------------------------------------------------------------------------------------- */

static int register_again(struct rig *r, const char *path)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	int e = bcf_register(r->bcf, path, false, &why);

	if (e < 0)
		assert_non_null(strstr(text, "being stopped"));
	return e;
}

static void body_again(struct rig *r)
{
	struct bdev *d = r->d;

	rig_write(r, 0, 8, 'a');
	assert_int_equal(bcf_dev_open(d), 0);
	store(r, "dev0", "stop", "1");
	assert_int_equal(register_again(r, "/sim/backing"), -EEXIST); /* somebody has it open */
	bcf_dev_close(d);
	assert_int_equal(register_again(r, "/sim/backing"), 0);
	r->d = bcf_dev_find(r->bcf, "dev0");
	assert_int_equal(rig_read(r, 0, 8), 'a');
	store(r, r->c->uuid_text, "stop", "1"); /* with all its devices */
	assert_int_equal(register_again(r, "/sim/cache"), 0);
	r->c = list_first(&r->bcf->csets, struct cset, link);
}

static void what_is_being_stopped_can_be_registered_at_once(void **state)
{
	rig_run(1, CACHE_MODE_WRITEBACK, body_again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_refused_device_is_named_with_the_reason),
		TEST(a_set_of_several_caches_is_refused),
		TEST(errors_fade_by_half_with_the_halflife_and_never_without),
		TEST(panic_aborts_at_once),
		TEST(io_disable_of_a_set_can_be_taken_back_but_not_that_of_a_failed_one),
		TEST(a_clean_device_follows_its_policy_when_its_set_fails),
		TEST(a_backing_device_is_given_up_at_its_limit),
		TEST(what_is_being_stopped_can_be_registered_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
