/* SPDX-License-Identifier: GPL-2.0-only */
/* The journal's ring at its limits: small ones that wrap all the time, full ones, discards, entries that are not what they should be. */
#define RIG_CACHE_SECTORS (2048u * 128) /* sixteen journal buckets */
#include "core/admin/ctl.h"
#include "core/admin/log.h"
#include "core/btree/keylist.h"
#include "core/engine/fiber.h"
#include "core/util/prng.h"
#include "tests/unit/core/test_core_rig.h"

#define CUT_STEP (SLOW ? 29 : 7)
#define CUT_SEEDS 30u
#define BLOCK 8u /* sectors of a block of the rig's disks */
#define JOURNAL_BUCKET(r, i) geometry_sector(&(r)->c->g, (r)->c->journal.first_bucket + (i))

static bool watching;

/* Overwrite scattered blocks with single keys, each made durable by an entry of its own. */
static FIBER_FN void write_entries(struct rig *r, unsigned nr, uint64_t seed)
{
	struct prng rng = prng_seeded(seed);

	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(rig_write(r, prng_below(&rng, RIG_DATA_SECTORS / BLOCK) * BLOCK, BLOCK, (char)('a' + i % 26)), BLOCK);
		assert_int_equal(journal_flush(r->c), 0);
	}
}

static char expected[RIG_DATA_SECTORS / BLOCK];

static void note_entries(unsigned nr, uint64_t seed)
{
	struct prng rng = prng_seeded(seed);

	for (unsigned i = 0; i < nr; i++)
		expected[prng_below(&rng, RIG_DATA_SECTORS / BLOCK)] = (char)('a' + i % 26);
}

static FIBER_FN void expect_all(struct rig *r)
{
	for (unsigned b = 0; b < RIG_DATA_SECTORS / BLOCK; b++)
		if (expected[b] && rig_read(r, (uint64_t)b * BLOCK, BLOCK) != expected[b])
			fail_msg("block %u does not hold '%c'", b, expected[b]);
}

/* --- discards ------------------------------------------------------------------------------------------------------------ */

static FIBER_FN void watch_discards(void *arg)
{
	struct rig *r = arg;
	struct journal *j = &r->c->journal;
	uint64_t newest_in[64] = { 0 };

	assert_true(j->nr_buckets <= ARRAY_SIZE(newest_in));
	while (watching) {
		if (j->discard_busy) {
			assert_int_not_equal(j->discarding, j->cur);
			assert_true(newest_in[j->discarding] < j->durable_last_seq); /* what a recovery would read stays (R6.4) */
		}
		for (uint32_t i = 0; i < j->nr_buckets; i++)
			newest_in[i] = max(newest_in[i], j->bucket_seq[i]);
		fiber_sleep_ns(20 * 1000);
	}
}

static void slow_journal_discards(struct rig *r, uint64_t extra_ns)
{
	blk_sim_add_fault(r->cache, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_DISCARD), .sector = JOURNAL_BUCKET(r, 0), .extra_ns = extra_ns,
							      .nr_sectors = (uint64_t)r->c->journal.nr_buckets * r->c->g.bucket_sectors });
}

static FIBER_FN void write_under_watch(struct rig *r, unsigned nr)
{
	struct fiber *watcher;

	watching = true;
	watcher = fiber_spawn("watcher", watch_discards, r);
	super_set_discard(r->c->super, true);
	write_entries(r, nr, 5);
	note_entries(nr, 5);
	watching = false;
	fiber_join(watcher);
}

static void discards_of_any_speed(struct rig *r)
{
	struct journal *j = &r->c->journal;
	uint64_t laps;

	assert_true(j->nr_buckets >= 8);
	write_under_watch(r, 1000);
	rig_settle();
	assert_false(j->discard_busy);
	laps = j->nr_reclaimed_buckets / j->nr_buckets;
	assert_true(laps >= 2);
	assert_true(j->nr_discards >= laps * (j->nr_buckets - 4)); /* nearly every bucket in every lap */
	slow_journal_discards(r, NS_PER_S); /* longer than a lap: the ring gets to the bucket, and waits for it */
	write_under_watch(r, 1000);
	assert_true(j->nr_reclaimed_buckets / j->nr_buckets >= laps + 2);
	expect_all(r);
}

static void a_bucket_under_discard_is_not_entered(void **state)
{
	rig_run_buckets(1, CACHE_MODE_WRITEBACK, discards_of_any_speed, 4 * BLOCK);
}

/* --- full rings ---------------------------------------------------------------------------------------------------------- */

static struct geometry geo;
static uint64_t magic;
static uint32_t first_bucket, nr_buckets, blocks_per_bucket;
static struct bkey_buf data_key; /* of block 0 */
static unsigned nr_entries; /* of a built journal: entry i says that block DATA_BLOCKS + i holds what block 0 does */
#define DATA_BLOCKS 8u

static int open_all(struct rig *r)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_options o = { 0 };
	int error;

	assert_int_equal(bcf_new(&o, &r->bcf), 0);
	r->bcf->open_device = rig_open;
	error = bcf_register(r->bcf, "/sim/cache", false, &why);
	if (!error)
		error = bcf_register(r->bcf, "/sim/backing", false, &why);
	if (error)
		fprintf(stderr, "%s\n", text);
	r->c = list_first(&r->bcf->csets, struct cset, link);
	r->d = bcf_dev_find(r->bcf, "dev0");
	return error;
}

static void remember_geometry(struct rig *r)
{
	geo = r->c->g;
	magic = r->c->set_magic;
	first_bucket = r->c->journal.first_bucket;
	nr_buckets = r->c->journal.nr_buckets;
	blocks_per_bucket = r->c->journal.blocks_per_bucket;
}

/* It was acknowledged a moment ago, so it is in the open entry, or in the one that was open until a moment ago. */
static void remember_key(const struct journal *j)
{
	const struct jset *e = j->buf[j->open_buf].jset;

	if (jset_first(e) == jset_end(e))
		e = j->buf[!j->open_buf].jset;
	bkey_copy(&data_key.k, jset_first(e));
	assert_true(bkey_dirty(&data_key.k) && bkey_ptrs(&data_key.k) == 1 && bkey_size(&data_key.k) == BLOCK);
}

static FIBER_FN void attach(struct rig *r)
{
	char text[500];
	struct printbuf why = PRINTBUF(text);

	assert_int_equal(open_all(r), 0);
	assert_int_equal(bdev_attach(r->d, r->c, true, &why), 0);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEBACK), 0);
	r->d->writeback.running = false;
	r->d->sequential_cutoff_bytes = 0; /* consecutive blocks are cached, too */
	remember_geometry(r);
	rig_settle();
}

/* Some dirty data, and an orderly stop. */
static int first_life(void *arg)
{
	struct rig *r = arg;

	attach(r);
	for (unsigned b = 0; b < DATA_BLOCKS; b++) {
		assert_int_equal(rig_write(r, b * BLOCK, BLOCK, (char)('A' + b)), BLOCK);
		if (!b)
			remember_key(&r->c->journal);
	}
	assert_int_equal(journal_flush(r->c), 0);
	bcf_stop(r->bcf);
	return 0;
}

static uint64_t journal_sector(uint64_t block)
{
	return geometry_sector(&geo, first_bucket + block / blocks_per_bucket) + block % blocks_per_bucket * geo.block_sectors;
}

static bool entry_at(const struct rig *r, uint64_t block, char *buf)
{
	blk_sim_peek(r->cache, journal_sector(block), buf, geo.block_sectors);
	return jset_validate((struct jset *)buf, geometry_block_bytes(&geo), magic, NULL) == 0;
}

/* Returns the bucket of the newest entry. */
static uint32_t find_newest(const struct rig *r, struct jset *newest)
{
	char buf[PAGE_BYTES];
	const struct jset *e = (struct jset *)buf;
	uint32_t at = 0;

	newest->seq = 0;
	for (uint64_t block = 0; block < (uint64_t)nr_buckets * blocks_per_bucket; block++) {
		if (!entry_at(r, block, buf))
			continue;
		if (e->seq > newest->seq) {
			*newest = *e;
			at = (uint32_t)(block / blocks_per_bucket);
		}
	}
	assert_true(newest->seq);
	return at;
}

static unsigned keys_in_oldest = 1; /* the same one again and again */

/* Entries of one block with one key, all of them needed, from the bucket behind the newest entry on, up to leave_free blocks short of a lap. */
static void build_full_journal(struct rig *r, unsigned leave_free, void (*spoil)(struct bkey *k, unsigned i))
{
	char buf[PAGE_BYTES] = { 0 };
	struct jset newest, *e = (struct jset *)buf;
	uint64_t ring = (uint64_t)nr_buckets * blocks_per_bucket;
	uint64_t from = (find_newest(r, &newest) + 1ull) % nr_buckets * blocks_per_bucket;

	nr_entries = (unsigned)ring - leave_free;
	for (unsigned i = 0; i < ring; i++) {
		memset(buf, 0, sizeof(buf));
		if (i < nr_entries) {
			struct bkey *k = jset_first(e);

			*e = newest;
			e->seq = newest.seq + 1 + i;
			e->last_seq = newest.seq + 1;
			bkey_copy(k, &data_key.k);
			bkey_set_offset(k, bkey_offset(k) + (DATA_BLOCKS + i) * BLOCK);
			if (spoil)
				spoil(k, i);
			e->nr_words = bkey_words(k);
			for (unsigned n = 1; !i && n < keys_in_oldest; n++, e->nr_words += bkey_words(k))
				bkey_copy((struct bkey *)(e->words + e->nr_words), k);
			jset_seal(e, magic);
		}
		blk_sim_poke(r->cache, journal_sector((from + i) % ring), buf, geo.block_sectors);
	}
}

static bool holds(struct rig *r, unsigned block, char c) { return rig_read(r, (uint64_t)block * BLOCK, BLOCK) == c; }

/* Start, find everything, stop. 0, or the number of what is wrong. */
static int later_life(void *arg)
{
	struct rig *r = arg;
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	int wrong = 0;

	if (open_all(r) < 0)
		return 1;
	r->d->writeback.running = false;
	for (unsigned b = 0; b < DATA_BLOCKS; b++)
		wrong = !holds(r, b, (char)('A' + b)) ? 2 : wrong;
	for (unsigned i = 0; i < nr_entries; i++)
		wrong = !holds(r, DATA_BLOCKS + i, 'A') ? 3 : wrong;
	if (rig_write(r, RIG_DATA_SECTORS - BLOCK, BLOCK, 'z') != BLOCK || journal_flush(r->c))
		wrong = 4;
	if (btree_check(r->c, &why) < 0) {
		fprintf(stderr, "%s\n", text);
		wrong = 5;
	}
	bcf_stop(r->bcf);
	return wrong;
}

static void make_disks_of(struct rig *r, uint32_t bucket_sectors, uint64_t cache_buckets)
{
	struct super_format cache = { .device_sectors = cache_buckets * bucket_sectors, .block_sectors = BLOCK, .bucket_sectors = bucket_sectors,
				      .uuid = { 1 }, .set_uuid = { 2 } };
	struct super_format backing = { .backing = true, .device_sectors = 16 + RIG_DATA_SECTORS, .block_sectors = BLOCK, .uuid = { 3 } };

	the_rig = r;
	log_set_level(LOG_LEVEL_ERROR);
	r->cache = rig_disk(&cache, "/sim/cache");
	r->backing = rig_disk(&backing, "/sim/backing");
}

static void make_disks(struct rig *r, uint32_t bucket_sectors) { make_disks_of(r, bucket_sectors, 2048); }

static void free_disks(struct rig *r)
{
	blk_sim_free(r->cache);
	blk_sim_free(r->backing);
}

static const uint32_t bucket_sizes[] = { BLOCK, 2 * BLOCK, 4 * BLOCK, 16 * BLOCK };

static void recover_with_free_blocks(uint32_t bucket_sectors, unsigned leave_free)
{
	struct rig r = { 0 };

	make_disks(&r, bucket_sectors);
	assert_int_equal(run_sim(1, first_life, &r), 0);
	build_full_journal(&r, leave_free, NULL);
	assert_int_equal(run_sim(2, later_life, &r), 0);
	assert_int_equal(run_sim(3, later_life, &r), 0);
	free_disks(&r);
}

static void a_ring_with_its_reserve_left_is_replayed(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bucket_sizes); i++)
		recover_with_free_blocks(bucket_sizes[i], bucket_sizes[i] / BLOCK + 1);
}

static void a_ring_with_one_block_left_is_replayed(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bucket_sizes); i++)
		recover_with_free_blocks(bucket_sizes[i], 1);
}

static void a_ring_without_a_free_block_is_replayed(void **state)
{
	for (unsigned i = 1; i < ARRAY_SIZE(bucket_sizes); i++)
		recover_with_free_blocks(bucket_sizes[i], 0);
}

static int refused_life(void *arg)
{
	struct rig *r = arg;
	int error = open_all(r);

	bcf_stop(r->bcf);
	return error;
}

/* Nodes of one block cannot be added to: each insert takes a bucket, and the reserve has fewer than the ring has entries. */
static void a_ring_without_a_free_block_is_refused_unchanged_where_replay_needs_it(void **state)
{
	struct rig r = { 0 };
	char before[SECTOR_BYTES], after[SECTOR_BYTES];

	make_disks(&r, bucket_sizes[0]);
	assert_int_equal(run_sim(1, first_life, &r), 0);
	build_full_journal(&r, 0, NULL);
	for (unsigned life = 0; life < 3; life++) {
		blk_sim_peek(r.cache, journal_sector(nr_buckets - 1), before, 1);
		assert_int_not_equal(run_sim(2, refused_life, &r), 0);
		blk_sim_peek(r.cache, journal_sector(nr_buckets - 1), after, 1);
		assert_memory_equal(before, after, SECTOR_BYTES);
	}
	free_disks(&r);
}

static bool dies_by_power_cut(struct rig *r)
{
	struct engine *e;
	int error;

	assert_int_equal(engine_sim_new(4, &e), 0);
	error = engine_run(e, later_life, r);
	engine_sim_abandon(e);
	return error == -ECANCELED;
}

#define HOUR_NS (3600 * NS_PER_S)

/* What takes an hour is a flush, and the write behind it: when that is to complete, the power goes. */
static void cut_late_write(struct blk_sim_power *p)
{
	static unsigned nr_late;

	if (engine_now_ns() >= HOUR_NS && ++nr_late == 2)
		p->cut_at = p->nr_events;
}

/*
 * In a child, whose abandoned fibers nobody has to clean up. 0: all is there after a power cut at this event, or (0) in the write to late_sector.
 * *ret_done: it was not reached.
 */
static int recover_after_cut(const struct rig *whole, uint64_t cut_at, uint64_t late_sector, uint64_t seed, bool *ret_done)
{
	struct blk_sim_fault late = { .ops = BLK_SIM_OP(BIO_WRITE), .sector = late_sector, .nr_sectors = 1, .extra_ns = HOUR_NS };
	struct blk_sim_power power = { .cut_at = cut_at, .on_event = cut_at ? NULL : cut_late_write };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct rig r = { .cache = blk_sim_clone(whole->cache, &power), .backing = blk_sim_clone(whole->backing, &power) };

		the_rig = &r;
		if (!cut_at)
			blk_sim_add_fault(r.cache, &late);
		if (!dies_by_power_cut(&r))
			_exit(100);
		blk_sim_clear_faults(r.cache);
		power = (struct blk_sim_power){ 0 };
		blk_sim_crash(r.cache, seed);
		blk_sim_crash(r.backing, seed + 1);
		_exit(run_sim(5, later_life, &r));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*ret_done = WIFEXITED(status) && WEXITSTATUS(status) == 100;
	return *ret_done ? 0 : status;
}

static void a_full_ring_survives_a_power_cut_at_any_moment_of_its_recovery(void **state)
{
	for (unsigned i = 1; i < ARRAY_SIZE(bucket_sizes); i++) {
		struct rig r = { 0 };
		bool done = false;

		make_disks(&r, bucket_sizes[i]);
		assert_int_equal(run_sim(1, first_life, &r), 0);
		build_full_journal(&r, 0, NULL);
		for (uint64_t cut = 1; !done; cut += CUT_STEP)
			if (recover_after_cut(&r, cut, 0, cut, &done))
				fail_msg("bucket of %u sectors: not recovered after a cut at event %llu", bucket_sizes[i], (unsigned long long)cut);
		free_disks(&r);
	}
}

/* The oldest entry has keys in sectors behind the one that its successor takes. */
static void a_torn_write_over_the_oldest_entry_leaves_one_or_the_other(void **state)
{
	struct rig r = { 0 };
	struct jset newest;
	uint64_t oldest;
	bool done;

	make_disks(&r, 16 * BLOCK);
	assert_int_equal(run_sim(1, first_life, &r), 0);
	oldest = (find_newest(&r, &newest) + 1ull) % nr_buckets * blocks_per_bucket;
	keys_in_oldest = 100;
	build_full_journal(&r, 0, NULL);
	keys_in_oldest = 1;
	for (unsigned seed = 0; seed < CUT_SEEDS; seed++)
		if (recover_after_cut(&r, 0, journal_sector(oldest), seed, &done) || done)
			fail_msg("not recovered after a cut with seed %u", seed);
	free_disks(&r);
}

/* --- pins, impossible keys ----------------------------------------------------------------------------------------------- */

#define FEW 500u

static void say_few_blocks_again_and_again(struct bkey *k, unsigned i)
{
	bkey_set_offset(k, bkey_offset(&data_key.k) + (DATA_BLOCKS + i % FEW) * BLOCK);
}

static uint64_t pins_after_start;

static int life_with_many_pins(void *arg)
{
	struct rig *r = arg;
	int error = open_all(r);

	pins_after_start = error ? 0 : r->c->journal.cap_pins;
	bcf_stop(r->bcf);
	return error;
}

/* T-7: 256 buckets of 128 blocks are more entries than the counters that a set begins with. */
static void a_ring_of_thirty_thousand_entries_has_a_pin_for_each(void **state)
{
	struct rig r = { 0 };

	make_disks_of(&r, 1024, 256 * 128);
	assert_int_equal(run_sim(1, first_life, &r), 0);
	assert_int_equal(nr_buckets, 256);
	build_full_journal(&r, blocks_per_bucket + 1, say_few_blocks_again_and_again);
	assert_true(nr_entries > 32000);
	assert_int_equal(run_sim(2, life_with_many_pins, &r), 0);
	assert_true(pins_after_start >= 2 * (uint64_t)nr_entries);
	nr_entries = FEW;
	assert_int_equal(run_sim(3, later_life, &r), 0);
	free_disks(&r);
}

/* Of each three one is for a slot that cannot be, one points behind the end of the device. */
static void spoil_two_of_three(struct bkey *k, unsigned i)
{
	if (i % 3 == 1)
		bkey_set_inode(k, 0xfffff);
	if (i % 3 == 2)
		k->ptr[0] = ptr_make(0, geo.nr_buckets * geo.bucket_sectors + 8, 0);
}

static int life_with_impossible_keys(void *arg)
{
	struct rig *r = arg;
	char text[3000] = "", line[100];
	struct printbuf out = PRINTBUF(text);
	unsigned right = (nr_entries + 2) / 3;
	int wrong;

	if (open_all(r) < 0)
		return 1;
	snprintf(line, sizeof(line), "%s/internal/journal", r->c->uuid_text);
	assert_true(bcf_ctl_show(r->bcf, line, &out) >= 0);
	snprintf(line, sizeof(line), "\nskipped_keys %u\n", nr_entries - right);
	wrong = !strstr(text, line) || r->c->journal.replayed_keys != right ? 2 : 0;
	for (unsigned i = 0; i < nr_entries; i++)
		wrong = holds(r, DATA_BLOCKS + i, i % 3 ? 0 : 'A') ? wrong : 3;
	bcf_stop(r->bcf);
	return wrong;
}

static void impossible_keys_are_skipped_counted_and_told(void **state)
{
	struct rig r = { 0 };

	make_disks(&r, 4 * BLOCK);
	assert_int_equal(run_sim(1, first_life, &r), 0);
	build_full_journal(&r, 5, spoil_two_of_three);
	assert_int_equal(run_sim(2, life_with_impossible_keys, &r), 0);
	free_disks(&r);
}

/* --- who waits for whom -------------------------------------------------------------------------------------------------- */

static bool writing_roots;

static FIBER_FN void write_roots(void *arg)
{
	while (writing_roots)
		assert_int_equal(journal_meta(arg), 0);
}

/* Entries without keys have filled the ring up to the one that an operation holds, and nobody else wants anything. */
static void the_last_pin_goes(struct rig *r)
{
	struct journal *j = &r->c->journal;
	uint64_t seq, entries = UINT64_MAX;
	struct keylist one;
	struct fiber *f;
	struct bkey k;

	bkey_init(&k, 0, RIG_DATA_SECTORS, BLOCK);
	keylist_init(&one, KEYLIST_WORDS);
	keylist_push(&one, &k);
	assert_int_equal(journal_append(r->c, &one, &seq), 0);
	writing_roots = true;
	f = fiber_spawn("writes roots", write_roots, r->c);
	while (entries != j->nr_entries) {
		entries = j->nr_entries;
		fiber_sleep_ns(NS_PER_S);
	}
	assert_int_equal(j->oldest_seq, seq);
	writing_roots = false;
	journal_release_keys(j, seq);
	fiber_sleep_ns(NS_PER_S);
	assert_true(j->nr_entries > entries);
	fiber_join(f);
}

static void an_entry_without_keys_is_written_when_the_last_pin_goes(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bucket_sizes); i++)
		rig_run_buckets(1, CACHE_MODE_WRITEBACK, the_last_pin_goes, bucket_sizes[i]);
}

static int late_result;

static FIBER_FN void ask_late(void *arg) { late_result = journal_meta(arg); }

static FIBER_FN void stop_journal(void *arg) { journal_stop(arg); }

/* The btree's writer, which ends later, may be moving the root. */
static void asked_while_it_stops(struct rig *r)
{
	struct fiber *stopper, *asker;
	uint64_t entries;

	super_set_discard(r->c->super, true);
	slow_journal_discards(r, NS_PER_S);
	for (unsigned i = 0; !r->c->journal.discard_busy; i++)
		write_entries(r, 1, i);
	entries = r->c->journal.nr_entries;
	stopper = fiber_spawn("stops", stop_journal, r->c);
	fiber_sleep_ns(NS_PER_MS);
	late_result = 1;
	asker = fiber_spawn("asks", ask_late, r->c);
	fiber_join(stopper);
	fiber_sleep_ns(NS_PER_S);
	assert_int_equal(late_result, 0);
	fiber_join(asker);
	assert_true(r->c->journal.nr_entries > entries);
	late_result = 1;
	ask_late(r->c);
	assert_int_equal(late_result, 0); /* too late, and nothing to wait for */
}

static void who_asks_for_an_entry_while_the_journal_stops_gets_an_answer(void **state)
{
	rig_run_buckets(1, CACHE_MODE_WRITEBACK, asked_while_it_stops, 4 * BLOCK);
}

/* --- small rings, large entries ------------------------------------------------------------------------------------------ */

#define BUSY 4000u
static unsigned life_number;
static uint64_t nr_laps;

static int empty_life(void *arg)
{
	struct rig *r = arg;

	attach(r);
	bcf_stop(r->bcf);
	return 0;
}

static int busy_life(void *arg)
{
	struct rig *r = arg;

	assert_int_equal(open_all(r), 0);
	expect_all(r);
	write_entries(r, BUSY, life_number);
	note_entries(BUSY, life_number);
	expect_all(r);
	nr_laps += r->c->journal.nr_reclaimed_buckets / r->c->journal.nr_buckets;
	bcf_stop(r->bcf);
	return 0;
}

static void tiny_rings_wrap_a_thousand_times(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = { 0 };

		make_disks_of(&r, bucket_sizes[i], BUCKETS_MIN);
		assert_int_equal(run_sim(1, empty_life, &r), 0);
		assert_true(nr_buckets <= 16);
		memset(expected, 0, sizeof(expected));
		nr_laps = 0;
		for (life_number = 10; life_number < 14; life_number++)
			assert_int_equal(run_sim(life_number, busy_life, &r), 0);
		assert_true(nr_laps > 1000 / blocks_per_bucket);
		free_disks(&r);
	}
}

static void entries_grow_to_their_limit(struct rig *r)
{
	struct journal *j = &r->c->journal;
	size_t largest = 0;
	uint64_t before = j->nr_entries, seq;
	struct keylist one;
	struct bkey k;

	j->delay_ms = 60000;
	for (unsigned i = 0; i < 6000; i++) {
		bkey_init(&k, 0, (i % 500 + 3) * BLOCK, BLOCK); /* nothing is cached there */
		keylist_init(&one, KEYLIST_WORDS);
		keylist_push(&one, &k);
		assert_int_equal(journal_append(r->c, &one, &seq), 0);
		journal_release_keys(j, seq);
		assert_true(jset_bytes(j->buf[0].jset) <= JSET_BYTES_MAX && jset_bytes(j->buf[1].jset) <= JSET_BYTES_MAX);
		largest = max(largest, jset_bytes(j->buf[j->open_buf].jset));
	}
	assert_true(largest > JSET_BYTES_MAX - sizeof(k)); /* not a key more would have fit */
	assert_int_equal(JSET_BYTES_MAX, 32768);
	assert_int_equal(journal_flush(r->c), 0);
	assert_true(j->nr_entries - before >= 6000 * sizeof(k) / JSET_BYTES_MAX);
	assert_int_equal(j->entry_latency.count, j->nr_entries);
	assert_true(j->entry_latency.max_ns >= 20000 && j->entry_latency.max_ns < NS_PER_S); /* what the simulated disk takes */
	assert_true(j->nr_bytes_used <= j->nr_bytes && j->nr_bytes_used > j->nr_entries * sizeof(struct jset));
}

static void entries_hold_32_kib_and_no_more(void **state) { rig_run(1, CACHE_MODE_WRITEBACK, entries_grow_to_their_limit); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_under_discard_is_not_entered),
		cmocka_unit_test(a_ring_with_its_reserve_left_is_replayed),
		cmocka_unit_test(a_ring_with_one_block_left_is_replayed),
		cmocka_unit_test(a_ring_without_a_free_block_is_replayed),
		cmocka_unit_test(a_ring_without_a_free_block_is_refused_unchanged_where_replay_needs_it),
		cmocka_unit_test(a_full_ring_survives_a_power_cut_at_any_moment_of_its_recovery),
		cmocka_unit_test(a_torn_write_over_the_oldest_entry_leaves_one_or_the_other),
		cmocka_unit_test(a_ring_of_thirty_thousand_entries_has_a_pin_for_each),
		cmocka_unit_test(impossible_keys_are_skipped_counted_and_told),
		cmocka_unit_test(an_entry_without_keys_is_written_when_the_last_pin_goes),
		cmocka_unit_test(who_asks_for_an_entry_while_the_journal_stops_gets_an_answer),
		cmocka_unit_test(tiny_rings_wrap_a_thousand_times),
		cmocka_unit_test(entries_hold_32_kib_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
