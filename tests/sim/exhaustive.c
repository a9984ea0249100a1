/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exhaustive [--length N]: every sequence of up to N operations on the smallest world there is, and a power cut at every disk event of each.
 *
 * The sequences are a tree, and so are the processes: one process is one prefix. It forks a child for each operation that may come next, which
 * performs it and goes on; so every prefix is lived through once. While an operation runs (and a start, and a stop), each disk event
 * forks children for the power cuts at this event: everything unflushed is kept, or dropped, on the cache and on the backing device alike or
 * crosswise, and some choices by seed, which also tear. Such a child recovers, reads everything, asks the model, checks the tree, and ends.
 * Events between which neither a disk nor the model changed are the same cut, and are looked at once.
 *
 * The schedule is that of one seed. What chance does better (many clients, large worlds, other schedules) is for `sim`.
 */
#include "core/admin/log.h"
#include "tests/sim/fork.h"
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

#define LENGTH_MAX 8
#define CPU_SECONDS_MAX 60 /* of one process; it needs milliseconds */
#define SUBSETS_DEFAULT 2
#define PROGRESS_S 60

static const char usage[] =
	"usage: exhaustive [--length N] [--jobs N] [--subsets N] [--seed N] [--only OP,OP,...] [--cut N [--outcome N]] [--trace]\n"
	"\n"
	"  --length N   of the longest sequences (3)\n"
	"  --jobs N     processes that work at a time (1)\n"
	"  --subsets N  of each cut, how many outcomes the seed chooses, besides all kept and all dropped (2)\n"
	"  --only OPS   this sequence only, and its beginnings\n"
	"  --cut N      of this sequence, only the N-th cut; --outcome N: and of that only this outcome\n"
	"  --trace      print what happens\n";

/* Shared with all processes. */
struct shared {
	uint64_t sequences, impossible, cuts, same_cuts, recoveries, violations;
	int idle;	/* how many more processes may work */
	struct world_stats world;
};
static struct shared *shared;

static struct {
	unsigned length, subsets, nr_only;
	enum step only[LENGTH_MAX];
	uint64_t only_cut, only_outcome; /* 0: all */
	bool trace;
} o = { .length = 3, .subsets = SUBSETS_DEFAULT };

/* Where this process is. */
static enum step path[LENGTH_MAX];
static unsigned depth;
static bool cutting;	    /* disk events are cut at */
static bool recovers;	    /* this is a child that lives through one power cut */
static bool thorough;	    /* ... and starts once more, to see what the first start left */
static uint64_t nr_cuts;    /* on the way from the root to here */
static uint64_t outcome;    /* that this child tries */
static uint64_t seen_disks, seen_model;

#define COUNT(what) __atomic_fetch_add(&shared->what, 1, __ATOMIC_RELAXED)

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- failures ------------------------------------------------------------------------------------------------------- */

static void report(const char *what)
{
	char text[200];
	struct printbuf out = PRINTBUF(text);

	for (unsigned i = 0; i < depth; i++)
		pr(&out, "%s%s", i ? "," : "", step_names[path[i]]);
	if (recovers)
		printf("FAILED: after '%s', power cut %llu, outcome %llu: %s\n", text, (unsigned long long)nr_cuts, (unsigned long long)outcome, what);
	else
		printf("FAILED: after '%s': %s\n", text, what);
	printf("repeat with: exhaustive --only '%s'", text);
	if (recovers)
		printf(" --cut %llu --outcome %llu", (unsigned long long)nr_cuts, (unsigned long long)outcome);
	if (o.subsets != SUBSETS_DEFAULT)
		printf(" --subsets %u", o.subsets);
	printf(" --trace\n");
	fflush(stdout);
	COUNT(violations);
}

static _Noreturn void give_up(struct world *w)
{
	report(w->failure);
	_exit(1);
}

/* --- processes ------------------------------------------------------------------------------------------------------ */

static pid_t started(pid_t pid)
{
	if (pid < 0) {
		report("cannot fork");
		_exit(1);
	}
	return pid;
}

/* A child that did not say itself what went wrong. */
static void judge(pid_t pid, int status, const char *what)
{
	char text[100];

	if (!WIFSIGNALED(status))
		return;
	snprintf(text, sizeof(text), "%s ends with signal %d (%s)", what, WTERMSIG(status), strsignal(WTERMSIG(status)));
	report(text);
}

static void wait_for(pid_t pid, const char *what)
{
	int status;

	waitpid(pid, &status, 0);
	judge(pid, status, what);
}

static bool work_beside(void)
{
	int n = __atomic_load_n(&shared->idle, __ATOMIC_RELAXED);

	while (n > 0)
		if (__atomic_compare_exchange_n(&shared->idle, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void work_ends(int n)
{
	__atomic_fetch_add(&shared->idle, n, __ATOMIC_RELAXED);
}

/* --- power cuts ----------------------------------------------------------------------------------------------------- */

static const struct {
	enum blk_sim_keep cache, backing;
} ends[] = {
	{ BLK_SIM_KEEP_ALL, BLK_SIM_KEEP_ALL },
	{ BLK_SIM_KEEP_NONE, BLK_SIM_KEEP_NONE },
	{ BLK_SIM_KEEP_ALL, BLK_SIM_KEEP_NONE },
	{ BLK_SIM_KEEP_NONE, BLK_SIM_KEEP_ALL },
};

/* n counts from 0. False: there is no such outcome, or it is one of those before. */
static bool choose_outcome(struct world *w, uint64_t n)
{
	uint64_t on_cache = blk_sim_nr_unflushed(w->cache.sim), on_backing = blk_sim_nr_unflushed(w->backing[0].sim);

	if (n < ARRAY_SIZE(ends)) {
		w->keep_cache = ends[n].cache;
		w->keep_backing = ends[n].backing;
		return n == 0 || (n == 1 && (on_cache || on_backing)) || (on_cache && on_backing);
	}
	w->keep_cache = w->keep_backing = BLK_SIM_KEEP_SOME;
	w->crash_rng = prng_seeded(w->options.seed + prng_mix(nr_cuts) + n);
	return on_cache || on_backing;
}

static bool changed(struct world *w)
{
	uint64_t disks = blk_sim_changes(w->cache.sim) + blk_sim_changes(w->backing[0].sim), model = model_time(w->model[0]);

	if (disks == seen_disks && model == seen_model)
		return false;
	seen_disks = disks;
	seen_model = model;
	return true;
}

/* True in a child, for which the power goes here. */
static bool cut_here(struct world *w)
{
	COUNT(cuts);
	if (!changed(w)) {
		COUNT(same_cuts);
		return false;
	}
	nr_cuts++;
	if (o.only_cut && nr_cuts != o.only_cut)
		return false;
	for (uint64_t n = 0; n < ARRAY_SIZE(ends) + o.subsets && !shared->violations; n++) {
		pid_t pid;

		if (!choose_outcome(w, n) || (o.only_outcome && n + 1 != o.only_outcome))
			continue;
		outcome = n + 1;
		recovers = true;
		pid = started(fork_world());
		if (!pid) {
			cutting = false;
			thorough = n + 1 == ARRAY_SIZE(ends) + o.subsets;
			COUNT(recoveries);
			return true;
		}
		wait_for(pid, "recovery");
		recovers = false;
	}
	return false;
}

static void at_event(struct world *w)
{
	if (cutting && cut_here(w))
		w->power.cut_at = w->power.nr_events;
}

static void cut_between(struct world *w)
{
	if (cut_here(w))
		world_cut_now(w);
}

/* --- the tree ------------------------------------------------------------------------------------------------------- */

static void verify_and_exit(struct world *w)
{
	world_verify(w);
	if (world_failed(w))
		give_up(w);
	_exit(0);
}

static bool wanted(unsigned at, enum step op)
{
	return !o.nr_only || (at < o.nr_only && o.only[at] == op);
}

/* A child for each operation that may come next; the parent ends with the last of them. */
static enum step fork_next(struct world *w)
{
	unsigned beside = 0;

	for (enum step op = 0; op < STEPS && !shared->violations; op++) {
		bool is_beside;
		pid_t pid;

		if (!wanted(depth, op))
			continue;
		if (!step_possible(w, op)) {
			COUNT(impossible);
			continue;
		}
		is_beside = work_beside();
		path[depth++] = op;
		pid = started(fork_world());
		if (!pid) {
			COUNT(sequences);
			return op;
		}
		if (is_beside)
			beside++;
		else
			wait_for(pid, "operation");
		depth--;
	}
	/* While we only wait, another may work; each child that worked beside us gives its permission back, too. */
	work_ends(1);
	for (int status; beside; beside--) {
		pid_t pid = wait(&status);

		judge(pid, status, "operation");
		work_ends(1);
	}
	work_ends(-1);
	_exit(0);
}

static void explore(struct world *w, void *ctx)
{
	steps_configure(w);
	if (depth == 0) {
		cutting = false;
		steps_prepare(w);
		cutting = true;
	}
	for (;;) {
		enum step op;

		if (world_failed(w))
			give_up(w);
		cut_between(w);
		if (depth == o.length)
			verify_and_exit(w);
		op = fork_next(w);
		world_trace(w, "--- %s", step_names[op]);
		if (op == STEP_STOP)
			return;
		if (op == STEP_CRASH) {
			w->keep_cache = w->keep_backing = BLK_SIM_KEEP_SOME;
			w->crash_rng = prng_seeded(w->options.seed + prng_mix(nr_cuts));
			world_cut_now(w);
		}
		step_perform(w, op);
	}
}

static void recover(struct world *w, void *ctx)
{
	if (!thorough)
		verify_and_exit(w);
	world_verify(w);
}

static _Noreturn void live(struct world *w)
{
	unsigned starts = 0;

	for (;;) {
		enum world_end end;

		w->power.cut_at = 0;
		cutting = !recovers;
		end = world_boot(w, recovers ? recover : explore, NULL);
		if (end == WORLD_FAILED)
			give_up(w);
		if (recovers && end == WORLD_STOPPED && ++starts == 2)
			_exit(0);
		if (starts)
			thorough = false; /* the second start only reads */
	}
}

static void live_in_child(const struct world_options *options)
{
	struct world *w;
	pid_t pid;

	fflush(NULL);
	pid = started(fork());
	if (pid) {
		wait_for(pid, "first start");
		return;
	}
	setrlimit(RLIMIT_CPU, &(struct rlimit){ CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1 });
	if (!o.trace)
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	w = world_new(options, &shared->world);
	if (world_failed(w))
		give_up(w);
	w->on_event = at_event;
	live(w);
}

/* --- command line --------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (!*text || *end) {
		fprintf(stderr, "exhaustive: '%s' is not a number\n%s", text, usage);
		exit(2);
	}
	return n;
}

static void parse_only(char *text)
{
	for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
		enum step op = 0;

		while (op < STEPS && strcmp(name, step_names[op]) != 0)
			op++;
		if (op == STEPS || o.nr_only == LENGTH_MAX) {
			fprintf(stderr, "exhaustive: what is '%s'?\n%s", name, usage);
			exit(2);
		}
		o.only[o.nr_only++] = op;
	}
	o.length = o.nr_only;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "length", 1, NULL, 'l' }, { "jobs", 1, NULL, 'j' }, { "subsets", 1, NULL, 's' }, { "seed", 1, NULL, 'S' }, { "only", 1, NULL, 'o' },
		{ "cut", 1, NULL, 'c' }, { "outcome", 1, NULL, 'k' }, { "trace", 0, NULL, 't' }, { "help", 0, NULL, 'h' }, { 0 },
	};
	struct world_options options = { .seed = 1, .tiny = true, .nr_outcomes = 1 };
	double begun = seconds();
	unsigned jobs = 1;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'l':
			o.length = (unsigned)number(optarg);
			break;
		case 'j':
			jobs = (unsigned)number(optarg);
			break;
		case 's':
			o.subsets = (unsigned)number(optarg);
			break;
		case 'S':
			options.seed = number(optarg);
			break;
		case 'o':
			parse_only(optarg);
			break;
		case 'c':
			o.only_cut = number(optarg);
			break;
		case 'k':
			o.only_outcome = number(optarg);
			break;
		case 't':
			o.trace = options.trace = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc || o.length > LENGTH_MAX || !jobs) {
		fputs(usage, stderr);
		return 2;
	}
	if (o.trace)
		setvbuf(stdout, NULL, _IOLBF, 0);
	else
		log_set_level(LOG_LEVEL_ERROR);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	shared->idle = (int)jobs - 1;
	live_in_child(&options);
	printf("sequences of up to %u operations: %llu (%llu more cannot happen), %llu power cuts, %llu of them different, %llu recoveries, %.1f s, "
	       "%llu violations\n",
	       o.length, (unsigned long long)shared->sequences, (unsigned long long)shared->impossible, (unsigned long long)shared->cuts,
	       (unsigned long long)(shared->cuts - shared->same_cuts), (unsigned long long)shared->recoveries, seconds() - begun,
	       (unsigned long long)shared->violations);
	return shared->violations ? 1 : 0;
}
