/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cycles COUNT [SEED]: one process starts and stops a set COUNT times, and each stop finds it at work.
 *
 * In each cycle some operations of steps.h run, the dirty data they leave is being written back, gc may be running, and in every second one
 * clients write while the set is told to stop. After each stop, everything that the core allocated has been freed, and the
 * process has the descriptors and threads that it had before. What was written is there at the next start, and at the end (the model).
 */
#include "core/admin/log.h"
#include "core/engine/fiber.h"
#include "tests/sim/alloc_fault.h"
#include "tests/sim/steps.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITERS 3

static struct world_stats stats;
static uint32_t gen = 1u << 24; /* those of steps.c are below */
static uint64_t stopped_under_io, refused;

static unsigned nr_entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- at work -------------------------------------------------------------------------------------------------------- */

/* Until the device is gone; what fails then may or may not have happened. */
static void writer(void *arg)
{
	struct world *w = arg;
	struct bcf_io io = { .pid = 1, .handle = 1 };
	uint8_t buf[4 * SECTOR_BYTES];
	struct prng rng = prng_seeded(prng_u64(&w->rng));
	struct bdev *d;
	int64_t r = 0;

	while (r >= 0 && (d = world_bdev(w, 0)) != NULL) {
		struct model_op op = { .offset_bytes = prng_below(&rng, STEPS_SECTORS - 4) * SECTOR_BYTES, .len_bytes = sizeof(buf),
				       .gen = ++gen, .direct = true };

		model_pattern(0, op.gen, op.offset_bytes, buf, sizeof(buf));
		model_write_begin(w->model[0], &op);
		r = bcf_write(d, buf, sizeof(buf), op.offset_bytes, &io);
		model_write_end(w->model[0], &op, r < 0 ? (int)r : 0, false);
		refused += r < 0;
	}
}

static void stop_under_writers(struct world *w)
{
	struct fiber *writers[WRITERS];

	for (unsigned i = 0; i < WRITERS; i++)
		if (!(writers[i] = fiber_spawn("writer", writer, w)))
			abort();
	fiber_sleep_ns(prng_below(&w->rng, 20 * NS_PER_MS));
	if (world_ctl(w, -1, "%s/stop", "1") < 0)
		world_fail(w, "the set cannot be stopped");
	for (unsigned i = 0; i < WRITERS; i++)
		fiber_join(writers[i]);
	stopped_under_io++;
}

static void cycle(struct world *w, void *ctx)
{
	static const enum step list[] = { STEP_WRITE, STEP_OVERWRITE, STEP_FLUSH, STEP_READ, STEP_PUNCH, STEP_MODE, STEP_ATTACH, STEP_DETACH, STEP_GC };
	const bool *under_writers = ctx;

	for (unsigned n = (unsigned)prng_below(&w->rng, 6); n && !world_failed(w); n--) {
		enum step op = list[prng_below(&w->rng, ARRAY_SIZE(list))];

		if (step_possible(w, op))
			step_perform(w, op);
	}
	if (prng_one_in(&w->rng, 2)) /* without waiting for it */
		ignore_result(world_ctl(w, -1, "%s/internal/trigger_gc", "1"));
	if (*under_writers && !world_failed(w) && world_bdev(w, 0) && world_bdev(w, 0)->set)
		stop_under_writers(w);
}

static void only_verify(struct world *w, void *ctx)
{
	world_verify(w);
}

static void live(struct world *w, unsigned nr_cycles)
{
	unsigned descriptors = nr_entries("/proc/self/fd"), threads = nr_entries("/proc/self/task");

	for (unsigned i = 0; i <= nr_cycles && !world_failed(w); i++) {
		uint64_t before = alloc_fault_outstanding();
		bool under_writers = i % 2;
		enum world_end end = world_boot(w, i < nr_cycles ? cycle : only_verify, &under_writers);

		if (end != WORLD_STOPPED && !world_failed(w))
			world_fail(w, "did not stop in order");
		world_check_memory(w, before);
		if (nr_entries("/proc/self/fd") != descriptors)
			world_fail(w, "%u descriptors, and there were %u", nr_entries("/proc/self/fd"), descriptors);
		if (nr_entries("/proc/self/task") != threads)
			world_fail(w, "%u threads, and there were %u", nr_entries("/proc/self/task"), threads);
	}
}

int main(int argc, char **argv)
{
	struct world_options options = { .seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, .tiny = true };
	unsigned long nr_cycles = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;
	struct world *w;

	if (!nr_cycles || argc > 3) {
		fprintf(stderr, "usage: cycles COUNT [SEED]\n");
		return 2;
	}
	log_set_level(LOG_LEVEL_ERROR);
	alloc_fault_track();
	w = world_new(&options, &stats);
	live(w, (unsigned)nr_cycles);
	if (world_failed(w)) {
		printf("FAILED: %s\n", w->failure);
		return 1;
	}
	world_free(w);
	printf("%lu starts and stops, %llu of them while clients wrote (%llu writes were refused), nothing left behind\n", nr_cycles,
	       (unsigned long long)stopped_under_io, (unsigned long long)refused);
	return 0;
}
