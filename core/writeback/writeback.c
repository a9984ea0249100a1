/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The writeback fiber: passes and pauses; has_dirty and the DIRTY / CLEAN state. What is found is in refill.c, the copying in batch.c, how fast it
 * may go in throttle.c.
 *
 * A *pass* is one scan of the device from its first to its last sector with everything found worked off. After a pass the fiber rests
 * writeback_delay; a pass in which an I/O failed is followed by a growing pause instead. Nothing found in a whole pass: the device is clean.
 *
 * Why a queued key is never older than the index when it is started: the scan skips ranges that a write holds; a write that acquires its
 * range later drops the queued keys it overlaps (writeback_overlaps()). So no copy of old data sets out after newer data did.
 */
#include "core/writeback/writeback.h"
#include "core/request/request.h"
#include "core/request/swap.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include "core/writeback/batch.h"
#include "core/writeback/refill.h"
#include "core/writeback/throttle.h"

#define FAILURE_PAUSE_MAX_S 30
#define FLUSH_FAILURES_MAX 2
#define URGENT_PAUSE_NS (1 * NS_PER_MS) /* between passes when nobody wants a delay: what is left is being written to right now */

void writeback_init(struct bdev *d)
{
	struct writeback *w = &d->writeback;

	wait_queue_init(&w->wake);
	wait_queue_init(&w->idle);
	wait_queue_init(&w->batch_done);
	wait_queue_init(&w->state_wait);
	keybuf_init(&w->keybuf);
	w->running = true;
	w->rate = (struct rate_state){ .rate = WRITEBACK_RATE_INITIAL };
	timer_init(&w->rate_timer, throttle_timer_fired);
}

void writeback_wake(struct bdev *d) { wake_all(&d->writeback.wake); }

/* --- what requests ask ----------------------------------------------------------------------------------------------------- */

bool writeback_overlaps(struct bdev *d, uint64_t start, uint64_t end)
{
	struct writeback *w = &d->writeback;

	return w->keybuf.nr && keybuf_overlaps(&w->keybuf, start, end);
}

/* Holds the caller's range; the batch it waits for wants ranges only with a try. */
void writeback_wait_started(struct bdev *d, uint64_t start, uint64_t end)
{
	while (keybuf_started(&d->writeback.keybuf, start, end))
		wait_queue_wait(&d->writeback.batch_done);
}

void writeback_for_each_key(struct bdev *d, void (*fn)(void *ctx, const struct bkey *k), void *ctx)
{
	const struct keybuf *b = &d->writeback.keybuf;

	for (unsigned i = 0; i < b->nr; i++)
		if (!b->keys[i].dropped)
			fn(ctx, &b->keys[i].key.k);
}

void writeback_account(struct bdev *d, uint64_t start, int64_t nr_sectors)
{
	d->writeback.dirty_sectors += (uint64_t)nr_sectors;
	stripes_account(&d->writeback.stripes, start, nr_sectors);
}

/* --- has_dirty and the state ------------------------------------------------------------------------------------------------- */

/* Write state DIRTY or CLEAN. One at a time: callers check state_writing first. Waits for the backing device. */
static int state_write(struct bdev *d, enum bdev_state st)
{
	struct writeback *w = &d->writeback;
	enum bdev_state old = bdev_state(d);
	int r;

	assert(!w->state_writing);
	w->state_writing = true;
	w->state_durable = false;
	fmutex_lock(&d->super_lock); /* not while somebody else's superblock write is in flight */
	super_set_state(d->super, st);
	fmutex_unlock(&d->super_lock);
	r = bdev_write_super(d);
	if (r < 0)
		super_set_state(d->super, old); /* what is on disk is unknown: the next attempt must not be skipped */
	w->state_writing = false;
	w->state_durable = !r && st == BDEV_STATE_DIRTY;
	wake_all(&w->state_wait);
	return r;
}

/*
 * R1.6, I-10: DIRTY is on disk before the first dirty write is acknowledged. has_dirty is set before anything is inserted and cannot be cleared
 * while dirty_writers counts us (R8.1). Waits for the superblock write, ours or the one under way. Holds the caller's range.
 */
int writeback_write_begin(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	int r = 0;

	if (bdev_is_flash(d))
		return 0;
	w->dirty_writers++;
	if (!w->has_dirty) {
		w->has_dirty = true;
		writeback_wake(d);
	}
	while (!w->state_durable && !r) {
		if (w->state_writing)
			wait_queue_wait(&w->state_wait);
		else
			r = state_write(d, BDEV_STATE_DIRTY);
	}
	if (r < 0)
		w->dirty_writers--;
	return r;
}

void writeback_write_end(struct bdev *d)
{
	struct writeback *w = &d->writeback;

	if (bdev_is_flash(d))
		return;
	w->dirty_generation++;
	assert(w->dirty_writers > 0);
	if (!--w->dirty_writers && d->detaching)
		writeback_wake(d);
}

/*
 * A scan that began at `generation` found nothing. Clear has_dirty unless a write came in between (R8.1), and write CLEAN. Before that the
 * clean keys are made durable (R8.2), so that CLEAN on disk means no dirty key on disk; their data was flushed batch by batch (R8.3).
 * When detaching the state is left to bdev_detach_finish(). Waits for the journal and the backing device.
 */
static bool become_clean(struct bdev *d, uint64_t generation)
{
	struct writeback *w = &d->writeback;

	if (w->dirty_writers || w->dirty_generation != generation || journal_flush(d->set) < 0)
		return false;
	if (w->dirty_writers || w->dirty_generation != generation || w->state_writing)
		return false;
	w->has_dirty = false;
	w->failed = w->failed_now = (struct writeback_failures){ .nr = 0 };
	if (!d->detaching && state_write(d, BDEV_STATE_CLEAN) < 0) {
		w->has_dirty = true; /* try again */
		w->pass_failed = true;
		return false;
	}
	w->failures = 0;
	gc_writeback_ended(d->set);
	wake_all(&w->idle);
	return true;
}

/* --- pauses: all of them end on cancellation --------------------------------------------------------------------------------- */

/*
 * After a pass: new dirty data may gather, so that the next pass is worth it. Cut short by everything that makes writeback urgent; never
 * quite nothing, because a pass over a tree in memory may end without having waited for anything.
 */
static void pause_after_pass(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	uint64_t begin = engine_now_ns(), now;

	if (fiber_sleep_interruptible_ns(URGENT_PAUSE_NS) < 0)
		return;

	while (!d->detaching && !w->flushers && (now = engine_now_ns()) < begin + w->delay_s * NS_PER_S)
		if (wait_queue_wait_timeout(&w->wake, begin + w->delay_s * NS_PER_S - now) == -EINTR)
			return;
	w->rate.next_ns = engine_now_ns();
	throttle_begin(d);
}

/* After a pass with errors: try again, at a bounded pace, for ever (the user decides when to give data up). */
static void pause_after_failure(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	uint64_t seconds = w->failures < 5 ? 1u << w->failures : FAILURE_PAUSE_MAX_S;

	if (fiber_sleep_interruptible_ns(seconds * NS_PER_S) < 0)
		return; /* the main loop looks */
}

/* --- the fiber --------------------------------------------------------------------------------------------------------------- */

static bool has_work(const struct bdev *d)
{
	const struct writeback *w = &d->writeback;

	if (d->set->io_disable)
		return d->detaching && !w->has_dirty && !w->dirty_writers;
	if (d->io_disable || d->set->io_blocked)
		return false;
	return d->detaching || (w->has_dirty && (w->running || w->flushers));
}

static void end_of_pass(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	bool failed = w->pass_failed;

	w->pass_failed = false;
	w->failed = w->failed_now;
	w->failed_now = (struct writeback_failures){ .nr = 0 };
	w->recount |= w->stripes.lost;
	w->passes++;
	w->failures = failed ? w->failures + 1 : 0;
	wake_all(&w->idle);
	if (failed)
		pause_after_failure(d);
	else
		pause_after_pass(d);
}

/* The size of stripes was changed, or memory for their counts was short: count again. */
static void recount_stripes(struct bdev *d)
{
	uint64_t dirty;

	d->writeback.recount = false;
	if (!d->set->io_disable && writeback_count(d, &dirty) < 0)
		d->writeback.stripes.lost = true; /* the set has failed, or memory is short: at the end of the next pass */
}

/* One scan and all it found. Returns true when the device is clean. Waits for everything a batch may wait for, and pauses. */
static bool work_once(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	uint64_t generation = 0;
	bool end = false, failed;
	int r;

	if (d->set->io_disable) /* a clean device leaves a set that failed: nothing to scan, and nothing to scan with */
		return true;
	r = writeback_refill(d, &generation, &end);
	if (r == REFILL_CLEAN && become_clean(d, generation))
		return true;
	if (r < 0) {
		w->pass_failed = true;
		end = true;
	}
	while (!keybuf_drained(&w->keybuf) && !w->stopping && has_work(d)) {
		uint64_t sectors = writeback_batch_run(w->batch, throttle_budget(d), &failed);

		w->pass_failed |= failed;
		if (!unthrottled(d))
			throttle_pause(d, sectors);
		if (w->recount)
			recount_stripes(d);
	}
	if (!keybuf_drained(&w->keybuf)) { /* switched off in the middle: what is queued grows old, so look again later */
		keybuf_drop_waiting(&w->keybuf);
		w->keybuf.last_scanned = 0;
	} else if (end && !w->stopping) {
		end_of_pass(d);
	}
	return false;
}

static void writeback_main(void *arg)
{
	struct bdev *d = arg;
	struct writeback *w = &d->writeback;

	while (!w->stopping) {
		if (w->recount)
			recount_stripes(d);
		if (!has_work(d)) {
			wake_all(&w->idle); /* a flush that cannot go on */
			if (d->detaching && d->set->io_disable && w->has_dirty)
				bdev_set_failed(d); /* a write made it dirty while its set was failing: it cannot leave, it must stop */
			if (wait_queue_wait_interruptible(&w->wake) < 0)
				break;
			throttle_begin(d);
			continue;
		}
		/* A detach that begins while CLEAN is being written finds writes let in meanwhile, so look again: quiesce() only waits for them. */
		if (work_once(d) && d->detaching && !w->stopping && !w->has_dirty && !w->dirty_writers) {
			bdev_detach_finish(d);
			w->detach_done = true;
			break;
		}
	}
	timer_cancel(&w->rate_timer);
	wake_all(&w->idle);
}

/* --- life -------------------------------------------------------------------------------------------------------------------- */

/* §8.9. Nobody writes to the device yet. Waits for btree nodes, for a superblock write, holding the attach. */
int writeback_start(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	uint64_t dirty = 0;
	int r;

	swaps_wait_absent(d->set);
	writeback_stop(d); /* of an earlier attachment: it has ended, but was not waited for */
	r = writeback_count(d, &dirty);
	if (r < 0)
		return r;
	w->dirty_sectors = dirty;
	if (bdev_is_flash(d)) {
		d->set->flash_dirty_sectors += dirty;
		return 0;
	}
	keybuf_init(&w->keybuf);
	w->stripe_cursor = 0;
	w->stripe_round_done = w->recount = false;
	w->failures = 0;
	w->pass_failed = w->stopping = w->detach_done = w->state_writing = false;
	w->state_durable = bdev_state(d) == BDEV_STATE_DIRTY;
	w->has_dirty = dirty || w->state_durable;
	if (w->has_dirty && !w->state_durable) /* R8.2: whatever the superblock said, there is dirty data */
		r = state_write(d, BDEV_STATE_DIRTY);
	if (r < 0)
		return r;
	w->batch = writeback_batch_new(d);
	w->fiber = w->batch ? fiber_spawn("writeback", writeback_main, d) : NULL;
	if (!w->fiber) {
		writeback_batch_free(w->batch);
		w->batch = NULL;
		return -ENOMEM;
	}
	timer_arm_ns(&w->rate_timer, w->tunables.update_seconds * NS_PER_S);
	return 0;
}

void writeback_stop(struct bdev *d)
{
	struct writeback *w = &d->writeback;

	timer_cancel(&w->rate_timer);
	if (w->fiber) {
		assert(w->fiber != fiber_self());
		w->stopping = true;
		fiber_cancel(w->fiber);
		fiber_join(w->fiber);
		w->fiber = NULL;
	}
	writeback_batch_free(w->batch);
	w->batch = NULL;
	stripes_release(&w->stripes);
}

/*
 * Waits for passes of the fiber, which this makes urgent; a signal ends the wait. Done when nothing was dirty once, which under steady writes is
 * noticed at the end of a pass.
 */
int writeback_flush(struct bdev *d)
{
	struct writeback *w = &d->writeback;
	unsigned failures = w->failures;
	int r = 0;

	if (!d->set || bdev_is_flash(d))
		return -ENOTCONN;
	w->flushers++;
	writeback_wake(d);
	while (w->has_dirty && w->dirty_sectors && !r) {
		if (w->stopping || w->detach_done || !d->set)
			r = -ENOTCONN;
		else if (d->io_disable || d->set->io_disable || d->set->io_blocked || w->failures >= failures + FLUSH_FAILURES_MAX)
			r = -EIO;
		else
			r = wait_queue_wait_interruptible(&w->idle);
	}
	w->flushers--;
	return r;
}
