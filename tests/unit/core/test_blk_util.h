/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Devices of every kind to run the same test on. */
#include "tests/unit/core/test_engine_util.h"
#include "core/io/blk_fault.h"
#include "core/io/blk_file.h"
#include "core/io/blk_uring.h"
#include "formats/printbuf.h"
#include "tests/sim/blk_sim.h"

#define DEV_SECTORS 16384u /* 8 MiB */

enum dev_kind { DEV_FILE, DEV_FILE_TMPFS, DEV_URING, DEV_URING_TMPFS, DEV_URING_4K, DEV_URING_BUFFERED, DEV_LOOP, DEV_LOOP_4K, DEV_SIM, NR_DEV_KINDS };

struct test_dev {
	enum dev_kind kind;
	struct blkdev *dev;
	struct blk_sim *sim;
	char path[64];
	char loop[64]; /* block device over path */
};

static inline void make_file(char path[64], bool tmpfs, uint64_t bytes)
{
	int fd;

	/* The pid, so that what a killed test leaves behind can be told from what another one uses. */
	snprintf(path, 64, "%s/bcf-test-%d-XXXXXX", tmpfs ? "/dev/shm" : "/var/tmp", (int)getpid());
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

/* A loop device, or nothing where we may not have one (then the kind is skipped, loudly). */
static inline bool loop_attach(const char *path, unsigned block_bytes, char loop[64])
{
	char command[160];
	size_t n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "losetup -f --show -b %u '%s' 2>/dev/null", block_bytes, path);
	f = geteuid() == 0 ? popen(command, "r") : NULL;
	if (f) {
		n = fread(loop, 1, 63, f);
		pclose(f);
	}
	loop[n] = 0;
	loop[strcspn(loop, "\n")] = 0;
	if (!loop[0])
		print_message("skipped: no loop device\n");
	return loop[0];
}

static inline void loop_detach(const char *loop)
{
	char command[160];

	snprintf(command, sizeof(command), "losetup -d '%s'", loop);
	assert_int_equal(system(command), 0);
}

static inline void test_dev_open(struct test_dev *t)
{
	bool tmpfs = t->kind == DEV_FILE_TMPFS || t->kind == DEV_URING_TMPFS || t->kind == DEV_URING_BUFFERED;

	if (t->kind == DEV_SIM) {
		struct blk_sim_options o = { .nr_sectors = DEV_SECTORS };

		t->sim = blk_sim_new(&o);
		assert_int_equal(blk_sim_open(t->sim, false, &t->dev), 0);
		return;
	}
	make_file(t->path, tmpfs, DEV_SECTORS * SECTOR_BYTES);
	if (t->kind == DEV_LOOP || t->kind == DEV_LOOP_4K) {
		if (loop_attach(t->path, t->kind == DEV_LOOP ? 512 : 4096, t->loop))
			assert_int_equal(blk_uring_open(t->loop, false, &t->dev, NULL), 0);
		return;
	}
	if (t->kind == DEV_FILE || t->kind == DEV_FILE_TMPFS)
		assert_int_equal(blk_file_open(t->path, false, &t->dev, NULL), 0);
	else
		assert_int_equal(blk_uring_open(t->path, false, &t->dev, NULL), 0);
	if (t->kind == DEV_URING_4K)
		blk_uring_pretend_block_bytes(t->dev, 4096);
	if (t->kind == DEV_URING_BUFFERED)
		blk_uring_pretend_block_bytes(t->dev, SECTOR_BYTES);
}

static inline void test_dev_close(struct test_dev *t)
{
	blk_close(t->dev);
	blk_sim_free(t->sim);
	if (t->loop[0])
		loop_detach(t->loop);
	if (t->path[0])
		unlink(t->path);
}

struct dev_test {
	struct test_dev t;
	void (*fn)(struct blkdev *dev);
};

static inline int dev_test_main(void *arg)
{
	struct dev_test *d = arg;

	test_dev_open(&d->t);
	if (d->t.dev) {
		d->fn(d->t.dev);
		assert_int_equal(d->t.dev->in_flight, 0);
	}
	test_dev_close(&d->t);
	return 0;
}

static inline void on_every_device(void (*fn)(struct blkdev *dev))
{
	for (int kind = 0; kind < NR_DEV_KINDS; kind++) {
		struct dev_test d = { .t = { .kind = (enum dev_kind)kind }, .fn = fn };

		if (kind == DEV_SIM)
			run_sim(11, dev_test_main, &d);
		else
			run_uring(dev_test_main, &d);
	}
}

static inline void fill(void *buf, uint64_t nr_sectors, uint64_t seed)
{
	struct prng p = prng_seeded(seed);
	char *to = buf;

	for (size_t i = 0; i < nr_sectors * SECTOR_BYTES; i += 8) {
		uint64_t v = prng_u64(&p);

		memcpy(to + i, &v, 8);
	}
}

static inline void *sectors_alloc(uint64_t nr_sectors)
{
	void *buf = NULL;

	assert_int_equal(posix_memalign(&buf, 4096, max(nr_sectors, (uint64_t)1) * SECTOR_BYTES), 0);
	return buf;
}
