/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A rule about crashes, tested by itself: one small world whose body does just what the rule is about, and a power cut at every disk event of it.
 *
 * The body runs once. Between cuts_begin() and cuts_end() (and while it stops after its return, unless it called cuts_end()) each event at which a
 * disk or the model changed forks children for which the power goes here: everything unflushed is kept, or dropped, on both disks alike or
 * crosswise, or torn by chance. A child recovers; the model is asked about every sector, the tree is checked, and then the rule's own
 * check runs. It ends, and the body goes on as if nothing had happened. (exhaustive.c does the same for all short sequences.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/admin/log.h"
#include "core/engine/fiber.h"
#include "tests/sim/fork.h"
#include "tests/sim/steps.h"
#include "tests/unit/core/fail.h"
#include "tests/unit/core/unit.h"

struct cuts {
	struct world_options options;	  /* of the tiny world */
	void (*body)(struct world *w);
	void (*check)(struct world *w);	  /* in the recovered world; may be NULL */
	bool (*when)(struct world *w);	  /* cut at this event? NULL: at all */
	unsigned nr_torn;		  /* outcomes by chance for each cut; 0: 1 */
	bool starting;			  /* from the first event on */
};

static struct {
	const struct cuts *what;
	bool cutting, recovers;
	uint64_t disks, model;		  /* as last seen */
	unsigned nr_cuts, nr_recoveries, nr_wrong, outcome;
} cuts;

static inline void cuts_begin(void) { cuts.cutting = !cuts.recovers; }

static inline _Noreturn void cuts_child_ends(struct world *w)
{
	if (world_failed(w))
		printf("power cut %u, outcome %u: %s\n", cuts.nr_cuts, cuts.outcome, w->failure);
	fflush(stdout);
	_exit(world_failed(w) ? 1 : 0);
}

/* n counts from 0: the four ends, then chance. False: the same as one before. */
static inline bool cuts_outcome(struct world *w, unsigned n)
{
	static const enum blk_sim_keep keep[4][2] = {
		{ BLK_SIM_KEEP_ALL, BLK_SIM_KEEP_ALL }, { BLK_SIM_KEEP_NONE, BLK_SIM_KEEP_NONE },
		{ BLK_SIM_KEEP_ALL, BLK_SIM_KEEP_NONE }, { BLK_SIM_KEEP_NONE, BLK_SIM_KEEP_ALL },
	};
	bool cache = blk_sim_nr_unflushed(w->cache.sim), backing = blk_sim_nr_unflushed(w->backing[0].sim);

	w->keep_cache = n < 4 ? keep[n][0] : BLK_SIM_KEEP_SOME;
	w->keep_backing = n < 4 ? keep[n][1] : BLK_SIM_KEEP_SOME;
	w->crash_rng = prng_seeded(prng_mix(cuts.nr_cuts) + n);
	return n == 0 || (n == 1 || n > 3 ? cache || backing : cache && backing);
}

/* True in a child: the power goes now. */
static inline bool cuts_fork(struct world *w)
{
	cuts.nr_cuts++;
	for (unsigned n = 0; n < 4 + (cuts.what->nr_torn ? cuts.what->nr_torn : 1) && cuts.nr_wrong < 3; n++) {
		int status = 0;
		pid_t pid;

		if (!cuts_outcome(w, n))
			continue;
		cuts.outcome = n;
		cuts.nr_recoveries++;
		pid = fork_world();
		assert_true(pid >= 0);
		if (!pid) {
			cuts.cutting = false;
			cuts.recovers = true;
			return true;
		}
		waitpid(pid, &status, 0);
		if (WIFSIGNALED(status))
			printf("power cut %u, outcome %u: signal %d\n", cuts.nr_cuts, n, WTERMSIG(status));
		cuts.nr_wrong += status != 0;
	}
	return false;
}

static inline void cuts_at_event(struct world *w)
{
	uint64_t disks = blk_sim_changes(w->cache.sim) + blk_sim_changes(w->backing[0].sim), model = model_time(w->model[0]);

	if (!cuts.cutting || world_failed(w) || (disks == cuts.disks && model == cuts.model))
		return;
	cuts.disks = disks;
	cuts.model = model;
	if ((!cuts.what->when || cuts.what->when(w)) && cuts_fork(w))
		w->power.cut_at = w->power.nr_events;
}

/* And one cut where nothing is under way. */
static FIBER_FN __attribute__((unused)) void cuts_end(struct world *w)
{
	if (cuts.cutting && !world_failed(w) && cuts_fork(w))
		world_cut_now(w);
	cuts.cutting = false;
}

static inline void cuts_body(struct world *w, void *ctx)
{
	steps_configure(w);
	cuts.what->body(w);
}

static inline void cuts_recover(struct world *w, void *ctx)
{
	world_verify(w);
	if (!world_failed(w) && cuts.what->check)
		cuts.what->check(w);
	cuts_child_ends(w);
}

/* How many recoveries it took; asserts that each was right. */
static inline unsigned cuts_run(const struct cuts *what)
{
	static struct world_stats stats;
	struct world_options o = what->options;
	struct world *w;
	enum world_end end;

	fail_forget_engine();
	log_set_level(LOG_LEVEL_ERROR);
	memset(&cuts, 0, sizeof(cuts));
	cuts.what = what;
	o.tiny = true;
	o.seed = o.seed ? o.seed : 1;
	o.nr_outcomes = 1;
	w = world_new(&o, &stats);
	w->on_event = cuts_at_event;
	cuts.cutting = what->starting;
	end = world_boot(w, cuts_body, NULL);
	if (cuts.recovers) {
		w->power.cut_at = 0;
		if (end == WORLD_CUT)
			world_boot(w, cuts_recover, NULL);
		cuts_child_ends(w);
	}
	if (*w->failure)
		fail_msg("%s", w->failure);
	assert_int_equal(end, WORLD_STOPPED);
	assert_int_equal(cuts.nr_wrong, 0);
	world_free(w);
	return cuts.nr_recoveries;
}
