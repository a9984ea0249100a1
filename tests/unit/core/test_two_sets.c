/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One backing device and two cache sets (I-11, I-12). Sets come and go, and the device changes between them, with and without a proper detach. What
 * a set has kept of it from before must not come back, and dirty data that lies in one set must not be hidden by the other.
 */
#include "core/admin/log.h"
#include "core/util/prng.h"
#include "tests/unit/core/test_core_rig.h"

#define WINDOWS 8u
#define WINDOW_SECTORS 16u
#define STEPS 60u

struct two {
	struct blk_sim *cache[2], *backing;
	struct bcf *bcf;
	struct bdev *d; /* NULL: not registered */
	void (*body)(struct two *t);
	struct prng rng;
	int holds[WINDOWS];
	uint64_t attached, refused, forced;
};
static struct two *two;

static const char *const cache_path[] = { "/sim/cache0", "/sim/cache1" };

static int two_open(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	for (unsigned i = 0; i < 2; i++)
		if (!strcmp(path, cache_path[i]))
			return blk_sim_open(two->cache[i], false, ret);
	return blk_sim_open(two->backing, false, ret);
}

/* --- what bodies do ------------------------------------------------------------------------------------------------------ */

static void set_uuid(unsigned set, uint8_t uuid[16])
{
	memset(uuid, 0, 16);
	uuid[0] = (uint8_t)(20 + set);
}

static struct cset *find_set(struct two *t, unsigned set)
{
	uint8_t uuid[16];

	set_uuid(set, uuid);
	return bcf_set_find(t->bcf, uuid);
}

static FIBER_FN void add(struct two *t, const char *path)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	if (bcf_register(t->bcf, path, false, &why))
		fail_msg("%s", text);
	t->d = list_empty(&t->bcf->bdevs) ? NULL : list_first(&t->bcf->bdevs, struct bdev, link);
}

static FIBER_FN void remove_device(struct two *t)
{
	bdev_stop(t->d);
	while (!list_empty(&t->bcf->bdevs))
		fiber_sleep_ns(NS_PER_MS);
	t->d = NULL;
}

/* A device that is attached goes with it. */
static FIBER_FN void remove_set(struct two *t, unsigned set)
{
	bool both = t->d && t->d->set && t->d->set == find_set(t, set);

	cset_stop(find_set(t, set), false);
	while (find_set(t, set))
		fiber_sleep_ns(NS_PER_MS);
	if (both)
		t->d = NULL;
}

static FIBER_FN int attach(struct two *t, unsigned set)
{
	char text[37];
	struct printbuf uuid = PRINTBUF(text);
	uint8_t bytes[16];

	set_uuid(set, bytes);
	pr_uuid(&uuid, bytes);
	return bcf_ctl_store(t->bcf, "dev0/attach", text, strlen(text));
}

static FIBER_FN void detach(struct two *t)
{
	bdev_detach(t->d);
	while (t->d->set)
		fiber_sleep_ns(NS_PER_MS);
}

static FIBER_FN int force(struct two *t) { return bcf_ctl_store(t->bcf, "dev0/running", "1", 1); }

static FIBER_FN void set_mode(struct two *t, enum cache_mode m)
{
	assert_int_equal(bdev_set_cache_mode(t->d, m), 0);
	t->d->writeback.running = false;
	t->d->sequential_cutoff_bytes = 0;
}

static FIBER_FN void put(struct two *t, unsigned window, int fill)
{
	static char buf[WINDOW_SECTORS * SECTOR_BYTES];

	memset(buf, fill, sizeof(buf));
	assert_int_equal(bcf_write(t->d, buf, sizeof(buf), window * sizeof(buf), NULL), sizeof(buf));
	t->holds[window] = fill;
}

static FIBER_FN int get(struct two *t, unsigned window)
{
	static char buf[WINDOW_SECTORS * SECTOR_BYTES];

	assert_int_equal(bcf_read(t->d, buf, sizeof(buf), window * sizeof(buf), NULL), sizeof(buf));
	for (unsigned i = 1; i < sizeof(buf); i++)
		assert_int_equal(buf[i], buf[0]);
	return buf[0];
}

/* --- making them --------------------------------------------------------------------------------------------------------- */

static int one_life(void *arg)
{
	struct two *t = arg;
	struct bcf_options o = { 0 };

	assert_int_equal(bcf_new(&o, &t->bcf), 0);
	t->bcf->open_device = two_open;
	t->d = NULL;
	t->body(t);
	bcf_stop(t->bcf);
	return 0;
}

static void two_make(struct two *t, uint64_t seed)
{
	struct super_format f = { .device_sectors = 300 * 16, .block_sectors = 8, .bucket_sectors = 16 };

	*t = (struct two){ .rng = prng_seeded(seed) };
	two = t;
	for (unsigned i = 0; i < 2; i++) {
		f.uuid[0] = (uint8_t)(10 + i);
		set_uuid(i, f.set_uuid);
		t->cache[i] = rig_disk(&f, cache_path[i]);
	}
	f = (struct super_format){ .backing = true, .device_sectors = 16 + WINDOWS * WINDOW_SECTORS, .block_sectors = 8, .uuid = { 3 } };
	t->backing = rig_disk(&f, "/sim/backing");
}

static void two_free(struct two *t)
{
	blk_sim_free(t->cache[0]);
	blk_sim_free(t->cache[1]);
	blk_sim_free(t->backing);
}

static void run_two(void (*body)(struct two *t))
{
	struct two t;

	two_make(&t, 1);
	t.body = body;
	assert_int_equal(run_sim(1, one_life, &t), 0);
	two_free(&t);
}

/* --- cases --------------------------------------------------------------------------------------------------------------- */

/* Set 0 has a clean copy of window 0, and is gone; the device is with set 1 now, and holds something else. */
static FIBER_FN void change_to_set_1(struct two *t)
{
	add(t, cache_path[0]);
	add(t, "/sim/backing");
	assert_int_equal(attach(t, 0), 0);
	set_mode(t, CACHE_MODE_WRITETHROUGH);
	put(t, 0, 'o');
	remove_set(t, 0);
	add(t, cache_path[1]);
	add(t, "/sim/backing");
	assert_int_equal(attach(t, 1), 0);
	set_mode(t, CACHE_MODE_WRITETHROUGH);
	put(t, 0, 'n');
}

static void body_clean(struct two *t)
{
	change_to_set_1(t);
	remove_set(t, 1);
	add(t, cache_path[0]);
	add(t, "/sim/backing");
	assert_int_equal(attach(t, 0), 0);
	assert_int_equal(get(t, 0), 'n');
}

static void what_a_set_kept_does_not_come_back_after_the_device_was_with_another(void **state) { run_two(body_clean); }

static void body_dirty(struct two *t)
{
	change_to_set_1(t);
	set_mode(t, CACHE_MODE_WRITEBACK);
	put(t, 0, 'd');
	remove_set(t, 1);
	add(t, cache_path[0]);
	add(t, "/sim/backing");
	assert_int_equal(attach(t, 0), -ENOENT);
	assert_non_null(strstr(t->bcf->last_error, "dirty data in another cache set"));
	assert_false(t->d->running);
	add(t, cache_path[1]); /* by itself */
	assert_true(t->d->set == find_set(t, 1));
	assert_int_equal(get(t, 0), 'd');
}

static void a_device_with_dirty_data_in_one_set_is_not_attached_to_another_that_knows_it(void **state) { run_two(body_dirty); }

static void body_readopt(struct two *t)
{
	char slot[100];

	add(t, cache_path[0]);
	add(t, "/sim/backing");
	assert_int_equal(attach(t, 0), 0);
	set_mode(t, CACHE_MODE_WRITEBACK);
	put(t, 0, 'o');
	snprintf(slot, sizeof(slot), "%u %s", t->d->inode, t->d->set->uuid_text);
	remove_set(t, 0);
	add(t, "/sim/backing");
	assert_int_equal(force(t), 0);
	add(t, cache_path[1]);
	assert_int_equal(attach(t, 1), 0);
	set_mode(t, CACHE_MODE_WRITEBACK);
	put(t, 0, 'n');
	remove_set(t, 1);
	add(t, "/sim/backing");
	add(t, cache_path[0]);
	assert_int_equal(bcf_ctl_store(t->bcf, "dev0/readopt", slot, strlen(slot)), -ENOENT);
	assert_non_null(strstr(t->bcf->last_error, "dirty data in another cache set"));
	add(t, cache_path[1]);
	assert_int_equal(get(t, 0), 'n');
}

static void nothing_is_readopted_over_dirty_data_in_another_set(void **state) { run_two(body_readopt); }

/* --- any order ----------------------------------------------------------------------------------------------------------- */

static FIBER_FN void check_all(struct two *t, const char *after)
{
	for (unsigned i = 0; t->d && t->d->running && i < WINDOWS; i++)
		if (get(t, i) != t->holds[i])
			fail_msg("window %u holds %d in place of %d after %s", i, get(t, i), t->holds[i], after);
}

/* Its dirty data may be given up by that: whatever is there is what it holds. */
static FIBER_FN void force_and_look(struct two *t)
{
	if (!t->d || t->d->running || force(t) < 0)
		return;
	for (unsigned i = 0; i < WINDOWS; i++)
		t->holds[i] = get(t, i);
	t->forced++;
}

static FIBER_FN void step(struct two *t)
{
	unsigned set = (unsigned)prng_below(&t->rng, 2), window = (unsigned)prng_below(&t->rng, WINDOWS);
	char text[80];

	switch (prng_below(&t->rng, 10)) {
	case 0:
		if (!find_set(t, set))
			add(t, cache_path[set]);
		break;
	case 1:
		if (find_set(t, set))
			remove_set(t, set);
		break;
	case 2:
		if (!t->d)
			add(t, "/sim/backing");
		break;
	case 3:
		if (t->d && prng_one_in(&t->rng, 3))
			remove_device(t);
		break;
	case 4:
		if (t->d && !t->d->set && find_set(t, set)) {
			int r = attach(t, set);

			t->attached += !r;
			t->refused += r < 0;
			assert_true(r == 0 || r == -ENOENT);
		}
		break;
	case 5:
		if (t->d && t->d->set && prng_one_in(&t->rng, 2))
			detach(t);
		break;
	case 6:
		if (prng_one_in(&t->rng, 4))
			force_and_look(t);
		break;
	case 7:
		if (t->d && t->d->running)
			set_mode(t, (enum cache_mode)prng_below(&t->rng, 3));
		break;
	default:
		if (t->d && t->d->running)
			put(t, window, 1 + (int)prng_below(&t->rng, 100));
	}
	snprintf(text, sizeof(text), "a step with set %u", set);
	check_all(t, text);
}

static void body_any_order(struct two *t)
{
	for (unsigned i = 0; i < STEPS; i++)
		step(t);
}

static void sets_and_the_device_come_and_go_in_any_order(void **state)
{
	uint64_t attached = 0, refused = 0, forced = 0;

	for (unsigned seed = 0; seed < (SLOW ? 20 : 200); seed++) {
		struct two t;

		two_make(&t, seed);
		t.body = body_any_order;
		for (unsigned life = 0; life < 3; life++)
			assert_int_equal(run_sim(seed + life, one_life, &t), 0);
		attached += t.attached;
		refused += t.refused;
		forced += t.forced;
		two_free(&t);
	}
	assert_true(attached && refused && forced);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_set_kept_does_not_come_back_after_the_device_was_with_another),
		cmocka_unit_test(a_device_with_dirty_data_in_one_set_is_not_attached_to_another_that_knows_it),
		cmocka_unit_test(nothing_is_readopted_over_dirty_data_in_another_set),
		cmocka_unit_test(sets_and_the_device_come_and_go_in_any_order),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
