/* SPDX-License-Identifier: GPL-2.0-only */
/* What is asked of the core in an episode, and what came of an order that a cut left undecided. */
#include "tests/sim/lifecycle_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_NS (12 * 3600 * NS_PER_S)
#define READ_BYTES KIB(64)

/* --- who is there ---------------------------------------------------------------------------------------------------- */

void life_wait_idle(struct lifecycle *l, unsigned dev)
{
	for (uint64_t ns = NS_PER_MS; l->busy[dev] && !world_failed(l->w); ns = min(2 * ns, 10 * NS_PER_S))
		fiber_sleep_ns(ns);
}

void life_wait_all_idle(struct lifecycle *l)
{
	for (unsigned i = 0; i < SHARES; i++)
		life_wait_idle(l, i);
}

/* The set is about to leave. The keeper ends what it does: a volume that is open would hold the set. */
void life_everybody_away(struct lifecycle *l)
{
	for (unsigned i = 0; i < SHARES; i++)
		l->away[i] = true;
	life_wait_idle(l, LIFECYCLE_VOLUMES);
	if (l->w->volumes)
		volumes_end(l->w->volumes);
}

void life_come_back(struct lifecycle *l)
{
	struct world *w = l->w;

	if (!l->over)
		life_wait_all_idle(l);
	for (unsigned i = 0; i < w->nr_backing && !l->over && !world_failed(w); i++) {
		l->away[i] &= lifecycle_undecided(l, i) || !world_bdev(w, i);
		if (l->away[i] && !world_disturbed(w))
			world_fail(w, "dev%u does not come back (%s)", i, lifecycle_undecided(l, i) ? "undecided" : "not running");
	}
	l->away[LIFECYCLE_VOLUMES] = l->over || !world_cset(w);
}

/* --- orders ---------------------------------------------------------------------------------------------------------- */

/* Did it fail because a disk did? */
static bool excused(struct lifecycle *l, int r)
{
	if (r >= 0 || !world_disturbed(l->w))
		return false;
	l->w->stats->refused++;
	return true;
}

/* target: a device, or -1 for the set. Expect a result; true: that came. */
bool life_order(struct lifecycle *l, int target, const char *path, const char *text, int expected)
{
	struct world *w = l->w;
	int r;

	if (world_failed(w))
		return false;
	world_trace(w, "lifecycle: dev%d %s = %s", target, path, text);
	r = world_ctl(w, target, path, text);
	world_trace(w, "lifecycle: dev%d %s = %s: %d", target, path, text, r);
	if (r != expected && !excused(l, r) && !(expected < 0 && world_disturbed(w)))
		world_fail(w, "lifecycle: writing '%s' to %s (dev%d) returns %d, not %d: %s", text, path, target, r, expected, w->bcf->last_error);
	return r == expected;
}

bool life_device_gone(const struct lifecycle *l, unsigned i) { return !world_registered_bdev(l->w, i); }
bool life_device_detached(const struct lifecycle *l, unsigned i)
{
	const struct bdev *d = world_registered_bdev(l->w, i);

	return !d || !d->set;
}
static bool set_gone(const struct lifecycle *l, unsigned i)
{
	(void)i;
	return !world_cset(l->w);
}

/* False: it does not, because disks have failed. */
bool life_wait_until(struct lifecycle *l, bool (*come)(const struct lifecycle *l, unsigned i), unsigned i, const char *what)
{
	uint64_t begun = engine_now_ns(), ns = NS_PER_MS;

	while (!come(l, i) && !world_failed(l->w)) {
		if (engine_now_ns() - begun > PATIENCE_NS) {
			if (!world_disturbed(l->w))
				world_fail(l->w, "lifecycle: half a day, and %s (dev%u)", what, i);
			return false;
		}
		fiber_sleep_ns(ns);
		ns = min(2 * ns, 60 * NS_PER_S);
	}
	return !world_failed(l->w);
}

void life_rest(struct prng *r)
{
	if (rng_percent(r, 50))
		fiber_sleep_ns(rng_log(r, 100 * NS_PER_S));
}

/* The windows are a few events wide, and chance seldom meets them. */
static void plan_cut(struct lifecycle *l)
{
	struct world *w = l->w;
	uint64_t events = rng_log(&w->rng, 128);

	if (!rng_percent(&w->rng, 30) || w->options.cut_at || w->options.script)
		return;
	w->aim = AIM_NOTHING;
	w->power.cut_at = w->power.nr_events + events;
	world_trace(w, "lifecycle: power cut at event %llu", (unsigned long long)w->power.cut_at);
}

/* An order that a cut leaves undecided. */
void life_begin(struct lifecycle *l, unsigned i, enum doing doing)
{
	l->life[i].doing = doing;
	l->life[i].acknowledged = false;
	if (l->episode)
		plan_cut(l);
}

/* True: what was acknowledged is durable. */
bool life_flush(struct lifecycle *l, unsigned i)
{
	struct bdev *d = world_bdev(l->w, i);
	struct model_flush f;
	int r;

	if (!d || bcf_dev_open(d) < 0)
		return false;
	model_flush_begin(l->w->model[i], &f);
	r = bcf_flush(d);
	model_flush_end(l->w->model[i], &f, r);
	if (r < 0 && !excused(l, r))
		world_fail(l->w, "lifecycle: flush of dev%u returns %d", i, r);
	bcf_dev_close(d);
	return !r;
}

static FIBER_FN bool read_piece(struct lifecycle *l, unsigned i, struct bdev *d, uint64_t offset, uint8_t *buf, size_t len)
{
	char text[2000] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_io io = { .pid = 3000, .handle = 3000 };
	struct model_read read;
	int64_t r;

	model_read_begin(l->w->model[i], &read);
	r = bcf_read(d, buf, len, offset, &io);
	if (r != (int64_t)len && !excused(l, (int)r))
		world_fail(l->w, "lifecycle: dev%u: read of %llu+%zu returns %lld", i, (unsigned long long)offset, len, (long long)r);
	if (model_read_end(l->w->model[i], &read, offset, buf, r < 0 ? 0 : len, &why) < 0)
		world_fail_data(l->w, i, offset, len, text);
	return r == (int64_t)len && !world_failed(l->w);
}

void life_read_all(struct lifecycle *l, unsigned i)
{
	struct bdev *d = world_bdev(l->w, i);
	uint64_t size = model_bytes(l->w->model[i]), at = 0, len;
	uint8_t *buf = malloc(READ_BYTES);

	if (!buf)
		abort();
	if (d && !lifecycle_undecided(l, i) && bcf_dev_open(d) == 0) {
		do {
			len = min(size - at, (uint64_t)READ_BYTES);
		} while (read_piece(l, i, d, at, buf, len) && (at += len) < size);
		bcf_dev_close(d);
	}
	free(buf);
}

/* As its only user. What is written past the cache is flushed before it is cached again: a cut then leaves no choice that a copy could hide (R2.6). */
bool life_use(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	for (uint64_t n = prng_below(r, 12); n && world_bdev(l->w, i) && !world_failed(l->w); n--)
		hands->io(hands->client, i);
	return life_flush(l, i);
}

bool life_stop_device(struct lifecycle *l, unsigned i)
{
	return life_order(l, (int)i, "%s/stop", "1", 0) && life_wait_until(l, life_device_gone, i, "the device does not stop");
}

bool life_stop_set(struct lifecycle *l, const char *file)
{
	return life_order(l, -1, file, "1", 0) && life_wait_until(l, set_gone, 0, "the set does not stop");
}

/*
 * Once something has failed, what left stays away for the rest of this boot. A set that has failed has lost what nobody flushed, as in a cut, and so has a
 * disk whose flush failed; registered again they would tell a flush that all is well (seeds 6318, 9200 --faults, 9126 --no-memory). The cut that ends
 * the boot tells the model.
 */
bool life_register_device(struct lifecycle *l, unsigned i)
{
	return !world_disturbed(l->w) && world_register_disk(l->w, &l->w->backing[i]);
}

void life_bring_up(struct lifecycle *l, const struct lifecycle_hands *hands)
{
	if (world_failed(l->w) || world_disturbed(l->w))
		return;
	world_bring_up(l->w);
	hands->configure(hands->client, -1);
	for (unsigned i = 0; i < l->w->nr_backing; i++)
		hands->configure(hands->client, (int)i);
}

/* --- run without the cache -------------------------------------------------------------------------------------------- */

/* False: undecided, the next cut shows it. */
bool life_force_run(struct lifecycle *l, unsigned i)
{
	struct life *f = &l->life[i];

	life_begin(l, i, FORCING);
	if (!life_order(l, (int)i, "%s/running", "1", 0))
		return false;
	f->acknowledged = true;
	lifecycle_event(l);
	if (!life_flush(l, i) || world_failed(l->w))
		return false;
	life_adopt_forced(l, i);
	life_read_all(l, i);
	return !world_failed(l->w);
}

/* --- after a start --------------------------------------------------------------------------------------------------- */

static FIBER_FN void decide_forgetting(struct lifecycle *l, unsigned i, const struct bdev *d, const struct cset *c)
{
	struct life *f = &l->life[i];

	if (d->running && f->acknowledged) {
		world_fail(l->w, "dev%u runs, and the set had forgotten its dirty data", i);
	} else if (d->running) {
		f->doing = NOTHING;
	} else if (uuid_slot_find(c, d->super->uuid) >= 0) {
		if (!world_disturbed(l->w) || f->acknowledged)
			world_fail(l->w, "dev%u waits for a set that knows it", i);
	} else {
		f->given_up = true;
		(void)life_force_run(l, i);
	}
}

bool life_readopt(struct lifecycle *l, unsigned i, int expected)
{
	char text[20];

	snprintf(text, sizeof(text), "%u", l->life[i].slot);
	return life_order(l, (int)i, "%s/readopt", text, expected);
}

bool life_in_old_slot(const struct lifecycle *l, unsigned i)
{
	const struct bdev *d = world_registered_bdev(l->w, i);

	return d && d->set && d->inode == l->life[i].slot;
}

static FIBER_FN void decide_readopting(struct lifecycle *l, unsigned i, const struct bdev *d)
{
	if (life_in_old_slot(l, i))
		life_adopt_readopted(l, i, model_adopt);
	else if (d->running && !d->set && world_disturbed(l->w)) /* it may have been there, and written back, and left as its set failed */
		life_adopt_readopted(l, i, model_allow);
	else if (d->running)
		l->life[i].doing = NOTHING;
	else if (life_readopt(l, i, 0))
		life_adopt_readopted(l, i, model_adopt);
}

void lifecycle_registered(struct lifecycle *l)
{
	for (unsigned i = 0; i < l->w->nr_backing && !world_failed(l->w); i++) {
		struct life *f = &l->life[i];
		struct bdev *d = world_registered_bdev(l->w, i);
		struct cset *c = world_cset(l->w);

		if (d && !d->closing && c && c->state == CSET_RUNNING && !c->io_disable) {
			if (f->doing == FORGETTING)
				decide_forgetting(l, i, d, c);
			else if (f->doing == READOPTING)
				decide_readopting(l, i, d);
		}
		l->away[i] |= f->doing != NOTHING;
	}
}
