/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A disk in memory that is as unkind as the contract of blk.h permits, and survives power cuts as real disks do.
 *
 * Vocabulary: *visible* contents are what reads return; *durable* contents are what a power cut cannot take. Between them stands the
 * volatile cache: the unflushed writes, each with its own copy of the data.
 *
 *  - Each bio completes after a random latency, so completions come in any order.
 *  - A write becomes visible in one or two pieces, at submission or at completion; so reads may see half of a write in flight.
 *    A read returns the contents of its submission or of its completion; its buffer holds rubbish in between.
 *  - A flush makes durable what had completed when it was submitted, nothing else. FUA: durable at completion. PREFLUSH: the write
 *    exists nowhere before its flush is done. A cache that is full writes its oldest through.
 *  - A fault on writes leaves the flush of a PREFLUSH alone; one on writes and flushes hits the one or the other (bio->flush_failed).
 *  - A failed write has reached the disk not at all, in part, or wholly. A failed flush has made some of its writes durable and lost
 *    the others for good: they stay visible, and no later flush saves them (R0.4).
 *  - Of a discarded range, each sector keeps its contents, or gets back older ones, or becomes zeros, or rubbish.
 *
 * Power: devices that share a struct blk_sim_power lose it together. Each submission and each completion is an event; at event number
 * cut_at the power goes: no bio completes any more, and engine_run() returns -ECANCELED. To cut at every event: run once with
 * cut_at = 0 to learn nr_events, then once for each number with the same seed.
 *
 * A crash: each unflushed write, completed or in flight, is independently kept, dropped, or torn at sector boundaries. Several
 * outcomes of one cut are explored with blk_sim_clone().
 */
#include "core/io/blk.h"

struct blk_sim_power {
	uint64_t nr_events;
	uint64_t cut_at; /* 0: never */
	bool off;
	void (*on_event)(struct blk_sim_power *p); /* may choose cut_at, from nr_events on; NULL: nobody wants to know */
};

struct blk_sim_options {
	const char *name;		     /* also its identity: give different ones */
	uint64_t nr_sectors;
	uint32_t logical_block_bytes;	     /* reported; 0 = 512 */
	uint32_t physical_sectors;	     /* reported */
	uint64_t min_latency_ns, max_latency_ns; /* 0, 0: 20 us … 200 us */
	uint64_t cache_bytes;		     /* volatile cache; 0: 64 MiB */
	bool write_through;		     /* no volatile cache: a write is durable when complete */
	struct blk_sim_power *power;	     /* NULL: never fails */
	/* May a read be answered with a lie? The first sector of what is there, and of the lie. NULL: never. Set it to have old contents kept. */
	bool (*may_lie)(void *ctx, uint64_t sector, const void *truth, const void *lie);
	void *ctx;
};

struct blk_sim_stats {
	uint64_t nr_ops[5]; /* by enum bio_op */
	uint64_t sectors_read, sectors_written;
	uint64_t nr_faults;
	uint64_t nr_changed_in_flight; /* writes whose memory was modified before done(): a bug of the caller (contract 9) */
};

struct blk_sim;
struct blk_sim *blk_sim_new(const struct blk_sim_options *o); /* aborts when memory is short, as everything here */
void blk_sim_free(struct blk_sim *s);			       /* not while open; NULL is fine */
/* One handle at a time (-EBUSY). Closing it loses nothing: the cache keeps its power. */
MUST_CHECK int blk_sim_open(struct blk_sim *s, bool read_only, struct blkdev **ret);
const struct blk_sim_stats *blk_sim_stats(const struct blk_sim *s);

/*
 * The power has gone: decide by seed what the disk keeps of its unflushed writes. The open handle is freed with it. If bios were in
 * flight, abandon the engine first: their memory is not touched.
 */
void blk_sim_crash(struct blk_sim *s, uint64_t seed);
/* Or all of them are kept, or all dropped: the two ends, which chance seldom meets. */
enum blk_sim_keep { BLK_SIM_KEEP_SOME, BLK_SIM_KEEP_ALL, BLK_SIM_KEEP_NONE };
void blk_sim_crash_keeping(struct blk_sim *s, enum blk_sim_keep keep, uint64_t seed);
/*
 * Only the process has died: the disk lives on, and nothing becomes durable by that. Each write in flight gets there whole, up to some sector, or not at
 * all. What waited for a flush (PREFLUSH) has not been written. The open handle is freed, as by a crash.
 */
void blk_sim_process_dies(struct blk_sim *s, uint64_t seed);
/* Crash, and open again. */
MUST_CHECK int blk_sim_reopen(struct blk_sim *s, uint64_t seed, struct blkdev **ret);
/* The disk with its cache and its writes in flight, but not open. power: of the copy. */
struct blk_sim *blk_sim_clone(const struct blk_sim *s, struct blk_sim_power *power);
/* Make everything completed durable, at once: an orderly power-off. */
void blk_sim_sync(struct blk_sim *s);

/* Outside of simulated time, for models and for damage. */
void blk_sim_peek(const struct blk_sim *s, uint64_t sector, void *buf, uint64_t nr_sectors);	      /* visible */
void blk_sim_peek_durable(const struct blk_sim *s, uint64_t sector, void *buf, uint64_t nr_sectors);
void blk_sim_poke(struct blk_sim *s, uint64_t sector, const void *buf, uint64_t nr_sectors); /* visible and durable */
uint64_t blk_sim_nr_unflushed(const struct blk_sim *s);
bool blk_sim_has_lost(const struct blk_sim *s); /* visible writes that a failed flush has lost */
/* Grows with every change of what a power cut could leave: cuts between two changes are one and the same. */
uint64_t blk_sim_changes(const struct blk_sim *s);
/* The durable contents as a sparse file, for the tools. */
MUST_CHECK int blk_sim_save(const struct blk_sim *s, const char *path);

/* Faults. Each rule counts the bios it matches: the first `skip` pass, the next `count` (0: all) are hit. First hit rule wins. */
#define BLK_SIM_OP(op) (1u << (op))
#define BLK_SIM_ALL_OPS 31u
enum blk_sim_lie {
	BLK_SIM_TRUTH,
	BLK_SIM_STALE,	   /* a read returns what the sectors held before they were written last */
	BLK_SIM_ELSEWHERE, /* a read returns what another place holds */
};
struct blk_sim_fault {
	unsigned ops;		     /* mask of BLK_SIM_OP() */
	uint64_t sector, nr_sectors; /* bios that touch this range; nr_sectors 0: everywhere (and flushes) */
	uint64_t skip, count;
	int error;		     /* negative errno, or 0: only slow */
	bool corrupt;		     /* reads, with a range: succeed, with a byte of the range's first sector in them changed */
	uint64_t extra_ns;	     /* added latency; UINT64_MAX: never completes */
	enum blk_sim_lie lie;	     /* instead of an error, and said to be a success */
	uint64_t elsewhere;	     /* a place; taken modulo the disk */
	uint64_t nr_matched;	     /* counted by the device */
	uint64_t *counter;	     /* instead of nr_matched: rules that share one count together; may be NULL */
};
void blk_sim_add_fault(struct blk_sim *s, const struct blk_sim_fault *f);
void blk_sim_clear_faults(struct blk_sim *s);
void blk_sim_forget_older(struct blk_sim *s); /* stale reads show nothing that is older than this */
void blk_sim_forget_corruption(struct blk_sim *s); /* rules with `corrupt`; bios they have hit stay hit */
void blk_sim_fail_nth(struct blk_sim *s, unsigned ops, uint64_t n, int error); /* n counts from 1 */
void blk_sim_fail_range(struct blk_sim *s, unsigned ops, uint64_t sector, uint64_t nr_sectors, int error);
