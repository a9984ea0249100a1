/* SPDX-License-Identifier: GPL-2.0-only */
/* One after the other: what happens to devices and the set (lifecycle.h). */
#include "tests/sim/lifecycle_impl.h"

#include <stdio.h>

/* --- episodes: stop -------------------------------------------------------------------------------------------------- */

/* Somebody has it open: it stays, and serves nobody. */
static FIBER_FN bool stop_while_open(struct lifecycle *l, unsigned i, struct bdev *d)
{
	uint8_t byte;
	bool ordered;

	if (bcf_dev_open(d) < 0)
		return false;
	ordered = life_order(l, (int)i, "%s/stop", "1", 0);
	fiber_sleep_ns(NS_PER_S);
	if (ordered && world_registered_bdev(l->w, i) != d)
		world_fail(l->w, "dev%u went away while it was open", i);
	if (ordered && bcf_read(d, &byte, 1, 0, NULL) >= 0)
		world_fail(l->w, "dev%u was stopped, and can be read", i);
	bcf_dev_close(d);
	return ordered && life_wait_until(l, life_device_gone, i, "the device does not stop after it was closed");
}

static FIBER_FN void stop_and_return(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	bool careful = l->w->strict || l->w->always_writeback, calm = rng_percent(r, 50) || careful;
	struct bdev *d;
	int slot;

	l->away[i] = true;
	if (calm)
		life_wait_idle(l, i);
	if (careful && !life_flush(l, i)) { /* writeback begins before anybody can configure it: with what is durable in the cache (R2.6) */
		life_come_back(l);
		return;
	}
	d = world_bdev(l->w, i);
	slot = calm && d && d->set && !d->detaching ? (int)d->inode : -1;
	if (d && (rng_percent(r, 30) ? stop_while_open(l, i, d) : life_stop_device(l, i))) {
		life_rest(r);
		(void)life_register_device(l, i);
		d = world_bdev(l->w, i);
		l->w->stats->returned += d != NULL;
		if (slot >= 0 && (!d || !d->set || (int)d->inode != slot) && !world_disturbed(l->w))
			world_fail(l->w, "dev%u was in slot %d, stopped, and is not there again", i, slot);
		hands->configure(hands->client, (int)i);
	}
	life_come_back(l);
}

/* Written back, they have everything, and run without the set. */
static FIBER_FN void check_left(struct lifecycle *l)
{
	for (unsigned i = 0; i < l->w->nr_backing && !world_disturbed(l->w) && !world_failed(l->w); i++) {
		if (!world_bdev(l->w, i) || life_state_on_disk(l, i) != BDEV_STATE_NONE)
			world_fail(l->w, "dev%u: its set was unregistered, and it %s", i, world_bdev(l->w, i) ? "does not say so" : "does not run");
		else
			world_check_alone(l->w, i);
	}
}

static FIBER_FN void set_and_return(struct lifecycle *l, struct prng *r, const struct lifecycle_hands *hands)
{
	bool unregister = rng_percent(r, 50), good = true;

	life_everybody_away(l);
	if (unregister || rng_percent(r, 50))
		life_wait_all_idle(l);
	for (unsigned i = 0; i < l->w->nr_backing && unregister && good; i++)
		good = life_flush(l, i); /* what is written back before it is durable in the cache leaves a choice (R2.6) */
	if (good && world_cset(l->w) && life_stop_set(l, unregister ? "%s/unregister" : "%s/stop")) {
		if (unregister)
			check_left(l);
		life_rest(r);
		life_wait_all_idle(l);
		life_bring_up(l, hands);
	}
	life_come_back(l);
}

/* --- episodes: without the cache ---------------------------------------------------------------------------------------- */

/* Attached, at rest, and nothing has failed. Its slot, or -1. */
static int settled_slot(const struct lifecycle *l, unsigned i)
{
	const struct bdev *d = world_bdev(l->w, i);

	return d && d->set && !d->detaching && !world_disturbed(l->w) ? (int)d->inode : -1;
}

/* Its set is away. */
static FIBER_FN bool waits_alone(struct lifecycle *l, unsigned i, struct prng *r)
{
	if (!life_register_device(l, i))
		return false;
	if (world_bdev(l->w, i))
		world_fail(l->w, "dev%u runs without its cache, and nobody said so", i);
	return !rng_percent(r, 30) || life_order(l, (int)i, "%s/attach", l->w->set_uuid_text, -ENOENT);
}

static FIBER_FN void join_again(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	const struct life *f = &l->life[i];
	const struct bdev *d;

	life_bring_up(l, hands);
	d = world_bdev(l->w, i);
	if (!world_disturbed(l->w) && !world_failed(l->w) && f->kept && d && d->inode == f->slot)
		world_fail(l->w, "dev%u was run without its cache, and is in slot %u again", i, f->slot);
	if (rng_percent(r, 50))
		life_read_all(l, i);
}

static FIBER_FN void run_without(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	int slot;

	life_everybody_away(l);
	life_wait_all_idle(l);
	slot = settled_slot(l, i);
	if (slot < 0 || !life_stop_device(l, i) || !life_capture(l, i, (uint32_t)slot) || !life_stop_set(l, "%s/stop") || world_disturbed(l->w)) {
		life_bring_up(l, hands);
	} else if (waits_alone(l, i, r) && life_force_run(l, i) && life_use(l, i, r, hands)) {
		if (rng_percent(r, 10))
			world_cut_now(l->w);
		l->over = rng_percent(r, 10);
		if (!l->over)
			join_again(l, i, r, hands);
	}
	life_come_back(l);
}

/* --- episodes: forget, readopt -------------------------------------------------------------------------------------------- */

static bool any_key(void *ctx, const struct bkey *k)
{
	*(bool *)ctx = bkey_size(k) && bkey_ptrs(k);
	return !*(bool *)ctx;
}

/* Nobody takes a slot meanwhile: volumes are made elsewhere, so this asks before it waits for anything. */
static FIBER_FN void check_empty(struct lifecycle *l, uint32_t slot)
{
	struct cset *c = world_cset(l->w);
	bool any = false;
	int r;

	if (!c || c->closed || c->devices[slot] || uuid_entry_state(&c->uuids[slot]) != UUID_SLOT_INVALID)
		return;
	cset_hold(c);
	r = btree_for_each_extent(c, slot, 0, BKEY_OFFSET_MAX, any_key, &any);
	if (!r && any && !c->devices[slot] && !world_disturbed(l->w))
		world_fail(l->w, "slot %u was forgotten, and has data", slot);
	cset_release(c);
}

/* which: a uuid or slot:N. */
static FIBER_FN bool forget(struct lifecycle *l, unsigned i, const char *which)
{
	char text[80];

	if (!life_any_dirty(l, i))
		return life_order(l, -1, "%s/forget", which, 0);
	snprintf(text, sizeof(text), "%s discard-dirty", which);
	return life_order(l, -1, "%s/forget", which, -ENOTEMPTY) && life_order(l, -1, "%s/forget", text, 0);
}

/* Forgotten, it waits for data that nobody has; without them it runs, and is cached anew. */
static FIBER_FN void return_forgotten(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	struct world *w = l->w;

	if (!life_register_device(l, i) || !world_cset(w))
		return;
	if (l->life[i].doing == FORGETTING) {
		if (world_bdev(w, i))
			world_fail(w, "dev%u runs, and its dirty data was forgotten", i);
		if (!life_order(l, (int)i, "%s/attach", w->set_uuid_text, -ENOENT))
			return;
		lifecycle_registered(l);
		if (lifecycle_undecided(l, i) || !life_use(l, i, r, hands) || !life_order(l, (int)i, "%s/attach", w->set_uuid_text, 0))
			return;
	}
	hands->configure(hands->client, (int)i);
	if (rng_percent(r, 50))
		life_read_all(l, i);
}

static FIBER_FN void forget_and_return(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	struct life *f = &l->life[i];
	char uuid[37] = "";
	struct printbuf out = PRINTBUF(uuid);
	int slot;

	pr_uuid(&out, l->w->backing_format[i].uuid);
	l->away[i] = true;
	life_wait_idle(l, i);
	slot = settled_slot(l, i);
	if (slot >= 0 && life_stop_device(l, i) && life_capture(l, i, (uint32_t)slot) && world_cset(l->w)) {
		life_begin(l, i, life_state_on_disk(l, i) == BDEV_STATE_DIRTY ? FORGETTING : NOTHING);
		f->given_up = true;
		if (forget(l, i, uuid)) {
			f->acknowledged = true;
			l->w->stats->forgotten++;
			check_empty(l, f->slot);
			life_rest(r);
			return_forgotten(l, i, r, hands);
		}
	} else if (life_device_gone(l, i)) {
		(void)life_register_device(l, i);
	}
	life_come_back(l);
}

static FIBER_FN void forget_kept(struct lifecycle *l, unsigned i)
{
	char which[20];

	snprintf(which, sizeof(which), "slot:%u", l->life[i].slot);
	l->life[i].kept = false;
	if (!world_cset(l->w) || !forget(l, i, which))
		return;
	l->w->stats->forgotten++;
	check_empty(l, l->life[i].slot);
}

/* An attached device does not take anything back, nor one that is in use. */
static FIBER_FN bool detach_for_readopt(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	struct bdev *d = world_bdev(l->w, i);
	bool good;

	if (d && d->set && !(life_readopt(l, i, -EBUSY) && life_flush(l, i) && life_order(l, (int)i, "%s/detach", "1", 0) &&
			     life_wait_until(l, life_device_detached, i, "the device is not detached")))
		return false;
	if (!life_use(l, i, r, hands))
		return false;
	d = world_bdev(l->w, i);
	if (!d || bcf_dev_open(d) < 0)
		return false;
	good = life_readopt(l, i, -EBUSY);
	bcf_dev_close(d);
	return good && !world_disturbed(l->w);
}

static FIBER_FN void take_back(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	struct life *f = &l->life[i];

	if (!detach_for_readopt(l, i, r, hands))
		return;
	life_begin(l, i, READOPTING);
	if (!life_readopt(l, i, 0))
		return;
	if (!life_in_old_slot(l, i) && !world_disturbed(l->w))
		world_fail(l->w, "dev%u has taken back slot %u, and is not in it", i, f->slot);
	life_adopt_readopted(l, i, model_adopt);
	life_read_all(l, i);
}

static FIBER_FN void end_kept(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands)
{
	l->away[i] = true;
	life_wait_idle(l, i);
	if (!world_bdev(l->w, i) || !world_cset(l->w) || world_disturbed(l->w))
		;
	else if (rng_percent(r, 30))
		forget_kept(l, i);
	else
		take_back(l, i, r, hands);
	life_come_back(l);
}

void lifecycle_step(struct lifecycle *l, unsigned dev, struct prng *r, const struct lifecycle_hands *hands)
{
	struct prng saved = l->w->rng; /* what is drawn here must not change what a script leaves */
	unsigned dice = (unsigned)prng_below(r, 100);

	if (l->episode || l->away[dev])
		return;
	l->episode = true;
	l->w->rng = prng_seeded(prng_u64(r));
	if (dice < 25)
		stop_and_return(l, dev, r, hands);
	else if (dice < 40)
		set_and_return(l, r, hands);
	else if (l->life[dev].kept)
		end_kept(l, dev, r, hands);
	else if (dice < 75)
		run_without(l, dev, r, hands);
	else
		forget_and_return(l, dev, r, hands);
	l->w->rng = saved;
	l->episode = false;
}
