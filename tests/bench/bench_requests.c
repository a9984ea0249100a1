/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the request path itself costs: a whole core on devices in memory that complete inside blk_submit(), so that no request ever parks.
 * Instructions are what `perf stat -e instructions:u` or `valgrind --tool=callgrind --toggle-collect=bcf_read` say; they do not depend on
 * who else uses the machine.
 */
#include "core/engine/engine_uring.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include "core/set/instance.h"
#include <stdio.h>
#include <stdlib.h>

#define CACHE_SECTORS (600u * 1024)
#define DATA_SECTORS 65536u
#define BLOCK 8u

struct ram {
	struct blkdev dev;
	char *bytes;
};

static void ram_submit(struct bio *bio)
{
	struct ram *m = container_of(bio->dev, struct ram, dev);
	char *at = m->bytes + bio->sector * SECTOR_BYTES;

	for (unsigned i = 0; i < bio->nr_iov && bio->op <= BIO_WRITE; at += bio->iov[i].iov_len, i++)
		memcpy(bio->op == BIO_READ ? bio->iov[i].iov_base : at, bio->op == BIO_READ ? at : bio->iov[i].iov_base, bio->iov[i].iov_len);
	if (bio->op == BIO_ZERO)
		memset(at, 0, bio->nr_sectors * SECTOR_BYTES);
	bio_end(bio, 0);
}

static void ram_close(struct blkdev *dev)
{
	struct ram *m = container_of(dev, struct ram, dev);

	free(m->bytes);
	free(m->dev.path);
	free(m);
}

static int ram_open(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	static const struct blkdev_ops ops = { .submit = ram_submit, .close = ram_close };
	struct super_format f = { .block_sectors = BLOCK, .bucket_sectors = 1024, .uuid = { 1 } };
	struct ram *m = calloc(1, sizeof(*m));
	bool cache = !strcmp(path, "/ram/cache");
	struct super super;

	f.backing = !cache;
	f.device_sectors = cache ? CACHE_SECTORS : 16 + DATA_SECTORS;
	f.uuid[1] = f.set_uuid[0] = cache;
	if (!m || super_make(&super, &f, why) < 0)
		exit(1);
	m->bytes = calloc(f.device_sectors, SECTOR_BYTES);
	memcpy(m->bytes + SUPER_SECTOR * SECTOR_BYTES, &super, SUPER_BYTES);
	m->dev = (struct blkdev){ .ops = &ops, .path = strdup(path), .nr_sectors = f.device_sectors, .logical_block_bytes = 512, .id = { 1, cache } };
	*ret = &m->dev;
	return 0;
}

static uint64_t rounds;

/* One request per block in a stride that no stream detector takes for one. */
static void run(struct bdev *d, const char *name, bool write)
{
	static char buf[BLOCK * SECTOR_BYTES] __attribute__((aligned(4096)));
	struct bcf_io io = { .pid = 1 };
	uint64_t start = engine_now_precise_ns();

	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t offset = i * 7919 % (DATA_SECTORS / BLOCK) * sizeof(buf);
		int64_t r = write ? bcf_write(d, buf, sizeof(buf), offset, &io) : bcf_read(d, buf, sizeof(buf), offset, &io);

		if (r != sizeof(buf))
			exit(1);
		if (i % 256 == 255)
			fiber_yield();
	}
	if (rounds)
		printf("%-14s %7.1f ns\n", name, (double)(engine_now_precise_ns() - start) / (double)rounds);
}

static int bench(void *arg)
{
	struct bcf_options o = { 0 };
	struct bdev *d;
	struct cset *c;
	struct bcf *b;

	if (bcf_new(&o, &b) < 0)
		exit(1);
	b->open_device = ram_open;
	if (bcf_register(b, "/ram/cache", false, NULL) || bcf_register(b, "/ram/backing", false, NULL))
		exit(1);
	c = list_first(&b->csets, struct cset, link);
	d = bcf_dev_find(b, "dev0");
	if (!d || bdev_attach(d, c, true, NULL) || bdev_set_cache_mode(d, CACHE_MODE_WRITEBACK))
		exit(1);
	d->writeback.running = false;
	c->cutoff_writeback = c->cutoff_writeback_sync = 100;
	run(d, "write, new", true);
	run(d, "write, again", true);
	run(d, "read hit", false);
	bcf_stop(b);
	return 0;
}

int main(int argc, char **argv)
{
	struct engine *e;

	rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
	if (engine_uring_new(0, &e) < 0)
		return 1;
	return engine_run(e, bench, NULL);
}
