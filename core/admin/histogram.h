/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * How long one kind of operation takes, as a histogram of fixed size.
 *
 * Why: a mean hides what users feel; percentiles need the distribution, and keeping every value is out of the question.
 * Model: cells on a logarithmic scale, eight per octave from 256 ns to 137 s, one more at each end. So any duration is known to an eighth of
 * itself, recording is a shift and an add, nothing is allocated, and histograms of the same kind can be added cell by cell.
 * Bounds that are powers of two are bounds of cells: counts up to them are exact, which is what cumulative (Prometheus) buckets need.
 */
#include "formats/printbuf.h"

#define HISTOGRAM_LOW_BITS 8   /* below 2^8 ns everything is one cell */
#define HISTOGRAM_HIGH_BITS 37 /* from 2^37 ns on, too */
#define HISTOGRAM_SUB_BITS 3
#define HISTOGRAM_CELLS (2 + ((HISTOGRAM_HIGH_BITS - HISTOGRAM_LOW_BITS) << HISTOGRAM_SUB_BITS))

struct jout;
struct histogram {
	uint64_t count, sum_ns, max_ns;
	uint64_t cells[HISTOGRAM_CELLS];
};

static inline unsigned histogram_cell(uint64_t ns)
{
	unsigned octave = 63u - (unsigned)__builtin_clzll(ns | 1);

	if (octave < HISTOGRAM_LOW_BITS)
		return 0;
	if (octave >= HISTOGRAM_HIGH_BITS)
		return HISTOGRAM_CELLS - 1;
	return 1 + ((octave - HISTOGRAM_LOW_BITS) << HISTOGRAM_SUB_BITS) +
	       (unsigned)((ns >> (octave - HISTOGRAM_SUB_BITS)) & ((1u << HISTOGRAM_SUB_BITS) - 1));
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->sum_ns += ns;
	h->max_ns = max(h->max_ns, ns);
	h->cells[histogram_cell(ns)]++;
}

void histogram_clear(struct histogram *h);
/* A duration that per_100000 of all values do not exceed: at most an eighth too long, never beyond the maximum. 0 without values. */
uint64_t histogram_percentile_ns(const struct histogram *h, unsigned per_100000);
uint64_t histogram_mean_ns(const struct histogram *h);
/* How many values are below 2^bits ns. HISTOGRAM_LOW_BITS..HISTOGRAM_HIGH_BITS: exact. */
uint64_t histogram_count_below(const struct histogram *h, unsigned bits);

/* The lines of a `latency` file: a header, then one line per kind; microseconds. */
void histogram_header_text(struct printbuf *out);
void histogram_to_text(struct printbuf *out, const char *name, const struct histogram *h);
/* An object: the same figures in ns, and cumulative counts by octave as far as there are values. */
void histogram_to_json(struct jout *j, const char *key, const struct histogram *h);
