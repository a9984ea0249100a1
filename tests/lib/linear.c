/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * linear FILE SECONDS [THREADS] [WINDOW-KIB] [SEED]: is FILE a linearizable store of sectors?
 * linear --selftest: histories whose verdict is known.
 *
 * Threads read and write random runs of sectors of FILE past the page cache, most of them in a small window, so that they meet. Every written
 * sector holds the unique number of its write. Every operation leaves, for each sector, when it began and ended and which number it
 * wrote or saw. Afterwards each sector is judged by itself as a register with unique values (Gibbons and Korach, 1997):
 *
 *   All operations on one value form a cluster: its write and the reads that saw it. Let f be the earliest end and s the latest begin
 *   in it. f < s: the value must have been the current one from f to s ("forward zone"). Else it was current at some moment between s and
 *   f ("backward zone"). There is a valid order exactly if no two forward zones overlap, no backward zone lies inside a forward one,
 *   and no read ended before its write began.
 *
 * So a stale read, a lost write, a write that comes back later, and a value from another place are all found, with no assumption about how
 * the store works. Exit status: 0 linearizable, 1 not (what was seen is printed), 2 the test could not run.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512u
#define WORDS (SECTOR / 8)
#define SECTORS_MAX 32u
#define THREADS_MAX 16
#define HOT_PERCENT 80
#define WRITE_PERCENT 45

struct event {
	uint64_t sector, value, begin_ns, end_ns;
	uint64_t at; /* of the operation, which is nr sectors long */
	unsigned nr;
	bool write;
};

struct worker {
	pthread_t thread;
	unsigned number;
	uint64_t rng, writes;
	uint64_t *buf;
	struct event *events;
	size_t nr, cap;
	int error;
	char text[200];
};

static int fd;
static uint64_t nr_sectors, window_sectors, window_at, deadline_ns;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t below(struct worker *w, uint64_t n)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return (w->rng >> 11) % n;
}

static bool note(struct worker *w, struct event e)
{
	if (w->nr == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 1 << 16;
		void *p = realloc(w->events, cap * sizeof(e));

		if (!p)
			return false;
		w->events = p;
		w->cap = cap;
	}
	w->events[w->nr++] = e;
	return true;
}

static int sector_value(struct worker *w, uint64_t sector, const uint64_t *words, uint64_t *ret)
{
	for (unsigned i = 1; i < WORDS; i++)
		if (words[i] != words[0]) {
			snprintf(w->text, sizeof(w->text), "sector %" PRIu64 " is a mixture of writes %" PRIx64 " and %" PRIx64, sector, words[0],
				 words[i]);
			return -EILSEQ;
		}
	*ret = words[0];
	return 0;
}

static int one(struct worker *w)
{
	uint64_t n = 1 + below(w, 1u << below(w, 6)), range = below(w, 100) < HOT_PERCENT ? window_sectors : 0;
	uint64_t at = range ? window_at + below(w, range - n + 1) : below(w, nr_sectors - n + 1);
	bool write = below(w, 100) < WRITE_PERCENT;
	struct event e = { .write = write, .at = at, .nr = (unsigned)n, .value = (uint64_t)(w->number + 1) << 48 | (w->writes + 1) };
	ssize_t r;

	for (size_t i = 0; write && i < n * WORDS; i++)
		w->buf[i] = e.value;
	w->writes += write;
	e.begin_ns = now_ns();
	r = write ? pwrite(fd, w->buf, n * SECTOR, (off_t)(at * SECTOR)) : pread(fd, w->buf, n * SECTOR, (off_t)(at * SECTOR));
	e.end_ns = now_ns();
	if (r != (ssize_t)(n * SECTOR)) {
		snprintf(w->text, sizeof(w->text), "%s of %" PRIu64 "+%" PRIu64 " returns %zd: %s", write ? "write" : "read", at, n, r,
			 r < 0 ? strerror(errno) : "short");
		return -EIO;
	}
	for (uint64_t i = 0; i < n; i++) {
		int err = write ? 0 : sector_value(w, at + i, w->buf + i * WORDS, &e.value);

		e.sector = at + i;
		if (err)
			return err;
		if (!note(w, e))
			return -ENOMEM;
	}
	return 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!w->error && now_ns() < deadline_ns)
		w->error = one(w);
	return NULL;
}

/* --- judging --------------------------------------------------------------------------------------------------------------- */

static int by_sector_value_begin(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	if (x->write != y->write)
		return x->write ? -1 : 1;
	return x->begin_ns < y->begin_ns ? -1 : x->begin_ns > y->begin_ns;
}

struct zone {
	uint64_t low, high, value;
	bool forward;
};

static int by_low(const void *a, const void *b)
{
	const struct zone *x = a, *y = b;

	return x->low < y->low ? -1 : x->low > y->low;
}

static int wrong(uint64_t sector, uint64_t value, const char *what, uint64_t other)
{
	printf("sector %" PRIu64 ", value %" PRIx64 ": %s", sector, value, what);
	if (other)
		printf(" %" PRIx64, other);
	putchar('\n');
	return -EILSEQ;
}

/* The cluster of one value of one sector. The zeros that were there before have no write. */
static int make_zone(const struct event *e, size_t n, struct zone *z)
{
	uint64_t first_end = e[0].value ? UINT64_MAX : 0, last_begin = 0;

	if (e[0].value && !e[0].write)
		return wrong(e[0].sector, e[0].value, "was read, but never written there", 0);
	for (size_t i = 0; i < n; i++) {
		if (e[0].value && e[i].end_ns < e[0].begin_ns)
			return wrong(e[0].sector, e[0].value, "was read before it was written", 0);
		first_end = e[i].end_ns < first_end ? e[i].end_ns : first_end;
		last_begin = e[i].begin_ns > last_begin ? e[i].begin_ns : last_begin;
	}
	z->forward = first_end < last_begin;
	z->low = z->forward ? first_end : last_begin;
	z->high = z->forward ? last_begin : first_end;
	z->value = e[0].value;
	return 0;
}

static int judge_zones(uint64_t sector, struct zone *z, size_t n)
{
	const struct zone *open = NULL; /* the forward zone that reaches furthest */

	qsort(z, n, sizeof(*z), by_low);
	for (size_t i = 0; i < n; i++) {
		if (open && z[i].forward && z[i].low < open->high)
			return wrong(sector, z[i].value, "was current at the same time as", open->value);
		if (open && !z[i].forward && z[i].low > open->low && z[i].high < open->high)
			return wrong(sector, z[i].value, "was written and gone while this one stayed:", open->value);
		if (z[i].forward)
			open = &z[i];
	}
	return 0;
}

static int by_begin(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return x->begin_ns < y->begin_ns ? -1 : x->begin_ns > y->begin_ns;
}

/* What happened to the sector, in the order of beginning; at most so much. */
static void history(struct event *e, size_t n)
{
	uint64_t zero = UINT64_MAX;

	qsort(e, n, sizeof(*e), by_begin);
	for (size_t i = 0; i < n; i++)
		zero = e[i].begin_ns < zero ? e[i].begin_ns : zero;
	for (size_t i = 0; i < n; i++)
		printf("  %10.3f to %10.3f ms: %s %" PRIx64 ", %u sectors at %" PRIu64 "\n", (double)(e[i].begin_ns - zero) / 1e6,
		       (double)(e[i].end_ns - zero) / 1e6, e[i].write ? "write" : "read ", e[i].value, e[i].nr, e[i].at);
}

static int judge(struct event *e, size_t n)
{
	struct zone *zones = malloc((n + 1) * sizeof(*zones));
	int r = 0;

	if (!zones)
		return -ENOMEM;
	qsort(e, n, sizeof(*e), by_sector_value_begin);
	for (size_t i = 0; i < n && !r;) {
		size_t nr_zones = 0, begin = i;

		while (i < n && e[i].sector == e[begin].sector && !r) {
			size_t cluster = i;

			while (i < n && e[i].sector == e[begin].sector && e[i].value == e[cluster].value)
				i++;
			r = make_zone(e + cluster, i - cluster, &zones[nr_zones++]);
		}
		if (!r)
			r = judge_zones(e[begin].sector, zones, nr_zones);
		if (r) {
			while (i < n && e[i].sector == e[begin].sector)
				i++;
			history(e + begin, i - begin);
		}
	}
	free(zones);
	return r;
}

/* Can the judge say both yes and no? Sector 7 throughout; times are made up. */
static int selftest(void)
{
#define W(v, b, e) { .sector = 7, .value = v, .begin_ns = b, .end_ns = e, .write = true }
#define R(v, b, e) { .sector = 7, .value = v, .begin_ns = b, .end_ns = e }
	static const struct {
		const char *what;
		bool good;
		struct event events[6];
	} histories[] = {
		{ "one after the other", true, { R(0, 1, 2), W(1, 3, 4), R(1, 5, 6), W(2, 7, 8), R(2, 9, 10) } },
		{ "either of two writes at once", true, { W(1, 1, 9), W(2, 2, 8), R(2, 10, 11), R(2, 12, 13) } },
		{ "a read during a write sees the old value, the next one the new", true, { W(1, 1, 2), W(2, 3, 9), R(1, 4, 5), R(2, 6, 7) } },
		{ "a stale read", false, { W(1, 1, 2), W(2, 3, 4), R(1, 5, 6) } },
		{ "a lost write: zeros come back", false, { W(1, 1, 2), R(0, 3, 4) } },
		{ "a value that comes back", false, { W(1, 1, 2), W(2, 3, 9), R(2, 4, 5), R(1, 6, 7) } },
		{ "two readers that do not agree", false, { W(1, 1, 9), W(2, 1, 9), R(1, 10, 11), R(2, 12, 13), R(1, 14, 15) } },
		{ "a read from the future", false, { R(1, 1, 2), W(1, 3, 4) } },
		{ "a value of another place", false, { W(1, 1, 2), R(3, 3, 4) } },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(histories) / sizeof(histories[0]); i++) {
		struct event e[6];
		size_t n = 0;

		memcpy(e, histories[i].events, sizeof(e));
		while (n < 6 && e[n].end_ns)
			n++;
		if ((judge(e, n) == 0) != histories[i].good) {
			printf("the judge is wrong about: %s\n", histories[i].what);
			r = 1;
		}
	}
	return r;
}

/* --- */

static int all_events(struct worker *w, unsigned nr_workers, struct event **ret, size_t *ret_nr)
{
	size_t n = 0, at = 0;

	for (unsigned i = 0; i < nr_workers; i++)
		n += w[i].nr;
	*ret = malloc((n + 1) * sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (unsigned i = 0; i < nr_workers; i++) {
		memcpy(*ret + at, w[i].events, w[i].nr * sizeof(**ret));
		at += w[i].nr;
	}
	*ret_nr = n;
	return 0;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS_MAX];
	unsigned nr = argc > 3 ? (unsigned)atoi(argv[3]) : 4, kib = argc > 4 ? (unsigned)atoi(argv[4]) : 64;
	uint64_t seed = argc > 5 ? strtoull(argv[5], NULL, 0) : 1, reads = 0, writes = 0;
	struct event *events = NULL;
	struct stat st;
	size_t n = 0;
	int r = 0;

	if (argc == 2 && !strcmp(argv[1], "--selftest"))
		return selftest();
	if (argc < 3 || nr < 1 || nr > THREADS_MAX) {
		fprintf(stderr, "usage: linear FILE SECONDS [THREADS] [WINDOW-KIB] [SEED]; FILE reads as zeros\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	nr_sectors = (uint64_t)st.st_size / SECTOR;
	window_sectors = (uint64_t)kib * 1024 / SECTOR;
	if (window_sectors < SECTORS_MAX || nr_sectors < window_sectors) {
		fprintf(stderr, "%s: a window of %u KiB does not fit\n", argv[1], kib);
		return 2;
	}
	window_at = (seed * 0x9e3779b97f4a7c15u >> 16) % (nr_sectors - window_sectors + 1);
	deadline_ns = now_ns() + strtoull(argv[2], NULL, 0) * 1000000000u;
	for (unsigned i = 0; i < nr; i++) {
		workers[i].number = i;
		workers[i].rng = (seed + 1) * 0x9e3779b97f4a7c15u + i;
		if (posix_memalign((void **)&workers[i].buf, 4096, SECTORS_MAX * SECTOR) ||
		    pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			return 2;
	}
	for (unsigned i = 0; i < nr; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].error && !r)
			printf("thread %u: %s\n", i, workers[i].error == -ENOMEM ? "no memory" : workers[i].text);
		r = r ? r : workers[i].error;
	}
	if (!r)
		r = all_events(workers, nr, &events, &n);
	if (!r)
		r = judge(events, n);
	for (size_t i = 0; !r && i < n; i++) {
		reads += !events[i].write;
		writes += events[i].write;
	}
	free(events);
	if (!r)
		printf("linearizable: %" PRIu64 " sectors read, %" PRIu64 " written, %u threads, seed %" PRIu64 "\n", reads, writes, nr, seed);
	return r == -ENOMEM ? 2 : r ? 1 : 0;
}
