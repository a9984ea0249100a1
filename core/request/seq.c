/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How sequential is a task? (behaviour.md §2.4)
 *
 * Streams: a fixed set of records, hashed by the sector where they would continue, and in a list from the oldest to the newest. A request
 * that continues none takes over the oldest. A hash chain holds one record on average.
 *
 * What a task did counts less the longer it is ago (T-19): for every RECENT_IO_TTL_NS that it was idle, its average halves. So a task that
 * copied a large file some minutes ago, or a new process with its pid, is not kept from the cache; as long as a task works without
 * such breaks, it is judged exactly as the kernel does.
 *
 * Tasks live in a fixed table. An id may sit in any of the TASK_WAYS slots behind its hash; a full window gives up its least
 * recently used task. Nothing is ever removed, so a window needs no tombstones, and memory is bounded whatever number of processes comes by.
 */
#include "core/request/policy.h"

#include <stdlib.h>

#define TASK_WAYS 8
#define NO_STREAM 0xff
/* Room for the average's weight: bytes * 7 must not wrap. */
#define STREAM_BYTES_MAX (UINT64_MAX / 8)

static_assert(RECENT_IO < NO_STREAM && !(RECENT_IO & (RECENT_IO - 1)), "links are one byte, chains are found by a shift");
static_assert(!(TASKS_MAX & (TASKS_MAX - 1)), "the task table is indexed by a mask");

int seq_detector_init(struct seq_detector *s)
{
	memset(s, 0, sizeof(*s));
	memset(s->chains, NO_STREAM, sizeof(s->chains));
	for (unsigned i = 0; i < RECENT_IO; i++) {
		s->streams[i].older = i ? (uint8_t)(i - 1) : NO_STREAM;
		s->streams[i].newer = i + 1 < RECENT_IO ? (uint8_t)(i + 1) : NO_STREAM;
	}
	s->newest = RECENT_IO - 1;
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

/* --- streams -------------------------------------------------------------------------------------------------------------- */

static uint8_t *chain(struct seq_detector *s, uint64_t sector)
{
	return &s->chains[(sector * 0x9e3779b97f4a7c15ull) >> (64 - 7)];
}
static_assert(RECENT_IO == 1 << 7, "chain() has one chain per record");

static void stream_unhash(struct seq_detector *s, struct seq_stream *st)
{
	uint8_t *link = chain(s, st->last_sector);

	if (!st->hashed)
		return;
	while (&s->streams[*link] != st)
		link = &s->streams[*link].hash_next;
	*link = st->hash_next;
	st->hashed = false;
}

static void stream_hash(struct seq_detector *s, struct seq_stream *st, uint64_t last_sector)
{
	uint8_t *head = chain(s, last_sector);

	st->last_sector = last_sector;
	st->hash_next = *head;
	st->hashed = true;
	*head = (uint8_t)(st - s->streams);
}

static void stream_make_newest(struct seq_detector *s, struct seq_stream *st)
{
	uint8_t i = (uint8_t)(st - s->streams);

	if (s->newest == i)
		return;
	if (st->older == NO_STREAM)
		s->oldest = st->newer;
	else
		s->streams[st->older].newer = st->newer;
	s->streams[st->newer].older = st->older;
	st->older = s->newest;
	st->newer = NO_STREAM;
	s->streams[s->newest].newer = i;
	s->newest = i;
}

/* The live stream that continues at sector; else the oldest record, with *ret_found false. */
static struct seq_stream *stream_find(struct seq_detector *s, uint64_t sector, uint64_t now_ns, bool *ret_found)
{
	for (uint8_t i = *chain(s, sector); i != NO_STREAM; i = s->streams[i].hash_next) {
		struct seq_stream *st = &s->streams[i];

		if (st->last_sector == sector && st->expiry_ns > now_ns) {
			*ret_found = true;
			return st;
		}
	}
	*ret_found = false;
	return &s->streams[s->oldest];
}

/* The task's stream ended: it counts an eighth towards its average. */
static void task_end_stream(struct seq_task *t)
{
	t->avg_bytes = (t->avg_bytes * 7 + t->seq_bytes) / 8;
	t->seq_bytes = 0;
}

/* The last stream fades, too: it has expired with the first halving, and is going to be averaged. */
static void task_fade(struct seq_task *t, uint64_t now_ns)
{
	uint64_t halvings = now_ns > t->last_ns ? (now_ns - t->last_ns) / RECENT_IO_TTL_NS : 0;

	t->avg_bytes = halvings < 64 ? t->avg_bytes >> halvings : 0;
	t->seq_bytes = halvings < 64 ? t->seq_bytes >> halvings : 0;
	t->last_ns = now_ns;
}

uint64_t seq_detector_note(struct seq_detector *s, uint64_t task_id, bool use_average, uint64_t sector, uint64_t len_bytes, uint64_t now_ns)
{
	struct seq_task *t = task_get(s, task_id);
	struct seq_stream *st;
	bool found;

	task_fade(t, now_ns);
	st = stream_find(s, sector, now_ns, &found);
	if (!found) {
		task_end_stream(t);
		st->bytes = 0;
	}
	if (!use_average)
		t->avg_bytes = 0; /* a stand-in for many processes: one big copy must not make all of them bypass */
	st->bytes = min(st->bytes + min(len_bytes, STREAM_BYTES_MAX), STREAM_BYTES_MAX);
	stream_unhash(s, st);
	stream_hash(s, st, sector + (len_bytes >> SECTOR_SHIFT));
	stream_make_newest(s, st);
	st->expiry_ns = now_ns + RECENT_IO_TTL_NS;
	t->used = ++s->clock;
	t->seq_bytes = st->bytes;
	return max(t->seq_bytes, t->avg_bytes);
}
