/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/world.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HANG_NS (24 * 3600 * NS_PER_S) /* a boot that takes longer does not end */
#define OUTCOMES_MAX 3

uint64_t rng_log(struct prng *r, uint64_t high)
{
	unsigned bits = (unsigned)prng_below(r, log2_u64(high) + 1);

	return min((1ull << bits) + prng_below(r, 1ull << bits), high);
}

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list args;
	int n;

	if (*w->failure)
		return;
	n = snprintf(w->failure, sizeof(w->failure), "boot %llu: ", (unsigned long long)w->boots);
	va_start(args, fmt);
	vsnprintf(w->failure + n, sizeof(w->failure) - (size_t)n, fmt, args);
	va_end(args);
	if (engine_self())
		engine_stop(engine_self());
}

bool world_failed(const struct world *w)
{
	return *w->failure;
}

void world_trace(struct world *w, const char *fmt, ...)
{
	va_list args;

	if (!w->options.trace)
		return;
	printf("%llu.%06llu event %llu: ", (unsigned long long)w->boots, engine_self() ? engine_now_precise_ns() / 1000ull : 0ull,
	       (unsigned long long)w->power.nr_events);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

/* --- making one ----------------------------------------------------------------------------------------------------- */

static void random_uuid(struct prng *r, uint8_t uuid[16])
{
	uint64_t v[2] = { prng_u64(r), prng_u64(r) };

	memcpy(uuid, v, 16);
}

/* The disks of one world may be as different as they like. */
static void make_disk(struct world *w, struct world_disk *d, const struct super_format *f)
{
	struct super super;
	char text[200] = "";
	struct printbuf why = PRINTBUF(text);
	struct blk_sim_options o = { .name = d->path, .nr_sectors = f->device_sectors, .power = &w->power };

	if (w->options.lies && !f->backing) {
		o.may_lie = world_may_lie;
		o.ctx = w;
	}

	if (super_make(&super, f, &why) < 0) {
		world_fail(w, "cannot format %s: %s", d->path, text);
		return;
	}
	o.physical_sectors = 1u << prng_below(&w->rng, 5) >> 1; /* 0: unknown */
	o.write_through = !w->options.tiny && rng_percent(&w->rng, 15);
	o.cache_bytes = rng_percent(&w->rng, 20) ? KIB(64) : 0;
	if (!w->options.tiny && rng_percent(&w->rng, 40)) {
		o.min_latency_ns = rng_log(&w->rng, NS_PER_MS);
		o.max_latency_ns = o.min_latency_ns + rng_log(&w->rng, 20 * NS_PER_MS);
	}
	d->nr_sectors = f->device_sectors;
	d->sim = blk_sim_new(&o);
	blk_sim_poke(d->sim, SUPER_SECTOR, &super, SUPER_BYTES / SECTOR_BYTES);
	world_trace(w, "%s: %llu sectors, block %u, bucket %u, data offset %llu, latency %llu...%llu us%s", d->path,
		    (unsigned long long)f->device_sectors, f->block_sectors, f->bucket_sectors, (unsigned long long)f->data_offset,
		    (unsigned long long)(o.min_latency_ns / 1000), (unsigned long long)(o.max_latency_ns / 1000),
		    o.write_through ? ", write-through" : "");
}

static uint32_t tiny(uint32_t option, uint32_t otherwise) { return option ? option : otherwise; }

/* Nodes, prio sets and journal buckets of 4 KiB, so that everything happens soon. */
static void make_tiny_formats(struct world *w)
{
	struct super_format *c = &w->cache_format, *b = &w->backing_format[0];

	*c = (struct super_format){ .block_sectors = tiny(w->options.tiny_block_sectors, 1), .discard = true };
	c->bucket_sectors = tiny(w->options.tiny_bucket_sectors, 8);
	c->device_sectors = tiny(w->options.tiny_buckets, BUCKETS_MIN) * c->bucket_sectors;
	random_uuid(&w->rng, c->uuid);
	random_uuid(&w->rng, c->set_uuid);
	*b = (struct super_format){ .backing = true, .block_sectors = c->block_sectors, .cache_mode = CACHE_MODE_WRITEBACK };
	b->device_sectors = DATA_OFFSET_DEFAULT + tiny(w->options.tiny_sectors, 24);
	random_uuid(&w->rng, b->uuid);
	w->nr_backing = 1;
	w->btree_cache_bytes = KIB(256);
}

/* Where the data begins is up to who formats: not always at a block, and keys may lie beyond 2^32 sectors. */
static uint64_t pick_data_offset(struct world *w)
{
	uint64_t any = rng_between(&w->rng, DATA_OFFSET_DEFAULT, 200);

	if (w->options.for_kernel || rng_percent(&w->rng, 50))
		return round_up_u64(any, PAGE_SECTORS);
	return rng_percent(&w->rng, 70) ? any : (1ull << 32) - any;
}

static void make_formats(struct world *w)
{
	struct prng *r = &w->rng;
	struct super_format *c = &w->cache_format;
	uint64_t nr_buckets = rng_percent(r, 50) ? rng_between(r, BUCKETS_MIN, 600) : rng_between(r, KERNEL_BUCKETS_MIN, 1500);

	c->block_sectors = 1u << prng_below(r, 4);
	c->bucket_sectors = 1u << rng_between(r, 3, 7);
	if (w->options.for_kernel)
		nr_buckets = rng_between(r, KERNEL_BUCKETS_MIN, 1500);
	else if (rng_percent(r, 15)) { /* so small that every bucket is invalidated again and again */
		nr_buckets = rng_between(r, BUCKETS_MIN, 160);
		c->bucket_sectors = 1u << rng_between(r, 3, 4);
	} else if (rng_percent(r, 10)) { /* priorities in up to five buckets */
		nr_buckets = rng_between(r, 1400, 6000);
		c->bucket_sectors = 8;
	}
	w->scan_slice = rng_percent(r, 50) ? (uint32_t)rng_between(r, 2, 200) : SCAN_SLICE;
	c->device_sectors = nr_buckets * c->bucket_sectors + prng_below(r, c->bucket_sectors);
	random_uuid(r, c->uuid);
	random_uuid(r, c->set_uuid);
	c->replacement = (enum replacement)prng_below(r, 3);
	c->discard = rng_percent(r, 40);

	w->nr_backing = rng_percent(r, 25) ? 2 : 1;
	w->always_writeback = rng_percent(r, 30);
	w->data_csum = rng_percent(r, 25);
	w->strict = !w->always_writeback && rng_percent(r, 30);
	for (unsigned i = 0; i < w->nr_backing; i++) {
		struct super_format *b = &w->backing_format[i];
		uint64_t cache_sectors = nr_buckets * c->bucket_sectors;
		uint64_t largest = w->always_writeback ? cache_sectors / 5 / w->nr_backing : min(4 * cache_sectors, MIB(4) / SECTOR_BYTES);
		uint64_t data = 16 + (rng_percent(r, 30) ? rng_log(r, largest) : rng_between(r, 1, largest));

		b->backing = true;
		b->block_sectors = c->block_sectors;
		b->data_offset = rng_percent(r, 30) ? pick_data_offset(w) : 0;
		if (w->options.for_kernel || rng_percent(r, 75)) /* otherwise the last block is not whole */
			data = round_up_u64(data, b->block_sectors);
		b->device_sectors = (b->data_offset ? b->data_offset : DATA_OFFSET_DEFAULT) + data;
		b->cache_mode = (enum cache_mode)prng_below(r, 4);
		random_uuid(r, b->uuid);
	}
	w->btree_cache_bytes = rng_percent(r, 50) ? KIB(256) : 0;
	w->key_merging_disabled = rng_percent(r, 15);
	w->expensive_debug_checks = rng_percent(r, 15);
	w->verify_nodes = rng_percent(r, 20);
	w->copy_gc_enabled = rng_percent(r, 50);
	w->gc_always_rewrite = rng_percent(r, 15);
	w->old = rng_percent(r, 20);
}

struct world *world_new(const struct world_options *o, struct world_stats *stats)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	struct printbuf uuid_text = PRINTBUF(w->set_uuid_text);
	w->options = *o;
	w->stats = stats;
	w->rng = prng_seeded(o->seed);
	w->fault_rng = prng_seeded(prng_mix(o->seed + 0xfa));
	w->crash_rng = prng_seeded(prng_mix(o->seed + 0xcc));
	if (o->tiny)
		make_tiny_formats(w);
	else
		make_formats(w);
	pr_uuid(&uuid_text, w->cache_format.set_uuid);
	snprintf(w->cache.path, sizeof(w->cache.path), "/sim/cache");
	make_disk(w, &w->cache, &w->cache_format);
	for (unsigned i = 0; i < w->nr_backing; i++) {
		struct super_format *f = &w->backing_format[i];

		snprintf(w->backing[i].path, sizeof(w->backing[i].path), "/sim/backing%u", i);
		make_disk(w, &w->backing[i], f);
		w->model[i] = model_new(f->device_sectors - (f->data_offset ? f->data_offset : DATA_OFFSET_DEFAULT), i);
	}
	return w;
}

void world_free(struct world *w)
{
	volumes_free(w->volumes);
	lifecycle_free(w->lifecycle);
	blk_sim_free(w->cache.sim);
	for (unsigned i = 0; i < w->nr_backing; i++) {
		blk_sim_free(w->backing[i].sim);
		model_free(w->model[i]);
	}
	free(w);
}

/* --- inside --------------------------------------------------------------------------------------------------------- */

/* --trace-io: a device that prints each bio and hands it on. */
struct tracer {
	struct blkdev dev;
	struct blkdev *lower;
	struct world *w;
};
struct traced_bio {
	struct bio lower;
	struct bio *upper;
	uint64_t number;
};

static void trace_bio(const struct traced_bio *t, const char *what)
{
	static const char *const names[] = { "read", "write", "flush", "zero", "discard" };
	const struct bio *b = t->upper;

	world_trace(container_of(b->dev, struct tracer, dev)->w, "    bio %llu %s: %s %s %llu+%llu%s%s", (unsigned long long)t->number, what,
		    b->dev->path, names[b->op], (unsigned long long)b->sector, (unsigned long long)b->nr_sectors,
		    b->flags & BIO_PREFLUSH ? " preflush" : "", b->flags & BIO_FUA ? " fua" : "");
}

static void traced_done(struct bio *bio)
{
	struct traced_bio *t = container_of(bio, struct traced_bio, lower);
	struct bio *upper = t->upper;
	int error = bio->error;

	upper->flush_failed = bio->flush_failed;
	trace_bio(t, "done");
	free(t);
	bio_end(upper, error);
}

static void traced_submit(struct bio *bio)
{
	static uint64_t number;
	struct tracer *tracer = container_of(bio->dev, struct tracer, dev);
	struct traced_bio *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	t->upper = bio;
	t->number = ++number;
	t->lower = *bio;
	t->lower.dev = tracer->lower;
	t->lower.done = traced_done;
	trace_bio(t, "begins");
	blk_submit(&t->lower);
}

static void traced_close(struct blkdev *dev)
{
	struct tracer *tracer = container_of(dev, struct tracer, dev);

	blk_close(tracer->lower);
	free(tracer->dev.path);
	free(tracer);
}

static void trace_device(struct world *w, struct blkdev **dev)
{
	static const struct blkdev_ops ops = { .submit = traced_submit, .close = traced_close };
	struct tracer *tracer = calloc(1, sizeof(*tracer));

	if (!tracer)
		abort();
	tracer->dev = **dev;
	tracer->dev.path = strdup((*dev)->path);
	tracer->dev.ops = &ops;
	tracer->lower = *dev;
	tracer->w = w;
	*dev = &tracer->dev;
}

static struct blk_sim *find_disk(struct world *w, const char *path)
{
	if (!strcmp(path, w->cache.path))
		return w->cache.sim;
	for (unsigned i = 0; i < w->nr_backing; i++)
		if (!strcmp(path, w->backing[i].path))
			return w->backing[i].sim;
	return NULL;
}

static int open_disk(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	struct world *w = b->options.ctx;
	struct blk_sim *disk = find_disk(w, path);
	int r;

	if (!disk) {
		pr(why, "no disk %s", path);
		return -ENOENT;
	}
	r = blk_sim_open(disk, false, ret);
	if (r == 0 && w->options.trace_io)
		trace_device(w, ret);
	return r;
}

/* Registered, running or not. */
struct bdev *world_registered_bdev(struct world *w, unsigned i)
{
	struct bdev *d;

	list_for_each(d, &w->bcf->bdevs, link)
		if (d->super && !memcmp(d->super->uuid, w->backing_format[i].uuid, 16))
			return d;
	return NULL;
}

struct bdev *world_bdev(struct world *w, unsigned i)
{
	struct bdev *d = world_registered_bdev(w, i);

	return d && d->running ? d : NULL;
}

struct cset *world_cset(struct world *w)
{
	return bcf_set_find(w->bcf, w->cache_format.set_uuid);
}

int world_ctl(struct world *w, int dev, const char *path, const char *text)
{
	struct bdev *d = dev < 0 ? NULL : world_registered_bdev(w, (unsigned)dev);
	char full[BCF_CTL_PATH_BYTES];
	const char *owner = dev < 0 ? w->set_uuid_text : d ? bcf_dev_name(d) : "gone";

	assert(!strncmp(path, "%s", 2));
	snprintf(full, sizeof(full), "%s%s", owner, path + 2);
	return bcf_ctl_store(w->bcf, full, text, strlen(text));
}

struct extent_list {
	struct world *w;
	struct printbuf text;
	uint64_t start, end;
};

static bool list_extent(void *ctx, const struct bkey *k)
{
	struct extent_list *l = ctx;
	uint64_t begin = bkey_start(k);

	pr(&l->text, "; extent %llu+%u%s", (unsigned long long)begin, bkey_size(k), bkey_dirty(k) ? " dirty" : "");
	for (unsigned i = 0; i < bkey_ptrs(k); i++) {
		uint64_t at = ptr_sector(k->ptr[i]) + max(l->start, begin) - begin, word;
		char sector[SECTOR_BYTES];

		blk_sim_peek(l->w->cache.sim, at, sector, 1);
		memcpy(&word, sector, sizeof(word));
		pr(&l->text, " at cache sector %llu gen %u (bucket %llu), holding %016llx", (unsigned long long)at, ptr_gen(k->ptr[i]),
		   (unsigned long long)geometry_bucket(&world_cset(l->w)->g, at), (unsigned long long)word);
	}
	return true;
}

void world_fail_data(struct world *w, unsigned dev, uint64_t offset, size_t len, const char *text)
{
	static char extents[2000];
	struct extent_list l = {
		.w = w, .text = PRINTBUF(extents), .start = offset / SECTOR_BYTES, .end = div_round_up_u64(offset + len, SECTOR_BYTES),
	};
	const char *named = strstr(text, "sector ");
	struct bdev *d = world_registered_bdev(w, dev);

	if (named) { /* just the one that is wrong */
		l.start = strtoull(named + strlen("sector "), NULL, 10);
		l.end = l.start + 1;
	}
	if (d) { /* the index counts from the start of the backing device */
		l.start += d->data_offset;
		l.end += d->data_offset;
	}
	if (d && d->set && btree_for_each_extent(d->set, d->inode, l.start, l.end, list_extent, &l) < 0)
		pr(&l.text, "; the index cannot be read");
	world_fail(w, "wrong data, read of %llu+%zu: %s (cache_mode %s, state %s%s)", (unsigned long long)offset, len, text,
		   d ? cache_mode_names[bdev_cache_mode(d)] : "gone", d ? bdev_state_names[bdev_state(d)] : "gone", extents);
}

bool world_register_disk(struct world *w, const struct world_disk *disk)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);
	int r;

	world_trace(w, "register %s", disk->path);
	r = bcf_register(w->bcf, disk->path, false, &why);
	if (r < 0 && !world_disturbed(w))
		world_fail(w, "%s is refused: %s (%s)", disk->path, strerror(-r), text);
	if (r < 0)
		world_trace(w, "%s is refused: %s (%s)", disk->path, strerror(-r), text);
	return !r;
}

/* I-11: a device with dirty data is not there without them. */
static void check_waits(struct world *w)
{
	for (unsigned i = 0; i < w->nr_backing; i++) {
		struct bdev *d = world_registered_bdev(w, i);

		if (d && bdev_state(d) == BDEV_STATE_DIRTY && d->running && !d->set)
			world_fail(w, "backing%u is dirty and is served without its cache", i);
	}
}

static void register_all(struct world *w)
{
	const struct world_disk *disks[WORLD_BACKINGS_MAX + 1];
	unsigned n = 0;

	if (!world_cset(w))
		disks[n++] = &w->cache;
	for (unsigned i = 0; i < w->nr_backing; i++)
		if (!world_registered_bdev(w, i))
			disks[n++] = &w->backing[i];
	while (n && !world_failed(w)) {
		unsigned i = (unsigned)prng_below(&w->rng, n);

		(void)world_register_disk(w, disks[i]);
		check_waits(w);
		disks[i] = disks[--n];
	}
}

static void attach_all(struct world *w)
{
	for (unsigned i = 0; i < w->nr_backing && !world_failed(w); i++) {
		struct bdev *d = world_registered_bdev(w, i);

		if (world_disturbed(w) && (!d || !world_cset(w)))
			continue;
		if (lifecycle_undecided(w->lifecycle, i))
			continue;
		if ((!d || (!d->running && d->set)) && !world_disturbed(w)) {
			world_fail(w, "backing%u is %s", i, d ? "attached and does not run" : "not there");
		} else if (!d->set && !d->closing && !w->detached[i]) {
			int r = world_ctl(w, (int)i, "%s/attach", w->set_uuid_text);

			world_trace(w, "attach backing%u: %d", i, r);
			if (world_disturbed(w))
				continue;
			if (r < 0)
				world_fail(w, "attach of backing%u, state %s: %s", i, bdev_state_names[bdev_state(d)], strerror(-r));
			else if (!d->running)
				world_fail(w, "backing%u does not run after it was attached", i);
		}
	}
}

void world_bring_up(struct world *w)
{
	register_all(w);
	if (w->lifecycle && !world_failed(w))
		lifecycle_registered(w->lifecycle);
	if (!world_failed(w))
		attach_all(w);
	if (!world_failed(w) && w->volumes)
		volumes_reconcile(w->volumes);
}

struct stripe_check {
	const struct stripes *s;
	uint64_t total;
	uint64_t first;	 /* stripe of the device's data */
	uint32_t *dirty; /* by stripe, from there on */
};

static bool add_to_stripes(void *ctx, const struct bkey *k)
{
	struct stripe_check *check = ctx;

	for (uint64_t at = bkey_start(k); bkey_dirty(k) && at < bkey_offset(k); at++) {
		check->total++;
		check->dirty[at / check->s->stripe_sectors - check->first]++;
	}
	return true;
}

static bool stripes_settled(const struct writeback *wb)
{
	return wb->fiber && !wb->recount && !wb->stripes.lost && wb->stripes.counted_to == UINT64_MAX && !wb->keybuf.nr && !wb->dirty_writers;
}

/* §8.9: what is counted is what the index holds. Only if nothing changed while we looked. */
static void check_dirty_counts(struct world *w, struct bdev *d)
{
	const struct writeback *wb = &d->writeback;
	uint64_t generation = wb->dirty_generation, keys = wb->keys_done + wb->keys_failed, total = wb->dirty_sectors;
	struct stripe_check check = { .s = &wb->stripes };

	if (!d->set || bdev_is_flash(d) || !stripes_settled(wb))
		return;
	check.first = d->data_offset / wb->stripes.stripe_sectors;
	check.dirty = calloc(wb->stripes.nr_stripes - check.first + 1, sizeof(check.dirty[0]));
	if (!btree_for_each_extent(d->set, d->inode, 0, BKEY_OFFSET_MAX, add_to_stripes, &check) && stripes_settled(wb) &&
	    wb->dirty_generation == generation && wb->keys_done + wb->keys_failed == keys && wb->dirty_sectors == total) {
		if (check.total != total)
			world_fail(w, "%s: %llu sectors are dirty, %llu are counted", d->name, (unsigned long long)check.total,
				   (unsigned long long)total);
		for (uint64_t i = check.first; i < wb->stripes.nr_stripes; i++)
			if (check.dirty[i - check.first] != stripes_dirty_sectors(&wb->stripes, i))
				world_fail(w, "%s: stripe %llu of %llu sectors has %u dirty ones, %u are counted", d->name, (unsigned long long)i,
					   (unsigned long long)wb->stripes.stripe_sectors, check.dirty[i - check.first],
					   stripes_dirty_sectors(&wb->stripes, i));
		w->stats->stripe_checks++;
	}
	free(check.dirty);
}

void world_verify(struct world *w)
{
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_io io = { .pid = 1000, .handle = 1000 };
	uint64_t max_bytes = KIB(1) << prng_below(&w->rng, 8);
	uint8_t *buf = malloc(max_bytes);
	struct cset *c = world_cset(w);

	world_trace(w, "verify");
	for (unsigned i = 0; i < w->nr_backing && !world_failed(w); i++)
		for (uint64_t at = 0, len; at < model_bytes(w->model[i]) && !world_failed(w); at += len) {
			struct model_read read;
			struct bdev *d = world_bdev(w, i);
			int64_t r;

			if (lifecycle_undecided(w->lifecycle, i))
				break;
			if (!d) {
				if (!world_disturbed(w))
					world_fail(w, "dev%u does not run", i);
				break;
			}
			len = min(rng_between(&w->rng, 1, max_bytes), model_bytes(w->model[i]) - at);
			if (len > SECTOR_BYTES && (at + len) % SECTOR_BYTES && rng_percent(&w->rng, 95))
				len -= (at + len) % SECTOR_BYTES;
			model_read_begin(w->model[i], &read);
			r = bcf_read(d, buf, len, at, &io);
			if (r < 0 && world_disturbed(w))
				ignore_result(model_read_end(w->model[i], &read, at, buf, 0, &why));
			else if (r != (int64_t)len)
				world_fail(w, "dev%u: read of %llu+%llu returns %lld", i, (unsigned long long)at, (unsigned long long)len, (long long)r);
			else if (model_read_end(w->model[i], &read, at, buf, len, &why) < 0)
				world_fail_data(w, i, at, len, text);
		}
	free(buf);
	if (w->volumes && !world_failed(w))
		volumes_verify(w->volumes);
	if (world_disturbed(w))
		return; /* the set may be gone */
	c = world_cset(w);
	for (unsigned i = 0; i < w->nr_backing && !world_failed(w); i++)
		if (world_bdev(w, i))
			check_dirty_counts(w, world_bdev(w, i));
	if (!world_failed(w) && c && btree_check(c, &why) < 0 && !world_disturbed(w))
		world_fail(w, "btree_check: %s", text);
}

/* --- a boot --------------------------------------------------------------------------------------------------------- */

struct boot {
	struct world *w;
	void (*body)(struct world *w, void *ctx);
	void *ctx;
	struct timer hang;
};

static void hangs(struct timer *t)
{
	struct world *w = container_of(t, struct boot, hang)->w;

	engine_dump_fibers(w->engine);
	world_fail(w, "hangs: a day has passed");
}

/* What this boot's set did, before it goes. */
static void count_work(struct world *w)
{
	const struct cset *c = w->bcf ? world_cset(w) : NULL;

	if (!c)
		return;
	w->stats->merged += c->btree.nr_coalesced;
	w->stats->moved += c->moving.nr_keys;
}

static int boot_main(void *arg)
{
	struct boot *boot = arg;
	struct world *w = boot->w;
	/* A stop that would have to be given up is one that hangs. */
	struct bcf_options options = { .btree_cache_max_bytes = w->btree_cache_bytes, .shutdown_timeout_s = 365 * 24 * 3600, .ctx = w };

	timer_init(&boot->hang, hangs);
	timer_arm_ns(&boot->hang, HANG_NS);
	if (w->plan_faults)
		w->plan_faults(w);
	world_memory_may_fail(w);
	if (bcf_new(&options, &w->bcf) < 0) {
		if (!world_disturbed(w))
			world_fail(w, "no instance");
		w->bcf = NULL;
		timer_cancel(&boot->hang);
		return 0;
	}
	w->bcf->open_device = open_disk;
	if (w->lifecycle)
		lifecycle_boots(w->lifecycle);
	world_bring_up(w);
	if (w->old && w->boots == 1 && !world_failed(w))
		world_age(w);
	if (!world_failed(w)) {
		w->phase = WORLD_UP;
		boot->body(w, boot->ctx);
	}
	if (world_failed(w))
		fiber_park(); /* for good: the engine has been told to stop, and leaves everything as it is */
	w->phase = WORLD_STOPPING;
	world_trace(w, "stop");
	count_work(w);
	bcf_stop(w->bcf);
	w->bcf = NULL;
	timer_cancel(&boot->hang);
	return 0;
}

/* I-10: a backing device that calls itself clean, or alone, holds everything. Its bytes as they are after a cut, or a stop in order. */
void world_check_alone(struct world *w, unsigned i)
{
	struct world_disk *d = &w->backing[i];
	struct super super;
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	uint64_t offset, nr = model_bytes(w->model[i]) / SECTOR_BYTES;
	void *buf;

	blk_sim_peek(d->sim, SUPER_SECTOR, &super, SUPER_BYTES / SECTOR_BYTES);
	if (super_validate(&super, &(struct super_limits){ 0 }, &why) < 0) {
		world_fail(w, "superblock of %s: %s", d->path, text);
		return;
	}
	if (super_state(&super) != BDEV_STATE_CLEAN && super_state(&super) != BDEV_STATE_NONE)
		return;
	offset = super_data_offset(&super);
	buf = malloc(nr * SECTOR_BYTES);
	if (!buf)
		abort();
	blk_sim_peek(d->sim, offset, buf, nr);
	if (model_check(w->model[i], 0, buf, nr * SECTOR_BYTES, &why) < 0)
		world_fail(w, "%s says '%s', but on its own: %s", d->path, bdev_state_names[super_state(&super)], text);
	free(buf);
}

static void check_all_alone(struct world *w)
{
	for (unsigned i = 0; i < w->nr_backing && !world_failed(w); i++)
		if (!lifecycle_undecided(w->lifecycle, i))
			world_check_alone(w, i);
}

static void crash_disk(struct world *w, struct blk_sim *s, enum blk_sim_keep keep, uint64_t seed)
{
	if (w->process_dies)
		blk_sim_process_dies(s, seed);
	else
		blk_sim_crash_keeping(s, keep, seed);
}

static void crash_disks(struct world *w, uint64_t seed)
{
	crash_disk(w, w->cache.sim, w->keep_cache, prng_mix(seed));
	for (unsigned i = 0; i < w->nr_backing; i++)
		crash_disk(w, w->backing[i].sim, w->keep_backing, prng_mix(seed + 1 + i));
	if (w->lifecycle)
		lifecycle_crashed(w->lifecycle);
	check_all_alone(w);
}

static void only_verify(struct world *w, void *ctx)
{
	(void)ctx;
	world_verify(w);
}

/* In a child: another thing that the disks could have kept. */
static void try_outcome(struct world *w, uint64_t seed, unsigned n)
{
	pid_t pid;
	int status = 0;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return; /* no memory for another process: one outcome less */
	if (!pid) {
		w->rng = prng_seeded(seed);
		w->options.nr_outcomes = 1;
		world_trace(w, "outcome %u of the cut", n);
		crash_disks(w, seed);
		w->stats->outcomes++;
		w->power.cut_at = 0;
		world_no_faults(w);
		w->aim = AIM_NOTHING;
		if (!world_failed(w) && world_boot(w, only_verify, NULL) == WORLD_STOPPED && !world_failed(w))
			_exit(0);
		printf("in outcome %u of the cut: %s\n", n, w->failure);
		fflush(stdout);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		world_fail(w, "outcome %u of the cut ends with signal %d", n, WTERMSIG(status));
	else if (status)
		world_fail(w, "outcome %u of the cut is wrong (see above)", n);
}

/* Changes when what we aim at happens. */
static uint64_t aim_value(struct world *w)
{
	struct cset *c = w->bcf ? world_cset(w) : NULL;
	uint64_t states = 0;

	if (!c)
		return 0;
	switch (w->aim) {
	case AIM_JOURNAL_BUCKET:
		return c->journal.nr_reclaimed_buckets;
	case AIM_NODE_WRITE:
		return c->btree.nr_writes;
	case AIM_RESTRUCTURE:
		return c->btree.nr_rewrites;
	case AIM_ROOT:
		return c->btree.root->key.k.ptr[0];
	case AIM_PRIOS:
		return c->alloc.prio_seq;
	case AIM_INVALIDATE:
		return c->alloc.nr_invalidated;
	case AIM_STATE:
		for (unsigned i = 0; i < w->nr_backing; i++) {
			struct bdev *d = world_bdev(w, i);

			states = 8 * states + (d ? bdev_state(d) : 7);
		}
		return states;
	case AIM_CLEANED:
		return c->writeback_keys_done;
	case AIM_GC:
		return c->gc.runs_started;
	case AIM_COALESCE:
		return c->btree.nr_coalesced;
	case AIM_MOVE:
		return c->moving.nr_keys;
	default:
		return 0;
	}
}

static void disk_event(struct blk_sim_power *power)
{
	struct world *w = container_of(power, struct world, power);
	uint64_t value;

	if (w->on_event)
		w->on_event(w);
	if (w->lifecycle && w->bcf)
		lifecycle_event(w->lifecycle);
	if (w->aim == AIM_NOTHING)
		return;
	value = aim_value(w);
	if (value == w->aim_seen)
		return;
	w->aim_seen = value;
	if (w->aim_skip--)
		return;
	power->cut_at = power->nr_events + w->aim_events;
	w->aim = AIM_NOTHING;
}

void world_number_boot(struct world *w, unsigned number)
{
	assert(number < SCRIPT_BOOTS_MAX);
	w->boot_number = number;
	w->rng = prng_seeded(prng_mix(w->options.seed) + number);
	w->fault_rng = prng_seeded(prng_mix(w->options.seed + 0xfa) + number);
	w->lie_rng = prng_seeded(prng_mix(w->options.seed + 0x11e) + number);
	w->memory_rng = prng_seeded(prng_mix(w->options.seed + 0x3e3) + number);
	w->crash_rng = prng_seeded(prng_mix(w->options.seed + 0xcc) + number);
	w->any_op = false;
	w->last_op_event = 0;
	if (w->options.record)
		w->options.record->lived[number] = true;
}

bool world_begin_op(struct world *w, unsigned client, unsigned number)
{
	struct script_op op = { w->boot_number, client, number };
	const struct script *s = w->options.script;

	if (s && !script_has(s, &op))
		return false;
	w->last_op = op;
	w->any_op = true;
	w->last_op_event = w->power.nr_events;
	if (w->options.record)
		script_add(w->options.record, &op);
	if (s && s->cut[op.boot].cuts && s->cut[op.boot].after_op && script_op_equal(&s->cut[op.boot].op, &op))
		w->power.cut_at = w->power.nr_events + s->cut[op.boot].events;
	return true;
}

void world_cut_now(struct world *w)
{
	w->power.off = true;
	engine_stop(engine_self());
	fiber_park();
}

static void record_cut(const struct world *w)
{
	if (w->options.record)
		w->options.record->cut[w->boot_number] = (struct script_cut){
			.cuts = true, .after_op = w->any_op, .op = w->last_op, .events = w->power.nr_events - w->last_op_event };
}

static bool anything_lost(const struct world *w)
{
	bool lost = blk_sim_has_lost(w->cache.sim);

	for (unsigned i = 0; i < w->nr_backing; i++)
		lost |= blk_sim_has_lost(w->backing[i].sim);
	return lost;
}

/*
 * Now and then only the process dies, or ends because its disks have failed: the next one finds what is in their volatile caches, and must not take it
 * for durable. (Not where a flush has failed: what that lost is visible until the power goes.) Chance seldom keeps all that was not flushed, or nothing.
 */
static void choose_kind_of_cut(struct world *w)
{
	if (w->options.tiny || w->options.for_kernel)
		return;
	w->process_dies = rng_percent(&w->crash_rng, 25) && !anything_lost(w) && !w->lifecycle;
	w->keep_cache = rng_percent(&w->crash_rng, 75) ? BLK_SIM_KEEP_SOME : (enum blk_sim_keep)prng_below(&w->crash_rng, 3);
	w->keep_backing = rng_percent(&w->crash_rng, 75) ? BLK_SIM_KEEP_SOME : (enum blk_sim_keep)prng_below(&w->crash_rng, 3);
}

static void power_cut(struct world *w)
{
	void (*gone)(struct model *m);
	unsigned outcomes = w->options.nr_outcomes ? w->options.nr_outcomes : (unsigned)rng_between(&w->crash_rng, 1, OUTCOMES_MAX);

	choose_kind_of_cut(w);
	gone = w->process_dies ? model_process_dies : model_crash;
	w->stats->deaths += w->process_dies;
	world_trace(w, "%s; %llu and %llu writes are not flushed", w->process_dies ? "the process dies" : "power cut",
		    (unsigned long long)blk_sim_nr_unflushed(w->cache.sim), (unsigned long long)blk_sim_nr_unflushed(w->backing[0].sim));
	w->stats->cuts++;
	w->stats->cuts_starting += w->phase == WORLD_STARTING;
	w->stats->cuts_stopping += w->phase == WORLD_STOPPING;
	for (unsigned i = 0; i < w->nr_backing; i++) {
		gone(w->model[i]);
		w->stats->ambiguous += model_ambiguous_sectors(w->model[i]);
	}
	if (w->volumes)
		volumes_crash(w->volumes, gone);
	for (unsigned i = 1; i < outcomes && !world_failed(w); i++)
		try_outcome(w, prng_u64(&w->crash_rng), i);
	crash_disks(w, prng_u64(&w->crash_rng));
	w->stats->outcomes++;
}

enum world_end world_boot(struct world *w, void (*body)(struct world *w, void *ctx), void *ctx)
{
	struct boot boot = { .w = w, .body = body, .ctx = ctx };
	bool failed;
	int r;

	w->boots++;
	w->stats->boots++;
	w->power.nr_events = 0;
	w->power.off = false;
	w->power.on_event = disk_event;
	w->aim_seen = 0;
	w->phase = WORLD_STARTING;
	world_plan_faults(w);
	if (engine_sim_new(prng_u64(&w->rng), &w->engine) < 0)
		abort();
	world_trace(w, "boot; power cut at event %llu", (unsigned long long)w->power.cut_at);
	r = engine_run(w->engine, boot_main, &boot);
	failed = world_failed(w);
	if (r == -ECANCELED && !failed && engine_sim_deadlocked(w->engine)) {
		engine_dump_fibers(w->engine);
		world_fail(w, "deadlock: every fiber waits, and nothing is going to happen");
	}
	world_memory_is_safe(w);
	count_work(w);
	w->stats->events += w->power.nr_events;
	w->stats->faults += world_faults_hit(w) - w->faults_before;
	w->bcf = NULL;
	w->process_dies = false;
	if (r == 0) {
		engine_sim_free(w->engine);
		w->phase = WORLD_OFF;
		if (!failed)
			check_all_alone(w);
		if (!failed && world_disturbed(w)) /* what a failed flush lost is seen only after a cut (R0.4) */
			power_cut(w);
		return world_failed(w) ? WORLD_FAILED : WORLD_STOPPED;
	}
	engine_sim_abandon(w->engine);
	if (world_failed(w))
		return WORLD_FAILED;
	if (!w->power.off) {
		world_fail(w, "the engine stopped by itself");
		return WORLD_FAILED;
	}
	record_cut(w);
	power_cut(w);
	w->phase = WORLD_OFF;
	return world_failed(w) ? WORLD_FAILED : WORLD_CUT;
}
