/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Block devices: the storage seam. Everything that touches a device's bytes goes through this table.
 *
 * The contract, which every implementation keeps and every caller may rely on:
 *
 *  1. Addresses and lengths are whole sectors inside the device; memory may lie anywhere. A device whose alignment is stricter
 *     than a request bounces it (and does read-modify-write if even the length is too fine) without the caller noticing.
 *  2. blk_submit() never yields and never fails: the outcome is bio->error, and bio->done runs exactly once, on the engine loop or
 *     before blk_submit() returns. done() must not yield; it may submit further bios.
 *  3. Bios are unordered among each other, even to the same sectors. Who needs an order waits.
 *  4. A completed write is visible to every later read. It is durable only after a flush that was *submitted after the write
 *     completed* has itself completed without error (R0.3), or when it carried BIO_FUA.
 *  5. BIO_PREFLUSH on a write: everything completed before submission is durable before this write is started.
 *  6. A flush that failed is a device failure; nothing may be assumed about what it covered, and it is not retried (R0.4). It is final: from
 *     then on every flush of this opening fails, those in flight too, and a write behind such a flush (PREFLUSH) is not done. (The kernel
 *     tells of lost pages once; a second flush that succeeds has saved what the first one lost no more than the first.) A failed write
 *     tells by flush_failed whether a flush that it asked for (PREFLUSH, FUA) is what failed, or only the writing of its own sectors.
 *  7. Short transfers are continued, EINTR and EAGAIN retried by the implementation (R0.5). A transfer that cannot make progress is -EIO.
 *  8. BIO_ZERO: the sectors read as zeros afterwards (a hole where the device can), with the durability of a write.
 *     BIO_DISCARD: the contents become undefined; pure advice, may do nothing; an error is worth a line in the log and nothing else.
 *  9. A bio and its memory must stay in place, and written memory unchanged, from blk_submit() until done(). In done() both are
 *     the caller's again: it may free or reuse the bio.
 */
#include "core/engine/sync.h"
#include <sys/uio.h>

enum bio_op { BIO_READ, BIO_WRITE, BIO_FLUSH, BIO_ZERO, BIO_DISCARD };
#define BIO_FUA 1u	/* durable when done */
#define BIO_PREFLUSH 2u

#define BIO_INLINE_IOV 1

struct blkdev;
struct bio {
	struct blkdev *dev;
	enum bio_op op;
	unsigned flags;
	uint64_t sector;
	uint64_t nr_sectors;	/* also for vectors: the sum of iov lengths / 512 */
	const struct iovec *iov; /* points to inline_iov or to the caller's vector, which must outlive the bio */
	unsigned nr_iov;
	struct iovec inline_iov[BIO_INLINE_IOV];
	int error;		/* 0 or -errno, valid in done() */
	bool flush_failed;	/* with error: contract 6 */
	void (*done)(struct bio *bio);
	uint64_t submit_ns;	/* set by blk_submit: for latency figures */
	uint64_t priv[8];	/* scratch of the implementation */
};

/*
 * An implementation sees only requests that are inside the device, not empty, and allowed by read_only. It ends each by bio_end().
 */
struct blkdev_ops {
	void (*submit)(struct bio *bio);
	void (*close)(struct blkdev *dev); /* frees dev; no bio is in flight */
};

struct blk_identity { /* equal for two opens of the same storage */
	uint64_t dev, ino;
};

struct blkdev {
	const struct blkdev_ops *ops;
	char *path;		      /* for messages; owned */
	uint64_t nr_sectors;
	uint32_t logical_block_bytes; /* what the device itself demands; 512 when it does not care */
	uint32_t physical_sectors;    /* finer writes make the device read first; a power of two, 0 = unknown */
	uint32_t optimal_io_sectors;  /* 0 = unknown */
	bool partial_stripes_expensive; /* parity RAID */
	bool read_only;
	bool can_discard;
	bool rotational;
	struct blk_identity id;
	bool flush_lost;	      /* a flush has failed: contract 6 */
	unsigned in_flight;
};

/* Prepare a one-buffer bio. */
void bio_init(struct bio *bio, struct blkdev *dev, enum bio_op op, uint64_t sector, void *buf, uint64_t nr_sectors, unsigned flags,
	      void (*done)(struct bio *));
void bio_init_vec(struct bio *bio, struct blkdev *dev, enum bio_op op, uint64_t sector, const struct iovec *iov, unsigned nr_iov,
		  unsigned flags, void (*done)(struct bio *));
/* Out-of-range and read-only requests end with -EIO / -EROFS through done(). Empty reads, writes, zeros and discards end with 0. */
void blk_submit(struct bio *bio);
/* For implementations: the bio's outcome. Calls done(), or leaves that to the loop when calls are nested too deep for a fiber's stack. */
void bio_end(struct bio *bio, int error);

/* Submit and wait. 0 or -errno. */
FIBER_FN MUST_CHECK int blk_read(struct blkdev *d, uint64_t sector, void *buf, uint64_t nr_sectors);
FIBER_FN MUST_CHECK int blk_write(struct blkdev *d, uint64_t sector, const void *buf, uint64_t nr_sectors, unsigned flags);
FIBER_FN MUST_CHECK int blk_flush(struct blkdev *d);
FIBER_FN MUST_CHECK int blk_zero(struct blkdev *d, uint64_t sector, uint64_t nr_sectors);
FIBER_FN void blk_discard(struct blkdev *d, uint64_t sector, uint64_t nr_sectors);
/* Close; NULL is fine. Asserts that nothing is in flight. */
void blk_close(struct blkdev *d);

/*
 * Group flush: one device flush serves every caller that arrived before it was submitted. Returns its outcome; a failure is
 * reported to each caller it covered, and to everyone later: the kernel may have dropped what a failed flush did not write, so
 * the success of a later one proves nothing (R0.4). flush_group_init() forgets, for a device that was opened anew.
 */
struct flush_group {
	struct blkdev *dev;
	bool running;
	int failed;	     /* first error, sticky */
	uint64_t nr_flushes; /* device flushes submitted */
	uint64_t nr_calls;
	struct list waiting; /* callers the next flush will cover */
};
void flush_group_init(struct flush_group *g, struct blkdev *dev);
FIBER_FN MUST_CHECK int flush_group_flush(struct flush_group *g);
