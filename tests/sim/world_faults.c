/* SPDX-License-Identifier: GPL-2.0-only */
/* What goes wrong in a world besides the power: chosen anew for each boot, each kind from random numbers of its own. */
#include "tests/sim/alloc_fault.h"
#include "formats/bset.h"
#include "formats/prio.h"
#include "tests/sim/world.h"
#include <string.h>

uint64_t world_faults_hit(const struct world *w)
{
	uint64_t n = blk_sim_stats(w->cache.sim)->nr_faults + alloc_fault_hits();

	for (unsigned i = 0; i < w->nr_backing; i++)
		n += blk_sim_stats(w->backing[i].sim)->nr_faults;
	return n;
}

bool world_disturbed(const struct world *w)
{
	return world_faults_hit(w) > w->faults_before;
}

/*
 * What the disk format lets a reader notice. The checksum of a btree node includes its place and the generation of its bucket, so neither
 * another node nor an earlier life of the bucket passes for it; superblocks and priorities have a magic and a checksum. Nothing tells that
 * the newest journal entries, the last appended set of a node, the uuid table or a whole chain of priorities are those of yesterday: a cache that
 * answers a read of them with what once was there, and calls that a success, is believed. So is the kernel's (docs/TESTING.md).
 */
bool world_may_lie(void *ctx, uint64_t sector, const void *truth, const void *lie)
{
	struct world *w = ctx;
	const struct super *super = truth;
	const struct bset *set = truth, *other = lie;
	const struct prio_set *prios = truth, *other_prios = lie;
	uint64_t magic;

	if (!w->complete)
		return false;
	memcpy(&magic, w->cache_format.set_uuid, sizeof(magic));
	if (sector == SUPER_SECTOR)
		return memcmp(super->magic, ((const struct super *)lie)->magic, sizeof(super->magic));
	if (sector % w->cache_format.bucket_sectors)
		return false;
	if (prios->magic == (PRIO_MAGIC ^ magic))
		return other_prios->magic != prios->magic;
	return set->magic == bset_magic(magic) && (other->magic != set->magic || other->seq != set->seq);
}

bool world_may_fail(const struct world *w)
{
	return w->options.faults || w->options.lies || w->options.no_memory || w->plan_faults;
}

/* A set whose making was cut short is made again, with the same generations: stale nodes of the first attempt pass for right ones. */
static void note_complete(struct world *w)
{
	struct super super;

	if (w->complete)
		return;
	blk_sim_forget_older(w->cache.sim);
	blk_sim_peek(w->cache.sim, SUPER_SECTOR, &super, SUPER_BYTES / SECTOR_BYTES);
	w->complete = super_sync(&super);
}

static void make_lies(struct world *w)
{
	struct prng *r = &w->lie_rng;

	if (!w->options.lies)
		return;
	note_complete(w);
	if (rng_percent(r, 25))
		return;
	for (uint64_t n = rng_between(r, 1, 3); n; n--) {
		struct blk_sim_fault f = { .ops = BLK_SIM_OP(BIO_READ), .lie = rng_percent(r, 50) ? BLK_SIM_STALE : BLK_SIM_ELSEWHERE };

		f.skip = rng_log(r, 200) - 1;
		f.count = rng_log(r, 4);
		f.elsewhere = prng_u64(r);
		if (rng_percent(r, 50)) /* the same place of another bucket, or nearly: what lies there looks alike */
			f.elsewhere = prng_below(r, w->cache.nr_sectors) / w->cache_format.bucket_sectors * w->cache_format.bucket_sectors;
		world_trace(w, "lie: %s reads, skip %llu count %llu", f.lie == BLK_SIM_STALE ? "stale" : "misdirected", (unsigned long long)f.skip,
			    (unsigned long long)f.count);
		blk_sim_add_fault(w->cache.sim, &f);
	}
}

void world_memory_is_safe(struct world *w)
{
	if (w->options.no_memory)
		alloc_fault_disarm();
}

void world_check_memory(struct world *w, uint64_t before)
{
	char text[1000] = "";
	struct printbuf out = PRINTBUF(text);

	if (world_failed(w) || alloc_fault_outstanding() == before)
		return;
	alloc_fault_to_text(&out, 5);
	world_fail(w, "%lld allocations are left after the stop%s", (long long)(alloc_fault_outstanding() - before), text);
}

void world_memory_may_fail(struct world *w)
{
	struct alloc_fault f = { .one_in = 2 + rng_log(&w->memory_rng, 2000), .chance = prng_u64(&w->memory_rng) };

	if (w->options.no_memory)
		alloc_fault_arm(&f);
}

void world_no_faults(struct world *w)
{
	world_memory_is_safe(w);
	w->options.faults = w->options.lies = w->options.no_memory = false;
}

/* Worn flash: some buckets behind the journal refuse every write from now on, and reads as before (R5.2). */
static void make_bad_buckets(struct world *w)
{
	const struct super_format *f = &w->cache_format;
	struct prng *r = &w->fault_rng;
	uint64_t nr_buckets = f->device_sectors / f->bucket_sectors, first = nr_buckets / 8 + 8;

	for (uint64_t n = rng_between(r, 1, 12); n; n--) {
		uint64_t b = first + prng_below(r, nr_buckets - first);
		struct blk_sim_fault fault = { .ops = BLK_SIM_OP(BIO_WRITE), .sector = b * f->bucket_sectors,
					       .nr_sectors = rng_log(r, 4) * f->bucket_sectors, .error = -EIO };

		world_trace(w, "bad buckets: %llu+%llu", (unsigned long long)b, (unsigned long long)(fault.nr_sectors / f->bucket_sectors));
		blk_sim_add_fault(w->cache.sim, &fault);
	}
}

/* What will fail in the next boot. */
void world_plan_faults(struct world *w)
{
	static const unsigned ops[] = {
		BLK_SIM_OP(BIO_READ), BLK_SIM_OP(BIO_WRITE), BLK_SIM_OP(BIO_WRITE) | BLK_SIM_OP(BIO_ZERO), BLK_SIM_OP(BIO_FLUSH),
		BLK_SIM_OP(BIO_READ) | BLK_SIM_OP(BIO_WRITE), BLK_SIM_ALL_OPS,
	};
	struct prng *r = &w->fault_rng;
	struct world_disk *disks[WORLD_BACKINGS_MAX + 1] = { &w->cache };

	blk_sim_clear_faults(w->cache.sim);
	for (unsigned i = 0; i < w->nr_backing; i++) {
		disks[i + 1] = &w->backing[i];
		blk_sim_clear_faults(w->backing[i].sim);
	}
	w->faults_before = world_faults_hit(w);
	make_lies(w);
	if (!w->options.faults || rng_percent(r, 25))
		return;
	if (rng_percent(r, 30)) {
		make_bad_buckets(w);
		return;
	}
	for (uint64_t n = rng_between(r, 1, 4); n; n--) {
		struct world_disk *d = rng_percent(r, 50) ? &w->cache : disks[prng_below(r, w->nr_backing + 1)];
		struct blk_sim_fault f = { .ops = ops[prng_below(r, ARRAY_SIZE(ops))], .skip = rng_log(r, 2000) - 1, .error = -EIO };

		if (rng_percent(r, 70))
			f.count = rng_log(r, 20);
		if (rng_percent(r, 20)) { /* only slow: races become wide */
			f.error = 0;
			f.extra_ns = rng_log(r, 20 * NS_PER_S);
		}
		if (w->options.no_space && f.error && f.ops & (BLK_SIM_OP(BIO_WRITE) | BLK_SIM_OP(BIO_ZERO))) {
			f.ops = BLK_SIM_OP(BIO_WRITE) | BLK_SIM_OP(BIO_ZERO); /* reads need no space */
			f.error = -ENOSPC;
		}
		if (rng_percent(r, 50)) {
			f.sector = prng_below(r, d->nr_sectors);
			f.nr_sectors = rng_log(r, rng_percent(r, 50) ? 64 : d->nr_sectors);
			f.skip = rng_percent(r, 50) ? 0 : f.skip;
		}
		world_trace(w, "fault: %s ops %x sectors %llu+%llu skip %llu count %llu error %d", d->path, f.ops, (unsigned long long)f.sector,
			    (unsigned long long)f.nr_sectors, (unsigned long long)f.skip, (unsigned long long)f.count, f.error);
		blk_sim_add_fault(d->sim, &f);
	}
}
