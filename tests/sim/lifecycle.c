/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/lifecycle_impl.h"

#include <stdlib.h>
#include <string.h>

struct lifecycle *lifecycle_new(struct world *w, const uint32_t *gen)
{
	struct lifecycle *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	l->w = w;
	l->gen = gen;
	for (unsigned i = 0; i < w->nr_backing; i++) {
		struct life *f = &l->life[i];

		f->dirty = malloc(model_bytes(w->model[i]) / SECTOR_BYTES * sizeof(*f->dirty));
		f->bytes = malloc(model_bytes(w->model[i]));
		if (!f->dirty || !f->bytes)
			abort();
	}
	return l;
}

void lifecycle_free(struct lifecycle *l)
{
	for (unsigned i = 0; l && i < WORLD_BACKINGS_MAX; i++) {
		free(l->life[i].dirty);
		free(l->life[i].bytes);
	}
	free(l);
}

/* --- who is there ---------------------------------------------------------------------------------------------------- */

bool lifecycle_away(const struct lifecycle *l, unsigned dev) { return l && l->away[dev]; }
bool lifecycle_undecided(const struct lifecycle *l, unsigned dev) { return l && l->life[dev].doing != NOTHING; }
bool lifecycle_over(const struct lifecycle *l) { return l && l->over; }

bool lifecycle_enter(struct lifecycle *l, unsigned dev)
{
	if (l && l->away[dev])
		return false;
	if (l)
		l->busy[dev]++;
	return true;
}

void lifecycle_leave(struct lifecycle *l, unsigned dev)
{
	if (l)
		l->busy[dev]--;
}

/* --- what the model is told ------------------------------------------------------------------------------------------ */

enum bdev_state life_state_on_disk(const struct lifecycle *l, unsigned i)
{
	struct super super;

	blk_sim_peek_durable(l->w->backing[i].sim, SUPER_SECTOR, &super, SUPER_BYTES / SECTOR_BYTES);
	return super_state(&super);
}

static uint64_t nr_sectors(const struct lifecycle *l, unsigned i) { return model_bytes(l->w->model[i]) / SECTOR_BYTES; }
static uint64_t data_offset(const struct lifecycle *l, unsigned i) { return l->w->backing[i].nr_sectors - nr_sectors(l, i); }

/* Nothing is known of what the cache alone had. */
static void lose_track(struct lifecycle *l, unsigned i)
{
	struct life *f = &l->life[i];

	f->captured = f->kept = false;
	for (uint64_t s = 0; s < nr_sectors(l, i); s++)
		f->dirty[s] = true;
}

struct capture {
	struct lifecycle *l;
	unsigned dev;
	bool wrong;
};

static bool capture_key(void *ctx, const struct bkey *k)
{
	struct capture *x = ctx;
	struct life *f = &x->l->life[x->dev];
	uint64_t before = data_offset(x->l, x->dev);

	if (!bkey_dirty(k))
		return true;
	if (bkey_start(k) < before || bkey_offset(k) - before > nr_sectors(x->l, x->dev)) {
		x->wrong = true;
		return false;
	}
	for (uint64_t at = 0; at < bkey_size(k); at++) {
		uint64_t s = bkey_start(k) - before + at;

		f->dirty[s] = true;
		blk_sim_peek(x->l->w->cache.sim, ptr_sector(k->ptr[0]) + at, f->bytes + s * SECTOR_BYTES, 1);
	}
	return true;
}

bool life_any_dirty(const struct lifecycle *l, unsigned i)
{
	for (uint64_t s = 0; s < nr_sectors(l, i); s++)
		if (l->life[i].dirty[s])
			return true;
	return false;
}

/* What the cache alone has of it is what the model says. */
static void check_captured(struct lifecycle *l, unsigned i)
{
	const struct life *f = &l->life[i];
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);

	for (uint64_t s = 0; s < nr_sectors(l, i) && !world_failed(l->w); s++)
		if (f->dirty[s] && model_check(l->w->model[i], s * SECTOR_BYTES, f->bytes + s * SECTOR_BYTES, SECTOR_BYTES, &why) < 0)
			world_fail(l->w, "dirty data of dev%u, which was stopped: %s", i, text);
}

/* It was stopped; nobody changes its part of the index. False: that cannot be read, or is not what will be on the disk. */
bool life_capture(struct lifecycle *l, unsigned i, uint32_t slot)
{
	struct cset *c = world_cset(l->w);
	struct capture x = { .l = l, .dev = i };
	struct life *f = &l->life[i];
	int r = -ENODEV;

	f->slot = slot;
	f->captured = f->kept = f->given_up = false;
	memset(f->dirty, 0, nr_sectors(l, i) * sizeof(*f->dirty));
	if (c && cset_try_hold(c)) {
		r = btree_for_each_extent(c, slot, 0, BKEY_OFFSET_MAX, capture_key, &x);
		cset_release(c);
	}
	if (r < 0 || world_disturbed(l->w)) {
		if (!world_disturbed(l->w))
			world_fail(l->w, "the index cannot be read: %d", r);
		lose_track(l, i);
		return false;
	}
	if (x.wrong)
		world_fail(l->w, "dev%u has dirty data outside of the device", i);
	check_captured(l, i);
	f->captured = true;
	world_trace(l->w, "lifecycle: dev%u has left slot %u, %s", i, slot, life_any_dirty(l, i) ? "dirty" : "clean");
	return !world_failed(l->w);
}

/* It runs, or ran, without its cache, and what it has is durable. That is its contents now. */
void life_adopt_forced(struct lifecycle *l, unsigned i)
{
	struct life *f = &l->life[i];
	struct model *m = l->w->model[i];
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	uint8_t bytes[SECTOR_BYTES];
	int r = 0;

	for (uint64_t s = 0; s < nr_sectors(l, i) && !r; s++) {
		blk_sim_peek(l->w->backing[i].sim, data_offset(l, i) + s, bytes, 1);
		r = f->dirty[s] ? model_check_own(m, s, bytes, *l->gen, &why) : model_check(m, s * SECTOR_BYTES, bytes, SECTOR_BYTES, &why);
		model_adopt(m, s, bytes);
	}
	if (r)
		world_fail(l->w, "run without its cache: %s", text);
	f->doing = NOTHING;
	l->w->stats->forced++;
	f->kept = f->captured && !f->given_up && life_any_dirty(l, i);
	world_trace(l->w, "lifecycle: dev%u was run without its cache; slot %u %s", i, f->slot, f->kept ? "is kept" : "holds nothing");
}

/* tell: model_adopt() or model_allow(). */
void life_adopt_readopted(struct lifecycle *l, unsigned i, void (*tell)(struct model *m, uint64_t sector, const void *bytes))
{
	struct life *f = &l->life[i];

	for (uint64_t s = 0; s < nr_sectors(l, i); s++)
		if (f->dirty[s])
			tell(l->w->model[i], s, f->bytes + s * SECTOR_BYTES);
	f->doing = NOTHING;
	f->kept = false;
	l->w->stats->readopted++;
	world_trace(l->w, "lifecycle: dev%u has taken back slot %u", i, f->slot);
}

/* --- after a start, after a cut ---------------------------------------------------------------------------------------- */

void lifecycle_boots(struct lifecycle *l)
{
	memset(l->away, 0, sizeof(l->away));
	memset(l->busy, 0, sizeof(l->busy));
	l->episode = l->over = false;
	for (unsigned i = 0; i < l->w->nr_backing; i++)
		if (l->life[i].doing == FORCING)
			world_fail(l->w, "lifecycle: nobody has decided about dev%u", i);
}

/* It waits as before. */
static void was_not_forced(struct life *f)
{
	f->doing = f->given_up ? FORGETTING : NOTHING;
	f->acknowledged = f->given_up;
}

void lifecycle_crashed(struct lifecycle *l)
{
	for (unsigned i = 0; i < l->w->nr_backing && !world_failed(l->w); i++) {
		struct life *f = &l->life[i];

		if (f->doing != FORCING)
			continue;
		if (life_state_on_disk(l, i) == BDEV_STATE_STALE)
			life_adopt_forced(l, i);
		else if (f->acknowledged)
			world_fail(l->w, "dev%u was run without its cache, and after the cut it is '%s'", i, bdev_state_names[life_state_on_disk(l, i)]);
		else
			was_not_forced(f);
	}
}

/* STALE is durable first: whoever writes past the cache must be known to have done so. */
void lifecycle_event(struct lifecycle *l)
{
	for (unsigned i = 0; i < l->w->nr_backing; i++)
		if (l->life[i].doing == FORCING && world_bdev(l->w, i) && !world_bdev(l->w, i)->set && life_state_on_disk(l, i) != BDEV_STATE_STALE)
			world_fail(l->w, "dev%u runs without its cache, and its superblock durably says '%s'", i,
				   bdev_state_names[life_state_on_disk(l, i)]);
}
