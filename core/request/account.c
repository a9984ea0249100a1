/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/account.h"

const char *const io_path_names[IO_PATHS] = {
	[PATH_READ_HIT] = "read_hit",		[PATH_READ_MISS] = "read_miss",		[PATH_READ_BYPASS] = "read_bypass",
	[PATH_WRITE_BACK] = "write_back",	[PATH_WRITE_THROUGH] = "write_through", [PATH_WRITE_AROUND] = "write_around",
	[PATH_ZERO] = "zero",			[PATH_FLUSH] = "flush",
};

static enum io_kind kind_of(enum io_path path)
{
	switch (path) {
	case PATH_READ_HIT:
	case PATH_READ_MISS:
	case PATH_READ_BYPASS:
		return IO_KIND_READ;
	case PATH_ZERO:
		return IO_KIND_ZERO;
	case PATH_FLUSH:
		return IO_KIND_FLUSH;
	default:
		return IO_KIND_WRITE;
	}
}

uint64_t account_begin(struct io_account *a, enum io_kind kind)
{
	uint64_t now = engine_now_ns();

	if (kind != IO_KIND_FLUSH && !a->in_flight++)
		a->busy_since_ns = now;
	return now;
}

void account_end(struct io_account *a, enum io_path path, uint64_t len_bytes, uint64_t begin_ns, bool failed)
{
	enum io_kind kind = kind_of(path);
	uint64_t now = engine_now_ns(), ns = now - begin_ns;

	a->kind[kind].requests++;
	a->kind[kind].ns += ns;
	if (!failed) {
		a->kind[kind].bytes += len_bytes;
		histogram_add(&a->latency[path], ns);
	}
	if (kind == IO_KIND_FLUSH)
		return;
	assert(a->in_flight > 0);
	if (!--a->in_flight)
		a->busy_ns += now - a->busy_since_ns;
}

void account_clear(struct io_account *a)
{
	for (unsigned i = 0; i < IO_PATHS; i++)
		histogram_clear(&a->latency[i]);
}

void account_latency_text(struct printbuf *out, const struct io_account *a)
{
	histogram_header_text(out);
	for (unsigned i = 0; i < IO_PATHS; i++)
		histogram_to_text(out, io_path_names[i], &a->latency[i]);
}

static uint64_t ms(uint64_t ns) { return ns / NS_PER_MS; }

/* requests, merged, sectors, ms */
static void pr_kind(struct printbuf *out, const struct io_account *a, enum io_kind kind)
{
	pr(out, "%8llu %8u %8llu %8llu ", (unsigned long long)a->kind[kind].requests, 0,
	   (unsigned long long)(a->kind[kind].bytes / SECTOR_BYTES), (unsigned long long)ms(a->kind[kind].ns));
}

void account_stat_text(struct printbuf *out, const struct io_account *a, uint64_t now_ns)
{
	uint64_t busy_ns = a->busy_ns + (a->in_flight ? now_ns - a->busy_since_ns : 0), all_ns = 0;

	for (unsigned i = 0; i < IO_KINDS; i++)
		all_ns += a->kind[i].ns;
	pr_kind(out, a, IO_KIND_READ);
	pr_kind(out, a, IO_KIND_WRITE);
	pr(out, "%8u %8llu %8llu ", a->in_flight, (unsigned long long)ms(busy_ns), (unsigned long long)ms(all_ns));
	pr_kind(out, a, IO_KIND_ZERO);
	pr(out, "%8llu %8llu\n", (unsigned long long)a->kind[IO_KIND_FLUSH].requests, (unsigned long long)ms(a->kind[IO_KIND_FLUSH].ns));
}
