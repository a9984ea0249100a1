/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/loadavg.h"
#include "core/set/bdev.h"

#define FRACTION_BITS 16

typedef __int128 wide;

/* 1 - exp(-5 s / period), in 1/65536. */
static const int64_t weights[LOAD_PERIODS] = { 5240, 1083, 363 };

void loadavg_sample(struct loadavg *l, const uint64_t now[LOADS], uint64_t now_ns)
{
	uint64_t elapsed_ns = now_ns - l->last_ns;

	if (!l->last_ns || !elapsed_ns) { /* the first one only tells where to count from */
		memcpy(l->last, now, sizeof(l->last));
		l->last_ns = now_ns;
		return;
	}
	for (unsigned i = 0; i < LOADS; i++) {
		uint64_t grown = now[i] >= l->last[i] ? now[i] - l->last[i] : now[i];
		wide per_second = ((wide)grown << FRACTION_BITS) * (int64_t)NS_PER_S / (int64_t)elapsed_ns;

		for (unsigned p = 0; p < LOAD_PERIODS; p++) {
			wide average = l->average[p][i];

			average += (per_second - average) * weights[p] / (1 << FRACTION_BITS);
			l->average[p][i] = (uint64_t)min(average, (wide)INT64_MAX);
		}
		l->last[i] = now[i];
	}
	l->last_ns = now_ns;
}

void loadavg_counters(const struct bdev *d, uint64_t ret[LOADS])
{
	const struct io_account *a = &d->account;

	ret[LOAD_READS] = a->kind[IO_KIND_READ].requests;
	ret[LOAD_WRITES] = a->kind[IO_KIND_WRITE].requests;
	ret[LOAD_READ_BYTES] = a->kind[IO_KIND_READ].bytes;
	ret[LOAD_WRITE_BYTES] = a->kind[IO_KIND_WRITE].bytes;
	ret[LOAD_HITS] = stats_read(&d->stats, STAT_TOTAL, STAT_HITS);
	ret[LOAD_MISSES] = stats_read(&d->stats, STAT_TOTAL, STAT_MISSES);
	ret[LOAD_BYPASSED_BYTES] = stats_read(&d->stats, STAT_TOTAL, STAT_BYPASSED_SECTORS) * SECTOR_BYTES;
	ret[LOAD_DIRTIED_BYTES] = d->writeback.sectors_dirtied * SECTOR_BYTES;
	ret[LOAD_WRITTEN_BACK_BYTES] = d->writeback.sectors_written * SECTOR_BYTES;
	ret[LOAD_INFLIGHT_NS] = a->kind[IO_KIND_READ].ns + a->kind[IO_KIND_WRITE].ns + a->kind[IO_KIND_ZERO].ns;
	ret[LOAD_READ_NS] = a->kind[IO_KIND_READ].ns;
	ret[LOAD_WRITE_NS] = a->kind[IO_KIND_WRITE].ns;
}

void loadavg_add(struct loadavg *l, const struct loadavg *other)
{
	for (unsigned p = 0; p < LOAD_PERIODS; p++)
		for (unsigned i = 0; i < LOADS; i++)
			l->average[p][i] += other->average[p][i];
}

/* --- text ---------------------------------------------------------------------------------------------------------------- */

/* part / whole * factor, in hundredths; 0 if there is no whole. */
static uint64_t hundredths(wide part, wide whole, int64_t factor)
{
	return whole ? (uint64_t)(part * factor * 100 / whole) : 0;
}

static void pr_hundredths(struct printbuf *out, uint64_t v)
{
	pr(out, " %llu.%02llu", (unsigned long long)(v / 100), (unsigned long long)(v % 100));
}

/* One line: numerator per denominator (LOADS: per second), times factor, which may be a fraction. */
static void pr_line(const struct loadavg *l, struct printbuf *out, const char *name, enum load_metric numerator, enum load_metric denominator, int64_t divisor)
{
	pr(out, "%s", name);
	for (unsigned p = 0; p < LOAD_PERIODS; p++) {
		wide whole = denominator == LOADS ? (wide)1 << FRACTION_BITS : (wide)l->average[p][denominator];

		pr_hundredths(out, hundredths(l->average[p][numerator], whole * divisor, 1));
	}
	pr_char(out, '\n');
}

static void pr_hit_percent(const struct loadavg *l, struct printbuf *out)
{
	pr(out, "hit_percent");
	for (unsigned p = 0; p < LOAD_PERIODS; p++) {
		const uint64_t *a = l->average[p];

		pr_hundredths(out, hundredths(a[LOAD_HITS], (wide)a[LOAD_HITS] + a[LOAD_MISSES], 100));
	}
	pr_char(out, '\n');
}

void loadavg_inflight_text(const struct loadavg *l, struct printbuf *out)
{
	for (unsigned p = 0; p < LOAD_PERIODS; p++)
		pr_hundredths(out, hundredths(l->average[p][LOAD_INFLIGHT_NS], ((wide)1 << FRACTION_BITS) * (int64_t)NS_PER_S, 1));
}

void loadavg_to_text(const struct loadavg *l, struct printbuf *out)
{
	pr(out, "metric 1min 5min 15min\n");
	pr_line(l, out, "reads", LOAD_READS, LOADS, 1);
	pr_line(l, out, "writes", LOAD_WRITES, LOADS, 1);
	pr_line(l, out, "read_bytes", LOAD_READ_BYTES, LOADS, 1);
	pr_line(l, out, "write_bytes", LOAD_WRITE_BYTES, LOADS, 1);
	pr_line(l, out, "hits", LOAD_HITS, LOADS, 1);
	pr_line(l, out, "misses", LOAD_MISSES, LOADS, 1);
	pr_hit_percent(l, out);
	pr_line(l, out, "bypassed_bytes", LOAD_BYPASSED_BYTES, LOADS, 1);
	pr_line(l, out, "dirtied_bytes", LOAD_DIRTIED_BYTES, LOADS, 1);
	pr_line(l, out, "written_back_bytes", LOAD_WRITTEN_BACK_BYTES, LOADS, 1);
	pr(out, "inflight");
	loadavg_inflight_text(l, out);
	pr_char(out, '\n');
	pr_line(l, out, "read_ms", LOAD_READ_NS, LOAD_READS, NS_PER_MS);
	pr_line(l, out, "write_ms", LOAD_WRITE_NS, LOAD_WRITES, NS_PER_MS);
}
