/* SPDX-License-Identifier: GPL-2.0-only */
/* Entering and leaving, decisions, writes, zeroing and flushes. Reads are in read.c. */
#include "core/request/request.h"
#include "core/admin/log.h"
#include "core/request/insert.h"
#include "core/set/bdev.h"
#include "core/set/cset.h"
#include <stdio.h>

/* --- entering and leaving -------------------------------------------------------------------------------------------------- */

/*
 * Waits for the end of an attach only, holding nothing. While a set that failed is being taken away, a device without dirty data still
 * reads correctly from backing; its writes must not: the cache would keep old copies of them (they work again once detached).
 */
int request_begin(struct bdev *d, bool write)
{
	struct cset *c;

	while (d->quiesce) {
		bdev_hold(d); /* it may be stopped meanwhile */
		wait_queue_wait(&d->quiesced);
		bdev_release(d);
	}
	if (d->closing)
		return -ENXIO;
	c = d->set;
	if (d->io_disable)
		return -EIO;
	if (c && c->io_blocked)
		return -EIO;
	if (c && c->io_disable && (write || bdev_is_flash(d) || d->writeback.has_dirty))
		return -EIO;
	bdev_get(d); /* from here on d->set stays what it is; an attach waits for us (R1.4) */
	if (!c) {
		d->pass_through++;
		return 0;
	}
	c->requests_in_flight++;
	if (c->idle_counter) {
		c->idle_counter = 0;
		writeback_leave_idle(c);
	}
	return 0;
}

void request_end(struct bdev *d)
{
	if (d->set)
		d->set->requests_in_flight--;
	else
		d->pass_through--;
	bdev_put(d);
}

/* --- the backing device ---------------------------------------------------------------------------------------------------- */

/*
 * Waits for the backing device, unless nothing was written since its last flush: in writeback mode most are like that, and a disk's flush is
 * what its users wait for. Writes are counted when they complete, and a flush covers what completed before it began.
 */
int request_backing_flush(struct bdev *d)
{
	uint64_t writes = d->backing_writes;
	int r;

	if (d->io_disable)
		return -EIO;
	if (d->backing_flushed >= writes)
		return 0;
	r = flush_group_flush(&d->backing_flush);
	if (!r) {
		d->backing_flushed = max(d->backing_flushed, writes);
		return 0;
	}
	if (!d->io_disable) {
		bdev_io_error(d, "flushing", r);
		d->io_disable = true; /* R0.4: a second flush may succeed without having saved what the first one lost */
		snprintf(d->error, sizeof(d->error), "a flush failed (%s): what was written since the last good one may be lost", strerror(-r));
		log_error("%s ('%s') is disabled: %s", d->name, d->backing->path, d->error);
	}
	return -EIO;
}

static int backing_done(struct bdev *d, const char *what, int r)
{
	d->backing_writes++; /* a failed one too: part of it may have arrived */
	if (r < 0)
		bdev_io_error(d, what, r);
	return r < 0 ? -EIO : 0;
}

static int backing_write(struct bdev *d, const void *buf, uint64_t start, uint64_t end, unsigned flags)
{
	return backing_done(d, "writing", blk_write(d->backing, start, buf, end - start, flags));
}

static int backing_zero(struct bdev *d, uint64_t start, uint64_t end)
{
	return backing_done(d, "zeroing", blk_zero(d->backing, start, end - start));
}

/* --- decisions ------------------------------------------------------------------------------------------------------------- */

uint64_t request_stream(const struct bcf_io *io)
{
	/* Page-cache write-out has no pid: then the file handle tells who it is for (T-18). */
	return io->pid ? io->pid : (1ull << 32) + io->handle;
}

static void count_bypass(struct bdev *d, enum bypass_reason reason, uint64_t nr_sectors)
{
	reason_add(&d->bypass_reasons[reason], nr_sectors);
	stat_add(&d->stats, STAT_BYPASSED_SECTORS, nr_sectors);
	stat_add(&d->set->stats, STAT_BYPASSED_SECTORS, nr_sectors);
}

static enum bypass_reason bypass_by_history(struct bdev *d, struct bypass_input *in, const struct bcf_io *io)
{
	struct congestion *g = &d->set->congestion;
	uint64_t now = engine_now_ns();

	/* No congestion at all is the rule, and then no random number is needed. */
	in->congestion_limit_sectors = g->value < 0 ? congestion_limit(g, now, (uint32_t)engine_random_u64()) : 0;
	if (!in->congestion_limit_sectors && !in->sequential_cutoff_bytes)
		return BYPASS_NO;
	return policy_bypass_late(in, seq_detector_note(&d->seq, request_stream(io), io->pid != 0, in->start_sector,
							in->nr_sectors * SECTOR_BYTES, now));
}

/* §2.2. Counts what it decides. Cached devices only. */
enum bypass_reason request_bypass(struct bdev *d, uint64_t start, uint64_t end, bool write, const struct bcf_io *io)
{
	struct cset *c = d->set;
	struct bypass_input in = {
		.mode = bdev_cache_mode(d),
		.detaching = d->detaching,
		.write = write,
		.in_use_percent = alloc_in_use_percent(c),
		.start_sector = start,
		.nr_sectors = end - start,
		.block_sectors = c->g.block_sectors,
		.sequential_cutoff_bytes = d->sequential_cutoff_bytes,
	};
	enum bypass_reason reason = policy_bypass_early(&in);

	if (reason == BYPASS_NO)
		reason = d->bypass_torture_test ? policy_bypass_torture(engine_random_u64()) : bypass_by_history(d, &in, io);
	if (reason == BYPASS_NO) {
		alloc_rescale(c, (uint32_t)min(in.nr_sectors, (uint64_t)UINT32_MAX));
		return BYPASS_NO;
	}
	count_bypass(d, reason, in.nr_sectors);
	return reason;
}

static bool found_dirty(void *ctx, const struct bkey *k)
{
	if (!bkey_dirty(k))
		return true;
	*(bool *)ctx = true;
	return false;
}

/*
 * Does the index hold dirty sectors of [start, end)? The caller holds the range, so the answer stays true for "no" (nobody else may insert
 * there) and at worst becomes pessimistic for "yes". Waits for btree reads.
 */
static int range_has_dirty(struct bdev *d, uint64_t start, uint64_t end, bool *ret)
{
	bool dirty = false;
	int r = 0;

	if (d->writeback.has_dirty)
		r = btree_for_each_extent(d->set, d->inode, start, end, found_dirty, &dirty);
	if (r < 0)
		return -EIO; /* what we cannot see may be dirty */
	*ret = dirty;
	return 0;
}

/* --- clean copies in a range that also holds dirty data --------------------------------------------------------------------------- */

/* The first part of [start, end) without dirty sectors. */
struct clean_part {
	uint64_t start, end;
	bool has_clean, has_dirty;
};

static bool find_clean_part(void *ctx, const struct bkey *k)
{
	struct clean_part *p = ctx;

	if (!bkey_dirty(k)) {
		p->has_clean = true;
		return true;
	}
	p->has_dirty = true;
	if (bkey_start(k) > p->start) {
		p->end = bkey_start(k);
		return false;
	}
	p->start = min(bkey_offset(k), p->end);
	return p->start < p->end;
}

/*
 * Durably forget the clean copies of the range. Strict write-through does so before data goes to the backing device: a crash would bring them
 * back, and eviction would later show the new data below (R2.6). Placeholders go too, or a fill that has already read the old data would
 * become such a copy. Dirty keys stay: they cannot be evicted. But they have to be durable, too, or a clean copy that they cover comes back.
 * Holds the range. Waits for the btree and the journal.
 */
static int forget_clean(struct bdev *d, uint64_t start, uint64_t end)
{
	bool had_clean = false, had_dirty = false;
	uint64_t seq = 0;

	while (start < end) {
		struct clean_part p = { .start = start, .end = end };
		int r = btree_for_each_extent(d->set, d->inode, start, end, find_clean_part, &p);

		if (!r && p.start < p.end)
			r = insert_invalidate(d, p.start, p.end, &seq);
		if (r < 0)
			return -EIO;
		had_clean |= p.has_clean;
		had_dirty |= p.has_dirty;
		start = p.end;
	}
	if (had_dirty)
		return journal_flush(d->set) < 0 ? -EIO : 0;
	return had_clean || (d->set->copies_dropped && seq) ? journal_wait(d->set, seq) : 0;
}

/* A write to the backing device failed on the way: nobody knows what it holds now, so no clean copy may hide that (R2.7). Returns error. */
static int backing_unknown(struct bdev *d, uint64_t start, uint64_t end, int error)
{
	(void)forget_clean(d, start, end); /* fails only with the set, and then nothing is read from it */
	return error;
}

/*
 * How writes of user data go to the backing device. Strictly, what a fill or write-through puts into the cache must not outlive what
 * backing has: durable at once, then.
 */
static unsigned backing_flags(const struct bdev *d, bool sync)
{
	return sync || d->strict_writethrough ? BIO_FUA : 0;
}

/* --- writes ---------------------------------------------------------------------------------------------------------------- */

enum write_way {
	WRITE_BACK,    /* to the cache, dirty */
	WRITE_THROUGH, /* to both */
	WRITE_AROUND,  /* to backing; the cache forgets the range */
};
struct write {
	struct bdev *d;
	const char *buf;
	uint64_t start, end;
	uint64_t stream;
	bool sync;
	bool ordered;  /* dirty data underneath: backing durable first, then the index (R2.4) */
	enum write_way way;
	uint64_t seq;  /* newest journal entry with a key of this write */
};

/*
 * Choose the way (§2.6). The order of the first two steps matters: dropping this range from the keybuf and then holding it keeps writeback
 * from starting on old data that would overtake us on the way to backing; if it has started, only the cache can be newer (I-15).
 * Waits for btree reads, holding the range.
 */
static int write_choose(struct write *w, const struct bcf_io *io)
{
	struct bdev *d = w->d;
	struct cset *c = d->set;
	bool started = writeback_overlaps(d, w->start, w->end);
	bool bypass = request_bypass(d, w->start, w->end, true, io) != BYPASS_NO;
	bool dirty = false;
	struct writeback_input in = {
		.mode = bdev_cache_mode(d),
		.detaching = d->detaching,
		.sync = w->sync,
		.would_bypass = bypass,
		.touches_dirty_stripe = d->writeback.partial_stripes && stripes_touch_dirty(&d->writeback.stripes, w->start, w->end),
		.in_use_percent = alloc_in_use_percent(c),
		.cutoff_writeback = c->cutoff_writeback,
		.cutoff_writeback_sync = c->cutoff_writeback_sync,
	};
	enum writeback_refusal refusal = policy_refuses_writeback(&in);
	int r;

	w->ordered = false;
	w->way = WRITE_BACK;
	if (started || refusal == WRITEBACK_ACCEPTED)
		return 0;
	r = range_has_dirty(d, w->start, w->end, &dirty);
	if (r < 0)
		return r;
	if (dirty && in.mode == CACHE_MODE_WRITEBACK && !d->detaching && in.in_use_percent <= c->cutoff_writeback_sync)
		return 0;
	if (in.mode == CACHE_MODE_WRITEBACK)
		reason_add(&d->writeback_refusals[refusal], w->end - w->start);
	w->ordered = dirty;
	w->way = bypass ? WRITE_AROUND : WRITE_THROUGH;
	return 0;
}

/*
 * The cache could not take dirty data (R2.8), or has no room for it: write the rest to backing, make that durable, and only then forget what the cache has. A
 * writeback of old data that is under way must land first. Waits for disks, journal, btree, and for one writeback batch.
 */
static int write_back_elsewhere(struct write *w, uint64_t from)
{
	struct bdev *d = w->d;
	int r;

	if (bdev_is_flash(d))
		return -EIO;
	w->way = WRITE_AROUND;
	writeback_wait_started(d, from, w->end);
	r = d->strict_writethrough ? forget_clean(d, from, w->end) : 0;
	if (r < 0)
		return r;
	r = backing_write(d, w->buf + (from - w->start) * SECTOR_BYTES, from, w->end, 0);
	if (!r)
		r = request_backing_flush(d);
	if (r < 0)
		return backing_unknown(d, from, w->end, r);
	return insert_invalidate(d, from, w->end, &w->seq);
}

/* Waits for the DIRTY superblock (first write only), buckets, disks, journal, btree. */
static int write_back(struct write *w)
{
	struct insert_op op = {
		.d = w->d, .kind = INSERT_DIRTY, .start = w->start, .end = w->end, .data = w->buf, .stream = w->stream,
	};
	int r = writeback_write_begin(w->d); /* R1.6 */

	if (r < 0)
		return -EIO;
	r = insert_data(&op);
	w->seq = op.seq;
	w->d->writeback.sectors_dirtied += op.cursor - op.start;
	if (r == -EIO || r == -EAGAIN) {
		reason_add(&w->d->writeback_refusals[r == -EIO ? REFUSED_CACHE_ERROR : REFUSED_NO_BUCKET], w->end - op.cursor);
		r = write_back_elsewhere(w, op.cursor);
	}
	writeback_write_end(w->d);
	return r;
}

/*
 * Dirty sectors lie below (R2.4): no key that covers them may become durable before the backing device durably holds the new data. On failure
 * the dirty keys stay; backing may hold either version, and what is dirty will be written again.
 */
static int write_ordered(struct write *w)
{
	struct bdev *d = w->d;
	int r = backing_write(d, w->buf, w->start, w->end, 0);

	if (!r)
		r = request_backing_flush(d);
	return r < 0 ? backing_unknown(d, w->start, w->end, r) : 0;
}

/*
 * Write-through and write-around. The index is touched only after the backing write completed: a miss in between reads either version but
 * caches neither (R2.5), and a failed backing write leaves no cached copy (R2.7).
 */
static int write_to_backing(struct write *w)
{
	struct bdev *d = w->d;
	struct insert_op op = {
		.d = d, .kind = INSERT_CLEAN, .start = w->start, .end = w->end, .data = w->buf, .stream = w->stream,
	};
	struct backing_write b = { .pending = false, .error = 0 };
	int r = d->strict_writethrough ? forget_clean(d, w->start, w->end) : 0;

	if (r < 0)
		return r;
	if (w->ordered)
		r = write_ordered(w);
	else
		backing_write_start(&b, d, w->buf, w->start, w->end, backing_flags(d, w->sync));
	if (r < 0)
		return r;
	op.backing = &b;
	if (w->way == WRITE_THROUGH) {
		r = insert_data(&op);
		w->seq = op.seq;
	}
	if (backing_write_wait(&b) < 0) {
		r = insert_invalidate(d, w->start, w->end, &w->seq);
		return r < 0 ? r : -EIO;
	}
	if (w->way == WRITE_AROUND)
		r = insert_invalidate(d, w->start, w->end, &w->seq);
	return r;
}

/*
 * Holds the range (the caller). Waits for everything a write may wait for; see the header. A sync write is durable only when the index entry is,
 * even if its data is on backing: an older cached copy would otherwise come back with the old index.
 */
int request_write(struct bdev *d, const void *buf, uint64_t start, uint64_t end, const struct bcf_io *io, enum io_path *ret_path)
{
	static const enum io_path paths[] = {
		[WRITE_BACK] = PATH_WRITE_BACK, [WRITE_THROUGH] = PATH_WRITE_THROUGH, [WRITE_AROUND] = PATH_WRITE_AROUND,
	};
	struct write w = { .d = d, .buf = buf, .start = start, .end = end, .stream = request_stream(io), .sync = io->sync };
	int r;

	*ret_path = PATH_WRITE_AROUND;
	if (!d->set)
		return backing_write(d, buf, start, end, backing_flags(d, io->sync));
	w.way = WRITE_BACK;
	if (!bdev_is_flash(d)) {
		r = write_choose(&w, io);
		if (r < 0)
			return -EIO;
	}
	r = w.way == WRITE_BACK ? write_back(&w) : write_to_backing(&w);
	*ret_path = paths[w.way];
	if (!r && w.sync && w.seq)
		r = journal_wait(d->set, w.seq);
	return r < 0 ? -EIO : 0;
}

/* --- zeroing --------------------------------------------------------------------------------------------------------------- */

/*
 * Zeros on backing first, then the cache forgets (§2.7); with dirty sectors below, durably so (R2.4). There is no data to put into the cache
 * instead, so a writeback of old data that is under way is waited for: it would land on top of the zeros.
 * Holds the range (the caller). Waits for disks, journal, btree, and for one writeback batch.
 */
int request_zero(struct bdev *d, uint64_t start, uint64_t end)
{
	bool dirty = false;
	uint64_t seq;
	int r = 0;

	if (!d->set) {
		r = backing_zero(d, start, end);
		return r || !d->strict_writethrough ? r : request_backing_flush(d);
	}
	if (!bdev_is_flash(d)) {
		count_bypass(d, BYPASS_DISCARD, end - start);
		if (writeback_overlaps(d, start, end))
			writeback_wait_started(d, start, end);
		r = range_has_dirty(d, start, end, &dirty);
		if (!r && d->strict_writethrough)
			r = forget_clean(d, start, end);
		if (r < 0)
			return r;
		r = backing_zero(d, start, end);
		if (r == 0 && (dirty || d->strict_writethrough))
			r = request_backing_flush(d);
		if (r < 0 && dirty)
			return backing_unknown(d, start, end, r); /* the dirty keys stay */
	}
	return insert_invalidate(d, start, end, &seq) < 0 ? -EIO : r;
}

/* --- flush ----------------------------------------------------------------------------------------------------------------- */

struct journal_flusher {
	struct cset *c;
	int error;
};

static void journal_flush_main(void *arg)
{
	struct journal_flusher *f = arg;

	f->error = journal_flush(f->c);
}

/* Journal and backing device, side by side if both have something to make durable: each covers what the other does not. Waits for them. */
int request_flush(struct bdev *d)
{
	struct journal_flusher f = { .c = d->set, .error = 0 };
	struct fiber *fiber;
	int r = 0;

	if (!d->set)
		return request_backing_flush(d);
	if (bdev_is_flash(d) || d->backing_flushed >= d->backing_writes)
		return journal_flush(d->set) < 0 ? -EIO : 0;
	fiber = fiber_spawn("flush", journal_flush_main, &f);
	if (!fiber)
		journal_flush_main(&f);
	r = request_backing_flush(d);
	if (fiber)
		fiber_join(fiber);
	return r < 0 || f.error < 0 ? -EIO : 0;
}
