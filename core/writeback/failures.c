/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/writeback/failures.h"

const char *const writeback_phase_names[] = {
	[WRITEBACK_WAIT] = "wait", [WRITEBACK_READ] = "read", [WRITEBACK_WRITE] = "write", [WRITEBACK_FLUSH] = "flush", [WRITEBACK_CLEAN] = "clean",
};

void failures_add(struct writeback_failures *f, uint64_t start, uint64_t end, enum writeback_phase phase, int error)
{
	struct writeback_failure *last = f->nr ? &f->list[f->nr - 1] : NULL;

	f->sectors += end - start;
	if (last && last->end == start && last->phase == phase && last->error == error)
		last->end = end;
	else if (f->nr < WRITEBACK_FAILURES)
		f->list[f->nr++] = (struct writeback_failure){ .start = start, .end = end, .phase = phase, .error = error };
	else
		f->nr_more++;
}

void failures_to_text(const struct writeback_failures *f, uint64_t data_offset_sectors, struct printbuf *out)
{
	pr(out, "ranges %u more %llu bytes %llu\n", f->nr, (unsigned long long)f->nr_more, (unsigned long long)(f->sectors * SECTOR_BYTES));
	for (unsigned i = 0; i < f->nr; i++) {
		const struct writeback_failure *e = &f->list[i];

		pr(out, "%s %llu %llu %s\n", writeback_phase_names[e->phase],
		   (unsigned long long)((e->start - data_offset_sectors) * SECTOR_BYTES),
		   (unsigned long long)((e->end - e->start) * SECTOR_BYTES), strerror(-e->error));
	}
}
