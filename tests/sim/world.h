/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A small world for the core to live in: simulated disks, a seeded engine, a model for each device, and the power switch.
 *
 * A world is its seed: geometry, schedule, order of completions, workload and power cuts all come from it. It lives through several boots;
 * each ends in order, or with a power cut: at a disk event with a chosen number (the submission or completion of a bio) everything stops where it
 * is. Then the disks decide what of the unflushed writes there is, the models forget what may be forgotten, and the next boot begins.
 *
 * From one cut several outcomes are looked at: for each but the last the process forks, and the child crashes the disks in its own
 * way, starts, verifies, and reports by its exit status. Abandoned fibers leak what they own: run a world in a process of its own (main.c does).
 */
#include "core/set/instance.h"
#include "core/util/prng.h"
#include "tests/sim/blk_sim.h"
#include "tests/sim/engine_sim.h"
#include "tests/sim/lifecycle.h"
#include "tests/sim/model.h"
#include "tests/sim/script.h"
#include "tests/sim/volumes.h"

#define WORLD_BACKINGS_MAX 2

/* 1 ... high, small ones as likely as large ones. */
uint64_t rng_log(struct prng *r, uint64_t high);
static inline uint64_t rng_between(struct prng *r, uint64_t low, uint64_t high) { return low + prng_below(r, high - low + 1); }
static inline bool rng_percent(struct prng *r, unsigned percent) { return prng_below(r, 100) < percent; }

struct world_disk {
	char path[32];
	struct blk_sim *sim;
	uint64_t nr_sectors;
};

struct world_stats {
	uint64_t seeds, boots, operations, events;
	uint64_t cuts;		/* power cuts */
	uint64_t cuts_starting; /* of those, while the set was being started */
	uint64_t cuts_stopping;
	uint64_t deaths;	/* of those, of the process only */
	uint64_t outcomes;	/* recoveries from a cut: several for each */
	uint64_t ambiguous;	/* sectors for which a cut left a choice */
	uint64_t faults;	/* I/O errors that hit */
	uint64_t refused;	/* operations that failed because of them */
	uint64_t merged, moved;	/* nodes by coalescing, keys by moving gc */
	uint64_t returned, forced, forgotten, readopted; /* devices, by lifecycle.h */
	uint64_t stripe_checks; /* dirty counts compared with the index */
};

struct world_options {
	uint64_t seed;
	unsigned nr_ops;	/* of the clients, in all boots together */
	uint64_t cut_at;	/* one boot, which ends at this event; 0: the seed says */
	unsigned nr_outcomes;	/* looked at per cut; 0: the seed says */
	bool tiny;		/* the smallest cache there is and 24 sectors behind it, whatever the seed */
	uint32_t tiny_buckets, tiny_bucket_sectors, tiny_block_sectors, tiny_sectors; /* of that, unless 0 */
	bool lies;		/* the cache answers reads of metadata with older or other contents now and then */
	bool no_space;		/* faults: writes fail with ENOSPC, as on a full file system below sparse files */
	bool no_memory;		/* allocations of the core fail now and then */
	bool for_kernel;	/* a geometry that the kernel takes, and a life that ends in a power cut without torn writes (tests/sim/verdict.h) */
	bool faults;		/* disks fail: requests may then fail, too, but data that is read is right */
	bool trace, trace_io;
	const struct script *script; /* only this of the world; NULL: all of it */
	struct script *record;	/* what was done; shared with the process that asks; may be NULL */
};

/* Something rare to cut the power at, or shortly after: most of what can go wrong with it has a window of a few events. */
enum world_aim {
	AIM_NOTHING,
	AIM_JOURNAL_BUCKET, /* the journal enters another bucket */
	AIM_NODE_WRITE,
	AIM_RESTRUCTURE,    /* a node was replaced in memory */
	AIM_ROOT,	    /* there is a new root */
	AIM_PRIOS,	    /* a prio chain is being written */
	AIM_INVALIDATE,	    /* buckets were emptied */
	AIM_STATE,	    /* a backing superblock changes its state */
	AIM_CLEANED,	    /* keys became clean */
	AIM_GC,
	AIM_COALESCE,	    /* nodes are being merged */
	AIM_MOVE,	    /* moving gc has moved data */
	WORLD_AIMS
};

enum world_phase { WORLD_OFF, WORLD_STARTING, WORLD_UP, WORLD_STOPPING };
enum world_end { WORLD_STOPPED, WORLD_CUT, WORLD_FAILED };

struct world {
	struct world_options options;
	struct world_stats *stats; /* shared with forked children */
	struct prng rng;
	struct prng fault_rng;	/* of its own, so that a seed means the same world with and without faults */
	struct prng lie_rng, memory_rng; /* of their own, too: each kind of fault can be switched on beside the others */
	bool complete;		/* the set was made to its end, and may be lied about */
	uint64_t faults_before;	/* that had hit when this boot began */
	struct engine *engine;
	struct bcf *bcf;	/* while up */
	enum world_phase phase;

	/* the hardware */
	struct super_format cache_format, backing_format[WORLD_BACKINGS_MAX];
	struct world_disk cache, backing[WORLD_BACKINGS_MAX];
	unsigned nr_backing;
	struct model *model[WORLD_BACKINGS_MAX];
	char set_uuid_text[37];
	struct volumes *volumes; /* NULL: there are none in this world */
	struct lifecycle *lifecycle; /* NULL: devices come and go with the boots only */

	/* how this world behaves */
	/*
	 * Nothing but zeroing, and parts of blocks, ever bypasses the cache, and nothing is written back while clients write: the model can be strict. (Writeback
	 * does not wait for the journal, so an unflushed write may reach the backing device, and a crash still lose its key: R2.6 once more.)
	 */
	bool data_csum;		/* the cache device may lie about data that has a checksum */
	bool strict;		/* strict_writethrough: what was seen after a power cut stays, in every mode (R2.6) */
	bool always_writeback;
	bool detached[WORLD_BACKINGS_MAX]; /* somebody asked for it, and it is not for world_boot() to undo */
	bool old;		/* gens and numbers of journal entries are about to wrap */
	uint32_t scan_slice;
	uint64_t btree_cache_bytes;
	bool key_merging_disabled, expensive_debug_checks, verify_nodes, copy_gc_enabled, gc_always_rewrite;

	struct blk_sim_power power;
	void (*on_event)(struct world *w); /* before each disk event; may choose power.cut_at; NULL: nobody wants to know */
	void (*plan_faults)(struct world *w); /* at the beginning of each boot; then anything may fail at any time; may be NULL */
	enum blk_sim_keep keep_cache, keep_backing; /* of the next cut */
	bool process_dies;	/* the last cut was one of the process: the disks live on */
	enum world_aim aim;	/* of this boot */
	uint64_t aim_seen, aim_skip, aim_events; /* cut so many events after it happened for the aim_skip-th time */
	uint64_t boots;
	unsigned boot_number;	/* in the script */
	struct prng crash_rng;	/* of this boot: what a cut leaves does not depend on how often anybody drew from rng before */
	struct script_op last_op; /* the operation that began last, and when */
	bool any_op;
	uint64_t last_op_event;
	bool first_boot_cut;
	char failure[4000];	/* "" = none so far */
};

struct world *world_new(const struct world_options *o, struct world_stats *stats);
void world_free(struct world *w);

/* The next boot is the one that the script calls so: draw its random numbers from its own streams. */
void world_number_boot(struct world *w, unsigned number);
/* A client begins an operation. False: the script leaves it out. */
bool world_begin_op(struct world *w, unsigned client, unsigned number);

/* Start, run body(w, ctx) in a fiber, stop. body must join the fibers it spawned. */
enum world_end world_boot(struct world *w, void (*body)(struct world *w, void *ctx), void *ctx);

/* Something is wrong: the first message counts; the engine stops. */
void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool world_failed(const struct world *w);
/* Has a disk failed in this boot? Then operations may fail, too. */
bool world_disturbed(const struct world *w);
void world_trace(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The device on backing disk i, or NULL when it is not running. */
struct bdev *world_bdev(struct world *w, unsigned i);
struct cset *world_cset(struct world *w);
/* The same, also while it waits or stops. */
struct bdev *world_registered_bdev(struct world *w, unsigned i);
/* One write to a control file; path may contain %s for the device's name (dev >= 0) or the set's uuid (dev < 0). */
FIBER_FN int world_ctl(struct world *w, int dev, const char *path, const char *text);

/* Register one; false: it is refused, which is a failure unless disks failed. */
FIBER_FN bool world_register_disk(struct world *w, const struct world_disk *disk);
/* All that are not registered, in any order, and attach what nobody detached: as a start does. */
FIBER_FN void world_bring_up(struct world *w);
/* I-10: what backing device i says of itself, and holds, is enough without the cache. */
void world_check_alone(struct world *w, unsigned i);

/* Make a new set look as one of many years. */
void world_age(struct world *w);
/* Choose what will fail in the boot that begins. */
void world_plan_faults(struct world *w);
uint64_t world_faults_hit(const struct world *w); /* in all boots */
bool world_may_lie(void *world, uint64_t sector, const void *truth, const void *lie); /* a read of the cache; of blk_sim_options */
/* Is something made to fail in this world? */
bool world_may_fail(const struct world *w);
/* From here on nothing is made to fail any more. */
void world_no_faults(struct world *w);
/* The power goes now: the calling fiber never returns. */
FIBER_FN void world_cut_now(struct world *w);
/* After an orderly stop: as many allocations of the core are left (alloc_fault_outstanding()) as there were before the start. */
void world_check_memory(struct world *w, uint64_t before);
/* Between these, memory does not run out: for what the simulator asks of the core. They do not nest. */
void world_memory_is_safe(struct world *w);
void world_memory_may_fail(struct world *w);

/* Wrong data were read from dev: fail, with what the index and the disks have there. */
FIBER_FN void world_fail_data(struct world *w, unsigned dev, uint64_t offset_bytes, size_t len_bytes, const char *text);

/* Read every device to its end, in pieces of random size; then btree_check. */
FIBER_FN void world_verify(struct world *w);
