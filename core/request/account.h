/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What a device's users see of it: requests by kind, how long they took, how busy it was.
 *
 * A request is accounted where it enters and leaves the core (front.c), so the figures include every wait in between: for a range, a
 * bucket, an attach. Times are those of the engine's loop turns: a request begins in the turn that received it and ends in the one that
 * saw its last completion, so nothing here reads a clock.
 */
#include "core/admin/histogram.h"
#include "core/engine/engine.h"

enum io_path { PATH_READ_HIT, PATH_READ_MISS, PATH_READ_BYPASS, PATH_WRITE_BACK, PATH_WRITE_THROUGH, PATH_WRITE_AROUND, PATH_ZERO, PATH_FLUSH,
	       IO_PATHS };
extern const char *const io_path_names[IO_PATHS];

enum io_kind { IO_KIND_READ, IO_KIND_WRITE, IO_KIND_ZERO, IO_KIND_FLUSH, IO_KINDS };

struct io_account {
	struct histogram latency[IO_PATHS]; /* of requests that succeeded */
	struct {
		uint64_t requests, bytes, ns;
	} kind[IO_KINDS];
	unsigned in_flight; /* flushes are not counted here, as in the kernel's `stat` */
	uint64_t busy_since_ns, busy_ns;
};

/* Returns when the request began. */
uint64_t account_begin(struct io_account *a, enum io_kind kind);
void account_end(struct io_account *a, enum io_path path, uint64_t len_bytes, uint64_t begin_ns, bool failed);
/* The latencies; what `stat` shows goes on counting, like a block device's. */
void account_clear(struct io_account *a);

void account_latency_text(struct printbuf *out, const struct io_account *a);
/* The 17 fields of a block device's `stat` file (control-files.md §10.5). */
void account_stat_text(struct printbuf *out, const struct io_account *a, uint64_t now_ns);
