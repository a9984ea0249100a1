/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * nth [--stride N]: live through one fixed world again and again, and each time the next I/O, or the next allocation, fails.
 *
 * For each kind of fault, n counts from 1 until a life goes by without a hit. In every life operations may fail once something was made to,
 * but what is read is right; nothing may crash, assert, hang for a day, or keep memory after an orderly stop; and a last boot without faults
 * must find everything that was flushed.
 *
 * A life: first start, a workload that visits everything once, stop; start, some writes, power cut; recovery, some more, stop; (no faults
 * from here on) start and verify. Each life is a process of its own.
 */
#include "core/admin/log.h"
#include "tests/sim/alloc_fault.h"
#include "tests/sim/steps.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CPU_SECONDS_MAX 60 /* of one life; it needs milliseconds */
#define JOBS_MAX 64

static const char usage[] =
	"usage: nth [--stride N] [--jobs N] [--seed N] [--kind KIND [--n N]] [--keep-going] [--trace]\n"
	"\n"
	"  --stride N   only every N-th n (1)\n"
	"  --kind KIND  this kind of fault only; --n N: this life only\n"
	"  --trace      print what happens\n";

enum disks { CACHE = 1, BACKING = 2, BOTH = 3 };

struct kind {
	const char *name;
	unsigned ops;	   /* of disks; 0: allocations */
	enum disks disks;
	bool from_then_on;
};
#define WRITES (BLK_SIM_OP(BIO_WRITE) | BLK_SIM_OP(BIO_ZERO))
static const struct kind kinds[] = {
	{ "read", BLK_SIM_OP(BIO_READ), BOTH, false },
	{ "write", WRITES, BOTH, false },
	{ "flush", BLK_SIM_OP(BIO_FLUSH), BOTH, false },
	{ "discard", BLK_SIM_OP(BIO_DISCARD), BOTH, false },
	{ "cache-reads-from", BLK_SIM_OP(BIO_READ), CACHE, true },
	{ "cache-writes-from", WRITES | BLK_SIM_OP(BIO_FLUSH), CACHE, true },
	{ "cache-from", BLK_SIM_ALL_OPS, CACHE, true },
	{ "backing-reads-from", BLK_SIM_OP(BIO_READ), BACKING, true },
	{ "backing-writes-from", WRITES | BLK_SIM_OP(BIO_FLUSH), BACKING, true },
	{ "backing-from", BLK_SIM_ALL_OPS, BACKING, true },
	{ "everything-from", BLK_SIM_ALL_OPS, BOTH, true },
	{ "allocation", 0, 0, false },
	{ "allocations-from", 0, 0, true },
};

static struct shared {
	uint64_t lives, hits, violations;
	bool hit[JOBS_MAX]; /* by life of the batch */
	struct world_stats world;
} *shared;

static struct world_options options = { .seed = 1, .tiny = true, .nr_outcomes = 1 };
static const struct kind *kind; /* of this life */
static uint64_t n, bios;
static unsigned slot;	   /* of this life in its batch */

/* --- one life ------------------------------------------------------------------------------------------------------- */

static void fail_bios(struct blk_sim *s)
{
	struct blk_sim_fault f = { .ops = kind->ops, .skip = n - 1, .count = kind->from_then_on ? 0 : 1, .error = -EIO, .counter = &bios };

	blk_sim_add_fault(s, &f);
}

static void plan_faults(struct world *w)
{
	struct alloc_fault f = { .fail_at = n, .from_then_on = kind->from_then_on };

	if (!n)
		return;
	if (kind->disks & CACHE)
		fail_bios(w->cache.sim);
	if (kind->disks & BACKING)
		fail_bios(w->backing[0].sim);
	if (!kind->ops)
		alloc_fault_arm(&f);
}

static void steps(struct world *w, const enum step *list, unsigned nr)
{
	for (unsigned i = 0; i < nr && !world_failed(w); i++) {
		world_trace(w, "--- %s", step_names[list[i]]);
		step_perform(w, list[i]);
	}
}
#define STEPS_OF(w, ...) steps(w, (const enum step[]){ __VA_ARGS__ }, ARRAY_SIZE(((const enum step[]){ __VA_ARGS__ })))

static void show(struct world *w, const char *path)
{
	static char text[BCF_CTL_TEXT_BYTES];
	char full[BCF_CTL_PATH_BYTES];
	struct printbuf out = PRINTBUF(text);

	snprintf(full, sizeof(full), path, w->set_uuid_text);
	ignore_result(bcf_ctl_show(w->bcf, full, &out)); /* that it ends is what counts */
}

/* Everything once. */
static void everything(struct world *w, void *ctx)
{
	steps_configure(w);
	steps_prepare(w);
	STEPS_OF(w, STEP_WRITE, STEP_FLUSH, STEP_READ, STEP_OVERWRITE, STEP_PUNCH, STEP_FLUSH, STEP_GC, STEP_WRITEBACK, STEP_READ, STEP_WRITE);
	STEPS_OF(w, STEP_MODE, STEP_OVERWRITE, STEP_READ, STEP_MODE, STEP_WRITE, STEP_MODE, STEP_READ, STEP_MODE); /* all four modes */
	STEPS_OF(w, STEP_MODE, STEP_WRITE, STEP_GC, STEP_DETACH, STEP_OVERWRITE, STEP_FLUSH, STEP_ATTACH, STEP_READ, STEP_WRITE, STEP_FLUSH);
	show(w, "%s/cache0/priority_stats");
	show(w, "status");
	STEPS_OF(w, STEP_GC, STEP_OVERWRITE);
}

static void until_a_cut(struct world *w, void *ctx)
{
	steps_configure(w);
	STEPS_OF(w, STEP_WRITE, STEP_FLUSH, STEP_PUNCH, STEP_READ, STEP_OVERWRITE, STEP_FLUSH, STEP_WRITE);
	if (!world_failed(w))
		world_cut_now(w);
}

static void after_it(struct world *w, void *ctx)
{
	steps_configure(w);
	STEPS_OF(w, STEP_READ, STEP_OVERWRITE, STEP_FLUSH, STEP_WRITEBACK, STEP_GC);
}

static void only_verify(struct world *w, void *ctx)
{
	world_verify(w);
}

/* The memory of the engine itself comes before that of the core, and does not fail. */
static enum world_end boot(struct world *w, void (*body)(struct world *w, void *ctx))
{
	enum world_end end = world_boot(w, body, NULL);

	alloc_fault_disarm();
	return end;
}

static void live(struct world *w)
{
	uint64_t before = alloc_fault_outstanding();

	w->plan_faults = plan_faults;
	boot(w, everything);
	world_check_memory(w, before);
	if (world_failed(w))
		return;
	boot(w, until_a_cut);
	if (world_failed(w))
		return;
	before = alloc_fault_outstanding(); /* a cut leaves what fibers owned */
	boot(w, after_it);
	world_check_memory(w, before);
	w->plan_faults = NULL;
	for (unsigned i = 0; i < 2 && !world_failed(w); i++)
		if (boot(w, only_verify) != WORLD_STOPPED && !world_failed(w))
			world_fail(w, "did not stop in order");
}

/* Exit status of its process. */
static int run(void)
{
	struct world *w;
	uint64_t hits;

	alloc_fault_track();
	w = world_new(&options, &shared->world);
	if (!world_failed(w))
		live(w);
	hits = alloc_fault_hits() + blk_sim_stats(w->cache.sim)->nr_faults + blk_sim_stats(w->backing[0].sim)->nr_faults;
	if (hits)
		shared->hit[slot] = true;
	__atomic_fetch_add(&shared->hits, hits, __ATOMIC_RELAXED);
	if (world_failed(w))
		printf("FAILED: %s %llu: %s\n", kind->name, (unsigned long long)n, w->failure);
	fflush(stdout);
	return world_failed(w);
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

static pid_t start(const struct kind *k, uint64_t number, unsigned in_slot)
{
	pid_t pid;

	kind = k;
	n = number;
	slot = in_slot;
	shared->hit[slot] = false;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (pid)
		return pid;
	setrlimit(RLIMIT_CPU, &(struct rlimit){ CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1 });
	if (!options.trace) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		if (!freopen("/dev/null", "w", stderr)) /* errors are what we make; a repetition with --trace shows them */
			_exit(2);
	}
	_exit(run());
}

static void judge(const struct kind *k, uint64_t number, int status)
{
	shared->lives++;
	if (!status)
		return;
	if (WIFSIGNALED(status))
		printf("FAILED: %s %llu: signal %d (%s)\n", k->name, (unsigned long long)number, WTERMSIG(status), strsignal(WTERMSIG(status)));
	printf("repeat with: nth --kind %s --n %llu --trace\n", k->name, (unsigned long long)number);
	shared->violations++;
}

/* Up to nr lives, n = first, first + stride, ... False: one of them was not hit. */
static bool run_batch(const struct kind *k, uint64_t first, uint64_t stride, unsigned nr)
{
	pid_t pids[JOBS_MAX];
	bool all_hit = true;

	for (unsigned i = 0; i < nr; i++)
		pids[i] = start(k, first + i * stride, i);
	for (unsigned i = 0; i < nr; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		judge(k, first + i * stride, status);
		all_hit &= shared->hit[i] || WIFSIGNALED(status);
	}
	return all_hit;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_kind(const struct kind *k, uint64_t stride, unsigned jobs, bool keep_going)
{
	uint64_t lives = shared->lives, violations = shared->violations;
	double begun = seconds();

	for (uint64_t first = 1; run_batch(k, first, stride, jobs) && (keep_going || shared->violations == violations); first += stride * jobs)
		;
	printf("%-20s %6llu lives, %.1f s, %llu violations\n", k->name, (unsigned long long)(shared->lives - lives), seconds() - begun,
	       (unsigned long long)(shared->violations - violations));
}

/* --- command line --------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
	char *end;
	uint64_t v = strtoull(text, &end, 0);

	if (!*text || *end) {
		fprintf(stderr, "nth: '%s' is not a number\n%s", text, usage);
		exit(2);
	}
	return v;
}

static const struct kind *kind_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	fprintf(stderr, "nth: what kind is '%s'? There are:", name);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		fprintf(stderr, " %s", kinds[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "stride", 1, NULL, 's' }, { "jobs", 1, NULL, 'j' }, { "seed", 1, NULL, 'S' }, { "kind", 1, NULL, 'k' }, { "n", 1, NULL, 'n' },
		{ "keep-going", 0, NULL, 'g' }, { "trace", 0, NULL, 't' }, { "help", 0, NULL, 'h' }, { 0 },
	};
	const struct kind *only = NULL;
	uint64_t stride = 1, only_n = 0;
	double begun = seconds();
	bool keep_going = false;
	unsigned jobs = 1;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 's':
			stride = number(optarg);
			break;
		case 'j':
			jobs = (unsigned)number(optarg);
			break;
		case 'S':
			options.seed = number(optarg);
			break;
		case 'k':
			only = kind_named(optarg);
			break;
		case 'n':
			only_n = number(optarg);
			break;
		case 'g':
			keep_going = true;
			break;
		case 't':
			options.trace = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc || !stride || !jobs || jobs > JOBS_MAX || (only_n && !only)) {
		fputs(usage, stderr);
		return 2;
	}
	if (options.trace)
		setvbuf(stdout, NULL, _IOLBF, 0);
	else
		log_set_level(LOG_LEVEL_ERROR);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	if (only_n)
		(void)run_batch(only, only_n, 1, 1); /* whether it was hit: it is only one */
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !only_n; i++)
		if (!only || only == &kinds[i])
			run_kind(&kinds[i], stride, jobs, keep_going);
	printf("fail the n-th: %llu lives, %llu faults hit, %.1f s, %llu violations\n", (unsigned long long)shared->lives,
	       (unsigned long long)shared->hits, seconds() - begun, (unsigned long long)shared->violations);
	return shared->violations ? 1 : 0;
}
