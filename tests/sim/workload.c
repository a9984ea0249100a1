/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/workload.h"
#include <stdlib.h>
#include <string.h>

#define NEARLY_FULL 75 /* percent in use from where on a write may turn into a bypass while it runs */
#define CLIENTS_MAX 4 /* pending writes per sector must stay below MODEL_PENDING_MAX */
#define IO_BYTES_MAX KIB(512)
#define LIFECYCLE_PERCENT 3 /* of the operations of a world that has it */

enum action { ACT_READ, ACT_WRITE, ACT_WRITE_SYNC, ACT_FLUSH, ACT_ZERO, ACT_SLEEP, ACT_CONTROL, ACTIONS };

/* One kind of workload: relative weights of the actions, and where I/O goes. */
struct profile {
	const char *name;
	unsigned weight[ACTIONS];
	unsigned hot_percent;	     /* in a window of a few blocks, where requests collide */
	unsigned sequential_percent; /* continue where the client stopped */
	unsigned unaligned_percent;
	uint64_t max_bytes;
};
static const struct profile profiles[] = {
	/*		  read write sync flush zero sleep control */
	{ "mixed",	  { 30, 40, 5, 8, 4, 4, 3 }, 30, 20, 25, KIB(64) },
	{ "collisions",	  { 25, 50, 5, 6, 8, 2, 3 }, 90, 0, 40, KIB(16) },
	{ "small blocks", { 25, 60, 3, 6, 1, 3, 1 }, 5, 10, 5, KIB(4) },
	{ "large",	  { 30, 40, 4, 6, 6, 6, 4 }, 10, 30, 15, IO_BYTES_MAX },
	{ "streams",	  { 40, 40, 2, 6, 2, 4, 3 }, 5, 80, 5, KIB(128) },
	{ "control",	  { 20, 30, 5, 8, 4, 8, 20 }, 30, 10, 20, KIB(32) },
	{ "fsync",	  { 15, 40, 15, 25, 3, 2, 2 }, 40, 10, 20, KIB(16) },
};

struct load {
	struct world *w;
	const struct profile *profile;
	unsigned nr_clients;
	unsigned ops_left;	/* in this boot, of all clients */
	unsigned ops_each;	/* of one client */
	uint32_t gen;		/* of the last write */
	uint64_t hot[WORLD_BACKINGS_MAX]; /* where the window begins, bytes */
	bool controlling[WORLD_BACKINGS_MAX];
};

struct client {
	struct load *l;
	unsigned id;
	uint64_t seed;
	struct prng rng;	/* of the operation that runs: each has its own, so that the script may leave out others */
	uint64_t next[WORLD_BACKINGS_MAX];
	uint8_t *buf; /* IO_BYTES_MAX and a page */
	struct fiber *fiber;
};

/* --- one request ---------------------------------------------------------------------------------------------------- */

static void pick_range(struct client *c, unsigned dev, uint64_t *ret_offset, uint64_t *ret_len)
{
	const struct profile *p = c->l->profile;
	uint64_t size = model_bytes(c->l->w->model[dev]);
	unsigned dice = (unsigned)prng_below(&c->rng, 100);
	uint64_t len = rng_log(&c->rng, min(p->max_bytes, size)), offset;
	bool aligned = !rng_percent(&c->rng, p->unaligned_percent);

	if (aligned)
		len = round_up_u64(len, rng_percent(&c->rng, 50) ? PAGE_BYTES : SECTOR_BYTES);
	len = min(len, IO_BYTES_MAX);
	if (dice < p->hot_percent)
		offset = c->l->hot[dev] + prng_below(&c->rng, KIB(16));
	else if (dice < p->hot_percent + p->sequential_percent)
		offset = c->next[dev];
	else
		offset = prng_below(&c->rng, size);
	if (aligned)
		offset = round_down_u64(offset, rng_percent(&c->rng, 50) ? PAGE_BYTES : SECTOR_BYTES);
	if (offset >= size)
		offset = 0;
	len = min(len, size - offset);
	c->next[dev] = offset + len;
	*ret_offset = offset;
	*ret_len = len;
}

static uint8_t *some_memory(struct client *c)
{
	return rng_percent(&c->rng, 70) ? c->buf : c->buf + rng_between(&c->rng, 1, PAGE_BYTES);
}

/* An operation that failed because a disk did, or somebody has stopped the device. */
static bool excused(struct world *w, unsigned dev, int64_t r)
{
	if (r >= 0 || (!world_disturbed(w) && !lifecycle_away(w->lifecycle, dev)))
		return false;
	w->stats->refused++;
	return true;
}

static void do_read_at(struct client *c, unsigned dev, struct bdev *d, const struct bcf_io *io, uint64_t offset, uint64_t len)
{
	struct world *w = c->l->w;
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	struct model_read read;
	uint8_t *mem = some_memory(c);
	int64_t r;

	world_trace(w, "client %u: dev%u read %llu+%llu", c->id, dev, (unsigned long long)offset, (unsigned long long)len);
	if (bcf_dev_open(d) < 0) /* being stopped */
		return;
	model_read_begin(w->model[dev], &read);
	r = bcf_read(d, mem, len, offset, io);
	bcf_dev_close(d);
	if (world_cset(w) && strstr(world_cset(w)->error, "verify: the cache and"))
		world_fail(w, "%s", world_cset(w)->error); /* R2.3: whatever fails, what is clean is the same on both */
	if (excused(w, dev, r))
		ignore_result(model_read_end(w->model[dev], &read, offset, mem, 0, &why));
	else if (r != (int64_t)len)
		world_fail(w, "dev%u: read of %llu+%llu returns %lld", dev, (unsigned long long)offset, (unsigned long long)len, (long long)r);
	else if (model_read_end(w->model[dev], &read, offset, mem, len, &why) < 0)
		world_fail_data(w, dev, offset, len, text);
}

static void do_read(struct client *c, unsigned dev, struct bdev *d, const struct bcf_io *io)
{
	uint64_t offset, len;

	pick_range(c, dev, &offset, &len);
	do_read_at(c, dev, d, io, offset, len);
}

/* In a block that the device has only a part of, at its beginning or end: such a request goes past the cache. */
static bool touches_part_of_block(const struct world *w, unsigned dev, const struct model_op *op)
{
	const struct super_format *f = &w->backing_format[dev];
	uint64_t base = f->data_offset ? f->data_offset : DATA_OFFSET_DEFAULT, start = base + op->offset_bytes / SECTOR_BYTES;
	uint64_t end = base + (op->offset_bytes + op->len_bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;

	return round_down_u64(start, f->block_sectors) < base || round_up_u64(end, f->block_sectors) > f->device_sectors;
}

/* May the request leave something on the backing device that a cached copy could hide for a while? */
static bool may_go_direct(struct world *w, unsigned dev, const struct model_op *op, bool zero)
{
	if (world_may_fail(w))
		return true;
	return !w->strict && (zero || !w->always_writeback || !world_cset(w) || alloc_in_use_percent(world_cset(w)) > NEARLY_FULL ||
			      touches_part_of_block(w, dev, op));
}

static void do_write(struct client *c, unsigned dev, struct bdev *d, struct bcf_io *io, bool zero)
{
	struct world *w = c->l->w;
	struct model_op op;
	uint8_t *mem = some_memory(c);
	int64_t r;

	if (bcf_dev_open(d) < 0)
		return;
	op = (struct model_op){ .gen = zero ? 0 : ++c->l->gen };
	pick_range(c, dev, &op.offset_bytes, &op.len_bytes);
	op.direct = may_go_direct(w, dev, &op, zero);
	world_trace(w, "client %u: dev%u %s %llu+%llu gen %u", c->id, dev, zero ? "zero" : io->sync ? "write-sync" : "write",
		    (unsigned long long)op.offset_bytes, (unsigned long long)op.len_bytes, op.gen);
	model_write_begin(w->model[dev], &op);
	if (zero) {
		r = bcf_zero(d, op.offset_bytes, op.len_bytes);
		r = r < 0 ? r : (int64_t)op.len_bytes;
	} else {
		model_pattern(dev, op.gen, op.offset_bytes, mem, op.len_bytes);
		r = bcf_write(d, mem, op.len_bytes, op.offset_bytes, io);
	}
	bcf_dev_close(d);
	if (excused(w, dev, r))
		model_write_end(w->model[dev], &op, (int)r, false);
	else if (r != (int64_t)op.len_bytes)
		world_fail(w, "dev%u: %s of %llu+%llu returns %lld", dev, zero ? "zero" : "write", (unsigned long long)op.offset_bytes,
			   (unsigned long long)op.len_bytes, (long long)r);
	else
		model_write_end(w->model[dev], &op, 0, !zero && io->sync);
	world_trace(w, "client %u: done gen %u", c->id, op.gen);
}

static void do_flush(struct client *c, unsigned dev, struct bdev *d)
{
	struct world *w = c->l->w;
	struct model_flush flush;
	int r;

	world_trace(w, "client %u: dev%u flush", c->id, dev);
	if (bcf_dev_open(d) < 0)
		return;
	model_flush_begin(w->model[dev], &flush);
	r = bcf_flush(d);
	bcf_dev_close(d);
	if (excused(w, dev, r))
		model_flush_end(w->model[dev], &flush, r);
	else if (r < 0)
		world_fail(w, "dev%u: flush returns %d", dev, r);
	else
		model_flush_end(w->model[dev], &flush, 0);
	world_trace(w, "client %u: dev%u flushed", c->id, dev);
}

/* --- control -------------------------------------------------------------------------------------------------------- */

static void wait_until_detached(struct world *w, unsigned dev)
{
	for (unsigned minutes = 0; minutes < 6 * 60 && !world_failed(w); minutes++) {
		struct bdev *d = world_bdev(w, dev);

		if ((world_disturbed(w) && (!d || minutes > 60)) || lifecycle_away(w->lifecycle, dev))
			return;
		if (!d) {
			world_fail(w, "dev%u went away while it was detached", dev);
			return;
		}
		if (!d->set)
			return;
		fiber_sleep_ns(60 * NS_PER_S);
	}
	world_fail(w, "dev%u is still being detached after six hours", dev);
}

/* Clients go on meanwhile. */
static void do_detach(struct client *c, unsigned dev)
{
	struct load *l = c->l;
	struct world *w = l->w;

	if (w->always_writeback || l->controlling[dev])
		return;
	l->controlling[dev] = true;
	w->detached[dev] = true;
	if (world_bdev(w, dev)->set) {
		int r;

		world_trace(w, "client %u: detach dev%u", c->id, dev);
		r = world_ctl(w, (int)dev, "%s/detach", "1");
		if (r < 0 && !excused(w, dev, r))
			world_fail(w, "dev%u: detach is refused", dev);
		wait_until_detached(w, dev);
		world_trace(w, "client %u: detached dev%u", c->id, dev);
	}
	if (rng_percent(&c->rng, 50) && !world_failed(w))
		fiber_sleep_ns(prng_below(&c->rng, NS_PER_S));
	if (rng_percent(&c->rng, 80) && !world_failed(w)) {
		w->detached[dev] = false;
		world_trace(w, "client %u: attach dev%u", c->id, dev);
		int r = world_ctl(w, (int)dev, "%s/attach", w->set_uuid_text);

		if (r < 0 && !excused(w, dev, r))
			world_fail(w, "dev%u: attach is refused", dev);
	}
	l->controlling[dev] = false;
}

static const char *one_of(struct prng *r, const char *const *words, size_t n)
{
	return words[prng_below(r, n)];
}
#define ONE_OF(r, ...) ({ static const char *const words[] = { __VA_ARGS__ }; one_of(r, words, ARRAY_SIZE(words)); })

/* What changes how writeback goes about it, never what it must achieve. */
static const char *pick_writeback_knob(struct client *c, const char **ret_text)
{
	switch (prng_below(&c->rng, 6)) {
	case 0:
		*ret_text = ONE_OF(&c->rng, "1", "3", "64", "1024");
		return "%s/writeback_inflight_limit";
	case 1:
		*ret_text = ONE_OF(&c->rng, "8", "1000", "2147483647");
		return "%s/writeback_rate_maximum";
	case 2:
		*ret_text = ONE_OF(&c->rng, "1", "8", "1000000");
		return "%s/writeback_rate_minimum";
	case 3:
		*ret_text = ONE_OF(&c->rng, "0", "1");
		return "%s/writeback_consider_latency";
	case 4:
		*ret_text = ONE_OF(&c->rng, "0", "4096", "12288", "51200", "524800", "1048576"); /* not all are powers of two */
		return "%s/stripe_size";
	default:
		*ret_text = ONE_OF(&c->rng, "0", "1", "1");
		return "%s/partial_stripes_expensive";
	}
}

/* An extent whose data the cache device may lie about: all of it has checksums. */
struct victim {
	struct cset *c;
	uint64_t start, cache_sector, nr_sectors;
};

static bool find_victim(void *ctx, const struct bkey *k)
{
	struct victim *v = ctx;

	if (!data_csum_known(v->c, ptr_sector(k->ptr[0]), bkey_size(k)))
		return true;
	v->start = bkey_start(k);
	v->cache_sector = ptr_sector(k->ptr[0]);
	v->nr_sectors = bkey_size(k);
	return false;
}

/*
 * Let one read of a checksummed extent come back wrong, and read there. Clean: the right data come from backing; dirty: an error. Wrong data never.
 * Whoever reads the sector first is lied to, so it may be writeback.
 */
static void do_corrupt(struct client *c, unsigned dev, struct bdev *d, const struct bcf_io *io)
{
	struct world *w = c->l->w;
	struct victim v = { .c = world_cset(w) };
	uint64_t from = d->data_offset + prng_below(&c->rng, model_bytes(w->model[dev]) / SECTOR_BYTES);

	if (!v.c || d->set != v.c)
		return;
	cset_hold(v.c);
	if (btree_for_each_extent(v.c, d->inode, from, d->data_offset + d->nr_sectors, find_victim, &v) < 0)
		v.nr_sectors = 0;
	cset_release(v.c);
	d = world_bdev(w, dev); /* that may have waited */
	if (!d || !d->set || d->set != world_cset(w) || !v.nr_sectors || !data_csum_known(d->set, v.cache_sector, v.nr_sectors))
		return;
	v.cache_sector += prng_below(&c->rng, v.nr_sectors);
	world_trace(w, "client %u: dev%u a read of cache sector %llu will be wrong", c->id, dev, (unsigned long long)v.cache_sector);
	blk_sim_add_fault(w->cache.sim, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_READ), .sector = v.cache_sector, .nr_sectors = 1,
								 .count = 1, .corrupt = true });
	do_read_at(c, dev, d, io, (v.start - d->data_offset) * SECTOR_BYTES, min(v.nr_sectors * SECTOR_BYTES, IO_BYTES_MAX));
	blk_sim_forget_corruption(w->cache.sim);
}

/* How buckets are chosen, kept and handed out. Returns the control file. */
static const char *pick_space_knob(struct client *c, const char **ret_text)
{
	switch (prng_below(&c->rng, 6)) {
	case 0:
		*ret_text = ONE_OF(&c->rng, "lru", "fifo", "random");
		return "%s/cache0/cache_replacement_policy";
	case 1:
		*ret_text = ONE_OF(&c->rng, "0", "1");
		return "%s/cache0/discard";
	case 2:
		*ret_text = ONE_OF(&c->rng, "0", "0", "2", "30");
		return "%s/cache0/freelist_percent";
	case 3:
		*ret_text = ONE_OF(&c->rng, "1", "2", "5", "128");
		return "%s/internal/open_buckets";
	case 4:
		*ret_text = ONE_OF(&c->rng, "0", "1");
		return "%s/internal/copy_gc_enabled";
	default:
		*ret_text = ONE_OF(&c->rng, "0", "1", "10", "3600");
		return "%s/internal/prio_write_seconds";
	}
}

static void do_control(struct client *c, unsigned dev)
{
	struct world *w = c->l->w;
	const char *path, *text = "1";
	int target = (int)dev;

	switch (prng_below(&c->rng, w->always_writeback ? 4 : 11)) {
	case 0:
		path = rng_percent(&c->rng, 50) ? "%s/internal/trigger_gc" : pick_space_knob(c, &text);
		target = -1;
		break;
	case 1:
		path = "%s/writeback_percent";
		text = ONE_OF(&c->rng, "0", "1", "10", "40");
		break;
	case 2:
		path = "%s/writeback_delay";
		text = ONE_OF(&c->rng, "0", "1", "30");
		break;
	case 3:
		path = pick_writeback_knob(c, &text);
		break;
	case 4:
		path = "%s/writeback_running";
		text = ONE_OF(&c->rng, "0", "1", "1");
		break;
	case 5:
		path = "%s/sequential_cutoff";
		text = ONE_OF(&c->rng, "0", "4096", "65536", "4194304");
		break;
	case 6:
		do_detach(c, dev);
		return;
	case 8:
		path = w->strict || rng_percent(&c->rng, 40) ? "%s/verify" : "%s/strict_writethrough";
		text = ONE_OF(&c->rng, "0", "1");
		/* After a power cut the two may differ in what was never flushed (R2.6; seeds 22098, 31258): nothing to fail for. */
		if (w->boots > 1 && !strcmp(path, "%s/verify"))
			text = "0";
		break;
	case 7:
		path = "%s/bypass_torture_test";
		text = ONE_OF(&c->rng, "0", "1");
		break;
	default:
		path = "%s/cache_mode";
		text = ONE_OF(&c->rng, "writethrough", "writeback", "writeback", "writearound", "none");
	}
	world_trace(w, "client %u: dev%u %s = %s", c->id, dev, path, text);
	int r = world_ctl(w, target, path, text);
	if (r < 0 && !excused(w, dev, r))
		world_fail(w, "writing '%s' to %s (dev%u) returns %d", text, path, dev, r);
}

/* --- clients -------------------------------------------------------------------------------------------------------- */

static enum action pick_action(struct client *c)
{
	const unsigned *weight = c->l->profile->weight;
	unsigned total = 0, i;

	for (i = 0; i < ACTIONS; i++)
		total += weight[i];
	unsigned dice = (unsigned)prng_below(&c->rng, total);
	for (i = 0; dice >= weight[i]; i++)
		dice -= weight[i];
	return (enum action)i;
}

static void act(struct client *c, unsigned dev)
{
	struct world *w = c->l->w;
	struct bdev *d = world_bdev(w, dev);
	struct bcf_io io = { .pid = c->id, .handle = c->id + 1 };
	enum action action = pick_action(c);

	if (!d) {
		if (world_disturbed(w))
			fiber_sleep_ns(NS_PER_S);
		else
			world_fail(w, "dev%u is gone", dev);
		return;
	}
	switch (action) {
	case ACT_READ:
		do_read(c, dev, d, &io);
		break;
	case ACT_WRITE_SYNC:
		io.sync = true;
		do_write(c, dev, d, &io, false);
		break;
	case ACT_WRITE:
	case ACT_ZERO:
		do_write(c, dev, d, &io, action == ACT_ZERO);
		break;
	case ACT_FLUSH:
		do_flush(c, dev, d);
		break;
	case ACT_SLEEP:
		fiber_sleep_ns(rng_log(&c->rng, 40 * NS_PER_S));
		break;
	default:
		if (w->data_csum && rng_percent(&c->rng, 40))
			do_corrupt(c, dev, d, &io);
		else
			do_control(c, dev);
	}
}

/* --- settings of a boot ---------------------------------------------------------------------------------------------- */

static void configure_dev(struct world *w, unsigned i)
{
	struct bdev *d = world_bdev(w, i);
	int r = 0;

	if (d && rng_percent(&w->rng, 40)) { /* from the beginning, so that whole boots go by it */
		d->writeback.partial_stripes = true;
		d->writeback.stripe_override_sectors = rng_between(&w->rng, 8, 2000);
		d->writeback.recount = true;
		writeback_wake(d);
	}
	if (d && w->data_csum)
		d->data_csum = true;
	if (w->strict)
		r = world_ctl(w, (int)i, "%s/strict_writethrough", "1");
	if (r >= 0 && w->always_writeback)
		r = world_ctl(w, (int)i, "%s/cache_mode", "writeback");
	if (r >= 0 && w->always_writeback)
		r = world_ctl(w, (int)i, "%s/sequential_cutoff", "0");
	if (r >= 0 && w->always_writeback)
		r = world_ctl(w, (int)i, "%s/writeback_running", "0");
	if (r < 0 && !excused(w, i, r))
		world_fail(w, "cannot set the mode of dev%u", i);
}

static void configure_set(struct world *w)
{
	struct cset *c = world_cset(w);

	if (!c)
		return;
	if (w->scan_slice)
		c->alloc.scan_slice = w->scan_slice;
	c->key_merging_disabled = w->key_merging_disabled;
	c->verify_nodes = w->verify_nodes;
	c->copy_gc_enabled = w->copy_gc_enabled;
	c->gc.always_rewrite = w->gc_always_rewrite;
	c->expensive_debug_checks = w->expensive_debug_checks;
	if (!w->always_writeback)
		return;
	/* A cache that fills up would write through, or around at CUTOFF_CACHE_ADD. */
	c->cutoff_writeback = c->cutoff_writeback_sync = 100;
	c->congestion.read_threshold_us = c->congestion.write_threshold_us = 0;
}

/* --- life cycle ------------------------------------------------------------------------------------------------------ */

static void some_io(void *client, unsigned dev)
{
	struct client *c = client;
	struct bdev *d = world_bdev(c->l->w, dev);
	struct bcf_io io = { .pid = c->id, .handle = c->id + 1, .sync = rng_percent(&c->rng, 20) };

	if (!d)
		return;
	if (rng_percent(&c->rng, 30))
		do_read(c, dev, d, &io);
	else
		do_write(c, dev, d, &io, rng_percent(&c->rng, 10));
}

static void configure_again(void *client, int dev)
{
	struct client *c = client;

	if (dev < 0)
		configure_set(c->l->w);
	else
		configure_dev(c->l->w, (unsigned)dev);
}

static void step(struct client *c)
{
	struct world *w = c->l->w;
	unsigned dev = (unsigned)prng_below(&c->rng, w->nr_backing);
	struct lifecycle_hands hands = { c, some_io, configure_again };

	if (w->lifecycle && rng_percent(&c->rng, LIFECYCLE_PERCENT)) {
		lifecycle_step(w->lifecycle, dev, &c->rng, &hands);
	} else if (lifecycle_enter(w->lifecycle, dev)) {
		act(c, dev);
		lifecycle_leave(w->lifecycle, dev);
	} else {
		fiber_sleep_ns(rng_log(&c->rng, 10 * NS_PER_S));
	}
}

static void client_fiber(void *arg)
{
	struct client *c = arg;

	for (unsigned n = 0; n < c->l->ops_each && !world_failed(c->l->w); n++) {
		c->l->ops_left--;
		if (lifecycle_over(c->l->w->lifecycle))
			continue;
		if (!world_begin_op(c->l->w, c->id, n))
			continue;
		c->rng = prng_seeded(c->seed + n);
		c->l->w->stats->operations++;
		step(c);
	}
}

/* The keeper of the world's volumes. */
static void volumes_fiber(void *arg)
{
	struct load *l = arg;
	struct world *w = l->w;
	uint64_t seed = prng_u64(&w->rng);

	for (unsigned n = 0; n < l->ops_each && !world_failed(w) && !lifecycle_over(w->lifecycle); n++) {
		struct prng rng = prng_seeded(seed + n);

		if (!world_begin_op(w, VOLUMES_CLIENT, n))
			continue;
		w->stats->operations++;
		if (!lifecycle_enter(w->lifecycle, LIFECYCLE_VOLUMES)) {
			fiber_sleep_ns(rng_log(&rng, 10 * NS_PER_S));
			continue;
		}
		volumes_step(w->volumes, &rng);
		lifecycle_leave(w->lifecycle, LIFECYCLE_VOLUMES);
	}
	volumes_end(w->volumes);
}

/*
 * Leaves rest for half a minute before they are written, and clients are seldom awake then. Here they are written at any time, so that leaf writes,
 * journal entries and power cuts meet.
 */
static void leaf_writer(void *arg)
{
	struct load *l = arg;
	struct world *w = l->w;
	struct prng rng = prng_seeded(prng_u64(&w->rng));
	uint64_t pause_ns = 2 * NS_PER_MS + rng_log(&rng, 100 * NS_PER_MS);

	while (l->ops_left && !world_failed(w)) {
		struct cset *c = world_cset(w);

		if (lifecycle_over(w->lifecycle) || (!c && !w->lifecycle)) /* it has failed */
			break;
		if (!c || c->state != CSET_RUNNING) {
			fiber_sleep_ns(NS_PER_S);
			continue;
		}
		cset_hold(c);
		(void)btree_flush_pinned(c, UINT64_MAX, (unsigned)rng_between(&rng, 1, 8)); /* how many does not matter */
		cset_release(c);
		fiber_sleep_ns(prng_below(&rng, 2 * pause_ns));
	}
}

static void configure(struct load *l)
{
	struct world *w = l->w;

	for (unsigned i = 0; i < w->nr_backing; i++) {
		l->controlling[i] = false;
		configure_dev(w, i);
	}
	if (w->options.faults && rng_percent(&w->fault_rng, 50)) { /* bear it as long as possible */
		for (unsigned i = 0; i < w->nr_backing; i++)
			if (world_bdev(w, i))
				world_bdev(w, i)->io_error_limit = UINT32_MAX;
		if (world_cset(w))
			world_cset(w)->io_error_limit = UINT32_MAX;
	}
	configure_set(w);
}

static void run_clients(struct world *w, void *ctx)
{
	struct load *l = ctx;
	struct client clients[CLIENTS_MAX] = { 0 };
	struct fiber *leaves = NULL, *keeper = NULL;

	/* Now and then go on unverified: reading everything fills the cache and settles the model. */
	if (w->boots > 1 && rng_percent(&w->rng, 80))
		world_verify(w);
	configure(l);
	world_memory_is_safe(w); /* we do need our fibers */
	if (rng_percent(&w->rng, 30))
		leaves = fiber_spawn("leaf writer", leaf_writer, l);
	if (w->volumes)
		keeper = fiber_spawn("volumes", volumes_fiber, l);
	for (unsigned i = 0; i < l->nr_clients; i++) {
		struct client *c = &clients[i];

		c->l = l;
		c->id = i;
		c->seed = prng_u64(&w->rng);
		if (posix_memalign((void **)&c->buf, PAGE_BYTES, IO_BYTES_MAX + 2 * PAGE_BYTES))
			abort();
		c->fiber = fiber_spawn("client", client_fiber, c);
		if (!c->fiber)
			abort();
	}
	world_memory_may_fail(w);
	for (unsigned i = 0; i < l->nr_clients; i++) {
		fiber_join(clients[i].fiber);
		free(clients[i].buf);
	}
	if (keeper)
		fiber_join(keeper);
	if (leaves)
		fiber_join(leaves);
	if (!world_failed(w) && rng_percent(&w->rng, 30) && !lifecycle_over(w->lifecycle))
		world_verify(w);
	if (w->options.cut_at || w->options.script)
		return;
	w->aim = AIM_NOTHING;
	/* Boots that came so far end in order, or while they stop. */
	w->power.cut_at = rng_percent(&w->rng, 50) ? 0 : w->power.nr_events + rng_between(&w->rng, 1, 60);
}

static void only_verify(struct world *w, void *ctx)
{
	(void)ctx;
	world_verify(w);
}

/* --- a world's life ------------------------------------------------------------------------------------------------- */

/* Most boots end in a power cut, at any time between the first bio of the start and the last of the stop. */
static uint64_t pick_cut(struct world *w, unsigned ops)
{
	if (w->process_dies && rng_percent(&w->rng, 50)) /* before everything that it left is durable */
		return rng_between(&w->rng, 1, 60);
	if (rng_percent(&w->rng, 20))
		return 0;
	return rng_between(&w->rng, 1, rng_percent(&w->rng, 25) ? 60 : 60 + 25 * ops);
}

static void plan_boot(struct world *w, struct load *l, unsigned ops)
{
	const struct script *s = w->options.script;

	l->nr_clients = (unsigned)rng_between(&w->rng, 1, CLIENTS_MAX);
	l->ops_each = (unsigned)rng_between(&w->rng, 1, 2 * ops + 1) / l->nr_clients + 1;
	l->ops_left = l->ops_each * l->nr_clients;
	w->power.cut_at = w->options.cut_at ? w->options.cut_at : pick_cut(w, l->ops_left);
	w->aim = AIM_NOTHING;
	if (w->power.cut_at && !w->options.cut_at && rng_percent(&w->rng, 50)) {
		w->aim = (enum world_aim)rng_between(&w->rng, AIM_NOTHING + 1, WORLD_AIMS - 1);
		w->aim_skip = rng_log(&w->rng, w->aim == AIM_COALESCE || w->aim == AIM_MOVE ? 2 : 32) - 1; /* these are rare */
		w->aim_events = rng_log(&w->rng, 16) - 1;
		w->power.cut_at *= 10; /* unless it happens */
	}
	if (s) {
		w->power.cut_at = s->cut[w->boot_number].cuts && !s->cut[w->boot_number].after_op ? s->cut[w->boot_number].events : 0;
		w->aim = AIM_NOTHING;
	}
}

static void run_clients_then_cut(struct world *w, void *ctx)
{
	run_clients(w, ctx);
	if (!world_failed(w))
		world_cut_now(w);
}

/*
 * The last boot of a world that the kernel is to judge. It takes no torn append of a node, which our recovery repairs: each disk keeps all or nothing of
 * what was not flushed.
 */
static void live_to_the_last_cut(struct world *w, struct load *l, unsigned number, unsigned ops)
{
	static const enum blk_sim_keep keep[] = { BLK_SIM_KEEP_ALL, BLK_SIM_KEEP_NONE };

	world_number_boot(w, number);
	plan_boot(w, l, ops);
	w->options.nr_outcomes = 1;
	w->keep_cache = keep[prng_below(&w->crash_rng, 2)];
	w->keep_backing = keep[prng_below(&w->crash_rng, 2)];
	if (world_boot(w, run_clients_then_cut, l) == WORLD_STOPPED && !world_failed(w))
		world_fail(w, "was not cut");
}

int workload_run(struct world *w)
{
	struct load l = { .w = w };
	unsigned boots = w->options.cut_at ? 1 : (unsigned)rng_between(&w->rng, 2, 8), ops = w->options.nr_ops;

	if (!w->options.tiny && !w->options.for_kernel && rng_percent(&w->rng, 25))
		w->lifecycle = lifecycle_new(w, &l.gen);
	if (!w->options.tiny && !w->options.for_kernel && rng_percent(&w->rng, 35))
		w->volumes = volumes_new(w);
	l.profile = &profiles[prng_below(&w->rng, ARRAY_SIZE(profiles))];
	for (unsigned i = 0; i < w->nr_backing; i++)
		l.hot[i] = prng_below(&w->rng, model_bytes(w->model[i]));
	world_trace(w, "profile '%s', %u boots", l.profile->name, boots);
	for (unsigned i = 0; i < boots && !world_failed(w); i++) {
		if (w->options.script && !w->options.script->lived[i])
			continue;
		world_number_boot(w, i);
		plan_boot(w, &l, ops / boots);
		if (w->options.for_kernel && i == 0) { /* there has to be a set */
			w->power.cut_at = 0;
			w->aim = AIM_NOTHING;
		}
		if (world_boot(w, run_clients, &l) == WORLD_CUT && i == 0)
			w->first_boot_cut = true;
	}
	if (w->options.for_kernel && !world_failed(w)) {
		live_to_the_last_cut(w, &l, boots, ops / boots);
		return world_failed(w) ? -1 : 0;
	}
	/* Twice: the first start repairs, the second finds what that left. */
	for (unsigned i = 0; i < 2 && !world_failed(w); i++) {
		world_number_boot(w, SCRIPT_BOOTS_MAX - 2 + i);
		w->power.cut_at = 0;
		world_no_faults(w);
		w->aim = AIM_NOTHING;
		if (world_boot(w, only_verify, NULL) != WORLD_STOPPED && !world_failed(w))
			world_fail(w, "did not stop in order");
	}
	return world_failed(w) ? -1 : 0;
}
