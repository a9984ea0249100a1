/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/histogram.h"
#include "core/admin/json.h"

static const struct {
	const char *name;
	unsigned per_100000;
} percentiles[] = { { "p50", 50000 }, { "p90", 90000 }, { "p99", 99000 }, { "p99.9", 99900 } };

void histogram_clear(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
}

/* The first duration beyond the cell. */
static uint64_t cell_end_ns(unsigned cell)
{
	unsigned octave = (cell - 1) >> HISTOGRAM_SUB_BITS, step = (cell - 1) & ((1u << HISTOGRAM_SUB_BITS) - 1);

	if (!cell)
		return 1ull << HISTOGRAM_LOW_BITS;
	if (cell == HISTOGRAM_CELLS - 1)
		return UINT64_MAX;
	return ((1ull << HISTOGRAM_SUB_BITS) + step + 1) << (octave + HISTOGRAM_LOW_BITS - HISTOGRAM_SUB_BITS);
}

uint64_t histogram_percentile_ns(const struct histogram *h, unsigned per_100000)
{
	/* The value with this rank, rounded up, is the one looked for. */
	uint64_t rank = (uint64_t)(((unsigned __int128)h->count * per_100000 + 99999) / 100000), seen = 0;

	if (!h->count)
		return 0;
	for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
		seen += h->cells[i];
		if (seen && seen >= rank)
			return min(cell_end_ns(i) - 1, h->max_ns);
	}
	return h->max_ns;
}

uint64_t histogram_mean_ns(const struct histogram *h)
{
	return h->count ? h->sum_ns / h->count : 0;
}

uint64_t histogram_count_below(const struct histogram *h, unsigned bits)
{
	uint64_t bound_ns = 1ull << bits, n = 0;

	for (unsigned i = 0; i < HISTOGRAM_CELLS && cell_end_ns(i) <= bound_ns; i++)
		n += h->cells[i];
	return n;
}

static void pr_us(struct printbuf *out, uint64_t ns)
{
	pr(out, " %llu.%llu", (unsigned long long)(ns / 1000), (unsigned long long)(ns % 1000 / 100));
}

void histogram_header_text(struct printbuf *out)
{
	pr(out, "name count mean");
	for (unsigned i = 0; i < ARRAY_SIZE(percentiles); i++)
		pr(out, " %s", percentiles[i].name);
	pr(out, " max\n");
}

void histogram_to_text(struct printbuf *out, const char *name, const struct histogram *h)
{
	pr(out, "%s %llu", name, (unsigned long long)h->count);
	pr_us(out, histogram_mean_ns(h));
	for (unsigned i = 0; i < ARRAY_SIZE(percentiles); i++)
		pr_us(out, histogram_percentile_ns(h, percentiles[i].per_100000));
	pr_us(out, h->max_ns);
	pr_char(out, '\n');
}

/* Cumulative, so that a reader needs no knowledge of the cells; octaves beyond the longest value would all say `count`. */
static void put_buckets(struct jout *j, const struct histogram *h)
{
	jout_array_begin(j, "buckets");
	for (unsigned bits = HISTOGRAM_LOW_BITS; bits <= HISTOGRAM_HIGH_BITS; bits++) {
		jout_object_begin(j, NULL);
		jout_uint(j, "below_ns", 1ull << bits);
		jout_uint(j, "count", histogram_count_below(h, bits));
		jout_object_end(j);
		if (h->max_ns < 1ull << bits)
			break;
	}
	jout_array_end(j);
}

void histogram_to_json(struct jout *j, const char *key, const struct histogram *h)
{
	jout_object_begin(j, key);
	jout_uint(j, "count", h->count);
	jout_uint(j, "sum_ns", h->sum_ns);
	for (unsigned i = 0; i < ARRAY_SIZE(percentiles); i++) {
		char name[16];
		struct printbuf pb = PRINTBUF(name);

		pr(&pb, "%s_ns", percentiles[i].name);
		jout_uint(j, name, histogram_percentile_ns(h, percentiles[i].per_100000));
	}
	jout_uint(j, "max_ns", h->max_ns);
	put_buckets(j, h);
	jout_object_end(j);
}
