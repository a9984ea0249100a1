/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What the parts of lifecycle.h share: lifecycle.c tells the model, lifecycle_orders.c asks the core, lifecycle_episodes.c says what
 * happens.
 */
#include "tests/sim/lifecycle.h"
#include "tests/sim/world.h"

#define SHARES (WORLD_BACKINGS_MAX + 1)
_Static_assert(LIFECYCLE_VOLUMES == WORLD_BACKINGS_MAX, "behind the devices");

enum doing { NOTHING, FORCING, FORGETTING, READOPTING };

struct life {
	enum doing doing;
	bool acknowledged;
	bool given_up;	/* its slot was forgotten: nothing of it is kept */
	bool kept;	/* the old slot has what was captured */
	/* When it left. */
	bool captured;	/* false: any sector may have been dirty */
	uint32_t slot;
	bool *dirty;	/* by sector */
	uint8_t *bytes; /* of those that are dirty */
};

struct lifecycle {
	struct world *w;
	const uint32_t *gen;
	struct life life[WORLD_BACKINGS_MAX];
	bool away[SHARES];
	unsigned busy[SHARES];
	bool episode;
	bool over;
};

/* lifecycle.c */
enum bdev_state life_state_on_disk(const struct lifecycle *l, unsigned i);
bool life_any_dirty(const struct lifecycle *l, unsigned i);
FIBER_FN bool life_capture(struct lifecycle *l, unsigned i, uint32_t slot);
void life_adopt_forced(struct lifecycle *l, unsigned i);
void life_adopt_readopted(struct lifecycle *l, unsigned i, void (*tell)(struct model *m, uint64_t sector, const void *bytes));

/* lifecycle_orders.c */
FIBER_FN void life_wait_idle(struct lifecycle *l, unsigned dev);
FIBER_FN void life_wait_all_idle(struct lifecycle *l);
FIBER_FN bool life_order(struct lifecycle *l, int target, const char *path, const char *text, int expected);
bool life_device_gone(const struct lifecycle *l, unsigned i);
bool life_device_detached(const struct lifecycle *l, unsigned i);
FIBER_FN bool life_wait_until(struct lifecycle *l, bool (*come)(const struct lifecycle *l, unsigned i), unsigned i, const char *what);
FIBER_FN void life_rest(struct prng *r);
FIBER_FN bool life_flush(struct lifecycle *l, unsigned i);
FIBER_FN void life_read_all(struct lifecycle *l, unsigned i);
FIBER_FN bool life_use(struct lifecycle *l, unsigned i, struct prng *r, const struct lifecycle_hands *hands);
void life_begin(struct lifecycle *l, unsigned i, enum doing doing);
FIBER_FN bool life_force_run(struct lifecycle *l, unsigned i);
FIBER_FN bool life_readopt(struct lifecycle *l, unsigned i, int expected);
bool life_in_old_slot(const struct lifecycle *l, unsigned i);
FIBER_FN void life_come_back(struct lifecycle *l);
FIBER_FN void life_everybody_away(struct lifecycle *l);
FIBER_FN bool life_stop_device(struct lifecycle *l, unsigned i);
FIBER_FN bool life_stop_set(struct lifecycle *l, const char *file);
FIBER_FN bool life_register_device(struct lifecycle *l, unsigned i);
FIBER_FN void life_bring_up(struct lifecycle *l, const struct lifecycle_hands *hands);
