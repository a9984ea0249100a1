/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/throttle.h"
#include "core/admin/loadavg.h"
#include "core/admin/log.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"

/* How far ahead of its minimum rate, and how far behind it, a device may be thought to be. */
#define FLOOR_AHEAD_NS (10 * NS_PER_S)
#define FLOOR_BEHIND_NS NS_PER_S
#define IO_SECTORS_MIN 128u	/* backing off makes writes not shorter than this: less would not be felt */

bool unthrottled(const struct bdev *d)
{
	const struct writeback *w = &d->writeback;

	return d->detaching || w->flushers || !w->tunables.percent;
}

/* --- the controller -------------------------------------------------------------------------------------------------------- */

static void gather(struct bdev *d, struct rate_input *in)
{
	const struct cset *c = d->set;
	uint64_t now = engine_now_ns();

	*in = (struct rate_input){
		.dirty_sectors = (int64_t)d->writeback.dirty_sectors,
		.cache_sectors = c->g.nr_buckets * c->g.bucket_sectors - c->flash_dirty_sectors,
		.backing_sectors = d->backing->nr_sectors,
		.nr_buckets = c->g.nr_buckets,
		.avail_buckets = c->alloc.avail_buckets,
		.bucket_sectors = c->g.bucket_sectors,
		.in_use_percent = alloc_in_use_percent(c),
		.held_back = backoff_share(&d->writeback.backoff, now) < BACKOFF_FULL,
		.now_ns = now,
	};
	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		if (c->devices[i] && !bdev_is_flash(c->devices[i]))
			in->all_backing_sectors += c->devices[i]->backing->nr_sectors;
}

/* §8.8: nobody has asked for anything during about six rounds of all devices. */
static bool idle_long_enough(struct cset *c)
{
	uint64_t nr = 0;

	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		nr += c->devices[i] && !bdev_is_flash(c->devices[i]);
	return c->idle_max_writeback_rate && c->alloc.gc_mark_valid && nr && c->idle_counter >= 6 * nr * nr;
}

/* T-11. Sectors are told as bytes, as everywhere. */
static void tell_starvation(const struct bdev *d, const struct rate_state *r)
{
	char text[200] = "";
	struct printbuf pb = PRINTBUF(text);

	pr_human(&pb, (int64_t)(d->writeback.dirty_sectors * SECTOR_BYTES));
	pr(&pb, " dirty, target ");
	pr_human(&pb, r->target * (int64_t)SECTOR_BYTES);
	if (!r->starving) {
		log_info("writeback of %s no longer starves: %s", d->name, text);
		return;
	}
	pr(&pb, ", rate at least ");
	pr_human(&pb, (int64_t)r->raised_minimum * (int64_t)SECTOR_BYTES);
	pr(&pb, "/s, requests in flight (1, 5, 15 min):");
	loadavg_inflight_text(&d->load, &pb);
	log_warn("writeback of %s starves: %s", d->name, text);
}

/* On the loop: the controller is arithmetic, nothing here waits. */
void throttle_timer_fired(struct timer *t)
{
	struct writeback *w = container_of(t, struct writeback, rate_timer);
	struct bdev *d = container_of(w, struct bdev, writeback);
	struct cset *c = d->set;
	bool was_starving = w->rate.starving;
	struct rate_input in;

	timer_arm_ns(t, w->tunables.update_seconds * NS_PER_S);
	if (!c || !w->has_dirty || !w->tunables.percent) {
		rate_rest(&w->rate);
	} else {
		c->idle_counter++;
		if (idle_long_enough(c)) {
			rate_idle_maximum(&w->rate, &w->tunables);
		} else {
			gather(d, &in);
			rate_update(&w->rate, &w->tunables, &in);
		}
		writeback_wake(d); /* a fiber that sleeps off the old rate looks again */
	}
	if (c && w->rate.starving != was_starving)
		tell_starvation(d, &w->rate);
}

void throttle_restart(struct bdev *d)
{
	if (timer_armed(&d->writeback.rate_timer))
		timer_arm_ns(&d->writeback.rate_timer, d->writeback.tunables.update_seconds * NS_PER_S);
}

void writeback_leave_idle(struct cset *c)
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++) {
		struct bdev *d = c->devices[i];

		if (!d || !d->writeback.rate.at_idle_max)
			continue;
		d->writeback.rate.at_idle_max = false;
		d->writeback.rate.rate = 1; /* the controller takes over from here */
	}
}

/* --- batches --------------------------------------------------------------------------------------------------------------- */

/*
 * How much one batch may be: a second's worth, so that the rate is kept; but a whole stripe goes at once, for in two parts it would cost what it
 * is meant to save.
 */
uint64_t throttle_budget(const struct bdev *d)
{
	const struct writeback *w = &d->writeback;
	uint64_t sectors = w->rate.rate;

	if (unthrottled(d))
		return WRITEBACK_BATCH_SECTORS;
	if (w->partial_stripes)
		sectors = max(sectors, w->stripes.stripe_sectors);
	return min(sectors, (uint64_t)WRITEBACK_BATCH_SECTORS);
}

void throttle_begin(struct bdev *d)
{
	d->writeback.floor_next_ns = engine_now_ns() + FLOOR_AHEAD_NS;
	backoff_begin(&d->writeback.backoff, engine_now_ns());
}

void throttle_pause(struct bdev *d, uint64_t sectors)
{
	struct writeback *w = &d->writeback;
	uint64_t now = engine_now_ns(), delay = rate_delay_ns(&w->rate, sectors, now);

	w->floor_next_ns += sectors * NS_PER_S / rate_minimum(&w->rate, &w->tunables);
	w->floor_next_ns = clamp(w->floor_next_ns, now - min(now, FLOOR_BEHIND_NS), now + FLOOR_AHEAD_NS);
	while (delay && !unthrottled(d) && w->running && wait_queue_wait_timeout(&w->wake, delay) != -EINTR)
		delay = rate_delay_ns(&w->rate, 0, engine_now_ns());
}

/* Of BACKOFF_FULL. Who is behind the minimum rate may not care about others. */
static uint32_t share(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	uint64_t now = engine_now_ns();

	if (!w->consider_latency || unthrottled(d) || w->floor_next_ns <= now)
		return BACKOFF_FULL;
	return backoff_share(&w->backoff, now);
}

unsigned throttle_window(struct bdev *d)
{
	return max(d->writeback.inflight_limit * share(d) / BACKOFF_FULL, 1u);
}

uint32_t throttle_io_sectors(struct bdev *d)
{
	return max(WRITEBACK_BATCH_SECTORS * share(d) / BACKOFF_FULL, IO_SECTORS_MIN);
}

/* --- requests ---------------------------------------------------------------------------------------------------------------- */

void writeback_note_foreground(struct bdev *d, const struct bio *bio)
{
	struct writeback *w = &d->writeback;
	uint64_t now = engine_now_ns();

	if (d->set)
		backoff_note(&w->backoff, now - min(now, bio->submit_ns), w->backing_in_flight || w->backing_last_ns >= bio->submit_ns, now);
}
