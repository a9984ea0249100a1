/* SPDX-License-Identifier: GPL-2.0-only */
/* The nine points of blk.h, on every implementation. */
#include "tests/unit/core/test_blk_util.h"
#include <signal.h>
#include <sys/resource.h>

static void check_read(struct blkdev *dev, uint64_t sector, const void *expect, uint64_t nr_sectors)
{
	char *buf = sectors_alloc(nr_sectors);

	memset(buf, 0x5a, nr_sectors * SECTOR_BYTES);
	assert_int_equal(blk_read(dev, sector, buf, nr_sectors), 0);
	assert_memory_equal(buf, expect, nr_sectors * SECTOR_BYTES);
	free(buf);
}

/* --- 1: any sectors, any memory */

static void odd_memory(struct blkdev *dev)
{
	static const uint64_t sizes[] = { 1, 2, 7, 8, 9, 64, 257, 300, 1024 };
	char *raw = sectors_alloc(1100), *buf = sectors_alloc(1100);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t off = 0; off < 4; off++) {
			char *odd = raw + off * off * 7; /* 0, 7, 28, 63 */
			uint64_t sector = 1000 + 13 * i + off;

			fill(odd, sizes[i], i * 10 + off);
			assert_int_equal(blk_write(dev, sector, odd, sizes[i], off & 1 ? BIO_FUA : 0), 0);
			check_read(dev, sector, odd, sizes[i]);
			memset(buf, 0, sizes[i] * SECTOR_BYTES + 1);
			assert_int_equal(blk_read(dev, sector, buf + 1, sizes[i]), 0);
			assert_memory_equal(buf + 1, odd, sizes[i] * SECTOR_BYTES);
		}
	free(raw);
	free(buf);
}

static void memory_and_length_may_be_odd(void **state)
{
	on_every_device(odd_memory);
}

static void neighbours(struct blkdev *dev)
{
	char *buf = sectors_alloc(64), *one = sectors_alloc(1);

	fill(buf, 64, 1);
	assert_int_equal(blk_write(dev, 64, buf, 64, 0), 0);
	for (uint64_t i = 0; i < 64; i += 5) {
		fill(one, 1, 100 + i);
		assert_int_equal(blk_write(dev, 64 + i, one, 1, 0), 0);
		memcpy(buf + i * SECTOR_BYTES, one, SECTOR_BYTES);
	}
	assert_int_equal(blk_zero(dev, 64 + 3, 10), 0);
	memset(buf + 3 * SECTOR_BYTES, 0, 10 * SECTOR_BYTES);
	check_read(dev, 64, buf, 64);
	/* To the last sector. */
	assert_int_equal(blk_write(dev, dev->nr_sectors - 1, one, 1, 0), 0);
	check_read(dev, dev->nr_sectors - 1, one, 1);
	free(buf);
	free(one);
}

static void small_writes_leave_their_neighbours_alone(void **state)
{
	on_every_device(neighbours);
}

static void latch_bio(struct bio *bio);

struct latched_bio {
	struct bio bio;
	struct latch *latch;
};

static void latch_bio(struct bio *bio)
{
	latch_done(container_of(bio, struct latched_bio, bio)->latch, bio->error);
}

/* Many one-sector writes at once inside the same blocks: read-modify-write must not lose any. */
static void same_blocks(struct blkdev *dev)
{
	enum { N = 200 };
	static struct latched_bio b[N];
	char *buf = sectors_alloc(N);
	struct latch l;

	latch_init(&l);
	fill(buf, N, 5);
	for (uint64_t i = 0; i < N; i++) {
		b[i].latch = &l;
		latch_add(&l, 1);
		bio_init(&b[i].bio, dev, BIO_WRITE, 33 + i, buf + i * SECTOR_BYTES, 1, 0, latch_bio);
		blk_submit(&b[i].bio);
	}
	assert_int_equal(latch_wait(&l), 0);
	check_read(dev, 33, buf, N);
	free(buf);
}

static void concurrent_small_writes_do_not_lose_each_other(void **state)
{
	on_every_device(same_blocks);
}

static void vectors(struct blkdev *dev)
{
	enum { N = 1500 }; /* more than one system call takes */
	static struct iovec iov[N], back[N];
	char *buf = sectors_alloc(N * 2 + 1), *got = sectors_alloc(N * 2 + 1);
	struct latched_bio b;
	struct latch l;
	size_t at = 0;

	latch_init(&l);
	b.latch = &l;
	fill(buf, N * 2, 77);
	for (size_t i = 0; i < N; i++) { /* pieces that are no sectors, in sum sectors */
		size_t len = i % 2 ? 200 : SECTOR_BYTES * 2 - 200;

		iov[i] = (struct iovec){ buf + at, len };
		back[i] = (struct iovec){ got + at, len };
		at += len;
	}
	latch_add(&l, 1);
	bio_init_vec(&b.bio, dev, BIO_WRITE, 100, iov, N, 0, latch_bio);
	assert_int_equal(b.bio.nr_sectors, N);
	blk_submit(&b.bio);
	assert_int_equal(latch_wait(&l), 0);
	check_read(dev, 100, buf, N);
	latch_add(&l, 1);
	bio_init_vec(&b.bio, dev, BIO_READ, 100, back, N, 0, latch_bio);
	blk_submit(&b.bio);
	assert_int_equal(latch_wait(&l), 0);
	assert_memory_equal(got, buf, N * SECTOR_BYTES);
	/* Aligned pieces take the direct way. */
	for (size_t i = 0; i < N; i++)
		iov[i] = (struct iovec){ buf + i * SECTOR_BYTES, SECTOR_BYTES };
	latch_add(&l, 1);
	bio_init_vec(&b.bio, dev, BIO_WRITE, 4000, iov, N, BIO_FUA | BIO_PREFLUSH, latch_bio);
	blk_submit(&b.bio);
	assert_int_equal(latch_wait(&l), 0);
	check_read(dev, 4000, buf, N);
	free(buf);
	free(got);
}

static void long_vectors_of_odd_pieces_work(void **state)
{
	on_every_device(vectors);
}

/* --- 2: done exactly once, also for what is refused; never fails otherwise */

static void refused(struct blkdev *dev)
{
	char *buf = sectors_alloc(8);

	assert_int_equal(blk_read(dev, dev->nr_sectors, buf, 1), -EIO);
	assert_int_equal(blk_read(dev, dev->nr_sectors - 1, buf, 2), -EIO);
	assert_int_equal(blk_write(dev, UINT64_MAX, buf, 8, 0), -EIO);
	assert_int_equal(blk_zero(dev, 1, UINT64_MAX), -EIO);
	assert_int_equal(blk_read(dev, dev->nr_sectors, buf, 0), 0);
	assert_int_equal(blk_write(dev, 0, buf, 0, BIO_PREFLUSH), 0);
	dev->read_only = true;
	assert_int_equal(blk_write(dev, 0, buf, 1, 0), -EROFS);
	assert_int_equal(blk_zero(dev, 0, 1), -EROFS);
	blk_discard(dev, 0, 1);
	assert_int_equal(blk_read(dev, 0, buf, 1), 0);
	dev->read_only = false;
	free(buf);
}

static void what_is_out_of_range_or_read_only_is_refused(void **state)
{
	on_every_device(refused);
}

struct chain {
	struct bio bio;
	struct blkdev *dev;
	char *buf;
	unsigned left;
	struct latch latch;
};

static void chain_next(struct bio *bio)
{
	struct chain *c = container_of(bio, struct chain, bio);

	assert_int_equal(bio->error, 0);
	if (!c->left--) {
		latch_done(&c->latch, 0);
		return;
	}
	bio_init(bio, c->dev, c->left & 1 ? BIO_WRITE : BIO_READ, c->left % 100, c->buf, 1, 0, chain_next);
	blk_submit(bio);
}

static void chained(struct blkdev *dev)
{
	struct chain c = { .dev = dev, .buf = sectors_alloc(1), .left = SLOW ? 500 : 5000 };

	memset(c.buf, 1, SECTOR_BYTES);
	latch_init(&c.latch);
	latch_add(&c.latch, 1);
	bio_init(&c.bio, dev, BIO_READ, 0, c.buf, 1, 0, chain_next);
	blk_submit(&c.bio);
	assert_int_equal(latch_wait(&c.latch), 0);
	free(c.buf);
}

static void done_may_submit_without_end_and_the_stack_holds(void **state)
{
	on_every_device(chained);
}

static void yield_in_done(struct bio *bio)
{
	fiber_yield();
}

static int yield_in_done_main(void *arg)
{
	struct test_dev t = { .kind = DEV_FILE_TMPFS };
	struct bio bio;

	test_dev_open(&t);
	unlink(t.path);
	bio_init(&bio, t.dev, BIO_FLUSH, 0, NULL, 0, 0, yield_in_done);
	blk_submit(&bio);
	return 0;
}

static void yield_in_done_child(void)
{
	run_uring(yield_in_done_main, NULL);
}

static void yielding_in_done_asserts(void **state)
{
	assert_true(dies(yield_in_done_child));
}

/* --- 3, 4: many at once; what has completed is visible */

static void crowd_one(void *arg)
{
	struct blkdev *dev = arg;
	uint64_t id = engine_random_u64();
	char *buf = sectors_alloc(16);
	uint64_t sector = 0;

	/* A range of one's own, told by who runs. */
	static uint64_t next;
	sector = next++ % 100 * 16;
	for (int i = 0; i < 20; i++) {
		fill(buf, 16, id + (uint64_t)i);
		assert_int_equal(blk_write(dev, sector, buf, 16, i % 5 == 0 ? BIO_FUA : 0), 0);
		if (i % 7 == 0)
			assert_int_equal(blk_flush(dev), 0);
		check_read(dev, sector, buf, 16);
	}
	free(buf);
}

static void crowd(struct blkdev *dev)
{
	struct fiber *f[100];

	for (int i = 0; i < 100; i++) {
		f[i] = fiber_spawn("crowd", crowd_one, dev);
		assert_non_null(f[i]);
	}
	for (int i = 0; i < 100; i++)
		fiber_join(f[i]);
}

static void completed_writes_are_visible_in_a_crowd(void **state)
{
	on_every_device(crowd);
}

/* --- 8: zero and discard */

static void zeroing(struct blkdev *dev)
{
	char *buf = sectors_alloc(1000), *zeros = sectors_alloc(1000);

	memset(zeros, 0, 1000 * SECTOR_BYTES);
	fill(buf, 1000, 3);
	assert_int_equal(blk_write(dev, 500, buf, 1000, 0), 0);
	assert_int_equal(blk_zero(dev, 503, 777), 0);
	check_read(dev, 503, zeros, 777);
	check_read(dev, 500, buf, 3);
	check_read(dev, 503 + 777, buf + 780 * SECTOR_BYTES, 220);

	struct latch l;
	struct latched_bio b = { .latch = &l };
	latch_init(&l);
	latch_add(&l, 1);
	bio_init(&b.bio, dev, BIO_ZERO, 500, NULL, 1000, BIO_FUA | BIO_PREFLUSH, latch_bio);
	blk_submit(&b.bio);
	assert_int_equal(latch_wait(&l), 0);
	check_read(dev, 500, zeros, 1000);

	assert_int_equal(blk_write(dev, 500, buf, 1000, 0), 0);
	blk_discard(dev, 508, 100);
	check_read(dev, 500, buf, 8); /* others keep theirs */
	check_read(dev, 608, buf + 108 * SECTOR_BYTES, 892);
	free(buf);
	free(zeros);
}

static void zeroed_sectors_read_as_zeros_and_others_stay(void **state)
{
	on_every_device(zeroing);
}

/* --- 7: a file that shrank */

static void shrink(enum dev_kind kind, void *buf)
{
	struct test_dev t = { .kind = kind };

	test_dev_open(&t);
	assert_int_equal(truncate(t.path, 100 * SECTOR_BYTES + 10), 0);
	assert_int_equal(blk_read(t.dev, 0, buf, 100), 0);
	assert_int_equal(blk_read(t.dev, 96, buf, 8), -EIO);
	assert_int_equal(blk_read(t.dev, 200, buf, 8), -EIO);
	assert_int_equal(blk_read(t.dev, 200, (char *)buf + 3, 8), -EIO);
	test_dev_close(&t);
}

static int shrink_main(void *arg)
{
	char *buf = sectors_alloc(128);

	for (int kind = DEV_FILE; kind <= DEV_URING_BUFFERED; kind++)
		shrink((enum dev_kind)kind, buf);
	free(buf);
	return 0;
}

static void reading_past_the_end_of_a_shrunken_file_is_an_error(void **state)
{
	run_uring(shrink_main, NULL);
}

/* The file may not be written beyond its first MiB: what is refused is the write, whatever RWF_DSYNC would have synced. */
static void refuse(struct blkdev *dev, uint64_t sector, char *buf)
{
	struct rlimit old, low;
	struct latch l;
	struct latched_bio b = { .latch = &l };

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = (struct rlimit){ MIB(1), old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	latch_init(&l);
	latch_add(&l, 1);
	bio_init(&b.bio, dev, BIO_WRITE, sector, buf, 8, BIO_FUA, latch_bio);
	blk_submit(&b.bio);
	assert_int_equal(latch_wait(&l), -EFBIG);
	assert_false(b.bio.flush_failed);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(blk_write(dev, sector, buf, 8, BIO_FUA), 0);
	check_read(dev, sector, buf, 8);
	assert_int_equal(blk_flush(dev), 0);
}

/* Whole blocks; and parts of blocks, which are read before they are written again. */
static int refuse_main(void *arg)
{
	static const enum dev_kind kinds[] = { DEV_URING, DEV_URING_4K };
	char *buf = sectors_alloc(8);

	fill(buf, 8, 1);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct test_dev t = { .kind = kinds[i] };

		test_dev_open(&t);
		refuse(t.dev, 8192, buf);
		refuse(t.dev, 8193, buf);
		test_dev_close(&t);
	}
	free(buf);
	return 0;
}

static void a_refused_durable_write_is_not_a_failed_flush(void **state) { run_uring(refuse_main, NULL); }

static void a_tool_without_an_engine_can_use_files(void **state)
{
	struct test_dev t = { .kind = DEV_FILE };
	char *buf = sectors_alloc(8);

	test_dev_open(&t);
	fill(buf, 8, 1);
	assert_int_equal(blk_write(t.dev, 5, buf, 8, BIO_PREFLUSH | BIO_FUA), 0);
	check_read(t.dev, 5, buf, 8);
	assert_int_equal(blk_flush(t.dev), 0);
	assert_int_equal(blk_zero(t.dev, 5, 8), 0);
	blk_discard(t.dev, 5, 8);
	test_dev_close(&t);
	free(buf);
}

/* --- descriptive fields */

static int describe_main(void *arg)
{
	struct test_dev t = { .kind = DEV_URING }, u = { .kind = DEV_URING };
	struct blkdev *again;

	test_dev_open(&t);
	test_dev_open(&u);
	assert_int_equal(t.dev->nr_sectors, DEV_SECTORS);
	assert_int_equal(t.dev->logical_block_bytes, 512);
	assert_string_equal(t.dev->path, t.path);
	assert_memory_not_equal(&t.dev->id, &u.dev->id, sizeof(t.dev->id));
	struct blk_identity id = t.dev->id;
	blk_close(t.dev);
	assert_int_equal(truncate(t.path, 1000), 0);
	assert_int_equal(blk_file_open(t.path, true, &again, NULL), 0);
	assert_memory_equal(&again->id, &id, sizeof(id));
	assert_int_equal(again->nr_sectors, 1); /* whole sectors only */
	assert_true(again->read_only);
	t.dev = again;
	test_dev_close(&t);
	test_dev_close(&u);
	return 0;
}

static void devices_describe_themselves(void **state)
{
	run_uring(describe_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_and_length_may_be_odd),
		TEST(small_writes_leave_their_neighbours_alone),
		TEST(concurrent_small_writes_do_not_lose_each_other),
		TEST(long_vectors_of_odd_pieces_work),
		TEST(what_is_out_of_range_or_read_only_is_refused),
		TEST(done_may_submit_without_end_and_the_stack_holds),
		TEST(yielding_in_done_asserts),
		TEST(completed_writes_are_visible_in_a_crowd),
		TEST(zeroed_sectors_read_as_zeros_and_others_stay),
		TEST(reading_past_the_end_of_a_shrunken_file_is_an_error),
		TEST(a_refused_durable_write_is_not_a_failed_flush),
		TEST(a_tool_without_an_engine_can_use_files),
		TEST(devices_describe_themselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
