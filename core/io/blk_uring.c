/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bio is a small state machine over io_uring operations, one in flight at a time. Its state lives in bio->priv: no allocation.
 *
 *	WRITE, ZERO:  [PREFLUSH →] [HELD →] transfer … [→ SYNC] → end
 *	transfer:     DIRECT (into the caller's memory), or BOUNCE chunk by chunk; a WRITE chunk that covers blocks only in part is
 *	              FILL (read the blocks) first
 *	ZERO:         PUNCH → ZERO_RANGE (block devices) → zeros through BOUNCE, each when the one before is not supported
 *	FLUSH:        SYNC → end;   DISCARD: PUNCH on files, a worker thread's ioctl on block devices
 *
 * HELD: requests finer than the device's block read and rewrite bytes of their neighbours, so they run with no other write beside them.
 */
#include "core/io/blk_uring.h"
#include "core/engine/engine_uring.h"
#include "core/io/blk_target.h"
#include "core/util/iov.h"
#include "formats/printbuf.h"
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define BOUNCE_BYTES (128u * 1024)
#define MAX_BOUNCE_BUFFERS 16
/* EAGAIN comes when the kernel is short of something; each retry costs a turn of the loop. Then it is an error. */
#define MAX_RETRIES 10000

struct bounce {
	struct list link;
	char *mem;
};

struct uring_dev {
	struct blkdev dev;
	struct blk_target target;
	struct engine *engine;
	/* Bounce buffers: the first exists from open on, so that there is always progress. */
	struct list free_bounces;
	unsigned nr_bounces;
	struct list want_bounce; /* bios */
	/* Only used when a block is larger than a sector. */
	struct list held; /* bios */
	unsigned nr_writing;
	bool exclusive; /* the one that is writing is alone */
};

enum stage { PREFLUSH, DIRECT, BOUNCE, FILL, PUNCH, ZERO_RANGE, SYNC, DISCARD };

struct uring_bio {
	struct uring_op op;
	uint64_t done_bytes;
	struct bounce *bounce;
	struct list link;
	uint32_t want_bytes; /* of the operation in flight */
	uint16_t retries;
	uint8_t stage;
	bool counted;	     /* in nr_writing */
	int16_t fua_error;   /* != 0: a FUA write failed with it, and is now tried without */
};
static_assert(sizeof(struct uring_bio) <= sizeof(((struct bio *)0)->priv), "state fits in the bio");

static struct uring_dev *uring_dev(struct blkdev *dev)
{
	return container_of(dev, struct uring_dev, dev);
}

static struct uring_bio *state(struct bio *bio)
{
	return (struct uring_bio *)bio->priv;
}

static struct bio *bio_of(struct uring_bio *u)
{
	return container_of((uint64_t(*)[8])u, struct bio, priv);
}

static uint64_t bio_offset(const struct bio *bio)
{
	return bio->sector << SECTOR_SHIFT;
}

static uint64_t bio_bytes(const struct bio *bio)
{
	return bio->nr_sectors << SECTOR_SHIFT;
}

static bool is_write(const struct bio *bio)
{
	return bio->op == BIO_WRITE || bio->op == BIO_ZERO;
}

/* --- bounce buffers ------------------------------------------------------------------------------------------------- */

static struct bounce *bounce_new(void)
{
	struct bounce *b = malloc(sizeof(*b));
	void *mem;

	if (!b)
		return NULL;
	if (posix_memalign(&mem, PAGE_BYTES, BOUNCE_BYTES)) {
		free(b);
		return NULL;
	}
	b->mem = mem;
	return b;
}

static bool bounce_add(struct uring_dev *d)
{
	struct bounce *b = d->nr_bounces < MAX_BOUNCE_BUFFERS ? bounce_new() : NULL;

	if (!b)
		return false;
	d->nr_bounces++;
	list_add(&d->free_bounces, &b->link);
	return true;
}

static struct bounce *bounce_take(struct uring_dev *d)
{
	struct bounce *b;

	if (list_empty(&d->free_bounces) && !bounce_add(d))
		return NULL;
	b = list_first(&d->free_bounces, struct bounce, link);
	list_del(&b->link);
	return b;
}

static void bounces_free(struct uring_dev *d)
{
	struct bounce *b;

	while ((b = list_first(&d->free_bounces, struct bounce, link))) {
		list_del(&b->link);
		free(b->mem);
		free(b);
	}
}

/* --- who may write now ---------------------------------------------------------------------------------------------- */

static bool is_partial(const struct bio *bio)
{
	return (bio_offset(bio) | bio_bytes(bio)) & (bio->dev->logical_block_bytes - 1);
}

static bool may_write(const struct uring_dev *d, const struct bio *bio)
{
	return !d->exclusive && (!is_partial(bio) || !d->nr_writing);
}

static void count_writer(struct uring_dev *d, struct bio *bio)
{
	d->nr_writing++;
	d->exclusive = is_partial(bio);
	state(bio)->counted = true;
}

static void transfer_start(struct bio *bio);

static void release_held(struct uring_dev *d)
{
	struct uring_bio *u;

	while ((u = list_first(&d->held, struct uring_bio, link)) && may_write(d, bio_of(u))) {
		list_del(&u->link);
		count_writer(d, bio_of(u));
		transfer_start(bio_of(u));
	}
}

/* --- the end -------------------------------------------------------------------------------------------------------- */

static void bounce_transfer(struct bio *bio);

static void give_back_bounce(struct uring_dev *d, struct uring_bio *u)
{
	struct uring_bio *next = list_first(&d->want_bounce, struct uring_bio, link);

	if (!u->bounce)
		return;
	if (!next) {
		list_add(&d->free_bounces, &u->bounce->link);
		return;
	}
	list_del(&next->link);
	next->bounce = u->bounce;
	bounce_transfer(bio_of(next));
}

/* Valgrind does not see what the kernel writes for io_uring. */
static void tell_valgrind(const struct bio *bio)
{
	for (unsigned i = 0; bio->op == BIO_READ && i < bio->nr_iov; i++)
		VALGRIND_MAKE_MEM_DEFINED(bio->iov[i].iov_base, bio->iov[i].iov_len);
}

static void finish(struct bio *bio, int error)
{
	struct uring_dev *d = uring_dev(bio->dev);
	struct uring_bio *u = state(bio);

	if (RUNNING_ON_VALGRIND && !error)
		tell_valgrind(bio);
	give_back_bounce(d, u);
	if (u->counted) {
		d->nr_writing--;
		d->exclusive = false;
		release_held(d);
	}
	bio_end(bio, error);
}

/* --- operations ----------------------------------------------------------------------------------------------------- */

static struct io_uring_sqe *get_sqe(struct bio *bio, enum stage stage, size_t want_bytes)
{
	struct uring_bio *u = state(bio);

	u->stage = (uint8_t)stage;
	u->want_bytes = (uint32_t)want_bytes;
	return engine_uring_sqe(uring_dev(bio->dev)->engine, &u->op);
}

static void sync_start(struct bio *bio, enum stage stage)
{
	io_uring_prep_fsync(get_sqe(bio, stage, 0), uring_dev(bio->dev)->target.fd, IORING_FSYNC_DATASYNC);
}

static void fallocate_start(struct bio *bio, enum stage stage, int mode)
{
	struct io_uring_sqe *sqe = get_sqe(bio, stage, 0);

	io_uring_prep_fallocate(sqe, uring_dev(bio->dev)->target.fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)bio_offset(bio),
				(off_t)bio_bytes(bio));
}

static void rw_flags(struct bio *bio, struct io_uring_sqe *sqe)
{
	if (bio->flags & BIO_FUA && !state(bio)->fua_error)
		sqe->rw_flags = RWF_DSYNC;
}

/* One operation on the caller's memory, from done_bytes on. */
static void direct_transfer(struct bio *bio)
{
	int fd = uring_dev(bio->dev)->target.fd;
	uint64_t done_bytes = state(bio)->done_bytes, offset = bio_offset(bio) + done_bytes;
	struct io_uring_sqe *sqe;
	struct iov_window w;

	iov_window_at(&w, bio->iov, bio->nr_iov, done_bytes);
	sqe = get_sqe(bio, DIRECT, w.len_bytes);
	/* A window of one item is passed by address, so w itself need not outlive this function. */
	if (w.nr_iov == 1 && bio->op == BIO_READ)
		io_uring_prep_read(sqe, fd, w.iov->iov_base, (unsigned)w.iov->iov_len, offset);
	else if (w.nr_iov == 1)
		io_uring_prep_write(sqe, fd, w.iov->iov_base, (unsigned)w.iov->iov_len, offset);
	else if (bio->op == BIO_READ)
		io_uring_prep_readv(sqe, fd, w.iov, w.nr_iov, offset);
	else
		io_uring_prep_writev(sqe, fd, w.iov, w.nr_iov, offset);
	if (bio->op == BIO_WRITE)
		rw_flags(bio, sqe);
}

/* The chunk at done_bytes: user bytes [from, to), inside whole device blocks [start, end). All are offsets on the device. */
struct chunk {
	uint64_t start, end, from, to;
};

static struct chunk bounce_chunk(const struct bio *bio, uint64_t done_bytes)
{
	uint32_t block = bio->dev->logical_block_bytes;
	struct chunk c;

	c.from = bio_offset(bio) + done_bytes;
	c.start = round_down_u64(c.from, block);
	c.to = min(bio_offset(bio) + bio_bytes(bio), c.start + BOUNCE_BYTES);
	c.end = round_up_u64(c.to, block);
	return c;
}

static void bounce_rw(struct bio *bio, enum stage stage, bool write)
{
	struct uring_bio *u = state(bio);
	struct chunk c = bounce_chunk(bio, u->done_bytes);
	struct io_uring_sqe *sqe = get_sqe(bio, stage, c.end - c.start);
	int fd = uring_dev(bio->dev)->target.fd;

	if (!write) {
		io_uring_prep_read(sqe, fd, u->bounce->mem, u->want_bytes, c.start);
		return;
	}
	io_uring_prep_write(sqe, fd, u->bounce->mem, u->want_bytes, c.start);
	rw_flags(bio, sqe);
}

static void bounce_write(struct bio *bio)
{
	struct uring_bio *u = state(bio);
	struct chunk c = bounce_chunk(bio, u->done_bytes);
	char *mem = u->bounce->mem + (c.from - c.start);

	if (bio->op == BIO_ZERO)
		memset(mem, 0, c.to - c.from);
	else
		iov_gather(mem, bio->iov, bio->nr_iov, u->done_bytes, c.to - c.from);
	bounce_rw(bio, BOUNCE, true);
}

static void bounce_transfer(struct bio *bio)
{
	struct chunk c = bounce_chunk(bio, state(bio)->done_bytes);

	if (bio->op == BIO_READ)
		bounce_rw(bio, BOUNCE, false);
	else if (c.start != c.from || c.end != c.to)
		bounce_rw(bio, FILL, false);
	else
		bounce_write(bio);
}

static void bounce_start(struct bio *bio)
{
	struct uring_dev *d = uring_dev(bio->dev);
	struct uring_bio *u = state(bio);

	u->bounce = bounce_take(d);
	if (u->bounce)
		bounce_transfer(bio);
	else
		list_add_tail(&d->want_bounce, &u->link);
}

static bool needs_bounce(const struct bio *bio)
{
	const struct uring_dev *d = uring_dev(bio->dev);
	uintptr_t bits = 0;

	if (!d->target.direct)
		return false;
	for (unsigned i = 0; i < bio->nr_iov; i++)
		bits |= (uintptr_t)bio->iov[i].iov_base | bio->iov[i].iov_len;
	return (bits & (d->target.memory_align - 1)) || is_partial(bio);
}

static void transfer_start(struct bio *bio)
{
	if (bio->op == BIO_ZERO)
		fallocate_start(bio, PUNCH, FALLOC_FL_PUNCH_HOLE);
	else if (needs_bounce(bio))
		bounce_start(bio);
	else
		direct_transfer(bio);
}

static void write_start(struct bio *bio)
{
	struct uring_dev *d = uring_dev(bio->dev);

	if (bio->dev->logical_block_bytes > SECTOR_BYTES) {
		if (!list_empty(&d->held) || !may_write(d, bio)) {
			list_add_tail(&d->held, &state(bio)->link);
			return;
		}
		count_writer(d, bio);
	}
	transfer_start(bio);
}

/* --- results -------------------------------------------------------------------------------------------------------- */

/* The same operation again, or the rest of it. */
static void repeat(struct bio *bio)
{
	switch ((enum stage)state(bio)->stage) {
	case DIRECT:
		direct_transfer(bio);
		break;
	case BOUNCE:
	case FILL:
		bounce_transfer(bio);
		break;
	case PUNCH:
		fallocate_start(bio, PUNCH, FALLOC_FL_PUNCH_HOLE);
		break;
	case ZERO_RANGE:
		fallocate_start(bio, ZERO_RANGE, FALLOC_FL_ZERO_RANGE);
		break;
	case PREFLUSH:
	case SYNC:
	case DISCARD:
		assert(!"not repeated");
	}
}

/*
 * A transfer of nothing will not do better next time. A direct one that stops inside a block (at the ragged end of a file that
 * shrank, say) can only go on from its start.
 */
static void progress(struct bio *bio, uint64_t bytes)
{
	struct uring_bio *u = state(bio);

	bytes = round_down_u64(bytes, u->stage == DIRECT ? bio->dev->logical_block_bytes : SECTOR_BYTES);
	if (!bytes) {
		finish(bio, -EIO);
		return;
	}
	u->retries = 0;
	u->done_bytes += bytes;
	if (u->done_bytes < bio_bytes(bio))
		repeat(bio);
	else
		finish(bio, 0);
}

/* A short chunk is taken as far as it covers the caller's bytes; the next chunk starts where it stopped. */
static void bounced(struct bio *bio, uint64_t bytes)
{
	struct uring_bio *u = state(bio);
	struct chunk c = bounce_chunk(bio, u->done_bytes);
	uint64_t skip = c.from - c.start;
	uint64_t got = bytes > skip ? min(bytes - skip, c.to - c.from) : 0;

	if (bio->op == BIO_READ)
		iov_scatter(bio->iov, bio->nr_iov, u->done_bytes, u->bounce->mem + skip, got);
	progress(bio, got);
}

static void filled(struct bio *bio, uint64_t bytes)
{
	VALGRIND_MAKE_MEM_DEFINED(state(bio)->bounce->mem, bytes);
	if (bytes < state(bio)->want_bytes) /* the block's other half is unknown */
		finish(bio, -EIO);
	else
		bounce_write(bio);
}

static void zero_unsupported(struct bio *bio)
{
	struct uring_dev *d = uring_dev(bio->dev);

	if (state(bio)->stage == PUNCH && d->target.is_block)
		fallocate_start(bio, ZERO_RANGE, FALLOC_FL_ZERO_RANGE); /* the kernel writes the zeros, or the device does */
	else
		bounce_start(bio);
}

static void zeroed(struct bio *bio, int res)
{
	if (res < 0)
		zero_unsupported(bio); /* or failed: then writing will tell the true error */
	else if (bio->flags & BIO_FUA)
		sync_start(bio, SYNC);
	else
		finish(bio, 0);
}

static void discard_done(struct bio *bio, int error)
{
	if (error == -EOPNOTSUPP) {
		bio->dev->can_discard = false; /* do not ask again */
		error = 0;
	}
	finish(bio, error);
}

/*
 * RWF_DSYNC writes and syncs, and one number tells of both. Whether the device refuses these sectors, or has lost what a flush was to save (R0.4),
 * is found out by writing them once more without it.
 */
static bool failed_fua(struct bio *bio, int error)
{
	struct uring_bio *u = state(bio);

	if (bio->op != BIO_WRITE || !(bio->flags & BIO_FUA) || (u->stage != DIRECT && u->stage != BOUNCE))
		return false;
	u->fua_error = (int16_t)error;
	u->retries = 0;
	repeat(bio);
	return true;
}

static void failed(struct bio *bio, int error)
{
	if (failed_fua(bio, error))
		return;
	bio->flush_failed = state(bio)->stage == PREFLUSH || state(bio)->stage == SYNC;
	if (bio->op == BIO_ZERO && state(bio)->stage >= PUNCH && state(bio)->stage <= ZERO_RANGE)
		zeroed(bio, error);
	else if (bio->op == BIO_DISCARD)
		discard_done(bio, error);
	else
		finish(bio, error);
}

/* A sync is never asked twice: the first answer may have been the only one with the news (R0.4). */
static bool may_retry(const struct uring_bio *u, int res)
{
	return (res == -EAGAIN || res == -EINTR) && u->stage != PREFLUSH && u->stage != SYNC && u->stage != DISCARD;
}

static void op_done(struct uring_op *op, int res)
{
	struct uring_bio *u = container_of(op, struct uring_bio, op);
	struct bio *bio = bio_of(u);

	if (may_retry(u, res) && u->retries++ < MAX_RETRIES) {
		repeat(bio);
		return;
	}
	if (u->fua_error && u->stage != FILL) { /* FILL only comes before it */
		bio->flush_failed = res >= 0;
		finish(bio, u->fua_error);
		return;
	}
	if (res < 0) {
		failed(bio, res == -EAGAIN || res == -EINTR ? -EIO : res);
		return;
	}
	switch ((enum stage)u->stage) {
	case PREFLUSH:
		if (bio->dev->flush_lost)
			failed(bio, -EIO);
		else
			write_start(bio); /* only now: R0.3 */
		break;
	case DIRECT:
		progress(bio, (uint64_t)res);
		break;
	case BOUNCE:
		bounced(bio, (uint64_t)res);
		break;
	case FILL:
		filled(bio, (uint64_t)res);
		break;
	case PUNCH:
	case ZERO_RANGE:
		zeroed(bio, res);
		break;
	case SYNC:
		if (bio->dev->flush_lost)
			failed(bio, -EIO);
		else
			finish(bio, 0);
		break;
	case DISCARD:
		finish(bio, 0);
		break;
	}
}

/* --- discard of a block device -------------------------------------------------------------------------------------- */

struct discard_job {
	uint64_t range[2];
	int fd, error;
};

static void discard_ioctl(void *arg)
{
	struct discard_job *job = arg;

	job->error = ioctl(job->fd, BLKDISCARD, job->range) < 0 ? -errno : 0;
}

static void discard_fiber(void *arg)
{
	struct bio *bio = arg;
	struct discard_job job = { .range = { bio_offset(bio), bio_bytes(bio) }, .fd = uring_dev(bio->dev)->target.fd };

	offload(discard_ioctl, &job); /* the ioctl waits for the device; io_uring has a command for it only since 6.12 */
	discard_done(bio, job.error);
}

static void discard_start(struct bio *bio)
{
	if (!bio->dev->can_discard)
		finish(bio, 0);
	else if (!uring_dev(bio->dev)->target.is_block)
		fallocate_start(bio, DISCARD, FALLOC_FL_PUNCH_HOLE);
	else if (fiber_spawn_detached("discard", discard_fiber, bio) < 0)
		finish(bio, 0);
}

/* --- the table ------------------------------------------------------------------------------------------------------ */

static void uring_submit(struct bio *bio)
{
	struct uring_dev *d = uring_dev(bio->dev);
	struct uring_bio *u = state(bio);

	if (d->target.in_memory) {
		bio_end(bio, blk_target_perform(&d->target, bio));
		return;
	}
	*u = (struct uring_bio){ .op.done = op_done };
	if (bio->op == BIO_FLUSH)
		sync_start(bio, SYNC);
	else if (bio->op == BIO_DISCARD)
		discard_start(bio);
	else if (bio->flags & BIO_PREFLUSH)
		sync_start(bio, PREFLUSH);
	else if (is_write(bio))
		write_start(bio);
	else
		transfer_start(bio);
}

static void uring_close(struct blkdev *dev)
{
	struct uring_dev *d = uring_dev(dev);

	bounces_free(d);
	blk_target_release(&d->target, dev);
	free(d);
}

static const struct blkdev_ops uring_ops = { .submit = uring_submit, .close = uring_close };

static struct uring_dev *uring_dev_new(void)
{
	struct uring_dev *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->dev.ops = &uring_ops;
	d->engine = engine_self();
	list_init(&d->free_bounces);
	list_init(&d->want_bounce);
	list_init(&d->held);
	if (bounce_add(d))
		return d;
	free(d);
	return NULL;
}

int blk_uring_open(const char *path, bool read_only, struct blkdev **ret, struct printbuf *why)
{
	struct uring_dev *d;
	int r;

	assert(engine_is_uring(engine_self()));
	if (path[0] != '/') {
		pr(why, "'%s' is not an absolute path", path);
		return -EINVAL;
	}
	d = uring_dev_new();
	if (!d)
		return -ENOMEM;
	r = blk_target_open(path, read_only, true, &d->target, &d->dev, why);
	if (r < 0) {
		bounces_free(d);
		free(d);
		return r;
	}
	*ret = &d->dev;
	return 0;
}

void blk_uring_pretend_block_bytes(struct blkdev *dev, uint32_t block_bytes)
{
	struct uring_dev *d = uring_dev(dev);

	assert(!dev->in_flight && is_power_of_two(block_bytes) && block_bytes >= SECTOR_BYTES && block_bytes <= BOUNCE_BYTES);
	dev->logical_block_bytes = block_bytes;
	d->target.memory_align = block_bytes;
	d->target.direct = block_bytes > SECTOR_BYTES; /* as far as needs_bounce() is concerned */
	d->target.in_memory = false;
}
