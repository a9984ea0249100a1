/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sim SEED [COUNT] [options]: live through COUNT worlds, with seeds from SEED on.
 *
 * Every world runs in a process of its own, so that an assertion or a leak in one is only its own. The first one that fails ends the
 * run; the last line then is the command that repeats it.
 */
#include "core/admin/log.h"
#include "tests/sim/shrink.h"
#include "tests/sim/verdict.h"
#include "tests/sim/workload.h"
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_OPS_DEFAULT 400
#define EXIT_NOT_CUT 4 /* the first boot was over before --cut-at */
#define SHRINK_RUNS_MAX 3000
#define CPU_SECONDS_MAX 120 /* of one world; it needs one or two. More means that it runs in circles */

static const char usage[] =
	"usage: sim SEED [COUNT] [--minutes N] [--ops N] [--cut-at EVENT | --every-cut] [--outcomes N] [--jobs N]\n"
	"           [--leave DIR | --judge DIR]\n"
	"           [--faults] [--enospc] [--lies] [--no-memory] [--shrink | --script SCRIPT] [--trace | --trace-io] [--here]\n"
	"\n"
	"  COUNT          how many worlds (1), with the seeds SEED, SEED + 1, ...\n"
	"  --minutes N    new worlds until N minutes have passed, instead of COUNT\n"
	"  --ops N        operations of the clients in a world, about (400)\n"
	"  --cut-at EVENT one boot only, and the power goes at this event (start or end of a bio)\n"
	"  --every-cut    each world with every --cut-at there is\n"
	"  --outcomes N   of each power cut (the seed says)\n"
	"  --jobs N       worlds at a time (1)\n"
	"  --faults       disks fail now and then\n"
	"  --enospc       and writes fail as on a full file system below sparse files\n"
	"  --lies         the cache returns older or other contents when its metadata is read\n"
	"  --no-memory    allocations of the core fail now and then\n"
	"  --shrink       take away what a failing world does not need to fail, and print the rest\n"
	"  --script TEXT  live through this part of the world only (as --shrink printed it)\n"
	"  --leave DIR    end in a power cut, and leave the disks in DIR: cache.img, backing0.img, ...\n"
	"  --judge DIR    the same life, and are DIR/dev0.img, ... what somebody may read of the devices then?\n"
	"  --trace        print what happens; --trace-io: each bio, too\n"
	"  --here         no process per world: for debuggers\n";

static struct world_stats *stats; /* shared with all processes */
static struct world_options options = { .nr_ops = NR_OPS_DEFAULT };
static const char *program, *leave_dir, *judge_dir;

/* The exit status of its process. */
static int run_world(uint64_t seed, uint64_t cut_at)
{
	struct world_options o = options;
	struct world *w;
	int r;

	o.seed = seed;
	o.cut_at = cut_at;
	w = world_new(&o, stats);
	r = world_failed(w) ? -1 : workload_run(w);
	if (!r && leave_dir)
		r = verdict_leave(w, leave_dir);
	if (!r && judge_dir)
		r = verdict_judge(w, judge_dir);
	if (r < 0)
		printf("FAILED: %s\n", w->failure);
	else
		__atomic_fetch_add(&stats->seeds, 1, __ATOMIC_RELAXED);
	fflush(stdout);
	if (r < 0)
		return 1; /* disks may be open: leave it to exit() */
	r = cut_at && !w->first_boot_cut ? EXIT_NOT_CUT : 0;
	world_free(w);
	return r;
}

static void limit_world(void)
{
	setrlimit(RLIMIT_CPU, &(struct rlimit){ CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1 });
	if (!options.trace)
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
}

static pid_t start_world(uint64_t seed, uint64_t cut_at)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	limit_world();
	_exit(run_world(seed, cut_at));
}

/* --- shrinking ------------------------------------------------------------------------------------------------------ */

static void print_faults(void)
{
	printf("%s%s%s", options.no_space ? " --enospc" : options.faults ? " --faults" : "", options.lies ? " --lies" : "",
	       options.no_memory ? " --no-memory" : "");
}

static void *shared_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

struct shrink_world {
	uint64_t seed;
	struct script *record;	/* shared with the process that lives through the world */
};

/* In silence: what fails is said once, at the end. */
static bool script_fails(void *ctx, const struct script *s, struct script *recorded)
{
	struct shrink_world *x = ctx;
	int status = 0;
	pid_t pid;

	memset(x->record, 0, sizeof(*x->record));
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (!pid) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		limit_world();
		options.record = x->record;
		options.script = s;
		_exit(run_world(x->seed, 0));
	}
	waitpid(pid, &status, 0);
	*recorded = *x->record;
	return status != 0;
}

static int shrink_world(uint64_t seed)
{
	struct shrink_world ctx = { .seed = seed, .record = shared_memory(sizeof(struct script)) };
	struct shrinker x = { .fails = script_fails, .ctx = &ctx, .runs_max = SHRINK_RUNS_MAX };
	struct script *s = shared_memory(sizeof(*s));
	static char text[64 * SCRIPT_OPS_MAX];
	struct printbuf out = PRINTBUF(text);
	int status = 0;
	unsigned boots = 0;
	pid_t pid;

	if (!script_fails(&ctx, options.script, s)) {
		printf("seed %llu does not fail: there is nothing to shrink\n", (unsigned long long)seed);
		return 1;
	}
	printf("seed %llu fails after %u operations; taking away what it does not need ...\n", (unsigned long long)seed, s->nr_ops);
	shrink(&x, s);
	script_to_text(s, &out);
	for (unsigned b = 0; b < SCRIPT_BOOTS_MAX; b++)
		boots += s->lived[b];
	printf("%u operations in %u boots are left after %u runs:\n", s->nr_ops, boots, x.runs);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		options.trace = true;
		options.script = s;
		limit_world();
		_exit(run_world(seed, 0));
	}
	waitpid(pid, &status, 0);
	printf("repeat with: %s %llu", program, (unsigned long long)seed);
	print_faults();
	printf(" --script '%s' --trace\n", text);
	return 0;
}

/* --- campaigns ------------------------------------------------------------------------------------------------------ */

static void report_failure(uint64_t seed, uint64_t cut_at, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
		printf("FAILED: %d s of CPU time, and no end\n", CPU_SECONDS_MAX);
	else if (WIFSIGNALED(status))
		printf("FAILED: signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	printf("repeat with: %s %llu", program, (unsigned long long)seed);
	if (options.nr_ops != NR_OPS_DEFAULT)
		printf(" --ops %u", options.nr_ops);
	print_faults();
	if (options.nr_outcomes)
		printf(" --outcomes %u", options.nr_outcomes);
	if (cut_at)
		printf(" --cut-at %llu", (unsigned long long)cut_at);
	printf(" --trace%s\n", options.script ? " and the script" : "");
	if (cut_at || options.script)
		return;
	printf("make it smaller with: %s %llu --shrink", program, (unsigned long long)seed);
	print_faults();
	printf("\n");
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct job {
	pid_t pid; /* 0: free */
	uint64_t seed, cut_at;
};

struct campaign {
	uint64_t next_seed, end_seed, next_cut;
	double deadline; /* 0: none */
	bool every_cut;
	struct job *jobs;
	unsigned nr_jobs;
};

/* The next world to live through. With --every-cut a seed is done when its first boot ends before the cut: run_jobs() moves on. */
static bool next_job(struct campaign *c, struct job *j)
{
	if (c->deadline != 0 ? seconds() >= c->deadline : c->next_seed == c->end_seed)
		return false;
	j->seed = c->next_seed;
	j->cut_at = options.cut_at;
	if (c->every_cut)
		j->cut_at = ++c->next_cut;
	else
		c->next_seed++;
	return true;
}

static bool run_jobs(struct campaign *c)
{
	unsigned running = 0;
	bool good = true;
	int status;

	for (;;) {
		for (unsigned i = 0; i < c->nr_jobs && good; i++) {
			struct job *j = &c->jobs[i];

			if (j->pid || !next_job(c, j))
				continue;
			j->pid = start_world(j->seed, j->cut_at);
			if (j->pid < 0) {
				perror("fork");
				return false;
			}
			running++;
		}
		if (!running)
			return good;
		pid_t pid = wait(&status);
		for (unsigned i = 0; i < c->nr_jobs; i++) {
			struct job *j = &c->jobs[i];

			if (j->pid != pid)
				continue;
			j->pid = 0;
			running--;
			if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_CUT) {
				status = 0;
				if (c->every_cut && j->seed == c->next_seed) { /* later events do not exist either */
					c->next_seed++;
					c->next_cut = 0;
				}
			}
			if (status && good)
				report_failure(j->seed, j->cut_at, status);
			good &= !status;
		}
	}
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (!*text || *end) {
		fprintf(stderr, "sim: '%s' is not a number\n%s", text, usage);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "minutes", 1, NULL, 'm' }, { "ops", 1, NULL, 'o' }, { "cut-at", 1, NULL, 'c' },   { "every-cut", 0, NULL, 'e' },
		{ "trace-io", 0, NULL, 'T' }, { "outcomes", 1, NULL, 'k' }, { "jobs", 1, NULL, 'j' }, { "trace", 0, NULL, 't' }, { "here", 0, NULL, 'H' },
		{ "faults", 0, NULL, 'f' }, { "enospc", 0, NULL, 'E' }, { "lies", 0, NULL, 'l' }, { "no-memory", 0, NULL, 'n' },
		{ "shrink", 0, NULL, 's' }, { "script", 1, NULL, 'S' },
		{ "leave", 1, NULL, 'L' }, { "judge", 1, NULL, 'J' }, { "help", 0, NULL, 'h' }, { 0 },
	};
	struct campaign c = { .nr_jobs = 1 };
	double begun = seconds();
	bool here = false, good = true, shrinks = false;
	static struct script script;
	int option;

	program = argv[0];
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm':
			c.deadline = begun + 60.0 * (double)number(optarg);
			break;
		case 'o':
			options.nr_ops = (unsigned)number(optarg);
			break;
		case 'c':
			options.cut_at = number(optarg);
			break;
		case 'e':
			c.every_cut = true;
			break;
		case 'k':
			options.nr_outcomes = (unsigned)number(optarg);
			break;
		case 'j':
			c.nr_jobs = (unsigned)number(optarg);
			break;
		case 's':
			shrinks = true;
			break;
		case 'S':
			options.script = &script;
			if (script_parse(optarg, &script) < 0) {
				fprintf(stderr, "sim: '%s' is not a script (see tests/sim/script.h)\n", optarg);
				return 2;
			}
			break;
		case 'L':
			leave_dir = optarg;
			options.for_kernel = true;
			break;
		case 'J':
			judge_dir = optarg;
			options.for_kernel = true;
			break;
		case 'E':
			options.faults = options.no_space = true;
			break;
		case 'l':
			options.lies = true;
			break;
		case 'n':
			options.no_memory = true;
			break;
		case 'f':
			options.faults = true;
			break;
		case 't':
			options.trace = true;
			break;
		case 'T':
			options.trace = options.trace_io = true;
			break;
		case 'H':
			here = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind == argc || argc - optind > 2) {
		fputs(usage, stderr);
		return 2;
	}
	c.next_seed = number(argv[optind]);
	c.end_seed = c.next_seed + (argc - optind == 2 ? number(argv[optind + 1]) : 1);
	uint64_t first = c.next_seed;

	if (options.trace)
		setvbuf(stdout, NULL, _IOLBF, 0); /* in step with the log on stderr */
	else
		log_set_level(LOG_LEVEL_ERROR);
	stats = shared_memory(sizeof(*stats));
	if (shrinks)
		return shrink_world(first);
	c.jobs = calloc(c.nr_jobs, sizeof(*c.jobs));
	if (!c.jobs)
		return 2;
	if (here)
		for (; good && c.next_seed != c.end_seed; c.next_seed++)
			good = run_world(c.next_seed, options.cut_at) != 1;
	else
		good = run_jobs(&c);
	printf("seeds %llu to %llu: %llu worlds, %llu operations, %llu disk events, %llu power cuts (%llu while starting, %llu while "
	       "stopping, %llu of the process only), %llu recoveries from them, %llu sectors with a choice, %llu dirty counts compared, "
	       "%llu merges of nodes, %llu keys moved, "
	       "%llu devices stopped and registered again, %llu run without cache, %llu forgotten, %llu taken back, %.1f s, %s\n",
	       (unsigned long long)first, (unsigned long long)c.next_seed - 1, (unsigned long long)stats->seeds,
	       (unsigned long long)stats->operations, (unsigned long long)stats->events, (unsigned long long)stats->cuts,
	       (unsigned long long)stats->cuts_starting, (unsigned long long)stats->cuts_stopping, (unsigned long long)stats->deaths,
	       (unsigned long long)stats->outcomes, (unsigned long long)stats->ambiguous, (unsigned long long)stats->stripe_checks, (unsigned long long)stats->merged,
	       (unsigned long long)stats->moved, (unsigned long long)stats->returned, (unsigned long long)stats->forced,
	       (unsigned long long)stats->forgotten, (unsigned long long)stats->readopted, seconds() - begun, good ? "0 violations" : "1 VIOLATION");
	if (options.faults || options.lies || options.no_memory)
		printf("%llu faults, %llu operations refused\n", (unsigned long long)stats->faults,
		       (unsigned long long)stats->refused);
	free(c.jobs);
	return good ? 0 : 1;
}
