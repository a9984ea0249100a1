/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Where writeback could not do its work: a short list of ranges, for people who wonder why a detach does not end (W-7). Pure.
 *
 * A pass collects what fails in it; when it ends, that is the list, until the next pass has ended. So what was overwritten, or could be read
 * after all, leaves by itself.
 */
#include "formats/printbuf.h"

enum writeback_phase { WRITEBACK_WAIT, WRITEBACK_READ, WRITEBACK_WRITE, WRITEBACK_FLUSH, WRITEBACK_CLEAN };
extern const char *const writeback_phase_names[];

#define WRITEBACK_FAILURES 16
struct writeback_failure {
	uint64_t start, end; /* key space */
	enum writeback_phase phase;
	int error;
};
struct writeback_failures {
	unsigned nr;
	uint64_t nr_more; /* extents for which there was no room */
	uint64_t sectors; /* of all */
	struct writeback_failure list[WRITEBACK_FAILURES];
};

/* One that continues the last one makes it longer. */
void failures_add(struct writeback_failures *f, uint64_t start, uint64_t end, enum writeback_phase phase, int error);
/* A line of totals, then one for each range: phase, offset and length in bytes, error. */
void failures_to_text(const struct writeback_failures *f, uint64_t data_offset_sectors, struct printbuf *out);
