/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/engine_sim.h"
#include "core/engine/fiber.h"
#include <stdlib.h>

#define START_REAL_S 1700000000ull
#define START_NS NS_PER_S /* not 0: code that takes 0 for "never" should not see it by accident */
#define MAX_BATCH 16
#define TIMERS 8192
#define PICK_WINDOW 64 /* the ready list is walked to the picked fiber */
#define MAX_CREEP_NS 500
#define MAX_OFFLOAD_NS (200 * NS_PER_US)

struct engine_sim {
	struct engine engine;
	uint64_t now_ns;
	uint64_t trace;
	uint64_t nr_switches;
	struct prng schedule, values, devices; /* separate, so that one more random() does not change the schedule */
	bool deadlocked;
};

static struct engine_sim *sim(struct engine *e)
{
	return container_of(e, struct engine_sim, engine);
}

static uint64_t sim_now_ns(struct engine *e)
{
	return sim(e)->now_ns;
}

static uint64_t sim_real_s(struct engine *e)
{
	return START_REAL_S + sim(e)->now_ns / NS_PER_S;
}

static void sim_random(struct engine *e, void *buf, size_t len_bytes)
{
	while (len_bytes) {
		uint64_t v = prng_u64(&sim(e)->values);
		size_t n = min(len_bytes, sizeof(v));

		memcpy(buf, &v, n);
		buf = (char *)buf + n;
		len_bytes -= n;
	}
}

static size_t sim_pick(struct engine *e, size_t nr_ready)
{
	struct engine_sim *s = sim(e);
	size_t n = prng_below(&s->schedule, min(nr_ready, (size_t)PICK_WINDOW));

	s->nr_switches++;
	engine_sim_note(e, nr_ready << 8 | n);
	return n;
}

static void sim_poll(struct engine *e, uint64_t until_ns)
{
	struct engine_sim *s = sim(e);

	e->fiber_batch = 1 + prng_below(&s->schedule, MAX_BATCH);
	if (until_ns == 0) {
		s->now_ns += prng_below(&s->schedule, MAX_CREEP_NS);
	} else if (until_ns == UINT64_MAX) {
		s->deadlocked = true;
		engine_stop(e);
	} else {
		s->now_ns = max(s->now_ns, until_ns);
	}
}

/* The product may run fn at any time while the caller waits. */
static void sim_offload(struct engine *e, void (*fn)(void *), void *arg)
{
	struct engine_sim *s = sim(e);
	bool early = prng_one_in(&s->schedule, 2);

	if (early)
		fn(arg);
	fiber_sleep_ns(prng_below(&s->schedule, MAX_OFFLOAD_NS));
	if (!early)
		fn(arg);
}

static const struct engine_ops sim_ops = {
	.now_ns = sim_now_ns,
	.real_s = sim_real_s,
	.random = sim_random,
	.pick = sim_pick,
	.poll = sim_poll,
	.offload = sim_offload,
};

int engine_sim_new(uint64_t seed, struct engine **ret)
{
	struct engine_sim *s = calloc(1, sizeof(*s));
	struct prng seeds = prng_seeded(seed);

	if (!s)
		return -ENOMEM;
	s->schedule = prng_seeded(prng_u64(&seeds));
	s->values = prng_seeded(prng_u64(&seeds));
	s->devices = prng_seeded(prng_u64(&seeds));
	engine_init(&s->engine, &sim_ops);
	if (!engine_reserve_timers(&s->engine, TIMERS)) { /* each bio in flight has one, which is not to fail when memory is made to */
		free(s);
		return -ENOMEM;
	}
	s->now_ns = START_NS;
	s->engine.cached_now_ns = START_NS;
	*ret = &s->engine;
	return 0;
}

void engine_sim_free(struct engine *e)
{
	if (!e)
		return;
	engine_release(e);
	free(sim(e));
}

void engine_sim_abandon(struct engine *e)
{
	engine_abandon(e);
	engine_sim_free(e);
}

bool engine_is_sim(const struct engine *e)
{
	return e && e->ops == &sim_ops;
}

bool engine_sim_deadlocked(const struct engine *e)
{
	return container_of(e, const struct engine_sim, engine)->deadlocked;
}

struct prng *engine_sim_device_prng(struct engine *e)
{
	return &sim(e)->devices;
}

void engine_sim_note(struct engine *e, uint64_t event)
{
	struct engine_sim *s = sim(e);

	s->trace = prng_mix(s->trace + event + (s->now_ns << 20));
}

uint64_t engine_sim_trace(const struct engine *e)
{
	return container_of(e, const struct engine_sim, engine)->trace;
}

uint64_t engine_sim_nr_switches(const struct engine *e)
{
	return container_of(e, const struct engine_sim, engine)->nr_switches;
}
