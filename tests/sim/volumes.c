/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/volumes.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/world.h"

#define VOLUMES 2
#define FIRST_MODEL 2	     /* number in the patterns; backing devices are 0 and 1 */
#define BUCKETS_PER_BLOCK 12 /* at worst each block of a volume keeps a bucket dirty: volumes must not fill the cache */

enum doing { NOTHING, CREATING, REMOVING, RESIZING };

struct volume {
	bool exists;
	enum doing doing;	/* undecided: a cut or a fault was in the way */
	uint64_t sectors;
	uint64_t wanted;	/* CREATING, RESIZING */
	uint8_t uuid[16];
	struct model *model;
	unsigned number;
};

struct volumes {
	struct world *w;
	struct volume v[VOLUMES];
	uint64_t max_sectors;
	unsigned free_slots;	/* that are left to us; 0: all */
	uint32_t gen;
	struct bdev *zombie;	/* removed, and still open */
	uint8_t *buf;
};

struct volumes *volumes_new(struct world *w)
{
	struct volumes *v = calloc(1, sizeof(*v));
	uint32_t block = w->cache_format.block_sectors;

	if (!v)
		abort();
	v->w = w;
	v->max_sectors = max(w->cache_format.device_sectors / w->cache_format.bucket_sectors / BUCKETS_PER_BLOCK, 2ull) * block;
	v->buf = malloc(v->max_sectors * SECTOR_BYTES);
	if (!v->buf)
		abort();
	for (unsigned i = 0; i < VOLUMES; i++)
		v->v[i].number = FIRST_MODEL + i;
	if (rng_percent(&w->rng, 50))
		v->free_slots = VOLUMES + w->nr_backing + (unsigned)prng_below(&w->rng, 2);
	if (v->free_slots && w->lifecycle)
		v->free_slots += w->nr_backing; /* for dirty data that devices leave behind */
	return v;
}

void volumes_free(struct volumes *v)
{
	if (!v)
		return;
	for (unsigned i = 0; i < VOLUMES; i++)
		if (v->v[i].model)
			model_free(v->v[i].model);
	free(v->buf);
	free(v);
}

void volumes_crash(struct volumes *v, void (*gone)(struct model *m))
{
	v->zombie = NULL;
	for (unsigned i = 0; i < VOLUMES; i++)
		if (v->v[i].model)
			gone(v->v[i].model);
}

/* --- what the set says --------------------------------------------------------------------------------------------------- */

static bool excused(struct volumes *v, int64_t r)
{
	if (r >= 0 || !world_disturbed(v->w))
		return false;
	v->w->stats->refused++;
	return true;
}

static bool known(const struct volumes *v, const uint8_t uuid[16])
{
	for (unsigned i = 0; i < VOLUMES; i++)
		if (v->v[i].exists && !memcmp(v->v[i].uuid, uuid, 16))
			return true;
	return false;
}

/* Its slot in the table, or that of a volume that we have not heard of (uuid == NULL); -1: none. */
static int find_slot(const struct volumes *v, const struct cset *c, const uint8_t *uuid)
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		if (uuid_entry_state(&c->uuids[i]) == UUID_SLOT_FLASH &&
		    (uuid ? !memcmp(c->uuids[i].uuid, uuid, 16) : !known(v, c->uuids[i].uuid)))
			return (int)i;
	return -1;
}

static struct bdev *device_of(const struct volumes *v, const struct volume *one)
{
	struct cset *c = world_cset(v->w);
	int slot = c && one->exists ? find_slot(v, c, one->uuid) : -1;
	struct bdev *d = slot < 0 ? NULL : c->devices[slot];

	return d && d->running ? d : NULL;
}

static void is_gone(struct volume *one)
{
	one->exists = false;
	one->doing = NOTHING;
	model_free(one->model);
	one->model = NULL;
}

/* [from, end of the model) is zero, for good. */
static void zero_behind(struct volumes *v, struct volume *one, uint64_t from)
{
	struct model_op op = { .offset_bytes = from * SECTOR_BYTES, .len_bytes = (v->max_sectors - from) * SECTOR_BYTES };

	if (!op.len_bytes)
		return;
	model_write_begin(one->model, &op);
	model_write_end(one->model, &op, 0, true);
}

static void has_size(struct volumes *v, struct volume *one, uint64_t sectors)
{
	if (sectors < one->sectors)
		zero_behind(v, one, sectors);
	one->sectors = sectors;
	one->doing = NOTHING;
}

static void adopt(struct volumes *v, struct volume *one, const struct uuid_entry *u)
{
	if (u->sectors != one->wanted)
		world_fail(v->w, "a new volume has %llu sectors in place of %llu", (unsigned long long)u->sectors,
			   (unsigned long long)one->wanted);
	memcpy(one->uuid, u->uuid, 16);
	one->exists = true;
	one->sectors = u->sectors;
	one->doing = NOTHING;
}

static void reconcile_one(struct volumes *v, struct volume *one, const struct cset *c)
{
	int slot = one->doing == CREATING || one->exists ? find_slot(v, c, one->exists ? one->uuid : NULL) : -1;
	const struct uuid_entry *u = slot < 0 ? NULL : &c->uuids[slot];

	if (one->doing == CREATING && u)
		adopt(v, one, u);
	else if (!u && (one->doing == CREATING || one->doing == REMOVING))
		is_gone(one);
	else if (!u && one->exists)
		world_fail(v->w, "volume %u is lost", one->number);
	else if (u && u->sectors != one->sectors && (one->doing != RESIZING || u->sectors != one->wanted))
		world_fail(v->w, "volume %u has %llu sectors in place of %llu", one->number, (unsigned long long)u->sectors,
			   (unsigned long long)one->sectors);
	else if (u)
		has_size(v, one, u->sectors);
	if (one->exists && !device_of(v, one) && !world_disturbed(v->w))
		world_fail(v->w, "volume %u does not run", one->number);
}

/* All but a few slots belong to devices that never come: the others are used again as soon as they may, or sooner. */
static void crowd(struct volumes *v, struct cset *c)
{
	static const char label[LABEL_BYTES] = "never comes";
	unsigned nr = 0;

	for (uint32_t i = c->g.nr_uuids; v->free_slots && i-- > 0;) {
		uint8_t uuid[16] = { 0xcc, 0xcc, (uint8_t)i, (uint8_t)(i >> 8) };

		if (uuid_entry_state(&c->uuids[i]) == UUID_SLOT_CACHED && !memcmp(c->uuids[i].uuid, uuid, 2))
			continue;
		if (nr++ >= v->free_slots && uuid_entry_state(&c->uuids[i]) == UUID_SLOT_FREE)
			slot_fill(c, i, uuid, label, 0); /* goes to the disk with the next table */
	}
}

void volumes_reconcile(struct volumes *v)
{
	struct cset *c = world_cset(v->w);

	if (!c || c->state != CSET_RUNNING || c->io_disable)
		return; /* the next boot will tell */
	for (unsigned i = 0; i < VOLUMES && !world_failed(v->w); i++)
		reconcile_one(v, &v->v[i], c);
	if (!world_failed(v->w) && find_slot(v, c, NULL) >= 0)
		world_fail(v->w, "there is a volume that nobody has made, or one that was removed");
	crowd(v, c);
}

/* --- data ---------------------------------------------------------------------------------------------------------------- */

static FIBER_FN void read_range(struct volumes *v, struct volume *one, struct bdev *d, uint64_t offset, uint64_t len)
{
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_io io = { .pid = 2000, .handle = one->number };
	struct model_read read;
	int64_t r;

	model_read_begin(one->model, &read);
	r = bcf_read(d, v->buf, len, offset, &io);
	if (excused(v, r))
		ignore_result(model_read_end(one->model, &read, offset, v->buf, 0, &why));
	else if (r != (int64_t)len)
		world_fail(v->w, "volume %u: read of %llu+%llu returns %lld", one->number, (unsigned long long)offset, (unsigned long long)len,
			   (long long)r);
	else if (model_read_end(one->model, &read, offset, v->buf, len, &why) < 0)
		world_fail(v->w, "volume %u: wrong data, read of %llu+%llu: %s", one->number, (unsigned long long)offset, (unsigned long long)len,
			   text);
}

static FIBER_FN void write_range(struct volumes *v, struct volume *one, struct bdev *d, struct prng *r, uint64_t offset, uint64_t len)
{
	struct model_op op = { .offset_bytes = offset, .len_bytes = len, .gen = rng_percent(r, 25) ? 0 : ++v->gen };
	struct bcf_io io = { .pid = 2000, .handle = one->number, .sync = rng_percent(r, 20) };
	int64_t result;

	world_trace(v->w, "volume %u: write %llu+%llu gen %u", one->number, (unsigned long long)offset, (unsigned long long)len, op.gen);
	model_write_begin(one->model, &op);
	model_pattern(one->number, op.gen, offset, v->buf, len);
	result = op.gen ? bcf_write(d, v->buf, len, offset, &io) : bcf_zero(d, offset, len);
	if (excused(v, result))
		model_write_end(one->model, &op, (int)result, false);
	else if (result != (op.gen ? (int64_t)len : 0))
		world_fail(v->w, "volume %u: write of %llu+%llu returns %lld", one->number, (unsigned long long)offset, (unsigned long long)len,
			   (long long)result);
	else
		model_write_end(one->model, &op, 0, op.gen && io.sync);
}

static FIBER_FN void flush(struct volumes *v, struct volume *one, struct bdev *d)
{
	struct model_flush f;
	int r;

	world_trace(v->w, "volume %u: flush", one->number);
	model_flush_begin(one->model, &f);
	r = bcf_flush(d);
	if (r < 0 && !excused(v, r))
		world_fail(v->w, "volume %u: flush returns %d", one->number, r);
	else
		model_flush_end(one->model, &f, r);
}

static FIBER_FN void use(struct volumes *v, struct volume *one, struct bdev *d, struct prng *r)
{
	uint64_t size = one->sectors * SECTOR_BYTES, len = rng_log(r, size), offset = prng_below(r, size - len + 1);

	if (rng_percent(r, 70)) {
		len = min(round_up_u64(len, SECTOR_BYTES), size);
		offset = round_down_u64(min(offset, size - len), SECTOR_BYTES);
	}
	if (rng_percent(r, 25))
		read_range(v, one, d, offset, len);
	else if (rng_percent(r, 80))
		write_range(v, one, d, r, offset, len);
	else
		flush(v, one, d);
}

/* --- the volumes themselves ---------------------------------------------------------------------------------------------- */

static FIBER_FN int dev_ctl(struct volumes *v, const struct bdev *d, const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", d->name, file);
	return bcf_ctl_store(v->w->bcf, path, text, strlen(text));
}

static uint64_t some_size(struct volumes *v, struct prng *r)
{
	uint32_t block = v->w->cache_format.block_sectors;

	return rng_between(r, 1, v->max_sectors / block) * block;
}

static FIBER_FN void create(struct volumes *v, struct volume *one, struct prng *r)
{
	struct cset *c;
	char text[32];
	int result, slot;

	one->doing = CREATING;
	one->wanted = some_size(v, r);
	one->model = model_new(v->max_sectors, one->number);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)one->wanted * SECTOR_BYTES);
	world_trace(v->w, "volume %u: create, %llu sectors", one->number, (unsigned long long)one->wanted);
	result = world_ctl(v->w, -1, "%s/flash_vol_create", text);
	if (excused(v, result))
		return;
	c = world_cset(v->w);
	slot = c ? find_slot(v, c, NULL) : -1;
	if (result < 0 || slot < 0) {
		if (!world_disturbed(v->w))
			world_fail(v->w, "volume %u cannot be made: %d, %s", one->number, result, v->w->bcf->last_error);
		return;
	}
	adopt(v, one, &c->uuids[slot]);
	world_trace(v->w, "volume %u: is in slot %d", one->number, slot);
}

static void close_zombie(struct volumes *v)
{
	if (v->zombie)
		bcf_dev_close(v->zombie);
	v->zombie = NULL;
}

static FIBER_FN void destroy(struct volumes *v, struct volume *one, struct bdev *d, struct prng *r)
{
	bool open = rng_percent(r, 40);
	int result;

	close_zombie(v);
	if (open && bcf_dev_open(d) == 0)
		v->zombie = d;
	if (v->zombie && dev_ctl(v, d, "unregister", "1") == 0)
		world_fail(v->w, "volume %u was removed while it was open", one->number);
	if (device_of(v, one) != d) /* that may have waited for somebody, and the set have failed meanwhile */
		return;
	world_trace(v->w, "volume %u: remove%s", one->number, open ? " while it is open" : "");
	one->doing = REMOVING;
	result = dev_ctl(v, d, "unregister", open ? "force" : "1");
	if (excused(v, result))
		return;
	if (result < 0)
		world_fail(v->w, "volume %u cannot be removed: %d, %s", one->number, result, v->w->bcf->last_error);
	else
		is_gone(one);
}

/* Somebody who reads or writes while the size changes: he waits, and then obeys the new one. */
struct guest {
	struct volumes *v;
	struct volume *one;
	struct bdev *d;		/* held */
	struct model_op op;	/* of a write */
	uint64_t fits_bytes;	/* up to here it fits whatever becomes of the size */
	struct model_read read;
	uint64_t offset_bytes, len_bytes;
	struct fiber *fiber;
	uint8_t *buf;
};

static void guest_writes(struct guest *g)
{
	int64_t r;

	model_pattern(g->one->number, g->op.gen, g->op.offset_bytes, g->buf, g->op.len_bytes);
	model_write_begin(g->one->model, &g->op);
	r = bcf_write(g->d, g->buf, g->op.len_bytes, g->op.offset_bytes, NULL);
	if (r != (int64_t)g->op.len_bytes && !excused(g->v, r) &&
	    (r != -ENOSPC || g->op.offset_bytes + g->op.len_bytes <= g->fits_bytes))
		world_fail(g->v->w, "volume %u: write of %llu+%llu beside a resize returns %lld", g->one->number,
			   (unsigned long long)g->op.offset_bytes, (unsigned long long)g->op.len_bytes, (long long)r);
	model_write_end(g->one->model, &g->op, r < 0 ? (int)r : 0, false);
}

static void guest_reads(struct guest *g)
{
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	int64_t r;

	model_read_begin(g->one->model, &g->read);
	r = bcf_read(g->d, g->buf, g->len_bytes, g->offset_bytes, NULL);
	if (r < 0 && !excused(g->v, r))
		world_fail(g->v->w, "volume %u: a read beside a resize returns %lld", g->one->number, (long long)r);
	if (model_read_end(g->one->model, &g->read, g->offset_bytes, g->buf, r < 0 ? 0 : (size_t)r, &why) < 0)
		world_fail(g->v->w, "volume %u: wrong data beside a resize, read of %llu+%lld: %s", g->one->number,
			   (unsigned long long)g->offset_bytes, (long long)r, text);
}

static void guest_fiber(void *arg)
{
	struct guest *g = arg;

	if (g->op.len_bytes)
		guest_writes(g);
	else
		guest_reads(g);
}

static void guest_comes(struct guest *g, struct prng *r)
{
	uint64_t limit = max(g->one->sectors, g->one->wanted) * SECTOR_BYTES, size = g->v->max_sectors * SECTOR_BYTES;

	g->fits_bytes = min(g->one->sectors, g->one->wanted) * SECTOR_BYTES;
	if (rng_percent(r, 50)) {
		g->op.len_bytes = rng_log(r, limit);
		g->op.offset_bytes = prng_below(r, limit - g->op.len_bytes + 1);
		g->op.gen = ++g->v->gen;
	} else {
		g->offset_bytes = prng_below(r, size);
		g->len_bytes = rng_between(r, 1, size - g->offset_bytes);
	}
	bdev_hold(g->d);
	g->fiber = fiber_spawn("guest", guest_fiber, g); /* no memory: nobody comes (sim 8050 --enospc --lies --no-memory) */
}

static FIBER_FN void guest_leaves(struct guest *g)
{
	if (g->fiber)
		fiber_join(g->fiber);
	bdev_release(g->d);
	free(g->buf);
}

static FIBER_FN void resize(struct volumes *v, struct volume *one, struct bdev *d, struct prng *r)
{
	struct guest g = { .v = v, .one = one, .d = d, .buf = malloc(v->max_sectors * SECTOR_BYTES) };
	struct model_op cut_off = { 0 };
	char text[32];
	int result;

	if (!g.buf)
		abort();
	one->doing = RESIZING;
	one->wanted = some_size(v, r);
	if (one->wanted < one->sectors) {
		cut_off.offset_bytes = one->wanted * SECTOR_BYTES;
		cut_off.len_bytes = (one->sectors - one->wanted) * SECTOR_BYTES;
		model_write_begin(one->model, &cut_off);
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)one->wanted * SECTOR_BYTES);
	world_trace(v->w, "volume %u: resize, %llu sectors to %llu", one->number, (unsigned long long)one->sectors,
		    (unsigned long long)one->wanted);
	guest_comes(&g, r);
	if (rng_percent(r, 50))
		fiber_yield();
	result = dev_ctl(v, d, "size", text);
	guest_leaves(&g);
	if (cut_off.len_bytes)
		model_write_end(one->model, &cut_off, result < 0 ? result : 0, result >= 0);
	if (excused(v, result))
		return;
	if (result < 0)
		world_fail(v->w, "volume %u cannot be resized: %d, %s", one->number, result, v->w->bcf->last_error);
	else
		has_size(v, one, one->wanted);
}

void volumes_step(struct volumes *v, struct prng *r)
{
	struct volume *one = &v->v[prng_below(r, VOLUMES)];
	struct bdev *d = device_of(v, one);
	unsigned dice = (unsigned)prng_below(r, 100);

	for (unsigned i = 0; i < VOLUMES; i++)
		if (v->v[i].doing != NOTHING)
			return; /* the next start will tell what came of it */
	if (!one->exists && world_cset(v->w))
		create(v, one, r);
	else if (!d && !world_disturbed(v->w))
		world_fail(v->w, "volume %u is gone", one->number);
	else if (!d || dice < 10)
		fiber_sleep_ns(rng_log(r, 60 * NS_PER_S));
	else if (dice < 75)
		use(v, one, d, r);
	else if (dice < 85)
		resize(v, one, d, r);
	else if (dice < 95)
		destroy(v, one, d, r);
	else
		close_zombie(v);
}

void volumes_end(struct volumes *v) { close_zombie(v); }

/* --- verifying ----------------------------------------------------------------------------------------------------------- */

struct count {
	uint64_t dirty, end; /* sectors */
};

static bool count_key(void *ctx, const struct bkey *k)
{
	struct count *n = ctx;

	n->dirty += bkey_dirty(k) ? bkey_size(k) : 0;
	n->end = max(n->end, bkey_offset(k));
	return true;
}

static FIBER_FN void check_count(struct volumes *v, const struct volume *one, const struct bdev *d)
{
	struct count n = { 0 };

	if (btree_for_each_extent(d->set, d->inode, 0, BKEY_OFFSET_MAX, count_key, &n) < 0)
		return; /* the set has failed: who reads will see */
	if (n.dirty != d->writeback.dirty_sectors)
		world_fail(v->w, "volume %u: %llu sectors are dirty, %llu are counted", one->number, (unsigned long long)n.dirty,
			   (unsigned long long)d->writeback.dirty_sectors);
	if (n.end > d->nr_sectors)
		world_fail(v->w, "volume %u has %llu sectors, and data up to sector %llu", one->number, (unsigned long long)d->nr_sectors,
			   (unsigned long long)n.end);
}

void volumes_verify(struct volumes *v)
{
	struct cset *c = world_cset(v->w);
	uint64_t sum = 0;

	for (unsigned i = 0; i < VOLUMES && !world_failed(v->w); i++) {
		struct volume *one = &v->v[i];
		struct bdev *d = one->doing == NOTHING ? device_of(v, one) : NULL;

		if (!d) {
			if (one->exists && !world_disturbed(v->w))
				world_fail(v->w, "volume %u does not run", one->number);
			continue;
		}
		read_range(v, one, d, 0, one->sectors * SECTOR_BYTES);
		if (world_failed(v->w) || device_of(v, one) != d)
			return;
		check_count(v, one, d);
		sum += d->writeback.dirty_sectors;
	}
	if (!world_disturbed(v->w) && !world_failed(v->w) && c && c->flash_dirty_sectors != sum)
		world_fail(v->w, "volumes have %llu dirty sectors, %llu are counted", (unsigned long long)sum,
			   (unsigned long long)c->flash_dirty_sectors);
}
