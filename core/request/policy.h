/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Pure decisions of the request path (behaviour.md §2.2-§2.4, §2.6): bypass? write back? how sequential is this stream?
 */
#include "formats/super.h"

#define RECENT_IO 128	/* recent streams per device; fits the detector's one-byte links */
#define RECENT_IO_TTL_NS 5000000000ull
#define TASKS_MAX 1024	/* tasks remembered per device */
#define CUTOFF_CACHE_ADD 95

/* Sequential-stream detector. Bytes; a task is a pid (or a file handle when the pid is 0: T-18). */
struct seq_stream {
	uint64_t last_sector; /* where the next request would continue */
	uint64_t bytes;
	uint64_t expiry_ns;
	uint8_t hash_next;    /* links are indices of streams */
	uint8_t older, newer;
	bool hashed;	      /* by last_sector; before first use it is in no chain */
};
struct seq_task {
	uint64_t id;
	uint64_t seq_bytes, avg_bytes;
	uint64_t last_ns; /* of its last request */
	uint64_t used;
};
struct seq_detector {
	struct seq_stream streams[RECENT_IO];
	uint8_t chains[RECENT_IO];
	uint8_t oldest, newest;
	struct seq_task *tasks; /* TASKS_MAX, open addressing by id */
	uint64_t clock;
};
MUST_CHECK int seq_detector_init(struct seq_detector *s);
void seq_detector_release(struct seq_detector *s);
/* Note a request; returns how sequential its task is now, in bytes: max(running stream, average). */
uint64_t seq_detector_note(struct seq_detector *s, uint64_t task_id, bool use_average, uint64_t sector, uint64_t len_bytes, uint64_t now_ns);

/* Congestion of the cache device (§2.3). */
struct congestion {
	int64_t value;	  /* <= 0; -1024 = fully congested */
	uint64_t last_ns; /* last slow I/O */
	uint32_t read_threshold_us, write_threshold_us;
};
void congestion_note(struct congestion *g, bool write, uint64_t elapsed_ns, uint64_t now_ns);
/* Sector limit above which requests bypass, 0 = none. random dithers. */
uint32_t congestion_limit(const struct congestion *g, uint64_t now_ns, uint32_t random);

struct reason_count {
	uint64_t requests, sectors;
};
static inline void reason_add(struct reason_count *n, uint64_t nr_sectors)
{
	n->requests++;
	n->sectors += nr_sectors;
}

/* Why a request bypasses the cache. Step 5 (read-ahead) cannot be: FUSE does not mark it. */
enum bypass_reason { BYPASS_NO, BYPASS_DETACHING, BYPASS_CACHE_FULL, BYPASS_DISCARD, BYPASS_MODE, BYPASS_UNALIGNED, BYPASS_TORTURE,
		     BYPASS_SEQUENTIAL, BYPASS_CONGESTED, BYPASS_REASONS };
extern const char *const bypass_reason_names[BYPASS_REASONS];
struct bypass_input {
	enum cache_mode mode;
	bool detaching, write, discard;
	unsigned in_use_percent;
	uint64_t start_sector, nr_sectors;
	uint32_t block_sectors;
	uint64_t sequential_cutoff_bytes;
	uint32_t congestion_limit_sectors;
};
/* Steps 1-6 of §2.2, which need no history. */
enum bypass_reason policy_bypass_early(const struct bypass_input *in);
/* Step 7, instead of step 8 when bypass_torture_test is on: one in four. */
static inline enum bypass_reason policy_bypass_torture(uint64_t random) { return random % 4 ? BYPASS_NO : BYPASS_TORTURE; }
/* Step 8, with the stream's bytes. */
enum bypass_reason policy_bypass_late(const struct bypass_input *in, uint64_t stream_bytes);

struct writeback_input {
	enum cache_mode mode;
	bool detaching, discard, sync, would_bypass, touches_dirty_stripe;
	unsigned in_use_percent, cutoff_writeback, cutoff_writeback_sync;
};
/* Why a write to a device in writeback mode is not written back; the last two are found out later, when the cache was asked. */
enum writeback_refusal { WRITEBACK_ACCEPTED, REFUSED_MODE, REFUSED_DETACHING, REFUSED_CUTOFF_SYNC, REFUSED_DISCARD, REFUSED_BYPASS, REFUSED_CUTOFF,
			 REFUSED_NO_BUCKET, REFUSED_CACHE_ERROR, WRITEBACK_REFUSALS };
extern const char *const writeback_refusal_names[WRITEBACK_REFUSALS];
enum writeback_refusal policy_refuses_writeback(const struct writeback_input *in);
static inline bool policy_should_writeback(const struct writeback_input *in) { return policy_refuses_writeback(in) == WRITEBACK_ACCEPTED; }
