/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How sequential is a task? (behaviour.md §2.4)
 *
 * Streams are few (128) and dense, so one pass finds both the record that this request continues and the oldest one to give up; a hash
 * would need links in the records and saves nothing measurable next to an I/O.
 *
 * Tasks live in a fixed table. An id may sit in any of the TASK_WAYS slots behind its hash; a full window gives up its least
 * recently used task. Nothing is ever removed, so a window needs no tombstones, and memory is bounded whatever number of processes comes by.
 */
#include "core/request/policy.h"

#include <stdlib.h>

#define TASK_WAYS 8
/* Room for the average's weight: bytes * 7 must not wrap. */
#define STREAM_BYTES_MAX (UINT64_MAX / 8)

static_assert(!(TASKS_MAX & (TASKS_MAX - 1)), "the task table is indexed by a mask");

int seq_detector_init(struct seq_detector *s)
{
	memset(s, 0, sizeof(*s));
	s->tasks = calloc(TASKS_MAX, sizeof(*s->tasks));
	return s->tasks ? 0 : -ENOMEM;
}

void seq_detector_release(struct seq_detector *s)
{
	free(s->tasks);
	s->tasks = NULL;
}

/* Stamp 0 marks a slot that was never used. */
static struct seq_task *task_get(struct seq_detector *s, uint64_t id)
{
	uint64_t at = (id * 0x9e3779b97f4a7c15ull) >> 40;
	struct seq_task *oldest = NULL;

	for (unsigned way = 0; way < TASK_WAYS; way++) {
		struct seq_task *t = &s->tasks[(at + way) % TASKS_MAX];

		if (t->used && t->id == id)
			return t;
		if (!oldest || t->used < oldest->used)
			oldest = t;
	}
	*oldest = (struct seq_task){ .id = id };
	return oldest;
}

/* The live stream that continues at sector; else the least recently used record, with *ret_found false. */
static struct seq_stream *stream_find(struct seq_detector *s, uint64_t sector, uint64_t now_ns, bool *ret_found)
{
	struct seq_stream *oldest = &s->streams[0];

	for (unsigned i = 0; i < RECENT_IO; i++) {
		struct seq_stream *st = &s->streams[i];

		if (st->last_sector == sector && st->expiry_ns > now_ns) {
			*ret_found = true;
			return st;
		}
		if (st->used < oldest->used)
			oldest = st;
	}
	*ret_found = false;
	return oldest;
}

/* The task's stream ended: it counts an eighth towards its average. */
static void task_end_stream(struct seq_task *t)
{
	t->avg_bytes = (t->avg_bytes * 7 + t->seq_bytes) / 8;
	t->seq_bytes = 0;
}

uint64_t seq_detector_note(struct seq_detector *s, uint64_t task_id, bool use_average, uint64_t sector, uint64_t len_bytes, uint64_t now_ns)
{
	struct seq_task *t = task_get(s, task_id);
	struct seq_stream *st;
	bool found;

	st = stream_find(s, sector, now_ns, &found);
	if (!found) {
		task_end_stream(t);
		st->bytes = 0;
	}
	if (!use_average)
		t->avg_bytes = 0; /* a stand-in for many processes: one big copy must not make all of them bypass */
	st->bytes = min(st->bytes + min(len_bytes, STREAM_BYTES_MAX), STREAM_BYTES_MAX);
	st->last_sector = sector + (len_bytes >> SECTOR_SHIFT);
	st->expiry_ns = now_ns + RECENT_IO_TTL_NS;
	st->used = t->used = ++s->clock;
	t->seq_bytes = st->bytes;
	return max(t->seq_bytes, t->avg_bytes);
}
